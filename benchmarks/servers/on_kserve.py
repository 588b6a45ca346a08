"""An ONNX file behind KServe's own server: ``on_kserve.py FILE PORT``."""

from __future__ import annotations

import sys
from typing import Any

import onnxruntime
from kserve import InferOutput, InferResponse, Model, ModelServer


class Network(Model):
    """The file in ONNX Runtime, request by request: KServe batches in a container of its own."""

    def __init__(self, path: str):
        super().__init__("m")
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        self.ready = True

    def predict(self, payload: Any, headers: Any = None, response_headers: Any = None) -> Any:
        [y] = self.session.run(None, {"x": payload.inputs[0].as_numpy()})
        output = InferOutput("output", list(y.shape), "FP32")
        output.set_data_from_numpy(y, binary_data=False)
        return InferResponse(payload.id or "", "m", [output])


if __name__ == "__main__":
    ModelServer(http_port=int(sys.argv[2]), enable_grpc=False, workers=1).start([Network(sys.argv[1])])
