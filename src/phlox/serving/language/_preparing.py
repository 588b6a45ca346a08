"""Models as an engine computes with them: weights laid out as this machine multiplies them fastest, and adapters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from phlox import adapt
from phlox.core import Module, OptionError, copy, describe, paths
from phlox.loop import available_memory
from phlox.nn import optimize_for_inference
from phlox.serving.language._memory import WHERE


def models_of(model: Any, adapters: Mapping[str, Any]) -> dict[str | None, Any]:
    """A copy of a model, and one with each adapter in use, by its name.

    Weights are laid out by ``px.optimize_for_inference``; not beside adapters, which change weights that lie as they
    were, and not where memory has no room for both kinds: what a model is made of is there until its owner lets it go.

    Raises:
        OptionError: an adapter that is another model.
    """
    free = available_memory()
    short = free is not None and sum(array.nbytes for array in paths(model).values()) > free
    own = copy(model) if adapters or short else optimize_for_inference(model, tell=None)
    return {None: own, **dict(_adapted(own, adapters))}


def _adapted(model: Any, adapters: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The model with each adapter in use. All have one name within, so that equal ones share programs."""
    for name, source in adapters.items():
        if isinstance(source, Module) and type(source) is not type(model):
            fix = "pass a folder of PEFT's format, or this model with an adapter in use"
            raise OptionError(f"{type(model).__name__} with an adapter", got=describe(source), fix=fix, where=WHERE)
        yield name, copy(source) if isinstance(source, Module) else adapt.load(copy(model), source)
