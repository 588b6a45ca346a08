"""Data against its schema is refused before the first step."""

import numpy as np
import pytest

import phlox as px
from loop.loops import arrays, mlp

X = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
Y = (np.arange(40) % 3).astype(np.int32)
SCHEMA = px.data.validate.schema((X, Y), names=["a", "b", "c", "d"])
OPTIONS = {"loss": px.losses.cross_entropy, "optimizer": px.optim.Adam(1e-2), "progress": False, "schema": SCHEMA}
BAD = X.copy()
BAD[7, 2] = 50.0


def batches(x):
    return [(x[i : i + 8], Y[i : i + 8]) for i in range(0, 40, 8)]


FORMS = {
    "arrays": lambda x: (x, Y),
    "a loader": lambda x: px.DataLoader((x, Y), 8, shuffle=True),
    "batches": batches,
    "a stream": lambda x: px.DataLoader(lambda: zip(x, Y, strict=True), 8),
}


@pytest.mark.parametrize("form", FORMS)
def test_data_in_any_form_is_refused_with_column_and_row(form):
    model, made = mlp(), FORMS[form]
    before = arrays(model)
    for given in ({"train_data": made(BAD)}, {"train_data": made(X), "validation_data": made(BAD)}):
        with pytest.raises(
            px.data.validate.InvalidDataError, match=r"\)? expects .* in column 'c', got 50.0 in row 7"
        ) as caught:
            px.fit(model, **given, **OPTIONS)
        assert list(given)[-1] in str(caught.value)
    for path, v in arrays(model).items():
        np.testing.assert_array_equal(v, before[path])


def test_good_data_trains_as_without_a_schema():
    histories = []
    for schema in (SCHEMA, None):
        with px.seed(0):
            model = mlp()
        loader = px.DataLoader((X, Y), 8, shuffle=True, seed=3)
        options = OPTIONS | {"schema": schema, "validation_data": (X, Y)}
        histories.append((px.fit(model, loader, **options)["loss"], arrays(model)))
    assert histories[0][0] == histories[1][0]
    for path, v in histories[0][1].items():
        np.testing.assert_array_equal(v, histories[1][1][path])


def test_what_is_no_schema_is_refused():
    with pytest.raises(px.RangeError, match=r"a schema of px\.data\.validate, got 'schema.json'"):
        px.fit(mlp(), (X, Y), **(OPTIONS | {"schema": "schema.json"}))
