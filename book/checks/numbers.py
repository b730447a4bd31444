"""Are the numbers of the prose true? `python -m book.checks.numbers` looks at each.

A number in a text must stand near it in every edition whose readers see the text: in
the code of a cell (a setting, a shape) or in what the cell printed, also rounded to the
digits that the text gives. Near is: under the same heading. A number of one or two
digits stands under most headings by chance, so its line of code or output must also
share a word with the sentence. All else stands in notebooks/numbers.toml, with the
reason why it is true; an entry there that no number needs is an error, too.

This sees a number that was forgotten when code or outputs changed. It does not
understand sentences: a number that is there, but means something else, passes. Counts
in words ("nine blocks") are not looked at; shares and multiples in words are ("a
fifth", "half", "three times"). Nor are formulas, code, headings, slides, references,
citations, and the numbers of figures, sections and exercises.
"""

import argparse
import ast
import functools
import re
import sys
from dataclasses import dataclass, field
from decimal import Decimal

import tomllib

from book.notebooks.editions import edition_cells
from book.source.book import BOOK, SourceError
from book.source.markdown import parser
from book.source.reading import read_source
from book.source.tabs import SLIDE, passages
from d2l_utils.frameworks import FRAMEWORKS

LISTED = "numbers.toml"
EVERYWHERE = "any"  # in the list, the entries for all sections
HIDDEN = "\ufffc"  # in place of each character in which no number is looked for
PARSER = parser()

WORDS = {
    "a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6,
    "seven": 7, "eight": 8, "nine": 9, "ten": 10, "eleven": 11, "twelve": 12,
    "sixteen": 16, "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60,
    "sixty-four": 64, "hundred": 100, "thousand": 1000,
}  # fmt: skip
PARTS = {
    "half": 2, "third": 3, "quarter": 4, "fifth": 5, "sixth": 6, "seventh": 7,
    "eighth": 8, "ninth": 9, "tenth": 10, "twelfth": 12, "sixteenth": 16,
    "twentieth": 20, "thirtieth": 30, "hundredth": 100, "thousandth": 1000,
}  # fmt: skip
SCALES = {
    "thousand": 10**3, "million": 10**6, "billion": 10**9,
    "kB": 10**3, "MB": 10**6, "GB": 10**9,
}  # fmt: skip
# A result may differ from a number in words by this share of it.
ABOUT = Decimal("0.05")

_some = "|".join(sorted(WORDS, key=len, reverse=True))
_parts = "|".join(sorted(PARTS, key=len, reverse=True))
NUMBER = re.compile(
    r"(?<![\w.])(?<![A-Za-z]-)(?:"  # no digit of a name, as in NiN28 or VGG-11
    r"(?P<shape>\d+(?:x\d+)+)"
    r"|(?P<ratio>\d+(?::\d+)+)"
    r"|(?P<digits>\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?)"
    rf"(?:(?P<percent>\s?%)|[\s-](?P<scale>{'|'.join(SCALES)})\b)?"
    r")(?!\w)"
)
IN_WORDS = re.compile(
    rf"\b(?:(?:(?P<count>{_some})[\s-]+)?(?P<part>{_parts})s?"
    rf"|(?P<twice>twice)|(?P<times>{_some})\s+times)\b",
    re.I,
)
NOT_LOOKED_AT = re.compile(
    r"\b(?:figure|section|chapter|exercise|table)s?\s+\d+(?:\.\d+)*"
    r"(?:(?:,\s+|\s+and\s+|,\s+and\s+|\s+to\s+)\d+(?:\.\d+)*)*"
    r"|(?:\b(?:19|20)\d\d\s+)?\[\d+(?:,\s*\d+)*\]"  # 2013 [1]
    r"|https?://\S+",
    re.I,
)
PRINTED = re.compile(
    r"(?<![A-Za-z_\d.])(?P<digits>\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+\.?\d*(?:e[-+]?\d+)?)"
    r"(?P<percent>\s?%)?"
)
PRINTED_SHAPE = re.compile(r"\b\d+(?:, \d+)+\b|\b\d+(?:x\d+)+\b")
# Words that say nothing about what a number is the number of.
COMMON = {
    "about", "after", "all", "also", "and", "any", "are", "before", "but", "can",
    "does", "each", "for", "from", "has", "have", "here", "how", "into", "its", "just",
    "less", "like", "more", "most", "much", "not", "one", "only", "other", "out",
    "over", "same", "some", "such", "than", "that", "the", "their", "them", "then",
    "there", "these", "they", "this", "those", "was", "what", "when", "where", "which",
    "with", "without", "you",
}  # fmt: skip


# Prose ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Block:
    """A paragraph, an item of a list, a cell of a table or a heading.

    row: of its first line within the text. text: as it is read, with code and formulas.
    prose: the same, as long, with everything hidden that is not looked at.
    """

    row: int
    text: str
    prose: str
    heading: bool = False


@functools.cache
def blocks(text):
    """The blocks of a text that is written in Markdown."""
    found, heading = [], False
    for token in PARSER.parse(text):
        if token.type == "inline":
            pieces = [piece for child in token.children for piece in _piece(child)]
            shown = "".join(piece for piece, _ in pieces)
            prose = "".join(p if kept else HIDDEN * len(p) for p, kept in pieces)
            prose = NOT_LOOKED_AT.sub(lambda m: HIDDEN * len(m[0]), prose)
            found.append(Block(token.map[0], shown, prose, heading))
        heading = token.type == "heading_open"
    return found


def _piece(token):
    """(text, whether it is prose) of a part of a paragraph."""
    if token.type in ("softbreak", "hardbreak"):
        yield "\n", True
    elif token.type == "code_inline":
        yield f"`{token.content}`", False
    elif token.type.startswith("math"):
        yield f"${token.content}$", False
    elif token.type in ("text", "image"):  # of a picture, its alt text
        yield token.content, True


def sentence_at(text, start):
    """The sentence that a place of a text belongs to."""
    for found in re.finditer(r".+?(?:[.?!][)\"']?(?=\s)|$)", text, re.S):
        if found.end() > start:
            return " ".join(found[0].split())
    return text


# Numbers -------------------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """A number in code or in an output."""

    value: Decimal
    percent: bool = False
    printed: bool = False

    def __str__(self):
        digits = f"{self.value:f}" if self.value < 10_000 else f"{self.value:,f}"
        return digits + "%" * self.percent


@dataclass(frozen=True)
class Number:
    """A number in prose.

    text, start: as it is written, and where in its block. kind: 'digits', 'percent',
    'shape', 'ratio' or 'words'. step: what 1 in its last digit is worth. scale: of the
    word behind it, as in 9.2 million.
    """

    text: str
    start: int
    kind: str
    value: Decimal
    step: Decimal = Decimal(1)
    scale: int = 1

    @property
    def is_short(self):
        """Whether it may well be there by chance."""
        digits = re.sub(r"\D", "", self.text.split("x")[0]).lstrip("0")
        return self.kind in ("words", "ratio") or len(digits) < 3

    def fits(self, seen):
        """Whether a number in code or output says the same."""
        value = seen.value
        if self.kind == "words":
            value = value / 100 if seen.percent else value
            # No whole number: that is a count. No code: a setting is not a result.
            result = seen.printed and (seen.percent or value % 1)
            return bool(result) and abs(value - self.value) <= ABOUT * self.value
        if self.kind == "percent":
            value = value if seen.percent else 100 * value
            share = seen.percent or 0 < seen.value < 1
            return share and self._rounds(value)
        if seen.percent or self.kind == "ratio":
            return False
        small = self.step == 1 and self.value < 100 and self.scale == 1
        if small or self.kind == "shape":  # a count: 3 epochs are not 2.9
            return value == self.value
        return self._rounds(value) or self._rounds(value / self.scale)

    def _rounds(self, value):
        return abs(value - self.value) <= self.step / 2


@functools.cache
def numbers(prose):
    """The numbers of a text that hides what is not looked at, in order."""
    found = []
    for m in NUMBER.finditer(prose):
        if m["shape"] or m["ratio"]:
            kind, sides = m.lastgroup, re.findall(r"\d+", m[0])
            # Of 7x7, also 7 alone says enough; of 3x5 no single number does.
            value = Decimal(sides[0]) if len(set(sides)) == 1 else Decimal(-1)
            found.append(Number(m[0], m.start(), kind, value))
            continue
        digits = m["digits"].replace(",", "")
        step = Decimal(1).scaleb(-len(digits.partition(".")[2]))
        if m["digits"].endswith(",000"):
            step = Decimal(1000)
        kind = "percent" if m["percent"] else "digits"
        scale = SCALES[m["scale"]] if m["scale"] else 1
        found.append(Number(m[0], m.start(), kind, Decimal(digits), step, scale))
    for m in IN_WORDS.finditer(prose):
        part, count = (m["part"] or "").lower(), (m["count"] or "").lower()
        if part:
            if not count and part != "half":  # 'the third'
                continue
            value = Decimal(WORDS.get(count, 1)) / PARTS[part]
        else:
            value = Decimal(2 if m["twice"] else WORDS[m["times"].lower()])
        if value not in (0, 1):
            found.append(Number(m[0], m.start(), "words", value))
    return sorted(found, key=lambda n: n.start)


# Code and outputs ----------------------------------------------------------------


@dataclass
class Line:
    """A line of code or of an output: what numbers, shapes and words it has."""

    words: set
    seen: set = field(default_factory=set)
    shapes: set = field(default_factory=set)


def words_of(text):
    """The words of a text or of code, `kernel_size` and `LazyConv2d` in their parts."""
    parts = re.findall(r"[A-Z]?[a-z]+|[A-Z]{2,}", text)
    return {p.lower() for p in parts if len(p) > 2} - COMMON


def share_a_word(some, others):
    """Whether two sets of words have one in common; 'conv' is 'convolution'."""
    return any(
        a == b or (min(len(a), len(b)) > 3 and (a.startswith(b) or b.startswith(a)))
        for a in some
        for b in others
    )


def lines_of_code(source):
    """The lines of a cell, without comments and strings; none if it is not Python."""
    try:
        tree = ast.parse(source)
    except SyntaxError:  # a line magic
        return []
    rows = [row.partition("#")[0] for row in source.split("\n")]
    found = {}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant | ast.Tuple | ast.List | ast.Call):
            continue
        line = found.setdefault(node.lineno, Line(words_of(rows[node.lineno - 1])))
        if not isinstance(node, ast.Constant):  # a shape, or sides among arguments
            values = node.args if isinstance(node, ast.Call) else node.elts
            line.shapes |= shapes_in([str(getattr(v, "value", "")) for v in values])
        elif type(node.value) in (int, float):
            line.seen.add(Seen(abs(Decimal(str(node.value)))))
    return list(found.values())


def shapes_in(sides):
    """Of neighbours such as 1, 96, 54, 54: all that a text may call 54x54 or 96x54."""
    return {
        "x".join(sides[i:j])
        for i in range(len(sides))
        for j in range(i + 2, len(sides) + 1)
        if all(side.isdigit() for side in sides[i:j])
    }


def lines_of_output(outputs):
    """The lines that a cell printed; words of the first, the head, count for all."""
    found = []
    for output in outputs:
        text = output.get("text") or output.get("data", {}).get("text/plain", "")
        rows = [r for r in text.split("\n") if not r.startswith("<Figure")]
        for row in rows:
            line = Line(words_of(row) | words_of(rows[0]))
            for m in PRINTED.finditer(row):
                value = Decimal(m["digits"].replace(",", ""))
                line.seen.add(Seen(value, bool(m["percent"]), printed=True))
            for m in PRINTED_SHAPE.finditer(row):
                line.shapes |= shapes_in(re.findall(r"\d+", m[0]))
            line.shapes |= set(re.findall(r"\d+(?::\d+)+", row))  # ratios
            found.append(line)
    return found


def is_backed(number, sentence, lines, anyway=False):
    """Whether lines under a heading have a number of this sentence.

    anyway: also where it is short, and in no line that shares a word with the sentence.
    """
    words = words_of(sentence)
    for line in lines:
        related = anyway or not number.is_short or share_a_word(words, line.words)
        if number.text in line.shapes or (
            related and any(number.fits(seen) for seen in line.seen)
        ):
            return True
    return False


def closest(number, lines):
    """What a message says of the number in `lines` closest to one of the prose."""
    wanted = {"words": {True, False}, "percent": {True}}.get(number.kind, {False})
    seen = [s for line in lines for s in line.seen if s.percent in wanted]
    if not seen:
        return "no such number"
    if any(map(number.fits, seen)):
        return "it is there, but in no line that shares a word with the sentence"

    def distance(seen):
        as_share = seen.percent and number.kind == "words"
        value = seen.value / 100 if as_share else seen.value
        return min(abs(value / s - number.value) for s in (1, number.scale))

    return f"{min(seen, key=distance)} is closest"


# A section -----------------------------------------------------------------------


@dataclass
class Place:
    """A number at its place in a source, and the editions that have it nearby.

    heading: the title above it. backed: {framework: whether it is there}. closest:
    {framework: what is there instead, where it is not}.
    """

    where: str
    sentence: str
    block: Block
    number: Number
    heading: str
    backed: dict = field(default_factory=dict)
    closest: dict = field(default_factory=dict)


def parts_of(book, section, framework):
    """What each heading of an edition has below it, in order.

    Returns [(title, [(block, source cell, its row there), ...], [Line, ...]), ...].
    """
    ran = edition_cells(book, section, framework)
    parts = [("", [], [])]
    for i, cell in enumerate(read_source(book, section)):
        if cell.kind == "code":
            if i in ran:
                parts[-1][2].extend(lines_of_code(cell.source))
                parts[-1][2].extend(lines_of_output(ran[i].outputs))
            continue
        for passage in () if SLIDE in cell.tags else passages(cell.source, cell.place):
            if passage.tabs is not None and framework not in passage.tabs:
                continue
            for block in blocks(passage.text):
                if block.heading:
                    parts.append((block.text, [], []))
                elif parts[-1][0] != "References":
                    row = passage.row + block.row
                    parts[-1][1].append((block, cell, row))
    return parts


class Section:
    """All numbers in the prose of a section, looked up in all editions."""

    def __init__(self, book, section):
        self.name = section
        self.parts = {f: parts_of(book, section, f) for f in FRAMEWORKS}
        self.places = {}
        for framework, parts in self.parts.items():
            for title, prose, lines in parts:
                for block, cell, row in prose:
                    for number in numbers(block.prose):
                        self._look_up(framework, title, lines, block, cell, row, number)

    def _look_up(self, framework, title, lines, block, cell, row, number):
        row += block.text.count("\n", 0, number.start)
        key = cell.place(row), block.row, number.start
        place = self.places.setdefault(key, Place(
            key[0], sentence_at(block.text, number.start), block, number, title
        ))  # fmt: skip
        place.backed[framework] = is_backed(number, place.sentence, lines)
        if not place.backed[framework]:
            place.closest[framework] = closest(number, lines)

    def is_under(self, place, title):
        """Whether a number stands under another heading in all editions it is for."""
        return all(
            any(
                name == title
                and is_backed(place.number, place.sentence, lines, anyway=True)
                for name, _, lines in self.parts[framework]
            )
            for framework in place.backed
        )


# The list ------------------------------------------------------------------------


@dataclass
class Entry:
    """An entry of the list: words around a number, and why it is true.

    heading: a title under whose cells the number stands, in place of its own; this is
    looked up. used: whether some number needs the entry.
    """

    section: str
    phrase: str
    source: str
    heading: str = ""
    used: bool = False

    def covers(self, place):
        words = map(re.escape, self.phrase.split())
        start, end = place.number.start, place.number.start + len(place.number.text)
        return any(
            m.start() <= start and end <= m.end()
            for m in re.finditer(r"\s+".join(words), place.block.text)
        )


def read_list(book):
    """The entries of notebooks/numbers.toml; raises SourceError for a bad one."""
    path = book.notebooks / LISTED
    if not path.is_file():
        return []
    name, found = book.relative(path), []
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise SourceError(f"{name}: {error}") from error
    for section, entries in tables.items():
        if section not in (*book.sections, EVERYWHERE):
            raise SourceError(f"{name}: there is no section {section!r}.")
        for entry in entries:
            fields = set(entry)
            if not {"phrase", "source"} <= fields <= {"phrase", "source", "heading"}:
                raise SourceError(
                    f"{name}: an entry has 'phrase' and 'source', and may have "
                    f"'heading': {entry}"
                )
            if not all(isinstance(v, str) and v.strip() for v in entry.values()):
                raise SourceError(
                    f"{name}: every field of an entry must be a non-empty string: "
                    f"{entry}"
                )
            found.append(Entry(section, **entry))
    return found


# The command ---------------------------------------------------------------------

ADVICE = (
    "Correct it, let a cell under this heading print it, or enter the words around it "
    f"in notebooks/{LISTED} with the source."
)


def message(place, entry=None):
    """What is said of a number that nothing backs; entry: one that names a heading."""
    lines = [f"{place.where}: {place.number.text!r} in: {place.sentence}"]
    if entry:
        lines.append(
            f"    notebooks/{LISTED} says that it stands under {entry.heading!r}, "
            "which is not so in all editions."
        )
    fine = [f for f, backed in place.backed.items() if backed]
    lines.append(
        f"    not in code or outputs under {place.heading!r} of these editions"
        + (f" ({', '.join(fine)} have it):" if fine else ":")
    )
    lines += [f"        {name}: {said}" for name, said in place.closest.items()]
    return "\n".join([*lines, f"    {ADVICE}"])


def faults(book):
    """A message for each number that nothing backs, and each entry that none needs."""
    entries, found = read_list(book), []
    for name in book.sections:
        section = Section(book, name)
        mine = [e for e in entries if e.section in (name, EVERYWHERE)]
        for place in section.places.values():
            if all(place.backed.values()):
                continue
            covering = [e for e in mine if e.covers(place)]
            for entry in covering:
                entry.used = True
            named = [e for e in covering if e.heading]
            unkept = [e for e in named if not section.is_under(place, e.heading)]
            if unkept or not covering:
                found.append(message(place, *unkept[:1]))
    return found + [
        f"notebooks/{LISTED}: no number of the prose needs {entry.phrase!r} "
        f"({entry.section}): delete the entry, or give it the words that are there now."
        for entry in entries
        if not entry.used
    ]


def main(argv=None, book=BOOK):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.parse_args(argv)
    try:
        found = faults(book)
    except (SourceError, OSError) as error:
        sys.exit(str(error))
    for text in found:
        print(text)
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
