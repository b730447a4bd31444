"""Drawings in other languages: notebooks/img/<language>/ from notebooks/img/.

What is written in them is translated in the catalogue `drawings`; what that lacks stays
English. A drawing of which nothing is translated is not made anew.
"""

import html
import re

from book.translate.translation import Unit

DRAWINGS = "drawings"  # the name of the catalogue
WRITTEN = re.compile(r"(<(text|tspan|title)\b[^>]*>)([^<]*[A-Za-z]{2}[^<]*)(?=</\2>)")
LINK = re.compile(r"(?<=\]\()img/([\w.-]+\.svg)(?=\))")


def sources(book):
    return sorted((book.notebooks / "img").glob("*.svg"))


def path_in(book, language, name):
    return book.notebooks / "img" / language / name


def units(book):
    """The texts of all drawings, in order, each once."""
    found = {}
    for path in sources(book):
        for match in WRITTEN.finditer(path.read_text(encoding="utf-8")):
            text = html.unescape(match[3])
            found.setdefault(text, Unit(text, note=f"img/{path.name}"))
    return list(found.values())


def products(book, language, entries):
    """{path: text} of the drawings in a language; entries as in catalogues.py."""

    def put(match):
        text = html.unescape(match[3])
        return match[1] + html.escape(entries.get(("", text), text), quote=False)

    made = {}
    for path in sources(book):
        drawing = path.read_text(encoding="utf-8")
        new = WRITTEN.sub(put, drawing)
        if new != drawing:  # the language chooses the font
            new = new.replace("<svg ", f'<svg lang="{language}" ', 1)
            made[path_in(book, language, path.name)] = new
    return made


def linked(book, text, language):
    """A translated text with the links to drawings that its language has."""

    def link(match):
        there = path_in(book, language, match[1]).is_file()
        return f"img/{language}/{match[1]}" if there else match[0]

    return LINK.sub(link, text)
