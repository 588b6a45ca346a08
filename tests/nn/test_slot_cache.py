"""Attention over slots beside attention over each whole text: blocks, windows, shared keys, texts of unequal length."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import assert_close
from phlox.nn.functional.kernels._kernels import reference_forms

KINDS = {
    "plain": {},
    "shared": {"kv_heads": 1, "positions": px.nn.RotaryEmbedding(8)},
    "window": {"window": (70, 0), "soft_cap": 2.0, "scale": 0.7},
}
TEXTS = (150, 3, 64, 129)  # more than two blocks, part of one, one, two and a position
SLOTS = {"plain": 1, "shared": np.array([4, 1, 3, 2], np.int32), "window": np.array([2, 3, 1, 4], np.int32)}
FORMS = {"fastest": contextlib.nullcontext, "plain": reference_forms}


@px.jit
def some(attention, cache, x, slots, position, lengths):
    return attention(x, lengths=lengths, cache=cache.rows(slots, position))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_texts_in_slots_are_those_alone(kind, form):
    attention = px.nn.MultiHeadAttention(16, 2, causal=True, key=0, **KINDS[kind])
    texts = [jax.random.normal(jax.random.key(i), (1, n, 16)) for i, n in enumerate(TEXTS)]
    cache = px.nn.SlotCache(6, 160, KINDS[kind].get("kv_heads", 2), 8)
    found, held = [[] for _ in TEXTS], np.zeros(4, np.int32)
    while any(held < TEXTS):
        counts = np.minimum(np.array(TEXTS) - held, [37, 1, 64, 50]).astype(np.int32)
        x = jnp.stack([jnp.pad(t[0, h : h + 64], ((0, 64), (0, 0)))[:64] for t, h in zip(texts, held, strict=True)])
        with FORMS[form]():
            y = some(attention, cache, x, SLOTS[kind], held, counts)
        for row, n in enumerate(counts):
            found[row].append(y[row, :n])
        held = held + counts  # in place it would change under the call
    for parts, text in zip(found, texts, strict=True):
        assert_close(jnp.concatenate(parts)[None], attention(text), scale=3)  # sums of another order
    assert not cache.keys[0].any()
    assert not cache.keys[5].any()


def test_what_does_not_count_is_not_written():
    attention = px.nn.MultiHeadAttention(16, 2, causal=True, key=0)
    cache = px.nn.SlotCache(2, 64, 2, 8)
    x = jnp.ones((2, 5, 16)).at[0, 2:].set(jnp.nan)
    y = attention(x, lengths=jnp.array([2, 0]), cache=cache.rows(0, jnp.array([62, 10])))
    written = jnp.abs(cache.keys).sum((2, 3)) > 0
    assert written.nonzero()[1].tolist() == [62, 63]
    assert bool(jnp.isfinite(y[0, :2]).all())
    assert bool(jnp.isfinite(cache.values).all())


def test_a_slot_that_is_copied():
    cache = px.nn.SlotCache(3, 192, 1, 2)
    cache.keys = jax.random.normal(jax.random.key(0), cache.keys.shape)
    cache.values = cache.keys + 1
    before = np.asarray(cache.keys)
    px.jit(lambda held, count: held.copy(2, 0, count))(cache, 65)
    expected = before.copy()
    expected[0, :128] = before[2, :128]
    np.testing.assert_array_equal(cache.keys, expected)
    np.testing.assert_array_equal(cache.values[0, :128], before[2, :128] + 1)


def test_what_slots_do_not_take():
    attention, x = px.nn.MultiHeadAttention(16, 2, causal=True, key=0), jnp.ones((2, 1, 16))
    cache = px.nn.SlotCache(3, 64, 2, 8)
    rows = cache.rows(0, jnp.array([0, 0]))
    with pytest.raises(px.ShapeError, match=r"rows \(batch, kv_heads, size\) \(3, 2, 8\), got \(2, 2, 8\)"):
        attention(jnp.ones((3, 1, 16)), cache=rows)
    with pytest.raises(px.RangeError, match="no mask and no bias beside slots of a cache, got bool"):
        attention(x, mask=jnp.ones((1, 1), bool), cache=rows)
    with pytest.raises(px.RangeError, match="got positions with a bias"):
        px.nn.MultiHeadAttention(16, 2, causal=True, positions=px.nn.ALiBi(2), key=0)(x, cache=rows)
    with pytest.raises(px.RangeError, match="no return_weights beside slots"):
        attention(x, cache=rows, return_weights=True)
    with pytest.raises(px.RangeError, match="SlotCache expects slots"):
        px.nn.SlotCache(0, 64, 2, 8)
