"""TensorFlow: what the textbook's other sections use. Layout NHWC."""

import copy
import sys

import tensorflow as tf
from tensorflow.keras import layers as nn

from d2l_utils.loops import Loops
from d2l_utils.ownership import library
from d2l_utils.tensorflow import (
    Classifier,
    DataModule,
    FashionMNIST,  # noqa: F401 (loops.py takes it from this module)
    HyperParameters,
    Module,
)

__all__ = [
    "LeNet", "LinearRegression", "LinearRegressionScratch", "ResNeXtBlock", "Residual",
    "SGD", "SoftmaxRegression", "SyntheticRegressionData", "Updater", "abs", "arange",
    "argmax", "astype", "batch_matmul", "concat", "corr2d", "cos", "cosh", "exp",
    "expand_dims", "eye", "float32", "int32", "int64", "linspace", "log", "matmul",
    "meshgrid", "nn_Module", "normal", "numpy", "ones", "ones_like", "rand",
    "reduce_mean", "reduce_sum", "repeat", "reshape", "sgd", "sigmoid", "sin", "sinh",
    "size", "stack", "tanh", "tensor", "transpose", "zeros", "zeros_like",
]  # fmt: skip

IMPORTED = {"np": "numpy", "tf": "tensorflow"}  # as d2l's module has it

nn_Module = tf.keras.Model

# Data and regression (textbook, 3.3 to 3.5) ----------------------------------------


@library
class SyntheticRegressionData(DataModule):
    """y = X w + b + noise, X standard normal (textbook, section 3.3).

    w: (d,) or (d, 1); X (num_train + num_val, d), y (num_train + num_val, 1).
    """

    def __init__(
        self, w, b, noise=0.01, num_train=1000, num_val=1000, batch_size=32
    ):  # fmt: skip
        super().__init__()
        self.save_hyperparameters()
        n = num_train + num_val
        self.X = tf.random.normal((n, w.shape[0]))
        errors = noise * tf.random.normal((n, 1))
        self.y = self.X @ tf.reshape(w, (-1, 1)) + b + errors

    def get_dataloader(self, train):
        rows = slice(0, self.num_train) if train else slice(self.num_train, None)
        return self.get_tensorloader((self.X, self.y), train, rows)


@library
class LinearRegressionScratch(Module):
    """Linear regression on plain variables (textbook, section 3.4)."""

    def __init__(self, num_inputs, lr, sigma=0.01):
        super().__init__()
        self.save_hyperparameters()
        self.w = tf.Variable(tf.random.normal((num_inputs, 1), stddev=sigma))
        self.b = tf.Variable(tf.zeros(1))

    def forward(self, X):
        return X @ self.w + self.b

    def loss(self, y_hat, y):
        """Half the mean squared error."""
        return tf.reduce_mean((y_hat - y) ** 2 / 2)

    def configure_optimizers(self):
        return SGD(self.lr)


@library
class SGD(HyperParameters):
    """Minibatch SGD on pairs of gradient and variable (textbook, section 3.4)."""

    def __init__(self, lr):
        self.save_hyperparameters()

    def apply_gradients(self, grads_and_vars):
        for grad, param in grads_and_vars:
            param.assign_sub(self.lr * grad)


@library
class LinearRegression(Module):
    """Linear regression with one dense layer (textbook, section 3.5)."""

    def __init__(self, lr):
        super().__init__()
        self.save_hyperparameters()
        normal = tf.keras.initializers.RandomNormal(stddev=0.01)
        self.net = nn.Dense(1, kernel_initializer=normal)

    def loss(self, y_hat, y):
        """The mean squared error."""
        return tf.reduce_mean((y_hat - y) ** 2)

    def get_w_b(self):
        """The weights (d, 1) and the bias (1,), NumPy."""
        return self.get_weights()[0], self.get_weights()[1]


# Networks (textbook, 4.5, 7.2, 7.6, 8.6) -------------------------------------------


@library
class SoftmaxRegression(Classifier):
    """One dense layer on flattened images (textbook, section 4.5)."""

    def __init__(self, num_outputs, lr):
        super().__init__()
        self.save_hyperparameters()
        self.net = tf.keras.Sequential([nn.Flatten(), nn.Dense(num_outputs)])


def corr2d(X, K):
    """The cross-correlation of two matrices, without padding (textbook, 7.2).

    As in the textbook, it is a variable.
    """
    X, K = (tf.convert_to_tensor(x, tf.float32) for x in (X, K))
    Y = tf.nn.conv2d(X[None, ..., None], K[..., None, None], 1, "VALID")
    return tf.Variable(Y[0, ..., 0])


@library
class LeNet(Classifier):
    """LeNet-5 (LeCun et al. 1998; textbook, section 7.6)."""

    def __init__(self, lr=0.1, num_classes=10):
        super().__init__()
        self.save_hyperparameters()
        self.net = tf.keras.Sequential([
            nn.Conv2D(6, kernel_size=5, padding="same", activation="sigmoid"),
            nn.AveragePooling2D(pool_size=2, strides=2),
            nn.Conv2D(16, kernel_size=5, activation="sigmoid"),
            nn.AveragePooling2D(pool_size=2, strides=2),
            nn.Flatten(),
            nn.Dense(120, activation="sigmoid"),
            nn.Dense(84, activation="sigmoid"),
            nn.Dense(num_classes),
        ])  # fmt: skip


class Residual(tf.keras.Model):
    """The block of ResNet (He et al. 2016; textbook, section 8.6).

    Padded on both sides alike, as in the other frameworks; 'same' with stride 2
    would shift the image by one pixel.
    """

    def __init__(self, num_channels, use_1x1conv=False, strides=1):
        super().__init__()
        self.pad = nn.ZeroPadding2D(1)
        self.conv1 = nn.Conv2D(num_channels, 3, strides=strides)
        self.conv2 = nn.Conv2D(num_channels, 3, padding="same")
        self.conv3 = None
        if use_1x1conv:
            self.conv3 = nn.Conv2D(num_channels, 1, strides=strides)
        self.bn1, self.bn2 = nn.BatchNormalization(), nn.BatchNormalization()

    def call(self, X):
        Y = tf.nn.relu(self.bn1(self.conv1(self.pad(X))))
        Y = self.bn2(self.conv2(Y))
        return tf.nn.relu(Y + (X if self.conv3 is None else self.conv3(X)))


class ResNeXtBlock(tf.keras.Model):
    """The block of ResNeXt (Xie et al. 2017; textbook, section 8.6).

    groups: channels of a group, as in the textbook; bot_mul: the inner channels
    as a share of `num_channels`. Padded as `Residual`.
    """

    def __init__(self, num_channels, groups, bot_mul, use_1x1conv=False, strides=1):
        super().__init__()
        inner = round(num_channels * bot_mul)
        self.pad = nn.ZeroPadding2D(1)
        self.conv1 = nn.Conv2D(inner, 1)
        self.conv2 = nn.Conv2D(inner, 3, strides=strides, groups=inner // groups)
        self.conv3 = nn.Conv2D(num_channels, 1)
        self.bn1, self.bn2, self.bn3 = (nn.BatchNormalization() for _ in range(3))
        self.conv4 = None
        if use_1x1conv:
            self.conv4 = nn.Conv2D(num_channels, 1, strides=strides)
            self.bn4 = nn.BatchNormalization()

    def call(self, X):
        Y = tf.nn.relu(self.bn1(self.conv1(X)))
        Y = tf.nn.relu(self.bn2(self.conv2(self.pad(Y))))
        Y = self.bn3(self.conv3(Y))
        return tf.nn.relu(Y + (X if self.conv4 is None else self.bn4(self.conv4(X))))


# Training by functions (3.6, 6.6 of the edition before this one) ---------------------


def sgd(params, grads, lr, batch_size):
    """A step of minibatch SGD on gradients that are sums over the batch."""
    for param, grad in zip(params, grads):
        param.assign_sub(lr * grad / batch_size)


class Updater:
    """Minibatch SGD on variables, as `train_ch3` takes it."""

    def __init__(self, params, lr):
        self.params, self.lr = params, lr

    def __call__(self, batch_size, grads):
        sgd(self.params, grads, self.lr, batch_size)


class _Loops(Loops):
    def as_iterator(self, loader):
        """As a tf.data.Dataset, which `fit` of Keras takes, too."""
        batch = next(iter(copy.copy(loader)))  # a copy: this counts as no pass
        kinds = tuple(tf.TensorSpec((None, *x.shape[1:]), x.dtype) for x in batch)
        dataset = tf.data.Dataset.from_generator(
            lambda: iter(loader), output_signature=kinds
        )
        return dataset.apply(tf.data.experimental.assert_cardinality(len(loader)))

    def step(self, net, X, y, loss, updater):
        training = {"training": True} if isinstance(net, tf.keras.Layer) else {}
        with tf.GradientTape() as tape:
            y_hat = net(X, **training)
            l = self.losses(loss, y_hat, y)
        if isinstance(updater, tf.keras.optimizers.Optimizer):
            params = net.trainable_variables
            updater.apply_gradients(zip(tape.gradient(l, params), params))
        else:
            updater(len(X), tape.gradient(l, updater.params))
        return l, y_hat

    def losses(self, loss, y_hat, y):
        keras = isinstance(loss, tf.keras.losses.Loss)
        return loss(y, y_hat) if keras else loss(y_hat, y)

    def start(self, net, lr, device):
        loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        return loss, tf.keras.optimizers.SGD(learning_rate=lr)

    def ready(self, net, loss, updater):
        step = tf.function(super().ready(net, loss, updater))

        def build_first(X, y):
            if not net.built:
                net(X)
            return step(X, y)

        return build_first

    def train_ch6(self, net_fn, train_iter, test_iter, num_epochs, lr, device):
        """As in the other frameworks; net_fn makes the network, which is returned."""
        with tf.device(device) if isinstance(device, str) else device:
            net, here = net_fn(), tf.zeros(()).device.rpartition("device:")[2]
            super().train_ch6(net, train_iter, test_iter, num_epochs, lr, here)
        return net


loops = _Loops(sys.modules[__name__])

# Names under which the textbook calls tensor functions in every framework ----------

ones_like, ones, zeros_like, zeros = tf.ones_like, tf.ones, tf.zeros_like, tf.zeros
tensor, arange, meshgrid, linspace = tf.constant, tf.range, tf.meshgrid, tf.linspace
sin, sinh, cos, cosh, tanh = tf.sin, tf.sinh, tf.cos, tf.cosh, tf.tanh
exp, log, abs, sigmoid = tf.exp, tf.math.log, tf.abs, tf.sigmoid
normal, rand, eye = tf.random.normal, tf.random.uniform, tf.eye
matmul = batch_matmul = tf.matmul
concat, stack = tf.concat, tf.stack
int32, int64, float32 = tf.int32, tf.int64, tf.float32
reshape, astype, repeat, transpose = tf.reshape, tf.cast, tf.repeat, tf.transpose
reduce_sum, reduce_mean = tf.reduce_sum, tf.reduce_mean
argmax, expand_dims = tf.argmax, tf.expand_dims


def size(a):
    """The number of elements."""
    return int(tf.size(a))


def numpy(x):
    """A tensor as a NumPy array."""
    return x.numpy()
