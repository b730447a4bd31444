"""Weights that do not fit, and files that are none: one clear message, no harm.

The first half needs no framework; the second runs with `pytest --framework jax`.
"""

import json
import struct

import numpy as np
import pytest
from safetensors.numpy import save_file

from d2l_utils import weights

METADATA = {"format": "1", "model": "NiN28", "num_classes": "10"}
METADATA |= {"channels": "1", "height": "28", "width": "28"}


def tensor(shape, start=0, end=8, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def write_raw(path, header, size=8, length=None):
    """A file with this header (bytes, or tensors), `size` bytes of data, and the
    header's length given as `length`."""
    if isinstance(header, dict):
        header = json.dumps({"__metadata__": METADATA, **header}).encode()
    length = len(header) if length is None else length
    path.write_bytes(struct.pack("<Q", length) + header + bytes(size))
    return path


DAMAGED = {
    "empty": b"",
    "shorter than its first number": b"abcd",
    "a header of 2**63 bytes": {"header": b"{}", "length": 2**63},
    "a header longer than the file": {"header": b"{}", "length": 99_999_999},
    "a header that is no text": {"header": b"\xff\xfe{}"},
    "a header that is no JSON": {"header": b"weights"},
    "a header of nested lists": {"header": b"[" * 100_000},
    "data cut off": {"header": {"a": tensor([2])}, "size": 4},
    "data left over": {"header": {"a": tensor([2])}, "size": 16},
    "overlapping tensors": {
        "header": {"a": tensor([2]), "b": tensor([2], 4, 12)},
        "size": 12,
    },
    "two tensors in one place": {"header": {"a": tensor([2]), "b": tensor([2])}},
    "a gap": {"header": {"a": tensor([2]), "b": tensor([2], 16, 24)}, "size": 24},
    "an end before its start": {"header": {"a": tensor([2], 8, 0)}},
    "a shape of another size": {"header": {"a": tensor([3])}},
    "a negative shape": {"header": {"a": tensor([-2])}},
    "a shape that overflows": {"header": {"a": tensor([2**62, 4])}},
    "no elements, but 2**62 rows": {
        "header": {"a": tensor([2**62, 0], 0, 0)},
        "size": 0,
    },
    "a hundred axes": {"header": {"a": tensor([1] * 100, 0, 4)}, "size": 4},
    "a type that does not exist": {"header": {"a": tensor([2], dtype="F99")}},
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_damaged_files(damage, tmp_path):
    path, content = tmp_path / "w.safetensors", DAMAGED[damage]
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        write_raw(path, **content)
    with pytest.raises(weights.WeightsError, match="is not a readable safetensors"):
        weights.read(path)


@pytest.mark.parametrize("dtype", ["F16", "BF16", "F64", "F8_E4M3", "I32", "BOOL"])
def test_other_dtypes(dtype, tmp_path):
    size = {"F64": 8, "I32": 4, "F16": 2, "BF16": 2}.get(dtype, 1)
    header = {"conv0.bias": tensor([8 // size], dtype=dtype)}
    path = write_raw(tmp_path / "w.safetensors", header)
    words = rf"conv0.bias \({8 // size},\) should be float32, but is stored as {dtype}"
    with pytest.raises(weights.WeightsError, match=words):
        weights.read(path)


def test_files_of_others(tmp_path):
    path = tmp_path / "w.safetensors"
    save_file({"a": np.zeros(2, np.float32)}, path)
    with pytest.raises(weights.WeightsError, match="has the format None; this package"):
        weights.read(path)
    save_file({"a": np.zeros(2, np.float32)}, path, {"format": "pt"})
    with pytest.raises(weights.WeightsError, match="has the format pt; this package"):
        weights.read(path)


@pytest.mark.parametrize(
    "c, h, w",
    [
        ("1", "28", None), ("one", "28", "28"), ("1", "1e3", "28"),
        ("0", "28", "28"), ("1", "-28", "28"), ("1", "100000", "100000"),
        ("100000", "1", "1"), ("1", "9" * 5000, "28"), ("1", "9" * 4000, "28"),
    ],
)  # fmt: skip
def test_absurd_input_shapes(c, h, w):
    """A network would be built for them, and take all memory."""
    metadata = {"channels": c, "height": h, "width": w}
    metadata = {k: v for k, v in metadata.items() if v is not None}
    with pytest.raises(weights.WeightsError, match="The weights file") as caught:
        weights.input_shape(metadata)
    assert len(str(caught.value)) < 200


def test_messages_stay_short():
    """Names and model names come from the file, too."""
    tensors = {"x" * 10**6 + "\n\x1b[2J": np.zeros(1, np.float32)}
    with pytest.raises(weights.WeightsError, match="the model does not") as caught:
        weights.check(tensors, {"model": "\n" * 10**6}, {}, "NiN28")
    assert len(str(caught.value)) < 300 and "\n" not in str(caught.value)


# With a framework -----------------------------------------------------------------


def changed(**kwargs):
    return lambda tensors: {**tensors, **kwargs}


def without(name):
    return lambda tensors: {k: v for k, v in tensors.items() if k != name}


def zeros(*shape, dtype=np.float32):
    return np.zeros(shape, dtype)


MISFITS = {
    "a missing tensor": (
        without("conv3.bias"), r"conv3.bias is missing, expected \(64,\)"
    ),
    "a tensor too many": (
        changed(**{"dense0.weight": zeros(10, 40)}),
        r"the file has dense0.weight \(10, 40\), the model does not",
    ),
    "a tensor of another shape": (
        changed(**{"conv3.weight": zeros(24, 64, 3, 3)}),
        r"conv3.weight should be \(64, 24, 3, 3\), but is \(24, 64, 3, 3\)",
    ),
    "an axis too few": (
        changed(**{"conv1.weight": zeros(24, 24)}),
        r"conv1.weight should be \(24, 24, 1, 1\), but is \(24, 24\)",
    ),
    "a tensor without elements": (
        changed(**{"conv3.bias": zeros(0)}),
        r"conv3.bias should be \(64,\), but is \(0,\)",
    ),
    "half precision": (
        changed(**{"conv3.bias": zeros(64, dtype=np.float16)}),
        r"conv3.bias \(64,\) should be float32, but is stored as F16",
    ),
    "another number of classes": (
        changed(**{"conv9.weight": zeros(7, 96, 3, 3)}),
        r"conv9.weight should be \(10, 96, 3, 3\), but is \(7, 96, 3, 3\)",
    ),
    "another architecture": (
        lambda tensors: {"conv0.weight": zeros(64, 1, 7, 7), "conv0.bias": zeros(64)},
        r"weights of NiN28 do not fit this NiN28: conv0.weight should be",
    ),
    "nothing": (lambda tensors: {}, r"conv0.weight is missing, expected \(24, 1, 3, 3"),
    "other names": (
        lambda tensors: {f"net.{k}": v for k, v in tensors.items()},
        "conv0.weight is missing",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def good(d2l):
    return weights.read(d2l.stored_path("nin28_56"))


@pytest.fixture(scope="module")
def loaded(framework, d2l, nin):
    """A network with weights, and what it predicts; all tests leave it as it was."""
    model = nin["NiN28"]()
    variables = d2l.load_weights(model, d2l.stored_path("nin28_56"))
    model = model.bind(variables) if framework == "jax" else model
    X = np.random.default_rng(0).random((2, 1, 56, 56), dtype=np.float32)
    return model, X, d2l.predict(model, X)


@pytest.mark.parametrize("misfit", MISFITS)
def test_misfits_leave_a_model_as_it_was(misfit, d2l, good, loaded, tmp_path):
    change, words = MISFITS[misfit]
    model, X, logits = loaded
    path = tmp_path / "w.safetensors"
    save_file(change(good[0]), path, good[1])
    with pytest.raises(weights.WeightsError, match=words):
        d2l.load_weights(model, path)
    np.testing.assert_array_equal(d2l.predict(model, X), logits)


def test_damage_leaves_a_model_as_it_was(d2l, loaded, tmp_path):
    model, X, logits = loaded
    whole = d2l.stored_path("nin28_56").read_bytes()
    path = tmp_path / "w.safetensors"
    for length in (0, 7, 8, 1000, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(weights.WeightsError, match="is not a readable"):
            d2l.load_weights(model, path)
    np.testing.assert_array_equal(d2l.predict(model, X), logits)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_new_model_survives_a_misfit(
    channels, framework, d2l, nin, good, loaded, tmp_path
):
    """Also one for another number of channels, for which it must not stay built."""
    path, model, X = tmp_path / "w.safetensors", nin["NiN28"](), loaded[1]
    tensors = {**good[0], "conv0.weight": zeros(24, channels, 3, 3)}
    del tensors["conv3.bias"]
    save_file(tensors, path, {**good[1], "channels": str(channels)})
    with pytest.raises(weights.WeightsError, match=r"conv3.bias is missing"):
        d2l.load_weights(model, path)
    variables = d2l.load_weights(model, d2l.stored_path("nin28_56"))
    model = model.bind(variables) if framework == "jax" else model
    np.testing.assert_array_equal(d2l.predict(model, X), loaded[2])


def test_an_absurd_input_shape_builds_nothing(d2l, nin, good, tmp_path):
    path = tmp_path / "w.safetensors"
    save_file(good[0], path, {**good[1], "height": "1000000", "width": "1000000"})
    with pytest.raises(weights.WeightsError, match=r"images of \(1, 1000000, 1000000"):
        d2l.load_weights(nin["NiN28"](), path)
