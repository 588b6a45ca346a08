"""dtypes: no silent conversion. One policy for parameters, computation and outputs."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core._errors import DtypeError, RangeError, describe
from phlox.core.context._here import Node
from phlox.core.context._setting import Setting
from phlox.core.context._trail import where
from phlox.core.context._warning import warn_once

_CHOICES = ("warn", "error", "convert", "promote")


@dataclass(frozen=True)
class Policy:
    """Which dtypes parameters, computation and outputs have, and what a wider input does."""

    param: Any = None
    compute: Any = None
    output: Any = None
    on_mismatch: Literal["warn", "error", "convert", "promote"] = "warn"


_policy = Setting("px.dtypes", Policy())


def dtypes(
    *,
    param: Any = None,
    compute: Any = None,
    output: Any = None,
    on_mismatch: Literal["warn", "error", "convert", "promote"] = "warn",
) -> AbstractContextManager[Any]:
    """Set the dtype policy for a block, in this thread and asyncio task.

    Arguments:
        param: dtype of parameters that constructors make; None is float32.
        compute: dtype that floating inputs and parameters take inside layers; None follows JAX's promotion.
        output: dtype that the outermost Module's floating result takes; None leaves it.
        on_mismatch: what an input wider than a layer's parameters does: "warn" once per place and promote,
            "error", "convert" to the parameters' dtype, or "promote" silently.

    Raises:
        DtypeError: float64 is asked for while JAX has it off.
        RangeError: ``on_mismatch`` is none of the four.

    >>> import jax.numpy as jnp, phlox as px
    >>> with px.dtypes(compute=jnp.bfloat16):
    ...     print(px.Dense(4, 2)(jnp.ones((1, 4))).dtype)
    bfloat16
    """
    if on_mismatch not in _CHOICES:
        choices = ", ".join(f'"{c}"' for c in _CHOICES)
        raise RangeError(
            f"on_mismatch to be one of {choices}", got=repr(on_mismatch), fix="choose one of them", where="px.dtypes"
        )
    kinds = [None if d is None else checked_dtype(d, "px.dtypes") for d in (param, compute, output)]
    return _policy(Policy(kinds[0], kinds[1], kinds[2], on_mismatch))


def policy() -> Policy:
    """The policy in force here."""
    return _policy.value


def param_dtype(dtype: Any = None) -> Any:
    """The dtype a constructor gives its parameters: its own argument, else the policy's, else float32."""
    dtype = dtype if dtype is not None else policy().param
    return checked_dtype(dtype, "a layer") if dtype is not None else jnp.dtype(jnp.float32)


def checked_dtype(dtype: Any, where: str) -> np.dtype[Any]:
    """The dtype, refused where JAX would silently make it narrower.

    Raises:
        DtypeError: a 64-bit dtype while JAX's 64-bit mode is off.
    """
    wanted = jnp.dtype(dtype)
    if jax.dtypes.canonicalize_dtype(wanted) != wanted:
        raise DtypeError(
            "a dtype that JAX has switched on",
            got=str(wanted),
            fix='call jax.config.update("jax_enable_x64", True) before the first array is made',
            where=where,
        )
    return wanted


def adopt_numpy(value: Any, name: str) -> Any:
    """A NumPy array as a JAX array; a warning where float64 becomes float32, an error where integers would wrap."""
    if not isinstance(value, np.ndarray):
        return value
    if value.dtype.kind in "OSUMm":
        raise DtypeError(
            "an array of numbers",
            got=describe(value),
            fix="keep text and objects in a list or tuple: array.tolist()",
            where=name,
        )
    narrow = jax.dtypes.canonicalize_dtype(value.dtype)
    if narrow != value.dtype:
        if value.dtype.kind in "iu" and not np.array_equal(value.astype(narrow), value):
            raise DtypeError(
                f"integers that fit {narrow}",
                got=f"{value.dtype} beyond its range",
                fix='scale them down, or call jax.config.update("jax_enable_x64", True)',
                where=name,
            )
        if value.dtype.kind in "fc":
            _warn_narrowed(value, name)
    return jnp.asarray(value)


def _warn_narrowed(value: np.ndarray[Any, Any], name: str) -> None:
    warn_once(
        f"narrow {name}",
        f"{name}: NumPy {value.dtype} becomes {jax.dtypes.canonicalize_dtype(value.dtype)} because JAX's 64-bit mode "
        'is off; convert it yourself, or call jax.config.update("jax_enable_x64", True).',
    )


def harmonise(layer: Node, x: Any, *params: Any) -> tuple[Any, ...]:
    """The input and parameters of a layer in the dtypes they compute in, by the policy.

    Integers and booleans take the parameters' dtype. A float wider than the parameters does what
    ``on_mismatch`` says. ``None`` parameters pass through.
    """
    rule = policy()
    if isinstance(x, np.ndarray):
        x = adopt_numpy(x, f"input of {layer._brief()}")
    elif not isinstance(x, jax.Array):
        x = jnp.asarray(x)
    first = next((p for p in params if p is not None), None)
    if first is None:
        compute = rule.compute
        return (x.astype(compute) if compute is not None and _is_float(x) else x, *params)
    if x.dtype == first.dtype and rule.compute is None:
        return (x, *params)
    if not _is_inexact(x):
        x = x.astype(first.dtype)
    if rule.compute is not None:
        return tuple(v if v is None or not _is_float(v) else v.astype(rule.compute) for v in (x, *params))
    if _wider(x.dtype, first.dtype) and rule.on_mismatch != "promote":
        if rule.on_mismatch == "convert":
            return (x.astype(first.dtype), *params)
        _report_wider(layer, x, first.dtype, rule.on_mismatch)
    return (x.astype(jnp.promote_types(x.dtype, first.dtype)), *params)


def _is_float(x: Any) -> bool:
    return jnp.issubdtype(x.dtype, jnp.floating)


def _is_inexact(x: Any) -> bool:
    return jnp.issubdtype(x.dtype, jnp.inexact)


def _wider(a: Any, b: Any) -> bool:
    return a != b and jnp.promote_types(a, b) == a and jnp.dtype(a).itemsize > jnp.dtype(b).itemsize


def _report_wider(layer: Node, x: Any, dtype: Any, rule: str) -> None:
    if rule == "error":
        raise DtypeError(
            f"inputs of its parameters' dtype {dtype}",
            got=describe(x),
            fix=f"convert the input with .astype({str(dtype)!r}), or the model with px.f32 or px.f64",
        )
    place = where(layer)
    warn_once(
        f"wider {place}",
        f"{place}: input {describe(x)} is wider than the parameters' {dtype}, and JAX promotes the result. Convert "
        "one of them, or say px.dtypes(on_mismatch=...).",
    )


def cast_output(y: Any) -> Any:
    """The result of the outermost Module in the policy's output dtype."""
    dtype = policy().output
    if dtype is None:
        return y
    return jax.tree.map(lambda v: v.astype(dtype) if hasattr(v, "dtype") and _is_float(v) else v, y)
