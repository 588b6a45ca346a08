"""A multi-layer perceptron in every framework: dense layers with relu between them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any


def models(*sizes: int) -> Mapping[str, Callable[..., Any]]:
    """The builders, from the sizes of all layers, the input's first."""
    *inner, end = pairwise(sizes)

    def phlox() -> Any:
        import phlox as px

        return px.Chain(*[px.Dense(*pair, px.relu) for pair in inner], px.Dense(*end))

    def plain(net: Any, x: Any) -> Any:
        import jax

        for i, (_, out) in enumerate(inner):
            x = jax.nn.relu(net.dense(str(i), x, out))
        return net.dense("end", x, end[1])

    def flax(rngs: Any) -> Any:
        from flax import nnx

        hidden = [layer for pair in inner for layer in (nnx.Linear(*pair, rngs=rngs), nnx.relu)]
        return nnx.Sequential(*hidden, nnx.Linear(*end, rngs=rngs))

    def equinox(key: Any) -> Any:
        import equinox as eqx

        return eqx.nn.MLP(sizes[0], sizes[-1], sizes[1], len(inner), key=key), None

    def keras() -> Any:
        from keras import Sequential, layers

        hidden = [layers.Dense(out, activation="relu") for _, out in inner]
        return Sequential([layers.Input(sizes[:1]), *hidden, layers.Dense(end[1])])

    def torch() -> Any:
        from torch import nn

        return nn.Sequential(*[m for pair in inner for m in (nn.Linear(*pair), nn.ReLU())], nn.Linear(*end))

    return {"phlox": phlox, "jax": plain, "flax": flax, "equinox": equinox, "keras": keras, "torch": torch}
