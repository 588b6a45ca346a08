"""Requests that are nearly right, at random: each is answered, and none by an error of the server's own."""

import http.client
import json
import random
from collections import Counter

import numpy as np
import pytest

from kit import oracle
from phlox.serving import Limits, Server
from phlox.serving.rpc._messages import kserve, tensorflow
from serving.small import Scaled, Scores, Upper

grpc = oracle("grpc")
oracle("uvicorn")
oracle("httptools")
oracle("prometheus_client")

COUNTS = pytest.mark.parametrize("count", [400, pytest.param(10_000, marks=pytest.mark.soak)])
X = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}
TEXT = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["a"]}
SEEDS = [
    ("/v1/models/m:predict", {"instances": [[1, 2]]}),
    ("/v1/models/m:predict", {"inputs": {"x": [[1, 2]]}}),
    ("/v1/models/upper:predict", {"instances": ["a", {"b64": "YQ=="}]}),
    ("/v1/models/scores:classify", {"context": {}, "examples": [{"image": [1, 2, 3, 4]}], "signature_name": "default"}),
    ("/v1/models/scores:regress", {"examples": [{"image": [1, 2, 3, 4]}]}),
    ("/v2/models/m/infer", {"inputs": [X], "outputs": [{"name": "y", "parameters": {"binary_data": True}}]}),
    ("/v2/models/upper/infer", {"inputs": [TEXT], "parameters": {"binary_data_output": True}}),
    ("/predict/scores", {"image": {"b64": "AAAA"}}),
    ("/predict/m", {"x": [1, 2]}),
    ("/predict/upper", {"text": "a"}),
]
ODD = [
    None, True, 0, -1, 1e308, float("inf"), float("nan"), 2**63, 2**64, 10**30, "", "a", "\0", "é", [], {}, [[]],
    {"b64": "?"}, {"b64": 1}, "9" * 50, [1, [2]], [None], {"x": {}}, 0.5,
]  # fmt: skip


class Doubled(Scaled):
    """Takes negative numbers too."""

    def predict(self, signature, inputs):
        with np.errstate(over="ignore"):
            return {"y": 2 * inputs["x"]}


@pytest.fixture(scope="module")
def server():
    servables = {"m": Doubled(), "upper": Upper(), "scores": Scores()}
    with Server(servables, port=0, grpc_port=0, limits=Limits(arriving=1)) as one:
        yield one


def changed(value, rng):
    """A value with one part of it replaced, doubled, renamed or left out."""
    if not value or not isinstance(value, dict | list) or rng.random() < 0.25:
        return rng.choice(ODD)
    value = value.copy()
    at = rng.choice(list(value) if isinstance(value, dict) else range(len(value)))
    kind = rng.random()
    if kind < 0.1:
        value.pop(at)
    elif kind < 0.2 and isinstance(value, dict):
        value[f"{at}s"] = value.pop(at)
    elif kind < 0.2:
        value.append(value[at])
    else:
        value[at] = changed(value[at], rng)
    return value


def nearly(body, rng):
    """Bytes that are nearly a request."""
    for _ in range(rng.randint(1, 2)):
        body = changed(body, rng)
    text = bytearray(json.dumps(body).encode())
    for _ in range(rng.choice([0, 0, 0, 3])):
        text[rng.randrange(len(text))] = rng.randrange(256)
    return bytes(text)


@COUNTS
def test_over_http(server, count):
    rng, found = random.Random(0), Counter()
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    for _ in range(count):
        path, body = rng.choice(SEEDS)
        text, headers = nearly(body, rng), {}
        if "v2" in path and rng.random() < 0.5:
            tail = rng.randbytes(rng.choice([0, 4, 8]))
            headers = {"Inference-Header-Content-Length": rng.choice([str(len(text)), "0", "-1", "x", "9" * 30])}
            text += tail
        if rng.random() < 0.1:
            headers["Content-Type"] = f"multipart/form-data; boundary={rng.choice(['b', '', 'ü'])}"
            text = b'--b\r\nContent-Disposition: form-data; name="x' + rng.randbytes(5) + b'"\r\n\r\n[1,2]\r\n--b--'
        connection.request("POST", path, text, {k: v.encode("latin-1") for k, v in headers.items()})
        answer = connection.getresponse()
        content = answer.read()
        assert answer.status in (200, 400, 404, 413), (path, text, headers, content)
        found[answer.status] += 1
    connection.close()
    assert found[200] > 10
    assert found[400] > count / 2


@COUNTS
def test_over_grpc(server, count):
    rng, found = random.Random(0), Counter()
    ours, theirs = kserve(), tensorflow()
    tensor = ours.InferTensor(name="x", datatype="FP32", shape=[1, 2])
    infer = ours.ModelInferRequest(model_name="m", inputs=[tensor], raw_input_contents=[b"\0" * 8])
    predict = theirs.PredictRequest(model_spec=theirs.ModelSpec(name="m"))
    predict.inputs["x"].dtype = 1
    predict.inputs["x"].float_val.extend([1, 2])
    for n in (1, 2):
        predict.inputs["x"].tensor_shape.dim.add(size=n)
    example = theirs.Example()
    example.features.feature["image"].int64_list.value.extend([1, 2, 3, 4])
    listed = theirs.Input(example_list=theirs.ExampleList(examples=[example]))
    classify = theirs.ClassificationRequest(model_spec=theirs.ModelSpec(name="scores"), input=listed)
    service = "/tensorflow.serving.PredictionService/"
    asked = [
        ("/inference.GRPCInferenceService/ModelInfer", infer), (service + "Predict", predict),
        (service + "Classify", classify), (service + "Regress", classify),
    ]  # fmt: skip
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        for _ in range(count):
            path, message = rng.choice(asked)
            text = bytearray(message.SerializeToString())
            for _ in range(rng.randint(0, 3)):
                text[rng.randrange(len(text))] = rng.randrange(256)
            code, details = _called(channel, path, bytes(text))
            assert code in ("OK", "INVALID_ARGUMENT", "NOT_FOUND", "RESOURCE_EXHAUSTED"), (path, bytes(text), details)
            found[code] += 1
    assert found["OK"] > 10
    assert found["INVALID_ARGUMENT"] > count / 3


def _called(channel, path, text):
    try:
        channel.unary_unary(path)(text, timeout=20)
    except grpc.RpcError as error:
        return error.code().name, error.details()
    return "OK", ""
