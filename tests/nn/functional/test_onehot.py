"""One-hot vectors against torch.nn.functional.one_hot and a loop over labels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kit import assert_close, oracle
from phlox.core._errors import DtypeError, RangeError, ShapeError
from phlox.nn import functional as F

torch = oracle("torch")


@pytest.mark.parametrize("shape", [(), (5,), (2, 3)])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int32", "bool"])
def test_numbers_match_torch(shape, dtype):
    labels = np.random.default_rng(0).integers(0, 4, shape)
    y = F.one_hot(labels, 4, dtype=dtype)
    assert y.dtype == dtype
    assert_close(y.astype("float32"), torch.nn.functional.one_hot(torch.tensor(labels), 4).float().numpy())
    assert_close(F.from_one_hot(y), labels.astype("int32"))
    assert_close(jax.jit(lambda i: F.one_hot(i, 4, dtype=dtype))(labels).astype("float32"), y.astype("float32"))


@pytest.mark.parametrize(
    ("classes", "labels"),
    [
        (["cat", "dog", "emu"], ["dog", "dog", "cat"]),
        ((10, 20, 30), [30, 10]),
        ([(0, 1), "a", None, 2.5], [2.5, (0, 1), None, "a"]),
        ([True, False], [False]),
        (range(5, 8), [7, 5]),
        (np.array(["x", "y"]), ["y"]),
    ],
)
def test_labels_of_any_kind_come_back(classes, labels):
    y = F.one_hot(labels, classes)
    for row, label in zip(np.asarray(y), labels, strict=True):
        assert [list(classes)[i] for i in np.flatnonzero(row)] == [label]
        assert row.sum() == 1
    assert F.from_one_hot(y, classes).tolist() == labels
    assert F.from_one_hot(F.one_hot(labels[0], classes), classes) == labels[0]


def test_arrays_of_labels_keep_their_shape():
    labels = np.array([["a", "b"], ["c", "a"]])
    y = F.one_hot(labels, ["a", "b", "c"])
    assert y.shape == (2, 2, 3)
    assert F.from_one_hot(y, ["a", "b", "c"]).tolist() == labels.tolist()
    assert F.one_hot(jnp.array([3, 1]), [1, 3]).tolist() == [[0, 1], [1, 0]]


def test_the_default_stands_for_the_unknown():
    assert F.one_hot(["a", "z"], ["a", "b", "other"], default="other").tolist() == [[1, 0, 0], [0, 0, 1]]
    assert F.one_hot(np.array([0, 9, -1]), 3, default=2).tolist() == [[1, 0, 0], [0, 0, 1], [0, 0, 1]]
    assert jax.jit(lambda i: F.one_hot(i, 3, default=2))(np.array([0, 9])).tolist() == [[1, 0, 0], [0, 0, 1]]


def test_traced_labels_outside_are_rows_of_zeros():
    assert jax.jit(lambda i: F.one_hot(i, 2))(np.array([1, 2])).tolist() == [[0, 1], [0, 0]]
    assert jax.vmap(lambda i: F.one_hot(i, 2))(jnp.array([1, 0])).tolist() == [[0, 1], [1, 0]]


def test_decisions_take_the_first_of_equal_entries_along_any_axis():
    y = jnp.array([[0.2, 0.5], [0.2, 0.1], [0.1, 0.5]])
    assert F.from_one_hot(y, axis=0).tolist() == [0, 0]
    assert F.from_one_hot(y, ["a", "b", "c"], axis=0).tolist() == ["a", "a"]
    assert F.from_one_hot(y).dtype == "int32"


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda: F.one_hot([0, 3, -1], 3),
            RangeError,
            r"one_hot expects labels from 0 to 2, got \[-1, 3\]\n  fix: raise classes",
        ),
        (lambda: F.one_hot([0.5], 3), DtypeError, r"integer labels from 0 to 2, got float32\[1\]"),
        (lambda: F.one_hot([0], 0), RangeError, "at least 1 class, got 0"),
        (lambda: F.one_hot([0], 3, default=3), RangeError, "a default from 0 to 2, got 3"),
        (lambda: F.one_hot(["c"], ["a", "b"]), RangeError, r"labels among the classes \['a', 'b'\], got 'c'"),
        (
            lambda: F.one_hot(["a"], ["a", "b"], default="z"),
            RangeError,
            r"a default among the classes \['a', 'b'\], got 'z'",
        ),
        (lambda: F.one_hot(["a"], ["a", "a"]), RangeError, r"different labels, got \['a', 'a'\]"),
        (lambda: F.one_hot(["a"], "ab"), RangeError, "different labels, got 'ab'"),
        (lambda: jax.jit(lambda i: F.one_hot(i, [3, 4]))(np.array([3])), DtypeError, "concrete labels, since classes"),
        (
            lambda: F.from_one_hot(jnp.zeros((2, 3)), ["a", "b"]),
            ShapeError,
            r"2 entries along axis -1, one per class, got float32\[2, 3\]",
        ),
        (
            lambda: F.from_one_hot(jnp.zeros((2, 0))),
            ShapeError,
            r"at least one class along axis -1, got float32\[2, 0\]",
        ),
        (lambda: F.from_one_hot(jnp.zeros(3), axis=1), ShapeError, "along axis 1"),
    ],
)
def test_errors_say_what_and_where(call, error, text):
    with pytest.raises(error, match=text):
        call()
