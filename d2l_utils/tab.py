"""Tabs in live notebooks: cells that belong to one or several frameworks.

A cell that starts with `%%tab pytorch` (or `%%tab mxnet, jax`, or `%%tab all`)
runs only while one of its tabs is selected, and else says that it does not. An input
transformer does this and not a cell magic, so that an error in the cell fails the cell
itself.

    %load_ext d2l_utils.tab
    tab.interact_select(['pytorch', 'mxnet', 'tensorflow', 'jax'])
"""

import os
import re
import sys
from collections.abc import Sequence
from typing import Any

from d2l_utils.frameworks import FRAMEWORKS

DEFAULT = "pytorch"

_selected = None


def parse(line: str) -> tuple[str, ...] | None:
    """The tabs that the first line of a cell names.

    Parameters:
        line: such as "%%tab mxnet, jax".

    Returns:
        Their names, in the order given; None where the line is no %%tab line.

    Raises:
        ValueError: there is no such tab.

    Example:
        >>> parse("%%tab mxnet, jax")
        ('mxnet', 'jax')
        >>> parse("import jax") is None
        True
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


def current() -> str:
    """The selected tab.

    Returns:
        The one that was chosen, or else that of the environment variable
        D2L_UTILS_TAB, or else "pytorch".

    Raises:
        ValueError: D2L_UTILS_TAB is no tab.

    Example:
        >>> select("jax")
        >>> current()
        'jax'
    """
    if _selected is not None:
        return _selected
    return _known(os.environ.get("D2L_UTILS_TAB") or DEFAULT)


def selected(*names: str) -> bool:
    """Whether one of the named tabs is selected; older notebooks call it.

    Parameters:
        names: of tabs.

    Returns:
        True or False.

    Raises:
        ValueError: there is no such tab.

    Example:
        >>> select("jax")
        >>> selected("mxnet", "jax")
        True
    """
    return current() in {_known(n) for n in names}


def select(name: str) -> None:
    """Select a tab.

    Parameters:
        name: of the tab.

    Raises:
        ValueError: there is no such tab.
        RuntimeError: another framework was imported; the kernel has to be restarted.

    Example:
        >>> select("jax")
    """
    global _selected
    loaded = [f for f in FRAMEWORKS.values() if f.here in sys.modules]
    if loaded and FRAMEWORKS[_known(name)] not in loaded:
        raise RuntimeError(
            f"{loaded[0].title} is loaded, and a kernel takes one framework. For "
            f"{FRAMEWORKS[name].title}, restart the kernel, and choose it before the "
            "other cells run."
        )
    _selected = _known(name)


def interact_select(tabs: str | Sequence[str] = tuple(FRAMEWORKS)) -> Any:
    """Let the reader of a notebook choose a tab.

    Where the environment variable D2L_UTILS_TAB is set, or there are no widgets, it
    prints the selected tab instead.

    Parameters:
        tabs: the names to choose from. The first is selected where no other is.

    Returns:
        A drop-down list of ipywidgets, with a line below for what cannot be chosen;
        or None where there is nothing to choose.

    Raises:
        ValueError: there is no such tab.

    Example:
        >>> interact_select(["jax"])  # doctest: +SKIP
        Selected tab: jax
    """
    names = [_known(t) for t in ([tabs] if isinstance(tabs, str) else tabs)]
    load_ipython_extension(_ipython())
    if current() not in names:
        select(names[0])
    try:
        from ipywidgets import HTML, Dropdown, VBox
    except ImportError:
        Dropdown = None
    if Dropdown is None or os.environ.get("D2L_UTILS_TAB") or _ipython() is None:
        print(f"Selected tab: {current()}")
        return None
    options = [(FRAMEWORKS[name].title, name) for name in names]
    chooser = Dropdown(options=options, value=current(), description="Framework")
    said = HTML()

    def changed(change):
        said.value = ""
        try:
            select(change["new"])
        except RuntimeError as error:
            chooser.value = current()  # calls `changed`, which clears `said`
            said.value = f"<b>{error}</b>"

    chooser.observe(changed, names="value")
    return VBox([chooser, said])


def transform(lines: list[str]) -> list[str]:
    """The lines that IPython runs in place of a cell's.

    Parameters:
        lines: of the cell, with their line ends.

    Returns:
        All of them; all but the %%tab line; or, where none of its tabs is selected, a
        line that prints `not_run`.

    Raises:
        ValueError: the cell names a tab that does not exist.

    Example:
        >>> select("jax")
        >>> transform(["%%tab jax\\n", "print(1)\\n"])
        ['print(1)\\n']
        >>> transform(["%%tab mxnet\\n", "print(1)\\n"])
        ["print('Not run: for MXNet.')\\n"]
    """
    first = next((i for i, line in enumerate(lines) if line.strip()), None)
    tabs = None if first is None else parse(lines[first].strip())
    if tabs is None:
        return lines
    return lines[first + 1 :] if current() in tabs else [f"print({not_run(tabs)!r})\n"]


def not_run(tabs: Sequence[str]) -> str:
    """What a cell prints whose tabs are not selected.

    Parameters:
        tabs: their names.

    Returns:
        A line.

    Example:
        >>> not_run(["mxnet", "jax"])
        'Not run: for MXNet, JAX.'
    """
    return f"Not run: for {', '.join(FRAMEWORKS[t].title for t in tabs)}."


def load_ipython_extension(ipython: Any) -> None:
    """Let cells begin with %%tab from now on; `%load_ext d2l_utils.tab` calls it.

    Parameters:
        ipython: the running shell; with None nothing happens.

    Example:
        >>> load_ipython_extension(None)
    """
    if ipython is None:
        return
    if transform not in ipython.input_transformers_cleanup:
        ipython.input_transformers_cleanup.append(transform)
    ipython.user_ns.setdefault("tab", sys.modules[__name__])


def unload_ipython_extension(ipython: Any) -> None:
    """Undo `load_ipython_extension`; `%unload_ext d2l_utils.tab` calls it.

    Parameters:
        ipython: the running shell.

    Example:
        >>> unload_ipython_extension(get_ipython())  # doctest: +SKIP
    """
    if transform in ipython.input_transformers_cleanup:
        ipython.input_transformers_cleanup.remove(transform)


def _ipython():
    module = sys.modules.get("IPython")
    return module.get_ipython() if module else None


def _known(name):
    if name not in FRAMEWORKS:
        raise ValueError(f"Unknown tab {name!r}: the tabs are {', '.join(FRAMEWORKS)}.")
    return name
