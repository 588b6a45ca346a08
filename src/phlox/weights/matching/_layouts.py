"""What another library calls a layer's array, and in which order it keeps the axes.

A layout is one column of a table: names by our names, and the axes of the arrays whose order differs. Whatever a table
does not know is called as here and keeps its axes: the arrays of a user's own class, for example.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from phlox.core import RangeError
from phlox.nn import BatchNorm, Conv, ConvTranspose, Dense, DepthwiseConv, Embedding, GroupNorm, LayerNorm, RMSNorm
from phlox.weights.matching._leaves import Leaf

Axes = tuple[int, ...]
_Order = Callable[[int], Axes]


class Layout(NamedTuple):
    """How a library names and lays out arrays."""

    names: dict[str, tuple[str, ...]]
    """By our name, or ``Class.name``: what it may be called there, the usual one first."""
    orders: dict[type, _Order]
    """By class of the layer that owns a weight: for so many axes, which of ours stands at each place there."""
    flipped: tuple[type, ...] = ()
    """Layers whose windows are turned around in space."""
    separator: str = "."
    """What stands between the steps of a name."""


def _matrix(axes: int) -> Axes:
    return (1, 0)


def _kernel_first(axes: int) -> Axes:  # (*kernel, in, out) → (out, in, *kernel)
    return (axes - 1, axes - 2, *range(axes - 2))


def _transposed_first(axes: int) -> Axes:  # (*kernel, in, out) → (in, out, *kernel)
    return (axes - 2, axes - 1, *range(axes - 2))


def _out_before_in(axes: int) -> Axes:  # (*kernel, in, out) → (*kernel, out, in)
    return (*range(axes - 2), axes - 1, axes - 2)


def _width_first_out_before_in(axes: int) -> Axes:  # (height, width, in, out) → (width, height, out, in)
    return (*reversed(range(axes - 2)), axes - 1, axes - 2)


def _width_first(axes: int) -> Axes:  # (height, width, in, out) → (width, height, in, out)
    return (*reversed(range(axes - 2)), axes - 2, axes - 1)


_NORMS = (BatchNorm, LayerNorm, GroupNorm, RMSNorm)
_ORDER = ("weight", "scale", "bias", "mean", "var")  # in which Keras numbers a layer's arrays


def _of_norms(names: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    return {f"{norm.__name__}.{ours}": theirs for norm in _NORMS for ours, theirs in names.items()}


LAYOUTS = {
    "pytorch": Layout(
        {
            "scale": ("weight",), "mean": ("running_mean",), "var": ("running_var",), "slope": ("weight",),
            "LayerNorm.scale": ("weight", "gamma"), "LayerNorm.bias": ("bias", "beta"),  # as the first BERTs have them
        },
        {Dense: _matrix, Conv: _kernel_first, DepthwiseConv: _kernel_first, ConvTranspose: _transposed_first},
    ),
    "keras": Layout(
        {
            "Embedding.weight": ("embeddings", "vars/#"), "weight": ("kernel", "vars/#"), "bias": ("bias", "vars/#"),
            **_of_norms({
                "scale": ("gamma", "scale", "vars/#"), "bias": ("beta", "vars/#"),
                "mean": ("moving_mean", "vars/#"), "var": ("moving_variance", "vars/#"),
            }),
        },
        {ConvTranspose: _out_before_in},
        separator="/",
    ),
    "flax": Layout(
        {"Embedding.weight": ("embedding",), "weight": ("kernel",)}, {}, (ConvTranspose,), separator="/"
    ),
    "flux": Layout(
        {"mean": ("μ", "running_mean"), "var": ("σ²", "running_var"),
         **_of_norms({"scale": ("scale", "γ"), "bias": ("bias", "β")})},
        {Dense: _matrix, Embedding: _matrix, Conv: _width_first, DepthwiseConv: _width_first,
         ConvTranspose: _width_first_out_before_in},
        (Conv, DepthwiseConv, ConvTranspose),
    ),
    "phlox": Layout({}, {}),
}  # fmt: skip


def layout_named(name: str, where: str) -> Layout:
    """The layout of a library.

    Raises:
        RangeError: a library that no table is of.
    """
    if name not in LAYOUTS:
        raise RangeError(f"layout among {', '.join(LAYOUTS)}", got=repr(name), fix="choose one of these", where=where)
    return LAYOUTS[name]


def names_there(leaf: Leaf, layout: Layout) -> tuple[str, ...]:
    """What an array may be called there, within its layer, the usual name first, and as it is called here last."""
    keys = [*(f"{cls.__name__}.{leaf.name}" for cls in type(leaf.owner).__mro__), leaf.name]
    found = next((layout.names[key] for key in keys if key in layout.names), ())
    number = [n for n in _ORDER if getattr(leaf.owner, n, None) is not None]
    at = str(number.index(leaf.name)) if leaf.name in number else ""
    return (*(name.replace("#", at) for name in found), *(() if leaf.name in found else (leaf.name,)))


def axes_there(leaf: Leaf, layout: Layout) -> Axes | None:
    """Which of our axes stands at each place there; None where all stay."""
    order = _by_class(leaf, layout.orders)
    return order(len(leaf.shape)) if order is not None and leaf.name == "weight" else None


def is_flipped(leaf: Leaf, layout: Layout) -> bool:
    """True where windows are turned around in space: the other library convolves where Phlox correlates."""
    return leaf.name == "weight" and isinstance(leaf.owner, layout.flipped)


def _by_class(leaf: Leaf, table: dict[type, _Order]) -> _Order | None:
    return next((table[cls] for cls in type(leaf.owner).__mro__ if cls in table), None)
