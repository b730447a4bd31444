"""What d2l 1.0.3 does, observed in its own environment: `python -m bench.behaviour`.

Writes bench/d2l-1.0.3.json, with which tests compare this package. The file also runs
alone, where nothing of this project is installed: `python behaviour.py FRAMEWORK MODULE
LAYOUT`, with the module of d2l, and "last" where channels are.
"""

import contextlib
import io
import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np

RECORDED = Path(__file__).with_name("d2l-1.0.3.json")


def numbers(x):
    """A tensor of any framework as nested lists."""
    if hasattr(x, "detach") and not hasattr(x, "asnumpy"):
        x = x.detach()
    x = x.asnumpy() if hasattr(x, "asnumpy") else np.asarray(x)
    return x.astype("float64").tolist()


def printed(function, *args):
    """The lines that a call prints."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        function(*args)
    return out.getvalue().splitlines()


def plain(values):
    """Hyperparameters as text, by name."""
    return {k: str(v) for k, v in values.items() if k != "__class__"}


def tensor(framework, x):
    if framework == "pytorch":
        import torch

        return torch.tensor(x)
    if framework == "mxnet":
        from mxnet import np as mxnp

        return mxnp.array(x, dtype=x.dtype)
    if framework == "tensorflow":
        import tensorflow as tf

        return tf.constant(x)
    from jax import numpy as jnp

    return jnp.asarray(x)


def output_shape(framework, block, shape):
    """The shape of a block's output in evaluation mode."""
    x = tensor(framework, np.ones(shape, "float32"))
    if framework == "jax":
        import jax

        return list(block.init_with_output(jax.random.PRNGKey(0), x)[0].shape)
    if framework == "mxnet":
        block.initialize()
    return list(block(x).shape)


def classifier(framework, d2l):
    """Loss and accuracy of fixed outputs, as means and one by one."""
    rng = np.random.RandomState(0)
    Y_hat = tensor(framework, rng.randn(6, 10).astype("float32"))
    Y = tensor(framework, rng.randint(0, 10, 6).astype("int32"))
    if framework == "pytorch":
        Y = Y.long()
    model = d2l.SoftmaxRegression(10, 0.1)
    if framework == "jax":
        from flax import struct

        @struct.dataclass
        class State:
            batch_stats: dict = struct.field(default_factory=dict)
            dropout_rng: int = 0

            def apply_fn(self, variables, X, mutable=None, rngs=None):
                return (X, {}) if mutable else X

        def loss(averaged):
            return model.loss({}, (Y_hat,), Y, State(), averaged)[0]

        def accuracy(averaged):
            return model.accuracy({}, (Y_hat,), Y, State(), averaged)

    else:

        def loss(averaged):
            return model.loss(Y_hat, Y, averaged)

        def accuracy(averaged):
            return model.accuracy(Y_hat, Y, averaged)

    found = {"loss": loss(True), "accuracy": accuracy(True)}
    found["accuracies"] = accuracy(False)
    if framework != "tensorflow":  # there d2l averages in any case
        found["losses"] = loss(False)
    return {name: numbers(x) for name, x in found.items()}


def observe(framework, d2l, channels_last):
    """What can be compared, as JSON."""

    def size(c, h, w):
        return (2, h, w, c) if channels_last else (2, c, h, w)

    image = (1, *size(1, 28, 28)[1:])
    w = tensor(framework, np.array([2, -3.4], "float32"))
    data = d2l.SyntheticRegressionData(w, 4.2)
    X, y = next(iter(data.get_dataloader(True)))
    K = tensor(framework, np.array([[1.0, -1.0], [0.5, 2.0]], "float32"))
    image4 = tensor(framework, np.arange(16, dtype="float32").reshape(4, 4))
    strides = (2, 2) if framework == "jax" else 2
    found = {
        "lenet": printed(d2l.LeNet().layer_summary, image),
        "synthetic": [list(data.X.shape), list(data.y.shape)],
        "synthetic batch": [list(X.shape), list(y.shape)],
        "synthetic batches": [len(data.get_dataloader(t)) for t in (True, False)],
        "labels": d2l.FashionMNIST.text_labels(None, range(10)),
        "trainer": plain(d2l.Trainer(max_epochs=3).hparams),
        "corr2d": numbers(d2l.corr2d(image4, K)),
        "residual": output_shape(framework, d2l.Residual(3), size(3, 6, 6)),
        "residual, halved": output_shape(
            framework,
            d2l.Residual(6, use_1x1conv=True, strides=strides),
            size(3, 6, 6),
        ),
        "resnext": output_shape(
            framework,
            d2l.ResNeXtBlock(32, 16, 1, use_1x1conv=True, strides=strides),
            size(32, 12, 12),
        ),
        "classifier": classifier(framework, d2l),
    }
    if framework == "jax":
        found["synthetic numbers"] = numbers(data.y[:5])
    else:
        found["hparams"] = {
            "LeNet": plain(d2l.LeNet().hparams),
            "SoftmaxRegression": plain(d2l.SoftmaxRegression(10, lr=0.1).hparams),
        }
        pair = [tensor(framework, np.float32(x)) for x in ([[1], [2]], [[3], [5]])]
        found["linear"] = [
            numbers(d2l.LinearRegressionScratch(2, 0.1).loss(*pair)),
            numbers(d2l.LinearRegression(0.1).loss(*pair)),
        ]
    return found


def main():
    if len(sys.argv) > 1:
        framework, module, layout = sys.argv[1:]
        if framework == "jax":
            import jax

            jax.random.PRNGKeyArray = jax.Array
        if framework == "mxnet":
            from mxnet import npx

            npx.set_np()
        d2l = import_module(f"d2l.{module}")
        print("\n" + json.dumps(observe(framework, d2l, layout == "last")))
        return
    from bench.environments import python_of
    from book.source import files
    from d2l_utils.frameworks import FRAMEWORKS

    found = {}
    for framework, f in FRAMEWORKS.items():
        about = [framework, f.module, "last" if f.channels_last else "first"]
        command = [python_of(framework), __file__, *about]
        done = subprocess.run(
            command, check=True, capture_output=True, encoding="utf-8"
        )
        found[framework] = json.loads(done.stdout.splitlines()[-1])
    files.write(RECORDED, json.dumps(found, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    sys.exit(main())
