"""JAX: the arrays of a TrainState, as NumPy arrays and back."""

import jax
import numpy as np


def tensors_of(state):
    """{name: NumPy array} of all that training changes."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {jax.tree_util.keystr(path): np.asarray(x) for path, x in leaves}


def restored(state, tensors, device):
    """The state with the arrays that `tensors_of` gave, on the device."""

    def stored(path, x):
        return jax.device_put(tensors[jax.tree_util.keystr(path)], device)

    return jax.tree_util.tree_map_with_path(stored, state)
