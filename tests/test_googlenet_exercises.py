"""The exercises of GoogLeNet: counts by hand, batch normalization, the losses.

What batch normalization should do is computed here in NumPy, on the first layer.
"""

import numpy as np
import pytest

from book.checks import parity_worker
from book.checks.parity import CASES, GOOGLENET_VARIANTS
from book.source import cells
from d2l_utils import weights

SECTION = "googlenet_exercises"
BATCH_NORM = (SECTION, "batch norm", 28)
EPSILON, KEPT = 1e-5, 0.9
LONG_TO_BUILD = "tensorflow", "jax"


@pytest.fixture(scope="module")
def loaded(framework):
    return cells.load(SECTION, framework)


# Counts --------------------------------------------------------------------------

FIRST, LATER = (16, 16, 32, 8, 16, 16), (32, 32, 64, 16, 32, 32)
GOOGLENET = [
    (64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64),
    (192, 96, 208, 16, 48, 64), (160, 112, 224, 24, 64, 64),
    (128, 128, 256, 24, 64, 64), (112, 144, 288, 32, 64, 64),
    (256, 160, 320, 32, 128, 128), (256, 160, 320, 32, 128, 128),
    (384, 192, 384, 48, 128, 128),
]  # fmt: skip


def block(c, widths, kind="plain"):
    """(convolutions (in, out, height, width), channels) of an Inception block."""
    c1, c2a, c2b, c3a, c3b, c4 = widths
    two, three, factor = [(c2a, c2b, 3, 3)], [(c3a, c3b, 5, 5)], 1
    if kind == "two 3x3":
        three = [(c3a, c3a, 3, 3), (c3a, c3b, 3, 3)]
    elif kind == "asymmetric":
        two = [(c2a, c2a, 1, 3), (c2a, c2b, 3, 1)]
        three = [(c3a, c3a, 1, 5), (c3a, c3b, 5, 1)]
    elif kind == "expanded":
        two, factor = [(c2a, c2b, 1, 3), (c2a, c2b, 3, 1)], 2
        three = [(c3a, c3b, 3, 3), (c3b, c3b, 1, 3), (c3b, c3b, 3, 1)]
    convs = [(c, c1, 1, 1), (c, c2a, 1, 1), *two, (c, c3a, 1, 1), *three, (c, c4, 1, 1)]
    return convs, c1 + factor * (c2b + c3b) + c4


def residual(c, widths):
    """A convolution to the block's channels, half of the block, a projection."""
    out = widths[0] + widths[2] + widths[4] + widths[5]
    convs, joined = block(out, [w // 2 for w in widths])
    return [(c, out, 1, 1), *convs, (joined, out, 1, 1)], out


STEM = [(1, 16, 5, 5, 14), (16, 16, 1, 1, 7), (16, 32, 3, 3, 7)]


def with_blocks(stem, blocks, make=block):
    """(convolutions with their sides, channels); blocks: (widths, side, kind)."""
    convs, c = list(stem), stem[-1][1]
    for widths, side, *kind in blocks:
        found, c = make(c, widths, *kind)
        convs += [(*conv, side) for conv in found]
    return convs, c


def small(*kinds, stem=STEM, sides=(7, 4), make=block):
    blocks = zip((FIRST, LATER), sides, *([kinds] if kinds else []))
    return with_blocks(stem, blocks, make)


def unchanged():
    sides = [4, 4, 2, 2, 2, 2, 2, 1, 1]
    stem = [(1, 64, 7, 7, 14), (64, 64, 1, 1, 7), (64, 192, 3, 3, 7)]
    return with_blocks(stem, list(zip(GOOGLENET, sides)))


BY_HAND = {
    "small": small(), "short stem": small(stem=STEM[:1]), "no ReLU": small(),
    "coarse": small(sides=(4, 2)), "one block": with_blocks(STEM, [(FIRST, 7)]),
    "flat head": small(), "unchanged": unchanged(), "batch norm": small(),
    "two 3x3": small("two 3x3", "two 3x3"),
    "asymmetric": small("asymmetric", "asymmetric"),
    "expanded": small("plain", "expanded"), "residual": small(make=residual),
    "label smoothing": small(),
}  # fmt: skip


@pytest.mark.slow(
    "parity puts PyTorch's weights, tensor by tensor, into each of these networks",
    only=LONG_TO_BUILD,
)
def test_every_variant_has_its_counts(d2l, layout, loaded):
    variants = loaded["variants"]
    assert set(variants) == set(BY_HAND)
    for name, (convs, c) in BY_HAND.items():
        features = c * 4 * 4 if name == "flat head" else c
        a_channel = 2 if name == "batch norm" else 1  # scale and shift, or bias
        params = sum(i * o * h * w + a_channel * o for i, o, h, w, _ in convs)
        macs = sum(i * o * h * w * s * s for i, o, h, w, s in convs)
        params, macs = params + 10 * features + 10, macs + 10 * features
        counted = d2l.resources(variants[name](), layout(1, 1, 28, 28))
        assert (counted.params, counted.macs) == (params, macs), name


def test_the_described_network_is_that_of_the_section(d2l, layout, loaded):
    shape = layout(1, 3, 96, 96)
    ours = d2l.resources(loaded["variants"]["unchanged"](), shape)
    assert ours.rows == d2l.resources(loaded["GoogleNet"](), shape).rows
    assert ours.params == 5_983_802


def test_parity_has_every_variant():
    compared = {name for section, name, *_ in CASES if section == SECTION}
    assert compared == set(GOOGLENET_VARIANTS) == set(BY_HAND) - {"unchanged"}


# Weights for `small`, with and without batch normalization -----------------------


@pytest.fixture(scope="module")
def write(tmp_path_factory):
    def write(norm):
        convs, c = small()
        shapes = {"dense0.weight": (10, c), "dense0.bias": (10,)}
        for i, (c_in, c_out, h, w, _) in enumerate(convs):
            shapes[f"conv{i}.weight"] = (c_out, c_in, h, w)
            others = [f"bn{i}.{k}" for k in ("weight", "bias", "mean", "var")]
            shapes |= dict.fromkeys(others if norm else [f"conv{i}.bias"], (c_out,))
        made = parity_worker.made_weights(shapes)
        if norm:
            made["bn0.var"] *= 1e-4
        path = tmp_path_factory.mktemp("made") / "made.safetensors"
        about = {"model": "Net", "input_shape": (1, 28, 28), "num_classes": 10}
        weights.write(path, made, **about)
        return path

    return write


# Batch normalization -------------------------------------------------------------


def correlated(X, kernels):
    """5x5 kernels (out, 1, 5, 5) on images (n, 1, h, w), stride 2, padded by 2."""
    X = np.pad(X[:, 0], ((0, 0), (2, 2), (2, 2)))
    windows = np.lib.stride_tricks.sliding_window_view(X, (5, 5), axis=(1, 2))
    windows = windows[:, ::2, ::2]
    return np.einsum("nijkl,okl->noij", windows, kernels[:, 0], optimize=True)


def pooled(X):
    """3x3 max pool with stride 2, padded by 1, of numbers that are not negative."""
    X = np.pad(X, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(X, (3, 3), axis=(2, 3))
    return windows[:, :, ::2, ::2].max(axis=(4, 5))


@pytest.fixture(scope="module")
def path(write):
    """Weights for `batch norm`, with variances beside which epsilon is not nothing."""
    return write(norm=True)


def wrong_parts(framework, path, replace=None):
    """What of the first batch normalization differs from what NumPy computes."""
    found = parity_worker.measure(
        framework, BATCH_NORM, path, replace=replace, parts=("update",)
    )
    w = {k: v.astype(np.float64) for k, v in weights.read(path)[0].items()}
    Z = correlated(parity_worker.images(28)[0][:-1], w["conv0.weight"])
    gamma, beta, mean, var = (
        w[f"bn0.{k}"][:, None, None] for k in ("weight", "bias", "mean", "var")
    )
    expected = {
        "activation/0": pooled(
            np.maximum(0, (Z - mean) / np.sqrt(var + EPSILON) * gamma + beta)
        ),
        "update/bn0.mean": (1 - KEPT) * (Z.mean((0, 2, 3)) - w["bn0.mean"]),
        "update/bn0.var": (1 - KEPT) * (Z.var((0, 2, 3)) - w["bn0.var"]),
    }
    return {
        k
        for k, v in expected.items()
        if not np.abs(found[k] - v).max() < 1e-4 * np.abs(v).max()
    }


@pytest.mark.slow(
    "parity compares with PyTorch's, which is compared with these numbers",
    only=LONG_TO_BUILD,
)
def test_batch_normalization_is_what_it_should_be(framework, path):
    assert wrong_parts(framework, path) == set()


@pytest.mark.slow(
    "test_batch_normalization_is_what_it_should_be compares with the same numbers",
    only=LONG_TO_BUILD,
)
@pytest.mark.parametrize("fault", ["momentum", "epsilon"])
def test_other_settings_would_be_noticed(fault, framework, path):
    replace, wrong = ("epsilon=1e-5", "epsilon=1e-3"), {"activation/0"}
    if framework == "pytorch":
        replace = ("eps=1e-5", "eps=1e-3")
    if fault == "momentum":
        replace = ("momentum=0.9)", "momentum=0.99)")
        if framework == "pytorch":
            replace = ("momentum=0.1)", "momentum=0.9)")
        wrong = {"update/bn0.mean", "update/bn0.var"}
    assert wrong_parts(framework, path, replace) == wrong


@pytest.mark.only("pytorch")
def test_pytorch_keeps_another_variance(framework, path, monkeypatch):
    """Without the correction in parity_worker it shows, and nothing else does."""
    monkeypatch.setattr(parity_worker.PyTorch, "as_others", lambda *args: None)
    assert wrong_parts(framework, path) == {"update/bn0.var"}


@pytest.mark.slow(
    "test_every_weight does so with batch normalization in small networks",
    only=LONG_TO_BUILD,
)
def test_running_statistics_are_saved_and_loaded(framework, d2l, path, tmp_path):
    side = parity_worker.adapter(framework)
    make = parity_worker.find_model(SECTION, framework, "batch norm")

    def bound(path):
        load = d2l.load_weights
        return side.loaded(parity_worker.new_model(make), lambda m: load(m, path))

    X, y = parity_worker.images(28)
    trained = bound(path)
    trained.board.display = False
    batch = side.batch(X[:-1], y)
    d2l.Trainer(1, precision="float32").fit(trained, parity_worker.Batches([batch]))
    after = tmp_path / "after.safetensors"
    d2l.save_weights(trained, after)
    old, new = weights.read(path)[0], weights.read(after)[0]
    assert set(old) == {k for k in new if not k.endswith(weights.BATCHES)}
    for name in ("bn0.mean", "bn14.var"):
        assert np.abs(new[name] - old[name]).max() > 1e-3
    again, known = d2l.predict(bound(after), X), d2l.predict(trained, X)
    # Not to the bit: the memory layout of what was trained may differ.
    np.testing.assert_allclose(again, known, rtol=0, atol=1e-5 * abs(known).max())
    assert abs(d2l.predict(bound(path), X) - known).max() > 0.1 * abs(known).max()


# Label smoothing -----------------------------------------------------------------


@pytest.mark.slow(
    "parity compares a step by it with PyTorch's, whose loss is compared here",
    only=LONG_TO_BUILD,
)
def test_the_smoothed_loss(framework, write):
    case = (SECTION, "label smoothing", 28)
    found = parity_worker.measure(
        framework, case, write(norm=False), parts=("gradients",)
    )
    y = parity_worker.images(28)[1]
    logits = found["logits"].astype(np.float64)
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    q = np.full(log_p.shape, 0.01)
    q[np.arange(len(y)), y] += 0.9
    assert found["loss"] == pytest.approx(-(q * log_p).sum(axis=1).mean(), rel=1e-5)
