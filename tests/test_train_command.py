"""`python -m d2l_utils.train`: what it takes from a notebook, and what it refuses."""

import argparse
import importlib
import json
import re
import socket
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest

from book.source.book import BOOK, ROOT
from d2l_utils import alike, rollcall, scripts, train
from d2l_utils.frameworks import FRAMEWORKS

TWO = ["--workers", "a:1,b:1", "--rank"]


def notebook(folder, *cells):
    """A notebook with cells (tags, source)."""
    path = folder / "made.ipynb"
    cells = [
        {"cell_type": "code", "metadata": {"tags": tags} if tags else {},
         "source": source.splitlines(keepends=True)}
        for tags, source in cells
    ]  # fmt: skip
    path.write_text(json.dumps({"cells": cells}))
    return path


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_the_cells_of_an_edition_that_training_needs(name):
    sources = scripts.cells_of(BOOK.notebooks / name / "nin.ipynb")
    text = "\n".join(sources)
    assert train.framework_of(sources) == name
    assert "class NiN28" in text and "trainer_28.fit(model_28, data_28)" in text
    assert "show_maps" not in text and "run_facts" not in text


def test_cells_come_in_order_and_without_others(tmp_path):
    cells = (["train"], "b = a"), ([], "c"), (["x", "model"], "d\ne"), (None, "f")
    assert scripts.cells_of(notebook(tmp_path, *cells)) == ["b = a", "d\ne"]


@pytest.mark.parametrize(
    "cells, words",
    [
        ([(["imports"], "%%tab jax\nimport jax")], "cells of several frameworks"),
        ([([], "import torch")], "no cells with the tags imports, model, train"),
    ],
)
def test_notebooks_that_cannot_be_trained_are_refused(tmp_path, cells, words):
    with pytest.raises(ValueError, match=words):
        scripts.cells_of(notebook(tmp_path, *cells))


@pytest.mark.parametrize(
    "source, name",
    {
        "from d2l_utils import torch as d2l": "pytorch",
        "import d2l_utils.jax as d2l": "jax",
        "if True:\n    from d2l_utils import mxnet": "mxnet",
        "from d2l_utils.tensorflow import Trainer": "tensorflow",
    }.items(),
)
def test_the_framework_is_the_one_that_is_imported(source, name):
    assert train.framework_of([source]) == name


@pytest.mark.parametrize(
    "source", ["import torch", "from d2l_utils import torch\nfrom d2l_utils import jax"]
)
def test_a_framework_that_cannot_be_seen_is_asked_for(source):
    with pytest.raises(ValueError, match=r"add --framework pytorch\|mxnet"):
        train.framework_of([source])


@pytest.mark.parametrize("text", ["", "a", "a:b", "a:1,", "a:1,a:1", "a:1 b:2"])
def test_what_are_no_addresses(text):
    with pytest.raises(argparse.ArgumentTypeError, match="host:port of each worker"):
        train.addresses(text)


@pytest.mark.parametrize(
    "arguments, words",
    [
        ([str(ROOT / "nothing.py"), *TWO, "0"], "there is no file"),
        ([__file__, *TWO, "2"], "ranks are 0 to 1"),
        (
            [str(ROOT / "README.md"), *TWO, "0", "--framework", "paddle"],
            "invalid choice",
        ),
        ([str(BOOK.notebooks / "nin.ipynb"), *TWO, "0"], "cells of several frameworks"),
        ([str(ROOT / "LICENSE"), *TWO, "1"], "add --framework"),
    ],
)
def test_a_command_that_cannot_be_carried_out(arguments, words, capsys):
    with pytest.raises(SystemExit) as stop:
        train.main(arguments)
    assert stop.value.code == 2 and words in capsys.readouterr().err


def test_a_host_that_is_not_known():
    with pytest.raises(
        ValueError, match=r"no\.such\.host\.invalid:1 cannot be resolved"
    ):
        train.check_addresses(["127.0.0.1:1", "no.such.host.invalid:1"], 0)


def test_a_port_that_is_taken():
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]
        workers = ["127.0.0.1:1", f"127.0.0.1:{port}"]
        with pytest.raises(ValueError, match=f"Port {port} is in use.*with rank 1"):
            train.check_addresses(workers, 1)
    train.check_addresses(workers, 1)


# Whether all workers come -------------------------------------------------------------


@pytest.fixture
def workers():
    """Addresses of three workers, of which the first one's port is free."""
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    return [f"127.0.0.1:{port}", "second:29500", "third:29501"]


def answers(workers, ranks, wait, call=rollcall.call_roll):
    """{rank: the error that its worker gets, or None} where only these come."""

    def answer(rank):
        try:
            return call(workers, rank, wait)
        except ValueError as error:
            return str(error)

    with ThreadPoolExecutor(len(ranks)) as pool:
        return dict(zip(ranks, pool.map(answer, ranks)))


@pytest.mark.parametrize("ranks", [(0, 1, 2), (2, 1, 0)])
def test_workers_go_on_when_all_are_there(workers, ranks):
    assert answers(workers, ranks, wait=60) == dict.fromkeys(ranks)
    with socket.create_server(("", int(workers[0].rpartition(":")[2]))):
        pass  # the framework can take the port at once


@pytest.mark.parametrize(
    "ranks, words",
    {
        (0,): r"These workers .*: rank 1 \(second:29500\), rank 2 \(third:29501\)\.",
        (0, 1): r"This worker .*: rank 2 \(third:29501\)\.",
        (2, 0): r"This worker .*: rank 1 \(second:29500\)\.",
        (1, 2): r"This worker .*: rank 0 \(127\.0\.0\.1:\d+\)\.",
        (0, 1, 1): r"This worker .*: rank 2 \(third:29501\)\.",
    }.items(),
)
def test_each_worker_hears_who_has_not_come(workers, ranks, words):
    for error in answers(workers, ranks, wait=1).values():
        assert error and re.match(words, error)
        assert "did not connect within 1 s: rank" in error


def test_somebody_elses_call_is_no_worker(workers):
    """A port scanner, or a browser."""
    host, _, port = workers[0].rpartition(":")

    def call(workers, rank, wait):
        if rank != "stranger":
            return rollcall.call_roll(workers, rank, wait)
        while True:
            try:
                with socket.create_connection((host, int(port))) as stranger:
                    stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
                    return stranger.recv(1)  # nothing: the connection is closed
            except ConnectionRefusedError:
                time.sleep(0.01)
            except ConnectionResetError:
                return b""

    found = answers(workers[:2], ("stranger", 0), 2, call)
    assert not found["stranger"] and "rank 1 (second" in found[0]


def test_different_devices_are_said_and_other_differences_refused():
    said = [{"seed": 1, "device": "H100"}, {"seed": 1, "device": "A100"}]
    with pytest.warns(RuntimeWarning, match=r"H100 \(rank 0\), A100 \(rank 1\)"):
        alike.check_alike(said)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        alike.check_alike(said[:1] * 2)
    with pytest.raises(RuntimeError, match=r"rank 1 .* seed 2, not 1"):
        alike.check_alike([said[0], {**said[0], "seed": 2}])


@pytest.mark.parametrize(
    "key, mine, theirs, words",
    [
        ("seed", 1, 2, "seed 2, not 1"),
        ("first batch", *map(alike.checksum, "ab"),
         r"first batch with checksum \w{8}, not with checksum \w{8}"),
        ("settings", {"lr": 0.1, "momentum": 0.9}, {"lr": 0.2, "momentum": 0.9},
         r"settings: lr 0\.2, not 0\.1"),
        ("versions", {"jax": "1"}, {}, "versions: jax None, not '1'"),
    ],
)  # fmt: skip
def test_a_difference_is_said_without_what_is_the_same(key, mine, theirs, words):
    said = [{key: x, "epochs": 3} for x in (mine, theirs)]
    with pytest.raises(RuntimeError, match=rf"with rank 0: {words}\. All must run"):
        alike.check_alike(said)


def test_the_code_that_is_compared(tmp_path):
    """Of a notebook only what is run, not its outputs."""
    cells = (["train"], "a"), ([], "b")
    path = notebook(tmp_path, *cells)
    assert scripts.code_of(path) == "a" and scripts.code_of(__file__).startswith('"""')
    for other in ("-c", tmp_path, notebook(tmp_path, *cells[1:])):
        assert scripts.code_of(other) is None
    assert alike.checksum(None) is None
    assert alike.checksum("a") != alike.checksum("b")


def test_modules_in_the_folder_of_a_script_are_compared(tmp_path, monkeypatch):
    script, folder = tmp_path / "script.py", tmp_path / "layers_of_mine"
    folder.mkdir()
    for path in (folder / "__init__.py", folder / "wide.py"):
        path.write_text(f"# {path.stem}\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module(f"{folder.name}.wide")
    found = scripts.modules_beside(script)
    assert found == {
        "layers_of_mine": "# __init__\n",
        "layers_of_mine.wide": "# wide\n",
    }
    assert scripts.modules_beside(tmp_path / "other" / "script.py") == {}
    one, other = ({"modules": {"wide": x, x: x}} for x in "ab")
    with pytest.raises(alike.Unlike, match="rank 0: modules: wide 'b', not 'a'"):
        alike.check_alike([one, other])


def test_long_descriptions_fit_and_keep_their_differences():
    short = {"model": "NiN", "seed": 1, "first batch": None, "versions": {"jax": "1"}}
    assert alike.unpacked(alike.packed(short)) == short
    long = {f"part {i}": 'Né"\\' * 10_000 for i in range(12)}
    other = {**long, "part 7": long["part 7"] + "x"}
    assert {alike.packed(about).shape for about in (short, long)} == {(alike.SIZE,)}
    said = [alike.unpacked(alike.packed(about)) for about in (long, long, other)]
    alike.check_alike(said[:2])
    with pytest.raises(RuntimeError, match=r"rank 2 .* with rank 0: part 7 [^,]*, not"):
        alike.check_alike(said)
