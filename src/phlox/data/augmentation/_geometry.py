"""Augmentations of where things are: cropped, mirrored, moved, and partly covered images."""

from __future__ import annotations

from typing import Any, Literal

import jax
import jax.numpy as jnp

from phlox.core import RangeError, ShapeError, describe
from phlox.data.augmentation._augment import ImageAugmentation, check_floats, one_of, range_of, uniform, whole_of
from phlox.data.augmentation._warp import ORDERS, linear_map, warp

Range = float | tuple[float, float]


class RandomCrop(ImageAugmentation):
    """A window of each image at a random place; in inference the middle one.

    Shapes:
        x: (batch, height, width, channels) of any dtype; y: (batch, size[0], size[1], channels).

    Arguments:
        size: height and width of the window in pixels; one number for both.
        padding: pixels put around the image on each side first.
        mode: what they hold: "constant" zeros, "edge" the nearest pixel, "reflect" the image mirrored at its edge.
        key: where its randomness starts; by default the stream of ``px.seed``.

    Raises:
        RangeError: a size below 1, a negative padding, an unknown mode. ShapeError: a window larger than the image.

    Source: Krizhevsky et al., "ImageNet classification with deep convolutional neural networks", 2012; with padding
    He et al., "Deep residual learning for image recognition", 2016.

    >>> import jax, jax.numpy as jnp, phlox as px
    >>> crop = px.data.RandomCrop(2, key=0)
    >>> x = jnp.arange(16).reshape(1, 4, 4, 1)
    >>> y = crop(x, key=jax.random.key(0)).ravel()
    >>> crop(x).ravel().tolist(), (y - y[0]).tolist()
    ([5, 6, 9, 10], [0, 1, 4, 5])
    """

    def __init__(
        self,
        size: int | tuple[int, int],
        *,
        padding: int = 0,
        mode: Literal["constant", "edge", "reflect"] = "constant",
        key: Any = None,
    ):
        sides = (size, size) if isinstance(size, int) else tuple(size)
        if len(sides) != 2:
            fix = "give one number for both, or (height, width)"
            raise RangeError("one size or two", got=repr(size), fix=fix, where="RandomCrop")
        self.size: tuple[int, ...] = tuple(whole_of("RandomCrop", "size", side) for side in sides)
        self.padding: int = whole_of("RandomCrop", "padding", padding, least=0)
        self.mode: str = one_of("RandomCrop", "mode", mode, ("constant", "edge", "reflect"))
        super().__init__(key=key)

    def _check(self, x: Any, y: Any) -> None:
        super()._check(x, y)
        room = [side + 2 * self.padding for side in x.shape[1:3]]
        if any(wanted > there for wanted, there in zip(self.size, room, strict=True)):
            fix = "give a smaller size, or more padding"
            raise ShapeError(f"images of at least {self.size}, padding included", got=describe(x), fix=fix)

    def example(self, key: Any, x: jax.Array) -> jax.Array:
        pad = (self.padding, self.padding)
        x = jnp.pad(x, (pad, pad, (0, 0)), mode=self.mode) if self.padding else x
        room = jnp.array([there - wanted + 1 for there, wanted in zip(x.shape, self.size, strict=False)])
        top, left = jax.random.randint(key, (2,), 0, room)
        return jax.lax.dynamic_slice(x, (top, left, 0), (*self.size, x.shape[-1]))

    def _still(self, x: jax.Array) -> jax.Array:
        pad = (self.padding, self.padding)
        x = jnp.pad(x, ((0, 0), pad, pad, (0, 0)), mode=self.mode) if self.padding else x
        top, left = ((there - wanted) // 2 for there, wanted in zip(x.shape[1:3], self.size, strict=True))
        return x[:, top : top + self.size[0], left : left + self.size[1]]

    def _brief(self) -> str:
        return f"RandomCrop({self.size[0]} × {self.size[1]}, padding={self.padding})"


class RandomFlip(ImageAugmentation):
    """Each image mirrored with probability p.

    Shapes:
        x, y: (batch, height, width, channels) of any dtype.

    Arguments:
        direction: "horizontal" swaps left and right, "vertical" top and bottom.
        p: probability that an image is mirrored, in [0, 1].
        key: where its randomness starts; by default the stream of ``px.seed``.

    Raises:
        RangeError: another direction, p outside [0, 1].

    Source: Krizhevsky et al., "ImageNet classification with deep convolutional neural networks", 2012.

    >>> import jax, jax.numpy as jnp, phlox as px
    >>> flip = px.data.RandomFlip(p=1, key=0)
    >>> flip(jnp.array([1, 2, 3]).reshape(1, 1, 3, 1), key=jax.random.key(0)).ravel().tolist()
    [3, 2, 1]
    """

    def __init__(self, direction: Literal["horizontal", "vertical"] = "horizontal", *, p: float = 0.5, key: Any = None):
        self.direction: str = one_of("RandomFlip", "direction", direction, ("horizontal", "vertical"))
        super().__init__(p, key=key)

    def example(self, key: Any, x: jax.Array) -> jax.Array:
        del key
        return jnp.flip(x, axis=0 if self.direction == "vertical" else 1)

    def _brief(self) -> str:
        return f"RandomFlip({self.direction}, p={self.p:g})"


class RandomAffine(ImageAugmentation):
    r"""Each image turned, moved, scaled and sheared about its centre, $y[A (p - c) + c + t] = x[p]$, A = R · H · s.

    R turns by the rotation, H shears rows sideways by the shear, s is the scale and t the translation. Each is drawn
    uniformly from its range; a number n is the range 0 ± n, and for the scale 1 ± n.

    Shapes:
        x, y: (batch, height, width, channels); floats, or of any dtype with "nearest".

    Arguments:
        rotation: degrees counterclockwise.
        translation: shares of height and width, drawn for each.
        scale: factors above 0; 2 shows things twice as large.
        shear: degrees, between -90 and 90.
        interpolation: "bilinear" weighs the four nearest pixels, "nearest" takes one: for masks of classes.
        fill: the value of what comes from outside the image.
        p: probability that an image is changed, in [0, 1].
        key: where its randomness starts; by default the stream of ``px.seed``.

    Raises:
        RangeError: a range out of order or out of bounds. DtypeError: whole numbers with "bilinear".

    Source: Simard et al., "Best practices for convolutional neural networks applied to visual document analysis", 2003.

    >>> import jax, jax.numpy as jnp, phlox as px
    >>> turn = px.data.RandomAffine((90, 90), interpolation="nearest", key=0)
    >>> turn(jnp.arange(4).reshape(1, 2, 2, 1), key=jax.random.key(0))[0, ..., 0].tolist()
    [[1, 3], [0, 2]]
    """

    def __init__(
        self,
        rotation: Range = 0.0,
        *,
        translation: Range = 0.0,
        scale: Range = 0.0,
        shear: Range = 0.0,
        interpolation: Literal["bilinear", "nearest"] = "bilinear",
        fill: float = 0.0,
        p: float = 1.0,
        key: Any = None,
    ):
        where = "RandomAffine"
        self.rotation: tuple[float, float] = range_of(where, "rotation", rotation)
        self.translation: tuple[float, float] = range_of(where, "translation", translation)
        self.scale: tuple[float, float] = range_of(where, "scale", scale, around=1.0, least=1e-3)
        self.shear: tuple[float, float] = range_of(where, "shear", shear, least=-89.0, most=89.0)
        self.interpolation: str = one_of(where, "interpolation", interpolation, tuple(ORDERS))
        self.fill: float = float(fill)
        super().__init__(p, key=key)

    def _check(self, x: Any, y: Any) -> None:
        super()._check(x, y)
        if self.interpolation == "bilinear":
            check_floats(x)

    def example(self, key: Any, x: jax.Array) -> jax.Array:
        turn, move, size, slant = jax.random.split(key, 4)
        degrees = uniform(turn, self.rotation), uniform(slant, self.shear)
        rotation, shear = (jnp.deg2rad(angle) for angle in degrees)
        share = jax.random.uniform(move, (2,), jnp.float32, *self.translation)
        matrix = linear_map(rotation, uniform(size, self.scale), shear)
        shift = share * jnp.array(x.shape[:2])
        return warp(x, matrix, shift, order=ORDERS[self.interpolation], fill=self.fill)


# --- covered ----------------------------------------------------------------------------------------


def in_box(height: int, width: int, top: Any, bottom: Any, left: Any, right: Any) -> jax.Array:
    """(height, width, 1) booleans, true from top to bottom and left to right, ends excluded."""
    row, column = jnp.arange(height)[:, None, None], jnp.arange(width)[None, :, None]
    return (row >= top) & (row < bottom) & (column >= left) & (column < right)


class Cutout(ImageAugmentation):
    """A square of each image covered; its centre is any pixel, so that part of it may lie outside.

    Shapes:
        x, y: (batch, height, width, channels) of any dtype.

    Arguments:
        size: the square's side in pixels.
        fill: what covers it.
        p: probability that an image is changed, in [0, 1].
        key: where its randomness starts; by default the stream of ``px.seed``.

    Raises:
        RangeError: a size below 1, p outside [0, 1].

    Source: DeVries and Taylor, "Improved regularization of convolutional neural networks with cutout", 2017.

    >>> import jax, jax.numpy as jnp, phlox as px
    >>> cut = px.data.Cutout(2, key=0)
    >>> y = cut(jnp.ones((99, 3, 3, 1)), key=jax.random.key(0))
    >>> sorted(set(y.sum((1, 2, 3)).tolist()))
    [5.0, 7.0, 8.0]
    """

    size: int
    fill: float

    def __init__(self, size: int, *, fill: float = 0.0, p: float = 1.0, key: Any = None):
        self.size, self.fill = whole_of("Cutout", "size", size), float(fill)
        super().__init__(p, key=key)

    def example(self, key: Any, x: jax.Array) -> jax.Array:
        height, width, _ = x.shape
        top, left = jax.random.randint(key, (2,), 0, jnp.array([height, width])) - self.size // 2
        box = in_box(height, width, top, top + self.size, left, left + self.size)
        return jnp.where(box, jnp.asarray(self.fill, x.dtype), x)

    def _brief(self) -> str:
        return f"Cutout({self.size})"


class RandomErasing(ImageAugmentation):
    """A rectangle of each image covered, inside the image, of a random area and shape.

    Its area is a share a of the image's and its height over width r: $h = \\sqrt{a H W r}$, $w = \\sqrt{a H W / r}$.
    Where the rectangle does not fit, area and shape are drawn again, ten times at most; then the image stays.

    Shapes:
        x, y: (batch, height, width, channels) of any dtype.

    Arguments:
        area: range of the share a, in [0, 1].
        aspect: range of r; its logarithm is uniform, so that high and wide are as likely.
        fill: what covers it; "noise" is a standard normal draw for every number.
        p: probability that an image is changed, in [0, 1].
        key: where its randomness starts; by default the stream of ``px.seed``.

    Raises:
        RangeError: a range out of order or out of bounds, p outside [0, 1]. DtypeError: noise in whole numbers.

    Source: Zhong et al., "Random erasing data augmentation", 2020 (which draws r itself uniformly).

    >>> import jax, jax.numpy as jnp, phlox as px
    >>> erase = px.data.RandomErasing((0.25, 0.25), (1.0, 1.0), p=1, key=0)
    >>> erase(jnp.ones((1, 4, 4, 1)), key=jax.random.key(0)).sum().item()
    12.0
    """

    def __init__(
        self,
        area: tuple[float, float] = (0.02, 0.33),
        aspect: tuple[float, float] = (0.3, 3.3),
        *,
        fill: float | Literal["noise"] = 0.0,
        p: float = 0.5,
        key: Any = None,
    ):
        self.area: tuple[float, float] = range_of("RandomErasing", "area", area, least=0.0, most=1.0)
        self.aspect: tuple[float, float] = range_of("RandomErasing", "aspect", aspect, around=1.0, least=1e-3)
        self.fill = fill if fill == "noise" else float(fill)
        super().__init__(p, key=key)

    def _check(self, x: Any, y: Any) -> None:
        super()._check(x, y)
        if self.fill == "noise":
            check_floats(x)

    def example(self, key: Any, x: jax.Array) -> jax.Array:
        size, shape, place, noise = jax.random.split(key, 4)
        height, width, _ = x.shape
        area = height * width * jax.random.uniform(size, (10,), jnp.float32, *self.area)
        low, high = jnp.log(jnp.array(self.aspect, jnp.float32))
        aspect = jnp.exp(jax.random.uniform(shape, (10,), jnp.float32, low, high))
        tall, wide = jnp.round(jnp.sqrt(area * aspect)), jnp.round(jnp.sqrt(area / aspect))
        fits = (tall < height) & (wide < width)
        first = jnp.argmax(fits)
        sides = jnp.where(fits.any(), jnp.stack([tall, wide])[:, first], 0).astype(jnp.int32)
        top, left = jax.random.randint(place, (2,), 0, jnp.array([height, width]) - sides + 1)
        cover = jax.random.normal(noise, x.shape, x.dtype) if self.fill == "noise" else jnp.asarray(self.fill, x.dtype)
        return jnp.where(in_box(height, width, top, top + sides[0], left, left + sides[1]), cover, x)
