"""What can go wrong while training: recognised, and explained.

Framework-free. Losses are looked at now and then, not after every step, since
looking waits for the device.
"""

import math
import random
import re
import signal
import sys
import sysconfig
import threading
import traceback
import warnings
from pathlib import Path

import numpy as np

from d2l_utils import attributes, encoding
from d2l_utils.ownership import replaced

LOOK_EVERY = 50  # steps
GENERATORS = {np.random.Generator, np.random.RandomState}
# What a Trainer says of its progress: new in each step. No step of ours reads these.
OF_PROGRESS = ("epoch", "epochs_done", "history", "train_batch_idx", "train_images",
               "val_batch_idx")  # fmt: skip
DEAD_STEPS = 100  # so many that momentum has faded: nothing will move any more


class DeadNetworkWarning(UserWarning):
    """All outputs of a network are the same, and no gradient flows."""


class SlowTrainingWarning(UserWarning):
    """Training steps run slower than they could, for a reason that is given."""


def in_one_line(error):
    """An exception as the reason in a sentence: its kind and its first line.

    The second line where the first one only says where in Keras or TensorFlow it was,
    the last one of MXNet's own traceback.
    """
    lines = [re.sub(r"\x1b\[\d*m", "", x) for x in str(error).splitlines() if x.strip()]
    where = ("Exception encountered when calling", "Graph execution error")
    if len(lines) > 1 and lines[0].startswith(where):
        lines = lines[1:]
    if lines and lines[0].startswith("Traceback"):
        lines = [lines[-1].strip().removeprefix("MXNetError: ")]
    return f"{type(error).__name__}{': ' if lines else ''}{lines[0] if lines else ''}"


class Frozen(RuntimeError):
    """A compiled step would take once, and for ever, what is to be new in each step."""


class Traced:
    """Context: notes what a reader's code does, besides computing, while it is traced.

    It runs only then, not when the graph does. `drew`: whether it drew random numbers
    of NumPy's or Python's, which would be the same in every step; `counted`: names of
    the numbers that it changed in attributes, which would then stay; `asked`: what it
    asked the Trainer for that is new in each step and would stay, too; `printed`:
    whether it printed something. Which of a reader's own attributes of the Trainer it
    read, the Trainer knows then.
    """

    def __init__(self, trainer):
        self.trainer = trainer

    def __enter__(self):
        trainer, self.names = self.trainer, []
        self.read, trainer._read = trainer._read, attributes.of_the_reader(trainer)
        self.taken = trainer._as_they_are()
        own = [x for _, x in attributes.GLOBAL]
        self.generators = own + attributes.living(GENERATORS)
        self.before, self.out = self._states(), sys.stdout
        sys.stdout = self.noting = _Noting(self.out)
        # The class of all Trainers notes what is read; a reader's own stays as it is.
        classes = (C for C in type(trainer).__mro__ if "_as_they_are" in vars(C))
        self.Class = next(classes)
        self.Class.__getattribute__ = _noting_reads(trainer, self.names)
        return self

    def __exit__(self, *error):
        del self.Class.__getattribute__
        sys.stdout, self.printed = self.out, self.noting.used
        self.drew = self._states() != self.before
        self.asked = next(filter(OF_PROGRESS.__contains__, self.names), "")
        now, old = self.trainer._as_they_are(), self.taken.prints
        self.counted = {
            k for k in self.taken.differs(now)
            if {type(old.get(k)), type(now.prints.get(k))} <= {int, float}
        }  # fmt: skip
        self.trainer._read = self.read | attributes.not_ours(self.trainer, self.names)

    def _states(self):
        """The states of Python's and NumPy's random number generators."""
        states = [encoding.fingerprint(x, lambda tensor: None) for x in self.generators]
        return [random.getstate(), *states]

    def check(self, model):
        """Warn of printing, which happens only now; raise Frozen for what freezes."""
        names = replaced(model, "forward", "call", "__call__", "loss", "accuracy")
        whose = " or ".join(names) or "a layer"
        if self.drew:
            raise Frozen(
                f"{whose} of your own draws random numbers of NumPy's or Python's, "
                "which would be the same in every compiled step"
            )
        if self.counted:
            raise Frozen(
                f"code of your own that a step calls changes the attribute "
                f"{', '.join(sorted(self.counted))}, which a compiled step would do "
                "only once"
            )
        if self.asked:
            raise Frozen(
                f"your own code asks the Trainer for its {self.asked}, which would be "
                "the same in every compiled step"
            )
        if self.printed:
            warnings.warn(
                f"{whose} of your own prints. It printed just now, while the step was "
                "compiled; compiled steps do not print. What a training_step of your "
                "own prints is printed in every step.",
                stacklevel=2,
            )


class _Noting:
    """A file that notes whether something was written to it."""

    def __init__(self, file):
        self.file, self.used = file, False

    def write(self, text):
        self.used = True
        return self.file.write(text)

    def __getattr__(self, name):
        return getattr(self.file, name)


def _noting_reads(trainer, names):
    """A `__getattribute__` that notes what this thread reads of a Trainer."""
    thread = threading.get_ident()

    def __getattribute__(self, name):
        if self is trainer and threading.get_ident() == thread:
            names.append(name)
        return object.__getattribute__(self, name)

    return __getattribute__


def method_of(error):
    """Where an exception came from: the name of the reader's innermost function."""
    installed = [sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")]
    libraries = (*installed, str(Path(__file__).parent), "<frozen", "<string>")
    found = "the network"
    for frame, line in traceback.walk_tb(error.__traceback__):
        code = frame.f_code
        if not code.co_filename.startswith(libraries):
            found = f"{getattr(code, 'co_qualname', code.co_name)} (line {line})"
    return found.rpartition("<locals>.")[2]


def warn_slow(what, then="Training goes on without, more slowly."):
    """Say once that training is slower than it could be; `what` happened."""
    warnings.warn(f"{what}. {then}", SlowTrainingWarning, stacklevel=2)


class LossWatch:
    """Looks at losses in the order of their steps, for nan and for a dead network.

    lr: for the messages; num_classes: of a classifier, else None; steps: how many steps
    came before the first loss.
    """

    def __init__(self, lr, num_classes, steps=0):
        self.lr, self.num_classes = lr, num_classes
        self.steps, self.unmoved, self.warned = steps, 0, False

    def look(self, losses, epoch):
        """Look at the losses of the next steps.

        Raises FloatingPointError at the first that is not finite. Returns the
        text of a warning where the network has died, once; otherwise None.
        """
        for loss in losses:
            self.steps += 1
            if not math.isfinite(loss):
                raise FloatingPointError(self._diverged(loss, epoch))
            dead = self.num_classes and abs(loss - math.log(self.num_classes)) < 1e-5
            self.unmoved = self.unmoved + 1 if dead else 0
        if self.unmoved < DEAD_STEPS or self.warned:
            return None
        self.warned = True
        return (
            f"The network is dead: for {self.unmoved} steps the loss has been "
            f"ln {self.num_classes} = {math.log(self.num_classes):.4f}, that of equal "
            "outputs for all classes. The usual reason is a ReLU that gives zero for "
            "every image: then no gradient flows back, and more training changes "
            "nothing. Interrupt it, and start again with a new model and another "
            f"seed, or a learning rate below {self.lr}."
        )

    def _diverged(self, loss, epoch):
        smaller = f", say {self.lr / 10:g}" if isinstance(self.lr, float | int) else ""
        return (
            f"The loss is {loss} in step {self.steps} (epoch {epoch + 1}), at learning "
            f"rate {self.lr}. The weights are not to be used any more. Start again "
            f"with a new model and a smaller learning rate{smaller}, or bound the "
            "gradients: Trainer(..., gradient_clip_val=1). If it happens in step 1, "
            "look for nan in the data and the model."
        )


def out_of_memory(error):
    """Whether an exception of any framework means that memory ran out."""
    text = f"{type(error).__name__} {error}".lower()
    return isinstance(error, MemoryError) or any(
        words in text
        for words in ("out of memory", "resource_exhausted", "resourceexhausted",
                      "cudamalloc failed")
    )  # fmt: skip


def smaller_batches(error, batch_size, device):
    """The MemoryError to raise where memory ran out for batches of this size."""
    if batch_size > 1:
        advice = f"Try batch_size={batch_size // 2}"
    else:
        advice = "Try smaller images"
    return MemoryError(
        f"Out of memory on {device} with batches of {batch_size}. {advice}; other "
        f"notebooks that are open may hold memory, too. ({type(error).__name__})"
    )


class Uninterrupted:
    """Keep an interrupt (Ctrl-C, or the button in Jupyter) until the block's end.

    So no step is left half done. A second interrupt comes through at once.
    """

    def __enter__(self):
        self.came = False
        self.ours = (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        )
        if self.ours:
            signal.signal(signal.SIGINT, self._note)

    def _note(self, number, frame):
        if self.came:
            raise KeyboardInterrupt
        self.came = True

    def __exit__(self, kind, error, trace):
        if self.ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if self.came and error is None:
            raise KeyboardInterrupt
