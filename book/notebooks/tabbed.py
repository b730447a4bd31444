"""nbconvert's exporter `d2l_html`: a notebook with tabs as one page of the book.

For `jupyter nbconvert --to d2l_html notebooks/nin.ipynb` and the export menu of
JupyterLab. It needs only the notebook, with the outputs it holds; other sections are
not known, so that mentions of them stay plain text.
"""

from pathlib import Path

import nbformat
from nbconvert import HTMLExporter

from book.notebooks.editions import label
from book.pages import pages
from book.pages.markup import PageError
from book.source.book import BOOK
from book.source.reading import parse_cell
from d2l_utils.frameworks import FRAMEWORKS


def outputs_of(cell, tabs):
    """{framework: its outputs}: those below its name where a cell has several tabs."""
    if len(tabs) == 1:
        return {tabs[0]: cell.outputs}
    names = {label(f).data["text/plain"]: f for f in tabs}
    found, framework = {f: [] for f in tabs}, tabs[0]
    for output in cell.outputs:
        named = names.get(output.get("data", {}).get("text/plain"))
        if named:
            framework = named
        else:
            found[framework].append(output)
    return found


class TabbedExporter(HTMLExporter):
    """Renders a four-tab notebook as a page with tabs."""

    export_from_notebook = "HTML with framework tabs"

    def from_notebook_node(self, nb, resources=None, **kwargs):
        meta = (resources or {}).get("metadata", {})
        section = meta.get("name", "notebook")
        path = Path(meta.get("path", "."), f"{section}.ipynb")
        cells = [parse_cell(c, f"{section}.ipynb, cell {i}")
                 for i, c in enumerate(nb.cells, 1)]  # fmt: skip
        made = {f: {} for f in FRAMEWORKS}
        for i, (cell, parsed) in enumerate(zip(nb.cells, cells, strict=True)):
            if parsed.kind != "code" or not parsed.tabs:
                continue
            for framework, outputs in outputs_of(cell, parsed.tabs).items():
                made[framework][i] = nbformat.v4.new_code_cell(
                    parsed.source, outputs=outputs
                )
        if not any(c.kind == "code" and c.tabs for c in cells):
            raise PageError(
                f"{path.name} has no code cell with tabs (%%tab ...); "
                "for a notebook of one framework, use `--to html`."
            )
        text = pages.single(section, cells, made, path, BOOK)
        _, resources = super().from_notebook_node(
            nbformat.v4.new_notebook(), resources, **kwargs
        )
        return text, resources
