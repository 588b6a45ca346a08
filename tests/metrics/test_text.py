"""Metrics of texts against sacrebleu, jiwer and rouge-score, on awkward strings; and their protocol."""

import random

import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import oracle
from phlox import metrics as M
from phlox.metrics.text import _alignment

sacrebleu, jiwer, rouge_scorer = oracle("sacrebleu"), oracle("jiwer"), oracle("rouge_score.rouge_scorer")

CLOSE = {"rtol": 1e-9, "atol": 1e-9}
AWKWARD = (
    "a b the cat, sat. The CAT 1,000 3.5 U.S. x-y 1-2 2- &amp; &quot;q&quot; &amp;lt; <skipped> don't (a) [b] ~@ `c^ _ "
    "日本 語。 « é » 😀 € ½ ١٢،٣ e\u0301 \u200b \u00a0 - -\n \n \t end.\n ¿ß? ﷺ"
)
WORDS = AWKWARD.split(" ")
SUMMARY = "the cat sat on a mat The CAT, mat. x-ray 3.5 don't naïve 日本 _ a\nb \n \n\n"
LINES = SUMMARY.split(" ")
KINDS = ["rouge1", "rouge2", "rouge3", "rougeL", "rougeLsum"]
TOKENIZERS, SMOOTH = ("13a", "intl", "char", "none"), ("exp", "floor", "add-k", "none")


def texts(draw, count, most=12, words=WORDS):
    return [" ".join(draw.choice(words) for _ in range(draw.randint(0, most))) for _ in range(count)]


def corpus(seed):
    """Texts with up to three targets each; some are equal, some empty, some are too short for four-grams."""
    draw = random.Random(seed)
    count, most = draw.randint(1, 4), draw.choice((3, 12, 30))
    prediction, targets = texts(draw, count, most), [texts(draw, draw.randint(1, 3), most) for _ in range(count)]
    if draw.random() < 0.5:
        prediction[0] = targets[0][-1]
    return prediction, targets


def by_target(targets):
    """As sacrebleu has them: all texts' first targets, then all second ones; None where there are fewer."""
    most = max(map(len, targets))
    return [list(row) for row in zip(*(t + [None] * (most - len(t)) for t in targets), strict=True)]


@pytest.mark.parametrize("tokenize", TOKENIZERS)
@pytest.mark.parametrize("smooth", SMOOTH)
def test_bleu_is_sacrebleus(tokenize, smooth):
    for seed in range(20):
        prediction, targets = corpus(seed)
        same = {"tokenize": tokenize, "lowercase": seed % 3 == 0, "effective_order": seed % 2 == 0}
        same["smooth_value"] = 0.3 if seed % 5 == 0 and smooth in ("floor", "add-k") else None
        order = 4 if seed % 4 else 2
        theirs = sacrebleu.BLEU(smooth_method=smooth, max_ngram_order=order, force=True, **same)
        want = theirs.corpus_score(prediction, by_target(targets))
        each = [theirs.sentence_score(p, t).score for p, t in zip(prediction, targets, strict=True)]

        ours, mean = (of(smooth=smooth, max_order=order, **same) for of in (M.BLEU, M.SentenceBLEU))
        ours.update(prediction, targets)
        mean.update(prediction, targets)
        got = ours.compute()
        np.testing.assert_allclose(got.score, want.score, **CLOSE)
        np.testing.assert_allclose(got.precisions, want.precisions, **CLOSE)
        np.testing.assert_allclose(got.brevity_penalty, want.bp, **CLOSE)
        assert (got.prediction_length, got.target_length) == (want.sys_len, want.ref_len)
        np.testing.assert_allclose(mean.compute(), np.mean(each), **CLOSE)


def test_tokens_are_sacrebleus_on_random_characters():
    from sacrebleu.metrics.bleu import _get_tokenizer

    from phlox.metrics.text._tokens import TOKENIZERS as OURS

    draw = random.Random(1)
    blocks = [(0, 0x80)] * 4 + [(0x80, 0x250), (0x2000, 0x2070), (0x20A0, 0x20B0), (0x3000, 0x3040), (0xFF00, 0xFF60)]
    for _ in range(300):
        text = "".join(chr(draw.randrange(*draw.choice(blocks))) for _ in range(draw.randint(0, 30))).rstrip()
        for name in TOKENIZERS:
            assert OURS[name](text) == _get_tokenizer(name)()(text).split(), (name, text)


def test_a_tokenizer_of_ones_own_and_lone_texts():
    bleu = M.BLEU(tokenize=lambda text: text.split("|"), max_order=1)
    bleu.update("a b|c", "a b|d")
    assert bleu.compute().precisions == (50.0,)
    rouge = M.ROUGE("rouge1", tokenize=list)
    rouge.update("éa", ["xy", "é"])
    assert rouge.compute() == {"rouge1": pytest.approx((0.5, 1.0, 2 / 3))}


def test_rouge_is_rouge_scores():
    draw, rouge, total = random.Random(0), M.ROUGE(KINDS), 0
    pairs = [(*texts(draw, 1, 14, LINES), texts(draw, draw.randint(1, 3), 14, LINES)) for _ in range(80)]
    for text, targets in pairs:
        scores = [rouge_scorer.RougeScorer(KINDS).score(target, text) for target in targets]
        want = [max((s[kind] for s in scores), key=lambda score: score.fmeasure) for kind in KINDS]
        rouge.reset()
        rouge.update(text, targets)
        np.testing.assert_allclose(list(rouge.compute().values()), want, **CLOSE)
        total += np.array(want)
    rouge.reset()
    rouge.update(*zip(*pairs, strict=True))
    np.testing.assert_allclose(list(rouge.compute().values()), total / len(pairs), **CLOSE)
    assert (total > 1).all()  # of each kind something is found


@pytest.mark.parametrize("metric", [M.WordErrorRate, M.CharacterErrorRate])
def test_errors_are_jiwers(metric):
    theirs = jiwer.process_words if metric is M.WordErrorRate else jiwer.process_characters
    for seed in range(200):
        draw = random.Random(seed)
        count, words = draw.randint(1, 3), draw.choice((WORDS[:4], [w for w in WORDS if w == w.strip()]))
        prediction, target = texts(draw, count, words=words), texts(draw, count, words=words)
        want, ours = theirs(target, prediction), metric()
        ours.update(prediction, target)
        got = ours.compute()
        kinds = (want.substitutions, want.insertions, want.deletions, want.hits)
        assert got[1:] == kinds, (prediction, target)
        np.testing.assert_allclose(got.rate, want.wer if metric is M.WordErrorRate else want.cer, **CLOSE)


def test_errors_of_empty_targets_and_of_words_by_any_space():
    errors = M.WordErrorRate(normalize=str.lower)
    errors.update(["", "a b"], ["", ""])
    assert errors.compute() == (2.0, 0.0, 2.0, 0.0, 0.0)  # as jiwer counts them
    errors.update("A\tb\u00a0c\nd", "a B  c d")  # jiwer leaves words together that one tab or line end separates
    assert errors.compute() == (0.5, 0.0, 2.0, 0.0, 4.0)


def test_long_sequences_are_cut_in_two(monkeypatch):
    """The number of errors is the same; their kinds are those of another shortest way, so that lengths agree."""
    draw = random.Random(0)
    for size in (0, 1, 7, 40):
        a, b = ([draw.randrange(4) for _ in range(draw.randint(0, size))] for _ in range(2))
        whole = _alignment.edits(a, b)
        with monkeypatch.context() as patched:
            patched.setattr(_alignment, "_MOST", 8)
            halves = _alignment.edits(a, b)
        assert sum(halves) == sum(whole)
        assert len(a) + halves[1] - halves[2] == len(b)


ALL = {
    "BLEU": M.BLEU,
    "SentenceBLEU": M.SentenceBLEU,
    "ROUGE": M.ROUGE,
    "WordErrorRate": M.WordErrorRate,
    "CharacterErrorRate": M.CharacterErrorRate,
}


def flat(value):
    """The numbers of a value, in their order."""
    if isinstance(value, dict | tuple):
        return [n for part in (value.values() if isinstance(value, dict) else value) for n in flat(part)]
    return [value]


@pytest.mark.parametrize("name", ALL)
def test_batches_weights_merging_and_files(name):
    prediction, target = texts(random.Random(3), 6, 9, WORDS[:7]), texts(random.Random(4), 6, 9, WORDS[:7])
    whole, first, second, heavy = (ALL[name]() for _ in range(4))
    assert all(np.isnan(n) for n in flat(whole.compute())[:1])
    whole.update(prediction, target)
    want = flat(whole.compute())
    assert all(type(n) is float for n in want)
    first.update(prediction[:2] + ["nonsense"], [*target[:2], "of padding"], np.array([True, True, False]))
    second.update(np.array(prediction[2:]), tuple(target[2:]), jnp.ones(4))
    np.testing.assert_allclose(flat(M.merge(first, second).compute()), want, **CLOSE)
    heavy.update(prediction, target, [2, 1, 1, 1, 1, 0])
    first.reset()
    first.update([prediction[0], *prediction[:5]], [target[0], *target[:5]])
    np.testing.assert_allclose(flat(heavy.compute()), flat(first.compute()), **CLOSE)

    metrics = M.Metrics(text=ALL[name](), loss=M.Mean())
    metrics.update(prediction, target, loss=jnp.array(2.0))
    assert flat(metrics.compute()["text"]) == want
    saved = px.state_dict(whole)
    whole.reset()
    assert np.isnan(flat(whole.compute())[0])
    assert px.load_state_dict(whole, saved).complete
    assert flat(whole.compute()) == want


def test_counts_go_on_beyond_what_float32_counts_to():
    errors = M.WordErrorRate()
    errors.update("a b", "a c")
    errors.sums = errors.sums.at[0, 4].set(2.0**24)
    errors.update("a", "a")
    assert errors.compute().hits == 2**24 + 1


REFUSED = {
    "tokens": (
        lambda: M.BLEU().update(jnp.zeros((2, 3), int), ["a", "b"]),
        px.StructureError,
        r"BLEU.update expects strings as prediction, got int32\[2, 3\]\n  fix: give a list of strings; decode tokens",
    ),
    "lists of tokens": (
        lambda: M.ROUGE().update([["a", "b"]], ["a b"]),
        px.StructureError,
        r"ROUGE.update expects strings as prediction",
    ),
    "bytes": (
        lambda: M.WordErrorRate().update([b"a"], ["a"]),
        px.StructureError,
        r"strings as prediction, got b'a'\n  fix: decode",
    ),
    "targets by target": (
        lambda: M.BLEU().update(["a", "b"], [["a", "b"]]),
        px.ShapeError,
        r"as many targets as texts, got 1 for 2\n  fix: .*list\(zip\(\*target\)\)",
    ),
    "no target": (lambda: M.BLEU().update(["a"], [[]]), px.ShapeError, r"a target for each text, got an empty list"),
    "two transcripts": (
        lambda: M.CharacterErrorRate().update(["a"], [["a", "b"]]),
        px.ShapeError,
        r"CharacterErrorRate.update expects one target for each text, got 2",
    ),
    "weights of others": (
        lambda: M.BLEU().update(["a"], ["a"], [1.0, 2.0]),
        px.ShapeError,
        r"weight of shape \[1\], got float64\[2\]",
    ),
    "negative weights": (lambda: M.BLEU().update(["a"], ["a"], [-1]), px.RangeError, r"weights of at least 0"),
    "compiled": (
        lambda: px.jit(lambda metric: metric.update(["a"], ["a"]))(M.BLEU()),
        px.StructureError,
        r"BLEU.update expects to run line by line, as texts are no arrays, got a compiled function",
    ),
    "read while compiling": (
        lambda: px.jit(lambda metric: metric.compute().score)(M.BLEU()),
        px.StructureError,
        r"BLEU.compute expects to run line by line",
    ),
    "a tokenizer": (
        lambda: M.BLEU(tokenize="moses"),
        px.RangeError,
        r"BLEU expects tokenize to be one of '13a', 'intl', 'char', 'none', or a function, got 'moses'",
    ),
    "a smoothing": (lambda: M.SentenceBLEU(smooth="epsilon"), px.RangeError, r"SentenceBLEU expects smooth to be one"),
    "a smoothing's number": (
        lambda: M.BLEU(smooth_value=0.1),
        px.RangeError,
        r"smooth_value above 0 for a smoothing that takes one, got 0.1 with smooth='exp'",
    ),
    "a kind": (lambda: M.ROUGE(["rouge0"]), px.RangeError, r"kinds among rouge1 … rouge9, .*, got 'rouge0'"),
    "what normalises": (lambda: M.WordErrorRate(normalize="lower"), px.RangeError, r"normalize to be a function"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case):
    run, error, message = REFUSED[case]
    with pytest.raises(error, match=message):
        run()


def test_nothing_is_taken_in_of_a_batch_that_is_refused():
    bleu = M.BLEU()
    bleu.update("a b c d", "a b c d")
    with pytest.raises(px.StructureError):
        bleu.update(["a b c d", "x"], ["x", 3])
    assert bleu.compute().score == pytest.approx(100)
