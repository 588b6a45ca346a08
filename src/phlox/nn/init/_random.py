"""Initialisers that draw every element alike: uniform, normal and truncated normal, also scaled by the fans."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import Array

from phlox.core import DtypeError
from phlox.nn.init._fans import fans
from phlox.nn.init._initializer import Initializer, half_safe, need

Mode = Literal["fan_in", "fan_out", "fan_avg"]
Distribution = Literal["uniform", "normal", "truncated_normal"]


@dataclasses.dataclass(frozen=True, repr=False)
class Uniform(Initializer):
    """Uniform on [low, high)."""

    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        got = f"low={self.low}, high={self.high}"
        need(self.low <= self.high, "low <= high", got, "exchange the two bounds", self.label)

    def _draw(self, key: Any, shape: tuple[int, ...], dtype: Any) -> Array:
        return _uniform(self.label, key, shape, dtype, self.low, self.high)


@dataclasses.dataclass(frozen=True, repr=False)
class Normal(Initializer):
    """Normal with the given mean and standard deviation."""

    mean: float = 0.0
    std: float = 1.0

    def __post_init__(self) -> None:
        need(self.std >= 0, "std >= 0", f"std={self.std}", "pass the standard deviation, not negative", self.label)

    def _draw(self, key: Any, shape: tuple[int, ...], dtype: Any) -> Array:
        draw = jax.random.normal(key, shape, half_safe(dtype))
        return (self.mean + self.std * draw).astype(dtype)


@dataclasses.dataclass(frozen=True, repr=False)
class TruncatedNormal(Initializer):
    """Normal cut off at ``lower`` and ``upper``, then moved and scaled to have exactly ``mean`` and ``std``.

    The bounds count standard deviations of the normal that is cut. Cutting at 2 alone would leave
    0.8796 of the standard deviation; the draw is divided by what the cut left. Bounds beyond 6 act
    as 6, where float32 ends.
    """

    mean: float = 0.0
    std: float = 1.0
    lower: float = -2.0
    upper: float = 2.0

    def __post_init__(self) -> None:
        need(self.std >= 0, "std >= 0", f"std={self.std}", "pass the standard deviation, not negative", self.label)
        got = f"lower={self.lower}, upper={self.upper}"
        ok = self.lower < self.upper and self.lower <= 4.0 and self.upper >= -4.0
        fix = "exchange the bounds, or move them nearer to 0, in units of std"
        need(ok, "lower < upper, lower <= 4 and upper >= -4", got, fix, self.label)

    def _draw(self, key: Any, shape: tuple[int, ...], dtype: Any) -> Array:
        wide = half_safe(dtype)
        if jnp.issubdtype(wide, jnp.complexfloating):
            raise DtypeError("a real dtype", got=str(dtype), fix="use a normal initialiser", where=self.label)
        lower, upper = max(self.lower, -6.0), min(self.upper, 6.0)  # an infinite bound would let -1e38 through
        centre, spread = truncated_moments(lower, upper)
        draw = jax.random.truncated_normal(key, lower, upper, shape, wide)
        return (self.mean + self.std / spread * (draw - centre)).astype(dtype)


@dataclasses.dataclass(frozen=True, repr=False)
class VarianceScaling(Initializer):
    """Mean 0 and variance ``gain**2 / fan``: fan is the inputs, the outputs, or the mean of both.

    Complex numbers, whose variance is E|z|², are drawn from a disc in the place of a uniform interval.
    """

    gain: float = 1.0
    mode: Mode = "fan_in"
    distribution: Distribution = dataclasses.field(default="normal", kw_only=True)

    def __post_init__(self) -> None:
        need(self.gain >= 0, "gain >= 0", f"gain={self.gain}", "pass a factor on the standard deviation", self.label)
        modes = ("fan_in", "fan_out", "fan_avg")
        need(self.mode in modes, f"mode in {modes}", repr(self.mode), "choose one of them", self.label)

    def _draw(self, key: Any, shape: tuple[int, ...], dtype: Any) -> Array:
        fan_in, fan_out = fans(shape)
        fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.mode]
        std = self.gain / math.sqrt(max(fan, 1))
        if self.distribution == "uniform" and jnp.issubdtype(dtype, jnp.complexfloating):
            return _disc(key, shape, dtype, std)
        if self.distribution == "uniform":
            bound = math.sqrt(3.0) * std
            return _uniform(self.label, key, shape, dtype, -bound, bound)
        if self.distribution == "normal":
            return Normal(std=std)(key, shape, dtype)
        return TruncatedNormal(std=std, name=self.label)(key, shape, dtype)


@dataclasses.dataclass(frozen=True, repr=False)
class Glorot(VarianceScaling):
    """Variance ``gain**2 * 2 / (fan_in + fan_out)``."""

    mode: Mode = "fan_avg"


@dataclasses.dataclass(frozen=True, repr=False)
class Kaiming(VarianceScaling):
    """Variance ``gain**2 / fan_in``, with the gain of a rectifier."""

    gain: float = math.sqrt(2.0)


@dataclasses.dataclass(frozen=True, repr=False)
class Lecun(VarianceScaling):
    """Variance ``gain**2 / fan_in``."""


def truncated_moments(lower: float, upper: float) -> tuple[float, float]:
    """Mean and standard deviation of a standard normal that is cut off at ``lower`` and ``upper``.

    With density f and distribution F: ``m = (f(a) - f(b)) / Z``, ``v = 1 + (a f(a) - b f(b)) / Z - m**2``,
    ``Z = F(b) - F(a)``.

    >>> round(truncated_moments(-2.0, 2.0)[1], 6)
    0.879626

    Source: Johnson, Kotz & Balakrishnan, "Continuous univariate distributions", volume 1 (1994).
    """

    def density(z: float) -> float:
        return math.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)

    # tails by erfc: a difference of values near 1 would lose the digits of a cut far out
    sign = -1.0 if lower > 0 else 1.0
    a, b = (lower, upper) if sign > 0 else (-upper, -lower)
    mass = 0.5 * (math.erfc(-b / math.sqrt(2.0)) - math.erfc(-a / math.sqrt(2.0)))
    mean = (density(a) - density(b)) / mass
    return sign * mean, math.sqrt(1.0 + (a * density(a) - b * density(b)) / mass - mean * mean)


def _disc(key: Any, shape: tuple[int, ...], dtype: Any, std: float) -> Array:
    """Complex numbers uniform on a disc around 0, of this standard deviation: E|z|² of radius R is R²/2."""
    radius, angle = jax.random.split(key)
    real = jnp.finfo(dtype).dtype
    r = std * jnp.sqrt(2.0 * jax.random.uniform(radius, shape, real))
    turn = 2.0 * math.pi * jax.random.uniform(angle, shape, real)
    return jax.lax.complex(r * jnp.cos(turn), r * jnp.sin(turn)).astype(dtype)


def _uniform(name: str, key: Any, shape: tuple[int, ...], dtype: Any, low: float, high: float) -> Array:
    if jnp.issubdtype(dtype, jnp.complexfloating):
        raise DtypeError("a real dtype", got=str(dtype), fix="use a normal initialiser", where=name)
    return jax.random.uniform(key, shape, half_safe(dtype), low, high).astype(dtype)
