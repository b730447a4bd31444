"""The sections of a book, rendered in each language.

A page in another language takes only its text and the comments in its code from the
translation. All else, with outputs and the addresses of headings, comes from the
English page. What was rendered is kept for the next build, which reads only the
sections of which a file has changed.
"""

import dataclasses
from dataclasses import dataclass

from nbformat import NotebookNode

from book.pages import markup
from book.pages.markup import Body, Marks, PageError
from book.source import files
from book.source.reading import read_source, title_of
from book.translate import catalogues
from book.translate.catalogues import strings


@dataclass(frozen=True)
class Section:
    """A section in a language.

    stored: {framework: whether all cells of its edition were executed}. body: None
    where none was.
    """

    title: str
    stored: dict
    body: Body | None


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


def read_editions(book, name, frameworks):
    """({framework: {index of a source's cell: executed cell}}, Section.stored).

    Raises PageError for a section of which only some editions have been run.
    """
    from book.notebooks.editions import edition_cells, is_executed

    editions = {f: edition_cells(book, name, f) for f in frameworks}
    stored = {f: is_executed(edition.values()) for f, edition in editions.items()}
    for f, edition in editions.items() if any(stored.values()) else ():
        if not stored[f]:
            raise not_run(book, name, f)
        check_outputs(edition, book.relative(book.edition_path(name, f)))
    return editions, stored


def with_code(edition, cells):
    """An edition whose code, with its comments, is that of the translated cells."""
    return {
        i: NotebookNode({**cell, "source": cells[i].source})
        for i, cell in edition.items()
    }


def not_run(book, name, framework):
    return PageError(
        f"{book.relative(book.edition_path(name, framework))} has no stored outputs: "
        f"run `make execute FRAMEWORK={framework} SECTION={name}`."
    )


def read(book, name, titles, language, anchors, answers):
    """A Section, as JSON can hold it; None for one that a language lacks.

    anchors, answers: see exporter.render.
    """
    from book.pages.exporter import render  # slow to import, with what it imports

    if language != "en" and not catalogues.is_translated(book, language, name):
        return None
    editions, stored = read_editions(book, name, titles)
    cells = catalogues.translate(book, read_source(book, name), name, language)
    editions = {f: with_code(edition, cells) for f, edition in editions.items()}
    body = None
    if any(stored.values()):
        folder, t = book.source_path(name).parent, strings(book, language)
        body = render(cells, editions, titles, folder, t, anchors, answers=answers)
    return dataclasses.asdict(Section(title_of(cells, name), stored, body))


def in_language(book, titles, language, cache, english=None, answers=True):
    """{name: Section} of a book in a language.

    english: the English ones; what is not translated at all is taken from there.
    Raises PageError for what cannot be shown.
    """
    made = {}
    for name in book.sections:
        body = english and english[name].body
        anchors = markup.anchors(body.marks) if body else []
        given = titles, language, anchors, answers
        found = files.kept(
            cache / f"{name}-{'-'.join([language, *titles])}.json",
            [
                given, str(book.notebooks),
                catalogues.made_of(book, name, titles, [language]),
            ],
            lambda name=name, given=given: read(book, name, *given),
        )  # fmt: skip
        made[name] = as_section(found) if found else english[name]
    return made


def as_section(found):
    body = found["body"] and Body(
        **{**found["body"], "marks": Marks(**found["body"]["marks"])}
    )
    return Section(**{**found, "body": body})
