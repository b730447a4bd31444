"""One framework's half of the parity check, to be run in a process of its own.

`measure` loads given weights into a model of an edition and returns, as NumPy
arrays under the common names, what parity.py compares: activations, logits, loss,
gradients and the update of one SGD step.

In float32 everything goes the way that students go: `activations`, `predict`,
`Trainer.fit`. In float64, which the package does not offer, the layers and the
framework's own optimizer are called here.
"""

import contextlib
import functools
import inspect
from functools import partial
from importlib import import_module

import numpy as np

from book.source import cells
from d2l_utils import data, inference, sources, weights
from d2l_utils.frameworks import FRAMEWORKS

LARGEST_LOGIT = 10  # with larger ones, the softmax is 0 or 1 and hides differences
NUM_IMAGES = 4  # few: XLA has no fast convolution in float64
PARTS = "gradients", "update"
# Trained for 100 steps on one batch, with momentum, at rates at which rounding grows
# little. (At ten times this rate, in PyTorch alone, weights changed by 1e-7 of their
# values give NiN28 losses that differ by their own size after 100 steps.)
TRAINED = {("nin", "NiN28", 28): 2e-4, ("googlenet_exercises", "small", 28): 2e-3}
STEPS, NUM_TRAINED = 100, 16
NUM_CARRIED = 2000  # the notebook on parity compares all validation images
LR = 0.5  # large, so that an update is not lost in the rounding of the weight


def images(size):
    """Real images, (n + 1, 1, size, size) float32, and labels of the first n, int32."""
    split = sources.load_sample().val
    X = data.images_to_float(split.images[: NUM_IMAGES + 1])[:, None]
    matrices = data.resize_matrices((28, 28), (size, size))
    if matrices:
        X = matrices[0] @ X @ matrices[1].T
    return X, split.labels[:NUM_IMAGES].astype(np.int32)


def made_weights(shapes, seed=0):
    """Weights that keep the signal's size, biases that are not zero."""
    rng = np.random.default_rng(seed)
    made = {}
    for name, shape in shapes.items():
        if name.endswith("var") or (name.startswith("bn") and name.endswith("weight")):
            made[name] = rng.uniform(0.5, 1.5, shape)
        elif name.endswith("weight"):
            std = np.sqrt(2 / np.prod(shape[1:]))
            made[name] = rng.normal(0, std, shape)
        else:  # mostly positive: a ReLU that is always off has no gradient
            made[name] = rng.uniform(-0.05, 0.3, shape)
    return {k: v.astype(np.float32) for k, v in made.items()}


class Batches(data.DataModule):
    """A list of training batches in the framework's layout."""

    def __init__(self, batches):
        super().__init__()
        self.batches, self.batch_size = batches, len(batches[0][1])

    def get_dataloader(self, train):
        return self.batches if train else None


# The frameworks: what a model needs in either dtype, beside the hooks of
# d2l_utils/<framework>/layers.py. `learn` makes one step of the model's optimizer, and
# returns the loss, the gradients as {stored name: array}, and the variables from which
# `inference.stored` reads the weights after the step (None: from the model).


def parameters(model):
    """(stored name, parameter) of a PyTorch or MXNet model."""
    named = inference.named_tensors(model, model._input_shape)[0].items()
    return [(k, x.value) for k, x in named]


class PyTorch:
    def __init__(self, dtype, layers):
        import torch

        self.torch, self.dtype, self.layers = torch, getattr(torch, dtype), layers

    @contextlib.contextmanager
    def context(self):
        before = self.torch.get_default_dtype()
        self.torch.set_default_dtype(self.dtype)
        yield
        self.torch.set_default_dtype(before)

    def batch(self, X, y):
        X, y = self.torch.tensor(X, dtype=self.dtype), self.torch.tensor(y)
        return X, y.long()

    def loaded(self, model, load):
        return load(model)

    def learn(self, model, batch):
        model.train()
        loss = model.loss(model(batch[0]), batch[1])
        loss.backward()
        named = {k: p for k, p in parameters(model) if p.requires_grad}
        gradients = {k: p.grad.numpy().copy() for k, p in named.items()}
        model.configure_optimizers().step()
        return loss.item(), gradients, None

    def as_others(self, model, before, after):
        """Change running variances in `after` to those of the other frameworks.

        For a batch's variance, PyTorch divides the sum of squares by n - 1, where n is
        the number of values of a channel, and the others by n.
        """
        for row in self.layers.trace(model, (NUM_IMAGES, *model._input_shape)):
            if row.kind == "bn":
                n = np.prod(row.input_shape) / row.input_shape[1]
                name = f"{row.name}.var"
                kept = (1 - row.ref.momentum) * before[name]
                after[name] = kept + (after[name] - kept) * (n - 1) / n


class MXNet:
    context = staticmethod(contextlib.nullcontext)

    def __init__(self, dtype, layers):
        from mxnet import autograd, np

        self.np, self.autograd, self.dtype, self.layers = np, autograd, dtype, layers

    def batch(self, X, y):
        return self.np.array(X, dtype=self.dtype), self.np.array(y, dtype="int32")

    def loaded(self, model, load):
        model = load(model)
        model.cast(self.dtype)
        return model

    def learn(self, model, batch):
        with self.autograd.record():
            loss = model.loss(model(batch[0]), batch[1])
        loss.backward()
        trained = {k: p for k, p in parameters(model) if p.grad_req != "null"}
        gradients = {k: p.grad().asnumpy() for k, p in trained.items()}
        model.configure_optimizers().step(1)
        return loss.item(), gradients, None


class TensorFlow:
    def __init__(self, dtype, layers):
        import tensorflow as tf

        self.tf, self.dtype, self.layers = tf, dtype, layers

    @contextlib.contextmanager
    def context(self):
        config = self.tf.keras.config
        before = config.floatx(), config.dtype_policy()
        config.set_floatx(self.dtype)
        config.set_dtype_policy(self.dtype)  # was made from floatx when first used
        yield
        config.set_floatx(before[0])
        config.set_dtype_policy(before[1])

    def batch(self, X, y):
        X = self.tf.constant(X.transpose(0, 2, 3, 1), self.dtype)
        return X, self.tf.constant(y)

    def loaded(self, model, load):
        return load(model)

    def learn(self, model, batch):
        variables = model.trainable_variables
        with self.tf.GradientTape() as tape:
            loss = model.loss(model(batch[0], training=True), batch[1])
        gradients = tape.gradient(loss, variables)
        of = {id(v): g.numpy() for v, g in zip(variables, gradients)}
        named = inference.named_tensors(model, model._input_shape)[0].items()
        named = [(k, x, of.get(id(x.value))) for k, x in named]
        stored = {k: x.to_stored(g) for k, x, g in named if g is not None}
        model.configure_optimizers().apply(gradients, variables)
        return float(loss), stored, None


class JAX:
    def __init__(self, dtype, layers):
        import jax
        import optax

        from d2l_utils.jax.variables import make_state

        self.jax, self.optax, self.dtype, self.layers = jax, optax, dtype, layers
        options = {"xla_backend_optimization_level": 0}  # compiles ten times as fast
        self.jit = partial(jax.jit, compiler_options=options)
        self.make_state = make_state

    @contextlib.contextmanager
    def context(self):
        before = self.jax.config.jax_enable_x64
        self.jax.config.update("jax_enable_x64", self.dtype == "float64")
        yield
        self.jax.config.update("jax_enable_x64", before)

    def batch(self, X, y):
        array = self.jax.numpy.asarray
        return array(X.transpose(0, 2, 3, 1), self.dtype), array(y)

    def loaded(self, model, load):
        variables = self.jax.tree.map(lambda w: w.astype(self.dtype), load(model))
        return model.bind(variables)

    def learn(self, model, batch):
        (module, variables), (X, y) = model.unbind(), batch
        module, params = module.clone(training=True), variables["params"]
        optimizer = module.configure_optimizers()
        key = self.jax.random.PRNGKey(0)
        state = self.make_state(module, variables, optimizer, key)

        def loss(params):
            return module.loss(params, (X,), y, state)

        run = self.jit(self.jax.value_and_grad(loss, has_aux=True))
        (loss, aux), gradients = run(params)
        changed = {k: v for k, v in aux.items() if k == "batch_stats"}
        updates, _ = optimizer.update(gradients, optimizer.init(params), params)
        after = {**changed, "params": self.optax.apply_updates(params, updates)}
        gradients = {"params": gradients}
        stored = inference.stored(model, model._input_shape, gradients)
        return loss.item(), stored, after


ADAPTERS = {"pytorch": PyTorch, "mxnet": MXNet, "tensorflow": TensorFlow, "jax": JAX}


def adapter(framework, dtype="float32"):
    """What a model of this framework needs, with the hooks of its folder."""
    layers = import_module(f"{FRAMEWORKS[framework].here}.layers")
    return ADAPTERS[framework](dtype, layers)


# Measuring ----------------------------------------------------------------------


_loaded = functools.cache(cells.load)  # a section's cells take seconds


def find_model(section, framework, name, replace=None):
    """What makes the model of that name: a class, or one of the section's variants."""
    namespace = _loaded(section, framework, replace)
    return namespace.get("variants", {}).get(name) or namespace[name]


def new_model(Model, **settings):
    """An instance that trains without dropout and, by default, without momentum."""
    there = inspect.signature(getattr(Model, "func", Model).__init__).parameters
    settings = {"lr": LR, "momentum": 0, "dropout": 0.0, **settings}
    return Model(**{k: v for k, v in settings.items() if k in there})


def measure(framework, case, path, dtype="float32", replace=None, parts=PARTS):
    """All that is compared of one framework and case, as {name: array}.

    case: (section, class, image size); path: the weights; parts: what is measured
    beside activations and logits: "gradients", with the loss, and "update". For
    tests: replace, (old, new), puts an error into the model's source.
    """
    section, cls, size = case
    d2l = import_module(FRAMEWORKS[framework].here)
    side = adapter(framework, dtype)
    layers = side.layers
    Model = find_model(section, framework, cls, replace)
    X_all, y = images(size)
    public = dtype == "float32" and bool(parts)

    def loaded():
        return side.loaded(new_model(Model), lambda m: d2l.load_weights(m, path))

    with side.context():
        model = loaded()
        if public:
            outputs = d2l.activations(model, X_all)
            logits = d2l.predict(model, X_all)
        else:
            outputs = layers.outputs(model, X_all.astype(dtype))
            logits = outputs[-1]
        result = {f"activation/{i}": a[:-1] for i, a in enumerate(outputs)}
        result |= {"logits": logits[:-1], "other": logits[-1:]}
        if not parts:
            return result

        batch = side.batch(X_all[:-1], y)
        learned = {}
        if not public or "gradients" in parts:
            loss, gradients, variables = side.learn(model, batch)
            learned = {f"gradient/{name}": g for name, g in gradients.items()}
            learned["loss"] = np.array(loss)
            after = inference.stored(model, model._input_shape, variables)
        if public and "update" in parts:
            trained = loaded() if learned else model  # which took no step yet
            trained.board.display = False
            trainer = d2l.Trainer(max_epochs=1, num_gpus=0, precision="float32")
            trainer.fit(trained, Batches([batch]))
            after = inference.stored(trained, trained._input_shape)
        before = weights.read(path)[0]
        if framework == "pytorch":
            side.as_others(model, before, after)
    result |= learned
    for name, w in after.items():  # running means and variances among them
        if name.endswith(weights.BATCHES):  # which other frameworks do not count
            continue
        result[f"update/{name}"] = w.astype(np.float64) - before[name]
    return result


def rule_of(section):
    """The name of the initializer that a section's networks start with."""
    return "init_he" if section.endswith("_exercises") else "init_cnn"


def started(framework, case, rule, **settings):
    """(model, JAX's variables or None), a new network that starts by a rule."""
    section, cls, size = case
    d2l, X = import_module(FRAMEWORKS[framework].here), images(size)[0][:1]
    X = adapter(framework).batch(X, np.zeros(1, np.int32))[0]
    if framework != "jax":
        model = new_model(find_model(section, framework, cls), **settings)
        model.apply_init([X], getattr(d2l, rule))
        return model, None
    # In Flax, layers are given their initializer: it is replaced in the source.
    written = {"init_he": "nn.initializers.he_normal()", "init_cnn": "d2l.init_cnn"}
    replace = written[rule_of(section)], f"d2l.{rule}"
    model = new_model(find_model(section, framework, cls, replace), **settings)
    return model, model.apply_init((X,), d2l.get_key())


def losses(framework, case):
    """The loss of each training step from the same start, without dropout."""
    d2l, side = import_module(FRAMEWORKS[framework].here), adapter(framework)
    d2l.set_seed(1)
    settings = {"lr": TRAINED[case], "momentum": 0.9}
    model, variables = started(framework, case, "init_he", **settings)
    model = model if variables is None else model.bind(variables)
    model.board.display = False
    split = sources.load_sample().train
    X = data.images_to_float(split.images[:NUM_TRAINED])[:, None]
    batch = side.batch(X, split.labels[:NUM_TRAINED].astype(np.int32))
    trainer = d2l.Trainer(max_epochs=1, precision="float32")
    trainer._prepare(model, Batches([batch] * STEPS))
    return [float(trainer.train_step(batch)["loss"]) for _ in range(STEPS)]


def starts(framework, cases):
    """What new networks, made one after the other, start from, and how two go on.

    Returns {'start/<network>/<name>': weights, 'losses/<network>': of its steps}.
    """
    d2l = import_module(FRAMEWORKS[framework].here)
    d2l.set_seed(1)  # once: they are made one after the other
    found = {}
    for case in cases:
        model, variables = started(framework, case, rule_of(case[0]))
        stored = inference.stored(model, model._input_shape, variables)
        for name, w in stored.items():
            if not name.endswith(weights.BATCHES):
                found[f"start/{case[1]}/{name}"] = w
    for case in TRAINED:
        found[f"losses/{case[1]}"] = np.array(losses(framework, case))
    return found


def make_weights(case, path):
    """Write the test weights of a case; PyTorch tells the names and shapes."""
    section, cls, size = case
    d2l = import_module("d2l_utils.torch")
    model = new_model(find_model(section, "pytorch", cls))
    d2l.resources(model, (1, 1, size, size))  # builds it
    d2l.save_weights(model, path)
    stored = weights.read(path)[0].items()
    made = {k: v.shape for k, v in stored if not k.endswith(weights.BATCHES)}
    made = made_weights(made)
    about = {"model": cls, "input_shape": (1, size, size), "num_classes": 10}
    weights.write(path, made, **about)
    logits = d2l.predict(d2l.load_weights(model, path), images(size)[0])
    if (largest := np.abs(logits).max()) > LARGEST_LOGIT:  # many branches add up
        for name in [k for k in made if k.startswith("dense")][-2:]:  # the head
            made[name] *= LARGEST_LOGIT / 2 / largest
        weights.write(path, made, **about)


def carry(framework, folder):
    """Trained weights: loaded, used on validation images, and saved again.

    Returns {'logits', 'saved/<name>'}, as `measure` does.
    """
    d2l = import_module(FRAMEWORKS[framework].here)
    model = cells.load("nin", framework)["NiN28"]()
    loaded = d2l.load_weights(model, weights.stored_path("nin28_56"))
    model = model.bind(loaded) if framework == "jax" else loaded
    R = data.resize_matrix(28, 56)
    val = sources.load_fashion_mnist().val.images[:NUM_CARRIED]
    X = R @ data.images_to_float(val)[:, None] @ R.T
    result = {"logits": d2l.predict(model, X)}
    path = folder / f"carried.{framework}.safetensors"
    d2l.save_weights(model, path)
    return result | {f"saved/{k}": w for k, w in weights.read(path)[0].items()}
