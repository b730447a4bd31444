"""Blank exercises for nbgrader: `python -m book.notebooks.exercises [--out FOLDER]`.

From every edition with cells tagged `solution` comes one in which these are empty,
to be filled in by students: code that raises NotImplementedError, text to be graded
by hand. Cells tagged `check` are locked tests; the format is nbgrader's, and needs no
nbgrader to be written. Stored outputs are left out.
"""

import argparse
import sys
from pathlib import Path

from nbformat import v4

from book.notebooks import editions
from book.source import files
from book.source.book import BOOK
from book.source.reading import read_source
from d2l_utils.frameworks import FRAMEWORKS

SCHEMA = 3  # of nbgrader's metadata
ANSWER, CHECK = "solution", "check"
BLANK = {
    "code": "# YOUR CODE HERE\nraise NotImplementedError()",
    "markdown": "YOUR ANSWER HERE",
}
POINTS = 1  # of a check, and of an answer in words


def has_exercises(book, section):
    return any(ANSWER in cell.tags for cell in read_source(book, section))


def role(cell):
    """What nbgrader does with a cell of this kind and these tags; None: nothing."""
    tags = cell.metadata.get("tags", ())
    if CHECK in tags:
        return {"grade": True, "solution": False, "locked": True, "points": POINTS}
    if ANSWER not in tags:
        return None
    if cell.cell_type == "code":
        return {"grade": False, "solution": True, "locked": False}
    return {"grade": True, "solution": True, "locked": False, "points": POINTS}


def for_nbgrader(book, section, framework, blank=True):
    """An edition in nbgrader's format; with blank=False, the answers are left in."""
    nb = editions.edition(book, section, framework)
    for number, cell in enumerate(nb.cells):
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        what = role(cell)
        if what is None:
            continue
        cell.metadata["nbgrader"] = {
            **what, "grade_id": f"{section}-{number}", "schema_version": SCHEMA,
            "task": False,
        }  # fmt: skip
        if blank and what["solution"]:
            cell.source = BLANK[cell.cell_type]
    return v4.new_notebook(cells=nb.cells, metadata=nb.metadata, nbformat_minor=5)


def main(argv=None, book=BOOK):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default="build/exercises")
    args = parser.parse_args(argv)
    for section in book.sections:
        if not has_exercises(book, section):
            continue
        for framework in FRAMEWORKS:
            path = args.out / framework / f"{section}.ipynb"
            nb = for_nbgrader(book, section, framework)
            files.write(path, editions.dumps(nb))
            print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
