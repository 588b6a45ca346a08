"""The published messages of both protocols as tables: a field's name, its number, its type.

``*`` is repeated, ``{T}`` a map from text. Fields of a oneof stand as they are: on the wire there is no difference.
"""

from __future__ import annotations

_PARAMETERS = "{InferParameter}"

KSERVE: dict[str, str] = {
    "InferParameter": "bool_param 1 bool, int64_param 2 int64, string_param 3 string",
    "InferTensorContents": (
        "bool_contents 1 bool*, int_contents 2 int32*, int64_contents 3 int64*, uint_contents 4 uint32*, "
        "uint64_contents 5 uint64*, fp32_contents 6 float*, fp64_contents 7 double*, bytes_contents 8 bytes*"
    ),
    "ServerLiveRequest": "",
    "ServerLiveResponse": "live 1 bool",
    "ServerReadyRequest": "",
    "ServerReadyResponse": "ready 1 bool",
    "ModelReadyRequest": "name 1 string, version 2 string",
    "ModelReadyResponse": "ready 1 bool",
    "ServerMetadataRequest": "",
    "ServerMetadataResponse": "name 1 string, version 2 string, extensions 3 string*",
    "ModelMetadataRequest": "name 1 string, version 2 string",
    "TensorMetadata": "name 1 string, datatype 2 string, shape 3 int64*",
    "ModelMetadataResponse": (
        "name 1 string, versions 2 string*, platform 3 string, inputs 4 TensorMetadata*, outputs 5 TensorMetadata*"
    ),
    "InferTensor": (
        f"name 1 string, datatype 2 string, shape 3 int64*, parameters 4 {_PARAMETERS}, contents 5 InferTensorContents"
    ),
    "InferRequestedOutputTensor": f"name 1 string, parameters 2 {_PARAMETERS}",
    "ModelInferRequest": (
        f"model_name 1 string, model_version 2 string, id 3 string, parameters 4 {_PARAMETERS}, "
        "inputs 5 InferTensor*, outputs 6 InferRequestedOutputTensor*, raw_input_contents 7 bytes*"
    ),
    "ModelInferResponse": (
        f"model_name 1 string, model_version 2 string, id 3 string, parameters 4 {_PARAMETERS}, "
        "outputs 5 InferTensor*, raw_output_contents 6 bytes*"
    ),
    "RepositoryIndexRequest": "repository_name 1 string, ready 2 bool",
    "ModelIndex": "name 1 string, version 2 string, state 3 string, reason 4 string",
    "RepositoryIndexResponse": "models 1 ModelIndex*",
    "RepositoryModelLoadRequest": "repository_name 1 string, model_name 2 string",
    "RepositoryModelLoadResponse": "",
    "RepositoryModelUnloadRequest": "repository_name 1 string, model_name 2 string",
    "RepositoryModelUnloadResponse": "",
}
"""Package ``inference``; the repository's messages are Triton's."""

TENSORFLOW: dict[str, str] = {
    "Int64Value": "value 1 int64",
    "Any": "type_url 1 string, value 2 bytes",
    "ModelSpec": "name 1 string, version 2 Int64Value, signature_name 3 string, version_label 4 string",
    "Dim": "size 1 int64, name 2 string",
    "TensorShapeProto": "dim 2 Dim*, unknown_rank 3 bool",
    "TensorProto": (
        "dtype 1 int32, tensor_shape 2 TensorShapeProto, version_number 3 int32, tensor_content 4 bytes, "
        "float_val 5 float*, double_val 6 double*, int_val 7 int32*, string_val 8 bytes*, int64_val 10 int64*, "
        "bool_val 11 bool*, half_val 13 int32*, uint32_val 16 uint32*, uint64_val 17 uint64*"
    ),
    "PredictRequest": "model_spec 1 ModelSpec, inputs 2 {TensorProto}, output_filter 3 string*",
    "PredictResponse": "outputs 1 {TensorProto}, model_spec 2 ModelSpec",
    "BytesList": "value 1 bytes*",
    "FloatList": "value 1 float*",
    "Int64List": "value 1 int64*",
    "Feature": "bytes_list 1 BytesList, float_list 2 FloatList, int64_list 3 Int64List",
    "Features": "feature 1 {Feature}",
    "Example": "features 1 Features",
    "ExampleList": "examples 1 Example*",
    "ExampleListWithContext": "examples 1 Example*, context 2 Example",
    "Input": "example_list 1 ExampleList, example_list_with_context 2 ExampleListWithContext",
    "ClassificationRequest": "model_spec 1 ModelSpec, input 2 Input",
    "Class": "label 1 string, score 2 float",
    "Classifications": "classes 1 Class*",
    "ClassificationResult": "classifications 1 Classifications*",
    "ClassificationResponse": "result 1 ClassificationResult, model_spec 2 ModelSpec",
    "RegressionRequest": "model_spec 1 ModelSpec, input 2 Input",
    "Regression": "value 1 float",
    "RegressionResult": "regressions 1 Regression*",
    "RegressionResponse": "result 1 RegressionResult, model_spec 2 ModelSpec",
    "GetModelMetadataRequest": "model_spec 1 ModelSpec, metadata_field 2 string*",
    "GetModelMetadataResponse": "model_spec 1 ModelSpec, metadata 2 {Any}",
    "TensorInfo": "name 1 string, dtype 2 int32, tensor_shape 3 TensorShapeProto",
    "SignatureDef": "inputs 1 {TensorInfo}, outputs 2 {TensorInfo}, method_name 3 string",
    "SignatureDefMap": "signature_def 1 {SignatureDef}",
    "GetModelStatusRequest": "model_spec 1 ModelSpec",
    "StatusProto": "error_code 1 int32, error_message 2 string",
    "Nothing": "",
    "Latest": "num_versions 1 uint32",
    "Specific": "versions 1 int64*",
    "ServableVersionPolicy": "latest 100 Latest, all 101 Nothing, specific 102 Specific",
    "ModelConfig": (
        "name 1 string, base_path 2 string, model_type 3 int32, model_platform 4 string, "
        "model_version_policy 7 ServableVersionPolicy, version_labels 8 {int64}"
    ),
    "ModelConfigList": "config 1 ModelConfig*",
    "ModelServerConfig": "model_config_list 1 ModelConfigList, custom_model_config 2 Any",
    "ReloadConfigRequest": "config 1 ModelServerConfig, metric_names 2 string*",
    "ReloadConfigResponse": "status 1 StatusProto",
    "ModelVersionStatus": "version 1 int64, state 2 int32, status 3 StatusProto",
    "GetModelStatusResponse": "model_version_status 1 ModelVersionStatus*",
}
"""Package ``tensorflow.serving``; enumerations stand as the whole numbers that they are on the wire."""
