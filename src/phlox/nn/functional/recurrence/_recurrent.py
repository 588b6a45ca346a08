"""Recurrent networks over time: Elman's, long short-term memory, gated recurrent units.

The product of the inputs is one for all steps, before the loop; so are the weights' gradients, after it (``_loop``).
In half precision gates and what is carried are float32 within a sequence.
"""

from __future__ import annotations

import functools

from jax import Array
from jax.typing import ArrayLike

from phlox.core import answering
from phlox.nn.functional._activations import tanh
from phlox.nn.functional.kernels._recurrent import gru_kernel, lstm_kernel
from phlox.nn.functional.recurrence._cells import gru_parts, lstm_step, rnn_step
from phlox.nn.functional.recurrence._form import Activation, Form, Run
from phlox.nn.functional.recurrence._loop import Weight

__all__ = ["gru", "lstm", "rnn"]


@answering
def rnn(
    x: ArrayLike,
    weight_ih: ArrayLike,
    weight_hh: ArrayLike,
    bias: ArrayLike | None = None,
    state: ArrayLike | None = None,
    *,
    act: Activation = tanh,
    lengths: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reverse: bool = False,
    truncate: int | None = None,
    unroll: int = 1,
) -> tuple[Array, Array]:
    r"""A recurrent network with one hidden vector: $h_t = σ(x_t W_{ih} + h_{t-1} W_{hh} + b)$.

    Shapes:
        x: (batch, time, in); weight_ih: (in, hidden); weight_hh: (hidden, hidden); bias: (hidden,) or None;
        state: (batch, hidden), zeros where None; returns y: (batch, time, hidden) and the last h: (batch, hidden).

    Arguments:
        act: σ.
        lengths: (batch,) integers, steps of each sequence that are real, from the first on.
        mask: (batch, time) booleans, which steps are real; a state passes over the others unchanged, y is 0 there.
        reverse: run from the last step to the first.
        truncate: steps; no gradient passes from one stretch of so many steps to the next. None is no border.
        unroll: steps per round of the compiled loop.

    Raises:
        ShapeError: sizes that do not match. RangeError: lengths outside [0, time], a ``truncate`` below 1.

    >>> import jax.numpy as jnp
    >>> y, h = rnn(jnp.ones((1, 2, 1)), jnp.ones((1, 1)), jnp.ones((1, 1)), act=jnp.abs)
    >>> y.ravel().tolist(), h.tolist()
    ([1.0, 2.0], [[2.0]])

    Source: Elman, "Finding structure in time" (1990).
    """
    form = Form("rnn", x, weight_ih, weight_hh, bias, 1)
    states = form.states(None if state is None else (state,), (form.size,))
    how = Run(lengths, mask, reverse, truncate, unroll)
    y, (h,) = form.run(functools.partial(rnn_step, act), ((form.hh, None),), states, how, act)
    return y, h


@answering
def lstm(
    x: ArrayLike,
    weight_ih: ArrayLike,
    weight_hh: ArrayLike,
    bias: ArrayLike | None = None,
    state: tuple[ArrayLike, ArrayLike] | None = None,
    *,
    weight_hr: ArrayLike | None = None,
    act: Activation = tanh,
    lengths: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reverse: bool = False,
    truncate: int | None = None,
    unroll: int = 1,
) -> tuple[Array, tuple[Array, Array]]:
    r"""Long short-term memory, $c_t = f ⊙ c_{t-1} + i ⊙ σ(g)$ and $h_t = o ⊙ σ(c_t)$, perhaps projected.

    $[i, f, g, o] = x_t W_{ih} + h_{t-1} W_{hh} + b$, where i, f and o pass through a sigmoid; with a projection
    $h_t = (o ⊙ σ(c_t)) W_{hr}$.

    Shapes:
        x: (batch, time, in); weight_ih: (in, 4 · hidden); weight_hh: (out, 4 · hidden); bias: (4 · hidden,) or None;
        weight_hr: (hidden, out) or None, where out is hidden; state: (batch, out) and (batch, hidden), zeros where
        None; returns y: (batch, time, out) and the last (h, c).

    Arguments and errors: as ``rnn``; the blocks of four are in the order i, f, g, o.

    >>> import jax.numpy as jnp
    >>> w = jnp.zeros((1, 4))
    >>> y, (h, c) = lstm(jnp.ones((1, 1, 1)), w, w, state=(jnp.ones((1, 1)), jnp.full((1, 1), 2.0)))
    >>> c.item()  # half of it is forgotten
    1.0

    Source: Hochreiter and Schmidhuber (1997); Gers et al. (2000); the projection: Sak et al. (arXiv:1402.1128).
    """
    form = Form("lstm", x, weight_ih, weight_hh, bias, 4, weight_hr)
    states = form.states(state, (form.out, form.size))
    weights: list[Weight] = [(form.hh, None)]
    if form.hr is not None:
        weights.append((form.hr, None))
    how = Run(lengths, mask, reverse, truncate, unroll)
    kernel = lstm_kernel if act is tanh and form.hr is None else None
    y, (h, c) = form.run(functools.partial(lstm_step, act, form.hr is not None), weights, states, how, act, kernel)
    return y, (h, c)


@answering
def gru(
    x: ArrayLike,
    weight_ih: ArrayLike,
    weight_hh: ArrayLike,
    bias: ArrayLike | None = None,
    state: ArrayLike | None = None,
    *,
    bias_hn: ArrayLike | None = None,
    reset_after: bool = True,
    act: Activation = tanh,
    lengths: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reverse: bool = False,
    truncate: int | None = None,
    unroll: int = 1,
) -> tuple[Array, Array]:
    r"""Gated recurrent units, $h_t = (1 - z) ⊙ n + z ⊙ h_{t-1}$ with gates r and z.

    $r, z = \mathrm{sigmoid}(x_t W_{ih} + h_{t-1} W_{hh} + b)$ in their blocks. The candidate is
    $n = σ(x_t W_{in} + b_n + r ⊙ (h_{t-1} W_{hn} + b_{hn}))$ with the reset after the product, and
    $n = σ(x_t W_{in} + b_n + (r ⊙ h_{t-1}) W_{hn})$ with the reset before it.

    Shapes:
        x: (batch, time, in); weight_ih: (in, 3 · hidden); weight_hh: (hidden, 3 · hidden); bias: (3 · hidden,) or
        None; bias_hn: (hidden,) or None, with the reset after the product only; state: (batch, hidden), zeros where
        None; returns y: (batch, time, hidden) and the last h.

    Arguments and errors: as ``rnn``; the blocks of three are in the order r, z, n.

    >>> import jax.numpy as jnp
    >>> w = jnp.zeros((1, 3))
    >>> gru(jnp.ones((1, 1, 1)), w, w, state=jnp.ones((1, 1)))[1].item()
    0.5

    Source: Cho et al. (arXiv:1406.1078): its first version has the reset after the product, its third before it.
    """
    form = Form("gru", x, weight_ih, weight_hh, bias, 3)
    states = form.states(None if state is None else (state,), (form.size,))
    step, weights = gru_parts(form.name, act, form.hh, bias_hn, reset_after)
    kernel = functools.partial(gru_kernel, weights[0][1]) if act is tanh and reset_after else None
    y, (h,) = form.run(step, weights, states, Run(lengths, mask, reverse, truncate, unroll), act, kernel)
    return y, h
