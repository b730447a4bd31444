"""PyTorch: several processes for a Trainer that no launcher has started.

In a notebook, `Trainer(num_gpus=4)` sends itself, model and data to as many processes,
which torchrun starts, and takes what they have trained from their checkpoint. They run
this file, too: `python -m d2l_utils.torch.launch FILE`.
"""

import json
import math
import os
import pickle
import random
import re
import signal
import subprocess
import sys
import tempfile
import warnings
from importlib import import_module
from pathlib import Path

import numpy as np
import torch

from d2l_utils import base, failures, initial
from d2l_utils.alike import LostContact
from d2l_utils.board import StatusLine

MARK = "\x1e"  # begins a line that is for the Trainer; other lines are the reader's
# Finds, in torchrun's report, the rank of the first process that failed, and why.
DEAD = re.compile(r"Root Cause.*?rank\s*: (\d+).*?traceback : ([^\n]*?) received", re.S)
IN_A_SCRIPT = (
    "Or start a script with `torchrun --nproc-per-node {} SCRIPT`, see "
    "docs/several-devices.md."
)


def train_in_processes(trainer, model, data, fit):
    """Train in len(trainer.gpus) processes, and take over the state that they end in.

    fit: the `fit` that trains in this process; it loads their checkpoint. Raises the
    error of a process that fails, and TypeError for what cannot be sent.
    """
    own, display = trainer.checkpoint, model.board.display
    with tempfile.TemporaryDirectory() as folder:
        trainer.checkpoint = own or Path(folder) / "training.safetensors"
        model.board.display = False
        try:
            sent = Path(folder) / "sent.pickle"
            sent.write_bytes(_packed(trainer, model, data))
            _run(sent, trainer, trainer._status_line(display))
            fit(model, data)  # all epochs are done: it only loads the checkpoint
        except KeyboardInterrupt:
            where = f"fit goes on from {own}" if own else "what was trained is lost"
            print(f"Interrupted: {where}.")
            raise
        finally:
            trainer.checkpoint, model.board.display = own, display
    if display:
        model.board.redraw()
        print(trainer.summary())


def _packed(trainer, model, data):
    n = len(trainer.gpus)
    try:
        import cloudpickle
    except ImportError as error:
        raise ImportError(
            f"To send a training to {n} processes, the package cloudpickle is needed. "
            + IN_A_SCRIPT.format(n)
        ) from error
    states = base.current_seed(), initial.state(), torch.get_rng_state()
    states += random.getstate(), np.random.get_state()
    try:
        return cloudpickle.dumps((trainer, model, data, states))
    except Exception as error:  # classes that cannot be pickled raise anything
        raise TypeError(
            f"{type(model).__name__}, or its data, cannot be sent to {n} processes: "
            f"{failures.in_one_line(error)}. {IN_A_SCRIPT.format(n)}"
        ) from error


def _run(sent, trainer, line):
    """Let the processes train, and show what they say."""
    n, failed = len(trainer.gpus), None
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [*launcher, "--nproc-per-node", str(n), "-m", __name__, str(sent)]
    environ = {"OMP_NUM_THREADS": str(max(1, torch.get_num_threads() // n))}
    environ |= os.environ | {
        "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))
    }
    line.show(f"{n} processes start")
    with open(sent.with_name("said"), "w+", encoding="utf-8") as said:
        # An interrupt is for this process alone, which then ends the others.
        process = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE,
                                   stderr=said, encoding="utf-8", errors="replace",
                                   start_new_session=True)  # fmt: skip
        try:
            for text in process.stdout:
                if not text.startswith(MARK):
                    print(text, end="")
                    continue
                what, words, *kind = json.loads(text[len(MARK) :])
                if what == "status":
                    line.show(words)
                elif what == "warning":
                    warnings.warn(words, _kind(kind, RuntimeWarning), stacklevel=5)
                else:
                    failed = failed or _kind(kind, RuntimeError)(words)
            status = process.wait()
        finally:
            line.close()
            process.terminate()
            process.wait()
        said.seek(0)
        dead = DEAD.search(said.read())
    if failed:
        raise failed
    if status:
        who, how = dead.groups() if dead else ("unknown", f"status {status}")
        raise RuntimeError(
            f"The process with rank {who} has died: {how}. The others were ended. "
            "With Trainer(..., checkpoint=PATH), the next fit goes on from the last "
            "checkpoint."
        )


def _kind(names, other):
    """The class of a warning or error, from [module, name]; `other` if not found."""
    try:
        return getattr(import_module(names[0]), names[1])
    except (ImportError, AttributeError):
        return other


# In one of the processes --------------------------------------------------------------


def _say(what, words, kind=type):
    words = [what, words, kind.__module__, kind.__name__]
    print(MARK + json.dumps(words), file=sys.__stdout__, flush=True)


def _warn(words, kind, *where, **more):
    _say("warning", str(words), kind)


class _Line(StatusLine):
    """A status line that is shown where `fit` was called."""

    def __init__(self, active):
        super().__init__(active=False)
        self._next = 0.0 if active else math.inf

    def _put(self, text):
        _say("status", text)


def main(sent):
    """Train what is in the file, as one of several processes."""
    trainer, model, data, states = pickle.loads(Path(sent).read_bytes())
    if int(os.environ["RANK"]):  # one process speaks for all
        trainer._status_line = lambda active: _Line(False)
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 until the process ends
        warnings.simplefilter("ignore")
    else:
        trainer._status_line = lambda active: _Line(True)
        warnings.showwarning = _warn
    # SIGTERM acts as an interrupt: fit ends between two steps and writes a checkpoint.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    base.remember_seed(states[0])
    initial.go_on_from(states[1])
    torch.set_rng_state(states[2])
    random.setstate(states[3])
    np.random.set_state(states[4])
    try:
        trainer.device = trainer._find_device()
        trainer.fit(model, data)
    except LostContact:
        raise  # torchrun knows who has died
    except Exception as error:
        _say("error", str(error), type(error))
        raise


if __name__ == "__main__":
    main(sys.argv[1])
