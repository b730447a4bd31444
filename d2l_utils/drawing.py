"""Names of the textbook's package that set how figures look. No framework."""

from d2l_utils.board import set_axes

__all__ = ["set_axes", "set_figsize", "use_svg_display"]


def use_svg_display():
    """Show figures of a notebook as SVG; without a notebook, nothing."""
    try:
        from matplotlib_inline.backend_inline import set_matplotlib_formats
    except ImportError:
        return
    set_matplotlib_formats("svg")


def set_figsize(figsize=(3.5, 2.5)):
    """Size of the figures to come, in inches; they are shown as SVG."""
    from matplotlib import pyplot as plt

    use_svg_display()
    plt.rcParams["figure.figsize"] = figsize
