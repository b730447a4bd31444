"""MXNet: one training on several devices, each with a copy of the weights.

Gluon keeps a parameter in several contexts, and its Trainer sums their gradients by a
kvstore. This file does what they leave open: it sees that the optimizer knows all
contexts, and refuses what several devices cannot train.
"""

from mxnet import autograd, gluon, optimizer

from d2l_utils.mxnet.layers import parameters, value_of

# Optimizers whose updates would differ from device to device, and by what.
OF_THEIR_OWN = {optimizer.SGLD: "noise", optimizer.Nadam: "schedule"}


class Contexts:
    """The devices of one training. devices: MXNet's contexts."""

    def __init__(self, devices):
        self.devices, self.size = devices, len(devices)

    def copy_weights(self, model):
        """Give each device a copy of the model's parameters, until `gather`.

        Each device changes its own statistics of batch normalization.
        """
        for p in parameters(model):
            if p.list_ctx() != self.devices:
                p.reset_ctx(self.devices)

    def gather(self, model):
        """Bring the parameters back to the first device alone."""
        for p in parameters(model):
            value = value_of(p).copy()  # Gluon would take the mean, which rounds
            p.reset_ctx(self.devices[0])
            p.set_data(value)

    def check(self, model, optim):
        """Raise TypeError for what several devices cannot train together."""
        own = isinstance(optim, gluon.Trainer) and optim.optimizer
        if not own or len(optim._updaters) != self.size:
            raise TypeError(
                "On several devices configure_optimizers has to make a gluon.Trainer "
                "with Gluon's parameters of the model, each time it is called; that of "
                f"{type(model).__name__} does not. Train it with num_gpus=1."
            )
        for kind, what in OF_THEIR_OWN.items():
            if isinstance(own, kind):
                raise TypeError(
                    f"The {what} of {kind.__name__} would differ between devices, "
                    "and so would the weights. Choose another optimizer, or num_gpus=1."
                )
        if any(p.grad_req == "add" for p in parameters(model)):
            raise TypeError(
                "A parameter with grad_req 'add' keeps its gradients, which several "
                "devices would sum again in each step. Say 'write'."
            )
        # The kvstore only sums gradients; the update is made here, after clipping.
        optim._kvstore_params["update_on_kvstore"] = False

    def sum_gradients(self, losses, optim):
        """Differentiate the losses of all devices; each device gets the sums."""
        autograd.backward(losses)
        optim.allreduce_grads()
