"""MXNet: the layers of a network, its outputs and its weights.

The hooks that d2l_utils.inference calls, see there.
"""

import contextlib
import io
import math
from typing import Any

import mxnet as mx
import numpy as onp
from mxnet import autograd, gluon, np, npx
from mxnet.gluon import nn, rnn

from d2l_utils import initial, summary
from d2l_utils.batches import judges_accuracy
from d2l_utils.frameworks import FRAMEWORKS
from d2l_utils.mxnet.batches import to_tensors

CHANNELS_LAST = FRAMEWORKS["mxnet"].channels_last
HOLDS_WEIGHTS = True

KINDS = {
    nn.Dense: "dense",
    **dict.fromkeys(
        (nn.Conv1DTranspose, nn.Conv2DTranspose, nn.Conv3DTranspose), "tconv"
    ),
    **dict.fromkeys((nn.Conv1D, nn.Conv2D, nn.Conv3D), "conv"),
    nn.BatchNorm: "bn",
    nn.LayerNorm: "ln",
    nn.PReLU: "prelu",
    nn.Embedding: "embedding",
    **dict.fromkeys((rnn.RNN, rnn.LSTM, rnn.GRU), "recurrent"),
    **dict.fromkeys((rnn.RNNCell, rnn.LSTMCell, rnn.GRUCell), "recurrent"),
    **dict.fromkeys(
        (nn.MaxPool2D, nn.AvgPool2D, nn.GlobalAvgPool2D, nn.GlobalMaxPool2D), "pool"
    ),
}
STORED_NAMES = {  # name in a weights file: attribute of a layer
    "weight": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var",
}  # fmt: skip
NORM = {"weight": "gamma", "bias": "beta"}
OTHER_WEIGHTS = ("i2h_weight", "h2h_weight")  # ends names of recurrent layers' weights
OTHER_NAMES = {"bn": NORM, "ln": NORM, "prelu": {"weight": "alpha"}}


def parameters(block):
    """All parameters of a block, in order of definition.

    Gluon's own, also where a model's `collect_params` gives arrays of its own, and
    those in attributes that are not in a block's `params`, which Gluon's leaves out.
    """
    found = {id(p): p for p in gluon.Block.collect_params(block).values()}
    held = block._collect_params_with_prefix().values()
    return list((found | {id(p): p for p in held}).values())


def _named(block):
    """{name: parameter}: by structure, since Gluon's own names count instances."""
    named = block._collect_params_with_prefix()
    known = {id(p) for p in named.values()}
    rest = (p for p in parameters(block) if id(p) not in known)
    return named | {f"params.{i}": p for i, p in enumerate(rest)}


def _trained(block):
    return [p for p in parameters(block) if p.grad_req != "null"]


def _size(parameters):
    return sum(math.prod(p.shape) for p in parameters)


def trained(model, X_shape):
    names = {id(p): k for k, p in reversed(_named(model).items())}
    return {names[id(p)]: (id(p), _size([p])) for p in _trained(model)}


# Making weights -------------------------------------------------------------------


class _Init(mx.init.Initializer):
    """Draws the weights of a parameter, or those of a block and zero biases."""

    def __init__(self, rule):
        super().__init__()
        self.rule = rule

    def __call__(self, block: Any, array: Any = None) -> None:
        if array is not None:  # Gluon calls it with a name and an array
            super().__call__(block, array)
            return
        if any(isinstance(block, k) for k, v in KINDS.items() if v in initial.KINDS):
            for p, init in ((block.weight, self), (block.bias, mx.init.Zero())):
                if p is not None:
                    p.initialize(init, device_of(block), force_reinit=True)

    def _init_weight(self, name, array):
        if name.endswith(OTHER_WEIGHTS) or "embedding" in name:
            mx.init.Xavier()._init_weight(name, array)
        else:
            array[:] = self.rule(array.shape)


init_cnn = _Init(initial.glorot)
"""Glorot-uniform weights and zero biases (Glorot and Bengio, 2010).

NumPy draws them from the seed of `set_seed`, one layer after the other, so that the
same network starts alike in all four frameworks, to the bit. It is for convolutions,
transposed ones, too, and dense layers.

An initializer of MXNet, which may be called with a block, too: `net.initialize` and
`net.apply` take it. Blocks without `in_channels` or `in_units` get their weights in the
order of their use, others in the order in which they were defined; with `apply_init`
all get them in that of their use.

Example:
    >>> net.initialize(d2l.init_cnn)
    >>> model.apply_init([X], d2l.init_cnn)
"""

init_he = _Init(initial.he)
"""Normal weights of variance 2 / inputs, for layers with ReLU, and zero biases.

He et al. (2015). Drawn as those of `init_cnn`, see there.

Example:
    >>> net.initialize(d2l.init_he)
"""


def has_values(parameter):
    """Whether a parameter has values, or will when its shape is known."""
    return parameter._data is not None or bool(parameter._deferred_init)


def device_of(model):
    """The device of the model's parameters."""
    return next((p.list_ctx()[0] for p in parameters(model) if has_values(p)), mx.cpu())


def _dtype_of(model):
    """The dtype of the model's parameters."""
    return next((p.dtype for p in parameters(model)), "float32")


def value_of(parameter):
    """Its array; the mean where several devices keep statistics of their own."""
    arrays = parameter.list_data()
    if len(arrays) == 1 or parameter._differentiable:
        return arrays[0]
    return sum(x.as_in_ctx(arrays[0].ctx) for x in arrays) / len(arrays)


def initialize(model):
    """Initialise the parameters that the model's constructor did not."""
    for p in parameters(model):
        if not has_values(p):
            p.initialize(ctx=device_of(model), default_init=mx.init.Xavier())


def materialize(model, *inputs):
    """Make the weights of all blocks, also of those called in training only."""
    initialize(model)
    with autograd.pause():
        model(*inputs)
    late = [p for p in parameters(model) if p._data is None]
    if late:
        made = [p for p in parameters(model) if p._data and p.grad_req == "null"]
        statistics = [(p, p.data().copy()) for p in made]
        with autograd.pause(train_mode=True):
            model(*inputs)
        for p, value in statistics:
            p.set_data(value)
        for p in late:
            if p._data and p.grad_req == "null":
                p.initialize(p.init, ctx=device_of(model), force_reinit=True)


def undo_for(model):
    """A function that takes back what was built since, ready for another size."""
    seen, unbuilt, drawn = getattr(model, "_input_shape", None), {}, initial.state()
    for p in parameters(model):
        if p._data is None:
            unbuilt[p] = p._shape, p._deferred_init

    def undo():
        model._input_shape = seen
        initial.go_on_from(drawn)
        for p in unbuilt:
            p._shape, p._deferred_init = unbuilt[p]
            p._data = p._grad = None

    return undo


def build(model, X_shape):
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
    if any(p._data is None for p in parameters(model)):
        materialize(model, np.zeros(X_shape, ctx=device_of(model)))
    model._input_shape = tuple(X_shape[1:])


# Looking at layers ----------------------------------------------------------------


@contextlib.contextmanager
def evaluating(model):
    with autograd.pause():
        yield


def trace(model, X_shape):
    rows, hooks, compiled, name = [], [], [], summary.Namer()

    def row(block, args, output):
        if not isinstance(args[0], np.ndarray):
            return  # a symbol: MXNet infers the shape of an outer block's parameter
        kind = next(k for cls, k in KINDS.items() if isinstance(block, cls))
        matrices, known = [getattr(block, "weight", None)], _trained(block)
        if kind == "recurrent":
            matrices = [p for p in parameters(block) if len(p.shape) > 1]
        size, held = _size(p for p in matrices if p is not None), tuple(map(id, known))
        y = output if isinstance(output, np.ndarray) else output[0]
        shapes = args[0].shape, y.shape
        number = _size(known)
        rows.append(summary.Layer(name(kind), kind, *shapes, number, size, block, held))

    def visit(block):
        if isinstance(block, tuple(KINDS)):
            hooks.append(block.register_forward_hook(row))
        if getattr(block, "_active", False):  # hybridized, it would call no hooks
            block._active = False
            compiled.append(block)

    try:
        model.apply(visit)
        with autograd.pause():
            X = np.zeros(X_shape, dtype=_dtype_of(model), ctx=device_of(model))
            model(X)
            npx.waitall()  # errors in the engine are raised only here
    finally:
        for hook in hooks:
            hook.detach()
        for block in compiled:
            block._active = True
    return rows


def scores(model, batch):
    *X, y = to_tensors(batch, device_of(model))
    Y_hat = model(*X)
    row = {"loss": model.loss(Y_hat, y)}
    if judges_accuracy(model, Y_hat):
        row["acc"] = model.accuracy(Y_hat, y)
    # Read now, or all batches would be made before the first is done.
    return {k: float(v) for k, v in row.items()}


def logits(model, X):
    with autograd.pause():
        return model(np.array(X, ctx=device_of(model))).asnumpy()


def outputs(model, X):
    X = np.array(X, dtype=X.dtype, ctx=device_of(model))
    with autograd.pause():
        return [(X := layer(X)).asnumpy() for layer in model.net]


# Weights in files -----------------------------------------------------------------


@contextlib.contextmanager
def trial(model):
    undo = undo_for(model)
    try:
        yield model
    except Exception:
        undo()
        raise


def own_tensors(model, shape, variables=None):
    return _named(model)


def is_array(x):
    return isinstance(x, mx.nd.NDArray)


place = id


def common(row, own):
    if row.kind == "recurrent":
        return {}
    attrs = STORED_NAMES | OTHER_NAMES.get(row.kind, {})
    there = ((name, getattr(row.ref, attr, None)) for name, attr in attrs.items())
    return {name: (p, None) for name, p in there if p is not None}


def shape_and_dtype(tensor):
    lacks = isinstance(tensor, gluon.Parameter) and tensor._data is None
    return None if lacks else tensor.shape, onp.dtype(tensor.dtype).name


def to_numpy(tensor):
    x = value_of(tensor) if isinstance(tensor, gluon.Parameter) else tensor
    return x.asnumpy()


def set_tensors(model, shape, arrays, variables=None):
    named = _named(model)
    for name, array in arrays.items():
        named[name].set_data(np.array(array, dtype=named[name].dtype))
    return model


def set_plain(holder, key, array):
    holder[key][:] = np.array(array, dtype=holder[key].dtype)
