"""What else is in a bundle: the model itself, examples, statistics, the card."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from phlox.core import DtypeError, Module, StructureError
from phlox.interchange._card import card_of
from phlox.weights import CARD, MODEL, STATISTICS, Bundle, Example, save, write_examples


def write_rest(
    model: Module, bundle: Bundle, examples: Mapping[str, Sequence[Example]], statistics: Mapping[str, Any] | None
) -> list[str]:
    """Write everything but the formats' own files; gives what is to be said of it."""
    notes = []
    try:
        save(model, bundle.folder / MODEL)
    except (StructureError, DtypeError) as error:
        notes.append(f"without {MODEL}, which cannot hold {error.got}: the files cannot be made anew from the bundle")
    write_examples(bundle.folder, examples)
    if statistics is not None:
        text = json.dumps(dict(statistics), indent=1, allow_nan=False)
        (bundle.folder / STATISTICS).write_text(text + "\n", "utf-8")
    (bundle.folder / CARD).write_text(card_of(bundle), "utf-8")
    return notes
