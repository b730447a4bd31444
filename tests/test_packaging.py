"""pyproject.toml: what is imported is declared; what is installed is the package."""

import ast
import sys
from importlib import metadata
from zipfile import ZipFile

import pytest
import tomllib
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from bench.environments import PACKAGES
from book.source.book import ROOT
from d2l_utils.frameworks import FRAMEWORKS

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MODULES = tuple(f.module for f in FRAMEWORKS.values())
EXTRAS = {  # what is installed where the code of a folder runs
    "d2l_utils": MODULES,
    "book": ("book", *MODULES),
    "study": ("book", *MODULES),
    "bench": ("book", *MODULES),
    "tests": ("test", "book", *MODULES),
}
ELSEWHERE = {
    "d2l_utils": {
        "ipywidgets",  # the chooser of tabs, which does without
        "matplotlib-inline",  # comes with IPython, and is not needed without it
    },
    "bench": {Requirement(p).name for pins in PACKAGES.values() for p in pins},
    "tests": {"ipywidgets"},  # its test says that it skips without it
}


def modules(node):
    """The modules that a node of a syntax tree imports by name."""
    match node:
        case ast.Import():
            return [alias.name for alias in node.names]
        case ast.ImportFrom(level=0):
            return [node.module]
        case ast.Call(args=[ast.Constant(value=str(name)), *_]):
            function = ast.unparse(node.func).split(".")[-1]
            return [name] * (function in ("import_module", "importorskip"))
    return []


def imported(folder):
    """Top-level modules from elsewhere that the Python files of a folder import."""
    paths = list((ROOT / folder).rglob("*.py"))
    names = {
        name.split(".")[0]
        for path in paths
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for name in modules(node)
    }
    ours = {*EXTRAS, *(path.stem for path in paths if folder == "tests")}
    return names - ours - set(sys.stdlib_module_names)


def declared(folder):
    """Names of the distributions that are installed with the extras of a folder."""
    extras = PROJECT["optional-dependencies"]
    lines = [*PROJECT["dependencies"]]
    for extra in EXTRAS[folder]:
        lines += extras[extra]
    return {Requirement(line).name for line in lines} | ELSEWHERE.get(folder, set())


@pytest.mark.parametrize("folder", EXTRAS)
def test_what_is_imported_is_declared(folder):
    installed, known = metadata.packages_distributions(), declared(folder)
    for module in imported(folder):
        # A framework that is not installed here goes by its module's name.
        names = map(canonicalize_name, installed.get(module, [module]))
        assert known & set(names), f"{folder} imports {module}"


def test_groups_that_all_includes_are_there():
    """`d2l-utils[a,b]` installs nothing, and says little, where b is misspelt."""
    extras = PROJECT["optional-dependencies"]
    for line in (x for extra in extras.values() for x in extra):
        requirement = Requirement(line)
        if requirement.name == PROJECT["name"]:
            assert requirement.extras <= set(extras)


@pytest.fixture(scope="module")
def wheel(wheel_path):
    return ZipFile(wheel_path)


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    folder = ROOT / "d2l_utils"
    ours = {
        path.relative_to(ROOT).as_posix()
        for pattern in (
            "*.py",
            "py.typed",
            "sample/*",
            "results/*.seed*.json",
            "results/*.safetensors",
            "groups.json",
        )
        for path in folder.rglob(pattern)
    }
    there = {n for n in wheel.namelist() if ".dist-info/" not in n}
    assert there == ours
    assert {"d2l_utils/py.typed", "d2l_utils/jax/__init__.py"} <= ours
    assert {n.split("/")[0].split("-")[0] for n in wheel.namelist()} == {"d2l_utils"}


def test_the_package_says_what_it_is(wheel):
    name = next(n for n in wheel.namelist() if n.endswith("METADATA"))
    about = wheel.read(name).decode()
    for line in ("Author: ", "Project-URL: Textbook, https://d2l.ai", "Keywords: "):
        assert f"\n{line}" in about
    assert "\nClassifier: Typing :: Typed\n" in about
    assert "\nLicense-Expression: MIT\n" in about
