"""Notebooks for the textbook's package: its names lead here, and `run` reports."""

import json
import subprocess
import sys

import pytest

from book.source.book import ROOT
from d2l_utils import run


def python(code, cwd=ROOT, **kwargs):
    command = [
        sys.executable,
        "-c",
        f"import sys; sys.path.append({str(ROOT)!r})\n{code}",
    ]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, **kwargs)


@pytest.fixture
def installed(tmp_path):
    """A folder with a package d2l that is not ours."""
    (tmp_path / "d2l").mkdir()
    (tmp_path / "d2l" / "__init__.py").write_text("mine = 1\n")
    (tmp_path / "d2l" / "torch.py").write_text("raise SystemExit('touched')\n")
    return tmp_path


def test_an_installed_d2l_is_neither_used_nor_touched(installed):
    before = sorted(p.name for p in installed.rglob("*"))
    done = python(
        "import d2l_utils.as_d2l as a\n"
        "import d2l, d2lbook.tab, d2l_utils.tab\n"
        "assert d2l.__path__ == () and d2lbook.tab is d2l_utils.tab\n"
        "assert d2l_utils.tab.__spec__.name == 'd2l_utils.tab'\n"
        "assert not hasattr(d2l, '__wrapped__') and 'torch' not in sys.modules\n"
        "a.install(); assert sum(isinstance(f, a.Finder) for f in sys.meta_path) == 1\n"
        "a.uninstall(); import d2l; assert d2l.mine == 1",
        cwd=installed,
    )
    assert done.returncode == 0, done.stderr
    after = sorted(p.name for p in installed.rglob("*") if "pycache" not in str(p))
    assert after == before


def test_a_d2l_that_was_imported_before_is_an_error(installed):
    done = python("import d2l; import d2l_utils.as_d2l", cwd=installed)
    assert "RuntimeError: d2l was imported before d2l_utils.as_d2l" in done.stderr


def test_the_names_lead_to_ours(framework, d2l):
    module = d2l.__name__.rpartition(".")[2]
    code = (
        "import d2l_utils.as_d2l\n"
        f"from d2l import {module} as d2l\n"
        f"import d2l_utils.{module}\n"
        f"assert d2l is d2l_utils.{module} and d2l.LeNet and d2l.Trainer\n"
        f"assert d2l.__spec__.name == 'd2l_utils.{module}'\n"
    )
    if framework == "pytorch":
        code += "import d2l as one; assert one.Module is d2l.Module and one.LeNet\n"
    if framework == "mxnet":
        code += "import gluonbook as gb; assert gb.try_gpu and gb.train_ch5\n"
    done = python(code)
    assert done.returncode == 0, done.stderr


@pytest.mark.only("mxnet")
def test_mxnet_alone_is_imported_with_the_numpy_names_it_needs(framework):
    done = python(
        "import d2l_utils.as_d2l, mxnet, numpy\n"
        "assert mxnet.nd.ones(2).sum().asscalar() == 2\n"
        "assert not hasattr(numpy, 'PZERO') or numpy.__version__ < '2'\n"
        "x = mxnet.np.pad(mxnet.np.array([1, 2]), (1, 2))\n"  # these need some later
        "assert x.tolist() == [0, 1, 2, 0, 0] and x[x > 0].tolist() == [1, 2]"
    )
    assert done.returncode == 0, done.stderr


# Running a notebook ---------------------------------------------------------------


def notebook(path, *cells):
    made = [{"cell_type": "code", "source": c.splitlines(True)} for c in cells]
    text = {"cell_type": "markdown", "source": "no code"}
    path.write_text(json.dumps({"cells": [text, *made]}))
    return path


def ran(path, framework="pytorch"):
    command = [sys.executable, "-m", "d2l_utils.run", str(path)]
    command += ["--framework", framework]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def first_cell(d2l):
    module = d2l.__name__.rpartition(".")[2]
    return f"%matplotlib inline\nfrom d2l import {module} as d2l"


@pytest.mark.only("pytorch")  # of the other frameworks, test_textbook runs some
def test_a_notebook_that_runs(framework, d2l, tmp_path):
    cells = first_cell(d2l), "x = d2l.Timer()", "!true"
    done = ran(notebook(tmp_path / "a.ipynb", *cells), framework)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 cells ran, 0 failed" in done.stdout


def test_a_notebook_with_an_error(framework, d2l, tmp_path):
    """The cells behind it run all the same."""
    cells = first_cell(d2l), "x = d2l.Timer()", "1 / 0", "d2l.mine = 1\nd2l.mine"
    done = ran(notebook(tmp_path / "a.ipynb", *cells), framework)
    assert done.returncode == 1
    assert "cell 2 of 4: ok" in done.stdout and "cell 4 of 4: ok" in done.stdout
    assert "cell 3 of 4: FAILED" in done.stdout and "ZeroDivisionError" in done.stdout


@pytest.mark.only("pytorch")
def test_what_we_lack_is_listed_at_once(framework, tmp_path):
    lacking = notebook(
        tmp_path / "c.ipynb", "from d2l import torch as d2l", "d2l.Vocab()", "d2l.BERT"
    )
    done = ran(lacking)
    assert done.returncode == 1
    assert "d2l_utils does not have: d2l.BERT, d2l.Vocab" in done.stdout


MARKDOWN = """
# Title
:begin_tab:`jax`
Text.
:end_tab:
```{.python .input}
%load_ext d2lbook.tab
```
```{.python .input  n=2}
%%tab pytorch, jax
both
```
```{.python .input}
%%tab all
everyone
```
```python
not run
```
"""
FIRST_EDITION = """
```{.python .input}
of mxnet
```
```{.python .input}
#@tab pytorch
of pytorch
```
```{.python .input}
#@tab all
of all
```
"""


def test_cells_of_a_textbook_source(tmp_path):
    path = tmp_path / "a.md"
    path.write_text(MARKDOWN)
    cells = run.read_cells(path)
    ours = [c.strip() for _, c in run.cells_for(cells, "jax")]
    assert ours == ["%load_ext d2lbook.tab", "both", "everyone"]
    assert [n for n, _ in run.cells_for(cells, "mxnet")] == [1, 3]
    path.write_text(FIRST_EDITION)
    cells = run.read_cells(path)
    words = {f: [c.strip() for _, c in run.cells_for(cells, f)] for f in run.FRAMEWORKS}
    assert words["mxnet"] == ["of mxnet", "of all"]
    assert words["pytorch"] == ["of pytorch", "of all"] and words["jax"] == ["of all"]


def test_other_files_are_refused(tmp_path):
    (tmp_path / "x.ipynb").write_text("hello")
    with pytest.raises(ValueError, match="neither an"):
        run.read_cells(tmp_path / "x.ipynb")


def test_names_asked_of_d2l():
    assert run.names_of_d2l("%time\nd2l.f(d2l.g.h)\nx.d2l.k", "jax") == {"f", "g"}
    assert run.names_of_d2l("not python", "jax") == set()
    cell = "if tab.selected('jax', 'mxnet'):\n  d2l.a\nelse:\n  d2l.b"
    assert run.names_of_d2l(cell, "jax") == {"a"}
    assert run.names_of_d2l(cell, "pytorch") == {"b"}
    assert run.defined(["d2l.f = 1\nd2l.g == 2"]) == {"f"}
