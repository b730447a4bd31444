"""JAX: how a batch becomes arrays on a device. Layout NHWC."""

import jax
from jax import numpy as jnp


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


def to_arrays(batch, matrices=None):
    """A batch (*inputs, labels), with bytes as `to_images`; also within a trace."""
    *inputs, y = batch
    inputs = [
        to_images(x, matrices) if x.dtype == jnp.uint8 and x.ndim in (3, 4) else x
        for x in inputs
    ]
    return (*inputs, y)
