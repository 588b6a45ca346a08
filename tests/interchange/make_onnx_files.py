"""Makes files that ``px.load_onnx`` is tried with: ``python tests/interchange/make_onnx_files.py [part of a name]``.

PyTorch's exporters, ONNX Runtime's quantisers and skl2onnx, which that asks for, wrote them.
Beside them is what PyTorch has for the gradients of one.
"""

from __future__ import annotations

import io
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent / "onnx_files"


# --- PyTorch ------------------------------------------------------------------------------------------------------


def _spread(model: Any) -> Any:
    """Weights and statistics that are none of the usual ones and zeros, in the form of inference."""
    import torch

    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, x in [*model.named_parameters(), *model.named_buffers()]:
            if x.is_floating_point():
                x.add_(0.1 * torch.randn(x.shape, generator=draw))
                if "running_var" in name:
                    x.abs_().add_(0.5)
    return model.eval()


def _resnet() -> tuple[Any, dict[str, Any], dict[str, Any]]:
    import torch
    from transformers import ResNetConfig, ResNetForImageClassification

    torch.manual_seed(0)
    config = ResNetConfig(embedding_size=6, hidden_sizes=[8, 12], depths=[2, 1], layer_type="bottleneck", num_labels=5)
    model = _spread(ResNetForImageClassification(config))
    return model, {"pixel_values": torch.randn(2, 3, 32, 32)}, {"pixel_values": {0: "batch"}}


def _bert() -> tuple[Any, dict[str, Any], dict[str, Any]]:
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=40, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=24, initializer_range=0.3, num_labels=3,
    )  # fmt: skip
    model = _spread(BertForSequenceClassification(config))
    mask = torch.ones(2, 7, dtype=torch.int64)
    mask[1, 5:] = 0
    inputs = {"input_ids": torch.randint(0, 40, (2, 7)), "attention_mask": mask}
    return model, inputs, {name: {0: "batch", 1: "time"} for name in inputs}


def _lstm() -> tuple[Any, dict[str, Any], dict[str, Any]]:
    import torch

    class Tagger(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = torch.nn.Embedding(20, 6)
            self.lstm = torch.nn.LSTM(6, 5, num_layers=2, bidirectional=True, batch_first=True)
            self.gru = torch.nn.GRU(10, 4, batch_first=True)
            self.head = torch.nn.Linear(4, 3)

        def forward(self, tokens: Any) -> Any:
            y, (last, _) = self.lstm(self.table(tokens))
            return self.head(self.gru(y)[0]), last

    torch.manual_seed(0)
    return _spread(Tagger()), {"tokens": torch.randint(0, 20, (2, 7))}, {"tokens": {0: "batch", 1: "time"}}


def _convnet() -> tuple[Any, dict[str, Any], dict[str, Any]]:
    import torch
    from torch import nn

    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3, stride=2, groups=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4),
    )  # fmt: skip
    return _spread(model), {"image": torch.randn(4, 3, 16, 16)}, {"image": {0: "batch"}}


def by_torch(name: str, *, dynamo: bool, whole: bool = False) -> Any:
    """A model through one of PyTorch's two exporters; ``whole`` with normalisation as nodes of its own."""
    import onnx
    import torch

    model, inputs, open_sizes = torch_model(name)
    given = tuple(inputs.values())
    names = {"input_names": list(inputs), "output_names": ["y", "last"] if name == "lstm" else ["y"]}
    if dynamo:
        shapes = tuple(dict.fromkeys(sizes, torch.export.Dim.DYNAMIC) for sizes in open_sizes.values())
        shapes = {"inputs": shapes} if hasattr(model, "inner") else shapes
        made = torch.onnx.export(
            model, given, dynamo=True, dynamic_shapes=shapes, external_data=False, optimize=not whole, **names
        )
        return _bare(made.model_proto)
    file = io.BytesIO()
    torch.onnx.export(model, given, file, dynamo=False, dynamic_axes=open_sizes, opset_version=17, **names)
    return _bare(onnx.ModelProto.FromString(file.getvalue()))


def torch_model(name: str) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """A model with scores alone as its output, its inputs, and which of their sizes are open."""
    import torch

    model, inputs, open_sizes = _MODELS[name]()
    if not hasattr(model, "config"):
        return model, inputs, open_sizes

    class Scores(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, *inputs: Any) -> Any:
            return self.inner(**dict(zip(open_sizes, inputs, strict=True))).logits

    return Scores().eval(), inputs, open_sizes


_MODELS: dict[str, Callable[[], tuple[Any, dict[str, Any], dict[str, Any]]]] = {
    "resnet": _resnet,
    "bert": _bert,
    "lstm": _lstm,
    "convnet": _convnet,
}


def _bare(model: Any) -> Any:
    """Without what says where in whose source a node comes from."""
    for part in (model, model.graph, *model.graph.node, *model.graph.value_info, *model.functions):
        part.ClearField("doc_string")
        part.ClearField("metadata_props")
    for function in model.functions:
        for node in function.node:
            node.ClearField("doc_string")
            node.ClearField("metadata_props")
    del model.graph.value_info[:]
    return model


def gradients() -> dict[str, np.ndarray]:
    """PyTorch's gradients of the weights of the residual network, of a loss of its scores; and the images."""
    import torch

    model, _, _ = torch_model("resnet")
    images = torch.tensor(np.random.default_rng(5).normal(size=(3, 3, 32, 32)).astype("float32"))
    loss = torch.nn.functional.cross_entropy(model(images), torch.tensor([0, 3, 1]))
    loss.backward()
    found = {name: p.grad.numpy() for name, p in model.named_parameters()}
    return {"images": images.numpy(), "loss": loss.detach().numpy(), **found}


# --- quantised by ONNX Runtime --------------------------------------------------------------------------------------


def _quantised(form: str) -> Any:
    """The small network of convolutions in whole numbers."""
    import onnx
    from onnxruntime import quantization as q

    class Images(q.CalibrationDataReader):
        def __init__(self) -> None:
            rng = np.random.default_rng(1)
            self.left = iter([{"image": rng.normal(size=(4, 3, 16, 16)).astype("float32")} for _ in range(3)])

        def get_next(self) -> Any:
            return next(self.left, None)

    with tempfile.TemporaryDirectory() as folder:
        plain, whole = f"{folder}/plain.onnx", f"{folder}/whole.onnx"
        onnx.save(by_torch("convnet", dynamo=False), plain)
        if form == "dynamic":
            q.quantize_dynamic(plain, whole)
        else:
            kind = {"qdq": q.QuantFormat.QDQ, "qoperator": q.QuantFormat.QOperator}[form]
            q.quantize_static(plain, whole, Images(), quant_format=kind, per_channel=form == "qdq")
        return _bare(onnx.load(whole))


# --- scikit-learn -------------------------------------------------------------------------------------------------


def _learned(name: str) -> Any:
    """A pipeline of scikit-learn's, fitted on flowers, through skl2onnx."""
    from skl2onnx import to_onnx

    pipeline, x, options = _PIPELINES[name]()
    return to_onnx(pipeline, x[:1], target_opset={"": 18, "ai.onnx.ml": 3}, options=options)


def _flowers() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_iris

    x, y = load_iris(return_X_y=True)
    return x.astype("float32"), y


def _linear() -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = _flowers()
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(x, y), x, None


def _words() -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import Normalizer

    x, y = _flowers()
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    return make_pipeline(Normalizer(), LogisticRegression(C=100)).fit(x, names), x, {"zipmap": False}


def _forest() -> Any:
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline

    x, y = _flowers()
    holes = np.where(np.random.default_rng(0).random(x.shape) < 0.1, np.float32(np.nan), x)
    model = RandomForestClassifier(5, max_depth=4, random_state=0)
    return make_pipeline(SimpleImputer(), model).fit(holes, y), holes, {"zipmap": False}


def _boosted() -> Any:
    from sklearn.ensemble import GradientBoostingClassifier

    x, y = _flowers()
    return GradientBoostingClassifier(n_estimators=4, random_state=0).fit(x, y == 1), x, {"zipmap": False}


def _regression() -> Any:
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import GradientBoostingRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import KBinsDiscretizer, MinMaxScaler

    x, _ = _flowers()
    columns = ColumnTransformer([
        ("scaled", MinMaxScaler(), [0, 1]),
        ("binned", KBinsDiscretizer(3, encode="onehot-dense", quantile_method="averaged_inverted_cdf"), [2]),
    ])  # fmt: skip
    model = GradientBoostingRegressor(n_estimators=6, random_state=0)
    return make_pipeline(columns, model).fit(x, x[:, 3]), x, None


def _vectors() -> Any:
    from sklearn.svm import SVC

    x, y = _flowers()
    return SVC(C=2.0, gamma=0.3).fit(x, y), x, {"zipmap": False}


def _support() -> Any:
    from sklearn.svm import SVR

    x, _ = _flowers()
    return SVR(gamma=0.3).fit(x[::4, :3], x[::4, 3]), x[:, :3], None


def _perceptron() -> Any:
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = _flowers()
    net = MLPClassifier((8,), max_iter=60, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it has not converged
        return make_pipeline(StandardScaler(), net).fit(x, y), x, {"zipmap": False}


def _neighbours() -> Any:
    from sklearn.neighbors import KNeighborsClassifier

    x, y = _flowers()
    return KNeighborsClassifier(3).fit(x[::3], y[::3]), x, {"zipmap": False}


_PIPELINES: dict[str, Callable[[], Any]] = {
    "linear": _linear,
    "words": _words,
    "forest": _forest,
    "boosted": _boosted,
    "regression": _regression,
    "vectors": _vectors,
    "support": _support,
    "perceptron": _perceptron,
    "neighbours": _neighbours,
}

FILES: Mapping[str, Callable[[], Any]] = {
    "resnet-dynamo": lambda: by_torch("resnet", dynamo=True),
    "resnet-script": lambda: by_torch("resnet", dynamo=False),
    "resnet-whole": lambda: by_torch("resnet", dynamo=True, whole=True),
    "bert-dynamo": lambda: by_torch("bert", dynamo=True),
    "bert-script": lambda: by_torch("bert", dynamo=False),
    "convnet-script": lambda: by_torch("convnet", dynamo=False),
    "lstm-dynamo": lambda: by_torch("lstm", dynamo=True),
    "lstm-script": lambda: by_torch("lstm", dynamo=False),
    **{f"quantised-{form}": (lambda form=form: _quantised(form)) for form in ("qdq", "qoperator", "dynamic")},
    **{f"learned-{name}": (lambda name=name: _learned(name)) for name in _PIPELINES},
}
"""Each file by name, and what makes it."""


def main(parts: list[str]) -> None:
    """Make the files whose names have one of the parts, or all of them."""
    import onnx

    HERE.mkdir(exist_ok=True)
    for name, make in FILES.items():
        if not parts or any(part in name for part in parts):
            path = HERE / f"{name}.onnx"
            onnx.save(make(), path)
            print(f"{path.name}: {path.stat().st_size} bytes")
    if not parts or "gradients" in parts:
        np.savez_compressed(HERE / "resnet-gradients.npz", **gradients())


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(sys.argv[1:])
