"""An adapter's arrays as PEFT has them: outputs first, and one for layers that are fused there."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from phlox.adapt._arithmetic import lengths_of
from phlox.adapt.layers._changes import IA3, LoRA
from phlox.adapt.peft._naming import Piece, Place
from phlox.core import StructureError
from phlox.nn import Conv, Embedding
from phlox.weights import whole


@dataclass(frozen=True)
class Written:
    """A low-rank adapter of one layer there."""

    arrays: dict[str, np.ndarray]
    """By what stands behind the layer's name."""
    rank: int
    alpha: float


# --- out --------------------------------------------------------------------------------------------


def written_low(place: Place, parts: Mapping[str, LoRA]) -> Written:
    """LoRA or DoRA of a place, by the paths of its pieces.

    Where all pieces that have one share A, so does the layer there. Else each has columns of A of its own, and B is
    zero for the others: the rank is the sum of theirs.
    """
    given = [(piece, parts[piece.path]) for piece in place.pieces if piece.path in parts]
    first = given[0][1]
    shared = all(part.scale == first.scale and np.array_equal(part.a, first.a) for _, part in given)
    alike = [first] if shared else [part for _, part in given]
    rank = sum(part.rank for part in alike)
    a = np.concatenate([_flat(part.a) for part in alike], axis=1)
    b = np.zeros((rank, place.outputs), a.dtype)
    row = column = 0
    for piece in place.pieces:
        part = parts.get(piece.path)
        if part is not None:
            rows = slice(row, row + part.rank)
            b[rows, column : column + piece.size] = np.asarray(part.b) * (part.scale / first.scale)
            row += 0 if shared else part.rank
        column += piece.size
    arrays = _named(place.pieces[0], a, b)
    if first.magnitude is not None:
        arrays["lora_magnitude_vector"] = np.concatenate([_lengths(piece, parts) for piece in place.pieces])
        if isinstance(place.pieces[0].layer, Conv):
            arrays["lora_magnitude_vector"] = _spread(arrays["lora_magnitude_vector"], place.pieces[0].layer)
    return Written(arrays, rank, _alpha(first, rank))


def _alpha(part: LoRA, rank: int) -> float:
    """What gives the scale of a part at another rank."""
    return part.alpha if rank == part.rank else part.scale * (math.sqrt(rank) if part.rslora else rank)


def _flat(a: Any) -> np.ndarray:
    return np.asarray(a).reshape(-1, a.shape[-1])


def _named(piece: Piece, a: np.ndarray, b: np.ndarray) -> dict[str, np.ndarray]:
    """A (in, rank), flat, and B (rank, out) in their form."""
    layer, rank = piece.layer, a.shape[1]
    if isinstance(layer, Embedding):
        return {"lora_embedding_A": a.T, "lora_embedding_B": b.T}
    if isinstance(layer, Conv):
        axes = len(layer.kernel)
        turned = a.reshape(*layer.kernel, -1, rank).transpose(axes + 1, axes, *range(axes))
        return {"lora_A.weight": turned, "lora_B.weight": b.T.reshape(*b.T.shape, *(1,) * axes)}
    ends = (1,) * piece.slot.trail
    return {"lora_A.weight": a.T.reshape(*a.T.shape, *ends), "lora_B.weight": b.T.reshape(*b.T.shape, *ends)}


def _lengths(piece: Piece, parts: Mapping[str, LoRA]) -> np.ndarray:
    """A piece's magnitudes; of one without, the lengths that its columns have."""
    if piece.path in parts:
        return np.asarray(parts[piece.path].magnitude)
    weight = whole(piece.layer.weight)
    none = np.zeros((weight.shape[0], 1), np.float32), np.zeros((1, weight.shape[1]), np.float32)
    return np.asarray(lengths_of(weight, *none, 0.0))


def _spread(factors: np.ndarray, layer: Conv) -> np.ndarray:
    """Factors of channels as a Conv has them there: (1, channels, 1, …)."""
    return factors.reshape(1, -1, *(1,) * len(layer.kernel))


def written_factors(place: Place, parts: Mapping[str, IA3], where: str) -> dict[str, np.ndarray]:
    """IA³ of a place, by the paths of its pieces.

    Raises:
        StructureError: other factors of one input, which a fused layer has once.
    """
    layer, given = place.pieces[0].layer, [parts.get(piece.path) for piece in place.pieces]
    first = next(part for part in given if part is not None)
    if first.feedforward:
        alike = all(part is not None and np.array_equal(part.factors, first.factors) for part in given)
        if not alike or any(part is not None and not part.feedforward for part in given):
            got, fix = "several", "keep them equal, or scale outputs: where= in place of feedforward="
            raise StructureError(f"one vector for the input of {place.name}", got=got, fix=fix, where=where)
        factors = np.asarray(first.factors)
        return {"ia3_l": _spread(factors, layer) if isinstance(layer, Conv) else factors[None]}
    ones = [
        np.ones(piece.size, np.float32) if part is None else np.asarray(part.factors)
        for piece, part in zip(place.pieces, given, strict=True)
    ]
    factors = np.concatenate(ones)
    return {"ia3_l": _spread(factors, layer) if isinstance(layer, Conv) else factors[:, None]}


# --- in ---------------------------------------------------------------------------------------------


def read_low(place: Place, fields: Mapping[str, np.ndarray]) -> dict[str, tuple[np.ndarray, ...]]:
    """A, B and magnitudes, where there are, of each piece by path; A is shared by all.

    Raises:
        ValueError: arrays of other shapes; its text says which are expected.
    """
    layer = place.pieces[0].layer
    a, b = (fields[name] for name in (LOW_EMBEDDED if isinstance(layer, Embedding) else LOW))
    rank, inputs = a.shape[0] if a.ndim else 0, layer.weight.size // layer.weight.shape[-1]
    if not rank or a.size != rank * inputs or b.size != rank * place.outputs or b.shape[:2] != (place.outputs, rank):
        raise ValueError(f"A (rank, {inputs}) and B ({place.outputs}, rank), got {list(a.shape)} and {list(b.shape)}")
    if isinstance(layer, Conv) and a.shape != (rank, layer.weight.shape[-2], *layer.kernel):
        raise ValueError(f"A (rank, {layer.weight.shape[-2]}, {layer.kernel}), got {list(a.shape)}")
    ours = _turned(a, layer)
    b = b.reshape(place.outputs, rank).T
    lengths = fields.get("lora_magnitude_vector")
    if lengths is not None and lengths.size != place.outputs:
        raise ValueError(f"{place.outputs} magnitudes, got {lengths.size}")
    found: dict[str, tuple[np.ndarray, ...]] = {}
    for piece, part in zip(place.pieces, _parts(place.pieces), strict=True):
        more = () if lengths is None else (lengths.reshape(-1)[part],)
        found[piece.path] = (ours, b[:, part], *more)
    return found


LOW = ("lora_A.weight", "lora_B.weight")
LOW_EMBEDDED = ("lora_embedding_A", "lora_embedding_B")


def _turned(a: np.ndarray, layer: Any) -> np.ndarray:
    """A as ours lies: inputs, then rank."""
    if isinstance(layer, Conv):
        return a.transpose(*range(2, a.ndim), 1, 0)
    return a.reshape(a.shape[0], -1).T


def _parts(pieces: Sequence[Piece]) -> list[slice]:
    ends = np.cumsum([piece.size for piece in pieces]).tolist()
    return [slice(end - piece.size, end) for end, piece in zip(ends, pieces, strict=True)]


def read_factors(place: Place, factors: np.ndarray, feedforward: bool) -> dict[str, np.ndarray]:
    """Factors of each piece by path, of its outputs, or of its input, which fused pieces share.

    Raises:
        ValueError: another number of them; its text says how many are expected.
    """
    size = place.pieces[0].layer.weight.shape[-2] if feedforward else place.outputs
    if factors.size != size:
        raise ValueError(f"{size} factors, got {list(factors.shape)}")
    flat = factors.reshape(-1)
    parts = zip(place.pieces, _parts(place.pieces), strict=True)
    return {piece.path: flat if feedforward else flat[part] for piece, part in parts}
