"""Initialisers: their distributions against SciPy, their structure against theorems, their fans against PyTorch."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from kit import oracle
from phlox.core._errors import DtypeError, RangeError, ShapeError
from phlox.nn import init

KEY = jax.random.key(7)
torch = oracle("torch")
ALL = [getattr(init, name) for name in init.__all__ if isinstance(getattr(init, name), init.Initializer)]
ALL.append(init.constant(0.5))


def scaled_std(shape, mode, gain):
    """The standard deviation by PyTorch's own fans of the transposed weight (out, in, k...)."""
    *taps, size, width = shape
    fan_in, fan_out = torch.nn.init._calculate_fan_in_and_fan_out(torch.empty(width, size, *taps))
    return gain / np.sqrt({"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[mode])


def kolmogorov(draw, cdf):
    assert stats.kstest(np.asarray(draw, np.float64).ravel(), cdf).pvalue > 1e-3


@pytest.mark.parametrize("shape", [(7, 5), (3, 4, 6), (3, 5, 4, 6), (2, 3, 2, 4, 8)])
def test_fans_are_torchs_of_the_transposed_weight(shape):
    *taps, size, width = shape
    assert init.fans(shape) == torch.nn.init._calculate_fan_in_and_fan_out(torch.empty(width, size, *taps))


def test_fans_of_a_grouped_convolution():
    weight = torch.nn.Conv2d(8, 12, (3, 5), groups=4).weight
    assert init.fans((3, 5, 2, 12)) == torch.nn.init._calculate_fan_in_and_fan_out(weight)


def test_fans_refuse_vectors():
    with pytest.raises(ShapeError, match=r"at least two axes, \(\.\.\., in, out\), got \[5\]\n  fix: use normal"):
        init.glorot_uniform(KEY, (5,))


@pytest.mark.parametrize("shape", [(200, 300), (3, 3, 40, 90)])
@pytest.mark.parametrize("mode", [None, "fan_in", "fan_out", "fan_avg"])
@pytest.mark.parametrize(
    ("name", "usual_mode", "usual_gain"),
    [("glorot", "fan_avg", 1.0), ("kaiming", "fan_in", np.sqrt(2.0)), ("lecun", "fan_in", 1.0)],
)
def test_scaled_initialisers_follow_their_distribution(name, usual_mode, usual_gain, mode, shape):
    for kind in ("uniform", "normal"):
        initializer = getattr(init, f"{name}_{kind}")
        draw = initializer(KEY, shape) if mode is None else initializer(mode=mode, gain=1.7)(KEY, shape)
        std = scaled_std(shape, mode or usual_mode, usual_gain if mode is None else 1.7)
        assert (draw.shape, draw.dtype) == (shape, jnp.float32)
        if kind == "uniform":
            kolmogorov(draw, stats.uniform(-np.sqrt(3) * std, 2 * np.sqrt(3) * std).cdf)
        elif name == "lecun":
            unit = stats.truncnorm(-2, 2).std()
            kolmogorov(draw, stats.truncnorm(-2, 2, scale=std / unit).cdf)
        else:
            kolmogorov(draw, stats.norm(scale=std).cdf)
        # the error of a standard deviation from n draws is below std / sqrt(2 n); four of them
        np.testing.assert_allclose(np.std(draw), std, rtol=4 / np.sqrt(2 * draw.size))


def test_scaled_initialisers_agree_with_torchs_own():
    shape = (300, 200)
    ours = {"xavier_uniform": init.glorot_uniform, "xavier_normal": init.glorot_normal}
    ours |= {"kaiming_uniform": init.kaiming_uniform, "kaiming_normal": init.kaiming_normal}
    for name, initializer in ours.items():
        torch.manual_seed(0)
        theirs = getattr(torch.nn.init, name + "_")(torch.empty(*shape[::-1]))
        assert stats.ks_2samp(np.asarray(initializer(KEY, shape)).ravel(), theirs.numpy().ravel()).pvalue > 1e-3


def test_plain_distributions():
    kolmogorov(init.uniform(KEY, (40000,)), stats.uniform().cdf)
    kolmogorov(init.uniform(low=-3.0, high=1.0)(KEY, (40000,)), stats.uniform(-3, 4).cdf)
    kolmogorov(init.normal(KEY, (40000,)), stats.norm().cdf)
    kolmogorov(init.normal(mean=2.0, std=0.3)(KEY, (40000,)), stats.norm(2.0, 0.3).cdf)


@pytest.mark.parametrize(("lower", "upper"), [(-2.0, 2.0), (-1.0, 3.0), (0.5, 2.5), (-np.inf, 1.0), (2.0, np.inf)])
def test_truncated_normal_has_the_asked_moments(lower, upper):
    draw = np.asarray(init.truncated_normal(mean=5.0, std=0.2, lower=lower, upper=upper)(KEY, (200000,)), np.float64)
    parent = stats.truncnorm(lower, upper)
    kolmogorov((draw - 5.0) / 0.2 * parent.std() + parent.mean(), parent.cdf)
    np.testing.assert_allclose(draw.mean(), 5.0, atol=4 * 0.2 / np.sqrt(draw.size))
    spread = 4 * np.sqrt((float(parent.stats("k")) + 2) / 4 / draw.size)
    np.testing.assert_allclose(draw.std(), 0.2, rtol=spread)


@pytest.mark.parametrize("shape", [(6, 6), (12, 5), (5, 12), (3, 3, 4, 8), (2, 3, 20)])
@pytest.mark.parametrize("gain", [1.0, 2.5])
def test_orthogonal(shape, gain):
    w = np.asarray(init.orthogonal(gain=gain)(KEY, shape), np.float64).reshape(-1, shape[-1])
    gram = w.T @ w if w.shape[0] >= w.shape[1] else w @ w.T
    np.testing.assert_allclose(gram, gain**2 * np.eye(min(w.shape)), atol=1e-5 * gain**2)


def test_orthogonal_is_uniform_over_the_group():
    """The trace of a uniform orthogonal matrix has mean 0 and variance 1; a QR with its own signs has not."""
    keys = jax.random.split(KEY, 3000)
    traces = np.asarray(jax.vmap(lambda k: jnp.trace(init.orthogonal(k, (4, 4))))(keys))
    assert abs(traces.mean()) < 4 / np.sqrt(3000)
    assert abs(traces.var() - 1) < 0.15


def test_delta_orthogonal():
    w = np.asarray(init.delta_orthogonal(gain=2.0)(KEY, (3, 5, 4, 6)))
    centre = w[1, 2].astype(np.float64)
    np.testing.assert_allclose(centre @ centre.T, 4 * np.eye(4), atol=1e-5)
    assert np.count_nonzero(w) == np.count_nonzero(centre)
    with pytest.raises(ShapeError, match=r"delta_orthogonal expects in <= out in \(k.*, in, out\), got \[3, 6, 4\]"):
        init.delta_orthogonal(KEY, (3, 6, 4))


@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.33, 0.9, 1.0])
def test_sparse_zeros_are_torchs(sparsity):
    w = np.asarray(init.sparse(sparsity=sparsity, std=0.5)(KEY, (40, 50)))
    theirs = torch.nn.init.sparse_(torch.empty(50, 40), sparsity).numpy().T
    np.testing.assert_array_equal((w == 0).sum(1), (theirs == 0).sum(1))
    if sparsity == 0.33:
        kolmogorov(w[w != 0], stats.norm(scale=0.5).cdf)
        assert len({tuple(row) for row in w == 0}) > 35  # places differ from row to row
        columns = (w == 0).sum(0)  # no output is favoured
        assert stats.chisquare(columns).pvalue > 1e-3


def test_identity_returns_its_input():
    x = np.random.default_rng(0).normal(size=(2, 9, 7, 3)).astype("f")
    for taps in ((3, 3), (4, 2), (5, 1)):
        w = init.identity_init(gain=2.0)(KEY, (*taps, 3, 3))
        y = jax.lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        np.testing.assert_allclose(y, 2 * x, rtol=1e-6)


def test_identity_shifts():
    np.testing.assert_array_equal(init.identity_init(shift=1)(KEY, (3, 3)), np.roll(np.eye(3), 1, axis=1))
    np.testing.assert_array_equal(init.identity_init(shift=(1, 0))(KEY, (3, 3)), np.roll(np.eye(3), 1, axis=0))
    np.testing.assert_array_equal(init.identity_init(KEY, (2, 4)), np.eye(2, 4))
    with pytest.raises(ShapeError, match=r"as many as shift=\(1, 0\), got \[3, 2, 2\]"):
        init.identity_init(shift=(1, 0))(KEY, (3, 2, 2))


@pytest.mark.parametrize(
    ("shape", "groups"), [((3, 4, 4), 1), ((4, 3, 2, 6), 1), ((3, 3, 2, 8), 4), ((3, 2, 3, 5, 4), 2)]
)
def test_dirac_is_torchs(shape, groups):
    *taps, size, width = shape
    theirs = torch.nn.init.dirac_(torch.empty(width, size, *taps), groups).numpy()
    theirs = np.moveaxis(theirs, (0, 1), (-1, -2))
    np.testing.assert_array_equal(init.dirac(groups=groups)(KEY, shape), theirs)


def test_constants():
    np.testing.assert_array_equal(init.zeros(KEY, (2, 3)), np.zeros((2, 3)))
    np.testing.assert_array_equal(init.ones(KEY, (3,)), np.ones(3))
    np.testing.assert_array_equal(init.constant(0.25)(KEY, ()), 0.25)
    np.testing.assert_array_equal(init.eye(gain=3.0)(KEY, (2, 3)), 3 * np.eye(2, 3))


@pytest.mark.parametrize("name", ["linear", "sigmoid", "tanh", "relu", "leaky_relu", "selu"])
def test_gains_are_torchs(name):
    assert init.calculate_gain(name) == pytest.approx(torch.nn.init.calculate_gain(name), rel=1e-15)


def test_gain_of_a_slope_and_of_an_unknown_name():
    assert init.calculate_gain("leaky_relu", 0.2) == torch.nn.init.calculate_gain("leaky_relu", 0.2)
    with pytest.raises(RangeError, match=r"calculate_gain expects one of identity, .*got 'gelu'\n  fix: pass"):
        init.calculate_gain("gelu")


def a_shape(initializer):
    return (3, 4, 20) if initializer.label in ("dirac", "delta_orthogonal") else (4, 20)


@pytest.mark.parametrize("initializer", ALL, ids=repr)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_contract(initializer, dtype):
    """The dtype asked for, the same draw for the same key and under jit, keys under vmap; pickle, equality, repr."""
    shape = a_shape(initializer)
    draw = initializer(KEY, shape, dtype)
    assert (draw.shape, draw.dtype) == (shape, dtype)
    assert bool(jnp.all(jnp.isfinite(draw)))
    wide = jnp.float32
    compiled = jax.jit(lambda k: initializer(k, shape, dtype))(KEY)
    # the compiler may fuse a product and a sum, or factor in another order: rounding only
    np.testing.assert_allclose(draw.astype(wide), compiled.astype(wide), rtol=float(jnp.finfo(dtype).eps), atol=1e-6)
    rows = jax.vmap(lambda k: initializer(k, shape))(jax.random.split(KEY, 2))
    fixed = initializer.label in ("zeros", "ones", "constant", "eye", "identity_init", "dirac")
    assert bool(jnp.all(rows[0] == rows[1])) == fixed
    again = pickle.loads(pickle.dumps(initializer))
    assert (again, hash(again), repr(again)) == (initializer, hash(initializer), repr(initializer))
    assert eval(repr(initializer), vars(init)) == initializer
    assert initializer() == initializer


def test_float64_draws_have_its_resolution():
    with jax.enable_x64(True):
        draw = init.normal(KEY, (1000,), jnp.float64)
        assert draw.dtype == jnp.float64
        assert np.any(np.asarray(draw) != np.asarray(draw, np.float32))
        w = np.asarray(init.orthogonal(KEY, (8, 8), jnp.float64))
        np.testing.assert_allclose(w.T @ w, np.eye(8), atol=1e-14)


def test_complex_draws_have_unit_variance():
    draw = np.asarray(init.glorot_normal(KEY, (200, 200), jnp.complex64))
    np.testing.assert_allclose(np.mean(np.abs(draw) ** 2), 1 / 200, rtol=0.03)
    w = np.asarray(init.orthogonal(KEY, (5, 5), jnp.complex64))
    np.testing.assert_allclose(w.conj().T @ w, np.eye(5), atol=1e-5)
    with pytest.raises(DtypeError, match="uniform expects a real dtype, got complex64"):
        init.uniform(KEY, (2, 2), jnp.complex64)


def test_repr_shows_what_was_changed():
    assert repr(init.glorot_uniform) == "glorot_uniform"
    assert repr(init.kaiming_normal(gain=2.0, mode="fan_out")) == "kaiming_normal(gain=2.0, mode='fan_out')"
    assert init.kaiming_normal(gain=2.0) != init.kaiming_normal != init.kaiming_uniform


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: init.glorot_uniform(gian=2.0), r"glorot_uniform expects the keywords \['gain', 'mode'\], got 'gian'"),
        (lambda: init.zeros(value=1.0), r"zeros expects the keywords \[\], got 'value'\n  fix: pass nothing"),
        (lambda: init.glorot_uniform(gain=-1.0), "glorot_uniform expects gain >= 0, got gain=-1.0"),
        (lambda: init.glorot_uniform(mode="fan"), "got 'fan'"),
        (lambda: init.uniform(low=2.0), "uniform expects low <= high, got low=2.0, high=1.0\n  fix: exchange"),
        (lambda: init.normal(std=-1.0), "normal expects std >= 0, got std=-1.0"),
        (lambda: init.truncated_normal(lower=3.0), "lower <= 4 and upper >= -4, got lower=3.0, upper=2.0"),
        (lambda: init.sparse(sparsity=1.5), "sparse expects 0 <= sparsity <= 1, got sparsity=1.5"),
        (lambda: init.dirac(groups=0), "dirac expects groups >= 1, got groups=0"),
        (lambda: init.normal(KEY), "normal expects a key and a shape, or keywords alone, got a mixture"),
        (lambda: init.normal(KEY, (2,), std=2.0), r"fix: write normal\(field=value\)\(key, shape\)"),
        (lambda: init.normal(KEY, (2,), jnp.int32), "normal expects a floating dtype, got int32"),
        (lambda: init.normal(KEY, (-2,)), r"normal expects sizes of at least 0, got \[-2\]"),
        (lambda: init.orthogonal(KEY, (4,)), r"orthogonal expects a weight of shape \(\.\.\., in, out\), got \[4\]"),
        (lambda: init.sparse(KEY, (4, 4, 4)), r"sparse expects a matrix \(in, out\), got \[4, 4, 4\]"),
        (lambda: init.eye(KEY, (4,)), r"eye expects a matrix \(in, out\), got \[4\]"),
        (lambda: init.dirac(groups=3)(KEY, (3, 2, 4)), "dirac expects outputs divisible by groups=3"),
    ],
)
def test_refusals(call, text):
    with pytest.raises((RangeError, ShapeError, DtypeError), match=text):
        call()
