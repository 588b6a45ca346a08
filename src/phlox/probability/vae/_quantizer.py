"""Hidden variables out of a book of codes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from phlox.core import (
    Module,
    RangeError,
    ShapeError,
    State,
    check_function,
    check_size,
    describe,
    harmonise,
    key_or_draw,
    param_dtype,
    shown,
)
from phlox.probability._arguments import positive, refuse_values, share


class Quantized(NamedTuple):
    """What a ``VectorQuantizer`` gives."""

    values: jax.Array
    """(..., features): the code nearest to each vector, with the gradient of the vector itself."""
    codes: jax.Array
    """(...): which codes they are."""
    loss: jax.Array
    """(): how far the vectors lie from their codes, which training adds to its loss."""


class VectorQuantizer(Module):
    r"""The nearest of k codes in the place of each vector: $q(x) = e_j$, $j = \arg\min_i \|x - e_i\|$.

    The gradient goes through as if q were the identity. In training the codes move to the mean of the vectors that are
    nearest to them, as running sums of counts and vectors do; no gradient reaches them.

    Shapes:
        x: (..., features); codebook, sums: (codes, features); counts: (codes,).

    Arguments:
        codes: k.
        features: of each vector.
        commitment: what the squared distance from vectors to their codes, a mean over all numbers, is taken times in
            ``loss``.
        decay: the share of the running sums that stays at a step, between 0 and 1.
        eps: added to each count, in vectors, so that a code that nobody takes stays where it is drawn to.
        key: where the codes are drawn from; by default the stream of ``px.seed``.

    Called with x it gives a ``Quantized``; ``lookup(codes)`` the vectors of codes.

    Raises:
        RangeError: numbers out of range.
        ShapeError: vectors of other features.

    Source: van den Oord, Vinyals and Kavukcuoglu, "Neural discrete representation learning", 2017; its appendix A.1.

    >>> import jax.numpy as jnp, phlox as px
    >>> quantizer = px.probability.VectorQuantizer(2, 1)
    >>> quantizer.codebook = jnp.array([[0.0], [10.0]])
    >>> found = quantizer(jnp.array([[1.0], [8.0]]))
    >>> found.values.tolist(), found.codes.tolist(), float(found.loss)
    ([[0.0], [10.0]], [0, 1], 0.625)
    """

    codebook: State  # (codes, features)
    counts: State  # (codes,) running numbers of vectors
    sums: State  # (codes, features) running sums of vectors
    codes: int
    features: int
    commitment: float
    decay: float
    eps: float

    def __init__(
        self,
        codes: int,
        features: int,
        *,
        commitment: float = 0.25,
        decay: float = 0.99,
        eps: float = 1e-5,
        key: Any = None,
    ):
        self.codes, self.features = (
            check_size("VectorQuantizer", "codes", codes),
            check_size("VectorQuantizer", "features", features),
        )
        self.commitment = positive("VectorQuantizer", "commitment", commitment)
        self.decay, self.eps = share("VectorQuantizer", "decay", decay), positive("VectorQuantizer", "eps", eps)
        self.codebook = jax.random.normal(key_or_draw(key), (self.codes, self.features), param_dtype())
        self.counts = jnp.ones(self.codes, param_dtype())
        self.sums = self.codebook

    def __call__(self, x: Any) -> Quantized:
        x, codebook = harmonise(self, x, self.codebook)
        if x.ndim < 1 or x.shape[-1] != self.features:
            fix = "put the features along the last axis"
            raise ShapeError(f"(..., {self.features})", got=describe(x), fix=fix)
        rows = jax.lax.stop_gradient(x.reshape(-1, self.features))
        apart = jnp.square(codebook).sum(-1) - 2 * rows @ codebook.T  # less the square of the vector, one for all codes
        codes = jnp.argmin(apart, -1)
        if self.training:
            self._move(rows, codes)
        nearest = codebook[codes].reshape(x.shape)
        loss = self.commitment * jnp.mean(jnp.square(x - nearest))
        return Quantized(x + jax.lax.stop_gradient(nearest - x), codes.reshape(x.shape[:-1]), loss)

    def lookup(self, codes: Any) -> jax.Array:
        """The vectors of codes (...), (..., features)."""
        codes = jnp.asarray(codes)
        where, expected = "VectorQuantizer.lookup", f"codes from 0 to {self.codes - 1}"
        refuse_values(where, codes, lambda v: (v >= 0) & (v < self.codes), expected, "number them from 0")
        return self.codebook[codes]

    def _move(self, rows: jax.Array, codes: jax.Array) -> None:
        """Let running sums, and codes with them, follow the vectors."""
        taken = jax.nn.one_hot(codes, self.codes, dtype=rows.dtype)
        fresh = 1 - self.decay
        counts = self.decay * self.counts + fresh * taken.sum(0)
        sums = self.decay * self.sums + fresh * (taken.T @ rows)
        self.counts, self.sums = counts.astype(self.counts.dtype), sums.astype(self.sums.dtype)
        self.codebook = ((sums + self.eps * self.codebook) / (counts + self.eps)[:, None]).astype(self.codebook.dtype)

    def _brief(self) -> str:
        return f"VectorQuantizer({self.codes}, {self.features})"


class VQVAE(Module):
    r"""Data through a book of codes: $x \approx d(q(e(x)))$, trained by the squared error and the distance to codes.

    Shapes:
        x: (batch, ...); the encoder gives (..., features), vectors along any axes, which the decoder takes.

    Arguments:
        encoder, decoder: e and d.
        quantizer: q, a ``VectorQuantizer``.

    Called with x it gives what the model sees of it, like x. ``loss(x)`` is what training makes small; ``encode(x)``
    gives codes, ``decode(codes)`` what they stand for.

    Raises:
        RangeError: parts that cannot be called, or no ``VectorQuantizer``.
        ShapeError: a decoder that gives something else than x.

    Source: van den Oord, Vinyals and Kavukcuoglu, "Neural discrete representation learning", 2017.

    >>> import jax.numpy as jnp, phlox as px
    >>> quantizer = px.probability.VectorQuantizer(16, 4)
    >>> vae = px.probability.VQVAE(px.Dense(8, 4), px.Dense(4, 8), quantizer)
    >>> vae(jnp.ones((5, 8))).shape, vae.encode(jnp.ones((5, 8))).shape
    ((5, 8), (5,))
    """

    encoder: Callable[..., Any]
    decoder: Callable[..., Any]
    quantizer: VectorQuantizer

    def __init__(self, encoder: Callable[..., Any], decoder: Callable[..., Any], quantizer: VectorQuantizer):
        self.encoder = check_function("VQVAE", "encoder", encoder, "with data")
        self.decoder = check_function("VQVAE", "decoder", decoder, "with codes' vectors")
        if not isinstance(quantizer, VectorQuantizer):
            fix = "give px.probability.VectorQuantizer(codes, features)"
            raise RangeError("quantizer as a VectorQuantizer", got=shown(quantizer), fix=fix, where="VQVAE")
        self.quantizer = quantizer

    def __call__(self, x: Any) -> jax.Array:
        return self._through(x)[0]

    def loss(self, x: Any) -> jax.Array:
        """What training makes small, the mean squared error and the quantizer's loss."""
        seen, distance = self._through(x)
        return jnp.mean(jnp.square(jnp.asarray(x).astype(seen.dtype) - seen)) + distance

    def encode(self, x: Any) -> jax.Array:
        """Which codes stand for x."""
        return self.quantizer(self.encoder(x)).codes

    def decode(self, codes: Any) -> jax.Array:
        """What codes stand for."""
        return self.decoder(self.quantizer.lookup(codes))

    def _through(self, x: Any) -> tuple[jax.Array, jax.Array]:
        found = self.quantizer(self.encoder(x))
        seen = self.decoder(found.values)
        if jnp.shape(seen) != jnp.shape(x):
            fix = "let it give what the encoder takes"
            raise ShapeError(f"a decoder that gives {jnp.shape(x)}", got=describe(seen), fix=fix, where="VQVAE")
        return seen, found.loss

    def _brief(self) -> str:
        return f"VQVAE({self.quantizer._brief()})"
