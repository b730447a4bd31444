"""What is built is written as a whole or not at all; a run that was cut is mended."""

import ast
import os
import subprocess
import sys

import nbformat
import polib
import pytest
from made_sources import SMALL
from nbformat.v4 import new_output

from book.notebooks import editions, execute
from book.source import files
from book.source.book import ROOT, SourceError
from book.translate import catalogues

WRITES = {
    "write_text", "write_bytes", "open", "touch", "savefig", "save", "savez", "savetxt",
    "tofile", "dump", "copy", "copy2", "copyfile", "copytree", "move", "rename",
    "nbformat.write", "jupytext.write", "weights.write",
}  # fmt: skip
ALLOWED = {  # calls of such names that write nothing that stays
    "reads": {
        ("book/translate/agreement.py", "path.open"),
        ("book/translate/catalogues.py", "path.open"),
        ("bench/contender.py", "open"),
        ("book/pages/markup.py", "Image.open"),
        ("book/notebooks/execute.py", "Image.open"),
    },
    "writes to memory": {
        ("bench/cases.py", "np.save"),
        ("bench/report.py", "fig.savefig"),
        ("bench/several.py", "fig.savefig"),
        ("book/pages/markup.py", "image.save"),
        ("book/notebooks/execute.py", "few.save"),
    },
    "a log, written by a process as it runs": {
        ("book/checks/matrix.py", "open"),
        ("bench/cases.py", "open"),
        ("study/gpu.py", "open"),
        ("study/run.py", "open"),
    },
    "in a temporary folder": {
        ("book/notebooks/colab.py", "shutil.copy"),
        ("book/notebooks/colab.py", "shutil.copytree"),
        ("book/checks/parity.py", "np.savez"),
        ("book/checks/parity_worker.py", "weights.write"),
    },
    "no file, but a setting of the kernel": {
        ("study/run.py", "Path(f'/proc/{pid}/autogroup').write_text"),
    },
    "another function": {
        ("book/checks/matrix.py", "save"),
        ("book/notebooks/editions.py", "ast.dump"),
    },
}


def written_by(tree):
    """The calls in a module that may write a file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            of_a_value = name.endswith(".copy") and not node.args
            if {name, name.rpartition(".")[2]} & WRITES and not of_a_value:
                yield name


def test_nothing_else_writes():
    found = {
        (path.relative_to(ROOT).as_posix(), name)
        for folder in ("book", "bench", "study")
        for path in (ROOT / folder).rglob("*.py")
        for name in written_by(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert found == set().union(*ALLOWED.values())


# One file -------------------------------------------------------------------------


def test_a_file_is_written_with_its_folder_and_a_link_stays_one(tmp_path):
    path, link = tmp_path / "a/b.txt", tmp_path / "link"
    files.write(path, "ä\n")
    link.symlink_to(path)
    files.write(link, b"new")
    assert link.is_symlink() and path.read_bytes() == b"new"
    assert [p.name for p in path.parent.iterdir()] == ["b.txt"]
    files.write(tmp_path / "plain", "")
    umask = os.umask(0)
    os.umask(umask)
    assert (tmp_path / "plain").stat().st_mode & 0o777 == 0o666 & ~umask


def test_what_was_made_is_kept_while_its_parts_are_the_same(tmp_path, monkeypatch):
    path, made = tmp_path / "kept.json", []

    def get(*parts):
        return files.kept(path, parts, lambda: made.append(parts) or list(parts))

    assert get("a", 1) == get("a", 1) == ["a", 1] and len(made) == 1
    assert get("a", 2) == ["a", 2] and get("a", 1) == ["a", 1] and len(made) == 3
    path.write_text('{"key": "cut')
    assert get("a", 1) == ["a", 1] and len(made) == 4
    monkeypatch.setattr(files, "code_key", lambda: ["another code"])
    assert get("a", 1) == ["a", 1] and len(made) == 5


def test_the_code_that_makes_is_one_of_the_parts(tmp_path, monkeypatch):
    """And the place of a file: two may have the same name."""
    monkeypatch.setattr(files, "CODE", tmp_path)
    keys = []
    for name, text in [
        ("one/a.py", "1"), ("two/a.py", "2"), ("one/a.py", "2"), ("two/a.py", "1"),
        ("b.css", ""), ("c.json", ""), ("b.css", "p {}"),
    ]:  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
        keys.append(files.code_key.__wrapped__())
    assert all(keys.count(key) == 1 for key in keys)


FULL = """
import resource, sys
from pathlib import Path
from book.notebooks import editions
from book.source.book import Book
sys.dont_write_bytecode = True  # Python would keep it cut short
limit = int(sys.argv[2])  # a file cannot grow beyond: a write fails in its middle
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
sys.exit(editions.main([], Book(Path(sys.argv[1]), sections=("s",))))
"""


def test_a_write_that_fails_in_its_middle_leaves_the_old_file(translated):
    """The disk is full after so many bytes of a file."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    sizes = sorted({len(text) for text in contents(translated).values()})
    before, edited = contents(translated), edit(translated)
    command = [sys.executable, "-c", FULL, str(translated.root), str(sizes[-1] // 2)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True)
    assert done.returncode == 1
    assert "File too large: '" in done.stderr and "Traceback" not in done.stderr
    after = contents(translated)
    assert set(after) == set(before)  # no parts remain
    assert editions.main([], translated) == 0
    whole = contents(translated)
    assert after != edited != whole  # some were written, some not
    for path, text in after.items():
        assert text in (edited[path], whole[path]), path


# Files that belong together -----------------------------------------------------


class Killed(BaseException):
    """As if the process had ended here."""


@pytest.fixture
def translated(project):
    """A small book that was run, with a catalogue and pictures of another language."""
    (project.root / "README.md").write_text(
        "<!-- notebooks: made by x -->\n<!-- end of notebooks -->\n"
    )
    for name in ("s", "drawings", "interface"):
        catalogues.write(project, "ja", name)
    path = catalogues.catalogue_path(project, "ja", "s")
    po = polib.pofile(str(path))
    for entry in po:
        entry.msgstr = entry.msgid.replace("Title", "表題")
    po.save()
    editions.main([], project)
    for framework in ("pytorch", "mxnet", "tensorflow", "jax"):
        path = project.edition_path("s", framework)
        path.write_text(editions.dumps(ran(nbformat.read(path, as_version=4))))
    editions.main([], project)
    return project


def ran(nb):
    for i, cell in enumerate(c for c in nb.cells if c.cell_type == "code"):
        cell.execution_count = i + 1
        cell.outputs = [new_output("stream", text=f"out {i}\n" * 50)]
    return nb


def edit(book):
    """Change the title, in Jupyter, and a comment in the source of a translation."""
    path = book.four_tab_path("s")
    nb = nbformat.read(path, as_version=4)
    nb.cells[0].source = "# Title, edited"
    nb.cells.insert(1, nbformat.v4.new_markdown_cell("New. " * 100))
    path.write_text(editions.dumps(nb))
    return contents(book)


def contents(book):
    return {p: p.read_bytes() for p in book.root.rglob("*") if p.is_file()}


def cut(monkeypatch, after):
    """From now on, the process is killed when it writes one more file than these."""
    written, write = [], files.write

    def killed(path, content):
        if len(written) == after:
            raise Killed
        written.append(path)
        write(path, content)

    monkeypatch.setattr(files, "write", killed)


def again(book, before, run, monkeypatch):
    """Cut `run` after each number of files, run it again: as if nothing had been."""

    def restore():
        for path in set(contents(book)) - set(before):
            path.unlink()
        for path, text in before.items():
            path.write_bytes(text)

    run()
    whole, number = contents(book), 0
    while True:
        restore()
        with monkeypatch.context() as patch:
            cut(patch, number)
            try:
                run()
                break
            except Killed:
                number += 1
        run()
        assert contents(book) == whole, number
    return number


def test_make_notebooks_goes_on_where_it_was_cut(translated, monkeypatch, capsys):
    edited = edit(translated)

    def run():
        assert editions.main([], translated) == 0

    assert again(translated, edited, run, monkeypatch) >= 12
    po = polib.pofile(str(catalogues.catalogue_path(translated, "ja", "s")))
    title = next(e for e in po if e.msgid == "# Title, edited")
    assert title.msgstr == "# 表題" and title.fuzzy
    assert editions.main(["--check"], translated) == 0


def test_make_execute_goes_on_where_it_was_cut(translated, monkeypatch, capsys):
    source = translated.source_path("s")
    source.write_text(SMALL.replace("y = 2", "y = 3"))

    class Client:
        def __init__(self, nb, **options):
            self.execute = lambda env: ran(nb)

    monkeypatch.setattr(execute, "NotebookClient", Client)
    monkeypatch.setattr(execute, "load_fashion_mnist", lambda: NoSample)

    def run():
        assert editions.main([], translated) == 0
        assert execute.main([], translated) == 0

    assert again(translated, contents(translated), run, monkeypatch) >= 12
    assert editions.main(["--check"], translated) == 0


class NoSample:
    is_sample = False


@pytest.mark.parametrize("text", ["", "{", "[]", '{"cells": [{"cell_type": "co'])
def test_what_was_cut_otherwise_is_named(translated, text, capsys):
    before = contents(translated)
    for path in (translated.edition_path("s", "jax"), translated.four_tab_path("s")):
        path.write_text(text)
        with pytest.raises(SystemExit, match=rf"{path.name} is no notebook; get it"):
            editions.main([], translated)
        assert contents(translated) == {**before, path: text.encode()}
        path.write_bytes(before[path])
    path = catalogues.catalogue_path(translated, "ja", "s")
    path.write_text("")
    with pytest.raises(SourceError, match=r"s\.po is empty; get it back"):
        catalogues.update(translated)
