"""The bytes that each token stands for, as a tokenizer's decoder puts them together."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def reader_of(library: Any) -> Callable[[int], bytes]:
    """A function from the number of a token to its bytes, for the library's tokenizer; none beyond the vocabulary."""
    added = {number: token.content.encode() for number, token in library.get_added_tokens_decoder().items()}
    read = _piece_reader(_steps(library.decoder))

    def bytes_of(number: int) -> bytes:
        if number in added:
            return added[number]
        piece = library.id_to_token(number)
        return b"" if piece is None else read(piece)

    return bytes_of


def _steps(decoder: Any) -> list[dict[str, Any]]:
    """What a decoder does, step by step."""
    if decoder is None:
        return []
    told = json.loads(decoder.__getstate__())
    return list(told["decoders"]) if told.get("type") == "Sequence" else [told]


def _piece_reader(steps: list[dict[str, Any]]) -> Callable[[str], bytes]:
    by_kind = {step["type"]: step for step in steps}
    if "ByteLevel" in by_kind:
        table = _bytes_by_character()
        return lambda piece: bytes(table[c] for c in piece) if all(c in table for c in piece) else piece.encode()
    if "WordPiece" in by_kind:
        prefix = by_kind["WordPiece"]["prefix"]
        return lambda piece: (piece.removeprefix(prefix) if piece.startswith(prefix) else f" {piece}").encode()
    if "BPEDecoder" in by_kind:
        suffix = by_kind["BPEDecoder"]["suffix"]
        return lambda piece: piece.replace(suffix, " ").encode()
    swaps = [_swap(step) for step in steps if step["type"] in ("Replace", "Metaspace")]
    has_bytes = "ByteFallback" in by_kind

    def read(piece: str) -> bytes:
        if has_bytes and (byte := _BYTE.fullmatch(piece)):
            return bytes([int(byte.group(1), 16)])
        for old, new in swaps:
            piece = piece.replace(old, new)
        return piece.encode()

    return read


def _swap(step: dict[str, Any]) -> tuple[str, str]:
    """A string and what stands for it."""
    if step["type"] == "Metaspace":
        return step["replacement"], " "
    pattern = step["pattern"]
    return pattern.get("String", pattern.get("Regex", "")), step["content"]


def _bytes_by_character() -> dict[str, int]:
    """Which byte each character of a byte-level vocabulary stands for: those that print themselves, the others after.

    Source: Radford et al., "Language models are unsupervised multitask learners", 2019.
    """
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + n): byte for n, byte in enumerate(rest)}
