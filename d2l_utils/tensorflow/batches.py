"""TensorFlow: how a batch becomes tensors. Layout NHWC."""

import tensorflow as tf

from d2l_utils.batches import as_tensors


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
    """A batch of arrays as tensors, see `as_tensors`.

    Images in bytes go through `to_images`; float64 becomes Keras's `floatx()`.
    """

    def tensor(x):
        x = x if tf.is_tensor(x) else tf.convert_to_tensor(x)
        double = x.dtype == tf.float64
        return tf.cast(x, tf.keras.config.floatx()) if double else x

    return as_tensors(batch, tensor, lambda x: to_images(x, matrices))
