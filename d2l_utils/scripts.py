"""What a training is started from: a script, or some cells of a notebook."""

import json
import os
import sys
from pathlib import Path

TAGS = {"imports", "model", "train"}  # of the cells that training needs


def cells_of(path):
    """The sources of those cells of a notebook that training needs.

    Raises ValueError where there are none, and for a notebook of several frameworks.
    """
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    cells = [c for c in cells if c["cell_type"] == "code"]
    sources = [
        "".join(c["source"]) for c in cells if TAGS & set(c["metadata"].get("tags", ()))
    ]
    if any(source.lstrip().startswith("%%tab") for source in sources):
        raise ValueError(
            f"{path} has cells of several frameworks. Give one in a framework's "
            f"folder, such as pytorch/{path.name}."
        )
    if not sources:
        raise ValueError(
            f"{path} has no cells with the tags {', '.join(sorted(TAGS))}. Give them "
            "to the cells that training needs, or put these into a script."
        )
    return sources


def code_of(path):
    """The text of a script, or of a notebook's cells; None where there is none."""
    path = Path(path)
    try:
        if path.suffix == ".ipynb":
            return "\n".join(cells_of(path))
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):  # python -c, an executable
        return None


def modules_beside(path):
    """{name: text} of the imported modules that lie in a script's folder or below."""
    folder, found = os.path.join(os.path.dirname(os.path.abspath(path)), ""), {}
    for name in sorted(sys.modules):
        module = sys.modules.get(name)
        file = getattr(module, "__dict__", {}).get("__file__") or ""
        ours = name.partition(".")[0] in ("__main__", "__mp_main__", "d2l_utils")
        installed = "site-packages" in file or "dist-packages" in file
        if file.startswith(folder) and file.endswith(".py") and not (ours or installed):
            found[name] = code_of(file) or ""  # gone since, perhaps
    return found
