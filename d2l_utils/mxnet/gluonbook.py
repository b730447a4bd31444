"""What the MXNet lecture notebooks before the textbook's first edition import.

They say `import gluonbook as gb` and train Gluon networks of their own on the older
arrays, `mxnet.nd`. Here are the functions that their sections on convolutional
networks use; see `d2l_utils.as_d2l`.
"""

import time

import mxnet as mx
from mxnet import autograd, gluon, nd

from d2l_utils.board import show_images
from d2l_utils.data import LABELS, Loader, images_to_float
from d2l_utils.data import FashionMNIST as _FashionMNIST

__all__ = [
    "evaluate_accuracy", "get_fashion_mnist_labels", "load_data_fashion_mnist",
    "show_fashion_mnist", "train_ch5", "try_gpu",
]  # fmt: skip


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


def get_fashion_mnist_labels(labels):
    """The class names of some labels."""
    return [LABELS[int(i)] for i in labels]


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


def train_ch5(net, train_iter, test_iter, batch_size, trainer, ctx, num_epochs):
    """Train a Gluon network by its trainer, and print a line for each epoch."""
    print("training on", ctx)
    cross_entropy = gluon.loss.SoftmaxCrossEntropyLoss()
    for epoch in range(num_epochs):
        start, losses, right, total = time.time(), 0.0, 0.0, 0
        for X, y in train_iter:
            X, y = X.as_in_context(ctx), y.as_in_context(ctx)
            with autograd.record():
                y_hat = net(X)
                l = cross_entropy(y_hat, y)
            l.backward()
            trainer.step(len(y))
            losses += float(l.sum().asscalar())
            right += float((y_hat.argmax(axis=1) == y).sum().asscalar())
            total += len(y)
        accuracy = evaluate_accuracy(test_iter, net, ctx)
        print(
            f"epoch {epoch + 1}, loss {losses / total:.4f}, train acc "
            f"{right / total:.3f}, test acc {accuracy:.3f}, "
            f"time {time.time() - start:.1f} sec"
        )
