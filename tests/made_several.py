"""Trainings on several virtual devices, or processes: what they end in.

`python tests/made_several.py FRAMEWORK OUT N...` trains the same small networks on so
many devices, and stores weights, records and plans as a .npz for each number and
process. PyTorch's devices are the processes in which torchrun has started this.
"""

import os
import sys
import tempfile
from importlib import import_module
from pathlib import Path

import numpy as np
from made_networks import made_class
from safetensors.numpy import load_file

from d2l_utils.frameworks import FRAMEWORKS

DEVICES = (1, 2, 4)
# Batches of 12 are cut into 2 and 4 equal parts; 30 images leave one of 6, which 4 does
# not divide.
BATCH, IMAGES = 12, 30
NETWORKS = {
    "conv": (("conv", 4, 3, 2), ("relu",), ("flatten",), ("dense", 10)),
    "norm": (("conv", 4, 3, 2), ("norm",), ("relu",), ("flatten",), ("dense", 10)),
    "dropout": (("flatten",), ("dense", 16), ("relu",), ("dropout", 0.5),
                ("dense", 10)),
}  # fmt: skip


def jax_devices(n):
    import jax

    if n == DEVICES[0]:
        jax.config.update("jax_num_cpu_devices", max(DEVICES))
    return jax.devices("cpu")[:n]


def tensorflow_devices(n):
    import tensorflow as tf

    if n == DEVICES[0]:
        cpu, *_ = tf.config.list_physical_devices("CPU")
        parts = [tf.config.LogicalDeviceConfiguration() for _ in range(max(DEVICES))]
        tf.config.set_logical_device_configuration(cpu, parts)
    return [f"CPU:{i}" for i in range(n)]


def pytorch_devices(n):
    return []


def main(framework, folder, *numbers):
    for n in map(int, numbers):
        devices = globals()[f"{framework}_devices"](n)
        d2l = import_module(FRAMEWORKS[framework].here)

        class Trainer(d2l.Trainer):
            gpus_here = devices if n > 1 else []

            def __init__(self, *args, **kwargs):
                self.gpus = self.gpus_here
                super().__init__(*args, **kwargs)

        Made = made_class(framework, d2l)
        for name, layers in NETWORKS.items():
            d2l.set_seed(5)
            model = Made(described=layers, lr=0.1)
            found = train(framework, d2l, Trainer, model)
            rank = os.environ.get("RANK", "0")
            np.savez(Path(folder) / f"{name}.{n}.rank{rank}.npz", **found)


def jax_cut(trainer, batch):
    return trainer.prepare_batch(batch)[0].addressable_shards[0].data.shape[0]


def tensorflow_cut(trainer, batch):
    if trainer.mirrored is None:
        return len(batch[0])
    strategy = trainer.mirrored.strategy
    parts = strategy.run(lambda batch: trainer.part(batch)[0][0], args=(batch,))
    return len(strategy.experimental_local_results(parts)[0])


def pytorch_cut(trainer, batch):
    return len((trainer.processes.part(batch)[0] if trainer.processes else batch)[0])


def train(framework, d2l, Trainer, model):
    data = d2l.FashionMNIST(BATCH)
    data.train = tuple(x[:IMAGES] for x in data.train)
    data.val = tuple(x[:IMAGES] for x in data.val)
    model.board.display = False
    trainer = Trainer(2, precision="float32", gradient_clip_val=1)
    trainer.fit(model, data)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "made.safetensors"
        d2l.save_weights(model, path)
        found = {f"weights/{k}": v for k, v in load_file(path).items()}
    for key, values in trainer.history.items():
        if key != "seconds":
            found[f"history/{key}"] = np.array(values)
    # Images of each batch that are on the first device.
    cut = globals()[f"{framework}_cut"]
    found["cut"] = np.array([cut(trainer, b) for b in trainer.data.batches(train=True)])
    found["plan"] = np.array(str(trainer.plan))
    found["predicted"] = d2l.predict(model, data.val.images[:8, None])
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
