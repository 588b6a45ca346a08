"""px.serving.Client: what comes back, what is tried again, what is told."""

import threading
import time

import ml_dtypes
import numpy as np
import pytest

import phlox as px
from kit import oracle
from phlox.serving import Client, Limits, Server
from phlox.weights import BundleArray, Signature
from serving.small import Scaled, Upper

oracle("uvicorn")
oracle("httptools")
oracle("prometheus_client")

DTYPES = ["bool", "float16", "float32", "bfloat16", "int8", "uint8", "int16", "uint16", "int32", "uint32"]


class Echo(px.serving.Servable):
    """What it is given, in every dtype; ``twice`` gives it twice."""

    def __init__(self):
        arrays = tuple(BundleArray(dtype, ("batch", "n"), dtype) for dtype in DTYPES)
        one = (BundleArray("int32", ("batch",), "int32"),)
        super().__init__(signatures={"default": Signature(arrays, arrays), "twice": Signature(one, one)})

    def predict(self, signature, inputs):
        return inputs if signature == "default" else {"int32": 2 * inputs["int32"]}


@pytest.fixture(scope="module")
def server():
    servables = {"m": Scaled(), "upper": Upper(), "echo": Echo()}
    with Server(servables, port=0, token="t0ken", limits=Limits(queue=1, seconds=5)) as one:
        yield one


@pytest.fixture
def client(server):
    one = Client(server.url, token="t0ken", seconds=20)
    yield one
    one.close()


def test_every_dtype_comes_back_as_it_was(client):
    rng = np.random.default_rng(0)
    given = {d: rng.integers(0, 2, (3, 2)).astype(getattr(ml_dtypes, d, d)) for d in DTYPES}
    found = client.predict("echo", given)
    assert list(found) == DTYPES
    for dtype, x in given.items():
        assert found[dtype].dtype == x.dtype
        np.testing.assert_array_equal(found[dtype], x)


def test_text_signatures_versions_and_what_is_there(client):
    found = client.predict("upper", {"text": np.array(["a", "ü"])})
    assert [x.decode() for x in found["text"]] == ["A!", "Ü!"]
    assert client.predict("echo", {"int32": np.int32([4])}, signature="twice")["int32"].tolist() == [8]
    assert client.predict("m", {"x": np.float32([[1, 2]])}, version=1)["y"].tolist() == [[2, 4]]
    assert {(m["name"], m["state"]) for m in client.models()} == {(n, "READY") for n in ("m", "upper", "echo")}
    assert client.metadata("m")["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]
    client.unload("upper")
    assert (client.ready("upper"), client.ready("m")) == (False, True)
    client.load("upper")
    assert client.ready("upper")


@pytest.mark.parametrize(
    ("model", "inputs", "options", "error", "message"),
    [
        ("odd", {}, {}, px.serving.UnknownModelError, "404: server expects a model among"),
        ("a/b", {}, {}, px.serving.UnknownModelError, "404: "),
        ("m", {"x": np.ones((1, 3), np.float32)}, {}, px.serving.InvalidRequestError, r"400: m/1 default expects x"),
        ("m", {"x": np.ones((1, 2))}, {}, px.serving.InvalidRequestError, "x as FP32, got 'FP64'"),
        ("m", {"x": np.ones((1, 2), complex)}, {}, px.serving.InvalidRequestError, "x in a dtype of the protocol"),
        ("m", {"x": -np.ones((1, 2), np.float32)}, {}, px.serving.ModelFailedError, "500: the model failed"),
        ("m", {}, {"version": 7}, px.serving.UnknownModelError, "a version among 1, got 7"),
        ("m", {}, {"label": "a/b"}, px.serving.UnknownModelError, "404: "),
    ],
)
def test_errors_are_those_of_the_server(client, model, inputs, options, error, message):
    with pytest.raises(error, match=message):
        client.predict(model, inputs, **options)


def test_a_wrong_token_and_no_server(server):
    with pytest.raises(px.serving.UnauthorizedError, match="401: server expects a token"):
        Client(server.url, token="other").models()
    nobody = Client("http://127.0.0.1:9", tries=2, seconds=5)
    assert not nobody.ready()
    with pytest.raises(px.serving.UnavailableError, match="a server, got ConnectionRefusedError"):
        nobody.models()
    for url in ("127.0.0.1:80", "ftp://a", "http://"):
        with pytest.raises(px.RangeError, match="an address of http or https"):
            Client(url)
    with pytest.raises(px.RangeError, match="tries and seconds above 0, got 0, 60"):
        Client("http://a", tries=0)


def test_a_full_queue_is_asked_again(server, client, monkeypatch):
    servable = server.settings.source["m"]
    servable.free.clear()
    while servable.entered.acquire(blocking=False):
        pass
    x = {"x": np.float32([[1, 2]])}
    other = Client(server.url, token="t0ken")
    thread = threading.Thread(target=other.predict, args=("m", x))
    thread.start()
    assert servable.entered.acquire(timeout=20)
    with pytest.raises(px.serving.QueueFullError, match="429: m/1 expects at most 1 requests") as error:
        Client(server.url, token="t0ken", tries=1).predict("m", x)
    assert error.value.retry_after == 1
    pauses = []

    def pause(seconds):
        pauses.append(seconds)
        servable.free.set()
        thread.join(20)

    monkeypatch.setattr(time, "sleep", pause)
    assert client.predict("m", x)["y"].tolist() == [[2, 4]]
    assert len(pauses) == 1
    assert 0.8 <= pauses[0] <= 1.2  # what Retry-After says, and a little of chance
