"""From one source to five notebooks: `python -m book.notebooks.editions [--check]`.

notebooks/<section>.md is the source. From it come notebooks/<section>.ipynb, with all
four tabs, and notebooks/<framework>/<section>.ipynb, one framework each. An edition
keeps its stored outputs as long as its code stays the same; comments and line breaks
may change. From the catalogues of a language come
notebooks/<language>/<framework>/<section>.ipynb, with the outputs of the English
editions, since outputs do not depend on the language. Sources are read by reading.py,
editions run by execute.py, pages made by pages.py.
"""

import argparse
import ast
import difflib
import hashlib
import json
import sys

import nbformat
from nbformat.v4 import new_notebook, new_output

from book.pages import launch
from book.source import files, readme
from book.source.book import BOOK, SourceError
from book.source.reading import (
    IMAGE,
    as_source,
    author_metadata,
    embed,
    in_full,
    jupytext,
    new_cell,
    open_notebook,
    parse,
    read_notebook,
    read_source,
    title_of,
)
from book.source.tabs import SLIDE, in_notebook, text_for
from book.translate import catalogues
from d2l_utils import tab
from d2l_utils.frameworks import FRAMEWORKS

KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
PYTHON = {"file_extension": ".py", "name": "python"}  # so `--to script` makes a .py
GPU = "pytorch", "tensorflow", "jax"  # frameworks that run on a GPU in Colab
GRADE = "grade"  # tag of a check that is in no edition, see exercises.py
PROGRAMS = {  # metadata of a notebook that Jupyter, Colab and the like write
    "accelerator", "celltoolbar", "colab", "d2l", "jupytext", "kernelspec",
    "language_info", "toc", "vscode", "widgets",
}  # fmt: skip
NOT_TAKEN = """\
{name} was edited, and nothing was written: the edit, written as a source, would not
read back the same. Text cannot hold lines +++ or ```{{code-cell}} of its own (within
four backticks, ````, it can), pasted pictures are files in notebooks/img, shown by
![what](img/NAME).
{shown}"""


# Writing notebooks --------------------------------------------------------------


def setup_title(book, language):
    """The first line of a set-up cell, which Colab shows in place of its code."""
    return f"# @title {catalogues.strings(book, language)['setup']}"


def setup_source(book, framework, language="en"):
    """The first code cell of an edition: nothing to do where d2l_utils is there."""
    lines = [
        setup_title(book, language),
        "import importlib.util",
        "",
        "if importlib.util.find_spec('d2l_utils') is None:",
    ]
    if book.repository():
        target = f'"d2l-utils @ git+{book.repository()}"'
        lines.append(f"    {install_line(target, framework)}")
    else:
        lines += [
            "    raise ModuleNotFoundError(",
            "        'd2l_utils is not installed: run `pip install .` in the '",
            "        'folder of this project, then restart the kernel')",
        ]
    return "\n".join(lines)


def key(cell):
    """The beginning of a generated cell's id; an edited cell keeps its former id."""
    digest = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode())
    return digest.hexdigest()[:12]


def install_line(target, framework):
    """Lines of a set-up cell, indented by four: install `target`, and those of the
    framework's packages that are missing (Colab has all but MXNet)."""
    packages = {"mxnet": ("mxnet",), "jax": ("jax", "flax", "optax")}
    packages = packages.get(framework, (FRAMEWORKS[framework].package,))
    # MXNet's own requirements would bring an old NumPy.
    wanted = "--no-deps mxnet==1.9.1" if framework == "mxnet" else "{name}"
    return (
        f"%pip install -q {target}\n"
        f"    for name in {packages}:\n"
        "        if importlib.util.find_spec(name) is None:\n"
        f"            %pip install -q {wanted}"
    )


def number(cells):
    """Give cells their ids: content hash plus ordinal among equals."""
    seen = {}
    for cell in cells:
        digest = key(cell)
        seen[digest] = seen.get(digest, -1) + 1
        cell.id = f"{digest}-{seen[digest]}"
    return cells


def tagged(kind, source, tags=(), metadata=()):
    """A cell with its tags, if it has any, and other metadata."""
    tags = {"tags": list(tags)} if tags else {}
    return new_cell(kind, source, **tags, **dict(metadata))


def made_cells(book, section, framework, language, checks=False):
    """[(index of the source cell, or None for a generated one, edition cell)].

    checks: with those that only exercises have, see exercises.py.
    """
    pairs = []
    cells = catalogues.translate(book, read_source(book, section), section, language)
    for i, cell in enumerate(cells):
        if SLIDE in cell.tags:
            continue  # for slides.py
        if GRADE in cell.tags and not checks:
            continue
        if cell.kind == "markdown":
            text = text_for(framework, cell.source, cell.place)
            if text:
                text = embed(book, text)
                made = tagged("markdown", text, cell.tags, cell.metadata)
                pairs.append((i, made))
        elif framework in cell.tabs:
            made = tagged("code", cell.source, cell.tags, cell.metadata)
            pairs.append((i, made))
    source, form = setup_source(book, framework, language), {"cellView": "form"}
    pairs.insert(1, (None, tagged("code", source, ("setup",), form)))
    path = book.relative(book.edition_path(section, framework, language))
    badges = launch.badges(book.set_github(), framework, path)
    if badges:
        pairs.insert(1, (None, tagged("markdown", badges, ("badges",))))
    number(cell for _, cell in pairs)
    return pairs


def code_of(cells):
    return [c for c in cells if c.cell_type == "code"]


def syntax_of(source):
    """A cell's syntax tree as text, without comments; as it is if not plain Python."""
    try:
        return ast.dump(ast.parse(source))
    except SyntaxError:  # a line magic
        return source


def is_setup(cell):
    return "setup" in cell.metadata.get("tags", ())


def stored_outputs(path, code):
    """The code cells of the notebook at `path` if it is the same code, else None.

    How a set-up cell installs d2l_utils changes no output.
    """
    if not path.exists():
        return None
    old = code_of(open_notebook(path).cells)
    same = len(old) == len(code) and all(
        (is_setup(a) and is_setup(b))
        or a.source == b.source
        or syntax_of(a.source) == syntax_of(b.source)
        for a, b in zip(old, code)
    )
    return old if same else None


def aligned_edition(book, section, framework, language="en"):
    """The cells of an edition with the stored outputs, if these still hold.

    Returns [(index of the source cell, or None for a generated one, cell)].
    """
    pairs = made_cells(book, section, framework, language)
    code = code_of(cell for _, cell in pairs)
    if language == "en":
        ran = stored_outputs(book.edition_path(section, framework), code)
    else:
        ran = code_of(edition(book, section, framework).cells)
    for cell, source in zip(code, ran, strict=True) if ran else ():
        cell.outputs = source.outputs
        cell.execution_count = source.execution_count
    return pairs


def edition(book, section, framework, language="en", checks=False):
    """One framework's notebook, with the stored outputs if they still hold.

    checks: with those that only exercises have, and without outputs.
    """
    if checks:
        pairs = made_cells(book, section, framework, language, checks)
    else:
        pairs = aligned_edition(book, section, framework, language)
    metadata = {"kernelspec": KERNEL, "language_info": PYTHON}
    metadata |= {"accelerator": "GPU"} if framework in GPU else {}
    nb = new_notebook(cells=[cell for _, cell in pairs], metadata=metadata)
    nb.nbformat_minor = 5
    path = book.edition_path(section, framework)
    if not checks and is_executed(nb.cells) and path.exists():
        ran = open_notebook(path).metadata.get("d2l")  # how long its parts took
        nb.metadata.update({"d2l": ran} if ran else {})
    return nb


def edition_cells(book, section, framework):
    """{index of source cell: stored edition cell}, for pages and the four tabs."""
    pairs = aligned_edition(book, section, framework)
    return {i: cell for i, cell in pairs if i is not None}


def is_executed(cells):
    """Whether every code cell was run."""
    return all(c.execution_count for c in code_of(cells))


def four_tab(book, section, only=None):
    """The notebook with all tabs; with `only`, that tab's outputs alone.

    A cell of several tabs shows the outputs of each under its name. Slides and the
    fences of passages are hidden.
    """
    source = read_notebook(book, book.source_path(section))
    editions = {f: edition_cells(book, section, f) for f in FRAMEWORKS}
    cells = []
    for i, parsed in enumerate(read_source(book, section)):
        if parsed.kind == "markdown":
            text = in_notebook(embed(book, parsed.source), parsed.tags)
            cells.append(tagged("markdown", text, parsed.tags, parsed.metadata))
            continue
        code = parsed.head + parsed.source
        cell = tagged("code", code, parsed.tags, parsed.metadata)
        if parsed.include:
            line, mark = parsed.include
            cell.metadata["include"] = {"line": line, "digest": mark}
        if only and parsed.tabs and only not in parsed.tabs:
            said = tab.not_run(parsed.tabs)
            cell.outputs.append(new_output("stream", text=f"{said}\n"))
        for framework in parsed.tabs:
            ran = editions[framework].get(i, cell)
            if not ran.execution_count or only not in (None, framework):
                continue
            if only is None and len(parsed.tabs) > 1 and ran.outputs:
                cell.outputs.append(label(framework))
            cell.outputs.extend(ran.outputs)
        cells.append(cell)
    for count, cell in enumerate(code_of(cells), 1):
        cell.execution_count = count
    nb = new_notebook(cells=number(cells), metadata=dict(source.metadata))
    nb.metadata["language_info"] = PYTHON
    nb.metadata["d2l"] = {"source": digest(book, source)}
    nb.nbformat_minor = 5
    return nb


def label(framework):
    text = f"{FRAMEWORKS[framework].title}:"
    data = {"text/plain": text, "text/markdown": f"**{text}**"}
    return new_output("display_data", data=data)


# Edits made in Jupyter ----------------------------------------------------------


def edited_parts(book, nb):
    """[[kind, text, tags, what else there is, ...], ...]: all that an author edits.

    At the end, the notebook's own metadata, without what programs write by themselves.
    """
    cells = []
    for c in nb.cells:
        metadata = author_metadata(c)
        text = c.source if c.cell_type == "code" else as_source(book, c)
        parts = [c.cell_type, text.rstrip().lstrip("\n")]
        parts.append(list(metadata.pop("tags", [])))
        pasted = {"attachments": c.attachments} if c.get("attachments") else {}
        if parts[1] or pasted:
            cells.append([*parts, *filter(None, (metadata, pasted))])
    more = {k: v for k, v in nb.metadata.items() if k not in PROGRAMS}
    return [*cells, more] if more else cells


def digest(book, nb):
    """Hash of what an author can edit."""
    return hashlib.sha256(json.dumps(edited_parts(book, nb)).encode()).hexdigest()


def take_back(book, section):
    """Take an edit saved in the four-tab notebook back into the source.

    Jupytext may have written the source already, with drawings and included cells in
    full: then it is shortened. Returns whether anything was written. Raises SourceError
    if both were edited since the last `make notebooks`, or for what a source cannot
    hold; then nothing is written.
    """
    path, source = book.four_tab_path(section), book.source_path(section)
    if not path.exists():
        return False
    nb, md = read_notebook(book, path), read_notebook(book, source)
    drawings = {m[1]: m[2] for c in md.cells for m in IMAGE.finditer(c.source)}
    for cell in nb.cells:
        if cell.cell_type == "code":
            continue
        as_made = cell.get("id", "").startswith(key(cell))
        cell.source = as_source(book, cell, drawings if as_made else ())
    generated = nb.metadata.get("d2l", {}).get("source")
    edited, current = digest(book, nb), digest(book, md)
    if edited == current:
        if not in_full(book, source):
            return False
    elif edited == generated:
        return False
    elif current != generated:
        name = book.relative(path)
        raise SourceError(
            f"Both {book.relative(source)} and {name} were edited since the notebooks "
            "were made. Keep one: undo the edit of the other, for example with "
            f"`git checkout {name}`, then run `make notebooks` again."
        )
    files.write(source, source_text(book, section, nb, md))
    return True


def source_text(book, section, nb, md):
    """The text of the source for a notebook; md: the present one, whose head it keeps.

    Raises SourceError where reading it would not give the same notebook again.
    """
    path, source = book.four_tab_path(section), book.source_path(section)
    saved, name = edited_parts(book, nb), book.relative(path)
    made = new_notebook(metadata=md.metadata)
    for cell in nb.cells:
        if cell.source.strip():
            cell.metadata = author_metadata(cell)
            made.cells.append(cell)
    body = jupytext().writes(made, fmt="md:myst").split("---\n", 2)[2]
    header = source.read_text(encoding="utf-8").split("---\n", 2)[1]
    text = f"---\n{header}---\n{body}"
    try:
        back = edited_parts(book, parse(book, source, text))
        if back == saved:
            read_source(book, section, text)
    except SourceError as error:
        said = f"{name} was edited, and nothing was written. As a source: {error}"
        raise SourceError(said) from None
    if back != saved:
        raise SourceError(NOT_TAKEN.format(name=name, shown=difference(saved, back)))
    return text


def difference(saved, back):
    """What `edited_parts` has in two notebooks, as lines that begin with - or +."""
    texts = (
        [
            line[:160]
            for part in parts
            for line in (
                ["", json.dumps(part)]
                if isinstance(part, dict)
                else ["", json.dumps([part[0], *part[2:]]), *part[1].split("\n")]
            )
        ]
        for parts in (saved, back)
    )
    lines = [*difflib.unified_diff(*texts, "saved", "as a source", n=1, lineterm="")]
    return "\n".join(lines[:40] + ["..."] * (len(lines) > 40))


# The command --------------------------------------------------------------------


def dumps(nb):
    return nbformat.writes(nb, indent=1).rstrip("\n") + "\n"


def products(book, section):
    """{path: text} of all notebooks of a section, editions first."""
    made = {
        book.edition_path(section, f, language): dumps(
            edition(book, section, f, language)
        )
        for language in catalogues.languages(book, section)
        for f in FRAMEWORKS
    }
    return made | {book.four_tab_path(section): dumps(four_tab(book, section))}


def stale(book, section):
    """{path: text} of the generated notebooks that differ from what they should be."""
    return {
        path: text
        for path, text in products(book, section).items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    }


def write(book, section):
    """Write what is stale; returns the paths written."""
    made = stale(book, section)
    for path, text in made.items():
        files.write(path, text)
    return list(made)


def readme_table(book):
    """The README's table of notebooks, with badges once there is a repository."""
    rows = [["section", *book.titles().values()]]
    for section in book.sections:
        row = [title_of(read_source(book, section), section)]
        for framework in FRAMEWORKS:
            path = book.relative(book.edition_path(section, framework))
            links = [
                f"[notebook]({path})",
                launch.badges(book.set_github(), framework, path),
            ]
            row.append(" · ".join(filter(None, links)))
        rows.append(row)
    return readme.table(rows)


def update(book, section, check):
    """Bring a section's notebooks up to date, and say so; returns whether all are.

    With check, nothing is changed.
    """
    paths = stale(book, section) if check else write(book, section)
    verb = "is stale: run `make notebooks`" if check else "written"
    for path in paths:
        print(f"{book.relative(path)} {verb}")
    lacking = [
        f for f in FRAMEWORKS if not is_executed(edition(book, section, f).cells)
    ]
    for framework in lacking:
        name = book.relative(book.edition_path(section, framework))
        print(f"{name} has no outputs: run `make execute`")
    return not paths and not lacking


def main(argv=None, book=BOOK):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="change nothing")
    check = parser.parse_args(argv).check
    try:
        for section in () if check else book.sections:  # all else comes from these
            if take_back(book, section):
                source = book.relative(book.source_path(section))
                print(f"took the edit back into {source}")
        table, path = readme_table(book), book.root / "README.md"
        was_stale = readme.update(path, "notebooks", table, check)
        if was_stale:
            verb = "is stale: run `make notebooks`" if check else "written"
            print(f"README.md {verb}")
        was_stale |= catalogues.update(book, check)
        for section in book.sections:
            was_stale |= not update(book, section, check)
    except (SourceError, OSError) as error:
        sys.exit(str(error))
    return int(was_stale and check)


if __name__ == "__main__":
    sys.exit(main())
