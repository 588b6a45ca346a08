"""What TensorFlow Serving's, KServe's and plain clients send, over a socket: answers beside the models' own."""

import base64
import io
import json
import re
import struct
from pathlib import Path

import numpy as np
import pytest

import phlox as px
from kit import oracle
from phlox import weights
from serving.small import Scaled, Scores, Upper, ask, write_onnx

oracle("uvicorn")
oracle("httptools")
oracle("prometheus_client")

FIXTURE = Path(__file__).parents[1] / "interchange" / "bundles" / "1"
IMAGES = np.arange(8, dtype=np.uint8).reshape(2, 2, 2, 1)


@pytest.fixture(scope="module")
def server():
    """Servables of code."""
    models = {"scaled": Scaled(), "upper": Upper(), "scores": Scores(), "real": Scores("float32")}
    with px.serving.Server(models, port=0, limits=px.serving.Limits(body=20_000, rank=4, depth=6)) as one:
        yield one


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A bundle and an ONNX file in a folder of models."""
    oracle("flatbuffers")
    oracle("onnxruntime")
    folder = tmp_path_factory.mktemp("models")
    (folder / "dense").mkdir()
    (folder / "dense" / "1").symlink_to(FIXTURE)
    write_onnx(folder / "scaled" / "3" / "model.onnx", 3.0)
    with px.serving.Server(folder, port=0) as one:
        yield one


def test_tensorflow_predicts_in_rows_and_columns(server):
    path = "/v1/models/scaled:predict"
    assert ask(server, "POST", path, {"instances": [[1, 2.5], [3, 4]]})[1] == {"predictions": [[2, 5], [6, 8]]}
    named = {"signature_name": "serving_default", "instances": [{"x": [1, 2]}, {"x": [3, 4]}]}
    assert ask(server, "POST", path, named)[1] == {"predictions": [[2, 4], [6, 8]]}
    assert ask(server, "POST", path, {"inputs": [[1, 2]]})[1] == {"outputs": [[2, 4]]}
    assert ask(server, "POST", path, {"inputs": {"x": [[1, 2]]}})[1] == {"outputs": [[2, 4]]}
    place = "/v1/models/scaled/versions/1:predict"
    assert ask(server, "POST", place, {"instances": [[1, 2]]})[1] == {"predictions": [[2, 4]]}
    many = ask(server, "POST", "/v1/models/scores:predict", {"instances": IMAGES.tolist()})[1]
    assert many == {"predictions": [{"scores": [0, 1, 2], "total": 6}, {"scores": [4, 5, 6], "total": 22}]}
    many = ask(server, "POST", "/v1/models/scores:predict", {"inputs": {"image": IMAGES.tolist()}})[1]
    assert many == {"outputs": {"scores": [[0, 1, 2], [4, 5, 6]], "total": [6, 22]}}


def test_tensorflow_classifies_and_regresses(server):
    told = {"context": {}, "examples": [{"image": [0, 1, 2, 3]}, {"image": [4, 5, 6, 7]}]}
    _, found, _ = ask(server, "POST", "/v1/models/scores:classify", told)
    assert found == {"results": [[["a", 0], ["b", 1], ["c", 2]], [["a", 4], ["b", 5], ["c", 6]]]}
    assert ask(server, "POST", "/v1/models/scores:regress", told)[1] == {"results": [6, 22]}
    shared = {"context": {"image": [1, 1, 1, 1]}, "examples": [{}, {}]}
    assert ask(server, "POST", "/v1/models/scores:regress", shared)[1] == {"results": [4, 4]}


def test_tensorflow_tells_states_and_signatures(server):
    state = {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    for place in ("", "/versions/1"):
        assert ask(server, "GET", "/v1/models/scaled" + place)[1] == {"model_version_status": [state]}
    _, told, _ = ask(server, "GET", "/v1/models/scaled/metadata")
    assert told["model_spec"] == {"name": "scaled", "signature_name": "", "version": "1"}
    [[name, signature]] = told["metadata"]["signature_def"]["signature_def"].items()
    assert (name, signature["method_name"]) == ("serving_default", "tensorflow/serving/predict")
    assert signature["inputs"]["x"]["dtype"] == "DT_FLOAT"
    assert [d["size"] for d in signature["inputs"]["x"]["tensor_shape"]["dim"]] == ["-1", "2"]


def test_text_bytes_and_hooks(server):
    path = "/v1/models/upper:predict"
    told = {"instances": [" ab", {"b64": base64.b64encode(b"c").decode()}]}
    _, found, _ = ask(server, "POST", path, {"instances": [" ab", "c "]})
    assert found == {"predictions": [{"text": "AB!", "length": 2}, {"text": "C!", "length": 1}]}
    assert ask(server, "POST", path, told)[0] == 200
    assert ask(server, "POST", "/predict/upper", {"text": "ab"})[1]["outputs"] == {"text": "AB!", "length": 2}
    tensor = {"name": "text", "datatype": "BYTES", "shape": [2], "data": ["x", " yz"]}
    _, found, _ = ask(server, "POST", "/v2/models/upper/infer", {"inputs": [tensor]})
    assert [y["data"] for y in found["outputs"]] == [["X!", "YZ!"], [1, 2]]
    assert [y["datatype"] for y in found["outputs"]] == ["BYTES", "INT32"]


def test_a_bundle_gives_what_its_examples_say(files):
    bundle = weights.read_bundle(FIXTURE)
    words = bundle.encoders["colour"].table
    for example in weights.read_examples(bundle)["default"]:
        inputs = {name: x.tolist() for name, x in example.inputs.items()}
        told = {**inputs, "colour": [words[i] for i in inputs["colour"]]}
        for columns in (inputs, told):
            _, found, _ = ask(files, "POST", "/v1/models/dense:predict", {"inputs": columns})
            np.testing.assert_allclose(found["outputs"], example.outputs["output"], atol=1e-5)
        rows = [dict(zip(told, row, strict=True)) for row in zip(*told.values(), strict=True)]
        _, found, _ = ask(files, "POST", "/v1/models/dense:predict", {"instances": rows})
        np.testing.assert_allclose(found["predictions"], example.outputs["output"], atol=1e-5)
        _, found, _ = ask(files, "POST", "/predict/dense", {name: x[0] for name, x in told.items()})
        np.testing.assert_allclose(found["outputs"]["output"], example.outputs["output"][0], atol=1e-5)
        assert found["class"] == ("no", "yes")[int(np.argmax(example.outputs["output"][0]))]


def test_an_onnx_file_and_the_folder(files):
    _, found, _ = ask(files, "POST", "/v1/models/scaled/versions/3:predict", {"instances": [[1, 2]]})
    assert found == {"predictions": [[3, 6]]}
    status, text, _ = ask(files, "POST", "/v1/models/scaled/versions/1:predict", {"instances": [[1, 2]]})
    assert (status, text["error"].splitlines()[0]) == (404, "scaled expects a version among 3, got 1")
    _, index, _ = ask(files, "POST", "/v2/repository/index", {})
    assert index == [
        {"name": "dense", "version": "1", "state": "READY", "reason": ""},
        {"name": "scaled", "version": "3", "state": "READY", "reason": ""},
    ]
    assert ask(files, "POST", "/v2/repository/models/scaled/unload")[0] == 200
    assert ask(files, "GET", "/readyz")[0] == 200
    assert ask(files, "POST", "/v1/models/scaled:predict", {"instances": [[1, 2]]})[0] == 503
    assert ask(files, "GET", "/v2/models/scaled/ready")[:2] == (503, {"name": "scaled", "ready": False})
    assert ask(files, "POST", "/v2/repository/models/scaled/load", b"{}")[0] == 200
    assert ask(files, "POST", "/v1/models/scaled:predict", {"instances": [[1, 2]]})[1] == {"predictions": [[3, 6]]}
    assert ask(files, "POST", "/v2/repository/models/..%2f..%2fetc/load")[0] == 404


def infer(server, model, told, tail=b"", headers=None):
    head = json.dumps(told).encode()
    more = {"Inference-Header-Content-Length": str(len(head))} if tail or headers is None else headers
    return ask(server, "POST", f"/v2/models/{model}/infer", head + tail, {**more, **(headers or {})})


def test_kserve_in_json(server):
    tensor = {"name": "x", "datatype": "FP32", "shape": [2, 2], "data": [1, 2, 3, 4]}
    status, found, _ = infer(server, "scaled", {"id": "seven", "inputs": [tensor]}, headers={})
    assert (status, found["id"], found["model_name"], found["model_version"]) == (200, "seven", "scaled", "1")
    assert found["outputs"] == [{"name": "y", "shape": [2, 2], "datatype": "FP32", "data": [2, 4, 6, 8]}]
    nested = {**tensor, "data": [[1, 2], [3, 4]]}
    assert infer(server, "scaled", {"inputs": [nested]}, headers={})[1]["outputs"] == found["outputs"]
    image = {"name": "image", "datatype": "UINT8", "shape": [2, 2, 2, 1], "data": IMAGES.reshape(-1).tolist()}
    asked = {"inputs": [image], "outputs": [{"name": "total"}]}
    assert infer(server, "scores", asked, headers={})[1]["outputs"] == [
        {"name": "total", "shape": [2], "datatype": "FP32", "data": [6, 22]}
    ]


def test_kserve_in_bytes(server):
    x = np.float32([[1, 2], [3, 4]])
    tensor = {"name": "x", "datatype": "FP32", "shape": [2, 2], "parameters": {"binary_data_size": 16}}
    told = {"inputs": [tensor], "parameters": {"binary_data_output": True}}
    status, body, headers = infer(server, "scaled", told, x.tobytes())
    at = int(headers["inference-header-content-length"])
    assert (status, headers["content-type"]) == (200, "application/octet-stream")
    assert json.loads(body[:at])["outputs"][0]["parameters"] == {"binary_data_size": 16}
    np.testing.assert_array_equal(np.frombuffer(body[at:], np.float32).reshape(2, 2), 2 * x)
    _, found, _ = infer(server, "scaled", {"inputs": [tensor]}, x.tobytes())
    assert found["outputs"][0]["data"] == [2, 4, 6, 8]
    words = [b"ab", " ü".encode()]
    text = b"".join(struct.pack("<I", len(w)) + w for w in words)
    tensor = {"name": "text", "datatype": "BYTES", "shape": [2], "parameters": {"binary_data_size": len(text)}}
    wanted = [{"name": "text", "parameters": {"binary_data": True}}, {"name": "length"}]
    _, body, headers = infer(server, "upper", {"inputs": [tensor], "outputs": wanted}, text)
    at = int(headers["inference-header-content-length"])
    assert body[at:] == b"".join(struct.pack("<I", len(w)) + w for w in [b"AB!", "Ü!".encode()])
    assert json.loads(body[:at])["outputs"][1]["data"] == [2, 1]


def test_kserve_tells_of_itself(server):
    assert ask(server, "GET", "/v2")[1]["extensions"] == ["binary_tensor_data", "model_repository"]
    assert ask(server, "GET", "/v2/health/live")[:2] == (200, {"live": True})
    assert ask(server, "GET", "/v2/health/ready")[:2] == (200, {"ready": True})
    assert ask(server, "GET", "/v2/models/scaled/versions/1/ready")[:2] == (200, {"name": "scaled", "ready": True})
    _, told, _ = ask(server, "GET", "/v2/models/scores")
    assert told["inputs"] == [{"name": "image", "datatype": "UINT8", "shape": [-1, 2, 2, 1]}]
    assert [y["shape"] for y in told["outputs"]] == [[-1, 3], [-1]]
    assert told["versions"] == ["1"]


def picture(pixels):
    image = oracle("PIL.Image")
    made = io.BytesIO()
    image.fromarray(pixels).save(made, "PNG")
    return made.getvalue()


def test_one_observation_with_a_picture(server):
    pixels = np.array([[0, 51], [102, 255]], np.uint8)
    encoded = {"image": {"b64": base64.b64encode(picture(pixels)).decode()}}
    _, found, _ = ask(server, "POST", "/predict/scores", encoded)
    wanted = {"outputs": {"scores": [0, 51, 102], "total": 408}, "class": "c", "classes": {"a": 0, "b": 51, "c": 102}}
    assert found == {"model": "scores", "version": 1, **wanted}
    _, found, _ = ask(server, "POST", "/predict/real", encoded)
    np.testing.assert_allclose(found["outputs"]["scores"], [0, 0.2, 0.4], atol=1e-6)
    assert ask(server, "POST", "/predict/scores", {"image": pixels[..., None].tolist()})[1]["class"] == "c"
    grey = picture(np.full((6, 6, 3), 90, np.uint8))  # in colour, and larger than the input
    form = b'--xyz\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
    kind = {"Content-Type": "multipart/form-data; boundary=xyz"}
    _, found, _ = ask(server, "POST", "/predict/scores/versions/1", form + grey + b"\r\n--xyz--\r\n", kind)
    assert found["outputs"]["total"] == 360


X = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}
V1, V2, PLAIN = "/v1/models/scaled:predict", "/v2/models/scaled/infer", "/predict/scaled"
WRONG = [
    (V1, b"{", 400, "/v1/models/scaled:predict expects a body in JSON, got Expecting"),
    (V1, b"\xff{}", 400, "a body in JSON"),
    (V1, b"[1]", 400, "an object in JSON, got a list"),
    (V1, b'{"instances": ' + b"[" * 3000 + b"]" * 3000 + b"}", 400, "JSON nested at most 6 deep"),
    (V1, {}, 400, "either instances or inputs, got an empty object"),
    (V1, {"instances": [[1, 2]], "inputs": [[1, 2]]}, 400, "either instances or inputs, got both"),
    (V1, {"instances": []}, 400, "instances as a list of rows, got an empty list"),
    (V1, {"instances": 1}, 400, "instances as a list of rows, got a int"),
    (V1, {"instances": [[1, 2], [3]]}, 400, "x float32[batch, 2], got lists of different lengths"),
    (V1, {"instances": [[1, 2, 3]]}, 400, "x float32[batch, 2], got float32[1, 3]"),
    (V1, {"instances": [["1", "2"]]}, 400, "x float32[batch, 2], got a str"),
    (V1, {"instances": [[True, False]]}, 400, "x float32[batch, 2], got bool[1, 2]"),
    (V1, {"instances": [[None, 1]]}, 400, "x float32[batch, 2], got null"),
    (V1, {"instances": [[1e300, 1]]}, 400, "x float32[batch, 2], got a number that it does not hold"),
    (V1, {"instances": [{"x": [1, 2]}, {"z": [1, 2]}]}, 400, "rows of x, got row 1 with z"),
    (V1, {"inputs": {"z": [[1, 2]]}}, 400, "inputs x float32[batch, 2]"),
    (V1, {"inputs": {"x": []}}, 400, "x float32[batch, 2], got float32[0]"),
    (V1, {"instances": [[1, 2]], "signature_name": "odd"}, 404, "a signature among default, got 'odd'"),
    (V1, {"instances": [[1, 2]], "signature_name": 3}, 400, "signature_name as text, got 3"),
    (V1, b"x" * 20_001, 413, "a body of at most 20000 bytes"),
    ("/v1/models/odd:predict", {}, 404, "a model among real, scaled, scores, upper, got 'odd'"),
    ("/v1/models/scaled/versions/x:predict", {}, 404, "a number for the version, got 'x'"),
    ("/v1/models/scaled/labels/x:predict", {}, 404, "a label among none, got 'x'"),
    ("/v1/models/scaled:classify", {"examples": []}, 400, "examples as a list of objects"),
    ("/v1/models/upper:classify", {"examples": [{"text": "a"}]}, 400, "a model that scores classes"),
    ("/v1/models/scores:regress", {"examples": [{"image": [1, 2]}]}, 400, "image uint8[batch, 2, 2, 1], got 2 values"),
    ("/v1/models/scores:predict", {"inputs": [[[[300]] * 2] * 2]}, 400, "image uint8[batch, 2, 2, 1]"),
    ("/v1/models/scores:predict", {"inputs": [[[[0.5]] * 2] * 2]}, 400, "image uint8[batch, 2, 2, 1], got float64"),
    (V2, {"inputs": []}, 400, "inputs as a list of objects, got []"),
    (V2, {"inputs": [{**X, "datatype": "FP64"}]}, 400, "x as FP32, got 'FP64'"),
    (V2, {"inputs": [{**X, "shape": [2, 2]}]}, 400, "4 numbers for x [2, 2], got 2"),
    (V2, {"inputs": [{**X, "shape": [-1, 2]}]}, 400, "the shape of x, got [-1, 2]"),
    (V2, {"inputs": [{**X, "shape": [1 << 39, 1 << 39], "data": []}]}, 400, "numbers for x"),
    (V2, {"inputs": [{**X, "shape": [0, 2], "data": []}]}, 400, "the same number of rows in all inputs"),
    (V2, {"inputs": [X, X]}, 400, "inputs x float32[batch, 2], got 'x'"),
    (V2, {"inputs": [{**X, "name": "z"}]}, 400, "inputs x float32[batch, 2], got 'z'"),
    (V2, {"inputs": [{**X, "parameters": {"binary_data_size": 8}}]}, 400, "binary_data_size up to 0, got 8"),
    (V2, {"inputs": [{**X, "parameters": 3}]}, 400, "parameters as an object, got a int"),
    (V2, {"inputs": [X], "outputs": [{"name": "q"}]}, 400, "outputs among y, got 'q'"),
    (PLAIN, {"x": {"b64": "AAAA"}}, 400, "numbers for x float32[batch, 2], got 3 bytes"),
    (PLAIN, {"x": {"b64": "?"}}, 400, "base64 in b64"),
    ("/predict/scores", {"image": {"b64": "AAAA"}}, 400, "a picture for image uint8[batch, 2, 2, 1]"),
]


@pytest.mark.parametrize(("path", "body", "status", "message"), WRONG, ids=[f"{i}" for i in range(len(WRONG))])
def test_wrong_requests_are_told_what_is_expected(server, path, body, status, message):
    found, told, headers = ask(server, "POST", path, body)
    assert found == status, told
    assert headers["content-type"] == "application/json"
    assert message in told["error"]


BINARY = [
    (b"1234567", {}, "binary_data_size up to 7, got 8"),
    (b"123456789", {}, "no bytes behind the last tensor, got 1"),
    (b"12345678", {"shape": [2, 2]}, "16 bytes for FP32[2, 2], got 8"),
    (b"12345678", {"Inference-Header-Content-Length": "9999"}, "at most"),
]


@pytest.mark.parametrize(("tail", "change", "message"), BINARY, ids=["short", "long", "shape", "header"])
def test_wrong_bytes_are_told(server, tail, change, message):
    tensor = {**X, "parameters": {"binary_data_size": 8}, **{k: v for k, v in change.items() if k == "shape"}}
    headers = {k: v for k, v in change.items() if k != "shape"}
    status, told, _ = infer(server, "scaled", {"inputs": [tensor]}, tail, headers or None)
    assert status == 400
    assert message in told["error"]


def test_a_model_that_fails_tells_no_secrets(server):
    status, told, _ = ask(server, "POST", V1, {"instances": [[-1, 2]]})
    assert (status, told) == (500, {"error": "the model failed for this request; the server's journal says why"})


def test_numbers_that_json_does_not_have(server):
    _, text, _ = ask(server, "POST", V1, b'{"instances": [[NaN, Infinity]]}')
    assert np.isnan(text["predictions"][0][0])
    assert text["predictions"][0][1] == np.inf


def test_addresses_and_methods_that_there_are_not(server):
    assert ask(server, "GET", "/nowhere")[:2] == (404, {"error": "'/nowhere' is no address of this server"})
    status, told, headers = ask(server, "GET", "/v2/repository/index")
    assert (status, headers["allow"]) == (405, "POST")
    assert told == {"error": "/v2/repository/index expects POST, got GET"}
    assert ask(server, "HEAD", "/healthz")[0] == 200


def test_openapi_names_addresses_that_there_are(server):
    told = ask(server, "GET", "/openapi.json")[1]
    assert told["openapi"] == "3.1.0"
    for path, methods in told["paths"].items():
        for method in methods:
            status, _, headers = ask(server, method.upper(), path.replace("{name}", "scaled"), b"{}")
            assert str(status) in methods[method]["responses"], (path, status)
            kinds = methods[method]["responses"][str(status)]["content"]
            assert headers["content-type"].partition(";")[0] in kinds
    body = told["paths"]["/predict/real"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    grid, image = body["properties"]["image"]["anyOf"]
    assert (grid["minItems"], grid["items"]["items"]["items"]) == (2, {"type": "number"})
    assert image["required"] == ["b64"]
    body = told["paths"]["/predict/upper"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert (body["required"], body["properties"]) == (["text"], {"text": {"type": "string"}})


def test_the_page_to_try_a_model_is_whole_and_guarded(server):
    status, text, headers = ask(server, "GET", "/")
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "script-src 'self'" in headers["content-security-policy"]
    for address in re.findall(r'(?:src|href)="(/[^"]*)"', text.decode()):
        assert ask(server, "GET", address)[0] == 200, address
    script = ask(server, "GET", "/page/try.js")[1].decode()
    for name in re.findall(r'\$\("(\w+)"\)', script):
        assert f'id="{name}"' in text.decode()
    assert ask(server, "GET", "/page/..%2f_app.py")[0] == 404
    assert ask(server, "GET", "/page/_app.py")[0] == 404
