"""Ray Serve: two replicas answer as one server does; one is killed under load, and nothing that was asked is lost."""

import http.client
import json
import os
import signal
import socket
import threading
import time
import urllib.request
import warnings
from collections import Counter

import numpy as np
import pytest

import phlox as px

pytestmark = pytest.mark.filterwarnings("ignore")


class Told(px.serving.Servable):
    """Twice what it is given, after a while, and which process says so."""

    def __init__(self):
        outputs = {"y": px.Spec("batch", 2), "process": px.Spec("batch", dtype="int32")}
        super().__init__(inputs={"x": px.Spec("batch", 2)}, outputs=outputs)

    def predict(self, signature, inputs):
        time.sleep(0.02)
        return {"y": 2 * inputs["x"], "process": np.full(len(inputs["x"]), os.getpid(), np.int32)}


def told():
    return {"told": Told()}


def writer():
    """A tiny language model, made in the replica."""
    import tokenizers

    letters = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    library = tokenizers.Tokenizer(tokenizers.models.BPE({c: n for n, c in enumerate(sorted(letters))}, []))
    library.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = tokenizers.decoders.ByteLevel()
    tokenizer = px.data.text.Tokenizer(library, eos_token="<end>")
    config = px.models.LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2
    )
    model = px.models.create(config, key=0)
    return {"tiny": px.serving.LanguageModel(model, tokenizer, slots=2, room=64)}


@pytest.fixture(scope="module")
def machine(cluster):
    """Ray Serve on a free port; gives the address."""
    from ray import serve

    with socket.create_server(("127.0.0.1", 0)) as one:
        port = one.getsockname()[1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        yield f"http://127.0.0.1:{port}"
        serve.shutdown()


def run(application, name, prefix="/"):
    """Run an application, and none beside it."""
    from ray import serve

    for other in serve.status().applications:
        serve.delete(other)
    serve.run(application, name=name, route_prefix=prefix)


def processes(url, asked=40):
    """The processes that answer."""
    with px.serving.Client(url, tries=1) as client:
        x = np.ones((1, 2), np.float32)
        return {int(client.predict("told", {"x": x})["process"][0]) for _ in range(asked)}


def ask(url, method, path, body=None):
    host, _, prefix = url.removeprefix("http://").partition("/")
    connection = http.client.HTTPConnection(host, timeout=60)
    try:
        connection.request(method, (f"/{prefix}" if prefix else "") + path, body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_a_folder_under_a_prefix_answers_all_protocols(machine, tmp_path):
    model = px.Chain(px.Dense(4, 8, px.tanh, key=0), px.Dense(8, 3, key=1))
    (tmp_path / "net").mkdir()
    px.export(model, tmp_path / "net" / "1", inputs={"x": px.Spec("batch", 4)})
    run(px.serving.ray(tmp_path, limits=px.serving.Limits(body=4000)), "net", "/nets")
    url, x = machine + "/nets", np.random.default_rng(0).normal(size=(5, 4)).astype("f")
    with px.serving.Client(url) as client:
        np.testing.assert_allclose(client.predict("net", {"x": x})["output"], model(x), atol=1e-5)
        assert client.ready("net")
        with pytest.raises(
            px.serving.InvalidRequestError, match=r"got 400: net/1 default expects x float32\[batch, 4\]"
        ):
            client.predict("net", {"x": x[:, :3]})
        with pytest.raises(px.serving.UnknownModelError, match="got 404"):
            client.predict("other", {"x": x})
        with pytest.raises(px.serving.ServingError, match="got 501: each replica looks at the folder itself"):
            client.unload("net")
    _, body = ask(url, "POST", "/v1/models/net:predict", json.dumps({"instances": x.tolist()}))
    np.testing.assert_allclose(json.loads(body)["predictions"], model(x), atol=1e-5)
    assert ask(url, "POST", "/v1/models/net:predict", b"[" + b" " * 4000 + b"]")[0] == 413
    assert ask(url, "GET", "/metrics")[1].startswith(b"#")
    assert b"<html" in ask(url, "GET", "/")[1]


def test_one_replica_is_killed_under_load_and_no_request_is_lost(machine, capsys):
    run(px.serving.ray(told, replicas=2), "told")
    before = processes(machine)
    assert len(before) == 2
    answers, failures, over = [], [], threading.Event()

    def client(seed):
        drawn = np.random.default_rng(seed)
        with px.serving.Client(machine, tries=1, seconds=60) as one:
            while not over.is_set():
                x, start = drawn.normal(size=(2, 2)).astype("f"), time.monotonic()
                try:
                    found = one.predict("told", {"x": x})
                    np.testing.assert_array_equal(found["y"], 2 * x)
                    answers.append((start, time.monotonic(), int(found["process"][0])))
                except Exception as error:
                    failures.append(error)

    threads = [threading.Thread(target=client, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    time.sleep(2)
    victim = min(before)
    killed = time.monotonic()
    os.kill(victim, signal.SIGKILL)
    back = None
    while back is None and time.monotonic() < killed + 120:
        time.sleep(0.1)
        if {process for _, end, process in answers if end > killed} - before:
            back = time.monotonic()
    time.sleep(1)
    over.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert back is not None  # another one has taken its place
    assert victim not in {process for start, _, process in answers if start > killed + 1}
    behind = [end - start for start, end, _ in answers if start <= killed < end]
    with capsys.disabled():
        per_process = Counter(process for _, _, process in answers)
        print(
            f"\n{len(answers)} answers of {len(per_process)} processes, none lost; {len(behind)} were on their way, "
            f"the last of them {max(behind, default=0):.2f} s; two replicas again after {back - killed:.1f} s"
        )


def test_texts_come_in_parts_and_are_the_same_as_whole(machine):
    run(px.serving.ray(writer, replicas=2), "tiny")
    asked = {"model": "tiny", "prompt": "To be", "max_tokens": 12, "temperature": 0}
    whole = json.loads(ask(machine, "POST", "/v1/completions", json.dumps(asked))[1])["choices"][0]["text"]
    request = urllib.request.Request(machine + "/v1/completions", json.dumps(asked | {"stream": True}).encode())
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        parts = [json.loads(line[6:]) for line in answer if line.startswith(b"data: {")]
    assert len(parts) > 4
    assert "".join(part["choices"][0]["text"] for part in parts if part["choices"]) == whole
    status, body = ask(machine, "POST", "/v1/completions", json.dumps(asked | {"max_tokens": 1000}))
    assert (status, json.loads(body)["error"]["code"]) == (400, "context_length_exceeded")


def test_replicas_are_as_many_as_are_needed(machine):
    run(px.serving.ray(told, replicas=(1, 3), ongoing=4), "told")
    assert len(processes(machine, 10)) == 1
    over = threading.Event()

    def client():
        with px.serving.Client(machine) as one:
            while not over.is_set():
                one.predict("told", {"x": np.ones((1, 2), "f")})

    threads = [threading.Thread(target=client) for _ in range(12)]
    for thread in threads:
        thread.start()
    end = time.monotonic() + 120
    while len(processes(machine, 20)) < 2 and time.monotonic() < end:
        time.sleep(1)
    over.set()
    for thread in threads:
        thread.join()
    assert time.monotonic() < end
