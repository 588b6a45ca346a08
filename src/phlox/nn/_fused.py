"""Layers line by line at a bearable cost: the arithmetic of a forward pass as one compiled call."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax

from phlox.core import python_control_flow
from phlox.nn.functional import identity

R = TypeVar("R")


def fused(*static: str) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """Compile ``fn(act, *arrays, **static)`` as one call when it runs eagerly; inside a jaxpr it stays plain.

    Eager JAX pays tens of microseconds for every operation, and hundreds under a gradient. A layer's
    arithmetic is one compiled call instead; what a debugger steps through are layers and user code.
    An activation of the user's own (which may close over arrays, or be a Module) runs after it.
    """

    def decorate(fn: Callable[..., R]) -> Callable[..., R]:
        @functools.cache  # made at the first eager call: fifty of them would be a tenth of ``import phlox``
        def compiled() -> Callable[..., R]:
            return jax.jit(fn, static_argnums=0, static_argnames=static)

        @functools.wraps(fn)
        def forward(act: Any, *arrays: Any, **options: Any) -> Any:
            if not python_control_flow():
                return fn(act, *arrays, **options)
            if _is_library_function(act):
                return compiled()(act, *arrays, **options)
            return act(compiled()(identity, *arrays, **options))

        return forward

    return decorate


def _is_library_function(act: Any) -> bool:
    return getattr(act, "__module__", "").startswith(("phlox.nn", "jax.")) and hasattr(act, "__name__")
