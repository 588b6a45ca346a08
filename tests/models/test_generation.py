"""px.generate beside the hub's, token for token; draws by their distribution; the steps that a server will take."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from hub import tiny
from hub_text import tokens
from kit import oracle
from phlox.models.generation import _choosing, _prompts, _recalling, _stepping
from phlox.models.generation._settings import Settings

torch = oracle("torch")
transformers = oracle("transformers")
SMALL = {
    "vocab_size": 40, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "initializer_range": 0.3, "max_position_embeddings": 64, "eos_token_id": 17,
    "pad_token_id": 1,
}  # fmt: skip
X, LENGTHS = tokens(3, 6, 40), np.array([6, 3, 1])
NEW = 12


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("generation")
    theirs = tiny(transformers.LlamaForCausalLM, transformers.LlamaConfig(**SMALL), folder)
    return theirs, px.models.load(folder)


@pytest.fixture(scope="module")
def small():
    """Another model of the same vocabulary, which guesses badly."""
    config = px.models.LlamaConfig(
        vocab_size=40, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2,
        initializer_range=0.5,
    )  # fmt: skip
    return px.models.create(config, key=jax.random.key(5))


def padded_left(x=X, lengths=LENGTHS):
    found = np.zeros_like(x)
    for row, text, n in zip(found, x, lengths, strict=True):
        row[len(row) - n :] = text[:n]
    return found, np.arange(x.shape[1])[None] >= x.shape[1] - lengths[:, None]


def theirs_new(theirs, **options):
    """What their library writes of the same prompts; it pads on the left."""
    x, mask = padded_left()
    given = {"attention_mask": torch.tensor(mask).long(), "max_new_tokens": NEW, "do_sample": False, **options}
    return theirs.generate(torch.tensor(x).long(), **given).numpy()[:, x.shape[1] :]


def test_the_likeliest_tokens_up_to_a_stop(pair):
    theirs, ours = pair
    want = theirs_new(theirs, repetition_penalty=1.3)
    seen = px.generate(ours, X, lengths=LENGTHS, max_new=NEW, repetition_penalty=1.3)
    assert (seen.tokens == want).all()
    assert len(set(seen.lengths.tolist())) > 1  # some end before the others
    for text, n in zip(seen.tokens, seen.lengths, strict=True):
        assert n == NEW or text[n - 1] == 17
        assert (text[n:] == 1).all()


def test_a_penalty_of_scores_of_either_sign():
    scores = np.random.default_rng(2).normal(size=(3, 40)).astype(np.float32)
    assert (np.take_along_axis(scores, X, 1)[0] < 0).any()
    seen = _choosing.adjusted(scores, jnp.asarray(X), jnp.asarray(LENGTHS), Settings(repetition_penalty=1.3))
    for row, n in enumerate(LENGTHS):
        processor = transformers.RepetitionPenaltyLogitsProcessor(1.3)
        want = processor(torch.tensor(X[row : row + 1, :n]).long(), torch.tensor(scores[row : row + 1]))
        np.testing.assert_allclose(seen[row], want[0], rtol=1e-6)


def test_log_probabilities_are_of_the_whole_text(pair):
    ours = pair[1]
    x, mask = padded_left()
    seen = px.generate(ours, x, mask=mask, max_new=4, stop=[])
    listed = px.generate(ours, [X[0].tolist(), X[1, :3].tolist(), X[2, :1].tolist()], max_new=4, stop=[])
    assert (seen.tokens == listed.tokens).all()
    for row, n in enumerate(LENGTHS):
        whole = np.concatenate([X[row, :n], seen.tokens[row]])[None]
        scores = jax.nn.log_softmax(ours(whole)[0, n - 1 : -1])
        assert (scores.argmax(-1) == seen.tokens[row]).all()
        np.testing.assert_allclose(seen.log_probs[row], scores.max(-1).sum(), rtol=1e-4)


@pytest.mark.parametrize(
    ("ours_options", "theirs_options"),
    [
        ({"beams": 3, "length_penalty": 2.0}, {"num_beams": 3, "length_penalty": 2.0}),
        (
            {"beams": 2, "length_penalty": -1.0, "early_stopping": True},
            {"num_beams": 2, "length_penalty": -1.0, "early_stopping": True},
        ),
    ],
    ids=["long", "short"],
)
def test_beams(pair, ours_options, theirs_options):
    theirs, ours = pair
    want = theirs_new(theirs, **theirs_options)
    seen = px.generate(ours, X, lengths=LENGTHS, max_new=NEW, **ours_options)
    assert (seen.tokens == want[:, : seen.tokens.shape[1]]).all()
    assert (want[:, seen.tokens.shape[1] :] == 1).all()
    assert not (
        seen.tokens == px.generate(ours, X, lengths=LENGTHS, max_new=NEW).tokens[:, : seen.tokens.shape[1]]
    ).all()


def frequencies(found, vocabulary=40):
    return np.bincount(np.asarray(found).ravel(), minlength=vocabulary) / np.size(found)


CUTS = [
    ({"temperature": 0.7}, lambda s: s / 0.7),
    ({"temperature": 1.5, "top_k": 3}, lambda s: px.nn.functional.keep_top_k(s / 1.5, 3)),
    ({"temperature": 2.0, "top_p": 0.6}, lambda s: px.nn.functional.keep_top_p(s / 2.0, 0.6)),
    ({"temperature": 2.0, "min_p": 0.2}, lambda s: px.nn.functional.keep_min_p(s / 2.0, 0.2)),
]


@pytest.mark.parametrize(("options", "cut"), CUTS, ids=["temperature", "top_k", "top_p", "min_p"])
def test_draws_have_the_distribution_that_the_settings_say(pair, options, cut):
    ours, many = pair[1], 4000
    x = np.repeat(X[:1], many, axis=0)
    seen = frequencies(px.generate(ours, x, max_new=1, key=jax.random.key(0), **options).tokens)
    want = np.asarray(jax.nn.softmax(cut(ours(X[:1])[0, -1])))
    assert (seen[want == 0] == 0).all()
    assert np.abs(seen - want).max() < 4 * np.sqrt(0.25 / many)


def test_a_text_s_draws_depend_on_no_other_s(pair):
    ours, key = pair[1], jax.random.key(3)
    whole = px.generate(ours, X, lengths=LENGTHS, max_new=5, temperature=1.0, key=key)
    again = px.generate(ours, np.flip(X[:, :6], 0).copy(), lengths=LENGTHS[::-1], max_new=5, temperature=1.0, key=key)
    other = px.generate(ours, X, lengths=LENGTHS, max_new=5, temperature=1.0, key=jax.random.key(4))
    assert whole.texts()[1] == again.texts()[1]  # in the same place, beside others
    assert whole.texts() != other.texts()


def test_a_draft_changes_no_greedy_token(pair, small):
    ours = pair[1]
    plain = px.generate(ours, X, lengths=LENGTHS, max_new=NEW)
    for draft in (ours, small):
        seen = px.generate(ours, X, lengths=LENGTHS, max_new=NEW, draft=draft, guesses=3)
        assert seen.texts() == plain.texts()
        np.testing.assert_allclose(seen.log_probs, plain.log_probs, rtol=1e-4)


def test_a_draft_keeps_the_distribution(pair):
    ours, many = pair[1], 4000
    small = px.copy(ours)
    small.norm.scale = 0.3 * small.norm.scale  # it is less sure of the same, so that guesses fall often
    x = np.repeat(X[:1], many, axis=0)
    options = {"max_new": 3, "temperature": 1.0, "stop": [], "key": jax.random.key(1)}
    seen = px.generate(ours, x, draft=small, guesses=2, **options).tokens
    drawn = px.generate(ours, x, **options | {"key": jax.random.key(2)}).tokens
    for place in range(3):  # against draws of the model alone, whose distribution is tested above
        assert np.abs(frequencies(seen[:, place]) - frequencies(drawn[:, place])).max() < 5 * np.sqrt(0.5 / many)
    assert len({tuple(text) for text in seen.tolist()}) > 20


def up_to(text, ends):
    """A text up to the first of its ends."""
    return next((text[:n] for n in range(1, len(text)) if any(text[:n][-len(end) :] == end for end in ends)), text)


def test_stops_a_stream_and_a_function_of_the_user(pair):
    ours, streamed = pair[1], []
    plain = px.generate(ours, X, lengths=LENGTHS, max_new=6, stop=[])
    ends = [plain.tokens[2, 2:4].tolist(), int(plain.tokens[1, 0])]
    seen = px.generate(ours, X, lengths=LENGTHS, max_new=6, stop=ends, pad=39, stream=streamed.append)
    assert seen.texts() == [up_to(text, [ends[0], ends[1:]]) for text in plain.texts()]
    assert (seen.tokens[1, 1:] == 39).all()
    streamed = np.stack(streamed, axis=1)
    assert (np.where(streamed == -1, 39, streamed) == seen.tokens).all()
    assert (streamed[1, 1:] == -1).all()

    def never_the_same(scores, texts, lengths):
        last = jnp.take_along_axis(texts, lengths[:, None] - 1, axis=1)[:, 0]
        return scores.at[jnp.arange(len(last)), last].set(-jnp.inf)

    seen = px.generate(ours, X, lengths=LENGTHS, max_new=6, stop=[], adjust=never_the_same)
    for row, n in enumerate(LENGTHS):
        text = [X[row, n - 1], *seen.texts()[row]]
        assert all(a != b for a, b in zip(text[1:], text[:-1], strict=True))


def test_one_step_is_compiled_for_a_bucket_of_lengths(pair):
    ours = pair[1]
    settings = {"max_new": 5, "stop": [38]}  # of no other test
    before = len(_choosing.step.programs), len(_stepping.prefill.programs)
    for length in (2, 5, 6):
        px.generate(ours, X[:2, :length], **settings)
    after = len(_choosing.step.programs), len(_stepping.prefill.programs)
    assert after[0] - before[0] == 1
    assert after[1] - before[1] <= 1
    assert [_prompts.bucket(n) for n in (1, 16, 17, 512, 513, 1025)] == [16, 16, 32, 512, 1024, 1536]
    assert _prompts.bucket(20, most=30) == 30


def test_texts_come_and_go_in_the_slots_of_a_cache(pair):
    """As a server batches: a text is put beside others that are in the middle of theirs."""
    ours = pair[1]
    alone = px.generate(ours, X, lengths=LENGTHS, max_new=6, stop=[]).tokens
    cache, token = ours.init_cache(2, 32), np.zeros(2, np.int32)
    rows = np.zeros((2, 6), int)
    for turn, slot in ((0, 0), (1, 1)):
        one = ours.init_cache(1, 32)
        prompt = np.pad(X[turn : turn + 1], ((0, 0), (0, 10)))
        scores = _stepping.prefill(ours, one, jnp.asarray(prompt), jnp.asarray(LENGTHS[turn : turn + 1]))
        _stepping.insert(cache, one, jnp.asarray(slot))
        token[slot] = scores[0].argmax()
        written = [token.copy()]
        for _ in range(2):
            token = np.asarray(_stepping.decode(ours, cache, jnp.asarray(token)).argmax(-1)).astype(np.int32)
            written.append(token.copy())
        rows[:, 3 * turn : 3 * turn + 3] = np.stack(written, axis=1)
        token = np.asarray(_stepping.decode(ours, cache, jnp.asarray(token)).argmax(-1)).astype(np.int32)
    assert (rows[0] == alone[0]).all()
    assert (rows[1, 3:] == alone[1, :3]).all()


def test_a_text_comes_with_its_memory_into_a_slot():
    """Of a decoder that recalls what was read: what it wrote, the memory of each block, and where that counts."""

    def filled(batch, number):
        own, kept = [px.nn.KVCache(batch, 4, 1, 2) for _ in range(2)], np.full((batch, 3, 1, 2), number, np.float32)
        for held in own:
            held.keys, held.values = (np.full(held.keys.shape, number, np.float32) for _ in range(2))
            held.position = np.full(batch, number)
        memory = tuple((jnp.asarray(kept), jnp.asarray(-kept)) for _ in range(2))
        return _recalling.Recalled(own, memory, jnp.full((batch, 3), number > 1))

    many, one, seen = filled(3, 1), filled(1, 2), filled(3, 1)
    _stepping.insert(seen, one, jnp.asarray(1))
    leaves = [jax.tree.leaves(tree) for tree in (seen, many, one)]
    assert len(leaves[0]) == 11
    for found, before, new in zip(*leaves, strict=True):
        assert (np.asarray(found) == np.concatenate([before[:1], new, before[2:]])).all()


refused = functools.partial(pytest.raises, match=r"px\.generate")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"max_new": 0}, px.RangeError, "max_new as a whole number of at least 1, got 0"),
        ({"temperature": -1.0}, px.RangeError, "temperature as a number of at least 0"),
        ({"temperature": float("nan")}, px.RangeError, "temperature"),
        ({"top_k": 3}, px.RangeError, "a temperature above 0 beside top_k"),
        ({"temperature": 1.0, "top_p": 1.5}, px.RangeError, "top_p as a number from 0 to 1"),
        ({"repetition_penalty": 0}, px.RangeError, "repetition_penalty as a number above 0"),
        ({"stop": "end"}, px.RangeError, "a tokenizer makes them of text"),
        ({"stop": [[]]}, px.RangeError, "stop as tokens"),
        ({"beams": 2, "temperature": 1.0}, px.RangeError, "beams without a temperature"),
        ({"beams": 2, "stream": print}, px.RangeError, "beams without a stream"),
        ({"lengths": [7, 1, 1]}, px.RangeError, "lengths from 1 to 6, got 7"),
        ({"lengths": [1, 1]}, px.ShapeError, r"lengths \(3,\)"),
        ({"mask": np.array([[1, 0, 1, 1, 1, 1]] * 3)}, px.RangeError, "masks without holes"),
        ({"lengths": [1, 1, 1], "mask": X > 0}, px.RangeError, "lengths or a mask"),
        ({"adjust": 3}, px.RangeError, "adjust as a function"),
        ({"beams": 2, "length_penalty": "1"}, px.RangeError, "length_penalty as a number that is finite"),
        ({"beams": 2, "early_stopping": "never"}, px.RangeError, "early_stopping as True or False"),
        ({"pad": "x"}, px.RangeError, "pad as a whole number"),
        ({"draft": px.nn.Dropout(0.5)}, px.RangeError, "a draft that scores the next token"),
    ],
)
def test_what_cannot_be_is_refused(pair, options, error, message):
    with pytest.raises(error, match=message) as caught:
        px.generate(pair[1], X, **options)
    assert "px.generate" in str(caught.value)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (X[0], px.ShapeError, "add a batch axis"),
        (X.astype(float), px.DtypeError, "whole numbers"),
        (X + 30, px.RangeError, "tokens from 0 to 39"),
        ([[1, 2], []], px.RangeError, "prompts of at least one token"),
    ],
)
def test_prompts_that_are_none(pair, given, error, message):
    with pytest.raises(error, match=message):
        px.generate(pair[1], given)


FAMILIES = {
    "gpt2": (
        transformers.GPT2LMHeadModel,
        transformers.GPT2Config(
            vocab_size=40, n_positions=20, n_embd=16, n_layer=2, n_head=4, initializer_range=0.3, eos_token_id=17,
            pad_token_id=1, bos_token_id=2,
        ),
    ),
    "mistral": (  # whose window is shorter than the text, so that its caches are rings
        transformers.MistralForCausalLM,
        transformers.MistralConfig(**SMALL, sliding_window=4),
    ),
    "t5": (
        transformers.T5ForConditionalGeneration,
        transformers.T5Config(
            vocab_size=40, d_model=16, d_kv=4, d_ff=24, num_layers=2, num_heads=4, eos_token_id=17, pad_token_id=1,
            decoder_start_token_id=2,
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAMILIES)
def test_families(name, tmp_path):
    theirs = tiny(*FAMILIES[name], tmp_path, seed=2)
    ours, new = px.models.load(tmp_path), 14
    x, mask = (X, np.arange(6)[None] < LENGTHS[:, None]) if name == "t5" else padded_left()
    for options in ({}, {"num_beams": 2}):
        given = {"attention_mask": torch.tensor(mask).long(), "max_new_tokens": new, "do_sample": False, **options}
        want = theirs.generate(torch.tensor(x).long(), **given).numpy()[:, 1 if name == "t5" else x.shape[1] :]
        seen = px.generate(ours, X, lengths=LENGTHS, max_new=new, beams=options.get("num_beams", 1))
        assert (seen.tokens == want[:, : seen.tokens.shape[1]]).all(), options
        assert (want[:, seen.tokens.shape[1] :] == 1).all()
    if name == "gpt2":
        with pytest.raises(px.RangeError, match=r"texts of at most 20 tokens, got 6 and 15 new\n  fix: .*max_new=14"):
            px.generate(ours, X, max_new=15)
    if name == "mistral":
        assert isinstance(ours.init_cache(1, 64)[0], px.nn.RingCache)
        spoken = px.generate(ours, X, lengths=LENGTHS, max_new=new, draft=ours, guesses=2)
        assert (spoken.tokens == px.generate(ours, X, lengths=LENGTHS, max_new=new).tokens).all()


def test_what_a_whisper_hears(tmp_path):
    config = transformers.WhisperConfig(
        vocab_size=40, num_mel_bins=8, d_model=16, encoder_layers=1, decoder_layers=2, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=24, decoder_ffn_dim=24, max_source_positions=10,
        max_target_positions=16, init_std=0.3, pad_token_id=1, bos_token_id=2, eos_token_id=17,
        decoder_start_token_id=2,
    )  # fmt: skip
    theirs = tiny(transformers.WhisperForConditionalGeneration, config, tmp_path)
    ours = px.models.load(tmp_path)
    frames = np.random.default_rng(0).normal(size=(2, 20, 8)).astype(np.float32)
    seen = px.generate(ours, frames, begin=[2, 5], max_new=6, stop=[])
    text = torch.tensor([[2, 5]] * 2)
    for _ in range(6):
        scores = theirs(torch.tensor(frames).permute(0, 2, 1), decoder_input_ids=text).logits
        text = torch.cat([text, scores[:, -1].argmax(-1, keepdim=True)], dim=1)
    assert (seen.tokens == text[:, 2:].numpy()).all()
    with pytest.raises(px.RangeError, match="frames alone"):
        px.generate(ours, frames, lengths=[3, 3])
    with pytest.raises(px.ShapeError, match="begin for 2 texts"):
        px.generate(ours, frames, begin=[[2], [2], [2]])


def made(**options):
    return px.eval_shape(lambda: px.models.create(px.models.LlamaConfig(**{**SMALL, **options})))


def test_models_that_score_no_next_token_are_refused(pair):
    for task in ("text-classification", "token-classification", "feature-extraction"):
        with pytest.raises(px.RangeError, match=f"a model that scores the next token, got Llama for '{task}'"):
            px.generate(made(task=task), X)
    with pytest.raises(px.RangeError, match="a draft of 40 tokens, as the model has, got 41"):
        px.generate(pair[1], X, draft=made(vocab_size=41))


def test_numbers_of_numpy_are_numbers(pair):
    plain = {"max_new": 3, "temperature": 0.5, "stop": [17, 3], "key": 0}
    numpys = {"max_new": np.int64(3), "temperature": np.float32(0.5), "stop": np.array([17, 3]), "key": 0}
    assert px.generate(pair[1], X, **numpys).texts() == px.generate(pair[1], X, **plain).texts()
    assert px.generate(pair[1], X, max_new=3, stop=np.int64(17)).texts() == px.generate(pair[1], X, max_new=3).texts()
