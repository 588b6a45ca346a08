"""Texts that a JSON schema or a grammar allows: which tokens may come next, by the library llguidance."""

from __future__ import annotations

import importlib
import json
import threading
from collections.abc import Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from phlox.core import MissingExtraError
from phlox.serving._errors import InvalidRequestError, ModelFailedError
from phlox.serving.language._model import LanguageModel
from phlox.serving.openai._fields import refused

_BLANKS = r"[ \n\t]{0,20}"  # between what JSON is made of: as much as indenting takes, and not without end


class Grammar:
    """What may come next in one text.

    Arguments:
        matcher: the library's.
        vocabulary: how many tokens the model has scores for.
        ends: tokens that end a text, allowed where it may be over.
    """

    def __init__(self, matcher: Any, vocabulary: int, ends: Sequence[int]):
        self._matcher, self._vocabulary, self._ends = matcher, vocabulary, list(ends)
        self._over = False

    def copy(self) -> Grammar:
        """The same, for another text."""
        return Grammar(self._matcher.deep_copy(), self._vocabulary, self._ends)

    @property
    def done(self) -> bool:
        """Whether nothing may come any more."""
        return self._over or self._matcher.is_stopped()

    def mask(self) -> np.ndarray:
        """Which tokens may come next: bool, (vocabulary,)."""
        bits = np.unpackbits(np.frombuffer(self._matcher.compute_bitmask(), np.uint8), bitorder="little")
        found = np.zeros(self._vocabulary, bool)
        known = min(len(bits), self._vocabulary)
        found[:known] = bits[:known]
        found[self._ends] = self._matcher.is_accepting()
        return found

    def take(self, token: int) -> None:
        """Take note of the token that came.

        Raises:
            ModelFailedError: it was none of those, or the text has become too much for the grammar.
        """
        if token in self._ends:
            self._over = True
        elif not self._matcher.consume_token(token):
            got = self._matcher.get_error()[:300]
            fix = "ask for a simpler schema"
            raise ModelFailedError("a text that the grammar allows", got=got, fix=fix, where="grammar")


class Grammars:
    """Grammars over the tokens of one model.

    Arguments:
        language: the model.

    Raises:
        MissingExtraError: the library is not installed.
    """

    def __init__(self, language: LanguageModel):
        self._library = _library()
        self._vocabulary, self._ends = language.vocabulary, language.ends
        self._tokens = self._library.LLTokenizer(self._library.TokenizerWrapper(_Vocabulary(language)))

    def of_schema(self, schema: Mapping[str, Any], param: str) -> Grammar:
        """Texts that are JSON as a schema has it.

        Raises:
            InvalidRequestError: no schema, or one with what the library does not know.
        """
        options = {"whitespace_pattern": _BLANKS}
        return self._made(self._library.LLMatcher.grammar_from_json_schema(json.dumps(schema), defaults=options), param)

    def of_lark(self, text: str, param: str) -> Grammar:
        """Texts that a grammar in Lark's syntax allows."""
        return self._made(self._library.LLMatcher.grammar_from_lark(text), param)

    def _made(self, grammar: str, param: str) -> Grammar:
        matcher = self._library.LLMatcher(self._tokens, grammar, log_level=0)
        if matcher.is_error():
            raise _unknown(param, matcher.get_error())
        return Grammar(matcher, self._vocabulary, self._ends)


def _unknown(param: str, error: str) -> InvalidRequestError:
    got = error.splitlines()[0] if error else "none"
    return refused(param, "a schema that texts can be held to", got=got, fix="leave out what it names")


_KNOWN: WeakKeyDictionary[LanguageModel, Grammars] = WeakKeyDictionary()
_LOCK = threading.Lock()


def grammars_of(language: LanguageModel) -> Grammars:
    """The grammars of a model, made once; of a large vocabulary that takes a while."""
    with _LOCK:
        found = _KNOWN.get(language)
        if found is None:
            found = _KNOWN[language] = Grammars(language)
        return found


class _Vocabulary:
    """A tokenizer as the library reads one."""

    def __init__(self, language: LanguageModel):
        tokenizer = language.tokenizer
        self._tokenizer = tokenizer
        self.tokens = tokenizer.token_bytes(np.arange(len(tokenizer)))
        self.special_token_ids = list(tokenizer.special_ids)
        ends = [end for end in language.ends if end < len(self.tokens)]
        self.eos_token_id = ends[0] if ends else len(self.tokens)
        self.bos_token_id = tokenizer.bos_id
        if not ends:
            self.tokens.append(b"<end>")
            self.special_token_ids.append(self.eos_token_id)

    def __call__(self, text: Any) -> list[int]:
        return self._tokenizer.encode(text.decode() if isinstance(text, bytes) else text, special=False)


def _library() -> Any:
    try:
        llguidance = importlib.import_module("llguidance")
    except ImportError as error:
        fix = 'pip install "phlox[serve-language]"'
        raise MissingExtraError("llguidance", got="none", fix=fix, where="grammar") from error
    return llguidance
