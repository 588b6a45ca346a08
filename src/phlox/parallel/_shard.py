"""For loops by hand: a model put on its devices, or made there."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from jax.sharding import Mesh

from phlox.core import Module, RangeError, describe, drawing_on, eval_shape, jit
from phlox.parallel._placement import Placement, placed
from phlox.parallel._strategy import Strategy

M = TypeVar("M", bound=Module)


def shard(model: Module, strategy: Strategy | Placement, mesh: Mesh | None = None) -> Placement:
    """Spread a model over devices, in place; for loops that you write yourself.

    What is returned does the rest: ``placement.jit`` compiles a step that is spread alike, ``placement.spread(batch)``
    cuts a batch, and ``placement.place(model, opt)`` brings what was made on one device. An optimiser that is made
    of a spread model lies as the model does.

    Arguments:
        strategy: how, such as ``px.parallel.fsdp()``, or a product of several.
        mesh: of which devices, ``px.parallel.mesh(…)``; by default all, or as many as the strategy says.

    Raises:
        RangeError: a mesh that does not fit the strategy.
        ShapeError, StructureError: a model that the strategy cannot spread.

    >>> import jax.numpy as jnp, phlox as px
    >>> model = px.Dense(3, 2)
    >>> placement = px.parallel.shard(model, px.parallel.fsdp())
    >>> opt = px.Optimizer(px.optim.Adam(1e-3), model)
    >>> @placement.jit
    ... def step(model, opt, x):
    ...     loss, grads = px.value_and_grad(lambda model: model(x).sum())(model)
    ...     opt.update(model, grads)
    ...     return loss
    >>> loss = step(model, opt, placement.spread(jnp.ones((4, 3))))
    """
    placement = Placement.of(strategy, mesh)
    placement.place(model)
    return placement


def create(build: Callable[[], M], strategy: Strategy | Placement, mesh: Mesh | None = None) -> M:
    """Make a model where it shall lie: no device, and not the host, ever holds more of an array than its part.

    ``build`` is compiled, so what it draws is worked out part by part; the numbers are those of ``build()`` alone.

    Arguments:
        build: a function without arguments that makes the model; what it reads from files is read whole.
        strategy, mesh: as for ``px.parallel.shard``.

    Raises:
        RangeError: a ``build`` that makes no Module; a mesh that does not fit the strategy.
        ShapeError, StructureError: a model that the strategy cannot spread.

    >>> import phlox as px
    >>> with px.seed(0):
    ...     model = px.parallel.create(lambda: px.Dense(512, 256), px.parallel.fsdp())
    >>> with px.seed(0):
    ...     bool((px.Dense(512, 256).weight == model.weight).all())
    True
    """
    placement = Placement.of(strategy, mesh)
    form = eval_shape(build)
    if not isinstance(form, Module):
        got = describe(form) if hasattr(form, "dtype") else type(form).__name__
        where = "px.parallel.create"
        raise RangeError("a build() that makes a Module", got=got, fix="return the model", where=where)
    placement.strategy.check(form, placement.sizes)

    def made() -> M:
        with drawing_on():
            model = build()
        placement.hold(model, all_of_it=True)
        return model

    return placed(jit(made)(), placement)
