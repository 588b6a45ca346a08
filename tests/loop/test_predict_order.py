"""px.predict gives the order of the data, whatever the order of the loader."""

import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px

KEEPS = px.Dense.of(jnp.ones((1, 1)), None)
DATA = np.arange(23, dtype="float32")[:, None]


@pytest.mark.parametrize("epochs", [0, 1, 3])
@pytest.mark.parametrize("options", [{}, {"pad_last": True}, {"shuffle": True}, {"shuffle": True, "pad_last": True}])
def test_a_shuffled_loader_is_put_back(options, epochs):
    loader = px.DataLoader((DATA, DATA), 4, seed=3, **options)
    for _ in range(epochs):
        list(loader)
    np.testing.assert_array_equal(px.predict(KEEPS, loader), DATA)


def test_a_loader_that_stands_inside_an_epoch_gives_the_rest_of_it():
    loader = px.DataLoader((DATA, DATA), 4, shuffle=True)
    batches = iter(loader)
    first = next(batches)
    loader.restore(loader.state())
    rest = sorted(set(DATA[:, 0]) - set(np.asarray(first[0])[:, 0]))
    np.testing.assert_array_equal(px.predict(KEEPS, loader)[:, 0], rest)


@pytest.mark.parametrize("shuffle", [True, False])
def test_buckets_are_put_back(shuffle):
    class Sum(px.Module):
        def __call__(self, x):
            values, lengths = x
            mask = jnp.arange(values.shape[1]) < lengths[:, None]
            return {"sum": (values * mask).sum(1), "length": lengths}

    rng = np.random.default_rng(0)
    rows = [(np.full(n, i, "float32"), i) for i, n in enumerate(rng.integers(1, 30, 31))]
    loader = px.DataLoader(rows, 4, bucket_by=0, shuffle=shuffle)
    found = px.predict(Sum(), loader)
    np.testing.assert_array_equal(found["length"], [len(x) for x, _ in rows])
    np.testing.assert_array_equal(found["sum"], [x.sum() for x, _ in rows])


@pytest.mark.parametrize(
    ("loader", "limit", "got"),
    [
        (lambda: px.DataLoader((DATA, DATA), 4, shuffle=True, drop_last=True), None, "with drop_last"),
        (lambda: px.DataLoader((DATA, DATA), 4, shuffle=True), 2, "with limit_batches"),
        (lambda: px.DataLoader(lambda: iter(zip(DATA, DATA, strict=True)), 4, shuffle=8), None, "a stream"),
    ],
)
def test_an_order_that_cannot_be_put_back_is_refused(loader, limit, got):
    with pytest.raises(px.RangeError) as caught:
        px.predict(KEEPS, loader(), limit_batches=limit)
    text = str(caught.value)
    assert text.startswith("px.predict expects a loader in the order of the data")
    assert got in text
    assert "fix: give the data itself, or a px.DataLoader without shuffle and bucket_by" in text


def test_what_stays_in_order_may_leave_batches_out():
    np.testing.assert_array_equal(px.predict(KEEPS, px.DataLoader((DATA, DATA), 4, drop_last=True)), DATA[:20])
    np.testing.assert_array_equal(px.predict(KEEPS, (DATA, DATA), batch_size=4, limit_batches=2), DATA[:8])


def test_outputs_of_different_shapes_are_refused_by_name():
    with pytest.raises(px.ShapeError, match=r"px.predict expects outputs of one shape .* got \[2\] and \[3\]"):
        px.predict(lambda x: x, [jnp.ones((1, 2)), jnp.ones((1, 3))])
