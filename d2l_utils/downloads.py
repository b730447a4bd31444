"""Files that readers' code asks for by address, as `d2l` does: DATA_HUB, download, ...

The data set of this package is not among them, see `d2l_utils.sources`.
"""

import hashlib
import os
import tarfile
import zipfile
from pathlib import Path
from urllib.parse import urlsplit

from d2l_utils.base import replace_file
from d2l_utils.fetching import FetchError, fetch
from d2l_utils.sources import DataError

DATA_URL = "http://d2l-data.s3-accelerate.amazonaws.com/"
DATA_HUB = {
    "kaggle_house_train": (
        f"{DATA_URL}kaggle_house_pred_train.csv",
        "585e9cc93e70b39160e7921475f9bcd7d31219ce",
    ),
    "kaggle_house_test": (
        f"{DATA_URL}kaggle_house_pred_test.csv",
        "fa19780a7b011d9b009e8bff8e99922a8ee2eb90",
    ),
}
"""{name: (address, SHA-1)}, to which readers add their own."""

FOLDER = os.path.join("..", "data")  # the textbook's
LARGEST = 2**30  # bytes of one file


def download(
    url: str, folder: str = FOLDER, sha1_hash: str | None = None, cache_dir=None
) -> str:
    """Download a file into a folder (textbook, section 5.7).

    Parameters:
        url: an address, or a name in DATA_HUB, which gives address and SHA-1.
        folder: where the file is put; made where it is missing.
        sha1_hash: the SHA-1 that the file must have. A file that is there already is
            used if it has this; without one, the file is downloaded each time.
        cache_dir: the folder, by its name in an older edition; it goes before `folder`.

    Returns:
        The path of the file.

    Raises:
        KeyError: there is no such name in DATA_HUB.
        DataError: the file could not be downloaded, or has another SHA-1; a file that
            was there stays as it was.

    Example:
        >>> download("kaggle_house_train")  # doctest: +SKIP
        '../data/kaggle_house_pred_train.csv'
    """
    if "://" not in url:
        if url not in DATA_HUB:
            raise KeyError(
                f"{url!r} is not in DATA_HUB, which has {', '.join(DATA_HUB)}. Add it, "
                f"d2l.DATA_HUB[{url!r}] = (address, sha1), or give its address."
            )
        url, sha1_hash = DATA_HUB[url]
    path = Path(cache_dir or folder, os.path.basename(urlsplit(url).path))

    def is_right(content):
        return hashlib.sha1(content, usedforsecurity=False).hexdigest() == sha1_hash

    if sha1_hash and path.is_file() and is_right(path.read_bytes()):
        return str(path)
    print(f"Downloading {path} from {url}...")
    try:
        content = fetch(url, LARGEST)
    except FetchError as error:
        raise DataError(f"{url} could not be downloaded: {error}") from error
    if sha1_hash and not is_right(content):
        raise DataError(f"What {url} sent does not have the SHA-1 {sha1_hash}.")
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, content)
    return str(path)


def extract(filename: str, folder: str | None = None) -> None:
    """Unpack a .zip, .tar or .tar.gz; nothing is written outside of the folder.

    Parameters:
        filename: the archive.
        folder: by default, the one that it is in.

    Raises:
        ValueError: the file is no such archive.
        tarfile.FilterError: a tar file has a member that would lie outside.

    Example:
        >>> extract("../data/hotdog.zip")  # doctest: +SKIP
    """
    folder = folder or os.path.dirname(filename) or "."
    if zipfile.is_zipfile(filename):
        with zipfile.ZipFile(filename) as archive:
            archive.extractall(folder)
    elif tarfile.is_tarfile(filename):
        with tarfile.open(filename) as archive:
            archive.extractall(folder, filter="data")
    else:
        raise ValueError(f"{filename} is neither a zip nor a tar file.")


def download_extract(name: str, folder: str | None = None) -> str:
    """Download an archive and unpack it beside itself.

    Parameters:
        name: as `url` of `download`.
        folder: the folder in the archive; by default it has the archive's name.

    Returns:
        The path of that folder.

    Example:
        >>> download_extract("hotdog")  # doctest: +SKIP
        '../data/hotdog'
    """
    path = download(name)
    extract(path)
    if folder:
        return os.path.join(os.path.dirname(path), folder)
    return os.path.splitext(path)[0]


def download_all() -> None:
    """Download all files in DATA_HUB.

    Example:
        >>> download_all()  # doctest: +SKIP
    """
    for name in DATA_HUB:
        download(name)
