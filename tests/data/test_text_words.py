"""Words counted and looked up: cases by hand; tests/areas/tensorflow compares with Keras itself."""

import math

import numpy as np
import pytest

import phlox as px
from phlox.data.text import IntegerLookup, StringLookup, TextVectorization
from phlox.data.text._hashing import farm_hash

TEXTS = ["The cat sat.", "The dog sat; the CAT ran!", "A dog?"]


def test_frequent_words_first_and_of_equal_ones_the_later():
    vectorize = TextVectorization().adapt(TEXTS)
    assert vectorize.get_vocabulary() == ["", "[UNK]", "the", "sat", "dog", "cat", "ran", "a"]
    assert vectorize.get_vocabulary(include_special_tokens=False)[0] == "the"
    assert vectorize(["The mouse sat", ""]).tolist() == [[2, 1, 3], [0, 0, 0]]
    assert vectorize("a dog").tolist() == [7, 4]
    assert (vectorize.vocabulary_size(), repr(vectorize)) == (8, "TextVectorization(8 tokens, output_mode='int')")
    assert TextVectorization(4).adapt(TEXTS).get_vocabulary() == ["", "[UNK]", "the", "sat"]
    assert TextVectorization(3, output_mode="count").adapt(TEXTS).get_vocabulary() == ["[UNK]", "the", "sat"]


def test_one_length():
    vectorize = TextVectorization(output_sequence_length=2, vocabulary=["a", "b"])
    assert vectorize(["a b a", "b", ""]).tolist() == [[2, 3], [3, 0], [0, 0]]
    assert vectorize(np.array([["b a"]])).tolist() == [[3, 2]]
    assert vectorize(["a"]).dtype == np.int32


def test_vectors():
    given = {"vocabulary": ["the", "cat", "ran"]}
    count = TextVectorization(output_mode="count", **given)
    assert count(["the the cat", "x y ran"]).tolist() == [[0, 2, 1, 0], [2, 0, 0, 1]]
    hot = TextVectorization(output_mode="multi_hot", max_tokens=6, pad_to_max_tokens=True, **given)
    assert hot(["the the cat", "x y ran"]).tolist() == [[0, 1, 1, 0, 0, 0], [1, 0, 0, 1, 0, 0]]
    assert hot(["the"]).dtype == np.float32
    assert TextVectorization(output_mode="binary", **given)(["the the"]).tolist() == [[0, 1, 0, 0]]


def test_no_text_is_no_vector():
    for mode, shape in (("int", (0, 0)), ("multi_hot", (0, 3)), ("count", (0, 3)), ("tf_idf", (0, 3))):
        assert TextVectorization(output_mode=mode).adapt(["a b"])([]).shape == shape


def test_weights_are_inverse_document_frequencies():
    vectorize = TextVectorization(output_mode="tf_idf").adapt(TEXTS)  # the: in 2 of 3 texts, thrice
    words = {"the": 2, "sat": 2, "dog": 2, "cat": 2, "ran": 1, "a": 1}
    weights = [math.log(1 + 3 / (1 + n)) for n in words.values()]
    want = [np.mean(weights), 2 * weights[0], 0, 0, weights[3], 0, 0]
    np.testing.assert_allclose(vectorize(["the the cat mouse"])[0], want, rtol=1e-6)


def test_how_texts_are_taken_apart():
    def words(text, **options):
        return TextVectorization(vocabulary=["x"], **options).words(text)

    punctuation = "!\"#$%&()*+,-./:;<=>?@[\\]^_`{|}~'"
    assert words(f"A{punctuation}B  c\td\n") == ["ab", "c", "d"]
    assert words("A!b", standardize=None) == ["A!b"]
    assert words("A!b", standardize="lower") == ["a!b"]
    assert words("A!b", standardize="strip_punctuation") == ["Ab"]
    assert words("ÄA", standardize="lower") == ["Äa"]  # as TensorFlow: ASCII alone
    assert words("ÄA b", standardize=str.lower, split=str.split) == ["äa", "b"]
    assert words("a\u00a0b c") == ["a\u00a0b", "c"]
    assert words("ab c", split="character") == ["a", "b", " ", "c"]
    assert words("a b", split=None) == ["a b"]
    assert words("a b c", ngrams=2) == ["a", "b", "c", "a b", "b c"]
    assert words("a b c", ngrams=(3, 1)) == ["a b c", "a", "b", "c"]
    assert words("a", ngrams=(2,)) == []


def test_strings_and_their_reserved_places():
    words = ["a", "b"]
    assert StringLookup(vocabulary=words)([["b", "z"], ["", "a"]]).tolist() == [[2, 0], [0, 1]]
    assert StringLookup(vocabulary=words, mask_token="")([["b", "z"], ["", "a"]]).tolist() == [[3, 1], [0, 2]]
    assert StringLookup(vocabulary=["", "[UNK]", *words], mask_token="")("a").tolist() == 2
    several = StringLookup(vocabulary=["a", "b", "c", "d"], num_oov_indices=2)
    assert several([["a", "c", "d"], ["m", "z", "b"]]).tolist() == [[2, 4, 5], [0, 1, 3]]  # Keras' documentation
    back = StringLookup(vocabulary=words, mask_token="", invert=True)
    assert back([[3, 1], [0, 9]]).tolist() == [["b", "[UNK]"], ["", "[UNK]"]]
    assert StringLookup().adapt(np.array(["b", "a", "b"])).get_vocabulary() == ["[UNK]", "b", "a"]
    assert StringLookup().adapt(["[UNK]", "b"]).get_vocabulary() == ["[UNK]", "b"]


def test_numbers_and_their_reserved_places():
    numbers = [12, 36, 1138, 42]
    assert IntegerLookup(vocabulary=numbers)([[12, 1138, 42], [42, 1000, 36]]).tolist() == [[1, 3, 4], [4, 0, 2]]
    several = IntegerLookup(vocabulary=numbers, num_oov_indices=2)
    assert several([[12, 1138, 42], [37, 1000, 36]]).tolist() == [[2, 4, 5], [1, 0, 3]]  # Keras' documentation
    back = IntegerLookup(vocabulary=numbers, mask_token=0, invert=True)([[2, 0], [1, 99]])
    assert back.tolist() == [[12, 0], [-1, -1]]
    assert back.dtype == np.int64
    assert IntegerLookup().adapt([5, 7, 7, -1]).get_vocabulary() == [-1, 7, 5]


def test_vectors_of_terms():
    lookup = StringLookup(vocabulary=["a", "b"], output_mode="one_hot")
    assert lookup(["b", "z"]).tolist() == [[0, 0, 1], [1, 0, 0]]
    assert lookup([["b"], ["z"]]).tolist() == [[0, 0, 1], [1, 0, 0]]
    masked = StringLookup(vocabulary=["a", "b"], output_mode="count", mask_token="")
    assert masked([["a", "a", ""], ["", "z", "b"]]).tolist() == [[0, 2, 0], [1, 0, 1]]
    weighted = StringLookup(vocabulary=["a", "b"], idf_weights=[0.5, 2.0], output_mode="tf_idf")
    assert weighted([["a", "a", "z"]]).tolist() == [[1.25, 1.0, 0.0]]


def test_the_hash_is_farm_hash():
    """Values of TensorFlow's to_hash_bucket_fast; each length has its own way."""
    words = [b"", b"a", b"abcd", b"abcdefgh", b"0123456789" * 2, b"0123456789" * 5, b"0123456789" * 10, b"x" * 129]
    assert [farm_hash(word) % (2**63 - 25) for word in words] == [
        1936946117179621480,
        3694432073954588156,
        1897425971756105985,
        9145071594317031714,
        8348072025982005903,
        5565497893534144801,
        5075634454939960746,
        8569775344161521359,
    ]


WRONG = [
    (lambda: TextVectorization()(["a"]), px.StructureError, r"StringLookup expects a vocabulary, got none\n  fix: c"),
    (lambda: TextVectorization().adapt([]), px.StructureError, r"terms of str, got none"),
    (lambda: TextVectorization(vocabulary=["a"])([1]), px.StructureError, r"texts, got 1"),
    (lambda: TextVectorization(vocabulary=["a"])([b"a"]), px.StructureError, r"texts, got bytes"),
    (lambda: TextVectorization(standardize="upper"), px.RangeError, r"standardize to be known, got 'upper'"),
    (lambda: TextVectorization(split="words"), px.RangeError, r"split to be known, got 'words'"),
    (lambda: TextVectorization(ngrams=0), px.RangeError, r"ngrams to be a whole number of at least 1, got 0"),
    (lambda: TextVectorization(output_mode="hot"), px.RangeError, r"a mode of output, got 'hot'"),
    (lambda: TextVectorization(output_mode="one_hot"), px.RangeError, r"a mode of output for texts, got 'one_hot'"),
    (lambda: TextVectorization(output_mode="count", output_sequence_length=3), px.OptionError, r"with indices alone"),
    (lambda: StringLookup(1), px.RangeError, r"max_tokens to be a whole number of at least 2, got 1"),
    (lambda: StringLookup(pad_to_max_tokens=True), px.OptionError, r"max_tokens for pad_to_max_tokens, got None"),
    (lambda: StringLookup(invert=True, output_mode="count"), px.OptionError, r"indices for invert, got outp"),
    (lambda: StringLookup(vocabulary="words.txt"), px.StructureError, r"terms in a list, got 'words.txt'"),
    (lambda: StringLookup(vocabulary=["a", 1]), px.StructureError, r"terms of str, got 1"),
    (lambda: StringLookup(vocabulary=["a", "a"]), px.StructureError, r"each term once, got \['a'\] again"),
    (lambda: StringLookup(vocabulary=["a", ""], mask_token=""), px.StructureError, r"the mask token in front alone"),
    (lambda: StringLookup(2, vocabulary=["a", "b"]), px.RangeError, r"at most 2 tokens, got 3"),
    (lambda: StringLookup(vocabulary=["a"], output_mode="tf_idf"), px.StructureError, r"idf_weights with \"tf_i"),
    (lambda: StringLookup(vocabulary=["a"], idf_weights=[1.0, 2.0], output_mode="tf_idf"), px.StructureError, r"1 w"),
    (lambda: StringLookup(vocabulary=["a"], num_oov_indices=0)(["z"]), px.RangeError, r"terms of the vocabulary"),
    (lambda: IntegerLookup(vocabulary=[1])(["a"]), px.StructureError, r"terms of int, got 'a'"),
    (lambda: IntegerLookup(vocabulary=[1])([True]), px.StructureError, r"terms of int, got True"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "kind", "text"), WRONG)
def test_what_cannot_be_is_refused(call, kind, text):
    with pytest.raises(kind, match=text):
        call()
