"""Data of other libraries: what their users pass works as they expect, or is refused with the cure."""

from __future__ import annotations

import array
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import oracle
from peers import peer
from phlox.data.readers._foreign import native

RNG = np.random.default_rng(0)
X = RNG.normal(size=(23, 3)).astype("float32")
Y = (X[:, 0] > 0).astype("int32")


class ByArray:
    def __array__(self, dtype=None, copy=None):
        return X


class ByDLPack:
    def __dlpack__(self, **options):
        return X.__dlpack__(**options)

    def __dlpack_device__(self):
        return X.__dlpack_device__()


def _made(kind: str) -> Any:
    if kind == "torch":
        torch = oracle("torch")
        return torch.tensor(X), torch.tensor(Y)
    if kind in ("polars", "polars frame"):
        polars = pytest.importorskip("polars")
        return polars.DataFrame(X), polars.Series(Y)
    if kind == "pandas nullable":
        pandas = pytest.importorskip("pandas")
        return pandas.DataFrame(X).convert_dtypes(), pandas.Series(Y, dtype="Int32")
    if kind == "pyarrow":
        pyarrow = pytest.importorskip("pyarrow")
        return pyarrow.table({name: X[:, i] for i, name in enumerate("abc")}), pyarrow.array(Y)
    if kind in ("csr_matrix", "csc_array", "coo_array"):
        return getattr(oracle("scipy.sparse"), kind)(X), Y
    return {"__array__": ByArray(), "__dlpack__": ByDLPack(), "memoryview": memoryview(X)}[kind], Y


KINDS = (
    "torch",
    "polars",
    "pandas nullable",
    "pyarrow",
    "csr_matrix",
    "csc_array",
    "coo_array",
    "__array__",
    "__dlpack__",
    "memoryview",
)


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_loader_reads_is_what_numpy_would_give(kind):
    loader = px.DataLoader(_made(kind), 5, shuffle=True)
    expected = px.DataLoader((X, Y), 5, shuffle=True)
    for (x, y), (a, b) in zip(loader, expected, strict=True):
        np.testing.assert_array_equal(np.asarray(x), np.asarray(a))
        np.testing.assert_array_equal(np.asarray(y), np.asarray(b))


def test_bfloat16_by_dlpack_though_numpy_has_none():
    class Narrow(ByDLPack):
        def __dlpack__(self, **options):
            return jnp.asarray(X, "bfloat16").__dlpack__()

    found = native(Narrow())
    assert found.dtype == jnp.bfloat16
    np.testing.assert_array_equal(found, X.astype(jnp.bfloat16))


@pytest.mark.parametrize("kind", ["polars", "pyarrow", "csr_matrix", "torch"])
def test_a_fit_takes_the_same_steps(kind):
    models = [px.Dense.of(jnp.ones((3, 2)) * jnp.arange(1.0, 3), jnp.zeros(2)) for _ in range(2)]
    for model, data in zip(models, (_made(kind), (X, Y)), strict=True):
        px.fit(model, data, loss=px.losses.cross_entropy, optimizer=px.optim.Descent(0.1), batch_size=8, progress=False)
    np.testing.assert_array_equal(np.asarray(models[0].weight), np.asarray(models[1].weight))


@pytest.mark.parametrize("kind", ["polars", "pyarrow", "csr_matrix"])
def test_splits_keep_the_kind(kind):
    x, _ = _made(kind)
    assert px.data.numobs(x) == 23
    a, b = px.data.splitobs(x, 0.7)
    assert type(a) is type(x)
    np.testing.assert_array_equal(np.concatenate([_dense(native(a)), _dense(native(b))]), X)
    np.testing.assert_array_equal(np.asarray(px.data.getobs(x, 4)), X[4])


def _dense(rows: Any) -> np.ndarray:
    return rows if isinstance(rows, np.ndarray) else rows[np.arange(len(rows))]


def test_bfloat16_tensors_keep_their_bits():
    torch = oracle("torch")
    values = torch.tensor([[1.5, -2.25], [0.1, 3e38]], dtype=torch.bfloat16)
    found = native(values)
    assert found.dtype == jnp.bfloat16
    np.testing.assert_array_equal(found.astype("float32"), values.float().numpy())
    assert native(torch.ones(2, 2).to_sparse()).tolist() == [[1, 1], [1, 1]]
    assert native(torch.ones(2, requires_grad=True)).tolist() == [1, 1]
    assert native(array.array("f", [1, 2])).tolist() == [1, 2]


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_loader_of_pytorch_trains_and_is_counted(shuffle):
    torch = oracle("torch")
    data = torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(Y))
    torch.manual_seed(0)
    theirs = [(x.numpy(), y.numpy()) for x, y in torch.utils.data.DataLoader(data, 8, shuffle=shuffle)]
    torch.manual_seed(0)
    losses = []
    for batches in (torch.utils.data.DataLoader(data, 8, shuffle=shuffle), theirs):
        model, rule = px.Dense.of(jnp.ones((3, 2)) * jnp.arange(1.0, 3), jnp.zeros(2)), px.optim.Descent(0.1)
        history = px.fit(model, batches, loss=px.losses.cross_entropy, optimizer=rule, progress=False)
        losses.append(history.losses)
    np.testing.assert_array_equal(*losses)
    loader = torch.utils.data.DataLoader(data, 8, shuffle=shuffle)
    if not shuffle:
        np.testing.assert_array_equal(px.predict(model, loader), px.predict(model, theirs))
        return
    with pytest.raises(px.RangeError, match=r"px\.predict expects a loader in the order of the data"):
        px.predict(model, loader)


def test_px_train_takes_tensors_too():
    torch = oracle("torch")
    batches = [(torch.tensor(X[:8]), torch.tensor(Y[:8])), (torch.tensor(X[8:16]), torch.tensor(Y[8:16]))]
    results = []
    for data in (batches, [(x.numpy(), y.numpy()) for x, y in batches]):
        model = px.Dense.of(jnp.ones((3, 2)), jnp.zeros(2))
        opt = px.Optimizer(px.optim.Descent(0.1), model)
        results.append(px.train(px.losses.cross_entropy, model, data, opt).losses)
    np.testing.assert_array_equal(*results)


def test_a_hugging_face_stream_gives_arrays_and_keeps_its_order():
    datasets = pytest.importorskip("datasets")
    stream = datasets.Dataset.from_dict({"x": X, "y": Y}).to_iterable_dataset()
    seen = [np.asarray(batch["x"]) for batch in px.DataLoader(stream, 8)]
    np.testing.assert_array_equal(np.concatenate(seen), X)

    def loss(model, batch):
        return px.losses.cross_entropy(model(batch["x"]), batch["y"])

    history = px.fit(px.Dense(3, 2), stream, loss=loss, optimizer=px.optim.Adam(), batch_size=8, progress=False)
    assert history.losses.shape == (3,)


def test_batches_by_index_of_keras_are_batches_and_may_shuffle_at_the_end():
    keras = peer("keras")

    class Batches(keras.utils.PyDataset):
        ended = 0

        def __len__(self):
            return 3

        def __getitem__(self, i):
            return X[i * 8 : i * 8 + 8], Y[i * 8 : i * 8 + 8]

        def on_epoch_end(self):
            self.ended += 1

    data = Batches()
    history = px.fit(
        px.Dense(3, 2), data, loss=px.losses.cross_entropy, optimizer=px.optim.Adam(), epochs=2, progress=False
    )
    assert history.losses.shape == (6,)
    assert data.ended == 2


class Indexed:
    """Something with a length and an index; only its maker knows what the items are."""

    def __init__(self, items: list[Any]):
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, i: int) -> Any:
        return self.items[i]


def test_items_that_may_be_batches_are_asked_about():
    data = Indexed([(X[:8], Y[:8]), (X[8:16], Y[8:16])])
    with pytest.raises(px.RangeError) as caught:
        _fit(data)
    assert str(caught.value) == (
        "px.fit(train_data) expects to be told whether the items are examples or batches, got Indexed whose first item "
        "has 8 rows in every part\n  fix: pass px.DataLoader(data, batch_size) for examples, or "
        "[data[i] for i in range(len(data))] for batches"
    )
    assert _fit(Indexed([(x, y) for x, y in zip(X, Y, strict=True)])).losses.shape == (3,)


def _fit(data: Any) -> Any:
    model = px.Dense(3, 2)
    rule = px.optim.Descent(0.1)
    return px.fit(model, data, loss=px.losses.cross_entropy, optimizer=rule, batch_size=8, progress=False)


@pytest.mark.parametrize(
    ("data", "error", "text"),
    [
        (lambda: (np.array([[1, None, 2.0]] * 9, object), Y[:9]), px.DtypeError, "data[0], got None at [0, 1]"),
        (lambda: (np.array([[1, 2.5, 2.0]] * 9, object), Y[:9]), px.DtypeError, "numbers as Python objects"),
        (lambda: (np.array(["2020-01-01"] * 9, "M8[D]"), Y[:9]), px.DtypeError, "got datetime64[D]\n  fix: count from"),
        (lambda: (np.zeros(9, [("a", "f4")]), Y[:9]), px.DtypeError, "got records [('a', '<f4')]\n  fix: pass a dict"),
        (lambda: (np.ma.masked_less(X, 0), Y), px.RangeError, "got a masked array with "),
        (lambda: [(x, y) for x, y in zip(X, Y, strict=True)], px.ShapeError, "got float32[3] and a single number"),
        (lambda: lambda: iter(()), px.RangeError, "fix: pass px.DataLoader(function, batch_size=32)"),
        (
            lambda: (pytest.importorskip("polars").DataFrame({"a": [1.0, None]}), Y[:2]),
            px.RangeError,
            "got 1 missing in column 'a'\n  fix: fill them in or leave the rows out first, for example by .fill_null(",
        ),
        (
            lambda: (pytest.importorskip("pyarrow").table({"a": [1.0, None]}), Y[:2]),
            px.RangeError,
            "got 1 missing in column 'a'",
        ),
    ],
)
def test_what_is_no_number_is_refused_with_the_cure(data, error, text):
    with pytest.raises(error) as caught:
        _fit(data())
    assert str(caught.value).startswith("px.fit")
    assert text in str(caught.value)


def test_a_misspelt_part_of_a_batch_is_told_beside_those_there():
    data = {"image": X, "label": Y}

    def loss(model, batch):
        return px.losses.cross_entropy(model(batch["image"]), batch["lable"])

    with pytest.raises(KeyError) as caught:
        px.fit(px.Dense(3, 2), data, loss=loss, optimizer=px.optim.Adam(), progress=False)
    assert "px.fit: the batch has 'image', 'label'" in caught.value.__notes__


@pytest.mark.parametrize(
    ("values", "fits"),
    [
        (np.array([0, 2**32 - 1], "uint64"), True),
        (np.array([0, 2**32], "uint64"), False),
        (np.array([-(2**31), 2**31 - 1], "int64"), True),
        (np.array([0, 2**31], "int64"), False),
        (np.array([-(2**31) - 1, 0], "int64"), False),
    ],
)
def test_whole_numbers_beyond_32_bits_never_wrap(values, fits):
    loader = px.DataLoader(values, 2)
    if fits:
        np.testing.assert_array_equal(np.asarray(next(iter(loader))).astype(object), values.astype(object))
        return
    with pytest.raises(px.DtypeError, match=r"integers that fit u?int32"):
        next(iter(loader))
