"""Run editions on the full data and store their outputs.

`python -m book.notebooks.execute [--framework jax] [--section nin] [--again]` runs, one
at a time, the editions that lack outputs, each in a fresh kernel, and saves each
as soon as it is done, so that a stopped run can be resumed.
"""

import argparse
import base64
import io
import os
import platform
import re
import sys
import time
from datetime import datetime

from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from PIL import Image

from book.notebooks import editions
from book.source import files
from book.source.book import BOOK
from d2l_utils.base import fast_mode
from d2l_utils.frameworks import FRAMEWORKS
from d2l_utils.sources import load_fashion_mnist

CELL_TIMEOUT = 3 * 3600  # seconds
PART = re.compile(r"^#{1,2} (.+?) *$", re.M)  # headings of the first two levels


def private_names(book):
    """What no committed output may contain: names of this machine and user."""
    names = {str(book.root), os.path.expanduser("~"), sys.prefix, platform.node()}
    names |= {"/tmp/", "/home/", "/Users/"}
    return {n for n in names if len(n) > 3}


def clean(book, nb):
    """Drop stderr, and displays that were emptied; refuse what names this machine.

    Returns the notebook.
    """
    for cell in nb.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type != "code":
            continue
        cell.outputs = [
            o for o in cell.outputs if o.get("name") != "stderr" and o.get("data") != {}
        ]
        for output in cell.outputs:
            shown = str({k: v for k, v in output.items() if k != "data"})
            data = output.get("data", {})  # pictures, in base64, name nothing
            shown += str({k: v for k, v in data.items() if k[:6] != "image/"})
            shown += str(data.get("image/svg+xml", ""))
            found = [n for n in private_names(book) if n in shown]
            if found:
                raise RuntimeError(f"An output names {found}:\n{shown}")
            merge_repr(output)
            if "image/png" in data:
                data["image/png"] = smaller(data["image/png"])
    return nb


def smaller(png):
    """A figure, in base64, in 64 colours chosen for it: a quarter of the bytes."""
    image, made = Image.open(io.BytesIO(base64.b64decode(png))), io.BytesIO()
    few = image.convert("RGB").quantize(64, dither=Image.Dither.NONE)
    few.save(made, "PNG", optimize=True)
    return min(png, base64.b64encode(made.getvalue()).decode(), key=len)


def merge_repr(output):
    """Memory addresses differ from run to run: take them out of text."""
    data = output.get("data", {})
    if "text/plain" in data:
        data["text/plain"] = re.sub(r" at 0x[0-9a-f]+", "", data["text/plain"])


def execute(book, section, framework):
    """Run one edition from start to end and store it."""
    path = book.edition_path(section, framework)
    nb = editions.edition(book, section, framework)
    client = NotebookClient(
        nb,
        timeout=CELL_TIMEOUT,
        kernel_name="python3",
        record_timing=True,
        coalesce_streams=True,
        resources={"metadata": {"path": str(path.parent)}},
    )
    client.execute(env={**os.environ, "PYTHONWARNINGS": "ignore"})
    nb.metadata["d2l"] = {"seconds": seconds_of_parts(nb.cells)}
    files.write(path, editions.dumps(clean(book, nb)))


def seconds_of_parts(cells):
    """{heading: seconds} of the parts of a notebook that was just run."""
    found, part = {}, ""
    for cell in cells:
        if cell.cell_type == "markdown":
            part = (PART.findall(cell.source) or [part])[-1]
        elif (timing := cell.metadata.get("execution", {})).get("shell.execute_reply"):
            begun, ended = (
                datetime.fromisoformat(timing[name].replace("Z", "+00:00"))
                for name in ("iopub.execute_input", "shell.execute_reply")
            )
            found[part] = found.get(part, 0) + (ended - begun).total_seconds()
    return {part: round(seconds, 1) for part, seconds in found.items()}


def main(argv=None, book=BOOK):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--framework", choices=FRAMEWORKS)
    parser.add_argument("--section", choices=book.sections)
    parser.add_argument("--again", action="store_true", help="also those with outputs")
    args = parser.parse_args(argv)
    if fast_mode():
        sys.exit("D2L_UTILS_FAST is set: stored outputs must come from full runs.")
    if load_fashion_mnist().is_sample:
        sys.exit(
            "Only the sample of Fashion-MNIST is here: stored outputs need "
            "the full data."
        )
    for section in [args.section] if args.section else book.sections:
        for framework in [args.framework] if args.framework else FRAMEWORKS:
            name = book.relative(book.edition_path(section, framework))
            nb = editions.edition(book, section, framework)
            if editions.is_executed(nb.cells) and not args.again:
                print(f"{name}: has outputs", flush=True)
                continue
            start = time.monotonic()
            try:
                execute(book, section, framework)
            except CellExecutionError as error:
                sys.exit(f"{name}: a cell failed\n{error}")
            print(f"{name}: done in {time.monotonic() - start:.0f} s", flush=True)
        editions.write(book, section)
    return 0


if __name__ == "__main__":
    sys.exit(main())
