"""px.memory: what a step needs, before it runs, and what would help where that is too much."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import Module, RangeError, bf16, copy, eval_shape, trainable_arrays
from phlox.loop.preflight._report import Memory, MemoryAdvice
from phlox.loop.preflight._search import Search
from phlox.loop.preflight._step import measured, nbytes
from phlox.optim import Adafactor, Lion, Optimizer, Rule

_WORTH = 0.98  # advice that leaves more than this of the total is not worth its line


def memory(fn: Callable[..., Any], *args: Any, limit: int | None = None, advice: bool = True, **kwargs: Any) -> Memory:
    """The memory that a step would need, known before it runs; nothing is computed, nothing allocated.

    The step is compiled for these arguments as ``px.jit`` would compile it, and the compiler tells what it needs. What
    the forward pass keeps for the backward pass is told for each layer. Where the step does not fit, changes are tried
    the same way and told with their totals: micro-batches (with gradients added up), ``px.remat`` of the layers of one
    level, bfloat16, and optimisers that keep less. Each costs a compilation.

    Arguments:
        fn: a function, a Module, or what ``px.jit`` made; ``step(model, opt, x, y)`` for example.
        args, kwargs: what it would be called with; ``jax.ShapeDtypeStruct`` in place of arrays will do, and so will
            Modules of them, as ``px.eval_shape`` builds them.
        limit: bytes that it may need; by default what its device has.
        advice: whether to look for what would help where it does not fit.

    Returns:
        A ``Memory``, which prints as a table: ``.total``, ``.parameters``, ``.state``, ``.optimizer``, ``.inputs``,
        ``.activations``, ``.temporaries``, ``.outputs``, all in bytes; ``.limit``, ``.fits``, ``.excess``, ``.rows``
        and ``.advice``. ``.check()`` raises where it does not fit.

    Raises:
        RangeError: a limit that is no number of bytes.
        whatever tracing the function raises.

    >>> import jax.numpy as jnp, phlox as px
    >>> def step(model, opt, x):
    ...     loss, grads = px.value_and_grad(lambda model: (model(x) ** 2).mean())(model)
    ...     opt.update(model, grads)
    ...     return loss
    >>> model = px.Dense(100, 10)
    >>> opt = px.Optimizer(px.optim.Adam(1e-3), model)
    >>> found = px.memory(step, model, opt, jnp.ones((32, 100)))
    >>> found.parameters, found.inputs, found.fits
    (4040, 12800, True)
    """
    if limit is not None and not (isinstance(limit, int) and limit > 0):
        fix = "give a whole number, such as 8 * 2**30 for 8 GiB"
        raise RangeError("limit as a number of bytes above 0", got=repr(limit), fix=fix, where="px.memory")
    found = measured(fn, args, kwargs, limit)
    if found.fits or not advice:
        return found
    return dataclasses.replace(found, advice=tuple(_what_helps(fn, args, kwargs, found)))


def _what_helps(
    fn: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any], found: Memory
) -> list[MemoryAdvice]:
    assert found.limit is not None
    step = _Step(fn, args, kwargs, found)
    search = Search(step.measure, found.limit, step.rows)
    split = search.micro_batches()
    again = search.remat() if found.activations else None
    tried = [split, again, step.in_bfloat16(), *map(step.with_rule, (Lion(1e-4), Adafactor(1e-3)))]
    worth = [a for a in tried if a is not None and a.total < _WORTH * found.total]
    if again in worth and not any(a.fits for a in worth):
        both = search.micro_batches(again.remat if again is not None else ())
        worth += [both] if both is not None else []
    return sorted(worth, key=lambda a: (not a.fits, a.total if not a.fits else 0))


class _Step:
    """A step that does not fit, and the changes of it that can be measured."""

    def __init__(self, fn: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any], found: Memory):
        self.fn, self.given, self.found = fn, (tuple(args), kwargs), found
        leaves = jax.tree.leaves(self.given, is_leaf=_is_module)
        sizes = Counter(x.shape[0] for x in leaves if not _is_module(x) and jnp.ndim(x))
        self.rows = sizes.most_common(1)[0][0] if sizes else 1
        self.models = [m for m in leaves if _is_module(m) and not isinstance(m, Optimizer)]
        trained = sum(nbytes(v) for m in self.models for v in trainable_arrays(m).values())
        self.gradients = trained if found.activations else 0  # of the batch's parts so far

    def measure(self, n: int, again: tuple[str, ...]) -> Memory | None:
        """With the batch in n parts, gradients being added up, and these Modules computed again."""
        if n == 1 and not again:
            return self.found
        part = self._measured(lambda x: _first_rows(x, self.rows, n), again)
        if part is None or n == 1:
            return part
        inputs, more = self.found.inputs, self.gradients
        return dataclasses.replace(part, inputs=inputs, temporaries=part.temporaries + more)

    def _measured(self, change: Callable[[Any], Any], again: tuple[str, ...] = ()) -> Memory | None:
        args, kwargs = jax.tree.map(change, self.given, is_leaf=_is_module)
        try:
            return measured(self.fn, args, kwargs, self.found.limit, again)
        except Exception:  # the user's code, called with what it was not written for: then there is no such advice
            return None

    def in_bfloat16(self) -> MemoryAdvice | None:
        """With model, optimiser and inputs in bfloat16."""

        def half(x: Any) -> Any:
            if isinstance(x, Optimizer):
                return self._anew(x, x.rule, bf16)
            if _is_module(x):
                return eval_shape(lambda m: bf16(copy(m)), x)
            wide = jnp.ndim(x) and jnp.issubdtype(x.dtype, jnp.floating) and x.dtype.itemsize > 2
            return jax.ShapeDtypeStruct(x.shape, jnp.bfloat16) if wide else x

        found = self._measured(half)
        return None if found is None else self._advice("px.bf16 of the model and its inputs", found.total)

    def with_rule(self, rule: Rule) -> MemoryAdvice | None:
        """With another rule for the optimiser, where there is one."""
        if not any(isinstance(x, Optimizer) for x in jax.tree.leaves(self.given, is_leaf=_is_module)):
            return None
        found = self._measured(lambda x: self._anew(x, rule) if isinstance(x, Optimizer) else x)
        return None if found is None else self._advice(f"px.optim.{type(rule).__name__} as the rule", found.total)

    def _anew(self, opt: Optimizer, rule: Any, convert: Callable[[Any], Any] = lambda m: m) -> Optimizer | None:
        """An optimiser like this one with another rule, or for the model in another dtype; shapes only."""
        for model in self.models:
            if set(trainable_arrays(model)) == opt.form.paths:
                return eval_shape(lambda m: Optimizer(rule, convert(copy(m))), model)
        return None

    def _advice(self, change: str, total: int) -> MemoryAdvice:
        assert self.found.limit is not None
        return MemoryAdvice(change, total, total <= self.found.limit)


def _is_module(x: Any) -> bool:
    return isinstance(x, Module)


def _first_rows(x: Any, rows: int, n: int) -> Any:
    """The shape of the first of n parts of an array of the batch; anything else as it is."""
    if _is_module(x) or not jnp.ndim(x) or x.shape[0] != rows:
        return x
    return jax.ShapeDtypeStruct((rows // n, *x.shape[1:]), x.dtype)
