"""Notebooks written for the textbook's package run on this one, unchanged.

`import d2l_utils.as_d2l`, or `%load_ext d2l_utils.as_d2l`, before anything else: from
then on, in this process, these imports give what they name here:

    from d2l import torch as d2l       d2l_utils.torch; likewise mxnet, tensorflow, jax
    import d2l                         d2l_utils.torch, as one module
    %load_ext d2lbook.tab              d2l_utils.tab
    import gluonbook as gb             d2l_utils.mxnet.gluonbook; so does d2lzh
    import mxnet                       MXNet itself, with the NumPy names it needs

`from d2l.torch import *` gives all that d2l's own does, also `torch`, `nn` and `math`,
except what this package lacks or is not installed. For TensorFlow, Keras 3 gets the
manners of Keras 2 that are listed in `d2l_utils.tensorflow.keras2`. An installed d2l is
neither used nor touched. Raises RuntimeError where d2l, d2lbook, gluonbook or d2lzh was
imported before.
"""

import importlib
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

from d2l_utils import __version__
from d2l_utils.frameworks import FRAMEWORKS
from d2l_utils.tab import load_ipython_extension as load_tabs

STANDS_FOR = {
    **{f"d2l.{f.module}": f.here for f in FRAMEWORKS.values()},
    "d2lbook.tab": "d2l_utils.tab",
    "gluonbook": "d2l_utils.mxnet.gluonbook",
    "d2lzh": "d2l_utils.mxnet.gluonbook",
}
PACKAGES = ("d2l", "d2lbook")


class Package(ModuleType):
    """A package without files; `d2l` itself answers as its PyTorch module."""

    __path__ = ()
    __version__ = f"1.0.3+d2l_utils.{__version__}"  # of d2l, and of this package

    def __getattr__(self, name):
        if (
            self.__name__ != "d2l"
            or f"d2l.{name}" in STANDS_FOR
            or name.startswith("__")
        ):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module("d2l_utils.torch"), name)


class Stand(Loader):
    """Gives a package without files, or the module that a name stands for."""

    def create_module(self, spec):
        if spec.name in PACKAGES:
            return Package(spec.name)
        if spec.name == "mxnet":  # d2l_utils.mxnet has imported it by now
            module = sys.modules["mxnet"]
        else:
            module = importlib.import_module(STANDS_FOR[spec.name])
            if spec.name.startswith("d2l."):
                module.__all__ = dir(module)  # for `import *`
            if spec.name == "d2l.tensorflow":
                importlib.import_module("d2l_utils.tensorflow.keras2").install()
        spec.loader_state = module.__spec__  # the import system replaces it
        return module

    def exec_module(self, module):
        spec = module.__spec__
        if spec.loader_state is not None:
            module.__spec__ = spec.loader_state


class Finder(MetaPathFinder):
    """Answers for the names above, before any installed package does."""

    def find_spec(self, name, path=None, target=None):
        if name in PACKAGES:
            return ModuleSpec(name, Stand(), is_package=True)
        if name in STANDS_FOR:
            return ModuleSpec(name, Stand())
        # d2l_utils.mxnet imports MXNet while NumPy has the names that it reads.
        if name == "mxnet" and "d2l_utils.mxnet" not in sys.modules:
            if PathFinder.find_spec(name, path) is None:
                return None
            importlib.import_module("d2l_utils.mxnet")
            return ModuleSpec(name, Stand())
        return None


def install():
    """Answer for the names from now on; a second call changes nothing."""
    if any(isinstance(finder, Finder) for finder in sys.meta_path):
        return
    for name in (*PACKAGES, "gluonbook", "d2lzh"):
        if name in sys.modules:
            raise RuntimeError(
                f"{name} was imported before d2l_utils.as_d2l, so that both would be "
                "at work. Restart the kernel, and import d2l_utils.as_d2l first."
            )
    sys.meta_path.insert(0, Finder())


def uninstall():
    """Give the names back, for tests; modules that stand for others stay."""
    sys.meta_path[:] = [f for f in sys.meta_path if not isinstance(f, Finder)]
    for name in (*PACKAGES, *STANDS_FOR):
        sys.modules.pop(name, None)


def load_ipython_extension(ipython):
    """Called by %load_ext: also lets cells begin with %%tab."""
    install()
    load_tabs(ipython)


install()
