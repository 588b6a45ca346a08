"""To which size an image is resized, and where its crop begins."""

from __future__ import annotations

Size = tuple[int, int]  # (height, width)


def by_shorter_edge(old: Size, edge: int, longest: int | None) -> Size:
    """The shorter edge becomes ``edge``, or what leaves the longer one at ``longest``; fractions fall away."""
    short, long = min(old), max(old)
    exact = float(edge)
    if longest is not None and long / short * edge > longest:
        exact = longest * float(short) / long
        edge = round(exact)
    other = long if edge == short else int(exact * long / short)
    return (edge, other) if old[0] <= old[1] else (other, edge)


def by_ratio(old: Size, size: Size, fit: str) -> Size:
    """With its own ratio, so that it covers ``size`` ("cover") or lies within it ("contain"); rounded."""
    ratios = old[0] / size[0], old[1] / size[1]
    ratio = min(ratios) if fit == "cover" else max(ratios)
    return round(old[0] / ratio), round(old[1] / ratio)


def crop_start(old: int, new: int, rounding: str) -> int:
    """Where a central crop begins; below 0 where the image is smaller, by the pixels that are filled.

    "floor" rounds down, as transformers does. "even" rounds halves to even ones, and the pixels to be filled down, as
    torchvision does.
    """
    if rounding == "floor":
        return (old - new) // 2
    return round((old - new) / 2) if old >= new else -((new - old) // 2)
