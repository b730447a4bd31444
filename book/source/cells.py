"""Models for tests, parity and benchmarks, taken from the notebooks themselves."""

from book.source.book import BOOK
from book.source.reading import read_source
from d2l_utils.frameworks import FRAMEWORKS

LOADED_TAGS = ("imports", "model")


def load(section, framework, replace=None, tags=LOADED_TAGS, book=BOOK):
    """Run the cells of an edition that have one of the tags; returns their namespace.

    By default these are its imports and models. replace: (old, new) changes the
    source first; that is for tests which put an error in. Raises ValueError for an
    unknown section or framework, or if `old` does not occur.
    """
    if framework not in FRAMEWORKS or not book.source_path(section).is_file():
        raise ValueError(
            f"There is no {framework}/{section}: sections are {book.sections}, "
            f"frameworks {tuple(FRAMEWORKS)}."
        )
    namespace = {"__name__": f"{section}_{framework}"}
    replaced = False
    for cell in read_source(book, section):
        wanted = framework in cell.tabs and set(tags) & set(cell.tags)
        if cell.kind == "code" and wanted:
            source = cell.source
            if replace and replace[0] in source:
                source, replaced = source.replace(*replace), True
            exec(compile(source, f"{cell.place()} ({framework})", "exec"), namespace)
    if replace and not replaced:
        raise ValueError(f"{replace[0]!r} does not occur in {framework}/{section}.")
    return namespace
