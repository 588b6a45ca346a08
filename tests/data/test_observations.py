"""Observations, views, batches and padding, and scaling against scikit-learn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import assert_close, oracle
from phlox import data as D

torch, scaling = oracle("torch"), oracle("sklearn.preprocessing")
RNG = np.random.default_rng(0)


class Squares:
    """A dataset that counts what is read."""

    def __init__(self, n):
        self.n, self.read = n, []

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        self.read.append(i)
        return i * i


class Frame:
    """What is used of a pandas frame: rows by ``iloc``, and the numbers."""

    def __init__(self, rows):
        self.rows = np.asarray(rows)
        self.iloc = self

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        return self.rows[i] if isinstance(i, int) else Frame(self.rows[i])

    def to_numpy(self):
        return self.rows


def test_every_kind_of_data_is_counted_and_taken():
    x = np.arange(12).reshape(6, 2)
    data = {"x": x, "pair": (jnp.asarray(x[:, 0]), list("abcdef")), "frame": Frame(x)}
    assert D.numobs(data) == 6
    one, several = D.getobs(data, -1), D.getobs(data, [4, 0])
    assert one["pair"] == (10, "f")
    assert several["pair"][1] == ["e", "a"]
    np.testing.assert_array_equal(several["x"], x[[4, 0]])
    np.testing.assert_array_equal(several["frame"].rows, x[[4, 0]])
    mask = D.getobs(data, np.arange(6) % 2 == 0)
    assert mask["pair"][0].tolist() == [0, 4, 8]
    assert D.getobs(data, slice(1, 3))["pair"][1] == ["b", "c"]
    assert D.getobs(5, [3, 1]).tolist() == [3, 1]


def test_a_pandas_frame_is_data():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": np.arange(6.0), "b": np.arange(6.0) ** 2})
    train, test = D.splitobs((frame, np.arange(6)), 0.5, seed=0)
    np.testing.assert_array_equal(train[0]["a"], train[1])
    assert sorted([*train[0]["a"], *test[0]["a"]]) == list(range(6))
    np.testing.assert_allclose(D.Standardize.fit(frame)(frame).mean(0), 0, atol=1e-6)


def test_views_read_what_is_asked_for_and_only_then():
    squares = Squares(10)
    train, test = D.splitobs(squares, 0.5, seed=1)
    view = D.mapobs(lambda n: n + 1, D.joinobs(train, test))
    windows = D.sliding_windows(squares, 3, stride=2)
    assert squares.read == []
    assert view[0] == train[0] + 1
    assert squares.read == [train.index[0]] * 2
    assert sorted(view) == sorted(n * n + 1 for n in range(10))
    assert view[-1] == test[len(test) - 1] + 1
    assert list(windows[1]) == [4, 9, 16]
    assert len(windows) == 4
    assert list(view[np.array([1, 0])]) == [view[1], view[0]]
    assert D.getobs(train[1:3]) == [train[1], train[2]]
    assert isinstance(D.ObsView(train, [0])[0], int)


def test_windows_are_numpys():
    x = RNG.normal(size=(11, 2))
    want = np.moveaxis(np.lib.stride_tricks.sliding_window_view(x, 4, axis=0), -1, 1)
    np.testing.assert_array_equal(D.batch(D.sliding_windows(x, 4)), want)
    np.testing.assert_array_equal(D.batch(D.sliding_windows(x, 4, stride=3)), want[::3])
    assert len(D.sliding_windows(x, 12)) == 0


def test_groups_keep_order_and_lose_nothing():
    labels = ["b", "a", "b", "c", "a"]
    assert {k: v.tolist() for k, v in D.group_indices(labels).items()} == {"b": [0, 2], "a": [1, 4], "c": [3]}
    assert list(D.group_indices(labels)) == ["b", "a", "c"]
    grouped = D.groupobs({"x": np.arange(5)}, labels)
    assert {k: v["x"].tolist() for k, v in grouped.items()} == {"b": [0, 2], "a": [1, 4], "c": [3]}
    assert D.filterobs(lambda n: n > 2, np.arange(5)).tolist() == [3, 4]


def test_batches_come_apart_again():
    tree = {"x": RNG.normal(size=(4, 3)), "y": (np.arange(4), jnp.arange(4.0))}
    again = D.batch(D.unbatch(tree))
    assert isinstance(again["y"][1], jax.Array)
    assert isinstance(again["x"], np.ndarray)
    jax.tree.map(np.testing.assert_array_equal, again, tree)


def test_padding_is_pytorchs():
    sequences = [RNG.normal(size=(n, 2)).astype("float32") for n in (3, 5, 1)]
    values, lengths = padded = D.batch_sequences(sequences, pad=-1.5)
    want = torch.nn.utils.rnn.pad_sequence([torch.tensor(s) for s in sequences], batch_first=True, padding_value=-1.5)
    np.testing.assert_array_equal(values, want.numpy())
    assert lengths.tolist() == [3, 5, 1]
    assert padded.mask.sum(1).tolist() == [3, 5, 1]
    assert padded.mask[0].tolist() == [True] * 3 + [False] * 2
    back = torch.nn.utils.rnn.unpad_sequence(want, torch.tensor(lengths), batch_first=True)
    for ours, theirs, first in zip(D.unbatch_sequences(values, lengths), back, sequences, strict=True):
        np.testing.assert_array_equal(ours, theirs.numpy())
        np.testing.assert_array_equal(ours, first)
    assert D.batch_sequences(sequences, multiple=4).values.shape == (3, 8, 2)
    assert D.batch_sequences([[1], []], length=3).values.tolist() == [[1, 0, 0], [0, 0, 0]]
    assert isinstance(D.batch_sequences([jnp.arange(2), jnp.arange(3)]).values, jax.Array)


X = RNG.normal([3.0, -200.0, 7.0], [2.0, 50.0, 0.0], (30, 3)).astype("float32")  # the last column is constant


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (D.Standardize.fit(X), scaling.StandardScaler()),
        (D.Normalize.fit(X), scaling.MinMaxScaler()),
        (D.Normalize.fit(X, low=-2, high=3), scaling.MinMaxScaler((-2, 3))),
    ],
    ids=["standardize", "normalize", "range"],
)
def test_scaling_is_scikit_learns(ours, theirs):
    want = theirs.fit(X.astype("float64")).transform(X.astype("float64"))
    got = ours(X)
    assert isinstance(got, np.ndarray)
    assert_close(got, want)
    compiled = px.jit(lambda scale, x: (scale(x), scale.inverse(scale(x))))(ours, jnp.asarray(X))
    assert_close(compiled[0], want, scale=3)  # float32 through and through
    assert_close(compiled[1], X, scale=3)
    assert_close(ours.inverse(got), X)
    assert px.split(ours)[0] == {}


def test_scaling_is_saved_with_the_model():
    class Model(px.Module):
        def __init__(self, scale):
            self.scale, self.dense = scale, px.Dense.of(jnp.ones((3, 1)), None)

        def __call__(self, x):
            return self.dense(self.scale(x))

    model, fresh = Model(D.Standardize.fit(X)), Model(D.Standardize(jnp.zeros(3), jnp.ones(3)))
    assert list(px.split(model)[0]) == ["dense.weight"]
    assert px.load_state_dict(fresh, px.state_dict(model)).complete
    np.testing.assert_array_equal(fresh(jnp.asarray(X)), model(jnp.asarray(X)))
    assert px.grad(lambda m: m(jnp.asarray(X)).sum())(model).scale.mean is None
    assert px.bf16(model).scale.mean.dtype == jnp.float32


def test_axes_parts_and_dtypes_of_scaling():
    images = RNG.normal(5.0, 3.0, (10, 4, 4, 2))
    channels, pixels, all_of_it = (D.Standardize.fit(images, axis=a) for a in (-1, (1, 2, 3), None))
    assert [s.mean.shape for s in (channels, pixels, all_of_it)] == [(2,), (4, 4, 2), ()]
    np.testing.assert_allclose(channels.mean, images.mean((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(pixels.std, images.std(0), rtol=1e-6)
    np.testing.assert_allclose(channels(images).std((0, 1, 2)), 1, rtol=1e-6)
    np.testing.assert_allclose(pixels(images[0]), pixels(images)[0])  # one observation alone
    middle = D.Standardize.fit(images, axis=1)
    np.testing.assert_allclose(middle.mean, images.mean((0, 2, 3))[:, None, None], rtol=1e-6)
    parts = {"a": X, "b": (X[:, :1], np.arange(30))}
    scaled = D.Standardize.fit(parts)(parts)
    np.testing.assert_allclose(scaled["b"][0], scaled["a"][:, :1])
    assert [scaled["a"].dtype, scaled["b"][1].dtype, channels(images).dtype] == ["float32", "float32", "float64"]
    np.testing.assert_allclose(scaled["b"][1].std(), 1, rtol=1e-6)
    nearly = np.full((20, 1), 0.1, "float32") + np.float32(1e-9)
    assert D.Standardize.fit(nearly).std.tolist() == [1.0]


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: D.numobs({"a": np.zeros(3), "b": [1]}), px.ShapeError, r"as many observations .*, got a: 3, b: 1"),
        (lambda: D.numobs("text"), px.ShapeError, r"data that holds observations, got 'text'"),
        (lambda: D.numobs(np.float32(1)), px.ShapeError, r"numobs expects data that holds observations"),
        (lambda: D.getobs(np.zeros(3), 3), px.RangeError, r"whole numbers in 0 … 2, got \[3\]"),
        (lambda: D.getobs(np.zeros(3), [0.5]), px.RangeError, r"whole numbers in 0 … 2, got \[0.5\]"),
        (lambda: D.getobs([1, 2, 3], np.array([True])), px.ShapeError, r"a mask of shape \(3,\), got bool\[1\]"),
        (lambda: D.sliding_windows(5, 0), px.RangeError, r"size to be a whole number of at least 1, got 0"),
        (lambda: D.batch([]), px.ShapeError, r"at least one observation, got none"),
        (lambda: D.batch([np.zeros(2), np.zeros(3)]), px.ShapeError, r"one shape, got \(2,\) and \(3,\)"),
        (lambda: D.batch([{"a": 1}, {"b": 1}]), px.ShapeError, r"observations of one structure"),
        (
            lambda: D.unbatch((np.zeros(2), np.zeros(3))),
            px.ShapeError,
            r"one first axis, got float64\[2\], float64",
        ),
        (lambda: D.batch_sequences([[1, 2]], length=1), px.RangeError, r"sequences of at most 1, got 2"),
        (lambda: D.batch_sequences([np.zeros((2, 1)), np.zeros((2, 2))]), px.ShapeError, r"one shape behind time"),
        (lambda: D.unbatch_sequences(np.zeros((2, 3)), [1, 4]), px.RangeError, r"lengths in 0 … 3, got \[1, 4\]"),
        (
            lambda: D.Standardize.fit(X)(X[:, :2]),
            px.ShapeError,
            r"expects x of \(..., 3\), got float32\[30, 2\]",
        ),
        (
            lambda: D.Standardize.fit(np.array([[np.nan]])),
            px.RangeError,
            r"finite numbers, got float64\[1, 1\] with",
        ),
        (lambda: D.Standardize.fit(X, axis=0), px.RangeError, r"axis among 1 … 1, got 0"),
        (lambda: D.Standardize.fit(X)({"a": X}), px.StructureError, r"Standardize expects parts"),
        (lambda: D.Standardize.fit(np.array(["a"])), px.StructureError, r"arrays of real numbers"),
        (lambda: D.Normalize.fit(X, low=1, high=1), px.RangeError, r"low below high, got low=1, high=1"),
    ],
)
def test_refused(call, kind, message):
    with pytest.raises(kind, match=message) as caught:
        call()
    assert caught.value.fix
    assert caught.value.where
