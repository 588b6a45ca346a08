"""A Module with priors as one of NumPyro's programs: draw the weights, then count how well they explain the data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import Module, ShapeError, StructureError, copy, describe, merge, split, training
from phlox.probability import _peers
from phlox.probability.distributions._distribution import Distribution
from phlox.probability.inference._ensemble import Ensemble
from phlox.probability.inference._priors import Priors, priors_of

LogLikelihood = Callable[..., Any]


class Program:
    """A model whose arrays have priors, as a function that NumPyro runs: ``program(*data)``.

    Arguments:
        model: gives structure and State; it infers.
        priors: for each array that trains.
        log_likelihood: ``log_likelihood(model, *data)`` → (), of all examples together; None is that of the
            distribution that ``model(x)`` gives, at y.
        data: arrays, examples along the first axis.
        batch_size: examples that are looked at in one call, drawn anew for each; None is all.
        where: who speaks in errors.
    """

    def __init__(
        self,
        model: Module,
        priors: Priors,
        log_likelihood: LogLikelihood | None,
        data: Any,
        where: str,
        batch_size: int | None = None,
    ):
        self.model, self.where = copy(model), where
        self.params, self.state = split(self.model)
        self.priors = priors_of(model, priors, where)
        self.log_likelihood = log_likelihood or log_likelihood_of_prediction
        self.data = data_of(data, where)
        self.examples, self.batch_size = self.data[0].shape[0], batch_size

    def __call__(self, *data: Any) -> None:
        numpyro = _peers.numpyro()
        drawn = {path: numpyro.sample(path, self._spread(path)) for path in self.params}
        data, factor = self._some(data)
        numpyro.factor("log_likelihood", factor * self.fit_of(drawn, *data))

    def fit_of(self, params: dict[str, Any], *data: Any) -> jax.Array:
        """The log-likelihood of data under these arrays, ()."""
        with training(False):
            total = self.log_likelihood(self.merged(params), *data)
        if jnp.shape(total) != ():
            fix = "end log_likelihood with .sum()"
            raise ShapeError("a log-likelihood that is one number", got=describe(total), fix=fix, where=self.where)
        return jnp.asarray(total)

    def merged(self, params: dict[str, Any]) -> Module:
        """The model that holds these arrays, each in the dtype that it has there."""
        cast = {path: jnp.asarray(params[path]).astype(v.dtype) for path, v in self.params.items()}
        return merge(self.model, cast, self.state)

    def start(self) -> dict[str, Any]:
        """The arrays of the model, but for those that their priors rule out."""
        possible = {path: jnp.all(self.priors[path]._peer().support(v)) for path, v in self.params.items()}
        return {path: v for path, v in self.params.items() if possible[path]}

    def ensemble(self, params: dict[str, Any]) -> Ensemble[Any]:
        """An ensemble of the models that hold these arrays, (draws, ...)."""
        size = next(iter(params.values())).shape[0]
        state = {path: jnp.broadcast_to(v, (size, *v.shape)) for path, v in self.state.items()}
        cast = {path: params[path].astype(v.dtype) for path, v in self.params.items()}
        return Ensemble._stacked(merge(self.model, cast, state), size)

    def _spread(self, path: str) -> Any:
        """The prior over all elements of an array."""
        prior, shape = self.priors[path], self.params[path].shape
        batch = shape[: len(shape) - len(prior.event_shape)]
        return prior._peer().expand(batch).to_event(len(batch))

    def _some(self, data: tuple[Any, ...]) -> tuple[tuple[Any, ...], float]:
        """A batch of the examples, and by what its log-likelihood is multiplied to stand for all."""
        if self.batch_size is None or self.batch_size >= self.examples:
            return data, 1.0
        key = _peers.numpyro().prng_key()
        if key is None:  # where NumPyro looks at the program's form alone
            return tuple(a[: self.batch_size] for a in data), self.examples / self.batch_size
        rows = jax.random.choice(key, self.examples, (self.batch_size,), replace=False)
        return tuple(a[rows] for a in data), self.examples / self.batch_size


def log_likelihood_of_prediction(model: Module, x: Any, *target: Any) -> jax.Array:
    """The log-likelihood of y under the distribution that a model gives for x."""
    prediction = model(x)
    if not isinstance(prediction, Distribution) or len(target) != 1:
        fix = "end the model with a head such as px.probability.NormalHead, or pass log_likelihood=f(model, *data)"
        expected = "a model that gives a distribution, and data (x, y)"
        given = prediction._brief() if isinstance(prediction, Module) else describe(prediction)
        got = f"{given} and {1 + len(target)} arrays"
        raise StructureError(expected, got=got, fix=fix, where="log_likelihood")
    own = (*prediction.batch_shape, *prediction.event_shape)
    if jnp.shape(target[0]) != own:
        fix = f"reshape it to {own}"
        raise ShapeError(f"targets {own}", got=describe(jnp.asarray(target[0])), fix=fix, where="log_likelihood")
    return jnp.sum(prediction.log_prob(target[0]))


def data_of(data: Any, where: str) -> tuple[jax.Array, ...]:
    """Data as a tuple of arrays with as many examples."""
    parts = tuple(jnp.asarray(part) for part in (data if isinstance(data, (tuple, list)) else (data,)))
    if not parts or any(not part.ndim or part.shape[0] != parts[0].shape[0] for part in parts):
        got = ", ".join(describe(part) for part in parts) or "nothing"
        fix = "pass (x, y), examples along the first axis"
        raise ShapeError("arrays with as many examples", got=got, fix=fix, where=where)
    return parts
