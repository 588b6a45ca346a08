"""RandAugment: a few operations at random, all of one strength."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp

from phlox.core import RangeError, ShapeError, describe
from phlox.data.augmentation import _colors as _color
from phlox.data.augmentation._augment import ImageAugmentation, one_of, whole_of
from phlox.data.augmentation._warp import ORDERS, linear_map, warp

# The largest step of each operation, times a strength s in [-1, 1]: the map of (row, column) and the shift in shares
# of the image, or what becomes of the colours. The sign is drawn where there are two directions.
_MOTIONS: dict[str, Callable[[Any], tuple[Any, Any]]] = {
    "rotate": lambda s: (linear_map(jnp.deg2rad(30 * s)), (0.0, 0.0)),
    "shear_x": lambda s: (((1.0, 0.0), (0.3 * s, 1.0)), (0.0, 0.0)),
    "shear_y": lambda s: (((1.0, 0.3 * s), (0.0, 1.0)), (0.0, 0.0)),
    "translate_x": lambda s: (jnp.eye(2), (0.0, 150 / 331 * s)),
    "translate_y": lambda s: (jnp.eye(2), (150 / 331 * s, 0.0)),
}
_COLORS: dict[str, Callable[[jax.Array, Any], jax.Array]] = {
    "brightness": lambda x, s: _color.brightness(x, 1 + 0.9 * s),
    "color": lambda x, s: _color.saturation(x, 1 + 0.9 * s),
    "contrast": lambda x, s: _color.contrast(x, 1 + 0.9 * s),
    "sharpness": lambda x, s: _color.sharpness(x, 1 + 0.9 * s),
    "posterize": lambda x, s: _color.posterize(x, 8 - jnp.round(4 * abs(s)).astype(jnp.int32)),
    "solarize": lambda x, s: _color.solarize(x, 1 - abs(s)),
    "autocontrast": lambda x, s: _color.autocontrast(x),
    "equalize": lambda x, s: _color.equalize(x),
}
_OPERATIONS = ("identity", *_MOTIONS, *_COLORS)


class RandAugment(ImageAugmentation):
    """Each image changed by some operations, one after the other, drawn from fourteen and all of one strength.

    At magnitude m of 30 they are: identity; rotate by ± m degrees; shear_x and shear_y by ± 0.01 m; translate_x and
    translate_y by ± 0.015 m of the image; brightness, color, contrast and sharpness by a factor of 1 ± 0.03 m;
    posterize to 8 - 4 m / 30 bits; solarize from 1 - m / 30 up; autocontrast; equalize.

    Shapes:
        x, y: (batch, height, width, 1 or 3) of floats in [0, 1], at least 3 pixels high and wide.

    Arguments:
        count: how many operations for each image, one drawn twice included.
        magnitude: their strength, in [0, 30].
        operations: which to draw from; None is all.
        interpolation: "nearest" or "bilinear", of what moves pixels.
        fill: the value of what comes from outside the image.
        key: where its randomness starts; by default the stream of ``px.seed``.

    Raises:
        RangeError: a count below 1, a magnitude outside [0, 30], an unknown operation. DtypeError: whole numbers.

    Source: Cubuk et al., "RandAugment: practical automated data augmentation with a reduced search space", 2020; the
    steps of each operation from Cubuk et al., "AutoAugment", 2019.

    >>> import jax, jax.numpy as jnp, phlox as px
    >>> augment = px.data.RandAugment(1, 30, operations=["solarize"], key=0)
    >>> augment(jnp.linspace(0, 1, 9).reshape(1, 3, 3, 1), key=jax.random.key(0)).ravel()[:4].tolist()
    [1.0, 0.875, 0.75, 0.625]
    """

    _colors: ClassVar[bool] = True
    _floats: ClassVar[bool] = True
    count: int
    magnitude: float

    def __init__(
        self,
        count: int = 2,
        magnitude: float = 9,
        *,
        operations: Sequence[str] | None = None,
        interpolation: Literal["nearest", "bilinear"] = "nearest",
        fill: float = 0.0,
        key: Any = None,
    ):
        where, chosen = "RandAugment", _OPERATIONS if operations is None else tuple(operations)
        if isinstance(magnitude, bool) or not 0 <= magnitude <= 30:
            fix = "give 9 for a moderate strength"
            raise RangeError("magnitude in [0, 30]", got=repr(magnitude), fix=fix, where=where)
        if not chosen:
            raise RangeError("at least one operation", got="none", fix="leave operations out for all", where=where)
        self.operations: tuple[str, ...] = tuple(one_of(where, "operations", name, _OPERATIONS) for name in chosen)
        self.count, self.magnitude = whole_of(where, "count", count), float(magnitude)
        self.interpolation: str = one_of(where, "interpolation", interpolation, tuple(ORDERS))
        self.fill: float = float(fill)
        super().__init__(key=key)

    def _check(self, x: Any, y: Any) -> None:
        super()._check(x, y)
        if min(x.shape[1:3]) < 3:
            raise ShapeError("images of at least 3 × 3 pixels", got=describe(x), fix="leave such images as they are")

    def example(self, key: Any, x: jax.Array) -> jax.Array:
        for drawn in jax.random.split(key, self.count):
            which, side = jax.random.split(drawn)
            operation = jax.random.randint(which, (), 0, len(self.operations))
            sign = jnp.where(jax.random.bernoulli(side), 1.0, -1.0)
            x = self._operated(x, operation, sign * self.magnitude / 30)
        return x

    def _operated(self, x: jax.Array, operation: jax.Array, strength: jax.Array) -> jax.Array:
        """One operation; all motions are one warp, as under vmap each branch is computed for every example."""
        if any(name in _MOTIONS for name in self.operations):
            motions = [_motion(_MOTIONS.get(name, _rest)) for name in self.operations]
            matrix, share = jax.lax.switch(operation, motions, strength)
            shift = share * jnp.array(x.shape[:2])
            x = warp(x, matrix, shift, order=ORDERS[self.interpolation], fill=self.fill)
        colors = [_COLORS.get(name, lambda x, s: x) for name in self.operations]
        return jax.lax.switch(operation, colors, x, strength)

    def _brief(self) -> str:
        return f"RandAugment({self.count}, {self.magnitude:g})"


def _rest(strength: Any) -> tuple[Any, Any]:
    """The motion of what moves nothing."""
    del strength
    return jnp.eye(2), (0.0, 0.0)


def _motion(move: Callable[[Any], tuple[Any, Any]]) -> Callable[[Any], tuple[jax.Array, jax.Array]]:
    """A motion in arrays of one dtype, as the branches of a switch must be."""

    def moved(strength: Any) -> tuple[jax.Array, jax.Array]:
        matrix, share = move(strength)
        return jnp.asarray(matrix, jnp.float32), jnp.asarray(share, jnp.float32)

    return moved
