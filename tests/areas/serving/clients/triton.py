"""tritonclient over HTTP and gRPC: numbers, metadata, the repository, errors; JSON on the last line."""

import json
import sys

import numpy as np
import tritonclient.grpc
import tritonclient.http

given = json.loads(sys.argv[1])
x = np.float32(given["x"])
told = {}
for kind, module, port in (("http", tritonclient.http, "port"), ("grpc", tritonclient.grpc, "grpc_port")):
    client = module.InferenceServerClient(f"127.0.0.1:{given[port]}")
    one = module.InferInput("x", list(x.shape), "FP32")
    one.set_data_from_numpy(x)
    wrong = module.InferInput("x", [1, 3], "FP32")
    wrong.set_data_from_numpy(np.zeros((1, 3), np.float32))
    found = {"live": client.is_server_live(), "ready": client.is_model_ready("net")}
    found["y"] = client.infer("net", [one], request_id="7").as_numpy("output").tolist()
    asked = module.InferRequestedOutput("output")
    found["asked"] = client.infer("net", [one], model_version="1", outputs=[asked]).as_numpy("output").tolist()
    more = {} if kind == "http" else {"as_json": True}
    metadata = client.get_model_metadata("net", **more)
    found["inputs"] = [[i["name"], i["datatype"], [int(n) for n in i["shape"]]] for i in metadata["inputs"]]
    errors = []
    for name, inputs in (("no", [one]), ("net", [wrong])):
        try:
            client.infer(name, inputs)
            errors.append("no error")
        except tritonclient.utils.InferenceServerException as error:
            errors.append([str(error.status()), error.message()])
    found["errors"] = errors
    client.unload_model("net")
    found["unloaded"] = client.is_model_ready("net")
    client.load_model("net")
    found["loaded"] = client.is_model_ready("net")
    client.close()
    told[kind] = found
print(json.dumps(told))
