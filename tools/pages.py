"""The tabbed HTML book: `python -m tools.pages [--section S] [--framework F]`.

Each section becomes one self-contained page: the cells as exporter.py renders them,
in a frame with the contents of the book, a search, and links to the neighbours.
Nothing is run here, no framework imported; sources and editions are read by
editions.py. What was rendered is kept beside the pages, for the next build.
"""

import argparse
import base64
import dataclasses
import hashlib
import html
import importlib
import json
import re
import sys
from pathlib import Path
from urllib.parse import quote

import nbconvert
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from pygments.formatters import HtmlFormatter

from tools import launch
from tools.exporter import TEMPLATES, Body, render
from tools.markup import Marks, PageError
from tools.passages import page_title, place

LIMIT = 1_500_000  # bytes of a page that can still be mailed
STYLES = {"": "xcode", "@media screen and (prefers-color-scheme: dark)": "github-dark"}
SCRIPTS = ("tabs.js", "page.js")


def strings(language="en"):
    """What pages say by themselves."""
    path = TEMPLATES / "strings" / f"{language}.json"
    return json.loads(path.read_text(encoding="utf-8"))


# Where links lead ----------------------------------------------------------------


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
        headings = [h[1] for h in self.bodies[there].marks.headings]
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


def search_index(bodies, titles):
    """[[section, its title, [[anchor, heading, text], ...]], ...] of the whole book."""
    index = []
    for section, body in bodies.items():
        names = {anchor: text for _, anchor, text in body.marks.headings}
        parts = [
            [anchor, names.get(anchor, titles[section]), text]
            for anchor, text in body.marks.texts.items()
        ]
        index.append([section, titles[section], parts])
    return index


# Pages ---------------------------------------------------------------------------


def stylesheet(titles):
    """Our style, the colours of code, and the rule that hides the other tabs."""
    css = [(TEMPLATES / "d2l/style.css").read_text(encoding="utf-8")]
    for media, style in STYLES.items():
        rules = HtmlFormatter(style=style).get_style_defs(".highlight").split("\n")
        rules = [
            re.sub(r"; (?=})| */\*.*", "", r).replace(" { ", "{").replace(" }", "}")
            for r in rules
            if r.startswith(".highlight .") and "background" not in r
        ]
        css.append(
            f"{media} {{\n" * bool(media) + "\n".join(rules) + "\n}" * bool(media)
        )
    css += [
        f'.js[data-framework="{f}"] [data-only]:not([data-only~="{f}"])'
        " { display: none }"
        for f in titles
    ]
    return "\n".join(css) + "\n"


def page(template, titles, t, **values):
    """A whole page from one of the templates."""
    scripts = [(TEMPLATES / "d2l" / s).read_text(encoding="utf-8") for s in SCRIPTS]
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'"
        for s in scripts
    )
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src {hashes}; base-uri 'none'; form-action 'none'"
    )
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES / "d2l"), undefined=StrictUndefined
    )
    said = {key: t[key] for key in ("copy", "copy_label", "copied", "found", "nothing")}
    data = {"t": said, "index": values["index"], "here": values.get("section", "")}
    data = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return environment.get_template(template).render(
        t=t,
        titles=titles,
        style=stylesheet(titles),
        scripts=scripts,
        policy=policy,
        data=data.replace("<", "\\u003c"),  # or </script> in a text would end it
        **values,
    )


def with_launch(text, bar):
    """The HTML of the cells with the launch bar below the title."""
    head, end, rest = text.partition("</h1>\n")
    return head + end + bar + rest if end else bar + text


def section_page(section, bodies, names, links, book, titles, t, index):
    """The page of one section of a book."""
    order = list(bodies)
    i = order.index(section)
    bar = launch.bar(book, section, titles, t)
    return page(
        "page.html.j2",
        titles,
        t,
        section=section,
        title=names[section],
        body=with_launch(links.resolve(section), bar),
        sections=[(s, names[s]) for s in order],
        headings=[h for h in bodies[section].marks.headings if h[0] in (2, 3)],
        before=order[i - 1] if i else None,
        after=order[i + 1] if i + 1 < len(order) else None,
        names=names,
        index=index,
    )


def single(section, cells, editions, path, book):
    """The page of a notebook that is not part of a book known here."""
    t = strings()
    names = {section: page_title(cells, section)}
    bodies = {section: render(cells, editions, book.TITLES, path, t)}
    return section_page(
        section, bodies, names, Links(bodies), book, book.TITLES, t,
        search_index(bodies, names),
    )  # fmt: skip


# The command --------------------------------------------------------------------


def is_stored(edition):
    """Whether every code cell of an edition was run."""
    return all(c.execution_count for c in edition.values() if c.cell_type == "code")


def check_outputs(edition, where):
    """Raise PageError for an error that nobody asked for among the outputs."""
    for cell in edition.values():
        if "raises-exception" in cell.metadata.get("tags", ()):
            continue
        for output in cell.get("outputs", ()):
            if output.output_type == "error":
                raise PageError(
                    f"{where}: a stored output is an error, {output.ename}: "
                    f"{output.evalue}; mend the cell, then run `make execute`."
                )


def rendered(cells, editions, titles, path, t, cache):
    """The Body of a section: from the cache if nothing it depends on has changed."""
    key = hashlib.sha256(nbconvert.__version__.encode())
    for file in (*sorted(Path(__file__).parent.glob("*.py")), *TEMPLATES.rglob("*.j2")):
        key.update(file.read_bytes())
    for file in [path, *sorted(path.parent.glob("img/*"))]:
        key.update(file.read_bytes() if file.is_file() else b"")
    parts = [[c.kind, c.source, c.tabs, c.tags] for c in cells]
    key.update(json.dumps([parts, editions, titles, t, str(path)]).encode())
    kept = cache / f"{path.stem}-{'-'.join(titles)}.json"
    if kept.is_file():
        stored = json.loads(kept.read_text(encoding="utf-8"))
        if stored["key"] == key.hexdigest():
            marks = {k: stored["marks"][k] for k in stored["marks"]}
            return Body(stored["html"], Marks(**marks)), True
    body = render(cells, editions, titles, path, t)
    cache.mkdir(parents=True, exist_ok=True)
    stored = {"key": key.hexdigest(), **dataclasses.asdict(body)}
    kept.write_text(json.dumps(stored), encoding="utf-8")
    return body, False


def bodies_of(book, frameworks, only, cache):
    """({section: Body}, [(section, title, {framework: stored})]) of a book.

    A section of which no edition has been run is left out. Raises PageError for one
    of which only some have been run, and for one asked for that has not been.
    """
    titles = {f: book.TITLES[f] for f in frameworks}
    made, rows, t = {}, [], strings()
    for section in book.SECTIONS:
        cells = book.read_source(section)
        editions = {f: book.edition_cells(section, f) for f in frameworks}
        stored = {f: is_stored(edition) for f, edition in editions.items()}
        rows.append((section, page_title(cells, section), stored))
        if only != section and not any(stored.values()):
            continue
        for f, edition in editions.items():
            where = place(book.edition_path(section, f))
            if not stored[f]:
                raise PageError(
                    f"{where} has no stored outputs: "
                    f"run `make execute FRAMEWORK={f} SECTION={section}`."
                )
            check_outputs(edition, where)
        path = book.source_path(section)
        made[section], _ = rendered(cells, editions, titles, path, t, cache)
    return made, rows


def build(book, out, only=None, framework=None):
    """Write the pages to `out`; returns the paths of those that changed and of all.

    only: one section alone; framework: without tabs, for this one. The contents are
    written with the whole book. Raises PageError for what cannot be built.
    """
    if only is not None and only not in book.SECTIONS:
        raise PageError(
            f"No section {only!r}: it is one of {', '.join(book.SECTIONS)}."
        )
    if framework is not None and framework not in book.FRAMEWORKS:
        raise PageError(
            f"No framework {framework!r}: it is one of {', '.join(book.FRAMEWORKS)}."
        )
    out, t = Path(out), strings()
    frameworks = (framework,) if framework else tuple(book.FRAMEWORKS)
    cache = out.parent / f"{out.name}-cache"
    bodies, rows = bodies_of(book, frameworks, only, cache)
    if not bodies:
        raise PageError("No edition has stored outputs: run `make execute`.")
    titles = {f: book.TITLES[f] for f in frameworks}
    names = {section: title for section, title, _ in rows}
    links, index = Links(bodies, book.SECTIONS), search_index(bodies, names)
    pages = {
        out / f"{section}.html": section_page(
            section, bodies, names, links, book, titles, t, index
        )
        for section in bodies
        if only in (None, section)
    }
    contents = page(
        "contents.html.j2", titles, t, title=t["book"], rows=rows, names=names,
        built=list(bodies), index=index,
    )  # fmt: skip
    if only is None or not (out / "index.html").exists():
        pages[out / "index.html"] = contents
    out.mkdir(parents=True, exist_ok=True)
    changed = []
    for path, text in pages.items():
        size = len(text.encode())
        if size > LIMIT:
            raise PageError(
                f"{place(path)} would have {size:,} bytes, more than the {LIMIT:,} "
                "that can be mailed: make its figures smaller."
            )
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            changed.append(path)
    return changed, list(pages)


def main(argv=None, book=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--section", help="build the page of this section only")
    parser.add_argument("--framework", help="without tabs, for one framework")
    parser.add_argument("--out", default="build/html", help="folder of the pages")
    args = parser.parse_args(argv)
    book = book or importlib.import_module("tools.editions")
    out = Path(args.out, args.framework or "")
    try:
        if not book.github():
            print(
                "No repository on GitHub is set: only the button to download is there."
            )
        changed, made = build(book, out, args.section, args.framework)
        for path in made:
            note = "" if path in changed else "  (as before)"
            print(f"{path}  {path.stat().st_size / 1000:.0f} kB{note}")
    except (PageError, book.SourceError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
