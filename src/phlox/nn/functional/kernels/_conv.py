"""Convolution on the CPU as three bilinear primitives, each the derivative of the others.

With T(x, w, y) = Σ conv(x, w) · y, which is linear in all three, the convolution is T without y, the gradient of its
input T without x, that of its weight T without w. Whatever is differentiated, to any order and in any mode, stays
within the three. A mapped axis is folded into an axis of the same convolution, so ``vmap`` stays within them too.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.interpreters import ad, batching

from phlox.nn.functional._numeric import beside, widen
from phlox.nn.functional.kernels._gradients import map_plain_form
from phlox.nn.functional.kernels._kernels import Kernel, asked, in_use, int64s
from phlox.nn.functional.kernels._parts import Roles
from phlox.nn.functional.kernels._phases import by_phases, has_phases
from phlox.nn.functional.space._conv_forms import convolve
from phlox.nn.functional.space._window import Window

__all__ = ["XLA_TYPES", "conv_blocks", "conv_call_options", "conv_kernel", "conv_refusal", "conv_transpose_kernel"]

_FORWARD, _INPUT, _WEIGHT = 0, 1, 2
_FEW = 512  # elements of space, in all examples, below which reordering the weights costs more than a product saves
XLA_TYPES = {"float32": 11, "bfloat16": 16}  # as XLA's interface numbers them


def conv_kernel(
    x: jax.Array, weight: jax.Array, bias: jax.Array | None, window: Window, groups: int
) -> jax.Array | None:
    """The convolution by the kernel, with the bias in its last pass; None where there is no kernel for it."""
    operands = (x, weight) if bias is None else (x, weight, bias)
    if not in_use(*operands) or len({a.dtype for a in operands}) > 1:
        return None
    if bias is None:
        return _forward(x, weight, window=window, groups=groups)
    return _with_bias(x, weight, bias, window=window, groups=groups)


def conv_transpose_kernel(x: jax.Array, weight: jax.Array, window: Window, groups: int) -> jax.Array | None:
    """The transposed convolution, or None; the window is that of the convolution whose transpose it is."""
    if not in_use(x, weight):
        return None
    return _input_gradient(x, weight.swapaxes(-1, -2), window=window, groups=groups)


# --- shapes -------------------------------------------------------------------------------------------


def _x_shape(y: Any, weight: Any, *, window: Window, groups: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((y.shape[0], *window.inputs, weight.shape[-2] * groups), y.dtype)


def _w_shape(x: Any, y: Any, *, window: Window, groups: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((*window.size, x.shape[-1] // groups, y.shape[-1]), x.dtype)


def _y_shape(x: Any, weight: Any, *, window: Window, groups: int) -> jax.ShapeDtypeStruct:
    del groups
    return jax.ShapeDtypeStruct((x.shape[0], *window.outputs, weight.shape[-1]), x.dtype)


# --- the forms in plain JAX ---------------------------------------------------------------------------


def _plain_input(y: jax.Array, weight: jax.Array, *, window: Window, groups: int) -> jax.Array:
    forward = functools.partial(convolve, weight=weight, window=window, groups=groups)
    return jax.linear_transpose(forward, _x_shape(y, weight, window=window, groups=groups))(y)[0]


def _plain_weight(x: jax.Array, y: jax.Array, *, window: Window, groups: int) -> jax.Array:
    forward = functools.partial(convolve, x, window=window, groups=groups)
    return jax.linear_transpose(forward, _w_shape(x, y, window=window, groups=groups))(y)[0]


def _plain_bias(x: jax.Array, weight: jax.Array, bias: jax.Array, *, window: Window, groups: int) -> jax.Array:
    return convolve(x, weight, window, groups) + beside(bias, x.ndim)


# --- the calls ----------------------------------------------------------------------------------------


def _highs(window: Window) -> tuple[int, ...]:
    """Padding at the high sides, where what is cut there may as well stay: no window reaches it."""
    slack = ((n - e) % s for n, e, s in zip(window.padded, window.span, window.stride, strict=True))
    return tuple(
        min(0, hi + s - 1 - left) if hi < 0 else hi
        for (_, hi), s, left in zip(window.padding, window.stride, slack, strict=True)
    )


def conv_call_options(window: Window, groups: int) -> dict[str, Any]:
    """What a call is told of a convolution."""
    return {
        "stride": np.array(window.stride, np.int64),
        "dilation": np.array(window.dilation, np.int64),
        "low": np.array([lo for lo, _ in window.padding], np.int64),
        "high": np.array(_highs(window), np.int64),
        "groups": np.int64(groups),
    }


def _caller(target: str, shapes: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arrays: Any, window: Window, groups: int) -> Any:
        result = shapes(*arrays[:2], window=window, groups=groups)
        return jax.ffi.ffi_call(target, result)(*arrays, **conv_call_options(window, groups))

    return call


def _call_input(y: jax.Array, weight: jax.Array, *, window: Window, groups: int) -> jax.Array:
    if has_phases(window, groups, weight.shape[-2]):
        return by_phases(y, weight, window, _forward)
    return _caller("phlox_cpu_conv_input_gradient", _x_shape)(y, weight, window=window, groups=groups)


def conv_refusal(
    library: Any, *avals: Any, window: Window, groups: int, last: tuple[int, bool], block: tuple[int, int]
) -> str | None:
    """Why oneDNN has no fast form of a convolution with a last pass, or None.

    Arguments:
        avals: of x, the weight (*kernel, in, out) and the bias.
        last: the number of an activation, and whether a residual is added before it.
        block: outputs and inputs of a block of the weight; 0 and 0 where it is as JAX has it.
    """
    return _declines(_FORWARD, library, *avals, window=window, groups=groups, last=last, block=block)


def conv_blocks(library: Any, x: Any, weight: Any, window: Window, act: int) -> tuple[int, int] | None:
    """Outputs and inputs of a block as oneDNN would lay the weight of such a convolution; None where it would not."""
    y, found = _y_shape(x, weight, window=window, groups=1), int64s(0, 0)
    told = XLA_TYPES[str(x.dtype)], window.rank, _numbers(x, weight, y, window), ctypes.c_int64(act), found
    return (found[0], found[1]) if asked(library.phlox_cpu_conv_blocks, *told) is None else None


def _numbers(x: Any, w: Any, y: Any, window: Window) -> Any:
    """A convolution as the library is told of it."""
    lows = [lo for lo, _ in window.padding]
    return int64s(*x.shape, *w.shape, *y.shape, *window.stride, *window.dilation, *lows, *_highs(window))


def _declines(
    kind: int,
    library: Any,
    *avals: Any,
    window: Window,
    groups: int,
    last: tuple[int, bool] = (0, False),
    block: tuple[int, int] = (0, 0),
) -> str | None:
    """Why oneDNN has no fast form of this convolution, or None."""
    a, b, form = *avals[:2], {"window": window, "groups": groups}
    x, w, y = {
        _FORWARD: lambda: (a, b, _y_shape(a, b, **form)),
        _INPUT: lambda: (_x_shape(a, b, **form), b, a),
        _WEIGHT: lambda: (a, _w_shape(a, b, **form), b),
    }[kind]()
    few = x.size < _FEW * x.shape[-1] and not any(block)
    if kind != _WEIGHT and x.dtype == jnp.float32 and _is_product(window, groups) and few:
        return "XLA's matrix product is faster"
    if any(lo >= e or hi >= e for (lo, hi), e in zip(window.padding, window.span, strict=True)):
        return "padding of a window's extent or more"
    numbers, dtype = _numbers(x, w, y, window), XLA_TYPES[str(x.dtype)]
    told = kind, len(avals) > 2, dtype, window.rank, numbers, ctypes.c_int64(groups), ctypes.c_int64(last[0]), last[1]
    return asked(library.phlox_cpu_conv_plan, *told, *map(ctypes.c_int64, block))


def _is_product(window: Window, groups: int) -> bool:
    return groups == 1 and {*window.size, *window.stride} == {1} and not any(map(any, window.padding))


_forward = Kernel(
    "phlox_conv",
    convolve,
    _caller("phlox_cpu_conv", _y_shape),
    _y_shape,
    functools.partial(_declines, _FORWARD),
    roles=Roles("rw", "r"),
)
_input_gradient = Kernel(
    "phlox_conv_input_gradient",
    _plain_input,
    _call_input,
    _x_shape,
    functools.partial(_declines, _INPUT),
    roles=Roles("rw", "r"),
)
_weight_gradient = Kernel(
    "phlox_conv_weight_gradient",
    _plain_weight,
    _caller("phlox_cpu_conv_weight_gradient", _w_shape),
    _w_shape,
    functools.partial(_declines, _WEIGHT),
    roles=Roles("rr", "s"),
)
_with_bias = Kernel(
    "phlox_conv_bias",
    _plain_bias,
    _caller("phlox_cpu_conv_bias", _y_shape),
    lambda x, w, b, **form: _y_shape(x, w, **form),
    functools.partial(_declines, _FORWARD),
    roles=Roles("rww", "r"),
)

# --- derivatives --------------------------------------------------------------------------------------

ad.defbilinear(
    _forward.primitive,
    lambda ct, x, w, **form: _input_gradient(ct, w, **form),
    lambda ct, x, w, **form: _weight_gradient(x, ct, **form),
)
ad.defbilinear(
    _input_gradient.primitive,
    lambda ct, y, w, **form: _forward(ct, w, **form),
    lambda ct, y, w, **form: _weight_gradient(ct, y, **form),
)
ad.defbilinear(
    _weight_gradient.primitive,
    lambda ct, x, y, **form: _input_gradient(y, ct, **form),
    lambda ct, x, y, **form: _forward(x, ct, **form),
)


def _bias_tangent(primals: Any, tangents: Any, **form: Any) -> Any:
    (x, w, b), (dx, dw, db) = primals, tangents
    y = _with_bias(x, w, b, **form)
    parts = [] if isinstance(dx, ad.Zero) else [_forward(dx, w, **form)]
    parts += [] if isinstance(dw, ad.Zero) else [_forward(x, dw, **form)]
    # widened, so that its transpose, a sum over batch and space, does not stop in 16 bits
    parts += [] if isinstance(db, ad.Zero) else [jnp.broadcast_to(widen(db), y.shape).astype(y.dtype)]
    return y, functools.reduce(jnp.add, parts)


ad.primitive_jvps[_with_bias.primitive] = _bias_tangent

# --- batching -----------------------------------------------------------------------------------------

# Where a mapped axis goes in x, w and y, by which of the three does not have it: it then is more examples, more
# output channels or more input channels. Axes are counted from the end but for the batch. Where all three have it,
# or channels are grouped already, every part of the map is a group of its own.
_X, _W, _Y = 0, 1, 2
_FOLDS = {_W: (0, None, 0), _X: (None, -1, -1), _Y: (-1, -2, None), None: (-1, -1, -1)}


def _fold(x: jax.Array, mapped: int, axis: int) -> jax.Array:
    """Merge the mapped axis into another, as its slower part."""
    at = axis % (x.ndim - 1)
    x = jnp.moveaxis(x, mapped, at)
    return x.reshape(*x.shape[:at], -1, *x.shape[at + 2 :])


def _batched(kernel: Kernel, roles: tuple[int, int], result: int) -> Callable[..., Any]:
    def rule(arrays: Any, axes: Any, *, groups: int, **form: Any) -> Any:
        size = next(a.shape[d] for a, d in zip(arrays, axes, strict=True) if d is not None)
        if size == 0:
            return map_plain_form(kernel, arrays, axes, {**form, "groups": groups})
        missing = next((r for r, d in zip(roles, axes, strict=True) if d is None), None)
        if missing != _W and groups > 1:
            missing = None
        if missing is None:
            arrays = [
                jnp.broadcast_to(a[None], (size, *a.shape)) if d is None else a
                for a, d in zip(arrays, axes, strict=True)
            ]
            axes = [0 if d is None else d for d in axes]
            groups *= size
        folds = _FOLDS[missing]
        folded = [a if d is None else _fold(a, d, folds[r] or 0) for a, d, r in zip(arrays, axes, roles, strict=True)]
        out = kernel(*folded, groups=groups, **form)
        at = (folds[result] or 0) % out.ndim
        return out.reshape(*out.shape[:at], size, -1, *out.shape[at + 1 :]), at

    return rule


def _batched_bias(arrays: Any, axes: Any, **form: Any) -> Any:
    """Folded into the batch where only x is mapped; else the bias by itself."""
    (x, w, b), (dx, dw, db) = arrays, axes
    if dw is None and db is None and x.shape[dx]:
        out = _with_bias(_fold(x, dx, 0), w, b, **form)
        return out.reshape(x.shape[dx], -1, *out.shape[1:]), 0
    return jax.vmap(lambda x, w, b: _forward(x, w, **form) + beside(b, x.ndim), (dx, dw, db))(x, w, b), 0


batching.primitive_batchers[_forward.primitive] = _batched(_forward, (_X, _W), _Y)
batching.primitive_batchers[_input_gradient.primitive] = _batched(_input_gradient, (_Y, _W), _X)
batching.primitive_batchers[_weight_gradient.primitive] = _batched(_weight_gradient, (_X, _Y), _W)
batching.primitive_batchers[_with_bias.primitive] = _batched_bias
