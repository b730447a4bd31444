"""The passages of a source, in the order in which its page shows them.

Text for all readers and for some tabs, runs of code cells that become one group of
tabs, answers that stay folded, the facts at the foot. What they look like is
exporter.py's task.
"""

import itertools

from book.source.tabs import passages

ANSWER = "solution"  # tag of the cells that answer an exercise
HIDDEN = {
    "setup",
    "chooser",
    "slide",
    "grade",
}  # tags of cells that are not on the page


def blocks(cells, chosen):
    """Yield (kind, content, folded) in order: what is for one of the frameworks chosen.

    ('text', (cell, passage), folded) or ('group', indices of code cells, folded), and
    at last ('facts', indices, False). folded: whether the block is a part of the
    answer to an exercise.
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
            for passage in passages(cell.source, cell.place):
                wanted = passage.tabs is None or set(passage.tabs) & set(chosen)
                if wanted and passage.text.strip():
                    yield "text", (cell, passage), folded
    if facts:
        yield "facts", facts, False
