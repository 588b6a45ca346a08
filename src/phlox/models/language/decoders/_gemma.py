"""Gemma 2 and 3: norms on both sides of each branch, windows that alternate with full attention, bounded scores.

Source: Gemma Team, "Gemma 2: improving open language models at a practical size", 2024; "Gemma 3 technical report",
2025.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp

from phlox.core import Module, RangeError, harmonise, param_dtype
from phlox.models._activations import activation
from phlox.models._family import Family
from phlox.models.language._config import NEUTRAL, WRITING
from phlox.models.language.decoders._decoder import Decoder, DecoderConfig, causal_attention, head_of
from phlox.models.language.decoders._llama import decoder_names
from phlox.models.language.decoders._rotary import plain_entries, rotary
from phlox.models.language.decoders._windows import FULL, SLIDING, check_kinds
from phlox.nn import Cache, Embedding, GatedMLP, MultiHeadAttention, RMSNorm
from phlox.nn import functional as F
from phlox.nn.init import normal
from phlox.weights import NameMap


@dataclass(frozen=True, kw_only=True)
class Gemma2Config(DecoderConfig):
    """A Gemma 2.

    Arguments:
        hidden_act: the activation of a block's gate, which files call ``hidden_activation``.
        query_pre_attn_scalar: products of queries and keys are divided by its root.
        attn_logit_softcapping: c, which bounds them, ``c * tanh(· / c)``; None for no bound.
        final_logit_softcapping: the same for scores of tokens.
        sliding_window: keys that a query sees in a block with a window, its own among them.
        layer_types: of each block, ``"sliding_attention"`` or ``"full_attention"``; None for every second one.
        rope_theta: base of the rotary positions.
        rope_scaling: how they are stretched, as ``RotaryEmbedding`` takes it; None for not.
        attention_bias: whether queries, keys, values and the end of attention have biases.

    The others are those of every decoder: sizes, norms, the task, the vocabulary.
    """

    model_type: ClassVar[str] = "gemma2"
    architectures: ClassVar[Mapping[str, str | tuple[str, ...]]] = {
        "text-generation": "Gemma2ForCausalLM",
        "text-classification": "Gemma2ForSequenceClassification",
        "token-classification": "Gemma2ForTokenClassification",
        "feature-extraction": "Gemma2Model",
    }
    neutral: ClassVar[frozenset[str]] = NEUTRAL | {"cache_implementation", "use_bidirectional_attention"}
    full_every: ClassVar[int] = 2
    """Which block has full attention where ``layer_types`` does not say."""
    qk_norm: ClassVar[bool] = False
    """Whether queries and keys are normalised."""

    vocab_size: int = 256000
    pad_token_id: int | None = 0
    bos_token_id: int | None = 2
    eos_token_id: int | tuple[int, ...] | None = 1
    hidden_size: int = 2304
    intermediate_size: int = 9216
    num_hidden_layers: int = 26
    num_attention_heads: int = 8
    num_key_value_heads: int | None = 4
    head_dim: int | None = 256
    hidden_act: str = "gelu_pytorch_tanh"
    max_position_embeddings: int = 8192
    query_pre_attn_scalar: int = 256
    attn_logit_softcapping: float | None = 50.0
    final_logit_softcapping: float | None = 30.0
    sliding_window: int | None = 4096
    layer_types: tuple[str, ...] | None = None
    rope_theta: float = 10000.0
    rope_scaling: dict[str, Any] | None = None
    attention_bias: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.query_pre_attn_scalar < 1:
            got, where = repr(self.query_pre_attn_scalar), type(self).__name__
            fix = "256 is the size of a head in most"
            raise RangeError("query_pre_attn_scalar of 1 or more", got=got, fix=fix, where=where)

    @classmethod
    def from_dict(cls, entries: Mapping[str, Any]) -> Self:
        """As every config, with the activation under either name, and rotary positions in the older or newer form."""
        found = plain_entries(entries, cls.rope_theta)
        found["hidden_act"] = found.pop("hidden_activation", None) or cls.hidden_act
        return super().from_dict(found)

    def to_dict(self) -> dict[str, Any]:
        """The entries of a ``config.json``: what ``from_dict`` reads, and what the hub's libraries ask for."""
        entries = super().to_dict()
        return {**entries, "hidden_activation": entries.pop("hidden_act")}

    @property
    def causal(self) -> bool:
        """Whether a token sees no later one."""
        return True

    @property
    def kinds(self) -> tuple[str, ...]:
        """Of each block, whether its attention is full or has a window."""
        usual = tuple(SLIDING if (i + 1) % self.full_every else FULL for i in range(self.num_hidden_layers))
        return check_kinds(type(self).__name__, self.layer_types or usual, self.num_hidden_layers, self.sliding_window)

    def window_of(self, kind: str) -> int | None:
        """How many keys to either side a query sees in a block of a kind; None for all."""
        return self.sliding_window - 1 if kind == SLIDING and self.sliding_window else None

    def rope_of(self, kind: str) -> tuple[float, Mapping[str, Any] | None]:
        """Base and stretching of the rotary positions of a block of a kind."""
        return self.rope_theta, self.rope_scaling


@dataclass(frozen=True, kw_only=True)
class Gemma3Config(Gemma2Config):
    """The text model of a Gemma 3: queries and keys are normalised, and their products are not bounded.

    Arguments:
        rope_theta, rope_scaling: of blocks with full attention.
        rope_local_base_freq: base of the rotary positions of blocks with a window.
        layer_types: of each block, ``"sliding_attention"`` or ``"full_attention"``; None for full ones every sixth.
        use_bidirectional_attention: whether tokens see later ones too; a window is then half as long to either side.

    The others are those of ``Gemma2Config``.
    """

    model_type: ClassVar[str] = "gemma3_text"
    architectures: ClassVar[Mapping[str, str | tuple[str, ...]]] = {
        "text-generation": "Gemma3ForCausalLM",
        "text-classification": "Gemma3TextForSequenceClassification",
        "feature-extraction": "Gemma3TextModel",
    }
    neutral: ClassVar[frozenset[str]] = NEUTRAL | {"cache_implementation"}
    full_every: ClassVar[int] = 6
    qk_norm: ClassVar[bool] = True

    vocab_size: int = 262144
    max_position_embeddings: int = 131072
    attn_logit_softcapping: float | None = None
    final_logit_softcapping: float | None = None
    rope_theta: float = 1000000.0
    rope_local_base_freq: float = 10000.0
    use_bidirectional_attention: bool | None = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.attn_logit_softcapping is not None:
            got, where = repr(self.attn_logit_softcapping), type(self).__name__
            fix = "Gemma 3 normalises queries and keys in place of it"
            raise RangeError("no attn_logit_softcapping", got=got, fix=fix, where=where)

    @classmethod
    def from_dict(cls, entries: Mapping[str, Any]) -> Self:
        """As every config, with positions by kind of block and the pattern of kinds in the older or newer form."""
        found = _positions_apart(entries, f"{cls.__name__}.from_dict")
        pattern = found.pop("sliding_window_pattern", None) or found.pop("_sliding_window_pattern", None)
        found.pop("_sliding_window_pattern", None)
        made = super().from_dict(found)
        if made.layer_types is not None or not isinstance(pattern, int) or pattern == cls.full_every:
            return made
        kinds = tuple(SLIDING if (i + 1) % max(pattern, 1) else FULL for i in range(made.num_hidden_layers))
        return replace(made, layer_types=kinds)

    @property
    def causal(self) -> bool:
        """Whether a token sees no later one."""
        return not self.use_bidirectional_attention

    def window_of(self, kind: str) -> int | None:
        """How many keys to either side a query sees in a block of a kind; None for all."""
        if kind == SLIDING and self.sliding_window and not self.causal:
            return self.sliding_window // 2
        return super().window_of(kind)

    def rope_of(self, kind: str) -> tuple[float, Mapping[str, Any] | None]:
        """Base and stretching of the rotary positions of a block of a kind."""
        return (self.rope_local_base_freq, None) if kind == SLIDING else super().rope_of(kind)


class OffsetNorm(RMSNorm):
    r"""Divide features by their root mean square; what is learned is added to a scale of 1.

    $y = (1 + γ) x / \sqrt{\overline{x^2} + ε}$ with the mean over the last axis, in float32 at least; γ starts at 0.

    Shapes:
        x, y: (..., size); scale: (size,).
    """

    def __init__(self, size: int, *, eps: float):
        super().__init__(size, eps=eps)
        self.scale = jnp.zeros(self.size, param_dtype())

    def __call__(self, x: Any) -> jax.Array:
        x, scale = harmonise(self, x, self.scale)
        wide = jnp.promote_types(scale.dtype, jnp.float32)
        return F.rms_norm(x, self.size, 1 + scale.astype(wide), eps=self.eps).astype(x.dtype)


class GemmaBlock(Module):
    r"""Attention, then features, each between two norms: $h = x + P_1(A(N_1(x))),\; y = h + P_2(M(N_2(h)))$.

    Shapes:
        x, y: (batch, time, dim).
    """

    def __init__(self, norm: Callable[[], Module], attention: MultiHeadAttention, mlp: Module):
        self.norm1: Any = norm()
        self.attention: MultiHeadAttention = attention
        self.post_norm1: Any = norm()
        self.norm2: Any = norm()
        self.mlp: Any = mlp
        self.post_norm2: Any = norm()

    def __call__(self, x: jax.Array, *, mask: Any = None, lengths: Any = None, cache: Cache | None = None) -> jax.Array:
        x = x + self.post_norm1(self.attention(self.norm1(x), mask=mask, lengths=lengths, cache=cache))
        return x + self.post_norm2(self.mlp(self.norm2(x)))


def _attention(config: Gemma2Config, kind: str, draw: Callable[..., jax.Array]) -> MultiHeadAttention:
    """The attention of a block of a kind."""
    bias, norm = config.attention_bias, partial(OffsetNorm, eps=config.rms_norm_eps)
    made = causal_attention(
        config, init=draw, bias=bias, out_bias=bias, window=config.window_of(kind),
        positions=rotary(config.size_of_head, *config.rope_of(kind), config.max_position_embeddings),
        scale=config.query_pre_attn_scalar**-0.5, soft_cap=config.attn_logit_softcapping,
        qk_norm=norm if config.qk_norm else None,
    )  # fmt: skip
    made.causal = config.causal
    return made


class Gemma(Decoder):
    r"""A Gemma for tokens (batch, time); scores (batch, time, vocabulary) of the next one.

    Embeddings are multiplied by $\sqrt{d}$, and scores bounded by $c \tanh(· / c)$.

    Arguments:
        config: a ``Gemma2Config`` or a ``Gemma3Config``.

    Source: "Gemma 2: improving open language models at a practical size", 2024; "Gemma 3 technical report", 2025.

    >>> import jax.numpy as jnp, phlox as px
    >>> config = px.models.Gemma3Config(
    ...     vocab_size=50, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4, head_dim=8
    ... )
    >>> px.eval_shape(lambda tokens: px.models.Gemma(config)(tokens), jnp.array([[1, 2, 3]])).shape
    (1, 3, 50)
    """

    config: Gemma2Config
    embed: Embedding
    blocks: list[Any]
    norm: Any
    head: Any

    def __init__(self, config: Gemma2Config):
        kinds = config.kinds  # refuses what does not fit before anything is drawn
        self.config = config
        draw, where = normal(std=config.initializer_range), type(config).__name__
        norm = partial(OffsetNorm, config.hidden_size, eps=config.rms_norm_eps)
        act = activation(config.hidden_act, f"{where}.hidden_act")
        self.embed = Embedding(config.vocab_size, config.hidden_size, init=draw)
        self.blocks = [
            GemmaBlock(
                norm,
                _attention(config, kind, draw),
                GatedMLP(config.hidden_size, config.intermediate_size, act, init=draw),
            )
            for kind in kinds
        ]
        self.norm = norm()
        self.head = head_of(config)

    def start(self, tokens: jax.Array) -> jax.Array:
        """Embeddings times the root of their size, which is rounded to their dtype, as it was in training."""
        x = self.embed(tokens)
        return x * jnp.asarray(self.config.hidden_size**0.5, x.dtype)

    def scores(self, features: jax.Array) -> jax.Array:
        """What the head says of the last features (..., features); of tokens, bounded."""
        scores, cap = super().scores(features), self.config.final_logit_softcapping
        return scores if cap is None or self.config.task != WRITING else cap * jnp.tanh(scores / cap)


def _positions_apart(entries: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The entries with the positions of both kinds of blocks apart, as older files have them.

    Raises:
        RangeError: positions of blocks with a window that are stretched.
    """
    found = dict(entries)
    by_kind = found.get("rope_parameters")
    if not isinstance(by_kind, dict) or not {FULL, SLIDING} & set(by_kind):
        return found
    local = by_kind.get(SLIDING)
    local = local if isinstance(local, dict) else {}
    if local.get("rope_type", "default") != "default":
        fix = "only those of full attention can be"
        raise RangeError("plain positions of sliding_attention", got=repr(local)[:200], fix=fix, where=where)
    if "rope_theta" in local:
        found["rope_local_base_freq"] = local["rope_theta"]
    return found | {"rope_parameters": by_kind.get(FULL)}


def _names(config: Gemma2Config) -> NameMap:
    base, layer = decoder_names(config), "model.layers.{i}"
    norms = {
        f"{layer}.post_attention_layernorm": "blocks.{i}.post_norm1",
        f"{layer}.pre_feedforward_layernorm": "blocks.{i}.norm2",
        f"{layer}.post_feedforward_layernorm": "blocks.{i}.post_norm2",
        f"{layer}.self_attn.q_norm": "blocks.{i}.attention.q_norm",
        f"{layer}.self_attn.k_norm": "blocks.{i}.attention.k_norm",
    }
    return NameMap({**base.entries, **norms}, ignore=base.ignore)


def _third(layers: int, width: int, hidden: int, heads: int, **options: Any) -> Gemma3Config:
    sizes = {"hidden_size": width, "intermediate_size": hidden, "num_hidden_layers": layers, "sliding_window": 512}
    return Gemma3Config(num_attention_heads=heads, num_key_value_heads=1, **sizes, **options)


FAMILY_2 = Family(
    config=Gemma2Config,
    model=Gemma,
    names={"transformers": _names},
    base="model.",
    variants={
        "gemma_2_2b": Gemma2Config(),
        "gemma_2_9b": Gemma2Config(
            hidden_size=3584, intermediate_size=14336, num_hidden_layers=42, num_attention_heads=16,
            num_key_value_heads=8,
        ),
        "gemma_2_27b": Gemma2Config(
            hidden_size=4608, intermediate_size=36864, num_hidden_layers=46, num_attention_heads=32,
            num_key_value_heads=16, head_dim=128, query_pre_attn_scalar=144,
        ),
    },
)  # fmt: skip
FAMILY_3 = Family(
    config=Gemma3Config,
    model=Gemma,
    names={"transformers": _names},
    base="model.",
    variants={
        "gemma_3_270m": _third(18, 640, 2048, 4, max_position_embeddings=32768),
        "gemma_3_1b": _third(26, 1152, 6912, 4, max_position_embeddings=32768),
        "embeddinggemma_300m": _third(
            24, 768, 1152, 3, max_position_embeddings=2048, use_bidirectional_attention=True, task="feature-extraction"
        ),
    },
)
