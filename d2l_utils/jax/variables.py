"""JAX: the keys, and where the variables of a Flax model are.

A Flax model holds no weights. Its Trainer keeps them in a TrainState; a model may also
be bound to variables. Either is enough to predict with it.
"""

import itertools
from collections import namedtuple
from typing import Any

import jax
from flax.training import train_state
from flax.traverse_util import flatten_dict, unflatten_dict

from d2l_utils import base

_key_numbers = itertools.count()


def restart_keys(number=0):
    """Begin anew with the keys that `get_key` gives, or at a number."""
    global _key_numbers
    _key_numbers = itertools.count(number)


def get_key() -> jax.Array:
    """A PRNG key made from the seed of `set_seed`; each call gives the next one.

    Returns:
        A key of `jax.random`.

    Example:
        >>> variables = model.apply_init((X,), d2l.get_key())
    """
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


Kept = namedtuple("Kept", "params batch_stats")
"""What a copied model keeps of its TrainState."""


def merged(*variables):
    """Nested dicts of variables as one; where several have a leaf, the last counts."""
    flat = {}
    for each in variables:
        flat |= flatten_dict(each)
    return unflatten_dict(flat)


def variables_of(model):
    """The variables from the model's training, or those it is bound to.

    Raises ValueError where there are none.
    """
    state = vars(model).get("_fitted")  # a Flax module need not be a `Module`
    if state is not None:
        stats = getattr(state, "batch_stats", {})  # not in a state of the reader's own
        return {"params": state.params, "batch_stats": stats}
    if model.scope is not None:
        return model.variables
    raise ValueError(
        f"This {type(model).__name__} has no weights: a Flax model does not hold "
        "them. Train it, or use model.bind(variables), with variables from "
        "load_weights(model, path) or model.apply_init((X,), get_key())."
    )
