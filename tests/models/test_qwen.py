"""Qwen2 and Qwen3 beside the hub's."""

import numpy as np
import pytest

import phlox as px
from hub import covered, there_again, tiny
from hub_text import compare, padded, step_by_step, tokens
from kit import oracle

transformers = oracle("transformers")
SMALL = {
    "vocab_size": 40, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "initializer_range": 0.3, "max_position_embeddings": 32, "use_sliding_window": True,
    "sliding_window": 3, "max_window_layers": 1,
}  # fmt: skip
BOTH = {"Qwen2": {}, "Qwen3": {"head_dim": 6}}


@pytest.fixture(scope="module", params=BOTH)
def pair(request, tmp_path_factory):
    folder, name = tmp_path_factory.mktemp("qwen"), request.param
    config = getattr(transformers, f"{name}Config")(**SMALL | BOTH[name])
    theirs = tiny(getattr(transformers, f"{name}ForCausalLM"), config, folder)
    return theirs, px.models.load(folder)


def test_answers_and_learns_as_the_hub_s(pair):
    theirs, ours = pair
    covered(ours)
    compare(ours, theirs, tokens(2, 7, 40), dtype="float64", mask=padded([7, 5], 7))


def test_in_float32(pair):
    theirs, ours = pair
    compare(ours, theirs, tokens(2, 7, 40), dtype="float32", learn=False, mask=padded([7, 5], 7, "left"))


def test_a_cache_changes_no_score():
    options = SMALL | BOTH["Qwen3"] | {"num_hidden_layers": 1, "max_window_layers": 0}
    with px.seed(0):
        model = px.models.create(px.models.Qwen3Config(**options))
    assert step_by_step(model, tokens(2, 8, 40), lengths=[5, 3], chunks=[1, 1], dtype="float32") <= 1e-5


def test_written_here_and_loaded_there(pair, tmp_path):
    import torch

    theirs, ours = pair
    again = there_again(ours, type(theirs), tmp_path)
    x = torch.tensor(tokens(2, 7, 40)).long()
    assert (again(x).logits == theirs(x).logits).all()
    name = type(theirs).__name__.replace("CausalLM", "TokenClassification")
    marked = px.models.load(tmp_path, task="token-classification", classes=5)
    there_again(marked, getattr(transformers, name), tmp_path / "marked")


@pytest.mark.parametrize(("name", "options"), [("Qwen2", {}), ("Qwen3", {"attention_bias": True})])
def test_windows_by_the_kind_of_a_layer_a_tied_head_and_other_options(name, options, tmp_path):
    kinds = {"layer_types": ["sliding_attention", "full_attention"], "max_window_layers": 28}
    others = {"tie_word_embeddings": True, "rms_norm_eps": 0.1}
    config = getattr(transformers, f"{name}Config")(**SMALL | kinds | others | options)
    config.rope_parameters["rope_theta"] = 100.0
    theirs = tiny(getattr(transformers, f"{name}ForCausalLM"), config, tmp_path)
    ours = px.models.load(tmp_path)
    assert [block.attention.window for block in ours.blocks] == [(2, 2), None]
    compare(ours, theirs, tokens(1, 7, 40), dtype="float64", learn=False)


def test_a_head(tmp_path):
    config = transformers.Qwen2Config(**SMALL | {"use_sliding_window": False}, num_labels=3, pad_token_id=0)
    theirs = tiny(transformers.Qwen2ForSequenceClassification, config, tmp_path)
    ours, x, mask = px.models.load(tmp_path), tokens(2, 7, 40), padded([7, 4], 7)
    assert not any(block.attention.window for block in ours.blocks)
    compare(ours, theirs, np.where(mask, x, 0), dtype="float64", learn=False, mask=mask)


@pytest.mark.parametrize("options", [{}, {"use_sliding_window": False}], ids=["on", "off"])
def test_windows_begin_at_the_hub_s_block_where_no_kinds_are_given(options):
    given = SMALL | {"num_hidden_layers": 4, "max_window_layers": 3} | options
    theirs = transformers.Qwen2Config(**given)
    kinds = [theirs.sliding_window if kind == "sliding_attention" else None for kind in theirs.layer_types]
    assert px.models.Qwen2Config.from_dict(given).windows == kinds


def test_kinds_of_layers_that_do_not_fit_are_refused():
    for kinds in (("full_attention",), ("full_attention", "chunked_attention")):
        with pytest.raises(px.RangeError, match="Qwen2Config expects 2 layer_types, each 'full_attention' or"):
            px.models.Qwen2Config(num_hidden_layers=2, layer_types=kinds)


def test_counts_of_weights():
    counts = {
        "qwen2.5_0.5b": 494_032_768, "qwen2.5_1.5b": 1_543_714_304, "qwen2.5_7b": 7_615_616_512,
        "qwen3_0.6b": 596_049_920, "qwen3_1.7b": 1_720_574_976, "qwen3_8b": 8_190_735_360,
    }  # fmt: skip
    for name, count in counts.items():
        model = px.eval_shape(lambda name=name: px.models.create(name))
        assert sum(x.size for x in px.paths(model).values()) == count
