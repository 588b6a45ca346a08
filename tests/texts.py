"""Texts that are hard on tokenizers, and small tokenizers trained on what Python says of itself."""

from __future__ import annotations

import argparse
import ast
import decimal
import functools
import inspect
import json
import logging
import random
import re
import textwrap
from typing import Any

from kit import oracle

MODULES = (argparse, ast, decimal, inspect, json, logging, re, textwrap)

_BY_HAND = [
    "", " ", "  ", "\n", "\r\n", "\t", "\x00", "a\x00b", "\x7f\x1b[0m", "a", "A", "aa", "The quick brown fox.",
    "don't  can't won't we've I'm they're it's", "Hello ,  world !  Really ?  Yes .", "naïve café coöperate",
    "nai\u0308ve cafe\u0301", "e\u0301\u0302\u0303\u0304", "\u0301", "ÅÅÅ", "ﬁ ﬂ ﬀ ① ½ ²",
    "ＦＵＬＬ ｗｉｄｔｈ", "😀", "\U0001f469\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 family",
    "\U0001f3f3\ufe0f\u200d\U0001f308\U0001f1e9\U0001f1ea\U0001f1ef\U0001f1f5", "👍🏽👍🏿", "a😀b😀c",
    "\u2603\ufe0f\u2744", "\ufeffBOM", "zero\u200bwidth\u200djoiner\u200cnon", "soft\xadhyphen",
    "non\xa0breaking\u202fspaces\u3000wide", "line\u2028para\u2029", "שלום עולם", "مرحبا بالعالم",
    "\u202eright to left\u202c", "abc אבג 123", "漢字かな交じり文", "你好，世界。", "한국어 형태소",
    "\u0939\u093f\u0928\u094d\u0926\u0940 \u092e\u0947\u0902",
    "\u0e44\u0e17\u0e22\u0e44\u0e21\u0e48\u0e21\u0e35\u0e0a\u0e48\u0e2d\u0e07\u0e27\u0e48\u0e32\u0e07",
    "Ελληνικά", "ΣΊΣΥΦΟΣ", "İstanbul ıI", "Straße STRASSE ẞ", "Ǆ ǅ ǆ", "𝕳𝖊𝖑𝖑𝖔 𝟙𝟚𝟛", "\U0001f9ff\U0010ffff",
    "�", "0", "007", "3.14159", "1,000,000", "1e-10", "12345678901234567890", "٣٤٥", "1st 2nd",
    "v1.2.3-rc4+build", "x" * 120, "supercalifragilisticexpialidocious", "a" * 60 + " " + "b" * 60, "-" * 80,
    "======= ~~~~~~~", "foo_bar.baz(qux=1)  # comment", "def f(x):\n    return x ** 2\n",
    "if a:\n\tb\n\telse:\r\n\t\tc", "<b>bold</b>&amp;", "https://example.org/a?b=c&d=%20#frag",
    "user.name+tag@example.co.uk", "C:\\path\\to\\file", "\\n is not a newline",
    '"quotes" ‘curly’ “double” «guillemets»', "em—dash en–dash…", "$100 €50 £20 ¥5", "50% ±2 ≥ ≠ ∑∫√",
    "(((nested)))", "a/b//c", "[CLS] in the text [SEP]", "<s>tags</s> <unk> <pad>", "<|endoftext|>",
    "text<|endoftext|>text <|im_end|>", "[MASK]ed", "[ MASK ]", "[mask]", "<mask> <mask>", "##ing ##",
    "Ġword ▁word", "@@ @-@", "    leading", "trailing    ", "\n\n\nlines\n\n", "tab\tseparated\tvalues",
    "MiXeD cAsE", "ALLCAPS", "camelCaseAndPascalCase", "snake_case_words", "kebab-case-words",
]  # fmt: skip

_ALPHABET = "abc ABZ 019 .,'!?-\t\n é\u0301 ß漢אم😀\u200d▁Ġ_#<>[]| \u00a0\x00"


@functools.cache
def awkward() -> list[str]:
    """Two hundred strings: those by hand, and some drawn from what is in them."""
    draw = random.Random(0)
    drawn = ["".join(draw.choices(_ALPHABET, k=draw.randrange(1, 40))) for _ in range(200 - len(_BY_HAND))]
    return _BY_HAND + drawn


@functools.cache
def documents() -> list[str]:
    """What some modules of Python say of themselves."""
    found = set()
    for module in MODULES:
        for thing in vars(module).values():
            parts = [thing, *vars(thing).values()] if isinstance(thing, type) else [thing]
            found |= {part.__doc__ for part in parts if callable(part) and isinstance(part.__doc__, str)}
    return sorted(found)


def _trained(tokenizer: Any, trainer: Any) -> Any:
    tokenizer.train_from_iterator(documents(), trainer)
    return tokenizer


@functools.cache
def byte_pairs() -> Any:
    """Byte-level BPE as GPT-2's."""
    t = oracle("tokenizers")
    made = t.Tokenizer(t.models.BPE())
    made.pre_tokenizer = t.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = t.decoders.ByteLevel()
    alphabet = t.pre_tokenizers.ByteLevel.alphabet()
    special = ["<|endoftext|>"]
    return _trained(
        made,
        t.trainers.BpeTrainer(vocab_size=500, special_tokens=special, initial_alphabet=alphabet, show_progress=False),
    )


@functools.cache
def unigram() -> Any:
    """Unigram as SentencePiece's, with tokens at the ends as Llama and T5 have them."""
    t = oracle("tokenizers")
    made = t.Tokenizer(t.models.Unigram())
    made.normalizer = t.normalizers.NFKC()
    made.pre_tokenizer = t.pre_tokenizers.Metaspace()
    made.decoder = t.decoders.Metaspace()
    special = ["<unk>", "<s>", "</s>", "<pad>"]
    trainer = t.trainers.UnigramTrainer(vocab_size=300, special_tokens=special, unk_token="<unk>", show_progress=False)
    _trained(made, trainer)
    made.post_processor = t.processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> <s>:1 $B:1 </s>:1", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    return made


@functools.cache
def word_pieces() -> Any:
    """WordPiece as BERT's."""
    t = oracle("tokenizers")
    made = t.Tokenizer(t.models.WordPiece(unk_token="[UNK]"))
    made.normalizer = t.normalizers.BertNormalizer()
    made.pre_tokenizer = t.pre_tokenizers.BertPreTokenizer()
    made.decoder = t.decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    _trained(made, t.trainers.WordPieceTrainer(vocab_size=500, special_tokens=special, show_progress=False))
    made.post_processor = t.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return made


KINDS = {
    "byte pairs": (
        byte_pairs,
        {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "pad_token": "<|pad|>"},
    ),
    "unigram": (
        unigram,
        {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>", "padding_side": "left"},
    ),
    "word pieces": (
        word_pieces,
        {
            "pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]",
            "mask_token": "[MASK]", "clean_up_tokenization_spaces": True,
        },
    ),
}  # fmt: skip
