"""Inputs of a request as arrays that a signature takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import ml_dtypes
import numpy as np

from phlox.core import OptionError, ShapeError, describe
from phlox.interchange import ready
from phlox.serving.engine._rows import batch_symbol
from phlox.serving.engine._servable import TEXT, Servable
from phlox.weights import BundleArray, Signature


class Usual:
    """The inputs of most requests: arrays of the right dtypes whose rows have the one form that there is.

    Arguments:
        told: the signature.
    """

    def __init__(self, told: Signature):
        tails = [x.shape[1:] for x in told.inputs]
        plain = all(isinstance(n, int) for tail in tails for n in tail) and not told.sizes
        kinds = [x.dtype for x in told.inputs]
        self._forms: list[Any] = []
        if batch_symbol(told) is not None and plain and TEXT not in kinds:
            dtypes = [np.dtype(getattr(ml_dtypes, kind, kind)) for kind in kinds]
            self._forms = list(zip((x.name for x in told.inputs), dtypes, tails, strict=True))

    def __call__(self, inputs: Mapping[str, Any]) -> dict[str, np.ndarray] | None:
        """The inputs in order; None where something is to be looked at more closely."""
        if len(inputs) != len(self._forms):
            return None
        found, rows = {}, None
        for name, dtype, tail in self._forms:
            x = inputs.get(name)
            if type(x) is not np.ndarray or x.dtype != dtype or x.ndim < 1 or x.shape[1:] != tail:
                return None
            if rows is not None and len(x) != rows:
                return None
            found[name], rows = x, len(x)
        return found


def taken(servable: Servable, signature: str, inputs: Mapping[str, Any], where: str) -> dict[str, np.ndarray]:
    """The inputs in a signature's order, checked, text as numbers where there is an encoder.

    Raises:
        OptionError: one too many or too few.
        DtypeError, ShapeError, RangeError: an array that the signature does not take.
    """
    told = servable.signatures[signature]
    texts = {x.name: x for x in told.inputs if x.dtype == TEXT}
    if not texts:
        found = ready(told, servable.encoders, (), inputs, where)
        return {x.name: np.asarray(y) for x, y in zip(told.inputs, found, strict=True)}
    rest = replace(told, inputs=tuple(x for x in told.inputs if x.name not in texts))
    numbers = {n: x for n, x in inputs.items() if n not in texts}
    if lacking := [n for n in texts if n not in inputs]:
        raise OptionError(f"text for {', '.join(texts)}", got=f"no {lacking[0]}", fix="pass it by name", where=where)
    made = dict(zip((x.name for x in rest.inputs), ready(rest, servable.encoders, (), numbers, where), strict=True))
    made |= {n: _text(x, inputs[n], where) for n, x in texts.items()}
    return {x.name: np.asarray(made[x.name]) for x in told.inputs}


def _text(told: BundleArray, value: Any, where: str) -> np.ndarray:
    found = np.asarray(value, object)
    shapes = zip(told.shape, found.shape, strict=False)
    if found.ndim != len(told.shape) or any(isinstance(n, int) and n != size for n, size in shapes):
        fix = "give text in lists of this form"
        raise ShapeError(f"{told}", got=f"text{list(found.shape)}", fix=fix, where=where)
    if odd := [x for x in found.reshape(-1) if not isinstance(x, str | bytes)]:
        raise OptionError(f"text for {told.name}", got=describe(odd[0]), fix="send strings", where=where)
    return found
