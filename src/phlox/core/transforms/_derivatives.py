"""Derivatives beside the gradient: vjp, jvp, jacobian, hessian and their products with vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, ParamSpec, TypeVar, overload

import jax
import jax.numpy as jnp

from phlox.core._errors import RangeError, ShapeError, describe, form
from phlox.core.module._arrays import is_array
from phlox.core.transforms._bound import carried, named_after
from phlox.core.transforms._functionalize import Outcome, functionalize, is_module
from phlox.core.transforms._grad import Argnums, Differentiated, numbers_as_arrays, scalar_of

P = ParamSpec("P")
R = TypeVar("R")
Aux = TypeVar("Aux")
Pullback = Callable[[Any], tuple[Any, ...]]


@overload
def vjp(fn: Callable[..., R], *primals: Any, has_aux: Literal[False] = False) -> tuple[R, Pullback]: ...
@overload
def vjp(fn: Callable[..., tuple[R, Aux]], *primals: Any, has_aux: Literal[True]) -> tuple[R, Pullback, Aux]: ...
@overload
def vjp(fn: Callable[..., Any], *primals: Any, has_aux: bool) -> tuple[Any, ...]: ...
def vjp(fn: Callable[..., Any], *primals: Any, has_aux: bool = False) -> tuple[Any, ...]:
    r"""Evaluate a function and prepare its pullback, $\bar y \mapsto \bar y^T \partial y / \partial x$.

    Modules among the primals train; State that ``fn`` moves is written back once. Their cotangents are Modules
    with None at what is not trainable.

    Arguments:
        fn: returns a tree of arrays, or ``(tree, aux)`` with ``has_aux``.
        primals: its arguments, all differentiated.
        has_aux: ``fn`` returns extra values.

    Returns:
        ``(y, pullback)``, or ``(y, pullback, aux)``; the pullback takes a cotangent like y, and gives a tuple.

    Raises:
        ShapeError: a cotangent that is not like y.

    >>> import jax.numpy as jnp, phlox as px
    >>> y, pullback = px.vjp(jnp.sin, 0.0)
    >>> float(y), float(pullback(1.0)[0])
    (0.0, 1.0)
    """
    primals = numbers_as_arrays(primals, range(len(primals)))
    inner, first, named = carried(fn)
    call = functionalize(inner, (*first, *primals), named, kind="vjp")
    wrt = Differentiated(call, primals, range(len(primals)), first=first)

    def arrays(diff: Any) -> tuple[list[Any], Outcome]:
        outcome = call.pure(*wrt.merge(diff))
        return _differentiable(outcome, has_aux), outcome

    y, pull, outcome = jax.vjp(arrays, wrt.values, has_aux=True)
    result = call.commit(outcome)
    value = result[0] if has_aux else result

    def pullback(cotangent: Any) -> tuple[Any, ...]:
        return wrt.gradients(pull(_like(value, cotangent, y))[0])

    return (value, pullback, result[1]) if has_aux else (value, pullback)


def _differentiable(outcome: Outcome, has_aux: bool) -> list[Any]:
    """The floating arrays among the results (the first of two with ``has_aux``)."""
    result = outcome.record.result
    count = result.treedef.children()[0].num_leaves if has_aux else len(result.leaves)
    found = [outcome.outputs[at] for kind, at in result.leaves[:count] if kind == "array"]
    return [v for v in map(jnp.asarray, found) if jnp.issubdtype(v.dtype, jnp.inexact)]


def _like(value: Any, cotangent: Any, outputs: list[Any]) -> list[Any]:
    """The arrays of a cotangent that stand where the value has floating arrays."""
    leaves, treedef = jax.tree_util.tree_flatten(value, is_leaf=is_module)
    try:
        given = treedef.flatten_up_to(cotangent)
    except ValueError:
        raise ShapeError(
            f"a cotangent of the form {form(treedef)}",
            got=form(jax.tree_util.tree_structure(cotangent, is_leaf=is_module)),
            fix="give it the lists, tuples and dicts of the value",
            where="px.vjp",
        ) from None
    pairs = [(v, c) for v, c in zip(leaves, given, strict=True) if is_array(v) or isinstance(v, (float, complex))]
    found = [jnp.asarray(c) for v, c in pairs if jnp.issubdtype(jnp.asarray(v).dtype, jnp.inexact)]
    for c, y in zip(found, outputs, strict=True):
        if c.shape != y.shape:
            raise ShapeError(
                f"a cotangent like {describe(y)}", got=describe(c), fix="give it the shape of the value", where="px.vjp"
            )
    return [c.astype(y.dtype) for c, y in zip(found, outputs, strict=True)]


def jvp(fn: Callable[..., R], primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[R, R]:
    r"""Evaluate a function and its derivative along a direction, $\dot y = (\partial y / \partial x)\, \dot x$.

    Arguments:
        fn: returns a tree of arrays.
        primals: its arguments.
        tangents: one for each: None for no change, an array, or for a Module a Module of the same class (as
            ``px.grad`` gives) or a dict from path to array; what it leaves out does not change.

    Returns:
        ``(y, ẏ)``; ẏ has zeros where y is not floating.

    Raises:
        ShapeError: another number of tangents than of primals, or other shapes.

    >>> import jax.numpy as jnp, phlox as px
    >>> y, dy = px.jvp(lambda x: x**2, (3.0,), (1.0,))
    >>> float(y), float(dy)
    (9.0, 6.0)
    """
    if len(primals) != len(tangents):
        raise ShapeError(
            f"{len(primals)} tangents, one for each primal", got=str(len(tangents)),
            fix="give one for each; None for what does not change", where="px.jvp",
        )  # fmt: skip
    primals = numbers_as_arrays(primals, range(len(primals)))
    inner, first, named = carried(fn)
    call = functionalize(inner, (*first, *primals), named, kind="jvp")
    wrt = Differentiated(call, primals, range(len(primals)), first=first)
    values = jax.tree.map(jnp.asarray, wrt.values)

    def arrays(diff: Any) -> tuple[list[Any], Outcome]:
        outcome = call.pure(*wrt.merge(diff))
        return _differentiable(outcome, False), outcome

    _, slopes, outcome = jax.jvp(arrays, (values,), (wrt.tangents(tangents, values, "px.jvp"),), has_aux=True)
    value = call.commit(outcome)
    rest = iter(slopes)
    leaves, treedef = jax.tree_util.tree_flatten(value, is_leaf=is_module)
    moved = [next(rest) if _floats(v) else jnp.zeros_like(v) if is_array(v) else v for v in leaves]
    return value, jax.tree_util.tree_unflatten(treedef, moved)


def _floats(v: Any) -> bool:
    return (is_array(v) or isinstance(v, (float, complex))) and jnp.issubdtype(jnp.asarray(v).dtype, jnp.inexact)


def jacobian(
    fn: Callable[P, Any], argnums: Argnums = 0, *, mode: Literal["reverse", "forward"] = "reverse"
) -> Callable[P, Any]:
    r"""Make a function that gives all first derivatives, $J = \partial y / \partial x$.

    Shapes:
        for y of shape S and an array x of shape T: (*S, *T); for a Module: a Module whose arrays have shape (*S, *T).

    Arguments:
        fn: returns a tree of floating arrays.
        argnums: which arguments to differentiate, by position.
        mode: "reverse" for few outputs, "forward" for few inputs.

    Raises:
        RangeError: another mode.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.jacobian(lambda x: x**2)(jnp.array([1.0, 2.0])).tolist()
    [[2.0, 0.0], [0.0, 4.0]]
    """
    if mode not in ("reverse", "forward"):
        raise RangeError(
            'mode "reverse" or "forward"',
            got=repr(mode),
            fix='use "reverse" for few outputs, "forward" for few inputs',
            where="px.jacobian",
        )
    transform = jax.jacrev if mode == "reverse" else jax.jacfwd

    inner, first, named = carried(fn)

    @named_after(fn)
    def differentiated(*args: Any, **kwargs: Any) -> Any:
        args = numbers_as_arrays(args, argnums)
        call = functionalize(inner, (*first, *args), {**named, **kwargs}, kind="jacobian")
        wrt = Differentiated(call, args, argnums, first=first)

        def arrays(diff: Any) -> tuple[list[Any], Outcome]:
            outcome = call.pure(*wrt.merge(diff))
            return _differentiable(outcome, False), outcome

        slopes, outcome = transform(arrays, has_aux=True)(jax.tree.map(jnp.asarray, wrt.values))
        value = call.commit(outcome)
        treedef = jax.tree_util.tree_structure(value, is_leaf=is_module)
        return jax.tree_util.tree_unflatten(treedef, [wrt.gradients(slope) for slope in slopes])

    return differentiated


def hessian(fn: Callable[P, Any], argnums: Argnums = 0) -> Callable[P, Any]:
    r"""Make a function that gives all second derivatives of a scalar, $H = \partial^2 y / \partial x \partial x^T$.

    For an array x of shape S, H has shape (*S, *S). For a Module it is a Module with a Module at every trainable array:
    ``H.weight.bias`` has shape (*weight, *bias).

    Arguments:
        fn: returns a real scalar.
        argnums: which argument to differentiate, by position.

    Raises:
        ShapeError: the value is no scalar.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.hessian(lambda x: (x**3).sum())(jnp.array([1.0, 2.0])).tolist()
    [[6.0, 0.0], [0.0, 12.0]]
    """

    inner, first, named = carried(fn)

    @named_after(fn)
    def differentiated(*args: Any, **kwargs: Any) -> Any:
        args = numbers_as_arrays(args, argnums)
        call = functionalize(inner, (*first, *args), {**named, **kwargs}, kind="hessian")
        wrt = Differentiated(call, args, argnums, first=first)

        def slope(diff: Any) -> tuple[Any, Outcome]:
            def value(diff: Any) -> tuple[Any, Outcome]:
                outcome = call.pure(*wrt.merge(diff))
                return scalar_of(outcome, False), outcome

            return jax.grad(value, has_aux=True)(diff)

        curvature, outcome = jax.jacfwd(slope, has_aux=True)(jax.tree.map(jnp.asarray, wrt.values))
        call.commit(outcome)
        rows = jax.tree.map(wrt.gradients, curvature, is_leaf=lambda v: isinstance(v, tuple) and v is not curvature)
        return wrt.gradients(rows)

    return differentiated


def hvp(fn: Callable[..., R], inputs: Any, v: Any) -> tuple[R, Any]:
    r"""A scalar function's value and its Hessian times a vector, $H v = \partial_x (v^T \partial_x y)$.

    Arguments:
        fn: returns a real scalar.
        inputs: its argument, or a tuple of them, all differentiated.
        v: like ``inputs``, as the tangents of ``px.jvp``.

    Returns:
        ``(y, H v)``; H v has the form of a gradient.

    Raises:
        ShapeError: the value is no scalar, or v has other shapes.

    Source: Pearlmutter, "Fast exact multiplication by the Hessian", 1994.

    >>> import jax.numpy as jnp, phlox as px
    >>> y, product = px.hvp(lambda x: (x**3).sum(), jnp.array([1.0, 2.0]), jnp.array([1.0, 1.0]))
    >>> product.tolist()
    [6.0, 12.0]
    """
    single = not isinstance(inputs, tuple)
    primals, tangents = ((inputs,), (v,)) if single else (inputs, v)
    primals = numbers_as_arrays(primals, range(len(primals)))
    inner, first, named = carried(fn)
    call = functionalize(inner, (*first, *primals), named, kind="hvp")
    wrt = Differentiated(call, primals, 0 if single else range(len(primals)), first=first)
    values = jax.tree.map(jnp.asarray, wrt.values)

    def slope(diff: Any) -> tuple[Any, Outcome]:
        def value(diff: Any) -> tuple[Any, Outcome]:
            outcome = call.pure(*wrt.merge(diff))
            return scalar_of(outcome, False), outcome

        return jax.grad(value, has_aux=True)(diff)

    _, product, outcome = jax.jvp(slope, (values,), (wrt.tangents(tangents, values, "px.hvp"),), has_aux=True)
    return call.commit(outcome), wrt.gradients(product)
