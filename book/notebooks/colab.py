"""Notebooks that need no repository: `python -m book.notebooks.colab [--out DIR]`.

Each edition, without its outputs, with `d2l_utils` inside the set-up cell as a wheel
with its hash. They run by upload or mail in Colab, Kaggle and Jupyter. The wheel goes
without the sample of the data set: these places have a network.
"""

import argparse
import base64
import hashlib
import itertools
import lzma
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from book.notebooks import editions
from book.source import files
from book.source.book import BOOK, ROOT
from book.translate import catalogues
from d2l_utils.frameworks import FRAMEWORKS

LIMIT = 1_000_000  # bytes of a notebook that Kaggle takes
WIDTH = 1000  # of the lines that hold the wheel: each costs ten bytes more
SETUP = """\
import importlib.util

if importlib.util.find_spec('d2l_utils') is None:
    import base64
    import hashlib
    import lzma
    import tempfile
    from pathlib import Path

    packed = base64.b85decode('''
{wheel}
'''.replace('\\n', ''))
    if hashlib.sha256(packed).hexdigest() != (
            '{hash}'):
        raise ValueError('this cell was changed: get the notebook anew')
    path = Path(tempfile.mkdtemp(), '{name}')
    path.write_bytes(lzma.decompress(packed))
    {install}"""


def make_wheel(folder):
    """Build the wheel into `folder`; the same code gives the same bytes."""
    with tempfile.TemporaryDirectory() as copy:
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, copy)
        left_out = shutil.ignore_patterns("*.gz", "__pycache__")
        shutil.copytree(ROOT / "d2l_utils", Path(copy, "d2l_utils"), ignore=left_out)
        command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps"]
        subprocess.run(
            [*command, "--no-build-isolation", "-w", str(folder), copy],
            env={**os.environ, "SOURCE_DATE_EPOCH": "1577836800"},
            check=True,
        )
    wheel = next(Path(folder).glob("*.whl"))
    # Packed as a whole, it is a tenth smaller than with each file packed alone.
    with zipfile.ZipFile(wheel) as packed:
        contents = [(info, packed.read(info)) for info in packed.infolist()]
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_STORED) as loose:
        for info, content in contents:
            loose.writestr(info, content, zipfile.ZIP_STORED)
    return wheel


def setup_source(wheel, framework):
    """The set-up cell; wheel: its path."""
    packed = lzma.compress(wheel.read_bytes(), preset=9)
    text = base64.b85encode(packed).decode()  # no quotes in it
    lines = [text[i : i + WIDTH] for i in range(0, len(text), WIDTH)]
    return SETUP.format(
        wheel="\n".join(lines),
        hash=hashlib.sha256(packed).hexdigest(),
        name=wheel.name,
        install=editions.install_line("{path}", framework),
    )


def self_contained(book, section, framework, wheel, language="en"):
    """An edition, ready to be run, with the package inside."""
    nb = editions.edition(book, section, framework, language)
    for cell in nb.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    setup = next(c for c in nb.cells if "setup" in c.metadata.get("tags", ()))
    setup.source = setup_source(wheel, framework)
    setup.metadata["jupyter"] = {"source_hidden": True}  # thousands of lines
    setup.metadata["cellView"] = "form"  # the same, in Colab
    return nb


def write(book, out, sections, frameworks):
    """Write self-contained notebooks; returns their paths."""
    made = []
    with tempfile.TemporaryDirectory() as folder:
        wheel = make_wheel(folder)
        for section in sections:
            for language, framework in itertools.product(
                catalogues.languages(book, section), frameworks
            ):
                nb = self_contained(book, section, framework, wheel, language)
                path = book.edition_path(section, framework, language)
                path = Path(out, path.relative_to(book.notebooks))
                files.write(path, editions.dumps(nb))
                made.append(path)
    return made


def main(argv=None, book=BOOK):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--section", choices=book.sections, help="this section only")
    parser.add_argument("--framework", choices=FRAMEWORKS, help="this one only")
    parser.add_argument("--out", default="build/colab", help="folder to write to")
    args = parser.parse_args(argv)
    sections = (args.section,) if args.section else book.sections
    frameworks = (args.framework,) if args.framework else FRAMEWORKS
    for path in write(book, args.out, sections, frameworks):
        size = path.stat().st_size
        note = " (over 1 MB: Kaggle does not take it)" * (size > LIMIT)
        print(f"{path}  {size / 1000:.0f} kB{note}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
