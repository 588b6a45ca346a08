"""px.compress.sensitivity: which layers a model can least do without the digits of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from phlox.compress._integers import integers, numbers
from phlox.compress._layers import INTEGER, check_model, quantizable
from phlox.compress._scheme import Scheme
from phlox.compress.calibration._watching import Forward, batches_of, forward_of
from phlox.compress.layers._quantized import Quantized, matrix_of, rank_of
from phlox.core import (
    Module,
    OptionError,
    RangeError,
    StructureError,
    Where,
    answering,
    at,
    copy,
    jit,
    modules,
    plain_class,
)

_WHERE = "px.compress.sensitivity"


@dataclass(frozen=True)
class Sensitivity:
    """What a model loses by each of its layers, the most first; printed, a table."""

    errors: Mapping[str, float]
    """The squares of what results change by, over those of the results, by path."""
    sizes: Mapping[str, int]
    """How many numbers the weight has."""
    bits: int | str

    def most(self, count: int | None = None, *, share: float | None = None) -> tuple[str, ...]:
        """The paths of the layers that matter most, which may have more bits: ``where=found.most(3)``.

        Arguments:
            count: how many.
            share: in its place, how much room they may take: those that lose most for each of their numbers, and have
                together at most this share of all numbers.

        Raises:
            OptionError: both, or neither.
            RangeError: a count below 1, or above that of the layers; a share outside (0, 1).
        """
        if (count is None) == (share is None):
            got = "neither" if count is None else "both"
            raise OptionError("a count, or share=", got=got, fix="most(3), or most(share=0.02)", where=_WHERE)
        if share is not None:
            return self._within(share)
        if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= len(self.errors):
            fix = "choose one of these"
            raise RangeError(f"a count from 1 to {len(self.errors)}", got=repr(count)[:100], fix=fix, where=_WHERE)
        return tuple(self.errors)[:count]

    def _within(self, share: float) -> tuple[str, ...]:
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share < 1:
            fix = "0.02 leaves a fiftieth of the numbers"
            raise RangeError("a share between 0 and 1", got=repr(share)[:100], fix=fix, where=_WHERE)
        left, found = share * sum(self.sizes.values()), []
        for path in sorted(self.errors, key=lambda path: -self.errors[path] / self.sizes[path]):
            if self.sizes[path] <= left:
                found.append(path)
                left -= self.sizes[path]
        return tuple(found)

    def __str__(self) -> str:
        width = max(map(len, ["layer", *self.errors]))
        bits = f"error in {self.bits}" if isinstance(self.bits, str) else f"error at {self.bits} bits"
        lines = [f"{'layer':<{width}}  {'numbers':>12}  {bits:>15}"]
        lines += [f"{path:<{width}}  {self.sizes[path]:>12,}  {error:>15.3g}" for path, error in self.errors.items()]
        return "\n".join(lines)


@answering
def sensitivity(
    model: Module,
    data: Any,
    bits: int | str = 4,
    *,
    where: Where | None = None,
    skip: Where | None = None,
    group: int | None = None,
    symmetric: bool = True,
    per: str = "channel",
    of: Module | None = None,
    forward: Forward | None = None,
    batch_size: int = 32,
) -> Sensitivity:
    r"""How much the results of a model change when one layer alone is rounded: $\|y' - y\|^2 / \|y\|^2$ for each.

    Those that matter most may keep more bits: ``small = px.compress.quantize(model, 8, where=found.most(3))``, then
    ``px.compress.quantize(small, 4)`` for the rest.

    Arguments:
        model: a model with layers that can be quantised; it stays as it is.
        data, forward, batch_size: as of ``px.compress.calibrate``; what the model gives may be a tree of arrays.
        bits, where, skip, group, symmetric, per: as of ``px.compress.quantize``.
        of: a copy of the model that ``px.compress.quantize`` or ``gptq`` made, whose layers are tried one at a time in
            the place of the nearest integers.

    Raises:
        RangeError: no data, an option outside its range, a choice that means no such layer.
        StructureError: a model that gives zeros alone, or numbers that are not finite; a copy of another one, or
            without integers.

    Source: Dong et al., "HAWQ: Hessian aware quantization of neural networks with mixed-precision", 2019, has the
    ranking; the measure is the change itself.

    >>> import jax.numpy as jnp, phlox as px
    >>> model = px.Chain(px.Dense(4, 4, key=0), px.Dense(4, 2, key=1))
    >>> found = px.compress.sensitivity(model, jnp.ones((2, 4)))
    >>> sorted(found.errors) == ["layers.0", "layers.1"] and found.most(1)[0] == next(iter(found.errors))
    True
    """
    scheme = Scheme(bits, group, symmetric, per, _WHERE, floats=True)
    check_model(model, _WHERE)
    paths = list(quantizable(model, where, skip, _WHERE))
    tried = _nearest(model, paths, scheme) if of is None else _of(model, paths, of)
    batches, forward = batches_of(data, batch_size, _WHERE), forward_of(forward, _WHERE)
    wanted = [_run(model, forward, batch) for batch in batches]
    whole = sum(float(_squares(y, y, 0.0)) for y in wanted)
    if not 0 < whole < float("inf"):
        got = "zeros alone" if whole == 0 else "NaN or infinite numbers"
        fix = "pass data as the model will see, or forward= that gives what matters"
        raise StructureError("results that are finite and not zero", got=got, fix=fix, where=_WHERE)
    twin = copy(model)
    errors: dict[str, float] = {}
    for path, arrays in tried:
        layer = at(twin, path)
        own = {name: getattr(layer, name) for name in arrays}
        _put(layer, arrays)  # which leaves the program as it is
        change = sum(float(_squares(_run(twin, forward, b), y, 1.0)) for b, y in zip(batches, wanted, strict=True))
        _put(layer, own)
        errors[path] = change / whole
    ranked = dict(sorted(errors.items(), key=lambda one: -one[1]))
    used = bits if of is None else at(of, next(iter(ranked))).bits
    return Sensitivity(ranked, {path: at(model, path).weight.size for path in ranked}, used)


Tried = Iterable[tuple[str, dict[str, Any]]]  # arrays of a layer by name, one layer after the other


def _put(layer: Any, arrays: Mapping[str, Any]) -> None:
    for name, array in arrays.items():
        setattr(layer, name, array)


def _nearest(model: Module, paths: Sequence[str], scheme: Scheme) -> Tried:
    return ((path, {"weight": _rounded(at(model, path), scheme)}) for path in paths)


def _of(model: Module, paths: Sequence[str], of: Any) -> Tried:
    """The weights and biases of a copy with integers."""
    check_model(of, _WHERE)
    theirs: dict[str, Any] = modules(of)
    ours: dict[str, Any] = modules(model)
    held = [path for path in paths if isinstance(theirs.get(path), Quantized)]
    alike = [p for p in held if theirs[p].weight_shape == ours[p].weight.shape[-rank_of(ours[p]) :]]
    if not held or held != alike:
        got = "none that has integers" if not held else f"{theirs[next(p for p in held if p not in alike)]._brief()}"
        fix = "pass what px.compress.quantize(model) or px.compress.gptq(model, data) gives"
        raise StructureError("a copy of the model with integers", got=got, fix=fix, where=_WHERE)
    names = {path: [n for n in ("weight", "bias") if getattr(theirs[path], n, None) is not None] for path in held}
    return ((path, {name: getattr(theirs[path], name) for name in names[path]}) for path in held)


def _rounded(layer: Any, scheme: Scheme) -> jax.Array:
    """The weight of a layer as its integers have it."""
    axis = INTEGER[plain_class(type(layer))].axis
    matrix = matrix_of(layer.weight, rank_of(layer), axis)
    back = numbers(integers(matrix, scheme, axis), scheme.bits, scheme.group, matrix.shape[axis], axis)
    return back.reshape(layer.weight.shape).astype(layer.weight.dtype)


@jit
def _run(model: Module, forward: Forward, batch: Any) -> Any:
    return forward(model, batch)


@jax.jit
def _squares(ours: Any, theirs: Any, share: Any) -> jax.Array:
    """The sum of squares of ours less a share of theirs, over all floating arrays."""
    pairs = zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True)
    wide = [(a.astype(jnp.float32), b.astype(jnp.float32)) for a, b in pairs if jnp.issubdtype(a.dtype, jnp.inexact)]
    return sum((jnp.sum((a - share * b) ** 2) for a, b in wide), jnp.zeros(()))
