"""Dense and Conv whose weights are distributions."""

from __future__ import annotations

from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from phlox.core import (
    Module,
    Param,
    RangeError,
    State,
    Where,
    advance,
    chosen_paths,
    harmonise,
    key_or_draw,
    modules,
    replaced,
    shown,
)
from phlox.nn import Conv, Dense, fused
from phlox.nn import functional as F
from phlox.probability._arguments import check_one_of, positive
from phlox.probability.bayesian._estimators import ESTIMATORS, Linear, Weights
from phlox.probability.bayesian._variational import Variational, summed
from phlox.probability.distributions._distribution import Distribution
from phlox.probability.distributions._divergence import kl_divergence
from phlox.probability.distributions._real import Normal

M = TypeVar("M", bound=Module)


class BayesianLayer(Variational):
    r"""A Dense or Conv whose weights are independent normal variables: $w \sim N(m, \mathrm{softplus}(ρ)^2)$.

    The layer within holds the means. In training each call draws, with a key that this one owns as State; in inference
    it is the layer of the means, and ``px.probability.sample_predictions`` draws.

    Shapes:
        those of the layer; the raw scales ρ have the shapes of its weight and bias.

    Arguments:
        layer: a Dense or Conv.
        estimator: how outputs are drawn. ``"flipout"``: a draw of the weights whose signs are turned for each example,
            so that gradients are less noisy. ``"reparametrisation"``: one draw for the whole batch. ``"local"``: each
            output by itself, the least noisy; positions of a sequence or an image are then independent too, as if each
            had weights of its own.
        prior: of each weight, a distribution whose divergence from a normal one is closed. Made of numbers it is fixed;
            made of arrays it is learned with the rest.
        scale: of all weights at first, above 0.
        key: where its randomness starts; by default the stream of ``px.seed``.

    Raises:
        RangeError: another layer, a name or number out of range, a prior without a closed divergence.
        ShapeError: an input that the layer doesn't take.

    Source: Blundell et al., "Weight uncertainty in neural networks", 2015; Kingma, Salimans and Welling, "Variational
    dropout and the local reparameterization trick", 2015; Wen et al., "Flipout", 2018.

    >>> import jax.numpy as jnp, phlox as px
    >>> layer = px.probability.BayesianLayer(px.Dense(3, 2), key=0)
    >>> x = jnp.ones((1, 3))
    >>> bool((layer(x) == layer.layer(x)).all()), bool((px.trainmode(layer)(x) == layer.layer(x)).any())
    (True, False)
    """

    layer: Dense | Conv
    raw_scale: Param  # as the weight
    raw_bias_scale: Param | None  # as the bias
    prior: Distribution
    estimator: str
    key: State  # () typed random key

    def __init__(
        self,
        layer: Dense | Conv,
        *,
        estimator: str = "flipout",
        prior: Distribution | None = None,
        scale: float = 0.05,
        key: Any = None,
    ):
        where = "BayesianLayer"
        if not isinstance(layer, (Dense, Conv)):
            fix = "give it a px.Dense or px.Conv, or write model = px.probability.bayesian(model)"
            raise RangeError("a Dense or Conv", got=shown(layer), fix=fix, where=where)
        raw = float(jnp.log(jnp.expm1(positive(where, "scale", scale))))
        self.layer = layer
        self.raw_scale = jnp.full_like(layer.weight, raw)
        self.raw_bias_scale = None if layer.bias is None else jnp.full_like(layer.bias, raw)
        self.prior = Normal(0.0, 1.0) if prior is None else prior
        self.estimator = check_one_of(where, "estimator", estimator, tuple(ESTIMATORS))
        self.key = key_or_draw(key)
        jax.eval_shape(lambda: kl_divergence(Normal(jnp.zeros(()), 1.0), self.prior))  # raises where it is not closed

    def __call__(self, x: Any) -> jax.Array:
        if not self.training:
            return self.layer(x)
        layer = self.layer
        given = (layer.weight, self.raw_scale, layer.bias, self.raw_bias_scale)
        x, mean, raw, bias, raw_bias = harmonise(self, x, *given)
        key = advance(self)
        if isinstance(layer, Dense):
            return _dense(layer.act, key, x, mean, raw, bias, raw_bias, estimator=self.estimator)
        return _conv(
            layer.act, key, x, mean, raw, bias, raw_bias, estimator=self.estimator, stride=layer.stride,
            padding=layer.padding, dilation=layer.dilation, groups=layer.groups, padding_mode=layer.padding_mode,
        )  # fmt: skip

    def posterior(self) -> dict[str, Normal]:
        """The distributions of weight and bias, by name."""
        found = {"weight": Normal(self.layer.weight, jax.nn.softplus(self.raw_scale))}
        if self.layer.bias is not None and self.raw_bias_scale is not None:
            found["bias"] = Normal(self.layer.bias, jax.nn.softplus(self.raw_bias_scale))
        return found

    def kl_to_prior(self) -> jax.Array:
        """The divergence of the weights' distribution from the prior, ()."""
        terms = [summed(kl_divergence(q, self.prior)) for q in self.posterior().values()]
        return sum(terms[1:], terms[0])

    def _brief(self) -> str:
        return f"BayesianLayer({self.layer._brief()}, estimator={self.estimator!r})"


def bayesian(
    model: M,
    where: Where | None = None,
    *,
    estimator: str = "flipout",
    prior: Distribution | None = None,
    scale: float = 0.05,
    key: Any = None,
) -> M:
    """Put Bayesian layers in the place of a model's Dense and Conv, whose weights become the means; in place.

    Shapes:
        those of the model.

    Arguments:
        model: the model.
        where: which layers, by a path or pattern, several of them, or a predicate (path, layer); None is all.
        estimator, prior, scale: as in ``BayesianLayer``.
        key: where their randomness starts; by default the stream of ``px.seed``.

    Returns:
        The model; another one only where the model itself is a Dense or Conv.

    Raises:
        RangeError: a choice that means no Dense or Conv.
        StructureError: a layer that stands where it cannot be replaced.

    Source: Blundell et al., "Weight uncertainty in neural networks", 2015.

    >>> import phlox as px
    >>> model = px.probability.bayesian(px.Chain(px.Dense(2, 8, px.relu), px.Dense(8, 1)), "layers.0")
    >>> [type(layer).__name__ for layer in model.layers]
    ['BayesianLayer', 'Dense']
    """
    layers = modules(model)
    inside = {id(part.layer) for part in layers.values() if isinstance(part, BayesianLayer)}
    able = [path for path, part in layers.items() if isinstance(part, (Dense, Conv)) and id(part) not in inside]
    wanted = (lambda path, layer: True) if where is None else where
    paths = chosen_paths(wanted, able, layers, "Dense or Conv", "bayesian")
    keys = jax.random.split(key_or_draw(key), len(paths))
    fresh: dict[int, Module] = {}
    for path, own in zip(paths, keys, strict=True):
        layer: Any = layers[path]
        fresh[id(layer)] = BayesianLayer(layer, estimator=estimator, prior=prior, scale=scale, key=own)
    return replaced(model, fresh, "bayesian")


@fused("estimator")
def _dense(act: Any, key: Any, x: Any, mean: Any, raw: Any, bias: Any, raw_bias: Any, *, estimator: str) -> jax.Array:
    return act(_drawn(F.dense, key, x, mean, raw, bias, raw_bias, estimator))


@fused("estimator", "stride", "padding", "dilation", "groups", "padding_mode")
def _conv(
    act: Any, key: Any, x: Any, mean: Any, raw: Any, bias: Any, raw_bias: Any, *, estimator: str, **options: Any
) -> jax.Array:  # the layer's own options, static
    return act(_drawn(lambda x, w: F.conv(x, w, **options), key, x, mean, raw, bias, raw_bias, estimator))


def _drawn(
    linear: Linear, key: Any, x: Any, mean: Any, raw: Any, bias: Any, raw_bias: Any, estimator: str
) -> jax.Array:
    bias_scale = None if raw_bias is None else jax.nn.softplus(raw_bias)
    return ESTIMATORS[estimator](linear, x, Weights(mean, jax.nn.softplus(raw), bias, bias_scale), key)
