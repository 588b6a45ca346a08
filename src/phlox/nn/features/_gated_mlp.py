"""The gated feed-forward block of transformers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from phlox.core import Module, key_or_draw
from phlox.nn import functional as F
from phlox.nn import init as inits
from phlox.nn._autosize import sized
from phlox.nn._checks import check_act, check_size
from phlox.nn.features._dense import Dense
from phlox.nn.features._dropout import Dropout


@sized(dim=-1)
class GatedMLP(Module):
    r"""Two maps, one of which lets the other through, and a third back: $y = (σ(x W_g) ⊙ x W_u) W_d$.

    ``px.nn.functional.silu`` makes it SwiGLU, ``px.gelu`` GEGLU, ``px.relu`` ReGLU, ``px.sigmoid`` GLU.

    Shapes:
        x, y: (..., dim); gate, up: (dim, hidden); down: (hidden, dim).

    Arguments:
        dim: features of input and output.
        hidden: features between; about ``8/3 dim`` costs as much as a plain block of ``4 dim``.
        act: σ, on the gate.
        bias: whether the three maps have biases, which start at zero.
        dropout: probability of a hidden feature to be zeroed, in training.
        init: initialiser of the three weights.
        key: where weights and dropout draw from; by default the stream of ``px.seed``.

    Raises:
        RangeError: a size below 1, or a dropout outside [0, 1].
        ShapeError: an input without ``dim`` features.

    Source: Shazeer, "GLU variants improve transformer", 2020.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.nn.GatedMLP(8, 24)(jnp.ones((2, 5, 8))).shape
    (2, 5, 8)
    """

    dim: int
    hidden: int

    def __init__(
        self,
        dim: int,
        hidden: int,
        act: Callable[[jax.Array], jax.Array] = F.silu,
        *,
        bias: bool = False,
        dropout: float = 0.0,
        init: Callable[..., jax.Array] = inits.glorot_uniform,
        key: Any = None,
    ):
        check_act("GatedMLP", act)
        self.dim, self.hidden = check_size("GatedMLP", "dim", dim), check_size("GatedMLP", "hidden", hidden)
        self.bias = bias
        *keys, draws = jax.random.split(key_or_draw(key), 4)
        self.gate: Dense = Dense(dim, hidden, act, bias=bias, init=init, key=keys[0])
        self.up: Dense = Dense(dim, hidden, bias=bias, init=init, key=keys[1])
        self.down: Dense = Dense(hidden, dim, bias=bias, init=init, key=keys[2])
        self.drop: Callable[[Any], Any] = Dropout(dropout, key=draws) if dropout else F.identity

    def __call__(self, x: Any) -> jax.Array:
        return self.down(self.drop(self.gate(x) * self.up(x)))

    def _brief(self) -> str:
        return f"GatedMLP({self.dim}, {self.hidden})"
