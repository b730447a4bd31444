"""JAX: what the textbook's other sections use. Models are `flax.linen`; NHWC."""

import sys
from types import FunctionType

import jax
import numpy as np
import optax
from flax import linen as nn
from jax import numpy as jnp

from d2l_utils.jax import (
    Classifier,
    DataModule,
    FashionMNIST,  # noqa: F401 (loops.py takes it from this module)
    HyperParameters,
    Module,
    get_key,
)
from d2l_utils.loops import Functions
from d2l_utils.ownership import library

__all__ = [
    "LeNet", "LinearRegression", "LinearRegressionScratch", "ResNeXtBlock", "Residual",
    "SGD", "SoftmaxRegression", "SyntheticRegressionData", "abs", "arange", "argmax",
    "astype", "concat", "corr2d", "cos", "cosh", "exp", "expand_dims", "eye", "float32",
    "get_seed", "int32", "int64", "linspace", "log", "matmul", "meshgrid", "nn_Module",
    "numpy", "ones", "ones_like", "reduce_mean", "reduce_sum", "repeat", "reshape",
    "sigmoid", "sin", "sinh", "stack", "swapaxes", "tanh", "tensor", "to", "transpose",
    "zeros", "zeros_like",
]  # fmt: skip

IMPORTED = {  # as d2l's module for JAX has it
    "Any": "typing:Any", "FunctionType": "types:FunctionType",
    "field": "dataclasses:field", "flax": "flax", "grad": "jax:grad", "jax": "jax",
    "jnp": "jax.numpy", "nn": "flax.linen", "np": "numpy", "optax": "optax",
    "partial": "functools:partial", "train_state": "flax.training.train_state",
    "vmap": "jax:vmap",
}  # fmt: skip

nn_Module = nn.Module

# Data and regression (textbook, 3.3 to 3.5) ----------------------------------------


@library
class SyntheticRegressionData(DataModule):
    """y = X w + b + noise, X standard normal (textbook, section 3.3).

    w: (d,) or (d, 1); X (num_train + num_val, d), y (num_train + num_val, 1). The
    same numbers every time, as in the textbook.
    """

    def __init__(
        self, w, b, noise=0.01, num_train=1000, num_val=1000, batch_size=32
    ):  # fmt: skip
        super().__init__()
        self.save_hyperparameters()
        n = num_train + num_val
        key_X, key_noise = jax.random.split(jax.random.PRNGKey(0))
        self.X = jax.random.normal(key_X, (n, w.shape[0]))
        errors = noise * jax.random.normal(key_noise, (n, 1))
        self.y = self.X @ w.reshape(-1, 1) + b + errors

    def get_dataloader(self, train):
        rows = slice(0, self.num_train) if train else slice(self.num_train, None)
        return self.get_tensorloader((self.X, self.y), train, rows)


@library
class LinearRegressionScratch(Module):
    """Linear regression on plain parameters (textbook, section 3.4)."""

    num_inputs: int
    lr: float
    sigma: float = 0.01

    def setup(self):
        normal = nn.initializers.normal(self.sigma)
        self.w = self.param("w", normal, (self.num_inputs, 1))
        self.b = self.param("b", nn.initializers.zeros, (1,))

    def forward(self, X):
        return X @ self.w + self.b

    def loss(self, params, X, y, state):
        """Half the mean squared error."""
        y_hat = state.apply_fn({"params": params}, *X)
        return ((y_hat - y.reshape(y_hat.shape)) ** 2 / 2).mean()

    def configure_optimizers(self):
        return SGD(self.lr)


@library
class SGD(HyperParameters):
    """Minibatch SGD as a gradient transformation (textbook, section 3.4)."""

    def __init__(self, lr):
        self.save_hyperparameters()

    def init(self, params):
        """The state: none."""
        return optax.EmptyState()

    def update(self, updates, state, params=None):
        """(what is to be added to the parameters, the state)."""
        return jax.tree.map(lambda g: -self.lr * g, updates), state


@library
class LinearRegression(Module):
    """Linear regression with one dense layer (textbook, section 3.5)."""

    lr: float

    def setup(self):
        self.net = nn.Dense(1, kernel_init=nn.initializers.normal(0.01))

    def loss(self, params, X, y, state):
        """Half the mean squared error, as Optax defines it."""
        y_hat = state.apply_fn({"params": params}, *X)
        return optax.l2_loss(y_hat, y).mean()

    def get_w_b(self, state):
        """The weights (d, 1) and the bias (1,) of a TrainState."""
        net = state.params["net"]
        return net["kernel"], net["bias"]


# Networks (textbook, 4.5, 7.2, 7.6, 8.6) -------------------------------------------


@library
class SoftmaxRegression(Classifier):
    """One dense layer on flattened images (textbook, section 4.5)."""

    num_outputs: int
    lr: float

    @nn.compact
    def __call__(self, X):
        X = X.reshape((X.shape[0], -1))
        return nn.Dense(self.num_outputs, kernel_init=glorot())(X)


def get_seed():
    """A number to make a PRNG key of: the next one at each call, as of `get_key`."""
    return int(jax.random.bits(get_key()) >> 1)


def corr2d(X, K):
    """The cross-correlation of two matrices, without padding (textbook, 7.2)."""
    X, K = (jnp.asarray(x, jnp.float32)[None, None] for x in (X, K))
    return jax.lax.conv(X, K, (1, 1), "VALID")[0, 0]


glorot = nn.initializers.glorot_uniform


@library
class LeNet(Classifier):
    """LeNet-5 (LeCun et al. 1998; textbook, section 7.6)."""

    lr: float = 0.1
    num_classes: int = 10
    kernel_init: FunctionType = glorot

    def setup(self):
        init = {"kernel_init": self.kernel_init()}

        def avg_pool(X):
            return nn.avg_pool(X, window_shape=(2, 2), strides=(2, 2))

        def flatten(X):
            return X.reshape((X.shape[0], -1))

        self.net = nn.Sequential([
            nn.Conv(6, kernel_size=(5, 5), padding=2, **init), nn.sigmoid, avg_pool,
            nn.Conv(16, kernel_size=(5, 5), padding=0, **init), nn.sigmoid, avg_pool,
            flatten, nn.Dense(120, **init), nn.sigmoid, nn.Dense(84, **init),
            nn.sigmoid, nn.Dense(self.num_classes, **init),
        ])  # fmt: skip


class Residual(nn.Module):
    """The block of ResNet (He et al. 2016; textbook, section 8.6).

    Padded on both sides alike, as in the other frameworks; 'same' with stride 2
    would shift the image by one pixel.
    """

    num_channels: int
    use_1x1conv: bool = False
    strides: tuple = (1, 1)
    training: bool = True

    @nn.compact
    def __call__(self, X):
        def conv(kernel, strides, name):
            return nn.Conv(
                self.num_channels, (kernel, kernel), strides, kernel // 2, name=name
            )

        Y = nn.relu(nn.BatchNorm(not self.training)(conv(3, self.strides, "conv1")(X)))
        Y = nn.BatchNorm(not self.training)(conv(3, 1, "conv2")(Y))
        return nn.relu(
            Y + (conv(1, self.strides, "conv3")(X) if self.use_1x1conv else X)
        )


class ResNeXtBlock(nn.Module):
    """The block of ResNeXt (Xie et al. 2017; textbook, section 8.6).

    groups: channels of a group, as in the textbook; bot_mul: the inner channels
    as a share of `num_channels`. Padded as `Residual`.
    """

    num_channels: int
    groups: int
    bot_mul: int
    use_1x1conv: bool = False
    strides: tuple = (1, 1)
    training: bool = True

    @nn.compact
    def __call__(self, X):
        inner = round(self.num_channels * self.bot_mul)

        def norm(Y):
            return nn.BatchNorm(not self.training)(Y)

        Y = nn.relu(norm(nn.Conv(inner, (1, 1))(X)))
        groups = inner // self.groups
        Y = nn.Conv(inner, (3, 3), self.strides, 1, feature_group_count=groups)(Y)
        Y = norm(nn.Conv(self.num_channels, (1, 1))(nn.relu(norm(Y))))
        if self.use_1x1conv:
            X = norm(nn.Conv(self.num_channels, (1, 1), self.strides)(X))
        return nn.relu(Y + X)


# Functions of the edition before this one, which had no JAX -------------------------

loops = Functions(sys.modules[__name__])

# Names under which the textbook calls tensor functions in every framework ----------

ones_like, ones, zeros_like, zeros = (
    jnp.ones_like, jnp.ones, jnp.zeros_like, jnp.zeros,
)  # fmt: skip
tensor, arange, meshgrid, linspace = jnp.array, jnp.arange, jnp.meshgrid, jnp.linspace
sin, sinh, cos, cosh, tanh = jnp.sin, jnp.sinh, jnp.cos, jnp.cosh, jnp.tanh
exp, log, abs, sigmoid, eye = jnp.exp, jnp.log, jnp.abs, jax.nn.sigmoid, jnp.eye
matmul, concat, stack = jnp.matmul, jnp.concatenate, jnp.stack
int32, int64, float32 = jnp.int32, jnp.int64, jnp.float32
astype, repeat, transpose = jnp.astype, jnp.repeat, jnp.transpose
reduce_sum, reduce_mean = jnp.sum, jnp.mean
argmax, expand_dims, swapaxes = jnp.argmax, jnp.expand_dims, jnp.swapaxes
numpy, to = np.asarray, jax.device_put


def reshape(x, *shape):
    """The array in another shape: a tuple, or its numbers."""
    return x.reshape(*shape)
