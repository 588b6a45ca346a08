"""px.jit: the same function compiled, with the caller's objects changed in place and old buffers donated."""

from __future__ import annotations

import functools
import threading
import types
import weakref
from collections.abc import Callable, Sequence
from copy import copy as shallow
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

import jax

from phlox.core import _compat
from phlox.core._errors import ShapeError, StructureError, describe
from phlox.core.context._here import here
from phlox.core.module._module import Module
from phlox.core.module._plan import path_text
from phlox.core.transforms._bound import carried, constants
from phlox.core.transforms._functionalize import Call, functionalize
from phlox.core.transforms._keys import Hidden, names_at, numbers_of, parameters_of, quick_key, unhidden
from phlox.core.transforms._names import pure_of
from phlox.core.transforms._program import Entry, Program, call_context
from phlox.core.transforms._retrace import Retraces

P = ParamSpec("P")
R = TypeVar("R")
Q = ParamSpec("Q")
S = TypeVar("S")


@overload
def jit(
    fn: Callable[P, R],
    *,
    static_argnums: int | Sequence[int] = (),
    static_argnames: str | Sequence[str] = (),
    donate: bool = True,
) -> Jit[P, R]: ...
@overload
def jit(
    fn: None = None,
    *,
    static_argnums: int | Sequence[int] = (),
    static_argnames: str | Sequence[str] = (),
    donate: bool = True,
) -> Callable[[Callable[P, R]], Jit[P, R]]: ...
def jit(
    fn: Callable[..., Any] | None = None,
    *,
    static_argnums: int | Sequence[int] = (),
    static_argnames: str | Sequence[str] = (),
    donate: bool = True,
) -> Any:
    """Compile a function whose arguments may hold Modules; it means the same as without.

    Arrays that the function writes change in the caller's objects, as they do line by line, and their old
    buffers are donated (an alias that something else holds is copied first and stays alive). What is no
    array is static: strings, functions, and the shape of the model. Change the model between calls as you
    like: the next call sees it. A compiled program is found by structure, so an equal model never recompiles.

    Arguments:
        fn: the function, or a Module as it is called; without it, ``jit`` returns a decorator.
        static_argnums: positions of arguments to treat as constants of the program.
        static_argnames: names of such arguments.
        donate: give the old buffers of what is overwritten back to the compiler.

    Raises:
        CaptureError: the function reads a Module that it did not receive.
        StructureError: it changes a model's structure.
        LostBuffersError: a failed earlier call took the buffers of a Module.

    >>> import jax.numpy as jnp, phlox as px
    >>> class Counter(px.Module):
    ...     def __init__(self):
    ...         self.count = jnp.zeros((), int)
    >>> @px.jit
    ... def step(counter):
    ...     counter.count = counter.count + 1
    >>> counter = Counter()
    >>> step(counter); step(counter)
    >>> int(counter.count)
    2
    """
    if fn is None:
        return functools.partial(jit, static_argnums=static_argnums, static_argnames=static_argnames, donate=donate)
    compiled = compiling(fn, static_argnums, static_argnames, donate)
    first, named = compiled.first, compiled.named
    if len(first) == 1 and not named and isinstance(first[0], Module):
        return types.MethodType(compiled, first[0])
    return functools.partial(compiled, *first, **named) if first or named else compiled


def compiling(
    fn: Callable[..., Any], static_argnums: int | Sequence[int], static_argnames: str | Sequence[str], donate: bool
) -> Jit[Any, Any]:
    """What compiles ``fn``. Modules that it brings along (a method's, a partial's) are arguments like any."""
    inner, first, named = carried(fn)
    if not first and not named:
        return Jit(fn, static_argnums, static_argnames, donate)
    numbers = (static_argnums,) if isinstance(static_argnums, int) else tuple(static_argnums)
    names = (static_argnames,) if isinstance(static_argnames, str) else tuple(static_argnames)
    fixed, known = constants(first, named)
    shifted = [n if n < 0 else n + len(first) for n in numbers]
    compiled: Jit[Any, Any] = Jit(inner, [*fixed, *shifted], [*names, *known], donate)
    compiled.first, compiled.named = first, named
    return compiled


class Jit(Generic[P, R]):
    """A compiled function. Call it like the function; ``retraces()`` tells why it was traced again."""

    fn: Callable[P, R]
    donate: bool
    static_names: frozenset[str]
    static_numbers: frozenset[int]
    hides: bool
    history: Retraces
    making: threading.RLock

    def __init__(
        self,
        fn: Callable[P, R],
        static_argnums: int | Sequence[int],
        static_argnames: str | Sequence[str],
        donate: bool,
    ):
        functools.update_wrapper(self, fn)
        self.fn, self.donate = fn, donate
        self.first: tuple[Any, ...] = ()  # what the function brought along, for the looks ahead
        self.named: dict[str, Any] = {}
        names = (static_argnames,) if isinstance(static_argnames, str) else tuple(static_argnames)
        numbers = (static_argnums,) if isinstance(static_argnums, int) else tuple(static_argnums)
        count = len(parameters_of(fn)) if any(n < 0 for n in numbers) else 0
        numbers = tuple(n + count if n < 0 else n for n in numbers)
        self.static_names = frozenset(names) | names_at(fn, numbers)
        self.static_numbers = frozenset(numbers) | numbers_of(fn, names)
        self.hides = bool(self.static_names or self.static_numbers)
        self.programs: dict[Any, Program] = {}
        self.entries: dict[Any, Entry] = {}
        self.history = Retraces(fn)
        self.making = threading.RLock()  # two threads that meet a structure at once make one program of it

    @overload
    def __get__(self, owner: None, cls: type | None = None) -> Jit[P, R]: ...
    @overload
    def __get__(self: Jit[Concatenate[S, Q], R], owner: S, cls: type | None = None) -> Jit[Q, R]: ...
    def __get__(self, owner: Any, cls: type | None = None) -> Any:
        return self if owner is None else types.MethodType(self, owner)

    def __reduce__(self) -> Any:
        """A copy, or one in another process, compiles for itself."""
        return Jit, (self.fn, tuple(self.static_numbers), tuple(self.static_names), self.donate)

    def __repr__(self) -> str:
        return f"px.jit({getattr(self.fn, '__qualname__', self.fn)!s})"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        if self.hides:
            args, kwargs = self._hide_statics(args, kwargs)
        if not _compat.eager() or here.taps is not None:
            return self._inside(args, kwargs)
        key, bare = quick_key(args, kwargs)
        entry = self.entries.get(key)
        if entry is None or not entry.plan.valid() or entry.context != call_context():
            entry, bare = self._enter(args, kwargs, key)
        return entry.run(bare)

    def retraces(self) -> str:
        """Each time the function was traced, and what had changed since the trace before."""
        return self.history.report()

    def lower(self, *args: Any, **kwargs: Any) -> Any:
        """The call traced and lowered for these arguments, or shapes that stand for them; nothing runs.

        Returns what ``jax.jit(f).lower`` does: ``.as_text()``, ``.cost_analysis()``, ``.compile()``. The compiled call
        takes Modules of this structure and changes them in place, as the function does.
        """
        return self.trace(*args, **kwargs).lower()

    def trace(self, *args: Any, **kwargs: Any) -> Any:
        """The call traced for these arguments: ``.jaxpr``, ``.lower()``."""
        return Traced(self, (*self.first, *args), {**self.named, **kwargs})

    def eval_shape(self, *args: Any, **kwargs: Any) -> Any:
        """The shapes and dtypes of what the call would return; see ``px.eval_shape``."""
        args, kwargs = (*self.first, *args), {**self.named, **kwargs}
        if self.hides:
            args, kwargs = self._hide_statics(args, kwargs)
        call = self._call(args, kwargs)
        outcome = jax.eval_shape(lambda *xs: call.pure(*xs), call.leaves, call.bare)
        return outcome.record.result.rebuild(outcome.outputs, call.plan.module)

    def clear_cache(self) -> None:
        """Drop the compiled programs; the next call compiles anew."""
        self.programs.clear()
        self.entries.clear()

    def _call(self, args: Sequence[Any], kwargs: dict[str, Any]) -> Call:
        return functionalize(unhidden(self.fn) if self.hides else self.fn, args, kwargs, kind="jit", scalars=True)

    def _hide_statics(self, args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        hidden = tuple(Hidden(a) if n in self.static_numbers else a for n, a in enumerate(args))
        return hidden, {k: Hidden(v) if k in self.static_names else v for k, v in kwargs.items()}

    def _inside(self, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Called under a trace, or watched: part of something larger, so nothing is donated."""
        call = self._call(args, kwargs)
        run = call.pure if here.line_by_line else jax.jit(pure_of(call))
        return call.commit(run(call.leaves, call.bare))

    def _enter(self, args: Sequence[Any], kwargs: dict[str, Any], key: Any) -> tuple[Entry, list[Any]]:
        call = self._call(args, kwargs)
        bare, plan, context = call.bare, call.plan, call_context()
        roots = [plan.module(r) for r in plan.structure.roots]
        for root in roots:
            root._meet(roots)
        where = (call.static_key(), context)
        program = self.programs.get(where)
        if program is None:
            with self.making:
                program = self.programs.get(where)
                if program is None:
                    program = self.programs[where] = self._compile(call)
        entry = Entry(plan, program, context)
        forget = functools.partial(_forget, weakref.ref(self), key)
        entry.owners = [weakref.ref(root, forget) for root in roots]
        self.entries[key] = entry
        return entry, bare

    def _twin(self) -> Jit[Any, Any]:
        """One of the same function and options, with programs and a history of its own."""
        return Jit(self.fn, tuple(self.static_numbers), tuple(self.static_names), self.donate)

    def _compile(self, call: Call) -> Program:
        return Program(call, self.history, self.donate)


def _forget(jitted: weakref.ref[Jit[Any, Any]], key: Any, _: Any) -> None:
    owner = jitted()
    if owner is not None:
        owner.entries.pop(key, None)


# --- what px.jit(f).trace and .lower give ------------------------------------------------------------


class Traced:
    """A call of a ``px.jit`` function, traced for its arguments."""

    def __init__(self, owner: Jit[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]):
        self.owner = owner
        if owner.hides:
            args, kwargs = owner._hide_statics(args, kwargs)
        call = owner._call(args, kwargs)
        self.seen = _arrays_of(call)
        self.where = (call.static_key(), call_context())
        leaves, self.bare = call.leaves, call.bare
        self.program = Program(call, Retraces(owner.fn), owner.donate)
        assert self.program.first is not None
        self.jaxpr = self.program.first[0]
        """The program of the arrays, those of Modules first; results are followed by what is written."""
        self.donated = [leaves[i] for i in self.program.donated]
        self.kept = [leaves[i] for i in self.program.kept]

    def lower(self) -> Lowered:
        """The call in the compiler's language."""
        program = shallow(self.program)  # lowering uses its first trace up
        return Lowered(self, program, program.jitted_anew().lower(self.donated, self.kept, self.bare))


class Lowered:
    """A call of a ``px.jit`` function in the compiler's language; what ``jax.stages.Lowered`` has, it has too."""

    def __init__(self, traced: Traced, program: Program, lowered: Any):
        self._traced, self._program, self._lowered = traced, program, lowered

    def as_text(self, *args: Any, **kwargs: Any) -> str:
        """The call as StableHLO."""
        return self._lowered.as_text(*args, **kwargs)

    def compile(self, *args: Any, **kwargs: Any) -> Compiled:
        """The call compiled; takes ``compiler_options`` as JAX does."""
        return Compiled(self._traced, self._program, self._lowered.compile(*args, **kwargs))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._lowered, name)


def _arrays_of(call: Call) -> dict[str, str]:
    """The arrays among the arguments of a call, each as text, by path."""
    leaves = {path_text(call.structure, i): describe(v) for i, v in enumerate(call.leaves)}
    return leaves | {f"array {n} of the arguments": _shape_text(v) for n, v in enumerate(call.bare)}


def _shape_text(x: Any) -> str:
    return describe(x) if hasattr(x, "dtype") else describe(jax.numpy.asarray(x))


def _structural_difference(traced: Traced, call: Call) -> str:
    (structure, treedef, _), context = traced.where
    if context != call_context():
        return "another mode (px.training) or policy of dtypes (px.dtypes)"
    if treedef != call.treedef:
        return "arguments of another form"
    return "Modules of another structure or mode" if structure != call.structure else "another static argument"


class Compiled(Jit[Any, Any]):
    """A call compiled ahead of time: call it with the arguments that it was lowered for, or others like them.

    Raises:
        StructureError: Modules of another structure, another mode, other static arguments.
        ShapeError: arrays of another shape or dtype.
    """

    def __init__(self, traced: Traced, program: Program, compiled: Any):
        self.__dict__.update(traced.owner.__dict__)
        program.jitted = compiled
        self._traced, self._compiled = traced, compiled
        self.programs = {traced.where: program}
        self.entries = {}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        args, kwargs = (*self.first, *args), {**self.named, **kwargs}
        try:
            return super().__call__(*args, **kwargs)
        except TypeError as error:
            if self.hides:
                args, kwargs = self._hide_statics(args, kwargs)
            was, now = self._traced.seen, _arrays_of(self._call(args, kwargs))
            differences = [f"{now[k]} for {k}, which was {was[k]}" for k in now if k in was and now[k] != was[k]]
            if not differences:
                raise
            raise ShapeError(
                "arrays like those it was compiled for",
                got="; ".join(differences),
                fix="lower it again for these arguments, or call the px.jit function, which compiles as needed",
                where=f"the compiled {self.history.name}",
                located=True,
            ) from error

    def _compile(self, call: Call) -> Program:
        raise StructureError(
            "arguments of the structure it was compiled for",
            got=_structural_difference(self._traced, call),
            fix="lower it again for these arguments, or call the px.jit function, which compiles as needed",
            where=f"the compiled {self.history.name}",
            located=True,
        )

    def as_text(self) -> str:
        """The compiled program."""
        return self._compiled.as_text()

    def cost_analysis(self) -> Any:
        """Operations and bytes by the compiler's count."""
        return self._compiled.cost_analysis()

    def memory_analysis(self) -> Any:
        """Bytes of arguments, results and temporaries."""
        return self._compiled.memory_analysis()
