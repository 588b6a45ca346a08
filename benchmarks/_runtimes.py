"""What runs the networks of the benchmark of inference, each as its maker recommends it: numbers in, numbers out.

A call takes a NumPy array and gives one, as a program does that has its examples from somewhere.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from _inferring import NETWORKS, Network, built
from _saved_models import Ready, threads
from frameworks import Form

import phlox as px

ROOT = Path(__file__).resolve().parent.parent
OPENVINO = ROOT / ".venv-serve-openvino"
NEAR = {"float32": 1e-5, "bfloat16": 0.05, "int8": 0.5}  # of the largest number, which outputs may differ by
Call = Callable[[np.ndarray], np.ndarray]


def ready(folder: Path, name: str, precision: str, call: Call) -> Ready:
    """A check that a call computes what float32 gives, 1 where it does and else 0; and a step."""
    batch = name.partition("@")[2]
    x = np.load(folder / f"{batch}.npy")

    def check() -> float:
        found, wanted = call(x), np.load(folder / f"{batch}-wanted.npy")
        return float(np.abs(found - wanted).max() <= NEAR[precision] * np.abs(wanted).max())

    return check, lambda: call(x)


def network(name: str) -> Network:
    """Of the name of a race, "resnet50@8"."""
    return NETWORKS[name.partition("@")[0]]


# --- Phlox ----------------------------------------------------------------------------------------------


def with_phlox(form: Form, folder: Path, name: str) -> Ready:
    """A model made ready for inference, computed on the thread that calls, with freed memory kept."""
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    px.keep_freed_memory()
    small = json.loads((folder / "about.json").read_text("utf-8"))["small"]
    of = network(name)
    model = px.testmode(px.models.load(folder) if of.variant else built(of, small))
    model, run = prepared(model, form.kind, folder), px.jit(lambda model, x: model(x))
    return ready(folder, name, form.kind, lambda x: np.asarray(run(model, x), np.float32))


def prepared(model: Any, precision: str, folder: Path) -> Any:
    """The model in a precision: of integers, static ranges for pictures and those of each token for texts."""
    if precision != "int8":
        return px.optimize_for_inference(model, dtype="bfloat16" if precision == "bfloat16" else None, tell=None)
    measured = np.load(folder / "measured.npy")
    if measured.ndim == 2:
        is_table = lambda path, layer: isinstance(layer, px.Embedding)  # noqa: E731
        return px.compress.quantize(px.compress.quantize(model, inputs="dynamic", skip=is_table))
    model = px.fold_batch_norm(model)
    return px.compress.quantize(model, inputs=px.compress.calibrate(model, measured))


# --- ONNX Runtime and OpenVINO: Phlox's own export --------------------------------------------------------


def onnx_file(folder: Path, precision: str) -> Path:
    """Of floats as Phlox writes it, of integers as ONNX Runtime's tools make it from that."""
    return folder / ("int8.onnx" if precision == "int8" else "float32/model.onnx")


def with_onnx(form: Form, folder: Path, name: str) -> Ready:
    """All optimisations of the graph, a thread a core."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads(), 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    path = onnx_file(folder, form.kind)
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    given = session.get_inputs()[0].name
    return ready(folder, name, form.kind, lambda x: np.asarray(session.run(None, {given: x})[0]))


def with_openvino(form: Form, folder: Path, name: str) -> Ready:
    """The hint for latency, a thread a core, a batch of known size, and no copy of what goes in."""
    if importlib.util.find_spec("openvino") is None:
        sys.path.extend(map(str, OPENVINO.glob("lib/python*/site-packages")))  # behind ours
    import openvino

    core, batch = openvino.Core(), int(name.partition("@")[2])
    read = core.read_model(onnx_file(folder, form.kind))
    read.reshape([batch, *np.load(folder / f"{batch}.npy", mmap_mode="r").shape[1:]])
    hints = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads(),
        "INFERENCE_PRECISION_HINT": "bf16" if form.kind == "bfloat16" else "f32",
    }
    compiled = core.compile_model(read, "CPU", hints)
    request = compiled.create_infer_request()

    def call(x: np.ndarray) -> np.ndarray:
        request.infer([x], share_inputs=True)
        return np.array(request.get_output_tensor(0).data)

    return ready(folder, name, form.kind, call)


# --- PyTorch ------------------------------------------------------------------------------------------------


def with_torch(form: Form, folder: Path, name: str) -> Ready:
    """Compiled with weights frozen; texts in integers by the linear layers that it has for them."""
    import torch
    import torch._inductor.config as inductor

    torch.set_num_threads(threads())
    inductor.freezing = True
    model: Any = in_torch(folder, network(name)).eval()
    if form.kind == "int8":
        model = torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear}, dtype=torch.qint8)
    else:
        model = torch.compile(model)

    def call(x: np.ndarray) -> np.ndarray:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=form.kind == "bfloat16"):
            given = torch.from_numpy(x)
            found = model(given.permute(0, 3, 1, 2) if x.ndim == 4 else given)
        return getattr(found, "logits", found).float().numpy()

    return ready(folder, name, form.kind, call)


def in_torch(folder: Path, of: Network) -> Any:
    """The network in PyTorch with the same weights, images' channels last."""
    import torch

    if of.variant:
        import transformers

        transformers.utils.logging.disable_progress_bar()
        named = json.loads((folder / "config.json").read_text("utf-8"))["architectures"][0]
        model = getattr(transformers, named).from_pretrained(folder)
        return model.to(memory_format=torch.channels_last) if len(of.shape) == 3 else model
    with np.load(folder / "weights.npz") as arrays:
        weights = {path: torch.from_numpy(array) for path, array in arrays.items()}
    return lstm_in_torch(weights) if len(of.shape) == 2 else mlp_in_torch(weights)


def linear(weights: Any, path: str) -> Any:
    """The map at a path."""
    import torch

    weight, bias = weights[f"{path}.weight"].T, weights[f"{path}.bias"]
    layer = torch.nn.Linear(weight.shape[1], weight.shape[0])
    layer.load_state_dict({"weight": weight, "bias": bias})
    return layer


def mlp_in_torch(weights: Any) -> Any:
    from torch import nn

    maps = [linear(weights, f"layers.{i}") for i in range(3)]
    return nn.Sequential(maps[0], nn.ReLU(), maps[1], nn.ReLU(), maps[2])


def lstm_in_torch(weights: Any) -> Any:
    import torch
    from torch import nn

    path = "layers.0.layer.cells.0"
    into, state = weights[f"{path}.weight_ih"], weights[f"{path}.weight_hh"]

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(into.shape[0], state.shape[0], batch_first=True)
            bias = weights[f"{path}.bias"]
            given = {"weight_ih_l0": into.T, "weight_hh_l0": state.T, "bias_ih_l0": bias}
            self.lstm.load_state_dict(given | {"bias_hh_l0": torch.zeros_like(bias)})
            self.head = linear(weights, "layers.1")

        def forward(self, x: Any) -> Any:
            return self.head(self.lstm(x)[0][:, -1])

    return Model()


MAKERS = {"phlox": with_phlox, "onnx": with_onnx, "openvino": with_openvino, "torch": with_torch}
