"""KServe's own client: the model's numbers over both transports, and the errors that the protocol has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

CLIENT = Path(__file__).parent / "clients" / "kserve_client.py"


@pytest.fixture(scope="module")
def told(served):
    return served.client(CLIENT)


@pytest.mark.parametrize(
    ("transport", "name"), [("http", "y"), ("http", "in JSON"), ("http", "version 1"), ("grpc", "y")]
)
def test_numbers(told, served, transport, name):
    np.testing.assert_allclose(told[transport][name], served.y, atol=1e-5, rtol=0)


@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_health(told, transport):
    assert [told[transport][name] for name in ("live", "ready", "model")] == [True, True, True]


def test_errors(told):
    assert told["http"]["errors"] == [404, 400]
    assert told["grpc"]["errors"] == ["NOT_FOUND", "INVALID_ARGUMENT"]
