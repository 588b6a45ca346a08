"""Recurrent cells: one step, from an input and a state to an output and the next state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import Module, Param, RangeError, ShapeError, describe, harmonise, key_or_draw, param_dtype
from phlox.nn import functional as F
from phlox.nn import init as inits
from phlox.nn._autosize import sized
from phlox.nn._checks import check_act, check_size
from phlox.nn.functional._numeric import spread

Activation = Callable[[jax.Array], jax.Array]
Init = Callable[..., jax.Array]


class RecurrentCell(Module):
    """What the three cells share: weights in blocks, one for each gate, and the first state."""

    weight_ih: Param  # (in, blocks · hidden)
    weight_hh: Param  # (out, blocks · hidden)
    bias: Param | None  # (blocks · hidden,)
    h0: Param | None  # (out,) the state before the first step
    in_size: int
    hidden_size: int
    act: Activation

    _blocks = 1

    def _build(
        self, in_size: int, hidden_size: int, act: Activation, bias: bool, init: Init, recurrent_init: Init,
        learn_state: bool, key: Any, out_size: int | None = None,
    ) -> None:  # fmt: skip
        name = type(self).__name__
        self.in_size = check_size(name, "in_size", in_size)
        self.hidden_size = check_size(name, "hidden_size", hidden_size)
        self.act = check_act(name, act)
        out = hidden_size if out_size is None else out_size
        keys = jax.random.split(key, 2 * self._blocks)
        blocks = [init(k, (in_size, hidden_size), param_dtype()) for k in keys[: self._blocks]]
        recurrent = [recurrent_init(k, (out, hidden_size), param_dtype()) for k in keys[self._blocks :]]
        self.weight_ih, self.weight_hh = jnp.concatenate(blocks, -1), jnp.concatenate(recurrent, -1)
        self.bias = jnp.zeros(self._blocks * hidden_size, param_dtype()) if bias else None
        self.h0 = jnp.zeros(out, param_dtype()) if learn_state else None

    def _check(self, x: jax.Array) -> None:
        if x.ndim < 1 or x.shape[-1] != self.in_size:
            fix = f"give the layer before {self.in_size} outputs, or make this one of in_size={x.shape[-1:]}"
            raise ShapeError(f"(..., {self.in_size})", got=describe(x), fix=fix)

    def _first(self, lead: tuple[int, ...], dtype: Any) -> tuple[jax.Array, ...]:
        """The parts of the state before the first step."""
        return (_begun(self.h0, lead, self.weight_hh.shape[0], dtype),)

    def initial_state(self, x: Any) -> Any:
        """The state before the first step, learned or zeros, for inputs (..., in) of one step."""
        x = jnp.asarray(x)
        parts = self._first(x.shape[:-1], jnp.promote_types(x.dtype, self.weight_ih.dtype))
        return bare(parts)

    def _brief(self) -> str:
        act = "" if self.act is F.tanh else f", {getattr(self.act, '__name__', self.act)}"
        return f"{type(self).__name__}({self.in_size} → {self.hidden_size}{act})"


def bare(parts: Sequence[Any]) -> Any:
    """A state of one part as that part, else a tuple."""
    return tuple(parts) if len(parts) > 1 else next(iter(parts))


def _begun(start: jax.Array | None, lead: tuple[int, ...], size: int, dtype: Any) -> jax.Array:
    if start is None:
        return jnp.zeros((*lead, size), dtype)
    return spread(start.astype(dtype), (*lead, size))


@sized(in_size=-1)
class RNNCell(RecurrentCell):
    r"""One step of a recurrent network, $h' = σ(x W_{ih} + h W_{hh} + b)$; gives (h', h').

    Shapes:
        x: (..., in); state h: (..., hidden); weight_ih: (in, hidden); weight_hh: (hidden, hidden); bias: (hidden,).

    Arguments:
        in_size: features of the input.
        hidden_size: features of the state.
        act: σ.
        bias: whether to add b, which starts at zero.
        init, recurrent_init: initialisers of weight_ih and weight_hh, each gate by itself.
        learn_state: whether the state before the first step is learned; it starts at zero.
        key: where the weights are drawn from; by default the stream of ``px.seed``.

    Raises:
        RangeError: a size below 1.
        ShapeError: an input of other features, or a state of another shape.

    Source: Elman, "Finding structure in time", 1990.

    >>> import jax.numpy as jnp, phlox as px
    >>> out, state = px.nn.RNNCell(3, 2)(jnp.ones((5, 3)))
    >>> out.shape, state is out
    ((5, 2), True)
    """

    def __init__(
        self,
        in_size: int,
        hidden_size: int,
        act: Activation = F.tanh,
        *,
        bias: bool = True,
        init: Init = inits.glorot_uniform,
        recurrent_init: Init = inits.orthogonal,
        learn_state: bool = False,
        key: Any = None,
    ):
        self._build(in_size, hidden_size, act, bias, init, recurrent_init, learn_state, key_or_draw(key))

    def __call__(self, x: Any, state: Any = None) -> tuple[jax.Array, jax.Array]:
        x, w_ih, w_hh, bias, h0 = harmonise(self, x, self.weight_ih, self.weight_hh, self.bias, self.h0)
        self._check(x)
        if state is None:
            state = _begun(h0, x.shape[:-1], self.hidden_size, x.dtype)
        h = F.rnn_cell(x, state, w_ih, w_hh, bias, act=self.act)
        return h, h


@sized(in_size=-1)
class LSTMCell(RecurrentCell):
    r"""One step of long short-term memory, $c' = f ⊙ c + i ⊙ σ(g)$, $h' = o ⊙ σ(c')$; gives (h', (h', c')).

    $[i, f, g, o] = x W_{ih} + h W_{hh} + b$ in blocks, where i, f and o pass through a sigmoid. With ``proj_size``
    the output is projected: $h' = (o ⊙ σ(c')) W_{hr}$.

    Shapes:
        x: (..., in); state h: (..., out), c: (..., hidden); weight_ih: (in, 4 · hidden); weight_hh: (out, 4 · hidden);
        bias: (4 · hidden,); weight_hr: (hidden, out); out is hidden where there is no projection.

    Arguments:
        in_size: features of the input.
        hidden_size: features of the cell's memory c.
        act: σ.
        proj_size: features of the output, fewer than ``hidden_size``; None is no projection.
        bias: whether to add b, which starts at zero, but for the block of f.
        forget_bias: where b starts in the block of f.
        init, recurrent_init: initialisers of weight_ih and weight_hr, and of weight_hh, each gate by itself.
        learn_state: whether the state before the first step is learned; it starts at zero.
        key: where the weights are drawn from; by default the stream of ``px.seed``.

    Raises:
        RangeError: a size below 1, or a ``proj_size`` of ``hidden_size`` or more.
        ShapeError: an input of other features, or a state of another shape.

    Source: Hochreiter and Schmidhuber, 1997; Gers et al., 2000; the projection: Sak et al., 2014; a forget bias of
    1: Jozefowicz et al., 2015.

    >>> import jax.numpy as jnp, phlox as px
    >>> out, (h, c) = px.nn.LSTMCell(3, 4, proj_size=2)(jnp.ones((5, 3)))
    >>> h.shape, c.shape
    ((5, 2), (5, 4))
    """

    weight_hr: Param | None  # (hidden, out)
    c0: Param | None  # (hidden,) the memory before the first step
    proj_size: int | None
    forget_bias: float

    _blocks = 4

    def __init__(
        self,
        in_size: int,
        hidden_size: int,
        act: Activation = F.tanh,
        *,
        proj_size: int | None = None,
        bias: bool = True,
        forget_bias: float = 1.0,
        init: Init = inits.glorot_uniform,
        recurrent_init: Init = inits.orthogonal,
        learn_state: bool = False,
        key: Any = None,
    ):
        key = key_or_draw(key)
        if proj_size is not None and check_size("LSTMCell", "proj_size", proj_size) >= hidden_size:
            raise RangeError(
                f"a proj_size below hidden_size={hidden_size}",
                got=repr(proj_size),
                fix="make it smaller, or None for no projection",
                where="LSTMCell",
            )
        self._build(in_size, hidden_size, act, bias, init, recurrent_init, learn_state, key, proj_size)
        self.proj_size, self.forget_bias = proj_size, float(forget_bias)
        if self.bias is not None:
            self.bias: Param | None = self.bias.at[hidden_size : 2 * hidden_size].set(forget_bias)
        project = proj_size is not None
        self.weight_hr = init(jax.random.fold_in(key, 1), (hidden_size, proj_size), param_dtype()) if project else None
        self.c0 = jnp.zeros(hidden_size, param_dtype()) if learn_state else None

    def __call__(self, x: Any, state: Any = None) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        x, w_ih, w_hh, bias, w_hr = harmonise(self, x, self.weight_ih, self.weight_hh, self.bias, self.weight_hr)
        self._check(x)
        if state is None:
            state = self._first(x.shape[:-1], x.dtype)
        h, c = F.lstm_cell(x, state, w_ih, w_hh, bias, weight_hr=w_hr, act=self.act)
        return h, (h, c)

    def _first(self, lead: tuple[int, ...], dtype: Any) -> tuple[jax.Array, ...]:
        return (*super()._first(lead, dtype), _begun(self.c0, lead, self.hidden_size, dtype))


@sized(in_size=-1)
class GRUCell(RecurrentCell):
    r"""One step of gated recurrent units, $h' = (1 - z) ⊙ n + z ⊙ h$; gives (h', h').

    r and z are sigmoids of $x W_{ih} + h W_{hh} + b$ in their blocks. With ``reset_after`` the candidate is
    $n = σ(x W_{in} + b_n + r ⊙ (h W_{hn} + b_{hn}))$, else $n = σ(x W_{in} + b_n + (r ⊙ h) W_{hn})$.

    Shapes:
        x: (..., in); state h: (..., hidden); weight_ih: (in, 3 · hidden); weight_hh: (hidden, 3 · hidden);
        bias: (3 · hidden,); bias_hn: (hidden,); the blocks are r, z, n.

    Arguments:
        in_size: features of the input.
        hidden_size: features of the state.
        act: σ.
        reset_after: whether the reset gate acts after the product with weight_hh (PyTorch, cuDNN; Flux's GRU), or
            before it (Flux's GRUv3).
        bias: whether to add the biases, which start at zero.
        init, recurrent_init: initialisers of weight_ih and weight_hh, each gate by itself.
        learn_state: whether the state before the first step is learned; it starts at zero.
        key: where the weights are drawn from; by default the stream of ``px.seed``.

    Raises:
        RangeError: a size below 1.
        ShapeError: an input of other features, or a state of another shape.

    Source: Cho et al., "Learning phrase representations using RNN encoder-decoder", 2014, versions 1 and 3.

    >>> import jax.numpy as jnp, phlox as px
    >>> out, state = px.nn.GRUCell(3, 2)(jnp.ones((5, 3)))
    >>> out.shape
    (5, 2)
    """

    bias_hn: Param | None  # (hidden,)

    _blocks = 3

    def __init__(
        self,
        in_size: int,
        hidden_size: int,
        act: Activation = F.tanh,
        *,
        reset_after: bool = True,
        bias: bool = True,
        init: Init = inits.glorot_uniform,
        recurrent_init: Init = inits.orthogonal,
        learn_state: bool = False,
        key: Any = None,
    ):
        self._build(in_size, hidden_size, act, bias, init, recurrent_init, learn_state, key_or_draw(key))
        self.reset_after: bool = bool(reset_after)
        self.bias_hn = jnp.zeros(hidden_size, param_dtype()) if bias and reset_after else None

    def __call__(self, x: Any, state: Any = None) -> tuple[jax.Array, jax.Array]:
        x, w_ih, w_hh, bias, b_hn, h0 = harmonise(
            self, x, self.weight_ih, self.weight_hh, self.bias, self.bias_hn, self.h0
        )
        self._check(x)
        if state is None:
            state = _begun(h0, x.shape[:-1], self.hidden_size, x.dtype)
        options: dict[str, Any] = {"reset_after": self.reset_after, "act": self.act}
        h = F.gru_cell(x, state, w_ih, w_hh, bias, bias_hn=b_hn, **options)
        return h, h
