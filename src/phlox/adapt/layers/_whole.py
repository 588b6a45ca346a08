"""A layer of which copies are trained whole, as new heads are beside an adapter."""

from __future__ import annotations

from typing import Any

import jax

from phlox.adapt.layers._adapted import Adapted
from phlox.core import Module, state_dict


class Trained(Module):
    """A copy of a layer that stands in its place while it is in use."""

    layer: Any
    kind = "whole"
    rank = None

    def __init__(self, layer: Any):
        self.layer = layer


class AdaptedWhole(Adapted):
    """A layer, and copies of it by name; the last one in use computes in its place."""

    opens = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._current()(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        """What the layer that computes has."""
        if name.startswith("_") or "layer" not in self.__dict__:
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}", name=name, obj=self)
        return getattr(self._current(), name)

    def _current(self) -> Any:
        return self.used[-1].layer if self.used else self.layer

    def current_arrays(self) -> dict[str, Any]:
        """The arrays of the layer that computes."""
        return state_dict(self._current())

    def changed_arrays(self) -> dict[str, jax.Array]:
        """None: a copy in use stands beside the layer, merged or not."""
        return {}

    def plain(self) -> Any:
        """The layer that computes."""
        return self._current()
