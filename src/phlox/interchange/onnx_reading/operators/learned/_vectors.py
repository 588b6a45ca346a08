"""Support vector machines: kernels, votes of pairs of classes, and probabilities from them."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.interchange.onnx_reading._call import Call
from phlox.interchange.onnx_reading.operators._table import OPERATORS
from phlox.interchange.onnx_reading.operators.learned._classes import ML, class_at, number_of_classes
from phlox.interchange.onnx_reading.operators.learned._scores import floats, of_two, real, transformed

_MOST = 100
"""Steps in which the probabilities of classes are made to fit those of pairs."""


def _kernel(call: Call, x: Any, vectors: Any) -> Any:
    """(rows, features) and (vectors, features) to (rows, vectors)."""
    gamma, shift, degree = [*floats(call, "kernel_params").tolist(), 0.0, 0.0, 0.0][:3]
    kind = call.get("kernel_type", "LINEAR")
    product = x @ vectors.T
    if kind == "LINEAR":
        return product
    if kind == "POLY":
        return (gamma * product + shift) ** int(degree)
    if kind == "SIGMOID":
        return jnp.tanh(gamma * product + shift)
    if kind == "RBF":
        return jnp.exp(-gamma * jnp.square(x[:, None] - vectors).sum(-1))
    raise call.refusal("a kernel among LINEAR, POLY, RBF, SIGMOID", kind, "write it with one of these")


def _vectors(call: Call, x: Any, count: int) -> np.ndarray:
    flat = floats(call, "support_vectors")
    if flat.size != count * x.shape[1]:
        got = f"{flat.size} numbers for {count} vectors and inputs of {x.shape[1]} features"
        raise call.refusal("support vectors of the features of the inputs", got, "give it inputs of these features")
    return flat.reshape(count, -1).astype(x.dtype)


@OPERATORS.on("SVMRegressor", domain=ML)
def _regressor(call: Call, x: Any) -> Any:
    """``sum_j a_j k(x, v_j) + b``, (rows, 1)."""
    x, count = real(x), call.get("n_supports", 0)
    weights, shift = floats(call, "coefficients").astype(x.dtype), floats(call, "rho")[:1]
    y = (_kernel(call, x, _vectors(call, x, count)) if count else x) @ weights[:, None] + shift.astype(x.dtype)
    return jnp.where(y > 0, 1.0, -1.0).astype(x.dtype) if call.get("one_class", 0) else transformed(call, y)


@OPERATORS.on("SVMClassifier", domain=ML)
def _classifier(call: Call, x: Any) -> Any:
    """(rows, features) to classes (rows,) and scores (rows, classes), or of pairs where it has no probabilities."""
    x = real(x)
    counts = call.get("vectors_per_class") or []
    if not counts:
        return _of_planes(call, x)
    pairs = _pairs(call, x, counts)
    votes = _votes(pairs, len(counts))
    first = floats(call, "prob_a")
    best = votes.argmax(-1)
    if first.size:
        shares = jax.nn.sigmoid(-(pairs * first + floats(call, "prob_b")))
        return class_at(call, best), transformed(call, _coupled(jnp.clip(shares, 1e-7, 1 - 1e-7), len(counts)))
    if len(counts) == 2:
        always = bool((floats(call, "coefficients") >= 0).all())
        return class_at(call, jnp.ones_like(best) if always else best), of_two(call, pairs[:, 0], False)
    return class_at(call, best), transformed(call, pairs)


def _of_planes(call: Call, x: Any) -> Any:
    """A plane for each class."""
    classes = max(number_of_classes(call), 1)
    planes = floats(call, "coefficients").astype(x.dtype)
    if planes.size != classes * x.shape[1]:
        got = f"{planes.size} of them for {classes} classes and inputs of {x.shape[1]} features"
        raise call.refusal("coefficients for each class and feature", got, "give it inputs of these features")
    scores = x @ planes.reshape(classes, -1).T + floats(call, "rho")[:1].astype(x.dtype)
    return class_at(call, scores.argmax(-1)), transformed(call, scores)


def _pairs(call: Call, x: Any, counts: list[int]) -> Any:
    """What each pair of classes gives; above zero for the first of the two. (rows, pairs)"""
    ends = np.cumsum([0, *counts])
    kernel = _kernel(call, x, _vectors(call, x, int(ends[-1])))
    weights, shifts = floats(call, "coefficients").astype(x.dtype).reshape(-1, ends[-1]), floats(call, "rho")
    columns = []
    for i in range(len(counts)):
        for j in range(i + 1, len(counts)):
            a, b = slice(ends[i], ends[i + 1]), slice(ends[j], ends[j + 1])
            columns.append(kernel[:, a] @ weights[j - 1, a] + kernel[:, b] @ weights[i, b] + shifts[len(columns)])
    return jnp.stack(columns, -1)


def _votes(pairs: Any, classes: int) -> Any:
    """How many of its pairs each class wins, (rows, classes)."""
    first, second = (jax.nn.one_hot(np.array(p), classes) for p in np.triu_indices(classes, 1))
    return jnp.where(pairs[..., None] > 0, first, second).sum(1)


def _coupled(shares: Any, classes: int) -> Any:
    """Probabilities of classes that fit those of pairs best.

    Source: Wu, Lin and Weng, "Probability estimates for multi-class classification by pairwise coupling", 2004.
    """
    i, j = np.triu_indices(classes, 1)

    def row(pair: Any) -> Any:
        r = jnp.zeros((classes, classes), pair.dtype).at[i, j].set(pair).at[j, i].set(1 - pair)
        q = jnp.diag(jnp.square(r).sum(0)) - r.T * r
        return _fixed_point(q, classes)

    return jax.vmap(row)(shares)


def _fixed_point(q: Any, classes: int) -> Any:
    p = jnp.full(classes, 1 / classes, q.dtype)

    def step(_: Any, state: Any) -> Any:
        p, done = state
        slope = q @ p
        done = done | (jnp.abs(slope - p @ slope).max() < 0.005 / classes)
        return jnp.where(done, p, _swept(q, p, slope)), done

    return jax.lax.fori_loop(0, max(_MOST, classes), step, (p, False))[0]


def _swept(q: Any, p: Any, slope: Any) -> Any:
    """One class after the other moved to where its slope is the mean of all."""

    def step(t: Any, state: Any) -> Any:
        p, slope, mean = state
        move = (mean - slope[t]) / q[t, t]
        p, grown = p.at[t].add(move), 1 + move
        mean = (mean + move * (move * q[t, t] + 2 * slope[t])) / grown**2
        return p / grown, (slope + move * q[t]) / grown, mean

    return jax.lax.fori_loop(0, p.shape[0], step, (p, slope, p @ slope))[0]
