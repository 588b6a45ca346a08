"""LSTM and GRU over sequences on the CPU: one kernel runs all steps, another the steps of the gradient.

The weights' gradient is one product over all steps, outside the kernel. Arrays are (batch, time, ...). ``real`` has
1 where a step is real and 0 else, or is empty where all are; a step that is not passes the state over.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.interpreters import batching

from phlox.nn.functional.kernels._gradients import differentiate, map_plain_form, plain_gradient
from phlox.nn.functional.kernels._kernels import Kernel, in_use
from phlox.nn.functional.kernels._parts import Roles
from phlox.nn.functional.kernels._product import gathered

__all__ = ["gru_kernel", "lstm_kernel"]

Arrays = tuple[Array, ...]
Found = tuple[Array, Arrays] | None


def lstm_kernel(z: Array, weight: Array, state: Arrays, real: Array | None, reverse: bool) -> Found:
    """Outputs (batch, time, hidden) and the last state, or None where there is no kernel for it.

    Arguments:
        z: (batch, time, 4 · hidden), the inputs' product with the bias. weight: (hidden, 4 · hidden).
        state: h and c, (batch, hidden) each. real: (batch, time) flags, or None.
    """
    weight = _widened(weight)
    if not _takes(z, weight, *state):
        return None
    y, c, _ = _lstm(z, weight, *state, _flags(real, z.dtype), reverse=reverse)
    end = 0 if reverse else -1
    return y, (y[:, end], c[:, end])


def gru_kernel(bias: Array | None, z: Array, weight: Array, state: Arrays, real: Array | None, reverse: bool) -> Found:
    """The same of gated recurrent units whose reset acts after the product.

    Arguments:
        bias: (3 · hidden,) added to the state's product, or None.
        z: (batch, time, 3 · hidden). weight: (hidden, 3 · hidden). state: h, (batch, hidden). real: as above.
    """
    bias, weight = jnp.zeros(z.shape[-1], z.dtype) if bias is None else _widened(bias), _widened(weight)
    if not _takes(z, weight, bias, *state):
        return None
    y, _, _ = _gru(z, weight, bias, *state, _flags(real, z.dtype), reverse=reverse)
    return y, (y[:, 0 if reverse else -1],)


def _widened(weight: Array) -> Array:
    """A weight in bfloat16 as float32: the kernel multiplies in float32, and its caller rounds the outputs once."""
    return weight.astype(jnp.float32) if weight.dtype == jnp.bfloat16 else weight


def _takes(*arrays: Array) -> bool:
    return in_use(*arrays) and all(a.dtype == jnp.float32 for a in arrays)


def _flags(real: Array | None, dtype: Any) -> Array:
    return jnp.zeros(0, dtype) if real is None else real.astype(dtype)


# --- in plain JAX -------------------------------------------------------------------------------------


def _over_time(step: Callable[..., Any], carry: Arrays, z: Array, real: Array, reverse: bool) -> Any:
    """Scan over time: ``step(carry, z)`` gives the next carry, and what else is kept of the step."""
    flags = jnp.ones(z.shape[:2], bool) if real.ndim == 1 else real != 0

    def body(carry: Arrays, scanned: Arrays) -> Any:
        z, flag = scanned
        new, more = step(carry, z)
        new = tuple(jnp.where(flag[:, None], a, b) for a, b in zip(new, carry, strict=True))
        return new, (new, tuple(jnp.where(flag[:, None], a, 0) for a in more))

    kept = lax.scan(body, carry, (jnp.swapaxes(z, 0, 1), flags.T), reverse=reverse)[1]
    return jax.tree.map(lambda a: jnp.swapaxes(a, 0, 1), kept)


def _plain_lstm(z: Array, w: Array, h0: Array, c0: Array, real: Array, *, reverse: bool) -> Arrays:
    """Outputs, cells, and gates [i, f, g, o]."""

    def step(carry: Arrays, z: Array) -> tuple[Arrays, Arrays]:
        h, c = carry
        i, f, g, o = jnp.split(z + h @ w, 4, -1)
        i, f, g, o = jax.nn.sigmoid(i), jax.nn.sigmoid(f), jnp.tanh(g), jax.nn.sigmoid(o)
        c = f * c + i * g
        return (o * jnp.tanh(c), c), (jnp.concatenate([i, f, g, o], -1),)

    (y, c), (gates,) = _over_time(step, (h0, c0), z, real, reverse)
    return y, c, gates


def _plain_gru(z: Array, w: Array, b: Array, h0: Array, real: Array, *, reverse: bool) -> Arrays:
    """Outputs, gates [r, z, n], and the state's part of the candidate before it is reset."""

    def step(carry: Arrays, z: Array) -> tuple[Arrays, Arrays]:
        (h,) = carry
        (xr, xu, xn), (hr, hu, hn) = jnp.split(z, 3, -1), jnp.split(h @ w + b[None], 3, -1)
        r, u = jax.nn.sigmoid(xr + hr), jax.nn.sigmoid(xu + hu)
        n = jnp.tanh(xn + r * hn)
        return ((1 - u) * n + u * h,), (jnp.concatenate([r, u, n], -1), hn)

    (y,), (gates, inner) = _over_time(step, (h0,), z, real, reverse)
    return y, gates, inner


# --- the calls ----------------------------------------------------------------------------------------


def _outputs(z: Any, w: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((*z.shape[:2], w.shape[0]), z.dtype)


def _like(*arrays: Any) -> tuple[jax.ShapeDtypeStruct, ...]:
    return tuple(jax.ShapeDtypeStruct(a.shape, a.dtype) for a in arrays)


def _lstm_shapes(z: Any, w: Any, *rest: Any, reverse: bool) -> Any:
    del rest, reverse
    return _outputs(z, w), _outputs(z, w), *_like(z)


def _gru_shapes(z: Any, w: Any, *rest: Any, reverse: bool) -> Any:
    del rest, reverse
    return _outputs(z, w), *_like(z), _outputs(z, w)


def _input_shapes(*arrays: Any, reverse: bool) -> Any:
    del reverse
    return _like(*arrays[:5])


def _call_lstm(*arrays: Array, reverse: bool) -> Any:
    shapes = _lstm_shapes(*arrays, reverse=reverse)
    call = jax.ffi.ffi_call("phlox_cpu_lstm", shapes, input_output_aliases={0: 2})  # gates where sums were read
    return tuple(call(*arrays, reverse=reverse))


def _call_lstm_backward(
    z: Array, w: Array, h0: Array, c0: Array, real: Array, y: Array, c: Array, gates: Array, dy: Array, dc: Array,
    _: Array, *, reverse: bool,
) -> Arrays:  # fmt: skip
    call = jax.ffi.ffi_call("phlox_cpu_lstm_gradient", _like(z, h0, c0), input_output_aliases={3: 0})
    dz, dh0, dc0 = call(w, c0, c, gates, real, dy, dc, reverse=reverse)
    return dz, _weight_gradient(h0, y, dz, reverse), dh0, dc0, jnp.zeros_like(real)


def _call_gru(*arrays: Array, reverse: bool) -> Any:
    return tuple(jax.ffi.ffi_call("phlox_cpu_gru", _gru_shapes(*arrays, reverse=reverse))(*arrays, reverse=reverse))


def _call_gru_backward(
    z: Array, w: Array, b: Array, h0: Array, real: Array, y: Array, gates: Array, inner: Array, dy: Array,
    *_: Array, reverse: bool,
) -> Arrays:  # fmt: skip
    call = jax.ffi.ffi_call("phlox_cpu_gru_gradient", _like(z, z, h0))
    dz, dp, dh0 = call(w, h0, y, gates, inner, real, dy, reverse=reverse)
    return dz, _weight_gradient(h0, y, dp, reverse), dp.sum((0, 1)), dh0, jnp.zeros_like(real)


def _weight_gradient(h0: Array, y: Array, slopes: Array, reverse: bool) -> Array:
    """What each step multiplied, times the slopes of what it gave: one product over all steps."""
    parts = [y[:, 1:], h0[:, None]] if reverse else [h0[:, None], y[:, :-1]]
    before = jnp.concatenate(parts, 1)
    return gathered(before.reshape(-1, h0.shape[-1]), slopes.reshape(-1, slopes.shape[-1]))


def _takes_all(library: Any, *avals: Any, reverse: bool) -> None:
    del library, avals, reverse


def _kernel(name: str, plain: Any, call: Any, call_backward: Any, shapes: Any, weights: tuple[int, ...]) -> Kernel:
    """A kernel of five inputs and three results with its gradient; ``weights`` are the inputs without rows."""
    inputs, summed = ("".join(letter if i in weights else "r" for i in range(5)) for letter in "ws")
    forward = Kernel(name, plain, call, shapes, _takes_all, several=True, roles=Roles(inputs, "rrr"))
    back = Roles(f"{inputs}r", summed), plain_gradient(plain, 5)
    backward = Kernel(
        f"{name}_backward", back[1], call_backward, _input_shapes, _takes_all, several=True, roles=back[0]
    )
    differentiate(forward, backward, 5)
    _map_as_rows(forward, weights)
    return forward


def _map_as_rows(kernel: Kernel, weights: tuple[int, ...]) -> None:
    """Let a mapped axis be more rows of the batch where the weights are the same for all, else map the plain form."""

    def rule(arrays: Any, axes: Any, **params: Any) -> Any:
        size = next(a.shape[d] for a, d in zip(arrays, axes, strict=True) if d is not None)
        if size == 0 or any(axes[i] is not None for i in weights):
            return map_plain_form(kernel, arrays, axes, params)

        def rows(a: Array, mapped: int | None) -> Array:
            a = jnp.broadcast_to(a, (size, *a.shape)) if mapped is None else jnp.moveaxis(a, mapped, 0)
            return a.reshape(-1, *a.shape[2:])

        given = [
            a if i in weights or (a.size == 0 and d is None) else rows(a, d)
            for i, (a, d) in enumerate(zip(arrays, axes, strict=True))
        ]
        out = kernel(*given, **params)
        return [a.reshape(size, -1, *a.shape[1:]) for a in out], [0] * len(out)

    batching.primitive_batchers[kernel.primitive] = rule


_lstm = _kernel("phlox_lstm", _plain_lstm, _call_lstm, _call_lstm_backward, _lstm_shapes, (1,))
_gru = _kernel("phlox_gru", _plain_gru, _call_gru, _call_gru_backward, _gru_shapes, (1, 2))
