"""nbconvert's exporter `d2l_html`: a notebook with tabs as one page of the book.

For `jupyter nbconvert --to d2l_html notebooks/nin.ipynb` and the export menu of
JupyterLab. It needs only the notebook, with the outputs it holds, and pictures in its
folder. Other sections are not known, so that mentions of them stay plain text, and
there is nothing to download. It need not be one of ours: code without `%%tab` is that
of every tab.
"""

import json
import re
from pathlib import Path
from urllib.parse import quote

import nbformat
from nbconvert import HTMLExporter

from book.notebooks.editions import label
from book.pages import pages
from book.pages.markup import PageError
from book.source.book import BOOK
from book.source.reading import SourceCell, new_cell, parse_cell
from book.source.tabs import in_source
from d2l_utils.frameworks import FRAMEWORKS


def outputs_of(cell, tabs):
    """{framework: its outputs}: those below its name where a cell has several tabs.

    Without such names, it ran once, and what it gave is shown in all.
    """
    names = {label(f).data["text/plain"]: f for f in tabs}
    found, shown = {f: [] for f in tabs}, tabs
    for output in cell.outputs:
        named = names.get(output.get("data", {}).get("text/plain"))
        if named:
            shown = [named]
        else:
            for framework in shown:
                found[framework].append(output)
    return found


def readable(nb):
    """The notebook without what nobody can read.

    Lone surrogates, which no file can hold, are replaced, and displays that were
    emptied are left out.
    """
    text = json.dumps(nb, ensure_ascii=False).encode("utf-16", "surrogatepass")
    nb = nbformat.from_dict(json.loads(text.decode("utf-16", "replace")))
    for cell in nb.cells:
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if o.get("data") != {}]
    return nb


def attached(cell):
    """The text of a cell with the pictures that were pasted into it."""
    source = cell.source
    for name, kinds in (cell.get("attachments") or {}).items():
        mime, data = next(iter(kinds.items()), ("image/png", ""))
        names = "|".join(map(re.escape, (name, quote(name))))
        uri = f"data:{mime};base64,{data}"
        source = re.sub(rf"attachment:(?:{names})(?=[\s)\"'>])", uri, source)
    return source


def read(cell, place):
    """A notebook's cell as a SourceCell, or None for what is not shown."""
    if cell.cell_type == "raw":
        mime = cell.metadata.get("raw_mimetype") or cell.metadata.get("format", "")
        if mime not in ("", "text/html", "text/markdown"):  # for other exporters
            return None
        ticks = "`" * max(3, *(len(m) + 1 for m in re.findall("`*", cell.source)))
        source = cell.source if "/" in mime else f"{ticks}\n{cell.source}\n{ticks}"
        return SourceCell("markdown", source, file=place)
    if not cell.source.strip():
        return None
    if cell.cell_type == "markdown":
        cell.source = in_source(attached(cell))
        return parse_cell(cell, place)
    first = cell.source.lstrip("\n").partition("\n")[0]
    if first.startswith("%%tab") or "chooser" in cell.metadata.get("tags", ()):
        return parse_cell(cell, place)
    chooses = "interact_select(" in cell.source
    return SourceCell("code", cell.source, () if chooses else tuple(FRAMEWORKS))


class TabbedExporter(HTMLExporter):
    """Renders a four-tab notebook as a page with tabs."""

    export_from_notebook = "HTML with framework tabs"

    def from_notebook_node(self, nb, resources=None, **kwargs):
        meta = (resources or {}).get("metadata", {})
        section = meta.get("name", "notebook")
        path = Path(meta.get("path", "."), f"{section}.ipynb")
        cells, made, tabbed = [], {f: {} for f in FRAMEWORKS}, False
        for number, cell in enumerate(readable(nb).cells, 1):
            parsed = read(cell, f"{section}.ipynb, cell {number}")
            if parsed is None:
                continue
            if parsed.kind == "code" and parsed.tabs:
                tabbed |= bool(parsed.head)
                for framework, outputs in outputs_of(cell, parsed.tabs).items():
                    made[framework][len(cells)] = new_cell(
                        "code", parsed.source, outputs
                    )
            cells.append(parsed)
        if not tabbed:
            raise PageError(
                f"{path.name} has no code cell with tabs (%%tab ...); "
                "for a notebook of one framework, use `--to html`."
            )
        text = pages.single(section, cells, made, path, BOOK)
        _, resources = super().from_notebook_node(
            nbformat.v4.new_notebook(), resources, **kwargs
        )
        return text, resources
