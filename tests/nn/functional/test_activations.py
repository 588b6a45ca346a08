"""Activations against PyTorch and closed forms: value, gradient, kinks, extremes, half precision, randomness."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from kit import against_torch, assert_close, compiled_as_users_do, oracle
from phlox.core._errors import DtypeError, RangeError, ShapeError
from phlox.nn.functional import _activations as smooth
from phlox.nn.functional import _gated as gated
from phlox.nn.functional import _rectifiers as pieces
from phlox.nn.functional import _softmax as soft

torch = oracle("torch")
F = torch.nn.functional
KEY = jax.random.key(3)

# ours, PyTorch's (or a closed form in torch), name
TABLE = {
    "identity": (smooth.identity, lambda x: x * 1),
    "sigmoid": (smooth.sigmoid, torch.sigmoid),
    "tanh": (smooth.tanh, torch.tanh),
    "gelu": (smooth.gelu, F.gelu),
    "gelu erf": (lambda x: smooth.gelu(x, "erf"), F.gelu),
    "gelu tanh": (lambda x: smooth.gelu(x, "tanh"), lambda x: F.gelu(x, approximate="tanh")),
    "gelu sigmoid": (lambda x: smooth.gelu(x, "sigmoid"), lambda x: x * torch.sigmoid(1.702 * x)),
    "silu": (smooth.silu, F.silu),
    "mish": (smooth.mish, F.mish),
    "softplus": (smooth.softplus, F.softplus),
    "softplus sharp": (lambda x: smooth.softplus(x, 3.0, 4.0), lambda x: F.softplus(x, 3.0, 4.0)),
    "softsign": (smooth.softsign, F.softsign),
    "log_sigmoid": (smooth.log_sigmoid, F.logsigmoid),
    "lisht": (smooth.lisht, lambda x: x * torch.tanh(x)),
    "tanhshrink": (smooth.tanhshrink, F.tanhshrink),
    "relu": (pieces.relu, F.relu),
    "relu6": (pieces.relu6, F.relu6),
    "leaky_relu": (pieces.leaky_relu, F.leaky_relu),
    "leaky_relu steep": (lambda x: pieces.leaky_relu(x, 0.3), lambda x: F.leaky_relu(x, 0.3)),
    "rrelu": (pieces.rrelu, F.rrelu),
    "rrelu wide": (lambda x: pieces.rrelu(x, 0.1, 0.9), lambda x: F.rrelu(x, 0.1, 0.9)),
    "elu": (pieces.elu, F.elu),
    "elu 1.7": (lambda x: pieces.elu(x, 1.7), lambda x: F.elu(x, 1.7)),
    "selu": (pieces.selu, F.selu),
    "celu": (pieces.celu, F.celu),
    # a power of two: PyTorch's backward pass holds 1 / alpha in float32, also for float64
    "celu 0.5": (lambda x: pieces.celu(x, 0.5), lambda x: F.celu(x, 0.5)),
    "trelu": (lambda x: pieces.trelu(x, 0.5), lambda x: F.threshold(x, 0.5, 0.0)),
    "threshold": (lambda x: pieces.threshold(x, 0.5, -7.0), lambda x: F.threshold(x, 0.5, -7.0)),
    "hardtanh": (pieces.hardtanh, F.hardtanh),
    "hardtanh -2 0.5": (lambda x: pieces.hardtanh(x, -2.0, 0.5), lambda x: F.hardtanh(x, -2.0, 0.5)),
    # PyTorch's own holds 1 / 6 in float32 in its backward pass; the definition does not
    "hardsigmoid": (pieces.hardsigmoid, lambda x: F.relu6(x + 3) / 6 if x.dtype == torch.float64 else F.hardsigmoid(x)),
    "hardswish": (pieces.hardswish, F.hardswish),
    "hardshrink": (pieces.hardshrink, F.hardshrink),
    "hardshrink 2": (lambda x: pieces.hardshrink(x, 2.0), lambda x: F.hardshrink(x, 2.0)),
    "softshrink": (pieces.softshrink, F.softshrink),
    "softshrink 2": (lambda x: pieces.softshrink(x, 2.0), lambda x: F.softshrink(x, 2.0)),
}
KINKS = [-7.0, -6.0, -3.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0, 6.0, 7.0]
GRID = np.concatenate([np.linspace(-9, 9, 181) + 0.013, np.linspace(-60, 60, 40) + 0.01])
PUBLIC = [getattr(m, name) for m in (smooth, pieces, soft, gated) for name in m.__all__]
EVERYWHERE = {**{k: v[0] for k, v in TABLE.items()}, "logcosh": smooth.logcosh}


@pytest.mark.parametrize("name", TABLE)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_against_torch(name, dtype):
    with jax.enable_x64(dtype == "float64"):
        against_torch(*TABLE[name], GRID.reshape(17, 13).astype(dtype))


@pytest.mark.parametrize("name", TABLE)
def test_gradients_at_the_kinks_are_torchs(name):
    against_torch(*TABLE[name], np.array(KINKS, "f"))


@pytest.fixture
def _as_users_compile():
    """The passes that the tests leave out cost digits of second derivatives."""
    with compiled_as_users_do():
        yield


@pytest.mark.usefixtures("_as_users_compile")
@pytest.mark.parametrize("name", EVERYWHERE)
@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16"])
def test_finite_from_zero_to_the_largest_float(name, dtype):
    """Values, gradients and second derivatives are finite, and jit changes none of them beyond rounding."""
    act = EVERYWHERE[name]
    with jax.enable_x64(dtype == "float64"):
        top = float(jnp.finfo(dtype).max) / 8  # 6 * x and |x| + log 2 still fit
        tiny = float(jnp.finfo(dtype).tiny)
        sizes = [0.0, tiny, 1e-3, 1.0, 19.9, 20.1, 88.0, 100.0, 1000.0, top**0.34, top**0.5, top]
        x = jnp.array([s * size for size in sizes for s in (1, -1)], dtype)
        for f in (act, jax.vmap(jax.grad(act)), jax.vmap(jax.grad(jax.grad(act)))):
            y = f(x)
            assert y.dtype == x.dtype
            assert bool(jnp.all(jnp.isfinite(y))), y
            wide = jnp.promote_types(dtype, jnp.float32)
            np.testing.assert_allclose(
                jax.jit(f)(x).astype(wide), y.astype(wide), rtol=4 * float(jnp.finfo(dtype).eps), atol=1e-6
            )


@pytest.mark.parametrize("name", EVERYWHERE)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_the_wide_result_rounded(name, dtype):
    x = jnp.asarray(GRID, dtype)
    want = EVERYWHERE[name](x.astype(jnp.float32))
    np.testing.assert_array_equal(EVERYWHERE[name](x).astype(jnp.float32), want.astype(dtype).astype(jnp.float32))


@pytest.mark.parametrize("name", EVERYWHERE)
def test_nan_goes_through(name):
    assert bool(jnp.isnan(EVERYWHERE[name](jnp.nan)))


@pytest.mark.parametrize("name", sorted({name.split()[0] for name in EVERYWHERE} - {"identity"}))
def test_integers_become_floats_and_complex_is_refused(name):
    act = EVERYWHERE[name]
    assert_close(act(jnp.array([-2, 0, 3])), np.asarray(act(jnp.array([-2.0, 0.0, 3.0]))))
    if name in ("sigmoid", "tanh"):
        z = jnp.array([0.3 - 0.4j])
        want = {"sigmoid": lambda z: 1 / (1 + np.exp(-z)), "tanh": np.tanh}[name](np.asarray(z))
        assert_close(act(z), want)
    else:
        with pytest.raises(DtypeError, match=rf"{name} expects a real array, got complex64\[1\]\n  fix: apply"):
            act(jnp.array([1.0 + 1.0j]))


@pytest.mark.parametrize("act", PUBLIC, ids=lambda f: f.__name__)
def test_public_functions_pickle_as_themselves(act):
    assert pickle.loads(pickle.dumps(act)) is act
    assert act.__doc__


def test_aliases():
    assert smooth.swish is smooth.silu
    assert smooth.logsigmoid is smooth.log_sigmoid


def test_gelu_is_the_normal_distribution_times_x():
    x = np.linspace(-6, 6, 101)
    with jax.enable_x64(True):
        assert_close(smooth.gelu(jnp.asarray(x)), x * special.ndtr(x))
    with pytest.raises(RangeError, match='gelu expects approximate "none", "tanh" or "sigmoid", got \'yes\'\n  fix'):
        smooth.gelu(1.0, "yes")


def test_logcosh_keeps_its_digits():
    x = np.concatenate([np.geomspace(1e-6, 0.99, 30), np.geomspace(1.0, 300, 30)])
    with jax.enable_x64(True):
        want = np.log1p(2 * np.sinh(x / 2) ** 2)
        np.testing.assert_allclose(smooth.logcosh(jnp.asarray(x)), want, rtol=1e-12)
        np.testing.assert_allclose(jax.vmap(jax.grad(smooth.logcosh))(jnp.asarray(-x)), -np.tanh(x), rtol=1e-12)
        curvature = jax.vmap(jax.grad(jax.grad(smooth.logcosh)))(jnp.array([0.0, 0.5, 2.0]))
        np.testing.assert_allclose(curvature, 1 / np.cosh([0.0, 0.5, 2.0]) ** 2, rtol=1e-12)


def test_prelu_against_torch():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, 6, 5)).astype("f")
    slope = rng.normal(size=5).astype("f")
    against_torch(pieces.prelu, lambda x, w: F.prelu(x.movedim(-1, 1), w).movedim(1, -1), x, slope)
    against_torch(pieces.prelu, F.prelu, x, np.array([0.3], "f"))
    assert pieces.prelu(jnp.ones((2, 3), jnp.bfloat16), jnp.ones(3)).dtype == jnp.bfloat16
    with pytest.raises(ShapeError, match=r"prelu expects a slope of shape \(\) or \(5,\), got float32\[4\]\n  fix"):
        pieces.prelu(x, np.ones(4, "f"))


def test_rrelu_draws_uniform_slopes():
    x = -jnp.ones(40000)
    slopes = -pieces.rrelu(x, 0.2, 0.7, key=KEY)
    assert stats.kstest(np.asarray(slopes), stats.uniform(0.2, 0.5).cdf).pvalue > 1e-3
    both = pieces.rrelu(jnp.array([2.0, -1.0, 0.0]), key=KEY)
    assert both[0] == 2.0
    assert both[2] == 0.0
    grads = jax.grad(lambda x: pieces.rrelu(x, 0.2, 0.7, key=KEY).sum())(x)
    assert_close(grads, np.asarray(slopes), kind="grad")
    with pytest.raises(RangeError, match=r"rrelu expects lower <= upper, got lower=0.5, upper=0.1\n  fix: exchange"):
        pieces.rrelu(x, 0.5, 0.1)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: pieces.celu(1.0, 0.0), "celu expects alpha > 0, got alpha=0.0\n  fix: choose alpha inside the range"),
        (lambda: smooth.softplus(1.0, -1.0), "softplus expects beta > 0, got beta=-1.0"),
        (lambda: pieces.hardshrink(1.0, -1.0), "hardshrink expects lambd >= 0, got lambd=-1.0"),
        (lambda: pieces.softshrink(1.0, -1.0), "softshrink expects lambd >= 0, got lambd=-1.0"),
        (lambda: pieces.hardtanh(1.0, 2.0, 1.0), "hardtanh expects min_val <= max_val, got min_val=2.0, max_val=1.0"),
        (lambda: soft.gumbel_softmax(KEY, jnp.ones(2), 0.0), "gumbel_softmax expects tau > 0, got tau=0.0"),
        (lambda: gated.maxout(jnp.ones(4), 0), "maxout expects pieces >= 1, got pieces=0"),
    ],
)
def test_ranges(call, text):
    with pytest.raises(RangeError, match=text):
        call()


# --- softmax ------------------------------------------------------------------------------------

SOFT = {
    "softmax": (soft.softmax, F.softmax),
    "softmin": (soft.softmin, F.softmin),
    "log_softmax": (soft.log_softmax, F.log_softmax),
    "logsumexp": (soft.logsumexp, torch.logsumexp),
}
X = np.random.default_rng(1).normal(size=(3, 4, 5)).astype("f") * 3


@pytest.mark.parametrize("name", SOFT)
@pytest.mark.parametrize("axis", [-1, 0, 1])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_softmax_against_torch(name, axis, dtype):
    ours, theirs = SOFT[name]
    with jax.enable_x64(dtype == "float64"):
        for shift in (0.0, 1e4):
            # far from 0 float32 itself resolves 1e-3, so only float64 is compared there
            if shift == 0.0 or dtype == "float64":
                against_torch(lambda x: ours(x, axis), lambda x: theirs(x, dim=axis), X.astype(dtype) + shift)


@pytest.mark.parametrize("name", SOFT)
@pytest.mark.parametrize("axis", [-1, 1])
def test_masked_softmax_is_torchs_with_minus_infinity(name, axis):
    ours, theirs = SOFT[name]
    keep = np.random.default_rng(2).random(X.shape) < 0.6
    keep[:, 0, 0] = keep[0, :, :] = True
    keep[..., 2] = True
    sign = -1 if name == "softmin" else 1
    fill = lambda x: x.masked_fill(~torch.tensor(keep), -sign * torch.inf)  # noqa: E731

    def finite(y, where):
        """The masked entries of log_softmax are minus infinity: compared apart, since inf * w is no gradient."""
        return where(keep, y, 0.0) if name == "log_softmax" else y

    against_torch(
        lambda x: finite(ours(x, axis, where=jnp.asarray(keep)), jnp.where),
        lambda x: finite(theirs(fill(x), dim=axis), lambda k, y, z: torch.where(torch.tensor(k), y, z)),
        X,
    )
    if name == "log_softmax":
        assert bool(jnp.all(jnp.isneginf(ours(X, axis, where=keep)[~keep])))


@pytest.mark.parametrize("name", SOFT)
def test_a_mask_that_leaves_nothing(name):
    """Probabilities are 0, logarithms minus infinity, and no gradient is NaN."""
    ours = SOFT[name][0]
    x, keep = jnp.ones((2, 3)), jnp.array([[False] * 3, [True, True, False]])
    y = ours(x, where=keep)
    assert bool(jnp.all(y[0] == (0.0 if name in ("softmax", "softmin") else -jnp.inf)))
    grads = jax.grad(lambda x: jnp.sum(jnp.where(jnp.isfinite(y), ours(x, where=keep), 0.0)))(x)
    assert bool(jnp.all(jnp.isfinite(grads)))
    assert bool(jnp.all(grads[0] == 0.0))


@pytest.mark.parametrize("name", SOFT)
def test_what_is_masked_does_not_matter(name):
    ours, keep = SOFT[name][0], jnp.array([True, False, True, True])
    for poison in (jnp.nan, jnp.inf, -jnp.inf, 1e30):
        x = jnp.array([1.0, poison, 2.0, 3.0])
        y, clean = ours(x, where=keep), ours(x[keep])
        assert_close(y if y.ndim == 0 else y[keep], np.asarray(clean))
        grads = jax.grad(lambda x: jnp.sum(jnp.where(keep, ours(x, where=keep), 0.0) ** 2))(x)
        want = jax.grad(lambda x: jnp.sum(ours(x) ** 2) * (4 if ours(x).ndim == 0 else 1))(x[keep])
        # the sum over `keep` above counts a scalar answer three times, and the mask adds a zero
        assert_close(grads[keep], np.asarray(want) * (0.75 if y.ndim == 0 else 1.0), kind="grad")
        assert grads[1] == 0.0


def test_softmax_over_several_axes_and_broadcast_masks():
    flat = soft.softmax(X.reshape(3, 20)).reshape(3, 4, 5)
    assert_close(soft.softmax(X, (1, 2)), np.asarray(flat))
    assert_close(soft.logsumexp(X, (0, -1)), special.logsumexp(X.astype("d"), (0, 2)))
    assert_close(soft.logsumexp(X, (0, -1), keepdims=True), special.logsumexp(X.astype("d"), (0, 2), keepdims=True))
    keep = np.array([True, False, True, True, False])
    assert_close(soft.softmax(X, where=keep)[..., keep], special.softmax(X[..., keep].astype("d"), -1))
    y = soft.logsumexp(X, (1, 2), keepdims=True, where=keep)
    assert_close(y, special.logsumexp(X[..., keep].astype("d"), (1, 2), keepdims=True))


@pytest.mark.parametrize("name", SOFT)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_softmax_sums_in_float32(name, dtype):
    """4,000 small terms: a running sum in half precision would stop at 256 or 2048."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4000)) / 10, dtype)
    ours = SOFT[name][0]
    for keep in (None, jnp.ones(4000, bool)):
        y = ours(x, where=keep)
        assert y.dtype == dtype
        wide = np.asarray(ours(x.astype(jnp.float32), where=keep))
        np.testing.assert_allclose(y.astype(jnp.float32), wide, rtol=float(jnp.finfo(dtype).eps), atol=6e-8)


def test_softmax_refusals():
    with pytest.raises(DtypeError, match=r"softmax expects a boolean mask, got int32\[3\]\n  fix: pass where=mask"):
        soft.softmax(jnp.ones(3), where=jnp.ones(3, jnp.int32))
    for shape in ((2,), (4, 3)):
        with pytest.raises(ShapeError, match=r"log_softmax expects a mask that broadcasts to \[3\], got bool"):
            soft.log_softmax(jnp.ones(3), where=jnp.ones(shape, bool))
    with pytest.raises(ShapeError, match=r"logsumexp expects an array that has axis 2, got float32\[3\]\n  fix"):
        soft.logsumexp(jnp.ones(3), 2)
    with pytest.raises(ShapeError, match=r"softmax expects axes that differ, got axis=\(0, -1\)"):
        soft.softmax(jnp.ones(3), (0, -1))


def test_gumbel_softmax_samples_the_softmax():
    logits, draws = np.array([0.5, -1.0, 2.0, 0.0]), 20000
    for tau in (0.3, 2.0):
        many = jnp.broadcast_to(jnp.asarray(logits, jnp.float32), (draws, 4))
        y = soft.gumbel_softmax(KEY, many, tau)
        np.testing.assert_allclose(y.sum(-1), 1.0, rtol=1e-5)
        counts = np.bincount(np.asarray(y.argmax(-1)), minlength=4)
        assert stats.chisquare(counts, special.softmax(logits) * draws).pvalue > 1e-3
    assert float(soft.gumbel_softmax(KEY, jnp.zeros((500, 4)), 0.05).max(-1).mean()) > 0.95


def test_gumbel_softmax_hard_is_straight_through():
    x = jnp.asarray(X)
    for axis in (-1, 1):
        hard = soft.gumbel_softmax(KEY, x, 0.7, hard=True, axis=axis)
        relaxed = soft.gumbel_softmax(KEY, x, 0.7, axis=axis)
        want = np.zeros_like(X)
        np.put_along_axis(want, np.expand_dims(np.asarray(relaxed.argmax(axis)), axis), 1.0, axis)
        assert_close(hard, want)
        grads = [
            jax.grad(lambda x, h=h, axis=axis: jnp.sum(soft.gumbel_softmax(KEY, x, 0.7, hard=h, axis=axis) * X))(x)
            for h in (True, False)
        ]
        assert_close(grads[0], np.asarray(grads[1]), kind="grad")
        assert float(jnp.abs(grads[0]).max()) > 0.1


# --- gated units --------------------------------------------------------------------------------


def in_halves(act):
    def unit(x, axis=-1):
        a, b = x.chunk(2, axis)
        return a * act(b)

    return unit


GATED = {
    "glu": (gated.glu, F.glu),
    "reglu": (gated.reglu, in_halves(F.relu)),
    "geglu": (gated.geglu, in_halves(F.gelu)),
    "swiglu": (gated.swiglu, in_halves(F.silu)),
}


@pytest.mark.parametrize("name", GATED)
def test_gated_units_against_torch(name):
    ours, theirs = GATED[name]
    against_torch(ours, theirs, np.random.default_rng(0).normal(size=(3, 5, 8)).astype("f"))
    against_torch(lambda x: ours(x, 1), lambda x: theirs(x, 1), X)
    assert ours(jnp.ones(4, jnp.bfloat16)).dtype == jnp.bfloat16
    text = rf"{name} expects an even number of features along axis 1, got float32\[2, 5\]\n  fix: double"
    with pytest.raises(ShapeError, match=text):
        ours(jnp.ones((2, 5)))


def test_geglu_takes_the_form_of_gelu():
    theirs = in_halves(lambda b: F.gelu(b, approximate="tanh"))
    against_torch(lambda x: gated.geglu(x, 1, "tanh"), lambda x: theirs(x, 1), X)


def test_maxout_against_torch():
    x = np.random.default_rng(0).normal(size=(3, 12, 2)).astype("f")
    against_torch(lambda x: gated.maxout(x, 3, 1), lambda x: x.unflatten(1, (4, 3)).amax(2), x)
    assert gated.maxout(jnp.ones(4, jnp.float16), 2).dtype == jnp.float16
    text = r"maxout expects axis 0 divisible into groups of 3, got float32\[4\]\n  fix: choose pieces that divide 4"
    with pytest.raises(ShapeError, match=text):
        gated.maxout(jnp.ones(4), 3)
