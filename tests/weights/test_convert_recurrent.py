"""Recurrent layers of other libraries: what they compute there is computed here."""

import warnings

import numpy as np
import pytest

import phlox as px
from kit import oracle
from peers import peer
from phlox.weights import convert

torch = oracle("torch")
RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 5, 3)).astype("f")
EIGHT = RNG.normal(size=(2, 5, 8)).astype("f")  # as wide as both directions of 4: no shape tells the layers apart
LAYERS = {
    "LSTM": {"num_layers": 2, "bidirectional": True},
    "GRU": {"num_layers": 2},
    "RNN": {"bidirectional": True},
}


def close(ours, theirs):
    np.testing.assert_allclose(np.asarray(ours), np.asarray(theirs), rtol=1e-5, atol=2e-6)


def drawn(*shape):
    return RNG.normal(size=shape).astype("f")


@pytest.mark.parametrize("kind", LAYERS)
def test_layers_of_pytorch(kind):
    torch.manual_seed(0)

    class Theirs(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = getattr(torch.nn, kind)(8, 4, batch_first=True, **LAYERS[kind])
            self.head = torch.nn.Linear(4 * (1 + bool(LAYERS[kind].get("bidirectional"))), 2)

        def forward(self, x):
            return self.head(self.rnn(x)[0])

    class Ours(px.Module):
        def __init__(self):
            self.rnn = getattr(px, kind)(8, 4, **LAYERS[kind])
            self.head = px.Dense(4 * (1 + bool(LAYERS[kind].get("bidirectional"))), 2)

        def __call__(self, x):
            return self.head(self.rnn(x))

    theirs, ours = Theirs(), Ours()
    report = convert(ours, {name: x.detach().numpy() for name, x in theirs.state_dict().items()})
    assert not report.doubts
    close(ours(EIGHT), theirs(torch.tensor(EIGHT)).detach())


def test_a_projected_lstm_of_pytorch():
    theirs = torch.nn.LSTM(3, 5, proj_size=2, batch_first=True)
    ours = px.LSTM(3, 5, proj_size=2)
    convert(ours, {name: x.detach().numpy() for name, x in theirs.state_dict().items()})
    with warnings.catch_warnings():  # PyTorch says once that oneDNN has no projections
        warnings.filterwarnings("ignore", message="LSTM with projections")
        want = theirs(torch.tensor(X))[0].detach()
    close(ours(X), want)


def test_a_cell_of_pytorch():
    theirs, ours = torch.nn.GRUCell(3, 4), px.GRUCell(3, 4)
    convert(ours, {name: x.detach().numpy() for name, x in theirs.state_dict().items()})
    h = drawn(2, 4)
    close(ours(X[:, 0], h)[0], theirs(torch.tensor(X[:, 0]), torch.tensor(h)).detach())


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_layers_of_keras(kind):
    keras = peer("keras")
    theirs = keras.Sequential([keras.Input((5, 3)), getattr(keras.layers, kind)(4, return_sequences=True, name="rnn")])
    theirs.layers[0].set_weights([drawn(*w.shape) for w in theirs.layers[0].weights])
    ours = px.Chain(getattr(px, kind)(3, 4))
    convert(ours, {w.path: np.asarray(w.value) for w in theirs.weights})
    close(ours(X), theirs(X))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_cells_of_flux():
    """By Flux' definitions: gates are chunks of Wi x + Wh h + b; a GRU's bias of the new state is outside the reset."""
    x, h, c = drawn(3), drawn(4), drawn(4)
    wi, wh, b = drawn(16, 3), drawn(16, 4), drawn(16)
    i, f, g, o = np.split(wi @ x + wh @ h + b, 4)
    state = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    lstm = px.LSTMCell(3, 4)
    convert(lstm, {"Wi": wi, "Wh": wh, "bias": b})
    y, (_, new) = lstm(x[None], (h[None], c[None]))
    close(y[0], sigmoid(o) * np.tanh(state))
    close(new[0], state)

    wi, wh, b = drawn(12, 3), drawn(12, 4), drawn(12)
    (xr, xz, xn), (hr, hz, hn), (br, bz, bn) = np.split(wi @ x, 3), np.split(wh @ h, 3), np.split(b, 3)
    r, z = sigmoid(xr + hr + br), sigmoid(xz + hz + bz)
    gru = px.Recurrence(px.GRUCell(3, 4))
    convert(gru, {"layers.1.cell.Wi": wi, "layers.1.cell.Wh": wh, "layers.1.cell.b": b})
    close(gru.cell(x[None], h[None])[0][0], (1 - z) * np.tanh(xn + r * hn + bn) + z * h)


def test_cells_of_lux():
    """Lux has a bias for the input and one for the state."""
    x, h = drawn(3), drawn(4)
    wi, wh, bi, bh = drawn(4, 3), drawn(4, 4), drawn(4), drawn(4)
    cell = px.RNNCell(3, 4)
    convert(cell, {"weight_ih": wi, "weight_hh": wh, "bias_ih": bi, "bias_hh": bh}, layout="flux")
    close(cell(x[None], h[None])[0][0], np.tanh(wi @ x + bi + wh @ h + bh))


def test_a_gru_of_keras_that_resets_first_is_another_function():
    keras = peer("keras")
    theirs = keras.Sequential([keras.Input((5, 3)), keras.layers.GRU(4, reset_after=False)])
    with pytest.raises(px.StructureError, match="reset_after=False"):
        convert(px.Chain(px.GRU(3, 4)), {w.path: np.asarray(w.value) for w in theirs.weights})


def test_layers_that_are_not_whole():
    whole = {name: x.detach().numpy() for name, x in torch.nn.LSTM(3, 4).state_dict().items()}
    for broken in (
        {name: x for name, x in whole.items() if "weight_hh" not in name},
        {**whole, "bias_ih_l0": drawn(4)},
        {**whole, "weight_hh_l0": drawn(16, 3)},
    ):
        with pytest.raises(px.StructureError, match="weight_ih_l0"):
            convert(px.LSTM(3, 4), broken)


def test_biases_of_16_bits_are_added_in_32():
    import ml_dtypes

    arrays = {"weight_ih": drawn(4, 3), "weight_hh": drawn(4, 4), "bias_ih": np.ones(4), "bias_hh": np.full(4, 2**-9)}
    cell = px.RNNCell(3, 4)
    convert(cell, {name: x.astype(ml_dtypes.bfloat16) for name, x in arrays.items()}, layout="pytorch")
    assert (np.asarray(cell.bias) == 1 + 2**-9).all()
