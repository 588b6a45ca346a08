"""What flows back, changed by hand: custom_vjp, stop_gradient, gradient hooks; and a look at what flows forward."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

import jax
import jax.numpy as jnp

from phlox.core import _compat
from phlox.core._compat import Tracer
from phlox.core._errors import ShapeError, StructureError, describe
from phlox.core.module._tree import tree_map
from phlox.core.transforms._carried import pair_of
from phlox.core.transforms._functionalize import Outcome, functionalize, is_module
from phlox.core.transforms._grad import Differentiated

T = TypeVar("T")
P = ParamSpec("P")
R = TypeVar("R")


class custom_vjp(Generic[P, R]):  # noqa: N801 - used like a function
    """A function with a gradient rule of the user's own, over arrays and Modules.

    ``forward(*args)`` returns ``(y, residuals)``, where residuals are a tree of arrays and Modules;
    ``backward(residuals, ȳ)`` returns one cotangent for each argument: an array, None, or for a Module a gradient
    Module or a dict from path to array. Reverse mode only.

    Arguments:
        fn: what runs where no gradient is taken.

    Raises:
        StructureError: it is called before ``defvjp``, ``forward`` returns no pair, or ``backward`` another number
            of cotangents.

    >>> import jax.numpy as jnp, phlox as px
    >>> @px.custom_vjp
    ... def clipped(x):
    ...     return x
    >>> clipped.defvjp(lambda x: (x, None), lambda _, g: (jnp.clip(g, -1.0, 1.0),))
    >>> float(px.grad(lambda x: 5.0 * clipped(x))(2.0))
    1.0
    """

    def __init__(self, fn: Callable[P, R]):
        functools.update_wrapper(self, fn)
        self.fn = fn
        self.forward: Callable[..., tuple[R, Any]] | None = None
        self.backward: Callable[..., Any] | None = None

    def defvjp(self, forward: Callable[..., tuple[R, Any]], backward: Callable[..., Any]) -> None:
        """Set the two halves of the rule."""
        self.forward, self.backward = forward, backward

    if TYPE_CHECKING:
        __call__: Callable[P, R]  # by position alone, which Callable cannot say
    else:

        def __call__(self, *args: Any) -> Any:
            return self._called(args)

    def _called(self, args: tuple[Any, ...]) -> Any:
        if self.forward is None or self.backward is None:
            name = getattr(self.fn, "__name__", "the function")
            raise StructureError(
                f"a gradient rule for {name}",
                got="none",
                fix=f"call {name}.defvjp(forward, backward) once, before {name} is called",
                where="px.custom_vjp",
            )
        return _Rule(self.fn, self.forward, self.backward, args).run()


class _Rule:
    """One call of a function with a rule of its own, as a function of leaves."""

    def __init__(
        self, fn: Callable[..., Any], forward: Callable[..., Any], backward: Callable[..., Any], args: Sequence[Any]
    ):
        def ahead(*args: Any) -> tuple[Any, list[Any]]:
            y, residuals = pair_of(
                forward(*args),
                "a forward that returns a pair, (y, residuals)",
                "return y, residuals; return y, None where backward needs nothing",
                "px.custom_vjp",
            )
            self.kept = functionalize(
                lambda kept: kept, (residuals,), {}, kind="remat", scalars=True, label="custom_vjp"
            )
            return y, [*self.kept.leaves, *self.kept.bare]

        ahead.__wrapped__ = forward  # type: ignore[attr-defined]  # what names and signature are asked of
        self.call = functionalize(fn, args, {}, kind="remat", scalars=True, label="custom_vjp")
        self.ahead = functionalize(ahead, args, {}, kind="remat", scalars=True, label="custom_vjp")
        self.wrt = Differentiated(self.call, args, range(len(args)), train=False)
        self.backward = backward
        self.record: Any = None
        self.kept: Any = None  # the residuals, taken apart

    def run(self) -> Any:
        values = jax.tree.map(jnp.asarray, self.wrt.values)
        jax.eval_shape(self._primal, values)  # learns the form of the result, which the halves of the rule need
        rule = jax.custom_vjp(self._primal)
        rule.defvjp(self._forward, self._backward)
        outputs, written, captured = rule(values)
        return self.call.commit(Outcome(outputs, written, captured, self.record))

    def _primal(self, diff: Any) -> Any:
        outcome = self.call.pure(*self.wrt.merge(diff))
        self.record = outcome.record
        return list(outcome.outputs), list(outcome.written), list(outcome.captured)

    def _forward(self, diff: Any) -> Any:
        outcome = self.ahead.pure(*self.wrt.merge(diff))
        # Bare arrays come first, those of y before the residuals; arrays of Modules that y holds are last.
        outputs, start = list(outcome.outputs), self.record.result.arrays
        end = start + len(self.kept.leaves) + len(self.kept.bare)
        y = outputs[:start] + outputs[end:]
        return (y, list(outcome.written), list(outcome.captured)), outputs[start:end]

    def _backward(self, residuals: list[Any], cotangents: Any) -> tuple[Any]:
        result = self.record.result
        y_bar = result.rebuild(cotangents[0], lambda _: None)
        grads = self.backward(self._rebuilt(residuals), y_bar)
        if not isinstance(grads, tuple) or len(grads) != len(self.wrt.args):
            raise StructureError(
                f"a backward that returns a tuple of {len(self.wrt.args)} cotangents, one for each argument",
                got=f"{len(grads)} of them" if isinstance(grads, tuple) else describe(grads),
                fix="return a tuple, also for one argument: (g,); None is for what has no gradient",
                where="px.custom_vjp",
            )
        return (self.wrt.tangents(grads, self.wrt.values, "px.custom_vjp"),)

    def _rebuilt(self, arrays: list[Any]) -> Any:
        """The residuals around these arrays, sharing kept."""
        kept = self.kept
        built = kept.structure.build(arrays[: len(kept.leaves)])
        bare = arrays[len(kept.leaves) :]
        flat = [
            built[kept.structure.roots[v]] if kind == "module" else bare[v] if kind == "array" else v
            for kind, v in kept.spec
        ]
        return jax.tree_util.tree_unflatten(kept.treedef, flat)[0][0]


def stop_gradient(tree: T) -> T:
    """The same values, through which no gradient flows; for a Module, a copy of it.

    >>> import phlox as px
    >>> float(px.grad(lambda x: x * px.stop_gradient(x))(3.0))
    3.0
    """
    return tree_map(lambda x: jax.lax.stop_gradient(x), tree)


def gradient_hook(x: T, fn: Callable[[Any], Any]) -> T:
    """The same value, whose gradient passes through ``fn`` on its way back.

    Arguments:
        x: a floating array.
        fn: takes the gradient and returns what flows on, of the same shape; None leaves it as it is, so that a
            function which only looks (prints, records) works too.

    Raises:
        ShapeError: ``fn`` returns another shape.

    >>> import phlox as px
    >>> float(px.grad(lambda x: 3.0 * px.gradient_hook(x, lambda g: 2 * g))(1.0))
    6.0
    """

    @jax.custom_vjp
    def passed(value: Any) -> Any:
        return value

    def backward(_: None, g: Any) -> tuple[Any]:
        new = fn(g)
        if new is None:
            return (g,)
        new = jnp.asarray(new, g.dtype)
        if new.shape != g.shape:
            raise ShapeError(
                f"the hook to return a gradient like {describe(g)}",
                got=describe(new),
                fix="return it in the shape it came in, or None to leave it as it is",
                where="px.gradient_hook",
            )
        return (new,)

    passed.defvjp(lambda value: (value, None), backward)
    return passed(x)


def value(x: T) -> T:
    """The concrete array under the tracers of an eager gradient, for NumPy, plots and f-strings.

    Works on trees. It carries no gradient.

    Raises:
        StructureError: inside a compiled function, where there is no concrete value.

    >>> import phlox as px
    >>> px.grad(lambda x: (print(f"{px.value(x):.1f}"), x**2)[1])(3.0).tolist()
    3.0
    6.0
    """

    def under(leaf: Any) -> Any:
        if not isinstance(leaf, Tracer):
            return leaf
        found = _compat.concrete(leaf)
        if found is None:
            raise StructureError(
                "an array with a value, as in eager code and eager gradients",
                got=f"{describe(leaf)} inside a compiled or mapped function, which has none yet",
                fix="take px.jit or px.vmap away while you look, or print it with jax.debug.print",
                where="px.value",
            )
        return found

    return tree_map(under, x) if is_module(x) else jax.tree.map(under, x)
