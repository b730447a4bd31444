"""Readers' own code around the Trainer, as a textbook's reader would type it."""

import threading

import pytest


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
    d2l.set_seed(seed)
    model = d2l.LeNet(lr=0.1)
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
def test_a_trainer_in_part_or_wholly_typed_in(framework, d2l, few, case, expected):
    data = d2l.FashionMNIST(batch_size=100)
    Own = typed_in(framework, (d2l.Trainer,), TYPED_IN[case])
    for second in (False, True):  # a Trainer may be used again
        trainer = trainer if second else Own(max_epochs=2)  # noqa: F821
        model = lenet(d2l)
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


def test_a_whole_trainer_typed_in(framework, d2l, few):
    """It knows nothing of ours, and draws on the model's board all the same."""
    Own = typed_in(framework, (d2l.HyperParameters,), TYPED_IN["all"])
    trainer, model = Own(max_epochs=2), lenet(d2l)
    trainer.fit(model, d2l.FashionMNIST(batch_size=100))
    points = model.board.data
    assert trainer.train_batch_idx == 8 and len(points["train_loss"]) == 4
    assert [p.x for p in points["val_acc"]] == [1, 2]
    assert points["val_loss"][1].y < points["val_loss"][0].y < 2.6


def test_early_stopping(d2l, few):
    class Early(d2l.Trainer):
        def fit_epoch(self):
            super().fit_epoch()
            assert (
                self.history["val_loss"][-1] == self.model.board.data["val_loss"][-1].y
            )
            if self.epoch == 1:
                self.max_epochs = self.epoch + 1

    trainer = Early(5)
    trainer.fit(lenet(d2l), d2l.FashionMNIST(batch_size=100))
    assert trainer.epoch == 1 and len(trainer.history["seconds"]) == 2


def test_without_a_trainer_nothing_is_recorded(d2l):
    with pytest.raises(
        AttributeError, match="LeNet has no Trainer to record 'loss' for"
    ):
        d2l.LeNet().plot("loss", 1.0, train=True)
