"""A model as an engine computes with it: weights laid out as this machine multiplies them fastest."""

from __future__ import annotations

from typing import Any

from phlox.core import copy, paths
from phlox.loop import available_memory
from phlox.nn import optimize_for_inference


def prepared(model: Any, *, adapted: bool) -> Any:
    """A copy of a model by ``px.optimize_for_inference``; a copy as it is where nothing else serves.

    That is beside adapters, which change weights that lie as they were, and where memory has no room for weights of
    both kinds: what it was made of is there until its owner lets it go.

    Arguments:
        model: stays as it is.
        adapted: whether adapters are to be put in.
    """
    free = available_memory()
    short = free is not None and sum(array.nbytes for array in paths(model).values()) > free
    return copy(model) if adapted or short else optimize_for_inference(model, tell=None)
