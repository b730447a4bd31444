"""The stored curves are of this notebook, and lie on one another."""

import ast
import itertools
import json

import numpy as np
import pytest

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
