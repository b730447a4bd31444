"""A resumed training equals one that was not cut off, or says what it lacks.

Every training here has two epochs of six steps and a checkpoint after every fourth;
it is cut off in the ninth, and goes on in a "new kernel", that is with other seeds.
"""

import copy
import itertools
import json
import random
import warnings

import numpy as np
import pytest

from d2l_utils import attributes, checkpoints, encoding, sources
from d2l_utils.checkpoints import CheckpointError, CheckpointWarning

IMAGES, BATCH, STOP = 120, 20, 9


@pytest.fixture(autouse=True)
def mxnet_in_numpy_mode(request):
    if request.config.getoption("--framework") == "mxnet":
        from mxnet import npx

        npx.set_np()


class CutOff(Exception):
    pass


def small(fm):
    fm.train = sources.Split(fm.train.images[:IMAGES], fm.train.labels[:IMAGES])
    fm.val = sources.Split(fm.val.images[:BATCH], fm.val.labels[:BATCH])
    return fm


def tensors(d2l):
    """The images as the framework's tensors."""
    fm = small(d2l.FashionMNIST(batch_size=IMAGES))
    fm.seed = 0
    return next(iter(fm.train_dataloader()))


def run(d2l, path, *, make=None, data=None, Trainer=None, seed=1, stop=0):
    """The trainer after its training; CutOff in step `stop`."""
    Base = Trainer or d2l.Trainer

    class Stopping(Base):
        def _draw(self, values, train):
            super()._draw(values, train)
            if stop and train and self.train_batch_idx + 1 == stop:
                raise CutOff

    d2l.set_seed(seed)
    np.random.seed(seed)
    random.seed(seed)
    model = (make or d2l.SoftmaxRegression)(num_outputs=10, lr=0.1)
    model.board.display = False
    trainer = Stopping(2, precision="float32", checkpoint=path, every=4)
    trainer.fit(model, (data or (lambda: small(d2l.FashionMNIST(BATCH))))())
    return trainer


def results(trainer):
    tensors = {k: np.array(x) for k, x in trainer._state_tensors().items()}
    history = {k: v for k, v in trainer.history.items() if k != "seconds"}
    return tensors, history


def same(d2l, tmp_path, **what):
    """Whether a training that is cut off and resumed ends as one that is not."""
    once, history = results(run(d2l, tmp_path / "once", **what))
    with pytest.raises(CutOff):
        run(d2l, tmp_path / "twice", stop=STOP, **what)
    stored = checkpoints.read(tmp_path / "twice")[1]["progress"]
    assert (stored.epoch, len(stored.train)) == (1, 2), "cut off within an epoch"
    twice, history_too = results(run(d2l, tmp_path / "twice", seed=7, **what))
    assert once.keys() == twice.keys()
    different = [k for k in once if once[k].tobytes() != twice[k].tobytes()]
    return not different and history == history_too


# Batches --------------------------------------------------------------------------


class Looped:
    """A loader by hand: `order(epoch)` gives the indices, `change` a factor."""

    def __init__(self, data, n, order, change=lambda: 1.0):
        self.data, self.n, self.order, self.change = data, n, order, change

    def __len__(self):
        return self.n // BATCH

    def __iter__(self):
        order = self.order(self.n)
        X, y = self.data.tensors
        for i in range(len(self)):
            rows = order[i * BATCH : (i + 1) * BATCH]
            x = self.data.take(X, rows) * self.change()
            yield x, self.data.take(y, rows)


def own_data(d2l, make_loader):
    class Own(d2l.DataModule):
        def __init__(self):
            super().__init__()
            self.tensors, self.batch_size = tensors(d2l), BATCH
            self.rng, self.passes = np.random.default_rng(3), 0

        def get_dataloader(self, train):
            return make_loader(self, train) if train else None

    return Own


def by_passes(data):
    def order(n):
        data.passes += 1
        return np.random.default_rng(data.passes).permutation(n)

    return order


def shuffled(n):
    order = list(range(n))
    random.shuffle(order)
    return np.array(order)


LOADERS = {
    "get_tensorloader": lambda d, train: d.get_tensorloader(d.tensors, train),
    "numpy": lambda d, _: Looped(d, IMAGES, np.random.permutation),
    "random": lambda d, _: Looped(d, IMAGES, shuffled),
    "augmented": lambda d, _: Looped(
        d, IMAGES, np.arange, lambda: np.random.uniform(0.5, 1) + random.random()
    ),
    "a generator of its own": lambda d, _: Looped(d, IMAGES, d.rng.permutation),
}


@pytest.mark.parametrize("name", LOADERS)
def test_batches_of_a_loader_of_ones_own(d2l, few, tmp_path, name):
    """Whatever they are drawn from; the loader's class is not known to us."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", CheckpointWarning)
        assert same(d2l, tmp_path, data=own_data(d2l, LOADERS[name]))


def test_batches_that_cannot_be_repeated_are_named(d2l, few, tmp_path):
    data = own_data(d2l, lambda d, train: Looped(d, IMAGES, by_passes(d)))
    with pytest.warns(
        CheckpointWarning, match=r"its loader gives other batches.*docstring"
    ):
        run(d2l, tmp_path / "c", data=data)


def test_other_data_are_named(d2l, few, tmp_path):
    def other():
        data = own_data(d2l, LOADERS["get_tensorloader"])()
        X, y = data.tensors
        data.tensors = X * 0.5, y
        return data

    run(d2l, tmp_path / "c", data=own_data(d2l, LOADERS["get_tensorloader"]))
    with pytest.warns(CheckpointWarning, match=r"first batch differs from the one"):
        run(d2l, tmp_path / "c", data=other)


def test_methods_that_only_call_ours(d2l, few, tmp_path):
    class Own(d2l.FashionMNIST):
        def get_dataloader(self, train):
            return super().get_dataloader(train)

    class Drawing(d2l.Trainer):
        """Counts in an attribute of its own, too."""

        seen = 0

        def prepare_batch(self, batch):
            *X, y = super().prepare_batch(batch)
            self.seen += 1
            # Modulo 5, which does not divide the 9 batches before the checkpoint.
            factor = np.random.uniform(0.5, 1) * (1 + self.seen % 5)
            return (*(x * factor for x in X), y)

    assert same(d2l, tmp_path, data=lambda: small(Own(BATCH)), Trainer=Drawing)


@pytest.mark.only("pytorch")
def test_the_loader_of_pytorch(framework, d2l, few, tmp_path):
    import torch
    from torch.utils import data as torch_data

    class Augmented(torch_data.TensorDataset):
        def __getitem__(self, i):
            X, y = super().__getitem__(i)
            return X * torch.rand(()), y

    def loader(data, train, **kwargs):
        return torch_data.DataLoader(
            Augmented(*data.tensors), BATCH, shuffle=train, **kwargs
        )

    assert same(d2l, tmp_path, data=own_data(d2l, loader))
    for seeded in (
        lambda g: {"generator": g},
        lambda g: {"num_workers": 1, "generator": g},
    ):
        data = own_data(
            d2l, lambda d, t, s=seeded: loader(d, t, **s(torch.Generator()))
        )
        (tmp_path / "twice").unlink()
        (tmp_path / "once").unlink()
        assert same(d2l, tmp_path, data=data)


@pytest.mark.only("mxnet", "tensorflow")
def test_the_loaders_of_mxnet_and_tensorflow(framework, d2l, few, tmp_path):
    """Gluon's draws from NumPy; that of TensorFlow goes its own way, and is named."""

    def loader(data, train):
        if framework == "mxnet":
            from mxnet.gluon.data import ArrayDataset, DataLoader

            return DataLoader(ArrayDataset(*data.tensors), BATCH, shuffle=train)
        import tensorflow as tf

        return tf.data.Dataset.from_tensor_slices(data.tensors).shuffle(99).batch(BATCH)

    if framework == "mxnet":
        assert same(d2l, tmp_path, data=own_data(d2l, loader))
    else:
        with pytest.warns(CheckpointWarning, match=r"its loader gives other batches"):
            run(d2l, tmp_path / "c", data=own_data(d2l, loader))


# Rates ----------------------------------------------------------------------------


def lower(framework, optim):
    if framework == "pytorch":
        for group in optim.param_groups:
            group["lr"] /= 2
    elif framework == "mxnet":
        optim.set_learning_rate(optim.learning_rate / 2)
    else:
        optim.learning_rate.assign(optim.learning_rate / 2)


@pytest.mark.only("pytorch", "mxnet", "tensorflow")
def test_a_learning_rate_that_was_lowered(framework, d2l, few, tmp_path):
    class Lowering(d2l.Trainer):
        def end_epoch(self):
            lower(framework, self.optim)
            super().end_epoch()
            lower(framework, self.optim)

    assert same(d2l, tmp_path, Trainer=Lowering)
    (tmp_path / "twice").unlink()
    with pytest.raises(CutOff):  # in the first step after the end of an epoch
        run(d2l, tmp_path / "twice", Trainer=Lowering, stop=7)
    run(d2l, tmp_path / "twice", Trainer=Lowering)
    once, twice = (checkpoints.read(tmp_path / name)[0] for name in ("once", "twice"))
    assert all((once[k] == twice[k]).all() for k in once)


def test_schedules(framework, d2l, few, tmp_path):
    """Those of the frameworks; PyTorch's is stepped by the model."""
    if framework == "pytorch":
        import torch

        class Model(d2l.SoftmaxRegression):
            def configure_optimizers(self):
                optim = super().configure_optimizers()
                schedule = torch.optim.lr_scheduler
                self.schedules = (
                    schedule.StepLR(optim, 2, 0.5),
                    schedule.LambdaLR(optim, lambda n: 1 / (1 + n)),
                )
                return optim

            def training_step(self, batch):
                for schedule in self.schedules if self.trainer.train_batch_idx else ():
                    schedule.step()
                return super().training_step(batch)

    elif framework == "mxnet":
        from mxnet import gluon, lr_scheduler

        class Model(d2l.SoftmaxRegression):
            def configure_optimizers(self):
                schedule = lr_scheduler.FactorScheduler(2, 0.5, base_lr=0.1)
                return gluon.Trainer(
                    self.collect_params(), "sgd", {"lr_scheduler": schedule}
                )

    elif framework == "tensorflow":
        import tensorflow as tf

        class Model(d2l.SoftmaxRegression):
            def configure_optimizers(self):
                schedules = tf.keras.optimizers.schedules
                return tf.keras.optimizers.SGD(schedules.ExponentialDecay(0.1, 2, 0.5))

    else:
        import optax

        class Model(d2l.SoftmaxRegression):
            def configure_optimizers(self):
                return optax.sgd(optax.exponential_decay(0.1, 2, 0.5))

    assert same(d2l, tmp_path, make=Model)


def test_settings_that_changed_are_named(d2l, few, tmp_path, capsys):
    class Model(d2l.SoftmaxRegression):
        pass

    def fit(lr):
        model = Model(num_outputs=10, lr=lr)
        trainer = d2l.Trainer(1, precision="float32", checkpoint=tmp_path / "c")
        trainer.fit(model, small(d2l.FashionMNIST(BATCH)))
        return capsys.readouterr().out

    assert "Not as in" not in fit(0.1) + fit(0.1)
    line = next(x for x in fit(0.2).splitlines() if x.startswith("Not as in"))
    assert "model.lr is 0.2, was 0.1" in line
    assert "max_epochs" not in line


# Attributes of layers ---------------------------------------------------------------


@pytest.mark.only("pytorch")
def test_attributes_of_layers(framework, d2l, few, tmp_path):
    import torch
    from torch import nn

    class Norm(nn.Module):
        def __init__(self):
            super().__init__()
            self.mean = self.var = torch.ones(784)
            self.seen, self.about = [], {"steps": 0}
            self.noise, self.rng = torch.Generator().manual_seed(1), random.Random(2)
            self.register_buffer("hidden", torch.zeros(()), persistent=False)

        def forward(self, X):
            if self.training and torch.is_grad_enabled():
                self.mean = 0.9 * self.mean + 0.1 * X.mean(0)
                self.var = 0.9 * self.var + 0.1 * X.var(0)
                self.seen.append(float(X.mean()))
                self.about["steps"] += 1
                self.hidden += 1
            X = X + 0.1 * torch.randn(X.shape, generator=self.noise)
            scale = self.rng.random() + self.about["steps"] % 3 + sum(self.seen)
            return (X - self.mean) / (self.var + 1) * scale / (1 + self.hidden)

    class Model(d2l.SoftmaxRegression):
        def __init__(self, num_outputs, lr):
            super().__init__(num_outputs, lr)
            self.net = nn.Sequential(nn.Flatten(), Norm(), nn.LazyLinear(num_outputs))

    assert same(d2l, tmp_path, make=Model)


@pytest.mark.only("pytorch")
def test_what_pytorch_alone_has(framework, d2l, few, tmp_path):
    """bfloat16, with momentum; a state beside the tensors; or an early refusal."""
    import torch

    class Half(d2l.SoftmaxRegression):
        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=self.lr, momentum=0.9)

        def apply_init(self, inputs, init=None):
            super().apply_init(inputs, init)
            self.to(torch.bfloat16)

        def forward(self, X):
            return super().forward(X.to(self.net[-1].weight.dtype)).float()

        def get_extra_state(self):
            return {"version": (1, 2)}

        def set_extra_state(self, state):
            assert state == {"version": (1, 2)}

    assert same(d2l, tmp_path, make=Half)

    class Odd(Half):
        def get_extra_state(self):
            return {"version": object()}

    with pytest.raises(CheckpointError, match=r"cannot be kept.*extra.*without one"):
        run(d2l, tmp_path / "odd", make=Odd, stop=1)


class Held:
    """An object of the reader's own, which holds what is no part of the model."""


def beside(framework, d2l):
    """(model, Trainer) with another network that learns by another optimizer.

    The network pulls at the weights of the model, so that these differ if it does.
    """
    Model, Trainer = d2l.SoftmaxRegression, d2l.Trainer
    if framework == "pytorch":
        import torch

        class Model(d2l.SoftmaxRegression):
            def configure_optimizers(self):
                self.others = [torch.nn.Linear(784, 10)]
                torch.nn.init.ones_(self.others[0].weight)
                weights = self.others[0].parameters()
                self.optim = torch.optim.SGD(weights, lr=0.1, momentum=0.9)
                return super().configure_optimizers()

            def training_step(self, batch):
                X, y = batch
                Z, mine = self.others[0](X.flatten(1)), self(X)
                self.optim.zero_grad()
                self.loss(Z, y).backward()
                self.optim.step()
                return super().training_step(batch) + ((mine - Z.detach()) ** 2).mean()

    elif framework == "mxnet":
        from mxnet import autograd, gluon

        class Model(d2l.SoftmaxRegression):
            def __init__(self, num_outputs, lr):
                super().__init__(num_outputs, lr)
                self.others = {"net": gluon.nn.Dense(10, in_units=784)}
                self.others["net"].initialize("ones")
                self.optim = gluon.Trainer(
                    self.others["net"].collect_params(), "sgd",
                    {"learning_rate": 0.1, "momentum": 0.9},
                )  # fmt: skip

            def training_step(self, batch):
                X, y = batch
                Z, mine = self.others["net"](X), self(X)
                self.loss(Z, y).backward(retain_graph=True)
                with autograd.pause():
                    self.optim.step(1)
                pull = ((mine - Z.detach()) ** 2).mean()
                return super().training_step(batch) + pull

    elif framework == "tensorflow":
        import tensorflow as tf

        class Model(d2l.SoftmaxRegression):
            def __init__(self, num_outputs, lr):
                super().__init__(num_outputs, lr)
                self.held = Held()
                self.held.net = tf.keras.layers.Dense(10, kernel_initializer="ones")
                self.held.net.build((None, 784))
                self.held.optim = tf.keras.optimizers.SGD(0.1, momentum=0.9)
                self.held.optim.build(self.held.net.trainable_variables)

            def training_step(self, batch):
                X, y = batch
                net = self.held.net
                with tf.GradientTape() as tape:
                    Z = net(tf.reshape(X, (len(X), -1)))
                    l = self.loss(Z, y)
                variables = net.trainable_variables
                self.held.optim.apply_gradients(
                    zip(tape.gradient(l, variables), variables)
                )
                pull = tf.reduce_mean((self(X) - tf.stop_gradient(Z)) ** 2)
                return super().training_step(batch) + pull

    else:
        import jax
        import optax
        from flax.training.train_state import TrainState

        class Trainer(d2l.Trainer):
            def prepare_model(self, model):
                super().prepare_model(model)
                self.other = TrainState.create(
                    apply_fn=None, params={"w": jax.numpy.ones(10)}, tx=optax.adam(0.1)
                )

            def end_epoch(self):
                super().end_epoch()
                pull = self.history["train_loss"][-1] * self.other.params["w"]
                self.other = self.other.apply_gradients(grads={"w": pull})
                params = jax.tree.map(lambda x: x + pull, self.state.params)
                self.state = self.state.replace(params=params)

    return Model, Trainer


@pytest.mark.filterwarnings("ignore::d2l_utils.failures.SlowTrainingWarning")
def test_networks_and_optimizers_beside_the_model(framework, d2l, few, tmp_path):
    """In an attribute, a list, an object of the reader's own: an average, a critic."""
    Model, Trainer = beside(framework, d2l)
    with warnings.catch_warnings():
        warnings.simplefilter("error", CheckpointWarning)
        assert same(d2l, tmp_path, make=Model, Trainer=Trainer)


def two_optimizers(framework, d2l):
    """(model, Trainer): one optimizer for the weight, another for the bias, in turn."""
    if framework == "mxnet":
        from mxnet import autograd, gluon

        class Model(d2l.SoftmaxRegression):
            def configure_optimizers(self):
                w, b = self.parameters().values()
                settings = {"learning_rate": 0.1, "momentum": 0.9}
                return tuple(gluon.Trainer([p], "sgd", settings) for p in (w, b))

        def step(trainer, batch):
            with autograd.record():
                l = trainer.model.training_step(batch)
            l.backward()
            for optim in trainer.optim:
                optim.step(1)

    else:
        import tensorflow as tf

        class Model(d2l.SoftmaxRegression):
            def configure_optimizers(self):
                made = tuple(tf.keras.optimizers.SGD(0.1, 0.9) for _ in range(2))
                for optim, v in zip(made, self.trainable_variables):
                    optim.build([v])
                return made

        def step(trainer, batch):
            variables = trainer.model.trainable_variables
            with tf.GradientTape() as tape:
                l = trainer.model.training_step(batch)
            grads = tape.gradient(l, variables)
            for optim, g, v in zip(trainer.optim, grads, variables):
                optim.apply_gradients([(g, v)])

    class Trainer(d2l.Trainer):
        def fit_epoch(self):
            for batch in self.batches(train=True):
                step(self, self.prepare_batch(batch))

    return Model, Trainer


@pytest.mark.filterwarnings("ignore::d2l_utils.failures.SlowTrainingWarning")
@pytest.mark.only("mxnet", "tensorflow")
def test_several_optimizers(framework, d2l, few, tmp_path):
    """Those that `configure_optimizers` gives to a loop of the reader's own."""
    Model, Trainer = two_optimizers(framework, d2l)

    class Cut(Trainer):
        def fit_epoch(self):
            if self.epochs_done:
                raise CutOff
            super().fit_epoch()

    once, _ = results(run(d2l, tmp_path / "once", make=Model, Trainer=Trainer))
    with pytest.raises(CutOff):
        run(d2l, tmp_path / "twice", make=Model, Trainer=Cut)
    again = run(d2l, tmp_path / "twice", seed=7, make=Model, Trainer=Trainer)
    for name, x in results(again)[0].items():
        np.testing.assert_array_equal(x, once[name])


@pytest.mark.only("pytorch")
def test_networks_made_in_training_are_named(framework, d2l, few, tmp_path):
    """Of the model, none can be stored; beside it, none can be restored."""

    class Copying(d2l.SoftmaxRegression):
        kept = list

        def __init__(self, num_outputs, lr):
            super().__init__(num_outputs, lr)
            self.copy = None

        def training_step(self, batch):
            if self.copy is None:
                self.copy = self.kept([copy.deepcopy(self.net)])
            return super().training_step(batch)

    with pytest.warns(CheckpointWarning, match=r"model\.copy, made in training") as w:
        run(d2l, tmp_path / "a", make=Copying)
    assert len([x for x in w if "model.copy" in str(x.message)]) == 1

    class Within(Copying):
        kept = staticmethod(lambda nets: nets[0])

    with pytest.raises(CheckpointError, match=r"copy.* made in training; make it in"):
        run(d2l, tmp_path / "b", make=Within)


def test_what_surrounds_an_epoch_is_done_once(d2l, few, tmp_path):
    """A `fit_epoch` around ours is done as a whole, or begun anew."""

    class Around(d2l.Trainer):
        def fit_epoch(self):
            self.begun = [*getattr(self, "begun", []), self.epochs_done]
            super().fit_epoch()

    what = {"Trainer": Around}
    once = run(d2l, tmp_path / "once", **what)
    assert once.plan.our_loop and once.plan.stored_bytes
    with pytest.raises(CutOff):
        run(d2l, tmp_path / "twice", stop=STOP, **what)
    stored = checkpoints.read(tmp_path / "twice")[1]["progress"]
    assert (stored.epoch, len(stored.train)) == (1, 0), "the end of an epoch"
    twice = run(d2l, tmp_path / "twice", seed=7, **what)
    assert once.begun == twice.begun == [0, 1]
    for one, other in zip(results(once), results(twice)):
        assert one.keys() == other.keys()
        assert all(np.array_equal(one[k], other[k]) for k in one)


@pytest.mark.parametrize("name", ["lowest", "_lowest", "__lowest"])
def test_what_a_trainer_of_your_own_keeps(d2l, few, tmp_path, name):
    """By any name: also one that begins as those of what ours notes of itself."""

    class Own(d2l.Trainer):
        def end_epoch(self):
            super().end_epoch()
            lowest = getattr(self, name, 0.0) + self.history["val_loss"][-1]
            setattr(self, name, lowest)
            self.history.setdefault("lowest", []).append(lowest)

        def prepare_model(self, model):
            setattr(self, name, 0.0)
            super().prepare_model(model)

    assert same(d2l, tmp_path, Trainer=Own)


def test_what_ours_notes_of_itself_is_declared(d2l, few, tmp_path):
    """So that all else is known to be a reader's."""
    trainer = run(d2l, tmp_path / "c")
    kept = {leaf.path for leaf in attributes.Beside(trainer).leaves()}
    assert {path for path in kept if path.startswith("trainer.")} == {
        "trainer.gradient_clip_val"
    }


def test_an_iterator_is_named(d2l, few, tmp_path):
    class Counting(d2l.Trainer):
        def prepare_model(self, model):
            self.numbers = itertools.count()
            super().prepare_model(model)

    with pytest.warns(CheckpointWarning, match=r"trainer\.numbers cannot be stored"):
        run(d2l, tmp_path / "c", Trainer=Counting)


@pytest.mark.only("tensorflow")
def test_a_compiled_step_that_draws_is_named(framework, d2l, few, tmp_path):
    import tensorflow as tf

    class Noisy(d2l.SoftmaxRegression):
        def call(self, X):
            return self.net(X + 0.1 * tf.random.normal(tf.shape(X)))

    with pytest.warns(CheckpointWarning, match=r"tf\.random \(RandomStandardNormal\)"):
        run(d2l, tmp_path / "c", make=Noisy)


# Files ----------------------------------------------------------------------------


def test_a_training_that_cannot_be_stored(d2l, few, tmp_path):
    """It is refused before its first step, and leaves no file."""

    class Odd(d2l.Trainer):
        def _state_tensors(self):
            return {**super()._state_tensors(), "odd": np.array(["text"])}

    with pytest.raises(CheckpointError, match=r"cannot be kept.*odd.*without one"):
        run(d2l, tmp_path / "c", Trainer=Odd, stop=1)
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(OSError):
        run(d2l, tmp_path / "file" / "c", stop=1)


def test_another_training_on_the_same_path(d2l, few, tmp_path):
    class Twice(d2l.Trainer):
        def _draw(self, values, train):
            super()._draw(values, train)
            if train and self.train_batch_idx == 2:
                with pytest.raises(CheckpointError, match=r"Another training is using"):
                    run(d2l, tmp_path / "c")

    assert run(d2l, tmp_path / "c", Trainer=Twice).epochs_done == 2


LIES = {
    "rows": ("progress", "train", 5),
    "no records": ("progress", "train", [[0, {"loss": 1.0}]]),
    "more records than steps": ("progress", "train", [[20, {"loss": 1.0}]] * 50),
    "words": ("progress", "train", [[20, {"loss": "1"}]]),
    "validation": ("progress", "val", [[20, {}]]),
    "history null": ("progress", "history", None),
    "history of texts": ("progress", "history", {"train_loss": ["a"]}),
    "a long history": ("progress", "history", {"train_loss": [1.0] * 9}),
    "epoch as text": ("progress", "epoch", "1"),
    "epoch below 0": ("progress", "epoch", -3),
    "epoch true": ("progress", "epoch", True),
    "epoch beyond": ("progress", "epoch", 10**9),
    "seconds": ("progress", "train_seconds", float("nan")),
    "seed": ("progress", "seed", -1),
    "a part": ("progress", "more", 1),
    "curves null": ("curves", None),
    "curves of texts": ("curves", {"train_loss": [["a", 1]]}),
    "points": ("points", {"train_loss": [[1]]}),
    "training": ("training", []),
    "order": ("order", "x"),
    "changed null": ("changed", None),
    "changed elsewhere": ("changed", {"nowhere.x": 1}),
    "changed to what there is none of": ("changed", {"model.x": {"tensor": 99}}),
    "changed by no kind": ("changed", {"model.x": {"pickle": 0}}),
    "states": ("states", {"numpy": [{"generator": 1}, []]}),
    "begin": ("begin", {"python": 5}),
    "start": ("start", {"python": [{"generator": {"tuple": []}}, []]}),
    "settings": ("settings", []),
    "more": ("more", 1),
}


def lie(about, *where, value):
    about = copy.deepcopy(about)
    inner = about
    for key in where[:-1]:
        inner = inner[key]
    inner[where[-1]] = value
    return json.dumps(about)


def test_files_that_lie(d2l, few, tmp_path):
    """Each is refused with a sentence, and model and optimizer stay as they were."""
    from safetensors import safe_open
    from safetensors.numpy import load_file, save_file

    path = tmp_path / "c"
    with pytest.raises(CutOff):
        run(d2l, path, stop=STOP)
    stored, metadata = load_file(path), safe_open(path, "numpy").metadata()
    about = json.loads(metadata["about"])
    texts = {k: lie(about, *v[:-1], value=v[-1]) for k, v in LIES.items()}
    texts["deep"] = "[" * 10**5 + "]" * 10**5
    texts["deep within"] = lie(about, "changed", value={"model.x": None}).replace(
        '"model.x": null', '"model.x": ' + '{"list": [' * 5000 + "]}" * 5000
    )
    files = {name: (stored, text) for name, text in texts.items()}
    good = metadata["about"]
    name = next(k for k, x in stored.items() if x.dtype == np.float32 and x.size > 9)
    files |= {
        "float16": ({**stored, name: stored[name].astype("float16")}, good),
        "a shape": ({**stored, name: stored[name][None]}, good),
        "missing": ({k: x for k, x in stored.items() if k != name}, good),
        "too many": ({**stored, "model.more": np.zeros(3)}, good),
        "beside.x": ({**stored, "beside.x": np.zeros(3)}, good),
    }
    files["optim.x"] = ({**stored, "optim.x": np.zeros(3, "float32")}, good)

    path.unlink()
    trainer = run(d2l, path)
    before = results(trainer)
    for what, (values, text) in files.items():
        save_file(values, path, {**metadata, "about": text})
        with pytest.raises(CheckpointError):
            checkpoints.resume(trainer)
            pytest.fail(what)
        after = results(trainer)
        assert after[1] == before[1], what
        assert {k: x.tobytes() for k, x in after[0].items()} == {
            k: x.tobytes() for k, x in before[0].items()
        }, what
    save_file(stored, path, metadata)
    assert checkpoints.resume(trainer), "the true one"
    path.unlink()
    path.mkdir()
    with pytest.raises(CheckpointError, match=r"is a folder"):
        checkpoints.resume(trainer)


# Values, without a framework ----------------------------------------------------------


def no_tensor(x):
    return None


def drawn(generator):
    return generator.random()


def test_values_come_back():
    """Through JSON, equal and of the same type, lists in place."""
    values = [
        None, True, 3, 2**70, -0.0, "text", [1, [2.5]], (1, (2,)), {1: "a", (2, 3): []},
        {1, 2}, np.float32(2), np.arange(6.0).reshape(2, 3), np.array(True),
    ]  # fmt: skip
    for value in values:
        arrays = []
        node = json.loads(json.dumps(encoding.encode(value, arrays, no_tensor)))
        back = encoding.decode(node, copy.deepcopy(value), arrays, None)
        assert type(back) is type(value)
        assert repr(back) == repr(value)
    known = [1, 2, 3]
    assert encoding.decode({"list": [4]}, known, [], None) is known == [4]
    for value in (object(), lambda: 0, np.array(["a"]), [object()]):
        assert encoding.fingerprint(value, no_tensor) is None


@pytest.mark.parametrize(
    "make",
    [
        np.random.default_rng,
        np.random.RandomState,
        random.Random,
        lambda seed: np.random.Generator(np.random.MT19937(seed)),
    ],
)
def test_generators_come_back(make):
    generator, arrays = make(1), []
    drawn(generator)
    node = encoding.encode(generator, arrays, no_tensor)
    text = json.dumps([node, [x.tolist() for x in arrays]])
    wanted = drawn(generator)
    other = make(2)
    node, lists = json.loads(text)
    arrays = [np.array(v, x.dtype) for v, x in zip(lists, arrays)]
    assert encoding.decode(node, other, arrays, None) is other
    assert drawn(other) == wanted


def test_aliases_part():
    """Two attributes that begin as one array may end as two."""
    one = np.zeros(2)
    arrays = [np.ones(2), np.full(2, 2.0)]
    a, b = (encoding.decode({"numpy": i}, one, arrays, None) for i in (0, 1))
    assert (a == 1).all() and (b == 2).all()


# Weights and optimizers that a reader's loop changes ----------------------------------


@pytest.mark.only("pytorch")
def test_weights_frozen_in_mid_training(framework, d2l, few, tmp_path):
    class Freezing(d2l.Trainer):
        def _draw(self, values, train):
            super()._draw(values, train)
            if train and self.train_batch_idx == 3:
                self.model.net[1].bias.requires_grad_(False)

    assert same(d2l, tmp_path, Trainer=Freezing)


@pytest.mark.only("pytorch")
def test_gradients_summed_over_batches(framework, d2l, few, tmp_path):
    """Every third step updates the weights; the checkpoint is of the eighth."""

    class Summing(d2l.Trainer):
        def train_step(self, batch):
            X, y = self.prepare_batch(batch)
            l = self.model.loss(self.model(X), y)
            (l / 3).backward()
            if self.train_batch_idx % 3 == 2:
                self.optim.step()
                self.optim.zero_grad()
            return {"loss": l.detach()}

    assert same(d2l, tmp_path, Trainer=Summing)


@pytest.mark.only("pytorch", "jax")
def test_an_optimizer_replaced_in_mid_training(framework, d2l, few, tmp_path):
    """It starts without the state of the one before, and in the same order of data."""

    class Replacing(d2l.Trainer):
        def fit_epoch(self):
            if self.epoch == 1:
                self.optim = self.model.configure_optimizers()
            super().fit_epoch()

    class Momentum(d2l.SoftmaxRegression):
        momentum = 0.9

    data = own_data(d2l, LOADERS["get_tensorloader"])
    what = {"make": Momentum, "data": data, "Trainer": Replacing}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        kept = results(run(d2l, tmp_path / "a", **what))[0]
    said = [w for w in caught if "it has another optimizer by now" in str(w.message)]
    assert len(said) == (framework == "jax")  # where a file does not have its settings
    tensors = results(run(d2l, None, **what))[0]
    assert kept.keys() == tensors.keys()
    assert all(np.array_equal(kept[k], tensors[k]) for k in kept if "rng" not in k)


@pytest.mark.only("pytorch")
def test_weights_that_an_optimizer_gets_later(framework, d2l, few, tmp_path):
    import torch

    class Model(d2l.SoftmaxRegression):
        def configure_optimizers(self):
            return torch.optim.Adam([self.net[1].weight], lr=0.01)

    class Unfreezing(d2l.Trainer):
        def fit_epoch(self):
            if self.epoch == 0:
                self.optim.add_param_group({"params": [self.model.net[1].bias]})
            super().fit_epoch()

    what = {"make": Model, "Trainer": Unfreezing}
    with pytest.warns(CheckpointWarning, match="optim.groups.1"):
        run(d2l, tmp_path / "a", **what)
    with pytest.raises(CheckpointError, match=r"at least 2 weights, and that of conf"):
        run(d2l, tmp_path / "a", **what)
