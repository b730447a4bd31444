"""MXNet: how a batch becomes arrays on a device. Layout NCHW."""

from functools import lru_cache

import numpy as onp
from mxnet import np, npx

from d2l_utils.batches import as_tensors
from d2l_utils.data import resize_matrices


@lru_cache(maxsize=8)
def _resizers(n, shape_in, shape_out, device):
    """R_h repeated n times, as `batch_dot` needs it, and R_w, on the device."""
    R_h, R_w = (np.array(R, ctx=device) for R in resize_matrices(shape_in, shape_out))
    return np.broadcast_to(R_h, (n, *R_h.shape)).copy(), R_w


def to_images(X, size, device):
    """Bytes as images: float32 (n, c, h', w') in [0, 1] on the device.

    X: uint8 (n, h, w), or (n, c, h, w), which is not resized, in MXNet or NumPy; size:
    (h', w') to resize to, or None.
    """
    X = _on(device, X).astype("float32") / 255
    if X.ndim == 4:
        return X
    if size is None or X.shape[1:] == tuple(size):
        return np.expand_dims(X, 1)
    # np.matmul, which broadcasts, would take four times as long; expand_dims copies
    # in MXNet, so it comes while the images are small.
    R_h, R_w = _resizers(len(X), X.shape[1:], tuple(size), device)
    X = np.expand_dims(npx.batch_dot(R_h, X), 1)
    return npx.fully_connected(
        X, R_w, num_hidden=len(R_w), no_bias=True, flatten=False
    )  # fmt: skip


def _on(device, x):
    """An array of NumPy or MXNet on the device; float64 becomes float32."""
    if isinstance(x, np.ndarray):
        return x.as_in_ctx(device)
    x = onp.asarray(x)
    return np.array(x, dtype="float32" if x.dtype == "float64" else x.dtype, ctx=device)


def to_tensors(batch, device, size=None):
    """A batch of arrays as MXNet's, on the device, see `as_tensors`.

    Images in bytes go through `to_images`; float64 becomes float32.
    """
    return as_tensors(
        batch, lambda x: _on(device, x), lambda x: to_images(x, size, device)
    )
