"""Decks for a lecture: `python -m book.pages.slides [--section S] [--framework F]`.

A text cell tagged `slide` is one slide: a heading and short text. The line `{code}` in
it shows the code of the next code cell in the source, `{output}` what that drew, or
else printed, as a table. An item of a list that begins with `+` comes with a key. The
text from a slide to the next is what the speaker has to say, in a window of its own
(key S), with the minutes that it takes; see `plan`. A deck is a file that runs offline:
reveal.js, which draws it, is inside. Each language that a section is translated into
has its own, in a folder of its name.
"""

import argparse
import ast
import html
import itertools
import json
import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from nbformat import v4

from book.notebooks.editions import edition_cells
from book.pages import printed
from book.pages.bodies import check_outputs, with_code
from book.pages.exporter import TEMPLATES, body_exporter, page_notebook, text_cell
from book.pages.markup import PageError
from book.pages.pages import first_words, folder_of, rendered, stylesheet
from book.source import files
from book.source.book import BOOK, SourceError
from book.source.reading import new_cell, read_source, title_of
from book.source.tabs import SHOWS, SLIDE, Passage, text_for
from book.translate.catalogues import languages, strings, translate
from d2l_utils.frameworks import FRAMEWORKS

POINT = re.compile(r"^\+ (.+(?:\n {2}.+)*)", re.M)  # of a list, shown by a key
LINES = 20  # of code that the last row of a hall can read
PICTURE = re.compile(r"!\[[^\]]*\]\([^)]*\)")
HEADING = re.compile(r"^#+ .*$", re.M)
REFERENCES = re.compile(r"^#+ References$", re.M)
SPEAKER = ("speaker", "speaker_place", "speaker_time", "speaker_next")  # strings
WORDS = 110  # that are said in a minute
LOOK = 1  # minutes for what a slide shows


@dataclass(frozen=True)
class Slide:
    """HTML of a slide and of what is said about it; minutes: how long that takes."""

    html: str
    notes: str
    minutes: int


def last_definition(source):
    """Code as a slide has room for it: of a long cell, the last thing it defines."""
    if source.count("\n") < LINES:
        return source
    last = ast.parse(source).body[-1]
    return "\n".join(source.split("\n")[last.lineno - 1 : last.end_lineno])


def printed_text(cell):
    """What a cell printed; a table's first row may begin with spaces."""
    said = (o.text for o in cell.outputs if o.output_type == "stream")
    return "".join(said).strip("\n")


def told(book, section, language="en"):
    """The cells of a section in a language, without the list of references."""
    cells = [
        replace(cell, source=REFERENCES.split(cell.source)[0])
        if cell.kind == "markdown"
        else cell
        for cell in read_source(book, section)
    ]
    return translate(book, cells, section, language)


def said(cells, framework):
    """[(cell, text, whether a heading stands above it)] of what a speaker says.

    Without headings and pictures.
    """
    found = []
    for cell in cells:
        if cell.kind != "markdown" or SLIDE in cell.tags:
            continue
        text = text_for(framework, cell.source, cell.place)
        for part in re.split(r"^(?=#+ )", PICTURE.sub("", text), flags=re.M):
            words, headed = HEADING.sub("", part).strip(), bool(HEADING.match(part))
            found += [(cell, words, headed)] if words else []
    return found


def plan(cells, framework):
    """[(index of a slide, [(cell, text)] of what is said, its minutes)], in order.

    What is said with a slide is the text up to the next one. Text there under a further
    heading goes with the next slide, text before the first slide with the first.
    """
    at = [i for i, c in enumerate(cells) if SLIDE in c.tags]
    ends, found, early = [0, *at[1:], len(cells)], [], []
    for i, (start, end) in zip(at, itertools.pairwise(ends)):
        parts = said(cells[start:end], framework)
        heads = [n for n, (_, _, headed) in enumerate(parts) if headed and n]
        own = heads[0] if heads and i != at[-1] else len(parts)
        spoken = [(cell, text) for cell, text, _ in early + parts[:own]]
        early = parts[own:]
        words = sum(len(text.split()) for _, text in spoken)
        looks = bool(SHOWS.search(cells[i].source) or PICTURE.search(cells[i].source))
        found.append((i, spoken, max(1, round(words / WORDS + LOOK * looks))))
    return found


class Deck:
    """The slides of a section in one framework and language."""

    def __init__(self, book, section, framework, language="en"):
        self.cells, self.framework = told(book, section, language), framework
        edition = edition_cells(book, section, framework)
        check_outputs(edition, book.relative(book.edition_path(section, framework)))
        edition = with_code(edition, self.cells)
        titles, t = book.titles(framework), strings(book, language)
        # As on the page, so that a figure has the same description.
        page = page_notebook(self.cells, {framework: edition}, titles, t)
        self.edition = {
            cell.metadata.d2l.index: cell
            for cell in page.cells
            if "index" in cell.metadata.d2l
        }
        self.groups = itertools.count(1)
        self.exporter = body_exporter().at(book.notebooks, t)
        self.resources = {"page": {"titles": titles, "t": t}}

    def slide(self, at, spoken, minutes):
        """The Slide whose text is the cell with index `at`; see `plan`."""
        slide, made = self.cells[at], []
        spoken = [self.text(*part) for part in spoken]
        for i, part in enumerate(SHOWS.split(slide.source)):
            if i % 3 == 0 and part.strip():
                points = POINT.sub(r'+ <span class="fragment">\1</span>', part)
                made.append(self.text(slide, points))
            elif i % 3 and part:
                cell = self.next_cell(at)
                made.append(
                    self.code(cell) if part == "code" else self.output(at, cell)
                )
                if printed_text(cell) and "<img" in made[-1]:
                    spoken.append(f"<pre>{html.escape(printed_text(cell))}</pre>")
        notes = re.sub(r"</?a\b[^>]*>", "", "\n".join(spoken))  # links lead nowhere
        return Slide("\n".join(made), notes, minutes)

    def text(self, cell, text):
        return self.shown(text_cell(cell, Passage(None, text, 0)))

    def next_cell(self, at):
        """The next executed cell after a slide; raises PageError if there is none."""
        for i in range(at + 1, len(self.cells)):
            if i in self.edition:
                return self.edition[i]
        where = self.cells[at].place()
        raise PageError(
            f"{where}: no code cell for {self.framework} follows this slide."
        )

    def code(self, cell):
        source = last_definition(cell.source)
        rows = source.split("\n")
        size = f"--lines: {len(rows)}; --columns: {max(map(len, rows))}"
        made = self.shown(self.group("code", source, []))
        return f'<div class="code" style="{size}">{made}</div>'

    def output(self, at, cell):
        """What a cell drew; what it printed, where it drew nothing."""
        if not cell.outputs:
            where = self.cells[at].place()
            raise PageError(f"{where}: the cell after this slide has no output.")
        drawn = [o for o in cell.outputs if o.output_type != "stream"]
        if drawn:
            return self.shown(self.group("output", cell.source, drawn))
        made = printed.as_html(printed_text(cell))
        return f'<div class="printed" lang="en">{made}</div>'

    def group(self, what, source, outputs):
        """A code cell as pages show one, with its code or its outputs alone."""
        cell = new_cell("code", source, outputs)
        cell.metadata["transient"] = {"remove_source": what != "code"}
        cell.metadata["d2l"] = {
            "kind": "group", "group": next(self.groups), "framework": self.framework,
            **dict.fromkeys(
                ("opens_group", "closes_group", "opens_panel", "closes_panel"), True
            ),
        }  # fmt: skip
        return cell

    def shown(self, cell):
        """The HTML of a cell."""
        nb = v4.new_notebook(cells=[cell])
        nb.metadata["language_info"] = {"name": "python", "pygments_lexer": "python"}
        return self.exporter.from_notebook_node(nb, self.resources)[0]


def deck(book, section, framework, reveal, language="en"):
    """(HTML of a deck, its slides), or None for a section without any.

    reveal: the folder of reveal.js's `dist`. Minutes are those of the English text,
    whose words can be counted.
    """
    minutes = [m for _, _, m in plan(told(book, section), framework)]
    if not minutes:
        return None
    made = Deck(book, section, framework, language)
    titles, t = book.titles(framework), strings(book, language)
    ours = TEMPLATES / "slides"
    planned = zip(plan(made.cells, framework), minutes)
    slides = [made.slide(at, spoken, m) for (at, spoken, _), m in planned]
    text = rendered(
        "slides/deck.html.j2",
        [read(reveal / "reveal.js"), read(ours / "start.js")],
        lang=language,
        title=f"{title_of(made.cells, section)}, {titles[framework]}",
        about=first_words(slides[0].notes),
        licence=t["licence"],
        said=json.dumps({key: t[key] for key in SPEAKER}, ensure_ascii=False),
        slides=slides,
        styles=[
            *(read(reveal / name) for name in ("reset.css", "reveal.css")),
            stylesheet({}),
            read(ours / "slides.css"),
        ],
    )
    return text, slides


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
        chosen = [args.section] if args.section else book.sections
        frameworks = [args.framework] if args.framework else FRAMEWORKS
        for section in chosen:
            for language, framework in itertools.product(
                languages(book, section), frameworks
            ):
                found = deck(book, section, framework, args.reveal, language)
                if found is None:
                    continue
                text, slides = found
                folder = Path(args.out, folder_of(language), framework)
                made, path = True, folder / f"{section}.html"
                files.write(path, text)
                minutes = sum(slide.minutes for slide in slides)
                print(
                    f"{path}  {len(text.encode()) / 1000:.0f} kB, "
                    f"{len(slides)} slides, {minutes} minutes"
                )
        if not made:
            raise PageError("No slides: no cell is tagged 'slide'.")
    except (PageError, SourceError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
