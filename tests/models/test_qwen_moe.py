"""Qwen2 and Qwen3 with experts beside the hub's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from hub import agrees, covered, there_again, tiny
from hub_text import compare, count_of_weights, padded, step_by_step, tokens
from kit import oracle

transformers = oracle("transformers")
SMALL = {
    "vocab_size": 40, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "initializer_range": 0.3, "max_position_embeddings": 32, "num_experts": 5,
    "num_experts_per_tok": 2, "moe_intermediate_size": 8, "use_sliding_window": True, "sliding_window": 3,
    "attention_dropout": 0.5,
}  # fmt: skip


def random(cls, config, folder):
    """As ``tiny``, with experts one by one: their faster code for all together knows no float64."""
    theirs = tiny(cls, config, folder)
    theirs.set_experts_implementation("eager")
    return theirs


@pytest.fixture(scope="module")
def second(tmp_path_factory):
    folder = tmp_path_factory.mktemp("qwen2_moe")
    config = transformers.Qwen2MoeConfig(**SMALL, shared_expert_intermediate_size=12, decoder_sparse_step=2)
    return random(transformers.Qwen2MoeForCausalLM, config, folder), px.models.load(folder)


@pytest.fixture(scope="module")
def third(tmp_path_factory):
    folder = tmp_path_factory.mktemp("qwen3_moe")
    config = transformers.Qwen3MoeConfig(**SMALL, head_dim=6, norm_topk_prob=True, mlp_only_layers=[1])
    return random(transformers.Qwen3MoeForCausalLM, config, folder), px.models.load(folder)


@pytest.fixture(params=["second", "third"])
def pair(request):
    return request.getfixturevalue(request.param)


def test_answers_and_learns_as_the_hub_s(pair):
    theirs, ours = pair
    covered(ours)
    compare(ours, theirs, tokens(2, 7, 40), dtype="float64", mask=padded([7, 4], 7))


def test_in_float32(pair):
    theirs, ours = pair
    compare(ours, theirs, tokens(2, 7, 40), dtype="float32", learn=False, mask=padded([7, 4], 7, "left"))


def test_a_cache_changes_no_score(third):
    assert step_by_step(third[1], tokens(2, 10, 40), lengths=[5, 3], chunks=[1, 1]) <= 1e-12


def test_the_router_s_loss_is_the_hub_s(pair):
    import torch

    theirs, ours = pair
    x, mask = tokens(2, 7, 40), padded([7, 4], 7)
    given = {"output_router_logits": True, "attention_mask": torch.tensor(mask).long()}
    want = theirs(torch.tensor(x).long(), **given)
    scores, loss = px.jit(lambda model: model(jnp.asarray(x), mask=mask, return_loss=True))(ours)
    agrees(loss, want.aux_loss.detach().numpy(), "router's loss", 1e-6)
    agrees(scores[0], want.logits[0].detach().numpy(), "scores", 1e-5)


def test_written_here_and_loaded_there(pair, tmp_path):
    import torch

    theirs, ours = pair
    again, x = there_again(ours, type(theirs), tmp_path), torch.tensor(tokens(2, 7, 40)).long()
    again.set_experts_implementation("eager")
    assert (again(x).logits == theirs(x).logits).all()
    assert px.models.load(tmp_path).config == ours.config


@pytest.mark.parametrize("name", ["Qwen2Moe", "Qwen3Moe"])
def test_other_switches(name, tmp_path):
    switches = {
        "Qwen2Moe": {"norm_topk_prob": True, "qkv_bias": False, "shared_expert_intermediate_size": 6},
        "Qwen3Moe": {"norm_topk_prob": False, "attention_bias": True},
    }[name]
    positions = {"rope_type": "linear", "factor": 3.0, "rope_theta": 100.0}
    options = switches | {"num_hidden_layers": 1, "tie_word_embeddings": True, "use_sliding_window": False}
    config = getattr(transformers, f"{name}Config")(**SMALL | options, rope_parameters=positions)
    theirs = random(getattr(transformers, f"{name}ForCausalLM"), config, tmp_path)
    ours = px.models.load(tmp_path)
    assert ours.head is None
    compare(ours, theirs, tokens(1, 9, 40), dtype="float64", learn=False)


@pytest.mark.parametrize(("name", "head"), [("Qwen2Moe", "Sequence"), ("Qwen3Moe", "Token")])
def test_heads(name, head, tmp_path):
    config = getattr(transformers, f"{name}Config")(**SMALL | {"num_hidden_layers": 1}, num_labels=3, pad_token_id=0)
    theirs = random(getattr(transformers, f"{name}For{head}Classification"), config, tmp_path)
    ours, x, mask = px.models.load(tmp_path), tokens(2, 7, 40), padded([7, 4], 7)
    assert ours.config.task == {"Sequence": "text-classification", "Token": "token-classification"}[head]
    compare(ours, theirs, np.where(mask, x, 0), dtype="float32", learn=False, mask=mask)


def test_which_blocks_have_experts_and_windows():
    config = px.models.Qwen2MoeConfig(
        num_hidden_layers=6, decoder_sparse_step=2, mlp_only_layers=(3,), use_sliding_window=True, max_window_layers=3
    )
    theirs = transformers.Qwen2MoeConfig(
        num_hidden_layers=6, decoder_sparse_step=2, mlp_only_layers=[3], use_sliding_window=True, max_window_layers=3
    )
    assert config.sparse == (False, True, False, False, False, True)
    assert config.kinds == tuple(theirs.layer_types)
    with pytest.raises(px.RangeError, match="decoder_sparse_step of 1 or more, got 0"):
        px.models.create(px.models.Qwen3MoeConfig(**SMALL, decoder_sparse_step=0))


def test_a_model_without_experts_has_no_loss_of_routers():
    config = px.models.Qwen3MoeConfig(**SMALL | {"num_experts": 0})
    run = px.jit(lambda x: px.models.create(config, key=jax.random.key(0))(x, return_loss=True)[1])
    assert float(run(jnp.asarray(tokens(1, 5, 40)))) == 0.0


def test_dropout_zeroes_weights_of_attention(third):
    attention = px.trainmode(px.copy(third[1].blocks[0].attention))
    run, x = px.jit(lambda attention, x: attention(x)), jnp.ones((1, 7, 16))
    assert not jnp.array_equal(run(attention, x), run(attention, x))


def test_counts_of_weights():
    counts = {
        "qwen1.5_moe_a2.7b": 14_315_784_192, "qwen2_57b_a14b": 57_408_658_944, "qwen3_30b_a3b": 30_532_122_624,
        "qwen3_235b_a22b": 235_093_634_560,
    }  # fmt: skip
    for name, count in counts.items():
        assert count_of_weights(name) == count, name
