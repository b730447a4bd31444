"""The framework-free half of models, and what a reader's own methods change.

Anyone may replace a method of a model or of the Trainer, in a subclass or with
`add_to_class`. What is replaced runs as it was written, once for each call; only
where everything is the library's own are steps compiled, kept in low precision, or
fed with stored bytes.
"""

from d2l_utils.data import FashionMNIST

LOADERS = ("get_dataloader", "train_dataloader", "val_dataloader", "to_tensors")
COMPUTES = ("forward", "call", "loss", "training_step", "plot")
SPEAKS = ("training_step", "validation_step", "plot")


def is_ours(obj, *names):
    """Whether these methods, as far as there are any, are the library's own."""
    methods = (getattr(type(obj), name, None) for name in names)
    return all(
        m is None or (getattr(m, "__module__", None) or "").startswith("d2l_utils.")
        for m in methods
    )


def gives_stored_bytes(data):
    """Whether the bytes of `data.batches` may stand for what its loaders give.

    Not where a class of the user's overrides a loader.
    """
    return isinstance(data, FashionMNIST) and is_ours(data, *LOADERS)


class ModuleMixin:
    """What the `Module` of every framework shares (textbook, section 3.2)."""

    _input_shape = None  # (C, H, W), known from the first batch on

    def loss(self, y_hat, y):
        raise NotImplementedError(f"{type(self).__name__} must define loss(y_hat, y).")

    def plot(self, key, value, train):
        """Record a value of this step; the Trainer averages and draws it.

        The value stays on the device, so that a step need not wait for it.
        """
        self.trainer.record(key, value, train)

    def training_step(self, batch):
        """The loss of a batch, which the Trainer differentiates."""
        l = self.loss(self(*batch[:-1]), batch[-1])
        self.plot("loss", l, train=True)
        return l

    def validation_step(self, batch):
        """Record the loss of a validation batch."""
        self.plot("loss", self.loss(self(*batch[:-1]), batch[-1]), train=False)


class ClassifierMixin:
    """What the `Classifier` of every framework shares (textbook, section 4.3)."""

    def training_step(self, batch):
        Y_hat = self(*batch[:-1])
        l = self.loss(Y_hat, batch[-1])
        self.plot("loss", l, train=True)
        self.plot("acc", self.accuracy(Y_hat, batch[-1]), train=True)
        return l

    def validation_step(self, batch):
        Y_hat = self(*batch[:-1])
        self.plot("loss", self.loss(Y_hat, batch[-1]), train=False)
        self.plot("acc", self.accuracy(Y_hat, batch[-1]), train=False)
