"""Whole language models of `transformers`, built from our layers: logits, gradients, and generation with the cache."""

import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import assert_close, oracle, to_numpy
from phlox import nn
from phlox.nn import functional as F

VOCABULARY, DIM, HEADS, SHARED, HIDDEN, LAYERS = 31, 16, 4, 2, 24, 2
LLAMA3 = {
    "rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 16, "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
}  # fmt: skip
TOKENS = np.random.default_rng(0).integers(0, VOCABULARY, (2, 11)).astype(np.int32)


class Llama(px.Module):
    """The architecture, from our layers; ``window`` makes it Mistral's."""

    def __init__(self, scaling=None, window=None):
        def block():
            return nn.TransformerEncoderLayer(
                DIM, HEADS, norm_first=True, norm=lambda d: px.RMSNorm(d, eps=1e-5), bias=False, dropout=0.0,
                causal=True, kv_heads=SHARED, window=window, mlp=nn.GatedMLP(DIM, HIDDEN),
                positions=nn.RotaryEmbedding(DIM // HEADS, scaling=scaling),
            )  # fmt: skip

        self.embedding = px.Embedding(VOCABULARY, DIM)
        self.blocks = nn.TransformerEncoder(block, LAYERS, norm=px.RMSNorm(DIM, eps=1e-5))
        self.head = px.Dense(DIM, VOCABULARY, bias=False)

    def __call__(self, tokens, cache=None):
        return self.head(self.blocks(self.embedding(tokens), cache=cache))


NAMES = {
    "embedding.weight": "model.embed_tokens.weight", "head.weight": "lm_head.weight",
    "blocks.norm.scale": "model.norm.weight",
}  # fmt: skip
PARTS = {f"attention.{n}_proj": f"self_attn.{n}_proj" for n in "qkv"} | {"attention.out_proj": "self_attn.o_proj"}
PARTS |= {f"mlp.{n}": f"mlp.{n}_proj" for n in ("gate", "up", "down")}


def their_name(path):
    if path in NAMES:
        return NAMES[path]
    _, _, layer, rest = path.split(".", 3)
    if rest.startswith("norm"):
        return f"model.layers.{layer}.{'input' if rest[4] == '1' else 'post_attention'}_layernorm.weight"
    return f"model.layers.{layer}.{PARTS[rest.rpartition('.')[0]]}.weight"


def pair(kind):
    """The same model here and there, with the same weights."""
    torch, transformers = oracle("torch"), oracle("transformers")
    sizes = dict(
        vocab_size=VOCABULARY, hidden_size=DIM, intermediate_size=HIDDEN, num_hidden_layers=LAYERS, rms_norm_eps=1e-5,
        num_attention_heads=HEADS, num_key_value_heads=SHARED, max_position_embeddings=64, attn_implementation="eager",
        pad_token_id=None, bos_token_id=1, eos_token_id=None,
    )  # fmt: skip
    torch.manual_seed(0)
    if kind == "mistral":
        theirs = transformers.MistralForCausalLM(transformers.MistralConfig(sliding_window=4, **sizes))
        ours = Llama(window=3)  # theirs counts the own position
    else:
        scaling = LLAMA3 if kind == "llama3" else {"rope_type": "default"}
        config = transformers.LlamaConfig(rope_parameters={"rope_theta": 10000.0, **scaling}, **sizes)
        theirs, ours = transformers.LlamaForCausalLM(config), Llama(scaling)
    weights = dict(theirs.named_parameters())
    with torch.no_grad():
        for name, w in weights.items():
            w.normal_(1.0 if "norm" in name else 0.0, 0.3)
    found = {path: to_numpy(weights[their_name(path)]) for path in px.split(ours)[0]}
    assert len(found) == len(weights)
    found = {path: w if path == "embedding.weight" or w.ndim == 1 else w.T for path, w in found.items()}
    assert px.load_state_dict(ours, found).complete
    return ours, theirs.eval()


@pytest.mark.parametrize("kind", ["llama3", "mistral", pytest.param("llama", marks=pytest.mark.soak)])
def test_logits_gradients_and_generation_are_theirs(kind):
    torch = oracle("torch")
    ours, theirs = pair(kind)

    @px.jit
    def run(model, tokens):
        loss = lambda model: px.losses.cross_entropy(model(tokens)[:, :-1], tokens[:, 1:])  # noqa: E731
        return model(tokens), px.grad(loss)(model)

    logits, grads = run(ours, TOKENS)
    tokens = torch.tensor(TOKENS, dtype=torch.long)
    out = theirs(tokens, labels=tokens)
    out.loss.backward()
    assert_close(logits, to_numpy(out.logits), scale=5.0)  # two layers of float32 sums in another order
    weights = dict(theirs.named_parameters())
    for path, g in px.paths(grads).items():
        want = to_numpy(weights[their_name(path)].grad)
        assert_close(g, want if path == "embedding.weight" or want.ndim == 1 else want.T, kind="grad", what=path)

    step = px.jit(lambda model, tokens, cache: model(tokens, cache=cache)[:, -1].argmax(-1))
    cache = ours.blocks.init_cache(2, 24)
    written = [step(ours, TOKENS, cache)]
    for _ in range(11):
        written.append(step(ours, written[-1][:, None], cache))
    assert len(step.history.traces) == 2
    want = theirs.generate(tokens, max_new_tokens=12, do_sample=False, attention_mask=torch.ones_like(tokens))
    np.testing.assert_array_equal(jnp.stack(written, 1), to_numpy(want)[:, 11:])


def test_gemmas_soft_cap_is_ours():
    torch = oracle("torch")
    gemma = oracle("transformers.models.gemma2.modeling_gemma2")
    q, k, v = (np.random.default_rng(i).normal(size=(2, 5, h, 8)).astype(np.float32) for i, h in enumerate((4, 2, 2)))

    class Module:
        num_key_value_groups, head_dim, training = 2, 8, False

    heads_first = [torch.tensor(x).transpose(1, 2) for x in (q, k, v)]
    mask = torch.where(torch.ones(5, 5).tril() > 0, 0.0, -torch.inf)[None, None]
    want, _ = gemma.eager_attention_forward(Module, *heads_first, mask, scaling=0.7, softcap=1.5)
    assert_close(F.dot_product_attention(q, k, v, causal=True, scale=0.7, soft_cap=1.5), to_numpy(want))
