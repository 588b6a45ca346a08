"""What is known of a tokenizer beside its vocabulary: special tokens, sides, lengths, templates."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from phlox.core import MissingExtraError, RangeError, StructureError
from phlox.weights import CorruptFileError, MissingFileError, file_error

NAMES = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")  # in the order in which they are added
_ENDLESS = 10**20  # from there on a length in a config means that there is none


def tokenizers_library(where: str) -> Any:
    """The library ``tokenizers``.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import tokenizers
    except ImportError as error:
        raise MissingExtraError(
            "the library tokenizers", got="it is not installed", fix='pip install "phlox[text]"', where=where
        ) from error
    return tokenizers


@dataclass(frozen=True)
class Settings:
    """A ``tokenizer_config.json`` with the files beside it, read.

    Arguments:
        special: special tokens by short name (``pad``), each a string, or a dict of what its ``AddedToken`` is made of.
        extra: further special tokens; under a name of their own those that a model has, such as ``image``.
        added: tokens that the vocabulary may lack, by number.
        templates: chat templates by name; ``default`` is the one that is meant without a name.
        entries: everything the file holds, for writing it again.
    """

    special: Mapping[str, Any] = field(default_factory=dict)
    extra: tuple[Any, ...] = ()
    added: Mapping[int, Any] = field(default_factory=dict)
    templates: Mapping[str, str] = field(default_factory=dict)
    padding_side: Literal["left", "right"] = "right"
    truncation_side: Literal["left", "right"] = "right"
    length: int | None = None
    clean_up: bool = False
    clean_up_bpe: bool = False
    split_special: bool = False
    add_bos: bool | None = None
    add_eos: bool | None = None
    entries: Mapping[str, Any] = field(default_factory=dict)


def settings_of(entries: Mapping[str, Any], where: str) -> Settings:
    """Settings from the entries of a ``tokenizer_config.json``.

    Raises:
        RangeError: a side that is neither left nor right. StructureError: special tokens that are no strings.
    """
    sides: dict[str, Any] = {name: entries.get(name) or "right" for name in ("padding_side", "truncation_side")}
    for name, side in sides.items():
        check_side(side, name, where)
    special = {key.removesuffix("_token"): token for key, token in entries.items() if _is_special(key, token, where)}
    further = entries.get("extra_special_tokens") or entries.get("additional_special_tokens") or ()
    if isinstance(further, Mapping):
        special |= {key.removesuffix("_token"): token for key, token in further.items()}
        further = ()
    length = entries.get("model_max_length", entries.get("max_len"))
    added = {int(number): token for number, token in (entries.get("added_tokens_decoder") or {}).items()}
    return Settings(
        special=special,
        extra=tuple(further),
        added=dict(sorted(added.items())),
        templates=_templates(entries.get("chat_template")),
        **sides,
        length=None if length is None or length >= _ENDLESS else int(length),
        clean_up=bool(entries.get("clean_up_tokenization_spaces", False)),
        clean_up_bpe=bool(entries.get("clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output")),
        split_special=bool(entries.get("split_special_tokens", False)),
        add_bos=entries.get("add_bos_token"),
        add_eos=entries.get("add_eos_token"),
        entries=dict(entries),
    )


def check_side(side: Any, name: str, where: str) -> None:
    """Refuse a side that is neither left nor right."""
    if side not in ("left", "right"):
        fix = "left keeps the end of a text, and is what models that generate want; right is for all others"
        raise RangeError(f'{name} to be "left" or "right"', got=repr(side), fix=fix, where=where)


def _is_special(key: str, token: Any, where: str) -> bool:
    if not key.endswith("_token") or token is None or isinstance(token, bool):
        return False
    if isinstance(token, str) or (isinstance(token, Mapping) and "content" in token):
        return True
    if key.removesuffix("_token") in NAMES:
        fix = "give it as a string"
        raise StructureError(f"{key} to be a string or an added token", got=repr(token), fix=fix, where=where)
    return False


def _templates(found: Any) -> dict[str, str]:
    if isinstance(found, str):
        return {"default": found}
    if isinstance(found, Mapping):
        return dict(found)
    return {each["name"]: each["template"] for each in found or ()}


# --- files ------------------------------------------------------------------------------------------


def read_entries(folder: Path, whole: bool, where: str) -> dict[str, Any]:
    """The entries of a folder's ``tokenizer_config.json`` with those of the files beside it; each may be missing.

    Arguments:
        whole: there is a ``tokenizer.json``, which has the last word on tokens at the ends.
    """
    entries = read_json(folder / "tokenizer_config.json", where)
    if whole:
        entries = {key: entry for key, entry in entries.items() if key not in ("add_bos_token", "add_eos_token")}
    templates = _template_files(folder, where)
    if templates:
        entries["chat_template"] = templates
    if "added_tokens_decoder" in entries:
        return entries
    entries |= read_json(folder / "special_tokens_map.json", where)  # older folders say it in files of their own
    numbers = read_json(folder / "added_tokens.json", where)
    return entries | {"added_tokens_decoder": _as_added(numbers, settings_of(entries, where))}


def _as_added(numbers: Mapping[str, int], settings: Settings) -> dict[int, Any]:
    special = {content(token) for token in (*settings.special.values(), *settings.extra)}
    return {
        number: {"content": token, "special": token in special, "normalized": token not in special}
        for token, number in numbers.items()
    }


def content(token: Any) -> str:
    """The string of a special token."""
    return token if isinstance(token, str) else token["content"]


def _template_files(folder: Path, where: str) -> dict[str, str]:
    paths = {"default": folder / "chat_template.jinja"}
    paths |= {path.stem: path for path in sorted((folder / "additional_chat_templates").glob("*.jinja"))}
    return {name: read_text(path, where) for name, path in paths.items() if path.is_file()}


def read_text(path: str | os.PathLike[str], where: str) -> str:
    """The text of a file.

    Raises:
        MissingFileError: there is none. CorruptFileError: it is no UTF-8. FileError: it cannot be read.
    """
    try:
        return Path(path).read_text("utf-8")
    except OSError as error:
        raise file_error(error, path, where) from error
    except UnicodeDecodeError as error:
        fix = "fetch the file anew"
        raise CorruptFileError(f"{path} to be UTF-8", got=str(error), fix=fix, where=where) from error


def read_json(path: Path, where: str) -> dict[str, Any]:
    """The entries of a JSON file; none where there is no file.

    Raises:
        CorruptFileError: it holds something else than a table.
    """
    try:
        found = json.loads(read_text(path, where))
    except MissingFileError:
        return {}
    except ValueError as error:
        raise CorruptFileError(f"{path} to be JSON", got=str(error), fix="fetch the file anew", where=where) from error
    if not isinstance(found, dict):
        got, fix = type(found).__name__, "fetch the file anew"
        raise CorruptFileError(f"{path} to hold a table of entries", got=got, fix=fix, where=where)
    return found
