"""One-hot vectors of labels, and back."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from phlox.core import DtypeError, RangeError, ShapeError, answering, describe
from phlox.nn.functional.space._window import is_int

__all__ = ["from_one_hot", "one_hot"]


@answering
def one_hot(
    labels: Any, classes: int | Sequence[Hashable], *, default: Any = None, dtype: Any = jnp.float32
) -> jax.Array:
    """Encode each label as a vector that is 1 at its class and 0 elsewhere.

    Formula: ``y[..., c] = 1 if labels[...] == classes[c] else 0``.

    Shapes: ``labels`` (...) → (..., number of classes).

    Arguments:
        labels: with ``classes`` an int, integers from 0; with a sequence, one label or a sequence or array of them,
            which are looked up on the host and cannot be traced.
        classes: the number of classes, or the classes themselves: strings, numbers, anything hashable.
        default: the class that stands for labels that are not among the classes. Without it such a label is an
            error, or a row of zeros where the labels are traced.
        dtype: of the result.

    Raises:
        RangeError: a label that is not among the classes, a default that is not, or no classes, or repeated ones.
        DtypeError: labels that are not integers where ``classes`` is a number.

    >>> one_hot(jnp.array([2, 0]), 3).tolist()
    [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    >>> one_hot(["cat", "emu"], ["cat", "dog", "other"], default="other").tolist()
    [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]

    Source: the indicator of the class.
    """
    if is_int(classes):
        if classes < 1:  # pyright: ignore[reportOperatorIssue]
            raise RangeError("at least 1 class", got=repr(classes), fix="give their number", where="one_hot")
        index, count = _in_range(labels, int(classes), default), int(classes)  # pyright: ignore[reportArgumentType]
    else:
        index, count = _look_up(labels, _class_list(classes, "one_hot"), default)
    return (jnp.asarray(index)[..., None] == np.arange(count)).astype(dtype)


@answering
def from_one_hot(y: jax.Array, classes: Sequence[Hashable] | None = None, *, axis: int = -1) -> Any:
    """Tell the class of the largest entry of each vector: the inverse of :func:`one_hot`.

    Formula: ``labels[...] = classes[argmax_c y[..., c]]``, the first of equal ones.

    Shapes: ``y`` (..., number of classes) → (...).

    Arguments:
        classes: what to return for each position, as a NumPy array (or one label for one vector), which cannot be
            traced; without it, int32 positions as a JAX array.
        axis: the axis of the classes.

    Raises:
        ShapeError: the axis is missing, or is not of one entry per class.
        RangeError: no classes, or repeated ones.

    >>> from_one_hot(jnp.array([[0.1, 0.9], [0.8, 0.2]])).tolist()
    [1, 0]
    >>> from_one_hot(jnp.array([[0.1, 0.9], [0.8, 0.2]]), ["cat", "dog"]).tolist()
    ['dog', 'cat']

    Source: the inverse of the indicator.
    """
    y = jnp.asarray(y)
    if not -y.ndim <= axis < y.ndim or y.shape[axis] == 0:
        raise ShapeError(
            f"at least one class along axis {axis}", got=describe(y), fix="give (..., classes)", where="from_one_hot"
        )
    index = jnp.argmax(y, axis).astype(jnp.int32)
    if classes is None:
        return index
    names = _class_list(classes, "from_one_hot")
    if len(names) != y.shape[axis]:
        raise ShapeError(
            f"{len(names)} entries along axis {axis}, one per class",
            got=describe(y),
            fix="give the classes that one_hot was given",
            where="from_one_hot",
        )
    table = np.empty(len(names), object)
    table[:] = names
    if all(type(name) is type(names[0]) and isinstance(name, (str, int, float, np.generic)) for name in names):
        table = np.asarray(names)
    chosen = table[np.asarray(index)]
    return chosen if index.ndim else chosen.item() if isinstance(chosen, np.generic) else chosen


def _in_range(labels: Any, count: int, default: Any) -> jax.Array:
    index = jnp.asarray(labels)
    if not jnp.issubdtype(index.dtype, jnp.integer):
        raise DtypeError(
            f"integer labels from 0 to {count - 1}",
            got=describe(index),
            fix="give the classes as a list to encode other labels",
            where="one_hot",
        )
    if default is not None:
        if not is_int(default) or not 0 <= default < count:
            raise RangeError(
                f"a default from 0 to {count - 1}", got=repr(default), fix="name one of the classes", where="one_hot"
            )
        return jnp.where((index >= 0) & (index < count), index, default)
    if not isinstance(index, Tracer):
        unknown = [int(v) for v in np.unique(np.asarray(index)) if not 0 <= v < count]
        if unknown:
            raise RangeError(
                f"labels from 0 to {count - 1}",
                got=f"{unknown[:5]}",
                fix="raise classes, or give a default",
                where="one_hot",
            )
    return index


def _class_list(classes: Any, where: str) -> list[Any]:
    if isinstance(classes, np.ndarray):
        classes = classes.tolist()
    names = list(classes) if isinstance(classes, (Sequence, range)) and not isinstance(classes, str) else []
    if not names or len(set(names)) != len(names):
        raise RangeError(
            "classes as a number or a sequence of different labels",
            got=repr(classes),
            fix="list each once",
            where=where,
        )
    return names


def _look_up(labels: Any, classes: list[Any], default: Any) -> tuple[np.ndarray, int]:
    """The position of each label among the classes, found on the host."""
    position = {name: i for i, name in enumerate(classes)}
    if default is not None and default not in position:
        raise RangeError(
            f"a default among the classes {classes[:5]}",
            got=repr(default),
            fix="add it to the classes",
            where="one_hot",
        )
    if isinstance(labels, Tracer):
        raise DtypeError(
            "concrete labels, since classes that are listed are looked up on the host",
            got=describe(labels),
            fix="encode outside the compiled function, or give the number of classes",
            where="one_hot",
        )
    if isinstance(labels, (np.ndarray, np.generic, jax.Array)):
        shape, flat = np.shape(labels), np.asarray(labels).ravel().tolist()
    elif isinstance(labels, (list, tuple)) and not (isinstance(labels, tuple) and labels in position):
        shape, flat = (len(labels),), labels
    else:
        shape, flat = (), [labels]
    fallback = None if default is None else position[default]
    found = [position.get(label, fallback) for label in flat]
    if None in found:
        raise RangeError(
            f"labels among the classes {classes[:5]}{' …' * (len(classes) > 5)}",
            got=repr(flat[found.index(None)]),
            fix="add it to the classes, or give a default",
            where="one_hot",
        )
    return np.array(found, np.int32).reshape(shape), len(classes)
