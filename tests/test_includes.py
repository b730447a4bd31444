"""Cells that a source takes from another section: out, back, and what is refused."""

import jupytext
import nbformat
import pytest
from made_sources import OTHER, SMALL
from nbformat.v4 import new_code_cell

from book.notebooks import editions
from book.source.reading import SourceError

LINE = ":::{include} t: Net"


@pytest.fixture
def including(project):
    """The small project with a second section, 't'; 's' includes its Net."""
    (project / "t.md").write_text(OTHER)
    text = SMALL.replace("For all. ![A figure.](img/f.svg)", f"{LINE}\n\n+++")
    (project / "s.md").write_text(text)
    editions.write("s")
    return project


def test_an_include_brings_the_cells_that_define_a_name(including):
    jax, mxnet = (editions.edition("s", f) for f in ("jax", "mxnet"))
    net = "class Net:\n    pass"
    helper = f"def helper():\n    return 1\n\n\n{net}"
    assert editions.code_of(jax)[1:] == ["y = 2", helper]
    assert editions.code_of(mxnet)[1:] == ["x = 1", "y = 2", net]
    assert mxnet.cells[4].metadata.tags == ["model", "included"]
    four = editions.four_tab("s")
    assert [c.source for c in four.cells if "include" in c.metadata] == [
        f"%%tab jax\n{helper}",
        f"%%tab pytorch, mxnet, tensorflow\n{net}",
    ]
    assert not any("include}" in c.source for c in [*four.cells, *jax.cells])
    # Another Net makes the editions stale, and is no edit of s.ipynb.
    (including / "t.md").write_text(OTHER.replace("return 1", "return 2"))
    assert not editions.take_back("s")
    names = {editions.relative(p) for p in editions.stale("s")}
    assert names == {"notebooks/jax/s.ipynb", "notebooks/s.ipynb"}


@pytest.mark.parametrize("paired", [False, True])
def test_an_edit_beside_an_include_leaves_the_directive(including, paired):
    """paired: Jupytext writes the source itself, with the included cells in it."""
    path, source = editions.four_tab_path("s"), editions.source_path("s")
    before = source.read_text()
    nb = nbformat.read(path, as_version=4)
    nb.cells[0].source = "# Edited"
    nbformat.write(nb, path)
    if paired:
        jupytext.write(nb, source, fmt="md:myst")
        assert "class Net" in source.read_text()
    assert editions.take_back("s")
    edited = before.replace("# Title", "# Edited")
    assert source.read_text().split("---\n")[2] == edited.split("---\n")[2]
    editions.write("s")
    assert not editions.take_back("s") and editions.stale("s") == []


@pytest.mark.parametrize("change", ["source", "tags", "type", "delete", "insert"])
def test_an_included_cell_is_not_edited_here(including, change):
    path, source = editions.four_tab_path("s"), editions.source_path("s")
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
        editions.take_back("s")
    assert source.read_text() == before


@pytest.mark.parametrize(
    "line, words",
    [
        (":::{include} u: Net", "s.md, cell 5: there is no section 'u'"),
        (":::{include} t: Nat", "s.md, cell 5: t.md has no cell .* 'Nat'; .* Net"),
        (":::{include} t: Net, print", "'print'"),
        (":::{include} t", "s.md, cell 5: an include is one line"),
        (f"Text.\n{LINE}", "s.md, cell 5: an include is .* a cell of its own"),
        (f"{LINE}\n\n+++\n\n{LINE}", "s.md, cell 6: .* a second time"),
    ],
)
def test_bad_includes(including, line, words):
    source = editions.source_path("s")
    source.write_text(source.read_text().replace(LINE, line))
    with pytest.raises(SourceError, match=words):
        editions.edition("s", "jax")
