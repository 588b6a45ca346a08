"""Models side by side: an ensemble, its loss, and what it says as one distribution."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, Self, TypeVar

import jax
import jax.numpy as jnp

from phlox.core import (
    Module,
    RangeError,
    ShapeError,
    StructureError,
    check_size,
    describe,
    key_or_draw,
    paths,
    seed,
    shown,
    tree_map,
    vmap,
)
from phlox.probability.distributions._discrete import Bernoulli, Categorical, Ordinal
from phlox.probability.distributions._distribution import Distribution
from phlox.probability.distributions._several import Independent, Mixture

M = TypeVar("M", bound=Module)


class Ensemble(Module, Generic[M]):
    r"""Several models of one structure as one Module, called by one ``px.vmap``: $y_i = f(x; w_i)$.

    Their arrays are stacked along a new first axis. A loss that is a mean over all outputs trains each member as if it
    were alone but for a factor 1 / size, which Adam and its kin do not see; every member sees every batch.

    Shapes:
        x: (batch, ...); what a member gives, with an axis (size, ...) in front: arrays, or distributions.

    Arguments:
        build: a function without arguments that makes one model; each draws its own weights.
        size: how many.
        key: where the weights are drawn from; by default the stream of ``px.seed``.

    ``Ensemble.of(models)`` stacks models that there are; ``[i]`` is a copy of one.

    Raises:
        RangeError: a size below 1, or a ``build`` that makes no Module.
        StructureError: models of unlike structure.

    Source: Lakshminarayanan, Pritzel and Blundell, "Simple and scalable predictive uncertainty estimation using deep
    ensembles", 2017.

    >>> import jax.numpy as jnp, phlox as px
    >>> ensemble = px.probability.Ensemble(lambda: px.probability.NormalHead(3, 1), 5)
    >>> px.probability.mixture(ensemble(jnp.ones((8, 3)))).mean.shape, ensemble[0].dense.weight.shape
    ((8, 1), (3, 2))
    """

    members: M  # every array (size, ...)
    size: int

    def __init__(self, build: Callable[[], M], size: int, *, key: Any = None):
        self.size = check_size("Ensemble", "size", size)
        if isinstance(build, Module) or not callable(build):
            fix = "write lambda: before it, or Ensemble.of([model, ...]) of models that there are"
            raise RangeError("a function that makes one model", got=shown(build), fix=fix, where="Ensemble")
        self.members = vmap(lambda key: _built(build, key))(jax.random.split(key_or_draw(key), size))

    @classmethod
    def of(cls, models: Sequence[M]) -> Self:
        """An ensemble of given models of one structure; their arrays are copied into it."""
        forms = [(jax.tree.structure(m), [v.shape for v in paths(m).values()]) for m in models]
        if not models or any(form != forms[0] for form in forms):
            fix = "build all models with the same arguments"
            got = ", ".join(m._brief() for m in models) or "none"
            raise StructureError("models of one structure", got=got, fix=fix, where="Ensemble.of")
        return cls._stacked(tree_map(lambda *parts: jnp.stack(parts), *models), len(models))

    @classmethod
    def _repeated(cls, model: M, size: int) -> Self:
        """One model so many times, for arrays of its members to be written."""
        return cls._stacked(tree_map(lambda v: jnp.broadcast_to(v, (size, *v.shape)), model), size)

    @classmethod
    def _stacked(cls, members: M, size: int) -> Self:
        self = cls.__new__(cls)
        self.members, self.size = members, size
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return vmap(lambda member: member(*args, **kwargs), axis_size=self.size)(self.members)

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, at: int) -> M:
        """A copy of one member."""
        if not -self.size <= at < self.size:
            raise IndexError(f"member {at} of {self.size}")
        return tree_map(lambda v: v[at], self.members)

    def _brief(self) -> str:
        return f"Ensemble({self.size} × {self.members._brief()})"


def _built(build: Callable[[], M], key: Any) -> M:
    with seed(key):
        model = build()
    if not isinstance(model, Module):
        fix = "return a px.Module"
        raise RangeError(
            "a function that makes one model", got=f"one that makes {describe(model)}", fix=fix, where="Ensemble"
        )
    return model


def each_member(loss: Callable[..., Any]) -> Callable[..., jax.Array]:
    """The loss of an ensemble: the mean over its members of ``loss(prediction, target)``; the target is one for all.

    Shapes:
        prediction: what an ``Ensemble`` gives, (size, batch, ...); target: what the loss takes.

    Arguments:
        loss: ``loss(prediction, target, weight=…)``, such as ``px.probability.nll`` or one of ``px.losses``.

    Source: Lakshminarayanan, Pritzel and Blundell, "Simple and scalable predictive uncertainty estimation using deep
    ensembles", 2017.

    >>> import jax.numpy as jnp, phlox as px
    >>> loss = px.probability.each_member(px.losses.mse)
    >>> float(loss(jnp.array([[1.0], [3.0]]), jnp.array([0.0])))
    5.0
    """

    def of_members(prediction: Any, target: Any, *, weight: Any = None) -> jax.Array:
        given = {} if weight is None else {"weight": weight}
        return jnp.mean(vmap(lambda own: loss(own, target, **given))(prediction))

    return of_members


class Predictive(Module):
    """What an ensemble says as one distribution, batch first: a model for ``px.predict``, ``px.evaluate``, ``px.save``.

    Shapes:
        x: (batch, ...); what ``mixture`` makes of the members' distributions, a batch (batch, ...).

    Arguments:
        ensemble: whose members give distributions.

    Raises:
        RangeError: members that give something else.

    Source: as ``mixture``.

    >>> import jax.numpy as jnp, phlox as px
    >>> model = px.probability.Predictive(px.probability.Ensemble(lambda: px.probability.NormalHead(3, 1), 5))
    >>> px.predict(model, jnp.ones((8, 3))).batch_shape
    (8, 1)
    """

    ensemble: Ensemble[Any]

    def __init__(self, ensemble: Ensemble[Any]):
        self.ensemble = ensemble

    def __call__(self, *args: Any, **kwargs: Any) -> Distribution:
        return mixture(self.ensemble(*args, **kwargs))


def mixture(outputs: Distribution) -> Distribution:
    r"""What several models say, as one distribution in which each counts alike: $p(y) = \frac{1}{n} \sum_i p_i(y)$.

    Shapes:
        outputs: a batch (models, *batch), as an ``Ensemble`` or ``sample_predictions`` gives it; the result: (*batch).

    Arguments:
        outputs: distributions, the models along the first axis of the batch.

    Returns:
        ``Categorical`` or ``Bernoulli`` of the mean probabilities for classes, else a ``Mixture``.

    Raises:
        RangeError: no distribution: of numbers take ``outputs.mean(0)`` and ``outputs.std(0)``.
        ShapeError: arrays in it that do not have all axes of the batch.

    Source: Lakshminarayanan, Pritzel and Blundell, "Simple and scalable predictive uncertainty estimation using deep
    ensembles", 2017.

    >>> import jax.numpy as jnp, phlox as px
    >>> outputs = px.probability.Normal(jnp.array([[0.0], [2.0]]), jnp.ones((2, 1)))
    >>> both = px.probability.mixture(outputs)
    >>> both.mean.tolist(), both.variance.tolist()
    ([1.0], [2.0])
    """
    if not isinstance(outputs, Distribution):
        fix = "of numbers take outputs.mean(0) and outputs.std(0)"
        raise RangeError("distributions of several models", got=shown(outputs), fix=fix, where="mixture")
    if isinstance(outputs, Independent) and isinstance(outputs.base, Bernoulli):
        return Independent(mixture(outputs.base), outputs.axes)
    batch = outputs.batch_shape
    if not batch:
        fix = "give what an Ensemble gives"
        raise ShapeError("a batch (models, ...)", got="()", fix=fix, where="mixture")
    if isinstance(outputs, (Categorical, Ordinal)):
        log_p = jax.nn.log_softmax(outputs._peer().logits)
        return Categorical(_mean_exp(log_p).astype(outputs._dtype()))
    if isinstance(outputs, Bernoulli):
        logits = jnp.asarray(outputs.logits)
        yes, no = _mean_exp(jax.nn.log_sigmoid(logits)), _mean_exp(jax.nn.log_sigmoid(-logits))
        return Bernoulli((yes - no).astype(outputs._dtype()))
    logits = jnp.zeros((*batch[1:], batch[0]), outputs._dtype())  # with all axes, so that batches of it can be joined
    return Mixture(logits, _models_last(outputs, batch))


def _mean_exp(log_p: jax.Array) -> jax.Array:
    return jax.nn.logsumexp(log_p, 0) - jnp.log(log_p.shape[0])


def _models_last(outputs: Distribution, batch: tuple[int, ...]) -> Distribution:
    """The axis of the models behind the others of the batch."""

    def moved(value: Any) -> Any:
        if value.shape[: len(batch)] != batch:
            fix = "give each array of the distribution all axes of the batch, by jnp.broadcast_to"
            raise ShapeError(f"arrays {batch} + (...)", got=describe(value), fix=fix, where="mixture")
        return jnp.moveaxis(value, 0, len(batch) - 1)

    return tree_map(moved, outputs)
