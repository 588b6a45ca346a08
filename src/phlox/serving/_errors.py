"""What a server answers in place of a result: each in four parts, with its status of HTTP and its code of gRPC."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from phlox.core import DtypeError, OptionError, PhloxError, RangeError, ShapeError


class ServingError(PhloxError, RuntimeError):
    """A request that a server does not answer with a result."""

    status = 500
    code = "INTERNAL"


class ModelFailedError(ServingError):
    """A model whose code failed, or gave something else than its signature says."""


class InvalidRequestError(ServingError, ValueError):
    """A request that is not of the protocol's form; ``param`` is its field, ``reason`` a word for programs."""

    status: int = 400
    code: str = "INVALID_ARGUMENT"
    param: str | None = None
    reason: str | None = None


class UnprocessableError(ServingError, ValueError):
    """A request of the right form whose values are against the model's schema; ``param`` is the first such column.

    ``problems`` has all of them: column, row, rule, expected, got, and how many rows.
    """

    status: int = 422
    code: str = "INVALID_ARGUMENT"
    param: str | None = None
    reason: str | None = None
    problems: Sequence[Mapping[str, Any]] = ()


class UnauthorizedError(ServingError):
    """A request without the token that the server asks for."""

    status: int = 401
    code: str = "UNAUTHENTICATED"


class UnknownModelError(ServingError, LookupError):
    """A model, a version, a label or a signature that is not served."""

    status: int = 404
    code: str = "NOT_FOUND"


class TooLargeError(ServingError, ValueError):
    """A request beyond the server's limits."""

    status: int = 413
    code: str = "RESOURCE_EXHAUSTED"


class QueueFullError(ServingError):
    """A model whose queue is full; ``retry_after`` says in how many seconds there is likely to be room."""

    status: int = 429
    code: str = "RESOURCE_EXHAUSTED"
    retry_after = 1


class UnavailableError(ServingError):
    """A model that is being loaded or put away, or a server that is leaving."""

    status: int = 503
    code: str = "UNAVAILABLE"


class DeadlineError(ServingError, TimeoutError):
    """A request that was not answered in its time."""

    status: int = 504
    code: str = "DEADLINE_EXCEEDED"


class SlowRequestError(ServingError, TimeoutError):
    """A request that did not arrive in its time."""

    status: int = 408
    code: str = "DEADLINE_EXCEEDED"


_REQUESTS_FAULT = (ShapeError, DtypeError, RangeError, OptionError)


def status_of(error: BaseException) -> tuple[int, str]:
    """The status of HTTP and the code of gRPC that an error has.

    >>> status_of(ShapeError("x float32[batch, 4]")), status_of(KeyError())
    ((400, 'INVALID_ARGUMENT'), (500, 'INTERNAL'))
    """
    if isinstance(error, ServingError):
        return error.status, error.code
    return (400, "INVALID_ARGUMENT") if isinstance(error, _REQUESTS_FAULT) else (500, "INTERNAL")
