"""Images resized, sampled at points, put together of patches."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.interchange.onnx_reading._call import Call
from phlox.interchange.onnx_reading._known import constant, is_float, library, wide
from phlox.interchange.onnx_reading._layout import laid, order_of, ordered
from phlox.interchange.onnx_reading.operators._table import OPERATORS

_NEAREST = {
    "round_prefer_floor": lambda c: np.ceil(c - 0.5),
    "round_prefer_ceil": lambda c: np.floor(c + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


@dataclass(frozen=True)
class Axis:
    """One axis that is resized: its sizes before and after, its scale, the part of it that is read."""

    before: int
    after: int
    scale: float
    start: float = 0.0
    end: float = 1.0


@OPERATORS.on("Resize", since=11, any_order=True)
def _resize(call: Call, x: Any, roi: Any = None, scales: Any = None, sizes: Any = None) -> Any:
    """Axis by axis, each a product with a matrix that sizes decide."""
    axes = [call.axis(a, x.ndim) for a in call.axes() or range(x.ndim)]
    region = None if roi is None else call.known(roi, "the region")
    order = order_of(x)
    y = constant(ordered(x, order))
    for i, (axis, entry) in enumerate(zip(axes, _resized(call, x, axes, scales, sizes), strict=True)):
        if region is not None and region.size:
            entry = Axis(entry.before, entry.after, entry.scale, region[i], region[i + len(axes)])
        y = _along(call, y, order.index(axis), entry)
    return laid(y, order)


@OPERATORS.on("Resize", since=10, any_order=True)
@OPERATORS.on("Upsample", since=7, any_order=True)
def _upsample(call: Call, x: Any, scales: Any = None) -> Any:
    """The old form: places are divided by the scale and cut."""
    factors = call["scales"] if scales is None else call.known(scales, "the scales").tolist()
    settings = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    old = replace(call, attributes={**settings, "mode": call.get("mode", "nearest")})
    order = order_of(x)
    y = constant(ordered(x, order))
    for axis, factor in enumerate(factors):
        before = x.shape[axis]
        y = _along(old, y, order.index(axis), Axis(before, int(np.floor(before * factor)), factor))
    return laid(y, order)


def _resized(call: Call, x: Any, axes: list[int], scales: Any, sizes: Any) -> list[Axis]:
    before = [x.shape[a] for a in axes]
    if sizes is not None and np.size(sizes):
        after = call.ints(sizes, "the sizes")
        policy = call.get("keep_aspect_ratio_policy", "stretch")
        factors = [a / b for a, b in zip(after, before, strict=True)]
        if policy != "stretch":
            one = min(factors) if policy == "not_larger" else max(factors)
            factors = [one] * len(axes)
            after = [int(np.floor(one * b + 0.5)) for b in before]
    else:
        factors = [float(s) for s in call.known(scales, "the scales").reshape(-1)]
        after = [int(np.floor(b * s)) for b, s in zip(before, factors, strict=True)]
    call.sized(after)
    return [Axis(*entry) for entry in zip(before, after, factors, strict=True)]


def _along(call: Call, x: Any, axis: int, entry: Axis) -> Any:
    if entry.before == entry.after and entry.scale == 1.0 and (entry.start, entry.end) == (0.0, 1.0):
        return x
    places = _places(call.get("coordinate_transformation_mode", "half_pixel"), entry)
    if call.get("mode", "nearest") == "nearest":
        index = _NEAREST[call.get("nearest_mode", "round_prefer_floor")](places)
        y = jnp.take(x, np.clip(index, 0, entry.before - 1).astype(int), axis)
    else:
        y = _mixed(x, axis, _matrix(call, places, entry))
    if call.get("coordinate_transformation_mode") != "tf_crop_and_resize":
        return y
    outside = (places < 0) | (places > entry.before - 1)
    shape = [1] * x.ndim
    shape[axis] = -1
    return jnp.where(outside.reshape(shape), np.asarray(call.get("extrapolation_value", 0.0), x.dtype), y)


def _mixed(x: Any, axis: int, matrix: np.ndarray) -> Any:
    y = jnp.tensordot(wide(x), matrix.astype(wide(x).dtype if is_float(x) else np.float32), ([axis], [1]))
    y = jnp.moveaxis(y, -1, axis)
    return y.astype(x.dtype)


def _places(mode: str, a: Axis) -> np.ndarray:
    """For each place after, where before it is read."""
    at = np.arange(a.after, dtype=np.float64)
    full = a.before * a.scale  # what is cut off to make a whole number counts
    if mode == "align_corners":
        return at * (a.before - 1) / (full - 1) if a.after > 1 else at * 0
    if mode == "asymmetric":
        return at / a.scale
    if mode == "tf_crop_and_resize":
        if a.after == 1:
            return at + 0.5 * (a.start + a.end) * (a.before - 1)
        return a.start * (a.before - 1) + at * (a.end - a.start) * (a.before - 1) / (full - 1)
    if mode == "pytorch_half_pixel" and a.after == 1:
        return at * 0
    shift = a.before / 2 * (1 - a.after / full) if mode == "half_pixel_symmetric" else 0
    return shift + (at + 0.5) / a.scale - 0.5


def _matrix(call: Call, places: np.ndarray, a: Axis) -> np.ndarray:
    """How much of each place before is in each one after: (after, before)."""
    cubic = call.get("mode") == "cubic"
    shrink = min(a.scale, 1.0) if call.get("antialias", 0) else 1.0
    reach = int(np.ceil((2 if cubic else 1) / shrink))
    taps = np.floor(places)[:, None] + np.arange(-reach, reach + 1)
    distance = np.abs(taps - places[:, None]) * shrink
    shares = _cubic(distance, call.get("cubic_coeff_a", -0.75)) if cubic else np.maximum(1 - distance, 0)
    if call.get("exclude_outside", 0):
        shares = np.where((taps >= 0) & (taps < a.before), shares, 0)
    shares = shares / shares.sum(1, keepdims=True)
    matrix = np.zeros((a.after, a.before))
    np.add.at(matrix, (np.arange(a.after)[:, None], np.clip(taps, 0, a.before - 1).astype(int)), shares)
    return matrix


def _cubic(d: Any, a: float) -> Any:
    """Keys' kernel at distances d."""
    xp = library(d)
    near, far = ((a + 2) * d - (a + 3)) * d * d + 1, ((d - 5) * d + 8) * d * a - 4 * a
    return xp.where(d <= 1, near, xp.where(d < 2, far, 0))


# --- sampled ------------------------------------------------------------------------------------------------

_MODES = {"bilinear": "linear", "bicubic": "cubic"}


@OPERATORS.on("AffineGrid", since=20)
def _affine_grid(call: Call, theta: Any, size: Any) -> Any:
    """The points of a regular grid, moved by a matrix for each image."""
    space = call.ints(size, "the size")[2:]
    lines = [_line(n, bool(call.get("align_corners", 0))) for n in space]
    points = np.stack([*np.meshgrid(*lines, indexing="ij")[::-1], np.ones(space)], -1)
    y = jnp.einsum("...j,bij->b...i", jnp.asarray(points, theta.dtype), constant(theta))
    return y


def _line(n: int, corners: bool) -> np.ndarray:
    return np.linspace(-1, 1, n) if corners else (np.arange(n) * 2 + 1) / n - 1


@OPERATORS.on("GridSample", since=16)
def _grid_sample(call: Call, x: Any, grid: Any) -> Any:
    """Images (batch, channels, …) read at points of a grid (batch, …, rank) between -1 and 1."""
    x, grid = constant(x), constant(grid)
    mode = _MODES.get(call.get("mode", "linear"), call.get("mode", "linear"))
    corners = bool(call.get("align_corners", 0))
    points = [_pixel(grid[..., -1 - i], n, corners) for i, n in enumerate(x.shape[2:])]
    padding = call.get("padding_mode", "zeros")
    if mode == "nearest":
        taps = [[(jnp.round(_kept(p, n, padding, corners)), 1)] for p, n in zip(points, x.shape[2:], strict=True)]
    else:
        points = [
            _kept(p, n, padding, corners) if mode == "linear" else p for p, n in zip(points, x.shape[2:], strict=True)
        ]
        taps = [_taps(p, mode == "cubic") for p in points]
    return _read(x, taps, padding, corners)


def _pixel(at: Any, n: int, corners: bool) -> Any:
    return (at + 1) / 2 * (n - 1) if corners else ((at + 1) * n - 1) / 2


def _kept(p: Any, n: int, padding: str, corners: bool) -> Any:
    """Points outside brought to the edge, or thrown back from it."""
    if padding == "border":
        return jnp.clip(p, 0, n - 1)
    if padding != "reflection":
        return p
    low, high = (0, n - 1) if corners else (-0.5, n - 0.5)
    span = high - low
    if span == 0:
        return p * 0
    there = jnp.mod(p - low, 2 * span)
    return jnp.clip(jnp.where(there > span, 2 * span - there, there) + low, 0, n - 1)


def _taps(p: Any, cubic: bool) -> list[tuple[Any, Any]]:
    first = jnp.floor(p)
    if cubic:
        return [(first + k, _cubic(jnp.abs(p - first - k), -0.75)) for k in (-1, 0, 1, 2)]
    return [(first, 1 - (p - first)), (first + 1, p - first)]


def _read(x: Any, taps: Any, padding: str, corners: bool) -> Any:
    """The sum of what is at all taps, by their shares."""
    total: Any = 0
    for which in np.ndindex(*(len(t) for t in taps)):
        chosen = [t[i] for t, i in zip(taps, which, strict=True)]
        index, share = [], 1
        for (at, part), n in zip(chosen, x.shape[2:], strict=True):
            inside = (at >= 0) & (at <= n - 1)
            share = share * jnp.where(inside, part, 0) if padding == "zeros" else share * part
            index.append(jnp.clip(_kept(at, n, padding, corners), 0, n - 1).astype(int))
        found = jax.vmap(lambda image, *where: image[(slice(None), *where)])(x, *index)
        total = total + found * jnp.expand_dims(jnp.asarray(share, x.dtype), 1)
    return jnp.asarray(total, x.dtype)


@OPERATORS.on("RoiAlign", since=10)
def _roi_align(call: Call, x: Any, rois: Any, which: Any) -> Any:
    """Each region cut into cells; the mean, or the largest, of points between pixels in each cell."""
    half = call.get("coordinate_transformation_mode", "half_pixel" if call.version >= 16 else "output_half_pixel")
    x, rois = constant(x), constant(rois)
    cells = (call.get("output_height", 1), call.get("output_width", 1))
    points = call.get("sampling_ratio", 0)
    if points <= 0:
        shape = call.known(rois, "regions whose sizes decide how many points are read")
        if len(shape) and not _same_counts(shape, call, cells):
            fix = "write sampling_ratio=2"
            raise call.refusal("a number of points that is the same for all regions", "sampling_ratio=0", fix)
    shift = 0.5 if half == "half_pixel" else 0.0
    scale = np.asarray(call.get("spatial_scale", 1.0), x.dtype)
    low, high = rois[:, :2] * scale - shift, rois[:, 2:] * scale - shift
    size = high - low if half == "half_pixel" else jnp.maximum(high - low, 1)
    counts = [points] * 2 if points > 0 else _counts(np.asarray(size), cells)[0]
    reader = jax.vmap(lambda lo, s, b: _cells(x[b], lo[::-1], s[::-1], cells, counts, call.get("mode", "avg")))
    return reader(low, size, constant(which))


def _counts(sizes: np.ndarray, cells: Any) -> list[list[int]]:
    return [[max(int(np.ceil(s / n)), 1) for s, n in zip(size[::-1], cells, strict=True)] for size in sizes]


def _same_counts(rois: np.ndarray, call: Call, cells: Any) -> bool:
    sizes = (rois[:, 2:] - rois[:, :2]) * call.get("spatial_scale", 1.0)
    found = _counts(sizes, cells)
    return all(c == found[0] for c in found)


def _cells(x: Any, low: Any, size: Any, cells: Any, counts: Any, mode: str) -> Any:
    rows, columns = (
        low[i] + (np.arange(n * k) + 0.5).astype("float32") / k * (size[i] / n)
        for i, (n, k) in enumerate(zip(cells, counts, strict=True))
    )
    found = _linear_points(x, rows, columns, mode)
    split = found.reshape(x.shape[0], cells[0], counts[0], cells[1], counts[1])
    return split.max((2, 4)) if mode == "max" else split.mean((2, 4))


def _linear_points(x: Any, rows: Any, columns: Any, mode: str) -> Any:
    """Channels (c, h, w) at all rows and columns; the largest of the four shares where the mode is so."""
    parts = [_edge_taps(p, n) for p, n in ((rows, x.shape[1]), (columns, x.shape[2]))]
    found = [
        x[:, r][:, :, c] * (share_r[:, None] * share_c[None]) for r, share_r in parts[0] for c, share_c in parts[1]
    ]
    return jnp.max(jnp.stack(found), 0) if mode == "max" else sum(found)


def _edge_taps(p: Any, n: int) -> list[tuple[Any, Any]]:
    """Two neighbours and their shares; nothing beyond one pixel outside."""
    alive = ((p >= -1) & (p <= n)).astype(p.dtype)
    p = jnp.clip(p, 0, n - 1)
    first = jnp.floor(p)
    index = first.astype(int)
    return [(index, (1 - (p - first)) * alive), (jnp.minimum(index + 1, n - 1), (p - first) * alive)]


@OPERATORS.on("Col2Im", since=18)
def _col2im(call: Call, x: Any, image: Any, block: Any) -> Any:
    """Patches added up where they lie over one another."""
    size, kernel = call.ints(image, "the image's size"), call.ints(block, "the block's size")
    rank = len(size)
    strides, dilations = (call.get(n) or [1] * rank for n in ("strides", "dilations"))
    pads = call.get("pads") or [0] * (2 * rank)
    full = [n + a + b for n, a, b in zip(size, pads[:rank], pads[rank:], strict=True)]
    counts = [(n - (k - 1) * d - 1) // s + 1 for n, k, d, s in zip(full, kernel, dilations, strides, strict=True)]
    parts = constant(x).reshape(x.shape[0], -1, int(np.prod(kernel)), *counts)
    made = jnp.zeros(call.sized([*parts.shape[:2], *full]), x.dtype)
    for i, tap in enumerate(np.ndindex(*kernel)):
        starts = [t * d for t, d in zip(tap, dilations, strict=True)]
        cut = [slice(a, a + (n - 1) * s + 1, s) for a, n, s in zip(starts, counts, strides, strict=True)]
        made = made.at[(slice(None), slice(None), *cut)].add(parts[:, :, i])
    return made[(slice(None), slice(None), *(slice(a, a + n) for a, n in zip(pads[:rank], size, strict=True)))]
