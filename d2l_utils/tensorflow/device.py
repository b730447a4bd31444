"""TensorFlow: its devices and their memory."""

import contextlib
import json
import os
from functools import cache

import tensorflow as tf

from d2l_utils import host
from d2l_utils.devices import Devices
from d2l_utils.rollcall import call_roll


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


def _details():
    gpus = tf.config.list_physical_devices("GPU")
    return tf.config.experimental.get_device_details(gpus[0])


def gpu_name():
    """What the first GPU calls itself."""
    return _details().get("device_name", "GPU")


def gpu_has_bfloat16():
    """Whether the first GPU multiplies bfloat16 natively (NVIDIA Ampere or newer)."""
    return _details().get("compute_capability", (0, 0)) >= (8, 0)


class _Devices(Devices):
    def cpu(self):
        return tf.device("/CPU:0")

    def num_gpus(self):
        grow_memory()
        return len(tf.config.list_physical_devices("GPU"))

    def gpu(self, i=0):
        grow_memory()
        return tf.device(f"/GPU:{i}")

    def split_cpu(self, n):
        cpu, *_ = tf.config.list_physical_devices("CPU")
        parts = [tf.config.LogicalDeviceConfiguration() for _ in range(n)]
        if len(tf.config.get_logical_device_configuration(cpu) or ()) != n:
            tf.config.set_logical_device_configuration(cpu, parts)
        return [f"CPU:{i}" for i in range(n)]

    def for_training(self):
        return [f"GPU:{i}" for i in range(self.num_gpus())] or [*self.virtual]

    def gpu_memory(self):
        info = tf.config.experimental.get_memory_info("GPU:0")
        return info["peak"], info["current"], gpu_name()

    def reset_gpu_peak(self):
        tf.config.experimental.reset_memory_stats("GPU:0")


_devices = _Devices()
cpu = _devices.cpu
gpu = _devices.gpu
num_gpus = _devices.num_gpus
try_gpu = _devices.try_gpu
try_all_gpus = _devices.try_all_gpus
memory_stats = _devices.memory_stats
reset_peak_memory = _devices.reset_peak_memory
virtual_devices = _devices.virtual_devices
for_training = _devices.for_training


def is_lost(error) -> bool:
    """Whether an error comes from the communication between workers."""
    return isinstance(error, tf.errors.OpError) and "Collective" in str(error)


def join(workers, rank):
    """Let this process be one of several: see d2l_utils.train.

    workers: ['host:port', ...], where each of them listens. rank: the position of this
    one among them, from 0.
    """
    call_roll(workers, rank)
    task = {"type": "worker", "index": rank}
    about = {"cluster": {"worker": workers}, "task": task}
    os.environ["TF_CONFIG"] = json.dumps(about)
    grow_memory()
    workers_strategy()


@cache
def workers_strategy():
    """The strategy of several workers; None where this process is alone.

    It has to be made before TensorFlow computes anything, and is made only once.
    """
    workers = json.loads(os.environ.get("TF_CONFIG", "{}")).get("cluster", {})
    if len(workers.get("worker", ())) < 2:
        return None
    return tf.distribute.MultiWorkerMirroredStrategy()
