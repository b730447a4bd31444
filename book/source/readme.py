"""The parts of the README that are made by a command.

Each stands between two comments, `<!-- NAME: made by ... -->` and
`<!-- end of NAME -->`; the rest of the file is left as it is.
"""

import re

from book.source import files


def table(rows):
    """A Markdown table; rows: lists of texts, of which the first is the head."""
    head, *rest = rows
    rows = [head, ["---"] * len(head), *rest]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def replaced(text, name, passage):
    """The text with another passage between the marks of this name.

    Raises ValueError if the marks are not there exactly once.
    """
    marks = rf"(<!-- {name}: [^\n]* -->\n)(?:.*?\n)?(<!-- end of {name} -->)"
    made, count = re.subn(marks, lambda m: f"{m[1]}{passage}\n{m[2]}", text, flags=re.S)
    if count != 1:
        raise ValueError(
            f"the marks of {name!r} must occur exactly once, but occur {count} times"
        )
    return made


def update(path, name, passage, check=False):
    """Bring a passage of a file up to date; returns whether it was stale.

    check: change nothing.
    """
    text = path.read_text(encoding="utf-8")
    new = replaced(text, name, passage)
    if new != text and not check:
        files.write(path, new)
    return new != text
