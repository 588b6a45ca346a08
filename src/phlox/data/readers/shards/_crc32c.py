"""CRC-32C (Castagnoli), the checksum of TFRecord, in NumPy."""

from __future__ import annotations

from functools import cache

import numpy as np

_REVERSED = 0x82F63B78  # the polynomial 0x1EDC6F41, lowest power first
_BLOCK = 1024
_PIECE = 128  # blocks whose bytes are looked up at once: they stay in the processor's cache
_SHORT = 64  # below it, byte by byte is quicker


def masked_crc32c(data: bytes) -> int:
    """The checksum as TFRecord stores it: rotated and shifted, so that one of a checksum is not a fixed point."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def crc32c(data: bytes) -> int:
    """CRC-32C of bytes.

    Long data is cut into blocks, filled up in front with zeros, which change nothing: the remainder of a block is the
    exclusive or of what its bytes leave, each by its place; and that of all blocks is shifted on block by block.

    >>> hex(crc32c(b"123456789"))
    '0xe3069283'

    Source: RFC 3720, appendix B.4, has test values.
    """
    if len(data) < _SHORT:
        return _by_bytes(data)
    length = -(-len(data) // _BLOCK) * _BLOCK
    blocks = np.zeros(length, np.uint8)
    blocks[length - len(data) :] = np.frombuffer(data, np.uint8)
    blocks[length - len(data) :][:4] ^= 0xFF  # the register begins with ones
    table, places = _by_place().ravel(), np.arange(0, 256 * _BLOCK, 256)
    crc, (first, second, third, fourth) = 0, _shifted()
    for piece in np.split(blocks.reshape(-1, _BLOCK), range(_PIECE, length // _BLOCK, _PIECE)):
        found = np.bitwise_xor.reduce(table.take(piece + places, mode="clip"), axis=1)
        for block in found.tolist():
            crc = first[crc & 255] ^ second[crc >> 8 & 255] ^ third[crc >> 16 & 255] ^ fourth[crc >> 24] ^ block
    return crc ^ 0xFFFFFFFF


@cache
def _by_byte() -> list[int]:
    """What one byte leaves, for each byte."""
    table = list(range(256))
    for _ in range(8):
        table = [value >> 1 ^ (_REVERSED if value & 1 else 0) for value in table]
    return table


def _by_bytes(data: bytes) -> int:
    table, crc = _by_byte(), 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 255] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


@cache
def _by_place() -> np.ndarray:
    """(block, 256): what a byte at each place of a block leaves at its end."""
    table = np.array(_by_byte(), np.uint32)
    rows = np.empty((_BLOCK, 256), np.uint32)
    rows[-1] = table
    for place in range(_BLOCK - 2, -1, -1):
        rows[place] = table[rows[place + 1] & 255] ^ rows[place + 1] >> 8
    return rows


@cache
def _shifted() -> list[list[int]]:
    """For each byte of a remainder, what it becomes a block of zeros further on: as if it were data at its start."""
    return _by_place()[:4].tolist()
