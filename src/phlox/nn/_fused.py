"""Layers line by line at a bearable cost: the arithmetic of a forward pass as one compiled call."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

import jax

from phlox.core import python_control_flow
from phlox.nn.functional import identity

P = ParamSpec("P")
R = TypeVar("R")


def fused(*static: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Compile ``fn(act, *arrays, **static)`` as one call when it runs eagerly; inside a jaxpr it stays plain.

    Eager JAX pays tens of microseconds for every operation, and hundreds under a gradient. A layer's
    arithmetic is one compiled call instead; what a debugger steps through are layers and user code.
    An activation of the user's own (which may close over arrays, or be a Module) runs after it.
    """

    def decorate(given: Callable[P, R]) -> Callable[P, R]:
        fn = cast("Callable[..., Any]", given)

        @functools.cache  # made at the first eager call: fifty of them would be a tenth of ``import phlox``
        def compiled() -> Callable[..., Any]:
            return jax.jit(fn, static_argnums=0, static_argnames=static)

        @functools.wraps(fn)
        def forward(act: Any, *arrays: Any, **options: Any) -> Any:
            if not python_control_flow():
                return fn(act, *arrays, **options)
            if _is_library_function(act):
                return compiled()(act, *arrays, **options)
            return act(compiled()(identity, *arrays, **options))

        return cast("Callable[P, R]", forward)

    return decorate


def _is_library_function(act: Any) -> bool:
    return getattr(act, "__module__", "").startswith(("phlox.nn", "jax.")) and hasattr(act, "__name__")
