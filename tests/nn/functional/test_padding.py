"""Padding against NumPy and PyTorch, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kit import against_torch, assert_close, oracle
from phlox.core._errors import RangeError, ShapeError
from phlox.nn import functional as F

torch = oracle("torch")
NUMPY = {
    F.pad_reflect: "reflect",
    F.pad_symmetric: "symmetric",
    F.pad_circular: "wrap",
    F.pad_replicate: "edge",
    F.pad_zeros: "constant",
}
TORCH = {F.pad_reflect: "reflect", F.pad_circular: "circular", F.pad_replicate: "replicate", F.pad_zeros: "constant"}


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def normal(*shape):
    return np.random.default_rng(0).normal(size=shape)


@pytest.mark.parametrize(("pad", "mode"), NUMPY.items(), ids=NUMPY.values())
@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("padding", [2, 0, (1, 2, 3), ((0, 3), (2, 1), (1, 0))])
def test_values_match_numpy(pad, mode, rank, padding):
    x = normal(2, *(4, 5, 6)[:rank], 3)
    padding = padding if isinstance(padding, int) else padding[:rank]
    per_axis = (padding,) * rank if isinstance(padding, int) else padding
    pairs = [(p, p) if isinstance(p, int) else p for p in per_axis]
    assert_close(jax.jit(lambda x: pad(x, padding))(x), np.pad(x, [(0, 0), *pairs, (0, 0)], mode=mode))


@pytest.mark.parametrize(("pad", "mode"), TORCH.items(), ids=TORCH.values())
def test_gradients_match_torch(pad, mode):
    against_torch(
        jax.jit(lambda x: pad(x, ((1, 2), (3, 0)))),
        lambda x: torch.nn.functional.pad(x.movedim(-1, 1), (3, 0, 1, 2), mode=mode).movedim(1, -1),
        normal(2, 4, 5, 2),
    )


def test_symmetric_gradient_counts_the_copies():
    g = jax.grad(lambda x: F.pad_symmetric(x, ((2, 1),)).sum())(jnp.ones((1, 4, 1)))
    assert g.ravel().tolist() == [2, 2, 1, 2]


@pytest.mark.parametrize("value", [0, -1.5, np.inf])
def test_pad_constant_adds_its_value(value):
    x = normal(2, 4, 5, 2)
    want = np.pad(x, ((0, 0), (1, 2), (3, 0), (0, 0)), constant_values=value)
    assert_close(F.pad_constant(x, ((1, 2), (3, 0)), value), want)
    against_torch(
        lambda x: F.pad_constant(x, 1, 2.0),
        lambda x: torch.nn.functional.pad(x.movedim(-1, 1), (1,) * 4, value=2.0).movedim(1, -1),
        x,
    )


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "int32"])
def test_dtypes_are_kept(dtype):
    x = jnp.arange(8).reshape(1, 8, 1).astype(dtype)
    for pad in (*NUMPY, F.pad_constant):
        assert pad(x, 3).dtype == dtype
    assert jax.vmap(lambda x: F.pad_reflect(x, 1))(x[None])[0].ravel().tolist() == [1, *range(8), 6]


X = np.zeros((2, 3, 4, 2), "float32")


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: F.pad_zeros(X, -1), RangeError, "pad_zeros expects padding of at least 0, got -1\n  fix: crop"),
        (lambda: F.pad_zeros(X, (1, 2, 3)), RangeError, r"pad_zeros expects padding as one int, 2 .* got \(1, 2, 3\)"),
        (lambda: F.pad_zeros(X, "SAME"), RangeError, "got 'SAME'"),
        (lambda: F.pad_zeros(X, 1.5), RangeError, "got 1.5"),
        (lambda: F.pad_zeros(X[0, 0], 1), ShapeError, r"\(batch, \*space, channels\) .* got float32\[4, 2\]"),
        (
            lambda: F.pad_reflect(X, 3),
            ShapeError,
            r"pad_reflect expects at least 4 elements along spatial axis 0 .*\(3, 3\), got float32\[2, 3, 4, 2\]",
        ),
        (lambda: F.pad_symmetric(X, (3, 5)), ShapeError, "at least 5 elements along spatial axis 1"),
        (lambda: F.pad_circular(X, ((4, 0), (0, 0))), ShapeError, "at least 4 elements along spatial axis 0"),
        (lambda: F.pad_replicate(X[:, :0], 1), ShapeError, "at least 1 elements along spatial axis 0"),
        (lambda: F.pad_constant(X.astype(int), 1, 0.5), RangeError, "a value that int.. can hold, got 0.5"),
    ],
)
def test_errors_say_what_and_where(call, error, text):
    with pytest.raises(error, match=text):
        call()
