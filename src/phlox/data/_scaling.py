"""Scaling by statistics of the training data, which are saved with the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from phlox.core import Module, RangeError, ShapeError, State, StructureError, describe
from phlox.data._observations import is_array

Axes = int | Sequence[int] | None


class _Scaler(Module):
    """Statistics as State, one array or a dict or tuple of them, applied part by part."""

    axis: int | tuple[int, ...] | None

    def __call__(self, x: Any) -> Any:
        return self._mapped(x, inverse=False)

    def inverse(self, y: Any) -> Any:
        """What gave ``y``; exact to rounding."""
        return self._mapped(y, inverse=True)

    def _mapped(self, x: Any, *, inverse: bool) -> Any:
        name = type(self).__name__
        shift, scale = self._affine()
        if jax.tree.structure(x) != jax.tree.structure(shift):
            got, fix = str(jax.tree.structure(x)), "give the parts that it was fitted to"
            raise StructureError(f"parts {jax.tree.structure(shift)}", got=got, fix=fix, where=name)
        return jax.tree.map(lambda *parts: _scaled(*parts, inverse=inverse, where=name), x, shift, scale)

    def _affine(self) -> tuple[Any, Any]:
        """Shift and scale of y = (x − shift) / scale."""
        raise NotImplementedError


def _scaled(x: Any, shift: Any, scale: Any, *, inverse: bool, where: str) -> Any:
    x = _array(x, where)
    tail = x.shape[x.ndim - shift.ndim :] if x.ndim >= shift.ndim else ()
    if len(tail) != shift.ndim or any(n not in (1, t) for n, t in zip(shift.shape, tail, strict=True)):
        raise ShapeError(
            f"x of (..., {', '.join(map(str, shift.shape))})",
            got=describe(x),
            fix="give the features that it was fitted to, in the same axes",
            where=where,
        )
    on_host = isinstance(x, np.ndarray) and not isinstance(shift, Tracer)
    dtype = x.dtype if jnp.issubdtype(x.dtype, jnp.floating) else np.dtype(np.float32)
    wide = np.float64 if on_host else jnp.promote_types(dtype, jnp.float32)
    module = np if on_host else jnp
    x, shift, scale = (module.asarray(a).astype(wide) for a in (x, shift, scale))
    return (x * scale + shift if inverse else (x - shift) / scale).astype(dtype)


def _array(x: Any, where: str) -> Any:
    """An array; a frame of numbers as one."""
    array = x.to_numpy() if hasattr(x, "to_numpy") else x
    if not is_array(array) or array.dtype.kind in "cOSUmM":
        fix = "give arrays or frames of numbers, or a dict or tuple of them"
        raise StructureError("arrays of real numbers", got=describe(array), fix=fix, where=where)
    return array


def _kept_axes(axis: Axes, where: str) -> int | tuple[int, ...] | None:
    if axis is None or isinstance(axis, int):
        return axis
    if not all(isinstance(a, int) for a in axis):
        fix = "give axes as whole numbers, such as -1 or (-2, -1)"
        raise RangeError("axes as whole numbers", got=repr(axis), fix=fix, where=where)
    return tuple(axis)


def _fitted(x: Any, axis: int | tuple[int, ...] | None, where: str) -> tuple[np.ndarray, tuple[int, ...]]:
    """Data in float64, and the axes to reduce."""
    array = _array(x, where)
    values = np.asarray(array).astype(np.float64)
    if values.ndim == 0 or values.size == 0:
        fix = "fit it to the training data, observations first"
        raise ShapeError("at least one observation", got=describe(values), fix=fix, where=where)
    if not np.isfinite(values).all():
        fix = "fill in or leave out what is missing first"
        raise RangeError("finite numbers", got=f"{describe(array)} with NaN or infinity", fix=fix, where=where)
    axes = () if axis is None or values.ndim == 1 else (axis,) if isinstance(axis, int) else axis
    kept = {a + values.ndim if a < 0 else a for a in axes}
    if not kept <= set(range(1, values.ndim)):
        fix = "the first axis counts observations: name others, -1 being the last"
        raise RangeError(f"axis among 1 … {values.ndim - 1}", got=str(axis), fix=fix, where=where)
    return values, tuple(a for a in range(values.ndim) if a not in kept)


def _over(reduce: Any, values: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """A statistic that lines up with the last axes of an observation, leading axes of size 1 dropped."""
    kept = reduce(values, axis=axes, keepdims=True)
    first = next((a for a in range(values.ndim) if a not in axes), values.ndim)
    return kept.reshape(kept.shape[first:])


def _single(x: np.ndarray) -> jax.Array:
    return jnp.asarray(x.astype(np.float32))


class Standardize(_Scaler):
    r"""Shift and scale each feature to mean 0 and deviation 1, $y = (x - μ) / σ$, by the data it was fitted to.

    ``px.data.Standardize.fit(x)`` finds μ and the biased deviation σ, in float64. They are State: saved and loaded
    with the model that holds them, and never trained. A constant feature has σ = 1. NumPy arrays and frames give NumPy
    arrays, JAX arrays JAX arrays, of the dtype they have; integers give float32.

    Shapes:
        x, y: (..., features), or a dict or tuple of such, as fitted; mean, std: (features,).

    Arguments:
        mean, std: μ and σ, where they are known.
        axis: the axes that have a μ and σ for each index; None has one for all. The first axis counts observations.

    Raises:
        RangeError: from ``fit``, numbers that are not finite, an axis out of range.
        ShapeError, StructureError: an input that is not as fitted.

    >>> import numpy as np, phlox as px
    >>> scale = px.data.Standardize.fit(np.array([[1.0, 5.0], [3.0, 5.0]]))
    >>> scale(np.array([[1.0, 5.0], [4.0, 6.0]])).tolist(), scale.inverse(np.array([[-1.0, 0.0]])).tolist()
    ([[-1.0, 0.0], [2.0, 1.0]], [[1.0, 5.0]])
    """

    mean: State  # (features,), or a dict or tuple of such
    std: State  # (features,)

    def __init__(self, mean: Any, std: Any, *, axis: Axes = -1):
        self.mean, self.std = jax.tree.map(jnp.asarray, mean), jax.tree.map(jnp.asarray, std)
        self.axis: int | tuple[int, ...] | None = _kept_axes(axis, "Standardize")

    @classmethod
    def fit(cls, x: Any, *, axis: Axes = -1) -> Self:
        """One with the statistics of x, observations first."""
        where, kept = "Standardize.fit", _kept_axes(axis, "Standardize.fit")

        def mean(part: Any) -> jax.Array:
            return _single(_over(np.mean, *_fitted(part, kept, where)))

        def std(part: Any) -> jax.Array:
            values, axes = _fitted(part, kept, where)
            deviation, middle = _over(np.std, values, axes), _over(np.mean, values, axes)
            dtype = _array(part, where).dtype
            eps = float(jnp.finfo(dtype).eps) if jnp.issubdtype(dtype, jnp.floating) else np.finfo(np.float64).eps
            return _single(np.where(deviation <= 10 * eps * np.abs(middle), 1.0, deviation))

        return cls(jax.tree.map(mean, x), jax.tree.map(std, x), axis=kept)

    def _affine(self) -> tuple[Any, Any]:
        return self.mean, self.std


class Normalize(_Scaler):
    r"""Map each feature's range onto [low, high], $y = l + (h - l) (x - \min) / (\max - \min)$, as it was when fitted.

    ``px.data.Normalize.fit(x)`` finds the ranges. They are State: saved and loaded with the model, and never
    trained. A constant feature maps to low; what lies outside the range maps outside. dtypes as ``Standardize``.

    Shapes:
        x, y: (..., features), or a dict or tuple of such, as fitted; minimum, maximum: (features,).

    Arguments:
        minimum, maximum: the ranges, where they are known.
        low, high: l and h; l below h.
        axis: the axes that have a range for each index; None has one for all. The first axis counts observations.

    Raises:
        RangeError: low not below high; from ``fit``, numbers that are not finite, an axis out of range.
        ShapeError, StructureError: an input that is not as fitted.

    >>> import numpy as np, phlox as px
    >>> scale = px.data.Normalize.fit(np.array([[1.0, 5.0], [3.0, 5.0]]))
    >>> scale(np.array([[2.0, 5.0], [4.0, 6.0]])).tolist()
    [[0.5, 0.0], [1.5, 1.0]]
    """

    minimum: State  # (features,), or a dict or tuple of such
    maximum: State  # (features,)
    low: float
    high: float
    axis: int | tuple[int, ...] | None

    def __init__(self, minimum: Any, maximum: Any, *, low: float = 0.0, high: float = 1.0, axis: Axes = -1):
        if not low < high:
            got, fix = f"low={low}, high={high}", "give the ends of the range in order"
            raise RangeError("low below high", got=got, fix=fix, where="Normalize")
        self.minimum, self.maximum = jax.tree.map(jnp.asarray, minimum), jax.tree.map(jnp.asarray, maximum)
        self.low, self.high, self.axis = float(low), float(high), _kept_axes(axis, "Normalize")

    @classmethod
    def fit(cls, x: Any, *, low: float = 0.0, high: float = 1.0, axis: Axes = -1) -> Self:
        """One with the ranges of x, observations first."""
        where, kept = "Normalize.fit", _kept_axes(axis, "Normalize.fit")
        ends = (
            jax.tree.map(lambda part: _single(_over(end, *_fitted(part, kept, where))), x)  # noqa: B023 - used at once
            for end in (np.min, np.max)
        )
        return cls(*ends, low=low, high=high, axis=kept)

    def _affine(self) -> tuple[Any, Any]:
        def scale(lowest: jax.Array, highest: jax.Array) -> jax.Array:
            reach = highest - lowest
            return jnp.where(reach == 0, 1, reach) / (self.high - self.low)

        scales = jax.tree.map(scale, self.minimum, self.maximum)
        return jax.tree.map(lambda m, s: m - self.low * s, self.minimum, scales), scales
