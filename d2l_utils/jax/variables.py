"""JAX: a Flax model with its variables, in training, validation and prediction.

A Flax model holds no weights. Its Trainer keeps them in a TrainState; a model
may also be bound to variables. Either is enough to predict with it.
"""

import itertools
from functools import partial
from typing import Any

import jax
import numpy as np
import optax
from flax.training import train_state

from d2l_utils import base, summary
from d2l_utils.data import images_to_float
from d2l_utils.jax.layers import channels_first, clone, trace

CHANNELS_LAST = True
PREDICT_BATCH = 256


_key_numbers = itertools.count()


def restart_keys():
    """Begin anew with the keys that `get_key` gives."""
    global _key_numbers
    _key_numbers = itertools.count()


def get_key():
    """A PRNG key made from the seed; each call gives the next one."""
    key = jax.random.PRNGKey(base.current_seed())
    return jax.random.fold_in(key, next(_key_numbers))


class TrainState(train_state.TrainState):
    """What training changes, and the root of its dropout keys."""

    batch_stats: Any
    dropout_rng: Any


def make_state(net, variables, tx, key):
    """A TrainState of these variables, the optimizer tx, and a PRNG key."""
    state = TrainState.create(
        apply_fn=net.apply, params=variables["params"], tx=tx,
        batch_stats=variables.get("batch_stats", {}), dropout_rng=key,
    )  # fmt: skip

    def made(x):
        # The textbook's own optimizer gives a class in place of its (empty) state.
        return x() if isinstance(x, type) else x

    return state.replace(opt_state=jax.tree.map(made, state.opt_state))


def check(model, X_shape):
    """Raise ValueError unless the model takes images of this shape."""
    summary.check_size(
        type(model).__name__,
        X_shape,
        lambda shape: [r.output_shape for r in trace(model, shape)],
        CHANNELS_LAST,
    )


def build(model, X_shape):
    """Check that the model takes images of this shape, and note it."""
    check(model, X_shape)
    model._input_shape = channels_first(X_shape)[1:]


def variables_of(model):
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


def logits(net, variables, X):
    """The output of the network."""
    return net.apply(variables, X)


def outputs_of_layers(net, variables, X):
    """The outputs of all layers of net.net, in a list."""

    def layers(net, X):
        return [X := layer(X) for layer in net.net.layers]

    return net.apply(variables, X, method=layers)


def metrics(net, variables, X, Y):
    """{'loss', 'acc'} of one batch."""
    state = make_state(net, variables, optax.identity(), jax.random.PRNGKey(0))
    args = state.params, (X,), Y, state
    return {"loss": net.loss(*args)[0], "acc": net.accuracy(*args)}


def compiled(model, function):
    """function(net, variables, ...) compiled, once, for evaluation mode."""
    model._compiled = model._compiled or {}
    if function not in model._compiled:
        net = clone(model, training=False)
        model._compiled[function] = jax.jit(partial(function, net))
    return model._compiled[function]


def batchwise(model, X, function):
    """Results of function(net, variables, x) for batches x of NumPy images X."""
    variables, function = variables_of(model), compiled(model, function)
    summary.check_layout(X.shape, channels_last=False)
    X = np.moveaxis(images_to_float(X), 1, -1)
    if model._input_shape != channels_first(X.shape)[1:]:
        build(model, (1, *X.shape[1:]))
    starts = range(0, len(X), PREDICT_BATCH)
    return [function(variables, X[i : i + PREDICT_BATCH]) for i in starts]
