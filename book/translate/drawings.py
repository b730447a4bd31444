"""Drawings in other languages: notebooks/img/<language>/ from notebooks/img/.

What is written in them is translated in the catalogue `drawings`; what that lacks stays
English. A drawing of which nothing is translated is not made anew.
"""

import html
import re

from book.source import reading
from book.translate.translation import Unit

DRAWINGS = "drawings"  # the name of the catalogue
WRITTEN = re.compile(r"(<(text|tspan|title)\b[^>]*>)([^<]*[A-Za-z]{2}[^<]*)(?=</\2>)")
LINK = re.compile(r"(?<=\]\()img/([\w.-]+\.svg)(?=\))")


def sources():
    return sorted((reading.NOTEBOOKS / "img").glob("*.svg"))


def path_in(language, name):
    return reading.NOTEBOOKS / "img" / language / name


def units():
    """The texts of all drawings, in order, each once."""
    found = {}
    for path in sources():
        for match in WRITTEN.finditer(path.read_text(encoding="utf-8")):
            text = html.unescape(match[3])
            found.setdefault(text, Unit(text, note=f"img/{path.name}"))
    return list(found.values())


def products(language, entries):
    """{path: text} of the drawings in a language; entries as in catalogues.py."""

    def put(match):
        text = html.unescape(match[3])
        return match[1] + html.escape(entries.get(("", text), text), quote=False)

    made = {}
    for path in sources():
        drawing = path.read_text(encoding="utf-8")
        new = WRITTEN.sub(put, drawing)
        if new != drawing:  # the language chooses the font
            new = new.replace("<svg ", f'<svg lang="{language}" ', 1)
            made[path_in(language, path.name)] = new
    return made


def linked(text, language):
    """A translated text with the links to drawings that its language has."""
    return LINK.sub(
        lambda m: (
            f"img/{language}/{m[1]}" if path_in(language, m[1]).is_file() else m[0]
        ),
        text,
    )
