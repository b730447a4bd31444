"""The parity check can fail: errors put into a model, or its data, turn it red.

Run with `pytest --framework jax`; the comparison of all frameworks is `make parity`.
"""

import numpy as np
import pytest

from d2l_utils import weights
from tools import parity

CASE = ("nin", "NiN28", 28)
SHAPES = {  # of NiN28; independent of any framework
    f"conv{i}.weight": s
    for i, s in enumerate(
        [
            (24, 1, 3, 3), (24, 24, 1, 1), (24, 24, 1, 1),
            (64, 24, 3, 3), (64, 64, 1, 1), (64, 64, 1, 1),
            (96, 64, 4, 4), (96, 96, 1, 1), (96, 96, 1, 1),
            (10, 96, 3, 3), (10, 10, 1, 1), (10, 10, 1, 1),
        ]
    )
}  # fmt: skip
FAULTS = {
    "a padding": ("kernel_size=3, strides=2, padding=2", "3, 2, padding=1"),
    "a stride": ("kernel_size=4, strides=2, padding=1", "4, 1, padding=1"),
    "a channel count": ("nin_block(24,", "nin_block(25,"),
    "an activation": {
        "pytorch": ("nn.ReLU()", "nn.ELU()"),
        "mxnet": ("'relu'", "'softrelu'"),
        "tensorflow": ("'relu'", "'elu'"),
        "jax": ("nn.relu", "nn.elu"),
    },
    "a kind of pooling": {
        "pytorch": ("nn.MaxPool2d(3", "nn.AvgPool2d(3"),
        "mxnet": ("nn.MaxPool2D(3", "nn.AvgPool2D(3"),
        "tensorflow": ("layers.MaxPool2D(3", "layers.AvgPool2D(3"),
        "jax": ("nn.max_pool", "nn.avg_pool"),
    },
    "dropout left on": {
        "pytorch": (
            "nn.Dropout(dropout)",
            "type('On', (nn.Module,), {'forward': lambda s, x: "
            "nn.functional.dropout(x, 0.5, training=True)})()",
        ),
        "mxnet": (
            "nn.Dropout(dropout)",
            "nn.HybridLambda(lambda F, x: F.npx.dropout(x, 0.5, mode='always'))",
        ),
        "tensorflow": (
            "tf.keras.layers.Dropout(dropout)",
            "tf.keras.layers.Lambda(lambda x: tf.nn.dropout(x, 0.5))",
        ),
        "jax": (
            "nn.Dropout(self.dropout, deterministic=not self.training)",
            "lambda x: x * jax.random.bernoulli(jax.random.PRNGKey(0), 0.5, x.shape)",
        ),
    },
}


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    shapes = dict(SHAPES)
    for name, shape in SHAPES.items():
        shapes[name.replace("weight", "bias")] = shape[:1]
    path = tmp_path_factory.mktemp("parity") / "weights.safetensors"
    about = {"model": "NiN28", "input_shape": (1, 28, 28), "num_classes": 10}
    weights.write(path, parity.made_weights(shapes), **about)
    return path


@pytest.fixture(scope="module")
def reference(framework, stored):
    return parity.measure(framework, CASE, stored, stored.parent)


def test_the_reference_proves_something(reference):
    assert parity.vacuous(reference) == []
    assert parity.failures(parity.compare(reference, reference)) == []


def test_vacuous_results_are_noticed(reference):
    small = {k: v * 1e-3 for k, v in reference.items()}
    assert "largest logit" in parity.vacuous(small)[0]
    same = {**reference, "other": reference["logits"][:1]}
    assert "another image" in parity.vacuous(same)[0]
    frozen = {**reference, "update/conv3.weight": np.zeros(3)}
    assert parity.vacuous(frozen) == ["update/conv3.weight is zero"]


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_in_the_model_are_found(fault, framework, stored, reference):
    replace = FAULTS[fault]
    if isinstance(replace, dict):
        replace = replace[framework]
    try:
        faulty = parity.measure(framework, CASE, stored, stored.parent, replace)
    except weights.WeightsError:
        assert fault == "a channel count"  # found already when loading
        return
    assert "logits" in parity.failures(parity.compare(reference, faulty))


def test_a_shift_by_half_a_pixel_is_found(framework, stored, reference, monkeypatch):
    X, y, other = parity.images(28)
    shifted = (X + np.roll(X, 1, axis=3)) / 2
    monkeypatch.setattr(parity, "images", lambda size: (shifted, y, other))
    faulty = parity.measure(framework, CASE, stored, stored.parent)
    assert {"logits", "activations"} <= set(
        parity.failures(parity.compare(reference, faulty))
    )


@pytest.mark.parametrize("kind", ["update", "gradient"])
def test_a_tensor_left_out_is_found(kind, reference):
    frozen = {**reference, f"{kind}/conv3.bias": np.zeros(64)}
    assert parity.failures(parity.compare(reference, frozen))
    missing = dict(reference)
    del missing[f"{kind}/conv3.bias"]
    assert parity.failures(parity.compare(reference, missing))
