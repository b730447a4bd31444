"""The four frameworks: names, titles, modules. No framework is imported here."""

from importlib import util
from typing import NamedTuple


class Framework(NamedTuple):
    """What there is to know of a framework without importing it.

    name: of its tab; title: for readers; module: its folder in d2l_utils, and extra
    to install; package: its Python package; base: the package that its classes of
    models come from; channels_last: whether its images are (n, h, w, c).
    """

    name: str
    title: str
    module: str
    package: str
    base: str
    channels_last: bool

    @property
    def here(self):
        """The full name of its module in this package."""
        return f"d2l_utils.{self.module}"

    def is_installed(self):
        return util.find_spec(self.package) is not None


FRAMEWORKS = {
    f.name: f
    for f in (
        Framework("pytorch", "PyTorch", "torch", "torch", "torch", False),
        Framework("mxnet", "MXNet", "mxnet", "mxnet", "mxnet", False),
        Framework(
            "tensorflow", "TensorFlow", "tensorflow", "tensorflow", "keras", True
        ),
        Framework("jax", "JAX", "jax", "jax", "flax", True),
    )
}
