"""Trainings on several virtual devices, in a process of its own: what they end in.

`python tests/made_several.py FRAMEWORK OUT` trains the same small networks on one
device and on 2 and 4, and stores weights, records and plans as a .npz for each number.
"""

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


def virtual_jax(n):
    import jax

    if n == DEVICES[0]:
        jax.config.update("jax_num_cpu_devices", max(DEVICES))
    return jax.devices("cpu")[:n]


def main(framework, folder):
    for n in DEVICES:
        devices = globals()[f"virtual_{framework}"](n)
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
            np.savez(Path(folder) / f"{name}.{n}.npz", **found)


def cut_jax(trainer):
    """Images of a first and of a last batch that lie on one device."""
    batches = trainer.data.batches(train=True)
    found = [trainer.prepare_batch(batch)[0] for batch in batches]
    return [x.addressable_shards[0].data.shape[0] for x in (found[0], found[-1])]


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
    found["cut"] = np.array(globals()[f"cut_{framework}"](trainer))
    found["plan"] = np.array(str(trainer.plan))
    found["predicted"] = d2l.predict(model, data.val.images[:8, None])
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
