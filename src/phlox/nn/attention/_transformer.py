"""Layers of transformers: attention and a feed-forward block, each with a shortcut and a norm."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import jax

from phlox.core import Module, RangeError, key_or_draw, seed, shown
from phlox.nn import functional as F
from phlox.nn._autosize import sized
from phlox.nn._checks import check_act, check_probability, check_size
from phlox.nn.attention._attention import MultiHeadAttention
from phlox.nn.attention._slot_cache import Cache
from phlox.nn.containers._containers import Chain, check_callable
from phlox.nn.features._dense import Dense
from phlox.nn.features._dropout import Dropout
from phlox.nn.normalisation._norm import LayerNorm

Activation = Callable[[jax.Array], jax.Array]

_SELF_ONLY = ("causal", "window", "positions", "key_dim", "value_dim")


@sized(dim=-1)
class TransformerEncoderLayer(Module):
    r"""Self-attention, then a feed-forward block: $h = N_1(x + A(x)),\; y = N_2(h + M(h))$.

    With ``norm_first`` norms come before: $h = x + A(N_1(x)),\; y = h + M(N_2(h))$. With ``causal=True`` it is a layer
    of a decoder-only language model.

    Shapes:
        x, y: (batch, time, dim); mask, lengths: as in ``MultiHeadAttention``.

    Arguments:
        dim: features.
        heads: heads of the attention.
        hidden: features within the feed-forward block; ``4 dim`` by default.
        act: activation within it.
        dropout: probability of a zero, in training: in attention's weights, within the block, and after both.
        norm_first: whether norms come before attention and block, in place of after the shortcuts.
        norm: makes a norm from dim.
        eps: ε of the norms; by default the norm's own.
        mlp: the feed-forward block, where it is another: a Module or function (..., dim) → (..., dim).
        bias: whether attention, block and norms have biases.
        key: where weights and dropout draw from; by default the stream of ``px.seed``.
        attention: options of ``MultiHeadAttention``: ``causal``, ``kv_heads``, ``positions``, ``window``, …

    Options of a call:
        mask, lengths, cache: as in ``MultiHeadAttention``.

    Raises:
        RangeError: a number out of its range. ShapeError: an input of another rank or size.

    Source: Vaswani et al., "Attention is all you need", 2017; ``norm_first``: Xiong et al., 2020.

    >>> import jax.numpy as jnp, phlox as px
    >>> layer = px.nn.TransformerEncoderLayer(16, 2, act=px.gelu, norm_first=True, causal=True)
    >>> layer(jnp.ones((2, 5, 16))).shape
    (2, 5, 16)
    """

    dim: int
    heads: int
    attention: MultiHeadAttention
    mlp: Any

    def __init__(
        self,
        dim: int,
        heads: int,
        hidden: int | None = None,
        act: Activation = F.relu,
        *,
        dropout: float = 0.1,
        norm_first: bool = False,
        norm: Callable[[int], Module] = LayerNorm,
        eps: float | None = None,
        mlp: Callable[[jax.Array], jax.Array] | None = None,
        bias: bool = True,
        key: Any = None,
        **attention: Any,
    ):
        self.dim, self.heads = check_size("TransformerEncoderLayer", "dim", dim), heads
        self.norm_first = norm_first
        p, act = (
            check_probability("TransformerEncoderLayer", "dropout", dropout),
            check_act("TransformerEncoderLayer", act),
        )
        norm = norms("TransformerEncoderLayer", norm, eps, bias)
        with seed(key_or_draw(key)):
            self.attention = MultiHeadAttention(dim, heads, bias=bias, **{"dropout": p, **attention})
            self.norm1: Any = norm(dim)
            self.dropout1: Any = _dropout(p)
            self.mlp = _mlp("TransformerEncoderLayer", dim, hidden, act, p, bias) if mlp is None else _made(mlp)
            self.norm2: Any = norm(dim)
            self.dropout2: Any = _dropout(p)

    def init_cache(self, batch: int, length: int, *, dtype: Any = None) -> Cache:
        """An empty cache of its attention."""
        return self.attention.init_cache(batch, length, dtype=dtype)

    def __call__(self, x: Any, *, mask: Any = None, lengths: Any = None, cache: Cache | None = None) -> jax.Array:
        attend = lambda x: self.dropout1(self.attention(x, mask=mask, lengths=lengths, cache=cache))  # noqa: E731
        if self.norm_first:
            x = x + attend(self.norm1(x))
            return x + self.dropout2(self.mlp(self.norm2(x)))
        x = self.norm1(x + attend(x))
        return self.norm2(x + self.dropout2(self.mlp(x)))

    def _brief(self) -> str:
        return f"TransformerEncoderLayer({self.dim}, {self.heads})"


@sized(dim=-1)
class TransformerDecoderLayer(Module):
    r"""Causal self-attention, attention to a memory, then a feed-forward block.

    $g = N_1(x + A(x)),\; h = N_2(g + C(g, m)),\; y = N_3(h + M(h))$; with ``norm_first`` norms come before, as in
    ``TransformerEncoderLayer``.

    Shapes:
        x, y: (batch, time, dim); memory: (batch, keys, memory_dim); mask: (time, time) or with batch and heads;
        memory_mask: (time, keys) or with batch and heads; lengths, memory_lengths: (batch,).

    Arguments:
        dim, heads, hidden, act, dropout, norm_first, norm, eps, mlp, bias, key: as in ``TransformerEncoderLayer``.
        memory_dim: features of the memory; dim by default.
        causal: whether a position sees no later one.
        attention: options of both ``MultiHeadAttention``; ``window`` and ``positions`` are for the first.

    Options of a call:
        mask, lengths, cache: of the self-attention; memory_mask, memory_lengths: of the attention to the memory.

    Raises:
        RangeError: a number out of its range. ShapeError: an input of another rank or size.

    Source: Vaswani et al., "Attention is all you need", 2017.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.nn.TransformerDecoderLayer(16, 2)(jnp.ones((2, 5, 16)), jnp.ones((2, 7, 16))).shape
    (2, 5, 16)
    """

    dim: int
    heads: int
    norm1: Any
    dropout1: Any
    norm2: Any
    dropout2: Any
    mlp: Any
    norm3: Any
    dropout3: Any

    def __init__(
        self,
        dim: int,
        heads: int,
        hidden: int | None = None,
        act: Activation = F.relu,
        *,
        memory_dim: int | None = None,
        dropout: float = 0.1,
        norm_first: bool = False,
        norm: Callable[[int], Module] = LayerNorm,
        eps: float | None = None,
        mlp: Callable[[jax.Array], jax.Array] | None = None,
        bias: bool = True,
        causal: bool = True,
        key: Any = None,
        **attention: Any,
    ):
        self.dim, self.heads = check_size("TransformerDecoderLayer", "dim", dim), heads
        self.norm_first = norm_first
        p, act = (
            check_probability("TransformerDecoderLayer", "dropout", dropout),
            check_act("TransformerDecoderLayer", act),
        )
        norm = norms("TransformerDecoderLayer", norm, eps, bias)
        options = {"bias": bias, "dropout": p, **attention}
        across = {name: value for name, value in options.items() if name not in _SELF_ONLY}
        with seed(key_or_draw(key)):
            self.self_attention: MultiHeadAttention = MultiHeadAttention(dim, heads, causal=causal, **options)
            self.norm1, self.dropout1 = norm(dim), _dropout(p)
            self.cross_attention: MultiHeadAttention = MultiHeadAttention(dim, heads, key_dim=memory_dim, **across)
            self.norm2, self.dropout2 = norm(dim), _dropout(p)
            self.mlp = _mlp("TransformerDecoderLayer", dim, hidden, act, p, bias) if mlp is None else _made(mlp)
            self.norm3, self.dropout3 = norm(dim), _dropout(p)

    def init_cache(self, batch: int, length: int, *, dtype: Any = None) -> Cache:
        """An empty cache of its self-attention."""
        return self.self_attention.init_cache(batch, length, dtype=dtype)

    def __call__(
        self,
        x: Any,
        memory: Any,
        *,
        mask: Any = None,
        memory_mask: Any = None,
        lengths: Any = None,
        memory_lengths: Any = None,
        cache: Cache | None = None,
    ) -> jax.Array:
        looks = {"mask": memory_mask, "lengths": lengths, "kv_lengths": memory_lengths}
        attend = lambda x: self.dropout1(self.self_attention(x, mask=mask, lengths=lengths, cache=cache))  # noqa: E731
        recall = lambda x: self.dropout2(self.cross_attention(x, memory, **looks))  # noqa: E731
        if self.norm_first:
            x = x + attend(self.norm1(x))
            x = x + recall(self.norm2(x))
            return x + self.dropout3(self.mlp(self.norm3(x)))
        x = self.norm1(x + attend(x))
        x = self.norm2(x + recall(x))
        return self.norm3(x + self.dropout3(self.mlp(x)))

    def _brief(self) -> str:
        return f"TransformerDecoderLayer({self.dim}, {self.heads})"


def norms(layer: str, norm: Callable[..., Module], eps: float | None, bias: bool) -> Callable[[int], Module]:
    """What makes the norms of a layer: with this ε, and without biases where the layer has none."""
    if not callable(norm) or isinstance(norm, Module):
        fix = "give a class, px.RMSNorm, or a function of the size: norm=lambda n: px.LayerNorm(n, eps=1e-6)"
        raise RangeError("a norm that is a class or function", got=shown(norm), fix=fix, where=layer)
    takes = inspect.signature(norm).parameters
    options: dict[str, Any] = {}
    if eps is not None:
        if "eps" not in takes:
            fix = "give it there: norm=lambda n: px.LayerNorm(n, eps=1e-6)"
            raise RangeError("a norm that takes eps=", got=getattr(norm, "__name__", repr(norm)), fix=fix, where=layer)
        options["eps"] = eps
    if not bias and "bias" in takes:
        options["bias"] = False
    return functools.partial(norm, **options) if options else norm


def _made(mlp: Any) -> Any:
    """A feed-forward block that was given."""
    check_callable("mlp", (mlp,))
    return mlp


def _dropout(p: float) -> Any:
    """Dropout, where anything drops."""
    return Dropout(p) if p else F.identity


def _mlp(layer: str, dim: int, hidden: int | None, act: Activation, p: float, bias: bool) -> Module:
    """The plain feed-forward block."""
    hidden = 4 * dim if hidden is None else check_size(layer, "hidden", hidden)
    return Chain(Dense(dim, hidden, act, bias=bias), _dropout(p), Dense(hidden, dim, bias=bias))
