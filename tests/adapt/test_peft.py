"""Adapters of PEFT here, and ours there: the same numbers, and the same files."""

import copy
import json

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

import phlox as px
from hub import agrees, first, images, tiny
from hub_text import padded, tokens
from kit import oracle

torch = oracle("torch")
transformers, peft = oracle("transformers"), oracle("peft")
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # which PEFT reads
TEXT = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 24, "vocab_size": 40}
WIDE = {"initializer_range": 0.3}
MODELS = {
    "gpt2": (
        transformers.GPT2LMHeadModel,
        transformers.GPT2Config(vocab_size=40, n_positions=16, n_embd=16, n_layer=2, n_head=4, **WIDE),
    ),
    "llama": (
        transformers.LlamaForCausalLM,
        transformers.LlamaConfig(**TEXT, **WIDE, num_key_value_heads=2, tie_word_embeddings=False),
    ),
    "bert": (transformers.BertForSequenceClassification, transformers.BertConfig(**TEXT, **WIDE, num_labels=3)),
    "vit": (
        transformers.ViTForImageClassification,
        transformers.ViTConfig(**{k: v for k, v in TEXT.items() if k != "vocab_size"}, **WIDE, image_size=8,
                               patch_size=4, num_labels=3),
    ),
}  # fmt: skip
LOW = {"r": 3, "lora_alpha": 5, "lora_dropout": 0.1}
WRITES, LABELS = {"task_type": "CAUSAL_LM"}, {"task_type": "SEQ_CLS"}
CASES = {
    "gpt2-lora": peft.LoraConfig(
        **LOW, **WRITES, target_modules=["c_attn", "mlp.c_proj"], fan_in_fan_out=True,
        rank_pattern={"mlp.c_proj": 2}, alpha_pattern={"h.1.mlp.c_proj": 7},
    ),
    "gpt2-dora": peft.LoraConfig(**LOW, **WRITES, target_modules=["c_attn"], fan_in_fan_out=True, use_dora=True),
    "gpt2-ia3": peft.IA3Config(
        **WRITES, target_modules=["c_attn", "mlp.c_proj"], feedforward_modules=["mlp.c_proj"], fan_in_fan_out=True
    ),
    "gpt2-prefix": peft.PrefixTuningConfig(**WRITES, num_virtual_tokens=3),
    "llama-rslora": peft.LoraConfig(
        **LOW, **WRITES, target_modules=["q_proj", "v_proj", "down_proj", "embed_tokens"], use_rslora=True
    ),
    "llama-prefix": peft.PrefixTuningConfig(**WRITES, num_virtual_tokens=3),
    "bert-dora": peft.LoraConfig(**LOW, **LABELS, target_modules=["query", "output.dense"], use_dora=True),
    "vit-lora": peft.LoraConfig(
        **LOW, target_modules=["q_proj", "v_proj", "projection", "fc1"], modules_to_save=["classifier"]
    ),
    "vit-dora": peft.LoraConfig(**LOW, target_modules=["projection", "o_proj"], use_dora=True),
}  # fmt: skip
X, MASK = tokens(2, 7, 40), padded([7, 4], 7, "left")
forward = px.jit(lambda model, *args, **options: model(*args, **options))


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """The models beside which adapters stand, theirs and ours."""
    found = {}
    for family, (cls, config) in MODELS.items():
        folder = tmp_path_factory.mktemp(family)
        theirs = tiny(cls, config, folder)
        theirs.name_or_path = theirs.config._name_or_path = ""
        found[family] = (theirs, px.models.load(folder))
    return found


def made(theirs, config):
    """An adapter of theirs whose weights hide nothing."""
    model = peft.get_peft_model(copy.deepcopy(theirs), copy.deepcopy(config)).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for x in model.parameters():
            if x.requires_grad:
                x.add_(0.3 * torch.randn(x.shape, generator=generator))
    return model


def written(model, folder, config):
    embedded = any("embed" in name for name in getattr(config, "target_modules", None) or [])
    model.save_pretrained(folder, save_embedding_layers=embedded)
    return folder


def theirs_of(model, family):
    """What theirs gives for the family's input, as an array."""
    given = {"input_ids": torch.tensor(X).long()}
    if family == "vit":
        given = {"pixel_values": first(images(2, 8, 8, 3))}
    if family == "llama":
        given["attention_mask"] = torch.tensor(MASK).long()
    with torch.no_grad():
        return kept(model(**given).logits.numpy(), family)


def ours_of(model, family):
    """What ours gives for it."""
    if family == "vit":
        return kept(forward(model, jnp.asarray(images(2, 8, 8, 3))), family)
    return kept(forward(model, X, **({"mask": MASK} if family == "llama" else {})), family)


def kept(scores, family):
    return np.asarray(scores) * MASK[..., None] if family == "llama" else np.asarray(scores)


@pytest.mark.parametrize("case", CASES)
def test_theirs_here_and_back(case, bases, tmp_path):
    family, config = case.partition("-")[0], CASES[case]
    theirs, base = bases[family]
    adapter = made(theirs, config)
    want = theirs_of(adapter, family)
    ours = px.adapt.load(px.copy(base), written(adapter, tmp_path / "theirs", config))
    agrees(ours_of(ours, family), want, "scores", 1e-5)
    px.adapt.save(ours, tmp_path / "ours")
    files = [load_file(tmp_path / side / "adapter_model.safetensors") for side in ("theirs", "ours")]
    new = {name: array for name, array in files[0].items() if "base_layer" not in name}
    assert sorted(new) == sorted(files[1])
    for name, array in new.items():
        assert np.array_equal(files[1][name], array), name
    again = peft.PeftModel.from_pretrained(copy.deepcopy(theirs), tmp_path / "ours").eval()
    assert np.array_equal(theirs_of(again, family), want)
    configs = [json.loads((tmp_path / side / "adapter_config.json").read_text()) for side in ("theirs", "ours")]
    same = ("peft_type", "r", "lora_alpha", "lora_dropout", "use_rslora", "use_dora", "fan_in_fan_out")
    assert [configs[0].get(key) for key in same] == [configs[1].get(key) for key in same]


def test_layers_that_are_fused_there_are_written_as_one_of_their_ranks_together(bases, tmp_path):
    theirs, base = bases["gpt2"]
    where = lambda path, layer: path.endswith((".q_proj", "0.attention.v_proj"))  # noqa: E731
    ours = px.adapt.lora(px.copy(base), 2, where=where, alpha=3, rslora=True, key=0)
    for i, (path, array) in enumerate(px.split(ours)[0].items()):
        holder, name = path.rpartition(".")[::2]
        setattr(px.at(ours, holder), name, array + np.random.default_rng(i).normal(size=array.shape).astype("f"))
    px.adapt.save(ours, tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert {config["r"], *config["rank_pattern"].values()} == {2, 4}
    assert config["target_modules"] == ["c_attn"]
    again = peft.PeftModel.from_pretrained(copy.deepcopy(theirs), tmp_path).eval()
    agrees(theirs_of(again, "gpt2"), ours_of(ours, "gpt2"), "scores", 1e-5)


@pytest.mark.parametrize("dora", [False, True])
def test_gradients(dora, bases, tmp_path):
    theirs, base = bases["llama"]
    config = peft.LoraConfig(r=3, lora_alpha=5, target_modules=["k_proj", "up_proj"], use_dora=dora)
    adapter = made(theirs, config)
    weights = np.random.default_rng(0).normal(size=(2, 7, 40)).astype("f")
    (adapter(torch.tensor(X).long()).logits * torch.tensor(weights)).sum().backward()
    ours = px.adapt.load(px.copy(base), written(adapter, tmp_path, config))
    grads = px.paths(px.jit(px.grad(lambda model: (model(X) * weights).sum()))(ours))
    names = {"k_proj": ("attention", "self_attn"), "up": ("mlp", "mlp")}
    ends = {"a": "lora_A.default.weight", "b": "lora_B.default.weight"}
    ends |= {"magnitude": "lora_magnitude_vector.default.weight"} if dora else {}
    wanted = {
        f"blocks.0.{mine}.{layer}.adapters.default.{end}": adapter.get_parameter(
            f"base_model.model.model.layers.0.{part}.{layer.removesuffix('_proj')}_proj.{there}"
        ).grad.numpy().T
        for layer, (mine, part) in names.items() for end, there in ends.items()
    }  # fmt: skip
    assert sorted(grads) == sorted(wanted)
    for path, grad in wanted.items():
        agrees(grads[path], grad, path, 1e-4)


def test_an_adapter_for_another_model_is_refused_and_nothing_changes(bases, tmp_path):
    config = peft.LoraConfig(r=2, target_modules=["q_proj", "embed_tokens"])
    folder = written(made(bases["llama"][0], config), tmp_path / "llama", config)
    base = bases["llama"][1]
    before, arrays = repr(base), px.paths(base)
    other = px.models.create(px.models.LlamaConfig(**TEXT | {"hidden_size": 24}))
    for model, error, text in (
        (bases["gpt2"][1], px.StructureError, "expects an adapter whose layers the model has, got model.embed_tokens"),
        (other, px.StructureError, "the model's own weight of model.embed_tokens, got another"),
    ):
        with pytest.raises(error, match=text):
            px.adapt.load(model, folder)
    config = peft.LoraConfig(r=2, target_modules=["q_proj"])
    folder = written(made(bases["llama"][0], config), tmp_path / "narrow", config)
    with pytest.raises(px.ShapeError, match=r"A \(rank, 24\) and B \(24, rank\) for model.layers.0.self_attn.q_proj"):
        px.adapt.load(other, folder)
    with pytest.raises(px.RangeError, match="a decoder, whose attention is causal, got"):
        px.adapt.prefix(bases["bert"][1])
    config = peft.PrefixTuningConfig(**WRITES, num_virtual_tokens=3)
    folder = written(made(bases["gpt2"][0], config), tmp_path / "prefix", config)
    with pytest.raises(px.ShapeError, match=r"keys and values \(length, 16\) of 1 layers, got \[3, 64\]"):
        px.adapt.load(base, folder)
    assert repr(base) == before
    assert all(array is arrays[path] for path, array in px.paths(base).items())


@pytest.mark.parametrize(
    ("entries", "text"),
    [({"peft_type": "LOHA"}, "a peft_type among LORA, IA3, PREFIX_TUNING, got 'LOHA'"),
     ({"bias": "all"}, "bias = 'none', got 'all'"),
     ({"init_lora_weights": "pissa_niter_4"}, "an adapter beside the base's own weights"),
     ({"use_dora": True}, "lora_magnitude_vector of")],
)  # fmt: skip
def test_what_phlox_can_not_compute_is_refused(entries, text, tmp_path):
    model = px.Chain(px.Dense(3, 2))
    px.adapt.save(px.adapt.lora(px.copy(model), 1, where="*"), tmp_path)
    path = tmp_path / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))
    with pytest.raises(px.PhloxError, match=text):
        px.adapt.load(model, tmp_path)
    assert type(model[0]) is px.Dense
