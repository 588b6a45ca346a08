"""Colours against PIL, colorsys and SciPy, and the ranges that factors are drawn from."""

import colorsys

import jax
import numpy as np
import pytest
from scipy import ndimage, stats

from kit import assert_close, oracle
from phlox import data as D

RNG = np.random.default_rng(3)
KEY = jax.random.key(2)
BYTES = RNG.integers(0, 256, (24, 32, 3)).astype(np.uint8)
BYTES[:, :16] //= 3  # something for contrast and histograms to do
IMAGE = BYTES.astype(np.float32) / 255
LUMA = np.array([0.299, 0.587, 0.114])
LEVEL = 1.01 / 255  # PIL rounds to whole levels


def changed(augment, image=IMAGE):
    return np.asarray(augment(image[None], key=KEY))[0]


def one(name, value):
    return D.ColorJitter(**{name: (value, value)}, key=0)


def pil(name, factor):
    image, enhance = oracle("PIL.Image"), oracle("PIL.ImageEnhance")
    return np.asarray(getattr(enhance, name)(image.fromarray(BYTES)).enhance(factor)) / 255


@pytest.mark.parametrize("factor", [0.0, 0.4, 1.0, 1.7])
def test_brightness_contrast_and_saturation_by_formula_and_by_pil(factor):
    x = IMAGE.astype(float)
    gray = x @ LUMA
    blends = {"brightness": 0.0, "contrast": gray.mean(), "saturation": gray[..., None]}
    for name, other in blends.items():
        got = changed(one(name, factor))
        assert_close(got, np.clip(other + factor * (x - other), 0, 1), what=name)
        theirs = pil({"saturation": "Color"}.get(name, name.title()), factor)
        np.testing.assert_allclose(got, theirs, atol=2 * LEVEL, err_msg=name)  # its grey is rounded too


@pytest.mark.parametrize("shift", [-0.5, -0.2, 0.1, 0.5])
def test_hue_turns_as_in_colorsys(shift):
    def turned(rgb):
        h, s, v = colorsys.rgb_to_hsv(*rgb)
        return colorsys.hsv_to_rgb((h + shift) % 1, s, v)

    x = np.concatenate([IMAGE[:4], np.broadcast_to(IMAGE[4:6, :, :1], (2, 32, 3))])  # grey pixels among them
    x[0, :3], x[1, :3] = np.eye(3), 1 - np.eye(3)
    want = np.apply_along_axis(turned, -1, x.astype(float))
    np.testing.assert_allclose(changed(one("hue", shift), x), want, atol=2e-6)


def test_jitter_is_brightness_contrast_saturation_hue_in_this_order():
    whole = D.ColorJitter((1.3, 1.3), (0.6, 0.6), (1.5, 1.5), (0.2, 0.2), key=0)
    x = IMAGE
    for name, value in {"brightness": 1.3, "contrast": 0.6, "saturation": 1.5, "hue": 0.2}.items():
        x = changed(one(name, value), x)
    np.testing.assert_allclose(changed(whole), x, atol=1e-6)
    gray = IMAGE[..., :1]
    np.testing.assert_allclose(changed(D.ColorJitter(saturation=0.9, hue=0.5, key=0), gray), gray, atol=1e-6)


def test_factors_are_uniform_around_one_and_independent():
    n = 3000
    x = np.broadcast_to(np.array([0.2, 0.3], np.float32).reshape(1, 1, 2, 1), (n, 1, 2, 1))
    y = np.asarray(D.ColorJitter(brightness=0.5, contrast=(0.2, 0.6), key=0)(x, key=KEY), float)[:, 0, :, 0]
    brightness = y.mean(1) / 0.25
    contrast = (y[:, 1] - y[:, 0]) / (0.1 * brightness)
    assert stats.kstest(brightness, stats.uniform(0.5, 1.0).cdf).pvalue > 1e-3
    assert stats.kstest(contrast, stats.uniform(0.2, 0.4).cdf).pvalue > 1e-3
    assert abs(stats.pearsonr(brightness, contrast).statistic) < 0.07
    least = np.asarray(D.ColorJitter(brightness=3.0, key=0)(x, key=KEY)).min()
    assert least >= 0  # 1 ± 3 starts at 0


def test_gray_is_pils_in_every_channel():
    image = oracle("PIL.Image")
    got = changed(D.Grayscale(p=1, key=0))
    assert_close(got, np.broadcast_to((IMAGE.astype(float) @ LUMA)[..., None], IMAGE.shape))
    np.testing.assert_allclose(got[..., 0], np.asarray(image.fromarray(BYTES).convert("L")) / 255, atol=LEVEL)


@pytest.mark.parametrize(("sigma", "radius"), [(0.8, None), (2.0, 3)])
def test_blur_is_scipys(sigma, radius):
    got = changed(D.GaussianBlur((sigma, sigma), radius=radius, p=1, key=0))
    reach = int(np.ceil(3 * sigma)) if radius is None else radius
    want = ndimage.gaussian_filter(IMAGE.astype(float), (sigma, sigma, 0), radius=(reach, reach, 0), mode="nearest")
    assert_close(got, want)


# --- RandAugment ------------------------------------------------------------------------------------


def by_pil(name, level, sign):
    """Each operation as AutoAugment's code has it, on PIL's images."""
    image, enhance, ops = oracle("PIL.Image"), oracle("PIL.ImageEnhance"), oracle("PIL.ImageOps")
    x = image.fromarray(BYTES)
    if name in ("brightness", "color", "contrast", "sharpness"):
        return getattr(enhance, name.title())(x).enhance(1 + sign * 0.9 * level)
    if name in ("autocontrast", "equalize"):
        return getattr(ops, name)(x)
    if name == "posterize":
        return ops.posterize(x, 8 - round(4 * level))
    if name == "solarize":
        return ops.solarize(x, 255 * (1 - level))
    if name == "rotate":
        return x.rotate(sign * 30 * level, image.Resampling.NEAREST)
    width, height = x.size
    a = {"shear_x": (1, sign * 0.3 * level, 0, 0, 1, 0), "shear_y": (1, 0, 0, sign * 0.3 * level, 1, 0)}
    a["translate_x"] = (1, 0, sign * 150 / 331 * level * width, 0, 1, 0)
    a["translate_y"] = (1, 0, 0, 0, 1, sign * 150 / 331 * level * height)
    a, (cx, cy) = list(a[name]), (width / 2, height / 2)
    if "shear" in name:  # about the centre
        a[2], a[5] = cx - a[0] * cx - a[1] * cy, cy - a[3] * cx - a[4] * cy
    return x.transform(x.size, image.Transform.AFFINE, a, image.Resampling.NEAREST)


BOTH_WAYS = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")
BOTH_WAYS += ("brightness", "color", "contrast", "sharpness")


# What it blends with is rounded too; tables of levels are exact.
LEVELS_OFF = {"contrast": 2, "color": 2, "sharpness": 2, "posterize": 0.01, "solarize": 0.01, "equalize": 0.01}


@pytest.mark.parametrize("name", [*BOTH_WAYS, "posterize", "solarize", "autocontrast", "equalize"])
def test_each_operation_is_pils(name):
    magnitude = 13
    augment = D.RandAugment(1, magnitude, operations=[name], key=0)
    got = np.asarray(augment(np.repeat(IMAGE[None], 12, 0), key=KEY))
    signs = (1, -1) if name in BOTH_WAYS else (1,)
    seen = set()
    for image in got:
        close = []
        for sign in signs:
            want = np.asarray(by_pil(name, magnitude / 30, sign)) / 255
            off = np.abs(image - want).max(-1) > LEVELS_OFF.get(name, 1) * LEVEL
            close += [sign] if off.mean() <= (0.01 if name in ("rotate", "shear_x", "shear_y") else 0) else []
        assert len(close) == 1, f"{name}: neither of PIL's {signs}"
        seen |= set(close)
    assert seen == set(signs)


def test_operations_are_drawn_alike_and_count_of_them():
    """On an image of one grey, what becomes of it tells the operation."""
    names = ("identity", "brightness", "solarize", "posterize")
    n = 4000
    x = np.full((n, 3, 3, 1), 151 / 255, np.float32)
    y = np.round(255 * np.asarray(D.RandAugment(1, 15, operations=names, key=0)(x, key=KEY))[:, 0, 0, 0]).astype(int)
    outcomes = {151: "identity", 219: "brightness", 83: "brightness", 104: "solarize", 148: "posterize"}
    counts = dict.fromkeys(names, 0)
    for value in y:
        counts[outcomes[int(value)]] += 1
    assert stats.chisquare(list(counts.values())).pvalue > 1e-3
    twice = np.asarray(D.RandAugment(2, 15, operations=["solarize"], key=0)(x[:3], key=KEY))
    np.testing.assert_allclose(twice, 104 / 255, atol=1e-6)  # 104 is below the threshold: it stays


def test_extreme_histograms_stay_as_pil_leaves_them():
    image, ops = oracle("PIL.Image"), oracle("PIL.ImageOps")
    flat = np.full((5, 5, 3), 77, np.uint8)
    flat[..., 1] = np.arange(25).reshape(5, 5) * 10
    for name in ("autocontrast", "equalize"):
        got = np.asarray(D.RandAugment(1, operations=[name], key=0)(flat[None].astype(np.float32) / 255, key=KEY))
        np.testing.assert_allclose(got[0], np.asarray(getattr(ops, name)(image.fromarray(flat))) / 255, atol=LEVEL)
