"""The stored curves and numbers that parity.md shows are of its settings, and agree."""

import ast
import itertools
import json
import re

import numpy as np
import pytest

from book.checks.parity import TOLERANCES
from book.source.book import BOOK
from book.source.reading import read_source
from d2l_utils import weights
from d2l_utils.frameworks import FRAMEWORKS

STEPS = 469  # of one epoch: 60,000 images in batches of 128


@pytest.fixture(scope="module")
def stored():
    path = weights.STORED / "nin28_curves.json"
    return json.loads(path.read_text(encoding="utf-8"))


def test_the_settings_are_those_of_the_notebook(stored):
    cells = read_source(BOOK, "parity")
    sources = [cell.source for cell in cells if cell.kind == "code"]
    (source,) = [s for s in sources if s.startswith("settings =")]
    assert ast.literal_eval(source.partition("=")[2].strip()) == stored["settings"]


def test_the_curves_lie_on_one_another(stored):
    curves = {name: np.array(curve) for name, curve in stored["loss"].items()}
    assert set(curves) == set(FRAMEWORKS)
    for a, b in itertools.combinations(FRAMEWORKS, 2):
        assert len(curves[a]) == len(curves[b]) == STEPS
        difference = np.abs(curves[a] - curves[b])
        assert difference[:50].max() < 1e-4  # before rounding has grown
        assert difference.max() < 0.1 and difference.mean() < 0.01
        assert curves[a][-50:].mean() < 0.8 * curves[a][:50].mean()  # it learned


def test_all_predict_the_same_classes(stored):
    """But for a few images, where rounding decides between the two best."""
    classes = {
        name: np.array(list(map(int, c))) for name, c in stored["classes"].items()
    }
    assert set(classes) == set(FRAMEWORKS)
    for a, b in itertools.combinations(FRAMEWORKS, 2):
        assert len(classes[a]) == 10_000
        assert (classes[a] != classes[b]).sum() <= 3
    assert len(set(classes["pytorch"])) == 10


# What the four frameworks found in each part ------------------------------------------


@pytest.fixture(scope="module")
def record():
    path = weights.STORED / "parity.json"
    return json.loads(path.read_text(encoding="utf-8"))


def test_every_part_of_the_notebook_is_recorded_in_all_frameworks(record):
    cells = read_source(BOOK, "parity")
    named = [re.findall(r"^side_by_side\('(\w[\w ]*)'", c.source, re.M) for c in cells]
    assert list(record["found"]) == list(itertools.chain(*named))
    for found in record["found"].values():
        assert list(found) == list(FRAMEWORKS)


def test_frameworks_differ_until_the_notebooks_say_what_they_want(record):
    """By themselves they start, shuffle and shrink images otherwise."""
    for what in ("padding", "initial values", "order"):
        assert len(set(map(str, record["found"][what].values()))) > 2
    assert len(set(record["found"]["init_cnn"].values())) == 1
    padded = record["found"]["padding"].values()
    assert {found.partition("side ")[2] for found in padded} == {"[0, 2, 4]"}
    last = {f.name for f in FRAMEWORKS.values() if f.channels_last}
    for name, found in record["found"]["flattened"].items():
        assert found.endswith("sum 10" if name in last else "sum 6")


def test_the_differences_of_one_step_are_within_the_tolerances_of_parity(record):
    for network, worst in record["one step"].items():
        dtype = "float64" if "float64" in network else "float32"
        assert set(worst) == set(TOLERANCES[dtype])
        for kind, value in worst.items():
            assert 0 < value <= TOLERANCES[dtype][kind]
