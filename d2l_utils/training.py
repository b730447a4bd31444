"""The framework-free half of training: what a Trainer does, and when.

The framework modules add what touches tensors: `Trainer` here says when a step,
an evaluation or a plot happens, the subclass says how.
"""

import time
import warnings
from itertools import islice
from numbers import Integral

import numpy as np

from d2l_utils import checkpoints, failures, host
from d2l_utils.base import HyperParameters, current_seed, fast_mode
from d2l_utils.board import ProgressBar, to_numpy
from d2l_utils.modules import COMPUTES, SPEAKS, gives_stored_bytes, is_ours

PRECISIONS = ("auto", "float32")


def check_num_gpus(asked, there):
    """Say in one line where a Trainer uses fewer GPUs than the number `asked` for.

    Nothing is said of one GPU that is not there: notebooks that run everywhere
    ask for one. Raises ValueError for what is no number of GPUs.
    """
    if not isinstance(asked, Integral) or asked < 0:
        raise ValueError(
            f"num_gpus={asked!r}: choose 0, the CPU, or 1, a GPU where there is one."
        )
    if asked > 1:
        found = "1 is" if there == 1 else f"{there or 'none'} are"
        print(
            f"num_gpus={asked}, but a Trainer uses one GPU at most, and {found} here: "
            f"training on {'the first GPU' if there else 'the CPU'}."
        )


class Recorder:
    """Values of the steps of one epoch, on the device until they are read."""

    def __init__(self):
        self.rows = []

    def add(self, n, values):
        self.rows.append((n, values))

    def means(self):
        """Mean of each value over the examples, read from the device now."""
        keys = dict.fromkeys(k for _, values in self.rows for k in values)
        means = {}
        for key in keys:
            pairs = [(n, float(v[key])) for n, v in self.rows if key in v]
            means[key] = sum(n * v for n, v in pairs) / sum(n for n, _ in pairs)
        return means


def step_seed(seed, step):
    """The seed of everything random in one step: 31 bits."""
    return int(np.random.SeedSequence([seed, step]).generate_state(1)[0] >> 1)


class Trainer(HyperParameters):
    """Minibatch training, as the textbook's Trainer (section 3.2).

    max_epochs: passes over the training data; num_gpus: 0 or 1, a GPU is used
    when asked for and there; gradient_clip_val: bound of the gradient's norm, 0
    for none; precision: 'float32', or 'auto', which computes training steps in
    bfloat16 where the hardware has it and this framework is faster with it (the
    weights, validation and prediction stay in float32); checkpoint: None, or the
    path of a file that keeps the state of the training, written after every
    `every` steps and every epoch. Where it exists, `fit` goes on from there, to the
    same result, bit by bit in float32 on a CPU, as if never interrupted.

    `fit` draws loss and accuracy, keeps `history` (a dict of lists with one entry
    per epoch) and ends with one line of results; it is silent where the model's
    `board.display` is False. Fitted again, a model goes on from its weights with a
    new optimizer. `fit` raises FloatingPointError where the loss is not finite and
    MemoryError where memory runs out, and warns of a dead network; a
    KeyboardInterrupt comes between two steps.

    A framework's subclass defines `gpus_there()`, the number of GPUs;
    `find_device()`; `prepare_batch(batch)`, tensors on the device;
    `train_step(batch)` and `val_step(batch)`, which return the recorded values on
    the device; `device_text()`; `bfloat16_is_faster()` where it may be;
    `keeps_data()` and `put(arrays)` where data may live on the device;
    `state_tensors()` and `restore(tensors)`, all that training changes as {name:
    NumPy array}; `seed_step(seed)` where dropout draws from a generator that is
    not in there.
    """

    def __init__(
        self, max_epochs, num_gpus=0, gradient_clip_val=0, precision="auto",
        checkpoint=None, every=100,
    ):  # fmt: skip
        self.save_hyperparameters()
        check_num_gpus(num_gpus, self.gpus_there())
        self.find_device()
        if precision not in PRECISIONS:
            raise ValueError(f"precision={precision!r}: choose one of {PRECISIONS}.")
        if not isinstance(every, Integral) or every < 1:
            raise ValueError(f"every={every!r}: the steps between two checkpoints.")
        if fast_mode() and max_epochs > 1:
            print(f"D2L_UTILS_FAST: 1 epoch instead of {max_epochs}, few batches.")
            self.max_epochs = 1

    def bfloat16_is_faster(self):
        """Whether this framework trains faster in bfloat16 on this device."""
        return False

    def seed_step(self, seed):
        """Seed what dropout draws from."""

    def keeps_data(self):
        """Whether the whole data set, in bytes, lives on the device: on a GPU."""
        return False

    def put(self, arrays):
        """Arrays on the device."""
        return self.prepare_batch(arrays)

    def in_bfloat16(self):
        """Whether training steps compute in bfloat16."""
        own = self.own_loop and is_ours(self.model, *COMPUTES)
        return own and self.precision == "auto" and self.bfloat16_is_faster()

    def may_compile(self):
        """Whether nothing that runs in a step was written to see its values."""
        own = is_ours(self, "fit_epoch", "prepare_batch", "clip_gradients")
        return own and is_ours(self.model, *SPEAKS)

    # The loop -------------------------------------------------------------------

    def prepare_data(self, data):
        self.data = data
        self.own_loop = is_ours(self, "fit_epoch")
        as_stored = self.own_loop and is_ours(self, "prepare_batch")
        self.stored_bytes = as_stored and gives_stored_bytes(data)
        self.train_dataloader = data.train_dataloader()
        self.val_dataloader = data.val_dataloader()
        self.num_train_batches = len(self.train_dataloader)
        self.num_val_batches = (
            len(self.val_dataloader) if self.val_dataloader is not None else 0
        )
        self.resident = {}  # {train: (images, labels)} on the device
        if self.stored_bytes and self.keeps_data():
            for train in (True, False):
                self.resident[train] = self.put(data.arrays(train))
        if not self.num_train_batches:
            raise ValueError("There is nothing to train on: the data set is empty.")

    def prepare_model(self, model):
        model.trainer = self
        model.board.xlim = [0, self.max_epochs]
        self.model = model

    def fit(self, model, data):
        """Train the model on the data."""
        self.prepare_data(data)
        self.prepare_model(model)
        self.optim = model.configure_optimizers()
        self.run_epochs()

    def run_epochs(self):
        """All epochs; the model and the optimizer are ready."""
        host.keep_memory()
        self.epoch = self.train_batch_idx = self.val_batch_idx = 0
        self.history, self.train_seconds, self.train_images = {}, 0.0, 0
        self.recorder, self.seconds = Recorder(), 0.0  # of this epoch, in training
        self.val_recorder, self.recorded = Recorder(), None
        self.seed, self.between_steps = current_seed(), True
        model, board = self.model, self.model.board
        board.xlabel = board.xlabel or "epoch"
        if board.display and self.in_bfloat16():
            print(
                "Training steps compute in bfloat16, which is faster here; "
                "Trainer(precision='float32') does not."
            )
        if self.checkpoint and checkpoints.resume(self) and board.display:
            print(self.where())
        self.losses = failures.LossWatch(
            getattr(model, "lr", None), getattr(model, "num_classes", None)
        )
        self.losses.steps, self.looked = self.train_batch_idx, len(self.recorder.rows)
        batch_size = getattr(self.data, "batch_size", 1)
        self.bar = ProgressBar(
            self.max_epochs * self.num_train_batches * batch_size,
            board.display and self.own_loop,
        )
        self.bar.update(self.train_images, self.epoch)
        try:
            for epoch in range(self.epoch, self.max_epochs):
                self.epoch = epoch
                self.fit_epoch()
                self.end_epoch()
                self.save_checkpoint(epoch + 1)
        except KeyboardInterrupt:
            if self.own_loop and self.between_steps:  # else a step was cut in two
                self.look_at_losses()
                self.save_checkpoint(self.epoch)
            if board.display:
                print(f"Interrupted. {self.where()}")
            raise
        except Exception as error:
            if not failures.out_of_memory(error):
                raise
            raise failures.smaller_batches(
                error, batch_size, self.device_text()
            ) from error
        finally:
            self.bar.close()
            board.redraw(final=True)
        if board.display and self.history:
            print(self.summary())

    def save_checkpoint(self, epoch):
        """Write where the training stands, if asked for."""
        if self.checkpoint:
            self.epoch = epoch
            checkpoints.save(self)

    def where(self):
        """Where the training stands, in words."""
        steps, n = len(self.recorder.rows), self.num_train_batches
        text = f"{self.epoch} of {self.max_epochs} epochs are done"
        if steps:
            text += f", and {steps} of the {n} steps of the next"
        if not self.checkpoint:
            return text + "."
        if self.epoch < self.max_epochs:
            return f"{text}; fit goes on from {self.checkpoint}."
        return f"{text}, in {self.checkpoint}. To train anew, delete it."

    def batches(self, train):
        """The batches of this epoch: stored bytes where the data offers them."""
        if self.stored_bytes:
            return self.data.batches(train, self.epoch, self.resident.get(train))
        return iter(self.train_dataloader if train else self.val_dataloader)

    def first_batch(self):
        """A training batch, to build and check the model with."""
        self.epoch = 0
        return next(iter(self.batches(train=True)))

    def fit_epoch(self):
        """One pass over the training data and one over the validation data."""
        done = len(self.recorder.rows)  # some, after a checkpoint
        start = time.perf_counter() - self.seconds
        for batch in islice(self.batches(train=True), done, None):
            if self.checkpoint:
                self.seed_step(step_seed(self.seed, self.train_batch_idx))
            n = len(batch[-1])
            self._step(self.train_step, batch, n, self.recorder, True)
            self.bar.update(n, self.epoch)
            if self.checkpoint and self.train_batch_idx % self.every == 0:
                self.look_at_losses()
                self.seconds = time.perf_counter() - start
                checkpoints.save(self)
            elif self.train_batch_idx % failures.LOOK_EVERY == 0:
                self.look_at_losses()
        self.recorder.means()  # waits
        self.look_at_losses()
        self.seconds = time.perf_counter() - start
        self.train_seconds += self.seconds
        if self.num_val_batches:
            for batch in self.batches(train=False):
                n = len(batch[-1])
                self._step(self.val_step, batch, n, self.val_recorder, False)

    def end_epoch(self):
        """Put the means of an epoch into `history`."""
        self.look_at_losses()
        results = {f"train_{k}": v for k, v in self.recorder.means().items()}
        results |= {f"val_{k}": v for k, v in self.val_recorder.means().items()}
        if self.own_loop:
            results["seconds"] = self.seconds
        for key, value in results.items():
            self.history.setdefault(key, []).append(value)
        self.recorder, self.val_recorder = Recorder(), Recorder()
        self.seconds, self.looked = 0.0, 0

    def _step(self, step, batch, n, recorder, train):
        with failures.Uninterrupted():
            self.between_steps = False
            values = step(batch)
            recorder.add(n, values)
            self._draw(values, train)
            if train:
                self.train_batch_idx += 1
                self.train_images += n
            else:
                self.val_batch_idx += 1
            self.between_steps = True

    def _draw(self, values, train):
        model = self.model
        if train:
            x = self.train_batch_idx / self.num_train_batches
            every_n = self.num_train_batches / model.plot_train_per_epoch
        else:
            x = self.epoch + 1
            every_n = self.num_val_batches / model.plot_valid_per_epoch
        for key in sorted(values, reverse=True):  # loss before acc, everywhere
            label = ("train_" if train else "val_") + key
            model.board.draw(x, values[key], label, every_n=max(1, int(every_n)))

    def look_at_losses(self):
        """Stop at a loss that is not finite; warn of a dead network."""
        rows = self.recorder.rows[self.looked :]
        self.looked += len(rows)
        losses = [float(v["loss"]) for _, v in rows if "loss" in v]
        warning = self.losses.look(losses, self.epoch)
        if warning:
            warnings.warn(warning, failures.DeadNetworkWarning, stacklevel=2)

    def record(self, key, value, train):
        """Called by `Module.plot`: by a step, or in a loop of the reader's own."""
        if self.recorded is not None:
            self.recorded[key] = value
            return
        values = {key: float(to_numpy(value))}
        (self.recorder if train else self.val_recorder).add(1, values)
        self._draw(values, train)
        if train and len(self.recorder.rows) % failures.LOOK_EVERY == 0:
            self.look_at_losses()

    def recording(self, step, *args):
        """Run a step of the model; returns its result and what it recorded."""
        self.recorded = {}
        try:
            return step(*args), self.recorded
        finally:
            self.recorded = None

    def summary(self):
        """The results of the last epoch in one line."""
        last = {k: v[-1] for k, v in self.history.items()}
        parts = [
            f"{name} {last[key]:.3f}"
            for key, name in (
                ("train_loss", "loss"),
                ("train_acc", "training accuracy"),
                ("val_acc", "validation accuracy"),
            )
            if key in last
        ]
        if self.train_images:
            rate = self.train_images / self.train_seconds
            parts.append(f"{rate:,.0f} images/s on {self.device_text()}")
        return ", ".join(parts)
