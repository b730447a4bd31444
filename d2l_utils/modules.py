"""The framework-free half of models (textbook, sections 3.2 and 4.3)."""

from d2l_utils.ownership import library


@library
class ModuleMixin:
    """What the `Module` of every framework shares (textbook, section 3.2)."""

    _input_shape = None  # (C, H, W), known from the first batch on

    def loss(self, y_hat, y):
        raise NotImplementedError(f"{type(self).__name__} must define loss(y_hat, y).")

    def plot(self, key, value, train):
        """Record a value of this step; the Trainer averages and draws it.

        The value stays on the device, so that a step need not wait for it.
        """
        self.trainer.take_value(key, value, train)

    def training_step(self, batch):
        """The loss of a batch (*inputs, labels), which the Trainer differentiates."""
        l = self.loss(self(*batch[:-1]), batch[-1])
        self.plot("loss", l, train=True)
        return l

    def validation_step(self, batch):
        """Record the loss of a validation batch (*inputs, labels)."""
        self.plot("loss", self.loss(self(*batch[:-1]), batch[-1]), train=False)


@library
class ClassifierMixin:
    """What the `Classifier` of every framework shares (textbook, section 4.3)."""

    def training_step(self, batch):
        """The loss of a batch (*inputs, labels); records loss and accuracy."""
        Y_hat = self(*batch[:-1])
        l = self.loss(Y_hat, batch[-1])
        self.plot("loss", l, train=True)
        self.plot("acc", self.accuracy(Y_hat, batch[-1]), train=True)
        return l

    def validation_step(self, batch):
        """Record loss and accuracy of a validation batch (*inputs, labels)."""
        Y_hat = self(*batch[:-1])
        self.plot("loss", self.loss(Y_hat, batch[-1]), train=False)
        self.plot("acc", self.accuracy(Y_hat, batch[-1]), train=False)
