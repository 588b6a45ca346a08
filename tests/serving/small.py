"""Small things to serve: ONNX files of one line, servables that tell what they were asked, a server in a thread."""

from __future__ import annotations

import http.client
import json
import threading
from pathlib import Path
from typing import Any

import numpy as np

import phlox as px
from phlox.weights import BundleArray, Signature


def write_onnx(path: Path, factor: float, *, batch: Any = "batch") -> Path:
    """An ONNX file of y = factor · x, x: float32 (batch, 2)."""
    from onnx import TensorProto, helper, save

    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [batch, 2]) for n in "xy")
    k = helper.make_tensor("k", TensorProto.FLOAT, [], [factor])
    graph = helper.make_graph([helper.make_node("Mul", ["x", "k"], ["y"])], "scaled", [x], [y], [k])
    path.parent.mkdir(parents=True, exist_ok=True)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


class Scaled(px.serving.Servable):
    """y = factor · x; it keeps the sizes of its batches, waits where it is told to, and fails for negative numbers."""

    def __init__(self, factor: float = 2.0, width: Any = 2):
        super().__init__(inputs={"x": px.Spec("batch", width)}, outputs={"y": px.Spec("batch", width)})
        self.factor, self.sizes, self.seen = factor, [], []
        self.free, self.entered = threading.Event(), threading.Semaphore(0)
        self.free.set()

    def predict(self, signature, inputs):
        self.sizes.append(len(inputs["x"]))
        self.seen.append(np.array(inputs["x"]))
        self.entered.release()
        assert self.free.wait(20)
        if (inputs["x"] < 0).any():
            raise ArithmeticError("negative")
        return {"y": self.factor * inputs["x"]}


class Upper(px.serving.Servable):
    """Text in capitals, with hooks before and after."""

    def __init__(self):
        super().__init__(inputs={"text": "str"}, outputs={"text": "str", "length": px.Spec("batch", dtype="int32")})

    def preprocess(self, signature, inputs):
        return {"text": np.array([str(x).strip() for x in inputs["text"]], object)}

    def predict(self, signature, inputs):
        return {
            "text": np.array([x.upper() for x in inputs["text"]], object),
            "length": np.array([len(x) for x in inputs["text"]], np.int32),
        }

    def postprocess(self, signature, outputs):
        return {**outputs, "text": np.array([x + "!" for x in outputs["text"]], object)}


class Scores(px.serving.Servable):
    """Scores of three classes for images, and their sum: (batch, 2, 2, 1) in whole numbers."""

    classes = ("a", "b", "c")

    def __init__(self, dtype: str = "uint8"):
        image = BundleArray("image", ("batch", 2, 2, 1), dtype)
        scores, total = BundleArray("scores", ("batch", 3), "float32"), BundleArray("total", ("batch",), "float32")
        super().__init__(signatures={"default": Signature((image,), (scores, total))})

    def predict(self, signature, inputs):
        flat = inputs["image"].reshape(len(inputs["image"]), -1).astype(np.float32)
        return {"scores": flat[:, :3], "total": flat.sum(-1)}


def ask(server, method: str, path: str, body: Any = None, headers: Any = None) -> tuple[int, Any, dict[str, str]]:
    """Status, JSON and headers of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        connection.request(method, path, content, headers or {})
        answer = connection.getresponse()
        text = answer.read()
        told = {k.lower(): v for k, v in answer.getheaders()}
        return (
            answer.status,
            json.loads(text) if told.get("content-type") == "application/json" and text else text,
            told,
        )
    finally:
        connection.close()
