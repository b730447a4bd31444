"""The API page: every public name with its signature, read without any framework."""

import ast
import re
import subprocess
import sys

import pytest
from bs4 import BeautifulSoup

from book.pages import api
from book.source.book import ROOT
from d2l_utils.frameworks import FRAMEWORKS

ALL = tuple(FRAMEWORKS)


@pytest.fixture(scope="module")
def soup():
    body, _ = api.body(ALL, "Functions", "Link")
    return BeautifulSoup(body, "html.parser")


def listed(framework):
    """`__all__` of a framework's module."""
    path = ROOT / "d2l_utils" / FRAMEWORKS[framework].module / "__init__.py"
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return ast.literal_eval(node.value)
    raise AssertionError(f"{path} has no __all__")


def test_every_public_name_is_there_with_its_signature(soup):
    found = api.entries()
    assert set(found) == {name for f in ALL for name in listed(f)}
    for name, versions in found.items():
        assert soup.find("h2", id=name), name
        for framework in ALL:
            of = [e for e, whose in versions.items() if framework in whose]
            assert len(of) == (name in listed(framework)), (name, framework)
    codes = {pre.text.strip() for pre in soup("pre")}
    for entry in (e for versions in found.values() for e in versions):
        for one in (entry, *entry.members):
            assert one.signature in codes
            assert one.signature.split("(")[0].split(" =")[0] == one.name


@pytest.mark.parametrize("name", ALL)
def test_what_is_known_of_some_names(name):
    """Their parameters are the textbook's, in every framework."""
    found = {n: next(iter(v)) for n, v in api.entries((name,)).items()}
    trainer = found["Trainer"]
    for entry, names in (
        (found["evaluate"], ["model", "data"]),
        (found["try_gpu"], ["i"]),
        (trainer, ["max_epochs", "num_gpus", "gradient_clip_val"]),
    ):
        given = [re.split("[:=]", p)[0] for p in entry.parameters]
        assert given[: len(names)] == names
    assert "fit" in {m.name for m in trainer.members}


def test_of_classes_to_build_on_only_what_readers_call_or_define_is_shown():
    """Not the methods by which the library does its work."""
    found = api.entries()
    for name, methods in api.METHODS.items():
        for entry, frameworks in found[name].items():
            shown = [m for m in methods if m != "parameters" or frameworks == ["mxnet"]]
            assert [m.name for m in entry.members] == shown, (name, frameworks)


def test_no_framework_is_imported():
    code = (
        "import sys; from book.pages import api; api.body(('jax', 'mxnet'), 'A', 'B')\n"
        "print([m for m in ('torch', 'mxnet', 'tensorflow', 'jax', 'flax')"
        " if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_sections_of_docstrings_are_shown(soup):
    """Timer is the same everywhere; it has an example and documented methods."""
    start = soup.find("h2", id="add_to_class")
    parts = []
    for element in start.find_next_siblings():
        if element.name == "h2":
            break
        parts.append(element)
    labels = [e.text for e in parts if e.get("class") == ["label"]]
    assert labels == ["Parameters", "Returns", "Example"]
    (names,) = [e for e in parts if e.name == "dl"]
    assert names.dt.text == "Class" and "method" in names.dd.text
    assert "woof" in parts[-1].text
    assert soup.find("h3", id="Timer.stop")


def test_what_differs_is_shown_for_each_framework(soup):
    entry = soup.find("h2", id="get_key").find_next_sibling()
    assert entry["class"] == ["only"] and entry.find(class_="label").text == "JAX"
    ids = [element["id"] for element in soup.select("[id]")]
    assert len(ids) == len(set(ids))
    links = [a["href"].removeprefix("#") for a in soup.select("a.permalink")]
    assert links == ids


MADE = {
    "__init__": "",
    "core": '''
class Base:
    """The base.

    Parameters:
        a, b: two numbers,
            of any kind.
        *rest: more.
    """

    def __init__(self, a, /, b: int = 2, *rest, key=None, **more):
        pass

    def named(self, x=(1, 2)):
        """From the base."""

    def _hidden(self):
        """Not shown."""
''',
    "hooks": '''
from d2l_utils import core

class Child(core.Base):
    def named(self, x):
        return x

    @property
    def size(self):
        """Of it."""

    @staticmethod
    def make(z):
        """One."""

thing = print(1)
"""A thing."""

bare = print(2)
_child = Child()
other, bound = core.Base, _child.named
''',
    "jax/__init__": """
from d2l_utils.hooks import Child as Renamed
try:
    from d2l_utils.hooks import thing, bare, bound, other
except ImportError:
    pass
__all__ = ["Renamed", "bare", "bound", "other", "thing"]
""",
}


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A small package in place of d2l_utils."""
    for name, text in MADE.items():
        path = tmp_path / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(api, "PACKAGE", tmp_path)
    api.tree_of.cache_clear()
    yield tmp_path
    api.tree_of.cache_clear()


def test_definitions_are_found_through_imports_and_classes(made):
    found = {name: next(iter(v)) for name, v in api.entries(("jax",)).items()}
    renamed, inside = found["Renamed"], "(a, /, b: int = 2, *rest, key=None, **more)"
    assert renamed.signature == f"Renamed{inside}"
    assert renamed.docstring.startswith("The base.")
    named = "named(x=(1, 2))"  # as the definition with the docstring has it
    assert [m.signature for m in renamed.members] == [named, "size", "make(z)"]
    assert renamed.members[0].docstring == "From the base."
    assert found["other"].signature == f"other{inside}"
    assert (found["thing"].signature, found["thing"].docstring) == (
        "thing = print(1)", "A thing.",
    )  # fmt: skip
    assert found["bare"].docstring == ""
    bound = found["bound"]
    assert (bound.signature, bound.docstring) == ("bound(x=(1, 2))", "From the base.")
    parts = api.parse(renamed.docstring)
    assert api.items(parts["Parameters"]) == [
        ("a, b", "two numbers, of any kind."), ("*rest", "more."),
    ]  # fmt: skip


def test_a_name_without_definition_stops(made):
    path = made / "jax" / "__init__.py"
    path.write_text(path.read_text().replace('"thing"]', '"thing", "lost"]'))
    with pytest.raises(api.ApiError, match=r"d2l_utils\.jax\.lost"):
        api.entries(("jax",))


@pytest.mark.parametrize(
    "text",
    [
        "One.\n\nReturns:\n    A `b`.\n\nExample:\n    >>> 1\n    1",
        "One.\n\nReturns\n-------\nA `b`.\n\nExamples\n--------\n>>> 1\n1",
    ],
)
def test_both_ways_to_write_sections(text):
    said = {"": "One.", "Returns": "A `b`.", "Example": ">>> 1\n1"}
    assert api.parse(text) == said
