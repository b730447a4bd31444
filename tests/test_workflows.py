"""What runs on the hosting site: rights, time limits, versions, and what it calls."""

import re

import pytest
import yaml

from book.source.book import ROOT

PATHS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
WORKFLOWS = {path.stem: yaml.safe_load(path.read_text("utf-8")) for path in PATHS}
MOST_MINUTES = 180


def steps(workflow):
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("workflow", WORKFLOWS.values(), ids=WORKFLOWS)
def test_a_workflow_may_only_read_and_ends(workflow):
    assert workflow["permissions"] == {"contents": "read"}
    assert workflow["concurrency"]["cancel-in-progress"] is True
    assert "github.ref" in workflow["concurrency"]["group"]
    for job in workflow["jobs"].values():
        assert 0 < job["timeout-minutes"] <= MOST_MINUTES and "permissions" not in job
    for step in steps(workflow):
        if "uses" in step:  # an action, by its major version
            assert re.fullmatch(r"[\w-]+/[\w-]+@v\d+", step["uses"])


def test_when_they_run():
    """YAML takes the key `on` for a boolean."""
    assert set(WORKFLOWS["test"][True]) == {"push", "pull_request", "workflow_dispatch"}
    assert set(WORKFLOWS["nightly"][True]) == {"schedule", "workflow_dispatch"}


def test_elsewhere_runs_tests_that_are_there_and_no_make():
    job = WORKFLOWS["test"]["jobs"]["elsewhere"]
    assert set(job["strategy"]["matrix"]["os"]) == {"macos-latest", "windows-latest"}
    paths = job["env"]["TESTS"].split()
    assert paths and all((ROOT / path).is_file() for path in paths)
    commands = [step["run"] for step in job["steps"] if "run" in step]
    assert not any(re.search(r"\bmake\b", command) for command in commands)


def test_a_commit_is_checked_with_what_is_installed_here():
    """No hook comes from elsewhere, so nothing is fetched."""
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))
    (repository,) = config["repos"]
    assert repository["repo"] == "local"
    assert {hook["language"] for hook in repository["hooks"]} == {"system"}
    entries = " ".join(hook["entry"] for hook in repository["hooks"])
    for command in ("ruff check", "ruff format", "make check"):
        assert command in entries


def test_what_is_made_is_in_the_makefile():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    frameworks = re.search(r"^FRAMEWORKS := (.*)$", makefile, re.MULTILINE)[1].split()
    targets = {*re.findall(r"^([a-z-]+):", makefile, re.MULTILINE)}
    targets |= {f"test-{f}" for f in frameworks}
    job = WORKFLOWS["test"]["jobs"]["framework"]
    assert job["strategy"]["matrix"]["framework"] == frameworks
    commands = " ".join(step.get("run", "") for step in steps(WORKFLOWS["test"]))
    commands = commands.replace("make test-${{ matrix.framework }}", "")
    made = re.findall(r"make ((?:[a-z-]+ ?)+)", commands)
    made = {target for words in made for target in words.split()} - {"make"}
    assert {"check", "nbval"} <= made <= targets
