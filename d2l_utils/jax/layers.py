"""JAX: the layers of a Flax model, its outputs and its variables.

The hooks that d2l_utils.inference calls, see there.
"""

import contextlib
import dataclasses
import math
from functools import partial
from types import ModuleType
from typing import Any

import jax
import numpy as np
import optax
from flax import linen as nn
from flax.errors import ScopeParamNotFoundError
from flax.traverse_util import flatten_dict
from jax import numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from d2l_utils import inference, initial, summary, weights
from d2l_utils.batches import judges_accuracy, map_arrays
from d2l_utils.frameworks import FRAMEWORKS
from d2l_utils.jax.batches import as_array, to_arrays
from d2l_utils.jax.variables import make_state, merged, variables_of

CHANNELS_LAST = FRAMEWORKS["jax"].channels_last
HOLDS_WEIGHTS = False

KINDS = {
    nn.Dense: "dense",
    nn.Conv: "conv",
    nn.ConvTranspose: "tconv",
    nn.BatchNorm: "bn",
    nn.LayerNorm: "ln",
    nn.GroupNorm: "gn",
    nn.PReLU: "prelu",
    nn.Embed: "embedding",
    nn.RNN: "recurrent",
    nn.RNNCellBase: "recurrent",
    nn.MultiHeadDotProductAttention: "attention",
}
WHOLE = ("recurrent", "attention")  # whose inner layers are no rows of their own
FEATURES_LAST = (*WHOLE, "dense", "embedding")  # whose rows keep features last
LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias"}
LEAVES |= {"negative_slope": "weight", "embedding": "weight"}
LEAVES |= {"mean": "mean", "var": "var"}  # Flax's names and the stored ones
_asked = None  # within `_asking`: [(placeholder, rule)] of the initializers
MARK = "d2l_utils:"  # begins the names that `trace` gives to layers' outputs


def modal(model):
    """Whether the model has modes, by a field `training`."""
    return any(f.name == "training" for f in dataclasses.fields(model))


def clone(model, training):
    """The model without weights, in training or evaluation mode if it has any."""
    return model.clone(**({"training": training} if modal(model) else {}))


@contextlib.contextmanager
def mode(model, training):
    """`model.apply` in a reader's own step runs in this mode, if the model has any."""
    there = modal(model)
    before = there and model.training
    try:
        if there:
            object.__setattr__(model, "training", training)
        yield
    finally:
        if there:
            object.__setattr__(model, "training", before)


def _once(model, key, find):
    """What `find()` gives, kept with the model, which cannot be changed."""
    kept = _kept(model)
    if key not in kept:
        kept[key] = find()
    return kept[key]


def _kept(model):
    """What is kept with a model, also with a Flax module that is no `Module`."""
    kept = vars(model).get("_compiled") or {}
    vars(model)["_compiled"] = kept  # Flax lets no one set an attribute from outside
    return kept


def init_cnn(key: jax.Array, shape: tuple, dtype: Any = jnp.float32) -> jax.Array:
    """Glorot-uniform weights (Glorot and Bengio, 2010); pass it as `kernel_init`.

    NumPy draws them from the seed of `set_seed`, one layer after the other, so that
    the same network starts alike in all four frameworks, to the bit, also with a dense
    layer behind a flattening. The key is used only where NumPy cannot draw: when `init`
    is called within a `jax.jit`, or a layer within `nn.scan` or `nn.vmap`.

    Parameters:
        key: a PRNG key.
        shape: of the weight, (*size, in, out).
        dtype: of the weight.

    Returns:
        The weight.

    Example:
        >>> nn.Conv(10, (3, 3), kernel_init=d2l.init_cnn)
    """
    return _init(key, shape, dtype, initial.glorot, nn.initializers.glorot_uniform())


def init_he(key: jax.Array, shape: tuple, dtype: Any = jnp.float32) -> jax.Array:
    """Normal weights of variance 2 / inputs, for layers with ReLU (He et al., 2015).

    Drawn as those of `init_cnn`, see there.

    Parameters:
        key, shape, dtype: as for `init_cnn`.

    Returns:
        The weight.

    Example:
        >>> nn.Conv(10, (3, 3), kernel_init=d2l.init_he)
    """
    he = nn.initializers.variance_scaling(2, "fan_in", "normal")
    return _init(key, shape, dtype, initial.he, he)


def _init(key, shape, dtype, rule, of_key):
    if _asked is None and not traced(key):
        return jnp.array(initial.channels_last(rule, shape), dtype)
    weight = of_key(key, shape, dtype)
    if _asked is not None:
        _asked.append((weight, rule))
    return weight


def traced(keys):
    """Whether arrays made from these keys now would be abstract: JAX is tracing."""
    one = jnp.zeros(())  # abstract within eval_shape, whatever the keys are
    return any(isinstance(x, jax.core.Tracer) for x in (one, *jax.tree.leaves(keys)))


@contextlib.contextmanager
def _asking():
    """Let the initializers above give placeholders, and note them in this list."""
    global _asked
    before, _asked = _asked, []
    try:
        yield _asked
    finally:
        _asked = before


def _drawn_for(leaves, asked):
    """{number of a leaf: (number of a placeholder, rule)}"""
    numbers = {id(x): (n, rule) for n, (x, rule) in enumerate(asked)}
    return {i: numbers[id(x)] for i, x in enumerate(leaves) if id(x) in numbers}


def _draw(model, leaves, names, drawn, inputs):
    """Put draws in the place of placeholders, in the order in which layers were used.

    leaves: arrays or shapes of the variables; drawn: of `_drawn_for`; inputs: of the
    model. If these are one batch of images, it can be found out what is flattened.
    """
    places = {}
    if len(inputs) == 1 and inputs[0].ndim == 4:
        _, h, w, c = inputs[0].shape
        with contextlib.suppress(Exception):  # what looks at values cannot be traced
            found = inference.named_tensors(model, (c, h, w))[0].values()
            places = {x.own: x for x in found if x.layout}
    for i, (_, rule) in sorted(drawn.items(), key=lambda item: item[1][0]):
        shape, dtype, x = leaves[i].shape, leaves[i].dtype, places.get(names[i])
        made = x.made(rule, shape) if x else initial.channels_last(rule, shape)
        leaves[i] = jnp.array(made, dtype)
    return leaves


def init_eagerly(model, init, *inputs):
    """What `init()` makes of these inputs, not compiled, with weights from NumPy."""
    with _asking() as asked:
        variables = init()
    leaves, tree = jax.tree.flatten(variables)
    if drawn := _drawn_for(leaves, asked):
        names = [name for name, _ in _named(variables)]
        _draw(model, leaves, names, drawn, inputs)
    return jax.tree.unflatten(tree, leaves)


def make_variables(model, key, *inputs):
    """Fresh variables, made by a compiled function, with weights from NumPy."""
    # Each compiled initializer is used once: what it drew when it was traced, say in an
    # initializer of the reader's own, would be the same in every call.
    there = _kept(model).pop(_name_of(inputs), None)
    make, about = there or _initializer(model)
    made = iter(make(key, *inputs))
    tree, names, drawn, leaves = about
    leaves = [x if i in drawn else next(made) for i, x in enumerate(leaves)]
    return jax.tree.unflatten(tree, _draw(model, leaves, names, drawn, inputs))


def _name_of(inputs):
    """The key under which the model keeps an initializer for such inputs."""
    return "initializer", str(jax.tree.map(_shape, tuple(inputs)))


def _initializer(model):
    """(function, what it leaves here when it is traced).

    The compiled function makes the variables from a key and inputs, but for those that
    are drawn; it leaves their tree, names, which are drawn (`_drawn_for`), and shapes.
    """
    net, about = clone(model, False), []

    def others(key, *inputs):
        keys = key if isinstance(key, dict) else {"params": key}
        with _asking() as asked:
            variables = net.init(keys, *inputs)
            if modal(model):
                variables = _with_those_of_training(model, variables, keys, inputs)
        leaves, tree = jax.tree.flatten(variables)
        drawn = _drawn_for(leaves, asked)
        names = [name for name, _ in _named(variables)]
        about[:] = tree, names, drawn, [_shape(x) for x in leaves]
        return [x for i, x in enumerate(leaves) if i not in drawn]

    # It runs once: to optimize it would take longer than it saves.
    plain = {"xla_backend_optimization_level": 0}
    return jax.jit(others, compiler_options=plain), about


def _shape(x):
    return jax.ShapeDtypeStruct(x.shape, x.dtype)


def _with_those_of_training(model, variables, keys, inputs):
    """The variables, with those of layers that are there in training alone."""
    training, dropout = clone(model, True), {"dropout": keys["params"]}

    def in_training():
        return training.apply(variables, *inputs, rngs=dropout, mutable=["batch_stats"])

    try:
        jax.eval_shape(in_training)
    except ScopeParamNotFoundError:
        return merged(training.init({**dropout, **keys}, *inputs), variables)
    except Exception:  # the first step will raise it
        pass
    return variables


def shapes_of(model, X_shape):
    """The model's variables as shapes; nothing is computed."""

    def shapes():
        key, X = jax.random.PRNGKey(0), jax.ShapeDtypeStruct(X_shape, jnp.float32)
        make, about = _once(model, _name_of([X]), lambda: _initializer(model))
        make.eval_shape(key, X)
        return jax.tree.unflatten(about[0], about[-1])

    return _once(model, ("shapes", tuple(X_shape)), shapes)


def output_of(model, inputs):
    """What the network gives for such inputs in evaluation mode, as shapes."""

    def find():
        run = clone(model, False).init_with_output
        return jax.eval_shape(run, jax.random.PRNGKey(0), *inputs)[0]

    return _once(model, ("output", str(jax.tree.map(_shape, tuple(inputs)))), find)


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


def _equations(jaxpr, times=1):
    """(equation, how often it is computed) of a traced function and inner ones."""
    for equation in jaxpr.eqns:
        yield equation, times
        repeated = equation.primitive.name == "scan" and equation.params["length"]
        for inner in equation.params.values():
            if hasattr(inner, "eqns"):
                yield from _equations(inner, times * (repeated or 1))


def trace(model, X_shape):
    return list(_once(model, ("rows", tuple(X_shape)), lambda: _trace(model, X_shape)))


def _trace(model, X_shape):
    """Rows of `summary.Layer` in the order in which a batch passes them.

    The `ref` of a row is (path of its variables, the (h, w, c) whose flattening
    it works on, or None, whether its kernel is that of a convolution's gradient).
    Traced only: nothing is computed.
    """
    net, variables = clone(model, training=False), shapes_of(model, X_shape)
    params = flatten_dict(variables.get("params", {}))
    calls, rows, name, flat, constants = [], [], summary.Namer(), None, set()
    whole = []  # paths of the layer of a kind in WHOLE that is being called
    inside = set()  # layers that are being called: one may call its base class

    # Layers with weights are modules, pools are plain functions. Naming a layer's
    # output makes the traced program show both, in order.
    def mark(call, args, kwargs, context):
        module, parents = context.module, type(context.module).__mro__
        kind = next((KINDS[c] for c in parents if c in KINDS), None)
        if whole and kind in WHOLE:
            whole.append(module.path)  # a cell, which may be another module's
        skip = whole or module.path in inside or context.method_name != "__call__"
        if kind is None or skip:
            return call(*args, **kwargs)
        if kind in WHOLE:
            whole.append(module.path)
        inside.add(module.path)
        y = call(*args, **kwargs)
        inside.remove(module.path)
        paths = {module.path, *filter(None, whole)}  # within a scan there are none
        whole.clear()
        inputs = [x for x in (*args, *kwargs.values()) if hasattr(x, "shape")]
        own = {k: p for k, p in params.items() if any(_within(k, q) for q in paths)}
        if kind not in WHOLE:
            own = {k: p for k, p in own.items() if k[-1] in LEAVES}
        inputs, shape = [x.shape for x in inputs], jax.tree.leaves(y)[-1].shape
        gradient = getattr(module, "transpose_kernel", False)
        calls.append((kind, module.path, own, inputs, shape, gradient))
        *others, last = jax.tree.leaves(y)  # of which one gets the name
        last = checkpoint_name(last, f"{MARK}{len(calls) - 1}")
        return jax.tree.unflatten(jax.tree.structure(y), [*others, last])

    with nn.intercept_methods(mark):
        X = jax.ShapeDtypeStruct(X_shape, jnp.float32)
        jaxpr = jax.make_jaxpr(net.apply)(variables, X)
    for equation, times in _equations(jaxpr):
        what, settings = equation.primitive.name, equation.params
        ends = [v.aval.shape for v in (*equation.invars, *equation.outvars)] or [()]
        x, y = ends[0], ends[-1]
        if all(hasattr(v, "val") for v in equation.invars):  # numbers only
            constants.update(equation.outvars)
        if what == "name" and settings["name"].startswith(MARK):
            call = calls[int(settings["name"].removeprefix(MARK))]
            kind, path, own, inputs, y, gradient = call
            x, ref = inputs[0], (path, flat, gradient)
            if kind not in summary.FREE or len(x) > 2:
                flat = None
            if kind not in FEATURES_LAST:
                x, y = channels_first(x), channels_first(y)
            *sizes, products = _sizes(kind, path, own, inputs)
            held = tuple(".".join(k) for k in own)
            row = summary.Layer(name(kind), kind, x, y, *sizes, ref, held)
            rows.append(dataclasses.replace(row, times=times, products=products))
        elif what == "reshape" and len(x) == 4 and y == (x[0], math.prod(x[1:])):
            flat = x[1:]
        elif what in ("reduce_sum", "reduce_max") and len(x) == 4:
            if settings["axes"] == (1, 2):
                x, y = channels_first(x), (x[0], x[3], 1, 1)
                rows.append(summary.Layer(name("pool"), "pool", x, y))
        # avg_pool(count_include_pad=False) also pools an image of ones.
        elif what.startswith("reduce_window") and equation.invars[0] not in constants:
            x, y = channels_first(x), channels_first(y)
            rows.append(summary.Layer(name("pool"), "pool", x, y))
    return rows


def _within(key, path):
    return key[: len(path)] == path


def _sizes(kind, path, own, inputs):
    """(parameters, elements of the weight, MACs of an attention) of a call."""
    weight = own.get((*path, "kernel"), own.get((*path, "scale")))
    weight, products = 0 if weight is None else weight.size, 0
    if kind == "recurrent":
        weight = sum(p.size for p in own.values() if p.ndim > 1)
    elif kind == "attention":
        parts = [own[(*path, k, "kernel")] for k in ("query", "key", "value", "out")]
        widths = [math.prod(parts[i].shape[1:]) for i in (1, 2)]
        query, key = inputs[0], inputs[min(1, len(inputs) - 1)]
        sizes = [p.size for p in parts]
        products = summary.attention_macs(query, key, sizes, *widths)
    return sum(p.size for p in own.values()), weight, products


def trained(model, X_shape):
    params = flatten_dict(shapes_of(model, X_shape).get("params", {}))
    return {".".join(k): (".".join(k), p.size) for k, p in params.items()}


@contextlib.contextmanager
def evaluating(model):
    """Nothing: functions from `_compiled` run in evaluation mode."""
    yield


def _compiled(model, function):
    """function(net, variables, ...) compiled, once, for evaluation mode."""
    net = clone(model, training=False)
    return _once(model, function, lambda: jax.jit(partial(function, net)))


def _scores(net, variables, batch):
    *X, y = to_arrays(batch)
    state = make_state(net, variables, optax.identity(), jax.random.PRNGKey(0))
    args = state.params, tuple(X), y, state
    l = net.loss(*args)
    l, aux = l if isinstance(l, tuple) else (l, {})
    judged = judges_accuracy(net, aux.get("Y_hat", y))
    return {"loss": l, **({"acc": net.accuracy(*args)} if judged else {})}


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


def _named(variables):
    """[(own name, variable)]"""
    leaves = jax.tree_util.tree_leaves_with_path(variables)
    return [(jax.tree_util.keystr(k, simple=True, separator="."), x) for k, x in leaves]


def own_tensors(model, shape, variables=None):
    c, h, w = shape
    known = shapes_of(model, (1, h, w, c)) if variables is None else variables
    # Each in a list of its own: tensors are told apart by id, and arrays may be shared.
    return {name: [x] for name, x in _named(known)}


def is_array(x):
    return False  # a Flax model cannot be changed


place = id


def common(row, own):
    if row.kind in (*WHOLE, "pool"):
        return {}
    (path, flat, gradient), there = row.ref, {}
    for leaf, name in LEAVES.items():
        stats = "batch_stats" if leaf in ("mean", "var") else "params"
        x = own.get(".".join((stats, *path, leaf)))
        if x is not None:
            kind = row.kind if leaf == "kernel" else "vector"
            # A bias has one number an output, even if as many as were flattened.
            of_outputs = kind == "vector" and row.kind not in summary.FREE
            inside = None if of_outputs else flat
            if leaf != "embedding":
                there[name] = x, partial(_to_stored, kind, inside, gradient)
            else:
                there[name] = x, None
    return there


def _to_stored(kind, flat, gradient, x):
    """(*size, in, out) as (out, in, *size); vectors (*size, c) as (c, *size).

    flat: the (h, w, c) that was flattened, since CHW order is stored. gradient: whether
    a transposed convolution has the kernel (h, w, out, in) of the convolution whose
    gradient it is; else its kernel is (h, w, in, out), flipped along h and w.
    """
    if kind == "vector":
        if flat and x.size == math.prod(flat):
            return np.moveaxis(x.reshape(flat), -1, 0).reshape(x.shape)
        return np.moveaxis(x, -1, 0) if x.ndim else x.reshape(1)
    if kind == "tconv" and not gradient:
        return np.moveaxis(np.flip(x, range(x.ndim - 2)), (-2, -1), (0, 1))
    shape = x.shape
    if kind == "dense":
        fits = flat and math.prod(flat) == math.prod(shape[:-1])
        x = x.reshape(*(flat if fits else shape[:-1]), shape[-1])
    x = np.moveaxis(x, (-1, -2), (0, 1))
    return x.reshape(shape[::-1]) if kind == "dense" else x


def shape_and_dtype(tensor):
    return tuple(tensor[0].shape), None  # loaded variables have the file's dtype


def to_numpy(tensor):
    return weights.as_bits(np.asarray(tensor[0]))


def set_tensors(model, shape, arrays, variables=None):
    """The variables, those of `variables` that the model does not need included."""
    c, h, w = shape
    loaded = {}
    for name, array in arrays.items():
        array = weights.from_bits(array, jnp.dtype)
        loaded[name] = jnp.array(array)
        if loaded[name].dtype != array.dtype:
            raise weights.WeightsError(
                f"{name} is stored in {array.dtype}, which is switched off in JAX; "
                "switch it on with jax.config.update('jax_enable_x64', True)"
            )
    known = shapes_of(model, (1, h, w, c))
    known = jax.tree.unflatten(
        jax.tree.structure(known), [loaded[name] for name, _ in _named(known)]
    )
    return {**(variables or {}), **known}
