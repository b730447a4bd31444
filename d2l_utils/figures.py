"""Figures: the textbook's plots and rows of images, maps over images, tables of errors.

All have one look, `STYLE`. matplotlib is loaded only when something is drawn.
"""

import contextlib
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

# Okabe and Ito's colours, which readers with any kind of colour vision can tell apart
# ("Color universal design", 2008); the pale yellow, which white swallows, is left out.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
STYLE = {
    "figure.dpi": 80,  # as it is shown; a notebook stores twice as many, see `sharp`
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.35,
    "legend.frameon": False,
    "lines.linewidth": 1.5,
}


def sharp() -> None:
    """Let a notebook store PNG figures with two pixels for each that it shows.

    Elsewhere this does nothing, and where the reader has chosen another format, as by
    `use_svg_display`, that stays.

    Example:
        >>> sharp()
    """
    shell = sys.modules.get("IPython") and sys.modules["IPython"].get_ipython()
    if shell is None or not hasattr(shell, "kernel"):
        return
    from matplotlib.figure import Figure
    from matplotlib_inline.backend_inline import set_matplotlib_formats

    for mime in ("image/svg+xml", "image/jpeg", "application/pdf"):
        with contextlib.suppress(KeyError):
            shell.display_formatter.formatters[mime].lookup_by_type(Figure)
            return
    set_matplotlib_formats("retina")


def subplots(
    num_rows: int, num_cols: int, figsize: tuple[float, float], **options: Any
) -> tuple[Any, Any]:
    """A figure and its axes in the look of this book.

    Parameters:
        num_rows, num_cols: of the grid of axes.
        figsize: width and height in inches.
        options: for matplotlib's `subplots`.

    Returns:
        (figure, axes), as of matplotlib's `subplots`.

    Example:
        >>> fig, axes = subplots(1, 2, (6, 3))
        >>> len(axes)
        2
    """
    from matplotlib import pyplot as plt

    sharp()
    with plt.rc_context({**STYLE, "axes.prop_cycle": plt.cycler(color=COLORS)}):
        return plt.subplots(num_rows, num_cols, figsize=figsize, **options)


def numpy_image(image: Any) -> np.ndarray:
    """An image of any framework as matplotlib's `imshow` takes it.

    Parameters:
        image: (h, w), (c, h, w) or (h, w, c) with 1 or 3 channels.

    Returns:
        An array (h, w) or (h, w, 3).

    Example:
        >>> numpy_image(np.zeros((3, 28, 20))).shape
        (28, 20, 3)
    """
    image = to_numpy(image)
    if image.ndim == 3:
        if image.shape[0] in (1, 3) and image.shape[-1] not in (1, 3):
            image = image.transpose(1, 2, 0)
        if image.shape[-1] == 1:
            image = image[..., 0]
        elif image.shape[0] == 1:
            image = image[0]
    return image


def to_numpy(x: Any) -> np.ndarray:
    """A tensor of any framework, or anything array-like, as a NumPy array.

    Parameters:
        x: on any device, with gradients or without.

    Returns:
        An array of the same shape and type.

    Example:
        >>> to_numpy([1, 2])
        array([1, 2])
    """
    if hasattr(x, "asnumpy"):
        return x.asnumpy()
    return np.asarray(x.detach().cpu() if hasattr(x, "detach") else x)


def use_svg_display() -> None:
    """Show figures of a notebook as SVG; elsewhere this does nothing.

    Example:
        >>> use_svg_display()
    """
    try:
        from matplotlib import pyplot  # noqa: F401 - importing it sets PNG
        from matplotlib_inline.backend_inline import set_matplotlib_formats
    except ImportError:
        return
    set_matplotlib_formats("svg")


def set_figsize(figsize: tuple[float, float] = (3.5, 2.5)) -> None:
    """Set the size of all figures from now on; a notebook shows them as SVG.

    Parameters:
        figsize: width and height in inches.

    Example:
        >>> set_figsize((7, 4))
    """
    from matplotlib import pyplot as plt

    use_svg_display()
    plt.rcParams["figure.figsize"] = figsize


def set_axes(
    axes: Any, xlabel: str | None, ylabel: str | None,
    xlim: Sequence[float] | None, ylim: Sequence[float] | None,
    xscale: str, yscale: str, legend: Sequence[str] | None,
) -> None:  # fmt: skip
    """Set the labels, limits, scales and legend of matplotlib axes.

    Parameters:
        axes: of matplotlib.
        xlabel, ylabel: what stands at the axes; None for nothing.
        xlim, ylim: lowest and highest value; None for what fits the data.
        xscale, yscale: "linear" or "log".
        legend: a label for each curve; None or empty for no legend.

    Example:
        >>> from matplotlib import pyplot as plt
        >>> axes = plt.figure().add_subplot()
        >>> set_axes(axes, "epoch", "loss", [1, 10], None, "linear", "log", None)
        >>> axes.get_xlabel(), axes.get_yscale()
        ('epoch', 'log')
    """
    axes.set_xlabel(xlabel), axes.set_ylabel(ylabel)
    axes.set_xscale(xscale), axes.set_yscale(yscale)
    if xlim:
        axes.set_xlim(xlim)
    if ylim:
        axes.set_ylim(ylim)
    if legend:
        axes.legend(legend)
    axes.grid(True)


def plot(
    X: Any, Y: Any = None, xlabel: str | None = None, ylabel: str | None = None,
    legend: Sequence[str] = (), xlim: Sequence[float] | None = None,
    ylim: Sequence[float] | None = None, xscale: str = "linear",
    yscale: str = "linear", fmts: Sequence[str] = ("-", "m--", "g-.", "r:"),
    figsize: tuple[float, float] = (3.5, 2.5), axes: Any = None,
) -> None:  # fmt: skip
    """Plot one or several curves (textbook, section 2.4).

    Parameters:
        X: the x of the points, for all curves or for each. Without Y: the y.
        Y: the y of the points, one sequence of numbers or a list of several.
        xlabel, ylabel, legend, xlim, ylim, xscale, yscale: see `set_axes`.
        fmts: matplotlib's format of each curve, used again when they run out.
        figsize: width and height of a new figure in inches.
        axes: axes of matplotlib to draw in, instead of a new figure.

    Example:
        >>> x = np.arange(0, 3, 0.1)
        >>> plot(x, [x, x**2], "x", "y", legend=["line", "parabola"])
    """

    def curves(Z):
        several = len(Z) and hasattr(Z[0], "__len__")
        return [to_numpy(z) for z in Z] if several else [to_numpy(Z)]

    if Y is None:
        Ys = curves(X)
        Xs = [np.arange(len(y)) for y in Ys]
    else:
        Xs, Ys = curves(X), curves(Y)
        Xs = Xs * len(Ys) if len(Xs) == 1 else Xs
    if axes is None:
        axes = subplots(1, 1, figsize)[1]
    for x, y, fmt in zip(Xs, Ys, list(fmts) * len(Ys)):
        axes.plot(x, y, fmt)
    set_axes(axes, xlabel, ylabel, xlim, ylim, xscale, yscale, legend)


def show_images(
    imgs: Sequence[Any], num_rows: int, num_cols: int,
    titles: Sequence[str] | None = None, scale: float = 1.5,
) -> np.ndarray:  # fmt: skip
    """Show images in a grid (textbook, section 4.2).

    Parameters:
        imgs: images of any framework: (h, w), (c, h, w) or (h, w, c).
        num_rows, num_cols: size of the grid.
        titles: a title for each image, or for the first ones.
        scale: width and height of an image in inches.

    Returns:
        The axes of matplotlib, num_rows * num_cols of them.

    Example:
        >>> axes = show_images(np.zeros((2, 28, 28)), 1, 2, titles=["a", "b"])
        >>> axes.shape
        (2,)
    """
    figsize = (num_cols * scale, num_rows * scale)
    axes = subplots(num_rows, num_cols, figsize, squeeze=False)[1].ravel()
    for ax in axes:
        ax.axis("off")
    for i, (ax, img) in enumerate(zip(axes, imgs)):
        ax.imshow(numpy_image(img), cmap="gray_r")
        if titles is not None and i < len(titles):
            ax.set_title(titles[i], fontsize=9)
    return axes


def show_maps(
    imgs: Sequence[Any], maps: Sequence[Any], titles: Sequence[str] = (),
    wrong: Sequence[bool] = (), num_cols: int = 5, scale: float = 1.5, label: str = "",
) -> np.ndarray:  # fmt: skip
    """Show a map over each image, such as the evidence for a class.

    All maps have one scale of colours, which a bar explains: from white to red, or,
    where there are negative values, from blue to red with white for 0.

    Parameters:
        imgs: n images of any framework: (h, w), (1, h, w) or (h, w, 1).
        maps: n maps (height, width) of any size; each is stretched over its image.
        titles: a title for each image.
        wrong: for each image, whether its title is marked as a mistake.
        num_cols: images in a row.
        scale: width and height of an image in inches.
        label: what stands at the bar of colours.

    Returns:
        The axes of matplotlib, one for each place in the grid.

    Raises:
        ValueError: there are not as many maps as images.

    Example:
        >>> axes = show_maps(np.zeros((2, 28, 28)), np.ones((2, 6, 6)), ["a", "b"])
        >>> len(axes)
        5
    """
    imgs, maps = [numpy_image(x) for x in imgs], [to_numpy(m) for m in maps]
    if len(imgs) != len(maps):
        raise ValueError(f"{len(maps)} maps do not fit {len(imgs)} images.")
    limit = max(float(np.abs(m).max()) for m in maps) or 1.0
    signed = any(float(m.min()) < 0 for m in maps)
    colors = {"cmap": "RdBu_r" if signed else "Reds", "alpha": 0.55,
              "vmin": -limit if signed else 0, "vmax": limit}  # fmt: skip
    num_rows = -(-len(imgs) // num_cols)
    figsize = (num_cols * scale + 0.6, num_rows * (scale + 0.3))
    fig, axes = subplots(
        num_rows, num_cols, figsize, squeeze=False, layout="constrained"
    )
    axes, shades = axes.ravel(), None
    for ax in axes:
        ax.axis("off")
    for i, (ax, img, values) in enumerate(zip(axes, imgs, maps)):
        extent = (-0.5, img.shape[1] - 0.5, img.shape[0] - 0.5, -0.5)
        ax.imshow(img, cmap="gray_r", extent=extent)
        shades = ax.imshow(values, extent=extent, **colors)
        if i < len(titles):
            mistake = i < len(wrong) and bool(wrong[i])
            ax.set_title(
                f"✗ {titles[i]}" if mistake else titles[i],
                fontsize=9, color=COLORS[1] if mistake else "black",
            )  # fmt: skip
    fig.colorbar(shades, ax=axes, shrink=0.7, label=label)
    return axes


def confusion_matrix(y: Any, y_hat: Any, num_classes: int = 10) -> np.ndarray:
    """How often images of each class were taken for each class.

    Parameters:
        y: (n,) labels, integers from 0.
        y_hat: (n,) predicted classes.
        num_classes: how many classes there are.

    Returns:
        (num_classes, num_classes) integers: a row for each true class, a column for
        each predicted one.

    Raises:
        ValueError: there are not as many predictions as labels.

    Example:
        >>> confusion_matrix([0, 1, 1], [0, 1, 0], num_classes=2)
        array([[1, 0],
               [1, 1]])
    """
    y, y_hat = to_numpy(y), to_numpy(y_hat)
    if y.shape != y_hat.shape or y.ndim != 1:
        raise ValueError(
            f"Labels of shape {y.shape} and predicted classes of shape {y_hat.shape}: "
            "both must be (n,). Of logits take argmax(axis=1)."
        )
    counts = np.zeros((num_classes, num_classes), int)
    np.add.at(counts, (y, y_hat), 1)
    return counts


def show_confusion_matrix(counts: np.ndarray, names: Sequence[str]) -> None:
    """Draw a confusion matrix.

    The shade follows the square root of the count, so that rare mistakes show.

    Parameters:
        counts: (n, n), from `confusion_matrix`.
        names: of the n classes.

    Example:
        >>> counts = confusion_matrix([0, 1, 1], [0, 1, 0], num_classes=2)
        >>> show_confusion_matrix(counts, ["shirt", "bag"])
    """
    n = len(counts)
    ax = subplots(1, 1, (1.6 + 0.46 * n, 1.3 + 0.42 * n), layout="constrained")[1]
    shade = np.sqrt(counts / max(counts.max(), 1))
    ax.imshow(shade, cmap="Blues", vmin=0, vmax=1)
    for i, j in np.ndindex(n, n):
        ax.text(j, i, counts[i, j], ha="center", va="center", fontsize=8,
                color="white" if shade[i, j] > 0.72 else "black")  # fmt: skip
    ax.set_xticks(range(n), names, rotation=45, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(n), names)
    ax.grid(False)
    ax.set(xlabel="predicted", ylabel="true")


def label_ends(axes: Any, lines: Sequence[Any]) -> None:
    """Write the label of each curve at its right end, in its colour.

    Labels that would cover each other are moved apart. All curves must be drawn
    already, since the labels stand where the ends are in the present limits.

    Parameters:
        axes: of matplotlib.
        lines: curves in them, each with a label.

    Example:
        >>> axes = subplots(1, 1, (4, 3))[1]
        >>> lines = axes.plot([0, 1], [[0, 3], [1, 2]], label=["up", "up, too"])
        >>> label_ends(axes, lines)
    """
    axes.get_xlim(), axes.get_ylim()  # asking makes matplotlib work out the limits
    to_axes = axes.transData + axes.transAxes.inverted()
    gap = 13 / (axes.get_window_extent().height * 72 / axes.figure.dpi)  # points
    heights = [to_axes.transform(line.get_xydata()[-1])[1] for line in lines]
    free = -np.inf
    for height, line in sorted(zip(heights, lines), key=lambda pair: pair[0]):
        free = max(free + gap, height)
        axes.annotate(
            line.get_label(), (1.01, free), xycoords="axes fraction", va="center",
            color=line.get_color(), annotation_clip=False,
        )  # fmt: skip
