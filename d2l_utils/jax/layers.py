"""JAX: the layers of a Flax model in order of execution, and their variables."""

import dataclasses
import math
from functools import partial
from types import ModuleType

import jax
import numpy as np
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict
from jax import numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from d2l_utils import summary

KINDS = {nn.Dense: "dense", nn.Conv: "conv", nn.BatchNorm: "bn"}
LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias"}
LEAVES |= {"mean": "mean", "var": "var"}  # Flax's names and the stored ones
MARK = "d2l_utils:"  # begins the names that `trace` gives to layers' outputs


def clone(model, training):
    """The model without weights, in training or evaluation mode if it has any."""
    modal = any(f.name == "training" for f in dataclasses.fields(model))
    return model.clone(**({"training": training} if modal else {}))


def shapes_of(model, X_shape):
    """The model's variables as shapes; nothing is computed."""
    net = clone(model, training=False)
    return jax.eval_shape(lambda: net.init(jax.random.PRNGKey(0), jnp.zeros(X_shape)))


def channels_first(shape):
    """(n, h, w, c) as (n, c, h, w)."""
    return (shape[0], shape[-1], *shape[1:-1])


def _equations(jaxpr):
    """The equations of a traced function in order, inner functions' included."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in equation.params.values():
            if hasattr(inner, "eqns"):
                yield from _equations(inner)


def trace(model, X_shape):
    """Rows of `summary.Layer` in the order in which a batch passes them.

    The `ref` of a row is (path of its variables, the (h, w, c) whose flattening
    a dense layer works on, or None). Traced only: nothing is computed.
    """
    net, variables = clone(model, training=False), shapes_of(model, X_shape)
    sizes = {k: v.size for k, v in flatten_dict(variables.get("params", {})).items()}
    calls, rows, name, flat, constants = [], [], summary.Namer(), None, set()

    # Layers with weights are modules, pools are plain functions. Naming a layer's
    # output makes the traced program show both, in order.
    def mark(call, args, kwargs, context):
        y, parents = call(*args, **kwargs), type(context.module).__mro__
        kind = next((KINDS[c] for c in parents if c in KINDS), None)
        if kind is None or context.method_name != "__call__":
            return y
        calls.append((kind, context.module.path, args[0].shape))
        return checkpoint_name(y, f"{MARK}{len(calls) - 1}")

    with nn.intercept_methods(mark):
        X = jax.ShapeDtypeStruct(X_shape, jnp.float32)
        jaxpr = jax.make_jaxpr(net.apply)(variables, X)
    for equation in _equations(jaxpr):
        what, params = equation.primitive.name, equation.params
        ends = [v.aval.shape for v in (*equation.invars, *equation.outvars)] or [()]
        x, y = ends[0], ends[-1]
        if all(hasattr(v, "val") for v in equation.invars):  # numbers only
            constants.update(equation.outvars)
        if what == "name" and params["name"].startswith(MARK):
            kind, path, x = calls[int(params["name"].removeprefix(MARK))]
            if kind != "dense":  # a dense layer takes the last axis, wherever it is
                x, y, flat = channels_first(x), channels_first(y), None
            own = {k[-1]: n for k, n in sizes.items() if k[:-1] == path}
            weight, total = own.get("kernel", own.get("scale", 0)), sum(own.values())
            ref, flat = (path, flat), None
            rows.append(summary.Layer(name(kind), kind, x, y, total, weight, ref))
        elif what == "reshape" and len(x) == 4 and y == (x[0], math.prod(x[1:])):
            flat = x[1:]
        elif what in ("reduce_sum", "reduce_max") and len(x) == 4:
            if params["axes"] == (1, 2):
                x, y = channels_first(x), (x[0], x[3], 1, 1)
                rows.append(summary.Layer(name("pool"), "pool", x, y))
        # avg_pool(count_include_pad=False) also pools an image of ones.
        elif what.startswith("reduce_window") and equation.invars[0] not in constants:
            x, y = channels_first(x), channels_first(y)
            rows.append(summary.Layer(name("pool"), "pool", x, y))
    return rows


def layer_name(layer):
    """A module's class, a function's name, or what a lambda calls first."""
    if isinstance(layer, nn.Module):
        return type(layer).__name__
    if isinstance(layer, partial):
        return layer_name(layer.func)
    names = [getattr(layer, "__name__", type(layer).__name__)]
    if names == ["<lambda>"]:  # pass over modules, as nn in nn.max_pool
        known = layer.__globals__
        called = layer.__code__.co_names
        names = [n for n in called if not isinstance(known.get(n), ModuleType)] or names
    return names[0]


def named_variables(model, shape, variables):
    """{stored name: (path, variable, its kernel shape or None)}, in order.

    shape: (C, H, W). A kernel is seen as (h, w, in, out) or (in, out); a dense
    layer's behind a flattening as (h, w, c, out), since CHW order is stored.
    """
    places, variables = {}, flatten_dict(variables)
    for row in trace(model, (1, *shape[1:], shape[0])):
        if row.kind == "pool":
            continue
        path, flat = row.ref
        for leaf, name in LEAVES.items():
            stats = "batch_stats" if leaf in ("mean", "var") else "params"
            x = variables.get((stats, *path, leaf))
            if x is not None:
                kernel = (*(flat or x.shape[:-1]), x.shape[-1])
                kernel = kernel if leaf == "kernel" else None
                places[f"{row.name}.{name}"] = (stats, *path, leaf), x, kernel
    return places


def stored_shape(shape):
    """(h, w, in, out) as (out, in, h, w), (in, out) as (out, in)."""
    return shape if len(shape) == 1 else (shape[-1], shape[-2], *shape[:-2])


def to_stored(places):
    """{stored name: NumPy array} of what `named_variables` gives."""
    tensors = {}
    for name, (_, x, kernel) in places.items():
        x = tensors[name] = np.asarray(x)
        if kernel:
            y = np.moveaxis(x.reshape(kernel), (-1, -2), (0, 1))
            tensors[name] = y.reshape(stored_shape(x.shape))
    return tensors


def from_stored(places, tensors, variables=None):
    """The inverse of `to_stored`; what has no stored name comes from variables."""
    loaded = flatten_dict(variables or {})
    for name, (where, x, kernel) in places.items():
        y = tensors[name]
        if kernel:
            y = np.moveaxis(y.reshape(stored_shape(kernel)), (0, 1), (-1, -2))
        loaded[where] = jnp.array(y.reshape(x.shape))
    return unflatten_dict(loaded)
