"""Are the four tabs one model? `python -m tools.parity` compares them.

Each framework, in a process of its own, loads the same weights into the model of
its edition, takes the same images, and stores activations, logits, loss,
gradients and the update of one step. Every ordered pair is compared, with the
first as the reference. Exits non-zero above the tolerances, which are in
DESIGN's terms: differences relative to the largest value of a tensor for
activations, relative L2 norms for gradients and updates.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
from importlib import import_module, util
from pathlib import Path

import numpy as np

from d2l_utils import data, sources, weights
from tools import cells
from tools.editions import FRAMEWORKS, MODULES, ROOT

CASES = (  # section, class, image size
    ("nin", "NiN", 224),
    ("nin", "NiN", 161),
    ("nin", "NiN28", 28),
    ("nin", "NiN28", 45),
)
TOLERANCES = {
    "logits": 1e-5,
    "activations": 1e-5,
    "loss": 1e-5,
    "gradients": 1e-2,
    "update": 1e-2,
}
NUM_IMAGES = 8
LR = 0.5  # large, so that an update is not lost in the rounding of the weight
LOGIT_RANGE = (0.1, 10)


def images(size):
    """Real images (n, 1, size, size) float32, their labels, and one more image."""
    split = sources.load_sample().val
    X = data.images_to_float(split.images[: NUM_IMAGES + 1])[:, None]
    matrices = data.resize_matrices((28, 28), (size, size))
    if matrices:
        X = matrices[0] @ X @ matrices[1].T
    return X[:-1], split.labels[:NUM_IMAGES].astype(np.int32), X[-1:]


def made_weights(shapes, seed=0):
    """Weights that keep the signal's size, biases that are not zero."""
    rng = np.random.default_rng(seed)
    made = {}
    for name, shape in shapes.items():
        if name.endswith("weight"):
            std = np.sqrt(2 / np.prod(shape[1:]))
            made[name] = rng.normal(0, std, shape)
        else:  # mostly positive: a ReLU that is always off has no gradient
            made[name] = rng.uniform(-0.05, 0.3, shape)
    return {k: v.astype(np.float32) for k, v in made.items()}


# One framework, in its own process ----------------------------------------------


def set_weights(framework, d2l, model, path):
    """Load weights; returns the model to run (JAX: bound to its variables)."""
    loaded = d2l.load_weights(model, path)
    return model.bind(loaded) if framework == "jax" else loaded


def to_batch(framework, X, y):
    """NumPy images and labels as the framework's batch."""
    if framework in ("tensorflow", "jax"):
        X = X.transpose(0, 2, 3, 1)
    if framework == "pytorch":
        import torch

        return torch.from_numpy(X.copy()), torch.from_numpy(y).long()
    if framework == "mxnet":
        from mxnet import np as mxnp

        return mxnp.array(X, dtype="float32"), mxnp.array(y, dtype="int32")
    if framework == "tensorflow":
        import tensorflow as tf

        return tf.constant(X), tf.constant(y)
    from jax import numpy as jnp

    return jnp.asarray(X), jnp.asarray(y)


def loss_and_gradients(framework, d2l, model, batch, path):
    """The loss; the gradients go to `path`, as a weights file.

    Each gradient takes the place of its weight, so that `save_weights` brings it
    into the common names and layouts.
    """
    X, y = batch
    if framework == "pytorch":
        loss = model.loss(model(X), y)
        loss.backward()
        for p in model.parameters():
            p.data = p.grad
    elif framework == "mxnet":
        from mxnet import autograd

        with autograd.record():
            loss = model.loss(model(X), y)
        loss.backward()
        for p in model.collect_params().values():
            p.set_data(p.grad())
    elif framework == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            loss = model.loss(model(X), y)
        gradients = tape.gradient(loss, model.trainable_variables)
        for v, g in zip(model.trainable_variables, gradients):
            v.assign(g)
    else:
        import jax
        import optax

        module, variables = model.unbind()

        def mean_loss(params):
            Y_hat = module.apply({**variables, "params": params}, X)
            return optax.softmax_cross_entropy_with_integer_labels(Y_hat, y).mean()

        loss, gradients = jax.value_and_grad(mean_loss)(variables["params"])
        d2l.save_weights(model, path, {**variables, "params": gradients})
        return float(loss)
    d2l.save_weights(model, path)
    return float(loss.detach() if framework == "pytorch" else loss)


class OneBatch(data.DataModule):
    """One training batch in the framework's layout."""

    batch_size = NUM_IMAGES

    def __init__(self, batch):
        super().__init__()
        self.batch = batch

    def get_dataloader(self, train):
        return [self.batch]


def measure(framework, case, weights_path, folder, replace=None):
    """All that is compared of one framework and case, as {name: array}.

    replace: (old, new) puts an error into the model's source, for tests.
    """
    section, cls, size = case
    d2l = import_module(f"d2l_utils.{MODULES[framework]}")
    Model = cells.load(section, framework, replace)[cls]
    X, y, other = images(size)
    scratch = Path(folder) / f"{framework}.safetensors"

    def fresh():
        model = Model(lr=LR, momentum=0, dropout=0.0)
        return set_weights(framework, d2l, model, weights_path)

    model = fresh()
    result = {"other": d2l.predict(model, other)}
    for i, a in enumerate(d2l.activations(model, X)):
        result[f"activation/{i}"] = a
    result["logits"] = d2l.predict(model, X)
    batch = to_batch(framework, X, y)
    result["loss"] = np.array(loss_and_gradients(framework, d2l, model, batch, scratch))
    for name, g in weights.read(scratch)[0].items():
        result[f"gradient/{name}"] = g

    trained = Model(lr=LR, momentum=0, dropout=0.0)
    step(framework, d2l, trained, OneBatch(batch), weights_path, scratch)
    before = weights.read(weights_path)[0]
    for name, w in weights.read(scratch)[0].items():
        result[f"update/{name}"] = w.astype(np.float64) - before[name]
    return result


def step(framework, d2l, model, one_batch, weights_path, out):
    """One SGD step of the Trainer from the given weights; saves the result."""
    model = set_weights(framework, d2l, model, weights_path)
    model.board.display = False
    d2l.Trainer(max_epochs=1).fit(model, one_batch)
    d2l.save_weights(model, out)


# All frameworks -----------------------------------------------------------------


def compare(reference, other):
    """{kind: largest relative difference} of two results of `measure`."""
    worst = dict.fromkeys(TOLERANCES, 0.0)
    kinds = {"activation": "activations", "gradient": "gradients"}
    for name, a in reference.items():
        if name == "other":
            continue
        b = other.get(name)
        kind = name.split("/")[0]
        kind = kinds.get(kind, kind)
        if b is None or b.shape != a.shape or not np.isfinite(b).all():
            worst[kind] = np.inf
            continue
        a, b = a.astype(np.float64), b.astype(np.float64)
        if kind in ("gradients", "update"):
            error = np.linalg.norm(a - b) / np.linalg.norm(a)
        else:
            error = np.abs(a - b).max() / np.abs(a).max()
        worst[kind] = max(worst[kind], float(error))
    return worst


def failures(worst):
    """The kinds that are above their tolerance."""
    return [k for k, v in worst.items() if not v <= TOLERANCES[k]]


def vacuous(result):
    """Reasons why agreeing with this result would prove nothing; [] if none."""
    reasons = []
    largest = np.abs(result["logits"]).max()
    if not LOGIT_RANGE[0] <= largest <= LOGIT_RANGE[1]:
        reasons.append(f"the largest logit is {largest:.3g}")
    moved = np.abs(result["other"] - result["logits"][:1]).max() / largest
    if moved < 1000 * TOLERANCES["logits"]:
        reasons.append(f"another image moves the logits by only {moved:.1e}")
    for name, value in result.items():
        if name.startswith(("update/", "gradient/")) and not np.abs(value).max() > 0:
            reasons.append(f"{name} is zero")
    return reasons


def name_of(case):
    return f"{case[1]} {case[2]}"


def installed():
    """Frameworks that can be imported here; says which are left out."""
    packages = {**{f: f for f in FRAMEWORKS}, "pytorch": "torch"}
    there = [f for f in FRAMEWORKS if util.find_spec(packages[f])]
    for f in set(FRAMEWORKS) - set(there):
        print(f"{f}: skipped, it is not installed (or has no wheels here)")
    return there


def run_worker(framework, folder):
    """All cases of one framework in a process of its own."""
    command = [sys.executable, "-m", "tools.parity", "--worker", framework]
    subprocess.run([*command, "--folder", str(folder)], check=True, cwd=ROOT)


def make_weights(case, path):
    """Write the test weights of a case; PyTorch tells the names and shapes."""
    section, cls, size = case
    d2l = import_module("d2l_utils.torch")
    model = cells.load(section, "pytorch")[cls]()
    d2l.resources(model, (1, 1, size, size))  # builds it
    d2l.save_weights(model, path)
    shapes = {k: v.shape for k, v in weights.read(path)[0].items()}
    about = {"model": cls, "input_shape": (1, size, size), "num_classes": 10}
    weights.write(path, made_weights(shapes), **about)


def worker(framework, folder):
    """All cases of one framework; PyTorch comes first and makes the weights."""
    for case in CASES:
        path = folder / f"{name_of(case)}.safetensors"
        if framework == "pytorch":
            make_weights(case, path)
        result = measure(framework, case, path, folder)
        np.savez(folder / f"{name_of(case)}.{framework}.npz", **result)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--worker", choices=FRAMEWORKS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "parity")
    args = parser.parse_args(argv)
    args.folder.mkdir(parents=True, exist_ok=True)
    if args.worker:
        worker(args.worker, args.folder)
        return 0
    for old in args.folder.iterdir():
        old.unlink()
    frameworks = installed()
    if "pytorch" not in frameworks or len(frameworks) < 2:
        sys.exit("Parity needs PyTorch and at least one other framework.")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for framework in frameworks:
        run_worker(framework, args.folder)
    table, failed = [], False
    header = f"{'network':10} {'reference':11}{'other':11}"
    print(header + "".join(f"{k:>13}" for k in TOLERANCES))
    for case in CASES:
        results = {
            f: dict(np.load(args.folder / f"{name_of(case)}.{f}.npz"))
            for f in frameworks
        }
        for f, result in results.items():
            for reason in vacuous(result):
                print(f"{name_of(case)} in {f} proves nothing: {reason}")
                failed = True
        for a, b in itertools.permutations(frameworks, 2):
            worst = compare(results[a], results[b])
            bad = failures(worst)
            failed |= bool(bad)
            row = "".join(f"{v:13.1e}" for v in worst.values())
            print(f"{name_of(case):10} {a:11}{b:11}{row}" + "  FAILED" * bool(bad))
            table.append({"case": name_of(case), "reference": a, "other": b, **worst})
    (args.folder.parent / "parity.json").write_text(json.dumps(table, indent=1))
    print("parity: " + ("FAILED" if failed else "all pairs within tolerance"))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
