"""Whether a Trainer can do what it is given: devices, a model, its optimizer."""

from numbers import Integral

from d2l_utils.ownership import replaced


def check_num_gpus(asked, there):
    """Print a line where more GPUs were asked for than are there.

    Not for a single GPU that is not there: notebooks that run everywhere ask for one.
    Raises ValueError for what is no number of GPUs.

    asked: -1 stands for all. there: how many there are.
    """
    if not isinstance(asked, Integral) or asked < -1:
        raise ValueError(
            f"num_gpus={asked!r}: choose 0 (the CPU), 1 (a GPU where there is one), a "
            "larger number, or -1 (all GPUs)."
        )
    if asked > max(there, 1):
        found = "1 is" if there == 1 else f"{there or 'none'} are"
        where = ("the CPU", "the first GPU", f"{there} GPUs")[min(there, 2)]
        print(f"num_gpus={asked}, but {found} here: training on {where}.")


def check_model(model):
    """Raise TypeError, with advice, for what is no model to train."""
    if isinstance(model, type):
        raise TypeError(
            f"{model.__name__} is a class: give an instance, {model.__name__}(...)."
        )
    if not hasattr(model, "training_step"):
        raise TypeError(
            "A Module of d2l is needed as the model, a Classifier for instance, not "
            f"{type(model).__name__}. A class Net(d2l.Classifier) with your network as "
            "self.net is one: give Net()."
        )
    if not replaced(model, "configure_optimizers") and not hasattr(model, "lr"):
        raise TypeError(
            f"{type(model).__name__} has no learning rate, lr. In its constructor, "
            "self.save_hyperparameters() keeps the arguments, lr among them; or define "
            "configure_optimizers."
        )


def check_optimizer(model, optim):
    """Raise TypeError, with advice, for what is not a single optimizer."""
    if optim is not None and type(optim) not in (tuple, list, dict):
        return
    raise TypeError(
        f"configure_optimizers of {type(model).__name__} returned "
        f"{'nothing' if optim is None else f'a {type(optim).__name__}'}, but has to "
        "return one optimizer. A schedule may be kept as an attribute and stepped in "
        "training_step or fit_epoch; for several optimizers in turn define fit_epoch."
    )
