"""Coupling: some features moved by what the others say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import RangeError, ShapeError, check_function, check_size, describe, key_or_draw
from phlox.nn import Chain, Dense
from phlox.nn.functional import relu
from phlox.nn.init import zeros
from phlox.probability.flows._bijection import Bijection, Moved, check_features, checked
from phlox.probability.flows._elementwise import Elementwise, check_elementwise


class Coupling(Bijection):
    r"""A map that leaves some features and moves the others by what a network says of those: $z_m = g(x_m; n(x_k))$.

    Map and inverse both take one pass. It begins as the identity.

    Shapes:
        x, z: (..., features); context: (..., context). The network takes (..., kept + context) and gives
        (..., moved · parameters), the parameters of one feature side by side.

    Arguments:
        features: how many numbers an example has, 2 or more.
        transform: g, ``Affine()`` or ``RationalQuadratic()``, or another ``Elementwise``; by default ``Affine()``.
        kept: which features stay, by their numbers; by default the first half.
        hidden: widths of the network's hidden layers.
        act: their activation.
        context: how many numbers are given with each example; 0 for none.
        conditioner: a network in place of the one described.
        key: where the weights are drawn from; by default the stream of ``px.seed``.

    Raises:
        RangeError: fewer than two features, or none that stay, or all.
        ShapeError: inputs, a context or a conditioner of other sizes.

    Source: Dinh, Sohl-Dickstein and Bengio, "Density estimation using real NVP", 2017.

    >>> import jax.numpy as jnp, phlox as px
    >>> coupling = px.probability.Coupling(3, px.probability.RationalQuadratic(), kept=[0, 2], hidden=(16,))
    >>> z, stretch = coupling(jnp.ones((5, 3)))
    >>> z.shape, stretch.shape
    ((5, 3), (5,))
    """

    features: int
    transform: Elementwise
    kept: tuple[int, ...]
    moved: tuple[int, ...]
    context: int
    conditioner: Callable[..., Any]

    def __init__(
        self,
        features: int,
        transform: Elementwise | None = None,
        *,
        kept: Sequence[int] | None = None,
        hidden: Sequence[int] = (64, 64),
        act: Callable[..., Any] = relu,
        context: int = 0,
        conditioner: Callable[..., Any] | None = None,
        key: Any = None,
    ):
        self.features = check_features("Coupling", features, least=2)
        self.transform = check_elementwise("Coupling", transform)
        self.kept = _kept(kept, self.features)
        self.moved = tuple(i for i in range(self.features) if i not in self.kept)
        self.context = check_size("Coupling", "context", context, least=0)
        if conditioner is None:
            sizes = [len(self.kept) + self.context, *hidden, len(self.moved) * self.transform.parameters]
            conditioner = _network(sizes, act, key)
        self.conditioner = check_function("Coupling", "conditioner", conditioner, "with the features that stay")

    def __call__(self, x: Any, context: Any = None) -> Moved:
        return self._through(self.transform, x, context)

    def inverse(self, z: Any, context: Any = None) -> Moved:
        """The x that the map takes to z, and the logarithm of how the inverse stretches space."""
        return self._through(self.transform.inverse, z, context)

    def _through(self, move: Callable[..., Any], x: Any, context: Any) -> Moved:
        x, context = checked(self, x, context, self.features, self.context)
        told = x[..., np.array(self.kept)]
        raw = self.conditioner(told if context is None else jnp.concatenate([told, context], -1))
        wanted = (*x.shape[:-1], len(self.moved) * self.transform.parameters)
        if jnp.shape(raw) != wanted:
            fix = f"let its last layer have {wanted[-1]} outputs"
            raise ShapeError(f"a conditioner that gives {wanted}", got=describe(raw), fix=fix, where=self._brief())
        raw = raw.reshape(*x.shape[:-1], len(self.moved), self.transform.parameters)
        moved, log_slopes = move(x[..., np.array(self.moved)].astype(raw.dtype), raw)
        return x.astype(raw.dtype).at[..., np.array(self.moved)].set(moved), log_slopes.sum(-1)

    def _brief(self) -> str:
        return f"Coupling({self.features}, {self.transform._brief()})"


def _kept(kept: Sequence[int] | None, features: int) -> tuple[int, ...]:
    chosen = range(features // 2) if kept is None else [check_size("Coupling", "kept", i, least=0) for i in kept]
    if not 0 < len(set(chosen)) < features or max(chosen) >= features or len(set(chosen)) < len(chosen):
        fix = "give some of the numbers from 0, each once, and not all"
        raise RangeError(f"kept as some of {features} features", got=repr(kept), fix=fix, where="Coupling")
    return tuple(sorted(chosen))


def _network(sizes: Sequence[int], act: Callable[..., Any], key: Any) -> Chain:
    """Dense layers, of which the last begins at zero."""
    *keys, last = jax.random.split(key_or_draw(key), len(sizes) - 1)
    layers = [Dense(a, b, act, key=k) for a, b, k in zip(sizes[:-2], sizes[1:-1], keys, strict=True)]
    return Chain(*layers, Dense(sizes[-2], sizes[-1], init=zeros, key=last))
