"""Networks of the benchmark of inference, and what is written of each for all that run it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _int8_files import write_int8

import phlox as px

BATCHES = (1, 8, 32)
SMALL = {  # by the names of either family
    "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 200,
    "image_size": 64, "hidden_sizes": (32, 64), "depths": (1, 1), "embedding_size": 16,
}  # fmt: skip


class Last(px.Module):
    """What a layer over time says at the end."""

    def __init__(self, layer: Any):
        self.layer = layer

    def __call__(self, x: Any) -> Any:
        return self.layer(x)[:, -1]


@dataclass(frozen=True)
class Network:
    """A network, and what it is given."""

    title: str
    shape: tuple[int, ...]  # of one example
    make: Callable[[], Any] | str  # by hand, or the name of one of px.models
    calls: int  # in a block at batch 1
    task: str | None = None  # of a model of px.models
    narrow: bool = False  # whether it is raced in bfloat16 and in integers too

    @property
    def variant(self) -> str | None:
        """The name in px.models, whose files transformers reads."""
        return self.make if isinstance(self.make, str) else None

    @property
    def of_tokens(self) -> bool:
        """Whether it is given whole numbers."""
        return len(self.shape) == 1 and self.variant is not None

    def steps(self, batch: int) -> int:
        """Calls in a block."""
        return max(1, self.calls // batch)


def mlp() -> Any:
    """So small that a call is mostly the road into the program."""
    return px.Chain(px.Dense(16, 64, px.relu), px.Dense(64, 64, px.relu), px.Dense(64, 10))


def lstm() -> Any:
    return px.Chain(Last(px.LSTM(64, 128)), px.Dense(128, 10))


NETWORKS = {
    "mlp": Network("MLP 16–64–64–10", (16,), mlp, 400),
    "lstm": Network("LSTM 128, 50 steps of 64 features", (50, 64), lstm, 40),
    "resnet50": Network("ResNet-50", (224, 224, 3), "resnet50", 1, narrow=True),
    "vit": Network("ViT-S/16", (224, 224, 3), "vit_small_patch16_224", 1, narrow=True),
    "bert": Network("BERT-base, 128 tokens", (128,), "bert_base_uncased", 1, "fill-mask", narrow=True),
}


def examples(network: Network, count: int, seed: int, small: bool) -> np.ndarray:
    """Numbers, pictures or tokens."""
    rng, shape = np.random.default_rng(seed), network.shape
    if network.of_tokens:
        return rng.integers(0, 200 if small else 30_000, (count, *shape)).astype(np.int32)
    if network.variant and small:
        shape = (SMALL["image_size"], SMALL["image_size"], 3)  # type: ignore[assignment]
    return rng.standard_normal((count, *shape)).astype(np.float32)


def built(network: Network, small: bool) -> Any:
    """The network with fresh weights, the same in every process."""
    with px.seed(0):
        if network.variant is None:
            return network.make()  # type: ignore[operator]
        task = {"task": network.task} if network.task else {}
        config = px.eval_shape(lambda: px.models.create(network.variant, **task)).config
        if small:
            known = {field.name for field in dataclasses.fields(config)}
            config = dataclasses.replace(config, **{k: v for k, v in SMALL.items() if k in known})
        return px.models.create(config)


def write(network: Network, folder: Path, small: bool) -> None:
    """Weights, examples for each batch with what they give, and ONNX files of floats and of integers."""
    model = px.testmode(built(network, small))
    if network.variant:
        px.models.save(model, folder)
    else:
        np.savez(folder / "weights.npz", **{path: np.asarray(array) for path, array in px.paths(model).items()})
    for batch in BATCHES:
        x = examples(network, batch, batch, small)
        np.save(folder / f"{batch}.npy", x)
        np.save(folder / f"{batch}-wanted.npy", np.asarray(px.jit(model)(x)))
    measured = examples(network, 4, 0, small)
    np.save(folder / "measured.npy", measured)
    given = {"x": px.Spec("batch", *measured.shape[1:], dtype=measured.dtype.name)}
    px.export(model, folder / "float32", inputs=given, to=["onnx"])
    if network.narrow:
        write_int8(folder, static=not network.of_tokens)
