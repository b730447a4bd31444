"""TensorFlow: the layers of a network, its outputs and its weights.

The hooks that d2l_utils.inference calls, see there.
"""

import contextlib
import functools
import warnings

import numpy as np
import tensorflow as tf
from tensorflow.keras import layers as nn

from d2l_utils import summary
from d2l_utils.tensorflow.batches import to_tensors

CHANNELS_LAST = True
HOLDS_WEIGHTS = True

KINDS = {
    nn.Dense: "dense",
    **dict.fromkeys((nn.Conv1D, nn.Conv2D, nn.Conv3D), "conv"),
    nn.BatchNormalization: "bn",
    **dict.fromkeys(
        (nn.MaxPool2D, nn.AvgPool2D, nn.GlobalAvgPool2D, nn.GlobalMaxPool2D), "pool"
    ),
}

# Attributes of layers, and their names in stored weights.
STORED_NAMES = {"kernel": "weight", "gamma": "weight", "bias": "bias", "beta": "bias"}
STORED_NAMES |= {"moving_mean": "mean", "moving_variance": "var"}


# Making weights -------------------------------------------------------------------


def init_cnn(module):
    """Glorot-uniform weights and zero biases (Glorot and Bengio, 2010).

    Parameters:
        module: a layer that has its weights, as `apply_init` gives them.

    Example:
        >>> model.apply_init([X], d2l.init_cnn)
    """
    if isinstance(module, nn.Dense | nn.Conv2D) and module.built:
        glorot = tf.keras.initializers.GlorotUniform()
        module.kernel.assign(glorot(module.kernel.shape))
        if module.use_bias:
            module.bias.assign(tf.zeros_like(module.bias))


@contextlib.contextmanager
def mode(model, training):
    """Calls of the model run in this mode; what was set before is restored."""
    before, model.training = getattr(model, "training", None), training
    try:
        yield
    finally:
        model.training = before


def materialize(model, *inputs):
    """Make the weights of all layers, also of those that are for training alone."""
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
    layer, as in the other frameworks. ref is (layer, one input of it unflattened).
    """
    rows, name = [], summary.Namer()

    def row(layer, x, **kwargs):
        kind = next(k for cls, k in KINDS.items() if isinstance(layer, cls))
        output = tf.zeros(layer.compute_output_shape(tuple(x.shape)), x.dtype)
        before, after = tuple(getattr(x, "before", x.shape)), tuple(output.shape)
        if kind == "dense":  # works along the last axis, in every framework
            shapes = tuple(x.shape), after
        else:
            shapes = channels_first(before), channels_first(after)
        params = num_elements(layer.trainable_weights)
        size, ref = num_elements(layer.weights[:1]), (layer, before[1:])
        rows.append(summary.Layer(name(kind), kind, *shapes, params, size, ref))
        return output

    def reshaping(layer, x, **kwargs):
        output = type(layer).call(layer, x)
        output.before = x.shape
        return output

    def builds_nothing(layer):  # of its own, that is; its layers may
        own = (*KINDS, tf.keras.Sequential)
        return isinstance(layer, own) or type(layer).build is nn.Layer.build

    with contextlib.ExitStack() as undo:
        for layer in model._flatten_layers():
            if not layer.built and builds_nothing(layer):
                layer.built = True
                undo.callback(setattr, layer, "built", False)
            if isinstance(layer, (*KINDS, nn.Flatten, nn.ZeroPadding2D)):
                call = row if isinstance(layer, tuple(KINDS)) else reshaping
                vars(layer)["call"] = functools.partial(call, layer)
                undo.callback(vars(layer).pop, "call")
        model(tf.zeros(X_shape), training=False)
    return rows


def num_trained(model, X_shape=None):
    return num_elements(model.trainable_weights)


def scores(model, batch):
    *X, y = to_tensors(batch)
    Y_hat = model(*X, training=False)
    return {"loss": model.loss(Y_hat, y), "acc": model.accuracy(Y_hat, y)}


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


def named_variables(model, shape):
    """{stored name: (variable, places)} in order of execution.

    places has the stored shape, and says which element of the variable goes where.
    """
    found = {}
    c, h, w = shape
    for row in trace(model, (1, h, w, c)):
        layer, inside = row.ref
        for attr, name in STORED_NAMES.items():
            variable = getattr(layer, attr, None)
            if variable is None:
                continue
            places = np.arange(num_elements([variable])).reshape(variable.shape)
            if attr == "kernel":  # (*size, in, out) to (out, in, *size)
                if row.kind == "dense":  # as a convolution over all of its input,
                    places = places.reshape(*inside, -1)
                places = np.moveaxis(places, (-1, -2), (0, 1))
                if row.kind == "dense":  # which is stored flattened channels first
                    places = places.reshape(len(places), -1)
            found.setdefault(f"{row.name}.{name}", (variable, places))
    return found


def stored_shapes(model, shape):
    found = named_variables(model, shape).items()
    return {k: places.shape for k, (_, places) in found}


def stored(model, shape, variables=None):
    found = named_variables(model, shape).items()
    return {k: v.numpy().ravel()[places] for k, (v, places) in found}


def set_stored(model, shape, tensors, variables=None):
    for name, (variable, places) in named_variables(model, shape).items():
        value = np.empty(places.size, np.float32)
        value[places] = tensors[name]
        variable.assign(value.reshape(variable.shape))
    return model
