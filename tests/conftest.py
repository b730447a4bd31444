"""`pytest` runs the framework-free tests, `pytest --framework jax` those of JAX."""

import os
import signal
from importlib import import_module

import numpy as np
import pytest
from made_sources import SMALL

from book.notebooks import nbval
from book.source.book import Book
from d2l_utils import sources
from d2l_utils.frameworks import FRAMEWORKS


def pytest_addoption(parser):
    parser.addoption("--framework", choices=FRAMEWORKS)


def pytest_configure(config):
    config.addinivalue_line("markers", "only(framework): a test of one framework")
    os.environ.update(nbval.JAX_CACHE)  # before JAX is imported
    # A shell starts what runs in the background with interrupts ignored.
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
    config.hook.pytest_deselected(items=[i for i in items if i not in chosen])
    items[:] = chosen


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
    return import_module(FRAMEWORKS[framework].here)


@pytest.fixture
def layout(framework):
    """Turns a channels-first shape into the framework's."""
    if framework in ("tensorflow", "jax"):
        return lambda n, c, h, w: (n, h, w, c)
    return lambda n, c, h, w: (n, c, h, w)


@pytest.fixture(scope="session")
def nin(framework):
    """Namespace of the model cells of the section NiN."""
    from book.source import cells

    return cells.load("nin", framework)


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
