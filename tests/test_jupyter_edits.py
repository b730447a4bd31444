"""What is saved in Jupyter in the four-tab notebook comes back, or is refused whole."""

import copy

import jupytext
import nbformat
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from made_sources import SMALL
from nbformat.v4 import new_code_cell, new_markdown_cell, new_raw_cell

from book.notebooks import editions
from book.source.book import SourceError
from book.source.reading import as_source
from book.source.tabs import in_notebook, in_source

PIXEL = {"pasted.png": {"image/png": "iVBORw0KGgo="}}
FENCE = "```{code-cell} ipython3\n%%tab all\nprint('I run')\n```"
NOTED = {"id", "include", "execution_count", "outputs"}  # not edited by an author


def saved(book):
    return nbformat.read(book.four_tab_path("s"), as_version=4)


def save(book, edit):
    """Edit the four-tab notebook as in Jupyter; returns what was saved."""
    nb = editions.four_tab(book, "s")
    edit(nb)
    nbformat.write(nb, book.four_tab_path("s"))
    return nb


SHOWN = {"collapsed", "scrolled", "trusted", "ExecuteTime", "execution"}


def cells_of(book, nb):
    """All that an author sees of a notebook, but for blank lines around a text.

    A drawing is embedded when the notebook is made.
    """
    cells = copy.deepcopy(nb.cells)
    for cell in cells:
        for name in NOTED:
            cell.pop(name, None)
        for name in SHOWN:  # how Jupyter showed it last
            cell.metadata.pop(name, None)
        if cell.cell_type == "markdown":
            cell.source = as_source(book, cell)
        cell.source = cell.source.rstrip().lstrip("\n")
    return [c for c in cells if c.source or c.get("attachments")]


def files_of(book):
    return {p: p.read_bytes() for p in book.root.rglob("*") if p.is_file()}


def is_kept(book, nb):
    """Whether `make notebooks` keeps an edit, which it must or refuse it."""
    before = files_of(book)
    try:
        editions.take_back(book, "s")
    except SourceError:
        assert files_of(book) == before
        return False
    made = editions.four_tab(book, "s")
    assert cells_of(book, made) == cells_of(book, nb)
    book.four_tab_path("s").write_text(editions.dumps(made))
    assert not editions.take_back(book, "s")
    return True


def insert(cell):
    return lambda nb: nb.cells.insert(1, cell)


def slide(nb):
    nb.cells[0].metadata["slideshow"] = {"slide_type": "slide"}


def of_code(nb):
    cell = next(c for c in nb.cells if c.cell_type == "code" and "x = 1" in c.source)
    cell.metadata.update(slideshow={"slide_type": "skip"}, editable=True)


def paste(nb):
    nb.cells[0].source += "\n\n![pasted.png](attachment:pasted.png)"
    nb.cells[0]["attachments"] = PIXEL


def relabel(old, new):
    def edit(nb):
        assert old in nb.cells[-1].source
        nb.cells[-1].source = nb.cells[-1].source.replace(old, new)

    return edit


SLIDE = {"tags": ["slide"]}
KEPT = {
    "a slide type": slide,
    "a slide": insert(new_markdown_cell("# S\n\n{code}", metadata=SLIDE)),
    "a slide, hidden": insert(
        new_markdown_cell("<!-- slide\n# S\n\n{code}\n-->", metadata=SLIDE)
    ),
    "a slide that ends a comment": insert(new_markdown_cell("a --> b", metadata=SLIDE)),
    "a text no longer a slide": insert(new_markdown_cell("<!-- slide\n# S\n-->")),
    "a passage as in the source": insert(new_markdown_cell(":::{tab} jax\na\n:::")),
    "a passage for others": relabel("<!-- :::{tab} jax -->", "<!-- :::{tab} mxnet -->"),
    "a passage without its label": relabel("*JAX:* ", ""),
    "a passage that begins with a list": relabel("*JAX:* Only", "*JAX:*\n\n- Only"),
    "a passage more": relabel("\n<!-- ::: -->", "\n\nAnd more.\n<!-- ::: -->"),
    "comments in code": insert(new_markdown_cell("```\n<!-- ::: -->\n```")),
    "a slide type of code": of_code,
    "a fence within a longer one": insert(new_markdown_cell(f"````\n{FENCE}\n````")),
    "+++ within a fence": insert(new_markdown_cell("a\n\n```\n+++\n```\n\nb")),
    "code that shows a fence": insert(new_code_cell(f"%%tab jax\n'''\n{FENCE}\n'''")),
    "code with ---": insert(new_code_cell("%%tab jax\n---\n:a: 1")),
    "an own picture": insert(new_markdown_cell("![x](data:image/png;base64,iVBO)")),
    "a blank line at the end": insert(new_markdown_cell("a\n\n")),
    "an empty cell": insert(new_code_cell("")),
    "a cell removed": lambda nb: nb.cells.pop(1),
    "cells moved": lambda nb: nb.cells.insert(0, nb.cells.pop()),
    "text made code": lambda nb: nb.cells.append(new_code_cell("%%tab all\n1")),
    "LaTeX": insert(new_markdown_cell("$$\na\\\\b\n$$\n\n\\begin{align}a\\end{align}")),
}
REFUSED = {
    "a pasted picture": (paste, r'attachments": \{"pasted.png'),
    "only a pasted picture": (
        insert(new_markdown_cell("", attachments=PIXEL)), "attachments"
    ),
    "a text that shows a fence": (
        insert(new_markdown_cell(f"before\n\n{FENCE}\n\nafter")), r"\+\["
    ),
    "+++": (insert(new_markdown_cell("a\n\n+++\n\nb")), r"-\+\+\+"),
    "+++ with metadata": (insert(new_markdown_cell('a\n\n+++ {"b": 1}')), r"-\+\+\+"),
    "+++ with no metadata": (insert(new_markdown_cell("a\n\n+++ b")), "nothing was"),
    "a raw cell": (insert(new_raw_cell("<b>")), "no raw cells"),
    "the title": (lambda nb: nb.metadata.update(title="T"), '-.*"title": "T"'),
    "an unknown tab": (insert(new_code_cell("%%tab caffe\n1")), "Unknown tab 'caffe'"),
    "no tab": (insert(new_code_cell("1")), "must begin with %%tab"),
    "a passage that is not open": (
        relabel("<!-- :::{tab} jax -->\n", ""), "closes nothing"
    ),
    "an open passage": (insert(new_markdown_cell(":::{tab} jax\na")), "not closed"),
    "no such include": (insert(new_markdown_cell(":::{include} t: N")), "no section"),
}  # fmt: skip


@pytest.mark.parametrize("what", KEPT)
def test_edits_that_come_back(project, what):
    assert is_kept(project, save(project, KEPT[what]))


@pytest.mark.parametrize("what", REFUSED)
def test_edits_that_a_source_cannot_hold(project, what):
    edit, words = REFUSED[what]
    save(project, edit)
    before = files_of(project)
    with pytest.raises(SourceError, match=words) as error:
        editions.take_back(project, "s")
    assert str(error.value).startswith("notebooks/s.ipynb was edited, and nothing was")
    assert files_of(project) == before


def test_a_changed_drawing_is_no_edit(project):
    """Although the notebook holds the former one; one's own beside it is."""
    source = project.source_path("s")
    text, drawing = source.read_text(), project.notebooks / "img/f.svg"
    editions.write(project, "s")
    drawing.write_text("<svg xmlns='http://www.w3.org/2000/svg' width='1'/>")
    assert not editions.take_back(project, "s") and source.read_text() == text
    drawing.write_text("<svg xmlns='http://www.w3.org/2000/svg' width='2'/>")
    nb = saved(project)
    nb.cells[0].source += "\n\n![My figure](data:image/svg+xml;base64,AAAA)"
    nbformat.write(nb, project.four_tab_path("s"))
    assert editions.take_back(project, "s")
    made = source.read_text()
    assert "![A figure.](img/f.svg)" in made and made.count("base64,") == 1


def test_what_a_reader_of_four_tabs_does_not_see(project):
    """Fences and slides; a passage says for whom it is. As it was, it comes back."""
    source = project.source_path("s")
    slide = '+++ {"tags": ["slide"]}\n\n# Slide\n\n{code}\n'
    passage = ":::{tab} mxnet, jax\n* a list\n:::\n:::{live} budget\nIts picture.\n:::"
    text = f"{SMALL}{passage}\n\n{slide}"
    source.write_text(text)
    nb = editions.four_tab(project, "s")
    last, hidden = (c.source for c in nb.cells[-2:])
    assert last.partition("\n")[2] == (
        "\n<!-- :::{tab} jax -->\n*JAX:* Only for JAX.\n<!-- ::: -->\n"
        "<!-- :::{tab} mxnet, jax -->\n*MXNet, JAX:*\n\n* a list\n<!-- ::: -->\n"
        "<!-- :::{live} budget -->\nIts picture.\n<!-- ::: -->"
    )
    assert hidden == "<!-- slide\n# Slide\n\n{code}\n-->"
    nb.cells[0].source = "# Edited"
    nbformat.write(nb, project.four_tab_path("s"))
    assert editions.take_back(project, "s")
    body = source.read_text().split("---\n", 2)[2].rstrip()
    assert body == text.replace("# Title", "# Edited").split("---\n", 2)[2].rstrip()


@pytest.mark.parametrize(
    "text",
    ["```\n<!-- ::: -->\n```", "<!-- slide\na\n-->", "*JAX:* a", "<!-- :::: -->"],
)
def test_texts_that_hide_nothing(text):
    assert in_source(text) == text == in_notebook(text)


def test_a_slide_that_would_end_the_comment_is_shown():
    assert in_notebook("a --> b", ["slide"]) == "a --> b"


def test_jupytext_writes_what_is_hidden(project):
    """Into the source, from which it goes again."""
    text = project.source_path("s").read_text()
    project.source_path("s").write_text(text.replace("![A figure.](img/f.svg)", ""))
    nb = save(project, KEPT["a slide"])
    jupytext.write(nb, project.source_path("s"), fmt="md:myst")
    assert "<!-- :::{tab} jax -->" in project.source_path("s").read_text()
    assert is_kept(project, nb)
    assert "<!--" not in project.source_path("s").read_text()


def test_an_own_picture_is_taken_back_once(project):
    nb = save(project, KEPT["an own picture"])
    assert (
        is_kept(project, nb) and "base64,iVBO" in project.source_path("s").read_text()
    )


# Any notebook -------------------------------------------------------------------

LINES = [
    "a", "", " b", "# c", "+++", '+++ {"d": 1}', "```", "````", "~~~", FENCE, "    +++",
    "```{raw-cell}", "```\n+++\n```", "---", ":e: f", ":::", ":::{tab} jax", "> g",
    "- h\n\n      +++", "%%tab all", "%%tab jax, mxnet", "%%tab", "![i](img/f.svg)",
    "![j](attachment:pasted.png)", "$$", "k\u2028l", "m\x0cn", "o\r\np", "q\tr ",
    "<!-- ", "-->", "<pre>\n\n+++", "| s |\n|---|", "[t]: u", "(v)=", "% w", "'''",
    "<!-- ::: -->", "<!-- :::{tab} jax -->", "*JAX:* a", "*JAX:*", "<!-- slide",
    "\ue000",    ":::{include} s: x", "import x", "\ufeff", "1 +\\",
]  # fmt: skip
TEXTS = st.lists(st.sampled_from(LINES) | st.text(max_size=8), max_size=6).map(
    "\n".join
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda x: st.lists(x, max_size=2) | st.dictionaries(st.text(max_size=4), x),
    max_leaves=3,
)
NAMES = st.sampled_from(["slideshow", "editable", "a b", "tags2", "---", "ExecuteTime"])
METADATA = st.dictionaries(NAMES, VALUES, max_size=2)
TAGS = st.lists(
    st.sampled_from(["model", "slide", "a: b", "train", "#", "ä"]),
    max_size=2,
    unique=True,
)


def cell(kind, text, metadata, tags):
    meta = {**metadata, **({"tags": tags} if tags else {})}
    if kind == "code":
        return new_code_cell(text, metadata=meta)
    if kind == "tabs":
        return new_code_cell(f"%%tab all\n{text}", metadata=meta)
    if kind == "raw":
        return new_raw_cell(text, metadata=meta)
    more = {"attachments": PIXEL} if kind == "pasted" else {}
    return new_markdown_cell(text, metadata=meta, **more)


KINDS = st.sampled_from(["text"] * 6 + ["tabs"] * 3 + ["code", "raw", "pasted"])
CELLS = st.builds(cell, KINDS, TEXTS, METADATA, TAGS)


@settings(
    max_examples=50,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # to shrink takes minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(new=st.lists(CELLS, min_size=1, max_size=3), at=st.integers(0, 5))
def test_whatever_is_saved_comes_back_or_is_refused(project, new, at):
    project.source_path("s").write_text(SMALL)

    def edit(nb):
        nb.cells[at:at] = copy.deepcopy(new)

    is_kept(project, save(project, edit))


def test_jupytext_says_the_same(project):
    """Where Jupytext writes the source at the same time, it is put in order."""
    nb = save(project, KEPT["a slide type"])
    jupytext.write(nb, project.source_path("s"), fmt="md:myst")
    assert is_kept(project, nb)
    assert "base64," not in project.source_path("s").read_text()
