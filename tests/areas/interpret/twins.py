"""Models of ours with random weights, and PyTorch's with the same: an MLP, a CNN, an LSTM and a transformer."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import torch
from torch import nn

import phlox as px


def tensor(x):
    return torch.tensor(np.asarray(x))


def linear(layer):
    made = nn.Linear(*layer.weight.shape, bias=layer.bias is not None)
    with torch.no_grad():
        made.weight.copy_(tensor(layer.weight.T))
        if layer.bias is not None:
            made.bias.copy_(tensor(layer.bias))
    return made


def conv(layer):
    k, _, into, out = layer.weight.shape
    made = nn.Conv2d(into, out, k, padding=1, bias=layer.bias is not None)
    with torch.no_grad():
        made.weight.copy_(tensor(layer.weight).permute(3, 2, 0, 1))
        if layer.bias is not None:
            made.bias.copy_(tensor(layer.bias))
    return made


def mlp(act="relu", bias=True):
    """(rows, 4) → (rows, 3)."""
    ours = px.f64(px.Chain(
        px.Dense(4, 8, bias=bias, key=0), getattr(px, act), px.Dense(8, 6, bias=bias, key=1), getattr(px, act),
        px.Dense(6, 3, bias=bias, key=2),
    ))  # fmt: skip
    acts = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "softplus": nn.Softplus, "elu": nn.ELU}
    if bias:
        for i in (0, 2, 4):
            ours[i].bias = jnp.asarray(np.random.default_rng(i).normal(size=ours[i].bias.shape) / 3)
    return ours, nn.Sequential(linear(ours[0]), acts[act](), linear(ours[2]), acts[act](), linear(ours[4]))


class Flattened(nn.Module):
    """(rows, channels, h, w) flattened with channels last."""

    def forward(self, x):
        return x.permute(0, 2, 3, 1).flatten(1)


def cnn(pool=None, their_pool=None):
    """(rows, 8, 8, 3) → (rows, 4)."""
    ours = px.f64(px.Chain(
        px.Conv((3, 3), 3, 6, padding=1, key=0), px.relu, pool or px.MaxPool((2, 2)),
        px.Conv((3, 3), 6, 5, padding=1, key=1), px.relu, px.MeanPool((2, 2)), px.flatten, px.Dense(20, 4, key=2),
    ))  # fmt: skip
    torch_net = nn.Sequential(
        conv(ours[0]),
        nn.ReLU(),
        their_pool or nn.MaxPool2d(2),
        conv(ours[3]),
        nn.ReLU(),
        nn.AvgPool2d(2),
        Flattened(),
        linear(ours[7]),
    )
    return ours, torch_net


class TorchLSTM(nn.Module):
    def __init__(self, ours):
        super().__init__()
        table, cell = ours[0].weight, ours[1].cells[0]
        self.embedding = nn.Embedding.from_pretrained(tensor(table), freeze=False)
        self.lstm = nn.LSTM(cell.weight_ih.shape[0], cell.weight_hh.shape[0], batch_first=True)
        with torch.no_grad():
            self.lstm.weight_ih_l0.copy_(tensor(cell.weight_ih.T))
            self.lstm.weight_hh_l0.copy_(tensor(cell.weight_hh.T))
            self.lstm.bias_ih_l0.copy_(tensor(cell.bias))
            self.lstm.bias_hh_l0.zero_()
        self.head = linear(ours[3])

    def forward(self, tokens):
        return self.head(self.lstm(self.embedding(tokens))[0][:, -1])


def last(h):
    return h[:, -1]


def lstm():
    """Tokens (rows, time) below 11 → (rows, 2)."""
    ours = px.f64(px.Chain(px.Embedding(11, 6, key=0), px.LSTM(6, 5, key=1), last, px.Dense(5, 2, key=2)))
    return ours, TorchLSTM(ours)


class TorchTransformer(nn.Module):
    def __init__(self, ours):
        super().__init__()
        self.embedding = nn.Embedding.from_pretrained(tensor(ours[0].weight), freeze=False)
        attention = ours[1]
        self.heads = 2
        self.q, self.k, self.v = (linear(getattr(attention, f"{n}_proj")) for n in "qkv")
        self.out = linear(attention.out_proj)
        self.norm = nn.LayerNorm(8)
        self.head = linear(ours[4])

    def forward(self, tokens):
        x = self.embedding(tokens)
        q, k, v = (f(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for f in (self.q, self.k, self.v))
        weights = torch.softmax(q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5, -1)
        y = self.out((weights @ v).transpose(1, 2).flatten(2))
        return self.head(self.norm(y).mean(1))


def over_time(h):
    return h.mean(1)


def transformer():
    """Tokens (rows, time) below 11 → (rows, 2)."""
    ours = px.f64(px.Chain(
        px.Embedding(11, 8, key=0), px.MultiHeadAttention(8, 2, key=1), px.LayerNorm(8), over_time,
        px.Dense(8, 2, key=2),
    ))  # fmt: skip
    return ours, TorchTransformer(ours)


def rows(n=4, *shape, seed=0):
    return np.random.default_rng(seed).normal(size=(n, *shape))


TOKENS = np.array([[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 1, 3]])


def image(x):
    """Channels last → channels first."""
    return tensor(x).permute(0, 3, 1, 2).contiguous()


def back(t):
    """A tensor of theirs as ours has it: channels last where it is an image."""
    t = t.detach()
    return np.asarray(t.permute(0, 2, 3, 1) if t.ndim == 4 else t)
