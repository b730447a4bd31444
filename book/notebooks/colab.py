"""Notebooks that need no repository: `python -m book.notebooks.colab [--out DIR]`.

Each edition, without its outputs, with `d2l_utils` inside the set-up cell as a wheel
with its hash. They run by upload or mail in Colab, Kaggle and Jupyter. The wheel goes
without the sample of the data set, since these places have a network, and with those
records of the study alone that notebooks show. `--answers nbgrader` writes blank
exercises in nbgrader's format, see exercises.py: what is done in them there can be
graded.
"""

import argparse
import base64
import hashlib
import itertools
import json
import lzma
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from book.notebooks import editions
from book.notebooks.exercises import empty, for_nbgrader, has_exercises
from book.source import files
from book.source.book import BOOK, ROOT
from book.translate import catalogues
from d2l_utils import study
from d2l_utils.frameworks import FRAMEWORKS

GPU = "pytorch", "tensorflow", "jax"  # what runs on one in Colab
LIMIT = 1_000_000  # bytes of a notebook that Kaggle takes
BESIDE = "pyproject.toml", "LICENSE"  # of the package, for its wheel
BUILD = "import sys; from setuptools import build_meta as b; b.build_wheel(sys.argv[1])"
WEIGHTS = ROOT / "d2l_utils/sample/nin28_56.safetensors"
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


def keep_cited(results, sources):
    """Leave of the study's records in a folder only those that the sources show.

    All of them would soon fill the notebook.
    """
    cited = set(re.findall(r"study\(['\"](\w+)", sources))
    groups = json.loads((results / study.GROUPS.name).read_text(encoding="utf-8"))
    groups = {name: names for name, names in groups.items() if name in cited}
    files.write(results / study.GROUPS.name, json.dumps(groups))
    kept = set(itertools.chain(*groups.values()))
    for path in results.glob("*.seed*.json"):
        if path.name.split(".")[0] not in kept:
            path.unlink()


def make_wheel(folder):
    """Build the wheel into `folder`; the same code gives the same bytes."""
    with tempfile.TemporaryDirectory() as copy:
        for name in BESIDE:
            shutil.copy(ROOT / name, copy)
        # The whole one, in the wheel's metadata, would be a hundredth of a notebook.
        files.write(Path(copy, "README.md"), "What notebooks share.\n")
        left_out = shutil.ignore_patterns("*.gz", "__pycache__")
        shutil.copytree(ROOT / "d2l_utils", Path(copy, "d2l_utils"), ignore=left_out)
        sources = map(BOOK.source_path, BOOK.sections)
        text = "\n".join(path.read_text(encoding="utf-8") for path in sources)
        keep_cited(Path(copy, "d2l_utils", study.RESULTS.name), text)
        done = subprocess.run(
            [sys.executable, "-c", BUILD, str(folder)],
            cwd=copy,
            env={**os.environ, "SOURCE_DATE_EPOCH": "1577836800"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        )
    if done.returncode:
        raise RuntimeError(f"The wheel could not be built:\n{done.stdout}")
    wheel = next(Path(folder).glob("*.whl"))
    # Packed as a whole, it is a tenth smaller than with each file packed alone.
    with zipfile.ZipFile(wheel) as packed:
        contents = [(info, packed.read(info)) for info in packed.infolist()]
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_STORED) as loose:
        for info, content in contents:
            loose.writestr(info, content, zipfile.ZIP_STORED)
    return wheel


def compressed(whole, weights):
    """What lzma.decompress makes `whole` of: of streams one after the other.

    The stored network is one of its own, told that its numbers have four bytes: a tenth
    smaller. It is most of the wheel.
    """
    if weights not in whole:
        return lzma.compress(whole, preset=9)
    before, after = whole.split(weights, 1)
    numbers = {"id": lzma.FILTER_LZMA2, "preset": 9, "lc": 2, "lp": 2, "pb": 2}
    parts = (
        lzma.compress(before, preset=9),
        lzma.compress(weights, filters=[numbers]),
        lzma.compress(after, preset=9),
    )
    return b"".join(parts)


def packed_wheel(wheel):
    """{wheel, hash, name}: a wheel, by its path, as it stands in the set-up cell."""
    packed = compressed(wheel.read_bytes(), WEIGHTS.read_bytes())
    text = base64.b85encode(packed).decode()  # no quotes in it
    lines = [text[i : i + WIDTH] for i in range(0, len(text), WIDTH)]
    return {
        "wheel": "\n".join(lines),
        "hash": hashlib.sha256(packed).hexdigest(),
        "name": wheel.name,
    }


def newly_packed():
    with tempfile.TemporaryDirectory() as folder:
        return packed_wheel(make_wheel(folder))


def packed_package():
    """The package as `packed_wheel` gives it, from the last time if it is the same."""
    parts = [ROOT / name for name in BESIDE]
    parts += sorted(p for p in (ROOT / "d2l_utils").rglob("*") if p.is_file())
    parts = [p for p in parts if "__pycache__" not in p.parts]
    parts += map(BOOK.source_path, BOOK.sections)
    return files.kept(
        ROOT / "build" / "wheel.json", files.contents(parts), newly_packed
    )


def setup_source(packed, framework):
    """The set-up cell; packed: see `packed_wheel`."""
    install = editions.install_line("{path}", framework)
    return SETUP.format(**packed, install=install)


def self_contained(book, section, framework, packed, language="en", answers="yes"):
    """An edition, ready to be run, with the package inside.

    answers: "no" has room for the reader's in place of those of exercises, and
    "nbgrader" besides what this needs to grade them.
    """
    if answers == "nbgrader":
        nb = for_nbgrader(book, section, framework, language=language)
    else:
        nb = editions.edition(book, section, framework, language)
    if answers == "no":
        empty(nb.cells)
    for cell in nb.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    setup = next(c for c in nb.cells if "setup" in c.metadata.get("tags", ()))
    title = catalogues.strings(book, language)["setup"]
    setup.source = f"# @title {title}\n{setup_source(packed, framework)}"
    setup.metadata["jupyter"] = {"source_hidden": True}  # thousands of lines
    setup.metadata["cellView"] = "form"  # the same, in Colab: its title alone
    if framework in GPU:
        nb.metadata["accelerator"] = "GPU"
    return nb


def write(book, out, sections, frameworks, answers="yes"):
    """Write self-contained notebooks; returns their paths."""
    made, packed = [], packed_package()
    for section in sections:
        if answers == "nbgrader" and not has_exercises(book, section):
            continue
        begun = catalogues.begun(book)
        made_of = catalogues.made_of(book, section, frameworks, begun)
        made += files.built(
            book.root / "build" / "notebooks" / f"{section}.json",
            [str(out), frameworks, packed, answers, made_of],
            lambda s=section: write_section(book, out, s, frameworks, packed, answers),
        )
    return made


def write_section(book, out, section, frameworks, packed, answers):
    """Write those of one section that are not there as they should be; all paths."""
    made = []
    for language, framework in itertools.product(
        catalogues.languages(book, section), frameworks
    ):
        nb = self_contained(book, section, framework, packed, language, answers)
        path = book.edition_path(section, framework, language)
        path = Path(out, path.relative_to(book.notebooks))
        text = editions.dumps(nb)
        if not path.is_file() or path.read_bytes() != text.encode():
            files.write(path, text)
        made.append(path)
    return made


def main(argv=None, book=BOOK):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--section", choices=book.sections, help="this section only")
    parser.add_argument("--framework", choices=FRAMEWORKS, help="this one only")
    parser.add_argument("--out", default="build/colab", help="folder to write to")
    parser.add_argument("--answers", choices=("yes", "no", "nbgrader"), default="yes")
    args = parser.parse_args(argv)
    sections = (args.section,) if args.section else book.sections
    frameworks = (args.framework,) if args.framework else FRAMEWORKS
    for path in write(book, args.out, sections, frameworks, args.answers):
        size = path.stat().st_size
        note = " (over 1 MB: Kaggle does not take it)" * (size > LIMIT)
        print(f"{path}  {size / 1000:.0f} kB{note}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
