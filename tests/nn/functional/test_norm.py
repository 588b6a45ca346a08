"""Normalisation against PyTorch, with hard cases: large means, half precision, mapped axes, one value."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kit import against_torch, assert_close, oracle, to_numpy
from phlox.core._errors import DtypeError, RangeError, ShapeError
from phlox.nn.functional import _norm as norm
from phlox.nn.functional import _rescale as rescale
from phlox.nn.functional.kernels._kernels import reference_forms

torch = oracle("torch")
F = torch.nn.functional
RNG = np.random.default_rng(0)
SHAPES = [(8, 6), (4, 9, 6), (3, 5, 4, 6), (2, 3, 4, 3, 6)]


def normal(*shape, dtype="f"):
    return RNG.normal(size=shape).astype(dtype)


def first(x):
    """Channels to PyTorch's place."""
    return x.movedim(-1, 1)


def last(x):
    return x.movedim(1, -1)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_batch_norm_train_against_torch(shape, dtype):
    with jax.enable_x64(dtype == "float64"):
        x, scale, bias = normal(*shape, dtype=dtype), normal(6, dtype=dtype), normal(6, dtype=dtype)
        against_torch(
            lambda *a: norm.batch_norm_train(*a)[0],
            lambda x, s, b: last(F.batch_norm(first(x), None, None, s, b, True, 0.1, 1e-5)),
            x, scale, bias,
        )  # fmt: skip
        against_torch(
            lambda x: norm.batch_norm_train(x, eps=0.3)[0],
            lambda x: last(F.batch_norm(first(x), None, None, training=True, eps=0.3)),
            x,
        )
        # a momentum of 1 leaves PyTorch's running statistics at those of the batch
        mean, var = torch.zeros(6, dtype=getattr(torch, dtype)), torch.ones(6, dtype=getattr(torch, dtype))
        F.batch_norm(first(torch.tensor(x)), mean, var, training=True, momentum=1.0)
        _, our_mean, our_var = norm.batch_norm_train(x)
        assert_close(our_mean, to_numpy(mean))
        assert_close(our_var, to_numpy(var))


@pytest.mark.parametrize("shape", SHAPES)
def test_batch_norm_against_torch(shape):
    mean, var, scale, bias = normal(6), RNG.uniform(0.1, 3, 6).astype("f"), normal(6), normal(6)
    against_torch(
        norm.batch_norm,
        lambda x, m, v, s, b: last((first(x) - col(m, x)) / torch.sqrt(col(v, x) + 1e-5) * col(s, x) + col(b, x)),
        normal(*shape), mean, var, scale, bias,
    )  # fmt: skip
    with torch.no_grad():
        x = normal(*shape)
        theirs = F.batch_norm(first(torch.tensor(x)), torch.tensor(mean), torch.tensor(var), eps=0.2)
    assert_close(norm.batch_norm(x, mean, var, eps=0.2), to_numpy(last(theirs)))


def col(v, x):
    return v.reshape(1, -1, *[1] * (x.ndim - 2))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("shape", "size"), [((4, 6), 6), ((2, 3, 6), (6,)), ((5, 3, 4), (3, 4)), ((7,), 7)])
def test_layer_and_rms_norm_against_torch(shape, size, dtype):
    trailing = (size,) if isinstance(size, int) else size
    with jax.enable_x64(dtype == "float64"):
        x, scale, bias = normal(*shape, dtype=dtype), normal(*trailing, dtype=dtype), normal(*trailing, dtype=dtype)
        against_torch(
            lambda x, s, b: norm.layer_norm(x, size, s, b),
            lambda x, s, b: F.layer_norm(x, trailing, s, b),
            x,
            scale,
            bias,
        )
        against_torch(lambda x: norm.layer_norm(x, size, eps=0.1), lambda x: F.layer_norm(x, trailing, eps=0.1), x)
        against_torch(lambda x, s: norm.rms_norm(x, size, s), lambda x, s: F.rms_norm(x, trailing, s, 1e-6), x, scale)
        against_torch(lambda x: norm.rms_norm(x, size, eps=0.1), lambda x: F.rms_norm(x, trailing, eps=0.1), x)


@pytest.mark.parametrize(("shape", "groups"), [(s, g) for s in SHAPES for g in (1, 2, 6) if len(s) > 2 or g < 6])
def test_group_norm_against_torch(shape, groups):
    against_torch(
        lambda x, s, b: norm.group_norm(x, groups, s, b),
        lambda x, s, b: last(F.group_norm(first(x), groups, s, b)),
        normal(*shape), normal(6), normal(6),
    )  # fmt: skip
    against_torch(
        lambda x: norm.group_norm(x, groups, eps=0.1),
        lambda x: last(F.group_norm(first(x), groups, eps=0.1)),
        normal(*shape),
    )


def test_a_group_of_one_value_gives_the_bias_exactly():
    """PyTorch leaves rounding there, divided by sqrt(eps)."""
    bias = normal(6)
    np.testing.assert_array_equal(norm.group_norm(normal(8, 6), 6, normal(6), bias), np.broadcast_to(bias, (8, 6)))


@pytest.mark.parametrize("shape", SHAPES[1:])
def test_instance_norm_against_torch(shape):
    x = normal(*shape)
    theirs = lambda x, s, b: last(F.instance_norm(first(x), weight=s, bias=b))  # noqa: E731
    against_torch(norm.instance_norm, theirs, x, normal(6), normal(6))
    against_torch(lambda *a: norm.instance_norm_train(*a)[0], theirs, x, normal(6), normal(6))
    mean, var = torch.zeros(6), torch.ones(6)
    F.instance_norm(first(torch.tensor(x)), mean, var, momentum=1.0)
    _, our_mean, our_var = norm.instance_norm_train(x)
    assert_close(our_mean, to_numpy(mean))
    assert_close(our_var, to_numpy(var))


NORMS = {
    "batch_norm_train": lambda x: norm.batch_norm_train(x, eps=0.0)[0],
    "layer_norm": lambda x: norm.layer_norm(x, 64, eps=0.0),
    "group_norm": lambda x: norm.group_norm(x, 4, eps=0.0),
    "instance_norm": lambda x: norm.instance_norm(x, eps=0.0),
}
AXES = {"batch_norm_train": (0, 1), "layer_norm": (2,), "group_norm": None, "instance_norm": (1,)}


@pytest.mark.parametrize("name", NORMS)
def test_a_mean_of_10000_costs_no_digits(name):
    """Mean 1e4, spread 1: the square of the mean alone would use up float32."""
    x = (1e4 + np.random.default_rng(1).normal(size=(64, 200, 64))).astype("f")
    exact = x.astype("d")
    if name == "group_norm":
        exact = exact.reshape(64, 200, 4, 16)
        want = (exact - exact.mean((1, 3), keepdims=True)) / exact.std((1, 3), keepdims=True)
        want = want.reshape(x.shape)
    else:
        want = (exact - exact.mean(AXES[name], keepdims=True)) / exact.std(AXES[name], keepdims=True)
    for f in (NORMS[name], jax.jit(NORMS[name])):
        assert_close(f(jnp.asarray(x)), want)


def test_batch_statistics_of_a_large_mean():
    x = (1e4 + np.random.default_rng(1).normal(size=(200000, 2))).astype("f")
    _, mean, var = jax.jit(norm.batch_norm_train)(x)
    assert_close(mean, x.astype("d").mean(0))
    assert_close(var, x.astype("d").var(0, ddof=1))


@pytest.mark.parametrize("name", [*NORMS, "rms_norm"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_takes_statistics_in_float32(name, dtype):
    """Value and gradient are those of float32, rounded once; float32 parameters do not widen the answer."""
    scale = jnp.asarray(normal(64))
    f = {
        "batch_norm_train": lambda x: norm.batch_norm_train(x, scale)[0],
        "layer_norm": lambda x: norm.layer_norm(x, 64, scale),
        "group_norm": lambda x: norm.group_norm(x, 4, scale),
        "instance_norm": lambda x: norm.instance_norm(x, scale),
        "rms_norm": lambda x: norm.rms_norm(x, 64, scale),
    }[name]
    x = jnp.asarray(np.random.default_rng(1).normal(size=(4, 500, 64)) * 200, dtype)  # squares overflow float16
    with reference_forms():  # a kernel, for float32 alone, rounds its own way
        y, want = f(x), f(x.astype(jnp.float32))
    assert y.dtype == dtype
    np.testing.assert_array_equal(y.astype(jnp.float32), want.astype(dtype).astype(jnp.float32))
    w = jnp.asarray(normal(4, 500, 64), dtype)
    loss = lambda x: jnp.sum(f(x).astype(jnp.float32) * w.astype(jnp.float32))  # noqa: E731
    got, want = jax.grad(loss)(x), jax.grad(loss)(x.astype(jnp.float32))
    assert got.dtype == dtype
    assert_close(got, np.asarray(want), kind="grad")


def test_running_statistics_of_half_precision_are_float32():
    _, mean, var = norm.batch_norm_train(jnp.ones((4, 3), jnp.bfloat16))
    assert mean.dtype == var.dtype == jnp.float32


@pytest.mark.parametrize("name", [*NORMS, "rms_norm"])
def test_a_constant_input_has_finite_gradients(name):
    f = {
        "batch_norm_train": lambda x: norm.batch_norm_train(x)[0],
        "layer_norm": lambda x: norm.layer_norm(x, 8),
        "group_norm": lambda x: norm.group_norm(x, 4),
        "instance_norm": norm.instance_norm,
        "rms_norm": lambda x: norm.rms_norm(x, 8),
    }[name]
    for value in (0.0, 3.7, 1e4):
        x = jnp.full((4, 5, 8), value)
        y, grads = f(x), jax.grad(lambda x: jnp.sum(f(x) ** 3))(x)
        assert bool(jnp.all(jnp.isfinite(grads)))
        if name != "rms_norm":
            assert_close(y, np.zeros(x.shape))


def test_statistics_over_a_mapped_axis_are_those_of_the_whole_batch():
    x, w = normal(4, 3, 5, 6), normal(4, 3, 5, 6)
    whole = lambda x: norm.batch_norm_train(x.reshape(12, 5, 6))  # noqa: E731
    parts = jax.vmap(lambda x: norm.batch_norm_train(x, axis_name="parts"), axis_name="parts")
    want, got = whole(x), parts(x)
    assert_close(got[0].reshape(12, 5, 6), np.asarray(want[0]))
    for ours, theirs in zip(got[1:], want[1:], strict=True):
        assert_close(ours, np.broadcast_to(theirs, (4, 6)))
    grads = [jax.grad(lambda x, f=f: jnp.sum(f(x)[0].reshape(x.shape) * w))(x) for f in (parts, whole)]
    assert_close(grads[0], np.asarray(grads[1]), kind="grad")
    one_each = jax.vmap(lambda x: norm.batch_norm_train(x[None], axis_name="parts")[1], axis_name="parts")
    assert_close(one_each(x[:, 0, 0]), np.broadcast_to(x[:, 0, 0].mean(0), (4, 6)))


@pytest.mark.parametrize("shape", [(3, 7), (2, 5, 6)])
def test_moments_against_numpy(shape):
    x = normal(*shape)
    for axis in (0, -1, (0, 1)):
        mean, var = norm.moments(x, axis)
        assert_close(mean, x.astype("d").mean(axis))
        assert_close(var, x.astype("d").var(axis))
    assert norm.moments(x, 0, keepdims=True)[0].shape == (1, *shape[1:])
    assert norm.moments(x.astype(np.float16), 0)[1].dtype == jnp.float32


def test_jit_and_vmap_agree_with_eager():
    x, scale = normal(3, 4, 5, 6), normal(6)
    for f in (
        lambda x: norm.batch_norm_train(x, scale),
        lambda x: norm.layer_norm(x, (5, 6)),
        lambda x: norm.group_norm(x, 3, scale),
        lambda x: norm.instance_norm_train(x, scale),
        lambda x: norm.rms_norm(x, 6, scale),
    ):
        eager = [f(row) for row in x]
        for i, row in enumerate(zip(*[jax.tree.leaves(e) for e in eager], strict=True)):
            assert_close(jax.tree.leaves(jax.jit(jax.vmap(f))(x))[i], np.stack(row))


# --- rescaling ----------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [1.0, 1.5, 2.0, 3.0, np.inf])
@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_normalize_against_torch(p, axis):
    against_torch(lambda x: rescale.normalize(x, p, axis), lambda x: F.normalize(x, p, axis), normal(3, 4, 5))


def test_normalize_at_zero_and_at_the_extremes():
    with jax.enable_x64(True):
        zero = np.zeros((2, 3))
        for p in (1.0, 1.5, 2.0, 3.0):
            against_torch(lambda x, p=p: rescale.normalize(x, p), lambda x, p=p: F.normalize(x, p), zero)
    for size in (1e30, 1e-30):  # squares leave float32 at both ends
        y = rescale.normalize(jnp.array([3.0, 4.0]) * size, eps=0.0)
        assert_close(y, np.array([0.6, 0.8]))
    x = normal(2, 3, 4)
    assert_close(rescale.normalize(x, axis=(1, 2)), x / np.sqrt((x.astype("d") ** 2).sum((1, 2), keepdims=True)))
    half = rescale.normalize(jnp.full(9000, 3.0, jnp.float16))  # the sum of squares is 81,000, beyond float16
    assert_close(half, np.full(9000, 1 / np.sqrt(9000.0)))


@pytest.mark.parametrize("shape", [(3, 7), (2, 4, 7), (2, 3, 4, 7)])
@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_local_response_norm_against_torch(shape, size):
    x = normal(*shape)
    # PyTorch asks for a space axis
    theirs = lambda x, **k: last(F.local_response_norm(first(x), size, **k))  # noqa: E731
    if len(shape) == 2:
        theirs = lambda x, **k: F.local_response_norm(x[..., None], size, **k)[..., 0]  # noqa: E731
    options = {"alpha": 0.5, "beta": 0.6, "k": 2.0}
    against_torch(lambda x: rescale.local_response_norm(x, size), theirs, x)
    against_torch(lambda x: rescale.local_response_norm(x, size, **options), lambda x: theirs(x, **options), x)


@pytest.mark.parametrize("shape", [(4, 5), (3, 4, 5), (3, 2, 4, 5)])
def test_weight_norm_against_torch(shape):
    def theirs(v, g):
        return torch._weight_norm(v.movedim(-1, 0), g.reshape(-1, *[1] * (v.ndim - 1)), 0).movedim(0, -1)

    against_torch(rescale.weight_norm, theirs, normal(*shape), normal(5))
    against_torch(
        lambda v, g: rescale.weight_norm(v, g, axis=0),
        lambda v, g: torch._weight_norm(v, g.reshape(-1, *[1] * (v.ndim - 1)), 0),
        normal(*shape), normal(shape[0]),
    )  # fmt: skip


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_spectral_norm_against_torch(steps):
    torch.manual_seed(0)
    layer = torch.nn.Conv2d(3, 5, (2, 4))
    torch.nn.utils.parametrizations.spectral_norm(layer, n_power_iterations=max(steps, 1))
    inner = layer.parametrizations.weight[0]
    u, v = to_numpy(inner._u).copy(), to_numpy(inner._v).copy()
    layer.train(steps > 0)
    weight = layer.parametrizations.weight.original
    want = layer.weight
    # (out, in, h, w) to (h, w, in, out); v runs over (in, h, w) there and over (h, w, in) here
    ours = to_numpy(weight).transpose(2, 3, 1, 0)
    order = np.arange(24).reshape(3, 2, 4).transpose(1, 2, 0).ravel()
    w, new_u, new_v = rescale.spectral_norm(ours, u, v[order], steps=steps)
    assert_close(w, to_numpy(want).transpose(2, 3, 1, 0))
    assert_close(new_u, to_numpy(inner._u))
    assert_close(new_v, to_numpy(inner._v)[order])
    g = normal(*w.shape)
    (want * torch.tensor(g.transpose(3, 2, 0, 1))).sum().backward()
    grads = jax.grad(lambda w: jnp.sum(rescale.spectral_norm(w, u, v[order], steps=steps)[0] * g))(jnp.asarray(ours))
    assert_close(grads, to_numpy(weight.grad).transpose(2, 3, 1, 0), kind="grad")


def test_spectral_norm_finds_the_largest_singular_value():
    weight = normal(6, 4)
    w, _, _ = rescale.spectral_norm(weight, np.ones(4, "f"), np.ones(6, "f"), steps=200)
    assert_close(jnp.linalg.svd(w, compute_uv=False)[0], np.array(1.0))


def test_integers_become_floats():
    assert_close(norm.layer_norm(jnp.array([[1, 3]]), 2, eps=0.0), np.array([[-1.0, 1.0]]))


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: norm.batch_norm_train(jnp.ones(3)), ShapeError,
         r"batch_norm_train expects an input of shape \(batch, \.\.\., channels\), got float32\[3\]\n  fix: add the"),
        (lambda: norm.batch_norm_train(jnp.ones((1, 3))), ShapeError,
         r"batch_norm_train expects more than one value per channel, got float32\[1, 3\]\n  fix: train on more"),
        (lambda: norm.batch_norm_train(jnp.ones((2, 3)), jnp.ones(2)), ShapeError,
         r"batch_norm_train expects scale of shape \(3,\), got float32\[2\]\n  fix: pass one value of scale for each"),
        (lambda: norm.batch_norm_train(jnp.ones((2, 3)), eps=-1.0), RangeError, "expects eps >= 0, got eps=-1.0"),
        (lambda: norm.batch_norm(jnp.ones((2, 3)), jnp.ones(3), jnp.ones(4)), ShapeError,
         r"batch_norm expects var of shape \(3,\), got float32\[4\]"),
        (lambda: norm.batch_norm(jnp.ones((2, 3)) * 1j, jnp.ones(3), jnp.ones(3)), DtypeError,
         r"batch_norm expects a real array, got complex64\[2, 3\]"),
        (lambda: norm.layer_norm(jnp.ones((2, 3)), 4), ShapeError,
         r"layer_norm expects an input of shape \(\.\.\., 4\), got float32\[2, 3\]\n  fix: give the input trailing"),
        (lambda: norm.layer_norm(jnp.ones((2, 3)), (2, 3), jnp.ones(3)), ShapeError,
         r"layer_norm expects scale of shape \(2, 3\), got float32\[3\]\n  fix: pass one number of scale"),
        (lambda: norm.layer_norm(jnp.ones(3), (2, 3)), ShapeError, r"\(\.\.\., 2, 3\), got float32\[3\]"),
        (lambda: norm.rms_norm(jnp.ones((2, 3)), 2), ShapeError, r"rms_norm expects an input of shape \(\.\.\., 2\)"),
        (lambda: norm.group_norm(jnp.ones((2, 6)), 4), ShapeError,
         r"group_norm expects channels divisible by 4, got float32\[2, 6\]\n  fix: choose a number of groups that"),
        (lambda: norm.group_norm(jnp.ones((2, 6)), 0), RangeError, "group_norm expects groups >= 1, got groups=0"),
        (lambda: norm.instance_norm(jnp.ones((2, 6))), ShapeError,
         r"instance_norm expects an input of shape \(batch, \*space, channels\), got float32\[2, 6\]"),
        (lambda: norm.instance_norm(jnp.ones((2, 1, 6))), ShapeError,
         r"instance_norm expects more than one position in space, got float32\[2, 1, 6\]\n  fix: pass more"),
        (lambda: norm.moments(jnp.ones(3), 1), ShapeError, r"moments expects an array that has axis 1, got"),
        (lambda: rescale.normalize(jnp.ones(3), 0.0), RangeError, "normalize expects p > 0, got p=0.0"),
        (lambda: rescale.local_response_norm(jnp.ones(3), 0), RangeError, "local_response_norm expects size >= 1, got"),
        (lambda: rescale.weight_norm(jnp.ones((2, 3)), jnp.ones(2)), ShapeError,
         r"weight_norm expects size of shape \(3,\), got float32\[2\]"),
        (lambda: rescale.spectral_norm(jnp.ones(3), jnp.ones(3), jnp.ones(3)), ShapeError,
         r"spectral_norm expects a weight of two axes or more, got float32\[3\]\n  fix: normalise weights"),
        (lambda: rescale.spectral_norm(jnp.ones((2, 3)), jnp.ones(2), jnp.ones(3)), ShapeError,
         r"spectral_norm expects u of shape \(3,\), got float32\[2\]"),
        (lambda: rescale.spectral_norm(jnp.ones((2, 3)), jnp.ones(3), jnp.ones(2), steps=-1), RangeError,
         "spectral_norm expects steps >= 0, got steps=-1"),
    ],
)  # fmt: skip
def test_refusals(call, error, text):
    with pytest.raises(error, match=text):
        call()
