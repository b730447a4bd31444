"""Do translations agree with their source? `python -m book.translate.agreement FILE`.

A translation may say everything in its own way, but must hold the same formulas, code,
links, citations, numbers and emphasis, the same lines, rows and items, and the terms
of its language's glossary. Where it has to differ, a translator's comment in the
catalogue, `# differs: 2`, names what may.
"""

import argparse
import csv
import re
import sys
from collections import Counter
from pathlib import Path

from book.pages.markup import mentions
from book.source.book import BOOK
from book.translate import catalogues
from book.translate.catalogues import INTERFACE
from book.translate.translation import CODE, PARSER

NUMBER = re.compile(r"(?<![A-Za-z_.\d])\d+(?:,\d{3})*(?:\.\d+)*")
CITED = re.compile(r"\[(\d+)\]")
# Numbers that a text says in words; a translation may write them as digits.
WORDS = {
    1: "a an one once single each every first another the", 2: "two twice both pair "
    "second half halve halves double doubles other", 3: "three third thirds triples",
    4: "four fourth quarter times", 5: "five fifth fifths", 6: "six sixth",
    7: "seven seventh", 8: "eight eighth", 9: "nine tenths", 10: "ten tenth tenths",
    12: "twelve twelfth", 13: "thirteen", 16: "sixteen", 20: "twenty",
    30: "thirty thirtieth", 50: "fifty", 64: "sixty-four",
    100: "hundred hundredth million", 1000: "thousand", 1_000_000: "million",
}  # fmt: skip


def inline(text):
    """{kind: Counter of what a text holds}, of all that translations keep."""
    found = {k: Counter() for k in ("formulas", "code", "links", "emphasis", "layout")}
    words = []
    for token in PARSER.parse(text):
        if token.nesting >= 0:
            if token.type not in ("inline", "softbreak"):
                found["layout"][f"{token.tag or token.type}{token.markup}"] += 1
            for child in token.children or ():
                if child.type.startswith("math"):
                    found["formulas"][child.content] += 1
                elif child.type == "code_inline":
                    found["code"][child.content] += 1
                elif child.type in ("link_open", "image"):
                    found["links"][child.attrs.get("href") or child.attrs["src"]] += 1
                    words.append(child.content)
                elif child.type in ("em_open", "strong_open"):
                    found["emphasis"][child.tag] += 1
                else:
                    words.append(child.content or " ")
            words.append("\n")
    said = "".join(words)
    found["citations"] = Counter(CITED.findall(said))
    found["numbers"] = Counter(NUMBER.findall(CITED.sub("", said)))
    found["lines"] = Counter({c: text.count(c) for c in ("\n", "|")})
    found["stars"] = Counter({"* or _ around words": len(re.findall(r"[*_]", said))})
    return found


def in_words(text):
    """The numbers that a text says in words, as digits."""
    there = set(re.findall(r"[a-z]+(?:-[a-z]+)?", text.lower()))
    return {str(n) for n, words in WORDS.items() if there & set(words.split())}


def differences(source, text, forms, allowed=()):
    """What a translation lacks or has too much, a line each.

    forms: strings of its language, by which it mentions figures and sections. allowed:
    what may differ, as texts.
    """
    ours, theirs, found = inline(source), inline(text), []
    ours["mentions"] = Counter(mentions(source, [catalogues.english()]))
    theirs["mentions"] = Counter(mentions(text, [forms]))
    for kind in ours:
        lacks, more = ours[kind] - theirs[kind], theirs[kind] - ours[kind]
        if kind == "numbers":
            more = Counter({n: c for n, c in more.items() if n not in in_words(source)})
        for word, extra in (("lacks", lacks), ("adds", more)):
            items = [i for i in extra.elements() if str(i) not in allowed]
            if items:
                found.append(f"{kind}: {word} {', '.join(map(repr, items))}")
    start = re.match(r"#+ (\d[\d.]* )?", source)
    if start and not text.startswith(start[0]):
        found.append(f"heading: must begin with {start[0]!r}")
    return found


def placeholders(source, text):
    """The same for a string of the interface: {names} and HTML."""
    parts = re.compile(r"\{\w*\}|<[^>]*>")
    if sorted(parts.findall(source)) == sorted(parts.findall(text)):
        return []
    return [f"placeholders: {parts.findall(source)}, not {parts.findall(text)}"]


class Terms:
    """A language's glossary.csv and style.csv, where it has them."""

    def __init__(self, folder):
        rows = sorted(_rows(folder / "glossary.csv"), key=lambda r: -len(r["english"]))
        self.terms = [
            (
                re.compile(rf"\b{re.escape(row['english'])}(?:e?s)?\b", re.I),
                row["english"],
                row["translation"].split("|"),
            )
            for row in rows
        ]
        self.demanded = {row["english"] for row in rows if row["demanded"]}
        self.avoided = [
            (re.compile(row["avoid"]), row["instead"])
            for row in _rows(folder / "style.csv")
        ]

    def faults(self, source, text, allowed=()):
        """Terms of the source that the translation lacks, and what is to be avoided."""
        found = []
        rest = re.sub(r"\$[^$]*\$|\]\([^)]*\)|`[^`]*`|\{\w*\}", " ", source)
        for pattern, term, translations in self.terms:  # the longest first
            rest, count = pattern.subn("\0", rest)
            wanted = count and term in self.demanded - set(allowed)
            if wanted and not any(t in text for t in translations):
                found.append(f"term: {term} is {' or '.join(translations)}")
        for pattern, instead in self.avoided:
            for match in pattern.finditer(text):
                if match[0] not in allowed:
                    found.append(f"style: {match[0]!r}: {instead}")
        return found


def _rows(path):
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def faults(book, path):
    """[(entry, [fault, ...])] of the translations of a catalogue that are in use."""
    path, found = Path(path), []
    terms, forms = Terms(path.parent), catalogues.strings(book, path.parent.name)
    for entry in catalogues.read(path):
        if not catalogues.is_used(entry):
            continue
        listed = re.findall(r"differs: (.*)", entry.tcomment)
        allowed = {word.strip() for line in listed for word in line.split(";")}
        if path.stem == INTERFACE:
            lines = placeholders(entry.msgid, entry.msgstr)
        else:
            lines = differences(entry.msgid, entry.msgstr, forms, allowed)
            if entry.msgctxt == CODE and entry.msgid[0] != entry.msgstr[0]:
                lines.append(f"code: must begin with {entry.msgid[0]!r}")
        lines += terms.faults(entry.msgid, entry.msgstr, allowed)
        if lines:
            found.append((entry, lines))
    return found


def main(argv=None, book=BOOK):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("files", nargs="*", help="catalogues; all, if none is named")
    args = parser.parse_args(argv)
    files = args.files or sorted(book.locale.glob("*/*.po"))
    failed = False
    for path in map(Path, files):
        for entry, lines in faults(book, path):
            failed = True
            print(f"{path}:{entry.linenum}: {entry.msgid[:60]!r} ...")
            print("".join(f"    {line}\n" for line in lines), end="")
        for line in catalogues.report(book, path.parent.name, path.stem):
            print(line)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
