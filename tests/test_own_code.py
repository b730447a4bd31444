"""Readers' own code around the Trainer, as a textbook's reader would type it."""

import copy
import pickle
import random
import threading
import types

import made_networks
import numpy as np
import pytest

from d2l_utils import training
from d2l_utils.failures import SlowTrainingWarning
from d2l_utils.figures import to_numpy


@pytest.fixture(autouse=True)
def numpy_mode(framework, d2l):
    """What every notebook for MXNet asks for in its first cell."""
    if framework == "mxnet":
        from mxnet import npx

        npx.set_np()


def fit(d2l, model, data=None, trainer=None, epochs=1):
    """A training of few steps in float32; returns its Trainer."""
    model.board.display = False
    trainer = trainer or d2l.Trainer(epochs, precision="float32")
    trainer.fit(model, data or d2l.FashionMNIST(batch_size=100))
    return trainer


# Models -----------------------------------------------------------------------------


@pytest.mark.only("pytorch")
def test_lazy_layers_beside_what_cannot_be_copied(framework, d2l, few, tmp_path):
    """Trials of a size leave lazy layers lazy, whatever else the model holds."""
    from torch import nn

    class Net(d2l.Classifier):
        def __init__(self, lr=0.05, num_classes=10):
            super().__init__()
            self.save_hyperparameters()
            self.writer = threading.Lock()
            self.net = nn.Sequential(
                nn.LazyConv2d(4, 9),
                nn.LazyBatchNorm2d(),
                nn.Flatten(),
                nn.LazyLinear(10),
            )

    model = Net()
    weight = model.net[3].weight
    with pytest.raises(ValueError, match="smallest that works is 9x9"):
        model.layer_summary((1, 1, 4, 4))
    lazy = [type(layer).__name__ for layer in model.net]
    assert lazy == ["LazyConv2d", "LazyBatchNorm2d", "Flatten", "LazyLinear"]
    assert d2l.resources(model, (1, 1, 12, 12)).params == 4 * 82 + 8 + 64 * 10 + 10
    assert model.net[3].weight is weight and type(model.net[3]) is nn.Linear
    d2l.save_weights(model, tmp_path / "w")
    with pytest.raises(ValueError, match="do not fit"):
        d2l.load_weights(d2l.LeNet(), tmp_path / "w")
    other = d2l.load_weights(Net(), tmp_path / "w")
    assert (other.net[3].weight == weight).all()
    fit(d2l, Net())


@pytest.mark.only("pytorch")
def test_weights_of_any_number_of_dimensions(framework, d2l, few):
    from torch import nn

    class Net(d2l.Classifier):
        def __init__(self, lr=0.05):
            super().__init__()
            self.save_hyperparameters()
            self.net = nn.Sequential(
                *(nn.Unflatten(1, (1, 1)), nn.LazyConv3d(2, (1, 3, 3), stride=2)),
                *(nn.Flatten(2), nn.LazyConv1d(3, 3), nn.Flatten(), nn.LazyLinear(10)),
            )

    assert fit(d2l, Net()).history["val_loss"][0] < 2.5


# The Trainer ------------------------------------------------------------------------


def train_step(framework):
    """A training step as a reader types it: (trainer, batch) -> None."""
    if framework == "pytorch":

        def step(trainer, batch):
            loss = trainer.model.training_step(batch)
            trainer.optim.zero_grad()
            loss.backward()
            trainer.optim.step()

    elif framework == "mxnet":
        from mxnet import autograd

        def step(trainer, batch):
            with autograd.record():
                loss = trainer.model.training_step(batch)
            loss.backward()
            trainer.optim.step(1)

    elif framework == "tensorflow":
        import tensorflow as tf

        def step(trainer, batch):
            with tf.GradientTape() as tape:
                loss = trainer.model.training_step(batch)
            variables = trainer.model.trainable_variables
            grads = tape.gradient(loss, variables)
            trainer.optim.apply_gradients(zip(grads, variables))

    else:

        def step(trainer, batch):
            state = trainer.state
            _, grads = trainer.model.training_step(state.params, batch, state)
            trainer.state = state.apply_gradients(grads=grads)

    return step


def begin_state(trainer, batch):
    """In JAX, what a `fit` of the reader's own makes for itself."""
    from typing import Any

    import jax
    from flax.training import train_state

    class TrainState(train_state.TrainState):
        batch_stats: Any
        dropout_rng: jax.Array

    model, key = trainer.model, jax.random.PRNGKey(0)
    variables = model.apply_init(batch[:-1], key={"params": key, "dropout": key})
    trainer.state = TrainState.create(
        apply_fn=model.apply,
        params=variables["params"],
        tx=trainer.optim,
        batch_stats={},
        dropout_rng=key,
    )


class Methods:
    """Methods of a Trainer as the textbook has them, typed in by a reader."""

    def __init__(self, max_epochs, num_gpus=0, gradient_clip_val=0):
        self.save_hyperparameters()
        self.gpus = []

    def prepare_data(self, data):
        self.train_dataloader = data.train_dataloader()
        self.val_dataloader = data.val_dataloader()
        self.num_train_batches = len(self.train_dataloader)
        self.num_val_batches = len(self.val_dataloader)

    def prepare_batch(self, batch):
        return list(batch)

    def prepare_model(self, model):
        model.trainer = self
        model.board.xlim = [0, self.max_epochs]
        self.model = model

    def fit(self, model, data):
        self.prepare_data(data)
        self.prepare_model(model)
        self.optim = model.configure_optimizers()
        if hasattr(model, "bind"):
            begin_state(self, next(iter(self.train_dataloader)))
        self.epoch = self.train_batch_idx = self.val_batch_idx = 0
        self.seen = []
        for self.epoch in range(self.max_epochs):  # noqa: B020
            self.fit_epoch()
            self.seen.append(self.epoch)

    def fit_epoch(self):
        for batch in self.train_dataloader:
            self.step(self.prepare_batch(batch))
            self.train_batch_idx += 1
        args = (self.state.params,) if hasattr(self.model, "bind") else ()
        more = (self.state,) if args else ()
        for batch in self.val_dataloader:
            self.model.validation_step(*args, self.prepare_batch(batch), *more)
            self.val_batch_idx += 1


TYPED_IN = {
    "init": ("__init__",),
    "6.7": ("__init__", "prepare_batch", "prepare_model"),
    "prepare": ("__init__", "prepare_batch", "prepare_model", "prepare_data"),
    "fit": ("fit",),
    "fit and prepare": ("fit", "prepare_batch", "prepare_model", "prepare_data"),
    "loop": ("fit", "fit_epoch"),
    "all": tuple(name for name in vars(Methods) if name[:3] != "__m"),
}


# Those that begin with the same weights and see the same batches.
SAME = {False: ("6.7", "prepare", "fit"), True: ("6.7", "prepare")}  # in JAX


def lenet(d2l, seed=0):
    return quiet(d2l, d2l.LeNet, seed)


def quiet(d2l, Class, seed=0):
    d2l.set_seed(seed)
    model = Class(lr=0.1)
    if hasattr(model, "initialize"):  # in MXNet, a model's author makes the weights
        model.initialize()
    model.board.display = False
    return model


def typed_in(framework, bases, names):
    own = {name: vars(Methods)[name] for name in names if name in vars(Methods)}
    return type("Own", bases, {**own, "step": train_step(framework)})


@pytest.fixture(scope="module")
def expected():
    """The curves of the library's own training, once it was made."""
    return {}


@pytest.mark.parametrize("case", TYPED_IN)
def test_a_trainer_in_part_or_wholly_typed_in(
    framework, d2l, Small, few, case, expected
):
    data = d2l.FashionMNIST(batch_size=100)
    Own = typed_in(framework, (d2l.Trainer,), TYPED_IN[case])
    for second in (False, True):  # a Trainer may be used again
        trainer = trainer if second else Own(max_epochs=2)  # noqa: F821
        model = quiet(d2l, Small)
        data.seed = 0
        trainer.fit(model, data)
        assert trainer.train_batch_idx == 8 and trainer.epoch == 1
        assert getattr(trainer, "seen", [0, 1]) == [0, 1]
        points = model.board.data
        assert [p.x for p in points["val_loss"]] == [1, 2]
        losses = [p.y for p in points["val_loss"]]
        assert losses[1] < losses[0] < 2.6
        trainer.fit_epoch()
        assert trainer.train_batch_idx == 12
        if "fit_epoch" not in TYPED_IN[case]:
            assert [p.x for p in points["val_loss"]] == [1, 2, 3]
            assert len(trainer.history["val_loss"]) == 3
        if case == "init":
            expected[framework] = losses
        elif case in SAME[framework == "jax"]:
            assert losses == pytest.approx(expected[framework], rel=1e-4)


def test_a_whole_trainer_typed_in(framework, d2l, Small, few):
    """It knows nothing of ours, and draws on the model's board all the same."""
    Own = typed_in(framework, (d2l.HyperParameters,), TYPED_IN["all"])
    trainer, model = Own(max_epochs=2), quiet(d2l, Small)
    trainer.fit(model, d2l.FashionMNIST(batch_size=100))
    points = model.board.data
    assert trainer.train_batch_idx == 8 and len(points["train_loss"]) == 4
    assert [p.x for p in points["val_acc"]] == [1, 2]
    assert points["val_loss"][1].y < points["val_loss"][0].y < 2.6


@pytest.mark.only("jax")
def test_a_train_state_of_flax_itself(framework, d2l, few):
    from flax.training.train_state import TrainState

    class Own(d2l.Trainer):
        def fit(self, model, data):
            self.prepare_data(data)
            self.prepare_model(model)
            self.optim = model.configure_optimizers()
            batch = next(iter(self.train_dataloader))
            self.first = model.apply_init(batch[:-1], jax_key())["params"]
            self.state = TrainState.create(
                apply_fn=model.apply, params=self.first, tx=self.optim
            )
            for self.epoch in range(self.max_epochs):  # noqa: B020
                self.fit_epoch()

    trainer, model = Own(2), lenet(d2l)
    trainer.fit(model, d2l.FashionMNIST(batch_size=100))
    moved = trainer.state.params["net"]["layers_0"]["kernel"]
    before = trainer.first["net"]["layers_0"]["kernel"]
    assert 0 < abs(moved - before).max() < 0.1  # it began with those weights
    assert trainer.history["val_loss"][1] < 2.5


def test_an_epoch_of_your_own_of_the_steps_of_ours(d2l, Small, few):
    """They are counted and recorded as in ours."""

    class Own(d2l.Trainer):
        def fit_epoch(self):
            for batch in self.batches(train=True):
                returned.append(float(self.train_step(batch)["loss"]))
            for batch in self.batches(train=False):
                self.val_step(batch)

    trainers, returned = [], []
    for Trainer in (Own, d2l.Trainer):
        d2l.set_seed(1)
        trainers.append(Trainer(2, precision="float32"))
        trainers[-1].fit(quiet(d2l, Small), d2l.FashionMNIST(batch_size=100))
    own, ours = trainers
    assert own.train_batch_idx == ours.train_batch_idx == 8
    assert own.train_images == ours.train_images
    assert own.model.board.data.keys() == ours.model.board.data.keys()
    means = np.reshape(returned, (2, 4)).mean(1)  # batches of the same size
    assert own.history["train_loss"] == pytest.approx(means)
    for key, values in own.history.items():
        assert values == pytest.approx(ours.history[key], rel=1e-4), key
    assert own.history.keys() == ours.history.keys() - {"seconds"}


def test_a_step_of_your_own_that_calls_ours_is_counted_once(d2l, Small, few):
    class Own(d2l.Trainer):
        steps = 0

        def train_step(self, batch):
            self.steps += 1
            return super().train_step(batch)

    found = []
    for Trainer in (Own, d2l.Trainer):
        d2l.set_seed(1)
        found.append(fit(d2l, Small(lr=0.1), epochs=2, trainer=Trainer(2)))
    own, ours = found
    assert own.steps == own.train_batch_idx == ours.train_batch_idx == 8
    assert own.train_images == ours.train_images
    assert str(own.plan) == str(ours.plan)
    assert own.history["train_loss"] == pytest.approx(ours.history["train_loss"])


@pytest.mark.only("pytorch")
def test_a_step_of_your_own_trains_the_model_in_training_mode(d2l, Small, few):
    modes = []

    class Own(d2l.Trainer):
        def train_step(self, batch):
            modes.append(self.model.training)
            X, y = self.prepare_batch(batch)
            self.optim.zero_grad()
            self.model.training_step((X, y)).backward()
            self.optim.step()

    trainer = fit(d2l, Small(lr=0.1), trainer=Own(2))
    assert modes == [True] * 8 and trainer.train_batch_idx == 8
    assert trainer.history["train_loss"][1] < trainer.history["train_loss"][0]
    assert trainer.plan.why_float32 == "train_step of your own"


def test_early_stopping(d2l, Small, few):
    class Early(d2l.Trainer):
        def fit_epoch(self):
            super().fit_epoch()
            assert (
                self.history["val_loss"][-1] == self.model.board.data["val_loss"][-1].y
            )
            if self.epoch == 1:
                self.max_epochs = self.epoch + 1

    trainer = Early(5)
    trainer.fit(quiet(d2l, Small), d2l.FashionMNIST(batch_size=100))
    assert trainer.epoch == 1 and len(trainer.history["seconds"]) == 2


def test_without_a_trainer_nothing_is_recorded(d2l):
    with pytest.raises(
        AttributeError, match="LeNet has no Trainer to record 'loss' for"
    ):
        d2l.LeNet().plot("loss", 1.0, train=True)


# Several outputs --------------------------------------------------------------------


def with_a_head(framework, d2l, kind):
    """A network that in training gives two outputs, the second of a head of its own."""
    make = getattr(made_networks, f"{framework}_layer")

    def pair(Y_hat, second):
        return {"main": Y_hat, "aux": second} if kind is dict else kind([Y_hat, second])

    def weighed(loss, outputs):
        if not isinstance(outputs, kind):
            return loss(outputs)
        first, second = outputs.values() if kind is dict else outputs
        return loss(first) + 0.3 * loss(second)

    if framework == "jax":
        from flax import linen as nn

        class Net(d2l.Classifier):
            lr: float = 0.1
            num_classes: int = 10
            training: bool = False

            def setup(self):
                self.net = nn.Sequential(
                    [nn.Conv(4, (8, 8), 4, 0), lambda X: X.reshape(len(X), -1)]
                    + [nn.Dense(10)]
                )
                self.aux = nn.Dense(10)

            def forward(self, X):
                conv, flatten, dense = self.net.layers
                H = flatten(conv(X))
                return pair(dense(H), self.aux(H)) if self.training else dense(H)

            def loss(self, params, X, Y, state, averaged=True):
                import optax

                outputs = state.apply_fn({"params": params}, *X)
                loss = optax.softmax_cross_entropy_with_integer_labels
                l = weighed(lambda Y_hat: loss(Y_hat, Y).mean(), outputs)
                return l, {"Y_hat": outputs}

        return Net

    class Net(d2l.Classifier):
        def __init__(self, lr=0.1, num_classes=10):
            super().__init__()
            self.save_hyperparameters()
            layers = ("conv", 4, 8, 4), ("flatten",), ("dense", 10)
            layers = [make(*x) for x in layers]
            self.net = made_networks.sequence(framework, layers)
            self.aux = make("dense", 10)

        def forward(self, X):
            conv, flatten, dense = getattr(self.net, "layers", self.net)
            H = flatten(conv(X))
            training = self.training if framework != "mxnet" else is_training()
            return pair(dense(H), self.aux(H)) if training else dense(H)

        def loss(self, Y_hat, Y, averaged=True):
            return weighed(lambda Y_hat: super(Net, self).loss(Y_hat, Y), Y_hat)

    if framework == "mxnet":
        from mxnet.autograd import is_training
    return Net


PARAMETERS = (4 * 65) + 2 * (144 * 10 + 10)  # of both heads


@pytest.mark.parametrize("kind", [tuple, list, dict])
def test_outputs_for_training_alone(
    framework, d2l, layout, few, kind, tmp_path, capsys
):
    model = with_a_head(framework, d2l, kind)()
    model.layer_summary(layout(1, 1, 28, 28))
    assert len(capsys.readouterr().out.splitlines()) == 3
    shape = layout(1, 1, 28, 28)
    assert d2l.resources(model, shape).params == PARAMETERS
    history = fit(d2l, model, epochs=2).history
    assert "train_acc" not in history and len(history["val_acc"]) == 2
    # 1.3 losses, of which the first is also that of validation
    assert 1.1 < history["train_loss"][1] / history["val_loss"][1] < 1.5
    assert history["train_loss"][1] < history["train_loss"][0]
    scores = d2l.evaluate(model, d2l.FashionMNIST(batch_size=100))
    assert scores["loss"] == pytest.approx(history["val_loss"][1], rel=1e-4)
    assert d2l.predict(model, few.val.images[:3, None]).shape == (3, 10)


def test_an_accuracy_of_ones_own_for_several_outputs(framework, d2l, few):
    Base = with_a_head(framework, d2l, tuple)

    class Net(Base):
        def accuracy(self, *args, averaged=True):
            if framework != "jax":
                Y_hat, Y = args
                Y_hat = Y_hat[0] if isinstance(Y_hat, tuple) else Y_hat
                return super().accuracy(Y_hat, Y, averaged)
            params, X, Y, state = args
            Y_hat = state.apply_fn({"params": params}, *X)
            Y_hat = Y_hat[0] if isinstance(Y_hat, tuple) else Y_hat
            return (Y_hat.argmax(axis=1) == Y).mean()

    history = fit(d2l, Net()).history
    assert 0 < history["train_acc"][0] < 1


# Copies -----------------------------------------------------------------------------


def copied(framework, way, model, tmp_path):
    if way == "deepcopy":
        return copy.deepcopy(model)
    if way == "torch.save":
        import torch

        torch.save(model, tmp_path / "model")
        return torch.load(tmp_path / "model", weights_only=False)
    content = pickle.dumps(model)
    assert len(content) < 500_000  # 44,426 parameters, no images
    return pickle.loads(content)


@pytest.mark.parametrize("way", ["deepcopy", "pickle", "torch.save"])
def test_copies_of_a_trained_model(framework, d2l, few, way, tmp_path):
    if way == "torch.save" and framework != "pytorch":
        pytest.skip("is PyTorch's")
    model, X = lenet(d2l), few.val.images[:20, None]
    trainer = fit(d2l, model)
    other = copied(framework, way, model, tmp_path)
    assert type(other) is type(model) and other.trainer is None
    assert model.trainer is trainer and other.lr == 0.1
    assert other.board.data == model.board.data and not other.board.display
    before = d2l.predict(model, X)
    assert (d2l.predict(other, X) == before).all()
    d2l.save_weights(other, tmp_path / "w")
    fit(d2l, other)  # alone
    assert abs(d2l.predict(other, X) - before).max() > 1e-4
    assert (d2l.predict(model, X) == before).all()
    trainer.fit_epoch()  # and this one, too
    assert abs(d2l.predict(model, X) - before).max() > 1e-4


@pytest.mark.parametrize("name", ["LinearRegression", "LinearRegressionScratch"])
def test_copies_of_other_models(framework, d2l, name):
    args = (2,) if name == "LinearRegressionScratch" else ()
    w = d2l.tensor([2, -3.4]) if framework != "jax" else jnp().array([2, -3.4])
    data = d2l.SyntheticRegressionData(w=w, b=4.2)
    model = getattr(d2l, name)(*args, lr=0.03)
    trainer = fit(d2l, model, data)
    X, y = next(iter(data.val_dataloader()))

    def loss(model):
        if framework != "jax":
            return float(model.loss(model(X), y))
        from d2l_utils.jax.variables import make_state, variables_of

        variables = variables_of(model)
        state = make_state(model, variables, trainer.optim, jax_key())
        return float(model.loss(variables["params"], (X,), y, state))

    other = copy.deepcopy(model)
    assert loss(other) == pytest.approx(loss(model), rel=1e-6)
    fit(d2l, other, data)
    assert loss(other) < 0.5 * loss(model)


def jnp():
    from jax import numpy

    return numpy


def jax_key():
    from jax import random

    return random.PRNGKey(0)


@pytest.mark.only("mxnet", "tensorflow")
def test_a_model_changed_since_is_not_copied(framework, d2l, few):
    model = lenet(d2l)
    fit(d2l, model)
    if framework == "tensorflow":
        model.net.pop()
    else:
        model.net.add(made_networks.mxnet_layer("dense", 3))
        model.net[-1].initialize()
    with pytest.raises(TypeError, match="LeNet cannot be copied or pickled: it has"):
        copy.deepcopy(model)


# Weights after a loop of one's own ------------------------------------------------


def test_weights_of_a_model_that_was_only_called(framework, d2l, layout, few, tmp_path):
    X = few.val.images[:3].reshape(layout(3, 1, 28, 28)).astype("float32") / 255
    model, variables = lenet(d2l), None
    with pytest.raises(ValueError, match="not known what images this LeNet is for"):
        d2l.save_weights(model, tmp_path / "w")
    if framework == "pytorch":
        import torch

        Y = model.eval()(torch.as_tensor(X)).detach().numpy()
    elif framework == "mxnet":
        from mxnet import np

        model.initialize()
        Y = model(np.array(X)).asnumpy()
    elif framework == "tensorflow":
        Y = model(X).numpy()
    else:
        variables = model.init(jax_key(), X)
        Y = model.apply(variables, X)
    d2l.save_weights(model, tmp_path / "w", variables)
    other = lenet(d2l, seed=1)
    loaded = d2l.load_weights(other, tmp_path / "w")
    other = other.bind(loaded) if framework == "jax" else other
    assert abs(d2l.predict(other, few.val.images[:3, None]) - Y).max() < 1e-5


# Random numbers of NumPy's, and what is printed -----------------------------------


def drawing(Small, source):
    """A network whose images get noise in each call, and the list of the draws."""
    own, drawn = np.random.default_rng(), []
    draw = {
        "numpy": lambda: np.random.normal(0, 0.1),
        "python": lambda: random.gauss(0, 0.1),
        "generator": lambda: own.normal(0, 0.1),
        "printing": lambda: print("forward") or 0.0,
        "nothing": lambda: 0.0,
    }[source]

    def noisy(X):
        drawn.append(draw())
        return X + drawn[-1]

    class Noisy(Small):
        def forward(self, X):
            return super().forward(noisy(X))

    return Noisy, drawn


@pytest.mark.parametrize("source", ["numpy", "python", "generator", "nothing"])
def test_draws_in_forward_are_new_in_each_step(
    framework, d2l, Small, few, source, recwarn
):
    Noisy, drawn = drawing(Small, source)
    trainer = fit(d2l, Noisy(lr=0.1), epochs=3)
    said = [str(w.message) for w in recwarn if w.category is SlowTrainingWarning]
    if source == "nothing":
        assert not said and (framework == "pytorch" or len(drawn) < 30)
        return
    assert len(set(drawn)) >= 15
    if framework in ("tensorflow", "jax"):
        (text,) = said
        assert "forward of your own draws random numbers of NumPy's or Python's" in text
        assert not trainer.plan.compiled and "Frozen" in trainer.plan.why_uncompiled


@pytest.mark.only("tensorflow", "jax")
def test_what_forward_prints_is_said_to_be_printed_once(
    framework, d2l, Small, few, capsys
):
    Noisy, _ = drawing(Small, "printing")
    with pytest.warns(
        UserWarning, match=r"forward of your own prints\. It printed just now"
    ):
        trainer = fit(d2l, Noisy(lr=0.1), epochs=2)
    assert trainer.plan.compiled and "forward" in capsys.readouterr().out


@pytest.mark.only("mxnet")
def test_draws_in_a_compiled_block(framework, d2l, few):
    from mxnet.gluon import nn

    drawn = []

    class Noise(nn.HybridBlock):
        def hybrid_forward(self, F, X):
            drawn.append(float(np.random.normal(0, 0.1)))
            return X + drawn[-1]

    class Net(d2l.LeNet):
        def __init__(self, lr=0.1):
            super().__init__(lr)
            self.net.add(Noise())

    with pytest.warns(SlowTrainingWarning, match="draws random numbers"):
        fit(d2l, Net(), epochs=2)
    assert len(set(drawn)) >= 8


# Numbers in attributes ----------------------------------------------------------------


def kernel(model):
    """The first weight of a network."""
    first = model.weights[0] if hasattr(model, "weights") else None
    if first is None:
        first = next(iter(model.collect_params().values())).data()
    return np.array(first.asnumpy() if hasattr(first, "asnumpy") else first)


def scaled(framework, Small):
    """A network whose last layer multiplies by a number in its attribute `by`."""
    if framework == "tensorflow":
        import tensorflow as tf

        class Scale(tf.keras.layers.Layer):
            def __init__(self):
                super().__init__()
                self.by, self.seen = 1.0, 0

            def call(self, X):
                self.seen += self.counts
                return X * (1.0 if self.by is None else self.by)

    else:
        from mxnet.gluon import nn

        class Scale(nn.HybridBlock):
            def __init__(self):
                super().__init__()
                self.by, self.seen = 1.0, 0

            def hybrid_forward(self, F, X):
                self.seen += self.counts
                return X * (1.0 if self.by is None else self.by)

    class Scaled(Small):
        def __init__(self, counts=0, **kwargs):
            super().__init__(**kwargs)
            self.scale = Scale()
            self.scale.counts = counts
            self.net.add(self.scale)

    return Scaled


@pytest.mark.only("mxnet", "tensorflow")
def test_numbers_that_change_between_epochs(framework, d2l, Small, few):
    """A step that was compiled before does not go on with the old ones."""

    class Fading(d2l.Trainer):
        def fit_epoch(self):
            self.model.scale.by = 0.0 if self.epochs_done else 1.0
            super().fit_epoch()

    class Clipping(d2l.Trainer):
        def fit_epoch(self):
            self.gradient_clip_val = 1e-12 if self.epochs_done else 1e3
            super().fit_epoch()

    found = []
    for trainer in (Fading(1), Fading(2), Clipping(2)):
        trainer.precision = "float32"
        d2l.set_seed(1)
        model = scaled(framework, Small)(lr=0.1)
        fit(d2l, model, trainer=trainer)
        assert trainer.plan.compiled
        found.append(kernel(model))
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], atol=1e-6)


@pytest.mark.only("mxnet", "tensorflow")
def test_steps_of_a_usual_network_are_compiled_once(framework, d2l, Small, few):
    """Nothing that layers note of themselves looks like a number that has changed."""
    make = getattr(made_networks, f"{framework}_layer")

    class Usual(Small):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            for layer in (make("dropout", 0.5), make("dense", 10)):
                self.net.add(layer)

    trainer = d2l.Trainer(3, precision="float32", gradient_clip_val=1.0)
    fit(d2l, Usual(lr=0.1), trainer=trainer)
    assert trainer.plan.compiled and trainer._renewals == 0


@pytest.mark.only("tensorflow")
def test_steps_that_are_compiled_again_and_again_are_named(framework, d2l, Small, few):
    class Fading(d2l.Trainer):
        def fit_epoch(self):
            self.model.scale.by = 0.5**self.epochs_done
            super().fit_epoch()

    trainer, model = Fading(4, precision="float32"), scaled(framework, Small)(lr=0.1)
    with pytest.warns(SlowTrainingWarning, match=r"by has changed") as caught:
        fit(d2l, model, trainer=trainer)
    assert len(caught) == 1 and trainer.plan.compiled


@pytest.mark.only("mxnet")
def test_gradients_that_nothing_sets_to_zero_are_named(framework, d2l, Small, few):
    model = Small(lr=0.1)
    next(iter(model.parameters().values())).grad_req = "add"
    with pytest.raises(TypeError, match=r"weight are summed over all steps"):
        fit(d2l, model)


@pytest.mark.only("jax")
def test_statistics_that_nothing_updates_are_named(framework, d2l, few):
    from flax import linen as nn
    from jax import numpy as jnp

    class Own(d2l.Module):
        lr: float = 0.1
        training: bool = False

        def setup(self):
            self.norm, self.dense = nn.BatchNorm(), nn.Dense(1)

        def forward(self, X):
            X = X.reshape(len(X), -1)
            return self.dense(self.norm(X, use_running_average=not self.training))

        def loss(self, params, X, Y, state):
            variables = {"params": params, "batch_stats": state.batch_stats}
            y_hat, _ = state.apply_fn(variables, *X, mutable=["batch_stats"])
            return jnp.mean((y_hat[:, 0] - Y) ** 2)

    with pytest.warns(UserWarning, match="Own has batch normalization.* stay as they"):
        fit(d2l, Own())


@pytest.mark.only("mxnet", "tensorflow")
def test_numbers_that_a_step_changes(framework, d2l, Small, few):
    """A counter in a compiled step would stay; so the step is not compiled."""
    model = scaled(framework, Small)(counts=1, lr=0.1)
    with pytest.warns(SlowTrainingWarning, match=r"Frozen: .*seen"):
        trainer = fit(d2l, model, epochs=3)
    assert not trainer.plan.compiled and model.scale.seen >= 15


@pytest.mark.only("tensorflow")
def test_a_statistic_that_is_a_tensor(framework, d2l, Small, few):
    import tensorflow as tf

    class Centred(tf.keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.mean, self.kept = tf.zeros(()), None

        def call(self, X, training=False):
            if training:
                self.mean = self.mean + 1.0
            self.kept = X  # an output to be looked at
            return X

    class Net(Small):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.layer = Centred()
            self.net.add(self.layer)

    model = Net(lr=0.1)
    with pytest.warns(SlowTrainingWarning, match=r"tensor centred.*\.mean"):
        fit(d2l, model, epochs=2)
    assert float(model.layer.mean) == 8  # 4 steps an epoch


@pytest.mark.only("mxnet")
def test_parameters_that_gluon_does_not_collect(framework, d2l, few, tmp_path):
    """Those in attributes alone are trained, counted and saved all the same."""
    from mxnet import gluon, init
    from mxnet import np as mnp

    class Net(d2l.Classifier):
        def __init__(self, lr=0.1):
            super().__init__()
            self.lr = lr
            self.w = gluon.Parameter("w", shape=(784, 10), init=init.One())
            self.w.initialize()

        def forward(self, X):
            return mnp.dot(X.reshape(len(X), -1), self.w.data())

    model = Net()
    fit(d2l, model)
    assert (model.w.data().asnumpy() != 1).any()
    assert d2l.resources(model, (1, 1, 28, 28)).params == 7840
    d2l.save_weights(model, tmp_path / "w")
    again = d2l.load_weights(Net(), tmp_path / "w")
    np.testing.assert_array_equal(again.w.data().asnumpy(), model.w.data().asnumpy())


@pytest.mark.only("mxnet")
def test_inputs_of_another_type_are_named(framework, d2l):
    class Data(d2l.DataModule):
        def get_dataloader(self, train):
            return [(np.ones((4, 3), "int64"), np.ones((4, 1), "float32"))]

    class Plain(d2l.Module):
        def __init__(self):
            super().__init__()
            self.lr, self.net = 0.1, made_networks.mxnet_layer("dense", 1)

        def loss(self, Y_hat, Y):
            return ((Y_hat - Y) ** 2).mean()

    with pytest.raises(ValueError, match=r"of int64 and .* take float32.*Incompatible"):
        fit(d2l, Plain(), Data())


@pytest.mark.only("tensorflow")
def test_variables_that_keras_does_not_know_are_named(framework, d2l, Small, few):
    import tensorflow as tf

    class Scale(tf.keras.layers.Layer):
        def __init__(self, trainable):
            super().__init__()
            self.by = tf.Variable(1.0, trainable=trainable)

        def call(self, X):
            return X * tf.cast(self.by, X.dtype)

    class Net(Small):
        def __init__(self, known, **kwargs):
            super().__init__(**kwargs)
            self.net.add(Scale(not known))

    fit(d2l, Net(True, lr=0.1))
    with pytest.warns(UserWarning, match=r"scale.*\.by of Net is not trained"):
        fit(d2l, Net(False, lr=0.1))

    class Bare(d2l.Module):
        lr = 0.1

        def forward(self, X):
            return X

        def loss(self, Y_hat, Y):
            return tf.reduce_mean(Y_hat)

    with pytest.raises(ValueError, match="Bare has no weights that Keras could train"):
        fit(d2l, Bare())


# What Keras adds to a loss ------------------------------------------------------------


@pytest.mark.only("tensorflow")
@pytest.mark.parametrize("added", ["regularizer", "add_loss", "by hand"])
def test_losses_of_layers_are_trained(framework, d2l, few, added):
    """Weights whose data give no gradient shrink by their regularizer alone, once."""
    import tensorflow as tf

    class Shrinking(tf.keras.layers.Layer):
        def build(self, shape):
            by = None if added == "add_loss" else tf.keras.regularizers.L2(0.5)
            self.w = self.add_weight(shape=(3,), initializer="ones", regularizer=by)

        def call(self, X):
            if added == "add_loss":
                self.add_loss(0.5 * tf.reduce_sum(self.w**2))
            return tf.reduce_sum(X) * 0.0 + 0.0 * tf.reduce_sum(self.w)

    class Net(d2l.Module):
        def __init__(self, lr=0.1):
            super().__init__()
            self.lr, self.net = lr, Shrinking()

        def loss(self, Y_hat, Y):
            return Y_hat + (sum(self.net.losses) if added == "by hand" else 0.0)

    model = Net()
    fit(d2l, model, epochs=2)
    np.testing.assert_allclose(model.net.w.numpy(), 0.9**8, rtol=1e-5)


@pytest.mark.only("tensorflow")
@pytest.mark.parametrize("clip", [0, 0.1])
def test_an_optimizer_that_scales_the_loss(framework, d2l, Small, few, clip):
    from tensorflow.keras import optimizers

    makers = (
        lambda: optimizers.SGD(0.1),
        lambda: optimizers.SGD(0.1, loss_scale_factor=64.0),
        lambda: optimizers.LossScaleOptimizer(optimizers.SGD(0.1)),
    )
    found = []
    for make in makers:

        class Net(Small):
            def configure_optimizers(self, make=make):
                return make()

        d2l.set_seed(1)
        model = Net(lr=0.1)
        trainer = d2l.Trainer(1, precision="float32", gradient_clip_val=clip)
        fit(d2l, model, trainer=trainer)
        found.append(kernel(model))
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], rtol=1e-4, atol=1e-7)


# Several inputs, other results --------------------------------------------------------


@pytest.mark.filterwarnings("ignore::d2l_utils.failures.SlowTrainingWarning")
@pytest.mark.only("mxnet", "tensorflow")
def test_a_loss_for_each_example_is_named(framework, d2l, Small, few):
    class Each(Small):
        def loss(self, Y_hat, Y, averaged=True):
            return super().loss(Y_hat, Y, averaged=False)

    class Own(Each):
        def training_step(self, batch):
            l = self.loss(self(batch[0]), batch[-1])
            self.plot("loss", l.mean() if framework == "mxnet" else l[0], train=True)
            return l

    for Class, words in ((Each, "plot"), (Own, "training_step of Own")):
        with pytest.raises(TypeError, match=rf"{words}.* shape \(100,\)"):
            fit(d2l, Class(lr=0.1))


@pytest.mark.only("mxnet", "tensorflow")
def test_evaluate_calls_what_the_training_calls(framework, d2l, Small, few):
    class Brighter(d2l.Trainer):
        def prepare_batch(self, batch):
            X, y = super().prepare_batch(batch)
            return 3 * X, y

    model, trainer = Small(lr=0.1), Brighter(1, precision="float32")
    fit(d2l, model, trainer=trainer)
    found = d2l.evaluate(model, d2l.FashionMNIST(batch_size=100))
    assert abs(found["loss"] - trainer.history["val_loss"][-1]) < 1e-5


def two_inputs(framework, d2l):
    """A regression on two arrays, and data for it."""
    make = getattr(made_networks, f"{framework}_layer")
    x = np.random.default_rng(0).normal(size=(10, 3)).astype("float32")

    class Sum(d2l.Module):
        def __init__(self, lr=0.1):
            super().__init__()
            self.lr, self.one, self.other = lr, make("dense", 1), make("dense", 1)

        def forward(self, X, Z):
            return self.one(X) + self.other(Z)

        def loss(self, Y_hat, Y):
            return ((Y_hat - Y) ** 2).mean() if framework == "mxnet" else mean(Y_hat, Y)

    def mean(Y_hat, Y):
        import tensorflow as tf

        return tf.reduce_mean((Y_hat - Y) ** 2)

    class Data(d2l.DataModule):
        def get_dataloader(self, train):
            return [
                (x[i : i + 4], 2 * x[i : i + 4], x[i : i + 4, :1]) for i in (0, 4, 8)
            ]

    return Sum, Data, x


@pytest.mark.only("mxnet", "tensorflow")
def test_a_regression_on_two_inputs(framework, d2l):
    """A `forward` of two inputs; `evaluate` without an accuracy; a copy."""
    Sum, Data, x = two_inputs(framework, d2l)
    model = Sum()
    trainer = fit(d2l, model, Data(), epochs=2)
    found = d2l.evaluate(model, Data())
    assert list(found) == ["loss"]
    assert abs(found["loss"] - trainer.history["val_loss"][-1]) < 1e-5
    again = copy.deepcopy(model)
    as_tensor = __import__(framework).np.array if framework == "mxnet" else np.asarray
    inputs = as_tensor(x), as_tensor(2 * x)
    one, other = (np.array(m(*inputs).tolist() if framework == "mxnet" else m(*inputs))
                  for m in (model, again))  # fmt: skip
    np.testing.assert_array_equal(one, other)


# What changes while it trains ---------------------------------------------------------


@pytest.mark.only("tensorflow", "jax")
def test_what_the_trainer_is_asked_for_is_new_in_each_step(framework, d2l, Small, few):
    """A loss whose parts are weighted by the epoch, say."""
    trainers, asked = [], []

    class Asking(Small):
        def forward(self, X):
            asked.append(trainers[0].epoch if trainers[0].progress else 0)
            return super().forward(X) * (1 + asked[-1])

    trainers.append(d2l.Trainer(3))
    model = Asking(lr=0.1)
    model.board.display = False
    with pytest.warns(SlowTrainingWarning, match="asks the Trainer for its epoch"):
        trainers[0].fit(model, d2l.FashionMNIST(batch_size=100))
    assert set(asked) == {0, 1, 2} and not trainers[0].plan.compiled


def test_attributes_of_the_trainer_that_change(framework, d2l, Small, few):
    """Steps go by those that they read; for others nothing is compiled anew."""
    trainers = []

    class Fading(d2l.Trainer):
        factor, epochs_seen = 1.0, 0

        def fit_epoch(self):
            self.epochs_seen += 1
            self.factor = [1.0, 1.0, 0.0][self.epochs_done]
            super().fit_epoch()

    class Factor(Small):
        def forward(self, X):
            by = trainers[0].factor if trainers[0].model else 1.0
            return super().forward(X) * by

    d2l.set_seed(1)
    trainers.append(Fading(3, precision="float32"))
    fit(d2l, Factor(lr=0.1), trainer=trainers[0])
    for losses in ("train_loss", "val_loss"):
        *apart, last = np.abs(np.array(trainers[0].history[losses]) - np.log(10))
        assert min(apart) > 0.01 and last < 1e-4
    if framework in ("tensorflow", "jax"):
        assert trainers[0].plan.compiled and trainers[0]._renewals == 1


WAYS = ("class", "none", "default", "property", "slot", "settings", "object", "val")


@pytest.mark.only("tensorflow", "jax")
@pytest.mark.parametrize("way", WAYS)
def test_however_a_step_gets_at_a_number(framework, d2l, Small, few, way):
    """A factor that becomes 0 after the first epoch; in `val` for validation alone."""
    trainers = []

    class Slotted(d2l.Trainer):
        __slots__ = ("slotted",)

    class Fading(Slotted if way == "slot" else d2l.Trainer):
        of_class, kept = 1.0, {"factor": 1.0}

        if way == "property":
            factor = property(lambda self: KEPT["factor"])
        if way == "settings":

            def __getattr__(self, name):
                if name in self.kept:
                    return self.kept[name]
                raise AttributeError(name)

        def end_epoch(self):
            super().end_epoch()
            if way != "val":
                change(self, 0.0)

        if way == "val":

            def train_step(self, batch):
                self.of_class = 1.0
                return super().train_step(batch)

            def val_step(self, batch):
                self.of_class = 0.0
                return super().val_step(batch)

    KEPT = {"factor": 1.0}
    trainer = Fading(2, precision="float32")
    if way == "none":
        trainer.maybe = None
    if way == "slot":
        trainer.slotted = 1.0
    if way == "object":
        trainer.config = types.SimpleNamespace(factor=1.0)

    def change(trainer, to):
        if way == "property":
            KEPT["factor"] = to
        elif way == "settings":
            trainer.kept["factor"] = to
        elif way == "object":
            trainer.config.factor = to
        else:
            names = {"none": "maybe", "slot": "slotted", "default": "later"}
            setattr(trainer, names.get(way, "of_class"), to)

    def factor(trainer):
        if way == "none":
            return 1.0 if trainer.maybe is None else trainer.maybe
        if way == "default":
            return getattr(trainer, "later", 1.0)
        if way == "object":
            return trainer.config.factor
        names = {"property": "factor", "slot": "slotted", "settings": "factor"}
        return getattr(trainer, names.get(way, "of_class"))

    class Factor(Small):
        def forward(self, X):
            by = factor(trainers[0]) if trainers[0].model else 1.0
            return super().forward(X) * by

    d2l.set_seed(1)
    trainers.append(trainer)
    fit(d2l, Factor(lr=0.1), trainer=trainer)
    losses = trainer.history
    apart = np.abs([losses["train_loss"], losses["val_loss"]] - np.log(10))
    gone = [[False, False], [True, True]] if way == "val" else [[False, True]] * 2
    np.testing.assert_array_equal(apart < 1e-4, gone)
    assert trainer.plan.compiled == (way != "val")
    assert "__getattribute__" not in vars(training.Trainer)


@pytest.mark.only("tensorflow", "mxnet")
def test_numbers_of_a_layer_that_come_later(framework, d2l, Small, few):
    """None, or a number of the class, at first."""
    for start in (None, 1.0):

        class Fading(d2l.Trainer):
            def end_epoch(self):
                super().end_epoch()
                self.model.scale.by = 0.0

        model = scaled(framework, Small)(lr=0.1)
        if start is None:
            model.scale.by = None
        else:
            type(model.scale).by = start
            del model.scale.by
        trainer = fit(d2l, model, trainer=Fading(2, precision="float32"))
        first, second = np.abs(np.array(trainer.history["val_loss"]) - np.log(10))
        assert first > 0.01 and second < 1e-4 and trainer.plan.compiled


@pytest.mark.parametrize("n", [3, 5])
def test_a_training_resumed_within_an_epoch_stays_compiled(
    framework, d2l, Small, few, tmp_path, n
):
    trainers = []

    class Halving(d2l.Trainer):
        factor, stop = 1.0, None

        def train_step(self, batch):
            if self.train_batch_idx == self.stop:
                raise KeyboardInterrupt
            return super().train_step(batch)

        def end_epoch(self):
            super().end_epoch()
            self.factor /= 2

    class Factor(Small):
        def forward(self, X):
            by = trainers[-1].factor if trainers[-1].model else 1.0
            return super().forward(X) * by

    def trained(stop=None, checkpoint=None):
        d2l.set_seed(1)
        trainers.append(Halving(2, precision="float32", checkpoint=checkpoint, every=1))
        trainers[-1].stop = stop
        fit(d2l, Factor(lr=0.1), trainer=trainers[-1])
        return trainers[-1]

    whole = trained(checkpoint=tmp_path / "whole").history
    with pytest.raises(KeyboardInterrupt):
        trained(n, tmp_path / "stopped")
    resumed = trained(None, tmp_path / "stopped")
    for key in ("train_loss", "val_loss"):
        assert resumed.history[key] == whole[key]
    assert resumed.plan.compiled == (framework != "pytorch")


@pytest.mark.only("mxnet", "tensorflow", "jax")
def test_numbers_that_change_between_steps(framework, d2l, Small, few):
    """Where the reader's code around a step changes what it reads, none is compiled."""
    trainers, losses = [], []

    class Once(d2l.Trainer):
        factor = 1.0

        def train_step(self, batch):
            self.factor = 0.0 if self.train_batch_idx else 1.0
            recorded = super().train_step(batch)
            losses.append(float(to_numpy(recorded["loss"])))
            return recorded

    class Factor(Small):
        def forward(self, X):
            by = trainers[0].factor if trainers[0].model else 1.0
            return super().forward(X) * by

    trainers.append(Once(1, precision="float32"))
    with pytest.warns(SlowTrainingWarning, match="factor has changed since the step"):
        fit(d2l, Factor(lr=0.1), trainer=trainers[0])
    assert not trainers[0].plan.compiled
    assert trainers[0].plan.why_uncompiled == "trainer.factor changes within an epoch"
    first, *later = losses
    assert later == pytest.approx([np.log(10)] * len(later), abs=1e-4) != first


@pytest.mark.only("mxnet", "tensorflow", "jax")
def test_attributes_of_the_trainer_that_a_step_changes(framework, d2l, Small, few):
    """A counter in a compiled step would stay; so the step is not compiled."""
    trainers = []

    class Counting(Small):
        def loss(self, *args, **kwargs):
            trainers[0].calls += 1
            return super().loss(*args, **kwargs)

    trainers.append(d2l.Trainer(2, precision="float32"))
    trainers[0].calls = 0
    fit(d2l, Counting(lr=0.1), trainer=trainers[0])
    steps = trainers[0].train_batch_idx + trainers[0].val_batch_idx
    assert trainers[0].calls >= steps >= 10


def test_a_bound_of_gradients_that_changes(framework, d2l, Small, few):
    class Bounding(d2l.Trainer):
        def end_epoch(self):
            super().end_epoch()
            self.gradient_clip_val = 1e-9

    def losses(Trainer):
        d2l.set_seed(1)
        model = Small(lr=0.1)
        model.board.display = False
        trainer = Trainer(3, gradient_clip_val=100.0, precision="float32")
        trainer.fit(model, d2l.FashionMNIST(batch_size=100))
        return trainer.history["val_loss"]

    first, *bound = losses(Bounding)
    assert bound == pytest.approx([first] * 2, abs=1e-5)
    assert losses(d2l.Trainer)[1:] != pytest.approx([first] * 2, abs=1e-5)


@pytest.mark.only("jax")
@pytest.mark.parametrize("always", [True, False])
def test_a_collection_of_flax_that_would_be_lost_is_named(framework, d2l, few, always):
    from flax import linen as nn
    from jax import numpy as jnp

    class Centred(nn.Module):
        training: bool

        @nn.compact
        def __call__(self, X):
            mean = self.variable("averages", "mean", lambda: jnp.zeros(X.shape[-1]))
            if always or self.training:
                mean.value = 0.9 * mean.value + 0.1 * X.mean(axis=0)
            return X - mean.value

    class Net(d2l.Classifier):
        lr: float = 0.1
        training: bool = False

        def setup(self):
            flat, dense = (lambda X: X.reshape(len(X), -1)), nn.Dense(10)
            self.net = nn.Sequential([flat, Centred(self.training), dense])

    with pytest.raises(TypeError, match=r'Net keeps something .*collection "averages"'):
        fit(d2l, Net())


def test_batches_of_lists_are_named(framework, d2l, Small):
    class Listed(d2l.DataModule):
        def get_dataloader(self, train):
            images = [np.zeros((28, 28, 1), "float32") for _ in range(4)]
            yield images, np.arange(4)

    with pytest.raises(ValueError, match=r"that are a \w+ of 4; numpy.stack makes one"):
        fit(d2l, Small(), Listed())


def test_a_value_that_a_step_plots_twice(framework, d2l, Small, few):
    class Twice(Small):
        def training_step(self, *args, **kwargs):
            loss = super().training_step(*args, **kwargs)
            self.plot("loss", 7.0, train=True)
            return loss

    with pytest.warns(
        UserWarning, match="step of Twice plots 'loss' twice; the second"
    ):
        trainer = fit(d2l, Twice(lr=0.1))
    assert trainer.history["train_loss"] == [7.0]


@pytest.mark.only("jax")
def test_a_state_that_a_reader_keeps(framework, d2l, Small, few):
    """An average of the weights, say, that begins with those of the first step."""

    class Keeping(d2l.Trainer):
        def train_step(self, batch):
            recorded = super().train_step(batch)
            self.kept = [*getattr(self, "kept", []), self.state.params]
            return recorded

    import jax

    trainer = fit(d2l, Small(lr=0.1), trainer=Keeping(1))
    first, *_, last = (jax.tree.leaves(x)[0] for x in trainer.kept)
    assert trainer.plan.compiled and (np.array(first) != np.array(last)).any()


def test_means_of_a_loop_of_ones_own(framework, d2l, Small, few):
    """Over examples, though the last batch is smaller."""

    class Own(d2l.Trainer):
        def fit_epoch(self):
            state = [self.state] if framework == "jax" else []
            params = [s.params for s in state]
            for batch in self.val_dataloader:
                batch = self.prepare_batch(batch)
                self.model.validation_step(*params, batch, *state)
                self.val_batch_idx += 1

    model, data = Small(lr=0.1), d2l.FashionMNIST(batch_size=60)
    assert len(data.val.images) % 60
    found = fit(d2l, model, data, Own(1)).history["val_loss"][-1]
    assert found == pytest.approx(d2l.evaluate(model, data)["loss"], rel=1e-5)


# What is refused by name --------------------------------------------------------------


def test_evaluate_says_what_it_takes(d2l, Small, few, layout):
    class Dictionaries:
        def val_dataloader(self):
            return [{"image": np.zeros(layout(2, 1, 28, 28)), "label": np.zeros(2)}]

        train_dataloader = val_dataloader

    with pytest.raises(TypeError, match="one of Dictionaries is a dict"):
        d2l.evaluate(Small(lr=0.1), Dictionaries())


@pytest.mark.filterwarnings("ignore::d2l_utils.failures.SlowTrainingWarning")
def test_what_is_plotted_is_one_number(d2l, Small, few):
    class Own(Small):
        def validation_step(self, *args):
            self.plot("each", np.zeros(3), train=False)

    with pytest.raises(
        TypeError, match=r"plot\('each', \.\.\.\) of Own.* shape \(3,\)"
    ):
        fit(d2l, Own(lr=0.1))


@pytest.mark.only("jax")
@pytest.mark.filterwarnings("ignore::d2l_utils.failures.SlowTrainingWarning")
def test_a_loss_of_a_classifier_without_aux(framework, d2l, Small, few):
    class Own(Small):
        def loss(self, *args, averaged=True):
            return super().loss(*args)[0]

    with pytest.raises(
        TypeError, match=r"loss of Own returned an array.*\(loss, aux\)"
    ):
        fit(d2l, Own(lr=0.1))


@pytest.mark.only("pytorch")
def test_an_optimizer_that_needs_a_closure(framework, d2l, Small, few):
    import torch

    class Own(Small):
        def configure_optimizers(self):
            return torch.optim.LBFGS(self.parameters())

    with pytest.raises(TypeError, match="LBFGS computes the loss several times"):
        fit(d2l, Own(lr=0.1))


@pytest.mark.only("pytorch", "mxnet", "tensorflow")
@pytest.mark.filterwarnings("ignore::d2l_utils.failures.SlowTrainingWarning")
def test_a_loss_with_more_is_named(framework, d2l, Small, few):
    class Own(Small):
        def training_step(self, batch):
            return super().training_step(batch), 1

    with pytest.raises(TypeError, match="training_step of Own returned a tuple"):
        fit(d2l, Own(lr=0.1))
