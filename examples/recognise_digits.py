"""Spoken numbers written down: a small Whisper learns from synthetic voices, and hears voices that it never heard.

Run it: ``python examples/recognise_digits.py``. eSpeak NG says one to three digits at a time, at many speeds and
pitches, with a package of its own: ``pip install espeakng_loader``. It prints the word error rate on held-out voices.
"""

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np
from _speech import speak

import phlox as px
from phlox.nn import functional as F

WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
START, END, LONGEST = 10, 11, 3
VOICES = [f"en-us{variant}" for variant in ("", "+m1", "+m2", "+m3", "+m4", "+m6", "+f1", "+f2", "+f3")]
HELD_OUT = ["en-us+m5", "en-us+m7", "en-us+f4"]
FFT, HOP, BANDS, FRAMES = 512, 320, 40, 128
Data = tuple[np.ndarray, np.ndarray]


def spoken(count: int, voices: list[str], seed: int) -> Data:
    """Frames (count, frames, bands), and what is said: START, digits, END, and -1 behind it."""
    random, waves = np.random.default_rng(seed), np.zeros((count, FRAMES * HOP), np.float32)
    texts = np.full((count, LONGEST + 2), -1, np.int32)
    for wave, text in zip(waves, texts, strict=True):
        digits = random.integers(0, 10, random.integers(1, LONGEST + 1))
        speed, pitch = int(random.integers(160, 260)), int(random.integers(20, 80))
        said = " ".join(WORDS[digit] for digit in digits)
        samples, _ = speak(said, str(random.choice(voices)), speed=speed, pitch=pitch)
        samples = samples[: len(wave)]
        wave[: len(samples)] = samples
        text[: len(digits) + 2] = [START, *digits, END]
    return np.asarray(log_mel(waves)), texts


@jax.jit
def log_mel(waves: jax.Array) -> jax.Array:
    """The logarithm of the power in bands of mel (count, frames, bands), standardised over each recording."""
    power = F.spectrogram(waves, FFT, hop_length=HOP)[:, :-1] @ F.mel_filterbank(FFT // 2 + 1, BANDS, 22050)
    bands = jnp.log(power + 1e-6)
    mean, deviation = bands.mean((1, 2), keepdims=True), bands.std((1, 2), keepdims=True)
    return (bands - mean) / deviation


def small_whisper() -> px.models.Whisper:
    """Two blocks that listen and two that write, over twelve tokens; the head is the embedding, as in Whisper."""
    sizes = {
        f"{side}_{name}": value
        for side in ("encoder", "decoder")
        for name, value in {"layers": 2, "attention_heads": 4, "ffn_dim": 256}.items()
    }
    config = px.models.WhisperConfig(
        vocab_size=12, pad_token_id=END, eos_token_id=END, decoder_start_token_id=START, num_mel_bins=BANDS,
        max_source_positions=FRAMES // 2, max_target_positions=LONGEST + 1, d_model=64, init_std=0.1,
        apply_spec_augment=True, mask_time_prob=0.1, mask_feature_prob=0.1, mask_feature_length=4, **sizes,
    )  # fmt: skip
    return px.models.create(config, key=0)


def loss(model: px.models.Whisper, frames: jax.Array, text: jax.Array) -> jax.Array:
    """Each token but the first is predicted from the sound and from those before it."""
    scores = model(frames, jnp.where(text < 0, END, text)[:, :-1])
    return px.losses.cross_entropy(scores, jnp.where(text < 0, -100, text)[:, 1:])


def transcribe(model: px.models.Whisper, frames: np.ndarray) -> list[list[int]]:
    """The digits of each recording: always the likeliest token, until the end; the cache holds what was heard."""
    memory = px.jit(lambda model, frames: model.remember(model.encoder(frames)))(model, frames)
    step = px.jit(
        lambda model, tokens, memory, cache: model.decode(tokens[:, None], memory, cache=cache)[:, -1].argmax(-1)
    )
    tokens, cache, written = jnp.full(len(frames), START), model.init_cache(len(frames), LONGEST + 1), []
    for _ in range(LONGEST + 1):
        tokens = step(model, tokens, memory, cache)
        written.append(np.asarray(tokens))
    texts = np.stack(written, 1).tolist()
    return [text[: text.index(END)] if END in text else text for text in texts]


def word_error_rate(found: list[list[int]], texts: np.ndarray) -> float:
    """How many words were changed, missed or invented, of those that were said."""
    wanted = [[token for token in text if 0 <= token < START] for text in texts.tolist()]
    heard, said = ([" ".join(map(str, text)) for text in some] for some in (found, wanted))
    errors = px.metrics.WordErrorRate()
    errors.update(heard, said)
    return errors.compute().rate


def main(utterances: int = 1500, epochs: int = 16) -> float:
    """Speak, train, and return the word error rate on voices that were held out."""
    start = time.perf_counter()
    train, test = spoken(utterances, VOICES, seed=0), spoken(200, HELD_OUT, seed=1)
    print(f"{utterances} recordings in {time.perf_counter() - start:.0f} s")
    model, batch = small_whisper(), 16
    rule = px.optim.AdamW(px.optim.one_cycle(2e-3, epochs * (utterances // batch), rise=0.1))
    px.fit(model, train, loss=loss, optimizer=rule, epochs=epochs, batch_size=batch, clip=1.0)
    found = transcribe(model, test[0])
    rate = word_error_rate(found, test[1])
    for digits, text in list(zip(found, test[1].tolist(), strict=True))[:3]:
        print("said", *(d for d in text if 0 <= d < START), "- heard", *digits)
    print(f"word error rate on voices never heard: {rate:.3f}, after {time.perf_counter() - start:.0f} s")
    return rate


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=16)
    main(epochs=parser.parse_args().epochs)
