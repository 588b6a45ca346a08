"""Initialisers with a structure: orthogonal, sparse, identities and constants."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from phlox.core import ShapeError
from phlox.nn.init._initializer import Initializer, half_safe, need


@dataclasses.dataclass(frozen=True, repr=False)
class Constant(Initializer):
    """Every element is ``value``."""

    value: complex = 0.0

    def _draw(self, key: Any, shape: tuple[int, ...], dtype: Any) -> Array:
        return jnp.full(shape, self.value, dtype)


@dataclasses.dataclass(frozen=True, repr=False)
class Zeros(Initializer):
    """Every element is 0."""

    def _draw(self, key: Any, shape: tuple[int, ...], dtype: Any) -> Array:
        return jnp.zeros(shape, dtype)


@dataclasses.dataclass(frozen=True, repr=False)
class Ones(Initializer):
    """Every element is 1."""

    def _draw(self, key: Any, shape: tuple[int, ...], dtype: Any) -> Array:
        return jnp.ones(shape, dtype)


@dataclasses.dataclass(frozen=True, repr=False)
class Orthogonal(Initializer):
    """``gain`` times a matrix with orthonormal columns (or rows, where columns are more), uniform over all of them.

    More than two axes: all but the last are flattened.
    """

    gain: float = 1.0

    def _draw(self, key: Any, shape: tuple[int, ...], dtype: Any) -> Array:
        _need_axes(self.label, shape, 2, "(..., in, out)")
        matrix = orthonormal(key, math.prod(shape[:-1]), shape[-1], half_safe(dtype))
        return (self.gain * matrix).reshape(shape).astype(dtype)


@dataclasses.dataclass(frozen=True, repr=False)
class DeltaOrthogonal(Initializer):
    """A convolution that is orthogonal at its central tap, and zero at the others."""

    gain: float = 1.0

    def _draw(self, key: Any, shape: tuple[int, ...], dtype: Any) -> Array:
        _need_axes(self.label, shape, 3, "(k..., in, out)")
        size, width = shape[-2:]
        if size > width:
            fix = "give the convolution at least as many outputs as inputs"
            raise ShapeError("in <= out in (k..., in, out)", got=str(list(shape)), fix=fix, where=self.label)
        centre = tuple((k - 1) // 2 for k in shape[:-2])
        matrix = orthonormal(key, size, width, half_safe(dtype))
        return jnp.zeros(shape, dtype).at[centre].set((self.gain * matrix).astype(dtype))


@dataclasses.dataclass(frozen=True, repr=False)
class Sparse(Initializer):
    """Normal with standard deviation ``std``, where each input reaches only part of the outputs.

    Each row of (in, out) has ``ceil(sparsity * out)`` zeros at random places.
    """

    sparsity: float = 0.9
    std: float = 0.01

    def __post_init__(self) -> None:
        got = f"sparsity={self.sparsity}"
        need(0 <= self.sparsity <= 1, "0 <= sparsity <= 1", got, "pass the fraction of zeros", self.label)
        need(self.std >= 0, "std >= 0", f"std={self.std}", "pass the standard deviation, not negative", self.label)

    def _draw(self, key: Any, shape: tuple[int, ...], dtype: Any) -> Array:
        if len(shape) != 2:
            fix = "use another initialiser for other ranks"
            raise ShapeError("a matrix (in, out)", got=str(list(shape)), fix=fix, where=self.label)
        values, places = jax.random.split(key)
        draw = self.std * jax.random.normal(values, shape, half_safe(dtype))
        rank = jax.random.permutation(places, jnp.broadcast_to(jnp.arange(shape[1]), shape), axis=1, independent=True)
        return jnp.where(rank < math.ceil(self.sparsity * shape[1]), 0.0, draw).astype(dtype)


@dataclasses.dataclass(frozen=True, repr=False)
class Identity(Initializer):
    """``gain`` times a map that gives each output the input of its index, moved cyclically by ``shift``.

    A convolution has the identity at its central tap, ``(k - 1) // 2``, so that "SAME" padding
    returns the input. An int ``shift`` moves the outputs; a tuple moves each axis.
    """

    gain: float = 1.0
    shift: int | tuple[int, ...] = 0

    def _draw(self, key: Any, shape: tuple[int, ...], dtype: Any) -> Array:
        _need_axes(self.label, shape, 2, "(..., in, out)")
        if isinstance(self.shift, tuple) and len(self.shift) != len(shape):
            fix = "pass one shift for each axis, or one int"
            expected = f"a weight of {len(self.shift)} axes, as many as shift={self.shift}"
            raise ShapeError(expected, got=str(list(shape)), fix=fix, where=self.label)
        weight = np.zeros(shape, np.float64)
        centre = tuple((k - 1) // 2 for k in shape[:-2])
        weight[centre] = self.gain * np.eye(shape[-2], shape[-1])
        axes = tuple(range(len(shape))) if isinstance(self.shift, tuple) else -1
        return jnp.asarray(np.roll(weight, self.shift, axes), dtype)


@dataclasses.dataclass(frozen=True, repr=False)
class Dirac(Initializer):
    """A convolution that passes its input channels through, at the tap ``k // 2``, in each group alike."""

    groups: int = 1

    def __post_init__(self) -> None:
        need(self.groups >= 1, "groups >= 1", f"groups={self.groups}", "pass the layer's groups", self.label)

    def _draw(self, key: Any, shape: tuple[int, ...], dtype: Any) -> Array:
        _need_axes(self.label, shape, 3, "(k..., in/groups, out)")
        if shape[-1] % self.groups:
            expected = f"outputs divisible by groups={self.groups}"
            raise ShapeError(expected, got=str(list(shape)), fix="pass the layer's groups", where=self.label)
        weight = np.zeros(shape, np.float64)
        weight[tuple(k // 2 for k in shape[:-2])] = np.tile(np.eye(shape[-2], shape[-1] // self.groups), self.groups)
        return jnp.asarray(weight, dtype)


@dataclasses.dataclass(frozen=True, repr=False)
class Eye(Initializer):
    """``gain`` times the identity matrix; a rectangle has ones on its main diagonal."""

    gain: float = 1.0

    def _draw(self, key: Any, shape: tuple[int, ...], dtype: Any) -> Array:
        if len(shape) != 2:
            fix = "use identity_init or dirac for convolutions"
            raise ShapeError("a matrix (in, out)", got=str(list(shape)), fix=fix, where=self.label)
        return self.gain * jnp.eye(shape[0], shape[1], dtype=dtype)


def orthonormal(key: Any, rows: int, columns: int, dtype: Any) -> Array:
    """A matrix of orthonormal columns (rows, where columns are more), from the uniform distribution over them.

    The Q of a normal matrix is uniform once the signs of R's diagonal are moved into it: Mezzadri,
    "How to generate random matrices from the classical compact groups" (arXiv:math-ph/0609050).
    """
    tall = (max(rows, columns), min(rows, columns))
    q, r = jnp.linalg.qr(jax.random.normal(key, tall, dtype))
    diagonal = jnp.diagonal(r)
    size = jnp.abs(diagonal)
    q = q * jnp.where(size == 0, 1.0, diagonal / jnp.where(size == 0, 1.0, size))[None]
    return q if rows >= columns else q.T


def _need_axes(name: str, shape: tuple[int, ...], rank: int, layout: str) -> None:
    if len(shape) < rank:
        fix = "use normal, uniform, zeros or ones for biases and scales"
        raise ShapeError(f"a weight of shape {layout}", got=str(list(shape)), fix=fix, where=name)
