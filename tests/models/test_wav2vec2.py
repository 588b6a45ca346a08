"""wav2vec 2.0 beside the hub's."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import phlox as px
from hub import covered, there_again, tiny
from hub_speech import compare, recordings
from hub_text import padded
from kit import oracle
from phlox.models.speech._head import ClassHead
from phlox.models.speech._spans import spans

torch = oracle("torch")
transformers = oracle("transformers")
hub = transformers.models.wav2vec2.modeling_wav2vec2
SMALL = {
    "vocab_size": 12, "hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 20,
    "conv_dim": (6, 8), "conv_kernel": (10, 3), "conv_stride": (5, 2), "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2, "initializer_range": 0.3,
}  # fmt: skip
STABLE = {
    "do_stable_layer_norm": True, "feat_extract_norm": "layer", "conv_bias": True, "num_conv_pos_embeddings": 5,
    "feat_extract_activation": "relu", "hidden_act": "gelu_new", "num_labels": 3, "classifier_proj_size": 10,
    "mask_time_prob": 0.0,
}  # fmt: skip
WAVES, SAMPLES, STEPS = recordings(2, 120), padded([120, 77], 120), padded([11, 7], 11)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wav2vec2")
    theirs = tiny(transformers.Wav2Vec2ForCTC, transformers.Wav2Vec2Config(**SMALL), folder)
    return theirs, px.models.load(folder)


def run(model, x, mask=SAMPLES):
    return model(x, mask=mask), model.hidden_states(x, mask=mask)


def there(model, x, mask=SAMPLES):
    given = None if mask is None else torch.tensor(mask).long()
    out = model(x, attention_mask=given, output_hidden_states=True)
    return out["logits" if "logits" in out else "last_hidden_state"], out.hidden_states


def counting(x):
    """What counts of scores or states of a recording."""
    return STEPS[..., None] if tuple(x.shape[:2]) == STEPS.shape else True


def test_answers_and_learns_as_the_hub_s(pair):
    theirs, ours = pair
    covered(ours)
    assert ours.config.task == "automatic-speech-recognition"
    compare(ours, theirs, WAVES, run, there, dtype="float64", keep=counting)


def test_in_float32_without_padding(pair):
    theirs, ours = pair
    alone = {"run": lambda m, x: run(m, x, None), "there": lambda m, x: there(m, x, None)}
    compare(ours, theirs, WAVES, **alone, dtype="float32", learn=False)


def test_stable_norms_and_classes_by_a_sum_of_layers(tmp_path):
    cls = transformers.Wav2Vec2ForSequenceClassification
    config = transformers.Wav2Vec2Config(**SMALL | STABLE, use_weighted_layer_sum=True)
    theirs = tiny(cls, config, tmp_path / "there")
    ours = px.models.load(tmp_path / "there")
    covered(ours)
    assert ours.augment.embed is None
    compare(ours, theirs, WAVES, run, there, dtype="float64", keep=counting)
    again = there_again(ours, cls, tmp_path / "here")
    assert (again(torch.tensor(WAVES)).logits == theirs(torch.tensor(WAVES)).logits).all()


def test_a_trunk_of_pre_training_with_stable_norms_at_its_end(tmp_path):
    config = transformers.Wav2Vec2Config(**SMALL | STABLE | {"num_hidden_layers": 1}, codevector_dim=8)
    theirs = tiny(transformers.Wav2Vec2ForPreTraining, config, tmp_path)
    ours = px.models.load(tmp_path)
    assert ours.config.task == "feature-extraction"
    options = {"dtype": "float64", "learn": False, "keep": counting}
    compare(ours, theirs.wav2vec2, WAVES, run, there, **options)
    heard = px.models.load(tmp_path, task="automatic-speech-recognition", key=0)
    assert (heard.blocks[0].attention.q_proj.weight == ours.blocks[0].attention.q_proj.weight).all()


def test_written_here_and_loaded_there_by_both_names_of_the_weight_that_is_normed(pair, tmp_path):
    theirs, ours = pair
    again = there_again(ours, transformers.Wav2Vec2ForCTC, tmp_path / "new")
    x = torch.tensor(WAVES)
    assert (again(x).logits == theirs(x).logits).all()
    px.models.save(ours, tmp_path / "old", names="transformers_weight_g")
    names = px.weights.read(tmp_path / "old" / "model.safetensors")
    assert names["wav2vec2.encoder.pos_conv_embed.conv.weight_g"].shape == (1, 1, 4)
    old = px.models.load(tmp_path / "old")
    assert (old.places.conv.size == ours.places.conv.size).all()
    assert (old.places.conv.layer.weight == ours.places.conv.layer.weight).all()


def test_files_with_and_without_a_vector_for_masked_time(pair, tmp_path):
    """The first ones that were published lack it; later ones have it where their config masks nothing."""
    px.models.save(pair[1], tmp_path)
    path, config = tmp_path / "model.safetensors", tmp_path / "config.json"
    arrays = load_file(path)
    drawn = arrays.pop("wav2vec2.masked_spec_embed")
    save_file(arrays, path)
    ours = px.models.load(tmp_path, key=0)
    assert ours.augment.embed.shape == drawn.shape
    assert (ours.project.weight == pair[1].project.weight).all()
    save_file({**arrays, "wav2vec2.masked_spec_embed": drawn}, path)
    config.write_text(json.dumps(json.loads(config.read_text()) | {"mask_time_prob": 0.0}))
    assert px.models.load(tmp_path).augment.embed is None


def test_classes_begin_from_a_file_of_pre_training(tmp_path):
    theirs = transformers.Wav2Vec2ForPreTraining(transformers.Wav2Vec2Config(**SMALL, codevector_dim=8))
    theirs.save_pretrained(tmp_path)
    ours = px.models.load(tmp_path, task="audio-classification", classes=3, key=0)
    wanted = theirs.wav2vec2.feature_projection.projection.weight.detach().numpy().T
    np.testing.assert_array_equal(ours.project.weight, wanted)
    assert ours.head.classifier.bias.shape == (3,)


def test_a_recording_too_short_for_a_step_spoils_no_sum():
    head = ClassHead(4, 3, 2, states=None, std=0.1)
    run = px.value_and_grad(lambda m, x, n: jnp.sum(m(x, (), n)))
    value, grads = px.jit(run)(head, jnp.ones((2, 5, 4)), jnp.array([5, 0]))
    assert np.isfinite(value)
    assert np.isfinite(grads.projector.weight).all()


def test_ctc_is_the_hub_s_loss(pair):
    theirs, ours = pair
    labels = np.array([[3, 4, 4, 5], [6, 7, -100, -100]])
    loss = theirs(
        torch.tensor(WAVES), attention_mask=torch.tensor(SAMPLES).long(), labels=torch.tensor(labels)
    ).loss  # fmt: skip
    found = px.jit(lambda m, x, labels: px.losses.ctc(
        m(x, mask=SAMPLES), labels, blank=m.config.pad_token_id, reduction="sum",
        logit_lengths=m.output_lengths(jnp.array([120, 77])), target_lengths=jnp.array([4, 2]),
    ))(ours, WAVES, labels)  # fmt: skip
    assert float(found) == pytest.approx(loss.item(), rel=1e-5)


def test_steps_are_counted_as_the_hub_counts_them(pair):
    lengths = np.arange(15, 121)
    theirs = pair[0]._get_feat_extract_output_lengths(torch.tensor(lengths))
    np.testing.assert_array_equal(pair[1].output_lengths(lengths), theirs)


@pytest.mark.parametrize(("share", "length", "least", "cut"), [(0.3, 4, 0, 60), (0.05, 10, 2, 33), (0.9, 7, 0, 60)])
def test_spans_lie_as_the_hub_s(share, length, least, cut):
    """How many steps are masked, and where, over 2,000 recordings of two lengths."""
    size, lengths = 60, np.array([60, cut] * 1000)
    np.random.seed(0)
    attention = torch.tensor(np.arange(size)[None] < lengths[:, None]).long()
    rounds = [slice(i, i + 20) for i in range(0, 2000, 20)]  # the hub rounds alike within a batch
    theirs = np.concatenate(
        [hub._compute_mask_indices((20, size), share, length, attention[rows], least) for rows in rounds]
    )
    draw = jax.jit(jax.vmap(lambda key, n: spans(key, 20, size, share, length, least, lengths=n)))
    ours = np.asarray(draw(jax.random.split(jax.random.key(0), 100), lengths.reshape(100, 20))).reshape(2000, size)
    for kind in (slice(0, None, 2), slice(1, None, 2)):
        a, b = ours[kind], theirs[kind]
        assert abs(a.mean() - b.mean()) < 0.02
        assert np.abs(a.mean(0) - b.mean(0)).max() < 0.1
        assert np.abs(np.sort(a.sum(1)) - np.sort(b.sum(1))).mean() < 1.0
    assert not ours[1::2, cut:].any()
    starts = np.flatnonzero(ours[0] & ~np.roll(ours[0], 1))
    assert all(ours[0, start : start + length].all() for start in starts if start)


def test_what_happens_in_training(tmp_path, pair):
    config = transformers.Wav2Vec2Config(**SMALL | {"num_hidden_layers": 1}, mask_time_prob=0.6, mask_time_length=2,
        mask_feature_prob=0.3, mask_feature_length=2, layerdrop=0.5, hidden_dropout=0.0, attention_dropout=0.0,
        activation_dropout=0.0, final_dropout=0.0,
    )  # fmt: skip
    tiny(transformers.Wav2Vec2ForCTC, config, tmp_path)
    model = px.trainmode(px.models.load(tmp_path, key=0))
    x = jnp.ones((2, 11, 12))
    masked = np.asarray(px.jit(lambda m, x: m.augment(x, jnp.array([11, 7])))(model, x))
    features = (masked == 0).all(1)
    assert features.any()
    assert not features.all()
    time = (masked == np.asarray(model.augment.embed)).mean(-1) > 0.5
    assert time[0].any()
    assert not time[1, 7:].any()
    drop = px.jit(lambda m, x: m.layer_drop(x, 2 * x)[0, 0, 0])
    runs = np.array([drop(model, x) for _ in range(100)])
    assert set(runs) == {1, 2}
    assert 0.35 < (runs == 1).mean() < 0.65
    published = px.models.Wav2Vec2Config()
    assert published.layerdrop == published.final_dropout == 0.1
    drops = [p for p, m in px.modules(pair[1]).items() if isinstance(m, px.Dropout)]
    assert drops == [
        "drop", "blocks.0.attention.drop", "blocks.0.mlp.layers.drop", "blocks.0.drop1", "blocks.0.drop2",
        "blocks.1.attention.drop", "blocks.1.mlp.layers.drop", "blocks.1.drop1", "blocks.1.drop2", "final_drop",
    ]  # fmt: skip


def test_bad_input_is_told(pair):
    model = pair[1]
    with pytest.raises(px.ShapeError, match=r"waves \(batch, samples\), got float32\[120\]"):
        model(WAVES[0])
    with pytest.raises(px.RangeError, match="a mask that is True, then False"):
        model(WAVES, mask=SAMPLES[:, ::-1])
    with pytest.raises(px.ShapeError, match=r"lengths \(2,\)"):
        model(WAVES, lengths=np.array([120]))
    with pytest.raises(px.ShapeError, match=r"waves \(batch, samples\) in one array, got list"):
        model([WAVES[0], WAVES[1, :77]], lengths=np.array([120, 77]))
    with pytest.raises(px.RangeError, match="num_conv_pos_embeddings of at least 1, got 0"):
        px.models.Wav2Vec2Config.from_dict({"num_conv_pos_embeddings": 0})
    with pytest.raises(px.RangeError, match="as many conv_dim as conv_stride"):
        px.models.Wav2Vec2Config(conv_dim=(8,))
    with pytest.raises(px.RangeError, match="spans of at most 11 steps, as many as there are, got 12"):
        spans(jax.random.key(0), 2, 11, 0.5, 12, 0)
    with pytest.raises(px.RangeError, match="adapter_attn_dim = None, got 16"):
        px.models.Wav2Vec2Config.from_dict({"adapter_attn_dim": 16})


def test_counts_of_weights():
    counts = {"wav2vec2_base": 94_396_320, "wav2vec2_large_lv60": 315_471_520}
    for name, count in counts.items():
        model = px.eval_shape(lambda name=name: px.models.create(name))
        assert sum(x.size for x in px.paths(model).values() if jnp.issubdtype(x.dtype, jnp.floating)) == count
