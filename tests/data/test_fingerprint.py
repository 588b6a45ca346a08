"""Fingerprints of data: equal for equal numbers however they come, different for any other; no file is read."""

import hashlib

import numpy as np
import pandas as pd
import pytest

import phlox as px

X = np.random.default_rng(0).normal(size=(40, 3)).astype("float32")
Y = np.arange(40)


def test_the_digest_is_sha256_of_names_and_numbers():
    found = px.data.fingerprint(X)
    name = f" float32 {X.shape[1:]}".encode()
    wanted = hashlib.sha256(b"float32[40, 3]" + name + hashlib.sha256(X.tobytes()).digest()).hexdigest()
    assert found == px.data.Fingerprint("float32[40, 3]", 40, wanted, 40)


def test_equal_data_has_one_digest_in_every_form():
    wanted = px.data.fingerprint((X, Y))
    assert wanted.content == "float32[40, 3], int64[40]"
    loader = px.DataLoader((X, Y), batch_size=7, shuffle=True, seed=3)
    assert px.data.fingerprint(loader) == wanted
    view = px.data.ObsView((X[::-1], Y[::-1]), np.arange(40)[::-1])
    assert px.data.fingerprint(px.DataLoader(view, batch_size=4)) == wanted
    assert px.data.fingerprint(pd.DataFrame(X)).digest == px.data.fingerprint(X).digest


@pytest.mark.parametrize(
    "other",
    [
        (X[::-1], Y),
        (X, Y[::-1]),
        (X.astype("float64"), Y),
        (np.where(np.arange(40)[:, None] == 17, X + 1, X), Y),
        (X[:39], Y[:39]),
        {"x": X, "y": Y},
        (X.reshape(40, 3, 1), Y),
    ],
    ids=["order", "order of one part", "dtype", "one row", "fewer", "names", "shape"],
)
def test_other_data_has_another_digest(other):
    assert px.data.fingerprint(other).digest != px.data.fingerprint((X, Y)).digest


def test_large_data_is_sampled_and_says_so():
    found = px.data.fingerprint(X, most=10 * 12)
    assert (found.rows, found.looked_at) == (40, 10)
    last = X.copy()
    last[-1] += 1
    unseen = X.copy()
    unseen[1] += 1  # between the first rows that are taken: 0, 4, 8, …
    assert px.data.fingerprint(last, most=120) != found
    assert px.data.fingerprint(unseen, most=120) == found


def test_blocks_do_not_show(monkeypatch):
    wanted = px.data.fingerprint((X, Y))
    monkeypatch.setattr("phlox.data._fingerprint._BLOCK", 100)
    assert px.data.fingerprint((X, Y)) == wanted


def test_lists_of_batches_are_read_whole():
    batches = [(X[:30], Y[:30]), (X[30:], Y[30:])]
    found = px.data.fingerprint(batches)
    assert found.content == "2 batches of float32[30, 3], int64[30]"
    assert found.digest
    changed = [batches[0], (X[30:] + 1, Y[30:])]
    assert px.data.fingerprint(changed).digest != found.digest


class Rows:
    """A data set that must not be read: its rows are drawn at random."""

    def __len__(self):
        return 5

    def __getitem__(self, index):
        raise AssertionError("it was read")


def test_what_is_not_in_memory_is_not_read():
    assert px.data.fingerprint(px.DataLoader(Rows(), batch_size=2)) == px.data.Fingerprint("Rows", 5)
    rows = Rows()
    rows.fingerprint = "of its own"
    assert px.data.fingerprint(px.DataLoader(rows, batch_size=2)).digest == "of its own"
    assert px.data.fingerprint(iter([X])).digest == ""
