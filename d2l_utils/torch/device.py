"""PyTorch: its devices and their memory."""

import atexit
import os

import torch
from torch import distributed

from d2l_utils.devices import Devices
from d2l_utils.rollcall import call_roll


class _Devices(Devices):
    def cpu(self):
        return torch.device("cpu")

    def num_gpus(self):
        if torch.cuda.is_available():
            return torch.cuda.device_count()
        return int(torch.backends.mps.is_available())  # Apple has one GPU

    def gpu(self, i=0):
        kind = "mps" if torch.backends.mps.is_available() else "cuda"
        return torch.device(kind, i)

    def split_cpu(self, n):
        return [self.cpu()] * n  # n processes share it

    def gpu_memory(self):
        if not torch.cuda.is_available():  # for Apple's GPU PyTorch keeps no peak
            return None
        peak, current = torch.cuda.max_memory_allocated(), torch.cuda.memory_allocated()
        return peak, current, torch.cuda.get_device_name()

    def reset_gpu_peak(self):
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()


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
    """Whether an error comes from the communication between processes."""
    return isinstance(error, RuntimeError) and (
        isinstance(error, distributed.DistError) or "gloo" in str(error)
    )


def meet() -> None:
    """Connect with the other processes, once. From then on they hear if one ends."""
    if not distributed.is_initialized():
        both = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        distributed.init_process_group(both)
        atexit.register(_leave)


def _leave():
    if distributed.is_initialized():
        distributed.destroy_process_group()


def join(workers, rank):
    """Let this process be one of several: see d2l_utils.train.

    workers: ['host:port', ...]; all meet at the first, and those on the same host take
    its GPUs in turn. rank: the position of this one among them, from 0.
    """
    call_roll(workers, rank)
    hosts = [worker.rpartition(":")[0] for worker in workers]
    port = workers[0].rpartition(":")[2]
    os.environ |= {"MASTER_ADDR": hosts[0], "MASTER_PORT": port, "RANK": str(rank),
                   "WORLD_SIZE": str(len(workers)),
                   "LOCAL_RANK": str(hosts[:rank].count(hosts[rank]))}  # fmt: skip
    meet()  # before a script runs: one that fails is then missed at once
