"""Reading a source, notebooks/<section>.md: its cells, drawings, includes.

A line `:::{include} nin: NiN28` that is a text cell of its own stands for the cells
tagged `model` of nin.md that define NiN28. Generated notebooks hold these cells,
tagged `included`; `collapse` puts the line back. What is made of the cells is
editions.py's task.
"""

import ast
import base64
import copy
import functools
import hashlib
import importlib
import itertools
import json
import mimetypes
import re
import sys
from dataclasses import dataclass, field, replace

import nbformat
from nbformat.corpus.words import generate_corpus_id as random_cell_id

from book.source import files
from book.source.book import SourceError
from book.source.tabs import in_source, passages
from d2l_utils import tab
from d2l_utils.frameworks import FRAMEWORKS

IMAGE = re.compile(r"(!\[[^\]]*\]\()(img/(?:\w+/)?[\w.-]+\.(?:svg|png|jpg))(\))")
EMBEDDED = re.compile(r"(!\[[^\]]*\]\()(data:image/[\w+]+;base64,[\w+/=]+)(\))")
DIRECTIVE = ":::{include}"
SHOWN = {  # metadata by which Jupyter remembers how a cell was shown or run last
    "autoscroll", "collapsed", "ExecuteTime", "execution", "scrolled", "trusted",
    "jp-MarkdownHeadingCollapsed",
}  # fmt: skip
OF_A_SERVER = "jupytext.sync_contentsmanager", "jupytext.async_contentsmanager"
INCLUDE = re.compile(r":::\{include\} *(?P<section>\w+) *: *(?P<names>\w+( *, *\w+)*)")


@dataclass(frozen=True)
class SourceCell:
    """A cell of a source.

    tabs: its frameworks (all, for text). head: the %%tab line, with its line end. file,
    line: where it begins, for messages; the line is None if it is not known. include:
    (line, digest of all its cells) of the directive that a cell comes from, or ().
    metadata: what else the cell has, such as the slide type chosen in Jupyter.
    """

    kind: str
    source: str
    tabs: tuple = tuple(FRAMEWORKS)
    tags: tuple = ()
    file: str = ""
    line: int | None = None
    head: str = ""
    include: tuple = ()
    metadata: dict = field(default_factory=dict)

    def place(self, row=0):
        """'notebooks/nin.md:12': where a row of the cell stands, counted from 0."""
        return f"{self.file}:{self.line + row}" if self.line else self.file


# Cells --------------------------------------------------------------------------


# What depends on a text alone is kept as long as this process runs: four editions in
# each language come from the same source. What is returned must not be changed.
_notebook = functools.cache(functools.partial(nbformat.reads, as_version=4))


def jupytext():
    """Jupytext, which is loaded where a source has to be read or written.

    What it adds to Jupyter's server is left out: it takes longer to load than the rest.
    """
    if "jupytext" not in sys.modules:
        for name in OF_A_SERVER:
            sys.modules[name] = None
        importlib.import_module("jupytext")
        for name in OF_A_SERVER:
            del sys.modules[name]
    return sys.modules["jupytext"]


def new_cell(kind, source, outputs=(), **metadata):
    """A new cell of a notebook, not validated, which would take a millisecond a cell.

    Whole notebooks are validated when they are written or shown.
    """
    made = {"id": random_cell_id(), "cell_type": kind, "source": source}
    made["metadata"] = copy.deepcopy(metadata)
    if kind == "code":
        made |= {"execution_count": None, "outputs": list(outputs)}
    return nbformat.from_dict(made)


def open_notebook(path):
    """A notebook's file, to be read only; raises SourceError for a damaged one."""
    raw = path.read_bytes()
    try:
        return _notebook(raw.decode())
    except Exception as error:  # nbformat raises many kinds
        raise SourceError(
            f"{path} is no notebook; get it back, for example with "
            f"`git checkout {path.name}`: {' '.join(str(error).split())[:200]}"
        ) from error


def read_notebook(book, path):
    """A source or a four-tab notebook, with includes as the lines they stand for."""
    if path.suffix == ".md":
        return parse(book, path, path.read_text(encoding="utf-8"))
    nb = copy.deepcopy(open_notebook(path))
    nb.cells = collapse(book, nb.cells, path)
    return nb


@functools.cache
def parse(book, path, text):
    """The notebook that a text is as the source at `path`, to be read only."""
    try:
        nb = jupytext().reads(text, fmt="md:myst")
    except Exception as error:  # of Jupytext, of YAML
        raise SourceError(f"{book.relative(path)}: {error}") from error
    nb.cells = collapse(book, nb.cells, path)
    return nb


def read_source(book, section, text=None):
    """The cells of notebooks/<section>.md; raises SourceError for a bad one.

    text: what the file would hold, in place of what it does.
    """
    cells, seen = [], set()
    for cell in own_cells(book, section, text):
        if cell.kind == "markdown" and DIRECTIVE in cell.source:
            found = included(book, cell)
            new = {(c.place(), c.source) for c in found}
            if seen & new:
                raise SourceError(f"{cell.place()}: {cell.source!r} is included twice")
            seen |= new
            cells += found
        else:
            cells.append(cell)
    return cells


def own_cells(book, section, text=None):
    """The cells of a source, without those that it includes."""
    if text is None:
        text = book.source_path(section).read_text(encoding="utf-8")
    return list(_own_cells(book, section, text))


@functools.cache
def _own_cells(book, section, text):
    path, end, cells = book.source_path(section), 0, []
    read, text = parse(book, path, text), text + "\n"
    for cell in read.cells:
        start = text.find(f"\n{cell.source}\n", end)
        found = start >= 0
        line = text.count("\n", 0, start) + 2 if found else None
        end = start + 1 + len(cell.source) if found else end
        cells.append(parse_cell(cell, book.relative(path), line))
    return cells


def parse_cell(cell, file, line=None):
    """A notebook's cell as a SourceCell; file, line: its place, for messages."""
    metadata = dict(cell.metadata)
    tags = tuple(metadata.pop("tags", ()))
    made = SourceCell(
        "markdown", cell.source, tags=tags, file=file, line=line, metadata=metadata
    )
    if cell.cell_type == "raw":
        raise SourceError(
            f"{made.place()}: there are no raw cells here: make it text or code."
        )
    if cell.cell_type != "code":
        if DIRECTIVE not in cell.source:
            passages(cell.source, made.place)  # raises if unbalanced
        return made
    first, newline, rest = cell.source.partition("\n")
    try:
        tabs = tab.parse(first)
    except ValueError as error:
        raise SourceError(f"{made.place()}: {error}") from error
    if tabs is not None:
        return replace(made, kind="code", source=rest, tabs=tabs, head=first + newline)
    if "chooser" not in tags:
        raise SourceError(
            f"{made.place()}: a code cell must begin with %%tab: {first!r}"
        )
    return replace(made, kind="code", tabs=())


def title_of(cells, default):
    """The first heading of a source, with its section number, without its marks."""
    for cell in cells:
        found = re.search(r"^# +(.+)$", cell.source, re.M)
        if cell.kind == "markdown" and found:
            return re.sub(r"[`*$\\]", "", found[1]).strip()
    return default


# Cells of other sections ---------------------------------------------------------


def defined(source):
    """The names that code defines at top level."""
    names = set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {t.id for t in node.targets if isinstance(t, ast.Name)}
    return names


def included(book, cell):
    """The cells that an include directive stands for, in their own order."""
    found = INCLUDE.fullmatch(cell.source)
    if found is None:
        raise SourceError(
            f"{cell.place()}: an include is one line in a cell of its own (separate it "
            f"with a line `+++`), such as ':::{{include}} nin: NiN28': {cell.source!r}"
        )
    section, names = found["section"], re.split(" *, *", found["names"])
    if not book.source_path(section).is_file():
        raise SourceError(
            f"{cell.place()}: there is no section {section!r} to include from."
        )
    models = [c for c in own_cells(book, section) if "model" in c.tags]
    there = {n for c in models for n in defined(c.source)}
    for name in names:
        if name not in there:
            raise SourceError(
                f"{cell.place()}: {section}.md has no cell tagged 'model' that defines "
                f"{name!r}; it defines {', '.join(sorted(there))}."
            )
    chosen = [c for c in models if defined(c.source) & set(names)]
    chosen = [replace(c, tags=(*c.tags, "included")) for c in chosen]
    mark = cell.source, digest_of((c.kind, c.head + c.source, c.tags) for c in chosen)
    return [replace(c, include=mark) for c in chosen]


def collapse(book, cells, path):
    """Cells of a notebook with the directives in place of what they brought.

    Raises SourceError where an included cell was edited: it belongs elsewhere.
    """
    kept = []
    marks = itertools.groupby(cells, lambda c: c.metadata.get("include"))
    for mark, run in marks:
        if mark is None:
            kept += run
            continue
        run = list(run)
        parts = ((c.cell_type, c.source, c.metadata.get("tags", [])) for c in run)
        more = any(set(author_metadata(c)) - {"tags", "include"} for c in run)
        if digest_of(parts) != mark["digest"] or more:
            section = INCLUDE.fullmatch(mark["line"])["section"]
            name, source = book.relative(path), book.source_path(section)
            raise SourceError(
                f"{name}: cells included by {mark['line']!r} were edited. Edit them in "
                f"{book.relative(source)}, and undo the edit here, for example with "
                f"`git checkout {name}`."
            )
        kept.append(new_cell("markdown", mark["line"]))
    return kept


def author_metadata(cell):
    """The metadata of a cell, without what Jupyter notes about how it is shown."""
    return {k: v for k, v in cell.metadata.items() if k not in SHOWN}


def in_full(book, path):
    """Whether a source holds drawings or included cells in full, or hides fences.

    Jupytext writes it like that when the four-tab notebook is saved in Jupyter.
    """
    cells = jupytext().read(path, fmt="md:myst").cells
    return any(
        "include" in c.metadata
        or (c.cell_type == "markdown" and as_source(book, c) != c.source)
        for c in cells
    )


def digest_of(parts):
    return hashlib.sha256(json.dumps(list(parts)).encode()).hexdigest()


# Drawings -----------------------------------------------------------------------


def data_uri(book, name):
    path = book.notebooks / name
    if not path.is_file():
        raise SourceError(f"The figure notebooks/{name} does not exist.")
    mime = mimetypes.guess_type(name)[0]
    return f"data:{mime};base64,{base64.b64encode(files.picture(path)).decode()}"


def embed(book, text):
    """The text with drawings inside, so that a notebook alone shows them."""

    def put(found):
        there = found[2].endswith(".svg") or (book.notebooks / found[2]).is_file()
        return found[1] + data_uri(book, found[2]) + found[3] if there else found[0]

    return IMAGE.sub(put, text)


def as_source(book, cell, former=()):
    """A text cell of the four-tab notebook as in the source; former: see `extract`."""
    return in_source(extract(book, cell.source, former), cell.metadata.get("tags", ()))


def extract(book, text, former=()):
    """The inverse of `embed`.

    former: {'![description](': name} of drawings, by which one is recognized whose file
    was changed after it had been embedded.
    """
    if not EMBEDDED.search(text):
        return text
    names = {
        data_uri(book, f"img/{p.name}"): f"img/{p.name}"
        for p in sorted((book.notebooks / "img").glob("*.*"))
    }
    former = dict(former)
    return EMBEDDED.sub(
        lambda m: m[1] + (names.get(m[2]) or former.get(m[1], m[2])) + m[3], text
    )
