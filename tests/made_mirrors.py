"""A tiny data set, servers on loopback that misbehave, processes that load it."""

import contextlib
import gzip
import hashlib
import http.server
import json
import subprocess
import sys
import threading
from collections import Counter

import numpy as np

from d2l_utils import sources

CHILD = """
import json, sys
from pathlib import Path
from d2l_utils import fetching, sources

given = json.loads(sys.argv[1])
sources.DEBIAN, sources.MIRRORS = Path("nowhere"), given["mirrors"]
sources.SHA256 = given["sums"]
sources.cache_folder = lambda: Path(given["cache"])
if given["largest_file"]:
    import resource
    sys.dont_write_bytecode = True  # Python would keep it cut short
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (given["largest_file"], hard))
print("ready", flush=True)
arrays = sources.load_fashion_mnist()
total = sum(int(x.sum()) for split in arrays[:2] for x in split)
print(json.dumps([arrays.source, total]))
"""


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return header + array.astype(np.uint8).tobytes()


def make_files(folder, rng):
    """Write a tiny data set as four .gz files; returns their checksums."""
    folder.mkdir()
    sums = {}
    for key, name in sources.FILES.items():
        n = 20 if key.startswith("train") else 10
        shape = (n, 28, 28) if key.endswith("images") else (n,)
        raw = idx(rng.integers(0, 10, shape))
        sums[name] = hashlib.sha256(raw).hexdigest()
        (folder / f"{name}.gz").write_bytes(gzip.compress(raw))
    return sums


class Mirror:
    """A server on loopback: `answer(request, name)` sends what it likes.

    `asked` counts the requests by file; `over` is set when the test ends, for
    answers that wait.
    """

    def __init__(self, answer):
        self.asked, self.over = Counter(), threading.Event()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(handler):
                name = handler.path.strip("/")
                self.asked[name] += 1
                with contextlib.suppress(OSError):  # the client went away
                    answer(handler, name)

            def log_message(handler, *args):
                pass

        Handler.over = self.over
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        serve = self.server.serve_forever
        threading.Thread(target=serve, args=(0.05,), daemon=True).start()

    def close(self):
        self.over.set()
        self.server.shutdown()
        self.server.server_close()


def start_body(request, length=None):
    request.send_response(200)
    if length is not None:
        request.send_header("Content-Length", str(length))
    request.end_headers()


def send(request, body):
    start_body(request, len(body))
    request.wfile.write(body)


def good(folder):
    """An answer that sends the files of a folder."""
    return lambda request, name: send(request, (folder / name).read_bytes())


def start_child(sums, cache, mirrors, largest_file=None):
    """A Python process that loads the data set; it says when it is ready to."""
    given = {
        "sums": sums,
        "cache": str(cache),
        "mirrors": [m.url for m in mirrors],
        "largest_file": largest_file,
    }
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, json.dumps(given)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert child.stdout.readline() == "ready\n", child.stderr.read()
    return child
