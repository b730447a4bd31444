"""Decks for a lecture: `python -m book.pages.slides [--section S] [--framework F]`.

A text cell tagged `slide` is one slide: a heading and short text. The line `{code}` in
it shows the code of the next code cell in the source, `{output}` what that printed and
drew. A deck is a file that runs offline: reveal.js, which draws it, is inside.
"""

import argparse
import base64
import hashlib
import importlib
import re
import sys
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from nbformat import v4

from book.pages.bodies import check_outputs
from book.pages.exporter import TEMPLATES, BodyExporter
from book.pages.markup import PageError
from book.pages.pages import stylesheet
from book.pages.passages import first_line, page_title, place
from book.translate.catalogues import strings

SLIDE = "slide"  # tag
SHOWS = re.compile(r"^\{(code|output)(?:, *(code|output))?\}$", re.M)


def shown_cell(cells, at, edition, framework, where):
    """The next executed cell after a slide; raises PageError if there is none."""
    for i in range(at + 1, len(cells)):
        if cells[i].kind == "code" and framework in cells[i].tabs:
            return edition[i]
    raise PageError(f"{where}: no code cell for {framework} follows this slide.")


def slide_cells(cells, at, edition, titles, path):
    """The cells that nbconvert renders for one slide."""
    (framework,) = titles
    source, line = cells[at].source, first_line(path, cells[at].source)
    where = place(path, line)
    parts, made = SHOWS.split(source), []
    texts, asked = parts[::3], list(zip(parts[1::3], parts[2::3], strict=True))
    for text, what in zip(texts, [*asked, ()], strict=True):
        if text.strip():
            cell = v4.new_markdown_cell(text)
            cell.metadata["d2l"] = {"kind": "text", "only": None, "line": line}
            made.append(cell)
        if not what:
            continue
        ran = shown_cell(cells, at, edition, framework, where)
        outputs = ran.outputs if "output" in what else []
        if "output" in what and not outputs:
            raise PageError(f"{where}: the cell after this slide has no output.")
        cell = v4.new_code_cell(ran.source, outputs=outputs)
        cell.metadata["transient"] = {"remove_source": "code" not in what}
        cell.metadata["d2l"] = {
            "kind": "group", "group": at, "framework": framework, "opens_group": True,
            "closes_group": True, "opens_panel": True, "closes_panel": True,
        }  # fmt: skip
        made.append(cell)
    return made


def deck(section, cells, edition, titles, path, reveal):
    """The HTML of a deck, or None for a section without slides.

    edition: {index of a source cell: executed cell}. titles: {framework: name}, one.
    reveal: the folder of reveal.js's `dist`.
    """
    at = [i for i, c in enumerate(cells) if SLIDE in c.tags]
    if not at:
        return None
    t, slides = strings(), []
    exporter = BodyExporter(path, t)
    for i in at:
        nb = v4.new_notebook(cells=slide_cells(cells, i, edition, titles, path))
        nb.metadata["language_info"] = {"name": "python", "pygments_lexer": "python"}
        resources = {"page": {"titles": titles, "t": t}}
        slides.append(exporter.from_notebook_node(nb, resources)[0])
    (title,) = titles.values()
    script = (reveal / "reveal.js").read_text(encoding="utf-8")
    start = (TEMPLATES / "slides/start.js").read_text(encoding="utf-8")
    scripts = [script, start]
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'"
        for s in scripts
    )
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES / "slides"), undefined=StrictUndefined
    )
    styles = [
        (reveal / name).read_text(encoding="utf-8")
        for name in ("reset.css", "reveal.css")
    ] + [stylesheet({}), (TEMPLATES / "slides/slides.css").read_text(encoding="utf-8")]
    return environment.get_template("deck.html.j2").render(
        title=f"{page_title(cells, section)}, {title}",
        slides=slides,
        styles=styles,
        scripts=scripts,
        policy=(
            "default-src 'none'; img-src data:; font-src data:; "
            f"style-src 'unsafe-inline'; script-src {hashes}; base-uri 'none'"
        ),
    )


def main(argv=None, book=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--section", help="the deck of this section only")
    parser.add_argument("--framework", help="the decks of this framework only")
    parser.add_argument("--out", default="build/slides", help="folder of the decks")
    parser.add_argument("--reveal", required=True, help="folder with reveal.js")
    args = parser.parse_args(argv)
    book = book or importlib.import_module("book.notebooks.editions")
    made = []
    try:
        for section in book.SECTIONS:
            if args.section not in (None, section):
                continue
            cells = book.read_source(section)
            for framework in book.FRAMEWORKS:
                if args.framework not in (None, framework):
                    continue
                edition = book.edition_cells(section, framework)
                check_outputs(edition, place(book.edition_path(section, framework)))
                titles = {framework: book.TITLES[framework]}
                path = book.source_path(section)
                text = deck(section, cells, edition, titles, path, Path(args.reveal))
                if text is None:
                    continue
                made.append(Path(args.out, framework, f"{section}.html"))
                made[-1].parent.mkdir(parents=True, exist_ok=True)
                made[-1].write_text(text, encoding="utf-8")
                print(f"{made[-1]}  {len(text.encode()) / 1000:.0f} kB")
        if not made:
            raise PageError(
                "No slides: no such section or framework, or no slide in it."
            )
    except (PageError, book.SourceError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
