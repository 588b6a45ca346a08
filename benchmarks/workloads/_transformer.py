"""Transformers in every framework, from one description: of tokens or patches, norms first or last."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Plan:
    """What is embedded gets learned positions; then layers of attention and a gelu block, and a dense head."""

    dim: int
    heads: int
    layers: int
    length: int  # positions
    vocabulary: int | None = None  # of tokens; else images are cut in patches
    patch: int = 16
    side: int = 224
    causal: bool = False
    norm_first: bool = True  # with a norm behind the last layer; else one behind the embedding
    pooled: bool = False  # the head sees the mean over positions
    classes: int | None = None  # None: no head


def models(plan: Plan) -> Mapping[str, Callable[..., Any]]:
    return {
        "phlox": lambda: _phlox(plan),
        "jax": lambda net, x: _plain(plan, net, x),
        "flax": lambda rngs: _flax(plan, rngs),
        "equinox": lambda key: _equinox(plan, key),
        "keras": lambda: _keras(plan),
        "torch": lambda: _torch(plan),
    }


def _phlox(plan: Plan) -> Any:
    import phlox as px

    if plan.vocabulary:
        start = [px.Embedding(plan.vocabulary, plan.dim)]
    else:
        patch = (plan.patch, plan.patch)
        start = [px.Conv(patch, 3, plan.dim, stride=patch), lambda x: x.reshape(len(x), -1, plan.dim)]
    layer = lambda: px.TransformerEncoderLayer(  # noqa: E731
        plan.dim, plan.heads, act=px.gelu, dropout=0.0, norm_first=plan.norm_first, causal=plan.causal
    )
    norm = [px.LayerNorm(plan.dim)]
    return px.Chain(
        *start,
        px.PositionEmbedding(plan.length, plan.dim),
        *([] if plan.norm_first else norm),
        *[layer() for _ in range(plan.layers)],
        *(norm if plan.norm_first else []),
        *([lambda x: x.mean(1)] if plan.pooled else []),
        *([px.Dense(plan.dim, plan.classes)] if plan.classes else []),
    )


def _plain(plan: Plan, net: Any, x: Any) -> Any:
    import jax
    import jax.numpy as jnp

    def layer(name: str, x: Any) -> Any:
        norm1, norm2 = (lambda x, n=n: net.layer_norm(f"{name}/norm{n}", x) for n in (1, 2))
        attend = lambda x: net.attention(f"{name}/attention", x, plan.heads, plan.causal)  # noqa: E731
        up = lambda x: jax.nn.gelu(net.dense(f"{name}/up", x, 4 * plan.dim))  # noqa: E731
        mlp = lambda x: net.dense(f"{name}/down", up(x), plan.dim)  # noqa: E731
        if plan.norm_first:
            x = x + attend(norm1(x))
            return x + mlp(norm2(x))
        x = norm1(x + attend(x))
        return norm2(x + mlp(x))

    if plan.vocabulary:
        x = net.embed("tokens", x, plan.vocabulary, plan.dim)
    else:
        x = net.conv("patches", x, plan.patch, plan.dim, plan.patch, "VALID").reshape(len(x), -1, plan.dim)
    x = x + net.embed("positions", jnp.arange(x.shape[1]), plan.length, plan.dim)
    x = x if plan.norm_first else net.layer_norm("start", x)
    for i in range(plan.layers):
        x = layer(f"{i}", x)
    x = net.layer_norm("end", x) if plan.norm_first else x
    x = x.mean(1) if plan.pooled else x
    return net.dense("head", x, plan.classes) if plan.classes else x


def _flax(plan: Plan, rngs: Any) -> Any:
    import jax.numpy as jnp
    from flax import nnx

    dim = plan.dim

    class Layer(nnx.Module):
        def __init__(self) -> None:
            self.attention = nnx.MultiHeadAttention(plan.heads, dim, decode=False, rngs=rngs)
            self.norm1, self.norm2 = nnx.LayerNorm(dim, rngs=rngs), nnx.LayerNorm(dim, rngs=rngs)
            self.mlp = nnx.Sequential(
                nnx.Linear(dim, 4 * dim, rngs=rngs), nnx.gelu, nnx.Linear(4 * dim, dim, rngs=rngs)
            )

        def __call__(self, x: Any) -> Any:
            mask = nnx.make_causal_mask(jnp.ones(x.shape[:2])) if plan.causal else None
            if plan.norm_first:
                x = x + self.attention(self.norm1(x), mask=mask)
                return x + self.mlp(self.norm2(x))
            x = self.norm1(x + self.attention(x, mask=mask))
            return self.norm2(x + self.mlp(x))

    class Model(nnx.Module):
        def __init__(self) -> None:
            patch = (plan.patch, plan.patch)
            self.start = (
                nnx.Embed(plan.vocabulary, dim, rngs=rngs)
                if plan.vocabulary
                else nnx.Conv(3, dim, patch, patch, padding="VALID", rngs=rngs)
            )
            self.positions = nnx.Embed(plan.length, dim, rngs=rngs)
            self.norm = nnx.LayerNorm(dim, rngs=rngs)
            self.layers = nnx.List([Layer() for _ in range(plan.layers)])
            self.head = nnx.Linear(dim, plan.classes, rngs=rngs) if plan.classes else None

        def __call__(self, x: Any) -> Any:
            x = self.start(x).reshape(len(x), -1, dim)
            x = x + self.positions(jnp.arange(x.shape[1]))
            x = x if plan.norm_first else self.norm(x)
            for layer in self.layers:
                x = layer(x)
            x = self.norm(x) if plan.norm_first else x
            x = x.mean(1) if plan.pooled else x
            return x if self.head is None else self.head(x)

    return Model()


def _equinox(plan: Plan, key: Any) -> Any:
    import equinox as eqx
    import jax
    import jax.numpy as jnp

    keys, dim = iter(jax.random.split(key, 1000)), plan.dim
    linear = lambda size, out: eqx.nn.Linear(size, out, key=next(keys))  # noqa: E731

    class Layer(eqx.Module):
        attention: Any
        norm1: Any
        norm2: Any
        up: Any
        down: Any

        def __init__(self) -> None:
            biases = dict.fromkeys(("use_query_bias", "use_key_bias", "use_value_bias", "use_output_bias"), True)
            self.attention = eqx.nn.MultiheadAttention(plan.heads, dim, **biases, key=next(keys))
            self.norm1, self.norm2 = eqx.nn.LayerNorm(dim), eqx.nn.LayerNorm(dim)
            self.up, self.down = linear(dim, 4 * dim), linear(4 * dim, dim)

        def attend(self, x: Any) -> Any:
            return self.attention(x, x, x, mask=jnp.tri(len(x), dtype=bool) if plan.causal else None)

        def mlp(self, x: Any) -> Any:
            return jax.vmap(self.down)(jax.nn.gelu(jax.vmap(self.up)(x)))

        def __call__(self, x: Any) -> Any:
            norm1, norm2 = jax.vmap(self.norm1), jax.vmap(self.norm2)
            if plan.norm_first:
                x = x + self.attend(norm1(x))
                return x + self.mlp(norm2(x))
            x = norm1(x + self.attend(x))
            return norm2(x + self.mlp(x))

    class Model(eqx.Module):
        start: Any
        positions: Any
        norm: Any
        layers: list[Layer]
        head: Any

        def __init__(self) -> None:
            self.start = (
                eqx.nn.Embedding(plan.vocabulary, dim, key=next(keys))
                if plan.vocabulary
                else eqx.nn.Conv2d(3, dim, plan.patch, plan.patch, key=next(keys))
            )
            self.positions = eqx.nn.Embedding(plan.length, dim, key=next(keys))
            self.norm = eqx.nn.LayerNorm(dim)
            self.layers = [Layer() for _ in range(plan.layers)]
            self.head = linear(dim, plan.classes) if plan.classes else None

        def __call__(self, x: Any) -> Any:
            x = jax.vmap(self.start)(x) if plan.vocabulary else self.start(x).reshape(dim, -1).T
            x = x + jax.vmap(self.positions)(jnp.arange(len(x)))
            x = x if plan.norm_first else jax.vmap(self.norm)(x)
            for layer in self.layers:
                x = layer(x)
            x = jax.vmap(self.norm)(x) if plan.norm_first else x
            if self.head is None:
                return x
            return self.head(x.mean(0)) if plan.pooled else jax.vmap(self.head)(x)

    return Model(), None


def _keras(plan: Plan) -> Any:
    import keras
    from keras import layers, ops

    dim = plan.dim
    norm = lambda x: layers.LayerNormalization(epsilon=1e-5)(x)  # noqa: E731

    class Positions(layers.Layer):
        def build(self, shape: Any) -> None:
            self.table = self.add_weight(shape=(plan.length, dim), initializer="random_normal")

        def call(self, x: Any) -> Any:
            return x + ops.cast(self.table[: x.shape[1]], x.dtype)

    def attend(x: Any) -> Any:
        return layers.MultiHeadAttention(plan.heads, dim // plan.heads)(x, x, use_causal_mask=plan.causal)

    def mlp(x: Any) -> Any:
        return layers.Dense(dim)(layers.Dense(4 * dim, activation="gelu")(x))

    if plan.vocabulary:
        start = keras.Input((plan.length,), dtype="int32")
        x = layers.Embedding(plan.vocabulary, dim)(start)
    else:
        start = keras.Input((plan.side, plan.side, 3))
        x = layers.Reshape((plan.length, dim))(layers.Conv2D(dim, plan.patch, plan.patch)(start))
    x = Positions()(x)
    x = x if plan.norm_first else norm(x)
    for _ in range(plan.layers):
        if plan.norm_first:
            x = layers.Add()([x, attend(norm(x))])
            x = layers.Add()([x, mlp(norm(x))])
        else:
            x = norm(layers.Add()([x, attend(x)]))
            x = norm(layers.Add()([x, mlp(x)]))
    x = norm(x) if plan.norm_first else x
    x = layers.GlobalAveragePooling1D()(x) if plan.pooled else x
    return keras.Model(start, layers.Dense(plan.classes)(x) if plan.classes else x)


def _torch(plan: Plan) -> Any:
    import torch
    from torch import nn

    dim = plan.dim

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.start = (
                nn.Embedding(plan.vocabulary, dim) if plan.vocabulary else nn.Conv2d(3, dim, plan.patch, plan.patch)
            )
            self.positions = nn.Parameter(0.02 * torch.randn(plan.length, dim))
            self.norm = nn.LayerNorm(dim)
            self.layers = nn.ModuleList([self.layer() for _ in range(plan.layers)])
            self.head = nn.Linear(dim, plan.classes) if plan.classes else nn.Identity()

        def layer(self) -> nn.Module:
            options: dict[str, Any] = dict(activation=nn.functional.gelu, batch_first=True, norm_first=plan.norm_first)
            return nn.TransformerEncoderLayer(dim, plan.heads, 4 * dim, 0.0, **options)

        def forward(self, x: Any) -> Any:
            x = self.start(x)
            x = x if plan.vocabulary else x.flatten(2).transpose(1, 2)
            x = x + self.positions[: x.shape[1]]
            x = x if plan.norm_first else self.norm(x)
            mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1], device=x.device) if plan.causal else None
            for layer in self.layers:
                x = layer(x, src_mask=mask, is_causal=plan.causal)
            x = self.norm(x) if plan.norm_first else x
            return self.head(x.mean(1) if plan.pooled else x)

    return Model()
