"""DistilBERT beside the hub's."""

import numpy as np
import pytest

import phlox as px
from hub import covered, there_again, tiny
from hub_text import compare, padded, tokens
from kit import oracle

torch = oracle("torch")
transformers = oracle("transformers")
SMALL = {
    "vocab_size": 40, "dim": 16, "hidden_dim": 24, "n_layers": 2, "n_heads": 4, "initializer_range": 0.3,
    "max_position_embeddings": 12,
}  # fmt: skip


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("distilbert")
    theirs = tiny(transformers.DistilBertForMaskedLM, transformers.DistilBertConfig(**SMALL), folder)
    return theirs, px.models.load(folder)


def test_answers_and_learns_as_the_hub_s(pair):
    theirs, ours = pair
    assert ours.config.task == "fill-mask"
    covered(ours)
    x, mask = tokens(2, 7, 40), padded([7, 4], 7)
    compare(ours, theirs, np.where(mask, x, 0), dtype="float64", mask=mask)


def test_in_float32(pair):
    theirs, ours = pair
    compare(ours, theirs, tokens(2, 7, 40), dtype="float32", learn=False, mask=padded([7, 4], 7, "left"))


ODD = {"activation": "relu", "pad_token_id": None, "n_layers": 1, "attention_dropout": 0.2}


@pytest.mark.parametrize(
    ("task", "name"),
    [("text-classification", "ForSequenceClassification"), ("token-classification", "ForTokenClassification"),
     ("question-answering", "ForQuestionAnswering"), ("feature-extraction", "Model")],
)  # fmt: skip
def test_heads(task, name, tmp_path):
    cls, labels = getattr(transformers, f"DistilBert{name}"), 2 if task == "question-answering" else 3
    config = transformers.DistilBertConfig(**SMALL | ODD, num_labels=labels)
    theirs = tiny(cls, config, tmp_path / "a")
    ours, x, mask = px.models.load(tmp_path / "a"), tokens(2, 7, 40), padded([7, 4], 7)
    assert ours.config.task == task
    covered(ours)
    compare(ours, theirs, x, dtype="float64", learn=task == "text-classification", mask=mask)
    again, x = there_again(ours, cls, tmp_path / "b"), torch.tensor(x).long()
    for a, b in zip(again(x).to_tuple(), theirs(x).to_tuple(), strict=True):
        assert (a == b).all()


def test_dropout_stands_where_it_was_published():
    rates = {"dropout": 0.3, "attention_dropout": 0.4, "seq_classif_dropout": 0.2, "qa_dropout": 0.6}

    def made(task):
        return px.eval_shape(lambda: px.models.create(px.models.DistilBERTConfig(**SMALL, **rates, task=task), key=0))

    model = made("text-classification")
    block = model.blocks[1]
    assert [getattr(drop, "p", 0.0) for drop in (model.embed.drop, block.drop1, block.drop2, block.attention.drop)] == [
        0.3, 0.0, 0.3, 0.4,
    ]  # fmt: skip
    assert model.head.drop.p == 0.2
    assert made("question-answering").head.drop.p == 0.6
    assert made("token-classification").head.drop.p == 0.3


@pytest.mark.parametrize(
    ("task", "name", "count"),
    [("feature-extraction", "distilbert_base_uncased", 66_362_880),
     ("fill-mask", "distilbert_base_uncased", 66_985_530), ("feature-extraction", "distilbert_base_cased", 65_190_912)],
)  # fmt: skip
def test_counts_of_weights(task, name, count):
    model = px.eval_shape(lambda: px.models.create(name, task=task, key=0))
    assert sum(x.size for x in px.split(model)[0].values()) == count


def test_types_are_refused_and_layers_without_end_too(pair):
    x = np.zeros((1, 3), int)
    with pytest.raises(px.RangeError, match="no types"):
        pair[1](x, types=x)
    with pytest.raises(px.RangeError, match="n_layers from 0 to 4096"):
        px.models.DistilBERTConfig.from_dict({"n_layers": 5000})
