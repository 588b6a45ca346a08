"""Whisper beside the hub's."""

import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from hub import covered, in_dtype, there_again, tiny
from hub_speech import compare, recordings
from hub_text import padded, tokens
from kit import oracle
from phlox.models.speech._whisper import Places

torch = oracle("torch")
transformers = oracle("transformers")
SMALL = {
    "vocab_size": 40, "d_model": 16, "num_mel_bins": 6, "encoder_layers": 2, "decoder_layers": 2,
    "encoder_attention_heads": 4, "decoder_attention_heads": 2, "encoder_ffn_dim": 24, "decoder_ffn_dim": 20,
    "init_std": 0.3, "max_source_positions": 8, "max_target_positions": 24,
    "pad_token_id": 3, "bos_token_id": 1, "eos_token_id": 3, "decoder_start_token_id": 1, "begin_suppress_tokens": None,
}  # fmt: skip
FRAMES, TEXT, MASK = recordings(2, 16, 6), tokens(2, 7, 40), padded([7, 4], 7)
PLACES = "model.encoder.embed_positions.weight"


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whisper")
    theirs = tiny(transformers.WhisperForConditionalGeneration, transformers.WhisperConfig(**SMALL), folder)
    return theirs, px.models.load(folder)


def run(model, x, mask=MASK):
    states = model.hidden_states(x, TEXT, mask=mask)
    return model(x, TEXT, mask=mask), (*states.encoder, *states.decoder)


def there(model, x, mask=MASK):
    out = model(
        x.movedim(1, 2), decoder_input_ids=torch.tensor(TEXT).long(),
        decoder_attention_mask=torch.tensor(mask).long(), output_hidden_states=True,
    )  # fmt: skip
    states = (*out.encoder_hidden_states, *out.decoder_hidden_states)
    return out["logits" if "logits" in out else "last_hidden_state"], states


def counting(mask):
    """What counts of scores or states of a text: where the mask does."""
    return lambda x: mask[..., None] if tuple(x.shape[:2]) == mask.shape else True


def test_answers_and_learns_as_the_hub_s(pair):
    theirs, ours = pair
    covered(ours)
    assert (SMALL["pad_token_id"] == TEXT).any()  # whose embedding does not learn from being read
    compare(ours, theirs, FRAMES, run, there, dtype="float64", still=[PLACES], keep=counting(MASK))


def test_in_float32_padded_on_the_left(pair):
    theirs, ours = pair
    left = padded([7, 4], 7, "left")
    options = {"dtype": "float32", "learn": False, "keep": counting(left)}
    compare(ours, theirs, FRAMES, lambda m, x: run(m, x, left), lambda m, x: there(m, x, left), **options)


@pytest.mark.parametrize("weighted", [False, True], ids=["last layer", "sum of layers"])
def test_classes_of_recordings(weighted, tmp_path):
    config = transformers.WhisperConfig(
        **SMALL | {"encoder_layers": 1},
        num_labels=3,
        classifier_proj_size=10,
        use_weighted_layer_sum=weighted,
        activation_function="relu",
    )
    cls = transformers.WhisperForAudioClassification
    theirs = tiny(cls, config, tmp_path / "there")
    ours = px.models.load(tmp_path / "there")
    assert ours.config.task == "audio-classification"
    compare(
        ours, theirs, FRAMES, lambda m, x: (m(x), m.hidden_states(x).encoder),
        lambda m, x: ((out := m(x.movedim(1, 2), output_hidden_states=True)).logits, out.hidden_states),
        dtype="float64", learn=weighted, still=[PLACES.removeprefix("model.")],
    )  # fmt: skip
    again = there_again(ours, cls, tmp_path / "here")
    x = torch.tensor(FRAMES).movedim(1, 2)
    assert (again(x).logits == theirs(x).logits).all()
    covered(ours)
    with pytest.raises(px.RangeError, match="a Whisper with a decoder, got audio-classification"):
        ours(FRAMES, TEXT)


@pytest.mark.parametrize("cls", ["WhisperForConditionalGeneration", "WhisperModel"])
def test_classes_begin_from_the_encoder_of_a_whole_model(cls, tmp_path):
    theirs = getattr(transformers, cls)(transformers.WhisperConfig(**SMALL | {"encoder_layers": 1}))
    theirs.save_pretrained(tmp_path)
    ours = px.models.load(tmp_path, task="audio-classification", classes=3, key=0)
    assert (ours.config.classes, ours.decoder) == (3, None)
    found, wanted = ours.encoder.blocks[0].mlp.layers["fc1"].weight, theirs.get_encoder().layers[0].fc1.weight
    np.testing.assert_array_equal(found, wanted.detach().numpy().T)
    assert "encoder.conv1.weight" in px.models.names(ours, "transformers").to_theirs(ours)


def test_a_trunk_and_a_head_of_its_own(tmp_path):
    small = SMALL | {"encoder_layers": 1, "decoder_layers": 1}
    trunk = tiny(transformers.WhisperModel, transformers.WhisperConfig(**small), tmp_path / "trunk")
    ours = px.models.load(tmp_path / "trunk")
    assert ours.config.task == "feature-extraction"
    options = {"dtype": "float64", "learn": False, "keep": counting(MASK)}
    compare(ours, trunk, FRAMES, run, there, **options)
    config = transformers.WhisperConfig(**small, tie_word_embeddings=False)
    theirs = tiny(transformers.WhisperForConditionalGeneration, config, tmp_path / "free")
    ours = px.models.load(tmp_path / "free")
    assert ours.head.weight.shape == (16, 40)
    compare(ours, theirs, FRAMES, run, there, **options)


def test_a_cache_changes_no_score_and_reads_the_memory_once(pair):
    with in_dtype("float64"):
        model = px.testmode(px.f64(px.copy(pair[1])))
        memory = px.jit(lambda m, x: m.encoder(x))(model, jnp.asarray(FRAMES, "float64"))
        whole = px.jit(lambda m, y, memory: m.decode(y, memory))(model, TEXT, memory)
        step = px.jit(lambda m, y, memory, cache, lengths: m.decode(y, memory, cache=cache, lengths=lengths))
        memory, cache, starts = model.remember(memory), model.init_cache(2, 9), np.array([0, 0])
        for counts in ([3, 2], [3, 3], [1, 2]):  # texts of unequal lengths, in one shape
            part = np.stack([np.append(TEXT[row], [0, 0])[start : start + 3] for row, start in enumerate(starts)])
            found = step(model, part, memory, cache, np.array(counts))
            for row, (start, count) in enumerate(zip(starts, counts, strict=True)):
                want = whole[row, start : start + count]
                np.testing.assert_allclose(found[row, :count], want, rtol=1e-10, atol=1e-10)
            starts = starts + counts
        with pytest.raises(px.RangeError, match="no mask beside a cache"):
            model.decode(TEXT, memory, mask=MASK, cache=cache)


def test_written_here_and_loaded_there(pair, tmp_path):
    theirs, ours = pair
    again = there_again(ours, transformers.WhisperForConditionalGeneration, tmp_path)
    x = torch.tensor(FRAMES)
    assert (there(again, x)[0] == there(theirs, x)[0]).all()


def test_masks_and_dropout_stand_where_they_are_published(tmp_path):
    published = transformers.WhisperConfig(
        **SMALL | {"encoder_layers": 1, "decoder_layers": 1}, dropout=0.5, apply_spec_augment=True, mask_time_prob=0.5,
        mask_time_length=2,
    )  # fmt: skip
    tiny(transformers.WhisperForConditionalGeneration, published, tmp_path)
    model = px.trainmode(px.models.load(tmp_path, key=0))
    scores, again, masked = px.jit(lambda m, x: (m(x, TEXT), m(x, TEXT), m.augment(x)))(model, FRAMES)
    assert (np.asarray(scores) != again).mean() > 0.9
    covered = (np.asarray(masked) == 0).all(-1)
    assert 0.2 < covered.mean() < 0.8
    np.testing.assert_array_equal(np.asarray(masked)[~covered], FRAMES[~covered])
    assert [path for path, layer in px.modules(model).items() if isinstance(layer, px.Dropout)] == [
        "encoder.drop", "encoder.blocks.0.drop1", "encoder.blocks.0.drop2", "decoder.drop", "decoder.blocks.0.drop1",
        "decoder.blocks.0.drop2", "decoder.blocks.0.drop3",
    ]  # fmt: skip


def test_waves_tell_places_as_published():
    theirs = transformers.models.whisper.modeling_whisper.sinusoids(1500, 384)
    np.testing.assert_allclose(Places(1500, 384).weight, theirs, atol=2e-4)  # theirs are of float32


def test_bad_input_is_told(pair):
    model = pair[1]
    with pytest.raises(px.ShapeError, match=r"features \(batch, at most 16 frames, 6 mels\).*\n?.*jnp.moveaxis"):
        model.encoder(jnp.zeros((2, 6, 16)))
    with pytest.raises(px.ShapeError, match=r"tokens \(batch, time\), got int32\[7\]"):
        model(FRAMES, TEXT[0])
    with pytest.raises(px.ShapeError, match=r"features \(batch, at most 16 frames, 6 mels\), got float32\[2, 6\]"):
        model.encoder([[0.0] * 6] * 2)
    with pytest.raises(px.RangeError, match=r"tokens \(batch, time\), got features alone"):
        model(FRAMES)
    with pytest.raises(px.RangeError, match="a memory for 2 blocks, got one for 0"):
        model.decode(TEXT, ())
    with pytest.raises(
        px.RangeError, match=r"no classes for 'automatic-speech-recognition'.*\n?.*audio-classification"
    ):
        model.config.with_classes(3)


def test_counts_of_weights():
    counts = {"whisper_tiny": 37_760_640, "whisper_tiny.en": 37_760_256, "whisper_large_v3_turbo": 808_878_080}
    for name, count in counts.items():
        model = px.eval_shape(lambda name=name: px.models.create(name))
        assert sum(x.size for x in px.paths(model).values() if jnp.issubdtype(x.dtype, jnp.floating)) == count
