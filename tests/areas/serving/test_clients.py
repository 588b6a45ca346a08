"""Clients of Triton's and TensorFlow Serving's, and curl: the model's numbers, and the errors that they document."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np

CLIENTS = Path(__file__).parent / "clients"


def test_tritonclient_over_both_transports_in_one_process(served):
    told = served.client(CLIENTS / "triton.py")
    for kind, statuses in (("http", ("404", "400")), ("grpc", ("StatusCode.NOT_FOUND", "StatusCode.INVALID_ARGUMENT"))):
        found = told[kind]
        for name in ("y", "asked"):
            np.testing.assert_allclose(found[name], served.y, atol=1e-5, rtol=0)
        assert (found["live"], found["ready"]) == (True, True)
        assert (found["unloaded"], found["loaded"]) == (False, True)
        assert found["inputs"] == [["x", "FP32", [-1, 4]]]
        [missing, wrong] = found["errors"]
        assert (missing[0], wrong[0]) == statuses
        assert "a model among net, got 'no'" in missing[1]
        assert "x float32[batch, 4], got float32[1, 3]" in wrong[1]


def test_the_stubs_of_tensorflow_serving(served):
    told = served.client(CLIENTS / "tensorflow_serving.py")
    np.testing.assert_allclose(told["y"], served.y, atol=1e-5, rtol=0)
    assert (told["version"], told["states"]) == (1, [[1, 30]])
    assert told["unpacked"] is True
    assert (told["inputs"], told["method"]) == ([["x", 1, [-1, 4]]], "tensorflow/serving/predict")
    [missing, wrong] = told["errors"]
    assert (missing[0], wrong[0]) == ("NOT_FOUND", "INVALID_ARGUMENT")
    assert "x float32[batch, 4], got float32[5, 3]" in wrong[1]
    assert told["reloaded"] == ["OK", ""]


def curl(*arguments: str) -> tuple[int, str]:
    """Status and body."""
    command = ["curl", "-sS", "--max-time", "60", "-w", "\n%{http_code}", *arguments]
    text, _, status = subprocess.run(command, capture_output=True, text=True, check=True).stdout.rpartition("\n")
    return int(status), text


def test_curl(served):
    for path in (":predict", "/versions/1:predict"):
        status, text = curl("-d", json.dumps({"instances": served.x.tolist()}), f"{served.url}/v1/models/net{path}")
        assert status == 200
        np.testing.assert_allclose(json.loads(text)["predictions"], served.y, atol=1e-5, rtol=0)
    status, text = curl("-F", f"x={served.x[0].tolist()}", f"{served.url}/predict/net")
    np.testing.assert_allclose(json.loads(text)["outputs"]["output"], served.y[0], atol=1e-5, rtol=0)
    status, text = curl("-H", "Expect: 100-continue", "-H", "Transfer-Encoding: chunked", "-d", "{", served.url + "/v2/models/net/infer")  # fmt: skip # noqa: E501
    assert (status, "a body in JSON" in text) == (400, True)
    assert curl(f"{served.url}/v1/models/no")[0] == 404
    assert curl("--path-as-is", f"{served.url}/v1/models/../../etc/passwd")[0] == 404
    assert curl("-I", f"{served.url}/healthz")[0] == 200
