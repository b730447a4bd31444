"""Networks, losses and steps as readers write them: trained in 16 bits, as ours are."""

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
    trainer.prepare(model, d2l.FashionMNIST(batch_size=batch_size))
    if calls is not None:
        calls.clear()
    trainer.run_epochs()
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


@pytest.mark.parametrize("name", NAMES)
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
    assert trainer.how_to_compile in said[0]
