"""Linear recurrences in parallel over time: state-space models and linear attention.

What is linear in the state composes associatively, so all steps are found in a number of rounds that grows with the
logarithm of the time, not with the time (Blelloch, "Prefix sums and their applications", 1990).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from phlox.core import RangeError, ShapeError, answering, describe
from phlox.nn.functional._numeric import beside, inexact, real, widen

__all__ = ["linear_attention", "linear_recurrence", "selective_scan"]


@answering
def linear_recurrence(
    a: ArrayLike, b: ArrayLike, state: ArrayLike | None = None, *, reverse: bool = False
) -> tuple[Array, Array]:
    r"""All states of a linear recurrence, $h_t = a_t ⊙ h_{t-1} + b_t$, in parallel.

    Shapes:
        a, b: (batch, time, ...), real or complex, equal or broadcast against one another; state: (batch, ...), the
        one before the first step, zeros where None; returns h: as b, and the last h: (batch, ...).

    Arguments:
        reverse: run from the last step to the first, $h_t = a_t ⊙ h_{t+1} + b_t$.

    Raises:
        ShapeError: shapes that do not match, or no step at all.

    >>> h, last = linear_recurrence(jnp.full((1, 3), 0.5), jnp.ones((1, 3)), jnp.array([4.0]))
    >>> h.tolist(), last.tolist()
    ([[3.0, 2.5, 2.25]], [2.25])

    Source: Martin and Cundy, "Parallelizing linear recurrent neural nets over sequence length" (arXiv:1709.04057).
    """
    decay, input_ = inexact(a, "linear_recurrence"), inexact(b, "linear_recurrence")
    dtype = jnp.result_type(decay, input_)
    try:
        shape = jnp.broadcast_shapes(decay.shape, input_.shape)
    except ValueError:
        shape = ()
    if len(shape) < 2 or not shape[1]:
        got = f"{describe(decay)} and {describe(input_)}"
        fix = "give both as many axes, and one step at least"
        raise ShapeError("a and b (batch, time, ...)", got=got, fix=fix, where="linear_recurrence")
    decay, input_ = (jnp.broadcast_to(widen(v), shape) for v in (decay, input_))
    first = -1 if reverse else 0
    if state is not None:
        start = inexact(state, "linear_recurrence")
        if start.shape != shape[:1] + shape[2:]:
            fix = "pass the state that a call with this batch returned, or None for zeros"
            wanted = f"state {shape[:1] + shape[2:]}"
            raise ShapeError(wanted, got=describe(start), fix=fix, where="linear_recurrence")
        input_ = input_.at[:, first].add(decay[:, first] * start)
    if isinstance(shape[1], int):
        _, h = lax.associative_scan(_composed, (decay, input_), axis=1, reverse=reverse)
    else:
        h = _in_turn(decay, input_, reverse)
    h = h.astype(dtype)
    return h, h[:, 0 if reverse else -1]


def _in_turn(decay: Array, input_: Array, reverse: bool) -> Array:
    """The states one after the other, for a time that is a symbol: how many rounds it takes is then not known."""

    def step(h: Array, at: tuple[Array, Array]) -> tuple[Array, Array]:
        h = at[0] * h + at[1]
        return h, h

    steps = (jnp.swapaxes(decay, 0, 1), jnp.swapaxes(input_, 0, 1))
    _, h = lax.scan(step, jnp.zeros_like(input_[:, 0]), steps, reverse=reverse)
    return jnp.swapaxes(h, 0, 1)


def _composed(one: tuple[Array, Array], two: tuple[Array, Array]) -> tuple[Array, Array]:
    """The second affine map after the first."""
    return one[0] * two[0], two[0] * one[1] + two[1]


@answering
def selective_scan(
    x: ArrayLike,
    delta: ArrayLike,
    a: ArrayLike,
    b: ArrayLike,
    c: ArrayLike,
    d: ArrayLike | None = None,
    state: ArrayLike | None = None,
    *,
    chunk: int | None = None,
) -> tuple[Array, Array]:
    r"""A diagonal state-space model whose step, input and output depend on the input.

    $h_t = e^{Δ_t A} ⊙ h_{t-1} + Δ_t x_t B_t$ and $y_t = \sum_n h_{t,n} C_{t,n} + D x_t$, for each channel.

    Shapes:
        x, delta: (batch, time, channels); a: (channels, size); b, c: (batch, time, size); d: (channels,) or None;
        state: (batch, channels, size), zeros where None; returns y: as x, and the last h.

    Arguments:
        delta: Δ, the step in time, at least 0; where it is 0 the state stays as it was.
        a: A, below 0 for a state that fades.
        chunk: steps that are run in parallel at a time; memory grows with it, and not with the time. None is all.

    Raises:
        ShapeError: shapes that do not match, or no step at all. RangeError: a ``chunk`` below 1.

    >>> one = jnp.ones((1, 2, 1))
    >>> y, h = selective_scan(one, one, -jnp.full((1, 1), jnp.log(2.0)), one, one)
    >>> y.ravel().tolist()
    [1.0, 1.5]

    Source: Gu and Dao, "Mamba: linear-time sequence modeling with selective state spaces" (arXiv:2312.00752).
    """
    name = "selective_scan"
    u, step, rate, into, out = (real(v, name) for v in (x, delta, a, b, c))
    if u.ndim != 3 or not u.shape[1] or rate.ndim != 2:
        got = f"{describe(u)} and {describe(rate)}"
        fix = "give x three axes and one step at least"
        raise ShapeError("x (batch, time, channels) and a (channels, size)", got=got, fix=fix, where=name)
    batch, time, channels = u.shape
    size = rate.shape[1]
    shapes = {"delta": (step, u.shape), "a": (rate, (channels, size)), "b": (into, (batch, time, size))}
    shapes["c"] = (out, (batch, time, size))
    h = jnp.zeros((batch, channels, size), jnp.promote_types(u.dtype, jnp.float32)) if state is None else state
    h = widen(real(h, name))
    shapes["state"] = (h, (batch, channels, size))
    for what, (array, shape) in shapes.items():
        if array.shape != shape:
            raise ShapeError(f"{what} {shape}", got=describe(array), fix="match it with x and a", where=name)
    wide = tuple(widen(v) for v in (u, step, into, out))
    if chunk is None or (isinstance(time, int) and chunk >= time):
        y, h = _selective(wide, widen(rate), h)
    elif chunk < 1:
        raise RangeError("chunk of at least 1", got=repr(chunk), fix="give a number of steps, or None", where=name)
    else:
        y, h = _selective_by_chunks(wide, widen(rate), h, chunk)
    if d is not None:
        y = y + beside(widen(real(d, name)), 3) * wide[0]
    return y.astype(u.dtype), h.astype(u.dtype if state is None else jnp.result_type(state))


def _selective(arrays: tuple[Array, ...], rate: Array, h: Array) -> tuple[Array, Array]:
    x, delta, b, c = arrays
    decay, into = jnp.exp(delta[..., None] * rate[None, None]), (delta * x)[..., None] * b[:, :, None, :]
    states, last = linear_recurrence(decay, into, h)
    return jnp.einsum("btdn,btn->btd", states, c), last


def _selective_by_chunks(arrays: tuple[Array, ...], rate: Array, h: Array, chunk: int) -> tuple[Array, Array]:
    """Chunks one after the other; the gradient computes the states of each again."""
    batch, time = arrays[0].shape[:2]
    count = -(-time // chunk)

    def split(v: Array) -> Array:
        padded = jnp.pad(v, ((0, 0), (0, count * chunk - time), (0, 0)))  # a step of Δ = 0 leaves the state as it is
        return jnp.swapaxes(padded.reshape(batch, count, chunk, v.shape[2]), 0, 1)

    def body(h: Array, part: tuple[Array, ...]) -> tuple[Array, Array]:
        y, h = _selective(part, rate, h)
        return h, y

    last, ys = lax.scan(jax.checkpoint(body, prevent_cse=False), h, tuple(map(split, arrays)))
    return jnp.swapaxes(ys, 0, 1).reshape(batch, count * chunk, ys.shape[-1])[:, :time], last


def _positive(x: Array) -> Array:
    """1 + x above 0, exp(x) below."""
    return jax.nn.elu(x) + 1


@answering
def linear_attention(
    q: ArrayLike,
    k: ArrayLike,
    v: ArrayLike,
    state: tuple[ArrayLike, ArrayLike] | None = None,
    *,
    feature_map: Callable[[Array], Array] = _positive,
    causal: bool = True,
    normalize: bool = True,
    chunk: int = 64,
) -> tuple[Array, tuple[Array, Array]]:
    r"""Attention whose weights are products of features, in time linear in the length.

    $y_t = φ(q_t) S_t \,/\, φ(q_t) z_t$ with $S_t = \sum_{s \le t} φ(k_s)^\top v_s$ and $z_t = \sum_{s \le t} φ(k_s)$;
    not ``causal``, the sums go over all steps.

    Shapes:
        q, k: (batch, time, heads, size); v: (batch, time, heads, width); state: S (batch, heads, features, width) and
        z (batch, heads, features), zeros where None; returns y: as v, and the last (S, z).

    Arguments:
        feature_map: φ, from the last axis to features that are positive, for weights that are.
        causal: whether a step sees only those up to itself.
        normalize: whether to divide by the sum of the weights.
        chunk: steps whose weights are formed at once; the result does not depend on it.

    Raises:
        ShapeError: shapes that do not match, or no step at all. RangeError: a ``chunk`` below 1.

    >>> one = jnp.ones((1, 3, 1, 1))
    >>> linear_attention(one, one, jnp.arange(3.0).reshape(1, 3, 1, 1))[0].ravel().tolist()
    [0.0, 0.5, 1.0]

    Source: Katharopoulos et al., "Transformers are RNNs" (arXiv:2006.16236).
    """
    name = "linear_attention"
    query, key, value = (real(t, name) for t in (q, k, v))
    ok = query.ndim == 4 and query.shape == key.shape and value.shape[:3] == key.shape[:3] and query.shape[1]
    if not ok or value.ndim != 4:
        got = ", ".join(map(describe, (query, key, value)))
        fix = "split the features into heads, and match batch, time and heads"
        raise ShapeError("q, k, v (batch, time, heads, size)", got=got, fix=fix, where=name)
    if chunk < 1:
        raise RangeError("chunk of at least 1", got=repr(chunk), fix="give a number of steps", where=name)
    dtype = value.dtype
    query, key, value = feature_map(widen(query)), feature_map(widen(key)), widen(value)
    # the last column of the values is 1, so that its sum is z
    value = jnp.concatenate([value, jnp.ones((*value.shape[:-1], 1), value.dtype)], -1)
    start = jnp.zeros((query.shape[0], query.shape[2], query.shape[3], value.shape[3]), value.dtype)
    if state is not None:
        sums, norms = (widen(real(s, name)) for s in state)
        if sums.shape != (*start.shape[:3], start.shape[3] - 1) or norms.shape != start.shape[:3]:
            got = f"{describe(sums)} and {describe(norms)}"
            fix = "pass the state that a call with this batch returned, or None for zeros"
            wanted = f"state {(*start.shape[:3], start.shape[3] - 1)} and {start.shape[:3]}"
            raise ShapeError(wanted, got=got, fix=fix, where=name)
        start = jnp.concatenate([sums, norms[..., None]], -1)
    steps = min(chunk, query.shape[1]) if isinstance(query.shape[1], int) else chunk
    total, last = _attended(query, key, value, start, causal, steps)
    y, weight = total[..., :-1], total[..., -1:]
    return (y / weight if normalize else y).astype(dtype), (last[..., :-1].astype(dtype), last[..., -1].astype(dtype))


def _attended(q: Array, k: Array, v: Array, start: Array, causal: bool, chunk: int) -> tuple[Array, Array]:
    """Unnormalised outputs, and the sums over all steps: within chunks by weights, between them by prefix sums."""
    batch, time = q.shape[:2]
    if not causal:
        last = start + jnp.einsum("bthd,bthe->bhde", k, v)
        return jnp.einsum("bthd,bhde->bthe", q, last), last
    count = -(-time // chunk)

    def split(x: Array) -> Array:
        padded = jnp.pad(x, ((0, 0), (0, count * chunk - time), (0, 0), (0, 0)))
        return padded.reshape(batch, count, chunk, *x.shape[2:])

    q, k, v = split(q), split(k), split(v)
    each = jnp.einsum("bnthd,bnthe->bnhde", k, v)
    sums = lax.associative_scan(jnp.add, each, axis=1) if isinstance(count, int) else jnp.cumsum(each, 1)
    sums = sums + start[:, None]
    before = jnp.concatenate([start[:, None], sums[:, :-1]], 1)
    weights = jnp.where(jnp.tri(chunk, dtype=bool)[:, None], jnp.einsum("bnthd,bnshd->bnths", q, k), 0)
    y = jnp.einsum("bnths,bnshe->bnthe", weights, v) + jnp.einsum("bnthd,bnhde->bnthe", q, before)
    return y.reshape(batch, count * chunk, *y.shape[3:])[:, :time], sums[:, -1]


def zero_order_hold(step: Array, rate: Any) -> tuple[Array, Array]:
    """A continuous diagonal model over a step of time: its decay, and the share of the input that it takes up."""
    decay = jnp.exp(step * rate)
    return decay, (decay - 1) / rate
