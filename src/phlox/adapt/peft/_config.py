"""adapter_config.json: what an adapter is, in PEFT's words."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from phlox.core import OptionError, RangeError, stack_level
from phlox.weights import file_error, open_regular

NAME = "adapter_config.json"
_LONGEST = 1 << 24  # bytes
_TYPES = ("LORA", "IA3", "PREFIX_TUNING")
_OTHER_BASE = ("pissa", "corda", "olora", "loftq", "lora_ga")  # begin from weights that they change
_NOTHING: tuple[Any, ...] = (None, False, [], {}, "")
_FIXED: dict[str, tuple[Any, ...]] = {
    "bias": ("none", *_NOTHING),
    "num_transformer_submodules": (1, *_NOTHING),
    **dict.fromkeys(
        (
            "alora_invocation_tokens", "arrow_config", "kasa_config", "layer_replication", "lora_bias", "megatron_config",
            "monteclora_config", "target_parameters", "trainable_token_indices", "use_bdlora", "use_qalora",
            "velora_config",
        ),
        _NOTHING,
    ),
}  # fmt: skip
"""Options that change what is computed, and the values of them that Phlox has."""
_KNOWN = {
    "alpha_pattern", "auto_mapping", "base_model_name_or_path", "corda_config", "encoder_hidden_size",
    "ensure_weight_tying", "eva_config", "exclude_modules", "fan_in_fan_out", "feedforward_modules", "inference_mode",
    "init_ia3_weights", "init_lora_weights", "init_weights", "layers_pattern", "layers_to_transform", "loftq_config",
    "lora_alpha", "lora_dropout", "lora_ga_config", "megatron_core", "modules_to_save", "num_attention_heads",
    "num_layers", "num_virtual_tokens", "peft_type", "peft_version", "prefix_projection", "qalora_group_size", "r",
    "rank_pattern", "revision", "target_modules", "task_type", "token_dim", "use_dora", "use_rslora", *_FIXED,
}  # fmt: skip
TASKS = {
    "text-generation": "CAUSAL_LM", "text-classification": "SEQ_CLS", "token-classification": "TOKEN_CLS",
    "question-answering": "QUESTION_ANS",
}  # fmt: skip


def read_config(folder: Path, where: str) -> dict[str, Any]:
    """The config of an adapter that Phlox can compute.

    Raises:
        FileError: it is missing or can't be read. OptionError: it is no JSON object.
        RangeError: another kind of adapter, or an option that Phlox does not have.
    """
    path = folder / NAME
    try:
        with open_regular(path) as file:
            found = json.loads(file.read(_LONGEST))
    except OSError as error:
        raise file_error(error, path, where) from error
    except (ValueError, RecursionError) as error:
        fix = "fetch the folder again"
        raise OptionError(f"JSON in {NAME}", got=str(error)[:200], fix=fix, where=where) from error
    if not isinstance(found, dict):
        fix = "fetch the folder again"
        raise OptionError(f"a JSON object in {NAME}", got=type(found).__name__, fix=fix, where=where)
    _check(found, where)
    return found


def _check(config: Mapping[str, Any], where: str) -> None:
    fix = "train it with PEFT, and merge it there"
    kind = config.get("peft_type")
    if kind not in _TYPES:
        raise RangeError(f"a peft_type among {', '.join(_TYPES)}", got=repr(kind)[:100], fix=fix, where=where)
    for key, values in _FIXED.items():
        if config.get(key) not in values:
            expected = f"{key} = {values[0]!r}"
            raise RangeError(expected, got=repr(config[key])[:200], fix=fix, where=where)
    begun = str(config.get("init_lora_weights", ""))
    if begun.lower().startswith(_OTHER_BASE):
        fix = "write it with path_initial_model_for_weight_conversion= in PEFT, as a plain LoRA"
        expected = "an adapter beside the base's own weights"
        raise RangeError(expected, got=f"init_lora_weights = {begun!r}", fix=fix, where=where)
    unknown = sorted(key for key, value in config.items() if key not in _KNOWN and value not in _NOTHING)
    if unknown:
        text = f"{where}: {NAME} has entries that Phlox does not know, and goes on without: {', '.join(unknown)[:300]}"
        warnings.warn(text, stacklevel=stack_level())


def number(config: Mapping[str, Any], key: str, default: float, where: str) -> float:
    """A number of a config.

    Raises:
        OptionError: something else.
    """
    found = config.get(key, default)
    if not isinstance(found, int | float) or isinstance(found, bool):
        raise OptionError(f"{key} as a number", got=repr(found)[:100], fix=f"look at {NAME}", where=where)
    return found


def alpha_of(config: Mapping[str, Any], name: str, where: str) -> float:
    """A layer's α: that of the first pattern that means its name, else the one of all."""
    patterns = config.get("alpha_pattern") or {}
    for pattern, alpha in patterns.items():
        if _ends_with(pattern, name, where):
            return number({"lora_alpha": alpha}, "lora_alpha", 8, where)
    return number(config, "lora_alpha", 8, where)


def _ends_with(pattern: str, name: str, where: str) -> bool:
    """True where a regular expression means a name from one of its dots on."""
    try:
        return re.match(rf"(.*\.)?({pattern})$", name) is not None
    except re.error as error:
        fix = f"look at {NAME}"
        raise OptionError("alpha_pattern of regular expressions", got=str(error), fix=fix, where=where) from error


def is_feedforward(config: Mapping[str, Any], name: str) -> bool:
    """True where an IA³ scales the input of a layer."""
    named = config.get("feedforward_modules") or []
    return bool(re.fullmatch(named, name)) if isinstance(named, str) else name.endswith(tuple(named))


def config_text(entries: Mapping[str, Any]) -> str:
    """The text of a config."""
    always = {"auto_mapping": None, "base_model_name_or_path": None, "inference_mode": True, "revision": None}
    return json.dumps({**always, **entries}, indent=2, sort_keys=True) + "\n"


def task_of(model: Any, heads: bool) -> str | None:
    """PEFT's name of what a model is for; of one with classes only where the head is in the file, as PEFT asks for it."""
    task = getattr(getattr(model, "config", None), "task", None)
    found = TASKS.get(task) if isinstance(task, str) else None
    return found if heads or found == "CAUSAL_LM" else None
