"""Trees of arrays whose leading axis is rows: copies of rows, and the leaves that have gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def is_floating(x: Any) -> bool:
    """Whether an array has gradients."""
    return jnp.issubdtype(x.dtype, jnp.floating)


def any_floating(tree: Any) -> bool:
    """Whether some leaf has gradients."""
    return any(map(is_floating, jax.tree.leaves(tree)))


def on_floating(fn: Callable[..., Any], tree: Any, *others: Any) -> Any:
    """A function on the floating leaves; the others stay as they are in the first tree."""
    return jax.tree.map(lambda x, *rest: fn(x, *rest) if is_floating(x) else x, tree, *others)


def or_zeros(fn: Callable[..., Any], tree: Any, *others: Any) -> Any:
    """A function on the floating leaves; zeros for the others."""
    return jax.tree.map(lambda x, *rest: fn(x, *rest) if is_floating(x) else jnp.zeros(x.shape), tree, *others)


def tiled(tree: Any, copies: int) -> Any:
    """(rows, …) → (copies · rows, …), one copy of all rows after the other."""
    return jax.tree.map(lambda x: jnp.broadcast_to(x, (copies, *x.shape)).reshape(-1, *x.shape[1:]), tree)


def folded(tree: Any) -> Any:
    """(copies, rows, …) → (copies · rows, …)."""
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), tree)


def unfolded(tree: Any, copies: int) -> Any:
    """(copies · rows, …) → (copies, rows, …)."""
    return jax.tree.map(lambda x: x.reshape(copies, -1, *x.shape[1:]), tree)


def taken(tree: Any, rows: Any, axis: int = 0) -> Any:
    """Some rows of each leaf; a leaf that has one for all, or none, keeps it."""
    return jax.tree.map(lambda x: x if x.ndim <= axis or x.shape[axis] == 1 else jnp.take(x, rows, axis), tree)


def along(scale: Any, x: Any) -> Any:
    """An array of leading axes with as many behind as another has."""
    return scale.reshape(*scale.shape, *[1] * (x.ndim - scale.ndim))


def row_sums(tree: Any) -> Any:
    """(rows,) the sum of each row over all leaves."""
    return sum(jnp.sum(x.reshape(x.shape[0], -1), 1) for x in jax.tree.leaves(tree))
