"""Live figures: what a page needs for those that its text names.

A passage between `:::{live} budget` and `:::` of a source is a figure as it stands
where no script runs; on a page, templates/live/budget.js puts its own in place of the
picture in it. live.js is what all of them share, live.css how they look. Their strings
are those of templates/strings that begin with `live_` and the name of a figure.
"""

import json
import re
from typing import NamedTuple

from book.pages import TEMPLATES, live_curves
from book.pages.markup import PageError

FOLDER = TEMPLATES / "live"
# The scripts of each figure, in order, and its data, if it has any: a file, or what
# makes them of files stored elsewhere.
FIGURES = {
    "conv1x1": (["conv1x1.js"], None),
    "budget": (["budget.js"], None),
    "nin": (["network.js", "nin.js"], "nin.json"),  # by live_data.py
    "curves": (["curves.js"], live_curves.data),
}
NAMED = re.compile(r'<div class="live" data-live="(\w+)">')


class Live(NamedTuple):
    """What is added to a page: to its scripts, its style and its data."""

    scripts: list
    style: str
    data: dict


def known(name, where):
    """The name of a figure; raises PageError for one that is not there."""
    if name not in FIGURES:
        there = ", ".join(FIGURES)
        raise PageError(f"{where}: there is no live figure {name!r}, only {there}.")
    data = FIGURES[name][1]
    if callable(data):
        try:
            data()
        except PageError as error:
            raise PageError(f"{where}: the live figure {name!r}: {error}") from None
    elif data and not (FOLDER / data).is_file():
        raise PageError(
            f"{where}: the live figure's data file, {data}, does not exist; "
            "`python -m book.pages.live_data WEIGHTS` makes it."
        )
    return name


def of(body, strings):
    """The Live of a page's HTML, in which a passage may have put figures."""
    names = [name for name in FIGURES if name in NAMED.findall(body)]
    if not names:
        return Live([], "", {})
    scripts = dict.fromkeys(s for name in names for s in FIGURES[name][0])
    prefixes = tuple(f"live_{name}_" for name in [*names, "all"])
    said = {k[5:]: v for k, v in strings.items() if k.startswith(prefixes)}
    stored = {name: FIGURES[name][1] for name in names if FIGURES[name][1]}
    made = {
        name: data() if callable(data) else json.loads(read(data))
        for name, data in stored.items()
    }
    return Live(
        [read("live.js"), *map(read, scripts)],
        read("live.css"),
        {"live": {"t": said, "lang": strings["lang"], **made}},
    )


def read(name):
    return (FOLDER / name).read_text(encoding="utf-8")
