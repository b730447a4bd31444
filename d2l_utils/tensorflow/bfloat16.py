"""TensorFlow: training steps whose layers compute in bfloat16."""

import contextlib
import functools

import tensorflow as tf


class _Low(tf.keras.DTypePolicy):
    """mixed_bfloat16, but outside of the network a layer takes inputs as they are."""

    def __init__(self, network):
        super().__init__("mixed_bfloat16")
        self.network = network

    def convert_input(self, x, autocast, dtype):
        return super().convert_input(x, autocast and bool(self.network), dtype)


@contextlib.contextmanager
def in_bfloat16(model):
    """Layers compute by Keras's mixed_bfloat16; what leaves the network is float32.

    The network is whatever has weights and is called from outside of another layer: a
    model, or a part of it in a step of the reader's own. A layer with a dtype of its
    own keeps it.
    """
    inside = []  # layers of the network that are being called

    def low(layer, call):
        @functools.wraps(call)
        def calling(*args, **kwargs):
            if not inside and not layer.weights:
                return call(*args, **kwargs)  # a loss, say
            inside.append(layer)
            try:
                Y = call(*args, **kwargs)
            finally:
                inside.pop()
            return Y if inside else tf.nest.map_structure(_in_float32, Y)

        return calling

    with contextlib.ExitStack() as undo:
        for layer in model._flatten_layers():
            policy, own = layer.dtype_policy, vars(layer).get("call")
            if policy.name != "float32":
                continue
            layer.dtype_policy = "mixed_bfloat16" if layer.weights else _Low(inside)
            undo.callback(setattr, layer, "dtype_policy", policy)
            vars(layer)["call"] = low(layer, layer.call)
            if own is None:
                undo.callback(vars(layer).pop, "call")
            else:
                undo.callback(vars(layer).update, call=own)
        yield


def _in_float32(x):
    low = isinstance(x, tf.Tensor) and x.dtype == tf.bfloat16
    return tf.cast(x, tf.float32) if low else x
