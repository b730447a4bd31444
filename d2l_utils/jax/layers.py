"""JAX: the layers of a Flax model, its outputs and its variables.

The hooks that d2l_utils.inference calls, see there.
"""

import contextlib
import dataclasses
import math
from functools import partial
from types import ModuleType

import jax
import numpy as np
import optax
from flax import linen as nn
from flax.errors import ScopeParamNotFoundError
from flax.traverse_util import flatten_dict, unflatten_dict
from jax import numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from d2l_utils import summary
from d2l_utils.batches import map_arrays
from d2l_utils.jax.batches import as_array, to_arrays
from d2l_utils.jax.variables import make_state, merged, variables_of

CHANNELS_LAST = True
HOLDS_WEIGHTS = False

KINDS = {nn.Dense: "dense", nn.Conv: "conv", nn.BatchNorm: "bn"}
LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias"}
LEAVES |= {"mean": "mean", "var": "var"}  # Flax's names and the stored ones
MARK = "d2l_utils:"  # begins the names that `trace` gives to layers' outputs


def clone(model, training):
    """The model without weights, in training or evaluation mode if it has any."""
    modal = any(f.name == "training" for f in dataclasses.fields(model))
    return model.clone(**({"training": training} if modal else {}))


def _once(model, key, find):
    """What `find()` gives, kept with the model, which cannot be changed."""
    model._compiled = model._compiled or {}
    if key not in model._compiled:
        model._compiled[key] = find()
    return model._compiled[key]


def initializer(model, key, *inputs):
    """The function that makes the variables from `key` and inputs like these.

    Layers that are there for training alone get theirs, too.
    """
    net, training = clone(model, False), clone(model, True)

    def rngs(key):
        return key if isinstance(key, dict) else {"params": key}

    def both(key, *inputs):
        keys = rngs(key)
        more = training.init({"dropout": keys["params"], **keys}, *inputs)
        return merged(more, net.init(keys, *inputs))

    def in_training(key, *inputs):
        keys = {"dropout": rngs(key)["params"]}
        variables = net.init(key, *inputs)
        return training.apply(variables, *inputs, rngs=keys, mutable=["batch_stats"])

    try:
        jax.eval_shape(in_training, key, *inputs)
    except ScopeParamNotFoundError:
        return both
    except Exception:  # a step will say it
        pass
    return net.init


def shapes_of(model, X_shape):
    """The model's variables as shapes; nothing is computed."""

    def shapes():
        key, X = jax.random.PRNGKey(0), jax.ShapeDtypeStruct(X_shape, jnp.float32)
        return jax.eval_shape(initializer(model, key, X), key, X)

    return _once(model, ("shapes", tuple(X_shape)), shapes)


def build(model, X_shape):
    """Check that the model takes such a batch, and note its shape."""
    summary.check_size(
        type(model).__name__,
        X_shape,
        lambda shape: [r.output_shape for r in trace(model, shape)],
        CHANNELS_LAST,
    )
    model._input_shape = channels_first(X_shape)[1:]


# Looking at layers ----------------------------------------------------------------


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
    return _once(model, ("rows", tuple(X_shape)), lambda: _trace(model, X_shape))


def _trace(model, X_shape):
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


def num_trained(model, X_shape):
    params = jax.tree.leaves(shapes_of(model, X_shape).get("params", {}))
    return sum(p.size for p in params)


@contextlib.contextmanager
def evaluating(model):
    """Nothing: what `_compiled` gives is in evaluation mode."""
    yield


def _compiled(model, function):
    """function(net, variables, ...) compiled, once, for evaluation mode."""
    net = clone(model, training=False)
    return _once(model, function, lambda: jax.jit(partial(function, net)))


def _scores(net, variables, batch):
    *X, y = to_arrays(batch)
    state = make_state(net, variables, optax.identity(), jax.random.PRNGKey(0))
    args = state.params, tuple(X), y, state
    return {"loss": net.loss(*args)[0], "acc": net.accuracy(*args)}


def scores(model, batch):
    return _compiled(model, _scores)(variables_of(model), map_arrays(as_array, batch))


def _logits(net, variables, X):
    return net.apply(variables, X)


def logits(model, X):
    variables = variables_of(model)
    return np.asarray(_compiled(model, _logits)(variables, np.moveaxis(X, 1, -1)))


def _outputs(net, variables, X):
    def layers(net, X):
        return [X := layer(X) for layer in net.net.layers]

    return net.apply(variables, X, method=layers)


def outputs(model, X):
    run, found, shape = _compiled(model, _outputs), [], ()
    for output in map(np.asarray, run(variables_of(model), np.moveaxis(X, 1, -1))):
        # shape: of the last output that is an image, (n, h, w, c)
        flattened = output.ndim == 2 and output.size == math.prod(shape)
        x = np.moveaxis(output.reshape(shape) if flattened else output, -1, 1)
        found.append(x.reshape(output.shape) if flattened else x)
        shape = shape if flattened else output.shape
    return found


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


# Weights in files -----------------------------------------------------------------


@contextlib.contextmanager
def trial(model):
    before = model._input_shape
    try:
        yield model
    except Exception:
        model._input_shape = before
        raise


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


def _stored_shape(shape):
    """(h, w, in, out) as (out, in, h, w), (in, out) as (out, in)."""
    return shape if len(shape) == 1 else (shape[-1], shape[-2], *shape[:-2])


def stored_shapes(model, shape):
    c, h, w = shape
    places = named_variables(model, shape, shapes_of(model, (1, h, w, c)))
    return {k: _stored_shape(x.shape) for k, (_, x, _) in places.items()}


def stored(model, shape, variables=None):
    variables = variables_of(model) if variables is None else variables
    tensors = {}
    for name, (_, x, kernel) in named_variables(model, shape, variables).items():
        x = tensors[name] = np.asarray(x)
        if kernel:
            y = np.moveaxis(x.reshape(kernel), (-1, -2), (0, 1))
            tensors[name] = y.reshape(_stored_shape(x.shape))
    return tensors


def set_stored(model, shape, tensors, variables=None):
    """The variables; what has no stored name comes from `variables`."""
    loaded, (c, h, w) = flatten_dict(variables or {}), shape
    places = named_variables(model, shape, shapes_of(model, (1, h, w, c)))
    for name, (where, x, kernel) in places.items():
        y = tensors[name]
        if kernel:
            y = np.moveaxis(y.reshape(_stored_shape(kernel)), (0, 1), (-1, -2))
        loaded[where] = jnp.array(y.reshape(x.shape))
    return unflatten_dict(loaded)
