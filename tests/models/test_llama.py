"""Llama beside the hub's."""

import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from hub import covered, there_again, tiny
from hub_text import compare, padded, step_by_step, tokens
from kit import oracle

transformers = oracle("transformers")
SMALL = {
    "vocab_size": 40, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "initializer_range": 0.3, "max_position_embeddings": 32,
}  # fmt: skip


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("llama")
    theirs = tiny(transformers.LlamaForCausalLM, transformers.LlamaConfig(**SMALL), folder)
    return theirs, px.models.load(folder)


def test_answers_and_learns_as_the_hub_s(pair):
    theirs, ours = pair
    covered(ours)
    compare(ours, theirs, tokens(2, 7, 40), dtype="float64", mask=padded([7, 4], 7))


def test_in_float32(pair):
    theirs, ours = pair
    compare(ours, theirs, tokens(2, 7, 40), dtype="float32", learn=False, mask=padded([7, 4], 7, "left"))


def test_a_cache_changes_no_score(pair):
    assert step_by_step(pair[1], tokens(2, 10, 40), lengths=[5, 3], chunks=[1, 2, 1]) <= 1e-12


def test_packed_texts_are_as_they_are_alone(pair):
    ours, x = pair[1], tokens(1, 9, 40)
    packed = ours(x, segments=np.array([[1] * 4 + [2] * 5]))
    alone = jnp.concatenate([ours(x[:, :4]), ours(x[:, 4:])], axis=1)
    np.testing.assert_allclose(packed, alone, rtol=1e-4, atol=1e-5)


ROPE3 = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8,
}  # fmt: skip


@pytest.mark.parametrize(
    "scaling",
    [ROPE3, {"rope_type": "linear", "factor": 3.0}, {"rope_type": "yarn", "factor": 4.0, "beta_fast": 8.0},
     {"rope_type": "dynamic", "factor": 4.0}],
    ids=lambda scaling: scaling["rope_type"],
)  # fmt: skip
def test_stretched_positions_biases_and_a_tied_head(scaling, tmp_path):
    options = {
        "attention_bias": True,
        "mlp_bias": True,
        "tie_word_embeddings": True,
        "head_dim": 6,
        "num_hidden_layers": 1,
    }
    config = transformers.LlamaConfig(**SMALL | options | {"max_position_embeddings": 8}, rope_parameters=scaling)
    config.rope_parameters["rope_theta"] = 100.0
    theirs = tiny(transformers.LlamaForCausalLM, config, tmp_path)
    ours = px.models.load(tmp_path)
    assert ours.config.rope_theta == 100.0
    assert ours.head is None
    dtype = "float32" if scaling["rope_type"] == "dynamic" else "float64"  # theirs divides in float32 there
    compare(ours, theirs, tokens(1, 12, 40), dtype=dtype, learn=False)


@pytest.mark.parametrize(("task", "name"), [("text-classification", "Sequence"), ("token-classification", "Token")])
def test_heads(task, name, tmp_path, pair):
    cls = getattr(transformers, f"LlamaFor{name}Classification")
    theirs = tiny(cls, transformers.LlamaConfig(**SMALL, num_labels=3, pad_token_id=0), tmp_path)
    ours, x, mask = px.models.load(tmp_path), tokens(2, 7, 40), padded([7, 4], 7)
    assert ours.config.task == task
    compare(ours, theirs, np.where(mask, x, 0), dtype="float64", learn=False, mask=mask)


def test_written_here_and_loaded_there(pair, tmp_path):
    import torch

    theirs, ours = pair
    again = there_again(ours, transformers.LlamaForCausalLM, tmp_path)
    x = torch.tensor(tokens(2, 7, 40)).long()
    assert (again(x).logits == theirs(x).logits).all()
    classes = px.models.load(tmp_path, task="text-classification", classes=5)
    assert classes(tokens(2, 7, 40)).shape == (2, 5)
    assert (classes.embed.weight == ours.embed.weight).all()


def test_counts_of_weights():
    counts = {"llama_2_7b": 6_738_415_616, "llama_3.1_8b": 8_030_261_248, "llama_3.2_1b": 1_235_814_400}
    for name, count in counts.items():
        model = px.eval_shape(lambda name=name: px.models.create(name))
        assert sum(x.size for x in px.paths(model).values()) == count
