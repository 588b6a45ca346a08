"""Requests whose values are against the model's schema: 422, with the column, by every protocol."""

import json

import numpy as np
import pytest

import phlox as px
from kit import oracle
from phlox.data.validate import Column, Guard, Schema
from phlox.serving.engine._opening import Opening, opened
from serving.small import Scaled, Upper, ask

oracle("uvicorn")
oracle("httptools")
oracle("prometheus_client")

SCHEMA = Schema([
    Column(name="width", kind="number", low=0, high=10, place=("x", 0)),
    Column(name="height", kind="number", low=0, high=2, place=("x", 1)),
    Column(name="kind", kind="integer", low=0, high=2, place=("y", None)),
])  # fmt: skip


@pytest.fixture(scope="module")
def server():
    scaled, upper = Scaled(), Upper()
    scaled.schema = SCHEMA
    upper.schema = Schema([Column(name="text", kind="text", low=1, high=5)])
    with px.serving.Server({"scaled": scaled, "upper": upper}, port=0) as one:
        yield one


ASKED = {
    "/v1/models/scaled:predict": lambda x: {"instances": x},
    "/v2/models/scaled/infer": lambda x: {
        "inputs": [{"name": "x", "datatype": "FP32", "shape": list(np.shape(x)), "data": x}]
    },
}


@pytest.mark.parametrize("path", ASKED)
def test_values_against_the_schema_are_answered_with_422_and_the_column(server, path):
    body = ASKED[path]
    assert ask(server, "POST", path, body([[1, 2], [10, 0]]))[0] == 200
    status, told, _ = ask(server, "POST", path, body([[1, 2], [3, 2.5], [11, 4]]))
    assert status == 422
    assert told["error"].startswith(
        "scaled/1 default expects 0 … 10 in column 'width', got 11.0 in row 2; 1 more problem"
    )
    first = {"column": "width", "row": 2, "rule": "range", "expected": "0 … 10", "got": "11.0", "count": 1}
    second = {"column": "height", "row": 1, "rule": "range", "expected": "0 … 2", "got": "2.5", "count": 2}
    assert told["problems"] == [first, second]


def test_text_is_checked_and_what_is_not_a_number_is_missing(server):
    path = "/v1/models/upper:predict"
    assert ask(server, "POST", path, {"instances": ["abc"]})[0] == 200
    status, told, _ = ask(server, "POST", path, {"instances": ["abc", "abcdef"]})
    assert (status, told["problems"][0]["column"], told["problems"][0]["rule"]) == (422, "text", "length")
    nan = json.dumps({"instances": [[1, float("nan")]]}).encode()
    status, told, _ = ask(server, "POST", "/v1/models/scaled:predict", nan)
    assert (status, told["problems"][0]["rule"], told["problems"][0]["column"]) == (422, "missing", "height")


def test_the_page_of_the_interface_tells_of_it(server):
    _, told, _ = ask(server, "GET", "/openapi.json")
    answers = told["paths"]["/v1/models/{name}:predict"]["post"]["responses"]
    assert "422" in answers


def test_a_bundle_carries_its_schema_to_the_server(tmp_path):
    oracle("flatbuffers")
    x = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    schema = px.data.validate.schema((x, np.arange(50) % 2), names=["a", "b", "c"])
    about = px.interchange.About(schema=schema, statistics={"rows": 50})
    px.export(px.Chain(px.Dense(3, 2, key=0)), tmp_path / "net", inputs={"x": px.Spec("batch", 3)}, about=about)
    bundle = px.weights.read_bundle(tmp_path / "net")
    assert bundle.statistics()["rows"] == 50
    servable, notes = opened(bundle.folder, Opening(), "net")
    assert (servable.schema, notes) == (schema, [])
    guard = Guard(servable.schema, ["x"])
    assert guard({"x": x}) == []
    x[9, 1] = 30
    assert [(p.column, p.row, p.rule) for p in guard({"x": x})] == [("b", 9, "range")]
    with pytest.raises(px.OptionError, match=r"a schema of px\.data\.validate, got 3"):
        px.interchange.About(schema=3)


def test_the_quick_look_and_the_close_one_agree():
    rng = np.random.default_rng(0)
    schema = Schema([Column(name=n, kind="number", low=-1, high=i, place=("x", i)) for i, n in enumerate("abc")])
    schema = schema.changed("b", low=None, high=None)
    guard = Guard(schema, ["x"])
    seen = set()
    for _ in range(200):
        x = rng.normal(0, 0.7, (2, 3)).astype(np.float32)
        x[0, rng.integers(3)] = rng.choice([0.0, 0.0, np.nan, np.inf, -1.0])
        quick, close = not guard({"x": x}), schema.check(x).ok
        seen.add(close)
        assert quick == close
    assert seen == {True, False}
    assert not Guard(schema, ["other"])
    mixed = Guard(SCHEMA, ["x", "y"])
    assert [p.column for p in mixed({"x": np.zeros((1, 2)), "y": np.array([1.5])})] == ["kind"]
    assert mixed({"x": np.zeros((1, 2)), "y": np.array([2])}) == []
