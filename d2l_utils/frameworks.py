"""The table of the four frameworks. None of them is imported here."""

from importlib import util
from typing import NamedTuple


class Framework(NamedTuple):
    """What can be said about a framework without importing it.

    Parameters:
        name: of its tab, such as "pytorch".
        title: its name for readers, such as "PyTorch".
        module: its folder in d2l_utils, and the extra of pip that installs it.
        package: the Python package to import.
        base: the package that its model classes derive from.
        distributions: what pip installs, as far as it is there: their versions are
            shown and stored with results, and have to agree where processes train
            together.
        channels_last: whether its images are (n, h, w, c) rather than (n, c, h, w).

    Example:
        >>> FRAMEWORKS["pytorch"].here
        'd2l_utils.torch'
    """

    name: str
    title: str
    module: str
    package: str
    base: str
    distributions: tuple[str, ...]
    channels_last: bool

    @property
    def here(self) -> str:
        """The full name of its module in this package."""
        return f"d2l_utils.{self.module}"

    def is_installed(self) -> bool:
        """Whether its package is installed; it is not imported.

        Returns:
            True or False.
        """
        return util.find_spec(self.package) is not None

    def shape(self, n: int, c: int, *size: int) -> tuple[int, ...]:
        """The shape of images in its layout.

        Parameters:
            n: how many.
            c: their channels.
            size: their height and width.

        Returns:
            (n, c, *size) or (n, *size, c).
        """
        return (n, *size, c) if self.channels_last else (n, c, *size)


FRAMEWORKS = {
    f.name: f
    for f in (
        Framework("pytorch", "PyTorch", "torch", "torch", "torch", ("torch",), False),
        Framework("mxnet", "MXNet", "mxnet", "mxnet", "mxnet", ("mxnet",), False),
        Framework(
            "tensorflow", "TensorFlow", "tensorflow", "tensorflow", "keras",
            ("tensorflow", "tensorflow-cpu", "keras"), True,
        ),
        Framework("jax", "JAX", "jax", "jax", "flax", ("jax", "flax", "optax"), True),
    )
}  # fmt: skip
