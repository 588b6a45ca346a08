"""Positions for attention: rotations of queries and keys, waves, and biases by distance."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from phlox.core import RangeError, ShapeError, answering, describe
from phlox.nn.functional._numeric import beside, real, widen

__all__ = [
    "alibi_bias",
    "alibi_slopes",
    "apply_rotary",
    "relative_buckets",
    "rotary_angles",
    "rotary_frequencies",
    "sinusoidal_positions",
]

# What each way of stretching rotary positions reads, and needs, beside the factor.
_SCALINGS: dict[str, tuple[str, ...]] = {
    "default": (),
    "linear": ("factor",),
    "dynamic": ("factor", "original_max_position_embeddings"),
    "yarn": ("factor", "original_max_position_embeddings"),
    "llama3": ("factor", "original_max_position_embeddings", "low_freq_factor", "high_freq_factor"),
    "longrope": ("short_factor", "long_factor", "original_max_position_embeddings"),
}
_OPTIONAL = {"yarn": ("beta_fast", "beta_slow", "attention_factor", "truncate"), "longrope": ("attention_factor",)}


@answering
def rotary_frequencies(
    size: int, *, base: float = 10000.0, scaling: Mapping[str, Any] | None = None, length: ArrayLike | None = None
) -> tuple[Array, float]:
    r"""Compute how fast each pair of features turns, ``f_i = base**(-2i / size)``, stretched for longer contexts.

    With factor s and original length L, ``scaling["rope_type"]`` is

    - "linear": ``f / s``;
    - "dynamic" (NTK-aware): the base grows to ``base * (s n / L - (s - 1))**(size / (size - 2))`` where the length n
      exceeds L;
    - "yarn": ``f / s`` for pairs that turn less than ``beta_slow`` (1) times in L, f for those that turn more than
      ``beta_fast`` (32) times, a ramp over the pairs between; cosines and sines grow by ``0.1 ln(s) + 1``;
    - "llama3": ``(1 - t) f / s + t f`` with t from 0 at ``low_freq_factor`` turns in L to 1 at ``high_freq_factor``;
    - "longrope": ``f / short_factor`` up to the length L, ``f / long_factor`` beyond it, a number for each pair;
      cosines and sines grow by ``sqrt(1 + ln(s) / ln(L))``, or by ``attention_factor``.

    Shapes:
        frequencies: (size / 2,), radians per position, float32 at least; the second result is the factor of the
        cosines and sines.

    Arguments:
        size: features of a head that turn, an even number.
        base: the longest wave has ``2 pi base`` positions.
        scaling: keys as in the ``rope_scaling`` of a Hugging Face configuration: ``rope_type``, ``factor``,
            ``original_max_position_embeddings`` and those named above.
        length: n, how many positions there are; may be traced. Only "dynamic" and "longrope" read it.

    Raises:
        RangeError: an odd size, a rope_type that is none of these, a key that is missing or not read, factors that
            are not one for each pair.

    >>> rotary_frequencies(4, base=100.0)[0].round(6).tolist()
    [1.0, 0.10000000149011612]

    Source: Su et al., "RoFormer" (arXiv:2104.09864); Chen et al. (arXiv:2306.15595) for "linear"; Peng et al., "YaRN"
    (arXiv:2309.00071) for "dynamic" and "yarn"; "The Llama 3 herd of models" (arXiv:2407.21783) for "llama3"; Ding et
    al., "LongRoPE" (arXiv:2402.13753).
    """
    kind, numbers = read_scaling("rotary_frequencies", size, base, scaling)
    pairs = np.arange(0, size, 2) / size
    factor, original = numbers.get("factor", 1.0), numbers.get("original_max_position_embeddings", 1.0)
    if kind == "dynamic":
        longest = jnp.maximum(jnp.asarray(original if length is None else length, jnp.result_type(float)), original)
        stretch = (factor * longest / original - (factor - 1.0)) ** (size / (size - 2))
        return (base * stretch) ** -jnp.asarray(pairs), 1.0
    plain = base**-pairs
    if kind == "yarn":
        share, gain = _yarn_ramp(size, base, original, numbers), numbers.get("attention_factor")
        gain = (0.1 * math.log(factor) + 1.0 if factor > 1.0 else 1.0) if gain is None else gain
        return jnp.asarray(share * plain / factor + (1.0 - share) * plain), float(gain)
    if kind == "llama3":
        low, high = numbers["low_freq_factor"], numbers["high_freq_factor"]
        kept = np.clip((original * plain / (2.0 * math.pi) - low) / (high - low), 0.0, 1.0)
        return jnp.asarray((1.0 - kept) * plain / factor + kept * plain), 1.0
    if kind == "longrope":
        short, long = (jnp.asarray(plain / np.asarray(numbers[f"{name}_factor"])) for name in ("short", "long"))
        beyond = jnp.asarray(0 if length is None else length) > original
        return jnp.where(beyond, long, short), _longrope_gain(factor, original, numbers)
    return jnp.asarray(plain / factor), 1.0


@answering
def rotary_angles(
    positions: ArrayLike, frequencies: ArrayLike, *, gain: float = 1.0
) -> tuple[Array, Array]:  # cos, sin
    """Compute cosine and sine of every position's turn: ``cos(p f_i), sin(p f_i)``, times ``gain``.

    Shapes:
        positions: (..., time), integers or floats; frequencies: (pairs,); cos, sin: (..., time, pairs).

    Arguments:
        gain: factor of both.

    >>> [x.tolist() for x in rotary_angles(jnp.array([0]), jnp.array([1.0]))]
    [[[1.0]], [[0.0]]]

    Source: Su et al., "RoFormer" (arXiv:2104.09864).
    """
    turning = real(frequencies, "rotary_angles")
    at = jnp.asarray(positions).astype(turning.dtype)[..., None]
    angles = at * beside(turning, at.ndim)
    return jnp.cos(angles) * gain, jnp.sin(angles) * gain


@answering
def apply_rotary(x: ArrayLike, cos: ArrayLike, sin: ArrayLike, *, interleaved: bool = False) -> Array:
    """Turn pairs of features by angles: ``(a, b) -> (a cos - b sin, a sin + b cos)``.

    Products of queries and keys then depend on how far apart they are, not on where.

    Shapes:
        x: (batch, time, heads, size); cos, sin: (time, pairs) or (batch, time, pairs); y: as x. Features behind the
        first ``2 * pairs`` stay as they are.

    Arguments:
        interleaved: whether pairs are neighbours (0, 1), (2, 3), … as in the paper and GPT-J; else the halves
            (0, pairs), (1, pairs + 1), … as in GPT-NeoX and Llama.

    Raises:
        ShapeError: x of another rank, or angles that do not fit it.

    >>> half_turn = jnp.array([[-1.0]]), jnp.array([[0.0]])
    >>> apply_rotary(jnp.array([[[[1.0, 2.0]]]]), *half_turn).ravel().tolist()
    [-1.0, -2.0]

    Source: Su et al., "RoFormer" (arXiv:2104.09864).
    """
    array, cos, sin = real(x, "apply_rotary"), real(cos, "apply_rotary"), real(sin, "apply_rotary")
    if array.ndim != 4:
        fix = "split the features into heads: x.reshape(batch, time, heads, -1)"
        raise ShapeError("x of shape (batch, time, heads, size)", got=describe(array), fix=fix, where="apply_rotary")
    batch, time, _, size = array.shape
    pairs = cos.shape[-1] if cos.ndim else 0
    if sin.shape != cos.shape or cos.shape[:-1] not in ((time,), (batch, time), (1, time)) or 2 * pairs > size:
        expected = f"cos and sin of shape ({time}, pairs) or ({batch}, {time}, pairs), at most {size // 2} pairs"
        fix = "make them by rotary_angles from the positions of x"
        raise ShapeError(expected, got=f"{describe(cos)}, {describe(sin)}", fix=fix, where="apply_rotary")
    wide = widen(array)
    cos, sin = (beside(a[..., None, :].astype(wide.dtype), 4) for a in (cos, sin))
    turned, rest = wide[..., : 2 * pairs], wide[..., 2 * pairs :]
    if interleaved:
        a, b = turned[..., 0::2], turned[..., 1::2]
        y = jnp.stack([a * cos - b * sin, a * sin + b * cos], -1).reshape(turned.shape)
    else:
        a, b = turned[..., :pairs], turned[..., pairs:]
        y = jnp.concatenate([a * cos - b * sin, a * sin + b * cos], -1)
    return jnp.concatenate([y, rest], -1).astype(array.dtype)


@answering
def sinusoidal_positions(
    positions: ArrayLike, size: int, *, base: float = 10000.0, interleaved: bool = True
) -> Array:  # (..., size)
    """Describe positions by waves: ``sin(p / base**(2i / size))`` and the cosine of the same, for i from 0.

    Shapes:
        positions: (...); y: (..., size), float32 at least.

    Arguments:
        size: numbers per position, even.
        base: the longest wave has about ``2 pi base`` positions.
        interleaved: sine and cosine of one wave side by side, as in the paper; else all sines, then all cosines.

    Raises:
        RangeError: an odd size.

    >>> sinusoidal_positions(jnp.array([0]), 4).tolist()
    [[0.0, 1.0, 0.0, 1.0]]

    Source: Vaswani et al., "Attention is all you need" (arXiv:1706.03762), section 3.5.
    """
    _even("sinusoidal_positions", size, base)
    frequencies = jnp.asarray(base ** -(np.arange(0, size, 2) / size))
    cos, sin = rotary_angles(positions, frequencies)
    if interleaved:
        return jnp.stack([sin, cos], -1).reshape(*sin.shape[:-1], size)
    return jnp.concatenate([sin, cos], -1)


@answering
def alibi_slopes(heads: int) -> Array:  # (heads,)
    """Compute the slope of every head's linear bias: ``2**(-8 h / heads)`` for h from 1, heads a power of two.

    For other numbers the first slopes are those of the power of two below, and the rest every second one of the
    power above.

    Shapes:
        slopes: (heads,).

    Raises:
        RangeError: fewer than one head.

    >>> alibi_slopes(2).tolist()
    [0.0625, 0.00390625]

    Source: Press et al., "Train short, test long" (arXiv:2108.12409).
    """
    if heads < 1:
        raise RangeError("heads of at least 1", got=str(heads), fix="give the number of heads", where="alibi_slopes")
    below = 1 << (heads.bit_length() - 1)
    slopes = [2.0 ** (-8.0 * h / below) for h in range(1, below + 1)]
    slopes += [2.0 ** (-4.0 * h / below) for h in range(1, 2 * (heads - below), 2)]
    return jnp.asarray(slopes)


@answering
def alibi_bias(slopes: ArrayLike, queries: ArrayLike, keys: ArrayLike) -> Array:
    """Compute a bias that falls with distance: ``-slope_h * |query - key|``.

    Shapes:
        slopes: (heads,); queries: (..., time), positions; keys: (keys,), positions; bias: (..., heads, time, keys).

    >>> alibi_bias(jnp.array([0.5]), jnp.arange(2), jnp.arange(2)).tolist()
    [[[-0.0, -0.5], [-0.5, -0.0]]]

    Source: Press et al., "Train short, test long" (arXiv:2108.12409).
    """
    steep = real(slopes, "alibi_bias")
    at = jnp.asarray(queries)[..., None]
    apart = jnp.abs(at - beside(jnp.asarray(keys), at.ndim)).astype(steep.dtype)[..., None, :, :]
    return -beside(steep[:, None, None], apart.ndim) * apart


@answering
def relative_buckets(
    relative: ArrayLike, *, buckets: int = 32, max_distance: int = 128, bidirectional: bool = True
) -> Array:
    """Sort distances into buckets: near ones each have their own, far ones share, logarithmically wider each.

    Shapes:
        relative: (...), key position minus query position; y: (...), integers in [0, buckets).

    Arguments:
        buckets: how many; with ``bidirectional`` half of them for keys behind the query, half for those ahead.
        max_distance: from here on, all share the last bucket.
        bidirectional: whether keys ahead are told apart; else all of them are in bucket 0.

    Raises:
        RangeError: fewer than 2 buckets in a direction, or a ``max_distance`` within those that are exact.

    >>> relative_buckets(jnp.array([-2, 0, 2, 99]), buckets=8, max_distance=16).tolist()
    [2, 0, 6, 7]

    Source: Raffel et al., "Exploring the limits of transfer learning" (arXiv:1910.10683), section 2.1.
    """
    each = buckets // 2 if bidirectional else buckets
    exact = each // 2
    if exact < 1 or max_distance <= exact:
        got, fix = f"{buckets} buckets, max_distance={max_distance}", "give more buckets, or a larger distance"
        expected = "2 buckets or more in each direction, and max_distance beyond the exact ones"
        raise RangeError(expected, got=got, fix=fix, where="relative_buckets")
    apart = jnp.asarray(relative)
    ahead = jnp.where(apart > 0, each, 0) if bidirectional else 0
    distance = jnp.abs(apart) if bidirectional else jnp.maximum(-apart, 0)
    ratio = jnp.maximum(distance, exact).astype(jnp.float32) / exact
    far = exact + (jnp.log(ratio) / math.log(max_distance / exact) * (each - exact)).astype(jnp.int32)
    return (ahead + jnp.where(distance < exact, distance, jnp.minimum(far, each - 1))).astype(jnp.int32)


def read_scaling(
    where: str, size: int, base: float, scaling: Mapping[str, Any] | None
) -> tuple[str, dict[str, Any]]:  # kind, numbers
    """The way of stretching and its numbers, checked."""
    _even(where, size, base)
    given = dict(scaling or {})
    given.pop("rope_theta", None)  # newer configurations repeat the base here
    kind = given.pop("rope_type", given.pop("type", "default"))
    if not isinstance(kind, str) or kind not in _SCALINGS:
        fix = "choose one of them; what else a configuration asks for is not there"
        raise RangeError(f"rope_type to be one of {', '.join(_SCALINGS)}", got=repr(kind)[:100], fix=fix, where=where)
    missing = [name for name in _SCALINGS[kind] if given.get(name) is None]
    unread = [name for name in given if name not in (*_SCALINGS[kind], *_OPTIONAL.get(kind, ()), "factor")]
    if missing or unread:
        expected = f"scaling {kind!r} with {', '.join(_SCALINGS[kind]) or 'nothing more'}"
        got = ", ".join([f"no {name}" for name in missing] + unread)
        raise RangeError(expected, got=got, fix="give these keys, and no others", where=where)
    if kind == "dynamic" and size < 4:
        raise RangeError("4 features or more for dynamic scaling", got=str(size), fix="use larger heads", where=where)
    if kind == "longrope":
        _check_factors(where, size, given)
    return kind, {name: value for name, value in given.items() if value is not None}


def _check_factors(where: str, size: int, given: Mapping[str, Any]) -> None:
    """Refuse factors that are not one for each pair, and a length that has no logarithm to divide by."""
    for name in ("short_factor", "long_factor"):
        found = given[name]
        if not isinstance(found, list | tuple) or len(found) != size // 2 or not all(f > 0 for f in found):
            fix = "give one number for each pair of features that turn"
            raise RangeError(f"{name}: {size // 2} numbers above 0", got=repr(found)[:80], fix=fix, where=where)
    original = given["original_max_position_embeddings"]
    if not original > 1:
        fix = "give the longest text in training"
        raise RangeError("original_max_position_embeddings above 1", got=str(original), fix=fix, where=where)


def _longrope_gain(factor: float, original: float, numbers: Mapping[str, Any]) -> float:
    """How much cosines and sines grow: as it is given, or by how much longer texts are."""
    given = numbers.get("attention_factor")
    grown = math.sqrt(1.0 + math.log(factor) / math.log(original)) if factor > 1.0 else 1.0
    return float(grown if given is None else given)


def _yarn_ramp(size: int, base: float, original: float, numbers: Mapping[str, Any]) -> np.ndarray:
    """For each pair, how much of it is stretched: 0 for fast ones, 1 for slow ones."""

    def pair_turning(times: float) -> float:
        return size * math.log(original / (2.0 * math.pi * times)) / (2.0 * math.log(base))

    fast, slow = pair_turning(numbers.get("beta_fast", 32.0)), pair_turning(numbers.get("beta_slow", 1.0))
    if numbers.get("truncate", True):
        fast, slow = math.floor(fast), math.ceil(slow)
    first, last = max(fast, 0.0), min(slow, size - 1.0)
    return np.clip((np.arange(size // 2) - first) / max(last - first, 1e-3), 0.0, 1.0)


def _even(where: str, size: int, base: float) -> None:
    if isinstance(size, bool) or not isinstance(size, int) or size < 2 or size % 2:
        fix = "give an even number of features; each pair is one wave"
        raise RangeError("an even size of at least 2", got=repr(size), fix=fix, where=where)
    if not base > 0:
        raise RangeError("base above 0", got=repr(base), fix="give a number such as 10000", where=where)
