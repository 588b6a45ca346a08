"""A program for readers that are older than JAX: in a StableHLO that they know, without composites."""

from __future__ import annotations

from typing import Any

import jax.export


def for_older_readers(made: jax.export.Exported) -> bytes:
    """The program as readers of twelve weeks ago know it; JAX itself writes for those of four.

    An operation that is newer than the file's version stands there as a composite: its name, and a function that does
    the same. Symbols are not followed into that function, so it is called in the composite's place.
    """
    from jax.extend.mlir import ir, passmanager  # at need: they take a while
    from jax.extend.mlir.dialects import stablehlo
    from jax.interpreters.mlir import make_ir_context

    context = make_ir_context()
    with context, ir.Location.unknown(context):
        module = ir.Module.parse(made.mlir_module())
        for operation in _composites(module, ir):
            _call(operation, ir)
        passmanager.PassManager.parse("builtin.module(inline)").run(module.operation)
        text: Any = module.operation.get_asm(enable_debug_info=True)
    age = stablehlo.StablehloCompatibilityRequirement.WEEK_12
    return stablehlo.serialize_portable_artifact_str(text, stablehlo.get_version_from_compatibility_requirement(age))


def _composites(module: Any, ir: Any) -> list[Any]:
    found = []

    def see(operation: Any) -> Any:
        if operation.name == "stablehlo.composite":
            found.append(operation)
        return ir.WalkResult.ADVANCE

    module.operation.walk(see)
    return found


def _call(composite: Any, ir: Any) -> None:
    """Put a call of its function in the place of a composite."""
    from jax.extend.mlir.dialects import func

    name = ir.FlatSymbolRefAttr(composite.attributes["decomposition"]).value
    with ir.InsertionPoint(composite), composite.location:
        call = func.CallOp([x.type for x in composite.results], name, list(composite.operands))
    for old, new in zip(composite.results, call.results, strict=True):
        old.replace_all_uses_with(new)
    composite.operation.erase()
