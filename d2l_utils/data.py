"""Fashion-MNIST in batches: the order of an epoch, resizing, loaders.

NumPy only, nothing of a framework: the framework modules turn the uint8 batches
made here into tensors and resize them with the matrices made here.
"""

import math
import operator
from collections.abc import Iterable, Sequence
from functools import lru_cache
from numbers import Integral
from os import PathLike
from typing import Any

import numpy as np

from d2l_utils import host
from d2l_utils.base import HyperParameters, check_whole, current_seed, fast_mode
from d2l_utils.figures import show_images
from d2l_utils.ownership import library
from d2l_utils.sources import Split, load_fashion_mnist

LABELS = [
    "t-shirt", "trouser", "pullover", "dress", "coat",
    "sandal", "shirt", "sneaker", "bag", "ankle boot",
]  # fmt: skip

FAST_TRAIN_BATCHES, FAST_VAL_BATCHES, FAST_IMAGES = 2, 1, 16  # images in a batch

# Now, before any framework starts its threads: a thread that has allocated memory keeps
# its own pool for good.
host.share_memory()


def epoch_order(n: int, seed: int, epoch: int) -> np.ndarray:
    """The order in which an epoch, counted from 0, visits n examples: (n,) int64."""
    return np.random.default_rng([seed, epoch]).permutation(n)


@lru_cache(maxsize=32)
def resize_matrix(n_in: int, n_out: int) -> np.ndarray:
    """The matrix R, (n_out, n_in) float32, that resizes along one axis: R @ x.

    Bilinear with half-pixel centres; the support ends at the edge of the image.
    When shrinking, the triangle is widened by the factor, so that every input
    pixel counts (antialiasing). An image is resized as R_h @ X @ R_w.T.
    Raises ValueError for less than one pixel.
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


def resize(images: np.ndarray, size: int | tuple[int, int]) -> np.ndarray:
    """Images of bytes as a network gets them in training.

    Parameters:
        images: (n, height, width) uint8, as `data.val.images`.
        size: (height, width) in pixels, or one number for both.

    Returns:
        (n, 1, height, width) float32 in [0, 1], which `predict` and `activations` take.

    Raises:
        ValueError: for images of another shape, or an impossible size.

    Example:
        >>> resize(np.full((2, 28, 28), 255, "uint8"), 56).shape
        (2, 1, 56, 56)
    """
    images = np.asarray(images)
    if images.ndim != 3:
        raise ValueError(
            f"Images of shape {images.shape}: (n, height, width) is expected."
        )
    X = images_to_float(images[:, None])
    R = resize_matrices(images.shape[1:], height_and_width(size))
    return X if R is None else R[0] @ X @ R[1].T


def subset(
    data: "FashionMNIST", num_train: int | None = None, num_val: int | None = None
) -> "FashionMNIST":
    """Keep only the first training and validation images, for short experiments.

    Parameters:
        data: a FashionMNIST; it is changed.
        num_train, num_val: how many images of each part; None keeps all of them.

    Returns:
        The same data.

    Raises:
        ValueError: for less than one image, or more than there are.

    Example:
        >>> data = d2l.subset(d2l.FashionMNIST(128), num_train=6400, num_val=1000)
        >>> len(data.train.images)
        6400
    """
    for name, num in (("train", num_train), ("val", num_val)):
        if num is not None:
            images, labels = data.part(name == "train")
            check_whole(f"num_{name}", num, 1)
            if num > len(images):
                raise ValueError(
                    f"num_{name}={num}, but there are {len(images)} images."
                )
            setattr(data, name, (images[:num], labels[:num]))
    return data


@library
class DataModule(HyperParameters):
    """Base class of data (textbook, section 3.2).

    A subclass defines `get_dataloader(train)`, which returns an iterable of batches
    (X, y), or None where there is nothing to validate on. Images in bytes are scaled to
    [0, 1] where they are used.

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

    def __init__(self, root: str = "../data", num_workers: int = 0) -> None:
        self.save_hyperparameters()

    def get_dataloader(self, train: bool) -> Any:
        """The batches of one part, which a subclass defines.

        Parameters:
            train: True for the training part, False for validation.

        Returns:
            An iterable of batches, or None where there is nothing to validate on.
        """
        raise NotImplementedError(
            f"{type(self).__name__} must define get_dataloader(train)."
        )

    def train_dataloader(self) -> Any:
        """The training batches, which the Trainer asks for.

        Returns:
            `get_dataloader(train=True)`.
        """
        return self.get_dataloader(train=True)

    def val_dataloader(self) -> Any:
        """The batches for validation, which the Trainer asks for.

        Returns:
            `get_dataloader(train=False)`.
        """
        return self.get_dataloader(train=False)

    def get_tensorloader(
        self, tensors: Sequence, train: bool, indices: slice = slice(0, None)
    ) -> "TensorLoader":
        """Batches of `self.batch_size` rows of tensors (textbook, section 3.3).

        Parameters:
            tensors: of the framework, with as many rows each.
            train: True gives each pass another order.
            indices: which rows to take.

        Returns:
            An iterable of tuples, which have one tensor for each of `tensors`.
        """
        return TensorLoader(self, tuple(x[indices] for x in tensors), train)

    def take(self, tensor: Any, indices: np.ndarray) -> Any:
        """Rows of a tensor.

        Parameters:
            tensor: of the framework.
            indices: their numbers, an array of integers.

        Returns:
            A tensor.
        """
        return tensor[indices]


class _Passes:
    """What loaders share: the number of the epoch that a pass is.

    A Trainer sets it; without one, each pass over the loader is the next epoch.
    """

    passes = 0

    def next_epoch(self):
        if self.data.training_epoch is not None:
            return self.data.training_epoch
        self.passes += 1
        return self.passes - 1


class TensorLoader(_Passes):
    """Batches of tensors in memory; in training, each epoch has a new order."""

    def __init__(self, data, tensors, train):
        self.data, self.tensors, self.train = data, tensors, train
        self.dataset, self.seed = Rows(tensors), current_seed()

    @property
    def batch_size(self):
        return self.data.batch_size

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


class Rows:
    """Tensors as a data set: example i is a tuple of row i of each."""

    def __init__(self, tensors):
        self.tensors = tensors

    def __len__(self):
        return len(self.tensors[0])

    def __getitem__(self, i):
        i = range(len(self))[operator.index(i)]
        return tuple(x[i] for x in self.tensors)


class Examples:
    """One part of Fashion-MNIST, as a data set: example i is (image, label).

    The image is a tensor of the framework as the loaders give it, made when it is asked
    for; the label is a number. `images` and `labels` hold all of them, in bytes;
    `images, labels = data.train` gives these two.
    """

    def __init__(self, images, labels, owner=None):
        self.images, self.labels, self.owner = images, labels, owner

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        i = range(len(self))[operator.index(i)]
        X, _ = self.owner.to_tensors(self.images[[i]], self.labels[[i]])
        return X[0], int(self.labels[i])

    def __iter__(self):
        return iter((self.images, self.labels))


def rows_of(part):
    """(images, labels) of what a reader may set as `train` or `val`; else None.

    Also of `torch.utils.data.Subset`, which is what `random_split` gives.
    """
    if hasattr(part, "dataset") and hasattr(part, "indices"):
        rows = rows_of(part.dataset)
        return rows and tuple(x[np.asarray(part.indices, int)] for x in rows)
    if isinstance(part, tuple) and len(part) == 2:
        return tuple(map(np.asarray, part))
    return (part.images, part.labels) if isinstance(part, Examples) else None


def height_and_width(size):
    """A size of images, one number or two, as a pair; ValueError for anything else."""
    pair = (size, size) if isinstance(size, Integral) else size
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise ValueError(
            f"resize={size!r}: give (height, width) in pixels, or one number for both."
        )
    for n in pair:
        check_whole("a side of resize", n, 1)
    return tuple(pair)


class Loader(_Passes):
    """Batches of `train` or `val`, as tensors; training has a new order each epoch."""

    def __init__(self, data, train):
        self.data, self.train = data, train

    @property
    def dataset(self):
        """The examples, one by one."""
        return Examples(*self.data.part(self.train), self.data)

    @property
    def batch_size(self):
        return self.data.batch_size

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
    images (n, 28, 28) and labels (n,) in bytes. You may put others in their place, a
    part of them for instance; then those are used.

    Parameters:
        batch_size: examples in a batch; the last one of an epoch may be shorter.
        resize: (height, width) of the images in pixels, or one number for both.
        root: a folder with the four files of the data set; by default they are looked
            for and, if need be, downloaded, see `sources.load_fashion_mnist`.
        num_workers: accepted as in the textbook; it changes nothing.

    Raises:
        ValueError: for an impossible batch size or image size.
        sources.DataError: where a file in `root` is damaged.

    Example:
        >>> data = d2l.FashionMNIST(batch_size=128, resize=(224, 224))
        >>> X, y = next(iter(data.train_dataloader()))
    """

    def __init__(
        self,
        batch_size: int = 64,
        resize: int | tuple[int, int] = (28, 28),
        root: str | PathLike | None = None,
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(ignore=[] if root else ["root"])
        check_whole("batch_size", batch_size, 1)
        arrays = load_fashion_mnist(root)
        self.train, self.val = arrays.train, arrays.val
        self.source, self.is_sample = arrays.source, arrays.is_sample
        self.seed = current_seed()

    def __setattr__(self, name, value):
        if name == "resize":
            value = height_and_width(value)
        if name in ("train", "val") and (rows := rows_of(value)) is not None:
            value = self.examples(*rows)
        super().__setattr__(name, value)

    def examples(self, images, labels):
        """What `train` and `val` become: a Split, in PyTorch and MXNet a data set."""
        return Split(images, labels)

    def text_labels(self, indices: Iterable) -> list[str]:
        """The class names of some labels.

        Parameters:
            indices: labels, numbers from 0 to 9.

        Returns:
            A name for each.
        """
        return [LABELS[int(i)] for i in indices]

    def num_batches(self, train):
        """Batches in one epoch; in fast mode only a few, which are small."""
        images, _ = self.part(train)
        n = math.ceil(len(images) / self.batch_size)
        if fast_mode():
            n = min(n, FAST_TRAIN_BATCHES if train else FAST_VAL_BATCHES)
        return n

    def batches(self, train, epoch=0, arrays=None):
        """Yield (images (b, 28, 28) uint8, labels (b,) int32) of one epoch.

        arrays: images and labels of this part that lie on a device; then only the
        order is sent there.
        """
        images, labels = arrays or self.arrays(train)
        n = len(images)
        order = epoch_order(n, self.seed, epoch) if train else np.arange(n)
        size = min(self.batch_size, FAST_IMAGES) if fast_mode() else self.batch_size
        for i in range(self.num_batches(train)):
            chosen = order[i * self.batch_size :][:size]
            yield images[chosen], labels[chosen]

    def part(self, train):
        """All images (n, 28, 28) uint8 and labels (n,) of one part."""
        name = "train" if train else "val"
        part = getattr(self, name)
        if not isinstance(part, Split | Examples):
            what = type(part).__name__
        elif part.images.dtype != np.uint8 or part.images.ndim != 3:
            what = f"images of {part.images.dtype} and shape {part.images.shape}"
        else:
            return tuple(part)
        raise ValueError(
            f"{type(self).__name__} makes batches of images of uint8 and shape "
            f"(n, height, width), but data.{name} is {what}. For a data set of another "
            "kind, define get_dataloader(self, train)."
        )

    def arrays(self, train):
        """All images (n, 28, 28) uint8 and labels (n,) int32 of one part."""
        images, labels = self.part(train)
        return images, labels.astype(np.int32)

    def resize_matrices(self):
        """(R_h, R_w) from the stored size to `resize`, or None."""
        return resize_matrices(self.part(True)[0].shape[1:], self.resize)

    def to_tensors(self, images, labels):
        """A batch as `batches` gives it, as the framework's tensors, resized."""
        raise NotImplementedError(
            "Use the FashionMNIST of d2l_utils.torch, or another framework's."
        )

    def visualize(
        self, batch: tuple, nrows: int = 1, ncols: int = 8, labels: Sequence[str] = ()
    ) -> np.ndarray:
        """Show the images of a batch with their class names.

        Parameters:
            batch: (X, y).
            nrows, ncols: rows and columns of images.
            labels: titles in place of the class names.

        Returns:
            The axes of matplotlib.
        """
        X, y = batch
        return show_images(X, nrows, ncols, labels or self.text_labels(y))

    def get_dataloader(self, train):
        return Loader(self, train)
