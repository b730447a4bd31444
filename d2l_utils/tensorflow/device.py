"""TensorFlow: devices and their memory."""

import contextlib
from functools import cache

import tensorflow as tf

from d2l_utils import host


def cpu():
    """The CPU as a device."""
    return tf.device("/CPU:0")


@cache
def grow_memory():
    """Let TensorFlow take GPU memory as it needs it, not all that there is.

    Other processes (another notebook) can then use the same GPU. It has to come
    before the first operation, so it is called wherever this package is about to
    use TensorFlow, but not at import. A choice that was made already stays.
    """
    if not host.may_set():
        return
    for device in tf.config.list_physical_devices("GPU"):
        # RuntimeError: an operation came first; ValueError: the GPU is split.
        with contextlib.suppress(RuntimeError, ValueError):
            if tf.config.experimental.get_memory_growth(device) is None:
                tf.config.experimental.set_memory_growth(device, True)


def num_gpus():
    """Number of GPUs that TensorFlow can use."""
    grow_memory()
    return len(tf.config.list_physical_devices("GPU"))


def gpu(i=0):
    """GPU number i as a device, whether or not it is there."""
    grow_memory()
    return tf.device(f"/GPU:{i}")


def try_gpu(i=0):
    """GPU number i if it is there, else the CPU (textbook, section 6.7)."""
    return gpu(i) if num_gpus() > i else cpu()


def try_all_gpus():
    """All GPUs, or [cpu()] if there are none."""
    return [gpu(i) for i in range(num_gpus())] or [cpu()]


def _details():
    gpus = tf.config.list_physical_devices("GPU")
    return tf.config.experimental.get_device_details(gpus[0])


def gpu_name():
    """What the first GPU calls itself."""
    return _details().get("device_name", "GPU")


def gpu_has_bfloat16():
    """Whether the first GPU multiplies bfloat16 natively (NVIDIA Ampere or newer)."""
    return _details().get("compute_capability", (0, 0)) >= (8, 0)


def memory_stats():
    """{'peak_bytes', 'current_bytes', 'of'}: GPU counters, or process memory."""
    if num_gpus():
        info = tf.config.experimental.get_memory_info("GPU:0")
        peak, current = info["peak"], info["current"]
        return {"peak_bytes": peak, "current_bytes": current, "of": gpu_name()}
    return host.process_memory()


def reset_peak_memory():
    """Start the peak of `memory_stats` anew."""
    if num_gpus():
        tf.config.experimental.reset_memory_stats("GPU:0")
    else:
        host.reset_process_peak()
