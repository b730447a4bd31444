"""PyTorch: what the textbook's other sections use. Layout NCHW."""

import sys

import torch
from torch import nn
from torch.nn import functional as F

from d2l_utils.loops import Loops
from d2l_utils.ownership import library
from d2l_utils.torch import (
    Classifier,
    DataModule,
    FashionMNIST,  # noqa: F401 (loops.py takes it from this module)
    HyperParameters,
    Module,
    init_cnn,
)
from d2l_utils.torch.layers import evaluating

__all__ = [
    "LeNet", "LinearRegression", "LinearRegressionScratch", "ResNeXtBlock", "Residual",
    "SGD", "SoftmaxRegression", "SyntheticRegressionData", "abs", "arange", "argmax",
    "astype", "batch_matmul", "concat", "corr2d", "cos", "cosh", "exp", "expand_dims",
    "eye", "float32", "int32", "int64", "linspace", "log", "matmul", "meshgrid",
    "nn_Module", "normal", "numpy", "ones", "ones_like", "rand", "randn", "reduce_mean",
    "reduce_sum", "repeat", "reshape", "sgd", "sigmoid", "sin", "sinh", "size", "stack",
    "swapaxes", "tanh", "tensor", "to", "transpose", "zeros", "zeros_like",
]  # fmt: skip

IMPORTED = {  # as d2l's module for PyTorch has it
    "F": "torch.nn.functional", "Image": "PIL.Image", "data": "torch.utils.data",
    "distance_matrix": "scipy.spatial:distance_matrix", "nn": "torch.nn",
    "np": "numpy", "torch": "torch", "torchvision": "torchvision",
    "transforms": "torchvision.transforms",
}  # fmt: skip

nn_Module = nn.Module

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
        self.X = torch.randn(n, len(w))
        self.y = self.X @ w.reshape(-1, 1) + b + noise * torch.randn(n, 1)

    def get_dataloader(self, train):
        rows = slice(0, self.num_train) if train else slice(self.num_train, None)
        return self.get_tensorloader((self.X, self.y), train, rows)


@library
class LinearRegressionScratch(Module):
    """Linear regression on plain tensors (textbook, section 3.4)."""

    def __init__(self, num_inputs, lr, sigma=0.01):
        super().__init__()
        self.save_hyperparameters()
        self.w = (sigma * torch.randn(num_inputs, 1)).requires_grad_()
        self.b = torch.zeros(1, requires_grad=True)

    def forward(self, X):
        return X @ self.w + self.b

    def loss(self, y_hat, y):
        """Half the mean squared error."""
        return ((y_hat - y) ** 2 / 2).mean()

    def configure_optimizers(self):
        return SGD([self.w, self.b], self.lr)


@library
class SGD(HyperParameters):
    """Minibatch SGD on a list of tensors (textbook, section 3.4)."""

    def __init__(self, params, lr):
        self.save_hyperparameters()

    def step(self):
        with torch.no_grad():
            for param in self.params:
                param -= self.lr * param.grad

    def zero_grad(self):
        for param in self.params:
            param.grad = None


@library
class LinearRegression(Module):
    """Linear regression with one dense layer (textbook, section 3.5)."""

    def __init__(self, lr):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.LazyLinear(1)

    def apply_init(self, inputs, init=None):
        """Weights from N(0, 0.01^2) and a zero bias, where they are made now."""
        new = isinstance(self.net, nn.LazyLinear)
        super().apply_init(inputs, init)
        if new and init is None:
            nn.init.normal_(self.net.weight, 0, 0.01)
            nn.init.zeros_(self.net.bias)

    def loss(self, y_hat, y):
        """The mean squared error."""
        return F.mse_loss(y_hat, y)

    def get_w_b(self):
        """The weights (1, d) and the bias (1,)."""
        return self.net.weight.data, self.net.bias.data


# Networks (textbook, 4.5, 7.2, 7.6, 8.6) -------------------------------------------


@library
class SoftmaxRegression(Classifier):
    """One dense layer on flattened images (textbook, section 4.5)."""

    def __init__(self, num_outputs, lr):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Flatten(), nn.LazyLinear(num_outputs))


def corr2d(X, K):
    """The cross-correlation of two matrices, without padding (textbook, 7.2)."""
    return F.conv2d(X[None, None], K[None, None])[0, 0]


@library
class LeNet(Classifier):
    """LeNet-5 (LeCun et al. 1998; textbook, section 7.6)."""

    def __init__(self, lr=0.1, num_classes=10):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(
            nn.LazyConv2d(6, kernel_size=5, padding=2), nn.Sigmoid(),
            nn.AvgPool2d(kernel_size=2, stride=2),
            nn.LazyConv2d(16, kernel_size=5), nn.Sigmoid(),
            nn.AvgPool2d(kernel_size=2, stride=2), nn.Flatten(),
            nn.LazyLinear(120), nn.Sigmoid(), nn.LazyLinear(84), nn.Sigmoid(),
            nn.LazyLinear(num_classes),
        )  # fmt: skip


class Residual(nn.Module):
    """The block of ResNet (He et al. 2016; textbook, section 8.6)."""

    def __init__(self, num_channels, use_1x1conv=False, strides=1):
        super().__init__()
        if not isinstance(use_1x1conv, bool):  # a number would be taken for True
            raise TypeError(
                f"use_1x1conv is True or False, not {use_1x1conv!r}. If the first "
                "number is that of input channels, as an older edition has it, leave "
                "it out."
            )
        self.conv1 = nn.LazyConv2d(num_channels, 3, stride=strides, padding=1)
        self.conv2 = nn.LazyConv2d(num_channels, 3, padding=1)
        self.conv3 = None
        if use_1x1conv:
            self.conv3 = nn.LazyConv2d(num_channels, 1, stride=strides)
        self.bn1, self.bn2 = nn.LazyBatchNorm2d(), nn.LazyBatchNorm2d()

    def forward(self, X):
        Y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(X)))))
        return F.relu(Y + (X if self.conv3 is None else self.conv3(X)))


class ResNeXtBlock(nn.Module):
    """The block of ResNeXt (Xie et al. 2017; textbook, section 8.6).

    groups: channels of a group, as in the textbook; bot_mul: the inner channels
    as a share of `num_channels`.
    """

    def __init__(self, num_channels, groups, bot_mul, use_1x1conv=False, strides=1):
        super().__init__()
        inner = round(num_channels * bot_mul)
        self.conv1 = nn.LazyConv2d(inner, 1)
        self.conv2 = nn.LazyConv2d(
            inner, 3, stride=strides, padding=1, groups=inner // groups
        )
        self.conv3 = nn.LazyConv2d(num_channels, 1)
        self.bn1, self.bn2, self.bn3 = (nn.LazyBatchNorm2d() for _ in range(3))
        self.conv4 = None
        if use_1x1conv:
            self.conv4 = nn.LazyConv2d(num_channels, 1, stride=strides)
            self.bn4 = nn.LazyBatchNorm2d()

    def forward(self, X):
        Y = F.relu(self.bn1(self.conv1(X)))
        Y = self.bn3(self.conv3(F.relu(self.bn2(self.conv2(Y)))))
        return F.relu(Y + (X if self.conv4 is None else self.bn4(self.conv4(X))))


# Training by functions (3.6, 6.6 of the edition before this one) ---------------------


def sgd(params, lr, batch_size):
    """A step of minibatch SGD on gradients that are sums over the batch."""
    with torch.no_grad():
        for param in params:
            param -= lr * param.grad / batch_size
            param.grad.zero_()


class _Loops(Loops):
    def step(self, net, X, y, loss, updater):
        if isinstance(net, nn.Module):
            net.train()
        y_hat = net(X)
        l = loss(y_hat, y)
        if isinstance(updater, torch.optim.Optimizer):
            updater.zero_grad()
            l.mean().backward()
            updater.step()
        else:
            l.sum().backward()
            updater(len(X))
        return l, y_hat

    def start(self, net, lr, device):
        net.apply(init_cnn)
        net.to(device)
        return nn.CrossEntropyLoss(), torch.optim.SGD(net.parameters(), lr=lr)

    def evaluating(self, net):
        return evaluating(net) if isinstance(net, nn.Module) else torch.no_grad()

    def place(self, x, net, device=None):
        if device is None and isinstance(net, nn.Module):
            device = next((p.device for p in net.parameters()), None)
        return x if device is None else x.to(device)


loops = _Loops(sys.modules[__name__])

# Names under which the textbook calls tensor functions in every framework ----------

ones_like, ones, zeros_like, zeros = (
    torch.ones_like, torch.ones, torch.zeros_like, torch.zeros,
)  # fmt: skip
tensor, arange, meshgrid, linspace = (
    torch.tensor, torch.arange, torch.meshgrid, torch.linspace,
)  # fmt: skip
sin, sinh, cos, cosh, tanh = torch.sin, torch.sinh, torch.cos, torch.cosh, torch.tanh
exp, log, abs, sigmoid = torch.exp, torch.log, torch.abs, torch.sigmoid
normal, rand, randn, eye = torch.normal, torch.rand, torch.randn, torch.eye
matmul, batch_matmul = torch.matmul, torch.bmm
concat, stack = torch.cat, torch.stack
int32, int64, float32 = torch.int32, torch.int64, torch.float32
size, reshape, to = torch.numel, torch.Tensor.reshape, torch.Tensor.to
reduce_sum, reduce_mean = torch.Tensor.sum, torch.Tensor.mean
argmax, astype, transpose = torch.Tensor.argmax, torch.Tensor.type, torch.Tensor.t
expand_dims, swapaxes = torch.Tensor.unsqueeze, torch.Tensor.swapaxes
repeat = torch.Tensor.repeat


def numpy(x):
    """A tensor as a NumPy array."""
    return x.detach().cpu().numpy()
