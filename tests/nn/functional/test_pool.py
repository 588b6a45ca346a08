"""Pools against PyTorch in 1 to 3 dimensions, gradients with ties included, in float64."""

import functools
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import phlox as px
from kit import against_torch, assert_close, oracle
from phlox.core._errors import DtypeError, RangeError, ShapeError
from phlox.nn import functional as F

torch = oracle("torch")
TF = torch.nn.functional
MAX, MEAN = (TF.max_pool1d, TF.max_pool2d, TF.max_pool3d), (TF.avg_pool1d, TF.avg_pool2d, TF.avg_pool3d)
UNPOOL = (TF.max_unpool1d, TF.max_unpool2d, TF.max_unpool3d)


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def first(f):
    """Wrap a channels-first torch function."""
    return lambda x: f(x.movedim(-1, 1)).movedim(1, -1)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def ties(*shape, seed=0):
    """Few distinct values, so that most windows hold equal maxima."""
    return np.random.default_rng(seed).integers(0, 2, size=shape).astype(float)


def with_ties(*shape):
    """A batch of all different numbers and one of few, in one program."""
    return np.concatenate([normal(*shape), ties(*shape)])


# space, window, stride, padding, dilation, ceil_mode
CASES = {
    "1d": ((8,), 2, None, 0, 1, False),
    "1d overlapping, padded": ((9,), 3, 2, 1, 1, False),
    "1d dilated": ((11,), 3, 2, 1, 2, False),
    "1d ceil": ((8,), 3, 3, 1, 1, True),
    "1d ceil, last window dropped": ((5,), 2, 3, 1, 1, True),
    "1d long window": ((40,), 20, None, 0, 1, False),
    "1d long window, overlapping": ((45,), 20, 3, 4, 1, False),
    "1d long window, dilated": ((50,), 18, 2, 0, 2, False),
    "2d dividing": ((6, 4), 2, None, 0, 1, False),
    "2d dividing, oblong": ((6, 6), (3, 2), None, 0, 1, False),
    "2d not dividing": ((7, 5), 2, None, 0, 1, False),
    "2d per axis": ((7, 8), (3, 2), (2, 1), (1, 0), (1, 2), False),
    "2d ceil": ((6, 7), 3, 2, 1, 1, True),
    "2d gaps": ((7, 7), 2, 3, 0, 1, False),
    "3d": ((4, 4, 6), 2, None, 0, 1, False),
    "3d overlapping, ceil": ((4, 5, 4), (2, 3, 2), (2, 1, 2), (1, 1, 0), 1, True),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_max_pool_matches_torch(case):
    space, window, stride, padding, dilation, ceil = case
    theirs = MAX[len(space) - 1]
    against_torch(
        jax.jit(lambda x: F.max_pool(x, window, stride=stride, padding=padding, dilation=dilation, ceil_mode=ceil)),
        first(lambda x: theirs(x, window, stride, padding, dilation, ceil)),
        with_ties(2, *space, 3),
    )


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_indices_match_torch(case):
    space, window, stride, padding, dilation, ceil = case
    kwargs = dict(stride=stride, padding=padding, dilation=dilation, ceil_mode=ceil)
    x = with_ties(2, *space, 3)
    want, where = MAX[len(space) - 1](torch.tensor(x).movedim(-1, 1), window, return_indices=True, **kwargs)
    got, at = F.max_pool_with_indices(x, window, **kwargs)
    assert at.dtype == "int32"
    assert_close(at, where.movedim(1, -1).numpy())
    assert_close(got, want.movedim(1, -1).numpy())


def test_values_beside_indices_have_the_same_gradient():
    against_torch(
        lambda x: F.max_pool_with_indices(x, 3, stride=2, padding=1)[0],
        first(lambda x: TF.max_pool2d(x, 3, 2, 1)),
        ties(2, 6, 7, 3),
    )


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case[4] == 1])
def test_mean_pool_matches_torch(name):
    space, window, stride, padding, _, ceil = CASES[name]
    theirs = MEAN[len(space) - 1]
    pool = functools.partial(F.mean_pool, window=window, stride=stride, padding=padding, ceil_mode=ceil)
    against_torch(  # the padding counted and not, beside each other
        lambda x: jnp.concatenate([pool(x, count_include_pad=True), pool(x, count_include_pad=False)], -1),
        first(lambda x: torch.cat([theirs(x, window, stride, padding, ceil, count) for count in (True, False)], 1)),
        normal(2, *space, 3),
    )


def test_mean_pool_divides_by_the_number_it_is_given():
    x = normal(2, 5, 6, 3)
    theirs = first(lambda x: TF.avg_pool2d(x, 3, 2, 1, ceil_mode=True, divisor_override=5))
    against_torch(lambda x: F.mean_pool(x, 3, stride=2, padding=1, ceil_mode=True, divisor_override=5), theirs, x)
    layer = px.MeanPool((3, 3), stride=2, padding=1, ceil_mode=True, divisor_override=5)
    assert_close(layer(x), F.mean_pool(x, 3, stride=2, padding=1, ceil_mode=True, divisor_override=5))
    with pytest.raises(RangeError, match="mean_pool expects a divisor_override that is not 0, got 0"):
        F.mean_pool(x, 3, divisor_override=0)


def test_uneven_and_same_padding_equal_padding_first():
    x = normal(1, 7, 6, 2)
    padded = np.pad(x, ((0, 0), (2, 1), (0, 1), (0, 0)))
    assert_close(F.mean_pool(x, 3, stride=2, padding=((2, 1), (0, 1))), F.mean_pool(padded, 3, stride=2))
    ones = np.pad(np.ones_like(x), ((0, 0), (2, 1), (0, 1), (0, 0)))
    assert_close(
        F.mean_pool(x, 3, stride=2, padding=((2, 1), (0, 1)), count_include_pad=False),
        F.mean_pool(padded, 3, stride=2) / F.mean_pool(ones, 3, stride=2),
    )
    low = np.pad(x, ((0, 0), (2, 1), (0, 1), (0, 0)), constant_values=-np.inf)
    assert_close(F.max_pool(x, 3, stride=2, padding=((2, 1), (0, 1))), F.max_pool(low, 3, stride=2))
    assert F.max_pool(x, 2, padding="SAME").shape == (1, 4, 3, 2)


def test_a_window_of_equal_values_sends_its_gradient_to_the_first():
    x = jnp.zeros((1, 4, 4, 1))
    g = jax.grad(lambda x: F.max_pool(x, 2).sum())(x)[0, ..., 0]
    assert g.tolist() == [[1, 0, 1, 0], [0, 0, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]
    g = jax.grad(lambda x: F.global_max_pool(x).sum())(x)[0, ..., 0]
    assert g.tolist() == [[1, 0, 0, 0]] + [[0] * 4] * 3


def test_no_select_and_scatter_is_left():
    for window, stride in ((2, 2), (3, 2), (2, 1)):
        text = jax.jit(jax.grad(lambda x, w=window, s=stride: F.max_pool(x, w, stride=s).sum())).lower(
            jnp.zeros((2, 8, 8, 3))
        )
        assert "select_and_scatter" not in text.as_text()


def test_nan_and_infinity_pass_through():
    x = normal(1, 6, 1)
    x[0, 1], x[0, 2:4] = np.nan, -np.inf
    assert_close(F.max_pool(x, 2), MAX[0](torch.tensor(x).movedim(-1, 1), 2).movedim(1, -1).numpy())
    y, at = F.max_pool_with_indices(np.full((1, 3, 1), -np.inf), 3, stride=1, padding=1)
    assert at.ravel().tolist() == [0, 0, 1]
    assert np.all(np.isneginf(y))


@pytest.mark.parametrize("dtype", ["int32", "uint8", "bool"])
def test_max_pool_keeps_integers(dtype):
    x = np.random.default_rng(0).integers(0, 2, (1, 5, 5, 2)).astype(dtype)
    y = F.max_pool(x, 3, stride=2, padding=1)
    assert y.dtype == dtype
    assert_close(y, F.max_pool(x.astype(float), 3, stride=2, padding=1).astype(dtype))
    assert F.global_max_pool(x).dtype == dtype
    assert F.mean_pool(x, 2).dtype == "float32"


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize(("window", "stride", "padding"), [(2, None, 0), (3, 2, 1)])
def test_unpool_matches_torch(rank, window, stride, padding):
    x = normal(2, *(7, 8, 6)[:rank], 2)
    space = x.shape[1:-1]

    def ours(x):
        y, at = F.max_pool_with_indices(x, window, stride=stride, padding=padding)
        return F.max_unpool(y, at, window, stride=stride, padding=padding, output_size=space)

    def theirs(x):
        y, at = MAX[rank - 1](x, window, stride, padding, return_indices=True)
        return UNPOOL[rank - 1](y, at, window, stride, padding, output_size=space)

    overlap = stride is not None
    against_torch(jax.jit(ours), first(theirs), x, grad=not overlap)


def test_unpool_has_the_smallest_size_by_default():
    y, at = F.max_pool_with_indices(normal(1, 7, 8, 2), 3, stride=2, padding=1)
    assert y.shape == (1, 4, 4, 2)
    assert F.max_unpool(y, at, 3, stride=2, padding=1).shape == (1, 7, 7, 2)
    assert F.max_unpool(y, at, 3, stride=2, padding=1, output_size=8).shape == (1, 8, 8, 2)


@pytest.mark.parametrize("p", [1, 2, 3, 2.5])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_lp_pool_matches_torch(p, rank):
    theirs = (TF.lp_pool1d, TF.lp_pool2d, TF.lp_pool3d)[rank - 1]
    x = np.abs(normal(2, *(6, 5, 7)[:rank], 2)) + 0.1
    against_torch(lambda x: F.lp_pool(x, p, 2, stride=2), first(lambda x: theirs(x, p, 2, 2)), x)


def test_lp_pool_takes_magnitudes_and_is_smooth_enough_at_zero():
    x = normal(1, 6, 2)
    assert_close(F.lp_pool(x, 3, 2), F.lp_pool(np.abs(x), 3, 2))
    assert_close(F.lp_pool(x, np.inf, 2), F.max_pool(np.abs(x), 2))
    assert_close(
        F.lp_pool(x, 2, 3, padding=1, stride=2), F.lp_pool(np.pad(x, ((0, 0), (1, 1), (0, 0))), 2, 3, stride=2)
    )
    assert np.all(jax.grad(lambda x: F.lp_pool(x, 2, 2).sum())(jnp.zeros((1, 4, 1))) == 0)
    odd = normal(1, 7, 2)
    past_the_edge = F.lp_pool(np.pad(odd, ((0, 0), (0, 1), (0, 0))), 2, 2)
    assert_close(F.lp_pool(odd, 2, 2, ceil_mode=True), past_the_edge)
    assert_close(px.nn.LpPool(2, 2, ceil_mode=True)(odd), past_the_edge)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_global_pools_match_torch(rank):
    x, axes = normal(2, *(4, 3, 5)[:rank], 3), tuple(range(1, rank + 1))
    against_torch(F.global_mean_pool, lambda x: x.mean(axes, keepdim=True), x)
    against_torch(lambda x: F.global_mean_pool(x, keepdims=False), lambda x: x.mean(axes), x)
    against_torch(F.global_max_pool, lambda x: x.amax(axes, keepdim=True), x)
    against_torch(lambda x: F.global_max_pool(x, keepdims=False), lambda x: x.amax(axes), x)


# space, output
ADAPTIVE = [
    ((7,), 3),
    ((8,), 4),
    ((3,), 5),
    ((9,), 1),
    ((7, 5), (3, 4)),
    ((6, 7), (2, 9)),
    ((8, 8), 1),
    ((5, 4, 6), (2, 4, 5)),
]


@pytest.mark.parametrize(("space", "output"), ADAPTIVE)
def test_adaptive_max_pool_matches_torch(space, output):
    theirs = (TF.adaptive_max_pool1d, TF.adaptive_max_pool2d, TF.adaptive_max_pool3d)[len(space) - 1]
    against_torch(lambda x: F.adaptive_max_pool(x, output), first(lambda x: theirs(x, output)), with_ties(2, *space, 3))


@pytest.mark.parametrize(("space", "output"), ADAPTIVE)
def test_adaptive_mean_pool_matches_torch(space, output):
    theirs = (TF.adaptive_avg_pool1d, TF.adaptive_avg_pool2d, TF.adaptive_avg_pool3d)[len(space) - 1]
    against_torch(lambda x: F.adaptive_mean_pool(x, output), first(lambda x: theirs(x, output)), normal(2, *space, 3))


POOLS = {
    "max": lambda x: F.max_pool(x, 3, stride=2, padding=1),
    "max tiles": lambda x: F.max_pool(x, 2),
    "max long": lambda x: F.max_pool(x, 18),
    "mean": lambda x: F.mean_pool(x, 3, stride=2, padding=1, count_include_pad=False),
    "mean long": lambda x: F.mean_pool(x, 18, stride=1),
    "lp": lambda x: F.lp_pool(x, 2, 2),
    "global max": F.global_max_pool,
    "global mean": F.global_mean_pool,
    "adaptive max": lambda x: F.adaptive_max_pool(x, 5),
    "adaptive mean": lambda x: F.adaptive_mean_pool(x, 5),
}


@pytest.mark.parametrize("pool", POOLS.values(), ids=POOLS)
def test_transforms_and_dtypes(pool):
    x = normal(2, 2, 18, 18, 2)
    low = {dtype: x[0].astype(jnp.dtype(dtype)) for dtype in ("float16", "bfloat16", "float32")}
    eager = np.stack([pool(jnp.asarray(v)) for v in x])

    @jax.jit
    def compiled(x, low):
        slope = jax.grad(lambda x: pool(x).sum())
        return jax.vmap(pool)(x), pool(x[0]), {d: (pool(v), pool(v.astype(float)), slope(v)) for d, v in low.items()}

    rows, one, by_dtype = compiled(x, low)
    assert_close(rows, eager)
    assert_close(one, eager[0])
    for dtype, (y, want, slope) in by_dtype.items():
        assert y.dtype == slope.dtype == dtype
        assert_close(y, want)


@pytest.mark.parametrize("name", ["max", "max long", "mean", "lp", "adaptive max"])
def test_second_derivatives_and_forward_mode(name):
    x = normal(1, 18, 18, 1)
    check_grads(jax.jit(lambda x: POOLS[name](x) ** 2), (x,), order=2, modes=("fwd", "rev"))


def test_low_precision_means_are_summed_in_float32():
    x = jnp.ones((1, 64, 64, 1), "bfloat16")
    assert F.global_mean_pool(x).item() == F.mean_pool(x, 64).item() == F.adaptive_mean_pool(x, 1).item() == 1


def test_symbolic_shapes_export():
    b, n = jax.export.symbolic_shape("b, n", constraints=["n >= 4"])
    x = normal(2, 6, 6, 3)
    for f in (
        lambda x: F.max_pool(x, 2),
        lambda x: F.mean_pool(x, 3, stride=2, padding=1, count_include_pad=False),
        F.global_mean_pool,
        F.global_max_pool,
    ):
        exported = jax.export.export(jax.jit(f))(jax.ShapeDtypeStruct((b, n, n, 3), jnp.float64))
        assert_close(exported.call(x), f(x))


def test_the_functions_pickle():
    for f in (F.max_pool, F.mean_pool, F.max_unpool, F.adaptive_max_pool, F.global_max_pool):
        assert pickle.loads(pickle.dumps(f)) is f


X = np.zeros((2, 8, 8, 4), "float32")


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda: F.max_pool(X, 9),
            ShapeError,
            r"max_pool expects a padded input of at least 9 along spatial axis 0.* got 8 \+ 0 \+ 0",
        ),
        (
            lambda: F.mean_pool(X, (2, 9)),
            ShapeError,
            r"mean_pool expects a padded input of at least 9 along spatial axis 1",
        ),
        (lambda: F.max_pool(X, 2, padding=2), RangeError, r"padding below the window's extent \(2, 2\).* got 2"),
        (lambda: F.max_pool(X, 2, stride=0), RangeError, "stride of at least 1, got 0"),
        (lambda: F.max_pool(X, (2, 2, 2)), RangeError, r"window as one int or 2 .* got \(2, 2, 2\)"),
        (
            lambda: F.max_pool(X[0, 0], 2),
            ShapeError,
            r"\(batch, \*space, channels\) with 1 to 3 .* got float32\[8, 4\]",
        ),
        (lambda: F.max_pool(X + 0j, 2), DtypeError, r"real numbers.* got complex64\[2, 8, 8, 4\]\n  fix: pool jnp.abs"),
        (lambda: F.global_mean_pool(X[0, 0]), ShapeError, r"global_mean_pool expects \(batch, \*space, channels\)"),
        (lambda: F.lp_pool(X, 0.5, 2), RangeError, "p of at least 1, got 0.5"),
        (lambda: F.adaptive_mean_pool(X, 0), RangeError, "output_size of at least 1, got 0"),
        (
            lambda: F.max_unpool(X, X[:1], 2),
            ShapeError,
            r"indices of the shape of x, \(2, 8, 8, 4\), got float32\[1, 8, 8, 4\]",
        ),
        (lambda: F.max_unpool(X, X, 2), DtypeError, r"integer indices, got float32\[2, 8, 8, 4\]"),
        (
            lambda: F.max_unpool(X, X.astype(int), 2, output_size=20),
            RangeError,
            r"within one stride \(2, 2\) of \(16, 16\), got 20",
        ),
    ],
)
def test_errors_say_what_and_where(call, error, text):
    with pytest.raises(error, match=text):
        call()
