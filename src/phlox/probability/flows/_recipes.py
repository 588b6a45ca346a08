"""Whole flows, each a few maps in turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax

from phlox.core import answering, check_size, key_or_draw
from phlox.nn.functional import relu
from phlox.probability.flows._autoregressive import Autoregressive
from phlox.probability.flows._bijection import Bijection, Inverse, check_features
from phlox.probability.flows._coupling import Coupling
from phlox.probability.flows._elementwise import Affine, Elementwise, RationalQuadratic
from phlox.probability.flows._flow import Flow
from phlox.probability.flows._linear import ActNorm, LULinear
from phlox.probability.flows._normal import StandardNormal

_Map = Callable[[int, Any], list[Bijection]]


@answering
def real_nvp(
    features: int,
    depth: int = 6,
    *,
    hidden: Sequence[int] = (64, 64),
    act: Callable[..., Any] = relu,
    context: int = 0,
    key: Any = None,
) -> Flow:
    """A flow of affine couplings, which move one half of the features and then the other; fast both ways.

    Arguments:
        features: how many numbers an example has, 2 or more.
        depth: how many couplings, each behind an ``ActNorm``.
        hidden: widths of each network's hidden layers.
        act: their activation.
        context: how many numbers are given with each example; 0 for none.
        key: where the weights are drawn from; by default the stream of ``px.seed``.

    Raises:
        RangeError: sizes out of range.

    Source: Dinh, Sohl-Dickstein and Bengio, "Density estimation using real NVP", 2017.

    >>> import jax, phlox as px
    >>> px.probability.real_nvp(2, hidden=(16,)).sample(jax.random.key(0), (5,)).shape
    (5, 2)
    """
    halves = _halves("real_nvp", features)

    def maps(n: int, key: Any) -> list[Bijection]:
        coupling = Coupling(features, Affine(), kept=halves[n % 2], hidden=hidden, act=act, context=context, key=key)
        return [ActNorm(features), coupling]

    return _flow("real_nvp", features, depth, maps, key)


@answering
def spline_flow(
    features: int,
    depth: int = 4,
    *,
    bins: int = 8,
    bound: float = 5.0,
    hidden: Sequence[int] = (64, 64),
    act: Callable[..., Any] = relu,
    context: int = 0,
    key: Any = None,
) -> Flow:
    """A flow of couplings by rational-quadratic splines, with features mixed between; fast both ways.

    Arguments:
        features: how many numbers an example has, 2 or more.
        depth: how many couplings, each behind an ``ActNorm`` and an ``LULinear``.
        bins: pieces of each spline.
        bound: where splines end; data is brought to this range best, by ``initialise``.
        hidden: widths of each network's hidden layers.
        act: their activation.
        context: how many numbers are given with each example; 0 for none.
        key: where the weights are drawn from; by default the stream of ``px.seed``.

    Raises:
        RangeError: sizes out of range.

    Source: Durkan, Bekasov, Murray and Papamakarios, "Neural spline flows", 2019.

    >>> import jax, phlox as px
    >>> px.probability.spline_flow(2, hidden=(16,)).sample(jax.random.key(0), (5,)).shape
    (5, 2)
    """
    halves = _halves("spline_flow", features)

    def maps(n: int, key: Any) -> list[Bijection]:
        coupling = Coupling(
            features,
            RationalQuadratic(bins, bound),
            kept=halves[n % 2],
            hidden=hidden,
            act=act,
            context=context,
            key=key,
        )
        return [ActNorm(features), LULinear(features), coupling]

    return _flow("spline_flow", features, depth, maps, key)


@answering
def maf(
    features: int,
    depth: int = 5,
    *,
    transform: Elementwise | None = None,
    hidden: Sequence[int] = (64, 64),
    act: Callable[..., Any] = relu,
    context: int = 0,
    key: Any = None,
) -> Flow:
    """A masked autoregressive flow: densities take one pass, samples one for each feature.

    Arguments:
        features: how many numbers an example has.
        depth: how many maps, each behind an ``ActNorm``; every other one sees the features from the last to the first.
        transform: how a number is moved, by default ``Affine()``; with ``RationalQuadratic()`` it is a neural spline
            flow.
        hidden: widths of each network's hidden layers.
        act: their activation.
        context: how many numbers are given with each example; 0 for none.
        key: where the weights are drawn from; by default the stream of ``px.seed``.

    Raises:
        RangeError: sizes out of range.

    Source: Papamakarios, Pavlakou and Murray, "Masked autoregressive flow for density estimation", 2017.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.probability.maf(3, hidden=(16,)).log_prob(jnp.zeros((5, 3))).shape
    (5,)
    """

    def maps(n: int, key: Any) -> list[Bijection]:
        order = _order(n, features)
        map_ = Autoregressive(features, transform, order=order, hidden=hidden, act=act, context=context, key=key)
        return [ActNorm(features), map_]

    return _flow("maf", features, depth, maps, key)


@answering
def iaf(
    features: int,
    depth: int = 5,
    *,
    transform: Elementwise | None = None,
    hidden: Sequence[int] = (64, 64),
    act: Callable[..., Any] = relu,
    context: int = 0,
    key: Any = None,
) -> Flow:
    """An inverse autoregressive flow: samples take one pass, densities one for each feature.

    Arguments:
        features, depth, transform, hidden, act, context, key: as in ``maf``; there is no ``ActNorm``.

    Raises:
        RangeError: sizes out of range.

    Source: Kingma et al., "Improving variational inference with inverse autoregressive flow", 2016.

    >>> import jax, phlox as px
    >>> px.probability.iaf(3, hidden=(16,)).sample(jax.random.key(0), (5,)).shape
    (5, 3)
    """

    def maps(n: int, key: Any) -> list[Bijection]:
        order = _order(n, features)
        map_ = Autoregressive(features, transform, order=order, hidden=hidden, act=act, context=context, key=key)
        return [Inverse(map_)]

    return _flow("iaf", features, depth, maps, key)


def _flow(where: str, features: int, depth: int, maps: _Map, key: Any) -> Flow:
    keys = jax.random.split(key_or_draw(key), check_size(where, "depth", depth))
    return Flow(StandardNormal(features), *(map_ for n, k in enumerate(keys) for map_ in maps(n, k)))


def _halves(where: str, features: int) -> tuple[list[int], list[int]]:
    """Every other feature, and the others."""
    features = check_features(where, features, least=2)
    return list(range(0, features, 2)), list(range(1, features, 2))


def _order(n: int, features: int) -> list[int]:
    """Forwards, and backwards every other time."""
    return list(range(features))[:: 1 if n % 2 == 0 else -1]
