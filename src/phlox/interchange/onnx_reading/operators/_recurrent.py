"""RNN, GRU, LSTM: gates in the order of the standard, either or both directions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from phlox.interchange.onnx_reading._call import Call
from phlox.interchange.onnx_reading._known import constant
from phlox.interchange.onnx_reading.operators._moving import reversed_rows
from phlox.interchange.onnx_reading.operators._table import OPERATORS

_GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
_DEFAULT = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}
_CURVES: dict[str, Callable[..., Any]] = {
    "relu": lambda x, a, b: jnp.maximum(x, 0),
    "tanh": lambda x, a, b: jnp.tanh(x),
    "sigmoid": lambda x, a, b: jax.nn.sigmoid(x),
    "affine": lambda x, a, b: a * x + b,
    "leakyrelu": lambda x, a, b: jnp.where(x < 0, a * x, x),
    "thresholdedrelu": lambda x, a, b: jnp.where(x > a, x, 0),
    "scaledtanh": lambda x, a, b: a * jnp.tanh(b * x),
    "hardsigmoid": lambda x, a, b: jnp.clip(a * x + b, 0, 1),
    "elu": lambda x, a, b: jnp.where(x < 0, a * jnp.expm1(jnp.minimum(x, 0)), x),
    "softsign": lambda x, a, b: x / (1 + jnp.abs(x)),
    "softplus": lambda x, a, b: jax.nn.softplus(x),
}
_SETTINGS = {"leakyrelu": (0.01, 0.0), "thresholdedrelu": (1.0, 0.0), "hardsigmoid": (0.2, 0.5), "elu": (1.0, 0.0),
             "affine": (1.0, 0.0), "scaledtanh": (1.0, 1.0)}  # fmt: skip


@dataclass(frozen=True)
class Direction:
    """The weights of one direction: (gates·hidden, in), (gates·hidden, hidden), two biases, peepholes."""

    w: Any
    r: Any
    b: Any
    rb: Any
    p: Any
    curves: Sequence[Callable[[Any], Any]]


def _curves(call: Call, which: int) -> list[Callable[[Any], Any]]:
    kind = call.node.kind
    names = call.get("activations") or _DEFAULT[kind] * 2
    first = which * len(_DEFAULT[kind])
    alphas, betas = list(call.get("activation_alpha") or []), list(call.get("activation_beta") or [])
    found = []
    for i, name in enumerate(names[first : first + len(_DEFAULT[kind])], first):
        a, b = _SETTINGS.get(name.lower(), (0.0, 0.0))
        a, b = (alphas[i] if i < len(alphas) else a), (betas[i] if i < len(betas) else b)
        found.append(_clipped(_curve(call, name), a, b, call.get("clip")))
    return found


def _curve(call: Call, name: str) -> Callable[..., Any]:
    if name.lower() not in _CURVES:
        raise call.refusal(f"activations among {', '.join(_CURVES)}", name, "write it with one of these")
    return _CURVES[name.lower()]


def _clipped(curve: Callable[..., Any], a: float, b: float, clip: float | None) -> Callable[[Any], Any]:
    return lambda x: curve(x if clip is None else jnp.clip(x, -clip, clip), a, b)


def _rnn(call: Call, d: Direction, x: Any, state: Any) -> Any:
    (h,) = state
    h = d.curves[0](x + h @ d.r.T + d.rb)
    return (h,)


def _gru(call: Call, d: Direction, x: Any, state: Any) -> Any:
    """Gates: update, reset, new."""
    (h,) = state
    size = h.shape[-1]
    inner = h @ d.r[: 2 * size].T + d.rb[: 2 * size]
    z, r = jnp.split(d.curves[0](x[:, : 2 * size] + inner), 2, -1)
    last, bias = d.r[2 * size :].T, d.rb[2 * size :]
    after = call.get("linear_before_reset", 0)
    mixed = r * (h @ last + bias) if after else (r * h) @ last + bias
    new = d.curves[1](x[:, 2 * size :] + mixed)
    return ((1 - z) * new + z * h,)


def _lstm(call: Call, d: Direction, x: Any, state: Any) -> Any:
    """Gates: in, out, forget, cell; peepholes in the same order."""
    h, c = state
    i, o, f, g = jnp.split(x + h @ d.r.T + d.rb, 4, -1)
    pi, po, pf = jnp.split(d.p, 3, -1)
    i = d.curves[0](i + pi * c)
    f = 1 - i if call.get("input_forget", 0) else d.curves[0](f + pf * c)
    c = f * c + i * d.curves[1](g)
    o = d.curves[0](o + po * c)
    return o * d.curves[2](c), c


_CELLS = {"RNN": _rnn, "GRU": _gru, "LSTM": _lstm}


@OPERATORS.on("RNN", "GRU", "LSTM")
def _recurrent(call: Call, x: Any, w: Any, r: Any, *more: Any) -> Any:
    """(time, batch, in) to (time, directions, batch, hidden) and the last states; by rows in layout 1."""
    bias, lengths, *states = (*more, *[None] * (5 - len(more)))
    peepholes = states.pop() if call.node.kind == "LSTM" else None
    states = states[: 2 if call.node.kind == "LSTM" else 1]
    by_rows = bool(call.get("layout", 0))
    x = jnp.swapaxes(constant(x), 0, 1) if by_rows else constant(x)
    states = [s if s is None or not by_rows else jnp.swapaxes(s, 0, 1) for s in states]
    found = []
    for i in range(w.shape[0]):
        direction = _direction(call, i, w, r, bias, peepholes)
        found.append(_one_way(call, direction, i, x, lengths, [None if s is None else s[i] for s in states]))
    y = jnp.stack([ys for ys, _ in found], 1)
    last = [jnp.stack(s) for s in zip(*(s for _, s in found), strict=True)]
    if by_rows:
        y, last = jnp.moveaxis(y, 2, 0), [jnp.swapaxes(s, 0, 1) for s in last]
    return y, *last


def _direction(call: Call, i: int, w: Any, r: Any, bias: Any, peepholes: Any) -> Direction:
    size = r.shape[-1]
    rows = _GATES[call.node.kind] * size
    b = jnp.zeros(2 * rows, w.dtype) if bias is None else constant(bias)[i]
    p = jnp.zeros(3 * size, w.dtype) if peepholes is None else constant(peepholes)[i]
    return Direction(constant(w)[i], constant(r)[i], b[:rows], b[rows:], p, _curves(call, i))


def _one_way(call: Call, d: Direction, which: int, x: Any, lengths: Any, states: list[Any]) -> Any:
    """One direction: what every step gives, and the state behind each row's last step."""
    back = call.get("direction", "forward") == "reverse" or which == 1
    x = _turned(x, lengths) if back else x
    first = tuple(jnp.zeros((x.shape[1], d.r.shape[-1]), x.dtype) if s is None else constant(s) for s in states)
    cell = _CELLS[call.node.kind]
    inner = x @ d.w.T + d.b

    def step(carry: Any, at: Any) -> Any:
        x_t, t = at
        new = cell(call, d, x_t, carry)
        if lengths is None:
            return new, new[0]
        alive = (t < constant(lengths))[:, None]
        return tuple(jnp.where(alive, n, o) for n, o in zip(new, carry, strict=True)), jnp.where(alive, new[0], 0)

    last, ys = jax.lax.scan(step, first, (inner, jnp.arange(x.shape[0])))
    return (_turned(ys, lengths) if back else ys), last


def _turned(x: Any, lengths: Any) -> Any:
    if lengths is None:
        return jnp.flip(x, 0)
    return jnp.swapaxes(reversed_rows(jnp.swapaxes(x, 0, 1), constant(lengths)), 0, 1)
