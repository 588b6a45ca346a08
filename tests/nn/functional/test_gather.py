"""Gather, scatter and segments against torch's index reductions, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from kit import against_torch, assert_close, oracle
from phlox.core._errors import DtypeError, RangeError, ShapeError
from phlox.nn import functional as F

torch = oracle("torch")
INDEX = np.array([2, 0, 2, 4, 0, 2])
TORCH = {"+": "sum", "*": "prod", "max": "amax", "min": "amin"}
SEGMENT = {
    "sum": F.segment_sum,
    "mean": F.segment_mean,
    "max": F.segment_max,
    "min": F.segment_min,
    "prod": F.segment_prod,
}


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def ties(*shape, seed=0):
    """Few values, zeros among them: for equal extremes and products of zeros."""
    return np.random.default_rng(seed).integers(-1, 3, size=shape).astype(float)


@pytest.mark.parametrize("op", TORCH)
@pytest.mark.parametrize("make", [normal, ties])
def test_scatter_into_matches_torch(op, make):
    def theirs(values, into):
        at = torch.tensor(INDEX)[:, None].expand(6, 3)
        return into.scatter_reduce(0, at, values, TORCH[op], include_self=True)

    against_torch(
        jax.jit(lambda v, into: F.scatter(v, INDEX, op, into=into)),
        theirs,
        make(6, 3),
        make(5, 3, seed=1) + 0.5 * (op == "*"),
    )


@pytest.mark.parametrize("op", [*TORCH, "mean"])
@pytest.mark.parametrize("make", [normal, ties])
def test_scatter_matches_torch(op, make):
    start = {"+": 0.0, "*": 1.0, "max": -np.inf, "min": np.inf, "mean": 0.0}[op]

    def theirs(values):
        at = torch.tensor(INDEX)[:, None].expand(6, 3)
        into = torch.full((5, 3), start, dtype=values.dtype)
        return into.scatter_reduce(0, at, values, TORCH.get(op, "mean"), include_self=False)[[0, 2, 4]]

    x = make(6, 3)
    against_torch(jax.jit(lambda v: F.scatter(v, INDEX, op, size=5)[np.array([0, 2, 4])]), theirs, x)
    assert np.all(np.asarray(F.scatter(x, INDEX, op, size=5))[[1, 3]] == start)


@pytest.mark.parametrize("name", SEGMENT)
def test_segments_match_torch(name):
    torch_op = {"sum": "sum", "mean": "mean", "max": "max", "min": "min", "prod": "prod"}[name]
    lengths, ids = torch.tensor([2, 1, 3]), np.array([0, 0, 1, 2, 2, 2])

    def theirs(x):
        return torch.segment_reduce(x, torch_op, lengths=lengths)

    against_torch(jax.jit(lambda x: SEGMENT[name](x, ids, 3)), theirs, normal(6, 3))
    order = np.random.default_rng(0).permutation(6)
    assert_close(SEGMENT[name](normal(6, 3)[order], ids[order], 3), SEGMENT[name](normal(6, 3), ids, 3))


def test_differences_quotients_and_means_follow_their_formula():
    v, into = np.abs(normal(6, 3)) + 0.5, normal(5, 3, seed=1)
    assert_close(F.scatter(v, INDEX, "-", into=into), into - F.scatter(v, INDEX, "+", size=5))
    assert_close(F.scatter(v, INDEX, "/", into=into), into / F.scatter(v, INDEX, "*", size=5))
    assert_close(F.scatter(v, INDEX, "mean", into=into), into + F.scatter(v, INDEX, "mean", size=5))
    for op in ("-", "/", "mean"):
        check_grads(
            jax.jit(lambda v, i, op=op: F.scatter(v, INDEX, op, into=i)), (v, into), order=1, modes=("fwd", "rev")
        )


def test_products_with_zeros_have_second_derivatives():
    v = np.array([0.0, 2.0, 3.0, 0.0, 5.0, 0.0])
    index = np.array([0, 0, 0, 1, 1, 1])
    f = jax.jit(lambda v: F.scatter(v, index, "*", size=2))
    assert_close(jax.jacobian(f)(v), [[6, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]])
    want = jax.hessian(lambda v: jnp.stack([v[0] * v[1] * v[2], v[3] * v[4] * v[5]]))(v)
    assert_close(jax.hessian(f)(v), want)


@pytest.mark.parametrize("op", ["max", "min", "*"])
def test_second_derivatives_and_forward_mode(op):
    check_grads(
        jax.jit(lambda v: F.scatter(v, INDEX, op, size=5)[0] ** 2), (normal(6, 2),), order=2, modes=("fwd", "rev")
    )


@pytest.mark.parametrize("index", [INDEX, INDEX.reshape(2, 3), np.array(1)])
def test_gather_matches_torch(index):
    against_torch(lambda x: F.gather(x, index), lambda x: x[torch.tensor(index)], normal(5, 3))


def test_tuples_of_indices_name_several_axes():
    i, j = np.array([0, 2, 2, 0]), np.array([1, 0, 0, 1])
    x, v = normal(3, 2, 4), normal(4, 4)
    against_torch(lambda x: F.gather(x, (i, j)), lambda x: x[i, j], x)
    against_torch(
        lambda v, x: F.scatter(v, (i, j), into=x),
        lambda v, x: x.index_put((torch.tensor(i), torch.tensor(j)), v, accumulate=True),
        v,
        x,
    )
    assert_close(F.scatter(v, (i, j), size=(3, 2)), F.scatter(v, 2 * i + j, size=6).reshape(3, 2, 4))


def test_scatter_is_the_transpose_of_gather():
    (back,) = jax.linear_transpose(lambda x: F.gather(x, INDEX), normal(5, 3))(jnp.asarray(normal(6, 3)))
    assert_close(F.scatter(normal(6, 3), INDEX, size=5), back)


def test_what_lies_outside():
    x = jnp.arange(3.0)
    y = np.asarray(F.gather(x, np.array([-1, 3])))
    assert y[0] == 2
    assert np.isnan(y[1])
    for op, want in {"+": 0.0, "*": 1.0, "max": -np.inf, "min": np.inf, "mean": 0.0}.items():
        f = lambda v, op=op: F.scatter(v, np.array([-1, 3]), op, size=3)  # noqa: E731
        assert f(jnp.array([5.0, 7.0])).tolist() == [want, want, 5]
        assert jax.grad(lambda v, f=f: f(v)[2])(jnp.array([5.0, 7.0])).tolist() == [1, 0]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "int32", "uint8"])
def test_dtypes(dtype):
    v, index = jnp.asarray(np.arange(1, 7), dtype), jnp.asarray(INDEX)
    want = {"+": [7, 0, 10, 0, 4], "*": [10, 1, 18, 1, 4], "max": [5, None, 6, None, 4], "min": [2, None, 1, None, 4]}
    for op, values in want.items():
        y = F.scatter(v, index, op, size=5)
        assert y.dtype == dtype
        assert [a for a, b in zip(y.tolist(), values, strict=True) if b is not None] == [
            b for b in values if b is not None
        ]
    assert F.scatter(v, index, "mean", size=5).dtype == ("float32" if "int" in dtype else dtype)


def test_low_precision_sums_are_formed_in_float32():
    assert F.segment_sum(jnp.ones(1000, "bfloat16"), np.zeros(1000, int), 1).item() == 1000


def test_vmap_agrees_with_a_loop():
    v, index = jnp.asarray(normal(3, 6, 2)), jnp.asarray(np.random.default_rng(0).integers(0, 4, (3, 6)))
    for op in ("+", "*", "max", "mean"):
        f = lambda v, i, op=op: F.scatter(v, i, op, size=4)  # noqa: E731
        want = jnp.stack([f(a, b) for a, b in zip(v, index, strict=True)])
        assert_close(jax.vmap(f)(v, index), want)


V = np.zeros((6, 3), "float32")


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: F.scatter(V, INDEX, "xor", size=5), RangeError, "op as one of .* got 'xor'"),
        (lambda: F.scatter(V, INDEX), RangeError, "scatter expects one of size and into, got neither"),
        (lambda: F.scatter(V, INDEX, size=5, into=V), RangeError, "one of size and into, got both"),
        (lambda: F.scatter(V, INDEX, size=-1), RangeError, "size as 1 of at least 0, .* got -1"),
        (
            lambda: F.scatter(V, INDEX[:5], size=5),
            ShapeError,
            r"leading axes are those of the index, \(5,\), got float32\[6, 3\]",
        ),
        (
            lambda: F.scatter(V, INDEX, into=V[:, :2]),
            ShapeError,
            r"into with 1 leading axes before \(3,\).* got float32\[6, 2\]",
        ),
        (lambda: F.scatter(V, INDEX / 1, size=5), DtypeError, r"integer indices, got float64\[6\]"),
        (lambda: F.gather(V, INDEX > 1), DtypeError, r"gather expects integer indices, got bool\[6\]"),
        (
            lambda: F.gather(V, (INDEX, INDEX, INDEX)),
            ShapeError,
            r"at least 3 axes, one per index, got float32\[6, 3\]",
        ),
        (lambda: F.gather(V, (INDEX, INDEX[:2])), ShapeError, r"indices of one shape, \(6,\), got int64\[2\]"),
    ],
)
def test_errors_say_what_and_where(call, error, text):
    with pytest.raises(error, match=text):
        call()
