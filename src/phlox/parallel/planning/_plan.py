"""px.parallel.plan: which strategy a model takes on which chips, before one of them is rented."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import Module, RangeError, copy, describe, eval_shape, trainable_arrays
from phlox.optim import Optimizer
from phlox.parallel._strategy import Strategy
from phlox.parallel.planning._report import Plan, PlanRow, ranked
from phlox.parallel.planning._step import Case
from phlox.parallel.planning._strategies import policies_for, strategies_for, strategy_of
from phlox.parallel.planning._topology import WHERE, Topology
from phlox.parallel.planning._tries import Tries


def plan(
    model: Module | Callable[[], Module],
    optimizer: Any,
    batch: Any,
    *,
    topology: str,
    loss: Any,
    precision: Any = None,
    price: float | None = None,
    strategies: Sequence[Strategy | str] | None = None,
    remat: bool = True,
    memory: int | None = None,
    tokens: int | None = None,
    told: Callable[[PlanRow], None] | None = None,
) -> Plan:
    r"""Find out which strategies fit on chips that are not there, how long a step takes by each, and what it costs.

    The step of ``px.fit`` is traced for shapes and compiled for each strategy; nothing is computed, no weight is made.
    For TPUs libtpu compiles it as for real ones (``pip install "phlox[plan]"``). For a CPU's devices XLA compiles it as
    for real ones. For GPUs the program for a CPU's devices is looked at, and the plan is marked as an estimate.

    The time is a roofline: $t = \max(f / (0.7\,p),\; b / m) + s$, with f operations of a device of peak p, b bytes to
    and from a memory of rate m, and s the seconds of what is sent and not hidden behind the computation; the
    utilisation (MFU) is the model's own operations over $t\,n\,p$ for n devices. A CPU's speed is not known.

    Arguments:
        model: the model, whose numbers do not matter; or a function that builds it, which is traced only.
        optimizer: a rule of ``px.optim``, a transformation of optax, or a ``px.Optimizer``, whose rule counts.
        batch: of all devices together: arrays, ``jax.ShapeDtypeStruct`` or ``px.Spec`` in place of them; a tuple of
            sizes is one array of int32, tokens (batch, time).
        topology: the chips: ``"v5p:4x4x4"``, ``"v6e:8x8"``, ``"h100:16"``, ``"cpu:8"``.
        loss, precision: as for ``px.fit``.
        price: of one chip for an hour, in any currency.
        strategies: what to try, as values or as text; by default data parallelism, fsdp, and products with tensor
            parallelism of degree 2, 4 and 8.
        remat: whether ``px.nn.RepeatedLayer`` may compute activations again, where a strategy does not fit otherwise.
        memory: bytes that a device has; by default what the chip's maker says.
        tokens: how many a step counts; by default those of the first array of whole numbers (batch, time), else rows.
        told: is called with each row as it is found; compiling for many chips takes minutes.

    Returns:
        A ``Plan``, which prints as a table: ``.rows``, the best first, ``.best``, ``.save(path)`` as JSON.

    Raises:
        RangeError: a topology that is none, a price or a number below 0, a batch without sizes.
        MissingExtraError: TPUs, and no libtpu.
        whatever tracing the model and the loss raises.

    Source: Williams, Waterman and Patterson, "Roofline: an insightful visual performance model", 2009; for MFU
    Chowdhery et al., "PaLM: scaling language modeling with pathways", 2022, appendix B.

    >>> import phlox as px
    >>> found = px.parallel.plan(
    ...     lambda: px.Chain(px.Dense(64, 256, px.relu), px.Dense(256, 8)), px.optim.Adam(1e-3),
    ...     (px.Spec(64, 64), px.Spec(64, dtype="int32")), loss=px.losses.cross_entropy, topology="cpu:4",
    ...     strategies=["data_parallel", "fsdp"],
    ... )
    >>> found.best.strategy
    fsdp()
    """
    where = Topology.of(topology)
    _check_numbers(price=price, memory=memory, tokens=tokens)
    form = _form(model)
    shapes = jax.tree.map(_shape, batch, is_leaf=_is_leaf)
    count, unit = _counted(shapes) if tokens is None else (tokens, "tokens")
    case = Case(form, optimizer.rule if isinstance(optimizer, Optimizer) else optimizer, shapes, loss, precision)
    limit = where.limit if memory is None else memory
    tries = Tries(case, where, limit, price, count, told or (lambda row: None))
    chosen = strategies_for(where) if strategies is None else [_strategy(one) for one in strategies]
    policies = policies_for(form) if remat else (None,)
    rows = [tries.of(strategy, policies) for strategy in chosen]
    parameters = sum(math.prod(v.shape) for v in trainable_arrays(form).values())
    return Plan(
        str(where), ranked(rows), limit, parameters, tries.operations(False), count, unit, price, not where.exact
    )


def _form(model: Any) -> Module:
    """The model in shapes."""
    form = eval_shape(copy, model) if isinstance(model, Module) else eval_shape(model) if callable(model) else model
    if not isinstance(form, Module):
        fix = "pass the model, or a function that returns it"
        raise RangeError("a Module, or a function that builds one", got=describe(form), fix=fix, where=WHERE)
    return form


def _is_leaf(value: Any) -> bool:
    return _is_sizes(value) or (hasattr(value, "shape") and hasattr(value, "dtype"))


def _is_sizes(value: Any) -> bool:
    return isinstance(value, tuple) and bool(value) and all(type(n) is int for n in value)


def _shape(value: Any) -> jax.ShapeDtypeStruct:
    if _is_sizes(value):
        return jax.ShapeDtypeStruct(value, jnp.int32)
    sizes = getattr(value, "shape", None)
    if sizes is None or not all(isinstance(n, int) for n in sizes):
        fix = "give sizes: (256, 4096), jax.ShapeDtypeStruct((256, 4096), jnp.int32) or px.Spec(256, 4096, dtype=…)"
        raise RangeError("a batch of arrays or shapes", got=repr(value)[:60], fix=fix, where=WHERE)
    return jax.ShapeDtypeStruct(tuple(sizes), jnp.dtype(value.dtype))


def _counted(shapes: Any) -> tuple[int, str]:
    """How many tokens a step has; examples where no array of the batch is of tokens."""
    leaves = [leaf for leaf in jax.tree.leaves(shapes) if leaf.ndim]
    if not leaves:
        fix = "its arrays have the examples along their first axis"
        raise RangeError("a batch of at least one array", got="none with an axis", fix=fix, where=WHERE)
    words = [leaf for leaf in leaves if leaf.ndim > 1 and jnp.issubdtype(leaf.dtype, jnp.integer)]
    return (words[0].shape[0] * words[0].shape[1], "tokens") if words else (leaves[0].shape[0], "examples")


def _check_numbers(**given: float | None) -> None:
    for name, value in given.items():
        if value is not None and not (isinstance(value, (int, float)) and value > 0):
            raise RangeError(f"{name} above 0", got=repr(value), fix="leave it out", where=WHERE)


def _strategy(given: Any) -> Strategy:
    if isinstance(given, Strategy):
        return given
    return strategy_of(given if isinstance(given, str) else describe(given), WHERE)
