"""A map that can be undone, and knows how it stretches space."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import Module, ShapeError, StructureError, check_function, check_size, describe, harmonise

Moved = tuple[jax.Array, jax.Array]


class Bijection(Module):
    r"""A map with an inverse, $z = f(x)$, and $\log |\det \partial z / \partial x|$; the base of those that flows take.

    A subclass computes ``__call__(x, context=None)`` and ``inverse(z, context=None)``; each gives a pair: the value,
    (..., features), and the logarithm of how it stretches space there, (...). That of the inverse is the negative of
    that of the map at the same point. ``initialise(x, context=None)`` may set what starts best at values of the data.

    Shapes:
        x, z: (..., features); context: (..., given), what the map depends on besides.
    """

    def inverse(self, z: Any, context: Any = None) -> Moved:
        """The x that the map takes to z, and the logarithm of how the inverse stretches space."""
        raise NotImplementedError

    def initialise(self, x: Any, context: Any = None) -> None:
        """Set what starts best at values of the data; most maps have nothing of the kind."""


class Inverse(Bijection):
    """A map the other way: what was its inverse is the map, and the map is its inverse.

    ``Inverse(Autoregressive(...))`` is an inverse autoregressive flow: samples take one pass, densities one for each
    feature.

    Arguments:
        bijection: the map.

    Source: Kingma et al., "Improving variational inference with inverse autoregressive flow", 2016.

    >>> import jax.numpy as jnp, phlox as px
    >>> turned = px.probability.Inverse(px.probability.Permutation(3, [2, 0, 1]))
    >>> turned(jnp.array([30.0, 10.0, 20.0]))[0].tolist()
    [10.0, 20.0, 30.0]
    """

    bijection: Bijection

    def __init__(self, bijection: Bijection):
        self.bijection = check_bijection("Inverse", bijection)

    def __call__(self, x: Any, context: Any = None) -> Moved:
        return self.bijection.inverse(x, context)

    def inverse(self, z: Any, context: Any = None) -> Moved:
        """What the map it stands for does."""
        return self.bijection(z, context)

    def _brief(self) -> str:
        return f"Inverse({self.bijection._brief()})"


def check_bijection(where: str, value: Any) -> Bijection:
    """A Module with an inverse."""
    if not isinstance(value, Module) or not callable(getattr(value, "inverse", None)):
        value = check_function(where, "bijection", value, "as bijection(x, context)")
        fix = "give a subclass of px.probability.Bijection"
        raise StructureError("bijections, Modules with an inverse", got=describe(value), fix=fix, where=where)
    return value  # type: ignore[return-value]


def checked(layer: Module, x: Any, context: Any, features: int, given: int) -> tuple[jax.Array, jax.Array | None]:
    """Input and context of a map, the context of as many examples.

    Raises:
        ShapeError: other features, or a context that does not fit.
    """
    (x,) = harmonise(layer, x)
    where = layer._brief()
    if x.ndim < 1 or x.shape[-1] != features:
        fix = "put the features along the last axis"
        raise ShapeError(f"(..., {features})", got=describe(x), fix=fix, where=where)
    x = x if jnp.issubdtype(x.dtype, jnp.inexact) else x.astype(jnp.result_type(float))
    if (context is None) != (given == 0):
        got = "no context" if context is None else f"context {describe(context)}"
        fix = "give context=, or leave out context= where the map is made" if given else "write context= in the map"
        raise ShapeError(f"context (..., {given})" if given else "no context", got=got, fix=fix, where=where)
    if context is None:
        return x, None
    context = jnp.asarray(context).astype(x.dtype)
    if context.ndim < 1 or context.shape[-1] != given:
        fix = "put what is given along the last axis"
        raise ShapeError(f"context (..., {given})", got=describe(context), fix=fix, where=where)
    return x, jnp.broadcast_to(context, (*x.shape[:-1], given))


def check_features(where: str, features: Any, *, least: int = 1) -> int:
    """How many numbers an example has."""
    return check_size(where, "features", features, least=least)
