"""Blank exercises for nbgrader: `python -m book.notebooks.exercises [--out FOLDER]`.

From every edition with cells tagged `solution` comes one in which these are empty,
to be filled in by students: code that raises NotImplementedError, text to be graded
by hand. Each says what it has to produce. Stored outputs are left out. The format is
nbgrader's, and needs no nbgrader to be written; nbgrader_config.py beside the notebooks
raises its time limit.

All other code is locked: nbgrader puts it back before it grades. Cells tagged `check`
are tests. Each begins with the locked definitions and settings that it uses, taken
from the cells above, so that no answer can replace them. A check that readers need not
see, say of a network's structure, MACs or outputs on fixed weights, is a cell tagged
`grade`: it is in no edition and on no page.
"""

import argparse
import ast
import builtins
import functools
import symtable
import sys
import textwrap
from pathlib import Path

from nbformat import v4

from book.notebooks import editions
from book.notebooks.editions import GRADE
from book.source import files
from book.source.book import BOOK
from book.source.reading import read_source
from book.translate import catalogues
from d2l_utils.frameworks import FRAMEWORKS

SCHEMA = 3  # of nbgrader's metadata
ANSWER, CHECKS = "solution", {"check", GRADE}
POINTS = 1  # of a check, and of an answer in words
CONFIG = """\
# nbgrader reads this file in the folder in which it is called.
c = get_config()
c.Execute.timeout = 3600  # seconds for a cell; by itself 30, too short to train
"""


def has_exercises(book, section):
    return any(ANSWER in cell.tags for cell in read_source(book, section))


def tags_of(cell):
    return set(cell.metadata.get("tags", ()))


def role(cell):
    """What nbgrader does with a cell of this kind and these tags; None: nothing."""
    is_answer = ANSWER in tags_of(cell)
    if cell.cell_type == "code":
        grade = bool(CHECKS & tags_of(cell))
        points = {"points": POINTS} if grade else {}
        return {
            "grade": grade, "solution": is_answer, "locked": not is_answer, **points
        }  # fmt: skip
    if is_answer:
        return {"grade": True, "solution": True, "locked": False, "points": POINTS}
    return None


# What a check uses ---------------------------------------------------------------


def statements(cells):
    """[(statement, its lines)] of the code cells that are plain Python."""
    found = []
    for cell in cells:
        try:
            body = ast.parse(cell.source).body
        except SyntaxError:  # a line magic
            continue
        rows = cell.source.split("\n")
        for node in body:
            first = min(n.lineno for n in [node, *getattr(node, "decorator_list", ())])
            found.append((node, "\n".join(rows[first - 1 : node.end_lineno])))
    return found


def base(node):
    """The name at the beginning of `a.b[c].d`, or None."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def changed(node):
    """(names of which a part is assigned to, those of which a method is called)."""
    parts, calls = set(), set()
    for n in ast.walk(node):
        if isinstance(n, ast.Attribute | ast.Subscript) and not isinstance(
            n.ctx, ast.Load
        ):
            parts.add(base(n))
        elif isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute):
            calls.add(base(n.func))
    return parts, calls


@functools.cache  # the same cells stand below many answers
def names(code):
    """(read, bound): the global names that code uses and that it gives a value."""
    top = symtable.symtable(code, "", "exec")
    read, bound, tables = set(), set(), [top]
    while tables:
        table = tables.pop()
        tables += table.get_children()
        for s in table.get_symbols():
            if table is top or s.is_global():
                read |= {s.get_name()} if s.is_referenced() else set()
                made = s.is_assigned() or s.is_imported()
                bound |= {s.get_name()} if made else set()
    return frozenset(read), frozenset(bound)


def used_by(check, locked, answers):
    """The code that a check needs of the locked cells above it, as one text.

    Names that the answers define or change are left to the answers.
    """
    given = [
        (*names(rows), changed(node)[0], rows) for node, rows in statements(locked)
    ]
    imports = [
        s for s in statements(locked) if type(s[0]).__name__.startswith("Import")
    ]
    modules = {name for _, rows in imports for name in names(rows)[1]}
    theirs = set()
    for node, rows in statements(answers):
        parts, calls = changed(node)
        theirs |= names(rows)[1] | parts | (calls - modules)
    wanted, chosen, before = names(check.source)[0], set(), None
    while chosen != before:
        before = set(chosen)
        for i, (read, bound, parts, _) in enumerate(given):
            if (bound | parts) & (wanted - theirs):
                chosen.add(i)
                wanted |= read
    made = [given[i][-1] for i in sorted(chosen)]
    plain = sorted((wanted & set(dir(builtins))) - theirs)
    return "\n".join([f"from builtins import {', '.join(plain)}"] * bool(plain) + made)


# What is left blank ----------------------------------------------------------------


def strings(code):
    """The string literals of code, in order."""
    found = [n for n in ast.walk(ast.parse(code)) if isinstance(n, ast.Constant)]
    found.sort(key=lambda n: (n.lineno, n.col_offset))
    return [n.value for n in found if isinstance(n.value, str)]


def plain(cell):
    """The code of a cell; none of one with a line magic."""
    return "\n".join(rows for _, rows in statements([cell]))


def produced(answer, below):
    """What an answer's code has to produce, as [(verb, what)].

    answer: its cell; below: the code cells that follow. To define: names that the next
    cell to mention them reads and does not set. To enter: entries of a dictionary that
    a check asks for. To show: "numbers" that are printed, a "plot".
    """
    uses = [names(plain(c)) for c in below]
    asked = {s for c in below if CHECKS & tags_of(c) for s in strings(plain(c))}
    defined, entered, calls = [], [], set()
    for node, rows in statements([answer]):
        args = (
            f"({ast.unparse(node.args)})" if isinstance(node, ast.FunctionDef) else ""
        )
        for name in sorted(names(rows)[1]):
            use = next((u for u in uses if name in u[0] | u[1]), ((), (name,)))
            defined += [name + args] if name not in use[1] else []
        for n in ast.walk(node):
            if isinstance(n, ast.Call):
                calls.add(getattr(n.func, "attr", getattr(n.func, "id", "")))
            elif isinstance(n, ast.Subscript) and isinstance(n.ctx, ast.Store):
                entered.append(base(n))
    keys = [s for s in dict.fromkeys(strings(plain(answer))) if s in asked]
    shows = ["numbers"] * ("print" in calls)
    shows += ["plot"] * bool({"plot", "show"} & calls)
    found = [
        ("define", [*dict.fromkeys(defined)]),
        ("enter", [f"{name}[{key!r}]" for name in entered[:1] for key in keys]),
        ("show", shows),
    ]
    return [(verb, what) for verb, what in found if what]


def blank(answer, below, t):
    """The source of an answer's cell as students get it.

    below: see `produced`. t: the strings of a language, see catalogues.strings.
    """
    if answer.cell_type != "code":
        return t["blank_words"]
    todo = produced(answer, below)
    lines = [f"# {t['blank_has_to' if todo else 'blank_code']}"]
    for verb, what in todo:
        if verb == "show":
            what = [t[f"blank_{kind}"] for kind in what]
        lines += textwrap.wrap(
            t[f"blank_{verb}"].format(what=", ".join(what)), 78,
            initial_indent="# - ", subsequent_indent="#   ", break_long_words=False,
        )  # fmt: skip
    return "\n".join([*lines, "raise NotImplementedError()"])


def empty(cells, t):
    """Take the answers out of the cells of an edition; t: see `blank`."""
    below = []
    for cell in reversed(cells):
        full = v4.new_code_cell(cell.source, metadata=cell.metadata)
        if ANSWER in tags_of(cell):
            cell.source = blank(cell, below, t)
        if cell.cell_type == "code":
            below.insert(0, full)


# Notebooks -----------------------------------------------------------------------


def for_nbgrader(book, section, framework, blank=True, language="en"):
    """An edition in nbgrader's format; with blank=False, the answers are left in."""
    nb = editions.edition(book, section, framework, language, checks=True)
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
        if what["locked"]:
            cell.metadata.update(editable=False, deletable=False)
        if what["grade"] and what["locked"]:
            above = [c for c in nb.cells[:number] if c.cell_type == "code"]
            given = [c for c in above if not (CHECKS | {ANSWER}) & tags_of(c)]
            answers = [c for c in above if ANSWER in tags_of(c)]
            cell.source = f"{used_by(cell, given, answers)}\n{cell.source}".strip()
    if blank:
        empty(nb.cells, catalogues.strings(book, language))
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
    files.write(args.out / "nbgrader_config.py", CONFIG)
    return 0


if __name__ == "__main__":
    sys.exit(main())
