"""What is said of an input: sizes or symbols, and a dtype."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import DtypeError, OptionError, RangeError, describe, is_key
from phlox.weights import BundleArray

_SYMBOL = re.compile(r"[a-zA-Z][a-zA-Z0-9_]*")
KEY = "key"
"""The dtype of a random key."""


class Spec:
    """An input of an exported model: its sizes, of which any may be a symbol, and its dtype.

    A symbol stands for a size that is known at the call: ``px.Spec("batch", 224, 224, 3)``. One name is one size,
    wherever it stands.

    Arguments:
        shape: sizes from 1, and names of sizes.
        dtype: as JAX and NumPy write it; ``"key"`` for a random key, then without sizes.
        below: what whole numbers stay below where examples are drawn, such as the size of a vocabulary.

    Raises:
        RangeError: a size below 1, or a name that is none.
        DtypeError: a dtype that JAX does not have, or has switched off.

    >>> import phlox as px
    >>> px.Spec("batch", "time", dtype="int32", below=50257)
    Spec('batch', 'time', dtype='int32', below=50257)
    """

    shape: tuple[int | str, ...]
    dtype: str
    below: int | None

    def __init__(self, *shape: int | str, dtype: Any = "float32", below: int | None = None):
        sizes: tuple[Any, ...] = tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
        self.dtype = _dtype_name(dtype)
        self.shape = () if self.dtype == KEY else tuple(_size(n) for n in sizes)
        self.below = below
        if self.dtype == KEY and sizes:
            raise RangeError("a key without sizes", got=repr(sizes), fix='write px.Spec(dtype="key")', where="px.Spec")
        if below is not None and (isinstance(below, bool) or not isinstance(below, int) or below < 1):
            fix = "give the number of words, classes or places that there are"
            raise RangeError("below as a whole number from 1", got=repr(below), fix=fix, where="px.Spec")

    def __repr__(self) -> str:
        more = "" if self.dtype == "float32" else f"dtype={self.dtype!r}"
        parts = [*map(repr, self.shape), more, "" if self.below is None else f"below={self.below}"]
        return f"Spec({', '.join(filter(None, parts))})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Spec) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((self.shape, self.dtype, self.below))

    def struct(self, symbols: Mapping[str, Any]) -> jax.ShapeDtypeStruct:
        """Shape and dtype, with these sizes in place of names; a key as its words."""
        if self.dtype == KEY:
            return jax.ShapeDtypeStruct((2,), jnp.uint32)
        shape = tuple(symbols[n] if isinstance(n, str) else n for n in self.shape)
        return jax.ShapeDtypeStruct(shape, jnp.dtype(self.dtype))

    def at(self, sizes: Mapping[str, int]) -> Spec:
        """The same with these sizes in place of names."""
        shape = [sizes.get(n, n) if isinstance(n, str) else n for n in self.shape]
        return Spec(*shape, dtype=self.dtype, below=self.below)

    def array(self, name: str) -> BundleArray:
        """As a bundle says it."""
        return BundleArray(name, self.shape, self.dtype, self.below)


def spec_of(value: Any, name: str, where: str) -> Spec:
    """A Spec as it is given; that of an array, whose sizes then stay.

    Raises:
        OptionError: something else.
    """
    if isinstance(value, Spec):
        return value
    if is_key(value):
        return Spec(dtype=KEY)
    if isinstance(value, (jax.Array, np.ndarray, jax.ShapeDtypeStruct)):
        return Spec(*value.shape, dtype=value.dtype)
    fix = f'say its sizes: inputs={{{name!r}: px.Spec("batch", 3)}}'
    raise OptionError(f"a px.Spec for the input {name!r}", got=describe(value), fix=fix, where=where)


def specs_of(inputs: Any, where: str) -> dict[str, Spec]:
    """The inputs of a signature by name.

    Raises:
        OptionError: they have no names, or one is no Spec.
    """
    if not isinstance(inputs, Mapping) or not inputs or not all(isinstance(name, str) for name in inputs):
        fix = 'name each input: inputs={"image": px.Spec("batch", 224, 224, 3)}'
        got = describe(inputs) if not isinstance(inputs, (Spec, Mapping)) else repr(inputs)[:100]
        raise OptionError("inputs as a dict from names to px.Spec", got=got, fix=fix, where=where)
    for name in inputs:
        if not _SYMBOL.fullmatch(name):
            fix = "use letters, digits and _"
            raise RangeError("an input's name to begin with a letter", got=repr(name), fix=fix, where=where)
    return {name: spec_of(value, name, where) for name, value in inputs.items()}


def _size(n: Any) -> int | str:
    if isinstance(n, str) and _SYMBOL.fullmatch(n):
        return n
    if isinstance(n, (int, np.integer)) and not isinstance(n, bool) and n >= 1:
        return int(n)
    fix = 'name a size that changes, as "batch"' if n is None or n == -1 else "use letters and digits for a name"
    raise RangeError("sizes from 1, and names of sizes", got=repr(n), fix=fix, where="px.Spec")


def _dtype_name(dtype: Any) -> str:
    if isinstance(dtype, str) and dtype == KEY:
        return KEY
    try:
        found = jnp.dtype(dtype)
    except TypeError as error:
        fix = 'write it as "float32", "int32", "bool"'
        raise DtypeError("a dtype", got=repr(dtype)[:100], fix=fix, where="px.Spec") from error
    if jax.dtypes.canonicalize_dtype(found) != found:
        raise DtypeError(
            "a dtype that JAX has switched on", got=found.name,
            fix='call jax.config.update("jax_enable_x64", True) before the first array is made', where="px.Spec",
        )  # fmt: skip
    return found.name
