"""Small networks from one description: in each framework, and by hand in NumPy.

A description is a tuple of layers: ("conv", channels, size, stride), ("norm",),
("relu",), ("flatten",), ("dropout", p), ("dense", features), and ("seen",), which
notes in SEEN what a training step gives to the layer behind it. `made_class` gives a
Classifier of the framework, `forward` and `sgd` are the independent reference: they
share no code with the package but the names of stored weights.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

EPSILON = 1e-5  # of batch normalization
LINEAR = ("flatten",), ("dense", 10)
SEEN = []  # arrays, one a training step


def pytorch_layer(kind, *args):
    from torch import nn

    class Seen(nn.Module):
        def forward(self, x):
            if self.training:
                SEEN.append(x.detach().numpy().copy())
            return x

    make = {
        "seen": Seen,
        "conv": lambda channels, size, stride: nn.LazyConv2d(channels, size, stride),
        "norm": lambda: nn.LazyBatchNorm2d(eps=EPSILON),
        "relu": nn.ReLU,
        "flatten": nn.Flatten,
        "dropout": nn.Dropout,
        "dense": nn.LazyLinear,
    }
    return make[kind](*args)


def mxnet_layer(kind, *args):
    from mxnet import autograd
    from mxnet.gluon import nn

    class Seen(nn.Block):
        def forward(self, x):
            if autograd.is_training():
                SEEN.append(x.asnumpy())
            return x

    make = {
        "seen": Seen,
        "conv": lambda channels, size, stride: nn.Conv2D(channels, size, stride),
        "norm": lambda: nn.BatchNorm(epsilon=EPSILON),
        "relu": lambda: nn.Activation("relu"),
        "flatten": nn.Flatten,
        "dropout": nn.Dropout,
        "dense": nn.Dense,
    }
    return make[kind](*args)


def tensorflow_layer(kind, *args):
    import tensorflow as tf
    from tensorflow.keras import layers as nn

    class Seen(nn.Layer):
        def call(self, x, training=None):
            if training:
                tf.numpy_function(lambda array: SEEN.append(array.copy()), [x], [])
            return x

    make = {
        "seen": Seen,
        "conv": lambda channels, size, stride: nn.Conv2D(channels, size, stride),
        "norm": lambda: nn.BatchNormalization(epsilon=EPSILON),
        "relu": nn.ReLU,
        "flatten": nn.Flatten,
        "dropout": nn.Dropout,
        "dense": nn.Dense,
    }
    return make[kind](*args)


def jax_layer(kind, *args, training):
    import jax
    from flax import linen as nn

    def seen(x):
        if training:
            jax.debug.callback(lambda array: SEEN.append(np.array(array)), x)
        return x

    make = {
        "seen": lambda: seen,
        "conv": lambda channels, size, stride: nn.Conv(
            channels, (size, size), stride, padding=0
        ),
        "norm": lambda: nn.BatchNorm(not training, epsilon=EPSILON),
        "relu": lambda: nn.relu,
        "flatten": lambda: lambda x: x.reshape((x.shape[0], -1)),
        "dropout": lambda p: nn.Dropout(p, deterministic=not training),
        "dense": nn.Dense,
    }
    return make[kind](*args)


def sequence(framework, layers):
    if framework == "pytorch":
        from torch import nn

        return nn.Sequential(*layers)
    if framework == "tensorflow":
        from tensorflow import keras

        return keras.Sequential(layers)
    from mxnet.gluon import nn

    hybrid = all(isinstance(layer, nn.HybridBlock) for layer in layers)
    net = nn.HybridSequential() if hybrid else nn.Sequential()
    net.add(*layers)
    return net


def made(described, make, **settings):
    """The layers of a description, in which a number is a layer used again."""
    layers = []
    for x in described:
        again = isinstance(x, int)
        layers.append(layers[x] if again else make(*x, **settings))
    return layers


def made_class(framework, d2l):
    """A Classifier(described, lr, momentum, num_classes) of the framework.

    Without a description it is as small a network as there is.
    """
    if framework == "jax":
        from flax import linen as nn

        class Made(d2l.Classifier):
            described: tuple = LINEAR
            lr: float = 0.0
            momentum: float = 0
            num_classes: int = 10
            training: bool = False

            def setup(self):
                now = {"training": self.training}
                self.net = nn.Sequential(made(self.described, jax_layer, **now))

        return Made

    if framework == "mxnet":
        from mxnet import npx

        npx.set_np()
    make = globals()[f"{framework}_layer"]

    class Made(d2l.Classifier):
        def __init__(self, described=LINEAR, lr=0.0, momentum=0, num_classes=10):
            super().__init__()
            self.save_hyperparameters()
            self.net = sequence(framework, made(described, make))

    return Made


def tiny_class(framework, d2l):
    """The class of a small network with the book's layers and batch normalization.

    Tiny(lr, momentum, dropout, num_classes), for images of 28 pixels.
    """

    def described(dropout, num_classes):
        first = ("conv", 8, 5, 3), ("norm",), ("relu",), ("flatten",)
        return *first, ("dropout", dropout), ("dense", num_classes)

    if framework == "jax":
        from flax import linen as nn

        class Tiny(d2l.Classifier):
            lr: float = 0.05
            momentum: float = 0.9
            dropout: float = 0.5
            num_classes: int = 10
            training: bool = False

            def setup(self):
                layers = described(self.dropout, self.num_classes)
                now = {"training": self.training}
                self.net = nn.Sequential(made(layers, jax_layer, **now))

        return Tiny

    if framework == "mxnet":
        from mxnet import npx

        npx.set_np()
    make = globals()[f"{framework}_layer"]

    class Tiny(d2l.Classifier):
        def __init__(self, lr=0.05, momentum=0.9, dropout=0.5, num_classes=10):
            super().__init__()
            self.save_hyperparameters()
            self.net = sequence(framework, made(described(dropout, num_classes), make))

    return Tiny


# The reference: float64, channels first -------------------------------------------


def named(layers):
    """[(layer, its name in a weights file or None)]."""
    stored, counts = {"conv": "conv", "norm": "bn", "dense": "dense"}, {}
    pairs = []
    for layer in layers:
        kind = stored.get(layer[0])
        number = counts[kind] = counts.get(kind, -1) + 1
        pairs.append((layer, kind and f"{kind}{number}"))
    return pairs


def made_weights(layers, rng, size=28):
    """Weights {stored name: float32 array} for images of one channel."""
    shape, weights = (1, size, size), {}
    for (kind, *args), name in named(layers):
        if kind == "conv":
            channels, k, stride = args
            weights[f"{name}.weight"] = rng.normal(size=(channels, shape[0], k, k)) / k
            weights[f"{name}.bias"] = rng.normal(size=channels) / 10
            side = (shape[1] - k) // stride + 1
            shape = channels, side, side
        elif kind == "flatten":
            shape = (int(np.prod(shape)),)
        elif kind == "dense":
            scale = np.sqrt(shape[0])
            weights[f"{name}.weight"] = rng.normal(size=(args[0], shape[0])) / scale
            weights[f"{name}.bias"] = rng.normal(size=args[0]) / 10
            shape = (args[0],)
        elif kind == "norm":
            weights[f"{name}.weight"] = rng.uniform(0.5, 1.5, shape[0])
            weights[f"{name}.bias"] = rng.normal(size=shape[0])
            weights[f"{name}.mean"] = rng.normal(size=shape[0])
            weights[f"{name}.var"] = rng.uniform(0.5, 1.5, shape[0])
    return {k: w.astype(np.float32) for k, w in weights.items()}


def outputs(layers, weights, X, mask=1):
    """The input and the output of each layer, in evaluation mode.

    mask: what dropout multiplies its input with in a training step.
    """
    values = [np.asarray(X, np.float64)]
    for (kind, *args), name in named(layers):
        x = values[-1]
        w, b = (weights.get(f"{name}.{part}") for part in ("weight", "bias"))
        if kind == "conv":
            y = np.einsum("nchwkl,dckl->ndhw", patches(x, args), w, optimize=True)
            y += b[:, None, None]
        elif kind == "norm":
            mean, var = (weights[f"{name}.{p}"][:, None, None] for p in ("mean", "var"))
            y = (x - mean) / np.sqrt(var + EPSILON)
            y = y * w[:, None, None] + b[:, None, None]
        elif kind == "relu":
            y = np.maximum(x, 0)
        elif kind == "flatten":
            y = x.reshape(len(x), -1)
        elif kind == "dense":
            y = x @ w.T + b
        else:
            y = x * mask if kind == "dropout" else x
        values.append(y)
    return values


def patches(x, args):
    """The windows of a convolution, (n, c, h, w, k, k)."""
    _, k, stride = args
    return sliding_window_view(x, (k, k), axis=(2, 3))[:, :, ::stride, ::stride]


def forward(layers, weights, X):
    """Logits of images (n, 1, h, w) with values in [0, 1]."""
    return outputs(layers, weights, X)[-1]


def measured(logits, y):
    """(mean cross-entropy, accuracy) of logits and labels."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return -log_p[np.arange(len(y)), y].mean(), (logits.argmax(axis=1) == y).mean()


def gradients(layers, weights, X, y, mask=1):
    """((loss, accuracy), {stored name: gradient}) of a batch; mask: of dropout.

    Not for batch normalization. A convolution has to be the first layer: no gradient of
    its input is computed.
    """
    values = outputs(layers, weights, X, mask)
    logits, grads = values[-1], {}
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    g = (p / p.sum(axis=1, keepdims=True) - np.eye(logits.shape[1])[y]) / len(y)
    for ((kind, *args), name), x in reversed(list(zip(named(layers), values))):
        if kind == "dense":
            grads |= {f"{name}.weight": g.T @ x, f"{name}.bias": g.sum(axis=0)}
            g = g @ weights[f"{name}.weight"]
        elif kind == "flatten":
            g = g.reshape(x.shape)
        elif kind == "relu":
            g = g * (x > 0)
        elif kind == "dropout":
            g = g * mask
        elif kind == "conv":
            w = np.einsum("nchwkl,ndhw->dckl", patches(x, args), g, optimize=True)
            grads |= {f"{name}.weight": w, f"{name}.bias": g.sum(axis=(0, 2, 3))}
    return measured(logits, y), grads


def sgd(layers, weights, batches, lr, momentum, clip, masks=None):
    """Train on batches (X, y); returns ([(loss, accuracy)], weights, norms).

    masks: of dropout, one a step. norms: of the gradient in each step, before it is
    clipped.
    """
    weights = {k: w.astype(np.float64) for k, w in weights.items()}
    velocity = {k: np.zeros_like(w) for k, w in weights.items()}
    results, norms = [], []
    for (X, y), mask in zip(batches, masks or [1] * len(batches), strict=True):
        result, grads = gradients(layers, weights, X, y, mask)
        results.append(result)
        norms.append(np.sqrt(sum((g**2).sum() for g in grads.values())))
        scale = min(1, clip / norms[-1]) if clip else 1
        for name, g in grads.items():
            velocity[name] = momentum * velocity[name] + scale * g
            weights[name] = weights[name] - lr * velocity[name]
    return results, weights, np.array(norms)
