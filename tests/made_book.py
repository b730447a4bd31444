"""A made-up book, as book.notebooks.editions would read it, for the tests of pages."""

import base64
import struct
import zlib
from types import SimpleNamespace

from nbformat import v4

TITLES = {
    "pytorch": "PyTorch",
    "mxnet": "MXNet",
    "tensorflow": "TensorFlow",
    "jax": "JAX",
}
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
    return SimpleNamespace(kind="markdown", source=source, tabs=ALL, tags=tags)


def code(source, tabs=ALL, tags=()):
    return SimpleNamespace(kind="code", source=source, tabs=tabs, tags=tags)


def run(cell, framework, index):
    """The executed cell: text everywhere, the first with a picture and traps."""
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
    return v4.new_code_cell(
        cell.source,
        outputs=outputs,
        execution_count=index,
        metadata={"tags": cell.tags},
    )


def make_book(folder, cells=None, repository=None):
    """What book.notebooks.editions offers, for a made-up section in `folder`."""
    (folder / "img").mkdir(exist_ok=True)
    (folder / "img/boxes.svg").write_text(SVG)
    cells = cells or [
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
    path = folder / "mini.md"
    path.write_text("---\na: b\n---\n\n" + "\n\n+++\n\n".join(c.source for c in cells))
    return SimpleNamespace(
        SECTIONS=("mini", "later"),
        FRAMEWORKS=ALL,
        TITLES=TITLES,
        TEXTBOOK={"mini": ("mini.html", {"pytorch": 7, "jax": 8})},
        github=lambda: repository,
        SourceError=LookupError,
        source_path=lambda section: folder / f"{section}.md",
        edition_path=lambda section, f: folder / f / f"{section}.ipynb",
        read_source=lambda s: (
            cells if s == "mini" else [text("# 8.4 Later"), code("1")]
        ),
        edition_cells=lambda section, f: {
            i: run(c, f, i) if section == "mini" else v4.new_code_cell(c.source)
            for i, c in enumerate(cells if section == "mini" else [code("1")])
            if c.kind == "code" and f in c.tabs
        },
    )
