"""timm's config.json: an architecture by its name, and the arguments that it was built with."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from phlox.core import OptionError, RangeError, describe
from phlox.models._catalogue import family_of, variant
from phlox.models._config import Config

_RATE = re.compile(r"(\w+_)?drop(_path|_block)?_rate")  # of dropout: it changes no score
_FIELDS = {"in_chans": "num_channels", "img_size": "image_size"}


def config_of_timm(entries: Mapping[str, Any], where: str) -> Config:
    """The config that timm's entries mean.

    Raises:
        OptionError: an entry of the wrong type.
        RangeError: an architecture that Phlox does not have, a size beyond reason, or an argument that makes another
            network of it.
    """
    config = variant(str(entries["architecture"]).partition(".")[0], where)
    if "timm" not in family_of(config, where).names:
        raise RangeError(
            "an architecture whose weights are known by timm's names", got=repr(entries["architecture"])[:200],
            fix="load the hub's folder for transformers", where=where,
        )  # fmt: skip
    given = entries.get("model_args") or {}
    if not isinstance(given, Mapping):
        raise OptionError("model_args as an object", got=describe(given), fix="look at config.json", where=where)
    _check_arguments(config, given, where)
    changed = {_FIELDS[name]: _as_size(value) for name, value in given.items() if name in _FIELDS}
    own = {key: value for key, value in config.to_dict().items() if key not in ("id2label", "label2id")}
    classes = entries.get("num_classes", config.classes)
    return type(config).from_dict({**own, **changed, "num_labels": classes})


def _check_arguments(config: Config, given: Mapping[str, Any], where: str) -> None:
    """Refuse what would make other scores of the same weights."""
    pool = family_of(config, where).pool
    for name, value in given.items():
        field = _FIELDS.get(name)
        harmless = name == "num_classes" or _RATE.fullmatch(name) or (name, value) == ("global_pool", pool)
        if not harmless and (field is None or not hasattr(config, field)):
            raise RangeError(
                f"model_args of num_classes, {', '.join(_FIELDS)}, rates of dropout and global_pool={pool!r}",
                got=f"{name}={value!r}"[:200],
                fix="build the model from its config, and fill it with px.weights.convert", where=where,
            )  # fmt: skip


def _as_size(value: Any) -> Any:
    """One number for height and width that are equal."""
    return value[0] if isinstance(value, list) and len(value) == 2 and value[0] == value[1] else value
