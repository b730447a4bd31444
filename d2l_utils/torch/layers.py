"""PyTorch: the layers of a network, its outputs and its weights.

The hooks that d2l_utils.inference calls, see there.
"""

import contextlib
from functools import partial

import torch
from torch import nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.parameter import UninitializedTensorMixin

from d2l_utils import initial, summary, weights
from d2l_utils.batches import judges_accuracy
from d2l_utils.frameworks import FRAMEWORKS
from d2l_utils.torch.batches import to_tensors

CHANNELS_LAST = FRAMEWORKS["pytorch"].channels_last
HOLDS_WEIGHTS = True

KINDS = {
    nn.Linear: "dense",
    **dict.fromkeys((nn.Conv1d, nn.Conv2d, nn.Conv3d), "conv"),
    **dict.fromkeys(
        (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d), "tconv"
    ),
    **dict.fromkeys((nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d), "bn"),
    nn.LayerNorm: "ln",
    nn.GroupNorm: "gn",
    nn.PReLU: "prelu",
    nn.Embedding: "embedding",
    **dict.fromkeys((nn.RNNBase, nn.RNNCellBase), "recurrent"),
    nn.MultiheadAttention: "attention",
    **dict.fromkeys(
        (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d),
        "pool",
    ),
}
WHOLE = ("recurrent", "attention")  # of which a row has all parameters
OF_A_LAYER = ("weight", "bias", "parametrizations")  # begin names of those of others
STORED_NAMES = {  # name in a weights file: attribute of a layer
    "weight": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var",
    "batches": "num_batches_tracked",
}  # fmt: skip
EXTRA_STATE = nn.modules.module._EXTRA_STATE_KEY_SUFFIX  # ends names in a state_dict


# Making weights -------------------------------------------------------------------


def init_cnn(module: nn.Module) -> None:
    """Glorot-uniform weights and zero biases (Glorot and Bengio, 2010).

    NumPy draws them from the seed of `set_seed`, one layer after the other, so that
    the same network starts alike in all four frameworks, to the bit. It is for
    convolutions, transposed ones, too, and dense layers; others stay as they are.

    Parameters:
        module: a layer, as `net.apply(d2l.init_cnn)` gives them in the order in which
            they were defined; `apply_init` gives them in that of their use. A lazy
            layer, which has no weights yet, gets these when it is built.

    Example:
        >>> model.apply_init([X], d2l.init_cnn)
    """
    _init(module, init_cnn)


def init_he(module: nn.Module) -> None:
    """Normal weights of variance 2 / inputs, for layers with ReLU, and zero biases.

    He et al. (2015). Drawn as those of `init_cnn`, see there.

    Parameters:
        module: as for `init_cnn`.

    Example:
        >>> model.apply_init([X], d2l.init_he)
    """
    _init(module, init_he)


RULES = {init_cnn: initial.glorot, init_he: initial.he}


def _init(module, init):
    if not any(isinstance(module, k) for k, v in KINDS.items() if v in initial.KINDS):
        return
    if isinstance(module, LazyModuleMixin) and module.has_uninitialized_params():
        _when_built(module, init)
        return
    with torch.no_grad():
        _copy(module.weight, RULES[init](module.weight.shape))
        if module.bias is not None:
            module.bias.zero_()


def _asked(module):
    """Keys of the hooks by which a lazy layer knows its initializer."""
    hooks = module._forward_pre_hooks.items()
    return [k for k, x in hooks if getattr(x, "func", None) is _before_built]


def _when_built(module, init):
    for key in _asked(module):
        del module._forward_pre_hooks[key]
    hook = partial(_before_built, init)  # can be copied and pickled, as the layer
    module.register_forward_pre_hook(hook, prepend=True)


def _before_built(init, module, args):
    def first_values():
        del module.reset_parameters
        init(module)

    for key in _asked(module):
        del module._forward_pre_hooks[key]
    if module.has_uninitialized_params():  # else they were loaded
        module.reset_parameters = first_values  # in place of PyTorch's, in this call


def unbuilt(model):
    """The lazy layers that have no weights yet."""
    return [
        m
        for m in model.modules()
        if isinstance(m, LazyModuleMixin) and m.has_uninitialized_params()
    ]


def materialize(model, *inputs):
    """Let lazy layers find their sizes in a forward pass, and initialize them."""
    init_when_built(model)
    with evaluating(model):
        model(*inputs)
        if unbuilt(model):  # some layers are called in training only
            for module in model.modules():  # PyTorch's own stay in evaluation mode,
                own = not type(module).__module__.startswith("torch.nn.")
                module.training = own  # so that no statistics change
            model(*inputs)


def init_when_built(model):
    """Let lazy layers start from Glorot's weights, where nothing else was asked for.

    PyTorch's own initial values are not those of the other frameworks.
    """
    for module in unbuilt(model):
        if not _asked(module):
            init_cnn(module)


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
        with initial.aside():
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
        materialize(model, zeros(model, X_shape))
    model._input_shape = tuple(X_shape[1:])


# Looking at layers ----------------------------------------------------------------


def dtype_of(model):
    """The floating-point type of the model's parameters."""
    types = (p.dtype for p in model.parameters() if p.is_floating_point())
    return next(types, torch.get_default_dtype())


def device_of(model):
    """The device of the model's parameters."""
    return next((p.device for p in model.parameters()), torch.device("cpu"))


def images_dtype(model):
    """The dtype of images for a model: float64 if its parameters are, else float32."""
    return torch.float64 if dtype_of(model) == torch.float64 else torch.float32


def zeros(model, X_shape):
    """Black images for a model."""
    return torch.zeros(X_shape, device=device_of(model), dtype=images_dtype(model))


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

    def row(module, args, kwargs, output):
        kind = next(k for cls, k in KINDS.items() if isinstance(module, cls))
        named = module.named_parameters()
        held = [p for k, p in named if kind in WHOLE or k.startswith(OF_A_LAYER)]
        matrices, products = [getattr(module, "weight", None)], 0
        if kind == "recurrent":
            matrices = [p for p in module.parameters() if p.dim() > 1]
        x = next(x for x in (*args, *kwargs.values()) if torch.is_tensor(x))
        if kind == "attention":
            products = _attention_macs(module, *args, **kwargs)
        y = output if torch.is_tensor(output) else output[0]
        rows.append(
            summary.Layer(
                name=name(kind),
                kind=kind,
                input_shape=tuple(x.shape),
                output_shape=tuple(y.shape),
                params=sum(p.numel() for p in held if p.requires_grad),
                weight_size=sum(w.numel() for w in matrices if w is not None),
                ref=module,
                held=tuple(map(id, held)),
                products=products,
            )
        )

    hooks = [
        m.register_forward_hook(row, with_kwargs=True)
        for m in model.modules()
        if isinstance(m, tuple(KINDS))
    ]
    try:
        with evaluating(model):
            model(zeros(model, X_shape))
    finally:
        for hook in hooks:
            hook.remove()
    return rows


def _attention_macs(module, query, key, value, *args, **kwargs):
    """MACs of a MultiheadAttention."""
    width, of = module.embed_dim, (module.embed_dim, module.kdim, module.vdim)
    sizes = (*(width * n for n in of), width**2)
    query, key = (x[None] if x.dim() == 2 else x for x in (query, key))
    if not module.batch_first:
        query, key = query.transpose(0, 1), key.transpose(0, 1)
    return summary.attention_macs(query.shape, key.shape, sizes, width, width)


def trained(model, X_shape):
    named = model.named_parameters()  # frozen ones, too: they are multiplied by, too
    return {k: (id(p), p.numel() * p.requires_grad) for k, p in named}


def scores(model, batch):
    *X, y = to_tensors(batch, device_of(model), dtype=dtype_of(model))
    Y_hat = model(*X)
    row = {"loss": model.loss(Y_hat, y)}
    if judges_accuracy(model, Y_hat):
        row["acc"] = model.accuracy(Y_hat, y)
    return row


def logits(model, X):
    with evaluating(model):
        X = torch.as_tensor(X, device=device_of(model)).to(images_dtype(model))
        # Channels innermost in memory, as in training. So a trained and a loaded model,
        # whose weights are laid out differently, compute the same to the bit.
        X = X.to(memory_format=torch.channels_last)
        return model(X).cpu().numpy()


def outputs(model, X):
    X = torch.as_tensor(X, device=device_of(model)).to(images_dtype(model))
    with evaluating(model):
        return [(X := layer(X)).cpu().numpy() for layer in model.net]


# Weights in files -----------------------------------------------------------------


trial = _on_trial


def own_tensors(model, shape, variables=None):
    own = nn.Module.state_dict(model, keep_vars=True)
    for name, x in own.items():
        if not torch.is_tensor(x):
            raise weights.WeightsError(
                f"{name.removesuffix(EXTRA_STATE)} keeps a state that is no tensor "
                f"({type(x).__name__}), which a weights file cannot hold."
            )
    return own


is_array = torch.is_tensor


def place(array):
    return array.data_ptr()


def common(row, own):
    if row.kind in WHOLE:
        return {}
    there = ((k, getattr(row.ref, attr, None)) for k, attr in STORED_NAMES.items())
    return {k: (x, None) for k, x in there if x is not None}


def shape_and_dtype(tensor):
    lacks = isinstance(tensor, UninitializedTensorMixin)
    return None if lacks else tuple(tensor.shape), str(tensor.dtype).split(".")[1]


def to_numpy(tensor):
    x = tensor.detach().cpu().contiguous()
    try:
        return x.numpy()
    except TypeError:  # a dtype that NumPy lacks
        bits = x.view(getattr(torch, f"uint{8 * x.element_size()}")).numpy()
        return weights.as_bits(bits, str(x.dtype).split(".")[1])


def _copy(tensor, array):
    """Copy a NumPy array into a tensor."""
    dtype = weights.dtype_name(array)
    if array.dtype.names:
        array = array.view(array.dtype[0])
    x = torch.from_numpy(array).view(getattr(torch, dtype))
    if isinstance(tensor, UninitializedTensorMixin):
        tensor.materialize(x.shape)
    with torch.no_grad():
        tensor.copy_(x)


def set_tensors(model, shape, arrays, variables=None):
    own = own_tensors(model, shape)
    extra = {k: arrays.pop(k) for k in own if k.endswith(EXTRA_STATE)}
    for name, array in arrays.items():
        _copy(own[name], array)
    for name, array in extra.items():
        _copy(x := own[name].clone(), array)
        owner = name.removesuffix(EXTRA_STATE).removesuffix(".")
        model.get_submodule(owner).set_extra_state(x)
    return model


def set_plain(holder, key, array):
    _copy(holder[key], array)
