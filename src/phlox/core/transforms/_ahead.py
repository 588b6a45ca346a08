"""A call compiled ahead of time, from shapes alone, just as px.jit would compile it; nothing runs."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import jax

from phlox.core.module._arrays import displayed
from phlox.core.module._module import Module
from phlox.core.module._plan import Structure
from phlox.core.transforms._bound import carried
from phlox.core.transforms._disguise import Disguise, put_on
from phlox.core.transforms._functionalize import Call, functionalize, is_module
from phlox.core.transforms._jit import Jit, compiling
from phlox.core.transforms._program import Program


@contextmanager
def _names_of_its_own() -> Iterator[None]:
    """Take no program from the compile cache that has the names of another: layers are found in it by names."""
    option = "jax_compilation_cache_include_metadata_in_key"
    before = getattr(jax.config, option)
    jax.config.update(option, True)
    try:
        yield
    finally:
        jax.config.update(option, before)


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
    jaxpr: Any  # what was traced
    written: tuple[int, ...]

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
        program = Program(call, owner.history, owner.donate)
        assert program.first is not None
        self.jaxpr, self.written = program.first[0], program.first[1].written
        self._program = program

    @functools.cached_property
    def compiled(self) -> Any:
        """Its program as JAX compiles it, at the first look."""
        program = self._program
        donated, kept = ([self.leaves[i] for i in places] for places in (program.donated, program.kept))
        lowered = program.jitted.lower(donated, kept, self.bare)
        with _names_of_its_own():
            return lowered.compile()

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
    return owner._twin(), (*first, *args), {**named, **kwargs}


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
