"""A field: what a network says at points, and its derivatives by the names of coordinates."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp

from phlox.core import Module, RangeError, ShapeError, check_function, describe, eval_shape
from phlox.science._inside import Inside
from phlox.science.physics._polynomials import Index, derivatives


class Field:
    r"""A function of space and time at points, with its derivatives: $u$, $\partial u / \partial t$,
    $\partial^2 u / \partial x^2$, …

    It computes as its value, ``u * u.d("x")``. Of several outputs each is a field, ``u, v, p = field``.

    Shapes:
        points: (batch, coordinates); values and derivatives: (batch,), or (batch, outputs) where there are several.

    Arguments:
        model: a Module or function of points, each row by itself, that gives (batch,) or (batch, outputs).
        points: where.
        coordinates: the names of the columns, as ``"x t"`` or a list.

    ``d("xx")`` differentiates twice by x, ``d("x", "t")`` by both, of any order; ``at(x=0.0)`` is the same field where
    a coordinate has another value. Derivatives are taken by Taylor polynomials, or forward in forward mode where an
    operation of the model has no rule for them.

    Raises:
        ShapeError: points of another form, or a model that gives one.
        RangeError: no such coordinate or output.
        StateError: the model writes State that is no key.

    Source: Raissi, Perdikaris and Karniadakis, "Physics-informed neural networks", 2019.

    >>> import jax.numpy as jnp, phlox as px
    >>> points = jnp.array([[1.0, 2.0], [3.0, 4.0]])
    >>> u = px.science.Field(lambda p: p[:, 0] ** 3 * p[:, 1], points, "x t")
    >>> u.d("xx").tolist(), u.d("xxt").tolist(), u.at(t=0.0).value.tolist()
    ([12.0, 72.0], [6.0, 18.0], [0.0, 0.0])
    """

    model: Module
    """What it is a field of: the Module, or what holds the function."""
    points: jax.Array
    __array_ufunc__: ClassVar = None  # so that NumPy's arrays leave formulas to it

    def __init__(self, model: Callable[..., Any], points: Any, coordinates: str | Sequence[str]):
        points = checked_points(points, "Field")
        names = coordinates.split() if isinstance(coordinates, str) else list(coordinates)
        if len(names) != points.shape[1] or len(set(names)) != len(names):
            fix = "name each column once, as in 'x t'"
            raise ShapeError(f"{points.shape[1]} names of coordinates", got=repr(coordinates), fix=fix, where="Field")
        self._fill(Evaluation(as_module(model), points), tuple(names), None)

    @classmethod
    def of(cls, source: Source, names: tuple[str, ...], output: int | None = None) -> Self:
        """A field of what gives its derivatives."""
        field = cls.__new__(cls)
        field._fill(source, names, output)
        return field

    def _fill(self, source: Source, names: tuple[str, ...], output: int | None) -> None:
        self._source, self._names, self._output = source, names, output
        self.model, self.points = source.model, source.points

    @property
    def value(self) -> jax.Array:
        """The field itself."""
        return self._take((0,) * len(self._names))

    def d(self, *coordinates: str) -> jax.Array:
        """The derivative by these coordinates: ``d("xxt")``, or ``d("radius", "radius")`` where names are long."""
        index = [0] * len(self._names)
        for name in coordinates:
            for one in [name] if name in self._names else name:
                if one not in self._names:
                    fix = "write u.d('xx') for the second derivative by x, u.d('radius', 'radius') by a longer name"
                    expected = f"derivatives by {', '.join(self._names)}"
                    raise RangeError(expected, got=repr(name), fix=fix, where="Field.d")
                index[self._names.index(one)] += 1
        return self._take(tuple(index))

    def at(self, **coordinates: Any) -> Field:
        """The same field at other points: these coordinates, a number or (batch,), and of the rest what they are."""
        points = self.points
        for name, x in coordinates.items():
            if name not in self._names:
                fix = "name one of them"
                raise RangeError(f"coordinates {', '.join(self._names)}", got=repr(name), fix=fix, where="Field.at")
            column = jnp.broadcast_to(jnp.asarray(x, points.dtype), points.shape[:1])
            points = points.at[:, self._names.index(name)].set(column)
        return type(self).of(Evaluation(self.model, points), self._names, self._output)

    def _take(self, index: Index) -> jax.Array:
        found = self._source[index]
        if self._output is not None and found.ndim == 2:
            return found[:, self._output]
        return found[:, 0] if found.ndim == 2 and found.shape[1] == 1 else found

    # --- several outputs ---------------------------------------------------------------------------

    def __len__(self) -> int:
        shape = self._source.gives.shape
        return 1 if self._output is not None or len(shape) == 1 else shape[1]

    def __iter__(self) -> Iterator[Field]:
        return (self[n] for n in range(len(self)))

    def __getitem__(self, output: int) -> Field:
        if not 0 <= output < len(self):
            fix = "count them from 0, or give the network more outputs"
            raise RangeError(f"one of {len(self)} outputs", got=repr(output), fix=fix, where="Field")
        return self if self._output is not None else type(self).of(self._source, self._names, output)

    # --- its value, in formulas ----------------------------------------------------------------------

    def __add__(self, other: Any) -> Any:
        return self.value + _value(other)

    def __radd__(self, other: Any) -> Any:
        return _value(other) + self.value

    def __sub__(self, other: Any) -> Any:
        return self.value - _value(other)

    def __rsub__(self, other: Any) -> Any:
        return _value(other) - self.value

    def __mul__(self, other: Any) -> Any:
        return self.value * _value(other)

    def __rmul__(self, other: Any) -> Any:
        return _value(other) * self.value

    def __truediv__(self, other: Any) -> Any:
        return self.value / _value(other)

    def __rtruediv__(self, other: Any) -> Any:
        return _value(other) / self.value

    def __pow__(self, other: Any) -> Any:
        return self.value ** _value(other)

    def __neg__(self) -> Any:
        return -self.value


def _value(v: Any) -> Any:
    return v.value if isinstance(v, Field) else v


# --- where a field gets its derivatives ---------------------------------------------------------------


class Function(Module):
    """A function of points as a Module, without parameters."""

    function: Callable[..., Any]

    def __init__(self, function: Callable[..., Any]):
        self.function = function

    def __call__(self, points: Any) -> Any:
        return self.function(points)


def as_module(model: Any) -> Module:
    """A Module as it is, a function as one."""
    if isinstance(model, Module):
        return model
    return Function(check_function("Field", "model", model, "as model(points)"))


class Source:
    """What gives the derivatives of a field at points, by index."""

    model: Module
    points: jax.Array
    gives: Any
    """Shape and dtype of the field."""

    def __getitem__(self, index: Index) -> jax.Array:
        raise NotImplementedError


class Evaluation(Source):
    """A model at points; each derivative is computed once, and those that are taken together in one sweep."""

    def __init__(self, model: Module, points: jax.Array):
        self.model, self.points = model, points
        self._inside = Inside(_called, model, points)
        self.gives = self._inside.gives
        shape = getattr(self.gives, "shape", None)
        if shape is None or len(shape) not in (1, 2) or shape[0] != points.shape[0]:
            fix = "let the network give a row for each point"
            got = describe(self.gives)
            raise ShapeError(f"a field of ({points.shape[0]},) or ({points.shape[0]}, outputs)", got=got, fix=fix)
        self._found: dict[Index, jax.Array] = {}

    def take(self, wanted: Iterable[Index]) -> None:
        """Compute these, as far as they are not known."""
        missing = [index for index in dict.fromkeys(wanted) if index not in self._found]
        if missing:
            inside = self._inside
            self._found |= derivatives(lambda points: inside(inside.arrays, points), self.points, missing)
            inside.move_keys(self.model)

    def __getitem__(self, index: Index) -> jax.Array:
        self.take([index])
        return self._found[index]


def _called(model: Module, points: Any) -> Any:
    return model(points)


class Noted(Source):
    """Zeros in place of a field, and a note of which derivatives somebody asked for."""

    def __init__(self, model: Module, points: jax.Array, gives: Any, asked: dict[Index, None]):
        self.model, self.points, self.gives, self.asked = model, points, gives, asked

    def __getitem__(self, index: Index) -> jax.Array:
        self.asked[index] = None
        return jnp.zeros(self.gives.shape, self.gives.dtype)


def with_derivatives(fn: Callable[..., Any], model: Module, points: jax.Array, names: tuple[str, ...]) -> Any:
    """``fn(field, points)``, which is looked at by shapes first, so that all derivatives are taken together."""
    evaluation = Evaluation(model, points)
    asked: dict[Index, None] = {}

    def look(model: Module, points: jax.Array) -> Any:
        return _values(fn(Field.of(Noted(model, points, evaluation.gives, asked), names), points))

    eval_shape(look, model, points)
    evaluation.take(asked)
    return _values(fn(Field.of(evaluation, names), points))


def _values(found: Any) -> Any:
    """A field that is a result stands for its value."""
    is_field = lambda part: isinstance(part, Field)  # noqa: E731
    return jax.tree.map(lambda part: part.value if is_field(part) else part, found, is_leaf=is_field)


def checked_points(points: Any, where: str | None = None) -> jax.Array:
    """Points as an array (batch, coordinates).

    Raises:
        ShapeError: another form, or no floats.
    """
    points = jnp.asarray(points)
    if points.ndim != 2 or not jnp.issubdtype(points.dtype, jnp.floating):
        fix = "give a row of coordinates for each point: points[:, None] for a single one"
        raise ShapeError("points as floating (batch, coordinates)", got=describe(points), fix=fix, where=where)
    return points
