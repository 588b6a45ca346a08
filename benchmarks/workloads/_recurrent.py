"""LSTMs in every framework: of features to one class, or of tokens to the next one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Plan:
    """Layers over time, and a dense head on the last output or on all."""

    size: int  # features of the input, or of what tokens are embedded in
    hidden: int
    layers: int
    length: int
    classes: int
    vocabulary: int | None = None

    @property
    def sizes(self) -> list[int]:
        """Features that go into each layer."""
        return [self.size, *[self.hidden] * (self.layers - 1)]

    @property
    def surplus(self) -> dict[str, int]:
        """PyTorch's layer has a second bias, for the product with the state."""
        return {"torch": 4 * self.hidden * self.layers}


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

    start = [px.Embedding(plan.vocabulary, plan.size)] if plan.vocabulary else []
    end = [] if plan.vocabulary else [lambda y: y[:, -1]]
    recurrent = px.LSTM(plan.size, plan.hidden, num_layers=plan.layers)
    return px.Chain(*start, recurrent, *end, px.Dense(plan.hidden, plan.classes))


def _plain(plan: Plan, net: Any, x: Any) -> Any:
    x = net.embed("tokens", x, plan.vocabulary, plan.size) if plan.vocabulary else x
    for i in range(plan.layers):
        x = net.lstm(str(i), x, plan.hidden)
    return net.dense("head", x if plan.vocabulary else x[:, -1], plan.classes)


def _flax(plan: Plan, rngs: Any) -> Any:
    from flax import nnx

    start = [nnx.Embed(plan.vocabulary, plan.size, rngs=rngs)] if plan.vocabulary else []
    end = [] if plan.vocabulary else [lambda y: y[:, -1]]
    recurrent = [nnx.RNN(nnx.OptimizedLSTMCell(size, plan.hidden, rngs=rngs), rngs=rngs) for size in plan.sizes]
    return nnx.Sequential(*start, *recurrent, *end, nnx.Linear(plan.hidden, plan.classes, rngs=rngs))


def _equinox(plan: Plan, key: Any) -> Any:
    import equinox as eqx
    import jax
    import jax.numpy as jnp

    keys = jax.random.split(key, plan.layers + 2)

    class Model(eqx.Module):
        start: Any
        cells: list[eqx.nn.LSTMCell]
        head: eqx.nn.Linear

        def __init__(self) -> None:
            self.start = eqx.nn.Embedding(plan.vocabulary, plan.size, key=keys[0]) if plan.vocabulary else None
            self.cells = [eqx.nn.LSTMCell(n, plan.hidden, key=k) for n, k in zip(plan.sizes, keys[2:], strict=True)]
            self.head = eqx.nn.Linear(plan.hidden, plan.classes, key=keys[1])

        def __call__(self, x: Any) -> Any:
            x = x if self.start is None else jax.vmap(self.start)(x)
            for cell in self.cells:
                x = self.run(cell, x)
            return self.head(x[-1]) if self.start is None else jax.vmap(self.head)(x)

        def run(self, cell: Any, x: Any) -> Any:
            def step(state: Any, x: Any) -> Any:
                state = cell(x, state)
                return state, state[0]

            zeros = jnp.zeros(plan.hidden, x.dtype)
            return jax.lax.scan(step, (zeros, zeros), x)[1]

    return Model(), None


def _keras(plan: Plan) -> Any:
    import keras
    from keras import layers

    shape, dtype = ((plan.length,), "int32") if plan.vocabulary else ((plan.length, plan.size), "float32")
    start = x = keras.Input(shape, dtype=dtype)
    x = layers.Embedding(plan.vocabulary, plan.size)(x) if plan.vocabulary else x
    for i in range(plan.layers):
        x = layers.LSTM(plan.hidden, return_sequences=bool(plan.vocabulary) or i < plan.layers - 1)(x)
    return keras.Model(start, layers.Dense(plan.classes)(x))


def _torch(plan: Plan) -> Any:
    from torch import nn

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.start = nn.Embedding(plan.vocabulary, plan.size) if plan.vocabulary else nn.Identity()
            self.lstm = nn.LSTM(plan.size, plan.hidden, plan.layers, batch_first=True)
            self.head = nn.Linear(plan.hidden, plan.classes)

        def forward(self, x: Any) -> Any:
            y, _ = self.lstm(self.start(x))
            return self.head(y if plan.vocabulary else y[:, -1])

    return Model()
