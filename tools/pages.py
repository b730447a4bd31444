"""The tabbed HTML book: `python -m tools.pages [--section S] [--out build/html]`.

Each section becomes one self-contained page: the text once, every run of code
cells as one group of tabs, a panel a framework, each code cell followed by its
stored outputs. nbconvert renders the cells, templates/d2l holds structure, style
and script, formulas become MathML. Nothing is run here, no framework imported;
sources and editions are read by editions.py.
"""

import argparse
import base64
import hashlib
import importlib
import itertools
import os
import re
import sys
from pathlib import Path

from jinja2 import pass_context
from nbconvert import HTMLExporter
from nbformat import v4
from pygments.formatters import HtmlFormatter
from traitlets.config import Config

from tools.markup import PageError, Text, picture, sanitize

BOOK = "Companion notebooks for Dive into Deep Learning"
LIMIT = 1_500_000  # bytes of a page that can still be mailed
TEMPLATES = Path(__file__).parent / "templates"
FENCE = re.compile(r":::(?:\{tab\}(?P<tabs>.*))?")
ANSWER = "solution"  # tag of the cells that answer an exercise
HIDDEN = {"setup", "chooser"}  # tags of cells that a reader of the page needs not
STYLES = {"": "xcode", "@media screen and (prefers-color-scheme: dark)": "github-dark"}
# What a picture or a table says is not said again in text; scripts never get in.
SHOWN_TYPES = ["image/png", "image/jpeg", "image/svg+xml", "text/html", "text/plain"]


# Sources ------------------------------------------------------------------------


def first_line(path, source):
    """The line of the file where a cell's text begins; None if not found there."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    start = text.find(source)
    return text.count("\n", 0, start) + 1 if source and start >= 0 else None


def place(path, line=None):
    """'notebooks/nin.md:12', as an error message names it."""
    return os.path.relpath(path) + (f":{line}" if line else "")


def check_tabs(names, frameworks, where):
    unknown = [n for n in names if n not in frameworks]
    if unknown or not names:
        raise PageError(
            f"{where}: unknown tab {', '.join(map(repr, unknown)) or repr('')}: "
            f"the tabs are {', '.join(frameworks)} and all."
        )
    return tuple(f for f in frameworks if f in names)


def split_passages(text, frameworks, path, line=None):
    """[(tabs or None, text, line)]: passages for all readers and for some tabs.

    Raises PageError for a fence that is unknown, nested or not closed.
    """
    passages, lines, tabs, opened = [], [], None, None

    def end_passage(number):
        if "".join(lines).strip():
            start = line and line + number - len(lines)
            passages.append((tabs, "\n".join(lines), start))
        lines.clear()

    rows = text.split("\n")
    for number, row in enumerate(rows):
        if not row.startswith(":::"):
            lines.append(row)
            continue
        where = place(path, line and line + number)
        fence = FENCE.fullmatch(row.strip())
        if fence is None:
            raise PageError(f"{where}: {row.strip()!r} is not a ':::{{tab}}' line.")
        if fence["tabs"] is None and opened is None:
            raise PageError(f"{where}: ':::' closes nothing.")
        if fence["tabs"] is not None and opened is not None:
            raise PageError(f"{where}: ':::{{tab}}' within the one of {opened}.")
        end_passage(number)
        tabs, opened = None, None
        if fence["tabs"] is not None:
            names = [n for n in re.split(r"[\s,]+", fence["tabs"]) if n]
            tabs = frameworks if "all" in names else names
            tabs, opened = check_tabs(tabs, frameworks, where), where
    if opened is not None:
        raise PageError(f"{opened}: ':::{{tab}}' is not closed with ':::'.")
    end_passage(len(rows))
    return passages


def page_title(cells, default):
    """The first heading, with its section number."""
    for cell in cells:
        found = re.search(r"^# +(.+)$", cell.source, re.M)
        if cell.kind == "markdown" and found:
            return re.sub(r"[`*$\\]", "", found[1]).strip()
    return default


# The notebook that nbconvert renders ---------------------------------------------


def blocks(cells, path, frameworks):
    """Yield ('text', passage, folded) and ('group', indices, folded) in order.

    folded: whether the block is a part of the answer to an exercise.
    """
    shown = [
        (i, c)
        for i, c in enumerate(cells)
        if (c.kind == "markdown" or c.tabs) and HIDDEN.isdisjoint(c.tags)
    ]
    facts = [i for i, c in shown if c.kind == "code" and "facts" in c.tags]
    rest = [(i, c) for i, c in shown if i not in facts]
    runs = itertools.groupby(rest, lambda p: (p[1].kind, ANSWER in p[1].tags))
    for (kind, folded), run in runs:
        run = list(run)
        if kind == "code":
            yield "group", [i for i, _ in run], folded
            continue
        for _, cell in run:
            line = first_line(path, cell.source)
            for passage in split_passages(cell.source, frameworks, path, line):
                yield "text", passage, folded
    if facts:
        yield "facts", facts, False


def group_cells(kind, number, indices, cells, editions, titles):
    """The cells of one group of tabs; their metadata opens and closes panels."""
    made = []
    for framework in titles:
        panel = []
        for i in indices:
            if framework not in cells[i].tabs:
                continue
            if i not in editions[framework]:
                raise PageError(
                    f"The {titles[framework]} edition lacks this cell of the source, "
                    f"run `make notebooks`:\n{cells[i].source}"
                )
            ran = editions[framework][i]
            panel.append(v4.new_code_cell(ran.source, outputs=ran.get("outputs", [])))
        if not panel:
            panel = [v4.new_markdown_cell(f"*No code for {titles[framework]} here.*")]
        for cell in panel:
            cell.metadata["transient"] = {"remove_source": kind == "facts"}
            cell.metadata["d2l"] = {
                "kind": kind, "group": number, "framework": framework
            }  # fmt: skip
        panel[0].metadata.d2l["opens_panel"] = True
        panel[-1].metadata.d2l["closes_panel"] = True
        made += panel
    made[0].metadata.d2l["opens_group"] = True
    made[-1].metadata.d2l["closes_group"] = True
    return made


def page_notebook(cells, editions, titles, path):
    """One notebook that holds the whole page, for nbconvert."""
    for cell in cells:
        if cell.kind == "code" and cell.tabs:
            check_tabs(
                cell.tabs, tuple(titles), place(path, first_line(path, cell.source))
            )
    made, number = [], 0
    found = blocks(cells, path, tuple(titles))
    for folded, run in itertools.groupby(found, lambda block: block[2]):
        first = len(made)
        for kind, content, _ in run:
            if kind == "text":
                tabs, text, line = content
                cell = v4.new_markdown_cell(text)
                cell.metadata["d2l"] = {"kind": "text", "only": tabs, "line": line}
                made.append(cell)
            else:
                number += 1
                made += group_cells(kind, number, content, cells, editions, titles)
        if folded:
            made[first].metadata.d2l["opens_answer"] = True
            made[-1].metadata.d2l["closes_answer"] = True
    nb = v4.new_notebook(cells=made)
    nb.metadata["language_info"] = {"name": "python", "pygments_lexer": "python"}
    return nb


def figure(output, mime, title):
    """A picture among the outputs, as an <img>; its alt text from the metadata."""
    alt = output.metadata.get(mime, {}).get("alt") or output.metadata.get("alt")
    return picture(
        output.data[mime], mime, alt or f"Figure: output of the {title} code"
    )


class PageExporter(HTMLExporter):
    """nbconvert's HTML exporter with our template, MathML and embedded pictures."""

    def __init__(self, path, titles, **options):
        config = Config({"NbConvertBase": {"display_data_priority": SHOWN_TYPES}})
        super().__init__(
            config=config,
            template_name="d2l",
            extra_template_basedirs=[str(TEMPLATES)],
            **options,
        )
        self.path, self.titles, self.anchors = Path(path), titles, set()
        self.register_filter("sanitize", sanitize)
        self.register_filter("figure", figure)

    @pass_context
    def markdown2html(self, context, source):
        line = context["cell"].metadata.d2l.get("line")

        def where(needle):
            before = source[: max(source.find(needle), 0)]
            return place(self.path, line and line + before.count("\n"))

        return Text(self.path.parent, where, self.anchors).render(source)

    def page(self, title):
        """What the templates need besides the cells."""
        script = (TEMPLATES / "d2l/tabs.js").read_text(encoding="utf-8")
        sha = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        policy = (
            "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
            f"script-src 'sha256-{sha}'; base-uri 'none'; form-action 'none'"
        )
        return {
            "book": BOOK,
            "title": title,
            "titles": self.titles,
            "style": stylesheet(self.titles),
            "script": script,
            "policy": policy,
        }


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


def build_page(title, cells, editions, titles, path):
    """The HTML of one section.

    cells: those of the source, with kind, source, tabs and tags. editions:
    {framework: {index of a source cell: executed notebook cell}}. titles:
    {framework: name shown}, in the order of the tabs. path: the source file, whose
    folder holds the pictures. Raises PageError for what cannot be shown.
    """
    exporter = PageExporter(path, titles)
    nb = page_notebook(cells, editions, titles, Path(path))
    resources = {"page": exporter.page(title)}
    return exporter.from_notebook_node(nb, resources)[0] + "\n"


def build_contents(rows, titles):
    """The HTML of index.html; rows: (section, title, built, {framework: stored})."""
    exporter = PageExporter("index.md", titles)
    template = exporter.environment.get_template("contents.html.j2")
    return template.render(resources={"page": exporter.page(BOOK)}, rows=rows) + "\n"


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


def build(book, out, only=None):
    """Write the pages and index.html to `out`; returns the paths of the pages.

    A section of which no edition has been run is left out of the book, one of which
    only some have been run, or the one asked for, raises PageError.
    """
    if only is not None and only not in book.SECTIONS:
        raise PageError(
            f"No section {only!r}: it is one of {', '.join(book.SECTIONS)}."
        )
    rows, made = [], {}
    for section in book.SECTIONS:
        cells = book.read_source(section)
        editions = {f: book.edition_cells(section, f) for f in book.FRAMEWORKS}
        stored = {f: is_stored(edition) for f, edition in editions.items()}
        title = page_title(cells, section)
        rows.append((section, title, all(stored.values()), stored))
        if only not in (None, section) or (only is None and not any(stored.values())):
            continue
        for f, edition in editions.items():
            where = place(book.edition_path(section, f))
            if not stored[f]:
                raise PageError(
                    f"{where} has no stored outputs: "
                    f"run `make execute FRAMEWORK={f} SECTION={section}`."
                )
            check_outputs(edition, where)
        made[Path(out, f"{section}.html")] = build_page(
            title, cells, editions, book.TITLES, book.source_path(section)
        )
    if not made:
        raise PageError("No edition has stored outputs: run `make execute`.")
    Path(out).mkdir(parents=True, exist_ok=True)
    for path, html in made.items():
        path.write_text(html, encoding="utf-8")
    contents = build_contents(rows, book.TITLES)
    Path(out, "index.html").write_text(contents, encoding="utf-8")
    return list(made)


def main(argv=None, book=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--section", help="build the page of this section only")
    parser.add_argument("--out", default="build/html", help="folder of the pages")
    args = parser.parse_args(argv)
    book = book or importlib.import_module("tools.editions")
    try:
        for path in build(book, args.out, args.section):
            size = path.stat().st_size
            note = " (over 1.5 MB: make its figures smaller)" * (size > LIMIT)
            print(f"{path}  {size / 1000:.0f} kB{note}")
    except (PageError, book.SourceError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
