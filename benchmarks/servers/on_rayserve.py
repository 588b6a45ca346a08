"""An ONNX file behind Ray Serve, with its batches: ``on_rayserve.py FILE PORT``."""

import os
import sys
import time
from typing import Any

import numpy as np
import onnxruntime
import ray
from ray import serve
from starlette.requests import Request


@serve.deployment(max_ongoing_requests=64)
class Network:
    """The file in ONNX Runtime; a request holds one row."""

    def __init__(self, path: str):
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    @serve.batch(max_batch_size=64, batch_wait_timeout_s=0.001)
    async def rows(self, x: list[np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        """The network on the rows of several requests."""
        return list(self.session.run(None, {"x": np.stack(x)})[0])

    async def __call__(self, request: Request) -> dict[str, Any]:
        told = await request.json()
        y = await self.rows(np.asarray(told["x"], np.float32))
        return {"output": y.tolist()}


def main(path: str, port: int) -> None:
    """Serve until the process is ended."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(num_cpus=2, include_dashboard=False, configure_logging=False)
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(Network.bind(path), route_prefix="/predict")
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
