"""What of a source is translated, and a source with its translation put in.

The unit is a block of a text cell (a heading, a paragraph, a list, a table, a picture
with its description) or a comment of a code cell. Formulas, code, directives and the
list of references are the same in all languages. Where translations are kept is
catalogues.py's task.
"""

import functools
import io
import re
import tokenize
from dataclasses import dataclass, replace

from book.source.markdown import parser
from book.source.reading import INCLUDE, own_cells
from book.source.tabs import SHOWS, SLIDE

PARSER = parser()
KEPT = {"fence", "code_block", "math_block", "amsmath", "hr", "html_block"}
REFERENCES = "References"  # the heading of the list of what is cited
CODE = "code"  # the context of a unit that stands in code
NO_WORDS = re.compile(r"\$[^$]*\$|\]\([^)]*\)|`[^`]*`|[\W\d_]")
ITEM = r"(?:[-*+>] |\||\d+[.)] )"  # begins an item of a list or a row of a table
GOES_ON = re.compile(rf"\n[ \t]*+(?!{ITEM}|\n)")
UNTRANSLATED = '<div lang="en" class="untranslated">\n\n{text}\n\n{note}\n</div>'


@dataclass(frozen=True)
class Unit:
    """A text to translate. note: what a translator should know of its place."""

    text: str
    context: str = ""
    note: str = ""
    where: str = ""


def flow(text):
    """The text of a block without the line breaks that only wrap its source."""
    if "```" in text or "$$" in text:
        return text
    if re.match(ITEM, text):
        return GOES_ON.sub(" ", text.strip())
    return " ".join(line.strip() for line in text.strip().split("\n"))


@functools.cache
def blocks(text):
    """[(lines, whether they are translated)]: all lines of a text, in order."""
    rows, found, start, cited = text.split("\n"), [], 0, False
    ends = [i for i, row in enumerate(rows) if row.startswith(":::")] + [len(rows)]
    for end in ends:
        at = start
        for token in PARSER.parse("\n".join(rows[start:end])):
            if token.level or not token.map:
                continue
            first, last = (start + n for n in token.map)
            while not rows[last - 1].strip():
                last -= 1
            part = rows[first:last]
            words = NO_WORDS.sub("", SHOWS.sub("", "\n".join(part)))
            kept = token.type in KEPT or not words
            kept |= cited and token.type == "ordered_list_open"
            if token.type == "heading_open":
                cited = words == REFERENCES
            found += [(rows[at:first], False), (part, not kept)]
            at = last
        found.append((rows[at : end + 1], False))
        start = end + 1
    return [(part, translated) for part, translated in found if part]


@functools.cache
def tokens(code):
    """The tokens of a cell; none of one that is not plain Python."""
    try:
        return list(tokenize.generate_tokens(io.StringIO(code).readline))
    except (tokenize.TokenError, SyntaxError):
        return []


def units(book, section, labels=()):
    """Units of a section in order, each once.

    labels: string literals, as they are written in the code, that are to be units too.
    """
    found, under = {}, ""
    for cell in own_cells(book, section):
        if "grade" in cell.tags:
            continue  # checks are not translated
        texts = []
        if cell.kind == "markdown":
            texts = [("", flow("\n".join(b))) for b, t in blocks(cell.source) if t]
        elif cell.tabs:
            texts = [
                (CODE, token.string)
                for token in tokens(cell.source)
                if token.type == tokenize.COMMENT or token.string in labels
            ]
        for context, text in texts:
            note = f"{'code ' if context else ''}under: {under}" if under else ""
            if SLIDE in cell.tags:
                note = "on a slide"
            elif not context and text.startswith("#"):
                under, note = text.lstrip("# "), ""
            unit = Unit(text, context, note, cell.place())
            found.setdefault((context, text), unit)
    return list(found.values())


def translated_text(text, entries, note):
    """The text with its blocks translated; note: stands below one that is not.

    Without a note it is left as it is.
    """
    made = []
    for part, wanted in blocks(text):
        block = "\n".join(part)
        if not wanted:
            made.append(block)
        elif ("", flow(block)) in entries:
            made.append(entries["", flow(block)])
        else:
            made.append(UNTRANSLATED.format(text=block, note=note) if note else block)
    return "\n".join(made)


def translated_code(code, entries):
    """The code with its comments, and the labels in `entries`, translated."""
    rows = code.split("\n")
    for token in reversed(tokens(code)):
        new = entries.get((CODE, token.string))
        (row, first), (end, last) = token.start, token.end
        if new and row == end and token.type in (tokenize.COMMENT, tokenize.STRING):
            rows[row - 1] = rows[row - 1][:first] + new + rows[row - 1][last:]
    return "\n".join(rows)


def translated(cells, entries_of, section, note):
    """Cells of a section, translated.

    entries_of: function of a section that gives {(context, text): translation}; the
    comments of an included cell are looked up in the section that it comes from. note:
    see `translated_text`; slides have no room for it.
    """
    made = []
    for cell in cells:
        if cell.kind == "markdown":
            below = "" if SLIDE in cell.tags else note
            text = translated_text(cell.source, entries_of(section), below)
            cell = replace(cell, source=text, line=None)
        elif cell.kind == "code" and cell.tabs:
            line = cell.include and INCLUDE.fullmatch(cell.include[0])
            entries = entries_of(line["section"] if line else section)
            cell = replace(cell, source=translated_code(cell.source, entries))
        made.append(cell)
    return made
