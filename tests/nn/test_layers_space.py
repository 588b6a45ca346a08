"""Convolutions, pools and resizing beyond the registry's rows: theorems, initialisers, ranges."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import assert_close
from phlox import nn
from registry import normal

# --- transposed and depthwise convolution ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kernel", "space", "options"),
    [
        ((3,), (7,), {"stride": 2, "padding": 1}),
        ((3, 2), (7, 8), {"stride": (2, 1), "dilation": 2}),
        ((2, 2, 2), (4, 4, 4), {}),
    ],
    ids=["1d", "2d", "3d"],
)
def test_conv_transpose_is_the_adjoint_of_conv(kernel, space, options):
    """<conv(x), y> = <x, conv_transpose(y)> for the weight with its channel axes exchanged."""
    conv = px.Conv(kernel, 2, 3, bias=False, key=0, **options)
    x = jnp.asarray(normal(2, *space, 2))
    out = conv(x)
    y = jnp.asarray(normal(*out.shape, seed=1))
    back = nn.ConvTranspose.of(jnp.swapaxes(conv.weight, -1, -2), **options)
    z = back(y)
    pad = [(0, n - m) for n, m in zip(x.shape, z.shape, strict=True)]  # what the stride left over had no part
    assert_close(jnp.vdot(x, jnp.pad(z, pad)), jnp.vdot(out, y), scale=20)


def test_conv_transpose_same_multiplies_space_by_the_stride():
    up = nn.ConvTranspose((5, 4), 2, 3, stride=(3, 2), padding="SAME", key=0)
    assert up(jnp.ones((1, 4, 5, 2))).shape == (1, 12, 10, 3)


def test_conv_transpose_groups_do_not_mix():
    up = nn.ConvTranspose((3, 3), 4, 6, groups=2, stride=2, key=0)
    x = jnp.asarray(normal(2, 4, 4, 4))
    y = up(x)
    moved = up(x.at[..., :2].add(5.0))
    assert_close(moved[..., 3:], y[..., 3:])
    assert float(jnp.abs(moved[..., :3] - y[..., :3]).min(axis=(0, 1, 2)).max()) > 1e-3
    swapped = nn.ConvTranspose.of(
        jnp.concatenate([up.weight[:, :, 2:], up.weight[:, :, :2]], 2),
        jnp.concatenate([up.bias[3:], up.bias[:3]]),
        groups=2,
        stride=2,
    )
    assert_close(swapped(x[..., [2, 3, 0, 1]]), y[..., [3, 4, 5, 0, 1, 2]], scale=5)


@pytest.mark.parametrize("layer", ["conv", "depthwise"])
def test_circular_convolutions_commute_with_shifts(layer):
    build = {
        "conv": lambda: px.Conv((3, 3), 2, 4, padding="SAME", padding_mode="circular", key=0),
        "depthwise": lambda: nn.DepthwiseConv((3, 3), 2, 2, padding="SAME", padding_mode="circular", key=0),
    }[layer]()
    x = jnp.asarray(normal(2, 6, 8, 2))
    shift = lambda v: jnp.roll(v, (2, 3), (1, 2))  # noqa: E731
    assert_close(build(shift(x)), shift(build(x)), scale=5)


def test_depthwise_is_a_grouped_convolution():
    deep = nn.DepthwiseConv((3, 3), 4, 2, px.tanh, stride=2, padding=1, key=0)
    conv = px.Conv.of(deep.weight, deep.bias, px.tanh, groups=4, stride=2, padding=1)
    x = jnp.asarray(normal(2, 6, 5, 4))
    assert_close(deep(x), conv(x))


@pytest.mark.parametrize(
    "build",
    [
        lambda: nn.ConvTranspose((3, 3), 64, 48, key=0),
        lambda: nn.DepthwiseConv((5, 5), 256, 4, key=0),
        lambda: nn.Bilinear(40, 40, 40, key=0),
    ],
    ids=["ConvTranspose", "DepthwiseConv", "Bilinear"],
)
def test_weights_start_uniform_within_glorots_bound(build):
    layer = build()
    *kernel, fan_in, fan_out = layer.weight.shape
    limit = np.sqrt(6 / ((fan_in + fan_out) * np.prod(kernel)))
    weight = np.asarray(layer.weight)
    assert np.abs(weight).max() <= limit
    assert np.abs(weight).max() > 0.99 * limit
    np.testing.assert_allclose(weight.std(), limit / np.sqrt(3), rtol=0.02)
    assert not np.asarray(layer.bias).any()


# --- pools and resizing --------------------------------------------------------------------------------------------


def test_pools_at_their_limits():
    x = jnp.abs(jnp.asarray(normal(2, 6, 4, 3)))
    sums = nn.LpPool(1, (2, 2))(x)
    assert_close(sums, 4 * px.MeanPool((2, 2))(x))
    assert_close(nn.LpPool(float("inf"), (2, 2))(x), px.MaxPool((2, 2))(x))
    assert_close(nn.AdaptiveMeanPool((1, 1))(x), px.GlobalMeanPool()(x))
    assert_close(nn.AdaptiveMaxPool((1, 1))(x), nn.GlobalMaxPool()(x))
    assert_close(nn.AdaptiveMeanPool((3, 2))(x), px.MeanPool((2, 2))(x))
    np.testing.assert_array_equal(nn.AdaptiveMaxPool((6, 4))(x), x)


def test_the_gradient_of_an_lp_pool_is_zero_where_the_norm_is():
    g = jax.grad(lambda x: nn.LpPool(2, 2)(x).sum())(jnp.array([[[0.0], [0.0], [3.0], [4.0]]]))
    assert_close(g.ravel(), np.array([0, 0, 0.6, 0.8], np.float32), kind="grad")


def test_a_dilated_pool_skips_elements():
    x = jnp.array([5.0, 1.0, 9.0, 2.0, 3.0]).reshape(1, 5, 1)
    assert px.MaxPool(2, stride=1, dilation=3)(x).ravel().tolist() == [5.0, 3.0]


def test_padding_is_never_the_largest_and_counts_as_asked():
    x = -jnp.ones((1, 2, 2, 1))
    assert (px.MaxPool((3, 3), padding=1, stride=2, ceil_mode=True)(x) == -1).all()
    inside = px.MeanPool((3, 3), padding=1, stride=2, count_include_pad=False)(x)
    assert_close(inside, -np.ones((1, 1, 1, 1), np.float32))
    with_zeros = px.MeanPool((3, 3), padding=1, stride=2)(x)
    assert_close(with_zeros, np.full((1, 1, 1, 1), -4 / 9, np.float32))


def test_permuted_channels_stay_permuted():
    x, order = jnp.asarray(normal(2, 6, 4, 4)), np.array([2, 0, 3, 1])
    for layer in (nn.LpPool(3, (2, 2)), nn.AdaptiveMaxPool((4, 3)), nn.Upsample("bicubic", scale=2), nn.ReflectPad(2)):
        assert_close(layer(x[..., order]), layer(x)[..., order])


def test_upsampling_keeps_constants_and_with_aligned_corners_lines():
    x = jnp.asarray(normal(1, 4, 5, 2))
    for mode in ("nearest", "bilinear", "bicubic", "area"):
        up = nn.Upsample(mode, size=(7, 9))
        assert_close(up(jnp.full_like(x, 3.0)), np.full((1, 7, 9, 2), 3, np.float32), scale=3)
    line = jnp.linspace(-1.0, 3.0, 5).reshape(1, 5, 1)
    up = nn.Upsample("linear", size=9, align_corners=True)
    assert_close(up(line).ravel(), np.linspace(-1, 3, 9, dtype=np.float32))


def test_pixel_shuffle_undoes_unshuffle():
    x = jnp.asarray(normal(2, 6, 4, 3))
    np.testing.assert_array_equal(px.Chain(nn.PixelUnshuffle((3, 2)), nn.PixelShuffle((3, 2)))(x), x)


def test_fold_of_unfold_counts_how_many_windows_see_an_element():
    options = {"stride": 2, "padding": 1}
    both = px.Chain(nn.Unfold((3, 3), **options), nn.Fold((6, 5), (3, 3), **options))
    x = jnp.asarray(normal(2, 6, 5, 2))
    count = both(jnp.ones_like(x))
    assert_close(both(x), count * x)
    assert sorted(set(np.asarray(count).ravel().tolist())) == [1, 2, 4]


def test_unfold_times_the_weight_is_the_convolution():
    conv = px.Conv((3, 2), 2, 4, stride=2, padding=1, key=0)
    x = jnp.asarray(normal(2, 6, 5, 2))
    y = nn.Unfold((3, 2), stride=2, padding=1)(x) @ conv.weight.reshape(-1, 4)
    assert_close(y, conv(x).reshape(2, -1, 4), scale=3)


@pytest.mark.parametrize("mode", ["Reflect", "Symmetric", "Circular", "Replicate", "Zero"])
@pytest.mark.parametrize("amounts", [2, (1, 3), ((0, 2), (3, 1))])
def test_pads_are_numpys(mode, amounts):
    x = normal(2, 5, 6, 3)
    pairs = [(2, 2)] * 2 if amounts == 2 else [(1, 1), (3, 3)] if amounts == (1, 3) else list(amounts)
    name = {"Reflect": "reflect", "Symmetric": "symmetric", "Circular": "wrap", "Replicate": "edge", "Zero": "constant"}
    np.testing.assert_array_equal(
        getattr(nn, mode + "Pad")(amounts)(x), np.pad(x, [(0, 0), *pairs, (0, 0)], mode=name[mode])
    )


# --- refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda: nn.ConvTranspose(3, 4, 6, groups=4),
            r"ConvTranspose expects groups that divide in_channels=4 and out",
        ),
        (
            lambda: nn.ConvTranspose(3, 4, 6, stride=-1),
            r"ConvTranspose expects stride to be a whole number of at least 1",
        ),
        (lambda: nn.ConvTranspose(3, 4, 6, output_padding=1), r"ConvTranspose expects output_padding below the larger"),
        (lambda: nn.ConvTranspose(3, 4, 6, output_padding=-1), r"output_padding to be a whole number of at least 0"),
        (lambda: nn.ConvTranspose((3,) * 4, 4, 6), r"ConvTranspose expects kernel for 1, 2 or 3 spatial axes"),
        (lambda: nn.ConvTranspose(3, 4, 6, padding=-1)(jnp.ones((1, 5, 4))), r"expects padding of at least 0"),
        (lambda: nn.ConvTranspose(2, 4, 6, padding=4)(jnp.ones((1, 3, 4))), r"expects padding that leaves something"),
        (lambda: nn.ConvTranspose.of(jnp.ones((3, 4, 6)), jnp.ones(5)), r"ConvTranspose.of expects bias \(6,\)"),
        (lambda: nn.DepthwiseConv(3, 4, 0), r"DepthwiseConv expects multiplier to be a whole number of at least 1"),
        (
            lambda: nn.DepthwiseConv(5, 4)(jnp.ones((1, 3, 4))),
            r"expects a padded input of at least 5 along spatial axis 0",
        ),
        (
            lambda: nn.DepthwiseConv(2, 4)(jnp.ones((1, 4, 3))),
            r"DepthwiseConv\(\(2,\), 4 → 4\) expects \(batch, time, 4\)",
        ),
        (lambda: nn.LpPool(0.5, 2), r"LpPool expects p of at least 1, got 0.5"),
        (lambda: nn.LpPool(2, 2, stride=-2), r"LpPool expects stride to be a whole number of at least 1, got -2"),
        (lambda: nn.LpPool(2, 9)(jnp.ones((1, 5, 2))), r"LpPool\(2, \(9,\)\) expects a padded input of at least 9"),
        (
            lambda: nn.AdaptiveMaxPool(0),
            r"AdaptiveMaxPool expects output_size to be a whole number of at least 1, got 0",
        ),
        (lambda: nn.Upsample("cubic", scale=2), r"Upsample expects mode as one of .*, got 'cubic'"),
        (lambda: nn.Upsample(), r"Upsample expects one of scale and size, got neither"),
        (lambda: nn.Upsample(scale=2, size=4), r"Upsample expects one of scale and size, got both"),
        (lambda: nn.Upsample(scale=-2), r"Upsample expects a scale above 0, got -2"),
        (lambda: nn.Upsample(scale=2, align_corners=True), r"Upsample expects align_corners=False with mode 'nearest'"),
        (lambda: nn.PixelShuffle(0), r"PixelShuffle expects factor to be a whole number of at least 1, got 0"),
        (lambda: nn.PixelUnshuffle("2"), r"PixelUnshuffle expects factor as an int or ints, got '2'"),
        (lambda: nn.Unfold((2, 2))(jnp.ones((1, 5, 2))), r"Unfold\(\(2, 2\)\) expects \(batch, \*space, channels\)"),
        (lambda: nn.Fold(4, 2)(jnp.ones((1, 3, 3))), r"Fold\(\(4,\), \(2,\)\) expects \(batch, 3, 2·channels\)"),
        (lambda: nn.ReflectPad(-1), r"ReflectPad expects padding of at least 0, got -1"),
        (
            lambda: nn.ReflectPad(3)(jnp.ones((1, 3, 1))),
            r"ReflectPad\(3\) expects at least 4 elements along spatial axis 0",
        ),
        (lambda: nn.ZeroPad((1, 2))(jnp.ones((1, 3, 1))), r"ZeroPad\(\(1, 2\)\) expects padding as one int, 1"),
        (lambda: nn.ConstantPad(1.5), r"ConstantPad expects padding of at least 0, got 1.5"),
    ],
)
def test_what_does_not_fit_is_refused(call, text):
    with pytest.raises(px.PhloxError, match=text) as caught:
        call()
    assert "\n  fix: " in str(caught.value)


def test_empty_batches_pass():
    x = jnp.ones((0, 6, 6, 4))
    for layer in (
        nn.ConvTranspose((3, 3), 4, 2),
        nn.DepthwiseConv((3, 3), 4),
        nn.LpPool(2, (2, 2)),
        nn.AdaptiveMaxPool((3, 3)),
        nn.GlobalMaxPool(),
        nn.Upsample("bilinear", scale=2),
        nn.PixelShuffle(2),
        nn.ReflectPad(1),
        nn.Flatten(),
        nn.Reshape((6, -1)),
    ):
        assert layer(x).shape[0] == 0
