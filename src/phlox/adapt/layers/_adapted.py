"""A layer with its adapters."""

from __future__ import annotations

from typing import Any, ClassVar

import jax

from phlox.core import Module, State


class Adapted(Module):
    """A layer and its adapters by name; those in use change what it computes, the layer's own arrays never change.

    Attributes of the layer are read through it. What it computes with, adapters included, is its ``weight``.

    Arguments:
        layer: the layer.
    """

    layer: Any
    adapters: dict[str, Any]
    active: tuple[str, ...]
    """Names of those in use, among them some that other layers have."""
    opens: ClassVar[bool] = True
    """Whether layers within the layer can have adapters too."""
    merged: State | None  # by name, the arrays that the layer computes with while adapters are merged

    def __init__(self, layer: Any):
        self.layer = layer
        self.adapters = {}
        self.active = ()
        self.merged = None

    def __getattr__(self, name: str) -> Any:
        """What the layer has: its sizes, its activation."""
        if name.startswith("_") or "layer" not in self.__dict__:
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}", name=name, obj=self)
        return getattr(self.__dict__["layer"], name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    @property
    def used(self) -> list[Any]:
        """The adapters in use, in the order in which they came."""
        return [adapter for name, adapter in self.adapters.items() if name in self.active]

    @property
    def computing(self) -> list[Any]:
        """The adapters in use, while they are beside the weights."""
        return [] if self.merged is not None else self.used

    @property
    def weight(self) -> jax.Array:
        """The weight that the layer computes with, adapters in use included."""
        return self.current_arrays()["weight"]

    def current_arrays(self) -> dict[str, Any]:
        """The arrays that the layer computes with, by name."""
        if self.merged is not None or self.used:
            return self.changed_arrays() if self.merged is None else self.merged  # pyright: ignore[reportReturnType]
        return {name: getattr(self.layer, name) for name in ("weight", "bias") if hasattr(self.layer, name)}

    def changed_arrays(self) -> dict[str, jax.Array]:
        """The layer's arrays with the adapters in use computed in.

        Raises:
            StructureError: an adapter that is no change of arrays.
        """
        raise NotImplementedError

    def plain(self) -> Any:
        """The layer itself, which takes over what is merged."""
        for name, array in (self.merged or {}).items():
            setattr(self.layer, name, array)
        return self.layer

    def _brief(self) -> str:
        return f"{type(self).__name__}({self.layer._brief()})"
