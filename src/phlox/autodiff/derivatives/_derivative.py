"""px.autodiff.derivative: one function's derivatives of every kind, each prepared once."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import jax

import phlox.core as core
from phlox.autodiff.derivatives import _compressed, _differences, _taylor
from phlox.autodiff.derivatives._array_function import WHERE, ArrayFunction
from phlox.core import Module, RangeError, ShapeError, carried, describe, eval_shape, jit, trainable_arrays

Mode = Literal["auto", "forward", "reverse", "finite", "sparse", "taylor"]

# What each mode can do.
_ABLE: dict[str, tuple[str, ...]] = {
    "gradient": ("auto", "forward", "reverse", "finite"),
    "jacobian": ("auto", "forward", "reverse", "finite", "sparse"),
    "hessian": ("auto", "forward", "reverse", "finite", "sparse"),
    "jvp": ("auto", "forward", "finite", "taylor"),
    "vjp": ("auto", "reverse"),
    "hvp": ("auto", "forward", "reverse"),
    "directional": ("auto", "forward", "taylor"),
}


class Derivative:
    """The derivatives of one function; see ``derivative``.

    Each kind is traced and compiled at its first call, and for arguments of other shapes.
    """

    mode: Mode
    argnums: int | Sequence[int]
    prepared: int
    """How many programs were traced so far."""
    reason: str
    """How the last derivative was taken, and why so."""

    def __init__(self, fn: Callable[..., Any], mode: Mode, argnums: int | Sequence[int]):
        self.mode, self.argnums = mode, argnums
        self.prepared, self.reason = 0, ""
        self._inner, self._first, self._named = self._fn = carried(fn)
        self._counts: dict[Any, tuple[int, int]] = {}
        self._whole: dict[str, Any] = {}
        self._programs: dict[Any, tuple[Any, str]] = {}

    def __repr__(self) -> str:
        return f"Derivative(mode={self.mode!r}, prepared={self.prepared})"

    def gradient(self, *args: Any) -> Any:
        """The gradient of a real scalar, in the form of the arguments, as ``px.grad``."""
        if self._mode("gradient") == "finite":
            return self._of_array("gradient", args, _finite_gradient)
        inputs, outputs = self._sizes(args)
        mode = self.mode if self.mode != "auto" else "forward" if inputs == 1 else "reverse"
        if outputs != 1:
            raise ShapeError(
                "a function that returns a scalar", got=f"{outputs} numbers", fix="take jacobian", where=WHERE
            )
        self.reason = _why(mode, inputs, 1, self.mode)
        if mode == "reverse":
            return self._of_any("gradient", lambda fn: core.grad(fn, self.argnums), args)
        return self._of_any("slope", lambda fn: core.jacobian(fn, self.argnums, mode="forward"), args)

    def jacobian(self, *args: Any) -> Any:
        """All first derivatives, as ``px.jacobian``; in mode "sparse" a BCOO of shape (\\*S, \\*T)."""
        if self._mode("jacobian") == "finite":
            return self._of_array("jacobian", args, _finite_jacobian)
        if self.mode == "sparse":
            return self._of_array("jacobian", args, _sparse_jacobian)
        inputs, outputs = self._sizes(args)
        mode: Any = self.mode if self.mode != "auto" else "forward" if inputs <= outputs else "reverse"
        self.reason = _why(mode, inputs, outputs, self.mode)
        return self._of_any(f"jacobian {mode}", lambda fn: core.jacobian(fn, self.argnums, mode=mode), args)

    def hessian(self, *args: Any) -> Any:
        """All second derivatives of a scalar, as ``px.hessian``; in mode "sparse" a BCOO of shape (\\*T, \\*T)."""
        if self._mode("hessian") == "finite":
            return self._of_array("hessian", args, _finite_hessian)
        if self.mode == "sparse":
            return self._of_array("hessian", args, _sparse_hessian)
        inputs, _ = self._sizes(args)
        self.reason = f"forward over reverse, {inputs} products: a gradient costs the same for any number of inputs"
        return self._of_any("hessian", lambda fn: core.hessian(fn, self.argnums), args)

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        """The value and its slope along tangents, as ``px.jvp``."""
        mode = self._mode("jvp")
        if mode in ("finite", "taylor"):
            build = _finite_slope if mode == "finite" else _first_order
            return self._of_array("jvp", primals, build, tangents[self._argnum()])
        self.reason = "forward, 1 product: it carries a tangent along with the value"
        return self._of_any("jvp", lambda fn: functools.partial(core.jvp, fn), (tuple(primals), tuple(tangents)))

    def vjp(self, primals: Sequence[Any], cotangent: Any) -> tuple[Any, tuple[Any, ...]]:
        """The value, and a cotangent of it pulled back to each argument, as ``px.vjp``."""
        self._mode("vjp")
        self.reason = "reverse, 1 product: it carries a cotangent back through the program"

        def pulled(fn: Any) -> Any:
            def run(primals: Any, cotangent: Any) -> Any:
                value, back = core.vjp(fn, *primals)
                return value, back(cotangent)

            return run

        return self._of_any("vjp", pulled, (tuple(primals), cotangent))

    def hvp(self, inputs: Any, v: Any) -> tuple[Any, Any]:
        """The value of a scalar, and its Hessian times a vector, as ``px.hvp``."""
        self._mode("hvp")
        self.reason = "forward over reverse, 1 product: the slope of the gradient along v"
        return self._of_any("hvp", lambda fn: functools.partial(core.hvp, fn), (inputs, v))

    def directional(self, primals: Sequence[Any], v: Any, order: int) -> list[Any]:
        """The derivatives of t ↦ f(x + t v) at 0, of order 0, 1, … up to ``order``."""
        self._mode("directional")
        if order < 0:
            raise RangeError("an order of 0 or more", got=str(order), fix="give one", where=WHERE)
        build = functools.partial(_any_order, order=order, mode=self.mode)
        return self._of_array(f"directional {order}", primals, build, v)

    def _mode(self, what: str) -> str:
        if self.mode not in _ABLE[what]:
            raise RangeError(
                f"for {what} one of the modes {', '.join(map(repr, _ABLE[what]))}",
                got=repr(self.mode),
                fix=f"take px.autodiff.derivative(fn, mode={_ABLE[what][0]!r})",
                where=WHERE,
            )
        return self.mode

    def _argnum(self) -> int:
        if isinstance(self.argnums, int):
            return self.argnums
        raise RangeError(
            f"one argument in mode {self.mode!r}", got=str(self.argnums), fix="give one argnums", where=WHERE
        )

    def _sizes(self, args: Sequence[Any]) -> tuple[int, int]:
        """How many numbers are differentiated, and how many come out; asked of the function once."""
        leaves, structure = jax.tree.flatten((self._first, self._named, args))
        key = structure, tuple((jax.numpy.shape(v), str(jax.numpy.result_type(v))) for v in leaves)
        if key not in self._counts:
            wanted = [self.argnums] if isinstance(self.argnums, int) else self.argnums
            given = eval_shape(self._bound, self._first, self._named, *args)
            outputs = sum(math.prod(v.shape) for v in jax.tree.leaves(given))
            self._counts[key] = sum(_count(args[n]) for n in wanted), outputs
        return self._counts[key]

    def _bound(self, first: Any, named: Any, *args: Any) -> Any:
        return self._inner(*first, *args, **named)

    def _of_any(self, what: str, transform: Callable[[Any], Any], args: Any) -> Any:
        """A transform of Phlox under ``px.jit``, which knows programs by the arguments' structure and shapes."""
        if what not in self._whole:

            def run(first: Any, named: Any, *args: Any) -> Any:
                self.prepared += 1
                fn = functools.partial(self._inner, *first, **named) if first or named else self._inner
                return transform(fn)(*args)

            self._whole[what] = jit(run)
        return self._whole[what](self._first, self._named, *args)

    def _of_array(self, what: str, args: Sequence[Any], build: Callable[[ArrayFunction], Any], *more: Any) -> Any:
        """A program of one array, built once for all calls of the same structure and shapes."""
        function = ArrayFunction(self._fn, args, self._argnum())
        key = what, function.key, tuple(jax.numpy.shape(v) for v in more)
        if key not in self._programs:
            run, reason = build(function)
            self._programs[key] = jax.jit(run), reason
            self.prepared += 1
        program, self.reason = self._programs[key]
        return program(*function.inputs, *more)


def derivative(fn: Callable[..., Any], mode: Mode = "auto", *, argnums: int | Sequence[int] = 0) -> Derivative:
    r"""Prepare the derivatives of a function: gradient, Jacobian, Hessian, products, and higher ones along a direction.

    Arguments:
        fn: the function. "finite", "sparse" and "taylor" take one array among its arguments, and one array as its
            result; the others take Modules and trees too.
        mode: "forward", a product for each input; "reverse", one for each output; "finite", differences;
            "sparse", a product for each colour of the pattern; "taylor", polynomials to any order; "auto", the
            cheapest of the first two by the sizes, and Taylor mode along directions.
        argnums: which arguments to differentiate, by position.

    Returns:
        A ``Derivative``, whose methods are ``gradient``, ``jacobian``, ``hessian``, ``jvp``, ``vjp``, ``hvp`` and
        ``directional``; ``reason`` says how the last was taken.

    Raises:
        RangeError: another mode; from a method, a mode that cannot give it.

    Source: Griewank and Walther, "Evaluating Derivatives", 2008.

    >>> import jax.numpy as jnp, phlox as px
    >>> slopes = px.autodiff.derivative(lambda x: (x[1:] - x[:-1]) ** 2, mode="sparse")
    >>> slopes.jacobian(jnp.arange(5.0)).todense()[0].tolist()
    [-2.0, 2.0, 0.0, 0.0, 0.0]
    >>> slopes.reason
    'sparse, 2 products by columns: 8 of 4 x 5'
    """
    if mode not in get_args(Mode):
        modes = ", ".join(map(repr, get_args(Mode)))
        raise RangeError(f"one of the modes {modes}", got=repr(mode), fix="take one of these", where=WHERE)
    return Derivative(fn, mode, argnums)


def _count(tree: Any) -> int:
    leaves = jax.tree.leaves(tree, is_leaf=lambda v: isinstance(v, Module))
    sizes = [trainable_arrays(v).values() if isinstance(v, Module) else [v] for v in leaves]
    return sum(math.prod(jax.numpy.shape(v)) for part in sizes for v in part)


def _why(mode: str, inputs: int, outputs: int, asked: str) -> str:
    products = {"forward": inputs, "reverse": outputs}
    other = "reverse" if mode == "forward" else "forward"
    plural = "" if products[mode] == 1 else "s"
    why = f"where {other} would take {products[other]}" if asked == "auto" else "as asked"
    return f"{mode}, {products[mode]} product{plural} for {inputs} inputs and {outputs} outputs, {why}"


# --- programs of one array: each takes the function, and gives a pure one and the reason -----------------------


def _closed(function: ArrayFunction, run: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, leaves, bare, *more: run(lambda x: function.value(x, leaves, bare), x, *more)


def _finite_gradient(function: ArrayFunction) -> Any:
    _refuse_no_scalar(function)
    return _finite_jacobian(function)


def _finite_jacobian(function: ArrayFunction) -> Any:
    function.result()
    n = math.prod(function.shape)
    return _closed(function, _differences.jacobian), f"finite, {4 * n} values: four for each of {n} inputs"


def _finite_hessian(function: ArrayFunction) -> Any:
    _refuse_no_scalar(function)
    pairs = math.prod(function.shape) ** 2
    return _closed(function, _differences.hessian), f"finite, {4 * pairs} values: four for each of {pairs} pairs"


def _finite_slope(function: ArrayFunction) -> Any:
    function.result()
    run = _closed(function, lambda fn, x, v: (fn(x), _differences.slope(fn, x, v)))
    return run, "finite, 5 values: four around the one"


def _sparse_jacobian(function: ArrayFunction) -> Any:
    how = _compressed.jacobian_of(function)
    return _compressed.jacobian(function, how), str(how)


def _sparse_hessian(function: ArrayFunction) -> Any:
    _refuse_no_scalar(function)
    how = _compressed.hessian_of(function)
    return _compressed.hessian(function, how), str(how)


def _first_order(function: ArrayFunction) -> Any:
    run, reason = _any_order(function, order=1, mode="taylor")
    return lambda *inputs: tuple(run(*inputs)), reason


def _any_order(function: ArrayFunction, *, order: int, mode: str) -> Any:
    function.result()
    x, leaves, bare = function.inputs
    lacks = _taylor.missing(lambda x: function.value(x, leaves, bare), x)
    if mode == "forward" or lacks:
        why = f"Taylor mode has no rule for {lacks}" if mode != "forward" else "as asked"
        run = _closed(function, lambda fn, x, v: _taylor.nested(fn, x, v, order))
        return run, f"forward in forward, {order} deep: {why}"
    run = _closed(function, lambda fn, x, v: _taylor.series(fn, x, v, order))
    return run, f"taylor, one pass with polynomials of degree {order}"


def _refuse_no_scalar(function: ArrayFunction) -> None:
    shape = function.result().shape
    if shape != ():
        raise ShapeError(
            "a function that returns a scalar", got=describe(function.result()), fix="take jacobian", where=WHERE
        )
