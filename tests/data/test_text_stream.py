"""Texts of tokens while they come: the same as at once, whole characters only; and the bytes of tokens."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import phlox as px
from kit import oracle
from texts import awkward, byte_pairs, unigram, word_pieces

tokenizers = oracle("tokenizers")


def fallback():
    """Pieces as Llama's: blanks as ▁, one left out at the beginning, what is not in the vocabulary as bytes."""
    words = ["<unk>", "<s>", "</s>", *(f"<0x{n:02X}>" for n in range(256)), "▁", "a", "b", "▁a", "▁b", "ab"]
    made = tokenizers.Tokenizer(
        tokenizers.models.BPE(
            {word: n for n, word in enumerate(words)}, [("▁", "a"), ("▁", "b"), ("a", "b")], byte_fallback=True,
            unk_token="<unk>", fuse_unk=True,
        )
    )  # fmt: skip
    n, d = tokenizers.normalizers, tokenizers.decoders
    made.normalizer = n.Sequence([n.Prepend("▁"), n.Replace(" ", "▁")])
    made.decoder = d.Sequence([d.Replace("▁", " "), d.ByteFallback(), d.Fuse(), d.Strip(" ", 1, 0)])
    return px.data.text.Tokenizer(made, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


KINDS = {
    "byte-level": lambda: px.data.text.Tokenizer(byte_pairs(), eos_token="<|endoftext|>"),
    "bytes beside": fallback,
    "unigram": lambda: px.data.text.Tokenizer(unigram(), eos_token="</s>"),
    "word pieces": lambda: px.data.text.Tokenizer(word_pieces(), unk_token="[UNK]"),
}


@pytest.fixture(scope="module", params=KINDS)
def tok(request):
    return KINDS[request.param]()


def test_pieces_together_are_the_text_and_hold_whole_characters(tok):
    for text in awkward():
        tokens = tok.encode(text, special=False)
        stream = px.data.text.TextStream(tok)
        pieces = [stream.add(token) for token in tokens]
        assert "".join(pieces) + stream.rest() == tok.decode(tokens)
        assert "�" in text or not any("�" in piece for piece in pieces)


def test_special_tokens_between_give_nothing_and_lose_no_blank(tok):
    words = [n for n in tok.encode("a b a b a b", special=False) for _ in (0, 1)]
    special = tok.special_ids[-1]
    words[1::2] = [special] * len(words[1::2])
    stream = px.data.text.TextStream(tok)
    assert "".join(map(stream.add, words)) + stream.rest() == tok.decode(words)


def test_a_text_that_goes_on_keeps_its_first_blank():
    tok = fallback()
    before, more = tok.encode("a b", special=False), tok.encode("b", special=False)
    alone, beside = px.data.text.TextStream(tok), px.data.text.TextStream(tok, before)
    assert [alone.add(more[0]), beside.add(more[0])] == ["b", " b"]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="�"), max_size=40))
def test_characters_of_several_tokens_come_whole(text):
    tok = fallback()
    stream = px.data.text.TextStream(tok)
    pieces = [stream.add(3 + byte) for byte in text.encode()]
    assert "".join(pieces) == text.removeprefix(" ")
    assert stream.rest() == ""
    assert sum(map(bool, pieces)) == len(text.removeprefix(" "))


def test_halves_of_characters_wait_and_what_never_becomes_one_is_shown():
    tok = fallback()
    stream = px.data.text.TextStream(tok)
    assert [stream.add(3 + byte) for byte in "€".encode()] == ["", "", "€"]
    assert [stream.add(3 + 0xE2), stream.add(3 + 0x82)] == ["", ""]
    assert stream.rest() == "��"
    endless = px.data.text.TextStream(tok)
    shown = [endless.add(3 + 0xFF) for _ in range(200)]
    assert 0 < shown.index("�" * 65) < 200
    assert len("".join(shown)) > 100


def test_bytes_of_tokens_together_are_the_text():
    level, beside = KINDS["byte-level"](), fallback()
    for text in awkward():
        assert b"".join(level.token_bytes(level.encode(text, special=False))).decode() == text
        if text and not set("<▁") & set(text):  # added tokens part a text; ▁ is as good as a blank
            assert b"".join(beside.token_bytes(beside.encode(text, special=False))).decode() == f" {text}"
    assert level.token_bytes([level.eos_id, len(level) + 5]) == [b"<|endoftext|>", b""]
    pieces = px.data.text.Tokenizer(word_pieces(), unk_token="[UNK]")
    tokens = pieces.encode("zarguments", special=False)
    assert b"".join(pieces.token_bytes(tokens)) == b" zarguments"
    assert len(tokens) > 1


def test_the_end_of_a_turn_is_a_token_or_its_text():
    tagged = "{% for m in messages %}<{{ m.role }}>{{ m.content }}<|endoftext|>\n{% endfor %}"
    made = px.data.text.Tokenizer(byte_pairs(), eos_token="<|endoftext|>", chat_template=tagged)
    assert px.data.text.end_of_turn(made) == [made.eos_id]
    plain = px.data.text.Tokenizer(byte_pairs(), chat_template=tagged.replace("<|endoftext|>", "[end]"))
    assert plain.decode(px.data.text.end_of_turn(plain)) == "[end]"
    assert px.data.text.has_template(plain)
    assert not px.data.text.has_template(fallback())
