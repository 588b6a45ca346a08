"""SpecAugment as the hub has it: spans of time and of features that are masked in training.

Source: Park et al., "SpecAugment: a simple data augmentation method for automatic speech recognition", 2019; Baevski et
al., "wav2vec 2.0", 2020, for spans of one length.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import Module, Param, RangeError, State, advance, key_or_draw, param_dtype
from phlox.models.speech._config import SpeechConfig
from phlox.nn.init import uniform


class SpecAugment(Module):
    """Spans of time that become a learned vector or zero, and spans of features that become zero, in training.

    Shapes:
        x, y: (batch, time, features); lengths: (batch,), steps that count.

    Arguments:
        config: a config with the probabilities, lengths and least numbers of spans.
        dim: features of the learned vector; None for zeros.
    """

    embed: Param | None  # (dim,) what stands where time is masked
    key: State  # () typed random key
    time: tuple[float, int, int]
    feature: tuple[float, int, int]

    def __init__(self, config: SpeechConfig, dim: int | None = None):
        self.apply: bool = config.apply_spec_augment
        self.time = (config.mask_time_prob, config.mask_time_length, config.mask_time_min_masks)
        self.feature = (config.mask_feature_prob, config.mask_feature_length, config.mask_feature_min_masks)
        self.embed = None
        if dim is not None and (config.mask_time_prob > 0 or config.mask_feature_prob > 0):
            self.embed = uniform(low=0.0, high=1.0)(key_or_draw(None), (dim,), param_dtype())
        self.key = key_or_draw(None)

    def __call__(self, x: jax.Array, lengths: Any = None) -> jax.Array:
        if not self.apply or not self.training:
            return x
        batch, time, features = x.shape
        if self.time[0] > 0:
            masked = spans(advance(self), batch, time, *self.time, lengths=lengths)[..., None]
            x = jnp.where(masked, jnp.zeros((), x.dtype) if self.embed is None else self.embed.astype(x.dtype), x)
        if self.feature[0] > 0:
            x = jnp.where(spans(advance(self), batch, features, *self.feature)[:, None], jnp.zeros((), x.dtype), x)
        return x


def spans(
    key: jax.Array, batch: int, size: int, share: float, length: int, least: int, *, lengths: Any = None
) -> jax.Array:
    """Where spans lie, True (batch, size): about ``share * lengths / length`` of them, from starts that all differ.

    Arguments:
        size: steps there are. length: steps of a span. least: spans at the least, where there is room.
        lengths: (batch,), steps that count: no span goes beyond them.

    Raises:
        RangeError: spans that are longer than what they lie in.
    """
    if length > size:
        fix = "train on longer recordings, or set apply_spec_augment=False, or shorter spans, in the config"
        raise RangeError(f"spans of at most {size} steps, as many as there are", got=str(length), fix=fix)
    upward, where = jax.random.split(key)
    fraction = jax.random.uniform(upward)  # shares of a span are rounded up as often as they are large
    lengths = jnp.full(batch, size) if lengths is None else lengths
    room = jnp.maximum(lengths - (length - 1), 0)
    counts = jnp.maximum((share * lengths / length + fraction).astype(jnp.int32), least)
    counts = jnp.minimum(jnp.minimum(counts, size // length), room)
    most = min(max(int(share * size / length) + 1, least), size // length)
    order = jnp.where(jnp.arange(size) < room[:, None], jax.random.uniform(where, (batch, size)), -1.0)
    starts = jax.lax.top_k(order, most)[1]
    after = jnp.arange(size) - starts[..., None]
    used = jnp.arange(most)[None] < counts[:, None]
    return jnp.any(used[..., None] & (after >= 0) & (after < length), axis=1)
