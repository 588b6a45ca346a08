"""A Module inside a solver: a pure function of arrays, which draws what it drew before and writes nothing.

A solver calls its function as often as it likes, and again for the gradient, so each call must be the same function.
Keys that it draws with stay as they are while the solver runs, and move on once afterwards; any other State may only
be read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import (
    Module,
    Outcome,
    StateError,
    call_context,
    functionalize,
    is_key,
    paths,
    plan_of,
    tapped,
    write_arrays,
)

_KIND = "while_loop"  # of scopes in which what is captured may be read
_KEPT = 256  # looks that are remembered

_looks: dict[Any, tuple[Any, tuple[str, ...]]] = {}


class Inside:
    """``fn(owner, *inputs)`` as ``inside(arrays, *inputs)``; equal ones are one program to JAX.

    Where it is made, the function is looked at by shapes alone: there its errors name the way to a layer.

    Arguments:
        fn: reads no Module but the owner, and those among the inputs.
        owner: the layer that solves.
        inputs: what ``fn`` is called with later on, or arrays of that form. Modules among them stay what they are.

    Raises:
        StateError: ``fn`` writes State that is no key.
    """

    arrays: list[Any]
    bare: list[Any]
    gives: Any
    drawn: tuple[str, ...]

    def __init__(self, fn: Callable[..., Any], owner: Module, *inputs: Any):
        self._call = _taken_apart(fn, (owner, *inputs))
        self.key = (fn, self._call.static_key())
        self.arrays = self._call.leaves  # of all Modules
        self.bare = [jnp.asarray(v) for v in self._call.bare]  # among the inputs
        self.gives, self.drawn = self._looked(fn, owner, inputs)
        self._call.leaves, self._call.bare = [], []
        del self._call.plan  # it knows where the owner's arrays are, and would keep them alive

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Inside) and self.key == other.key

    def __call__(self, arrays: Sequence[Any], *inputs: Any) -> Any:
        with tapped(None, alone=True):  # what flows here has no value outside
            outcome = self._call.pure(arrays, jax.tree.leaves(inputs))
        return outcome.record.result.rebuild(outcome.outputs, lambda _: None)

    def move_keys(self, owner: Module) -> None:
        """Let the keys that were drawn with move on, once for the whole run of a solver."""
        held = paths(owner) if self.drawn else {}
        write_arrays(owner, {name: _next_key(held[name]) for name in self.drawn})

    def _looked(self, fn: Callable[..., Any], owner: Module, inputs: Any) -> tuple[Any, tuple[str, ...]]:
        key = (self.key, tuple(jax.typeof(v) for v in (*self.arrays, *self.bare)), call_context())
        if key not in _looks:
            call = _taken_apart(lambda *xs: fn(owner, *xs), inputs)
            outcome = jax.eval_shape(lambda *xs: call.pure(*xs), call.leaves, call.bare)
            _refuse_writes(call, outcome)
            if len(_looks) >= _KEPT:
                _looks.clear()
            _looks[key] = outcome.record.result.rebuild(outcome.outputs, lambda _: None), _drawn(owner, outcome)
        return _looks[key]


def _taken_apart(fn: Callable[..., Any], inputs: tuple[Any, ...]) -> Any:
    return functionalize(fn, inputs, {}, kind=_KIND, scalars=True, label="science")


@jax.jit
def _next_key(key: Any) -> Any:
    return jax.random.split(key)[0]


def _drawn(owner: Module, outcome: Outcome) -> tuple[str, ...]:
    """The keys of the owner's that the function drew with; raises where it wrote anything else."""
    plan = plan_of([owner])
    places = {
        (id(plan.module(m)), item): name
        for (m, item), name in zip(plan.structure.leaves, plan.structure.names(), strict=True)
    }
    names = []
    for (module, item), value in zip(outcome.record.captured, outcome.captured, strict=True):
        name = places.get((id(module), item), type(module).__name__)
        if not is_key(value):
            raise _written(name)
        names.append(name)
    return tuple(names)


def _refuse_writes(call: Any, outcome: Outcome) -> None:
    """Modules among the inputs, which nothing is written back to."""
    for i in outcome.record.written:
        raise _written(call.structure.names()[i])


def _written(name: str) -> StateError:
    return StateError(
        "a function that reads State and writes none, as a solver calls it often and at points of its choice",
        got=f"a write to {name}",
        fix="normalise by LayerNorm or GroupNorm, or pin what moves: px.testmode(layer)",
    )
