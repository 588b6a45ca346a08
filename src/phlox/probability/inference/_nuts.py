"""Draws from the posterior of a Module's weights, by the No-U-Turn sampler."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import Module, check_size, key_or_draw
from phlox.probability import _peers
from phlox.probability._arguments import check_one_of, check_open_unit
from phlox.probability.inference._ensemble import Ensemble
from phlox.probability.inference._priors import Priors
from phlox.probability.inference._program import LogLikelihood, Program


@dataclass(frozen=True)
class Draws:
    """Draws from a posterior, and how far to believe them.

    Arguments:
        models: an ensemble of all draws, chain after chain.
        chains: each array by path, (chains, draws, ...).
        r_hat: by path, (...) the split Gelman–Rubin statistic, near 1 where chains agree.
        effective: by path, (...) as how many independent draws they count.
        divergences: draws whose path could not be followed; there should be none.
    """

    models: Ensemble[Any]
    chains: dict[str, jax.Array]
    r_hat: dict[str, np.ndarray[Any, Any]]
    effective: dict[str, np.ndarray[Any, Any]]
    divergences: int

    def __repr__(self) -> str:
        chains, draws = next(iter(self.chains.values())).shape[:2]
        worst = max(float(np.nanmax(r)) for r in self.r_hat.values())
        least = min(float(np.nanmin(n)) for n in self.effective.values())
        told = f"r_hat at most {worst:.2f}, effective at least {least:.0f}, {self.divergences} divergences"
        return f"Draws({chains} × {draws}, {told})"


def nuts(
    model: Module,
    data: Any,
    *,
    priors: Priors,
    log_likelihood: LogLikelihood | None = None,
    draws: int = 500,
    warmup: int = 500,
    chains: int = 4,
    target_accept: float = 0.8,
    max_depth: int = 10,
    start: str = "uniform",
    key: Any = None,
) -> Draws:
    r"""Draws from the posterior of a model's weights by NUTS: $p(w \mid D) \propto p(w) \prod_i p(y_i \mid x_i, w)$.

    The model infers throughout, and stays as it is. Arrays whose prior is bounded (a scale above 0) are drawn on the
    whole line and mapped back. All chains run side by side in one compiled program.

    Shapes:
        data: arrays with examples along the first axis; arrays of the result: (chains, draws, ...).

    Arguments:
        model: what trains in it is drawn; what is frozen stays.
        data: ``(x, y)``, or what ``log_likelihood`` takes.
        priors: one distribution for all arrays, or by path or pattern; the first pattern that means an array counts.
        log_likelihood: ``log_likelihood(model, *data)`` → (), summed over examples. By default the model gives a
            distribution, and it is that of y.
        draws, warmup: kept in each chain, and before them to find step size and scales of the weights.
        chains: how many, from different starts.
        target_accept: in (0, 1); the higher, the smaller the steps.
        max_depth: a path has at most 2 to this steps.
        start: ``"uniform"``: within ±2 on the whole line, as Stan does; ``"model"``: where the model is,
            as far as its priors allow.
        key: where the draws start; by default the stream of ``px.seed``.

    Raises:
        RangeError: an array without a prior, a pattern that means none, a number out of range.
        ShapeError: a log-likelihood that is not one number, a prior of another shape.

    Source: Hoffman and Gelman, "The No-U-Turn sampler", 2014; Phan, Pradhan and Jankowiak, "Composable effects for
    flexible and accelerated probabilistic programming in NumPyro", 2019.

    >>> import jax.numpy as jnp, phlox as px
    >>> x = jnp.linspace(-1.0, 1.0, 20)[:, None]
    >>> model = px.Dense(1, 1, bias=False)
    >>> fit = lambda model, x, y: px.probability.Normal(model(x), 0.1).log_prob(y).sum()
    >>> found = px.probability.nuts(model, (x, 2 * x), priors=px.probability.Normal(0.0, 3.0), log_likelihood=fit,
    ...                             draws=50, warmup=50, chains=2, key=0)
    >>> found.chains["weight"].shape, abs(float(found.chains["weight"].mean()) - 2) < 0.05
    ((2, 50, 1, 1), True)
    """
    where = "nuts"
    draws, warmup = check_size(where, "draws", draws, least=4), check_size(where, "warmup", warmup)
    chains, max_depth = check_size(where, "chains", chains), check_size(where, "max_depth", max_depth)
    target_accept = check_open_unit(where, "target_accept", target_accept)
    check_one_of(where, "start", start, ("uniform", "model"))
    program = Program(model, priors, log_likelihood, data, where)
    infer = _peers.infer()
    begin = infer.init_to_uniform if start == "uniform" else infer.init_to_value(values=program.start())
    kernel = infer.NUTS(program, target_accept_prob=target_accept, max_tree_depth=max_depth, init_strategy=begin)
    sampler = infer.MCMC(
        kernel, num_warmup=warmup, num_samples=draws, num_chains=chains, chain_method="vectorized", progress_bar=False
    )
    sampler.run(key_or_draw(key), *program.data, extra_fields=("diverging",))
    return _told(program, sampler)


def _told(program: Program, sampler: Any) -> Draws:
    measures = _peers.diagnostics()
    chains = {
        path: values for path, values in sampler.get_samples(group_by_chain=True).items() if path in program.params
    }
    hosts = {path: np.asarray(values) for path, values in chains.items()}
    return Draws(
        models=program.ensemble({path: v.reshape(-1, *v.shape[2:]) for path, v in chains.items()}),
        chains=chains,
        r_hat={path: np.asarray(measures.split_gelman_rubin(v)) for path, v in hosts.items()},
        effective={path: np.asarray(measures.effective_sample_size(v)) for path, v in hosts.items()},
        divergences=int(jnp.sum(sampler.get_extra_fields()["diverging"])),
    )
