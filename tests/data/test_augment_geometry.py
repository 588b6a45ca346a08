"""Moved and covered images against SciPy, PIL and the papers' definitions."""

import jax
import numpy as np
import pytest
from scipy import ndimage, stats

from kit import assert_close, oracle
from phlox import data as D

RNG = np.random.default_rng(1)
KEY = jax.random.key(2)


def fixed(value):
    return (value, value)


# --- affine -----------------------------------------------------------------------------------------


def by_scipy(image, rotation, translation, scale, shear, order, fill):
    """The formula of the docstring in float64, written anew on (x to the right, y up), through SciPy's resampling."""
    t, s = np.deg2rad(rotation), np.tan(np.deg2rad(shear))
    in_plane = scale * np.array([[np.cos(t), -np.sin(t)], [np.sin(t), np.cos(t)]]) @ np.array([[1, -s], [0, 1]])
    swap = np.array([[0, -1], [1, 0]])  # (row, column) = swap (x, y)
    matrix = np.linalg.inv(swap @ in_plane @ np.linalg.inv(swap))
    centre = (np.array(image.shape[:2]) - 1) / 2
    offset = centre - matrix @ (centre + np.array(translation) * image.shape[:2])
    return np.stack(
        [
            ndimage.affine_transform(image[..., c], matrix, offset, order=order, mode="grid-constant", cval=fill)
            for c in range(image.shape[-1])
        ],
        -1,
    )


@pytest.mark.parametrize(
    ("rotation", "translation", "scale", "shear"),
    [(25, 0, 1, 0), (-70, 0.1, 1, 0), (0, 0, 1, 20), (10, -0.2, 0.7, -15), (200, 0.05, 1.6, 35)],
)
def test_affine_is_scipys(rotation, translation, scale, shear):
    x = RNG.random((2, 9, 14, 3)).astype(np.float32)
    augment = D.RandomAffine(
        fixed(rotation), translation=fixed(translation), scale=fixed(scale), shear=fixed(shear), fill=0.3, key=0
    )
    want = [by_scipy(image, rotation, (translation, translation), scale, shear, 1, 0.3) for image in x.astype(float)]
    assert_close(augment(x, key=KEY), np.stack(want), scale=3)  # coordinates in float32, a few roundings each


@pytest.mark.parametrize("angle", [90, 180, 270, 33])
def test_nearest_rotation_is_pils(angle):
    image = oracle("PIL.Image")
    x = RNG.integers(1, 255, (13, 13)).astype(np.uint8)
    want = np.asarray(image.fromarray(x).rotate(angle, image.Resampling.NEAREST))
    augment = D.RandomAffine(fixed(angle), interpolation="nearest", key=0)
    got = np.asarray(augment(x[None, ..., None], key=KEY))[0, ..., 0]
    assert got.dtype == np.uint8
    assert (got == want).mean() == 1


def test_affine_draws_are_uniform_in_their_ranges():
    """Rotation and scale are read back from where a ramp's gradient points, the shift from its middle."""
    n, size = 2000, 5
    row, column = np.mgrid[:size, :size] - size // 2
    ramp = np.broadcast_to(np.stack([row, column], -1), (n, size, size, 2)).astype(np.float32)
    augment = D.RandomAffine((-20, 60), scale=(0.9, 1.2), key=0)
    y = np.asarray(augment(ramp, key=KEY), float)
    dx = y[:, 2, 3] - y[:, 2, 2]  # where one step to the right comes from
    angle, scale = np.rad2deg(np.arctan2(dx[:, 0], dx[:, 1])), 1 / np.hypot(dx[:, 0], dx[:, 1])
    assert stats.kstest(angle, stats.uniform(-20, 80).cdf).pvalue > 1e-3
    assert stats.kstest(scale, stats.uniform(0.9, 0.3).cdf).pvalue > 1e-3
    middle = np.asarray(D.RandomAffine(translation=0.2, key=0)(ramp, key=KEY), float)[:, 2, 2]
    for share in -middle.T / size:
        assert stats.kstest(share, stats.uniform(-0.2, 0.4).cdf).pvalue > 1e-3
    assert abs(stats.pearsonr(*middle.T).statistic) < 0.1


# --- crop, flip -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "in_numpy"), [("constant", "constant"), ("edge", "edge"), ("reflect", "reflect")])
def test_each_window_of_the_padded_image_is_as_likely(mode, in_numpy):
    image = np.arange(1, 13).reshape(3, 4)
    n = 3000
    crop = D.RandomCrop((3, 2), padding=1, mode=mode, key=0)
    got = np.asarray(crop(np.tile(image[None, ..., None], (n, 1, 1, 1)), key=KEY))[..., 0]
    padded = np.pad(image, 1, mode=in_numpy)
    windows = {padded[i : i + 3, j : j + 2].tobytes(): (i, j) for i in range(3) for j in range(5)}
    counts = np.zeros((3, 5))
    for window in got.astype(padded.dtype):
        counts[windows[window.tobytes()]] += 1
    assert stats.chisquare(counts.ravel()).pvalue > 1e-3


def test_flips_are_mirror_images():
    x = RNG.random((1, 3, 4, 2)).astype(np.float32)
    np.testing.assert_array_equal(D.RandomFlip(p=1, key=0)(x, key=KEY), x[:, :, ::-1])
    np.testing.assert_array_equal(D.RandomFlip("vertical", p=1, key=0)(x, key=KEY), x[:, ::-1])


# --- covered ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [3, 4])
def test_cutout_covers_a_square_around_any_pixel(size):
    n, height, width = 4000, 5, 6
    y = np.asarray(D.Cutout(size, fill=7, key=0)(np.zeros((n, height, width, 1), np.float32), key=KEY))[..., 0] == 7
    squares = {}
    for row in range(height):
        for column in range(width):
            square = np.zeros((height, width), bool)
            top, left = row - size // 2, column - size // 2
            square[max(top, 0) : top + size, max(left, 0) : left + size] = True
            squares.setdefault(square.tobytes(), []).append((row, column))
    found = dict.fromkeys(squares, 0)
    for mask in y:
        found[mask.tobytes()] += 1
    expected = [n * len(centres) / (height * width) for centres in squares.values()]
    assert stats.chisquare(list(found.values()), expected).pvalue > 1e-3


def test_erasing_covers_a_rectangle_of_the_drawn_area_and_shape_inside():
    n, height, width = 3000, 40, 50
    x = np.zeros((n, height, width, 1), np.float32)
    y = np.asarray(D.RandomErasing((0.05, 0.2), (0.5, 2.0), fill=1, p=1, key=0)(x, key=KEY))[..., 0]
    tall, wide = y.max(2).sum(1), y.max(1).sum(1)
    np.testing.assert_array_equal(tall * wide, y.sum((1, 2)))  # a full rectangle, connected by its row and column sums
    assert (np.abs(np.diff(y.max(2), axis=1)).sum(1) <= 2).all()
    share, aspect = tall * wide / (height * width), tall / wide
    assert stats.kstest(share, stats.uniform(0.05, 0.15).cdf).statistic < 0.04  # sides are whole pixels
    assert stats.kstest(np.log2(aspect), stats.uniform(-1, 2).cdf).statistic < 0.05
    place = y.max(2).argmax(1) / (height - tall)
    assert stats.kstest(place, stats.uniform(0, 1).cdf).statistic < 0.05
    assert (place == 1).any()


def test_erasing_leaves_an_image_that_nothing_fits_and_fills_with_noise():
    x = np.zeros((50, 4, 4, 1), np.float32)
    np.testing.assert_array_equal(D.RandomErasing((1.0, 1.0), p=1, key=0)(x, key=KEY), x)
    y = np.asarray(
        D.RandomErasing((0.5, 0.5), (1, 1), fill="noise", p=1, key=0)(np.zeros((99, 20, 20, 3), np.float32), key=KEY)
    )
    noise = y[y != 0]
    assert noise.size == 99 * 14 * 14 * 3
    assert stats.kstest(noise, stats.norm.cdf).pvalue > 1e-3
