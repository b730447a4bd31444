"""Sources, editions, the four-tab notebook, tabs; on the real sources or small ones."""

import json
import re
import subprocess
import sys
from pathlib import Path

import jupytext
import nbformat
import pytest
from made_sources import SMALL
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat.v4 import new_code_cell, new_notebook, new_output

from book.notebooks import editions
from book.source import cells
from book.source.book import BOOK, ROOT, SECTIONS, SourceError
from book.source.reading import read_source
from d2l_utils import tab
from d2l_utils.frameworks import FRAMEWORKS


def run(nb):
    """Give every code cell an output, as running would."""
    for i, cell in enumerate(c for c in nb.cells if c.cell_type == "code"):
        cell.execution_count = i + 1
        cell.outputs = [new_output("stream", text=f"out {i}\n")]
    return nb


@pytest.mark.parametrize("section", SECTIONS)
@pytest.mark.parametrize("tab_name", FRAMEWORKS)
def test_stored_outputs_are_there_and_clean(section, tab_name):
    path = BOOK.edition_path(section, tab_name)
    nb = nbformat.read(path, as_version=4)
    nbformat.validate(nb)
    assert editions.is_executed(nb.cells)
    text = path.read_text()
    private = (str(ROOT), str(Path.home()) + "/", "/tmp/", "/home/", "/Users/")
    for word in ('"stderr"', '"error"', "D2L_UTILS_FAST", *private):
        assert word not in text
    pictures = []
    for cell in nb.cells:
        if cell.cell_type == "code":
            outputs = [o for o in cell.outputs if "image/png" in o.get("data", {})]
            pictures += [o.data["image/png"] for o in outputs]
            fits = ".fit(" in cell.source and "def " not in cell.source
            if "plt.show()" in cell.source or fits:
                assert outputs, f"no figure from:\n{cell.source}"
    assert pictures
    assert sum(len(p) * 3 / 4 for p in pictures) < 200_000


@pytest.mark.parametrize("section", SECTIONS)
@pytest.mark.parametrize("tab_name", FRAMEWORKS)
def test_each_tab_holds_exactly_its_edition(section, tab_name):
    """What the transformer leaves of the four-tab notebook is the edition's code."""
    four = nbformat.read(BOOK.four_tab_path(section), as_version=4)
    edition = nbformat.read(BOOK.edition_path(section, tab_name), as_version=4)
    kept = []
    for cell in four.cells:
        if cell.cell_type == "code" and "chooser" not in cell.metadata.get("tags", []):
            first, _, rest = cell.source.partition("\n")
            if tab_name in tab.parse(first):
                kept.append(rest)
    assert kept == [
        c.source
        for c in edition.cells
        if c.cell_type == "code" and "setup" not in c.metadata.get("tags", [])
    ]
    assert "%%tab" not in json.dumps(edition.cells)


@pytest.mark.parametrize("section", SECTIONS)
def test_readers_of_four_tabs_see_no_marks_of_ours(section):
    """Of slides and passages; these are there, in comments."""
    four = nbformat.read(BOOK.four_tab_path(section), as_version=4)
    texts = [c.source for c in four.cells if c.cell_type == "markdown"]
    marks = re.compile(r"\{(?:output|code|tab|include|live)\b|^:::", re.M)
    assert any(map(marks.search, texts)) or section.endswith("_exercises")
    for text in texts:
        assert not marks.search(re.sub("<!--.*?-->", "", text, flags=re.S)), text


@pytest.mark.parametrize("section", SECTIONS)
def test_code_cells_follow_the_rules(section):
    for cell in read_source(BOOK, section):
        if cell.kind == "code":
            assert not cell.source.rstrip().endswith(";")
            assert max(map(len, cell.source.split("\n"))) <= 78


def test_editions_are_repeatable(project):
    assert editions.write(project, "s") and editions.write(project, "s") == []
    texts = {p: p.read_text() for p in project.notebooks.rglob("*.ipynb")}
    assert len(texts) == 5
    for path in texts:
        path.unlink()
    editions.write(project, "s")
    assert {p: p.read_text() for p in project.notebooks.rglob("*.ipynb")} == texts


def test_what_an_edition_holds(project):
    jax, mxnet = (editions.edition(project, "s", f) for f in ("jax", "mxnet"))
    assert [c.source for c in jax.cells if c.cell_type == "code"][1:] == ["y = 2"]
    assert [c.source for c in mxnet.cells if c.cell_type == "code"][1:] == [
        "x = 1",
        "y = 2",
    ]
    assert "Only for JAX." in jax.cells[-1].source
    assert "Only for JAX." not in mxnet.cells[-1].source
    assert "data:image/svg+xml;base64," in mxnet.cells[-1].source
    assert ":::" not in jax.cells[-1].source
    assert mxnet.cells[2].metadata.tags == ["model"]


def test_outputs_are_carried_over_only_for_the_same_code(project):
    editions.write(project, "s")
    path = project.edition_path("s", "jax")
    path.write_text(editions.dumps(run(editions.edition(project, "s", "jax"))))
    source = project.source_path("s")
    source.write_text(SMALL.replace("# Title", "# Another title"))
    assert editions.is_executed(editions.edition(project, "s", "jax").cells)
    source.write_text(SMALL.replace("y = 2", "y = (\n    2)  # two"))
    assert editions.is_executed(editions.edition(project, "s", "jax").cells)
    source.write_text(SMALL.replace("y = 2", "y = 3"))
    assert not editions.is_executed(editions.edition(project, "s", "jax").cells)
    source.write_text(SMALL.replace("x = 1", "x = 3"))  # not in this edition
    assert editions.is_executed(editions.edition(project, "s", "jax").cells)
    (project.root / "pyproject.toml").write_text(  # another set-up cell
        "[tool.d2l_utils]\nrepository = 'https://example.org/x'\n"
    )
    made = editions.edition(project, "s", "jax")
    assert editions.is_executed(made.cells) and "%pip" in made.cells[1].source


def test_four_tabs_show_every_output(project):
    editions.write(project, "s")
    for f in FRAMEWORKS:
        nb = run(editions.edition(project, "s", f))
        project.edition_path("s", f).write_text(editions.dumps(nb))
    nb = editions.four_tab(project, "s")
    shared = next(c for c in nb.cells if "y = 2" in c.source)
    labels = [o.data["text/plain"] for o in shared.outputs if "data" in o]
    assert labels == ["PyTorch:", "MXNet:", "TensorFlow:", "JAX:"]
    alone = editions.four_tab(project, "s", only="jax")
    shared = next(c for c in alone.cells if "y = 2" in c.source)
    assert [o.text for o in shared.outputs] == ["out 1\n"]
    other = next(c for c in alone.cells if "x = 1" in c.source)
    (said,) = other.outputs
    assert said.text == "Not run: for PyTorch, MXNet.\n" and other.execution_count


@pytest.mark.parametrize("paired", [False, True])
def test_an_edit_in_jupyter_is_taken_back(project, paired):
    """paired: Jupytext writes the source itself, with the drawings in it."""
    editions.write(project, "s")
    path, source = project.four_tab_path("s"), project.source_path("s")
    nb = nbformat.read(path, as_version=4)
    nb.cells[0].source = "# Edited"
    nbformat.write(nb, path)
    if paired:
        jupytext.write(nb, source, fmt="md:myst")
        assert "base64," in source.read_text()
    assert editions.take_back(project, "s")
    body = source.read_text().split("---\n", 2)[2]
    assert body == SMALL.replace("# Title", "# Edited").split("---\n", 2)[2]
    assert "base64," not in source.read_text()
    editions.write(project, "s")
    assert not editions.take_back(project, "s") and editions.stale(project, "s") == {}


def test_two_edits_are_a_conflict(project):
    editions.write(project, "s")
    path, source = project.four_tab_path("s"), project.source_path("s")
    nb = nbformat.read(path, as_version=4)
    nb.cells[0].source = "# Edited"
    nbformat.write(nb, path)
    source.write_text(SMALL.replace("y = 2", "y = 3"))
    with pytest.raises(SourceError, match=r"notebooks/s.md and notebooks/s.ipynb"):
        editions.take_back(project, "s")


@pytest.mark.parametrize(
    "old, new, words",
    [
        ("%%tab all", "%%tab caffe", r"^notebooks/s.md:29: Unknown tab 'caffe'"),
        ("%%tab all\n", "", "must begin with %%tab"),
        (
            ":::{tab} jax",
            ":::{tab} theano",
            r"^notebooks/s.md:35: Unknown tab 'theano'",
        ),
        ("JAX.\n:::", "JAX.", r"^notebooks/s.md:35: .* is not closed"),
        (":::{tab} jax\n", "", r"^notebooks/s.md:36: .* closes nothing"),
        ("img/f.svg", "img/g.svg", "notebooks/img/g.svg does not exist"),
    ],
)
def test_bad_sources(project, old, new, words):
    project.source_path("s").write_text(SMALL.replace(old, new))
    with pytest.raises(SourceError, match=words):
        editions.edition(project, "s", "jax")


def test_colab_shows_a_form_and_offers_a_gpu(project):
    """A title in place of the set-up cell's code, and a GPU but with MXNet."""
    for framework in FRAMEWORKS:
        nb = editions.edition(project, "s", framework)
        assert (nb.metadata.get("accelerator") == "GPU") == (framework != "mxnet")
        (setup,) = filter(editions.is_setup, nb.cells)
        assert setup.source.startswith("# @title Set-up: ")
        assert setup.metadata.cellView == "form"
    for language, word in (("ja", "準備"), ("zh", "准备")):
        assert word in editions.setup_source(BOOK, "jax", language).split("\n")[0]


def test_setup_installs_from_the_repository(project):
    assert "raise ModuleNotFoundError" in editions.setup_source(project, "jax")
    (project.root / "pyproject.toml").write_text(
        "[tool.d2l_utils]\nrepository = 'https://example.org/x'\n"
    )
    source = editions.setup_source(project, "pytorch")
    assert '%pip install -q "d2l-utils @ git+https://example.org/x"\n' in source
    compile(source.replace("%pip", "pass #"), "setup", "exec")


def test_unknown_editions():
    with pytest.raises(ValueError, match="There is no caffe/nin"):
        cells.load("nin", "caffe")


# Live tabs ----------------------------------------------------------------------


def live(*sources, select=None):
    """Run code cells in a kernel; returns the notebook or raises."""
    nb = new_notebook(cells=[new_code_cell(s) for s in sources])
    environ = {"D2L_UTILS_TAB": select} if select else {}
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("D2L_UTILS_TAB", raising=False)
        for k, v in environ.items():
            patch.setenv(k, v)
        patch.setenv("PYTHONPATH", str(ROOT))
        NotebookClient(nb, timeout=300, kernel_name="python3").execute()
    return [
        "".join(o.get("text", "") for o in c.outputs if o.get("name") != "stderr")
        for c in nb.cells
    ]


LOAD = "%load_ext d2l_utils.tab"


def test_tabs_select_cells():
    outputs = live(
        LOAD, "%%tab jax\nprint('J')", "%%tab all\nprint('A')",
        "%%tab mxnet, pytorch\nprint('P')", "print(1)", select="jax",
    )  # fmt: skip
    not_run = "Not run: for MXNet, PyTorch.\n"
    assert outputs[1:] == ["J\n", "A\n", not_run, "1\n"]
    outputs = live(LOAD, "%%tab jax\nprint('J')", "\n%%tab pytorch\nprint('P')")
    assert outputs[1:] == ["Not run: for JAX.\n", "P\n"]


@pytest.mark.parametrize(
    "source, words",
    [("%%tab pytorch\n1 / 0", "ZeroDivisionError"), ("%%tab caffe\n1", "Unknown tab")],
)
def test_errors_in_tabs_are_errors_of_the_cell(source, words):
    with pytest.raises(CellExecutionError, match=words):
        live(LOAD, source)


def test_the_environment_replaces_the_chooser():
    select = "tab.interact_select(['pytorch', 'jax'])"
    assert live(LOAD, select, select="jax")[1] == "Selected tab: jax\n"


def test_switching_after_an_import_asks_for_a_restart(monkeypatch):
    monkeypatch.setattr(tab, "_selected", None)
    monkeypatch.setitem(sys.modules, "d2l_utils.torch", None)
    tab.select("pytorch")
    with pytest.raises(RuntimeError, match=r"^PyTorch is loaded.* restart the kernel"):
        tab.select("jax")
    with pytest.raises(ValueError, match="Unknown tab 'caffe'"):
        tab.select("caffe")
    assert tab.selected("pytorch", "jax") and not tab.selected("mxnet")


CHOICE = """
import types, sys
sys.modules['d2l_utils.jax'] = types.ModuleType('jax')
chooser, said = tab.interact_select().children
for name in ('jax', 'mxnet'):
    chooser.value = name
    print(chooser.value, tab.current(), chooser.description, said.value)
"""


def test_the_chooser_says_why_it_does_not_switch():
    """In a line of its own, not where the list has its name; and it goes on working."""
    pytest.importorskip("ipywidgets")
    refused, *_ = live(LOAD, "tab.select('jax')", CHOICE)[2].splitlines()[1:]
    assert refused == (
        "jax jax Framework <b>JAX is loaded, and a kernel takes one framework. For "
        "MXNet, restart the kernel, and choose it before the other cells run.</b>"
    )
    chosen, refused = live(LOAD, CHOICE)[1].splitlines()  # loaded, though not chosen
    assert chosen == "jax jax Framework " and refused.startswith(
        "jax jax Framework <b>"
    )


def test_notebook_for_another_version_says_so():
    code = "from d2l_utils import require; require(api=99)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert "RuntimeError: This notebook needs version 99" in done.stderr
