"""A training on disk, so that it can go on where it was cut off: safetensors.

One file holds the tensors of model and optimizer, and as JSON where the training
stands: epoch, step, seeds, history. It is written beside its place and then moved
there, so that at any moment the place holds a whole file. No pickle.
"""

import contextlib
import functools
import glob
import json
import os
from pathlib import Path

import numpy as np

from d2l_utils import base
from d2l_utils.board import Point
from d2l_utils.progress import Progress

FORMAT = "2"


class CheckpointError(ValueError):
    """A checkpoint is of another training, or is none, or is in use."""


def alone(method):
    """Decorator of a Trainer's method: meanwhile its checkpoint is its alone.

    Where the disk knows no locks, two trainings still write whole files each.
    """

    @functools.wraps(method)
    def locked(trainer, *args, **kwargs):
        with _lock(trainer):
            return method(trainer, *args, **kwargs)

    return locked


@contextlib.contextmanager
def _lock(trainer):
    if not trainer.checkpoint or trainer.holds_checkpoint:
        yield
        return
    from filelock import FileLock, Timeout

    path = Path(os.path.realpath(base.file_path(trainer.checkpoint)))
    lock = FileLock(path.with_name(f".{path.name}.lock"), timeout=0)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
        for part in path.parent.glob(f"{glob.escape(path.name)}.*.part"):
            part.unlink()  # of a process that was killed
    except Timeout:
        raise CheckpointError(
            f"Another training is using {path}: a notebook that is open twice, say. "
            "It goes on. Wait for its end or stop it, or choose another path here."
        ) from None
    except (OSError, NotImplementedError):  # filelock raises it on disks without locks
        pass
    trainer.holds_checkpoint = True
    try:
        yield
    finally:
        trainer.holds_checkpoint = False
        if lock.is_locked:
            with contextlib.suppress(OSError):
                os.unlink(lock.lock_file)
        lock.release()


def save(trainer):
    """Write the state of a training to `trainer.checkpoint`, all or nothing."""
    from safetensors.numpy import save as to_bytes

    board = trainer.model.board
    about = {
        "training": _training(trainer),
        "progress": trainer.progress.to_json(),
        "order": getattr(trainer.data, "seed", None),
        "curves": board.data,
        "points": {
            label: [[float(x), float(y)] for x, y in points]
            for label, points in board.raw_points.items()
            if not label.startswith("val_")  # a validation starts from its beginning
        },
    }
    metadata = {"checkpoint": FORMAT, "about": json.dumps(about)}
    # safetensors writes the bytes as they lie, in whatever order.
    tensors = {k: np.asarray(x, order="C") for k, x in trainer.state_tensors().items()}
    path = base.file_path(trainer.checkpoint)
    path.parent.mkdir(parents=True, exist_ok=True)
    base.replace_file(path, to_bytes(tensors, metadata))


def resume(trainer):
    """Bring a training to where its checkpoint stands; False if there is none.

    Raises CheckpointError, with model and optimizer unchanged, where the file is
    damaged or of another training.
    """
    path = base.file_path(trainer.checkpoint)
    if not path.exists():
        return False
    tensors, about = read(path)
    this, there = _training(trainer), about["training"]
    for name in this:
        if this[name] != there.get(name):
            raise _misfit(path, f"its {name} is {there.get(name)}, not {this[name]}")
    wanted = trainer.state_tensors()
    for name in dict.fromkeys([*wanted, *tensors]):
        stored, own = (getattr(t.get(name), "shape", None) for t in (tensors, wanted))
        late = own is None and name.startswith("optim.")  # made in the first step
        if stored != own and not late:
            why = f"{name} is {stored or 'missing'} there, {own or 'missing'} here"
            raise _misfit(path, why)
    trainer.restore(tensors)
    vars(trainer.progress).update(vars(about["progress"]))
    if about["order"] is not None:
        trainer.data.seed = about["order"]
    board = trainer.model.board
    board.data = {k: [Point(*p) for p in v] for k, v in about["curves"].items()}
    board.raw_points = {k: [Point(*p) for p in v] for k, v in about["points"].items()}
    return True


def read(path):
    """(tensors, about) of a checkpoint; CheckpointError if it is none of ours."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("checkpoint") != FORMAT:
                raise CheckpointError(
                    f"{path} is no checkpoint of a training (format {FORMAT}). "
                    "Choose another path: a checkpoint would overwrite it."
                )
            names = file.keys()  # the file itself cannot be iterated over
            tensors = {name: file.get_tensor(name) for name in names}
        about = json.loads(metadata["about"])
        missing = {"training", "progress", "order", "curves", "points"} - set(about)
        if missing:
            raise KeyError(f"it lacks {sorted(missing)}")
        about["progress"] = Progress.from_json(about["progress"])
        return tensors, about
    except CheckpointError:
        raise
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path} is not a readable checkpoint ({error}). Delete it to start anew."
        ) from error


def _training(trainer):
    """What must be the same for a training to be the same."""
    return {
        "model": type(trainer.model).__name__,
        "batch size": getattr(trainer.data, "batch_size", None),
        "number of batches": trainer.num_train_batches,
    }


def _misfit(path, why):
    return CheckpointError(
        f"{path} is of another training: {why}. To start anew, delete it, or choose "
        "another path."
    )
