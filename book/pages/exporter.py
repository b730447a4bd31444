"""One page's cells as HTML, through nbconvert and the templates in templates/d2l.

The text once, every run of code cells as one group of tabs, a panel a framework, each
code cell followed by its stored outputs; formulas become MathML. What frames the
page, and where its links lead, is pages.py's task.
"""

import functools
import html
import itertools
import re
from collections import Counter
from pathlib import Path

from jinja2 import pass_context
from nbconvert import HTMLExporter
from nbconvert.filters import Highlight2HTML
from nbformat import NotebookNode, v4
from traitlets.config import Config

from book.pages import TEMPLATES, live
from book.pages.markup import (
    Body,
    Marks,
    PageError,
    Text,
    mention_pattern,
    picture,
    sanitize,
)
from book.pages.passages import blocks
from book.source.reading import new_cell
from book.translate.catalogues import english

# Types of outputs, the preferred first: what is shown as a picture or a table is not
# shown as text, too. JavaScript is not among them.
SHOWN_TYPES = [
    "image/png", "image/jpeg", "image/svg+xml", "text/html", "text/markdown",
    "text/latex", "text/plain",
]  # fmt: skip


NOTHING = re.compile("(?!)")


def draws(output):
    return any(mime.startswith("image/") for mime in output.get("data", ()))


def described(outputs, alt, caption=""):
    """Outputs with a description of each picture that came without.

    That of the last picture is the caption, if there is one; of others, `alt` and what
    the cell printed.
    """
    said = " ".join(o.text for o in outputs if o.output_type == "stream").split()
    said, made = ". ".join([alt, *filter(None, [" ".join(said)])]), []
    for output in reversed(outputs):
        if draws(output):
            given = {"alt": caption or said, **output.metadata}
            output, caption = NotebookNode({**output, "metadata": given}), ""
        made.insert(0, output)
    return made


def caption_of(block, strings):
    """The caption that a block of text begins with, without marks, or ''."""
    kind, content, _ = block
    found = kind == "text" and re.match(r"\*(.+?)\*\s*(\n\n|$)", content[1].text, re.S)
    forms = mention_pattern([strings, english()])
    if not found or not forms.match(found[1]):
        return ""
    return " ".join(re.sub(r"[*`$\\]", "", found[1]).split())


def group_cells(kind, number, indices, cells, editions, titles, strings, caption=""):
    """The cells of one group of tabs; their metadata opens and closes panels.

    That of code says with `index` which cell of the source it is.
    """
    made, there = [], [f for f in titles if any(f in cells[i].tabs for i in indices)]
    for framework in titles:
        panel, ran_here = [], [i for i in indices if framework in cells[i].tabs]
        drawn = [
            i for i in ran_here
            if any(map(draws, editions[framework][i].get("outputs", ())))
        ]  # fmt: skip
        for i in ran_here:
            ran = editions[framework][i]
            alt = strings["figure"].format(framework=titles[framework])
            last = caption if i in drawn[-1:] else ""
            outputs = [
                shown(output, alt)
                for output in described(ran.get("outputs", []), alt, last)
            ]
            panel.append(new_cell("code", ran.source, outputs))
            panel[-1].metadata["d2l"] = {"index": i}
        if not panel:
            panel = [new_cell("markdown", "")]
        for cell in panel:
            cell.metadata["transient"] = {"remove_source": kind == "facts"}
            cell.metadata["d2l"] = {
                **cell.metadata.get("d2l", {}),
                "kind": kind, "group": number, "framework": framework, "there": there,
            }  # fmt: skip
        panel[0].metadata.d2l["opens_panel"] = True
        panel[-1].metadata.d2l["closes_panel"] = True
        made += panel
    made[0].metadata.d2l["opens_group"] = True
    made[-1].metadata.d2l["closes_group"] = True
    return made


def text_cell(cell, passage):
    """The cell of a page for a passage of a source's text cell."""
    made = new_cell("markdown", passage.text)
    line = cell.line and cell.line + passage.row
    made.metadata["d2l"] = {
        "kind": "text", "only": passage.tabs, "file": cell.file, "line": line,
        "live": passage.live and live.known(passage.live, cell.place(passage.row - 1)),
    }  # fmt: skip
    return made


def heading_in(text):
    """The last heading of a text but its title, without marks, or ''."""
    found = re.findall(r"^##+ (.*)$", text, re.M)
    return re.sub(r"[*`$\\]", "", found[-1]) if found else ""


def kind_of_answer(cells):
    """The name, among the strings, of what a folded answer holds."""
    code = [c for c in cells if c.cell_type == "code"]
    ran = any(c.outputs for c in code)
    return "answer_result" if ran else "answer_code" if code else "answer_words"


def page_notebook(cells, editions, titles, strings, answers=True):
    """One notebook that holds the whole page, for nbconvert.

    answers: whether those of exercises are on it, folded.
    """
    made, number, folds, under, names = [], 0, 0, "", Counter()
    found = list(blocks(cells, titles))
    after = [caption_of(block, strings) for block in found[1:]]
    both = zip(found, [*after, ""])
    for folded, run in itertools.groupby(both, lambda pair: pair[0][2]):
        first = len(made)
        if folded and not answers:
            continue
        for (kind, content, _), caption in run:
            if kind == "text":
                made.append(text_cell(*content))
                under = heading_in(content[1].text) or under
            else:
                number += 1
                made += group_cells(
                    kind, number, content, cells, editions, titles, strings, caption
                )
        if folded and made[first:]:
            folds += 1
            for cell in made[first:]:
                cell.metadata.d2l["fold"] = f"answer-{folds}"
            what = kind_of_answer(made[first:])
            names[what, under] += 1  # several of one kind under a heading are counted
            nth = names[what, under]
            name = strings[what] + f" {nth}" * (nth > 1)
            made[first].metadata.d2l.update(opens_answer=name, under=under)
            made[-1].metadata.d2l["closes_answer"] = True
    nb = v4.new_notebook(cells=made)
    nb.metadata["language_info"] = {"name": "python", "pygments_lexer": "python"}
    return nb


def figure(output, mime, alt):
    """A picture among the outputs, as an <img>; its alt text from the metadata."""
    own = output.metadata.get(mime)
    given = [d.get("alt") for d in (own, output.metadata) if isinstance(d, dict)]
    said = next((a for a in given if a and isinstance(a, str)), alt)
    size = [own.get(k) for k in ("width", "height")] if isinstance(own, dict) else []
    shown = size if size and all(isinstance(n, int) and n > 0 for n in size) else None
    return picture(output.data[mime], mime, said, shown)


def shown(output, alt):
    """An output in a form that pages can show, or the names of its types."""
    data = output.get("data", {"text/plain": ""})
    if not set(data).isdisjoint(SHOWN_TYPES):
        return output
    pictures = [mime for mime in data if mime.startswith("image/")]
    if pictures:
        made = {"text/html": figure(output, pictures[0], alt)}
    else:
        texts = [v for k, v in data.items() if k.startswith("text/")]
        made = {"text/plain": texts[0] if texts else f"[{', '.join(data)}]"}
    return NotebookNode({**output, "data": NotebookNode(made)})


# A line with columns, which wrapping would spoil. In characters: the width of a page,
# and what is too short to be wrapped.
COLUMNS = re.compile(r"\t|\S {2,}\S|^ {2,}\S")
ROOM, SHORT = 88, 40


def wrapped(text):
    """HTML of what was printed: long lines of prose may be broken."""

    def line(part):
        prose = len(part) > SHORT and not COLUMNS.search(part) and "<" not in part
        return f'<span class="wrap">{part}</span>' if prose else part

    return "\n".join(map(line, text.split("\n")))


def density(text):
    """The class of a printed table that is wider than the page."""
    rows = (html.unescape(re.sub("<[^>]*>", "", r)) for r in text.split("\n"))
    wide = max((len(r) for r in rows if COLUMNS.search(r)), default=0) > ROOM
    return "dense" if wide else ""


# What the search finds in code: names with a dot, an underscore or a capital.
NAME = re.compile(r"\b(?=\w*[._A-Z])[A-Za-z_][\w.]*\w")


@functools.cache
def coloured(source):
    """The HTML of code; the same cell comes back in other languages."""
    return Highlight2HTML(pygments_lexer="python")(source)


class BodyExporter(HTMLExporter):
    """nbconvert's HTML exporter with our template, MathML and embedded pictures.

    One is used for all pages, so that the templates are compiled once: see `at`.
    """

    def __init__(self, **options):
        config = Config({"NbConvertBase": {"display_data_priority": SHOWN_TYPES}})
        super().__init__(
            config=config,
            default_preprocessors=[],  # after each, nbconvert validates the notebook
            template_name="d2l",
            extra_template_basedirs=[str(TEMPLATES)],
            **options,
        )
        self.register_filter("sanitize", sanitize)
        self.register_filter("figure", figure)
        self.register_filter("written", self.written)
        self.register_filter("highlight_code", self.highlighted)
        self.register_filter("wrapped", wrapped)
        self.register_filter("density", density)

    def at(self, folder, strings, anchors=(), strict=True):
        """Begin a page; see `render`. Returns the exporter itself."""
        self.folder, self.strings, self.marks = Path(folder), strings, Marks()
        self.anchors, self.strict = anchors, strict
        return self

    def from_notebook_node(self, nb, resources=None, **kwargs):
        # HTMLExporter would parse the whole page, to add alt texts, and `tabindex` to
        # parts of its own template: half of the time.
        return super(HTMLExporter, self).from_notebook_node(nb, resources, **kwargs)

    def written(self, source):
        """An output that is Markdown or LaTeX; as it is where it cannot be shown."""
        text = Text(self.folder, str, Marks(), self.strings)
        text.mentioned = NOTHING
        try:
            return text.to_html(source)
        except PageError:
            return f"<pre>{html.escape(source)}</pre>"

    @pass_context
    def highlighted(self, context, source):
        of = context["cell"].metadata.d2l
        there = self.marks.code.setdefault(self.marks.place(of.get("fold")), {})
        for name in NAME.findall(source):
            frameworks = there.setdefault(name, [])
            if of.framework not in frameworks:
                frameworks.append(of.framework)
        return coloured(source)

    @pass_context
    def markdown2html(self, context, source):
        of = context["cell"].metadata.d2l

        def where(needle):
            if not of.get("line"):
                return of.get("file", "")
            before = source[: max(source.find(needle), 0)]
            return f"{of.file}:{of.line + before.count(chr(10))}"

        marks = self.marks if of.kind == "text" else Marks()  # what we add has none
        text = Text(self.folder, where, marks, self.strings, self.anchors, self.strict)
        return text.to_html(source, of.get("fold"))


@functools.cache
def body_exporter():
    return BodyExporter()


def render(
    cells, editions, titles, folder, strings, anchors=(), strict=True, answers=True
):
    """The Body of one section.

    cells: those of the source. editions: {framework: {index of a source cell: executed
    notebook cell}}. titles: {framework: name shown}, in the order of the tabs. folder:
    where the pictures are. strings: what the page says by itself, see
    templates/strings. anchors: all of each heading of the English page, which a
    translation keeps. strict: see markup.Text. answers: see `page_notebook`. Raises
    PageError for what cannot be shown.
    """
    exporter = body_exporter().at(folder, strings, anchors, strict)
    nb = page_notebook(cells, editions, titles, strings, answers)
    resources = {"page": {"titles": titles, "t": strings}}
    text, _ = exporter.from_notebook_node(nb, resources)
    return Body(text, exporter.marks, strings["lang"])
