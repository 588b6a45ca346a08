"""What an initialiser is: a value, called with a key and a shape to draw, or with keywords to be changed."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Self, overload

import jax.numpy as jnp
from jax import Array

from phlox.core import DtypeError, RangeError, ShapeError

Shape = Sequence[int]


@dataclasses.dataclass(frozen=True, repr=False)
class Initializer:
    """An immutable recipe for an array; every public initialiser is an instance.

    ``init(key, shape, dtype=float32)`` draws an array. ``init(gain=2.0)`` is the same recipe with
    another gain, so ``glorot_uniform`` and ``glorot_uniform(gain=2.0)`` both serve as ``init=``.
    Recipes compare by value, hash, pickle and print as they are written.

    A subclass is a frozen dataclass with default values, which checks itself in ``__post_init__``
    and draws in ``_draw(key, shape, dtype)``; ``name`` is what it prints as.
    """

    name: str = dataclasses.field(default="", kw_only=True, compare=False)

    @overload
    def __call__(self, key: Array, shape: Shape, dtype: Any = ...) -> Array: ...
    @overload
    def __call__(self, **changes: Any) -> Self: ...
    def __call__(
        self, key: Array | None = None, shape: Shape | None = None, dtype: Any = jnp.float32, **changes: Any
    ) -> Array | Self:
        """Draw an array of ``shape``, or, with keywords alone, give this recipe with those fields changed."""
        if key is None and shape is None:
            return self._changed(changes)
        if changes or shape is None:
            fix = f"write {self.label}(field=value)(key, shape)"
            raise RangeError("a key and a shape, or keywords alone", got="a mixture", fix=fix, where=self.label)
        if not jnp.issubdtype(dtype, jnp.inexact):
            fix = "draw floats and convert them"
            raise DtypeError("a floating dtype", got=str(jnp.dtype(dtype)), fix=fix, where=self.label)
        sizes = tuple(int(size) for size in shape)
        if any(size < 0 for size in sizes):
            fix = "check the sizes of the layer"
            raise ShapeError("sizes of at least 0", got=str(list(sizes)), fix=fix, where=self.label)
        return self._draw(key, sizes, jnp.dtype(dtype))

    def __repr__(self) -> str:
        changed = [f"{f.name}={getattr(self, f.name)!r}" for f in self._fields() if self._differs(f)]
        return self.label + (f"({', '.join(changed)})" if changed else "")

    @property
    def label(self) -> str:
        """The name that users write."""
        return self.name or type(self).__name__

    def _draw(self, key: Any, shape: tuple[int, ...], dtype: Any) -> Array:
        raise NotImplementedError

    def _fields(self) -> list[dataclasses.Field[Any]]:
        return [f for f in dataclasses.fields(self) if f.name not in ("name", "distribution")]

    def _differs(self, field: dataclasses.Field[Any]) -> bool:
        return getattr(self, field.name) != field.default

    def _changed(self, changes: dict[str, Any]) -> Self:
        known = [f.name for f in self._fields()]
        for name in changes:
            if name not in known:
                fix = f"pass {' or '.join(known)}" if known else "pass nothing"
                raise RangeError(f"the keywords {known}", got=repr(name), fix=fix, where=self.label)
        return dataclasses.replace(self, **changes)


def need(ok: bool, expected: str, got: str, fix: str, where: str) -> None:
    """Raise a RangeError unless ``ok``."""
    if not ok:
        raise RangeError(expected, got=got, fix=fix, where=where)


def half_safe(dtype: Any) -> Any:
    """The dtype to draw in: float32 for float16 and bfloat16, else ``dtype``."""
    return jnp.promote_types(dtype, jnp.float32)
