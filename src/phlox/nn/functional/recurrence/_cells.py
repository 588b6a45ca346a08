"""One step of each recurrent network: the formulas that the sequences run too."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from phlox.core import RangeError, ShapeError, answering, describe
from phlox.nn.functional._activations import tanh
from phlox.nn.functional._numeric import inexact, widen
from phlox.nn.functional.recurrence._form import Activation, Form
from phlox.nn.functional.recurrence._loop import Carry, Product, Step, Weight

__all__ = ["gru_cell", "lstm_cell", "rnn_cell"]


@answering
def rnn_cell(
    x: ArrayLike,
    state: ArrayLike | None,
    weight_ih: ArrayLike,
    weight_hh: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    act: Activation = tanh,
) -> Array:
    r"""One step of ``rnn``: $h' = σ(x W_{ih} + h W_{hh} + b)$.

    Shapes:
        x: (..., in); state and the result: (..., hidden); weights and bias as in ``rnn``.

    >>> rnn_cell(jnp.ones(1), None, jnp.ones((1, 1)), jnp.ones((1, 1)), act=jnp.abs).item()
    1.0

    Source: Elman, "Finding structure in time" (1990).
    """
    form = Form("rnn_cell", x, weight_ih, weight_hh, bias, 1, steps=False)
    states = form.states(None if state is None else (state,), (form.size,))
    return form.once(functools.partial(rnn_step, act), ((form.hh, None),), states)[0]


@answering
def lstm_cell(
    x: ArrayLike,
    state: tuple[ArrayLike, ArrayLike] | None,
    weight_ih: ArrayLike,
    weight_hh: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    weight_hr: ArrayLike | None = None,
    act: Activation = tanh,
) -> tuple[Array, Array]:
    r"""One step of ``lstm``: $c' = f ⊙ c + i ⊙ σ(g)$, $h' = o ⊙ σ(c')$.

    Shapes:
        x: (..., in); state and the result: (..., out) and (..., hidden); weights and bias as in ``lstm``.

    >>> w = jnp.zeros((1, 4))
    >>> lstm_cell(jnp.ones(1), (jnp.ones(1), jnp.full(1, 2.0)), w, w)[1].item()
    1.0

    Source: Hochreiter and Schmidhuber (1997); Gers et al. (2000).
    """
    form = Form("lstm_cell", x, weight_ih, weight_hh, bias, 4, weight_hr, steps=False)
    states = form.states(state, (form.out, form.size))
    weights: list[Weight] = [(form.hh, None)]
    if form.hr is not None:
        weights.append((form.hr, None))
    h, c = form.once(functools.partial(lstm_step, act, form.hr is not None), weights, states)
    return h, c


@answering
def gru_cell(
    x: ArrayLike,
    state: ArrayLike | None,
    weight_ih: ArrayLike,
    weight_hh: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    bias_hn: ArrayLike | None = None,
    reset_after: bool = True,
    act: Activation = tanh,
) -> Array:
    r"""One step of ``gru``: $h' = (1 - z) ⊙ n + z ⊙ h$.

    Shapes:
        x: (..., in); state and the result: (..., hidden); weights and biases as in ``gru``.

    >>> w = jnp.zeros((1, 3))
    >>> gru_cell(jnp.ones(1), jnp.ones(1), w, w).item()
    0.5

    Source: Cho et al. (arXiv:1406.1078).
    """
    form = Form("gru_cell", x, weight_ih, weight_hh, bias, 3, steps=False)
    states = form.states(None if state is None else (state,), (form.size,))
    step, weights = gru_parts("gru_cell", act, form.hh, bias_hn, reset_after)
    return form.once(step, weights, states)[0]


# --- the formulas: one step, given the inputs' product ---------------------------------------------------


def rnn_step(act: Activation, product: Product, carry: Carry, x: Array) -> Carry:
    (h,) = carry
    return (act(x + product(0, h)),)


def lstm_step(act: Activation, projects: bool, product: Product, carry: Carry, x: Array) -> Carry:
    h, c = carry
    i, f, g, o = jnp.split(x + product(0, h), 4, -1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * act(g)
    h = jax.nn.sigmoid(o) * act(c)
    return (product(1, h) if projects else h), c


def gru_step(act: Activation, product: Product, carry: Carry, x: Array) -> Carry:
    """The reset gate acts after the product."""
    (h,) = carry
    (xr, xz, xn), (hr, hz, hn) = jnp.split(x, 3, -1), jnp.split(product(0, h), 3, -1)
    r, z = jax.nn.sigmoid(xr + hr), jax.nn.sigmoid(xz + hz)
    n = act(xn + r * hn)
    return ((1 - z) * n + z * h,)


def gru_before_step(act: Activation, product: Product, carry: Carry, x: Array) -> Carry:
    """The reset gate acts before the product."""
    (h,) = carry
    (xr, xz, xn), (hr, hz) = jnp.split(x, 3, -1), jnp.split(product(0, h), 2, -1)
    r, z = jax.nn.sigmoid(xr + hr), jax.nn.sigmoid(xz + hz)
    n = act(xn + product(1, r * h))
    return ((1 - z) * n + z * h,)


def gru_parts(
    name: str, act: Activation, hh: Array, bias_hn: ArrayLike | None, reset_after: bool
) -> tuple[Step, tuple[Weight, ...]]:
    size = hh.shape[0]
    if not reset_after:
        if bias_hn is not None:
            fix = "leave it away, or pass reset_after=True"
            raise RangeError("no bias_hn where the reset comes before the product", got="one", fix=fix, where=name)
        return functools.partial(gru_before_step, act), ((hh[:, : 2 * size], None), (hh[:, 2 * size :], None))
    bias = None
    if bias_hn is not None:
        given = widen(inexact(bias_hn, name))
        if given.shape != (size,):
            raise ShapeError(f"bias_hn ({size},)", got=describe(given), fix="one number per hidden unit", where=name)
        bias = jnp.concatenate([jnp.zeros(2 * size, given.dtype), given])
    return functools.partial(gru_step, act), ((hh, bias),)
