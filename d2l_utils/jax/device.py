"""JAX: its devices and their memory."""

import jax

from d2l_utils import failures, host
from d2l_utils.devices import Devices
from d2l_utils.rollcall import WAIT, call_roll

SILENT = 20  # seconds without a heartbeat, after which a process is given up

host.share_gpu_memory_in_jax()


class _Devices(Devices):
    def cpu(self):
        return jax.local_devices(backend="cpu")[0]

    def num_gpus(self):
        return len(self._gpus())

    def gpu(self, i=0):
        return self._gpus()[i]

    def _gpus(self):
        return [device for device in jax.local_devices() if device.platform == "gpu"]

    def split_cpu(self, n):
        if jax.config.jax_num_cpu_devices != n:
            jax.config.update("jax_num_cpu_devices", n)
        return jax.devices("cpu")[:n]

    def gpu_memory(self):
        stats, words = self.gpu().memory_stats(), "peak since the process began"
        peak, current = stats["peak_bytes_in_use"], stats["bytes_in_use"]
        return peak, current, f"{self.gpu().device_kind}, {words}"


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
    """Whether an error may come from the communication between processes."""
    known = isinstance(error, jax.errors.JaxRuntimeError)
    return known and not failures.out_of_memory(error)


def join(workers, rank):
    """Let this process be one of several: see d2l_utils.train.

    workers: ['host:port', ...]; all meet at the first. rank: the position of this one
    among them, from 0.
    """
    call_roll(workers, rank)
    jax.distributed.initialize(
        workers[0],
        len(workers),
        rank,
        initialization_timeout=WAIT,
        heartbeat_timeout_seconds=SILENT,
    )
    jax.devices()  # before a script runs: one that fails is then missed soon
