"""A function as one of a single array, with all else that it is called with as further inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import (
    Differentiated,
    DtypeError,
    ShapeError,
    StateError,
    StructureError,
    describe,
    functionalize,
    numbers_as_arrays,
)
from phlox.nn import reference_forms

WHERE = "px.autodiff.derivative"


class ArrayFunction:
    """One call of a function, of which one argument is an array: ``value(x, leaves, bare)`` is pure.

    What it was called with, ``x``, ``leaves`` of Modules and other arrays, ``bare``, is in ``inputs``; of calls whose
    ``key`` is equal the first serves all.
    """

    inputs: tuple[jax.Array, list[Any], list[Any]]
    key: Any

    def __init__(self, fn: tuple[Any, Any, Any], args: Sequence[Any], argnum: int):
        inner, first, named = fn
        args = numbers_as_arrays(args, argnum)
        self._call = functionalize(
            inner, (*first, *args), named, kind="jacobian", scalars=True, label="autodiff.derivative"
        )
        wrt = Differentiated(self._call, args, argnum, first=first)
        chosen = args[argnum]
        if not hasattr(chosen, "dtype") or wrt.leaves:
            raise StructureError(
                "one array to differentiate",
                got=describe(chosen),
                fix="take px.destructure(model) for weights as a vector, or mode='forward' or 'reverse'",
                where=WHERE,
            )
        (self._at,) = wrt.bare
        bare = [jnp.asarray(v) for v in self._call.bare]
        self.inputs = bare[self._at], list(self._call.leaves), bare
        types = tuple((jnp.shape(v), str(v.dtype)) for v in (*self._call.leaves, *bare))
        self.key = self._call.static_key(), types

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array."""
        return self.inputs[0].shape

    def result(self) -> jax.ShapeDtypeStruct:
        """What the function gives.

        Raises:
            DtypeError: no floats.
        """
        with reference_forms():
            found = jax.eval_shape(self.value, *self.inputs)
        if not jnp.issubdtype(found.dtype, jnp.floating) or not jnp.issubdtype(self.inputs[0].dtype, jnp.floating):
            raise DtypeError(
                "a function of a real array that returns one",
                got=describe(found),
                fix="return floats of floats, or take mode='forward' or 'reverse'",
                where=WHERE,
            )
        return found

    def value(self, x: Any, leaves: list[Any], bare: list[Any]) -> Any:
        """The function, of arrays alone."""
        outcome = self._call.pure(leaves, [x if i == self._at else v for i, v in enumerate(bare)])
        record = outcome.record
        if record.written or record.captured:
            raise StateError(
                "a function that moves no State in this mode",
                got="one that does",
                fix="put its model in px.testmode, or take mode='forward' or 'reverse', which write State back",
                where=WHERE,
            )
        kinds = [kind for kind, _ in record.result.leaves]
        if kinds != ["array"]:
            raise ShapeError(
                "a function that returns one array in this mode",
                got=f"{len(kinds)} values" if len(kinds) != 1 else "a value that is none",
                fix="return one, or take mode='forward' or 'reverse'",
                where=WHERE,
            )
        return jnp.asarray(outcome.outputs[0])
