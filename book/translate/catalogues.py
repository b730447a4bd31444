"""Catalogues: `python -m book.translate.catalogues [LANGUAGE] [--check]`.

notebooks/locale/<language>/<section>.po is a gettext catalogue of a section's text,
drawings.po that of what drawings say, interface.po that of what pages say. All are
brought up to date here: a translation whose English has changed is marked fuzzy, keeps
the former English for the translator to compare, and is not used. LANGUAGE begins a new
one.
"""

import argparse
import csv
import difflib
import functools
import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import polib

from book.source import files
from book.source.book import BOOK, SourceError
from book.source.reading import INCLUDE
from book.translate import drawings
from book.translate.drawings import DRAWINGS
from book.translate.translation import CODE, Unit, translated, units

INTERFACE = "interface"
STRINGS = Path(__file__).parents[1] / "pages/templates/strings/en.json"
SIMILAR = 0.6  # from here on, one English text counts as a change of another
CODE_CELL = re.compile(r"^(`{3,})\{code-cell\b.*?^\1`* *$", re.M | re.S)
HEADER = {
    "Project-Id-Version": "d2l-utils",
    "MIME-Version": "1.0",
    "Content-Type": "text/plain; charset=UTF-8",
    "Content-Transfer-Encoding": "8bit",
}


def catalogue_path(book, language, name):
    return book.locale / language / f"{name}.po"


def begun(book):
    """The languages that have a folder, in order."""
    return sorted(p.name for p in book.locale.glob("*") if p.is_dir())


def languages(book, *sections):
    """English, and the languages that one of the sections is translated into."""
    found = (x for x in begun(book) if any(is_translated(book, x, s) for s in sections))
    return ("en", *found)


@functools.cache
def english():
    """The English strings, from which the others are translated."""
    return json.loads(STRINGS.read_text(encoding="utf-8"))


def read(path):
    try:
        found = polib.pofile(str(path), encoding="utf-8")
    except (OSError, ValueError) as error:
        raise SourceError(f"{path} is no catalogue: {error}") from None
    if not found.metadata:  # cut, as a whole one begins with a header
        raise SourceError(
            f"{path} is empty; get it back, for example with `git checkout {path.name}`"
        )
    return found


def is_used(entry):
    return bool(entry.msgstr) and not entry.obsolete and not entry.fuzzy


def key(entry):
    return entry.msgctxt or "", entry.msgid


# Bringing a catalogue up to date --------------------------------------------------


def wanted(book, name, old):
    """The units that a catalogue should hold."""
    if name == INTERFACE:
        return [Unit(text, context) for context, text in english().items()]
    if name == DRAWINGS:
        return drawings.units(book)
    labels = {e.msgid for e in old if e.msgctxt == CODE and e.msgid[0] in "'\""}
    return units(book, name, labels)


def closest(unit, gone):
    """The entry, of those whose text is gone, that became this unit, or None."""
    if unit.context and unit.context != CODE:  # the name of a string of the interface
        return next((e for e in gone if e.msgctxt == unit.context), None)
    matcher = difflib.SequenceMatcher(b=unit.text, autojunk=False)
    best, score = None, SIMILAR
    for entry in gone:
        matcher.set_seq1(entry.msgid)
        if (entry.msgctxt or "") == unit.context and matcher.quick_ratio() >= score:
            ratio = matcher.ratio()
            if ratio >= score:
                best, score = entry, ratio
    return best


def updated(book, language, name):
    """The catalogue as it should be, whatever its file holds now."""
    path = catalogue_path(book, language, name)
    old = read(path) if path.is_file() else polib.POFile()
    new = polib.POFile(wrapwidth=78)
    new.metadata = {**HEADER, "Language": language, **old.metadata}
    known = {key(e): e for e in old}
    before = {
        (e.previous_msgctxt or e.msgctxt or "", e.previous_msgid): e
        for e in old
        if e.previous_msgid
    }
    found = wanted(book, name, old)
    there = {(u.context, u.text) for u in found}
    gone = [e for e in old if e.msgstr and key(e) not in there]
    for unit in found:
        entry = polib.POEntry(
            msgid=unit.text, msgctxt=unit.context or None, comment=unit.note
        )
        same = known.get((unit.context, unit.text))
        back = before.get((unit.context, unit.text))  # an edit was undone
        changed = same or back or closest(unit, gone)
        if changed:
            entry.msgstr, entry.tcomment = changed.msgstr, changed.tcomment
            gone = [e for e in gone if e is not changed]
        if same and same.fuzzy:
            entry.flags = ["fuzzy"]
            entry.previous_msgid = same.previous_msgid
        elif changed and not same and not back:
            entry.flags = ["fuzzy"]
            entry.previous_msgid = changed.previous_msgid or changed.msgid
        new.append(entry)
    for entry in gone:
        entry.obsolete, entry.flags, entry.comment = True, [], ""
        new.append(entry)
    return new


def catalogues(book, language):
    """Names of a language's catalogues: all of them, if it has one of a section."""
    there = any(catalogue_path(book, language, s).is_file() for s in book.sections)
    return [*book.sections, DRAWINGS, INTERFACE] if there else [INTERFACE]


def write(book, language, name):
    path = catalogue_path(book, language, name)
    files.write(path, f"{updated(book, language, name)}\n")
    return path


def made_of(book, section, frameworks, languages):
    """All that the notebooks and pages of a section are made of, for `files.kept`.

    Of other sections, whose cells it includes, that is the code alone.
    """
    source = book.source_path(section)
    includes = INCLUDE.finditer(source.read_text(encoding="utf-8"))
    others = sorted({line["section"] for line in includes} - {section})
    names = [section, *others, INTERFACE]
    return [
        book.repository(),
        [code_in(path) for path in map(book.source_path, others) if path.is_file()],
        files.contents([
            source,
            *(book.edition_path(section, f) for f in frameworks),
            *(catalogue_path(book, x, n) for x in languages for n in names),
            *sorted(book.notebooks.glob("img/**/*")),
        ]),
    ]  # fmt: skip


def code_in(path):
    """What stands in the code cells of a source, or all of it where that is unsure."""
    text = path.read_text(encoding="utf-8")
    found = [match[0] for match in CODE_CELL.finditer(text)]
    return found if len(found) == text.count("{code-cell") else text


# Using it -------------------------------------------------------------------------


@functools.cache  # _: when the file was changed, so that it is read anew then
def _entries(path, _):
    return {key(e): e.msgstr for e in read(path) if is_used(e)}


def entries(book, language, name):
    """{(context, English): translation} of what is translated and up to date."""
    path = catalogue_path(book, language, name)
    return _entries(path, path.stat().st_mtime_ns) if path.is_file() else {}


def strings(book, language="en"):
    """What pages say by themselves, in a language; English where it lacks some."""
    own = entries(book, language, INTERFACE)
    found = {"lang": language, "other_words": other_words(book, language)}
    for name, text in english().items():
        found[name] = own.get((name, text), text)
    return found


def other_words(book, language):
    """{what a reader may search for: the word of the translation}, of search.csv."""
    path = book.locale / language / "search.csv"
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        return {row["typed"]: row["written"] for row in csv.DictReader(file)}


def is_translated(book, language, section):
    """Whether a section has a translation at all, if only of a part."""
    return bool(entries(book, language, section))


def translate(book, cells, section, language):
    """The cells of a section in a language; English ones of one that it lacks."""
    if language == "en" or not is_translated(book, language, section):
        return cells
    note = f'<small lang="{language}">{strings(book, language)["untranslated"]}</small>'
    cells = translated(cells, lambda s: entries(book, language, s), section, note)
    return [
        replace(cell, source=drawings.linked(book, cell.source, language))
        if cell.kind == "markdown"
        else cell
        for cell in cells
    ]


# The command ----------------------------------------------------------------------


def report(book, language, name):
    """Lines that say how much is translated, and what is outdated."""
    new = [e for e in updated(book, language, name) if not e.obsolete]
    used = sum(map(is_used, new))
    lines = [
        f"{language} {name}: {used} of {len(new)} translated "
        f"({int(100 * used / max(len(new), 1))}%)"
    ]
    path = book.relative(catalogue_path(book, language, name))
    for entry in new:
        if entry.fuzzy:
            start = " ".join(entry.msgid.split())[:60]
            lines.append(f"  {path}: outdated: {start!r} ...")
    return lines


def update(book, check=False):
    """Bring all catalogues and drawings up to date; with check, change nothing.

    Returns whether one was stale.
    """
    was_stale, reports = False, []
    for language in begun(book):
        made = {}
        for name in catalogues(book, language):
            made[catalogue_path(book, language, name)] = (
                f"{updated(book, language, name)}\n"
            )
            reports += report(book, language, name)
        made |= drawings.products(book, language, entries(book, language, DRAWINGS))
        for path, text in made.items():
            if path.is_file() and path.read_text(encoding="utf-8") == text:
                continue
            was_stale = True
            verb = "is stale: run `make notebooks`" if check else "written"
            print(f"{book.relative(path)} {verb}")
            if not check:
                files.write(path, text)
    print("\n".join(reports))
    return was_stale


def main(argv=None, book=BOOK):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("language", nargs="?", help="begin this one, such as fr")
    parser.add_argument("--interface", action="store_true", help="only its interface")
    parser.add_argument("--check", action="store_true", help="change nothing")
    args = parser.parse_args(argv)
    if args.language:
        names = [INTERFACE] if args.interface else [*book.sections, DRAWINGS, INTERFACE]
        for name in names:
            print(book.relative(write(book, args.language, name)))
        return 0
    return int(update(book, args.check) and args.check)


if __name__ == "__main__":
    sys.exit(main())
