"""Every parameter and every statistic of a network is saved, or nothing is.

Networks of random layers of all kinds are changed, saved, and loaded into a new one.
"""

from pathlib import Path

import made_common
import made_layers
import made_networks
import numpy as np
import pytest
from safetensors.numpy import save_file

from d2l_utils import weights
from d2l_utils.frameworks import FRAMEWORKS

X = np.random.default_rng(0).random((3, 1, 6, 6), dtype=np.float32)


def loaded(framework, d2l, model, path):
    variables = d2l.load_weights(model, path)
    return model.bind(variables) if framework == "jax" else variables


ALWAYS = 0, 2, 8, 12, 15  # descriptions that together have all there is
SLOW = pytest.mark.slow("five others have every kind of layer, used in every way")
SEEDS = [pytest.param(i, marks=() if i in ALWAYS else SLOW) for i in range(20)]


def description_of(seed, framework):
    """(description, generator)"""
    rng = np.random.default_rng([seed, 7])
    return made_layers.described(framework, rng), rng


def test_a_few_have_every_kind_of_layer(framework):
    made = [x for seed in ALWAYS for x in description_of(seed, framework)[0]]
    nested = [x for x in made if isinstance(x, tuple)]
    kinds = {x for part in nested for x in part} | {x for x in made if str(x) == x}
    assert kinds == {*made_layers.LAYERS[framework](), *made_layers.HEADS}
    assert nested and any(isinstance(x, int) for x in made)  # used again


@pytest.mark.parametrize("seed", SEEDS)
def test_a_new_model_predicts_the_same(seed, framework, d2l, tmp_path):
    path, Net = tmp_path / "w.safetensors", made_layers.network(framework, d2l)
    description, rng = description_of(seed, framework)
    model = made_layers.disturbed(framework, Net(description), X, rng)
    known = d2l.predict(model, X)
    d2l.save_weights(model, path)
    np.testing.assert_array_equal(d2l.predict(model, X), known)
    new = loaded(framework, d2l, Net(description), path)
    np.testing.assert_array_equal(d2l.predict(new, X), known)
    again = tmp_path / "again.safetensors"
    d2l.save_weights(new, again)
    tensors, stored = weights.read(again)[0], weights.read(path)[0]
    assert tensors.keys() == stored.keys()
    for name in stored:
        assert tensors[name].dtype == stored[name].dtype
        assert tensors[name].tobytes() == stored[name].tobytes(), name


# Between frameworks ---------------------------------------------------------------


@pytest.fixture(scope="module")
def common(framework):
    """Weights of `made_common`, different everywhere."""
    rng = np.random.default_rng(3)
    made = {k: rng.normal(size=s) for k, s in made_common.shapes(framework).items()}
    return {k: x.astype(np.float32) for k, x in made.items()}


def test_common_layers_travel(framework, d2l, common, tmp_path):
    path = tmp_path / "w.safetensors"
    weights.write(path, common, model="Net", input_shape=(1, 6, 6))
    Net = made_common.network(framework, d2l)
    model = loaded(framework, d2l, Net(), path)
    expected = made_common.by_hand(common, X)
    assert np.ptp(expected) > 1
    np.testing.assert_allclose(d2l.predict(model, X), expected, rtol=0, atol=1e-4)
    d2l.save_weights(model, path)
    again, metadata = weights.read(path)
    assert again.keys() == common.keys() and metadata["tensors"] == str(len(common))
    assert "num_classes" not in metadata
    for name, x in common.items():
        np.testing.assert_array_equal(again[name], x)


def test_as_many_outputs_as_inputs(framework, d2l, tmp_path):
    """Only arrays over the inputs are turned for channels first, no bias."""
    path, rng = tmp_path / "w.safetensors", np.random.default_rng(5)
    layers = (("conv", 2, 3, 3), ("conv", 8, 1, 1), ("flatten",), ("dense", 32))
    # As many as the inputs of conv1, (2, 2, 2), and of dense0, (8, 2, 2).
    biases = {"conv0": 2, "conv1": 8, "dense0": 32}
    kernels = {"conv0": (2, 1, 3, 3), "conv1": (8, 2, 1, 1), "dense0": (32, 32)}
    made = {f"{k}.bias": rng.normal(size=n) for k, n in biases.items()}
    made |= {f"{k}.weight": np.zeros(size) for k, size in kernels.items()}
    weights.write(path, made, model="Made", input_shape=(1, 6, 6), num_classes=32)
    Made = made_networks.made_class(framework, d2l)
    model = loaded(framework, d2l, Made(layers, num_classes=32), path)
    conv = d2l.activations(model, X)[1]
    expected = np.broadcast_to(made["conv1.bias"][:, None, None], conv.shape)
    np.testing.assert_allclose(conv, expected, rtol=1e-6)
    logits = d2l.predict(model, X)
    np.testing.assert_allclose(logits[0], made["dense0.bias"], rtol=1e-6)


def by_rows(framework, d2l):
    """A model that takes the rows of an image for a sequence: tokens, say."""
    if framework == "jax":
        from flax import linen as nn

        class Rows(d2l.Classifier):
            def setup(self):
                self.rows, self.head = nn.Dense(4), nn.Dense(10)

            def forward(self, X):
                return self.head(self.rows(X.reshape((len(X), 6, 6))).mean(axis=1))

        return Rows()
    if framework == "pytorch":
        from torch.nn import LazyLinear as dense
    elif framework == "mxnet":
        from functools import partial

        from mxnet import npx
        from mxnet.gluon import nn

        npx.set_np()
        dense = partial(nn.Dense, flatten=False)
    else:
        from tensorflow.keras.layers import Dense as dense

    class Rows(d2l.Classifier):
        def __init__(self):
            super().__init__()
            self.rows, self.head = dense(4), dense(10)

        def forward(self, X):
            # Channels are one: the two layouts of an image are the same.
            return self.head(self.rows(X.reshape((-1, 6, 6))).mean(1))

        def call(self, X):
            import tensorflow as tf

            rows = self.rows(tf.reshape(X, (-1, 6, 6)))
            return self.head(tf.reduce_mean(rows, axis=1))

    return Rows()


def test_dense_layers_on_sequences_travel(framework, d2l, tmp_path):
    path, rng = tmp_path / "w.safetensors", np.random.default_rng(6)
    sizes = {"dense0": (4, 6), "dense1": (10, 4)}
    made = {f"{k}.weight": rng.normal(size=size) for k, size in sizes.items()}
    made |= {f"{k}.bias": rng.normal(size=n) for k, (n, _) in sizes.items()}
    weights.write(path, made, model="Made", input_shape=(1, 6, 6), num_classes=10)
    model = loaded(framework, d2l, by_rows(framework, d2l), path)
    rows = X[:, 0] @ made["dense0.weight"].T + made["dense0.bias"]
    expected = rows.mean(1) @ made["dense1.weight"].T + made["dense1.bias"]
    np.testing.assert_allclose(d2l.predict(model, X), expected, rtol=1e-5)
    d2l.save_weights(model, tmp_path / "again")
    assert weights.read(tmp_path / "again")[0].keys() == made.keys()


def test_what_is_not_common_is_refused(framework, other, d2l, common, tmp_path):
    """Before the model changes, and by name."""
    path, model = tmp_path / "w.safetensors", made_common.network(framework, d2l)()
    weights.write(path, common, model="Net", input_shape=(1, 6, 6))
    model = loaded(framework, d2l, model, path)
    known = d2l.predict(model, X)
    there = FRAMEWORKS[other]
    name = f"{there.module}:net.1.weight_ih_l0"
    added = {**common, name: np.zeros(2, np.float32), "ln0.bias": np.ones(75)}
    weights.write(path, added, model="Net", input_shape=(1, 6, 6))
    words = rf"{name} \(2,\) is of a kind .* can be loaded in {there.title} only"
    with pytest.raises(weights.WeightsError, match=words):
        d2l.load_weights(model, path)
    for change, words in (
        ({"ln0.bias": np.ones(75)}, "ln0.bias should be float32, but is float64"),
        ({"ln0.bias": None}, r"ln0.bias is missing, expected \(75,\)"),
        ({f"{FRAMEWORKS[framework].module}:g": np.ones(75)}, "the model does not"),
    ):
        if framework == "jax" and "float64" in words:
            words = "stored in float64, which is switched off in JAX"
        changed = {k: x for k, x in {**common, **change}.items() if x is not None}
        weights.write(path, changed, model="Net", input_shape=(1, 6, 6), exact=True)
        with pytest.raises(weights.WeightsError, match=words):
            d2l.load_weights(model, path)
    np.testing.assert_array_equal(d2l.predict(model, X), known)


@pytest.mark.parametrize("seed", [0])
def test_a_network_without_common_names_stays_in_its_framework(
    seed, framework, d2l, tmp_path
):
    """A model that lacks one of its layers, or has one more, is refused, too."""
    rng, path = np.random.default_rng(seed), tmp_path / "w.safetensors"
    Net = made_layers.network(framework, d2l)
    model = made_layers.disturbed(framework, Net(("conv", "own", "dense")), X, rng)
    d2l.save_weights(model, path)
    for kinds in (("conv", "dense"), ("conv", "own", "own", "dense")):
        with pytest.raises(weights.WeightsError, match="do not fit"):
            d2l.load_weights(Net(kinds), path)


def test_what_training_left_behind_does_no_harm(framework, d2l, tmp_path):
    """Arrays that a model has kept, as losses, are no part of a new one."""
    if framework == "jax":
        pytest.skip("a Flax model keeps nothing")
    path, description = tmp_path / "w.safetensors", ("conv", "own", "dense")
    Net, rng = made_layers.network(framework, d2l), np.random.default_rng(0)
    model = made_layers.disturbed(framework, Net(description), X, rng)
    model.kept = [model.loss(*made_layers.answers(framework))]
    d2l.save_weights(model, path)
    new = d2l.load_weights(Net(description), path)
    np.testing.assert_array_equal(d2l.predict(new, X), d2l.predict(model, X))


# Files of format 1 ----------------------------------------------------------------

LOGITS_1 = [
    [0.42682555, -0.67572844, -0.58172667],
    [0.25056177, -0.62561166, -0.62156475],
]
FORMAT_1 = Path(__file__).parent / "format1.safetensors"  # written by its code
LAYERS_1 = (
    ("conv", 2, 3, 1), ("conv", 2, 1, 1), ("relu",), 1, ("norm",), ("flatten",),
    ("dense", 3),
)  # fmt: skip


def test_files_of_format_1_are_loaded(framework, d2l):
    """Also one in which a layer that is used twice is stored twice."""
    model = made_networks.made_class(framework, d2l)(LAYERS_1)
    model = loaded(framework, d2l, model, FORMAT_1)
    images = np.linspace(0, 1, 50, dtype=np.float32).reshape(2, 1, 5, 5)
    np.testing.assert_allclose(d2l.predict(model, images), LOGITS_1, atol=1e-5)


def test_two_layers_are_not_one(framework, d2l, tmp_path):
    tensors, metadata = weights.read(FORMAT_1)
    tensors["conv2.bias"] = tensors["conv2.bias"] + 1
    save_file(tensors, tmp_path / "w.safetensors", metadata)
    model = made_networks.made_class(framework, d2l)(LAYERS_1)
    with pytest.raises(
        weights.WeightsError, match=r"conv2.bias and conv1.bias are one"
    ):
        d2l.load_weights(model, tmp_path / "w.safetensors")
