"""The exercises: their networks, the helper that compares, blank notebooks."""

import copy
import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from made_sources import HEAD
from nbformat import v4

from book.checks.parity import CASES, VARIANTS
from book.notebooks import editions, exercises
from book.source import cells, files
from book.source.book import BOOK, ROOT, SECTIONS
from book.translate import catalogues
from d2l_utils.experiments import Experiments
from d2l_utils.frameworks import FRAMEWORKS
from d2l_utils.summary import count

# Convolutions of each variant at 28 px, counted by hand: (channels in, channels out,
# kernel size, pixels a side of the output).
STEM = {  # the first convolution of each block, and the pixels behind the block
    "NiN": [(1, 24, 3, 26), (24, 64, 3, 14), (64, 96, 4, 6), (96, 10, 3, 2)],
    "two steps": [(1, 24, 3, 26), (24, 64, 3, 14), (64, 96, 4, 6), (96, 31, 3, 2),
                  (31, 10, 3, 2)],
    "family": [(1, 16, 3, 28), (16, 32, 3, 14), (32, 64, 3, 7), (64, 128, 3, 3),
               (128, 128, 3, 3), (128, 10, 3, 3)],
    "five blocks": [(1, 16, 3, 14), (16, 64, 3, 6), (64, 64, 3, 2), (64, 96, 3, 2),
                    (96, 10, 3, 2)],
}  # fmt: skip
BY_HAND = {  # stem, following convolutions a block, their kernel size
    "NiN": ("NiN", [2, 2, 2, 2], 1),
    "one 1x1": ("NiN", [1, 1, 1, 1], 1),
    "three 1x1": ("NiN", [3, 3, 3, 3], 1),
    "3x3": ("NiN", [2, 2, 2, 2], 3),
    "dense head": ("NiN", [2, 2, 2, 2], 1),
    "two steps": ("two steps", [2, 2, 2, 0, 2], 1),
    "NiN-11": ("family", [0, 0, 1, 1, 1, 2], 1),
    "NiN-16": ("family", [1, 1, 2, 2, 2, 2], 1),
    "NiN-19": ("family", [1, 1, 3, 3, 3, 2], 1),
    "five blocks": ("five blocks", [2, 2, 2, 2, 2], 1),
}


def counted_by_hand(name):
    stem, following, kernel = BY_HAND[name]
    convs = []
    for (c_in, c_out, k, size), n in zip(STEM[stem], following, strict=True):
        convs += [(c_in, c_out, k, size)] + [(c_out, c_out, kernel, size)] * n
    params = sum(i * o * k * k + o for i, o, k, _ in convs)
    macs = sum(i * o * k * k * size * size for i, o, k, size in convs)
    if name == "dense head":  # ten maps of 2x2 pixels
        params, macs = params + 40 * 10 + 10, macs + 40 * 10
    return params, macs


@pytest.mark.slow(
    "parity puts PyTorch's weights, tensor by tensor, into each of these networks",
    only=("tensorflow", "jax"),
)
def test_every_variant_has_its_counts(framework, d2l, layout):
    variants = cells.load("nin_exercises", framework)["variants"]
    assert set(variants) == set(BY_HAND)
    for name, make in variants.items():
        counted = d2l.resources(make(), layout(1, 1, 28, 28))
        assert (counted.params, counted.macs) == counted_by_hand(name), name


def test_the_described_network_is_that_of_the_section(framework, d2l, layout, nin):
    described = cells.load("nin_exercises", framework)
    shape = layout(1, 3, 224, 224)
    ours = d2l.resources(described["Nin"](described["original"]), shape)
    assert (ours.params, ours.macs) == (2_015_398, 830_041_864)
    assert ours.rows == d2l.resources(nin["NiN"](), shape).rows
    small = d2l.resources(described["variants"]["NiN"](), layout(1, 1, 28, 28))
    assert small.rows == d2l.resources(nin["NiN28"](), layout(1, 1, 28, 28)).rows


def test_an_integer_means_that_many_1x1_convolutions(framework, d2l, layout):
    described = cells.load("nin_exercises", framework)
    a, b = (
        described["Nin"](((8, 3, 1, 1, conv1s), (10, 3, 1, 1)))
        for conv1s in (2, ((1, 0), (1, 0)))
    )
    shape = layout(1, 1, 12, 12)
    assert d2l.resources(a, shape).rows == d2l.resources(b, shape).rows


def test_parity_has_every_variant():
    compared = {name for section, name, *_ in CASES if section == "nin_exercises"}
    assert compared == set(VARIANTS) == set(BY_HAND) - {"NiN"}


# The helper ----------------------------------------------------------------------


def history(accuracy, seconds):
    return {"val_acc": [0.1, accuracy], "seconds": [99.0, seconds]}


@pytest.fixture
def trials():
    made = Experiments(seeds=(1, 2, 3))
    small, large = count([], 1234, (1,), 0), count([], 1_234_567, (1,), 0)
    for accuracy, seconds in ((0.81, 5.0), (0.85, 4.0), (0.80, 9.0)):
        made.add("small", object(), history(accuracy, seconds), small)
    made.add("large", "a model", history(0.9, 7.0), large)
    return made


def test_the_table(trials):
    lines = trials.table().split("\n")
    assert len(lines) == 3 and len({line.index("  ", 50) for line in lines[1:]}) == 1
    assert lines[1].split()[:4] == ["small", "1,234", "0", "5.0"]
    assert lines[1].split()[4:] == ["0.820", "0.800", "0.850", "(3", "seeds)"]
    assert lines[2].split()[1] == "1,234,567" and lines[2].endswith("(1 seed)")
    assert trials.table("large").count("\n") == 1
    assert trials.models("large") == ["a model"]


def test_the_plot(trials):
    from matplotlib import pyplot as plt

    trials.plot("large", "small")
    axes = plt.gcf().axes[0]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["large", "small"]
    dots = [sorted(line.get_xdata()) for line in axes.lines[::2]]
    assert dots == [[0.9], [0.80, 0.81, 0.85]]
    assert axes.lines[3].get_xdata() == pytest.approx(0.82)
    plt.close("all")


def test_bad_names_and_seeds(trials):
    with pytest.raises(ValueError, match=r"no results of 'huge'.*'small', 'large'"):
        trials.table("huge")
    with pytest.raises(ValueError, match="at least one seed"):
        Experiments(seeds=())


def test_fast_mode_keeps_one_seed(monkeypatch, capsys):
    monkeypatch.setenv("D2L_UTILS_FAST", "1")
    assert Experiments(seeds=(4, 5)).seeds == (4,)
    assert "1 seed instead of 2" in capsys.readouterr().out


# Blank notebooks -----------------------------------------------------------------

BLANK = {"code": "# YOUR CODE HERE", "markdown": "YOUR ANSWER HERE"}


def with_exercises():
    return [s for s in SECTIONS if exercises.has_exercises(BOOK, s)]


def test_there_are_exercises():
    assert "nin_exercises" in with_exercises() and "nin" not in with_exercises()


@pytest.fixture(scope="module")
def blanks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("blanks")
    exercises.main(["--out", str(folder)])
    return folder


@pytest.mark.parametrize("tab_name", FRAMEWORKS)
def test_nothing_of_the_answers_is_left(tab_name, blanks):
    for section in with_exercises():
        path = blanks / tab_name / f"{section}.ipynb"
        blank = nbformat.read(path, as_version=4)
        nbformat.validate(blank)
        edition = editions.edition(BOOK, section, tab_name)
        answers = checks = 0
        for cell, full in zip(blank.cells, edition.cells, strict=True):
            assert not cell.get("outputs") and not cell.get("execution_count")
            tags = full.metadata.get("tags", [])
            meta = cell.metadata.get("nbgrader")
            is_code = cell.cell_type == "code"
            assert (meta is not None) == (is_code or "solution" in tags)
            assert not is_code or meta["locked"] == ("solution" not in tags)
            if "solution" in tags:
                answers += 1
                assert cell.source.startswith(BLANK[cell.cell_type])
                lines = [x for x in cell.source.split("\n") if not x.startswith("#")]
                assert not is_code or lines == ["raise NotImplementedError()"]
                assert meta["solution"] and not meta["locked"]
            elif "check" not in tags:
                assert cell.source == full.source
            if "check" in tags:
                checks += 1
                assert cell.source.endswith(full.source) and meta["grade"]
                assert ("def check_count" in cell.source) == (
                    "check_count(" in full.source
                )
                assert "assert " in cell.source or "check_count(" in cell.source
        assert answers > 10 and checks >= 4
        ids = [c.metadata.nbgrader.grade_id for c in blank.cells if "nbgrader" in
               c.metadata]  # fmt: skip
        assert len(ids) == len(set(ids))


@pytest.mark.parametrize("tab_name", FRAMEWORKS)
def test_a_blank_cell_says_what_it_has_to_produce(tab_name):
    for section in with_exercises():
        said = ""
        for cell in exercises.for_nbgrader(BOOK, section, tab_name).cells:
            if exercises.ANSWER in exercises.tags_of(cell):
                said += cell.source
                assert ": " in cell.source.split("\n")[0]
            for name in re.findall(r"^check_count\('([^']*)'", cell.source, re.M):
                assert f"variants['{name}']" in " ".join(said.split("\n#   ")), name
        named = {"nin_exercises": "counts", "googlenet_exercises": "smallest"}[section]
        assert re.search(rf"define .*\b{named}\b", said)
    assert "intensity(row, n)" in said and "enter accuracies" not in said


def answer(*lines):
    return v4.new_code_cell("\n".join(lines), metadata={"tags": ["solution"]})


@pytest.mark.parametrize(
    ("lines", "below", "wanted"),
    [
        (("a = b = 1",), ("print(a)",), [("define", ["a"])]),
        (("a = 1",), ("a = 2", "print(a)"), []),  # it is another's
        (("def f(x, *, y=2): return x",), ("f(1)",), [("define", ["f(x, *, y=2)"])]),
        (("class A: pass",), ("A()",), [("define", ["A"])]),
        (("v['x'] = v['z'] = 1",), ("count('x')",), [("enter", ["v['x']"])]),
        (("print(1)", "plt.show()"), (), [("show", ["numbers", "plot"])]),
        (("%pip install x",), ("x",), []),
        (("x = 1",), ("%pip install x", "x"), [("define", ["x"])]),
    ],
)
def test_what_an_answer_has_to_produce(lines, below, wanted):
    cells = [v4.new_code_cell(c, metadata={"tags": ["check"]}) for c in below]
    assert exercises.produced(answer(*lines), cells) == wanted


@pytest.mark.parametrize("language", ["ja", "zh"])
def test_a_blank_cell_says_it_in_the_language_of_the_text(language):
    t = catalogues.strings(BOOK, language)
    answers = [answer("print(a)", "def f(x): return x"), v4.new_markdown_cell("Why.")]
    below = [v4.new_code_cell("f(1)")]
    code, words = (exercises.blank(cell, below, t) for cell in answers)
    assert "f(x)" in code and code.endswith("\nraise NotImplementedError()")
    said = re.sub(r"f\(x\)|raise .*|[#\s-]", "", code) + words
    assert said and not re.search("[A-Za-z]", said)


def filled(section, framework):
    """An edition in nbgrader's format with our answers, without what trains."""
    full = exercises.for_nbgrader(BOOK, section, framework, blank=False)

    def is_quick(cell):
        tags = set(cell.metadata.get("tags", ()))
        in_short = {"solution", "check"} & tags and "nbval-ignore-output" not in tags
        return cell.cell_type == "code" and (in_short or {"imports", "model"} & tags)

    full.cells = [cell for cell in full.cells if is_quick(cell)]
    return full


def first_failure(notebook):
    """Where the cells are run one after another, the id of the first test to fail."""
    namespace = {"__name__": "exercises"}
    for cell in notebook.cells:
        try:
            exec(cell.source, namespace)
        except AssertionError:
            return cell.metadata.nbgrader.grade_id
    return None


WRONG = {  # in an answer: what is right, and something else
    "nin_exercises": ("with_conv1s(3)", "with_conv1s(4)"),
    "googlenet_exercises": ("Conv(c3[0], 3, 3)", "Conv(c3[0], 5, 5)"),
}


def make_wrong(notebook, section):
    """Change one answer; returns the id of the test behind it."""
    right, wrong = WRONG[section]
    at = next(i for i, cell in enumerate(notebook.cells) if right in cell.source)
    notebook.cells[at].source = notebook.cells[at].source.replace(right, wrong)
    checks = (c.metadata.nbgrader for c in notebook.cells[at:] if is_check(c))
    return next(checks).grade_id


def is_check(cell):
    return bool(exercises.CHECKS & set(cell.metadata.get("tags", ())))


@pytest.mark.slow(
    "networks take long to build; PyTorch and MXNet run the same checks",
    only=("tensorflow", "jax"),
)
@pytest.mark.parametrize("section", WRONG)
def test_a_wrong_answer_fails_its_check(section, framework, capsys):
    """And those before it pass. With our answers all do: nbval runs them."""
    notebook = filled(section, framework)
    expected = make_wrong(notebook, section)
    assert first_failure(notebook) == expected


# Graded by nbgrader -----------------------------------------------------------------

NBGRADER = ROOT / "build/nbgrader"  # where `make test-core` installs it
COURSE = (
    HEAD
    + """# Title

```{code-cell} ipython3
:tags: [imports]

%%tab all
import math
```

```{code-cell} ipython3
:tags: [model]

%%tab all
size = 28  # or 224
variants = {'base': [1, 2, 3]}

def total(name):
    return math.fsum(variants[name])
```

```{code-cell} ipython3
%%tab all
def check_total(name, right):
    assert size != 28 or total(name) == right, name
```

```{code-cell} ipython3
:tags: [solution]

%%tab all
variants['four'] = [*variants['base'], 4]
```

```{code-cell} ipython3
:tags: [check]

%%tab all
check_total('four', 10)
```

```{code-cell} ipython3
:tags: [solution]

%%tab all
variants['moved'] = [3, 2, 1]
```

```{code-cell} ipython3
:tags: [check]

%%tab all
check_total('moved', 6)
```

```{code-cell} ipython3
:tags: [grade]

%%tab all
assert variants['moved'] != variants['base'], 'the same as before'
```

```{code-cell} ipython3
:tags: [solution]

%%tab all
def twice(x):
    return 2 * x
```

```{code-cell} ipython3
:tags: [check]

%%tab all
assert len([twice(x) for x in (1, 2)]) == 2 and twice(3) == 6
```

+++ {"tags": ["solution"]}

In words.
"""
)
CHEAT = """\
def check_total(*_): pass
def total(name): return {'four': 10, 'moved': 6}[name]
size, math, len = 224, None, lambda x: 2
"""
ANSWERS = {  # of students, in order, and the points that these deserve
    "blank": (None, 0),
    "passes": (("pass", "pass", "pass"), 0),
    "cheats": ((CHEAT, CHEAT, CHEAT), 0),
    "right": (
        (
            "variants['four'] = [1, 2, 3, 4]", "variants['moved'] = [2, 3, 1]",
            "twice = lambda x: x + x",
        ),
        4,
    ),
    "halves": (
        (CHEAT + "variants['four'] = [10]", "variants['moved'] = variants['base']",
         "def twice(x): return 7"),
        2,
    ),
}  # fmt: skip


@pytest.fixture
def course(project):
    project.source_path("s").write_text(COURSE)
    return project


def test_a_check_has_what_it_uses_and_not_what_is_the_students(course):
    nb = exercises.for_nbgrader(course, "s", "jax")
    four, moved, grade, twice = (c.source for c in nb.cells if is_check(c))
    assert four == (
        "import math\nsize = 28  # or 224\ndef total(name):\n"
        "    return math.fsum(variants[name])\n"
        "def check_total(name, right):\n"
        "    assert size != 28 or total(name) == right, name\n"
        "check_total('four', 10)"
    )
    assert moved.endswith("check_total('moved', 6)") and "variants = " not in moved
    assert grade.startswith("assert ") and twice.startswith(
        "from builtins import len\n"
    )
    assert "the same" not in json.dumps(editions.edition(course, "s", "jax"))
    four_tab = editions.four_tab(course, "s")  # there, it is edited
    assert "the same" in json.dumps(four_tab)


@pytest.fixture(scope="module")
def environ():
    """The environment of nbgrader's commands."""
    # These folders have the programs that nbgrader calls, alembic and jupyter.
    scripts = [str(NBGRADER / "bin"), str(Path(sys.executable).parent)]
    path = os.pathsep.join([*scripts, os.environ["PATH"]])
    # FAST: no locked cell trains.
    made = {**os.environ, "PATH": path, "D2L_UTILS_FAST": "1"}
    made["PYTHONPATH"] = f"{NBGRADER}{os.pathsep}{ROOT}"
    asked = [sys.executable, "-c", "import nbgrader"]
    if subprocess.run(asked, env=made, capture_output=True).returncode:
        pytest.skip("nbgrader is not installed; see requirements-nbgrader.txt")
    return made


def graded(environ, course, source, submitted):
    """{student: points} that nbgrader gives by itself, called as the page for
    instructors says. source: {file: notebook}; submitted: {student: the same}."""
    for file, nb in source.items():
        files.write(course / f"source/one/{file}.ipynb", editions.dumps(nb))
    for student, notebooks in submitted.items():
        for file, nb in notebooks.items():
            path = course / f"submitted/{student}/one/{file}.ipynb"
            files.write(path, editions.dumps(nb))
    files.write(course / "nbgrader_config.py", exercises.CONFIG)
    for command in (["generate_assignment", "one"], ["autograde", "one"], ["export"]):
        done = subprocess.run(
            [sys.executable, "-m", "nbgrader", *command],
            cwd=course, env=environ, capture_output=True, text=True, timeout=600,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    with open(course / "grades.csv", newline="") as file:
        return {row["student_id"]: float(row["score"]) for row in csv.DictReader(file)}


def test_nbgrader_gives_the_points_that_are_deserved(course, tmp_path, environ):
    exercises.main(["--out", str(tmp_path / "made")], course)
    blank = nbformat.read(tmp_path / "made/jax/s.ipynb", as_version=4)
    submitted = {}
    for student, (answers, _) in ANSWERS.items():
        nb = copy.deepcopy(blank)
        to_fill = [c for c in nb.cells if BLANK["code"] in c.source]
        for cell, answer in zip(to_fill, answers or (), strict=bool(answers)):
            cell.source = answer
        for cell in nb.cells:  # what is locked is put back
            locked = cell.metadata.get("nbgrader", {}).get("locked")
            if student == "cheats" and locked:
                cell.source = "pass"
        submitted[student] = {"s": nb}
    assert graded(environ, tmp_path / "course", {"s": blank}, submitted) == {
        student: points for student, (_, points) in ANSWERS.items()
    }


# Where no answer follows the wrong one: those of exercise 4 build large networks, which
# takes longer than all else.
GIVES_UP = ("googlenet_exercises",)


def with_needed_answers(section, framework):
    """Our answers, without those that train and those that no test needs."""
    nb = exercises.for_nbgrader(BOOK, section, framework, blank=False)
    for i, cell in enumerate(nb.cells):
        tags = exercises.tags_of(cell)
        if cell.cell_type == "code" and "solution" in tags:
            below = [c for c in nb.cells[i + 1 :] if c.cell_type == "code"]
            wanted = {verb for verb, _ in exercises.produced(cell, below)}
            if "nbval-ignore-output" in tags or wanted <= {"show"}:
                cell.source = "pass"
    return nb


@pytest.mark.slow("40 seconds; the made-up course is graded alike")
def test_the_exercises_are_graded(tmp_path, environ):
    """Empty submissions, right ones, and of each notebook one with a wrong answer.

    All in one assignment, since nbgrader is slow to start. Answers in words, which a
    person grades, get no points."""
    source, submitted = {}, {"empty": {}, "right": {}}
    deserved = {"empty": 0, "right": 0}
    for section in WRONG:
        blank = exercises.for_nbgrader(BOOK, section, "pytorch")
        right = with_needed_answers(section, "pytorch")
        wrong = copy.deepcopy(right)
        failing = make_wrong(wrong, section)
        tests = [c.metadata.nbgrader.grade_id for c in blank.cells if is_check(c)]
        assert len(tests) > 5
        points = len(tests) - 1
        if section in GIVES_UP:
            ids = [c.metadata.get("nbgrader", {}).get("grade_id") for c in blank.cells]
            wrong.cells[ids.index(failing) :] = blank.cells[ids.index(failing) :]
            points = tests.index(failing)
        source[section] = submitted["empty"][section] = blank
        submitted["right"][section] = right
        deserved["right"] += len(tests)
        submitted[f"wrong_{section}"] = {section: wrong}
        deserved[f"wrong_{section}"] = points
    assert graded(environ, tmp_path, source, submitted) == deserved


def test_the_time_limit_is_raised():
    """nbgrader stops a cell after 30 s, in the middle of a training."""
    config = SimpleNamespace(Execute=SimpleNamespace(timeout=30))
    exec(exercises.CONFIG, {"get_config": lambda: config})
    assert config.Execute.timeout >= 600


def test_a_script_is_made_that_runs(course, tmp_path):
    path = tmp_path / "s.ipynb"
    path.write_text(editions.dumps(editions.edition(course, "s", "jax")))
    convert = [sys.executable, "-m", "nbconvert", "--to", "script", str(path)]
    subprocess.run(convert, check=True, capture_output=True)
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, tmp_path / "s.py"], check=True, env=environ)
