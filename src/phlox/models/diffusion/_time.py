"""What a network is told beside its input, as vectors: the time, and a label."""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from phlox.core import Module, RangeError, State, advance, key_or_draw, seed
from phlox.nn import Dense, Embedding, init
from phlox.nn.functional import silu


def timestep_embedding(t: ArrayLike, size: int, *, freq_shift: float = 0.0, cos_first: bool = True) -> jax.Array:
    r"""Describe times by waves: $\cos(t ω_i)$ and $\sin(t ω_i)$ with $ω_i = 10000^{-i / (n - shift)}$, n = size / 2.

    Shapes:
        t: (batch,), integers or floats; y: (batch, size), float32 at least.

    Arguments:
        size: numbers for each time, even.
        freq_shift: the shift, below n; 0 in DiT's own code, 1 in that of DDPM.
        cos_first: whether cosines come before sines.

    Raises:
        RangeError: a size that is odd, a shift not below half of it.

    Source: Ho, Jain and Abbeel (arXiv:2006.11239), after Vaswani et al. (arXiv:1706.03762), section 3.5.

    >>> timestep_embedding(jnp.array([0]), 4).tolist()
    [[1.0, 1.0, 0.0, 0.0]]
    """
    half = size // 2
    if size % 2 or not freq_shift < half:
        got, fix = f"size={size}, freq_shift={freq_shift}", "choose an even size, such as 256"
        raise RangeError("an even size, and a shift below half of it", got=got, fix=fix, where="timestep_embedding")
    times = jnp.asarray(t)
    wide = jnp.promote_types(times.dtype, jnp.float32)
    wave = 10000.0 ** (-np.arange(half) / (half - freq_shift))
    angle = times.astype(wide)[..., None] * jnp.asarray(wave, wide)
    pair = (jnp.cos(angle), jnp.sin(angle))
    return jnp.concatenate(pair if cos_first else pair[::-1], axis=-1)


class TimeEmbedding(Module):
    r"""Waves of a time, through two layers: $y = W_2\, silu(W_1\, e(t) + b_1) + b_2$.

    Shapes:
        t: (batch,); y: (batch, dim).

    Arguments:
        size: numbers of the waves, even.
        dim: features of the result.
        freq_shift, cos_first: as in ``timestep_embedding``.
        key: where weights are drawn from; by default the stream of ``px.seed``.

    Raises:
        RangeError: a size below 1, or odd.

    Source: Ho, Jain and Abbeel, "Denoising diffusion probabilistic models" (arXiv:2006.11239).

    >>> import phlox as px
    >>> px.models.diffusion.TimeEmbedding(8, 16)(jnp.array([0, 999])).shape
    (2, 16)
    """

    size: int
    freq_shift: float
    cos_first: bool
    tensor_rules: ClassVar[dict[str, Any]] = {"linear_1": "column", "linear_2": "row"}

    def __init__(self, size: int, dim: int, *, freq_shift: float = 0.0, cos_first: bool = True, key: Any = None):
        timestep_embedding(0, size, freq_shift=freq_shift)  # refuses what does not fit
        self.size, self.freq_shift, self.cos_first = size, freq_shift, cos_first
        with seed(key_or_draw(key)):
            self.linear_1: Dense = Dense(size, dim, silu, init=init.normal(std=0.02))
            self.linear_2: Dense = Dense(dim, dim, init=init.normal(std=0.02))

    def __call__(self, t: Any) -> jax.Array:
        waves = timestep_embedding(t, self.size, freq_shift=self.freq_shift, cos_first=self.cos_first)
        return self.linear_2(self.linear_1(waves.astype(self.linear_1.weight.dtype)))


class LabelEmbedding(Module):
    """A vector for each class, and one for none, which in training takes the place of some labels.

    A network so trained knows both answers that guidance needs: with a label, and without.

    Shapes:
        labels: (batch,), integers in 0 … classes - 1, or ``classes`` for none; y: (batch, dim).

    Arguments:
        classes: how many there are.
        dim: features.
        dropout: the probability of a label to be dropped, in training; with 0 there is no vector for none.
        key: where weights and draws come from; by default the stream of ``px.seed``.

    Raises:
        RangeError: a size below 1, a dropout outside [0, 1).

    Source: Ho and Salimans, "Classifier-free diffusion guidance" (arXiv:2207.12598).

    >>> import phlox as px
    >>> px.models.diffusion.LabelEmbedding(10, 16)(jnp.array([3, 10])).shape
    (2, 16)
    """

    classes: int
    dropout: float
    key: State  # () typed random key

    def __init__(self, classes: int, dim: int, *, dropout: float = 0.1, key: Any = None):
        if isinstance(dropout, bool) or not 0 <= dropout < 1:
            expected, fix = "dropout in [0, 1)", "0.1 is usual"
            raise RangeError(expected, got=repr(dropout), fix=fix, where="LabelEmbedding")
        self.classes, self.dropout = classes, dropout
        of_table, self.key = jax.random.split(key_or_draw(key))
        self.table: Embedding = Embedding(classes + (dropout > 0), dim, init=init.normal(std=0.02), key=of_table)

    def __call__(self, labels: Any) -> jax.Array:
        labels = jnp.asarray(labels)
        if self.training and self.dropout:
            dropped = jax.random.bernoulli(advance(self), self.dropout, labels.shape)
            labels = jnp.where(dropped, self.classes, labels)
        return self.table(labels)
