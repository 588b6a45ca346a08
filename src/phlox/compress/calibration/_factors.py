r"""px.compress.smooth and awq: factors of what comes into a map, so that rounding loses less.

$x W = (x \circ f)(\mathrm{diag}(1 / f)\, W)$ for any positive f: features that are large are made small, and the rows
of the weight that they meet large; or rows that matter are made large, and so are rounded more finely.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from phlox.compress._integers import integers, numbers
from phlox.compress._layers import check_model, quantizable
from phlox.compress._scheme import Scheme
from phlox.compress.calibration._watching import FeaturesSeen, Forward, Sums, batches_of, forward_of, watch
from phlox.compress.layers._quantized import rank_of
from phlox.core import Module, RangeError, StructureError, Where, answering, plain_class
from phlox.nn import Dense

S = TypeVar("S", bound=Sums)
_SMOOTH, _AWQ = "px.compress.smooth", "px.compress.awq"
_LEAST = 1e-5  # of what is divided by
_TRIES = 20  # exponents from 0 on


@dataclass(frozen=True)
class Factors:
    """What features that come into maps are multiplied with, by path."""

    factors: Mapping[str, jax.Array]
    """(in,) each."""


@answering
def smooth(
    model: Module,
    data: Any,
    *,
    strength: float = 0.5,
    where: Where | None = None,
    skip: Where | None = None,
    forward: Forward | None = None,
    batch_size: int = 32,
) -> Factors:
    r"""Factors that share the outliers of what comes in with the weights: $f_j = \max|W_j|^{1-α} / \max|x_j|^α$.

    For integer products: ``px.compress.quantize(model, inputs="dynamic", factors=…)``, or static with
    ``px.compress.calibrate(model, data, factors=…)``.

    Arguments:
        model: a model with layers Dense.
        data, forward, batch_size: as of ``px.compress.calibrate``.
        strength: α; 0 leaves all to what comes in, 1 to the weights.
        where, skip: which Dense, as of ``px.compress.quantize``.

    Raises:
        RangeError: no data, a strength outside [0, 1], a choice that means no such layer.
        StructureError: a layer that is never called.

    Source: Xiao et al., "SmoothQuant: accurate and efficient post-training quantization for large language models",
    2023.

    >>> import jax.numpy as jnp, phlox as px
    >>> model = px.Chain(px.Dense.of(jnp.array([[1.0, -0.5], [0.25, 0.1]])))
    >>> px.compress.smooth(model, jnp.array([[16.0, 1.0]])).factors["layers.0"].tolist()
    [0.25, 0.5]
    """
    if isinstance(strength, bool) or not isinstance(strength, int | float) or not 0 <= strength <= 1:
        fix = "0.5 shares alike; 0.75 for models with large outliers"
        raise RangeError("a strength in [0, 1]", got=repr(strength)[:100], fix=fix, where=_SMOOTH)
    layers, seen = _features(model, data, (where, skip), forward, batch_size, _SMOOTH, products=False)
    return Factors({path: _shared(layers[path].weight, one.most, strength) for path, one in seen.items()})


def _shared(weight: jax.Array, most: jax.Array, strength: float) -> jax.Array:
    rows = jnp.maximum(jnp.abs(weight).max(-1).astype(jnp.float32), _LEAST)
    return rows ** (1 - strength) / jnp.maximum(most, _LEAST) ** strength


@answering
def awq(
    model: Module,
    data: Any,
    bits: int | str = 4,
    *,
    where: Where | None = None,
    skip: Where | None = None,
    group: int | None = None,
    symmetric: bool = True,
    per: str = "channel",
    forward: Forward | None = None,
    batch_size: int = 32,
) -> Factors:
    r"""Factors by which rows of weights that meet large features are rounded more finely: $f_j = \bar{|x_j|}^{-α}$.

    For each map that α of twenty from 0 to 1 with which what it gives on the data is nearest to what it gave. Then
    ``px.compress.quantize(model, bits, group=…, factors=…)``, with the same options.

    Arguments:
        model: a model with layers Dense.
        data, forward, batch_size: as of ``px.compress.calibrate``.
        bits, where, skip, group, symmetric, per: as of ``px.compress.quantize``.

    Raises:
        RangeError: no data, an option outside its range, a choice that means no such layer.
        StructureError: a layer that is never called.

    Source: Lin et al., "AWQ: activation-aware weight quantization for LLM compression and acceleration", 2024.

    >>> import jax.numpy as jnp, phlox as px
    >>> model = px.Chain(px.Dense(4, 3, key=0))
    >>> factors = px.compress.awq(model, jnp.array([[100.0, 1.0, 1.0, 1.0]]))
    >>> px.compress.quantize(model, 4, factors=factors)[0].factors.shape
    (4,)
    """
    scheme = Scheme(bits, group, symmetric, per, _AWQ, floats=True)
    layers, seen = _features(model, data, (where, skip), forward, batch_size, _AWQ, products=True)
    return Factors({path: _searched(layers[path].weight, one, scheme) for path, one in seen.items()})


def _searched(weight: jax.Array, seen: FeaturesSeen, scheme: Scheme) -> jax.Array:
    """The factors with the smallest error of the products, among twenty exponents."""
    mean, gram = seen.sizes / seen.count, seen.gram
    tried = [_by_exponent(mean, i / _TRIES) for i in range(_TRIES)]
    errors = [float(_error(weight, factors, gram, scheme)) for factors in tried]
    return tried[int(np.argmin(errors))]


def _by_exponent(mean: jax.Array, exponent: float) -> jax.Array:
    size = jnp.maximum(mean, 1e-4) ** exponent
    return jnp.sqrt(size.max() * size.min()) / size


@jax.jit
def _product_error(change: jax.Array, gram: Any) -> jax.Array:
    return jnp.sum(change * (gram @ change))


def _error(weight: jax.Array, factors: jax.Array, gram: Any, scheme: Scheme) -> jax.Array:
    r"""The squares of what products change by, summed over the data: $\mathrm{tr}(Δ^T X^T X Δ)$."""
    matrix = weight.astype(jnp.float32)
    given = integers(matrix / factors[:, None], scheme, -2)
    back = numbers(given, scheme.bits, scheme.group, matrix.shape[0], -2) * factors[:, None]
    return _product_error(back - matrix, gram)


def _features(
    model: Module, data: Any, choice: tuple[Where | None, Where | None], forward: Forward | None, batch_size: int,
    speaker: str, *, products: bool,
) -> tuple[dict[str, Any], dict[str, FeaturesSeen]]:  # fmt: skip
    """The Dense that are meant, and what came into them over data."""
    look = lambda path, layer: FeaturesSeen(layer, products=products)  # noqa: E731
    return watched_layers(model, data, choice, (Dense,), look, forward, batch_size, speaker)


def watched_layers(
    model: Module, data: Any, choice: tuple[Where | None, Where | None], kinds: tuple[type, ...],
    make: Callable[[str, Any], S], forward: Forward | None, batch_size: int, speaker: str,
) -> tuple[dict[str, Any], dict[str, S]]:  # fmt: skip
    """The layers of some kinds that where and skip mean, and what came into them over data.

    Raises:
        StructureError: there is none, one stands for several, or is never called.
    """
    check_model(model, speaker)
    found = quantizable(model, *choice, speaker)
    layers = {path: layer for path, layer in found.items() if plain_class(type(layer)) in kinds}
    if not layers:
        what = f"a {' or '.join(kind.__name__ for kind in kinds)} among the layers"
        raise StructureError(what, got=", ".join(found)[:200], fix="leave where= out", where=speaker)
    if stacked := [path for path, layer in layers.items() if layer.weight.ndim != rank_of(layer)]:
        got, fix = f"{stacked[0]}, which stands for several, stacked", f'skip="{stacked[0]}"'
        raise StructureError("layers by themselves", got=got, fix=fix, where=speaker)
    batches = batches_of(data, batch_size, speaker)
    seen = watch(model, layers, make, batches, forward_of(forward, speaker), speaker)
    for path, one in seen.items():
        if not float(one.count) or not bool(jnp.isfinite(one.total)):
            got = "none" if not float(one.count) else "NaN or infinite numbers"
            fix = f'leave it out: skip="{path}"'
            raise StructureError(f"finite inputs of {path or 'the model'}", got=got, fix=fix, where=speaker)
    return layers, seen
