"""The defaults that docs/coming-from.md puts side by side are those that each framework, as installed, has."""

from __future__ import annotations

import importlib
import inspect
import math
import sys
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
IN, OUT, DIM, HIDDEN = 64, 512, 25, 50


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
    "U(±1/√h)": lambda s: s.uniform(-1 / math.sqrt(HIDDEN), 2 / math.sqrt(HIDDEN)),
}


def start(values: Any) -> str:
    """Which start numbers have: a constant, or the distribution that is a thousand times likelier than any other."""
    values = np.asarray(values, np.float64).ravel()[:4000]
    if np.ptp(values) == 0:
        return f"{values[0]:g}"
    stats = importlib.import_module("scipy.stats")
    made = {name: make(stats) for name, make in STARTS.items()}
    likely = {name: float(distribution.logpdf(values).sum()) for name, distribution in made.items()}
    second, best = sorted(likely, key=lambda name: likely[name])[-2:]
    assert likely[best] - likely[second] > math.log(1000), likely
    assert stats.kstest(values, made[best].cdf, method="asymp").pvalue > 1e-3, best
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
    found = [
        name for name, want in (("trains", (-1, 1)), ("infers", (1, 3))) if np.allclose(y.ravel(), want, rtol=1e-3)
    ]
    return found[0]


def gelu(function: Any, minus_two: Any) -> str:
    """Exact, by the error function, or by tanh."""
    y, exact = float(function(minus_two)), -(1 + math.erf(-math.sqrt(2)))
    tanh = -(1 + math.tanh(math.sqrt(2 / math.pi) * (-2 - 0.044715 * 8)))
    found = [name for name, want in (("exact", exact), ("tanh", tanh)) if abs(y - want) < 1e-6]  # 1e-4 between them
    return found[0]


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
        dense, cell_ = px.Dense(IN, OUT), px.nn.LSTMCell(3, HIDDEN)
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
        "forget bias of LSTM": start(cell_.bias[HIDDEN : 2 * HIDDEN]),
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
    dense, conv, lstm = nn.Linear(IN, OUT), nn.Conv2d(3, 4, (5, 6)), nn.LSTMCell(3, HIDDEN)
    norm = nn.BatchNorm1d(1)
    fresh = to_numpy(norm(torch.tensor(BATCH)))
    two = {start(to_numpy(b[HIDDEN : 2 * HIDDEN])) for b in (lstm.bias_ih, lstm.bias_hh)}
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
    dense, conv, lstm = layers.Dense(OUT), layers.Conv2D(4, (5, 6)), layers.LSTMCell(HIDDEN)
    embedding, norm = layers.Embedding(400, DIM), layers.BatchNormalization()
    for layer, shape in ((dense, (1, IN)), (conv, (1, 5, 6, 3)), (lstm, (1, 3)), (embedding, (1,))):
        layer.build(shape)
    fresh = np.asarray(norm(BATCH))
    norm(BATCH, training=True)
    assert layers.LeakyReLU().negative_slope == 0.3  # what the table of names says of the class
    return {
        "images": layout("Keras", layers.Conv2D(4, 1)),
        **weights("Keras", dense.kernel, conv.kernel),
        "padding of a convolution": {"valid": 0}[conv.padding],
        "stride of max pooling": layers.MaxPooling2D(2)(normal(1, 6, 6, 1)).shape[1],
        "dense weights start": start(dense.kernel),
        "dense biases start": start(dense.bias),
        "embeddings start": start(embedding.embeddings),
        "forget bias of LSTM": start(lstm.bias[HIDDEN : 2 * HIDDEN]),
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
    dense, conv, lstm = (
        nnx.Linear(IN, OUT, rngs=rngs),
        nnx.Conv(3, 4, (5, 6), rngs=rngs),
        nnx.LSTMCell(3, HIDDEN, rngs=rngs),
    )
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
    dense, conv, lstm = nn.Linear(IN, OUT, key=key), nn.Conv2d(3, 4, (5, 6), key=key), nn.LSTMCell(3, HIDDEN, key=key)
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
        "forget bias of LSTM": start(lstm.bias[HIDDEN : 2 * HIDDEN]),
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


# --- gates of recurrent cells -----------------------------------------------------------------------


def blocks(array: Any, order: str, wanted: tuple[str, ...]) -> np.ndarray:
    """The blocks of the last axis in another order."""
    names = order.split(", ")
    parts = dict(zip(names, np.split(np.asarray(array), len(names), axis=-1), strict=True))
    return np.concatenate([parts[name] for name in wanted], axis=-1)


def gru_of(framework: str, x: np.ndarray, h: np.ndarray) -> tuple[Any, Any, Any, Any, Any]:
    """A step of their GRU with random biases: output, weights (in, 3 h), and biases of the two products."""
    if framework == "PyTorch":
        torch = peer("torch")
        cell_ = torch.nn.GRUCell(3, 4)
        out = to_numpy(cell_(torch.tensor(x), torch.tensor(h)))
        w_ih, w_hh, b_ih, b_hh = map(to_numpy, (cell_.weight_ih, cell_.weight_hh, cell_.bias_ih, cell_.bias_hh))
        return out, w_ih.T, w_hh.T, b_ih, b_hh
    if framework == "Keras":
        cell_ = peer("keras").layers.GRUCell(4)
        cell_.build((2, 3))
        cell_.bias.assign(normal(2, 12))
        return cell_(x, h)[0], cell_.kernel, cell_.recurrent_kernel, *np.asarray(cell_.bias.value)
    if framework == "Flax":
        nnx = peer("flax.nnx")
        cell_ = nnx.GRUCell(3, 4, rngs=nnx.Rngs(0))
        out, b_ih = cell_(h, x)[1], cell_.dense_i.bias[...]
        return out, cell_.dense_i.kernel[...], cell_.dense_h.kernel[...], b_ih, np.zeros(12, np.float32)
    cell_ = peer("equinox").nn.GRUCell(3, 4, key=jax.random.key(0))
    b_hh = np.concatenate([np.zeros(8, np.float32), np.asarray(cell_.bias_n)])
    return jax.vmap(cell_)(x, h), cell_.weight_ih.T, cell_.weight_hh.T, cell_.bias, b_hh


def lstm_of(framework: str, x: np.ndarray, h: np.ndarray, c: np.ndarray) -> tuple[Any, Any, Any, Any]:
    """A step of their LSTM: output, weights (in, 4 h), and all its biases in one."""
    if framework == "PyTorch":
        torch = peer("torch")
        cell_ = torch.nn.LSTMCell(3, 4)
        out = to_numpy(cell_(torch.tensor(x), (torch.tensor(h), torch.tensor(c)))[0])
        return out, to_numpy(cell_.weight_ih).T, to_numpy(cell_.weight_hh).T, to_numpy(cell_.bias_ih + cell_.bias_hh)
    if framework == "Keras":
        cell_ = peer("keras").layers.LSTMCell(4)
        cell_.build((2, 3))
        return cell_(x, [h, c])[0], cell_.kernel, cell_.recurrent_kernel, cell_.bias
    if framework == "Flax":
        nnx = peer("flax.nnx")
        cell_ = nnx.LSTMCell(3, 4, rngs=nnx.Rngs(0))
        w_ih = np.concatenate([getattr(cell_, n).kernel[...] for n in ("ii", "if_", "ig", "io")], axis=-1)
        w_hh, b = (
            np.concatenate([getattr(getattr(cell_, n), part)[...] for n in ("hi", "hf", "hg", "ho")], axis=-1)
            for part in ("kernel", "bias")
        )
        return cell_((c, h), x)[1], w_ih, w_hh, b
    cell_ = peer("equinox").nn.LSTMCell(3, 4, key=jax.random.key(0))
    return jax.vmap(cell_)(x, (h, c))[0], cell_.weight_ih.T, cell_.weight_hh.T, cell_.bias


@pytest.mark.parametrize("framework", ["PyTorch", "Keras", "Flax", "Equinox"])
def test_gates_of_recurrent_cells(framework):
    """Their weights, blocks put in order as the table says, biases added as the page says, give Phlox's steps."""
    x, h, c = normal(2, 3), normal(2, 4), normal(2, 4)
    want, w_ih, w_hh, *biases = gru_of(framework, x, h)
    order = cell("gates of GRU", framework)
    ours = tuple(cell("gates of GRU", "Phlox").split(", "))
    w_ih, w_hh, b_ih, b_hh = (blocks(w, order, ours) for w in (w_ih, w_hh, *biases))
    bias = b_ih + np.concatenate([b_hh[:8], np.zeros(4, np.float32)])
    assert_close(F.gru_cell(x, h, w_ih, w_hh, bias, bias_hn=b_hh[8:]), np.asarray(want), what="GRU")
    want, *arrays = lstm_of(framework, x, h, c)
    assert_close(F.lstm_cell(x, (h, c), *map(np.asarray, arrays))[0], np.asarray(want), what="LSTM")
