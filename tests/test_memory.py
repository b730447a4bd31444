"""The memory that a process uses, and its peak; run with `pytest --framework jax`."""

import mmap
import sys

import pytest

SIZE = 2**26


def test_the_peak_of_memory_starts_anew(d2l):
    """It holds what was used at any time since then, also what was given back."""
    if sys.platform != "linux":
        pytest.skip("only Linux lets a process start its peak anew")
    if d2l.num_gpus():
        pytest.skip("with a GPU, memory_stats is about that")
    d2l.reset_peak_memory()
    start = d2l.memory_stats()["current_bytes"]
    with mmap.mmap(-1, SIZE) as memory:
        for page in range(0, SIZE, mmap.PAGESIZE):
            memory[page] = 1
        assert d2l.memory_stats()["current_bytes"] > start + 0.9 * SIZE
    used = d2l.memory_stats()
    assert used["peak_bytes"] > start + 0.9 * SIZE
    assert used["current_bytes"] < start + 0.5 * SIZE
    d2l.reset_peak_memory()
    assert d2l.memory_stats()["peak_bytes"] < start + 0.5 * SIZE
