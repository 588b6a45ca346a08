"""An ONNX file behind MLServer, with its adaptive batches: ``on_mlserver.py FILE PORT``."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Network(MLModel):
    """The file in ONNX Runtime."""

    async def load(self) -> bool:
        path = os.environ["BENCH_MODEL"]
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        [y] = self.session.run(None, {"x": NumpyCodec.decode_input(payload.inputs[0])})
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("output", y)])


def main(path: str, port: int) -> None:
    """Write its settings, and become its server."""
    folder = Path(tempfile.mkdtemp(prefix="phlox-bench-"))
    ports = {"http_port": port, "grpc_port": port + 1, "metrics_port": port + 2}
    server = {"host": "127.0.0.1", "debug": False, "parallel_workers": 0, **ports}
    model = {"name": "m", "implementation": "on_mlserver.Network", "max_batch_size": 64, "max_batch_time": 0.001}
    (folder / "settings.json").write_text(json.dumps(server), "utf-8")
    (folder / "model-settings.json").write_text(json.dumps(model), "utf-8")
    here = str(Path(__file__).resolve().parent)
    environment = os.environ | {"BENCH_MODEL": path, "PYTHONPATH": here}
    program = Path(sys.executable).with_name("mlserver")
    os.execve(program, [str(program), "start", str(folder)], environment)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
