"""What docs/coming-from.md says differs: the defaults of every framework are measured, and each claim in words is tried."""

from __future__ import annotations

import importlib
import inspect
import math
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import assert_close, oracle, to_numpy
from peers import peer

sys.path.append(str(Path(__file__).resolve().parents[1] / "docs"))
differences = importlib.import_module("coming_from.differences")

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras with NumPy 2

F = px.nn.functional
RNG = np.random.default_rng(0)
SIZES = {"N": 2, "H": 5, "W": 6, "C": 3, "I": 3, "O": 4}
IN, OUT, DIM = 64, 512, 25


def cell(what: str, framework: str) -> str:
    """What the page's table says."""
    return differences.DEFAULTS[what][differences.FRAMEWORKS.index(framework)]


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


# --- defaults ---------------------------------------------------------------------------------------

# Where weights start, as the table says it; frozen distributions are made where SciPy is.
STARTS: dict[str, Callable[[Any], Any]] = {
    "Glorot U": lambda s: s.uniform(-math.sqrt(6 / (IN + OUT)), 2 * math.sqrt(6 / (IN + OUT))),
    "U(±1/√in)": lambda s: s.uniform(-1 / math.sqrt(IN), 2 / math.sqrt(IN)),
    "LeCun N": lambda s: s.truncnorm(-2, 2, scale=1 / math.sqrt(IN) / s.truncnorm.std(-2, 2)),
    "N(0, 1)": lambda s: s.norm(),
    "U(±0.05)": lambda s: s.uniform(-0.05, 0.1),
    "N(0, 1/dim)": lambda s: s.norm(scale=1 / math.sqrt(DIM)),
    "U(±1/√h)": lambda s: s.uniform(-1 / math.sqrt(OUT), 2 / math.sqrt(OUT)),
}


def start(values: Any) -> str:
    """Which start numbers have: a constant, or the one distribution that they may come from."""
    values = np.asarray(values).ravel()[:4000]
    if np.ptp(values) == 0:
        return f"{values[0]:g}"
    stats = importlib.import_module("scipy.stats")
    fits = {name: stats.kstest(values, make(stats).cdf).pvalue for name, make in STARTS.items()}
    best = max(fits, key=lambda name: fits[name])
    assert fits[best] > 1e-3, fits
    assert all(p < 1e-3 for name, p in fits.items() if name != best), fits
    return best


def extents(letters: str) -> list[int]:
    return [SIZES[letter] for letter in letters]


def layout(framework: str, conv: Callable[[np.ndarray], Any]) -> str:
    """The layout that the table names, where a 1×1 convolution of 3 to 4 channels takes and gives it."""
    letters = cell("images", framework).split(",")[0]
    out = conv(normal(*extents(letters)))
    want = [4 if letter == "C" else SIZES[letter] for letter in letters]
    assert list(out.shape) == want
    return cell("images", framework)


def shaped(what: str, framework: str, array: Any, sizes: dict[str, int]) -> str:
    """The table's layout of a weight, where its shape is that."""
    said = cell(what, framework)
    axes = said.strip("()").split(", ") if "(" in said else list(said)
    assert list(array.shape) == [sizes[axis] for axis in axes]
    return said


def weights(framework: str, dense: Any, conv: Any) -> dict[str, str]:
    """The layouts of a dense weight of 64 to 512 and of a convolution's, kernel (5, 6), of 3 to 4."""
    return {
        "weight of a dense layer": shaped("weight of a dense layer", framework, dense, {"in": IN, "out": OUT}),
        "weight of a convolution": shaped("weight of a convolution", framework, conv, SIZES),
    }


def statistics(mean: Any, var: Any, begin: float = 1.0) -> dict[str, str]:
    """What a batch of 1 and 3 did to running statistics: mean 2, variance 1, or 2 where it is unbiased."""
    share = float(mean[0]) / 2
    moved = (float(var[0]) - (1 - share) * begin) / share
    return {
        "BatchNorm: momentum": f"{share:.2g} of new" if share > 0.05 else f"{1 - share:.2g} of old",
        "BatchNorm: running variance": {1.0: "biased", 2.0: "unbiased"}[round(moved, 2)],
    }


BATCH = np.array([[1.0], [3.0]], np.float32)


def mode(y: Any) -> str:
    """Whether a new BatchNorm normalised a batch of 1 and 3 by itself, or by 0 and 1."""
    found = [name for name, want in (("trains", (-1, 1)), ("infers", (1, 3))) if np.allclose(y.ravel(), want, rtol=1e-3)]
    return found[0]


def gelu(function: Any, minus_two: Any) -> str:
    """Exact, by the error function, or by tanh."""
    y, exact = float(function(minus_two)), -(1 + math.erf(-math.sqrt(2)))
    tanh = -(1 + math.tanh(math.sqrt(2 / math.pi) * (-2 - 0.044715 * 8)))
    assert abs(exact - tanh) > 1e-4
    return {abs(y - exact): "exact", abs(y - tanh): "tanh"}[min(abs(y - exact), abs(y - tanh))]


def losses(mean_square: Any, entropy: Any) -> dict[str, str]:
    """The order of the arguments by their names, what the mean square of (3, 2) gives, where classes begin."""
    first = next(iter(inspect.signature(mean_square).parameters))
    order = {"y_true": "target, prediction"}.get(first, "prediction, target")
    assert first in ("y_true", "input", "predictions", "prediction", "predicted", "preds"), first
    return {"loss arguments": order, "classes count from": "0" if abs(float(entropy)) < 1e-3 else "1"}


GIVES = {(): "the mean", (3,): "one per row", (3, 2): "all elements"}
SURE = np.array([[20.0, 0.0, 0.0]], np.float32)  # of the first class


def of_phlox() -> dict[str, Any]:
    with px.seed(0):
        dense, cell_ = px.Dense(IN, OUT), px.nn.LSTMCell(3, OUT)
        embedding, conv = px.Embedding(400, DIM), px.Conv((5, 6), 3, 4)
        point = px.Conv((1, 1), 3, 4)
    norm = px.BatchNorm(1)
    fresh = norm(BATCH)
    px.grad(lambda m: m(BATCH).sum())(norm)
    return {
        "images": layout("Phlox", point),
        **weights("Phlox", dense.weight, conv.weight),
        "padding of a convolution": conv.padding,
        "stride of max pooling": px.MaxPool((2, 2))(normal(1, 6, 6, 1)).shape[1],
        "dense weights start": start(dense.weight),
        "dense biases start": start(dense.bias),
        "embeddings start": start(embedding.weight),
        "forget bias of LSTM": start(cell_.bias[OUT : 2 * OUT]),
        **statistics(norm.mean, norm.var),
        "BatchNorm: eps": norm.eps,
        "LayerNorm: eps": px.LayerNorm(2).eps,
        "Adam: eps": px.optim.Adam().eps,
        "AdamW: decay": px.optim.AdamW().weight_decay,
        "gelu": gelu(px.gelu, jnp.float32(-2)),
        "slope of leaky_relu": -float(F.leaky_relu(jnp.float32(-1))),
        "a new model": mode(fresh),
        **losses(px.losses.mse, px.losses.cross_entropy(SURE, np.array([0]))),
        "a mean square function gives": GIVES[px.losses.mse(normal(3, 2), normal(3, 2)).shape],
    }


def of_pytorch() -> dict[str, Any]:
    torch = peer("torch")
    nn, f = torch.nn, torch.nn.functional
    torch.manual_seed(0)
    dense, conv, lstm = nn.Linear(IN, OUT), nn.Conv2d(3, 4, (5, 6)), nn.LSTMCell(3, OUT)
    norm = nn.BatchNorm1d(1)
    fresh = to_numpy(norm(torch.tensor(BATCH)))
    two = {start(to_numpy(b[OUT : 2 * OUT])) for b in (lstm.bias_ih, lstm.bias_hh)}
    return {
        "images": layout("PyTorch", lambda x: nn.Conv2d(3, 4, 1)(torch.tensor(x))),
        **weights("PyTorch", dense.weight, conv.weight),
        "padding of a convolution": conv.padding[0],
        "stride of max pooling": nn.MaxPool2d(2)(torch.zeros(1, 1, 6, 6)).shape[2],
        "dense weights start": start(to_numpy(dense.weight)),
        "dense biases start": start(to_numpy(dense.bias)),
        "embeddings start": start(to_numpy(nn.Embedding(400, DIM).weight)),
        "forget bias of LSTM": " ".join(["two", *two]),
        **statistics(norm.running_mean, norm.running_var),
        "BatchNorm: eps": norm.eps,
        "LayerNorm: eps": nn.LayerNorm(2).eps,
        "Adam: eps": torch.optim.Adam([dense.weight]).defaults["eps"],
        "AdamW: decay": torch.optim.AdamW([dense.weight]).defaults["weight_decay"],
        "gelu": gelu(f.gelu, torch.tensor(-2.0)),
        "slope of leaky_relu": -float(f.leaky_relu(torch.tensor(-1.0))),
        "a new model": mode(fresh),
        **losses(f.mse_loss, f.cross_entropy(torch.tensor(SURE), torch.tensor([0]))),
        "a mean square function gives": GIVES[tuple(f.mse_loss(torch.zeros(3, 2), torch.ones(3, 2)).shape)],
    }


def of_keras() -> dict[str, Any]:
    keras = peer("keras")
    layers, entropy = keras.layers, keras.losses.sparse_categorical_crossentropy
    keras.utils.set_random_seed(0)
    dense, conv, lstm = layers.Dense(OUT), layers.Conv2D(4, (5, 6)), layers.LSTMCell(OUT)
    embedding, norm = layers.Embedding(400, DIM), layers.BatchNormalization()
    for layer, shape in ((dense, (1, IN)), (conv, (1, 5, 6, 3)), (lstm, (1, 3)), (embedding, (1,))):
        layer.build(shape)
    fresh = np.asarray(norm(BATCH))
    norm(BATCH, training=True)
    return {
        "images": layout("Keras", layers.Conv2D(4, 1)),
        **weights("Keras", dense.kernel, conv.kernel),
        "padding of a convolution": {"valid": 0}[conv.padding],
        "stride of max pooling": layers.MaxPooling2D(2)(normal(1, 6, 6, 1)).shape[1],
        "dense weights start": start(dense.kernel),
        "dense biases start": start(dense.bias),
        "embeddings start": start(embedding.embeddings),
        "forget bias of LSTM": start(lstm.bias[OUT : 2 * OUT]),
        **statistics(norm.moving_mean, norm.moving_variance),
        "BatchNorm: eps": norm.epsilon,
        "LayerNorm: eps": layers.LayerNormalization().epsilon,
        "Adam: eps": keras.optimizers.Adam().epsilon,
        "AdamW: decay": keras.optimizers.AdamW().weight_decay,
        "gelu": gelu(keras.activations.gelu, jnp.float32(-2)),
        "slope of leaky_relu": -float(keras.activations.leaky_relu(jnp.float32(-1))),
        "a new model": mode(fresh),
        **losses(keras.losses.mean_squared_error, entropy(np.array([0]), SURE, from_logits=True)[0]),
        "a mean square function gives": GIVES[keras.losses.mean_squared_error(normal(3, 2), normal(3, 2)).shape],
    }


def of_flax() -> dict[str, Any]:
    nnx, optax = peer("flax.nnx"), importlib.import_module("optax")
    rngs = nnx.Rngs(0)
    dense, conv, lstm = nnx.Linear(IN, OUT, rngs=rngs), nnx.Conv(3, 4, (5, 6), rngs=rngs), nnx.LSTMCell(3, OUT, rngs=rngs)
    norm = nnx.BatchNorm(1, rngs=rngs)
    fresh = norm(BATCH)
    same = conv(normal(1, 9, 9, 3)).shape[1] == 9
    return {
        "images": layout("Flax", nnx.Conv(3, 4, (1, 1), rngs=rngs)),
        **weights("Flax", dense.kernel, conv.kernel),
        "padding of a convolution": "same" if same else 0,
        "stride of max pooling": nnx.max_pool(normal(1, 6, 6, 1), (2, 2)).shape[1],
        "dense weights start": start(dense.kernel[...]),
        "dense biases start": start(dense.bias[...]),
        "embeddings start": start(nnx.Embed(400, DIM, rngs=rngs).embedding[...]),
        "forget bias of LSTM": start(lstm.hf.bias[...]),
        **statistics(norm.mean[...], norm.var[...]),
        "BatchNorm: eps": norm.epsilon,
        "LayerNorm: eps": nnx.LayerNorm(2, rngs=rngs).epsilon,
        "Adam: eps": inspect.signature(optax.adam).parameters["eps"].default,
        "AdamW: decay": inspect.signature(optax.adamw).parameters["weight_decay"].default,
        "gelu": gelu(nnx.gelu, jnp.float32(-2)),
        "slope of leaky_relu": -float(nnx.leaky_relu(jnp.float32(-1))),
        "a new model": mode(fresh),
        **losses(optax.squared_error, optax.softmax_cross_entropy_with_integer_labels(SURE, np.array([0]))[0]),
        "a mean square function gives": GIVES[optax.squared_error(normal(3, 2), normal(3, 2)).shape],
    }


def of_equinox() -> dict[str, Any]:
    eqx, optax = peer("equinox"), importlib.import_module("optax")
    nn, key = eqx.nn, jax.random.key(0)
    dense, conv, lstm = nn.Linear(IN, OUT, key=key), nn.Conv2d(3, 4, (5, 6), key=key), nn.LSTMCell(3, OUT, key=key)
    norm, state = nn.make_with_state(nn.BatchNorm)(1, "batch", mode="batch")
    fresh, state = jax.vmap(norm, axis_name="batch", in_axes=(0, None), out_axes=(0, None))(BATCH, state)
    return {
        "images": layout("Equinox", nn.Conv2d(3, 4, 1, key=key)),
        **weights("Equinox", dense.weight, conv.weight),
        "padding of a convolution": conv.padding[0][0],
        "stride of max pooling": nn.MaxPool2d(2)(normal(1, 6, 6)).shape[1],
        "dense weights start": start(dense.weight),
        "dense biases start": start(dense.bias),
        "embeddings start": start(nn.Embedding(400, DIM, key=key).weight),
        "forget bias of LSTM": start(lstm.bias[OUT : 2 * OUT]),
        **statistics(*state.get(norm.batch_state_index)),
        "BatchNorm: eps": norm.eps,
        "LayerNorm: eps": nn.LayerNorm(2).eps,
        "Adam: eps": inspect.signature(optax.adam).parameters["eps"].default,
        "AdamW: decay": inspect.signature(optax.adamw).parameters["weight_decay"].default,
        "gelu": gelu(jax.nn.gelu, jnp.float32(-2)),
        "slope of leaky_relu": -float(jax.nn.leaky_relu(jnp.float32(-1))),
        "a new model": mode(fresh),
        **losses(optax.squared_error, optax.softmax_cross_entropy_with_integer_labels(SURE, np.array([0]))[0]),
        "a mean square function gives": GIVES[optax.squared_error(normal(3, 2), normal(3, 2)).shape],
    }


MEASURED = {"Phlox": of_phlox, "PyTorch": of_pytorch, "Keras": of_keras, "Flax": of_flax, "Equinox": of_equinox}
ELSEWHERE = {"gates of GRU"}  # test_gates_of_recurrent_cells


@pytest.mark.parametrize("framework", MEASURED)
def test_defaults_are_what_the_table_says(framework):
    oracle("scipy")
    found = MEASURED[framework]()
    assert found.keys() | ELSEWHERE == differences.DEFAULTS.keys()
    for what, value in found.items():
        said: Any = cell(what, framework)
        if what == "padding of a convolution":
            value = value if isinstance(value, str) else str(int(np.max(np.asarray(value))))
        elif what == "stride of max pooling":
            value = {3: "window", 5: "1"}[value]
        elif not isinstance(value, str):
            said = pytest.approx(float(said), rel=1e-6)
        assert value == said, what


def test_each_row_has_a_cell_for_each_framework():
    assert {len(row) for row in differences.DEFAULTS.values()} == {len(differences.FRAMEWORKS)}
