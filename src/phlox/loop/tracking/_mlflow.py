"""The logger for MLflow."""

from __future__ import annotations

import hashlib
import json
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar

from phlox.core import MissingExtraError
from phlox.loop.tracking._delivery import Entry, RefusedError
from phlox.loop.tracking._service import ServiceLogger

if TYPE_CHECKING:
    from phlox.loop._run import Run

TAG = "phlox.run"  # by which a run is found again
_MOST = 1000  # metrics in one request; 100 parameters
_LONG = 6000  # characters of a parameter
_STATUS = {"finished": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}
_NOT_NOW = (408, 429)  # statuses of HTTP after which the same request may succeed
_SECONDS = 5  # to see whether a server is there


class MLflowLogger(ServiceLogger):
    """Hands what a run logs to an MLflow tracking server, or to its database.

    Everything that is logged becomes a metric; the settings of ``fit`` become parameters, the data inputs with their
    digests, the commit and the seeds tags, and the whole record of the run the artifact ``run.json``. Arrays become
    artifacts ``arrays/NAME.json``. A resumed run goes on in its MLflow run; steps trained again are there twice.

    It never stops a training: a thread does the sending, a failure is told once, and what is missing is sent when the
    server is back. What is still missing at the end is kept in the ``log_dir``, and goes when the run is resumed or by
    ``px.loop.catch_up``.

    Arguments:
        uri: of the server, ``http://HOST:5000``, or of a database, ``sqlite:///mlflow.db``; by default MLflow's own,
            from ``MLFLOW_TRACKING_URI``.
        experiment: where the run belongs; made where it is not there.
        name: of the run; by default MLflow makes one up.
        tags: further ones.
        patience: seconds that the end of a training waits for the server at most.

    Raises:
        MissingExtraError: mlflow-skinny, or mlflow, is not installed.
        RangeError: a negative patience.

    >>> import phlox as px
    >>> logger = px.MLflowLogger("http://localhost:5000", "digits", tags={"team": "vision"})
    """

    service: ClassVar[str] = "mlflow"
    uri: str | None
    experiment: str
    name: str | None
    tags: dict[str, str]

    def __init__(
        self,
        uri: str | None = None,
        experiment: str = "Default",
        *,
        name: str | None = None,
        tags: Mapping[str, str] | None = None,
        patience: float = 10.0,
    ):
        super().__init__(patience)
        self.uri, self.experiment, self.name = uri, experiment, name
        self.tags = dict(tags or {})

    def check_run(self, run: Run) -> None:
        _library()

    @property
    def run_id(self) -> str | None:
        """The id of the MLflow run of the latest training, asked of the server; None where it does not know it."""
        return MLflowSender(self._address()).found()

    def _address(self) -> dict[str, Any]:
        uri = self.uri or _library().get_tracking_uri()
        return {"key": self.key, "uri": uri, "experiment": self.experiment, "name": self.name, "tags": self.tags}

    @classmethod
    def _sender(cls, address: dict[str, Any]) -> Callable[[Sequence[Entry]], None]:
        return MLflowSender(address)


class MLflowSender:
    """Hands entries to MLflow, each such that it does no harm if it comes twice.

    Arguments:
        address: ``key``, ``uri``, ``experiment``, ``name`` and ``tags``, as a logger has them.
    """

    def __init__(self, address: Mapping[str, Any]):
        self.address = address
        self._client: Any = None
        self._run: str | None = None

    def __call__(self, entries: Sequence[Entry]) -> None:
        from mlflow.exceptions import MlflowException  # pyright: ignore[reportMissingImports]  # an extra

        check_reachable(self.address["uri"])
        try:
            self._log_numbers([entry for entry in entries if entry["kind"] == "numbers"])
            for entry in entries:
                if entry["kind"] != "numbers":
                    getattr(self, f"_{entry['kind']}")(entry)
        except MlflowException as error:
            status = error.get_http_status_code()
            if 400 <= status < 500 and status not in _NOT_NOW:
                raise RefusedError(str(error)) from error
            raise

    @property
    def client(self) -> Any:
        """That of MLflow."""
        if self._client is None:
            self._client = _library().MlflowClient(tracking_uri=self.address["uri"])
        return self._client

    def found(self) -> str | None:
        """The id of the run of this key, where there is one."""
        experiment = self.client.get_experiment_by_name(self.address["experiment"])
        if experiment is None:
            return None
        wanted = f"tags.`{TAG}` = '{self.address['key']}'"
        runs = self.client.search_runs([experiment.experiment_id], wanted, max_results=1)
        return runs[0].info.run_id if runs else None

    @property
    def run(self) -> str:
        """The id of the run, which is made where it is not there."""
        if self._run is None:
            self._run = self.found() or self._made()
        return self._run

    def _made(self) -> str:
        name = self.address["experiment"]
        experiment = self.client.get_experiment_by_name(name)
        number = self.client.create_experiment(name) if experiment is None else experiment.experiment_id
        tags = {TAG: self.address["key"], **self.address["tags"]}
        return self.client.create_run(number, tags=tags, run_name=self.address["name"]).info.run_id

    # --- by kind ---------------------------------------------------------------------------------

    def _log_numbers(self, entries: Sequence[Entry]) -> None:
        from mlflow.entities import Metric  # pyright: ignore[reportMissingImports]

        metrics = [
            Metric(allowed(name), float(value), int(1000 * entry["time"]), entry["step"])
            for entry in entries
            for name, value in entry["values"].items()
        ]
        for batch in _in_parts(metrics, _MOST):
            self.client.log_batch(self.run, metrics=batch)

    def _array(self, entry: Entry) -> None:
        whole = {"step": entry["step"], "value": entry["value"]}
        self.client.log_text(self.run, json.dumps(whole), f"arrays/{allowed(entry['name'])}.json")

    def _start(self, entry: Entry) -> None:
        from mlflow.entities import Param, RunTag  # pyright: ignore[reportMissingImports]

        record = entry["record"]
        self.client.update_run(self.run, status="RUNNING")
        known = self.client.get_run(self.run).data.params  # which cannot be changed
        params = [Param(name, value) for name, value in parameters(record) if name not in known]
        for batch in _in_parts(params, 100):
            self.client.log_batch(self.run, params=batch)
        self.client.log_batch(self.run, tags=[RunTag(name, value) for name, value in tags(record)])
        self.client.log_inputs(self.run, list(inputs(record)))
        self.client.log_text(self.run, json.dumps(record, indent=1), "run.json")

    def _end(self, entry: Entry) -> None:
        ended = {name: value for name, value in entry.items() if name != "kind"}
        self.client.log_text(self.run, json.dumps(ended, indent=1), "end.json")
        if entry["error"]:
            self.client.set_tag(self.run, "phlox.error", entry["error"][:_LONG])
        self.client.set_terminated(self.run, _STATUS[entry["status"]])


def parameters(record: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What a run was asked for, flat, as texts that MLflow takes."""
    whole = {**record["config"], "optimizer": record["optimizer"], "parameters": record["model"]["parameters"]}
    for name, value in whole.items():
        if value is not None:
            yield allowed(name), (value if isinstance(value, str) else json.dumps(value))[:_LONG]


def tags(record: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Where a run comes from; the names are those under which MLflow's pages show them."""
    code, environment = record["code"], record["environment"]
    if code.get("program"):
        yield "mlflow.source.name", code["program"]
        yield "mlflow.source.type", "LOCAL"
    if "commit" in code:
        yield "mlflow.source.git.commit", code["commit"]
        yield "mlflow.source.git.branch", code["branch"]
        yield "phlox.changed", str(len(code.get("changed", [])))
    yield "phlox.version", environment["packages"].get("phlox", "unknown")
    yield "phlox.jax", environment["packages"].get("jax", "unknown")
    yield "phlox.python", environment["python"]
    yield "phlox.devices", json.dumps(environment["devices"])
    yield "phlox.seeds", json.dumps(record["seeds"])


def inputs(record: Mapping[str, Any]) -> Iterator[Any]:
    """The data as inputs of a run."""
    from mlflow.entities import Dataset, DatasetInput, InputTag  # pyright: ignore[reportMissingImports]

    for name, found in record["data"].items():
        digest = (found["digest"] or hashlib.sha256(json.dumps(found).encode()).hexdigest())[:16]
        made = Dataset(name, digest, "phlox", "{}", profile=json.dumps(found))
        yield DatasetInput(made, [InputTag("mlflow.data.context", name.removesuffix("_data"))])


def allowed(name: str) -> str:
    """A name with the signs that MLflow takes.

    >>> allowed("val_top-5 (%)")
    'val_top-5 ___'
    """
    return re.sub(r"[^\w\-. :/]", "_", name)[:250]


def check_reachable(uri: str) -> None:
    """See that a server is there, so that MLflow's client, which tries for minutes, is not asked in vain.

    Raises:
        OSError: nobody answers.
    """
    if not uri.startswith(("http://", "https://")):
        return
    with suppress(urllib.error.HTTPError):  # somebody answers
        urllib.request.urlopen(uri.rstrip("/") + "/health", timeout=_SECONDS).close()


def _in_parts(items: Sequence[Any], most: int) -> Iterator[Sequence[Any]]:
    return (items[n : n + most] for n in range(0, len(items), most))


def _library() -> Any:
    try:
        import mlflow  # pyright: ignore[reportMissingImports]  # an extra
    except ImportError:
        raise MissingExtraError("MLflow", got="none", fix='pip install "phlox[mlflow]"', where="MLflowLogger") from None
    return mlflow
