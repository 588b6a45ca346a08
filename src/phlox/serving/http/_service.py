"""What requests of all protocols meet: the models, and who looks on while these are asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from phlox.serving.http._journal import Journal
from phlox.serving.http._metrics import Metrics
from phlox.serving.recording._record import Record
from phlox.serving.recording._recorder import Recorder
from phlox.serving.repository._repository import Repository
from phlox.serving.repository._rollout import tallies
from phlox.serving.repository._version import Version
from phlox.serving.workers._place import Place


@dataclass(frozen=True)
class Service:
    """What a server is made of, behind its protocols.

    Arguments:
        repository: the models that there are.
        metrics: where answers are counted.
        journal: where they are written down.
        place: of a worker among others.
        recorder: what writes a sample of requests down.
        tracer: a ``Tracer``, what makes spans of them.
    """

    repository: Repository
    metrics: Metrics
    journal: Journal
    place: Place | None = None
    recorder: Recorder | None = None
    tracer: Any = None

    @property
    def ready(self) -> bool:
        """Whether requests may be sent here: every model can be asked, of every worker; and nobody is leaving."""
        here = self.repository.ready and not self.repository.leaving
        return here and (self.place is None or self.place.ready)

    @property
    def tallies(self) -> list[Any]:
        """What was counted of versions, by this process and the others."""
        return [tallies(self.repository), *(() if self.place is None else self.place.tallies())]

    def record(self, told_id: str | None) -> Record | None:
        """A record of the next request, where it is one of the sample."""
        if self.recorder is None or not self.recorder.wants():
            return None
        return Record(told_id)

    def answered(
        self, version: Version, protocol: str, status: int, seconds: float, record: Record | None, *, judged: int | None
    ) -> None:
        """Count an answer, and write it down where it is recorded.

        Arguments:
            version: what has answered.
            protocol: by which it was asked.
            status: as HTTP has it.
            seconds: since the request came.
            record: of it.
            judged: the status by which the version is judged; None where it was not asked for outputs.
        """
        self.metrics.answered(version.name, version.number, protocol, status, seconds)
        if judged is None:
            return
        self.repository.answered(version, status=judged, seconds=seconds)
        if record is not None and self.recorder is not None:
            record.model, record.version, record.protocol = version.name, version.number, protocol
            record.status, record.seconds = status, seconds
            self.recorder.put(record)
