"""The families there are, and models by name."""

from __future__ import annotations

import difflib
import fnmatch
from functools import partial
from typing import Any

from phlox.core import RangeError, describe, seed
from phlox.models._config import Config
from phlox.models._family import Family
from phlox.models.language import _t5
from phlox.models.language.decoders import (
    _gemma,
    _gpt2,
    _llama,
    _mistral,
    _mixtral,
    _phi3,
    _qwen2,
    _qwen3,
    _qwen_moe,
)
from phlox.models.language.encoders import _bert, _distilbert, _modernbert, _roberta
from phlox.models.multimodal import _clip, _siglip
from phlox.models.speech import _wav2vec2, _whisper
from phlox.models.tables import _ft_transformer
from phlox.models.vision import (
    _convnext,
    _deit,
    _detr,
    _dinov2,
    _efficientnet,
    _mobilenet_v3,
    _resnet,
    _swin,
    _unet,
    _vit,
)
from phlox.parallel import Placement, Strategy
from phlox.parallel import create as created
from phlox.weights import NameMap

FAMILIES: tuple[Family, ...] = (
    _resnet.FAMILY,
    _efficientnet.FAMILY,
    _convnext.FAMILY,
    _convnext.FAMILY_V2,
    _mobilenet_v3.FAMILY,
    _vit.FAMILY,
    _deit.FAMILY,
    _dinov2.FAMILY,
    _dinov2.WITH_REGISTERS,
    _swin.FAMILY,
    _detr.FAMILY,
    _unet.FAMILY,
    _ft_transformer.FAMILY,
    _gpt2.FAMILY,
    _bert.FAMILY,
    _roberta.FAMILY,
    _roberta.XLM,
    _distilbert.FAMILY,
    _llama.FAMILY,
    _mistral.FAMILY,
    _qwen2.FAMILY,
    _qwen3.FAMILY,
    _phi3.FAMILY,
    _gemma.FAMILY_2,
    _gemma.FAMILY_3,
    _mixtral.FAMILY,
    _qwen_moe.FAMILY_2,
    _qwen_moe.FAMILY_3,
    _clip.FAMILY,
    _clip.TEXT,
    _clip.VISION,
    _siglip.FAMILY,
    _siglip.TEXT,
    _siglip.VISION,
    _whisper.FAMILY,
    _wav2vec2.FAMILY,
    _modernbert.FAMILY,
    _t5.FAMILY,
)
_BY_TYPE = {family.config.model_type: family for family in FAMILIES}
_BY_CONFIG = {family.config: family for family in FAMILIES}
_VARIANTS = {name: family for family in FAMILIES for name in family.variants}
for _family in FAMILIES:  # a model finds its family by its config
    _family.config.family = _family


def create(
    name: str | Config,
    *,
    classes: int | None = None,
    task: str | None = None,
    key: Any = None,
    parallel: Strategy | Placement | None = None,
) -> Any:
    """A model with fresh weights, by the name of a variant or by a config.

    Arguments:
        name: such as ``"resnet50"``, one of ``px.models.list()``; or a config of your own.
        classes: how many classes the head tells apart; 0 for no head; None for as many as the config says.
        task: of models of text, what the head is for, such as ``"text-classification"``; None for what the config says.
        key: where the weights are drawn from; by default the stream of ``px.seed``.
        parallel: how it is spread over devices, ``px.parallel.fsdp()``: each weight is drawn where it lies.

    Raises:
        RangeError: a name that no variant has; the message has those that are close.

    >>> import phlox as px
    >>> model = px.models.create("resnet18", classes=10)
    >>> px.output_shape(model, (1, 64, 64, 3))
    (1, 10)
    """
    config = name if isinstance(name, Config) else variant(name, "px.models.create")
    config = config.with_task(task).with_classes(classes)
    family = family_of(config, "px.models.create")
    made = partial(family.model, config)
    made = made if parallel is None else partial(created, made, parallel)
    if key is None:
        return made()
    with seed(key):
        return made()


def list_models(pattern: str = "*") -> list[str]:
    """The names of variants that match a pattern, sorted.

    Arguments:
        pattern: with ``*`` for any characters and ``?`` for one.

    >>> import phlox as px
    >>> px.models.list("resnet1*")
    ['resnet101', 'resnet152', 'resnet18']
    """
    return sorted(fnmatch.filter(_VARIANTS, pattern))


def variant(name: str, where: str) -> Config:
    """The config of a variant.

    Raises:
        RangeError: no variant has this name.
    """
    if not isinstance(name, str) or name not in _VARIANTS:
        within = [known for known in _VARIANTS if str(name).lower() in known][:3] if name else []
        close = within or difflib.get_close_matches(str(name), _VARIANTS, n=3, cutoff=0.5)
        fix = f"did you mean {' or '.join(close)}?" if close else "px.models.list() has the names"
        raise RangeError("a model that there is", got=repr(name)[:200], fix=fix, where=where)
    return _VARIANTS[name].variants[name]


def family_of_type(model_type: Any, where: str) -> Family:
    """The family that ``config.json`` names.

    Raises:
        RangeError: no family is called so.
    """
    if not isinstance(model_type, str) or model_type not in _BY_TYPE:
        raise RangeError(
            f"a model_type among {', '.join(sorted(_BY_TYPE))}", got=repr(model_type)[:100],
            fix="build the model from Phlox's layers, and fill it with px.weights.convert", where=where,
        )  # fmt: skip
    return _BY_TYPE[model_type]


def family_of(config: Any, where: str) -> Family:
    """The family that a config is of.

    Raises:
        RangeError: no family has such configs.
    """
    if type(config) not in _BY_CONFIG:
        raise RangeError("the config of a family", got=describe(config), fix="px.models.list() has names", where=where)
    return _BY_CONFIG[type(config)]


def names(model: Any, dialect: str) -> NameMap:
    """The names that a model's arrays have in files of another library, for ``px.weights.convert``.

    Arguments:
        model: one of ``px.models``.
        dialect: whose names: ``"transformers"``, ``"timm"``, ``"torchvision"``, or what else its family knows.

    Raises:
        RangeError: no model of ``px.models``, or names that its family does not know, or that cannot hold its config.

    >>> import phlox as px
    >>> model = px.models.create("resnet18", classes=2)
    >>> list(px.models.names(model, "timm").to_theirs(model))[:2]
    ['conv1.weight', 'bn1.weight']
    """
    where = f"px.models.names({describe(model)}, {dialect!r})"
    config: Any = getattr(model, "config", None)
    family = family_of(config, where)
    known = family.dialects(config)
    if dialect not in known:
        raise RangeError(f"names among {', '.join(known)}", got=repr(dialect), fix="choose one of these", where=where)
    return family.names_of(dialect, config)


def variant_of(config: Config) -> str | None:
    """The name of the variant that a config is, but for its classes; None where it is none."""
    plain = config.with_classes(0)
    return next((n for n, c in _BY_CONFIG[type(config)].variants.items() if c.with_classes(0) == plain), None)
