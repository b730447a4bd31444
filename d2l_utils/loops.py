"""Training by functions, as the textbook did before it had classes: train_ch6, ...

The edition before this one uses these in its sections on linear and convolutional
networks, and `d2l` 1.0.3 still has them. They are written once; `loops` in each
framework's `textbook.py` is an instance of a subclass of `Loops`, or, in JAX, of
`Functions`. A training runs step by step, as written here, in float32: `d2l.Trainer` is
faster.
"""

import re
import time
from collections.abc import Sequence
from contextlib import nullcontext
from operator import length_hint
from typing import Any

from d2l_utils.board import ProgressBoard
from d2l_utils.data import LABELS
from d2l_utils.figures import show_images, to_numpy

OF_A_FRAMEWORK = "A framework's textbook.py defines it."
LEGEND = ("train loss", "train acc", "test acc")


class Accumulator:
    """Sums of several numbers (textbook, section 3.6, edition before this one).

    Parameters:
        n: how many.

    Example:
        >>> sums = Accumulator(2)
        >>> sums.add(1, 10), sums.add(2, 20)
        (None, None)
        >>> sums[0], sums[1]
        (3.0, 30.0)
    """

    def __init__(self, n: int) -> None:
        self.data = [0.0] * n

    def add(self, *args: Any) -> None:
        """Add a number to each sum.

        Parameters:
            args: n numbers.
        """
        self.data = [a + float(b) for a, b in zip(self.data, args)]

    def reset(self) -> None:
        """Begin with zeros again."""
        self.data = [0.0] * len(self.data)

    def __getitem__(self, i):
        return self.data[i]


class Animator(ProgressBoard):
    """Curves that grow, several points at once (section 3.6, edition before this one).

    Parameters:
        xlabel, ylabel, xlim, ylim, xscale, yscale, figsize: as in `ProgressBoard`.
        legend: a label for each curve.
        fmts: matplotlib's format of each curve, such as "m--".
        nrows, ncols: taken as in the textbook, which draws in the first axes only.

    Example:
        >>> animator = Animator(xlabel="epoch", legend=["loss", "acc"])
        >>> animator.add(1, (0.9, None))
        >>> animator.add(2, (0.8, 0.7))
        >>> animator.data["loss"][-1].y, len(animator.data["acc"])
        (0.8, 1)
    """

    def __init__(
        self, xlabel: str | None = None, ylabel: str | None = None,
        legend: Sequence[str] | None = None,
        xlim: Sequence[float] | None = None, ylim: Sequence[float] | None = None,
        xscale: str = "linear", yscale: str = "linear",
        fmts: Sequence[str] = ("-", "m--", "g-.", "r:"), nrows: int = 1,
        ncols: int = 1, figsize: tuple[float, float] = (3.5, 2.5),
    ) -> None:  # fmt: skip
        parts = [re.match(r"(C\d|[bgrcmykw]?)(.*)", fmt).groups() for fmt in fmts]
        super().__init__(
            xlabel, ylabel, xlim, ylim, xscale, yscale, figsize=figsize,
            ls=[ls if ls in ("-", "--", "-.", ":") else "-" for _, ls in parts],
            colors=[color or "C0" for color, _ in parts],
        )  # fmt: skip
        self.legend = [legend] if isinstance(legend, str) else list(legend or ())

    def add(self, x: Any, y: Any) -> None:
        """Add a point to each curve, or to one.

        Parameters:
            x: a number for all curves, or a sequence of one for each.
            y: likewise; None adds nothing to that curve.
        """
        ys = y if hasattr(y, "__len__") else [y]
        xs = x if hasattr(x, "__len__") else [x] * len(ys)
        for i, (a, b) in enumerate(zip(xs, ys)):
            if a is not None and b is not None:
                label = self.legend[i] if i < len(self.legend) else f"curve {i + 1}"
                self.draw(a, b, label)


def get_fashion_mnist_labels(labels: Any) -> list[str]:
    """The class names of some labels (section 3.5, edition before this one).

    Parameters:
        labels: numbers from 0 to 9.

    Returns:
        A name for each.

    Example:
        >>> get_fashion_mnist_labels([0, 9])
        ['t-shirt', 'ankle boot']
    """
    return [LABELS[int(i)] for i in labels]


def get_dataloader_workers() -> int:
    """How many processes load data: none, since the images are in memory.

    Returns:
        0, with which a framework's own loaders work in notebooks on every system.

    Example:
        >>> get_dataloader_workers()
        0
    """
    return 0


class Functions:
    """The functions that need no network, for one framework.

    Parameters:
        here: its module `textbook`, which has `reshape`, `matmul` and what makes data.

    Example:
        >>> Functions(textbook).load_array  # doctest: +SKIP
    """

    NAMES = (
        "accuracy", "linreg", "load_array", "load_data_fashion_mnist",
        "squared_loss", "synthetic_data",
    )  # fmt: skip

    def __init__(self, here):
        self.here = here

    def as_iterator(self, loader):
        """A loader of ours in the form that the framework's own functions take."""
        return loader

    def synthetic_data(self, w, b, num_examples):
        """X (num_examples, d) and y (num_examples, 1) = X w + b + noise."""
        make = self.here.SyntheticRegressionData
        data = make(w, b, num_train=num_examples, num_val=0)
        return data.X, data.y

    def load_array(self, data_arrays, batch_size, is_train=True):
        """Batches of tensors; for training, each pass has another order."""
        data = self.here.DataModule()
        data.batch_size = batch_size
        loader = data.get_tensorloader(tuple(data_arrays), is_train)
        return self.as_iterator(loader)

    def load_data_fashion_mnist(self, batch_size, resize=None):
        """(training batches, test batches); resize: pixels of a side, or (h, w)."""
        size = resize or 28
        size = (size, size) if isinstance(size, int) else tuple(size)
        data = self.here.FashionMNIST(batch_size, size)
        loaders = data.train_dataloader(), data.val_dataloader()
        return tuple(self.as_iterator(loader) for loader in loaders)

    def linreg(self, X, w, b):
        """The linear model X w + b."""
        return self.here.matmul(X, w) + b

    def squared_loss(self, y_hat, y):
        """Half of the squared error of each example, in the shape of y_hat."""
        return (y_hat - self.here.reshape(y, y_hat.shape)) ** 2 / 2

    def accuracy(self, y_hat, y):
        """The number of right predictions, a float; y_hat: classes or their scores."""
        y_hat, y = to_numpy(y_hat), to_numpy(y)
        if y_hat.ndim > 1 and y_hat.shape[1] > 1:
            y_hat = y_hat.argmax(1)
        return float((y_hat.astype(y.dtype) == y).sum())


class Loops(Functions):
    """`Functions`, and those that train and evaluate networks.

    A subclass defines `step` and `start`, and the other hooks where it has to.

    Parameters:
        here: as in `Functions`.

    Example:
        >>> d2l.train_ch6(net, train_iter, test_iter, 10, 0.1, d2l.try_gpu())
    """

    NAMES = (
        *Functions.NAMES, "evaluate_accuracy", "evaluate_accuracy_gpu", "evaluate_loss",
        "predict_ch3", "train_ch3", "train_ch6", "train_epoch_ch3",
    )  # fmt: skip

    # Hooks ---------------------------------------------------------------------------

    def step(self, net, X, y, loss, updater):
        """One step: (losses, y_hat). updater: an optimizer, or a reader's function."""
        raise NotImplementedError(OF_A_FRAMEWORK)

    def start(self, net, lr, device):
        """Draw Glorot-uniform weights on the device; train_ch6's (loss, optimizer)."""
        raise NotImplementedError(OF_A_FRAMEWORK)

    def ready(self, net, loss, updater):
        """The step(X, y) that train_ch6 calls; it returns what `step` does."""
        return lambda X, y: self.step(net, X, y, loss, updater)

    def losses(self, loss, y_hat, y):
        """The losses of a batch, or their mean."""
        return loss(y_hat, y)

    def evaluating(self, net):
        """A context in which the network predicts."""
        return nullcontext()

    def place(self, x, net, device=None):
        """A tensor on the device, or where the network is."""
        return x

    # Evaluation ----------------------------------------------------------------------

    def evaluate_accuracy(self, net, data_iter, device=None):
        """The share of right predictions over all batches."""
        sums = Accumulator(2)
        with self.evaluating(net):
            for X, y in data_iter:
                y_hat = net(self.place(X, net, device))
                sums.add(self.accuracy(y_hat, y), to_numpy(y).size)
        return sums[0] / sums[1]

    evaluate_accuracy_gpu = evaluate_accuracy

    def evaluate_loss(self, net, data_iter, loss):
        """The mean loss over all batches."""
        sums = Accumulator(2)
        for X, y in data_iter:
            y_hat = net(X)
            if to_numpy(y).size == to_numpy(y_hat).size:
                y = self.here.reshape(y, y_hat.shape)
            l = to_numpy(self.losses(loss, y_hat, y))
            sums.add(l.sum(), l.size)
        return sums[0] / sums[1]

    def predict_ch3(self, net, test_iter, n=6):
        """Show n test images, with their class names, true and predicted."""
        X, y = next(iter(test_iter))
        with self.evaluating(net):
            y_hat = to_numpy(net(self.place(X, net))).argmax(1)
        names = map(get_fashion_mnist_labels, (to_numpy(y)[:n], y_hat[:n]))
        titles = [f"{true}\n{predicted}" for true, predicted in zip(*names)]
        show_images(to_numpy(X)[:n], 1, n, titles)

    # Training ------------------------------------------------------------------------

    def _count(self, sums, l, y_hat, y):
        """Add the losses, the right predictions and the labels of a batch."""
        l, n = to_numpy(l), to_numpy(y).size
        sums.add(l * n if l.ndim == 0 else l.sum(), self.accuracy(y_hat, y), n)

    def train_epoch_ch3(self, net, train_iter, loss, updater):
        """Train for an epoch; (mean loss, accuracy) of batches before their update."""
        sums = Accumulator(3)
        for X, y in train_iter:
            self._count(sums, *self.step(net, X, y, loss, updater), y)
        return sums[0] / sums[2], sums[1] / sums[2]

    def train_ch3(self, net, train_iter, test_iter, loss, num_epochs, updater):
        """Train, and draw loss and accuracies of each epoch."""
        animator = Animator("epoch", xlim=[0, num_epochs], legend=LEGEND)
        for epoch in range(num_epochs):
            found = self.train_epoch_ch3(net, train_iter, loss, updater)
            animator.add(epoch + 1, (*found, self.evaluate_accuracy(net, test_iter)))

    def train_ch6(self, net, train_iter, test_iter, num_epochs, lr, device):
        """Train by plain SGD from new weights; draw curves, print results and speed."""
        step = self.ready(net, *self.start(net, lr, device))
        print("training on", device)
        animator = Animator("epoch", xlim=[0, num_epochs], legend=LEGEND)
        num_batches, seconds, images = length_hint(train_iter), 0.0, 0
        every = max(1, num_batches // 5)
        for epoch in range(num_epochs):
            sums = Accumulator(3)
            for i, (X, y) in enumerate(train_iter, 1):
                began = time.perf_counter()
                X, y = self.place(X, net, device), self.place(y, net, device)
                self._count(sums, *step(X, y), y)
                seconds += time.perf_counter() - began
                loss, train_acc = sums[0] / sums[2], sums[1] / sums[2]
                if i < num_batches and i % every == 0:
                    animator.add(epoch + i / num_batches, (loss, train_acc, None))
            images += sums[2]
            test_acc = self.evaluate_accuracy(net, test_iter, device)
            animator.add(epoch + 1, (loss, train_acc, test_acc))
        print(
            f"loss {loss:.3f}, train acc {train_acc:.3f}, test acc {test_acc:.3f}\n"
            f"{images / seconds:.1f} examples/sec on {device}"
        )
