"""Gemma 2 and 3 beside the hub's."""

import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from hub import covered, there_again, tiny
from hub_text import compare, count_of_weights, padded, step_by_step, tokens
from kit import oracle

transformers = oracle("transformers")
SMALL = {
    "vocab_size": 40, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 6, "initializer_range": 0.3, "max_position_embeddings": 32,
    "sliding_window": 3, "query_pre_attn_scalar": 5, "final_logit_softcapping": 2.0,
    "layer_types": ["full_attention", "sliding_attention"], "attention_dropout": 0.5,
}  # fmt: skip


@pytest.fixture(scope="module")
def second(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gemma2")
    config = transformers.Gemma2Config(**SMALL, attn_logit_softcapping=1.5)
    return tiny(transformers.Gemma2ForCausalLM, config, folder), px.models.load(folder)


@pytest.fixture(scope="module")
def third(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gemma3")
    config = transformers.Gemma3TextConfig(
        **SMALL | {"final_logit_softcapping": None},
        rope_parameters={
            "full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 200.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 50.0},
        },
    )
    return tiny(transformers.Gemma3ForCausalLM, config, folder), px.models.load(folder)


@pytest.fixture(params=["second", "third"])
def pair(request):
    return request.getfixturevalue(request.param)


def test_answers_and_learns_as_the_hub_s(pair):
    theirs, ours = pair
    covered(ours)
    assert ours.head is None
    compare(ours, theirs, tokens(2, 7, 40), dtype="float64", mask=padded([7, 4], 7))


def test_in_float32(pair):
    theirs, ours = pair
    compare(ours, theirs, tokens(2, 7, 40), dtype="float32", learn=False, mask=padded([7, 4], 7, "left"))


def test_a_cache_changes_no_score(third):
    assert step_by_step(third[1], tokens(2, 10, 40), lengths=[5, 3], chunks=[1, 1]) <= 1e-12


def test_written_here_and_loaded_there(pair, tmp_path):
    import torch

    theirs, ours = pair
    again, x = there_again(ours, type(theirs), tmp_path), torch.tensor(tokens(2, 7, 40)).long()
    assert (again(x).logits == theirs(x).logits).all()
    assert px.models.load(tmp_path).config == ours.config


def test_the_root_of_the_size_is_rounded_to_the_dtype_of_the_embeddings(tmp_path):
    import torch

    theirs = tiny(transformers.Gemma2Model, transformers.Gemma2Config(**SMALL | {"hidden_size": 12}), tmp_path)
    theirs, ours = theirs.to(torch.bfloat16), px.models.load(tmp_path, dtype="bfloat16")
    x = tokens(1, 6, 40)
    want = theirs(torch.tensor(x).long(), output_hidden_states=True).hidden_states[0]
    assert (np.asarray(ours.start(jnp.asarray(x)), np.float32) == want.detach().float().numpy()).all()


def test_both_ways_with_biases_and_without_a_head(tmp_path):
    options = {"use_bidirectional_attention": True, "attention_bias": True, "sliding_window": 5}
    theirs = tiny(transformers.Gemma3TextModel, transformers.Gemma3TextConfig(**SMALL | options), tmp_path)
    ours = px.models.load(tmp_path)
    assert ours.config.task == "feature-extraction"
    assert ours.config.sliding_window == 4
    compare(ours, theirs, tokens(2, 9, 40), dtype="float64", learn=False, mask=padded([9, 5], 9))


HEADS = [
    ("Gemma2ForTokenClassification", "Gemma2Config", "token-classification"),
    ("Gemma3TextForSequenceClassification", "Gemma3TextConfig", "text-classification"),
]


@pytest.mark.parametrize(("name", "config", "task"), HEADS, ids=[name for name, *_ in HEADS])
def test_heads(name, config, task, tmp_path):
    theirs = tiny(getattr(transformers, name), getattr(transformers, config)(**SMALL, num_labels=3), tmp_path)
    ours, x, mask = px.models.load(tmp_path), tokens(2, 7, 40), padded([7, 4], 7)
    assert ours.config.task == task
    compare(ours, theirs, np.where(mask, x, 0), dtype="float64", learn=False, mask=mask)


def test_older_configs():
    older = {
        "model_type": "gemma3_text", "architectures": ["Gemma3ForCausalLM"], "hidden_activation": "gelu_pytorch_tanh",
        "num_hidden_layers": 4, "sliding_window": 512, "rope_theta": 1e6, "rope_local_base_freq": 10000.0,
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "cache_implementation": "hybrid",
        "attn_logit_softcapping": None,
    }  # fmt: skip
    config = px.models.Gemma3Config.from_dict({**older, "sliding_window_pattern": 3})
    assert config.rope_scaling == {"factor": 8.0, "rope_type": "linear"}
    assert config.kinds == ("sliding_attention", "sliding_attention", "full_attention", "sliding_attention")
    assert px.models.Gemma3Config.from_dict(older).kinds == ("sliding_attention",) * 4
    assert (
        px.models.Gemma2Config(num_hidden_layers=3).kinds
        == tuple(f"{k}_attention" for k in ("sliding", "full") * 2)[:3]
    )


def test_what_is_refused():
    config, positions = px.models.Gemma3Config, {"sliding_attention": {"rope_type": "linear", "factor": 2.0}}
    with pytest.raises(px.RangeError, match=r"no attn_logit_softcapping.*got 50.0"):
        config(attn_logit_softcapping=50.0)
    with pytest.raises(px.RangeError, match=r"plain positions of sliding_attention.*'factor': 2.0"):
        config.from_dict({"rope_parameters": positions})
    with pytest.raises(px.RangeError, match=r"layer_types of 2 blocks.*got .'full_attention',."):
        px.models.create(config(num_hidden_layers=2, layer_types=("full_attention",)))
    with pytest.raises(px.RangeError, match=r"sliding_window above 0.*got None"):
        px.models.create(config(num_hidden_layers=2, sliding_window=None))


def test_dropout_zeroes_weights_of_attention(third):
    attention = px.trainmode(px.copy(third[1].blocks[0].attention))
    run, x = px.jit(lambda attention, x: attention(x)), jnp.ones((1, 7, 16))
    assert not jnp.array_equal(run(attention, x), run(attention, x))


def test_counts_of_weights():
    counts = {
        "gemma_2_2b": 2_614_341_888, "gemma_2_9b": 9_241_705_984, "gemma_2_27b": 27_227_128_320,
        "gemma_3_270m": 268_098_176, "gemma_3_1b": 999_885_952, "embeddinggemma_300m": 302_863_104,
    }  # fmt: skip
    for name, count in counts.items():
        assert count_of_weights(name) == count, name
