"""Padding, packing, targets and collating: nothing is lost, nothing is seen twice, few shapes."""

import itertools

import jax
import numpy as np
import pytest

import phlox as px
from phlox.data import text
from texts import documents, word_pieces

RNG = np.random.default_rng(0)
DOCUMENTS = [RNG.integers(1, 1000, n).tolist() for n in RNG.integers(0, 40, 200)]
LENGTH = 24


# --- padding ----------------------------------------------------------------------------------------


def test_padding_on_both_sides():
    rows, mask = text.pad([[1, 2, 3], [], [4]], value=-1)
    assert rows.tolist() == [[1, 2, 3], [-1, -1, -1], [4, -1, -1]]
    assert mask.tolist() == [[True] * 3, [False] * 3, [True, False, False]]
    rows, mask = text.pad([[1, 2, 3], [], [4]], value=-1, side="left")
    assert rows.tolist() == [[1, 2, 3], [-1, -1, -1], [-1, -1, 4]]
    assert mask.tolist() == [[True] * 3, [False] * 3, [False, False, True]]
    assert rows.dtype == np.int32
    assert text.pad([np.float32([0.5])], length=3, to="length")[0].tolist() == [[0.5, 0, 0]]
    assert text.pad([np.float32([0.5])])[0].dtype == np.float32
    assert [text.pad([[1] * n], to=(4, 8))[0].shape[1] for n in (0, 4, 5, 8)] == [4, 4, 8, 8]
    assert [text.pad([[1] * n], to=4)[0].shape[1] for n in (0, 4, 5, 8)] == [0, 4, 8, 8]


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: text.pad([]), px.ShapeError, r"sequences of numbers, got none"),
        (lambda: text.pad([[[1]]]), px.ShapeError, r"sequences of numbers, got int"),
        (lambda: text.pad([[1], [1, 2]], length=1), px.RangeError, r"sequences of at most 1, got 2 \(sequence 1\)"),
        (lambda: text.pad([[1]], side="up"), px.RangeError, r'side to be "left" or "right", got \'up\''),
        (lambda: text.pad([[1]], to=0), px.RangeError, r"the multiple to pad to to be a whole number"),
        (lambda: text.pad([[1]], to=()), px.RangeError, r"lengths as increasing whole numbers, got \(\)"),
    ],
)
def test_what_cannot_be_padded(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


# --- packing ----------------------------------------------------------------------------------------


def pieces_of(rows):
    """The pieces in each row, and a check of all that is around them."""
    found = []
    for tokens, segments, positions in zip(rows.tokens, rows.segments, rows.positions, strict=True):
        filled = segments > 0
        assert (np.diff(segments[filled]) >= 0).all()
        assert filled[: filled.sum()].all()  # nothing but padding behind the first padding
        assert (tokens[~filled] == -7).all()
        assert (positions[~filled] == 0).all()
        row = [tokens[segments == n].tolist() for n in range(1, segments.max() + 1)]
        assert all(row)
        assert positions[filled].tolist() == [p for piece in row for p in range(len(piece))]
        found.append(row)
    return found


def first_fit(sizes, length):
    """By the book: look at every row from the first one on."""
    rows = []
    for size in sizes:
        row = next((row for row in rows if sum(row) + size <= length), None)
        if row is None:
            rows.append(row := [])
        row.append(size)
    return rows


def test_first_fit_is_by_the_book():
    short = [document for document in DOCUMENTS if 0 < len(document) <= LENGTH]
    rows = pieces_of(text.pack(short, LENGTH, value=-7))
    assert [[len(piece) for piece in row] for row in rows] == first_fit([len(d) for d in short], LENGTH)
    assert sorted(piece for row in rows for piece in row) == sorted(short)  # nothing lost, nothing twice
    least = sum(map(len, short)) / LENGTH
    assert len(rows) <= 1.7 * least + 1  # Johnson's bound


def test_documents_in_their_order():
    short = [document for document in DOCUMENTS if 0 < len(document) <= LENGTH]
    rows = pieces_of(text.pack(short, LENGTH, fit="next", value=-7))
    assert [piece for row in rows for piece in row] == short
    assert all(sum(map(len, a)) + len(b[0]) > LENGTH for a, b in itertools.pairwise(rows))


def test_every_row_is_full_where_documents_are_cut():
    rows = text.pack(DOCUMENTS, LENGTH, fit="cut", value=-7)
    pieces_of(rows)
    assert rows.tokens.ravel()[rows.segments.ravel() > 0].tolist() == [t for d in DOCUMENTS for t in d]
    assert (rows.segments[:-1] > 0).all()
    ends = set(np.cumsum([len(d) for d in DOCUMENTS]).tolist())
    starts = np.flatnonzero((rows.positions.ravel() == 0) & (rows.segments.ravel() > 0))
    assert {int(start) for start in starts} == {0, *ends, *range(0, max(ends), LENGTH)} - {max(ends)}


@pytest.mark.parametrize("fit", ["first", "next"])
def test_long_documents_are_split(fit):
    rows = pieces_of(text.pack([[1] * 7, [2] * 3, list(range(10, 62))], LENGTH, fit=fit, value=-7))
    parts = [piece for row in rows for piece in row if piece[0] >= 10]
    assert sorted(map(len, parts)) == [4, 24, 24]
    assert sorted(t for piece in parts for t in piece) == list(range(10, 62))
    with pytest.raises(
        px.RangeError, match=r"documents of at most 24 tokens, got 52 \(document 1\)\n  fix: cut it, or"
    ):
        text.pack([[1], list(range(52))], LENGTH, long="refuse")


@pytest.mark.parametrize("fit", ["first", "next", "cut"])
def test_a_stream_packs_as_a_list_does(fit):
    """All rows open, the same pieces lie together; rows come when they are full."""
    stream = text.PackedStream(DOCUMENTS, LENGTH, fit=fit, value=-7, open=1000)
    rows = list(stream)
    whole = text.pack(DOCUMENTS, LENGTH, fit=fit, value=-7)
    assert sorted(row.tokens.tolist() for row in rows) == sorted(whole.tokens.tolist())
    if fit != "first":
        np.testing.assert_array_equal(np.stack([row.tokens for row in rows]), whole.tokens)
    assert [row.tokens.tolist() for row in stream] == [row.tokens.tolist() for row in rows]  # each pass anew
    few = text.PackedStream(lambda: iter(DOCUMENTS), LENGTH, fit=fit, value=-7, open=4)
    batch = px.data.batch(list(few))
    found = sorted(tuple(piece) for row in pieces_of(batch) for piece in row)
    assert found == sorted(tuple(piece) for row in pieces_of(whole) for piece in row)


def test_a_stream_reads_no_further_than_it_must():
    def endless():
        for n in itertools.count():
            yield [n] * 5

    rows = itertools.islice(text.PackedStream(endless, 12, open=3), 50)
    assert sum((row.segments > 0).sum() for row in rows) == 50 * 10


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: text.pack([[]], 4), px.ShapeError, r"documents with tokens, got 1 empty ones"),
        (lambda: text.pack([[[1]]], 4), px.ShapeError, r"documents \(time,\) of whole numbers, got int64\[1, 1\]"),
        (lambda: text.pack([[0.5]], 4), px.ShapeError, r"documents \(time,\) of whole numbers, got float64\[1\]"),
        (lambda: text.pack([[1]], 0), px.RangeError, r"length to be a whole number of at least 1, got 0"),
        (lambda: text.pack([[1]], 4, fit="best"), px.RangeError, r"fit to be known, got 'best'"),
        (lambda: text.pack([[1]], 4, long="drop"), px.RangeError, r"long to be known, got 'drop'"),
        (lambda: text.PackedStream(iter([[1]]), 4), px.StructureError, r"documents that can start over, got list_iter"),
    ],
)
def test_what_cannot_be_packed(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


# --- targets ----------------------------------------------------------------------------------------


def test_targets_are_the_tokens_behind():
    rows = text.pack(DOCUMENTS, LENGTH)
    targets = text.next_tokens(rows.tokens, segments=rows.segments)
    for row, tokens in enumerate(rows.tokens):
        for place in range(LENGTH):
            last = place == LENGTH - 1 or rows.segments[row, place] != rows.segments[row, place + 1]
            counts = not last and rows.segments[row, place] > 0
            assert targets[row, place] == (tokens[place + 1] if counts else -100)
    traced = jax.jit(lambda rows: text.next_tokens(rows.tokens, segments=rows.segments))(rows)
    np.testing.assert_array_equal(traced, targets)
    tokens, mask = np.array([[0, 0, 5, 6], [7, 8, 0, 0]]), np.array([[0, 0, 1, 1], [1, 1, 0, 0]], bool)
    assert text.next_tokens(tokens, mask=mask).tolist() == [[-100, -100, 6, -100], [8, -100, -100, -100]]
    assert text.next_tokens(tokens).tolist() == [[0, 5, 6, -100], [8, 0, 0, -100]]
    with pytest.raises(px.ShapeError, match=r"tokens and mask of one shape, got int64\[2, 4\] and mask bool\[2, 3\]"):
        text.next_tokens(tokens, mask=mask[:, :3])


@pytest.mark.parametrize("numpy", [np, jax.numpy])
def test_targets_of_unsigned_tokens(numpy):
    """Files of tokens are often of uint16, which holds no -100."""
    targets = text.next_tokens(numpy.array([[5, 60000, 7]], "uint16"))
    assert (targets.tolist(), targets.dtype) == ([[60000, 7, -100]], np.int32)


def test_targets_of_no_tokens_and_with_masks_of_either_library():
    assert text.next_tokens(np.zeros((2, 0), int)).shape == (2, 0)
    tokens, mask = np.array([[5, 6, 0]]), np.array([[1, 1, 0]])
    traced = jax.jit(lambda mask: text.next_tokens(tokens, mask=mask))(mask)
    assert traced.tolist() == [[6, -100, -100]]


class Reader(px.Module):
    """A causal model of one layer."""

    def __init__(self, key):
        embed, attend, head = jax.random.split(key, 3)
        self.embed, self.attend = px.Embedding(1000, 8, key=embed), px.MultiHeadAttention(8, 2, causal=True, key=attend)
        self.places, self.head = px.Embedding(LENGTH, 8, key=head), px.Dense(8, 1000, key=head)

    def __call__(self, tokens, positions, mask):
        x = self.embed(tokens) + self.places(positions)
        return self.head(x + self.attend(x, mask=mask))


def test_packed_documents_are_read_as_if_alone():
    """The loss of packed rows is that of the documents one by one: masks, positions and targets fit together."""
    short = [document for document in DOCUMENTS if 0 < len(document) <= LENGTH][:20]
    model = Reader(jax.random.key(0))

    @px.jit
    def loss(model, rows):
        logits = model(rows.tokens, rows.positions, text.segment_mask(rows.segments))
        return px.losses.cross_entropy(logits, text.next_tokens(rows.tokens, segments=rows.segments))

    packed = text.pack(short, LENGTH)
    assert len(packed.tokens) < len(short)
    fill = np.zeros((len(short) - len(packed.tokens), LENGTH), np.int32)
    packed = jax.tree.map(lambda rows: np.concatenate([rows, fill]), packed)  # the same shape, compiled once
    alone = px.data.batch([jax.tree.map(lambda rows: rows[0], text.pack([d], LENGTH)) for d in short])
    np.testing.assert_allclose(loss(model, packed), loss(model, alone), rtol=1e-6)


# --- collating --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tok():
    return text.Tokenizer(word_pieces(), pad_token="[PAD]", unk_token="[UNK]", mask_token="[MASK]")


def test_batches_have_few_lengths(tok):
    texts = [document[: 5 * n] for n, document in enumerate(documents()[:60])]
    labels = np.arange(60)
    loader = px.DataLoader((texts, labels), 8, collate=text.Collate(tok, buckets=(16, 64, 128)))
    seen, shapes = {}, set()
    for tokens, label in loader:
        shapes.add(tokens.tokens.shape[1])
        for row, mask, n, which in zip(tokens.tokens, tokens.mask, tokens.lengths, label, strict=True):
            assert mask.sum() == n
            seen[int(which)] = np.asarray(row)[np.asarray(mask)].tolist()
    assert shapes <= {16, 64, 128}
    assert len(shapes) > 1
    assert seen == {n: ids[:127] + ids[-1:] if len(ids) > 128 else ids for n, ids in enumerate(tok.encode(texts))}


def test_the_parts_of_an_observation(tok):
    rows = [
        {"text": "one", "pair": "two", "label": 3, "weight": 0.5},
        {"text": "a b", "pair": "c", "label": 4, "weight": 1},
    ]
    batch = text.Collate(tok, pair="pair", buckets=8)(rows)
    assert sorted(batch) == ["label", "text", "weight"]
    np.testing.assert_array_equal(batch["text"].tokens, tok(["one", "a b"], ["two", "c"], pad=8).tokens)
    assert batch["label"].tolist() == [3, 4]
    label, tokens = text.Collate(tok, text=1, side="left")([(0, "one"), (1, "a b")])
    assert label.tolist() == [0, 1]
    np.testing.assert_array_equal(tokens.tokens, tok(["one", "a b"], pad=64, side="left").tokens)
    alone = text.Collate(tok, buckets=4, offsets=True)(["a", "b"])
    np.testing.assert_array_equal(alone.words, [[-1, 0, -1, -1]] * 2)
    other = text.Collate(tok, buckets=8, pad_id=9)(["a"])
    assert other.tokens.tolist() == [[*tok.encode("a"), 9, 9, 9, 9, 9]]


def test_numbers_that_are_tokens_already(tok):
    left = text.Collate(tok, buckets=(2, 4), side="left")([[5, 6, 7, 8, 9], [5]])
    assert left.tokens.tolist() == [[6, 7, 8, 9], [0, 0, 0, 5]]
    right = text.Collate(buckets=(2, 4), pad_id=1)([np.arange(9), np.array([5])])
    assert right.tokens.tolist() == [[0, 1, 2, 3], [5, 1, 1, 1]]


def test_numbers_stand_where_the_tokenizer_puts_texts():
    tok = text.Tokenizer(word_pieces(), pad_token="[PAD]", padding_side="left", truncation_side="left")
    batch = text.Collate(tok, buckets=(2, 4))([[5, 6, 7, 8, 9], [5]])
    assert batch.tokens.tolist() == [[6, 7, 8, 9], [0, 0, 0, 5]]


def test_parts_keep_their_order(tok):
    tokens, label = text.Collate(tok, text=1, pair=0, buckets=8)([("one", "a b", 3)])
    np.testing.assert_array_equal(tokens.tokens, tok("a b", "one", pad=8).tokens)
    assert label.tolist() == [3]
    label, tokens = text.Collate(tok, text=-1, buckets=np.int64(8))([(3, "a b")])
    np.testing.assert_array_equal(tokens.tokens, tok("a b", pad=8).tokens)
    assert label.tolist() == [3]


def test_targets_of_a_language_model(tok):
    texts = ["a b c", "d"]
    tokens, targets = text.Collate(tok, buckets=8, targets="next")(texts)
    np.testing.assert_array_equal(targets, text.next_tokens(tokens.tokens, mask=tokens.mask))
    tokens, label, targets = text.Collate(tok, buckets=8, targets="next")([("a b", 1), ("c", 0)])
    assert (targets.shape, label.tolist()) == ((2, 8), [1, 0])


class Bag(px.Module):
    """The mean of the embeddings of all tokens, as logits."""

    def __init__(self, size):
        self.embed, self.head = px.Embedding(size, 8, key=jax.random.key(0)), px.Dense(8, 2, key=jax.random.key(1))

    def __call__(self, batch):
        x = self.embed(batch.tokens) * batch.mask[..., None]
        return self.head(x.sum(1) / batch.lengths[:, None])


def test_fit_takes_what_collate_gives(tok):
    """Two kinds of texts are told apart; the last batch is shorter, and is filled up."""
    texts = ["return the value of this"] * 9 + ["raise an error where there is none"] * 8
    labels = np.array([0] * 9 + [1] * 8)
    model = Bag(len(tok))
    loader = px.DataLoader((texts, labels), 4, shuffle=True, collate=text.Collate(tok, buckets=(32,)))
    px.fit(model, loader, loss=px.losses.cross_entropy, optimizer=px.optim.Adam(0.1), epochs=3, progress=False)
    logits = px.jit(lambda model, batch: model(batch))(model, tok(texts))
    assert (np.asarray(logits).argmax(1) == labels).all()


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda t: text.Collate(t, targets="last"), px.RangeError, r"targets of \"next\" or None, got 'last'"),
        (lambda t: text.Collate(t, buckets=(8, 4)), px.RangeError, r"lengths as increasing whole numbers"),
        (lambda t: text.Collate(pair=1), px.StructureError, r"a tokenizer for pairs, got None"),
        (
            lambda t: text.Collate(t)([{"words": "a"}]),
            px.StructureError,
            r"a part 'text' of each observation, got \['wo",
        ),
        (lambda t: text.Collate(t, side="up"), px.RangeError, r"side to be"),
        (lambda t: text.Collate(t)(["a", [1]]), px.StructureError, r"numbers of tokens, or texts, got"),
        (lambda t: text.Collate()(["a"]), px.StructureError, r"numbers of tokens, or texts, got"),
    ],
)
def test_what_cannot_be_collated(tok, call, kind, message):
    with pytest.raises(kind, match=message):
        call(tok)
