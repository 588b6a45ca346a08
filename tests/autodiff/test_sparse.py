"""Sparse derivatives: patterns miss nothing, colours are enough, and a product is taken for each colour."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from scipy import sparse

import phlox as px
from phlox.autodiff._program import traced
from phlox.autodiff.derivatives import _colouring, _compressed
from phlox.autodiff.derivatives._array_function import ArrayFunction
from phlox.autodiff.derivatives._sparsity import pattern

RNG = np.random.default_rng(0)
SIZE = 12
X = RNG.normal(size=SIZE)
SCATTERED = np.where(RNG.random((7, SIZE)) < 0.3, RNG.normal(size=(7, SIZE)), 0)
NUMBERS = ("NHWC", "HWIO", "NHWC")


def image(x, stride, groups=1):
    kernel = jnp.asarray(RNG.normal(size=(2, 2, 2 // groups, 2)))
    return lax.conv_general_dilated(
        x.reshape(1, 2, 3, 2), kernel, stride, "SAME", dimension_numbers=NUMBERS, feature_group_count=groups
    )


# Functions whose derivative has, almost everywhere, just the entries of the pattern.
EXACT = {
    "differences": lambda x: (x[1:] - x[:-1]) ** 2,
    "a matrix that stands in the function": lambda x: jnp.sin(SCATTERED @ x),
    "a matrix from the left": lambda x: x[:7] ** 2 @ SCATTERED,
    "arrow": lambda x: x * x[0] + jnp.zeros(SIZE).at[0].set(jnp.sum(x**2)),
    "convolution": lambda x: jnp.convolve(x**2, jnp.array([1.0, 2.0, 3.0]), mode="same"),
    "convolution of an image": lambda x: image(x, (1, 2)),
    "convolution in groups": lambda x: image(x, (1, 1), 2),
    "zeros that multiply": lambda x: x * jnp.arange(SIZE) + jnp.roll(x, 2) ** 2,
    "scan": lambda x: lax.scan(lambda h, v: (h * 0.5 + v, h * v), 0.0, x)[1],
    "scan from the end": lambda x: lax.scan(lambda h, v: (h * 0.5 + v, h * v), 0.0, x, reverse=True)[1],
    "loop that writes": lambda x: lax.fori_loop(0, 3, lambda i, v: v.at[i].set(v[i] * v[i + 1]), x),
    "running sum": lambda x: jnp.cumsum(x.reshape(3, 4), 1),
    "running sum from the end": lambda x: lax.cumsum(x.reshape(3, 4), 0, reverse=True),
    "gather": lambda x: x[jnp.array([0, 5, 5])] * x[1],
    "gather out of bounds": lambda x: x.at[jnp.array([1, 40])].get(mode="fill", fill_value=0),
    "sums of segments": lambda x: jax.ops.segment_sum(x**2, jnp.array([0, 0, 1, 1, 2, 2, 3, 3, 0, 0, 1, 1]), 4),
    "products": lambda x: x.reshape(3, 4) @ x.reshape(4, 3),
    "products over a batch": lambda x: jnp.einsum("bi,bij->bj", x.reshape(3, 4), jnp.cos(x).reshape(3, 4, 1)),
    "rows": lambda x: jax.nn.softmax(x.reshape(3, 4), -1),
    "pad, reverse, stack": lambda x: jnp.stack([jnp.pad(x[:3], (2, 1)), x[::-2]]),
    "an element that is written": lambda x: x.at[2].set(x[0] * 2).at[3].add(x[5] ** 2),
    "while, known rounds": lambda x: lax.while_loop(
        lambda c: c[1] < 2, lambda c: (c[0] * jnp.roll(c[0], 1), c[1] + 1), (x, 0)
    )[0],
    "a branch that is known": lambda x: lax.cond(jnp.array(2) > 1, lambda x: x * 2, lambda x: x[::-1], x),
}
# Those where it depends on the numbers which entries are zero, or that are not looked into.
WIDER = {
    "sort": jnp.sort,
    "choice": lambda x: jnp.where(x > 0, x[::-1], x**2),
    "clipped": lambda x: jnp.clip(x, -0.5, 0.5),
    "relu": jax.nn.relu,
    "greatest of rows": lambda x: jnp.max(x.reshape(3, 4), 1),
    "branch": lambda x: lax.cond(x[0] > 0, lambda x: x * 2, lambda x: x[::-1], x),
    "while": lambda x: lax.while_loop(
        lambda c: c[1] < 100, lambda c: (c[0] + jnp.roll(c[0], 1), c[1] * 2), (x, jnp.abs(x[0]))
    )[0],
    "a place that is computed": lambda x: lax.dynamic_slice(x, (jnp.argmax(x),), (2,)),
    "fourier": lambda x: jnp.abs(jnp.fft.rfft(x)),
    "windows": lambda x: lax.reduce_window(x, 0.0, lax.add, (2,), (2,), "VALID"),
    "a linear system": lambda x: jnp.linalg.solve(jnp.eye(3) + x[:9].reshape(3, 3), x[9:]),
    "rounded": lambda x: jnp.floor(x) + x[::-1],
}


def pattern_of(fn, x):
    return pattern(traced(lambda x, v: jax.jvp(fn, (x,), (v,))[1], x, x), 1)


def nonzero_somewhere(functions, x):
    """Where Jacobians differ from zero at one of three points, all in one program."""
    slopes = jax.jit(jax.jacfwd(lambda x: {name: fn(x).reshape(-1) for name, fn in functions.items()}))
    found = [slopes(x + shift) for shift in (0.0, 0.7, -1.1)]
    return {name: np.any([np.asarray(f[name]) != 0 for f in found], 0) for name in functions}


@pytest.mark.parametrize("functions", [EXACT, WIDER], ids=["exact", "wider"])
def test_a_pattern_misses_nothing(functions):
    with jax.enable_x64(True):
        x = jnp.asarray(X)
        found = {name: pattern_of(fn, x).toarray() for name, fn in functions.items()}
        there = nonzero_somewhere(functions, x)
    for name in functions:
        assert not (there[name] & ~found[name]).any(), name
        if functions is EXACT:
            np.testing.assert_array_equal(found[name], there[name], err_msg=name)


def banded(x):
    return jnp.convolve(x**3, jnp.array([1.0, -2.0, 1.0]), mode="same")


def blocks(x):
    return jnp.cumsum(x.reshape(-1, 3) ** 2, 1).reshape(-1) * 2


def tall(x):
    return jnp.concatenate([x**2, jnp.sum(x)[None]])


def scattered(x):
    return jnp.tanh(SCATTERED @ x)


@pytest.mark.parametrize(
    ("fn", "by", "products"),
    [(banded, "columns", 3), (blocks, "columns", 3), (tall, "rows", 2), (scattered, None, None)],
)
def test_a_sparse_jacobian_is_the_dense_one(fn, by, products):
    with jax.enable_x64(True):
        x, slopes = jnp.asarray(X), px.autodiff.derivative(fn, "sparse")
        found = slopes.jacobian(x)
        np.testing.assert_allclose(found.todense(), jax.jit(jax.jacobian(fn))(x), rtol=1e-12, atol=1e-12)
        again = slopes.jacobian(2 * x)
        np.testing.assert_allclose(again.todense(), jax.jit(jax.jacobian(fn))(2 * x), rtol=1e-12, atol=1e-12)
    if by is not None:
        assert slopes.reason.startswith(f"sparse, {products} products by {by}: {found.nse} of")
    assert found.unique_indices
    assert found.indices_sorted


def chained(x):
    return jnp.sum((x[1:] - x[:-1] ** 2) ** 2)


def arrowed(x):
    return jnp.sum(x[0] * x[1:] ** 2) + x[0] ** 3


def in_blocks(x):
    return jnp.sum(jnp.prod(x.reshape(-1, 3), 1))


def random_pairs(x):
    left, right = np.nonzero(np.triu(np.random.default_rng(1).random((SIZE, SIZE)) < 0.15))
    return jnp.sum(jnp.sin(x[left] * x[right]))


@pytest.mark.parametrize(
    ("fn", "products"), [(chained, 3), (arrowed, 2), (in_blocks, 3), (random_pairs, None), (lambda x: jnp.sum(x), 0)]
)
def test_a_sparse_hessian_is_the_dense_one(fn, products):
    """An arrow takes two products, of which columns alone would take as many as there are."""
    with jax.enable_x64(True):
        x, slopes = jnp.asarray(X), px.autodiff.derivative(fn, "sparse")
        found = slopes.hessian(x)
        np.testing.assert_allclose(found.todense(), jax.jit(jax.hessian(fn))(x), rtol=1e-12, atol=1e-12)
    if products is not None:
        assert slopes.reason.startswith(f"sparse, {products} products")


def test_arrays_of_more_axes_keep_them():
    with jax.enable_x64(True):
        x = jnp.asarray(X).reshape(3, 4)
        fn = lambda x: jnp.cumsum(x**2, 1)[:, ::-1].T  # noqa: E731
        found = px.autodiff.derivative(fn, "sparse").jacobian(x)
        assert found.shape == (4, 3, 3, 4)
        np.testing.assert_allclose(found.todense(), jax.jit(jax.jacobian(fn))(x), rtol=1e-12)
        scalar = lambda x: jnp.sum(x[1:] ** 2 * x[:-1])  # noqa: E731
        curved = px.autodiff.derivative(scalar, "sparse").hessian(x)
        np.testing.assert_allclose(curved.todense(), jax.jit(jax.hessian(scalar))(x), rtol=1e-12)


@pytest.mark.parametrize(("fn", "colour"), [(banded, _compressed.jacobian_of), (arrowed, _compressed.hessian_of)])
def test_as_many_products_are_taken_as_there_are_colours(fn, colour):
    """They are counted on the host, where each passes by itself."""
    seen = []

    def passed(v):
        seen.append(1)
        return v

    with jax.enable_x64(True):
        x = jnp.asarray(X)
        how = colour(ArrayFunction((fn, (), {}), (x,), 0))
        slope = fn if fn is banded else jax.grad(fn)
        along = jax.linearize(slope, x)[1]
        kind = jax.ShapeDtypeStruct(x.shape, x.dtype)
        entries = how.entries(
            lambda v: along(jax.pure_callback(passed, kind, v, vmap_method="sequential")), jnp.float64
        ).block_until_ready()
        dense = np.asarray(jax.jit(jax.jacobian(slope))(x))
    np.testing.assert_allclose(entries, dense[how.pattern.nonzero()], rtol=1e-12)
    assert len(seen) == how.products == len(set(how.colours.tolist())) < SIZE


def test_columns_of_one_colour_share_no_row():
    for seed in range(5):
        graph = sparse.random(20, 30, 0.08, "csr", random_state=seed)
        colours = _colouring.columns(graph)
        for row in range(20):
            held = colours[graph[row].indices]
            assert len(set(held.tolist())) == len(held)


def random_graph(seed):
    half = sparse.random(24, 24, 0.07, "csr", random_state=seed)
    graph = (half + half.T).toarray() != 0
    np.fill_diagonal(graph, False)
    return graph


def ring_of_five():
    """Where 1 and 3 have their colour from 0, what lies between a node and them has none yet."""
    graph = np.zeros((5, 5), bool)
    for a, b in [(0, 1), (0, 3), (1, 4), (2, 3), (2, 4)]:
        graph[a, b] = graph[b, a] = True
    return graph


def test_no_path_of_four_has_two_colours():
    for graph in (ring_of_five(), *map(random_graph, range(5))):
        colours = _colouring.symmetric(sparse.csr_matrix(graph))
        for a, b in np.argwhere(graph):
            assert colours[a] != colours[b]
            for c in np.flatnonzero(graph[b]):
                for d in np.flatnonzero(graph[c]):
                    if len({a, b, c, d}) == 4:
                        assert len({*colours[[a, b, c, d]].tolist()}) > 2


def test_rules_of_a_users_own_are_what_counts():
    @jax.custom_vjp
    def back(x):
        return jnp.sin(x)

    back.defvjp(lambda x: (jnp.sin(x), x), lambda x, g: (jnp.roll(g, 1) * x,))

    @jax.custom_jvp
    def straight(x):
        return jnp.round(x)

    straight.defjvp(lambda xs, ts: (jnp.round(xs[0]), ts[0]))
    x = jnp.arange(4.0)
    by_rows = px.autodiff.derivative(back, "sparse")
    np.testing.assert_allclose(by_rows.jacobian(x).todense(), jax.jacrev(back)(x))
    assert by_rows.reason == "sparse, 1 product by rows: 4 of 4 x 4"
    through = px.autodiff.derivative(straight, "sparse")
    np.testing.assert_allclose(through.jacobian(x).todense(), np.eye(4))


def test_another_argument_is_no_part_of_the_pattern():
    slopes = px.autodiff.derivative(lambda weights, x: x * weights, "sparse", argnums=1)
    first = slopes.jacobian(jnp.zeros(3), jnp.ones(3))  # a zero that may be another number at the next call
    assert first.nse == 3
    assert np.diag(slopes.jacobian(jnp.arange(1.0, 4.0), jnp.ones(3)).todense()).tolist() == [1.0, 2.0, 3.0]
    assert slopes.prepared == 1
