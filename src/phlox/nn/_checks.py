"""Checks of constructor arguments, refused where they are given."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any

from phlox.core import RangeError, shown, spelled
from phlox.core import check_size as checked
from phlox.nn import functional
from phlox.nn.functional.space._padding import PADDING_MODES

Sizes = int | Sequence[int]
OutputSizes = int | None | Sequence[int | None]
Padding = int | str | Sequence[int] | Sequence[tuple[int, int]]


def check_size(layer: str, name: str, value: int, *, least: int = 1) -> int:
    """A whole number of at least ``least``, as an int."""
    fix = None
    if isinstance(value, float):
        fix = "round it, or divide by // in place of /"
    elif isinstance(value, (tuple, list)):
        fix = "give one number; a kernel or window comes first, such as px.Conv((3, 3), in, out)"
    return checked(layer, name, value, least=least, fix=fix)


def check_probability(layer: str, name: str, value: float) -> float:
    """A probability in [0, 1]."""
    if isinstance(value, bool) or not 0 <= value <= 1:
        raise RangeError(
            f"{name} in [0, 1]",
            got=repr(value),
            fix="give the share of elements to drop as a fraction, such as 0.5",
            where=layer,
        )
    return float(value)


def check_share(layer: str, name: str, value: float, fix: str) -> float:
    """A fraction in [0, 1]."""
    if not isinstance(value, Real) or isinstance(value, bool) or not 0 <= value <= 1:
        raise RangeError(f"{name} in [0, 1]", got=repr(value), fix=fix, where=layer)
    return float(value)


def check_act(layer: str, act: Any) -> Any:
    """An activation: a function, or a Module that is one."""
    if callable(act) and not isinstance(act, type):
        return act
    raise RangeError("an activation that is a function", got=shown(act), fix=_act_cure(act), where=layer)


def _act_cure(act: Any) -> str:
    if act is None:
        return "leave it out: without one the layer applies none"
    if isinstance(act, bool):
        return f"write bias={act}: the activation comes behind the sizes, and all else goes by keyword"
    if isinstance(act, type):
        return f"make one: {act.__name__}()"
    if isinstance(act, str):
        if act.lower() in ("linear", "identity", "none", ""):
            return "leave it out: without one the layer applies none"
        plain = lambda text: text.lower().replace("_", "")  # noqa: E731 - hard_sigmoid is our hardsigmoid
        ours = spelled({plain(n): n for n in functional.__all__}.get(plain(act), ""))
        return f"write {ours}, the function" if ours else "write the function, such as px.relu"
    return "write a function, such as px.relu; all that is no size or activation goes by keyword"


def check_padding_mode(layer: str, mode: str) -> str:
    """The name of a way to fill the border."""
    if mode not in PADDING_MODES:
        *names, last = (f'"{name}"' for name in PADDING_MODES)
        expected = f"padding_mode {', '.join(names)} or {last}"
        fix = 'write "replicate"' if mode == "edge" else 'write "circular"' if mode == "wrap" else "choose one of them"
        raise RangeError(expected, got=repr(mode), fix=fix, where=layer)
    return mode


def check_positive(layer: str, name: str, value: float) -> float:
    """A number above zero."""
    if isinstance(value, bool) or not value > 0:
        raise RangeError(f"{name} above 0", got=repr(value), fix="give a small number, such as 1e-5", where=layer)
    return float(value)


def sizes_of(layer: str, name: str, value: Sizes) -> tuple[int, ...]:
    """One size for each of 1 to 3 spatial axes."""
    sizes = (value,) if isinstance(value, int) else tuple(value)
    if not 1 <= len(sizes) <= 3:
        fix = "give the spatial axes only, such as (3, 3); channels and batch are not among them"
        raise RangeError(f"{name} for 1, 2 or 3 spatial axes", got=repr(value), fix=fix, where=layer)
    return tuple(check_size(layer, name, s) for s in sizes)


def per_axis(layer: str, name: str, value: Sizes, rank: int, *, least: int = 1) -> tuple[int, ...]:
    """A number for every spatial axis, from one or as many."""
    sizes = (value,) * rank if isinstance(value, int) else tuple(value)
    if len(sizes) != rank:
        fix = f"give one number for all, or a tuple of {rank}"
        raise RangeError(f"one {name}, or one for each of {rank} spatial axes", got=repr(value), fix=fix, where=layer)
    return tuple(check_size(layer, name, s, least=least) for s in sizes)


def output_sizes_of(layer: str, value: Any) -> tuple[int | None, ...]:
    """An output size for each of 1 to 3 spatial axes; None keeps the input's."""
    if value is None:
        return (None,)
    if isinstance(value, int):
        return sizes_of(layer, "output_size", value)
    sizes_of(layer, "output_size", tuple(1 if n is None else n for n in value))
    return tuple(value)


def padding_of(layer: str, value: Padding, rank: int, names: Sequence[str] = ("SAME", "VALID", "CAUSAL")) -> Any:
    """Padding in a hashable form; what counts mean is decided, and checked, where they are applied."""
    if isinstance(value, str):
        if value.upper() not in names:
            known = ", ".join(f'"{name}"' for name in names)
            ways = "padding_mode=" if value in PADDING_MODES else ""
            fix = f"write {ways}{value!r} for what fills the border" if ways else "use one of them"
            raise RangeError(f"padding {known} or explicit counts", got=repr(value), fix=fix, where=layer)
        return value
    if isinstance(value, int):
        return value
    pairs = tuple(p if isinstance(p, int) else tuple(p) for p in value)
    if len(pairs) != rank:
        fix = f"give one number for all, {rank} numbers or (low, high) pairs, or a name such as 'SAME'"
        raise RangeError(f"padding for each of {rank} spatial axes", got=repr(value), fix=fix, where=layer)
    return pairs
