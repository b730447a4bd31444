"""The machine and this process: malloc, threads, GPU memory, processor, memory used.

Everything that the package sets for the whole process stands here, with its reason.
`D2L_UTILS_SET_HOST=0` in the environment declines all of it.
"""

import contextlib
import ctypes
import functools
import os
import platform
import sys
from pathlib import Path

MALLOPT = {"TRIM_THRESHOLD": -1, "MMAP_MAX": -4, "ARENA_MAX": -8}  # of malloc.h


def may_set():
    """Whether this package may set anything for the whole process."""
    return os.environ.get("D2L_UTILS_SET_HOST", "1") != "0"


def _mallopt(**settings):
    """Set options of malloc, by their names in malloc.h (Linux with glibc)."""
    if may_set() and platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        for name, value in settings.items():
            libc.mallopt(MALLOPT[name], value)


def share_memory():
    """Let all threads allocate from one place.

    By default what a thread freed is kept for that thread, where the large batches
    that several threads make find no room: JAX takes twice the memory, MXNet resizes
    at a third of its speed.
    """
    _mallopt(ARENA_MAX=1)


def keep_memory():
    """Let freed memory stay with the process, too.

    By default every large block goes back to the system at once, and the next step
    pays page faults for the same memory: a fifth of a PyTorch step.
    """
    _mallopt(ARENA_MAX=1, MMAP_MAX=0, TRIM_THRESHOLD=2**31 - 1)


def cpu_text(threads=None):
    """How results name the processor."""
    if threads is None:  # os.sched_getaffinity is missing on macOS and Windows
        count = getattr(os, "sched_getaffinity", None)
        threads = len(count(0)) if count else os.cpu_count()
    return f"cpu ({threads} thread{'s' * (threads > 1)})"


@functools.cache
def cpu_flags():
    """What the processor can do, in Linux's words; an empty set elsewhere."""
    try:
        with open("/proc/cpuinfo") as file:
            return set(next(line for line in file if line.startswith("flags")).split())
    except (OSError, StopIteration):
        return set()


def cpu_has_bfloat16():
    """Whether the processor multiplies bfloat16 natively (x86 on Linux is asked)."""
    return not cpu_flags().isdisjoint(("avx512_bf16", "amx_bf16"))


def processor_name():
    """What the processor calls itself."""
    try:
        with open("/proc/cpuinfo") as file:
            names = [x.split(":", 1)[1] for x in file if x.startswith("model name")]
        return names[0].strip()
    except (OSError, IndexError):  # not Linux, or Arm, which names no model
        return platform.processor() or platform.machine()


def physical_cores():
    """Cores this process may use, hyperthreads of one counted once; None if unknown."""
    with contextlib.suppress(OSError, AttributeError):  # not Linux, or no /sys
        cpus = (f"/sys/devices/system/cpu/cpu{i}" for i in os.sched_getaffinity(0))
        siblings = (Path(cpu, "topology", "thread_siblings_list") for cpu in cpus)
        return len({path.read_text() for path in siblings})
    return None


def use_all_cores():
    """Let MXNet, once it is loaded, compute on every core; the user's choice stands.

    MXNet takes every x86 processor for one with hyperthreads, and by default half of
    what it finds: without hyperthreads, as on many virtual machines, half the cores
    (src/engine/openmp.cc in its source).
    """
    cores = physical_cores()
    if may_set() and cores and "OMP_NUM_THREADS" not in os.environ:
        os.environ.setdefault("MXNET_OMP_MAX_THREADS", str(cores))


def share_gpu_memory_in_jax():
    """Let JAX take GPU memory as it needs it, so that other notebooks can use the GPU.

    By default it takes three quarters of it at once. JAX reads the variable when it
    first computes, which may be in the reader's next line, so this runs at import. A
    value that is there already stays.
    """
    if may_set():
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")


def process_memory():
    """{'peak_bytes', 'current_bytes', 'of'} of this process."""
    if sys.platform == "win32":
        try:
            import psutil
        except ImportError as error:
            raise ImportError(
                "memory_stats() on Windows needs psutil: pip install psutil."
            ) from error
        info = psutil.Process().memory_info()
        return {
            "peak_bytes": info.peak_wset,
            "current_bytes": info.rss,
            "of": "process memory",
        }
    if sys.platform == "linux":
        with open("/proc/self/status") as file:
            rows = dict(line.split(":", 1) for line in file)
        kib = {k: int(rows[k].split()[0]) for k in ("VmHWM", "VmRSS")}
        return {
            "peak_bytes": kib["VmHWM"] * 1024,
            "current_bytes": kib["VmRSS"] * 1024,
            "of": "process memory",
        }
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS
    return {"peak_bytes": peak, "current_bytes": peak, "of": "process memory"}


def reset_process_peak():
    """Start the peak of `process_memory` anew, where the system can (Linux)."""
    if sys.platform == "linux":
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
