"""Seeded bugs in the metrics of texts and of retrieval: as in seeds_layers.py."""

_TEXT = "tests/metrics/test_text.py::"
_RETRIEVAL = "tests/metrics/test_retrieval.py::test_rankings_are_their_definitions"
_ROOM = "metrics/text/"

MUTANTS = [
    (
        "BLEU takes the longer of two targets equally near",
        _ROOM + "_bleu.py",
        "(abs(length - len(told)), length)",
        "(abs(length - len(told)), -length)",
        (_TEXT + "test_bleu_is_sacrebleus[exp-none]",),
    ),
    (
        "n-grams of several targets add up",
        _ROOM + "_bleu.py",
        "most |= ngrams(tokens, n)",
        "most += ngrams(tokens, n)",
        (_TEXT + "test_bleu_is_sacrebleus[exp-none]",),
    ),
    (
        "exponential smoothing halves once",
        _ROOM + "_bleu.py",
        "halved *= 2",
        "halved = 2",
        (_TEXT + "test_bleu_is_sacrebleus[exp-13a]",),
    ),
    (
        "what is added to counts is added to 1-grams too",
        _ROOM + "_bleu.py",
        'self.smooth == "add-k" and n > 0',
        'self.smooth == "add-k"',
        (_TEXT + "test_bleu_is_sacrebleus[add-k-13a]",),
    ),
    (
        "a comma inside a number stands apart",
        _ROOM + "_tokens.py",
        '(re.compile("[^N]P"), (1, 2)),',
        '(re.compile(".P"), (1, 2)),',
        (_TEXT + "test_bleu_is_sacrebleus[exp-intl]",),
    ),
    (
        "entities are not read",
        _ROOM + "_tokens.py",
        "text = text.replace(written, meant)",
        "text = text.replace(meant, written)",
        (_TEXT + "test_bleu_is_sacrebleus[exp-13a]",),
    ),
    (
        "a common subsequence goes the other way where both are as long",
        _ROOM + "_alignment.py",
        "elif table[i, j - 1] > table[i - 1, j]:",
        "elif table[i, j - 1] >= table[i - 1, j]:",
        (_TEXT + "test_rouge_is_rouge_scores",),
    ),
    (
        "lines of a summary count a word twice",
        _ROOM + "_rouge.py",
        "left[line[place]] -= 1",
        "left[line[place]] -= 0",
        (_TEXT + "test_rouge_is_rouge_scores",),
    ),
    (
        "insertions and deletions are swapped",
        _ROOM + "_alignment.py",
        "return substitutions, insertions + j, deletions + i",
        "return substitutions, deletions + i, insertions + j",
        (_TEXT + "test_errors_are_jiwers",),
    ),
    (
        "of shortest ways another one is counted",
        _ROOM + "_alignment.py",
        "if table[i, j] == table[i - 1, j] + 1:",
        "if table[i, j] == table[i - 1, j] + 1 != table[i - 1, j - 1] + 1:",
        (_TEXT + "test_errors_are_jiwers",),
    ),
    (
        "texts forget what float32 rounds away",
        _ROOM + "_text.py",
        "(total - high).astype(np.float32)",
        "(0 * high).astype(np.float32)",
        (_TEXT + "test_counts_go_on_beyond_what_float32_counts_to",),
    ),
    (
        "of equal scores the relevant document stands first",
        "metrics/_retrieval.py",
        "jnp.lexsort((gains, -scores, ~there))",
        "jnp.lexsort((-gains, -scores, ~there))",
        (_RETRIEVAL + "[Precision]",),
    ),
    (
        "average precision divides by all that is relevant",
        "metrics/_retrieval.py",
        "jnp.clip(jnp.sum(gains > 0, axis=-1), 1, self.k)",
        "jnp.clip(jnp.sum(gains > 0, axis=-1), 1, None)",
        (_RETRIEVAL + "[MAP]",),
    ),
    (
        "gains are discounted from the second rank on",
        "metrics/_retrieval.py",
        "jnp.log2(1 + _ranks(top))",
        "jnp.maximum(jnp.log2(_ranks(top)), 1)",
        (_RETRIEVAL + "[NDCG]",),
    ),
    (
        "perplexity of losses has base two",
        "metrics/_mean.py",
        "return jnp.exp(super()._value(statistics))",
        "return jnp.exp2(super()._value(statistics))",
        ("tests/metrics/test_retrieval.py::test_perplexity_of_losses",),
    ),
]
