"""What a training will do: decided once, readable, and said where it is slow."""

import re
import warnings

import numpy as np
import pytest

from d2l_utils import data, host
from d2l_utils.failures import SlowTrainingWarning


def fit(d2l, model, images=None, **settings):
    model.board.display = False
    trainer = d2l.Trainer(max_epochs=1, **settings)
    trainer.fit(model, images or d2l.FashionMNIST(batch_size=100))
    return trainer


def test_the_plan_in_words(framework, d2l, Tiny, few):
    trainer = fit(d2l, Tiny(), precision="float32")
    lines = str(trainer.plan).splitlines()
    assert [line.split()[0] for line in lines] == [
        "batches", "steps", "precision", "device",
    ]  # fmt: skip
    assert "stored bytes" in lines[0]
    assert ("compiled" in lines[1]) == (framework != "pytorch")
    assert "float32 (precision='float32')" in lines[2]
    assert trainer.device_text() in lines[3]


def test_reasons(framework, d2l, Small, Tiny, few, monkeypatch):
    """Whatever is not done has its reason, and it names what is the reader's."""

    class Own(Small):
        def training_step(self, *args):
            return super().training_step(*args)

    class Data(d2l.FashionMNIST):
        def get_dataloader(self, train):
            return super().get_dataloader(train)

    plan = fit(d2l, Own(), Data(batch_size=100)).plan
    assert "get_dataloader of your own" in str(plan)
    if framework in ("tensorflow", "jax"):
        assert plan.why_uncompiled == "training_step of your own"
    monkeypatch.setattr(host, "cpu_flags", set)
    plan = fit(d2l, Tiny()).plan
    assert not plan.bfloat16 and plan.why_float32


@pytest.fixture
def looking_model(framework, d2l, Tiny):
    """A model whose step decides by a value, which no trace can know."""
    if framework != "mxnet":

        class Looking(Tiny):
            def accuracy(self, *args, **kwargs):
                value = super().accuracy(*args, **kwargs)
                return value if float(value) >= 0 else 0 * value

        return Looking()

    from mxnet.gluon import nn  # which compiles blocks, not whole steps

    class Block(nn.HybridBlock):
        def hybrid_forward(self, F, X):
            return -X if float(abs(X).sum()) < 0 else X

    class Looking(d2l.LeNet):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            net = nn.Sequential()
            net.add(Block(), self.net)
            self.net = net

    return Looking()


@pytest.mark.only("mxnet", "tensorflow", "jax")
def test_what_cannot_be_compiled_is_said(d2l, looking_model, few):
    with pytest.warns(SlowTrainingWarning) as caught:
        trainer = fit(d2l, looking_model)
    assert len(caught) == 1
    assert "could not compile" in str(caught[0].message)
    assert not trainer.plan.compiled and trainer.plan.why_uncompiled
    assert trainer.train_batch_idx == 4


def test_nothing_is_said_of_what_is_fast(d2l, Tiny, few):
    with warnings.catch_warnings():
        warnings.simplefilter("error", SlowTrainingWarning)
        fit(d2l, Tiny())


@pytest.mark.only("jax")
def test_a_failed_rewriting_leaves_the_step_compiled(d2l, Tiny, few, monkeypatch):
    from d2l_utils.jax import trainer

    def broken(step):
        def fails(*args):
            raise ValueError("an operation of a newer JAX")

        return fails

    monkeypatch.setattr(trainer, "faster", broken)
    with pytest.warns(SlowTrainingWarning, match="operation of a newer JAX") as caught:
        trained = fit(d2l, Tiny())
    assert len(caught) == 1 and trained.plan.compiled


def own_images(d2l, layout, few, dtype):
    """A DataModule of a reader's own: the images of `few`, in bytes or as floats."""

    class Own(d2l.DataModule):
        batch_size = 100

        def get_dataloader(self, train):
            images, labels = few.train if train else few.val
            X = images.reshape(layout(len(images), 1, 28, 28))
            if dtype != "uint8":
                X = X.astype(dtype) / dtype(255)
            labels = labels.astype("int32")
            starts = range(0, len(X), self.batch_size)
            return [(X[i : i + 100], labels[i : i + 100]) for i in starts]

    return Own()


def test_bytes_of_ones_own_are_images(d2l, layout, Tiny, few):
    """0 to 255 trains, and is evaluated, as 0 to 1 does; nothing is resized."""
    histories = []
    for dtype in ("uint8", np.float32):
        d2l.set_seed(0)
        model = Tiny(lr=0.01, dropout=0.0)
        images = own_images(d2l, layout, few, dtype)
        trainer = fit(d2l, model, images, precision="float32")
        scores = d2l.evaluate(model, images)
        assert scores["acc"] == pytest.approx(trainer.history["val_acc"][0], abs=1e-6)
        histories.append(trainer.history["train_loss"] + trainer.history["val_loss"])
    assert histories[0] == pytest.approx(histories[1], rel=1e-5)


def test_the_order_does_not_depend_on_looking(d2l, Small, few):
    """An epoch's order follows from seed and epoch, whoever looked into a loader."""
    seen = []

    class Own(d2l.FashionMNIST):
        def get_dataloader(self, train):
            return Noting(super().get_dataloader(train)) if train else []

    class Noting:
        def __init__(self, loader):
            self.loader = loader

        def __len__(self):
            return len(self.loader)

        def __iter__(self):
            for X, y in self.loader:
                seen.append([int(i) for i in y])
                yield X, y

    d2l.set_seed(3)
    model, images = Small(), Own(batch_size=100)
    model.board.display = False
    next(iter(images.train_dataloader()))
    d2l.Trainer(2, precision="float32").fit(model, images)
    for epoch in range(2):
        order = data.epoch_order(400, 3, epoch)
        whole = [i for batch in seen[-8:][4 * epoch : 4 * epoch + 4] for i in batch]
        assert whole == few.train.labels[order].tolist()
    assert images.training_epoch is None


def test_fit_epoch_again(framework, d2l, Tiny, few):
    """After `fit`, each further call is one more epoch, compiled as the others."""
    trainer = fit(d2l, Tiny())
    for epochs in (2, 3):
        trainer.fit_epoch()
        assert trainer.train_batch_idx == 4 * epochs
        assert len(trainer.history["val_acc"]) == epochs
    assert framework != "mxnet" or trainer._graphs.blocks


def test_before_the_first_fit(d2l):
    trainer = d2l.Trainer(1)
    with pytest.raises(AttributeError, match=re.escape("no history before `fit`")):
        trainer.history  # noqa: B018 (the access is the test)


def test_one_optimizer_for_two_trainings(d2l, Small, few):
    """A reader may keep it; each `fit` is a training of its own all the same."""
    kept = {}

    class Keeping(Small):
        def configure_optimizers(self):
            return kept.setdefault("optim", super().configure_optimizers())

    model = Keeping()
    trainer = fit(d2l, model)
    model.board.display = False
    trainer.fit(model, d2l.FashionMNIST(batch_size=200))
    assert trainer.train_batch_idx == 2
    assert len(trainer.history["train_loss"]) == 1
