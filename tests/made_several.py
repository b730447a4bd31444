"""Trainings on several virtual devices, or processes: what they end in.

`python tests/made_several.py FRAMEWORK OUT KIND N...` trains the same networks on N
devices, for each N, and stores weights, records and plans as a .npz for each network,
number and process. KIND is a function below: `small`; `notebooks` for the networks of
these; `double` and `double_googlenet` for networks in float64. PyTorch's devices are
the processes in which torchrun has started this.
"""

import os
import sys
import tempfile
from importlib import import_module
from pathlib import Path

import numpy as np
from made_networks import made_class
from safetensors.numpy import load_file

from book.checks.parity_worker import (
    Batches,
    adapter,
    find_model,
    new_model,
    started,
)
from d2l_utils import inference
from d2l_utils.data import images_to_float, resize
from d2l_utils.frameworks import FRAMEWORKS
from d2l_utils.sources import load_sample

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
# Section, network, size of the images, steps whose losses are compared.
OF_NOTEBOOKS = (("nin", "NiN28", 28, 50), ("googlenet", "GoogleNet", 32, 1))


def trainer_class(framework, d2l, n):
    """A Trainer on so many virtual devices; PyTorch's are started by torchrun."""
    d2l.virtual_devices(max(DEVICES))

    class Trainer(d2l.Trainer):
        def __init__(self, *args, **kwargs):
            several = n > 1 and framework != "pytorch"
            super().__init__(*args, num_gpus=n if several else 0, **kwargs)

    return Trainer


def main(framework, folder, kind, *numbers):
    if framework == "tensorflow":
        import tensorflow as tf

        tf.get_logger().setLevel("INFO")  # as in a notebook
    for n in map(int, numbers):
        d2l = import_module(FRAMEWORKS[framework].here)
        Trainer = trainer_class(framework, d2l, n)
        rank = os.environ.get("RANK", "0")
        for name, found in globals()[kind](framework, d2l, Trainer):
            np.savez(Path(folder) / f"{name}.{n}.rank{rank}.npz", **found)


def small(framework, d2l, Trainer):
    Made = made_class(framework, d2l)
    for name, layers in NETWORKS.items():
        d2l.set_seed(5)
        model = Made(described=layers, lr=0.1)
        yield name, train(framework, d2l, Trainer, model)


def notebooks(framework, d2l, Trainer):
    """The update of one step, logits, and the losses of the first steps."""

    class Watched(Trainer):
        def _step(self, step, batch, train):
            recorded = super()._step(step, batch, train)
            if train:
                self.losses.append(float(self.progress.train.rows[-1][1]["loss"]))
            return recorded

    for section, name, size, steps in OF_NOTEBOOKS:
        data = d2l.FashionMNIST(BATCH, resize=(size, size))
        images = data.train

        def trained(steps, data=data, images=images, section=section, name=name):
            d2l.set_seed(5)
            Model = find_model(section, framework, name)
            model = new_model(Model, lr=2e-3, momentum=0.9)
            model.board.display = False
            data.train = tuple(x[: BATCH * max(steps, 1)] for x in images)
            data.val = tuple(x[:BATCH] for x in images)
            trainer = Watched(int(steps > 0), precision="float32")
            trainer.losses = []
            trainer.fit(model, data)
            return model, trainer.losses

        start, once = weights(d2l, trained(0)[0]), trained(1)[0]
        update = {f"update/{k}": x - start[k] for k, x in weights(d2l, once).items()}
        predicted = d2l.predict(once, resize(images.images[:8], size))
        losses = np.array(trained(steps)[1])
        yield name, {**update, "predicted": predicted, "losses": losses}


def double(framework, d2l, Trainer, case=("nin", "NiN28", 28)):
    """The update of one step in float64, without validation: XLA compiles it slowly.

    The batch cannot be cut into 4 equal parts, but in JAX, which then would cut none.
    """
    n = 4 if framework == "jax" else 10
    side = adapter(framework, "float64")
    split = load_sample().train
    X = images_to_float(split.images[:n])[:, None]
    section, name, _ = case
    d2l.set_seed(5)
    new, variables = started(framework, case, "init_cnn")
    with tempfile.TemporaryDirectory() as folder, side.context():
        path = Path(folder) / "start.safetensors"
        d2l.save_weights(new, path, variables)
        model = new_model(find_model(section, framework, name), momentum=0.9)
        model = side.loaded(model, lambda m: d2l.load_weights(m, path))
        model.board.display = False
        start = stored(model)
        batch = side.batch(X, split.labels[:n].astype(np.int32))
        Trainer(1, precision="float32").fit(model, Batches([batch]))
        update = {f"update/{k}": x - start[k] for k, x in stored(model).items()}
    yield name, update


def double_googlenet(*args):
    return double(*args, case=("googlenet", "GoogleNet", 28))


def stored(model):
    """{stored name: array}, of the precision in which the model computes."""
    named = inference.stored(model, model._input_shape)
    return {k: np.array(x) for k, x in named.items()}


def weights(d2l, model):
    """{stored name: array}"""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "made.safetensors"
        d2l.save_weights(model, path)
        return load_file(path)


def jax_cut(trainer, batch):
    return trainer.prepare_batch(batch)[0].addressable_shards[0].data.shape[0]


def tensorflow_cut(trainer, batch):
    if trainer._mirrored is None:
        return len(batch[0])
    strategy = trainer._mirrored.strategy
    parts = strategy.run(lambda batch: trainer._part(batch)[0][0], args=(batch,))
    return len(strategy.experimental_local_results(parts)[0])


def mxnet_cut(trainer, batch):
    return len(trainer._on_each(lambda part: part, batch)[0][0][0])


def pytorch_cut(trainer, batch):
    return len((trainer._processes.part(batch)[0] if trainer._processes else batch)[0])


def train(framework, d2l, Trainer, model):
    data = d2l.FashionMNIST(BATCH)
    data.train = tuple(x[:IMAGES] for x in data.train)
    data.val = tuple(x[:IMAGES] for x in data.val)
    model.board.display = False
    trainer = Trainer(2, precision="float32", gradient_clip_val=1)
    trainer.fit(model, data)
    found = {f"weights/{k}": v for k, v in weights(d2l, model).items()}
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
