"""Who speaks: six voices of eSpeak NG say two sentences each, and Resemblyzer's network, in Phlox, tells them apart.

Run it: ``python examples/speaker_embeddings.py``. The voices and the trained network come as packages, of which the
second wants others that are not needed here: ``pip install espeakng_loader`` and ``pip install --no-deps Resemblyzer``.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from _speech import speak

import phlox as px

F = px.nn.functional
RATE, FRAME, HOP, MELS = 16000, 400, 160, 40
WINDOW, STEP = 160, 77  # frames that are embedded together, 1.6 s, and from one such window to the next
LOUDNESS = 10 ** (-30 / 20)  # what quieter sounds are raised to, as the root of the mean square
VOICES = {"en-us": 20, "en-us+m3": 90, "en-us+f3": 80, "en-us+f2": 40, "en-us+m7": 20, "en-us+whisper": 50}  # pitches
SENTENCES = (
    "The rain in Spain stays mainly in the plain, or so they say.",
    "She sells sea shells down by the sea shore.",
)


class SpeakerEncoder(px.Module):
    """Three LSTMs over mel spectra (batch, frames, 40); what the last one ends with becomes a point on the sphere."""

    def __init__(self):
        self.lstm = px.LSTM(MELS, 256, num_layers=3)
        self.linear = px.Dense(256, 256, px.relu)

    def __call__(self, mels: jax.Array) -> jax.Array:
        e = self.linear(self.lstm(mels)[:, -1])
        return e / jnp.linalg.norm(e, axis=-1, keepdims=True)


encode = px.jit(SpeakerEncoder.__call__)


def pretrained() -> SpeakerEncoder:
    """The network with the weights that the package Resemblyzer brings along; the package itself is not imported."""
    package = importlib.util.find_spec("resemblyzer")
    if package is None or not package.submodule_search_locations:
        raise ImportError("the weights come with a package: pip install --no-deps Resemblyzer")
    arrays = px.weights.read(Path(package.submodule_search_locations[0]) / "pretrained.pt")
    kept = {n.removeprefix("model_state/"): x for n, x in arrays.items() if n.startswith("model_state/l")}
    encoder = SpeakerEncoder()
    px.weights.convert(encoder, kept, layout="pytorch")
    return encoder


def mel_spectrum(samples: np.ndarray) -> jax.Array:
    """(time,) as (frames, 40): powers, not their logarithms."""
    power = F.spectrogram(jnp.asarray(samples), FRAME, hop_length=HOP, pad_mode="constant")
    return power @ F.mel_filterbank(FRAME // 2 + 1, MELS, RATE, scale="slaney", norm="slaney")


def windows(samples: np.ndarray) -> jax.Array:
    """Overlapping windows (windows, 160, 40) of a sound; a last one that is less than three quarters full is left."""
    frames = int(np.ceil((len(samples) + 1) / HOP))
    starts = list(range(0, max(1, frames - WINDOW + STEP + 1), STEP))
    if len(starts) > 1 and (len(samples) / HOP - starts[-1]) / WINDOW < 0.75:
        starts.pop()
    missing = max((starts[-1] + WINDOW) * HOP - len(samples), 0)
    mels = mel_spectrum(np.pad(samples, (0, missing)))
    return jnp.stack([mels[s : s + WINDOW] for s in starts])


def louder(samples: np.ndarray) -> np.ndarray:
    """Raised to an even loudness, where it is quieter."""
    return samples * max(LOUDNESS / np.sqrt(np.mean(samples**2)), 1)


def embed(encoder: SpeakerEncoder, samples: np.ndarray) -> jax.Array:
    """(time,) of 16 kHz as (256,): the mean over windows, of length 1."""
    mean = encode(encoder, windows(samples)).mean(axis=0)
    return mean / jnp.linalg.norm(mean)


def said(text: str, voice: str, pitch: int = 50) -> np.ndarray:
    """A sentence in a voice, at 16 kHz."""
    samples, rate = speak(text, voice, pitch=pitch)
    return louder(np.asarray(F.resample(samples, rate, RATE)))


def main() -> float:
    """Embed all sentences; return the share of voices whose second sentence is nearest to their own first."""
    encoder = pretrained()
    first, second = (jnp.stack([embed(encoder, said(text, *voice)) for voice in VOICES.items()]) for text in SENTENCES)
    likeness = np.asarray(second @ first.T)
    print("the second sentence (rows) beside the first (columns):")
    for voice, row in zip(VOICES, likeness, strict=True):
        print(f"{voice:>13}  " + "  ".join(f"{x:.2f}" for x in row))
    share = float((likeness.argmax(1) == np.arange(len(VOICES))).mean())
    print(f"told by their voice: {share:.0%}")
    return share


if __name__ == "__main__":
    main()
