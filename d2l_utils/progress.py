"""How far a training is: what its steps gave, epoch by epoch."""

import math
import time
from dataclasses import dataclass, field, fields
from datetime import timedelta


def is_number(x):
    """Whether it is one of JSON's numbers."""
    return type(x) in (int, float)


class Records:
    """What the steps of one epoch recorded, each with its number of examples.

    Values stay on the device, where they were computed, until they are asked for.
    """

    def __init__(self, rows=()):
        self.rows = [tuple(row) for row in rows]
        self.checked = len(self.rows)  # as many rows, from the first on, were looked at

    def __len__(self):
        return len(self.rows)

    def add(self, n, values):
        """Add {key: value} of one step on n examples."""
        self.rows.append((n, values))

    def means(self):
        """{key: mean over the examples}, read from the device now."""
        keys = dict.fromkeys(k for _, values in self.rows for k in values)
        means = {}
        for key in keys:
            pairs = [(n, float(v[key])) for n, v in self.rows if key in v]
            means[key] = sum(n * v for n, v in pairs) / sum(n for n, _ in pairs)
        return means

    def new_losses(self):
        """The losses that were not looked at yet, as numbers."""
        rows, self.checked = self.rows[self.checked :], len(self.rows)
        return [float(values["loss"]) for _, values in rows if "loss" in values]

    def as_numbers(self):
        """The rows as JSON can hold them."""
        return [
            [n, {k: float(v) for k, v in values.items()}] for n, values in self.rows
        ]


@dataclass
class Progress:
    """How far a training is; a checkpoint stores it beside the tensors.

    seed: of `set_seed` when the training began.
    epoch: how many are done; so also the number, from 0, of the one in training.
    train_batch_idx, val_batch_idx: training steps and validation batches so far.
    train_images: images in the training steps so far.
    train_seconds: seconds in training steps, in the epochs that are done.
    epoch_seconds: the same in this epoch.
    history: {result: [its value in each epoch]}.
    train, val: the records of this epoch.
    """

    seed: int = 0
    epoch: int = 0
    train_batch_idx: int = 0
    val_batch_idx: int = 0
    train_images: int = 0
    train_seconds: float = 0.0
    epoch_seconds: float = 0.0
    history: dict = field(default_factory=dict)
    train: Records = field(default_factory=Records)
    val: Records = field(default_factory=Records)

    def end_epoch(self):
        """Put the means of this epoch into the history, and begin the next."""
        results = {f"train_{k}": v for k, v in self.train.means().items()}
        results |= {f"val_{k}": v for k, v in self.val.means().items()}
        if self.epoch_seconds:  # of the library's own loop
            results["seconds"] = self.epoch_seconds
            self.train_seconds += self.epoch_seconds
        for key, value in results.items():
            self.history.setdefault(key, []).append(value)
        self.train, self.val = Records(), Records()
        self.epoch, self.epoch_seconds = self.epoch + 1, 0.0

    def summary(self):
        """The results of the last epoch in one line."""
        names = {
            "train_loss": "loss",
            "train_acc": "training accuracy",
            "val_acc": "validation accuracy",
        }
        there = [key for key in names if key in self.history]
        return ", ".join(f"{names[key]} {self.history[key][-1]:.3f}" for key in there)

    def to_json(self):
        """All of it as JSON can hold it, for a checkpoint within an epoch.

        A validation that was cut off starts from its beginning.
        """
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {**values, "train": self.train.as_numbers(), "val": []}

    @classmethod
    def from_json(cls, stored):
        """The progress that `to_json` gave; ValueError for anything else."""
        if type(stored) is not dict or set(stored) != {f.name for f in fields(cls)}:
            raise ValueError("progress lacks a field, or has an unknown one")
        for name, default in vars(cls()).items():
            value = stored[name]
            if type(default) in (int, float) and (
                type(value) not in (int, type(default))
                or not (math.isfinite(value) and value >= 0)
            ):
                raise ValueError(f"{name} is {value!r:.40}")
        history, rows = stored["history"], stored["train"]
        if type(history) is not dict or not all(
            type(values) is list
            and len(values) <= stored["epoch"]
            and all(map(is_number, values))
            for values in history.values()
        ):
            raise ValueError(f"history is {history!r:.40}")
        if type(rows) is not list or stored["val"] != [] or not all(map(_is_row, rows)):
            raise ValueError(f"the records are {rows!r:.40}")
        return cls(**{**stored, "train": Records(rows), "val": Records()})


class Pace:
    """How fast a training goes, measured from the first call of `words` on."""

    def __init__(self):
        self.begun = self.epoch = self.newest = None

    def words(self, progress, epochs, steps, val_steps, our_loop=True):
        """How far a training is, how fast, and how long yet, in one line.

        epochs: of the training. steps, val_steps: of an epoch, None where not known.
        our_loop: False for a loop of the reader's own, whose steps cannot be counted.
        """
        now, done, checked = time.monotonic(), len(progress.train), len(progress.val)
        parts = [f"epoch {progress.epoch + 1} of {epochs}"]
        if our_loop:
            name, n, of = ("step", done, steps)
            if checked:
                name, n, of = ("validation step", checked, val_steps)
            parts.append(f"{name} {n}" + (f" of {of}" if of else ""))
            parts += self._speed(now, progress) if not checked else []
            share = progress.epoch + (done / steps if steps else 0)
            parts += self._left(now, share, epochs)
        # The loss that was the newest at the last call is computed by now: no wait.
        if self.newest is not None:
            parts.append(f"loss {float(self.newest):.3f}")
        for _, values in progress.train.rows[-2:]:  # a reader's loop: 1 row a value
            self.newest = values.get("loss", self.newest)
        return ", ".join(parts)

    def _speed(self, now, progress):
        if self.epoch is None or self.epoch[0] != progress.epoch:
            self.epoch = progress.epoch, now, progress.train_images
        _, begun, before = self.epoch
        images = progress.train_images - before
        return [f"{images / (now - begun):,.0f} images/s"] if images else []

    def _left(self, now, share, epochs):
        if self.begun is None:
            self.begun = now, share
        begun, before = self.begun
        if share == before:
            return []
        left = (now - begun) / (share - before) * (epochs - share)
        return [f"{timedelta(seconds=round(left))} left"]


def _is_row(row):
    """Whether it is what `Records.as_numbers` gives for a step."""
    return (
        type(row) is list
        and len(row) == 2
        and type(row[0]) is int
        and row[0] > 0
        and type(row[1]) is dict
        and all(map(is_number, row[1].values()))
    )
