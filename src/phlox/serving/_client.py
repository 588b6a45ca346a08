"""px.serving.Client: a model on a server, asked like a function."""

from __future__ import annotations

import http.client
import json
import random
import ssl
import sys
import threading
import time
import weakref
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlsplit

import numpy as np

from phlox.core import PhloxError, RangeError, describe
from phlox.serving._errors import (
    DeadlineError,
    InvalidRequestError,
    ModelFailedError,
    QueueFullError,
    ServingError,
    SlowRequestError,
    TooLargeError,
    UnauthorizedError,
    UnavailableError,
    UnknownModelError,
)
from phlox.serving.http._binary import NAMES, from_bytes, to_bytes
from phlox.serving.repository._guard import Guard

_ERRORS: dict[int, type[ServingError]] = {
    kind.status: kind
    for kind in (
        ModelFailedError, InvalidRequestError, UnauthorizedError, UnknownModelError, SlowRequestError, TooLargeError,
        QueueFullError, UnavailableError, DeadlineError,
    )
}  # fmt: skip
_AGAIN = (429, 503)
_HEADER = "inference-header-content-length"
_LONGEST_PAUSE = 10.0


class Client:
    """A model server of KServe's version 2, ours or another; may be used from several threads.

    A request that finds no room, no model yet or no server is sent again, later each time.

    Arguments:
        url: the server's address.
        token: what it asks for.
        seconds: for an answer, tries and pauses together.
        tries: how often a request is sent.
        context: how TLS is checked; by default as Python does.

    Raises:
        RangeError: no address, or no tries.

    >>> import numpy as np, phlox as px
    >>> class Doubler(px.serving.Servable):
    ...     def predict(self, signature, inputs):
    ...         return {"y": 2 * inputs["x"]}
    >>> doubler = Doubler(inputs={"x": px.Spec("batch", 2)}, outputs={"y": px.Spec("batch", 2)})
    >>> with px.serving.Server({"doubler": doubler}, port=0) as server:
    ...     px.serving.Client(server.url).predict("doubler", {"x": np.float32([[1, 2]])})
    {'y': array([[2., 4.]], dtype=float32)}
    """

    url: str
    seconds: float
    tries: int

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        seconds: float = 60.0,
        tries: int = 4,
        context: ssl.SSLContext | None = None,
    ):
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            fix = "write http://127.0.0.1:8501"
            raise RangeError("an address of http or https", got=repr(url)[:100], fix=fix, where="Client")
        if tries < 1 or not seconds > 0:
            fix = "leave them out for the usual ones"
            raise RangeError("tries and seconds above 0", got=f"{tries}, {seconds}", fix=fix, where="Client")
        self.url, self.seconds, self.tries = url.rstrip("/"), seconds, tries
        self._parts, self._context, self._local = parts, context, threading.local()
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._open: set[http.client.HTTPConnection] = set()
        weakref.finalize(self, _close, self._open)

    def predict(
        self,
        model: str,
        inputs: Mapping[str, Any],
        *,
        version: int | None = None,
        label: str | None = None,
        signature: str | None = None,
    ) -> dict[str, np.ndarray]:
        """The outputs of a model by name, for arrays by name; they travel as bytes, in the dtypes that they have.

        Arguments:
            model: its name.
            inputs: arrays, with the axis of the batch.
            version, label: which one answers; by default the server chooses.
            signature: which function.

        Raises:
            InvalidRequestError: inputs that the model does not take.
            UnknownModelError: there is no such model, version or signature.
            QueueFullError, UnavailableError, DeadlineError: not in the time that there was.
            ModelFailedError: the model failed.
        """
        tensors, tail = [], list[bytes]()
        for name, value in inputs.items():
            tensor, text = _sent(name, np.asarray(value))
            tensors.append(tensor)
            tail.append(text)
        told: dict[str, Any] = {"inputs": tensors, "parameters": {"binary_data_output": True}}
        if signature is not None:
            told["parameters"]["signature"] = signature
        head = json.dumps(told).encode()
        place = f"/v2/models/{_quoted(model)}{_place(version, label)}/infer"
        body, headers = self._ask("POST", place, b"".join([head, *tail]), {_HEADER: str(len(head))})
        return _received(body, headers, f"{self.url}{place}")

    def models(self) -> list[dict[str, Any]]:
        """Every version of every model with its state."""
        return self._told("POST", "/v2/repository/index", b"{}")

    def metadata(self, model: str, *, version: int | None = None, label: str | None = None) -> dict[str, Any]:
        """The inputs and outputs of a model."""
        return self._told("GET", f"/v2/models/{_quoted(model)}{_place(version, label)}")

    def ready(self, model: str | None = None) -> bool:
        """Whether the server, or one model, can be asked; False where there is no server."""
        path = "/v2/health/ready" if model is None else f"/v2/models/{_quoted(model)}/ready"
        try:
            status, _, _ = self._once("GET", path, None, {}, self.seconds)
        except OSError:
            return False
        return status == 200

    def load(self, model: str) -> None:
        """Load a model that was unloaded, or that failed."""
        self._ask("POST", f"/v2/repository/models/{_quoted(model)}/load", b"{}")

    def unload(self, model: str) -> None:
        """Put a model away until it is loaded again."""
        self._ask("POST", f"/v2/repository/models/{_quoted(model)}/unload", b"{}")

    def roll_out(self, model: str, weights: Mapping[int, float], guard: Guard | None = None) -> Any:
        """Give versions of a model shares of its requests; gives how they are shared then.

        Arguments:
            model: its name.
            weights: shares by version.
            guard: bounds beyond which a version loses its share; by default those that there are.

        Raises:
            UnknownModelError: there is no such model or version.
            UnavailableError: a version cannot be loaded; shares are as they were.
            InvalidRequestError: shares or a guard that are none.
        """
        told: dict[str, Any] = {"weights": {str(n): w for n, w in weights.items()}}
        if guard is not None:
            told["guard"] = guard.told()
        return self._told("POST", f"/v2/repository/models/{_quoted(model)}/rollout", json.dumps(told).encode())

    def roll_back(self, model: str) -> Any:
        """Give all requests of a model to the version that had them before the rollout; gives how they are shared then.

        Raises:
            UnknownModelError: there is no such model, or the version is gone.
            InvalidRequestError: nothing was rolled out.
        """
        return self._told("POST", f"/v2/repository/models/{_quoted(model)}/rollback", b"{}")

    def close(self) -> None:
        """Close the connections of all threads; they open again as needed."""
        _close(self._open)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _told(self, method: str, path: str, body: bytes | None = None) -> Any:
        return json.loads(self._ask(method, path, body)[0])

    def _ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[bytes, Mapping[str, str]]:
        """The answer, after as many tries as it takes and as there are."""
        end, pause = time.monotonic() + self.seconds, 0.05
        for left in reversed(range(self.tries)):
            error: PhloxError
            rest = max(end - time.monotonic(), 0.001)
            try:
                status, text, told = self._once(method, path, body, headers or {}, rest)
            except (OSError, http.client.HTTPException) as fault:
                fix = "look whether the server runs, and whether the address is right"
                error = UnavailableError(
                    "a server", got=f"{type(fault).__name__}: {fault}"[:300], fix=fix, where=self.url
                )
                if isinstance(fault, TimeoutError):
                    error = DeadlineError(f"an answer within {self.seconds:g} s", got="none", where=self.url + path)
                wait, error.__cause__ = pause, fault
            else:
                if status < 300:
                    return text, told
                error = _error(status, text, told, self.url + path)
                if status not in _AGAIN:
                    raise error
                wait = max(pause, float(told.get("retry-after", 0)))
            wait *= random.uniform(0.8, 1.2)  # so that many clients do not come back together
            if not left or time.monotonic() + wait > end:
                raise error
            time.sleep(wait)
            pause = min(2 * pause, _LONGEST_PAUSE)
        raise AssertionError("the last try returns or raises")

    def _once(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], seconds: float
    ) -> tuple[int, bytes, Mapping[str, str]]:
        """One try on this thread's connection."""
        headers = {**self._headers, **headers, **_trace()}
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._connected(seconds)
        connection.timeout = seconds
        if connection.sock is not None:
            connection.sock.settimeout(seconds)
        try:
            connection.request(method, self._parts.path.rstrip("/") + path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read(), {k.lower(): v for k, v in answer.getheaders()}
        except BaseException:
            connection.close()  # what is on its way would be taken for the next answer
            raise

    def _connected(self, seconds: float) -> http.client.HTTPConnection:
        host, port = self._parts.hostname or "", self._parts.port
        if self._parts.scheme == "https":
            made: http.client.HTTPConnection = http.client.HTTPSConnection(
                host, port, timeout=seconds, context=self._context
            )
        else:
            made = http.client.HTTPConnection(host, port, timeout=seconds)
        self._local.connection = made
        self._open.add(made)
        return made


def _trace() -> dict[str, str]:
    """The trace that the caller is in, where there is one."""
    if "opentelemetry.trace" not in sys.modules:
        return {}
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    told: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(told)
    return told


def _close(connections: set[http.client.HTTPConnection]) -> None:
    for connection in list(connections):
        connection.close()


def _quoted(model: str) -> str:
    return quote(model, safe="")


def _place(version: int | None, label: str | None) -> str:
    if version is not None:
        return f"/versions/{version}"
    return "" if label is None else f"/labels/{quote(label, safe='')}"


def _sent(name: str, x: np.ndarray) -> tuple[dict[str, Any], bytes]:
    """A tensor as the protocol tells of it, and its bytes."""
    datatype = "BYTES" if x.dtype.kind in "OSU" else NAMES.get(x.dtype.name)
    if datatype is None:
        fix = "send numbers, truths or text"
        raise InvalidRequestError(f"{name} in a dtype of the protocol", got=describe(x), fix=fix, where="Client")
    text = to_bytes(x)
    told = {"name": name, "shape": list(x.shape), "datatype": datatype, "parameters": {"binary_data_size": len(text)}}
    return told, text


def _received(body: bytes, headers: Mapping[str, str], where: str) -> dict[str, np.ndarray]:
    """The outputs of an answer, in JSON or behind it."""
    at = int(headers.get(_HEADER, len(body)))
    tail, found = memoryview(body)[at:], dict[str, np.ndarray]()
    for entry in json.loads(body[:at])["outputs"]:
        shape, datatype = tuple(entry["shape"]), entry["datatype"]
        size = entry.get("parameters", {}).get("binary_data_size")
        if size is None:
            kind = object if datatype == "BYTES" else np.dtype(datatype.lower().replace("fp", "float"))
            found[entry["name"]] = np.array(entry["data"], kind).reshape(shape)
        else:
            found[entry["name"]], tail = from_bytes(tail[:size], datatype, shape, where), tail[size:]
    return found


def _error(status: int, text: bytes, headers: Mapping[str, str], where: str) -> PhloxError:
    try:
        told = str(json.loads(text)["error"])
    except (ValueError, KeyError, TypeError):
        told = text[:300].decode("utf-8", "replace")
    error = _ERRORS.get(status, ServingError)("an answer", got=f"{status}: {told}", where=where)
    if isinstance(error, QueueFullError):
        error.retry_after = int(float(headers.get("retry-after", 1)))
    return error
