"""Data without a framework: IDX files, sources, checksums, order, resizing."""

import gzip
import http.server
import shutil
import threading
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from d2l_utils import data, sources
from d2l_utils.sources import DataError


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return header + array.astype(np.uint8).tobytes()


@pytest.fixture
def fake(tmp_path, monkeypatch, rng):
    """A tiny data set with its own checksums, and no other source in reach."""
    import hashlib

    monkeypatch.delenv("D2L_UTILS_DATA", raising=False)
    monkeypatch.setattr(sources, "DEBIAN", tmp_path / "nowhere")
    monkeypatch.setattr(sources, "MIRRORS", ())
    monkeypatch.setattr(sources, "cache_folder", lambda: tmp_path / "cache")
    sources.load_fashion_mnist.cache_clear()
    folder = tmp_path / "files"
    folder.mkdir()
    sums = {}
    for key, name in sources.FILES.items():
        n = 20 if key.startswith("train") else 10
        shape = (n, 28, 28) if key.endswith("images") else (n,)
        raw = idx(rng.integers(0, 10, shape))
        sums[name] = hashlib.sha256(raw).hexdigest()
        (folder / f"{name}.gz").write_bytes(gzip.compress(raw))
    monkeypatch.setattr(sources, "SHA256", sums)
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
    ],
)
def test_bad_idx_is_refused(raw, words):
    with pytest.raises(DataError, match=words):
        sources.decode_idx(raw)


@given(st.binary(max_size=64))
def test_any_bytes_give_an_array_or_a_data_error(raw):
    try:
        array = sources.decode_idx(b"\0\0\x08" + raw)
    except DataError:
        return
    assert array.size <= len(raw)


def test_root_is_read_and_verified(fake):
    arrays = sources.load_fashion_mnist(str(fake))
    assert arrays.train.images.shape == (20, 28, 28)
    assert arrays.val.labels.shape == (10,)
    assert not arrays.is_sample


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


@pytest.fixture
def serve(tmp_path):
    """Start a server on loopback: serve(answer) -> URL; answer(name) -> bytes|None."""
    servers = []

    def start(answer):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                body = answer(self.path.strip("/"))
                self.send_response(404 if body is None else 200)
                self.send_header("Content-Length", str(len(body or b"")))
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, *args):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_download_passes_over_bad_mirrors(fake, serve, monkeypatch, tmp_path):
    good = {p.name: p.read_bytes() for p in fake.iterdir()}
    mirrors = (
        serve(lambda name: None),
        serve(lambda name: b"<html>maintenance</html>"),
        serve(lambda name: gzip.compress(b"wrong bytes")),
        serve(lambda name: good[name][:-20]),
        serve(good.get),
    )
    monkeypatch.setattr(sources, "MIRRORS", mirrors)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        arrays = sources.load_fashion_mnist()
    assert arrays.source == "download"
    left = {p.name for p in (tmp_path / "cache").iterdir()} - {".lock"}
    assert left == set(good)  # and nothing half-written
    sources.load_fashion_mnist.cache_clear()
    monkeypatch.setattr(sources, "MIRRORS", ())
    assert sources.load_fashion_mnist().source == "cache"


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
    fm = data.FashionMNIST(batch_size=10)
    assert len(list(fm.batches(True))) == data.FAST_TRAIN_BATCHES
    assert len(list(fm.batches(False))) == data.FAST_VAL_BATCHES


def test_text_labels(sample):
    fm = data.FashionMNIST()
    assert fm.text_labels([0, 9]) == ["t-shirt", "ankle boot"]
    with pytest.raises(ValueError, match="batch_size"):
        data.FashionMNIST(batch_size=0)
