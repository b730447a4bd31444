"""TensorFlow: how a batch becomes tensors. Layout NHWC."""

import tensorflow as tf


def to_images(X, matrices=None):
    """Bytes as images: float32 (n, h', w', c) in [0, 1].

    X: uint8 (n, h, w), or (n, h, w, c); matrices: (R_h, R_w) that resize images
    (n, h, w), or None.
    """
    X = tf.cast(X, tf.float32) / 255
    if matrices is not None:
        R_h, R_w = matrices
        X = R_h @ X @ R_w.T
    return X[..., None] if len(X.shape) == 3 else X


def to_tensors(batch, matrices=None):
    """A batch (*inputs, labels) of arrays as tensors; bytes become `to_images`."""
    *inputs, y = map(tf.convert_to_tensor, batch)
    inputs = [
        to_images(x, matrices) if x.dtype == tf.uint8 and len(x.shape) in (3, 4) else x
        for x in inputs
    ]
    return (*inputs, y)
