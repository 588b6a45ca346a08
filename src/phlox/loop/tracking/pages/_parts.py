"""Parts of a page: tables, a matrix in colours, pictures, and a model as a tree that opens."""

from __future__ import annotations

import base64
import html
import json
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
_READABLE = 25  # classes whose counts stand in a matrix
_CLASSES = 200  # that are drawn at all


def cell(value: Any) -> str:
    """A value as text of a table: numbers short, what is nested as JSON."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping | list | tuple):
        return html.escape(json.dumps(value))
    return html.escape(str(value))


def table(rows: Sequence[Sequence[Any]], head: Sequence[str] = (), numbers: bool = False) -> str:
    """Rows as a table; with ``numbers`` all but the first column stand to the right."""
    if not rows:
        return ""
    side = ' class="number"' if numbers else ""
    top = "".join(f"<th{side if n else ''}>{html.escape(name)}</th>" for n, name in enumerate(head))
    body = "".join(
        "<tr>" + "".join(f"<td{side if n else ''}>{cell(value)}</td>" for n, value in enumerate(row)) + "</tr>\n"
        for row in rows
    )
    return f'<div class="wide"><table>{f"<tr>{top}</tr>" if top else ""}\n{body}</table></div>'


def matrix(counts: Array, classes: Sequence[str] = ()) -> str:
    """A confusion matrix: what is right in green, what is not in red, each by its share of its row."""
    size = len(counts)
    if size > _CLASSES:
        return ""
    names = [html.escape(classes[n]) if n < len(classes) else str(n) for n in range(size)]
    total = np.maximum(np.abs(counts).sum(1, keepdims=True), 1e-30)
    rows = []
    for true in range(size):
        cells = []
        for told in range(size):
            share = float(counts[true, told] / total[true, 0])
            hue = "46,125,79" if true == told else "179,55,47"
            text = f"{counts[true, told]:.4g}" if size <= _READABLE and counts[true, told] else ""
            tip = f"{names[true]} taken for {names[told]}: {counts[true, told]:.6g}"
            alpha = min(1.0, share) if true == told else min(1.0, 3 * share)
            cells.append(f'<td title="{tip}" style="background:rgba({hue},{alpha:.3f})">{text}</td>')
        rows.append(f"<tr><th>{names[true]}</th>{''.join(cells)}</tr>")
    top = "".join(f"<th>{name}</th>" for name in names)
    return f'<div class="wide"><table class="matrix"><tr><th></th>{top}</tr>\n{"".join(rows)}</table></div>'


def picture(image: Array) -> str:
    """An image (height, width) or (height, width, 1 | 3 | 4) as an address that holds it.

    Whole numbers are from 0 to 255; of floats the least is black and the largest white.
    """
    pixels = np.asarray(image)
    if pixels.dtype.kind != "u":
        finite = np.nan_to_num(pixels.astype(np.float64))
        low, high = finite.min(), finite.max()
        pixels = np.round(255 * (finite - low) / ((high - low) or 1)).astype(np.uint8)
    pixels = pixels.astype(np.uint8)
    pixels = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[-1] == 1 else pixels
    return "data:image/png;base64," + base64.b64encode(png(pixels)).decode()


def png(pixels: Array) -> bytes:
    """Bytes (height, width) or (height, width, 3 | 4) as a file in PNG."""
    kind = 0 if pixels.ndim == 2 else {3: 2, 4: 6}[pixels.shape[-1]]
    height, width = pixels.shape[:2]
    lines = np.ascontiguousarray(pixels, np.uint8).reshape(height, -1)
    data = np.concatenate([np.zeros((height, 1), np.uint8), lines], 1).tobytes()  # each line unfiltered
    head = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(data, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, body) for name, body in parts)


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def is_picture(array: Array) -> bool:
    """Whether a batch is one of images, (count, height, width) or with channels behind."""
    if array.ndim == 3:
        return min(array.shape[1:]) > 3 and array.dtype.kind in "uif"
    return array.ndim == 4 and array.shape[-1] in (1, 3, 4)


def tree(layers: Sequence[Mapping[str, Any]]) -> str:
    """The layers of a model as a tree that opens, by their paths."""
    below: dict[str, list[Mapping[str, Any]]] = {}
    known = {str(layer["path"]) for layer in layers}
    for layer in layers[1:]:
        below.setdefault(_parent(str(layer["path"]), known), []).append(layer)
    return f'<div class="tree">{_branch(layers[0], below, 0)}</div>' if layers else ""


def _parent(path: str, known: set[str]) -> str:
    while path and (path := path.rpartition(".")[0]) not in known:
        pass
    return path


def _branch(layer: Mapping[str, Any], below: Mapping[str, list[Mapping[str, Any]]], depth: int) -> str:
    path = str(layer["path"])
    name = path.rpartition(".")[2] or "model"
    arrays = ", ".join(f"{name} {shape}" for name, shape in layer["arrays"].items())
    note = f'<span class="note">{html.escape(arrays)}</span>' if arrays else ""
    line = f"{html.escape(name)}: {html.escape(str(layer['layer']))}{note}"
    children = below.get(path, [])
    if not children:
        return f'<div class="leaf">{line}</div>'
    inside = "".join(_branch(child, below, depth + 1) for child in children)
    return f"<details{' open' if depth < 2 else ''}><summary>{line}</summary>{inside}</details>"
