"""The framework-free half of models (textbook, sections 3.2 and 4.3).

Methods that each framework defines in its own way have only a docstring here.
"""

from collections.abc import Callable, Sequence
from typing import Any

from d2l_utils import inference, initial
from d2l_utils.batches import judges_accuracy
from d2l_utils.figures import to_numpy
from d2l_utils.ownership import library

OF_A_FRAMEWORK = (
    "Use the Module or Classifier of d2l_utils.torch, or another framework's."
)


@library
class ModuleMixin:
    """What the `Module` of every framework shares (textbook, section 3.2)."""

    _CHANNELS_LAST = False  # whether images are (n, h, w, c)
    _FORWARD = ("forward",)  # what a reader may define to compute outputs
    _input_shape = None  # (C, H, W), known from the first batch on
    trainer = None

    def __call__(self, *args, **kwargs):
        inference.settle(self)
        output = super().__call__(*args, **kwargs)
        self._note_input(args)
        return output

    def _note_input(self, args):
        """Note the shape of the first images it is called with: weights fit these."""
        shape = getattr(args[0], "shape", ()) if args else ()
        if self._input_shape is None and len(shape) == 4 and None not in shape[1:]:
            a, b, c = map(int, shape[1:])
            self._input_shape = (c, a, b) if self._CHANNELS_LAST else (a, b, c)

    def __getstate__(self):
        """What a copy or a pickle has: the weights, but no Trainer, and so no data."""
        return vars(self) | {"trainer": None}

    def loss(self, y_hat: Any, y: Any) -> Any:
        """The loss of a batch, which a subclass defines.

        Parameters:
            y_hat: what the network gives for the inputs.
            y: the labels.

        Returns:
            A number on the device.
        """
        raise NotImplementedError(f"{type(self).__name__} must define loss(y_hat, y).")

    def configure_optimizers(self) -> Any:
        """The optimizer: SGD with `self.lr` and, where there is one, `self.momentum`.

        Returns:
            An optimizer of the framework, for the parameters of the model.
        """
        raise NotImplementedError(OF_A_FRAMEWORK)

    def apply_init(self, inputs: Sequence, init: Callable | None = None) -> None:
        """Make the weights by a forward pass, then apply an initializer.

        Parameters:
            inputs: a list of the model's inputs; only their shapes matter.
            init: a function that sets the weights of a layer, such as `init_cnn`, or
                None.

        Raises:
            ValueError: for images of another layout, or too small for the model.
        """
        raise NotImplementedError(OF_A_FRAMEWORK)

    def plot(self, key: str, value: Any, train: bool) -> None:
        """Record a value of this step; the Trainer averages and draws it.

        Parameters:
            key: its name, such as "loss".
            value: a number, which stays on the device, so that a step need not wait.
            train: whether it is of training or of validation.

        Raises:
            AttributeError: the model has no Trainer.
        """
        if self.trainer is None:
            raise AttributeError(
                f"This {type(self).__name__} has no Trainer to record {key!r} for. "
                "Trainer.fit sets one; a loop of your own needs only loss and accuracy."
            )
        take = getattr(self.trainer, "_take_value", None)
        if take is not None:
            take(key, value, train)
        else:  # a Trainer that is all the reader's own
            self._draw_value(key, float(to_numpy(value)), train)

    def _draw_value(self, key, value, train):
        """Draw a value of the step that `self.trainer` is at."""
        trainer = self.trainer
        if train:
            x = trainer.train_batch_idx / trainer.num_train_batches
            every_n = trainer.num_train_batches / self.plot_train_per_epoch
        else:
            x = trainer.epoch + 1
            every_n = trainer.num_val_batches / self.plot_valid_per_epoch
        label = ("train_" if train else "val_") + key
        self.board.draw(x, value, label, every_n=max(1, int(every_n)))

    def training_step(self, batch: tuple) -> Any:
        """The loss of a batch, which the Trainer differentiates.

        Parameters:
            batch: (*inputs, labels).

        Returns:
            The loss, which is recorded, too.
        """
        l = self.loss(self(*batch[:-1]), batch[-1])
        self.plot("loss", l, train=True)
        return l

    def validation_step(self, batch: tuple) -> None:
        """Record the loss of a validation batch.

        Parameters:
            batch: (*inputs, labels).
        """
        self.plot("loss", self.loss(self(*batch[:-1]), batch[-1]), train=False)


class Remade:
    """Models that are copied and pickled by making them anew.

    A copy is made from the constructor's arguments, the weights, in order, and numbers
    and texts among the attributes, since the framework's objects cannot be copied. A
    framework defines `_weights_in_order` and `_set_weights_in_order`.
    """

    def __new__(cls, *args, **kwargs):
        inherited = super().__new__
        plain = inherited is object.__new__
        made = inherited(cls) if plain else inherited(cls, *args, **kwargs)
        object.__setattr__(made, "_arguments", (args, kwargs))
        return made

    def __reduce__(self):
        kept = {k: v for k, v in vars(self).items() if k[0] != "_"}
        kept = {k: v for k, v in kept.items() if isinstance(v, int | float | str)}
        kept |= {"_input_shape": self._input_shape, "board": self.board}
        args, kwargs = self._arguments
        return _remade, (type(self), args, kwargs, self._weights_in_order(), kept)


def _remade(Class, args, kwargs, weights, kept):
    try:
        with initial.aside():
            model = Class(*args, **kwargs)
            model._set_weights_in_order(weights)
    except (AssertionError, TypeError, ValueError) as error:
        raise TypeError(
            f"This {Class.__name__} cannot be copied or pickled: it has other weights "
            "than its constructor gave it. Keep them with d2l.save_weights."
        ) from error
    for name, value in kept.items():
        setattr(model, name, value)
    return model


@library
class ClassifierMixin:
    """What the `Classifier` of every framework shares (textbook, section 4.3)."""

    def accuracy(self, Y_hat: Any, Y: Any, averaged: bool = True) -> Any:
        """The share of correct predictions.

        Parameters:
            Y_hat: logits (n, classes).
            Y: labels (n,).
            averaged: False gives a 0 or 1 for each example instead.

        Returns:
            A number on the device, or, without `averaged`, (n,).
        """
        raise NotImplementedError(OF_A_FRAMEWORK)

    def loss(self, Y_hat: Any, Y: Any, averaged: bool = True) -> Any:
        """The cross-entropy of logits and labels.

        Parameters:
            Y_hat: logits (n, classes).
            Y: labels (n,).
            averaged: False gives a number for each example instead of their mean.

        Returns:
            A number on the device, or, without `averaged`, (n,).
        """
        raise NotImplementedError(OF_A_FRAMEWORK)

    def layer_summary(self, X_shape: tuple) -> None:
        """Print the output shape of every layer of `net` (textbook, section 7.6).

        The lines are those of `d2l`, to the letter, and so not aligned.

        Parameters:
            X_shape: of a batch of images, in the framework's layout.

        Raises:
            ValueError: for another layout, or images too small for the model.
        """
        raise NotImplementedError(OF_A_FRAMEWORK)

    def training_step(self, batch: tuple) -> Any:
        """The loss of a batch, which the Trainer differentiates.

        A network may give several outputs, a tuple, list or dict, to a `loss` of your
        own; accuracy is then recorded where `accuracy` is your own, too.

        Parameters:
            batch: (*inputs, labels).

        Returns:
            The loss; it and the accuracy are recorded, too.
        """
        Y_hat = self(*batch[:-1])
        l = self.loss(Y_hat, batch[-1])
        self.plot("loss", l, train=True)
        self._plot_accuracy(Y_hat, batch[-1], train=True)
        return l

    def validation_step(self, batch: tuple) -> None:
        """Record loss and accuracy of a validation batch.

        Parameters:
            batch: (*inputs, labels).
        """
        Y_hat = self(*batch[:-1])
        self.plot("loss", self.loss(Y_hat, batch[-1]), train=False)
        self._plot_accuracy(Y_hat, batch[-1], train=False)

    def _plot_accuracy(self, Y_hat, Y, train):
        """Record accuracy; of several outputs, where `accuracy` is the reader's own."""
        if judges_accuracy(self, Y_hat):
            self.plot("acc", self.accuracy(Y_hat, Y), train=train)
