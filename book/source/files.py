"""How what is built is written: each file as a whole, or not at all.

A full disk or a kill leaves the old file as it was, and where several belong together,
the next run of the same command makes the rest. All that book/, bench/ and study/
write goes through `write`; tests/test_files.py looks for anything else.
"""

import contextlib
import functools
import hashlib
import json
import os
import sys
from importlib import metadata
from pathlib import Path

from d2l_utils import frameworks, tab
from d2l_utils.base import replace_file

CODE = Path(__file__).parents[1]  # book/, which makes all that is built
PACKAGES = (  # whose versions may change what is built
    "jupytext", "latex2mathml", "markdown-it-py", "mdit-py-plugins", "nbconvert",
    "nbformat", "nh3", "pillow", "pygments", "setuptools",
)  # fmt: skip


def write(path, content):
    """Write text (UTF-8, line ends as they are) or bytes; makes the folder.

    Raises OSError, with the name of the file, if that cannot be done; then the file is
    as it was before.
    """
    path = Path(os.path.realpath(path))  # a symbolic link stays a link
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = content.encode() if isinstance(content, str) else content
    try:
        replace_file(path, raw, path.with_name(f".{path.name}.{os.getpid()}.part"))
    except OSError as error:
        error.filename, error.filename2 = str(path), None
        raise


def picture(path):
    """The bytes of a picture; a drawing (SVG) gets the same line ends on any system."""
    raw = path.read_bytes()
    return raw.replace(b"\r\n", b"\n") if path.suffix == ".svg" else raw


@functools.cache
def code_key():
    """What everything built depends on: this code, the versions of what it uses."""
    suffixes = (".py", ".j2", ".css", ".js", ".json")
    paths = sorted(p for p in CODE.rglob("*") if p.suffix in suffixes)
    paths += [Path(tab.__file__), Path(frameworks.__file__)]  # sources are read by them
    return [sys.version, *map(metadata.version, PACKAGES), contents(paths)]


def kept(path, parts, make):
    """The result of `make()`, kept in the file at `path` while its parts stay the same.

    parts: all that the result is made of, besides this code. JSON must be able to hold
    both parts and result.
    """
    parts = json.dumps([code_key(), parts], sort_keys=True)
    key = hashlib.sha256(parts.encode()).hexdigest()
    with contextlib.suppress(OSError, ValueError):  # there is none, or a damaged one
        stored = json.loads(path.read_text(encoding="utf-8"))
        if stored["key"] == key:
            return stored["made"]
    made = make()
    write(path, json.dumps({"key": key, "made": made}))
    return made


def built(path, parts, make):
    """The paths of the files that `make()` writes and returns; called only if needed.

    That is where the parts or this code have changed, see `kept`, and where one of the
    files was changed or deleted: then all of them are written anew.
    """

    def made():
        return contents(make())

    found = kept(path, parts, made)
    if contents(Path(p) for p, _ in found) != found:
        path.unlink()
        found = kept(path, parts, made)
    return [Path(p) for p, _ in found]


def contents(paths):
    """[[path, SHA-256], ...] of those of these files that exist."""
    return [
        [str(p), hashlib.sha256(p.read_bytes()).hexdigest()]
        for p in paths
        if p.is_file()
    ]
