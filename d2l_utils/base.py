"""What all other modules build on: hyperparameters, the seed, timers, whole files.

Imports only the standard library and `host.py`.
"""

import contextlib
import inspect
import os
import platform
import secrets
import time
from collections.abc import Callable, Iterable
from importlib import metadata
from numbers import Integral
from pathlib import Path

from d2l_utils import __version__, host

# Only in a copy of the package that a notebook carries: names of the data in it.
PART = Path(__file__).with_name("part.txt")
_seed = 0
_started = time.monotonic()


def remember_seed(seed: int) -> None:
    """Remember the seed that `current_seed` answers with. Readers call `set_seed`.

    Parameters:
        seed: any integer.

    Example:
        >>> remember_seed(7)
        >>> current_seed()
        7
    """
    global _seed
    _seed = int(seed)


def current_seed() -> int:
    """The seed of the last `set_seed`; the order of the training images follows it.

    Returns:
        The seed, 0 where none was set.

    Example:
        >>> remember_seed(7)
        >>> current_seed()
        7
    """
    return _seed


def fast_mode() -> bool:
    """Whether D2L_UTILS_FAST=1 asks for a short run, as tests do.

    Then a training has one epoch of a few small batches, and `predict` of a trained
    model computes only the first images and repeats their outputs for the others.

    Returns:
        True or False.

    Example:
        >>> os.environ["D2L_UTILS_FAST"] = "1"
        >>> fast_mode()
        True
    """
    return os.environ.get("D2L_UTILS_FAST", "") not in ("", "0")


def check_whole(name: str, value: int, least: int) -> None:
    """Check a setting that is a whole number.

    Parameters:
        name: of the setting.
        value: what was given.
        least: the smallest number that is possible.

    Raises:
        ValueError: it is another number, or none.

    Example:
        >>> check_whole("max_epochs", "10", 0)
        Traceback (most recent call last):
        ValueError: max_epochs='10': give a whole number, 0 or more.
    """
    if not isinstance(value, Integral) or value < least:
        raise ValueError(f"{name}={value!r}: give a whole number, {least} or more.")


def about_part() -> str:
    """What an error about missing data adds in a copy that a notebook carries.

    Returns:
        A sentence, after a space; nothing where the package is whole.

    Example:
        >>> about_part()
        ''
    """
    if not PART.exists():
        return ""
    return (
        " This copy of the package carries only what the notebook that brought it "
        "shows; the whole is in the project's repository: run `pip install .` in its "
        "folder."
    )


def missing_framework(title: str, extra: str, error: Exception) -> ImportError:
    """The error to raise where a framework is not installed.

    Parameters:
        title: the framework's name for readers.
        extra: the extra of this package that installs it.
        error: what importing it raised.

    Returns:
        An ImportError that says how to install the framework.

    Example:
        >>> error = missing_framework("JAX", "jax", ImportError("no jax"))
        >>> str(error).split(":")[0]
        'd2l_utils.jax needs JAX, which cannot be imported here (no jax). Install it, \
in the folder of pyproject.toml'
    """
    hint = f"pip install '.[{extra}]'"
    note = " MXNet has wheels for Linux only; elsewhere use another tab."
    return ImportError(
        f"d2l_utils.{extra} needs {title}, which cannot be imported here "
        f"({error}). Install it, in the folder of pyproject.toml: {hint}."
        f"{note if extra == 'mxnet' else ''}",
        name=getattr(error, "name", None),
    )


def add_to_class(Class: type) -> Callable[[Callable], None]:
    """Add a function to a class as a method; a decorator (textbook, section 3.2).

    Parameters:
        Class: the class. Its objects get the method, too, also those made before.

    Returns:
        The decorator.

    Example:
        >>> class Dog: pass
        >>> @add_to_class(Dog)
        ... def bark(self):
        ...     return "woof"
        >>> Dog().bark()
        'woof'
    """

    def wrapper(obj):
        setattr(Class, obj.__name__, obj)

    return wrapper


class HyperParameters:
    """A class that keeps its constructor's arguments (textbook, section 3.2).

    Example:
        >>> class Net(HyperParameters):
        ...     def __init__(self, lr, width=64):
        ...         self.save_hyperparameters(ignore=["width"])
        >>> Net(0.1).lr
        0.1
        >>> Net(0.1).hparams
        {'lr': 0.1}
    """

    def save_hyperparameters(self, ignore: Iterable[str] = ()) -> None:
        """Save the calling method's arguments as attributes and in `self.hparams`.

        As in the textbook, the method's other local variables are saved, too. Names
        that begin with an underscore are not.

        Parameters:
            ignore: names of further arguments that are not saved.
        """
        frame = inspect.currentframe().f_back
        names = inspect.getargvalues(frame).locals
        # `names` has those that the method takes from a function around the class, too.
        skip = {*ignore, "self", *frame.f_code.co_freevars}
        self.hparams = {k: v for k, v in names.items() if k not in skip and k[0] != "_"}
        for k, v in self.hparams.items():
            setattr(self, k, v)


class Timer:
    """A stop watch that records several times, in seconds (textbook, section 12.1).

    It starts when it is made. `times` is the list of what was recorded.

    Example:
        >>> timer = Timer()
        >>> seconds = timer.stop()
        >>> timer.start()
        >>> seconds = timer.stop()
        >>> len(timer.times), timer.sum() == sum(timer.times)
        (2, True)
    """

    def __init__(self) -> None:
        self.times: list[float] = []
        self.start()

    def start(self) -> None:
        """Start anew."""
        self.tik = time.perf_counter()

    def stop(self) -> float:
        """Stop, and record the time.

        Returns:
            The seconds since `start`.
        """
        self.times.append(time.perf_counter() - self.tik)
        return self.times[-1]

    def avg(self) -> float:
        """The mean of the recorded times.

        Returns:
            Seconds.
        """
        return sum(self.times) / len(self.times)

    def sum(self) -> float:
        """The sum of the recorded times.

        Returns:
            Seconds.
        """
        return sum(self.times)

    def cumsum(self) -> list[float]:
        """The running sums of the recorded times.

        Returns:
            Seconds, as many numbers as there are recorded times.
        """
        total = 0.0
        return [total := total + t for t in self.times]


def file_path(path: str | os.PathLike) -> Path:
    """A path as a reader gave it, made absolute; `~` is the home folder.

    So it means the same file after `os.chdir`. Symbolic links stay in it.

    Parameters:
        path: of a file, which need not exist.

    Returns:
        The absolute path.

    Raises:
        ValueError: it begins with `~` and the name of no user.

    Example:
        >>> file_path("weights") == Path.cwd() / "weights"
        True
    """
    expanded = os.path.expanduser(path)
    if expanded.startswith("~"):
        raise ValueError(
            f"{expanded}: there is no such user's home folder. Write ./{expanded} "
            "for a file of that name here."
        )
    return Path(expanded).absolute()


def replace_file(
    path: str | os.PathLike,
    content: bytes,
    part: str | os.PathLike | None = None,
    keep: bool = True,
) -> None:
    """Write a file as a whole or, if something goes wrong, not at all.

    A symbolic link stays one: what it leads to is written.

    Parameters:
        path: the file, which may exist; see `file_path`.
        content: what it shall hold.
        part: a file in the same folder to write to first; it is gone afterwards. By
            default NAME.SOMETHING.part, SOMETHING being of this call alone.
        keep: False writes nothing to `path` and only tests whether it could be done.

    Raises:
        FileExistsError: `path` is not a regular file, but a folder, say.
        OSError: it cannot be written; then `path` is as it was before.

    Example:
        >>> replace_file("weights", b"123")
        >>> Path("weights").read_bytes()
        b'123'
    """
    path = Path(os.path.realpath(file_path(path)))
    if os.path.lexists(path) and not path.is_file():
        raise FileExistsError(
            f"{path} is not a regular file, so it is not overwritten."
        )
    part = part or path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    try:
        with open(part, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if keep:
            os.replace(part, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(part)


def installed(*packages: str) -> list[str]:
    """Which of some packages are installed.

    Parameters:
        packages: their names, as pip knows them.

    Returns:
        The names of those that are installed.

    Example:
        >>> installed("numpy", "no-such-package")
        ['numpy']
    """
    there = {d.name.lower().replace("_", "-") for d in metadata.distributions()}
    return [p for p in packages if p in there]


def print_facts(packages: Iterable[str], device: str) -> None:
    """Print versions, processor, device, date and time since the import.

    Parameters:
        packages: names of packages, of which the versions of those that are installed
            are printed.
        device: what was computed on, in words.

    Example:
        >>> print_facts(["safetensors"], "cpu")  # doctest: +ELLIPSIS
        d2l_utils ..., safetensors ..., NumPy ..., Python ...
        ...; device cpu
        ... min ... s
    """
    versions = [f"d2l_utils {__version__}"]
    versions += [f"{name} {metadata.version(name)}" for name in installed(*packages)]
    versions += [
        f"NumPy {metadata.version('numpy')}",
        f"Python {platform.python_version()}",
    ]
    print(", ".join(versions))
    print(f"{host.processor_name()}, {host.cpu_text()}; device {device}")
    minutes, seconds = divmod(time.monotonic() - _started, 60)
    print(f"{time.strftime('%Y-%m-%d')}, {minutes:.0f} min {seconds:.0f} s")
