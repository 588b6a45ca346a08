"""Tokenizers are transformers': numbers, masks, types, padding, cutting, offsets, texts back, files both ways."""

import json
import pickle
import shutil

import numpy as np
import pytest

import phlox as px
from kit import oracle
from phlox.data.text import Tokenizer
from texts import KINDS, awkward, byte_pairs, word_pieces

transformers = oracle("transformers")
HALF = len(awkward()) // 2
ROWS, TIME = 1000, 16  # of batches that are masked, so that one program does for all


@pytest.fixture(scope="module")
def both():
    """Ours and theirs of each kind, made of the same."""
    fast = transformers.PreTrainedTokenizerFast
    return {
        kind: (Tokenizer(made(), **options), fast(tokenizer_object=made(), **options))
        for kind, (made, options) in KINDS.items()
    }


def agree(ours, theirs):
    """The same rows: numbers, mask and types."""
    np.testing.assert_array_equal(ours.tokens, theirs["input_ids"])
    np.testing.assert_array_equal(ours.mask, np.asarray(theirs["attention_mask"]) == 1)
    np.testing.assert_array_equal(ours.lengths, np.sum(theirs["attention_mask"], 1))
    if "token_type_ids" in theirs:
        np.testing.assert_array_equal(ours.types, theirs["token_type_ids"])


def theirs_of(tok, *texts, **options):
    return tok(*texts, return_token_type_ids=True, padding=options.pop("padding", True), **options)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", [None, "left", "right"])
def test_two_hundred_awkward_texts_are_transformers_tokens(both, kind, side):
    ours, theirs = both[kind]
    assert len(awkward()) == 200
    agree(ours(awkward(), side=side), theirs_of(theirs, awkward(), padding_side=side))


@pytest.mark.parametrize("kind", KINDS)
def test_pairs_are_transformers(both, kind):
    ours, theirs = both[kind]
    first, second = awkward()[:HALF], awkward()[HALF:]
    agree(ours(first, second), theirs_of(theirs, first, second))
    assert ours("one", "two").tokens.tolist() == [theirs("one", "two")["input_ids"]]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", ["left", "right"])
def test_long_texts_are_cut_as_transformers_cuts_them(both, kind, side, monkeypatch):
    ours, theirs = both[kind]
    monkeypatch.setattr(theirs, "truncation_side", side)
    kw = {"truncation": True, "padding_side": side}
    agree(ours(awkward(), length=7, side=side), theirs_of(theirs, awkward(), max_length=7, **kw))
    texts = [text[:20] + " and so on and so forth" for text in awkward()[::4]]
    first, second = texts[::2], texts[1::2]
    for name, strategy in (("longest_first", "longest_first"), ("first", "only_first"), ("second", "only_second")):
        length = max(len(row) for row in ours.encode(texts)) + 6 if name != "longest_first" else 12
        got = ours(first, second, length=length, truncate=name, side=side)
        agree(got, theirs_of(theirs, first, second, max_length=length, truncation=strategy, padding_side=side))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_padded_to(both, kind):
    ours, theirs = both[kind]
    texts = awkward()[:40]
    agree(
        ours(texts, length=32, pad="length"),
        theirs_of(theirs, texts, padding="max_length", truncation=True, max_length=32),
    )
    agree(ours(texts, length=32, pad=8), theirs_of(theirs, texts, truncation=True, max_length=32, pad_to_multiple_of=8))
    assert ours(["a", "b"], pad=(16, 32)).tokens.shape == (2, 16)
    assert ours(["a a " * 6, "b"], pad=(4, 32)).tokens.shape == (2, 32)
    assert ours(["a a " * 60, "b"], pad=48, length=50).tokens.shape == (2, 50)
    same = ours(["a", "a"], pad=False)
    assert same.mask.all()
    with pytest.raises(px.ShapeError, match=r"sequences of one length, as they are not padded, got \d … \d"):
        ours(["a", "a b c d"], pad=False)


@pytest.mark.parametrize("kind", KINDS)
def test_where_tokens_are_in_their_texts(both, kind):
    ours, theirs = both[kind]
    first, second = awkward()[:HALF], awkward()[HALF:]
    got = ours(first, second, offsets=True, side="right", length=40)
    want = theirs(
        first, second, return_offsets_mapping=True, padding=True, truncation=True, max_length=40, padding_side="right"
    )
    np.testing.assert_array_equal(got.offsets, want["offset_mapping"])
    for row in range(HALF):
        assert got.words[row].tolist() == [-1 if n is None else n for n in want.word_ids(row)]
        assert got.parts[row].tolist() == [-1 if n is None else n for n in want.sequence_ids(row)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("skip", [True, False])
def test_texts_come_back_as_transformers_gives_them(both, kind, skip):
    ours, theirs = both[kind]
    rows = ours(awkward())
    want = theirs.batch_decode(rows.tokens.tolist(), skip_special_tokens=skip)
    assert ours.decode(rows.tokens, skip) == want
    assert [ours.decode(row.tolist(), skip) for row in rows.tokens] == want
    assert ours.decode([len(ours) + 5]) == theirs.decode([len(ours) + 5]) == ""


def test_byte_pairs_lose_nothing(both):
    ours = both["byte pairs"][0]
    assert ours.decode(ours.encode(awkward()), skip_special=False) == awkward()


def test_spaces_before_punctuation_go_where_that_is_asked_for():
    text = "he 's here , is n't he ? they 're ' there ' ! i 'm i 've ."
    tok = Tokenizer(word_pieces(), unk_token="[UNK]", clean_up_tokenization_spaces=True)
    assert tok._library.decode(tok.encode(text)) != tok.decode(tok.encode(text))
    theirs = transformers.PreTrainedTokenizerFast(
        tokenizer_object=word_pieces(), unk_token="[UNK]", clean_up_tokenization_spaces=True
    )
    assert tok.decode(tok.encode(text)) == theirs.decode(theirs.encode(text), skip_special_tokens=True)
    tok = Tokenizer(byte_pairs(), clean_up_tokenization_spaces=True)
    assert tok.decode(tok.encode("a , b .")) == "a , b ."  # BPE tells exactly where spaces were


@pytest.mark.parametrize("bos", [None, True, False])
@pytest.mark.parametrize("eos", [None, True])
def test_tokens_at_the_ends_by_option(bos, eos):
    options = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>"}
    options |= {name: given for name, given in (("add_bos_token", bos), ("add_eos_token", eos)) if given is not None}
    ours = Tokenizer(byte_pairs(), **options)
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_object=byte_pairs(), **options)
    agree(ours(["one", "two three"], ["x", "y"]), theirs_of(theirs, ["one", "two three"], ["x", "y"]))
    assert ours.special == {"bos": "<s>", "eos": "</s>", "pad": "</s>"}
    assert ours.bos_id == theirs.bos_token_id == 500


def test_words_that_are_split_already(both):
    ours, theirs = both["word pieces"]
    words = [["Once", "upon"], ["a", "midnight", "dreary"]]
    agree(ours(words, split=True), theirs_of(theirs, words, is_split_into_words=True))
    got = ours(words, split=True, offsets=True).words.tolist()
    assert got == [[-1 if n is None else n for n in theirs(words, is_split_into_words=True, padding=True).word_ids(i)]
                   for i in range(2)]  # fmt: skip
    assert ours(["one", "word"], split=True).tokens.shape[0] == 1


# --- files ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_saved_is_what_transformers_reads_and_back(both, kind, tmp_path):
    ours, theirs = both[kind]
    ours.save(tmp_path / "ours")
    read = transformers.PreTrainedTokenizerFast.from_pretrained(tmp_path / "ours")
    assert read.special_tokens_map == theirs.special_tokens_map
    agree(ours(awkward()), theirs_of(read, awkward()))
    rows = ours(awkward()).tokens
    assert read.batch_decode(rows, skip_special_tokens=True) == ours.decode(rows)
    theirs.save_pretrained(tmp_path / "theirs")
    back = Tokenizer.load(tmp_path / "theirs")
    assert back.special == ours.special
    agree(back(awkward()), theirs_of(theirs, awkward()))
    assert back.decode(rows) == ours.decode(rows)
    again = Tokenizer.load(tmp_path / "ours")
    again.save(tmp_path / "again")
    for file in (tmp_path / "ours").iterdir():
        assert file.read_text("utf-8") == (tmp_path / "again" / file.name).read_text("utf-8"), file.name


@pytest.mark.soak
def test_saved_is_what_auto_tokenizer_finds(both, tmp_path):
    for kind, (ours, theirs) in both.items():
        ours.save(tmp_path / kind)
        found = transformers.AutoTokenizer.from_pretrained(tmp_path / kind)  # to import all its classes takes long
        assert type(found) is type(theirs)
        agree(ours(awkward()), theirs_of(found, awkward()))


def test_a_file_alone_says_how_it_pads_itself(tmp_path):
    made = pickle.loads(pickle.dumps(word_pieces()))
    made.enable_padding(direction="left", pad_id=0, pad_token="[PAD]")
    made.enable_truncation(6, direction="left")
    made.save(str(tmp_path / "tokenizer.json"))
    ours = Tokenizer.load(tmp_path / "tokenizer.json")
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"))
    texts = ["one", "several words in a row that are many"]
    agree(ours(texts), theirs_of(theirs, texts))
    agree(ours(texts, length=5), theirs_of(theirs, texts, truncation=True, max_length=5))
    assert not ours(texts).mask[0, 0]
    same = Tokenizer(made)  # which says it as well
    agree(same(texts, length=5), theirs_of(theirs, texts, truncation=True, max_length=5))


def test_what_the_files_say_is_kept(tmp_path):
    """A config of older form: added tokens with their flags, a map of special tokens, tokens at the ends unheard."""
    word_pieces().save(str(tmp_path / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 9, "padding_side": "left",
              "add_bos_token": True, "bos_token": "[CLS]", "truncation_side": "left",
              "additional_special_tokens": ["<extra>"]}  # fmt: skip
    special = {
        "pad_token": "[PAD]", "unk_token": "[UNK]",
        "mask_token": {"content": "<hidden>", "lstrip": True, "rstrip": False, "normalized": True},
    }  # fmt: skip
    added = {"<plain>": 501, "<hidden>": 500, "<extra>": 502}
    for name, entries in (("tokenizer_config", config), ("special_tokens_map", special), ("added_tokens", added)):
        (tmp_path / f"{name}.json").write_text(json.dumps(entries))
    ours, theirs = Tokenizer.load(tmp_path), transformers.PreTrainedTokenizerFast.from_pretrained(tmp_path)
    texts = [
        "a <hidden> b <plain>c<extra>",
        "<PLAIN> and  <hidden>",
        "one two three four five six seven eight nine ten",
    ]
    agree(ours(texts), theirs_of(theirs, texts, truncation=True))
    assert ours.vocab == theirs.get_vocab()
    assert ours.decode(ours(texts).tokens) == theirs.batch_decode(ours(texts).tokens, skip_special_tokens=True)
    assert (ours.max_length, ours.mask_id, len(ours)) == (9, theirs.mask_token_id, len(theirs))
    ours.save(tmp_path / "again")
    assert Tokenizer.load(tmp_path / "again").encode(texts) == ours.encode(texts)


def test_tokens_by_number_in_the_config(tmp_path):
    word_pieces().save(str(tmp_path / "tokenizer.json"))
    flags = {"lstrip": True, "rstrip": True, "normalized": False, "single_word": False, "special": True}
    config = {"added_tokens_decoder": {"500": {"content": "<image>", **flags}, "4": {"content": "[MASK]", **flags}},
              "mask_token": "[MASK]", "image_token": "<image>", "pad_token": "[PAD]"}  # fmt: skip
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    (tmp_path / "special_tokens_map.json").write_text(json.dumps({"pad_token": "unheard"}))
    ours, theirs = Tokenizer.load(tmp_path), transformers.PreTrainedTokenizerFast.from_pretrained(tmp_path)
    texts = ["an <image> of   [MASK] here", "[MASK]"]
    agree(ours(texts), theirs_of(theirs, texts))
    assert ours.id_of("image") == 500
    assert ours.special_ids == tuple(sorted(theirs.added_tokens_decoder))


@pytest.mark.parametrize("lower", [True, False])
def test_a_vocabulary_of_bert_alone(tmp_path, lower):
    order = sorted(word_pieces().get_vocab().items(), key=lambda pair: pair[1])
    (tmp_path / "vocab.txt").write_text("\n".join(token for token, _ in order) + "\n", "utf-8")
    config = {"do_lower_case": lower, "tokenizer_class": "BertTokenizer", "model_max_length": 50}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    ours, theirs = Tokenizer.load(tmp_path), transformers.BertTokenizer.from_pretrained(tmp_path)
    agree(ours(awkward()), theirs_of(theirs, awkward(), truncation=True))
    agree(ours(awkward()[:9], awkward()[9:18]), theirs_of(theirs, awkward()[:9], awkward()[9:18], truncation=True))
    assert {f"{name}_token": token for name, token in ours.special.items()} == theirs.special_tokens_map
    rows = ours(awkward()).tokens
    assert ours.decode(rows) == theirs.batch_decode(rows, skip_special_tokens=True)


@pytest.mark.parametrize("kind", ["GPT2", "Roberta"])
def test_a_vocabulary_of_byte_pairs_alone(tmp_path, kind):
    state = json.loads(byte_pairs().to_str())["model"]
    vocabulary = dict(state["vocab"])
    if kind == "Roberta":
        for token in ("<s>", "</s>", "<unk>", "<pad>", "<mask>"):
            vocabulary[token] = len(vocabulary)
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary))
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in state["merges"]]
    (tmp_path / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), "utf-8")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"pad_token": "<pad>"}))
    ours = Tokenizer.load(tmp_path)  # which of both it is, its vocabulary tells
    theirs = getattr(transformers, f"{kind}Tokenizer").from_pretrained(tmp_path)
    agree(ours(awkward()), theirs_of(theirs, awkward()))
    agree(ours(awkward()[:9], awkward()[9:18]), theirs_of(theirs, awkward()[:9], awkward()[9:18]))
    rows = ours(awkward()).tokens
    assert ours.decode(rows) == theirs.batch_decode(rows, skip_special_tokens=True)
    assert (ours.eos_id, ours.unk_id) == (theirs.eos_token_id, theirs.unk_token_id)


# --- what else it does ------------------------------------------------------------------------------


def test_it_is_pickled_and_repeats_itself(both):
    for ours, _ in both.values():
        copy = pickle.loads(pickle.dumps(ours))
        assert repr(copy) == repr(ours)
        np.testing.assert_array_equal(copy(awkward(), length=9).tokens, ours(awkward(), length=9).tokens)
        assert ours.encode(awkward()) == copy.encode(awkward())
        assert max(map(len, ours.encode(awkward()))) > 40  # not cut: the length before is forgotten
    assert repr(both["byte pairs"][0]) == (
        "Tokenizer(BPE, 501 tokens, pad='<|pad|>', bos='<|endoftext|>', eos='<|endoftext|>')"
    )


def test_the_library_s_own_object_is_left_alone():
    made = byte_pairs()
    before = made.to_str()
    Tokenizer(made, pad_token="<new>", add_bos_token=True, bos_token="<bos>")(["a"], length=1, truncate=True)
    assert made.to_str() == before


def test_whole_words_are_masked(both):
    """Words of several tokens go together: chosen by word, hidden token by token."""
    ours = both["word pieces"][0]
    texts = [text for text in awkward() if text.isascii() and len(text) > 5]
    batch = ours((texts * 20)[:ROWS], offsets=True, length=TIME, pad="length")
    mask = ours.token_mask(0.5, key=3)
    inputs, targets = mask(batch.tokens, words=batch.words)
    chosen = np.asarray(targets) != -100
    assert not chosen[batch.words < 0].any()
    np.testing.assert_array_equal(np.asarray(targets)[chosen], batch.tokens[chosen])
    follows = (batch.words[:, 1:] == batch.words[:, :-1]) & (batch.words[:, 1:] >= 0)
    assert follows.sum() > 1000
    assert (chosen[:, 1:] == chosen[:, :-1])[follows].all()
    begins = (batch.words >= 0) & (np.diff(batch.words, prepend=-1, axis=1) != 0)
    assert 0.45 < chosen[begins].mean() < 0.55
    assert 0.75 < (np.asarray(inputs)[chosen] == ours.mask_id).mean() < 0.85
    np.testing.assert_array_equal(ours.token_mask(0.5, key=3)(batch.tokens, words=batch.words)[0], inputs)


def test_the_second_text_of_a_pair_is_masked_by_itself(both):
    ours = both["word pieces"][0]
    batch = ours(["one two"] * ROWS, ["one two"] * ROWS, offsets=True, length=TIME, pad="length")
    _, targets = ours.token_mask(0.5, key=3)(batch.tokens, words=batch.words)
    chosen = np.asarray(targets) != -100
    first = [chosen[:, batch.parts[0] == part][:, 0] for part in (0, 1)]
    assert abs(np.mean(first[0] == first[1]) - 0.5) < 0.1


# --- what it refuses --------------------------------------------------------------------------------

WRONG = [
    (lambda t: t(b"bytes"), px.StructureError, r"texts, got bytes \(text 0\)\n  fix: decode bytes"),
    (lambda t: t([["one"]]), px.StructureError, r"texts, got list \(text 0\)"),
    (lambda t: t(["a", None]), px.StructureError, r"texts, got None \(text 1\)"),
    (lambda t: t([]), px.ShapeError, r"at least one text, got none"),
    (lambda t: t(["a"], ["b", "c"]), px.ShapeError, r"as many second texts as texts, got 1 and 2"),
    (lambda t: t(["a"], length=1), px.RangeError, r"a length of at least 2, got 1\n  fix: raise length"),
    (lambda t: t(["a b c"], length=3, truncate=False), px.RangeError, r"sequences of at most 3, got 5 \(sequence 0\)"),
    (lambda t: t(["a"], ["b " * 50], length=9, truncate="first"), px.RangeError, r"that can be cut to 9, got Trunc"),
    (lambda t: t(["a"], side="top"), px.RangeError, r"side to be \"left\" or \"right\", got 'top'"),
    (lambda t: t(["a"], truncate="both"), px.RangeError, r"a way to cut pairs, got 'both'"),
    (lambda t: t(["a"], pad="max"), px.StructureError, r"what to pad to: \"longest\" or \"length\", got 'max'"),
    (lambda t: t(["a"], pad="length"), px.RangeError, r"a length to pad to, got no length"),
    (lambda t: t(["a b c d e f"], pad=(2, 4)), px.RangeError, r"sequences of at most 4, got 8"),
    (lambda t: t(["a"], pad=(4, 2)), px.RangeError, r"lengths as increasing whole numbers, got \(4, 2\)"),
    (lambda t: t(["a"], padding=True), px.OptionError, r"padding"),
    (lambda t: t("\ud800"), px.StructureError, r"texts of whole characters, got half of a surrogate pair"),
    (lambda t: t.decode([-100]), px.RangeError, r"numbers from 0, got -100"),
    (lambda t: t.decode([0.5]), px.DtypeError, r"whole numbers, got float64\[1\]"),
    (lambda t: t.decode(np.zeros((1, 1, 1), int)), px.ShapeError, r"numbers of one text"),
    (lambda t: t.batch_decode, px.UnknownNameError, r"got \.batch_decode\n  fix: write tok\.decode\(rows\)"),
    (lambda t: t.pad_token_id, px.UnknownNameError, r"read tok\.pad_id"),
    (lambda t: Tokenizer("words"), px.StructureError, r"a tokenizer of the library tokenizers, got 'words'"),
    (lambda t: Tokenizer(byte_pairs(), padding_side="up"), px.RangeError, r"padding_side to be \"left\" or \"right\""),
    (lambda t: Tokenizer(byte_pairs())(["a", "a b c"]), px.StructureError, r"a pad token to fill up with, got none"),
    (lambda t: Tokenizer(byte_pairs()).token_mask(), px.StructureError, r"a mask token, got none"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "kind", "text"), WRONG)
def test_what_cannot_be_is_refused(both, call, kind, text):
    with pytest.raises(kind, match=text):
        call(both["word pieces"][0])


def test_folders_that_hold_no_tokenizer(tmp_path):
    with pytest.raises(px.weights.MissingFileError, match=r"a folder or a tokenizer\.json, got nothing there"):
        Tokenizer.load(tmp_path / "nowhere")
    with pytest.raises(px.weights.MissingFileError, match=r"or vocab\.json with merges\.txt, got an empty folder"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer.model").write_bytes(b"\n\x0e")
    with pytest.raises(
        px.weights.MissingFileError, match=r"tokenizer\.model alone, which SentencePiece reads\n  fix: t"
    ):
        Tokenizer.load(tmp_path)
    (tmp_path / "vocab.txt").write_text("a\nb\n")
    with pytest.raises(px.weights.CorruptFileError, match=r"\[CLS\] and \[SEP\] in vocab\.txt, got 2 others"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "CanineTokenizer"}')
    with pytest.raises(px.StructureError, match=r"vocab\.txt of one of Bert, .*, got those of Canine"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(px.weights.CorruptFileError, match=r"to be JSON, got Expecting"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(px.weights.CorruptFileError, match=r"as tokenizers writes it"):
        Tokenizer.load(tmp_path)


def test_files_of_byte_pairs_without_their_ends(tmp_path):
    (tmp_path / "vocab.json").write_text('{"a": 0, "<s>": 1}')
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    config = {"tokenizer_class": "RobertaTokenizer", "padding_side": None}  # None, as where it is not given
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(px.weights.CorruptFileError, match=r"<s> and </s> in vocab\.json, got 2 others"):
        Tokenizer.load(tmp_path)
    (tmp_path / "vocab.json").write_text('{"a": 0, "<s>": 1, "</s>": 2}')
    assert Tokenizer.load(tmp_path).padding_side == "right"


def test_a_folder_that_cannot_be_written(both, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(px.weights.FileError, match=r"file"):
        both["unigram"][0].save(tmp_path / "file")
    shutil.rmtree(tmp_path)


def test_without_the_library_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
    with pytest.raises(
        px.MissingExtraError,
        match=r'the library tokenizers, got it is not installed\n  fix: pip install "phlox\[text\]"',
    ):
        Tokenizer(byte_pairs)
