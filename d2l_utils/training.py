"""The framework-free half of training: what a Trainer does, and when.

`Trainer` here says when a step, an evaluation or a plot happens; the Trainer of each
framework, in d2l_utils/<framework>/trainer.py, says how. Names without an underscore
are for readers, who may replace their methods; with one, they are between these two
classes. A framework defines

    device_text()            the device in words
    prepare_batch(batch)     a batch as tensors on the device
    clip_gradients(...)      as in the textbook
    _train(batch), _validate(batch)         {key: value on the device} that was recorded
    _mode(train)             a context in which the model trains, or not
    _gpus_there()            the number of devices that can train together; static
    _find_device()           sets `gpus`, unless a reader has, and returns the device
    _compiles_steps          whether whole steps are compiled; if not, `_why_eager` says
                             why; '' where their parts are compiled, as in MXNet
    _may_compile(function)   whether the author of a step allows that it is compiled, by
                             a decorator, which `_how_to_compile` names
    _why_not_bfloat16()      why bfloat16 would not be faster here; '' where it is
    _make_weights(model)     the model's weights, made from a first batch, on the device
    _prepare_steps()         gets the steps ready, compiled if so planned
    _renew_steps()           the same in mid-training, for attributes that have changed
    _outputs(inputs)         what the network gives in evaluation mode, or its shape
    _keeps_data(), _put(arrays)             whether and how all data lives on the device
    _seed_step(seed)         seeds the framework's generator
    _remember()              a function that takes back what a step does from now on
    _state_tensors(), _restore(tensors)     {name: array} of model and optimizer, and
                             putting these back
    _state_hooks             the framework's state.py, see attributes.py
    _framework               its row in the table of frameworks
"""

import time
import warnings
from contextlib import nullcontext
from functools import cached_property, partial
from numbers import Real
from os import PathLike
from typing import Any

import numpy as np

from d2l_utils import batches, checkpoints, failures, host
from d2l_utils.arguments import check_model, check_num_gpus, check_optimizer
from d2l_utils.as_they_are import AsTheyAre, taken_as_they_are, value_of
from d2l_utils.attributes import Beside
from d2l_utils.base import (
    HyperParameters,
    check_whole,
    current_seed,
    fast_mode,
    file_path,
)  # fmt: skip
from d2l_utils.board import StatusLine, in_notebook
from d2l_utils.feed import Feed, step_seed
from d2l_utils.figures import to_numpy
from d2l_utils.ownership import calls_ours, library, replaced
from d2l_utils.plan import make_plan, uncompiled_steps
from d2l_utils.progress import Pace, Progress
from d2l_utils.remember import remember
from d2l_utils.summary import TooSmall

PRECISIONS = ("auto", "float32")
AROUND_STEPS = ("fit_epoch", "batches", "train_step", "val_step", "prepare_batch")
OF_A_FRAMEWORK = "Use the Trainer of d2l_utils.torch, or another framework's."
IN_BFLOAT16 = (
    "The network computes in bfloat16 here. If that is the reason, train with "
    "Trainer(precision='float32')."
)


def _several(x):
    """The shape of an array that is more than one number; None for anything else."""
    shape = tuple(getattr(x, "shape", None) or ())
    return None if all(n == 1 for n in shape) else shape


def _of_progress(name, what):
    """A property of the Trainer that is kept in its `progress`; what: its docstring."""

    def get(trainer):
        if trainer.progress is None:
            raise AttributeError(f"There is no {name} before `fit` has begun.")
        return getattr(trainer.progress, name)

    return property(get, lambda t, value: setattr(t._known(), name, value), doc=what)


@library
class Trainer(Feed, HyperParameters):
    """Minibatch training, as the textbook's Trainer (section 3.2).

    `fit(model, data)` draws loss and accuracy while it trains and ends with one line
    of results. Meanwhile a line that is replaced in place, in a notebook or a terminal,
    says how far it is, how fast, and how long yet; nothing of it stays. Where
    `model.board.display` is False nothing is drawn or printed, and that line is shown
    in notebooks alone, where a cell would seem to hang. Afterwards `history`
    has a list for each result, with one entry an epoch: train_loss, train_acc,
    val_loss, val_acc, and seconds, the time in training steps. `print(trainer.plan)`
    says how it trained. Fitted again, a model goes on from its weights with a new
    optimizer.

    Parameters:
        max_epochs: passes over the training data.
        num_gpus: 0, or 1 for a GPU where there is one; more, or -1 for all: each then
            computes a part of every batch, and the update is that of the whole batch.
            In PyTorch each GPU has a process of its own, which `torchrun` has started,
            or else `fit` starts, with a copy of model and data.
        gradient_clip_val: largest norm of the gradient; 0 for no bound.
        precision: 'auto' computes training steps in bfloat16 where the hardware has it
            and this framework is faster with it; weights, validation and prediction
            stay in float32. 'float32' computes everything in float32.
        checkpoint: None, or the path of a file that keeps the state of the training. It
            is written after the first step, every `every` steps and every epoch. Where
            it exists, `fit` goes on from there, to the same result, bit by bit in
            float32 on a CPU, as if it had never been interrupted. It holds weights,
            optimizer, learning rates and schedules; numbers, arrays, lists, networks,
            optimizers and generators that training changes in attributes of the model,
            the layers of your own, and the Trainer; numbers of the data; the states of
            NumPy's and Python's generators, and of those in attributes of data and
            loader. The framework's generator is seeded in every step and epoch. What
            cannot be restored, a `CheckpointWarning` names: before the first step,
            batches that differ each time they are asked for, or from those at the
            training's start, iterators in attributes, and TensorFlow's `tf.random` in a
            compiled step; later, a network or optimizer that training itself made.
            Nothing is known of variables outside these objects, of what objects of
            other packages hold inside, and of when a `fit` of your own stops.
        every: steps between two checkpoints; with a `fit_epoch` of your own there is
            one at the end of each epoch.

    Raises:
        ValueError: in `Trainer(...)` for an impossible setting; in `fit` for no data,
            or a first batch that cannot be trained on.
        TypeError: in `fit`, for what is no model or no data.
        FloatingPointError: in `fit`, where the loss is not finite.
        MemoryError: in `fit`, where memory runs out.
        checkpoints.CheckpointError: in `fit`, for a file of another training, or one
            that another training is using, and for what cannot be stored.
        KeyboardInterrupt: between two steps, never within one.

    Example:
        >>> trainer = d2l.Trainer(max_epochs=10, num_gpus=1)
        >>> trainer.fit(model, d2l.FashionMNIST(batch_size=128))
        >>> trainer.history["val_acc"][-1]
    """

    # All that a Trainer notes of itself is declared here, or in a framework's class; so
    # attributes.py knows it from what a reader's Trainer keeps. Settings are those of a
    # reader's Trainer whose `__init__` does not call ours.
    num_gpus, gradient_clip_val, precision, checkpoint, every = 0, 0, "auto", None, 100
    max_epochs, gpus = None, ()
    plan = progress = model = optim = None
    _begun = None  # the model whose training has begun
    _taken = None  # AsTheyAre, of when the steps were compiled
    _read = frozenset()  # a reader's own attributes of it that the steps have read
    _around = ()  # the reader's methods around steps, which may change something
    _renewals = 0  # how often they were compiled again
    _ready = None  # (the optimizer that the steps of this training were made for,)
    _running = _in_epoch = _in_step = False
    _first = True  # the next training step is the first one
    _values = None  # what the step that runs now has recorded
    _watch = None  # the failures.LossWatch
    _examples = 1  # in the batch that was prepared last, for a loop of the reader's
    _line, _pace = StatusLine(active=False), None  # both show how far a training is
    _status_line = StatusLine
    _beside = None  # what a checkpoint has beside weights, see attributes.py
    _holds_checkpoint = False
    _keeps_options = False  # whether a checkpoint has all that makes its optimizer
    _writes = True  # whether this process writes the checkpoint
    _compiles_steps, _why_eager, _how_to_compile = True, "", ""
    _STEP_GIVES = (
        "the loss, one number, as a tensor from which gradients can be computed"
    )

    epochs_done = _of_progress("epoch", "Epochs that are done.")
    train_batch_idx = _of_progress("train_batch_idx", "Training steps so far.")
    val_batch_idx = _of_progress("val_batch_idx", "Validation batches so far.")
    train_images = _of_progress("train_images", "Images trained on so far.")
    history = _of_progress("history", "{result: one value an epoch}.")

    def __init__(
        self,
        max_epochs: int,
        num_gpus: int = 0,
        gradient_clip_val: float = 0,
        precision: str = "auto",
        checkpoint: str | PathLike | None = None,
        every: int = 100,
    ) -> None:
        self.save_hyperparameters()
        check_whole("max_epochs", max_epochs, 0)
        if not isinstance(gradient_clip_val, Real) or gradient_clip_val < 0:
            raise ValueError(
                f"gradient_clip_val={gradient_clip_val!r}: give the largest norm of "
                "the gradient, or 0 for no bound."
            )
        there = self._gpus_there()
        check_num_gpus(num_gpus, there)
        if num_gpus == -1:
            self.num_gpus = there
        self.device = self._find_device()
        if checkpoint:
            self.checkpoint = file_path(checkpoint)  # now, whatever os.chdir does
        if precision not in PRECISIONS:
            raise ValueError(f"precision={precision!r}: choose one of {PRECISIONS}.")
        check_whole("every", every, 1)
        if fast_mode() and max_epochs > 1:
            print(f"D2L_UTILS_FAST: 1 epoch instead of {max_epochs}, few batches.")
            self.max_epochs = 1

    @cached_property
    def device(self) -> Any:
        """The device that it trains on, the first of several."""
        return self._find_device()

    @property
    def epoch(self) -> int:
        """Number of the epoch in training, from 0; between two, that of the last."""
        done = self.epochs_done
        return done if self._in_epoch or not done else done - 1

    @epoch.setter
    def epoch(self, number):
        progress = self._known()
        if number > progress.epoch and len(progress.train):
            progress.end_epoch()  # the one before, in a reader's own loop
        progress.epoch, self._in_epoch = number, True

    def _known(self):
        """The progress, made here where nothing of ours has begun the training."""
        self.progress = self.progress or Progress(current_seed())
        return self.progress

    # What a framework defines, and readers may replace ----------------------------

    def prepare_batch(self, batch: Any) -> Any:
        """A batch as tensors on the device.

        Parameters:
            batch: as a loader gives it. Where the plan says so, it is of stored bytes;
                not where you replace this method.

        Returns:
            The batch, as the model's steps take it.
        """
        raise NotImplementedError(OF_A_FRAMEWORK)

    def clip_gradients(self, grad_clip_val: float, grads: Any) -> Any:
        """Gradients whose norm is bounded (textbook, section 9.5).

        Parameters:
            grad_clip_val: the largest norm.
            grads: the gradients of a step.

        Returns:
            The gradients, scaled down where their norm is larger.
        """
        raise NotImplementedError(OF_A_FRAMEWORK)

    def device_text(self) -> str:
        """The device that it trains on, in words.

        Returns:
            The processor's or the GPU's name, with the number of threads or devices.
        """
        raise NotImplementedError(OF_A_FRAMEWORK)

    # What a framework may leave as it is -------------------------------------------

    def _why_not_bfloat16(self):
        return "this framework trains no faster in bfloat16 here"

    def _make_weights(self, model):
        pass

    def _may_compile(self, function):
        return False

    def _prepare_steps(self):
        pass

    def _renew_steps(self):
        pass

    def _mode(self, train):
        return nullcontext()

    def _seed_step(self, seed):
        pass

    def _remember(self):
        """Returns a function that takes back what happens from now on.

        This one takes back changes of Python's and NumPy's generators and of attributes
        of the model and its layers; a framework adds its tensors and generators.
        """
        return remember([part for _, part in self._state_hooks.parts(self.model)])

    def _keeps_data(self):
        return False

    # Getting ready -------------------------------------------------------------------

    def prepare_model(self, model: Any) -> None:
        """Take the model to be trained; a new training begins.

        Parameters:
            model: a `Module`.
        """
        model.trainer = self
        model.board.xlim = [0, self.max_epochs]
        self.model = model
        self._begin_training()

    def _begin_training(self):
        """Begin a training: do all that does not need the optimizer.

        `prepare_model` calls this; where that is the reader's own, `_prepare` or
        `_get_ready` does.
        """
        self._begun, self._ready, self._in_epoch = self.model, None, False
        self.progress = Progress(current_seed())
        self.plan = make_plan(self, self.model, self.data)
        self._resident, self._read = {}, frozenset()
        if self.plan.stored_bytes and self._keeps_data():
            for train in (True, False):
                self._resident[train] = self._put(self.data.arrays(train))
        self._first_batches = {}
        for train in (True, False):
            if (batch := self._seen_batch(train)) is not None:
                batches.check(batch, self.model, self.data, train)
        self._make_weights(self.model)

    def _build(self, make, inputs):
        """What make(inputs of one example) returns; that call makes the weights.

        inputs: those of the first batch. Returns None where make fails and the
        training_step is the reader's own: it may give the network something else; then
        the first step makes the weights.
        """
        model = self.model
        try:
            return make(batches.map_arrays(lambda x: x[:1], inputs))
        except TooSmall:
            raise
        except Exception as error:
            if replaced(model, "training_step"):
                return None
            x, shape = inputs[0], tuple(getattr(inputs[0], "shape", ()))
            if len(shape) == 4 or batches.own_forward(model):
                raise
            kind = batches.dtype_name(x) if hasattr(x, "dtype") else type(x).__name__
            what = f"of {kind} and shape {shape}"
            advice = (
                "a batch of images has four axes, one of them for channels, also where "
                "there is one channel"
            )
            if "float" not in kind:
                advice = "layers other than embeddings take float32"
            if isinstance(x, tuple | list):
                what = f"that are a {kind} of {len(x)}"
                advice = "numpy.stack makes one array of the examples in a list"
            raise ValueError(
                f"{type(model).__name__} cannot take inputs {what}; {advice}. "
                f"({failures.in_one_line(error)})"
            ) from error

    def _check_labels(self):
        """Compare the labels of the first batches with what the network gives."""
        for train in (True, False):
            batch = self._first_batch(train)
            if batch is None or not batches.judges_labels(self.model, train):
                continue
            prepared = self.prepare_batch(batch)
            batch = prepared if replaced(self, "prepare_batch") else batch
            output = self._build(self._outputs, batches.inputs_of(prepared))
            if hasattr(output, "shape"):
                shape = tuple(output.shape)
                batches.check_labels(batch, shape, self.data, train)

    def _only_our_loop(self, who):
        """Raise TypeError where several `who` cannot share steps of the reader's."""
        own = [x for x in ("fit_epoch", "train_step") if not calls_ours(self, x)]
        if own:
            raise TypeError(
                f"Several {who} share the steps of the library's fit_epoch, but "
                f"{type(self).__name__} has its own {' and '.join(own)}, so each of "
                "them would train separately. Train with num_gpus=1."
            )

    def _get_ready(self):
        """Do, once the optimizer is there, what has to be done before its steps."""
        if self._begun is not self.model:
            self._begin_training()
        if self._ready and self._ready[0] is self.optim:
            self._keep_up()
            return
        before = self._ready  # not None where a reader has replaced the optimizer
        model, progress, board = self.model, self.progress, self.model.board
        self._check_labels()
        self._prepare_steps()
        self._renewals = 0
        self._taken = self._as_they_are() if self.plan.compiled else None
        self._around = replaced(self, *AROUND_STEPS)
        own = uncompiled_steps(self, model)
        if own and self.plan.our_loop and self._how_to_compile:
            failures.warn_slow(
                f"{', '.join(own)} of your own: steps run as they are written, "
                "operation by operation",
                "Compiled, they run faster; to allow that, put "
                f"{self._how_to_compile} above your step.",
            )
        board.xlabel = board.xlabel or "epoch"
        if board.display and self.plan.bfloat16:
            print(
                "Training steps compute in bfloat16, which is faster here; "
                "Trainer(precision='float32') does not."
            )
        if not before:
            self._beside = Beside(self) if self.checkpoint else None
            if self.checkpoint:
                checkpoints.begin(self)
        elif self.checkpoint and not (
            self._keeps_options and type(before[0]) is type(self.optim)
        ):
            checkpoints.warn(
                self,
                "it has another optimizer by now; a resumed training goes on with that "
                "of configure_optimizers",
            )
        self._watch = failures.LossWatch(
            getattr(model, "lr", None),
            getattr(model, "num_classes", None),
            progress.train_batch_idx,
        )
        self._in_step, self._ready, self._first = False, (self.optim,), True
        self._first_batches = {}

    def _numbers(self):
        hooks = self._state_hooks
        return taken_as_they_are(hooks.parts(self.model), hooks.own_names())

    def _constants(self):
        return {f"trainer.{name}": partial(value_of, self, name) for name in self._read}

    def _as_they_are(self):
        """What a compiled step takes as it is, see AsTheyAre."""
        hooks = self._state_hooks

        def by_value(x):
            return hooks.array_of(x) if hooks.is_constant(x) else None

        return AsTheyAre(self._numbers(), self._constants(), by_value)

    def _keep_up(self, within_epoch=False):
        """See to it that compiled steps go by the values in attributes as they are."""
        if self._taken is None or not self.plan.compiled:
            return
        taken = self._taken
        names = taken.changed() if within_epoch else taken.differs(self._as_they_are())
        if not names:
            return
        self._renewals += 1
        changed = ", ".join(names)
        if within_epoch and len(self.progress.train) and not self._first:
            self.plan = self.plan.uncompiled(f"{changed} changes within an epoch")
            failures.warn_slow(
                f"{changed} has changed since the step before, which a compiled step "
                "does not see"
            )
        elif self._renewals == 2:
            failures.warn_slow(
                f"{changed} has changed: steps are compiled anew, as before an earlier "
                "epoch",
                "That takes time at the beginning of each such epoch. What no step "
                "reads can be kept in an attribute of the Trainer.",
            )
        self._renew_steps()
        self._taken = self._as_they_are()

    # The loop ------------------------------------------------------------------------

    @checkpoints.alone
    def fit(self, model: Any, data: Any) -> None:
        """Train the model on the data.

        Parameters:
            model: a `Module`.
            data: a `DataModule`, or whatever has its two loaders. These give batches
                (*inputs, labels), or what the model's own `training_step` takes.
        """
        try:
            self._prepare(model, data)
            self._run_epochs()
        finally:
            self._line.close()

    def _prepare(self, model, data):
        """All of `fit` that comes before the first step."""
        batches.check_data(data)
        check_model(model)
        if not self._writes:
            model.board.display = False  # one process speaks for all
        self._line = self._status_line(model.board.display or in_notebook())
        self._pace = Pace()
        self._line.show("getting ready: data, weights")
        host.keep_memory()
        self.data, self._begun = data, None
        self.prepare_data(data)
        self.prepare_model(model)
        if self._begun is None:
            self._begin_training()
        self.optim = model.configure_optimizers()
        if self.plan.our_loop:
            check_optimizer(model, self.optim)
        self._get_ready()

    def _run_epochs(self):
        """All epochs that are left; the rest of `fit`."""
        progress, board = self.progress, self.model.board
        batch_size = getattr(self.data, "batch_size", 1)
        if progress.epoch < self.max_epochs:
            epoch = f"epoch {progress.epoch + 1} of {self.max_epochs}"
            self._line.show(f"{epoch}, first step: it takes longest")
            board.redraw()
        self._running = True
        try:
            while progress.epoch < self.max_epochs:
                before = progress.epoch
                self._tell_epoch(before)
                self._in_epoch = True
                if self.checkpoint and not self.plan.our_loop:
                    self._seed_step(step_seed(progress.seed, before, 2))
                self.fit_epoch()
                if progress.epoch == before:  # a fit_epoch of the reader's own
                    self.end_epoch()
                self.save_checkpoint()  # after an end_epoch of the reader's, if any
        except KeyboardInterrupt:
            # Not where a step, or a fit_epoch of the reader's, has been left half done.
            if not self._in_step and not replaced(self, "fit_epoch"):
                self._check_losses()
                self.save_checkpoint()
            if board.display:
                print(f"Interrupted. {self._where()}")
            raise
        except Exception as error:
            if not failures.out_of_memory(error):
                raise
            raise failures.smaller_batches(
                error, batch_size, self.device_text()
            ) from error
        finally:
            self._running = False
            self._tell_epoch(None)
            self._line.close()
            if board.data:
                board.redraw()
        if board.display and progress.history:
            print(self.summary())

    @checkpoints.alone
    def fit_epoch(self) -> None:
        """One pass over the training data and one over the validation data."""
        self._get_ready()
        self._in_epoch, progress = True, self.progress
        start = time.perf_counter() - progress.epoch_seconds
        # Where a fit_epoch of the reader's calls this one, no checkpoint is kept
        # before both have ended.
        whole = not replaced(self, "fit_epoch")
        train_step = self._counted("train_step", train=True)
        val_step = self._counted("val_step", train=False)
        for batch in self._batches_left():
            if self.checkpoint:
                self._seed_step(step_seed(progress.seed, progress.train_batch_idx))
            train_step(batch)
            number = progress.train_batch_idx
            if self.checkpoint and (
                (whole and number % self.every == 0) or number == 1
            ):
                self._check_losses()
                progress.epoch_seconds = time.perf_counter() - start
                checkpoints.save(self, keep=whole)
            elif number % failures.LOOK_EVERY == 0:
                self._check_losses()
        if not len(progress.train):
            raise self._used_up()
        progress.train.means()  # waits for the device, so that the time is right
        self._check_losses()
        progress.epoch_seconds = time.perf_counter() - start
        if self.num_val_batches != 0:
            for batch in self.batches(train=False):
                val_step(batch)
        self.end_epoch()

    def end_epoch(self) -> None:
        """Enter the results of an epoch into the history, and begin the next.

        Raises:
            FloatingPointError: a loss of the epoch is not finite.
        """
        self._check_losses()
        self._count_batches()
        self.progress.end_epoch()
        self._in_epoch = False
        if not self._running:  # `fit_epoch` by itself
            self.save_checkpoint()

    def _count_batches(self):
        """Take the numbers of batches from the first pass, and draw its points now."""
        progress = self.progress
        if self.num_train_batches is None:
            rows, done = progress.train.rows, progress.train_batch_idx
            self.num_train_batches = len(rows)
            for i, (_, values) in enumerate(rows):
                progress.train_batch_idx = done - len(rows) + i
                self._draw(values, True)
            progress.train_batch_idx = done
        if self.num_val_batches is None:
            self.num_val_batches = len(progress.val)
            for _, values in progress.val.rows:
                self._draw(values, False)

    def save_checkpoint(self) -> None:
        """Write the checkpoint now, if the Trainer has one.

        Raises:
            checkpoints.CheckpointError: something in it cannot be stored.
        """
        if self.checkpoint:
            checkpoints.save(self)

    def train_step(self, batch: Any) -> dict:
        """One update of the weights, which is counted and recorded.

        `fit_epoch` calls it for each batch, and one of your own can. One in its place
        may call it, or update the weights itself and return such values.

        Parameters:
            batch: of `batches(train=True)`.

        Returns:
            {name: value on the device} of what the model's `training_step` plots.

        Example:
            >>> class Trainer(d2l.Trainer):
            ...     def fit_epoch(self):
            ...         for batch in self.batches(train=True):
            ...             self.train_step(batch)
        """
        if self._around:
            self._keep_up(within_epoch=True)
        return self._step(lambda batch: self._train(batch), batch, train=True)

    def val_step(self, batch: Any) -> dict:
        """The results of one validation batch, which are recorded.

        Parameters:
            batch: of `batches(train=False)`.

        Returns:
            {name: value on the device} of what the model's `validation_step` plots.
        """
        if self._around:
            self._keep_up(within_epoch=True)
        return self._step(lambda batch: self._validate(batch), batch, train=False)

    def _counted(self, name, train):
        """The method with this name, also if a reader's own does not call ours."""
        method = getattr(self, name)
        if not replaced(self, name):
            return method

        def step(batch):
            with self._mode(train):
                returned, plotted = self._run_step(method, batch)
            return plotted | (returned if isinstance(returned, dict) else {})

        return lambda batch: self._step(step, batch, train)

    def _step(self, step, batch, train):
        progress, n = self.progress, batches.num_examples(batch)
        before = progress.train_batch_idx, progress.val_batch_idx
        with failures.Uninterrupted():
            self._in_step = True
            if train and self._first:
                values = self._in_float32_if_need_be(
                    lambda: step(batch), self._prepare_steps
                )
                self._first = False
            else:
                try:
                    values = step(batch)
                except Exception as error:
                    note = getattr(error, "add_note", None)  # from Python 3.11 on
                    if note and train and self.plan.bfloat16:
                        note(IN_BFLOAT16)
                    raise
            # A reader's own may have called ours, which has counted it.
            if (progress.train_batch_idx, progress.val_batch_idx) == before:
                (progress.train if train else progress.val).add(n, values)
                self._draw(values, train)
                if train:
                    progress.train_batch_idx += 1
                    progress.train_images += n
                else:
                    progress.val_batch_idx += 1
            self._in_step = False
        self._tell()
        return values

    def _in_float32_if_need_be(self, do, prepare=lambda: None):
        """What do() returns; if it fails in bfloat16, take that back, try in float32.

        Before the second try prepare() is called, and all further steps are in float32.
        If that fails, too, precision is not the reason: its error is raised.
        """
        plan, back = self.plan, self._remember()
        try:
            return do()
        except Exception as error:
            if not plan.bfloat16 or failures.out_of_memory(error):
                raise
            where, why = failures.method_of(error), failures.in_one_line(error)
        back()
        self.plan = plan.in_float32(f"{where}: {why}")
        prepare()
        try:
            done = do()
        except Exception:
            back()
            self.plan = plan
            raise
        failures.warn_slow(
            f"{where} cannot be done in bfloat16 ({why})",
            "This training is in float32, as with Trainer(precision='float32'): where "
            "there are units for bfloat16, steps take two to five times as long.",
        )
        return done

    # What steps record ---------------------------------------------------------------

    def _run_step(self, step, *args):
        """Run a step of the model; returns its result and the values it recorded."""
        outer, self._values = self._values, {}
        recorded = self._values
        try:
            return step(*args), recorded
        finally:
            self._values = outer

    def _run_training_step(self, step, *args):
        """As `_run_step`; TypeError for a result that cannot be differentiated."""
        result, recorded = self._run_step(step, *args)
        if result is None or isinstance(result, dict | Real | np.ndarray):
            raise self._no_loss(result)
        if several := _several(result):
            raise self._no_loss(result, f"an array of shape {several}")
        return result, recorded

    def _no_loss(self, result, what=None):
        """The error to raise for what a training step cannot return."""
        what = what or ("nothing" if result is None else f"a {type(result).__name__}")
        return TypeError(
            f"The training_step of {type(self.model).__name__} returned {what}. It has "
            f"to return {self._STEP_GIVES}; the Trainer makes the update with it."
        )

    def _take_value(self, key, value, train):
        """Record a value of `Module.plot`, in `_run_step` or a reader's own loop."""
        if several := _several(value):
            raise TypeError(
                f"plot({key!r}, ...) of {type(self.model).__name__} was given an array "
                f"of shape {several}, not one number. Losses and other results of a "
                "step are means over its batch: add .mean(), say."
            )
        if self._values is not None:
            if key in self._values and self._values[key] is not value:
                warnings.warn(
                    f"A step of {type(self.model).__name__} plots {key!r} twice; the "
                    "second value counts.",
                    stacklevel=2,
                )
            self._values[key] = value
            return
        values, progress = {key: float(to_numpy(value))}, self._known()
        records = progress.train if train else progress.val
        records.add(self._examples, values)
        self._draw(values, train)
        self._tell()
        if train and len(records) % failures.LOOK_EVERY == 0:
            self._check_losses()

    def _draw(self, values, train):
        if (self.num_train_batches if train else self.num_val_batches) is None:
            return  # see _count_batches
        for key in sorted(values, reverse=True):  # loss before acc, everywhere
            self.model._draw_value(key, values[key], train)

    def _check_losses(self):
        """Stop at a loss that is not finite; warn of a dead network."""
        if self._watch is None:
            return  # in a loop of the reader's alone, `_get_ready` was not called
        losses = self.progress.train.new_losses()
        warning = self._watch.look(losses, self.progress.epoch)
        if warning:
            warnings.warn(warning, failures.DeadNetworkWarning, stacklevel=2)

    # In words ------------------------------------------------------------------------

    def _tell(self):
        """Say how far this is, in a line that is replaced a few times a second."""
        if self._line.due():
            steps = self.num_train_batches, self.num_val_batches
            ours = self.plan.our_loop
            self._line.show(
                self._pace.words(self.progress, self.max_epochs, *steps, ours)
            )

    def _where(self):
        """Where the training stands, in words."""
        epoch, steps = self.progress.epoch, len(self.progress.train)
        text = f"{epoch} of {self.max_epochs} epochs are done"
        if steps:
            of = f"of the {self.num_train_batches} " if self.num_train_batches else ""
            text += f", and {steps} {of}steps of the next"
        if not self.checkpoint:
            return text + "."
        if epoch < self.max_epochs:
            return f"{text}; fit goes on from {self.checkpoint}."
        return f"{text}, in {self.checkpoint}. To train anew, delete it."

    def summary(self) -> str:
        """The results of the last epoch, and the rate of training.

        Returns:
            One line of text.
        """
        text, progress = self.progress.summary(), self.progress
        if progress.train_seconds:
            rate = progress.train_images / progress.train_seconds
            text += f", {rate:,.0f} images/s on {self.device_text()}"
        return text
