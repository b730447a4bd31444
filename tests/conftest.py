"""`pytest` runs the framework-free tests, `pytest --framework jax` those of JAX.

Tests marked `slow` are left out, with their reasons listed at the end, unless
`--slow` asks for them.
"""

import gc
import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from importlib import import_module

import made_networks
import numpy as np
import pytest
from hypothesis import settings
from made_sources import SMALL

from book.notebooks import nbval
from book.pages import pages
from book.source.book import ROOT, Book
from d2l_utils import sources
from d2l_utils.frameworks import FRAMEWORKS

LEFT_OUT = pytest.StashKey()

# Hypothesis: an example that hangs fails, but not a slow one on a busy machine.
settings.register_profile("patient", deadline=20_000)  # ms
settings.load_profile("patient")


def pytest_addoption(parser):
    parser.addoption("--framework", choices=FRAMEWORKS)
    parser.addoption("--slow", action="store_true", help="run slow tests, too")


def pytest_configure(config):
    config.addinivalue_line("markers", "only(framework): a test of one framework")
    config.addinivalue_line(
        "markers",
        "slow(reason, only=frameworks): takes long (there) and rarely finds anything, "
        "runs with --slow alone; the reason says what sees the same fault sooner",
    )
    os.environ.update(nbval.JAX_SETTINGS)  # before JAX is imported
    # Some tests interrupt; what a shell starts in the background ignores interrupts.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config, items):
    """One framework per process: either its tests, or the framework-free ones."""
    asked = config.getoption("--framework")

    def belongs(item):
        only = item.get_closest_marker("only")
        if only and asked not in only.args:
            return False
        return ("framework" in item.fixturenames) == (asked is not None)

    chosen = [i for i in items if belongs(i)]
    slow = [i for i in chosen if is_slow(i, asked)]
    if config.getoption("--slow"):
        slow = []
    config.stash[LEFT_OUT] = slow
    chosen = [i for i in chosen if i not in slow]
    config.hook.pytest_deselected(items=[i for i in items if i not in chosen])
    items[:] = chosen


def is_slow(item, framework):
    mark = item.get_closest_marker("slow")
    return mark is not None and framework in mark.kwargs.get("only", (framework,))


def pytest_terminal_summary(terminalreporter, config):
    """Say which tests were not run because they are slow, and why that is enough."""
    slow = config.stash.get(LEFT_OUT, [])
    if slow:
        terminalreporter.section(f"{len(slow)} slow tests left out, --slow runs them")
    reasons = Counter((i.path.name, i.get_closest_marker("slow").args[0]) for i in slow)
    for (file, reason), number in reasons.items():
        terminalreporter.line(f"{number} of {file}: {reason}")


@pytest.fixture(scope="session")
def framework(request):
    """The name of the framework under test."""
    name = request.config.getoption("--framework")
    if not FRAMEWORKS[name].is_installed():
        pytest.skip(f"{name} is not installed (or has no wheels for this platform)")
    return name


@pytest.fixture(scope="session")
def other(framework):
    """The first other framework that is installed, to compare with."""
    for name in FRAMEWORKS:
        if name != framework and FRAMEWORKS[name].is_installed():
            return name
    pytest.skip("no second framework is installed")


@pytest.fixture(scope="session")
def d2l(framework):
    """The framework module under test."""
    module = import_module(FRAMEWORKS[framework].here)
    # Compiling a step, or making a checkpoint, searches all objects of the process for
    # generators and schedulers. Those that importing made need not be searched: their
    # only generator, NumPy's global one, is not found in this way.
    gc.freeze()
    return module


OBSERVE = """
import json, sys
from d2l_utils import {module} as d2l

seen = {{"loaded": sorted({packages} & set(sys.modules))}}
if "jax" in sys.modules:
    from jax._src import xla_bridge
    seen["jax is started"] = xla_bridge.backends_are_initialized()
d2l.Trainer
seen["textbook before"] = "d2l_utils.{module}.textbook" in sys.modules
d2l.LeNet
seen["textbook after"] = "d2l_utils.{module}.textbook" in sys.modules
seen["plt"] = d2l.plt is sys.modules["matplotlib.pyplot"]
print(json.dumps(seen))
"""


@pytest.fixture(scope="session")
def observed(framework):
    """What a new process sees that imports this framework's module; one for all."""
    module, packages = (
        FRAMEWORKS[framework].module,
        {f.module for f in FRAMEWORKS.values()},
    )
    code = OBSERVE.format(module=module, packages=packages)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def layout(framework):
    """Turns a channels-first shape into the framework's."""
    return FRAMEWORKS[framework].shape


@pytest.fixture(scope="session")
def nin(framework):
    """Namespace of the model cells of the section NiN."""
    from book.source import cells

    return cells.load("nin", framework)


@pytest.fixture(scope="session")
def Tiny(framework, d2l):
    """A class of small networks, for what does not depend on the network."""
    return made_networks.tiny_class(framework, d2l)


@pytest.fixture(scope="session")
def Small(framework, d2l):
    """A class of networks of one layer, for what does not depend on layers."""
    return made_networks.made_class(framework, d2l)


@pytest.fixture(scope="session")
def real_book(tmp_path_factory):
    """Folder with the pages of the real book, made from stored outputs."""
    folder = tmp_path_factory.mktemp("real") / "html"
    assert pages.main(["--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="session")
def wheel_path(tmp_path_factory):
    """The package's wheel.

    Built from a copy, since setuptools keeps files of earlier builds beside it.
    """
    copy, out = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    for folder in ("d2l_utils", "book", "study", "bench", "tests"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, copy / folder, ignore=ignored)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps"]
    command += ["--no-build-isolation", "-w", out, copy]
    subprocess.run(command, check=True)
    return next(out.glob("*.whl"))


@pytest.fixture
def project(tmp_path):
    """A small book with one section, 's'."""
    book = Book(tmp_path, sections=("s",))
    (book.notebooks / "img").mkdir(parents=True)
    (book.notebooks / "img/f.svg").write_text(
        "<svg xmlns='http://www.w3.org/2000/svg'/>"
    )
    book.source_path("s").write_text(SMALL)
    (tmp_path / "pyproject.toml").write_text("[tool.d2l_utils]\nrepository = ''\n")
    return book


def use_data(monkeypatch, arrays):
    from d2l_utils import data

    monkeypatch.setattr(data, "load_fashion_mnist", lambda root=None: arrays)
    return arrays


@pytest.fixture
def sample(monkeypatch):
    """Data comes from the sample only: small, and the same everywhere."""
    return use_data(monkeypatch, sources.load_sample())


@pytest.fixture
def few(monkeypatch):
    """Even less: 400 training and 100 validation images of the sample."""
    arrays = sources.load_sample()
    train, val = (
        sources.Split(split.images[:n], split.labels[:n])
        for split, n in ((arrays.train, 400), (arrays.val, 100))
    )
    return use_data(monkeypatch, arrays._replace(train=train, val=val))


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def reveal(tmp_path):
    """A folder like that of reveal.js, whose script does nothing."""
    folder = tmp_path / "reveal"
    folder.mkdir()
    for name in ("reset.css", "reveal.css"):
        (folder / name).write_text(f"/* {name} */")
    (folder / "reveal.js").write_text("var Reveal = {initialize(o) {}};")
    return folder
