"""What people read first in a bundle."""

from __future__ import annotations

from phlox.weights import Bundle


def card_of(bundle: Bundle) -> str:
    """``card.md``: the maker's words, then what the bundle holds."""
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
