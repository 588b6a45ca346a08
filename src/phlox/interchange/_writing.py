"""What else is in a bundle: the model itself, examples, statistics, the card."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from phlox.core import DtypeError, Module, StructureError
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
    (bundle.folder / CARD).write_text(_card(bundle), "utf-8")
    return notes


def _card(bundle: Bundle) -> str:
    """What people read first: the maker's words, then what the bundle holds."""
    lines = [f"# {bundle.name}", "", f"Version {bundle.version}.", ""]
    lines += [bundle.card.strip(), ""] if bundle.card.strip() else []
    for name, signature in bundle.signatures.items():
        lines += [f"## {name}", "", "| | name | dtype | sizes |", "|---|---|---|---|"]
        for what, arrays in (("takes", signature.inputs), ("gives", signature.outputs)):
            lines += [f"| {what} | {x.name} | {x.dtype} | {', '.join(map(str, x.shape)) or 'one'} |" for x in arrays]
        lines.append("")
        bounds = [f"{n} is from {low} to {high}" for n, (low, high) in signature.sizes.items()]
        lines += [f"{'; '.join(bounds)}.", ""] if bounds else []
    if bundle.classes:
        lines += ["## Classes", "", ", ".join(bundle.classes), ""]
    lines += ["## Files", "", "| file | largest difference from the model | tolerance |", "|---|---|---|"]
    for written in bundle.targets.values():
        lines += [f"| {w.file} | {w.error:.1e} | {w.tolerance:.0e} |" for w in written.values()]
    lines += _beside(bundle)
    return "\n".join(lines) + "\n"


def _beside(bundle: Bundle) -> list[str]:
    """A table of files beside those of the model that was made smaller, where that was given."""
    pairs = [(w, w.details["original"]) for t in bundle.targets.values() for w in t.values() if "original" in w.details]
    if not pairs:
        return []
    lines = ["", "| file | bytes of the original's | largest difference from it | alike |", "|---|---:|---:|---:|"]
    for written, told in pairs:
        alike = "" if told["alike"] is None else f"{told['alike']:.1%}"
        lines.append(f"| {written.file} | {told['size']:,} | {told['error']:.1e} | {alike} |")
    return lines
