"""Configs as folders of published models have them: read without a word, and what stands in odd ones refused."""

import pytest

import phlox as px
from phlox.models._catalogue import family_of_type

# What was published under these names, but for what says nothing of the model.
PUBLISHED = {
    "phi-3-mini-4k": {
        "model_type": "phi3", "architectures": ["Phi3ForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
        "auto_map": {"AutoConfig": "configuration_phi3.Phi3Config"}, "bos_token_id": 1, "embd_pdrop": 0.0,
        "eos_token_id": 32000, "hidden_act": "silu", "hidden_size": 3072, "initializer_range": 0.02,
        "intermediate_size": 8192, "max_position_embeddings": 4096, "num_attention_heads": 32,
        "num_hidden_layers": 32, "num_key_value_heads": 32, "original_max_position_embeddings": 4096,
        "pad_token_id": 32000, "resid_pdrop": 0.0, "rms_norm_eps": 1e-05, "rope_scaling": None, "rope_theta": 10000.0,
        "sliding_window": 2047, "tie_word_embeddings": False, "torch_dtype": "bfloat16", "use_cache": True,
        "vocab_size": 32064,
    },
    "llama-7b": {
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "bos_token_id": 0, "eos_token_id": 1,
        "hidden_act": "silu", "hidden_size": 4096, "initializer_range": 0.02, "intermediate_size": 11008,
        "num_attention_heads": 32, "num_hidden_layers": 32, "pad_token_id": -1, "rms_norm_eps": 1e-06,
        "torch_dtype": "float16", "transformers_version": "4.27.0.dev0", "use_cache": True, "vocab_size": 32000,
    },
    "qwen2.5-7b with yarn": {
        "model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "attention_dropout": 0.0,
        "bos_token_id": 151643, "eos_token_id": 151645, "hidden_act": "silu", "hidden_size": 3584,
        "intermediate_size": 18944, "max_position_embeddings": 32768, "max_window_layers": 28,
        "num_attention_heads": 28, "num_hidden_layers": 28, "num_key_value_heads": 4, "rms_norm_eps": 1e-06,
        "rope_scaling": {"factor": 4.0, "original_max_position_embeddings": 32768, "type": "yarn"},
        "rope_theta": 1000000.0, "sliding_window": 131072, "tie_word_embeddings": False, "use_sliding_window": False,
        "vocab_size": 152064, "_attn_implementation_autoset": True,
    },
    "yarn-mistral-7b": {
        "model_type": "mistral", "architectures": ["MistralForCausalLM"], "hidden_size": 4096,
        "intermediate_size": 14336, "max_position_embeddings": 32768, "num_attention_heads": 32,
        "num_hidden_layers": 32, "num_key_value_heads": 8, "rms_norm_eps": 1e-05, "rope_theta": 10000.0,
        "rope_scaling": {
            "factor": 16.0, "finetuned": True, "original_max_position_embeddings": 8192, "type": "yarn",
        },
        "sliding_window": 131072, "vocab_size": 32000,
    },
}  # fmt: skip


@pytest.mark.parametrize(("name", "count"), [("phi-3-mini-4k", 3_821_079_552), ("llama-7b", 6_738_415_616),
                                             ("qwen2.5-7b with yarn", 7_615_616_512),
                                             ("yarn-mistral-7b", 7_241_732_096)])  # fmt: skip
def test_published_configs_are_read(name, count):
    entries = PUBLISHED[name]
    family = family_of_type(entries["model_type"], name)
    config = family.config.from_dict(entries)  # a warning would be an error
    model = px.eval_shape(lambda: family.model(config))
    assert sum(x.size for x in px.paths(model).values()) == count
    assert family.config.from_dict(config.to_dict()) == config


def scaled(**scaling):
    sizes = {"vocab_size": 9, "hidden_size": 16, "intermediate_size": 8, "num_hidden_layers": 1}
    config = px.models.LlamaConfig(num_attention_heads=2, max_position_embeddings=32, rope_scaling=scaling, **sizes)
    return px.eval_shape(lambda: px.models.Llama(config)).blocks[0].attention.positions.scaling


@pytest.mark.parametrize("kind", ["dynamic", "yarn"])
def test_a_length_that_older_files_do_not_name_is_the_longest(kind):
    assert scaled(type=kind, factor=2.0)["original_max_position_embeddings"] == 32
    assert scaled(rope_type=kind, factor=2.0, finetuned=True, attention_factor=None) == {
        "rope_type": kind, "factor": 2.0, "original_max_position_embeddings": 32,
    }  # fmt: skip


@pytest.mark.parametrize("number", ["4", 0, -2.0, float("nan"), float("inf"), 10**400, {}])
def test_positions_that_are_stretched_by_no_number_are_refused(number):
    with pytest.raises(px.RangeError, match="factor as a number above 0"):
        scaled(rope_type="linear", factor=number)


@pytest.mark.parametrize(
    ("kind", "entries", "text"),
    [
        ("llama", {"num_attention_heads": 0}, "heads to be a whole number of at least 1, got 0"),
        ("modernbert", {"num_attention_heads": 0}, "heads to be a whole number of at least 1, got 0"),
        ("gemma2", {"query_pre_attn_scalar": 0}, "query_pre_attn_scalar of 1 or more"),
        ("llama", {"rope_scaling": {"rope_type": ["linear"]}}, "rope_type to be one of"),
        ("phi3", {"rope_scaling": {"type": "su", "short_factor": [1.0], "long_factor": [1.0]},
                  "original_max_position_embeddings": 0}, "a number above 0"),
    ],
)  # fmt: skip
def test_what_would_break_is_refused_with_a_fix(kind, entries, text):
    family = family_of_type(kind, "a test")
    sizes = {"vocab_size": 9, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    with pytest.raises(px.RangeError, match=text) as caught:
        px.eval_shape(lambda: family.model(family.config.from_dict({**sizes, **entries})))
    assert "fix:" in str(caught.value)


@pytest.mark.parametrize("kind", ["modernbert", "gemma3_text"])
@pytest.mark.parametrize("rope", [[1], "x", 3, {"full_attention": 3, "sliding_attention": [1]}])
def test_positions_of_another_form_break_nothing(kind, rope):
    config = family_of_type(kind, "a test").config.from_dict({"rope_parameters": rope})
    plain = family_of_type(kind, "a test").config.from_dict({})
    assert config == plain
