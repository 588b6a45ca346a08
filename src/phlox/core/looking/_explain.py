"""px.explain: what a function compiles to, what it costs, and why it was traced again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax

from phlox.core.looking._display import bytes_text
from phlox.core.module._module import Module
from phlox.core.transforms._bound import carried
from phlox.core.transforms._functionalize import functionalize
from phlox.core.transforms._jit import Jit
from phlox.core.transforms._names import name_of, pure_of


@dataclass(frozen=True)
class Explanation:
    """What ``px.explain`` found; printing it gives a summary."""

    name: str
    jaxpr: Any
    """The traced program."""
    flops: float | None
    """Floating-point operations of one call by the compiler's count, in which a loop's body counts once."""
    bytes_accessed: float | None
    """Bytes that one call reads and writes, by the compiler's count."""
    argument_bytes: int
    output_bytes: int
    temporary_bytes: int
    """Bytes that the call needs besides its arguments and results."""
    retraces: str
    """Each trace of a ``px.jit`` function, and what had changed since the one before."""

    def __str__(self) -> str:
        count = sum(1 for _ in self.jaxpr.eqns)
        flops = "unknown" if self.flops is None else f"{self.flops:_.0f}"
        moved = "unknown" if self.bytes_accessed is None else bytes_text(self.bytes_accessed)
        memory = (
            f"memory: {bytes_text(self.argument_bytes)} arguments, {bytes_text(self.output_bytes)} results, "
            f"{bytes_text(self.temporary_bytes)} temporaries"
        )
        head = f"{self.name}: {count} operations, {flops} FLOPs, {moved} read and written"
        return "\n".join([head, memory, self.retraces])


def explain(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Explanation:
    """Trace and compile a function for these arguments, without running it, and say what it costs.

    Arguments:
        fn: a function, a Module, or what ``px.jit`` made; of the last, retraces are told too.
        args, kwargs: what it would be called with; shapes alone will do.

    Raises:
        whatever tracing the function raises.

    >>> import jax.numpy as jnp, phlox as px
    >>> print(px.explain(px.Dense(4, 2), jnp.ones((8, 4))).flops >= 2 * 8 * 4 * 2)
    True
    """
    function, first, named = carried(fn)
    inner = function.fn if isinstance(function, Jit) else function
    call = functionalize(inner, (*first, *args), {**named, **kwargs}, kind="jit", scalars=True)
    traced = jax.jit(pure_of(call)).trace(call.leaves, call.bare)
    compiled = traced.lower().compile()
    cost = compiled.cost_analysis() or {}
    memory = compiled.memory_analysis()
    return Explanation(
        name=type(fn).__name__ if isinstance(fn, Module) else name_of(inner),
        jaxpr=traced.jaxpr,
        flops=cost.get("flops"),
        bytes_accessed=cost.get("bytes accessed"),
        argument_bytes=getattr(memory, "argument_size_in_bytes", 0),
        output_bytes=getattr(memory, "output_size_in_bytes", 0),
        temporary_bytes=getattr(memory, "temp_size_in_bytes", 0),
        retraces=function.retraces() if isinstance(function, Jit) else "not compiled by px.jit",
    )
