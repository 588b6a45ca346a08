"""TensorFlow Serving's PredictionService and ModelService."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from phlox.serving._errors import InvalidRequestError
from phlox.serving.engine._servable import TEXT
from phlox.serving.http._json_arrays import read_array
from phlox.serving.http._kserve import text_or_numbers
from phlox.serving.http._tensorflow import classes_of, features_of, foreign, regressions_of
from phlox.serving.repository._version import State, Version
from phlox.serving.rpc._calls import Call, Handler
from phlox.serving.rpc._config import policies_of
from phlox.serving.rpc._messages import tensorflow
from phlox.serving.rpc._tensor_proto import NUMBERS, read_tensor, write_tensor
from phlox.weights import BundleArray, Signature

_STATES = {State.LOADING: 20, State.AVAILABLE: 30, State.UNLOADING: 40, State.END: 50}
_UNKNOWN_ERROR = 2


async def predict(call: Call, request: Any) -> Any:
    """Outputs for inputs."""
    version = _chosen(call, request.model_spec)
    with version.used():
        signature = version.signature(request.model_spec.signature_name or None)
        where = f"{version} {signature}"
        _check_kinds(request.inputs, version, signature, where)
        most = version.limits.elements
        inputs = {name: text_or_numbers(read_tensor(x, most, where)) for name, x in request.inputs.items()}
        found = await call.answer(version, signature, inputs)
    answer = tensorflow().PredictResponse(model_spec=_spec(version, request.model_spec.signature_name))
    for name in list(request.output_filter) or list(found):
        if name not in found:
            fix = "leave output_filter out for all of them"
            expected = f"outputs among {', '.join(found)}"
            raise InvalidRequestError(expected, got=repr(name)[:100], fix=fix, where=where)
        answer.outputs[name].CopyFrom(write_tensor(found[name]))
    return answer


async def classify(call: Call, request: Any) -> Any:
    """Labels with scores for examples of features."""
    version, outputs, count, where = await _examined(call, request)
    answer = tensorflow().ClassificationResponse(model_spec=_spec(version, request.model_spec.signature_name))
    for row in classes_of(version, outputs, count, where):
        one = answer.result.classifications.add()
        for label, score in row:
            one.classes.add(label=label, score=score)
    return answer


async def regress(call: Call, request: Any) -> Any:
    """A number for each example of features."""
    version, outputs, count, where = await _examined(call, request)
    answer = tensorflow().RegressionResponse(model_spec=_spec(version, request.model_spec.signature_name))
    for value in regressions_of(outputs, count, where):
        answer.result.regressions.add(value=value)
    return answer


async def metadata(call: Call, request: Any) -> Any:
    """The signatures of a version."""
    if odd := [name for name in request.metadata_field if name != "signature_def"]:
        fix = "ask for signature_def"
        raise InvalidRequestError("metadata_field signature_def", got=repr(odd[0])[:100], fix=fix, where="metadata")
    messages = tensorflow()
    answer = messages.GetModelMetadataResponse()
    with _chosen(call, request.model_spec).used() as version:
        told = messages.SignatureDefMap()
        for name, signed in version.servable.signatures.items():
            told.signature_def[foreign(name)].CopyFrom(_signature(signed))
        answer.model_spec.CopyFrom(_spec(version, ""))
    kind = "type.googleapis.com/tensorflow.serving.SignatureDefMap"
    answer.metadata["signature_def"].CopyFrom(messages.Any(type_url=kind, value=told.SerializeToString()))
    return answer


async def status(call: Call, request: Any) -> Any:
    """The states of a model's versions."""
    spec = request.model_spec
    one = spec.HasField("version") or spec.version_label
    found = [_chosen(call, spec)] if one else list(call.repository.find(spec.name).versions.values())
    answer = tensorflow().GetModelStatusResponse()
    for version in sorted(found, key=lambda v: -v.number):
        failed = version.state is State.END and version.error
        told = {"error_code": _UNKNOWN_ERROR if failed else 0, "error_message": version.error if failed else ""}
        answer.model_version_status.add(version=version.number, state=_STATES[version.state], status=told)
    return answer


async def reload(call: Call, request: Any) -> Any:
    """Serve the models that a configuration names, and these alone."""
    await call.repository.configure(policies_of(request.config, call.repository.source))
    return tensorflow().ReloadConfigResponse(status={"error_code": 0})


PREDICTION = "tensorflow.serving.PredictionService"
PREDICTION_METHODS: dict[str, tuple[Handler, str, str]] = {
    "Predict": (predict, "PredictRequest", "PredictResponse"),
    "Classify": (classify, "ClassificationRequest", "ClassificationResponse"),
    "Regress": (regress, "RegressionRequest", "RegressionResponse"),
    "GetModelMetadata": (metadata, "GetModelMetadataRequest", "GetModelMetadataResponse"),
}
MODEL = "tensorflow.serving.ModelService"
MODEL_METHODS: dict[str, tuple[Handler, str, str]] = {
    "GetModelStatus": (status, "GetModelStatusRequest", "GetModelStatusResponse"),
    "HandleReloadConfigRequest": (reload, "ReloadConfigRequest", "ReloadConfigResponse"),
}
"""Handlers with the messages that they take and give."""


def _chosen(call: Call, spec: Any) -> Version:
    return call.choose(spec.name, spec.version.value if spec.HasField("version") else None, spec.version_label or None)


def _spec(version: Version, signature: str) -> Any:
    made = tensorflow().ModelSpec(name=version.name, signature_name=signature)
    made.version.value = version.number
    return made


def _check_kinds(inputs: Mapping[str, Any], version: Version, signature: str, where: str) -> None:
    """Refuse tensors of another dtype than the signature's: nothing is converted."""
    for told in version.servable.signatures[signature].inputs:
        allowed = {NUMBERS.get(told.dtype)} | ({NUMBERS[TEXT]} if told.name in version.servable.encoders else set())
        if told.name in inputs and inputs[told.name].dtype not in allowed:
            got, fix = f"TensorFlow's dtype {inputs[told.name].dtype}", "send it in this dtype"
            raise InvalidRequestError(f"{told}", got=got, fix=fix, where=where)


async def _examined(call: Call, request: Any) -> tuple[Version, Mapping[str, np.ndarray], int, str]:
    """The outputs for tf.Examples."""
    version = _chosen(call, request.model_spec)
    with version.used():
        signature = version.signature(request.model_spec.signature_name or None)
        where, signed = f"{version} {signature}", version.servable.signatures[signature]
        many = request.input.example_list_with_context
        examples = list(request.input.example_list.examples) or list(many.examples)
        told = {"examples": [_features(e) for e in examples], "context": _features(many.context)}
        columns, count = features_of(told, signed, where)
        known = {x.name: x for x in signed.inputs}
        inputs = {
            name: read_array(x, known[name], version.servable, where) if name in known else x
            for name, x in columns.items()
        }
        return version, await call.answer(version, signature, inputs), count, where


def _features(example: Any) -> dict[str, list[Any]]:
    """The features of a tf.Example: text, real and whole numbers in lists."""
    found = {}
    for name, feature in example.features.feature.items():
        text = [_text(x) for x in feature.bytes_list.value]
        found[name] = text or list(feature.float_list.value) or list(feature.int64_list.value)
    return found


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def _signature(signed: Signature) -> Any:
    made = tensorflow().SignatureDef(method_name="tensorflow/serving/predict")
    for which in ("inputs", "outputs"):
        for told in getattr(signed, which):
            getattr(made, which)[told.name].CopyFrom(_info(told))
    return made


def _info(told: BundleArray) -> Any:
    made = tensorflow().TensorInfo(name=told.name, dtype=NUMBERS.get(told.dtype, 0))
    for n in (2,) if told.dtype == "key" else told.shape:
        made.tensor_shape.dim.add(size=n if isinstance(n, int) else -1)
    return made
