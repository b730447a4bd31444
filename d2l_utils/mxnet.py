"""d2l_utils for MXNet 1.9.1 (Gluon, `mxnet.np`): what touches tensors. Layout NCHW.

The public names are those of the other framework modules; the shared half is in
the framework-free core. MXNet is retired, 1.9.1 is its last release, so that the
few private names used here do not move.
"""

if "." not in __name__:
    raise ImportError(
        "This is d2l_utils/mxnet.py, not MXNet: the folder d2l_utils/ itself is on "
        "sys.path. Start Python in another folder, or take that entry out."
    )

import contextlib
import io
import warnings

import numpy as onp  # `np` is MXNet's, as in the notebooks

from d2l_utils import base, require, summary, weights
from d2l_utils.base import HyperParameters, Timer, add_to_class
from d2l_utils.board import ProgressBoard, plot, show_images
from d2l_utils.data import DataModule, images_to_float
from d2l_utils.data import FashionMNIST as _FashionMNIST
from d2l_utils.mxnet_import import load_mxnet
from d2l_utils.names import unknown_names
from d2l_utils.training import ClassifierMixin, ModuleMixin, Recorder
from d2l_utils.training import Trainer as _Trainer
from d2l_utils.weights import stored_path

try:
    mx = load_mxnet()
    from mxnet import autograd, gluon, np, npx
    from mxnet.gluon import nn

    from d2l_utils.devices.mxnet import (
        cpu,
        gpu,
        memory_stats,
        num_gpus,
        reset_peak_memory,
        try_all_gpus,
        try_gpu,
    )  # fmt: skip
    from d2l_utils.layers.mxnet import (
        device_of,
        initialize,
        named_parameters,
        num_trained,
        parameters,
        trace,
        undo_for,
    )  # fmt: skip
    from d2l_utils.mxnet_bfloat16 import Graphs
    from d2l_utils.states import mxnet as states
except (ImportError, OSError, AttributeError) as error:  # OSError: a C library
    raise base.missing_framework("MXNet", "mxnet", error) from error

__all__ = [
    "Classifier", "DataModule", "FashionMNIST", "HyperParameters", "Module",
    "ProgressBoard", "Timer", "Trainer", "activations", "add_to_class", "cpu",
    "evaluate", "gpu", "init_cnn", "load_weights", "memory_stats", "num_gpus",
    "plot", "predict", "require", "reset_peak_memory", "resources",
    "run_facts", "save_weights", "set_seed", "show_images", "stored_path",
    "try_all_gpus", "try_gpu",
]  # fmt: skip
__getattr__ = unknown_names(__name__, __all__)

CHANNELS_LAST = False
PREDICT_BATCH = 256
STEPS_AHEAD = 8  # batches that wait on the device at most


def set_seed(seed):
    """Seed weights, dropout and the order of the data."""
    base.remember_seed(seed)
    mx.random.seed(seed)


def init_cnn(module):
    """Glorot-uniform weights, zero biases (Glorot, Bengio 2010); for `apply`."""
    for name, p in module.collect_params(".*(weight|bias)").items():
        init = mx.init.Zero() if name.endswith("bias") else mx.init.Xavier()
        p.initialize(init, device_of(module), force_reinit=True)


def _build(model, X_shape):
    """Check that the model takes images of this shape, and give it weights."""
    undo = undo_for(model)

    def attempt(shape):
        undo()  # the last attempt fixed the sizes of dense layers
        initialize(model)
        return [r.output_shape for r in trace(model, shape)]

    try:
        with contextlib.redirect_stdout(io.StringIO()):  # MXNet prints what fails
            summary.check_size(type(model).__name__, X_shape, attempt, CHANNELS_LAST)
    except Exception:
        undo()
        raise
    model._input_shape = tuple(X_shape[1:])


class Module(ModuleMixin, HyperParameters, nn.Block):
    """Base class of models (textbook, section 3.2)."""

    def __init__(self, plot_train_per_epoch=2, plot_valid_per_epoch=1):
        if not npx.is_np_array():
            raise RuntimeError(
                "MXNet is not in NumPy mode, which these models need: before making "
                "one, run `from mxnet import npx` and `npx.set_np()`."
            )
        super().__init__()
        self.save_hyperparameters()
        self.board = ProgressBoard()

    def forward(self, X):
        return self.net(X)

    def configure_optimizers(self):
        """SGD with `self.lr` and, where the model has it, `self.momentum`."""
        settings = {"learning_rate": self.lr, "momentum": getattr(self, "momentum", 0)}
        return gluon.Trainer(self.collect_params(), "sgd", settings)

    def apply_init(self, inputs, init=None):
        """Build deferred layers by a forward pass on `inputs`, then apply `init`."""
        _build(self, tuple(inputs[0].shape))
        if init is not None:
            self.net.apply(init)


class Classifier(ClassifierMixin, Module):
    """Base class of classifiers (textbook, section 4.3)."""

    def accuracy(self, Y_hat, Y, averaged=True):
        """Share of correct predictions, or one 0 or 1 per example."""
        Y_hat, Y = Y_hat.reshape((-1, Y_hat.shape[-1])), Y.reshape(-1)
        compare = (Y_hat.argmax(axis=1).astype(Y.dtype) == Y).astype("float32")
        return compare.mean() if averaged else compare

    def loss(self, Y_hat, Y, averaged=True):
        """Cross-entropy of logits (n, classes) and labels (n,)."""
        Y_hat = Y_hat.reshape((-1, Y_hat.shape[-1]))
        l = gluon.loss.SoftmaxCrossEntropyLoss()(Y_hat, Y.reshape(-1))
        return l.mean() if averaged else l

    def layer_summary(self, X_shape):
        """Print the output shape of every layer of `net` (textbook, 7.6)."""
        _build(self, X_shape)
        X = np.zeros(X_shape, ctx=device_of(self))
        with autograd.pause():
            for layer in self.net:
                X = layer(X)
                print(layer.__class__.__name__, "output shape:\t", X.shape)


def _rows_times(X, R):
    """X @ R.T, X (..., i, j)."""
    return npx.fully_connected(X, R, num_hidden=len(R), no_bias=True, flatten=False)


def _resized(X, matrices, device):
    """Stored bytes (n, h, w) as float32 (n, 1, h', w') in [0, 1] on the device."""
    X = np.array(X, dtype="uint8", ctx=device).astype("float32") / 255
    if matrices is None:
        return np.expand_dims(X, 1)  # a copy in MXNet, so done while X is small
    # matmul, which broadcasts, would take four times as long.
    R_h, R_w = (np.array(R, ctx=device) for R in matrices)
    X = _rows_times(X.transpose(0, 2, 1), R_h).transpose(0, 2, 1)
    return _rows_times(np.expand_dims(X, 1), R_w)


class FashionMNIST(_FashionMNIST):
    __doc__ = _FashionMNIST.__doc__

    def to_tensors(self, images, labels):
        X = _resized(images, self.resize_matrices(), cpu())
        return X, np.array(labels, dtype="int32", ctx=cpu())


def _on(device, x):
    """An array of NumPy or MXNet on the device; float64 becomes float32."""
    if isinstance(x, np.ndarray):
        return x.as_in_ctx(device)
    x = onp.asarray(x)
    return np.array(x, dtype="float32" if x.dtype == "float64" else x.dtype, ctx=device)


def _hybridize(model, active):
    """Compile the net, or undo it; a plain Sequential is compiled in parts."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that HybridSequential would be faster
        model.hybridize(active, static_alloc=active, static_shape=active)


class Trainer(_Trainer):
    __doc__ = _Trainer.__doc__
    gpus_there = staticmethod(num_gpus)
    graphs = None  # of the model in training

    def find_device(self):
        self.gpus = try_all_gpus()[: self.num_gpus]
        self.device = self.gpus[0] if self.gpus else cpu()

    def device_text(self):
        return base.cpu_text() if self.device == cpu() else str(self.device)

    def bfloat16_is_faster(self):
        compiled = self.graphs is None or self.graphs.blocks  # else blocks run as is
        return bool(compiled) and self.device == cpu() and base.cpu_has_bfloat16()

    def state_tensors(self):
        return states.tensors_of(self.model, self.optim)

    def restore(self, tensors):
        states.restore(self.model, self.optim, tensors)

    def seed_step(self, seed):
        mx.random.seed(seed)

    def prepare_model(self, model):
        super().prepare_model(model)
        *inputs, _ = self.prepare_batch(self.first_batch())
        if inputs[0].ndim == 4:
            _build(model, (1, *inputs[0].shape[1:]))
        initialize(model)
        if device_of(model) != self.device:
            model.collect_params().reset_ctx(self.device)
        # A fifth faster for NiN28 on a CPU; a last, shorter batch costs 50 ms.
        _hybridize(model, True)
        try:
            with autograd.pause():
                model(*(x[:1] for x in inputs))
                npx.waitall()
        except Exception:  # not every block can be traced: then it runs as it is
            _hybridize(model, False)
        self.graphs = Graphs(model)

    def fit(self, model, data):
        """Train the model on the data."""
        try:
            super().fit(model, data)
        finally:
            _hybridize(model, False)
            self.graphs = None

    def prepare_batch(self, batch):
        X, *rest = batch
        if isinstance(X, onp.ndarray) and X.dtype == "uint8":  # as it is stored
            X = _resized(X, self.data.resize_matrices(), self.device)
        return tuple(_on(self.device, x) for x in (X, *rest))

    def train_step(self, batch):
        batch = self.prepare_batch(batch)
        self.graphs.use(low=self.in_bfloat16())
        with autograd.record():
            l, recorded = self.recording(self.model.training_step, batch)
        l.backward()
        if self.gradient_clip_val > 0:
            self.clip_gradients(self.gradient_clip_val, self.model)
        self.optim.step(1)  # 1, since the loss is a mean
        self.wait_at_times(self.train_batch_idx)
        return {
            k: v.detach() if hasattr(v, "detach") else v for k, v in recorded.items()
        }

    def val_step(self, batch):
        batch = self.prepare_batch(batch)
        self.graphs.use(low=False)
        self.wait_at_times(self.val_batch_idx)
        return self.recording(self.model.validation_step, batch)[1]

    def wait_at_times(self, step):
        """Bound the work that waits in the engine: every step of it holds a batch."""
        if step % STEPS_AHEAD == 0:
            npx.waitall()

    def clip_gradients(self, grad_clip_val, model):
        grads = [p.grad() for p in parameters(model) if p.grad_req != "null"]
        norm = np.sqrt(sum((g**2).sum() for g in grads))
        scale = np.minimum(1.0, grad_clip_val / (norm + 1e-6))  # not read: no wait
        for g in grads:
            g *= scale


def evaluate(model, data):
    """{'loss', 'acc'}: means over the validation data, in evaluation mode."""
    device, values = device_of(model), Recorder()
    with autograd.pause():
        for X, y in data.val_dataloader():
            X, y = X.as_in_ctx(device), y.as_in_ctx(device)
            Y_hat = model(X)
            row = {"loss": model.loss(Y_hat, y), "acc": model.accuracy(Y_hat, y)}
            # Read now, or all batches would be made before the first is done.
            values.add(len(y), {k: float(v) for k, v in row.items()})
    return values.means()


def _batches(model, X):
    """NumPy images (n, C, H, W), uint8 or float in [0, 1], as device batches."""
    summary.check_layout(X.shape, CHANNELS_LAST)
    _build(model, (1, *X.shape[1:]))
    X = images_to_float(X)
    for i in range(0, len(X), PREDICT_BATCH):
        yield np.array(X[i : i + PREDICT_BATCH], ctx=device_of(model))


def predict(model, X):
    """Logits (n, classes) of NumPy images (n, C, H, W); NumPy out.

    X: uint8, or float in [0, 1]. Raises ValueError for another layout, or images
    too small for the model.
    """
    with autograd.pause():
        return onp.concatenate([model(x).asnumpy() for x in _batches(model, X)])


def activations(model, X):
    """Outputs of every layer of `model.net` for NumPy images (n, C, H, W).

    A list of NumPy arrays, channels first.
    """
    outputs = [[] for _ in model.net]
    with autograd.pause():
        for x in _batches(model, X):
            for layer, collected in zip(model.net, outputs):
                x = layer(x)
                collected.append(x.asnumpy())
    return [onp.concatenate(parts) for parts in outputs]


def resources(model, X_shape):
    """Parameters, MACs and memory of the model on a batch of shape X_shape.

    Returns `summary.Resources`; see `summary.count` for what is counted.
    """
    _build(model, X_shape)
    rows = trace(model, X_shape)
    slots = summary.optimizer_slots(model)
    return summary.count(rows, num_trained(model), X_shape, slots)


def run_facts():
    """Print versions, processor, device, date and time since the import."""
    base.print_facts(["mxnet"], Trainer(1, num_gpus=1).device_text())


def save_weights(model, path, variables=None):
    """Save the weights for every framework (format: see `d2l_utils.weights`).

    `variables` is for JAX only. Raises ValueError if the model was never run.
    """
    weights.needs_no_variables(variables)
    shape = weights.known_shape(model)
    found = named_parameters(model, (1, *shape))
    weights.write(
        path,
        {k: p.data().asnumpy() for k, p in found.items()},
        model=type(model).__name__,
        input_shape=shape,
        num_classes=model.num_classes,
    )


def load_weights(model, path, variables=None):
    """Load weights that `save_weights` of any framework wrote; returns the model.

    An unbuilt model is built. Raises WeightsError, with the model unchanged,
    where the file does not fit.
    """
    weights.needs_no_variables(variables)
    tensors, metadata = weights.read(path)
    undo = undo_for(model)
    try:
        shape = weights.build_for(model, metadata, lambda s: _build(model, (1, *s)))
        found = named_parameters(model, (1, *shape))
        expected = {k: tuple(p.shape) for k, p in found.items()}
        weights.check(tensors, metadata, expected, type(model).__name__)
    except Exception:
        undo()
        raise
    for name, parameter in found.items():
        parameter.set_data(np.array(tensors[name]))
    return model
