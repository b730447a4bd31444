"""JAX: how a batch becomes arrays on a device. Layout NHWC."""

import jax
from jax import numpy as jnp

from d2l_utils.batches import as_tensors
from d2l_utils.figures import to_numpy


@jax.jit
def to_images(X, matrices=None):
    """Bytes as images: float32 (n, h', w', c) in [0, 1].

    X: uint8 (n, h, w), or (n, h, w, c); matrices: (R_h, R_w) that resize images
    (n, h, w), or None.
    """
    X = X.astype(jnp.float32) / 255
    if matrices is not None:  # GPUs would round to TF32 by default
        X = jnp.einsum(
            "hi,nij,wj->nhw", matrices[0], X, matrices[1], precision="highest"
        )
    return X[..., None] if X.ndim == 3 else X


def as_array(x):
    """An array of any framework as JAX takes it."""
    return x if isinstance(x, jax.Array) else to_numpy(x)


def to_arrays(batch, matrices=None):
    """A batch, see `as_tensors`, its bytes through `to_images`; may be traced."""
    return as_tensors(batch, lambda x: x, lambda x: to_images(x, matrices))
