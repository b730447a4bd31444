"""Importing MXNet 1.9.1 beside a NumPy that is younger than it.

The one place where a third-party package is patched: NumPy gets the names that
MXNet reads while it is imported, and loses all but two of them again.
"""

import contextlib
import importlib.util
import math
import warnings
from types import SimpleNamespace

import numpy as onp

from d2l_utils import host

REMOVED = {  # from NumPy, and read while MXNet is imported
    "bool": bool, "float_": onp.float64, "NINF": -math.inf, "PZERO": 0.0,
    "NZERO": -0.0, **dict.fromkeys(("Inf", "PINF", "infty"), math.inf),
    **dict.fromkeys(("NAN", "NaN"), math.nan), "alltrue": onp.all,
    "sometrue": onp.any, "in1d": onp.isin, "msort": lambda a: onp.sort(a, axis=0),
    "product": onp.prod, "cumproduct": onp.cumprod, "round_": onp.round,
    "row_stack": onp.vstack, "trapz": getattr(onp, "trapezoid", None),
    "compat": SimpleNamespace(basestring=str),
    **dict.fromkeys(("mirr", "npv", "pmt", "ppmt", "pv", "rate")),
}  # fmt: skip
AT_RUN_TIME = {"bool", "compat"}  # read later, too: by boolean arrays, by `np.pad`


@contextlib.contextmanager
def older_numpy():
    """NumPy with the names that MXNet 1.9.1 expects; they are gone afterwards.

    Names that exist are left alone. `np.bool`, missing in NumPy 1.24 to 1.26, and
    `np.compat`, in NumPy 2, stay, as MXNet uses them at run time.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that NumPy is about to remove
        added = {k: v for k, v in REMOVED.items() if not hasattr(onp, k)}
        for name, value in added.items():
            setattr(onp, name, value)
        try:
            yield
        finally:
            for name in added.keys() - AT_RUN_TIME:
                delattr(onp, name)


def load_mxnet():
    """Import MXNet and return it; raises ImportError where that cannot be."""
    if importlib.util.find_spec("distutils") is None:  # Python 3.12 and later
        raise ImportError("it needs distutils: pip install setuptools")
    host.use_all_cores()
    with older_numpy():
        import mxnet
    return mxnet
