"""ModernBERT beside the hub's."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from hub import covered, there_again, tiny
from hub_text import compare, padded, tokens
from kit import oracle

transformers = oracle("transformers")
SMALL = {
    "vocab_size": 40, "hidden_size": 16, "intermediate_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2,
    "initializer_range": 0.3, "local_attention": 6, "pad_token_id": 0, "global_attn_every_n_layers": 2,
    "local_rope_theta": 20.0, "global_rope_theta": 300.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("modernbert")
    theirs = tiny(transformers.ModernBertForMaskedLM, transformers.ModernBertConfig(**SMALL), folder)
    return theirs, px.models.load(folder)


def test_answers_and_learns_as_the_hub_s(pair):
    theirs, ours = pair
    covered(ours)
    compare(ours, theirs, tokens(2, 9, 40), dtype="float64", mask=padded([9, 6], 9))


def test_in_float32(pair):
    theirs, ours = pair
    compare(ours, theirs, tokens(2, 9, 40), dtype="float32", learn=False, mask=padded([9, 6], 9, "left"))


ODD = {"norm_bias": True, "attention_bias": True, "mlp_bias": True, "classifier_bias": True, "num_hidden_layers": 1}


@pytest.mark.parametrize(
    ("task", "name", "odd"),
    [
        ("text-classification", "SequenceClassification", {"num_labels": 3}),
        ("text-classification", "SequenceClassification", {"classifier_pooling": "mean", "hidden_activation": "silu"}),
        ("token-classification", "TokenClassification", {"num_labels": 3, "layer_types": ["sliding_attention"]}),
        ("question-answering", "QuestionAnswering", {"classifier_activation": "relu"}),
        ("fill-mask", "MaskedLM", {"tie_word_embeddings": False, "decoder_bias": False}),
    ],
)
def test_heads_and_odd_configs(task, name, odd, tmp_path):
    cls = getattr(transformers, f"ModernBertFor{name}")
    theirs = tiny(cls, transformers.ModernBertConfig(**SMALL | ODD | odd), tmp_path)
    ours = px.models.load(tmp_path)
    assert ours.config.task == task
    assert (ours.config.local_rope_theta, ours.config.global_rope_theta) == (20.0, 300.0)
    compare(ours, theirs, tokens(2, 7, 40), dtype="float64", learn=False, mask=padded([7, 4], 7))
    again = there_again(ours, cls, tmp_path).state_dict()
    assert all((again[name] == x).all() for name, x in theirs.state_dict().items())
    assert px.models.load(tmp_path).config == ours.config


def test_written_here_and_loaded_there(pair, tmp_path):
    import torch

    theirs, ours = pair
    again = there_again(ours, transformers.ModernBertForMaskedLM, tmp_path)
    x = torch.tensor(tokens(2, 7, 40)).long()
    assert (again(x).logits == theirs(x).logits).all()
    trunk = px.models.load(tmp_path, task="feature-extraction")
    assert trunk.head is None
    assert (there_again(trunk, transformers.ModernBertModel, tmp_path)(x)[0] == theirs.model(x)[0]).all()
    classes = px.models.load(tmp_path, task="text-classification", classes=5)
    assert px.output_shape(classes, jnp.zeros((2, 7), int)) == (2, 5)
    assert (classes.embed.weight == ours.embed.weight).all()


def test_packed_texts_are_as_they_are_alone(pair):
    x = tokens(1, 9, 40)

    @px.jit
    def both(model, x):
        packed = model(x, segments=np.array([[1] * 4 + [2] * 5]))
        return packed, jnp.concatenate([model(x[:, :4]), model(x[:, 4:])], axis=1)

    np.testing.assert_allclose(*both(pair[1], x), rtol=1e-4, atol=1e-5)


def test_dropout_where_it_is_published(pair):
    rates = {"embedding_dropout": 0.1, "attention_dropout": 0.2, "mlp_dropout": 0.3, "classifier_dropout": 0.4}
    config = dataclasses.replace(pair[1].config, **rates)
    model = px.eval_shape(lambda: px.models.create(config.with_task("token-classification")))
    block = model.blocks[0]
    assert (model.drop.p, block.attention.drop.p, block.drop.p, block.mlp.drop.p) == (0.1, 0.2, 0.2, 0.3)
    assert model.head.drop.p == 0.4
    words = px.eval_shape(lambda: px.models.create(config))
    assert words.head.drop is px.nn.functional.identity
    certain = px.trainmode(px.copy(pair[1]))
    certain.drop = certain.blocks[0].drop = certain.blocks[0].mlp.drop = certain.head.drop = lambda x: 0 * x

    @px.jit
    def seen(model, x):
        return model.hidden_states(jnp.array([[5, 7, 8]]))[0], model.blocks[0](x) - x, model.scores(x)

    start, added, scores = seen(certain, jnp.ones((1, 3, 16)))
    assert not start.any()
    assert not added.any()
    np.testing.assert_array_equal(scores, jnp.broadcast_to(certain.head.bias, scores.shape))


def test_fresh_weights_are_cut_off_and_smaller_at_the_end_of_a_branch():
    sizes = {"vocab_size": 4000, "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2}
    model = px.models.create(px.models.ModernBertConfig(**SMALL | sizes), key=0)
    (_, *blocks), std = model.blocks, 0.3 * 0.8796  # what a cut at two leaves of a standard deviation
    ends = np.stack([(block.attention.out_proj.weight, block.mlp.down.weight) for block in blocks])
    for weight, wanted in ((model.embed.weight, std), (blocks[0].mlp.gate.weight, std), (ends, std / 2)):
        assert np.std(weight) == pytest.approx(wanted, rel=0.03)
        assert 1.9 < np.abs(weight).max() / wanted * 0.8796 <= 2.001


def test_kinds_of_blocks():
    ours = px.models.ModernBertConfig(num_hidden_layers=7, global_attn_every_n_layers=3)
    assert list(ours.kinds) == transformers.ModernBertConfig(num_hidden_layers=7).layer_types


def test_bad_configs():
    with pytest.raises(px.RangeError, match="classifier_pooling cls or mean"):
        px.models.ModernBertConfig(classifier_pooling="max")
    with pytest.raises(px.RangeError, match="for each of 22 blocks"):
        px.models.ModernBertConfig(layer_types=("full_attention",))
    with pytest.raises(px.RangeError, match="rope_type 'default'"):
        px.models.ModernBertConfig.from_dict({"rope_parameters": {"full_attention": {"rope_type": "yarn"}}})
    older = px.models.ModernBertConfig.from_dict({"local_rope_theta": 5.0, "architectures": ["ModernBertModel"]})
    assert (older.local_rope_theta, older.task) == (5.0, "feature-extraction")


def test_counts_of_weights():
    for name, count in {"modernbert_base": 149_655_232, "modernbert_large": 395_881_664}.items():
        model = px.eval_shape(lambda name=name: px.models.create(name))
        assert sum(x.size for x in px.paths(model).values()) == count
