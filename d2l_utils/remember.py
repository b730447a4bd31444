"""Taking back what a step has done to objects of Python and NumPy.

These are the random number generators, and the attributes of a model and its layers:
numbers, and lists, dicts, sets, arrays and generators, within one another. Other
objects are left as they are.
"""

import random
from collections import deque

import numpy as np


def remember(parts=()):
    """Returns a function that takes back what happens from now on.

    parts: the model and its layers, whose attributes are remembered.
    """
    undo = [
        _undo(random.getstate, random.setstate),
        _undo(np.random.get_state, np.random.set_state),
    ]
    seen = set()
    for part in parts:
        _look(vars(part), undo, seen)

    def back():
        for take_back in undo:
            take_back()

    return back


def _undo(get, put):
    value = get()
    return lambda: put(value)


def _look(value, undo, seen):
    """Add to `undo` what restores a value in place, and all that lies within it."""
    if id(value) in seen:
        return
    if isinstance(value, random.Random):
        undo.append(_undo(value.getstate, value.setstate))
    elif isinstance(value, np.random.Generator | np.random.RandomState):
        bits = getattr(value, "bit_generator", None) or value._bit_generator
        state = bits.state
        undo.append(lambda: setattr(bits, "state", state))
    elif isinstance(value, np.ndarray):
        before = value.copy()
        undo.append(lambda: np.copyto(value, before))
    elif isinstance(value, dict | list | set | deque):
        undo.append(_in_place(value))
        seen.add(id(value))
        for inner in value.values() if isinstance(value, dict) else value:
            _look(inner, undo, seen)
    elif isinstance(value, tuple):
        for inner in value:
            _look(inner, undo, seen)


def _in_place(value):
    """A function that restores a container; an unchanged one is not touched."""
    before = _items(value)

    def back():
        now = _items(value)
        if len(now) != len(before) or any(a is not b for a, b in zip(now, before)):
            value.clear()
            if isinstance(value, dict):
                value.update(zip(before[::2], before[1::2]))
            else:
                (value.update if isinstance(value, set) else value.extend)(before)

    return back


def _items(value):
    """What a container holds, as a list; of a dict, keys and values in turn."""
    if isinstance(value, dict):
        return [x for pair in value.items() for x in pair]
    return list(value)
