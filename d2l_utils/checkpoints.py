"""A training on disk, so that it can go on where it was cut off: safetensors.

One file holds the tensors of model and optimizer, what else training changes (see
attributes.py), and as JSON where the training stands: epoch, step, seeds, history.
It is written beside its place and then moved there, so that at any moment the place
holds a whole file. No pickle.
"""

import contextlib
import functools
import glob
import json
import os
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from d2l_utils import base, encoding
from d2l_utils.board import Point
from d2l_utils.failures import in_one_line
from d2l_utils.progress import Progress, is_number

FORMAT = "3"
PARTS = {"training", "progress", "order", "curves", "points", "settings", "changed",
         "states", "begin", "start", "first"}  # fmt: skip
UNFIT = "does not fit its other records"


class CheckpointError(ValueError):
    """A checkpoint is of another training, or is none, or is in use."""


class CheckpointWarning(UserWarning):
    """Something that a checkpoint does not hold, so that resuming changes a result."""


def alone(method):
    """Decorator of a Trainer's method: it locks the checkpoint while it runs.

    Raises CheckpointError where another training has it. On a disk without locks none
    is made; then each training still writes whole files.
    """

    @functools.wraps(method)
    def locked(trainer, *args, **kwargs):
        with _lock(trainer):
            return method(trainer, *args, **kwargs)

    return locked


@contextlib.contextmanager
def _lock(trainer):
    if not trainer.checkpoint or trainer._holds_checkpoint or not trainer._writes:
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
    trainer._holds_checkpoint = True
    try:
        yield
    finally:
        trainer._holds_checkpoint = False
        if lock.is_locked:
            with contextlib.suppress(OSError):
                os.unlink(lock.lock_file)
        lock.release()


def begin(trainer):
    """Before the first step: resume, or check that the training can be stored.

    Raises CheckpointError for a file that is not of this training, and where the
    training cannot be stored.
    """
    display, beside = trainer.model.board.display, trainer._beside
    known = resume(trainer)
    if known is None:
        save(trainer, keep=False)
    beside.weights = set(trainer._state_tensors())
    if known is not None and display:
        print(trainer._where())
        changed = _what_changed(known["settings"], beside, trainer.checkpoint)
        if changed:
            print(changed)
    lost = beside.unstorable()
    if lost:
        warn(trainer, f"{', '.join(lost)} cannot be stored and starts anew")
    first = _first_batch(trainer)
    again = _first_batch(trainer)
    if first != again:
        warn(
            trainer,
            "its loader gives other batches each time it is asked, for a reason that "
            "no checkpoint stores",
        )
    elif known and None not in (first, known["first"]) and first != known["first"]:
        warn(trainer, "its first batch differs from the one it began with")
    beside.first = first if first == again else None


def warn(trainer, what):
    """Warn of what a checkpoint does not hold."""
    warnings.warn(
        f"A training resumed from {trainer.checkpoint} will not be the same as one "
        f"that was not interrupted: {what}. See the docstring of Trainer.",
        CheckpointWarning,
        stacklevel=4,
    )


def _first_batch(trainer):
    """A checksum of the training's first batch; None where it cannot be had."""
    beside, progress = trainer._beside, trainer.progress
    if isinstance(trainer.train_dataloader, Iterator):  # asking it would use it up
        return None
    now, epoch = beside.states(), progress.epoch
    beside.set_states(beside.start)
    progress.epoch = 0
    trainer._tell_epoch(0)
    try:
        trainer._seed_batch(0)
        batch = next(iter(trainer.batches(train=True)), None)
        text = encoding.fingerprint(batch, trainer._state_hooks.array_of)
    finally:
        progress.epoch = epoch
        trainer._tell_epoch(None)
        beside.set_states(now)
    return text and zlib.crc32(text.encode())


def _what_changed(there, beside, path):
    """A line that says which settings differ from those at the start; falsy if none."""
    changed = [
        f"{name} is {beside.settings[name]!r}, was {value!r}"
        + (" and goes on as training had changed it" if name in beside.moved else "")
        for name, value in there.items()
        if beside.settings.get(name, value) != value
    ]
    return changed and f"Not as in {path}: {'; '.join(changed)}."


def save(trainer, keep=True):
    """Write the state of a training to `trainer.checkpoint`, all or nothing.

    keep: False writes nothing and only tests whether it could be done. Raises
    CheckpointError for a training that cannot be stored, OSError where the disk fails.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save as to_bytes

    board, beside = trainer.model.board, trainer._beside
    name, lost = "an attribute", set(beside.lost)
    try:
        changed, arrays = beside.changed()
        tensors = {f"beside.{i}": x for i, x in enumerate(arrays)}
        for name, x in trainer._state_tensors().items():
            known = beside.weights is None or name in beside.weights
            if name.startswith("model.") and not known:
                raise ValueError("made in training; make it in the model's constructor")
            tensors[name] = encoding.plain(x)
        about = {
            "training": _training(trainer),
            "progress": trainer.progress.to_json(),
            "order": getattr(trainer.data, "seed", None),
            "curves": board.data,
            "points": {
                label: [[float(x), float(y)] for x, y in points]
                for label, points in board.raw_points.items()
                if not label.startswith("val_")  # validation starts from its beginning
            },
            "settings": beside.settings,
            "changed": changed,
            "states": beside.states(),
            "begin": beside.begin,
            "start": beside.start,
            "first": beside.first,
        }
        name = "all of it"
        content = to_bytes(tensors, {"checkpoint": FORMAT, "about": json.dumps(about)})
    except (SafetensorError, AttributeError, TypeError, ValueError, KeyError,
            RuntimeError) as error:  # fmt: skip
        raise CheckpointError(
            f"A training of this {type(trainer.model).__name__} cannot be kept in a "
            f"checkpoint: {name}: {in_one_line(error)}. Train it without one."
        ) from error
    if lost := sorted(beside.lost - lost):
        warn(
            trainer,
            f"{', '.join(lost)}, made in training, cannot be restored and will start "
            "anew; make it in the model's constructor or configure_optimizers",
        )
    if not trainer._writes:
        return  # another process does
    path = base.file_path(trainer.checkpoint)
    path.parent.mkdir(parents=True, exist_ok=True)
    base.replace_file(path, content, keep=keep)


def resume(trainer):
    """Put a training where its checkpoint stands; returns None if there is none.

    Returns else what `save` put into `about`. Raises CheckpointError, with model and
    optimizer unchanged, where the file is damaged or of another training.
    """
    path = base.file_path(trainer.checkpoint)
    if not path.exists():
        return None
    tensors, about = read(path)
    progress, beside = about["progress"], trainer._beside
    this, there = _training(trainer), about["training"]
    for name in this:
        known = None not in (this[name], there.get(name))
        if known and this[name] != there[name]:
            raise _misfit(path, f"its {name} is {there.get(name)}, not {this[name]}")
    number = trainer.num_train_batches or there.get("number of batches")
    if (
        number
        and trainer.plan.our_loop
        and (
            len(progress.train) > number
            or progress.train_batch_idx != progress.epoch * number + len(progress.train)
        )
    ):
        raise _misfit(path, f"its count of {progress.train_batch_idx} steps {UNFIT}")
    longest = max(map(len, progress.history.values()), default=0)
    if progress.epoch > max(longest, trainer.max_epochs):
        raise _misfit(path, f"its count of {progress.epoch} epochs {UNFIT}")
    names = [name for name in tensors if name.startswith("beside.")]
    arrays = {name.partition(".")[2]: tensors.pop(name) for name in names}
    if not all(map(str.isdecimal, arrays)):
        raise _misfit(path, f"it has tensors that are not numbered, among {names}")
    arrays = {int(number): x for number, x in arrays.items()}
    wanted = {k: np.array(x) for k, x in trainer._state_tensors().items()}
    for name in dict.fromkeys([*wanted, *tensors]):
        own = encoding.plain(wanted[name]) if name in wanted else None
        stored, own = (
            None if x is None else f"{x.dtype} {x.shape}"
            for x in (tensors.get(name), own)
        )
        late = own is None and name.startswith("optim.") and trainer._state_hooks.LATE
        if stored != own and not late:
            why = f"{name} is {stored or 'missing'} there, {own or 'missing'} here"
            raise _misfit(path, why)
    states = beside.states()
    try:
        trainer._restore(tensors)
        beside.restore(about["changed"], arrays)
        beside.set_states(about["states"])
        for name in ("begin", "start"):
            beside.states_like(about[name])
            setattr(beside, name, about[name])
    except Exception as error:  # whatever such a file can hold
        trainer._restore(wanted)
        beside.set_states(states)
        raise _misfit(path, in_one_line(error)) from error
    vars(trainer.progress).update(vars(progress))
    if about["order"] is not None:
        trainer.data.seed = about["order"]
    board = trainer.model.board
    board.data = {k: [Point(*p) for p in v] for k, v in about["curves"].items()}
    board.raw_points = {k: [Point(*p) for p in v] for k, v in about["points"].items()}
    return about


def read(path):
    """(tensors, about) of a checkpoint; CheckpointError if it is none of ours."""
    from safetensors import SafetensorError, safe_open

    if Path(path).is_dir():
        raise CheckpointError(f"{path} is a folder. Name a file in it.")
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
        return tensors, _checked(json.loads(metadata["about"]))
    except CheckpointError:
        raise
    except (SafetensorError, OSError, KeyError, TypeError, ValueError,
            RecursionError) as error:  # fmt: skip
        raise CheckpointError(
            f"{path} is not a readable checkpoint ({in_one_line(error)}). Delete it to "
            "start anew."
        ) from error


def _checked(about):
    """`about` of a checkpoint, after a check of its types; `progress` as a Progress.

    Raises ValueError for anything else. Attributes and generators are not checked here:
    restoring them shows whether they fit.
    """
    if type(about) is not dict or set(about) != PARTS:
        raise ValueError("it lacks parts of a checkpoint, or has unknown ones")
    order = about["order"]
    if order is not None and (type(order) is not int or order < 0):
        raise ValueError(f"the order of its data is {order!r:.40}")
    for name in ("training", "settings", "changed", "states", "begin", "start"):
        if type(about[name]) is not dict:
            raise ValueError(f"{name} is {about[name]!r:.40}")
    for name in ("curves", "points"):
        curves = about[name]
        if type(curves) is not dict or not all(
            type(points) is list
            and all(
                type(p) is list and len(p) == 2 and all(map(is_number, p))
                for p in points
            )
            for points in curves.values()
        ):
            raise ValueError(f"{name} is {curves!r:.40}")
    about["progress"] = Progress.from_json(about["progress"])
    return about


def _training(trainer):
    """What must be as in the checkpoint; None stands for what is not known."""
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
