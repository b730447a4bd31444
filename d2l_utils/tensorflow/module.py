"""d2l_utils for TensorFlow (Keras 3): what touches tensors. Layout NHWC.

The public names are those of the other framework modules; the shared half is in
the framework-free core.
"""

import contextlib

import numpy as np
import tensorflow as tf
from tensorflow.keras import layers as nn

from d2l_utils import base, summary, weights
from d2l_utils.base import HyperParameters
from d2l_utils.board import ProgressBoard
from d2l_utils.data import DataModule as _DataModule
from d2l_utils.data import FashionMNIST as _FashionMNIST
from d2l_utils.data import images_to_float
from d2l_utils.modules import ClassifierMixin, ModuleMixin
from d2l_utils.tensorflow.device import (
    grow_memory,
)  # fmt: skip
from d2l_utils.tensorflow.layers import (
    channels_first,
    named_variables,
    num_elements,
    trace,
)
from d2l_utils.tensorflow.trainer import Trainer, resized
from d2l_utils.training import Recorder

CHANNELS_LAST = True
PREDICT_BATCH = 256


def set_seed(seed):
    """Seed weights, dropout and the order of the data.

    Keras draws from Python's and NumPy's global generators, so these are seeded.
    """
    base.remember_seed(seed)
    tf.keras.utils.set_random_seed(int(seed))


def init_cnn(module):
    """Glorot-uniform weights, zero biases (Glorot, Bengio 2010), for a built layer."""
    if isinstance(module, nn.Dense | nn.Conv2D) and module.built:
        glorot = tf.keras.initializers.GlorotUniform()
        module.kernel.assign(glorot(module.kernel.shape))
        if module.use_bias:
            module.bias.assign(tf.zeros_like(module.bias))


def _build(model, X_shape):
    """Check that the model takes images of this shape, and give it weights."""
    summary.check_size(
        type(model).__name__,
        X_shape,
        lambda shape: [r.output_shape for r in trace(model, shape)],
        CHANNELS_LAST,
    )
    if not model.built:
        model(tf.zeros((1, *X_shape[1:])), training=False)
    model._input_shape = channels_first(X_shape)[1:]


class Module(ModuleMixin, HyperParameters, tf.keras.Model):
    """Base class of models (textbook, section 3.2).

    `training` is the mode of calls that do not name one; None, and they are in
    evaluation mode. The Trainer sets it, and Keras passes it on to all layers.
    """

    training = None

    def __init__(self, plot_train_per_epoch=2, plot_valid_per_epoch=1):
        super().__init__()
        grow_memory()
        del self.loss  # Keras sets it to None, which hides the method
        self.save_hyperparameters()
        self.board = ProgressBoard()

    def __call__(self, *args, **kwargs):
        if self.training is not None:
            kwargs.setdefault("training", self.training)
        return super().__call__(*args, **kwargs)

    def __setattr__(self, name, value):
        if isinstance(value, tf.Variable):  # which Keras 3 would not train
            trainable = value.trainable
            value = tf.keras.Variable(value, dtype=value.dtype, trainable=trainable)
        super().__setattr__(name, value)

    def call(self, X):
        return self.forward(X)

    def forward(self, X):
        return self.net(X)

    def configure_optimizers(self):
        """SGD with `self.lr` and, where the model has it, `self.momentum`."""
        momentum = float(getattr(self, "momentum", 0))
        return tf.keras.optimizers.SGD(self.lr, momentum=momentum)

    def apply_init(self, inputs, init=None):
        """Build the layers for `inputs`, then apply `init` to each of them."""
        if len(inputs[0].shape) == 4:
            _build(self, tuple(inputs[0].shape))
        else:
            self(*inputs, training=False)
        if init is not None:
            for layer in self._flatten_layers(include_self=False):
                init(layer)


class Classifier(ClassifierMixin, Module):
    """Base class of classifiers (textbook, section 4.3)."""

    def accuracy(self, Y_hat, Y, averaged=True):
        """Share of correct predictions, or one 0 or 1 per example."""
        Y_hat = tf.reshape(Y_hat, (-1, Y_hat.shape[-1]))
        Y = tf.cast(tf.reshape(Y, (-1,)), tf.int64)
        compare = tf.cast(tf.argmax(Y_hat, axis=1) == Y, tf.float32)
        return tf.reduce_mean(compare) if averaged else compare

    def loss(self, Y_hat, Y, averaged=True):
        """Cross-entropy of logits (n, classes) and labels (n,)."""
        Y_hat = tf.reshape(Y_hat, (-1, Y_hat.shape[-1]))
        if Y_hat.dtype.size < 4:  # half precision is too coarse for the sum
            Y_hat = tf.cast(Y_hat, tf.float32)
        Y = tf.cast(tf.reshape(Y, (-1,)), tf.int64)
        l = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=Y, logits=Y_hat)
        return tf.reduce_mean(l) if averaged else l

    def layer_summary(self, X_shape):
        """Print the output shape of every layer of `net` (textbook, 7.6)."""
        _build(self, X_shape)
        X = tf.zeros(X_shape)
        for layer in self.net.layers:
            X = layer(X, training=False)
            print(layer.__class__.__name__, "output shape:\t", X.shape)


class DataModule(_DataModule):
    __doc__ = _DataModule.__doc__

    def take(self, tensor, indices):
        return tf.gather(tensor, indices)


class FashionMNIST(_FashionMNIST, DataModule):
    __doc__ = _FashionMNIST.__doc__

    def to_tensors(self, images, labels):
        grow_memory()
        X = resized(images, self.resize_matrices())
        return X, tf.convert_to_tensor(labels)


def evaluate(model, data):
    """{'loss', 'acc'}: means over the validation data, in evaluation mode."""
    values = Recorder()
    for X, y in data.val_dataloader():
        Y_hat = model(X, training=False)
        row = {"loss": model.loss(Y_hat, y), "acc": model.accuracy(Y_hat, y)}
        values.add(len(y), row)
    return values.means()


def _batches(model, X):
    """NumPy images (n, C, H, W), uint8 or float in [0, 1], as NHWC batches."""
    summary.check_layout(X.shape, channels_last=False)
    X = np.moveaxis(images_to_float(X), 1, -1)
    _build(model, (1, *X.shape[1:]))
    for i in range(0, len(X), PREDICT_BATCH):
        yield tf.convert_to_tensor(X[i : i + PREDICT_BATCH])


def predict(model, X):
    """Logits (n, classes) of NumPy images (n, C, H, W); NumPy out.

    X: uint8, or float in [0, 1]. Raises ValueError for another layout, or images
    too small for the model.
    """
    return np.concatenate([model(x, training=False) for x in _batches(model, X)])


def activations(model, X):
    """Outputs of every layer of `model.net` for NumPy images (n, C, H, W).

    A list of NumPy arrays, channels first.
    """
    outputs = [[] for _ in model.net.layers]
    for x in _batches(model, X):
        for layer, collected in zip(model.net.layers, outputs):
            before, x = x, layer(x, training=False)
            array = x.numpy()
            if isinstance(layer, nn.Flatten):  # in the order of channels first
                array = np.moveaxis(before.numpy(), -1, 1).reshape(array.shape)
            collected.append(np.moveaxis(array, -1, 1))
    return [np.concatenate(parts) for parts in outputs]


def resources(model, X_shape):
    """Parameters, MACs and memory of the model on a batch of shape X_shape.

    Returns `summary.Resources`; see `summary.count` for what is counted.
    """
    _build(model, X_shape)
    rows, params = trace(model, X_shape), num_elements(model.trainable_weights)
    return summary.count(rows, params, X_shape, summary.optimizer_slots(model))


def run_facts():
    """Print versions, processor, device, date and time since the import."""
    base.print_facts(
        [*base.installed("tensorflow", "tensorflow-cpu"), "keras"],
        Trainer(1, num_gpus=1).device_text(),
    )


def save_weights(model, path, variables=None):
    """Save the weights for every framework (format: see `d2l_utils.weights`).

    `variables` is for JAX only. Raises ValueError if the model was never run.
    """
    weights.needs_no_variables(variables)
    shape = weights.known_shape(model)
    c, h, w = shape
    found = named_variables(model, (1, h, w, c))
    weights.write(
        path,
        {k: v.numpy().ravel()[places] for k, (v, places) in found.items()},
        model=type(model).__name__,
        input_shape=shape,
        num_classes=model.num_classes,
    )


def load_weights(model, path, variables=None):
    """Load weights that `save_weights` of any framework wrote; returns the model.

    An unbuilt model is built. Raises WeightsError, with the model unchanged,
    where the file does not fit.
    """
    weights.needs_no_variables(variables)
    tensors, metadata = weights.read(path)
    models = [model]
    if not model.built:  # a file that does not fit must not build the model
        with contextlib.suppress(TypeError):  # arguments that it did not save
            models = [type(model)(**model.hparams), model]
    for net in models:
        c, h, w = weights.build_for(
            net, metadata, lambda s, net=net: _build(net, (1, s[1], s[2], s[0]))
        )
        found = named_variables(net, (1, h, w, c))
        expected = {k: places.shape for k, (_, places) in found.items()}
        weights.check(tensors, metadata, expected, type(model).__name__)
    for name, (variable, places) in found.items():
        value = np.empty(places.size, np.float32)
        value[places] = tensors[name]
        variable.assign(value.reshape(variable.shape))
    return model
