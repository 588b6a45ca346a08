"""Completions: texts that go on from texts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from phlox.serving.http._answers import Answer, Streamed
from phlox.serving.http._asked import Asked
from phlox.serving.language._model import LanguageModel
from phlox.serving.openai._events import Answering, Order, Whole
from phlox.serving.openai._fields import Fields, refused
from phlox.serving.openai._finding import Entry, find_language, read_fields
from phlox.serving.openai._options import Options, read_max_new, read_options, room_for
from phlox.serving.openai._telling import of_completion
from phlox.serving.openai._writing import Said, Token

_USUAL = 16  # tokens, as the protocol has it
_MOST_BEST = 5
_MOST_PROMPTS = 128


async def completions(asked: Asked) -> Answer | Streamed:
    """The texts that a model writes on."""
    fields = await read_fields(asked)
    entry = find_language(asked, fields)
    with entry.version.used():
        language = entry.language
        prompts = await entry.version.in_thread(_prompts, fields, language)
        best, max_new = fields.whole("logprobs", 0, _MOST_BEST), read_max_new(fields, "max_tokens", default=None)
        options = read_options(fields, language.vocabulary, best=best, max_new=max_new)
        echo = _echo(fields, options)
        fields.refuse("suffix", "no suffix: texts go on, they are not filled in", "leave it out", "")
        fields.refuse("best_of", "as many texts as n says", "ask for n of them", 1, options.n)
        fields.refuse_others()
        order = _order(asked, entry, prompts, options)
    heads = [language.tokenizer.decode(list(text.prompt)) if echo else "" for text in order.texts]
    form = _Form(language, options, heads)
    answering = Answering("text_completion", "cmpl", order)
    return answering.parts(asked, form.opening(), form.part) if options.stream else await answering.whole(asked, form)


class _Form:
    """Choices as this address has them.

    Arguments:
        heads: what stands before each text: its prompt, where that is to be told too.
    """

    def __init__(self, language: LanguageModel, options: Options, heads: list[str]):
        self._tokenizer, self._best, self._heads = language.tokenizer, options.best, heads

    def __call__(self, number: int, whole: Whole) -> Mapping[str, Any]:
        text = self._heads[number] + whole.text
        return self._choice(number, text, whole.tokens, whole.finish, whole.stop)

    def opening(self) -> Iterator[Mapping[str, Any]]:
        """What stands before each text."""
        return (self._choice(number, head, [], None, None) for number, head in enumerate(self._heads) if head)

    def part(self, number: int, said: Said) -> Iterator[Mapping[str, Any]]:
        """More of a text."""
        yield self._choice(number, said.text, said.tokens, said.finish, said.stop)

    def _choice(self, number: int, text: str, tokens: Any, finish: str | None, stop: Any) -> Mapping[str, Any]:
        told = None if self._best is None else self._told(number, tokens)
        return {"index": number, "text": text, "logprobs": told, "finish_reason": finish, "stop_reason": stop}

    def _told(self, number: int, tokens: list[Token]) -> Mapping[str, Any]:
        return of_completion(self._tokenizer, tokens, self._best or 0, len(self._heads[number]))


def _order(asked: Asked, entry: Entry, prompts: list[list[int]], options: Options) -> Order:
    """What is to be written: n texts for each prompt, those of one prompt side by side."""
    language, seconds = entry.language, asked.seconds(asked.repository.limits.writing)
    texts = []
    for prompt in prompts:
        room = room_for(language, prompt, options, "prompt", _USUAL)
        for choice in range(options.n):
            text = options.asked(
                prompt, room, choice, ends=language.ends, client=asked.client, seconds=seconds, adapter=entry.adapter
            )
            texts.append(text)
    return Order(entry, texts, [len(prompt) for prompt in prompts], options.stop, True, options.usage)


def _prompts(fields: Fields, language: LanguageModel) -> list[list[int]]:
    """The prompts as tokens: a text or several, tokens or several lists of them."""
    told = fields.take("prompt")
    if isinstance(told, str):
        return [language.prompt(told)]
    if isinstance(told, list) and told and all(isinstance(x, int) for x in told):
        told = [told]
    if not isinstance(told, list) or not 0 < len(told) <= _MOST_PROMPTS:
        fix = "send a string, a list of strings, or tokens"
        raise refused("prompt", f"a text, or at most {_MOST_PROMPTS}", got=told, fix=fix)
    return [_prompt(one, language) for one in told]


def _prompt(told: Any, language: LanguageModel) -> list[int]:
    if isinstance(told, str):
        return language.prompt(told)
    return check_tokens(told, language.vocabulary, "prompt")


def check_tokens(told: Any, vocabulary: int, param: str) -> list[int]:
    """A list of tokens of a vocabulary.

    Raises:
        InvalidRequestError: something else.
    """
    whole = isinstance(told, list) and told and all(isinstance(n, int) and not isinstance(n, bool) for n in told)
    if not whole or not all(0 <= n < vocabulary for n in told):
        expected = f"text, or tokens from 0 to {vocabulary - 1}"
        raise refused(param, expected, got=told, fix="take the model's own tokenizer")
    return list(told)


def _echo(fields: Fields, options: Options) -> bool:
    """Whether the prompt stands before what is written; its log-probabilities are not computed."""
    echo = fields.flag("echo")
    if echo and options.best is not None:
        fix = "leave one of them out"
        raise refused("echo", "no logprobs beside it: those of a prompt are not told", got="both", fix=fix)
    return echo
