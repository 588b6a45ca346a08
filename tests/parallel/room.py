"""A px.fit that finds less memory than its step needs, so that it has to split the batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from phlox.loop import _training
from phlox.loop.preflight._fit import _Fitting
from phlox.loop.preflight._saving import Saving


@contextmanager
def room(share: float) -> Iterator[list[Saving]]:
    """Within the block fit finds room for this share of what one step needs; what it then chose."""
    seen: list[Saving] = []
    fits = _training.step_that_fits

    def less(memory: Any, step: Any, slots: int, *given: Any) -> tuple[Any, int]:
        del memory
        needs = _Fitting(step, 1, given[:3], given[3], None).found.total
        step, slots = fits(("auto", int(share * needs)), step, slots, *given)
        seen.append(step.saving)
        return step, slots

    _training.step_that_fits = less
    try:
        yield seen
    finally:
        _training.step_that_fits = fits
