"""What a cell printed as tables, for slides.

Columns are those that the print aligned with two spaces or more. Lines that differ in
their numbers alone, such as "96 pixels: accuracy 0.88", give a column for each number
that does; what stands around it becomes its head. Shares get a bar: percentages, and
numbers from 0 to 1 whose head says so; a learning rate has none.
"""

import html
import itertools
import re

GAP = re.compile(r"\S(?: {2,}|\t)\S")  # between columns
NUMBER = re.compile(r"\d+(?:[,.]\d+)*(?:e[+-]\d+)?%?")
VALUE = re.compile(
    r"(\[[^\]]*\]|\(\d[\d, ]*\)|(?<![\w.])\d+(?:[,.]\d+)*(?:e[+-]\d+)?(?:x\d+)*%?)"
)
SHARE = re.compile(r"[01]?\.\d+|[01](?:\.0+)?|\d+(?:\.\d+)?%")
NAMES_SHARE = re.compile(r"\b(accuracy|confidence|fraction|probability|share)\b")
BETWEEN = re.compile(r"[:,] ")  # ends what belongs to the number before it


def columns(lines):
    """Rows of cells: the lines, cut where all of them have two spaces."""
    lines = [line.expandtabs() for line in lines]
    width = max(map(len, lines))
    blank = "".join(
        " " if all(line[i : i + 1] in ("", " ") for line in lines) else "x"
        for i in range(width)
    )
    cuts = [0, *(m.start() for m in re.finditer("(?<=x) {2,}", blank)), width]
    return [
        [" ".join(line[a:b].split()) for a, b in itertools.pairwise(cuts)]
        for line in lines
    ]


def same_words(cells):
    """(heads, rows) of texts that differ in numbers alone, or None."""
    parts = [VALUE.split(cell) for cell in cells]
    if len({tuple(p[::2]) for p in parts}) > 1 or len(cells) < 2:
        return None
    words, values = [parts[0][0]], []
    for i in range(1, len(parts[0]), 2):
        column = [p[i] for p in parts]
        alone = re.search(f"{BETWEEN.pattern}$", words[-1])  # begins a part
        if len(set(column)) == 1 and not alone:  # in all lines: a word like others
            words[-1] += column[0] + parts[0][i + 1]
        else:
            values.append(column)
            words.append(parts[0][i + 1])
    if all(len(set(column)) == 1 for column in values):
        return None
    heads, before = [], words[0]
    for i, after in enumerate(words[1:], 1):
        own, _, rest = after.partition(found[0]) if (
            found := i < len(values) and BETWEEN.search(after)
        ) else (after, "", "")  # fmt: skip
        said = [part.strip(" ,:") for part in (before, own)]
        heads.append(" … ".join(filter(None, said)))
        before = rest
    return heads, [list(row) for row in zip(*values, strict=True)]


def split(cells):
    """(heads, rows) of a column without a head."""
    return same_words(cells) or ([""], [[cell] for cell in cells])


def with_heads(rows):
    """(heads, rows) of aligned rows, the first of which may be the heads."""
    if len(rows) > 1 and not NUMBER.match(rows[0][-1]) and NUMBER.match(rows[1][-1]):
        return rows[0], rows[1:]
    return without_heads(rows)


def without_heads(rows):
    """(heads, rows) of rows that have none: heads are words that all rows share."""
    made = [split(list(column)) for column in zip(*rows, strict=True)]
    heads = [head for found, _ in made for head in found]
    parts = zip(*(found for _, found in made), strict=True)
    return heads, [[cell for part in row for cell in part] for row in parts]


def kind(line):
    return "aligned" if GAP.search(line) else "said" if ": " in line else "prose"


def tables(text):
    """[(heads, rows) or a line of prose]: what was printed, in order."""
    found = []
    for what, run in itertools.groupby(filter(str.strip, text.split("\n")), kind):
        run = list(run)
        if what == "aligned" and len(run) > 1:
            found.append(with_heads(columns(run)))
        elif len(run) > 1 and (made := same_words(run)):
            found.append(made)
        elif what == "said" and len(run) > 1:
            found.append(without_heads([line.split(": ", 1) for line in run]))
        else:
            found += [" ".join(line.split()) for line in run]
    return found


def kind_of(head, column):
    """What a column holds, by which it is set: share, number or text."""
    cells = [c for c in column if c]
    said = NAMES_SHARE.search(head) or any("%" in c for c in cells)
    if said and all(map(SHARE.fullmatch, cells)):
        return "share"
    return "number" if all(map(NUMBER.fullmatch, cells)) else "text"


def cell(text, kind):
    if kind != "share" or not text:
        return f'<td class="{kind}">{html.escape(text)}</td>'
    part = float(text.rstrip("%")) * (1 if "%" in text else 100)
    return (
        f'<td class="share"><span style="width: {part * 0.08:.2f}em"></span>'
        f"{html.escape(text)}</td>"
    )


def as_html(text):
    """The HTML of what was printed."""
    made = []
    for part in tables(text):
        if isinstance(part, str):
            made.append(f"<p>{html.escape(part)}</p>")
            continue
        heads, rows = part
        kinds = list(map(kind_of, heads, zip(*rows, strict=True)))
        lines = []
        for row in rows:
            numbers = [c for c in row if NUMBER.fullmatch(c)]
            if len(numbers) > 1 and set(numbers) == {"0"}:
                continue  # a layer without parameters and MACs, say
            first, *rest = row
            cells = "".join(map(cell, rest, kinds[1:]))
            lines.append(f'<tr><th scope="row">{html.escape(first)}</th>{cells}</tr>')
        top = "".join(
            f'<th scope="col" class="{k}">{html.escape(h)}</th>'
            for h, k in zip(heads, ["text", *kinds[1:]], strict=True)
        )
        top = f"<thead><tr>{top}</tr></thead>" if any(heads) else ""
        made.append(f"<table>{top}<tbody>{''.join(lines)}</tbody></table>")
    return "\n".join(made)
