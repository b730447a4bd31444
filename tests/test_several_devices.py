"""One training on several devices is that on one: virtual devices, no GPU is needed."""

import os
import subprocess
import sys
from pathlib import Path

import made_several
import numpy as np
import pytest

# The frameworks whose Trainer can, and the networks that train as on one device. In
# PyTorch and TensorFlow each device drops units of its own, and normalizes by its part
# of a batch.
SAME = {
    "jax": tuple(made_several.NETWORKS),
    "pytorch": ("conv",),
    "tensorflow": ("conv",),
}
LAUNCHER = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
SCRIPT = Path(made_several.__file__)
pytestmark = pytest.mark.only(*SAME)
on_several = pytest.mark.parametrize("n", made_several.DEVICES[1:])
each_network = pytest.mark.parametrize("name", made_several.NETWORKS)


def run(*arguments):
    """Run Python with these arguments; returns what it has said."""
    paths = os.pathsep.join([str(SCRIPT.parents[1]), str(SCRIPT.parent)])
    environ = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    environ.pop("D2L_UTILS_FAST", None)
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def trained(framework, tmp_path_factory):
    folder = tmp_path_factory.mktemp("several")
    numbers = made_several.DEVICES
    if framework == "pytorch":
        commands = [[SCRIPT, framework, folder, 1]]
        commands += [[*LAUNCHER, n, SCRIPT, framework, folder, n] for n in numbers[1:]]
    else:
        commands = [[SCRIPT, framework, folder, *numbers]]
    for command in commands:
        status, said = run(*command)
        assert status == 0, said[-3000:]
    return lambda name, n, rank=0: np.load(folder / f"{name}.{n}.rank{rank}.npz")


@on_several
@each_network
def test_it_ends_in_the_same(trained, framework, name, n):
    """Weights, records and predictions; the last batch cannot be cut into 4 parts."""
    one, several = trained(name, 1), trained(name, n)
    assert set(one) == set(several)
    if name not in SAME[framework]:
        assert np.isfinite(several["history/train_loss"]).all()
        return
    first, last = one["history/train_loss"]
    assert last < first - 0.005  # there was something to learn
    kinds = ("weights/", "history/", "predicted")
    for key in (key for key in one if key.startswith(kinds)):
        # In front of a batch normalization a bias has no gradient but rounding.
        least = 1e-5 if key == "weights/conv0.bias" else 1e-12
        error = np.linalg.norm(several[key] - one[key])
        assert error <= 1e-5 * np.linalg.norm(one[key]) + least, key


@on_several
def test_a_batch_is_shared(trained, framework, n):
    """In equal parts; else whole in JAX, in unequal parts elsewhere."""
    batch, last = made_several.BATCH, made_several.IMAGES % made_several.BATCH
    sizes = [batch, batch, last]
    if framework == "jax":
        cut = [b // n if b % n == 0 else b for b in sizes]
    else:
        cut = [b // n for b in sizes]
    if framework == "pytorch":
        ranks = [trained("conv", n, rank)["cut"] for rank in range(n)]
        assert np.sum(ranks, axis=0).tolist() == sizes
    several = trained("conv", n)
    assert several["cut"].tolist() == cut
    what = "processes" if framework == "pytorch" else "devices"
    assert f"{n} {what}, " in str(several["plan"])
    assert f"{what}, " not in str(trained("conv", 1)["plan"])


@pytest.mark.only("pytorch")
@on_several
@each_network
def test_all_processes_have_the_same_weights_and_records(trained, name, n):
    first = trained(name, n)
    for rank in range(1, n):
        other = trained(name, n, rank)
        for key in (k for k in first if k.startswith(("weights/", "history/"))):
            if ".mean" not in key and ".var" not in key:  # of a process's own parts
                np.testing.assert_array_equal(other[key], first[key], key)


# In processes -------------------------------------------------------------------------

LITTLE = """
import os, signal, sys
import numpy as np
from made_networks import made_class
from made_several import BATCH, NETWORKS, train
from d2l_utils import torch as d2l

epochs, checkpoint, out, fault = sys.argv[1:]
rank = int(os.environ.get("RANK", 0))
d2l.set_seed(6 if (fault, rank) == ("seed", 1) else 5)


class Made(made_class("pytorch", d2l)):
    def training_step(self, batch):
        if (fault, rank, self.trainer.train_batch_idx) == ("killed", 1, 4):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().training_step(batch)


class Trainer(d2l.Trainer):
    def __init__(self, max_epochs, **kwargs):
        super().__init__(int(epochs), checkpoint=checkpoint or None, **kwargs)


found = train("pytorch", d2l, Trainer, Made(described=NETWORKS["conv"], lr=0.1))
if rank == 0:
    np.savez(out, **found)
"""


@pytest.fixture
def little(tmp_path, framework):
    """little(processes, epochs, checkpoint, fault) gives (status, words, results)."""
    script, out = tmp_path / "little.py", tmp_path / "out.npz"
    script.write_text(LITTLE)

    def go(n, epochs, checkpoint="", fault=""):
        out.unlink(missing_ok=True)
        launcher = [*LAUNCHER, n] if n > 1 else []
        status, said = run(*launcher, script, epochs, checkpoint, out, fault)
        return status, said, dict(np.load(out)) if out.exists() else None

    return go


def assert_same(a, b):
    for key in (k for k in a if k.startswith(("weights/", "history/"))):
        np.testing.assert_allclose(b[key], a[key], rtol=1e-4, atol=1e-6, err_msg=key)


WAITS = pytest.mark.slow("two processes that start three times; 2 to 1 is tried")


@pytest.mark.only("pytorch")
@pytest.mark.parametrize("before, after", [(2, 1), pytest.param(1, 2, marks=WAITS)])
def test_a_training_goes_on_in_another_number_of_processes(
    little, tmp_path, before, after
):
    file = tmp_path / "training"
    assert little(before, 1, file)[0] == 0
    status, said, resumed = little(after, 2, file)
    assert status == 0, said
    assert_same(little(1, 2)[2], resumed)


@pytest.mark.only("pytorch")
@pytest.mark.slow("torchrun itself ends the others; resuming is tested above")
def test_a_process_that_dies_ends_the_others_and_the_training_can_go_on(
    little, tmp_path
):
    file = tmp_path / "training"
    status, said, found = little(2, 2, file, "killed")
    assert status != 0 and found is None and "SIGKILL" in said
    assert file.exists()
    status, said, resumed = little(2, 2, file)
    assert status == 0, said
    assert_same(little(1, 2)[2], resumed)


@pytest.mark.only("pytorch")
def test_each_process_draws_of_its_own_and_loaders_draw_the_same(framework):
    import torch

    from d2l_utils.torch.processes import drawing_from
    from d2l_utils.training import step_seed

    torch.manual_seed(3)
    drawn = []
    for rank in range(2):
        with drawing_from(step_seed(1, 0, rank), torch.device("cpu")):
            drawn.append(torch.rand(5))
    assert not torch.equal(*drawn)
    after = torch.rand(5)
    torch.manual_seed(3)
    assert torch.equal(after, torch.rand(5))


@pytest.mark.only("pytorch")
def test_processes_that_train_different_things_say_so(little):
    status, said, _ = little(2, 1, fault="seed")
    assert status != 0
    assert "The process with rank 1 trains something else than that with rank 0" in said
    assert "seed 6, not 5" in said
