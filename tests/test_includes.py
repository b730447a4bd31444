"""Cells that a source takes from another section: out, back, and what is refused."""

import jupytext
import nbformat
import pytest
from made_sources import OTHER, SMALL
from nbformat.v4 import new_code_cell

from book.notebooks import editions
from book.source.book import SourceError

LINE = ":::{include} t: Net"


@pytest.fixture
def including(project):
    """The small project with a second section, 't'; 's' includes its Net."""
    project.source_path("t").write_text(OTHER)
    text = SMALL.replace("For all. ![A figure.](img/f.svg)", f"{LINE}\n\n+++")
    project.source_path("s").write_text(text)
    editions.write(project, "s")
    return project


def code_of(nb):
    return [c.source for c in editions.code_of(nb.cells)]


def test_an_include_brings_the_cells_that_define_a_name(including):
    jax, mxnet = (editions.edition(including, "s", f) for f in ("jax", "mxnet"))
    net = "class Net:\n    pass"
    helper = f"def helper():\n    return 1\n\n\n{net}"
    assert code_of(jax)[1:] == ["y = 2", helper]
    assert code_of(mxnet)[1:] == ["x = 1", "y = 2", net]
    assert mxnet.cells[4].metadata.tags == ["model", "included"]
    four = editions.four_tab(including, "s")
    assert [c.source for c in four.cells if "include" in c.metadata] == [
        f"%%tab jax\n{helper}",
        f"%%tab pytorch, mxnet, tensorflow\n{net}",
    ]
    assert not any("include}" in c.source for c in [*four.cells, *jax.cells])
    # Another Net makes the editions stale, and is no edit of s.ipynb.
    including.source_path("t").write_text(OTHER.replace("return 1", "return 2"))
    assert not editions.take_back(including, "s")
    names = {including.relative(p) for p in editions.stale(including, "s")}
    assert names == {"notebooks/jax/s.ipynb", "notebooks/s.ipynb"}


@pytest.mark.parametrize("paired", [False, True])
def test_an_edit_beside_an_include_leaves_the_directive(including, paired):
    """paired: Jupytext writes the source itself, with the included cells in it."""
    path, source = including.four_tab_path("s"), including.source_path("s")
    before = source.read_text()
    nb = nbformat.read(path, as_version=4)
    nb.cells[0].source = "# Edited"
    nbformat.write(nb, path)
    if paired:
        jupytext.write(nb, source, fmt="md:myst")
        assert "class Net" in source.read_text()
    assert editions.take_back(including, "s")
    edited = before.replace("# Title", "# Edited")
    assert source.read_text().split("---\n")[2] == edited.split("---\n")[2]
    editions.write(including, "s")
    assert (
        not editions.take_back(including, "s") and editions.stale(including, "s") == {}
    )


@pytest.mark.parametrize("change", ["source", "tags", "type", "delete", "insert"])
def test_an_included_cell_is_not_edited_here(including, change):
    path, source = including.four_tab_path("s"), including.source_path("s")
    before = source.read_text()
    nb = nbformat.read(path, as_version=4)
    i = next(i for i, c in enumerate(nb.cells) if "include" in c.metadata)
    if change == "source":
        nb.cells[i].source += "\nedited = 1"
    elif change == "tags":
        nb.cells[i].metadata.tags.append("mine")
    elif change == "type":
        nb.cells[i].cell_type = "markdown"
        del nb.cells[i]["outputs"], nb.cells[i]["execution_count"]
    elif change == "delete":
        del nb.cells[i]
    else:
        nb.cells.insert(i + 1, new_code_cell("%%tab all\n1"))
    nbformat.write(nb, path)
    with pytest.raises(SourceError, match=r"Edit them in notebooks/t.md"):
        editions.take_back(including, "s")
    assert source.read_text() == before


@pytest.mark.parametrize(
    "line, words",
    [
        (":::{include} u: Net", "s.md:33: there is no section 'u'"),
        (":::{include} t: Nat", "s.md:33: t.md has no cell .* 'Nat'; .* Net"),
        (":::{include} t: Net, print", "'print'"),
        (":::{include} t", "s.md:33: an include is one line"),
        (f"Text.\n{LINE}", "s.md:33: an include is .* a cell of its own"),
        (f"{LINE}\n\n+++\n\n{LINE}", "s.md:37: .* is included twice"),
    ],
)
def test_bad_includes(including, line, words):
    source = including.source_path("s")
    source.write_text(source.read_text().replace(LINE, line))
    with pytest.raises(SourceError, match=words):
        editions.edition(including, "s", "jax")
