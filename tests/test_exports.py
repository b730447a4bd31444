"""Decks, self-contained notebooks and the exporter of tabbed pages."""

import base64
import csv
import hashlib
import json
import os
import re
import subprocess
import sys
import zipfile
from functools import partial
from importlib import metadata
from pathlib import Path, PurePosixPath
from types import SimpleNamespace

import nbformat
import pytest
import tomllib
from bs4 import BeautifulSoup
from IPython.core.inputtransformer2 import TransformerManager
from made_book import add_section, code, make_book, text
from packaging.requirements import Requirement

from book.notebooks import colab, editions, exercises
from book.pages import pages, slides
from book.source.book import BOOK, ROOT, SECTIONS
from book.source.reading import read_source
from book.translate import catalogues
from d2l_utils import base, study
from d2l_utils.frameworks import FRAMEWORKS

NEEDED = ["nin28_56.seed1.safetensors", "scale", "jax"]

# Self-contained notebooks ---------------------------------------------------------


@pytest.fixture(scope="module")
def can_build():
    if int(metadata.version("setuptools").split(".")[0]) < 77:
        pytest.skip("building needs setuptools 77, as pyproject.toml says")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory, can_build):
    return colab.make_wheel(tmp_path_factory.mktemp("wheel"), NEEDED)


@pytest.fixture(scope="module")
def packed(wheel):
    return colab.packed_wheel(wheel, NEEDED)


@pytest.fixture(scope="module")
def of_sections(can_build):
    """{(section, framework): its wheel, packed}."""
    return {
        (section, name): colab.newly_packed(*colab.needs(BOOK, section), f.module)
        for section in SECTIONS
        for name, f in FRAMEWORKS.items()
    }


def files_of(wheel):
    """{name: content} of a wheel."""
    with zipfile.ZipFile(wheel) as packed:
        return {name: packed.read(name) for name in packed.namelist()}


def data_of(wheel):
    """The records and stored files in a wheel: their names."""
    found = {PurePosixPath(name) for name in files_of(wheel)}
    data = {p.name for p in found if p.parent.name in ("results", "sample")}
    return data - {"LICENSE", "groups.json"}


def records_of(*networks):
    return {
        path.name
        for name in networks
        for path in study.RESULTS.glob(f"{name}.seed*.json")
    }


def run_in(wheel, folder, program):
    """What a program prints that has the wheel, unpacked."""
    subprocess.run([sys.executable, "-m", "zipfile", "-e", str(wheel), str(folder)])
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder.parent, capture_output=True,
        env={"PYTHONPATH": str(folder)}, text=True, check=True,
    )  # fmt: skip
    return done.stdout


def run_setup(source, monkeypatch, tmp_path, there=()):
    """What the set-up cell asks pip for, where only the packages `there` are.

    there: their names, or {name: what find_spec says}.
    """
    asked = []

    def line_magic(magic, rest, **_):
        asked.append((magic, rest.format(**namespace)))

    namespace = {"get_ipython": lambda: SimpleNamespace(run_line_magic=line_magic)}
    found = there if isinstance(there, dict) else {p: p for p in there}
    monkeypatch.setattr("importlib.util.find_spec", found.get)
    monkeypatch.setattr("tempfile.mkdtemp", lambda: str(tmp_path))
    exec(TransformerManager().transform_cell(source), namespace)
    return asked


def test_the_wheel_is_the_package_and_the_same_each_time(wheel, tmp_path):
    colab.whole_wheel.cache_clear()
    assert colab.make_wheel(tmp_path, NEEDED).read_bytes() == wheel.read_bytes()
    program = (
        "import d2l_utils; from d2l_utils import weights\n"
        "print(d2l_utils.__file__, weights.stored_path('nin28_56.seed1'))"
    )
    target = tmp_path / "there"
    file, network = run_in(wheel, target, program).split()
    assert Path(file).parent == target / "d2l_utils" == Path(network).parents[1]
    there = {p.relative_to(target) for p in target.rglob("*.py")}
    source = {p.relative_to(ROOT) for p in (ROOT / "d2l_utils").rglob("*.py")}
    folders = {
        p.name: {x for x in source if x.parent.name == p.name}
        for p in (ROOT / "d2l_utils").iterdir()
        if p.is_dir()
    }
    for other in ("torch", "mxnet", "tensorflow"):
        source -= {x for x in folders[other] if x.name != "__init__.py"}
    assert source == there and len(folders["jax"]) > 9
    assert not any(name.endswith(".gz") for name in files_of(wheel))


@pytest.mark.parametrize("tab_name", FRAMEWORKS)
def test_self_contained_notebooks(of_sections, tab_name):
    for section in SECTIONS:
        packed = of_sections[section, tab_name]
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


def test_a_section_needs_what_its_cells_name(tmp_path):
    cells = [
        text("# 8.5 Uses\n\nAlso `d2l.study('shifts')`, not nin28_56 or scale."),
        text(":::{include} mini: f"),
        code("d2l.study(\n    'scale').table()\nlost = d2l.study('nin28_56')"),
    ]
    shared = code('def f():\n    return d2l.study("heads")', tags=("model",))
    other = code("d2l.stored_path('nin28_56'), d2l.study('plateau')")
    book = make_book(tmp_path, [text("# A"), shared, other], sections=("mini", "uses"))
    add_section(book, "uses", cells)
    assert colab.needs(book, "uses") == ["heads", "nin28_56", "scale", "shifts"]
    assert colab.needs(book, "mini") == ["heads", "nin28_56.safetensors", "plateau"]
    cells.append(code('weights.STORED / "nin28_curves.json"'))
    cells.append(code("d2l.stored_path('nin28_56.seed1'); scale.classes('lenet', y)"))
    add_section(book, "uses", cells)
    needed = colab.needs(book, "uses")
    assert {"nin28_curves.json", "nin28_56.seed1.safetensors", "classes"} < {*needed}
    assert "nin28_56.safetensors" not in needed


def test_sections_write_out_what_they_need():
    """As colab.needs has to find it there: no names in variables."""
    reads = re.compile(r"\b(?:study|stored_path)\(|\bSTORED\b")
    found = re.compile(
        r"\b(?:study|stored_path)\(\s*(['\"])[\w.]+\1\)|\bSTORED / (['\"])[\w.]+\2"
    )
    total = 0
    for section in SECTIONS:
        for cell in read_source(BOOK, section):
            if cell.kind == "code":
                uses = len(reads.findall(cell.source))
                assert uses == len(found.findall(cell.source)), cell.source
                total += uses
    assert total > 5


def test_sections_have_the_data_that_they_show_and_no_other(tmp_path, can_build):
    """What a section shows is looked up here in its edition, not by colab.needs."""
    uses = {
        "nin28_56.safetensors": "d2l.stored_path('nin28_56')",
        "nin28_56.seed1.safetensors": "d2l.stored_path('nin28_56.seed1')",
        "nin28_curves.json": "weights.STORED / 'nin28_curves.json'",
        "parity.json": "weights.STORED / 'parity.json'",
    }
    groups = study.groups()
    uses |= {name: f"d2l.study('{name}')" for name in groups}
    all_used = set()
    for section in SECTIONS:
        cells = editions.edition(BOOK, section, "jax", checks=True).cells
        said = "\n".join(cell.source for cell in cells)
        used = {name for name, use in uses.items() if use in said}
        wheel = colab.make_wheel(tmp_path, colab.needs(BOOK, section))
        networks = {n for name in used & set(groups) for n in groups[name]}
        others = re.sub(r"stored_path\('[\w.]+'\)", "", said)
        named = {n for n in networks if f"'{n}'" in others}
        assert named or not networks, "our sections name the networks that they show"
        assert data_of(wheel) == (used - set(groups)) | records_of(*named)
        all_used |= used
    assert {"nin28_56.safetensors", "nin28_curves.json", "scale"} <= all_used


@pytest.fixture(scope="module")
def of_made_up(tmp_path_factory, can_build):
    """The wheel of a made-up section that cites the study, and no stored network."""
    folder = tmp_path_factory.mktemp("made-up")
    cells = [text("# A"), code("d2l.study('scale').table()\nd2l.study('one_1x1')")]
    needed = colab.needs(make_book(folder, cells), "mini")
    return colab.make_wheel(folder, needed)


def test_a_wheel_has_the_records_of_its_groups_and_no_network(of_made_up):
    networks = study.groups()["scale"]
    assert records_of("softmax") and not records_of("soft")
    assert data_of(of_made_up) == records_of(*networks, "one_1x1")
    contents = files_of(of_made_up)
    groups = json.loads(contents["d2l_utils/results/groups.json"])
    assert groups == {"one_1x1": ["one_1x1"], "scale": networks}
    assert contents["d2l_utils/part.txt"].split() == [b"one_1x1", b"scale"]


def test_records_have_predicted_classes_where_a_section_asks(wheel, tmp_path):
    program = """
import numpy
from d2l_utils import study
scale = study.study('scale')
print(len(scale.accuracies('lenet')))
try:
    print(scale.classes('lenet', numpy.zeros(10000, int)).shape)
except study.RecordError as error:
    print(error)
"""
    count, said = run_in(wheel, tmp_path / "without", program).splitlines()
    assert count == "3"
    assert said.startswith("The records of 'lenet' have no 'classes' there; there are")
    assert "This copy of the package carries only what the notebook" in said
    whole = colab.make_wheel(tmp_path, [*NEEDED, "classes"])
    assert run_in(whole, tmp_path / "with", program).splitlines() == ["3", "(3, 10000)"]


def test_the_record_of_a_wheel_is_of_what_is_in_it(wheel, of_made_up):
    for path in (wheel, of_made_up):
        contents = files_of(path)
        (name,) = (n for n in contents if n.endswith(".dist-info/RECORD"))
        rows = list(csv.reader(contents[name].decode().splitlines()))
        assert sorted(row[0] for row in rows) == sorted(contents)
        rows.remove([name, "", ""])  # it does not hold its own hash
        for name, digest, size in rows:
            found = hashlib.sha256(contents[name]).digest()
            found = base64.urlsafe_b64encode(found).decode().rstrip("=")
            assert (digest, size) == (f"sha256={found}", str(len(contents[name])))


def test_a_wheel_holds_one_framework_and_names_the_others(wheel, tmp_path):
    program = """
import importlib
for name in ('torch', 'mxnet', 'tensorflow'):
    try:
        importlib.import_module(f'd2l_utils.{name}')
    except ImportError as error:
        print(error)
"""
    lines = run_in(wheel, tmp_path / "there", program).splitlines()
    assert [line.split(".")[1] for line in lines] == [
        "torch is not here", "mxnet is not here", "tensorflow is not here",
    ]  # fmt: skip
    assert all("carries only what the notebook that brought it" in x for x in lines)


def test_what_a_notebook_did_not_bring_is_named(of_made_up, tmp_path, monkeypatch):
    program = """
from d2l_utils import study, weights
print(study.study('scale').name, study.study('lenet').name)
for read, name in ((study.study, 'heads'), (weights.stored_path, 'nin28_56')):
    try:
        read(name)
    except ValueError as error:
        print(error)
"""
    there, heads, network = run_in(of_made_up, tmp_path / "there", program).splitlines()
    said = " This copy of the package carries only what the notebook that brought it "
    said += "shows; the whole is in the project's repository: run `pip install .` in "
    said += "its folder."
    assert there == "scale lenet"
    assert heads == f"There is no study 'heads'; there are one_1x1, scale.{said}"
    assert network == f"There is no stored network 'nin28_56'; there are [].{said}"
    assert base.about_part() == ""  # here, the package is whole
    monkeypatch.setattr(base, "PART", tmp_path / "there/d2l_utils/part.txt")
    monkeypatch.setattr(study, "groups", dict)
    with pytest.raises(study.RecordError, match=f"there are none at all.{said}"):
        study.study("heads")


def test_a_wheel_is_built_when_what_it_is_made_of_changed(tmp_path, monkeypatch):
    made = []

    def newly_packed(*needed):
        made.append(needed)
        return {"needed": list(needed)}

    monkeypatch.setattr(colab, "newly_packed", newly_packed)
    book = make_book(tmp_path, [text("# A"), code("d2l.study('scale')")])
    pack = partial(colab.packed_package, book, framework="pytorch")
    first = [pack(section) for section in ("mini", "later")]
    assert first == [{"needed": ["scale", "torch"]}, {"needed": ["torch"]}]
    add_section(book, "mini", [text("# B"), code("x = d2l.study('scale')")])
    assert [pack(section) for section in ("mini", "later")] == first
    assert len(made) == 2
    assert pack("mini", framework="jax") == {"needed": ["scale", "jax"]}
    add_section(book, "mini", [text("# B"), code("x = d2l.study('heads')")])
    assert pack("mini") == {"needed": ["heads", "torch"]}
    changed = [*colab.package(), ["d2l_utils/new.py", "its hash"]]
    monkeypatch.setattr(colab, "package", lambda: changed)
    assert pack("mini") == {"needed": ["heads", "torch"]}
    heads = ("heads", "torch")
    assert made == [("scale", "torch"), ("torch",), ("scale", "jax"), heads, heads]
    paths = {path for path, _ in changed}
    assert {str(ROOT / "pyproject.toml"), str(ROOT / "d2l_utils/study.py")} <= paths
    assert {str(path) for path in study.RESULTS.glob("*.seed*.json")} <= paths


def test_a_set_up_cell_has_its_title_in_the_language_of_its_notebook(packed):
    nb = colab.self_contained(BOOK, "nin", "jax", packed, "ja")
    (setup,) = (c for c in nb.cells if "setup" in c.metadata.get("tags", ()))
    assert setup.source.startswith("# @title 準備")


def test_blank_exercises_with_the_package_can_be_graded(packed, tmp_path, monkeypatch):
    """They are those of nbgrader, but for the set-up cell."""
    monkeypatch.setattr(colab, "packed_package", lambda *_: packed)
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


@pytest.mark.parametrize(
    ("brought", "lacks"),
    [
        (None, False),  # the package is there as a whole
        ([*NEEDED, "heads"], False),
        (NEEDED[1:], True),
        ([], True),
    ],
)
def test_the_copy_of_another_notebook_is_replaced_where_it_lacks_something(
    wheel, packed, monkeypatch, tmp_path, brought, lacks
):
    """Its set-up cell was run in the same environment; pip keeps what is as new."""
    package = tmp_path / "d2l_utils"
    package.mkdir()
    if brought is not None:
        (package / "part.txt").write_text("\n".join(brought))
    spec = SimpleNamespace(origin=str(package / "__init__.py"))
    there = {"d2l_utils": spec, "torch": "torch"}
    source = colab.setup_source(packed, "pytorch")
    asked = run_setup(source, monkeypatch, tmp_path, there)
    again = f"install -q --force-reinstall --no-deps {tmp_path / wheel.name}"
    assert asked == ([("pip", again)] if lacks else [])


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
    with pytest.raises(ValueError, match="download the notebook again"):
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
