"""Run a notebook written for the textbook's package: `python -m d2l_utils.run FILE`.

FILE is an .ipynb, or an .md in the textbook's syntax: code in fences that begin with
```{.python .input}, for some frameworks where the first line is `%%tab pytorch` or
`#@tab pytorch`. Cells of other frameworks are left out. Each cell is reported; the
exit status is 1 where one failed, 2 where names are asked of d2l that are not here.
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

from d2l_utils.tab import FRAMEWORKS

FENCE = re.compile(r"^```\{\.python \.input[^}]*\}\n(.*?)^```\s*$", re.M | re.S)
FIRST = re.compile(r"^\s*(?:%%tab|#\s*@tab)\s+(.*)$")
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
    """The cell without its tab line; None where it is another framework's.

    In the textbook's notebooks for one framework, which have `#@tab` comments, a cell
    without one belongs to all.
    """
    first, _, rest = source.lstrip("\n").partition("\n")
    tabs = FIRST.match(first)
    if not tabs:
        return source
    names = re.split(r"[,\s]+", tabs[1].strip())
    return rest if {framework, "all"} & set(names) else None


def names_of_d2l(source):
    """{name: what d2l is} asked of d2l in a cell that may hold magics."""
    try:
        tree = ast.parse(MAGIC.sub("", source))
    except SyntaxError:  # said when the cell runs
        return set()
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "d2l"
    }


def defined(sources):
    """Names that cells put into d2l themselves, as in d2l.f = f."""
    return set(re.findall(r"^\s*d2l\.(\w+)\s*=[^=]", "\n".join(sources), re.M))


def missing(sources, framework):
    """The names asked of d2l that neither we nor the cells have, sorted."""
    ours = importlib.import_module(FRAMEWORKS[framework])
    asked = set().union(*map(names_of_d2l, sources)) - defined(sources)
    return sorted(n for n in asked - set(ours.__all__) if not hasattr(ours, n))


def run(path, framework, out=print):
    """Run a notebook; the exit status (see above)."""
    os.environ["D2L_UTILS_TAB"] = framework
    os.environ.setdefault("MPLBACKEND", "agg")
    from IPython.core.interactiveshell import InteractiveShell

    import d2l_utils.as_d2l  # noqa: F401

    cells = [for_tab(source, framework) for source in read_cells(path)]
    numbered = [(i, c) for i, c in enumerate(cells, 1) if c is not None and c.strip()]
    if not numbered:
        out(f"{path} has no cells for {framework}.")
        return 1
    lacking = missing([c for _, c in numbered], framework)
    if lacking:
        out(f"d2l_utils does not have: {', '.join('d2l.' + n for n in lacking)}")
    shell, failed = InteractiveShell.instance(), 0
    for number, source in numbered:
        start = time.perf_counter()
        result = shell.run_cell(source, store_history=False)
        word = "ok" if result.success else "FAILED"
        failed += not result.success
        out(f"cell {number} of {len(cells)}: {word}, {time.perf_counter() - start:.1f} s")
    out(f"{path}, {framework}: {len(numbered) - failed} cells ran, {failed} failed.")
    return 2 if lacking else int(bool(failed))


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
