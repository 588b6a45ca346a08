"""The speaker network of Resemblyzer in Phlox, on speech of eSpeak NG: spectra, windows and embeddings are its own."""

import numpy as np
import pytest
import torch

TEXTS = {
    "en-us": "Good morning. This is a sentence that goes on for a while, so that several windows fit into it.",
    "en-us+f3": "Short.",
    "de": "Guten Morgen, das ist ein Satz.",
}


@pytest.fixture(scope="module")
def theirs(resemblyzer):
    return resemblyzer.VoiceEncoder("cpu", verbose=False)


@pytest.fixture(scope="module")
def ours(program):
    return program.pretrained()


def spoken(program, voice):
    return program.said(TEXTS[voice], voice)


@pytest.mark.parametrize("voice", TEXTS)
def test_spectra_and_windows_are_resemblyzers(program, resemblyzer, voice):
    samples = spoken(program, voice)
    want = resemblyzer.audio.wav_to_mel_spectrogram(samples)
    got = np.asarray(program.mel_spectrum(samples))
    np.testing.assert_allclose(got, want, atol=1e-5 * np.abs(want).max())
    waves, frames = resemblyzer.VoiceEncoder.compute_partial_slices(len(samples), rate=1.3, min_coverage=0.75)
    padded = np.pad(samples, (0, max(waves[-1].stop - len(samples), 0)))
    mels = resemblyzer.audio.wav_to_mel_spectrogram(padded)
    want = np.stack([mels[s] for s in frames])
    np.testing.assert_allclose(program.windows(samples), want, atol=1e-5 * np.abs(want).max())


@pytest.mark.parametrize("voice", TEXTS)
def test_embeddings_are_resemblyzers(program, ours, theirs, voice):
    samples = spoken(program, voice)
    mels = np.array(program.windows(samples))
    with torch.no_grad():
        want = theirs(torch.from_numpy(mels)).numpy()
    np.testing.assert_allclose(program.encode(ours, mels), want, atol=1e-5)
    np.testing.assert_allclose(program.embed(ours, samples), theirs.embed_utterance(samples), atol=1e-5)


def test_loudness_is_resemblyzers(program, resemblyzer):
    for factor in (0.1, 1.0, 8.0):
        samples = factor * spoken(program, "de")
        want = resemblyzer.audio.normalize_volume(samples, -30, increase_only=True)
        np.testing.assert_allclose(program.louder(samples), want, rtol=1e-5)


def test_voices_are_told_apart(program):
    assert program.main() == 1.0


def test_speech_is_said_in_the_voice_that_is_asked_for(program):
    from _speech import speak

    samples, rate = speak("hello", "en-us")
    assert rate == 22050
    assert samples.dtype == np.float32
    assert 0.2 < np.abs(samples).max() <= 1
    slow, _ = speak("hello", "en-us", speed=80)
    assert len(slow) > 1.3 * len(samples)
    assert speak("")[0].size < 1000
    with pytest.raises(ValueError, match=r"espeak-ng has no voice 'xx': choose a language"):
        speak("hello", "xx")
