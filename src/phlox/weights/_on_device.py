"""Arrays of files as arrays of JAX, each with memory of its own: what a file becomes later, no model notices."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Sharding

from phlox.core import DtypeError, RangeError, describe
from phlox.weights._pages import own_copy

_HALF = {"float64": "float32", "int64": "int32", "uint64": "uint32", "complex128": "complex64"}
_TURN_ON = 'jax.config.update("jax_enable_x64", True)'
_TOGETHER = 2**26  # bytes
_THREADS = 4  # that copy; memory is no faster with more


def to_device(array: np.ndarray, permutation: Sequence[int] | None = None, dtype: Any = None) -> jax.Array:
    """An array of a file as one of JAX, its axes in another order, copied once.

    Arguments:
        array: any NumPy array, such as a view of a file.
        permutation: the axes of ``array`` in their new order, as ``numpy.transpose`` takes it; ``(1, 0)`` of a matrix.
        dtype: the dtype to convert to; by default its own.

    Raises:
        DtypeError: 64 bits, which JAX has switched off, where that would lose something; or no numbers.
        RangeError: no permutation of its axes; numbers that the integers asked for cannot hold.

    >>> import numpy as np, phlox as px
    >>> px.weights.to_device(np.arange(6, dtype="float32").reshape(2, 3), (1, 0)).tolist()
    [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]
    """
    return jax.device_put(_prepared(array, permutation, dtype, _wide()))


def device_arrays(
    items: Mapping[str, np.ndarray] | Iterable[tuple[str, np.ndarray]],
    permutations: Mapping[str, Sequence[int]] | None = None,
    dtype: Any = None,
) -> dict[str, jax.Array]:
    """Many arrays of files as arrays of JAX, copied by several threads; few of them are held twice at a time.

    Arguments:
        items: names and arrays; ``arrays.stream()`` of ``px.weights.read`` lets each file go when it is done.
        permutations: by name, the order of axes of those that are to be turned.
        dtype: what floating arrays are converted to, or by name what which array is; by default they stay as they are.

    Raises:
        DtypeError, RangeError: as ``to_device``.

    >>> import tempfile, numpy as np, phlox as px
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(folder + "/a.npz", weight=np.ones((2, 3), "float32"), bias=np.zeros(3, "float32"))
    ...     arrays = px.weights.device_arrays(px.weights.read(folder + "/a.npz").stream(), {"weight": (1, 0)})
    >>> arrays["weight"].shape, arrays["bias"].shape
    ((3, 2), (3,))
    """
    pairs = cast("Iterable[tuple[str, np.ndarray]]", items.items() if isinstance(items, Mapping) else items)
    turned, wide = permutations or {}, _wide()
    device = jax.config.jax_default_device  # pyright: ignore[reportAttributeAccessIssue]

    def prepare(name: str, array: np.ndarray) -> Any:
        """In a thread, which has settings of its own."""
        kind = dtype.get(name) if isinstance(dtype, Mapping) else dtype if _is_float(array) else None
        ready = _prepared(array, turned.get(name), kind, wide)
        with jax.default_device(device), jax.enable_x64(wide):
            return ready if ready.flags.c_contiguous else jax.device_put(ready)  # which turns it

    found: dict[str, jax.Array] = {}
    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:
        before: dict[str, Future[Any]] = {}
        for group in _groups(pairs):
            begun = {name: pool.submit(prepare, name, array) for name, array in group}
            found.update(_on_device(before))
            before = begun
        found.update(_on_device(before))
    return found


def spread_arrays(
    items: Iterable[tuple[str, Any]], where: Mapping[str, Sharding], dtype: Mapping[str, Any]
) -> dict[str, jax.Array]:
    """Arrays of files as arrays of JAX over several devices: of each a process copies what its own devices hold.

    Arguments:
        items: names and arrays, or what gives a part of one by its slices.
        where: by name, over which devices an array is spread.
        dtype: by name, what an array is converted to that does not stay as it is.

    Raises:
        DtypeError, RangeError: as ``to_device``.
    """
    return {name: _spread(array, where[name], dtype.get(name)) for name, array in items}


def _spread(array: Any, where: Sharding, dtype: Any) -> jax.Array:
    """One array, whose parts are read one after the other, each once however many devices hold it."""
    shape, parts = tuple(array.shape), {}
    for device, index in where.addressable_devices_indices_map(shape).items():
        parts.setdefault(_bounds(index, shape), (index, []))[1].append(device)
    held = []
    for index, devices in parts.values():
        ready = _prepared(array[index], None, dtype, _wide())
        first = jax.device_put(ready if ready.flags.c_contiguous else ready.copy(), devices[0])
        held += [first, *(jax.device_put(first, device) for device in devices[1:])]
    return jax.make_array_from_single_device_arrays(shape, where, jax.block_until_ready(held))


def _bounds(index: Any, shape: tuple[int, ...]) -> tuple[tuple[int, int, int], ...]:
    """Slices as what can be a key."""
    return tuple(part.indices(size) for part, size in zip(index, shape, strict=True))


def _on_device(begun: Mapping[str, Future[Any]]) -> dict[str, jax.Array]:
    """Arrays of which JAX needs no more what they were made of."""
    arrays = jax.device_put([future.result() for future in begun.values()])
    return dict(zip(begun, jax.block_until_ready(arrays), strict=True))


def _groups(pairs: Iterable[tuple[str, np.ndarray]]) -> Iterator[list[tuple[str, np.ndarray]]]:
    """Arrays that are worth a call of JAX together, and of which two groups may be held at a time."""
    group: list[tuple[str, np.ndarray]] = []
    size = 0
    for name, array in pairs:
        group.append((name, array))
        size += array.nbytes
        if size >= _TOGETHER:
            yield group
            group, size = [], 0
    yield group


def _prepared(array: np.ndarray, permutation: Sequence[int] | None, dtype: Any, wide: bool) -> np.ndarray:
    """What JAX may take as it lies, or must copy: never the memory of a file as it is."""
    array = _at_home(_converted(np.asarray(array), dtype), wide)
    if permutation is not None:
        if sorted(permutation) != list(range(array.ndim)):
            expected, fix = f"a permutation of the axes of {describe(array)}", "name each of its axes once, from 0"
            raise RangeError(expected, got=repr(permutation), fix=fix, where="to_device")
        array = array.transpose(permutation)
    if not array.flags.c_contiguous:
        return array  # JAX copies it, block by block, in its new order
    return own_copy(array)  # of an aligned array JAX takes the memory, even where it is told to copy


def _wide() -> bool:
    """Whether JAX has 64 bits."""
    return bool(jax.config.jax_enable_x64)  # pyright: ignore[reportAttributeAccessIssue]


def _is_float(array: np.ndarray) -> bool:
    return bool(jnp.issubdtype(array.dtype, np.floating))


def _converted(array: np.ndarray, dtype: Any) -> np.ndarray:
    """An array in the dtype asked for and the order of bytes of this machine; no whole number becomes another."""
    kind = array.dtype if dtype is None else np.dtype(dtype)
    _check_kinds(array, kind)
    if jnp.issubdtype(kind, np.integer) and not np.can_cast(array.dtype, kind):
        _check_whole(array, kind)
    return array.astype(kind.newbyteorder("=") if kind.byteorder in "<>" else kind, copy=False)


def _check_kinds(array: np.ndarray, kind: np.dtype[Any]) -> None:
    for dtype, what in ((array.dtype, "an array"), (kind, "a dtype")):
        numbers = jnp.issubdtype(dtype, np.number) and dtype.kind != "m"  # which is a whole number to NumPy
        if not numbers and dtype.kind != "b":
            got = describe(array) if dtype is array.dtype else str(dtype)
            raise DtypeError(f"{what} of numbers", got=got, fix="leave it out", where="to_device")
    if jnp.issubdtype(array.dtype, np.complexfloating) and not jnp.issubdtype(kind, np.complexfloating):
        fix = "pass a complex dtype, or the real part: array.real"
        raise DtypeError("a dtype that holds complex numbers", got=kind.name, fix=fix, where="to_device")


def _check_whole(array: np.ndarray, kind: np.dtype[Any]) -> None:
    """Refuse to make integers of what they cannot hold; a fraction is cut off, as NumPy does."""
    if not _fits(array, kind):
        room = jnp.iinfo(kind)
        expected = f"numbers from {room.min} to {room.max} for {kind.name}"
        fix = f"pass a wider dtype; for 64 bits turn them on first: {_TURN_ON}"
        raise RangeError(expected, got=f"{describe(array)} with others in it", fix=fix, where="to_device")


def _fits(array: np.ndarray, kind: Any) -> bool:
    """Whether the whole parts of all numbers are integers of a kind; of an integer kind."""
    room = jnp.iinfo(kind)
    if array.size == 0:
        return True
    return bool(np.isfinite(array).all()) and int(array.min()) >= room.min and int(array.max()) <= room.max


def _at_home(array: np.ndarray, wide: bool) -> np.ndarray:
    """An array of a dtype that JAX will not silently change: of 64 bits only where they are on."""
    if array.dtype.char in "gG":  # long doubles, of 64 bits or more
        fix = 'pass dtype="float32" or "complex64", or with 64 bits on "float64" or "complex128"'
        raise DtypeError("a dtype that JAX has", got=describe(array), fix=fix, where="to_device")
    half = _HALF.get(array.dtype.name)
    if half is None or wide:
        return array
    whole = array.dtype.kind in "iu"
    if whole and _fits(array, half):
        return array.astype(half)
    advice = f"turn 64 bits on: {_TURN_ON}"
    fix = advice if whole else f'pass dtype="{half}", or {advice}'
    raise DtypeError("a dtype that JAX has switched on", got=describe(array), fix=fix, where="to_device")
