"""Reading a source, notebooks/<section>.md: its cells, tabs, drawings, includes.

A line `:::{include} nin: NiN28` that is a text cell of its own stands for the cells
tagged `model` of nin.md that define NiN28. Generated notebooks hold these cells,
tagged `included`; `collapse` puts the line back. What is made of the cells is
editions.py's task.
"""

import ast
import base64
import hashlib
import itertools
import json
import re
from dataclasses import dataclass, replace
from pathlib import Path

import jupytext
import nbformat
from nbformat.v4 import new_markdown_cell

from d2l_utils import frameworks, tab

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "notebooks"
FRAMEWORKS = tuple(frameworks.FRAMEWORKS)

IMAGE = re.compile(r"(!\[[^\]]*\]\()(img/(?:\w+/)?[\w.-]+\.svg)(\))")
EMBEDDED = re.compile(r"(!\[[^\]]*\]\()(data:image/svg\+xml;base64,[\w+/=]+)(\))")
FENCE = re.compile(r"^:::(?:\{tab\}\s*(?P<tabs>.*))?\s*$")
INCLUDE = re.compile(r":::\{include\} *(?P<section>\w+) *: *(?P<names>\w+( *, *\w+)*)")


class SourceError(Exception):
    """A source cannot be turned into notebooks; the message names the place."""


@dataclass(frozen=True)
class SourceCell:
    """A cell of a source.

    tabs: its frameworks (all, for text); where: its place, for messages; head: the
    %%tab line, with its end; include: (line, digest of all its cells) of the
    directive that a cell comes from, or ().
    """

    kind: str
    source: str
    tabs: tuple = FRAMEWORKS
    tags: tuple = ()
    where: str = ""
    head: str = ""
    include: tuple = ()


def source_path(section):
    return NOTEBOOKS / f"{section}.md"


def four_tab_path(section):
    return NOTEBOOKS / f"{section}.ipynb"


def edition_path(section, framework, language="en"):
    folder = NOTEBOOKS if language == "en" else NOTEBOOKS / language
    return folder / framework / f"{section}.ipynb"


def relative(path):
    return path.relative_to(ROOT).as_posix()


# Cells --------------------------------------------------------------------------


def read_notebook(path):
    """A source or a four-tab notebook, with includes as the lines they stand for."""
    if path.suffix == ".md":
        nb = jupytext.read(path, fmt="md:myst")
    else:
        nb = nbformat.read(path, as_version=4)
    nb.cells = collapse(nb.cells, path)
    return nb


def read_source(section):
    """The cells of notebooks/<section>.md; raises SourceError for a bad one."""
    cells, seen = [], set()
    for cell in own_cells(section):
        if cell.kind == "markdown" and ":::{include}" in cell.source:
            found = included(cell)
            if seen & {c.where for c in found}:
                raise SourceError(f"{cell.where}: {cell.source!r} is a second time")
            seen |= {c.where for c in found}
            cells += found
        else:
            cells.append(cell)
    return cells


def own_cells(section):
    """The cells of a source, without those that it includes."""
    return [
        parse_cell(cell, f"{section}.md, cell {i}")
        for i, cell in enumerate(read_notebook(source_path(section)).cells, 1)
    ]


def parse_cell(cell, where):
    """A notebook's cell as a SourceCell; where: its place, for messages."""
    tags = tuple(cell.metadata.get("tags", ()))
    if cell.cell_type != "code":
        for framework in FRAMEWORKS:
            markdown_for(cell.source, framework, where)  # raises if unbalanced
        return SourceCell("markdown", cell.source, FRAMEWORKS, tags, where)
    first, newline, rest = cell.source.partition("\n")
    try:
        tabs = tab.parse(first)
    except ValueError as error:
        raise SourceError(f"{where}: {error}") from error
    if tabs is None and "chooser" not in tags:
        raise SourceError(f"{where}: a code cell must begin with %%tab: {first!r}")
    if tabs is None:
        return SourceCell("code", cell.source, (), tags, where)
    return SourceCell("code", rest, tabs, tags, where, first + newline)


def markdown_for(source, framework, where=""):
    """The text with the passages of other tabs, and the fences, left out."""
    kept, tabs = [], None
    for number, line in enumerate(source.split("\n"), 1):
        fence = FENCE.match(line)
        if fence is None:
            if tabs is None or framework in tabs:
                kept.append(line)
        elif fence["tabs"] is not None:
            if tabs is not None:
                raise SourceError(f"{where}, line {number}: ':::' within ':::'")
            try:
                tabs = tab.parse(f"%%tab {fence['tabs']}")
            except ValueError as error:
                raise SourceError(f"{where}, line {number}: {error}") from error
        else:
            if tabs is None:
                raise SourceError(f"{where}, line {number}: ':::' closes nothing")
            tabs = None
    if tabs is not None:
        raise SourceError(f"{where}: a ':::{{tab}}' passage is not closed with ':::'")
    return "\n".join(kept).strip()


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


def included(cell):
    """The cells that an include directive stands for, in their own order."""
    found = INCLUDE.fullmatch(cell.source)
    if found is None:
        raise SourceError(
            f"{cell.where}: an include is one line and a cell of its own, such as "
            f"':::{{include}} nin: NiN28' (+++ parts cells): {cell.source!r}"
        )
    section, names = found["section"], re.split(" *, *", found["names"])
    if not source_path(section).is_file():
        raise SourceError(
            f"{cell.where}: there is no section {section!r} to include from."
        )
    models = [c for c in own_cells(section) if "model" in c.tags]
    there = {n for c in models for n in defined(c.source)}
    for name in names:
        if name not in there:
            raise SourceError(
                f"{cell.where}: {section}.md has no cell tagged 'model' that defines "
                f"{name!r}; it defines {', '.join(sorted(there))}."
            )
    chosen = [c for c in models if defined(c.source) & set(names)]
    chosen = [replace(c, tags=(*c.tags, "included")) for c in chosen]
    mark = cell.source, digest_of((c.kind, c.head + c.source, c.tags) for c in chosen)
    return [replace(c, include=mark) for c in chosen]


def collapse(cells, path):
    """Cells of a notebook with the directives in place of what they brought.

    Raises SourceError where an included cell was edited: it belongs elsewhere.
    """
    kept = []
    marks = itertools.groupby(cells, lambda c: c.metadata.get("include"))
    for mark, run in marks:
        if mark is None:
            kept += run
            continue
        parts = ((c.cell_type, c.source, c.metadata.get("tags", [])) for c in run)
        if digest_of(parts) != mark["digest"]:
            section = INCLUDE.fullmatch(mark["line"])["section"]
            raise SourceError(
                f"{relative(path)}: cells included by {mark['line']!r} were edited. "
                f"Edit them in {relative(source_path(section))}, and undo the edit "
                f"here, for example with `git checkout {relative(path)}`."
            )
        kept.append(new_markdown_cell(mark["line"]))
    return kept


def in_full(path):
    """Whether a source holds drawings or included cells in full.

    So Jupytext writes it when the four-tab notebook is saved in Jupyter.
    """
    cells = jupytext.read(path, fmt="md:myst").cells
    return any("include" in c.metadata or EMBEDDED.search(c.source) for c in cells)


def digest_of(parts):
    return hashlib.sha256(json.dumps(list(parts)).encode()).hexdigest()


# Drawings -----------------------------------------------------------------------


def data_uri(name):
    path = NOTEBOOKS / name
    if not path.is_file():
        raise SourceError(f"The figure notebooks/{name} does not exist.")
    return "data:image/svg+xml;base64," + base64.b64encode(path.read_bytes()).decode()


def embed(text):
    """The text with drawings inside, so that a notebook alone shows them."""
    return IMAGE.sub(lambda m: m[1] + data_uri(m[2]) + m[3], text)


def extract(text):
    """The inverse of `embed`."""
    names = {
        data_uri(f"img/{p.name}"): f"img/{p.name}"
        for p in sorted((NOTEBOOKS / "img").glob("*.svg"))
    }
    return EMBEDDED.sub(lambda m: m[1] + names.get(m[2], m[2]) + m[3], text)
