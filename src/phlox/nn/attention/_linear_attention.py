"""Linear attention: a recurrence of sums, run in parallel or one step at a time."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import jax

from phlox.core import RangeError, key_or_draw
from phlox.nn import functional as F
from phlox.nn._autosize import sized
from phlox.nn._checks import check_size
from phlox.nn._fused import fused
from phlox.nn.features._dense import Dense
from phlox.nn.functional.recurrence._loop import is_pure
from phlox.nn.recurrence._state_space import StateSpaceLayer


@sized(dim=-1)
class LinearAttention(StateSpaceLayer):
    r"""Causal attention by products of features, $y_t = φ(q_t) S_t \,/\, φ(q_t) z_t$, between projections.

    $S_t = S_{t-1} + φ(k_t)^\top v_t$ and $z_t = z_{t-1} + φ(k_t)$ for each head: time and memory grow linearly with
    the length, and a step costs the same however much came before.

    Shapes:
        x, y: (batch, time, dim); the state: S (batch, heads, features, dim / heads), z (batch, heads, features).

    Arguments:
        dim: features of the input and the output.
        heads: how many heads; divides ``dim``.
        feature_map: φ, from a head's dim / heads features to features that are positive; None is elu(x) + 1.
        causal: whether a step sees only those up to itself; else it has no ``step``.
        bias: whether the projections add biases.
        chunk: steps whose weights are formed at once.
        return_state: whether the call gives ``(y, state)`` in place of y.
        key: where the weights are drawn from; by default the stream of ``px.seed``.

    Called with ``(x, state=None)``; ``step(x, state)`` takes (batch, dim) and gives ``(y, state)``.

    Raises:
        RangeError: a size below 1, or heads that do not divide ``dim``. ShapeError: an input of another shape.

    Source: Katharopoulos et al., "Transformers are RNNs", 2020.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.nn.LinearAttention(8, 2)(jnp.ones((2, 7, 8))).shape
    (2, 7, 8)
    """

    dim: int
    heads: int
    feature_map: Callable[[Any], Any] | None
    causal: bool
    chunk: int
    query: Dense
    keys: Dense
    value: Dense

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        feature_map: Callable[[jax.Array], jax.Array] | None = None,
        causal: bool = True,
        bias: bool = True,
        chunk: int = 64,
        return_state: bool = False,
        key: Any = None,
    ):
        name = "LinearAttention"
        self.dim, self.heads = check_size(name, "dim", dim), check_size(name, "heads", heads)
        if dim % heads:
            fix = "choose a divisor"
            raise RangeError(f"heads that divide dim={dim}", got=str(heads), fix=fix, where=name)
        self.feature_map, self.causal, self.chunk = feature_map, bool(causal), check_size(name, "chunk", chunk)
        self.return_state: bool = bool(return_state)
        q, k, v, out = jax.random.split(key_or_draw(key), 4)
        self.query, self.keys, self.value = (Dense(dim, dim, bias=bias, key=each) for each in (q, k, v))
        self.out: Dense = Dense(dim, dim, bias=bias, key=out)

    def _over(self, x: Any, state: Any) -> tuple[jax.Array, Any]:
        split = lambda y: y.reshape(*y.shape[:2], self.heads, self.dim // self.heads)  # noqa: E731
        q, k, v = split(self.query(x)), split(self.keys(x)), split(self.value(x))
        features = self.feature_map
        run = _attended if features is None or is_pure(features) else inspect.unwrap(_attended)
        y, last = run(F.identity, q, k, v, state, feature_map=features, causal=self.causal, chunk=self.chunk)
        return self.out(y.reshape(*y.shape[:2], self.dim)), last

    def step(self, x: Any, state: Any = None) -> tuple[jax.Array, Any]:
        """One step: an input (batch, dim) and a state to an output (batch, dim) and the next state."""
        if not self.causal:
            fix = "build it with causal=True"
            raise RangeError(
                "a causal layer, to go step by step", got="one that sees all steps", fix=fix, where=self._brief()
            )
        return super().step(x, state)

    def _brief(self) -> str:
        return f"LinearAttention({self.dim}, heads={self.heads})"


@fused("feature_map", "causal", "chunk")
def _attended(act: Any, q: Any, k: Any, v: Any, state: Any, *, feature_map: Any, **options: Any) -> Any:
    if feature_map is not None:
        options["feature_map"] = feature_map
    y, last = F.linear_attention(q, k, v, state, **options)
    return act(y), last
