"""Manners of Keras 2 that the textbook's TensorFlow code relies on, for Keras 3.

For `d2l_utils.as_d2l` alone, and `d2l_utils.run`, which uses it:

    Sequential(layer)           is Sequential([layer]), as textbook code for VGG and
                                ResNet makes a network of one block first
    call(self, X, training)     without a default: `training` is None where a call does
                                not say, in place of a TypeError
    self.blocks.layers          of a list attribute: the layers in the list

Each says so in one line when it is first used.
"""

import functools
import inspect

import tensorflow as tf

_said = set()


def _say(text):
    if text not in _said:
        _said.add(text)
        print(f"As in Keras 2: {text}.")


@functools.cache
def install():
    """Give Keras these manners; a second call changes nothing."""
    Sequential, Layer = tf.keras.Sequential, tf.keras.layers.Layer
    former_sequential, former_layer = Sequential.__init__, Layer.__init__

    def init_sequential(self, layers=None, trainable=True, name=None):
        if isinstance(layers, Layer):
            _say("Sequential(layer) is taken for Sequential([layer])")
            layers = [layers]
        former_sequential(self, layers, trainable, name)

    def init_layer(self, **kwargs):
        _give_default(type(self).call)
        former_layer(self, **kwargs)

    def layers_of(tracked):
        _say("a list of layers has an attribute `layers`")
        return [x for x in tracked if isinstance(x, Layer)]

    Sequential.__init__, Layer.__init__ = init_sequential, init_layer
    holder = Layer()
    holder.parts = []
    type(holder.parts).layers = property(layers_of)  # Keras 3 wraps lists, too


def _give_default(call):
    """Let `training` of a layer's `call` be None where it has no default."""
    parameters = list(inspect.signature(call).parameters.values())
    names = [p.name for p in parameters]
    if "training" not in names:
        return
    parameter = parameters[names.index("training")]
    if parameter.default is not parameter.empty:
        return
    _say("`training` of call(self, X, training) may be left out")
    if parameter.kind is parameter.KEYWORD_ONLY:
        call.__kwdefaults__ = {**(call.__kwdefaults__ or {}), "training": None}
    else:
        positional = [p for p in parameters if p.kind <= p.POSITIONAL_OR_KEYWORD]
        after = positional[names.index("training") :]
        given = (None if p.default is p.empty else p.default for p in after)
        call.__defaults__ = tuple(given)
