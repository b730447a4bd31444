"""Does it all run on other versions? `python -m book.checks.matrix [--only colab]`.

Each environment is built in build/matrix. The unit tests and, in fast mode, the
notebooks run in it, one framework at a time. Versions and outcomes are written to
tests/matrix/results.json. The table in the README comes from that file: `--table`
writes it, `--check` says whether it is stale. pyproject.toml and tests/matrix/NAME.txt
say what to install. `--step 'jax tests'` runs one step again in what was built.
"""

import argparse
import datetime
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from book.source import files, readme
from book.source.book import ROOT
from d2l_utils.frameworks import FRAMEWORKS

FOLDER = ROOT / "build" / "matrix"
LISTS = ROOT / "tests" / "matrix"
RESULTS, README = LISTS / "results.json", ROOT / "README.md"
STEP_TIMEOUT = 3600  # seconds

MXNET = "mxnet==1.9.1"  # without its dependencies, which want NumPy 1
# What MXNet needs, and notebooks for their chooser of tabs.
ALSO = ("graphviz", "requests", "setuptools", "ipywidgets")
# Run in the pinned environment only. The first is about the pins themselves and the
# wheel; the second would see the same pages, byte for byte, in every environment.
PINNED_ONLY = ("tests/test_platforms.py", "tests/test_pages_browser.py")

PACKAGES = {  # titles of the table's columns, and whose versions they show
    "NumPy": ("numpy",),
}
for _f in FRAMEWORKS.values():
    if _f.base == _f.package:
        PACKAGES[_f.title] = (_f.package,)
    else:
        PACKAGES[f"{_f.title}, {_f.base.title()}"] = _f.package, _f.base
VERSIONS = """
import json, platform
from importlib import metadata
names = {d.metadata["Name"].replace("_", "-").lower().removesuffix("-cpu"): d.version
         for d in metadata.distributions()}
print(json.dumps({"python": platform.python_version(), **names}))
"""


class Environment(NamedTuple):
    title: str
    python: str
    frameworks: tuple = tuple(FRAMEWORKS)


WITHOUT_PYTORCH = tuple(f for f in FRAMEWORKS if f != "pytorch")
ENVIRONMENTS = {
    "pinned": Environment("`requirements.txt`", "3.11"),
    "newest": Environment("newest releases", "3.11"),
    "python312": Environment("newest releases", "3.12", WITHOUT_PYTORCH),
    "colab": Environment("Colab, June 2026", "3.12", WITHOUT_PYTORCH),
}


def python_of(name):
    """The interpreter of an environment; the pinned one is that which runs this."""
    return sys.executable if name == "pinned" else FOLDER / name / "bin" / "python"


def build_commands(name, base):
    """The commands that build an environment; base: the interpreter to make it with."""
    python, env = python_of(name), ENVIRONMENTS[name]
    wanted = [FRAMEWORKS[f].module for f in env.frameworks if f != "mxnet"]
    install = [python, "-m", "pip", "install", "--disable-pip-version-check"]
    constraints = ["-c", LISTS / f"{name}.txt"]
    return [
        [base, "-m", "venv", "--clear", FOLDER / name],
        [*install, *constraints, "-e", f".[{','.join(wanted)},test]", *ALSO],
        [*install, "--no-deps", MXNET, "-e", "./book"],
    ]


def steps_of(name, base=sys.executable):
    """{step: its commands} of an environment, in order."""
    python = python_of(name)
    pytest = [python, "-m", "pytest", "-q", f"--junitxml={FOLDER / name}.xml"]
    others = [] if name == "pinned" else [f"--ignore={p}" for p in PINNED_ONLY]
    steps = {} if name == "pinned" else {"build": build_commands(name, base)}
    steps["core tests"] = [[*pytest, *others]]
    for f in ENVIRONMENTS[name].frameworks:
        steps[f"{f} tests"] = [[*pytest, "--framework", f]]
        steps[f"{f} notebooks"] = [
            [python, "-m", "book.notebooks.nbval", "--framework", f]
        ]
    return steps


def counts(name, step, output):
    """{passed, failed, skipped} of a step: from pytest's file, or nbval's lines."""
    if step == "build":
        return {}
    if step.endswith("notebooks"):
        said = re.findall(r"^\S+: (passed|FAILED) in \d+ s$", output, re.MULTILINE)
        return {"passed": said.count("passed"), "failed": said.count("FAILED")}
    try:
        suite = ElementTree.parse(FOLDER / f"{name}.xml").getroot().find("testsuite")
    except OSError:
        return {"passed": 0, "failed": 0, "skipped": 0}  # pytest did not get to its end
    n = {k: int(suite.get(k)) for k in ("tests", "failures", "errors", "skipped")}
    failed = n["failures"] + n["errors"]
    passed = n["tests"] - failed - n["skipped"]
    return {"passed": passed, "failed": failed, "skipped": n["skipped"]}


def run_step(name, step, commands):
    """Run the commands of a step, with a log; returns its outcome."""
    log = FOLDER / f"{name} {step}.log".replace(" ", "-")
    log.parent.mkdir(parents=True, exist_ok=True)
    (FOLDER / f"{name}.xml").unlink(missing_ok=True)
    environ = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    environ["PATH"] = f"{Path(python_of(name)).parent}{os.pathsep}{environ['PATH']}"
    start, status = time.monotonic(), 0
    print(f"{name}: {step}", end=" ", flush=True)
    with open(log, "w", encoding="utf-8") as file:
        for command in commands:
            try:
                status = subprocess.run(
                    list(map(str, command)), cwd=ROOT, env=environ, stdout=file,
                    stderr=subprocess.STDOUT, timeout=STEP_TIMEOUT,
                ).returncode  # fmt: skip
            except (OSError, subprocess.TimeoutExpired) as error:
                print(error, file=file)
                status = 1
            if status:
                break
    outcome = counts(name, step, log.read_text("utf-8", "replace"))
    outcome["ok"] = status == 0 and outcome.get("passed") != 0
    numbers = ", ".join(f"{n} {k}" for k, n in outcome.items() if k != "ok")
    word = "passed" if outcome["ok"] else f"FAILED, see {os.path.relpath(log, ROOT)}"
    numbers = f" ({numbers})" if numbers else ""
    print(f"{word}{numbers} in {time.monotonic() - start:.0f} s", flush=True)
    return outcome


def versions(name):
    """{package: version} of what the table shows."""
    try:
        done = subprocess.run([python_of(name), "-c", VERSIONS], capture_output=True)
        found = json.loads(done.stdout)
    except (OSError, ValueError):  # what could not be built
        found = {}
    wanted = ["python", *(p for packages in PACKAGES.values() for p in packages)]
    return {k: found[k] for k in wanted if k in found}


def load():
    return json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}


def save(name, entry):
    """Write the results with one environment's changed, and the README's table."""
    results = {**load(), name: entry}
    ordered = {k: results[k] for k in ENVIRONMENTS if k in results}
    files.write(RESULTS, json.dumps(ordered, indent=1) + "\n")
    write_table()


def run(name, base, only=None):
    """Run all steps of an environment, or one again; returns whether all passed."""
    steps = steps_of(name, base)
    entry = {"steps": {}}
    if only:
        entry = load().get(name, entry)
        there = versions(name)
        if only != "build" and there != entry.get("versions", there):
            sys.exit(
                f"The versions in {name} differ from those tested before: run all of "
                "its steps."
            )
        steps = {only: steps[only]}
    for step, commands in steps.items():
        outcome = run_step(name, step, commands)
        entry["date"] = datetime.date.today().isoformat()
        entry["versions"] = versions(name)
        entry["steps"][step] = outcome
        save(name, entry)
        if step == "build" and not outcome["ok"]:
            break  # the rest is shown as not run
    return not problems(name, entry)


def problems(name, entry):
    """What did not pass, in words; [] if all did."""
    ran = entry["steps"]
    found = [f"{step} failed" for step in steps_of(name)
             if not ran.get(step, {"ok": True})["ok"]]  # fmt: skip
    not_run = [step for step in steps_of(name) if step not in ran]
    return found + ["not run: " + ", ".join(not_run)] * bool(not_run)


def summary(name, entry):
    """The outcome of an environment in one line."""
    ran = entry["steps"].items()
    total = {
        kind: sum(outcome.get("passed", 0) for s, outcome in ran if s.endswith(kind))
        for kind in ("tests", "notebooks")
    }
    failed, skipped = (
        sum(outcome.get(count, 0) for _, outcome in ran)
        for count in ("failed", "skipped")
    )
    text = f"{total['tests']} tests, {total['notebooks']} notebooks passed"
    text += f", {failed} failed" * bool(failed)
    text += f"; {skipped} tests skipped" * bool(skipped)
    wrong = problems(name, entry)
    return f"**{'; '.join(wrong)}**; {text}" if wrong else text


def readme_table():
    """What stands between the marks in the README."""
    rows = [["", "Python", *PACKAGES, "tested", "outcome"]]
    for name, entry in load().items():
        env, there = ENVIRONMENTS[name], entry["versions"]
        cells = [env.title, there.get("python", env.python)]
        for column, packages in PACKAGES.items():
            left_out = column == "PyTorch" and "pytorch" not in env.frameworks
            found = ", ".join(there.get(p, "missing") for p in packages)
            cells.append("no CPU build" if left_out else found)
        rows.append([*cells, entry["date"], summary(name, entry)])
    return readme.table(rows)


def write_table(check=False):
    """Bring the README's table up to date; returns whether it was stale."""
    return readme.update(README, "matrix", readme_table(), check)


def check():
    """Exit with a message where the README's table is stale, or lacks a row."""
    if write_table(check=True):
        sys.exit(
            "The table in README.md is stale: run "
            "`python -m book.checks.matrix --table`"
        )
    if lacking := [name for name in ENVIRONMENTS if name not in load()]:
        sys.exit(f"Never run: {', '.join(lacking)}. Run `python -m book.checks.matrix`")


def find_python(version, named):
    """`named` if it is an interpreter of that version, else None."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run(
            [named, "-c", code], capture_output=True, encoding="utf-8"
        )
    except OSError:
        return None
    return named if done.stdout.strip() == version else None


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", choices=ENVIRONMENTS)
    parser.add_argument("--step", help="run one step again, in what was built")
    parser.add_argument("--python312", default="python3.12", metavar="PROGRAM")
    parser.add_argument("--table", action="store_true", help="write the table only")
    parser.add_argument("--check", action="store_true", help="change nothing")
    args = parser.parse_args(argv)
    names = [args.only] if args.only else list(ENVIRONMENTS)
    if args.step and (not args.only or args.step not in steps_of(args.only)):
        parser.error("--step needs --only and one of its steps: " + ", ".join(
            steps_of(args.only or "newest")))  # fmt: skip
    if args.check or args.table:
        check() if args.check else write_table()
        return 0
    passed = True
    for name in names:
        version = ENVIRONMENTS[name].python
        wanted = args.python312 if version == "3.12" else sys.executable
        base = find_python(version, wanted)
        if base is None:
            print(f"{name}: NOT RUN, {wanted} is not Python {version}; if you have it, "
                  f"run `make test-matrix PYTHON312=...`")  # fmt: skip
            passed = False
            continue
        passed &= run(name, base, args.step)
    return int(not passed)


if __name__ == "__main__":
    sys.exit(main())
