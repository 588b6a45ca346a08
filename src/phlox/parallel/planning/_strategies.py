"""Which strategies a plan tries where none are named, and strategies as text."""

from __future__ import annotations

import re
from collections.abc import Callable

from phlox.core import Module, RangeError, modules
from phlox.nn import RepeatedLayer
from phlox.parallel._strategy import Strategy
from phlox.parallel.planning._topology import Topology
from phlox.parallel.strategies._data_parallel import DataParallel
from phlox.parallel.strategies._expert_parallel import expert_parallel
from phlox.parallel.strategies._fsdp import fsdp
from phlox.parallel.strategies._tensor_parallel import tensor_parallel

_DEGREES = (2, 4, 8)  # of tensor parallelism
_WITHOUT, _WITH = (None,), (None, "dots_without_batch", True)
_BY_NAME: dict[str, Callable[[int], Strategy]] = {
    "data_parallel": DataParallel,
    "expert_parallel": expert_parallel,
    "fsdp": fsdp,
    "tensor_parallel": tensor_parallel,
}


def strategies_for(topology: Topology) -> list[Strategy]:
    """Data parallelism, fsdp, and fsdp or data parallelism with tensor parallelism of several degrees."""
    count, near = topology.count, topology.chip.group
    found: list[Strategy] = [DataParallel(count)]
    if count > 1:
        found.append(fsdp(count))
    if near < count and count % near == 0 and near > 1:  # parts within a group, whose copies are summed beyond it
        found.append(fsdp(near) * DataParallel(count // near))
    for degree in _DEGREES:
        if degree < count and count % degree == 0:
            found.append(fsdp(count // degree) * tensor_parallel(degree))
    if count in _DEGREES:
        found.append(tensor_parallel(count))
    return found


def policies_for(model: Module) -> tuple[str | bool | None, ...]:
    """What to try of recomputing: as the model is, then more and more, where it has repeated layers."""
    repeated = [m for m in modules(model).values() if isinstance(m, RepeatedLayer)]
    if not repeated or all(m.remat is True for m in repeated):
        return _WITHOUT
    return _WITH if not any(m.remat for m in repeated) else (None, True)


def with_policy(model: Module, policy: str | bool | None) -> Module:
    """The same model, its repeated layers computed again so, with False not at all; None leaves them as they are."""
    for layer in modules(model).values():
        if isinstance(layer, RepeatedLayer) and policy is not None:
            layer.remat = policy
    return model


def strategy_of(text: str, where: str) -> Strategy:
    """A strategy as it prints: ``"fsdp(8) * tensor_parallel(4)"``; a name without a number takes what is left.

    Raises:
        RangeError: a text that is none.

    >>> strategy_of("fsdp*tensor_parallel(4)", "")
    fsdp() * tensor_parallel(4)
    """
    product: Strategy | None = None
    for part in text.split("*"):
        found = re.fullmatch(r"\s*(\w+?)\s*(?:\(\s*(-?\d*)\s*\))?\s*", part)
        make = _BY_NAME.get(found[1]) if found else None
        if found is None or make is None:
            fix = f"write names of {', '.join(_BY_NAME)}, with * between: fsdp(8)*tensor_parallel(4)"
            raise RangeError("a strategy", got=repr(text), fix=fix, where=where)
        one = make(int(found[2]) if found[2] else -1)
        product = one if product is None else product * one
    assert product is not None
    return product
