"""Small layers of all kinds for images (n, 4, h, w), by framework; and changed weights.

`layers(framework)` gives {kind: function of nothing that makes such a layer}, among
them layers of a reader's own with a parameter, a statistic and nested layers; `HEADS`
names what may follow. `network` makes a Classifier of the kinds of a description, and
`disturbed` changes all that it has, as a training would.
"""

import numpy as np

HEADS = ("dense", "lstm", "gru", "attention", "embedding")


def torch_layers():
    import torch
    from torch import nn
    from torch.nn.utils import parametrizations

    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(4, 1, 1))
            self.mean = torch.zeros(4, 1, 1)  # as in the textbook: no buffer
            self.register_buffer("count", torch.zeros((), dtype=torch.int64))
            self.last = None

        def forward(self, X):
            self.last = X
            if self.training:
                self.mean = 0.9 * self.mean + X.detach().mean((0, 2, 3))[:, None, None]
                self.count += 1
            return self.scale * (X - self.mean) / (1 + self.count)

    class Half(nn.Module):
        def __init__(self):
            super().__init__()
            self.bias = nn.Parameter(torch.zeros(4, 1, 1, dtype=torch.bfloat16))
            self.more = nn.Parameter(torch.zeros(4, 1, 1, dtype=torch.float64))

        def forward(self, X):
            return X + self.bias.float() + self.more.float()

    return {
        "conv": lambda: nn.LazyConv2d(4, 3, padding=1),
        "grouped": lambda: nn.Conv2d(4, 4, 3, padding=1, groups=2),
        "depthwise": lambda: nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False),
        "tconv": lambda: nn.ConvTranspose2d(4, 4, 3, padding=1),
        "bn": lambda: nn.LazyBatchNorm2d(),
        "ln": lambda: nn.LayerNorm([4, 6, 6]),
        "gn": lambda: nn.GroupNorm(2, 4),
        "prelu": lambda: nn.PReLU(4),
        "spectral": lambda: parametrizations.spectral_norm(
            nn.Conv2d(4, 4, 3, padding=1)
        ),
        "weight norm": lambda: parametrizations.weight_norm(nn.Conv2d(4, 4, 1)),
        "instance": lambda: nn.InstanceNorm2d(4, affine=True, track_running_stats=True),
        "own": Own,
        "half": Half,
    }


def mxnet_layers():
    from mxnet import autograd, init, npx
    from mxnet import np as mnp
    from mxnet.gluon import nn

    npx.set_np()

    class Own(nn.Block):
        def __init__(self):
            super().__init__()
            shape, one = (4, 1, 1), init.One()
            self.scale = self.params.get("scale", shape=shape, init=one)
            self.mean = mnp.zeros((4, 1, 1))  # as in the textbook
            self.last = None

        def forward(self, X):
            self.last = X
            if autograd.is_training():
                mean = X.mean((0, 2, 3)).reshape((4, 1, 1))
                self.mean = 0.9 * self.mean + mean
            return self.scale.data() * (X - self.mean)

    class Half(nn.Block):
        def __init__(self):
            super().__init__()
            self.bias = self.params.get(
                "bias", shape=(4, 1, 1), dtype="float16", init=init.Zero()
            )

        def forward(self, X):
            return X + self.bias.data().astype("float32")

    return {
        "conv": lambda: nn.Conv2D(4, 3, padding=1),
        "grouped": lambda: nn.Conv2D(4, 3, padding=1, groups=2),
        "depthwise": lambda: nn.Conv2D(4, 3, padding=1, groups=4, use_bias=False),
        "tconv": lambda: nn.Conv2DTranspose(4, 3, padding=1),
        "bn": lambda: nn.BatchNorm(),
        "ln": lambda: nn.LayerNorm(axis=1),
        "prelu": lambda: nn.PReLU(in_channels=4),
        "own": Own,
        "half": Half,
    }


def tensorflow_layers():
    import tensorflow as tf
    from tensorflow.keras import layers as nn

    class Own(nn.Layer):
        def build(self, shape):
            self.scale = self.add_weight(shape=(4,), initializer="ones")
            self.count = self.add_weight(shape=(), dtype="int32", trainable=False)
            self.mean = tf.Variable(tf.zeros(4), trainable=False)  # untracked
            self.last = None

        def call(self, X, training=False):
            self.last = X
            if training:
                self.mean.assign(0.9 * self.mean + tf.reduce_mean(X, (0, 1, 2)))
                self.count.assign_add(1)
            return self.scale * (X - self.mean) / (1.0 + tf.cast(self.count, X.dtype))

    class Half(nn.Layer):
        def build(self, shape):
            self.bias = self.add_weight(shape=(4,), dtype="bfloat16")
            self.more = self.add_weight(shape=(4,), dtype="float64")

        def call(self, X):
            return X + tf.cast(self.bias, X.dtype) + tf.cast(self.more, X.dtype)

    return {
        "conv": lambda: nn.Conv2D(4, 3, padding="same"),
        "grouped": lambda: nn.Conv2D(4, 3, padding="same", groups=1),
        "depthwise": lambda: nn.DepthwiseConv2D(3, padding="same", use_bias=False),
        "separable": lambda: nn.SeparableConv2D(4, 3, padding="same"),
        "tconv": lambda: nn.Conv2DTranspose(4, 3, padding="same"),
        "bn": lambda: nn.BatchNormalization(),
        "ln": lambda: nn.LayerNormalization(axis=[1, 2, 3]),
        "gn": lambda: nn.GroupNormalization(2),
        "prelu": lambda: nn.PReLU(shared_axes=[1, 2]),
        "spectral": lambda: nn.SpectralNormalization(nn.Conv2D(4, 3, padding="same")),
        "own": Own,
        "half": Half,
    }


def jax_layers(training=False):
    from flax import linen as nn
    from jax import numpy as jnp

    class Own(nn.Module):
        training: bool = False

        @nn.compact
        def __call__(self, X):
            mean = self.variable("batch_stats", "mean", lambda: jnp.zeros(4))
            count = self.variable("counts", "n", lambda: jnp.zeros((), jnp.int32))
            scale = self.param("scale", nn.initializers.ones, (4,))
            if self.training:
                mean.value = 0.9 * mean.value + X.mean((0, 1, 2))
                count.value += 1
            return scale * (X - mean.value) / (1 + count.value)

    class Half(nn.Module):
        @nn.compact
        def __call__(self, X):
            zeros = nn.initializers.zeros
            return X + self.param("bias", zeros, (4,), jnp.bfloat16).astype(X.dtype)

    class Spectral(nn.Module):
        training: bool = False

        @nn.compact
        def __call__(self, X):
            conv = nn.Conv(4, (3, 3))
            return nn.SpectralNorm(conv)(X, update_stats=self.training)

    return {
        "conv": lambda: nn.Conv(4, (3, 3)),
        "grouped": lambda: nn.Conv(4, (3, 3), feature_group_count=2),
        "depthwise": lambda: nn.Conv(4, (3, 3), feature_group_count=4, use_bias=False),
        "tconv": lambda: nn.ConvTranspose(4, (3, 3)),
        "bn": lambda: nn.BatchNorm(not training),
        "ln": lambda: nn.LayerNorm(reduction_axes=(1, 2, 3), feature_axes=(1, 2, 3)),
        "gn": lambda: nn.GroupNorm(2),
        "prelu": nn.PReLU,
        "spectral": lambda: Spectral(training),
        "own": lambda: Own(training),
        "half": Half,
    }


LAYERS = {
    "pytorch": torch_layers, "mxnet": mxnet_layers, "tensorflow": tensorflow_layers,
    "jax": jax_layers,
}  # fmt: skip


def described(framework, rng):
    """A random description: kinds, tuples of them (nested), and numbers: used again."""
    kinds, made = list(LAYERS[framework]()), ["conv"]
    for _ in range(rng.integers(2, 6)):
        kind = str(rng.choice(kinds))
        if rng.random() < 0.25:
            made.append((kind, str(rng.choice(kinds))))
        elif rng.random() < 0.25:
            made.append(int(rng.integers(len(made))))
        else:
            made.append(kind)
    made = [x if x != 0 else "conv" for x in made]  # layer 0 fits one channel only
    return (*made, str(rng.choice(HEADS)))


def sequence(description, layer, chain):
    """The layers of a description, without its head."""
    made = []
    for x in description[:-1]:
        if isinstance(x, int):
            made.append(made[x])
        else:
            inner = [layer(k) for k in ([x] if isinstance(x, str) else x)]
            made.append(inner[0] if isinstance(x, str) else chain(inner))
    return made


def network(framework, d2l):
    """A Classifier(description) of the framework, for images (n, 1, 6, 6)."""
    return globals()[f"{framework}_network"](d2l)


def pytorch_network(d2l):
    from torch import nn

    kinds = torch_layers()

    class Net(d2l.Classifier):
        def __init__(self, description, lr=0.1):
            super().__init__()
            self.lr = lr
            made = sequence(
                description, lambda k: kinds[k](), lambda x: nn.Sequential(*x)
            )
            self.net, head = nn.Sequential(*made), description[-1]
            self.head, self.kind = None, head
            if head in ("lstm", "gru"):
                Recurrent = nn.LSTM if head == "lstm" else nn.GRU
                self.head = Recurrent(4, 3, 2, batch_first=True, bidirectional=True)
            elif head == "attention":
                self.head = nn.MultiheadAttention(4, 2, batch_first=True)
            elif head == "embedding":
                self.head = nn.Embedding(8, 3)
            self.last = nn.LazyLinear(10)

        def forward(self, X):
            h = self.net(X).flatten(2).mT  # (n, places, 4)
            if self.kind in ("lstm", "gru"):
                h = self.head(h)[0]
            elif self.kind == "attention":
                h = self.head(h, h, h)[0]
            elif self.kind == "embedding":
                h = h.repeat(1, 1, 3)[:, :, :3] + self.head((X > 0.5).long().flatten(1))
            return self.last(h.flatten(1))

    return Net


def mxnet_network(d2l):
    from mxnet.gluon import nn, rnn

    kinds = mxnet_layers()

    def chain(layers):
        net = nn.Sequential()
        net.add(*layers)
        return net

    class Net(d2l.Classifier):
        def __init__(self, description, lr=0.1):
            super().__init__()
            self.lr = lr
            self.net = chain(sequence(description, lambda k: kinds[k](), chain))
            head = self.kind = description[-1]
            if head in ("lstm", "gru"):
                Recurrent = rnn.LSTM if head == "lstm" else rnn.GRU
                self.head = Recurrent(3, 2, layout="NTC", bidirectional=True)
            elif head == "embedding":
                self.head = nn.Embedding(8, 3)
            self.last = nn.Dense(10)

        def forward(self, X):
            h = self.net(X)
            h = h.reshape((len(X), 4, -1)).transpose((0, 2, 1))
            if self.kind in ("lstm", "gru"):
                h = self.head(h)
            elif self.kind == "embedding":
                words = (X > 0.5).astype("int32").reshape((len(X), -1))
                h = h[:, :, :3] + self.head(words)
            return self.last(h)

    return Net


def tensorflow_network(d2l):
    import tensorflow as tf
    from tensorflow.keras import layers as nn

    kinds = tensorflow_layers()

    class Net(d2l.Classifier):
        def __init__(self, description, lr=0.1):
            super().__init__()
            self.save_hyperparameters()
            made = sequence(
                description, lambda k: kinds[k](), lambda x: tf.keras.Sequential(x)
            )
            self.made, head = made, description[-1]
            self.head, self.kind = None, head
            if head in ("lstm", "gru"):
                Recurrent = nn.LSTM if head == "lstm" else nn.GRU
                self.head = nn.Bidirectional(Recurrent(3, return_sequences=True))
            elif head == "attention":
                self.head = nn.MultiHeadAttention(2, 2)
            elif head == "embedding":
                self.head = nn.Embedding(8, 3)
            self.last = tf.keras.Sequential([nn.Flatten(), nn.Dense(10)])

        def call(self, X, training=False):
            h = X
            for layer in self.made:
                h = layer(h, training=training)
            h = tf.reshape(h, (len(X), -1, 4))
            if self.kind in ("lstm", "gru"):
                h = self.head(h)
            elif self.kind == "attention":
                h = self.head(h, h)
            elif self.kind == "embedding":
                words = tf.cast(X > 0.5, tf.int32)
                h = h[:, :, :3] + self.head(tf.reshape(words, (len(X), -1)))
            return self.last(h)

    return Net


def jax_network(d2l):
    from flax import linen as nn
    from jax import numpy as jnp

    class Net(d2l.Classifier):
        description: tuple
        lr: float = 0.1
        training: bool = False

        def setup(self):
            kinds = jax_layers(self.training)
            made = sequence(self.description, lambda k: kinds[k](), nn.Sequential)
            self.net, head = nn.Sequential(made), self.description[-1]
            if head in ("lstm", "gru"):
                cell = nn.LSTMCell if head == "lstm" else nn.GRUCell
                self.head = nn.RNN(cell(3))
            elif head == "attention":
                self.head = nn.MultiHeadDotProductAttention(2)
            elif head == "embedding":
                self.head = nn.Embed(8, 3)
            self.last = nn.Dense(10)

        def forward(self, X):
            h, head = self.net(X), self.description[-1]
            h = h.reshape((len(X), -1, 4))
            if head in ("lstm", "gru", "attention"):
                h = self.head(h)
            elif head == "embedding":
                words = (X > 0.5).astype(jnp.int32).reshape((len(X), -1))
                h = h[:, :, :3] + self.head(words)
            return self.last(h.reshape((len(X), -1)))

    return Net


def answers(framework):
    """(logits, labels) of two examples, in a framework whose models keep arrays."""
    logits, labels = np.eye(2, 10, dtype=np.float32), np.arange(2)
    if framework == "pytorch":
        import torch

        return torch.tensor(logits), torch.tensor(labels)
    if framework == "mxnet":
        from mxnet import np as mnp

        return mnp.array(logits), mnp.array(labels)
    import tensorflow as tf

    return tf.constant(logits), tf.constant(labels)


def disturbed(framework, model, X, rng):
    """Change every weight, and every statistic by passes in training mode.

    X: images (n, 1, 6, 6). Returns what predicts: the model, in JAX bound.
    """

    def moved(x):
        return x + 0.3 * rng.normal(size=x.shape)

    if framework == "pytorch":
        import torch

        X = torch.tensor(X)
        model.apply_init([X])
        with torch.no_grad():
            for p in model.parameters():
                p.copy_(torch.tensor(moved(p.double().numpy())))
        model.train()
        for _ in range(2):
            model(X)
    elif framework == "mxnet":
        from mxnet import autograd
        from mxnet import np as mnp

        X = mnp.array(X)
        model.apply_init([X])
        for p in model.collect_params().values():
            p.set_data(mnp.array(moved(p.data().asnumpy()), dtype=p.dtype))
        with autograd.record():
            for _ in range(2):
                model(X).wait_to_read()
    elif framework == "tensorflow":
        X = np.moveaxis(X, 1, -1)
        model.apply_init([X])
        for v in model.trainable_variables:
            v.assign(moved(v.numpy().astype("float64")))
        for _ in range(2):
            model(X, training=True)
    else:
        import jax

        X = np.moveaxis(X, 1, -1)
        variables = model.apply_init((jax.numpy.asarray(X),), jax.random.PRNGKey(0))
        variables["params"] = jax.tree.map(
            lambda x: jax.numpy.asarray(moved(x), x.dtype), variables["params"]
        )
        mutable = [k for k in variables if k != "params"]
        step = model.clone(training=True)
        for _ in range(2):
            variables |= step.apply(variables, X, mutable=mutable)[1]
        return model.bind(variables)
    return model
