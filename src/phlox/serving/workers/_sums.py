"""Numbers for Prometheus, added up over workers; what one has counted stays when it ends."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import prometheus_client.values
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector

from phlox.serving.workers._board import Board
from phlox.serving.workers._files import now_path

_FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # where prometheus_client keeps its files
SHARE = "phlox_share"
"""What is no sum: all workers tell the same, but for one that is behind."""
_OWN = "process_"  # numbers that are each process's own


class Sums:
    """The numbers of all workers.

    Counters lie in files of prometheus_client's, one for each slot, which the next process in the slot goes on with.
    What is so at a moment each worker writes down from time to time.

    Arguments:
        folder: where all of it lies.
        slot: of this worker.
        of_now: what collects the numbers of the moment.
    """

    def __init__(self, folder: Path, slot: int, of_now: Iterable[Any]):
        self.folder, self.slot, self._of_now = folder, slot, list(of_now)

    def write(self) -> None:
        """Write down what is so now."""
        told = [
            (family.name, family.documentation, family.type, [(s.name, s.labels, s.value) for s in family.samples])
            for one in self._of_now
            for family in one.collect()
        ]
        fresh = self.folder / f".now-{self.slot}"
        fresh.write_text(json.dumps(told))
        fresh.replace(now_path(self.folder, self.slot))

    def text(self, more: Iterable[Any] = ()) -> bytes:
        """All of it, as Prometheus reads it."""
        self.write()
        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=str(self.folder))
        registry.register(_Now(self.folder))
        for one in more:
            registry.register(one)
        return generate_latest(registry)


def count_in(folder: Path, slot: int) -> None:
    """Have counters, from now on, lie in files for this slot."""
    os.environ[_FOLDER] = str(folder)
    prometheus_client.values.ValueClass = prometheus_client.values.MultiProcessValue(lambda: slot)


class _Now:
    """What all workers have written down: added up, but for what is each process's own."""

    def __init__(self, folder: Path):
        self.folder = folder

    def describe(self) -> list[Any]:
        return []

    def collect(self) -> Iterator[Any]:
        families: dict[str, Metric] = {}
        sums: dict[str, dict[tuple[Any, ...], float]] = {}
        for path in sorted(self.folder.glob("now-*.json")):
            slot = path.stem.removeprefix("now-")
            with suppress(FileNotFoundError):  # its worker ended just now
                for name, text, kind, samples in json.loads(path.read_text()):
                    families.setdefault(name, Metric(name, text, kind))
                    own = {"worker": slot} if name.startswith(_OWN) else {}
                    for sample, labels, value in samples:
                        key = (sample, *sorted({**labels, **own}.items()))
                        found = sums.setdefault(name, {})
                        found[key] = max(found.get(key, 0.0), value) if name == SHARE else found.get(key, 0.0) + value
        for name, family in families.items():
            for (sample, *labels), value in sums.get(name, {}).items():
                family.add_sample(sample, dict(labels), value)
            yield family


class OfWorkers:
    """How many workers there are.

    Arguments:
        board: where they stand.
    """

    def __init__(self, board: Board):
        self.board = board

    def describe(self) -> list[Any]:
        """Nothing before it is collected."""
        return []

    def collect(self) -> Iterator[Any]:
        """The numbers."""
        board = self.board
        for name, text, value in (
            ("phlox_workers", "Workers that there should be", board.count),
            ("phlox_workers_serving", "Workers that serve", len(board.serving())),
            ("phlox_workers_started_again", "Workers that were started again so far", board.starts() - board.count),
        ):
            family = GaugeMetricFamily(name, text)
            family.add_metric((), value)
            yield family
