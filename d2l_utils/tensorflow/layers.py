"""TensorFlow: the layers of a network, its outputs and its weights.

The hooks that d2l_utils.inference calls, see there.
"""

import contextlib
import functools
import re
import warnings
from typing import Any

import numpy as np
import tensorflow as tf
from keras.src.backend.common.stateless_scope import in_stateless_scope
from tensorflow.keras import layers as nn

from d2l_utils import initial, summary, weights
from d2l_utils.batches import judges_accuracy
from d2l_utils.frameworks import FRAMEWORKS
from d2l_utils.tensorflow.batches import to_tensors

CHANNELS_LAST = FRAMEWORKS["tensorflow"].channels_last
HOLDS_WEIGHTS = True

KINDS = {
    nn.Dense: "dense",
    **dict.fromkeys((nn.Conv1D, nn.Conv2D, nn.Conv3D), "conv"),
    **dict.fromkeys((nn.DepthwiseConv1D, nn.DepthwiseConv2D), "conv"),
    **dict.fromkeys((nn.SeparableConv1D, nn.SeparableConv2D), "separable"),
    **dict.fromkeys(
        (nn.Conv1DTranspose, nn.Conv2DTranspose, nn.Conv3DTranspose), "tconv"
    ),
    nn.BatchNormalization: "bn",
    nn.LayerNormalization: "ln",
    nn.GroupNormalization: "gn",
    nn.PReLU: "prelu",
    nn.Embedding: "embedding",
    **dict.fromkeys((nn.SimpleRNN, nn.LSTM, nn.GRU), "recurrent"),
    **dict.fromkeys(
        (nn.MaxPool2D, nn.AvgPool2D, nn.GlobalAvgPool2D, nn.GlobalMaxPool2D), "pool"
    ),
}
FEATURES_LAST = ("dense", "recurrent", "embedding")  # whose rows keep features last

# Attributes of layers, and their names in stored weights.
STORED_NAMES = {"kernel": "weight", "gamma": "weight", "bias": "bias", "beta": "bias"}
STORED_NAMES |= {"moving_mean": "mean", "moving_variance": "var", "alpha": "weight"}
STORED_NAMES |= {"embeddings": "weight"}
_laying_out = False


# Making weights -------------------------------------------------------------------


@tf.keras.utils.register_keras_serializable("d2l_utils")
def init_cnn(module: Any, dtype: Any = None) -> Any:
    """Glorot-uniform weights and zero biases (Glorot and Bengio, 2010).

    NumPy draws them from the seed of `set_seed`, one layer after the other, so that
    the same network starts alike in all four frameworks, to the bit; in a `Module`
    also with a dense layer behind a flattening. It is for convolutions, transposed
    ones, too, and dense layers.

    Parameters:
        module: a layer that has its weights, as `apply_init` gives them, in the order
            of their use; or the shape of a weight, as Keras gives it to an initializer.
        dtype: of such a weight.

    Returns:
        For a shape, the weight (*size, in, out).

    Example:
        >>> layer = tf.keras.layers.Dense(10, kernel_initializer=d2l.init_cnn)
        >>> model.apply_init([X], d2l.init_cnn)
    """
    return _init(module, dtype, initial.glorot)


@tf.keras.utils.register_keras_serializable("d2l_utils")
def init_he(module: Any, dtype: Any = None) -> Any:
    """Normal weights of variance 2 / inputs, for layers with ReLU, and zero biases.

    He et al. (2015). Drawn as those of `init_cnn`, see there.

    Parameters:
        module, dtype: as for `init_cnn`.

    Returns:
        For a shape, the weight (*size, in, out).

    Example:
        >>> layer = tf.keras.layers.Dense(10, kernel_initializer=d2l.init_he)
    """
    return _init(module, dtype, initial.he)


RULES = {init_cnn: initial.glorot, init_he: initial.he}


def _init(x, dtype, rule):
    if not isinstance(x, nn.Layer):
        # Keras also asks in passing, to work out shapes before it makes weights.
        with initial.aside() if in_stateless_scope() else contextlib.nullcontext():
            weight = initial.channels_last(rule, x)
        return tf.cast(weight, dtype or tf.keras.config.floatx())
    kind = next((v for k, v in KINDS.items() if isinstance(x, k)), None)
    if kind in initial.KINDS and x.built:
        own, size = x.kernel, tuple(x.kernel.shape)
        own.assign(_as_stored(x, kind, "kernel", size[:-1]).made(rule, size))
        if x.use_bias:
            x.bias.assign(tf.zeros_like(x.bias))
    return None


@contextlib.contextmanager
def laying_out(model, X_shape):
    """Dense layers built in the block begin as in the other frameworks, to the bit.

    `init_cnn` is given only a shape and does not know what was flattened, so afterwards
    their rows are put into the order of channels last.
    """
    global _laying_out
    fresh, before = to_lay_out(model), _laying_out
    _laying_out = True  # models within this one do nothing
    try:
        yield
    finally:
        _laying_out = before
    for row in trace(model, X_shape):
        layer, inside = row.ref or (None, None)
        if any(layer is x for x in fresh):
            fresh = [x for x in fresh if x is not layer]
            kernel = layer.kernel
            x = _as_stored(layer, "dense", "kernel", inside)
            kernel.assign(x.from_stored(kernel.numpy().T, tuple(kernel.shape)))


def to_lay_out(model):
    """The unbuilt dense layers whose initializer is `init_cnn` or `init_he`."""
    if _laying_out or not tf.executing_eagerly():
        return []
    layers = model._flatten_layers()
    dense = (x for x in layers if isinstance(x, nn.Dense) and not x.built)
    return [x for x in dense if any(x.kernel_initializer is f for f in RULES)]


@contextlib.contextmanager
def mode(model, training):
    """Calls of the model run in this mode; what was set before is restored.

    In training, so do direct calls of its layers, such as `self.net(X)` in a step,
    unless the call says otherwise.
    """
    before, model.training = getattr(model, "training", None), training
    with contextlib.ExitStack() as undo:
        undo.callback(setattr, model, "training", before)
        layers = model._flatten_layers(include_self=False) if training else ()
        for layer in layers:
            signature = layer._call_signature  # by which Keras knows the default
            if "training" in signature.parameters:
                undo.callback(setattr, layer, "_call_signature", signature)
                layer._call_signature = _with_default(signature, training=True)
        yield


@contextlib.contextmanager
def losses_beside(model):
    """Context, of a function that gives what layers add to the loss of a step in it.

    These are Keras's regularizers and `add_loss`. It gives nothing where the step has
    looked at `losses` itself, and so has added them.
    """
    looked, name = [], "_get_regularization_losses"

    def look(layer):
        looked.append(layer)
        return getattr(type(layer), name)(layer)

    model._clear_losses()  # of an earlier step
    with contextlib.ExitStack() as undo:
        for layer in model._flatten_layers():
            vars(layer)[name] = functools.partial(look, layer)
            undo.callback(vars(layer).pop, name, None)
        yield lambda: [] if looked else model.losses


def _with_default(signature, **defaults):
    parameters = signature.parameters.values()
    parameters = [
        p.replace(default=defaults.get(p.name, p.default)) for p in parameters
    ]
    return signature.replace(parameters=parameters)


def materialize(model, *inputs):
    """Make the weights of all layers, also of those called in training only."""
    with warnings.catch_warnings():  # of layers that this call does not build
        warnings.filterwarnings("ignore", message=r"`build\(\)` was called on layer")
        model(*inputs, training=False)
    if not all(layer.built for layer in model._flatten_layers()):
        # In this scope statistics and generators stay as they are.
        with tf.keras.StatelessScope(), mode(model, training=True):
            model(*inputs, training=True)


def build(model, X_shape):
    before = getattr(model, "_input_shape", None)
    try:
        summary.check_size(
            type(model).__name__,
            X_shape,
            lambda shape: [r.output_shape for r in trace(model, shape)],
            CHANNELS_LAST,
        )
    except Exception:
        model._input_shape = before
        raise
    if not model.built:
        materialize(model, tf.zeros((1, *X_shape[1:])))
    model._input_shape = channels_first(X_shape)[1:]


# Looking at layers ----------------------------------------------------------------


def channels_first(shape):
    """(n, *size, c) as (n, c, *size)."""
    n, *size, c = shape
    return (n, c, *size)


def num_elements(variables):
    """Number of elements of all variables together."""
    return sum(int(np.prod(v.shape)) for v in variables)


@contextlib.contextmanager
def evaluating(model):
    """Nothing: calls that do not say otherwise are in evaluation mode."""
    yield


def trace(model, X_shape):
    """Rows of `summary.Layer` in the order in which a batch passes them.

    Keras builds a layer in its first call, and a build that fails on the way
    cannot be repeated. So layers of KINDS only work out shapes here: they need no
    weights and get none. Padding by a layer of its own counts as part of the next
    layer, as in the other frameworks. ref is (layer, the shape of one example of its
    input, before it was flattened).
    """
    rows, name, flat = [], summary.Namer(), ()  # flat: what was flattened last

    def row(layer, x, *args, **kwargs):
        nonlocal flat
        kind = next(k for cls, k in KINDS.items() if isinstance(layer, cls))
        sizes = layer.compute_output_shape(tuple(x.shape))
        several = isinstance(sizes[0], tuple | list)  # a recurrent layer's states, too
        outputs = [
            tf.zeros(size, layer.compute_dtype)
            for size in (sizes if several else [sizes])
        ]
        before, after = tuple(getattr(x, "before", x.shape)), tuple(outputs[0].shape)
        if len(x.shape) == 2 and x.shape[1] == np.prod(flat[1:], dtype=int):
            before = tuple(flat)
        if kind == "dense" and len(x.shape) > 2:  # it works on the last axis
            before = before[:1] + before[-1:]
        if kind not in summary.FREE or len(x.shape) > 2:
            flat = ()
        if kind in FEATURES_LAST:
            shapes = tuple(x.shape), after
        else:
            shapes = channels_first(before), channels_first(after)
        matrices = layer.weights[:1]
        if kind in ("recurrent", "separable"):
            matrices = [v for v in layer.weights if len(v.shape) > 1]
        params, size = map(num_elements, (layer.trainable_weights, matrices))
        held = tuple(map(id, layer.trainable_weights))
        ref = layer, before[1:]
        rows.append(summary.Layer(name(kind), kind, *shapes, params, size, ref, held))
        return outputs if several else outputs[0]

    def attention(layer, query, value, key=None, **kwargs):
        y = type(layer).call(layer, query, value, key, **kwargs)
        parts = layer.query_dense, layer.key_dense, layer.value_dense
        kernels = [part.kernel for part in (*parts, layer.output_dense)]
        sizes = [num_elements([k]) for k in kernels]
        widths = (int(np.prod(k.shape[1:])) for k in kernels[1:3])
        shape = tuple((value if key is None else key).shape)
        rows.append(
            summary.Layer(
                name=name("attention"),
                kind="attention",
                input_shape=tuple(query.shape),
                output_shape=tuple((y[0] if isinstance(y, tuple) else y).shape),
                params=num_elements(layer.trainable_weights),
                held=tuple(map(id, layer.trainable_weights)),
                products=summary.attention_macs(query.shape, shape, sizes, *widths),
            )
        )
        return y

    def reshaping(layer, x, **kwargs):
        nonlocal flat
        output = type(layer).call(layer, x)
        output.before = x.shape
        if isinstance(layer, nn.Flatten):
            flat = tuple(x.shape)
        return output

    def builds_nothing(layer):  # of its own, that is; its layers may
        own = (*KINDS, tf.keras.Sequential)
        return isinstance(layer, own) or type(layer).build is nn.Layer.build

    layers = model._flatten_layers()
    wrappers = [x for x in layers if isinstance(x, nn.Wrapper | nn.Bidirectional)]
    wrapped = {id(y) for x in wrappers for y in x._flatten_layers()}  # built by them
    with contextlib.ExitStack() as undo:
        for layer in layers:
            if not layer.built and builds_nothing(layer) and id(layer) not in wrapped:
                layer.built = True
                undo.callback(setattr, layer, "built", False)
            for classes, call in (
                (tuple(KINDS), row),
                (nn.MultiHeadAttention, attention),
                ((nn.Flatten, nn.ZeroPadding2D), reshaping),
            ):
                if not isinstance(layer, classes):
                    continue
                vars(layer)["call"] = functools.partial(call, layer)
                undo.callback(vars(layer).pop, "call")
        model(tf.zeros(X_shape), training=False)
    return rows


def trained(model, X_shape):
    of = {id(v): v for v in model.trainable_variables}
    own = own_tensors(model, None).items()
    return {k: (id(v), num_elements([v])) for k, v in own if id(v) in of}


def scores(model, batch):
    *X, y = to_tensors(batch)
    Y_hat = model(*X, training=False)
    row = {"loss": model.loss(Y_hat, y)}
    if judges_accuracy(model, Y_hat):
        row["acc"] = model.accuracy(Y_hat, y)
    return row


def logits(model, X):
    return model(np.moveaxis(X, 1, -1), training=False).numpy()


def outputs(model, X):
    X, found = tf.convert_to_tensor(np.moveaxis(X, 1, -1)), []
    for layer in model.net.layers:
        before, X = X, layer(X, training=False)
        array = X.numpy()
        if isinstance(layer, nn.Flatten):  # in the order of channels first
            array = np.moveaxis(before.numpy(), -1, 1).reshape(array.shape)
        found.append(np.moveaxis(array, -1, 1))
    return found


# Weights in files -----------------------------------------------------------------


@contextlib.contextmanager
def trial(model):
    net = model
    if not model.built:  # Keras cannot take a build back: it is tried on another model
        with contextlib.suppress(TypeError):  # arguments that it did not save
            net = type(model)(**model.hparams)
    yield net


def own_tensors(model, shape, variables=None):
    """By number, since Keras's own names count instances."""
    layers, own = model._flatten_layers()[1:], {}
    owner = {
        id(v): f"{type(layer).__name__}."
        for layer in layers
        for v in layer._trainable_variables + layer._non_trainable_variables
    }
    for i, v in enumerate(model.weights):  # without states of random generators
        own[f"{i}.{owner.get(id(v), '')}{re.sub(r'_[0-9]+$', '', v.name)}"] = v
    return own


is_array, place = tf.is_tensor, id


def common(row, own):
    if row.kind in ("recurrent", "separable", "attention", "pool"):
        return {}
    (layer, inside), there = row.ref, {}
    for attr, name in STORED_NAMES.items():
        if getattr(layer, attr, None) is not None:
            x = _as_stored(layer, row.kind, attr, inside)
            there[name] = x.value, None if attr == "embeddings" else x.layout
    return there


def _as_stored(layer, kind, attr, inside):
    """A variable of a layer, see `_to_stored`."""
    depthwise = isinstance(layer, nn.DepthwiseConv1D | nn.DepthwiseConv2D)
    kind = "depthwise" if depthwise else kind
    layout = functools.partial(_to_stored, kind, attr, inside)
    return weights.Tensor(attr, getattr(layer, attr), layout)


def _to_stored(kind, attr, inside, x):
    """(*size, in, out) as (out, in, *size); vectors (*size, c) as (c, *size).

    inside: the shape of an example, before it was flattened, since flattened arrays
    are stored channels first.
    """
    if "kernel" not in attr:
        # Never a bias: it has one number an output, even if as many as `inside`.
        features = kind in summary.FREE and x.ndim == 1 < len(inside)
        flat = features and x.size == np.prod(inside)
        y = np.moveaxis(x.reshape(inside) if flat else x, -1, 0)
        # A PReLU that shares its numbers among places has axes of length 1 there.
        return y.reshape(-1) if flat or y.size == len(y) else y
    if kind == "depthwise":  # (*size, in, multiple)
        x = x.reshape(*x.shape[:-2], 1, -1)
    if kind == "dense":  # a convolution over all of its input
        x = x.reshape(*inside, -1)
    x = np.moveaxis(x, (-1, -2), (0, 1))
    return x.reshape(len(x), -1) if kind == "dense" else x


def shape_and_dtype(tensor):
    return tuple(tensor.shape), tf.as_dtype(tensor.dtype).name


def to_numpy(tensor):
    return weights.as_bits(tensor.numpy())


def _from_bits(array):
    return weights.from_bits(array, lambda name: tf.as_dtype(name).as_numpy_dtype)


def set_tensors(model, shape, arrays, variables=None):
    own = own_tensors(model, shape)
    for name, array in arrays.items():
        own[name].assign(_from_bits(array))
    return model


def set_plain(holder, key, array):
    before, array = holder[key], _from_bits(array)
    if isinstance(before, tf.Variable):
        before.assign(tf.cast(array, before.dtype))
    else:
        holder[key] = tf.cast(array, before.dtype)
