"""How examples, and classes, come to count differently in a loss."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from phlox.core import RangeError, ShapeError, describe


def parameters_of(loss: Callable[..., Any]) -> list[str]:
    """The names of a loss's parameters; none where it does not tell."""
    try:
        return list(inspect.signature(loss).parameters)
    except (TypeError, ValueError):  # what is written in C tells nothing
        return []


def takes_weights(loss: Callable[..., Any]) -> bool:
    """Whether a loss of prediction and target can weigh examples."""
    names = parameters_of(loss)
    return getattr(loss, "takes_weights", "weight" in names or "reduction" in names)


def weighed(loss: Callable[..., Any], prediction: Any, target: Any, weight: Any, where: str) -> Any:
    """The mean loss of a batch, Σwℓ / Σw where there are weights.

    Raises:
        RangeError: a loss that can weigh nothing.
    """
    if weight is None:
        return loss(prediction, target)
    check_takes_weights(loss, takes_weights(loss), where)
    if "weight" in parameters_of(loss):
        return loss(prediction, target, weight=weight)
    each = loss(prediction, target, reduction="none")
    w = spread(weight, each)
    total = w.sum()
    return jnp.where(w == 0, 0, each * w).sum() / jnp.where(total == 0, 1, total)


def check_takes_weights(loss: Callable[..., Any], takes: bool, where: str) -> None:
    """Refuse to weigh examples with a loss that cannot."""
    if not takes:
        name = getattr(loss, "__name__", type(loss).__name__)
        raise RangeError(
            "a loss that can weigh examples, for sample weights or a padded batch",
            got=f"{name}, which takes no weight",
            fix="give it a parameter weight=, one number for each example; or use batches of one size without padding",
            where=where,
        )


def spread(weight: Any, like: Any) -> Any:
    """Weights of the leading axes, spread over the rest."""
    w = jnp.asarray(weight)
    w = w.astype(like.dtype if jnp.issubdtype(like.dtype, jnp.floating) else jnp.float32)
    return jnp.broadcast_to(w.reshape(w.shape + (1,) * (like.ndim - w.ndim)), like.shape)


# --- classes ------------------------------------------------------------------------------------------


def class_factor(
    loss: Callable[..., Any], class_weight: tuple[float, ...], prediction: Any, target: Any, where: str
) -> Any:
    """How much each target counts by its class; a negative class, as of ignored places, not at all.

    A prediction with an axis more than the target has a class at each place of it. One of the target's shape holds
    probabilities of classes for a loss that knows ``class_weight``, and for any other answers to yes or no, which have
    two classes.
    """
    factors, t = jnp.asarray(class_weight, jnp.float32), jnp.asarray(target)
    shape: tuple[int, ...] = jnp.shape(prediction) if hasattr(prediction, "dtype") else ()
    last = shape[-1] if shape else 1
    by_class = len(shape) == t.ndim + 1 and last != 1
    of_classes = "class_weight" in parameters_of(loss) and t.ndim > 1 and not by_class
    classes = last if by_class else t.shape[-1] if of_classes else 2
    if factors.size != classes:
        yes_no = "" if by_class or of_classes else ", no and yes,"
        raise ShapeError(
            f"class_weight for the {classes} classes{yes_no} of the prediction {describe(prediction)}",
            got=f"{factors.size} numbers",
            fix="give class_weight one number for each class",
            where=where,
        )
    if by_class and jnp.issubdtype(t.dtype, jnp.integer):
        return jnp.where(t < 0, 0, factors[jnp.clip(t, 0, factors.size - 1)])
    if of_classes:
        return t.astype(jnp.float32) @ factors
    if not by_class:
        yes = jnp.clip(t.astype(jnp.float32), 0.0, 1.0)  # no may be -1
        return factors[0] + yes * (factors[1] - factors[0])
    raise ShapeError(
        f"integer targets, or probabilities of {factors.size} classes, for class_weight",
        got=describe(t),
        fix="give class_weight one number for each class",
        where=where,
    )


def as_class_weight(given: Any, where: str, data: Any = None) -> tuple[float, ...] | None:
    """Class weights from class 0 on, from a sequence, a dict by class, or ``"balanced"`` and data with its labels."""
    if given is None:
        return None
    if isinstance(given, str):
        return _balanced(given, data, where)
    if isinstance(given, Mapping):
        if sorted(given) != list(range(len(given))):
            fix = "give each class from 0 on its weight"
            raise RangeError("class_weight by class 0, 1, …", got=str(sorted(given)), fix=fix, where=where)
        given = [given[c] for c in range(len(given))]
    weights = np.asarray(given, np.float32)
    if weights.ndim != 1 or not (weights >= 0).all() or not np.isfinite(weights).all():
        fix = "give one number of at least 0 for each class"
        raise RangeError("class_weight (classes,)", got=describe(given), fix=fix, where=where)
    return tuple(weights.tolist())


def _balanced(given: str, data: Any, where: str) -> tuple[float, ...]:
    r"""Weights by which every class counts alike, $n / (k n_c)$ for k classes with $n_c$ of n examples each."""
    labels = data[1] if isinstance(data, tuple) and len(data) in (2, 3) else None
    labels = np.asarray(labels) if labels is not None else np.zeros(0)
    whole = labels.size and labels.dtype.kind in "iufb" and (labels >= 0).all() and (labels == np.floor(labels)).all()
    if given != "balanced" or not whole:
        raise RangeError(
            'class_weight as numbers by class, or "balanced" with data (x, y) and y of classes from 0',
            got=repr(given) if given != "balanced" else "data whose labels are not at hand as such",
            fix="count them: counts = np.bincount(labels); class_weight=counts.sum() / (len(counts) * counts)",
            where=where,
        )
    counts = np.bincount(labels.astype(np.int64).ravel())
    there = counts > 0  # a class that nobody saw has no weight
    weights = np.where(there, counts.sum() / (there.sum() * np.where(there, counts, 1)), 0.0)
    return tuple(weights.astype(np.float32).tolist())
