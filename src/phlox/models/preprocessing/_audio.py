"""AudioPreprocessor: waveforms padded, normalised and, where a model wants it, as log-mel spectrograms."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from os import PathLike
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from phlox.models.preprocessing._audio_config import audio_config_of, audio_fields_of, checked, whole
from phlox.models.preprocessing._config import SOUND, content_of
from phlox.models.preprocessing._waveforms import together
from phlox.nn import functional as F

_HIGHEST = 8000.0  # Hz, where the mel filters end
_RANGE = 8.0  # powers of ten below the loudest that are told apart


@dataclass(frozen=True)
class AudioPreprocessor:
    r"""Waveforms as a model wants them: of one length, normalised, as they are or as log-mel spectrograms.

    With ``mels``: $y = (\max(l, \max l - 8) + 4) / 4$ of $l = \log_{10} \max(M^\top |S|^2, 10^{-10})$, with S the
    short-time Fourier transform in Hann windows, centred, without the last frame, and M Slaney's filters up to 8 kHz.
    It holds no arrays, is compared by value, and may be an argument of any transform, or exported within a function.

    Shapes:
        waveforms: (time,) or (batch, time) floats in [-1, 1], or a list of (time,) of any lengths; lengths: (batch,).
        y: (batch, time'), or with ``mels`` (batch, time' // hop_length, mels), float32; the batch of one is 1.

    Arguments:
        sample_rate: Hz.
        mels: how many bands, or None, the waveform itself.
        n_fft, hop_length: samples of a frame, and from frame to frame.
        length: samples that all are cut or padded to; None pads to the longest of the batch.
        normalize: None; "own", to mean 0 and variance 1 over the samples of each; "padded", with its padding, as
            processors do that hand on no mask.
        padding_value: what fills up.

    Raises:
        RangeError: from construction, a value that cannot be. DtypeError: from the call, whole numbers or complex ones.
        ShapeError: other axes, an empty waveform, lengths that do not match.

    Source: Radford et al., "Robust speech recognition via large-scale weak supervision", 2022; Baevski et al.,
    "wav2vec 2.0", 2020; their feature extractors in transformers.

    >>> import numpy as np, phlox as px
    >>> whisper = px.models.AudioPreprocessor(mels=80, length=480000)
    >>> y, mask = whisper.with_mask(np.zeros(16000, "float32"))
    >>> y.shape, int(mask.sum())
    ((1, 3000, 80), 100)
    """

    sample_rate: int = 16000
    mels: int | None = None
    n_fft: int = 400
    hop_length: int = 160
    length: int | None = None
    normalize: str | None = None
    padding_value: float = 0.0

    def __post_init__(self) -> None:
        for name, value in checked(dataclasses.asdict(self)).items():
            object.__setattr__(self, name, value)

    @classmethod
    def from_config(cls, config: Mapping[str, Any] | str | PathLike[str]) -> Self:
        """The preprocessor that a config describes, of Whisper's or of Wav2Vec2's feature extractor.

        Arguments:
            config: the content of a ``preprocessor_config.json``, the path of such a file, or a folder with one.

        Raises:
            RangeError: a type of feature extractor, or an entry that changes the numbers, that is not known here; a
            value that cannot be. MissingFileError, CorruptFileError: no such file; not JSON.

        Source: ``preprocessor_config.json`` of transformers 4 and 5.

        >>> import phlox as px
        >>> config = {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "return_attention_mask": True}
        >>> px.models.AudioPreprocessor.from_config(config).normalize
        'own'
        """
        return cls(**audio_fields_of(content_of(config, "AudioPreprocessor.from_config", SOUND)))

    def to_config(self) -> dict[str, Any]:
        """A config that transformers reads as the same numbers, and ``from_config`` as the same object.

        Raises:
            RangeError: neither of both feature extractors does what this one does.

        >>> import phlox as px
        >>> px.models.AudioPreprocessor(normalize="own").to_config()["feature_extractor_type"]
        'Wav2Vec2FeatureExtractor'
        """
        return audio_config_of(dataclasses.asdict(self))

    def __call__(self, waveforms: Any, *, lengths: Any = None, rate: int | None = None) -> jax.Array:
        """Waveforms as the model wants them.

        Arguments:
            waveforms: as above.
            lengths: of a batch that is padded already, how many samples each has.
            rate: Hz, the rate they have; another than ``sample_rate`` is changed by ``px.nn.functional.resample``.
        """
        return self.with_mask(waveforms, lengths=lengths, rate=rate)[0]

    def with_mask(self, waveforms: Any, *, lengths: Any = None, rate: int | None = None) -> tuple[jax.Array, jax.Array]:
        """As the call, and where there is sound: (batch, time') or (batch, frames) int32, 1 there and 0 where padded.

        >>> import numpy as np, phlox as px
        >>> pre = px.models.AudioPreprocessor(normalize="own")
        >>> y, mask = pre.with_mask([np.array([1.0, 3.0]), np.array([1.0, 3.0, 5.0, 3.0])])
        >>> y[0].round(2).tolist(), mask.tolist()
        ([-1.0, 1.0, 0.0, 0.0], [[1, 1, 0, 0], [1, 1, 1, 1]])
        """
        x, counts = together(waveforms, lengths, self._rates(rate), self.length)
        if self.mels is None and isinstance(x, np.ndarray):
            y, mask = _waveform(np, self, x, counts)
        else:
            y, mask = _compiled(self, x, counts)
        return jnp.asarray(y), jnp.asarray(mask)

    def _rates(self, rate: int | None) -> tuple[int, int]:
        return self.sample_rate if rate is None else whole("rate", rate, 1), self.sample_rate


@partial(jax.jit, static_argnums=0)
def _compiled(pre: AudioPreprocessor, x: jax.Array, counts: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, mask = _waveform(jnp, pre, x, counts)
    return (x, mask) if pre.mels is None else (_log_mel(pre, x), _of_frames(pre, mask))


def _waveform(xp: Any, pre: AudioPreprocessor, x: Any, counts: Any) -> tuple[Any, Any]:
    """(batch, time) normalised, padding filled, and its mask; ``xp`` is NumPy for NumPy's arrays."""
    there = np.arange(x.shape[1]) < counts[:, None]
    fill = np.float32(pre.padding_value)
    x = xp.where(there, x, fill)
    if pre.normalize == "padded":
        x = _normalised(xp, x, xp.ones_like(x))
    elif pre.normalize == "own":
        x = xp.where(there, _normalised(xp, x, there.astype(np.float32)), fill)
    return x, there.astype(np.int32)


def _normalised(xp: Any, x: Any, weight: Any) -> Any:
    """(x - mean) / sqrt(variance + 1e-7) of each row, over what has weight 1."""
    count = xp.sum(weight, axis=1, keepdims=True)
    apart = x - xp.sum(x * weight, axis=1, keepdims=True) / count
    variance = xp.sum(apart * apart * weight, axis=1, keepdims=True) / count
    return apart / xp.sqrt(variance + np.float32(1e-7))


def _log_mel(pre: AudioPreprocessor, x: jax.Array) -> jax.Array:
    """(batch, time) as (batch, frames, mels)."""
    assert pre.mels is not None
    power = F.spectrogram(x, pre.n_fft, hop_length=pre.hop_length, power=2.0)[:, :-1]
    rate, bins = pre.sample_rate, pre.n_fft // 2 + 1
    filters = F.mel_filterbank(bins, pre.mels, rate, f_max=_HIGHEST, scale="slaney", norm="slaney")
    bands = jnp.log10(jnp.maximum(jnp.matmul(power, filters, precision=lax.Precision.HIGHEST), 1e-10))
    loudest = jnp.max(bands, axis=(1, 2), keepdims=True)
    return (jnp.maximum(bands, loudest - _RANGE) + 4) / 4


def _of_frames(pre: AudioPreprocessor, mask: jax.Array) -> jax.Array:
    """Whether the sample in the middle of a frame is there."""
    return mask[:, :: pre.hop_length][:, : mask.shape[1] // pre.hop_length]
