"""The parity check can fail: errors put into a model, or its data, turn it red.

Run with `pytest --framework jax`; the comparison of all frameworks is `make parity`.
Here one framework is compared with itself, before and after the error.
"""

import numpy as np
import pytest

from book.checks import parity, parity_worker
from d2l_utils import data, sources, weights
from d2l_utils.frameworks import FRAMEWORKS

NIN28 = ("nin", "NiN28", 28)
NIN28_35 = ("nin", "NiN28", 35)
GOOGLENET = ("googlenet", "GoogleNet", 64)
GOOGLENET_33 = ("googlenet", "GoogleNet", 33)
GOOGLENETS = GOOGLENET, GOOGLENET_33
LONG_TO_BUILD = pytest.mark.slow(
    "a GoogLeNet takes 10 s to build; what is compared is the same in all frameworks",
    only=("tensorflow", "jax"),
)


# Test weights, whose shapes come from the papers' tables, not from a framework ---


def shapes_of(convs, dense=()):
    """{stored name: shape} of convolutions (out, in, h, w) and dense layers."""
    shapes = {}
    for kind, found in (("conv", convs), ("dense", dense)):
        for i, shape in enumerate(found):
            shapes |= {f"{kind}{i}.weight": shape, f"{kind}{i}.bias": shape[:1]}
    return shapes


def nin_block(c, d, k):
    return [(d, c, k, k), (d, d, 1, 1), (d, d, 1, 1)]


def inception(c, c1, c2, c3, c4):
    return [
        (c1, c, 1, 1),
        (c2[0], c, 1, 1), (c2[1], c2[0], 3, 3),
        (c3[0], c, 1, 1), (c3[1], c3[0], 5, 5),
        (c4, c, 1, 1),
    ]  # fmt: skip


NIN28_CONVS = [
    *nin_block(1, 24, 3), *nin_block(24, 64, 3), *nin_block(64, 96, 4),
    *nin_block(96, 10, 3),
]  # fmt: skip
GOOGLENET_CONVS = [
    (64, 1, 7, 7), (64, 64, 1, 1), (192, 64, 3, 3),
    *inception(192, 64, (96, 128), (16, 32), 32),
    *inception(256, 128, (128, 192), (32, 96), 64),
    *inception(480, 192, (96, 208), (16, 48), 64),
    *inception(512, 160, (112, 224), (24, 64), 64),
    *inception(512, 128, (128, 256), (24, 64), 64),
    *inception(512, 112, (144, 288), (32, 64), 64),
    *inception(528, 256, (160, 320), (32, 128), 128),
    *inception(832, 256, (160, 320), (32, 128), 128),
    *inception(832, 384, (192, 384), (48, 128), 128),
]  # fmt: skip
SHAPES = {
    "NiN28": shapes_of(NIN28_CONVS),
    "NiN28 with a dense head": shapes_of(NIN28_CONVS, [(10, 40)]),
    "GoogleNet": shapes_of(GOOGLENET_CONVS, [(10, 1024)]),
}


@pytest.fixture(scope="module")
def write(tmp_path_factory):
    """Writes the test weights of a network, changed by a function or not."""
    folder, count = tmp_path_factory.mktemp("parity"), iter(range(1000))

    def write(name, size=28, change=dict):
        path = folder / f"{next(count)}.safetensors"
        tensors = change(parity_worker.made_weights(SHAPES[name]))
        about = {"model": name.split()[0], "num_classes": 10}
        weights.write(path, tensors, input_shape=(1, size, size), **about)
        return path

    return write


@pytest.fixture(scope="module")
def forward(framework, write):
    """Activations and logits of a case; what has no error in it is kept."""
    kept, paths = {}, {}

    def forward(case, replace=None, path=None, name=None):
        name = name or case[1]
        if name not in paths:
            paths[name] = write(name)
        key = (case, replace, name)
        if path is None and key in kept:
            return kept[key]
        path, faulty = path or paths[name], path
        result = parity_worker.measure(framework, case, path, replace=replace, parts=())
        if faulty is None:
            kept[key] = result
        return result

    return forward


@pytest.fixture(scope="module")
def reference(framework, write):
    """All of NiN28, gradients and update included."""
    return parity_worker.measure(framework, NIN28, write("NiN28"))


def found(reference, faulty):
    """The kinds in which the error shows."""
    return set(parity.failures(parity.compare(reference, faulty)))


# What the comparison rests on ----------------------------------------------------


def test_the_reference_proves_something(reference):
    assert parity.vacuous(reference) == []
    assert not found(reference, reference)
    kinds = {name.split("/")[0] for name in reference}
    assert kinds == {"activation", "gradient", "loss", "logits", "other", "update"}
    for kind in ("gradient", "update"):
        names = {n.split("/")[1] for n in reference if n.startswith(kind)}
        assert names == set(SHAPES["NiN28"])


@pytest.mark.parametrize(
    "case",
    [NIN28, NIN28_35, *(pytest.param(c, marks=LONG_TO_BUILD) for c in GOOGLENETS)],
)
def test_forward_references_prove_something(case, forward):
    assert parity.vacuous(forward(case)) == []


def test_vacuous_results_are_noticed(reference):
    small = {k: v * 1e-3 for k, v in reference.items()}
    assert "largest logit" in parity.vacuous(small)[0]
    same = {**reference, "other": reference["logits"][:1]}
    assert "another image" in parity.vacuous(same)[0]
    frozen = {**reference, "update/conv3.weight": np.zeros(3)}
    assert parity.vacuous(frozen) == ["update/conv3.weight is zero"]


def test_float64_computes_in_float64(framework, reference, write):
    """All of it: what was computed in float32 is well above float64's tolerances."""
    result = parity_worker.measure(framework, NIN28, write("NiN28"), "float64")
    assert {v.dtype for v in result.values()} == {np.dtype("float64")}
    assert parity.vacuous(result) == []
    worst = parity.compare(result, reference)
    assert set(parity.failures(worst, "float64")) > {"activations", "gradients"}
    assert not parity.failures(worst, "float32")


# Errors in a model ---------------------------------------------------------------

NIN28_FAULTS = {
    "a padding": ("kernel_size=3, strides=2, padding=2", "3, 2, padding=1"),
    "a stride": ("kernel_size=4, strides=2, padding=1", "4, 1, padding=1"),
    "a channel count": ("nin_block(24,", "nin_block(25,"),
    "an activation": {
        "pytorch": ("nn.ReLU()", "nn.ELU()"),
        "mxnet": ("'relu'", "'softrelu'"),
        "tensorflow": ("'relu'", "'elu'"),
        "jax": ("nn.relu", "nn.elu"),
    },
    "a missing ReLU in the head": {
        "pytorch": ("kernel_size=1), nn.ReLU())", "kernel_size=1))"),
        "mxnet": ("kernel_size=1, activation='relu'))", "kernel_size=1))"),
        "tensorflow": (", 1, activation='relu')])", ", 1)])"),
        "jax": ("conv((1, 1)), nn.relu])", "conv((1, 1))])"),
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
SAME = {  # what 'same' does at an even size: one more on the right and below
    "pytorch": (
        "nn.LazyConv2d(64, 7, stride=2, padding=3)",
        "nn.ZeroPad2d((2, 3, 2, 3)), nn.LazyConv2d(64, 7, stride=2)",
    ),
    "mxnet": (
        "conv(64, 7, strides=2, padding=3)",
        "nn.HybridLambda(lambda F, x: F.np.pad(x, ((0, 0), (0, 0), (2, 3), (2, 3)))),"
        "conv(64, 7, strides=2)",
    ),
    "tensorflow": (
        "*conv(64, 7, strides=2)",
        "tf.keras.layers.Conv2D(64, 7, 2, padding='same', activation='relu')",
    ),
    "jax": (
        "conv(64, (7, 7), strides=2, padding=3)",
        "conv(64, (7, 7), strides=2, padding='SAME')",
    ),
}
GOOGLENET_FAULTS = {
    "branches in reverse order": ("in self.branches]", "in self.branches][::-1]"),
    "'same' padding with stride 2": SAME,
    "a 5x5 branch padded by 1 and 3": {
        "pytorch": (
            "nn.LazyConv2d(c3[1], 5, padding=2)",
            "nn.ZeroPad2d((1, 3, 1, 3)), nn.LazyConv2d(c3[1], 5)",
        ),
        "mxnet": (
            "conv(c3[1], 5, padding=2)",
            "nn.HybridLambda(lambda F, x: F.np.pad(x, "
            "((0, 0), (0, 0), (1, 3), (1, 3)))), conv(c3[1], 5)",
        ),
        "tensorflow": (
            "conv(c3[1], 5)",
            "[tf.keras.layers.ZeroPadding2D(((1, 3), (1, 3))),"
            " tf.keras.layers.Conv2D(c3[1], 5, activation='relu')]",
        ),
        "jax": (
            "conv(c3[1], (5, 5), padding=2)",
            "conv(c3[1], (5, 5), padding=((1, 3), (1, 3)))",
        ),
    },
    "a missing ReLU in a branch": {
        "pytorch": ("nn.LazyConv2d(c4, 1), nn.ReLU()", "nn.LazyConv2d(c4, 1)"),
        "mxnet": ("conv(c4, 1)", "nn.Conv2D(c4, 1)"),
        "tensorflow": ("conv(c4, 1)", "[tf.keras.layers.Conv2D(c4, 1)]"),
        "jax": ("conv(c4, (1, 1)), nn.relu", "conv(c4, (1, 1))"),
    },
    "an average pool in a branch": {
        "pytorch": ("nn.MaxPool2d(3, stride=1", "nn.AvgPool2d(3, stride=1"),
        "mxnet": ("nn.MaxPool2D(3, strides=1", "nn.AvgPool2D(3, strides=1"),
        "tensorflow": (
            "max_pool_3x3(strides=1)",
            "[tf.keras.layers.ZeroPadding2D(1), tf.keras.layers.AvgPool2D(3, 1)]",
        ),
        "jax": (
            "max_pool_3x3(strides=1)",
            "partial(nn.avg_pool, window_shape=(3, 3), padding=((1, 1), (1, 1)))",
        ),
    },
}
FAULTS = {fault: (NIN28, replace) for fault, replace in NIN28_FAULTS.items()} | {
    fault: (GOOGLENET, replace) for fault, replace in GOOGLENET_FAULTS.items()
}


@pytest.mark.parametrize(
    "fault",
    [*NIN28_FAULTS, *(pytest.param(f, marks=LONG_TO_BUILD) for f in GOOGLENET_FAULTS)],
)
def test_errors_in_the_model_are_found(fault, framework, forward):
    case, replace = FAULTS[fault]
    if isinstance(replace, dict):
        replace = replace[framework]
    try:
        faulty = forward(case, replace)
    except weights.WeightsError:
        assert fault == "a channel count"  # found already when loading
        return
    assert {"logits", "activations"} <= found(forward(case), faulty)


@LONG_TO_BUILD
def test_an_error_can_hide_at_one_size(framework, forward):
    """Hence several sizes: 'same' is the same for odd ones, a fixed window that
    pools all of the last maps at 28 pixels does not at 35."""
    same = SAME[framework]
    if framework in ("tensorflow", "jax"):
        assert not found(forward(GOOGLENET_33), forward(GOOGLENET_33, same))
    assert found(forward(GOOGLENET), forward(GOOGLENET, same))
    window = {
        "pytorch": ("nn.AdaptiveAvgPool2d((1, 1))", "nn.AvgPool2d(2)"),
        "mxnet": ("nn.GlobalAvgPool2D()", "nn.AvgPool2D(2)"),
        "tensorflow": ("GlobalAvgPool2D(keepdims=True)", "AvgPool2D(2)"),
        "jax": (
            "lambda x: x.mean(axis=(1, 2), keepdims=True)",
            "partial(nn.avg_pool, window_shape=(2, 2), strides=(2, 2))",
        ),
    }[framework]
    assert not found(forward(NIN28), forward(NIN28, window))
    assert found(forward(NIN28_35), forward(NIN28_35, window))


DENSE_HEAD = {
    "pytorch": (
        "nn.AdaptiveAvgPool2d((1, 1)),\n            nn.Flatten())",
        "nn.Identity(), nn.Flatten(), nn.LazyLinear(num_classes))",
    ),
    "mxnet": (
        "nn.GlobalAvgPool2D(),\n            nn.Flatten())",
        "nn.HybridLambda(lambda F, x: x), nn.Flatten(), nn.Dense(num_classes))",
    ),
    "tensorflow": (
        "tf.keras.layers.GlobalAvgPool2D(keepdims=True),\n"
        "            tf.keras.layers.Flatten()])",
        "tf.keras.layers.Identity(), tf.keras.layers.Flatten(),"
        " tf.keras.layers.Dense(num_classes)])",
    ),
    "jax": (
        "lambda x: x.mean(axis=(1, 2), keepdims=True),\n"
        "            lambda x: x.reshape((x.shape[0], -1))])",
        "lambda x: x, lambda x: x.reshape((x.shape[0], -1)),"
        " nn.Dense(self.num_classes)])",
    ),
}
OTHER_ORDER = {  # as the other half of the frameworks would flatten
    "pytorch": (
        "nn.Identity()",
        "type('HWC', (nn.Module,), {'forward': lambda s, x: x.permute(0, 2, 3, 1)})()",
    ),
    "mxnet": ("lambda F, x: x)", "lambda F, x: F.np.transpose(x, (0, 2, 3, 1)))"),
    "tensorflow": (
        "tf.keras.layers.Identity()",
        "tf.keras.layers.Permute((3, 1, 2))",
    ),
    "jax": ("lambda x: x,", "lambda x: x.transpose(0, 3, 1, 2),"),
}


def test_a_wrong_order_of_flattening_is_found(framework, forward, write):
    """And the right one is that of the stored format: channels first."""
    name = "NiN28 with a dense head"
    dense = DENSE_HEAD[framework]
    good = forward(NIN28, dense, name=name)
    tensors = weights.read(write(name))[0]
    maps = [a for a in good.values() if a.ndim == 4][-1]
    logits = maps.reshape(len(maps), -1) @ tensors["dense0.weight"].T
    logits += tensors["dense0.bias"]
    np.testing.assert_allclose(good["logits"], logits, atol=1e-5)
    wrong = dense[0], dense[1].replace(*OTHER_ORDER[framework])
    assert "logits" in found(good, forward(NIN28, wrong, name=name))


# Errors in weights, images and steps ----------------------------------------------


def without_a_bias(tensors):
    return {**tensors, "conv3.bias": np.zeros_like(tensors["conv3.bias"])}


def transposed_kernels(tensors):
    return {k: v.swapaxes(2, 3) if v.ndim == 4 else v for k, v in tensors.items()}


@pytest.mark.parametrize("change", [without_a_bias, transposed_kernels])
def test_errors_in_loading_are_found(change, forward, write):
    faulty = forward(NIN28, path=write("NiN28", change=change))
    assert {"logits", "activations"} <= found(forward(NIN28), faulty)


def shifted(size):
    """Each image half a pixel further to the right."""
    X, y = real_images(size)
    return (X + np.roll(X, 1, axis=3)) / 2, y


def corners_aligned(size):
    """Resized so that the outer pixels of both sizes coincide."""
    split = sources.load_sample().val
    n = parity_worker.NUM_IMAGES
    X = data.images_to_float(split.images[: n + 1])[:, None]
    where = np.linspace(0, 27, size)
    near = np.maximum(0, 1 - np.abs(where[:, None] - np.arange(28)))
    R = near.astype(np.float32)
    return R @ X @ R.T, split.labels[:n].astype(np.int32)


real_images = parity_worker.images


@pytest.mark.parametrize("images", [shifted, corners_aligned])
def test_errors_in_resizing_are_found(images, forward, monkeypatch, write):
    good = forward(NIN28_35)
    monkeypatch.setattr(parity_worker, "images", images)
    faulty = forward(NIN28_35, path=write("NiN28"))
    assert {"logits", "activations"} <= found(good, faulty)


STEPS = {
    "a tensor that is not updated": {"conv3.bias": 0},
    "a tensor with twice the learning rate": {"conv3.bias": 2},
    "a step 2 % too long": dict.fromkeys(SHAPES["NiN28"], 1.02),
    "a summed loss": dict.fromkeys(SHAPES["NiN28"], parity_worker.NUM_IMAGES),
}


@pytest.mark.parametrize("kind", ["update", "gradient"])
@pytest.mark.parametrize("fault", STEPS)
def test_errors_in_a_step_are_found(fault, kind, reference):
    factors = {f"{kind}/{name}": factor for name, factor in STEPS[fault].items()}
    faulty = {k: v * factors.get(k, 1) for k, v in reference.items()}
    assert found(reference, faulty) == {"update" if kind == "update" else "gradients"}


@pytest.mark.parametrize("kind", ["update", "gradient"])
def test_a_missing_tensor_is_found(kind, reference):
    missing = dict(reference)
    del missing[f"{kind}/conv3.bias"]
    assert found(reference, missing)


# Trained weights that were carried ------------------------------------------------


def test_harm_to_carried_weights_is_found(rng):
    stored = {"conv0.bias": np.ones(2, np.float32)}
    logits = rng.random((100, 10))
    logits[0, :2] = 50, 50 + parity.TORN / 2
    good = {"logits": logits, "saved/conv0.bias": stored["conv0.bias"]}

    def well(**changes):
        row = parity.compare_carried(good, {**good, **changes}, stored)
        return parity.carried_well(row)

    assert well()
    torn, wrong = logits.copy(), logits.copy()
    torn[0, 0] += parity.TORN / 2 + 1e-6
    assert torn[0].argmax() != logits[0].argmax() and well(logits=torn)
    wrong[1, wrong[1].argmin()] = 9
    assert not well(logits=wrong)
    assert not well(logits=logits * 1.001)
    assert not well(**{"saved/conv0.bias": stored["conv0.bias"] + 1e-7})
    assert not well(**{"saved/conv1.bias": stored["conv0.bias"]})
    untrained = {**good, "logits": logits * 1e-9}
    assert not parity.carried_well(parity.compare_carried(untrained, good, stored))


# The command, whose workers are replaced by results that are made up ---------------

LOSSES = np.linspace(2, 1, 100)
WHOLE = ("nin", "NiN28", 28, "float32"), ("nin", "NiN28", 28, "float64")


def made_up(rng):
    """{file name: results} of a worker, as `parity.worker` writes them."""
    tensors = weights.read(weights.stored_path("nin28_56"))[0]
    logits = 5 * rng.random((8, 10))
    files = {
        parity.name_of(case): {
            "activation/0": rng.random((8, 3)),
            "logits": logits,
            "other": logits[:1] + 1,
            "loss": np.array(2.5),
            "gradient/conv0.weight": rng.random(4),
            "update/conv0.weight": rng.random(4),
        }
        for case in WHOLE
    }
    saved = {f"saved/{name}": w for name, w in tensors.items()}
    started = {"start/NiN28/conv0.weight": rng.random(4), "losses/NiN28": LOSSES}
    carried = {"logits": 5 * rng.random((500, 10)), **saved}
    return files | {"carried": carried, "started": started}


def harmed(files, file, key, by):
    return {**files, file: {**files[file], key: files[file][key] + by}}


@pytest.mark.parametrize("whose", FRAMEWORKS)
@pytest.mark.parametrize(
    "file, key, by",
    [
        ("NiN28 28 float32", "logits", 1e-3),
        ("NiN28 28 float32", "update/conv0.weight", 0.1),
        ("NiN28 28 float64", "activation/0", 1e-9),
        ("carried", "logits", 1e-2),
        ("carried", "saved/conv3.bias", 1e-6),
        ("started", "start/NiN28/conv0.weight", 1e-9),
        ("started", "losses/NiN28", 2e-4 * (np.arange(100) == 19)),
        ("started", "losses/NiN28", 2e-2 * (np.arange(100) == 99)),
        ("started", "losses/NiN28", np.linspace(0, 1, 100)),
    ],
)
def test_one_difference_fails_the_command(
    whose, file, key, by, rng, tmp_path, monkeypatch
):
    good = made_up(rng)
    bad = harmed(good, file, key, by)

    def run_workers(frameworks, folder):
        for framework in frameworks:
            files = results.get(framework, good)
            for name, result in files.items():
                np.savez(folder / f"{name}.{framework}.npz", **result)

    monkeypatch.setattr(parity, "ROOT", tmp_path)
    monkeypatch.setattr(parity, "CASES", WHOLE)
    monkeypatch.setattr(parity, "installed", lambda: list(FRAMEWORKS))
    monkeypatch.setattr(parity, "run_workers", run_workers)
    results = {}
    assert parity.main([]) == 0
    results[whose] = bad
    assert parity.main([]) == 1
