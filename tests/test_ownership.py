"""Whose method is it? Every way to replace one, for every method that decides.

A method of the reader's own is called as it was written, once for each step; the
library's own may be compiled, or fed with stored bytes.
"""

import functools

import pytest

from d2l_utils.ownership import replaced

LOADERS = ("get_dataloader", "train_dataloader", "val_dataloader", "to_tensors")
MODEL = ("training_step", "validation_step", "plot", "loss", "forward")
TRAINER = ("fit_epoch", "prepare_batch", "clip_gradients")
METHODS = [
    *(("data", name) for name in LOADERS),
    *(("model", name) for name in MODEL),
    *(("trainer", name) for name in TRAINER),
]
# Others that readers replace: whose they are decides less, so nothing is trained.
TOLD = [
    *(("data", name) for name in ("text_labels", "visualize", "get_tensorloader")),
    *(("model", name) for name in ("accuracy", "configure_optimizers", "apply_init")),
    *(("trainer", name) for name in ("fit", "prepare_data", "prepare_model")),
    ("model", "call"),
]
STEPS = 2  # training steps; there is one validation batch
LEAST = {  # calls in such an epoch
    "get_dataloader": 2, "train_dataloader": 1, "val_dataloader": 1, "fit_epoch": 1,
    "training_step": STEPS, "clip_gradients": STEPS, "validation_step": 1,
    "plot": 2 * (STEPS + 1),  # loss and accuracy
    "loss": STEPS + 1, "forward": STEPS + 1, "prepare_batch": STEPS + 1,
    "to_tensors": STEPS + 1,
}  # fmt: skip
EXACT = ("fit_epoch", "training_step", "validation_step", "plot")  # no more than that


def calling(method, calls):
    """A method that counts its calls and does what `method` does."""

    def own(self, *args, **kwargs):
        calls.append(args)
        return method(self, *args, **kwargs)

    return own


def in_a_subclass(Class, name, calls):
    return type("Sub", (Class,), {name: calling(getattr(Class, name), calls)})


def in_a_mixin(Class, name, calls):
    mixin = type("Mixin", (), {name: calling(getattr(Class, name), calls)})
    return type("Mixed", (mixin, Class), {})


def by_super(Class, name, calls):
    class Sub(Class):
        pass

    def own(self, *args, **kwargs):
        calls.append(args)
        return getattr(super(Sub, self), name)(*args, **kwargs)

    setattr(Sub, name, own)
    return Sub


def wrapped(Class, name, calls):
    """A decorator that keeps name, module and docstring of the library's method."""
    method = getattr(Class, name)
    own = functools.wraps(method)(calling(method, calls))
    return type("Wrapped", (Class,), {name: own})


def added_to_class(Class, name, calls):
    from d2l_utils.base import add_to_class

    Sub = type("Added", (Class,), {})
    own = calling(getattr(Class, name), calls)
    own.__name__ = name
    add_to_class(Sub)(own)
    return Sub


def partial_method(Class, name, calls):
    own = calling(getattr(Class, name), calls)
    return type("Partial", (Class,), {name: functools.partialmethod(own)})


def on_the_instance(obj, name, calls):
    own = calling(getattr(type(obj), name), calls)
    object.__setattr__(obj, name, own.__get__(obj))


def partial_on_the_instance(obj, name, calls):
    own = calling(getattr(type(obj), name), calls)
    object.__setattr__(obj, name, functools.partial(own, obj))


CLASS_WAYS = (
    in_a_subclass, in_a_mixin, by_super, wrapped, added_to_class, partial_method,
)  # fmt: skip
INSTANCE_WAYS = (on_the_instance, partial_on_the_instance)
# What a step does besides these decides only in two frameworks whether it is compiled;
# the rest is decided alike in all of them.
COMPILED = ("tensorflow", "jax")
UNCOMPILED = (*EXACT, "prepare_batch", "clip_gradients")
SLOW = pytest.mark.slow("seen in the other two frameworks", only=COMPILED)
ALONE = [
    pytest.param(wrapped, method, marks=() if method[1] in UNCOMPILED else SLOW)
    for method in METHODS
]
ALONE += [
    pytest.param(on_the_instance, method, marks=SLOW)
    for method in (
        ("data", "get_dataloader"),
        ("model", "training_step"),
        ("trainer", "fit_epoch"),
    )
]
PLAIN = {}  # the history of the library's own training, once it was made


@pytest.fixture
def classes(framework, d2l, Small, nin, few):
    """{role: class} of a small training."""
    return {
        "data": d2l.FashionMNIST,
        "model": Small,
        "trainer": d2l.Trainer,
    }


def objects_of(d2l, classes):
    """{role: instance}; the model shows nothing."""
    d2l.set_seed(0)
    made = {
        "data": classes["data"](batch_size=200),
        "model": classes["model"](lr=0.1),
        "trainer": classes["trainer"](1, gradient_clip_val=1, precision="float32"),
    }
    made["model"].board.display = False
    return made


def train(made):
    """A training of two steps and one validation batch."""
    made["trainer"].fit(made["model"], made["data"])
    return made["trainer"]


def changed(way, d2l, classes, methods):
    """({role: instance}, {method: its calls}) with the methods replaced that way."""
    calls = {method: [] for method in methods}
    if way in INSTANCE_WAYS:
        made = objects_of(d2l, classes)
        for role, name in methods:
            way(made[role], name, calls[role, name])
        return made, calls
    classes = dict(classes)
    for role, name in methods:
        classes[role] = way(classes[role], name, calls[role, name])
    return objects_of(d2l, classes), calls


def methods_for(framework, way, names=METHODS):
    """The methods that can be replaced in that way in a framework."""
    if framework == "jax" and way is partial_method:  # Flax wraps plain functions only
        names = [m for m in names if m[0] != "model"]
    other = "forward" if framework == "tensorflow" else "call"
    return [m for m in names if m != ("model", other)]


@pytest.mark.parametrize("way", CLASS_WAYS + INSTANCE_WAYS, ids=lambda w: w.__name__)
def test_each_is_told_from_the_librarys_own(framework, d2l, classes, way):
    plain = objects_of(d2l, classes)
    for role, name in methods_for(framework, way, METHODS + TOLD):
        names = [n for r, n in METHODS + TOLD if r == role]
        assert replaced(plain[role], *names) == []
        made, _ = changed(way, d2l, classes, [(role, name)])
        assert replaced(made[role], *names) == [name], (role, name)


@pytest.mark.parametrize("way", CLASS_WAYS + INSTANCE_WAYS, ids=lambda w: w.__name__)
def test_what_is_replaced_is_called(framework, d2l, classes, way):
    """All at once, but the loop: as often as an epoch needs them, same training."""
    if not PLAIN:
        PLAIN.update(train(objects_of(d2l, classes)).history)
    methods = [m for m in methods_for(framework, way) if m[1] != "fit_epoch"]
    if framework == "jax" and way in INSTANCE_WAYS:
        # A Flax model is copied for each step, and copies are of its class.
        methods = [m for m in methods if m[1] != "forward"]
    made, calls = changed(way, d2l, classes, methods)
    trainer = train(made)
    numbers = {m: len(c) for m, c in calls.items()}
    assert {m: n for m, n in numbers.items() if n < LEAST[m[1]]} == {}
    assert {m: n for m, n in numbers.items() if m[1] in EXACT and n > LEAST[m[1]]} == {}
    assert not trainer.plan.stored_bytes and trainer.train_batch_idx == STEPS
    for key in ("train_loss", "val_loss", "val_acc"):
        assert trainer.history[key] == pytest.approx(PLAIN[key], rel=1e-4), key


@pytest.mark.parametrize(
    "way, method", ALONE, ids=lambda x: x[1] if isinstance(x, tuple) else x.__name__
)
def test_each_alone_is_called(framework, d2l, classes, way, method):
    """Whatever else stays the library's own."""
    role, name = method
    if method not in methods_for(framework, way):
        pytest.skip(f"{framework} has no such {name}")
    made, calls = changed(way, d2l, classes, [method])
    trainer = train(made)
    traced = framework in COMPILED and name in ("loss", "forward")
    assert len(calls[method]) >= (1 if traced else LEAST[name])
    assert trainer.train_batch_idx == STEPS
    if role == "data":
        assert name in trainer.plan.why_loader
    if name == "fit_epoch":
        assert not trainer.plan.our_loop
