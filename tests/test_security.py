"""What SECURITY.md promises: nothing in a file is run, and pins are exact."""

import ast

import pytest
from packaging.requirements import Requirement

from book.source.book import ROOT

MODULES = sorted((ROOT / "d2l_utils").rglob("*.py"))

IMPORTS = {  # modules that run, unpickle or unpack what they are given
    "pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve",
    "marshal", "code", "codeop", "subprocess", "pty", "tarfile", "zipfile",
    "zipimport", "runpy", "yaml",
}  # fmt: skip
ALLOWED = {  # for what a reader's notebook asks for, see SECURITY.md
    "downloads.py": {"imports tarfile", "imports zipfile"},
    "run.py": {"imports subprocess", "uses os.system"},
    "train.py": {"imports runpy", "uses exec", "uses compile"},  # the reader's script
    "launch.py": {"imports cloudpickle", "imports pickle", "imports subprocess"},
}
NAMES = {"eval", "exec", "compile", "__import__"}
METHODS = {  # (owner or None for any, attribute)
    ("builtins", "eval"), ("builtins", "exec"), ("torch", "load"),
    ("torch.hub", "load"), ("torch.package", "PackageImporter"), ("os", "system"),
    ("os", "popen"), (None, "unpack_archive"), (None, "load_model"),
    (None, "load_states"), (None, "read_pickle"), (None, "unsafe_load"),
}  # fmt: skip


def faults(source):
    """What a module does that it must not, as (line, text)."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            whole = [f"{node.module}.{a.name}" for a in node.names]
            names = [node.module or "", *whole]
        else:
            names = []
        for name in names:
            owner, _, last = name.rpartition(".")
            if name.split(".")[0] in IMPORTS or (owner, last) in METHODS:
                yield node.lineno, f"imports {name}"
        if isinstance(node, ast.Name) and node.id in NAMES:
            yield node.lineno, f"uses {node.id}"
        if isinstance(node, ast.Attribute):
            owner = ast.unparse(node.value)
            if {(owner, node.attr), (None, node.attr)} & METHODS:
                yield node.lineno, f"uses {owner}.{node.attr}"
        if isinstance(node, ast.keyword) and node.arg in ("allow_pickle", "shell"):
            off = isinstance(node.value, ast.Constant) and node.value.value is False
            if not off:
                yield node.lineno, f"passes {node.arg}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_nothing_that_is_read_is_run(path):
    found = {text for _, text in faults(path.read_text())}
    assert found == ALLOWED.get(path.name, set())


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "import xml, pickle as p",
        "from pickle import loads",
        "from torch import load",
        "import tarfile",
        "from importlib import import_module; import subprocess",
        "eval('1')",
        "f = eval",
        "exec(open(path).read())",
        "compile(text, '', 'exec')",
        "builtins.exec(text)",
        "torch.load(path)",
        "torch.load(path, weights_only=True)",
        "np.load(path, allow_pickle=True)",
        "np.load(path, allow_pickle=setting)",
        "shutil.unpack_archive(path)",
        "keras.models.load_model(path)",
        "trainer.load_states(path)",
        "os.system(command)",
        "run(command, shell=True)",
    ],
)
def test_the_check_sees(line):
    assert list(faults(f"\n{line}"))


@pytest.mark.parametrize(
    "line",
    [
        "model.eval()",
        "with evaluating(model): pass",
        "re.compile('x')",
        "np.load(path, allow_pickle=False)",
        "'pickle, eval( and torch.load( in a text'",
        "from d2l_utils.data import FashionMNIST",
    ],
)
def test_the_check_lets_pass(line):
    assert list(faults(line)) == []


def pin_faults(lines):
    """Lines of a requirements file that do not pin one exact version."""
    for line in lines:
        text = line.split(" #")[0].strip()
        if not text or text.startswith("#"):
            continue
        if text.startswith("-r "):  # another of these files
            if not (ROOT / text[3:].strip()).is_file():
                yield line
            continue
        if text.startswith("-"):  # an option: another index, an editable checkout
            yield line
            continue
        requirement = Requirement(text)
        pins = list(requirement.specifier)
        exact = len(pins) == 1 and pins[0].operator == "==" and "*" not in str(pins[0])
        if not exact or requirement.url:
            yield line


@pytest.mark.parametrize(
    "path", sorted(ROOT.glob("requirements*.txt")), ids=lambda p: p.name
)
def test_every_requirement_is_pinned_exactly(path):
    assert list(pin_faults(path.read_text().splitlines())) == []


@pytest.mark.parametrize(
    "line",
    [
        "numpy", "numpy>=1.26", "numpy==1.*", "numpy==1.26.4,!=1.26.5", "-e .",
        "numpy~=1.26.4", "numpy @ https://example.org/numpy.whl", "-r nothing.txt",
        "--extra-index-url https://example.org/simple",
    ],
)  # fmt: skip
def test_the_check_of_pins_sees(line):
    assert list(pin_faults([line]))
    assert list(pin_faults(["# numpy", "", "x==1.0 ; sys_platform == 'linux'"])) == []


def test_the_readme_names_the_promises():
    assert "(SECURITY.md)" in (ROOT / "README.md").read_text()
    for name in ("test_security", "test_data", "test_download", "test_downloads"):
        assert f"tests/{name}.py" in (ROOT / "SECURITY.md").read_text()
