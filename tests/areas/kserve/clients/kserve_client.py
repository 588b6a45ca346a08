"""KServe's own client over both transports: what it was told, as one line of JSON."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import grpc
import httpx
import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig

given = json.loads(sys.argv[1])
x = np.asarray(given["x"], np.float32)


def request(model: str, x: np.ndarray, binary: bool) -> InferRequest:
    one = InferInput("x", list(x.shape), "FP32")
    one.set_data_from_numpy(x, binary_data=binary)
    return InferRequest(model_name=model, infer_inputs=[one])


async def over_http() -> dict[str, Any]:
    address = f"http://127.0.0.1:{given['port']}"
    client = InferenceRESTClient(RESTConfig(protocol="v2", retries=2))
    answers = {
        name: await client.infer(address, request("net", x, binary), model_name="net")
        for name, binary in (("y", True), ("in JSON", False))
    }
    errors = []
    for model, sent in (("no", x), ("net", x[:, :3])):
        try:
            await client.infer(address, request(model, sent, binary=False), model_name=model)
        except httpx.HTTPStatusError as error:
            errors.append(error.response.status_code)
    first = InferenceRESTClient(RESTConfig(protocol="v1", retries=2))
    predictions = await first.infer(address, {"instances": x.tolist()}, model_name="net")
    return {
        **{name: answer.outputs[0].as_numpy().tolist() for name, answer in answers.items()},
        "version 1": predictions["predictions"],
        "live": await client.is_server_live(address),
        "ready": await client.is_server_ready(address),
        "model": await client.is_model_ready(address, "net"),
        "errors": errors,
    }


async def over_grpc() -> dict[str, Any]:
    async with InferenceGRPCClient(f"127.0.0.1:{given['grpc_port']}", retries=2) as client:
        answer = await client.infer(request("net", x, binary=True))
        errors = []
        for model, sent in (("no", x), ("net", x[:, :3])):
            try:
                await client.infer(request(model, sent, binary=True))
            except grpc.RpcError as error:
                errors.append(error.code().name)
        return {
            "y": answer.outputs[0].as_numpy().tolist(),
            "live": await client.is_server_live(),
            "ready": await client.is_server_ready(),
            "model": await client.is_model_ready("net"),
            "errors": errors,
        }


async def main() -> None:
    print(json.dumps({"http": await over_http(), "grpc": await over_grpc()}))


asyncio.run(main())
