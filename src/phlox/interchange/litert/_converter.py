"""litert-converter, in a process of its own: ``python _converter.py FOLDER``.

The folder has ``request.json``, a list of signatures: their names, those of inputs and outputs, and the file of a
module. What is left there is ``model.tflite``, or ``refusal.txt``: what the converter said.
This file imports nothing of Phlox, so that the process is there soon.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # their types know hardly a name
    api: Any
    ir: Any
    passmanager: Any
elif __name__ == "__main__":  # it is loaded into a process of its own alone
    from litert_converter import converter_api_ext as api
    from litert_converter.mlir import ir, passmanager


def main(folder: Path) -> int:
    """Convert what is asked for; 3 where the converter refuses."""
    with ir.Context() as context:
        api.prepare_mlir_context(context)
        try:
            written = _converted(folder)
        except Exception as error:
            (folder / "refusal.txt").write_text(str(error), "utf-8")
            return 3
    (folder / "model.tflite").write_bytes(written)
    return 0


def _converted(folder: Path) -> bytes:
    """One file of all modules; their equal weights are in it once."""
    request = json.loads((folder / "request.json").read_text("utf-8"))
    module = api.merge_modules([_parsed(folder, signature) for signature in request])
    config = api.ConvertToTFLConfig()
    config.canonicalizing_inf_as_min_max_float = False  # a row that is masked whole would get other shares
    api.run_convert_to_tfl_passes(module, passmanager.PassManager(), config)
    for operation in [found for found in _operations(module.operation) if found.name == "stablehlo.scatter"]:
        _restore(operation)
    _outline(module)
    try:
        return api.export_flatbuffer_to_bytes(module.operation)
    except ValueError as error:
        raise ValueError(f"{_foreign(module)}{error}") from error


def _parsed(folder: Path, signature: dict[str, Any]) -> Any:
    """A module whose function has the name of its signature."""
    module = ir.Module.parse((folder / signature["file"]).read_text("utf-8"))
    api.set_signature(module.operation, signature["name"], signature["inputs"], signature["outputs"])
    for each in module.body.operations:
        if each.attributes["sym_name"].value == "main":
            each.attributes["sym_name"] = ir.StringAttr.get(signature["symbol"])
    return module


def _operations(within: Any) -> Iterator[Any]:
    """All operations within one, an outer one before its inner ones."""
    for region in within.regions:
        for block in region.blocks:
            for found in list(block.operations):
                yield found.operation
                yield from _operations(found.operation)


def _foreign(module: Any) -> str:
    """The first operation that a file does not have, where there is one, as the passes would tell of it."""
    for found in _operations(module.operation):
        types = [value.type for value in [*found.operands, *found.results]]
        if found.name.startswith(("tf.", "mhlo.", "chlo.")) or any("complex" in str(t) for t in types):
            return f"{found.location}: operation '{found.name}' of {', '.join(map(str, types))} "
    return ""


_COMBINED = {
    "tfl.add": "stablehlo.add",
    "tfl.mul": "stablehlo.multiply",
    "tfl.maximum": "stablehlo.maximum",
    "tfl.minimum": "stablehlo.minimum",
}


def _restore(scatter: Any) -> None:
    """Undo what the passes do inside of a scatter: its runtime knows the way of combining by StableHLO's names."""
    for found in list(_operations(scatter)):
        if found.name in _COMBINED:
            made = ir.Operation.create(
                _COMBINED[found.name],
                results=[found.results[0].type],
                operands=list(found.operands),
                loc=found.location,
                ip=ir.InsertionPoint(found),
            )
            found.results[0].replace_all_uses_with(made.results[0])
            found.erase()


def _outline(module: Any) -> None:
    """Make a function of each part of a loop: a file has them as programs of their own."""
    for number in itertools.count():
        loops = [found for found in _operations(module.operation) if found.name == "tfl.while"]
        inline = [found for found in loops if not _is_outlined(found)]
        if not inline:
            return
        _outlined(module, inline[0], number)


def _is_outlined(loop: Any) -> bool:
    first = [region.blocks[0].operations[0].operation for region in loop.regions]
    return all(f.name == "func.call" and str(f.attributes["callee"]).startswith("@tfl.while_") for f in first)


def _outlined(module: Any, loop: Any, number: int) -> None:
    """One loop; what its parts read from outside goes round with what it carries."""
    outside, count = _read_from_outside(loop), len(loop.results)
    carried = [*loop.operands, *outside]
    types = [value.type for value in carried]
    stateless = {"is_stateless": ir.BoolAttr.get(False)}
    at = ir.InsertionPoint(loop)
    made = ir.Operation.create("tfl.while", types, carried, stateless, regions=2, loc=loop.location, ip=at)
    for part, region, name in zip(loop.regions, made.regions, ("test", "body"), strict=True):
        symbol = f"tfl.while_{number}_{name}"
        through = len(outside) if name == "body" else 0
        results = _as_function(module, part.blocks[0], symbol, carried, through)
        _calling(region.blocks.append(*types, arg_locs=[loop.location] * len(types)), symbol, results, loop.location)
    for old, new in zip(loop.results, list(made.results)[:count], strict=True):
        old.replace_all_uses_with(new)
    loop.erase()


def _read_from_outside(loop: Any) -> list[Any]:
    """The values that the parts of a loop read, and that are made elsewhere."""
    inner = list(_operations(loop))
    mine = {value for found in inner for value in found.results}
    blocks = [block for each in [loop, *inner] for region in each.regions for block in region.blocks]
    mine |= {x for block in blocks for x in block.arguments}
    return list(dict.fromkeys(x for found in inner for x in found.operands if x not in mine))


def _as_function(module: Any, block: Any, symbol: str, carried: list[Any], through: int) -> list[Any]:
    """A part of a loop as a function of all that goes round, the last of which go through; the types of its results."""
    location, types = block.owner.location, [value.type for value in carried]
    last, count = list(block.operations)[-1].operation, len(block.arguments)
    results = [x.type for x in last.operands] + types[len(types) - through :]
    attributes = {
        "sym_name": ir.StringAttr.get(symbol),
        "sym_visibility": ir.StringAttr.get("private"),
        "function_type": ir.TypeAttr.get(ir.FunctionType.get(types, results)),
    }
    at = ir.InsertionPoint(module.body)
    function = ir.Operation.create("func.func", attributes=attributes, regions=1, loc=location, ip=at)
    entry = function.regions[0].blocks.append(*types, arg_locs=[location] * len(types))
    held = [*block.arguments, *carried[count:]]
    for found in list(block.operations):
        entry.append(found)
    new = dict(zip(held, entry.arguments, strict=True))
    for found in _operations(function):
        for i, x in enumerate(found.operands):
            if x in new:
                found.operands[i] = new[x]
    given = [*last.operands, *list(entry.arguments)[len(types) - through :]]
    ir.Operation.create("func.return", operands=given, loc=location, ip=ir.InsertionPoint(last))
    last.erase()
    return results


def _calling(block: Any, symbol: str, results: list[Any], location: Any) -> None:
    """A block that calls a function and gives its results."""
    callee = {"callee": ir.FlatSymbolRefAttr.get(symbol)}
    at = ir.InsertionPoint(block)
    call = ir.Operation.create("func.call", results, list(block.arguments), callee, loc=location, ip=at)
    ir.Operation.create("tfl.yield", operands=list(call.results), loc=location, ip=at)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
