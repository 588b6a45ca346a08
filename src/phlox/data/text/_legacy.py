"""Tokenizers from the files that came before ``tokenizer.json``: WordPiece's and byte-level BPE's vocabularies."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from phlox.core import StructureError
from phlox.data.text._settings import content, read_json, read_text, tokenizers_library
from phlox.weights import CorruptFileError, MissingFileError

_BERT = {"unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]", "cls_token": "[CLS]", "mask_token": "[MASK]"}
_GPT2 = {"unk_token": "<|endoftext|>", "bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}
_ROBERTA = {
    "bos_token": "<s>", "eos_token": "</s>", "sep_token": "</s>", "cls_token": "<s>",
    "unk_token": "<unk>", "pad_token": "<pad>", "mask_token": "<mask>",
}  # fmt: skip
_WORD_PIECES = ("", "Bert", "DistilBert", "Electra", "MobileBert", "PreTrained")
_BYTE_PAIRS = ("", "GPT2", "Roberta", "Longformer", "PreTrained")  # BART's differ in nothing but are not compared


def from_vocabulary(folder: Path, where: str) -> tuple[Any, dict[str, str]]:
    """A tokenizer of the library from ``vocab.txt``, or from ``vocab.json`` and ``merges.txt``; its special tokens.

    Raises:
        MissingFileError: neither is there. StructureError: they belong to another kind of tokenizer.
    """
    entries = read_json(folder / "tokenizer_config.json", where)
    kind = str(entries.get("tokenizer_class") or "").removesuffix("Fast").removesuffix("Tokenizer")
    if (folder / "vocab.txt").is_file():
        _check_kind(kind, _WORD_PIECES, "vocab.txt", where)
        return _word_piece(folder, entries, where)
    if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        _check_kind(kind, _BYTE_PAIRS, "vocab.json and merges.txt", where)
        return _byte_pairs(folder, entries, kind, where)
    raise _missing(folder, where)


def _check_kind(kind: str, known: tuple[str, ...], files: str, where: str) -> None:
    if kind not in known:
        raise StructureError(
            f"{files} of one of {', '.join(filter(None, known))}", got=f"those of {kind}",
            fix="open it in transformers, save_pretrained, and give that folder: it has a tokenizer.json", where=where,
        )  # fmt: skip


def _check_there(ends: list[str], vocabulary: Mapping[str, int], file: str, where: str) -> None:
    if not all(token in vocabulary for token in ends):
        got, fix = f"{len(vocabulary)} others", "fetch it anew, with the tokenizer_config.json that belongs to it"
        raise CorruptFileError(f"{' and '.join(ends)} in {file}", got=got, fix=fix, where=where)


def _missing(folder: Path, where: str) -> Exception:
    models = sorted(folder.glob("*.model"))
    if models:
        return MissingFileError(
            "tokenizer.json", got=f"{models[0].name} alone, which SentencePiece reads",
            fix='transformers makes one of it: AutoTokenizer.from_pretrained("…").save_pretrained("…")', where=where,
        )  # fmt: skip
    there = sorted(path.name for path in folder.iterdir())[:8]
    return MissingFileError(
        "tokenizer.json, or vocab.txt, or vocab.json with merges.txt", got=", ".join(there) or "an empty folder",
        fix="give the folder that the tokenizer was saved in", where=where,
    )  # fmt: skip


def _word_piece(folder: Path, entries: Mapping[str, Any], where: str) -> tuple[Any, dict[str, str]]:
    library = tokenizers_library(where)
    special = {name: content(entries.get(name) or token) for name, token in _BERT.items()}
    lines = read_text(folder / "vocab.txt", where).removesuffix("\n").split("\n")
    vocabulary = {token.removesuffix("\r"): number for number, token in enumerate(lines)}
    made = library.Tokenizer(library.models.WordPiece(vocabulary, unk_token=special["unk_token"]))
    made.normalizer = library.normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=entries.get("tokenize_chinese_chars", True),
        strip_accents=entries.get("strip_accents"),
        lowercase=entries.get("do_lower_case", True),
    )
    made.pre_tokenizer = library.pre_tokenizers.BertPreTokenizer()
    made.decoder = library.decoders.WordPiece(prefix="##")
    _check_there([special["cls_token"], special["sep_token"]], vocabulary, "vocab.txt", where)
    first, last = ((special[name], vocabulary[special[name]]) for name in ("cls_token", "sep_token"))
    made.post_processor = library.processors.TemplateProcessing(
        single=f"{first[0]}:0 $A:0 {last[0]}:0",
        pair=f"{first[0]}:0 $A:0 {last[0]}:0 $B:1 {last[0]}:1",
        special_tokens=[first, last],
    )
    return made, special


def _byte_pairs(folder: Path, entries: Mapping[str, Any], kind: str, where: str) -> tuple[Any, dict[str, str]]:
    library = tokenizers_library(where)
    vocabulary = read_json(folder / "vocab.json", where)
    if not kind or kind == "PreTrained":
        kind = "Roberta" if {"<s>", "</s>"} <= vocabulary.keys() else "GPT2"
    merges = [tuple(line.split(" ")) for line in _lines(folder / "merges.txt", where)]
    if any(len(pair) != 2 for pair in merges) or any(token.endswith("</w>") for pair in merges for token in pair):
        raise StructureError(
            "the merges of byte-level BPE, two pieces a line", got="another kind of BPE, such as CLIP's",
            fix="open it in transformers, save_pretrained, and give that folder: it has a tokenizer.json", where=where,
        )  # fmt: skip
    prefix = entries.get("add_prefix_space", False)
    made = library.Tokenizer(
        library.models.BPE(
            vocab=vocabulary, merges=merges, continuing_subword_prefix="", end_of_word_suffix="", fuse_unk=False
        )
    )
    made.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    made.decoder = library.decoders.ByteLevel()
    if kind == "GPT2":
        return made, {name: content(entries.get(name) or token) for name, token in _GPT2.items()}
    special = {name: content(entries.get(name) or token) for name, token in _ROBERTA.items()}
    _check_there([special["cls_token"], special["sep_token"]], vocabulary, "vocab.json", where)
    last, first = ((special[name], vocabulary[special[name]]) for name in ("sep_token", "cls_token"))
    made.post_processor = library.processors.RobertaProcessing(last, first, entries.get("trim_offsets", True), prefix)
    return made, special


def _lines(path: Path, where: str) -> list[str]:
    lines = read_text(path, where).split("\n")
    return [line for line in lines if line and not line.startswith("#version")]
