"""Both protocols over gRPC, by a client whose messages are its own: answers beside the models' own."""

import io
import struct
import threading

import ml_dtypes
import numpy as np
import pytest

import phlox as px
from kit import oracle
from phlox.serving import Limits, Server
from phlox.serving.rpc._messages import kserve, tensorflow
from phlox.serving.rpc._tensor_proto import read_tensor, write_tensor
from serving.small import Scaled, Scores, Upper, write_onnx

grpc = oracle("grpc")
oracle("uvicorn")
oracle("httptools")
oracle("prometheus_client")

X = np.float32([[1, 2], [3, 4]])


def varint(n):
    found = b""
    while n > 127:
        found += bytes([n & 127 | 128])
        n >>= 7
    return found + bytes([n])


def field(number, value):
    """A field on the wire, as the protocols' pages number it: whole numbers, text, bytes, or fields within it."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def fields(text):
    """What stands on the wire: pairs of a number and a value."""
    found, at = [], 0

    def number():
        nonlocal at
        n = shift = 0
        while True:
            byte = text[at]
            at += 1
            n, shift = n | (byte & 127) << shift, shift + 7
            if byte < 128:
                return n

    while at < len(text):
        key = number()
        if key & 7 == 0:
            found.append((key >> 3, number()))
        elif key & 7 == 5:
            found.append((key >> 3, struct.unpack_from("<f", text, at)[0]))
            at += 4
        else:
            length = number()
            found.append((key >> 3, bytes(text[at : at + length])))
            at += length
    return found


@pytest.fixture(scope="module")
def server():
    servables = {"m": Scaled(), "scores": Scores(), "upper": Upper()}
    limits = Limits(body=20_000, elements=1000)
    with Server(servables, port=0, grpc_port=0, limits=limits) as one:
        yield one


@pytest.fixture(scope="module")
def call(server):
    """Calls a method with bytes, or with a message; gives bytes, or a message of the class that is named."""
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:

        def called(path, request, answer=None, timeout=20, metadata=None):
            raw = channel.unary_unary(path)
            text = request if isinstance(request, bytes) else request.SerializeToString()
            found = raw(text, timeout=timeout, metadata=metadata)
            return found if answer is None else answer.FromString(found)

        yield called


INFER = "/inference.GRPCInferenceService/ModelInfer"
PREDICT = "/tensorflow.serving.PredictionService/Predict"


def refused(call, path, request):
    with pytest.raises(grpc.RpcError) as error:
        call(path, request)
    return error.value.code().name, error.value.details()


def test_kserve_by_the_numbers_of_its_page(call):
    tensor = field(1, "x") + field(2, "FP32") + field(3, varint(2) + varint(2))
    request = field(1, "m") + field(2, "1") + field(3, "seven") + field(5, tensor) + field(7, X.tobytes())
    answer = fields(call(INFER, request))
    assert [(n, v) for n, v in answer if n < 5] == [(1, b"m"), (2, b"1"), (3, b"seven")]
    [(_, output), (_, raw)] = [(n, v) for n, v in answer if n >= 5]
    assert fields(output) == [(1, b"y"), (2, b"FP32"), (3, b"\x02\x02")]
    np.testing.assert_array_equal(np.frombuffer(raw, np.float32).reshape(2, 2), 2 * X)
    contents = field(6, X.tobytes())
    request = field(1, "m") + field(5, tensor + field(5, contents)) + field(6, field(1, "y"))
    assert (6, (2 * X).tobytes()) in fields(call(INFER, request))
    assert fields(call("/inference.GRPCInferenceService/ServerLive", b"")) == [(1, 1)]
    assert fields(call("/inference.GRPCInferenceService/ServerReady", b"")) == [(1, 1)]
    assert fields(call("/inference.GRPCInferenceService/ModelReady", field(1, "m"))) == [(1, 1)]
    told = fields(call("/inference.GRPCInferenceService/ModelMetadata", field(1, "m")))
    assert told[:2] == [(1, b"m"), (2, b"1")]
    minus = varint((1 << 64) - 1)
    assert [fields(v) for n, v in told if n == 4] == [[(1, b"x"), (2, b"FP32"), (3, minus + varint(2))]]


def test_tensorflow_by_the_numbers_of_its_protos(call):
    shape = field(2, field(2, field(1, 2)) + field(2, field(1, 2)))
    spec = field(1, "m") + field(2, field(1, 1)) + field(3, "serving_default")
    content = field(1, 1) + shape + field(4, X.tobytes())
    listed = field(1, 1) + shape + field(5, X.tobytes())
    for tensor in (content, listed):
        answer = fields(call(PREDICT, field(1, spec) + field(2, field(1, "x") + field(2, tensor))))
        [output] = [v for n, v in answer if n == 1]
        [(_, name), (_, y)] = fields(output)
        assert (name, fields(y)[0]) == (b"y", (1, 1))
        assert (4, (2 * X).tobytes()) in fields(y)
        [told] = [v for n, v in answer if n == 2]
        assert fields(told)[:2] == [(1, b"m"), (2, field(1, 1))]
    answer = fields(call("/tensorflow.serving.ModelService/GetModelStatus", field(1, field(1, "m"))))
    assert [fields(v)[:2] for _, v in answer] == [[(1, 1), (2, 30)]]
    request = field(1, field(1, "m")) + field(2, "signature_def")
    [metadata] = [v for n, v in fields(call(PREDICT.replace("Predict", "GetModelMetadata", 2).replace(
        "GetModelMetadataionService", "PredictionService"), request)) if n == 2]  # fmt: skip
    assert b"type.googleapis.com/tensorflow.serving.SignatureDefMap" in metadata
    assert b"serving_default" in metadata


def example(**features):
    made = tensorflow().Example()
    for name, values in features.items():
        kind = "float_list" if isinstance(values[0], float) else "int64_list"
        getattr(made.features.feature[name], kind).value.extend(values)
    return made


def test_classify_and_regress(call):
    messages = tensorflow()
    spec = messages.ModelSpec(name="scores")
    pair = messages.ExampleList(examples=[example(image=[0, 1, 2, 3]), example(image=[4, 5, 6, 7])])
    request = messages.ClassificationRequest(model_spec=spec, input=messages.Input(example_list=pair))
    path = "/tensorflow.serving.PredictionService/"
    found = call(path + "Classify", request, messages.ClassificationResponse)
    rows = [[(c.label, c.score) for c in row.classes] for row in found.result.classifications]
    assert rows == [[("a", 0), ("b", 1), ("c", 2)], [("a", 4), ("b", 5), ("c", 6)]]
    shared = messages.ExampleListWithContext(examples=[example(), example()], context=example(image=[1, 1, 1, 1]))
    request = messages.RegressionRequest(model_spec=spec, input=messages.Input(example_list_with_context=shared))
    found = call(path + "Regress", request, messages.RegressionResponse)
    assert [r.value for r in found.result.regressions] == [4, 4]


def test_text(call):
    messages = kserve()
    tensor = messages.InferTensor(name="text", datatype="BYTES", shape=[2])
    tensor.contents.bytes_contents.extend([b" a", "ü".encode()])
    found = call(INFER, messages.ModelInferRequest(model_name="upper", inputs=[tensor]), messages.ModelInferResponse)
    assert found.raw_output_contents[0] == b"\x02\0\0\0A!\x03\0\0\0" + "Ü!".encode()
    assert [(y.name, y.datatype, list(y.shape)) for y in found.outputs] == [
        ("text", "BYTES", [2]),
        ("length", "INT32", [2]),
    ]
    request = tensorflow().PredictRequest(model_spec=tensorflow().ModelSpec(name="upper"))
    request.inputs["text"].CopyFrom(write_tensor(np.array(["b"], object)))
    found = call(PREDICT, request, tensorflow().PredictResponse)
    assert list(found.outputs["text"].string_val) == [b"B!"]


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16", "bool", "int8", "uint8", "int16",
                                   "uint16", "int32", "uint32", "int64", "uint64"])  # fmt: skip
def test_tensors_as_tensorboard_reads_and_writes_them(dtype):
    util = oracle("tensorboard.util.tensor_util")
    pb2 = oracle("tensorboard.compat.proto.tensor_pb2")
    x = np.array([[0, 1, 1], [1, 0, 1]]).astype(getattr(ml_dtypes, dtype, dtype))
    ours = pb2.TensorProto.FromString(write_tensor(x).SerializeToString())
    if dtype not in ("bfloat16", "uint16", "uint32", "uint64"):  # it has no names for these
        np.testing.assert_array_equal(util.make_ndarray(ours), x)
        theirs = util.make_tensor_proto(x).SerializeToString()
        found = read_tensor(tensorflow().TensorProto.FromString(theirs), 100, "")
        assert found.dtype == x.dtype
        np.testing.assert_array_equal(found, x)
    again = read_tensor(write_tensor(x), 100, "")
    assert again.dtype == x.dtype
    np.testing.assert_array_equal(again, x)


def test_values_that_are_left_out_are_the_last_one_again():
    made = tensorflow().TensorProto(dtype=3, int_val=[4, 7])
    made.tensor_shape.dim.add(size=5)
    assert read_tensor(made, 100, "").tolist() == [4, 7, 7, 7, 7]
    half = tensorflow().TensorProto(dtype=19, half_val=[0x3C00])
    assert read_tensor(half, 100, "").tolist() == 1.0


def infer(*, name="m", version="", x="x", datatype="FP32", shape=(2, 2), raw=None, **more):
    messages = kserve()
    tensor = messages.InferTensor(name=x, datatype=datatype, shape=shape)
    raw = [X.tobytes()] if raw is None else raw
    return messages.ModelInferRequest(
        model_name=name, model_version=version, inputs=[tensor], raw_input_contents=raw, **more
    )


def predict(*, x="x", dtype=1, sizes=(2, 2), content=None, **spec):
    messages = tensorflow()
    made = messages.PredictRequest(model_spec=messages.ModelSpec(**{"name": "m", **spec}))
    made.inputs[x].dtype = dtype
    made.inputs[x].tensor_content = X.tobytes() if content is None else content
    for n in sizes:
        made.inputs[x].tensor_shape.dim.add(size=n)
    return made


WRONG = [
    (INFER, lambda: infer(name="odd"), "NOT_FOUND", "a model among m, scores, upper, got 'odd'"),
    (INFER, lambda: infer(version="9"), "NOT_FOUND", "a version among 1, got 9"),
    (INFER, lambda: infer(version="x"), "NOT_FOUND", "a number for the version, got 'x'"),
    (INFER, lambda: infer(x="z"), "INVALID_ARGUMENT", "inputs x float32[batch, 2], got 'z'"),
    (INFER, lambda: infer(datatype="FP64"), "INVALID_ARGUMENT", "x as FP32, got 'FP64'"),
    (INFER, lambda: infer(shape=(2, 3)), "INVALID_ARGUMENT", "24 bytes for FP32[2, 3], got 16"),
    (INFER, lambda: infer(shape=(-2, 2)), "INVALID_ARGUMENT", "the shape of x, got [-2, 2]"),
    (INFER, lambda: infer(shape=(4, 1)), "INVALID_ARGUMENT", "x float32[batch, 2], got float32[4, 1]"),
    (INFER, lambda: infer(raw=[b"", b""]), "INVALID_ARGUMENT", "bytes for 1 inputs, got for 2"),
    (INFER, lambda: infer(raw=[]), "INVALID_ARGUMENT", "4 values of FP32 for x, got 0"),
    (INFER, lambda: infer(outputs=[kserve().InferRequestedOutputTensor(name="q")]), "INVALID_ARGUMENT", "among y"),
    (INFER, lambda: infer(raw=[(-X).tobytes()]), "INTERNAL", "the model failed for this request"),
    (INFER, lambda: infer(raw=[b"x" * 30_000]), "RESOURCE_EXHAUSTED", ""),
    (
        INFER,
        lambda: b"\xff\xff",
        "INVALID_ARGUMENT",
        "gRPC expects the message inference.ModelInferRequest, got other bytes",
    ),
    (PREDICT, lambda: predict(name="odd"), "NOT_FOUND", "a model among"),
    (PREDICT, lambda: predict(version_label="odd"), "NOT_FOUND", "a label among none, got 'odd'"),
    (PREDICT, lambda: predict(signature_name="odd"), "NOT_FOUND", "a signature among default, got 'odd'"),
    (PREDICT, lambda: predict(x="z"), "INVALID_ARGUMENT", "inputs x float32[batch, 2]"),
    (PREDICT, lambda: predict(dtype=2), "INVALID_ARGUMENT", "x float32[batch, 2], got TensorFlow's dtype 2"),
    (PREDICT, lambda: predict(sizes=(3, 2)), "INVALID_ARGUMENT", "6 values for float32[3, 2], got 4"),
    (PREDICT, lambda: predict(sizes=(-1, 2)), "INVALID_ARGUMENT", "a tensor of known dtype and shape"),
    (PREDICT, lambda: predict(sizes=(1 << 40, 2)), "INVALID_ARGUMENT", "a tensor of at most 1000 elements"),
    (PREDICT, lambda: predict(content=b"abc"), "INVALID_ARGUMENT", "4 values for float32[2, 2], got 0"),
]


@pytest.mark.parametrize(("path", "request_of", "code", "message"), WRONG, ids=[str(i) for i in range(len(WRONG))])
def test_wrong_calls_are_told_what_is_expected(call, path, request_of, code, message):
    found, details = refused(call, path, request_of())
    assert (found, message in details) == (code, True), details


def test_unloaded_until_loaded_and_the_index(call):
    messages, path = kserve(), "/inference.GRPCInferenceService/Repository"
    call(path + "ModelUnload", messages.RepositoryModelUnloadRequest(model_name="upper"))
    found = call(path + "Index", messages.RepositoryIndexRequest(ready=True), messages.RepositoryIndexResponse)
    assert {m.name for m in found.models} == {"m", "scores"}
    assert refused(call, INFER, infer(name="upper"))[0] == "UNAVAILABLE"
    ready = "/inference.GRPCInferenceService/ModelReady"
    assert call(ready, field(1, "upper")) == b""  # false is not on the wire
    assert refused(call, ready, field(1, "odd"))[0] == "NOT_FOUND"
    call(path + "ModelLoad", messages.RepositoryModelLoadRequest(model_name="upper"))
    found = call(path + "Index", messages.RepositoryIndexRequest(), messages.RepositoryIndexResponse)
    assert {(m.name, m.state) for m in found.models} == {(n, "READY") for n in ("m", "scores", "upper")}


def test_late_left_and_drained():
    servable = Scaled()
    journal = io.StringIO()
    with Server({"m": servable}, port=0, grpc_port=0, journal=journal) as server:
        channel = grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}")
        ask = channel.unary_unary(INFER)
        servable.free.clear()
        text = infer().SerializeToString()
        first = ask.future(text, timeout=20)
        assert servable.entered.acquire(timeout=20)
        with pytest.raises(grpc.RpcError) as error:
            ask(infer(raw=[(7 * X).tobytes()]).SerializeToString(), timeout=0.1)
        assert error.value.code().name == "DEADLINE_EXCEEDED"
        threading.Timer(0.2, servable.free.set).start()
        server.stop()
        assert (6, (2 * X).tobytes()) in fields(first.result())
        channel.close()
    assert not any((x == 7).any() for x in servable.seen)
    assert f'"grpc": "127.0.0.1:{server.grpc_port}"' in journal.getvalue()


def test_without_its_token_nothing_but_health_is_told():
    with Server({"m": Scaled()}, port=0, grpc_port=0, token="s3cret") as server:
        channel = grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}")
        with channel:
            health = channel.unary_unary("/inference.GRPCInferenceService/ServerReady")
            assert fields(health(b"", timeout=20)) == [(1, 1)]
            ask = channel.unary_unary(INFER)
            text = infer().SerializeToString()
            for metadata in (None, [("authorization", "Bearer s3cre")], [("authorization", "Basic s3cret")]):
                with pytest.raises(grpc.RpcError) as error:
                    ask(text, timeout=20, metadata=metadata)
                assert error.value.code().name == "UNAUTHENTICATED"
            found = ask(text, timeout=20, metadata=[("authorization", "Bearer s3cret")])
            assert (6, (2 * X).tobytes()) in fields(found)


def test_a_port_that_is_taken(server):
    with (
        pytest.raises(px.RangeError, match=rf"127.0.0.1:{server.grpc_port} to be free"),
        Server({"m": Scaled()}, port=0, grpc_port=server.grpc_port),
    ):
        pass


def test_a_configuration_names_models_of_the_folder_and_no_other_file(tmp_path):
    oracle("onnxruntime")
    for name in ("m", "n"):
        for number in (1, 2):
            write_onnx(tmp_path / name / str(number) / "model.onnx", float(number))
    path, load = "/tensorflow.serving.ModelService/HandleReloadConfigRequest", "/inference.GRPCInferenceService/"

    def configuration(text):
        """A ReloadConfigRequest by the numbers of its proto: config 1, model_config_list 1, config 1."""
        return field(1, field(1, b"".join(field(1, one) for one in text)))

    specific = field(7, field(102, field(1, 1) + field(1, 2)))  # versions 1 and 2
    label = field(8, field(1, "old") + field(2, 1))
    elsewhere = tmp_path.parent
    wrong = [
        (b"", "a list of models, got none"),
        (configuration([field(1, "m"), field(1, "m")]), "models by name, got 'm'"),
        (configuration([b""]), "models by name, got one without"),
        (configuration([field(1, "m") + field(2, str(elsewhere))]), "the folder of m, got"),
        (configuration([field(1, "m") + field(2, f"{tmp_path}/m/../../secret")]), "the folder of m, got"),
        (configuration([field(1, "m") + field(2, "\0")]), "the folder of m, got"),
        (configuration([field(1, "m") + field(7, field(100, field(1, 2)))]), "num_versions 1, got 2"),
        (configuration([field(1, "m") + field(7, field(102, field(1, 3)))]), "versions of m among 1, 2, got 3"),
        (configuration([field(1, "m") + field(8, field(1, "") + field(2, 1))]), "labels as"),
        (configuration([field(1, "odd")]), "models among m, n, got 'odd'"),
    ]
    with (
        Server(tmp_path, port=0, grpc_port=0) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel,
    ):

        def index():
            found = channel.unary_unary(load + "RepositoryIndex")(field(2, 1), timeout=20)
            return sorted((dict(fields(m))[1], dict(fields(m))[2]) for _, m in fields(found))

        def answers(version):
            text = infer(version=version).SerializeToString()
            return np.frombuffer(dict(fields(channel.unary_unary(load + "ModelInfer")(text, timeout=20)))[6], "f4")

        reload = channel.unary_unary(path)
        before = index()
        assert before == [(b"m", b"2"), (b"n", b"2")]
        for request, message in wrong:
            with pytest.raises(grpc.RpcError) as error:
                reload(request, timeout=20)
            assert error.value.code().name in ("INVALID_ARGUMENT", "NOT_FOUND")
            assert message in error.value.details()
            assert index() == before
        assert reload(configuration([field(1, "m") + field(2, f"{tmp_path}/m") + specific + label]), timeout=20) == (
            field(1, b"")  # a status of nothing: all is well
        )
        assert index() == [(b"m", b"1"), (b"m", b"2")]
        np.testing.assert_array_equal(answers("1"), X.reshape(-1))
        np.testing.assert_array_equal(answers("2"), 2 * X.reshape(-1))
