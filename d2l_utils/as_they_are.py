"""Values in attributes that a compiled step has taken as they were.

A step is compiled once; a number that it reads from a layer or a Trainer is part of it
from then on. Here it is noticed when such a value has changed, so that the step can be
compiled anew.
"""

from functools import cached_property, partial
from inspect import getattr_static
from types import MemberDescriptorType

import numpy as np

from d2l_utils.encoding import PLAIN, fingerprint
from d2l_utils.ownership import LIBRARIES, is_of_a_library, of_library

LISTED = (list, tuple, dict, np.ndarray)


class AsTheyAre:
    """Values in attributes that a compiled step has taken as they were, once.

    numbers, constants: {name: function that gives the value now}; a tensor is compared
    among the constants alone, since layers keep tensors of their batches. array_of:
    gives the arrays of tensors that a graph takes by value, None for others.
    """

    def __init__(self, numbers, constants, array_of):
        self.getters, self.constants = numbers | constants, constants
        self.array_of = array_of
        self.values = {name: get() for name, get in self.getters.items()}
        self.prints = {name: self._print(name, x) for name, x in self.values.items()}

    def _print(self, name, x):
        if type(x) in PLAIN:
            return x
        root = type(x).__module__.partition(".")[0]
        if hasattr(x, "__dict__") and root not in LIBRARIES and not callable(x):
            x = dict(vars(x))  # settings, say
        by_value = name in self.constants
        return fingerprint(x, self.array_of if by_value else lambda tensor: None)

    def differs(self, now):
        """Names of what is another in `now`, taken later, contents included."""
        old, new = self.prints, now.prints
        return sorted(k for k in old | new if not same(old.get(k), new.get(k)))

    def changed(self):
        """Names of attributes that have another value by now; quick, for each step.

        What an array or a list holds is looked at only where it is another one.
        """
        now = ((name, get()) for name, get in self.getters.items())
        other = [(k, x) for k, x in now if not same(x, self.values[k])]
        old = self.prints
        return sorted(k for k, x in other if not same(self._print(k, x), old[k]))


def same(x, y):
    """Whether numbers or texts are equal, as two nan are, or objects are one."""
    plain = type(x) in PLAIN and type(y) in PLAIN
    return x is y or (plain and (x == y or repr(x) == repr(y) == "nan"))


def value_of(x, name):
    """An attribute as it is; the value of a property; None where there is none."""
    value = getattr_static(x, name, None)
    asked = property, cached_property, MemberDescriptorType, type(None)
    return getattr(x, name, None) if isinstance(value, asked) else value


def taken_as_they_are(parts, own_names):
    """Getters for `AsTheyAre`, of layers: numbers and texts in attributes, and lists,
    dicts and arrays of NumPy's in those of a reader's own; None, too, which may become
    one.

    parts: [(name, layer)]; own_names: the attributes that layers have themselves.
    """
    getters = {}
    for name, x in parts:
        kinds = PLAIN if is_of_a_library(x) else (*PLAIN, *LISTED, type(None))
        space, names = vars(x), [*vars(x)]
        if not is_of_a_library(x):
            ours = (C for C in type(x).__mro__ if not of_library(C.__module__))
            names += {k for C in ours for k, v in vars(C).items() if type(v) in PLAIN}
        for key in names:
            if key not in own_names and isinstance(getattr(x, key, x), kinds):
                get = space.get if key in space else partial(getattr, x)
                getters[f"{name}.{key}".strip(".")] = partial(get, key)
    return getters
