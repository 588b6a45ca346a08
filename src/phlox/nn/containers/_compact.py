"""Small models written inline: parts by keyword, and a function that uses them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from phlox.core import Module, RangeError, State, describe


class Compact(Module):
    """What ``px.compact`` makes: its parts are attributes, and its function computes with them."""

    state: dict[str, State]  # arrays that the function moves and no gradient reaches

    def __init__(self, forward: Callable[..., Any], state: dict[str, Any] | None, parts: dict[str, Any]):
        self.forward = forward
        for name, part in parts.items():
            setattr(self, name, part)
        if state is not None:
            self.state = dict(state)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.forward(self, *args, **kwargs)

    def _brief(self) -> str:
        parts = [n for n in self.__dict__ if n != "forward"]
        return f"compact({getattr(self.forward, '__name__', 'function')}, {', '.join(parts)})"


def compact(forward: Callable[..., Any], /, *, state: dict[str, Any] | None = None, **parts: Any) -> Compact:
    """Make a small model inline, from layers, arrays and numbers by keyword and a function that uses them.

    The function's first argument is the model, the others are what the model is called with. Parts are ordinary
    attributes: Modules are submodules, floating arrays parameters, anything else is static.

    Arguments:
        forward: computes the output, ``forward(self, x, …)``; a named function also pickles.
        state: floating arrays by name that no gradient reaches; the function reads and writes ``self.state[name]``.
        parts: what ``self`` holds, by name.

    Raises:
        RangeError: a ``forward`` that cannot be called, or a name that a Module needs for itself.

    >>> import jax.numpy as jnp, phlox as px
    >>> model = px.nn.compact(lambda self, x: self.scale * self.inner(x),
    ...     inner=px.Dense(2, 3, px.tanh), scale=jnp.ones(3))
    >>> model(jnp.ones((5, 2))).shape, list(px.split(model)[0])
    ((5, 3), ['scale', 'inner.weight', 'inner.bias'])
    """
    if not callable(forward) or isinstance(forward, Module):
        raise RangeError(
            "a function of the model and its inputs first",
            got=describe(forward),
            fix="write px.compact(lambda self, x: …, name=part)",
            where="px.compact",
        )
    for name in parts:
        if name.startswith("_") or hasattr(Compact, name) or name == "forward":
            raise RangeError(
                "names that a Module does not use itself", got=repr(name), fix="choose another", where="px.compact"
            )
    return Compact(forward, state, parts)
