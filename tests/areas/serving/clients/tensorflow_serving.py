"""tensorflow-serving-api's stubs: numbers, metadata, status, examples, errors; JSON on the last line."""

import sys

sys.path.pop(0)  # this file has the package's name

import json

import grpc
import numpy as np
from tensorflow.core.framework import tensor_pb2, tensor_shape_pb2, types_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

given = json.loads(sys.argv[1])
x = np.float32(given["x"])
channel = grpc.insecure_channel(f"127.0.0.1:{given['grpc_port']}")
prediction = prediction_service_pb2_grpc.PredictionServiceStub(channel)
models = model_service_pb2_grpc.ModelServiceStub(channel)


def request(name, rows):
    made = predict_pb2.PredictRequest()
    made.model_spec.name = name
    shape = tensor_shape_pb2.TensorShapeProto(dim=[tensor_shape_pb2.TensorShapeProto.Dim(size=n) for n in rows.shape])
    tensor = tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, tensor_shape=shape, tensor_content=rows.tobytes())
    made.inputs["x"].CopyFrom(tensor)
    return made


def numbers(tensor):
    shape = [dim.size for dim in tensor.tensor_shape.dim]
    flat = np.frombuffer(tensor.tensor_content, np.float32) if tensor.tensor_content else np.float32(tensor.float_val)
    return flat.reshape(shape).tolist()


def code(call, *arguments):
    try:
        call(*arguments, timeout=60)
    except grpc.RpcError as error:
        return [error.code().name, error.details()]
    return ["OK", ""]


answer = prediction.Predict(request("net", x), timeout=60)
status = models.GetModelStatus(get_model_status_pb2.GetModelStatusRequest(model_spec={"name": "net"}), timeout=60)
asked = get_model_metadata_pb2.GetModelMetadataRequest(model_spec={"name": "net"}, metadata_field=["signature_def"])
packed = prediction.GetModelMetadata(asked, timeout=60).metadata["signature_def"]
signatures = get_model_metadata_pb2.SignatureDefMap()
told = {"unpacked": packed.Unpack(signatures)}
signature = signatures.signature_def["serving_default"]
config = model_management_pb2.ReloadConfigRequest()
config.config.model_config_list.config.add(name="net", model_platform="tensorflow")
told |= {
    "y": numbers(answer.outputs["output"]),
    "version": answer.model_spec.version.value,
    "states": [[one.version, one.state] for one in status.model_version_status],
    "inputs": [[n, i.dtype, [dim.size for dim in i.tensor_shape.dim]] for n, i in signature.inputs.items()],
    "method": signature.method_name,
    "errors": [code(prediction.Predict, request("no", x)), code(prediction.Predict, request("net", x[:, :3]))],
    "reloaded": code(models.HandleReloadConfigRequest, config),
}
print(json.dumps(told))
