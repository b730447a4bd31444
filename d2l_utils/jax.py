"""d2l_utils for JAX: what touches arrays. Models are `flax.linen`; layout NHWC.

The public names are those of the other framework modules; the shared half is in
the framework-free core. TensorFlow is never loaded. A Flax model holds no
weights: those are in its `variables`, {'params': ..., 'batch_stats': ...}.
"""

if "." not in __name__:
    raise ImportError(
        "This is d2l_utils/jax.py, not JAX: the folder d2l_utils/ itself is on "
        "sys.path. Start Python in another folder, or take that entry out."
    )

import dataclasses
import itertools
import math
from dataclasses import field
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np

from d2l_utils import base, require, summary, weights
from d2l_utils.base import HyperParameters, Timer, add_to_class
from d2l_utils.board import ProgressBoard, plot, show_images
from d2l_utils.data import DataModule, images_to_float
from d2l_utils.data import FashionMNIST as _FashionMNIST
from d2l_utils.training import ModuleMixin, Recorder
from d2l_utils.training import Trainer as _Trainer
from d2l_utils.weights import stored_path

try:
    import jax
    import optax
    from flax import linen as nn
    from flax.training import train_state
    from flax.traverse_util import flatten_dict, unflatten_dict
    from jax import numpy as jnp
    from jax.ad_checkpoint import checkpoint_name
except ImportError as error:
    raise base.missing_framework("JAX with Flax and Optax", "jax", error) from error

__all__ = [
    "Classifier", "DataModule", "FashionMNIST", "HyperParameters", "Module",
    "ProgressBoard", "Timer", "Trainer", "activations", "add_to_class", "cpu",
    "evaluate", "get_key", "gpu", "init_cnn", "load_weights", "memory_stats",
    "num_gpus", "plot", "predict", "require", "reset_peak_memory", "resources",
    "run_facts", "save_weights", "set_seed", "show_images", "stored_path",
    "try_all_gpus", "try_gpu",
]  # fmt: skip

CHANNELS_LAST = True
PREDICT_BATCH = 256

KINDS = {nn.Dense: "dense", nn.Conv: "conv", nn.BatchNorm: "bn"}
LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias"}
LEAVES |= {"mean": "mean", "var": "var"}  # Flax's names and the stored ones
MARK = "d2l_utils:"  # begins the names that `_trace` gives to layers' outputs

init_cnn = nn.initializers.glorot_uniform()
"""Glorot-uniform weights (Glorot, Bengio 2010); pass it as `kernel_init`."""

_key_numbers = itertools.count()


def cpu():
    """The CPU as a device."""
    return jax.devices("cpu")[0]


def _gpus():
    return [device for device in jax.devices() if device.platform == "gpu"]


def num_gpus():
    """Number of GPUs that JAX can use."""
    return len(_gpus())


def gpu(i=0):
    """GPU number i as a device; IndexError if it is not there."""
    return _gpus()[i]


def try_gpu(i=0):
    """GPU number i if it is there, else the CPU (textbook, section 6.7)."""
    return gpu(i) if num_gpus() > i else cpu()


def try_all_gpus():
    """All GPUs, or [cpu()] if there are none."""
    return _gpus() or [cpu()]


def set_seed(seed):
    """Seed weights, dropout and the order of the data."""
    global _key_numbers
    base.remember_seed(seed)
    _key_numbers = itertools.count()


def get_key():
    """A PRNG key made from the seed; each call gives the next one."""
    key = jax.random.PRNGKey(base.current_seed())
    return jax.random.fold_in(key, next(_key_numbers))


def _clone(model, training):
    """The model without weights, in training or evaluation mode if it has any."""
    modal = any(f.name == "training" for f in dataclasses.fields(model))
    return model.clone(**({"training": training} if modal else {}))


def _shapes(model, X_shape):
    """The model's variables as shapes; nothing is computed."""
    net = _clone(model, training=False)
    return jax.eval_shape(lambda: net.init(jax.random.PRNGKey(0), jnp.zeros(X_shape)))


def _channels_first(shape):
    """(n, h, w, c) as (n, c, h, w)."""
    return (shape[0], shape[-1], *shape[1:-1])


def _equations(jaxpr):
    """The equations of a traced function in order, inner functions' included."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in equation.params.values():
            if hasattr(inner, "eqns"):
                yield from _equations(inner)


def _trace(model, X_shape):
    """Rows of `summary.Layer` in the order in which a batch passes them.

    The `ref` of a row is (path of its variables, the (h, w, c) whose flattening
    a dense layer works on, or None). Traced only: nothing is computed.
    """
    net, variables = _clone(model, training=False), _shapes(model, X_shape)
    sizes = {k: v.size for k, v in flatten_dict(variables.get("params", {})).items()}
    calls, rows, name, flat, constants = [], [], summary.Namer(), None, set()

    # Layers with weights are modules, pools are plain functions. Naming a layer's
    # output makes the traced program show both, in order.
    def mark(call, args, kwargs, context):
        y, parents = call(*args, **kwargs), type(context.module).__mro__
        kind = next((KINDS[c] for c in parents if c in KINDS), None)
        if kind is None or context.method_name != "__call__":
            return y
        calls.append((kind, context.module.path, args[0].shape))
        return checkpoint_name(y, f"{MARK}{len(calls) - 1}")

    with nn.intercept_methods(mark):
        X = jax.ShapeDtypeStruct(X_shape, jnp.float32)
        jaxpr = jax.make_jaxpr(net.apply)(variables, X)
    for equation in _equations(jaxpr):
        what, params = equation.primitive.name, equation.params
        ends = [v.aval.shape for v in (*equation.invars, *equation.outvars)] or [()]
        x, y = ends[0], ends[-1]
        if all(hasattr(v, "val") for v in equation.invars):  # numbers only
            constants.update(equation.outvars)
        if what == "name" and params["name"].startswith(MARK):
            kind, path, x = calls[int(params["name"].removeprefix(MARK))]
            if kind != "dense":  # a dense layer takes the last axis, wherever it is
                x, y, flat = _channels_first(x), _channels_first(y), None
            own = {k[-1]: n for k, n in sizes.items() if k[:-1] == path}
            weight, total = own.get("kernel", own.get("scale", 0)), sum(own.values())
            ref, flat = (path, flat), None
            rows.append(summary.Layer(name(kind), kind, x, y, total, weight, ref))
        elif what == "reshape" and len(x) == 4 and y == (x[0], math.prod(x[1:])):
            flat = x[1:]
        elif what in ("reduce_sum", "reduce_max") and len(x) == 4:
            if params["axes"] == (1, 2):
                x, y = _channels_first(x), (x[0], x[3], 1, 1)
                rows.append(summary.Layer(name("pool"), "pool", x, y))
        # avg_pool(count_include_pad=False) also pools an image of ones.
        elif what.startswith("reduce_window") and equation.invars[0] not in constants:
            x, y = _channels_first(x), _channels_first(y)
            rows.append(summary.Layer(name("pool"), "pool", x, y))
    return rows


def _layer_name(layer):
    """A module's class, a function's name, or what a lambda calls first."""
    if isinstance(layer, nn.Module):
        return type(layer).__name__
    if isinstance(layer, partial):
        return _layer_name(layer.func)
    names = [getattr(layer, "__name__", type(layer).__name__)]
    if names == ["<lambda>"]:  # pass over modules, as nn in nn.max_pool
        known = layer.__globals__
        called = layer.__code__.co_names
        names = [n for n in called if not isinstance(known.get(n), ModuleType)] or names
    return names[0]


def _places(model, shape, variables):
    """{stored name: (path, variable, its kernel shape or None)}, in order.

    shape: (C, H, W). A kernel is seen as (h, w, in, out) or (in, out); a dense
    layer's behind a flattening as (h, w, c, out), since CHW order is stored.
    """
    places, variables = {}, flatten_dict(variables)
    for row in _trace(model, (1, *shape[1:], shape[0])):
        if row.kind == "pool":
            continue
        path, flat = row.ref
        for leaf, name in LEAVES.items():
            stats = "batch_stats" if leaf in ("mean", "var") else "params"
            x = variables.get((stats, *path, leaf))
            if x is not None:
                kernel = (*(flat or x.shape[:-1]), x.shape[-1])
                kernel = kernel if leaf == "kernel" else None
                places[f"{row.name}.{name}"] = (stats, *path, leaf), x, kernel
    return places


def _stored_shape(shape):
    """(h, w, in, out) as (out, in, h, w), (in, out) as (out, in)."""
    return shape if len(shape) == 1 else (shape[-1], shape[-2], *shape[:-2])


def _check(model, X_shape):
    """Raise ValueError unless the model takes images of this shape."""
    summary.check_size(
        type(model).__name__,
        X_shape,
        lambda shape: [r.output_shape for r in _trace(model, shape)],
        CHANNELS_LAST,
    )


def _build(model, X_shape):
    """Check that the model takes images of this shape, and note it."""
    _check(model, X_shape)
    model._input_shape = _channels_first(X_shape)[1:]


class TrainState(train_state.TrainState):
    """What training changes, and the root of its dropout keys."""

    batch_stats: Any
    dropout_rng: Any


def _state(net, variables, tx, key):
    return TrainState.create(
        apply_fn=net.apply, params=variables["params"], tx=tx,
        batch_stats=variables.get("batch_stats", {}), dropout_rng=key,
    )  # fmt: skip


class Module(ModuleMixin, HyperParameters, nn.Module):
    """Base class of models (textbook, section 3.2)."""

    plot_train_per_epoch: int = field(default=2, init=False)
    plot_valid_per_epoch: int = field(default=1, init=False)
    board: ProgressBoard = field(
        default_factory=ProgressBoard, init=False, repr=False, compare=False
    )

    _fitted = None  # the TrainState of this model's training
    _compiled = None  # see the function of this name

    @nn.nowrap
    def __setattr__(self, name, value):
        # Flax modules are frozen, but these are notes about one, no part of it.
        if name in ("trainer", "_input_shape", "_fitted", "_compiled"):
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    @nn.nowrap
    def bind(self, variables, *args, **kwargs):
        bound = super().bind(variables, *args, **kwargs)
        bound._input_shape = self._input_shape
        return bound

    def forward(self, X, *args, **kwargs):
        return self.net(X, *args, **kwargs)

    def __call__(self, X, *args, **kwargs):
        return self.forward(X, *args, **kwargs)

    def loss(self, params, X, Y, state, averaged=True):
        message = f"{type(self).__name__} must define loss(params, X, Y, state)."
        raise NotImplementedError(message)

    def training_step(self, params, batch, state):
        """((loss, aux), gradients) of a batch (*inputs, labels)."""
        *X, Y = batch
        loss = jax.value_and_grad(self.loss, has_aux=True)
        value, grads = loss(params, tuple(X), Y, state)
        self._plot_step(params, batch, state, value, train=True)
        return value, grads

    def validation_step(self, params, batch, state):
        """Record the loss of a validation batch."""
        *X, Y = batch
        value = self.loss(params, tuple(X), Y, state)
        self._plot_step(params, batch, state, value, train=False)

    def _plot_step(self, params, batch, state, value, train):
        self.plot("loss", value[0], train)

    def configure_optimizers(self):
        """SGD with `self.lr` and, where the model has it, `self.momentum`."""
        return optax.sgd(self.lr, getattr(self, "momentum", 0) or None)

    def apply_init(self, dummy_input, key):
        """Fresh variables {'params': ..., 'batch_stats': ... if there are any}.

        dummy_input: a tuple of inputs, or a batch, whose labels (n,) are left
        out; only shapes and dtypes matter. key: a PRNG key.
        """
        *inputs, last = dummy_input
        if not inputs or len(last.shape) > 1:
            inputs.append(last)
        inputs = [jnp.zeros((1, *x.shape[1:]), x.dtype) for x in inputs]
        if inputs[0].ndim == 4:
            _build(self, inputs[0].shape)
        return jax.jit(_clone(self, training=False).init)(key, *inputs)


class Classifier(Module):
    """Base class of classifiers (textbook, section 4.3)."""

    def loss(self, params, X, Y, state, averaged=True):
        """(cross-entropy, aux) of inputs X, a tuple, and labels Y (n,).

        aux: 'Y_hat', logits (n, classes), and the updated 'batch_stats' if any.
        """
        variables = {"params": params, "batch_stats": state.batch_stats}
        rngs = {"dropout": state.dropout_rng}
        Y_hat, aux = state.apply_fn(variables, *X, mutable=["batch_stats"], rngs=rngs)
        logits = Y_hat.reshape((-1, Y_hat.shape[-1]))
        l = optax.softmax_cross_entropy_with_integer_labels(logits, Y.reshape(-1))
        return l.mean() if averaged else l, {**aux, "Y_hat": Y_hat}

    def accuracy(self, params, X, Y, state, averaged=True):
        """Share of correct predictions, or one 0 or 1 per example."""
        variables = {"params": params, "batch_stats": state.batch_stats}
        Y_hat = state.apply_fn(variables, *X)
        Y_hat = Y_hat.reshape((-1, Y_hat.shape[-1]))
        compare = (Y_hat.argmax(axis=1) == Y.reshape(-1)).astype(jnp.float32)
        return compare.mean() if averaged else compare

    def _plot_step(self, params, batch, state, value, train):
        self.plot("loss", value[0], train)
        Y_hat = value[1].get("Y_hat")
        if Y_hat is not None:  # a loss that gives none has no accuracy recorded
            known = state.replace(apply_fn=lambda *args, **kwargs: Y_hat)
            acc = self.accuracy(params, tuple(batch[:-1]), batch[-1], known)
            self.plot("acc", acc, train)

    def layer_summary(self, X_shape, key=None):
        """Print the output shape of every layer of `net` (textbook, 7.6).

        `key` is taken as in the textbook, but shapes do not depend on it.
        """
        _build(self, X_shape)

        def show(net, X):
            for layer in net.net.layers:
                X = layer(X)
                print(_layer_name(layer), "output shape:\t", X.shape)

        net, X = _clone(self, training=False), jnp.zeros(X_shape)
        jax.eval_shape(partial(net.apply, method=show), _shapes(self, X_shape), X)


@jax.jit
def _resized(X, matrices):
    """Stored bytes (n, h, w) as float32 (n, h', w', 1) in [0, 1]."""
    X = X.astype(jnp.float32) / 255
    if matrices is not None:  # GPUs would round to TF32 by default
        X = jnp.einsum(
            "hi,nij,wj->nhw", matrices[0], X, matrices[1], precision="highest"
        )
    return X[..., None]


class FashionMNIST(_FashionMNIST):
    __doc__ = _FashionMNIST.__doc__

    def to_tensors(self, images, labels):
        return _resized(images, self.resize_matrices()), jnp.asarray(labels)


class Trainer(_Trainer):
    __doc__ = _Trainer.__doc__

    def __init__(self, max_epochs, num_gpus=0, gradient_clip_val=0):
        super().__init__(max_epochs, num_gpus, gradient_clip_val)
        self.gpus = try_all_gpus()[:num_gpus]
        self.device = self.gpus[0] if self.gpus else cpu()

    def device_text(self):
        on_cpu = self.device.platform == "cpu"
        return base.cpu_text() if on_cpu else self.device.device_kind

    def fit(self, model, data, key=None):
        """Train the model on the data.

        It starts from fresh weights, made with `key` (default: `get_key()`), or
        from a copy of those that the model is bound to.
        """
        self.prepare_data(data)
        self.prepare_model(model)
        self.optim = model.configure_optimizers()
        self.prepare_state(model, get_key() if key is None else key)
        self.run_epochs()

    def prepare_state(self, model, key):
        params_key, dropout_key = jax.random.split(key)
        inputs = jax.eval_shape(self.inputs, self.first_batch())[:-1]
        variables = model.apply_init(inputs, params_key)
        if model.scope is not None:
            variables = jax.tree.map(jnp.copy, model.variables)
        evaluated, trained = _clone(model, False), _clone(model, True)
        state = _state(evaluated, variables, self.optim, dropout_key)
        self.state = model._fitted = jax.device_put(state, self.device)

        def train_step(state, batch):
            key = jax.random.fold_in(state.dropout_rng, state.step)
            now = state.replace(apply_fn=trained.apply, dropout_rng=key)
            (value, grads), recorded = self.recording(
                model.training_step, state.params, self.inputs(batch), now
            )
            if self.gradient_clip_val > 0:
                grads = self.clip_gradients(self.gradient_clip_val, grads)
            stats = value[1].get("batch_stats", state.batch_stats)
            return state.apply_gradients(grads=grads, batch_stats=stats), recorded

        def val_step(state, batch):
            args = state.params, self.inputs(batch), state
            return self.recording(model.validation_step, *args)[1]

        self._train_step = jax.jit(train_step, donate_argnums=0)
        self._val_step = jax.jit(val_step)

    def prepare_batch(self, batch):
        return jax.device_put(tuple(batch), self.device)

    def inputs(self, batch):
        """Within a compiled step: stored bytes become images (n, h, w, 1)."""
        X, *others = batch
        if X.dtype == jnp.uint8:
            X = _resized(X, self.data.resize_matrices())
        return X, *others

    def train_step(self, batch):
        state, recorded = self._train_step(self.state, self.prepare_batch(batch))
        self.state = self.model._fitted = state
        return recorded

    def val_step(self, batch):
        return self._val_step(self.state, self.prepare_batch(batch))

    def clip_gradients(self, grad_clip_val, grads):
        norm = jnp.sqrt(sum(jnp.vdot(g, g) for g in jax.tree.leaves(grads)))
        scale = jnp.minimum(1, grad_clip_val / (norm + 1e-6))
        return jax.tree.map(lambda g: g * scale, grads)


def _variables(model):
    """The variables from the model's training, or those it is bound to."""
    if model._fitted is not None:
        state = model._fitted
        return {"params": state.params, "batch_stats": state.batch_stats}
    if model.scope is not None:
        return model.variables
    raise ValueError(
        f"This {type(model).__name__} has no weights: a Flax model does not hold "
        "them. Train it, or use model.bind(variables), with variables from "
        "load_weights(model, path) or model.apply_init((X,), get_key())."
    )


def _logits(net, variables, X):
    return net.apply(variables, X)


def _outputs(net, variables, X):
    def layers(net, X):
        return [X := layer(X) for layer in net.net.layers]

    return net.apply(variables, X, method=layers)


def _metrics(net, variables, X, Y):
    state = _state(net, variables, optax.identity(), jax.random.PRNGKey(0))
    args = state.params, (X,), Y, state
    return {"loss": net.loss(*args)[0], "acc": net.accuracy(*args)}


def _compiled(model, function):
    """function(net, variables, ...) compiled, once, for evaluation mode."""
    model._compiled = model._compiled or {}
    if function not in model._compiled:
        net = _clone(model, training=False)
        model._compiled[function] = jax.jit(partial(function, net))
    return model._compiled[function]


def evaluate(model, data):
    """{'loss', 'acc'}: means over the validation data, in evaluation mode.

    Raises ValueError for a model neither trained nor bound to variables.
    """
    variables, step, values = _variables(model), _compiled(model, _metrics), Recorder()
    for X, y in data.val_dataloader():
        values.add(len(y), step(variables, X, y))
    return values.means()


def _batchwise(model, X, function):
    """Results of function(net, variables, x) for batches x of NumPy images X."""
    variables, function = _variables(model), _compiled(model, function)
    summary.check_layout(X.shape, channels_last=False)
    X = np.moveaxis(images_to_float(X), 1, -1)
    if model._input_shape != _channels_first(X.shape)[1:]:
        _build(model, (1, *X.shape[1:]))
    starts = range(0, len(X), PREDICT_BATCH)
    return [function(variables, X[i : i + PREDICT_BATCH]) for i in starts]


def predict(model, X):
    """Logits (n, classes) of NumPy images (n, C, H, W); NumPy out.

    X: uint8, or float in [0, 1]. Raises ValueError for another layout, images
    too small for the model, or a model neither trained nor bound to variables.
    """
    return np.concatenate(_batchwise(model, X, _logits))


def activations(model, X):
    """Outputs of every layer of `model.net` for NumPy images (n, C, H, W).

    A list of NumPy arrays, channels first. Raises ValueError as `predict` does.
    """
    parts = zip(*_batchwise(model, X, _outputs))
    outputs, shape = [], ()  # shape: of the last image-like output, (n, h, w, c)
    for output in map(np.concatenate, parts):
        flattened = output.ndim == 2 and output.size == math.prod(shape)
        x = np.moveaxis(output.reshape(shape) if flattened else output, -1, 1)
        outputs.append(x.reshape(output.shape) if flattened else x)
        shape = shape if flattened else output.shape
    return outputs


def resources(model, X_shape):
    """Parameters, MACs and memory of the model on a batch of shape X_shape.

    Returns `summary.Resources`; see `summary.count` for what is counted.
    """
    _build(model, X_shape)
    params = jax.tree.leaves(_shapes(model, X_shape).get("params", {}))
    rows, slots = _trace(model, X_shape), summary.optimizer_slots(model)
    return summary.count(rows, sum(p.size for p in params), X_shape, slots)


def memory_stats():
    """{'peak_bytes', 'current_bytes', 'of'}: GPU counters, or process memory."""
    if not num_gpus():
        return summary.process_memory()
    stats = gpu().memory_stats()
    return {
        "peak_bytes": stats["peak_bytes_in_use"],
        "current_bytes": stats["bytes_in_use"],
        "of": f"{gpu().device_kind}, peak since the process began",
    }


def reset_peak_memory():
    """Start the peak of `memory_stats` anew; a GPU's cannot be, in JAX."""
    if not num_gpus():
        summary.reset_process_peak()


def run_facts():
    """Print versions, processor, device, date and time since the import."""
    device = Trainer(1, num_gpus=1).device_text()
    base.print_facts(["jax", "flax", "optax"], device)


def save_weights(model, path, variables=None):
    """Save the weights for every framework (format: see `d2l_utils.weights`).

    variables: default those of the model's training, or that it is bound to.
    Raises ValueError if there are none, or the model was never run.
    """
    shape = weights.known_shape(model)
    variables = _variables(model) if variables is None else variables
    tensors = {}
    for name, (_, x, kernel) in _places(model, shape, variables).items():
        x = tensors[name] = np.asarray(x)
        if kernel:
            y = np.moveaxis(x.reshape(kernel), (-1, -2), (0, 1))
            tensors[name] = y.reshape(_stored_shape(x.shape))
    about = {"model": type(model).__name__, "num_classes": model.num_classes}
    weights.write(path, tensors, input_shape=shape, **about)


def load_weights(model, path, variables=None):
    """Load weights that `save_weights` of any framework wrote; returns variables.

    Use them as in model.bind(variables). What the file format has no name for is
    taken from `variables`. Raises WeightsError where the file does not fit.
    """
    tensors, metadata = weights.read(path)
    nhwc = lambda shape: (1, *shape[1:], shape[0])  # noqa: E731
    shape = weights.build_for(model, metadata, lambda s: _check(model, nhwc(s)))
    places = _places(model, shape, _shapes(model, nhwc(shape)))
    expected = {k: _stored_shape(x.shape) for k, (_, x, _) in places.items()}
    weights.check(tensors, metadata, expected, type(model).__name__)
    loaded = flatten_dict(variables or {})
    for name, (where, x, kernel) in places.items():
        y = tensors[name]
        if kernel:
            y = np.moveaxis(y.reshape(_stored_shape(kernel)), (0, 1), (-1, -2))
        loaded[where] = jnp.array(y.reshape(x.shape))
    model._input_shape = shape
    return unflatten_dict(loaded)
