"""What is built again is, byte for byte, what it would be if nothing had been built.

Changes to all that pages and self-contained notebooks are made of: a section that
includes code of another, both translated.
"""

import shutil

import nbformat
import polib
import pytest
from made_book import CELLS, SVG, add_section, code, make_book, text
from nbformat import v4

from book.notebooks import colab, editions
from book.pages import exporter, pages
from book.translate import catalogues

PACKED = {"wheel": "a wheel", "hash": "0", "name": "d2l_utils.whl", "needed": []}
SHARED = code("def f():\n    return 1  # one", tags=("model",))
JAPANESE = {"The end.": "終わり。", "# one": "# 一", "# 8.5 Uses": "# 8.5 使う"}


def contents(folder):
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def build(book, out="html"):
    """Both halves of `make html`; what they wrote, by its place."""
    out = book.root / "build" / out
    assert pages.main(["--out", str(out)], book) == 0
    assert colab.main(["--out", str(out / "notebooks")], book) == 0
    return {p.relative_to(out).as_posix(): raw for p, raw in contents(out).items()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The book, built, and all of its files."""
    folder = tmp_path_factory.mktemp("book")
    book = make_book(folder, [*CELLS, SHARED], sections=("mini", "uses", "later"))
    add_section(book, "uses", [text("# 8.5 Uses"), text(":::{include} mini: f")])
    catalogues.main(["ja"], book)
    for name in ("mini", "uses"):
        change_catalogue(book, name, JAPANESE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(colab, "packed_package", lambda *_: PACKED)
        built = build(book)
    return book, built, contents(folder)


@pytest.fixture
def book(whole, monkeypatch):
    book, _, before = whole
    monkeypatch.setattr(colab, "packed_package", lambda *_: PACKED)
    yield book
    for path in set(contents(book.root)) - set(before):
        path.unlink()
    for path, raw in before.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(raw)


def edit(section, old, new):
    def change(book, _):
        path = book.source_path(section)
        source = path.read_text("utf-8")
        assert source.count(old) == 1
        path.write_text(source.replace(old, new), "utf-8")

    return change


def change_catalogue(book, name, entries):
    path = catalogues.catalogue_path(book, "ja", name)
    po = polib.pofile(str(path))
    for entry in po:
        entry.msgstr = entries.get(entry.msgid, entry.msgstr)
    po.save()


def translate(name, english, japanese):
    return lambda book, _: change_catalogue(book, name, {english: japanese})


def an_output(book, _):
    path = book.edition_path("uses", "jax")
    nb = nbformat.read(path, as_version=4)
    nb.cells[-1].outputs = [v4.new_output("stream", text="said anew")]
    path.write_text(editions.dumps(nb))


def a_picture(book, _):
    (book.notebooks / "img/boxes.svg").write_text(SVG.replace("80", "81"))


def a_picture_in_a_language(book, _):
    (book.notebooks / "img/ja").mkdir(exist_ok=True)
    (book.notebooks / "img/ja/boxes.svg").write_text(SVG.replace("80", "82"))


def no_translation(book, _):
    catalogues.catalogue_path(book, "ja", "uses").unlink()


def the_package(book, patch):
    another = {**PACKED, "wheel": "another"}
    patch.setattr(colab, "packed_package", lambda *_: another)
    patch.setattr(colab, "package", lambda: "another")


def the_repository(book, patch):
    """An address at which pages offer the notebooks, without one to install from."""
    patch.setattr("book.source.book.git_remote", lambda _: "https://github.com/a/b")


PAGE, NOTEBOOK = "{0}.html", "notebooks/{0}jax/{1}.ipynb"


@pytest.mark.parametrize("change, changed", [
    (edit("mini", "The end.", "The end. Or is it?"),
     "mini.html ja/mini.html notebooks/jax/mini.ipynb notebooks/ja/jax/mini.ipynb"),
    (edit("mini", "print('first')", "print('first')  # of all"),
     "mini.html ja/mini.html notebooks/jax/mini.ipynb"),
    (edit("mini", "# one", "# single"),
     "uses.html ja/uses.html notebooks/jax/uses.ipynb notebooks/ja/jax/uses.ipynb"),
    (edit("uses", "8.5 Uses", "8.5 Use"), "index.html mini.html uses.html"),
    (an_output, "uses.html ja/uses.html"),
    (a_picture, "mini.html notebooks/jax/mini.ipynb"),
    (a_picture_in_a_language, "ja/mini.html notebooks/ja/jax/mini.ipynb"),
    (translate("mini", "The end.", "終。"), "ja/mini.html notebooks/ja/jax/mini.ipynb"),
    (translate("mini", "# one", "# 壱"), "ja/uses.html notebooks/ja/jax/uses.ipynb"),
    (translate("interface", "Contents", "目次"), "ja/mini.html"),
    (translate("uses", "# 8.5 Uses", "# 8.5 用"), "ja/index.html ja/uses.html"),
    (no_translation, "ja/uses.html"),
    (the_package, "notebooks/jax/mini.ipynb notebooks/ja/jax/mini.ipynb"),
    (the_repository, "mini.html"),
])  # fmt: skip
def test_after_a_change_nothing_is_stale(whole, book, monkeypatch, change, changed):
    change(book, monkeypatch)
    again, before = build(book), whole[1]
    shutil.rmtree(book.root / "build/notebooks")
    anew = build(book, "anew")  # its pages have a cache of their own
    assert set(again) - set(anew) <= set(before)  # what is not made any more stays
    assert {name: again[name] for name in anew} == anew
    assert {name for name in changed.split() if again[name] == before.get(name)} == (
        set()
    )


def test_only_what_changed_is_made_again(book, monkeypatch):
    """A section that includes code of another is not, when text of that is changed."""
    edit("mini", "The end.", "The end. Or is it?")(book, None)
    rendered, render = [], exporter.render
    written, self_contained = [], colab.self_contained

    def rendering(cells, *args, **kwargs):
        text = "".join(c.source for c in cells)
        rendered.append((args[3]["lang"], "Or is it?" in text))
        return render(cells, *args, **kwargs)

    def writing(book, section, *args, **kwargs):
        written.append(section)
        return self_contained(book, section, *args, **kwargs)

    monkeypatch.setattr(exporter, "render", rendering)
    monkeypatch.setattr(colab, "self_contained", writing)
    build(book)
    assert rendered == [("en", True), ("ja", True)] and set(written) == {"mini"}
    rendered.clear(), written.clear()
    build(book)
    assert not rendered and not written


@pytest.mark.parametrize("harm", ["", None])
def test_a_notebook_that_was_changed_or_deleted_is_written_anew(whole, book, harm):
    path = book.root / "build/html/notebooks/ja/jax/mini.ipynb"
    path.unlink() if harm is None else path.write_text(harm)
    assert build(book) == whole[1]
