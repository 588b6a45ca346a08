"""Layers over a flat dict of arrays, for the models of plain JAX: what its users write by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Arrays = dict[str, Any]


class Net:
    """Parameters and running statistics by name, while a model is traced; statistics that move are put in ``stats``."""

    def __init__(self, params: Arrays, stats: Arrays, train: bool, rng: np.random.Generator | None = None):
        self.params, self.stats, self.train, self.rng = params, dict(stats), train, rng

    @classmethod
    def initial(cls, model: Callable[[Net, Any], Any], x: np.ndarray) -> tuple[Arrays, Arrays]:
        """The parameters and statistics that a model asks for on its way over x."""
        net = cls({}, {}, True, np.random.default_rng(0))
        jax.eval_shape(lambda x: model(net, x), x)
        still = {name: np.full(a.shape, float(name.endswith("var")), np.float32) for name, a in net.stats.items()}
        return jax.tree.map(jnp.array, net.params), jax.tree.map(jnp.array, still)

    def param(self, name: str, shape: tuple[int, ...], scale: float, shift: float = 0.0) -> jax.Array:
        """An array of normal numbers at the start."""
        if self.rng is not None:
            self.params[name] = (shift + scale * self.rng.normal(size=shape)).astype(np.float32)
        return self.params[name]

    def dense(self, name: str, x: jax.Array, out: int) -> jax.Array:
        size = x.shape[-1]
        return x @ self.param(f"{name}/w", (size, out), size**-0.5) + self.param(f"{name}/b", (out,), 0.0)

    def conv(
        self, name: str, x: jax.Array, kernel: int, out: int, stride: int = 1, padding: Any = "SAME", bias: bool = True
    ) -> jax.Array:
        rank, size = x.ndim - 2, x.shape[-1]
        shape = (*[kernel] * rank, size, out)
        layout = ("NHWC", "HWIO", "NHWC") if rank == 2 else ("NWC", "WIO", "NWC")
        weight = self.param(f"{name}/w", shape, math.prod(shape[:-1]) ** -0.5)
        padding = [(padding, padding)] * rank if isinstance(padding, int) else padding
        y = lax.conv_general_dilated(x, weight, [stride] * rank, padding, dimension_numbers=layout)
        return y + self.param(f"{name}/b", (out,), 0.0) if bias else y

    def up(self, name: str, x: jax.Array, out: int) -> jax.Array:
        """A transposed convolution that doubles both sides."""
        weight = self.param(f"{name}/w", (2, 2, x.shape[-1], out), (4 * x.shape[-1]) ** -0.5)
        layout = ("NHWC", "HWIO", "NHWC")
        y = lax.conv_transpose(x, weight, (2, 2), "SAME", dimension_numbers=layout)
        return y + self.param(f"{name}/b", (out,), 0.0)

    def batch_norm(self, name: str, x: jax.Array) -> jax.Array:
        size, wide = x.shape[-1], x.astype(jnp.float32)
        scale, bias = self.param(f"{name}/scale", (size,), 0.0, 1.0), self.param(f"{name}/bias", (size,), 0.0)
        if self.train:
            axes = tuple(range(x.ndim - 1))
            mean, square = jnp.mean(wide, axes), jnp.mean(wide * wide, axes)
            var = square - mean * mean
            for kind, new in (("mean", mean), ("var", var)):
                old = self.stats.get(f"{name}/{kind}", jnp.zeros(size))
                self.stats[f"{name}/{kind}"] = 0.9 * old + 0.1 * lax.stop_gradient(new)
        else:
            mean, var = self.stats[f"{name}/mean"], self.stats[f"{name}/var"]
        return ((wide - mean) * (lax.rsqrt(var + 1e-5) * scale) + bias).astype(x.dtype)

    def layer_norm(self, name: str, x: jax.Array) -> jax.Array:
        size, wide = x.shape[-1], x.astype(jnp.float32)
        scale, bias = self.param(f"{name}/scale", (size,), 0.0, 1.0), self.param(f"{name}/bias", (size,), 0.0)
        mean, var = jnp.mean(wide, -1, keepdims=True), jnp.var(wide, -1, keepdims=True)
        return ((wide - mean) * lax.rsqrt(var + 1e-5) * scale + bias).astype(x.dtype)

    def embed(self, name: str, tokens: jax.Array, num: int, dim: int) -> jax.Array:
        return jnp.asarray(self.param(name, (num, dim), 0.02))[tokens]

    def attention(self, name: str, x: jax.Array, heads: int, causal: bool) -> jax.Array:
        batch, time, dim = x.shape
        q, k, v = (self.dense(f"{name}/{n}", x, dim).reshape(batch, time, heads, dim // heads) for n in "qkv")
        y = jax.nn.dot_product_attention(q, k, v, is_causal=causal)
        return self.dense(f"{name}/out", y.reshape(x.shape), dim)

    def lstm(self, name: str, x: jax.Array, hidden: int) -> jax.Array:
        """The inputs' product is one for all steps, before the loop."""
        given = self.dense(f"{name}/in", x, 4 * hidden)
        weight = self.param(f"{name}/h", (hidden, 4 * hidden), hidden**-0.5)

        def step(state: Any, given: jax.Array) -> Any:
            h, c = state
            i, f, g, o = jnp.split(given + h @ weight, 4, -1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        zeros = jnp.zeros((x.shape[0], hidden), given.dtype)
        _, y = lax.scan(step, (zeros, zeros), jnp.swapaxes(given, 0, 1))
        return jnp.swapaxes(y, 0, 1)


def max_pool(x: jax.Array, window: int, stride: int | None = None, padding: int = 0) -> jax.Array:
    rank = x.ndim - 2
    sizes, strides = (1, *[window] * rank, 1), (1, *[stride or window] * rank, 1)
    return lax.reduce_window(x, -jnp.inf, lax.max, sizes, strides, [(0, 0), *[(padding, padding)] * rank, (0, 0)])
