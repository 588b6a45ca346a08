"""What each of JAX's operations does with indices; what is not here holds all that comes in."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from phlox.compress.structure._contractions import conv_general_dilated, dot_general
from phlox.compress.structure._links import Label, Links, Value, unknown
from phlox.compress.structure._reshaping import reshaped

Rule = Callable[[list[Value], Any, Links, str], list[Value]]

# By what makes a result zero at an index: any part that is, all of them, the first, or nothing.
_ANY = ("mul", "and")
_ALL = (
    "add", "add_any", "sub", "max", "min", "or", "xor", "neg", "abs", "sign", "sqrt", "cbrt", "square", "tanh", "sin",
    "tan", "asin", "atan", "sinh", "asinh", "atanh", "erf", "erf_inv", "expm1", "log1p", "floor", "ceil", "round",
    "convert_element_type", "reduce_precision", "copy", "copy_p", "real", "imag", "conj", "name",
    "stop_gradient", "optimization_barrier", "device_put", "sharding_constraint",
)  # fmt: skip
_FIRST = ("div", "rem", "atan2")
_NOTHING = (
    "exp", "exp2", "log", "logistic", "cos", "cosh", "acos", "acosh", "rsqrt", "erfc", "lgamma", "digamma", "pow",
    "integer_pow", "eq", "ne", "lt", "le", "gt", "ge", "not", "is_finite", "nextafter", "population_count",
    "clz", "shift_left", "shift_right_logical", "shift_right_arithmetic", "complex",
)  # fmt: skip
_REDUCTIONS = (
    "reduce_sum", "reduce_max", "reduce_min", "reduce_prod", "reduce_and", "reduce_or", "reduce_xor", "argmax",
    "argmin",
)  # fmt: skip
_CUMULATIVE = ("cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp")
_WINDOWS = (
    "reduce_window", "reduce_window_sum", "reduce_window_max", "reduce_window_min", "select_and_gather_add",
)  # fmt: skip


def held(values: list[Value], equation: Any, links: Links, reason: str) -> list[Value]:
    """What an operation does that nobody knows: nothing that comes in can be removed."""
    for value in values:
        for label in value.axes:
            links.hold(label, reason)
    return [unknown(len(var.aval.shape)) for var in equation.outvars]


def _by_element(zero: Callable[[list[bool]], bool]) -> Rule:
    """One number of each array by itself."""

    def rule(values: list[Value], equation: Any, links: Links, reason: str) -> list[Value]:
        if len(equation.outvars) == len(values) > 1:  # several side by side
            return values
        values = _aligned(values, equation, links, reason)
        return [_combined(values, len(equation.outvars[0].aval.shape), zero, links, reason)]

    return rule


def _aligned(values: list[Value], equation: Any, links: Links, reason: str) -> list[Value]:
    """Arrays of an operation by element, those of size 1 along an axis spread over it."""
    shape = equation.outvars[0].aval.shape
    return [
        value if value.rank != len(shape) else _spread(value, var.aval.shape, shape, range(len(shape)), links, reason)
        for value, var in zip(values, equation.invars, strict=True)
    ]


def _combined(values: list[Value], rank: int, zero: Callable[[list[bool]], bool], links: Links, reason: str) -> Value:
    """One array of several, number by number; what has no axes is the same for all."""
    whole = [value for value in values if value.rank == rank]
    axes: list[Label] = []
    for axis in range(rank):
        label = whole[0].axes[axis]
        for other in whole[1:]:
            label = links.join(label, other.axes[axis], reason)
        axes.append(label)
    flags = tuple(
        zero([value.vanishes(axis) if value.rank == rank else value.blank for value in values]) for axis in range(rank)
    )
    return Value(tuple(axes), flags, zero([value.blank for value in values]))


def _select(values: list[Value], equation: Any, links: Links, reason: str) -> list[Value]:
    """One of several arrays, by another."""
    which, *cases = _aligned(values, equation, links, reason)
    made = _combined(cases, cases[0].rank, all, links, reason)
    if which.rank != made.rank:
        return [made]
    axes = tuple(links.join(a, b, reason) for a, b in zip(made.axes, which.axes, strict=True))
    return [Value(axes, made.zero, made.blank)]


def _broadcast(values: list[Value], equation: Any, links: Links, reason: str) -> list[Value]:
    shape, places = equation.params["shape"], equation.params["broadcast_dimensions"]
    return [_spread(values[0], equation.invars[0].aval.shape, shape, places, links, reason)]


def _spread(value: Value, given: Any, shape: Any, places: Any, links: Links, reason: str) -> Value:
    """An array repeated along axes that it has not, or has of size 1: any index of these can go."""
    if tuple(given) == tuple(shape):
        return value
    axes: list[Label] = [links.fresh(size) if isinstance(size, int) else None for size in shape]
    zero = [value.blank] * len(shape)
    for axis, at in enumerate(places):
        if given[axis] == shape[at]:
            axes[at], zero[at] = value.axes[axis], value.vanishes(axis)
        else:
            links.hold(value.axes[axis], reason)
    return Value(tuple(axes), tuple(zero), value.blank)


def _transpose(values: list[Value], equation: Any, links: Links, reason: str) -> list[Value]:
    del links, reason
    value, order = values[0], equation.params["permutation"]
    return [
        Value(tuple(value.axes[i] for i in order), tuple(value.zero[i] for i in order), value.blank)
    ]  # fmt: skip


def _reshape(values: list[Value], equation: Any, links: Links, reason: str) -> list[Value]:
    given, made = (var.aval.shape for var in (equation.invars[0], equation.outvars[0]))
    if equation.params.get("dimensions") is not None or not all(isinstance(n, int) for n in (*given, *made)):
        return held(values, equation, links, reason)
    return [reshaped(values[0], given, made, links, reason)]


def _reduce(values: list[Value], equation: Any, links: Links, reason: str) -> list[Value]:
    over = equation.params["axes"]
    return [_without(value, over, links, reason) for value in values]


def _without(value: Value, over: Any, links: Links, reason: str) -> Value:
    """An array whose axes were taken away; how many indices they have counts, in a mean."""
    for axis in over:
        links.hold(value.axes[axis], reason)
    left = [axis for axis in range(value.rank) if axis not in over]
    return Value(tuple(value.axes[axis] for axis in left), (False,) * len(left))


def _cumulative(values: list[Value], equation: Any, links: Links, reason: str) -> list[Value]:
    return _held_on((equation.params["axis"],), values, links, reason)


def _sort(values: list[Value], equation: Any, links: Links, reason: str) -> list[Value]:
    return _held_on((equation.params["dimension"],), values, links, reason)


def _windows(values: list[Value], equation: Any, links: Links, reason: str) -> list[Value]:
    over = [axis for axis, size in enumerate(equation.params["window_dimensions"]) if size != 1]
    return _held_on(over, values[:1], links, reason)


def _held_on(over: Any, values: list[Value], links: Links, reason: str) -> list[Value]:
    """Arrays whose indices stay where they are, but for some axes."""
    made = []
    for value in values:
        for axis in over:
            links.hold(value.axes[axis], reason)
        axes = tuple(None if axis in over else label for axis, label in enumerate(value.axes))
        made.append(Value(axes, (False,) * value.rank))
    return made


def _concatenate(values: list[Value], equation: Any, links: Links, reason: str) -> list[Value]:
    along = equation.params["dimension"]
    axes: list[Label] = list(values[0].axes)
    for value in values[1:]:
        axes = [
            label if axis == along else links.join(label, value.axes[axis], reason) for axis, label in enumerate(axes)
        ]
    parts = [value.axes[along] for value in values]
    sizes = [var.aval.shape[along] for var in equation.invars]
    axes[along] = _beside(parts, sizes, links)
    zero = tuple(all(value.vanishes(axis) for value in values) for axis in range(len(axes)))
    return [Value(tuple(axes), zero, all(value.blank for value in values))]


def _beside(parts: list[Label], sizes: list[int], links: Links) -> Label:
    """Numbers of axes one behind the other; those that have to stay get some that are held."""
    if all(part is None for part in parts):
        return None
    made = []
    for part, size in zip(parts, sizes, strict=True):
        if size == 0:
            continue
        if part is None:
            part = links.fresh(size)
            links.hold(part, "it stands beside features that have to stay")
        made.append(part)
    return np.concatenate(made)


def _slice(values: list[Value], equation: Any, links: Links, reason: str) -> list[Value]:
    del links, reason
    params, value = equation.params, values[0]
    steps = params["strides"] or (1,) * value.rank
    ranges = list(zip(params["start_indices"], params["limit_indices"], steps, strict=True))
    axes = tuple(
        None if label is None else label[slice(*ranges[axis])] for axis, label in enumerate(value.axes)
    )  # fmt: skip
    return [Value(axes, value.zero, value.blank)]


def _split(values: list[Value], equation: Any, links: Links, reason: str) -> list[Value]:
    del links, reason
    value, along, made, at = values[0], equation.params["axis"], [], 0
    for size in equation.params["sizes"]:
        axes = list(value.axes)
        label = axes[along]
        axes[along] = None if label is None else label[at : at + size]
        made.append(Value(tuple(axes), value.zero, value.blank))
        at += size
    return made


def _pad(values: list[Value], equation: Any, links: Links, reason: str) -> list[Value]:
    value, filler = values
    axes = list(value.axes)
    for axis, (low, high, inside) in enumerate(equation.params["padding_config"]):
        if low == high == inside == 0:
            continue
        if inside or low < 0 or high < 0:
            links.hold(axes[axis], reason)
            axes[axis] = None
        else:
            axes[axis] = _beside([None, axes[axis], None], [low, equation.invars[0].aval.shape[axis], high], links)
    zero = tuple(flag and filler.blank for flag in value.zero)
    return [Value(tuple(axes), zero, value.blank and filler.blank)]


def _reverse(values: list[Value], equation: Any, links: Links, reason: str) -> list[Value]:
    del links, reason
    value, over = values[0], equation.params["dimensions"]
    axes = tuple(
        label[::-1] if axis in over and label is not None else label for axis, label in enumerate(value.axes)
    )  # fmt: skip
    return [Value(axes, value.zero, value.blank)]


def _squeeze(values: list[Value], equation: Any, links: Links, reason: str) -> list[Value]:
    given, made = (var.aval.shape for var in (equation.invars[0], equation.outvars[0]))
    return [reshaped(values[0], given, made, links, reason)]


def _iota(values: list[Value], equation: Any, links: Links, reason: str) -> list[Value]:
    del values, reason
    shape, along = equation.params["shape"], equation.params["dimension"]
    axes = tuple(None if axis == along else links.fresh(size) for axis, size in enumerate(shape))
    return [Value(axes, (False,) * len(shape))]


def _dynamic_slice(values: list[Value], equation: Any, links: Links, reason: str) -> list[Value]:
    shape, sizes = equation.invars[0].aval.shape, equation.params["slice_sizes"]
    over = [axis for axis, (n, m) in enumerate(zip(shape, sizes, strict=True)) if n != m]
    return _held_on(over, values[:1], links, reason)


def _gather(values: list[Value], equation: Any, links: Links, reason: str) -> list[Value]:
    """Rows of a table: axes that are taken whole keep their indices."""
    table, places = values
    for label in places.axes:
        links.hold(label, reason)
    numbers, sizes = equation.params["dimension_numbers"], equation.params["slice_sizes"]
    gone = {*numbers.collapsed_slice_dims, *getattr(numbers, "operand_batching_dims", ())}
    axes: list[Label] = [None] * len(equation.outvars[0].aval.shape)
    zero = [False] * len(axes)
    left = [axis for axis in range(table.rank) if axis not in gone]
    for axis, at in zip(left, numbers.offset_dims, strict=True):
        if sizes[axis] == equation.invars[0].aval.shape[axis]:
            axes[at], zero[at] = table.axes[axis], table.vanishes(axis)
        else:
            links.hold(table.axes[axis], reason)
    for axis in gone:
        links.hold(table.axes[axis], reason)
    return [Value(tuple(axes), tuple(zero))]


RULES: dict[str, Rule] = {
    **dict.fromkeys(_ANY, _by_element(any)),
    **dict.fromkeys(_ALL, _by_element(all)),
    **dict.fromkeys(_FIRST, _by_element(lambda flags: flags[0])),
    **dict.fromkeys(_NOTHING, _by_element(lambda flags: False)),
    **dict.fromkeys(_REDUCTIONS, _reduce),
    **dict.fromkeys(_CUMULATIVE, _cumulative),
    **dict.fromkeys(_WINDOWS, _windows),
    "select_n": _select, "clamp": _by_element(lambda flags: False), "broadcast_in_dim": _broadcast,
    "transpose": _transpose, "reshape": _reshape, "squeeze": _squeeze, "expand_dims": _squeeze, "sort": _sort,
    "concatenate": _concatenate, "slice": _slice, "split": _split, "pad": _pad, "rev": _reverse, "iota": _iota,
    "dynamic_slice": _dynamic_slice, "gather": _gather, "dot_general": dot_general,
    "conv_general_dilated": conv_general_dilated,
}  # fmt: skip


def literal(value: Any) -> Value:
    """A number in a program."""
    array = np.asarray(value)
    blank = math.prod(array.shape) > 0 and not array.any()
    return Value((None,) * array.ndim, (blank,) * array.ndim, blank)
