"""Networks, losses and steps as readers write them: trained in 16 bits, as ours are."""

import itertools
import warnings

import made_forms
import numpy as np
import pytest

from d2l_utils import host
from d2l_utils.failures import SlowTrainingWarning

NAMES = tuple(made_forms.forms(None))
AS_OURS = ("forward as ours", "loss as ours", "step as ours")
EPOCHS, STEPS, VAL = 2, 4, 1  # training steps and validation batches of an epoch


@pytest.fixture
def f(framework):
    return made_forms.operations(framework)


@pytest.fixture
def low(framework, monkeypatch):
    """bfloat16 is used, whatever this processor is faster with; emulated, if need be.

    JAX, which has none, and MXNet without AVX-512 train in float32 all the same.
    """
    monkeypatch.setattr(host, "cpu_flags", lambda: {"avx512_bf16"})
    if framework == "jax":
        return False
    if framework == "mxnet":
        from d2l_utils.mxnet.bfloat16 import can_compute

        return can_compute()
    return True


def trained(d2l, Class, precision="auto", batch_size=100, epochs=EPOCHS, calls=None):
    """(trainer, losses of all steps); calls: emptied before the first step."""
    d2l.set_seed(1)
    model = Class(lr=0.02)
    model.board.display, model.plot_train_per_epoch = False, 10**6
    trainer = d2l.Trainer(epochs, precision=precision)
    trainer._prepare(model, d2l.FashionMNIST(batch_size=batch_size))
    if calls is not None:
        calls.clear()
    trainer._run_epochs()
    return trainer, np.array([y for _, y in model.board.data["train_loss"]])


@pytest.fixture(scope="module")
def known():
    """{precision: (losses of the library's form, of 50 steps)}."""
    return {}


def library(d2l, framework, f):
    """The library's form of `made_forms`' network."""
    return made_forms.made(framework, d2l, f, made_forms.Form(net_of(f)), {})


def net_of(f):
    return made_forms.forms(f)["loss as ours"].layers


def library_losses(known, precision, d2l, framework, f):
    if precision not in known:
        Class = library(d2l, framework, f)
        known[precision] = trained(d2l, Class, precision, 16)[1]
    return known[precision]


ALIKE = {  # slow, for it is like this other form, which is always run
    "blocks": "list of layers", "two passes through one part": "shared layer",
    "variance in forward": "softmax in forward", "frozen layer": "frozen weights",
    "layer called ten times": "shared layer", "smoothed loss": "weighted loss",
    "focal loss": "weighted loss",
}  # fmt: skip
SLOW = pytest.mark.slow("of each two that are alike, one is always run")
FORMS = [pytest.param(n, marks=SLOW if n in ALIKE else ()) for n in NAMES]


@pytest.mark.parametrize("name", FORMS)
def test_a_form_of_the_readers_own(framework, d2l, few, f, low, known, name):
    """It trains in 16 bits, is called once a step, and its loss is in float32."""
    found, form = {}, made_forms.forms(f)[name]
    for precision in ("auto", "float32")[: 2 if low else 1]:
        calls = {}
        Class = made_forms.made(framework, d2l, f, form, calls)
        f.seen.clear()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SlowTrainingWarning)  # of uncompiled steps
            trainer, losses = trained(d2l, Class, precision, calls=calls)
        assert trainer.plan.bfloat16 == (low and precision == "auto"), trainer.plan
        assert len(losses) == EPOCHS * STEPS and np.isfinite(losses).all()
        assert len(set(losses)) == len(losses)
        assert {x.rpartition(".")[2] for x in f.seen} <= {"float32"}
        check_calls(framework, form, calls)
        found[precision] = losses
    if low:
        ours = [
            library_losses(known, p, d2l, framework, f) for p in ("auto", "float32")
        ]
        assert (ours[0] != ours[1]).any()
        bound = 10 * np.abs(ours[0] / ours[1] - 1).max()
        error = np.abs(found["auto"] / found["float32"] - 1).max()
        # In MXNet only layers of Gluon's compute in 16 bits.
        assert error < bound and (error or name == "an own layer"), (error, bound)


def check_calls(framework, form, calls):
    """A step's own method is called once a step, or, where it is traced, rarely."""
    for name, times in calls.items():
        if name == "training_step":
            assert times == EPOCHS * STEPS
        elif form.step:
            assert times >= EPOCHS * (STEPS + VAL)
        elif framework in ("tensorflow", "jax"):
            assert times <= 4, name
        else:
            assert times == EPOCHS * (STEPS + VAL), name


@pytest.mark.parametrize("name", AS_OURS)
@pytest.mark.parametrize("precision", ["auto", "float32"])
def test_the_same_numbers(framework, d2l, few, f, low, known, name, precision):
    """What only repeats the library's gives its losses, to the bit: 50 steps."""
    ours = library_losses(known, precision, d2l, framework, f)
    assert len(ours) == 50
    form = made_forms.forms(f)[name]
    if name == "loss as ours":
        form = made_forms.Form(form.layers)
    Class = made_forms.made(framework, d2l, f, form, {})
    if name == "loss as ours":

        def loss(self, *args, **kwargs):
            return super(Class, self).loss(*args, **kwargs)

        Class.loss = loss
    if name == "step as ours" and framework in ("tensorflow", "jax"):
        Class.training_step = compiled(framework, Class.training_step)
    trainer, losses = trained(d2l, Class, precision, 16)
    assert trainer.plan.compiled == (framework in ("tensorflow", "jax", "mxnet"))
    assert losses.tolist() == ours.tolist()


def compiled(framework, step):
    """A step whose author allows that it is compiled."""
    if framework == "tensorflow":
        import tensorflow as tf

        return tf.function(step)
    import functools

    import jax

    return functools.partial(jax.jit, static_argnums=0)(step)


# What cannot be done in 16 bits -----------------------------------------------------


class Refused(Exception):
    pass


def refusing(d2l, framework, always=False):
    """A model whose step fails in 16 bits after it has changed all that it can."""

    class Refusing(made_forms.plain_model(framework, d2l)):
        def training_step(self, batch):
            self.steps = getattr(self, "steps", 0) + 1
            self.kept.append(self.generator.random() + np.random.random())
            l = super().training_step(batch)
            if self.trainer.plan.bfloat16 or always:
                raise Refused("not in 16 bits")
            return l

    def make(lr):
        model = Refusing(lr=lr)
        model.kept, model.generator = [], np.random.default_rng(3)
        return model

    return make


@pytest.mark.only("pytorch", "mxnet", "tensorflow")
def test_done_again_as_if_nothing_had_been_tried(framework, d2l, few, low):
    """Statistics, draws, attributes, records: as of float32 from the beginning."""
    if not low:
        pytest.skip("no bfloat16 on this processor")
    found = []
    for precision in ("auto", "float32"):
        np.random.seed(5)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            trainer, losses = trained(d2l, refusing(d2l, framework), precision)
        said = [str(w.message) for w in caught if "bfloat16" in str(w.message)]
        if precision == "auto":
            assert len(said) == 1 and "Refused: not in 16 bits" in said[0]
            assert "training_step (line" in said[0] and "float32" in said[0]
            assert "Refused" in trainer.plan.why_float32
        else:
            assert not said
        history = {k: v for k, v in trainer.history.items() if k != "seconds"}
        model, draw = trainer.model, np.random.random()
        assert model.steps == len(model.kept) == EPOCHS * STEPS
        found.append((losses.tolist(), history, model.kept, model.steps, draw))
    assert found[0] == found[1]


@pytest.mark.only("pytorch", "mxnet", "tensorflow")
def test_precision_is_of_each_training(framework, d2l, few, low):
    """One Trainer, a model that cannot be trained in 16 bits, and one that can."""
    if not low:
        pytest.skip("no bfloat16 on this processor")
    trainer, data = d2l.Trainer(1), d2l.FashionMNIST(batch_size=200)
    plain, found = made_forms.plain_model(framework, d2l), []
    for make in (refusing(d2l, framework), plain, refusing(d2l, framework)):
        model = make(lr=0.05)
        model.board.display = False
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SlowTrainingWarning)
            trainer.fit(model, data)
        found.append(trainer.plan.bfloat16)
    assert found == [False, True, False]


@pytest.mark.only("pytorch", "mxnet", "tensorflow")
def test_what_fails_in_both_is_no_matter_of_precision(framework, d2l, few, low):
    model = refusing(d2l, framework, always=True)(lr=0.05)
    trainer = d2l.Trainer(1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(Refused):
            trainer.fit(model, d2l.FashionMNIST(batch_size=200))
    assert not [w for w in caught if "bfloat16" in str(w.message)]
    assert trainer.plan.bfloat16 == low


@pytest.mark.only("tensorflow")
def test_what_fails_within_a_compiled_step(d2l, few, low):
    """Not when it is traced, but when it runs: it is traced anew, in float32."""
    import tensorflow as tf

    dtypes = []

    def reading(X):
        dtypes.append(X.dtype.name)
        if X.dtype != np.float32:
            raise Refused("no values in 16 bits")
        return X

    class Reading(made_forms.plain_model("tensorflow", d2l)):
        def call(self, X):
            Y = tf.numpy_function(reading, [X], X.dtype)
            return self.net(tf.ensure_shape(Y, X.shape))

    with pytest.warns(SlowTrainingWarning, match="the network cannot.*UnknownError"):
        trainer, _ = trained(d2l, Reading, epochs=1)
    assert trainer.plan.compiled and not trainer.plan.bfloat16
    assert dtypes.count("bfloat16") == 1
    assert dtypes[-STEPS - VAL :] == ["float32"] * (STEPS + VAL)


@pytest.mark.only("pytorch")
def test_a_hook_that_reads_values(d2l, few, low):
    """NumPy has no bfloat16: it sees float32, once for each step."""
    from torch import nn

    kept = []

    class Hooked(d2l.Classifier):
        def __init__(self, lr=0.1):
            super().__init__()
            self.save_hyperparameters()
            self.net = nn.Sequential(nn.Flatten(), nn.LazyLinear(9), nn.LazyLinear(10))
            self.net[1].register_forward_hook(keep)

    def keep(module, X, Y):
        kept.append(Y.detach().numpy())

    with pytest.warns(SlowTrainingWarning, match="keep .*BFloat16"):
        trained(d2l, Hooked, epochs=1)
    sizes = [len(x) for x in kept if len(x) > 1]  # one image makes the weights
    assert sizes == [100] * (STEPS + VAL)
    assert {x.dtype for x in kept} == {np.dtype("float32")}


@pytest.mark.only("pytorch")
def test_weights_of_any_dimension(d2l, few, low):
    from torch import nn

    class Deep(d2l.Classifier):
        def __init__(self, lr=0.1):
            super().__init__()
            self.save_hyperparameters()
            self.net = nn.Sequential(
                nn.Unflatten(1, (1, 1)), nn.Conv3d(1, 4, (1, 5, 5), (1, 4, 4)),
                nn.Flatten(), nn.Unflatten(1, (4, 36)), nn.Conv1d(4, 2, 3),
                nn.Flatten(), nn.LazyLinear(10),
            )  # fmt: skip

    losses = trained(d2l, Deep)[1]
    assert losses[-1] < losses[0]


@pytest.mark.only("tensorflow", "jax")
def test_an_own_step_is_compiled_where_its_author_allows_it(
    framework, d2l, few, f, low
):
    form, said = made_forms.forms(f)["step as ours"], []
    for allowed in (False, True):
        Class = made_forms.made(framework, d2l, f, form, {})
        if allowed:
            Class.training_step = compiled(framework, Class.training_step)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            trainer, _ = trained(d2l, Class, epochs=1)
        assert trainer.plan.compiled == allowed
        said += [
            str(w.message) for w in caught if "of your own: steps" in str(w.message)
        ]
    assert len(said) == 1 and said[0].startswith("training_step of your own: ")
    assert trainer._how_to_compile in said[0]


# Steps ------------------------------------------------------------------------------


def by_parts(framework, d2l, way):
    """A model with dropout and batch normalization, whose step calls parts of it."""
    if framework == "jax":
        import optax
        from flax import linen as nn

        class Own(d2l.Classifier):
            lr: float = 0.05
            training: bool = False

            def setup(self):
                still = not self.training
                self.net = nn.Sequential(
                    [
                        nn.Conv(8, (5, 5), (2, 2)), nn.BatchNorm(still), nn.relu,
                        lambda X: X.reshape((len(X), -1)),
                        nn.Dropout(0.5, deterministic=still), nn.Dense(10),
                    ]
                )  # fmt: skip

            def loss(self, params, X, Y, state, averaged=True):
                apply = state.apply_fn if way == "whole" else self.apply
                variables = {"params": params, "batch_stats": state.batch_stats}
                rngs = {"dropout": state.dropout_rng}
                Y_hat, aux = apply(variables, *X, mutable=["batch_stats"], rngs=rngs)
                l = optax.softmax_cross_entropy_with_integer_labels(Y_hat, Y).mean()
                return l, {**aux, "Y_hat": Y_hat}

        return Own

    class Own(made_forms.plain_model(framework, d2l)):
        def training_step(self, batch):
            X, Y = batch
            if way == "layers":
                for layer in getattr(self.net, "layers", self.net):
                    X = layer(X)
                l = self.loss(X, Y)
            else:
                l = self.loss(self(X) if way == "whole" else self.net(X), Y)
            self.plot("loss", l, train=True)
            return l

    return Own


@pytest.mark.filterwarnings("ignore::d2l_utils.failures.SlowTrainingWarning")
def test_parts_that_a_step_calls_are_in_training_mode(framework, d2l, few):
    """Dropout drops and statistics move, as where the step calls the model."""
    found = {}
    for way in ("whole", "net", "layers"):
        trainer, losses = trained(d2l, by_parts(framework, d2l, way), "float32")
        found[way] = losses
        mode = getattr(trainer.model, "training", False)
        assert not mode or framework == "pytorch"  # which goes back when it is used
    assert found["net"] == pytest.approx(found["whole"], rel=1e-5)
    assert found["layers"] == pytest.approx(found["whole"], rel=1e-3)


@pytest.mark.only("tensorflow")
def test_a_step_may_ask_for_evaluation_mode(framework, d2l, few):
    """Of a part, for the outputs of a teacher, say; what was default is so again."""
    import tensorflow as tf

    seen = []

    class Noting(tf.keras.layers.Layer):
        def call(self, X, training=False):
            seen.append(training)
            return X

    class Own(made_forms.plain_model("tensorflow", d2l)):
        def __init__(self, lr=0.05):
            super().__init__(lr)
            self.noting = Noting()

        @tf.function
        def training_step(self, batch):
            X, Y = batch
            self.noting(X)
            self.noting(X, training=False)
            seen.append("step")
            return super().training_step((self.noting(X), Y))

    trainer, _ = trained(d2l, Own, "float32")
    assert seen[:4] == [True, False, "step", True] and "step" not in seen[4:]
    trainer.model.noting(tf.zeros(1))
    assert seen[-1] is False


@pytest.mark.only("pytorch")
def test_a_train_method_of_the_readers_own_comes_first(framework, d2l, few):
    """It keeps the statistics of a layer as they are, from the first step on."""

    class Own(made_forms.plain_model("pytorch", d2l)):
        def train(self, mode=True):
            super().train(mode)
            self.net[1].eval()
            return self

    trainer, _ = trained(d2l, Own, "float32")
    assert not trainer.model.net[1].running_mean.any()


@pytest.mark.parametrize("what", [None, [], {}, ()], ids=str)
def test_what_is_no_optimizer_is_named(d2l, Small, few, what):
    class Own(Small):
        def configure_optimizers(self):
            return what

    words = "nothing" if what is None else f"a {type(what).__name__}"
    with pytest.raises(TypeError, match=f"optimizers of Own returned {words}, "):
        trained(d2l, Own)


@pytest.mark.filterwarnings("ignore::d2l_utils.failures.SlowTrainingWarning")
@pytest.mark.parametrize("what", [None, {"loss": 1.0}, 1.0], ids=str)
def test_what_is_no_loss_is_named(d2l, Small, few, what):
    class Own(Small):
        def training_step(self, *args):
            return what

    words = "nothing" if what is None else f"a {type(what).__name__}"
    with pytest.raises(TypeError, match=f"step of Own returned {words}. .* return"):
        trained(d2l, Own)


@pytest.mark.filterwarnings("ignore::d2l_utils.failures.SlowTrainingWarning")
@pytest.mark.only("pytorch", "mxnet", "tensorflow")
def test_a_later_step_that_fails_names_the_precision(framework, d2l, few, low):
    class Late(made_forms.plain_model(framework, d2l)):
        def training_step(self, batch):
            if self.trainer.progress and self.trainer.train_batch_idx == 2:
                raise Refused
            return super().training_step(batch)

    for precision in ("auto", "float32")[: 2 if low else 1]:
        with pytest.raises(Refused) as caught:
            trained(d2l, Late, precision)
        notes = " ".join(getattr(caught.value, "__notes__", ()))
        assert ("precision='float32'" in notes) == (low and precision == "auto")


def two_inputs(framework, d2l):
    """A model of an image and a number; batches of these and labels."""
    if framework == "jax":
        from flax import linen as nn

        class Own(d2l.Classifier):
            lr: float = 0.05
            training: bool = False

            def setup(self):
                self.image, self.number = nn.Dense(10), nn.Dense(10)

            def __call__(self, X, x):
                return self.image(X.reshape((len(X), -1))) + self.number(x)

    else:
        if framework == "pytorch":
            from torch import nn

            def dense():
                return nn.Sequential(nn.Flatten(), nn.LazyLinear(10))
        elif framework == "mxnet":
            from mxnet import npx
            from mxnet.gluon import nn

            npx.set_np()

            def dense():
                return nn.Dense(10)
        else:
            from tensorflow.keras import layers as nn

            def dense():
                from tensorflow import keras

                return keras.Sequential([nn.Flatten(), nn.Dense(10)])

        class Own(d2l.Classifier):
            def __init__(self, lr=0.05):
                super().__init__()
                self.save_hyperparameters()
                self.image, self.number = dense(), dense()

            def forward(self, X, x):
                return self.image(X) + self.number(x)

        Own.call = Own.forward
    return Own


def test_an_image_and_more(framework, d2l, layout, few):
    """A network of several inputs trains; a weights file is not for it, and says so."""

    class Data(d2l.DataModule):
        batch_size = 100

        def get_dataloader(self, train):
            images, labels = few.train if train else few.val
            X = images.reshape(layout(len(images), 1, 28, 28)) / np.float32(255)
            x = X.mean(axis=(1, 2, 3))[:, None]
            return self.get_tensorloader((X, x, labels.astype("int32")), train)

    d2l.set_seed(1)
    model, data = two_inputs(framework, d2l)(), Data()
    model.board.display = False
    trainer = d2l.Trainer(2, precision="float32")
    trainer.fit(model, data)
    losses = trainer.history["train_loss"]
    assert losses[1] < losses[0]
    found = d2l.evaluate(model, data)["acc"]
    assert found == pytest.approx(trainer.history["val_acc"][-1], abs=1e-6)
    with pytest.raises(ValueError, match=r"Own cannot be called on images alone"):
        d2l.save_weights(model, "nowhere")


@pytest.mark.only("pytorch")
def test_a_model_in_float64(framework, d2l, few, tmp_path):
    import torch
    from torch import nn

    class Double(d2l.Classifier):
        def __init__(self, lr=0.05):
            super().__init__()
            self.save_hyperparameters()
            self.net = nn.Sequential(nn.Flatten(), nn.Linear(784, 10)).double()

    trainer, losses = trained(d2l, Double)
    model, new = trainer.model, Double()
    assert losses[-1] < losses[0] and model.net[1].weight.dtype == torch.float64
    d2l.save_weights(model, tmp_path / "w")
    d2l.load_weights(new, tmp_path / "w")
    X = few.val.images[:4, None]
    assert (d2l.predict(new, X) == d2l.predict(model, X)).all()
    assert d2l.activations(model, X)[-1].dtype == np.float64


@pytest.mark.only("tensorflow")
def test_what_keras_alone_calls_is_named(framework, d2l, few):
    class Own(made_forms.plain_model("tensorflow", d2l)):
        def train_step(self, data):
            raise AssertionError

    with pytest.raises(TypeError, match=r"Own has a train_step.* training_step"):
        trained(d2l, Own)


@pytest.mark.only("tensorflow")
def test_weights_that_become_trainable_later_are_named(framework, d2l, few):
    class Own(made_forms.plain_model("tensorflow", d2l)):
        def __init__(self, lr=0.05):
            super().__init__(lr)
            self.net.layers[0].trainable = False

    class Unfreezing(d2l.Trainer):
        def end_epoch(self):
            super().end_epoch()
            self.model.net.layers[0].trainable = True

    model, data = Own(), d2l.FashionMNIST(batch_size=200)
    model.board.display = False
    with pytest.raises(RuntimeError, match=r"Other weights .* Call fit again"):
        Unfreezing(2).fit(model, data)
    before = model.net.layers[0].kernel.numpy()
    d2l.Trainer(1).fit(model, data)
    assert (model.net.layers[0].kernel.numpy() != before).any()


@pytest.mark.only("mxnet")
def test_blocks_stay_hybridized(framework, d2l, few, tmp_path):
    """Those of a reader's own, for `export`; and no others."""
    from mxnet import np as mnp

    class Own(made_forms.plain_model("mxnet", d2l)):
        def __init__(self, lr=0.05, hybrid=True):
            super().__init__(lr)
            if hybrid:
                self.net.hybridize(static_alloc=True)

    trainer, _ = trained(d2l, Own, "float32")
    net = trainer.model.net
    net(mnp.zeros((1, 1, 28, 28)))
    net.export(str(tmp_path / "net"))
    assert (tmp_path / "net-symbol.json").exists()
    trainer, _ = trained(d2l, lambda lr: Own(lr, hybrid=False), "float32")
    assert not trainer.model.net._active


def test_a_layer_that_not_every_step_uses(framework, d2l, layout, few):
    """It keeps its weights in the others; one that no step uses keeps them."""
    if framework == "jax":
        pytest.skip("a Flax model has no weights that its first pass does not use")
    plain = made_forms.plain_model(framework, d2l)
    make = type(plain().net)  # a chain of layers

    def dense(n):
        if framework == "pytorch":
            from torch import nn

            return make(nn.Linear(10, n))
        if framework == "mxnet":
            from mxnet.gluon import nn

            net = make()
            net.add(nn.Dense(n, in_units=10))
            return net
        from tensorflow.keras import layers

        net = make([layers.Dense(n)])
        net.build((1, 10))
        return net

    class Own(plain):
        def __init__(self, lr=0.05):
            super().__init__(lr)
            self.sometimes, self.never = dense(10), dense(3)

        def training_step(self, batch):
            X, Y = batch
            Z = self(X)
            seen.append([np.array(w) for w in of(self.sometimes)])
            if self.trainer.train_batch_idx % 2 == 0:
                Z = self.sometimes(Z)
            l = self.loss(Z, Y)
            self.plot("loss", l, train=True)
            return l

    def of(net):
        if framework == "tensorflow":
            return [v.numpy() for v in net.weights]
        if framework == "mxnet":
            return [p.data().asnumpy() for p in net.collect_params().values()]
        return [p.detach().numpy().copy() for p in net.parameters()]

    for clip in (0, 1):
        seen = []
        model = Own()
        model.board.display = False
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer = d2l.Trainer(1, gradient_clip_val=clip, precision="float32")
            trainer.fit(model, d2l.FashionMNIST(batch_size=100))
        moved = [
            any((a != b).any() for a, b in zip(one, other))
            for one, other in itertools.pairwise(seen)
        ]
        assert moved == [True, False, True]
