"""First weights, drawn in NumPy, so that they are the same bits in every framework.

A stream of random numbers begins with `set_seed`:

    numpy.random.default_rng([seed, *b"weights"])

Each weight takes the next ones, in the layout that weights are stored in, see
weights.py: (out, in of a group, *kernel) of a convolution, (out, in) of a dense layer.
Networks draw in order of execution, so the same networks, made in the same order, begin
alike in all frameworks; two networks of one run begin differently.
"""

import contextlib
import math
from functools import partial

import numpy as np

from d2l_utils.base import current_seed

KINDS = ("conv", "tconv", "dense")  # of layers that init_cnn and init_he are for
_stream = np.random.default_rng([current_seed(), *b"weights"])
_log = None  # [(state of the stream, rule, shape)] of what is drawn within `draft`


def start(seed: int) -> None:
    """Begin the stream anew; `set_seed` calls this."""
    global _stream
    _stream = np.random.default_rng([seed, *b"weights"])


def glorot(shape: tuple) -> np.ndarray:
    """Weights of this shape from Glorot's uniform distribution (Glorot, Bengio 2010).

    Between -a and a, a = sqrt(6 / (fan_in + fan_out)), in float32.
    """
    return _draw(_glorot, shape)


def he(shape: tuple) -> np.ndarray:
    """Weights of this shape from He's normal distribution (He et al. 2015).

    Of standard deviation sqrt(2 / fan_in), in float32.
    """
    return _draw(_he, shape)


def _glorot(stream, shape):
    a = math.sqrt(6 / (math.prod(shape[2:]) * (shape[0] + shape[1])))
    return stream.uniform(-a, a, shape)


def _he(stream, shape):
    return stream.normal(0, math.sqrt(2 / math.prod(shape[1:])), shape)


def _draw(rule, shape):
    shape = tuple(map(int, shape))
    if len(shape) < 2:
        raise ValueError(
            f"A weight of shape {shape} has no inputs and outputs: init_cnn and "
            "init_he are for convolutions and dense layers."
        )
    if _log is not None:
        _log.append((state(), rule, shape))
    return rule(_stream, shape).astype(np.float32)


def channels_last(draw, shape):
    """Weights (*kernel, in, out) for a layer; draw: `glorot` or `he`."""
    stored = (*shape[-1:], *shape[-2:-1], *shape[:-2])
    return np.moveaxis(draw(stored), (0, 1), (-1, -2))


def state():
    """Where the stream stands."""
    return _stream.bit_generator.state


def go_on_from(state):
    """Put the stream back to a `state`: it draws again what it drew after that."""
    _stream.bit_generator.state = state


@contextlib.contextmanager
def aside():
    """Put the stream back after the block: what was drawn in it is drawn again."""
    before = state()
    try:
        yield
    finally:
        go_on_from(before)


@contextlib.contextmanager
def draft(model):
    """Weights that the model gets within the block, for a summary, are provisional.

    The stream is put back after it. When the model is used, `inference.settle` draws
    its weights for good, as in a framework whose summaries make no weights.
    """
    global _log
    before, _log = _log, []
    try:
        with aside():
            yield
        if _log:
            vars(model)["_draws"] = [*vars(model).get("_draws", ()), *_log]
    finally:
        _log = before


def drafted(model):
    """[(weights, what draws others)] that `draft` noted; the model forgets them."""
    draws = vars(model).pop("_draws", ()) if _log is None else ()
    return [(_again(*draw), partial(_draw, *draw[1:])) for draw in draws]


def _again(state, rule, shape):
    stream = np.random.default_rng()
    stream.bit_generator.state = state
    return rule(stream, shape).astype(np.float32)
