"""The sections of a book, read once and rendered in each language.

A page in another language takes only its text and the comments in its code from the
translation. All else, with outputs and the addresses of headings, comes from the
English page. What was rendered is kept for the next build.
"""

import dataclasses
from dataclasses import dataclass

from nbformat import NotebookNode

from book.notebooks.editions import edition_cells, is_executed
from book.pages.exporter import Body, render
from book.pages.markup import Marks, PageError
from book.source import files
from book.source.reading import read_source, title_of
from book.translate import catalogues
from book.translate.catalogues import strings


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
    pictures = (p for p in sorted(path.parent.glob("img/**/*")) if p.is_file())
    parts = [
        [[c.kind, c.source, c.tabs, c.tags] for c in cells], editions, titles, t,
        files.contents([path, *pictures]), str(path), anchors,
    ]  # fmt: skip
    made = files.kept(
        cache / f"{path.stem}-{'-'.join([t['lang'], *titles])}.json",
        parts,
        lambda: dataclasses.asdict(
            render(cells, editions, titles, path.parent, t, anchors)
        ),
    )
    return Body(**{**made, "marks": Marks(**made["marks"])})


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
        bodies[name] = rendered(
            section.cells, section.editions, titles, book.source_path(name),
            strings(book, language), cache, anchors,
        )  # fmt: skip
    return bodies, names
