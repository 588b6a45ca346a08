"""Update rules written out in NumPy: each generator is sent gradients and gives the weights after every step."""

import math
from itertools import count

import numpy as np


def descent(w, lr):
    while True:
        g = yield w
        w = w - lr * g


def momentum(w, lr, mu, nesterov=False):
    v = 0
    while True:
        g = yield w
        v = mu * v + g
        w = w - lr * (g + mu * v if nesterov else v)


def flux_nesterov(w, lr, rho):
    """As Optimisers.jl writes it, with the rate inside the velocity."""
    v = 0
    while True:
        g = yield w
        w = w - (-(rho**2) * v + (1 + rho) * lr * g)
        v = rho * v - lr * g


def rprop(w, lr, shrink, grow, smallest, largest):
    size, before = np.full_like(w, lr), np.zeros_like(w)
    while True:
        g = yield w
        kept, turned = g * before > 0, g * before < 0
        size = np.clip(np.where(kept, size * grow, np.where(turned, size * shrink, size)), smallest, largest)
        before = np.where(turned, 0, g)
        w = w - size * np.sign(before)


def lion(w, lr, b1, b2, decay):
    m = 0
    while True:
        g = yield w
        w = w - lr * (np.sign(b1 * m + (1 - b1) * g) + decay * w)
        m = b2 * m + (1 - b2) * g


def asgd(w, lr, decay, power):
    for t in count(0):
        g = yield w
        w = w - lr / (1 + decay * lr * t) ** power * (g + decay * w)


def adam(w, lr, b1, b2, eps, decay=0.0):
    m = v = 0
    for t in count(1):
        g = yield w
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        w = w - lr * (m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + eps) + decay * w)


def amsgrad(w, lr, b1, b2, eps):
    m = v = top = 0
    for t in count(1):
        g = yield w
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        top = np.maximum(top, v)
        w = w - lr * m / (1 - b1**t) / (np.sqrt(top / (1 - b2**t)) + eps)


def adamax(w, lr, b1, b2, eps):
    m = u = 0
    for t in count(1):
        g = yield w
        m, u = b1 * m + (1 - b1) * g, np.maximum(b2 * u, abs(g) + eps)
        w = w - lr / (1 - b1**t) * m / u


def nadam(w, lr, b1, b2, eps, psi):
    m = v = 0
    mu = lambda t: b1 * (1 - 0.5 * 0.96 ** (t * psi))  # noqa: E731
    for t in count(1):
        g = yield w
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        past = math.prod(mu(i) for i in range(1, t + 1))
        top = mu(t + 1) * m / (1 - past * mu(t + 1)) + (1 - mu(t)) * g / (1 - past)
        w = w - lr * top / (np.sqrt(v / (1 - b2**t)) + eps)


def flux_nadam(w, lr, b1, b2, eps):
    """As Optimisers.jl writes it, with one share of momentum for ever."""
    m = v = 0
    for t in count(1):
        g = yield w
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        top = b1 * m / (1 - b1 ** (t + 1)) + (1 - b1) * g / (1 - b1**t)
        w = w - lr * top / (np.sqrt(v / (1 - b2**t)) + eps)


def radam(w, lr, b1, b2, eps):
    m = v = 0
    limit = 2 / (1 - b2) - 1
    for t in count(1):
        g = yield w
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        rho = limit - 2 * t * b2**t / (1 - b2**t)
        scale = 1.0
        if rho > 5:
            r = math.sqrt((rho - 4) * (rho - 2) * limit / ((limit - 4) * (limit - 2) * rho))
            scale = r * math.sqrt(1 - b2**t) / (np.sqrt(v) + eps)
        w = w - lr * m / (1 - b1**t) * scale


def adabelief(w, lr, b1, b2, eps):
    m = s = 0
    for t in count(1):
        g = yield w
        m = b1 * m + (1 - b1) * g
        s = b2 * s + (1 - b2) * (g - m) ** 2 + eps
        w = w - lr * m / (1 - b1**t) / (np.sqrt(s / (1 - b2**t)) + eps)


def oadam(w, lr, b1, b2, eps):
    m = v = before = 0
    for t in count(1):
        g = yield w
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        term = lr * m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + eps)
        w, before = w - (2 * term - before), term


def adagrad(w, lr, initial, eps):
    s = initial
    while True:
        g = yield w
        s = s + g**2
        w = w - lr * g / (np.sqrt(s) + eps)


def adadelta(w, lr, rho, eps):
    s = u = 0
    while True:
        g = yield w
        s = rho * s + (1 - rho) * g**2
        d = g * np.sqrt(u + eps) / np.sqrt(s + eps)
        u = rho * u + (1 - rho) * d**2
        w = w - lr * d


def rmsprop(w, lr, rho, eps, mu=0.0, centred=False):
    s = mean = b = 0
    while True:
        g = yield w
        s, mean = rho * s + (1 - rho) * g**2, rho * mean + (1 - rho) * g
        b = mu * b + g / (np.sqrt(s - mean**2 if centred else s) + eps)
        w = w - lr * b


def adafactor(w, lr, power, eps, least, threshold, decay):
    row = column = whole = 0
    rms = lambda x: np.sqrt((x**2).mean())  # noqa: E731
    for t in count(1):
        g = yield w
        keep = 1 - t**power
        if g.ndim > 1:
            row = keep * row + (1 - keep) * (g**2).mean(-1)
            column = keep * column + (1 - keep) * (g**2).mean(-2)
            v = np.outer(row, column) / row.mean()
        else:
            v = whole = keep * whole + (1 - keep) * g**2
        u = g / np.sqrt(np.maximum(v, eps**2))
        u = u / max(1, rms(u) / threshold)
        w = w - max(least, rms(w)) * min(lr, t**-0.5) * u - lr * decay * w


def muon(w, lr, mu, decay, nesterov=True):
    v = 0
    while True:
        g = yield w
        v = mu * v + (1 - mu) * g
        u = mu * v + (1 - mu) * g if nesterov else v
        x = u / np.linalg.norm(u)
        for _ in range(5):  # the polynomial acts on singular values alone
            left, s, right = np.linalg.svd(x, full_matrices=False)
            x = left @ np.diag(3.4445 * s - 4.775 * s**3 + 2.0315 * s**5) @ right
        w = w - lr * (math.sqrt(max(1, w.shape[1] / w.shape[0])) * x + decay * w)


def weight_decay(inner, w, decay):
    """A rule whose gradient has the decay in it."""
    next(inner)
    while True:
        g = yield w
        w = inner.send(g + decay(w))
