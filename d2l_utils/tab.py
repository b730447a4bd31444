"""Tabs in live notebooks: cells that belong to one or several frameworks.

A cell that starts with `%%tab pytorch` (or `%%tab mxnet, jax`, or `%%tab all`)
runs only while one of its tabs is selected. That is an input transformer and
not a cell magic, so that an error in the cell is an error of the cell.

    %load_ext d2l_utils.tab
    tab.interact_select(['pytorch', 'mxnet', 'tensorflow', 'jax'])
"""

import os
import re
import sys

from d2l_utils.frameworks import FRAMEWORKS

DEFAULT = "pytorch"

_selected = None


def parse(line):
    """The tabs that a cell's first line names, or None if it is no %%tab line.

    Raises ValueError for an unknown tab.
    """
    if not line.startswith("%%tab"):
        return None
    names = re.split(r"[,\s]+", line[len("%%tab") :].strip())
    unknown = [n for n in names if n not in (*FRAMEWORKS, "all")]
    if unknown:
        raise ValueError(
            f"Unknown tab {', '.join(map(repr, unknown))} in the line {line!r}: the "
            f"tabs are {', '.join(FRAMEWORKS)} and all."
        )
    return tuple(FRAMEWORKS) if "all" in names else tuple(dict.fromkeys(names))


def current():
    """The selected tab: the one chosen, else D2L_UTILS_TAB, else pytorch."""
    if _selected is not None:
        return _selected
    return _known(os.environ.get("D2L_UTILS_TAB") or DEFAULT)


def selected(*names):
    """Whether one of these tabs is selected, for material that asks."""
    return current() in {_known(n) for n in names}


def select(name):
    """Select a tab. Raises RuntimeError once another framework was imported."""
    global _selected
    loaded = [f.name for f in FRAMEWORKS.values() if f.here in sys.modules]
    if loaded and _known(name) not in loaded:
        raise RuntimeError(
            f"This kernel already runs {loaded[0]}: restart the kernel to switch to "
            f"the tab {name}."
        )
    _selected = _known(name)


def interact_select(tabs=tuple(FRAMEWORKS)):
    """Show a chooser for the tabs; without widgets, say which tab is selected.

    Where D2L_UTILS_TAB is set, that choice stands and no chooser is shown.
    """
    names = [_known(t) for t in ([tabs] if isinstance(tabs, str) else tabs)]
    load_ipython_extension(_ipython())
    if current() not in names:
        select(names[0])
    try:
        from ipywidgets import Dropdown
    except ImportError:
        Dropdown = None
    if Dropdown is None or os.environ.get("D2L_UTILS_TAB") or _ipython() is None:
        print(f"Selected tab: {current()}")
        return None
    chooser = Dropdown(options=names, value=current(), description="Framework")

    def changed(change):
        try:
            select(change["new"])
        except RuntimeError as error:
            chooser.value = change["old"]
            chooser.description = str(error)

    chooser.observe(changed, names="value")
    return chooser


def transform(lines):
    """Input transformer: drop the %%tab line, or the cell if it is not selected."""
    first = next((i for i, line in enumerate(lines) if line.strip()), None)
    tabs = None if first is None else parse(lines[first].strip())
    if tabs is None:
        return lines
    return lines[first + 1 :] if current() in tabs else []


def load_ipython_extension(ipython):
    """Called by %load_ext: cells may begin with %%tab from now on."""
    if ipython is None:
        return
    if transform not in ipython.input_transformers_cleanup:
        ipython.input_transformers_cleanup.append(transform)
    ipython.user_ns.setdefault("tab", sys.modules[__name__])


def unload_ipython_extension(ipython):
    """Called by %unload_ext."""
    if transform in ipython.input_transformers_cleanup:
        ipython.input_transformers_cleanup.remove(transform)


def _ipython():
    module = sys.modules.get("IPython")
    return module.get_ipython() if module else None


def _known(name):
    if name not in FRAMEWORKS:
        raise ValueError(f"Unknown tab {name!r}: the tabs are {', '.join(FRAMEWORKS)}.")
    return name
