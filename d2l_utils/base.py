"""The ground under every module: hyperparameters, seeds, timers, guards.

Imports nothing but the standard library.
"""

import contextlib
import inspect
import os
import platform
import time
from importlib import metadata

from d2l_utils import __version__, host

_seed = 0
_started = time.monotonic()


def remember_seed(seed):
    """Note the seed from which data orders are derived (see `set_seed`)."""
    global _seed
    _seed = int(seed)


def current_seed():
    return _seed


def fast_mode():
    """Whether D2L_UTILS_FAST=1 asks for a short run, as tests do."""
    return os.environ.get("D2L_UTILS_FAST", "") not in ("", "0")


def missing_framework(title, extra, error):
    """The ImportError to raise where a framework is not installed."""
    hint = f"pip install '.[{extra}]'"
    note = " MXNet has wheels for Linux only; elsewhere use another tab."
    return ImportError(
        f"d2l_utils.{extra} needs {title}, which cannot be imported here "
        f"({error}). Install it, in the folder of pyproject.toml: {hint}."
        f"{note if extra == 'mxnet' else ''}",
        name=getattr(error, "name", None),
    )


def add_to_class(Class):
    """Decorator: register a function as a method of Class (textbook, 3.2)."""

    def wrapper(obj):
        setattr(Class, obj.__name__, obj)

    return wrapper


class HyperParameters:
    """Keeps constructor arguments as attributes (textbook, section 3.2)."""

    def save_hyperparameters(self, ignore=()):
        """Save the caller's arguments in self and in the dict self.hparams."""
        frame = inspect.currentframe().f_back
        names = inspect.getargvalues(frame).locals
        skip = {*ignore, "self"}
        self.hparams = {k: v for k, v in names.items() if k not in skip and k[0] != "_"}
        for k, v in self.hparams.items():
            setattr(self, k, v)


class Timer:
    """Record several running times, in seconds (textbook, section 12.1)."""

    def __init__(self):
        self.times = []
        self.start()

    def start(self):
        self.tik = time.perf_counter()

    def stop(self):
        """Stop, record and return the time since `start`."""
        self.times.append(time.perf_counter() - self.tik)
        return self.times[-1]

    def avg(self):
        return sum(self.times) / len(self.times)

    def sum(self):
        return sum(self.times)

    def cumsum(self):
        """The running sums of the recorded times."""
        total = 0.0
        return [total := total + t for t in self.times]


def replace_file(path, content, part):
    """Write bytes to `path`, all or nothing, by way of `part` in the same folder."""
    try:
        with open(part, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(part)


def installed(*packages):
    """Those of the distributions that are installed here."""
    there = {d.name.lower().replace("_", "-") for d in metadata.distributions()}
    return [p for p in packages if p in there]


def print_facts(packages, device):
    """Print versions, processor, device, date and time since the import."""
    versions = [f"d2l_utils {__version__}"]
    versions += [f"{name} {metadata.version(name)}" for name in packages]
    versions += [
        f"NumPy {metadata.version('numpy')}",
        f"Python {platform.python_version()}",
    ]
    print(", ".join(versions))
    print(f"{host.processor_name()}, {host.cpu_text()}; device {device}")
    minutes, seconds = divmod(time.monotonic() - _started, 60)
    print(f"{time.strftime('%Y-%m-%d')}, {minutes:.0f} min {seconds:.0f} s")
