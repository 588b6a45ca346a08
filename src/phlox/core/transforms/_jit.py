"""px.jit: the same function compiled, with the caller's objects changed in place and old buffers donated."""

from __future__ import annotations

import functools
import inspect
import threading
import types
import weakref
from collections.abc import Callable, Sequence
from sys import getrefcount
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

import jax

from phlox.core import _compat
from phlox.core._errors import StateError, lost_buffers
from phlox.core._static import static_key
from phlox.core.context import _dtypes, _mode
from phlox.core.context._random import is_key
from phlox.core.context._scope import here
from phlox.core.context._scope import where as named_root
from phlox.core.module._layout import is_array
from phlox.core.module._module import Module
from phlox.core.module._plan import Plan, named_path
from phlox.core.module._slots import Slots
from phlox.core.transforms._bound import carried, constants
from phlox.core.transforms._functionalize import SCALARS, Call, Outcome, Record, functionalize, is_module
from phlox.core.transforms._names import array_names, named, pure_of
from phlox.core.transforms._refused import REFUSALS, explain
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
        count = len(_parameters(fn)) if any(n < 0 for n in numbers) else 0
        numbers = tuple(n + count if n < 0 else n for n in numbers)
        self.static_names = frozenset(names) | _names_at(fn, numbers)
        self.static_numbers = frozenset(numbers) | _numbers_of(fn, names)
        self.hides = bool(self.static_names or self.static_numbers)
        self.programs: dict[Any, Program] = {}
        self.entries: dict[Any, Entry] = {}
        self.history = Retraces(getattr(fn, "__name__", repr(fn)), fn)
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
        key, bare = _quick_key(args, kwargs)
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
        from phlox.core.transforms._ahead import Traced

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
        return functionalize(_unhidden(self.fn) if self.hides else self.fn, args, kwargs, kind="jit", scalars=True)

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

    def _compile(self, call: Call) -> Program:
        return Program(call, self)


def _forget(jitted: weakref.ref[Jit[Any, Any]], key: Any, _: Any) -> None:
    owner = jitted()
    if owner is not None:
        owner.entries.pop(key, None)


def call_context() -> Any:
    """What a program depends on besides its arguments: the mode and the policy of dtypes."""
    return _mode.automatic(), _dtypes.policy()


_ARRAY = "array"


def _quick_key(args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[Any, list[Any]]:
    """What tells one call from another short of shapes and dtypes, and the arrays in the arguments."""
    key: list[Any] = []
    bare: list[Any] = []
    if kwargs:
        names = sorted(kwargs)
        args = (*args, *[kwargs[n] for n in names])
        key.append(tuple(names))
    for a in args:
        if type(a) is _compat.ArrayImpl:
            key.append(_ARRAY)
            bare.append(a)
        elif isinstance(a, Module):
            key.append(a._px.uid)
        else:
            leaves, treedef = jax.tree_util.tree_flatten(a, is_leaf=is_module)
            key.append(treedef)
            for leaf in leaves:
                if isinstance(leaf, Module):
                    key.append(leaf._px.uid)
                elif is_array(leaf) or isinstance(leaf, SCALARS):
                    key.append(_ARRAY)
                    bare.append(leaf)
                else:
                    key.append(static_key(leaf))
    return tuple(key), bare


class Hidden:
    """A static argument on its way through the taking apart; compared by type and value."""

    __slots__ = ("key", "value")

    def __init__(self, value: Any):
        self.value, self.key = value, static_key(value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Hidden) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


def _unhidden(fn: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(fn)
    def with_statics(*args: Any, **kwargs: Any) -> Any:
        show = lambda v: v.value if isinstance(v, Hidden) else v  # noqa: E731
        return fn(*map(show, args), **{k: show(v) for k, v in kwargs.items()})

    return with_statics


def _names_at(fn: Callable[..., Any], numbers: Sequence[int]) -> frozenset[str]:
    parameters = _parameters(fn)
    return frozenset(parameters[n] for n in numbers if -len(parameters) <= n < len(parameters))


def _numbers_of(fn: Callable[..., Any], names: Sequence[str]) -> frozenset[int]:
    parameters = _parameters(fn)
    return frozenset(parameters.index(n) for n in names if n in parameters)


def _parameters(fn: Callable[..., Any]) -> list[str]:
    try:
        return list(inspect.signature(fn).parameters)
    except (TypeError, ValueError):
        return []


# --- the compiled program ----------------------------------------------------------------------------


class Program:
    """One structure of arguments, compiled by JAX once per shapes and dtypes.

    Which leaves the function overwrites is known only after a trace. The first call traces to a jaxpr,
    learns it, and compiles that jaxpr with those leaves donated; the user's code runs once.
    """

    def __init__(self, call: Call, owner: Jit[Any, Any]):
        self.history = owner.history
        self.history.note(call, call.leaves, call.bare)
        jaxpr, outcome = jax.make_jaxpr(pure_of(call), return_shape=True)(call.leaves, call.bare)
        self.first: Any = (jaxpr, outcome.record)
        # A key is eight bytes, and key_data(key) is a second name for them that no reference count shows.
        overwritten = [i for i in outcome.record.written if owner.donate and not is_key(call.leaves[i])]
        count = len(call.leaves)
        self.donated = overwritten
        self.kept = [i for i in range(count) if i not in set(overwritten)]
        self.call = call  # for the traces that follow: what the arguments look like, without their arrays
        arrays, bare = array_names(call)
        self.names = [arrays[i] for i in (*self.donated, *self.kept)] + bare
        self.jitted = self.jitted_anew()
        call.leaves, call.bare = [], []
        del call.plan  # it knows where the first model's arrays are, and would keep them alive

    def jitted_anew(self) -> Any:
        """The program as JAX compiles it."""
        return jax.jit(named(lambda *xs: self._replayed(*xs), self.call, self.names), donate_argnums=0)

    def _replayed(self, donated: list[Any], kept: list[Any], bare: list[Any]) -> Outcome:
        leaves: list[Any] = [None] * (len(donated) + len(kept))
        for i, v in zip(self.donated, donated, strict=True):
            leaves[i] = v
        for i, v in zip(self.kept, kept, strict=True):
            leaves[i] = v
        outcome = self._from_first(leaves, bare) or self._traced(leaves, bare)
        # What was donated must come back, also where this trace left it alone.
        written = dict(zip(outcome.record.written, outcome.written, strict=True))
        back = sorted({*written, *self.donated})
        values = [written.get(i, leaves[i]) for i in back]
        return Outcome(outcome.outputs, values, (), Record(outcome.record.result, tuple(back)))

    def _from_first(self, leaves: list[Any], bare: list[Any]) -> Outcome | None:
        first, self.first = self.first, None  # in one go: another thread may ask at the same time
        if first is None:
            return None
        from jax.extend.core import jaxpr_as_fun  # brings much along, and only a first trace needs it

        jaxpr, record = first
        flat = jax.tree.leaves((leaves, bare))
        values = jaxpr_as_fun(jaxpr)(*flat)
        outputs = len(values) - len(record.written)
        return Outcome(values[:outputs], values[outputs:], (), record)

    def _traced(self, leaves: list[Any], bare: list[Any]) -> Outcome:
        self.history.note(self.call, leaves, bare)
        return self.call.pure(leaves, bare)


# --- one call ----------------------------------------------------------------------------------------


def _calibrate() -> int:
    """What the reference count of an array is when its slot, and the list we gather, alone hold it."""
    slots = Slots([({"a": object()}, "a")])
    gathered = slots.gather()
    return sum(map(getrefcount, gathered))


_baseline = _calibrate()


@jax.jit
def _copied(arrays: list[Any]) -> list[Any]:
    return [jax.numpy.copy(a) for a in arrays]


class Entry:
    """A program bound to the slots of living Modules: what one call runs through."""

    __slots__ = ("context", "donated", "kept", "owners", "plan", "program", "record", "roots", "slots")

    def __init__(self, plan: Plan, program: Program, context: Any):
        self.plan, self.program, self.context = plan, program, context
        self.donated = Slots([plan.slots[i] for i in program.donated])
        self.kept = Slots([plan.slots[i] for i in program.kept])
        self.record: Record | None = None
        self.slots = Slots([])
        self.owners: list[Any] = []
        self.roots = [plan.metas[r].uid for r in plan.structure.roots]

    def run(self, bare: list[Any]) -> Any:
        """One call on the arrays as they are now. Every line here is paid at every step."""
        donated = self.donated.gather()
        if donated:
            _claim(self.plan, self.roots)
        try:
            if donated and sum(map(getrefcount, donated)) > _baseline * len(donated):
                donated = _unaliased(donated)
            outcome = self.program.jitted(donated, self.kept.gather(), bare)
            record = outcome.record
            if record is not self.record:
                self._expect(record)
            self.slots.write(outcome.written)
        except Exception as error:
            lost = _lost(self.plan)
            if lost:
                raise lost_buffers(*lost) from error
            if isinstance(error, REFUSALS):  # a tracer of another trace is noticed when this one is compiled
                explain(error, self.program.call)
            raise
        finally:
            if donated:
                _release(self.roots)
        if record.result.single:
            return outcome.outputs[0]
        return record.result.rebuild(outcome.outputs, self.plan.module)

    def _expect(self, record: Record) -> None:
        self.record = record
        self.slots = Slots([self.plan.slots[i] for i in record.written])


def _unaliased(arrays: list[Any]) -> list[Any]:
    """Copies, in one call, of the arrays that something besides their slot holds."""
    aliased = [i for i, count in enumerate(map(getrefcount, arrays)) if count > _baseline]
    copies = _copied([arrays[i] for i in aliased])
    for i, copy in zip(aliased, copies, strict=True):
        arrays[i] = copy
    return arrays


def _lost(plan: Plan) -> tuple[str, str] | None:
    """The first array of the Modules whose buffer is gone, and its root, as text; None where all live."""
    for i, x in enumerate(plan.gather()):
        if isinstance(x, jax.Array) and x.is_deleted():
            root = plan.structure.roots[plan.structure.leaf_path(i)[0]]
            return named_path(plan, plan.structure, i), named_root(plan.module(root))
    return None


_claims: dict[int, object] = {}  # root uid → the call that is stepping it; setdefault is atomic


def _claim(plan: Plan, roots: list[int]) -> None:
    """Mark Modules as being stepped; another thread stepping one of them now would lose its buffers."""
    token = object()
    for n, uid in enumerate(roots):
        if _claims.setdefault(uid, token) is not token:
            _release(roots[:n])
            raise StateError(
                "one thread at a time to change a model",
                got=f"two threads stepping {named_root(plan.module(plan.structure.roots[n]))}",
                fix="give each thread its own px.copy(model), or put a lock around the step",
                where="px.jit",
            )


def _release(roots: list[int]) -> None:
    for uid in roots:
        del _claims[uid]
