"""px.autodiff.backward: a gradient as a program that can be read, changed and run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import jax
import jax.numpy as jnp

from phlox.autodiff import _control as _control  # enters its rules in the table
from phlox.autodiff import _linear_algebra as _linear_algebra  # so do these
from phlox.autodiff import _places as _places
from phlox.autodiff import _windows as _windows
from phlox.autodiff._arguments import below, input_names, prefixes_of
from phlox.autodiff._listing import Row, listing, table
from phlox.autodiff._program import Flat, flat
from phlox.autodiff._rewriting import Rewriting
from phlox.autodiff._walk import active, check, needed, walk
from phlox.core import (
    Differentiated,
    Module,
    Outcome,
    StructureError,
    carried,
    describe,
    functionalize,
    numbers_as_arrays,
    scalar_of,
    telling_layers,
)
from phlox.nn import reference_forms


class Backward:
    """The program that ``backward`` wrote: ``print`` shows it, a call runs it.

    A call takes arguments of the shapes that it was written for, and returns ``(value, gradient)`` as
    ``px.value_and_grad`` does; State that the function moves is written back.
    """

    def __init__(self, fn: Callable[..., Any], args: Sequence[Any], argnums: int | Sequence[int], rewrite: Any):
        self._carried, self._argnums = carried(fn), argnums
        call, wrt = self._taken_apart(args)
        self._key, self._types = call.static_key(), [*map(_type, [*call.leaves, *call.bare])]
        roots = [call.plan.module(r) for r in call.structure.roots]
        self._prefixes = prefixes = prefixes_of(call)
        self._layers = {k: m._brief() for r, p in zip(roots, prefixes, strict=True) for k, m in below(r, p)}
        self._names = input_names(call, prefixes)
        self._program, self._record = self._written(args, roots, prefixes)
        places = {*wrt.leaves, *(len(call.leaves) + i for i in wrt.bare)}
        self._wanted = [i in places for i in range(len(self._types))]
        self._rewriting = Rewriting(rewrite, self._program, self._names, self._layers)
        self._moved = active(self._program, self._wanted)
        back = needed(self._program, self._moved)
        check(back, self._rewriting.rules, self._place)
        self._counts_rounds = any(line.kind == "while" for line in back)  # as it runs, so it is not compiled
        self._run = jax.jit(self._walked)

    @property
    def rows(self) -> tuple[Row, ...]:
        """The lines: first those forward, then those back."""
        return listing(self._program, self._names, self._wanted, self._rewriting.rules)

    def __str__(self) -> str:
        return table(self.rows)

    __repr__ = __str__

    def __call__(self, *args: Any) -> tuple[Any, Any]:
        """Run the program: the value, and the gradient in the form of the arguments."""
        call, wrt = self._taken_apart(args)
        self._refuse_others(call)
        outputs, found = self._executed([*call.leaves, *call.bare])
        count = len(self._record.written)
        captured = len(self._record.captured)
        written = outputs[1 : 1 + count]
        commit = Outcome(outputs[:1], written, outputs[1 + count : 1 + count + captured], self._record)
        value = call.commit(commit)
        start = len(call.leaves)
        return value, wrt.gradients(([found[i] for i in wrt.leaves], [found[start + i] for i in wrt.bare]))

    def _taken_apart(self, args: Sequence[Any]) -> tuple[Any, Differentiated]:
        inner, first, named = self._carried
        args = numbers_as_arrays(args, self._argnums)
        call = functionalize(inner, (*first, *args), named, kind="grad", label="autodiff.backward")
        return call, Differentiated(call, args, self._argnums, first=first)

    def _written(self, args: Sequence[Any], roots: list[Module], prefixes: list[str]) -> tuple[Flat, Any]:
        """The lines of the function forward, each in the scope of its layer, and the record of its outcome."""
        with ExitStack() as scopes:
            for root, prefix in zip(roots, prefixes, strict=True):
                scopes.enter_context(telling_layers(root, prefix))
            scopes.enter_context(reference_forms())  # a kernel cannot be read
            call, _ = self._taken_apart(args)

            def pure(leaves: list[Any], bare: list[Any]) -> Any:
                outcome = call.pure(leaves, bare)
                return scalar_of(outcome, False), outcome

            closed, (_, outcome) = jax.make_jaxpr(pure, return_shape=True)(call.leaves, call.bare)
        program = flat(closed)
        del program.outputs[1]  # the value once more, among the outputs of the function
        return program, outcome.record

    def _executed(self, inputs: list[Any]) -> tuple[list[Any], list[Any]]:
        return self._walked(inputs) if self._counts_rounds else self._run(inputs)

    def _walked(self, inputs: list[Any]) -> tuple[list[Any], list[Any]]:
        values = self._program.run(inputs)
        outputs = [values[n] for n in self._program.outputs]
        seeds = [jnp.ones_like(outputs[0]), *[None] * (len(outputs) - 1)]
        found = walk(self._program, values, seeds, self._wanted, self._rewriting.rules, self._rewriting.act)
        zero = zip(found, inputs, self._wanted, strict=True)
        return outputs, [jnp.zeros_like(x) if g is None and w else g for g, x, w in zero]

    def _place(self, layer: str) -> str:
        """A layer as errors call it."""
        return f"{layer} {self._layers[layer]}" if layer in self._layers else "the function"

    def _refuse_others(self, call: Any) -> None:
        types = [*map(_type, [*call.leaves, *call.bare])]
        if call.static_key() == self._key and types == self._types:
            return
        differing = [(a, b) for a, b in zip(self._types, types, strict=False) if a != b]
        wanted, got = (
            map(describe, differing[0]) if differing else ("arguments like those that it was written for", "others")
        )
        raise StructureError(
            wanted,
            got=got,
            fix="write a program for these arguments, px.autodiff.backward(fn, *args); what changes must be arrays",
            where="the program of px.autodiff.backward",
        )


def backward(
    fn: Callable[..., Any],
    *args: Any,
    argnums: int | Sequence[int] = 0,
    rewrite: Mapping[str, Callable[..., Any]] | None = None,
) -> Backward:
    r"""Write the gradient of a function as a program, a line for each operation, last to first.

    For $y = f(x)$ on a line, its cotangent is carried back by $\bar x = \bar y\, \partial y / \partial x$; the table in
    ``docs/gradients.md`` has each rule. Nothing is computed until the program is called.

    Arguments:
        fn: returns a real scalar; Modules among its arguments train, as under ``px.grad``.
        args: what it is called with: arrays, Modules, trees of them.
        argnums: which arguments to differentiate, by position.
        rewrite: by name, what to do otherwise. The name of an operation (``"tanh"``): its rule,
            ``rule(step, *cotangents)``, which gives a cotangent for each operand. The path of a layer
            (``"layers.0"``, or a pattern, ``"layers.*"``) or of an array (``"layers.0.weight"``): a function of the
            cotangent that arrives there, whose result goes on in its place; None leaves it.

    Returns:
        A ``Backward``.

    Raises:
        StructureError: an operation has no rule (names it and its layer); a name of ``rewrite`` is none.
        ShapeError: the value is no scalar.

    Source: Griewank and Walther, "Evaluating Derivatives", 2008.

    >>> import jax.numpy as jnp, phlox as px
    >>> program = px.autodiff.backward(lambda x: jnp.sum(jnp.tanh(x) * x), jnp.array([1.0, 2.0]))
    >>> print(program)
    forward                   value       layer  flops
      a = tanh(x)             float32[2]         2
      b = mul(a, x)           float32[2]         2
      c = reduce_sum(b)       float32[]          2
    back
      ∂b = broadcast(∂c)      float32[2]         0
      ∂a = ∂b * x             float32[2]         2
      ∂x = ∂b * a             float32[2]         2
      ∂x += ∂a * (1 - a * a)  float32[2]         6
    >>> value, gradient = program(jnp.array([1.0, 2.0]))
    >>> [f"{g:.3f}" for g in gradient]
    ['1.182', '1.105']
    """
    return Backward(fn, args, argnums, rewrite)


def _type(x: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(jnp.shape(x), x.dtype if hasattr(x, "dtype") else jnp.result_type(x))
