"""A model as what can be computed with encrypted numbers: products with matrices, and polynomials, in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import Module, StructureError, copy, shown
from phlox.nn import Chain
from phlox.nn.functional import identity
from phlox.privacy.encrypted._polynomial import Polynomial

_WHERE = "EncryptedModel"
_LEADS = 0.02  # of the largest coefficient, above which one may be made 1 without making others too large
_NOTHING = 1e-6  # of the largest coefficient, below which one is none
Numbers = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, eq=False)
class Affine:
    """y = x M + b; ``matrix`` (in, out), ``bias`` (out,)."""

    name: str
    matrix: Numbers
    bias: Numbers

    def __call__(self, x: Numbers) -> Numbers:
        return x @ self.matrix + self.bias

    def after(self, other: Affine) -> Affine:
        """Both as one, under the name of the first."""
        return Affine(other.name, other.matrix @ self.matrix, self(other.bias))

    def times(self, factor: float) -> Affine:
        """The same of an input that is to be multiplied first."""
        return Affine(self.name, factor * self.matrix, self.bias)


@dataclass(frozen=True)
class Power:
    """y = Σ aₖ xᵏ of each number; coefficients from the constant on."""

    name: str
    coefficients: tuple[float, ...]

    def __call__(self, x: Numbers) -> Numbers:
        return np.asarray(np.polynomial.polynomial.polyval(x, self.coefficients), np.float64)


Step = Affine | Power


def program_of(model: Module, shape: tuple[int, ...]) -> tuple[Step, ...]:
    """The steps of a model for inputs of a shape, without the axis of the batch.

    Affine parts that follow each other are one; ranges and leading coefficients of polynomials are part of the
    matrices around them.

    Raises:
        StructureError: a part that is neither affine nor a ``Polynomial``.
    """
    steps: list[Step] = []
    for name, part in _parts(model, "model"):
        found, shape = _steps(name, part, shape)
        steps += found
    return tuple(_scaled(_joined(steps)))


def _parts(part: Any, name: str) -> Iterator[tuple[str, Any]]:
    """What a chain calls one after the other, layers before their activations."""
    if isinstance(part, Chain):
        layers: Any = part.layers
        for key in layers if isinstance(layers, dict) else range(len(layers)):
            yield from _parts(layers[key], f"{name}.layers[{key!r}]")
        return
    act = getattr(part, "act", identity)
    if isinstance(part, Module) and isinstance(act, Polynomial):
        plain: Any = copy(part)
        plain.act = identity
        yield name, plain
        yield f"{name}.act", act
    else:
        yield name, part


def _steps(name: str, part: Any, shape: tuple[int, ...]) -> tuple[list[Step], tuple[int, ...]]:
    """A part as steps, and the shape behind it."""
    if isinstance(part, Polynomial):
        count, scale = prod(shape), 1 / part.radius
        into = Affine(name, scale * np.eye(count), np.full(count, -part.center * scale))
        return [into, Power(name, tuple(map(float, part.coefficients)))], shape
    if part is identity:
        return [], shape
    with jax.default_matmul_precision("highest"):
        call = lambda x: np.asarray(part(jnp.asarray(x, jnp.float32).reshape(-1, *shape)), np.float64)  # noqa: E731
        return _affine(name, part, call, shape)


def _affine(
    name: str, part: Any, call: Callable[[Numbers], Numbers], shape: tuple[int, ...]
) -> tuple[list[Step], tuple[int, ...]]:
    """A part by what it makes of zero and of each unit vector; refused where that is not all there is to it."""
    count = prod(shape)
    zero = call(np.zeros((1, count)))[0]
    bias = zero.ravel()
    found = Affine(name, call(np.eye(count)).reshape(count, -1) - bias, bias)
    tried = np.random.default_rng(0).normal(size=(4, count))
    wanted = call(tried).reshape(4, -1)
    if not np.allclose(found(tried), wanted, rtol=1e-3, atol=1e-4 * np.abs(wanted).max(initial=1.0)):
        raise StructureError(
            f"products, sums and polynomials alone, of one example at a time, at {name}",
            got=part._brief() if hasattr(part, "_brief") else shown(part),
            fix="make activations polynomials, px.privacy.with_polynomials(model, x); take px.MeanPool in the place of "
            "px.MaxPool; leave a softmax at the end to the client",
            where=_WHERE,
        )
    return [found], zero.shape


def _joined(steps: list[Step]) -> list[Step]:
    """Affine steps that follow each other, as one."""
    found: list[Step] = []
    for step in steps:
        last = found[-1] if found else None
        if isinstance(step, Affine) and isinstance(last, Affine):
            found[-1] = step.after(last)
        else:
            found.append(step)
    return found


def _scaled(steps: list[Step]) -> list[Step]:
    """Leading coefficients of 1, which save a level, where the matrix behind can take the factor."""
    found = list(steps)
    for i, step in enumerate(found):
        if not isinstance(step, Power):
            continue
        a, behind = _trimmed(step), found[i + 1] if i + 1 < len(found) else None
        if isinstance(behind, Affine) and abs(a[-1]) > _LEADS * np.abs(a).max():
            found[i + 1] = behind.times(float(a[-1]))
            a = a / a[-1]
        found[i] = Power(step.name, tuple(map(float, a)))
    return found


def _trimmed(step: Power) -> Numbers:
    """The coefficients up to the last that counts."""
    a = np.asarray(step.coefficients)
    a = np.trim_zeros(np.where(np.abs(a) < _NOTHING * np.abs(a).max(), 0, a), "b")
    if a.size < 2:
        fix = "fit it anew, with px.privacy.with_polynomials(model, x)"
        got = f"{list(step.coefficients)} at {step.name}"
        raise StructureError("polynomials that depend on their input", got=got, fix=fix, where=_WHERE)
    return a
