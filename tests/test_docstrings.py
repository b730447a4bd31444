"""Docstrings of public names: the sections that they need, and examples that run."""

import ast
import os
import subprocess
import sys

import pytest

from book.pages import api
from book.source.book import ROOT

FILES = (  # of d2l_utils, whose public functions and classes are held to this
    "__init__", "base", "board", "experiments", "fetching", "figures", "frameworks",
    "host", "names", "sources", "tab",
)  # fmt: skip


def own(node):
    """The nodes of a function without those of functions and classes inside it."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, (ast.FunctionDef, ast.ClassDef, ast.Lambda)):
            yield child
            yield from own(child)


def documented(sections, name):
    """The names that a section lists; several may share an entry."""
    listed = api.items(sections.get(name, ""))
    return {part.strip() for names, _ in listed for part in names.split(",")}


def parameters(function, method):
    """The parameters of a function, as ast has them."""
    given = function.args
    plain = [*given.posonlyargs, *given.args][method:]
    return [*plain, *filter(None, [given.vararg]), *given.kwonlyargs]


def lacking_of_function(node, sections, method):
    names = {a.arg for a in parameters(node, method)}
    yield from sorted(names - documented(sections, "Parameters"))
    gives = any(isinstance(n, ast.Return) and n.value is not None for n in own(node))
    of_property = any(ast.unparse(d) == "property" for d in node.decorator_list)
    if gives and not of_property and not sections.get("Returns"):
        yield "Returns"
    for raised in own(node):
        call = getattr(raised, "exc", None)
        if isinstance(call, ast.Call):
            name = ast.unparse(call.func)
            if name not in documented(sections, "Raises"):
                yield f"Raises {name}"
    hinted = [a.annotation for a in parameters(node, method)]
    if None in hinted or node.returns is None:
        yield "type hints"


def lacking(node, prefix=""):
    """What a function or class, with its public methods, does not say."""
    name, method = f"{prefix}{node.name}", bool(prefix)
    sections = api.parse(ast.get_docstring(node) or "")
    if not sections[""]:
        yield f"{name}: summary"
    if not method and not sections.get("Example"):
        yield f"{name}: Example"
    if isinstance(node, ast.FunctionDef):
        for what in lacking_of_function(node, sections, method):
            yield f"{name}: {what}"
        return
    for inner in node.body:
        if isinstance(inner, ast.AnnAssign):  # a field
            field = ast.unparse(inner.target)
            if field not in documented(sections, "Parameters"):
                yield f"{name}: {field}"
        if not isinstance(inner, ast.FunctionDef):
            continue
        if inner.name == "__init__":  # the docstring of the class speaks for it
            for what in lacking_of_function(inner, sections, method=True):
                yield f"{name}: {what}"
        elif inner.name[0] != "_":
            yield from lacking(inner, f"{name}.")


def public(tree):
    kinds = (ast.FunctionDef, ast.ClassDef)
    return [n for n in tree.body if isinstance(n, kinds) and n.name[0] != "_"]


@pytest.mark.parametrize("file", FILES)
def test_docstrings_say_what_they_have_to(file):
    tree = ast.parse((ROOT / "d2l_utils" / f"{file}.py").read_text("utf-8"))
    assert public(tree)
    assert [text for node in public(tree) for text in lacking(node)] == []


SILENT = '''
class A:
    """A class."""

    size: int

    def __init__(self, x):
        if x < 0:
            raise ValueError("negative")

    def method(self, y: int) -> int:
        """A method.

        Returns:
            y.
        """
        return y

    def _helper(self, z):
        return z

def function(*names, key=None):
    """A function.

    Parameters:
        names: some.
    """
    def inside():
        return 1
'''


def test_the_check_sees_what_is_not_said():
    found = [x for node in public(ast.parse(SILENT)) for x in lacking(node)]
    assert found == [
        "A: Example", "A: size", "A: x", "A: Raises ValueError", "A: type hints",
        "A.method: y", "function: Example", "function: key", "function: type hints",
    ]  # fmt: skip


EXAMPLES = """
import doctest, os, sys
from importlib import import_module

given, failed = dict(os.environ), 0
for file in sys.argv[1:]:
    module = import_module("d2l_utils" if file == "__init__" else f"d2l_utils.{file}")
    failed += doctest.testmod(module).failed
    os.environ.clear()
    os.environ.update(given)  # some examples set variables
sys.exit(failed)
"""


def test_examples_print_what_they_say(tmp_path):
    environ = {k: v for k, v in os.environ.items() if k[:9] != "D2L_UTILS"}
    environ |= {"PYTHONPATH": str(ROOT), "MPLBACKEND": "agg"}
    done = subprocess.run(
        [sys.executable, "-c", EXAMPLES, *FILES],
        cwd=tmp_path, env=environ, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
