"""JAX: the arrays of a TrainState, as NumPy arrays and back.

Also the hooks for what else training changes, which `attributes.py` lists at its top.
"""

import dataclasses

import jax
import numpy as np

GENERATORS, LATE = (), False  # keys are arrays


def _is_key(x):
    return jax.dtypes.issubdtype(getattr(x, "dtype", None), jax.dtypes.prng_key)


def _numpy(x):
    return np.asarray(jax.random.key_data(x) if _is_key(x) else x)


def _back(x, array):
    """An array as the type that x has: a key, or bfloat16."""
    if _is_key(x):
        return jax.random.wrap_key_data(array, impl=jax.random.key_impl(x))
    if getattr(x, "dtype", None) == jax.numpy.bfloat16 and array.dtype == np.uint16:
        return array.view(x.dtype)
    return array


def tensors_of(state):
    """{name: NumPy array} of all that training changes."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {jax.tree_util.keystr(path): _numpy(x) for path, x in leaves}


def restored(state, tensors):
    """The state with the arrays that `tensors_of` gave."""

    def stored(path, x):
        return _back(x, tensors[jax.tree_util.keystr(path)])

    return jax.tree_util.tree_map_with_path(stored, state)


def parts(model):
    return [("", model)]


def own_names():
    return {"board", "trainer", "hparams", "parent", "name", "scope", "training",
            "_fitted", "_compiled", "_input_shape", "_state", "_id"}  # fmt: skip


def options(optim):
    return [("", optim)]


def extras(model):
    return []


def _is_tree(x):
    """Whether it is an object of Flax's or Optax's with arrays: a TrainState, say."""
    return dataclasses.is_dataclass(x) and not jax.tree_util.all_leaves([x])


def is_constant(x):
    return isinstance(x, jax.Array)


def array_of(x):
    if _is_tree(x):
        return tensors_of(x)
    known = isinstance(x, jax.Array) and not isinstance(x, jax.core.Tracer)
    return _numpy(x) if known else None


def put(x, array):
    if _is_tree(x):
        return jax.device_put(restored(x, array))
    return jax.numpy.asarray(_back(x, array))
