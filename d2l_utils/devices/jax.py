"""JAX: devices and their memory.

Importing this is the one place where the package sets something at import: that
JAX takes GPU memory as it needs it, not three quarters of it at once, so that
other processes (another notebook) can use the same GPU. JAX reads the variable
when it first computes anything, which may be in the user's next line. A value
that is there already stays; set it to "true" to have JAX's own default back.
"""

import os

import jax

from d2l_utils import summary

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")


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
