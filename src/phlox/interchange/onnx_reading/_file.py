"""A file as a model of the onnx package, looked over before anything is made of it."""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phlox.core import ExportError, PhloxError
from phlox.interchange.onnx._proto import STATE, needed
from phlox.interchange.onnx_reading._graph import Function, Graph, Reader, Refuse
from phlox.interchange.onnx_reading._lifting import hoisted, lifted
from phlox.interchange.onnx_reading._tensors import Tensors
from phlox.interchange.onnx_reading._trained import with_arrays
from phlox.weights import CorruptFileError, file_error, open_regular

_OLDEST = 7
_LARGEST = 1 << 31
"""Bytes of a file, beyond which the format does not go."""
_ANEW = "copy or write the file anew"


@dataclass(frozen=True, eq=False)
class Source:
    """What a file says: its graph, the operators that it defines, versions of operators by domain."""

    name: str
    graph: Graph
    functions: dict[tuple[str, str], Function]
    versions: dict[str, int]
    state: frozenset[str] = frozenset()
    """Arrays of which the file says that no gradient reaches them."""


def read(file: Any, where: str) -> Source:
    """Read a path, bytes, or a model that is in memory.

    Raises:
        MissingFileError: there is no such file.
        CorruptFileError: it is no whole ONNX file; its arrays are not there; its nodes cannot run in their order.
        ExportError: operators older or newer than are known.
    """
    onnx = needed()

    def refuse(expected: str, got: str, fix: str) -> Exception:
        return CorruptFileError(expected, got=got, fix=fix, where=where)

    proto, folder = _proto(onnx, file, where, refuse)
    versions = _versions(onnx, proto, where)
    try:
        return _source(proto, Reader(Tensors(onnx, folder, refuse), refuse), versions)
    except PhloxError:
        raise
    except Exception as error:  # a damaged file has countless ways to be none
        raise refuse("a whole ONNX file", f"{type(error).__name__}: {str(error)[:100]}", _ANEW) from error


def _source(proto: Any, reader: Reader, versions: dict[str, int]) -> Source:
    reader.told(o.domain for o in proto.opset_import)
    names = Counter(f"{f.domain}.{f.name}" for f in proto.functions).most_common(1)
    if names and names[0][1] > 1:
        raise reader.refuse("operators that are defined once", f"{names[0][0]} twice", _ANEW)
    functions = {(f.domain, f.name): reader.function(f) for f in proto.functions}
    graph = lifted(hoisted(with_arrays(reader.graph(proto.graph))))
    told = next((entry.value for entry in proto.metadata_props if entry.key == STATE), "[]")
    return Source(proto.graph.name or "model", graph, functions, versions, frozenset(map(str, json.loads(told))))


def _proto(onnx: Any, file: Any, where: str, refuse: Refuse) -> tuple[Any, Path | None]:
    if isinstance(file, onnx.ModelProto):
        return file, None
    folder = None
    if not isinstance(file, bytes):
        path = Path(os.fspath(file))
        try:
            with open_regular(path) as opened:
                if (size := os.fstat(opened.fileno()).st_size) >= _LARGEST:
                    fix = "write its arrays into a file beside it"
                    raise refuse(f"a file below {_LARGEST} bytes", f"{size} bytes", fix)
                file, folder = opened.read(), path.parent
        except OSError as error:
            raise file_error(error, path, where) from error
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(file)
    except Exception as error:
        raise refuse("an ONNX file", str(error)[:100], _ANEW) from error
    if not proto.HasField("graph"):
        raise refuse("an ONNX file with a graph", "none", _ANEW)
    return proto, folder


def _versions(onnx: Any, proto: Any, where: str) -> dict[str, int]:
    """Versions of operators by domain."""
    found = {"" if o.domain == "ai.onnx" else o.domain: int(o.version) for o in proto.opset_import}
    newest = onnx.defs.onnx_opset_version()
    found.setdefault("", newest if found else 1)  # a file of another domain alone need not name this one
    if not _OLDEST <= found[""] <= newest:
        fix = "convert it: onnx.version_converter.convert_version(model, 21)"
        raise ExportError(f"operators of version {_OLDEST} to {newest}", got=str(found[""]), fix=fix, where=where)
    return found
