"""Recurrent layers over whole sequences: RNN, LSTM and GRU, stacked, in both directions."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import (
    Module,
    RangeError,
    ShapeError,
    State,
    describe,
    harmonise,
    key_or_draw,
    python_control_flow,
)
from phlox.nn import functional as F
from phlox.nn._autosize import sized
from phlox.nn._checks import check_act, check_probability, check_size
from phlox.nn.features._dropout import Dropout
from phlox.nn.functional.recurrence._loop import is_pure
from phlox.nn.recurrence._cells import Activation, GRUCell, LSTMCell, RecurrentCell, RNNCell, bare


class RecurrentLayer(Module):
    """What the three layers share: cells in order of layer, then direction, and how they are run."""

    cells: list[Any]
    between: Dropout | None  # between layers
    carried: tuple[State, ...] | None  # (parts of the state, each (layers, batch, size))
    in_size: int
    hidden_size: int
    act: Activation
    num_layers: int
    bidirectional: bool
    dropout: float
    return_state: bool
    stateful: int | None
    truncate: int | None
    unroll: int

    _cell: type[RecurrentCell] = RecurrentCell
    _form = ""

    def _build(
        self, in_size: int, hidden_size: int, act: Activation, num_layers: int, bidirectional: bool, dropout: float,
        return_state: bool, stateful: int | None, truncate: int | None, unroll: int, key: Any, options: dict[str, Any],
    ) -> None:  # fmt: skip
        name = type(self).__name__
        self.in_size, self.hidden_size = (
            check_size(name, "in_size", in_size),
            check_size(name, "hidden_size", hidden_size),
        )
        self.act, self.num_layers = check_act(name, act), check_size(name, "num_layers", num_layers)
        self.bidirectional, self.dropout = bool(bidirectional), check_probability(name, "dropout", dropout)
        self.return_state = bool(return_state)
        self.stateful = None if stateful is None else check_size(name, "stateful", stateful)
        self.truncate = None if truncate is None else check_size(name, "truncate", truncate)
        self.unroll = check_size(name, "unroll", unroll)
        if self.stateful is not None and (bidirectional or options.get("learn_state")):
            got = "bidirectional=True" if bidirectional else "learn_state=True"
            fix = "pass states from call to call yourself, with return_state=True"
            raise RangeError("stateful in one direction, from zeros", got=got, fix=fix, where=name)
        directions = 2 if bidirectional else 1
        keys = jax.random.split(key_or_draw(key), num_layers * directions + 1)
        self.cells = []
        for i in range(num_layers * directions):
            width = in_size if i < directions else directions * self.cells[0].weight_hh.shape[0]
            self.cells.append(self._cell(width, hidden_size, act, key=keys[i], **options))
        self.between = Dropout(dropout, key=keys[-1]) if dropout and num_layers > 1 else None
        self.carried = None
        if self.stateful is not None:
            self.carried = self._zeros(self.stateful)

    def _zeros(self, batch: int) -> tuple[jax.Array, ...]:
        parts = [cell._first((batch,), cell.weight_ih.dtype) for cell in self.cells]
        return tuple(jnp.stack(part) for part in zip(*parts, strict=True))

    def reset_state(self, rows: Any = None) -> None:
        """Make the kept state zero: of all sequences, or of those where ``rows`` (batch,) is True."""
        if self.carried is None:
            fix = f"build it with stateful=batch size: {type(self).__name__}(…, stateful=32)"
            raise RangeError("a layer that keeps its state", got="one that does not", fix=fix, where=self._brief())
        if rows is None:
            self.carried = tuple(jnp.zeros_like(part) for part in self.carried)
        else:
            rows, batch = jnp.asarray(rows), self.carried[0].shape[1]
            if rows.dtype != jnp.bool_ or rows.shape != (batch,):
                fix = "write rows.astype(bool) if they are 0 and 1, jnp.isin(jnp.arange(n), rows) if numbers"
                raise ShapeError(f"rows ({batch},) of booleans", got=describe(rows), fix=fix, where=self._brief())
            gone = rows[:, None]
            self.carried = tuple(jnp.where(gone, jnp.zeros_like(part), part) for part in self.carried)

    def __call__(self, x: Any, state: Any = None, lengths: Any = None, mask: Any = None) -> Any:
        (x, *arrays) = harmonise(self, x, *[a for cell in self.cells for a in _arrays(cell).values()])
        if x.ndim != 3 or x.shape[-1] != self.in_size:
            raise ShapeError(f"(batch, time, {self.in_size})", got=describe(x), fix=self._cure(x))
        weights, found = [], iter(arrays)
        for cell in self.cells:
            weights.append({name: next(found) for name in _arrays(cell)})
        parts = self._states(state, weights, x)
        last: list[tuple[jax.Array, ...]] = []
        directions = 2 if self.bidirectional else 1
        for at in range(0, len(self.cells), directions):
            if at and self.between is not None:
                x = self.between(x)
            ys = []
            for i in range(at, at + directions):
                y, end = self._run(x, weights[i], tuple(p[i] for p in parts), lengths, mask, reverse=i > at)
                ys.append(y)
                last.append(end)
            x = ys[0] if directions == 1 else jnp.concatenate(ys, -1)
        ends = tuple(jnp.stack(part) for part in zip(*last, strict=True))
        if self.carried is not None:
            kept = zip(ends, self.carried, strict=True)
            self.carried = tuple(jax.lax.stop_gradient(end).astype(old.dtype) for end, old in kept)
        return (x, bare(ends)) if self.return_state else x

    def _states(self, state: Any, weights: list[Any], x: jax.Array) -> tuple[Any, ...]:
        """The parts of the state before the first step, (layers · directions, batch, size) each."""
        batch, cells = x.shape[0], len(self.cells)
        if state is not None:
            given = state if isinstance(state, (tuple, list)) else (state,)
        elif self.carried is not None:
            given = tuple(part.astype(x.dtype) for part in self.carried)
        else:
            firsts = [_begun(cell, w, batch, x.dtype) for cell, w in zip(self.cells, weights, strict=True)]
            return tuple(zip(*firsts, strict=True))
        sizes = [part.shape[-1] for part in self.cells[0]._first((), x.dtype)]
        wanted = [(cells, batch, size) for size in sizes]
        if [jnp.shape(part) for part in given] != wanted:
            fix = "pass the state that a call with this batch size returned, or None"
            if state is None:
                fix = f"call it with {self.stateful} sequences, as stateful={self.stateful} says, or pass a state"
            got = " and ".join(describe(jnp.asarray(part)) for part in given)
            raise ShapeError(f"state {' and '.join(map(str, wanted))}", got=got, fix=fix)
        return tuple(given)

    def _run(
        self, x: jax.Array, w: dict[str, Any], state: tuple[Any, ...], lengths: Any, mask: Any, *, reverse: bool
    ) -> tuple[jax.Array, tuple[jax.Array, ...]]:
        named = {k: v for k, v in w.items() if k not in ("h0", "c0")}
        if isinstance(lengths, (list, tuple)):
            lengths = jnp.asarray(lengths)
        if lengths is not None and python_control_flow():
            F.sequence_mask(lengths, x.shape[1])  # refuses lengths out of range while they can be read
        fixed = self._fixed()
        run = _compiled if python_control_flow() and is_pure(self.act) else _forward
        return run(
            self._form, self.act, fixed, x, named, state, lengths, mask, reverse=reverse, truncate=self.truncate,
            unroll=self.unroll,
        )  # fmt: skip

    def _fixed(self) -> tuple[tuple[str, Any], ...]:
        """Options of the functional form that are no arrays."""
        return ()

    def _cure(self, x: jax.Array) -> str:
        if x.ndim == 2 and x.shape[-1] == self.in_size:
            return "add a batch axis: x[None]"
        if x.ndim == 3 and x.shape[1] == self.in_size:
            return "move the features to the last axis: jnp.swapaxes(x, 1, 2)"
        return f"give the layer before {self.in_size} outputs, and arrays (batch, time, features)"

    def _brief(self) -> str:
        layers = f", num_layers={self.num_layers}" if self.num_layers > 1 else ""
        both = ", bidirectional=True" if self.bidirectional else ""
        return f"{type(self).__name__}({self.in_size} → {self.hidden_size}{layers}{both})"


def _arrays(cell: RecurrentCell) -> dict[str, Any]:
    names = ("weight_ih", "weight_hh", "bias", "weight_hr", "bias_hn", "h0", "c0")
    return {name: getattr(cell, name) for name in names if getattr(cell, name, None) is not None}


def _begun(cell: RecurrentCell, w: dict[str, Any], batch: int, dtype: Any) -> tuple[jax.Array, ...]:
    """The first state of one cell, from the parameters in the dtype they compute in."""
    parts = cell._first((batch,), dtype)
    learned = [w.get(name) for name in ("h0", "c0")]
    return tuple(
        part if own is None else jnp.broadcast_to(own, part.shape) for part, own in zip(parts, learned, strict=False)
    )


def _forward(
    form: str, act: Any, fixed: Any, x: Any, w: dict[str, Any], state: tuple[Any, ...], lengths: Any, mask: Any, *,
    reverse: bool, truncate: int | None, unroll: int,
) -> tuple[jax.Array, tuple[jax.Array, ...]]:  # fmt: skip
    """One cell over a sequence: outputs, and the parts of the last state."""
    options = {"lengths": lengths, "mask": mask, "reverse": reverse, "truncate": truncate, "unroll": unroll}
    y, last = getattr(F, form)(x, state=bare(state), act=act, **w, **dict(fixed), **options)
    return y, last if isinstance(last, tuple) else (last,)


_compiled = jax.jit(_forward, static_argnums=(0, 1, 2), static_argnames=("reverse", "truncate", "unroll"))


@sized(in_size=-1)
class RNN(RecurrentLayer):
    r"""A recurrent network over sequences: $h_t = σ(x_t W_{ih} + h_{t-1} W_{hh} + b)$, $y_t = h_t$.

    Shapes:
        x: (batch, time, in); y: (batch, time, out), or (batch, time, 2 · out) where bidirectional, the direction from
        the first step on first; states: (layers · directions, batch, size), ordered by layer, then direction.

    Arguments:
        in_size: features of the input.
        hidden_size: features of the state.
        act: σ.
        num_layers: how many layers; each runs over the outputs of the one before.
        bidirectional: whether each layer also runs from each sequence's last real step to its first.
        dropout: in training, the share of the outputs between layers that are zeroed.
        return_state: whether the call gives ``(y, state)`` in place of y, with the states after each sequence's last
            real step.
        stateful: a batch size, for which the state is kept from call to call as State, without gradient;
            ``reset_state`` makes it zero again. A state that is passed replaces the kept one. None keeps none.
        truncate: steps; gradients do not flow from one stretch of so many steps back to the one before.
        unroll: steps per round of the compiled loop.
        cell: further options of the cells: ``bias``, ``init``, ``recurrent_init``, ``learn_state``.
        key: where the weights are drawn from; by default the stream of ``px.seed``.

    Called with ``(x, state=None, lengths=None, mask=None)``: ``lengths`` (batch,) counts the real steps of each
    sequence, ``mask`` (batch, time) marks them. A padded step changes nothing: states pass over it, y is 0 there.

    Raises:
        RangeError: a number outside its range, or ``stateful`` with ``bidirectional`` or ``learn_state``.
        ShapeError: an input, a state, lengths or a mask of another shape.

    Source: Elman, "Finding structure in time", 1990; both directions: Schuster and Paliwal, 1997.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.nn.RNN(3, 5, px.relu, bidirectional=True)(jnp.ones((2, 7, 3)), lengths=jnp.array([7, 4])).shape
    (2, 7, 10)
    """

    _cell, _form = RNNCell, "rnn"

    def __init__(
        self, in_size: int, hidden_size: int, act: Activation = F.tanh, *, num_layers: int = 1,
        bidirectional: bool = False, dropout: float = 0.0, return_state: bool = False, stateful: int | None = None,
        truncate: int | None = None, unroll: int = 1, key: Any = None, **cell: Any,
    ):  # fmt: skip
        self._build(
            in_size, hidden_size, act, num_layers, bidirectional, dropout, return_state, stateful, truncate, unroll,
            key, cell,
        )  # fmt: skip


@sized(in_size=-1)
class LSTM(RecurrentLayer):
    r"""Long short-term memory over sequences: $c_t = f ⊙ c_{t-1} + i ⊙ σ(g)$, $y_t = h_t = o ⊙ σ(c_t)$.

    $[i, f, g, o] = x_t W_{ih} + h_{t-1} W_{hh} + b$ as in ``LSTMCell``; the state is the pair (h, c).

    Shapes, arguments and errors: as ``RNN``, and further
        proj_size: features of y and h, fewer than ``hidden_size``; None is no projection.
        forget_bias: an option of the cells, where the bias of the forget gate starts; 1.

    Source: Hochreiter and Schmidhuber, 1997; Gers et al., 2000.

    >>> import jax.numpy as jnp, phlox as px
    >>> y, (h, c) = px.nn.LSTM(3, 5, num_layers=2, return_state=True)(jnp.ones((2, 7, 3)))
    >>> y.shape, h.shape, bool((y[:, -1] == h[-1]).all())
    ((2, 7, 5), (2, 2, 5), True)
    """

    _cell, _form = LSTMCell, "lstm"

    def __init__(
        self, in_size: int, hidden_size: int, act: Activation = F.tanh, *, num_layers: int = 1,
        bidirectional: bool = False, dropout: float = 0.0, return_state: bool = False, stateful: int | None = None,
        truncate: int | None = None, unroll: int = 1, proj_size: int | None = None, key: Any = None, **cell: Any,
    ):  # fmt: skip
        self.proj_size = proj_size
        self._build(
            in_size, hidden_size, act, num_layers, bidirectional, dropout, return_state, stateful, truncate, unroll,
            key, {"proj_size": proj_size, **cell},
        )  # fmt: skip


@sized(in_size=-1)
class GRU(RecurrentLayer):
    r"""Gated recurrent units over sequences: $y_t = h_t = (1 - z) ⊙ n + z ⊙ h_{t-1}$.

    The gates and the candidate n are those of ``GRUCell``, in both of its forms.

    Shapes, arguments and errors: as ``RNN``, and further
        reset_after: whether the reset gate acts after the product with weight_hh, or before it.

    Source: Cho et al., "Learning phrase representations using RNN encoder-decoder", 2014, versions 1 and 3.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.nn.GRU(3, 5, reset_after=False)(jnp.ones((2, 7, 3))).shape
    (2, 7, 5)
    """

    _cell, _form = GRUCell, "gru"

    def __init__(
        self, in_size: int, hidden_size: int, act: Activation = F.tanh, *, num_layers: int = 1,
        bidirectional: bool = False, dropout: float = 0.0, return_state: bool = False, stateful: int | None = None,
        truncate: int | None = None, unroll: int = 1, reset_after: bool = True, key: Any = None, **cell: Any,
    ):  # fmt: skip
        self.reset_after: bool = bool(reset_after)
        self._build(
            in_size, hidden_size, act, num_layers, bidirectional, dropout, return_state, stateful, truncate, unroll,
            key, {"reset_after": reset_after, **cell},
        )  # fmt: skip

    def _fixed(self) -> tuple[tuple[str, Any], ...]:
        return (("reset_after", self.reset_after),)
