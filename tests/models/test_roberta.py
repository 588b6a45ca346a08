"""RoBERTa and XLM-RoBERTa beside the hub's."""

import numpy as np
import pytest

import phlox as px
from hub import covered, there_again, tiny
from hub_text import compare, padded, tokens
from kit import oracle

torch = oracle("torch")
transformers = oracle("transformers")
SMALL = {
    "vocab_size": 40, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
    "initializer_range": 0.3, "max_position_embeddings": 14, "hidden_act": "relu",
}  # fmt: skip


def pads(mask):
    """Tokens (2, 7) with what pads where the mask says so."""
    return np.where(mask, tokens(2, 7, 40), 1)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("roberta")
    theirs = tiny(transformers.RobertaForMaskedLM, transformers.RobertaConfig(**SMALL), folder)
    return theirs, px.models.load(folder)


def test_answers_and_learns_as_the_hub_s(pair):
    theirs, ours = pair
    assert ours.config.task == "fill-mask"
    covered(ours)
    mask = padded([7, 4], 7)
    compare(ours, theirs, pads(mask), dtype="float64", mask=mask)


def test_places_are_counted_from_what_pads_in_front(pair):
    theirs, ours = pair
    mask = padded([7, 4], 7, "left")
    compare(ours, theirs, pads(mask), dtype="float32", learn=False, mask=mask)


ODD = {"layer_norm_eps": 0.1, "type_vocab_size": 1, "pad_token_id": 3, "num_hidden_layers": 1}


@pytest.mark.parametrize(
    ("family", "task", "name"),
    [("XLMRoberta", "text-classification", "ForSequenceClassification"),
     ("Roberta", "token-classification", "ForTokenClassification"),
     ("Roberta", "question-answering", "ForQuestionAnswering"), ("XLMRoberta", "feature-extraction", "Model")],
)  # fmt: skip
def test_heads(family, task, name, tmp_path):
    cls, labels = getattr(transformers, f"{family}{name}"), 2 if task == "question-answering" else 3
    config = getattr(transformers, f"{family}Config")(**SMALL | ODD, num_labels=labels)
    theirs = tiny(cls, config, tmp_path / "a")
    ours, x, mask = px.models.load(tmp_path / "a"), tokens(2, 7, 40), padded([7, 4], 7)
    assert ours.config.task == task
    assert ours.config.model_type == config.model_type
    covered(ours)
    compare(ours, theirs, x, dtype="float64", learn=task == "text-classification", mask=mask)
    again, x = there_again(ours, cls, tmp_path / "b"), torch.tensor(x).long()
    for a, b in zip(again(x).to_tuple(), theirs(x).to_tuple(), strict=True):
        assert (a == b).all()


def test_packed_texts_are_as_they_are_alone(pair):
    ours, x = pair[1], tokens(1, 15, 40)  # longer together than one may be
    x[0, 4] = 1
    run = px.jit(lambda model, x, **options: model(x, **options))
    packed = run(ours, x, segments=np.array([[3] * 5 + [0] * 5 + [3] * 5]))
    np.testing.assert_allclose(packed[:, 5:10], run(ours, x.reshape(3, 5))[1:2], rtol=1e-4, atol=1e-5)


def test_a_trunk_from_a_file_without_a_pooler(pair, tmp_path):
    ours = pair[1]
    px.models.save(ours, tmp_path)
    trunk = px.models.load(tmp_path, task="feature-extraction")
    assert trunk.pooler.weight.shape == (16, 16)
    assert (trunk.embed.words.weight == ours.embed.words.weight).all()
    classes = px.models.load(tmp_path, task="text-classification", classes=5)
    assert classes.pooler is None
    assert classes.head.out.weight.shape == (16, 5)


def test_dropout_stands_where_it_was_published():
    sizes = {name: value for name, value in SMALL.items() if name != "hidden_act"}
    config = px.models.RoBERTaConfig(**sizes, hidden_dropout_prob=0.3, task="text-classification")
    head = px.models.create(config, key=0).head
    assert (head.before.p, head.drop.p) == (0.3, 0.3)
    x = np.random.default_rng(0).normal(size=(2, 3, 16)).astype(np.float32)
    head.dense.bias = head.dense.bias + 1.0
    head.before, head.drop = px.trainmode(px.Dropout(1.0)), px.testmode(head.drop)
    hidden = np.broadcast_to(np.tanh(np.float32(1.0)), (2, 16))
    np.testing.assert_allclose(head(x), hidden @ np.asarray(head.out.weight), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("task", "name", "count"),
    [("feature-extraction", "roberta_base", 124_645_632), ("fill-mask", "roberta_base", 124_697_433),
     ("feature-extraction", "roberta_large", 355_359_744), ("feature-extraction", "xlm_roberta_base", 278_043_648)],
)  # fmt: skip
def test_counts_of_weights(task, name, count):
    model = px.eval_shape(lambda: px.models.create(name, task=task, key=0))
    assert sum(x.size for x in px.split(model)[0].values()) == count


def test_what_does_not_fit_is_refused(pair):
    with pytest.raises(px.ShapeError, match="at most 12 tokens"):
        pair[1](np.zeros((1, 13), int))
    with pytest.raises(px.RangeError, match="pad_token_id as a number"):
        px.models.RoBERTaConfig.from_dict({"pad_token_id": None})
