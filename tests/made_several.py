"""Trainings on several virtual devices, in a process of its own: what they end in.

`python tests/made_several.py FRAMEWORK OUT` trains the same small networks on one
device and on 2 and 4, and stores weights, records and plans as a .npz for each number.
"""

import sys
from pathlib import Path

import numpy as np

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
    from importlib import import_module

    from d2l_utils.frameworks import FRAMEWORKS
    from made_networks import made_class

    for n in DEVICES:
        devices = globals()[f"virtual_{framework}"](n)
        d2l = import_module(FRAMEWORKS[framework].here)

        class Trainer(d2l.Trainer):
            def __init__(self, *args, devices=devices, **kwargs):
                self.gpus = devices if len(devices) > 1 else []
                super().__init__(*args, **kwargs)

        for name, layers in NETWORKS.items():
            Class = made_class(framework, d2l, layers)
            np.savez(Path(folder) / f"{name}.{n}.npz", **train(d2l, Trainer, Class))


def train(d2l, Trainer, Class):
    d2l.set_seed(5)
    data = d2l.FashionMNIST(BATCH)
    data.train = tuple(x[:IMAGES] for x in data.train)
    data.val = tuple(x[:IMAGES] for x in data.val)
    model = Class(lr=0.1)
    model.board.display = False
    trainer = Trainer(2, precision="float32", gradient_clip_val=1)
    trainer.fit(model, data)
    path = Path("weights.safetensors")
    d2l.save_weights(model, path)
    from safetensors.numpy import load_file

    found = {f"weights/{k}": v for k, v in load_file(path).items()}
    path.unlink()
    for key, values in trainer.history.items():
        if key != "seconds":
            found[f"history/{key}"] = np.array(values)
    found["losses"] = np.array([v["loss"] for _, v in trainer.progress.train.rows])
    found["plan"] = np.array(str(trainer.plan))
    found["predicted"] = d2l.predict(model, data.val.images[:8, None])
    return found


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main(*sys.argv[1:])
