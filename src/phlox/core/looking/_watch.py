"""Looking at what flows through a model: activations by path, and the first layer that makes NaN or Inf."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import _compat
from phlox.core._compat import Tracer
from phlox.core._errors import PhloxError, StructureError, describe
from phlox.core.context._here import here
from phlox.core.context._trail import path_of
from phlox.core.module._arrays import dotted
from phlox.core.module._module import Module
from phlox.core.module._paths import Choice, means
from phlox.core.module._plan import plan_of
from phlox.core.transforms._bound import carried
from phlox.core.transforms._custom import gradient_hook


class NonFiniteError(PhloxError, FloatingPointError):
    """A NaN or an infinity, and the layer where it first appeared."""


def capture(model: Module, *args: Any, only: Choice | None = None, **kwargs: Any) -> dict[str, Any]:
    """Call a model and return what every Module in it gave, by path; the model's own result has the path "".

    Arguments:
        model: a Module, or a method of one.
        args, kwargs: what it is called with.
        only: whose results: a path or pattern, ``"encoder.layers.*.attention"``, several in a tuple, or a predicate
            ``(path, module) -> bool``. What lies below is meant too.

    Raises:
        StructureError: no Module was called that ``only`` means.

    A Module that is called again has ``#2``, ``#3`` … behind its path. Modules that run inside ``px.scan``,
    ``px.vmap`` and the like under a trace are left out: their values have no single shape outside.

    >>> import jax.numpy as jnp, phlox as px
    >>> model = px.Chain(px.Dense(4, 8, px.relu), px.Dense(8, 2))
    >>> {path: y.shape for path, y in px.capture(model, jnp.ones((3, 4))).items()}
    {'layers.0': (3, 8), 'layers.1': (3, 2), '': (3, 2)}
    >>> list(px.capture(model, jnp.ones((3, 4)), only="layers.0"))
    ['layers.0']
    """
    function, first, named = carried(model)
    if not first:
        raise StructureError(
            "a Module, or a method of one", got=describe(model), fix="pass the model: px.capture(model, x)",
            where="px.capture",
        )  # fmt: skip
    plan = plan_of(first[:1])
    names = {id(plan.module(m)): dotted(plan.structure.module_path(m)[1]) for m in range(len(plan.modules))}
    found: dict[str, Any] = {}
    calls: dict[str, int] = {}

    def tap(module: Module, y: Any) -> Any:
        name = names.get(id(module))
        if name is not None and module._px.at_home() and (only is None or means(only, name, module)):
            calls[name] = calls.get(name, 0) + 1
            found[name if calls[name] == 1 else f"{name}#{calls[name]}"] = y
        return y

    with tapped(tap):
        function(*first, *args, **{**named, **kwargs})
    if only is not None and not found:
        called = ", ".join(list(filter(None, names.values()))[:4])
        raise StructureError(
            "a choice that means a Module which is called",
            got=repr(only),
            fix=f"choose among the paths of px.modules: {called} …",
            where="px.capture",
        )
    return found


@contextmanager
def tapped(tap: Any, *, alone: bool = False) -> Iterator[None]:
    """Within the block ``tap(module, y)`` may replace what each Module gives, after those outside it, or alone."""
    before = here.taps
    here.taps = tap if alone or before is None else lambda module, y: tap(module, before(module, y))
    try:
        yield
    finally:
        here.taps = before


@contextmanager
def watch_nonfinite() -> Iterator[None]:
    """Within the block, the first layer that gives a NaN or an infinity raises, forward or backward.

    Functions of ``px.jit`` run line by line inside the block, so it finds the place in compiled training code too.
    It is for debugging: every result is looked at. Of what runs under ``px.vmap``, that is the result of the Module
    around the map.

    Raises:
        NonFiniteError: names the layer, whether its output or the gradient of its output is not finite, and any
            parameter of it that is not.

    >>> import jax.numpy as jnp, phlox as px
    >>> model = px.Chain(px.Dense.of(jnp.ones((2, 2)), None), jnp.log, px.Dense(2, 1))
    >>> with px.watch_nonfinite():
    ...     model(-jnp.ones((1, 2)))
    Traceback (most recent call last):
    phlox.core.looking._watch.NonFiniteError: ...
    """

    def look(module: Module, y: Any) -> Any:
        place = f"{path_of(module)} {module._brief()}"
        return jax.tree.map(lambda v: _looked_at(module, place, v), y)

    with tapped(look):
        here.line_by_line += 1
        try:
            yield
        finally:
            here.line_by_line -= 1


def _looked_at(module: Module, place: str, v: Any) -> Any:
    if not hasattr(v, "dtype") or not jnp.issubdtype(v.dtype, jnp.inexact):
        return v
    _refuse(v, place, "in its output (forward)", _bad_parameters(module))
    if isinstance(v, Tracer) and _compat.python_control_flow():
        return gradient_hook(v, lambda g: _refuse(g, place, "in the gradient of its output (backward)", ""))
    return v


def _bad_parameters(module: Module) -> str:
    plan = plan_of([module])
    bad = [
        dotted(plan.structure.leaf_path(i)[1])
        for i, v in enumerate(plan.gather())
        if jnp.issubdtype(v.dtype, jnp.inexact) and _count(v)
    ]
    return f"; its {', '.join(bad)} is not finite" if bad else ""


def _count(v: Any) -> int:
    value = _compat.concrete(v)
    return 0 if value is None else int(jnp.size(value) - jnp.sum(jnp.isfinite(value)))


def _refuse(v: Any, place: str, what: str, more: str) -> None:
    bad = _count(v)
    if bad:
        error = NonFiniteError(
            "finite values",
            got=f"{bad} of {v.size} NaN or infinite {what}, {describe(v)}{more}",
            fix="look at what is computed from it; usual causes are the slopes of sqrt, log, division and norms at 0, "
            "which a jnp.where behind them does not take away"
            if "backward" in what
            else "look at what goes into it with px.capture; usual causes are log or division at 0, exp of a large "
            "number, and a learning rate that is too high",
            where=place,
        )
        error.located = True
        raise error
