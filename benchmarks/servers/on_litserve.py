"""An ONNX file behind LitServe, with its batches: ``on_litserve.py FILE PORT``.

LitServe reads the annotation of a request, which so must not be text.
"""

import sys
from typing import Any

import litserve
import numpy as np
import onnxruntime
from fastapi import Request


class Network(litserve.LitAPI):
    """The file in ONNX Runtime; a request holds one row."""

    path = sys.argv[1] if len(sys.argv) > 1 else ""

    def setup(self, device: str) -> None:
        self.session = onnxruntime.InferenceSession(self.path, providers=["CPUExecutionProvider"])

    def decode_request(self, request: Request) -> Any:
        return np.asarray(request["x"], np.float32)

    def batch(self, inputs: Any) -> Any:
        return np.stack(inputs)

    def predict(self, x: Any) -> Any:
        return self.session.run(None, {"x": x})[0]

    def unbatch(self, output: Any) -> Any:
        return list(output)

    def encode_response(self, output: Any) -> Any:
        return {"output": output.tolist()}


if __name__ == "__main__":
    server = litserve.LitServer(Network(max_batch_size=64, batch_timeout=0.001), accelerator="cpu")
    server.run(host="127.0.0.1", port=int(sys.argv[2]), generate_client_file=False)
