"""Run a notebook written for the textbook's package: `python -m d2l_utils.run FILE`.

FILE is an .ipynb, or an .md in the textbook's syntax: code in fences that begin with
```{.python .input}, for some frameworks where the first line is `%%tab pytorch` or
`#@tab pytorch`. Cells of other frameworks are left out. Each cell is reported, names
asked of d2l that are not here are listed first; the exit status is 1 where one failed.
"""

import argparse
import ast
import importlib
import json
import os
import re
import sys
import time
from pathlib import Path

from d2l_utils.frameworks import FRAMEWORKS

FENCE = re.compile(r"^```\{\.python \.input[^}]*\}\n(.*?)^```\s*$", re.M | re.S)
FIRST = re.compile(r"(?:%%tab|#\s*@tab)\s+(.*)$")
MAGIC = re.compile(r"^\s*[%!].*$", re.M)


def read_cells(path):
    """The sources of a notebook's code cells. Raises ValueError for another file."""
    text = Path(path).read_text(encoding="utf-8")
    if str(path).endswith(".md"):
        return FENCE.findall(text)
    try:
        cells = json.loads(text)["cells"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is neither an .md nor a notebook.") from error
    return ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]


def for_tab(source, framework):
    """The cell without its tab line; None where it is another framework's."""
    first, _, rest = source.lstrip("\n").partition("\n")
    tabs = FIRST.match(first)
    if not tabs:
        return source
    names = re.split(r"[,\s]+", tabs[1].strip())
    return rest if {framework, "all"} & set(names) else None


def cells_for(sources, framework):
    """[(number, source)] of the cells that belong to a framework.

    A cell without a tab line belongs to all; but to MXNet where the others have
    `#@tab` comments only, as in the textbook's first edition.
    """
    firsts = [source.lstrip().partition("\n")[0] for source in sources]
    tagged = [first for first in firsts if FIRST.match(first)]
    first_edition = tagged and all(first.startswith("#") for first in tagged)
    found = []
    for number, (source, first) in enumerate(zip(sources, firsts), 1):
        cell = for_tab(source, framework)
        if first_edition and not FIRST.match(first) and framework != "mxnet":
            cell = None
        if cell is not None and cell.strip():
            found.append((number, cell))
    return found


class Names(ast.NodeVisitor):
    """Collects the names asked of d2l, but not under another framework's `if`."""

    def __init__(self, framework):
        self.framework, self.found = framework, set()

    def visit_Attribute(self, node):
        if isinstance(node.value, ast.Name) and node.value.id == "d2l":
            self.found.add(node.attr)
        self.generic_visit(node)

    def visit_If(self, node):
        test, selected = node.test, ("tab.selected", "d2lbook.tab.selected")
        if isinstance(test, ast.Call) and ast.unparse(test.func) in selected:
            tabs = {getattr(a, "value", None) for a in test.args}
            for child in node.body if self.framework in tabs else node.orelse:
                self.visit(child)
        else:
            self.generic_visit(node)


def names_of_d2l(source, framework):
    """The names asked of d2l in a cell, which may hold magics."""
    try:
        tree = ast.parse(MAGIC.sub("", source))
    except SyntaxError:  # said when the cell runs
        return set()
    names = Names(framework)
    names.visit(tree)
    return names.found


def defined(sources):
    """Names that cells put into d2l themselves, as in d2l.f = f."""
    return set(re.findall(r"^\s*d2l\.(\w+)\s*=[^=]", "\n".join(sources), re.M))


def missing(sources, framework):
    """The names asked of d2l that neither we nor the cells have, sorted."""
    ours = importlib.import_module(FRAMEWORKS[framework].here)
    asked = set().union(*(names_of_d2l(s, framework) for s in sources))
    asked -= defined(sources)
    return sorted(n for n in asked - set(ours.__all__) if not hasattr(ours, n))


def run(path, framework, out=print):
    """Run a notebook; the exit status (see above)."""
    os.environ["D2L_UTILS_TAB"] = framework
    os.environ.setdefault("MPLBACKEND", "agg")
    from IPython.core.interactiveshell import InteractiveShell

    import d2l_utils.as_d2l  # noqa: F401 (so that `import d2l` finds this package)

    class Shell(InteractiveShell):
        def enable_gui(self, gui=None):
            """For %matplotlib: there is no window to show figures in."""

    cells = read_cells(path)
    numbered = cells_for(cells, framework)
    if not numbered:
        out(f"{path} has no cells for {framework}.")
        return 1
    lacking = missing([c for _, c in numbered], framework)
    if lacking:
        out(f"d2l_utils does not have: {', '.join('d2l.' + n for n in lacking)}")
    shell, failed = Shell.instance(), 0
    shell.run_line_magic("colors", "nocolor")
    for number, source in numbered:
        start = time.perf_counter()
        result = shell.run_cell(source, store_history=False)
        word = "ok" if result.success else "FAILED"
        failed += not result.success
        seconds = time.perf_counter() - start
        out(f"cell {number} of {len(cells)}: {word}, {seconds:.1f} s")
    out(f"{path}, {framework}: {len(numbered) - failed} cells ran, {failed} failed")
    return int(bool(failed))


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("notebook")
    parser.add_argument("--framework", choices=tuple(FRAMEWORKS), default="pytorch")
    args = parser.parse_args(argv)
    try:
        return run(args.notebook, args.framework)
    except (OSError, ValueError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    sys.exit(main())
