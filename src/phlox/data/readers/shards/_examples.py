"""``tf.train.Example`` from its bytes: names, and lists of bytes, float32 or int64.

The messages, in the protocol buffers' own language::

    Example      { Features features = 1; }
    Features     { map<string, Feature> feature = 1; }        an entry is { string key = 1; Feature value = 2; }
    Feature      { one of  BytesList bytes_list = 1;  FloatList float_list = 2;  Int64List int64_list = 3; }
    BytesList    { repeated bytes value = 1; }
    FloatList    { repeated float value = 1; }                packed into one field, or one by one
    Int64List    { repeated int64 value = 1; }                packed into one field, or one by one
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

Feature = np.ndarray | list[bytes]  # float32 (n,), int64 (n,), or byte strings
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_EMPTY: dict[int, Feature] = {1: [], 2: np.zeros(0, np.float32), 3: np.zeros(0, np.int64)}


class MalformedError(ValueError):
    """Bytes that are no message."""


def parse_example(data: bytes) -> dict[str, Feature]:
    """The features of a serialised Example by name; a name that comes twice is what comes last.

    Raises:
        MalformedError: the bytes are no Example.
    """
    found: dict[str, Feature] = {}
    view = memoryview(data)
    for features in _parts(view, 1):
        for entry in _parts(features, 1):
            keys, values = list(_parts(entry, 1)), list(_parts(entry, 2))
            name = str(keys[-1], "utf-8") if keys else ""
            found[name] = _feature(values[-1]) if values else []
    return found


def _feature(view: memoryview) -> Feature:
    """A Feature; of its lists that which comes last counts, and its parts are put together."""
    lists = [(number, part) for number, part in _fields(view) if number in _EMPTY and isinstance(part, memoryview)]
    if not lists:
        return []
    kind = lists[-1][0]
    parts = [part for number, part in lists if number == kind]
    if kind == 1:
        return [bytes(value) for part in parts for value in _parts(part, 1)]
    numbers = [_floats(part) if kind == 2 else _integers(part) for part in parts]
    return np.concatenate(numbers)


def _floats(view: memoryview) -> np.ndarray:
    """A FloatList."""
    found = [part for number, part in _fields(view) if number == 1 and isinstance(part, memoryview)]
    data = b"".join(found)
    if len(data) % 4:
        raise MalformedError(f"{len(data)} bytes of float32 numbers")
    return np.frombuffer(data, "<f4").astype(np.float32)


def _integers(view: memoryview) -> np.ndarray:
    """An Int64List; a number outside a packed field is a varint like those in one."""
    found = []
    for number, part in _fields(view):
        if number == 1:
            packed = isinstance(part, memoryview)
            found.append(_varints(part) if packed else np.array([part], np.uint64))
    return np.concatenate(found).view(np.int64) if found else np.zeros(0, np.int64)


def _varints(view: memoryview) -> np.ndarray:
    """Unsigned 64-bit numbers, each in bytes of seven bits, lowest first; the last byte of each is below 128."""
    data = np.frombuffer(view, np.uint8)
    ends = np.flatnonzero(data < 128)
    if len(data) and (not len(ends) or ends[-1] != len(data) - 1):
        raise MalformedError("a number that is cut off")
    starts = np.append(0, ends[:-1] + 1) if len(ends) else ends
    lengths = ends - starts + 1
    if len(lengths) and lengths.max() > 10:
        raise MalformedError("a number of more than ten bytes")
    place = np.arange(len(data)) - np.repeat(starts, lengths)
    bits = (data & 127).astype(np.uint64) << (7 * place).astype(np.uint64)
    return np.bitwise_or.reduceat(bits, starts) if len(starts) else bits


# --- the wire format -----------------------------------------------------------------------------


def _parts(view: memoryview, number: int) -> Iterator[memoryview]:
    """The messages, texts and byte strings in a field of a message."""
    return (part for found, part in _fields(view) if found == number and isinstance(part, memoryview))


def _fields(view: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """The fields of a message in their order: number, and the number or the bytes that it holds."""
    at = 0
    while at < len(view):
        key, at = _varint(view, at)
        kind, value = key & 7, 0
        if kind == _VARINT:
            value, at = _varint(view, at)
            yield key >> 3, value
            continue
        length = {_FIXED64: 8, _FIXED32: 4}.get(kind)
        if kind == _BYTES:
            length, at = _varint(view, at)
        if length is None or at + length > len(view):
            raise MalformedError(f"a field of wire type {kind}" if length is None else "a field that is cut off")
        yield key >> 3, view[at : at + length]
        at += length


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    """A number, and the byte behind it."""
    value = 0
    for i, byte in enumerate(view[at : at + 10]):
        value |= (byte & 127) << 7 * i
        if byte < 128:
            return value & 0xFFFFFFFFFFFFFFFF, at + i + 1
    raise MalformedError("a number that is cut off")
