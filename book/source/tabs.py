"""Passages of a text: the lines between `:::{tab} jax` or `:::{live} budget` and `:::`.

The first are for the readers of some tabs. The second are what stands in place of a
live figure wherever it cannot run: in notebooks, in print, without JavaScript. This is
the one place that reads these fences. Which cells belong to a tab is said by
their first line, %%tab, see d2l_utils/tab.py.

In the four-tab notebook, which shows text as it is, fences are comments, a passage for
some tabs begins with their names, and a slide is a comment as a whole: `in_notebook`
and its inverse, `in_source`.
"""

import re
from typing import NamedTuple

from book.source.book import SourceError
from d2l_utils import tab
from d2l_utils.frameworks import FRAMEWORKS

FENCE = re.compile(r":::(?:\{tab\}(?P<tabs>.*)|\{live\} *(?P<live>\w+))?")
SHOWN = re.compile(r" {0,3}(?P<mark>`{3,}(?=[^`]*$)|~{3,})")  # opens a block of code
SLIDE = "slide"  # tag of a text for slides.py alone
SHOWS = re.compile(r"^\{(code|output)(?:, *(code|output))?\}$", re.M)  # a line of one
TITLES = "|".join(f.title for f in FRAMEWORKS.values())
LABEL = re.compile(rf"\*(?:{TITLES})(?:, (?:{TITLES}))*:\*(?: |$)")
PROSE = re.compile(r"[^\W\d_]|[`$](?![`$])|\(")  # begins lines that a label may precede
COMMENT = re.compile(r"<!-- (:::.*) -->")
HIDDEN = "<!-- slide\n", "\n-->"  # before and behind a slide


class Passage(NamedTuple):
    """Lines of a text for the same readers.

    tabs: whom they are for, in the order of the tabs; None for all readers. row: the
    number of the first line within the text, from 0. live: the name of the live figure
    that the page has here, or "".
    """

    tabs: tuple | None
    text: str
    row: int
    live: str = ""


def lines_of(text):
    """(line, whether it is within a fenced block of code) of each line of a text."""
    code = ""
    for line in text.split("\n"):
        yield line, bool(code)
        if code:
            rest = line.strip()
            code = "" if rest.startswith(code) and not rest.strip(code[0]) else code
        elif not line.startswith(":::"):
            code = (SHOWN.match(line) or {"mark": ""})["mark"]


def passages(text, place):
    """The passages of a text, in order, without the fences.

    place: a function that names the place of a row (from 0) in messages. Raises
    SourceError for a fence that is unknown, nested or not closed.
    """
    found, lines, tabs, opened, begun, live = [], [], None, None, "", ""
    for row, (line, in_code) in enumerate([*lines_of(text), (None, False)]):
        if in_code or (line is not None and not line.startswith(":::")):
            lines.append(line)
            continue
        if lines:
            found.append(Passage(tabs, "\n".join(lines), row - len(lines), live))
            lines = []
        if line is None:
            break
        fence = FENCE.fullmatch(line.rstrip())
        if fence is None:
            raise SourceError(
                f"{place(row)}: {line.strip()!r} is not a ':::{{tab}}' and not a "
                "':::{live}' with the name of a figure."
            )
        kind = line.partition("}")[0] + "}"
        if fence["tabs"] is None and fence["live"] is None:
            if opened is None:
                raise SourceError(f"{place(row)}: ':::' closes nothing.")
            tabs, live, opened = None, "", None
            continue
        if opened is not None:
            raise SourceError(
                f"{place(row)}: {kind!r} begins before {begun!r} at {opened} is closed."
            )
        live, opened, begun = fence["live"] or "", place(row), kind
        tabs = None if live else _named(fence["tabs"], place(row))
    if opened is not None:
        raise SourceError(f"{opened}: {begun!r} is not closed with ':::'.")
    return found


def _named(names, where):
    try:
        named = tab.parse(f"%%tab {names}")
    except ValueError as error:
        raise SourceError(f"{where}: {error}") from error
    return tuple(f for f in FRAMEWORKS if f in named)


def in_notebook(text, tags=()):
    """The text of a cell as the four-tab notebook has it; tags: those of the cell."""
    if SLIDE in tags:  # one with --> would end the comment, and is shown
        return text if "-->" in text else text.join(HIDDEN)
    made, label = [], ""
    for line, in_code in lines_of(text):
        fence = None if in_code else FENCE.fullmatch(line.rstrip())
        if fence:
            made.append(f"<!-- {line} -->")
            tabs = fence["tabs"] and _named(fence["tabs"], line)
            label = tabs and f"*{', '.join(FRAMEWORKS[f].title for f in tabs)}:*"
            continue
        if label:
            made += [f"{label} {line}"] if PROSE.match(line) else [label, "", line]
        else:
            made.append(line)
        label = ""
    return "\n".join(made)


def in_source(text, tags=()):
    """The inverse of `in_notebook`, which also takes a text as a source has it."""
    before, behind = HIDDEN
    if SLIDE in tags:
        bare = text.strip()
        hidden = bare.startswith(before) and bare.endswith(behind)
        return bare[len(before) : -len(behind)] if hidden else text
    made, label, blank = [], False, False
    for line, in_code in lines_of(text):
        fence = None if in_code else COMMENT.fullmatch(line)
        if fence and FENCE.fullmatch(fence[1].rstrip()):
            made.append(fence[1])
            label, blank = fence[1].startswith(":::{tab}"), False
            continue
        there = LABEL.match(line) if label else None
        alone = there is not None and there.end() == len(line)
        if not alone and (line or not blank):
            made.append(line[there.end() :] if there else line)
        label, blank = False, alone  # a blank line is behind a label that is alone
    return "\n".join(made)


def text_for(framework, text, place):
    """The text as the readers of one framework see it."""
    kept = [p.text for p in passages(text, place)
            if p.tabs is None or framework in p.tabs]  # fmt: skip
    return "\n".join(kept).strip()
