"""The passages of a source, in the order in which its page shows them.

Text for all readers and for some tabs, runs of code cells that become one group of
tabs, answers that stay folded, the facts at the foot. What they look like is
exporter.py's task.
"""

import itertools
import os
import re

from book.pages.markup import PageError

FENCE = re.compile(r":::(?:\{tab\}(?P<tabs>.*))?")
ANSWER = "solution"  # tag of the cells that answer an exercise
HIDDEN = {"setup", "chooser", "slide"}  # tags of cells that are not on the page


def first_line(path, source):
    """The line of the file where a cell's text begins; None if not found there."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    start = text.find(source)
    return text.count("\n", 0, start) + 1 if source and start >= 0 else None


def place(path, line=None):
    """'notebooks/nin.md:12', as an error message names it."""
    return os.path.relpath(path) + (f":{line}" if line else "")


def check_tabs(names, frameworks, where):
    unknown = [n for n in names if n not in frameworks]
    if unknown or not names:
        raise PageError(
            f"{where}: unknown tab {', '.join(map(repr, unknown)) or repr('')}: "
            f"the tabs are {', '.join(frameworks)} and all."
        )
    return tuple(f for f in frameworks if f in names)


def split_passages(text, frameworks, path, line=None):
    """[(tabs or None, text, line)]: passages for all readers and for some tabs.

    Raises PageError for a fence that is unknown, nested or not closed.
    """
    passages, lines, tabs, opened = [], [], None, None

    def end_passage(number):
        if "".join(lines).strip():
            start = line and line + number - len(lines)
            passages.append((tabs, "\n".join(lines), start))
        lines.clear()

    rows = text.split("\n")
    for number, row in enumerate(rows):
        if not row.startswith(":::"):
            lines.append(row)
            continue
        where = place(path, line and line + number)
        fence = FENCE.fullmatch(row.strip())
        if fence is None:
            raise PageError(f"{where}: {row.strip()!r} is not a ':::{{tab}}' line.")
        if fence["tabs"] is None and opened is None:
            raise PageError(f"{where}: ':::' closes nothing.")
        if fence["tabs"] is not None and opened is not None:
            raise PageError(f"{where}: ':::{{tab}}' within the one of {opened}.")
        end_passage(number)
        tabs, opened = None, None
        if fence["tabs"] is not None:
            names = [n for n in re.split(r"[\s,]+", fence["tabs"]) if n]
            tabs = frameworks if "all" in names else names
            tabs, opened = check_tabs(tabs, frameworks, where), where
    if opened is not None:
        raise PageError(f"{opened}: ':::{{tab}}' is not closed with ':::'.")
    end_passage(len(rows))
    return passages


def page_title(cells, default):
    """The first heading, with its section number."""
    for cell in cells:
        found = re.search(r"^# +(.+)$", cell.source, re.M)
        if cell.kind == "markdown" and found:
            return re.sub(r"[`*$\\]", "", found[1]).strip()
    return default


def blocks(cells, path, frameworks, chosen):
    """Yield ('text', passage, folded) and ('group', indices, folded) in order.

    Of passages and code, those that are for one of the frameworks chosen. folded:
    whether the block is a part of the answer to an exercise.
    """
    shown = [
        (i, c)
        for i, c in enumerate(cells)
        if (c.kind == "markdown" or c.tabs) and HIDDEN.isdisjoint(c.tags)
    ]
    facts = [i for i, c in shown if c.kind == "code" and "facts" in c.tags]
    rest = [(i, c) for i, c in shown if i not in facts]
    runs = itertools.groupby(rest, lambda p: (p[1].kind, ANSWER in p[1].tags))
    for (kind, folded), run in runs:
        run = list(run)
        if kind == "code":
            if any(set(c.tabs) & set(chosen) for _, c in run):
                yield "group", [i for i, _ in run], folded
            continue
        for _, cell in run:
            line = first_line(path, cell.source)
            for passage in split_passages(cell.source, frameworks, path, line):
                if passage[0] is None or set(passage[0]) & set(chosen):
                    yield "text", passage, folded
    if facts:
        yield "facts", facts, False
