"""A tree as one flat vector, and back without losing anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core._compat import Tracer
from phlox.core._errors import DtypeError, ShapeError, describe
from phlox.core._functionalize import SCALARS, is_module
from phlox.core._layout import is_array
from phlox.core._pure import merge, split


def destructure(tree: Any) -> tuple[jax.Array, Callable[[jax.Array], Any]]:
    """A flat vector of a tree's numbers in their promoted dtype, and the function that puts them back.

    Of a Module, the vector holds the trainable arrays, what is shared once; of lists, tuples and dicts every array and
    number. Anything else stays as it is. The inverse builds a new tree and refuses to lose anything.

    Returns:
        ``(vector, restore)``: (numbers,), and a function from such a vector to a tree.

    Raises:
        ShapeError: ``restore`` gets a vector of another length.
        DtypeError: ``restore`` gets an imaginary part for a real array, or a fraction for an integer one. Inside a
            trace, where values are not known, such a number becomes NaN (the lowest integer).

    >>> import jax.numpy as jnp, phlox as px
    >>> vector, restore = px.destructure((jnp.array([1.0, 2.0]), abs, 3 + 4j))
    >>> vector.tolist()
    [(1+0j), (2+0j), (3+4j)]
    >>> restore(vector)[1:]
    (<built-in function abs>, (3+4j))
    """
    flat, treedef = jax.tree_util.tree_flatten(tree, is_leaf=is_module)
    parts: list[list[Any]] = [_numbers(leaf) for leaf in flat]
    numbers = [jnp.asarray(x) for part in parts for x in part]
    dtype = jnp.result_type(*[x.dtype for x in numbers]) if numbers else jnp.float32
    vector = jnp.concatenate([x.reshape(-1).astype(dtype) for x in numbers]) if numbers else jnp.zeros(0)

    def restore(vector: jax.Array) -> Any:
        if vector.shape != (sum(x.size for x in numbers),):
            raise ShapeError(
                f"a vector of {sum(x.size for x in numbers)} numbers",
                got=describe(vector),
                fix="give restore a vector as long as the one that it came with",
                where="px.destructure",
            )
        pieces, at = [], 0
        for x in numbers:
            pieces.append(_narrowed(vector[at : at + x.size], x.dtype).reshape(x.shape))
            at += x.size
        rest = iter(pieces)
        leaves = [_put_back(leaf, [next(rest) for _ in part]) for leaf, part in zip(flat, parts, strict=True)]
        return jax.tree_util.tree_unflatten(treedef, leaves)

    return vector, restore


def _numbers(leaf: Any) -> list[Any]:
    if is_module(leaf):
        return list(split(leaf)[0].values())
    return [leaf] if is_array(leaf) or isinstance(leaf, SCALARS) else []


def _put_back(leaf: Any, pieces: list[Any]) -> Any:
    if is_module(leaf):
        params, state = split(leaf)
        return merge(leaf, dict(zip(params, pieces, strict=True)), state)
    if not pieces:
        return leaf
    if isinstance(leaf, SCALARS) and not isinstance(pieces[0], Tracer):
        return type(leaf)(pieces[0].item())
    return pieces[0]


def _narrowed(x: jax.Array, dtype: Any) -> jax.Array:
    """``x`` in a dtype that may be narrower, refused where that would lose something."""
    real = jnp.issubdtype(dtype, jnp.complexfloating) or not jnp.issubdtype(x.dtype, jnp.complexfloating)
    part = x if real else x.real
    whole = jnp.issubdtype(dtype, jnp.integer) or dtype == jnp.bool_
    new = jnp.round(part).astype(dtype) if whole and jnp.issubdtype(part.dtype, jnp.floating) else part.astype(dtype)
    lost = jnp.zeros(x.shape, bool) if real else x.imag != 0
    if whole:
        lost = lost | (new.astype(part.dtype) != part)
    if isinstance(lost, Tracer):
        poison = (jnp.iinfo(dtype).min if dtype != jnp.bool_ else False) if whole else jnp.nan
        return jnp.where(lost, jnp.asarray(poison, dtype), new)
    if bool(np.any(lost)):
        value = x[int(np.argmax(lost))]
        raise DtypeError(
            f"numbers that fit {jnp.dtype(dtype)} without loss",
            got=f"{value.item()}",
            fix="destructure a tree of the wider dtype, or round or take the real part yourself",
            where="px.destructure",
        )
    return new
