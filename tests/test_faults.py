"""Training under faults: killed, interrupted, diverged, dead, out of memory."""

import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import made_training
import numpy as np
import pytest

from book.source.book import ROOT
from d2l_utils import checkpoints, failures, sources
from d2l_utils.checkpoints import CheckpointError


@pytest.fixture(scope="module")
def whole(d2l, Tiny, tmp_path_factory):
    """A training that nobody interrupted."""
    path = tmp_path_factory.mktemp("whole") / "checkpoint"
    trainer = made_training.train(d2l, Tiny, path)
    return trainer._state_tensors(), trainer.history, trainer.train_batch_idx


def assert_same(whole, trainer):
    tensors, history, steps = whole
    ours = trainer._state_tensors()
    assert ours.keys() == tensors.keys()
    different = [k for k in tensors if tensors[k].tobytes() != ours[k].tobytes()]
    assert not different
    assert trainer.train_batch_idx == steps == 20
    for key in history.keys() - {"seconds"}:
        assert history[key] == trainer.history[key], key
    assert len(trainer.history["seconds"]) == 2


SLOW = pytest.mark.slow("killed at step 14 and while saving, it starts again, too")


@pytest.mark.parametrize(
    "where, number",
    [pytest.param("step", 7, marks=SLOW), ("step", 14), ("save", 4)],
)
def test_killed_and_resumed(framework, d2l, Tiny, whole, tmp_path, where, number):
    """Bit by bit what an uninterrupted training gives, whenever it was killed."""
    path = tmp_path / "checkpoint"
    command = [sys.executable, made_training.__file__, framework, str(path)]
    child = subprocess.run(
        [*command, where, str(number)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{Path(__file__).parent}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == -signal.SIGKILL, child.stderr[-2000:]
    assert path.exists(), "the checkpoint before is whole"
    trainer = made_training.train(d2l, Tiny, path)
    assert_same(whole, trainer)
    assert os.listdir(tmp_path) == ["checkpoint"], "neither lock nor part"


def stopping_after(d2l, steps, stop):
    """A Trainer class that calls stop() within the given step."""

    class Stopping(d2l.Trainer):
        def _draw(self, values, train):
            super()._draw(values, train)
            if train and self.train_batch_idx + 1 == steps:
                stop()

    return Stopping


def interrupt():
    signal.raise_signal(signal.SIGINT)


def test_another_optimizer(framework, d2l, Tiny, few, tmp_path):
    """Adam has more state than SGD, a count of steps among it."""

    def adam(model):
        if framework == "pytorch":
            import torch

            return torch.optim.Adam(model.parameters(), lr=0.002)
        if framework == "mxnet":
            from mxnet import gluon

            return gluon.Trainer(
                model.collect_params(), "adam", {"learning_rate": 0.002}
            )
        if framework == "tensorflow":
            import tensorflow as tf

            return tf.keras.optimizers.Adam(0.002)
        import optax

        return optax.adam(0.002)

    class Model(Tiny):
        def configure_optimizers(self):
            return adam(self)

    def run(checkpoint, Trainer):
        d2l.set_seed(1)
        model = Model(dropout=0.3)
        model.board.display = False
        trainer = Trainer(2, precision="float32", checkpoint=checkpoint, every=3)
        trainer.fit(model, d2l.FashionMNIST(batch_size=50))
        return trainer

    once = run(tmp_path / "once", d2l.Trainer)._state_tensors()
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "twice", stopping_after(d2l, 11, interrupt))
    twice = run(tmp_path / "twice", d2l.Trainer)._state_tensors()
    assert len(once) >= 3 * 6  # weights, and two slots of each
    assert {k: v.tobytes() for k, v in once.items()} == {
        k: v.tobytes() for k, v in twice.items()
    }


def fit(d2l, model, Trainer=None, epochs=1, data=None, batch_size=128, **kwargs):
    model.board.display = False
    trainer = (Trainer or d2l.Trainer)(epochs, **kwargs)
    trainer.fit(model, data or d2l.FashionMNIST(batch_size=batch_size))
    return trainer


def test_a_finished_checkpoint(d2l, Tiny, few, tmp_path, capsys):
    path = tmp_path / "checkpoint"
    first = fit(d2l, Tiny(), checkpoint=path)
    model = Tiny()
    trainer = d2l.Trainer(1, checkpoint=path)
    trainer.fit(model, d2l.FashionMNIST(batch_size=128))
    out = capsys.readouterr().out
    assert "1 of 1 epochs are done" in out and "delete it" in out
    assert trainer.train_batch_idx == 4 and trainer.history == first.history
    more = fit(d2l, Tiny(), epochs=2, checkpoint=path)
    assert more.train_batch_idx == 8
    assert more.history["train_loss"][0] == first.history["train_loss"][0]


def test_a_checkpoint_of_another_training(d2l, Tiny, few, tmp_path):
    path = tmp_path / "checkpoint"
    fit(d2l, Tiny(), checkpoint=path)
    before = path.read_bytes()
    with pytest.raises(CheckpointError, match=r"batch size is 128, not 64.*delete it"):
        fit(d2l, Tiny(), batch_size=64, checkpoint=path)

    class Wider(Tiny):
        pass

    with pytest.raises(CheckpointError, match=r"model is Tiny, not Wider"):
        fit(d2l, Wider(), checkpoint=path)
    with pytest.raises(CheckpointError, match=r"is .* there, .* here"):
        fit(d2l, Tiny(num_classes=12), checkpoint=path)
    assert path.read_bytes() == before
    path.write_bytes(before[: len(before) // 2])
    with pytest.raises(CheckpointError, match=r"not a readable checkpoint"):
        fit(d2l, Tiny(), checkpoint=path)


def test_interrupted(d2l, Tiny, few):
    """An interrupt waits for the step; the model and the history stay usable."""
    model = Tiny()
    model.board.display = False
    trainer = stopping_after(d2l, 6, interrupt)(3)
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(model, d2l.FashionMNIST(batch_size=128))
    assert trainer.train_batch_idx == 6, "the step was finished"
    assert {len(v) for v in trainer.history.values()} == {1}
    assert np.isfinite(d2l.predict(model, few.val.images[:5, None])).all()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    fit(d2l, model)


def test_a_step_cut_in_two_is_not_saved(d2l, Tiny, few, tmp_path):
    """A second interrupt does not wait; the checkpoint stays as it was before."""

    def twice():
        interrupt()
        interrupt()

    path = tmp_path / "checkpoint"
    with pytest.raises(KeyboardInterrupt):
        fit(d2l, Tiny(), stopping_after(d2l, 6, twice), 2, checkpoint=path)
    assert checkpoints.read(path)[1]["progress"].train_batch_idx == 4


def test_divergence_is_explained(d2l, Tiny, few):
    class Exploding(Tiny):
        def forward(self, X):
            return super().forward(X) * 1e30

    with pytest.raises(FloatingPointError) as error:
        fit(d2l, Exploding(lr=5.0))
    text = str(error.value)
    assert "in step" in text and "(epoch 1)" in text and "learning rate 5.0" in text
    assert "say 0.5" in text and "gradient_clip_val=1" in text


def test_divergence_does_not_reach_the_checkpoint(d2l, Tiny, few, tmp_path):
    class NotANumber(Tiny):
        def forward(self, X):
            return super().forward(X) * float("nan")

    path = tmp_path / "checkpoint"
    with pytest.raises(FloatingPointError, match=r"nan in step 1 \(epoch 1\)"):
        fit(d2l, NotANumber(), checkpoint=path, every=1)
    assert not path.exists()


def test_dead_networks_are_explained(d2l, Tiny, few):
    class Dead(Tiny):
        def forward(self, X):
            return 0 * super().forward(X)

    with pytest.warns(failures.DeadNetworkWarning) as caught:
        fit(d2l, Dead(), epochs=7, batch_size=25)  # 112 steps
    assert len(caught) == 1
    text = str(caught[0].message)
    assert "ln 10 = 2.3026" in text and "seed" in text and "below 0.05" in text


def test_living_networks_are_not_called_dead(d2l, Tiny, few):
    class Faint(Tiny):
        """All but dead: a loss near ln 10, as of new networks."""

        def forward(self, X):
            return 1e-3 * super().forward(X)

    with warnings.catch_warnings():
        warnings.simplefilter("error", failures.DeadNetworkWarning)
        fit(d2l, Faint(lr=0.0), epochs=7, batch_size=25)


def test_out_of_memory_is_explained(framework, d2l, Tiny, few):
    def error():
        if framework == "pytorch":
            import torch

            return torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to ...")
        if framework == "mxnet":
            from mxnet.base import MXNetError

            return MXNetError("cudaMalloc retry failed: out of memory")
        if framework == "tensorflow":
            import tensorflow as tf

            return tf.errors.ResourceExhaustedError(None, None, "OOM when allocating")
        import jax

        return jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while")

    def fail():
        raise error()

    Trainer = stopping_after(d2l, 2, fail)
    with pytest.raises(MemoryError, match=r"batches of 128\. Try batch_size=64"):
        fit(d2l, Tiny(), Trainer)
    with pytest.raises(MemoryError, match=r"batches of 1\. Try smaller images"):
        fit(d2l, Tiny(), Trainer, batch_size=1)


def test_fit_twice_goes_on(d2l, Tiny, few, tmp_path):
    """Also with other data: the weights stay, the optimizer is new."""
    model = Tiny(lr=0.01)
    fit(d2l, model, epochs=2)
    before = d2l.predict(model, few.val.images[:20, None])
    other = d2l.FashionMNIST(batch_size=64)
    other.train = sources.Split(other.train.images[:100], other.train.labels[:100])
    trainer = fit(d2l, model, data=other)
    assert trainer.train_batch_idx == 2
    after = d2l.predict(model, few.val.images[:20, None])
    assert np.abs(after - before).max() < 0.5 * np.abs(before).max()


def test_an_empty_data_set(d2l, Tiny, few):
    fm = d2l.FashionMNIST()
    fm.train = sources.Split(fm.train.images[:0], fm.train.labels[:0])
    with pytest.raises(ValueError, match=r"nothing to train on"):
        fit(d2l, Tiny(), data=fm)


@pytest.mark.parametrize("num_images", [1, 33])
def test_few_examples(d2l, Tiny, few, num_images):
    """One example; a last batch of one; no validation data."""
    fm = d2l.FashionMNIST(batch_size=32)
    images, labels = fm.train
    fm.train = sources.Split(images[:num_images], labels[:num_images])
    fm.val = sources.Split(images[:0], labels[:0])
    trainer = fit(d2l, Tiny(), epochs=2, data=fm)
    assert trainer.train_images == 2 * num_images
    assert np.isfinite(trainer.history["train_loss"]).all()
    assert "val_acc" not in trainer.history


def test_a_loader_of_ones_own_is_used(d2l, Tiny, few):
    """Stored bytes stand for the loaders only while nobody overrides these."""
    seen = []

    class Own(d2l.FashionMNIST):
        def get_dataloader(self, train):
            for X, y in super().get_dataloader(train):
                seen.append(len(y))
                yield X, y

    class Listed(Own):
        def get_dataloader(self, train):
            return list(super().get_dataloader(train))

    trainer = fit(d2l, Tiny(), data=Listed(batch_size=128))
    assert trainer.train_images == 400 and sum(seen) == 500
