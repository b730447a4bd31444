"""State beside weights: counters, statistics, generators, rates in plain attributes.

A checkpoint stores only what training has changed: a setting that a reader changes
before resuming keeps its new value. Each framework says in its `state.py`

    parts(model)             [(name, layer)], of all layers, the model among them
    own_names()              the attributes that the framework's layers have themselves
    options(optim)           [(name, object or dict)]: what holds an optimizer's rates
    extras(model)            [Leaf]: what is no plain attribute, but must be stored
    array_of(x)              a tensor, or the state of a generator, in NumPy; of a
                             network or an optimizer, a dict of arrays; else None
    put(x, array)            x with the value that `array_of` gave: x itself, changed in
                             place, where that is possible, else a new object
    GENERATORS               its classes of random number generators
    is_constant(x)           whether x is a tensor that a graph takes by value
    LATE                     whether the optimizer's state is made in its first step
"""

import gc
import io
import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from d2l_utils.encoding import PLAIN, decode, encode, fingerprint, made_anew
from d2l_utils.ownership import is_of_a_library

GENERATORS = (np.random.Generator, np.random.RandomState, random.Random)
GLOBAL = (("numpy", np.random.mtrand._rand), ("python", random._inst))
SCHEDULED = {"gradient_clip_val"}  # settings of a Trainer that may follow a schedule
OF_DATA = {"train", "val", "seed", "training_seed", "training_epoch", "hparams"}
DEPTH, MANY = 4, 100  # generators are looked for so deep, in containers so long


@dataclass
class Leaf:
    """A value, its path from model, optimizer, Trainer or data, and how to replace it.

    replace(new) puts another value there.
    """

    path: str
    value: Any
    replace: Callable
    strict: bool = False  # an error if it cannot be stored


def generators_in(name, x, kinds, depth=DEPTH, seen=None):
    """[(name, generator)] in the attributes of an object, in theirs, and so on."""
    seen = set() if seen is None else seen
    if depth < 0 or id(x) in seen:
        return []
    seen.add(id(x))
    if isinstance(x, kinds):
        return [] if isinstance(x, random.SystemRandom) else [(name, x)]
    if isinstance(x, dict):
        inside = x
    elif isinstance(x, list | tuple):
        inside = dict(enumerate(x)) if len(x) <= MANY else {}
    else:
        inside = {} if isinstance(x, type) else getattr(x, "__dict__", {})
    if len(inside) > MANY:
        return []
    found = []
    for key, value in list(inside.items()):
        found += generators_in(f"{name}.{key}", value, kinds, depth - 1, seen)
    return found


def living(types):
    """All living objects of exactly these types, whoever holds them.

    A process has a million objects, so no line of Python is run for each.
    """
    there = gc.get_objects()
    return list(itertools.compress(there, map(types.__contains__, map(type, there))))


def _declared(trainer):
    """Names of what a Trainer of ours notes about itself: its classes have them all.

    Other attributes are a reader's.
    """
    ours = (C for C in type(trainer).__mro__ if C.__module__.startswith("d2l_utils."))
    return {"hparams"}.union(*map(vars, ours))


def not_ours(trainer, names):
    """Those of the names that are not of our Trainer, nor of all objects."""
    ours = _declared(trainer).union(dir(object))
    return {name for name in names if name not in ours and name[:2] != "__"}


def of_the_reader(trainer):
    """Names of the attributes that a Trainer has from a reader's own code."""
    own = type(trainer).__mro__[:-1]
    return not_ours(trainer, {*vars(trainer)}.union(*map(vars, own)))


class Beside:
    """What a training changes beside weights and optimizer states.

    streams: [(name, generator)] that batches may be drawn from. begin: their states
    when the current epoch began. start: their states when the training began. first: a
    checksum of the first batch; None if that differs each time it is asked for.
    settings: {path: value} of `_settings` at the training's start.
    """

    def __init__(self, trainer):
        self.trainer, self.hooks = trainer, trainer._state_hooks
        kinds = GENERATORS + self.hooks.GENERATORS
        self.streams = [
            *GLOBAL,
            *generators_in("data", trainer.data, kinds),
            *generators_in("loader", trainer.train_dataloader, kinds),
        ]
        self.inside = {}  # {id: object} that `leaves` looks into
        self.begin = self.start = self.states()
        self.first = None
        leaves = self.leaves()
        self.known = {leaf.path: self._print(leaf.value) for leaf in leaves}
        self.forms = {leaf.path: self._form(leaf.value) for leaf in leaves}
        self.moved = set()  # paths of what training has changed
        self.weights = None  # names of all tensors of model and optimizer at the start
        self.lost = set()  # paths of what could be stored, but not restored
        self.settings = self._settings(leaves)

    def _print(self, value):
        return fingerprint(value, self._array_of)

    def _form(self, value):
        """(whether a value can be made anew, the number of arrays in it)"""
        arrays = []
        try:
            node = encode(value, arrays, self._array_of)
        except (TypeError, RuntimeError):  # as in `fingerprint`
            return True, 0
        return made_anew(node), len(arrays)

    def _array_of(self, x):
        """The framework's, but {} for layers and optimizer, stored with the weights."""
        return {} if id(x) in self.inside else self.hooks.array_of(x)

    def states(self):
        """The states of the generators, as JSON can hold them."""
        states = {}
        for name, x in self.streams:
            arrays = []
            node = encode(x, arrays, self._array_of)
            states[name] = [node, [[str(a.dtype), a.tolist()] for a in arrays]]
        return states

    def set_states(self, states):
        """Put back what `states` gave."""
        for name, x in self.streams:
            if name in states:
                node, arrays = states[name]
                arrays = [np.array(values, dtype) for dtype, values in arrays]
                decode(node, x, arrays, self.hooks.put)

    def states_like(self, states):
        """Raise an error unless `set_states` takes these states; changes nothing."""
        now = self.states()
        try:
            self.set_states(states)
        finally:
            self.set_states(now)

    def leaves(self):
        """[Leaf] of all attributes that training may change."""
        trainer, hooks = self.trainer, self.hooks
        parts = [(f"model{n and '.'}{n}", x) for n, x in hooks.parts(trainer.model)]
        roots = [(name, x, hooks.own_names()) for name, x in parts]
        optim = trainer.optim  # several, where `fit_epoch` is the reader's own
        if type(optim) in (tuple, list):
            options = [("", dict(enumerate(optim)))]
        else:
            options = [("", optim)] if type(optim) is dict else hooks.options(optim)
        roots += [(f"optim{n and '.'}{n}", x, {"params"}) for n, x in options]
        roots += [
            ("trainer", trainer, _declared(trainer) - SCHEDULED),
            ("data", trainer.data, OF_DATA),
        ]
        inside = (trainer.optim, *(x for _, x, _ in roots))
        self.inside = {id(x): x for x in inside}  # kept, so that no id is used again
        seen = set(self.inside)
        found = list(hooks.extras(trainer.model))
        for name, x, without in roots:
            if not (name.startswith("model") and is_of_a_library(x)):
                found += self._in(name, x, without, seen)
        return found

    def _in(self, name, x, without, seen):
        space = x if isinstance(x, dict) else getattr(x, "__dict__", {})
        for key, value in list(space.items()):
            private = str(key).startswith("_self_")  # TensorFlow's own notes
            if key in without or private or id(value) in seen:
                continue
            path = f"{name}.{key}"
            if hasattr(value, "__dict__") and not is_of_a_library(value):
                seen.add(id(value))
                yield from self._in(path, value, (), seen)
            elif name != "data" or isinstance(value, PLAIN):
                yield Leaf(path, value, lambda new, key=key: space.update({key: new}))

    def unstorable(self):
        """Paths of values that are sure to change and cannot be stored: iterators."""
        return [
            leaf.path
            for leaf in self.leaves()
            if isinstance(leaf.value, Iterator | random.SystemRandom)
            and not isinstance(leaf.value, io.IOBase)
        ]

    def _settings(self, leaves):
        """{path: number or text} of what a reader may have changed."""
        values = {leaf.path: leaf.value for leaf in leaves}
        for name, x in self.hooks.parts(self.trainer.model):
            if is_of_a_library(x):  # such as the rate of dropout
                floats = {k: v for k, v in vars(x).items() if type(v) is float}
                values |= {f"model.{name}.{k}": v for k, v in floats.items()}
        found = {}
        for path, value in values.items():
            array = self._array_of(value) if path.startswith("optim") else None
            if isinstance(array, np.ndarray) and not array.ndim:
                value = array.item()
            if type(value) in PLAIN:
                found[path] = value
        return found

    def changed(self):
        """({path: value as `encode` gives it}, arrays) of what training has changed.

        Raises TypeError, with the path, for what must be stored and cannot be.
        """
        nodes, arrays = {}, []
        for leaf in self.leaves():
            now = self._print(leaf.value)
            if now is None and leaf.strict:
                raise TypeError(f"{leaf.path}, {leaf.value!r:.60}, cannot be stored")
            if now is None:
                continue
            if leaf.path in self.moved or self.known.get(leaf.path, "") != now:
                if self._returns(leaf):
                    self.moved.add(leaf.path)
                    nodes[leaf.path] = encode(leaf.value, arrays, self._array_of)
                else:
                    self.lost.add(leaf.path)
        return nodes, arrays

    def _returns(self, leaf):
        """Whether a value can be put back into a new model and Trainer."""
        anew, size = self._form(leaf.value)
        if leaf.path not in self.known:
            return anew and leaf.path.rpartition(".")[0] in self._holders()
        was_anew, before = self.forms[leaf.path]
        return anew or (not was_anew and (self.hooks.LATE or size == before))

    def _holders(self):
        """{path: object} that `restore` may give new attributes."""
        parts = self.hooks.parts(self.trainer.model)
        return {"trainer": self.trainer, "data": self.trainer.data} | {
            f"model{name and '.'}{name}": x for name, x in parts
        }

    def restore(self, nodes, arrays):
        """Put back what `changed` gave; all of it or, with an error, nothing."""
        put, array_of = self.hooks.put, self._array_of
        leaves = {leaf.path: leaf for leaf in self.leaves()}
        holders = self._holders()
        new = [path.rpartition(".") for path in nodes if path not in leaves]
        for holder, _, key in new:  # attributes that the first steps made
            if holder not in holders:
                raise ValueError(
                    f"it has {holder}.{key}, but this training has no {holder} before "
                    "its first step; make it in the model's constructor or in "
                    "configure_optimizers"
                )
        undo = []
        try:
            for path, node in nodes.items():
                if path in leaves:
                    leaf, before = leaves[path], []
                    old = encode(leaf.value, before, array_of)
                    undo.append((leaf, old, [x.copy() for x in before]))
                    leaf.replace(decode(node, leaf.value, arrays, put))
            for holder, _, key in new:
                node = nodes[f"{holder}.{key}"]
                vars(holders[holder])[key] = decode(node, None, arrays, put)
        except Exception:
            for leaf, old, before in undo:
                leaf.replace(decode(old, leaf.value, before, put))
            for holder, _, key in new:
                vars(holders[holder]).pop(key, None)
            raise
        self.moved.update(nodes)
