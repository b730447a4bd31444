"""Where students are: a folder with a space and an umlaut, Windows' line ends, macOS.

A copy of the checkout, as git makes it on Windows, in an environment whose encoding is
ASCII and in which no home can be made; see made_elsewhere.py for the system.
"""

import os
import re
import shutil
import subprocess
import sys

import pytest

from book.source.book import ROOT
from d2l_utils.frameworks import FRAMEWORKS

SYSTEMS = ("win32", "darwin")
LEFT_OUT = shutil.ignore_patterns(".*", "build", "*.egg-info", "__pycache__", "*.done")
TRAINING = """\
import sys
from importlib import import_module
from pathlib import Path

sys.path += [".", "tests"]
from made_networks import tiny_class
from d2l_utils.frameworks import FRAMEWORKS

framework, folder = sys.argv[1], Path.cwd() / "the weights"
folder.mkdir()
d2l = import_module(FRAMEWORKS[framework].here)
model, data = tiny_class(framework, d2l)(), d2l.FashionMNIST(batch_size=8)
trainer = d2l.Trainer(max_epochs=1, checkpoint=folder / "so far")
trainer.fit(model, data)
d2l.save_weights(model, folder / "w.safetensors")
print(ascii(d2l.evaluate(model, data)), data.source, "trained")
"""
TEXTBOOK = """\
# Übung

```{.python .input}
%%%%tab %s
from d2l import %s as d2l
x = 'Grüße'  # ö
assert len(x) == 5
```
"""


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """A function that runs a command in the copy, and returns what it printed."""
    folder = tmp_path_factory.mktemp("elsewhere") / "Übung 1"
    for name in ("notebooks", "d2l_utils", "book", "bench", "study", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=LEFT_OUT)
    for path in ROOT.iterdir():
        if path.is_file() and path.name != ".git":
            shutil.copy(path, folder)
    for path in folder.rglob("*"):
        raw = path.read_bytes() if path.is_file() else b"\0"
        if b"\0" not in raw:  # text, to git
            path.write_bytes(raw.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))
    no_folder = folder.parent / "file"
    no_folder.write_text("")
    kept = {
        k: v for k, v in os.environ.items() if k in ("PATH", "SYSTEMROOT", "TMPDIR")
    }

    def run(system, *command, utf8="0"):
        done = subprocess.run(
            [sys.executable, "tests/made_elsewhere.py", system, *map(str, command)],
            cwd=folder, capture_output=True, encoding="utf-8", errors="replace",
            env={
                **kept, "LC_ALL": "C", "PYTHONUTF8": utf8, "PYTHONCOERCECLOCALE": "0",
                "HOME": str(no_folder / "home"), "D2L_UTILS_FAST": "1",
            },
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    run.folder = folder
    return run


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_system_is_another_one_to_our_code(elsewhere, system):
    script = elsewhere.folder / "study/what.py"
    script.write_text(
        "import os, sys, signal, subprocess\n"
        "print(sys.platform, hasattr(os, 'nice'), hasattr(signal, 'SIGKILL'))\n"
        "try:\n    import resource\n    print('has resource')\n"
        "except ImportError: print('no resource')\n"
        "print(subprocess.run([sys.executable, '-c', '1']).returncode)\n"
    )
    expected = {"win32": "False False\nno", "darwin": "True True\nhas"}[system]
    said = elsewhere(system, script)
    assert said.split() == f"{system} {expected} resource\n0".split()


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("command, said", [
    ("study.run --list", "of 3 seeds"),
    ("bench.floors", ": a processor"),
    ("bench.report --check", ""),
    ("book.checks.matrix --check", ""),
])  # fmt: skip
def test_small_commands(elsewhere, system, command, said):
    assert said in elsewhere(system, *command.split())


def test_notebooks_are_the_same(elsewhere):
    """As made here, from sources and drawings with other line ends."""
    assert "stale" not in elsewhere("win32", "book.notebooks.editions", "--check")


@pytest.mark.slow("ten seconds; the check of the notebooks reads the same files")
@pytest.mark.parametrize("system", SYSTEMS)
def test_pages_are_the_same(elsewhere, real_book, system):
    out = elsewhere.folder / f"aus gäbe {system}"
    elsewhere(system, "book.pages.pages", "--out", out)
    made, here = (
        {p.relative_to(f): p.read_bytes() for p in f.rglob("*.html")}
        for f in (out, real_book)
    )
    assert made == here and len(here) > 10


@pytest.mark.parametrize("system", SYSTEMS)
def test_memory_and_processor(elsewhere, system):
    """On Windows, psutil of Linux answers, which knows no peak."""
    script = elsewhere.folder / "bench/what.py"
    script.write_text(
        "import sys; sys.path.insert(0, '.')\n"
        "from d2l_utils import host\n"
        "print(host.cpu_text(), host.physical_cores(), host.processor_name())\n"
        "host.reset_process_peak()\n"
        "print(host.sys.platform == 'win32' or host.process_memory()['of'])\n"
    )
    assert re.match(
        r"cpu \(\d+ thr.* None .*(True|process memory)$",
        elsewhere(system, script).replace("\n", " ").strip(),
    )


@pytest.mark.slow(
    "what a system lacks is asked for in host.py, by all frameworks alike",
    only=("tensorflow", "jax"),
)
@pytest.mark.only("pytorch", "tensorflow", "jax")  # MXNet has wheels for Linux alone
@pytest.mark.parametrize("system", [
    "win32", pytest.param("darwin", marks=pytest.mark.slow("Windows lacks that, too")),
])  # fmt: skip
def test_training(elsewhere, framework, system):
    script = elsewhere.folder / "tests/training.py"
    script.write_text(TRAINING, "utf-8")
    shutil.rmtree(elsewhere.folder / "the weights", ignore_errors=True)
    # JAX fails where names of files have to be ASCII: hence UTF-8.
    assert "trained" in elsewhere(system, script, framework, utf8="1")


def test_a_notebook_of_the_textbook(elsewhere, framework):
    path = elsewhere.folder / "Übung.md"
    text = TEXTBOOK % (framework, FRAMEWORKS[framework].module)
    path.write_text(text, "utf-8", newline="\r\n")
    said = elsewhere(
        "win32", "d2l_utils.run", path.name, "--framework", framework, utf8="1"
    )
    assert "1 cells ran, 0 failed" in said
