"""Sampling against torch.nn.functional.grid_sample and affine_grid, and SciPy's rotation, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from kit import against_torch, assert_close, oracle
from phlox.core._errors import DtypeError, RangeError, ShapeError
from phlox.nn import functional as F

torch = oracle("torch")
ndimage = oracle("scipy.ndimage")
TF = torch.nn.functional


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("align", [True, False])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize(
    ("rank", "mode"), [(2, "bilinear"), (2, "nearest"), (2, "bicubic"), (3, "bilinear"), (3, "nearest")]
)
def test_grid_sample_matches_torch(rank, mode, padding, align):
    x = normal(2, *(5, 4, 3)[:rank], 3)
    grid = np.random.default_rng(1).uniform(-2.5, 2.5, (2, *(4, 6, 2)[:rank], rank))
    against_torch(
        jax.jit(lambda x, g: F.grid_sample(x, g, mode=mode, padding_mode=padding, align_corners=align)),
        lambda x, g: TF.grid_sample(x.movedim(-1, 1), g, mode, padding, align).movedim(1, -1),
        x,
        grid,
    )


@pytest.mark.parametrize("align", [True, False])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_one_element_and_exact_places_match_torch(mode, padding, align):
    for x in (normal(1, 1, 1, 2), normal(1, 3, 5, 2)):
        line = np.linspace(-1, 1, 9)
        grid = np.stack(np.meshgrid(line, line), -1)[None]
        against_torch(
            lambda x, g: F.grid_sample(x, g, mode=mode, padding_mode=padding, align_corners=align),
            lambda x, g: TF.grid_sample(x.movedim(-1, 1), g, mode, padding, align).movedim(1, -1),
            x,
            grid,
            grad=False,
        )


def test_one_axis_is_a_row_of_an_image():
    x, g = normal(2, 6, 3), np.random.default_rng(1).uniform(-1.5, 1.5, (2, 7, 1))
    image, grid = x[:, None], np.concatenate([g, 0 * g], -1)[:, None]
    for padding in ("border", "reflection"):
        want = F.grid_sample(image, grid, padding_mode=padding)[:, 0]
        assert_close(F.grid_sample(x, g, padding_mode=padding), want)


@pytest.mark.filterwarnings("ignore:Since version 1.3.0, affine_grid behavior:UserWarning")
@pytest.mark.parametrize("align", [True, False])
@pytest.mark.parametrize("size", [(4, 5), (3, 4, 2), (1, 3), (1, 1, 2)])
def test_affine_grid_matches_torch(size, align):
    rank = len(size)
    against_torch(
        jax.jit(lambda t: F.affine_grid(t, size, align_corners=align)),
        lambda t: TF.affine_grid(t, (2, 1, *size), align),
        normal(2, rank, rank + 1),
    )


@pytest.mark.parametrize("align", [True, False])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_the_identity_map_changes_nothing(rank, align):
    x = normal(2, *(5, 4, 3)[:rank], 3)
    grid = F.affine_grid(np.tile(np.eye(rank, rank + 1), (2, 1, 1)), x.shape[1:-1], align_corners=align)
    for mode in ("bilinear", "nearest"):
        assert_close(F.grid_sample(x, grid, mode=mode, align_corners=align), x)


@pytest.mark.parametrize("quarters", [0, 1, 2, 3, -1])
@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
def test_quarter_turns_match_numpy(quarters, mode):
    x = np.pad(normal(2, 4, 4, 2), ((0, 0), (1, 1), (1, 1), (0, 0)))
    assert_close(F.imrotate(x, quarters * np.pi / 2, mode=mode), np.rot90(x, quarters, axes=(1, 2)))


@pytest.mark.parametrize("degrees", [30.0, -77.0, 200.0])
def test_rotation_matches_scipy(degrees):
    x = normal(1, 6, 7, 1)
    want = ndimage.rotate(x[0, ..., 0], degrees, reshape=False, order=1, mode="grid-constant")
    assert_close(F.imrotate(x, np.deg2rad(degrees))[0, ..., 0], want)


def test_rotation_per_image_about_a_point_with_gradients():
    x, angle = normal(2, 5, 6, 1), np.array([0.3, -1.1])
    both = F.imrotate(x, angle, center=(1.0, 2.0))
    for i in range(2):
        assert_close(both[i], F.imrotate(x[i : i + 1], angle[i], center=(1.0, 2.0))[0])
    assert_close(both[:, 1, 2], x[:, 1, 2])
    check_grads(jax.jit(F.imrotate), (x, angle), order=1, modes=("fwd", "rev"))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_transforms_and_dtypes(dtype):
    x, grid = jnp.asarray(normal(3, 2, 5, 4, 2), dtype), jnp.asarray(np.tanh(normal(3, 2, 6, 3, 2, seed=1)))
    assert F.grid_sample(x[0], grid[0]).dtype == dtype
    assert_close(F.grid_sample(x[0], grid[0]), F.grid_sample(x[0].astype(float), grid[0]))
    want = jnp.stack([F.grid_sample(a, b) for a, b in zip(x, grid, strict=True)])
    assert_close(jax.vmap(F.grid_sample)(x, grid), want)
    assert F.imrotate(x[0], 0.1).dtype == dtype


X, G = np.zeros((2, 5, 4, 3), "float32"), np.zeros((2, 6, 2), "float32")


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda: F.grid_sample(X, G[..., :1]),
            ShapeError,
            r"a grid \(2, \*out, 2\) for x float32\[2, 5, 4, 3\], got float32\[2, 6, 1\]",
        ),
        (lambda: F.grid_sample(X, G[:1]), ShapeError, r"a grid \(2, \*out, 2\)"),
        (lambda: F.grid_sample(X, G.astype(int)), DtypeError, r"a floating grid from -1 to 1, got int64\[2, 6, 2\]"),
        (lambda: F.grid_sample(X, G, mode="linear"), RangeError, "mode as one of .* got 'linear'"),
        (lambda: F.grid_sample(X, G, padding_mode="wrap"), RangeError, "padding_mode as one of .* got 'wrap'"),
        (
            lambda: F.grid_sample(X[:, 0], G[..., :1], mode="bicubic"),
            ShapeError,
            'two spatial axes for mode "bicubic", got 1',
        ),
        (lambda: F.affine_grid(G, (2, 2)), ShapeError, r"theta \(batch, rank, rank \+ 1\) .* got float32\[2, 6, 2\]"),
        (lambda: F.affine_grid(np.zeros((1, 2, 3)), (2, 0)), RangeError, r"size of at least 1, got \(2, 0\)"),
        (lambda: F.affine_grid(np.zeros((1, 2, 3), int), 2), DtypeError, r"a floating theta, got int64\[1, 2, 3\]"),
        (
            lambda: F.imrotate(X[0], 0.1),
            ShapeError,
            r"imrotate expects \(batch, height, width, channels\), got float32\[5, 4, 3\]",
        ),
        (lambda: F.imrotate(X, np.zeros(3)), ShapeError, r"an angle of shape \(\) or \(2,\), got float64\[3\]"),
    ],
)
def test_errors_say_what_and_where(call, error, text):
    with pytest.raises(error, match=text):
        call()
