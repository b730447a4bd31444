"""Docstrings of public names: the sections that they need, and examples that run."""

import ast
import os
import subprocess
import sys

import pytest

from book.pages import api
from book.source.book import ROOT
from d2l_utils.frameworks import FRAMEWORKS

# Files whose public functions and classes are held to what each name of `d2l` is.
FILES = (
    "__init__", "base", "board", "experiments", "fetching", "figures", "frameworks",
    "host", "names", "sources", "tab",
)  # fmt: skip


LEFT_TO_OTHERS = {"NotImplementedError"}  # in what a framework or a subclass defines


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
    gives |= node.returns is not None and ast.unparse(node.returns) != "None"
    properties = {"property", "cached_property"}
    of_property = any(ast.unparse(d) in properties for d in node.decorator_list)
    if gives and not of_property and not sections.get("Returns"):
        yield "Returns"
    for raised in own(node):
        call = getattr(raised, "exc", None)
        name = ast.unparse(call.func) if isinstance(call, ast.Call) else ""
        of_class = name.rpartition(".")[2][:1].isupper()  # not what a method makes
        if of_class and name not in documented(sections, "Raises") | LEFT_TO_OTHERS:
            yield f"Raises {name}"
    hinted = [a.annotation for a in parameters(node, method)]
    if None in hinted or node.returns is None:
        yield "type hints"


def names_of(function):
    return [a.arg for a in parameters(function, method=True)]


def lacking_of_method(definitions):
    """What a method does not say; overriding definitions come first."""
    node = api.documented(definitions)
    sections = api.parse(api.said_of(node))
    if not sections[""]:
        yield "summary"
    yield from lacking_of_function(node, sections, method=True)
    for overriding in definitions[: definitions.index(node)]:
        if names_of(overriding) != names_of(node):
            yield "a docstring of its own, for other parameters"


def lacking_of_class(classes, sections):
    """What a class does not say of its parameters; it comes first, then its bases."""
    for field in api.fields_of(classes):
        name = field.partition(":")[0]
        if name not in documented(sections, "Parameters"):
            yield name
    for init in api.methods_of(classes).get("__init__", ())[:1]:
        yield from lacking_of_function(init, sections, method=True)


def lacking(node, name, classes=None):
    """What a function, or a class with its public methods, does not say.

    classes: the class and those that it inherits from, as far as they are looked at.
    """
    classes = classes or [node]
    sections = api.parse(api.said_of(api.documented(classes)))
    if not sections[""]:
        yield f"{name}: summary"
    if not sections.get("Example"):
        yield f"{name}: Example"
    if isinstance(node, ast.FunctionDef):
        found = lacking_of_function(node, sections, method=False)
    else:
        found = lacking_of_class(classes, sections)
    yield from (f"{name}: {what}" for what in found)
    if isinstance(node, ast.ClassDef):
        for method, definitions in api.public_methods(name, classes).items():
            for what in lacking_of_method(definitions):
                yield f"{name}.{method}: {what}"


def lacking_of_name(module, name):
    """What a public name of a module does not say."""
    where, node = api.find(module, name)
    if isinstance(node, ast.ClassDef):
        return lacking(node, name, api.ancestors(where, node))
    if isinstance(node, ast.FunctionDef):
        return lacking(node, name)
    entry = api.entry_of(module, name)
    sections = api.parse(entry.docstring)
    found = [x for x in ("", "Example") if not sections.get(x)]
    if isinstance(node, list):  # a method of an object
        found += lacking_of_method(node)
    return [f"{name}: {what or 'summary'}" for what in found]


def public(tree):
    kinds = (ast.FunctionDef, ast.ClassDef)
    return [n for n in tree.body if isinstance(n, kinds) and n.name[0] != "_"]


@pytest.mark.parametrize("file", FILES)
def test_docstrings_say_what_they_have_to(file):
    tree = ast.parse((ROOT / "d2l_utils" / f"{file}.py").read_text("utf-8"))
    assert public(tree)
    assert [text for node in public(tree) for text in lacking(node, node.name)] == []


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_names_of_a_framework_say_what_they_have_to(name):
    """Where a definition overrides another one, that may say it."""
    module = FRAMEWORKS[name].here
    names = api.public_names(module)
    assert {"Trainer", "evaluate", "init_cnn", "try_gpu"} <= set(names)
    assert [text for n in names for text in lacking_of_name(module, n)] == []


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
    found = [x for n in public(ast.parse(SILENT)) for x in lacking(n, n.name)]
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
