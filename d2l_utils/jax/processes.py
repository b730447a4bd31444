"""JAX: one training in several processes, as `python -m d2l_utils.train` starts them.

All devices of all processes are one mesh, and each process computes what lies on its
own. The functions here bring arrays that every process has there, and back.
"""

import jax
import numpy as np
from jax.experimental import multihost_utils

from d2l_utils.alike import check_alike, packed, unpacked


def several() -> bool:
    """Whether this process is one of several."""
    return jax.process_count() > 1


def devices(n):
    """n GPUs of each process; the processors of all where there are none."""
    gpus = [device for device in jax.devices() if device.platform == "gpu"]
    taken = []
    for rank in range(jax.process_count()):
        taken += [device for device in gpus if device.process_index == rank][:n]
    return taken or jax.devices("cpu")


def own(devices):
    """The first of the devices that is one of this process."""
    return next(d for d in devices if d.process_index == jax.process_index())


def put(tree, sharding):
    """Arrays that all processes have, as arrays of the whole mesh."""

    def one(x):
        if jax.dtypes.issubdtype(getattr(x, "dtype", None), jax.dtypes.prng_key):
            return jax.device_put(x, sharding)
        x = np.asarray(x)
        return jax.make_array_from_callback(x.shape, sharding, lambda part: x[part])

    return jax.tree.map(one, tree)


def local(tree):
    """Arrays of which each device has a copy, as arrays of this process alone."""
    device = jax.local_devices()[0]
    return jax.tree.map(lambda x: jax.device_put(np.asarray(x), device), tree)


def agree(about):
    """Raise RuntimeError where the processes are to train different things."""
    rows = multihost_utils.process_allgather(packed(about))
    check_alike([unpacked(row) for row in rows])
