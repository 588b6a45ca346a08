"""A model as TensorBoard draws it: the traced program as a graph, folded by layer."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import jax

from phlox.core import Module, apply, copy, disguised, modules, split
from phlox.core._compat import Literal
from phlox.nn import reference_forms

_INLINED = ("jaxpr", "call_jaxpr", "fun_jaxpr")


def graph_of(model: Module, *inputs: Any) -> Any:
    """The operations of a forward pass in inference, as a GraphDef: parameters, inputs, and a node for each equation.

    Arguments:
        model: a Module; nothing is computed or changed.
        inputs: what it is called with: arrays or ``jax.ShapeDtypeStruct``.
    """
    scoped = copy(model)
    found = modules(scoped)
    for path, module in found.items():
        module._scope_name = _below(path, found).replace(".", "/") if path else type(model).__name__
        if any("__call__" in c.__dict__ for c in type(module).__mro__):
            module.__class__ = disguised(type(module), _scoped)
    params, state = split(scoped)
    forward = jax.make_jaxpr(lambda params, state, *xs: apply(scoped, params, state, *xs)[0])
    with reference_forms():  # whose operations can be drawn
        traced = forward(params, state, *inputs)
    names = [f"{type(model).__name__}/{name.replace('.', '/')}" for name in [*sorted(params), *sorted(state)]]
    drawing = _Drawing()
    for variable, name in zip(traced.jaxpr.invars, names, strict=False):
        drawing.add(name, "Parameter", [], [variable])
    for n, variable in enumerate(traced.jaxpr.invars[len(names) :]):
        drawing.add(f"input_{n}", "Placeholder", [], [variable])
    drawing.draw(traced.jaxpr, "")
    for n, variable in enumerate(traced.jaxpr.outvars):
        drawing.add(f"output_{n}", "Output", [variable], [])
    return drawing.graph


def _below(path: str, modules: Collection[str]) -> str:
    """A path seen from the innermost Module around it."""
    cut = len(path)
    while (cut := path.rfind(".", 0, cut)) > 0:
        if path[:cut] in modules:
            return path[cut + 1 :]
    return path


def _scoped(call: Callable[..., Any], self: Any, *args: Any, **kwargs: Any) -> Any:
    with jax.named_scope(self._scope_name):
        return call(self, *args, **kwargs)


class _Drawing:
    """A GraphDef under way, and the output of a node that each variable is."""

    def __init__(self) -> None:
        from tensorboardX.proto import graph_pb2, versions_pb2

        graph_def, version = graph_pb2.GraphDef, versions_pb2.VersionDef  # pyright: ignore[reportAttributeAccessIssue]  # made at import
        self.graph = graph_def(versions=version(producer=22))
        self.source: dict[Any, str] = {}
        self.taken: dict[str, int] = {}

    def add(self, name: str, kind: str, ins: list[Any], outs: list[Any]) -> None:
        """Add a node; a name that is taken gets a number."""
        n = self.taken[name] = self.taken.get(name, -1) + 1
        node = self.graph.node.add(name=name if n == 0 else f"{name}_{n}", op=kind)
        node.input.extend(dict.fromkeys(s for v in ins if (s := self.of(v))))
        for i, variable in enumerate(outs):
            self.source[variable] = node.name if i == 0 else f"{node.name}:{i}"
            shape = node.attr["_output_shapes"].list.shape.add()
            for size in getattr(variable.aval, "shape", ()):
                shape.dim.add(size=size)

    def of(self, variable: Any) -> str | None:
        """Where a variable comes from; None for a literal."""
        return None if isinstance(variable, Literal) else self.source.get(variable)

    def draw(self, jaxpr: Any, prefix: str) -> None:
        """Add the equations of a jaxpr whose inputs are known; calls, loops and branches as what is in them."""
        for eqn in jaxpr.eqns:
            scope = "/".join(filter(None, [prefix, _scope(eqn)]))
            body, ins = _body(eqn)
            if body is None:
                kind = eqn.primitive.name
                self.add("/".join(filter(None, [scope, kind])), kind, eqn.invars, eqn.outvars)
                continue
            inside = f"{scope}/{eqn.primitive.name}".lstrip("/") if eqn.primitive.name in ("scan", "while") else scope
            self.alias(body.invars, ins)
            self.draw(body, inside)
            self.alias(eqn.outvars, body.outvars)

    def alias(self, new: list[Any], old: list[Any]) -> None:
        """Variables that are others under another name."""
        for a, b in zip(new, old, strict=True):
            source = self.of(b)
            if source is not None:
                self.source[a] = source
            else:
                self.source.pop(a, None)


def _scope(eqn: Any) -> str:
    """The layers that an equation stands in; names of transforms are no layers."""
    parts = str(eqn.source_info.name_stack).split("/")
    return "/".join(p for p in parts if p and "(" not in p)


def _body(eqn: Any) -> tuple[Any, list[Any]]:
    """The jaxpr that an equation runs and its inputs there, or None for a plain operation or a branch."""
    if eqn.primitive.name == "while":
        skip = eqn.params["cond_nconsts"]
        return eqn.params["body_jaxpr"].jaxpr, eqn.invars[skip:]
    found = [eqn.params[name] for name in _INLINED if name in eqn.params]
    body = getattr(found[0], "jaxpr", found[0]) if found else None
    fits = body is not None and len(body.invars) == len(eqn.invars) and len(body.outvars) == len(eqn.outvars)
    return (body, eqn.invars) if fits else (None, [])
