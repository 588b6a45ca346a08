"""Phi-3 beside the hub's."""

import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from hub import covered, there_again, tiny
from hub_text import compare, padded, step_by_step, tokens
from kit import oracle

transformers = oracle("transformers")
SMALL = {
    "vocab_size": 40, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "initializer_range": 0.3, "max_position_embeddings": 32, "pad_token_id": 0,
    "original_max_position_embeddings": 8, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
LONG = {
    "rope_type": "longrope", "rope_theta": 100.0, "partial_rotary_factor": 0.75, "short_factor": [1.0, 1.5, 2.0],
    "long_factor": [1.0, 3.0, 7.0],
}  # fmt: skip


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phi3")
    config = transformers.Phi3Config(**SMALL, rope_parameters=LONG)
    return tiny(transformers.Phi3ForCausalLM, config, folder), px.models.load(folder)


def test_answers_and_learns_as_the_hub_s_within_the_older_length(pair):
    theirs, ours = pair
    covered(ours)
    compare(ours, theirs, tokens(2, 7, 40), dtype="float64", mask=padded([7, 4], 7))


def test_a_longer_text_has_the_longer_factors(pair):
    theirs, ours = pair
    compare(ours, theirs, tokens(2, 11, 40), dtype="float32", learn=False, mask=padded([11, 4], 11, "left"))


def test_a_cache_changes_no_score(pair):
    assert step_by_step(pair[1], tokens(2, 8, 40), lengths=[5, 3], chunks=[1, 2], dtype="float32") <= 1e-5


def test_written_here_and_loaded_there(pair, tmp_path):
    import torch

    theirs, ours = pair
    again = there_again(ours, transformers.Phi3ForCausalLM, tmp_path)
    x = torch.tensor(tokens(2, 11, 40)).long()
    assert (again(x).logits == theirs(x).logits).all()
    marked = px.models.load(tmp_path, task="token-classification", classes=5)
    there_again(marked, transformers.Phi3ForTokenClassification, tmp_path / "marked")


def test_older_files_call_it_su():
    old = {"type": "su", "short_factor": [1.0] * 4, "long_factor": [2.0] * 4}
    config = px.models.Phi3Config.from_dict({"rope_scaling": old, "original_max_position_embeddings": 16})
    assert config.rope_scaling == {"rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [2.0] * 4}
    assert config.original_max_position_embeddings == 16
    newer = {"rope_parameters": {**old, "original_max_position_embeddings": 8, "partial_rotary_factor": 0.5}}
    assert px.models.Phi3Config.from_dict(newer).original_max_position_embeddings == 8
    assert px.models.Phi3Config.from_dict(newer).partial_rotary_factor == 0.5


def test_a_head_a_window_and_plain_positions(tmp_path):
    options = {"sliding_window": 3, "num_hidden_layers": 1, "rms_norm_eps": 0.1, "num_labels": 3}
    theirs = tiny(transformers.Phi3ForSequenceClassification, transformers.Phi3Config(**SMALL | options), tmp_path)
    ours, x, mask = px.models.load(tmp_path), tokens(2, 11, 40), padded([11, 4], 11)
    compare(ours, theirs, np.where(mask, x, 0), dtype="float64", learn=False, mask=mask)


def test_branches_are_dropped_in_training():
    config = px.models.Phi3Config(**SMALL | {"resid_pdrop": 0.5, "attention_dropout": 0.5, "num_hidden_layers": 1})
    with px.seed(0):
        block = px.models.create(config).blocks[0]
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 1, 16)), jnp.float32)

    @px.jit
    def run(block, x):
        return block.drop(x), block.attention(x), block(x) - x

    dropped, attended, both = map(np.asarray, run(px.trainmode(block), jnp.repeat(x, 400, 0)))
    assert abs(np.mean(dropped == 0) - 0.5) < 0.05
    assert abs(np.mean(attended.sum(-1) == 0) - 0.25) < 0.1  # of two heads, each has one weight to lose
    assert abs(np.mean(both == 0) - 0.5 * (0.5 + 0.5 * 0.25)) < 0.05  # attention's branch may be gone already


def test_counts_of_weights():
    for name, count in {"phi_3_mini_4k": 3_821_079_552, "phi_3_medium_4k": 13_960_238_080}.items():
        model = px.eval_shape(lambda name=name: px.models.create(name))
        assert sum(x.size for x in px.paths(model).values()) == count
