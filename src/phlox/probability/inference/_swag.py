"""A normal distribution of the weights that the last epochs of a training went through."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from phlox.core import (
    Module,
    RangeError,
    State,
    StructureError,
    check_size,
    key_or_draw,
    paths,
    trainable_arrays,
    write_arrays,
)
from phlox.loop import Callback
from phlox.probability._arguments import positive
from phlox.probability.inference._ensemble import Ensemble

if TYPE_CHECKING:
    from phlox.loop import Run


class WeightMoments(Module):
    r"""Running moments of a model's weights, and the normal distribution $N(\bar w, (S + D D^T / (K - 1)) / 2)$.

    S is the diagonal of variances, and D holds the last K deviations from the mean of their time.

    Shapes:
        mean, square: those of the arrays, by path; deviations: (rank, ...); count: ().

    Arguments:
        model: whose arrays that train are followed.
        rank: K, at most.

    ``update(model)`` takes its weights in; ``sample(model, draws)`` is an ensemble of models with drawn weights.

    Raises:
        RangeError: a rank below 2.
        StructureError: a draw before two updates.

    Source: Maddox et al., "A simple baseline for Bayesian uncertainty in deep learning", 2019.

    >>> import jax.numpy as jnp, phlox as px
    >>> model = px.Dense.of(jnp.zeros((1, 1)), None)
    >>> moments = px.probability.WeightMoments(model)
    >>> for weight in (1.0, 3.0):
    ...     model.weight = jnp.full((1, 1), weight)
    ...     moments.update(model)
    >>> moments.mean["weight"].item(), moments.variance()["weight"].item()
    (2.0, 1.0)
    """

    mean: dict[str, Any]
    square: dict[str, Any]
    deviations: dict[str, Any]
    count: State  # () int32
    rank: int
    _default_role = "State"

    def __init__(self, model: Module, rank: int = 20):
        self.rank = check_size("WeightMoments", "rank", rank, least=2)
        wide = {path: jnp.promote_types(v.dtype, jnp.float32) for path, v in trainable_arrays(model).items()}
        shapes = {path: v.shape for path, v in trainable_arrays(model).items()}
        self.mean = {path: jnp.zeros(shapes[path], dtype) for path, dtype in wide.items()}
        self.square = {path: jnp.zeros(shapes[path], dtype) for path, dtype in wide.items()}
        self.deviations = {path: jnp.zeros((self.rank, *shapes[path]), dtype) for path, dtype in wide.items()}
        self.count = jnp.zeros((), jnp.int32)

    def update(self, model: Module) -> None:
        """Take the weights of a model in; eager or in ``px.jit``."""
        held, n = paths(model), self.count
        weights = {path: held[path].astype(mean.dtype) for path, mean in self.mean.items()}
        share = 1 / (n + 1)
        self.mean = {path: mean + (weights[path] - mean) * share for path, mean in self.mean.items()}
        self.square = {path: s + (jnp.square(weights[path]) - s) * share for path, s in self.square.items()}
        self.deviations = {
            path: d.at[n % self.rank].set(weights[path] - self.mean[path]) for path, d in self.deviations.items()
        }
        self.count = n + 1

    def variance(self) -> dict[str, jax.Array]:
        """The variance of each weight over the updates, by path."""
        return {path: jnp.maximum(s - jnp.square(self.mean[path]), 0) for path, s in self.square.items()}

    def sample(self, model: Module, draws: int = 30, *, scale: float = 1.0, key: Any = None) -> Ensemble[Any]:
        """An ensemble of models like ``model``, with weights drawn; ``scale`` multiplies the covariance.

        State is the model's own: statistics of BatchNorm are those of its weights, and for drawn ones are worked out by
        ``px.update_batch_norm`` of each member.
        """
        kept = min(int(self.count), self.rank)
        if kept < 2:
            fix = "let training go on for two epochs from start, at least"
            got = f"{int(self.count)}"
            raise StructureError("at least 2 updates", got=got, fix=fix, where="WeightMoments.sample")
        factor = (positive("WeightMoments.sample", "scale", scale) / 2) ** 0.5
        draws = check_size("WeightMoments.sample", "draws", draws)
        of_columns, *own = jax.random.split(key_or_draw(key), 1 + len(self.mean))
        columns = jax.random.normal(of_columns, (draws, kept)) / (kept - 1) ** 0.5
        ensemble, variance = Ensemble._repeated(model, draws), self.variance()
        drawn = {}
        for (path, mean), key in zip(self.mean.items(), own, strict=True):
            apart = jnp.sqrt(variance[path]) * jax.random.normal(key, (draws, *mean.shape), mean.dtype)
            together = jnp.tensordot(columns.astype(mean.dtype), self.deviations[path][:kept], 1)
            drawn[path] = (mean + factor * (apart + together)).astype(paths(model)[path].dtype)
        write_arrays(ensemble.members, drawn)
        return ensemble

    def __repr__(self) -> str:
        return f"WeightMoments({len(self.mean)} arrays, rank={self.rank}, {int(self.count)} updates)"


class SWAG(Callback):
    """SWA-Gaussian: ``px.fit`` takes the weights at the end of the last epochs in, and their spread is the posterior's.

    The learning rate should be constant and rather high in those epochs. The model keeps the weights that training ends
    with; ``moments`` has what was seen.

    Arguments:
        start: the first epoch that counts, from 0; or a float in (0, 1), that share of the epochs.
        rank: how many deviations are kept, 2 or more.

    Raises:
        RangeError: an argument out of range, or a share where the number of epochs is not known.

    Source: Maddox et al., "A simple baseline for Bayesian uncertainty in deep learning", 2019.

    >>> import jax.numpy as jnp, phlox as px
    >>> swag, model = px.probability.SWAG(start=5), px.Dense(1, 1)
    >>> x = jnp.linspace(-1.0, 1.0, 64)[:, None]
    >>> history = px.fit(model, (x, 2 * x), loss=px.losses.mse, optimizer=px.optim.Adam(0.1), epochs=15, batch_size=8,
    ...                  callbacks=swag, progress=False)
    >>> swag.moments, swag.sample(model, 4)(x).shape
    (WeightMoments(2 arrays, rank=20, 10 updates), (4, 64, 1))
    """

    modules: tuple[str, ...] = ("moments",)
    start: int | float
    rank: int
    moments: WeightMoments | None

    def __init__(self, start: int | float = 0.75, *, rank: int = 20):
        if not (0 < start < 1 if isinstance(start, float) else start >= 0):
            fix = "give an epoch, or a share such as 0.75"
            raise RangeError("start, an epoch from 0 or a share in (0, 1)", got=repr(start), fix=fix, where="SWAG")
        self.start, self.rank = start, check_size("SWAG", "rank", rank, least=2)
        self.moments = None
        self._first = 0

    def on_fit_start(self, run: Run) -> None:
        if isinstance(self.start, float) and run.epochs is None:
            fix = "give a whole number"
            expected = "an epoch as start, where nobody knows how many there are"
            raise RangeError(expected, got=repr(self.start), fix=fix, where="SWAG")
        self._first = int(self.start * (run.epochs or 0)) if isinstance(self.start, float) else self.start
        self.moments = WeightMoments(run.model, self.rank)

    def on_epoch_end(self, run: Run) -> None:
        if self.moments is not None and run.epoch >= self._first:
            self.moments.update(run.model)

    def sample(self, model: Module, draws: int = 30, *, scale: float = 1.0, key: Any = None) -> Ensemble[Any]:
        """An ensemble of models like ``model``, with weights drawn; as ``WeightMoments.sample``."""
        if self.moments is None:
            fix = "pass it to px.fit as callbacks=swag"
            raise StructureError("a training that it was part of", got="none", fix=fix, where="SWAG.sample")
        return self.moments.sample(model, draws, scale=scale, key=key)
