"""Vector fields as Diffrax calls them: equal ones are one program, and their arrays come in as arguments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import Module, ShapeError, describe
from phlox.science._inside import Inside
from phlox.science._peers import diffrax

_NUMBERS: Any = (jax.Array, np.ndarray, np.generic, bool, int, float, complex)
Arguments = tuple[list[Any], list[Any]]  # the arrays of Modules, and those among the user's arguments


@dataclass(frozen=True)
class Slope:
    """A function of time and state, as ``diffrax.ODETerm`` calls it."""

    inside: Inside

    def __call__(self, t: Any, y: Any, args: Arguments) -> Any:
        """The slope at one time and state."""
        return self.inside(args[0], t, y, args[1])


@dataclass(frozen=True)
class Stops:
    """A function of time and state, as ``diffrax.Event`` calls it, with settings that it does not need."""

    inside: Inside

    def __call__(self, t: Any, y: Any, args: Arguments, **_: Any) -> Any:
        """What ends a solve where it changes its sign, or becomes true."""
        return self.inside(args[0], t, y, args[1])


def asked(fn: Callable[..., Any], time: bool, t: Any, y: Any, args: Any) -> Any:
    """A user's function of the state, with the time before it and arguments behind it where there are any."""
    given = (t, y) if time else (y,)
    return fn(*given) if args is None else fn(*given, args)


def terms(slope: Inside) -> Any:
    """An ordinary differential equation of Diffrax's."""
    return diffrax().ODETerm(Slope(slope))


def arrays_among(args: Any) -> list[Any]:
    """The arrays and numbers among a user's arguments, those of Modules left out."""
    leaves = jax.tree.leaves(args, is_leaf=_is_module)
    return [jnp.asarray(v) for v in leaves if not _is_module(v) and isinstance(v, _NUMBERS)]


def one_of(tree: Any) -> Any:
    """The first example of a batch; Modules are one for all.

    Raises:
        ShapeError: a number or array without a batch axis.
    """

    def first(v: Any) -> Any:
        if _is_module(v) or not isinstance(v, _NUMBERS):
            return v
        if jnp.ndim(v) == 0:
            fix = "repeat it for each example: jnp.full((batch,), value)"
            raise ShapeError(
                "args whose arrays are (batch, ...), as each example is solved alone", got=describe(v), fix=fix
            )
        return v[0]

    return jax.tree.map(first, tree, is_leaf=_is_module)


def with_batch(tree: Any) -> Any:
    """One example as a batch of one; Modules are what they are."""
    add = lambda v: v[None] if isinstance(v, _NUMBERS) else v  # noqa: E731
    return jax.tree.map(lambda v: v if _is_module(v) else add(v), tree, is_leaf=_is_module)


def _is_module(v: Any) -> bool:
    return isinstance(v, Module)


def named(part: Any) -> str:
    """A field or a solver on one line."""
    if isinstance(part, Module):
        return part._brief()
    return repr(part) if isinstance(part, str) else getattr(part, "__name__", type(part).__name__)
