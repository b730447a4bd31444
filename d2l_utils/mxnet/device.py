"""MXNet: its devices and their memory."""

import mxnet as mx
from mxnet import npx

from d2l_utils.devices import Devices


class _Devices(Devices):
    def cpu(self):
        return mx.cpu()

    def num_gpus(self):
        return mx.context.num_gpus()  # 0 in MXNet's CPU wheels

    def gpu(self, i=0):
        return mx.gpu(i)

    def split_cpu(self, n):
        return [mx.cpu(i) for i in range(n)]

    def gpu_memory(self):
        npx.waitall()
        free, total = mx.context.gpu_memory_info()
        return total - free, total - free, "gpu(0), all in use"

    def reset_gpu_peak(self):
        npx.waitall()
        self.gpu().empty_cache()


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


def join(workers, rank):
    """Raise ValueError: MXNet trains on one machine only, see the message."""
    raise ValueError(
        "In MXNet, a Trainer uses only one machine: for several, its kvstore needs "
        "servers besides the workers, which are not started here. JAX, PyTorch and "
        "TensorFlow train on several machines."
    )
