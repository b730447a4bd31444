"""Whether the processes of one training train the same, and whether all are there.

Each framework's folder says how the bytes of `packed` are exchanged by the processes,
and which errors mean that another process has ended.
"""

import hashlib
import json
import warnings

import numpy as np

DEVICE = "device"  # the one entry of a description that may differ
SIZE = 4096  # bytes of a description: all processes must send equally many
LONGEST = 300  # bytes of a value in it, so that a dozen fit
SHOWN = 100  # bytes that are kept of a longer one


class LostContact(RuntimeError):
    """Another process of the training has ended."""


def lost(rank: int, checkpoint) -> LostContact:
    """The error to raise in a process when another one has ended.

    rank: of this process. checkpoint: the path of the training's, or None.
    """
    on = f" fit goes on from {checkpoint}." if checkpoint else ""
    return LostContact(
        f"The process with rank {rank} stops, since one of the others has ended.{on}"
    )


def packed(about: dict) -> np.ndarray:
    """What a process says of its training, as SIZE bytes of JSON.

    Values that are too long become text: their beginning and a digest.
    """
    text = json.dumps({key: _shortened(x) for key, x in about.items()}).encode()
    return np.frombuffer(text.ljust(SIZE), np.uint8)


def _shortened(value):
    text = json.dumps(value)
    if len(text) <= LONGEST:
        return value
    return f"{text[:SHOWN]}... (SHA-256 {hashlib.sha256(text.encode()).hexdigest()})"


def unpacked(row) -> dict:
    """What `packed` was given, with long values shortened."""
    return json.loads(np.asarray(row, np.uint8).tobytes())


def check_alike(said: list[dict]) -> None:
    """Raise RuntimeError unless all processes train the same; warn of unlike devices.

    said: what each process says of its training, in the order of ranks.
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
