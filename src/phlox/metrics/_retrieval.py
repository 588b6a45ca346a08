"""Documents ranked for queries: how many of the first are relevant, how early, and how near the best order."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import RangeError, ShapeError, describe
from phlox.metrics import _reading
from phlox.metrics._mean import Average
from phlox.metrics._metric import Statistics, spoiled


class _Retrieval(Average):
    """The mean over queries of a number for each; which number, a class says."""

    def __init__(self, k: int | None = None, *, empty: str = "zero"):
        name = type(self).__name__
        self.k: int | None = None if k is None else _reading.size(name, "k", k)
        self.empty: str = _reading.option(name, "empty", empty, ("zero", "skip"))
        self.reset()

    def _of(self, gains: jax.Array, documents: jax.Array) -> jax.Array:
        """(...) of the relevances in the order of the scores (..., documents), 0 behind those that are there (...)."""
        raise NotImplementedError

    def _read(self, prediction: Any, target: Any, weight: Any) -> tuple[Any, ...]:
        where = f"{type(self).__name__}.update"
        p, t = _reading.real(prediction, "prediction", where), _reading.real(target, "target", where)
        _reading.same_shape(p, t, where)
        if t.ndim == 0 or t.shape[-1] == 0:
            fix = "give the scores of a query's documents as a row; px.metrics.by_query makes rows of them"
            raise ShapeError("scores of (..., documents), one or more", got=describe(p), fix=fix, where=where)
        w = _reading.weights(weight, t.shape, where)
        fix = "look for where the NaN comes from"
        _reading.check(p, lambda v: ~np.isnan(v), "scores that are numbers", where, fix, w)
        fix = "give 0 for what is not relevant, and leave out what is not known by a weight of 0"
        _reading.check(t, lambda v: (v >= 0) & (v < np.inf), "relevances of at least 0", where, fix, w)
        return p, t, w

    def _measure(self, *arrays: Any) -> Statistics:
        p, t, w = arrays
        there = w != 0
        bad = there & (jnp.isnan(p) | ~((t >= 0) & (t < jnp.inf)))
        gains = jnp.where(there, t, 0).astype(jnp.result_type(float))
        scores = jnp.where(there, p, 0).astype(jnp.promote_types(p.dtype, jnp.float32))
        order = jnp.lexsort((gains, -scores, ~there))  # of equal scores, what is less relevant comes first
        values = self._of(jnp.take_along_axis(gains, order, axis=-1), there.sum(-1))
        weight = jnp.max(w, axis=-1)
        if self.empty == "skip":
            weight = jnp.where(jnp.any(gains > 0, axis=-1), weight, 0)
        return spoiled(self._averaged(values, weight), bad)


class RetrievalPrecision(_Retrieval):
    r"""The share of a query's first k documents that is relevant, $\frac1k \sum_{i \le k} [t_i > 0]$, over queries.

    Documents are ranked by their scores; of equal scores the less relevant document stands first, so that scores which
    tell nothing gain nothing. A query with fewer documents than k lacks the rest. All documents of a query are given
    in one row; ``px.metrics.by_query`` makes rows of a list.

    Shapes:
        prediction, target: (..., documents) scores and relevances of at least 0, a row for each query; weight: (...)
            for each query, or (..., documents), 0 where there is no document; value: ().

    Arguments:
        k: how many documents count; None for all of a query's.
        empty: what a query without relevant documents counts as, "zero" or "skip", not at all.

    Raises:
        RangeError: arguments out of range; from ``update``, scores that are NaN, relevances below 0.
        ShapeError, DtypeError: from ``update``, for arguments that do not match.

    Source: Manning, Raghavan and Schütze, "Introduction to Information Retrieval", 2008, section 8.4.

    >>> import jax.numpy as jnp, phlox as px
    >>> precision = px.metrics.RetrievalPrecision(2)
    >>> precision.update(jnp.array([[0.9, 0.2, 0.6]]), jnp.array([[1, 1, 0]]))
    >>> float(precision.compute())
    0.5
    """

    def _of(self, gains: jax.Array, documents: jax.Array) -> jax.Array:
        count = jnp.maximum(documents, 1) if self.k is None else self.k
        return jnp.sum(gains[..., : self.k] > 0, axis=-1) / count


class RetrievalRecall(_Retrieval):
    r"""The share of a query's relevant documents that is among the first k, over queries.

    Ties, shapes, arguments and errors: as ``RetrievalPrecision``.

    Source: Manning, Raghavan and Schütze, "Introduction to Information Retrieval", 2008, section 8.4.

    >>> import jax.numpy as jnp, phlox as px
    >>> recall = px.metrics.RetrievalRecall(1)
    >>> recall.update(jnp.array([[0.9, 0.2, 0.6]]), jnp.array([[1, 1, 0]]))
    >>> float(recall.compute())
    0.5
    """

    def _of(self, gains: jax.Array, documents: jax.Array) -> jax.Array:
        found = jnp.sum(gains[..., : self.k] > 0, axis=-1)
        return found / jnp.maximum(jnp.sum(gains > 0, axis=-1), 1)


class RetrievalHitRate(_Retrieval):
    r"""The share of queries with a relevant document among the first k.

    Ties, shapes, arguments and errors: as ``RetrievalPrecision``.

    Source: Deshpande and Karypis, "Item-based top-N recommendation algorithms", 2004.

    >>> import jax.numpy as jnp, phlox as px
    >>> rate = px.metrics.RetrievalHitRate(1)
    >>> rate.update(jnp.array([[0.9, 0.2], [0.3, 0.4]]), jnp.array([[1, 0], [1, 0]]))
    >>> float(rate.compute())
    0.5
    """

    def _of(self, gains: jax.Array, documents: jax.Array) -> jax.Array:
        return jnp.any(gains[..., : self.k] > 0, axis=-1)


class RetrievalMRR(_Retrieval):
    r"""The mean reciprocal rank: 1 / rank of a query's first relevant document, 0 where it is not among the first k.

    Ties, shapes, arguments and errors: as ``RetrievalPrecision``.

    Source: Voorhees, "The TREC-8 question answering track report", 1999.

    >>> import jax.numpy as jnp, phlox as px
    >>> rank = px.metrics.RetrievalMRR()
    >>> rank.update(jnp.array([[0.9, 0.2, 0.6]]), jnp.array([[0, 0, 1]]))
    >>> float(rank.compute())
    0.5
    """

    def _of(self, gains: jax.Array, documents: jax.Array) -> jax.Array:
        top = gains[..., : self.k] > 0
        return jnp.max(top / _ranks(top), axis=-1)


class RetrievalMAP(_Retrieval):
    r"""Mean average precision: the precision at the rank of each relevant document, averaged over these, over queries.

    $\frac1n \sum_{i \le k} [t_i > 0] \frac1i \sum_{j \le i} [t_j > 0]$, with n the relevant documents of the query, or
    k where these are more. (``px.metrics.MeanAveragePrecision`` is that of boxes.)

    Ties, shapes, arguments and errors: as ``RetrievalPrecision``.

    Source: Manning, Raghavan and Schütze, "Introduction to Information Retrieval", 2008, section 8.4.

    >>> import jax.numpy as jnp, phlox as px
    >>> precision = px.metrics.RetrievalMAP()
    >>> precision.update(jnp.array([[0.9, 0.2, 0.6, 0.1]]), jnp.array([[1, 1, 0, 0]]))
    >>> round(float(precision.compute()), 4)
    0.8333
    """

    def _of(self, gains: jax.Array, documents: jax.Array) -> jax.Array:
        top = gains[..., : self.k] > 0
        total = jnp.clip(jnp.sum(gains > 0, axis=-1), 1, self.k)
        return jnp.sum(top * jnp.cumsum(top, axis=-1) / _ranks(top), axis=-1) / total


class RetrievalNDCG(_Retrieval):
    r"""Normalised discounted cumulative gain of the first k documents, over queries.

    $\sum_{i \le k} g(t_i) / \log_2(i + 1)$, divided by what it is in the best order, with $g(t) = t$ or $2^t - 1$.

    Ties, shapes, other arguments and errors: as ``RetrievalPrecision``. (scikit-learn averages over orders of ties.)

    Arguments:
        gain: "linear" or "exponential".

    Source: Järvelin and Kekäläinen, "Cumulated gain-based evaluation of IR techniques", 2002; Burges et al.,
    "Learning to rank using gradient descent", 2005.

    >>> import jax.numpy as jnp, phlox as px
    >>> gain = px.metrics.RetrievalNDCG()
    >>> gain.update(jnp.array([[0.9, 0.2, 0.6]]), jnp.array([[2.0, 3.0, 0.0]]))
    >>> round(float(gain.compute()), 4)
    0.8212
    """

    def __init__(self, k: int | None = None, *, gain: str = "linear", empty: str = "zero"):
        self.gain: str = _reading.option("RetrievalNDCG", "gain", gain, ("linear", "exponential"))
        super().__init__(k, empty=empty)

    def _of(self, gains: jax.Array, documents: jax.Array) -> jax.Array:
        gains = gains if self.gain == "linear" else jnp.exp2(gains) - 1
        best = self._discounted(-jnp.sort(-gains, axis=-1))
        return jnp.where(best > 0, self._discounted(gains) / jnp.where(best > 0, best, 1), 0)

    def _discounted(self, gains: jax.Array) -> jax.Array:
        top = gains[..., : self.k]
        return jnp.sum(top / jnp.log2(1 + _ranks(top)), axis=-1)


def _ranks(x: jax.Array) -> jax.Array:
    """1, 2, … along the last axis."""
    return jnp.arange(1, x.shape[-1] + 1, dtype=jnp.result_type(float))


def by_query(prediction: Any, target: Any, query: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores and relevances in a list, with the query of each, as rows for each query and a mask of what is there.

    It runs on the host; what it returns are the arguments of a retrieval metric's ``update``. All documents of a query
    are in one call. Rows come in the order of the queries' values, documents in that of the list.

    Shapes:
        prediction, target, query: (n,) each; → (queries, documents) each, of the most that a query has.

    Raises:
        ShapeError: not one axis of one length. RangeError: a query that is NaN.

    >>> import phlox as px
    >>> rows = px.metrics.by_query([0.9, 0.6, 0.2], [1, 0, 1], ["a", "b", "a"])
    >>> [x.tolist() for x in rows]
    [[[0.9, 0.2], [0.6, 0.0]], [[1, 1], [0, 0]], [[True, True], [True, False]]]
    """
    p, t, q = np.asarray(prediction), np.asarray(target), np.asarray(query)
    if not (p.ndim == t.ndim == q.ndim == 1 and len(p) == len(t) == len(q) > 0):
        got = f"{describe(p)}, {describe(t)} and {describe(q)}"
        fix = "give a score, a relevance and a query for each document"
        raise ShapeError("three lists of one length, not empty", got=got, fix=fix, where="by_query")
    if q.dtype.kind == "f" and np.isnan(q).any():
        fix = "number the queries with integers"
        raise RangeError("a query for each document", got="NaN", fix=fix, where="by_query")
    _, row, counts = np.unique(q, return_inverse=True, return_counts=True)
    order = np.argsort(row, kind="stable")
    place = np.empty(len(q), np.int64)
    place[order] = np.arange(len(q)) - np.repeat(np.cumsum(counts) - counts, counts)
    rows = [np.zeros((len(counts), counts.max()), x.dtype) for x in (p, t, np.ones(1, bool))]
    for filled, x in zip(rows, (p, t, True), strict=True):
        filled[row, place] = x
    return rows[0], rows[1], rows[2]
