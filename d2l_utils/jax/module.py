"""d2l_utils for JAX: what touches arrays. Models are `flax.linen`; layout NHWC.

The public names are those of the other framework modules; the shared half is in the
framework-free core. A Flax model holds no weights: they are in its `variables`.
"""

import math
from dataclasses import field
from functools import partial

import jax
import numpy as np
import optax
from flax import linen as nn
from jax import numpy as jnp

from d2l_utils import base, summary, weights
from d2l_utils.base import HyperParameters
from d2l_utils.board import ProgressBoard
from d2l_utils.data import FashionMNIST as _FashionMNIST
from d2l_utils.jax import variables as jax_states
from d2l_utils.jax.layers import (
    clone,
    from_stored,
    layer_name,
    named_variables,
    shapes_of,
    stored_shape,
    to_stored,
    trace,
)  # fmt: skip
from d2l_utils.jax.trainer import Trainer, resized
from d2l_utils.modules import ModuleMixin
from d2l_utils.training import Recorder

init_cnn = nn.initializers.glorot_uniform()
"""Glorot-uniform weights (Glorot, Bengio 2010); pass it as `kernel_init`."""


def set_seed(seed):
    """Seed weights, dropout and the order of the data."""
    base.remember_seed(seed)
    jax_states.restart_keys()


class Module(ModuleMixin, HyperParameters, nn.Module):
    """Base class of models (textbook, section 3.2)."""

    plot_train_per_epoch: int = field(default=2, init=False)
    plot_valid_per_epoch: int = field(default=1, init=False)
    board: ProgressBoard = field(
        default_factory=ProgressBoard, init=False, repr=False, compare=False
    )

    _fitted = None  # the TrainState of this model's training
    _compiled = None  # see `jax_states.compiled`

    @nn.nowrap
    def __setattr__(self, name, value):
        # Flax modules are frozen, but these are notes about one, no part of it.
        notes = ("trainer", "_input_shape", "_fitted", "_compiled")
        if name in notes or name.startswith("plot_"):
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
        """(loss, gradients) of a batch (*inputs, labels)."""
        *X, Y = batch
        l, grads = jax.value_and_grad(self.loss)(params, tuple(X), Y, state)
        self.plot("loss", l, train=True)
        return l, grads

    def validation_step(self, params, batch, state):
        """Record the loss of a validation batch."""
        *X, Y = batch
        self.plot("loss", self.loss(params, tuple(X), Y, state), train=False)

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
            jax_states.build(self, inputs[0].shape)
        init = clone(self, training=False).init
        # It runs once: to optimize it would take longer than it saves.
        plain = {"xla_backend_optimization_level": 0}
        return jax.jit(init, compiler_options=plain)(key, *inputs)


def _gives(state, Y_hat):
    """The state with an apply_fn that gives what is known already."""
    return state.replace(apply_fn=lambda *args, **kwargs: Y_hat)


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

    def training_step(self, params, batch, state):
        """((loss, aux), gradients) of a batch (*inputs, labels)."""
        *X, Y = batch
        loss = jax.value_and_grad(self.loss, has_aux=True)
        value, grads = loss(params, tuple(X), Y, state)
        self.plot("loss", value[0], train=True)
        if "Y_hat" in value[1]:  # else a second forward pass would be needed
            known = _gives(state, value[1]["Y_hat"])
            self.plot("acc", self.accuracy(params, tuple(X), Y, known), train=True)
        return value, grads

    def validation_step(self, params, batch, state):
        """Record loss and accuracy of a validation batch."""
        *X, Y = batch
        l, aux = self.loss(params, tuple(X), Y, state)
        self.plot("loss", l, train=False)
        known = _gives(state, aux["Y_hat"]) if "Y_hat" in aux else state
        self.plot("acc", self.accuracy(params, tuple(X), Y, known), train=False)

    def layer_summary(self, X_shape, key=None):
        """Print the output shape of every layer of `net` (textbook, 7.6).

        `key` is taken as in the textbook, but shapes do not depend on it.
        """
        jax_states.build(self, X_shape)

        def show(net, X):
            for layer in net.net.layers:
                X = layer(X)
                print(layer_name(layer), "output shape:\t", X.shape)

        net, X = clone(self, training=False), jnp.zeros(X_shape)
        jax.eval_shape(partial(net.apply, method=show), shapes_of(self, X_shape), X)


class FashionMNIST(_FashionMNIST):
    __doc__ = _FashionMNIST.__doc__

    def to_tensors(self, images, labels):
        X = resized(images, self.resize_matrices())
        return X.block_until_ready(), jnp.asarray(labels)  # else many wait in memory


def evaluate(model, data):
    """{'loss', 'acc'}: means over the validation data, in evaluation mode.

    Raises ValueError for a model neither trained nor bound to variables.
    """
    variables, values = jax_states.variables_of(model), Recorder()
    step = jax_states.compiled(model, jax_states.metrics)
    for X, y in data.val_dataloader():
        values.add(len(y), step(variables, X, y))
    return values.means()


def predict(model, X):
    """Logits (n, classes) of NumPy images (n, C, H, W); NumPy out.

    X: uint8, or float in [0, 1]. Raises ValueError for another layout, images
    too small for the model, or a model neither trained nor bound to variables.
    """
    return np.concatenate(jax_states.batchwise(model, X, jax_states.logits))


def activations(model, X):
    """Outputs of every layer of `model.net` for NumPy images (n, C, H, W).

    A list of NumPy arrays, channels first. Raises ValueError as `predict` does.
    """
    parts = zip(*jax_states.batchwise(model, X, jax_states.outputs_of_layers))
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
    jax_states.build(model, X_shape)
    params = jax.tree.leaves(shapes_of(model, X_shape).get("params", {}))
    rows, slots = trace(model, X_shape), summary.optimizer_slots(model)
    return summary.count(rows, sum(p.size for p in params), X_shape, slots)


def run_facts():
    """Print versions, processor, device, date and time since the import."""
    base.print_facts(["jax", "flax", "optax"], Trainer(1, num_gpus=1).device_text())


def save_weights(model, path, variables=None):
    """Save the weights for every framework (format: see `d2l_utils.weights`).

    variables: default those of the model's training, or that it is bound to.
    Raises ValueError if there are none, or the model was never run.
    """
    shape = weights.known_shape(model)
    variables = jax_states.variables_of(model) if variables is None else variables
    tensors = to_stored(named_variables(model, shape, variables))
    about = {"model": type(model).__name__, "num_classes": model.num_classes}
    weights.write(path, tensors, input_shape=shape, **about)


def load_weights(model, path, variables=None):
    """Load weights that `save_weights` of any framework wrote; returns variables.

    Use them as in model.bind(variables). What the file format has no name for is
    taken from `variables`. Raises WeightsError where the file does not fit.
    """
    tensors, metadata = weights.read(path)

    def nhwc(shape):
        return (1, *shape[1:], shape[0])

    shape = weights.build_for(
        model, metadata, lambda s: jax_states.check(model, nhwc(s))
    )
    places = named_variables(model, shape, shapes_of(model, nhwc(shape)))
    expected = {k: stored_shape(x.shape) for k, (_, x, _) in places.items()}
    weights.check(tensors, metadata, expected, type(model).__name__)
    model._input_shape = shape
    return from_stored(places, tensors, variables)
