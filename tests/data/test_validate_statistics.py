"""Statistics beside those of pandas and SciPy, on awkward tables too, in one pass of bounded memory."""

import datetime as dt
import decimal
import tracemalloc

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from scipy import stats

import phlox as px
from phlox.data.validate._chunks import chunks_of
from phlox.data.validate._running import Distinct, RowSample
from phlox.data.validate._values import Values, objects

validate = px.data.validate
ZONE = dt.timezone(dt.timedelta(hours=5))


def table(rows=3000, seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "size": np.where(rng.random(rows) < 0.1, np.nan, rng.gamma(2, 3, rows)),
            "count": rng.integers(-50, 50, rows),
            "sold": rng.random(rows) < 0.3,
            "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 400, rows), unit="D"),
            "city": rng.choice(["Rome", "Oslo", "Bonn", None], rows),
        }
    )


def test_statistics_are_those_of_pandas():
    frame = table()
    found = validate.statistics(frame)
    assert found.rows == len(frame)
    assert found.repeated == int(frame.duplicated().sum())
    kinds = {"size": "number", "count": "integer", "sold": "boolean", "day": "date", "city": "text"}
    for name, kind in kinds.items():
        column, mine = frame[name], found[name]
        assert (mine.kind, mine.missing, mine.distinct) == (kind, int(column.isna().sum()), column.nunique())
        assert mine.exact
    for name in ("size", "count"):
        column, mine = frame[name], found[name]
        np.testing.assert_allclose([mine.mean, mine.std], [column.mean(), column.std()], rtol=1e-12)
        assert (mine.low, mine.high) == (column.min(), column.max())
        levels = column.quantile(list(mine.quantiles))
        np.testing.assert_allclose(list(mine.quantiles.values()), levels, rtol=1e-12)
        counts, edges = np.histogram(column.dropna(), 24, (column.min(), column.max()))
        np.testing.assert_array_equal(mine.histogram, counts)
        np.testing.assert_allclose(mine.edges, edges)
    assert dict(found["city"].common) == frame["city"].value_counts().to_dict()
    assert np.datetime64(int(found["day"].low), "us") == frame["day"].min()
    assert (found["city"].mean, found["city"].high) == (4.0, 4.0)


def test_a_pass_in_parts_is_one_over_the_whole(tmp_path, monkeypatch):
    frame = table()
    whole = validate.statistics(frame)
    monkeypatch.setattr("phlox.data.validate._chunks.ROWS", 701)
    frame.to_parquet(tmp_path / "table.parquet")
    plain = frame.drop(columns="day")
    plain.to_csv(tmp_path / "table.csv", index=False)
    forms = {
        "frame": (frame, list(frame)),
        "polars": (pl.from_pandas(frame), list(frame)),
        "pyarrow": (pa.Table.from_pandas(frame), list(frame)),
        "dict": ({name: frame[name] for name in frame}, list(frame)),
        "records": (frame.to_dict("records"), list(frame)),
        "parquet": (tmp_path / "table.parquet", list(frame)),
        "csv": (str(tmp_path / "table.csv"), list(plain)),
        "frames": ((frame.iloc[i : i + 999] for i in range(0, 3000, 999)), list(frame)),
    }
    for form, (data, names) in forms.items():
        found = validate.statistics(data)
        assert list(found.columns) == names, form
        for name in names:
            mine, theirs = found[name], whole[name]
            np.testing.assert_allclose([mine.mean, mine.std], [theirs.mean, theirs.std], rtol=1e-10, err_msg=form)
            assert (mine.kind, mine.missing, mine.distinct) == (theirs.kind, theirs.missing, theirs.distinct), form
            assert (mine.low, mine.high, mine.histogram) == (theirs.low, theirs.high, theirs.histogram), form
            assert dict(mine.common) == dict(theirs.common), form
        if form != "csv":
            assert found.repeated == whole.repeated, form


def _odd(**columns):
    return pd.DataFrame(columns)


AWKWARD = {  # what it is, and for each column its kind and what is noted
    "mixed types": (_odd(a=objects([1, "one", 2.5, None])), {"a": ("mixed", "1 integer and 1 number and 1 text")}),
    "numbers as text": (_odd(a=["1", "2.5", "-3e4"]), {"a": ("text", "numbers written as text")}),
    "dates of Python": (_odd(a=objects([dt.date(2024, 1, 2), dt.datetime(2024, 5, 6, 7), None])), {"a": ("date", "")}),
    "dates of a zone": (_odd(a=[pd.Timestamp("2024-01-01T05:00", tz=ZONE)] * 3), {"a": ("date", "one value")}),
    "durations": (_odd(a=pd.to_timedelta([1, 2, None], unit="h")), {"a": ("duration", "")}),
    "huge categories": (_odd(a=[f"user {i}" for i in range(20_000)]), {"a": ("text", "lengths")}),
    "all missing": (_odd(a=[None, None], b=[np.nan, np.nan]), {"a": ("empty", ""), "b": ("empty", "")}),
    "a column twice": (
        _odd(a=[1, 2, 2], b=[3, 3, 4], c=[1, 2, 2]),
        {"a": ("integer", ""), "c": ("integer", "the same as a")},
    ),
    "a name twice": (
        pd.DataFrame([[1, "x"], [2, "y"]], columns=["a", "a"]),
        {"a": ("integer", ""), "a (2)": ("text", "")},
    ),
    "odd names": (
        pd.DataFrame([[1, 2, 3, 4]] * 2, columns=["", 7, "two\nlines", ("a", "b")]),
        {"": ("integer", ""), "7": ("integer", ""), "two\nlines": ("integer", ""), "('a', 'b')": ("integer", "")},
    ),
    "one value": (_odd(a=[5] * 9), {"a": ("integer", "one value")}),
    "not finite": (_odd(a=[1.0, np.inf, -np.inf]), {"a": ("number", "2 not finite")}),
    "empty text": (_odd(a=["", " ", "x", "y"]), {"a": ("text", "empty text 50%")}),
    "very wide numbers": (_odd(a=objects([10**400, 1, 2])), {"a": ("integer", "1 not finite")}),
    "wide whole numbers": (_odd(a=[2**62, 2**62 + 1, 2**62 + 2]), {"a": ("integer", "")}),
    "nullable numbers": (_odd(a=pd.array([1, None, 3], "Int64")), {"a": ("integer", "")}),
    "categories": (_odd(a=pd.Categorical(["u", "v", None])), {"a": ("text", "")}),
    "decimals": (_odd(a=[decimal.Decimal("1.5"), decimal.Decimal("NaN"), decimal.Decimal(2)]), {"a": ("number", "")}),
    "bytes": (_odd(a=[b"ab", b"\xff"]), {"a": ("text", "")}),
    "a mask": ({"a": np.ma.array([1.5, 2.5, 9.0], mask=[0, 0, 1])}, {"a": ("number", "")}),
    "records": (np.array([(1, "x"), (2, "y")], [("a", "i4"), ("b", "U1")]), {"a": ("integer", ""), "b": ("text", "")}),
    "lists": (_odd(a=objects([[1], [1, 2], {}])), {"a": ("other", "")}),
    "far dates": (_odd(a=np.array(["0001-01-01", "9999-12-31"], "M8[s]")), {"a": ("date", "")}),
    "one row": (_odd(a=[1.5], b=["x"]), {"a": ("number", ""), "b": ("text", "")}),
}


@pytest.mark.parametrize("name", AWKWARD)
def test_awkward_tables_have_statistics_a_schema_and_pass_their_own_check(name, tmp_path):
    frame, expected = AWKWARD[name]
    found = validate.statistics(frame)
    for column, (kind, note) in expected.items():
        assert found[column].kind == kind
        assert note in "; ".join(found[column].notes)
    assert len(str(found).splitlines()) == 2 + len(found.columns)
    schema = validate.schema(found)
    assert schema.check(frame).ok, schema.check(frame)
    schema.save(tmp_path / "schema.json")
    assert validate.Schema.load(tmp_path / "schema.json") == schema


def test_values_that_are_alike_count_as_one_and_others_do_not():
    frame = AWKWARD["wide whole numbers"][0]
    assert validate.statistics(frame)["a"].distinct == 3
    assert validate.statistics({"a": objects([1, 1.0, True, -0.0, 0, "1", b"1"])})["a"].distinct == 3
    assert validate.statistics(AWKWARD["dates of a zone"][0])["a"].low == 1704067200e6
    assert validate.statistics(AWKWARD["durations"][0])["a"].mean == 5400.0
    wide = [2**62 + k for k in range(3)]
    assert validate.statistics({"a": objects([*wide, None])})["a"].distinct == 3
    assert validate.leakage({"a": np.array(wide)}, {"a": objects(wide[1:])}).pairs.tolist() == [[1, 0], [2, 1]]


def test_columns_that_lack_in_some_rows_are_missing_there(monkeypatch):
    rows = [{"a": 1, "b": 2}] * 3 + [{"a": 5}] * 2 + [{"c": 1.5}]
    assert [validate.statistics(rows)[n].missing for n in "abc"] == [1, 3, 5]
    in_parts = validate.statistics(pd.DataFrame([row]) for row in rows)
    assert [in_parts[n].missing for n in "abc"] == [1, 3, 5]
    assert in_parts.rows == 6


def test_arrays_have_columns_of_features_and_images_of_summaries():
    x, y = np.arange(12, dtype=np.float32).reshape(4, 3), np.array([0, 1, 0, 1])
    assert list(validate.statistics((x, y)).columns) == ["x[0]", "x[1]", "x[2]", "y"]
    named = validate.statistics((x, y), names=["a", "b", "c"])
    assert [named[n].mean for n in ("a", "b", "c")] == [4.5, 5.5, 6.5]
    assert list(validate.statistics({"in": {"x": x}, "y": y}).columns) == ["in.x[0]", "in.x[1]", "in.x[2]", "y"]
    rng = np.random.default_rng(0)
    images = rng.random((6, 5, 4, 3))
    images[3] = images[1]
    found = validate.statistics({"image": images, "y": np.arange(6) // 3})
    assert found["image.shape"].common == (("5×4×3", 6),)
    np.testing.assert_allclose(found["image.mean"].mean, images.mean(), rtol=1e-12)
    np.testing.assert_allclose(found["image.std"].high, images.std(axis=(1, 2, 3)).max(), rtol=1e-12)
    assert (found["image.min"].low, found["image.max"].high) == (images.min(), images.max())
    assert found.repeated == 0
    assert validate.statistics({"image": images}).repeated == 1
    ragged = validate.statistics([np.zeros((2, 3)), np.ones((4, 3))])
    assert dict(ragged["x.shape"].common) == {"2×3": 1, "4×3": 1}
    shuffled = np.sort(images.reshape(6, -1), axis=1).reshape(images.shape)  # the same means, another picture
    both = np.concatenate([images[:1], shuffled[:1]])
    assert validate.statistics(both).repeated == 0


def test_loaders_are_read_in_the_order_of_the_data_and_keep_their_place():
    loader = px.DataLoader((np.arange(10), np.arange(10) * 2.0), 3, shuffle=True, seed=1)
    before = loader.state()
    found = validate.statistics(loader)
    assert (found.rows, found["y"].mean, loader.state()) == (10, 9.0, before)
    stream = px.DataLoader(lambda: iter([{"a": 1.0}, {"a": 3.0}]), 1)
    assert validate.statistics(stream)["a"].mean == 2.0
    assert validate.statistics(px.data.mapobs(lambda i: {"n": i * i}, 5))["n"].mean == 6.0


def test_each_row_is_as_likely_in_the_sample_as_any():
    counts = np.zeros(400)
    for seed in range(300):
        sample = RowSample(40, seed)
        for start in range(0, 400, 90):
            part = np.arange(start, min(start + 90, 400))
            sample.add(len(part), {"i": part})
        assert len(sample) == len(set(sample.columns["i"])) == 40
        counts[sample.columns["i"]] += 1
    assert stats.chisquare(counts).pvalue > 1e-3
    assert counts.sum() == 300 * 40


def test_distinct_values_beyond_the_limit_are_estimated_in_bounded_memory():
    errors = []
    for seed in range(20):
        one, total = Distinct(1000), 30_000
        values = np.random.default_rng(seed).integers(0, 2**60, total)
        for part in np.split(np.concatenate([values, values[:5000]]), 5):
            one.add(Values.of(part).hashes)
        assert len(one.hashes) <= 1000
        assert not one.exact
        errors.append(one.count / total - 1)
    assert abs(np.mean(errors)) < 3 * 0.045 / np.sqrt(20)
    assert 0.015 < np.std(errors) < 0.075  # 1 / √(500 … 1000), as the hashes that are left


def test_text_and_hashes_are_the_same_in_every_run():
    hashes = Values.of(objects(["a", 1, None, dt.date(2024, 1, 1)])).hashes
    again = Values.of(objects(["a", True, float("nan"), np.datetime64("2024-01-01")])).hashes
    np.testing.assert_array_equal(hashes, again)
    assert len(set(hashes.tolist())) == 4
    import hashlib

    assert int(hashes[0]) == int.from_bytes(hashlib.blake2b(b"a", digest_size=8).digest(), "little")


@pytest.mark.parametrize(
    ("data", "error", "text"),
    [
        (pd.DataFrame({"a": []}), px.ShapeError, "statistics expects data with rows, got none"),
        (iter([]), px.ShapeError, "data with rows"),
        ({"a": [1, 2], "b": [1]}, px.ShapeError, "as many observations in each part"),
        (3, px.StructureError, "statistics expects data, got 3"),
        ("table.xlsx", px.StructureError, "a file of CSV or Parquet, got table.xlsx"),
        ("nothing.csv", px.weights.MissingFileError, "nothing.csv"),
    ],
)
def test_what_is_no_data_is_refused(data, error, text):
    with pytest.raises(error, match=text):
        validate.statistics(data)


def test_names_are_those_of_all_features(tmp_path):
    x = np.zeros((3, 2))
    with pytest.raises(px.ShapeError, match="2 names for 'x', got 3"):
        validate.statistics(x, names=["a", "b", "c"])
    with pytest.raises(px.RangeError, match="names that differ, got 'a' twice"):
        validate.statistics(x, names=["a", "a"])
    with pytest.raises(px.StructureError, match="names as a list of texts"):
        validate.statistics(x, names="ab")
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n1,2,3\n")
    with pytest.raises(px.weights.CorruptFileError, match=r"a table in '.*bad.csv'"):
        validate.statistics(tmp_path / "bad.csv")


@pytest.mark.soak
def test_a_million_rows_stay_within_bounded_memory(tmp_path):
    path, rows = tmp_path / "wide.csv", 1_000_000
    rng = np.random.default_rng(0)
    with path.open("w") as file:
        file.write("id,size,city,day\n")
        for start in range(0, rows, 100_000):
            sizes, cities = rng.normal(size=100_000), rng.integers(0, 50, 100_000)
            file.writelines(
                f"{start + i},{s:.6f},c{c},2024-01-{c % 28 + 1:02d}\n"
                for i, (s, c) in enumerate(zip(sizes, cities, strict=True))
            )
    tracemalloc.start()
    found = validate.statistics(path)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 250e6
    assert (found.rows, found.repeated, found.exact) == (rows, 0, True)
    frame = pd.read_csv(path)
    np.testing.assert_allclose(
        [found["size"].mean, found["size"].std], [frame["size"].mean(), frame["size"].std()], rtol=1e-9
    )
    assert abs(found["id"].distinct / rows - 1) < 0.05
    assert not found["id"].exact
    assert dict(found["city"].common) == frame["city"].value_counts().to_dict()
    ranks = [stats.percentileofscore(frame["size"], value) / 100 for value in found["size"].quantiles.values()]
    np.testing.assert_allclose(ranks, list(found["size"].quantiles), atol=4 * 0.5 / np.sqrt(1 << 14))


def test_chunks_hold_a_bounded_part(monkeypatch):
    monkeypatch.setattr("phlox.data.validate._chunks.ROWS", 64)
    assert [chunk.rows for chunk in chunks_of(table(200), {}, "test")] == [64, 64, 64, 8]
