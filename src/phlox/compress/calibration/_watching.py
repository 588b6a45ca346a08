"""Layers that note what comes in while a model runs on data: its range, its histogram."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from phlox.core import Module, RangeError, State, at, copy, jit, replaced
from phlox.loop import call_on_input, one_pass
from phlox.nn import pad_spatial, plan_window

BINS = 2048
Forward = Callable[[Module, Any], Any]
W = TypeVar("W", bound="Watched")


class Watched(Module):
    """A layer that notes what comes in, and else is the layer."""

    layer: Any

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or "layer" not in self.__dict__:
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}", name=name, obj=self)
        return getattr(self.__dict__["layer"], name)

    def __call__(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        self.look(jax.lax.stop_gradient(jnp.asarray(x)))
        return self.layer(x, *args, **kwargs)

    def look(self, x: jax.Array) -> None:
        """Note an input."""
        raise NotImplementedError


class RangeSeen(Watched):
    """The smallest and the largest number that came in."""

    low: State  # ()
    high: State  # ()

    factors: State | None  # (in,)

    def __init__(self, layer: Any, factors: Any = None):
        self.layer, self.factors = layer, factors
        self.low, self.high = jnp.asarray(jnp.inf, jnp.float32), jnp.asarray(-jnp.inf, jnp.float32)

    def look(self, x: jax.Array) -> None:
        x = _times(x, self.factors)
        self.low, self.high = jnp.minimum(self.low, x.min()), jnp.maximum(self.high, x.max())


class HistogramSeen(Watched):
    """How often numbers came in, by bins of one width between two ends."""

    counts: State  # (bins,)
    low: State  # ()
    high: State  # ()

    factors: State | None  # (in,)

    def __init__(self, layer: Any, low: float, high: float, factors: Any = None):
        self.layer, self.factors = layer, factors
        self.low, self.high = jnp.asarray(low, jnp.float32), jnp.asarray(high, jnp.float32)
        self.counts = jnp.zeros(BINS, jnp.float32)

    def look(self, x: jax.Array) -> None:
        share = (_times(x, self.factors).reshape(-1) - self.low) / (self.high - self.low)
        at_bin = jnp.clip((share * BINS).astype(jnp.int32), 0, BINS - 1)
        self.counts = self.counts + jnp.bincount(at_bin, length=BINS)


class Sums(Watched):
    """What is summed over all that came in."""

    count: State  # () of rows

    @property
    def total(self) -> jax.Array:
        """A number that is finite where all that came in was."""
        raise NotImplementedError


class FeaturesSeen(Sums):
    """Of each feature that came in the largest size and the sum of sizes, and if asked the products of any two."""

    most: State  # (in,)
    sizes: State  # (in,)
    gram: State | None  # (in, in)
    count: State  # ()

    def __init__(self, layer: Any, *, products: bool):
        self.layer = layer
        size = layer.in_size
        self.most, self.sizes = jnp.zeros(size, jnp.float32), jnp.zeros(size, jnp.float32)
        self.gram = jnp.zeros((size, size), jnp.float32) if products else None
        self.count = jnp.zeros((), jnp.float32)

    def look(self, x: jax.Array) -> None:
        rows = x.reshape(-1, x.shape[-1]).astype(jnp.float32)
        sizes = jnp.abs(rows)
        self.most, self.sizes = jnp.maximum(self.most, sizes.max(0)), self.sizes + sizes.sum(0)
        if self.gram is not None:
            self.gram = self.gram + rows.T @ rows
        self.count = self.count + rows.shape[0]

    @property
    def total(self) -> jax.Array:
        return self.sizes.sum()


class PatchesSeen(Sums):
    """The numbers that an output sums over, and the products of any two, summed over all tokens, or all windows."""

    gram: State  # (groups, rows, rows)
    sums: State  # (groups, rows)
    count: State  # ()

    def __init__(self, layer: Any):
        self.layer = layer
        groups, rows = groups_of(layer), math.prod(layer.weight.shape[:-1])
        self.gram = jnp.zeros((groups, rows, rows), jnp.float32)
        self.sums = jnp.zeros((groups, rows), jnp.float32)
        self.count = jnp.zeros((), jnp.float32)

    def look(self, x: jax.Array) -> None:
        rows = patches(self.layer, x.astype(jnp.float32))
        self.gram = self.gram + jnp.swapaxes(rows, 1, 2) @ rows
        self.sums = self.sums + rows.sum(1)
        self.count = self.count + rows.shape[1]

    @property
    def total(self) -> jax.Array:
        return jnp.einsum("gii->", self.gram)


def groups_of(layer: Any) -> int:
    """How many blocks of channels a layer takes by themselves."""
    return layer.groups if hasattr(layer, "groups") else layer.channels if hasattr(layer, "channels") else 1


def patches(layer: Any, x: jax.Array) -> jax.Array:
    """What outputs of a layer sum over, (groups, tokens or windows, rows), in the order of the weight's rows."""
    if not hasattr(layer, "kernel"):
        return x.reshape(1, -1, x.shape[-1])
    where = "px.compress"
    window = plan_window(x, layer.kernel, layer.stride, layer.padding, layer.dilation, where)
    x, window = pad_spatial(x, window.padding, layer.padding_mode, where), window.inside()
    groups = groups_of(layer)
    apart = [window.at(x, offsets).reshape(-1, groups, x.shape[-1] // groups) for offsets in window.offsets()]
    rows = jnp.stack(apart, -2)
    return jnp.moveaxis(rows.reshape(*rows.shape[:2], -1), 1, 0)


def _times(x: jax.Array, factors: Any) -> jax.Array:
    x = x.astype(jnp.float32)
    return x if factors is None else x * factors


def watch(
    model: Module, paths: Iterable[str], make: Callable[[str, Any], W], batches: Iterable[Any], forward: Forward,
    where: str,
) -> dict[str, W]:  # fmt: skip
    """Run a copy of a model over batches, in which layers note what comes in; they are given back by path."""
    twin = copy(model)
    layers = {path: at(twin, path) for path in paths}
    seen = {path: make(path, layer) for path, layer in layers.items()}
    twin = replaced(twin, {id(layer): seen[path] for path, layer in layers.items()}, where)
    for batch in batches:
        _run(twin, forward, batch)
    return seen


@jit
def _run(model: Module, forward: Forward, batch: Any) -> None:
    forward(model, batch)


def batches_of(data: Any, batch_size: int, where: str) -> list[Any]:
    """All batches of data in any form, which are gone over more than once.

    Raises:
        RangeError: no data.
        ShapeError: no batch.
    """
    if data is None:
        fix = "pass some hundred inputs as the model will see, px.compress.calibrate(model, x)"
        raise RangeError("data", got="None", fix=fix, where=where)
    return list(one_pass(data, batch_size, where))


def forward_of(forward: Forward | None, where: str) -> Forward:
    """How a model is called on a batch: as the user says, or on its input."""
    return _on_input(where) if forward is None else forward


@functools.cache  # one function for each who asks, so that a program is compiled once
def _on_input(where: str) -> Forward:
    return lambda model, batch: call_on_input(model, batch, where)


def called(seen: Mapping[str, RangeSeen]) -> Iterator[tuple[str, float, float]]:
    """The ranges of layers that were called."""
    for path, one in seen.items():
        low, high = float(one.low), float(one.high)
        if low <= high or low != low or high != high:
            yield path, low, high
