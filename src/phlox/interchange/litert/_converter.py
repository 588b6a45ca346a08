"""litert-converter, in a process of its own: ``python _converter.py FOLDER``.

The folder has ``request.json``, a list of signatures: their names, those of inputs and outputs, and the file of a
module. What is left there is ``model.tflite``, or ``refusal.txt``: what the converter said.
This file imports nothing of Phlox, so that the process is there soon.
"""

from __future__ import annotations

import itertools
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

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
    _turn_integers(module)
    _fuse_integers(module)
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
    for found in [each for each in _operations(module.operation) if each.name == "stablehlo.composite"]:
        if found.attributes["name"].value in _QUANTIZED:
            _QUANTIZED[found.attributes["name"].value](found)
    return module


def _operations(within: Any) -> Iterator[Any]:
    """All operations within one, an outer one before its inner ones."""
    for region in within.regions:
        for block in region.blocks:
            for found in list(block.operations):
                yield found.operation
                yield from _operations(found.operation)


# --- integers ---------------------------------------------------------------------------------------------


def _made(name: str, result: Any, operands: list[Any], before: Any, **attributes: Any) -> Any:
    """The result of a new operation that stands before another, of one result."""
    at = ir.InsertionPoint(before)
    return ir.Operation.create(name, [result], operands, attributes, loc=before.location, ip=at).results[0]


def _replaced(old: Any, value: Any) -> None:
    """Let all that read the result of an operation read another, and take it out."""
    old.results[0].replace_all_uses_with(value)
    old.erase()


def _erase_unread(found: Any) -> None:
    """Take an operation out that nothing reads, and what it alone read."""
    if isinstance(found, ir.Block) or any(list(result.uses) for result in found.results):
        return
    given = [value.owner for value in found.operands]
    found.erase()
    for each in given:
        _erase_unread(each)


def _known(value: Any) -> np.ndarray:
    return np.array(value.owner.attributes["value"])


def _quantized_type(shape: Any, kind: str, scales: np.ndarray, zeros: np.ndarray, axis: int) -> Any:
    """Integers of a shape, with one scale and zero, or with one for each place of an axis."""
    each = [f"{float(s)!r}:{int(z)}" for s, z in zip(scales.reshape(-1), zeros.reshape(-1), strict=True)]
    text = f"{kind}:f32, {each[0]}" if len(each) == 1 else f"{kind}:f32:{axis}, {{{','.join(each)}}}"
    return ir.Type.parse(f"tensor<{''.join(f'{n}x' for n in shape)}!quant.uniform<{text}>>")


def _shape(value: Any) -> list[int]:
    return list(ir.RankedTensorType(value.type).shape)


def _integers(found: Any) -> None:
    """A weight: integers of the file, and what makes numbers of them."""
    codes, scales, zeros = (_known(x) for x in found.operands)
    axis = found.attributes["composite_attributes"]["axis"].value
    kept = _quantized_type(codes.shape, "i8", scales, zeros, axis)
    _replaced(found, _numbers(codes, kept, found.results[0].type, found))


def _numbers(codes: np.ndarray, kept: Any, result: Any, before: Any) -> Any:
    value = ir.DenseElementsAttr.get(np.ascontiguousarray(codes))
    held = _made("tfl.pseudo_qconst", kept, [], before, qtype=ir.TypeAttr.get(kept), value=value)
    return _made("tfl.dequantize", result, [held], before)


def _rounded(found: Any) -> None:
    """What comes in: to integers, and back."""
    x, scale, zero = found.operands
    kind = _quantized_type(_shape(x), "i8", _known(scale), _known(zero), 0)
    codes = _made("tfl.quantize", kind, [x], found, qtype=ir.TypeAttr.get(kind))
    _replaced(found, _made("tfl.dequantize", found.results[0].type, [codes], found))


_QUANTIZED = {"phlox.integers": _integers, "phlox.rounded": _rounded}
_ALONG = re.compile(r"(f32:)\d+")


def _from(value: Any, name: str) -> Any:
    """The operation that makes a value, where it is this one."""
    owner = value.owner
    return owner if getattr(owner, "name", "") == name else None


def _held(value: Any) -> Any:
    """The integers of the file that a value is made of; None of any other."""
    made = _from(value, "tfl.dequantize")
    return None if made is None else _from(made.operands[0], "tfl.pseudo_qconst")


def _turn_integers(module: Any) -> None:
    """A weight that is only turned is turned in the file."""
    for found in list(_operations(module.operation)):
        if found.name not in ("tfl.transpose", "tfl.reshape") or (held := _held(found.operands[0])) is None:
            continue
        codes, told, text = _attribute(held, "value"), _known(found.operands[1]), _element(held.results[0])
        along = _ALONG.search(text)
        if found.name == "tfl.transpose":
            codes = codes.transpose(told)
            place = None if along is None else list(told).index(int(along[0].partition(":")[2]))
        else:
            last = along is not None and int(along[0].partition(":")[2]) == codes.ndim - 1
            if along is not None and (not last or told[-1] != codes.shape[-1]):
                continue
            codes, place = codes.reshape(told), len(told) - 1
        text = text if along is None else _ALONG.sub(rf"\g<1>{place}", text, count=1)
        kept = ir.Type.parse(f"tensor<{''.join(f'{n}x' for n in codes.shape)}{text}>")
        unturned = found.operands[0].owner
        _replaced(found, _numbers(codes, kept, found.results[0].type, found))
        _erase_unread(unturned)


def _attribute(found: Any, name: str) -> np.ndarray:
    return np.array(found.attributes[name])


def _element(value: Any) -> str:
    return str(ir.RankedTensorType(value.type).element_type)


_PRODUCTS = ("tfl.conv_2d", "tfl.depthwise_conv_2d", "tfl.fully_connected")


def _fuse_integers(module: Any) -> None:
    """Products of rounded numbers whose result is rounded, and not read otherwise, are done in integers."""
    for found in [each for each in _operations(module.operation) if each.name in _PRODUCTS]:
        entry, weight = _from(found.operands[0], "tfl.dequantize"), _held(found.operands[1])
        readers = [use.owner for use in found.results[0].uses]
        if entry is None or weight is None or [r.name for r in readers] != ["tfl.quantize"]:
            continue
        bias = _whole_bias(found, entry.operands[0], weight)
        if bias is None:
            continue
        kind = readers[0].results[0].type
        attributes = {name: found.attributes[name] for name in found.attributes}
        operands = [entry.operands[0], weight.results[0], bias]
        at = ir.InsertionPoint(found)
        made = ir.Operation.create(found.name, [kind], operands, attributes, loc=found.location, ip=at)
        unread = [value.owner for value in list(found.operands)]
        _replaced(readers[0].operation, made.results[0])
        found.erase()
        for each in unread:
            _erase_unread(each)


_SCALES = re.compile(r"(-?\d[\d.]*(?:[eE][-+]?\d+)?)(?::-?\d+)?(?=[,}>])")


def _scales(value: Any) -> np.ndarray:
    """The scales that a type tells."""
    return np.array([float(s) for s in _SCALES.findall(_element(value).partition(", ")[2])])


def _whole_bias(found: Any, entry: Any, weight: Any) -> Any:
    """The bias in whole numbers of 32 bits, by the scales of what is summed; None if it is not known, or too large."""
    scales = _scales(entry)[0] * _scales(weight.results[0])
    given = found.operands[2]
    if _from(given, "tfl.no_value") is not None:
        return given
    if "value" not in given.owner.attributes:
        return None
    numbers = np.round(_known(given).astype(np.float64) / scales)
    if np.abs(numbers).max(initial=0) >= 2**31 - 1:
        return None
    kept = _quantized_type(numbers.shape, "i32", scales, np.zeros(len(scales)), 0)
    value = ir.DenseElementsAttr.get(numbers.astype(np.int32))
    return _made("tfl.pseudo_qconst", kept, [], found, qtype=ir.TypeAttr.get(kept), value=value)


# --- what a file has otherwise ----------------------------------------------------------------------------


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
