"""A text on its way: strings that end it, calls in it, tokens with their log-probabilities; however it is cut."""

import asyncio
import itertools
import json

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kit import oracle
from phlox.serving._errors import DeadlineError
from phlox.serving.language._asked import Asked, Piece
from phlox.serving.openai._calling import Call, CallReader
from phlox.serving.openai._stopping import StopStrings
from phlox.serving.openai._writing import Writing

oracle("tokenizers")
oracle("jinja2")
oracle("uvicorn")
from serving.openai.small import language, tokenizer  # noqa: E402 - what it needs is looked for first


def cut(text, places):
    """A text in pieces."""
    marks = sorted({n % (len(text) + 1) for n in places} | {0, len(text)})
    return [text[a:b] for a, b in itertools.pairwise(marks)]


texts = st.text("ab<", max_size=14)
stops = st.lists(st.text("ab<", min_size=1, max_size=4), max_size=3)


def first_stop(text, stops):
    """What stands before the string that is complete first, the longest of these; all of it where there is none."""
    for end in range(len(text) + 1):
        found = [stop for stop in stops if text[:end].endswith(stop)]
        if found:
            longest = max(found, key=len)
            return text[: end - len(longest)], longest
    return text, None


@settings(max_examples=300, deadline=None, derandomize=True)
@given(texts, stops, st.lists(st.integers(0, 30), max_size=6))
@example("ab", ["b", "a"], [])
@example("bab<", ["ab<", "b<"], [])
@example("bab<", ["b<", "ab<"], [])
def test_a_string_ends_a_text_however_it_is_cut(text, stops, places):
    reader = StopStrings(stops)
    said = ""
    for piece in cut(text, places):
        said += reader.add(piece)
        want, found = first_stop(text, stops)
        assert want.startswith(said)  # nothing is said that would have to be taken back
    said += "" if reader.found else reader.rest()
    assert (said, reader.found) == (want, found) if text else said == ""


def test_what_cannot_be_the_beginning_of_a_string_does_not_wait():
    reader = StopStrings(["aab", "cd"])
    assert [reader.add(c) for c in "xaaaxc"] == ["x", "", "", "a", "aax", ""]
    assert reader.rest() == "c"


TAGGED = (
    'Well. <tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>\n'
    '<tool_call>\n{"name": "sub", "arguments": "{\\"b\\": 2}"}\n</tool_call>'
)
CALLS = [
    (TAGGED, "Well. ", [Call("add", '{"a": 1}'), Call("sub", '{"b": 2}')]),
    ('{"name": "add", "parameters": {"a": "ü"}}', "", [Call("add", '{"a": "ü"}')]),
    ('<|python_tag|>{"name": "add", "parameters": {}}; {"name": "sub"}', "", [Call("add", "{}"), Call("sub", "{}")]),
    ('[{"name": "add"}]', '[{"name": "add"}]', []),
    ('<tool_call>[{"name": "add"}, {"name": "sub"}]</tool_call>', "", [Call("add", "{}"), Call("sub", "{}")]),
    ('{"name": "mul", "arguments": {}}', '{"name": "mul", "arguments": {}}', []),
    ('{"name": "add", "arguments": [1]}', '{"name": "add", "arguments": [1]}', []),
    ('{"name": "add", "arguments": "{"}', '{"name": "add", "arguments": "{"}', []),
    ('{"name": "add"} and more', '{"name": "add"} and more', []),
    ("a <tool_call>no</tool_call> b", "a <tool_call>no</tool_call> b", []),
    ('<tool_call>{"name": "add"}', "", [Call("add", "{}")]),
    ('<tool_call>{"name": "ad', '<tool_call>{"name": "ad', []),
    ("a < b <tool", "a < b <tool", []),
    ("  \n", "  \n", []),
    ("<|pyth", "<|pyth", []),
]  # fmt: skip


@pytest.mark.parametrize(("text", "want", "calls"), CALLS)
@settings(max_examples=12, deadline=None, derandomize=True)
@given(places=st.lists(st.integers(0, 200), max_size=8))
def test_calls_are_found_however_their_text_is_cut(text, want, calls, places):
    reader = CallReader(["add", "sub"])
    found = [reader.add(piece) for piece in cut(text, places)] + [reader.rest()]
    assert "".join(said for said, _ in found) == want
    assert [call for _, several in found for call in several] == calls


def test_text_without_a_call_is_not_kept_waiting():
    reader = CallReader(["add"])
    assert [reader.add(c)[0] for c in (" ", "a", "<", "b", "<tool_", "x")] == ["", " a", "", "<b", "", "<tool_x"]


def written(text, *, stops=(), logprobs=0, before=(), **options):
    """What a text that an engine writes is said as, in its parts."""
    served = language(text)
    asked = Asked(prompt=(1,), max_new=options.pop("max_new", 99), stop=((tokenizer().eos_id,),), logprobs=logprobs)
    writing = Writing(served, asked, stops, before)
    return writing, [writing.take(piece) for piece in writing._running.left]


def test_tokens_come_with_the_text_that_they_are_made_of():
    text = "Hello wörld € the end"
    tok = tokenizer()
    writing, said = written(text)
    assert "".join(one.text for one in said) == text
    assert said[-1].finish == "stop"
    tokens = [token for one in said for token in one.tokens]
    assert [token.piece.token for token in tokens] == tok.encode(text, special=False)  # not the one that ended it
    assert writing.count == len(tokens) + 1
    at = 0
    for one in said:  # each token begins where the text stood, and none is told before its text
        assert all(token.start >= at - 1 for token in one.tokens)
        at += len(one.text)
        assert all(token.start <= at for token in one.tokens)
    data = b"".join(tok.token_bytes([token.piece.token for token in tokens]))
    for token, start in zip(tokens, np.cumsum([0, *(len(b) for b in tok.token_bytes(tok.encode(text)))]), strict=False):
        assert token.start == len(data[:start].decode("utf-8", "ignore"))


def test_tokens_of_a_string_that_ends_the_text_are_none_of_it():
    tok = tokenizer()
    text = "one two STOP three"
    for stop in ("STOP", "o STO", "wo", "one two STOP three"):
        _, said = written(text, stops=[stop])
        last = next(n for n, one in enumerate(said) if one.finish)
        want = text[: text.index(stop)]
        assert "".join(one.text for one in said[: last + 1]) == want
        assert said[last].stop == stop
        tokens = [token.piece.token for one in said[: last + 1] for token in one.tokens]
        pieces = [tok.decode([n]) for n in tok.encode(text, special=False)]
        starts = np.cumsum([0, *map(len, pieces)])[:-1]
        assert tokens == [n for n, at in zip(tok.encode(text), starts, strict=True) if at < len(want)]


def test_a_text_that_a_string_ends_is_written_no_further():
    served = language("one STOP two")
    writing = Writing(served, Asked(prompt=(1,), max_new=99), ["STOP"])

    async def read():
        return [said.text async for said in writing]

    assert "".join(asyncio.run(read())) == "one "
    [running] = served.engine.running
    assert running.cancelled.is_set()
    assert running.read < len(running.left)


def test_a_text_that_is_cut_off_gives_what_waited():
    _, said = written("some ST", stops=["STOP"], max_new=len(tokenizer().encode("some ST")))
    assert ("".join(one.text for one in said), said[-1].finish, said[-1].stop) == ("some ST", "length", None)
    half = tokenizer().encode("€", special=False)[:2]
    _, said = written(half, max_new=2)
    assert "".join(one.text for one in said) == "�"


def test_an_end_that_is_no_special_token_is_no_text_and_time_that_is_over_an_error():
    end = tokenizer().encode("!", special=False)[0]
    served = language([7, end])
    writing = Writing(served, Asked(prompt=(1,), max_new=9, stop=((end,),)), ())
    said = [writing.take(piece) for piece in writing._running.left]
    assert (said[-1].text, said[-1].finish, said[-1].stop) == ("", "stop", end)
    with pytest.raises(DeadlineError, match="in its time, got 2 tokens by then"):
        writing.take(Piece(-1, finish="cancelled"))


def test_forced_calls_have_a_grammar_in_the_models_form():
    from phlox.serving.openai._tools import Tools, style_of

    one = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
    two = {"type": "function", "function": {"name": "sub"}}
    tagged = Tools((one, two), "required").grammar(style_of("… <tool_call> …"))
    assert tagged.startswith('start: "<tool_call>\\n" call "\\n</tool_call>"')
    schema = json.loads(tagged.partition("%json ")[2])
    assert [s["properties"]["name"] for s in schema["anyOf"]] == [{"const": "add"}, {"const": "sub"}]
    plain = Tools((one, two), "sub").grammar(style_of("{{ x }}"))
    assert json.loads(plain.partition("%json ")[2])["required"] == ["name", "parameters"]
