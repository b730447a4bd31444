"""PyTorch: base classes of models, the data in tensors, the seed. Layout NCHW."""

import torch
from torch import nn
from torch.nn import functional as F

from d2l_utils import base, initial
from d2l_utils.base import HyperParameters
from d2l_utils.board import ProgressBoard
from d2l_utils.data import Examples as _Examples
from d2l_utils.data import FashionMNIST as _FashionMNIST
from d2l_utils.inference import initialize
from d2l_utils.modules import ClassifierMixin, ModuleMixin
from d2l_utils.ownership import library
from d2l_utils.torch.batches import to_images
from d2l_utils.torch.device import cpu
from d2l_utils.torch.layers import (
    RULES,
    build,
    device_of,
    evaluating,
    materialize,
    zeros,
)  # fmt: skip


def set_seed(seed: int) -> None:
    """Seed weights, dropout and the order of the data.

    Parameters:
        seed: a whole number.

    Example:
        >>> d2l.set_seed(1)
    """
    base.remember_seed(seed)
    initial.start(seed)
    torch.manual_seed(seed)


@library
class Module(ModuleMixin, HyperParameters, nn.Module):
    """Base class of models (textbook, section 3.2).

    A subclass makes `self.net` in its constructor and defines `loss`; it may define
    `forward`, `training_step`, `configure_optimizers` and more.

    Parameters:
        plot_train_per_epoch, plot_valid_per_epoch: points of each curve per epoch.

    Example:
        >>> class Linear(d2l.Module):
        ...     def __init__(self, lr=0.1):
        ...         super().__init__()
        ...         self.save_hyperparameters()
        ...         self.net = nn.LazyLinear(1)
        ...     def loss(self, y_hat, y):
        ...         return ((y_hat - y) ** 2).mean()
    """

    def __init__(
        self, plot_train_per_epoch: int = 2, plot_valid_per_epoch: int = 1
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.board = ProgressBoard()

    def forward(self, X):
        return self.net(X)

    def configure_optimizers(self):
        momentum = getattr(self, "momentum", 0)
        return torch.optim.SGD(self.parameters(), lr=self.lr, momentum=momentum)

    def apply_init(self, inputs, init=None):
        def make():
            if len(inputs) == 1 and inputs[0].dim() == 4:
                build(self, tuple(inputs[0].shape))
            else:
                materialize(self, *(x.to(device_of(self)) for x in inputs))

        initialize(self, make, init, RULES.get(init), lambda f: self.net.apply(f))


@library
class Classifier(ClassifierMixin, Module):
    """Base class of classifiers (textbook, section 4.3).

    Its loss is the cross-entropy of logits; it records accuracy, too.

    Parameters:
        plot_train_per_epoch, plot_valid_per_epoch: as in `Module`.

    Example:
        >>> class Softmax(d2l.Classifier):
        ...     def __init__(self, lr=0.1, num_classes=10):
        ...         super().__init__()
        ...         self.save_hyperparameters()
        ...         self.net = nn.Sequential(nn.Flatten(), nn.LazyLinear(num_classes))
    """

    def accuracy(self, Y_hat, Y, averaged=True):
        Y_hat = Y_hat.reshape((-1, Y_hat.shape[-1]))
        compare = (Y_hat.argmax(dim=1) == Y.reshape(-1)).float()
        return compare.mean() if averaged else compare

    def loss(self, Y_hat, Y, averaged=True):
        Y_hat = Y_hat.reshape((-1, Y_hat.shape[-1]))
        if Y_hat.element_size() < 4:  # half precision is too coarse for the sum
            Y_hat = Y_hat.float()
        reduction = "mean" if averaged else "none"
        return F.cross_entropy(Y_hat, Y.reshape(-1).long(), reduction=reduction)

    def layer_summary(self, X_shape):
        with initial.draft(self):
            build(self, X_shape)
        X = zeros(self, X_shape)
        with evaluating(self):
            for layer in self.net:
                X = layer(X)
                print(layer.__class__.__name__, "output shape:\t", X.shape)


class Examples(_Examples, torch.utils.data.Dataset):
    """`Examples` of d2l_utils.data, with the attributes of torchvision's data sets."""

    @property
    def data(self):
        return torch.tensor(self.images)

    @property
    def targets(self):
        return torch.tensor(self.labels).long()


@library
class FashionMNIST(_FashionMNIST):
    __doc__ = _FashionMNIST.__doc__

    def examples(self, images, labels):
        return Examples(images, labels, self)

    def to_tensors(self, images, labels):
        X = to_images(images, self.resize_matrices(), cpu())
        return X, torch.as_tensor(labels).long()
