"""TensorFlow: the layers of a model in order of execution, and their variables."""

import contextlib
import functools

import numpy as np
import tensorflow as tf
from tensorflow.keras import layers as nn

from d2l_utils import summary

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


def channels_first(shape):
    """(n, *size, c) as (n, c, *size)."""
    n, *size, c = shape
    return (n, c, *size)


def num_elements(variables):
    """Number of elements of all variables together."""
    return sum(int(np.prod(v.shape)) for v in variables)


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


def named_variables(model, X_shape):
    """{stored name: (variable, places)} in order of execution.

    places has the stored shape, and says which element of the variable goes where.
    """
    found = {}
    for row in trace(model, X_shape):
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
