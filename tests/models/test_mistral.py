"""Mistral beside the hub's."""

import numpy as np
import pytest

import phlox as px
from hub import covered, there_again, tiny
from hub_text import compare, padded, step_by_step, tokens
from kit import oracle

transformers = oracle("transformers")
SMALL = {
    "vocab_size": 40, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "initializer_range": 0.3, "max_position_embeddings": 32, "sliding_window": 3,
}  # fmt: skip


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mistral")
    theirs = tiny(transformers.MistralForCausalLM, transformers.MistralConfig(**SMALL), folder)
    return theirs, px.models.load(folder)


def test_answers_and_learns_as_the_hub_s(pair):
    theirs, ours = pair
    covered(ours)
    compare(ours, theirs, tokens(2, 7, 40), dtype="float64", mask=padded([7, 5], 7))


def test_in_float32(pair):
    theirs, ours = pair
    compare(ours, theirs, tokens(2, 7, 40), dtype="float32", learn=False, mask=padded([7, 5], 7, "left"))


def test_a_window_goes_on_through_a_cache(pair):
    assert step_by_step(pair[1], tokens(2, 10, 40), lengths=[5, 3], chunks=[1, 2, 1]) <= 1e-12


def test_a_head_heads_of_another_size_and_no_window(tmp_path):
    options = {"head_dim": 6, "sliding_window": None, "num_hidden_layers": 1, "rms_norm_eps": 0.1}
    config = transformers.MistralConfig(**SMALL | options, num_labels=3, pad_token_id=0)
    config.rope_parameters["rope_theta"] = 100.0
    theirs = tiny(transformers.MistralForSequenceClassification, config, tmp_path)
    ours, x, mask = px.models.load(tmp_path), tokens(2, 7, 40), padded([7, 4], 7)
    compare(ours, theirs, np.where(mask, x, 0), dtype="float64", learn=False, mask=mask)


def test_written_here_and_loaded_there(pair, tmp_path):
    import torch

    theirs, ours = pair
    again = there_again(ours, transformers.MistralForCausalLM, tmp_path)
    x = torch.tensor(tokens(2, 7, 40)).long()
    assert (again(x).logits == theirs(x).logits).all()
    marked = px.models.load(tmp_path, task="token-classification", classes=5)
    there_again(marked, transformers.MistralForTokenClassification, tmp_path / "marked")


def test_counts_of_weights():
    for name, count in {"mistral_7b_v0.1": 7_241_732_096, "mistral_7b_v0.3": 7_248_023_552}.items():
        model = px.eval_shape(lambda name=name: px.models.create(name))
        assert sum(x.size for x in px.paths(model).values()) == count
