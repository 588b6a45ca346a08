"""What recurrent forms share: which steps are real, and the checked arrays of one of them."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from phlox.core import RangeError, ShapeError, answering, describe
from phlox.nn.functional._numeric import beside, inexact, is_concrete, result_dtype, widen
from phlox.nn.functional.kernels._product import bias_rows, product_kernel
from phlox.nn.functional.recurrence._loop import Carry, Flags, How, Step, Weight, is_pure, loop

__all__ = ["sequence_mask"]

Activation = Callable[[Array], Array]
Kernel = Callable[[Array, Array, Any, Array | None, bool], tuple[Array, Carry] | None]


@answering
def sequence_mask(lengths: ArrayLike, time: int) -> Array:
    """Which steps of each sequence are real: ``mask[b, t] = t < lengths[b]``.

    Shapes:
        lengths: (batch,) integers; mask: (batch, time) booleans.

    Arguments:
        time: steps, at least the longest length.

    Raises:
        ShapeError: lengths that are no vector of integers. RangeError: a length outside [0, time].

    >>> sequence_mask(jnp.array([1, 3]), 3).astype(int).tolist()
    [[1, 0, 0], [1, 1, 1]]

    Source: the definition of a padded batch.
    """
    given = jnp.asarray(lengths)
    if given.ndim != 1 or not jnp.issubdtype(given.dtype, jnp.integer):
        fix = "pass one integer per sequence, with lengths.astype(int) if they are whole"
        raise ShapeError("lengths (batch,) of integers", got=describe(given), fix=fix, where="sequence_mask")
    known = np.asarray(given) if is_concrete(given) else np.zeros(0)
    if known.size and (known.min() < 0 or known.max() > time):
        got = f"lengths from {known.min()} to {known.max()}"
        raise RangeError(f"lengths in [0, {time}]", got=got, fix="count real steps only", where="sequence_mask")
    return jnp.arange(time)[None] < given[:, None]


class Run:
    """How a sequence is run, as its caller gave it."""

    def __init__(self, lengths: Any, mask: Any, reverse: bool, truncate: int | None, unroll: int):
        self.lengths, self.mask, self.truncate = lengths, mask, truncate
        self.reverse, self.unroll = bool(reverse), unroll

    def real(self, name: str, batch: int, time: int) -> Array | None:
        """(batch, time) booleans, or None where all steps are real."""
        mask = None
        if self.mask is not None:
            mask = jnp.asarray(self.mask)
            if mask.shape != (batch, time) or mask.dtype != jnp.bool_:
                fix = "pass True where a step is real, with mask.astype(bool) if it is 0 and 1"
                raise ShapeError(f"mask ({batch}, {time}) of booleans", got=describe(mask), fix=fix, where=name)
        if self.lengths is None:
            return mask
        if jnp.shape(self.lengths) != (batch,):
            got = describe(jnp.asarray(self.lengths))
            raise ShapeError(f"lengths ({batch},)", got=got, fix="pass one integer per sequence", where=name)
        known = sequence_mask(self.lengths, time)
        return known if mask is None else known & mask

    def flags(self, real: Array | None, name: str, time: int) -> Flags:
        """What the loop asks at each step."""
        return Flags(None if real is None else real.T, self.border(name, time))

    def border(self, name: str, time: int) -> Array | None:
        """(time,) booleans, where no gradient passes from the step before."""
        if self.truncate is None:
            return None
        if operator.index(self.truncate) < 1:
            fix = "give the steps that gradients flow through, or None for all"
            raise RangeError("truncate of at least 1", got=repr(self.truncate), fix=fix, where=name)
        at = jnp.arange(time)
        if self.reverse:
            return ((at + 1) % self.truncate == 0) & (at != time - 1)
        return (at % self.truncate == 0) & (at != 0)


# --- what the forms share --------------------------------------------------------------------------------


def _matmul(v: Array, w: Array) -> Array:
    """Rows times a matrix in the matrix' dtype, summed in float32 at least."""
    return jnp.matmul(v.astype(w.dtype), w, preferred_element_type=jnp.promote_types(w.dtype, jnp.float32))


class Form:
    """The arrays of one recurrent form, checked."""

    def __init__(
        self, name: str, x: Any, weight_ih: Any, weight_hh: Any, bias: Any, blocks: int, hr: Any = None, *,
        steps: bool = True,
    ):  # fmt: skip
        self.name, self.x = name, inexact(x, name)
        ih, hh = inexact(weight_ih, name), inexact(weight_hh, name)
        self.size = ih.shape[-1] // blocks if ih.ndim == 2 else 0
        hr = None if hr is None else inexact(hr, name)
        self.out = self.size if hr is None else hr.shape[-1]
        wanted = {
            "weight_ih": (ih, (ih.shape[0], blocks * self.size)),
            "weight_hh": (hh, (self.out, blocks * self.size)),
        }
        if hr is not None:
            wanted["weight_hr"] = (hr, (self.size, self.out))
        bias = None if bias is None else inexact(bias, name)
        if bias is not None:
            wanted["bias"] = (bias, (blocks * self.size,))
        for what, (array, shape) in wanted.items():
            if array.shape != shape:
                fix = f"the last axes are {blocks} blocks of the hidden size"
                raise ShapeError(f"{what} {shape}", got=describe(array), fix=fix, where=name)
        rank, layout = (3, f"(batch, time, {ih.shape[0]})") if steps else (1, f"(..., {ih.shape[0]})")
        if (self.x.ndim != 3 if steps else self.x.ndim < 1) or self.x.shape[-1] != ih.shape[0]:
            fix = "add the axes that are missing" if self.x.ndim < rank else f"give it {ih.shape[0]} features"
            raise ShapeError(layout, got=describe(self.x), fix=fix, where=name)
        self.dtype = result_dtype(self.x, ih, hh)
        self.ih, self.hh = ih.astype(self.dtype), hh.astype(self.dtype)
        self.hr = None if hr is None else hr.astype(self.dtype)
        self.bias = None if bias is None else widen(bias.astype(self.dtype))

    def states(self, given: Sequence[Any] | None, sizes: tuple[int, ...]) -> Carry:
        """The state before the first step, wide enough to sum in."""
        lead = self.x.shape[:-2] if self.name in ("rnn", "lstm", "gru") else self.x.shape[:-1]
        wide = jnp.promote_types(self.dtype, jnp.float32)
        if given is None:
            return tuple(jnp.zeros((*lead, n), wide) for n in sizes)
        arrays = [inexact(s, self.name) for s in given] if isinstance(given, (tuple, list)) else []
        if [a.shape for a in arrays] != [(*lead, n) for n in sizes]:
            layout = " and ".join(str((*lead, n)) for n in sizes)
            got = " and ".join(map(describe, arrays)) or describe(given)
            fix = "pass the state that a call with this batch returned, or None for zeros"
            raise ShapeError(f"state {layout}", got=got, fix=fix, where=self.name)
        return tuple(a.astype(wide) for a in arrays)

    def product(self, x: Array) -> Array:
        """The inputs' product at all steps, as one."""
        rows = x.reshape(-1, x.shape[-1]) if x.size else x.reshape(0, x.shape[-1])
        flat = product_kernel(rows, self.ih)
        flat = _matmul(rows, self.ih) if flat is None else flat
        y = flat.reshape(*x.shape[:-1], flat.shape[-1])
        if self.bias is None:
            return y
        biases = bias_rows(self.bias, y)
        return y + (beside(self.bias, y.ndim) if biases is None else biases)

    def run(
        self, step: Step, weights: Sequence[Weight], states: Carry, how: Run, act: Activation,
        kernel: Kernel | None = None,
    ) -> tuple[Array, Carry]:  # fmt: skip
        """Outputs (batch, time, out) and the last state; by the kernel, where there is one that takes these."""
        batch, time, _ = self.x.shape
        real = how.real(self.name, batch, time)
        x = self.x if real is None else jnp.where(real[..., None], self.x, 0)
        flags = how.flags(real, self.name, time)
        z = self.product(x.astype(self.dtype))
        found = kernel(z, self.hh, states, real, how.reverse) if kernel and flags.border is None and time else None
        if found is not None:
            y, last = found
        else:
            xs, steps = jnp.swapaxes(z, 0, 1), How(_matmul, how.reverse, how.unroll)
            last, y = loop(step, weights, states, xs, how=steps, flags=flags, pure=is_pure(act))
            y = jnp.swapaxes(y, 0, 1)
        y = y if real is None else jnp.where(real[..., None], y, 0)
        return y.astype(self.dtype), tuple(s.astype(self.dtype) for s in last)

    def once(self, step: Step, weights: Sequence[Weight], states: Carry) -> Carry:
        """The state after one step."""

        def product(k: int, v: Array) -> Array:
            weight, bias = weights[k]
            y = _matmul(v, weight)
            return y if bias is None else y + beside(bias, y.ndim)

        return tuple(s.astype(self.dtype) for s in step(product, states, self.product(self.x.astype(self.dtype))))


def known_true(flags: Array) -> bool:
    """Whether all of these are surely True: their values can be read, and are."""
    return is_concrete(flags) and bool(np.asarray(flags).all())
