"""d2l_utils for PyTorch: what touches tensors. Layout NCHW.

The public names are those of the other framework modules; the shared half is in
the framework-free core.
"""

import copy

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.parameter import UninitializedBuffer

from d2l_utils import base, summary, weights
from d2l_utils.base import HyperParameters
from d2l_utils.board import ProgressBoard
from d2l_utils.data import FashionMNIST as _FashionMNIST
from d2l_utils.data import images_to_float
from d2l_utils.modules import ClassifierMixin, ModuleMixin
from d2l_utils.torch.device import (
    cpu,
)  # fmt: skip
from d2l_utils.torch.layers import device_of, evaluating, named_tensors, trace
from d2l_utils.torch.trainer import Trainer, resized
from d2l_utils.training import Recorder

CHANNELS_LAST = False
PREDICT_BATCH = 256


def set_seed(seed):
    """Seed weights, dropout and the order of the data."""
    base.remember_seed(seed)
    torch.manual_seed(seed)


def init_cnn(module):
    """Glorot-uniform weights, zero biases (Glorot, Bengio 2010); for `apply`.

    Lazy layers, which have no weights yet, get theirs like this when they are built.
    """
    if isinstance(module, LazyModuleMixin) and module.has_uninitialized_params():
        return
    if isinstance(module, nn.Linear | nn.Conv2d):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _unbuilt(model):
    return [
        m
        for m in model.modules()
        if isinstance(m, LazyModuleMixin) and m.has_uninitialized_params()
    ]


def _copy(model):
    """A copy of an unbuilt model, to try a size on."""
    shared = (getattr(model, "trainer", None), model.board)
    memo = {id(x): x for x in shared} | {
        id(b): UninitializedBuffer()  # cannot be copied
        for b in model.buffers()
        if isinstance(b, UninitializedBuffer)
    }
    return copy.deepcopy(model, memo)


def _build(model, X_shape):
    """Check that the model takes images of this shape, and give it weights."""
    lazy = _unbuilt(model)

    def attempt(shape):  # on a copy: a trial would fix the sizes of lazy layers
        trial = _copy(model) if lazy else model
        return [r.output_shape for r in trace(trial, shape)]

    name = type(model).__name__
    summary.check_size(name, X_shape, attempt, CHANNELS_LAST)
    if lazy:
        _materialize(model, lambda: trace(model, X_shape))
    model._input_shape = tuple(X_shape[1:])


def _materialize(model, run):
    """Let lazy layers find their sizes in a forward pass, and initialize them."""
    lazy = _unbuilt(model)
    run()  # gives them PyTorch's own initial values
    for module in lazy:
        init_cnn(module)


class Module(ModuleMixin, HyperParameters, nn.Module):
    """Base class of models (textbook, section 3.2)."""

    def __init__(self, plot_train_per_epoch=2, plot_valid_per_epoch=1):
        super().__init__()
        self.save_hyperparameters()
        self.board = ProgressBoard()

    def forward(self, X):
        return self.net(X)

    def configure_optimizers(self):
        """SGD with `self.lr` and, where the model has it, `self.momentum`."""
        momentum = getattr(self, "momentum", 0)
        return torch.optim.SGD(self.parameters(), lr=self.lr, momentum=momentum)

    def apply_init(self, inputs, init=None):
        """Build lazy layers by a forward pass on `inputs`, then apply `init`."""
        if inputs[0].dim() == 4:
            _build(self, tuple(inputs[0].shape))
        else:
            inputs = [x.to(device_of(self)) for x in inputs]
            with evaluating(self):
                _materialize(self, lambda: self(*inputs))
        if init is not None:
            self.net.apply(init)


class Classifier(ClassifierMixin, Module):
    """Base class of classifiers (textbook, section 4.3)."""

    def accuracy(self, Y_hat, Y, averaged=True):
        """Share of correct predictions, or one 0 or 1 per example."""
        Y_hat = Y_hat.reshape((-1, Y_hat.shape[-1]))
        compare = (Y_hat.argmax(dim=1) == Y.reshape(-1)).float()
        return compare.mean() if averaged else compare

    def loss(self, Y_hat, Y, averaged=True):
        """Cross-entropy of logits (n, classes) and labels (n,)."""
        Y_hat = Y_hat.reshape((-1, Y_hat.shape[-1]))
        if Y_hat.element_size() < 4:  # half precision is too coarse for the sum
            Y_hat = Y_hat.float()
        reduction = "mean" if averaged else "none"
        return F.cross_entropy(Y_hat, Y.reshape(-1).long(), reduction=reduction)

    def layer_summary(self, X_shape):
        """Print the output shape of every layer of `net` (textbook, 7.6)."""
        _build(self, X_shape)
        X = torch.zeros(X_shape, device=device_of(self))
        with evaluating(self):
            for layer in self.net:
                X = layer(X)
                print(layer.__class__.__name__, "output shape:\t", X.shape)


class FashionMNIST(_FashionMNIST):
    __doc__ = _FashionMNIST.__doc__

    def to_tensors(self, images, labels):
        X = resized(images, self.resize_matrices(), cpu())
        return X, torch.as_tensor(labels).long()


def evaluate(model, data):
    """{'loss', 'acc'}: means over the validation data, in evaluation mode."""
    device, values = device_of(model), Recorder()
    with evaluating(model):
        for X, y in data.val_dataloader():
            X, y = X.to(device), y.to(device)
            Y_hat = model(X)
            row = {"loss": model.loss(Y_hat, y), "acc": model.accuracy(Y_hat, y)}
            values.add(len(y), row)
    return values.means()


def _batches(model, X):
    """NumPy images (n, C, H, W), uint8 or float in [0, 1], as device batches."""
    summary.check_layout(X.shape, CHANNELS_LAST)
    _build(model, (1, *X.shape[1:]))
    for part in torch.as_tensor(images_to_float(X)).split(PREDICT_BATCH):
        yield part.to(device_of(model))


def predict(model, X):
    """Logits (n, classes) of NumPy images (n, C, H, W); NumPy out.

    X: uint8, or float in [0, 1]. Raises ValueError for another layout, or images
    too small for the model.
    """
    with evaluating(model):
        return torch.cat([model(x).cpu() for x in _batches(model, X)]).numpy()


def activations(model, X):
    """Outputs of every layer of `model.net` for NumPy images (n, C, H, W).

    A list of NumPy arrays, channels first.
    """
    outputs = [[] for _ in model.net]
    with evaluating(model):
        for x in _batches(model, X):
            for layer, collected in zip(model.net, outputs):
                x = layer(x)
                collected.append(x.cpu().numpy())
    return [np.concatenate(parts) for parts in outputs]


def resources(model, X_shape):
    """Parameters, MACs and memory of the model on a batch of shape X_shape.

    Returns `summary.Resources`; see `summary.count` for what is counted.
    """
    _build(model, X_shape)
    params = sum(p.numel() for p in model.parameters() if p.requires_grad)
    rows = trace(model, X_shape)
    return summary.count(rows, params, X_shape, summary.optimizer_slots(model))


def run_facts():
    """Print versions, processor, device, date and time since the import."""
    base.print_facts(["torch"], Trainer(1, num_gpus=1).device_text())


def save_weights(model, path, variables=None):
    """Save the weights for every framework (format: see `d2l_utils.weights`).

    `variables` is for JAX only. Raises ValueError if the model was never run.
    """
    weights.needs_no_variables(variables)
    shape = weights.known_shape(model)
    found = named_tensors(model, (1, *shape))
    weights.write(
        path,
        {k: v.detach().cpu().numpy() for k, v in found.items()},
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
    models = [_copy(model), model] if _unbuilt(model) else [model]
    for net in models:  # a file that does not fit must not build the model
        shape = weights.build_for(
            net, metadata, lambda s, net=net: _build(net, (1, *s))
        )
        found = named_tensors(net, (1, *shape))
        expected = {k: tuple(v.shape) for k, v in found.items()}
        weights.check(tensors, metadata, expected, type(model).__name__)
    with torch.no_grad():
        for name, tensor in found.items():
            tensor.copy_(torch.from_numpy(tensors[name]))
    return model
