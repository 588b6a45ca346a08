"""Entries of a config: numbers, sizes and flags, checked, with the config's own names in the errors."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from phlox.models.preprocessing._checks import each, refused

Config = Mapping[str, Any]
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet


def check_known(config: Config, known: Collection[str], what: str) -> None:
    """Refuse entries that nobody here reads; one that is null says nothing."""
    unknown = sorted(str(k) for k, v in config.items() if k not in known and v is not None)
    if unknown:
        fix = "take out what does not change the image, and write the rest as an ImagePreprocessor of your own"
        raise refused(f"a config of {what} with entries that are known", "here", unknown, fix)


def flag(config: Config, name: str, default: bool) -> bool:
    value = config.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise refused(f"the config's {name}", "of true or false", value, "correct the file")
    return value


def positive(config: Config, name: str, default: float) -> float:
    value = config.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1e-6 <= value <= 1e6:
        raise refused(f"the config's {name}", "from 1e-06 to 1e+06", value, "correct the file")
    return float(value)


def each_channel(config: Config, name: str, default: tuple[float, ...]) -> tuple[float, ...]:
    """A number for each channel, or one for all."""
    value = config.get(name)
    made = each(f"the config's {name}", (value,) if isinstance(value, int | float) else value)
    return default if made is None else made


def choice(config: Config, name: str, choices: Mapping[Any, str], default: Any) -> str:
    value = default if config.get(name) is None else config[name]
    if isinstance(value, bool) or not isinstance(value, int | str) or value not in choices:
        raise refused(f"the config's {name}", f"among {', '.join(map(str, choices))}", value, "correct the file")
    return choices[value]
