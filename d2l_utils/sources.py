"""Where Fashion-MNIST comes from: its files are found or downloaded, and decoded.

What is done with the arrays is in `d2l_utils.data`. Every file is verified before it is
used. A downloaded file is verified in memory and then put into the cache as a whole;
where it cannot be kept there, it is used from memory.
"""

import contextlib
import gzip
import hashlib
import io
import math
import os
import tempfile
import warnings
import zlib
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import numpy as np

from d2l_utils.fetching import fetch

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
LARGEST = 64 * 2**20  # bytes, unpacked; the largest real file has 47,040,016
WAIT = 600  # seconds to wait for another process that downloads


class DataError(Exception):
    """A data file is missing, damaged, or not what it should be.

    Example:
        >>> decode_idx(b"no images")
        Traceback (most recent call last):
        d2l_utils.sources.DataError: data is not an IDX file of unsigned bytes: it \
starts with b'no i'.
    """


class Split(NamedTuple):
    """One part of the data set.

    Parameters:
        images: (n, 28, 28), uint8.
        labels: (n,), uint8 from 0 to 9.

    Example:
        >>> load_sample().val.images.shape
        (500, 28, 28)
    """

    images: np.ndarray
    labels: np.ndarray


class Arrays(NamedTuple):
    """The whole data set, and where it came from.

    Parameters:
        train, val: a `Split` each; val is what the data set calls its test images.
        source: where the files were found, in words.
        is_sample: whether this is only the small sample in this package.

    Example:
        >>> load_sample().source
        'sample'
    """

    train: Split
    val: Split
    source: str
    is_sample: bool


def decode_idx(raw: bytes, name: str | Path = "data") -> np.ndarray:
    """Decode the bytes of an IDX file, the format of MNIST (LeCun et al., 1998).

    It has two zero bytes, a type code (8 = uint8), the number of axes, a big-endian
    uint32 for each axis, and the numbers.

    Parameters:
        raw: the bytes of the file.
        name: what errors call the file.

    Returns:
        An array of uint8.

    Raises:
        DataError: this is no such file, or it is cut off.

    Example:
        >>> decode_idx(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 9]))
        array([7, 9], dtype=uint8)
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
    try:
        return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)
    except ValueError as error:  # (0, 2**32 - 1, 2**32 - 1): no bytes, yet too big
        raise DataError(f"{name} claims the shape {shape}: {error}") from error


def unpack(packed: bytes, name: str | Path = "data") -> bytes:
    """Unpack bytes if they are gzipped.

    Parameters:
        packed: the bytes of a file.
        name: what errors call the file.

    Returns:
        The unpacked bytes, or the same where they are not gzipped.

    Raises:
        DataError: they cannot be unpacked, or would be more than LARGEST.

    Example:
        >>> unpack(gzip.compress(b"123"))
        b'123'
    """
    if len(packed) > LARGEST:
        raise DataError(f"{name} has more than {LARGEST:,} bytes.")
    raw = packed
    if packed[:2] == b"\x1f\x8b":
        try:
            with gzip.GzipFile(fileobj=io.BytesIO(packed)) as file:
                raw = file.read(LARGEST + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{name} is damaged: {error}") from error
    if len(raw) > LARGEST:
        raise DataError(f"{name} unpacks to more than {LARGEST:,} bytes.")
    return raw


def _read(path):
    """The unpacked bytes of a file."""
    try:
        with open(path, "rb") as file:
            packed = file.read(LARGEST + 1)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    return unpack(packed, path)


def _check(raw, name, where, cure=""):
    """Raise DataError unless these are the bytes of the file of this name."""
    found = hashlib.sha256(raw).hexdigest()
    if found != SHA256[name]:
        raise DataError(
            f"{where} is not the Fashion-MNIST file {name}: its decompressed bytes "
            f"have the SHA-256 {found}, expected {SHA256[name]}.{cure}"
        )


def _read_verified(path):
    raw = _read(path)
    cure = " Delete it, or point D2L_UTILS_DATA at a folder with the real files."
    _check(raw, path.name.removesuffix(".gz"), path, cure)
    return raw


def _find(folder):
    """{key: path} of the four files in a folder, with or without .gz; or None."""
    paths = {}
    for key, name in FILES.items():
        # In a folder that may not be read, Path.is_file raises PermissionError.
        there = [p for p in _places(folder, name) if os.path.isfile(p)]
        paths[key] = there[0] if there else None
    return paths if all(paths.values()) else None


def _places(folder, name):
    return folder / name, folder / f"{name}.gz"


def _load_folder(folder, source, verified=True):
    paths = _find(folder)
    read = _read_verified if verified else _read
    return _arrays({k: read(p) for k, p in paths.items()}, folder, source, verified)


def _arrays(raw, folder, source, verified=True):
    """Arrays from the unpacked bytes of the four files, {key: bytes}."""
    parts = {k: decode_idx(v, FILES[k]) for k, v in raw.items()}
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


def load_sample() -> Arrays:
    """Load the sample in this package, with equally many images of each class.

    Returns:
        2,000 training and 500 validation images.

    Example:
        >>> len(load_sample().train.labels)
        2000
    """
    return _load_folder(SAMPLE, "sample", verified=False)


def cache_folder() -> Path:
    """The folder in which downloaded data is kept.

    Returns:
        A folder in the user's cache, which platformdirs knows for each system, or
        in the one for temporary files, where the user has no home.

    Example:
        >>> cache_folder().name
        'fashion-mnist'
    """
    from platformdirs import user_cache_dir

    try:
        folder = Path(user_cache_dir("d2l_utils", appauthor=False))
    except RuntimeError:  # newer platformdirs raises it if ~ has no meaning
        folder = Path("~")
    if not folder.is_absolute():
        folder = Path(tempfile.gettempdir(), "d2l_utils")
    return folder / "fashion-mnist"


@contextlib.contextmanager
def _locked(folder):
    """Let only one process at a time use the folder.

    Where no lock can be made (a read-only file system), or another process has had
    it for WAIT seconds, go on without: files are put in place as a whole, so the
    worst that can happen is a second download.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(folder / ".lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=1)
        except Timeout:
            print("Another process is downloading Fashion-MNIST; waiting for it.")
            lock.acquire(timeout=WAIT)
        for path in folder.glob("*.part*"):  # left by a process that was killed
            path.unlink(missing_ok=True)
    except (OSError, NotImplementedError):  # filelock raises it on disks without locks
        pass
    try:
        yield
    finally:
        lock.release()


def _from_cache(folder, name):
    """The verified bytes of a file in the cache, or None. Deletes a damaged file."""
    for path in _places(folder, name):
        try:
            return _read_verified(path)
        except DataError:
            with contextlib.suppress(OSError):
                path.unlink()
    return None


def _from_mirrors(name, mirrors):
    """Download a file and verify it: (the bytes as sent, the same unpacked).

    A mirror that fails is moved to the end of the list `mirrors`, so that the next
    file is not tried there first.
    """
    failures = []
    for mirror in tuple(mirrors):
        try:
            packed = fetch(f"{mirror}{name}.gz")
            raw = unpack(packed, "what it sent")
            _check(raw, name, "a web page" if packed[:1] == b"<" else "what it sent")
            return packed, raw
        except Exception as error:  # whatever a mirror does, try the next
            failures.append(f"{mirror}: {error}")
            mirrors.remove(mirror)
            mirrors.append(mirror)
    raise DataError(
        f"{name}.gz could not be downloaded from any mirror:\n  "
        + "\n  ".join(failures)
    )


def _keep(path, packed):
    """Put a file into the cache, all or nothing."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(packed)
        os.replace(part, path)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def _download(folder):
    """The data set from the mirrors, kept in `folder` where that is possible.

    Files that are there already are not fetched again: an earlier run may have been
    interrupted, or another process was faster.
    """
    for package in ("pooch", "filelock"):
        try:
            import_module(package)
        except ImportError as error:
            raise DataError(
                f"Downloading needs the package {package}: pip install {package}."
            ) from error
    raw, mirrors, unkept, source = {}, list(MIRRORS), None, "cache"
    with _locked(folder):
        for key, name in FILES.items():
            raw[key] = _from_cache(folder, name)
            if raw[key] is None:
                packed, raw[key] = _from_mirrors(name, mirrors)
                source = "download"
                try:
                    _keep(folder / f"{name}.gz", packed)
                except OSError as error:
                    unkept = error
    if unkept:
        warnings.warn(
            "Fashion-MNIST was downloaded and is used from memory, but it cannot be "
            f"kept in {folder} ({unkept}), so the next run downloads it again. Make "
            "room there, or set D2L_UTILS_DATA to a folder with its four files.",
            stacklevel=4,
        )
    return _arrays(raw, folder, source)


@lru_cache(maxsize=2)
def load_fashion_mnist(root: str | Path | None = None) -> Arrays:
    """Load Fashion-MNIST (Xiao, Rasul, Vollgraf, 2017), 28x28 pixels.

    It is looked for in this order: in `root`, or else in the folder that the
    environment variable D2L_UTILS_DATA names; in the cache; in Debian's package
    dataset-fashion-mnist; on the mirrors. Files may be gzipped or not; each is
    verified by the SHA-256 of its decompressed bytes. Where downloaded files cannot
    be kept they are used from memory; where nothing can be downloaded, the small
    sample in this package is used. Both give a warning.

    Parameters:
        root: a folder with the four files.

    Returns:
        60,000 training and 10,000 validation images, or those of the sample.

    Raises:
        DataError: a file in `root` is damaged or not the one it should be.

    Example:
        >>> load_fashion_mnist().train.images.shape  # doctest: +SKIP
        (60000, 28, 28)
    """
    given = root or os.environ.get("D2L_UTILS_DATA")
    if given:
        folder = Path(os.path.expanduser(given))  # "~nobody/x" stays as it is
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
        except DataError as error:  # _download replaces the damaged file
            reasons.append(str(error))
    if _find(DEBIAN):
        try:
            return _load_folder(DEBIAN, "Debian package dataset-fashion-mnist")
        except DataError as error:
            reasons.append(str(error))
    try:
        return _download(cache)
    except DataError as error:
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
