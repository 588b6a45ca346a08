"""Mixtral beside the hub's."""

import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from hub import agrees, covered, there_again, tiny
from hub_text import compare, count_of_weights, padded, step_by_step, tokens
from kit import oracle
from phlox.models.language.decoders._mixture import Experts
from phlox.nn.init import normal

transformers = oracle("transformers")
SMALL = {
    "vocab_size": 40, "hidden_size": 16, "intermediate_size": 12, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "initializer_range": 0.3, "max_position_embeddings": 32, "num_local_experts": 5,
    "sliding_window": 3, "attention_dropout": 0.5,
}  # fmt: skip


def random(cls, config, folder):
    """As ``tiny``, with experts one by one: their faster code for all together knows no float64."""
    theirs = tiny(cls, config, folder)
    theirs.set_experts_implementation("eager")
    return theirs


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixtral")
    theirs = random(transformers.MixtralForCausalLM, transformers.MixtralConfig(**SMALL), folder)
    return theirs, px.models.load(folder)


def test_answers_and_learns_as_the_hub_s(pair):
    theirs, ours = pair
    covered(ours)
    compare(ours, theirs, tokens(2, 7, 40), dtype="float64", mask=padded([7, 4], 7))


def test_in_float32(pair):
    theirs, ours = pair
    compare(ours, theirs, tokens(2, 7, 40), dtype="float32", learn=False, mask=padded([7, 4], 7, "left"))


def test_a_cache_changes_no_score(pair):
    assert step_by_step(pair[1], tokens(2, 10, 40), lengths=[5, 3], chunks=[1, 1]) <= 1e-12


def test_the_router_s_loss_and_what_it_teaches_routers_is_the_hub_s(pair):
    import torch

    theirs, ours = pair
    x, mask = tokens(2, 7, 40), padded([7, 4], 7)
    theirs.zero_grad()
    given = {"output_router_logits": True, "attention_mask": torch.tensor(mask).long()}
    want = theirs(torch.tensor(x).long(), **given).aux_loss
    want.backward()
    loss = lambda model: model(jnp.asarray(x), lengths=jnp.array([7, 4]), return_loss=True)[1]  # noqa: E731
    found, grads = px.jit(px.value_and_grad(loss))(px.testmode(px.copy(ours)))
    agrees(found, want.detach().numpy(), "router's loss", 1e-6)
    for i, layer in enumerate(theirs.model.layers):
        wanted = layer.mlp.gate.weight.grad.numpy().T
        agrees(grads.blocks[i].mlp.router.weight, wanted, f"gradient of router {i}", 1e-5)


def test_stretched_positions_and_a_tied_head(tmp_path):
    options = {"tie_word_embeddings": True, "head_dim": 6, "num_hidden_layers": 1, "sliding_window": None}
    positions = {"rope_type": "linear", "factor": 3.0, "rope_theta": 100.0}
    config = transformers.MixtralConfig(**SMALL | options, num_experts_per_tok=3, rope_parameters=positions)
    theirs = random(transformers.MixtralForCausalLM, config, tmp_path)
    ours = px.models.load(tmp_path)
    assert ours.head is None
    compare(ours, theirs, tokens(1, 12, 40), dtype="float64", learn=False)


@pytest.mark.parametrize(("task", "name"), [("text-classification", "Sequence"), ("token-classification", "Token")])
def test_heads(task, name, tmp_path):
    cls = getattr(transformers, f"MixtralFor{name}Classification")
    config = transformers.MixtralConfig(**SMALL | {"num_hidden_layers": 1}, num_labels=3, pad_token_id=0)
    theirs = random(cls, config, tmp_path)
    ours, x, mask = px.models.load(tmp_path), tokens(2, 7, 40), padded([7, 4], 7)
    assert ours.config.task == task
    compare(ours, theirs, np.where(mask, x, 0), dtype="float64", learn=False, mask=mask)


def test_written_here_and_loaded_there(pair, tmp_path):
    import torch

    theirs, ours = pair
    again, x = there_again(ours, transformers.MixtralForCausalLM, tmp_path), torch.tensor(tokens(2, 7, 40)).long()
    again.set_experts_implementation("eager")
    assert (again(x).logits == theirs(x).logits).all()
    assert px.models.load(tmp_path).config == ours.config


def test_dropout_zeroes_weights_of_attention(pair):
    attention = px.trainmode(px.copy(pair[1].blocks[0].attention))
    run, x = px.jit(lambda attention, x: attention(x)), jnp.ones((1, 7, 16))
    assert not jnp.array_equal(run(attention, x), run(attention, x))


def test_fresh_experts_and_routers_are_drawn_as_the_config_says():
    draw = normal(std=0.3)
    with px.seed(0):
        made = Experts(64, 5, lambda: px.nn.GatedMLP(64, 12, init=draw), init=draw)
    for weight in (made.router.weight, made.experts.up.weight, made.experts.down.weight):
        assert abs(float(np.std(weight)) - 0.3) < 0.04
    assert (np.asarray(made.experts.up.weight[0]) != np.asarray(made.experts.up.weight[1])).all()


def test_noise_of_routers_is_refused():
    with pytest.raises(px.RangeError, match=r"router_jitter_noise = 0.0, got 0.1"):
        px.models.MixtralConfig.from_dict({"router_jitter_noise": 0.1})


def test_counts_of_weights():
    for name, count in {"mixtral_8x7b": 46_702_792_704, "mixtral_8x22b": 140_620_634_112}.items():
        assert count_of_weights(name) == count, name
