"""A feature extractor's config: its entries as the fields of an AudioPreprocessor, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from phlox.core import RangeError, describe

Config = Mapping[str, Any]
_WHISPER, _WAV2VEC2 = "WhisperFeatureExtractor", "Wav2Vec2FeatureExtractor"
AUDIO_TYPES = (_WHISPER, _WAV2VEC2)

_HARMLESS = [
    "feature_extractor_type",
    "processor_class",
    "auto_map",
    "return_attention_mask",
    "sampling_rate",
    "padding_value",
]
_READ = {  # by type; Whisper's filters and counts follow from the rest, and its call does not normalise
    _WHISPER: [
        "feature_size",
        "hop_length",
        "chunk_length",
        "n_fft",
        "dither",
        "n_samples",
        "nb_max_frames",
        "mel_filters",
        "do_normalize",
    ],
    _WAV2VEC2: ["feature_size", "do_normalize"],
}
_ONLY = {"padding_side": "right", "dither": 0.0}
_WHOLE = {"sample_rate": 1, "mels": 1, "n_fft": 2, "hop_length": 1, "length": 1}  # and the least of each
_TO = "AudioPreprocessor.to_config"
_NORMALIZE = (None, "own", "padded")


def checked(fields: Mapping[str, Any]) -> dict[str, Any]:
    """All fields of an AudioPreprocessor, in their one form.

    Raises:
        RangeError: a value that cannot be.
    """
    made = dict(fields)
    for name, least in _WHOLE.items():
        if made[name] is not None or name not in ("mels", "length"):
            made[name] = whole(name, made[name], least)
    if made["normalize"] not in _NORMALIZE:
        raise _refused("normalize", 'of None, "own" or "padded"', made["normalize"], "choose one")
    value = made["padding_value"]
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not abs(value) <= 1e6:
        raise _refused("padding_value", "of numbers up to 1e+06", value, "give a number")
    made["padding_value"] = float(value)
    return made


def whole(name: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not least <= value <= 2**31 - 1:
        raise _refused(name, f"as a whole number of at least {least}", value, "correct it")
    return int(value)


def _refused(name: str, wanted: str, value: Any, fix: str) -> RangeError:
    got = repr(value) if isinstance(value, list | tuple | dict) else describe(value)
    return RangeError(f"{name} {wanted}", got=got[:100], fix=fix, where="AudioPreprocessor")


def audio_type_of(config: Config) -> Any:
    """The type of feature extractor that a config names; the first files of Wav2Vec2 name none."""
    first = "sampling_rate" in config and config.get("feature_size") == 1 and "image_processor_type" not in config
    return config.get("feature_extractor_type", _WAV2VEC2 if first else None)


def audio_fields_of(config: Config) -> dict[str, Any]:
    """The fields, as the feature extractor named in the config understands its entries."""
    kind = audio_type_of(config)
    if kind not in AUDIO_TYPES:
        fix = "write an AudioPreprocessor of your own; px.models.preprocessor reads configs of images too"
        raise _refused("feature_extractor_type", f"among {', '.join(AUDIO_TYPES)}", kind, fix)
    given = {name: value for name, value in config.items() if value is not None}
    unknown = sorted(str(k) for k in given if k not in (*_HARMLESS, *_READ[kind], *_ONLY))
    if unknown:
        fix = "take out what does not change the sound, and write the rest as an AudioPreprocessor of your own"
        raise _refused(f"a config of {kind} with entries that are known", "here", unknown, fix)
    for name, only in _ONLY.items():
        if given.get(name, only) != only:
            raise _refused(f"the config's {name}", f"of {only}", given[name], "prepare the waveforms yourself")
    fields = {"sample_rate": given.get("sampling_rate", 16000), "padding_value": given.get("padding_value", 0.0)}
    return fields | (_whisper(given) if kind == _WHISPER else _wav2vec2(given))


def _whisper(given: Config) -> dict[str, Any]:
    rate, seconds = given.get("sampling_rate", 16000), given.get("chunk_length", 30)
    length = whole("the config's sampling_rate", rate, 1) * whole("the config's chunk_length", seconds, 1)
    sizes = {"n_fft": given.get("n_fft", 400), "hop_length": given.get("hop_length", 160)}
    return {"mels": given.get("feature_size", 80), "length": length, **sizes}


def _wav2vec2(given: Config) -> dict[str, Any]:
    if given.get("feature_size", 1) != 1:
        raise _refused("the config's feature_size", "of 1", given["feature_size"], "prepare the features yourself")
    for name in ("do_normalize", "return_attention_mask"):
        if not isinstance(given.get(name, True), bool):
            raise _refused(f"the config's {name}", "of true or false", given[name], "correct the file")
    if not given.get("do_normalize", True):
        return {"normalize": None}
    return {"normalize": "own" if given.get("return_attention_mask", False) else "padded"}


def audio_config_of(fields: Config) -> dict[str, Any]:
    """The config; what is written is read again, and must say the same.

    Raises:
        RangeError: nothing written does.
    """
    config = _written(fields)
    defaults = {"mels": None, "n_fft": 400, "hop_length": 160, "length": None, "normalize": None}
    if defaults | audio_fields_of(config) != dict(fields):
        got = ", ".join(f"{name}={value!r}" for name, value in fields.items())
        fix = "keep dataclasses.asdict(preprocessor), and build it from that"
        raise RangeError("steps that Whisper's or Wav2Vec2's extractor does", got=got, fix=fix, where=_TO)
    return config


def _written(fields: Config) -> dict[str, Any]:
    common = {"sampling_rate": fields["sample_rate"], "padding_value": fields["padding_value"], "padding_side": "right"}
    if fields["mels"] is None:
        normal = fields["normalize"]
        flags = {"do_normalize": normal is not None, "return_attention_mask": normal != "padded"}
        return {"feature_extractor_type": _WAV2VEC2, "feature_size": 1, **common, **flags}
    sizes = {"feature_size": fields["mels"], "n_fft": fields["n_fft"], "hop_length": fields["hop_length"]}
    seconds = max((fields["length"] or 0) // fields["sample_rate"], 1)
    return {"feature_extractor_type": _WHISPER, **sizes, "chunk_length": seconds, **common}
