"""Fashion-MNIST in batches: the order of an epoch, resizing, loaders.

NumPy only, nothing of a framework: the framework modules turn the uint8 batches
made here into tensors and resize them with the matrices made here.
"""

import math
from functools import lru_cache
from os import PathLike

import numpy as np

from d2l_utils import host
from d2l_utils.base import HyperParameters, current_seed, fast_mode
from d2l_utils.board import show_images
from d2l_utils.ownership import library
from d2l_utils.sources import load_fashion_mnist

LABELS = [
    "t-shirt", "trouser", "pullover", "dress", "coat",
    "sandal", "shirt", "sneaker", "bag", "ankle boot",
]  # fmt: skip

FAST_TRAIN_BATCHES, FAST_VAL_BATCHES = 2, 1

# Before any framework starts its threads: one that has allocated once keeps to its
# own part of the memory for good.
host.share_memory()


def epoch_order(n: int, seed: int, epoch: int) -> np.ndarray:
    """The order in which epoch `epoch` visits n training examples, (n,) int64."""
    return np.random.default_rng([seed, epoch]).permutation(n)


@lru_cache(maxsize=32)
def resize_matrix(n_in: int, n_out: int) -> np.ndarray:
    """The matrix R, (n_out, n_in) float32, that resizes along one axis: R @ x.

    Bilinear with half-pixel centres; the support ends at the edge of the image.
    When shrinking, the triangle is widened by the factor, so that every input
    pixel counts (antialiasing). An image is resized as R_h @ X @ R_w.T.
    """
    if n_in < 1 or n_out < 1:
        raise ValueError(f"Cannot resize {n_in} pixels to {n_out}.")
    scale = n_in / n_out
    centres = (np.arange(n_out) + 0.5) * scale - 0.5
    distance = np.abs(centres[:, None] - np.arange(n_in)[None, :])
    R = np.maximum(0.0, 1.0 - distance / max(scale, 1.0))
    R /= R.sum(axis=1, keepdims=True)
    R = R.astype(np.float32)
    R.flags.writeable = False  # shared by all callers through the cache
    return R


def resize_matrices(shape_in, shape_out):
    """(R_h, R_w) for images of (h, w); None where nothing is to be resized."""
    if tuple(shape_in) == tuple(shape_out):
        return None
    return tuple(resize_matrix(a, b) for a, b in zip(shape_in, shape_out))


def images_to_float(X):
    """uint8 0..255 to float32 0..1; float arrays only change to float32."""
    X = np.asarray(X)
    if X.dtype == np.uint8:
        return X.astype(np.float32) / np.float32(255)
    return X.astype(np.float32)


@library
class DataModule(HyperParameters):
    """Base class of data (textbook, section 3.2).

    A subclass defines `get_dataloader(train)`, which returns an iterable of batches
    (X, y) with a length. Images in bytes are scaled to [0, 1] where they are used.

    Parameters:
        root, num_workers: kept as in the textbook.

    Example:
        >>> class Points(d2l.DataModule):
        ...     batch_size = 32
        ...     def get_dataloader(self, train):
        ...         return self.get_tensorloader((X, y), train)
    """

    # The epoch, from 0, while a Trainer trains on this data, and the training's seed.
    training_epoch = training_seed = None

    def __init__(self, root=None, num_workers=0):
        self.save_hyperparameters()

    def get_dataloader(self, train):
        raise NotImplementedError(
            f"{type(self).__name__} must define get_dataloader(train)."
        )

    def train_dataloader(self):
        return self.get_dataloader(train=True)

    def val_dataloader(self):
        return self.get_dataloader(train=False)

    def get_tensorloader(self, tensors, train, indices=slice(0, None)):
        """Batches of the rows `indices` of tensors, as in the textbook's 3.3.

        Uses `self.batch_size`; for training each pass has another order.
        """
        return TensorLoader(self, tuple(x[indices] for x in tensors), train)

    def take(self, tensor, indices):
        """Rows of a tensor, indices an array of integers."""
        return tensor[indices]


class _Passes:
    """What loaders share: which epoch a pass is.

    A Trainer says which; else each pass over the loader is the next.
    """

    passes = 0

    def next_epoch(self):
        if self.data.training_epoch is not None:
            return self.data.training_epoch
        self.passes += 1
        return self.passes - 1


class TensorLoader(_Passes):
    """Batches of tensors that lie in memory, in a new order for each epoch."""

    def __init__(self, data, tensors, train):
        self.data, self.tensors, self.train = data, tensors, train
        self.seed = current_seed()

    def __len__(self):
        return math.ceil(len(self.tensors[0]) / self.data.batch_size)

    def __iter__(self):
        n, size = len(self.tensors[0]), self.data.batch_size
        order = np.arange(n)
        if self.train:
            seed, told = self.seed, self.data.training_seed
            order = epoch_order(n, seed if told is None else told, self.next_epoch())
        for i in range(len(self)):
            chosen = order[i * size : (i + 1) * size]
            yield tuple(self.data.take(x, chosen) for x in self.tensors)


class Loader(_Passes):
    """Batches of one part of the data, as tensors, in a new order for each epoch."""

    def __init__(self, data, train):
        self.data, self.train = data, train

    def __len__(self):
        return self.data.num_batches(self.train)

    def __iter__(self):
        for images, labels in self.data.batches(self.train, self.next_epoch()):
            yield self.data.to_tensors(images, labels)


@library
class FashionMNIST(DataModule):
    """Fashion-MNIST in batches (textbook, section 4.2).

    The loaders give what the textbook's do: float32 images in [0, 1] in the framework's
    layout, shuffled by example for training, and labels. The order of epoch e follows
    from the seed at construction (see `set_seed`) and e. `train` and `val` hold all
    images (n, 28, 28) and labels (n,) in bytes.

    Parameters:
        batch_size: examples in a batch; the last one of an epoch may be shorter.
        resize: (height, width) of the images, in pixels.
        root: a folder with the four files of the data set; by default they are looked
            for and, if need be, downloaded, see `sources.load_fashion_mnist`.
        num_workers: taken as in the textbook, and not needed.

    Raises:
        ValueError: for an impossible batch size. sources.DataError : where a file in
        `root` is damaged.

    Example:
        >>> data = d2l.FashionMNIST(batch_size=128, resize=(224, 224))
        >>> X, y = next(iter(data.train_dataloader()))
    """

    def __init__(
        self,
        batch_size: int = 64,
        resize: tuple[int, int] = (28, 28),
        root: str | PathLike | None = None,
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}.")
        arrays = load_fashion_mnist(root)
        self.train, self.val = arrays.train, arrays.val
        self.source, self.is_sample = arrays.source, arrays.is_sample
        self.seed = current_seed()

    def text_labels(self, indices) -> list[str]:
        """The class names of some labels."""
        return [LABELS[int(i)] for i in indices]

    def num_batches(self, train):
        """Batches in one epoch; in fast mode only a few."""
        images = (self.train if train else self.val).images
        n = math.ceil(len(images) / self.batch_size)
        if fast_mode():
            n = min(n, FAST_TRAIN_BATCHES if train else FAST_VAL_BATCHES)
        return n

    def batches(self, train, epoch=0, arrays=None):
        """Yield (images (b, 28, 28) uint8, labels (b,) int32) of one epoch.

        arrays: images and labels of this part, where they lie on a device; then
        the order is all that is sent there.
        """
        images, labels = arrays or self.arrays(train)
        n = len(images)
        order = epoch_order(n, self.seed, epoch) if train else np.arange(n)
        for i in range(self.num_batches(train)):
            chosen = order[i * self.batch_size : (i + 1) * self.batch_size]
            yield images[chosen], labels[chosen]

    def arrays(self, train):
        """All images (n, 28, 28) uint8 and labels (n,) int32 of one part."""
        images, labels = self.train if train else self.val
        return images, labels.astype(np.int32)

    def resize_matrices(self):
        """(R_h, R_w) from the stored size to `resize`, or None."""
        return resize_matrices(self.train.images.shape[1:], self.resize)

    def to_tensors(self, images, labels):
        """A batch as `batches` gives it, as the framework's tensors, resized."""
        raise NotImplementedError("Use the FashionMNIST of a framework module.")

    def visualize(self, batch, nrows=1, ncols=8, labels=()):
        """Show the images of a batch (X, y) with their class names."""
        X, y = batch
        return show_images(X, nrows, ncols, labels or self.text_labels(y))

    def get_dataloader(self, train):
        return Loader(self, train)
