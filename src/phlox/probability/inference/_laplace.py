"""A normal distribution around a trained model, with the spread that the data leaves to its weights."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import (
    Module,
    RangeError,
    ShapeError,
    State,
    Where,
    capture,
    check_size,
    chosen_paths,
    copy,
    describe,
    eval_shape,
    freeze,
    jit,
    key_or_draw,
    modules,
    paths,
    shown,
    split,
    training,
    write_arrays,
)
from phlox.nn import Dense
from phlox.probability._arguments import check_one_of, positive
from phlox.probability.distributions._discrete import Bernoulli, Categorical
from phlox.probability.distributions._distribution import Distribution
from phlox.probability.distributions._real import Normal
from phlox.probability.distributions._several import MultivariateNormal
from phlox.probability.inference._blocks import KroneckerCurvature
from phlox.probability.inference._curvature import WholeCurvature
from phlox.probability.inference._ensemble import Ensemble
from phlox.probability.inference._program import data_of

_STRUCTURES: dict[str, Any] = {"full": WholeCurvature, "kronecker": KroneckerCurvature}
_LIKELIHOODS = ("normal", "categorical", "bernoulli")


class LaplacePosterior(Module):
    r"""A model with a normal posterior around its weights, made by ``laplace``; called, it predicts.

    The outputs are linear in the weights there: $f(x) \sim N(f(x; \hat w), J Σ J^T)$, $Σ = (H + δ I)^{-1}$.

    Shapes:
        x: what the model takes; ``function(x)`` is a batch (batch,) of ``MultivariateNormal`` of (out,), the outputs;
        ``laplace(x)`` a batch (batch, out) of ``Normal`` or ``Bernoulli``, or (batch,) of ``Categorical``, the targets.

    ``log_evidence(prior_precision)`` is the approximate $\log p(D)$ in nats, by which a precision is chosen;
    ``with_prior(prior_precision)`` is the same with another; ``sample(draws)`` an ensemble of drawn weights.

    Raises:
        ShapeError: an input that the model does not take.

    Source: MacKay, "A practical Bayesian framework for backpropagation networks", 1992; Daxberger et al., "Laplace
    redux", 2021; Immer, Korzepa and Bauer, "Improving predictions of Bayesian neural nets via local linearization",
    2021.

    >>> import jax.numpy as jnp, phlox as px
    >>> x = jnp.array([[-1.0], [0.0], [1.0]])
    >>> found = px.probability.laplace(px.Dense.of(jnp.ones((1, 1)), None), (x, x), noise=1.0)
    >>> round(float(found(jnp.array([[3.0]])).variance[0, 0]), 4)  # 1 + 3² / (2 + 1)
    4.0
    """

    model: Module
    curvature: WholeCurvature | KroneckerCurvature
    fit: State  # () the log-likelihood of the data at the mode
    square: State  # () the squared length of the weights at the mode
    likelihood: str
    noise: float
    prior_precision: float
    arrays: tuple[str, ...]

    def __call__(self, x: Any) -> Distribution:
        mean, covariance = _linearised(self, jnp.asarray(x))
        variance = jnp.diagonal(covariance, axis1=-2, axis2=-1)
        if self.likelihood == "normal":
            return Normal(mean, jnp.sqrt(variance + self.noise**2))
        flatter = mean / jnp.sqrt(1 + math.pi / 8 * variance)  # MacKay's integral of a sigmoid over a normal variable
        return Categorical(flatter) if self.likelihood == "categorical" else Bernoulli(flatter)

    def function(self, x: Any) -> MultivariateNormal:
        """The distribution of the model's outputs, without the noise of targets."""
        mean, covariance = _linearised(self, jnp.asarray(x))
        least = jnp.finfo(covariance.dtype).eps * jnp.trace(covariance, axis1=-2, axis2=-1)[..., None, None]
        return MultivariateNormal(mean, jnp.linalg.cholesky(covariance + least * jnp.eye(mean.shape[-1])))

    def log_evidence(self, prior_precision: Any = None) -> jax.Array:
        r"""$\log p(D \mid \hat w) + \log p(\hat w) + \frac{P}{2} \log 2π - \frac{1}{2} \log \det(H + δ I)$, ()."""
        precision = self.prior_precision if prior_precision is None else prior_precision
        prior = 0.5 * (self.curvature.size * jnp.log(precision) - precision * self.square)
        return self.fit + prior - 0.5 * self.curvature.log_det(precision)

    def with_prior(self, prior_precision: float) -> LaplacePosterior:
        """A copy with another precision of the prior; the weights stay where they are."""
        other = copy(self)
        other.prior_precision = positive("LaplacePosterior.with_prior", "prior_precision", prior_precision)
        return other

    def sample(self, draws: int = 100, *, key: Any = None) -> Ensemble[Any]:
        """Models whose chosen weights are draws from the posterior."""
        draws = check_size("LaplacePosterior.sample", "draws", draws)
        moved = self.curvature.deviations(key_or_draw(key), (draws,), self.prior_precision)
        ensemble = Ensemble._repeated(self.model, draws)
        held = paths(ensemble.members)
        ends = 0
        for path in self.arrays:
            begin, ends = ends, ends + held[path][0].size
            held[path] = held[path] + moved[:, begin:ends].reshape(held[path].shape).astype(held[path].dtype)
        write_arrays(ensemble.members, {path: held[path] for path in self.arrays})
        return ensemble

    def _brief(self) -> str:
        parts = self.model._brief(), self.curvature._brief(), f"prior_precision={self.prior_precision:g}"
        return f"LaplacePosterior({', '.join(parts)})"


def laplace(
    model: Module,
    data: Any,
    *,
    likelihood: str = "normal",
    noise: float = 1.0,
    prior_precision: float = 1.0,
    layers: Where = "last",
    structure: str = "full",
    batch_size: int = 256,
) -> LaplacePosterior:
    r"""The Laplace approximation: a normal posterior around the weights of a trained model.

    The model should be trained by this likelihood with weight decay: the mode of $p(w \mid D)$ under the prior
    $N(0, 1 / δ)$ of each chosen weight. It infers, and stays as it is. The curvature is the Gauss-Newton matrix.

    Shapes:
        data: x, what the model takes, and y: (batch, out) for ``"normal"`` and ``"bernoulli"``, classes (batch,) for
        ``"categorical"``. The model gives (batch, out): means, or logits.

    Arguments:
        model: gives an array.
        data: ``(x, y)``, what it was trained on.
        likelihood: ``"normal"``, ``"categorical"`` or ``"bernoulli"``.
        noise: of ``"normal"``, the standard deviation of targets, above 0.
        prior_precision: δ, above 0.
        layers: whose weights: ``"last"``, the Dense that is called last; a path or pattern, several, or a predicate
            (path, layer); ``"**"`` is all.
        structure: ``"full"``: one matrix of all weights, (weights, weights); ``"kronecker"``: two small ones for each
            layer, which must then be a Dense that sees one vector an example.
        batch_size: examples in one call.

    Returns:
        A ``LaplacePosterior``.

    Raises:
        RangeError: a name or number out of range, a choice that means no layer.
        ShapeError: outputs that are not (batch, out), targets of another shape.

    Source: MacKay, "A practical Bayesian framework for backpropagation networks", 1992; Ritter, Botev and Barber, "A
    scalable Laplace approximation for neural networks", 2018; Daxberger et al., "Laplace redux", 2021.

    >>> import jax.numpy as jnp, phlox as px
    >>> model = px.Chain(px.Dense(1, 8, px.tanh), px.Dense(8, 1))
    >>> x = jnp.linspace(-1.0, 1.0, 20)[:, None]
    >>> found = px.probability.laplace(model, (x, x**2), noise=0.1, structure="kronecker", layers="**")
    >>> bool(found(jnp.array([[9.0]])).stddev[0, 0] > found(jnp.array([[0.0]])).stddev[0, 0])
    True
    """
    where = "laplace"
    check_one_of(where, "likelihood", likelihood, _LIKELIHOODS)
    check_one_of(where, "structure", structure, tuple(_STRUCTURES))
    x, y = _pair(data, where)
    found = LaplacePosterior.__new__(LaplacePosterior)
    found.model = copy(model)
    found.likelihood, found.noise = likelihood, positive(where, "noise", noise)
    found.prior_precision = positive(where, "prior_precision", prior_precision)
    with training(False):
        _check_outputs(eval_shape(found.model, x), y, likelihood)
    chosen = _chosen(found.model, x, layers, structure)
    held = paths(found.model)
    found.arrays = tuple(path for layer in chosen for path in _arrays(found.model, layer))
    made = _STRUCTURES[structure]
    found.curvature = made.empty(found.model, tuple(chosen) if structure == "kronecker" else found.arrays)
    if found.curvature.size != sum(held[path].size for path in found.arrays):
        fix = 'px.thaw both, or structure="full"'
        raise RangeError("weight and bias of each layer to train", got="one of them frozen", fix=fix, where=where)
    found.square = sum((jnp.sum(jnp.square(held[path])) for path in found.arrays), jnp.zeros(()))
    _look(found, x, y, check_size(where, "batch_size", batch_size))
    return freeze(found)


def _look(found: LaplacePosterior, x: jax.Array, y: jax.Array, batch_size: int) -> None:
    """Sum curvature and log-likelihood over the data."""
    prepared = found.curvature.prepared(found.model)
    total, fit = None, jnp.zeros(())
    for begin in range(0, len(x), batch_size):
        some = slice(begin, begin + batch_size)
        more, one = _batch(found, prepared, x[some], y[some])
        total = more if total is None else jax.tree.map(jnp.add, total, more)
        fit = fit + one
    found.curvature.set(total, len(x))
    found.fit = fit


@jit
def _batch(found: LaplacePosterior, prepared: Module, x: jax.Array, y: jax.Array) -> tuple[Any, jax.Array]:
    curvature: Any = found.curvature  # either takes its own slopes
    with training(False):
        outputs, slopes = curvature.slopes(prepared, x)
    return curvature.sums(slopes, _bend(found, outputs)), _log_likelihood(found, outputs, y)


@jit
def _linearised(found: LaplacePosterior, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The mean and the covariance of outputs, (batch, out) and (batch, out, out)."""
    curvature: Any = found.curvature
    with training(False):
        outputs, slopes = curvature.slopes(curvature.prepared(found.model), x)
    return outputs, curvature.covariance(slopes, found.prior_precision)


def _bend(found: LaplacePosterior, outputs: jax.Array) -> jax.Array:
    """The negative curvature of the log-likelihood in the outputs, (batch, out, out)."""
    eye = jnp.eye(outputs.shape[-1], dtype=outputs.dtype)
    if found.likelihood == "normal":
        return jnp.broadcast_to(eye / found.noise**2, (*outputs.shape, outputs.shape[-1]))
    if found.likelihood == "bernoulli":
        yes = jax.nn.sigmoid(outputs)
        return (yes * (1 - yes))[..., None] * eye
    share = jax.nn.softmax(outputs)
    return share[..., None] * eye - share[..., None] * share[..., None, :]


def _log_likelihood(found: LaplacePosterior, outputs: jax.Array, y: jax.Array) -> jax.Array:
    if found.likelihood == "normal":
        return Normal(outputs, found.noise).log_prob(y).sum()
    made = Categorical if found.likelihood == "categorical" else Bernoulli
    return made(outputs).log_prob(y).sum()


def _check_outputs(outputs: Any, y: jax.Array, likelihood: str) -> None:
    if getattr(outputs, "ndim", 0) != 2:
        fix = "give a model of one vector an example, without a head"
        raise ShapeError("outputs (batch, out)", got=describe(outputs), fix=fix, where="laplace")
    own = outputs.shape[:1] if likelihood == "categorical" else outputs.shape
    if y.shape != own:
        fix = f"give targets {own}"
        raise ShapeError(f"targets {own} for {likelihood!r}", got=describe(y), fix=fix, where="laplace")


def _pair(data: Any, where: str) -> tuple[jax.Array, jax.Array]:
    parts = data_of(data, where)
    if len(parts) != 2:
        raise ShapeError("data (x, y)", got=f"{len(parts)} arrays", fix="pass (x, y)", where=where)
    return parts[0], parts[1]


def _chosen(model: Module, x: jax.Array, layers: Where, structure: str) -> list[str]:
    """The paths of the layers that are meant."""
    held = modules(model)
    dense = [path for path, part in held.items() if isinstance(part, Dense)]
    if layers == "last":
        with training(False):
            called = [path for path in capture(model, x[:1]) if path.partition("#")[0] in dense]
        if not called:
            fix = "name layers by path: layers="
            raise RangeError("a model with a Dense", got=model._brief(), fix=fix, where="laplace")
        return [called[-1].partition("#")[0]]
    able = dense if structure == "kronecker" else [path for path, part in held.items() if _own_arrays(part)]
    what = "Dense" if structure == "kronecker" else "layer with weights"
    everything = (lambda path, layer: True) if layers == "**" else layers
    return chosen_paths(everything, able, held, what, "laplace", "layers")


def _arrays(model: Module, layer: str) -> list[str]:
    """The paths of the arrays that train in a layer itself, as they lie in it."""
    prefix = f"{layer}." if layer else ""
    trains = split(model)[0]
    own = [path for path in trains if path.startswith(prefix) and "." not in path.removeprefix(prefix)]
    if not own:
        fix = "px.thaw it, or choose another"
        raise RangeError("layers with weights that train", got=layer or shown(model), fix=fix, where="laplace")
    return own


def _own_arrays(part: Module) -> list[str]:
    return [path for path in split(part)[0] if "." not in path]
