"""What commands do after a failure inside, and what may not be stored as an output."""

import ast
import base64
import io
import os
import platform
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
from made_sources import SMALL
from nbformat.v4 import new_code_cell, new_notebook, new_output
from PIL import Image

from book.notebooks import editions, execute, nbval
from book.source.book import BOOK, ROOT
from book.translate import catalogues
from d2l_utils.frameworks import FRAMEWORKS

README = "# Small\n\n<!-- notebooks: made -->\n<!-- end of notebooks -->\n"


def run(nb):
    """Give every code cell an output, as running would."""
    for i, cell in enumerate(c for c in nb.cells if c.cell_type == "code"):
        cell.execution_count = i + 1
        cell.outputs = [new_output("stream", text=f"out {i}\n")]
    return nb


def test_commands_pass_their_status_on():
    """`python -m ...` ends with what main returns: a failure may not end with 0."""
    ends = {}
    for folder in ("book", "bench", "study"):
        for path in (ROOT / folder).rglob("*.py"):
            *rest, last = ast.parse(path.read_text()).body
            if any(getattr(node, "name", "") == "main" for node in rest):
                name = path.relative_to(ROOT).with_suffix("").as_posix()
                ends[name] = ast.unparse(last.body)
    assert {"book/notebooks/nbval", "bench/report", "study/run"} <= set(ends)
    wrong = {k: end for k, end in ends.items() if not end.startswith("sys.exit(main(")}
    assert not wrong


@pytest.fixture
def whole(project):
    """The small book with everything generated and executed."""
    (project.root / "README.md").write_text(README)
    assert editions.main([], project) == 0
    for f in FRAMEWORKS:
        nb = run(editions.edition(project, "s", f))
        project.edition_path("s", f).write_text(editions.dumps(nb))
    assert editions.main([], project) == 0
    return project


def stale_edition(book):
    path = book.edition_path("s", "mxnet")
    path.write_text(path.read_text().replace("x = 1", "x = 2"))


def stale_four_tabs(book):
    book.four_tab_path("s").unlink()


def stale_readme(book):
    readme = book.root / "README.md"
    readme.write_text(readme.read_text().replace("<!-- end", "old\n<!-- end"))


def without_outputs(book):
    path = book.edition_path("s", "jax")
    nb = nbformat.read(path, as_version=4)
    nb.cells[-2].execution_count = None
    path.write_text(editions.dumps(nb))
    editions.main([], book)


def stale_catalogue(book):
    catalogues.main(["fr"], book)
    editions.main([], book)
    (book.locale / "fr" / "s.po").write_text("")


def bad_source(book):
    book.source_path("s").write_text(SMALL.replace("%%tab all", "%%tab caffe"))


@pytest.mark.parametrize("harm", [
    stale_edition, stale_four_tabs, stale_readme, without_outputs, stale_catalogue,
    bad_source,
])  # fmt: skip
def test_check_fails_where_something_is_stale(whole, harm):
    """And changes nothing."""
    assert editions.main(["--check"], whole) == 0
    harm(whole)
    files = {p: p.read_bytes() for p in whole.root.rglob("*") if p.is_file()}
    try:
        status = editions.main(["--check"], whole)
    except SystemExit as error:
        status = error.code
    assert status not in (0, None)
    assert all(p.read_bytes() == content for p, content in files.items())


def test_nbval_fails_where_an_output_differs(whole):
    """The small edition prints nothing, but both of its cells have outputs."""
    name, status, _, output = nbval.run(whole, whole.edition_path("s", "jax"))
    assert (name, status) == ("notebooks/jax/s.ipynb", 1)
    assert "2 failed" in output


@pytest.mark.parametrize("failing", range(5))
def test_one_failure_among_the_notebooks_is_enough(project, monkeypatch, failing):
    """Four editions are run, and with --all the four-tab notebook."""
    editions.write(project, "s")
    statuses = [int(i == failing) for i in range(5)]
    monkeypatch.setattr(nbval, "installed", lambda: list(FRAMEWORKS))
    monkeypatch.setattr(nbval, "run", lambda *_: ("s", statuses.pop(0), 1.0, ""))
    asked = ["--all", "--jobs", "1"]  # one after the other
    assert nbval.main(asked, project) == 1
    assert statuses == []
    statuses += [0] * 5
    assert nbval.main(asked, project) == 0


def test_execute_fails_where_a_cell_does(project, monkeypatch, capsys):
    """The edition without the outputs of the others, and no further one, is run."""

    class Data:
        is_sample = False

    source = project.source_path("s")
    source.write_text(SMALL.replace("y = 2", "1 / 0"))
    editions.write(project, "s")
    monkeypatch.setattr(execute, "load_fashion_mnist", lambda: Data)
    with pytest.raises(SystemExit, match=r"(?s)pytorch/s\.ipynb: a cell failed.*1 / 0"):
        execute.main([], project)
    assert "done" not in capsys.readouterr().out
    assert "PYTHONWARNINGS" not in os.environ  # warnings are off in the kernel alone


# Outputs to be stored -------------------------------------------------------------


def told(text, **data):
    return new_output("execute_result", {"text/plain": text, **data})


@pytest.mark.parametrize("name", [
    str(ROOT), str(Path.home()), sys.prefix, "a-host-of-ours",
    "/tmp/x", "/home/someone", "/Users/someone",
])  # fmt: skip
@pytest.mark.parametrize("output", [
    lambda text: new_output("stream", text=text),
    lambda text: told(text),
    lambda text: new_output("error", ename="E", evalue="e", traceback=[text]),
    lambda text: new_output("display_data", {"text/plain": text}),
    lambda text: told("<T>", **{"text/html": f"<td>{text}</td>"}),
    lambda text: told("<T>", **{"application/json": {"path": [text]}}),
    lambda text: told("<T>", **{"image/svg+xml": f"<svg><!--{text}--></svg>"}),
], ids=["printed", "result", "error", "shown", "html", "json", "svg"])  # fmt: skip
def test_outputs_that_name_this_machine_are_refused(name, output, monkeypatch):
    monkeypatch.setattr(platform, "node", lambda: "a-host-of-ours")
    cells = [new_code_cell("1", outputs=[output(text)]) for text in ("fine", "")]
    execute.clean(BOOK, new_notebook(cells=cells))
    cells[1].outputs = [output(f"see {name}/file")]
    with pytest.raises(RuntimeError, match="An output names"):
        execute.clean(BOOK, new_notebook(cells=cells))


def test_what_is_cleaned_out_of_outputs():
    stderr = new_output("stream", name="stderr", text="at /tmp/x: a warning")
    cell = new_code_cell("1", outputs=[stderr, told("<Net at 0x7f00ab>")])
    cell.metadata["execution"] = {"iopub.status.busy": "now"}
    cleaned = execute.clean(BOOK, new_notebook(cells=[cell])).cells[0]
    assert cleaned.metadata == {} and len(cleaned.outputs) == 1
    assert cleaned.outputs[0].data["text/plain"] == "<Net>"


def test_figures_are_stored_in_few_bytes_and_look_the_same(rng):
    shades = np.linspace(0, 255, 200)[None, :, None] * [1, 0.5, 0.2]
    noisy = np.clip(shades + rng.normal(0, 3, (80, 200, 3)), 0, 255).astype("uint8")
    made = io.BytesIO()
    Image.fromarray(noisy).convert("RGBA").save(made, "PNG")
    png = base64.b64encode(made.getvalue()).decode()
    cell = new_code_cell(
        "1", outputs=[new_output("display_data", data={"image/png": png})]
    )
    cleaned = execute.clean(BOOK, new_notebook(cells=[cell]))
    stored = cleaned.cells[0].outputs[0].data["image/png"]
    assert len(stored) < 0.6 * len(png)
    again = np.asarray(Image.open(io.BytesIO(base64.b64decode(stored))).convert("RGB"))
    assert again.shape == noisy.shape
    assert abs(again.astype(int) - noisy).mean() < 4
    execute.clean(BOOK, cleaned)
    assert cleaned.cells[0].outputs[0].data["image/png"] == stored
