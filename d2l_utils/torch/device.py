"""PyTorch: devices and their memory."""

import torch

from d2l_utils import host


def cpu():
    """The CPU as a device."""
    return torch.device("cpu")


def num_gpus():
    """Number of GPUs that PyTorch can use: CUDA devices, or Apple's one."""
    if torch.cuda.is_available():
        return torch.cuda.device_count()
    return int(torch.backends.mps.is_available())


def gpu(i=0):
    """GPU number i as a device, whether or not it is there."""
    kind = "mps" if torch.backends.mps.is_available() else "cuda"
    return torch.device(kind, i)


def try_gpu(i=0):
    """GPU number i if it is there, else the CPU (textbook, section 6.7)."""
    return gpu(i) if num_gpus() > i else cpu()


def try_all_gpus():
    """All GPUs, or [cpu()] if there are none."""
    return [gpu(i) for i in range(num_gpus())] or [cpu()]


def memory_stats():
    """{'peak_bytes', 'current_bytes', 'of'}: GPU counters, or process memory."""
    if torch.cuda.is_available():
        return {
            "peak_bytes": torch.cuda.max_memory_allocated(),
            "current_bytes": torch.cuda.memory_allocated(),
            "of": torch.cuda.get_device_name(),
        }
    return host.process_memory()


def reset_peak_memory():
    """Start the peak of `memory_stats` anew."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    else:
        host.reset_process_peak()
