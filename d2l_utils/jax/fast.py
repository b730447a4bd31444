"""JAX on a CPU: the same step, with its slow operations written another way.

On a CPU, a training step of a small convolutional network that XLA has compiled spends
most of its time in few operations: the gradient of max pooling, which runs on one
thread; the gradients of weights in 1x1 convolutions and of biases; and convolutions
whose kernel is larger than the map, where XLA lets the two change places. `faster`
traces a function and evaluates what it recorded, operation by operation, with equal
formulas in place of these. The result differs by rounding only. Nothing in JAX is
changed, models need not know.
"""

import itertools

import jax
from jax import lax
from jax import numpy as jnp
from jax.extend.core import Literal

INLINED = {  # calls of an inner function: name, parameter that holds the function
    "pjit": "jaxpr",
    "jit": "jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
}


def faster(function):
    """`function` of pytrees of arrays, to be compiled for a CPU by `jax.jit`."""

    def evaluated(*args):
        closed, shape = jax.make_jaxpr(function, return_shape=True)(*args)
        values = _evaluate(closed.jaxpr, closed.consts, jax.tree.leaves(args))
        return jax.tree.unflatten(jax.tree.structure(shape), values)

    return evaluated


def _evaluate(jaxpr, consts, args):
    """The outputs of a recorded function."""
    known = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *args]))

    def value(v):
        return v.val if isinstance(v, Literal) else known[v]

    for eqn in jaxpr.eqns:
        name, inputs = eqn.primitive.name, [value(v) for v in eqn.invars]
        outputs = None
        if name == "conv_general_dilated":
            outputs = _matrix_product(*inputs, eqn.params)
            if outputs is None:
                outputs = _padded_first(*inputs, eqn.params)
        elif name == "select_and_scatter_add":
            outputs = _max_pool_gradient(*inputs, eqn.params)
        elif name == "reduce_sum":
            outputs = _sum_of_rows(*inputs, eqn.params)
        elif name in INLINED:
            inner = eqn.params[INLINED[name]]
            known.update(zip(eqn.outvars, _evaluate(inner.jaxpr, inner.consts, inputs)))
            continue
        if outputs is None:
            outputs = _again(eqn.primitive, inputs, eqn.params)
        if not eqn.primitive.multiple_results:
            outputs = [outputs]
        known.update(zip(eqn.outvars, outputs))
    return [value(v) for v in jaxpr.outvars]


def _again(primitive, inputs, params):
    """The outputs of an operation as it was recorded."""
    bound = primitive.get_bind_params(params)
    # JAX 0.7 keeps inner functions apart, 0.10 among the parameters.
    functions, params = bound if isinstance(bound, tuple) else ((), bound)
    return primitive.bind(*functions, *inputs, **params)


def _padded_first(x, kernel, p):
    """A convolution whose kernel is larger than x, with x padded first.

    Up to thirty times as fast; None for any other. Without the barrier XLA would
    fold the padding back into the convolution before it compares the sizes.
    """
    places, padding = p["dimension_numbers"].lhs_spec[2:], p["padding"]
    sizes = zip(p["dimension_numbers"].rhs_spec[2:], places)
    if set(p["lhs_dilation"]) != {1} or not any(
        kernel.shape[k] > x.shape[i] for k, i in sizes
    ):
        return None
    ends = dict(zip(places, padding))
    widths = [(*ends.get(i, (0, 0)), 0) for i in range(x.ndim)]
    padded = lax.pad(x, jnp.array(0, x.dtype), widths)
    p = {**p, "padding": [(0, 0)] * len(places)}
    return lax.conv_general_dilated(lax.optimization_barrier(padded), kernel, **p)


def _matrix_product(x, kernel, p):
    """A convolution that is a matrix product, as one; None for any other.

    Those are 1x1 convolutions, and what gives their gradients: the kernel is one
    pixel, or as large as x, so that there is one position.
    """
    dims = p["dimension_numbers"]
    size_x = [x.shape[i] for i in dims.lhs_spec[2:]]
    size_kernel = [kernel.shape[i] for i in dims.rhs_spec[2:]]
    ones = [1] * len(size_x)
    steps = [*p["window_strides"], *p["lhs_dilation"], *p["rhs_dilation"]]
    plain = (
        set(steps) == {1}
        and not any(itertools.chain(*p["padding"]))
        and p["feature_group_count"] == p["batch_group_count"] == 1
    )
    if not plain or size_kernel not in (ones, size_x):
        return None
    # b: example, f: input channel, o: output channel, hwd...: place
    place = "hwdijk"[: len(size_x)]
    inside = place if size_kernel == size_x else place.upper()  # upper: length 1

    def letters(spec, names):
        return "".join(name for _, name in sorted(zip(spec, names)))

    left = letters(dims.lhs_spec, f"bf{place}")
    right = letters(dims.rhs_spec, f"of{inside}")
    kept = place.upper() if size_kernel == size_x else place
    out = letters(dims.out_spec, f"bo{kept}")
    flat = "".join(c for c in out if not c.isupper())
    if size_kernel != size_x:
        kernel = kernel.reshape([n for n, c in zip(kernel.shape, right) if c.islower()])
        right = "".join(c for c in right if c.islower())
    summed = "".join(c for c in left if c in right and c not in flat)
    if left[:-1] == right[:-1] == summed:  # a weight gradient: as one matrix each
        x, kernel = (a.reshape(-1, a.shape[-1]) for a in (x, kernel))
        left, right = f"f{left[-1]}", f"f{right[-1]}"
    y = jnp.einsum(
        f"{left},{right}->{flat}",
        x,
        kernel,
        precision=p["precision"],
        preferred_element_type=p["preferred_element_type"],
    )
    return jnp.expand_dims(y, [i for i, c in enumerate(out) if c.isupper()])


def _sum_of_rows(x, p):
    """The sum over all axes but the last, a bias gradient; None for any other."""
    if p["axes"] != tuple(range(x.ndim - 1)) or x.ndim < 3 or x.dtype != jnp.float32:
        return None
    rows = x.reshape(-1, x.shape[-1])
    return (jnp.ones((1, len(rows)), x.dtype) @ rows)[0]


def _max_pool_gradient(g, x, p):
    """The gradient for x of a max pool with gradient g; None for another pool.

    As in the operation replaced, the first of several largest values takes all.
    """
    if p["select_prim"].name != "ge" or jnp.issubdtype(x.dtype, jnp.complexfloating):
        return None
    window, strides, padding = p["window_dimensions"], p["window_strides"], p["padding"]
    lowest = -jnp.inf
    padded = lax.pad(x, jnp.array(lowest, x.dtype), [(*ends, 0) for ends in padding])
    largest = lax.reduce_window(
        padded, jnp.array(lowest, x.dtype), lax.max, window, strides, "VALID"
    )
    taken, total = jnp.zeros(g.shape, bool), jnp.zeros(padded.shape, g.dtype)
    for start in itertools.product(*map(range, window)):
        limit = [a + (n - 1) * s + 1 for a, n, s in zip(start, g.shape, strides)]
        chosen = (lax.slice(padded, start, limit, strides) == largest) & ~taken
        taken |= chosen
        ends = [
            (a, n - b, s - 1) for a, b, n, s in zip(start, limit, padded.shape, strides)
        ]
        total += lax.pad(jnp.where(chosen, g, 0), jnp.array(0, g.dtype), ends)
    inner = [slice(a, n - b) for (a, b), n in zip(padding, padded.shape)]
    return total[tuple(inner)]
