"""MXNet: base classes of models, the data in arrays, the seed. Layout NCHW.

MXNet is retired, 1.9.1 is its last release, so the few private names of it that are
used in this package do not move.
"""

from typing import Any

import mxnet as mx
from mxnet import autograd, gluon, np, npx
from mxnet.gluon import nn

from d2l_utils import base, host, initial
from d2l_utils.base import HyperParameters
from d2l_utils.board import ProgressBoard
from d2l_utils.data import Examples as _Examples
from d2l_utils.data import FashionMNIST as _FashionMNIST
from d2l_utils.inference import initialize
from d2l_utils.modules import ClassifierMixin, ModuleMixin, Remade
from d2l_utils.mxnet.batches import to_images
from d2l_utils.mxnet.device import cpu
from d2l_utils.mxnet.layers import build, device_of, materialize, parameters
from d2l_utils.ownership import library


def set_seed(seed: int) -> None:
    """Seed weights, dropout and the order of the data.

    Parameters:
        seed: a whole number.

    Example:
        >>> d2l.set_seed(1)
    """
    base.remember_seed(seed)
    initial.start(seed)
    mx.random.seed(seed)


@library
class Module(Remade, ModuleMixin, HyperParameters, nn.Block):
    """Base class of models (textbook, section 3.2).

    A subclass makes `self.net` in its constructor and defines `loss`; it may define
    `forward`, `training_step`, `configure_optimizers` and more.

    Parameters:
        plot_train_per_epoch, plot_valid_per_epoch: points of each curve per epoch.

    Raises:
        RuntimeError: MXNet is not in NumPy mode.

    Example:
        >>> class Linear(d2l.Module):
        ...     def __init__(self, lr=0.1):
        ...         super().__init__()
        ...         self.save_hyperparameters()
        ...         self.net = nn.Dense(1)
        ...     def loss(self, y_hat, y):
        ...         return ((y_hat - y) ** 2).mean()
    """

    def __init__(
        self, plot_train_per_epoch: int = 2, plot_valid_per_epoch: int = 1
    ) -> None:
        if not npx.is_np_array():
            raise RuntimeError(
                "MXNet is not in NumPy mode, which these models need: before making "
                "one, run `from mxnet import npx` and `npx.set_np()`."
            )
        super().__init__()
        self.save_hyperparameters()
        self.board = ProgressBoard()

    def _weights_in_order(self):
        params = [
            (p.data().asnumpy() if p._data else None, p.grad_req)
            for p in parameters(self)
        ]
        own = [x for x in vars(self).values() if isinstance(x, np.ndarray)]
        return params, [x.asnumpy() for x in own]

    def _set_weights_in_order(self, weights):
        for p, (value, grad_req) in zip(parameters(self), weights[0], strict=True):
            p.grad_req = grad_req
            if value is not None:
                p.shape = value.shape
                p.initialize(mx.init.Zero(), cpu(), force_reinit=True)
                p.set_data(np.array(value, dtype=value.dtype))
        own = [x for x in vars(self).values() if isinstance(x, np.ndarray)]
        for x, value in zip(own, weights[1], strict=True):
            x[:] = np.array(value)

    def forward(self, X):
        return self.net(X)

    def configure_optimizers(self):
        params, momentum = self.parameters(), getattr(self, "momentum", 0)
        if isinstance(params, list):  # arrays, which Gluon's Trainer does not take
            from d2l_utils.mxnet.textbook import SGD

            return SGD(params, self.lr)
        settings = {"learning_rate": self.lr, "momentum": momentum}
        return gluon.Trainer(params, "sgd", settings)

    def parameters(self) -> Any:
        """What `configure_optimizers` trains.

        Returns:
            Gluon's parameters; where there are none, the arrays among attributes.
        """
        params, every = self.collect_params(), parameters(self)
        if isinstance(params, list):
            return params
        if every:  # those that Gluon leaves out, too; a list would be one of arrays
            whole = len(params.keys()) == len(every)
            return params if whole else {str(i): p for i, p in enumerate(every)}
        arrays = [x for x in vars(self).values() if isinstance(x, np.ndarray)]
        inner = [x for x in self._children.values() if isinstance(x, Module)]
        return arrays + [a for model in inner for a in model.parameters()]

    def apply_init(self, inputs, init=None):
        def make():
            if len(inputs) == 1 and inputs[0].ndim == 4:
                build(self, tuple(inputs[0].shape))
            else:
                materialize(self, *(x.as_in_ctx(device_of(self)) for x in inputs))

        rule = getattr(init, "rule", None)
        initialize(self, make, init, rule, lambda f: self.net.apply(f))


@library
class Classifier(ClassifierMixin, Module):
    """Base class of classifiers (textbook, section 4.3).

    Its loss is the cross-entropy of logits; it records accuracy, too.

    Parameters:
        plot_train_per_epoch, plot_valid_per_epoch: as in `Module`.

    Raises:
        RuntimeError: as in `Module`.

    Example:
        >>> class Softmax(d2l.Classifier):
        ...     def __init__(self, lr=0.1, num_classes=10):
        ...         super().__init__()
        ...         self.save_hyperparameters()
        ...         self.net = nn.Dense(num_classes)
    """

    def accuracy(self, Y_hat, Y, averaged=True):
        Y_hat, Y = Y_hat.reshape((-1, Y_hat.shape[-1])), Y.reshape(-1)
        compare = (Y_hat.argmax(axis=1).astype(Y.dtype) == Y).astype("float32")
        return compare.mean() if averaged else compare

    def loss(self, Y_hat, Y, averaged=True):
        Y_hat = Y_hat.reshape((-1, Y_hat.shape[-1]))
        l = gluon.loss.SoftmaxCrossEntropyLoss()(Y_hat, Y.reshape(-1))
        return l.mean() if averaged else l

    def layer_summary(self, X_shape):
        with initial.draft(self):
            build(self, X_shape)
        X = np.zeros(X_shape, ctx=device_of(self))
        with autograd.pause():
            for layer in self.net:
                X = layer(X)
                print(layer.__class__.__name__, "output shape:\t", X.shape)


class Examples(_Examples, gluon.data.Dataset):
    """See d2l_utils.data."""


@library
class FashionMNIST(_FashionMNIST):
    __doc__ = _FashionMNIST.__doc__

    def examples(self, images, labels):
        return Examples(images, labels, self)

    def get_dataloader(self, train):
        host.keep_memory()  # else the loader's threads pay page faults for every batch
        return super().get_dataloader(train)

    def to_tensors(self, images, labels):
        X = to_images(images, self.resize, cpu())
        return X, np.array(labels, dtype="int32", ctx=cpu())
