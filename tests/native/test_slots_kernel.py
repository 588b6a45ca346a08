"""Attention over slots of a cache by the kernel: by its definition in float64, in place, and what it leaves alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from phlox.nn.functional.kernels._kernels import _all, package

pytest.importorskip("phlox_cpu", reason="phlox-cpu is not installed")
if package().library is None:
    pytest.skip(f"kernels are out of use: {package().reason}", allow_module_level=True)

SLOTS, LENGTH = 5, 192
CASES = {  # heads, heads of keys, size, window; tokens, slots, positions and lengths of rows
    "a token each": (6, 3, 20, None, 1, [0, 1, 2, 3, 4], [0, 100, 191, 7, 64], [1, 1, 1, 0, 1]),
    "a token, one row": (4, 2, 16, None, 1, [3], [150], [1]),
    "a few tokens, slots anywhere": (4, 4, 8, None, 5, [4, 0, 2], [0, 120, 33], [5, 3, 0]),
    "many tokens": (6, 2, 20, None, 70, [2, 4], [0, 110], [70, 51]),
    "a token, a window": (4, 2, 16, 9, 1, [1, 0], [5, 170], [1, 1]),
    "many tokens, a window": (2, 2, 12, 30, 64, [3, 1], [100, 0], [64, 17]),
    "beyond the last position": (2, 1, 8, None, 12, [0], [185], [12]),
}


def rows_of(cache, slots, position, q, k, v, lengths, **options):
    return cache.rows(slots, position).attend(q, k, v, lengths, **options)


def defined(q, k, v, keys, values, slots, position, lengths, scale, window):
    """What queries find, token by token, and what the slots hold then."""
    q, k, v, keys, values = (np.array(a, np.float64) for a in (q, k, v, keys, values))
    y, group = np.zeros_like(q), q.shape[2] // k.shape[2]
    for row, (slot, begin, count) in enumerate(zip(slots, position, lengths, strict=True)):
        for t in range(min(count, LENGTH - begin)):
            keys[slot, begin + t], values[slot, begin + t] = k[row, t], v[row, t]
        for t in range(count):
            first = 0 if window is None else max(0, begin + t - window)
            for head in range(q.shape[2]):
                seen = keys[slot, first : begin + t + 1, head // group]
                weights = np.exp(scale * seen @ q[row, t, head])
                y[row, t, head] = weights @ values[slot, first : begin + t + 1, head // group] / weights.sum()
    return y, keys, values


@pytest.mark.parametrize("case", CASES)
def test_slots_by_their_definition(case):
    heads, shared, size, window, time, slots, position, lengths = CASES[case]
    rng = np.random.default_rng(0)
    cache = px.nn.SlotCache(SLOTS, LENGTH, shared, size)
    cache.keys, cache.values = (jnp.asarray(rng.normal(size=cache.keys.shape), jnp.float32) for _ in range(2))
    shapes = [(len(slots), time, n, size) for n in (heads, shared, shared)]
    q, k, v = (rng.normal(size=shape).astype(np.float32) for shape in shapes)
    at = [np.array(a, np.int32) for a in (slots, position, lengths)]
    wanted = defined(q, k, v, cache.keys, cache.values, *at, 0.3, window)
    before = _all["phlox_slots"].use.kernel
    y = px.jit(rows_of, static_argnames=("scale", "window"))(
        cache, at[0], at[1], q, k, v, at[2], scale=0.3, window=window
    )
    assert _all["phlox_slots"].use.kernel == before + 1
    np.testing.assert_allclose(y, wanted[0], rtol=0, atol=3e-6)
    np.testing.assert_array_equal(cache.keys, wanted[1].astype(np.float32))
    np.testing.assert_array_equal(cache.values, wanted[2].astype(np.float32))


def test_slots_are_written_where_they_lie():
    cache = px.nn.SlotCache(2, 64, 1, 4)
    step = px.jit(rows_of)
    x = [jnp.ones((2, 1, 1, 4)) for _ in range(3)]
    step(cache, 0, np.zeros(2, np.int32), *x, np.ones(2, np.int32))
    here = cache.keys.unsafe_buffer_pointer(), cache.values.unsafe_buffer_pointer()
    step(cache, 0, np.ones(2, np.int32), *x, np.ones(2, np.int32))
    assert (cache.keys.unsafe_buffer_pointer(), cache.values.unsafe_buffer_pointer()) == here
    np.testing.assert_array_equal(jnp.abs(cache.keys).sum((0, 2, 3))[:3], [8, 8, 0])


def test_nan_stays_in_its_row():
    cache = px.nn.SlotCache(2, 64, 2, 8)
    x = jnp.ones((2, 9, 2, 8)).at[1, 3, 0, 0].set(jnp.nan)
    y = px.jit(rows_of)(cache, 0, np.zeros(2, np.int32), x, jnp.ones_like(x), jnp.ones_like(x), np.array([9, 9]))
    np.testing.assert_array_equal(jnp.isnan(y).any(-1).nonzero(), [[1], [3], [0]])


def test_what_is_no_float32_takes_the_plain_form():
    cache = px.nn.SlotCache(2, 64, 1, 4, dtype=jnp.bfloat16)
    x = jnp.ones((2, 1, 1, 4), jnp.bfloat16)
    before = _all["phlox_slots"].use
    y = px.jit(rows_of)(cache, 0, np.zeros(2, np.int32), x, x, x, np.ones(2, np.int32))
    assert _all["phlox_slots"].use == before
    np.testing.assert_array_equal(y, x)


def test_slots_that_there_are_not_are_refused():
    cache, x = px.nn.SlotCache(2, 64, 1, 4), jnp.ones((1, 1, 1, 4))
    step = px.jit(lambda *args: rows_of(*args), donate=False)
    with pytest.raises(jax.errors.JaxRuntimeError, match="takes slots that there are"):
        np.asarray(step(cache, np.array([2], np.int32), np.zeros(1, np.int32), x, x, x, np.ones(1, np.int32)))
