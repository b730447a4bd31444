"""Drawing: curves that grow while training runs, plots, rows of images.

matplotlib and IPython are loaded only when something is drawn; without them
training still runs and shows a progress bar.
"""

import sys
import time

import numpy as np

from d2l_utils.base import HyperParameters

REDRAW_SECONDS = 0.5  # at most two redraws a second,
REDRAW_SHARE = 0.01  # and at most this share of the time spent on them


def in_notebook():
    """Whether figures can be shown, that is, whether a Jupyter kernel runs us."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and hasattr(shell, "kernel")


def numpy_image(image):
    """An image of any framework as an array (h, w) or (h, w, 3) for imshow."""
    image = to_numpy(image)
    if image.ndim == 3:
        if image.shape[0] in (1, 3) and image.shape[-1] not in (1, 3):
            image = image.transpose(1, 2, 0)
        if image.shape[-1] == 1:
            image = image[..., 0]
        elif image.shape[0] == 1:
            image = image[0]
    return image


def to_numpy(x):
    """A tensor of any framework, or anything array-like, as a NumPy array."""
    if hasattr(x, "asnumpy"):
        return x.asnumpy()
    return np.asarray(x.detach().cpu() if hasattr(x, "detach") else x)


def set_axes(axes, xlabel, ylabel, xlim, ylim, xscale, yscale, legend):
    """Set the labels, limits, scales and legend of matplotlib axes."""
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
    X, Y=None, xlabel=None, ylabel=None, legend=(), xlim=None, ylim=None,
    xscale="linear", yscale="linear", fmts=("-", "m--", "g-.", "r:"),
    figsize=(3.5, 2.5), axes=None,
):  # fmt: skip
    """Plot curves, as the textbook's `plot` (section 2.4).

    X and Y are one sequence of numbers or a list of several; with Y missing, X
    holds the values and their positions are counted.
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


def show_images(imgs, num_rows, num_cols, titles=None, scale=1.5):
    """Show images (any framework, any layout) in a grid; returns the axes."""
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


class ProgressBoard(HyperParameters):
    """Curves that grow while they are computed (textbook, section 3.2).

    `draw` takes one point; every `every_n` points of a curve become one, their
    mean. In a notebook the figure is redrawn in place, seldom enough not to cost
    training time; elsewhere points are only collected, in `data`.
    """

    def __init__(
        self, xlabel=None, ylabel=None, xlim=None, ylim=None,
        xscale="linear", yscale="linear", ls=("-", "--", "-.", ":"),
        colors=("C0", "C1", "C2", "C3"), fig=None, axes=None,
        figsize=(3.5, 2.5), display=True,
    ):  # fmt: skip
        self.save_hyperparameters()
        self.raw_points, self.data = {}, {}
        self._handle, self._drawn_at, self._wait = None, 0.0, 0.0

    def draw(self, x, y, label, every_n=1):
        """Add the point (x, y) to the curve `label`; y may be on the device."""
        raw = self.raw_points.setdefault(label, [])
        raw.append((x, y))
        if len(raw) < every_n:
            return
        points = [(float(x), float(y)) for x, y in raw]
        self.data.setdefault(label, []).append(tuple(np.mean(points, axis=0).tolist()))
        raw.clear()
        if time.monotonic() - self._drawn_at >= self._wait:
            self.redraw()

    def redraw(self, final=False):
        """Show the figure as it stands; with `final`, for the last time."""
        if not (self.display and self.data and in_notebook()):
            return
        start = time.monotonic()
        from IPython import display
        from matplotlib import pyplot as plt

        if self.fig is None:
            self.fig = plt.figure(figsize=self.figsize)
        axes = self.axes if self.axes is not None else self.fig.gca()
        axes.clear()
        styles = list(zip(self.ls, self.colors))
        for i, (label, points) in enumerate(self.data.items()):
            x, y = zip(*points)
            ls, color = styles[i % len(styles)]
            mark = "o" if len(points) == 1 else None
            axes.plot(x, y, linestyle=ls, color=color, marker=mark, label=label)
        set_axes(
            axes, self.xlabel, self.ylabel, self.xlim, self.ylim,
            self.xscale, self.yscale, None,
        )  # fmt: skip
        axes.legend()
        if self._handle is None:
            self._handle = display.display(self.fig, display_id=True)
        else:
            self._handle.update(self.fig)
        plt.close(self.fig)  # or the cell's end would show it a second time
        self._drawn_at = time.monotonic()
        cost = self._drawn_at - start
        self._wait = max(REDRAW_SECONDS, cost / REDRAW_SHARE)
        if final:
            self.fig = self._handle = None


class ProgressBar:
    """Images done and images/s, on stderr, where no notebook shows curves."""

    def __init__(self, num_images, active=True):
        self.bar = None
        if active and not in_notebook():
            try:
                from tqdm import tqdm
            except ImportError:
                return
            self.bar = tqdm(
                total=num_images, unit=" images", unit_scale=True, mininterval=0.5
            )

    def update(self, n, epoch):
        if self.bar is not None:
            self.bar.set_description(f"epoch {epoch + 1}", refresh=False)
            self.bar.update(n)

    def close(self):
        if self.bar is not None:
            self.bar.close()
