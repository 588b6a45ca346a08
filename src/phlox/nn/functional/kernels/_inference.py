"""Maps and convolutions in inference on the CPU: all that stands behind a product in its last pass.

A bias, a residual and an activation cost a pass over memory each where they are operations of their own. A map's
weight comes as it is multiplied fastest, in blocks of 64 outputs. Derivatives are those of the plain form.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.nn.functional._numeric import beside
from phlox.nn.functional.kernels._conv import conv_call_options, conv_refusal
from phlox.nn.functional.kernels._gradients import derive_by_plain_form
from phlox.nn.functional.kernels._kernels import Kernel, asked, in_use
from phlox.nn.functional.kernels._parts import Roles
from phlox.nn.functional.space._conv_forms import convolve
from phlox.nn.functional.space._window import Window

__all__ = ["conv_act_kernel", "maps_packed", "packed", "packed_map_kernel", "unpacked"]

_BLOCK, _INPUTS = 64, 16
_CODES = {"identity": 0, "relu": 1, "gelu": 2, "silu": 4}  # as native/cpp/activation.h numbers them
_GELU_TANH = 3

Activation = Callable[[jax.Array], jax.Array]


def activation_code(act: Activation) -> int | None:
    """The number of an activation that kernels know; None for another."""
    if isinstance(act, functools.partial):
        tanh = act.keywords == {"approximate": "tanh"} and not act.args and activation_code(act.func) == _CODES["gelu"]
        return _GELU_TANH if tanh else None
    ours = getattr(act, "__module__", "").startswith("phlox.nn.functional")
    return _CODES.get(getattr(act, "__name__", "")) if ours else None


# --- maps ---------------------------------------------------------------------------------------------


def maps_packed() -> bool:
    """Whether maps run by the kernel here; elsewhere a weight in blocks would be laid back in every call."""
    like = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((1, _INPUTS), (1, _INPUTS, _BLOCK), (_BLOCK,))]
    return in_use(*like) and _map.refuses(*like, act=lambda x: x) is None


def packed(weight: jax.Array) -> jax.Array:
    """A weight (in, out) in blocks of outputs, (blocks, in, 64); what is missing in the last ones is 0.

    >>> packed(jnp.ones((3, 70))).shape
    (2, 16, 64)
    """
    inputs, outputs = weight.shape
    full = jnp.pad(weight, ((0, -inputs % _INPUTS), (0, -outputs % _BLOCK)))
    return full.reshape(full.shape[0], -1, _BLOCK).swapaxes(0, 1)


def unpacked(blocks: jax.Array, inputs: int, outputs: int) -> jax.Array:
    """The weight (in, out) of such blocks."""
    return blocks.swapaxes(0, 1).reshape(blocks.shape[1], -1)[:inputs, :outputs]


def packed_map_kernel(x: jax.Array, blocks: jax.Array, bias: jax.Array, act: Activation) -> jax.Array | None:
    """act(x W + b) by the kernel; None where there is no kernel for it.

    Shapes:
        x: (rows, in); blocks: (out / 64, in, 64), as ``packed`` gives; bias: (out,).
    """
    code = activation_code(act)
    if code is None or not in_use(x, blocks, bias) or {a.dtype for a in (x, blocks, bias)} != {jnp.dtype("float32")}:
        return None
    return _map(x, blocks, bias, act=act)[0]


def _plain_map(x: jax.Array, blocks: jax.Array, bias: jax.Array, *, act: Activation) -> tuple[jax.Array]:
    return (act(x @ unpacked(blocks, x.shape[1], bias.shape[0]) + bias),)


def _map_shapes(x: Any, blocks: Any, bias: Any, *, act: Activation) -> tuple[jax.ShapeDtypeStruct]:
    del blocks, act
    return (jax.ShapeDtypeStruct((x.shape[0], bias.shape[0]), x.dtype),)


def _call_map(x: jax.Array, blocks: jax.Array, bias: jax.Array, *, act: Activation) -> Any:
    call = jax.ffi.ffi_call("phlox_cpu_packed_map", _map_shapes(x, blocks, bias, act=act))
    return tuple(call(x, blocks, bias, activation=np.int64(activation_code(act) or 0)))


def _declines_map(library: Any, x: Any, blocks: Any, bias: Any, *, act: Activation) -> str | None:
    del blocks
    numbers = (*x.shape, bias.shape[0], activation_code(act) or 0)
    return asked(library.phlox_cpu_packed_map_plan, *map(ctypes.c_int64, numbers))


_map = Kernel(
    "phlox_packed_map", _plain_map, _call_map, _map_shapes, _declines_map, several=True, roles=Roles("rww", "r")
)
derive_by_plain_form(_map)


# --- convolutions -------------------------------------------------------------------------------------


def conv_act_kernel(
    x: jax.Array,
    weight: jax.Array,
    bias: jax.Array,
    residual: jax.Array | None,
    window: Window,
    groups: int,
    act: Activation,
) -> jax.Array | None:
    """act(conv(x) + b + residual) by the kernel; None where there is no kernel for it.

    Shapes:
        residual: as the result, or None.
    """
    arrays = (x, weight, bias) if residual is None else (x, weight, bias, residual)
    if activation_code(act) is None or not in_use(*arrays) or {a.dtype for a in arrays} != {jnp.dtype("float32")}:
        return None
    return _conv(*arrays, window=window, groups=groups, act=act)[0]


def _plain_conv(
    x: jax.Array, weight: jax.Array, bias: jax.Array, *residual: jax.Array, window: Window, groups: int, act: Activation
) -> tuple[jax.Array]:
    y = convolve(x, weight, window, groups) + beside(bias, x.ndim)
    return (act(y + residual[0] if residual else y),)


def _conv_shapes(
    x: Any, weight: Any, *_: Any, window: Window, groups: int, act: Activation
) -> tuple[jax.ShapeDtypeStruct]:
    del groups, act
    return (jax.ShapeDtypeStruct((x.shape[0], *window.outputs, weight.shape[-1]), x.dtype),)


def _call_conv(*arrays: jax.Array, window: Window, groups: int, act: Activation) -> Any:
    target = "phlox_cpu_conv_act" if len(arrays) == 3 else "phlox_cpu_conv_residual"
    options = conv_call_options(window, groups) | {"activation": np.int64(activation_code(act) or 0)}
    call = jax.ffi.ffi_call(target, _conv_shapes(*arrays[:2], window=window, groups=groups, act=act))
    return tuple(call(*arrays, **options))


def _declines_conv(library: Any, *avals: Any, window: Window, groups: int, act: Activation) -> str | None:
    return conv_refusal(
        library, *avals[:3], window=window, groups=groups, last=(activation_code(act) or 0, len(avals) > 3)
    )


_conv = Kernel(
    "phlox_conv_act", _plain_conv, _call_conv, _conv_shapes, _declines_conv, several=True, roles=Roles("rwwr", "r")
)
derive_by_plain_form(_conv)
