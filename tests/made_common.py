"""One network of the layers that all frameworks have, and its logits, computed by hand.

For images (n, 1, 6, 6): two convolutions, the second of them depthwise, a transposed
one, group normalization, PReLU, layer normalization of what is flattened, a dense
layer. To their result is added the mean over the pixels of an embedding of whether each
is above a half. Gluon's group normalization takes no NumPy arrays: in MXNet the network
is without it.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

SHAPES = {
    "conv0.weight": (4, 1, 3, 3), "conv0.bias": (4,),
    "conv1.weight": (4, 1, 3, 3), "conv1.bias": (4,),
    "tconv0.weight": (4, 3, 3, 3), "tconv0.bias": (3,),
    "gn0.weight": (3,), "gn0.bias": (3,), "prelu0.weight": (1,),
    "ln0.weight": (75,), "ln0.bias": (75,),
    "dense0.weight": (10, 75), "dense0.bias": (10,), "embedding0.weight": (2, 10),
}  # fmt: skip
EPSILON = 1e-5


def shapes(framework):
    """{stored name: shape}"""
    without = ("gn",) if framework == "mxnet" else ()
    return {k: s for k, s in SHAPES.items() if not k.startswith(without)}


def network(framework, d2l):
    return globals()[framework](d2l)


def pytorch(d2l):
    from torch import nn

    class Net(d2l.Classifier):
        def __init__(self, lr=0.1):
            super().__init__()
            self.net = nn.Sequential(
                nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3, groups=4),
                nn.ConvTranspose2d(4, 3, 3, stride=2), nn.GroupNorm(3, 3, EPSILON),
                nn.PReLU(), nn.Flatten(), nn.LayerNorm(75, EPSILON), nn.Dropout(),
                nn.Linear(75, 10),
            )  # fmt: skip
            self.embedding = nn.Embedding(2, 10)

        def forward(self, X):
            return self.net(X) + self.embedding((X > 0.5).long().flatten(1)).mean(1)

    return Net


def mxnet(d2l):
    from mxnet import npx
    from mxnet.gluon import nn

    npx.set_np()

    class Net(d2l.Classifier):
        def __init__(self, lr=0.1):
            super().__init__()
            self.net = nn.Sequential()
            self.net.add(
                nn.Conv2D(4, 3), nn.Conv2D(4, 3, groups=4),
                nn.Conv2DTranspose(3, 3, strides=2), nn.PReLU(), nn.Flatten(),
                nn.LayerNorm(epsilon=EPSILON),
                nn.Dropout(0.5), nn.Dense(10),
            )  # fmt: skip
            self.embedding = nn.Embedding(2, 10)

        def forward(self, X):
            words = (X > 0.5).astype("int32").reshape((len(X), -1))
            return self.net(X) + self.embedding(words).mean(1)

    return Net


def tensorflow(d2l):
    import tensorflow as tf
    from tensorflow.keras import layers as nn

    class Net(d2l.Classifier):
        def __init__(self, lr=0.1):
            super().__init__()
            self.net = tf.keras.Sequential(
                [
                    nn.Conv2D(4, 3), nn.DepthwiseConv2D(3),
                    nn.Conv2DTranspose(3, 3, strides=2),
                    nn.GroupNormalization(3, epsilon=EPSILON),
                    nn.PReLU(shared_axes=[1, 2, 3]), nn.Flatten(),
                    nn.LayerNormalization(epsilon=EPSILON), nn.Dropout(0.5),
                    nn.Dense(10),
                ]
            )  # fmt: skip
            self.embedding = nn.Embedding(2, 10)

        def call(self, X, training=False):
            words = tf.reshape(tf.cast(X > 0.5, tf.int32), (len(X), -1))
            words = tf.reduce_mean(self.embedding(words), 1)
            return self.net(X, training=training) + words

    return Net


def jax(d2l):
    from flax import linen as nn
    from jax import numpy as jnp

    class Net(d2l.Classifier):
        lr: float = 0.1
        training: bool = False

        def setup(self):
            self.net = nn.Sequential(
                [
                    nn.Conv(4, (3, 3), padding=0),
                    nn.Conv(4, (3, 3), padding=0, feature_group_count=4),
                    nn.ConvTranspose(3, (3, 3), (2, 2), padding="VALID"),
                    nn.GroupNorm(3, epsilon=EPSILON), nn.PReLU(),
                    lambda X: X.reshape((len(X), -1)), nn.LayerNorm(EPSILON),
                    nn.Dropout(0.5, deterministic=not self.training), nn.Dense(10),
                ]
            )  # fmt: skip
            self.embedding = nn.Embed(2, 10)

        def forward(self, X):
            words = (X > 0.5).astype(jnp.int32).reshape((len(X), -1))
            return self.net(X) + self.embedding(words).mean(1)

    return Net


# By hand --------------------------------------------------------------------------


def by_hand(w, X):
    """Logits of images (n, 1, 6, 6), in float64."""
    w, Y = {k: x.astype(np.float64) for k, x in w.items()}, X.astype(np.float64)

    def windows(Y):
        return sliding_window_view(Y, (3, 3), axis=(2, 3))

    def per_channel(name):
        return w[name][:, None, None]

    def normalized(Y, axes):
        mean, var = Y.mean(axes, keepdims=True), Y.var(axes, keepdims=True)
        return (Y - mean) / np.sqrt(var + EPSILON)

    words = w["embedding0.weight"][(X > 0.5).reshape(len(X), -1).astype(int)].mean(1)
    Y = np.einsum("nchwkl,dckl->ndhw", windows(Y), w["conv0.weight"])
    Y = Y + per_channel("conv0.bias")
    Y = np.einsum("nchwkl,ckl->nchw", windows(Y), w["conv1.weight"][:, 0])
    Y = Y + per_channel("conv1.bias")
    n, _, height, width = Y.shape
    Z = np.zeros((n, 3, 2 * height + 1, 2 * width + 1))
    for i in range(height):  # every pixel adds a kernel to the output
        for j in range(width):
            added = np.einsum("nc,cdkl->ndkl", Y[:, :, i, j], w["tconv0.weight"])
            Z[:, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3] += added
    Y = Z + per_channel("tconv0.bias")
    if "gn0.weight" in w:
        Y = normalized(Y, (2, 3)) * per_channel("gn0.weight") + per_channel("gn0.bias")
    Y = np.where(Y > 0, Y, w["prelu0.weight"] * Y).reshape(n, -1)
    Y = normalized(Y, 1) * w["ln0.weight"] + w["ln0.bias"]
    return Y @ w["dense0.weight"].T + w["dense0.bias"] + words
