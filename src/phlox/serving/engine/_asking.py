"""Inputs of a request as arrays that a signature takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from phlox.core import OptionError, ShapeError, describe
from phlox.interchange import ready
from phlox.serving.engine._servable import TEXT, Servable
from phlox.weights import BundleArray


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
