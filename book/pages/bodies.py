"""The sections of a book, read once and rendered in each language.

A page in another language takes only its text and the comments in its code from the
translation. All else, with outputs and the addresses of headings, comes from the
English page. What was rendered is kept for the next build.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from nbformat import NotebookNode

from book.notebooks.editions import edition_cells, is_executed
from book.pages.exporter import TEMPLATES, Body, render
from book.pages.markup import Marks, PageError
from book.source import files
from book.source.reading import read_source, title_of
from book.translate import catalogues
from book.translate.catalogues import strings

RENDERERS = ("nbconvert", "markdown-it-py", "mdit-py-plugins", "latex2mathml", "nh3")


@dataclass(frozen=True)
class Section:
    """A section as it was read.

    cells: those of its source. editions: {framework: {index of a cell: the executed
    cell}}. stored: {framework: whether all of these were executed}.
    """

    cells: list
    editions: dict
    stored: dict

    def in_language(self, book, name, language):
        """The same with the text and the comments of a language."""
        cells = catalogues.translate(book, self.cells, name, language)
        editions = {
            f: {
                i: NotebookNode({**cell, "source": cells[i].source})
                for i, cell in edition.items()
            }
            for f, edition in self.editions.items()
        }
        return Section(cells, editions, self.stored)


def check_outputs(edition, where):
    """Raise PageError for an error that nobody asked for among the outputs."""
    for cell in edition.values():
        if "raises-exception" in cell.metadata.get("tags", ()):
            continue
        for output in cell.get("outputs", ()):
            if output.output_type == "error":
                raise PageError(
                    f"{where}: a stored output is an error, {output.ename}: "
                    f"{output.evalue}; mend the cell, then run `make execute`."
                )


def read_sections(book, frameworks, only):
    """{name: Section} of a book.

    Raises PageError for a section of which only some editions have been run, and for
    one asked for that has not been.
    """
    made = {}
    for name in book.sections:
        editions = {f: edition_cells(book, name, f) for f in frameworks}
        stored = {f: is_executed(edition.values()) for f, edition in editions.items()}
        made[name] = Section(read_source(book, name), editions, stored)
        if only != name and not any(stored.values()):
            continue
        for f, edition in editions.items():
            where = book.relative(book.edition_path(name, f))
            if not stored[f]:
                raise PageError(
                    f"{where} has no stored outputs: "
                    f"run `make execute FRAMEWORK={f} SECTION={name}`."
                )
            check_outputs(edition, where)
    return made


def rendered(cells, editions, titles, path, t, cache, anchors=()):
    """The Body of a section: from the cache if nothing it depends on has changed."""
    versions = [metadata.version(name) for name in RENDERERS]
    key = hashlib.sha256(json.dumps(versions).encode())
    for file in (
        *sorted(Path(__file__).parents[1].rglob("*.py")),
        *TEMPLATES.rglob("*.j2"),
    ):
        key.update(file.read_bytes())
    for file in [path, *sorted(path.parent.glob("img/**/*"))]:
        key.update(file.read_bytes() if file.is_file() else b"")
    parts = [[c.kind, c.source, c.tabs, c.tags] for c in cells]
    key.update(json.dumps([parts, editions, titles, t, str(path), anchors]).encode())
    kept = cache / f"{path.stem}-{'-'.join([t['lang'], *titles])}.json"
    if kept.is_file():
        stored = json.loads(kept.read_text(encoding="utf-8"))
        if stored.pop("key") == key.hexdigest():
            return Body(**{**stored, "marks": Marks(**stored["marks"])}), True
    body = render(cells, editions, titles, path.parent, t, anchors)
    stored = {"key": key.hexdigest(), **dataclasses.asdict(body)}
    files.write(kept, json.dumps(stored))
    return body, False


def in_language(book, sections, titles, language, cache, english=None):
    """({name: Body}, {name: title}) of the sections in a language.

    A section that has not been run has a title alone. english: the bodies of the
    English pages; what is not translated at all is taken from there.
    """
    bodies, names = {}, {}
    for name, section in sections.items():
        translated = catalogues.is_translated(book, language, name)
        if translated:
            section = section.in_language(book, name, language)
        names[name] = title_of(section.cells, name)
        if not any(section.stored.values()):
            continue
        if english and not translated:
            bodies[name] = english[name]
            continue
        anchors = [h[1] for h in english[name].marks.headings] if english else ()
        bodies[name], _ = rendered(
            section.cells, section.editions, titles, book.source_path(name),
            strings(book, language), cache, anchors,
        )  # fmt: skip
    return bodies, names
