"""JAX: devices and their memory."""

import jax

from d2l_utils import host

host.share_gpu_memory_in_jax()


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
        return host.process_memory()
    stats = gpu().memory_stats()
    return {
        "peak_bytes": stats["peak_bytes_in_use"],
        "current_bytes": stats["bytes_in_use"],
        "of": f"{gpu().device_kind}, peak since the process began",
    }


def reset_peak_memory():
    """Start the peak of `memory_stats` anew; a GPU's cannot be, in JAX."""
    if not num_gpus():
        host.reset_process_peak()
