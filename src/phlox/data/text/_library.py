"""A tokenizer of the library made ready: read, its special tokens added, its ends set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from phlox.core import StructureError, describe
from phlox.data.text._settings import NAMES, Settings, content, tokenizers_library
from phlox.weights import CorruptFileError

_FLAGS = ("lstrip", "rstrip", "single_word", "normalized")


def from_file(file: Path, where: str) -> Any:
    """The tokenizer of a ``tokenizer.json``.

    Raises:
        CorruptFileError: the library cannot read it.
    """
    library = tokenizers_library(where)
    try:
        return library.Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises nothing more precise
        got, fix = str(error)[:200], "fetch the file anew, or install a newer version of tokenizers"
        raise CorruptFileError(f"{file} as tokenizers writes it", got=got, fix=fix, where=where) from error


def own_settings(tokenizer: Any) -> dict[str, Any]:
    """What a ``tokenizer.json`` says itself of padding and cutting, for a config that does not."""
    padding, cutting = tokenizer.padding, tokenizer.truncation
    found = {} if padding is None else {"pad_token": padding["pad_token"], "padding_side": padding["direction"]}
    return found if cutting is None else {**found, "truncation_side": cutting["direction"]}


def check_library(tokenizer: Any) -> None:
    """Refuse what is no tokenizer of the library.

    Raises:
        StructureError: it is something else. MissingExtraError: the library is not installed.
    """
    if not isinstance(tokenizer, tokenizers_library("Tokenizer").Tokenizer):
        fix = "give a tokenizers.Tokenizer, or read files with Tokenizer.load(folder)"
        what = "a tokenizer of the library tokenizers"
        raise StructureError(what, got=describe(tokenizer), fix=fix, where="Tokenizer")


def make_ready(tokenizer: Any, settings: Settings) -> None:
    """Add what the vocabulary lacks, and set the tokens at the ends where the settings or nothing else say them."""
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.encode_special_tokens = settings.split_special
    tokenizer.add_tokens(_missing_tokens(tokenizer, settings))
    if settings.add_bos is not None or settings.add_eos is not None or tokenizer.post_processor is None:
        tokenizer.post_processor = _ends(tokenizer, settings)


def _missing_tokens(tokenizer: Any, settings: Settings) -> list[Any]:
    """Added tokens of the settings that the tokenizer has not, or has otherwise, in the order in which they are added.

    A special token that is in the vocabulary is still to be marked as special: it is never taken apart then.
    """
    there = tokenizer.get_added_tokens_decoder()
    known, forms = {token.content for token in there.values()}, {repr(token) for token in there.values()}
    declared = {number: _added(token) for number, token in settings.added.items()}
    missing = [token for _, token in sorted(declared.items()) if repr(token) not in forms]
    known |= {token.content for token in missing}
    by_content = {token.content: token for token in declared.values()}
    names = [*NAMES, *(name for name in settings.special if name not in NAMES)]
    for token in [*(settings.special[name] for name in names if name in settings.special), *settings.extra]:
        if content(token) not in known:
            missing.append(by_content.get(content(token)) or _added(token, special=True))
            known.add(content(token))
    return missing


def _added(token: Any, special: bool = False) -> Any:
    library = tokenizers_library("Tokenizer")
    if isinstance(token, str):
        return library.AddedToken(token, special=special)
    flags = {name: token[name] for name in _FLAGS if name in token}
    return library.AddedToken(token["content"], special=special or token.get("special", False), **flags)


def _ends(tokenizer: Any, settings: Settings) -> Any:
    """The post-processor that puts the beginning and the end around each text, where they are wanted."""
    names = {name: content(token) for name, token in settings.special.items()}
    bos = names.get("bos") if settings.add_bos else None
    eos = names.get("eos") if settings.add_eos else None
    single, second = (
        " ".join([*([f"{bos}:{n}"] if bos else []), f"${text}:{n}", *([f"{eos}:{n}"] if eos else [])])
        for n, text in enumerate("AB")
    )
    special = [(token, tokenizer.token_to_id(token)) for token in dict.fromkeys((bos, eos)) if token]
    processors = tokenizers_library("Tokenizer").processors
    return processors.TemplateProcessing(single=single, pair=f"{single} {second}", special_tokens=special)
