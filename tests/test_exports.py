"""Decks, self-contained notebooks and the exporter of tabbed pages."""

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
from importlib import metadata
from types import SimpleNamespace

import nbformat
import pytest
import tomllib
from bs4 import BeautifulSoup
from IPython.core.inputtransformer2 import TransformerManager
from made_book import code, make_book, text
from packaging.requirements import Requirement

from book.notebooks import colab, editions, exercises
from book.pages import pages, slides
from book.source.book import BOOK, ROOT, SECTIONS
from book.source.reading import read_source
from book.translate import catalogues
from d2l_utils.frameworks import FRAMEWORKS

# Self-contained notebooks ---------------------------------------------------------


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    if int(metadata.version("setuptools").split(".")[0]) < 77:
        pytest.skip("building needs setuptools 77, as pyproject.toml says")
    return colab.make_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def packed(wheel):
    return colab.packed_wheel(wheel)


def run_setup(source, monkeypatch, tmp_path, there=()):
    """What the set-up cell asks pip for, where only the packages `there` are."""
    asked = []

    def line_magic(magic, rest, **_):
        asked.append((magic, rest.format(**namespace)))

    namespace = {"get_ipython": lambda: SimpleNamespace(run_line_magic=line_magic)}
    monkeypatch.setattr("importlib.util.find_spec", {p: p for p in there}.get)
    monkeypatch.setattr("tempfile.mkdtemp", lambda: str(tmp_path))
    exec(TransformerManager().transform_cell(source), namespace)
    return asked


def test_the_wheel_is_the_package_and_the_same_each_time(wheel, tmp_path):
    assert colab.make_wheel(tmp_path).read_bytes() == wheel.read_bytes()
    program = (
        "import d2l_utils, sys; from d2l_utils import sources, weights\n"
        "print(d2l_utils.__file__, (sources.SAMPLE / 'nin28_56.safetensors').name)"
    )
    target = tmp_path / "there"
    subprocess.run([sys.executable, "-m", "zipfile", "-e", str(wheel), str(target)])
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env={"PYTHONPATH": str(target)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.startswith(str(target))
    there = {p.name for p in target.rglob("*")}
    source = {p.name for p in (ROOT / "d2l_utils").rglob("*.py")}
    assert source <= there and "nin28_56.safetensors" in there
    assert not any(name.endswith(".gz") for name in there)


@pytest.mark.parametrize("tab_name", FRAMEWORKS)
def test_self_contained_notebooks(packed, tab_name):
    for section in SECTIONS:
        nb = colab.self_contained(BOOK, section, tab_name, packed)
        nbformat.validate(nb)
        dumped = editions.dumps(nb)
        assert len(dumped.encode()) < colab.LIMIT
        assert "](img/" not in dumped and "%%tab" not in dumped
        full = editions.edition(BOOK, section, tab_name)
        for cell, stored in zip(nb.cells, full.cells, strict=True):
            assert not cell.get("outputs")
            if "setup" not in cell.metadata.get("tags", ()):
                assert cell.source == stored.source
            else:  # Colab shows the title of a form, and no code
                assert cell.source.startswith("# @title Set-up: installs")
                assert cell.metadata["cellView"] == "form"
        assert (nb.metadata.get("accelerator") == "GPU") == (tab_name != "mxnet")


def test_a_wheel_has_the_records_that_notebooks_show(tmp_path):
    groups = {"a": ["x", "y"], "b": ["y", "z"], "c": ["w"]}
    (tmp_path / "groups.json").write_text(json.dumps(groups))
    for name in ("x.seed1", "y.seed1", "y.seed2", "z.seed1", "w.seed1"):
        (tmp_path / f"{name}.json").write_text("{}")
    colab.keep_cited(tmp_path, "s = d2l.study('a')\nprint(study(\"c\").table())")
    there = sorted(p.name for p in tmp_path.glob("*.seed*"))
    assert there == [f"{n}.json" for n in ("w.seed1", "x.seed1", "y.seed1", "y.seed2")]
    left = json.loads((tmp_path / "groups.json").read_text())
    assert left == {"a": ["x", "y"], "c": ["w"]}


def test_a_set_up_cell_has_its_title_in_the_language_of_its_notebook(packed):
    nb = colab.self_contained(BOOK, "nin", "jax", packed, "ja")
    (setup,) = (c for c in nb.cells if "setup" in c.metadata.get("tags", ()))
    assert setup.source.startswith("# @title 準備")


def test_blank_exercises_with_the_package_can_be_graded(packed, tmp_path, monkeypatch):
    """They are those of nbgrader, but for the set-up cell."""
    monkeypatch.setattr(colab, "packed_package", lambda: packed)
    arguments = ["--answers", "nbgrader", "--framework", "jax", "--out", str(tmp_path)]
    assert colab.main(arguments) == 0
    made = [p.relative_to(tmp_path) for p in tmp_path.rglob("*.ipynb")]
    assert sorted(map(str, made)) == sorted(
        f"{language}/jax/{section}.ipynb".removeprefix("en/")
        for section in ("nin_exercises", "googlenet_exercises")
        for language in catalogues.languages(BOOK, section)
    )
    blank = nbformat.read(tmp_path / "jax/nin_exercises.ipynb", as_version=4)
    for_grading = exercises.for_nbgrader(BOOK, "nin_exercises", "jax")
    assert len(editions.dumps(blank).encode()) < colab.LIMIT
    for cell, expected in zip(blank.cells, for_grading.cells, strict=True):
        if "setup" in cell.metadata.get("tags", ()):
            assert packed["hash"] in cell.source
        else:
            assert cell.source == expected.source
        assert cell.metadata.get("nbgrader") == expected.metadata.get("nbgrader")


def test_the_set_up_cell_installs_what_it_holds(wheel, packed, monkeypatch, tmp_path):
    source = colab.setup_source(packed, "pytorch")
    first, framework = run_setup(source, monkeypatch, tmp_path)
    path = tmp_path / wheel.name
    assert first == ("pip", f"install -q {path}")
    assert framework == ("pip", "install -q torch")
    assert path.read_bytes() == wheel.read_bytes()


def test_mxnet_does_not_bring_an_old_numpy(wheel, packed, monkeypatch, tmp_path):
    asked = run_setup(colab.setup_source(packed, "mxnet"), monkeypatch, tmp_path)
    assert [a for _, a in asked] == [
        f"install -q {tmp_path / wheel.name}", "install -q --no-deps mxnet==1.9.1"
    ]  # fmt: skip


def on_colab():
    """The packages of Colab's list that are there; see its head."""
    lines = (ROOT / "tests/matrix/colab.txt").read_text().splitlines()
    return {Requirement(x).name for x in lines if x[0] != "#"} - {"tensorflow-cpu"}


@pytest.mark.parametrize("tab_name", FRAMEWORKS)
@pytest.mark.parametrize("made_by", ["colab", "editions"])
def test_colab_gets_nothing_that_it_has(
    packed, project, made_by, tab_name, monkeypatch, tmp_path
):
    """A second TensorFlow would overwrite the files of its own."""
    there = on_colab()
    if made_by == "colab":
        source = colab.setup_source(packed, tab_name)
    else:
        (project.root / "pyproject.toml").write_text(
            "[tool.d2l_utils]\nrepository = 'https://example.org/x'\n"
        )
        source = editions.setup_source(project, tab_name)
    (_, ours), *others = run_setup(source, monkeypatch, tmp_path, there)
    assert "d2l_utils" in ours.replace("-", "_") and "[" not in ours
    lacking = [] if tab_name != "mxnet" else ["install -q --no-deps mxnet==1.9.1"]
    assert [asked for _, asked in others] == lacking
    there.discard("jax")
    asked = [a for _, a in run_setup(source, monkeypatch, tmp_path, there)]
    assert ("install -q jax" in asked) == (tab_name == "jax")


def test_colab_has_what_the_package_itself_needs():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = [Requirement(line) for line in project["dependencies"]]
    assert {r.name for r in needed if not r.marker} <= on_colab()
    assert not any(r.specifier for r in needed)


def test_a_changed_set_up_cell_is_refused(packed, monkeypatch, tmp_path):
    source = colab.setup_source(packed, "jax")
    held = source.split("'''")[1]
    other = base64.b85encode(b"something else").decode()
    with pytest.raises(ValueError, match="get the notebook anew"):
        run_setup(source.replace(held, other), monkeypatch, tmp_path)
    assert (
        hashlib.sha256(base64.b85decode(held.replace("\n", ""))).hexdigest() in source
    )


# Decks ---------------------------------------------------------------------------


def read(path):
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


def make_deck(folder, reveal, *cells):
    book = make_book(folder, list(cells))
    arguments = ["--out", str(folder / "decks"), "--reveal", str(reveal)]
    return slides.main(arguments, book)


def test_a_slide_shows_text_code_and_output(tmp_path, reveal):
    slide = text("## Title\n\nText $x$.\n\n{code}\n\n{output}", ("slide",))
    both = text("## Both\n\n{code, output}", ("slide",))
    cells = [
        *(text("# A"), slide, both, code("one()", ("jax",))),
        *(code("two()", ("pytorch", "mxnet", "tensorflow")), code("three()")),
    ]
    assert make_deck(tmp_path, reveal, *cells) == 0
    for framework in FRAMEWORKS:
        soup = read(tmp_path / f"decks/{framework}/mini.html")
        first, second = soup.select(".slides > section")
        said = "one()" if framework == "jax" else "two()"
        for slide in (first, second):
            (shown,) = slide.select(".input")
            assert shown.text.strip() == said
            assert f"of {framework}" in slide.select_one(".printed").text
        assert first.h2.text.startswith("Title") and first.math
        assert "{code" not in soup.text and "three()" not in soup.text
        scripts = soup.find_all("script")
        assert "Reveal" in scripts[0].text and not any(s.get("src") for s in scripts)


def test_slides_are_in_no_edition_and_on_no_page(tmp_path):
    for section in SECTIONS:
        said = [c.source for c in read_source(BOOK, section) if "slide" in c.tags]
        for framework in FRAMEWORKS:
            edition = editions.edition(BOOK, section, framework)
            assert not {c.source for c in edition.cells} & set(said)
    cells = [text("# A"), text("## Slide\n\n{code}", ("slide",)), code("1")]
    assert pages.main(["--out", str(tmp_path)], make_book(tmp_path, cells)) == 0
    assert "Slide" not in (tmp_path / "mini.html").read_text()


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (
            [text("## A\n\n{code}", ("slide",))],
            r"mini.md:\d+: no code cell for py",
        ),
        ([text("# A"), code("1")], "No slides"),
    ],
)
def test_bad_decks_stop(tmp_path, reveal, capsys, cells, message):
    assert make_deck(tmp_path, reveal, *cells) == 1
    assert re.search(message, capsys.readouterr().err)


# nbconvert -----------------------------------------------------------------------


FROM_HERE = {**os.environ, "PYTHONPATH": str(ROOT)}


def test_nbconvert_makes_the_page_with_tabs(tmp_path, real_book):
    """As in the book, from the four-tab notebook alone."""
    source = ROOT / "notebooks" / "googlenet.ipynb"
    (tmp_path / source.name).write_bytes(source.read_bytes())
    subprocess.run(
        [sys.executable, "-m", "nbconvert", "--to", "d2l_html", source.name],
        cwd=tmp_path, check=True, capture_output=True, env=FROM_HERE,
    )  # fmt: skip
    made = read(tmp_path / "googlenet.html")
    book = read(real_book / "googlenet.html")

    def said(soup, selector):
        return [e.text for e in soup.select(selector)]

    for selector in (".input", ".output", "[role=tab]", "h2", "main > p", ".caption"):
        assert said(made, selector) == said(book, selector), selector
    assert len(made.select("main img")) == len(book.select("main img"))


def test_nbconvert_says_what_it_needs(tmp_path):
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("Hello")])
    (tmp_path / "plain.ipynb").write_text(json.dumps(nb))
    done = subprocess.run(
        [sys.executable, "-m", "nbconvert", "--to", "d2l_html", "plain.ipynb"],
        cwd=tmp_path, capture_output=True, text=True, env=FROM_HERE,
    )  # fmt: skip
    assert done.returncode and "no code cell with tabs" in done.stderr
