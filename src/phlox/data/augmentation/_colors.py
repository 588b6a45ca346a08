"""Colours of one image as formulas on numbers in [0, 1]: grey, blends, hue, contrast, histograms."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as PIL's mode L


def gray(image: jax.Array) -> jax.Array:
    """Brightness to the eye, (..., channels) to (..., 1); an image of one channel is grey already."""
    return image if image.shape[-1] == 1 else jnp.sum(image * jnp.array(_LUMA, image.dtype), -1, keepdims=True)


def blend(other: Any, image: jax.Array, factor: Any) -> jax.Array:
    """``other + factor (image - other)`` in [0, 1]: factor 0 is the other, 1 the image, above it goes beyond."""
    return jnp.clip(other + factor * (image - other), 0, 1)


def brightness(image: jax.Array, factor: Any) -> jax.Array:
    """A blend with black."""
    return blend(0.0, image, factor)


def contrast(image: jax.Array, factor: Any) -> jax.Array:
    """A blend with the mean grey."""
    return blend(jnp.mean(gray(image)), image, factor)


def saturation(image: jax.Array, factor: Any) -> jax.Array:
    """A blend with the grey image."""
    return blend(gray(image), image, factor)


def sharpness(image: jax.Array, factor: Any) -> jax.Array:
    """A blend with the image smoothed by [1 1 1; 1 5 1; 1 1 1] / 13, in which the outermost pixels stay."""
    height, width, _ = image.shape
    around = sum(image[i : height - 2 + i, j : width - 2 + j] for i in range(3) for j in range(3))
    smooth = image.at[1:-1, 1:-1].set((around + 4 * image[1:-1, 1:-1]) / 13)
    return blend(smooth, image, factor)


def hue(image: jax.Array, shift: Any) -> jax.Array:
    """The hue of an RGB image turned by a share of the colour circle; value and saturation (HSV) stay."""
    if image.shape[-1] == 1:
        return image
    r, g, b = jnp.moveaxis(image, -1, 0)
    value, least = jnp.max(image, -1), jnp.min(image, -1)
    chroma = value - least
    safe = jnp.where(chroma == 0, 1, chroma)
    sixth = jnp.select([value == r, value == g], [(g - b) / safe, 2 + (b - r) / safe], 4 + (r - g) / safe)

    def channel(offset: int) -> jax.Array:
        k = (offset + sixth + 6 * shift) % 6
        return value - chroma * jnp.clip(jnp.minimum(k, 4 - k), 0, 1)

    return jnp.stack([channel(5), channel(3), channel(1)], -1)


def autocontrast(image: jax.Array) -> jax.Array:
    """Each channel stretched to [0, 1]; one of a single value stays."""
    low, high = image.min((0, 1)), image.max((0, 1))
    return jnp.where(high > low, (image - low) / jnp.where(high > low, high - low, 1), image)


def solarize(image: jax.Array, threshold: Any) -> jax.Array:
    """What reaches the threshold as its negative."""
    return jnp.where(image < threshold, image, 1 - image)


def _levels(image: jax.Array) -> jax.Array:
    return jnp.round(255 * image).astype(jnp.int32)


def posterize(image: jax.Array, bits: Any) -> jax.Array:
    """The leading bits of the 8 of each number."""
    dropped = 8 - bits
    return ((_levels(image) >> dropped) << dropped) / jnp.asarray(255, image.dtype)


def equalize(image: jax.Array) -> jax.Array:
    """Each channel with a histogram as flat as 256 levels allow, by PIL's whole-number formula."""

    def one(levels: jax.Array) -> jax.Array:
        counts = jnp.zeros(256, jnp.int32).at[levels.ravel()].add(1)
        last = counts[levels.max()]
        step = (levels.size - last) // 255
        before = jnp.cumsum(counts) - counts
        table = jnp.minimum((before + step // 2) // jnp.maximum(step, 1), 255)
        return jnp.where(step > 0, table[levels], levels)

    mapped = jax.vmap(one, in_axes=-1, out_axes=-1)(jnp.clip(_levels(image), 0, 255))
    return mapped / jnp.asarray(255, image.dtype)


def gaussian_blur(image: jax.Array, sigma: Any, radius: int) -> jax.Array:
    """Rows and columns weighed by ``exp(-d² / 2σ²)`` up to a distance; beyond the edge the nearest pixel goes on."""
    distance = jnp.arange(-radius, radius + 1)
    weights = jnp.exp(-(distance**2) / (2 * sigma**2))
    weights = weights / weights.sum()
    for axis in (0, 1):
        pad = [(radius, radius) if a == axis else (0, 0) for a in range(3)]
        padded, size = jnp.pad(image, pad, mode="edge"), image.shape[axis]
        parts = [jax.lax.slice_in_dim(padded, i, i + size, axis=axis) for i in range(2 * radius + 1)]
        image = sum((w * part for w, part in zip(weights, parts, strict=True)), jnp.zeros_like(image))
    return image
