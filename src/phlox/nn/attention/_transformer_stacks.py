"""Stacks of transformer layers: encoder, decoder, and both together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax

from phlox.core import Module, RangeError, describe, key_or_draw, seed
from phlox.nn import functional as F
from phlox.nn._checks import check_act, check_size
from phlox.nn.attention._slot_cache import Cache
from phlox.nn.attention._transformer import TransformerDecoderLayer, TransformerEncoderLayer, norms
from phlox.nn.normalisation._norm import LayerNorm

Build = Callable[[], Module]


class TransformerEncoder(Module):
    r"""Encoder layers in a row, then a norm: $y = N(f_n(\dots f_1(x)))$.

    Shapes:
        x, y: (batch, time, dim).

    Arguments:
        build: a function without arguments that makes one layer; each draws its own weights.
        num_layers: how many.
        norm: a norm behind the last layer, or None.
        key: where the weights are drawn from; by default the stream of ``px.seed``.

    Options of a call:
        mask, lengths: for every layer. cache: a list with one for each layer, from ``init_cache``.

    Raises:
        RangeError: a number below 1, a ``build`` that makes no Module, or another number of caches.

    Source: Vaswani et al., "Attention is all you need", 2017.

    >>> import jax.numpy as jnp, phlox as px
    >>> model = px.nn.TransformerEncoder(lambda: px.nn.TransformerEncoderLayer(16, 2, dropout=0.0), 3)
    >>> model(jnp.ones((2, 5, 16))).shape, len(model.layers)
    ((2, 5, 16), 3)
    """

    layers: list[Any]

    def __init__(self, build: Build, num_layers: int, *, norm: Module | None = None, key: Any = None):
        self.layers = _layers("TransformerEncoder", build, num_layers, key)
        self.norm = norm

    def init_cache(self, batch: int, length: int, *, dtype: Any = None) -> list[Cache]:
        """An empty cache for every layer."""
        return [layer.init_cache(batch, length, dtype=dtype) for layer in self.layers]

    def __call__(
        self, x: Any, *, mask: Any = None, lengths: Any = None, cache: Sequence[Cache] | None = None
    ) -> jax.Array:
        for layer, held in zip(self.layers, _caches(self.layers, cache), strict=True):
            x = layer(x, mask=mask, lengths=lengths, cache=held)
        return x if self.norm is None else self.norm(x)

    def _brief(self) -> str:
        return f"TransformerEncoder({len(self.layers)} × {self.layers[0]._brief()})"


class TransformerDecoder(Module):
    r"""Decoder layers in a row, each of which looks at the memory, then a norm: $y = N(f_n(\dots f_1(x, m), m))$.

    Shapes:
        x, y: (batch, time, dim); memory: (batch, keys, memory_dim).

    Arguments:
        build, num_layers, norm, key: as in ``TransformerEncoder``.

    Options of a call:
        mask, lengths, memory_mask, memory_lengths: for every layer. cache: a list with one for each layer.

    Raises:
        RangeError: a number below 1, a ``build`` that makes no Module, or another number of caches.

    Source: Vaswani et al., "Attention is all you need", 2017.

    >>> import jax.numpy as jnp, phlox as px
    >>> model = px.nn.TransformerDecoder(lambda: px.nn.TransformerDecoderLayer(16, 2, dropout=0.0), 2)
    >>> model(jnp.ones((2, 5, 16)), jnp.ones((2, 7, 16))).shape
    (2, 5, 16)
    """

    layers: list[Any]

    def __init__(self, build: Build, num_layers: int, *, norm: Module | None = None, key: Any = None):
        self.layers = _layers("TransformerDecoder", build, num_layers, key)
        self.norm = norm

    def init_cache(self, batch: int, length: int, *, dtype: Any = None) -> list[Cache]:
        """An empty cache for every layer."""
        return [layer.init_cache(batch, length, dtype=dtype) for layer in self.layers]

    def __call__(self, x: Any, memory: Any, *, cache: Sequence[Cache] | None = None, **restrictions: Any) -> jax.Array:
        for layer, held in zip(self.layers, _caches(self.layers, cache), strict=True):
            x = layer(x, memory, cache=held, **restrictions)
        return x if self.norm is None else self.norm(x)

    def _brief(self) -> str:
        return f"TransformerDecoder({len(self.layers)} × {self.layers[0]._brief()})"


class Transformer(Module):
    r"""An encoder of the source and a decoder of the target: $y = D(t, E(s))$; embeddings and output are yours.

    Shapes:
        source: (batch, keys, dim); target, y: (batch, time, dim).

    Arguments:
        dim, heads, hidden, act: as in ``TransformerEncoderLayer``.
        encoder_layers, decoder_layers: how many.
        norm, eps, bias: as in ``TransformerEncoderLayer``; also of the norm behind each stack.
        causal: whether a position of the target sees no later one; the source is never causal.
        key: where the weights are drawn from; by default the stream of ``px.seed``.
        options: of both layers: ``dropout``, ``norm_first``, ``mlp``, ``kv_heads``, …

    Options of a call:
        source_mask, target_mask, memory_mask, source_lengths, target_lengths: what is seen.

    Raises:
        RangeError: a number out of its range. ShapeError: an input of another rank or size.

    Source: Vaswani et al., "Attention is all you need", 2017.

    >>> import jax.numpy as jnp, phlox as px
    >>> model = px.nn.Transformer(16, 2, encoder_layers=1, decoder_layers=1)
    >>> model(jnp.ones((2, 7, 16)), jnp.ones((2, 5, 16))).shape
    (2, 5, 16)
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        hidden: int | None = None,
        act: Callable[[jax.Array], jax.Array] = F.relu,
        *,
        encoder_layers: int = 6,
        decoder_layers: int = 6,
        norm: Callable[[int], Module] = LayerNorm,
        eps: float | None = None,
        bias: bool = True,
        causal: bool = True,
        key: Any = None,
        **options: Any,
    ):
        check_act("Transformer", act)
        norm = norms("Transformer", norm, eps, bias)
        options.update(norm=norm, bias=bias)
        sizes = (dim, heads, hidden, act)
        with seed(key_or_draw(key)):
            encode = lambda: TransformerEncoderLayer(*sizes, **options)  # noqa: E731
            decode = lambda: TransformerDecoderLayer(*sizes, causal=causal, **options)  # noqa: E731
            self.encoder: TransformerEncoder = TransformerEncoder(encode, encoder_layers, norm=norm(dim))
            self.decoder: TransformerDecoder = TransformerDecoder(decode, decoder_layers, norm=norm(dim))

    def __call__(
        self,
        source: Any,
        target: Any,
        *,
        source_mask: Any = None,
        target_mask: Any = None,
        memory_mask: Any = None,
        source_lengths: Any = None,
        target_lengths: Any = None,
    ) -> jax.Array:
        memory = self.encoder(source, mask=source_mask, lengths=source_lengths)
        looks = {"memory_mask": memory_mask, "memory_lengths": source_lengths}
        return self.decoder(target, memory, mask=target_mask, lengths=target_lengths, **looks)


def _layers(name: str, build: Build, num_layers: int, key: Any) -> list[Any]:
    check_size(name, "num_layers", num_layers)
    if isinstance(build, Module) or not callable(build):
        got = build._brief() if isinstance(build, Module) else describe(build)
        raise RangeError("a function that makes one layer", got=got, fix="write lambda: before it", where=name)
    with seed(key_or_draw(key)):
        layers = [build() for _ in range(num_layers)]
    if len({id(layer) for layer in layers}) < num_layers or not all(isinstance(layer, Module) for layer in layers):
        fix = "return a new Module at every call"
        raise RangeError("a build() that makes a layer of its own each time", got="the same", fix=fix, where=name)
    return layers


def _caches(layers: Sequence[Any], cache: Sequence[Cache] | None) -> Sequence[Cache | None]:
    if cache is None:
        return [None] * len(layers)
    if isinstance(cache, Module) or len(cache) != len(layers):
        got = "one" if isinstance(cache, Module) else f"{len(cache)}"
        raise RangeError(f"a cache for each of {len(layers)} layers", got=got, fix="pass what init_cache made")
    return cache
