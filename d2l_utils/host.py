"""The machine and this process: malloc, threads, GPU memory, processor, memory used.

Everything that the package sets for the whole process stands here, with its reason.
`D2L_UTILS_SET_HOST=0` in the environment turns all of it off.
"""

import contextlib
import ctypes
import functools
import os
import platform
import sys
from pathlib import Path

MALLOPT = {"TRIM_THRESHOLD": -1, "MMAP_MAX": -4, "ARENA_MAX": -8}  # of malloc.h


def may_set() -> bool:
    """Whether this package may set anything for the whole process.

    Returns:
        False where D2L_UTILS_SET_HOST is 0.

    Example:
        >>> os.environ["D2L_UTILS_SET_HOST"] = "0"
        >>> may_set()
        False
    """
    return os.environ.get("D2L_UTILS_SET_HOST", "1") != "0"


def _mallopt(**settings):
    """Set options of malloc, by their names in malloc.h (Linux with glibc)."""
    if may_set() and platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        for name, value in settings.items():
            libc.mallopt(MALLOPT[name], value)


def share_memory() -> None:
    """Let all threads allocate from one pool of memory (Linux with glibc).

    By default malloc gives threads pools of their own, and what one thread frees
    cannot be used by another. Batches are large and made by several threads, so that
    JAX takes twice the memory, and MXNet resizes at a third of its speed.

    Example:
        >>> share_memory()
    """
    _mallopt(ARENA_MAX=1)


def keep_memory() -> None:
    """Do what `share_memory` does, and keep freed memory for the next step.

    By default malloc returns each large block to the system as soon as it is freed.
    The next step needs the same memory again, and the system takes time to hand it
    out page by page: a fifth of a PyTorch step.

    Example:
        >>> keep_memory()
    """
    _mallopt(ARENA_MAX=1, MMAP_MAX=0, TRIM_THRESHOLD=2**31 - 1)


def cpu_text(threads: int | None = None) -> str:
    """How results name the processor as a device.

    Parameters:
        threads: that compute; by default as many as this process may use.

    Returns:
        Text.

    Example:
        >>> cpu_text(2)
        'cpu (2 threads)'
    """
    if threads is None:  # os.sched_getaffinity is missing on macOS and Windows
        count = getattr(os, "sched_getaffinity", None)
        threads = len(count(0)) if count else os.cpu_count()
    return f"cpu ({threads} thread{'s' * (threads > 1)})"


@functools.cache
def cpu_flags() -> set[str]:
    """The features of the processor, and its maker, as Linux names them.

    Returns:
        The names, on Linux on x86, with "GenuineIntel" or "AuthenticAMD"; elsewhere an
        empty set.

    Example:
        >>> "avx2" in cpu_flags()  # doctest: +SKIP
        True
    """
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            first = file.read().partition("\n\n")[0].splitlines()  # one processor's
    except OSError:
        return set()
    lines = (line for line in first if line.startswith(("flags", "vendor_id")))
    return {word for line in lines for word in line.partition(":")[2].split()}


def cpu_has_bfloat16(tiles: bool = True) -> bool:
    """Whether the processor multiplies bfloat16 faster than float32.

    Processors with AMX do, and AMD's with AVX-512's instruction for bfloat16. Intel's
    have one unit for that instruction and two for those of float32: on a Xeon whose AMX
    is hidden, NiN trained at 32 images/s in bfloat16 and at 45 in float32.

    Parameters:
        tiles: whether what computes uses the tiles of AMX. MXNet 1.9.1 does not, and on
            a processor that has them its AVX-512's bfloat16 is slow: NiN at 224 pixels
            trains at 24 images/s on two cores, in float32 at 35.

    Returns:
        True or False; where `cpu_flags` knows nothing, False.

    Example:
        >>> cpu_has_bfloat16()  # doctest: +SKIP
        True
    """
    there = cpu_flags()
    if "amx_bf16" in there:
        return tiles
    return "avx512_bf16" in there and "GenuineIntel" not in there


def processor_name() -> str:
    """The name of the processor.

    Returns:
        Its model on Linux on x86; elsewhere what Python knows, at least its kind.

    Example:
        >>> processor_name()  # doctest: +SKIP
        'AMD EPYC 7763 64-Core Processor'
    """
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [x.split(":", 1)[1] for x in file if x.startswith("model name")]
        return names[0].strip()
    except (OSError, IndexError):  # not Linux, or Arm, which names no model
        return platform.processor() or platform.machine()


def physical_cores() -> int | None:
    """How many cores this process may use, without their hyperthreads.

    Returns:
        Their number; None where the system (not Linux) does not say.

    Example:
        >>> physical_cores()  # doctest: +SKIP
        2
    """
    with contextlib.suppress(OSError, AttributeError):  # not Linux, or no /sys
        cpus = (f"/sys/devices/system/cpu/cpu{i}" for i in os.sched_getaffinity(0))
        siblings = (Path(cpu, "topology", "thread_siblings_list") for cpu in cpus)
        return len({path.read_text("utf-8") for path in siblings})
    return None


def use_all_cores() -> None:
    """Make MXNet, when it is loaded next, compute on every core.

    MXNet assumes that every x86 processor has hyperthreads, and starts half as many
    threads as it finds processors (src/engine/openmp.cc in its source). Many virtual
    machines have no hyperthreads; half of their cores would be idle. What the user
    has set, in OMP_NUM_THREADS or MXNET_OMP_MAX_THREADS, is left as it is.

    Example:
        >>> use_all_cores()
    """
    cores = physical_cores()
    if may_set() and cores and "OMP_NUM_THREADS" not in os.environ:
        os.environ.setdefault("MXNET_OMP_MAX_THREADS", str(cores))


def share_gpu_memory_in_jax() -> None:
    """Let JAX take GPU memory as it needs it, so that other notebooks can use the GPU.

    By default JAX takes three quarters of the memory at once. It reads the variable
    that this sets when it first computes, which may be in the reader's next line, so
    this is called at import. What the user has set is left as it is.

    Example:
        >>> share_gpu_memory_in_jax()
    """
    if may_set():
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")


def process_memory() -> dict:
    """How much memory this process uses.

    Returns:
        A dict with "peak_bytes", "current_bytes" (on macOS the peak, too) and "of",
        which says in words that it is the memory of the process.

    Raises:
        ImportError: on Windows, where psutil is not installed.

    Example:
        >>> process_memory()  # doctest: +SKIP
        {'peak_bytes': 254000000, 'current_bytes': 198000000, 'of': 'process memory'}
    """
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
        with open("/proc/self/status", encoding="utf-8", errors="replace") as file:
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


def reset_process_peak() -> None:
    """Start the peak of `process_memory` anew (Linux; elsewhere it does nothing).

    Example:
        >>> reset_process_peak()
    """
    if sys.platform == "linux":
        with open("/proc/self/clear_refs", "w", encoding="utf-8") as file:
            file.write("5")
