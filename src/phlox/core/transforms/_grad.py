"""Gradients: of the trainable arrays of Modules, and of plain arrays, with the model's State moved on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, ParamSpec, TypeVar, overload

import jax
import jax.numpy as jnp

from phlox.core._errors import DtypeError, ShapeError, describe, form
from phlox.core.module._module import Module
from phlox.core.module._plan import plan_of
from phlox.core.module._tree import gradients_by_path
from phlox.core.transforms._bound import carried, named_after
from phlox.core.transforms._functionalize import SCALARS, Call, Outcome, functionalize, is_module

Argnums = int | Sequence[int]
P = ParamSpec("P")
R = TypeVar("R")
Aux = TypeVar("Aux")


def value_and_grad(fn: Callable[P, R], argnums: Argnums = 0, *, has_aux: bool = False) -> Callable[P, tuple[R, Any]]:
    r"""Make a function that returns ``fn``'s value and its gradient.

    For a Module, the gradient is a Module of the same class that holds ∂value/∂leaf at every trainable
    array and None at what is State, frozen or not floating; parts that are shared have one gradient. While
    ``fn`` runs, differentiated Modules train: statistics and random keys that it moves are written back.

    Arguments:
        fn: returns a real scalar, or ``(scalar, aux)`` with ``has_aux``.
        argnums: which arguments to differentiate, by position; one gradient for an int, a tuple for several.
        has_aux: ``fn`` returns extra values beside the scalar.

    Returns:
        A function of the same arguments that gives ``(value, gradient)``, or ``((value, aux), gradient)``.

    Raises:
        ShapeError: the value is no scalar.
        CaptureError: ``fn`` reads the original of a Module that it differentiates.
        StateError: ``fn`` writes State of a Module that is no argument.

    >>> import jax.numpy as jnp, phlox as px
    >>> model = px.Dense.of(jnp.ones((2, 1)), None)
    >>> loss, grads = px.value_and_grad(lambda m: m(jnp.array([[3.0, 4.0]])).sum())(model)
    >>> float(loss), grads.weight.tolist()
    (7.0, [[3.0], [4.0]])
    """

    inner, first, named = carried(fn)

    @named_after(fn)
    def differentiated(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        args = numbers_as_arrays(args, argnums)
        call = functionalize(inner, (*first, *args), {**named, **kwargs}, kind="grad")
        wrt = Differentiated(call, args, argnums, first=first)

        def loss(diff: Any) -> tuple[Any, Outcome]:
            outcome = call.pure(*wrt.merge(diff))
            return scalar_of(outcome, has_aux), outcome

        (_, outcome), grads = jax.value_and_grad(loss, has_aux=True)(wrt.values)
        return call.commit(outcome), wrt.gradients(grads)

    return differentiated


@overload
def grad(
    fn: Callable[P, tuple[Any, Aux]], argnums: Argnums = 0, *, has_aux: Literal[True]
) -> Callable[P, tuple[Any, Aux]]: ...
@overload
def grad(fn: Callable[P, Any], argnums: Argnums = 0, *, has_aux: bool = False) -> Callable[P, Any]: ...
def grad(fn: Callable[..., Any], argnums: Argnums = 0, *, has_aux: bool = False) -> Callable[..., Any]:
    """Make a function that returns the gradient of ``fn``; see ``value_and_grad``.

    Returns:
        A function of the same arguments that gives the gradient, or ``(gradient, aux)`` with ``has_aux``.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.grad(lambda x: (x**2).sum())(jnp.array([1.0, 3.0])).tolist()
    [2.0, 6.0]
    """
    both = value_and_grad(fn, argnums, has_aux=has_aux)

    @named_after(fn)
    def differentiated(*args: Any, **kwargs: Any) -> Any:
        value, grads = both(*args, **kwargs)
        return (grads, value[1]) if has_aux else grads

    return differentiated


def numbers_as_arrays(args: Sequence[Any], argnums: Argnums) -> tuple[Any, ...]:
    """The arguments, with Python numbers among the differentiated ones as arrays; others stay as they are."""
    wanted = {n % len(args) for n in ([argnums] if isinstance(argnums, int) else argnums)} if args else set()

    def convert(v: Any) -> Any:
        return jnp.asarray(v) if isinstance(v, SCALARS) else v

    return tuple(jax.tree.map(convert, a, is_leaf=is_module) if n in wanted else a for n, a in enumerate(args))


def scalar_of(outcome: Outcome, has_aux: bool) -> Any:
    """The value to differentiate: the first array of the result, which must be a real scalar."""
    result = outcome.record.result
    first = result.leaves[0] if result.leaves else ("static", None)
    value = outcome.outputs[0] if first[0] == "array" else first[1]
    shape_of_result = "(scalar, aux)" if has_aux else "a scalar"
    pair = (
        result.treedef.node_data() == (tuple, None)
        and result.treedef.num_nodes > 1
        and len(result.treedef.children()) == 2
    )
    if first[0] != "array" or (not pair if has_aux else not result.single):
        raise ShapeError(
            f"a function that returns {shape_of_result}",
            got=form(result.treedef) if first[0] == "array" else describe(value),
            fix="end the function with return loss"
            if value is None
            else "return (loss, aux), or leave has_aux=True out"
            if has_aux
            else "return the loss alone, or pass has_aux=True and return (loss, aux)",
            where="px.grad",
        )
    value = value if isinstance(value, jax.Array) else jnp.asarray(value)
    if value.shape != () or not jnp.issubdtype(value.dtype, jnp.floating):
        raise ShapeError(
            f"a function that returns {shape_of_result}, real and of shape ()",
            got=describe(value),
            fix=_scalar_cure(value),
            where="px.grad",
        )
    return value


def _scalar_cure(value: jax.Array) -> str:
    if jnp.issubdtype(value.dtype, jnp.complexfloating):
        return "differentiate a real number, such as jnp.abs(z) or z.real"
    if not jnp.issubdtype(value.dtype, jnp.floating):
        return "differentiate a loss of floats; counts and comparisons have no gradient"
    return "reduce it, for example with .mean() or .sum(); for a vector use px.jacobian or px.vjp"


class Differentiated:
    """The arrays of a call that are differentiated, and how gradients take the arguments' form again."""

    call: Call
    single: bool
    args: list[Any]
    spec: list[list[tuple[str, Any]]]  # for each argument, what its leaves are
    treedefs: list[Any]
    wanted: list[int]  # positions of the differentiated arguments
    leaves: list[int]  # which leaves of the call are differentiated
    bare: list[int]  # and which bare arrays
    values: tuple[list[Any], list[Any]]

    def __init__(
        self, call: Call, args: Sequence[Any], argnums: Argnums, *, train: bool = True, first: Sequence[Any] = ()
    ):
        """``args`` are the user's; what the function brought along comes ``first`` in the call."""
        self.call, self.single = call, isinstance(argnums, int)
        wanted = [argnums] if isinstance(argnums, int) else list(argnums)
        self.args = [args[n] for n in wanted]
        # Each differentiated argument flattens to leaves of the call, found by position.
        ends = [len(jax.tree_util.tree_leaves(tuple(first), is_leaf=is_module))]
        for a in args:
            ends.append(ends[-1] + len(jax.tree_util.tree_leaves(a, is_leaf=is_module)))
        self.spec = [call.spec[ends[n] : ends[n + 1]] for n in range(len(args))]
        self.treedefs = [jax.tree_util.tree_structure(a, is_leaf=is_module) for a in self.args]
        self.wanted = [n % len(args) if n < 0 else n for n in wanted]
        roots = [v for n in self.wanted for kind, v in self.spec[n] if kind == "module"]
        structure = call.plan.structure
        owned = structure.modules_below(structure.roots[r] for r in roots)
        if train:
            call.training = owned
        self.leaves = [
            i for i, (m, _) in enumerate(structure.leaves) if m in owned and structure.is_trainable(i, call.leaves[i])
        ]
        self.bare = [v for n in self.wanted for kind, v in self.spec[n] if kind == "array"]
        if not train:
            self.bare = [i for i in self.bare if jnp.issubdtype(jnp.result_type(call.bare[i]), jnp.inexact)]
        for i in self.bare:
            if not jnp.issubdtype(jnp.result_type(call.bare[i]), jnp.inexact):
                raise DtypeError(
                    "floating or complex arguments to differentiate",
                    got=describe(call.bare[i]),
                    fix="convert it to float, or leave it out of argnums",
                    where=f"px.{call.kind}",
                )
        self.values = ([call.leaves[i] for i in self.leaves], [call.bare[i] for i in self.bare])

    def merge(self, diff: Any) -> tuple[list[Any], list[Any]]:
        """All leaves of the call, with the differentiated ones replaced."""
        leaves, bare = list(self.call.leaves), list(self.call.bare)
        for i, v in zip(self.leaves, diff[0], strict=True):
            leaves[i] = v
        for i, v in zip(self.bare, diff[1], strict=True):
            bare[i] = v
        return leaves, bare

    def tangents(self, given: Sequence[Any], values: Any, where: str) -> Any:
        """Directions along which the arguments move, by leaf; zero where none is given."""
        by_leaf: dict[int, Any] = {}
        bare: dict[int, Any] = {}
        for n, treedef, tangent in zip(self.wanted, self.treedefs, given, strict=True):
            flat = [None] * len(self.spec[n]) if tangent is None else treedef.flatten_up_to(tangent)
            for (kind, v), direction in zip(self.spec[n], flat, strict=True):
                if kind == "array" and direction is not None:
                    bare[v] = direction
                elif kind == "module" and direction is not None:
                    by_leaf |= self._module_tangent(v, direction, where)
        leaves = [_along(by_leaf.get(i), v, where) for i, v in zip(self.leaves, values[0], strict=True)]
        return leaves, [_along(bare.get(i), v, where) for i, v in zip(self.bare, values[1], strict=True)]

    def _module_tangent(self, root: int, tangent: Any, where: str) -> dict[int, Any]:
        plan = self.call.plan
        module = plan.module(plan.structure.roots[root])
        named = gradients_by_path(module, tangent, where)
        own = plan_of([module])
        paths = {n: own.structure.leaves[i] for i, n in enumerate(own.structure.names())}
        place = {id(own.modules[m]()): m for m in range(len(own.modules))}
        index = {(id(plan.modules[m]()), item): i for i, (m, item) in enumerate(plan.structure.leaves)}
        back = {m: key for key, m in place.items()}
        return {index[back[paths[n][0]], paths[n][1]]: v for n, v in named.items()}

    def gradients(self, grads: Any) -> Any:
        """Gradients in the form of the arguments: Modules of the same class, None where there is none."""
        structure = self.call.plan.structure
        by_leaf = dict(zip(self.leaves, grads[0], strict=True))
        bare = dict(zip(self.bare, grads[1], strict=True))
        modules: list[Module] = structure.build([by_leaf.get(i) for i in range(len(structure.leaves))])
        for module in modules:
            module._px.gradient = True
        found = []
        for n, treedef in zip(self.wanted, self.treedefs, strict=True):
            flat = [
                modules[structure.roots[v]] if kind == "module" else bare[v] if kind == "array" else None
                for kind, v in self.spec[n]
            ]
            found.append(jax.tree_util.tree_unflatten(treedef, flat))
        return found[0] if self.single else tuple(found)


def _along(tangent: Any, value: Any, where: str) -> Any:
    """A direction in the dtype of the value it moves."""
    if tangent is None:
        return jnp.zeros_like(value)
    tangent = jnp.asarray(tangent, value.dtype)
    if tangent.shape != value.shape:
        raise ShapeError(
            f"an array like {describe(value)}",
            got=describe(tangent),
            fix="give it the shape of the argument",
            where=where,
        )
    return tangent
