"""The framework-free half of models (textbook, sections 3.2 and 4.3).

What each framework does in its own way is here a name and a docstring.
"""

from d2l_utils.board import to_numpy
from d2l_utils.ownership import library

OF_A_FRAMEWORK = (
    "Use the Module or Classifier of d2l_utils.torch, or another framework's."
)


@library
class ModuleMixin:
    """What the `Module` of every framework shares (textbook, section 3.2)."""

    _input_shape = None  # (C, H, W), known from the first batch on
    trainer = None

    def loss(self, y_hat, y):
        """The loss of a batch, which a subclass defines.

        Parameters:
            y_hat: what the network gives for the inputs.
            y: the labels.

        Returns:
            A number on the device.
        """
        raise NotImplementedError(f"{type(self).__name__} must define loss(y_hat, y).")

    def configure_optimizers(self):
        """The optimizer: SGD with `self.lr` and, where there is one, `self.momentum`.

        Returns:
            An optimizer of the framework, for the parameters of the model.
        """
        raise NotImplementedError(OF_A_FRAMEWORK)

    def apply_init(self, inputs, init=None):
        """Make the weights by a forward pass, then apply an initializer.

        Parameters:
            inputs: a list of the model's inputs; only their shapes matter.
            init: a function of a layer, such as `init_cnn`, or None.

        Raises:
            ValueError: for images of another layout, or too small for the model.
        """
        raise NotImplementedError(OF_A_FRAMEWORK)

    def plot(self, key, value, train):
        """Record a value of this step; the Trainer averages and draws it.

        Parameters:
            key: its name, such as "loss".
            value: a number, which stays on the device, so that a step need not wait.
            train: whether it is of training or of validation.
        """
        if self.trainer is None:
            raise AttributeError(
                f"This {type(self).__name__} has no Trainer to record {key!r} for. "
                "Trainer.fit sets one; a loop of your own needs only loss and accuracy."
            )
        take = getattr(self.trainer, "take_value", None)
        if take is not None:
            take(key, value, train)
        else:  # a Trainer that is all the reader's own
            self.draw_value(key, float(to_numpy(value)), train)

    def draw_value(self, key, value, train):
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

    def training_step(self, batch):
        """The loss of a batch, which the Trainer differentiates.

        Parameters:
            batch: (*inputs, labels).

        Returns:
            The loss, which is recorded, too.
        """
        l = self.loss(self(*batch[:-1]), batch[-1])
        self.plot("loss", l, train=True)
        return l

    def validation_step(self, batch):
        """Record the loss of a validation batch.

        Parameters:
            batch: (*inputs, labels).
        """
        self.plot("loss", self.loss(self(*batch[:-1]), batch[-1]), train=False)


@library
class ClassifierMixin:
    """What the `Classifier` of every framework shares (textbook, section 4.3)."""

    def accuracy(self, Y_hat, Y, averaged=True):
        """The share of correct predictions.

        Parameters:
            Y_hat: logits (n, classes).
            Y: labels (n,).
            averaged: whether to give the share, or one 0 or 1 per example.
        """
        raise NotImplementedError(OF_A_FRAMEWORK)

    def loss(self, Y_hat, Y, averaged=True):
        """The cross-entropy of logits and labels.

        Parameters:
            Y_hat: logits (n, classes).
            Y: labels (n,).
            averaged: whether to give the mean, or one number per example.
        """
        raise NotImplementedError(OF_A_FRAMEWORK)

    def layer_summary(self, X_shape):
        """Print the output shape of every layer of `net` (textbook, 7.6).

        Parameters:
            X_shape: of a batch of images, in the framework's layout.

        Raises:
            ValueError: for another layout, or images too small for the model.
        """
        raise NotImplementedError(OF_A_FRAMEWORK)

    def training_step(self, batch):
        """The loss of a batch (*inputs, labels); loss and accuracy are recorded."""
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
