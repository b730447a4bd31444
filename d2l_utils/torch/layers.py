"""PyTorch: the layers of a network, its outputs and its weights.

The hooks that d2l_utils.inference calls, see there.
"""

import contextlib

import torch
from torch import nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.parameter import UninitializedTensorMixin

from d2l_utils import summary
from d2l_utils.torch.batches import to_tensors

CHANNELS_LAST = False
HOLDS_WEIGHTS = True

KINDS = {
    nn.Linear: "dense",
    **dict.fromkeys((nn.Conv1d, nn.Conv2d, nn.Conv3d), "conv"),
    **dict.fromkeys((nn.BatchNorm1d, nn.BatchNorm2d), "bn"),
    **dict.fromkeys(
        (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d),
        "pool",
    ),
}
STORED_NAMES = {  # in a weights file: attribute of a layer
    "weight": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var",
}  # fmt: skip


# Making weights -------------------------------------------------------------------


def init_cnn(module):
    """Glorot-uniform weights and zero biases (Glorot and Bengio, 2010).

    Parameters:
        module: a layer, as `net.apply(d2l.init_cnn)` gives them. Lazy layers, which
            have no weights yet, get theirs like this when they are built.

    Example:
        >>> model.apply_init([X], d2l.init_cnn)
    """
    if isinstance(module, LazyModuleMixin) and module.has_uninitialized_params():
        return
    if isinstance(module, nn.Linear | nn.Conv2d):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def unbuilt(model):
    """The lazy layers that have no weights yet."""
    return [
        m
        for m in model.modules()
        if isinstance(m, LazyModuleMixin) and m.has_uninitialized_params()
    ]


def materialize(model, *inputs):
    """Let lazy layers find their sizes in a forward pass, and initialize them."""
    lazy = unbuilt(model)
    with evaluating(model):
        model(*inputs)
        if unbuilt(model):  # some layers are there for training alone
            for module in model.modules():  # PyTorch's own stay in evaluation mode,
                own = not type(module).__module__.startswith("torch.nn.")
                module.training = own  # so that no statistics change
            model(*inputs)
    for module in lazy:  # which have PyTorch's own initial values now
        init_cnn(module)


def init_when_built(model):
    """Initialize lazy layers as `materialize` does when a step builds them."""

    def init(module, args):
        hooks.pop(module).remove()
        init_cnn(module)

    hooks = {m: m.register_forward_pre_hook(init) for m in unbuilt(model)}


@contextlib.contextmanager
def _on_trial(model):
    """Lazy layers that find their sizes within the block forget them at its end.

    The model itself is used: a copy could not be made of all that a reader's model
    may hold, such as a file or a logger.
    """
    lazy, shape = unbuilt(model), getattr(model, "_input_shape", None)
    classes, before = [type(layer) for layer in lazy], []
    for layer in lazy:
        inner = [d for d in vars(layer).values() if isinstance(d, dict)]
        before += [(d, dict(d)) for d in (vars(layer), *inner)]
        for tensors in (layer._parameters, layer._buffers):
            for name, x in tensors.items():
                if isinstance(x, UninitializedTensorMixin):
                    tensors[name] = type(x)(
                        x.requires_grad, x.data.device, x.data.dtype
                    )
    try:
        yield model
    finally:
        for layer, Class in zip(lazy, classes):
            layer.__class__ = Class
        for values, those in before:  # in place: removing a hook needs its dict
            values.clear()
            values.update(those)
        model._input_shape = shape


def build(model, X_shape):
    lazy = unbuilt(model)

    def attempt(shape):
        with _on_trial(model):
            return [r.output_shape for r in trace(model, shape)]

    summary.check_size(type(model).__name__, X_shape, attempt, CHANNELS_LAST)
    if lazy:
        materialize(model, torch.zeros(X_shape, device=device_of(model)))
    model._input_shape = tuple(X_shape[1:])


# Looking at layers ----------------------------------------------------------------


def dtype_of(model):
    """The type of number that the model's parameters are."""
    types = (p.dtype for p in model.parameters() if p.is_floating_point())
    return next(types, torch.get_default_dtype())


def device_of(model):
    """The device of the model's parameters."""
    return next((p.device for p in model.parameters()), torch.device("cpu"))


@contextlib.contextmanager
def evaluating(model):
    modes = {m: m.training for m in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def trace(model, X_shape):
    rows, name = [], summary.Namer()

    def row(module, args, output):
        kind = next(k for cls, k in KINDS.items() if isinstance(module, cls))
        trained = [p for p in module.parameters() if p.requires_grad]
        weight = getattr(module, "weight", None)
        rows.append(
            summary.Layer(
                name=name(kind),
                kind=kind,
                input_shape=tuple(args[0].shape),
                output_shape=tuple(output.shape),
                params=sum(p.numel() for p in trained),
                weight_size=0 if weight is None else weight.numel(),
                ref=module,
            )
        )

    hooks = [
        m.register_forward_hook(row)
        for m in model.modules()
        if isinstance(m, tuple(KINDS))
    ]
    try:
        with evaluating(model):
            model(torch.zeros(X_shape, device=device_of(model)))
    finally:
        for hook in hooks:
            hook.remove()
    return rows


def num_trained(model, X_shape):
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def scores(model, batch):
    *X, y = to_tensors(batch, device_of(model), dtype=dtype_of(model))
    Y_hat = model(*X)
    return {"loss": model.loss(Y_hat, y), "acc": model.accuracy(Y_hat, y)}


def logits(model, X):
    with evaluating(model):
        return model(torch.as_tensor(X, device=device_of(model))).cpu().numpy()


def outputs(model, X):
    X = torch.as_tensor(X, device=device_of(model))
    with evaluating(model):
        return [(X := layer(X)).cpu().numpy() for layer in model.net]


# Weights in files -----------------------------------------------------------------


trial = _on_trial


def named_tensors(model, shape):
    """{stored name: parameter or buffer} in order of execution."""
    found = {}
    for row in trace(model, (1, *shape)):
        for name, attr in STORED_NAMES.items():
            tensor = getattr(row.ref, attr, None)
            if tensor is not None:
                found.setdefault(f"{row.name}.{name}", tensor)
    return found


def stored_shapes(model, shape):
    return {k: tuple(v.shape) for k, v in named_tensors(model, shape).items()}


def stored(model, shape, variables=None):
    found = named_tensors(model, shape).items()
    return {k: v.detach().cpu().numpy() for k, v in found}


def set_stored(model, shape, tensors, variables=None):
    with torch.no_grad():
        for name, tensor in named_tensors(model, shape).items():
            tensor.copy_(torch.from_numpy(tensors[name]))
    return model
