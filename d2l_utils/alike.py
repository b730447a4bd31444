"""Whether the processes of one training train the same, and whether all are there.

Each framework's folder says how the bytes of `packed` are exchanged by the processes,
and which errors mean that another process has ended.
"""

import hashlib
import json
import sys
import warnings
import zlib
from importlib import metadata

import numpy as np

from d2l_utils.base import installed
from d2l_utils.encoding import fingerprint
from d2l_utils.scripts import code_of, modules_beside

DEVICE = "device"  # the one entry of a description that may differ
SIZE = 8192  # bytes of a description: all processes must send equally many
MODULES, MOST = "modules", 1200  # bytes of that entry; only common ones must agree
LONGEST = 300  # bytes of a value in it, so that a dozen fit
SHOWN = 100  # bytes that are kept of a longer one


class LostContact(RuntimeError):
    """Another process of the training has ended."""


class Unlike(RuntimeError):
    """The processes of a training are to train different things."""


def lost(rank: int, checkpoint) -> LostContact:
    """The error to raise in a process when another one has ended.

    rank: of this process. checkpoint: the path of the training's, or None.
    """
    on = f" fit goes on from {checkpoint}." if checkpoint else ""
    return LostContact(
        f"The process with rank {rank} stops, since one of the others has ended.{on}"
    )


def description(trainer) -> dict:
    """What has to be the same in all processes of a training, except DEVICE."""
    batch, model = trainer._first_batch(), trainer.model
    sizes = {k: x.shape for k, x in trainer._state_tensors().items()}
    images = trainer.data.arrays(True) if trainer.plan.stored_bytes else None
    # Numbers alone: paths, and who prints, may differ. Flax has no hparams.
    settings = vars(model).get("hparams", vars(model)).items()
    settings = {k: v for k, v in settings if type(v) in (int, float) and k[0] != "_"}
    used = installed(*trainer._framework.distributions)
    beside = modules_beside(sys.argv[0])
    return {
        "model": type(model).__name__,
        "settings": settings,
        "gradient_clip_val": float(trainer.gradient_clip_val),
        "names and shapes of weights": checksum(repr(sizes)),
        "number of batches": trainer.num_train_batches,
        "seed": trainer.progress.seed,
        "first batch": checksum(fingerprint(batch, trainer._state_hooks.array_of)),
        "training images": checksum(fingerprint(images, lambda x: None)),
        "code": checksum(code_of(sys.argv[0])),
        MODULES: {k: f"{zlib.crc32(x.encode()):08x}" for k, x in beside.items()},
        "epochs": trainer.max_epochs,
        "precision": "bfloat16" if trainer.plan.bfloat16 else "float32",
        "versions": {k: metadata.version(k) for k in used},
        DEVICE: trainer.device_text().rpartition(", ")[2],  # without their number
    }


def packed(about: dict) -> np.ndarray:
    """What a process says of its training, as SIZE bytes of JSON.

    Values that are too long become text: their beginning and a digest.
    """
    about = {k: _some(x) if k == MODULES else _shortened(x) for k, x in about.items()}
    text = json.dumps(about).encode()
    return np.frombuffer(text.ljust(SIZE), np.uint8)


def checksum(text: str | None) -> str | None:
    """A few digits that differ for different texts; None for None."""
    return None if text is None else f"with checksum {zlib.crc32(text.encode()):08x}"


def _some(modules):
    """The first ones of {module: digest} that fit."""
    found = {}
    for name, digest in modules.items():
        if len(json.dumps(found | {name: digest})) > MOST:
            break
        found[name] = digest
    return found


def _shortened(value):
    text = json.dumps(value)
    if len(text) <= LONGEST:
        return value
    return f"{text[:SHOWN]}... (SHA-256 {hashlib.sha256(text.encode()).hexdigest()})"


def unpacked(row) -> dict:
    """What `packed` was given, with long values shortened."""
    return json.loads(np.asarray(row, np.uint8).tobytes())


def check_alike(said: list[dict]) -> None:
    """Raise Unlike unless all processes train the same; warn of unlike devices.

    said: what each process says of its training, in the order of ranks.
    """
    for rank, theirs in enumerate(said):
        other = _differences(theirs, said[0])
        if other:
            raise Unlike(
                f"The process with rank {rank} trains something else than that with "
                f"rank 0: {'; '.join(other)}. All must run the same script on the same "
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


def _differences(theirs, first):
    """What a description has other than the first one, in words."""
    words = []
    for key, x in first.items():
        other = theirs.get(key)
        if other == x or key == DEVICE:
            continue
        if isinstance(x, dict) and isinstance(other, dict):
            there = (
                x.keys() & other.keys() if key == MODULES else x.keys() | other.keys()
            )
            for k in sorted(there):
                if x.get(k) != other.get(k):
                    words.append(f"{key}: {k} {other.get(k)!r}, not {x.get(k)!r}")
        elif isinstance(x, str) and x.startswith("with checksum"):
            words.append(f"{key} {other}, not {x}")
        else:
            words.append(f"{key} {other!r}, not {x!r}")
    return words
