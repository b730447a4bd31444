"""From one source to five notebooks: `python -m book.notebooks.editions [--check]`.

notebooks/<section>.md is the source. From it come notebooks/<section>.ipynb,
with all four tabs, and notebooks/<framework>/<section>.ipynb, one framework
each. Stored outputs are carried over while an edition's code is unchanged, but for
comments and line breaks. From the catalogues of a language come
notebooks/<language>/<framework>/<section>.ipynb, with the outputs of the English
editions: outputs do not depend on the language. Reading a source is reading.py's task,
running the editions execute.py's, the book that of pages.py.
"""

import argparse
import ast
import hashlib
import json
import re
import sys

import jupytext
import nbformat
import tomllib
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from book.pages import launch
from book.source.reading import (
    FRAMEWORKS,
    ROOT,
    SourceError,
    edition_path,
    embed,
    extract,
    four_tab_path,
    in_full,
    markdown_for,
    read_notebook,
    read_source,
    relative,
    source_path,
)
from book.translate import catalogues
from d2l_utils import frameworks

TITLES = {f.name: f.title for f in frameworks.FRAMEWORKS.values()}
MODULES = {f.name: f.module for f in frameworks.FRAMEWORKS.values()}
# In book order.
SECTIONS = ("nin", "nin_exercises", "googlenet", "googlenet_exercises", "parity")

KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


# Where the textbook has a section: its page, and the discussion for a framework.
_NIN = "chapter_convolutional-modern/nin.html", {
    "pytorch": 80, "mxnet": 79, "tensorflow": 332, "jax": 18003
}  # fmt: skip
_GOOGLENET = "chapter_convolutional-modern/googlenet.html", {
    "pytorch": 82, "mxnet": 81, "tensorflow": 316, "jax": 18004
}  # fmt: skip
TEXTBOOK = {
    "nin": _NIN, "nin_exercises": _NIN,
    "googlenet": _GOOGLENET, "googlenet_exercises": _GOOGLENET,
}  # fmt: skip


# Writing notebooks --------------------------------------------------------------


def repository():
    """The repository that notebooks install from, or ''; see pyproject.toml."""
    with open(ROOT / "pyproject.toml", "rb") as file:
        return tomllib.load(file)["tool"]["d2l_utils"]["repository"]


def github():
    """'owner/name' of the repository on GitHub, for pages; None while there is none."""
    return launch.on_github(repository() or launch.git_remote(ROOT))


def set_github():
    """The same for what is committed: it may not depend on a clone's remote."""
    return launch.on_github(repository())


def setup_source(framework):
    """The first code cell of an edition: nothing to do where d2l_utils is there."""
    lines = [
        "import importlib.util",
        "",
        "if importlib.util.find_spec('d2l_utils') is None:",
    ]
    if repository():
        extra = MODULES[framework]
        target = f"d2l-utils[{extra}] @ git+{repository()}"
        lines.append(f'    %pip install -q "{target}"')
    else:
        lines += [
            "    raise ModuleNotFoundError(",
            "        'd2l_utils is not installed: run `pip install .` in the '",
            "        'folder of this project, then restart the kernel')",
        ]
    return "\n".join(lines)


def number(cells):
    """Give cells their ids: content hash plus ordinal among equals."""
    seen = {}
    for cell in cells:
        digest = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode())
        key = digest.hexdigest()[:12]
        seen[key] = seen.get(key, -1) + 1
        cell.id = f"{key}-{seen[key]}"
    return cells


def new_cell(kind, source, tags=()):
    make = new_code_cell if kind == "code" else new_markdown_cell
    return make(source, metadata={"tags": list(tags)} if tags else {})


def aligned_edition(section, framework, language="en"):
    """[(index of the source cell, or None for a generated one, edition cell)]."""
    pairs = []
    cells = catalogues.translate(read_source(section), section, language)
    for i, cell in enumerate(cells):
        if "slide" in cell.tags:
            continue  # for slides.py
        if cell.kind == "markdown":
            text = markdown_for(cell.source, framework, section)
            if text:
                pairs.append((i, new_cell("markdown", embed(text), cell.tags)))
        elif framework in cell.tabs:
            pairs.append((i, new_cell("code", cell.source, cell.tags)))
    setup = new_cell("code", setup_source(framework), ("setup",))
    pairs.insert(1, (None, setup))
    path = relative(edition_path(section, framework, language))
    badges = launch.badges(set_github(), framework, path)
    if badges:
        pairs.insert(1, (None, new_cell("markdown", badges, ("badges",))))
    return pairs


def title_of(section):
    """The first heading of a source, without its marks."""
    heading = re.search(r"^# +(.+)$", source_path(section).read_text("utf-8"), re.M)
    return re.sub(r"[`*$\\]", "", heading[1]).strip()


def code_of(nb):
    return [c.source for c in nb.cells if c.cell_type == "code"]


def syntax_of(source):
    """A cell's syntax tree as text, without comments; as it is if not plain Python."""
    try:
        return ast.dump(ast.parse(source))
    except SyntaxError:  # a line magic
        return source


def carry_outputs(nb, path):
    """Copy outputs from the notebook at `path` if its code is the same."""
    if not path.exists():
        return
    old = nbformat.read(path, as_version=4)
    if list(map(syntax_of, code_of(old))) == list(map(syntax_of, code_of(nb))):
        copy_outputs(nb, old)


def copy_outputs(nb, other):
    """Copy outputs from a notebook with the same code, cell by cell."""
    ran = [c for c in other.cells if c.cell_type == "code"]
    cells = [c for c in nb.cells if c.cell_type == "code"]
    for cell, source in zip(cells, ran, strict=True):
        cell.outputs = source.outputs
        cell.execution_count = source.execution_count


def edition(section, framework, language="en"):
    """One framework's notebook, with the stored outputs if they still hold."""
    cells = [cell for _, cell in aligned_edition(section, framework, language)]
    metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    nb = new_notebook(cells=number(cells), metadata=metadata)
    nb.nbformat_minor = 5
    if language == "en":
        carry_outputs(nb, edition_path(section, framework))
    else:
        copy_outputs(nb, edition(section, framework))
    return nb


def languages_of(section):
    """The languages of a section's editions."""
    return ("en", *catalogues.languages([section]))


def edition_cells(section, framework):
    """{index of source cell: stored edition cell}, for pages and the four tabs."""
    nb = edition(section, framework)
    return {
        i: cell
        for (i, _), cell in zip(aligned_edition(section, framework), nb.cells)
        if i is not None
    }


def is_executed(nb):
    return all(c.execution_count for c in nb.cells if c.cell_type == "code")


def four_tab(section, only=None):
    """The notebook with all tabs; with `only`, that tab's outputs alone.

    A cell of several tabs shows the outputs of each under its name.
    """
    source = read_notebook(source_path(section))
    editions = {f: edition_cells(section, f) for f in FRAMEWORKS}
    cells = []
    for i, parsed in enumerate(read_source(section)):
        if parsed.kind == "markdown":
            cells.append(new_cell("markdown", embed(parsed.source), parsed.tags))
            continue
        cell = new_cell("code", parsed.head + parsed.source, parsed.tags)
        if parsed.include:
            line, mark = parsed.include
            cell.metadata["include"] = {"line": line, "digest": mark}
        for framework in parsed.tabs:
            ran = editions[framework][i]
            if not ran.execution_count or only not in (None, framework):
                continue
            if only is None and len(parsed.tabs) > 1 and ran.outputs:
                cell.outputs.append(label(framework))
            cell.outputs.extend(ran.outputs)
        cells.append(cell)
    for count, cell in enumerate((c for c in cells if c.cell_type == "code"), 1):
        cell.execution_count = count
    nb = new_notebook(cells=number(cells), metadata=dict(source.metadata))
    nb.metadata["language_info"] = {"name": "python"}
    nb.metadata["d2l"] = {"source": digest(source)}
    nb.nbformat_minor = 5
    return nb


def label(framework):
    text = f"{TITLES[framework]}:"
    data = {"text/plain": text, "text/markdown": f"**{text}**"}
    return new_output("display_data", data=data)


# Edits made in Jupyter ----------------------------------------------------------


def digest(nb):
    """Hash of what an author can edit: kinds, texts and tags of the cells."""
    cells = [
        (c.cell_type, extract(c.source), list(c.metadata.get("tags", [])))
        for c in nb.cells
    ]
    return hashlib.sha256(json.dumps(cells).encode()).hexdigest()


def take_back(section):
    """Take an edit saved in the four-tab notebook back into the source.

    Where Jupytext has written the source already, it is put in its short form.
    Raises SourceError if both were edited since the last `make notebooks`.
    """
    path, source = four_tab_path(section), source_path(section)
    if not path.exists():
        return False
    nb, md = read_notebook(path), read_notebook(source)
    generated = nb.metadata.get("d2l", {}).get("source")
    edited, current = digest(nb), digest(md)
    if edited == current:
        if not in_full(source):
            return False
    elif edited == generated:
        return False
    elif current != generated:
        raise SourceError(
            f"Both {relative(source)} and {relative(path)} were edited since the "
            "notebooks were made. Keep one: undo the edit of the other, for example "
            f"with `git checkout {relative(path)}`, then run `make notebooks` again."
        )
    for cell in nb.cells:
        cell.source = extract(cell.source)
    nb.metadata = md.metadata
    body = jupytext.writes(nb, fmt="md:myst").split("---\n", 2)[2]
    header = source.read_text(encoding="utf-8").split("---\n", 2)[1]
    source.write_text(f"---\n{header}---\n{body}", encoding="utf-8")
    return True


# The command --------------------------------------------------------------------


def dumps(nb):
    return nbformat.writes(nb, indent=1).rstrip("\n") + "\n"


def products(section):
    """{path: text} of all notebooks of a section, editions first."""
    made = {
        edition_path(section, f, language): dumps(edition(section, f, language))
        for language in languages_of(section)
        for f in FRAMEWORKS
    }
    return made | {four_tab_path(section): dumps(four_tab(section))}


def stale(section):
    """Paths of generated notebooks that differ from what the source gives."""
    return [
        path
        for path, text in products(section).items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]


def write(section):
    """Write what is stale; returns the paths written."""
    written = stale(section)
    made = products(section)
    for path in written:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(made[path], encoding="utf-8")
    return written


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="change nothing")
    args = parser.parse_args(argv)
    failed = False
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    table = launch.with_table(text, sys.modules[__name__], set_github())
    if table != text and args.check:
        print("README.md is stale: run `make notebooks`")
        failed = True
    elif table != text:
        readme.write_text(table, encoding="utf-8")
        print("README.md written")
    failed |= catalogues.update(SECTIONS, args.check) and args.check
    for section in SECTIONS:
        try:
            if args.check:
                paths, verb = stale(section), "is stale: run `make notebooks`"
                failed |= bool(paths)
            else:
                if take_back(section):
                    print(f"took the edit back into {relative(source_path(section))}")
                paths, verb = write(section), "written"
            for path in paths:
                print(f"{relative(path)} {verb}")
            for framework in FRAMEWORKS:
                if not is_executed(edition(section, framework)):
                    print(
                        f"{relative(edition_path(section, framework))} has no "
                        "outputs: run `make execute`"
                    )
                    failed |= args.check
        except SourceError as error:
            sys.exit(str(error))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
