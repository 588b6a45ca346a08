"""Tables: against pandas and scikit-learn's imputing, scaling and encoding; what was fitted is used again and saved."""

import numpy as np
import pandas
import pytest

import phlox as px
from kit import oracle
from phlox import data as D
from phlox.weights import CorruptFileError

impute, prepare = oracle("sklearn.impute"), oracle("sklearn.preprocessing")
oracle("pyarrow")
RNG = np.random.default_rng(0)


def made(rows, cities=("Oslo", "Rome", "Bonn")):
    frame = pandas.DataFrame(
        {
            "age": RNG.normal(40, 12, rows),
            "rooms": RNG.integers(1, 9, rows),
            "garden": RNG.random(rows) < 0.5,
            "city": RNG.choice(cities, rows),
            "zone": RNG.integers(100, 104, rows),
            "price": RNG.normal(size=rows),
        }
    )
    frame.loc[::5, "age"] = np.nan
    frame.loc[::7, "city"] = None
    return frame


TRAIN, TEST = made(60), made(25, ("Oslo", "Paris", "Bonn"))
NUMBERS = ["age", "rooms", "garden"]


@pytest.mark.parametrize("missing", ["mean", "median"])
def test_numbers_are_filled_in_and_scaled_as_by_scikit_learn(missing):
    train = D.Table.of(TRAIN, target="price", categories=["zone"], missing=missing)
    test = D.Table.of(TEST, like=train)
    fill, scale = impute.SimpleImputer(strategy=missing), prepare.StandardScaler()
    theirs = scale.fit_transform(fill.fit_transform(TRAIN[NUMBERS].astype(float)))
    again = scale.transform(fill.transform(TEST[NUMBERS].astype(float)))
    np.testing.assert_allclose(train.x["numbers"], theirs, atol=2e-6)
    np.testing.assert_allclose(test.x["numbers"], again, atol=2e-6)
    np.testing.assert_array_equal(test.x["missing"], TEST[NUMBERS].isna())
    np.testing.assert_allclose(test.y, TEST["price"], rtol=1e-6)


def test_categories_are_numbered_as_by_scikit_learn():
    train = D.Table.of(TRAIN, target="price", categories=["zone"])
    test = D.Table.of(TEST, like=train)
    encode = prepare.OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-1)
    encode.fit(TRAIN[["city", "zone"]].dropna())
    np.testing.assert_array_equal(train.x["codes"], encode.transform(TRAIN[["city", "zone"]]) + 1)
    np.testing.assert_array_equal(test.x["codes"], encode.transform(TEST[["city", "zone"]]) + 1)
    assert train.encoder.categories == {"city": ("Bonn", "Oslo", "Rome"), "zone": (100, 101, 102, 103)}
    assert train.encoder.sizes == {"city": 4, "zone": 5}
    assert (test.x["codes"] == 0).any()


def test_csv_and_parquet_give_the_table_of_the_frame(tmp_path):
    TRAIN.to_csv(tmp_path / "a.csv", index=False)
    TRAIN.to_csv(tmp_path / "b.csv.gz", index=False, sep=";")
    TRAIN.to_parquet(tmp_path / "c.parquet")
    options = {"target": "price", "categories": ["zone"]}
    expected = D.Table.of(TRAIN, **options)
    for found in (
        D.read_csv(tmp_path / "a.csv", **options),
        D.read_csv(tmp_path / "b.csv.gz", sep=";", **options),
        D.read_parquet(tmp_path / "c.parquet", **options),
    ):
        assert repr(found) == repr(expected) == "Table(60 rows, numbers: 3, missing: 3, codes: 2, target 'price')"
        for name, array in expected.x.items():
            np.testing.assert_array_equal(found.x[name], array)
    few = D.read_csv(tmp_path / "a.csv", columns=["rooms", "price"], target="price", standardize=False)
    np.testing.assert_array_equal(few.x["numbers"][:, 0], TRAIN["rooms"])
    assert list(few.x) == ["numbers"]
    assert len(D.read_parquet(tmp_path / "c.parquet", columns=["city"]).x["codes"]) == 60


def test_targets_are_classes_or_numbers():
    train = D.Table.of(TRAIN.dropna(), target="city")
    assert train.classes == ("Bonn", "Oslo", "Rome")
    np.testing.assert_array_equal(np.array(train.classes)[train.y], TRAIN.dropna()["city"])
    assert D.Table.of(TRAIN, target="garden").classes == (False, True)
    assert D.Table.of(TRAIN, target="zone", categories=["zone"]).y.max() == 3
    assert D.Table.of(TRAIN, target="zone").y.dtype == np.float32
    assert D.Table.of(TEST.drop(columns="price"), like=D.Table.of(TRAIN, target="price")).y is None
    own = TRAIN.assign(city=pandas.Categorical(TRAIN["city"], ["Rome", "Oslo", "Bonn"]))
    assert D.Table.of(own).encoder.categories["city"] == ("Rome", "Oslo", "Bonn")


def test_a_table_is_loaded():
    table = D.Table.of(TRAIN, target="price")
    x, y = next(iter(D.DataLoader(table.data, 8, prefetch=0)))
    np.testing.assert_array_equal(x["codes"], table.x["codes"][:8])
    np.testing.assert_array_equal(y, table.y[:8])
    assert D.Table.of(TRAIN).data.keys() == {"numbers", "missing", "codes"}


def test_the_encoder_is_saved_with_the_model(tmp_path):
    class Model(px.Module):
        def __init__(self, encoder):
            self.encoder, self.dense = encoder, px.Dense(3, 1)

    encoder = D.Table.of(TRAIN, target="price", categories=["zone"]).encoder
    px.save(Model(encoder), tmp_path / "m.safetensors")
    again = px.load(tmp_path / "m.safetensors", allow=Model).encoder
    for name, array in encoder(TEST).items():
        np.testing.assert_array_equal(again(TEST)[name], array)
    assert (again.categories, again.sizes) == (encoder.categories, encoder.sizes)
    assert not px.split(encoder)[0]  # nothing of it is trained


REFUSED = {
    "no column": (lambda: D.Table.of(TRAIN, target="cost"), "columns cost, got age, rooms"),
    "no category": (lambda: D.Table.of(TRAIN, categories=["town"]), "columns town, got"),
    "lacking": (lambda: D.Table.of(TEST.drop(columns="city"), like=D.Table.of(TRAIN)), "columns city, got"),
    "text": (
        lambda: D.Table.of(TEST.assign(age="old"), like=D.Table.of(TRAIN)),
        "numbers in column 'age', got (object|str)",
    ),
    "dates": (
        lambda: D.Table.of(TRAIN.assign(day=pandas.Timestamp("2020-01-01"))),
        "numbers or categories in column 'day', got datetime64",
    ),
    "missing": (lambda: D.Table.of(TRAIN, missing="error"), "no missing numbers, got one in 'age', row 0"),
    "how": (lambda: D.Table.of(TRAIN, missing="zero"), "missing to be mean, median or error, got 'zero'"),
    "all": (lambda: D.Table.of(TRAIN.assign(age=np.nan)), "a number in each column, got none in 'age'"),
    "no target": (lambda: D.Table.of(TRAIN, target="city"), "a target 'city' in each row, got none in row 0"),
    "new class": (
        lambda: D.Table.of(TEST.dropna(), like=D.Table.of(TRAIN.dropna(), target="city")),
        "'city' among 'Bonn', 'Oslo', 'Rome', got 'Paris'",
    ),
    "no rows": (lambda: D.Table.of(TRAIN[:0]), "a frame with rows, got none"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case):
    make, message = REFUSED[case]
    with pytest.raises(px.PhloxError, match=message) as caught:
        make()
    assert caught.value.fix


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.csv", b"a,b\n1,2\n1,2,3\n"), ("b.csv", b""), ("c.parquet", b"PAR1 and no more"), ("d.csv", b"a\n\xff\xfe\n")],
)
def test_files_that_are_no_tables(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    read = D.read_parquet if name.endswith("parquet") else D.read_csv
    with pytest.raises(CorruptFileError, match=rf"{read.__name__} expects a table in .*{name}"):
        read(tmp_path / name)


def test_a_cut_off_parquet_file(tmp_path):
    TRAIN.to_parquet(tmp_path / "a.parquet")
    (tmp_path / "a.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:-100])
    with pytest.raises(CorruptFileError, match="read_parquet expects a table"):
        D.read_parquet(tmp_path / "a.parquet")
