"""One training on several devices is that on one: virtual devices, no GPU is needed."""

import os
import subprocess
import sys
from pathlib import Path

import made_several
import numpy as np
import pytest

SEVERAL = ("jax",)  # the frameworks whose Trainer can
SCRIPT = Path(made_several.__file__)
pytestmark = pytest.mark.only(*SEVERAL)
on_several = pytest.mark.parametrize("n", made_several.DEVICES[1:])
each_network = pytest.mark.parametrize("name", made_several.NETWORKS)


@pytest.fixture(scope="module")
def trained(framework, tmp_path_factory):
    folder = tmp_path_factory.mktemp("several")
    command = [sys.executable, str(SCRIPT), framework, str(folder)]
    paths = os.pathsep.join([str(SCRIPT.parents[1]), str(SCRIPT.parent)])
    environ = {**os.environ, "PYTHONPATH": paths}
    environ.pop("D2L_UTILS_FAST", None)
    done = subprocess.run(command, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return lambda name, n: np.load(folder / f"{name}.{n}.npz")


@on_several
@each_network
def test_it_ends_in_the_same(trained, name, n):
    """Weights, records and predictions; the last batch cannot be cut into 4 parts."""
    one, several = trained(name, 1), trained(name, n)
    assert set(one) == set(several)
    kinds = ("weights/", "history/", "predicted")
    for key in (key for key in one if key.startswith(kinds)):
        # In front of a batch normalization a bias has no gradient but rounding.
        least = 1e-5 if key == "weights/conv0.bias" else 1e-12
        error = np.linalg.norm(several[key] - one[key])
        assert error <= 1e-5 * np.linalg.norm(one[key]) + least, key
    first, last = one["history/train_loss"]
    assert last < first - 0.05  # there was something to learn


@on_several
def test_a_batch_is_cut_into_equal_parts_or_computed_whole(trained, n):
    last = made_several.IMAGES % made_several.BATCH
    cut = [b // n if b % n == 0 else b for b in (made_several.BATCH, last)]
    assert trained("conv", n)["cut"].tolist() == cut
    assert f"{n} devices, " in str(trained("conv", n)["plan"])
    assert " devices, " not in str(trained("conv", 1)["plan"])
