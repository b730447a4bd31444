"""What the MXNet lecture notebooks before the textbook's first edition import.

They say `import gluonbook as gb`, or `import d2lzh as d2l`, and train Gluon networks of
their own on the older arrays, `mxnet.nd`. Here are the functions that their sections on
linear and convolutional networks use; see `d2l_utils.as_d2l`.
"""

import random
import time

import mxnet as mx
from mxnet import autograd, gluon, nd

from d2l_utils import names
from d2l_utils.data import FashionMNIST as _FashionMNIST
from d2l_utils.data import Loader, images_to_float
from d2l_utils.figures import plot, set_figsize, show_images, use_svg_display
from d2l_utils.loops import get_fashion_mnist_labels
from d2l_utils.mxnet import textbook
from d2l_utils.mxnet.textbook import sgd

__all__ = [
    "Residual", "corr2d", "data_iter", "evaluate_accuracy", "get_fashion_mnist_labels",
    "linreg", "load_data_fashion_mnist", "semilogy", "set_figsize", "sgd",
    "show_fashion_mnist", "squared_loss", "train_ch3", "train_ch5", "try_gpu",
    "use_svg_display",
]  # fmt: skip


def __getattr__(name):
    if name in names.IMPORTED:  # as in gb.plt
        return names.imported(names.IMPORTED[name])
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def try_gpu():
    """The first GPU if there is one, else the CPU."""
    return mx.gpu() if mx.context.num_gpus() else mx.cpu()


class _Images(_FashionMNIST):
    """Batches as `mxnet.nd` arrays: X (n, 1, h, w) in [0, 1], y (n,) float32."""

    def to_tensors(self, images, labels):
        X, matrices = images_to_float(images), self.resize_matrices()
        if matrices is not None:
            X = matrices[0] @ X @ matrices[1].T
        return nd.array(X[:, None]), nd.array(labels, dtype="float32")


def load_data_fashion_mnist(batch_size, resize=None):
    """(training batches, test batches) of Fashion-MNIST, `resize` pixels a side."""
    size = resize or 28
    data = _Images(batch_size, (size, size))
    return Loader(data, train=True), Loader(data, train=False)


def show_fashion_mnist(images, labels):
    """Show images in a row, with titles."""
    return show_images([x.asnumpy() for x in images], 1, len(images), labels)


def evaluate_accuracy(data_iter, net, ctx=None):
    """The share of correct predictions over all batches."""
    ctx, right, total = ctx or mx.cpu(), 0.0, 0
    for X, y in data_iter:
        y_hat = net(X.as_in_context(ctx)).argmax(axis=1)
        right += float((y_hat == y.as_in_context(ctx)).sum().asscalar())
        total += len(y)
    return right / total


def _train(net, train_iter, test_iter, loss, num_epochs, ctx, update):
    """Train, and print a line for each epoch; update(n): what follows a backward pass
    of n examples."""
    for epoch in range(num_epochs):
        start, losses, right, total = time.time(), 0.0, 0.0, 0
        for X, y in train_iter:
            X, y = X.as_in_context(ctx), y.as_in_context(ctx)
            with autograd.record():
                y_hat = net(X)
                l = loss(y_hat, y).sum()
            l.backward()
            update(len(y))
            losses += float(l.asscalar())
            right += float((y_hat.argmax(axis=1) == y).sum().asscalar())
            total += len(y)
        accuracy = evaluate_accuracy(test_iter, net, ctx)
        print(
            f"epoch {epoch + 1}, loss {losses / total:.4f}, train acc "
            f"{right / total:.3f}, test acc {accuracy:.3f}, "
            f"time {time.time() - start:.1f} sec"
        )


def train_ch3(
    net, train_iter, test_iter, loss, num_epochs, batch_size,
    params=None, lr=None, trainer=None,
):  # fmt: skip
    """Train by the trainer, or plain SGD on `params`; print a line for each epoch."""

    def update(n):
        if trainer is None:
            sgd(params, lr, n)
        else:
            trainer.step(n)

    _train(net, train_iter, test_iter, loss, num_epochs, mx.cpu(), update)


def train_ch5(net, train_iter, test_iter, batch_size, trainer, ctx, num_epochs):
    """Train a Gluon network by its trainer, and print a line for each epoch."""
    print("training on", ctx)
    loss = gluon.loss.SoftmaxCrossEntropyLoss()
    _train(net, train_iter, test_iter, loss, num_epochs, ctx, trainer.step)


# Regression, plots and layers -----------------------------------------------------


def data_iter(batch_size, features, labels):
    """Yield batches of (features, labels) in a random order."""
    order = list(range(len(features)))
    random.shuffle(order)
    for i in range(0, len(order), batch_size):
        chosen = nd.array(order[i : i + batch_size])
        yield features.take(chosen), labels.take(chosen)


def linreg(X, w, b):
    """The linear model X w + b."""
    return nd.dot(X, w) + b


def squared_loss(y_hat, y):
    """Half of the squared error of each example, in the shape of y_hat."""
    return (y_hat - y.reshape(y_hat.shape)) ** 2 / 2


def semilogy(
    x_vals, y_vals, x_label, y_label, x2_vals=None, y2_vals=None, legend=None,
    figsize=(3.5, 2.5),
):  # fmt: skip
    """Plot one curve or two, y on a logarithmic scale."""
    curves = [(x_vals, y_vals)] + [(x2_vals, y2_vals)] * bool(x2_vals and y2_vals)
    X, Y = zip(*curves)
    plot(
        list(X), list(Y), x_label, y_label, legend or (), yscale="log",
        fmts=("-", ":"), figsize=figsize,
    )  # fmt: skip


def corr2d(X, K):
    """The cross-correlation of two matrices, without padding."""
    X, W = (x.reshape((1, 1, *x.shape)) for x in (X, K))
    Y = nd.Convolution(X, W, kernel=K.shape, num_filter=1, no_bias=True)
    return Y.reshape(Y.shape[2:])


class Residual(textbook.Residual):
    """The block of ResNet (He et al. 2016), on the older arrays."""

    def forward(self, X):
        Y = self.bn2(self.conv2(nd.relu(self.bn1(self.conv1(X)))))
        return nd.relu(Y + (X if self.conv3 is None else self.conv3(X)))
