"""Randomness: one seeded stream that constructors draw from, and keys that layers own and advance."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import _compat
from phlox.core._errors import StateError


class _Stream:
    """A root key and a count of what was drawn."""

    def __init__(self, root: Any):
        self.root, self.drawn = root, 0
        self.trace = _compat.trace_ref(_compat.current_trace())

    def draw(self) -> Any:
        if self.trace is not _compat.trace_ref(_compat.current_trace()):
            raise StateError(
                "no draw inside a traced function",
                got="one, which would give the same numbers at every call",
                fix="pass key= to the constructor, or open `with px.seed(key):` inside the function",
                where="the global stream of px.seed",
            )
        if not hasattr(self.root, "dtype"):
            self.root = jax.random.key(self.root)
        self.drawn += 1
        return _fold_in(self.root, self.drawn)


@jax.jit
def _fold_in(key: Any, count: Any) -> Any:
    return jax.random.fold_in(key, count)


_everywhere = [_Stream(secrets.randbits(31))]
_opened: ContextVar[tuple[_Stream, ...]] = ContextVar("px.seed", default=())  # by blocks of this thread and task


class seed:  # noqa: N801 - used like a function
    """Set the stream that constructors draw from, for the process or for a block.

    ``px.seed(0)`` sets it from here on; ``with px.seed(7): model = build()`` sets it for the block, in this
    thread and asyncio task, and restores what was before. Without a call the stream starts from the system's entropy.

    Arguments:
        value: an integer, or a typed JAX key.

    Raises:
        StateError: later, where a traced function draws from a stream opened outside it.

    >>> import phlox as px
    >>> with px.seed(7):
    ...     a = px.Dense(3, 2)
    >>> with px.seed(7):
    ...     b = px.Dense(3, 2)
    >>> bool((a.weight == b.weight).all())
    True
    """

    def __init__(self, value: Any):
        self._stream = _Stream(value)
        self._before = _everywhere[0]
        if _compat.eager():
            _everywhere[0] = self._stream

    def __enter__(self) -> seed:
        if _everywhere[0] is self._stream:
            _everywhere[0] = self._before
        _opened.set((*_opened.get(), self._stream))
        return self

    def __exit__(self, *exc: object) -> None:
        streams = _opened.get()
        last = len(streams) - 1 - streams[::-1].index(self._stream)  # blocks of generators may end in another order
        _opened.set((*streams[:last], *streams[last + 1 :]))


def draw_key() -> Any:
    """A fresh key from the stream in force here.

    Raises:
        StateError: inside a traced function that opened no stream of its own.
    """
    streams = _opened.get()
    return (streams[-1] if streams else _everywhere[0]).draw()


@contextmanager
def drawing_on() -> Iterator[None]:
    """Within the block, in a trace, constructors draw what they would draw outside it, and the stream goes on there.

    For a trace that runs once: what it draws is a constant of the program.
    """
    streams = _opened.get()
    outside = streams[-1] if streams else _everywhere[0]
    with seed(outside.root) as here:
        here._stream.drawn = outside.drawn
        yield
    outside.drawn = here._stream.drawn


def key_or_draw(key: Any = None) -> Any:
    """The key a constructor was given, as a typed key, else a fresh one from the stream."""
    if key is None:
        return draw_key()
    return typed_key(key)


def typed_key(key: Any) -> Any:
    """A typed key; integers are seeds, and legacy uint32 keys are wrapped."""
    if isinstance(key, int):
        return jax.random.key(key)
    if jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        return key
    return jax.random.wrap_key_data(key)


def is_key(x: Any) -> bool:
    """True for a typed PRNG key array."""
    return hasattr(x, "dtype") and jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


@jax.jit
def _advance(key: Any) -> tuple[Any, Any]:
    pair = jax.random.split(key)
    return pair[0], pair[1]


def advance(module: Any, name: str = "key") -> Any:
    """Advance the key that a Module owns as State, and return a fresh one to draw with."""
    kept, fresh = _advance(getattr(module, name))
    setattr(module, name, kept)
    return fresh
