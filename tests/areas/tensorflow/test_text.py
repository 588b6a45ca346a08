"""Words counted and looked up as Keras does: the same vocabularies in the same order, the same indices and vectors."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from phlox.data import text
from phlox.data.text._hashing import farm_hash
from texts import awkward, documents

TEXTS = [*documents()[:60], *[t for t in awkward() if "\x00" not in t]]
MODES = ["int", "multi_hot", "count", "tf_idf"]


def agree(ours, theirs):
    np.testing.assert_allclose(ours, np.asarray(theirs), rtol=1e-6)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"max_tokens": 50},
        {"standardize": None, "split": "character"},
        {"standardize": "lower", "ngrams": 2},
        {"standardize": "strip_punctuation", "ngrams": (1, 3), "max_tokens": 400},
        {"split": None},
        {"max_tokens": 5000, "pad_to_max_tokens": True},
    ],
    ids=str,
)
def test_text_vectorization(mode, options):
    if mode == "int":
        options = {name: given for name, given in options.items() if name != "pad_to_max_tokens"}
    ours, theirs = (
        kind(output_mode=mode, **options) for kind in (text.TextVectorization, keras.layers.TextVectorization)
    )
    ours.adapt(TEXTS)
    theirs.adapt(TEXTS)
    assert ours.get_vocabulary() == theirs.get_vocabulary()
    assert ours.get_vocabulary(False) == theirs.get_vocabulary(include_special_tokens=False)
    for texts in (TEXTS, ["never seen before, ever", ""]):
        column = np.array(texts, object)[:, None]  # Keras takes a plain list for one document where nothing is split
        agree(ours(column), theirs(tf.constant(column)))
        agree(ours(texts), theirs(tf.constant(column)))


@pytest.mark.parametrize("length", [3, 40])
def test_the_time_of_indices(length):
    ours, theirs = (
        kind(output_sequence_length=length) for kind in (text.TextVectorization, keras.layers.TextVectorization)
    )
    ours.adapt(TEXTS)
    theirs.adapt(TEXTS)
    agree(ours(TEXTS), theirs(TEXTS))


WORDS = np.array([["b", "a", "c"], ["b", "", "d"], ["e", "e", "unknown"]])
NUMBERS = np.array([[12, -5, 1138], [12, 0, 7], [8, 8, 41]])


@pytest.mark.parametrize("mode", ["one_hot", *MODES])
@pytest.mark.parametrize("oov", [1, 3])
@pytest.mark.parametrize("masked", [False, True])
def test_lookups(mode, oov, masked):
    for name, data, mask in (("StringLookup", WORDS, ""), ("IntegerLookup", NUMBERS, 0)):
        options = {"num_oov_indices": oov, "mask_token": mask if masked else None, "output_mode": mode}
        ours, theirs = getattr(text, name)(**options), getattr(keras.layers, name)(**options)
        ours.adapt(data[:2].tolist())
        theirs.adapt(data[:2])
        assert ours.get_vocabulary() == theirs.get_vocabulary()
        agree(ours(data), theirs(data))
        agree(ours(data[:, :1]), theirs(data[:, :1]))
        if mode == "int":
            given = ours.get_vocabulary()
            back = getattr(text, name)(**options, invert=True, vocabulary=given)
            its = getattr(keras.layers, name)(**options, invert=True, vocabulary=given)
            found = np.asarray(its(theirs(data)))
            assert back(ours(data)).tolist() == [
                [w.decode() if isinstance(w, bytes) else w for w in r] for r in found.tolist()
            ]


def test_weights_that_are_given():
    options = {"vocabulary": ["a", "b"], "idf_weights": [0.5, 2.0], "output_mode": "tf_idf"}
    agree(text.StringLookup(**options)(WORDS), keras.layers.StringLookup(**options)(WORDS))
    options = {**options, "max_tokens": 6, "pad_to_max_tokens": True}
    agree(text.StringLookup(**options)(WORDS), keras.layers.StringLookup(**options)(WORDS))


def test_the_hash_of_words():
    words = [("äxyz 0123456789" * 40)[:n].encode() for n in range(400)]
    ours = [farm_hash(word) % (2**63 - 25) for word in words]
    assert ours == tf.strings.to_hash_bucket_fast(words, 2**63 - 25).numpy().tolist()
