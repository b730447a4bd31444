"""The four tabs' classes and functions take the same settings, with the same defaults.

Read from the sources of the notebooks, without a framework.
"""

import ast

import pytest

from book.source.book import BOOK, SECTIONS
from book.source.reading import own_cells
from d2l_utils.frameworks import FRAMEWORKS

# Helpers of one tab's layers, which take what that framework's layers take.
OF_ONE_TAB = {"conv", "max_pool", "max_pool_3x3"}


def arguments(function):
    """{argument: default, as source, or None} of a function, without self."""
    args = function.args
    assert not (args.posonlyargs or args.kwonlyargs or args.kwarg), function.name
    given = [None] * (len(args.args) - len(args.defaults))
    defaults = given + [ast.unparse(d) for d in args.defaults]
    named = dict(zip([a.arg for a in args.args], defaults))
    named |= {args.vararg.arg: None} if args.vararg else {}
    return {name: default for name, default in named.items() if name != "self"}


def settings(node):
    """{setting: default, as source, or None} of a function or a class.

    Those of a class are the arguments of its __init__ or, in JAX, its fields; there,
    `training` is set by the Trainer.
    """
    if isinstance(node, ast.FunctionDef):
        return arguments(node)
    for method in node.body:
        if getattr(method, "name", "") == "__init__":
            return arguments(method)
    fields = [f for f in node.body if isinstance(f, ast.AnnAssign)]
    named = {f.target.id: f.value and ast.unparse(f.value) for f in fields}
    return {name: default for name, default in named.items() if name != "training"}


def definitions(section, framework):
    """{name: settings} of what the cells tagged `model` of a tab define."""
    found = {}
    for cell in own_cells(BOOK, section):
        if framework in cell.tabs and "model" in cell.tags:
            for node in ast.parse(cell.source).body:
                if isinstance(node, ast.ClassDef | ast.FunctionDef):
                    found[node.name] = settings(node)
    return found


@pytest.mark.parametrize("section", SECTIONS)
def test_the_same_settings_and_defaults_in_every_tab(section):
    tabs = {f: definitions(section, f) for f in FRAMEWORKS}
    names = set().union(*tabs.values()) - OF_ONE_TAB
    for name in names:
        there = {f: tabs[f][name] for f in FRAMEWORKS if name in tabs[f]}
        first = next(iter(there.values()))
        for framework, found in there.items():
            # Also in the same order, in which they may be given.
            assert list(found.items()) == list(first.items()), (framework, name)


def test_every_tab_has_the_networks():
    for framework in FRAMEWORKS:
        names = {n for s in SECTIONS for n in definitions(s, framework)}
        networks = {"NiN", "NiN28", "Inception", "GoogleNet", "Nin", "Net", "Classic"}
        assert networks | {"BatchNormNet", "SmoothNet"} <= names
    nin, nin28 = (definitions("nin", "jax")[n] for n in ("NiN", "NiN28"))
    assert nin == {"lr": "0.1", "num_classes": "10", "dropout": "0.5", "momentum": "0"}
    assert nin28["momentum"] == "0.9"
