"""Whether the processes of one training train the same, and whether all are there.

A framework's folder says how what `packed` gives comes from every process to all, and
which errors are those of a process that has ended.
"""

import json
import warnings

import numpy as np

DEVICE = "device"  # what may differ
SIZE = 4096  # bytes, as all processes must send equally many


class LostContact(RuntimeError):
    """Another process of the training has ended."""


def lost(rank: int, checkpoint) -> LostContact:
    """The error of a process that goes on without the others."""
    on = f" fit goes on from {checkpoint}." if checkpoint else ""
    return LostContact(
        f"The process with rank {rank} stops, since one of the others has ended.{on}"
    )


def packed(about: dict) -> np.ndarray:
    """What a process says of its training, as bytes."""
    text = json.dumps(about).encode()[:SIZE]
    return np.frombuffer(text.ljust(SIZE), np.uint8)


def unpacked(row) -> dict:
    """What `packed` was given."""
    return json.loads(np.asarray(row, np.uint8).tobytes())


def check_alike(said: list[dict]) -> None:
    """Raise RuntimeError where processes are to train different things; warn where they
    compute on different devices.

    said: what each says of its training, in the order of ranks.
    """
    for rank, theirs in enumerate(said):
        other = [
            f"{k} {theirs.get(k)!r}, not {x!r}"
            for k, x in said[0].items()
            if theirs.get(k) != x and k != DEVICE
        ]
        if other:
            raise RuntimeError(
                f"The process with rank {rank} trains something else than that with "
                f"rank 0: {', '.join(other)}. All must run the same script on the same "
                "data."
            )
    devices = [theirs.get(DEVICE) for theirs in said]
    if len(set(devices)) > 1:
        which = ", ".join(f"{d} (rank {rank})" for rank, d in enumerate(devices))
        warnings.warn(
            f"The processes compute on different devices: {which}. Each step takes as "
            "long as that of the slowest one.",
            RuntimeWarning,
            stacklevel=2,
        )
