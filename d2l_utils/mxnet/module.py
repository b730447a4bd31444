"""d2l_utils for MXNet 1.9.1 (Gluon, `mxnet.np`): what touches tensors. Layout NCHW.

The public names are those of the other framework modules; the shared half is in
the framework-free core. MXNet is retired, 1.9.1 is its last release, so that the
few private names used here do not move.
"""

import contextlib
import io

import mxnet as mx
import numpy as onp  # `np` is MXNet's, as in the notebooks
from mxnet import autograd, gluon, np, npx
from mxnet.gluon import nn

from d2l_utils import base, host, summary, weights
from d2l_utils.base import HyperParameters
from d2l_utils.board import ProgressBoard
from d2l_utils.data import FashionMNIST as _FashionMNIST
from d2l_utils.data import images_to_float
from d2l_utils.modules import ClassifierMixin, ModuleMixin
from d2l_utils.mxnet.device import (
    cpu,
)  # fmt: skip
from d2l_utils.mxnet.layers import (
    device_of,
    initialize,
    named_parameters,
    num_trained,
    trace,
    undo_for,
)  # fmt: skip
from d2l_utils.mxnet.trainer import Trainer, resized
from d2l_utils.training import Recorder

CHANNELS_LAST = False
PREDICT_BATCH = 256


def set_seed(seed):
    """Seed weights, dropout and the order of the data."""
    base.remember_seed(seed)
    mx.random.seed(seed)


def init_cnn(module):
    """Glorot-uniform weights, zero biases (Glorot, Bengio 2010); for `apply`."""
    for name, p in module.collect_params(".*(weight|bias)").items():
        init = mx.init.Zero() if name.endswith("bias") else mx.init.Xavier()
        p.initialize(init, device_of(module), force_reinit=True)


def _build(model, X_shape):
    """Check that the model takes images of this shape, and give it weights."""
    undo = undo_for(model)

    def attempt(shape):
        undo()  # the last attempt fixed the sizes of dense layers
        initialize(model)
        return [r.output_shape for r in trace(model, shape)]

    try:
        with contextlib.redirect_stdout(io.StringIO()):  # MXNet prints what fails
            summary.check_size(type(model).__name__, X_shape, attempt, CHANNELS_LAST)
    except Exception:
        undo()
        raise
    model._input_shape = tuple(X_shape[1:])


class Module(ModuleMixin, HyperParameters, nn.Block):
    """Base class of models (textbook, section 3.2)."""

    def __init__(self, plot_train_per_epoch=2, plot_valid_per_epoch=1):
        if not npx.is_np_array():
            raise RuntimeError(
                "MXNet is not in NumPy mode, which these models need: before making "
                "one, run `from mxnet import npx` and `npx.set_np()`."
            )
        super().__init__()
        self.save_hyperparameters()
        self.board = ProgressBoard()

    def forward(self, X):
        return self.net(X)

    def configure_optimizers(self):
        """SGD with `self.lr` and, where the model has it, `self.momentum`."""
        params, momentum = self.parameters(), getattr(self, "momentum", 0)
        if isinstance(params, list):  # arrays, which Gluon's Trainer does not take
            from d2l_utils.mxnet.textbook import SGD

            return SGD(params, self.lr)
        settings = {"learning_rate": self.lr, "momentum": momentum}
        return gluon.Trainer(params, "sgd", settings)

    def parameters(self):
        """Gluon's parameters; where there are none, the arrays among attributes."""
        params = self.collect_params()
        if isinstance(params, list) or params.keys():
            return params
        arrays = [x for x in vars(self).values() if isinstance(x, np.ndarray)]
        inner = [x for x in self._children.values() if isinstance(x, Module)]
        return arrays + [a for model in inner for a in model.parameters()]

    def apply_init(self, inputs, init=None):
        """Build deferred layers by a forward pass on `inputs`, then apply `init`."""
        if inputs[0].ndim == 4:
            _build(self, tuple(inputs[0].shape))
        else:
            initialize(self)
            with autograd.pause():
                self(*(x.as_in_ctx(device_of(self)) for x in inputs))
        if init is not None:
            self.net.apply(init)


class Classifier(ClassifierMixin, Module):
    """Base class of classifiers (textbook, section 4.3)."""

    def accuracy(self, Y_hat, Y, averaged=True):
        """Share of correct predictions, or one 0 or 1 per example."""
        Y_hat, Y = Y_hat.reshape((-1, Y_hat.shape[-1])), Y.reshape(-1)
        compare = (Y_hat.argmax(axis=1).astype(Y.dtype) == Y).astype("float32")
        return compare.mean() if averaged else compare

    def loss(self, Y_hat, Y, averaged=True):
        """Cross-entropy of logits (n, classes) and labels (n,)."""
        Y_hat = Y_hat.reshape((-1, Y_hat.shape[-1]))
        l = gluon.loss.SoftmaxCrossEntropyLoss()(Y_hat, Y.reshape(-1))
        return l.mean() if averaged else l

    def layer_summary(self, X_shape):
        """Print the output shape of every layer of `net` (textbook, 7.6)."""
        _build(self, X_shape)
        X = np.zeros(X_shape, ctx=device_of(self))
        with autograd.pause():
            for layer in self.net:
                X = layer(X)
                print(layer.__class__.__name__, "output shape:\t", X.shape)


class FashionMNIST(_FashionMNIST):
    __doc__ = _FashionMNIST.__doc__

    def get_dataloader(self, train):
        host.keep_memory()  # else its threads pay page faults for every batch
        return super().get_dataloader(train)

    def to_tensors(self, images, labels):
        X = resized(images, self.resize, cpu())
        return X, np.array(labels, dtype="int32", ctx=cpu())


def evaluate(model, data):
    """{'loss', 'acc'}: means over the validation data, in evaluation mode."""
    device, values = device_of(model), Recorder()
    with autograd.pause():
        for X, y in data.val_dataloader():
            X, y = X.as_in_ctx(device), y.as_in_ctx(device)
            Y_hat = model(X)
            row = {"loss": model.loss(Y_hat, y), "acc": model.accuracy(Y_hat, y)}
            # Read now, or all batches would be made before the first is done.
            values.add(len(y), {k: float(v) for k, v in row.items()})
    return values.means()


def _batches(model, X):
    """NumPy images (n, C, H, W), uint8 or float in [0, 1], as device batches."""
    summary.check_layout(X.shape, CHANNELS_LAST)
    _build(model, (1, *X.shape[1:]))
    X = images_to_float(X)
    for i in range(0, len(X), PREDICT_BATCH):
        yield np.array(X[i : i + PREDICT_BATCH], ctx=device_of(model))


def predict(model, X):
    """Logits (n, classes) of NumPy images (n, C, H, W); NumPy out.

    X: uint8, or float in [0, 1]. Raises ValueError for another layout, or images
    too small for the model.
    """
    with autograd.pause():
        return onp.concatenate([model(x).asnumpy() for x in _batches(model, X)])


def activations(model, X):
    """Outputs of every layer of `model.net` for NumPy images (n, C, H, W).

    A list of NumPy arrays, channels first.
    """
    outputs = [[] for _ in model.net]
    with autograd.pause():
        for x in _batches(model, X):
            for layer, collected in zip(model.net, outputs):
                x = layer(x)
                collected.append(x.asnumpy())
    return [onp.concatenate(parts) for parts in outputs]


def resources(model, X_shape):
    """Parameters, MACs and memory of the model on a batch of shape X_shape.

    Returns `summary.Resources`; see `summary.count` for what is counted.
    """
    _build(model, X_shape)
    rows = trace(model, X_shape)
    slots = summary.optimizer_slots(model)
    return summary.count(rows, num_trained(model), X_shape, slots)


def run_facts():
    """Print versions, processor, device, date and time since the import."""
    base.print_facts(["mxnet"], Trainer(1, num_gpus=1).device_text())


def save_weights(model, path, variables=None):
    """Save the weights for every framework (format: see `d2l_utils.weights`).

    `variables` is for JAX only. Raises ValueError if the model was never run.
    """
    weights.needs_no_variables(variables)
    shape = weights.known_shape(model)
    found = named_parameters(model, (1, *shape))
    weights.write(
        path,
        {k: p.data().asnumpy() for k, p in found.items()},
        model=type(model).__name__,
        input_shape=shape,
        num_classes=model.num_classes,
    )


def load_weights(model, path, variables=None):
    """Load weights that `save_weights` of any framework wrote; returns the model.

    An unbuilt model is built. Raises WeightsError, with the model unchanged,
    where the file does not fit.
    """
    weights.needs_no_variables(variables)
    tensors, metadata = weights.read(path)
    undo = undo_for(model)
    try:
        shape = weights.build_for(model, metadata, lambda s: _build(model, (1, *s)))
        found = named_parameters(model, (1, *shape))
        expected = {k: tuple(p.shape) for k, p in found.items()}
        weights.check(tensors, metadata, expected, type(model).__name__)
    except Exception:
        undo()
        raise
    for name, parameter in found.items():
        parameter.set_data(np.array(tensors[name]))
    return model
