"""The nearest of some simple distributions to the posterior of a Module's weights."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

from phlox.core import Module, check_size, key_or_draw
from phlox.probability import _peers
from phlox.probability._arguments import check_one_of, positive
from phlox.probability.inference._ensemble import Ensemble
from phlox.probability.inference._priors import Priors
from phlox.probability.inference._program import LogLikelihood, Program

_GUIDES = {
    "normal": "AutoDiagonalNormal",
    "low_rank": "AutoLowRankMultivariateNormal",
    "full": "AutoMultivariateNormal",
    "point": "AutoDelta",
}


class Fitted:
    """A distribution of weights that ``svi`` found.

    ``losses`` is (steps,), the negative bound at each step, of few draws and so noisy; ``bound(draws)`` estimates it
    well, ``sample(draws)`` gives an ensemble, ``median()`` one model.
    """

    losses: jax.Array
    _program: Program
    _guide: Any
    _params: Any

    def __init__(self, program: Program, guide: Any, params: Any, losses: jax.Array):
        self._program, self._guide, self._params, self.losses = program, guide, params, losses

    def bound(self, draws: int = 1000, *, key: Any = None) -> jax.Array:
        r"""The evidence lower bound $E_q[\log p(D, w) - \log q(w)] \le \log p(D)$ in nats, estimated by draws, ()."""
        elbo = _peers.infer().Trace_ELBO(num_particles=check_size("Fitted.bound", "draws", draws))
        loss: jax.Array = elbo.loss(key_or_draw(key), self._params, self._program, self._guide, *self._program.data)
        return -loss

    def sample(self, draws: int = 100, *, key: Any = None) -> Ensemble[Any]:
        """Models whose weights are draws from the distribution."""
        shape = (check_size("Fitted.sample", "draws", draws),)
        found = self._guide.sample_posterior(key_or_draw(key), self._params, *self._program.data, sample_shape=shape)
        return self._program.ensemble({path: found[path] for path in self._program.params})

    def median(self) -> Any:
        """A model at the median of each weight."""
        return self._program.merged(self._guide.median(self._params))

    def __repr__(self) -> str:
        return f"Fitted({type(self._guide).__name__}, {self.losses.size} steps)"


def svi(
    model: Module,
    data: Any,
    *,
    priors: Priors,
    log_likelihood: LogLikelihood | None = None,
    guide: str = "normal",
    steps: int = 1000,
    learning_rate: Any = 1e-2,
    draws: int = 1,
    batch_size: int | None = None,
    scale: float = 0.1,
    key: Any = None,
) -> Fitted:
    r"""Stochastic variational inference: the q that makes the bound $E_q[\log p(D, w) - \log q(w)]$ large, by Adam.

    It starts where the model is, and the model stays as it is. Weights with a bounded prior are normal on the whole
    line, and mapped back.

    Shapes:
        data: arrays with examples along the first axis.

    Arguments:
        model, data, priors, log_likelihood: as in ``nuts``.
        guide: the form of q: ``"normal"`` with independent weights, ``"low_rank"``, ``"full"`` with every covariance,
            or ``"point"``, the weights of the largest posterior alone.
        steps: of Adam, in one compiled loop.
        learning_rate: a number, or a schedule of optax.
        draws: of weights in each step.
        batch_size: examples in a step, drawn anew for each; None is all.
        scale: of the weights at first, above 0.
        key: where the draws start; by default the stream of ``px.seed``.

    Raises:
        RangeError, ShapeError: as ``nuts``.

    Source: Hoffman et al., "Stochastic variational inference", 2013; Kucukelbir et al., "Automatic differentiation
    variational inference", 2017.

    >>> import jax.numpy as jnp, phlox as px
    >>> x = jnp.linspace(-1.0, 1.0, 20)[:, None]
    >>> model = px.Dense(1, 1, bias=False)
    >>> fit = lambda model, x, y: px.probability.Normal(model(x), 0.1).log_prob(y).sum()
    >>> found = px.probability.svi(model, (x, 2 * x), priors=px.probability.Normal(0.0, 3.0), log_likelihood=fit,
    ...                            steps=300, learning_rate=0.05, key=0)
    >>> found.sample(10, key=1).members.weight.shape, abs(float(found.median().weight[0, 0]) - 2) < 0.1
    ((10, 1, 1), True)
    """
    where = "svi"
    steps, draws = check_size(where, "steps", steps), check_size(where, "draws", draws)
    check_one_of(where, "guide", guide, tuple(_GUIDES))
    positive(where, "scale", scale)
    if batch_size is not None:
        batch_size = check_size(where, "batch_size", batch_size)
    rate: Any = learning_rate if callable(learning_rate) else positive(where, "learning_rate", learning_rate)
    infer = _peers.infer()
    program = Program(model, priors, log_likelihood, data, where, batch_size)
    q = _made(guide, program, scale)
    search = infer.SVI(program, q, optax.adam(rate), infer.Trace_ELBO(num_particles=draws))
    found = search.run(key_or_draw(key), steps, *program.data, progress_bar=False)
    everything = Program(model, priors, log_likelihood, data, where)
    return Fitted(everything, q, found.params, jnp.asarray(found.losses))


def _made(guide: str, program: Program, scale: float) -> Any:
    """NumPyro's guide, from where the model is."""
    guides = _peers.guides()
    begin = _peers.infer().init_to_value(values=program.start())
    made = getattr(guides, _GUIDES[guide])
    if guide == "point":
        return made(program, init_loc_fn=begin)
    return made(program, init_loc_fn=begin, init_scale=scale)
