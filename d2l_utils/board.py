"""Curves that grow while training runs, and a line that says how far it is.

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
from d2l_utils.figures import COLORS, set_axes, subplots

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
        colors: Sequence[str] = COLORS[:4],
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
        """Bring the figure up to date; in a notebook, show it, even without points."""
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
            # After empty axes the first curve is drawn at once, whatever they took.
            self._wait = max(REDRAW_SECONDS, cost / REDRAW_SHARE) if self.data else 0.0

    def _update(self):
        """Put all points into the figure, which is made if there is none."""
        if self.axes is None and self.fig is None:
            self.axes = subplots(1, 1, self.figsize)[1]
        elif self.axes is None:
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
                # Above the axes, where it covers no curve.
                self.axes.legend(
                    loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False
                )
            self._lines[label].set_data(*zip(*points))
            self._lines[label].set_marker("o" if len(points) == 1 else "")
            self._lines[label].set_clip_on(len(points) > 1)  # a whole point at the edge
        self.axes.relim()
        self.axes.autoscale_view()
        settings = (self.xlabel, self.ylabel, self.xlim, self.ylim,
                    self.xscale, self.yscale)  # fmt: skip
        if settings != self._settings:
            set_axes(self.axes, *settings, None)
            self._settings = settings

    def _show(self):
        """Show the figure below the running cell, in place of what it showed before."""
        from IPython import display, get_ipython
        from matplotlib import pyplot as plt

        if self._handle is None:
            self._handle = display.display(self.fig, display_id=True)
            get_ipython().events.register("post_run_cell", self._at_end_of_cell)
        else:
            self._handle.update(self.fig)
        plt.close(self.fig)  # or Jupyter would show it again at the cell's end

    def _at_end_of_cell(self, _):
        from IPython import get_ipython

        get_ipython().events.unregister("post_run_cell", self._at_end_of_cell)
        if self.data:
            self.redraw()
        else:  # no point was drawn: the empty axes go away
            self._handle.update({}, raw=True)
        self._end_cell()

    def _end_cell(self):
        self._handle, self._drawn_at, self._wait = None, 0.0, 0.0

    def __getstate__(self):
        """What a copy or a pickle has: the points, and no figure."""
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

    In a notebook it stands in the output of the running cell, which has one such line;
    elsewhere on stderr, if that is a terminal.

    Parameters:
        active: False shows nothing.

    Example:
        >>> line = StatusLine()
        >>> if line.due():
        ...     line.show("epoch 1 of 10")
        >>> line.close()
    """

    _of_cell = None  # IPython's handle for the line in the running cell

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
            # The cursor goes back, so that the next output overwrites the line.
            line = f"\r{text.ljust(len(self._text))}\r"
            print(line, end="", file=sys.stderr, flush=True)
        self._text = text

    @classmethod
    def _put_in_cell(cls, data):
        """Show the line as a display of its own, which can be emptied again."""
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
