"""Sizes from shapes alone: what a model would return, and input sizes that are found by running its shapes.

``px.autosize`` runs ``build`` twice. The first time nothing is computed: each layer that was given ``px.AUTO``
waits for its first input, reads its size there, and notes it. The second time every ``px.AUTO`` is replaced by
the size noted for it, so the model is exactly the one that explicit sizes give, drawn from the same stream.
"""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

import jax
import jax.numpy as jnp

from phlox.core import (
    Module,
    RangeError,
    ShapeError,
    StructureError,
    answering_init,
    describe,
    eval_shape,
    seed,
)

M = TypeVar("M", bound=Module)
C = TypeVar("C", bound=type[Module])


class Auto:
    """What ``px.AUTO`` is an instance of; no arithmetic, since its size is not known yet."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "AUTO"

    def __reduce__(self) -> str:
        return "AUTO"

    def _refuse(self, *_: Any) -> NoReturn:
        raise RangeError(
            "px.AUTO to be passed on as it is",
            got="arithmetic with it",
            fix="give that layer its size as a number",
            where="px.AUTO",
        )

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _refuse
    __floordiv__ = __rfloordiv__ = __truediv__ = __rtruediv__ = __mod__ = __rmod__ = _refuse


AUTO: Any = Auto()
"""Stands for the input size of a layer inside ``px.autosize``."""


class _Run:
    """One run of ``build``: finding sizes, or filling in those that were found."""

    def __init__(self, found: list[tuple[str, dict[str, int] | None]] | None = None):
        self.filling = found is not None
        self.found: list[tuple[str, dict[str, int] | None]] = found or []
        self.used = 0

    def next_sizes(self, layer: str) -> dict[str, int]:
        at, self.used = self.used, self.used + 1
        if at >= len(self.found) or self.found[at][0] != layer:
            raise StructureError(
                "a build() that makes the same layers each time it is called",
                got=f"another {layer} the second time",
                fix="keep what build() depends on outside of it unchanged",
                where="px.autosize",
            )
        return self.found[at][1] or {}


class _Here(threading.local):
    run: _Run | None = None


_here = _Here()


def sized(**places: int | tuple[int, int]) -> Callable[[C], C]:
    """Let a layer take ``px.AUTO`` for these constructor arguments.

    Each names the axis of the layer's first input where the size stands, or (input, axis).
    """

    def decorate(cls: C) -> C:
        init: Any = inspect.unwrap(cls.__init__)

        @functools.wraps(init)
        def __init__(self: Module, *args: Any, **kwargs: Any) -> None:
            if _here.run is not None or _mentions_auto(args, kwargs):
                bound = inspect.signature(init).bind(self, *args, **kwargs)
                asked = [name for name, value in bound.arguments.items() if value is AUTO]
                if asked:
                    _check_asked(cls.__name__, asked, list(places))
                    assert _here.run is not None
                    if not _here.run.filling:
                        _wait(self, cls.__name__, init, asked, places, args, kwargs)
                        return
                    sizes = _here.run.next_sizes(cls.__name__)
                    bound.arguments.update({name: sizes[name] for name in asked})
                    args, kwargs = bound.args[1:], bound.kwargs
            init(self, *args, **kwargs)

        cls.__init__ = answering_init(cls, __init__)  # type: ignore[method-assign]
        return cls

    return decorate


def _mentions_auto(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    return any(v is AUTO for v in args) or any(v is AUTO for v in kwargs.values())


def _check_asked(layer: str, asked: list[str], possible: list[str]) -> None:
    if _here.run is None:
        raise RangeError(
            f"{asked[0]} as a number",
            got="AUTO outside px.autosize",
            fix="build the model inside px.autosize(shape, build), or give the size",
            where=layer,
        )
    for name in asked:
        if name not in possible:
            raise RangeError(
                f"{name} as a number (AUTO may stand for {' and '.join(possible)})",
                got="AUTO",
                fix=f"choose {name}",
                where=layer,
            )


# --- waiting for the first input -----------------------------------------------------------------------


class _Waiting:
    """What a layer without its size knows: its place in the run, and what its constructor was given."""

    def __init__(self, at: int, init: Any, asked: list[str], places: Any, signature: inspect.Signature, run: _Run):
        self.at, self.init, self.asked, self.places = at, init, asked, places
        self.signature, self.run = signature, run


def _wait(self: Module, name: str, init: Any, asked: list[str], places: Any, args: Any, kwargs: Any) -> None:
    run = _here.run
    assert run is not None
    waiting = _Waiting(len(run.found), init, asked, places, inspect.signature(init), run)
    run.found.append((name, None))
    self.__class__ = _unsized(type(self))
    self._waiting, self._args, self._kwargs = waiting, list(args), dict(kwargs)


@functools.cache
def _unsized(cls: type[Module]) -> type[Module]:
    """The class of ``cls`` layers that wait for their size; made once for each class."""

    def __call__(self: Any, *inputs: Any, **kwargs: Any) -> Any:
        return _completed(self, cls, inputs)(*inputs, **kwargs)

    def _brief(self: Any) -> str:
        given = [repr(a) for a in self._args] + [f"{k}={v!r}" for k, v in self._kwargs.items()]
        return f"{cls.__name__}({', '.join(given)})"

    def __getattr__(self: Any, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise RangeError(
            f"its size to be known before .{name} is read",
            got="AUTO",
            fix="give this layer its size as a number",
            where=_brief(self),
        )

    body = {"__call__": __call__, "_brief": _brief, "__getattr__": __getattr__}
    return type(cls.__name__, (cls,), body)


def _completed(self: Any, cls: type[Module], inputs: tuple[Any, ...]) -> Module:
    """A layer of the size that the inputs have, with what was set on the waiting one since."""
    waiting: _Waiting = self._waiting
    name, sizes = waiting.run.found[waiting.at]
    if sizes is None:
        sizes = {asked: _size_of(waiting, asked, inputs, cls.__name__) for asked in waiting.asked}
        waiting.run.found[waiting.at] = (name, sizes)
    layer: Any = Module.__new__(cls)
    bound = waiting.signature.bind(layer, *self._args, **self._kwargs)
    bound.arguments.update(sizes)
    with seed(0):  # its numbers do not matter, and the trace may be an inner one
        waiting.init(*bound.args, **bound.kwargs)
    for key, value in self.__dict__.items():
        if key not in ("_waiting", "_args", "_kwargs"):
            setattr(layer, key, value)
    return layer


def _size_of(waiting: _Waiting, name: str, inputs: tuple[Any, ...], layer: str) -> int:
    place = waiting.places[name]
    which, axis = place if isinstance(place, tuple) else (0, place)
    x = inputs[min(which, len(inputs) - 1)]
    if not jnp.ndim(x):
        raise RangeError(
            f"an input whose axis {axis} is its {name}", got="a scalar", fix="give the input that axis", where=layer
        )
    return int(jnp.shape(x)[axis])


# --- what users call -----------------------------------------------------------------------------------


def structs(shapes: Any, dtype: Any) -> list[Any]:
    """Abstract inputs: from one shape, one array or struct, or a list of either."""
    if hasattr(shapes, "shape"):
        return [shapes]
    if not isinstance(shapes, (list, tuple)):
        raise ShapeError(
            "inputs as shapes with their batch axis, arrays, or a list of either",
            got=describe(shapes),
            fix="give the shape, such as (32, 784), an array, or a jax.ShapeDtypeStruct; of a dict of inputs give its "
            "values",
            where="an input",
        )
    if all(isinstance(n, int) for n in shapes):
        return [jax.ShapeDtypeStruct(tuple(shapes), dtype)]
    return [s for given in shapes for s in structs(given, dtype)]


def output_shape(model: Callable[..., Any], shape: Any, *, dtype: Any = jnp.float32) -> Any:
    """The shape of what a model returns for an input of this shape; nothing is computed, nothing in the model moves.

    Arguments:
        model: a Module, or any function of arrays.
        shape: the input's shape with its batch axis; an array or ``jax.ShapeDtypeStruct``; or a list of them, one
            for each input.
        dtype: dtype of the inputs that are given as shapes.

    Returns:
        A tuple of ints, or a tree of such tuples where the model returns a tree.

    Raises:
        ShapeError: the model does not take this shape; names the layer.

    >>> import phlox as px
    >>> model = px.Chain(px.Conv((3, 3), 1, 8), px.flatten, px.Dense(8 * 26 * 26, 10))
    >>> px.nn.output_shape(model, (32, 28, 28, 1))
    (32, 10)
    """
    y = eval_shape(model, *structs(shape, dtype))
    return jax.tree.map(lambda s: tuple(s.shape), y)


def autosize(
    shape: Sequence[Any] | jax.Array | jax.ShapeDtypeStruct, build: Callable[[], M], *, dtype: Any = jnp.float32
) -> M:
    """Build a model whose input sizes are found by running its shapes: ``px.AUTO`` stands for each of them.

    ``build`` is called twice, first on shapes alone; the result is the model that explicit sizes would give, drawn
    from the same stream of ``px.seed``. Every layer of this library that has an input size takes ``px.AUTO`` for
    it, and classes of your own may pass it on to them.

    Arguments:
        shape: the input's shape with its batch axis; an array or struct; or a list of them, one for each input.
        build: a function without arguments that makes the model, the same layers each time.
        dtype: dtype of the inputs that are given as shapes.

    Raises:
        RangeError: ``px.AUTO`` in a layer that the model never calls, or in place of something else than an input size.
        StructureError: ``build`` made other layers the second time.
        ShapeError: sizes that do not fit; names the layer.

    >>> import phlox as px
    >>> model = px.nn.autosize((32, 28, 28, 1), lambda: px.Chain(
    ...     px.Conv((3, 3), px.nn.AUTO, 8), px.flatten, px.Dense(px.nn.AUTO, 10)))
    >>> model[0].in_channels, model[2].in_size
    (1, 5408)
    """
    finding = _Run()
    with _running(finding):
        eval_shape(lambda *xs: build()(*xs), *structs(shape, dtype))
    for name, sizes in finding.found:
        if sizes is None:
            raise RangeError(
                "every layer with px.AUTO to be called by the model",
                got=f"a {name} that never was",
                fix="give that layer its size, or call it",
                where="px.autosize",
            )
    with _running(_Run(finding.found)) as filling:
        model = build()
    if filling.used != len(finding.found):
        raise StructureError(
            "a build() that makes the same layers each time it is called",
            got=f"{filling.used} layers with px.AUTO after {len(finding.found)}",
            fix="keep what build() depends on outside of it unchanged",
            where="px.autosize",
        )
    return model


class _running:  # noqa: N801 - used like a function
    """While the block runs, layers meet this run; an outer one comes back after."""

    def __init__(self, run: _Run):
        self.run, self.before = run, _here.run

    def __enter__(self) -> _Run:
        _here.run = self.run
        return self.run

    def __exit__(self, *exc: object) -> None:
        _here.run = self.before
