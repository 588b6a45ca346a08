"""Messages made of tables, in a pool of their own: no generated code, and no quarrel with that of a client."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import SimpleNamespace
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from phlox.serving.rpc._schema import KSERVE, TENSORFLOW

_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = ("bool", "int32", "int64", "uint32", "uint64", "float", "double", "string", "bytes")


@cache
def kserve() -> Any:
    """The messages of ``inference``, by name."""
    return _made("inference", KSERVE)


@cache
def tensorflow() -> Any:
    """The messages of ``tensorflow.serving``, by name."""
    return _made("tensorflow.serving", TENSORFLOW)


def _made(package: str, table: Mapping[str, str]) -> Any:
    file = descriptor_pb2.FileDescriptorProto(name=f"phlox/{package}.proto", package=package, syntax="proto3")
    for name, fields in table.items():
        message = file.message_type.add(name=name)
        for text in filter(None, fields.split(", ")):
            _add_field(message, package, *text.split(" "))
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    found = {name: pool.FindMessageTypeByName(f"{package}.{name}") for name in table}
    return SimpleNamespace(**{name: message_factory.GetMessageClass(one) for name, one in found.items()})


def _add_field(message: Any, package: str, name: str, number: str, kind: str) -> None:
    if kind.startswith("{"):
        entry = message.nested_type.add(name="".join(part.title() for part in name.split("_")) + "Entry")
        entry.options.map_entry = True
        _add_field(entry, package, "key", "1", "string")
        _add_field(entry, package, "value", "2", kind.strip("{}"))
        kind = f"{message.name}.{entry.name}*"
    plain = kind.removesuffix("*")
    field = message.field.add(name=name, number=int(number))
    field.label = _Field.LABEL_REPEATED if kind.endswith("*") else _Field.LABEL_OPTIONAL
    if plain in _SCALARS:
        field.type = getattr(_Field, f"TYPE_{plain.upper()}")
    else:
        field.type, field.type_name = _Field.TYPE_MESSAGE, f".{package}.{plain}"
