"""BERT beside the hub's."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

import phlox as px
from hub import covered, there_again, tiny
from hub_text import compare, padded, tokens
from kit import oracle

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


ODD = {"hidden_act": "relu", "layer_norm_eps": 0.1, "type_vocab_size": 3, "pad_token_id": None, "num_labels": 3}


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
    compare(ours, theirs, x, dtype="float64", learn=task == "text-classification", mask=mask)
    again, x = there_again(ours, cls, tmp_path / "b"), torch.tensor(x).long()
    for a, b in zip(again(x).to_tuple(), theirs(x).to_tuple(), strict=True):
        assert (a == b).all()


def test_the_pooler_of_a_trunk_is_kept_and_is_what_the_hub_s_gives(tmp_path):
    theirs = tiny(transformers.BertModel, transformers.BertConfig(**SMALL), tmp_path / "a")
    ours, x = px.models.load(tmp_path / "a"), tokens(2, 7, 40)
    want = theirs(torch.tensor(x).long()).pooler_output.detach().numpy()
    np.testing.assert_allclose(ours.pooled(ours.features(x)), want, rtol=1e-4, atol=1e-5)
    px.models.save(ours, tmp_path / "b")
    before, after = (load_file(tmp_path / name / "model.safetensors") for name in "ab")
    assert {f"bert.{name}" for name in before} == set(after)
    assert all((array == after[f"bert.{name}"]).all() for name, array in before.items())
    classes = px.models.load(tmp_path / "a", task="text-classification", classes=5)
    assert (classes.pooler.weight == ours.pooler.weight).all()
    with pytest.raises(px.RangeError, match="a model with a pooler"):
        px.models.load(tmp_path / "a", task="fill-mask").pooled(want)


def test_a_file_without_a_pooler_or_with_more_heads_than_are_wanted(pair, tmp_path):
    theirs = tiny(transformers.BertForPreTraining, transformers.BertConfig(**SMALL), tmp_path / "a")
    ours, x = px.models.load(tmp_path / "a"), tokens(2, 7, 40)
    want = theirs(torch.tensor(x).long()).prediction_logits.detach().numpy()
    np.testing.assert_allclose(ours(x), want, rtol=1e-4, atol=1e-5)
    classes = px.models.load(tmp_path / "a", task="text-classification", classes=3)
    np.testing.assert_array_equal(classes.pooler.weight, theirs.bert.pooler.dense.weight.detach().numpy().T)
    px.models.save(pair[1], tmp_path / "b")
    drawn = [px.models.load(tmp_path / "b", task="text-classification", key=key) for key in (0, 1)]
    assert (drawn[0].pooler.weight != drawn[1].pooler.weight).all()
    assert (drawn[0].embed.words.weight == drawn[1].embed.words.weight).all()
    labels = px.models.load(tmp_path / "b", task="token-classification", classes=3)
    assert labels.head.out.weight.shape == (16, 3)


def test_norms_by_the_names_of_the_first_files(pair, tmp_path):
    px.models.save(pair[1], tmp_path)
    arrays = load_file(tmp_path / "model.safetensors")
    old = {n.replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta"): x for n, x in arrays.items()}
    assert sum("gamma" in name for name in old) == 6
    save_file({**old, "bert.embeddings.position_ids": np.arange(12)[None]}, tmp_path / "model.safetensors")
    again = px.models.load(tmp_path)
    assert all((x == again_x).all() for x, again_x in zip(
        px.state_dict(pair[1]).values(), px.state_dict(again).values(), strict=True))  # fmt: skip
    assert px.models.load(tmp_path, task="text-classification").pooler is not None


def test_packed_texts_are_as_they_are_alone(pair):
    ours, x = pair[1], tokens(1, 14, 40)  # longer together than one may be
    packed = ours(x, segments=np.array([[3] * 4 + [0] * 5 + [3] * 5]))
    alone = jnp.concatenate([ours(x[:, :4]), ours(x[:, 4:9]), ours(x[:, 9:])], axis=1)
    np.testing.assert_allclose(packed[:, 4:9], alone[:, 4:9], rtol=1e-4, atol=1e-5)


def test_dropout_stands_where_it_was_published():
    config = px.models.BERTConfig(
        **SMALL, hidden_dropout_prob=0.3, attention_probs_dropout_prob=0.4, classifier_dropout=0.2, task="text-classification"
    )
    model = px.models.create(config, key=0)
    block = model.blocks[1]
    assert [layer.p for layer in (model.embed.drop, block.drop1, block.drop2, block.attention.drop, model.head.drop)] == [
        0.3, 0.3, 0.3, 0.4, 0.2,
    ]  # fmt: skip
