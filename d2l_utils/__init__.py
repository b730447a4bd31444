"""d2l_utils: what the companion notebooks share, in four frameworks.

Use one of `d2l_utils.torch`, `d2l_utils.mxnet`, `d2l_utils.tensorflow`,
`d2l_utils.jax`; they have the same public names. Importing this package loads
no framework, and it holds no models: those are in the notebooks.
"""

__version__ = "0.1.0"

API = 1
"""Version of the interface that notebooks rely on; raised when it breaks."""


def require(api: int) -> None:
    """Check, in a notebook's first cell, that this package fits the notebook.

    Parameters:
        api: the version of the interface that the notebook was written for.

    Raises:
        RuntimeError: the installed package has another one; says what to do.

    Example:
        >>> require(api=1)
    """
    if api != API:
        cure = (
            "update the package (git pull, then pip install . in its folder)"
            if api > API
            else "take the notebook from the current version of the project"
        )
        raise RuntimeError(
            f"This notebook needs version {api} of the d2l_utils interface, but "
            f"d2l_utils {__version__} offers version {API}. To go on, {cure}, then "
            "restart the kernel."
        )
