"""Data without a framework: IDX files, sources, checksums, order, resizing."""

import contextlib
import gzip
import math
import os
import shutil
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_mirrors import idx, make_files

from d2l_utils import data, sources
from d2l_utils.sources import DataError


@pytest.fixture
def fake(tmp_path, monkeypatch, rng):
    """A tiny data set with its own checksums, and no other source in reach."""
    monkeypatch.delenv("D2L_UTILS_DATA", raising=False)
    monkeypatch.setattr(sources, "DEBIAN", tmp_path / "nowhere")
    monkeypatch.setattr(sources, "MIRRORS", ())
    monkeypatch.setattr(sources, "cache_folder", lambda: tmp_path / "cache")
    sources.load_fashion_mnist.cache_clear()
    folder = tmp_path / "files"
    monkeypatch.setattr(sources, "SHA256", make_files(folder, rng))
    yield folder
    sources.load_fashion_mnist.cache_clear()


def test_idx_reads_what_was_written(rng):
    array = rng.integers(0, 256, (3, 4, 5), dtype=np.uint8)
    decoded = sources.decode_idx(idx(array))
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, array)


@pytest.mark.parametrize(
    "raw, words",
    [
        (b"", "not an IDX file"),
        (b"<html>Not found</html>", "not an IDX file"),
        (b"\0\0\x08\x03\0\0", "within its header"),
        (idx(np.zeros((2, 3)))[:-1], "should hold 6 bytes"),
        (idx(np.zeros((2, 3))) + b"x", "but holds 7"),
        (b"\0\0\x08\x02" + b"\xff" * 8, "truncated or damaged"),
        (b"\0\0\x08\x03" + bytes(4) + b"\xff" * 8, "claims the shape"),
    ],
)
def test_bad_idx_is_refused(raw, words):
    with pytest.raises(DataError, match=words):
        sources.decode_idx(raw)


SIZES = st.sampled_from([0, 1, 2, 3, 2**31, 2**32 - 1]) | st.integers(0, 2**32 - 1)


@st.composite
def idx_like(draw):
    """Bytes with the beginning of an IDX file, and any sizes claimed."""
    sizes = draw(st.lists(SIZES, min_size=1, max_size=4))
    head = bytes([0, 0, 8, len(sizes)]) + np.array(sizes, ">u4").tobytes()
    size = math.prod(sizes)
    exact = size < 1000 and draw(st.booleans())
    return head + (bytes(size) if exact else draw(st.binary(max_size=64)))


@settings(max_examples=400)
@given(idx_like() | st.binary(max_size=64).map(b"\0\0\x08".__add__) | st.binary())
def test_any_bytes_give_an_array_or_a_data_error(raw):
    try:
        array = sources.decode_idx(raw)
    except DataError:
        return
    assert array.dtype == np.uint8 and raw.endswith(array.tobytes())
    assert len(raw) == 4 + 4 * array.ndim + array.size


@given(st.binary(max_size=300), st.data())
def test_any_damage_to_a_packed_file_gives_bytes_or_a_data_error(raw, data):
    packed = bytearray(gzip.compress(raw))
    for _ in range(data.draw(st.integers(0, 3))):
        packed[data.draw(st.integers(2, len(packed) - 1))] = data.draw(
            st.integers(0, 255)
        )
    packed = packed[: data.draw(st.integers(0, len(packed)))]
    with contextlib.suppress(DataError):
        assert len(sources.unpack(bytes(packed))) <= sources.LARGEST


def test_a_gzip_bomb_costs_no_more_memory_than_the_limit(monkeypatch, tmp_path):
    limit = 2**20
    monkeypatch.setattr(sources, "LARGEST", limit)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(bytes(2**22)) * 30)  # 120 MiB in 120 kB
    tracemalloc.start()
    with pytest.raises(DataError, match="unpacks to more than 1,048,576 bytes"):
        sources._read(path)
    os.truncate(path, 0), os.truncate(path, 2**27)  # 128 MiB, not packed
    with pytest.raises(DataError, match="has more than 1,048,576 bytes"):
        sources._read(path)
    assert tracemalloc.get_traced_memory()[1] < 5 * limit
    tracemalloc.stop()


def test_root_is_read_and_verified(fake):
    arrays = sources.load_fashion_mnist(str(fake))
    assert arrays.train.images.shape == (20, 28, 28)
    assert arrays.val.labels.shape == (10,)
    assert not arrays.is_sample


def test_the_data_set_is_that_of_its_root(fake):
    fm = data.FashionMNIST(batch_size=8, root=str(fake))
    assert (fm.source, fm.is_sample, fm.num_batches(train=True)) == ("folder", False, 3)
    expected = sources.load_fashion_mnist(str(fake))
    for part in ("train", "val"):
        images, labels = getattr(fm, part)
        np.testing.assert_array_equal(images, getattr(expected, part).images)
        np.testing.assert_array_equal(labels, getattr(expected, part).labels)


def test_a_subset_keeps_the_first_images(fake):
    whole = data.FashionMNIST(batch_size=4, root=str(fake))
    part = data.subset(data.FashionMNIST(batch_size=4, root=str(fake)), 6, num_val=3)
    for train, n in ((True, 6), (False, 3)):
        for ours, all_of_them in zip(part.part(train), whole.part(train), strict=True):
            np.testing.assert_array_equal(ours, all_of_them[:n])
    assert part.num_batches(train=True) == 2
    assert len(data.subset(part, num_val=2).train.images) == 6  # as it was


@pytest.mark.parametrize(
    "num, words",
    [
        ({"num_train": 0}, "num_train=0"),
        ({"num_val": 11}, "num_val=11, but there are 10"),
        ({"num_train": 2.5}, "num_train=2.5"),
    ],
)
def test_a_subset_that_there_is_not(fake, num, words):
    with pytest.raises(ValueError, match=words):
        data.subset(data.FashionMNIST(root=str(fake)), **num)


def test_environment_variable_names_the_folder(fake, monkeypatch):
    monkeypatch.setenv("D2L_UTILS_DATA", str(fake))
    assert sources.load_fashion_mnist().source == "folder"


@pytest.mark.parametrize("damage", ["truncated", "flipped", "html"])
def test_a_damaged_file_in_root_is_an_error(fake, damage):
    path = fake / "train-images-idx3-ubyte.gz"
    raw = path.read_bytes()
    if damage == "truncated":
        path.write_bytes(raw[: len(raw) // 2])
    elif damage == "flipped":
        plain = bytearray(gzip.decompress(raw))
        plain[100] ^= 1
        path.write_bytes(gzip.compress(bytes(plain)))
    else:
        path.write_bytes(b"<html></html>")
    with pytest.raises(DataError, match="train-images-idx3-ubyte"):
        sources.load_fashion_mnist(str(fake))


def test_a_damaged_cache_is_thrown_away(fake, tmp_path):
    shutil.copytree(fake, tmp_path / "cache")
    path = tmp_path / "cache" / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(gzip.compress(b"wrong"))
    with pytest.warns(UserWarning, match="NOT the full Fashion-MNIST"):
        assert sources.load_fashion_mnist().is_sample
    assert not path.exists()


def test_without_any_source_the_sample_is_used_with_a_warning(fake):
    with pytest.warns(UserWarning, match="D2L_UTILS_DATA"):
        arrays = sources.load_fashion_mnist()
    assert arrays.is_sample
    assert arrays.train.images.shape == (2000, 28, 28)
    assert arrays.val.images.shape == (500, 28, 28)
    assert set(np.bincount(arrays.train.labels)) == {200}
    assert set(np.bincount(arrays.val.labels)) == {50}


def test_an_empty_root_says_so(fake, tmp_path):
    with pytest.warns(UserWarning, match="does not hold the four"):
        sources.load_fashion_mnist(str(tmp_path))


def test_order_of_an_epoch():
    expected = np.random.default_rng([7, 3]).permutation(100)
    np.testing.assert_array_equal(data.epoch_order(100, 7, 3), expected)
    assert not np.array_equal(data.epoch_order(100, 7, 4), expected)


@pytest.mark.parametrize("n_in, n_out", [(28, 28), (28, 96), (28, 224), (28, 10)])
def test_resizing_agrees_with_pillow(n_in, n_out, rng):
    """Pillow's bilinear filter is an independent implementation of the same."""
    from PIL import Image

    X = rng.random((n_in, n_in), dtype=np.float32)
    R = data.resize_matrix(n_in, n_out)
    ours = R @ X @ R.T
    resample = Image.Resampling.BILINEAR
    pillow = np.asarray(Image.fromarray(X).resize((n_out, n_out), resample))
    np.testing.assert_allclose(ours, pillow, atol=2e-6)


def test_resizing_by_hand():
    """Two pixels to four: centres at 1/4 and 3/4 between, the edges clamped."""
    expected = [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]]
    np.testing.assert_allclose(data.resize_matrix(2, 4), expected)
    assert data.resize_matrices((28, 28), (28, 28)) is None
    with pytest.raises(ValueError, match="Cannot resize"):
        data.resize_matrix(28, 0)


def test_batches(sample):
    fm = data.FashionMNIST(batch_size=300)
    assert fm.num_batches(train=True) == 7 and fm.num_batches(train=False) == 2
    first, second = (list(fm.batches(True, epoch)) for epoch in (0, 1))
    assert [len(y) for _, y in first] == [300] * 6 + [200]
    assert first[0][0].dtype == np.uint8 and first[0][1].dtype == np.int32
    assert not np.array_equal(first[0][1], second[0][1])
    order = data.epoch_order(2000, fm.seed, 0)
    seen = np.concatenate([X for X, _ in first])
    np.testing.assert_array_equal(seen, sample.train.images[order])
    unshuffled = np.concatenate([y for _, y in fm.batches(False)])
    np.testing.assert_array_equal(unshuffled, sample.val.labels)


def test_fast_mode_shortens_the_data(sample, monkeypatch):
    monkeypatch.setenv("D2L_UTILS_FAST", "1")
    fm = data.FashionMNIST(batch_size=20)
    sizes = [[len(y) for _, y in fm.batches(train)] for train in (True, False)]
    assert sizes == [[data.FAST_IMAGES] * data.FAST_TRAIN_BATCHES, [data.FAST_IMAGES]]


def test_text_labels(sample):
    fm = data.FashionMNIST()
    assert fm.text_labels([0, 9]) == ["t-shirt", "ankle boot"]
    with pytest.raises(ValueError, match="batch_size"):
        data.FashionMNIST(batch_size=0)


def test_resize_takes_one_number_or_two(sample):
    for size in (96, np.int64(96), (96, 96), [96, 96]):
        assert data.FashionMNIST(resize=size).resize == (96, 96)
    for wrong in ("96", 96.0, (96,), (96, 96, 1), None, 0, (96, -1), (9.5, 96)):
        with pytest.raises(ValueError, match="resize"):
            data.FashionMNIST(resize=wrong)


def test_root_is_the_textbooks_folder(sample):
    class Own(data.DataModule):
        def __init__(self):
            super().__init__()
            self.folder = os.path.join(self.root, "leaves")

    assert Own().folder == os.path.join("../data", "leaves")
    assert data.FashionMNIST().root == "../data"
    assert data.FashionMNIST(root="elsewhere").root == "elsewhere"


@pytest.mark.parametrize("given", ["~no-such-user-here/x", "~no-such-user-here"])
def test_a_folder_of_nobody_is_looked_for_and_not_found(fake, monkeypatch, given):
    monkeypatch.setenv("D2L_UTILS_DATA", given)
    with pytest.warns(UserWarning, match=f"{given} does not hold the four"):
        assert sources.load_fashion_mnist().is_sample


def test_part_of_the_data_in_its_place(sample):
    """As readers write it: a Split, a pair of arrays, a subset of a subset."""

    class Subset:  # torch.utils.data.Subset's attributes
        def __init__(self, dataset, indices):
            self.dataset, self.indices = dataset, indices

    fm = data.FashionMNIST(batch_size=10)
    images, labels = sample.train
    for part in (
        sources.Split(images[5:25], labels[5:25]),
        (images[5:25], labels[5:25].tolist()),
        Subset(Subset(fm.train, range(5, 100)), range(20)),
    ):
        fm.train = part
        assert fm.num_batches(train=True) == 2
        for ours, expected in zip(fm.train, (images[5:25], labels[5:25])):
            np.testing.assert_array_equal(ours, expected)
        fm = data.FashionMNIST(batch_size=10)
    for part, words in [
        (Subset([1, 2], [0]), "data.val is Subset"),
        ((images / 255, labels), "data.val is images of float64"),
        (
            (images[..., None], labels),
            r"data.val is images of uint8 and shape \(2000, 28",
        ),
    ]:
        fm.val = part
        with pytest.raises(ValueError, match=f"{words}.*define get_dataloader"):
            list(fm.val_dataloader())
        assert len(fm.train_dataloader()) == 200
