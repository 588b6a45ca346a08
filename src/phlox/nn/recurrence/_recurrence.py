"""Any cell over time: in one direction, in both, or with a state that stays from call to call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import jax
import jax.numpy as jnp

from phlox.core import Module, RangeError, ShapeError, State, describe, remat, scan
from phlox.nn._checks import check_size
from phlox.nn.functional.recurrence._form import Run, known_true

Cell = Callable[..., tuple[Any, Any]]
C = TypeVar("C", bound=Cell)


class Recurrence(Module, Generic[C]):
    r"""A cell run over time: $(y_t, s_t) = f(x_t, s_{t-1})$.

    The cell is anything called as ``cell(x, state)`` that gives ``(out, state)``, where the state is any tree of
    arrays. The first state is ``cell.initial_state(x)`` where the cell has that method; else the cell is called once
    with None in its place, outside the loop.

    Shapes:
        x: (batch, time, ...); y: (batch, time, ...), the outs; padded steps give zeros.

    Arguments:
        cell: the cell.
        reverse: whether to run from the last step to the first.
        return_state: whether the call gives ``(y, state)`` in place of y, with the state after each sequence's last
            real step.
        truncate: steps; gradients do not flow from one stretch of so many steps back to the one before.
        remat: whether a step's intermediate values are computed again for the gradient rather than kept.
        unroll: steps per round of the compiled loop.

    Called with ``(x, state=None, lengths=None, mask=None)``, as ``LSTM`` is.

    Raises:
        RangeError: a number below 1, lengths out of range, or padding at the first step where the cell must make its
            first state from that step.
        ShapeError: an input without batch and time, lengths or a mask of another shape, or no step at all.

    >>> import jax.numpy as jnp, phlox as px
    >>> def total(x, state=None):
    ...     state = x if state is None else state + x
    ...     return state, state
    >>> px.nn.Recurrence(total)(jnp.array([[[1.0], [2.0], [3.0]]])).ravel().tolist()
    [1.0, 3.0, 6.0]
    """

    cell: C
    reverse: bool
    return_state: bool
    remat: bool

    def __init__(
        self,
        cell: C,
        *,
        reverse: bool = False,
        return_state: bool = False,
        truncate: int | None = None,
        remat: bool = False,
        unroll: int = 1,
    ):
        if not callable(cell):
            fix = "pass a function or Module called as cell(x, state)"
            raise RangeError("a cell", got=describe(cell), fix=fix, where="Recurrence")
        self.cell, self.reverse, self.return_state, self.remat = cell, bool(reverse), bool(return_state), bool(remat)
        self.truncate: int | None = None if truncate is None else check_size("Recurrence", "truncate", truncate)
        self.unroll: int = check_size("Recurrence", "unroll", unroll)

    def __call__(self, x: Any, state: Any = None, lengths: Any = None, mask: Any = None) -> Any:
        x = jnp.asarray(x)
        if x.ndim < 2 or not x.shape[1]:
            raise ShapeError("(batch, time, ...)", got=describe(x), fix="add a batch axis: x[None]")
        how = Run(lengths, mask, self.reverse, self.truncate, self.unroll)
        time = x.shape[1]
        real = how.real(self._brief(), x.shape[0], time)
        flags = how.flags(real, self._brief(), time)
        x = x if real is None else jnp.where(_beside(real, x), x, jnp.zeros((), x.dtype))
        xs, first = jnp.swapaxes(x, 0, 1), []
        begin = getattr(self.cell, "initial_state", None)
        if state is None and begin is not None:
            state = begin(xs[0])
        elif state is None:
            xs, flags, state, first = self._started(xs, flags)
        state, ys = self._rest(xs, flags, state)
        y = jnp.swapaxes(jnp.concatenate([ys, *first] if self.reverse else [*first, ys]) if first else ys, 0, 1)
        y = y if real is None else jnp.where(_beside(real, y), y, jnp.zeros((), y.dtype))
        return (y, state) if self.return_state else y

    def _started(self, xs: jax.Array, flags: Any) -> tuple[jax.Array, Any, Any, list[jax.Array]]:
        """The first step of a cell that makes its own state; what is left, and that step's output."""
        at, rest = (-1, slice(None, -1)) if self.reverse else (0, slice(1, None))
        if flags.real is not None and (self.reverse or not known_true(flags.real[0])):
            raise RangeError(
                "a state to pass over padding at the first step",
                got=f"{_name(self.cell)}, which makes it from that step",
                fix="pass state=, or give the cell a method initial_state(x)",
            )
        y, state = self.cell(xs[at], None)
        return xs[rest], jax.tree.map(lambda f: f[rest], flags), state, [y[None]]

    def _rest(self, xs: jax.Array, flags: Any, state: Any) -> tuple[Any, jax.Array]:
        def step(state: Any, scanned: Any) -> tuple[Any, Any]:
            x, at = scanned
            if at.border is not None:
                state = jax.tree.map(lambda s: jnp.where(at.border, jax.lax.stop_gradient(s), s), state)
            y, new = self.cell(x, state)
            if at.real is not None:
                new = jax.tree.map(lambda n, s: jnp.where(_beside(at.real, n), n, s), new, state)
            return new, y

        run = remat(step, prevent_cse=False) if self.remat else step
        return scan(run, state, (xs, flags), reverse=self.reverse, unroll=self.unroll)

    def _brief(self) -> str:
        return f"Recurrence({_name(self.cell)})"


class Bidirectional(Module):
    r"""Two cells over time, one from each end: $y_t = c(\overrightarrow{y}_t, \overleftarrow{y}_t)$.

    The second runs from each sequence's last real step to its first.

    Shapes:
        x: (batch, time, ...); y: what ``combine`` makes of two (batch, time, ...), by default
        (batch, time, 2 · out).

    Arguments:
        forward, backward: the cells, as ``Recurrence`` takes them.
        combine: c, from the outputs of both; by default they are joined along the last axis.
        return_state: whether the call gives ``(y, (state, state))`` in place of y.
        options: those of ``Recurrence``.

    Called with ``(x, state=None, lengths=None, mask=None)``, where the state is a pair of states.

    Raises:
        RangeError, ShapeError: as ``Recurrence``.

    Source: Schuster and Paliwal, "Bidirectional recurrent neural networks", 1997.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.nn.Bidirectional(px.nn.GRUCell(3, 4), px.nn.RNNCell(3, 2))(jnp.ones((2, 7, 3))).shape
    (2, 7, 6)
    """

    combine: Callable[[Any, Any], Any] | None
    return_state: bool

    def __init__(
        self,
        forward: Cell,
        backward: Cell,
        *,
        combine: Callable[[Any, Any], Any] | None = None,
        return_state: bool = False,
        **options: Any,
    ):
        self.forward: Recurrence[Any] = Recurrence(forward, return_state=True, **options)
        self.backward: Recurrence[Any] = Recurrence(backward, return_state=True, reverse=True, **options)
        self.combine, self.return_state = combine, bool(return_state)

    def __call__(self, x: Any, state: Any = None, lengths: Any = None, mask: Any = None) -> Any:
        ahead, back = (None, None) if state is None else state
        y, last = self.forward(x, ahead, lengths, mask)
        z, first = self.backward(x, back, lengths, mask)
        joined = jnp.concatenate([y, z], -1) if self.combine is None else self.combine(y, z)
        return (joined, (last, first)) if self.return_state else joined


class StatefulRecurrentCell(Module, Generic[C]):
    r"""A cell that keeps its state from call to call as State: $(y, s) \leftarrow f(x, s)$; gives y.

    No gradient flows through the state that is kept.

    Shapes:
        x: (batch, ...), one step; y: the cell's output.

    Arguments:
        cell: called as ``cell(x, state)``, gives ``(out, state)``.
        state: the state to begin with, a tree of arrays, with the batch size of all calls.

    Raises:
        ShapeError: the cell returns a state of another shape or dtype.

    >>> import jax.numpy as jnp, phlox as px
    >>> cell = px.nn.GRUCell(3, 2)
    >>> keeps = px.nn.StatefulRecurrentCell(cell, cell.initial_state(jnp.ones((1, 3))))
    >>> one, two = keeps(jnp.ones((1, 3))), keeps(jnp.ones((1, 3)))
    >>> keeps.reset_state()
    >>> bool((one == two).all()), bool((keeps(jnp.ones((1, 3))) == one).all())
    (False, True)
    """

    cell: C
    carried: list[State]  # the leaves of the state
    start: list[State]  # those it begins with
    form: Any

    def __init__(self, cell: C, state: Any):
        self.cell = cell
        leaves, self.form = jax.tree.flatten(state)
        self.start = [jnp.array(leaf) for leaf in leaves]
        self.carried = [jnp.array(leaf) for leaf in leaves]

    def reset_state(self) -> None:
        """Begin again."""
        self.carried = [jnp.array(leaf) for leaf in self.start]

    def __call__(self, x: Any) -> Any:
        y, state = self.cell(x, jax.tree.unflatten(self.form, self.carried))
        leaves, form = jax.tree.flatten(state)
        kinds = [[(leaf.shape, leaf.dtype) for leaf in some] for some in (self.carried, leaves)]
        if form != self.form or kinds[0] != kinds[1]:
            fix = "begin with a state of the batch size and dtype that the cell is called with"
            raise ShapeError(f"the state to stay {_listed(self.carried)}", got=_listed(leaves), fix=fix)
        self.carried = [jax.lax.stop_gradient(leaf) for leaf in leaves]
        return y


def _beside(real: jax.Array, x: jax.Array) -> jax.Array:
    return real.reshape(real.shape + (1,) * (x.ndim - real.ndim))


def _listed(leaves: Any) -> str:
    return " and ".join(describe(leaf) for leaf in leaves)


def _name(cell: Any) -> str:
    return cell._brief() if isinstance(cell, Module) else getattr(cell, "__name__", type(cell).__name__)
