"""Which batches a training gets: from where, in which order, from which one on.

The order of an epoch depends on seed and epoch alone. So a training that goes on from a
checkpoint gets the batches that it would have got.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from d2l_utils.data import DataModule
from d2l_utils.ownership import library, replaced


def number_of_batches(loader):
    """The number of batches of a loader: 0 for None, None where it is not known."""
    try:
        return 0 if loader is None else len(loader)
    except TypeError:
        return None


def step_seed(seed: int, step: int, *what) -> int:
    """A seed, 31 bits, for what is random in a step; what: numbers for more of them."""
    return int(np.random.SeedSequence([seed, step, *what]).generate_state(1)[0] >> 1)


@library
class Feed:
    """The part of a Trainer that asks its data for batches."""

    data = train_dataloader = val_dataloader = num_train_batches = None
    num_val_batches = 0
    _first_batches = {}  # {train: a batch}
    _resident = {}  # {train: arrays on the device}

    def prepare_data(self, data: Any) -> None:
        """Take the data that the next training is on.

        Parameters:
            data: a `DataModule`, or whatever has its two loaders.

        Raises:
            ValueError: there is nothing to train on.
        """
        self.data = data
        self.train_dataloader = data.train_dataloader()
        self.val_dataloader = data.val_dataloader()
        # None where a loader has no length, until the end of its first pass.
        self.num_train_batches = number_of_batches(self.train_dataloader)
        self.num_val_batches = number_of_batches(self.val_dataloader)
        if self.train_dataloader is None:
            raise ValueError(
                f"{type(data).__name__} has no batches to train on: its "
                "get_dataloader(train=True) returned None."
            )
        if self.num_train_batches == 0:
            raise ValueError("There is nothing to train on: the data set is empty.")

    def _batches_left(self):
        """The training batches that are left of this epoch: not all after resuming.

        Those before are drawn again and dropped, from generators in the states that
        they had when the epoch began.
        """
        progress, beside = self.progress, self._beside
        done = len(progress.train)
        step = progress.train_batch_idx - done
        if beside and done:
            now = beside.states()
            beside.set_states(beside.begin)
        elif beside:
            beside.begin = beside.states()
        by_itself = beside and getattr(self.data, "training_epoch", 0) is None
        if by_itself:  # `fit_epoch` without `fit`
            self._tell_epoch(progress.epoch)
        self._seed_batch(step)
        batches = self.batches(train=True)
        for i in range(step, step + done):
            self._seed_batch(i)
            next(batches, None)
        if beside and done:
            beside.set_states(now)
        self._seed_batch(step + done)
        for i, batch in enumerate(batches, step + done + 1):
            yield batch
            self._seed_batch(i)
        if by_itself:
            self._tell_epoch(None)

    def _seed_batch(self, step):
        """Seed the framework's generator, from which a loader may draw the batch."""
        if self.checkpoint and not self.plan.stored_bytes:
            self._seed_step(step_seed(self.progress.seed, step, 1))

    def batches(self, train: bool) -> Iterator:
        """This epoch's batches.

        Parameters:
            train: those to train on; if not, those for validation.

        Returns:
            An iterator, over stored bytes where the plan says so.
        """
        if self.plan.stored_bytes:
            return self.data.batches(train, self.epochs_done, self._resident.get(train))
        loader = self.train_dataloader if train else self.val_dataloader
        if isinstance(loader, Iterator):  # a generator, say: it gives one pass
            data, old = self.data, loader
            loader = data.train_dataloader() if train else data.val_dataloader()
            if loader is old:
                raise self._used_up()
        return iter(loader)

    def _used_up(self):
        """The error to raise where a loader has no second pass."""
        return ValueError(
            f"There is no batch for epoch {self.epochs_done + 1}: the loader of "
            f"{type(self.data).__name__} can be gone through only once. Let "
            "get_dataloader make a new one at each call."
        )

    def _first_batch(self, train=True):
        """The first batch, to build and check the model with; None if there is none.

        It is kept, so that a loader is asked only once.
        """
        if train not in self._first_batches:
            told = getattr(self.data, "training_epoch", None)
            self._tell_epoch(self.epochs_done)
            try:
                there = train or self.num_val_batches != 0
                batch = next(self.batches(train), None) if there else None
            finally:
                self._tell_epoch(told)  # not None where an optimizer was replaced
            if train and batch is None:
                raise ValueError("There is nothing to train on: the data set is empty.")
            self._first_batches[train] = batch
        return self._first_batches[train]

    def _seen_batch(self, train):
        """The first batch as the library's steps get it, to be checked."""
        batch = self._first_batch(train)
        if batch is None or not replaced(self, "prepare_batch"):
            return batch
        return self.prepare_batch(batch)

    def _tell_epoch(self, epoch):
        """Tell the data's loaders which epoch is in training, None for none.

        So the order of an epoch depends on seed and epoch alone, not on how often a
        loader was asked for batches before, or where a training was resumed.
        """
        if isinstance(self.data, DataModule):
            self.data.training_epoch = epoch
            self.data.training_seed = None if epoch is None else self.progress.seed
