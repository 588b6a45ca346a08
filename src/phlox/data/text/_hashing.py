"""FarmHash of strings, by which TensorFlow and Keras choose among several places for unknown words."""

from __future__ import annotations

_ALL = (1 << 64) - 1
_K0, _K1, _K2 = 0xC3A5C85C97CB3127, 0xB492B66FBE98F273, 0x9AE16A3B2F90404F
_BLOCK = 64
_SEED = 81


def farm_hash(text: bytes) -> int:
    """The 64-bit fingerprint of a string.

    Source: FarmHash's ``Fingerprint64``, Pike and Alakuijala, 2014.

    >>> [farm_hash(word) % 3 for word in (b"Hello", b"TensorFlow", b"2.x")]  # as TensorFlow's documentation has it
    [0, 2, 2]
    """
    if len(text) <= 16:
        return _short(text)
    if len(text) <= 32:
        return _middle(text)
    return _longer(text) if len(text) <= _BLOCK else _long(text)


def _fetch(text: bytes, at: int, size: int = 8) -> int:
    return int.from_bytes(text[at : at + size], "little")


def _rotate(value: int, by: int) -> int:
    value &= _ALL
    return (value >> by) | (value << (64 - by)) & _ALL


def _mixed(value: int) -> int:
    value &= _ALL
    return value ^ (value >> 47)


def _joined(u: int, v: int, factor: int) -> int:
    a = _mixed((u ^ v) * factor)
    return _mixed((v ^ a) * factor) * factor & _ALL


def _short(text: bytes) -> int:
    n = len(text)
    factor = _K2 + 2 * n
    if n >= 8:
        a, b = _fetch(text, 0) + _K2, _fetch(text, n - 8)
        return _joined((_rotate(b, 37) * factor + a) & _ALL, (_rotate(a, 25) + b) * factor & _ALL, factor)
    if n >= 4:
        return _joined(n + (_fetch(text, 0, 4) << 3), _fetch(text, n - 4, 4), factor)
    if n:
        y, z = text[0] + (text[n >> 1] << 8), n + (text[n - 1] << 2)
        return _mixed((y * _K2 ^ z * _K0) & _ALL) * _K2 & _ALL
    return _K2


def _ends(text: bytes, first: int) -> tuple[int, int, int]:
    """What strings of more than 16 bytes begin with: two sums, and the factor."""
    n = len(text)
    factor = _K2 + 2 * n
    a, b = _fetch(text, 0) * first & _ALL, _fetch(text, 8)
    c, d = _fetch(text, n - 8) * factor & _ALL, _fetch(text, n - 16) * _K2 & _ALL
    return (_rotate(a + b, 43) + _rotate(c, 30) + d) & _ALL, (a + _rotate(b + _K2, 18) + c) & _ALL, factor


def _middle(text: bytes) -> int:
    return _joined(*_ends(text, _K1))


def _longer(text: bytes) -> int:
    n = len(text)
    y, other, factor = _ends(text, _K2)
    z = _joined(y, other, factor)
    a, e, f = _fetch(text, 0) * _K2, _fetch(text, 16) * factor, _fetch(text, 24)
    g, h = (y + _fetch(text, n - 32)) * factor, (z + _fetch(text, n - 24)) * factor
    u, v = _rotate(e + f, 43) + _rotate(g, 30) + h, e + _rotate(f + a, 18) + g
    return _joined(u & _ALL, v & _ALL, factor)


def _weak(text: bytes, at: int, a: int, b: int) -> tuple[int, int]:
    w, x, y, z = (_fetch(text, at + 8 * i) for i in range(4))
    a += w
    b = _rotate(b + a + z, 21)
    c = a
    a += x + y
    return (a + z) & _ALL, (b + _rotate(a, 44) + c) & _ALL


def _long(text: bytes) -> int:
    last = (len(text) - 1) // _BLOCK * _BLOCK
    x, y = _SEED * _K2 + _fetch(text, 0), (_SEED * _K1 + 113) & _ALL
    z, v, w = _mixed(y * _K2 + 113) * _K2 & _ALL, (0, 0), (0, 0)
    for at in range(0, last, _BLOCK):
        x = _rotate(x + y + v[0] + _fetch(text, at + 8), 37) * _K1
        y = _rotate(y + v[1] + _fetch(text, at + 48), 42) * _K1
        x, y = (x ^ w[1]) & _ALL, (y + v[0] + _fetch(text, at + 40)) & _ALL
        z = _rotate(z + w[0], 33) * _K1 & _ALL
        v = _weak(text, at, v[1] * _K1, x + w[0])
        w = _weak(text, at + 32, z + w[1], y + _fetch(text, at + 16))
        z, x = x, z
    return _end(text, x, y, z, v, w)


def _end(text: bytes, x: int, y: int, z: int, v: tuple[int, int], w: tuple[int, int]) -> int:
    """The last 64 bytes, which may be in the block before in part."""
    at, factor = len(text) - _BLOCK, _K1 + ((z & 0xFF) << 1)
    w = w[0] + ((len(text) - 1) & 63), w[1]
    v = v[0] + w[0], v[1]
    w = w[0] + v[0], w[1]
    x = _rotate(x + y + v[0] + _fetch(text, at + 8), 37) * factor
    y = _rotate(y + v[1] + _fetch(text, at + 48), 42) * factor
    x, y = (x ^ w[1] * 9) & _ALL, (y + v[0] * 9 + _fetch(text, at + 40)) & _ALL
    z = _rotate(z + w[0], 33) * factor & _ALL
    v = _weak(text, at, v[1] * factor, x + w[0])
    w = _weak(text, at + 32, z + w[1], y + _fetch(text, at + 16))
    z, x = x, z
    u = _joined(v[0], w[0], factor) + _mixed(y) * _K0 + z
    return _joined(u & _ALL, (_joined(v[1], w[1], factor) + x) & _ALL, factor)
