"""Seeded bugs in what is made of sound: as in seeds_layers.py."""

_TESTS = "tests/models/test_audio.py::"
_RESAMPLE = "tests/nn/functional/test_resample.py::"
_ROOM = "models/preprocessing/"

MUTANTS = [
    (
        "the loudest of the batch bounds all of it",
        _ROOM + "_audio.py",
        "jnp.max(bands, axis=(1, 2), keepdims=True)",
        "jnp.max(bands)",
        (_TESTS + "test_log_mel_spectrograms_are_whispers",),
    ),
    (
        "mel filters end at half the rate of HTK's scale",
        _ROOM + "_audio.py",
        'scale="slaney", norm="slaney"',
        'scale="htk", norm="slaney"',
        (_TESTS + "test_log_mel_spectrograms_are_whispers",),
    ),
    (
        "the first frame is left out, not the last",
        _ROOM + "_audio.py",
        "power=2.0)[:, :-1]",
        "power=2.0)[:, 1:]",
        (_TESTS + "test_log_mel_spectrograms_are_whispers",),
    ),
    (
        "frames that begin in the padding count",
        _ROOM + "_audio.py",
        "return mask[:, :: pre.hop_length][:, : mask.shape[1] // pre.hop_length]",
        "return mask[:, :: pre.hop_length]",
        (_TESTS + "test_log_mel_spectrograms_are_whispers",),
    ),
    (
        "the variance is that of a sample",
        _ROOM + "_audio.py",
        "variance = xp.sum(apart * apart * weight, axis=1, keepdims=True) / count",
        "variance = xp.sum(apart * apart * weight, axis=1, keepdims=True) / (count - 1)",
        (_TESTS + "test_waveforms_are_wav2vec2s",),
    ),
    (
        "padding is normalised too",
        _ROOM + "_audio.py",
        "x = xp.where(there, _normalised(xp, x, there.astype(np.float32)), fill)",
        "x = _normalised(xp, x, there.astype(np.float32))",
        (_TESTS + "test_waveforms_are_wav2vec2s",),
    ),
    (
        "what hands on no mask is normalised by its own samples",
        _ROOM + "_audio_config.py",
        'return {"normalize": "own" if given.get("return_attention_mask", False) else "padded"}',
        'return {"normalize": "own"}',
        (_TESTS + "test_waveforms_are_wav2vec2s",),
    ),
    (
        "lengths stay those of the old rate",
        _ROOM + "_waveforms.py",
        "return -(-counts * rates[1] // rates[0])",
        "return counts",
        (_TESTS + "test_arrays_lengths_rates_and_lists_say_the_same",),
    ),
    (
        "the cutoff is that of the higher rate",
        "nn/functional/_resample.py",
        "cutoff = rolloff * min(old, new)",
        "cutoff = rolloff * max(old, new)",
        (_RESAMPLE + "test_what_the_lower_rate_does_not_hold_is_gone",),
    ),
    (
        "the window is the cosine, not its square",
        "nn/functional/_resample.py",
        "np.cos(np.pi * phase / (2 * width)) ** 2",
        "np.cos(np.pi * phase / (2 * width))",
        (_RESAMPLE + "test_every_sample_is_the_formulas",),
    ),
]
