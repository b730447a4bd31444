"""Whose method is it: the library's own, or one that a reader has put in its place?

The library may compile its own methods, feed them with stored bytes, or run them in
16 bits. What a reader wrote is called as it was written. So the two must be told
apart, and that is decided by identity: the classes that readers build on are marked
with `@library`, which notes the functions in them. Any other function is the reader's:
an override in a subclass or a mixin, one that was put there by `add_to_class` or set on
one instance, a wrapper around one of ours, a `functools.partial`.

Of objects, such as layers, `is_of_a_library` says whether a reader wrote their class.
"""

import inspect
import sys
from types import MethodType

from d2l_utils.frameworks import FRAMEWORKS

LIBRARIES = {"builtins", "numpy", "jaxlib", "optax", "d2l_utils"}
LIBRARIES.update(*((f.base, f.package) for f in FRAMEWORKS.values()))

_ours = {}  # {id: function}; keeping the function keeps its id from being reused


def library(Class):
    """Class decorator: the functions in this class, as they are now, are ours."""
    for value in vars(Class).values():
        function = _function_in(value)
        _ours[id(function)] = function
    return Class


def _function_in(value):
    if isinstance(value, staticmethod | classmethod):
        return value.__func__
    return value.fget if isinstance(value, property) else value


def replaced(obj, *names):
    """The names of those methods of `obj` that a reader has put in place of ours.

    A method that is not there at all, or set to None, is nobody's.
    """
    found = []
    for name in names:
        value = inspect.getattr_static(obj, name, None)
        if isinstance(value, MethodType) and value.__self__ is obj:
            value = value.__func__
        if value is not None and id(_function_in(value)) not in _ours:
            found.append(name)
    return found


def calls_ours(obj, name):
    """Whether the named method is the library's, or calls it by `super().name()`.

    Between the two, each override must call the next. That is read from the names in
    its code.
    """
    held = (vars(Class) for Class in type(obj).__mro__)
    for value in (space[name] for space in (vars(obj), *held) if name in space):
        value = getattr(value, "__func__", value)
        if id(value) in _ours:
            return True
        if name not in getattr(getattr(value, "__code__", None), "co_names", ()):
            return False
    return False


def is_of_a_library(x):
    """Whether the class of an object is of a library, and no reader's."""
    return of_library(type(x).__module__)


def of_library(module):
    """The same, of the name of the module that a class is in."""
    root = module.partition(".")[0]
    return root in LIBRARIES or root in sys.stdlib_module_names
