"""wav2vec 2.0: a wave to features of speech, to characters by CTC, or to classes.

Source: Baevski et al., "wav2vec 2.0: a framework for self-supervised learning of speech representations", 2020.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from phlox.core import Module, RangeError, ShapeError, describe
from phlox.models._activations import activation
from phlox.models._family import Family
from phlox.models._model import Model
from phlox.models.language._config import NEUTRAL, TRUNK
from phlox.models.speech._blocks import EncoderBlock, LayerDrop, dropped, mlp
from phlox.models.speech._config import CLASSIFICATION, RECOGNITION, SpeechConfig
from phlox.models.speech._head import HEAD_NAMES, ClassHead
from phlox.models.speech._spans import SpecAugment
from phlox.nn import Conv, Dense, GroupNorm, LayerNorm, MultiHeadAttention, WeightNorm
from phlox.nn.init import kaiming_normal, normal, uniform
from phlox.weights import Array, NameMap


@dataclass(frozen=True, kw_only=True)
class Wav2Vec2Config(SpeechConfig):
    """A wav2vec 2.0.

    Arguments:
        hidden_size: features of a step.
        num_hidden_layers: blocks.
        num_attention_heads: heads of attention.
        intermediate_size: features within a block.
        hidden_act: the activation within a block.
        hidden_dropout, attention_dropout, activation_dropout, feat_proj_dropout, final_dropout: probabilities of
            zeroing features at the end of a branch, weights of attention, features within a block, those that enter
            the first block, and those that the head for characters sees, in training.
        layerdrop: probability that a block is skipped, in training.
        initializer_range: standard deviation of fresh weights.
        layer_norm_eps: of the norms.
        feat_extract_norm: ``"group"``, each channel over time after the first convolution, or ``"layer"``, the
            channels after each.
        feat_extract_activation: the activation after convolutions.
        conv_dim, conv_stride, conv_kernel: features, steps and sizes of the convolutions that read the wave.
        conv_bias: whether these have biases.
        num_conv_pos_embeddings: steps that the convolution sees from which places are told.
        num_conv_pos_embedding_groups: its groups.
        do_stable_layer_norm: whether norms come before the branches of a block, and once at the end.

    ``pad_token_id`` is CTC's blank. A file of pre-training gives its trunk; the quantizer is left out. The others are
    those of models of speech.
    """

    model_type: ClassVar[str] = "wav2vec2"
    architectures: ClassVar[Mapping[str, str | tuple[str, ...]]] = {
        RECOGNITION: "Wav2Vec2ForCTC",
        CLASSIFICATION: "Wav2Vec2ForSequenceClassification",
        TRUNK: ("Wav2Vec2Model", "Wav2Vec2ForPreTraining"),
    }
    fixed: ClassVar[Mapping[str, Any]] = {"add_adapter": False, "adapter_attn_dim": None}
    neutral: ClassVar[frozenset[str]] = NEUTRAL | {
        "adapter_kernel_size", "adapter_stride", "codevector_dim", "contrastive_logits_temperature",
        "ctc_loss_reduction", "ctc_zero_infinity", "diversity_loss_weight", "feat_extract_dropout",
        "feat_quantizer_dropout", "hidden_dropout_prob", "mask_channel_length", "mask_channel_min_space",
        "mask_channel_other", "mask_channel_prob", "mask_channel_selection", "mask_time_min_space", "mask_time_other",
        "mask_time_selection", "num_adapter_layers", "num_codevector_groups", "num_codevectors_per_group",
        "num_feat_extract_layers", "num_negatives", "output_hidden_size", "proj_codevector_dim", "tdnn_dilation",
        "tdnn_dim", "tdnn_kernel", "xvector_output_dim",
    }  # fmt: skip

    vocab_size: int = 32
    pad_token_id: int | None = 0
    bos_token_id: int | None = 1
    eos_token_id: int | tuple[int, ...] | None = 2
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout: float = 0.1
    activation_dropout: float = 0.1
    attention_dropout: float = 0.1
    feat_proj_dropout: float = 0.0
    final_dropout: float = 0.1
    layerdrop: float = 0.1
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-5
    feat_extract_norm: str = "group"
    feat_extract_activation: str = "gelu"
    conv_dim: tuple[int, ...] = (512, 512, 512, 512, 512, 512, 512)
    conv_stride: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)
    conv_kernel: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
    conv_bias: bool = False
    num_conv_pos_embeddings: int = 128
    num_conv_pos_embedding_groups: int = 16
    do_stable_layer_norm: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        where, sizes = "Wav2Vec2Config", (self.conv_dim, self.conv_stride, self.conv_kernel)
        if len({len(size) for size in sizes}) > 1 or not self.conv_dim or min(map(min, sizes)) < 1:
            raise RangeError(
                "as many conv_dim as conv_stride and conv_kernel, at least one, each of at least 1",
                got=f"{self.conv_dim}, {self.conv_stride}, {self.conv_kernel}",
                fix="give one of each for a convolution",
                where=where,
            )
        if self.num_conv_pos_embeddings < 1:
            fix = "give the steps that a convolution sees, 128 as published"
            raise RangeError("num_conv_pos_embeddings of at least 1", got="0", fix=fix, where=where)
        if self.feat_extract_norm not in ("group", "layer"):
            got, fix = repr(self.feat_extract_norm), "choose one of these"
            raise RangeError("feat_extract_norm 'group' or 'layer'", got=got, fix=fix, where=where)

    def without_head(self) -> Self:
        """The same for the trunk alone, as a file may hold it."""
        return self.with_task(TRUNK)


class WaveConv(Module):
    """A convolution of a wave, a norm or none, an activation: (batch, time, in) → (batch, time', out)."""

    def __init__(self, config: Wav2Vec2Config, i: int):
        before, out = (1, *config.conv_dim)[i], config.conv_dim[i]
        self.conv = Conv(
            config.conv_kernel[i], before, out, stride=config.conv_stride[i], bias=config.conv_bias,
            init=kaiming_normal,
        )  # fmt: skip
        self.norm: Any = None
        if config.feat_extract_norm == "layer":
            self.norm = LayerNorm(out)
        elif i == 0:
            self.norm = GroupNorm(out, out)
        self.act = activation(config.feat_extract_activation, "Wav2Vec2Config.feat_extract_activation")

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.conv(x)
        return self.act(x if self.norm is None else self.norm(x))


class PositionConv(Module):
    """What stands around a step, from a wide convolution in groups, is added to it: it tells the place.

    The weight has a length for each step of the kernel, and a direction.
    """

    conv: WeightNorm[Conv]
    act: Any

    def __init__(self, config: Wav2Vec2Config):
        dim, size = config.hidden_size, config.num_conv_pos_embeddings
        draw = normal(std=2 * math.sqrt(1 / (size * dim)))
        conv = Conv(
            size, dim, dim, padding=((size // 2, (size - 1) // 2),), groups=config.num_conv_pos_embedding_groups,
            init=draw,
        )  # fmt: skip
        self.conv = WeightNorm(conv, axis=0)
        self.act = activation(config.feat_extract_activation, "Wav2Vec2Config.feat_extract_activation")

    def __call__(self, x: jax.Array) -> jax.Array:
        return x + self.act(self.conv(x))


class Wav2Vec2(Model):
    """A wav2vec 2.0 for waves (batch, samples); what a call gives is said by ``config.task``.

    ``"automatic-speech-recognition"``: scores (batch, steps, vocabulary), to be trained by ``px.losses.ctc``;
    ``"audio-classification"``: scores (batch, classes); ``"feature-extraction"``: features (batch, steps, features).

    Arguments:
        config: a ``Wav2Vec2Config``.

    Options of a call:
        mask: (batch, samples), True where a sample counts; padded on the right.
        lengths: (batch,), samples that count, in place of a mask.

    Source: Baevski et al., "wav2vec 2.0: a framework for self-supervised learning of speech representations", 2020.

    >>> import jax.numpy as jnp, phlox as px
    >>> sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    >>> convs = {"conv_dim": (8, 8), "conv_kernel": (10, 4), "conv_stride": (5, 4), "num_conv_pos_embeddings": 4}
    >>> config = px.models.Wav2Vec2Config(**sizes, **convs, num_conv_pos_embedding_groups=2)
    >>> model = px.models.Wav2Vec2(config)
    >>> model(jnp.ones((1, 400))).shape, model.output_lengths(jnp.array([400, 200])).tolist()
    ((1, 19, 32), [19, 9])
    """

    config: Wav2Vec2Config
    head: Any
    """What makes scores of the last features; None for nothing."""
    convs: list[WaveConv]
    conv_norm: LayerNorm
    project: Dense
    project_drop: Any
    augment: SpecAugment
    places: PositionConv
    norm: LayerNorm
    drop: Any
    blocks: list[EncoderBlock]
    layer_drop: LayerDrop
    final_drop: Any
    tensor_rules: ClassVar[dict[str, Any]] = {"convs": "in turn"}

    def __init__(self, config: Wav2Vec2Config):
        self.config = config
        dim, eps, bound = config.hidden_size, config.layer_norm_eps, math.sqrt(1 / config.conv_dim[-1])
        self.convs = [WaveConv(config, i) for i in range(len(config.conv_dim))]
        self.conv_norm = LayerNorm(config.conv_dim[-1], eps=eps)
        self.project = Dense(config.conv_dim[-1], dim, init=uniform(low=-bound, high=bound))
        self.project_drop = dropped(config.feat_proj_dropout)
        self.augment = SpecAugment(config, dim)
        self.places = PositionConv(config)
        self.norm = LayerNorm(dim, eps=eps)
        self.drop = dropped(config.hidden_dropout)
        self.blocks = [_block(config) for _ in range(config.num_hidden_layers)]
        self.layer_drop = LayerDrop(config.layerdrop)
        self.final_drop = dropped(config.final_dropout if config.task == RECOGNITION else 0.0)
        self.head = _head(config)

    def output_lengths(self, lengths: Any) -> jax.Array:
        """How many steps (batch,) so many samples (batch,) make, those that CTC's ``logit_lengths`` counts."""
        lengths = jnp.asarray(lengths)
        for size, stride in zip(self.config.conv_kernel, self.config.conv_stride, strict=True):
            lengths = jnp.maximum((lengths - size) // stride + 1, 0)
        return lengths

    def hidden_states(self, waves: jax.Array, *, mask: Any = None, lengths: Any = None) -> tuple[jax.Array, ...]:
        """What stands before the first block and after each, (batch, steps, features) each.

        Raises:
            RangeError: a mask and lengths, or a mask that is padded on the left.
            ShapeError: waves or a mask of another shape.
        """
        return self._states(waves, _steps(self, waves, mask, lengths))

    def features(self, waves: jax.Array, *, mask: Any = None, lengths: Any = None) -> jax.Array:
        """The last features (batch, steps, features), as the head sees them."""
        return self._last(self.hidden_states(waves, mask=mask, lengths=lengths))

    def __call__(self, waves: jax.Array, *, mask: Any = None, lengths: Any = None) -> jax.Array:
        steps = _steps(self, waves, mask, lengths)
        states = self._states(waves, steps)
        last = self._last(states)
        if self.config.task == CLASSIFICATION and self.head is not None:
            return self.head(last, states, steps)
        return last if self.head is None else self.head(self.final_drop(last))

    def parts(self) -> tuple[str, ...]:
        """The convolutions, the projection, what tells places, each block, and the head."""
        first = (*(f"convs.{i}" for i in range(len(self.convs))), "conv_norm", "project", "augment", "places")
        blocks, head = (f"blocks.{i}" for i in range(len(self.blocks))), () if self.head is None else ("head",)
        return (
            (*first, *blocks, "norm", *head) if self.config.do_stable_layer_norm else (*first, "norm", *blocks, *head)
        )

    def _states(self, waves: jax.Array, steps: jax.Array | None) -> tuple[jax.Array, ...]:
        x = waves[..., None]
        for conv in self.convs:
            x = conv(x)
        x = self.augment(self.project_drop(self.project(self.conv_norm(x))), steps)
        if steps is not None:
            x = jnp.where((jnp.arange(x.shape[1]) < steps[:, None])[..., None], x, jnp.zeros((), x.dtype))
        x = self.places(x)
        states = [self.drop(x if self.config.do_stable_layer_norm else self.norm(x))]
        for block in self.blocks:
            states.append(self.layer_drop(states[-1], block(states[-1], steps)))
        return tuple(states)

    def _last(self, states: tuple[jax.Array, ...]) -> jax.Array:
        return self.norm(states[-1]) if self.config.do_stable_layer_norm else states[-1]


def _steps(model: Wav2Vec2, waves: Any, mask: Any, lengths: Any) -> jax.Array | None:
    """How many steps of each recording count, (batch,); None for all."""
    if isinstance(waves, list | tuple):
        fix = "pad them on the right into one array (batch, samples), and pass their lengths="
        raise ShapeError("waves (batch, samples) in one array", got=describe(waves), fix=fix, where="Wav2Vec2")
    if jnp.ndim(waves) != 2:
        fix = "add a batch axis: waves[None]" if jnp.ndim(waves) == 1 else "give one channel: waves[..., 0]"
        raise ShapeError("waves (batch, samples)", got=describe(waves), fix=fix, where="Wav2Vec2")
    if mask is not None and lengths is not None:
        raise RangeError("a mask or lengths", got="both", fix="pass one of them", where="Wav2Vec2")
    if mask is not None:
        lengths = _counted(mask, waves)
    if lengths is None:
        return None
    if jnp.shape(lengths) != waves.shape[:1]:
        fix = "pass the number of samples of each recording"
        raise ShapeError(f"lengths {waves.shape[:1]}", got=describe(lengths), fix=fix, where="Wav2Vec2")
    return model.output_lengths(lengths)


def _counted(mask: Any, waves: Any) -> jax.Array:
    """How many samples (batch,) a mask (batch, samples) counts, which must be the first ones."""
    if jnp.shape(mask) != waves.shape:
        fix = "pass True where a sample counts, one for each"
        raise ShapeError(f"a mask {waves.shape}", got=describe(mask), fix=fix, where="Wav2Vec2")
    if not isinstance(mask, Tracer) and (np.diff(np.asarray(mask).astype(bool).astype(np.int8), axis=1) > 0).any():
        fix = "pad recordings on the right: convolutions run over what comes first"
        raise RangeError("a mask that is True, then False", got="another", fix=fix, where="Wav2Vec2")
    return jnp.sum(jnp.asarray(mask).astype(bool), axis=1)


def _block(config: Wav2Vec2Config) -> EncoderBlock:
    dim, draw = config.hidden_size, normal(std=config.initializer_range)
    act = activation(config.hidden_act, "Wav2Vec2Config.hidden_act")
    return EncoderBlock(
        dim,
        MultiHeadAttention(dim, config.num_attention_heads, dropout=config.attention_dropout, init=draw),
        mlp(dim, config.intermediate_size, act, draw, dropout=config.activation_dropout),
        eps=config.layer_norm_eps,
        dropout=config.hidden_dropout,
        norm_first=config.do_stable_layer_norm,
    )


def _head(config: Wav2Vec2Config) -> Any:
    """The head for a config's task; None for features."""
    if config.task == RECOGNITION:
        return Dense(config.hidden_size, config.vocab_size, init=normal(std=config.initializer_range))
    states = config.num_hidden_layers + 1 if config.use_weighted_layer_sum else None
    sizes = (config.hidden_size, config.classifier_proj_size, config.classes)
    return ClassHead(*sizes, states=states, std=config.initializer_range) if config.task == CLASSIFICATION else None


def wav2vec2_names(config: Wav2Vec2Config, *, direction: str, size: str) -> NameMap:
    """What transformers calls the arrays; the two of the weight that is normed have an older name and a newer one."""
    base = "wav2vec2"
    layer, conv = f"{base}.encoder.layers.{{i}}", f"{base}.encoder.pos_conv_embed.conv"
    return NameMap(
        {
            f"{base}.feature_extractor.conv_layers.{{i}}.conv": "convs.{i}.conv",
            f"{base}.feature_extractor.conv_layers.{{i}}.layer_norm": "convs.{i}.norm",
            f"{base}.feature_projection.layer_norm": "conv_norm",
            f"{base}.feature_projection.projection": "project",
            f"{base}.masked_spec_embed": "augment.embed",
            f"{conv}.{direction}": "places.conv.layer.weight",
            f"{conv}.{size}": Array("places.conv.size", lead=2),
            f"{conv}.bias": "places.conv.layer.bias",
            f"{base}.encoder.layer_norm": "norm",
            **{f"{layer}.attention.{name}_proj": f"blocks.{{i}}.attention.{name}_proj" for name in "qkv"},
            f"{layer}.attention.out_proj": "blocks.{i}.attention.out_proj",
            f"{layer}.layer_norm": "blocks.{i}.norm1",
            f"{layer}.feed_forward.intermediate_dense": "blocks.{i}.mlp.layers.fc1",
            f"{layer}.feed_forward.output_dense": "blocks.{i}.mlp.layers.fc2",
            f"{layer}.final_layer_norm": "blocks.{i}.norm2",
            **HEAD_NAMES,
            "lm_head": "head",
        },
        ignore=("quantizer.*", "project_hid.*", "project_q.*", "*masked_spec_embed"),  # what a config may do without
    )


_NEW = {"direction": "parametrizations.weight.original1", "size": "parametrizations.weight.original0"}
_OLD = {"direction": "weight_v", "size": "weight_g"}


def _large(**options: Any) -> Wav2Vec2Config:
    sizes = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
    return Wav2Vec2Config(**{**sizes, **options})


FAMILY = Family(
    config=Wav2Vec2Config,
    model=Wav2Vec2,
    names={
        "transformers": partial(wav2vec2_names, **_NEW),
        "transformers_weight_g": partial(wav2vec2_names, **_OLD),
    },
    base="wav2vec2.",
    heads=("head.classifier",),
    optional=("augment.embed",),  # which the first files that were published lack
    variants={
        "wav2vec2_base": Wav2Vec2Config(),
        "wav2vec2_large": _large(),
        "wav2vec2_large_lv60": _large(do_stable_layer_norm=True, feat_extract_norm="layer", conv_bias=True),
    },
)
