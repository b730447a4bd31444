"""The rewritten operations of JAX on a CPU give what JAX's own give."""

import numpy as np
import pytest

pytestmark = [pytest.mark.only("jax"), pytest.mark.usefixtures("framework")]


def check(function, *args):
    """`function` and its `faster` form agree, compiled; returns the HLO text."""
    import jax

    from d2l_utils.jax.fast import faster

    expected = jax.jit(function)(*args)
    compiled = jax.jit(faster(function)).lower(*args).compile()
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5),
        expected,
        compiled(*args),
    )
    return compiled.as_text()


@pytest.mark.parametrize(
    "size, window, stride, pad",
    [(9, 3, 2, 0), (8, 2, 1, 0), (10, 3, 2, 1), (7, 3, 1, 1)],
)
def test_max_pool(size, window, stride, pad):
    """The values have many ties: the first of them takes the gradient."""
    import jax
    from flax import linen as nn
    from jax import numpy as jnp

    def pool(x):
        padding = ((pad, pad), (pad, pad))
        return nn.max_pool(x, (window, window), (stride, stride), padding)

    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.integers(0, 3, (2, size, size, 3)), "float32")
    w = jnp.asarray(rng.random(pool(x).shape), "float32")
    hlo = check(jax.grad(lambda x: (w * pool(x)).sum()), x)
    assert "select-and-scatter" not in hlo


@pytest.mark.parametrize(
    "kernel, stride, pad",
    [(1, 1, 0), (3, 1, 1), (1, 2, 0), (4, 1, 0), (5, 1, 2), (5, 1, 1), (7, 2, 3)],
)
def test_convolutions(kernel, stride, pad):
    import jax
    from jax import lax
    from jax import numpy as jnp

    from d2l_utils.jax.fast import faster

    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.random((2, 4, 4, 3)), "float32")
    k = jnp.asarray(rng.random((kernel, kernel, 3, 5)), "float32")

    def loss(x, k):
        y = lax.conv_general_dilated(
            x, k, (stride, stride), ((pad, pad), (pad, pad)),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )  # fmt: skip
        return (y**2).sum()

    hlo = check(jax.value_and_grad(loss, (0, 1)), x, k)
    products = (kernel, stride, pad) in ((1, 1, 0), (4, 1, 0))
    if kernel == 1 and products:
        assert " convolution(" not in hlo
    if kernel > 4:  # larger than x: XLA would exchange the two
        swapped = "rhs_reversal"
        assert swapped in jax.jit(loss).lower(x, k).compile().as_text()
        assert swapped not in jax.jit(faster(loss)).lower(x, k).compile().as_text()


def test_sums_of_rows():
    """A bias gradient becomes a matrix product, other sums stay what they are."""
    from jax import numpy as jnp

    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.random((2, 5, 5, 7)), "float32")
    assert " dot(" in check(lambda x: (2 * x).sum((0, 1, 2)), x)
    for axes in ((1, 2), (0, 1, 3), None):
        assert " dot(" not in check(lambda x, axes=axes: (2 * x).sum(axes), x)
    counts = jnp.asarray(rng.integers(0, 9, (2, 5, 5, 7)))
    assert " dot(" not in check(lambda x: x.sum((0, 1, 2)), counts)
