"""Decks for a lecture: `python -m book.pages.slides [--section S] [--framework F]`.

A text cell tagged `slide` is one slide: a heading and short text. The line `{code}` in
it shows the code of the next code cell in the source, `{output}` what that printed and
drew. A deck is a file that runs offline: reveal.js, which draws it, is inside.
"""

import argparse
import re
import sys
from pathlib import Path

from nbformat import v4

from book.notebooks.editions import edition_cells
from book.pages.bodies import check_outputs
from book.pages.exporter import TEMPLATES, body_exporter, text_cell
from book.pages.markup import PageError
from book.pages.pages import rendered, stylesheet
from book.source import files
from book.source.book import BOOK, SourceError
from book.source.reading import new_cell, read_source, title_of
from book.source.tabs import SLIDE, Passage
from book.translate.catalogues import strings
from d2l_utils.frameworks import FRAMEWORKS

SHOWS = re.compile(r"^\{(code|output)(?:, *(code|output))?\}$", re.M)


def shown_cell(cells, at, edition, framework, where):
    """The next executed cell after a slide; raises PageError if there is none."""
    for i in range(at + 1, len(cells)):
        if cells[i].kind == "code" and framework in cells[i].tabs:
            return edition[i]
    raise PageError(f"{where}: no code cell for {framework} follows this slide.")


def slide_cells(cells, at, edition, framework):
    """The cells that nbconvert renders for one slide."""
    slide, where = cells[at], cells[at].place()
    parts, made = SHOWS.split(slide.source), []
    texts, asked = parts[::3], list(zip(parts[1::3], parts[2::3], strict=True))
    for text, what in zip(texts, [*asked, ()], strict=True):
        if text.strip():
            made.append(text_cell(slide, Passage(None, text, 0)))
        if not what:
            continue
        ran = shown_cell(cells, at, edition, framework, where)
        outputs = ran.outputs if "output" in what else []
        if "output" in what and not outputs:
            raise PageError(f"{where}: the cell after this slide has no output.")
        cell = new_cell("code", ran.source, outputs)
        cell.metadata["transient"] = {"remove_source": "code" not in what}
        cell.metadata["d2l"] = {
            "kind": "group", "group": at, "framework": framework, "opens_group": True,
            "closes_group": True, "opens_panel": True, "closes_panel": True,
        }  # fmt: skip
        made.append(cell)
    return made


def deck(book, section, framework, reveal):
    """The HTML of a deck, or None for a section without slides.

    reveal: the folder of reveal.js's `dist`.
    """
    cells = read_source(book, section)
    at = [i for i, c in enumerate(cells) if SLIDE in c.tags]
    if not at:
        return None
    edition, titles = edition_cells(book, section, framework), book.titles(framework)
    check_outputs(edition, book.relative(book.edition_path(section, framework)))
    t, slides = strings(book), []
    exporter = body_exporter().at(book.notebooks, t)
    for i in at:
        nb = v4.new_notebook(cells=slide_cells(cells, i, edition, framework))
        nb.metadata["language_info"] = {"name": "python", "pygments_lexer": "python"}
        resources = {"page": {"titles": titles, "t": t}}
        slides.append(exporter.from_notebook_node(nb, resources)[0])
    ours = TEMPLATES / "slides"
    return rendered(
        "slides/deck.html.j2",
        [read(reveal / "reveal.js"), read(ours / "start.js")],
        title=f"{title_of(cells, section)}, {titles[framework]}",
        slides=slides,
        styles=[
            *(read(reveal / name) for name in ("reset.css", "reveal.css")),
            stylesheet({}),
            read(ours / "slides.css"),
        ],
    )


def read(path):
    return path.read_text(encoding="utf-8")


def main(argv=None, book=BOOK):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--section", choices=book.sections, help="this section only")
    parser.add_argument("--framework", choices=FRAMEWORKS, help="this one only")
    parser.add_argument("--out", default="build/slides", help="folder of the decks")
    parser.add_argument("--reveal", type=Path, required=True, help="its `dist`")
    args = parser.parse_args(argv)
    made = False
    try:
        for section in [args.section] if args.section else book.sections:
            for framework in [args.framework] if args.framework else FRAMEWORKS:
                text = deck(book, section, framework, args.reveal)
                if text is None:
                    continue
                made, path = True, Path(args.out, framework, f"{section}.html")
                files.write(path, text)
                print(f"{path}  {len(text.encode()) / 1000:.0f} kB")
        if not made:
            raise PageError("No slides: no cell is tagged 'slide'.")
    except (PageError, SourceError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
