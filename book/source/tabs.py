"""Passages of a text: the lines between `:::{tab} jax` or `:::{live} budget` and `:::`.

The first are for the readers of some tabs. The second are what stands in place of a
live figure wherever it cannot run: in notebooks, in print, without JavaScript. This is
the one place that reads these fences. Which cells belong to a tab is said by
their first line, %%tab, see d2l_utils/tab.py.
"""

import re
from typing import NamedTuple

from book.source.book import SourceError
from d2l_utils import tab
from d2l_utils.frameworks import FRAMEWORKS

FENCE = re.compile(r":::(?:\{tab\}(?P<tabs>.*)|\{live\} *(?P<live>\w+))?")
SHOWN = re.compile(r" {0,3}(?P<mark>`{3,}(?=[^`]*$)|~{3,})")  # opens a block of code


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


def passages(text, place):
    """The passages of a text, in order, without the fences.

    place: a function that names the place of a row (from 0) in messages. Raises
    SourceError for a fence that is unknown, nested or not closed.
    """
    found, lines, tabs, opened, code, live = [], [], None, None, "", ""
    for row, line in enumerate([*text.split("\n"), None]):
        if code and line is not None:  # what stands in code is shown
            rest = line.strip()
            code = "" if rest.startswith(code) and not rest.strip(code[0]) else code
            lines.append(line)
            continue
        if line is not None and not line.startswith(":::"):
            code = (SHOWN.match(line) or {"mark": ""})["mark"]
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
            raise SourceError(f"{place(row)}: {kind!r} within that of {opened}.")
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


def text_for(framework, text, place):
    """The text as the readers of one framework see it."""
    kept = [p.text for p in passages(text, place)
            if p.tabs is None or framework in p.tabs]  # fmt: skip
    return "\n".join(kept).strip()
