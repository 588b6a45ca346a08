"""Seconds by area: where the time of a run goes, a folder of tests a line, printed at its end and kept.

Each run adds a line to ``build/seconds.jsonl``, unless it runs without a cache (``-p no:cacheprovider``).
"""

from __future__ import annotations

import datetime
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest


def area_of(nodeid: str) -> str:
    """The folder that a test is counted for: tests/core, tests/areas/tensorflow, src/phlox for doctests."""
    folders = nodeid.partition("::")[0].split("/")[:-1]
    return "/".join(folders[: 3 if folders[1:2] == ["areas"] else 2])


class Seconds:
    """A plugin that adds up what tests take, with their fixtures, over all processes of a run."""

    def __init__(self, file: Path | None, arguments: list[str]):
        self.file, self.arguments = file, arguments
        self.started = time.monotonic()
        self.spent: Counter[str] = Counter()
        self.tests: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: Any) -> None:
        area = area_of(report.nodeid)
        self.spent[area] += report.duration
        self.tests[area] += report.when == "setup"

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if not self.spent:
            return
        before = self._before()
        terminalreporter.section("seconds by area, added up over processes")
        for area, seconds in self.spent.most_common():
            was = f"  ({before[area]:.1f} before)" if area in before else ""
            terminalreporter.write_line(f"{seconds:8.1f}  {area:<24} {self.tests[area]:>6} tests{was}")
        terminalreporter.write_line(f"{self.spent.total():8.1f}  in {time.monotonic() - self.started:.1f} by the clock")
        if self.file is not None:
            self._keep(self.file)

    def _before(self) -> dict[str, float]:
        """What the last run with the same arguments took."""
        if self.file is None or not self.file.exists():
            return {}
        runs = [json.loads(line) for line in self.file.read_text("utf-8").splitlines()]
        return next((run["seconds"] for run in reversed(runs) if run["arguments"] == self.arguments), {})

    def _keep(self, file: Path) -> None:
        file.parent.mkdir(exist_ok=True)
        run = {
            "ended": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "arguments": self.arguments,
            "clock": round(time.monotonic() - self.started, 1),
            "tests": dict(self.tests),
            "seconds": {area: round(seconds, 2) for area, seconds in self.spent.items()},
        }
        with file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(run) + "\n")


def watch(config: pytest.Config) -> None:
    """Count in the process that reports, which hears of all others' tests."""
    if hasattr(config, "workerinput"):
        return
    file = config.rootpath / "build" / "seconds.jsonl" if config.pluginmanager.hasplugin("cacheprovider") else None
    config.pluginmanager.register(Seconds(file, list(config.invocation_params.args)))
