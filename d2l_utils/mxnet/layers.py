"""MXNet: the layers of a model in order of execution, and their parameters."""

import math

import mxnet as mx
from mxnet import autograd, gluon, np
from mxnet.gluon import nn

from d2l_utils import summary

KINDS = {
    nn.Dense: "dense",
    **dict.fromkeys((nn.Conv1D, nn.Conv2D, nn.Conv3D), "conv"),
    nn.BatchNorm: "bn",
    **dict.fromkeys(
        (nn.MaxPool2D, nn.AvgPool2D, nn.GlobalAvgPool2D, nn.GlobalMaxPool2D), "pool"
    ),
}


def parameters(block):
    """All parameters of a block, in order of definition.

    Gluon's own, also where a model's `collect_params` gives arrays of its own.
    """
    return list(gluon.Block.collect_params(block).values())


def num_trained(block):
    """Number of trainable parameters of a block."""
    return sum(math.prod(p.shape) for p in parameters(block) if p.grad_req != "null")


def has_values(parameter):
    """Whether a parameter has values, or will when its shape is known."""
    return parameter._data is not None or bool(parameter._deferred_init)


def device_of(model):
    """The device of the model's parameters."""
    return next((p.list_ctx()[0] for p in parameters(model) if has_values(p)), mx.cpu())


def initialize(model):
    """Initialise the parameters that the model's constructor did not."""
    for p in parameters(model):
        if not has_values(p):
            p.initialize(ctx=device_of(model), default_init=mx.init.Xavier())


def undo_for(model):
    """A function that takes back what was built since, ready for another size."""
    seen, unbuilt = model._input_shape, {}
    for p in parameters(model):
        if p._data is None:
            unbuilt[p] = p._shape, p._deferred_init

    def undo():
        model._input_shape = seen
        for p in unbuilt:
            p._shape, p._deferred_init = unbuilt[p]
            p._data = p._grad = None

    return undo


def trace(model, X_shape):
    """Rows of `summary.Layer` in the order in which a batch passes them."""
    rows, hooks, compiled, name = [], [], [], summary.Namer()

    def row(block, args, output):
        if not isinstance(output, np.ndarray):
            return  # a symbol: MXNet looks for the shape of an outer parameter
        kind = next(k for cls, k in KINDS.items() if isinstance(block, cls))
        stored = stored_names(block)
        size = math.prod(stored["weight"].shape) if stored else 0
        shapes = args[0].shape, output.shape
        rows.append(
            summary.Layer(name(kind), kind, *shapes, num_trained(block), size, block)
        )

    def visit(block):
        if isinstance(block, tuple(KINDS)):
            hooks.append(block.register_forward_hook(row))
        if getattr(block, "_active", False):  # hybridized, it would call no hooks
            block._active = False
            compiled.append(block)

    try:
        model.apply(visit)
        with autograd.pause():  # the engine's errors appear when a result is read
            model(np.zeros(X_shape, ctx=device_of(model))).wait_to_read()
    finally:
        for hook in hooks:
            hook.detach()
        for block in compiled:
            block._active = True
    return rows


def stored_names(block):
    """{name in a weights file: parameter} of one layer."""
    attrs = {"weight": "weight", "bias": "bias"}
    if isinstance(block, nn.BatchNorm):
        stats = {"mean": "running_mean", "var": "running_var"}
        attrs = {"weight": "gamma", "bias": "beta", **stats}
    found = ((name, getattr(block, attr, None)) for name, attr in attrs.items())
    return {name: p for name, p in found if p is not None}


def named_parameters(model, X_shape):
    """{stored name: parameter} in order of execution."""
    rows = trace(model, X_shape)
    return {f"{r.name}.{k}": p for r in rows for k, p in stored_names(r.ref).items()}
