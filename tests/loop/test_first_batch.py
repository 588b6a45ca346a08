"""The first batch, at which much is looked before training, is read no more often than training itself asks for."""

import collections
import gc
import weakref

import numpy as np
import pytest
import scipy.sparse

import phlox as px
from loop.loops import mlp
from phlox.loop.batches._feed import Feed

X = np.random.default_rng(0).normal(size=(18, 4)).astype(np.float32)
Y = (np.arange(18) % 3).astype(np.int32)
OPTIONS = dict(loss=px.losses.cross_entropy, optimizer=px.optim.Adam(1e-2), progress=False)


class Counted:
    """A dataset that counts how often each of its observations is read, and draws noise as it is."""

    def __init__(self, *, several: bool = False):
        self.reads = collections.Counter()
        if several:
            self.__class__ = CountedTogether

    def __len__(self):
        return len(X)

    def __getitem__(self, i):
        self.reads[i] += 1
        return X[i] + self.reads[i], Y[i]


class CountedTogether(Counted):
    def __getitems__(self, indices):
        self.calls = [*getattr(self, "calls", []), len(indices)]
        return [self[i] for i in indices]


class Stream:
    """Batches that only come one after the other."""

    def __init__(self):
        self.begun = self.given = 0

    def __iter__(self):
        self.begun += 1
        for start in range(0, 18, 6):
            self.given += 1
            yield X[start : start + 6], Y[start : start + 6]


class Sparse(scipy.sparse.csr_matrix):
    """A matrix whose rows are made dense when they are read, which is counted."""

    reads = 0

    def __getitem__(self, index):
        Sparse.reads += 1
        return super().__getitem__(index)


@pytest.mark.parametrize("several", [False, True])
def test_each_observation_is_read_once_an_epoch(several):
    train, validation = Counted(several=several), Counted(several=several)
    px.fit(mlp(), train, validation_data=validation, epochs=2, batch_size=6, **OPTIONS)
    assert train.reads == dict.fromkeys(range(18), 2)
    assert validation.reads == dict.fromkeys(range(18), 2)
    if several:
        assert max(train.calls) == 6
        assert min(train.calls) == 5  # all of one batch but what was read already


@pytest.mark.parametrize("call", [
    lambda data: px.predict(mlp(), data, batch_size=6),
    lambda data: px.evaluate(mlp(), data, batch_size=6, loss=px.losses.cross_entropy),
])  # fmt: skip
def test_predict_and_evaluate_read_each_observation_once(call):
    data = Counted()
    call(data)
    assert data.reads == dict.fromkeys(range(18), 1)


def test_what_was_read_ahead_is_what_training_gets():
    data, seen = Counted(), []
    watch = px.LambdaCallback(on_step_end=lambda run: seen.append(np.asarray(run.batches[0][0])))
    px.fit(mlp(), data, epochs=2, batch_size=18, callbacks=watch, **OPTIONS)
    assert len(seen) == 2
    for epoch, batch in enumerate(seen, 1):
        np.testing.assert_array_equal(np.sort(batch, axis=0), np.sort(X + np.float32(epoch), axis=0))


def test_an_empty_first_observation_is_told_as_any_other():
    class Holed(Counted):
        def __getitem__(self, i):
            return None if i == 0 else super().__getitem__(i)

    with pytest.raises(px.StructureError, match=r"^DataLoader expects an observation at 0, got None\n"):
        px.fit(mlp(), Holed(), batch_size=6, **OPTIONS)


@pytest.mark.parametrize("more", [
    {}, {"memory": "check"}, {"memory": "auto"}, {"metrics": px.metrics.Accuracy()}, {"overfit_batches": 3},
    {"accumulate": 2}, {"devices": 1}, {"multi_step": 2}, {"dry_run": False, "validation_every": 1},
])  # fmt: skip
def test_a_stream_is_read_once_an_epoch(more):
    train, validation = Stream(), Stream()
    epochs = 1 if "overfit_batches" in more else 2
    px.fit(mlp(), train, validation_data=validation, epochs=epochs, **OPTIONS, **more)
    assert (train.begun, train.given) == (epochs, 3 * epochs)
    assert (validation.begun, validation.given) == (epochs, 3 * epochs)


@pytest.mark.parametrize("more", [{}, {"memory": "check"}, {"metrics": px.metrics.Accuracy()}])
@pytest.mark.parametrize("size", [6, 32])  # also one batch that is filled up
def test_the_first_batch_is_gathered_once_to_be_looked_at(more, size, tmp_path):
    loader = px.DataLoader((Sparse(X), Y), size, shuffle=True)
    Sparse.reads = 0
    px.fit(mlp(), loader, checkpoint_dir=tmp_path, **OPTIONS, **more)
    assert Sparse.reads == 2  # once to be looked at, and once for all the batches of the epoch


def test_a_checkpoint_tells_the_data_by_its_rows_alone(tmp_path):
    made = []
    for folder, size in (("a", 6), ("b", 32)):
        run = []
        note = px.LambdaCallback(on_fit_start=run.append)
        loader = px.DataLoader((X, Y), size)
        px.fit(mlp(), loader, checkpoint_dir=tmp_path / folder, callbacks=note, **OPTIONS)
        made.append(run[0].made["train_data"])
    assert "float32[6, 4]" in made[0]
    assert "float32[18, 4]" in made[1]  # without what fills it up


class Same(px.Module):
    def __call__(self, x):
        return x


@pytest.mark.parametrize("several", [False, True])
def test_what_was_read_ahead_stands_in_its_place(several):
    found = px.predict(Same(), Counted(several=several), batch_size=6)
    np.testing.assert_array_equal(found, X + np.float32(1))


def test_what_was_looked_at_is_not_kept():
    feed = Feed(px.DataLoader((X, Y), 6))
    first = weakref.ref(feed.first()[0])
    assert first() is feed.first()[0]
    next(feed.epoch())
    gc.collect()
    assert first() is None
