"""Every pattern once more, by hand in PyTorch: from the same arrays, on the same batches, with the same random draws.

Each function takes the arrays by path of the objects at the start and the batches, trains, and returns the losses
and the arrays of its models afterwards, under the same paths. Only random draws are JAX's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kit import oracle, to_numpy

Arrays = dict[str, np.ndarray]
Answer = tuple[list[list[float]], list[Arrays]]
STATE = (".mean", ".var", "baseline")


class Net:
    """Tensors by path, and the layers that use them."""

    def __init__(self, start: Arrays):
        self.torch = oracle("torch")
        self.F = self.torch.nn.functional
        self.p: dict[str, Any] = {}
        self.keys: dict[str, Any] = {}
        for path, value in start.items():
            if path.endswith("key"):
                self.keys[path] = jax.random.wrap_key_data(jnp.asarray(value))
            else:
                learns = not path.endswith(STATE)
                self.p[path] = self.torch.tensor(value, dtype=self.torch.float64, requires_grad=learns)

    def learned(self, *prefixes: str) -> list[Any]:
        return [v for k, v in self.p.items() if v.requires_grad and k.startswith(prefixes or "")]

    def arrays(self) -> Arrays:
        drawn = {k: np.asarray(jax.random.key_data(v)) for k, v in self.keys.items()}
        return {k: to_numpy(v) for k, v in self.p.items()} | drawn

    def dense(self, at: str, x: Any, p: dict[str, Any] | None = None) -> Any:
        p = p or self.p
        bias = p.get(f"{at}.bias")
        return x @ p[f"{at}.weight"] + (0 if bias is None else bias)

    def batch_norm(self, at: str, x: Any, train: bool) -> Any:
        mean, var, scale, bias = (self.p[f"{at}.{n}"] for n in ("mean", "var", "scale", "bias"))
        return self.F.batch_norm(x, mean, var, scale, bias, training=train, momentum=0.1, eps=1e-5)

    def layer_norm(self, at: str, x: Any) -> Any:
        return self.F.layer_norm(x, x.shape[-1:], self.p[f"{at}.scale"], self.p[f"{at}.bias"], 1e-5)

    def dropout(self, at: str, x: Any, p: float, train: bool) -> Any:
        if not train:
            return x
        self.keys[f"{at}.key"], draw = jax.random.split(self.keys[f"{at}.key"])
        kept = np.array(jax.random.bernoulli(draw, 1 - p, tuple(x.shape)))
        return x * self.torch.tensor(kept) / (1 - p)

    def tensors(self, batch: Sequence[Any]) -> list[Any]:
        return [self.torch.tensor(np.asarray(v)) for v in batch]


def descend(opt: Any, loss: Any) -> None:
    opt.zero_grad()
    loss.backward()
    opt.step()


def gan(start: list[Arrays], batches: Any) -> Answer:
    g, d = Net(start[0]), Net(start[1])
    torch = g.torch

    def generate(z: Any) -> Any:
        return g.dense("layers.2", torch.relu(g.batch_norm("layers.1", g.dense("layers.0", z), True)))

    def judge(x: Any) -> Any:
        h = d.dense("layers.1", torch.relu(d.dense("layers.0", x)))
        return d.dense("layers.3", torch.relu(d.batch_norm("layers.2", h, True)))

    def bce(logits: Any, answer: float) -> Any:
        return g.F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, answer))

    g_opt = torch.optim.Adam(g.learned(), 2e-3, betas=(0.5, 0.999))
    d_opt = torch.optim.Adam(d.learned(), 2e-3, betas=(0.5, 0.999))
    losses = []
    for batch in batches:
        real, noise = g.tensors(batch)
        fake = generate(noise).detach()
        d_loss = bce(judge(real), 1.0) + bce(judge(fake), 0.0)
        descend(d_opt, d_loss)
        g_loss = bce(judge(generate(noise)), 1.0)
        descend(g_opt, g_loss)
        losses.append([d_loss.item(), g_loss.item()])
    return losses, [g.arrays(), d.arrays()]


def distillation(start: list[Arrays], batches: Any) -> Answer:
    student, teacher = Net(start[0]), Net(start[2])
    torch, F, heat = student.torch, student.F, 3.0

    def run(net: Net, x: Any, p: float, train: bool) -> Any:
        h = torch.relu(net.batch_norm("layers.1", net.dense("layers.0", x), train))
        return net.dense("layers.3", net.dropout("layers.2", h, p, train))

    opt = torch.optim.AdamW(student.learned(), 1e-2, weight_decay=0.01)
    losses = []
    for batch in batches:
        x, y = student.tensors(batch)
        logits = run(student, x, 0.2, True)
        with torch.no_grad():
            soft = torch.softmax(run(teacher, x, 0.3, False) / heat, -1)
        apart = F.kl_div(torch.log_softmax(logits / heat, -1), soft, reduction="batchmean")
        loss = 0.5 * F.cross_entropy(logits, y) + 0.5 * heat**2 * apart
        descend(opt, loss)
        losses.append([loss.item()])
    return losses, [student.arrays(), {}, teacher.arrays()]


def averaged_copy(start: list[Arrays], batches: Any) -> Answer:
    model, average = Net(start[0]), Net(start[1])
    torch = model.torch
    opt = torch.optim.Adam(model.learned(), 2e-2)
    losses = []
    for *batch, decay in batches:
        x, y = model.tensors(batch)
        h = torch.tanh(model.batch_norm("layers.1", model.dense("layers.0", x), True))
        loss = model.F.mse_loss(model.dense("layers.3", model.dropout("layers.2", h, 0.1, True)), y)
        descend(opt, loss)
        with torch.no_grad():
            for path, slow in average.p.items():
                slow.lerp_(model.p[path], 1 - decay)
        losses.append([loss.item()])
    return losses, [model.arrays(), average.arrays()]


def gradient_penalty(start: list[Arrays], batches: Any) -> Answer:
    critic = Net(start[0])
    torch, F = critic.torch, critic.F

    def judge(x: Any) -> Any:
        h = critic.layer_norm("layers.1", F.gelu(critic.dense("layers.0", x)))
        return critic.dense("layers.3", F.gelu(critic.dense("layers.2", h)))

    opt = torch.optim.Adam(critic.learned(), 2e-3, betas=(0.5, 0.999))
    losses = []
    for batch in batches:
        real, fake, mix = critic.tensors(batch)
        between = (mix * real + (1 - mix) * fake).requires_grad_()
        (along,) = torch.autograd.grad(judge(between).sum(), between, create_graph=True)
        penalty = ((torch.sqrt((along**2).sum(-1) + 1e-12) - 1) ** 2).mean()
        distance = judge(real).mean() - judge(fake).mean()
        descend(opt, 10 * penalty - distance)
        losses.append([distance.item(), penalty.item()])
    return losses, [critic.arrays()]


def maml(start: list[Arrays], batches: Any) -> Answer:
    net = Net(start[0])
    torch = net.torch

    def mse(p: dict[str, Any], x: Any, y: Any) -> Any:
        h = torch.tanh(net.dense("layers.1", torch.tanh(net.dense("layers.0", x, p)), p))
        return net.F.mse_loss(net.dense("layers.2", h, p), y)

    opt = torch.optim.Adam(net.learned(), 3e-3)
    losses = []
    for seen, held in batches:
        (x, y), (x_held, y_held) = net.tensors(seen), net.tensors(held)
        tasks = []
        for i in range(len(x)):
            steps = torch.autograd.grad(mse(net.p, x[i], y[i]), list(net.p.values()), create_graph=True)
            fast = {k: v - 0.1 * g for (k, v), g in zip(net.p.items(), steps, strict=True)}
            tasks.append(mse(fast, x_held[i], y_held[i]))
        loss = torch.stack(tasks).mean()
        descend(opt, loss)
        losses.append([loss.item()])
    return losses, [net.arrays()]


def shared_encoder(start: list[Arrays], batches: Any) -> Answer:
    net = Net(start[0])
    torch, F = net.torch, net.F

    def encode(x: Any) -> Any:
        at = "right.layers"
        return net.dense(f"{at}.2", torch.relu(net.batch_norm(f"{at}.1", net.dense(f"{at}.0", x), True)))

    opt = torch.optim.Adam(net.learned(), 3e-3)
    losses = []
    for batch in batches:
        left, right = net.tensors(batch)
        a, b = F.normalize(net.dense("left.layers.1", encode(left)), dim=-1), F.normalize(encode(right), dim=-1)
        alike = torch.exp(net.p["scale"]) * a @ b.T
        own = torch.arange(len(alike))
        loss = 0.5 * (F.cross_entropy(alike, own) + F.cross_entropy(alike.T, own))
        descend(opt, loss)
        losses.append([loss.item()])
    return losses, [net.arrays()]


def recurrent_dropout(start: list[Arrays], batches: Any) -> Answer:
    net = Net(start[0])
    torch = net.torch
    opt = torch.optim.Adam(net.learned(), 3e-3)
    losses = []
    for batch in batches:
        x, y = net.tensors(batch)
        h = torch.zeros(len(x), 5, dtype=x.dtype)
        for t in range(x.shape[1]):
            kept = net.dropout("cell.drop", h, 0.4, True)
            h = torch.tanh(net.dense("cell.inward", x[:, t]) + net.dense("cell.onward", kept))
        loss = net.F.mse_loss(net.dense("read", h), y)
        descend(opt, loss)
        losses.append([loss.item()])
    return losses, [net.arrays()]


def policy_rollout(start: list[Arrays], batches: Any, steps: int = 15) -> Answer:
    net = Net(start[0])
    torch = net.torch
    opt = torch.optim.Adam(net.learned(), 1e-2)
    losses = []
    for key, states in batches:
        (state,) = net.tensors([states])
        chosen, rewards = [], []
        for k in jax.random.split(key, steps):
            hidden = torch.tanh(net.dense("net.layers.0", state))
            logits = torch.log_softmax(net.dense("net.layers.1", hidden), -1)
            action = torch.tensor(np.array(jax.random.categorical(k, jnp.asarray(to_numpy(logits)))))
            chosen.append(logits[torch.arange(len(action)), action])
            speed = 0.9 * state[:, 1] + 0.3 * (action - 1).to(state.dtype)
            place = state[:, 0] + 0.5 * speed
            state = torch.stack([place, speed], -1)
            rewards.append(-(place**2) - 0.1 * speed**2)
        value, loss = sum(rewards), torch.zeros((), dtype=state.dtype)
        for t, logit in enumerate(chosen):
            loss = loss - (logit * (sum(rewards[t:]) - (steps - t) / steps * net.p["baseline"])).mean()
        net.p["baseline"] = 0.9 * net.p["baseline"] + 0.1 * value.mean()
        descend(opt, loss)
        losses.append([value.mean().item()])
    return losses, [net.arrays()]


def ensemble(start: list[Arrays], batches: Any) -> Answer:
    members = [Net({k: v[i] for k, v in start[0].items()}) for i in range(3)]
    torch = members[0].torch
    opts = [torch.optim.Adam(m.learned(), 1e-2) for m in members]
    losses = []
    for batch in batches:
        row = []
        for m, opt, x, y in zip(members, opts, *members[0].tensors(batch), strict=True):
            h = torch.tanh(m.batch_norm("layers.1", m.dense("layers.0", x), True))
            loss = m.F.mse_loss(m.dense("layers.3", m.dropout("layers.2", h, 0.1, True)), y)
            descend(opt, loss)
            row.append(loss.item())
        losses.append(row)
    after = [m.arrays() for m in members]
    return losses, [{k: np.stack([a[k] for a in after]) for k in after[0]}]


def pinn(start: list[Arrays], batches: Any) -> Answer:
    net = Net(start[0])
    torch = net.torch
    slope: Callable[[Any, Any], Any] = lambda y, x: torch.autograd.grad(y.sum(), x, create_graph=True)[0]  # noqa: E731

    def u(points: Any) -> Any:
        h = torch.tanh(net.dense("layers.1", torch.tanh(net.dense("layers.0", points))))
        return net.dense("layers.2", h)[:, 0]

    opt = torch.optim.Adam(net.learned(), 5e-3)
    losses = []
    for batch in batches:
        inside, at_start, walls = net.tensors(batch)
        inside.requires_grad_()
        first = slope(u(inside), inside)
        second = slope(first[:, 1], inside)[:, 1]
        loss = ((first[:, 0] - 0.2 * second) ** 2).mean() + 10 * (u(walls) ** 2).mean()
        loss = loss + 10 * ((u(at_start) - torch.sin(torch.pi * at_start[:, 1])) ** 2).mean()
        descend(opt, loss)
        losses.append([loss.item()])
    return losses, [net.arrays()]


def tied_embeddings(start: list[Arrays], batches: Any) -> Answer:
    net = Net(start[0])
    F = net.F
    opt = net.torch.optim.Adam(net.learned(), 1e-2)
    losses = []
    for batch in batches:
        tokens, after = net.tensors(batch)
        table = net.p["table.weight"]
        h = net.layer_norm("body.layers.1", F.gelu(net.dense("body.layers.0", table[tokens].flatten(1))))
        loss = F.cross_entropy(h @ table.T + net.p["scores.bias"], after)
        descend(opt, loss)
        losses.append([loss.item()])
    return losses, [net.arrays()]


def frozen_trunk(start: list[Arrays], batches: Any) -> Answer:
    net, head = Net(start[0]), Net(start[2])
    torch = net.torch
    opt = torch.optim.SGD(net.learned(), 0.1, momentum=0.9)
    losses = []
    for i, batch in enumerate(batches):
        if i == len(batches) // 2:
            net.p |= {f"head.{k}": v for k, v in head.p.items()}
            opt = torch.optim.SGD(net.learned("head."), 0.1, momentum=0.9)
        x, y = net.tensors(batch)
        h = torch.relu(net.batch_norm("trunk.layers.1", net.dense("trunk.layers.0", x), i < len(batches) // 2))
        loss = net.F.cross_entropy(net.dense("head", torch.relu(net.dense("trunk.layers.2", h))), y)
        descend(opt, loss)
        losses.append([loss.item()])
    return losses, [net.arrays()]
