"""What an update is given: checked for shape, dtype and range, and read as decisions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from phlox.core import DtypeError, RangeError, ShapeError, StructureError, describe

T = TypeVar("T")


def concrete(x: Any) -> np.ndarray | None:
    """The values where they are known; None inside a trace or on other hosts."""
    if isinstance(x, Tracer) or (isinstance(x, jax.Array) and not x.is_fully_addressable):
        return None
    return np.asarray(x)


def real(x: Any, name: str, where: str) -> jax.Array:
    """An array of booleans, integers or floats."""
    if isinstance(x, dict) or (isinstance(x, tuple) and any(isinstance(v, (jax.Array, np.ndarray)) for v in x)):
        raise _several(x, name, where)
    array = jnp.asarray(x)
    if jnp.issubdtype(array.dtype, jnp.complexfloating):
        fix = "compare real and imaginary parts, or magnitudes"
        raise DtypeError(f"a real {name}", got=describe(array), fix=fix, where=where)
    return array


def _several(x: Any, name: str, where: str) -> Exception:
    """The error for a model's or a batch's several outputs, where a metric takes one."""
    keys = list(x) if isinstance(x, dict) else list(range(len(x)))
    metric, chosen = where.partition(".")[0], "" if name == "prediction" else f"{name}="
    fix = f"choose one: px.metrics.Select(px.metrics.{metric}(...), {chosen}{keys[0]!r})" if keys else "give an array"
    kind = type(x).__name__
    return StructureError(f"one array as {name}", got=f"a {kind} of {', '.join(map(repr, keys))}", fix=fix, where=where)


def floating(x: jax.Array) -> bool:
    """True for arrays of floats."""
    return bool(jnp.issubdtype(x.dtype, jnp.floating))


def same_shape(prediction: jax.Array, target: jax.Array, where: str) -> None:
    """Refuse arguments of unlike shapes: a metric never broadcasts one against the other."""
    if prediction.shape != target.shape:
        fix = f"make them one shape; prediction.reshape({target.shape}) where the order is the same"
        if prediction.size != target.size:
            fix = "metrics do not broadcast: give one prediction for each target"
        raise ShapeError(
            "prediction and target of one shape",
            got=f"{describe(prediction)} and {describe(target)}",
            fix=fix,
            where=where,
        )


def weights(weight: Any, shape: tuple[int, ...], where: str) -> jax.Array:
    """Weights of ``shape``, from those of its leading axes: int32 for none and masks, which count exactly."""
    if weight is None:
        return jnp.ones(shape, jnp.int32)
    w = real(weight, "weight", where)
    if w.shape != shape[: w.ndim]:
        raise ShapeError(
            f"weight of the leading axes of {list(shape)}",
            got=describe(w),
            fix="give one weight per example, or one per target",
            where=where,
        )
    if w.dtype == bool:
        w = w.astype(jnp.int32)
    else:
        check(w, lambda v: v >= 0, "weights of at least 0", where, "leave examples out by a weight of 0")
        w = w.astype(jnp.promote_types(w.dtype, jnp.float32) if floating(w) else jnp.float32)
    return jnp.broadcast_to(w.reshape(w.shape + (1,) * (len(shape) - w.ndim)), shape)


def check(x: Any, ok: Callable[[Any], Any], expected: str, where: str, fix: str, weight: Any = None) -> None:
    """Refuse values that are known, count and are not ``ok``."""
    values, w = concrete(x), None if weight is None else concrete(weight)
    if values is None or (weight is not None and w is None):
        return
    bad = ~ok(values)
    if w is not None:
        bad = bad & (w.reshape(w.shape + (1,) * (bad.ndim - w.ndim)) != 0)
    if bad.any():
        raise RangeError(expected, got=f"{describe(values)} with {values[bad].flat[0]}", fix=fix, where=where)


def spread(weight: jax.Array, ndim: int) -> jax.Array:
    """Weights with size-1 axes behind, to stand beside arrays of ``ndim`` axes."""
    return weight.reshape(weight.shape + (1,) * (ndim - weight.ndim))


# --- classes ----------------------------------------------------------------------------------------


def read_classes(
    prediction: Any, target: Any, weight: Any, classes: int | None, where: str, *, scores_only: bool = False
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Prediction, as (..., classes) scores or as classes (...), with integer targets and weights (...)."""
    p, t = real(prediction, "prediction", where), real(target, "target", where)
    if floating(t):
        fix = "give the number of each class, such as target.argmax(-1) of one-hot targets"
        raise DtypeError("integer targets", got=describe(t), fix=fix, where=where)
    t = t.astype(jnp.int32) if t.dtype == bool else t
    is_scores = floating(p) and p.ndim == t.ndim + 1
    wrong = p.shape[:-1] != t.shape or p.shape[-1] != (classes or p.shape[-1]) if is_scores else p.shape != t.shape
    if wrong or (not is_scores and (floating(p) or scores_only)):
        raise _unlike(p, t, classes, where, scores_only)
    w = weights(weight, t.shape, where)
    count = p.shape[-1] if is_scores else classes
    if count is not None:
        fix = "count classes from 0; give padding the weight 0"
        inside = f"in 0 … {count - 1}"
        check(t, lambda v: (v >= 0) & (v < count), f"targets {inside}", where, fix, w)
        if not is_scores:
            check(p, lambda v: (v >= 0) & (v < count), f"predicted classes {inside}", where, fix, w)
    if is_scores:
        check(p, lambda v: ~np.isnan(v), "scores that are numbers", where, "look for where the NaN comes from", w)
    return p, t, w


def _unlike(p: jax.Array, t: jax.Array, classes: int | None, where: str, scores_only: bool) -> Exception:
    count = "classes" if classes is None else str(classes)
    forms = f"scores [{', '.join(map(str, (*t.shape, count)))}]"
    if not scores_only:
        forms += f" or integer classes {list(t.shape)}"
    fix = "put the class axis last in the prediction, and none in the target"
    if floating(p) and p.shape == t.shape:
        fix = "use the binary form for one probability each, or target.argmax(-1) for one-hot targets"
    return ShapeError(f"a prediction of {forms} beside {describe(t)} targets", got=describe(p), fix=fix, where=where)


def decided(p: jax.Array, ndim: int) -> jax.Array:
    """The class of each prediction: the largest score, or the class itself."""
    return jnp.argmax(p, axis=-1) if p.ndim > ndim else p


def bad_classes(p: jax.Array, t: jax.Array, w: jax.Array, classes: int | None) -> jax.Array:
    """Where a counted place has a target or prediction that is no class, or a weight that is none."""
    is_scores = p.ndim > t.ndim
    count = p.shape[-1] if is_scores else classes
    bad = jnp.zeros(t.shape, bool)
    if count is not None:
        bad = (t < 0) | (t >= count)
        bad |= jnp.isnan(p).any(-1) if is_scores else (p < 0) | (p >= count)
    return (bad & (w != 0)) | ~(w >= 0)


# --- yes and no -------------------------------------------------------------------------------------


def read_binary(
    prediction: Any, target: Any, weight: Any, where: str, *, logits: bool, labels: int | None = None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Probabilities, logits, or decisions (booleans, integers), with targets of 0 and 1 of the same shape."""
    p, t = real(prediction, "prediction", where), real(target, "target", where)
    same_shape(p, t, where)
    if labels is not None and (p.ndim == 0 or p.shape[-1] != labels):
        fix = "put the labels last, or construct the metric for as many as there are"
        raise ShapeError(f"a prediction of (..., {labels})", got=describe(p), fix=fix, where=where)
    w = weights(weight, t.shape, where)
    check(t, lambda v: (v == 0) | (v == 1), "targets of 0 and 1", where, "map the two classes to 0 and 1", w)
    if not floating(p):
        check(p, lambda v: (v == 0) | (v == 1), "decisions of 0 and 1", where, "give probabilities as floats", w)
    else:
        check_scores(p, w, where, logits=logits)
    return p, t, w


def check_scores(p: jax.Array, w: jax.Array, where: str, *, logits: bool) -> None:
    """Refuse probabilities outside [0, 1], and NaN."""
    if logits:
        check(p, lambda v: ~np.isnan(v), "logits that are numbers", where, "look for where the NaN comes from", w)
    else:
        fix = "say logits=True where the metric is constructed, if these are logits"
        check(p, lambda v: (v >= 0) & (v <= 1), "probabilities within [0, 1]", where, fix, w)


def bad_binary(p: jax.Array, t: jax.Array, w: jax.Array, *, logits: bool) -> jax.Array:
    """Where a counted place has a target or a prediction out of range."""
    bad = (t != 0) & (t != 1)
    bad |= jnp.isnan(p) if logits and floating(p) else ~((p >= 0) & (p <= 1))
    return (bad & (w != 0)) | ~(w >= 0)


def above(p: jax.Array, threshold: float, *, logits: bool) -> jax.Array:
    """The decisions: a probability above the threshold; the sigmoid of a logit above it; or as they are."""
    if not floating(p):
        return p != 0
    wide = p.astype(jnp.promote_types(p.dtype, jnp.float32))
    return wide > (float(np.log(threshold) - np.log1p(-threshold)) if logits else threshold)


# --- constructor arguments --------------------------------------------------------------------------


def size(where: str, name: str, value: int, least: int = 1) -> int:
    """A whole number of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        fix = f"give {name} a value of {least} or more"
        raise RangeError(f"{name} to be a whole number of at least {least}", got=repr(value), fix=fix, where=where)
    return int(value)


def option(where: str, name: str, value: T, choices: tuple[Any, ...]) -> T:
    """One of the choices."""
    if value not in choices:
        listed = ", ".join(map(repr, choices))
        raise RangeError(f"{name} to be one of {listed}", got=repr(value), fix=f"choose one of {listed}", where=where)
    return value


def share(where: str, name: str, value: float) -> float:
    """A number between 0 and 1, both excluded."""
    if isinstance(value, bool) or not 0 < value < 1:
        fix = "give it as a probability, such as 0.5, for logits too"
        raise RangeError(f"{name} between 0 and 1", got=repr(value), fix=fix, where=where)
    return float(value)
