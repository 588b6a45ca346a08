"""Rows of the registry for recurrence (``registry.py`` appends them), with twins in PyTorch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import phlox as px
from phlox import nn
from recurrent_in_torch import in_torch, parts_of
from registry import Case, Wrong, normal

SERIES = normal(2, 3, 3)


def twin(kind: str, hidden: int, layers: int, **options: Any) -> Any:
    """A layer's twin: PyTorch's own, with our arrays."""

    def run(torch: Any, p: Mapping[str, Any], x: Any, train: bool) -> Any:
        del train
        cells = [parts_of(p, f"cells.{i}.") for i in range(layers * (1 + bool(options.get("bidirectional"))))]
        state = None
        if "h0" in cells[0]:
            state = tuple(torch.stack([c[k].expand(len(x), -1) for c in cells]) for k in ("h0", "c0") if k in cells[0])
            state = state if len(state) > 1 else state[0]
        return in_torch(torch, kind, cells, hidden, **options)(x, state)[0]

    return run


def gru_before_twin(torch: Any, p: Mapping[str, Any], x: Any, train: bool) -> Any:
    del train
    w, u, b = (p[f"cells.0.{name}"] for name in ("weight_ih", "weight_hh", "bias"))
    h, ys, n = torch.zeros(len(x), u.shape[0], dtype=x.dtype), [], u.shape[0]
    for t in range(x.shape[1]):
        a = x[:, t] @ w + b
        r = torch.sigmoid(a[:, :n] + h @ u[:, :n])
        z = torch.sigmoid(a[:, n : 2 * n] + h @ u[:, n : 2 * n])
        new = torch.tanh(a[:, 2 * n :] + (r * h) @ u[:, 2 * n :])
        h = (1 - z) * new + z * h
        ys.append(h)
    return torch.stack(ys, 1)


def conv_lstm_twin(torch: Any, p: Mapping[str, Any], x: Any, train: bool) -> Any:
    del train
    conv = torch.nn.functional.conv1d
    w, u = (p[name].permute(2, 1, 0) for name in ("weight_ih", "weight_hh"))
    h = c = torch.zeros(len(x), u.shape[1], (x.shape[2] + 1) // 2, dtype=x.dtype)
    ys = []
    for t in range(x.shape[1]):
        gates = conv(x[:, t].mT, w, p["bias"], stride=2, padding=1) + conv(h, u, padding=1)
        i, f, g, o = gates.chunk(4, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        ys.append(h.mT)
    return torch.stack(ys, 1)


def bidirectional_twin(torch: Any, p: Mapping[str, Any], x: Any, train: bool) -> Any:
    del train
    one, two = (parts_of(p, f"{way}.cell.") for way in ("forward", "backward"))
    ahead = in_torch(torch, "GRU", [one], 4)(x)[0]
    back = in_torch(torch, "RNN", [two], 2, nonlinearity="relu")(x.flip(1))[0].flip(1)
    return torch.cat([ahead, back], -1)


def lru_twin(torch: Any, p: Mapping[str, Any], x: Any, train: bool) -> Any:
    del train
    decay = torch.exp(torch.complex(-torch.exp(p["nu"]), torch.exp(p["theta"])))
    b, c = torch.complex(*p["b"]), torch.complex(*p["c"])
    h, ys = torch.zeros(len(x), len(decay), dtype=b.dtype), []
    for t in range(x.shape[1]):
        h = decay * h + torch.exp(p["gamma"]) * (x[:, t].to(b.dtype) @ b)
        ys.append((h @ c).real + p["d"] * x[:, t])
    return torch.stack(ys, 1)


def s4d_twin(torch: Any, p: Mapping[str, Any], x: Any, train: bool) -> Any:
    """The convolution by the model's impulse response, as the paper writes it."""
    del train
    rate, c = torch.complex(-torch.exp(p["log_rate"]), p["frequency"]), torch.complex(*p["c"])
    z = torch.exp(p["log_dt"])[:, None] * rate
    times = torch.arange(x.shape[1], dtype=x.dtype)
    kernel = 2 * torch.einsum("dn,dnt->dt", c * (torch.exp(z) - 1) / rate, torch.exp(z[..., None] * times)).real
    ys = [sum(kernel[:, t - s] * x[:, s] for s in range(t + 1)) + p["d"] * x[:, t] for t in range(x.shape[1])]
    return torch.stack(ys, 1)


def mamba_twin(torch: Any, p: Mapping[str, Any], x: Any, train: bool) -> Any:
    del train
    F = torch.nn.functional
    u, z = (x @ p["into.weight"]).chunk(2, -1)
    inner, width = p["d"].shape[0], p["kernel"].shape[0]
    u = F.conv1d(u.mT, p["kernel"].T[:, None], p["kernel_bias"], padding=width - 1, groups=inner)[..., : x.shape[1]].mT
    u = F.silu(u)
    rank, size = p["delta.weight"].shape[0], p["log_rate"].shape[1]
    low, b, c = (u @ p["select.weight"]).split([rank, size, size], -1)
    delta = F.softplus(low @ p["delta.weight"] + p["delta.bias"])
    h, ys = torch.zeros(len(x), inner, size, dtype=x.dtype), []
    for t in range(x.shape[1]):
        decay = torch.exp(-torch.exp(p["log_rate"]) * delta[:, t, :, None])
        h = decay * h + (delta[:, t] * u[:, t])[..., None] * b[:, t, None]
        ys.append((h * c[:, t, None]).sum(-1) + p["d"] * u[:, t])
    return (torch.stack(ys, 1) * F.silu(z)) @ p["out.weight"]


def linear_attention_twin(torch: Any, p: Mapping[str, Any], x: Any, train: bool) -> Any:
    del train
    q, k, v = (
        (x @ p[f"{name}.weight"] + p[f"{name}.bias"]).unflatten(-1, (2, -1)) for name in ("query", "keys", "value")
    )
    q, k = torch.nn.functional.elu(q) + 1, torch.nn.functional.elu(k) + 1
    weights = torch.einsum("bthd,bshd->bhts", q, k).tril()
    y = torch.einsum("bhts,bshe->bthe", weights / weights.sum(-1, keepdim=True), v)
    return y.flatten(2) @ p["out.weight"] + p["out.bias"]


RECURRENT: list[Case] = [
    Case(
        "RNN",
        lambda key: nn.RNN(3, 4, px.relu, key=key),
        (SERIES,),
        ("RNN(", "in_size=3, hidden_size=4, act=relu", "RNNCell(3, 4, relu)"),
        twin("RNN", 4, 1, nonlinearity="relu"),
        wrong=Wrong((normal(2, 4, 5),), " RNN(3 → 4) expects (batch, time, 3), got float32[2, 4, 5]"),
    ),
    Case(
        "LSTM",
        lambda key: nn.LSTM(3, 4, bidirectional=True, proj_size=2, learn_state=True, key=key),
        (SERIES,),
        ("LSTM(", "bidirectional=True", "2 × LSTMCell(3, 4, proj_size=2)"),
        twin("LSTM", 4, 1, bidirectional=True),
        wrong=Wrong((normal(4, 3),), " LSTM(3 → 4, bidirectional=True) expects (batch, time, 3)"),
    ),
    Case(
        "GRU",
        lambda key: nn.GRU(3, 4, num_layers=2, dropout=0.5, key=key),
        (SERIES,),
        ("GRU(", "dropout=0.5", "GRUCell(3, 4)"),
        draws=True,
    ),
    Case(
        "GRU-before",
        lambda key: nn.GRU(3, 4, reset_after=False, key=key),
        (SERIES,),
        ("GRU(", "reset_after=False"),
        gru_before_twin,
    ),
    Case(
        "ConvLSTM",
        lambda key: nn.ConvLSTM(3, 2, 3, stride=2, padding=1, key=key),
        (normal(2, 3, 5, 2),),
        "ConvLSTM(3, 2, 3, stride=2, padding=1)",
        conv_lstm_twin,
        wrong=Wrong((normal(2, 5, 2),), " ConvLSTM((3,), 2 → 3) expects (batch, time, place, 2), got float32[2, 5, 2]"),
    ),
    Case(
        "Bidirectional",
        lambda key: nn.Bidirectional(nn.GRUCell(3, 4, key=key), nn.RNNCell(3, 2, px.relu, key=1)),
        (SERIES,),
        ("Bidirectional(", "forward=Recurrence(", "cell=GRUCell(3, 4)", "RNNCell(3, 2, relu)"),
        bidirectional_twin,
    ),
    Case(
        "LRU",
        lambda key: nn.LRU(3, 4, r_min=0.3, r_max=0.9, max_phase=math.pi, key=key),
        (SERIES,),
        "LRU(3, 4, r_min=0.3, r_max=0.9",
        lru_twin,
        wrong=Wrong((normal(2, 4, 5),), " LRU(3) expects (batch, time, 3), got float32[2, 4, 5]"),
    ),
    Case("S4D", lambda key: nn.S4D(3, 4, key=key), (SERIES,), "S4D(3, 4)", s4d_twin),
    Case(
        "Mamba",
        lambda key: nn.Mamba(3, state_size=2, kernel_size=3, chunk=3, key=key),
        (SERIES,),
        ("Mamba(", "state_size=2", "chunk=3"),
        mamba_twin,
        wrong=Wrong((SERIES[0],), " Mamba(3) expects (batch, time, 3), got float32[3, 3]"),
    ),
    Case(
        "LinearAttention",
        lambda key: nn.LinearAttention(4, 2, chunk=3, key=key),
        (normal(2, 5, 4),),
        ("LinearAttention(", "chunk=3"),
        linear_attention_twin,
    ),
]
