"""Where the links of the book's pages lead: figures, sections, citations, pages.

What the texts define and mention is in the `Marks` of their pages, see markup.py.
"""

import html
import re
from urllib.parse import quote

from book.pages.markup import PageError


class Links:
    """The places in all pages that texts can mention.

    bodies: {section: Body} of the pages that are built. sections: all of the book;
    None where it is not known, and a mention of another page stays plain text.
    """

    def __init__(self, bodies, sections=None):
        self.bodies, self.sections = bodies, sections
        self.figures, self.headings, self.chapters = {}, {}, set()
        for section, body in bodies.items():
            for number in body.marks.figures:
                self.figures.setdefault(number, section)
            for level, anchor, title in body.marks.headings:
                found = re.match(r"(\d+(\.\d+)+) ", title)
                if found:
                    self.headings.setdefault(found[1], (section, anchor))
                    self.chapters |= {found[1]} if level == 1 else set()

    def find(self, section, kind, what, where):
        """The address of a mention on a page; None if it is to stay plain text.

        Raises PageError for one that the book should have and has not.
        """
        marks = self.bodies[section].marks
        if kind == "reference":
            if int(what) in marks.references:
                return f"#reference-{what}"
            if self.sections is None:
                return None
            raise PageError(
                f"{where}: [{what}] is not in the list of references, "
                f"which has {len(marks.references)}."
            )
        if kind == "figure":
            there = section if what in marks.figures else self.figures.get(what)
            if there is None and self.sections is None:
                return None
            if there is None:
                raise PageError(f"{where}: there is no Figure {what} in the book.")
            return self.address(section, there, f"figure-{what}")
        if kind == "section":
            if what in self.headings:
                return self.address(section, *self.headings[what])
            of_book = any(what.startswith(f"{c}.") for c in self.chapters)
            if of_book and self.sections is not None:
                raise PageError(f"{where}: there is no section {what} in the book.")
            return None  # of the textbook
        page, _, anchor = what.partition("#")
        there = page.removesuffix(".html") or section
        if there not in (self.sections or [there]):
            raise PageError(f"{where}: there is no section {there!r} to link to.")
        if there not in self.bodies:
            return None
        marks = self.bodies[there].marks
        headings = [h[1] for h in marks.headings]
        anchor = marks.aliases.get(anchor, anchor)
        if anchor and anchor not in headings and self.sections is None:
            return None
        if anchor and anchor not in headings:
            raise PageError(f"{where}: {there} has no heading {anchor!r} to link to.")
        return self.address(section, there, anchor)

    @staticmethod
    def address(here, there, anchor):
        page = "" if here == there else f"{there}.html"
        return f"{page}#{quote(anchor)}" if anchor else page

    def resolve(self, section):
        """The HTML of a section with the links of all mentions filled in."""
        text = self.bodies[section].html
        for kind, what, where in self.bodies[section].marks.mentions:
            address = self.find(section, kind, what, where)
            if kind == "page":
                if address is None:  # not built: its text remains
                    link = re.escape(html.escape(what, quote=True))
                    text = re.sub(rf'<a href="{link}"[^>]*>(.*?)</a>', r"\1", text)
                continue
            link = f'<a class="{kind}" href="{kind}:{what}">'
            if address is None:
                text = re.sub(rf"{re.escape(link)}(.*?)</a>", r"\1", text, flags=re.S)
            else:
                new = f'<a class="{kind}" href="{html.escape(address)}">'
                text = text.replace(link, new)
        return text
