"""Where Fashion-MNIST comes from: files found, fetched, verified and decoded.

NumPy only. What is done with the arrays is in `d2l_utils.data`.
"""

import gzip
import hashlib
import math
import os
import warnings
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

FILES = {
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "val_images": "t10k-images-idx3-ubyte",
    "val_labels": "t10k-labels-idx1-ubyte",
}

# Of the decompressed bytes: mirrors compress the same file differently.
SHA256 = {
    "train-images-idx3-ubyte": (
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"
    ),
    "train-labels-idx1-ubyte": (
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"
    ),
    "t10k-images-idx3-ubyte": (
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"
    ),
    "t10k-labels-idx1-ubyte": (
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"
    ),
}

MIRRORS = (
    "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
)

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
SAMPLE = Path(__file__).parent / "sample"
TIMEOUT = 20  # seconds without a byte before a mirror is given up
MAX_FILE = 64 * 2**20  # bytes; the largest real file has 47,040,016


class DataError(Exception):
    """A data file is missing, damaged, or not what it should be."""


class Split(NamedTuple):
    """One part of the data set: images (n, 28, 28) uint8, labels (n,) uint8."""

    images: np.ndarray
    labels: np.ndarray


class Arrays(NamedTuple):
    """The whole data set, and where it came from."""

    train: Split
    val: Split
    source: str
    is_sample: bool


def decode_idx(raw, name="data"):
    """Decode the bytes of an IDX file of unsigned bytes into an array.

    The format is that of MNIST (LeCun et al., 1998): two zero bytes, a type
    code (8 = uint8), the number of axes, one big-endian uint32 per axis, data.
    Raises DataError for anything else.
    """
    if len(raw) < 4 or raw[0] or raw[1] or raw[2] != 8 or not 1 <= raw[3] <= 4:
        raise DataError(
            f"{name} is not an IDX file of unsigned bytes: it starts with "
            f"{bytes(raw[:4])!r}."
        )
    start = 4 + 4 * raw[3]
    if len(raw) < start:
        raise DataError(f"{name} is cut off within its header.")
    shape = tuple(int(n) for n in np.frombuffer(raw, ">u4", raw[3], offset=4))
    if len(raw) - start != math.prod(shape):
        raise DataError(
            f"{name} should hold {math.prod(shape):,} bytes for the shape {shape}, "
            f"but holds {len(raw) - start:,}: it is truncated or damaged."
        )
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)


def _read(path):
    """The decompressed bytes of a file, whether it is gzipped or not."""
    try:
        with open(path, "rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        with gzip.open(path) if packed else open(path, "rb") as file:
            raw = file.read(MAX_FILE + 1)
    except (OSError, EOFError) as error:  # gzip raises both for damaged files
        raise DataError(f"{path} cannot be read: {error}") from error
    except Exception as error:  # zlib.error has no public base but Exception
        if type(error).__module__ != "zlib":
            raise
        raise DataError(f"{path} is damaged: {error}") from error
    if len(raw) > MAX_FILE:
        raise DataError(f"{path} unpacks to more than {MAX_FILE:,} bytes.")
    return raw


def _read_verified(path):
    raw = _read(path)
    name = path.name.removesuffix(".gz")
    found = hashlib.sha256(raw).hexdigest()
    if found != SHA256[name]:
        raise DataError(
            f"{path} is not the Fashion-MNIST file {name}: its decompressed bytes "
            f"have the SHA-256 {found}, expected {SHA256[name]}. "
            "Delete it, or point D2L_UTILS_DATA at a folder with the real files."
        )
    return raw


def _find(folder):
    """Paths of the four files in a folder (with or without .gz), or None."""
    paths = {}
    for key, name in FILES.items():
        candidates = [folder / name, folder / f"{name}.gz"]
        paths[key] = next((p for p in candidates if p.is_file()), None)
    return paths if all(paths.values()) else None


def _load_folder(folder, source, verified=True):
    paths = _find(folder)
    read = _read_verified if verified else _read
    parts = {k: decode_idx(read(p), p.name) for k, p in paths.items()}
    for part in ("train", "val"):
        images, labels = parts[f"{part}_images"], parts[f"{part}_labels"]
        if images.ndim != 3 or labels.shape != images.shape[:1]:
            raise DataError(
                f"Images {images.shape} and labels {labels.shape} in {folder} do "
                "not belong together."
            )
    return Arrays(
        Split(parts["train_images"], parts["train_labels"]),
        Split(parts["val_images"], parts["val_labels"]),
        source,
        is_sample=not verified,
    )


def load_sample():
    """The class-balanced sample: 2,000 training and 500 validation images."""
    return _load_folder(SAMPLE, "sample", verified=False)


def cache_folder():
    """Where downloaded data is kept (the user's cache, see platformdirs)."""
    from platformdirs import user_cache_dir

    return Path(user_cache_dir("d2l_utils", appauthor=False)) / "fashion-mnist"


def _download(folder):
    """Fetch the four files into `folder`; each appears there only when verified."""
    try:
        import pooch
        from filelock import FileLock
    except ImportError as error:
        raise DataError(
            f"Downloading needs the package {error.name}: pip install {error.name}."
        ) from error
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        for name in FILES.values():
            target = folder / f"{name}.gz"
            if target.exists():
                continue  # another process was faster, or an earlier run got so far
            failures = []
            for mirror in MIRRORS:
                part = folder / f"{name}.{os.getpid()}.part.gz"
                try:
                    pooch.HTTPDownloader(progressbar=True, timeout=TIMEOUT)(
                        mirror + target.name, str(part), None
                    )
                    _verify_download(part, name)
                    os.replace(part, target)
                    break
                except Exception as error:  # whatever a mirror does, try the next
                    failures.append(f"{mirror}: {error}")
                finally:
                    part.unlink(missing_ok=True)
            else:
                raise DataError(
                    f"{target.name} could not be downloaded from any mirror:\n  "
                    + "\n  ".join(failures)
                )


def _verify_download(part, name):
    found = hashlib.sha256(_read(part)).hexdigest()
    if found != SHA256[name]:
        raise DataError(f"the file has the wrong SHA-256 {found}")


@lru_cache(maxsize=2)
def load_fashion_mnist(root=None):
    """Load Fashion-MNIST: 60,000 training and 10,000 validation images, 28x28.

    Looked for in this order: `root`, or else the folder that the environment
    variable D2L_UTILS_DATA names; the cache; Debian's package
    dataset-fashion-mnist; the mirrors. Files may be gzipped or not; the SHA-256
    of the decompressed bytes decides. When nothing is to be had, the small
    sample in this package is used, with a warning.

    Raises DataError when a file in `root` is damaged or another file.
    Source: Xiao, Rasul, Vollgraf (2017).
    """
    given = root or os.environ.get("D2L_UTILS_DATA")
    if given:
        folder = Path(given).expanduser()
        if _find(folder):
            return _load_folder(folder, "folder")
        warnings.warn(
            f"{given} does not hold the four Fashion-MNIST files "
            f"({', '.join(FILES.values())}, with or without .gz); "
            "looking elsewhere.",
            stacklevel=3,
        )
    reasons = []
    cache = cache_folder()
    if _find(cache):
        try:
            return _load_folder(cache, "cache")
        except DataError as error:  # ours, so ours to throw away
            reasons.append(str(error))
            for path in _find(cache).values():
                path.unlink(missing_ok=True)
    if _find(DEBIAN):
        try:
            return _load_folder(DEBIAN, "Debian package dataset-fashion-mnist")
        except DataError as error:
            reasons.append(str(error))
    try:
        _download(cache)
        return _load_folder(cache, "download")
    except (DataError, OSError) as error:
        reasons.append(str(error))
    sample = load_sample()
    warnings.warn(
        "This is NOT the full Fashion-MNIST but a small sample of it "
        f"({len(sample.train.images):,} training and {len(sample.val.images):,} "
        "validation images): accuracies will be low. To get the data set, connect "
        "to the network and restart, or put its four files into a folder and set "
        "D2L_UTILS_DATA to it (on Debian and Ubuntu: apt install "
        "dataset-fashion-mnist). What was tried:\n  " + "\n  ".join(reasons),
        stacklevel=3,
    )
    return sample
