"""One contender in a process of its own, that works when it is told to.

`python contender.py JSON` prepares a training (or a data loader), says so in one
line of JSON, and then does one round for each line it reads, answering with the
seconds. So several contenders are alive at once and take turns on the machine.

It also runs in the environments of the textbook's package and imports nothing of
this project but, for the contenders of today, d2l_utils. Data and models come in
files: images as .npy, model cells as Python.
"""

import json
import sys
import time
from importlib import import_module
from types import MethodType, SimpleNamespace

import numpy as np


def main(task):
    started = time.perf_counter()
    train, val = ([np.load(path) for path in paths] for paths in task["arrays"])
    if task["who"] == "d2l":
        prepare_d2l(task["framework"], train, val)
    module = import_module(f"{task['package']}.{task['module']}")
    if task["who"] == "d2l" and task["framework"] == "jax":
        module.init_cnn = module.nn.initializers.glorot_uniform()
    if task["what"] == "accuracy" and task["framework"] == "jax":
        module.init_cnn = lambda key, shape, *_: he_weights(task["seed"], shape)
    names = {"__name__": "models"}
    with open(task["source"], encoding="utf-8") as file:
        exec(compile(file.read(), task["source"], "exec"), names)
    if task["who"] != "d2l":
        module.set_seed(task["seed"])
    size = (task["size"], task["size"])
    data = module.FashionMNIST(batch_size=task["batch_size"], resize=size)
    if task["who"] != "d2l":
        data.train, data.val = type(data.train)(*train), type(data.val)(*val)
    if task["what"] == "data":
        serve(task, SimpleNamespace(round=lambda: load(data)), started)
        return
    if task["who"] in ("ours", "d2l"):
        train_with_trainer(task, module, model_of(task, names), data, started)
    else:
        batches = list(data.get_dataloader(train=True))
        build = globals()[f"{task['who']}_{task['framework']}"]
        serve(task, build(task, model_of(task, names), batches), started)


def model_of(task, names):
    model_class = with_momentum(task["framework"], names[task["network"]])
    model_class = in_form(task["framework"], model_class, task.get("form"))
    settings = {"lr": task["lr"], **task["settings"]}
    if task["framework"] == "jax" and task["who"] != "ours":
        settings["training"] = True
    model = model_class(**settings)
    if task["what"] == "accuracy":
        start_from_he_weights(task["framework"], task["seed"], model)
    return model


def in_form(framework, model_class, form):
    """The model with a method as a reader writes it, which does what ours does.

    A training_step allows that it is compiled, where the framework compiles steps.
    """

    class Own(model_class):
        pass

    if form == "forward":
        name = "call" if framework == "tensorflow" else "forward"
        setattr(Own, name, lambda self, X: self.net(X))
    elif form == "loss":

        def loss(self, *args, **kwargs):
            return super(Own, self).loss(*args, **kwargs)

        Own.loss = loss
    elif form == "training_step":

        def training_step(self, *args):
            return super(Own, self).training_step(*args)

        if framework == "tensorflow":
            import tensorflow as tf

            training_step = tf.function(training_step)
        elif framework == "jax":
            import functools

            import jax

            training_step = functools.partial(jax.jit, static_argnums=0)(training_step)
        Own.training_step = training_step
    return Own if form else model_class


def he_weights(seed, shape):
    """A convolution's first weights, by its shape (height, width, in, out).

    The same in every framework and both packages. Drawn by He's rule, as in the
    exercises: with Glorot's, NiN28's loss stays at ln 10 for long. With either, some
    seeds leave classes dead from the start.
    """
    scale = (2 / np.prod(shape[:3])) ** 0.5
    draws = np.random.default_rng([seed, *shape]).normal(0, scale, shape)
    return draws.astype("float32")


def start_from_he_weights(framework, seed, model):
    """Set these weights in a model; in JAX `init_cnn` gives them, see `main`."""

    def outer_first(shape):
        out, channels, *kernel = shape
        return he_weights(seed, (*kernel, channels, out)).transpose(3, 2, 0, 1)

    if framework == "pytorch":
        import torch

        def init_cnn(module):
            if isinstance(module, torch.nn.Conv2d):
                weights = torch.tensor(outer_first(module.weight.shape))
                module.weight.data.copy_(weights)
                torch.nn.init.zeros_(module.bias)

        model.init_cnn = init_cnn
    if framework == "mxnet":
        from mxnet import init

        class He(init.Initializer):
            def _init_weight(self, name, weights):
                weights[:] = outer_first(weights.shape)

        model.net.initialize(He(), force_reinit=True)
    if framework == "tensorflow":
        import tensorflow as tf

        layers = [model.net]
        for layer in layers:
            layers += getattr(layer, "layers", [])
            if isinstance(layer, tf.keras.layers.Conv2D):
                layer.kernel_initializer = lambda shape, **_: he_weights(seed, shape)


def with_momentum(framework, model_class):
    """The model with an optimizer that d2l's `configure_optimizers` does not offer."""

    class Model(model_class):
        def configure_optimizers(self):
            if framework == "pytorch":
                import torch

                return torch.optim.SGD(self.parameters(), self.lr, momentum=0.9)
            if framework == "mxnet":
                from mxnet import gluon

                settings = {"learning_rate": self.lr, "momentum": 0.9}
                return gluon.Trainer(self.collect_params(), "sgd", settings)
            if framework == "tensorflow":
                import tensorflow as tf

                return tf.keras.optimizers.SGD(self.lr, momentum=0.9)
            import optax

            return optax.sgd(self.lr, 0.9)

    return Model


def serve(task, contender, started):
    """Warm up, then answer the lines that come in."""
    start_bytes = peak_bytes()
    if task["what"] != "accuracy":  # there every epoch counts
        contender.round()
    answer(ready=time.perf_counter() - started, start_bytes=start_bytes)
    for line in sys.stdin:
        if line.strip() == "stop":
            break
        start = time.perf_counter()
        result = getattr(contender, line.strip())()
        answer(seconds=time.perf_counter() - start, result=result)
    answer(peak=peak_bytes())


def peak_bytes():
    import resource  # not on Windows, where the rest can still be imported

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def answer(**values):
    print("\n" + json.dumps({"contender": values}), flush=True)


def load(data):
    """One pass over the batches as float32 tensors."""
    for X, _ in data.get_dataloader(train=True):
        last = X
    np.asarray(last.asnumpy() if hasattr(last, "asnumpy") else last)


# Ours and the textbook's ---------------------------------------------------------


def train_with_trainer(task, d2l, model, data, started):
    """Rounds are epochs: of our Trainer, prepared as in `fit`; of d2l, within `fit`."""
    settings = {}
    if task["who"] == "ours":
        settings["precision"] = task["precision"]
    trainer = d2l.Trainer(max_epochs=1, **settings)
    if task["what"] == "training" and task["who"] == "d2l":
        data.val_dataloader = lambda: None
    model.board.display = task["who"] == "d2l"  # d2l draws every point
    fit_epoch = trainer.fit_epoch

    def epoch():
        before = trainer.train_batch_idx
        fit_epoch()
        finish(task["framework"], trainer)
        if trainer.train_batch_idx != before + trainer.num_train_batches:
            raise RuntimeError("A round must train on every batch once.")
        if task["what"] == "accuracy":
            return float(model.board.data["val_acc"][-1][1])
        return None

    def bare():
        """The compiled step alone, without the loop around it."""
        for batch in trainer.batches(train=True):
            trainer._train(batch)
            trainer.train_batch_idx += 1
        finish(task["framework"], trainer)

    contender = SimpleNamespace(round=epoch, bare=bare)
    if hasattr(model, "apply_init") and task["framework"] == "pytorch":
        init_cnn = getattr(model, "init_cnn", d2l.init_cnn)
        model.apply_init([next(iter(data.get_dataloader(True)))[0]], init_cnn)
    if task["who"] == "ours":
        trainer._prepare(model, data)
        if task["what"] == "training":
            trainer.num_val_batches = 0  # replacing val_dataloader changes the plan
        serve(task, contender, started)
    else:
        trainer.fit_epoch = MethodType(
            lambda self: serve(task, contender, started), trainer
        )
        trainer.fit(model, data)


def finish(framework, trainer):
    """Wait until everything is computed."""
    if framework == "mxnet":
        import mxnet

        mxnet.nd.waitall()
    if framework == "jax":
        import jax

        jax.block_until_ready(trainer.state.params)


def prepare_d2l(framework, train, val):
    """Let d2l 1.0.3 find the data without a network, and start at all."""
    stored = {True: train, False: val}
    if framework == "pytorch":
        import torch
        import torchvision

        class Stored(torchvision.datasets.FashionMNIST):
            def __init__(self, root, train, transform, download):
                self.data, self.targets = map(torch.tensor, stored[train])
                self.transform, self.target_transform = transform, None

        torchvision.datasets.FashionMNIST = Stored
    elif framework == "mxnet":
        from mxnet import gluon, npx
        from mxnet import np as mxnp

        npx.set_np()

        def get_data(self):
            images, self._label = stored[self._train]
            self._data = mxnp.array(images[..., None], dtype="uint8")

        gluon.data.vision.FashionMNIST._get_data = get_data
    else:
        import tensorflow as tf

        tf.keras.datasets.fashion_mnist.load_data = lambda: (train, val)
    if framework == "jax":
        import jax

        jax.random.PRNGKeyArray = jax.Array


# What one would write by hand, on batches that are ready --------------------------


def native_pytorch(task, model, batches):
    import torch
    from torch.nn import functional as F

    model.apply_init([batches[0][0]])
    optimizer = torch.optim.SGD(model.net.parameters(), lr=0.01)
    model.train()

    def epoch():
        for X, y in batches:
            loss = F.cross_entropy(model.net(X), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return SimpleNamespace(round=epoch)


def native_mxnet(task, model, batches):
    from mxnet import autograd, gluon, npx

    net, loss = model.net, gluon.loss.SoftmaxCrossEntropyLoss()
    optimizer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.01})

    def epoch():
        for X, y in batches:
            with autograd.record():
                l = loss(net(X), y)
            l.backward()
            optimizer.step(len(y))
        npx.waitall()

    return SimpleNamespace(round=epoch)


def native_tensorflow(task, model, batches):
    import tensorflow as tf

    net, optimizer = model.net, tf.keras.optimizers.SGD(0.01)
    cross_entropy = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    net(batches[0][0][:1])
    optimizer.build(net.trainable_variables)

    @tf.function
    def step(X, y):
        with tf.GradientTape() as tape:
            loss = cross_entropy(y, net(X, training=True))
        gradients = tape.gradient(loss, net.trainable_variables)
        optimizer.apply_gradients(zip(gradients, net.trainable_variables))
        return loss

    def epoch():
        for X, y in batches:
            loss = step(X, y)
        loss.numpy()

    return SimpleNamespace(round=epoch)


def model_fit_tensorflow(task, model, batches):
    import tensorflow as tf

    if task["bfloat16"]:  # what ours computes in here
        tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
        model = type(model)(lr=0.01)
    net = model.net
    net.compile(
        optimizer=tf.keras.optimizers.SGD(0.01),
        loss=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    X, y = (tf.concat(parts, 0) for parts in zip(*batches))

    def epoch():
        net.fit(X, y, batch_size=task["batch_size"], verbose=0)

    return SimpleNamespace(round=epoch)


def native_jax(task, model, batches):
    import jax
    import optax

    optimizer = optax.sgd(0.01)
    state = SimpleNamespace()
    state.params = jax.jit(model.init)(
        {"params": jax.random.PRNGKey(0), "dropout": jax.random.PRNGKey(1)},
        batches[0][0][:1],
    )["params"]
    state.optimizer, state.key = optimizer.init(state.params), jax.random.PRNGKey(2)

    @jax.jit
    def step(params, opt_state, key, X, y):
        def loss(params):
            logits = model.apply({"params": params}, X, rngs={"dropout": key})
            return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

        gradients = jax.grad(loss)(params)
        updates, opt_state = optimizer.update(gradients, opt_state)
        params = optax.apply_updates(params, updates)
        return params, opt_state, jax.random.split(key)[0]

    def epoch():
        for X, y in batches:
            state.params, state.optimizer, state.key = step(
                state.params, state.optimizer, state.key, X, y
            )
        jax.block_until_ready(state.params)

    return SimpleNamespace(round=epoch)


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
