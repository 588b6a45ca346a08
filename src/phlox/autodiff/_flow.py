"""px.autodiff.gradient_flow: how large what goes through a model is, forward and back, layer by layer."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.autodiff._backward import Backward
from phlox.autodiff._flow_report import GradientFlow, LayerFlow, ParameterFlow, Place, judged
from phlox.autodiff._listing import text
from phlox.autodiff._program import Flat, Line
from phlox.autodiff._rewriting import inside, leaves, readers, results
from phlox.autodiff._rules import Rule
from phlox.autodiff._walk import Step, walk
from phlox.core import Module, RangeError, StructureError, copy, describe, is_key, paths
from phlox.core._compat import written_at


def gradient_flow(
    model: Module,
    loss: Callable[..., Any],
    *args: Any,
    optimizer: Any = None,
    vanishing: float = 1e-3,
    exploding: float = 1e3,
) -> GradientFlow:
    r"""Measure how a gradient fares on its way through a model, and name where it vanishes, explodes or is NaN.

    For each layer the root mean square of its output $y$ and of the cotangent $\partial L / \partial y$; for each
    trainable array ‖w‖ and ‖∂L/∂w‖. A layer's gradient vanishes or explodes where it is so many times that of
    the layer nearest to the loss. Nothing is changed: neither the model, its State, nor the optimiser.

    Arguments:
        model: what ``loss`` gets first; it trains.
        loss: ``loss(model, *args)`` returns a real scalar.
        args: its further arguments.
        optimizer: a ``px.Optimizer`` of the model: then ‖Δw‖/‖w‖ of its next step is told too.
        vanishing, exploding: factors below and above which a layer is named.

    Returns:
        A ``GradientFlow``: prints as a table; ``plot()`` draws it.

    Raises:
        StructureError: no Module where the model is expected; an operation has no rule.
        RangeError: factors that are not 0 < vanishing < 1 < exploding.

    Source: Bengio, Simard and Frasconi, "Learning long-term dependencies with gradient descent is difficult", 1994.

    >>> import jax.numpy as jnp, phlox as px
    >>> with px.seed(0):
    ...     model = px.Chain(*[px.Dense(8, 8, px.sigmoid) for _ in range(8)], px.Dense(8, 1))
    >>> flow = px.autodiff.gradient_flow(model, lambda model, x: model(x).sum(), jnp.ones((4, 8)))
    >>> flow.layers[0].verdict, flow.layers[-2].verdict
    ('vanishing', '')
    """
    _check(model, vanishing, exploding)
    program = Backward(loss, (model, *args), 0, None)
    seen = _Seen(program, (model, *args))
    updates = _updates(model, optimizer, seen.gradient) if optimizer is not None else {}
    layers = _layers(program, seen, program._prefixes[0], updates)
    found = judged(layers, vanishing, exploding)
    return GradientFlow(type(model).__name__, seen.value, found, _first_bad(program, seen))


def _check(model: Any, vanishing: float, exploding: float) -> None:
    where = "px.autodiff.gradient_flow"
    if not isinstance(model, Module):
        raise StructureError(
            "a model first", got=describe(model), fix="write gradient_flow(model, loss, *args)", where=where
        )
    if not 0 < vanishing < 1 < exploding:
        raise RangeError(
            "0 < vanishing < 1 < exploding", got=f"{vanishing} and {exploding}", fix="leave them out", where=where
        )


_OURS = os.path.dirname(os.path.dirname(__file__))  # the package, whose lines are not the user's

Size = tuple[float, int]
"""A norm, and how many elements are no number."""


class _Seen:
    """One run forward and back, with the size of every value and cotangent by its number."""

    values: dict[int, Size]
    cotangents: dict[int, Size]
    handed: list[tuple[Line, int, int]]
    """In order what each line hands back: to which of its operands, and how many of it are no number."""
    value: float
    gradient: Any

    def __init__(self, program: Backward, args: Sequence[Any]):
        call, wrt = program._taken_apart(args)
        inputs = [*call.leaves, *call.bare]
        told: list[Any] = []  # which numbers and lines the sizes of what goes back belong to

        def run(inputs: list[Any]) -> Any:
            measured, names = _measured(program, inputs)
            told[:] = [names]
            return measured

        forward, back, handed, value, found = (run if program._counts_rounds else jax.jit(run))(inputs)
        numbers, places = told[0]
        self.values = {n: _known(s) for n, s in forward.items()}
        self.cotangents = {n: _known(s) for n, s in zip(numbers, back, strict=True)}
        self.handed = [(line, i, _known(s)[1]) for (line, i), s in zip(places, handed, strict=True)]
        self.value, start = float(value), len(call.leaves)
        self.gradient = wrt.gradients(([found[i] for i in wrt.leaves], [found[start + i] for i in wrt.bare]))


def _measured(program: Backward, inputs: list[Any]) -> tuple[Any, Any]:
    """Run forward and back: sizes, the value and the gradient; and what the sizes of the way back belong to."""
    flat = program._program
    own = {id(line) for line in flat.lines}  # those inside of loops run under traces of their own
    numbers, back, places, handed = [], [], [], []

    def act(number: int, g: Any) -> Any:
        numbers.append(number)
        back.append(_size(g))
        return g

    def watching(rule: Rule) -> Rule:
        def watched(step: Step, *gs: Any) -> Sequence[Any]:
            found = rule.back(step, *gs)
            for i, g in enumerate(found if id(step.line) in own else ()):
                if g is not None and step.wanted[i]:
                    places.append((step.line, i))
                    handed.append(_size(g))
            return found

        return Rule(watched, rule.writes, rule.texts)

    values = flat.run(inputs)
    rules = {kind: watching(rule) for kind, rule in program._rewriting.rules.items()}
    seeds = [jnp.ones_like(values[flat.outputs[0]]), *[None] * (len(flat.outputs) - 1)]
    found = walk(flat, values, seeds, program._wanted, rules, act)
    whole = zip(found, inputs, program._wanted, strict=True)
    gradient = [jnp.zeros_like(x) if g is None and w else g for g, x, w in whole]
    forward = {n: _size(v) for n, v in enumerate(values) if v is not None and flat.carries(n)}
    return (forward, back, handed, values[flat.outputs[0]], gradient), (numbers, places)


@jax.jit  # so that each shape is traced once
def _size(x: Any) -> Any:
    """(2,) the norm, also of numbers whose squares are too large, and how many are no number."""
    x = jnp.abs(x)
    x = x.astype(jnp.promote_types(jnp.float32, x.dtype))
    bad = jnp.sum(~jnp.isfinite(x))
    most = jnp.max(jnp.where(jnp.isfinite(x), x, 0), initial=0)
    norm = most * jnp.sqrt(jnp.sum((x / jnp.where(most == 0, 1, most)) ** 2))
    return jnp.stack([jnp.where(bad > 0, jnp.nan, norm), bad.astype(x.dtype)])


def _known(size: Any) -> Size:
    norm, bad = np.asarray(size, np.float64)
    return float(norm), int(bad)


def _updates(model: Module, optimizer: Any, gradient: Any) -> dict[str, float]:
    """For each array how far the optimiser's next step moves it, relative to its norm; tried on copies."""
    before, after = paths(model), copy(model)
    copy(optimizer).update(after, gradient)
    moved = {}
    for path, new in paths(after).items():
        if not is_key(new) and jnp.issubdtype(new.dtype, jnp.inexact):
            step, norm = (float(_size(x)[0]) for x in (new - before[path], before[path]))
            if norm:
                moved[path] = step / norm
    return moved


def _layers(program: Backward, seen: _Seen, prefix: str, updates: dict[str, float]) -> list[LayerFlow]:
    """The layers that compute something or own arrays, in the order of their last results."""
    flat = program._program
    made, read = results(flat), readers(flat)
    owned = _parameters(program, seen, prefix, updates)
    computing, found = {line.layer for line in flat.lines}, []
    for path, brief in program._layers.items():
        if path.startswith(prefix):
            given = [
                n for n in made if flat.carries(n) and inside(made[n], path) and leaves(n, path, flat.outputs, read)
            ]
            given = given if path != prefix and path in computing else []
            if given or path in owned:
                sizes = [_rms(flat, given, s) for s in (seen.values, seen.cotangents)]
                found.append(
                    (max(given, default=0), LayerFlow(path, brief, sizes[0], sizes[1], "", tuple(owned.get(path, ()))))
                )
    return [layer for _, layer in sorted(found, key=lambda pair: pair[0])]


def _parameters(
    program: Backward, seen: _Seen, prefix: str, updates: dict[str, float]
) -> dict[str, list[ParameterFlow]]:
    """What is trained, by the path of the layer that owns it: the longest that begins its own."""
    found: dict[str, list[ParameterFlow]] = {}
    for number, name, wanted in zip(program._program.inputs, program._names, program._wanted, strict=True):
        if wanted:
            owner = max((p for p in program._layers if inside(name, p) or not p), key=len)
            norm, gradient = seen.values[number][0], seen.cotangents.get(number, (0.0, 0))[0]
            update = updates.get(name.removeprefix(f"{prefix}."))
            found.setdefault(owner, []).append(ParameterFlow(name, norm, gradient, update))
    return found


def _rms(flat: Flat, numbers: Sequence[int], sizes: dict[int, Size]) -> float | None:
    """The root mean square of several values together; None where there are none."""
    if not numbers:
        return None
    count = sum(math.prod(flat.types[n].shape) for n in numbers)
    return math.sqrt(sum(sizes.get(n, (0.0, 0))[0] ** 2 for n in numbers) / max(count, 1))


def _first_bad(program: Backward, seen: _Seen) -> Place | None:
    """The first line whose results are no numbers while what goes into it is; forward before back."""
    flat, rules = program._program, program._rewriting.rules
    for number, name in zip(flat.inputs, program._names, strict=True):
        if seen.values.get(number, (0.0, 0))[1]:
            return Place("given", name.rpartition(".")[0], name, "", seen.values[number][1])
    forward = ((line, None, sum(seen.values.get(n, (0.0, 0))[1] for n in line.makes)) for line in flat.lines)
    for line, operand, bad in (*forward, *seen.handed):
        if bad:
            written = text(flat, program._names, line, operand, rules)
            direction = "forward" if operand is None else "back"
            return Place(direction, line.layer, written, written_at(line.source[1], _OURS), bad)
    return None
