"""The runner of other environments: what it builds, counts, records and shows."""

import json
import sys

import pytest
import tomllib
from packaging.requirements import Requirement

from book.checks import matrix
from book.source.book import ROOT

SUITE = '<testsuites><testsuite tests="9" failures="2" errors="1" skipped="1"/>'
NBVAL = """jax: skipped, it is not installed (or has no wheels here)
notebooks/jax/nin.ipynb: passed in 31 s
notebooks/jax/parity.ipynb: FAILED in 9 s
E   print("notebooks/x.ipynb: passed in 1 s")
2 notebooks, FAILED
"""
MARKS = "<!-- matrix: made by `make test-matrix` -->\n<!-- end of matrix -->"
OLD = {"python": "3.11.7", "numpy": "2.4.1", "torch": "2.13.0", "mxnet": "1.9.1"}
OLD |= {"tensorflow": "2.21.0", "keras": "3.15.1", "jax": "0.10.2"}


@pytest.fixture
def stored(tmp_path, monkeypatch):
    """The file of results; nothing is written to the real one, nor to the README."""
    monkeypatch.setattr(matrix, "FOLDER", tmp_path / "build")
    monkeypatch.setattr(matrix, "RESULTS", tmp_path / "results.json")
    monkeypatch.setattr(matrix, "README", tmp_path / "README.md")
    matrix.README.write_text(f"above\n{MARKS}\nbelow\n")
    return tmp_path / "results.json"


def all_passed(name, **changes):
    steps = {s: {"passed": 5, "failed": 0, "ok": True} for s in matrix.steps_of(name)}
    steps = {
        **steps,
        "core tests": {"passed": 7, "failed": 0, "skipped": 2, "ok": True},
    }
    return {"date": "2026-01-02", "versions": OLD, "steps": {**steps, **changes}}


def test_no_dependency_has_an_upper_bound():
    """But MXNet, of which there will be no other release."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], project["name"] + project["requires-python"]]
    lines += [x for extra in project["optional-dependencies"].values() for x in extra]
    bounds = {s.operator for x in lines for s in Requirement(x).specifier
              if Requirement(x).name != "mxnet"}  # fmt: skip
    assert bounds == {">="}


@pytest.mark.parametrize("name", [n for n in matrix.ENVIRONMENTS if n != "pinned"])
def test_what_is_built(name):
    make, install, alone = matrix.build_commands(name, "python0")
    assert make[:3] == ["python0", "-m", "venv"]
    constraints = install[install.index("-c") + 1]
    assert constraints.exists()
    extras = next(x for x in install if str(x).startswith(".["))
    frameworks = matrix.ENVIRONMENTS[name].frameworks
    assert ("torch" in extras) == ("pytorch" in frameworks)
    assert "tensorflow,jax,test]" in extras and "mxnet" not in str(install)
    assert "--no-deps" in alone and "mxnet==1.9.1" in alone


def test_colabs_list_names_its_source_and_is_exact():
    lines = (matrix.LISTS / "colab.txt").read_text().splitlines()
    about = " ".join(x for x in lines if x.startswith("#"))
    assert "googlecolab/backend-info" in about and "2026" in about
    pins = {Requirement(x).name: x for x in lines if x and x[0] != "#"}
    assert all(x.count("==") == 1 for x in pins.values())
    assert {"numpy", "jax", "flax", "optax", "torch", "keras"} <= set(pins)
    assert pins["tensorflow-cpu"] == pins["tensorflow"].replace("flow", "flow-cpu")


def test_every_framework_is_tested_and_its_notebooks_run():
    for name, environment in matrix.ENVIRONMENTS.items():
        steps = matrix.steps_of(name)
        for framework in environment.frameworks:
            (tests,), (notebooks,) = (
                steps[f"{framework} {what}"] for what in ("tests", "notebooks")
            )
            assert tests[-2:] == notebooks[-2:] == ["--framework", framework]
        ignored = [x for x in steps["core tests"][0] if str(x).startswith("--ignore")]
        assert bool(ignored) == (name != "pinned")
        assert all((ROOT / x.partition("=")[2]).exists() for x in ignored)


def test_counts(stored):
    found = matrix.counts("newest", "jax notebooks", NBVAL)
    assert found == {"passed": 1, "failed": 1}
    matrix.FOLDER.mkdir(parents=True)
    assert set(matrix.counts("newest", "jax tests", "").values()) == {0}
    (matrix.FOLDER / "newest.xml").write_text(SUITE + "</testsuites>")
    found = matrix.counts("newest", "jax tests", "")
    assert found == {"passed": 5, "failed": 3, "skipped": 1}


WRITE = "open({path!r}, 'w').write({text!r}); raise SystemExit({status})"


@pytest.mark.parametrize(
    "tests, status, ok", [(9, 0, True), (9, 1, False), (4, 0, False)]
)
def test_a_step_passes_only_with_status_0_and_a_test_that_passed(
    tests, status, ok, stored, capsys
):
    text = f'<x><testsuite tests="{tests}" failures="0" errors="0" skipped="4"/></x>'
    path = str(matrix.FOLDER / "newest.xml")
    code = WRITE.format(path=path, text=text, status=status)
    outcome = matrix.run_step("newest", "jax tests", [[sys.executable, "-c", code]])
    assert outcome["ok"] == ok and outcome["passed"] == tests - 4
    said = capsys.readouterr().out
    assert ("FAILED, see " in said) == (not ok)


def test_a_step_ends_at_the_first_command_that_fails(stored):
    commands = [[sys.executable, "-c", "raise SystemExit('no wheel')"],
                [sys.executable, "-c", "print('went on')"]]  # fmt: skip
    assert matrix.run_step("newest", "build", commands) == {"ok": False}
    assert (matrix.FOLDER / "newest-build.log").read_text() == "no wheel\n"
    assert not matrix.run_step("newest", "build", [["no/such/program"]])["ok"]


def test_a_failed_build_is_recorded_and_ends_it(stored, monkeypatch):
    monkeypatch.setattr(matrix, "run_step", lambda name, step, commands: {"ok": False})
    assert matrix.run("newest", sys.executable) is False
    entry = json.loads(stored.read_text())["newest"]
    assert entry["steps"] == {"build": {"ok": False}}
    text = matrix.summary("newest", entry)
    assert text.startswith("**build failed; not run: core tests, pytorch tests, ")


def test_one_step_again(stored, monkeypatch):
    monkeypatch.setattr(matrix, "versions", lambda name: OLD)
    bad = {"passed": 4, "failed": 1, "skipped": 0, "ok": False}
    stored.write_text(
        json.dumps({"newest": all_passed("newest", **{"jax tests": bad})})
    )
    assert (
        "| **jax tests failed**; 26 tests, 20 notebooks passed, 1 failed; 2 "
        in matrix.readme_table()
    )
    good = {"passed": 5, "failed": 0, "skipped": 0, "ok": True}
    monkeypatch.setattr(matrix, "run_step", lambda *args: good)
    assert matrix.run("newest", sys.executable, "jax tests") is True
    assert "**" not in matrix.readme_table()
    monkeypatch.setattr(matrix, "versions", lambda name: {**OLD, "jax": "0.11"})
    with pytest.raises(SystemExit, match="run all of its steps"):
        matrix.run("newest", sys.executable, "jax tests")


def test_the_table(stored):
    lost = {k: v for k, v in OLD.items() if k != "jax"}
    colab = {**all_passed("colab"), "versions": lost}
    stored.write_text(json.dumps({"newest": all_passed("newest"), "colab": colab}))
    head, _, newest, colab = matrix.readme_table().splitlines()
    assert newest.count("|") == colab.count("|") == head.count("|")
    assert "| 2.21.0, 3.15.1 | 0.10.2, missing | 2026-01-02 |" in newest
    assert newest.endswith("| 27 tests, 20 notebooks passed; 2 tests skipped |")
    assert "| no CPU build | 1.9.1 |" in colab and "missing, missing" in colab


def test_without_python_3_12(stored, capsys):
    stored.write_text("{}")
    assert matrix.main(["--only", "colab", "--python312", "no-such-python"]) == 1
    said = capsys.readouterr().out
    assert said.startswith("colab: NOT RUN, no-such-python is not Python 3.12")
    assert stored.read_text() == "{}"
    assert matrix.find_python("2.7", sys.executable) is None


def test_a_stale_table_fails_the_check(stored):
    with pytest.raises(SystemExit, match="stale"):
        matrix.main(["--check"])
    for name in matrix.ENVIRONMENTS:
        matrix.save(name, all_passed(name))
        if name == "newest":
            with pytest.raises(SystemExit, match="Never run: python312, colab"):
                matrix.main(["--check"])
    assert matrix.main(["--check"]) == 0
    readme = matrix.README.read_text()
    assert readme.startswith("above\n<!--") and readme.endswith("-->\nbelow\n")
    stored.write_text(stored.read_text().replace("2026-01-02", "2026-01-03"))
    with pytest.raises(SystemExit, match="stale"):
        matrix.main(["--check"])
    assert matrix.main(["--table"]) == matrix.main(["--check"]) == 0
