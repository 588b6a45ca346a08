"""Arrays in 8 bits: the published map, its nearest values, what rounding costs, and boxes that no cut goes through."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kit import oracle
from phlox.optim.rules import _blocks
from phlox.optim.rules._blocks import Blocks, sides_of

TOP = {"signed": 64, "unsigned": 128}  # parts of the decade below 1


def by_bits(sign):
    """The map as it is published, byte by byte: a sign, zeros for the exponent of ten, a one, and a fraction.

    Of the bytes without the one, that of all zeros is 0, and the other is 1.
    """
    width, found = 7 if sign == "signed" else 8, [0.0, 1.0]
    for byte in range(1, 2**width):
        exponent = width - byte.bit_length()  # zeros before the one
        if exponent == 7:
            continue
        bits = width - 1 - exponent
        fraction = byte - 2**bits
        value = 10.0**-exponent * (0.1 + 0.9 * (fraction + 0.5) / 2**bits)
        found += [value, -value] if sign == "signed" else [value]
    return np.sort(found)


def numbers(sign, count=40_000):
    """From -1 or 0 to 1, over nine decades; every value, every border between two, and what is beside it."""
    rng = np.random.default_rng(3)
    values = by_bits(sign)
    borders = (values[1:] + values[:-1]) / 2
    x = np.concatenate([10 ** rng.uniform(-9, 0, count), values, borders * (1 - 1e-5), borders * (1 + 1e-5), [1.0]])
    x = np.concatenate([x, -x]) if sign == "signed" else np.abs(x)
    return x.clip(-1, 1).astype(np.float32)


@pytest.mark.parametrize("sign", _blocks.SIGNS)
def test_values_are_the_published_ones(sign):
    assert len(by_bits(sign)) == 256
    np.testing.assert_allclose(np.sort(_blocks._values(sign)), by_bits(sign), rtol=1e-7)
    assert _blocks._values(sign)[0] == 0


def test_values_are_torchaos():
    oracle("torch")
    utils = oracle("torchao.optim.quant_utils")
    for sign in _blocks.SIGNS:
        theirs = np.asarray(utils.create_dynamic_map(signed=sign == "signed"))
        np.testing.assert_allclose(np.sort(_blocks._values(sign)), theirs, rtol=3e-7)


@pytest.mark.parametrize("sign", _blocks.SIGNS)
def test_codes_are_those_of_the_nearest_value(sign):
    x = numbers(sign)
    values = _blocks._values(sign)
    codes = np.asarray(jax.jit(lambda x: _blocks._nearest(x, sign))(jnp.asarray(x)))
    away = np.abs(x.astype(np.float64) - values[codes])
    least = np.abs(by_bits(sign)[None] - x[:, None].astype(np.float64)).min(1)
    if sign == "unsigned":  # what is above 0 stays so
        assert (values[codes][x > 0] > 0).all()
        lowest = by_bits(sign)[1]
        least = np.where((x > 0) & (x < lowest / 2), lowest - x, least)
    np.testing.assert_array_less(away, least + 2e-7 * np.abs(x) + 1e-14)
    assert len(np.unique(codes)) == 256


@pytest.mark.parametrize("sign", _blocks.SIGNS)
def test_what_rounding_costs_in_each_decade(sign):
    """In the decade up to 10^-d a part is 0.9 · 10^-d · 2^d / n, n those of the first; half of it is lost at most."""
    rng = np.random.default_rng(4)
    x = rng.standard_t(2, (64, 512)).astype(np.float32) * 10 ** rng.uniform(-12, 12, (64, 1)).astype(np.float32)
    x = x if sign == "signed" else x**2
    found = np.asarray(Blocks.of(jnp.asarray(x), (1, 256), sign).value, np.float64)
    largest = np.abs(x.reshape(64, 2, 256)).max(2).repeat(256, 1).astype(np.float64)
    share = np.abs(x) / largest
    decade = np.ceil(np.log10(np.maximum(share, 1e-30)))  # share is in (10^(decade - 1), 10^decade]
    bound = 0.45 * 10**decade * 2.0**-decade / TOP[sign]
    bound = np.where(share <= 1e-7, by_bits("signed").max() * 0.55e-6, bound)
    np.testing.assert_array_less(np.abs(x - found), largest * (bound + 2e-7 * share) + 1e-45)
    assert (np.abs(x - found) <= largest * (0.0071 if sign == "signed" else 0.0036)).all()
    assert len(np.unique(decade)) > 5
    above = (x > 0) & (share == 1)
    np.testing.assert_allclose(found[above], x[above], rtol=2e-7)  # the largest, where it is above 0, is itself


def test_rounded_numbers_stay():
    """What was rounded once is no longer moved: a state that is only read and written does not drift."""
    for sign in _blocks.SIGNS:
        once = Blocks.of(jnp.asarray(numbers(sign)[:4096] * 0.37), (256,), sign)
        twice = once.again(once.value)
        scale = np.asarray(twice.scales) / np.asarray(once.scales)
        kept = np.repeat(scale == 1, 256)
        np.testing.assert_array_equal(np.asarray(twice.codes)[kept], np.asarray(once.codes)[kept])
        assert kept.mean() > 0.4, "where the largest is below 0 it becomes 0.993 of itself"


SHAPES = [(4096,), (10_007,), (4097,), (64, 64), (768, 3072), (1024, 1024), (50_257, 768), (10_007, 24), (67, 67)]
SHAPES += [(3, 3, 64, 128), (7, 7, 3, 64), (100, 100), (3, 1367), (4096, 1), (1, 5000), (16, 4, 1024)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_blocks_are_boxes_of_64_to_256(shape):
    sides = sides_of(shape, 0, 256)
    assert 64 <= math.prod(sides) <= 256
    blocks = math.prod(-(-n // side) for n, side in zip(shape, sides, strict=True))
    assert math.prod(shape) + 4 * blocks <= 0.27 * 4 * math.prod(shape)


@pytest.mark.parametrize("shape", [(1024, 1024), (768, 3072), (2048, 512), (3, 3, 256, 512), (50_257, 768)], ids=str)
def test_no_even_cut_goes_through_a_block(shape):
    sides = sides_of(shape, 0, 256)
    for n, side in zip(shape, sides, strict=True):
        for parts in (2, 4, 8):
            if n >= 8 * 16 and n % parts == 0:
                assert (n // parts) % side == 0, (shape, sides, parts)


def test_blocks_keep_to_one_layer_of_a_stack():
    assert sides_of((48, 64, 64), 1, 256) == (1, *sides_of((64, 64), 0, 256))


@pytest.mark.parametrize("shape", [(50, 37), (5, 7, 11), (1000,)], ids=str)
def test_a_number_far_away_changes_its_own_block_alone(shape):
    """Every block has its own scale, in every corner, those that are cut short too."""
    x = np.random.default_rng(5).uniform(0.5, 1, shape).astype(np.float32)
    sides = sides_of(shape, 0, 64)
    before = np.asarray(Blocks.of(jnp.asarray(x), sides, "signed").value)
    for at in [tuple(0 for _ in shape), tuple(n - 1 for n in shape), tuple(n // 2 for n in shape)]:
        y = x.copy()
        y[at] = 1e6
        after = np.asarray(Blocks.of(jnp.asarray(y), sides, "signed").value)
        same = np.ones(shape, bool)
        same[tuple(slice(i // s * s, i // s * s + s) for i, s in zip(at, sides, strict=True))] = False
        np.testing.assert_array_equal(after[same], before[same])
        assert (after[~same] != before[~same]).all()
        assert after[at] == 1e6


def test_what_is_not_finite_is_never_lost():
    """Nothing of its block is finite any more, and no other changes; a block of zeros is zeros."""
    for bad in (np.nan, np.inf, -np.inf):
        x = np.ones((4, 256), np.float32)
        x[1, 7], x[3] = bad, 0
        found = np.asarray(Blocks.of(jnp.asarray(x), (1, 256), "signed").value)
        assert not np.isfinite(found[1]).any()
        np.testing.assert_array_equal(found[[0, 2, 3]], x[[0, 2, 3]])
