"""Values of requests, checked by the schema of a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from phlox.data.validate import Guard, Problem
from phlox.serving._errors import UnprocessableError
from phlox.serving.engine._servable import Arrays, Servable


class Guards:
    """What a servable expects of the values of its inputs, for each signature; nothing where it has no schema.

    Arguments:
        servable: whose.
    """

    def __init__(self, servable: Servable):
        schema = servable.schema
        told = {} if schema is None else servable.signatures
        made = {name: Guard(schema, (x.name for x in one.inputs)) for name, one in told.items() if schema is not None}
        self._by_signature = {name: guard for name, guard in made.items() if guard}
        self._encoded = tuple(servable.encoders)

    def check(self, signature: str, arrays: Arrays, sent: Mapping[str, Any], where: str) -> None:
        """Refuse values that are against the schema; words that an encoder took are looked at as they were sent.

        Raises:
            UnprocessableError: there are some.
        """
        guard = self._by_signature.get(signature)
        if guard is None:
            return
        words = {name: sent[name] for name in self._encoded if name in sent}
        problems = guard({**arrays, **words})
        if problems:
            raise _error(problems, where)


def _error(problems: list[Problem], where: str) -> UnprocessableError:
    first, more = problems[0], len(problems) - 1
    rest = f"; {more} more {'problem' if more == 1 else 'problems'}" if more else ""
    error = UnprocessableError(
        f"{first.expected} in column {first.column!r}",
        got=f"{first.got} in row {first.row}{rest}",
        fix="send values like those of the training data",
        where=where,
    )
    error.param, error.reason = first.column, first.rule
    error.problems = [dict(vars(problem)) for problem in problems]
    return error
