"""Augmentations of colour: jitter, grey, blur."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import jax

from phlox.data.augmentation import _colors as _color
from phlox.data.augmentation._augment import ImageAugmentation, range_of, uniform, whole_of

Range = float | tuple[float, float]


class ColorJitter(ImageAugmentation):
    r"""Each image with another brightness, contrast, saturation and hue, in this order.

    The first three are blends $y = z + f (x - z)$, clipped to [0, 1], with black, with the image's mean grey and with
    the grey image; grey is 0.299 R + 0.587 G + 0.114 B. The hue turns by a share of the colour circle, with value and
    saturation (HSV) as they are. A grey image has no saturation or hue to change.

    Shapes:
        x, y: (batch, height, width, 1 or 3) of floats in [0, 1].

    Arguments:
        brightness, contrast, saturation: ranges of the factor f, at least 0; a number n is the range 1 ± n.
        hue: range of the turn, in [-0.5, 0.5]; a number n is the range 0 ± n.
        p: probability that an image is changed, in [0, 1].
        key: where its randomness starts; by default the stream of ``px.seed``.

    Raises:
        RangeError: a range out of order or out of bounds. DtypeError: whole numbers. ShapeError: other channels.

    Source: Howard, "Some improvements on deep convolutional neural network based image classification", 2013.

    >>> import jax, jax.numpy as jnp, phlox as px
    >>> jitter = px.data.ColorJitter(brightness=(0.5, 0.5), hue=(0.5, 0.5), key=0)
    >>> jitter(jnp.array([1.0, 0.0, 0.0]).reshape(1, 1, 1, 3), key=jax.random.key(0)).ravel().tolist()
    [0.0, 0.5, 0.5]
    """

    _colors: ClassVar[bool] = True
    _floats: ClassVar[bool] = True

    def __init__(
        self,
        brightness: Range = 0.0,
        contrast: Range = 0.0,
        saturation: Range = 0.0,
        hue: Range = 0.0,
        *,
        p: float = 1.0,
        key: Any = None,
    ):
        self.brightness: tuple[float, float] = range_of("ColorJitter", "brightness", brightness, around=1.0, least=0.0)
        self.contrast: tuple[float, float] = range_of("ColorJitter", "contrast", contrast, around=1.0, least=0.0)
        self.saturation: tuple[float, float] = range_of("ColorJitter", "saturation", saturation, around=1.0, least=0.0)
        self.hue: tuple[float, float] = range_of("ColorJitter", "hue", hue, least=-0.5, most=0.5)
        super().__init__(p, key=key)

    def example(self, key: Any, x: jax.Array) -> jax.Array:
        for drawn, name in zip(jax.random.split(key, 4), ("brightness", "contrast", "saturation", "hue"), strict=True):
            ends = getattr(self, name)
            if ends != ((0.0, 0.0) if name == "hue" else (1.0, 1.0)):
                x = getattr(_color, name)(x, uniform(drawn, ends))
        return x


class Grayscale(ImageAugmentation):
    """Each image without colour, in as many channels as before.

    Shapes:
        x, y: (batch, height, width, 1 or 3) of floats.

    Arguments:
        p: probability that an image is changed, in [0, 1].
        key: where its randomness starts; by default the stream of ``px.seed``.

    Raises:
        RangeError: p outside [0, 1]. DtypeError: whole numbers. ShapeError: other channels.

    Source: ITU-R BT.601 for the weights; Chen et al., "A simple framework for contrastive learning", 2020, for p.

    >>> import jax, jax.numpy as jnp, phlox as px
    >>> y = px.data.Grayscale(p=1, key=0)(jnp.array([1.0, 0.0, 0.0]).reshape(1, 1, 1, 3), key=jax.random.key(0))
    >>> [round(v, 3) for v in y.ravel().tolist()]
    [0.299, 0.299, 0.299]
    """

    _colors: ClassVar[bool] = True
    _floats: ClassVar[bool] = True

    def __init__(self, p: float = 0.2, *, key: Any = None):
        super().__init__(p, key=key)

    def example(self, key: Any, x: jax.Array) -> jax.Array:
        del key
        return _color.gray(x) + 0 * x


class GaussianBlur(ImageAugmentation):
    r"""Each image blurred by a Gaussian of a random width, cut off at a distance and normalised; edges go on outside.

    Shapes:
        x, y: (batch, height, width, channels) of floats.

    Arguments:
        sigma: range of the Gaussian's standard deviation in pixels, above 0.
        radius: the distance in pixels where it is cut off; by default three of the largest deviation.
        p: probability that an image is changed, in [0, 1].
        key: where its randomness starts; by default the stream of ``px.seed``.

    Raises:
        RangeError: a sigma not above 0, a radius below 1, p outside [0, 1]. DtypeError: whole numbers.

    Source: Chen et al., "A simple framework for contrastive learning of visual representations", 2020.

    >>> import jax, jax.numpy as jnp, phlox as px
    >>> blur = px.data.GaussianBlur((1.0, 1.0), p=1, key=0)
    >>> y = blur(jnp.zeros((1, 9, 9, 1)).at[0, 4, 4].set(1.0), key=jax.random.key(0))
    >>> round(float(y.sum()), 4), round(float(y[0, 4, 4, 0]), 3)
    (1.0, 0.159)
    """

    _floats: ClassVar[bool] = True

    def __init__(
        self, sigma: tuple[float, float] = (0.1, 2.0), *, radius: int | None = None, p: float = 0.5, key: Any = None
    ):
        self.sigma: tuple[float, float] = range_of("GaussianBlur", "sigma", sigma, around=1.0, least=1e-3)
        reach = math.ceil(3 * self.sigma[1]) if radius is None else radius
        self.radius: int = whole_of("GaussianBlur", "radius", reach)
        super().__init__(p, key=key)

    def example(self, key: Any, x: jax.Array) -> jax.Array:
        return _color.gaussian_blur(x, uniform(key, self.sigma), self.radius)
