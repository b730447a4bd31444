"""Drawing: curves that grow while training runs, plots, rows of images.

matplotlib and IPython are loaded only when something is drawn; without them
training still runs and says how far it is.
"""

import math
import shutil
import sys
import time
from collections import namedtuple
from collections.abc import Sequence
from typing import Any

import numpy as np

from d2l_utils.base import HyperParameters

REDRAW_SECONDS = 0.5  # at least so long between two redraws,
REDRAW_SHARE = 0.01  # and longer where they would take more than this share of the time


def in_notebook() -> bool:
    """Whether this runs in a Jupyter notebook, where figures can be shown.

    Returns:
        True or False; IPython in a terminal is no notebook.

    Example:
        >>> in_notebook()
        False
    """
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and hasattr(shell, "kernel")


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
    from matplotlib import pyplot as plt

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
        axes = plt.subplots(figsize=figsize)[1]
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
    from matplotlib import pyplot as plt

    figsize = (num_cols * scale, num_rows * scale)
    axes = plt.subplots(num_rows, num_cols, figsize=figsize, squeeze=False)[1]
    axes = axes.ravel()
    for ax in axes:
        ax.axis("off")
    for i, (ax, img) in enumerate(zip(axes, imgs)):
        ax.imshow(numpy_image(img), cmap="gray_r")
        if titles is not None and i < len(titles):
            ax.set_title(titles[i], fontsize=9)
    return axes


Point = namedtuple("Point", "x y")


class ProgressBoard(HyperParameters):
    """Curves that grow while they are computed (textbook, section 3.2).

    In a notebook the figure is redrawn in place, seldom enough not to cost training
    time, and once more when the cell ends. In a script it waits in `fig` for
    `plt.show()` or `fig.savefig(path)`. The points are in `data`, also where there is
    no matplotlib: {label: [Point(x, y), ...]}.

    Parameters:
        xlabel, ylabel, xlim, ylim, xscale, yscale: see `set_axes`.
        ls, colors: style and colour of each curve.
        fig, axes: a figure and axes of matplotlib to draw in, instead of new ones.
        figsize: width and height of a new figure in inches.
        display: False draws nothing.

    Example:
        >>> board = ProgressBoard(xlabel="x")
        >>> for x in range(4):
        ...     board.draw(x, x**2, "square", every_n=2)
        >>> board.data["square"][-1].y
        6.5
    """

    def __init__(
        self, xlabel: str | None = None, ylabel: str | None = None,
        xlim: Sequence[float] | None = None, ylim: Sequence[float] | None = None,
        xscale: str = "linear", yscale: str = "linear",
        ls: Sequence[str] = ("-", "--", "-.", ":"),
        colors: Sequence[str] = ("C0", "C1", "C2", "C3"),
        fig: Any = None, axes: Any = None,
        figsize: tuple[float, float] = (3.5, 2.5), display: bool = True,
    ) -> None:  # fmt: skip
        self.save_hyperparameters()
        self.data: dict[str, list[Point]] = {}
        self.raw_points: dict[str, list[Point]] = {}  # not yet averaged
        self._lines, self._settings = {}, None  # what is in the axes
        self._end_cell()

    def draw(self, x: Any, y: Any, label: str, every_n: int = 1) -> None:
        """Add a point to a curve.

        Parameters:
            x, y: a number each, or a tensor of any framework that holds one. Tensors
                are read only when `every_n` points are there.
            label: name of the curve.
            every_n: so many points become one, their mean.
        """
        raw = self.raw_points.setdefault(label, [])
        raw.append(Point(x, y))
        if len(raw) < every_n:
            return
        points = [(float(x), float(y)) for x, y in raw]
        self.data.setdefault(label, []).append(Point(*np.mean(points, axis=0).tolist()))
        raw.clear()
        if time.monotonic() - self._drawn_at >= self._wait:
            self.redraw()

    def redraw(self) -> None:
        """Bring the figure up to date; in a notebook, show it, or its axes alone."""
        if not self.display or not (self.data or in_notebook()):
            return
        start = time.monotonic()
        try:
            self._update()
        except ImportError:  # of matplotlib, or of the windows it should open
            return
        if in_notebook():
            self._show()
            self._drawn_at = time.monotonic()
            cost = self._drawn_at - start
            # The first curve does not wait for what it took to begin with the axes.
            self._wait = max(REDRAW_SECONDS, cost / REDRAW_SHARE) if self.data else 0.0

    def _update(self):
        """Put all points into the figure, which is made if there is none."""
        from matplotlib import pyplot as plt

        if self.axes is None:
            self.fig = self.fig or plt.figure(figsize=self.figsize)
            self.axes = self.fig.gca()
        self.fig = self.axes.figure
        for label in self._lines.keys() - self.data.keys():
            self._lines.pop(label).remove()
        for label, points in self.data.items():
            if label not in self._lines:
                i = len(self._lines)
                ls, color = (x[i % len(x)] for x in (self.ls, self.colors))
                (self._lines[label],) = self.axes.plot(
                    [], [], linestyle=ls, color=color, label=label
                )
                self.axes.legend()
            self._lines[label].set_data(*zip(*points))
            self._lines[label].set_marker("o" if len(points) == 1 else "")
        self.axes.relim()
        self.axes.autoscale_view()
        settings = (self.xlabel, self.ylabel, self.xlim, self.ylim,
                    self.xscale, self.yscale)  # fmt: skip
        if settings != self._settings:
            set_axes(self.axes, *settings, None)
            self._settings = settings

    def _show(self):
        """Show the figure below the cell that runs now, in place of the last time."""
        from IPython import display, get_ipython
        from matplotlib import pyplot as plt

        if self._handle is None:
            self._handle = display.display(self.fig, display_id=True)
            get_ipython().events.register("post_run_cell", self._at_end_of_cell)
        else:
            self._handle.update(self.fig)
        plt.close(self.fig)  # or the cell's end would show it a second time

    def _at_end_of_cell(self, _):
        from IPython import get_ipython

        get_ipython().events.unregister("post_run_cell", self._at_end_of_cell)
        if self.data:
            self.redraw()
        else:  # nothing came into the axes
            self._handle.update({}, raw=True)
        self._end_cell()

    def _end_cell(self):
        self._handle, self._drawn_at, self._wait = None, 0.0, 0.0

    def __getstate__(self):
        """A copy, or what is pickled, has the points and no figure."""
        no_figure = {"fig": None, "axes": None}
        shown = {**no_figure, "_lines": {}, "_settings": None}
        raw = {
            label: [Point(float(x), float(y)) for x, y in points]
            for label, points in self.raw_points.items()
        }
        shown |= {"_handle": None, "_drawn_at": 0.0, "_wait": 0.0}
        hparams = self.hparams | no_figure
        return vars(self) | shown | {"raw_points": raw, "hparams": hparams}


class StatusLine:
    """One line of text that is replaced in place, and of which nothing stays.

    In a notebook it is in the output of the cell, one for all that runs in it;
    elsewhere on stderr, if that is a terminal.

    Parameters:
        active: False shows nothing.

    Example:
        >>> line = StatusLine()
        >>> if line.due():
        ...     line.show("epoch 1 of 10")
        >>> line.close()
    """

    _of_cell = None  # what IPython shows it in

    def __init__(self, active: bool = True) -> None:
        active = active and (in_notebook() or getattr(sys.stderr, "isatty", bool)())
        self._next = 0.0 if active else math.inf
        self._text = ""

    def due(self) -> bool:
        """Whether it may be replaced: not more often than twice a second.

        Returns:
            True or False, and False where there is no line.
        """
        return time.monotonic() >= self._next

    def show(self, text: str) -> None:
        """Replace the line.

        Parameters:
            text: what it says from now on.
        """
        if self._next < math.inf:
            self._next = time.monotonic() + REDRAW_SECONDS
            self._put(text)

    def close(self) -> None:
        """Take the line away."""
        if self._text:
            self._put("")
        self._next = math.inf

    def _put(self, text):
        if in_notebook():
            self._put_in_cell({"text/plain": text} if text else {})
        else:
            text = text[: shutil.get_terminal_size().columns - 1]
            # The cursor goes back, so that what is printed next replaces the line.
            line = f"\r{text.ljust(len(self._text))}\r"
            print(line, end="", file=sys.stderr, flush=True)
        self._text = text

    @classmethod
    def _put_in_cell(cls, data):
        """Show it as a display of its own: what is in that can be taken out again."""
        from IPython import display, get_ipython

        if cls._of_cell is None:
            cls._of_cell = display.display(data, raw=True, display_id=True)
            get_ipython().events.register("post_run_cell", cls._at_end_of_cell)
        else:
            cls._of_cell.update(data, raw=True)

    @classmethod
    def _at_end_of_cell(cls, _):
        from IPython import get_ipython

        get_ipython().events.unregister("post_run_cell", cls._at_end_of_cell)
        cls._put_in_cell({})
        cls._of_cell = None
