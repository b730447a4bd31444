"""TensorFlow (Keras 3): base classes of models, the data in tensors, the seed. NHWC."""

import inspect

import tensorflow as tf

from d2l_utils import base, initial
from d2l_utils.base import HyperParameters
from d2l_utils.batches import dtype_name
from d2l_utils.board import ProgressBoard
from d2l_utils.data import DataModule as _DataModule
from d2l_utils.data import FashionMNIST as _FashionMNIST
from d2l_utils.inference import initialize, settle
from d2l_utils.modules import ClassifierMixin, ModuleMixin, Remade
from d2l_utils.ownership import library, replaced
from d2l_utils.tensorflow.batches import to_images
from d2l_utils.tensorflow.device import grow_memory
from d2l_utils.tensorflow.layers import (
    CHANNELS_LAST,
    RULES,
    build,
    laying_out,
    materialize,
    to_lay_out,
)  # fmt: skip


def set_seed(seed: int) -> None:
    """Seed weights, dropout and the order of the data.

    Keras draws from Python's and NumPy's global generators, so these are seeded, too.

    Parameters:
        seed: a whole number.

    Example:
        >>> d2l.set_seed(1)
    """
    base.remember_seed(seed)
    initial.start(seed)
    tf.keras.utils.set_random_seed(int(seed))


@library
class Module(Remade, ModuleMixin, HyperParameters, tf.keras.Model):
    """Base class of models (textbook, section 3.2).

    A subclass makes `self.net` in its constructor and defines `loss`; it may define
    `call`, `training_step`, `configure_optimizers` and more.

    `training` is the mode of calls that do not name one; None means evaluation mode.
    The Trainer sets it, and Keras passes it on to all layers.

    Parameters:
        plot_train_per_epoch, plot_valid_per_epoch: points of each curve per epoch.

    Example:
        >>> class Linear(d2l.Module):
        ...     def __init__(self, lr=0.1):
        ...         super().__init__()
        ...         self.save_hyperparameters()
        ...         self.net = tf.keras.layers.Dense(1)
        ...     def loss(self, y_hat, y):
        ...         return tf.reduce_mean((y_hat - y) ** 2)
    """

    _FORWARD = ("call", "forward")
    training = None
    _called_with = None  # (shape, name of dtype) of each input of its first call
    _CHANNELS_LAST = CHANNELS_LAST

    def __init__(
        self, plot_train_per_epoch: int = 2, plot_valid_per_epoch: int = 1
    ) -> None:
        super().__init__()
        if not replaced(self, "call"):
            self._sign(self.forward)
        grow_memory()
        del self.loss  # Keras sets it to None, which hides the method
        self.save_hyperparameters()
        self.board = ProgressBoard()

    def __call__(self, *args, **kwargs):
        if self._called_with is None and all(hasattr(x, "shape") for x in args):
            found = tuple((tuple(x.shape), dtype_name(x)) for x in args)
            vars(self)["_called_with"] = found
        if self.training is not None:
            kwargs.setdefault("training", self.training)
        if "_draws" in vars(self):
            with tf.init_scope():  # this call may be within a graph
                settle(self)
        images = len(args) == 1 and len(getattr(args[0], "shape", ())) == 4
        if images and not self.built and to_lay_out(self):
            with laying_out(self, (1, *args[0].shape[1:])):
                super().__call__(tf.zeros_like(args[0][:1]), training=False)
        return super().__call__(*args, **kwargs)

    def _sign(self, function):
        """Let Keras call the model as it would call this function.

        It has read the signature of `call`, which takes whatever `forward` does.
        """
        self._call_signature = inspect.signature(function)
        self.call_signature_parameters = names = [*self._call_signature.parameters]
        self._call_has_training_arg = "training" in names
        self._call_has_mask_arg = "mask" in names
        context = getattr(self, "_call_has_context_arg", {})  # of newer versions
        context.update({arg: arg in names for arg in context})

    def __setattr__(self, name, value):
        if isinstance(value, tf.Variable):  # which Keras 3 would not train
            trainable = value.trainable
            value = tf.keras.Variable(value, dtype=value.dtype, trainable=trainable)
        super().__setattr__(name, value)

    def _weights_in_order(self):
        called_with = self._called_with if self.built else None
        if self.built and called_with is None:  # on a list or a dictionary
            config = self.get_build_config()
            shapes = config.get("shapes_dict") or {"X": config["input_shape"]}
            called_with = [(x, "float32") for x in shapes.values()]
        return called_with, [(v.numpy(), v.trainable) for v in self.variables]

    def _set_weights_in_order(self, weights):
        called_with, values = weights
        if called_with and not self.built:
            inputs = [tf.zeros([n or 1 for n in x], dtype) for x, dtype in called_with]
            materialize(self, *inputs)
        for v, (value, trainable) in zip(self.variables, values, strict=True):
            v.assign(value)
            v.trainable = trainable

    def call(self, *inputs, **kwargs):
        return self.forward(*inputs, **kwargs)

    def forward(self, X):
        return self.net(X)

    def configure_optimizers(self):
        momentum = float(getattr(self, "momentum", 0))
        return tf.keras.optimizers.SGD(self.lr, momentum=momentum)

    def apply_init(self, inputs, init=None):
        def make():
            if len(inputs) == 1 and len(inputs[0].shape) == 4:
                build(self, tuple(inputs[0].shape))
            else:
                materialize(self, *inputs)

        def each(init):
            for layer in self._flatten_layers(include_self=False):
                init(layer)

        initialize(self, make, init, RULES.get(init), each)


@library
class Classifier(ClassifierMixin, Module):
    """Base class of classifiers (textbook, section 4.3).

    Its loss is the cross-entropy of logits; it records accuracy, too.

    Parameters:
        plot_train_per_epoch, plot_valid_per_epoch: as in `Module`.

    Example:
        >>> class Softmax(d2l.Classifier):
        ...     def __init__(self, lr=0.1, num_classes=10):
        ...         super().__init__()
        ...         self.save_hyperparameters()
        ...         self.net = tf.keras.Sequential(
        ...             [tf.keras.layers.Flatten(), tf.keras.layers.Dense(num_classes)]
        ...         )
    """

    def accuracy(self, Y_hat, Y, averaged=True):
        Y_hat = tf.reshape(Y_hat, (-1, Y_hat.shape[-1]))
        Y = tf.cast(tf.reshape(Y, (-1,)), tf.int64)
        compare = tf.cast(tf.argmax(Y_hat, axis=1) == Y, tf.float32)
        return tf.reduce_mean(compare) if averaged else compare

    def loss(self, Y_hat, Y, averaged=True):
        Y_hat = tf.reshape(Y_hat, (-1, Y_hat.shape[-1]))
        if Y_hat.dtype.size < 4:  # half precision is too coarse for the sum
            Y_hat = tf.cast(Y_hat, tf.float32)
        Y = tf.cast(tf.reshape(Y, (-1,)), tf.int64)
        l = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=Y, logits=Y_hat)
        return tf.reduce_mean(l) if averaged else l

    def layer_summary(self, X_shape):
        with initial.draft(self):
            build(self, X_shape)
        X = tf.zeros(X_shape)
        for layer in self.net.layers:
            X = layer(X, training=False)
            print(layer.__class__.__name__, "output shape:\t", X.shape)


@library
class DataModule(_DataModule):
    __doc__ = _DataModule.__doc__

    def take(self, tensor, indices):
        return tf.gather(tensor, indices)


@library
class FashionMNIST(_FashionMNIST, DataModule):
    __doc__ = _FashionMNIST.__doc__

    def to_tensors(self, images, labels):
        grow_memory()
        X = to_images(images, self.resize_matrices())
        return X, tf.convert_to_tensor(labels)
