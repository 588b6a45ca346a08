"""The classes of a classifier: whole numbers, or words."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from phlox.interchange.onnx_reading._call import Call
from phlox.interchange.onnx_reading._known import canonical
from phlox.interchange.onnx_reading._words import Words

ML = "ai.onnx.ml"
ANEW = "the file is damaged; write it anew"


def number_of_classes(call: Call) -> int:
    """How many classes a classifier says that it has."""
    return len(_whole(call) or call.get("classlabels_strings") or ())


def class_at(call: Call, places: Any) -> Any:
    """The classes at these places of the classifier's list: whole numbers, or words."""
    words, whole = call.get("classlabels_strings"), _whole(call)
    if words:
        return Words(places, tuple(words))
    return places.astype(canonical(np.int64)) if not whole else jnp.asarray(whole, canonical(np.int64))[places]


def _whole(call: Call) -> list[int] | None:
    return call.get("classlabels_ints") or call.get("classlabels_int64s")
