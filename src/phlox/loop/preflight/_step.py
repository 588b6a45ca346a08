"""The memory of one call: compiled ahead of time from shapes alone, each layer's share told apart."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import Ahead, Module, PhloxError, computations, disguised, is_key, remat
from phlox.loop.preflight._kept import MARK, kept
from phlox.loop.preflight._report import Memory, MemoryRow
from phlox.loop.preflight._room import available_memory
from phlox.loop.preflight._workspace import workspace
from phlox.optim import Optimizer


def measured(
    fn: Callable[..., Any],
    args: Sequence[Any],
    kwargs: dict[str, Any],
    limit: int | None = None,
    again: Collection[str] = (),
) -> Memory:
    """The ``Memory`` of one call; of the Modules at the paths ``again``, activations are computed again."""
    marked = Marked(fn, args, kwargs, again)
    ahead = marked.ahead
    if limit is None:
        limit = _limit_on(_device_of(ahead.compiled), [*ahead.leaves, *ahead.bare])
    return marked.memory(limit)


class Marked:
    """One call compiled ahead of time, in whose program each operation has the mark of its layer.

    Arguments:
        fn, args, kwargs: what is called with what; shapes alone will do.
        again: paths of the Modules whose activations are computed again.
    """

    ahead: Ahead
    layers: list[str]

    def __init__(
        self, fn: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any], again: Collection[str] = ()
    ):
        layers: list[str] = []

        def disguise(path: str, module: Module) -> type[Module] | None:
            if not any("__call__" in c.__dict__ for c in type(module).__mro__) or isinstance(module, Optimizer):
                return None
            module._layer = len(layers)
            layers.append(path)
            return disguised(type(module), _scoped_again if path in again else _scoped)

        self.ahead, self.layers = Ahead(fn, args, kwargs, disguise), layers

    def held(self) -> int:
        """Bytes of its arguments on one device, known before anything is compiled."""
        return sum(map(nbytes, (*self.ahead.leaves, *self.ahead.bare)))

    def memory(self, limit: int | None) -> Memory:
        """What the compiler tells that it needs."""
        ahead = self.ahead
        needs = ahead.compiled.memory_analysis()
        if needs is None:
            raise PhloxError("a compiler that tells how much memory a program needs", got="none", where="px.memory")
        device, program = _device_of(ahead.compiled), computations(ahead.compiled.as_text() or "")
        found = kept(program)
        temporary = needs.temp_size_in_bytes + needs.generated_code_size_in_bytes
        activations = min(temporary, sum(found.values()))
        parameters, state, optimizer = _held(ahead)
        return Memory(
            parameters=sum(parameters.values()),
            state=sum(state.values()),
            optimizer=optimizer,
            inputs=sum(map(nbytes, ahead.bare)),
            activations=activations,
            temporaries=temporary - activations + (workspace(program) if device.platform == "cpu" else 0),
            outputs=max(0, needs.output_size_in_bytes - needs.alias_size_in_bytes),
            limit=limit,
            device=f"{device.platform}:{device.id}",
            name=ahead.name,
            rows=_rows(ahead, self.layers, parameters, state, found),
        )


def _scoped(call: Callable[..., Any], self: Any, *args: Any, **kwargs: Any) -> Any:
    with jax.named_scope(f"{MARK}{self._layer}"):
        return call(self, *args, **kwargs)


def _scoped_again(call: Callable[..., Any], self: Any, *args: Any, **kwargs: Any) -> Any:
    with jax.named_scope(f"{MARK}{self._layer}"):
        return remat(call)(self, *args, **kwargs)


def nbytes(x: Any) -> int:
    """Bytes of an array on one device; a Python number is a scalar."""
    if is_key(x):
        return 8 * math.prod(x.shape)
    sharding = getattr(x, "sharding", None)
    shape = jnp.shape(x) if sharding is None else sharding.shard_shape(x.shape)
    return math.prod(shape) * jnp.result_type(x).itemsize


def _held(ahead: Ahead) -> tuple[dict[int, int], dict[int, int], int]:
    """Bytes of parameters and of State by Module, and of all optimisers together."""
    structure = ahead.structure
    optimizers = structure.modules_below(
        m for m, (layout, _) in enumerate(structure.nodes) if issubclass(layout.cls, Optimizer)
    )
    parameters: dict[int, int] = {}
    state: dict[int, int] = {}
    optimizer = 0
    for i, ((m, _), value) in enumerate(zip(structure.leaves, ahead.leaves, strict=True)):
        if m in optimizers:
            optimizer += nbytes(value)
        else:
            floating = jnp.issubdtype(value.dtype, jnp.inexact) and not structure.is_state(i)
            where = parameters if floating else state
            where[m] = where.get(m, 0) + nbytes(value)
    return parameters, state, optimizer


def _rows(
    ahead: Ahead,
    layers: list[str],
    parameters: dict[int, int],
    state: dict[int, int],
    found: dict[int | None, int],
) -> tuple[MemoryRow, ...]:
    number = {path: i for i, path in enumerate(layers)}
    rows = [
        MemoryRow(path, module._brief(), parameters.get(m, 0), state.get(m, 0), found.get(number.get(path, -1), 0))
        for m, (path, module) in enumerate(ahead.modules.items())
    ]
    if None in found:
        rows.append(MemoryRow("(outside all layers)", "", 0, 0, found[None]))
    return tuple(r for r in rows if r.path in number or r.parameters or r.state or r.activations)


def _device_of(compiled: Any) -> Any:
    """The first device of this process that a compiled program runs on."""
    shardings = jax.tree.leaves((compiled.input_shardings, compiled.output_shardings))
    devices = [d for s in shardings for d in s.device_set if d.process_index == jax.process_index()]
    return min(devices, key=lambda d: d.id, default=None) or jax.local_devices()[0]


def _limit_on(device: Any, arrays: Sequence[Any]) -> int | None:
    """What is free on a device, and what these arrays take of it already."""
    free = available_memory(device)
    there = {id(x): nbytes(x) for x in arrays if isinstance(x, jax.Array) and device in x.devices()}
    return None if free is None else free + sum(there.values())
