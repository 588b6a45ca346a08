"""Patches against torch.nn.functional.unfold and fold, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kit import against_torch, assert_close, oracle
from phlox.core._errors import RangeError, ShapeError
from phlox.nn import functional as F

torch = oracle("torch")
TF = torch.nn.functional
CASES = [((2, 3), 1, 0, 1), (2, 2, 0, 1), ((3, 2), (2, 1), (1, 0), 1), ((2, 2), 1, 1, (2, 1)), (3, 2, 2, 1)]


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def normal(*shape):
    return np.random.default_rng(0).normal(size=shape)


def reorder(y, channels):
    """A torch patch (channels·window, positions) in our order: (positions, window·channels)."""
    return y.reshape(y.shape[0], channels, -1, y.shape[-1]).permute(0, 3, 2, 1).flatten(2)


@pytest.mark.parametrize(("window", "stride", "padding", "dilation"), CASES)
def test_unfold_matches_torch(window, stride, padding, dilation):
    against_torch(
        jax.jit(lambda x: F.unfold(x, window, stride=stride, padding=padding, dilation=dilation)),
        lambda x: reorder(TF.unfold(x.movedim(-1, 1), window, dilation, padding, stride), 3),
        normal(2, 6, 7, 3),
    )


@pytest.mark.parametrize(("window", "stride", "padding", "dilation"), CASES)
def test_fold_matches_torch(window, stride, padding, dilation):
    shape = F.unfold(normal(2, 6, 7, 3), window, stride=stride, padding=padding, dilation=dilation).shape

    def theirs(x):
        x = x.reshape(2, shape[1], -1, 3).permute(0, 3, 2, 1).flatten(1, 2)
        return TF.fold(x, (6, 7), window, dilation, padding, stride).movedim(1, -1)

    against_torch(
        jax.jit(lambda x: F.fold(x, (6, 7), window, stride=stride, padding=padding, dilation=dilation)),
        theirs,
        normal(*shape),
    )


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("padding", ["SAME", "VALID", "CAUSAL", 1])
def test_patches_times_weights_are_a_convolution(rank, padding):
    x, w = normal(2, *(5, 6, 4)[:rank], 2), normal(*(2, 3, 2)[:rank], 2, 3)
    y = F.unfold(x, w.shape[:-2], stride=2, padding=padding) @ w.reshape(-1, 3)
    want = F.conv(x, w, stride=2, padding=padding)
    assert_close(y, want.reshape(y.shape))


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_fold_is_the_transpose_of_unfold(rank):
    x = normal(2, *(5, 6, 4)[:rank], 2)
    patches = F.unfold(x, 2, stride=2, padding=1)
    y = normal(*patches.shape)
    assert_close(jnp.vdot(patches, y), jnp.vdot(x, F.fold(y, x.shape[1:-1], 2, stride=2, padding=1)))


def test_fold_sums_in_float32():
    y = F.fold(jnp.full((1, 40, 40), 1 + 2**-7, "bfloat16"), 79, 40)
    assert y.dtype == "bfloat16"
    assert y[0, 39].item() == 40.25  # 40.3125 rounded once; 40 terms rounded one by one give less
    assert F.fold(jnp.ones((1, 3, 2), "int32"), 4, 2).ravel().tolist() == [1, 2, 2, 1]


def test_vmap_and_dtypes():
    x = jnp.asarray(normal(3, 2, 6, 6, 2), "float32")
    assert_close(jax.vmap(lambda x: F.unfold(x, 2))(x), jnp.stack([F.unfold(v, 2) for v in x]))
    p = F.unfold(x[0], 2).astype("float16")
    assert F.fold(p, (6, 6), 2).dtype == "float16"
    assert_close(jax.vmap(lambda p: F.fold(p, (6, 6), 2))(p[None])[0], F.fold(p, (6, 6), 2))


X = np.zeros((2, 6, 6, 2), "float32")


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: F.unfold(X, 7), ShapeError, "unfold expects a padded input of at least 7"),
        (lambda: F.unfold(X, 2, stride=0), RangeError, "stride of at least 1, got 0"),
        (
            lambda: F.fold(X, (6, 6), 2),
            ShapeError,
            r"fold expects \(batch, positions, window·channels\), got float32\[2, 6, 6, 2\]",
        ),
        (
            lambda: F.fold(X[..., 0], (6, 6), 2),
            ShapeError,
            r"\(batch, 25, 4·channels\) for output_size \(6, 6\).* got float32\[2, 6, 6\]",
        ),
        (lambda: F.fold(X[..., 0], (6, 6), 8), ShapeError, "fold expects a padded input of at least 8"),
    ],
)
def test_errors_say_what_and_where(call, error, text):
    with pytest.raises(error, match=text):
        call()
