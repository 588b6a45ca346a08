"""Layers that note what comes in while a model runs on data: its range, its histogram."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from phlox.core import Module, RangeError, State, at, copy, jit, replaced
from phlox.loop import call_on_input, one_pass

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


class FeaturesSeen(Watched):
    """Of each feature that came in the largest size and the mean, and if asked the products of any two, summed."""

    most: State  # (in,)
    sizes: State  # (in,) summed
    gram: State | None  # (in, in) summed
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
