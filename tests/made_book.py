"""A made-up book in a folder, with sources and executed editions, to make pages of."""

import base64
import struct
import zlib

import jupytext
from nbformat import v4

from book.notebooks import editions
from book.source.book import Book
from book.source.reading import SourceCell
from d2l_utils.frameworks import FRAMEWORKS

TITLES = Book.titles()
ALL = tuple(TITLES)
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="80" height="40"/>'
INTRO = r"""# 8.3 A *Made-up* Section

With $x_1 < 2$ and `code $y$`, it costs \$3, or from $5 to $10, and `$$` opens:

$$
\hat{y} = \frac{1}{n} \sum_{i=1}^n x_i
$$

![Two boxes, $1 \times 1$](img/boxes.svg)

| a | b |
|--:|:--|
| 1 | 2 |

See [the next part](mini.md#Random-Numbers), <kbd>Enter</kbd>.
<script>document.title = "hacked"</script>
<a href="javascript:hack()" onclick="hack()">click</a>"""
PASSAGES = """## Random Numbers

Common text.

:::{tab} jax
JAX wants a **key**.
:::
:::{tab} mxnet, pytorch
These two have a global seed.
:::

## Random Numbers
"""


def png(width, height):
    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    rows = zlib.compress(b"".join(b"\0" + b"\xa0" * width for _ in range(height)))
    raw = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    return base64.encodebytes(raw).decode()


def text(source, tags=()):
    return SourceCell("markdown", source, tags=tags)


def code(source, tabs=ALL, tags=()):
    return SourceCell("code", source, tabs, tags)


CELLS = [
    text(INTRO),
    code("print('first')\n" + "x = 1  # " + "long " * 40),
    code("draw('torch')", ("pytorch",)),
    code("draw('others')", ("mxnet", "tensorflow", "jax")),
    text(PASSAGES),
    code("choose()", (), ("chooser",)),
    code("import nothing", ALL, ("setup",)),
    code("only_jax()", ("jax",)),
    text("The end."),
    code("last()"),
    code("facts()", ALL, ("facts",)),
]


def outputs_of(framework, index):
    """Text everywhere; at first with traps, then with a picture."""
    lines = 1 + 9 * ALL.index(framework)  # so that panels differ in height
    said = f"out {index} of {framework} <b>&</b>\n" * lines
    outputs = [v4.new_output("stream", name="stdout", text=said)]
    if index == 1:
        trap = (
            '<table onclick="hack()"><tr><td>7</td></tr></table><script>hack()</script>'
        )
        data = {"text/html": trap, "text/plain": "seven"}
        outputs.append(v4.new_output("execute_result", data=data))
        data = {
            "application/javascript": "hack()",
            "text/plain": "a \x1b[31mred\x1b[0m",
        }
        outputs.append(v4.new_output("display_data", data=data))
    if index == 2:
        data = {"image/png": png(1400, 90), "text/plain": "<Figure>"}
        meta = {"image/png": {"alt": 'a "grey" bar'}}
        outputs.append(v4.new_output("display_data", data=data, metadata=meta))
    return outputs


def add_section(book, section, cells, ran=True):
    """Write the source of a section and, where it ran, its executed editions."""
    made = []
    for cell in cells:
        head = f"%%tab {', '.join(cell.tabs)}\n" if cell.tabs else ""
        source = head + cell.source if cell.kind == "code" else cell.source
        made.append(editions.tagged(cell.kind, source, cell.tags))
    nb = v4.new_notebook(cells=made, metadata={"kernelspec": editions.KERNEL})
    book.source_path(section).write_text(jupytext.writes(nb, fmt="md:myst"))
    for framework in FRAMEWORKS if ran else ():
        pairs = editions.aligned_edition(book, section, framework)
        for index, cell in pairs:
            if cell.cell_type == "code":
                cell.execution_count = 1
                cell.outputs = outputs_of(framework, index) if index else []
        path = book.edition_path(section, framework)
        path.parent.mkdir(exist_ok=True)
        nb = v4.new_notebook(cells=[cell for _, cell in pairs])
        path.write_text(editions.dumps(nb))


def make_book(folder, cells=None, repository="", sections=("mini", "later")):
    """A book in a folder; of its sections, 'mini' is written and run, 'later' not."""
    textbook = {"mini": ("mini.html", {"pytorch": 7, "jax": 8})}
    book = Book(folder, sections, textbook)
    (book.notebooks / "img").mkdir(parents=True, exist_ok=True)
    (book.notebooks / "img/boxes.svg").write_text(SVG)
    address = repository and f"https://github.com/{repository}"
    (folder / "pyproject.toml").write_text(
        f"[tool.d2l_utils]\nrepository = '{address}'\n"
    )
    add_section(book, "mini", cells or CELLS)
    add_section(book, "later", [text("# 8.4 Later"), code("1")], ran=False)
    return book
