"""The clients must be there: without them no test of the area is skipped, all fail. None is imported in this process,
as their messages have the same names."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator

import pytest

from areas.serving_net import Served, served_net

for needed in ("tritonclient", "tensorflow_serving", "schemathesis", "onnxruntime", "uvicorn", "grpc"):
    assert importlib.util.find_spec(needed) is not None, f"{needed} is missing"
assert shutil.which("curl") is not None, "curl is missing"

collect_ignore = ["clients"]  # programs


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served_net(tmp_path_factory.mktemp("models")) as running:
        yield running
