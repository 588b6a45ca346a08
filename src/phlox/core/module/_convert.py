"""The same model in another dtype or on another device; each returns a copy, sharing kept."""

from __future__ import annotations

from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from phlox.core._errors import RangeError
from phlox.core.context._dtypes import checked_dtype
from phlox.core.module._plan import plan_of
from phlox.core.module._tree import tree_map
from phlox.core.transforms._functionalize import is_module

T = TypeVar("T")


def f16(model: T) -> T:
    """The model in float16; State such as running statistics stays at least float32.

    >>> import phlox as px
    >>> str(px.f16(px.BatchNorm(3)).scale.dtype), str(px.f16(px.BatchNorm(3)).mean.dtype)
    ('float16', 'float32')
    """
    return _converted(model, jnp.float16)


def bf16(model: T) -> T:
    """The model in bfloat16; State such as running statistics stays at least float32.

    >>> import phlox as px
    >>> str(px.bf16(px.Dense(2, 3)).weight.dtype)
    'bfloat16'
    """
    return _converted(model, jnp.bfloat16)


def f32(model: T) -> T:
    """The model in float32.

    >>> import phlox as px
    >>> str(px.f32(px.bf16(px.Dense(2, 3))).weight.dtype)
    'float32'
    """
    return _converted(model, jnp.float32)


def f64(model: T) -> T:
    """The model in float64.

    Raises:
        DtypeError: JAX's 64-bit mode is off.
    """
    return _converted(model, jnp.float64)


def _converted(tree: T, dtype: Any) -> T:
    checked_dtype(dtype, f"px.f{jnp.dtype(dtype).itemsize * 8}")
    state = _state_arrays(tree)

    def convert(x: Any) -> Any:
        if jnp.issubdtype(x.dtype, jnp.complexfloating):
            return x.astype(jnp.promote_types(dtype, jnp.complex64))
        if not jnp.issubdtype(x.dtype, jnp.floating):
            return x
        return x.astype(jnp.promote_types(dtype, jnp.float32) if id(x) in state else dtype)

    return tree_map(convert, tree)


def _state_arrays(tree: Any) -> set[int]:
    """Which arrays classes annotate as State."""
    found: set[int] = set()
    for module in jax.tree_util.tree_leaves(tree, is_leaf=is_module):
        if is_module(module):
            plan = plan_of([module])
            found |= {id(v) for i, v in enumerate(plan.gather()) if plan.structure.is_state(i)}
    return found


def devices(kind: str | None = None) -> list[Any]:
    """The devices at hand, the default one first; ``kind`` is "cpu", "gpu" or "tpu".

    Raises:
        RangeError: there is no device of that kind.

    >>> import phlox as px
    >>> len(px.devices("cpu")) >= 1
    True
    """
    try:
        return jax.devices(kind)
    except RuntimeError as error:
        here = sorted({d.platform for d in jax.devices()})
        raise RangeError(
            f"a device of kind {' or '.join(map(repr, here))}",
            got=repr(kind),
            fix="install phlox[cuda] for NVIDIA GPUs" if kind in ("gpu", "cuda") else "px.devices() lists them",
            where="px.devices",
        ) from error


def to(tree: T, device: Any) -> T:
    """The model, or any tree of arrays, on a device.

    Arguments:
        tree: a Module, or a list, tuple or dict of Modules and arrays.
        device: one of ``px.devices()``, a ``jax.sharding.Sharding``, or text such as "cpu", "gpu" or "gpu:1".

    Raises:
        RangeError: there is no such device.

    >>> import phlox as px
    >>> px.to(px.Dense(2, 3), "cpu").weight.devices() == {px.devices("cpu")[0]}
    True
    """
    if isinstance(device, str):
        kind, _, number = device.partition(":")
        found = devices(kind)
        if number and not (number.isdigit() and int(number) < len(found)):
            raise RangeError(
                f"a number of a {kind} below {len(found)}",
                got=repr(device),
                fix="px.devices() lists them",
                where="px.to",
            )
        device = found[int(number or 0)]
    return tree_map(lambda x: jax.device_put(x, device), tree)
