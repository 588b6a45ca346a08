"""A tree as one flat vector, and back without losing anything."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate, pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core._compat import Tracer
from phlox.core._errors import DtypeError, ShapeError, describe
from phlox.core.module._arrays import is_array
from phlox.core.module._module import Module
from phlox.core.module._plan import plan_of
from phlox.core.transforms._functionalize import SCALARS, is_module


def destructure(tree: Any) -> tuple[jax.Array, Callable[[jax.Array], Any]]:
    """A flat vector of a tree's numbers in their promoted dtype, and the function that puts them back.

    Of a Module, the vector holds the trainable arrays, what is shared once; of lists, tuples and dicts every array and
    number. Anything else stays as it is, State as it was when the tree was taken apart. The inverse is a pure
    function: it builds a new tree, holds no model, and refuses to lose anything but digits.

    Returns:
        ``(vector, restore)``: (numbers,), and a function from such a vector to a tree.

    Raises:
        ShapeError: ``restore`` gets a vector of another length.
        DtypeError: ``restore`` gets an imaginary part for a real array, or a fraction for an integer one, or a
            number beyond the range of the array's dtype. Inside a trace, where values are not known, such a number
            becomes NaN (the lowest integer).

    >>> import jax.numpy as jnp, phlox as px
    >>> vector, restore = px.destructure((jnp.array([1.0, 2.0]), abs, 3 + 4j))
    >>> vector.tolist()
    [(1+0j), (2+0j), (3+4j)]
    >>> restore(vector)[1:]
    (<built-in function abs>, (3+4j))
    """
    flat, treedef = jax.tree_util.tree_flatten(tree, is_leaf=is_module)
    modules = _Models([leaf for leaf in flat if isinstance(leaf, Module)])
    bare = [i for i, leaf in enumerate(flat) if is_array(leaf) or isinstance(leaf, SCALARS)]
    scalar = {i: type(flat[i]) for i in bare if isinstance(flat[i], SCALARS)}
    rest = [None if is_module(leaf) or i in bare else leaf for i, leaf in enumerate(flat)]
    places = [modules.at(leaf) if isinstance(leaf, Module) else None for leaf in flat]
    numbers = [jnp.asarray(x) for x in [*modules.take(), *(flat[i] for i in bare)]]
    dtype = jnp.result_type(*[x.dtype for x in numbers]) if numbers else jnp.float32
    vector = jnp.concatenate([x.reshape(-1).astype(dtype) for x in numbers]) if numbers else jnp.zeros(0)
    forms = [(x.shape, x.dtype) for x in numbers]
    ends = list(accumulate((x.size for x in numbers), initial=0))

    def restore(vector: jax.Array) -> Any:
        if vector.shape != (ends[-1],):
            raise ShapeError(
                f"a vector of {ends[-1]} numbers",
                got=describe(vector),
                fix="give restore a vector as long as the one that it came with",
                where="px.destructure",
            )
        cuts = zip(pairwise(ends), forms, strict=True)
        pieces = [_narrowed(vector[a:b], dtype).reshape(shape) for (a, b), (shape, dtype) in cuts]
        built = modules.built(pieces[: len(modules.index)])
        leaves = [value if place is None else built[place] for value, place in zip(rest, places, strict=True)]
        for i, piece in zip(bare, pieces[len(modules.index) :], strict=True):
            leaves[i] = scalar[i](piece.item()) if i in scalar and not isinstance(piece, Tracer) else piece
        return jax.tree_util.tree_unflatten(treedef, leaves)

    return vector, restore


class _Models:
    """The Modules of a tree, taken apart: what is trainable goes into the vector, the rest stays here."""

    def __init__(self, roots: list[Module]):
        unique = list({id(m): m for m in roots}.values())
        self.order = {id(m): n for n, m in enumerate(unique)}
        plan = plan_of(unique).check_read()
        self.structure = plan.structure
        self.others = plan.gather()
        self.index = [i for i, v in enumerate(self.others) if self.structure.is_trainable(i, v)]

    def take(self) -> list[Any]:
        """The trainable arrays, once; so the inverse keeps no weights alive."""
        taken = [self.others[i] for i in self.index]
        for i in self.index:
            self.others[i] = None
        return taken

    def at(self, module: Module) -> int:
        """Which of the built Modules stands for this one."""
        return self.structure.roots[self.order[id(module)]]

    def built(self, trainable: list[Any]) -> list[Module]:
        """Fresh Modules around these arrays, sharing kept."""
        leaves = list(self.others)
        for i, value in zip(self.index, trainable, strict=True):
            leaves[i] = value
        return self.structure.build(leaves)


def _narrowed(x: jax.Array, dtype: Any) -> jax.Array:
    """``x`` in a dtype that may be narrower, refused where that would lose something."""
    real = jnp.issubdtype(dtype, jnp.complexfloating) or not jnp.issubdtype(x.dtype, jnp.complexfloating)
    part = x if real else x.real
    whole = jnp.issubdtype(dtype, jnp.integer) or dtype == jnp.bool_
    new = jnp.round(part).astype(dtype) if whole and jnp.issubdtype(part.dtype, jnp.floating) else part.astype(dtype)
    lost = jnp.zeros(x.shape, bool) if real else x.imag != 0
    if whole:
        lost = lost | (new.astype(part.dtype) != part)
    elif jnp.finfo(dtype).max < jnp.finfo(x.dtype).max:
        lost = lost | (jnp.isfinite(part) & ~jnp.isfinite(new))
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
