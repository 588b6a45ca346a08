"""Schemas: inferred, kept in files, checked beside pandera, and every rule broken once."""

import json
import sys

import numpy as np
import pandas as pd
import pytest

import phlox as px
from kit import oracle

validate = px.data.validate
Column, Schema = validate.Column, validate.Schema


def good(rows=400, seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "id": [f"user-{i:05d}" for i in range(rows)],
            "age": rng.integers(18, 91, rows),
            "income": np.where(rng.random(rows) < 0.1, np.nan, rng.normal(50, 9, rows)),
            "city": rng.choice(["Rome", "Oslo", "Bonn"], rows),
            "member": rng.random(rows) < 0.5,
            "since": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, rows), unit="D"),
        }
    )


def test_what_is_inferred_holds_of_more_such_data():
    schema = validate.schema(good())
    assert [c.kind for c in schema] == ["text", "integer", "number", "text", "boolean", "date"]
    assert schema["id"].unique
    assert not schema["age"].unique
    assert (schema["age"].low, schema["age"].high) == (0, 126)  # 18 … 90, wider by 36, and no less than 0
    assert schema["city"].values == ("Bonn", "Oslo", "Rome")
    assert schema["city"].missing == 0 < 0.1 < schema["income"].missing < 0.2
    for seed in range(1, 30):
        assert schema.check(good(seed=seed)).ok, seed


def test_ranges_do_not_go_beyond_zero_where_nothing_did():
    schema = validate.schema(
        {"up": np.array([0.5, 20.5]), "down": np.array([-9.0, -1.0]), "both": np.array([-1.0, 1.0])}
    )
    assert [(c.low, c.high) for c in schema] == [(0.0, 30.5), (-13.0, 0.0), (-2.0, 2.0)]
    assert [(c.low, c.high) for c in validate.schema({"x": np.array([2.0, 4.0])}, margin=0)] == [(2.0, 4.0)]


BROKEN = {  # a change to good data: column, rule, first row, what is expected there, what is got, how many rows
    "range": (lambda f: f.assign(age=f.age.where(f.index != 7, 130)), ("age", 7, "range", "0 … 126", "130", 1)),
    "whole": (
        lambda f: f.assign(age=f.age.astype(float).where(f.index < 300, 20.5)),
        ("age", 300, "kind", "a whole number", "20.5", 100),
    ),
    "kind": (lambda f: f.assign(income=f.income.astype(object).where(f.index != 3, "much")),
             ("income", 3, "kind", "a number", "'much'", 1)),
    "missing": (lambda f: f.assign(age=f.age.where(f.index != 399)), ("age", 399, "missing", "a value", "none", 1)),
    "more missing": (lambda f: f.assign(income=f.income.where(f.index > 150)),
                     ("income", None, "missing", None, None, None)),
    "finite": (
        lambda f: f.assign(income=f.income.where(f.index != 5, -np.inf)),
        ("income", 5, "finite", "a finite number", "-inf", 1),
    ),
    "values": (
        lambda f: f.assign(city=f.city.where(f.index > 1, "Riga")),
        ("city", 0, "values", "one of 'Bonn', 'Oslo', 'Rome'", "'Riga'", 2),
    ),
    "unique": (lambda f: f.assign(id=f.id.where(f.index > 2, "user-00009")),
               ("id", None, "unique", "values that differ", "3 again", 3)),
    "date": (lambda f: f.assign(since=f.since.where(f.index != 9, pd.Timestamp("1999-12-31"))),
             ("since", 9, "range", None, "1999-12-31", 1)),
    "truth": (lambda f: f.assign(member=f.member.astype(int) * 2), ("member", None, "kind", "a truth", "2", None)),
    "column": (lambda f: f.drop(columns="city"), ("city", None, "column", "the column", "none", 400)),
    "unknown": (lambda f: f.assign(more=1), ("more", None, "unknown", "no such column", "one", 400)),
    "repeated": (lambda f: pd.concat([f.iloc[:30], f]).assign(id=f.id[0]).reset_index(drop=True),
                 ("", None, "repeated", "up to 1.0% repeated rows", None, None)),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_each_rule_that_is_broken_is_told_with_column_and_row(name):
    change, (column, row, rule, expected, got, count) = BROKEN[name]
    report = validate.schema(good()).check(change(good()))
    found = [p for p in report.problems if (p.column, p.rule) == (column, rule)]
    assert len(found) == 1, report
    assert {p.column for p in report.problems} <= {column, "id"}
    [one] = found
    wanted = {"row": row, "expected": expected, "got": got, "count": count}
    for field, value in wanted.items():
        assert value is None or getattr(one, field) == value, field
    assert not report
    with pytest.raises(validate.InvalidDataError) as caught:
        report.require()
    assert caught.value.report is report


def test_rows_are_counted_over_chunks(monkeypatch):
    monkeypatch.setattr("phlox.data.validate._chunks.ROWS", 50)
    frame = good()
    frame.loc[[170, 171, 333], "age"] = 200
    frame.loc[350, "id"] = frame.loc[2, "id"]
    report = validate.schema(good()).check(frame)
    assert [(p.column, p.row, p.rule, p.count) for p in report.problems] == [
        ("id", None, "unique", 1),
        ("age", 170, "range", 3),
    ]


def test_whole_numbers_may_come_as_floats_and_truths_as_numbers():
    schema = Schema([Column(name="n", kind="integer", missing=0.5), Column(name="b", kind="boolean", missing=0.5)])
    assert schema.check({"n": np.array([1.0, np.nan, 3.0]), "b": np.array([0.0, 1.0, np.nan])})
    assert schema.check({"n": np.array([True, False]), "b": np.array([1, 0])})
    assert not schema.check({"n": np.array([1.5, 2.0]), "b": np.array([1, 0])})
    assert not schema.check({"n": np.array([1, 2]), "b": np.array([0.5, 0])})
    assert not schema.check({"n": np.array(["1", "2"]), "b": np.array([1, 0])})


def test_a_share_is_against_the_schema_only_where_chance_does_not_explain_it():
    schema = Schema([Column(name="a", kind="number", missing=0.1)])

    def of(missing, rows):
        return schema.check({"a": np.where(np.arange(rows) < missing, np.nan, 1.0)}).ok

    assert of(1, 1)  # one in ten rows is such a row
    assert of(2, 3)
    from scipy.stats import binom

    for rows in (10, 100, 1000):
        most = next(k for k in range(rows) if binom.sf(k, rows, 0.1) < 0.001)
        assert of(most, rows)
        assert not of(most + 1, rows)


def test_a_request_of_the_right_rows_is_told_in_the_error():
    schema = Schema(
        [Column(name="age", kind="integer", low=0, high=120), Column(name="sex", kind="text", values=("f", "m"))]
    )
    with pytest.raises(validate.InvalidDataError) as caught:
        schema.check({"age": np.array([3, 130, 140]), "sex": ["f", "m", "x"]}).require("here")
    assert str(caught.value) == (
        "here expects 0 … 120 in column 'age', got 130 in row 1 and 1 more rows; 1 more problem\n"
        "  fix: mend the data, or change the schema: print(schema.check(data)) shows everything"
    )


def test_a_file_is_read_and_changed_by_people(tmp_path):
    path = tmp_path / "schema.json"
    schema = validate.schema(good())
    schema.save(path)
    lines = path.read_text("utf-8").splitlines()
    assert [line for line in lines if '"city"' in line] == [
        '  "city": {"kind": "text", "values": ["Bonn", "Oslo", "Rome"]},'
    ]
    assert len(lines) == 6 + len(schema) + 1
    path.write_text(path.read_text("utf-8").replace('"Rome"]', '"Rome", "Riga"]'), "utf-8")
    assert validate.Schema.load(path)["city"].values == ("Bonn", "Oslo", "Rome", "Riga")
    assert Schema.of(json.loads(json.dumps(schema.content()))) == schema
    arrays = validate.schema((np.eye(3), np.arange(3)), names=["a", "b", "c"])
    arrays.save(path)
    assert validate.Schema.load(path) == arrays
    assert arrays["b"].place == ("x", 1)
    assert arrays.check((np.eye(3), np.arange(3))).ok


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "a schema in JSON"),
        ("[]", "the content of a schema.*got list"),
        ("{}", "a schema of format 1.*got format None"),
        ('{"format": 2, "columns": {}}', "got format 2"),
        ('{"format": 1, "columns": {"a": {}}}', "what is expected of 'a'"),
        ('{"format": 1, "columns": {"a": {"kind": "number", "lowest": 1}}}', "'a' with kind, .*got 'lowest'"),
        (
            '{"format": 1, "columns": {"a": {"kind": "number", "low": [1]}}}',
            r"low of 'a' as a number or text.*got \[1\]",
        ),
        ('{"format": 1, "columns": {"a": {"kind": "number", "place": [1]}}}', "place of 'a'"),
        ('{"format": 1, "repeated": "no", "columns": {}}', "repeated as a number"),
    ],
)
def test_a_file_that_is_no_schema_is_refused(tmp_path, text, told):
    path = tmp_path / "schema.json"
    path.write_text(text)
    with pytest.raises(px.weights.CorruptFileError, match=told):
        validate.Schema.load(path)


def test_rules_that_mean_nothing_are_refused():
    for rule, told in [
        ({"kind": "float"}, "a kind among boolean"),
        ({"kind": "number", "missing": 2}, "missing from 0 to 1, got 2"),
        ({"kind": "number", "low": 3, "high": 1}, "low up to high, got 3 … 1"),
        ({"kind": "date", "low": "soon"}, "a date such as '2024-01-31' as low and high, got 'soon'"),
        ({"kind": "number", "low": "a"}, "a number as low and high, got 'a'"),
    ]:
        with pytest.raises(px.RangeError, match=told):
            Column(name="a", **rule)
    one = Column(name="a", kind="number")
    with pytest.raises(px.RangeError, match="each column once, got 'a' twice"):
        Schema([one, one])
    with pytest.raises(px.RangeError, match="repeated from 0 to 1"):
        Schema([one], repeated=3)
    with pytest.raises(px.StructureError, match="a column among 'a', got 'b'"):
        Schema([one]).changed("b", low=1)
    with pytest.raises(px.RangeError, match="margin of 0 or more, got -1"):
        validate.schema({"a": [1, 2]}, margin=-1)
    assert Schema([one]).changed("a", low=1)["a"].low == 1


def test_pandera_finds_the_same_rows():
    pa = oracle("pandera.pandas")
    schema = validate.schema(good())
    theirs = schema.to_pandera()
    theirs.validate(good())
    for name in ("range", "whole", "kind", "missing", "finite", "values", "date", "truth"):
        frame = BROKEN[name][0](good())
        with pytest.raises(pa.errors.SchemaErrors) as caught:
            theirs.validate(frame, lazy=True)
        cases = caught.value.failure_cases
        column, _, rule, *_ = BROKEN[name][1]
        mine = next(p for p in schema.check(frame).problems if p.rule == rule)
        named = cases[(cases.column == column) & (cases.check == ("not_nullable" if rule == "missing" else rule))]
        assert len(named) == mine.count, name
        assert named["index"].min() == mine.row, name
    for name in ("unique", "column", "unknown"):
        with pytest.raises(pa.errors.SchemaErrors):
            theirs.validate(BROKEN[name][0](good()), lazy=True)


def test_without_pandera_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandera.pandas", None)
    with pytest.raises(px.MissingExtraError, match=r'fix: pip install "phlox\[validate\]"'):
        validate.schema(good()).to_pandera()


def test_images_and_text_are_checked_by_their_summaries():
    rng = np.random.default_rng(0)
    images, words = rng.random((40, 8, 8, 3)), ["a few words " * (1 + i % 9) + str(i) for i in range(40)]
    schema = validate.schema({"image": images, "text": words})
    assert schema["image.shape"].values == ("8×8×3",)
    assert schema.check({"image": rng.random((9, 8, 8, 3)), "text": words[:9]}).ok
    dark = schema.check({"image": rng.random((9, 8, 8, 3)) / 50, "text": words[:9]})
    assert {p.column for p in dark.problems} == {"image.mean", "image.std", "image.max"}
    small = schema.check({"image": rng.random((9, 4, 4, 3)), "text": words[:9]})
    assert ("image.shape", "values") in {(p.column, p.rule) for p in small.problems}
    broken = rng.random((9, 8, 8, 3))
    broken[4, 0, 0, 0] = np.nan
    assert ("image.mean", 4, "missing") in {
        (p.column, p.row, p.rule) for p in schema.check({"image": broken, "text": words[:9]}).problems
    }
    long = schema.check({"image": images[:2], "text": ["x" * 4000, words[0]]})
    assert [(p.column, p.row, p.rule) for p in long.problems] == [("text", 0, "length")]
