"""Data checked by a schema before a training begins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from phlox.core import RangeError
from phlox.loop._checks import told
from phlox.loop.batches._loading import has_batches

_WHERE = "px.fit"


def check_schema(schema: Any) -> None:
    """Refuse what is no schema; None passes."""
    if schema is None:
        return
    from phlox.data.validate import Schema  # slow to import

    if not isinstance(schema, Schema):
        fix = "make one of data that is good: px.data.validate.schema(data)"
        raise RangeError("a schema of px.data.validate", got=told(schema), fix=fix, where=_WHERE)


def check_data(schema: Any, data: Mapping[str, Any]) -> None:
    """Go once through data, by the name of its argument, and refuse what is against a schema; None passes.

    Raises:
        InvalidDataError: something in it is.
    """
    if schema is None:
        return
    from phlox.data import DataLoader

    for name, given in data.items():
        if given is not None:
            batched = has_batches(given) and not isinstance(given, DataLoader)
            schema.check((lambda: iter(given)) if batched else given).require(f"{_WHERE}({name})")  # noqa: B023
