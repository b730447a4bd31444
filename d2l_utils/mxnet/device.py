"""MXNet: devices and their memory."""

import mxnet as mx
from mxnet import npx

from d2l_utils import host


def cpu():
    """The CPU as a device."""
    return mx.cpu()


def num_gpus():
    """Number of GPUs that MXNet can use; 0 for its CPU wheels."""
    return mx.context.num_gpus()


def gpu(i=0):
    """GPU number i as a device, whether or not it is there."""
    return mx.gpu(i)


def try_gpu(i=0):
    """GPU number i if it is there, else the CPU (textbook, section 6.7)."""
    return gpu(i) if num_gpus() > i else cpu()


def try_all_gpus():
    """All GPUs, or [cpu()] if there are none."""
    return [gpu(i) for i in range(num_gpus())] or [cpu()]


def memory_stats():
    """{'peak_bytes', 'current_bytes', 'of'}: GPU counters, or process memory.

    MXNet keeps the GPU memory that it once had, so that there both are the same.
    """
    if num_gpus():
        npx.waitall()
        free, total = mx.context.gpu_memory_info()
        used = total - free
        return {"peak_bytes": used, "current_bytes": used, "of": "gpu(0), all in use"}
    return host.process_memory()


def reset_peak_memory():
    """Start the peak of `memory_stats` anew."""
    if num_gpus():
        npx.waitall()
        gpu().empty_cache()
    else:
        host.reset_process_peak()
