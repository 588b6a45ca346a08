"""A model asked about a batch: its answer, and what its parts gave on the way."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

from phlox.compress.calibration._watching import Forward
from phlox.core import Module, capture, disguised, in_disguise, jit, modules, tapped
from phlox.nn import MultiHeadAttention

_MODEL = "model"


@jit
def answer(model: Module, forward: Forward, batch: Any) -> Any:
    """What a model says to a batch; compiled."""
    return forward(model, batch)


def heard(
    model: Module, forward: Forward, batch: Any, only: Collection[str] | None = None, maps: Collection[str] = ()
) -> dict[str, Any]:
    """What each part of a model gives, by path, as ``px.capture`` has it; its answer has the path "".

    Arguments:
        only: paths of those that are wanted; None for all.
        maps: paths among them of attention, whose result then is ``WithMap``.
    """
    asked = _Asked(model, forward, tuple(maps))
    wanted = None if only is None else {"", *(f"{_MODEL}.{path}" if path else _MODEL for path in only)}
    found = capture(asked, batch, only=None if wanted is None else lambda path, _: path in wanted)
    parts = {path.removeprefix(f"{_MODEL}."): y for path, y in found.items() if path.startswith(f"{_MODEL}.")}
    return parts | {"": found[""]}


class WithMap(NamedTuple):
    """What attention gives, and the weights by which it did."""

    result: Any
    weights: Any  # (batch, heads, queries, keys)


class _AskedFor(WithMap):
    """The same where the model asked for the weights itself."""


class _Asked(Module):
    """A model that is called as its user says, so that all of it can be listened to."""

    model: Module
    forward: Forward
    maps: tuple[str, ...]

    def __init__(self, model: Module, forward: Forward, maps: tuple[str, ...]):
        self.model, self.forward, self.maps = model, forward, maps

    def __call__(self, batch: Any) -> Any:
        if not self.maps:
            return self.forward(self.model, batch)
        parts = modules(self.model)
        telling = {id(parts[path]) for path in self.maps}
        with (
            in_disguise(self.model, lambda _, part: disguised(type(part), _told) if id(part) in telling else None),
            tapped(lambda _, y: _plain(y)),  # once those outside have heard it
        ):
            return self.forward(self.model, batch)


def _told(call: Any, self: MultiHeadAttention, *args: Any, return_weights: bool = False, **options: Any) -> WithMap:
    kind = _AskedFor if return_weights else WithMap
    return kind(*call(self, *args, return_weights=True, **options))


def _plain(y: Any) -> Any:
    """What the model gets of what was heard."""
    if isinstance(y, _AskedFor):
        return tuple(y)
    return y.result if isinstance(y, WithMap) else y
