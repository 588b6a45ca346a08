"""Maps and convolutions in inference on the CPU: all that stands behind a product in its last pass.

A bias, a residual and an activation cost a pass over memory each where they are operations of their own. Weights come
as they are multiplied fastest: a map's in blocks of 64 outputs, a convolution's in those that the library asks for.
Derivatives are those of the plain form.
"""

from __future__ import annotations

import ctypes
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.nn.functional._numeric import beside
from phlox.nn.functional.kernels._conv import XLA_TYPES, conv_blocks, conv_call_options, conv_refusal
from phlox.nn.functional.kernels._gradients import derive_by_plain_form
from phlox.nn.functional.kernels._kernels import Kernel, asked, in_use, package
from phlox.nn.functional.kernels._parts import Roles
from phlox.nn.functional.space._conv_forms import convolve
from phlox.nn.functional.space._window import Window

__all__ = [
    "activation_code",
    "blocks_of",
    "conv_act_kernel",
    "maps_packed",
    "packed",
    "packed_kernel",
    "packed_map_kernel",
    "unpacked",
    "unpacked_kernel",
]

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


def maps_packed(dtype: Any = jnp.float32) -> bool:
    """Whether maps run by the kernel here; elsewhere a weight in blocks would be laid back in every call."""
    like = [jax.ShapeDtypeStruct(shape, dtype) for shape in ((1, _INPUTS), (1, _INPUTS, _BLOCK), (_BLOCK,))]
    return in_use(*like) and _map.refuses(*like, act=lambda x: x) is None


def packed(weight: Any) -> Any:
    """A weight (in, out) in blocks of outputs, (blocks, in, 64); what is missing in the last ones is 0.

    Of bfloat16 by pairs of inputs: (blocks, in / 2, 64, 2).

    >>> packed(jnp.ones((3, 70))).shape, packed(jnp.ones((3, 70), jnp.bfloat16)).shape
    ((2, 16, 64), (2, 16, 64, 2))
    """
    inputs, outputs = weight.shape
    pair = 2 if weight.dtype == jnp.bfloat16 else 1
    xp = weight.__array_namespace__()  # of NumPy too: nothing is compiled then
    full = xp.pad(weight, ((0, -inputs % (pair * _INPUTS)), (0, -outputs % _BLOCK)))
    apart = full.reshape(full.shape[0] // pair, pair, -1, _BLOCK).transpose(2, 0, 3, 1)
    return apart if pair == 2 else apart[..., 0]


def unpacked(blocks: jax.Array, inputs: int, outputs: int) -> jax.Array:
    """The weight (in, out) of such blocks."""
    apart = blocks if blocks.ndim == 4 else blocks[..., None]
    full = apart.transpose(1, 3, 0, 2).reshape(-1, blocks.shape[0] * _BLOCK)
    return full[:inputs, :outputs]


def packed_map_kernel(x: jax.Array, blocks: jax.Array, bias: jax.Array, act: Activation) -> jax.Array | None:
    """act(x W + b) by the kernel; None where there is no kernel for it.

    Shapes:
        x: (rows, in); blocks: as ``packed`` gives; bias: (out,).
    """
    code, dtypes = activation_code(act), {a.dtype for a in (x, blocks, bias)}
    if (
        code is None
        or not in_use(x, blocks, bias)
        or len(dtypes) > 1
        or (blocks.ndim == 4) != (x.dtype == jnp.bfloat16)
    ):
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
    return asked(library.phlox_cpu_packed_map_plan, *map(ctypes.c_int64, numbers), XLA_TYPES[str(x.dtype)])


_map = Kernel(
    "phlox_packed_map", _plain_map, _call_map, _map_shapes, _declines_map, several=True, roles=Roles("rww", "r")
)
derive_by_plain_form(_map)


# --- convolutions -------------------------------------------------------------------------------------


def blocks_of(weight: jax.Array, window: Window, act: Activation) -> tuple[int, int] | None:
    """Outputs and inputs of a block of a weight (*kernel, in, out) as the kernel wants it; None where it wants none.

    Arguments:
        window: of inputs such as will come; the blocks suit others too, some of them less.
    """
    x = jax.ShapeDtypeStruct((1, *window.inputs, weight.shape[-2]), weight.dtype)
    library, code = package().library, activation_code(act)
    if library is None or code is None or not in_use(x, weight):
        return None
    return conv_blocks(library, x, weight, window, code)


def packed_kernel(weight: Any, outs: int, ins: int) -> Any:
    """A weight (*kernel, in, out) in blocks (out / outs, in / ins, *kernel, ins, outs); what is missing is 0.

    Of bfloat16 by pairs of inputs: (out / outs, *kernel, in / ins, ins / 2, outs, 2).

    >>> packed_kernel(jnp.ones((3, 3, 5, 40)), 16, 5).shape
    (3, 1, 3, 3, 5, 16)
    >>> packed_kernel(jnp.ones((3, 3, 5, 40), jnp.bfloat16), 16, 32).shape
    (3, 3, 3, 1, 16, 16, 2)
    """
    *kernel, inputs, outputs = weight.shape
    k = len(kernel)
    full = weight.__array_namespace__().pad(weight, (*[(0, 0)] * k, (0, -inputs % ins), (0, -outputs % outs)))
    counts = full.shape[-2] // ins, full.shape[-1] // outs
    if weight.dtype == jnp.bfloat16:
        pairs = full.reshape(*kernel, counts[0], ins // 2, 2, counts[1], outs)
        return pairs.transpose(k + 3, *range(k), k, k + 1, k + 4, k + 2)
    apart = full.reshape(*kernel, counts[0], ins, counts[1], outs)
    return apart.transpose(k + 2, k, *range(k), k + 1, k + 3)


def unpacked_kernel(blocks: jax.Array, inputs: int, outputs: int) -> jax.Array:
    """The weight (*kernel, in, out) of such blocks."""
    if blocks.dtype == jnp.bfloat16:
        k = blocks.ndim - 5
        apart = blocks.transpose(*range(1, k + 1), k + 1, k + 2, k + 4, 0, k + 3)
        full = apart.reshape(*apart.shape[:k], math.prod(apart.shape[k : k + 3]), math.prod(apart.shape[k + 3 :]))
        return full[..., :inputs, :outputs]
    k = blocks.ndim - 4
    apart = blocks.transpose(*range(2, k + 2), 1, k + 2, 0, k + 3)
    full = apart.reshape(*blocks.shape[2:-2], blocks.shape[1] * blocks.shape[-2], blocks.shape[0] * blocks.shape[-1])
    return full[..., :inputs, :outputs]


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
        weight: (*kernel, in / groups, out), or in blocks as ``packed_kernel`` gives; residual: as the result, or None.
    """
    arrays = (x, weight, bias) if residual is None else (x, weight, bias, residual)
    if activation_code(act) is None or not in_use(*arrays) or len({a.dtype for a in arrays}) > 1:
        return None
    return _conv(*arrays, window=window, groups=groups, act=act)[0]


def _in_blocks(x: Any, weight: Any) -> bool:
    return weight.ndim > x.ndim


def _plain_conv(
    x: jax.Array, weight: jax.Array, bias: jax.Array, *residual: jax.Array, window: Window, groups: int, act: Activation
) -> tuple[jax.Array]:
    weight = unpacked_kernel(weight, x.shape[-1], bias.shape[0]) if _in_blocks(x, weight) else weight
    y = convolve(x, weight, window, groups) + beside(bias, x.ndim)
    return (act(y + residual[0] if residual else y),)


def _conv_shapes(
    x: Any, weight: Any, bias: Any, *_: Any, window: Window, groups: int, act: Activation
) -> tuple[jax.ShapeDtypeStruct]:
    del weight, groups, act
    return (jax.ShapeDtypeStruct((x.shape[0], *window.outputs, bias.shape[0]), x.dtype),)


def _call_conv(*arrays: jax.Array, window: Window, groups: int, act: Activation) -> Any:
    target = "phlox_cpu_conv_act" if len(arrays) == 3 else "phlox_cpu_conv_residual"
    options = conv_call_options(window, groups) | {"activation": np.int64(activation_code(act) or 0)}
    call = jax.ffi.ffi_call(target, _conv_shapes(*arrays, window=window, groups=groups, act=act))
    return tuple(call(*arrays, **options))


def _declines_conv(
    library: Any, x: Any, weight: Any, bias: Any, *residual: Any, window: Window, groups: int, act: Activation
) -> str | None:
    block = (0, 0)
    if _in_blocks(x, weight):
        half = weight.dtype == jnp.bfloat16
        block = (weight.shape[-2], 2 * weight.shape[-3]) if half else (weight.shape[-1], weight.shape[-2])
        weight = jax.ShapeDtypeStruct((*window.size, x.shape[-1], bias.shape[0]), weight.dtype)
    last = (activation_code(act) or 0, bool(residual))
    return conv_refusal(library, x, weight, bias, window=window, groups=groups, last=last, block=block)


_conv = Kernel(
    "phlox_conv_act", _plain_conv, _call_conv, _conv_shapes, _declines_conv, several=True, roles=Roles("rwwr", "r")
)
derive_by_plain_form(_conv)
