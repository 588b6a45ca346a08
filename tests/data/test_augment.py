"""What every augmentation keeps: a pure form, a key of its own, a draw for each example, modes, dtypes, errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import phlox as px
from phlox import data as D

IMAGES = np.random.default_rng(0).random((6, 8, 8, 3), np.float32)
LABELS = np.arange(6) % 3
KEY = jax.random.key(5)

MAKERS = {
    "crop": lambda key: D.RandomCrop(6, padding=2, key=key),
    "flip": lambda key: D.RandomFlip(key=key),
    "affine": lambda key: D.RandomAffine(30, translation=0.2, scale=0.3, shear=10, p=0.8, key=key),
    "cutout": lambda key: D.Cutout(3, key=key),
    "erasing": lambda key: D.RandomErasing(fill="noise", key=key),
    "jitter": lambda key: D.ColorJitter(0.5, 0.5, 0.5, 0.2, key=key),
    "gray": lambda key: D.Grayscale(0.5, key=key),
    "blur": lambda key: D.GaussianBlur((0.5, 1.0), key=key),
    "randaugment": lambda key: D.RandAugment(2, 15, key=key),
    "mixup": lambda key: D.MixUp(1.0, classes=3, key=key),
    "cutmix": lambda key: D.CutMix(classes=3, key=key),
    "time": lambda key: D.TimeMask(4, count=2, key=key),
    "frequency": lambda key: D.FrequencyMask(4, key=key),
}
every = pytest.mark.parametrize("name", list(MAKERS))


def same(a, b):
    for one, other in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


@every
def test_one_contract(name):
    augment = MAKERS[name](0)
    start = jax.random.key_data(augment.key)

    x, y = augment(IMAGES, LABELS)  # in inference nothing is drawn and labels stay
    same(y, LABELS)
    if name == "crop":
        same(x, np.pad(IMAGES, ((0, 0), (2, 2), (2, 2), (0, 0)))[:, 3:9, 3:9])
    else:
        same(x, IMAGES)
    pure = augment(IMAGES, LABELS, key=KEY)
    same(pure, augment(IMAGES, LABELS, key=KEY))
    same(pure, MAKERS[name](1)(IMAGES, LABELS, key=KEY))  # of key and batch alone
    same(start, jax.random.key_data(augment.key))
    assert pure[0].dtype == np.float32
    assert np.isfinite(np.asarray(pure[0])).all()

    px.trainmode(augment)
    twin = px.copy(augment)
    first, second = augment(IMAGES, LABELS), augment(IMAGES, LABELS)
    assert any((np.asarray(a) != np.asarray(b)).any() for a, b in zip(first, second, strict=True))
    if name not in ("crop", "mixup", "cutmix"):
        same(first[1], LABELS)

    step = px.jit(lambda augment, x, y: augment(x, y))
    compiled = step(twin, IMAGES, LABELS), step(twin, IMAGES, LABELS)
    for eager, traced in zip((first, second), compiled, strict=True):  # same draws, values to rounding
        for a, b in zip(eager, traced, strict=True):
            np.testing.assert_allclose(np.asarray(a), np.asarray(b), atol=1e-6)
    same(jax.random.key_data(twin.key), jax.random.key_data(augment.key))


@pytest.mark.parametrize("name", ["crop", "affine", "jitter", "randaugment"])
def test_equal_examples_are_changed_each_in_its_own_way(name):
    x = np.repeat(IMAGES[:1], 6, 0)
    y = np.asarray(MAKERS[name](0)(x, key=KEY))
    assert len({image.tobytes() for image in y}) >= 4


def test_an_example_is_changed_with_probability_p():
    for p in (0.2, 0.7):
        y = np.asarray(D.Cutout(1, fill=9, p=p, key=0)(np.zeros((4000, 2, 2, 1), np.float32), key=KEY))
        changed = y.reshape(4000, -1).max(1) == 9
        assert stats.binomtest(int(changed.sum()), 4000, p).pvalue > 1e-3
    flipped = np.asarray(D.RandomFlip(key=0)(np.tile([[[0], [1]]], (4000, 1, 1, 1)), key=KEY))[:, 0, 0, 0] == 1
    assert stats.binomtest(int(flipped.sum()), 4000, 0.5).pvalue > 1e-3


def test_one_key_moves_an_image_and_its_mask_alike():
    mask = (IMAGES[..., :1] > 0.5).astype(np.int32)
    options = dict(translation=0.3, scale=0.4, interpolation="nearest")
    augment = D.Augment(D.RandomAffine(40, **options, key=0), D.RandomCrop(6, key=0), D.RandomFlip(key=0))
    x, moved = augment(IMAGES, key=KEY), augment(mask, key=KEY)
    assert moved.dtype == jnp.int32
    inside = np.asarray(x[..., :1]) > 0
    assert inside.mean() > 0.5
    same(np.asarray(moved)[inside], (np.asarray(x[..., :1]) > 0.5)[inside].astype(np.int32))


def test_a_row_of_augmentations_is_one_after_the_other():
    with px.seed(0):
        steps = [D.RandomFlip(), D.RandomCrop(6, padding=1), D.MixUp(1.0, classes=3)]
        augment = D.Augment(*steps)
    keys = jax.random.split(KEY, 3)
    x = steps[1](steps[0](IMAGES, key=keys[0]), key=keys[1])
    same(augment(IMAGES, LABELS, key=KEY), steps[2](x, LABELS, key=keys[2]))
    by_hand = px.copy(augment)
    x, y = px.trainmode(augment)(IMAGES, LABELS)
    a, b = IMAGES, LABELS
    for step in px.trainmode(by_hand).steps:
        a, b = step(a, b)
    same((x, y), (a, b))
    same(D.Augment()(IMAGES), IMAGES)
    assert "RandomCrop((6, 6), padding=1)" in repr(augment)


def test_as_a_layer_it_acts_in_the_gradient_only_and_under_vmap():
    with px.seed(0):
        model = px.Chain(D.Cutout(4, fill=5.0), px.flatten, px.Dense(192, 2))
    seen = lambda model, x: model.layers[0](x).max()  # noqa: E731
    assert float(seen(model, IMAGES)) < 5
    value, grads = px.value_and_grad(seen)(model, jnp.asarray(IMAGES))
    assert float(value) == 5
    assert grads.layers[0].key is None
    stacked = px.trainmode(D.Cutout(2, fill=5.0, key=0))
    y = np.asarray(px.vmap(lambda a, x: a(x), in_axes=(None, 0))(stacked, np.stack([IMAGES] * 3)))
    assert y.shape == (3, *IMAGES.shape)
    assert (y[0] != y[1]).any()
    assert (y[1] != y[2]).any()


def test_an_augmentation_of_ones_own_is_of_any_batch():
    class Noise(D.Augmentation):
        def example(self, key, x):
            return x + jax.random.normal(key, x.shape)

    x = np.zeros((500, 3), np.float32)
    y = np.asarray(Noise(p=0.5, key=0)(x, key=KEY))
    changed = (y != 0).all(1)
    assert ((y != 0).any(1) == changed).all()
    assert stats.binomtest(int(changed.sum()), 500, 0.5).pvalue > 1e-3
    assert stats.kstest(y[changed].ravel(), stats.norm.cdf).pvalue > 1e-3
    with pytest.raises(px.ShapeError, match=r"Noise\(p=0\.5\) expects \(batch, \.\.\.\), got float32\[\]"):
        Noise(p=0.5, key=0)(np.float32(0))


def test_dtypes_are_kept_and_half_floats_are_worked_out_in_float32():
    augment = D.Augment(D.RandomAffine(30, key=0), D.ColorJitter(0.4, 0.4, 0.4, 0.1, key=0))
    want = np.asarray(augment(IMAGES, key=KEY))
    got = augment(jnp.asarray(IMAGES, jnp.bfloat16), key=KEY)
    assert got.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(got, np.float32), want, atol=0.03)  # bfloat16 has 8 bits
    bytes_ = (IMAGES * 255).astype(np.uint8)
    for augment in (D.RandomCrop(6, key=0), D.RandomFlip(key=0), D.Cutout(2, key=0), D.CutMix(classes=3, key=0)):
        x, _ = augment(bytes_, LABELS, key=KEY)
        assert x.dtype == jnp.uint8
        same(x, np.asarray(augment(IMAGES * 0 + bytes_, LABELS, key=KEY)[0]).astype(np.uint8))
    with jax.enable_x64(True):
        assert D.GaussianBlur((1.0, 1.0), key=0)(IMAGES.astype(np.float64), key=KEY).dtype == np.float64
        assert D.ColorJitter(0.1, hue=0.1, key=0)(IMAGES, key=KEY).dtype == np.float32


REFUSED = [
    (lambda: D.RandomFlip("up"), r'RandomFlip expects direction to be one of "horizontal", "vertical", got \'up\''),
    (lambda: D.RandomFlip(p=1.5), r"RandomFlip expects p in \[0, 1\], got 1\.5"),
    (lambda: D.RandomCrop(0), r"RandomCrop expects size to be a whole number of at least 1, got 0"),
    (lambda: D.RandomCrop((1, 2, 3)), r"one size or two, got \(1, 2, 3\)"),
    (lambda: D.RandomCrop(2, padding=-1), r"padding to be a whole number of at least 0, got -1"),
    (lambda: D.RandomAffine((30, -30)), r"rotation as a range in order, got \(30, -30\)\n  fix: .*0 ± n"),
    (lambda: D.RandomAffine(scale=(0, 1)), r"scale as a range in \[0\.001, inf\], got \(0, 1\)"),
    (lambda: D.RandomAffine(interpolation="cubic"), r"interpolation to be one of"),
    (lambda: D.ColorJitter(hue=0.6), r"hue as a range in \[-0\.5, 0\.5\], got 0\.6"),
    (lambda: D.ColorJitter(brightness=-0.1), r"brightness as a range in \[0, inf\], got -0\.1\n  fix: .*1 ± n"),
    (lambda: D.ColorJitter(contrast=float("nan")), r"contrast as a range"),
    (lambda: D.RandAugment(2, 31), r"magnitude in \[0, 30\], got 31"),
    (lambda: D.RandAugment(operations=["invert"]), r'operations to be one of .*"equalize", got \'invert\''),
    (lambda: D.RandAugment(operations=[]), r"at least one operation, got none"),
    (lambda: D.RandAugment()(IMAGES[:, :2]), r"at least 3 × 3 pixels, got float32\[6, 2, 8, 3\]"),
    (lambda: D.MixUp(0), r"MixUp expects alpha above 0, got 0"),
    (lambda: D.TokenMask(7, 7), r"tokens in 0 … 6, got 7"),
    (lambda: D.TokenMask(1, 7, masked=0.8, random=0.3), r"of at most 1 together, got 0\.8 and 0\.3"),
    (lambda: D.TimeMask(3, share=2), r"TimeMask expects share in \[0, 1\], got 2"),
    (lambda: D.Augment(px.relu), r"Augment expects augmentations, got function"),
    (lambda: D.RandomFlip()(IMAGES[0]), r"\(batch, height, width, channels\), got float32\[8, 8, 3\]\n.*x\[None\]"),
    (lambda: D.RandomCrop(9)(IMAGES), r"images of at least \(9, 9\), padding included, got float32\[6, 8, 8, 3\]"),
    (lambda: D.Grayscale()(IMAGES[..., :2]), r"1 or 3 channels, last, got float32\[6, 8, 8, 2\]"),
    (lambda: D.ColorJitter()(np.zeros((1, 2, 2, 3), "int32")), r"colours in \[0, 1\], got int32.*\n  fix: .*x / 255"),
    (lambda: D.RandomAffine()(np.zeros((1, 2, 2, 1), "uint8")), r"floats, colours in \[0, 1\], got uint8"),
    (lambda: D.MixUp(classes=3)(IMAGES), r"labels to mix, got a batch alone\n  fix: call it as x, y = mix\(x, y\)"),
    (lambda: D.MixUp(classes=3)(IMAGES, LABELS[:2]), r"6 labels, got int64\[2\]"),
    (lambda: D.CutMix()(IMAGES, LABELS), r"shares of classes .* got labels int64\[6\]\n  fix: .*classes=10"),
    (lambda: D.TokenMask(1, 7)(IMAGES), r"tokens as whole numbers, got float32"),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(REFUSED)))
def test_what_is_wrong_is_refused_with_the_cure(number):
    wrong, text = REFUSED[number]
    with px.seed(0), pytest.raises(px.PhloxError, match=text) as error:
        wrong()
    assert "\n  fix: " in str(error.value)
