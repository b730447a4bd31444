"""First weights, drawn in NumPy, so that they are the same bits in every framework.

A stream of random numbers begins with `set_seed`. Each weight takes the next ones, in
the layout that weights are stored in: (out, in of a group, *kernel) of a convolution,
(out, in) of a dense layer. Networks draw in order of execution, so the same networks,
made in the same order, begin alike in all frameworks, and two of them differently.
"""

import contextlib
import math

import numpy as np

from d2l_utils.base import current_seed

_stream = np.random.default_rng([current_seed(), *b"weights"])


def start(seed: int) -> None:
    """Begin the stream anew; `set_seed` does."""
    global _stream
    _stream = np.random.default_rng([seed, *b"weights"])


def glorot(shape: tuple) -> np.ndarray:
    """Weights of this shape from Glorot's uniform distribution (Glorot, Bengio 2010).

    Between -a and a, a = sqrt(6 / (fan_in + fan_out)), in float32.
    """
    size = math.prod(shape[2:])
    a = math.sqrt(6 / (size * (shape[0] + shape[1])))
    return _stream.uniform(-a, a, shape).astype(np.float32)


def he(shape: tuple) -> np.ndarray:
    """Weights of this shape from He's normal distribution (He et al. 2015).

    Of standard deviation sqrt(2 / fan_in), in float32.
    """
    deviation = math.sqrt(2 / math.prod(shape[1:]))
    return _stream.normal(0, deviation, shape).astype(np.float32)


@contextlib.contextmanager
def aside():
    """What is drawn within this block is drawn again after it."""
    state = _stream.bit_generator.state
    try:
        yield
    finally:
        _stream.bit_generator.state = state
