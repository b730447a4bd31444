"""Downloads under faults: bad mirrors, several processes, kills, full disks."""

import contextlib
import gzip
import json
import os
import socket
import threading
import warnings
from importlib import import_module

import pytest
from made_mirrors import Mirror, good, make_files, send, start_body, start_child

from d2l_utils import fetching, sources

import_module("requests")  # takes a second, before the clock of a download runs

TIMEOUT = 2  # seconds, in place of the 20 that users have
TOO_LONG = 60  # seconds, in which every bad mirror has long been given up
HANGS = 300  # seconds, after which a process is taken to hang, also on a busy machine
IMAGES = "train-images-idx3-ubyte.gz"
NOBODY = 65534  # a user without rights


@pytest.fixture
def here(tmp_path, monkeypatch, rng):
    """Sources within tmp_path: real/ for mirrors, cache/; `here.sums`."""
    monkeypatch.delenv("D2L_UTILS_DATA", raising=False)
    sums = make_files(tmp_path / "real", rng)
    monkeypatch.setattr(sources, "SHA256", sums)
    monkeypatch.setattr(sources, "DEBIAN", tmp_path / "nowhere")
    monkeypatch.setattr(sources, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(fetching, "TIMEOUT", TIMEOUT)
    monkeypatch.setattr(fetching, "LARGEST", 10**5)
    monkeypatch.setattr(sources, "LARGEST", 2 * 10**6)  # enough for the sample
    sources.load_fashion_mnist.cache_clear()
    yield tmp_path
    sources.load_fashion_mnist.cache_clear()


@pytest.fixture
def mirror(monkeypatch):
    """mirror(answer): a running Mirror, the last of the list of mirrors."""
    monkeypatch.setattr(sources, "MIRRORS", ())
    running = []

    def start(answer):
        running.append(Mirror(answer))
        monkeypatch.setattr(sources, "MIRRORS", tuple(m.url for m in running))
        return running[-1]

    yield start
    for m in running:
        m.close()


def load():
    """Load anew, as another process would; a warning to the user is an error."""
    sources.load_fashion_mnist.cache_clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        return sources.load_fashion_mnist()


@contextlib.contextmanager
def ends_in_time(*mirrors):
    """Where a download would wait for a mirror for ever, let it go and fail."""
    late = threading.Event()

    def let_go():
        late.set()
        for m in mirrors:
            m.over.set()

    clock = threading.Timer(TOO_LONG, let_go)
    clock.start()
    try:
        yield
    finally:
        clock.cancel()
    assert not late.is_set(), f"a bad mirror was not given up in {TOO_LONG} s"


def kept(folder):
    return {p.name for p in (folder / "cache").glob("*")} - {".lock"}


def whole(folder):
    """Whether the cache holds the four files, bit by bit, and nothing else."""
    real = {p.name: p.read_bytes() for p in (folder / "real").iterdir()}
    return kept(folder) == set(real) and all(
        (folder / "cache" / k).read_bytes() == v for k, v in real.items()
    )


# Mirrors ------------------------------------------------------------------------


def missing(request, name):
    request.send_error(404)


def broken(request, name):
    request.send_error(503)


def page(request, name):
    send(request, b"<html>Log in to the network of this hotel</html>")


def other(request, name):
    send(request, gzip.compress(b"another file"))


def damaged(request, name):
    send(request, gzip.compress(bytes(5000))[:-12])


def bomb(request, name):
    send(request, gzip.compress(bytes(3 * 10**6)))


def endless(request, name):
    start_body(request)
    while not request.over.is_set():
        request.wfile.write(bytes(2**16))


def silent(request, name):
    request.over.wait()


def half(request, name):
    start_body(request, 10**5)
    request.wfile.write(bytes(10**4))


def stalled(request, name):
    half(request, name)
    request.over.wait()


def drip(request, name):
    start_body(request, 10**5)
    for _ in range(1200):  # never TIMEOUT without a byte
        request.wfile.write(b"x")
        if request.over.wait(0.1):
            break


def nonsense(request, name):
    request.wfile.write(b"220 this is not even HTTP\r\n")


FAULTS = {
    missing: "404",
    broken: "503",
    page: "a web page is not the Fashion-MNIST file",
    other: "have the SHA-256",
    damaged: "what it sent is damaged",
    bomb: "unpacks to more than",
    endless: "sends more than",
    silent: "timed out|only 0 bytes in 2 s",
    half: "IncompleteRead|Connection broken",
    stalled: r"timed out|only [\d,]+ bytes in 2 s",
    drip: "only 0 bytes in 2 s",
    nonsense: "Connection aborted|BadStatusLine",
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f.__name__)
def test_a_bad_mirror_is_left_for_the_next(here, mirror, fault):
    bad, fine = mirror(fault), mirror(good(here / "real"))
    with ends_in_time(bad):
        assert load().source == "download"
    assert whole(here)
    # What failed once is asked last from then on.
    assert bad.asked == {IMAGES: 1} and fine.asked[IMAGES] == 1
    assert load().source == "cache"


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f.__name__)
def test_with_bad_mirrors_only_the_reason_is_given(here, mirror, fault):
    bad = mirror(fault)
    with ends_in_time(bad), pytest.warns(UserWarning, match=FAULTS[fault]) as caught:
        assert sources.load_fashion_mnist().is_sample
    assert any(bad.url in str(w.message) for w in caught)
    assert kept(here) == set()


def test_a_slow_mirror_is_not_given_up(here, mirror, monkeypatch):
    def slow(request, name):
        body = (here / "real" / name).read_bytes()
        start_body(request, len(body))
        for i in range(0, len(body), 500):
            request.wfile.write(body[i : i + 500])
            request.over.wait(0.2)  # also where it is five times as long: no timeout

    images = (here / "real" / IMAGES).stat().st_size
    assert images / 500 * 0.2 > TIMEOUT
    monkeypatch.setattr(fetching, "SLOWEST", 100)
    mirror(slow)
    assert load().source == "download" and whole(here)


def test_a_closed_port(here, mirror, monkeypatch):
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as server:
        closed = f"http://127.0.0.1:{server.getsockname()[1]}/"
    mirror(good(here / "real"))
    monkeypatch.setattr(sources, "MIRRORS", (closed, *sources.MIRRORS))
    assert load().source == "download" and whole(here)


def test_the_limits_that_are_promised():
    assert (fetching.TIMEOUT, fetching.SLOWEST) == (20, 20_000)
    assert fetching.LARGEST / fetching.SLOWEST < 28.5 * 60
    assert fetching.LARGEST > 26_421_880 and sources.LARGEST > 47_040_016


# Several processes, kills -------------------------------------------------------


def test_several_processes_download_once(here, mirror):
    def wait_for_all(request, name):
        while not all_ready.is_set() and not request.over.wait(0.05):
            pass
        good(here / "real")(request, name)

    all_ready = threading.Event()
    server = mirror(wait_for_all)
    sums = sources.SHA256
    children = [start_child(sums, here / "cache", [server]) for _ in range(3)]
    all_ready.set()
    results = []
    for child in children:
        out, err = child.communicate(timeout=HANGS)
        assert child.returncode == 0 and "Warning" not in err, err
        results.append(json.loads(out.splitlines()[-1]))
    assert sorted(source for source, _ in results) == ["cache", "cache", "download"]
    assert len({total for _, total in results}) == 1
    assert set(server.asked.values()) == {1} and len(server.asked) == 4
    assert whole(here)


def test_a_process_killed_in_mid_download_leaves_nothing(here, mirror):
    half_sent = threading.Event()

    def stop_at_half(request, name):
        body = (here / "real" / name).read_bytes()
        if name != IMAGES.replace("train", "t10k"):
            return send(request, body)
        start_body(request, len(body))
        request.wfile.write(body[: len(body) // 2])
        half_sent.set()
        request.over.wait()

    child = start_child(sources.SHA256, here / "cache", [mirror(stop_at_half)])
    assert half_sent.wait(HANGS)
    child.kill()
    child.communicate()
    done = kept(here)  # the two files before it, whole
    assert len(done) == 2 and not any("part" in name for name in done)
    # It may be killed while it writes, too; and the next process goes on from there.
    (here / "cache" / f"{IMAGES}.12345.part").write_bytes(b"half a fi")
    again = Mirror(good(here / "real"))
    sources.MIRRORS = (again.url,)
    assert load().source == "download"
    again.close()
    assert whole(here)
    assert not set(again.asked) & done  # what was there is not fetched again


def test_a_half_file_under_the_right_name_is_not_taken(here, mirror):
    (here / "cache").mkdir()
    for path in (here / "real").iterdir():
        body = path.read_bytes()
        (here / "cache" / path.name).write_bytes(body[: len(body) // 2])
    (here / "cache" / IMAGES.removesuffix(".gz")).write_bytes(b"")  # without .gz
    mirror(good(here / "real"))
    assert load().source == "download"
    assert whole(here)


# Disks --------------------------------------------------------------------------


def test_a_full_disk(here, mirror):
    """No file may be longer than 1000 bytes: labels are kept, images are not."""
    pytest.importorskip("resource")
    fine = mirror(good(here / "real"))
    child = start_child(sources.SHA256, here / "cache", [fine], largest_file=1000)
    out, err = child.communicate(timeout=HANGS)
    assert json.loads(out.splitlines()[-1])[0] == "download", err
    message = " ".join(err.split())
    assert "used from memory, but it cannot be kept in" in message
    assert "File too large" in message and "D2L_UTILS_DATA" in message
    assert kept(here) == {"train-labels-idx1-ubyte.gz", "t10k-labels-idx1-ubyte.gz"}
    assert load().source == "download" and whole(here)  # there is room again
    assert fine.asked[IMAGES] == 2 and fine.asked["t10k-labels-idx1-ubyte.gz"] == 1


def test_a_cache_that_cannot_be_made(here, mirror):
    (here / "cache").write_text("a file in the place of the folder")
    mirror(good(here / "real"))
    with pytest.warns(UserWarning, match="used from memory"):
        assert sources.load_fashion_mnist().source == "download"
    assert (here / "cache").read_text().startswith("a file")


@pytest.fixture
def not_root(here):
    """Files keep nobody out who is root: be another user for a while."""
    if not hasattr(os, "geteuid"):
        pytest.skip("on Windows, chmod does not close a folder")
    root = os.geteuid() == 0
    if root:
        for path in (here, *here.rglob("*")):
            os.chown(path, NOBODY, NOBODY)
        for folder in list(here.parents)[:2]:  # pytest's own, closed to others
            folder.chmod(0o711)
        os.seteuid(NOBODY)
    yield
    if root:
        os.seteuid(0)


def test_a_read_only_cache(here, mirror, not_root):
    cache = here / "cache"
    cache.mkdir()
    cache.chmod(0o500)
    mirror(good(here / "real"))
    with pytest.warns(UserWarning, match="Permission denied"):
        assert sources.load_fashion_mnist().source == "download"
    cache.chmod(0o700)
    assert load().source == "download"
    cache.chmod(0o500)  # a full cache needs no writing
    assert load().source == "cache"
    cache.chmod(0)  # nor can it be looked into
    with pytest.warns(UserWarning, match="Permission denied"):
        sources.load_fashion_mnist.cache_clear()
        assert sources.load_fashion_mnist().source == "download"
    cache.chmod(0o700)


def test_where_files_cannot_be_locked(here, mirror, monkeypatch):
    import filelock

    def acquire(*args, **kwargs):
        raise NotImplementedError("this file system has no locks")

    monkeypatch.setattr(filelock.FileLock, "acquire", acquire)
    mirror(good(here / "real"))
    assert load().source == "download" and whole(here)


def test_a_lock_that_is_never_given_back(here, mirror, monkeypatch, capsys):
    fcntl = pytest.importorskip("fcntl")
    monkeypatch.setattr(sources, "WAIT", 0.1)
    (here / "cache").mkdir()
    mirror(good(here / "real"))
    with open(here / "cache" / ".lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert load().source == "download" and whole(here)
    assert "waiting for it" in capsys.readouterr().out
