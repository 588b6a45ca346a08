"""A call compiled ahead of time, from shapes alone, just as px.jit would compile it; nothing runs."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Sequence
from copy import copy as shallow
from typing import Any

import jax

from phlox.core._errors import ShapeError, StructureError, describe
from phlox.core.module._layout import displayed
from phlox.core.module._module import Module
from phlox.core.module._plan import Structure, path_text
from phlox.core.transforms._bound import carried
from phlox.core.transforms._disguise import Disguise, put_on
from phlox.core.transforms._functionalize import Call, functionalize, is_module
from phlox.core.transforms._jit import Jit, Program, call_context, compiling


class Ahead:
    """What one call takes and gives, and its compiled program.

    Arguments:
        fn: a function, a Module, or what ``px.jit`` made of one.
        args, kwargs: what it would be called with; shapes alone will do.
        disguise: classes that Modules of the arguments have in this program, by their paths.
    """

    name: str
    roots: list[str]
    modules: dict[str, Module]
    structure: Structure
    leaves: list[Any]
    bare: list[Any]
    compiled: Any

    def __init__(
        self, fn: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any], disguise: Disguise | None = None
    ):
        called = fn.__self__ if isinstance(fn, types.MethodType) else fn
        owner, args, kwargs = _fresh(fn, args, kwargs)
        if owner.hides:
            args, kwargs = owner._hide_statics(args, kwargs)
        self.name = (
            type(called).__name__ if isinstance(called, Module) else getattr(owner.fn, "__name__", repr(owner.fn))
        )
        call = owner._call(args, kwargs)
        self.roots = _root_names(owner.fn, args, kwargs)
        self.modules = {self._path(call, m): call.plan.module(m) for m in range(len(call.structure.nodes))}
        if disguise is not None:
            call = self._disguised(call, disguise)
        self.structure, self.leaves, self.bare = call.structure, call.leaves, call.bare
        program = Program(call, owner)
        assert program.first is not None
        self.written: tuple[int, ...] = program.first[1].written
        donated = [self.leaves[i] for i in program.donated]
        kept = [self.leaves[i] for i in program.kept]
        self.compiled = program.jitted.lower(donated, kept, self.bare).compile()

    def _path(self, call: Call, m: int) -> str:
        root, path = call.structure.module_path(m)
        return self.roots[root] + displayed(path)

    def _disguised(self, call: Call, disguise: Disguise) -> Call:
        copies = call.structure.build(call.leaves)
        for m, copy in enumerate(copies):
            cls = disguise(self._path(call, m), copy)
            if cls is not None:
                put_on(copy, cls)
        roots = [copies[r] for r in call.structure.roots]
        flat = [roots[v] if kind == "module" else call.bare[v] if kind == "array" else v for kind, v in call.spec]
        args, kwargs = jax.tree_util.tree_unflatten(call.treedef, flat)
        return functionalize(call.fn, args, kwargs, kind=call.kind, scalars=True)


def _fresh(
    fn: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]
) -> tuple[Jit[Any, Any], tuple[Any, ...], dict[str, Any]]:
    """A compiled function of its own, so that the user's keeps its programs and its history of traces."""
    function, first, named = carried(fn)
    owner = function if isinstance(function, Jit) else compiling(fn, (), (), True)
    return _twin(owner), (*first, *args), {**named, **kwargs}


def _twin(owner: Jit[Any, Any]) -> Jit[Any, Any]:
    return Jit(owner.fn, tuple(owner.static_numbers), tuple(owner.static_names), owner.donate)


def _root_names(fn: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> list[str]:
    """For each Module among the arguments, the parameter that it is given for and the way to it from there."""
    try:
        parameters = [p.name for p in inspect.signature(inspect.unwrap(fn)).parameters.values() if p.kind < 2]
    except (TypeError, ValueError):
        parameters = []
    found: dict[int, str] = {}
    for which, given in (("args", args), ("kwargs", kwargs)):
        for path, value in jax.tree_util.tree_flatten_with_path(given, is_leaf=is_module)[0]:
            if isinstance(value, Module) and id(value) not in found:
                first = path[0].idx if which == "args" else path[0].key
                known = first < len(parameters) if which == "args" else True
                name = (parameters[first] if which == "args" else first) if known else f"args[{first}]"
                rest = jax.tree_util.keystr(path[1:])
                found[id(value)] = ("model" if name == "self" else name) + rest
    return list(found.values())


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
        self.program = Program(call, _twin(owner))
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
