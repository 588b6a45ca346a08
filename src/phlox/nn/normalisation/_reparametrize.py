"""Wrappers that compute a weight of another layer anew at every call: weight norm and spectral norm."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Generic, TypeVar

import jax
import jax.numpy as jnp

from phlox.core import Module, Param, RangeError, ShapeError, State, describe, key_or_draw, modules
from phlox.nn import functional as F
from phlox.nn._checks import check_positive, check_size
from phlox.nn._fused import fused
from phlox.nn._kinds import own_kind

# Layers hold the computed weight only while they run; two threads that run one eager model take turns.
_turns = threading.RLock()


M = TypeVar("M", bound=Module)


class _Reparametrized(Module, Generic[M]):
    """What both share: the layer, and which of its arrays is computed."""

    layer: M
    name: str
    axis: int

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with _turns, _holding(self.layer, self.name, self._next_weight()):
            return self.layer(*args, **kwargs)

    def _next_weight(self) -> jax.Array:
        """The weight of this call; moves State in training."""
        return self.weight()

    def weight(self) -> jax.Array:
        """The weight that the layer computes with, as things stand."""
        raise NotImplementedError

    def _brief(self) -> str:
        name = "" if self.name == "weight" else f", {self.name!r}"
        return f"{type(self).__name__}({self.layer._brief()}{name})"


class WeightNorm(_Reparametrized[M]):
    r"""Any layer with one of its weights as a direction and a length: $w = g\, v / \|v\|_2$.

    The direction v stands in the layer where the weight stood, the length g here; g starts as the weight's own
    length, so that wrapping changes nothing. There is one length for each index of ``axis``, the output features.

    Shapes:
        those of the layer; size: (n,), n the size of ``axis``.

    Arguments:
        layer: the layer to wrap.
        name: which of its attributes is the weight.
        axis: the axis of the weight that keeps one length per index; the norm is over all others.

    Raises:
        RangeError: the layer has no such array, or the array no such axis.
        ShapeError: a weight without a second axis.

    Source: Salimans and Kingma, "Weight normalization", 2016.

    >>> import jax.numpy as jnp, phlox as px
    >>> layer = px.nn.WeightNorm(px.Dense.of(jnp.array([[3.0], [4.0]])))
    >>> layer.size.tolist(), layer(jnp.ones(2)).tolist()
    ([5.0], [7.0])
    """

    layer: M
    size: Param  # (n,) the length of each output's weight
    parameter_kinds: ClassVar[dict[str, tuple[str, int]]] = {"size": ("scale", 1)}
    name: str
    axis: int

    def __init__(self, layer: M, name: str = "weight", *, axis: int = -1):
        weight = _weight_of("WeightNorm", layer, name, axis)
        self.layer, self.name, self.axis = layer, name, axis
        self.size = _lengths(weight, axis)

    def weight(self) -> jax.Array:
        """The layer's weight: the direction at the length ``size``."""
        with _turns:
            direction = getattr(self.layer, self.name)
        return _weigh(F.identity, direction, self.size, axis=self.axis)


class SpectralNorm(_Reparametrized[M]):
    r"""Any layer with one of its weights divided by its largest singular value: $w = W / σ$, $σ = u^T M v$.

    M is the weight as a matrix, one row for each index of ``axis``. Each call in training moves u and v by power
    iteration; in inference they stand still. They start close to the singular vectors.

    Shapes:
        those of the layer; u: (n,), n the size of ``axis``; v: (m,), m the product of the other sizes.

    Arguments:
        layer: the layer to wrap.
        name: which of its attributes is the weight.
        axis: the axis of the rows, the output features.
        steps: power iterations at each call in training.
        eps: the smallest length that a vector is divided by.
        key: where u and v start; by default the stream of ``px.seed``.

    Raises:
        RangeError: the layer has no such array, or the array no such axis; a number outside its range.
        ShapeError: a weight without a second axis.

    Source: Miyato et al., "Spectral normalization for generative adversarial networks", 2018.

    >>> import jax.numpy as jnp, phlox as px
    >>> layer = px.nn.SpectralNorm(px.Dense.of(jnp.diag(jnp.array([4.0, 1.0]))), key=0)
    >>> [round(v, 3) for v in layer(jnp.ones(2)).tolist()]
    [1.0, 0.25]
    """

    layer: M
    u: State  # (n,) left singular vector, moved by the forward pass in training
    v: State  # (m,) right singular vector
    name: str
    axis: int

    def __init__(
        self,
        layer: M,
        name: str = "weight",
        *,
        axis: int = -1,
        steps: int = 1,
        eps: float = 1e-12,
        key: Any = None,
    ):
        weight = _weight_of("SpectralNorm", layer, name, axis)
        self.layer, self.name, self.axis = layer, name, axis
        self.steps: int = check_size("SpectralNorm", "steps", steps)
        self.eps: float = check_positive("SpectralNorm", "eps", eps)
        rows = weight.shape[axis]
        wide = jnp.promote_types(weight.dtype, jnp.float32)
        ends = jax.random.split(key_or_draw(key))
        u = jax.random.normal(ends[0], (rows,), wide)
        v = jax.random.normal(ends[1], (weight.size // max(rows, 1),), wide)
        _, self.u, self.v = _divide(F.identity, weight, u, v, steps=15, axis=axis, eps=self.eps)

    def _next_weight(self) -> jax.Array:
        given = getattr(self.layer, self.name)
        steps = self.steps if self.training else 0
        weight, u, v = _divide(F.identity, given, self.u, self.v, steps=steps, axis=self.axis, eps=self.eps)
        if self.training:
            self.u, self.v = u.astype(self.u.dtype), v.astype(self.v.dtype)
        return weight

    def weight(self) -> jax.Array:
        """The layer's weight over its largest singular value, by u and v as they are."""
        with _turns:
            given = getattr(self.layer, self.name)
        return _divide(F.identity, given, self.u, self.v, steps=0, axis=self.axis, eps=self.eps)[0]


@fused("axis")
def _weigh(act: Any, direction: Any, size: Any, *, axis: int) -> jax.Array:
    return act(F.weight_norm(direction, size, axis=axis))


@fused("steps", "axis", "eps")
def _divide(act: Any, weight: Any, u: Any, v: Any, **options: Any) -> tuple[jax.Array, jax.Array, jax.Array]:
    weight, u, v = F.spectral_norm(weight, u, v, **options)
    return act(weight), u, v


def _weight_of(wrapper: str, layer: Any, name: str, axis: int) -> jax.Array:
    """The weight to be wrapped, checked."""
    weight = getattr(layer, name, None) if isinstance(layer, Module) else None
    if weight is None or not hasattr(weight, "dtype") or not jnp.issubdtype(weight.dtype, jnp.floating):
        arrays = _weights_in(layer)
        raise RangeError(
            f"a layer with a floating array {name!r}",
            got=layer._brief() if isinstance(layer, Module) else describe(layer),
            fix=f"name one of its arrays: {', '.join(arrays)}" if arrays else "wrap the layer that holds the weight",
            where=wrapper,
        )
    if weight.ndim < 2:
        raise ShapeError(
            "a weight of two axes or more", got=describe(weight), fix="wrap weights, not biases", where=wrapper
        )
    if own_kind(layer, name).stacked:
        raise ShapeError(
            f"the {name} of one layer",
            got=f"{describe(weight)}, those of several, stacked",
            fix=f"wrap inside the function that builds each: RepeatedLayer(lambda: {wrapper}(…), …)",
            where=wrapper,
        )
    if not -weight.ndim <= axis < weight.ndim:
        raise RangeError(
            f"an axis of {describe(weight)}",
            got=f"axis={axis}",
            fix="name one it has; -1 is the outputs",
            where=wrapper,
        )
    return weight


def _weights_in(layer: Any) -> list[str]:
    return [k for k, v in getattr(layer, "__dict__", {}).items() if getattr(v, "ndim", 0) > 1]


def _lengths(weight: jax.Array, axis: int) -> jax.Array:
    """The Euclidean length of each slice along ``axis``, in the weight's dtype."""
    rows = jnp.moveaxis(weight, axis, 0).reshape(weight.shape[axis], -1)
    rows = rows.astype(jnp.promote_types(weight.dtype, jnp.float32))
    return jnp.sqrt(jnp.sum(rows * rows, 1)).astype(weight.dtype)


@contextmanager
def _holding(layer: Module, name: str, weight: jax.Array) -> Iterator[None]:
    """While the block runs, the layer holds ``weight``; then again what it held, so that nothing counts as written."""
    attributes = layer.__dict__
    before = attributes[name]
    attributes[name] = weight
    try:
        yield
    finally:
        attributes[name] = before


def remove_weight_norm(model: Module) -> Any:
    """Give the layers that ``WeightNorm`` and ``SpectralNorm`` wrap the weights they compute with, and unwrap them.

    Takes a wrapper, whose layer it returns, or any model, which it changes in place and returns. The model computes
    the same in inference; its parameters are the layers' own again.

    >>> import jax.numpy as jnp, phlox as px
    >>> model = px.Chain(px.nn.WeightNorm(px.Dense(2, 3)), px.tanh)
    >>> type(px.nn.remove_weight_norm(model)[0]).__name__
    'Dense'
    """
    done: dict[int, Module] = {}
    for module in modules(model).values():
        for name, value in list(vars(module).items()):
            plain = _unwrapped(value, done)
            if plain is not value:
                setattr(module, name, plain)
    return _unwrapped(model, done)


def _unwrapped(value: Any, done: dict[int, Module]) -> Any:
    """The value with wrappers in it replaced; itself where there is none."""
    if isinstance(value, _Reparametrized):
        if id(value) not in done:
            inner = _unwrapped(value.layer, done)
            setattr(value.layer, value.name, value.weight())
            done[id(value)] = inner
        return done[id(value)]
    if isinstance(value, dict):
        fresh = {k: _unwrapped(v, done) for k, v in value.items()}
        return fresh if any(fresh[k] is not value[k] for k in value) else value
    if type(value) in (list, tuple):
        parts = [_unwrapped(v, done) for v in value]
        return type(value)(parts) if any(a is not b for a, b in zip(parts, value, strict=True)) else value
    return value
