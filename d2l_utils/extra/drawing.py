"""Names of the textbook's package that set how figures look. No framework."""

from d2l_utils.board import set_axes

__all__ = ["plt", "set_axes", "set_figsize", "use_svg_display"]


def use_svg_display():
    """Show figures of a notebook as SVG; without a notebook, nothing."""
    try:
        from matplotlib_inline.backend_inline import set_matplotlib_formats
    except ImportError:
        return
    set_matplotlib_formats("svg")


def set_figsize(figsize=(3.5, 2.5)):
    """Size of the figures to come, in inches; they are shown as SVG."""
    use_svg_display()
    __getattr__("plt").rcParams["figure.figsize"] = figsize


def __getattr__(name):
    """`plt` is matplotlib's pyplot, loaded when it is asked for."""
    if name != "plt":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from matplotlib import pyplot

    return pyplot
