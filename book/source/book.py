"""The book: its folder, its sections in order, and where the files of each are.

Functions that read or make something of a book take it as their first argument;
commands take `BOOK`, the one of this repository. What the files hold is for others to
say: reading.py knows sources, editions.py editions, catalogues.py translations.
"""

import functools
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import tomllib

from d2l_utils.frameworks import FRAMEWORKS

ROOT = Path(__file__).resolve().parents[2]
SECTIONS = ("nin", "nin_exercises", "googlenet", "googlenet_exercises", "parity")
# Where the textbook has a section: its page, and the discussion for a framework.
_NIN = "chapter_convolutional-modern/nin.html", {
    "pytorch": 80, "mxnet": 79, "tensorflow": 332, "jax": 18003
}  # fmt: skip
_GOOGLENET = "chapter_convolutional-modern/googlenet.html", {
    "pytorch": 82, "mxnet": 81, "tensorflow": 316, "jax": 18004
}  # fmt: skip
TEXTBOOK = {
    "nin": _NIN, "nin_exercises": _NIN,
    "googlenet": _GOOGLENET, "googlenet_exercises": _GOOGLENET,
}  # fmt: skip
ON_GITHUB = re.compile(
    r"(?:https://|git@|ssh://git@)github\.com[/:](?P<repo>[\w.-]+/[\w.-]+?)(\.git)?/?"
)


class SourceError(Exception):
    """A source cannot be turned into notebooks; the message names the place."""


def on_github(address):
    """'owner/name' of a repository on GitHub, or None for any other address."""
    found = ON_GITHUB.fullmatch(address.strip())
    return found and found["repo"]


def git_remote(root):
    """The address of git's remote `origin`, or ''."""
    command = ["git", "-C", str(root), "remote", "get-url", "origin"]
    try:
        done = subprocess.run(command, capture_output=True, encoding="utf-8")
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


_parsed = functools.cache(tomllib.loads)


@dataclass(frozen=True)
class Book:
    """A folder with notebooks/, README.md and pyproject.toml.

    sections: their names, in the order of the book. textbook: {section: (page of the
    textbook, {framework: number of its discussion})}, for those that it has. compares:
    the sections whose readers are to see all frameworks.

        book = Book(tmp_path, sections=("s",))
        book.edition_path("s", "jax")  # tmp_path/notebooks/jax/s.ipynb
    """

    root: Path = ROOT
    sections: tuple = SECTIONS
    textbook: dict = field(default_factory=lambda: TEXTBOOK, hash=False)
    compares: tuple = ("parity",)

    @property
    def notebooks(self):
        return self.root / "notebooks"

    @property
    def locale(self):
        """The folder of the catalogues, one folder for each language."""
        return self.notebooks / "locale"

    def source_path(self, section):
        return self.notebooks / f"{section}.md"

    def four_tab_path(self, section):
        return self.notebooks / f"{section}.ipynb"

    def edition_path(self, section, framework, language="en"):
        folder = self.notebooks if language == "en" else self.notebooks / language
        return folder / framework / f"{section}.ipynb"

    def relative(self, path):
        """A path as messages show it: 'notebooks/nin.md'."""
        return path.relative_to(self.root).as_posix()

    @staticmethod
    def titles(framework=None):
        """{framework: its title}, in the order of the tabs; of all or of one."""
        names = [framework] if framework else FRAMEWORKS
        return {name: FRAMEWORKS[name].title for name in names}

    def repository(self):
        """The address that notebooks install from, or ''; see pyproject.toml."""
        settings = (self.root / "pyproject.toml").read_text(encoding="utf-8")
        return _parsed(settings)["tool"]["d2l_utils"]["repository"]

    def set_github(self):
        """'owner/name' on GitHub by pyproject.toml, or None; for what is committed."""
        return on_github(self.repository())

    def github(self):
        """The same for pages: where pyproject.toml names none, by git's `origin`."""
        return on_github(self.repository() or git_remote(self.root))


BOOK = Book()
