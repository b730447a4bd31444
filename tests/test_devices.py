"""Devices: what is found, what is asked for, and how much memory is taken.

The GPUs here are not there: the lists that the frameworks give are replaced.
"""

import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from book.source.book import ROOT
from d2l_utils import host
from d2l_utils.arguments import check_num_gpus


def name(device):
    return getattr(device, "_device_name", None) or str(device)


# Without a framework ------------------------------------------------------------


@pytest.mark.parametrize(
    "asked, there, words",
    [
        (0, 0, None),
        (0, 2, None),
        (1, 0, None),  # as the notebooks do everywhere
        (1, 2, None),
        (2, 2, None),
        (2, 4, None),
        (-1, 4, None),
        (-1, 1, None),
        (-1, 0, None),
        (4, 2, "2 are here: training on 2 GPUs"),
        (2, 1, "1 is here: training on the first GPU"),
        (2, 0, "none are here: training on the CPU"),
    ],
)
def test_asking_for_more_gpus_than_there_are(asked, there, words, capsys):
    check_num_gpus(asked, there)
    out = capsys.readouterr().out
    assert out == (f"num_gpus={asked}, but {words}.\n" if words else "")


@pytest.mark.parametrize("asked", [-2, 0.5, "1", None, [0]])
def test_what_is_no_number_of_gpus(asked):
    with pytest.raises(ValueError, match=r"choose 0 \(the CPU\), 1 \(a GPU"):
        check_num_gpus(asked, 1)


@pytest.mark.parametrize("given, left", [(None, "false"), ("true", "true")])
def test_jax_is_asked_not_to_take_all_memory(given, left):
    """What our import sets beside what JAX's own does."""
    pytest.importorskip("flax")
    variable = "XLA_PYTHON_CLIENT_PREALLOCATE"
    environ = {k: v for k, v in os.environ.items() if k != variable}
    code = (
        "import os, flax, jax, optax\n"
        "before = dict(os.environ)\n"
        "import d2l_utils.jax\n"
        "changed = {k for k in os.environ if os.environ[k] != before.get(k)}\n"
        f"print(os.environ[{variable!r}], changed <= {{{variable!r}}})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environ | ({variable: given} if given else {}),
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout.split() == [left, "True"], done.stderr


class Found(SimpleNamespace):
    """A device that was found; it can be a key, as JAX's are."""

    __hash__ = object.__hash__


# With each framework ------------------------------------------------------------


@pytest.fixture
def find_gpus(framework, d2l, monkeypatch):
    """find_gpus(n): from now on the framework finds n GPUs."""

    def pytorch(n):
        monkeypatch.setattr(d2l.device.torch.cuda, "is_available", lambda: n > 0)
        monkeypatch.setattr(d2l.device.torch.cuda, "device_count", lambda: n)
        monkeypatch.setattr(
            d2l.device.torch.backends.mps, "is_available", lambda: False
        )

    def mxnet(n):
        monkeypatch.setattr(d2l.device.mx.context, "num_gpus", lambda: n)

    def tensorflow(n):
        found = [f"made GPU {i}" for i in range(n)]
        config = d2l.device.tf.config
        monkeypatch.setattr(config, "list_physical_devices", lambda kind: found)

    def jax(n):
        real = d2l.device.jax.local_devices
        found = [Found(platform="gpu", id=i) for i in range(n)]
        found = found or real(backend="cpu")
        monkeypatch.setattr(
            d2l.device.jax,
            "local_devices",
            lambda backend=None: real(backend=backend) if backend else found,
        )

    return locals()[framework]


def test_without_gpus(d2l, find_gpus, capsys):
    find_gpus(0)
    cpu = name(d2l.cpu())
    assert d2l.num_gpus() == 0
    assert [name(d) for d in d2l.try_all_gpus()] == [cpu]
    assert name(d2l.try_gpu()) == name(d2l.try_gpu(3)) == cpu
    d2l.Trainer(max_epochs=1, num_gpus=1)
    assert capsys.readouterr().out == ""
    d2l.Trainer(max_epochs=1, num_gpus=2)
    assert "training on the CPU" in capsys.readouterr().out


def test_with_two_gpus(d2l, find_gpus, capsys):
    find_gpus(2)
    assert d2l.num_gpus() == 2
    both = [name(d2l.gpu(i)) for i in range(2)]
    assert [name(d) for d in d2l.try_all_gpus()] == both and both[0] != both[1]
    assert [name(d2l.try_gpu(i)) for i in range(3)] == [*both, name(d2l.cpu())]
    assert name(d2l.Trainer(max_epochs=1, num_gpus=1).device) == both[0]
    assert name(d2l.Trainer(max_epochs=1).device) not in both
    assert capsys.readouterr().out == ""
    assert name(d2l.Trainer(max_epochs=1, num_gpus=3).device) == both[0]
    assert "2 are here: training on 2 GPUs" in capsys.readouterr().out


@pytest.mark.only("pytorch")  # no other computes on Apple's GPU
def test_the_gpu_of_a_mac(d2l, find_gpus, monkeypatch):
    find_gpus(0)
    monkeypatch.setattr(d2l.device.torch.backends.mps, "is_available", lambda: True)
    mps = d2l.device.torch.device("mps", 0)
    assert d2l.num_gpus() == 1 and d2l.try_all_gpus() == [mps]
    assert d2l.try_gpu() == mps and d2l.try_gpu(1) == d2l.cpu()
    assert d2l.Trainer(max_epochs=1, num_gpus=1).device == mps


@pytest.mark.only("tensorflow")
def test_tensorflow_takes_gpu_memory_as_it_needs_it(d2l, find_gpus, monkeypatch, few):
    def load_a_batch():
        next(iter(d2l.FashionMNIST(batch_size=2).train_dataloader()))

    grow = d2l.device.grow_memory
    chosen = {"made GPU 0": None, "made GPU 1": False}
    experimental = d2l.device.tf.config.experimental
    monkeypatch.setattr(experimental, "get_memory_growth", chosen.get)
    monkeypatch.setattr(experimental, "set_memory_growth", chosen.__setitem__)
    find_gpus(2)
    for use in (d2l.try_gpu, d2l.try_all_gpus, d2l.Classifier, load_a_batch):
        chosen["made GPU 0"] = None
        grow.cache_clear()
        use()
        assert chosen == {"made GPU 0": True, "made GPU 1": False}

    def too_late(device, enable):
        raise RuntimeError("cannot be modified after being initialized")

    monkeypatch.setattr(experimental, "set_memory_growth", too_late)
    chosen["made GPU 0"] = None
    grow.cache_clear()
    assert d2l.num_gpus() == 2
    grow.cache_clear()


@pytest.mark.only("jax")
def test_importing_jax_does_not_start_its_devices(observed):
    assert observed["jax is started"] is False


@pytest.mark.only("pytorch", "jax")
def test_data_that_lives_on_the_device(framework, d2l, Tiny, few, monkeypatch):
    """As on a GPU: the bytes are there once, every batch is taken from them, and
    the training is the same."""
    histories, batches = [], []
    for resident in (False, True):
        monkeypatch.setattr(d2l.Trainer, "_keeps_data", lambda self, r=resident: r)
        d2l.set_seed(0)
        model, trainer = Tiny(), d2l.Trainer(2, precision="float32")
        model.board.display = False
        trainer.fit(model, d2l.FashionMNIST(batch_size=64))
        histories.append({k: v for k, v in trainer.history.items() if k != "seconds"})
        batches.append([list(trainer.batches(train)) for train in (True, False)])
    assert histories[0] == histories[1]
    for there, here in zip(*batches):
        assert len(there) == len(here)
        for (X, y), (X_device, y_device) in zip(there, here):
            assert isinstance(X, np.ndarray) and not isinstance(X_device, np.ndarray)
            np.testing.assert_array_equal(X, np.asarray(X_device))
            np.testing.assert_array_equal(y, np.asarray(y_device))


@pytest.mark.parametrize("num_gpus", [0, 1])
def test_data_stays_in_memory_on_a_cpu(framework, d2l, num_gpus):
    if d2l.num_gpus():
        pytest.skip("there is a GPU here")
    assert not d2l.Trainer(1, num_gpus=num_gpus)._keeps_data()


@pytest.mark.only("mxnet")
def test_mxnet_computes_on_every_core(framework, d2l):
    """It has more threads than where it is told to use one core."""
    if (host.physical_cores() or 1) < 2:
        pytest.skip("there is one core here")
    code = (
        "import os; from d2l_utils import mxnet; from mxnet import np, npx\n"
        "X = np.ones((512, 512))\n"
        "npx.fully_connected(X, X, num_hidden=512, no_bias=True).wait_to_read()\n"
        "print(len(os.listdir('/proc/self/task')))"
    )
    environ = {k: v for k, v in os.environ.items() if "OMP" not in k}
    threads = []
    for given in ({"MXNET_OMP_MAX_THREADS": "1"}, {}):
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=environ | given, cwd=ROOT, capture_output=True, text=True,
        )  # fmt: skip
        threads.append(int(done.stdout))
    assert threads[1] > threads[0]
