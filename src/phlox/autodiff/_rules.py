"""The table of reverse mode: for each of JAX's operations, what a cotangent becomes on its way back.

A cotangent ``g`` of a value says how the loss moves with it. ``g`` belongs to the result ``y`` of a line; its rule
gives the cotangent of each operand. Of elementwise operations a rule is a formula for each operand, in ``g``, the
operands and ``y``; of others it is a function of the step. Gathers and scatters are in ``_places``, convolutions in
``_windows``, decompositions in ``_linear_algebra``; loops, branches and rules of users in ``_control``.

Complex numbers go by JAX's convention: a holomorphic function multiplies by its derivative, without conjugation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import jax.numpy as jnp
from jax import lax

from phlox.autodiff import _writing as w
from phlox.autodiff._writing import Name, cast, cos, digamma, exp, log, paired, rsqrt, sin, where
from phlox.core import StructureError


@dataclass(frozen=True)
class Rule:
    """A rule: ``back(step, *gs)`` gives a cotangent, or None, for each operand; ``writes`` says what it does."""

    back: Callable[..., Sequence[Any]]
    writes: Callable[..., str]
    """``writes(gs, xs, ys, parameters, i)``: text of the i-th operand's cotangent, from names."""
    texts: int = 1
    """How many texts it has: one for each operand, or one for all."""


RULES: dict[str, Rule] = {}

# Operations whose result has each element from one element of each operand.
ELEMENTWISE = {"abs", "pow", "integer_pow", "reduce_precision", "select_n"}

# What no gradient passes: steps, comparisons, counts, and where somebody stopped it.
STOPS = frozenset({"stop_gradient", "sign", "floor", "ceil", "round", "is_finite", "eq", "ne", "lt", "le", "gt", "ge"}
                  | {"argmax", "argmin", "clz", "nextafter", "bitcast_convert_type"}
                  | {"random_bits", "debug_callback"})  # fmt: skip

# What JAX differentiates and this table does not, each with what it is.
ABSENT = {
    "reduce_window": "a reduction over windows by a function of the user's own",
    "ragged_dot_general": "products of groups of rows",
    "linear_call": "linear functions that bring their transpose",
    "custom_vmap_call": "functions with a rule of their own for vmap",
    "call_hi_primitive": "operations on types of the user's own",
    "pallas_call": "kernels in Pallas",
    "shard_map": "what runs on each device by itself, and the collectives in it",
    "compute_on": "what is computed on another device",
    "relayout": "arrays that are laid out in another way",
    "with_memory_space_constraint": "arrays that are kept in another memory",
    "reshard": "arrays that are given another sharding",
    "remat_opt": "functions of jax.custom_vjp with optimize_remat",
}


def on(*names: str, text: str | tuple[str, ...]) -> Callable[[Any], Any]:
    """Enter a function under these names; ``text`` says what it does, one for all operands or one for each.

    In it {g} is the cotangent, {x[0]} the first operand, {y} the result, {p[axis]} a parameter of the
    operation, {i} the number of the operand.
    """

    def writes(gs: list[str], xs: list[str], ys: list[str], parameters: Any, i: int) -> str:
        own = text if isinstance(text, str) else text[min(i, len(text) - 1)]
        return own.format(g=", ".join(gs), x=xs, y=", ".join(ys), p=parameters, i=i)

    def enter(back: Any) -> Any:
        for name in names:
            assert name not in RULES, name
            RULES[name] = Rule(back, writes, 1 if isinstance(text, str) else len(text))
        return back

    return enter


def each(name: str, *formulas: Callable[..., Any]) -> None:
    """Enter an elementwise operation: for each operand a formula in g, the operands and the result."""

    def back(step: Any, g: Any) -> list[Any]:
        found = zip(formulas, step.xs, step.wanted, strict=True)
        return [cast(f(g, *step.xs, step.ys[0]), x.dtype) if wanted else None for f, x, wanted in found]

    def writes(gs: list[str], xs: list[str], ys: list[str], parameters: Any, i: int) -> str:
        return str(formulas[i](*map(Name, (gs[0], *xs[: len(formulas)], ys[0]))))

    assert name not in RULES, name
    RULES[name] = Rule(back, writes, len(formulas))
    ELEMENTWISE.add(name)


def no_slope(what: str, layer: str) -> StructureError:
    """The error of an operation whose rule does not cover this use of it."""
    return StructureError(
        "operations whose slope is known",
        got=what,
        fix="compute it by other operations, or give its rule in rewrite=",
        where=layer or "the model",
        located=True,
    )


# --- elementwise ------------------------------------------------------------------------------------------

for _name, _formula in {
    "neg": lambda g, x, y: -g,
    "sin": lambda g, x, y: g * cos(x),
    "cos": lambda g, x, y: -g * sin(x),
    "tan": lambda g, x, y: g * (1 + y * y),
    "asin": lambda g, x, y: g * rsqrt(1 - x * x),
    "acos": lambda g, x, y: -g * rsqrt(1 - x * x),
    "atan": lambda g, x, y: g / (1 + x * x),
    "sinh": lambda g, x, y: g * w.cosh(x),
    "cosh": lambda g, x, y: g * w.sinh(x),
    "tanh": lambda g, x, y: g * (1 - y * y),
    "asinh": lambda g, x, y: g * rsqrt(1 + x * x),
    "acosh": lambda g, x, y: g * rsqrt((x - 1) * (x + 1)),
    "atanh": lambda g, x, y: g / ((1 - x) * (1 + x)),
    "exp": lambda g, x, y: g * y,
    "exp2": lambda g, x, y: g * y * math.log(2),
    "expm1": lambda g, x, y: g * (y + 1),
    "log": lambda g, x, y: g / x,
    "log1p": lambda g, x, y: g / (1 + x),
    "log2": lambda g, x, y: g / (x * math.log(2)),
    "logistic": lambda g, x, y: g * y * (1 - y),
    "sqrt": lambda g, x, y: g / (2 * y),
    "rsqrt": lambda g, x, y: -g * y / (2 * x),
    "cbrt": lambda g, x, y: g * y / (3 * x),
    "square": lambda g, x, y: 2 * g * x,
    "one_minus_square": lambda g, x, y: -2 * g * x,
    "erf": lambda g, x, y: g * exp(-x * x) * (2 / math.sqrt(math.pi)),
    "erfc": lambda g, x, y: -g * exp(-x * x) * (2 / math.sqrt(math.pi)),
    "erf_inv": lambda g, x, y: g * exp(y * y) * (math.sqrt(math.pi) / 2),
    "lgamma": lambda g, x, y: g * digamma(x),
    "digamma": lambda g, x, y: g * w.trigamma(x),
    "conj": lambda g, x, y: w.conj(g),
    "real": lambda g, x, y: paired(g, 0 * g),
    "imag": lambda g, x, y: paired(0 * g, -g),
    "convert_element_type": lambda g, x, y: g,
    "copy": lambda g, x, y: g,
    "copy_p": lambda g, x, y: g,
    "name": lambda g, x, y: g,
}.items():
    each(_name, _formula)

for _name, _left, _right in (
    ("add", lambda g, a, b, y: g, lambda g, a, b, y: g),
    ("add_any", lambda g, a, b, y: g, lambda g, a, b, y: g),
    ("sub", lambda g, a, b, y: g, lambda g, a, b, y: -g),
    ("mul", lambda g, a, b, y: g * b, lambda g, a, b, y: g * a),
    ("div", lambda g, a, b, y: g / b, lambda g, a, b, y: -g * a / (b * b)),
    (
        "atan2",
        lambda g, a, b, y: g * b / (a * a + b * b),
        lambda g, a, b, y: -g * a / (a * a + b * b),
    ),
    ("rem", lambda g, a, b, y: g, lambda g, a, b, y: -g * w.trunc(a / b)),
    ("complex", lambda g, a, b, y: w.real(g), lambda g, a, b, y: -w.imag(g)),
    (
        "max",  # two that are equal have half each
        lambda g, a, b, y: g * where(a > b, 1, where(a == b, 0.5, 0)),
        lambda g, a, b, y: g * where(b > a, 1, where(a == b, 0.5, 0)),
    ),
    (
        "min",
        lambda g, a, b, y: g * where(a < b, 1, where(a == b, 0.5, 0)),
        lambda g, a, b, y: g * where(b < a, 1, where(a == b, 0.5, 0)),
    ),
):
    each(_name, _left, _right)

each(
    "clamp",
    lambda g, low, x, high, y: where(low > x, g, 0),
    lambda g, low, x, high, y: where((x > low) & (x < high), g, 0),
    lambda g, low, x, high, y: where(high < x, g, 0),
)


@on("abs", text="{g} * sign({x[0]})")
def _abs(step: Any, g: Any) -> list[Any]:
    x = step.xs[0]
    return [g * jnp.conj(jnp.sign(x)) if jnp.iscomplexobj(x) else jnp.where(x >= 0, g, -g)]


@on("pow", text=("{g} * {x[1]} * {x[0]}**({x[1]} - 1)", "{g} * log({x[0]}) * {y}"))
def _pow(step: Any, g: Any) -> list[Any]:
    a, b = step.xs
    if jnp.issubdtype(b.dtype, jnp.integer):  # a**0 has no slope, also where a is 0
        return [g * b * jnp.asarray(a) ** jnp.where(b == 0, 1, b - 1), None]
    return [g * b * a ** (b - 1), g * log(where(a == 0, 1, a)) * step.ys[0]]


@on("reduce_precision", text="reduce_precision({g})")
def _reduce_precision(step: Any, g: Any) -> list[Any]:
    return [lax.reduce_precision(g, step["exponent_bits"], step["mantissa_bits"])]


@on("polynomial", text=("{g} * its slope at {x[0]}", "{g} * {x[0]}**k for the k-th coefficient"))
def _polynomial(step: Any, g: Any) -> list[Any]:
    x, *coefficients = step.xs
    powers = [jnp.ones_like(x)]
    for _ in coefficients[1:]:
        powers.append(powers[-1] * x)
    slopes = [k * c * powers[k - 1] for k, c in enumerate(coefficients) if k]
    return [g * sum(slopes, jnp.zeros_like(x)), *(g * power for power in powers)]


@on("integer_pow", text="{g} * {p[y]} * {x[0]}**({p[y]} - 1)")
def _integer_pow(step: Any, g: Any) -> list[Any]:
    n = step["y"]
    return [jnp.zeros_like(g) if n == 0 else g * n * lax.integer_pow(step.xs[0], n - 1)]


@on("select_n", text="{g} where {x[0]} chose it")
def _select_n(step: Any, g: Any) -> list[Any]:
    which = step.xs[0]
    return [None, *(jnp.where(which == i, g, 0) for i in range(len(step.xs) - 1))]


@on("optimization_barrier", "device_put", "sharding_constraint", "layout_constraint", text="{g}")
def _barrier(step: Any, *gs: Any) -> Sequence[Any]:
    return gs


# --- shapes -----------------------------------------------------------------------------------------------


@on("reshape", "squeeze", "expand_dims", text="reshape({g})")
def _reshape(step: Any, g: Any) -> list[Any]:
    return [g.reshape(step.xs[0].shape)]


@on("transpose", text="transpose({g})")
def _transpose(step: Any, g: Any) -> list[Any]:
    there = step["permutation"]
    return [jnp.transpose(g, sorted(range(len(there)), key=there.__getitem__))]


@on("broadcast_in_dim", text="sum({g}) over the new axes")
def _broadcast(step: Any, g: Any) -> list[Any]:
    kept, shape = step["broadcast_dimensions"], step.xs[0].shape
    repeated = [a for a in range(g.ndim) if a not in kept or (shape[kept.index(a)] == 1 and g.shape[a] != 1)]
    return [jnp.sum(g, axis=tuple(repeated)).reshape(shape), *[None] * (len(step.xs) - 1)]


@on("tile", text="sum({g}) over the copies")
def _tile(step: Any, g: Any) -> list[Any]:
    shape = step.xs[0].shape
    apart = g.reshape([n for pair in zip(step["reps"], shape, strict=True) for n in pair])
    return [jnp.sum(apart, axis=tuple(range(0, 2 * len(shape), 2)))]


@on("rev", text="rev({g})")
def _rev(step: Any, g: Any) -> list[Any]:
    return [lax.rev(g, step["dimensions"])]


@on("slice", text="{g} in its place, zeros around")
def _slice(step: Any, g: Any) -> list[Any]:
    starts, strides = step["start_indices"], step["strides"] or (1,) * g.ndim
    ends = [start + (n - 1) * stride + 1 for start, n, stride in zip(starts, g.shape, strides, strict=True)]
    if g.size == 0:
        return [jnp.zeros_like(step.xs[0])]
    after = [size - end for size, end in zip(step.xs[0].shape, ends, strict=True)]
    around = [(a, b, stride - 1) for a, b, stride in zip(starts, after, strides, strict=True)]
    return [lax.pad(g, jnp.zeros((), g.dtype), around)]


@on("pad", text=("{g} without what was padded", "sum of the padding of {g}"))
def _pad(step: Any, g: Any) -> list[Any]:
    around = step["padding_config"]
    outside = lax.pad(g, jnp.zeros((), g.dtype), [(-low, -high, 0) for low, high, _ in around])
    x = lax.slice(outside, (0,) * g.ndim, outside.shape, [between + 1 for *_, between in around])
    return [x, jnp.sum(g) - jnp.sum(x)]


@on("concatenate", text="part {i} of {g}")
def _concatenate(step: Any, g: Any) -> list[Any]:
    axis = step["dimension"]
    ends = [0]
    for x in step.xs:
        ends.append(ends[-1] + x.shape[axis])
    return [lax.slice_in_dim(g, a, b, axis=axis) for a, b in pairwise(ends)]


@on("split", text="concatenate({g})")
def _split(step: Any, *gs: Any) -> list[Any]:
    return [lax.concatenate(gs, step["axis"])]


@on("stack", text="{g}[{i}]")
def _stack(step: Any, g: Any) -> list[Any]:
    return [lax.index_in_dim(g, i, step["axis"], keepdims=False) for i in range(len(step.xs))]


@on("unstack", text="stack({g})")
def _unstack(step: Any, *gs: Any) -> list[Any]:
    return [jnp.stack(gs, step["axis"])]


# --- reductions, and sums running along an axis -----------------------------------------------------------


@on("reduce_sum", text="broadcast({g})")
def _reduce_sum(step: Any, g: Any) -> list[Any]:
    return [jnp.broadcast_to(jnp.expand_dims(g, step["axes"]), step.xs[0].shape)]


@on("reduce_max", "reduce_min", text="{g} where {x[0]} == {y}, shared by equals")
def _reduce_extreme(step: Any, g: Any) -> list[Any]:
    axes = step["axes"]
    there = (step.xs[0] == jnp.expand_dims(step.ys[0], axes)).astype(g.dtype)
    return [there * jnp.expand_dims(g / jnp.sum(there, axes), axes)]


@on("cumsum", text="cumsum({g}) from the other end")
def _cumsum(step: Any, g: Any) -> list[Any]:
    return [lax.cumsum(g, step["axis"], not step["reverse"])]


@on("top_k", text="{g} at the places of the largest")
def _top_k(step: Any, g: Any, _: Any) -> list[Any]:
    return [jnp.put_along_axis(jnp.zeros_like(step.xs[0]), step.ys[1], g, step["axis"], inplace=False)]


# --- products ---------------------------------------------------------------------------------------------


@on("dot_general", text=("dot({g}, {x[1]})", "dot({x[0]}, {g})"))
def _dot_general(step: Any, g: Any) -> list[Any]:
    a, b, y = _letters(step)
    x0, x1 = step.xs

    def product(spec: str, *xs: Any) -> Any:
        return jnp.einsum(spec, *xs, precision=step["precision"], preferred_element_type=step["preferred_element_type"])

    return [
        cast(product(f"{y},{b}->{a}", g, x1), x0.dtype) if step.wanted[0] else None,
        cast(product(f"{a},{y}->{b}", x0, g), x1.dtype) if step.wanted[1] else None,
    ]


def _letters(step: Any) -> tuple[str, str, str]:
    """A product of arrays in einsum's letters, for the two operands and the result."""
    (contract_a, contract_b), (batch_a, batch_b) = step["dimension_numbers"]
    a = [chr(97 + i) for i in range(step.xs[0].ndim)]
    b = [chr(65 + i) for i in range(step.xs[1].ndim)]
    for i, j in zip([*contract_a, *batch_a], [*contract_b, *batch_b], strict=True):
        b[j] = a[i]
    own_a = [x for i, x in enumerate(a) if i not in {*contract_a, *batch_a}]
    own_b = [x for j, x in enumerate(b) if j not in {*contract_b, *batch_b}]
    return "".join(a), "".join(b), "".join([*(a[i] for i in batch_a), *own_a, *own_b])


@on("fft", text="fft({g}) along the same axes")
def _fft(step: Any, g: Any) -> list[Any]:
    """The matrix of a Fourier transform is symmetric; of a real one half is left out, which counts twice."""
    kind, lengths = lax.FftType(step["fft_type"]), step["fft_lengths"]
    if kind == lax.FftType.RFFT:
        missing = lengths[-1] - g.shape[-1]
        whole = jnp.concatenate([g, jnp.zeros((*g.shape[:-1], missing), g.dtype)], -1)
        return [jnp.real(lax.fft(whole, lax.FftType.FFT, lengths))]
    if kind == lax.FftType.IRFFT:
        half = lax.fft(g, lax.FftType.RFFT, lengths)
        twice = jnp.ones(half.shape[-1], g.dtype).at[1 : (lengths[-1] + 1) // 2].set(2)
        return [jnp.conj(half) * twice / math.prod(lengths)]
    return [lax.fft(g, kind, lengths)]
