"""Notebooks that need no repository: `python -m book.notebooks.colab [--out DIR]`.

Each edition, without its outputs, with `d2l_utils` inside the set-up cell as a wheel
with its hash. They run by upload or mail in Colab, Kaggle and Jupyter. The wheel holds
the folder of one framework. It leaves out the sample of the data set, since these
places have a network; of the study's records and the stored networks, it holds only
those that its section shows.
`--answers nbgrader` writes blank exercises in nbgrader's format, see exercises.py: what
is done in them there can be graded.
"""

import argparse
import base64
import functools
import hashlib
import itertools
import json
import lzma
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
from book.source.reading import read_source
from book.translate import catalogues
from d2l_utils import base, study, weights
from d2l_utils.frameworks import FRAMEWORKS

LIMIT = 1_000_000  # bytes of a notebook that Kaggle takes
BESIDE = "pyproject.toml", "LICENSE"  # beside the package; its wheel needs them
PACKAGE = "d2l_utils"
BUILD = "from setuptools import build_meta as b; b.build_wheel('dist')"
# What is long in a record of the study, and left out where no cell names it.
LONG = ("calibration", "classes", "predicted", "seconds")
# What stands in place of the other frameworks' folders.
MISSING = b"""\
from d2l_utils.base import about_part

raise ImportError(f"{__name__} is not here.{about_part()}")
"""
WIDTH = 1000  # of the lines that hold the wheel: each costs ten bytes more
SETUP = """\
import importlib.util
from pathlib import Path

there = getattr(importlib.util.find_spec('d2l_utils'), 'origin', None)
part = there and Path(there).with_name('{part}')  # of another notebook
lacks = part and part.exists() and not (
    set({needed}) <= set(part.read_text().split()))
if lacks or not there:
    import base64
    import hashlib
    import lzma
    import tempfile

    packed = base64.b85decode('''
{wheel}
'''.replace('\\n', ''))
    if hashlib.sha256(packed).hexdigest() != (
            '{hash}'):
        raise ValueError('this cell was changed: download the notebook again')
    path = Path(tempfile.mkdtemp(), '{name}')
    path.write_bytes(lzma.decompress(packed))
    what = f'--force-reinstall --no-deps {{path}}' if lacks else path
    {install}"""


def needs(book, section):
    """What a section uses of the package's data: names of the study, of stored files.

    They are written out in its cells, or in those that it includes, as in
    `d2l.study("scale")`, `d2l.stored_path("nin28_56.seed1")`,
    `STORED / "nin28_curves.json"`. Where the names of some networks of a group are,
    too, only those are needed; of their records, what is LONG if a cell has it as
    `.classes(` or `"seconds"`.
    """
    text = "\n".join(cell.source for cell in read_source(book, section))
    names, groups = re.findall(r"\bstudy\(\s*['\"](\w+)", text), study.groups()
    networks = itertools.chain(*(groups.get(name, ()) for name in names))
    said = re.sub(r"stored_path\([^)]*\)", "", text)  # whose names are of files
    names += [x for x in networks if re.search(rf"['\"]{x}['\"]", said)]
    for path in (*weights.networks(), *weights.STORED.glob("*.json")):
        stem, name = re.escape(path.stem), re.escape(path.name)
        use = rf"stored_path\(\s*['\"]{stem}['\"]|['\"]{name}['\"]"
        names += [path.name] if re.search(use, text) else []
    names += [k for k in LONG if re.search(rf"\.{k}\(|['\"]{k}['\"]", text)]
    return sorted(set(names))


@functools.cache  # the wheels of all sections are made of it
def whole_wheel():
    """(name, {name in it: content}) of the package's wheel with all of its data."""
    with tempfile.TemporaryDirectory() as copy:
        for name in BESIDE:
            shutil.copy(ROOT / name, copy)
        # The wheel's metadata holds it; the whole one would be 1% of a notebook.
        files.write(Path(copy, "README.md"), "What notebooks share.\n")
        left_out = shutil.ignore_patterns("*.gz", "__pycache__")
        shutil.copytree(ROOT / PACKAGE, Path(copy, PACKAGE), ignore=left_out)
        done = subprocess.run(
            [sys.executable, "-c", BUILD],
            cwd=copy,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        )
        if done.returncode:
            raise RuntimeError(f"The wheel could not be built:\n{done.stdout}")
        path = next(Path(copy, "dist").glob("*.whl"))
        with zipfile.ZipFile(path) as wheel:
            return path.name, {name: wheel.read(name) for name in wheel.namelist()}


def carried(whole, needed):
    """Of {name: content} of the whole wheel, what a notebook gets that needs this.

    needed: a section's `needs`, and the folder of a framework. All of the package would
    make the notebook too large. The file `base.PART` lists what is in the wheel.
    """
    results, sample = (f"{PACKAGE}/{p.name}" for p in (study.RESULTS, weights.STORED))
    groups = json.loads(whole[f"{results}/{study.GROUPS.name}"])
    alone = {name: [name] for name in itertools.chain(*groups.values())}
    groups = {name: x for name, x in (alone | groups).items() if name in needed}
    networks = {n for x in groups.values() for n in ({*x} & {*needed} or x)}
    others = {f"{PACKAGE}/{f.module}" for f in FRAMEWORKS.values()}
    others -= {f"{PACKAGE}/{name}" for name in needed}
    kept = {}
    for name, content in whole.items():
        folder, _, file = name.rpartition("/")
        if folder in others:
            if file != "__init__.py":
                continue
            content = MISSING
        if folder == results and file.endswith(".json"):
            if file.split(".")[0] not in networks:
                continue  # that goes for the list of all groups, too
            content = shortened(content, needed)
        elif folder in (results, sample) and file not in (*needed, "LICENSE"):
            continue
        kept[name] = content
    kept[f"{results}/{study.GROUPS.name}"] = json.dumps(groups).encode()
    kept[f"{PACKAGE}/{base.PART.name}"] = "\n".join(needed).encode()
    record = next(name for name in kept if name.endswith(".dist-info/RECORD"))
    del kept[record]  # it holds the hashes of all others
    return kept | {record: recorded(kept, record)}


def shortened(record, needed):
    """A record of the study without what is long and not needed."""
    left_out = {*LONG} - {*needed}

    def part(found):
        return {k: x for k, x in found.items() if k not in left_out}

    record = json.loads(record)
    parts = {k: part(x) if isinstance(x, dict) else x for k, x in record.items()}
    return json.dumps(parts).encode()


def recorded(contents, record):
    """The file RECORD, whose name is `record`, of a wheel with these contents."""
    lines = []
    for name, content in contents.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode()
        lines.append(f"{name},sha256={digest.rstrip('=')},{len(content)}\n")
    return "".join([*lines, f"{record},,\n"]).encode()


def make_wheel(folder, needed):
    """Write the wheel that is `carried` where this is needed; the same code, the same
    bytes.

    Its files are not compressed: compressed as a whole, in the notebook, it is a tenth
    smaller. A stored network comes first: all else can then be compressed together.
    """
    name, whole = whole_wheel()
    path = Path(folder, name)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as wheel:
        kept = carried(whole, needed)
        for name in sorted(kept, key=lambda n: not n.endswith(".safetensors")):
            info = zipfile.ZipInfo(name)  # dated 1980, whenever it is written
            info.external_attr = 0o644 << 16
            wheel.writestr(info, kept[name])
    return path


def compressed(whole, network):
    """`whole` in LZMA streams, one after the other, for lzma.decompress.

    network: bytes in it, or none. A stored network, most of a wheel that has one, is a
    stream of its own, with the settings for numbers of four bytes: a tenth smaller.
    """
    if not network:
        return lzma.compress(whole, preset=9)
    before, after = whole.split(network, 1)
    numbers = {"id": lzma.FILTER_LZMA2, "preset": 9, "lc": 2, "lp": 2, "pb": 2}
    parts = (
        lzma.compress(before, preset=9),
        lzma.compress(network, filters=[numbers]),
        lzma.compress(after, preset=9),
    )
    return b"".join(parts)


def packed_wheel(wheel, needed):
    """{wheel, hash, name, needed}: the fields of SETUP for the wheel at a path.

    needed: what it holds of the package's data, see `needs`.
    """
    networks = (p.read_bytes() for p in weights.networks() if p.name in needed)
    packed = compressed(wheel.read_bytes(), next(networks, b""))
    text = base64.b85encode(packed).decode()  # no quotes in it
    lines = [text[i : i + WIDTH] for i in range(0, len(text), WIDTH)]
    return {
        "wheel": "\n".join(lines),
        "hash": hashlib.sha256(packed).hexdigest(),
        "name": wheel.name,
        "needed": needed,
    }


@functools.cache  # some sections need the same
def newly_packed(*needed):
    with tempfile.TemporaryDirectory() as folder:
        return packed_wheel(make_wheel(folder, needed), list(needed))


def package():
    """All that wheels are made of, for `files.kept`."""
    parts = [ROOT / name for name in BESIDE]
    parts += sorted((ROOT / PACKAGE).rglob("*"))
    return files.contents(p for p in parts if "__pycache__" not in p.parts)


def packed_package(book, section, framework):
    """An edition's wheel by `packed_wheel`; that of the last run if nothing changed."""
    needed = [*needs(book, section), FRAMEWORKS[framework].module]
    return files.kept(
        book.root / "build" / "wheels" / framework / f"{section}.json",
        [package(), needed],
        lambda: newly_packed(*needed),
    )


def setup_source(packed, framework):
    """The set-up cell; packed: see `packed_wheel`."""
    install = editions.install_line("{what}", framework)
    return SETUP.format(**packed, part=base.PART.name, install=install)


def self_contained(book, section, framework, packed, language="en", answers="yes"):
    """An edition, ready to be run, with the package inside.

    answers: "no" blanks the answers to exercises, and "nbgrader" also adds what
    nbgrader needs to grade the reader's.
    """
    if answers == "nbgrader":
        nb = for_nbgrader(book, section, framework, language=language)
    else:
        nb = editions.edition(book, section, framework, language)
    if answers == "no":
        empty(nb.cells, catalogues.strings(book, language))
    for cell in nb.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    setup = next(filter(editions.is_setup, nb.cells))
    title = editions.setup_title(book, language)
    setup.source = f"{title}\n{setup_source(packed, framework)}"
    setup.metadata["jupyter"] = {"source_hidden": True}  # thousands of lines
    return nb


def write(book, out, sections, frameworks, answers="yes"):
    """Write self-contained notebooks; returns their paths."""
    made, inside = [], package()
    for section in sections:
        if answers == "nbgrader" and not has_exercises(book, section):
            continue
        begun = catalogues.begun(book)
        made_of = catalogues.made_of(book, section, frameworks, begun)
        made += files.built(
            book.root / "build" / "notebooks" / f"{section}.json",
            [str(out), frameworks, inside, answers, made_of],
            lambda s=section: write_section(book, out, s, frameworks, answers),
        )
    return made


def write_section(book, out, section, frameworks, answers):
    """Write the notebooks of a section that are missing or stale; all their paths."""
    made = []
    packed = {f: packed_package(book, section, f) for f in frameworks}
    for language, framework in itertools.product(
        catalogues.languages(book, section), frameworks
    ):
        wheel = packed[framework]
        nb = self_contained(book, section, framework, wheel, language, answers)
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
