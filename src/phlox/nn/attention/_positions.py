"""Positions: added to what a model embeds, or given to attention as rotations and biases.

``MultiHeadAttention(positions=…)`` takes any object with ``rotate(x, positions)``, which turns queries and keys
(batch, time, heads, size), or ``bias(queries, keys)``, which gives what is added to the scores, (heads, queries, keys).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import Module, Param, ShapeError, describe, harmonise, key_or_draw, param_dtype
from phlox.nn import functional as F
from phlox.nn import init as inits
from phlox.nn._checks import check_positive, check_size
from phlox.nn._fused import fused
from phlox.nn.functional._numeric import beside
from phlox.nn.functional.attention._positions import read_scaling


class RotaryEmbedding(Module):
    r"""Turn pairs of features of queries and keys by angles that grow with the position, $θ = p f_i$.

    Their products then depend on how far apart they are. It has no parameters.

    Shapes:
        x, y: (batch, time, heads, head size); positions: (time,) or (batch, time).

    Arguments:
        size: features that turn, even; the first ones of a head, and the others stay.
        base: f_i is ``base**(-2i / size)``.
        interleaved: whether pairs are neighbours, as in the paper; else one from each half, as in Llama.
        scaling: how frequencies are stretched for longer contexts, as the ``rope_scaling`` of a Hugging Face
            configuration: ``{"rope_type": "linear" | "dynamic" | "yarn" | "llama3" | "longrope", …}``. Under "dynamic"
            and "longrope" keys in a cache keep the frequencies of the length they were made at.

    Raises:
        RangeError: an odd size, or a scaling that is not one of these or lacks a number.
        ShapeError: x of another rank, or with smaller heads.

    Source: Su et al., "RoFormer: enhanced transformer with rotary position embedding", 2021.

    >>> import jax.numpy as jnp, phlox as px
    >>> attention = px.nn.MultiHeadAttention(16, 2, causal=True, positions=px.nn.RotaryEmbedding(8))
    >>> attention(jnp.ones((1, 5, 16))).shape
    (1, 5, 16)
    """

    size: int
    base: float
    interleaved: bool

    def __init__(
        self,
        size: int,
        *,
        base: float = 10000.0,
        interleaved: bool = False,
        scaling: Mapping[str, Any] | None = None,
    ):
        read_scaling("RotaryEmbedding", size, base, scaling)
        self.size, self.base, self.interleaved = size, float(base), interleaved
        self.scaling: dict[str, Any] | None = None if scaling is None else {k: _still(v) for k, v in scaling.items()}

    def __call__(self, x: Any, positions: Any = None) -> jax.Array:
        (x,) = harmonise(self, x)
        if x.ndim != 4 or x.shape[-1] < self.size:
            fix = "split the features into heads: x.reshape(batch, time, heads, -1)"
            raise ShapeError(f"(batch, time, heads, {self.size} or more)", got=describe(x), fix=fix)
        return self.rotate(x, jnp.arange(x.shape[1]) if positions is None else positions)

    def rotate(self, x: jax.Array, positions: Any) -> jax.Array:
        """Turn the heads of x (batch, time, heads, size) at positions (time,) or (batch, time)."""
        scaling = None if self.scaling is None else tuple(self.scaling.items())
        options = {"size": self.size, "base": self.base, "interleaved": self.interleaved, "scaling": scaling}
        return _rotate(F.identity, x, jnp.asarray(positions), **options)

    def _brief(self) -> str:
        return f"RotaryEmbedding({self.size})"


def _still(value: Any) -> Any:
    """Numbers of a list as a tuple, which a compiled program can be found by."""
    return tuple(value) if isinstance(value, list) else value


@fused("size", "base", "interleaved", "scaling")
def _rotate(
    act: Any, x: jax.Array, positions: jax.Array, *, size: int, base: float, interleaved: bool, scaling: Any
) -> jax.Array:
    longest = jnp.max(positions, initial=0) + 1
    scaling = None if scaling is None else dict(scaling)
    frequencies, gain = F.rotary_frequencies(size, base=base, scaling=scaling, length=longest)
    return act(F.apply_rotary(x, *F.rotary_angles(positions, frequencies, gain=gain), interleaved=interleaved))


class ALiBi(Module):
    r"""Lower scores by distance, $-m_h |i - j|$, with a slope for each head; it has no parameters.

    Shapes:
        queries: (time,) or (batch, time), positions; keys: (keys,); bias: (heads, time, keys), with
        the batch axis first.

    Arguments:
        heads: heads of the attention.

    Raises:
        RangeError: fewer than one head.

    Source: Press et al., "Train short, test long: attention with linear biases", 2022.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.nn.ALiBi(2).bias(jnp.arange(2), jnp.arange(2))[0].tolist()
    [[-0.0, -0.0625], [-0.0625, -0.0]]
    """

    def __init__(self, heads: int):
        self.heads: int = check_size("ALiBi", "heads", heads)

    def bias(self, queries: jax.Array, keys: jax.Array) -> jax.Array:
        """What is added to the scores of queries and keys at these positions."""
        return F.alibi_bias(F.alibi_slopes(self.heads), queries, keys)

    def _brief(self) -> str:
        return f"ALiBi({self.heads})"


class RelativePositionBias(Module):
    r"""Add a learned number to scores for each head and bucket of distances, $W_{b(j - i), h}$.

    Shapes:
        weight: (buckets, heads); queries: (time,) or (batch, time), positions; keys: (keys,);
        bias: (heads, time, keys), with the batch axis first.

    Arguments:
        heads: heads of the attention.
        buckets: how many kinds of distances are told apart.
        max_distance: from here on all are one.
        bidirectional: whether keys ahead are told apart; False for causal attention.
        init: initialiser of the weight; normal by default.
        key: where the weight is drawn from; by default the stream of ``px.seed``.

    Raises:
        RangeError: too few buckets or too small a distance.

    Source: Raffel et al., "Exploring the limits of transfer learning with a unified text-to-text transformer", 2020.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.nn.RelativePositionBias(4).bias(jnp.arange(3), jnp.arange(5)).shape
    (4, 3, 5)
    """

    weight: Param  # (buckets, heads)
    max_distance: int
    bidirectional: bool

    def __init__(
        self,
        heads: int,
        *,
        buckets: int = 32,
        max_distance: int = 128,
        bidirectional: bool = True,
        init: Callable[..., jax.Array] = inits.normal,
        key: Any = None,
    ):
        self.heads: int = check_size("RelativePositionBias", "heads", heads)
        self.buckets: int = check_size("RelativePositionBias", "buckets", buckets)
        self.max_distance, self.bidirectional = max_distance, bidirectional
        self._buckets_of(jnp.zeros((), jnp.int32))  # refuses numbers that do not fit
        self.weight = init(key_or_draw(key), (buckets, heads), param_dtype())

    def bias(self, queries: jax.Array, keys: jax.Array) -> jax.Array:
        """What is added to the scores of queries and keys at these positions."""
        here = queries[..., None]
        at = self._buckets_of(beside(keys, here.ndim) - here)
        return jnp.moveaxis(F.gather(self.weight, at), -1, -3)

    def _buckets_of(self, relative: jax.Array) -> jax.Array:
        return F.relative_buckets(
            relative, buckets=self.buckets, max_distance=self.max_distance, bidirectional=self.bidirectional
        )

    def _brief(self) -> str:
        return f"RelativePositionBias({self.heads})"


class PositionEmbedding(Module):
    r"""Add a learned vector for every position: $y_t = x_t + W_{t + o}$.

    Shapes:
        x, y: (batch, time, dim); weight: (length, dim); offset: () or (batch,), integers.

    Arguments:
        length: positions there are.
        dim: size of the vectors.
        init: initialiser of the weight; normal with standard deviation 0.02 by default.
        key: where the weight is drawn from; by default the stream of ``px.seed``.

    Raises:
        RangeError: a size below 1, or a position outside the table, where its value is known; compiled code gives
            NaN for it.
        ShapeError: x of another rank or size, or longer than the table.

    Source: Gehring et al., "Convolutional sequence to sequence learning", 2017.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.nn.PositionEmbedding(10, 4)(jnp.ones((2, 3, 4)), offset=5).shape
    (2, 3, 4)
    """

    weight: Param  # (length, dim)

    def __init__(self, length: int, dim: int, *, init: Callable[..., jax.Array] | None = None, key: Any = None):
        self.length: int = check_size("PositionEmbedding", "length", length)
        self.dim: int = check_size("PositionEmbedding", "dim", dim)
        init = inits.normal(std=0.02) if init is None else init
        self.weight = init(key_or_draw(key), (length, dim), param_dtype())

    def __call__(self, x: Any, *, offset: Any = 0) -> jax.Array:
        x, weight = harmonise(self, x, self.weight)
        _check_rows(x, self.dim)
        if x.shape[1] > self.length:
            fix = f"shorten the input, or make this one PositionEmbedding({x.shape[1]}, {self.dim})"
            raise ShapeError(f"at most {self.length} positions", got=describe(x), fix=fix)
        return x + beside(F.embedding(_positions(x, offset), weight), 3)

    def _brief(self) -> str:
        return f"PositionEmbedding({self.length}, {self.dim})"


class SinusoidalEmbedding(Module):
    r"""Add waves of the position: $y_{t,2i} = x_{t,2i} + \sin(t / b^{2i/d})$, and the cosine at $2i + 1$.

    Shapes:
        x, y: (batch, time, dim); offset: () or (batch,), integers.

    Arguments:
        dim: size of the vectors, even.
        base: b; the longest wave has about 2πb positions.
        interleaved: sine and cosine of one wave side by side; else all sines, then all cosines.

    Raises:
        RangeError: an odd size.
        ShapeError: x of another rank or size.

    Source: Vaswani et al., "Attention is all you need", 2017.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.nn.SinusoidalEmbedding(4)(jnp.zeros((1, 1, 4))).tolist()
    [[[0.0, 1.0, 0.0, 1.0]]]
    """

    dim: int
    base: float

    def __init__(self, dim: int, *, base: float = 10000.0, interleaved: bool = True):
        read_scaling("SinusoidalEmbedding", dim, base, None)
        self.dim, self.base = dim, check_positive("SinusoidalEmbedding", "base", base)
        self.interleaved = interleaved

    def __call__(self, x: Any, *, offset: Any = 0) -> jax.Array:
        (x,) = harmonise(self, x)
        _check_rows(x, self.dim)
        x = x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(jnp.result_type(float))
        options = {"size": self.dim, "base": self.base, "interleaved": self.interleaved}
        return _waves(F.identity, x, _positions(x, offset), **options)

    def _brief(self) -> str:
        return f"SinusoidalEmbedding({self.dim})"


@fused("size", "base", "interleaved")
def _waves(act: Any, x: jax.Array, positions: jax.Array, **options: Any) -> jax.Array:
    return act(x + beside(F.sinusoidal_positions(positions, **options).astype(x.dtype), 3))


def _positions(x: jax.Array, offset: Any) -> jax.Array:
    """Positions of the rows of x: (time,), or (batch, time) where each example has an offset of its own."""
    first = jnp.asarray(offset)[..., None]
    return first + beside(jnp.arange(x.shape[1]), first.ndim)


def _check_rows(x: jax.Array, dim: int) -> None:
    if x.ndim != 3 or x.shape[-1] != dim:
        fix = "add a batch axis: x[None]" if x.ndim == 2 else f"give the layer before {dim} outputs"
        raise ShapeError(f"(batch, time, {dim})", got=describe(x), fix=fix)
