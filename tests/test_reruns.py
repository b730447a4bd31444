"""A notebook whose cells are run twice in one kernel gives the same results twice."""

import copy

import nbformat
import pytest
from nbclient import NotebookClient

from book.notebooks.nbval import fast_environ
from book.source.book import BOOK

IGNORED = {"nbval-ignore-output", "facts"}


def shown(cell):
    """What nbval would compare of a cell: printed text and results, no figures."""
    texts = []
    for output in cell.outputs:
        if output.output_type == "stream" and output.name == "stdout":
            texts.append(output.text)
        elif output.output_type in ("execute_result", "display_data"):
            texts.append(output.data.get("text/plain", ""))
    return "".join(texts)


@pytest.mark.slow("takes two minutes; nbval runs every notebook, once")
def test_running_it_twice(framework):
    path = BOOK.edition_path("nin", framework)
    nb = nbformat.read(path, as_version=4)
    nb.cells = [c for c in nb.cells if c.cell_type == "code"]
    for cell in nb.cells:
        cell.outputs = []
    again = copy.deepcopy(nb.cells)
    for cell in again:
        cell.id += "-2"
    num_cells = len(nb.cells)
    nb.cells += again
    client = NotebookClient(nb, timeout=900, kernel_name="python3")
    client.execute(env=fast_environ())
    compared = 0
    for first, second in zip(nb.cells[:num_cells], nb.cells[num_cells:]):
        if IGNORED & set(first.metadata.get("tags", ())):
            continue
        assert shown(second) == shown(first), first.source
        compared += bool(shown(first))
    assert compared >= 8
