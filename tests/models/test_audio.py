"""Sound on its way into a model against transformers' feature extractors, and both against float64."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

import phlox as px
from kit import assert_close, oracle

transformers = oracle("transformers")
RNG = np.random.default_rng(0)
AudioPreprocessor = px.models.AudioPreprocessor


def glide(samples):
    """A voice-like sound: harmonics of a pitch that falls, swelling, over a little noise."""
    t = np.arange(samples) / 16000
    phase = 2 * np.pi * np.cumsum(160 - 20 * t) / 16000
    voice = sum(np.sin(k * phase) / k for k in range(1, 30)) * np.sin(3 * t) ** 2
    return (0.2 * voice + 0.002 * RNG.normal(size=samples)).astype("float32")


WAVES = [glide(20000), (0.1 * RNG.normal(size=5000)).astype("float32"), np.zeros(700, "float32"), glide(40000)]
WHISPERS = {
    "a second": {"chunk_length": 1},
    "128 bands": {"chunk_length": 1, "feature_size": 128},
    "other frames": {"chunk_length": 1, "n_fft": 512, "hop_length": 150},
}


@pytest.fixture(scope="module", params=WHISPERS)
def whisper(request):
    extractor = transformers.WhisperFeatureExtractor(**WHISPERS[request.param])
    want = extractor(WAVES, sampling_rate=16000, return_attention_mask=True, return_tensors="np")
    return extractor, want["input_features"].swapaxes(1, 2), want["attention_mask"]


def test_log_mel_spectrograms_are_whispers(whisper):
    """Both work in float32, whose Fourier transform leaves a quiet band of a loud sound 1e-4 of itself at most."""
    extractor, want, want_mask = whisper
    pre = px.models.preprocessor(extractor.to_dict())
    y, mask = pre.with_mask(WAVES)
    assert y.dtype == jnp.float32
    assert mask.dtype == jnp.int32
    np.testing.assert_array_equal(mask, want_mask)
    padded = [np.pad(w[:16000], (0, max(16000 - len(w), 0))).astype("float64") for w in WAVES]
    exact = np.stack([extractor._np_extract_fbank_features(w[None], "cpu")[0].T for w in padded])
    largest = np.abs(exact).max()
    for ours, theirs, true, bar in zip(np.asarray(y), want, exact, (5e-5, 2e-6, 1e-7, 5e-5), strict=True):
        error = np.abs(ours - true) / largest
        assert error.max() <= bar
        assert error.mean() <= 1e-6
        assert np.abs(ours - theirs).max() / largest <= 2 * bar
        assert error.max() <= 2 * np.abs(theirs - true).max() / largest + 1e-7  # no further from the truth than theirs


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("normal", [False, True])
def test_waveforms_are_wav2vec2s(masked, normal):
    extractor = transformers.Wav2Vec2FeatureExtractor(
        do_normalize=normal, return_attention_mask=masked, padding_value=-0.5 if masked else 0.0
    )
    want = extractor(WAVES, sampling_rate=16000, padding=True, return_tensors="np")
    pre = px.models.preprocessor(extractor.to_dict())
    y, mask = pre.with_mask(WAVES)
    assert_close(y, want["input_values"])
    np.testing.assert_array_equal(mask.sum(1), [len(w) for w in WAVES])
    if masked:
        np.testing.assert_array_equal(mask, want["attention_mask"])
    alone = extractor(WAVES[0], sampling_rate=16000, return_tensors="np")["input_values"]
    assert_close(pre(WAVES[0]), alone)
    assert_close(pre(jnp.asarray(WAVES[0])), alone, what="compiled")


def test_arrays_lengths_rates_and_lists_say_the_same():
    pre = AudioPreprocessor(length=900, normalize="own")
    rows = np.stack([WAVES[0][:600], WAVES[1][:600]])
    want = pre.with_mask([rows[0], rows[1][:400]])
    for x, counts in ((rows, np.array([600, 400])), (jnp.asarray(rows), jnp.array([600, 400]))):
        got = pre.with_mask(x, lengths=counts)
        assert_close(got[0], want[0])
        np.testing.assert_array_equal(got[1], want[1])
    assert_close(pre(rows[0].astype("float64").tolist()), pre(rows[0]))
    slower = px.nn.functional.resample(rows, 8000, 16000)
    assert_close(pre(rows, rate=8000), pre(slower))
    want, mask = pre.with_mask(rows, lengths=[600, 100], rate=8000)
    assert mask.sum(1).tolist() == [900, 200]
    assert_close(want[1], pre([rows[1][:100]], rate=8000)[0])  # what lies behind is not heard
    assert_close(pre(list(rows[0])), pre(rows[0]))


def test_it_is_exported_with_a_model_for_any_batch():
    pre, model = AudioPreprocessor(mels=8, length=1600, normalize="own"), px.Dense(8, 3, key=0)
    batch, *_ = export.symbolic_shape("batch")
    shapes = (jax.ShapeDtypeStruct((batch, 1000), "float32"), jax.ShapeDtypeStruct((batch,), "int32"))
    program = export.export(jax.jit(lambda x, n: model(pre(x, lengths=n))))(*shapes)
    assert program.out_avals[0].shape[1:] == (10, 3)
    x = np.stack([WAVES[0][:1000], WAVES[1][:1000]])
    got = program.call(x, np.array([1000, 300], "int32"))
    assert_close(got, model(pre([x[0], x[1][:300]])))


def test_configs_of_files_and_back(tmp_path):
    extractor = transformers.WhisperFeatureExtractor(chunk_length=2)
    extractor.save_pretrained(tmp_path / "whisper")
    pre = px.models.preprocessor(tmp_path / "whisper")
    assert pre == AudioPreprocessor(mels=80, length=32000)
    nested = {"processor_class": "WhisperProcessor", "feature_extractor": pre.to_config()}
    (tmp_path / "processor_config.json").write_text(json.dumps(nested), "utf-8")
    assert px.models.preprocessor(tmp_path) == AudioPreprocessor.from_config(tmp_path) == pre
    both = {"image_processor": {"image_processor_type": "ViTImageProcessor"}, **nested}
    assert AudioPreprocessor.from_config(both) == pre
    assert px.models.preprocessor(both) == px.models.ImagePreprocessor.from_config(both)
    again = transformers.WhisperFeatureExtractor(**pre.to_config())
    assert {k: v for k, v in again.to_dict().items() if k != "processor_class"} == extractor.to_dict()
    for made in (AudioPreprocessor(), AudioPreprocessor(normalize="own", padding_value=1.0), pre):
        assert AudioPreprocessor.from_config(made.to_config()) == made
    first = {"do_normalize": True, "feature_size": 1, "padding_side": "right", "padding_value": 0.0,
             "return_attention_mask": False, "sampling_rate": 16000}  # fmt: skip
    assert px.models.preprocessor(first) == AudioPreprocessor(normalize="padded")  # the oldest name no type
    padded = AudioPreprocessor(normalize="padded")
    assert AudioPreprocessor.from_config(padded.to_config()) == padded
    assert isinstance(
        px.models.preprocessor({"feature_extractor_type": "ViTFeatureExtractor"}), px.models.ImagePreprocessor
    )


REFUSED = {
    "an image's": (
        lambda: AudioPreprocessor.from_config({"image_processor_type": "ViTImageProcessor"}),
        px.RangeError,
        r"feature_extractor_type among WhisperFeatureExtractor, .*\n  fix: .*px.models.preprocessor",
    ),
    "an entry": (
        lambda: px.models.preprocessor({"feature_extractor_type": "WhisperFeatureExtractor", "preemphasis": 0.9}),
        px.RangeError,
        r"a config of WhisperFeatureExtractor with entries that are known here, got \['preemphasis'\]",
    ),
    "padding on the left": (
        lambda: px.models.preprocessor({"feature_extractor_type": "Wav2Vec2FeatureExtractor", "padding_side": "left"}),
        px.RangeError,
        r"the config's padding_side of right",
    ),
    "a config's number": (
        lambda: px.models.preprocessor({"feature_extractor_type": "WhisperFeatureExtractor", "chunk_length": 0.5}),
        px.RangeError,
        r"the config's chunk_length as a whole number of at least 1",
    ),
    "bands": (lambda: AudioPreprocessor(mels=0), px.RangeError, r"AudioPreprocessor expects mels as a whole number"),
    "normalize": (
        lambda: AudioPreprocessor(normalize=True),
        px.RangeError,
        r'normalize of None, "own" or "padded"',
    ),
    "no config says it": (
        lambda: AudioPreprocessor(length=5).to_config(),
        px.RangeError,
        r"to_config expects steps that Whisper's or Wav2Vec2's extractor does, got .*length=5",
    ),
    "16 bits": (
        lambda: AudioPreprocessor()(np.zeros(8, "int16")),
        px.DtypeError,
        r"waveforms of floats in \[-1, 1\], got int16\[8\]\n  fix: .* / 32768",
    ),
    "channels": (
        lambda: AudioPreprocessor()([np.zeros((8, 2), "float32")]),
        px.ShapeError,
        r"waveforms \(time,\) each, not empty, got float32\[8, 2\]\n  fix: give one channel",
    ),
    "nothing": (lambda: AudioPreprocessor()([]), px.ShapeError, r"at least one waveform, got none"),
    "lengths of others": (
        lambda: AudioPreprocessor()(np.zeros((2, 8), "float32"), lengths=[8]),
        px.ShapeError,
        r"whole lengths of shape \[2\], got int64\[1\]",
    ),
    "lengths beyond": (
        lambda: AudioPreprocessor()(np.zeros((2, 8), "float32"), lengths=[8, 9]),
        px.RangeError,
        r"lengths from 1 to 8, got \[8, 9\]",
    ),
    "lengths of a list": (
        lambda: AudioPreprocessor()([np.zeros(8)], lengths=[8]),
        px.ShapeError,
        r"lengths only beside an array, got a list",
    ),
    "a rate": (
        lambda: AudioPreprocessor()(np.zeros(8), rate=0),
        px.RangeError,
        r"rate as a whole number of at least 1, got 0",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case):
    run, error, message = REFUSED[case]
    with pytest.raises(error, match=message):
        run()
