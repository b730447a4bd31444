"""MXNet: what the textbook's other sections use. Layout NCHW."""

import sys

from mxnet import autograd, gluon, init, np, npx
from mxnet.gluon import nn

from d2l_utils.loops import Loops
from d2l_utils.mxnet import (
    Classifier,
    DataModule,
    FashionMNIST,  # noqa: F401 (loops.py takes it from this module)
    HyperParameters,
    Module,
)
from d2l_utils.mxnet.layers import device_of
from d2l_utils.ownership import library

__all__ = [
    "LeNet", "LinearRegression", "LinearRegressionScratch", "ResNeXtBlock", "Residual",
    "SGD", "SoftmaxRegression", "SyntheticRegressionData", "abs", "arange", "argmax",
    "astype", "batch_matmul", "concat", "corr2d", "cos", "cosh", "exp", "expand_dims",
    "eye", "float32", "int32", "int64", "linspace", "log", "matmul", "meshgrid",
    "nn_Module", "normal", "numpy", "ones", "ones_like", "rand", "randn", "reduce_mean",
    "reduce_sum", "repeat", "reshape", "sgd", "sigmoid", "sin", "sinh", "size", "stack",
    "swapaxes", "tanh", "tensor", "to", "transpose", "zeros", "zeros_like",
]  # fmt: skip

IMPORTED = {  # as d2l's module for MXNet has it
    **{
        name: f"mxnet:{name}"
        for name in ["autograd", "context", "gluon", "image", "init", "np", "npx"]
    },
    "nn": "mxnet.gluon.nn",
    "rnn": "mxnet.gluon.rnn",
    "transforms": "mxnet.gluon.data.vision:transforms",
}

nn_Module = nn.Block

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
        self.X = np.random.randn(n, len(w))
        self.y = np.dot(self.X, w.reshape(-1, 1)) + b + noise * np.random.randn(n, 1)

    def get_dataloader(self, train):
        rows = slice(0, self.num_train) if train else slice(self.num_train, None)
        return self.get_tensorloader((self.X, self.y), train, rows)


@library
class LinearRegressionScratch(Module):
    """Linear regression on plain arrays (textbook, section 3.4)."""

    def __init__(self, num_inputs, lr, sigma=0.01):
        super().__init__()
        self.save_hyperparameters()
        self.w = np.random.normal(0, sigma, (num_inputs, 1))
        self.b = np.zeros(1)
        self.w.attach_grad(), self.b.attach_grad()

    def forward(self, X):
        return np.dot(X, self.w) + self.b

    def loss(self, y_hat, y):
        """Half the mean squared error."""
        return ((y_hat - y) ** 2 / 2).mean()

    def configure_optimizers(self):
        return SGD([self.w, self.b], self.lr)


@library
class SGD(HyperParameters):
    """Minibatch SGD on a list of arrays (textbook, section 3.4)."""

    def __init__(self, params, lr):
        self.save_hyperparameters()

    def step(self, batch_size):
        """One step; `batch_size` is not used, since losses are means."""
        for param in self.params:
            param -= self.lr * param.grad


@library
class LinearRegression(Module):
    """Linear regression with one dense layer (textbook, section 3.5)."""

    def __init__(self, lr):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Dense(1)
        self.net.initialize(init.Normal(sigma=0.01))

    def loss(self, y_hat, y):
        """Half the mean squared error, as Gluon defines it."""
        return gluon.loss.L2Loss()(y_hat, y).mean()

    def get_w_b(self):
        """The weights (1, d) and the bias (1,)."""
        return self.net.weight.data(), self.net.bias.data()


# Networks (textbook, 4.5, 7.2, 7.6, 8.6) -------------------------------------------


@library
class SoftmaxRegression(Classifier):
    """One dense layer on flattened images (textbook, section 4.5)."""

    def __init__(self, num_outputs, lr):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Dense(num_outputs)
        self.net.initialize(init.Xavier())


def corr2d(X, K):
    """The cross-correlation of two matrices, without padding (textbook, 7.2)."""
    kernel, filters = K.shape, 1
    X, K = X.reshape(1, 1, *X.shape), K.reshape(1, 1, *K.shape)
    return npx.convolution(X, K, kernel=kernel, num_filter=filters, no_bias=True)[0, 0]


@library
class LeNet(Classifier):
    """LeNet-5 (LeCun et al. 1998; textbook, section 7.6)."""

    def __init__(self, lr=0.1, num_classes=10):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential()
        self.net.add(
            nn.Conv2D(6, kernel_size=5, padding=2, activation="sigmoid"),
            nn.AvgPool2D(pool_size=2, strides=2),
            nn.Conv2D(16, kernel_size=5, activation="sigmoid"),
            nn.AvgPool2D(pool_size=2, strides=2),
            nn.Dense(120, activation="sigmoid"),
            nn.Dense(84, activation="sigmoid"),
            nn.Dense(num_classes),
        )
        self.net.initialize(init.Xavier())


class Residual(nn.Block):
    """The block of ResNet (He et al. 2016; textbook, section 8.6)."""

    def __init__(self, num_channels, use_1x1conv=False, strides=1, **kwargs):
        super().__init__(**kwargs)
        self.conv1 = nn.Conv2D(num_channels, 3, strides=strides, padding=1)
        self.conv2 = nn.Conv2D(num_channels, 3, padding=1)
        self.conv3 = None
        if use_1x1conv:
            self.conv3 = nn.Conv2D(num_channels, 1, strides=strides)
        self.bn1, self.bn2 = nn.BatchNorm(), nn.BatchNorm()

    def forward(self, X):
        Y = self.bn2(self.conv2(npx.relu(self.bn1(self.conv1(X)))))
        return npx.relu(Y + (X if self.conv3 is None else self.conv3(X)))


class ResNeXtBlock(nn.Block):
    """The block of ResNeXt (Xie et al. 2017; textbook, section 8.6).

    groups: channels of a group, as in the textbook; bot_mul: the inner channels
    as a share of `num_channels`.
    """

    def __init__(
        self, num_channels, groups, bot_mul, use_1x1conv=False, strides=1, **kwargs
    ):  # fmt: skip
        super().__init__(**kwargs)
        inner = round(num_channels * bot_mul)
        self.conv1 = nn.Conv2D(inner, 1)
        self.conv2 = nn.Conv2D(
            inner, 3, strides=strides, padding=1, groups=inner // groups
        )
        self.conv3 = nn.Conv2D(num_channels, 1)
        self.bn1, self.bn2, self.bn3 = (nn.BatchNorm() for _ in range(3))
        self.conv4 = None
        if use_1x1conv:
            self.conv4 = nn.Conv2D(num_channels, 1, strides=strides)
            self.bn4 = nn.BatchNorm()

    def forward(self, X):
        Y = npx.relu(self.bn1(self.conv1(X)))
        Y = self.bn3(self.conv3(npx.relu(self.bn2(self.conv2(Y)))))
        return npx.relu(Y + (X if self.conv4 is None else self.bn4(self.conv4(X))))


# Training by functions (3.6, 6.6 of the edition before this one) ---------------------


def sgd(params, lr, batch_size):
    """A step of minibatch SGD on gradients that are sums over the batch."""
    for param in params:
        param[:] = param - lr * param.grad / batch_size


class _Loops(Loops):
    def step(self, net, X, y, loss, updater):
        if isinstance(updater, gluon.Trainer):
            updater = updater.step
        with autograd.record():
            y_hat = net(X)
            l = loss(y_hat, y)
        l.backward()
        updater(len(X))
        return l, y_hat

    def start(self, net, lr, device):
        net.initialize(force_reinit=True, ctx=device, init=init.Xavier())
        trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": lr})
        return gluon.loss.SoftmaxCrossEntropyLoss(), trainer

    def place(self, x, net, device=None):
        if device is None and isinstance(net, nn.Block):
            device = device_of(net)
        return x if device is None else x.as_in_ctx(device)


loops = _Loops(sys.modules[__name__])

# Names under which the textbook calls tensor functions in every framework ----------

ones_like, ones, zeros_like, zeros = np.ones_like, np.ones, np.zeros_like, np.zeros
tensor, arange, meshgrid, linspace = np.array, np.arange, np.meshgrid, np.linspace
sin, sinh, cos, cosh, tanh = np.sin, np.sinh, np.cos, np.cosh, np.tanh
exp, log, abs, sigmoid = np.exp, np.log, np.abs, npx.sigmoid
normal, rand, randn, eye = np.random.normal, np.random.rand, np.random.randn, np.eye
matmul, batch_matmul = np.dot, npx.batch_dot
concat, stack = np.concatenate, np.stack
int32, int64, float32 = np.int32, np.int64, np.float32
reshape, astype, repeat = np.ndarray.reshape, np.ndarray.astype, np.ndarray.repeat
reduce_sum, reduce_mean = np.ndarray.sum, np.ndarray.mean
argmax, expand_dims = np.ndarray.argmax, np.expand_dims
numpy, swapaxes = np.ndarray.asnumpy, np.ndarray.swapaxes
to = np.ndarray.as_in_ctx


def size(a):
    """The number of elements."""
    return a.size


def transpose(a):
    """The array with its axes in reverse order."""
    return a.T
