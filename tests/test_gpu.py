"""Training on a GPU against the CPU; run on a machine that has one, by `make gpu`."""

import numpy as np
import pytest


@pytest.fixture
def few(d2l, monkeypatch):
    """Fashion-MNIST in little, and no GPU needed to say that there is none."""
    if not d2l.num_gpus():
        pytest.skip("there is no GPU here")
    data = d2l.FashionMNIST(batch_size=64)
    data.train = tuple(x[:640] for x in tuple(data.train))
    data.val = tuple(x[:640] for x in tuple(data.val))
    return data


def trained(d2l, data, num_gpus, precision="float32"):
    d2l.set_seed(1)
    model = d2l.SoftmaxRegression(num_outputs=10, lr=0.1)
    model.board.display = False
    trainer = d2l.Trainer(2, num_gpus=num_gpus, precision=precision)
    trainer.fit(model, data)
    return model, trainer


@pytest.mark.only("pytorch", "jax")
def test_a_gpu_trains_to_what_a_cpu_does(d2l, few):
    on_cpu, on_gpu = (trained(d2l, few, n)[1].history for n in (0, 1))
    for key in ("train_loss", "val_loss", "val_acc"):
        assert on_gpu[key] == pytest.approx(on_cpu[key], rel=1e-2)


@pytest.mark.only("pytorch", "jax")
def test_a_gpu_predicts_what_a_cpu_does(d2l, few, tmp_path):
    model, trainer = trained(d2l, few, 1)
    assert "cpu" not in trainer.device_text()
    d2l.save_weights(model, tmp_path / "w")
    X = few.val.images[:64, None]
    again = d2l.load_weights(d2l.SoftmaxRegression(num_outputs=10), tmp_path / "w")
    if isinstance(again, dict):  # JAX: variables
        again = d2l.SoftmaxRegression(num_outputs=10).bind(again)
    np.testing.assert_allclose(d2l.predict(model, X), d2l.predict(again, X), atol=1e-3)


@pytest.mark.only("pytorch", "jax")
def test_memory_is_the_devices(d2l, few):
    trained(d2l, few, 1, "auto")
    stats = d2l.memory_stats()
    assert "GPU" in stats["of"] and stats["peak_bytes"] > 0
