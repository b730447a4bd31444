"""One training on several devices is that on one: virtual devices, no GPU is needed."""

import functools
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import made_several
import numpy as np
import pytest

from d2l_utils import checkpoints

# The networks that train as on one device. Except in JAX, each device drops units of
# its own, and normalizes by its part of a batch.
SAME = {
    "jax": tuple(made_several.NETWORKS),
    "mxnet": ("conv",),
    "pytorch": ("conv",),
    "tensorflow": ("conv",),
}
LAUNCHER = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
SCRIPT = Path(made_several.__file__)
on_several = pytest.mark.parametrize("n", made_several.DEVICES[1:])
each_network = pytest.mark.parametrize("name", made_several.NETWORKS)


def start(*arguments):
    """Python with these arguments, as a process."""
    paths = os.pathsep.join([str(SCRIPT.parents[1]), str(SCRIPT.parent)])
    environ = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    environ.pop("D2L_UTILS_FAST", None)
    command = [sys.executable, *map(str, arguments)]
    return subprocess.Popen(
        command,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(*arguments):
    """(status, what it has said) of Python with these arguments."""
    process = start(*arguments)
    said, _ = process.communicate()
    return process.returncode, said


@pytest.fixture(scope="module")
def trained_as(framework, tmp_path_factory):
    """trained_as(kind)(name, n, rank) gives what a training of that kind ended in."""

    @functools.cache
    def trained(kind):
        folder = tmp_path_factory.mktemp(kind)
        numbers = made_several.DEVICES
        if framework == "pytorch":
            commands = [[SCRIPT, framework, folder, kind, 1]]
            commands += [
                [*LAUNCHER, n, SCRIPT, framework, folder, kind, n] for n in numbers[1:]
            ]
        else:
            commands = [[SCRIPT, framework, folder, kind, *numbers]]
        for command in commands:
            status, said = run(*command)
            assert status == 0, said[-3000:]
            assert "INFO:tensorflow" not in said  # such as of each sum
        return lambda name, n, rank=0: np.load(folder / f"{name}.{n}.rank{rank}.npz")

    return trained


@pytest.fixture
def trained(trained_as):
    return trained_as("small")


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


def furthest(several, one):
    """The largest relative L2 difference of a tensor's update."""
    updates = {key: x for key, x in one.items() if key.startswith("update/")}
    assert updates and all(np.abs(x).max() > 0 for x in updates.values())
    return max(
        np.linalg.norm(several[key] - x) / np.linalg.norm(x)
        for key, x in updates.items()
    )


LARGE = pytest.mark.slow("GoogLeNet in float64; NiN28 shows the same")


@on_several
@pytest.mark.parametrize(
    "kind, name",
    [
        ("double", "NiN28"),
        pytest.param("double_googlenet", "GoogleNet", marks=LARGE),
    ],
)
def test_a_step_in_float64(trained_as, kind, name, n):
    """Where float32 is used for anything, the update differs by far more."""
    one, several = trained_as(kind)(name, 1), trained_as(kind)(name, n)
    assert {x.dtype.name for x in (*one.values(), *several.values())} == {"float64"}
    apart = furthest(several, one)
    print(name, n, f"{apart:.1e}")
    assert apart <= 1e-8


@pytest.mark.slow("networks of real size; the small ones show the same")
@pytest.mark.parametrize("_, name, size, steps", made_several.OF_NOTEBOOKS)
@on_several
def test_networks_of_the_notebooks(trained_as, name, n, _, size, steps):
    """The update of a step, logits after it, and losses on the one-device curve."""
    one, several = trained_as("notebooks")(name, 1), trained_as("notebooks")(name, n)
    scale = np.abs(one["predicted"]).max()
    apart = {
        "update": furthest(several, one),
        "logits": np.abs(several["predicted"] - one["predicted"]).max() / scale,
        "losses": np.abs(several["losses"] / one["losses"] - 1).max(),
    }
    print(name, n, {k: f"{x:.1e}" for k, x in apart.items()})
    assert len(one["losses"]) == steps
    assert apart["update"] <= 1e-2 and apart["logits"] <= 1e-5
    assert apart["losses"] <= 1e-2  # as between frameworks after so many steps


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


lr = 0.2 if (fault, rank) == ("seed", 1) else 0.1
found = train("pytorch", d2l, Trainer, Made(described=NETWORKS["conv"], lr=lr))
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
    assert "one of the others has ended" in said and f"goes on from {file}" in said
    assert file.exists()
    status, said, resumed = little(2, 2, file)
    assert status == 0, said
    assert_same(little(1, 2)[2], resumed)


@pytest.mark.only("pytorch")
def test_each_process_draws_of_its_own_and_loaders_draw_the_same(framework):
    import torch

    from d2l_utils.feed import step_seed
    from d2l_utils.torch.processes import drawing_from

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
    assert "settings: lr 0.2, not 0.1; " in said and "seed 6, not 5" in said


# What several devices cannot train ----------------------------------------------------

REFUSED = """
import sys
from importlib import import_module
import numpy as np
from made_networks import made_class
from made_several import NETWORKS
from d2l_utils.frameworks import FRAMEWORKS

framework, fault = sys.argv[1:]
d2l = import_module(FRAMEWORKS[framework].here)
d2l.virtual_devices(2)
Made = made_class(framework, d2l)


class Own(Made):
    def configure_optimizers(self):
        from mxnet import gluon
        if fault == "optimizer":
            kind = "nadam"
        elif fault == "kept":
            return self.kept
        else:
            return super().configure_optimizers()
        return gluon.Trainer(self.collect_params(), kind, {"learning_rate": 0.1})


class Trainer(d2l.Trainer):
    if fault == "loop":
        def fit_epoch(self):
            for batch in self.train_dataloader:
                self.model.training_step(self.prepare_batch(batch))
    if fault == "step":
        def train_step(self, batch):
            self.model.training_step(self.prepare_batch(batch))


model = (Made if framework != "mxnet" else Own)(described=NETWORKS["conv"], lr=0.1)
if fault == "kept":
    from mxnet import gluon, np as mx_np
    model.apply_init([mx_np.zeros((1, 1, 28, 28))])
    model.kept = gluon.Trainer(model.collect_params(), "sgd", {"learning_rate": 0.1})
if fault == "add":
    from mxnet import np as mx_np
    model.apply_init([mx_np.zeros((1, 1, 28, 28))])
    model.collect_params().setattr("grad_req", "add")
model.board.display = False
data = d2l.FashionMNIST(8)
data.train = tuple(x[:16] for x in data.train)
try:
    Trainer(1, num_gpus=2).fit(model, data)
except TypeError as error:
    print("REFUSED:", error)
"""
mxnet, not_jax = (
    pytest.mark.only(*names)
    for names in [["mxnet"], ["mxnet", "pytorch", "tensorflow"]]
)


@pytest.mark.parametrize(
    "fault, words",
    [
        pytest.param("optimizer", "The schedule of Nadam", marks=mxnet),
        pytest.param("kept", "make a gluon.Trainer", marks=mxnet),
        pytest.param("add", "grad_req 'add'", marks=mxnet),
        pytest.param("loop", "its own fit_epoch", marks=not_jax),
        pytest.param("step", "its own train_step", marks=not_jax),
    ],
)
def test_what_devices_cannot_share_is_refused(framework, tmp_path, fault, words):
    script = tmp_path / "refused.py"
    script.write_text(REFUSED)
    status, said = run(script, framework, fault)
    assert status == 0 and "REFUSED:" in said and words in said, said


# Processes that the Trainer starts itself ---------------------------------------------

SENT = """
import os, signal, sys, threading
import numpy as np
import torch
from torch import nn
from d2l_utils import torch as d2l

fault, n, out = sys.argv[1:]


class Unlucky(Exception):
    pass


class Net(d2l.Classifier):
    def __init__(self, lr=0.1):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Flatten(), nn.LazyLinear(8), nn.ReLU(),
                                 nn.LazyLinear(10))
        self.seen = 0
        if fault == "lock":
            self.lock = threading.Lock()

    def training_step(self, batch):
        self.seen += 1
        second = os.environ.get("RANK") == "1" and self.seen == 3
        if second and fault == "raises":
            raise Unlucky("a label of 17")
        if second and fault == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        return super().training_step(batch)


class Data(d2l.DataModule):  # its loaders are made in the processes, by their seed
    def __init__(self):
        super().__init__()
        self.batch_size, stored = 12, d2l.FashionMNIST(12)
        self.train, self.val = (
            [torch.tensor(x[:n, None] / 255).float(), torch.tensor(y[:n]).long()]
            for n, (x, y) in ((66, stored.train), (30, stored.val)))

    def get_dataloader(self, train):
        return self.get_tensorloader(self.train if train else self.val, train)


if fault == "without":
    sys.modules["cloudpickle"] = None
d2l.virtual_devices(2)
d2l.set_seed(5)
net, data = Net(), Data()
trainer = d2l.Trainer(2, num_gpus=int(n), precision="float32")
try:
    trainer.fit(net, data)
except Exception as error:
    sys.exit(f"FAILED {type(error).__name__}: {error}")
curve = [point.y for point in net.board.data["train_loss"]]
np.savez(out, seen=net.seen, curve=curve, loss=trainer.history["train_loss"],
         predicted=d2l.predict(net, data.val[0][:8]))
"""


@pytest.fixture
def sent(tmp_path, framework):
    """sent(fault, n) gives (status, words, results)."""
    script, out = tmp_path / "sent.py", tmp_path / "out.npz"
    script.write_text(SENT)

    def go(fault, n):
        status, said = run(script, fault, n, out)
        return status, said, dict(np.load(out)) if out.exists() else None

    return go


@pytest.mark.only("pytorch")
def test_a_trainer_starts_processes_and_takes_what_they_have_trained(sent):
    status, said, one = sent("", 0)
    assert status == 0, said
    status, said, two = sent("", 2)
    assert status == 0 and "images/s on 2 processes" in said, said
    assert one["seen"] == two["seen"] == 12  # an attribute that training changes
    assert len(one["curve"]) > 2
    for key in one:
        np.testing.assert_allclose(two[key], one[key], rtol=1e-4, err_msg=key)


@pytest.mark.only("pytorch")
@pytest.mark.parametrize(
    "fault, words",
    {
        "raises": "FAILED Unlucky: a label of 17",
        "dies": "FAILED RuntimeError: The process with rank 1 has died: Signal 9",
        "lock": "FAILED TypeError: Net, or its data, cannot be sent to 2 processes",
        "without": "FAILED ImportError: To send a training to 2 processes",
    }.items(),
)
def test_what_goes_wrong_in_processes_is_said_in_one_line(sent, fault, words):
    status, said, found = sent(fault, 2)
    assert status == 1 and found is None
    assert words in said and "Traceback" not in said
    if fault in ("lock", "without"):
        assert "torchrun --nproc-per-node 2" in said


@pytest.mark.only("pytorch")
@pytest.mark.slow("each process is interrupted as one alone is, which is tested")
def test_an_interrupt_ends_all_processes_and_keeps_the_checkpoint(tmp_path, framework):
    file, script = tmp_path / "training", tmp_path / "sent.py"
    longer = SENT.replace("Trainer(2,", f"Trainer(5000, checkpoint={str(file)!r},")
    script.write_text(longer)
    process = start(script, "", 2, tmp_path / "out.npz")

    def steps():
        return checkpoints.read(file)[1]["progress"].train_batch_idx

    try:
        while not file.exists() or steps() < 100:  # the first, then every hundredth
            assert process.poll() is None, process.communicate()
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert f"Interrupted: fit goes on from {file}" in said
    assert 100 <= steps() < 5000 * 6


# Several workers ----------------------------------------------------------------------

WORKER = """
import os, signal, sys
from importlib import import_module
import numpy as np
from made_networks import made_class
from made_several import NETWORKS, train
from d2l_utils.frameworks import FRAMEWORKS

framework, rank, out, fault = os.environ["WORKER"].split(";")
d2l = import_module(FRAMEWORKS[framework].here)
if (fault, rank) == ("raises", "1"):
    raise ValueError("wrong here")
d2l.set_seed(6 if (fault, rank) == ("seed", "1") else 5)
model = made_class(framework, d2l)(described=NETWORKS["conv"], lr=0.1)


class Trainer(d2l.Trainer):
    def __init__(self, *args, **kwargs):
        checkpoint = out + "checkpoint" if fault else None
        super().__init__(*args, checkpoint=checkpoint, **kwargs)

    def _step(self, *args, **kwargs):
        if (fault, rank, self.train_batch_idx) == ("dies", "1", 2):
            os.kill(os.getpid(), signal.SIGKILL)
        super()._step(*args, **kwargs)


np.savez(out + rank, **train(framework, d2l, Trainer, model))
"""
workers_of = pytest.mark.only("jax", "pytorch", "tensorflow")
MEET = pytest.mark.slow("several devices of one process show all but how workers meet")


@pytest.fixture
def at_work(framework, tmp_path, monkeypatch):
    """at_work(n, fault) gives [(status, words, results)] of n workers."""
    script = tmp_path / "worker.py"
    script.write_text(WORKER)

    def free_port():
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            return s.getsockname()[1]

    def go(n, fault=""):
        workers = ",".join(f"127.0.0.1:{free_port()}" for _ in range(n))
        processes = []
        for rank in range(n):
            about = f"{framework};{rank};{tmp_path}/{n}.;{fault}"
            monkeypatch.setenv("WORKER", about)
            command = ["-m", "d2l_utils.train", script, "--framework", framework]
            command += ["--workers", workers, "--rank", rank]
            processes.append(start(*(command if n > 1 else [script])))
        found = []
        for rank, process in enumerate(processes):
            said, _ = process.communicate(timeout=300)
            file = tmp_path / f"{n}.{rank}.npz"
            results = dict(np.load(file)) if file.exists() else None
            found.append((process.returncode, said, results))
        return found

    return go


@workers_of
@MEET
def test_workers_on_two_machines_train_as_one(at_work):
    ((status, said, one),) = at_work(1)
    assert status == 0, said
    for status, said, found in at_work(2):
        assert status == 0, said
        assert_same(one, found)
        assert found["cut"].tolist() == [n // 2 for n in one["cut"]]


@workers_of
@MEET
def test_workers_that_train_different_things_say_so(at_work):
    for status, said, _ in at_work(2, "seed"):
        assert status == 1 and "seed 6, not 5" in said, said
        assert "Traceback" not in said


@workers_of
@MEET
def test_a_worker_that_dies_ends_the_others_in_one_line(at_work, tmp_path):
    (status, said, _), (killed, _, _) = at_work(2, "dies")
    assert killed == -signal.SIGKILL and status == 1
    last = said.strip().splitlines()[-1]
    assert last.startswith("The process with rank 0 stops, since one of the others")
    assert last.endswith(f"fit goes on from {tmp_path}/2.checkpoint.")


@workers_of
@pytest.mark.slow("PyTorch's shows it; JAX waits for half a minute",
                  only=("jax", "tensorflow"))  # fmt: skip
def test_a_script_that_fails_on_one_machine_ends_the_others_in_one_line(at_work):
    """Before its Trainer, too, that looks whether all train the same."""
    (status, said, _), (_, reason, _) = at_work(2, "raises")
    assert "ValueError: wrong here" in reason
    assert status == 1 and "Traceback" not in said, said
    last = said.strip().splitlines()[-1]
    assert last.startswith("The process with rank 0 stops, since one of the others")
