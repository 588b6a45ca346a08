"""Sparse Jacobians and Hessians: columns or rows of one colour come from one product."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.autodiff._program import flat
from phlox.autodiff.derivatives import _colouring
from phlox.autodiff.derivatives._array_function import ArrayFunction
from phlox.autodiff.derivatives._sparsity import pattern
from phlox.nn import reference_forms


@dataclass(frozen=True)
class Compressed:
    """How a sparse matrix of derivatives is found."""

    pattern: Any
    """(m, n) sparse: where it may differ from zero."""
    colours: Any
    """Of columns, or of rows."""
    by: str
    """"columns", "rows", or "stars" of a symmetric matrix."""

    @property
    def products(self) -> int:
        """How many products it takes: the number of colours."""
        return int(self.colours.max()) + 1 if self.pattern.nnz else 0

    def __str__(self) -> str:
        m, n = self.pattern.shape
        products = f"{self.products} product{'' if self.products == 1 else 's'}"
        return f"sparse, {products} by {self.by}: {self.pattern.nnz} of {m} x {n}"

    def entries(self, product: Callable[[Any], Any], dtype: Any) -> Any:
        """The numbers of the pattern, given a product with one vector."""
        m, n = self.pattern.shape
        rows, columns = self.pattern.nonzero()
        if not self.products:
            return jnp.zeros(0, dtype)
        seeds = np.zeros((self.products, m if self.by == "rows" else n), dtype)
        seeds[self.colours, np.arange(seeds.shape[1])] = 1
        found = jax.vmap(product)(jnp.asarray(seeds))
        if self.by == "columns":
            return found[self.colours[columns], rows]
        if self.by == "rows":
            return found[self.colours[rows], columns]
        alone = self._alone(rows, columns)
        return found[self.colours[np.where(alone, columns, rows)], np.where(alone, rows, columns)]

    def _alone(self, rows: Any, columns: Any) -> Any:
        """Whether an entry is the only one in its row whose column has its colour; else its mirror is."""
        codes = rows * self.products + self.colours[columns]
        return np.bincount(codes)[codes] == 1


def jacobian_of(function: ArrayFunction) -> Compressed:
    """By columns where forward mode is known and takes no more products, else by rows."""
    whole = _pattern(function, _forward(function.value), function.shape)
    if whole is None:
        other = _pattern(function, _backward(function.value), function.result().shape)
        whole, ways = other.T.tocsr(), ["rows"]
    else:
        ways = ["columns", "rows"]
    found = [Compressed(_sorted(whole), _colouring.columns(whole if by == "columns" else whole.T), by) for by in ways]
    return min(found, key=lambda c: c.products)


def hessian_of(function: ArrayFunction) -> Compressed:
    """By stars, or by columns where that takes fewer products."""
    whole = _pattern(function, _forward(jax.grad(function.value)), function.shape)
    whole = _sorted(whole + whole.T)  # which holds what either half tells
    found = [
        Compressed(whole, _colouring.symmetric(whole), "stars"),
        Compressed(whole, _colouring.columns(whole), "columns"),
    ]
    return min(found, key=lambda c: c.products)


def jacobian(function: ArrayFunction, how: Compressed) -> Callable[..., Any]:
    """A function of the inputs that gives J as a sparse array (*S, *T)."""
    shape, result = function.shape, function.result()

    def run(x: Any, leaves: Any, bare: Any) -> Any:
        value = lambda x: function.value(x, leaves, bare)  # noqa: E731
        if how.by == "rows":
            back = jax.vjp(value, x)[1]
            found = how.entries(lambda g: back(g.reshape(result.shape))[0].reshape(-1), result.dtype)
        else:
            along = jax.linearize(value, x)[1]
            found = how.entries(lambda v: along(v.reshape(shape)).reshape(-1), x.dtype)
        return _array(how, found, result.shape, shape)

    return run


def hessian(function: ArrayFunction, how: Compressed) -> Callable[..., Any]:
    """A function of the inputs that gives H as a sparse array (*T, *T)."""
    shape = function.shape

    def run(x: Any, leaves: Any, bare: Any) -> Any:
        along = jax.linearize(jax.grad(lambda x: function.value(x, leaves, bare)), x)[1]
        found = how.entries(lambda v: along(v.reshape(shape)).reshape(-1), x.dtype)
        return _array(how, found, shape, shape)

    return run


def _array(how: Compressed, entries: Any, rows: Any, columns: Any) -> Any:
    from jax.experimental.sparse import BCOO  # slow to import, and seldom used

    at = [np.unravel_index(p, shape) for p, shape in zip(how.pattern.nonzero(), (rows, columns), strict=True)]
    places = [v for part in at for v in part]
    indices = np.stack(places, -1) if places else np.zeros((entries.size, 0), np.int64)
    whole = jnp.asarray(indices, jnp.int32)
    return BCOO((entries, whole), shape=(*rows, *columns), indices_sorted=True, unique_indices=True)


def _forward(fn: Callable[..., Any]) -> Callable[..., Any]:
    return lambda v, x, leaves, bare: jax.jvp(lambda x: fn(x, leaves, bare), (x,), (v,))[1]


def _backward(fn: Callable[..., Any]) -> Callable[..., Any]:
    return lambda g, x, leaves, bare: jax.vjp(lambda x: fn(x, leaves, bare), x)[1](g)[0]


def _pattern(function: ArrayFunction, product: Callable[..., Any], shape: Any) -> Any:
    """The pattern of a product, linear in its first argument; None where JAX cannot take it."""
    x, leaves, bare = function.inputs
    with reference_forms():
        program = flat(jax.make_jaxpr(product)(jax.ShapeDtypeStruct(shape, x.dtype), x, leaves, bare))
    if any(line.kind == "custom_lin" for line in program.lines):
        return None  # a function whose only rule goes back
    return pattern(program, 0)


def _sorted(whole: Any) -> Any:
    whole = whole.tocsr()
    whole.sum_duplicates()
    return whole
