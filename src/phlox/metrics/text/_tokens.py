"""Texts cut into tokens, as scores of machine translation expect it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from itertools import pairwise

Tokenize = Callable[[str], list[str]]

_ESCAPED = (("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">"))  # in this order: &amp;lt; is read twice
_APART = (  # the marks of ASCII but ' , - . stand apart, these three where no number goes on
    (re.compile(r"([ -&(-+/:-@\[-`{-~])"), r" \1 "),
    (re.compile(r"([^0-9])([.,])"), r"\1 \2 "),
    (re.compile(r"([.,])([^0-9])"), r" \1 \2"),
    (re.compile(r"([0-9])(-)"), r"\1 \2 "),
)
_BY_KIND = (  # over a text's letters of its categories: N a number, P a punctuation mark, S a symbol
    (re.compile("[^N]P"), (1, 2)),  # a space before the second and after it
    (re.compile("P[^N]"), (0, 1)),
    (re.compile("S"), (0, 1)),
)


def _mteval_13a(text: str) -> list[str]:
    """The tokens of mteval-v13a, the script of the WMT."""
    text = text.replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
    for written, meant in _ESCAPED:
        text = text.replace(written, meant)
    text = f" {text} "
    for pattern, spaced in _APART:
        text = pattern.sub(spaced, text)
    return text.split()


def _mteval_14_international(text: str) -> list[str]:
    """The tokens of mteval-v14 with its international rules: all of Unicode's marks and symbols stand apart."""
    for pattern, places in _BY_KIND:
        kinds = "".join(unicodedata.category(c)[0] for c in text)
        spaces = [match.start() + place for match in pattern.finditer(kinds) for place in places]
        edges = [0, *spaces, len(text)]
        text = " ".join(text[a:b] for a, b in pairwise(edges))
    return text.split()


def _characters(text: str) -> list[str]:
    return " ".join(text).split()


TOKENIZERS: dict[str, Tokenize] = {
    "13a": _mteval_13a,
    "intl": _mteval_14_international,
    "char": _characters,
    "none": str.split,
}
