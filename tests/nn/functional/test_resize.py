"""Resizing against torch.nn.functional.interpolate, with gradients, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kit import against_torch, assert_close, oracle
from phlox.core._errors import RangeError, ShapeError
from phlox.nn import functional as F

torch = oracle("torch")
TF = torch.nn.functional
SPACE = (5, 6, 4)


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def normal(*shape):
    return np.random.default_rng(0).normal(size=shape)


def compare(rank, mode, size, scale, align):
    theirs = {"linear": ("linear", "bilinear", "trilinear")[rank - 1]}.get(mode, mode)
    corners = {"align_corners": align} if "linear" in theirs or theirs == "bicubic" else {}
    against_torch(
        jax.jit(lambda x: F.interpolate(x, size, scale=scale, mode=mode, align_corners=align)),
        lambda x: TF.interpolate(x.movedim(-1, 1), size, scale, mode=theirs, **corners).movedim(1, -1),
        normal(2, *SPACE[:rank], 3),
    )


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "area", "linear"])
@pytest.mark.parametrize("size", [(10, 12, 8), (7, 3, 9), (1, 2, 4)])
def test_sizes_match_torch(rank, mode, size):
    compare(rank, mode, size[:rank], None, False)


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "linear"])
@pytest.mark.parametrize("scale", [2.0, 0.5, (1.7, 0.6, 2.3), (1.1, 1.0, 0.9)])
def test_scales_match_torch(rank, mode, scale):
    if mode == "nearest" and scale == (1.1, 1.0, 0.9):
        scale = (1.3, 1.0, 0.9)  # where 1.1 leaves 5 elements 5, PyTorch's gradient is not that of its value
    compare(rank, mode, None, scale if isinstance(scale, float) else scale[:rank], False)


@pytest.mark.parametrize("align", [True, False])
@pytest.mark.parametrize(("size", "scale"), [((9, 4), None), ((1, 12), None), (None, (1.7, 2.0)), (None, 0.6)])
def test_bicubic_matches_torch(align, size, scale):
    compare(2, "bicubic", size, scale, align)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(3, 2), (9, 3), (2, 14)])
def test_antialiasing_matches_torch(mode, size):
    against_torch(
        jax.jit(lambda x: F.interpolate(x, size, mode=mode, antialias=True)),
        lambda x: TF.interpolate(x.movedim(-1, 1), size, mode=mode, antialias=True).movedim(1, -1),
        normal(2, 8, 7, 3),
    )


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize(("size", "scale"), [((9, 4, 7), None), ((1, 1, 4), None), (None, (1.7, 2.0, 0.8))])
def test_aligned_corners_match_torch(rank, size, scale):
    compare(rank, "linear", size and size[:rank], scale and scale[:rank], True)


def test_nearest_follows_its_formula_where_the_size_stays():
    x = jnp.arange(5.0)[None, :, None]
    assert F.interpolate(x, scale=1.1)[0, :, 0].tolist() == [0, 0, 1, 2, 3]
    assert F.interpolate(x, 5)[0, :, 0].tolist() == [0, 1, 2, 3, 4]


def test_a_line_stays_a_line():
    x = jnp.linspace(0, 1, 6)[None, :, None]
    assert_close(F.interpolate(x, 21, mode="linear", align_corners=True)[0, :, 0], np.linspace(0, 1, 21))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic", "area"])
def test_transforms_and_dtypes(dtype, mode):
    x = jnp.asarray(normal(2, 1, 5, 6, 2), dtype)

    def f(x):
        return F.interpolate(x, (8, 9), mode=mode)

    assert f(x[0]).dtype == dtype
    assert_close(f(x[0]), f(x[0].astype(float)))
    assert_close(jax.vmap(f)(x), jnp.stack([f(v) for v in x]))
    assert jax.grad(lambda x: f(x).sum())(x[0]).dtype == dtype


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_pixel_shuffles_match_torch(factor):
    x = normal(2, 2, 3, 2 * factor**2)
    against_torch(
        lambda x: F.pixel_shuffle(x, factor), lambda x: TF.pixel_shuffle(x.movedim(-1, 1), factor).movedim(1, -1), x
    )
    x = normal(2, 2 * factor, 3 * factor, 2)
    against_torch(
        lambda x: F.pixel_unshuffle(x, factor), lambda x: TF.pixel_unshuffle(x.movedim(-1, 1), factor).movedim(1, -1), x
    )


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_pixel_unshuffle_is_the_inverse(rank):
    factors = (2, 3, 1)[:rank]
    x = normal(2, *(4, 6, 5)[:rank], 3)
    y = F.pixel_unshuffle(x, factors)
    assert y.shape == (2, *(n // r for n, r in zip(x.shape[1:-1], factors, strict=True)), 3 * np.prod(factors))
    assert_close(F.pixel_shuffle(y, factors), x)


def test_channel_shuffle_matches_torch():
    x = normal(2, 3, 4, 6)
    against_torch(
        lambda x: F.channel_shuffle(x, 3),
        lambda x: TF.channel_shuffle(x.movedim(-1, 1), 3).movedim(1, -1),
        x,
        grad=False,
    )
    assert_close(F.channel_shuffle(F.channel_shuffle(x, 3), 2), x)


X = np.zeros((2, 3, 4, 6), "float32")


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: F.interpolate(X), RangeError, "interpolate expects one of size and scale, got neither"),
        (lambda: F.interpolate(X, 3, scale=2), RangeError, "one of size and scale, got both"),
        (lambda: F.interpolate(X, 0), RangeError, "size of at least 1, got 0"),
        (lambda: F.interpolate(X, scale=-1.0), RangeError, "scale as one positive number or 2 .* got -1.0"),
        (lambda: F.interpolate(X, scale=(1, 2, 3)), RangeError, r"scale .* got \(1, 2, 3\)"),
        (lambda: F.interpolate(X, scale=0.1), RangeError, r"at least one element of \(3, 4\), got 0.1"),
        (lambda: F.interpolate(X, 3, mode="cubic"), RangeError, "mode as one of .* got 'cubic'"),
        (
            lambda: F.interpolate(X, 3, mode="trilinear"),
            ShapeError,
            r"3 spatial axes for mode 'trilinear', got float32\[2, 3, 4, 6\]\n  fix: use mode \"linear\"",
        ),
        (lambda: F.interpolate(X[0], 3, mode="bicubic"), ShapeError, "2 spatial axes for mode 'bicubic'"),
        (lambda: F.interpolate(X, 3, align_corners=True), RangeError, "align_corners=False with mode 'nearest'"),
        (lambda: F.pixel_shuffle(X, 2), ShapeError, r"channels that are a multiple of 4, .* got float32\[2, 3, 4, 6\]"),
        (lambda: F.pixel_unshuffle(X, 2), ShapeError, r"multiples of factor \(2, 2\), got float32\[2, 3, 4, 6\]"),
        (lambda: F.pixel_shuffle(X, 0), RangeError, "factor of at least 1, got 0"),
        (lambda: F.channel_shuffle(X, 4), RangeError, "groups that divide the 6 channels .* got groups=4"),
    ],
)
def test_errors_say_what_and_where(call, error, text):
    with pytest.raises(error, match=text):
        call()
