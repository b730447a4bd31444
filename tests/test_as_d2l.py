"""Notebooks for the textbook's package: its names lead here, and `run` reports."""

import ast
import json
import os
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
        code += "import d2lzh; assert d2lzh is gb and gb.plt and gb.random\n"
        code += "from mxnet import nd; x, k = nd.ones((3, 3)), nd.ones((2, 2))\n"
        code += "assert gb.corr2d(x, k).asnumpy().tolist() == [[4, 4], [4, 4]]\n"
        code += "block = gb.Residual(3); block.initialize()\n"
        code += "assert block(nd.ones((2, 3, 4, 4))).shape == (2, 3, 4, 4)\n"
        code += "gb.semilogy([1, 2], [1, 10], 'x', 'y', [1, 2], [2, 3], ['a', 'b'])\n"
        code += "assert gb.plt.gca().get_yscale() == 'log'\n"
    done = python(code)
    assert done.returncode == 0, done.stderr


def test_import_star_gives_what_d2l_gives(framework, d2l):
    """And the package says which d2l it stands for."""
    module = d2l.__name__.rpartition(".")[2]
    names = [
        "LeNet",
        "Trainer",
        "train_ch6",
        "d2l",
        "math",
        "np",
        "plt",
        "reshape",
        "DATA_HUB",
    ]
    if framework == "jax":
        names.remove("train_ch6")
    done = python(
        f"before = set(sys.modules)\nimport d2l_utils.{module}\n"
        f"assert 'LeNet' not in d2l_utils.{module}.__all__\n"
        f"import d2l_utils.as_d2l\nfrom d2l.{module} import *\n"
        f"print([n for n in {names} if n not in globals()])\n"
        "import d2l as package; print(package.__version__.split('+')[0])\n"
        "print({'torch', 'mxnet', 'tensorflow', 'jax'} & {*sys.modules})"
    )
    lacking, version, loaded = done.stdout.splitlines()
    assert (lacking, version) == ("[]", "1.0.3"), done.stderr
    loaded = ast.literal_eval(loaded)
    if framework == "tensorflow":
        loaded -= {"jax"}  # TensorFlow itself loads it where it is installed
    assert loaded == {module}


KERAS_2 = """
import d2l_utils.as_d2l
from d2l import tensorflow as d2l
import tensorflow as tf
from tensorflow.keras import layers as nn

inner = tf.keras.models.Sequential(nn.Dense(3))
net = tf.keras.Sequential(tf.keras.Sequential([inner, nn.Dense(2)]))
assert len(net.layers) == 1 and net(tf.ones((4, 5))).shape == (4, 2)
assert len(net.trainable_weights) == 4 and len(tf.keras.Sequential().layers) == 0

seen = []
class Asking(nn.Layer):
    def call(self, X, training):
        seen.append(training)
        return X
class Middle(nn.Layer):
    def call(self, X, training, scale=2):
        seen.append(training)
        return X * scale
class Last(nn.Layer):
    def call(self, X, *, training):
        seen.append(training)
        return X
class Usual(nn.Layer):
    def call(self, X, training=True):
        return X
net = tf.keras.Sequential([Asking(), Middle(), Last(), Usual()])
assert float(net(tf.ones((1, 1)), training=True)[0, 0]) == 2
net(tf.ones((1, 1)), training=False)
seen = [x for x in seen if x is not None]  # when Keras built it
assert seen == [True] * 3 + [False] * 3, seen
assert not Asking()(tf.ones(1)).shape[0] - 1 and not seen[-1]
assert Usual.call.__defaults__ == (True,)

class Chain(nn.Layer):
    def __init__(self):
        super().__init__()
        self.parts, self.sizes = [], [4, 5]
        for size in self.sizes:
            self.parts.append(nn.Dense(size))
    def call(self, X):
        for part in self.parts.layers:
            X = part(X)
        return X
chain = Chain()
assert chain(tf.ones((1, 3))).shape == (1, 5) and len(chain.trainable_weights) == 4
assert chain.sizes.layers == []
"""


@pytest.mark.only("tensorflow")
def test_manners_of_keras_2(framework, d2l):
    """Each says so once; without as_d2l, Keras is as it is."""
    done = python(KERAS_2)
    assert done.returncode == 0, done.stderr[-2000:]
    assert [line[:25] for line in done.stdout.splitlines()] == [
        "As in Keras 2: Sequential", "As in Keras 2: `training`",
        "As in Keras 2: a list of ",
    ]  # fmt: skip
    from tensorflow import keras

    with pytest.raises(TypeError):
        keras.Sequential(keras.layers.Dense(3))


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


def ran(path, framework="pytorch", cwd=ROOT, **env):
    command = [sys.executable, "-m", "d2l_utils.run", str(path)]
    command += ["--framework", framework]
    env = {**os.environ, "PYTHONPATH": str(ROOT), **env}
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=env)


def first_cell(d2l):
    module = d2l.__name__.rpartition(".")[2]
    return f"%matplotlib inline\nfrom d2l import {module} as d2l"


@pytest.mark.only("pytorch")  # of the other frameworks, test_textbook runs some
def test_a_notebook_that_runs(framework, d2l, tmp_path):
    cells = first_cell(d2l), "x = d2l.Timer()", "!true"
    done = ran(notebook(tmp_path / "a.ipynb", *cells), framework)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 cells ran, 0 failed" in done.stdout


@pytest.mark.only("pytorch")
def test_a_notebook_with_an_error(framework, d2l, tmp_path):
    """The cells behind it run all the same."""
    cells = first_cell(d2l), "x = d2l.Timer()", "1 / 0", "d2l.mine = 1\nd2l.mine"
    done = ran(notebook(tmp_path / "a.ipynb", *cells), framework)
    assert done.returncode == 1
    assert "cell 2 of 4: ok" in done.stdout and "cell 4 of 4: ok" in done.stdout
    assert "cell 3 of 4: FAILED" in done.stdout and "ZeroDivisionError" in done.stdout
    assert "3 cells ran, 1 failed" in done.stderr


@pytest.mark.only("pytorch")
def test_what_is_lacking_is_listed_at_once(framework, tmp_path):
    cells = "from d2l import torch as d2l\nimport no_such_1", "d2l.Vocab()", "d2l.BERT"
    done = ran(notebook(tmp_path / "c.ipynb", *cells))
    assert done.returncode == 1
    assert done.stdout.splitlines()[:3] == [
        "not installed: no_such_1. pip install no-such-1",
        "d2l_utils does not have: d2l.BERT, d2l.Vocab",
        "  d2l.Vocab: That is of the textbook's chapters on recurrent networks, which "
        "d2l_utils does not cover.",
    ]


@pytest.mark.only("pytorch")
def test_it_works_in_the_notebooks_own_folder(framework, tmp_path):
    (tmp_path / "lesson").mkdir()
    (tmp_path / "lesson" / "helper.py").write_text("x = 3")
    (tmp_path / "lesson" / "notes.txt").write_text("hi")
    cell = (
        "import os\nfrom helper import x\nassert open('notes.txt').read() == 'hi'\n"
        f"assert os.environ['D2L_UTILS_DATA'] == {str(tmp_path / 'data')!r}"
    )
    notebook(tmp_path / "lesson" / "a.ipynb", cell)
    done = ran("lesson/a.ipynb", cwd=tmp_path, D2L_UTILS_DATA="data")
    assert done.returncode == 0, done.stdout
    assert "not installed" not in done.stdout


PROGRAM = """#!/bin/sh
echo "$0 $@" >> "{ran}"
"""
INSTALLING = [  # (a cell, what it is said to leave out)
    ("!pip install d2l==1.0.3", ["pip install d2l==1.0.3"]),
    ("!!pip3 install d2l", ["pip3 install d2l"]),
    ("import sys\n!{sys.executable} -m pip install d2l", ["-m pip install d2l"]),
    ("P = 'pip'\n!$P install d2l", ["pip install d2l"]),
    ("%pip install d2l", ["-m pip install d2l"]),
    ("pip install d2l", ["-m pip install d2l"]),
    ("%conda install d2l", ["conda install d2l"]),
    ("%%capture\n!pip install d2l", ["pip install d2l"]),
    ("%%time\n!conda install -y d2l", ["conda install -y d2l"]),
    ("if True:\n    !apt-get install -y d2l\n    x = 1", ["apt-get install -y d2l"]),
    ("x = !mamba install d2l", ["mamba install d2l"]),
    (
        "%%bash\necho one\npip install d2l && apt install e\necho two",
        ["pip install d2l", "apt install e"],
    ),
    ("import os\nos.system('pip install d2l')", ["pip install d2l"]),
    (
        "import subprocess\nsubprocess.check_call(['pip', 'install', 'd2l'])",
        ["pip install d2l"],
    ),
    ("import os\nos.popen('cd /; pip install d2l').read()", ["pip install d2l"]),
    ("!pip list", []),
    ("name = 'cat'\ndef f(name):\n    !$name < /dev/null\nf('true')", []),
]


@pytest.mark.only("pytorch")
def test_what_installs_is_left_out_and_named(framework, tmp_path):
    """With harmless programs of these names in the first place of the PATH."""
    for name in ("pip", "pip3", "conda", "mamba", "apt", "apt-get"):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(PROGRAM.format(ran=tmp_path / "ran"))
        program.chmod(0o755)
    path = notebook(tmp_path / "a.ipynb", *(cell for cell, _ in INSTALLING))
    # Should a fault let the environment's own pip run, it finds nothing to install.
    safe = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "", "CONDA_OFFLINE": "true"}
    path_first = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    done = ran(path, PATH=path_first, **safe)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "ran").read_text() == f"{tmp_path / 'bin' / 'pip'} list\n"
    assert "one\ntwo\n" in done.stdout
    said = [
        line.partition("so that nothing is installed: ")[2]
        for line in done.stdout.splitlines()
        if line.startswith("left out")
    ]
    expected = [text for _, texts in INSTALLING for text in texts]
    for found, wanted in zip(said, expected, strict=True):
        assert found.endswith(wanted)


@pytest.mark.parametrize("command, rest, left_out", [
    ("pip install a", "cd .", ["pip install a"]),
    ("git clone a && pip install -r a/b.txt; ls", "git clone a && cd .; ls",
     ["pip install -r a/b.txt"]),
    ("sudo -H pip3.11 -q install a > x 2>&1", "cd .",
     ["sudo -H pip3.11 -q install a > x 2>&1"]),
    ("A=1 '/a b/python' -mpip install a", "cd .",
     ["A=1 '/a b/python' -mpip install a"]),
    ("if ! pip install a; then\n  ls\nfi", "if ! cd .; then\n  ls\nfi",
     ["pip install a"]),
    ("pip install a \\\n  b\nls", "cd .\nls", ["pip install a \\ b"]),
    ("# don't\npip install a\n# won't", "# don't\ncd .\n# won't", ["pip install a"]),
    ("bash -c 'ls; pip install a'", "cd .", ["bash -c 'ls; pip install a'"]),
    ("(yes | conda env update)", "(yes | cd .)", ["conda env update"]),
    ("uv pip install a&", "cd .&", ["uv pip install a"]),
    ("python setup.py install", "cd .", ["python setup.py install"]),
    *((command, command, []) for command in (
        "pip list", "pip freeze | grep install", "echo 'pip install a'",
        'echo "a; pip install b"', "ls # pip install a", "cat pip install.txt",
        "conda list", "bash install.sh", "python -c 'print(1)'", "",
    )),
])  # fmt: skip
def test_commands_without_what_installs(command, rest, left_out):
    assert run.without_installs(command) == (rest, left_out)


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


@pytest.mark.parametrize("opening, closing", [
    ("```{.python .input}", "```"), ("~~~{.python .input}", "~~~"),
    ("````{.python .input n=3}", "````"), ("``` {.python .input}  ", "```  "),
    ("  ```{.input .python #id}", "  ```"), ("\ufeff```{.python .input}", "```"),
])  # fmt: skip
def test_spellings_of_a_fence(tmp_path, opening, closing):
    indent = opening[: len(opening) - len(opening.lstrip(" "))]
    text = f"{opening}\n{indent}if x:\n{indent}    y\n{closing}\ntext\n"
    (tmp_path / "a.md").write_text(text + "```python\nno\n```\n", encoding="utf-8")
    assert run.read_cells(tmp_path / "a.md") == ["if x:\n    y\n"]


def cells_json(*cells, **more):
    return json.dumps({"cells": list(cells), **more})


@pytest.mark.parametrize("name, text, words", [
    ("a.ipynb", "hello", "neither an .md nor a notebook"),
    ("a.ipynb", '{"cells": [', "neither an .md nor a notebook"),
    ("a.py", "x = 1", "neither an .md nor a notebook"),
    ("a.ipynb", "[1]", "damaged notebook"),
    ("a.ipynb", cells_json("a"), "damaged notebook"),
    ("a.ipynb", cells_json({"cell_type": "code"}), "damaged notebook"),
    ("a.ipynb", cells_json({"cell_type": "code", "source": 3}), "damaged notebook"),
    ("a.ipynb", '{"nbformat": 3, "worksheets": []}', "nbformat is 3, but"),
    ("a.md", "```{.python .input}\nx\n", "begins in line 1 is not closed"),
    ("a.md", "x\n\n```bash\nx\n~~~\n", "begins in line 3 is not closed"),
    ("a.md", "```{code-cell} ipython3\nx\n```\n", "{code-cell} ipython3 in line 1"),
    ("a.md", "\n```{python}\nx\n```\n", "{python} in line 2"),
    ("a.md", "```{.python.input}\nx\n```\n", "cannot be read"),
    ("a.md", "no code", "has no cells for jax"),
    ("a.md", "```{.python .input}\n%%tab pytorh\nx\n```\n", "unknown tab, '%%tab pyt"),
    ("a.md", "```{.python .input}\n\n#@tab PyTorch\n```\n", "unknown tab, '#@tab PyT"),
    ("a.md", "```{.python .input}\n%%tab\nx\n```\n", "unknown tab, '%%tab'"),
    ("a.md", b"\xff\xfe\x00", "is not UTF-8 text"),
    ("a.md", None, "No such file"),
])  # fmt: skip
def test_what_cannot_be_read_is_said_in_one_line(tmp_path, capsys, name, text, words):
    if text is not None:
        content = text if isinstance(text, bytes) else text.encode()
        (tmp_path / name).write_bytes(content)
    assert run.main([str(tmp_path / name), "--framework", "jax"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line and name in line


def test_another_framework_of_the_textbook_is_no_unknown_tab():
    cells = ["#@tab paddle\nx", "#@tab pytorch\ny"]
    assert run.cells_for(cells, "pytorch") == [(2, "y")]


def asked_of(*cells, framework="jax"):
    return run.Asked(cells, framework)


def test_names_asked_of_d2l():
    def names(*cells, framework="jax"):
        asked = asked_of(*cells, framework=framework)
        return {asked.names[key] for key in {*asked.names} - asked.defined}

    assert names("%time\nd2l.f(d2l.g.h)\nx.d2l.k") == {"d2l.f", "d2l.g"}
    assert names("not python", "d2l.f") == {"d2l.f"}
    assert names("%%time\nif d2l.f:\n    !pip list") == {"d2l.f"}
    cell = "if tab.selected('jax', 'mxnet'):\n  d2l.a\nelse:\n  d2l.b"
    assert names(cell) == {"d2l.a"}
    assert names(cell, framework="pytorch") == {"d2l.b"}
    assert names("d2l.f = 1\nd2l.f\nd2l.g == 2") == {"d2l.g"}
    cell = "from d2l.jax import a, b as c\nfrom d2l.jax import *\n"
    cell += "import d2l.jax\nd2l.jax.e"
    assert names(cell) == {"d2l.jax.a", "d2l.jax.b", "d2l.jax.e", "d2l.jax"}
    asked = asked_of("import d2lzh as d2l\nimport gluonbook as gb\nd2l.x, gb.y")
    assert {module for module, _ in asked.names} == {"d2l_utils.mxnet.gluonbook"}


def test_packages_that_are_lacking():
    asked = asked_of(
        "import no_such_1.part\nfrom no_such_2 import x\nimport json, d2l, numpy",
        "try:\n    import no_such_3\nexcept ImportError:\n    import no_such_4",
        "from . import no_such_5\nfrom google.colab import drive",
        "def f():\n    !pip list\n    import no_such_6",
        "if tab.selected('pytorch'):\n    import no_such_7",
    )
    found = [name.removeprefix("no_such_") for name in asked.missing_packages()]
    assert found == ["1", "2", "4", "6"]
