"""A short training with checkpoints, to be killed: run by test_faults.

python made_training.py FRAMEWORK CHECKPOINT [step N | save N]: kills itself with
SIGKILL after step N, or in the middle of writing its Nth checkpoint.
"""

import os
import signal
import sys
from importlib import import_module
from unittest import mock

from made_networks import tiny_class

from d2l_utils import base, data, sources
from d2l_utils.frameworks import FRAMEWORKS

EPOCHS, BATCH_SIZE, IMAGES, EVERY = 2, 40, 400, 3  # 10 steps an epoch


def small_data(d2l):
    arrays = sources.load_sample()
    with mock.patch.object(data, "load_fashion_mnist", lambda root=None: arrays):
        fm = d2l.FashionMNIST(batch_size=BATCH_SIZE)
    fm.train = sources.Split(fm.train.images[:IMAGES], fm.train.labels[:IMAGES])
    fm.val = sources.Split(fm.val.images[:100], fm.val.labels[:100])
    return fm


def train(d2l, model_class, checkpoint, **kwargs):
    """A finished training, from the same seed every time; returns the Trainer."""
    d2l.set_seed(5)
    model = model_class(lr=0.05, momentum=0.9, dropout=0.3, **kwargs)
    model.board.display = False
    trainer = d2l.Trainer(
        EPOCHS, precision="float32", checkpoint=checkpoint, every=EVERY
    )
    trainer.fit(model, small_data(d2l))
    return trainer


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def die_after_step(d2l, number):
    draw = d2l.Trainer._draw

    def dying(self, values, train):
        draw(self, values, train)
        if train and self.train_batch_idx + 1 == number:
            die()

    d2l.Trainer._draw = dying


def die_in_save(number):
    fsync, calls = os.fsync, []

    def dying(file):
        calls.append(file)
        if len(calls) == number:
            os.ftruncate(file, os.fstat(file).st_size // 2)  # half of it is written
            die()
        fsync(file)

    base.os.fsync = dying


if __name__ == "__main__":
    framework, checkpoint, where, number = sys.argv[1:]
    d2l = import_module(f"d2l_utils.{FRAMEWORKS[framework].module}")
    if where == "step":
        die_after_step(d2l, int(number))
    else:
        die_in_save(int(number))
    train(d2l, tiny_class(framework, d2l), checkpoint)
