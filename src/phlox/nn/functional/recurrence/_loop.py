"""A loop over time whose weight gradient is one product after the loop, in every mode of differentiation.

A recurrent step multiplies what it carries by weights that are the same at every step. Differentiated as it
stands, the backward loop adds a product to a weight-shaped sum at each step. Here the loop has a tangent rule of
its own: the weights' part of the tangent, ``v_t dW``, is linear in what the step multiplied, so it is one product
over all steps *before* a tangent loop that knows the weights as constants; the slopes of gates are taken at all
steps at once. Transposed by JAX, that is a backward loop without weights' sums, and one product after it. The rule
is itself plain code, so forward mode, reverse mode, and derivatives of derivatives all follow from it.
"""

from __future__ import annotations

import functools
import math
import types
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.custom_derivatives import SymbolicZero

from phlox.nn.functional._numeric import beside

Carry = tuple[Array, ...]
Product = Callable[[int, Array], Array]
Step = Callable[[Product, Carry, Any], Carry]
"""``step(product, carry, x) -> carry``, where ``product(k, v)`` is v times the k-th weight."""
Weight = tuple[Array, Array | None]
"""A weight and what is added to its product, or None."""


class How(NamedTuple):
    """What is fixed about a loop."""

    multiply: Callable[[Array, Array], Array]
    """``multiply(v, w)``, linear in each, for v of shape (batch, ...)."""
    reverse: bool = False
    unroll: int = 1


class Flags(NamedTuple):
    """What a step does beside its formula, (time, ...) booleans or None."""

    real: Array | None = None
    """(time, batch): where False the carry stays as it was."""
    border: Array | None = None
    """(time,): where True no gradient passes from the step before."""


def loop(
    step: Step, weights: Sequence[Weight], carry: Carry, xs: Any, *, how: How, flags: Flags, pure: bool
) -> tuple[Carry, Array]:
    """Run ``step`` over the first axis of ``xs``; returns the last carry, and the first part of each.

    Arguments:
        pure: whether ``step`` closes over no array that is differentiated; where it may, JAX differentiates the
            loop as it stands.
    """
    run = _loop if pure else _plain
    return run(step, how, tuple(weights), carry, xs, flags)


def is_pure(fn: Any) -> bool:
    """Whether a function surely closes over no array: one of a library, or a plain one without a closure."""
    named = getattr(fn, "__module__", None) or ""
    if named.startswith(("phlox.nn.functional", "jax.")) and hasattr(fn, "__name__"):
        return True
    return (
        isinstance(fn, types.FunctionType) and fn.__closure__ is None and not fn.__kwdefaults__ and not fn.__defaults__
    )


def _plain(
    step: Step, how: How, weights: tuple[Weight, ...], carry: Carry, xs: Any, flags: Flags
) -> tuple[Carry, Array]:
    """The loop as it stands."""

    def body(carry: Carry, scanned: Any) -> tuple[Carry, Array]:
        x, at = scanned
        new = _advance(step, lambda k, v: _product(how, weights[k], v), carry, x, at)
        return new, new[0]

    return lax.scan(body, carry, (xs, flags), reverse=how.reverse, unroll=how.unroll)


_loop = jax.custom_jvp(_plain, nondiff_argnums=(0, 1))


def _advance(step: Step, product: Product, carry: Carry, x: Any, flags: Flags) -> Carry:
    if flags.border is not None:
        carry = tuple(jnp.where(flags.border, lax.stop_gradient(c), c) for c in carry)
    new = step(product, carry, x)
    if flags.real is None:
        return new
    real = flags.real
    return tuple(
        jnp.where(real.reshape(real.shape + (1,) * (n.ndim - real.ndim)), n, c) for n, c in zip(new, carry, strict=True)
    )


def _product(how: How, weight: Weight, v: Array) -> Array:
    y = how.multiply(v, weight[0])
    return y if weight[1] is None else y + beside(weight[1], y.ndim)


def _seen(
    step: Step, how: How, weights: tuple[Weight, ...], carry: Carry, xs: Any, flags: Flags
) -> tuple[tuple[Carry, Array], Carry, tuple[tuple[Array, Array], ...]]:
    """The loop with all that its tangent needs: the carry before each step, what was multiplied, and the products."""

    def body(carry: Carry, scanned: Any) -> tuple[Carry, Any]:
        x, at = scanned
        seen: dict[int, tuple[Array, Array]] = {}

        def product(k: int, v: Array) -> Array:
            seen[k] = v, _product(how, weights[k], v)
            return seen[k][1]

        new = _advance(step, product, carry, x, at)
        return new, (new[0], carry, tuple(seen[k] for k in range(len(weights))))

    last, (first, before, seen) = lax.scan(body, carry, (xs, flags), reverse=how.reverse, unroll=how.unroll)
    return (last, first), before, seen


@functools.partial(_loop.defjvp, symbolic_zeros=True)
def _tangent(step: Step, how: How, primals: Any, tangents: Any) -> Any:
    weights, carry, xs, flags = primals
    d_weights, d_carry, d_xs, _ = tangents
    value, before, seen = _seen(step, how, weights, carry, xs, flags)
    taps = tuple(_tap(how, v, d) for (v, _), d in zip(seen, d_weights, strict=True))
    slopes = jax.vmap(functools.partial(_slope, step))(before, xs, flags, tuple(p for _, p in seen))

    def body(d_carry: Carry, scanned: Any) -> tuple[Carry, Array]:
        slope, d_x, taps = scanned
        d_products = tuple(jnp.zeros(p.shape[1:], p.dtype) for _, p in seen)
        for k, tap in enumerate(taps):  # a later product may depend on an earlier one, never the reverse
            d_v = slope(d_carry, d_x, d_products)[1][k]
            d_product = how.multiply(d_v, weights[k][0])
            d_product = d_product if tap is None else d_product + tap
            d_products = (*d_products[:k], d_product, *d_products[k + 1 :])
        d_new = slope(d_carry, d_x, d_products)[0]
        return d_new, d_new[0]

    d_value = lax.scan(body, _filled(d_carry), (slopes, _filled(d_xs), taps), reverse=how.reverse, unroll=how.unroll)
    return value, d_value


def _slope(step: Step, carry: Carry, x: Any, flags: Flags, products: tuple[Array, ...]) -> Any:
    """The linear map from tangents of carry, input and products to those of the next carry and what is multiplied."""

    def given(carry: Carry, x: Any, products: tuple[Array, ...]) -> tuple[Carry, tuple[Array, ...]]:
        seen: dict[int, Array] = {}

        def product(k: int, v: Array) -> Array:
            seen[k] = v
            return products[k]

        new = _advance(step, product, carry, x, flags)
        return new, tuple(seen[k] for k in range(len(products)))

    return jax.linearize(given, carry, x, products)[1]


def _tap(how: How, v: Array, d_weight: Weight) -> Array | None:
    """The weights' part of a product's tangent at all steps, as one product."""
    d, bias = (None if x is None or isinstance(x, SymbolicZero) else x for x in d_weight)
    tap = None
    if d is not None:
        rows = math.prod(v.shape[:2])
        flat = how.multiply(v.reshape(rows, *v.shape[2:]), d)
        tap = flat.reshape(*v.shape[:2], *flat.shape[1:])
    if bias is None:
        return tap
    return jnp.broadcast_to(bias, v.shape[:-1] + bias.shape) if tap is None else tap + beside(bias, tap.ndim)


def _filled(tangents: Any) -> Any:
    """Tangents as arrays, also those known to be zero."""
    zero = lambda t: isinstance(t, SymbolicZero)  # noqa: E731
    return jax.tree.map(lambda t: jnp.zeros(t.shape, t.dtype) if zero(t) else t, tangents, is_leaf=zero)
