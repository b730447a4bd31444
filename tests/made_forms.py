"""Forms in which readers write networks, for tests: the same in every framework.

`forms(f)` is a table {name: Form}; `f` has the few operations that they need, by one
name in every framework, and `made(framework, d2l, f, form, calls)` is a class of such
models.
"""

from dataclasses import dataclass
from types import SimpleNamespace


@dataclass(frozen=True)
class Form:
    """What a reader wrote: layers, and methods of the model.

    layers(): {attribute: layer}; forward(self, X); loss(self, Y_hat, Y, weights), where
    weights() are the model's; step(self, l, X, Y), a training step that gives its loss
    by l(X, Y); accuracy(self, Y_hat, Y); frozen: what the first convolution does not
    train, its "weight" or the whole "layer".
    """

    layers: object = None
    forward: object = None
    loss: object = None
    step: object = None
    accuracy: object = None
    frozen: str = ""


def forms(f):
    def net():
        return {"net": f.chain(*body(), f.dense(10))}

    def body():
        return f.conv(8, 5, 2), f.relu(), f.flatten()

    def normed():
        return f.conv(8, 5, 2), f.own_norm(8), f.relu(), f.flatten()

    def small():
        stem = f.chain(*body(), f.dense(40))
        return {"stem": stem, "inner": f.square(40), "head": f.dense(10)}

    def parts(**more):
        return {"stem": f.chain(*body()), "head": f.dense(10), **more}

    def cross(Y_hat, Y):
        return -f.mean(f.sum(f.one_hot(Y) * f.log_softmax(Y_hat)))

    def smooth(Y_hat, Y):
        target = 0.9 * f.one_hot(Y) + 0.01
        return -f.mean(f.sum(target * f.log_softmax(Y_hat)))

    def weighted(Y_hat, Y):
        W = f.array([0.1 * (i + 1) for i in range(10)])
        return -f.mean(f.sum(W * f.one_hot(Y) * f.log_softmax(Y_hat)))

    def focal(Y_hat, Y):
        P = f.sum(f.one_hot(Y) * f.softmax(Y_hat))
        return -f.mean((1 - P) ** 2 * f.log(P + 1e-6))

    def per_example(Y_hat, Y):
        each = -f.sum(f.one_hot(Y) * f.log_softmax(Y_hat))
        return f.mean(each * f.number(each < 10.0))

    def penalized(self, Y_hat, Y, weights):
        return cross(Y_hat, Y) + 1e-3 * sum(f.total(w**2) for w in weights())

    def heads(self, X):
        Z = self.stem(X)
        return self.head(Z), self.extra(Z)

    def of_heads(self, Y_hat, Y, weights):
        if not isinstance(Y_hat, tuple | list):
            return cross(Y_hat, Y)
        return cross(Y_hat[0], Y) + 0.3 * cross(Y_hat[1], Y)

    def residual(self, X):
        Z = self.first(X)
        return self.head(f.flat(Z + self.second(Z)))

    def looped(self, X):
        for layer in self.layers_in_a_row:
            X = layer(X)
        return X

    def noting(self, X):
        f.note(self, X)
        return self.net(X)

    def printing(self, X):
        print("input", X.shape, "weights", f.number_of_weights(self))
        return self.net(X)

    def gated(self, X):
        Z = self.stem(X)
        return self.head(Z * f.softmax(Z))

    def standardized(self, X):
        Z = self.stem(X)
        mean = f.mean_of_rows(Z)
        spread = f.mean_of_rows((Z - mean) ** 2)
        return self.head(0.1 * (Z - mean) / (spread + 1e-5) ** 0.5)

    def twice(self, X):
        Z = self.inner(self.stem(X))
        return self.head(self.inner(Z))

    def ten_times(self, X):
        Z = self.inner(self.stem(X))
        for _ in range(9):
            Z = Z + 0.1 * self.inner(Z)
        return self.head(Z)

    def two_images(self, X):
        return self.head(self.stem(X) - self.stem(1 - X))

    def mixup(self, l, X, Y):
        return 0.7 * l(0.7 * X + 0.3 * f.reversed(X), Y) + 0.3 * l(X, f.reversed(Y))

    def halves(self, l, X, Y):
        n = len(Y) // 2
        return (l(X[:n], Y[:n]) + l(X[n:], Y[n:])) / 2

    def top_three(self, Y_hat, Y):
        larger = Y_hat > f.sum(Y_hat * f.one_hot(Y))[:, None]
        return f.mean(f.number(f.sum(f.number(larger)) < 3))

    def plain(function):
        return lambda self, Y_hat, Y, weights: function(Y_hat, Y)

    return {
        "forward as ours": Form(net, forward=lambda self, X: self.net(X)),
        "loss as ours": Form(net, loss=plain(cross)),
        "step as ours": Form(net, step=lambda self, l, X, Y: l(X, Y)),
        "blocks": Form(
            lambda: {
                "first": f.chain(f.conv(8, 5, 4), f.relu()),
                "second": f.chain(f.conv(8, 1, 1), f.relu()),
                "head": f.dense(10),
            },
            residual,
        ),
        "an own layer": Form(lambda: {"net": f.chain(*body(), f.own_dense(10))}),
        "list of layers": Form(
            lambda: {"layers_in_a_row": f.row(*body(), f.dense(10))}, looped
        ),
        "two passes through one part": Form(parts, two_images),
        "auxiliary head": Form(lambda: parts(extra=f.dense(10)), heads, of_heads),
        "keeps activations": Form(net, noting),
        "prints": Form(net, printing),
        "own batch normalization": Form(
            lambda: {"net": f.chain(*normed(), f.dense(10))}
        ),
        "softmax in forward": Form(parts, gated),
        "variance in forward": Form(parts, standardized),
        "shared layer": Form(small, twice),
        "layer called ten times": Form(small, ten_times),
        "frozen weights": Form(net, frozen="weight"),
        "frozen layer": Form(net, frozen="layer"),
        "weighted loss": Form(net, loss=plain(weighted)),
        "smoothed loss": Form(net, loss=plain(smooth)),
        "focal loss": Form(net, loss=plain(focal)),
        "loss per example": Form(net, loss=plain(per_example)),
        "penalty on weights": Form(net, loss=penalized),
        "mixup": Form(net, step=mixup),
        "accumulated gradients": Form(net, step=halves),
        "own accuracy": Form(net, accuracy=top_three),
    }


def made(framework, d2l, f, form, calls):
    """A class of models in that form; calls: {method: how often}, as they run."""

    def counted(name, method):
        def own(self, *args, **kwargs):
            calls[name] = calls.get(name, 0) + 1
            return method(self, *args, **kwargs)

        return own

    Class = (of_jax if framework == "jax" else of_objects)(framework, d2l, f, form)
    name_of = {"forward": "call"} if framework == "tensorflow" else {}
    own = {}
    for name in ("forward", "loss", "training_step", "accuracy"):
        name = name_of.get(name, name)
        if name in vars(Class):
            own[name] = counted(name, vars(Class)[name])
    return type(Class)("Own", (Class,), {**own, "__module__": __name__})


def plain_model(framework, d2l):
    """A model with nothing of a reader's own; with batch normalization and dropout."""
    if framework == "pytorch":
        from torch import nn

        def layers():
            return nn.Sequential(
                nn.Conv2d(1, 8, 5, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(),
                nn.Dropout(0.5), nn.LazyLinear(10),
            )  # fmt: skip
    elif framework == "mxnet":
        from mxnet import npx
        from mxnet.gluon import nn

        npx.set_np()

        def layers():
            net = nn.HybridSequential()
            net.add(
                nn.Conv2D(8, 5, 2, activation="relu"), nn.BatchNorm(), nn.Flatten(),
                nn.Dropout(0.5), nn.Dense(10),
            )  # fmt: skip
            return net
    else:
        import tensorflow as tf

        nn = tf.keras.layers

        def layers():
            return tf.keras.Sequential(
                [nn.Conv2D(8, 5, 2), nn.BatchNormalization(), nn.ReLU(), nn.Flatten(),
                 nn.Dropout(0.5), nn.Dense(10)]
            )  # fmt: skip

    class Plain(d2l.Classifier):
        def __init__(self, lr=0.05):
            super().__init__()
            self.save_hyperparameters()
            self.net = layers()

    return Plain


def of_objects(framework, d2l, f, form):
    class Own(d2l.Classifier):
        def __init__(self, lr=0.05):
            super().__init__()
            self.save_hyperparameters()
            for name, layer in form.layers().items():
                setattr(self, name, layer)

        def configure_optimizers(self):
            if form.frozen:
                f.freeze(self, form.frozen)
            return super().configure_optimizers()

    if form.forward:
        forward = form.forward
        setattr(Own, "call" if framework == "tensorflow" else "forward", forward)
    if form.loss:

        def loss(self, Y_hat, Y, averaged=True):
            f.seen.append(f.dtypes(Y_hat))
            return form.loss(self, Y_hat, Y, lambda: f.weights(self))

        def accuracy(self, Y_hat, Y, averaged=True):
            Y_hat = Y_hat[0] if isinstance(Y_hat, tuple | list) else Y_hat
            return super(Own, self).accuracy(Y_hat, Y, averaged)

        Own.loss, Own.accuracy = loss, accuracy
    if form.step:

        def training_step(self, batch):
            X, Y = batch
            l = form.step(self, lambda X, Y: self.loss(self(X), Y), X, Y)
            self.plot("loss", l, train=True)
            return l

        Own.training_step = training_step
    if form.accuracy:
        Own.accuracy = lambda self, Y_hat, Y, averaged=True: form.accuracy(
            self, Y_hat, Y
        )
    return Own


def of_jax(framework, d2l, f, form):
    class Own(d2l.Classifier):
        lr: float = 0.05
        training: bool = False

        def setup(self):
            for name, layer in form.layers().items():
                setattr(self, name, layer)

        def configure_optimizers(self):
            optim = super().configure_optimizers()
            return f.freeze(optim, form.frozen) if form.frozen else optim

    if form.forward:
        Own.forward = lambda self, X: form.forward(self, X)
    if form.loss:

        def loss(self, params, X, Y, state, averaged=True):
            variables = {"params": params, "batch_stats": state.batch_stats}
            rngs = {"dropout": state.dropout_rng}
            Y_hat, aux = state.apply_fn(
                variables, *X, mutable=["batch_stats"], rngs=rngs
            )
            f.seen.append(f.dtypes(Y_hat))
            l = form.loss(self, Y_hat, Y, lambda: f.weights(params))
            Y_hat = Y_hat[0] if isinstance(Y_hat, tuple) else Y_hat
            return l, {**aux, "Y_hat": Y_hat}

        Own.loss = loss
    if form.step:

        def training_step(self, params, batch, state):
            X, Y = batch

            def whole(params):
                def loss(X, Y):
                    return self.loss(params, (X,), Y, state)[0]

                return form.step(self, loss, X, Y), {}

            value, grads = f.value_and_grad(whole)(params)
            self.plot("loss", value[0], train=True)
            return value, grads

        Own.training_step = training_step
    if form.accuracy:

        def accuracy(self, params, X, Y, state, averaged=True):
            variables = {"params": params, "batch_stats": state.batch_stats}
            return form.accuracy(self, state.apply_fn(variables, *X), Y)

        Own.accuracy = accuracy
    return Own


def operations(framework):
    """What `forms` needs of a framework."""
    f = globals()[f"of_{framework}_operations"]()
    f.seen = []
    return f


def of_pytorch_operations():
    import torch
    from torch import nn
    from torch.nn import functional as F

    def built(p):
        return not isinstance(p, nn.UninitializedParameter)

    class Dense(nn.Module):
        def __init__(self, n):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(8 * 12 * 12, n) * 0.02)

        def forward(self, X):
            return X @ self.weight

    class Norm(nn.Module):
        def __init__(self, n):
            super().__init__()
            self.gamma = nn.Parameter(torch.ones((1, n, 1, 1)))
            self.register_buffer("moving", torch.zeros((1, n, 1, 1)))

        def forward(self, X):
            if not self.training:
                return self.gamma * (X - self.moving)
            mean = X.mean(dim=(0, 2, 3), keepdim=True)
            self.moving = 0.9 * self.moving + 0.1 * mean.detach()
            return self.gamma * (X - mean)

    def freeze(model, what):
        layer = next(m for m in model.modules() if isinstance(m, nn.Conv2d))
        layer.weight.requires_grad = False
        layer.bias.requires_grad = what != "layer"

    def note(model, X):
        model.kept = [*getattr(model, "kept", [])[-2:], X]

    return SimpleNamespace(
        conv=lambda n, k, s: nn.LazyConv2d(n, k, s), dense=nn.LazyLinear,
        square=lambda n: nn.Linear(n, n), own_dense=Dense, own_norm=Norm,
        relu=nn.ReLU, flatten=nn.Flatten, chain=nn.Sequential,
        row=lambda *layers: nn.ModuleList(layers), flat=lambda X: X.flatten(1),
        one_hot=lambda Y: F.one_hot(Y.long(), 10).float(),
        softmax=lambda X: X.softmax(1), log_softmax=lambda X: X.log_softmax(1),
        log=torch.log, sum=lambda X: X.sum(1),
        mean=lambda X: X.mean(), total=lambda X: X.sum(), array=torch.tensor,
        mean_of_rows=lambda X: X.mean(dim=1, keepdim=True), number=lambda X: X.float(),
        reversed=lambda X: X.flip(0), weights=lambda m: list(m.parameters()),
        number_of_weights=lambda m: sum(len(p) for p in m.parameters() if built(p)),
        freeze=freeze, note=note,
        dtypes=lambda Y: str(Y[0].dtype if isinstance(Y, tuple) else Y.dtype),
    )  # fmt: skip


def of_mxnet_operations():
    from mxnet import autograd, gluon, init, np, npx
    from mxnet.gluon import nn

    npx.set_np()

    class Dense(nn.HybridBlock):
        def __init__(self, n):
            super().__init__()
            self.weight = self.params.get("weight", shape=(8 * 12 * 12, n))
            self.weight.initialize(init.Normal(0.02))

        def hybrid_forward(self, F, X, weight):
            return F.np.dot(X, weight)

    class Norm(nn.Block):
        def __init__(self, n):
            super().__init__()
            self.gamma = self.params.get("gamma", shape=(1, n, 1, 1), init=init.One())
            self.gamma.initialize()
            self.moving = np.zeros((1, n, 1, 1))

        def forward(self, X):
            if not autograd.is_training():
                return self.gamma.data() * (X - self.moving)
            mean = X.mean(axis=(0, 2, 3), keepdims=True)
            with autograd.pause():
                self.moving = 0.9 * self.moving + 0.1 * mean
            return self.gamma.data() * (X - mean)

    def chain(*layers):
        hybrid = all(isinstance(x, nn.HybridBlock) for x in layers)
        net = nn.HybridSequential() if hybrid else nn.Sequential()
        net.add(*layers)
        return net

    def parameters(model):
        return list(gluon.Block.collect_params(model).values())

    def freeze(model, what):
        for p in parameters(model)[: 2 if what == "layer" else 1]:
            p.grad_req = "null"

    def note(model, X):
        model.kept = [*getattr(model, "kept", [])[-2:], X]

    return SimpleNamespace(
        conv=lambda n, k, s: nn.Conv2D(n, k, s), dense=nn.Dense,
        square=lambda n: nn.Dense(n, in_units=n), own_dense=Dense, own_norm=Norm,
        relu=lambda: nn.Activation("relu"), flatten=nn.Flatten, chain=chain, row=chain,
        flat=lambda X: X.reshape((len(X), -1)), one_hot=lambda Y: npx.one_hot(Y, 10),
        softmax=npx.softmax, log_softmax=npx.log_softmax, log=np.log,
        sum=lambda X: X.sum(axis=1), mean=lambda X: X.mean(), total=lambda X: X.sum(),
        array=np.array, mean_of_rows=lambda X: X.mean(axis=1, keepdims=True),
        number=lambda X: X.astype("float32"), reversed=lambda X: X[::-1],
        weights=lambda m: [p.data() for p in parameters(m)],
        number_of_weights=lambda m: len(parameters(m)),
        freeze=freeze, note=note,
        dtypes=lambda Y: str(Y[0].dtype if isinstance(Y, tuple) else Y.dtype),
    )  # fmt: skip


def of_tensorflow_operations():
    import tensorflow as tf

    nn = tf.keras.layers

    class Dense(nn.Layer):
        def __init__(self, n):
            super().__init__()
            self.n = n

        def build(self, shape):
            self.weight = self.add_weight(
                shape=(shape[-1], self.n), initializer="glorot_uniform"
            )

        def call(self, X):
            return tf.matmul(X, self.weight)

    class Norm(nn.Layer):
        def __init__(self, n):
            super().__init__()
            self.gamma = self.add_weight(shape=(n,), initializer="ones")
            self.moving = self.add_weight(
                shape=(n,), initializer="zeros", trainable=False
            )

        def call(self, X, training=False):
            if not training:
                return self.gamma * (X - self.moving)
            mean = tf.reduce_mean(X, axis=(0, 1, 2))
            self.moving.assign(0.9 * self.moving + 0.1 * mean)
            return self.gamma * (X - mean)

    def freeze(model, what):
        layer = next(x for x in model._flatten_layers() if isinstance(x, nn.Conv2D))
        if what == "layer":
            layer.trainable = False
        else:
            layer.kernel.trainable = False

    def note(model, X):
        model.kept = X.shape

    return SimpleNamespace(
        conv=lambda n, k, s: nn.Conv2D(n, k, s), dense=nn.Dense, square=nn.Dense,
        own_dense=Dense, own_norm=Norm, relu=nn.ReLU, flatten=nn.Flatten,
        chain=lambda *layers: tf.keras.Sequential(layers), row=lambda *layers: layers,
        flat=lambda X: tf.reshape(X, (tf.shape(X)[0], 8 * 6 * 6)),
        one_hot=lambda Y: tf.one_hot(tf.cast(Y, "int32"), 10), softmax=tf.nn.softmax,
        log_softmax=tf.nn.log_softmax, log=tf.math.log,
        sum=lambda X: tf.reduce_sum(X, axis=1), mean=tf.reduce_mean,
        total=tf.reduce_sum, array=tf.constant,
        mean_of_rows=lambda X: tf.reduce_mean(X, axis=1, keepdims=True),
        number=lambda X: tf.cast(X, "float32"), reversed=lambda X: tf.reverse(X, [0]),
        weights=lambda m: m.trainable_variables,
        number_of_weights=lambda m: m.count_params(), freeze=freeze, note=note,
        dtypes=lambda Y: (Y[0] if isinstance(Y, tuple | list) else Y).dtype.name,
    )  # fmt: skip


def of_jax_operations():
    import jax
    import optax
    from flax import linen as nn
    from jax import numpy as jnp

    class Norm(nn.Module):
        n: int

        @nn.compact
        def __call__(self, X):
            gamma = self.param("gamma", nn.initializers.ones, (self.n,))
            moving = self.variable("batch_stats", "moving", jnp.zeros, (self.n,))
            mean = X.mean(axis=(0, 1, 2))
            if self.is_mutable_collection("batch_stats"):
                moving.value = 0.9 * moving.value + 0.1 * mean
            return gamma * (X - mean)

    class Dense(nn.Module):
        n: int

        @nn.compact
        def __call__(self, X):
            init = nn.initializers.glorot_uniform()
            return X @ self.param("weight", init, (X.shape[-1], self.n))

    def freeze(optim, what):
        def frozen(params):
            def mark(path, _):
                text = jax.tree_util.keystr(path)
                return "layers_0" in text and (what == "layer" or "kernel" in text)

            return jax.tree_util.tree_map_with_path(mark, params)

        return optax.chain(optim, optax.masked(optax.set_to_zero(), frozen))

    return SimpleNamespace(
        conv=lambda n, k, s: nn.Conv(n, (k, k), (s, s), "VALID"), dense=nn.Dense,
        square=nn.Dense, own_dense=Dense, own_norm=Norm, relu=lambda: nn.relu,
        flatten=lambda: lambda X: X.reshape((len(X), -1)),
        chain=lambda *layers: nn.Sequential(layers), row=lambda *layers: layers,
        flat=lambda X: X.reshape((len(X), -1)), one_hot=lambda Y: jax.nn.one_hot(Y, 10),
        softmax=jax.nn.softmax, log_softmax=jax.nn.log_softmax, log=jnp.log,
        sum=lambda X: X.sum(axis=1), mean=jnp.mean, total=jnp.sum, array=jnp.array,
        mean_of_rows=lambda X: X.mean(axis=1, keepdims=True),
        number=lambda X: X.astype("float32"), reversed=lambda X: X[::-1],
        weights=jax.tree.leaves, number_of_weights=lambda m: "in JAX, not here",
        freeze=freeze, note=lambda model, X: model.sow("intermediates", "X", X),
        value_and_grad=lambda g: jax.value_and_grad(g, has_aux=True),
        dtypes=lambda Y: str(Y[0].dtype if isinstance(Y, tuple) else Y.dtype),
    )  # fmt: skip
