"""A value of a program as JSON and arrays, which a file can hold, and back.

`encode` knows numbers, texts, containers, NumPy's arrays and generators, and Python's;
tensors, networks and optimizers through the framework's `array_of` and `put`, see
attributes.py.
"""

import json
import random
import zlib
from collections import deque

import numpy as np

PLAIN = (bool, int, float, str)
CONTAINERS = {"list": list, "tuple": tuple, "set": set, "deque": deque}


def encode(x, arrays, array_of):
    """A value as JSON can hold it; its arrays are appended to `arrays`.

    Raises TypeError for what cannot be stored.
    """

    def inner(x):
        return encode(x, arrays, array_of)

    if x is None or type(x) in PLAIN:
        return x
    if isinstance(x, np.random.Generator):
        return {"generator": inner(x.bit_generator.state)}
    if isinstance(x, np.random.RandomState):
        return {"generator": inner(x.get_state(legacy=False))}
    if isinstance(x, random.Random):
        return {"generator": inner(x.getstate())}
    kind = "numpy" if isinstance(x, np.ndarray | np.generic) else "tensor"
    array = x if kind == "numpy" else array_of(x)
    if isinstance(array, dict):  # x is a network or an optimizer
        return {"state": inner(array)}
    if array is not None:
        arrays.append(plain(array))
        return {kind: len(arrays) - 1}
    if isinstance(x, dict):
        return {"dict": [[inner(k), inner(v)] for k, v in x.items()]}
    for kind, Class in CONTAINERS.items():
        if isinstance(x, Class):
            return {kind: [inner(v) for v in x]}
    raise TypeError(f"{type(x).__name__} cannot be stored")


def decode(node, old, arrays, put):
    """The inverse of `encode`, in place where `old` is of the same kind."""
    if not isinstance(node, dict):
        return node
    ((kind, content),) = node.items()
    if kind == "generator":
        state = decode(content, None, arrays, put)
        if isinstance(old, np.random.Generator):
            old.bit_generator.state = state
        elif isinstance(old, np.random.RandomState):
            old.set_state(state)
        else:
            old.setstate(state)
        return old
    if kind == "state":
        state = decode(content, None, arrays, put)
        return put(old, state) if state else old
    if kind in ("numpy", "tensor"):
        array = arrays[content]
        if kind == "tensor":
            return put(old, array)
        # A copy: two attributes may begin as one array.
        return array.copy() if array.ndim or isinstance(old, np.ndarray) else array[()]
    if kind == "dict":
        known = old if isinstance(old, dict) else {}
        new = {}
        for key, value in content:
            key = decode(key, None, arrays, put)
            new[key] = decode(value, known.get(key), arrays, put)
        if isinstance(old, dict):
            old.clear()
            old.update(new)
            return old
        return new
    Class = CONTAINERS[kind]
    same = isinstance(old, Class) and len(old) == len(content) and Class is not set
    olds = list(old) if same else [None] * len(content)
    new = [decode(v, o, arrays, put) for v, o in zip(content, olds)]
    if Class is tuple:
        return type(old)._make(new) if hasattr(old, "_make") else tuple(new)
    if not isinstance(old, Class):
        return Class(new)
    old.clear()
    (old.update if Class is set else old.extend)(new)
    return old


def plain(array):
    """An array as a file can hold it: bfloat16 and its like as unsigned integers.

    Raises TypeError for an array of objects or text.
    """
    array = np.asarray(array, order="C")
    if array.dtype.kind == "V" and array.dtype.names is None:
        return array.view(f"u{array.dtype.itemsize}")
    if array.dtype.kind not in "biufc":
        raise TypeError(f"an array of {array.dtype} cannot be stored")
    return array


def made_anew(node):
    """Whether `decode` can make the value without an old one to put it into."""
    if isinstance(node, dict):
        return not node.keys() & {"state", "generator"} and made_anew([*node.values()])
    return not isinstance(node, list) or all(map(made_anew, node))


def fingerprint(x, array_of):
    """A text that differs for different values; None for what cannot be stored."""
    arrays = []
    try:
        text = json.dumps(encode(x, arrays, array_of))
    except (TypeError, RuntimeError):  # an unknown kind, an array without values
        return None
    sums = [f"{a.dtype}{a.shape}{zlib.crc32(a.tobytes()):x}" for a in arrays]
    return " ".join((text, *sums))
