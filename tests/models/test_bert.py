"""BERT beside the hub's."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import phlox as px
from hub import covered, there_again, tiny
from hub_text import compare, padded, tokens
from kit import oracle
from phlox.models.language.encoders._encoder_heads import LabelHead

torch = oracle("torch")
transformers = oracle("transformers")
SMALL = {
    "vocab_size": 40, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
    "initializer_range": 0.3, "max_position_embeddings": 12,
}  # fmt: skip
TYPES = np.array([[0] * 3 + [1] * 4] * 2)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bert")
    theirs = tiny(transformers.BertForMaskedLM, transformers.BertConfig(**SMALL), folder)
    return theirs, px.models.load(folder)


def test_answers_and_learns_as_the_hub_s(pair):
    theirs, ours = pair
    assert ours.config.task == "fill-mask"
    covered(ours)
    x, mask = tokens(2, 7, 40), padded([7, 4], 7)
    compare(
        ours, theirs, np.where(mask, x, 0), dtype="float64", mask=mask, given={"types": TYPES},
        options={"token_type_ids": TYPES},
    )  # fmt: skip


def test_in_float32(pair):
    theirs, ours = pair
    compare(ours, theirs, tokens(2, 7, 40), dtype="float32", learn=False, mask=padded([7, 4], 7, "left"))


ODD = {
    "hidden_act": "relu", "layer_norm_eps": 0.1, "type_vocab_size": 3, "pad_token_id": None, "num_labels": 3,
    "num_hidden_layers": 1,
}  # fmt: skip


@pytest.mark.parametrize(
    ("task", "name"),
    [("text-classification", "ForSequenceClassification"), ("token-classification", "ForTokenClassification"),
     ("question-answering", "ForQuestionAnswering"), ("feature-extraction", "Model")],
)  # fmt: skip
def test_heads(task, name, tmp_path):
    cls = getattr(transformers, f"Bert{name}")
    odd = ODD | ({"num_labels": 2} if task == "question-answering" else {})
    theirs = tiny(cls, transformers.BertConfig(**SMALL | odd), tmp_path / "a")
    ours, x, mask = px.models.load(tmp_path / "a"), tokens(2, 7, 40), padded([7, 4], 7)
    assert ours.config.task == task
    covered(ours)
    if task == "text-classification":  # another number of classes changes the last map alone
        more = px.models.load(tmp_path / "a", classes=4)
        assert same(ours, more, "pooler")
        assert more.head.out.weight.shape == (16, 4)
    compare(ours, theirs, x, dtype="float64", learn=task == "text-classification", mask=mask)
    again, x = there_again(ours, cls, tmp_path / "b"), torch.tensor(x).long()
    for a, b in zip(again(x).to_tuple(), theirs(x).to_tuple(), strict=True):
        assert (a == b).all()


@px.jit
def run(model, x, **options):
    return model(x, **options)


@px.jit
def pooled(model, x):
    return model.pooled(model.features(x))


def same(a, b, part):
    """Whether two models have the same weights in a part."""
    here, there = (px.state_dict(getattr(model, part)) for model in (a, b))
    names = [name for name, x in here.items() if jnp.issubdtype(x.dtype, jnp.floating)]
    return all(np.array_equal(here[name], there[name]) for name in names)


def test_the_pooler_of_a_trunk_is_kept_and_is_what_the_hub_s_gives(tmp_path):
    theirs = tiny(transformers.BertModel, transformers.BertConfig(**SMALL), tmp_path / "a")
    ours, x = px.models.load(tmp_path / "a"), tokens(2, 7, 40)
    want = theirs(torch.tensor(x).long()).pooler_output.detach().numpy()
    np.testing.assert_allclose(pooled(ours, x), want, rtol=1e-4, atol=1e-5)
    px.models.save(ours, tmp_path / "b")
    before, after = (load_file(tmp_path / name / "model.safetensors") for name in "ab")
    assert {f"bert.{name}" for name in before} == set(after)
    assert all((array == after[f"bert.{name}"]).all() for name, array in before.items())
    classes = px.models.load(tmp_path / "a", task="text-classification", classes=5)
    assert same(classes, ours, "pooler")
    assert classes.head.out.weight.shape == (16, 5)
    with pytest.raises(px.RangeError, match="a model with a pooler"):
        px.models.load(tmp_path / "a", task="question-answering").pooled(want)


def test_a_file_without_a_pooler_or_with_more_heads_than_are_wanted(pair, tmp_path):
    theirs = tiny(transformers.BertForPreTraining, transformers.BertConfig(**SMALL), tmp_path / "a")
    ours, x = px.models.load(tmp_path / "a"), tokens(2, 7, 40)
    want = theirs(torch.tensor(x).long()).prediction_logits.detach().numpy()
    np.testing.assert_allclose(run(ours, x), want, rtol=1e-4, atol=1e-5)
    classes = px.models.load(tmp_path / "a", task="text-classification", classes=3)
    np.testing.assert_array_equal(classes.pooler.weight, theirs.bert.pooler.dense.weight.detach().numpy().T)
    px.models.save(pair[1], tmp_path / "b")
    classes = px.models.load(tmp_path / "b", task="text-classification", key=0)
    assert np.std(classes.pooler.weight) == pytest.approx(0.3, rel=0.2)
    assert same(classes, pair[1], "embed")


def test_labels_are_kept_in_a_config_and_answers_have_two_scores():
    config = px.models.BERTConfig(**SMALL, task="text-classification", classes=3, labels=("a", "b", "c"))
    assert px.models.BERTConfig.from_dict(config.to_dict()) == config
    answers = config.with_task("question-answering")
    assert (answers.classes, answers.labels) == (2, ())


def test_norms_by_the_names_of_the_first_files(pair, tmp_path):
    px.models.save(pair[1], tmp_path)
    arrays = load_file(tmp_path / "model.safetensors")
    old = {n.replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta"): x for n, x in arrays.items()}
    assert sum("gamma" in name for name in old) == 6
    save_file({**old, "bert.embeddings.position_ids": np.arange(12)[None]}, tmp_path / "model.safetensors")
    again = px.models.load(tmp_path)
    assert all(same(pair[1], again, part) for part in ("embed", "head"))
    assert all(map(same, pair[1].blocks, again.blocks, ["norm2"] * 2))
    assert same(px.models.load(tmp_path, task="text-classification"), again, "embed")


def rewritten(folder, **changes):
    entries = {**json.loads((folder / "config.json").read_text()), **changes}
    (folder / "config.json").write_text(json.dumps({k: v for k, v in entries.items() if v is not None}))


def test_a_head_that_no_config_names_is_told_by_its_names(pair, tmp_path):
    px.models.save(pair[1], tmp_path)
    rewritten(tmp_path, architectures=None)  # as the small ones of 2019 have none
    again = px.models.load(tmp_path)
    assert again.config == pair[1].config
    assert same(pair[1], again, "head")
    rewritten(tmp_path, architectures=["BertForMultipleChoice"])
    with pytest.raises(px.RangeError, match="or pass task="):
        px.models.load(tmp_path)
    assert same(pair[1], px.models.load(tmp_path, task="fill-mask"), "head")


def test_packed_texts_are_as_they_are_alone(pair):
    ours, x = pair[1], tokens(1, 15, 40)  # longer together than one may be
    packed = run(ours, x, segments=np.array([[3] * 5 + [0] * 5 + [3] * 5]))
    alone = run(ours, x.reshape(3, 5))
    np.testing.assert_allclose(packed[:, 5:10], alone[1:2], rtol=1e-4, atol=1e-5)


def test_dropout_stands_where_it_was_published():
    config = px.models.BERTConfig(
        **SMALL, hidden_dropout_prob=0.3, attention_probs_dropout_prob=0.4, classifier_dropout=0.2,
        task="text-classification",
    )  # fmt: skip
    model = px.eval_shape(lambda: px.models.create(config, key=0))
    block = model.blocks[1]
    assert [drop.p for drop in (model.embed.drop, block.drop1, block.drop2, block.attention.drop, model.head.drop)] == [
        0.3, 0.3, 0.3, 0.4, 0.2,
    ]  # fmt: skip


def test_dropout_zeroes_ends_of_branches_and_features_before_the_head(pair):
    """With everything dropped what is left is known: norms of the shortcut alone, and the head's bias."""
    every = lambda: px.trainmode(px.Dropout(1.0))  # noqa: E731
    ours = px.copy(pair[1])
    block, x = ours.blocks[0], np.random.default_rng(0).normal(size=(2, 3, 16)).astype(np.float32)
    block.drop1, block.drop2, ours.embed.drop = every(), every(), every()
    alone = px.jit(lambda block, x: block.norm2(block.norm1(x)))
    np.testing.assert_allclose(px.jit(lambda block, x: block(x))(block, x), alone(block, x), rtol=1e-5, atol=1e-5)
    head = px.testmode(LabelHead(16, 2, dropout=0.1, init=px.nn.init.normal))
    head.drop = every()
    np.testing.assert_array_equal(head(x), np.zeros((2, 3, 2)))
    embed = px.jit(lambda embed, x: embed(x, jnp.arange(3)[None]))
    np.testing.assert_array_equal(embed(ours.embed, tokens(2, 3, 40)), np.zeros((2, 3, 16)))


@pytest.mark.parametrize(
    ("task", "name", "count"),
    [("feature-extraction", "bert_base_uncased", 109_482_240), ("fill-mask", "bert_base_uncased", 109_514_298),
     ("feature-extraction", "bert_large_uncased", 335_141_888), (None, "all_minilm_l6_v2", 22_713_216),
     ("feature-extraction", "bert_tiny", 4_385_920)],
)  # fmt: skip
def test_counts_of_weights(task, name, count):
    model = px.eval_shape(lambda: px.models.create(name, task=task, key=0))
    assert sum(x.size for x in px.split(model)[0].values()) == count


@pytest.mark.parametrize(
    ("entries", "text"),
    [({"is_decoder": True}, "is_decoder = False"), ({"position_embedding_type": "relative_key"}, "'absolute'"),
     ({"architectures": ["BertForMaskedLM"], "tie_word_embeddings": False}, "tie_word_embeddings = True"),
     ({"architectures": ["BertForQuestionAnswering"], "num_labels": 3}, "two scores for a token"),
     ({"architectures": ["BertForMultipleChoice"]}, "an architecture among BertForMaskedLM")],
)  # fmt: skip
def test_configs_that_mean_another_model_are_refused(entries, text):
    with pytest.raises(px.RangeError, match=text):
        px.models.BERTConfig.from_dict({"num_labels": 2, **entries})


@pytest.mark.parametrize(
    ("x", "options", "text"),
    [(np.zeros((1, 13), int), {}, "at most 12 tokens"), (np.zeros(3, int), {}, "add a batch axis"),
     (np.zeros((2, 3), int), {"types": np.zeros(3, int)}, r"types \(2, 3\)"),
     (np.zeros((2, 3), int), {"mask": np.ones((2, 4))}, r"a mask \(2, 3\)")],
)  # fmt: skip
def test_what_does_not_fit_is_refused(pair, x, options, text):
    with pytest.raises(px.ShapeError, match=text):
        pair[1](x, **options)
