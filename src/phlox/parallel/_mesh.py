"""Devices along named axes."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh

from phlox.core import RangeError

WHERE = "px.parallel.mesh"


def mesh(axes: Mapping[str, int] | None = None, /, *, devices: Sequence[Any] | None = None, **sizes: int) -> Mesh:
    """Lay devices out along named axes, the first of them changing slowest.

    Devices that are close to each other, chips of one host, stand beside each other along the last axes: what talks
    most, ``tensor``, is best last.

    Arguments:
        axes, sizes: how many devices along each axis; one of them may be -1, which is all that is left.
        devices: which devices; by default all of all processes.

    Raises:
        RangeError: sizes whose product is not the number of devices, or two that are -1.

    >>> from phlox.parallel import mesh
    >>> dict(mesh(data=-1, model=1).shape)
    {'data': 1, 'model': 1}
    """
    wanted = {**(axes or {}), **sizes}
    there = list(jax.devices() if devices is None else devices)
    shape = _filled(wanted, len(there))
    given = None if devices is None else there
    laid = np.asarray(there).reshape(tuple(shape.values())) if given or len(there) == 1 else _laid(shape)
    return Mesh(laid, tuple(shape), axis_types=(AxisType.Auto,) * len(shape))


def _laid(shape: Mapping[str, int]) -> Any:
    """All devices as JAX lays them out by how they are linked."""
    return jax.make_mesh(tuple(shape.values()), tuple(shape), axis_types=(AxisType.Auto,) * len(shape)).devices


def _filled(wanted: Mapping[str, int], count: int) -> dict[str, int]:
    """Sizes with the open one worked out."""
    text = ", ".join(f"{name}={size}" for name, size in wanted.items())
    whole = all(isinstance(n, int) and not isinstance(n, bool) and (n > 0 or n == -1) for n in wanted.values())
    if not wanted or not whole or list(wanted.values()).count(-1) > 1:
        fix = "write one number of devices for each axis, and -1 for at most one"
        raise RangeError("sizes of axes above 0", got=text or "none", fix=fix, where=WHERE)
    known = math.prod(n for n in wanted.values() if n > 0)
    shape = {name: count // known if size == -1 else size for name, size in wanted.items()}
    if math.prod(shape.values()) != count:
        fix = f"choose sizes whose product is {count}, or devices= for some of them"
        raise RangeError(f"axes for {count} devices", got=text, fix=fix, where=WHERE)
    return shape


def check_mesh(given: Mesh, axes: Mapping[str, int], who: str) -> None:
    """Refuse a mesh on which a strategy cannot be, or that has devices to which it gives nothing of their own.

    Raises:
        RangeError: see above.
    """
    refuse = functools.partial(RangeError, where=who)
    missing = [name for name in axes if name not in given.shape]
    has = f"a mesh of {', '.join(f'{name}={size}' for name, size in given.shape.items())}"
    if missing:
        fix = f"make one with px.parallel.mesh({missing[0]}=…), or leave it out"
        raise refuse(f"a mesh with an axis {missing[0]!r}", got=has, fix=fix)
    other = [name for name, size in axes.items() if size not in (-1, given.shape[name])]
    if other:
        fix = "leave the size out: the mesh says it"
        raise refuse(f"{axes[other[0]]} devices along {other[0]!r}", got=has, fix=fix)
    idle = [name for name, size in given.shape.items() if size > 1 and name not in axes]
    if idle:
        fix = f'multiply it by px.parallel.data_parallel(axis="{idle[0]}"), or leave the axis out'
        raise refuse("something to be spread along each axis", got=f"{has}, and nothing along {idle[0]!r}", fix=fix)
    typed = [name for name, kind in zip(given.axis_names, given.axis_types, strict=True) if kind != AxisType.Auto]
    if typed:
        fix = "make the mesh with px.parallel.mesh, or with axis_types=(jax.sharding.AxisType.Auto, …)"
        raise refuse("axes of a mesh that the compiler shares work along", got=f"{typed[0]!r} of another type", fix=fix)
