"""A model's function of its arrays and inputs, traced: what every target writes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import ExportError, Module, PhloxError, apply, copy, is_key, split, telling_layers
from phlox.core._compat import Literal
from phlox.interchange._binding import Binding, bound
from phlox.interchange._forms import Form, taken_apart
from phlox.interchange._sizes import Sizes
from phlox.interchange._spec import KEY, Spec
from phlox.nn import reference_forms, whole_operations
from phlox.weights import BundleArray, Signature


@dataclass(frozen=True)
class Request:
    """What a signature is made of: a function of the model, its inputs, and what runs before and after it.

    The function is called with the model first; what stands before it is called with the inputs, and gives what the
    model is called with: one value, a tuple of them, or a dict by parameter.
    """

    name: str
    function: Callable[..., Any]
    inputs: Mapping[str, Spec]
    preprocess: Callable[..., Any] | None = None
    postprocess: Callable[..., Any] | None = None
    method: str = ""
    """The name of the model's method that the function is."""

    def binding(self, where: str) -> Binding:
        """How the inputs reach the first function."""
        names = [n for n in self.inputs if n not in self.own_keys()]
        if self.preprocess is None:
            return bound(self.function, names, where, skip=1)
        return bound(self.preprocess, names, where)

    def own_keys(self) -> list[str]:
        """The keys among the inputs that no parameter takes: the model's own are drawn from them."""
        function = self.function if self.preprocess is None else self.preprocess
        return [n for n, s in self.inputs.items() if s.dtype == KEY and not _takes(function, n)]

    def result(self, model: Any, inputs: Mapping[str, Any], where: str) -> Any:
        """What comes out for these inputs, typed keys among them."""
        given = {n: _typed(self.inputs[n], x) for n, x in inputs.items() if n not in self.own_keys()}
        first: tuple[Any, ...] = (model,)
        if self.preprocess is None:
            y = self.binding(where).call(self.function, first, given)
        else:
            ready = self.binding(where).call(self.preprocess, (), given)
            args = ready if isinstance(ready, tuple) else () if isinstance(ready, dict) else (ready,)
            y = self.function(model, *args, **(ready if isinstance(ready, dict) else {}))
        return y if self.postprocess is None else self.postprocess(y)


class Program:
    """A signature's function of arrays alone.

    Arguments:
        model: the model; its arrays are the weights.
        request: what is asked of it.
        sizes: what its symbols may be.
        where: the function that speaks in errors.
        see: ``see(model, call)`` runs the call on the traced model in place of calling it, and gives the result.

    Raises:
        ExportError: the forward draws random numbers, or moves State; or its sizes cannot be symbols.
    """

    where: str

    request: Request
    sizes: Sizes
    weights: dict[str, jax.Array]
    """By path; random keys as their words."""
    outputs: tuple[BundleArray, ...]
    form: Form
    looked_into: bool
    """Whether it is one whose outputs are what ``see`` saw."""

    def __init__(self, model: Module, request: Request, sizes: Sizes, where: str, see: Any = None):
        self.request, self.sizes, self.where = request, sizes, where
        self.looked_into = see is not None
        self._see = see or (lambda model, call: call(model))
        self._model = copy(model)
        self._params, self._state = split(self._model)
        self._kept = {**self._params, **self._state}
        self.form, self._names = {}, ()
        every = {n: jax.random.key_data(x) if is_key(x) else jnp.asarray(x) for n, x in self._kept.items()}
        self.weights = every
        used = self._used()
        self.weights = {n: x for n, x in every.items() if n in used}
        self.outputs = tuple(
            BundleArray(name, tuple(map(_said, x.shape)), x.dtype.name)
            for name, x in zip(self._names, self.traced.out_info, strict=True)
        )

    @property
    def name(self) -> str:
        """The name of the signature."""
        return self.request.name

    @property
    def inputs(self) -> Mapping[str, Spec]:
        """The inputs by name."""
        return self.request.inputs

    @property
    def state(self) -> tuple[str, ...]:
        """The weights that no gradient reaches."""
        return tuple(name for name in self.weights if name in self._state)

    @property
    def output_names(self) -> tuple[str, ...]:
        """The outputs by name, in the order of the flat function's."""
        return self._names

    def flat(self, weights: list[Any], inputs: list[Any]) -> list[Any]:
        """The outputs in order, for weights and inputs in order: pure, and what targets trace."""
        held = self._rebuilt(dict(zip(self.weights, weights, strict=True)))
        given = dict(zip(self.inputs, inputs, strict=True))
        held = drawn_from(held, [given[n] for n in self.request.own_keys()])
        params = {n: held[n] for n in self._params}
        state = {n: held[n] for n in self._state}
        call = lambda m: self.request.result(m, given, self.where)  # noqa: E731
        with telling_layers(self._model):
            result, after = apply(self._model, params, state, train=False, method=lambda m: self._see(m, call))
        _refuse_moved(self.request, state, after, self.where)
        arrays, self.form = taken_apart(result, self.where, self.inputs)
        self._names = tuple(arrays)
        return list(arrays.values())

    def structs(self) -> tuple[list[jax.ShapeDtypeStruct], list[jax.ShapeDtypeStruct]]:
        """Shapes and dtypes of weights and inputs, with JAX's symbols."""
        symbols = self.sizes.symbols()
        weights = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in self.weights.values()]
        return weights, [spec.struct(symbols) for spec in self.inputs.values()]

    @cached_property
    def jitted(self) -> Any:
        """The flat function under ``jax.jit``; call and export it within ``plain()``."""
        return jax.jit(lambda weights, inputs: self.flat(weights, inputs), keep_unused=True)

    @cached_property
    def traced(self) -> Any:
        """The traced program in plain operations, by symbols."""
        with reference_forms(), telling(self.where):
            return self.jitted.trace(*self.structs())

    @property
    def whole(self) -> Any:
        """The same with each operation as the one that JAX has for it, for readers that know operations by name."""
        with whole_operations(), telling(self.where):
            return self.jitted.trace(*self.structs())

    def at(self, sizes: Mapping[str, int]) -> Program:
        """The same program with these sizes in place of symbols."""
        known = {name: spec.at(sizes) for name, spec in self.inputs.items()}
        return Program(self._model, replace(self.request, inputs=known), self.sizes, self.where, see=self._see)

    def signature(self, program: Mapping[str, str]) -> Signature:
        """As a bundle says it."""
        inputs = tuple(spec.array(name) for name, spec in self.inputs.items())
        mine = {n: b for n, b in self.sizes.bounds.items() if any(n in s.shape for s in self.inputs.values())}
        return Signature(inputs, self.outputs, self.form, mine, dict(program))

    def _rebuilt(self, weights: Mapping[str, Any]) -> dict[str, Any]:
        """All arrays of the model around these weights; what no output depends on stays as it is."""
        made: dict[str, Any] = {}
        for name, x in self._kept.items():
            given = weights.get(name)
            if given is not None and is_key(x):
                given = jax.random.wrap_key_data(given, impl=jax.random.key_impl(x))
            made[name] = x if given is None else given
        return made

    def _used(self) -> set[str]:
        """The weights that an output depends on: keys for training, say, are none."""
        jaxpr = self.traced.jaxpr.jaxpr
        read = {v for v in jaxpr.outvars if not isinstance(v, Literal)}
        for equation in reversed(jaxpr.eqns):
            if equation.effects or not read.isdisjoint(equation.outvars):
                read |= {v for v in equation.invars if not isinstance(v, Literal)}
        found = {name for name, v in zip(self.weights, jaxpr.invars, strict=False) if v in read}
        if len(found) < len(self.weights):
            for name in ("jitted", "traced"):
                self.__dict__.pop(name, None)
        return found


@contextmanager
def telling(where: str) -> Iterator[None]:
    """Say in our words, and with the layer, that the sizes of a program cannot be symbols."""
    try:
        yield
    except PhloxError:
        raise
    except Exception as error:
        if not any(kind.__name__ == "InconclusiveDimensionOperation" for kind in type(error).__mro__):
            raise
        layer = next(
            (n.removeprefix("in ") for n in getattr(error, "__notes__", []) if n.startswith("in ")), "the model"
        )
        raise ExportError(
            "a program for every size that its symbols stand for",
            got=f"one that asks which of two sizes is larger, at {layer}: {str(error).splitlines()[0][:200]}",
            fix="say between which sizes a symbol is, as sizes={'time': (1, 512)}; or give a number in its place",
            where=where,
        ) from error


def drawn_from(held: Mapping[str, Any], keys: list[Any]) -> dict[str, Any]:
    """All arrays of a model, its random keys drawn from one that is an input; as they are where none is."""
    if not keys:
        return dict(held)
    key = keys[0] if is_key(keys[0]) else jax.random.wrap_key_data(keys[0])
    own = [name for name, x in held.items() if is_key(x)]
    return {**held, **{name: jax.random.fold_in(key, i) for i, name in enumerate(own)}}


def _typed(spec: Spec, x: Any) -> Any:
    return jax.random.wrap_key_data(x) if spec.dtype == KEY and not is_key(x) else x


def _takes(function: Callable[..., Any], name: str) -> bool:
    try:
        return name in inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False


def _said(n: Any) -> int | str:
    return n if isinstance(n, int) else str(n)


def _refuse_moved(request: Request, before: Mapping[str, Any], after: Mapping[str, Any], where: str) -> None:
    """Refuse a forward that draws, or moves State: a file has the same numbers at each call."""
    moved = [name for name in before if after[name] is not before[name]]
    keys = [name for name in moved if is_key(before[name])]
    if request.own_keys():
        moved = [name for name in moved if name not in keys]
        keys = []
    if keys:
        raise ExportError(
            "a forward that draws no random numbers", got=f"draws from {_few(keys)}",
            fix='unpin what trains with px.automode(model); or take the key as an input: '
            'inputs={..., "key": px.Spec(dtype="key")}', where=where,
        )  # fmt: skip
    if moved:
        raise ExportError(
            "a forward that leaves State as it is", got=f"a new value for {_few(moved)}",
            fix="unpin what trains with px.automode(model); or return the new value, and take the old one as an input",
            where=where,
        )  # fmt: skip


def _few(names: list[str], most: int = 4) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
