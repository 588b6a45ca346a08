"""State-space layers: linear recurrences over time, run in parallel or one step at a time."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import Module, Param, RangeError, ShapeError, describe, harmonise, key_or_draw, param_dtype
from phlox.nn import functional as F
from phlox.nn._autosize import sized
from phlox.nn._checks import check_positive, check_size
from phlox.nn._fused import fused
from phlox.nn.features._dense import Dense
from phlox.nn.functional._numeric import beside, widen
from phlox.nn.functional.recurrence._state_space import zero_order_hold


class StateSpaceLayer(Module):
    """What these layers share: a call over a sequence, and ``step``, which takes one input at a time."""

    dim: int
    return_state: bool

    def _over(self, x: Any, state: Any) -> tuple[jax.Array, Any]:
        """Outputs and last state of a sequence (batch, time, dim)."""
        raise NotImplementedError

    def __call__(self, x: Any, state: Any = None) -> Any:
        x = jnp.asarray(x)
        if x.ndim != 3 or x.shape[-1] != self.dim or not x.shape[1]:
            fix = "add a batch axis: x[None]" if x.ndim == 2 else f"give the layer before {self.dim} outputs"
            raise ShapeError(f"(batch, time, {self.dim})", got=describe(x), fix=fix)
        y, last = self._over(x, state)
        return (y, last) if self.return_state else y

    def step(self, x: Any, state: Any = None) -> tuple[jax.Array, Any]:
        """One step: an input (batch, dim) and a state to an output (batch, dim) and the next state."""
        x = jnp.asarray(x)
        if x.ndim != 2 or x.shape[-1] != self.dim:
            raise ShapeError(
                f"(batch, {self.dim})",
                got=describe(x),
                fix="give it the inputs of one step",
                where=f"{self._brief()}.step",
            )
        y, last = self._over(x[:, None], state)
        return y[:, 0], last

    def _brief(self) -> str:
        return f"{type(self).__name__}({self.dim})"


@sized(dim=-1)
class LRU(StateSpaceLayer):
    r"""A linear recurrent unit: $h_t = λ ⊙ h_{t-1} + γ ⊙ (x_t B)$, $y_t = \mathrm{Re}(h_t C) + D ⊙ x_t$.

    $λ = \exp(-e^ν + i e^θ)$ lies inside the unit circle. It starts uniform on the ring from ``r_min`` to ``r_max``,
    with phases uniform up to ``max_phase``, and $γ$ at $\sqrt{1 - |λ|^2}$.

    Shapes:
        x, y: (batch, time, dim); the state h: (batch, size), complex; nu, theta, gamma: (size,), logarithms;
        b: (2, dim, size) and c: (2, size, dim), real and imaginary parts; d: (dim,).

    Arguments:
        dim: features of the input and the output.
        state_size: features of the state.
        r_min, r_max: the ring of λ, with 0 <= r_min < r_max <= 1.
        max_phase: radians, above 0.
        return_state: whether the call gives ``(y, state)`` in place of y.
        key: where the parameters are drawn from; by default the stream of ``px.seed``.

    Called with ``(x, state=None)``; ``step(x, state)`` takes (batch, dim) and gives ``(y, state)``.

    Raises:
        RangeError: a number outside its range. ShapeError: an input of another shape.

    Source: Orvieto et al., "Resurrecting recurrent neural networks for long sequences", 2023.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.nn.LRU(3, 8)(jnp.ones((2, 7, 3))).shape
    (2, 7, 3)
    """

    nu: Param  # (size,)
    theta: Param  # (size,)
    gamma: Param  # (size,)
    b: Param  # (2, dim, size)
    c: Param  # (2, size, dim)
    d: Param  # (dim,)
    dim: int
    state_size: int
    r_min: float
    r_max: float
    max_phase: float
    return_state: bool

    def __init__(
        self,
        dim: int,
        state_size: int = 64,
        *,
        r_min: float = 0.0,
        r_max: float = 1.0,
        max_phase: float = 2 * math.pi,
        return_state: bool = False,
        key: Any = None,
    ):
        self.dim, self.state_size = check_size("LRU", "dim", dim), check_size("LRU", "state_size", state_size)
        if not 0 <= r_min < r_max <= 1:
            fix = "choose a ring inside the unit circle"
            raise RangeError("0 <= r_min < r_max <= 1", got=f"r_min={r_min}, r_max={r_max}", fix=fix, where="LRU")
        self.r_min, self.r_max, self.max_phase = r_min, r_max, check_positive("LRU", "max_phase", max_phase)
        self.return_state, dtype = bool(return_state), param_dtype()
        ring, phase, b, c, d = jax.random.split(key_or_draw(key), 5)
        inside = jax.random.uniform(ring, (state_size,), dtype, minval=r_min**2, maxval=r_max**2)
        inside = jnp.clip(inside, 1e-12, 1 - 1e-6)
        self.nu = jnp.log(-0.5 * jnp.log(inside))
        self.theta = jnp.log(jax.random.uniform(phase, (state_size,), dtype, minval=1e-6, maxval=max_phase))
        self.gamma = 0.5 * jnp.log1p(-inside)
        self.b = jax.random.normal(b, (2, dim, state_size), dtype) / math.sqrt(2 * dim)
        self.c = jax.random.normal(c, (2, state_size, dim), dtype) / math.sqrt(state_size)
        self.d = jax.random.normal(d, (dim,), dtype)

    def _over(self, x: Any, state: Any) -> tuple[jax.Array, Any]:
        x, *params = harmonise(self, x, self.nu, self.theta, self.gamma, self.b, self.c, self.d)
        return _lru(F.identity, x, state, *params)


@fused()
def _lru(act: Any, x: Any, state: Any, nu: Any, theta: Any, gamma: Any, b: Any, c: Any, d: Any) -> Any:
    u, nu, theta, gamma, b, c, d = map(widen, (x, nu, theta, gamma, b, c, d))
    decay = jnp.exp(jax.lax.complex(-jnp.exp(nu), jnp.exp(theta)))
    into = jax.lax.complex(u @ b[0], u @ b[1]) * beside(jnp.exp(gamma), 3)
    h, last = F.linear_recurrence(decay[None, None], into, state)
    y = h.real @ c[0] - h.imag @ c[1] + beside(d, 3) * u
    return act(y.astype(x.dtype)), last


@sized(dim=-1)
class S4D(StateSpaceLayer):
    r"""A diagonal structured state-space model for each feature, discretised by a zero-order hold.

    $h_t = e^{ΔA} h_{t-1} + A^{-1}(e^{ΔA} - 1) x_t$ and $y_t = 2\,\mathrm{Re}(\sum_n C_n h_{t,n}) + D x_t$, where A is
    complex with a negative real part; the n-th one starts at $-1/2 + iπn$, and Δ log-uniform from ``dt_min`` to
    ``dt_max``.

    Shapes:
        x, y: (batch, time, dim); the state h: (batch, dim, size / 2), complex; log_dt: (dim,); log_rate and frequency:
        (dim, size / 2), $\log(-\mathrm{Re} A)$ and $\mathrm{Im} A$; c: (2, dim, size / 2), real and imaginary parts;
        d: (dim,).

    Arguments:
        dim: features of the input and the output.
        state_size: states for each feature, an even number; they come in conjugate pairs, of which one is kept.
        dt_min, dt_max: the range of Δ at the start, above 0.
        return_state: whether the call gives ``(y, state)`` in place of y.
        key: where the parameters are drawn from; by default the stream of ``px.seed``.

    Called with ``(x, state=None)``; ``step(x, state)`` takes (batch, dim) and gives ``(y, state)``.

    Raises:
        RangeError: a number outside its range. ShapeError: an input of another shape.

    Source: Gu et al., "On the parameterization and initialization of diagonal state space models", 2022 (S4D-Lin).

    >>> import jax.numpy as jnp, phlox as px
    >>> px.nn.S4D(3, 16)(jnp.ones((2, 7, 3))).shape
    (2, 7, 3)
    """

    log_dt: Param  # (dim,)
    log_rate: Param  # (dim, size / 2)
    frequency: Param  # (dim, size / 2)
    c: Param  # (2, dim, size / 2)
    d: Param  # (dim,)
    dim: int
    state_size: int
    dt_min: float
    dt_max: float
    return_state: bool

    def __init__(
        self,
        dim: int,
        state_size: int = 64,
        *,
        dt_min: float = 1e-3,
        dt_max: float = 0.1,
        return_state: bool = False,
        key: Any = None,
    ):
        self.dim, self.state_size = check_size("S4D", "dim", dim), check_size("S4D", "state_size", state_size, least=2)
        if state_size % 2:
            raise RangeError(
                "an even state_size", got=repr(state_size), fix="states come in conjugate pairs", where="S4D"
            )
        self.dt_min, self.dt_max = _steps("S4D", dt_min, dt_max)
        self.return_state, dtype = bool(return_state), param_dtype()
        step, c, d = jax.random.split(key_or_draw(key), 3)
        pairs = state_size // 2
        low, high = math.log(dt_min), math.log(dt_max)
        self.log_dt = jax.random.uniform(step, (dim,), dtype, minval=low, maxval=high)
        self.log_rate = jnp.full((dim, pairs), math.log(0.5), dtype)
        self.frequency = jnp.broadcast_to(math.pi * jnp.arange(pairs, dtype=dtype), (dim, pairs))
        self.c = jax.random.normal(c, (2, dim, pairs), dtype) * math.sqrt(0.5)
        self.d = jax.random.normal(d, (dim,), dtype)

    def _over(self, x: Any, state: Any) -> tuple[jax.Array, Any]:
        x, *params = harmonise(self, x, self.log_dt, self.log_rate, self.frequency, self.c, self.d)
        return _s4d(F.identity, x, state, *params)


@fused()
def _s4d(act: Any, x: Any, state: Any, log_dt: Any, log_rate: Any, frequency: Any, c: Any, d: Any) -> Any:
    u, log_dt, log_rate, frequency, c, d = map(widen, (x, log_dt, log_rate, frequency, c, d))
    decay, share = zero_order_hold(jnp.exp(log_dt)[:, None], jax.lax.complex(-jnp.exp(log_rate), frequency))
    h, last = F.linear_recurrence(decay[None, None], share[None, None] * u[..., None], state)
    y = 2 * (jnp.einsum("btdn,dn->btd", h.real, c[0]) - jnp.einsum("btdn,dn->btd", h.imag, c[1])) + beside(d, 3) * u
    return act(y.astype(x.dtype)), last


@sized(dim=-1)
class Mamba(StateSpaceLayer):
    r"""A selective state-space block: convolution, selective scan and gate between two projections.

    $[u, z] = x W_{in}$; $u \leftarrow \mathrm{silu}(\mathrm{conv}(u))$, causal, each channel by itself;
    $[δ, B, C] = u W_x$, $Δ = \mathrm{softplus}(δ W_Δ + b_Δ)$; $y = (\mathrm{scan}(u, Δ, A, B, C, D) ⊙
    \mathrm{silu}(z)) W_{out}$, with the scan of ``functional.selective_scan``.

    Shapes:
        x, y: (batch, time, dim); the state: the convolution's last inputs (batch, kernel - 1, inner) and h
        (batch, inner, size); log_rate: (inner, size), $\log(-A)$; d: (inner,); kernel: (kernel, inner);
        inner = expand · dim.

    Arguments:
        dim: features of the input and the output.
        state_size: states for each inner feature; the n-th rate starts at -n.
        kernel_size: steps that the convolution sees.
        expand: how many inner features there are for each of ``dim``.
        rank: features of δ; None is dim / 16, rounded up.
        dt_min, dt_max: the range of Δ at the start, log-uniform, above 0.
        chunk: steps that are run in parallel at a time; memory grows with it. None is all.
        return_state: whether the call gives ``(y, state)`` in place of y.
        key: where the parameters are drawn from; by default the stream of ``px.seed``.

    Called with ``(x, state=None)``; ``step(x, state)`` takes (batch, dim) and gives ``(y, state)``.

    Raises:
        RangeError: a number outside its range. ShapeError: an input of another shape.

    Source: Gu and Dao, "Mamba: linear-time sequence modeling with selective state spaces", 2023.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.nn.Mamba(4)(jnp.ones((2, 7, 4))).shape
    (2, 7, 4)
    """

    kernel: Param  # (kernel, inner)
    kernel_bias: Param  # (inner,)
    log_rate: Param  # (inner, size)
    d: Param  # (inner,)
    dim: int
    state_size: int
    dt_min: float
    dt_max: float
    return_state: bool

    def __init__(
        self,
        dim: int,
        *,
        state_size: int = 16,
        kernel_size: int = 4,
        expand: int = 2,
        rank: int | None = None,
        dt_min: float = 1e-3,
        dt_max: float = 0.1,
        chunk: int | None = None,
        return_state: bool = False,
        key: Any = None,
    ):
        self.dim, self.state_size = check_size("Mamba", "dim", dim), check_size("Mamba", "state_size", state_size)
        self.kernel_size: int = check_size("Mamba", "kernel_size", kernel_size)
        self.expand: int = check_size("Mamba", "expand", expand)
        self.rank: int = -(-dim // 16) if rank is None else check_size("Mamba", "rank", rank)
        self.dt_min, self.dt_max = _steps("Mamba", dt_min, dt_max)
        self.chunk: int | None = None if chunk is None else check_size("Mamba", "chunk", chunk)
        self.return_state, dtype, inner = bool(return_state), param_dtype(), expand * dim
        keys = jax.random.split(key_or_draw(key), 6)
        self.into: Dense = Dense(dim, 2 * inner, bias=False, key=keys[0])
        self.select: Dense = Dense(inner, self.rank + 2 * state_size, bias=False, key=keys[1])
        self.delta: Dense = Dense(self.rank, inner, key=keys[2])
        self.out: Dense = Dense(inner, dim, bias=False, key=keys[3])
        low, high = math.log(dt_min), math.log(dt_max)
        step = jnp.exp(jax.random.uniform(keys[4], (inner,), dtype, minval=low, maxval=high))
        self.delta.bias = step + jnp.log(-jnp.expm1(-step))  # softplus of it is the step
        bound = 1 / math.sqrt(kernel_size)
        self.kernel = jax.random.uniform(keys[5], (kernel_size, inner), dtype, minval=-bound, maxval=bound)
        self.kernel_bias = jnp.zeros(inner, dtype)
        self.log_rate = jnp.broadcast_to(jnp.log(jnp.arange(1, state_size + 1, dtype=dtype)), (inner, state_size))
        self.d = jnp.ones(inner, dtype)

    def _over(self, x: Any, state: Any) -> tuple[jax.Array, Any]:
        u, z = jnp.split(self.into(x), 2, -1)
        batch, inner = u.shape[0], u.shape[-1]
        window, h = (None, None) if state is None else state
        if window is None:
            window = jnp.zeros((batch, self.kernel_size - 1, inner), u.dtype)
        if window.shape != (batch, self.kernel_size - 1, inner):
            fix = "pass the state that a call with this batch returned, or None"
            wanted = f"a window {(batch, self.kernel_size - 1, inner)}"
            raise ShapeError(wanted, got=describe(window), fix=fix)
        u, kernel, bias = harmonise(self, u, self.kernel, self.kernel_bias)
        u, window = _convolved(F.silu, u, window, kernel, bias)
        selected = self.select(u)
        low, b, c = jnp.split(selected, [self.rank, self.rank + self.state_size], -1)
        delta = self.delta(low)
        u, rate, d = harmonise(self, u, self.log_rate, self.d)
        y, h = _selected(F.identity, u, delta, rate, b, c, d, h, z, chunk=self.chunk)
        return self.out(y), (window, h)


@fused()
def _convolved(act: Any, u: Any, window: Any, kernel: Any, bias: Any) -> tuple[jax.Array, jax.Array]:
    """A causal convolution of each channel by itself, and the inputs that the next call needs."""
    steps = u.shape[1]
    seen = jnp.concatenate([window.astype(u.dtype), u], 1)
    wide = widen(seen)
    taps = beside(widen(kernel), 4)  # (1, 1, width, channels)
    y = sum(wide[:, k : k + steps] * taps[:, :, k] for k in range(kernel.shape[0])) + beside(widen(bias), 3)
    return act(y.astype(u.dtype)), seen[:, steps:]


@fused("chunk")
def _selected(
    act: Any, u: Any, delta: Any, rate: Any, b: Any, c: Any, d: Any, h: Any, z: Any, *, chunk: int | None
) -> tuple[jax.Array, jax.Array]:
    steps = F.softplus(widen(delta))
    y, last = F.selective_scan(u, steps, -jnp.exp(widen(rate)), b, c, d, h, chunk=chunk)
    return act(y * F.silu(z)), last


def _steps(layer: str, low: float, high: float) -> tuple[float, float]:
    if not 0 < low < high:
        raise RangeError("0 < dt_min < dt_max", got=f"{low} and {high}", fix="choose such as 1e-3 and 0.1", where=layer)
    return float(low), float(high)
