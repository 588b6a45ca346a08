"""The registry of layers: one row each, and one contract suite (``nn/test_contract.py``) that runs through all.

A new layer is a new ``Case`` in ``CASES``. What only some layers have (a PyTorch twin, extra leading axes, an
input of the wrong shape) is left at its default where a layer has none.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import phlox as px

Arrays = tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Wrong:
    """An input that the layer refuses: the error names this path, layer and what came."""

    inputs: Arrays
    text: str  # what follows the root's name: " Dense(3 → 2) expects (..., 3), got float32[4, 5]"


@dataclass(frozen=True)
class Case:
    """One layer, how to build it, and what the contract may ask of it."""

    name: str
    build: Callable[[Any], px.Module]
    """A typed key → the layer."""
    inputs: Arrays
    """What it is called with: float32 arrays, batch first, or integers."""
    form: str | tuple[str, ...]
    """Text that its repr contains: the constructor call as its user writes it, or pieces of it."""
    twin: Callable[[Any, Mapping[str, Any], Any, bool], Any] | None = None
    """``twin(torch, p, x, train)``: the same function on torch tensors; ``p`` is arrays by path."""
    leading: bool = False
    """Extra leading axes are batch axes: ``layer(x[None])[0] == layer(x)``."""
    rows: bool = True
    """Every row of the batch is computed alone, in inference: what ``jax.vmap`` may check."""
    draws: bool = False
    """It draws random numbers in training."""
    moves: bool = False
    """It moves State in training."""
    wrong: Wrong | None = None
    low: bool = True
    """It computes in bfloat16 and float16."""
    slope: bool = True
    """Its gradient is the slope of its value; False where a layer stops the gradient on purpose."""
    pickles: bool = True
    """Python's pickle takes it; False where it holds a function that cannot be pickled, as JAX's compiled ones."""

    def __repr__(self) -> str:
        return self.name


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    """Standard normal float32 numbers, the same at every run."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def keys(key: Any, n: int = 2) -> list[Any]:
    """Several keys of one."""
    return list(jax.random.split(key, n))


def spread(model: px.Module) -> px.Module:
    """Move constant parameters (zeros, ones) and statistics off their start, so that none can hide."""
    moved: dict[str, Any] = {}
    for i, (path, value) in enumerate(px.state_dict(model).items()):
        if jnp.issubdtype(value.dtype, jnp.floating):
            noise = np.float32(0.3) * normal(*value.shape, seed=100 + i)
            # in NumPy, as JAX would compile a sum for each shape
            moved[path] = jnp.asarray(np.asarray(value) + (np.abs(noise) if path.endswith("var") else noise))
    px.load_state_dict(model, moved, strict=False)
    return model


# --- twins in PyTorch -----------------------------------------------------------------------------


def dense_twin(torch: Any, p: Mapping[str, Any], x: Any, train: bool) -> Any:
    del train
    return torch.nn.functional.linear(x, p["weight"].T, p.get("bias"))


def relu_dense_twin(torch: Any, p: Mapping[str, Any], x: Any, train: bool) -> Any:
    return torch.relu(dense_twin(torch, p, x, train))


def channels_first(x: Any) -> Any:
    return x.movedim(-1, 1)


def channels_last(x: Any) -> Any:
    return x.movedim(1, -1)


def conv_twin(**options: Any) -> Callable[..., Any]:
    """``torch.nn.functional.conv{n}d`` with our layouts: (*kernel, in / groups, out) and channels last."""

    def twin(torch: Any, p: Mapping[str, Any], x: Any, train: bool) -> Any:
        del train
        rank = p["weight"].ndim - 2
        conv = [torch.nn.functional.conv1d, torch.nn.functional.conv2d, torch.nn.functional.conv3d][rank - 1]
        weight = p["weight"].permute(rank + 1, rank, *range(rank))
        return channels_last(conv(channels_first(x), weight, p.get("bias"), **options))

    return twin


def batch_norm_twin(torch: Any, p: Mapping[str, Any], x: Any, train: bool) -> Any:
    y = torch.nn.functional.batch_norm(
        channels_first(x), p["mean"].clone(), p["var"].clone(), p.get("scale"), p.get("bias"), training=train
    )
    return channels_last(y)


def layer_norm_twin(torch: Any, p: Mapping[str, Any], x: Any, train: bool) -> Any:
    del train
    return torch.nn.functional.layer_norm(x, p["scale"].shape, p["scale"], p["bias"])


def pool_twin(kind: str, window: Any, **options: Any) -> Callable[..., Any]:
    """``torch.nn.functional.{max,avg}_pool{n}d`` on channels-last inputs."""

    def twin(torch: Any, p: Mapping[str, Any], x: Any, train: bool) -> Any:
        del p, train
        pool = getattr(torch.nn.functional, f"{kind}_pool{x.ndim - 2}d")
        return channels_last(pool(channels_first(x), window, **options))

    return twin


def embedding_twin(torch: Any, p: Mapping[str, Any], x: Any, train: bool) -> Any:
    del train
    return torch.nn.functional.embedding(x, p["weight"])


def mlp_twin(torch: Any, p: Mapping[str, Any], x: Any, train: bool) -> Any:
    del train
    hidden = torch.tanh(x @ p["layers.0.weight"] + p["layers.0.bias"])
    return hidden @ p["layers.2.weight"] + p["layers.2.bias"]


def tied_twin(torch: Any, p: Mapping[str, Any], x: Any, train: bool) -> Any:
    del train
    step = lambda h: torch.tanh(h @ p["layers.0.weight"] + p["layers.0.bias"])  # noqa: E731
    return step(step(x))


def norm_net_twin(torch: Any, p: Mapping[str, Any], x: Any, train: bool) -> Any:
    hidden = x @ p["layers.inner.weight"] + p["layers.inner.bias"]
    norm = {k: p[f"layers.norm.{k}"] for k in ("scale", "bias", "mean", "var")}
    return torch.relu(batch_norm_twin(torch, norm, hidden, train))


def parallel_twin(torch: Any, p: Mapping[str, Any], x: Any, train: bool) -> Any:
    del train
    return (x @ p["layers.0.weight"] + p["layers.0.bias"]) * torch.tanh(x @ p["layers.1.weight"])


def skip_twin(torch: Any, p: Mapping[str, Any], x: Any, train: bool) -> Any:
    del train
    return torch.relu(x @ p["layer.weight"] + p["layer.bias"]) - x


# --- rows -----------------------------------------------------------------------------------------


def _tied(key: Any) -> px.Module:
    layer = px.Dense(3, 3, px.tanh, key=key)
    return px.Chain(layer, layer)


X = normal(4, 3)
IMAGE = normal(2, 6, 5, 4)
INDICES = np.array([[1, 5, 0], [2, 2, 6]], np.int32)

CASES: list[Case] = [
    Case(
        "Dense",
        lambda key: px.Dense(3, 2, key=key),
        (X,),
        "Dense(3, 2)",
        dense_twin,
        leading=True,
        wrong=Wrong((normal(4, 5),), " Dense(3 → 2) expects (..., 3), got float32[4, 5]"),
    ),
    Case("Dense-relu", lambda key: px.Dense(3, 2, px.relu, key=key), (X,), "Dense(3, 2, relu)", relu_dense_twin, True),
    Case(
        "Dense-no-bias",
        lambda key: px.Dense(3, 2, bias=False, key=key),
        (X,),
        "Dense(3, 2, bias=False)",
        dense_twin,
        leading=True,
    ),
    Case(
        "Conv1d",
        lambda key: px.Conv(3, 4, 6, stride=2, padding=1, dilation=2, groups=2, key=key),
        (normal(2, 9, 4),),
        "Conv(3, 4, 6, stride=2, padding=1, dilation=2, groups=2)",
        conv_twin(stride=2, padding=1, dilation=2, groups=2),
        wrong=Wrong((normal(2, 9, 3),), " Conv((3,), 4 → 6) expects (batch, time, 4), got float32[2, 9, 3]"),
    ),
    Case(
        "Conv2d",
        lambda key: px.Conv((3, 2), 4, 5, px.tanh, padding=(1, 0), key=key),
        (IMAGE,),
        "Conv((3, 2), 4, 5, tanh",
        lambda torch, p, x, train: torch.tanh(conv_twin(padding=(1, 0))(torch, p, x, train)),
        wrong=Wrong((IMAGE[0],), " Conv((3, 2), 4 → 5, tanh) expects (batch, height, width, 4), got float32[6, 5, 4]"),
    ),
    Case(
        "Conv3d",
        lambda key: px.Conv((2, 2, 2), 2, 3, bias=False, key=key),
        (normal(2, 3, 4, 3, 2),),
        "Conv((2, 2, 2), 2, 3",
        conv_twin(),
    ),
    Case(
        "BatchNorm",
        lambda key: px.BatchNorm(3),
        (X,),
        "BatchNorm(3)",
        batch_norm_twin,
        moves=True,
        wrong=Wrong((normal(4, 5),), " BatchNorm(3) expects (batch, ..., 3), got float32[4, 5]"),
    ),
    Case("BatchNorm-image", lambda key: px.BatchNorm(4), (IMAGE,), "BatchNorm(4)", batch_norm_twin, moves=True),
    Case(
        "BatchNorm-plain",
        lambda key: px.BatchNorm(3, px.relu, affine=False),
        (X,),
        "BatchNorm(3, relu, affine=False)",
        lambda torch, p, x, train: torch.relu(batch_norm_twin(torch, p, x, train)),
        moves=True,
    ),
    Case(
        "LayerNorm",
        lambda key: px.LayerNorm(3),
        (X,),
        "LayerNorm(",
        layer_norm_twin,
        leading=True,
        wrong=Wrong((normal(4, 5),), " LayerNorm(3) expects (..., 3), got float32[4, 5]"),
    ),
    Case("LayerNorm-2", lambda key: px.LayerNorm((5, 4)), (IMAGE,), "LayerNorm((5, 4))", layer_norm_twin, leading=True),
    Case("Dropout", lambda key: px.Dropout(0.3, key=key), (X,), "Dropout(0.3)", leading=True, draws=True),
    Case(
        "Dropout-axis",
        lambda key: px.Dropout(0.4, axis=(0, 3), key=key),
        (IMAGE,),
        "Dropout(0.4, axis=(0, 3))",
        draws=True,
    ),
    Case(
        "MaxPool",
        lambda key: px.MaxPool((2, 3), stride=2, padding=1),
        (IMAGE,),
        "MaxPool((2, 3), stride=(2, 2), padding=1)",
        pool_twin("max", (2, 3), stride=2, padding=1),
        wrong=Wrong((IMAGE[0, 0],), " MaxPool((2, 3)) expects "),
    ),
    Case("MaxPool1d", lambda key: px.MaxPool(2), (normal(2, 6, 3),), "MaxPool(2)", pool_twin("max", 2)),
    Case("MeanPool", lambda key: px.MeanPool((2, 2)), (IMAGE,), "MeanPool((2, 2)", pool_twin("avg", 2)),
    Case(
        "MeanPool-padded",
        lambda key: px.MeanPool((3, 3), stride=(1, 2), padding=1),
        (IMAGE,),
        "MeanPool((3, 3), stride=(1, 2), padding=1)",
        pool_twin("avg", 3, stride=(1, 2), padding=1),
    ),
    Case(
        "GlobalMeanPool",
        lambda key: px.GlobalMeanPool(),
        (IMAGE,),
        "GlobalMeanPool()",
        lambda torch, p, x, train: x.mean((1, 2), keepdim=True),
        wrong=Wrong((X[0],), " GlobalMeanPool"),
    ),
    Case("Embedding", lambda key: px.Embedding(7, 3, key=key), (INDICES,), "Embedding(7, 3)", embedding_twin, True),
    Case(
        "flatten",
        lambda key: px.Chain(px.flatten, px.Dense(12, 2, key=key)),
        (normal(2, 3, 4),),
        "flatten",
        lambda torch, p, x, train: x.flatten(1) @ p["layers.1.weight"] + p["layers.1.bias"],
        wrong=Wrong((normal(2, 3, 5),), ".layers[1] Dense(12 → 2) expects (..., 12), got float32[2, 15]"),
    ),
    Case(
        "Chain",
        lambda key: px.Chain(px.Dense(3, 5, key=keys(key)[0]), px.tanh, px.Dense(5, 2, key=keys(key)[1])),
        (X,),
        ("Chain(", "Dense(3, 5)", "tanh", "Dense(5, 2)"),
        mlp_twin,
        leading=True,
        wrong=Wrong((normal(4, 5),), ".layers[0] Dense(3 → 5) expects (..., 3), got float32[4, 5]"),
    ),
    Case(
        "Chain-named",
        lambda key: px.Chain(inner=px.Dense(3, 4, key=key), norm=px.BatchNorm(4, px.relu)),
        (X,),
        "norm=BatchNorm(4, relu)",
        norm_net_twin,
        moves=True,
        wrong=Wrong((normal(4, 5),), ".layers.inner Dense(3 → 4) expects (..., 3), got float32[4, 5]"),
    ),
    Case("Chain-tied", _tied, (X,), "shared with", tied_twin, leading=True),
    Case(
        "Chain-deep",
        lambda key: px.Chain(
            px.Dense(3, 4, key=keys(key)[0]),
            px.Chain(px.BatchNorm(4), px.Dropout(0.5, key=keys(key)[1])),
            px.SkipConnection(px.Dense(4, 4, px.gelu, key=key), operator.add),
        ),
        (X,),
        "Dropout(0.5)",
        draws=True,
        moves=True,
    ),
    Case(
        "Parallel",
        lambda key: px.Parallel(
            operator.mul, px.Dense(3, 2, key=keys(key)[0]), px.Dense(3, 2, px.tanh, bias=False, key=keys(key)[1])
        ),
        (X,),
        ("Parallel(", "mul", "Dense(3, 2, tanh, bias=False)"),
        parallel_twin,
        leading=True,
        wrong=Wrong((normal(4, 5),), ".layers[0] Dense(3 → 2) expects (..., 3), got float32[4, 5]"),
    ),
    Case(
        "SkipConnection",
        lambda key: px.SkipConnection(px.Dense(3, 3, px.relu, key=key), operator.sub),
        (X,),
        ("SkipConnection(", "Dense(3, 3, relu)", "sub"),
        skip_twin,
        leading=True,
        wrong=Wrong((normal(4, 5),), ".layer Dense(3 → 3, relu) expects (..., 3), got float32[4, 5]"),
    ),
]

from registry_attention import ATTENTION  # noqa: E402  (their rows use what stands above)
from registry_layers import LAYERS  # noqa: E402
from registry_recurrent import RECURRENT  # noqa: E402
from registry_space import SPACE  # noqa: E402

CASES += LAYERS + SPACE
CASES += RECURRENT
CASES += ATTENTION
BY_NAME: dict[str, Case] = {case.name: case for case in CASES}
assert len(BY_NAME) == len(CASES), "every row has a name of its own"


def built(case: Case, seed: int = 0) -> px.Module:
    """The case's layer, drawn from a seed and moved off its start."""
    return spread(case.build(jax.random.key(seed)))
