"""The loader: orders, kinds of data, masks, positions, buckets and shards, against PyTorch's where it has such."""

import gc
import itertools
import json
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pandas
import pytest

import phlox as px
from kit import oracle
from phlox.data import DataLoader, ObsView, mapobs

torch, grain, hugging_face = oracle("torch"), oracle("grain"), oracle("datasets")
torch_data = oracle("torch.utils.data")
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(11, 3)).astype(np.float32), RNG.integers(0, 5, 11).astype(np.int32)
SEQUENCES = [np.arange(n, dtype=np.int32) + 1 for n in RNG.integers(1, 40, 23)]


def as_lists(batches):
    return [jax.tree.map(lambda a: np.asarray(a).tolist(), batch) for batch in batches]


class Rows:
    """A dataset that says nothing but its length and its items."""

    def __len__(self):
        return len(X)

    def __getitem__(self, i):
        return X[i], Y[i]


class TorchRows(torch_data.Dataset):
    __len__, __getitem__ = Rows.__len__, lambda self, i: (torch.tensor(X[i]), torch.tensor(Y[i]))


class TorchStream(torch_data.IterableDataset):
    def __iter__(self):
        return iter(TorchRows()[i] for i in range(len(X)))


def rows():
    yield from Rows()


PAIRS = {
    "arrays": lambda: (X, Y),
    "JAX arrays": lambda: (jnp.asarray(X), jnp.asarray(Y)),
    "lists": lambda: (list(X), Y.tolist()),
    "a frame and a series": lambda: (pandas.DataFrame(X), pandas.Series(Y)),
    "a view": lambda: ObsView((np.concatenate([X, X])[::-1], np.concatenate([Y, Y])[::-1]), np.arange(21, 10, -1)),
    "a dataset": Rows,
    "mapobs": lambda: mapobs(lambda row: (row[0], row[1]), Rows()),
    "PyTorch tensors": lambda: (torch.tensor(X), torch.tensor(Y)),
    "PyTorch TensorDataset": lambda: torch_data.TensorDataset(torch.tensor(X), torch.tensor(Y)),
    "PyTorch Dataset": TorchRows,
    "PyTorch Subset": lambda: torch_data.Subset(TorchRows(), range(len(X))),
    "PyTorch IterableDataset": TorchStream,
    "Grain source": lambda: grain.MapDataset.source(Rows()),
    "Grain stream": lambda: grain.MapDataset.source(Rows()).to_iter_dataset(grain.ReadOptions(num_threads=0)),
    "a generator function": lambda: rows,
    "an iterable": lambda: dict(enumerate(Rows())).values(),
}


@pytest.mark.parametrize("kind", PAIRS)
def test_every_kind_of_data_gives_the_batches_of_pytorch(kind):
    loader = DataLoader(PAIRS[kind](), 4)
    theirs = as_lists(tuple(pair) for pair in torch_data.DataLoader(TorchRows(), batch_size=4))
    first = list(loader)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(first))
    assert as_lists(first) == theirs
    assert as_lists(loader) == theirs  # and again in the next epoch


def test_batches_are_built_as_observations_are():
    nested = {"image": X, "more": (Y, {"number": list(range(11))})}
    batch = next(iter(DataLoader(nested, 2)))
    assert as_lists([batch]) == [{"image": X[:2].tolist(), "more": (Y[:2].tolist(), {"number": [0, 1]})}]
    assert as_lists(DataLoader(5, 3)) == [[0, 1, 2], [3, 4]]
    assert as_lists(DataLoader(X, 8)) == [X[:8].tolist(), X[8:].tolist()]
    words = next(iter(DataLoader({"word": np.array(["a", "b"]), "x": X[:2]}, 2)))
    assert words["word"].tolist() == ["a", "b"]  # what JAX cannot hold stays
    assert isinstance(words["x"], jax.Array)


def test_hugging_face_data():
    table = hugging_face.Dataset.from_dict({"x": X.tolist(), "y": Y.tolist()})
    found = list(DataLoader(table, 4, shuffle=True))
    same = list(DataLoader({"x": X, "y": Y}, 4, shuffle=True))
    assert as_lists(found) == as_lists(same)
    stream = DataLoader(table.remove_columns("x").to_iterable_dataset(), 4)
    assert as_lists(batch["y"] for batch in stream) == [Y[:4].tolist(), Y[4:8].tolist(), Y[8:].tolist()]
    ragged = hugging_face.Dataset.from_dict({"tokens": [s.tolist() for s in SEQUENCES]})
    with pytest.raises(px.ShapeError, match=r"columns of one shape, got several in 'tokens'\n  fix: give bucket_by="):
        list(DataLoader(ragged, 4))
    padded = list(DataLoader(ragged, 4, bucket_by="tokens"))
    assert sum(len(batch["tokens"].lengths) for batch in padded) == len(SEQUENCES)


def test_collate_gets_the_observations():
    loader = DataLoader((X, Y), 4, collate=lambda rows: {"sum": np.stack([x.sum() for x, _ in rows]), "n": len(rows)})
    first = next(iter(loader))
    np.testing.assert_allclose(first["sum"], X[:4].sum(1), rtol=1e-6)
    assert first["n"] == 4


# --- orders -------------------------------------------------------------------------------------------


def seen(loader, epochs=1):
    return [np.concatenate([np.asarray(b) for b in loader]).tolist() for _ in range(epochs)]


def test_orders_are_those_of_the_seed():
    a, b, c = seen(DataLoader(100, 7, shuffle=True, seed=3), 3)
    assert sorted(a) == sorted(b) == sorted(c) == list(range(100))
    assert len({tuple(a), tuple(b), tuple(c)}) == 3
    assert seen(DataLoader(100, 7, shuffle=True, seed=3, prefetch=0), 3) == [a, b, c]
    assert seen(DataLoader(mapobs(lambda n: n, 100), 7, shuffle=True, seed=3), 3) == [a, b, c]
    assert seen(DataLoader(100, 7, shuffle=True, seed=4))[0] != a
    assert seen(DataLoader(100, 7), 2) == [list(range(100))] * 2
    key = jax.random.key(3)
    assert seen(DataLoader(100, 7, shuffle=True, seed=key)) == seen(DataLoader(100, 7, shuffle=True, seed=key))


def test_orders_are_uniform():
    """Where the first observation comes, over epochs: a chi-squared of 9 degrees, 1 in 10⁴ beyond 33.7."""
    loader = DataLoader(10, 10, shuffle=True, prefetch=0)
    places = np.bincount([order.index(0) for order in seen(loader, 400)], minlength=10)
    assert ((places - 40) ** 2 / 40).sum() < 33.7


def test_a_stream_is_shuffled_within_windows():
    orders = seen(DataLoader(lambda: range(20), 3, shuffle=8), 2)
    assert orders[0] != orders[1]
    for order in orders:
        assert [sorted(order[a:b]) for a, b in ((0, 8), (8, 16), (16, 20))] == [
            list(range(8)),
            list(range(8, 16)),
            list(range(16, 20)),
        ]


# --- the last batch -----------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [(X, Y), Rows(), rows], ids=["arrays", "items", "stream"])
def test_the_last_batch_is_short_dropped_or_filled_up(data):
    assert [len(y) for _, y in DataLoader(data, 4)] == [4, 4, 3]
    assert [len(y) for _, y in DataLoader(data, 4, drop_last=True)] == [4, 4]
    assert [m.tolist() for _, m in DataLoader(data, 4, drop_last=True).masked()] == [[True] * 4] * 2
    *whole, ((x, y), mask) = DataLoader(data, 4, pad_last=True)
    assert all(m.all() for _, m in whole)
    assert mask.tolist() == [True, True, True, False]
    assert (x.tolist(), y.tolist()) == (X[[8, 9, 10, 8]].tolist(), Y[[8, 9, 10, 8]].tolist())
    assert as_lists(DataLoader(data, 4).masked()) == as_lists(DataLoader(data, 4, pad_last=True))


def test_partial_and_length_tell_what_comes():
    assert [(len(loader), loader.partial) for loader in (DataLoader(12, 4), DataLoader(11, 4))] == [
        (3, False),
        (3, True),
    ]
    dropping = DataLoader(11, 4, drop_last=True)
    assert (len(dropping), dropping.partial) == (2, False)
    with pytest.raises(TypeError, match="no length"):
        len(DataLoader(rows, 4))


def test_a_filled_up_epoch_traces_once():
    traced = []

    @px.jit
    def weighted(x, mask):
        traced.append(x.shape)
        return (x * mask[:, None]).sum(0)

    total = sum(np.asarray(weighted(x, mask)) for x, mask in DataLoader(X, 4, shuffle=True, pad_last=True))
    np.testing.assert_allclose(total, X.sum(0), rtol=1e-5, atol=1e-6)
    assert traced == [(4, 3)]


def test_a_collated_batch_that_is_not_first_cannot_be_filled_up():
    loader = DataLoader(X[:, :2], 4, pad_last=True, collate=lambda rows: np.stack(rows, axis=1))
    with pytest.raises(px.ShapeError, match=r"arrays of \(3, \.\.\.\) to fill up to 4, got float32\[2, 3\]"):
        list(loader)


# --- positions ----------------------------------------------------------------------------------------

MAKERS = {
    "arrays": lambda: DataLoader((X, Y), 4, shuffle=True, seed=5),
    "arrays, nothing ahead": lambda: DataLoader((X, Y), 4, shuffle=True, seed=5, prefetch=0),
    "items": lambda: DataLoader(Rows(), 3, shuffle=True, prefetch=5),
    "buckets": lambda: DataLoader(SEQUENCES, 4, bucket_by=len, shuffle=True),
    "a stream": lambda: DataLoader(rows, 4),
    "a shuffled stream": lambda: DataLoader(rows, 3, shuffle=5),
    "a stream in buckets": lambda: DataLoader(lambda: iter(SEQUENCES), 4, bucket_by=len, buckets=(16, 40)),
    "a shuffled stream in buckets": lambda: DataLoader(
        lambda: iter(SEQUENCES), 4, bucket_by=len, buckets=(16, 40), shuffle=9
    ),
    "Grain": lambda: DataLoader(grain.MapDataset.range(11).seed(1).shuffle().to_iter_dataset(), 4),
    "Grain in windows": lambda: DataLoader(grain.MapDataset.range(11).to_iter_dataset(), 3, shuffle=5),
    "Grain's loader": lambda: DataLoader(
        grain.DataLoader(
            data_source=Range(), sampler=grain.samplers.IndexSampler(11, shuffle=True, seed=0, num_epochs=1)
        ),
        4,
    ),
}


class Range(list):
    def __init__(self):
        super().__init__(range(11))

    def __repr__(self):
        return "Range()"


@pytest.mark.parametrize("kind", MAKERS)
def test_a_restored_loader_goes_on_where_the_state_was_taken(kind):
    loader, whole, states = MAKERS[kind](), [], []
    for _ in range(2):
        for batch in loader:
            whole.append(batch)
            states.append(json.loads(json.dumps(loader.state())))
    whole = as_lists(whole)
    half = len(whole) // 2
    for done, state in enumerate(states[: half + 1], 1):
        again = MAKERS[kind]()
        again.restore(state)
        rest = as_lists(again)
        assert rest == whole[done : half if done <= half else None], (kind, done)
        if done <= half:
            assert as_lists(again) == whole[half:]  # and the epoch behind it


def test_the_state_is_of_what_was_consumed():
    read = []
    loader = DataLoader(mapobs(lambda i: read.append(i) or i, 100), 10, prefetch=3)
    batches = iter(loader)
    next(batches)
    for _ in range(1000):
        if len(read) >= 40:
            break
        threading.Event().wait(0.005)
    assert (loader.state()["epoch"], loader.state()["batch"]) == (0, 1)
    assert len(read) <= 50  # the one in hand, three ahead, and the one being made
    batches.close()


def test_a_pass_that_was_left_is_over_and_its_thread_gone():
    loader = DataLoader(100, 10, shuffle=True)
    first = next(iter(loader))
    gc.collect()
    assert not [t for t in threading.enumerate() if t.name == "phlox loader"]
    second = next(iter(loader))
    assert loader.epoch == 1
    assert first.tolist() != second.tolist()


def test_two_passes_at_once_do_not_mix():
    loader = DataLoader(20, 5, shuffle=True)
    pairs = list(zip(loader, loader, strict=True))
    assert (
        sorted(np.concatenate([a for a, _ in pairs]))
        == sorted(np.concatenate([b for _, b in pairs]))
        == list(range(20))
    )


@pytest.mark.parametrize("change", [{"batch_size": 5}, {"seed": 1}, {"shuffle": False}, {"drop_last": True}])
def test_a_state_of_other_settings_is_refused(change):
    state = DataLoader(20, 4, shuffle=True).state()
    other = DataLoader(20, **{"batch_size": 4, "shuffle": True, **change})
    (name,) = change
    with pytest.raises(px.StructureError, match=rf"DataLoader.restore expects .* the same {name}, got {name} .*, here"):
        other.restore(state)


def test_what_is_no_state_is_refused():
    with pytest.raises(px.StructureError, match=r"the state of a DataLoader, got keys \['epoch'\]"):
        DataLoader(20, 4).restore({"epoch": 3})
    with pytest.raises(px.StructureError, match="the same observations, got observations 20, here 21"):
        DataLoader(21, 4).restore(DataLoader(20, 4).state())


# --- sequences ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("shuffle", [False, True])
def test_buckets_hold_every_sequence_once_at_few_lengths(shuffle):
    data = {"tokens": SEQUENCES, "label": np.arange(23)}
    loader = DataLoader(data, 4, bucket_by="tokens", buckets=(8, 20, 40), shuffle=shuffle, pad_value=-1)
    found, batches = {}, list(loader)
    assert len(batches) == len(loader)
    for batch in batches:
        tokens = batch["tokens"]
        shortest = {8: 1, 20: 9, 40: 21}[tokens.values.shape[1]]
        for row, length, label in zip(*map(np.asarray, (*tokens, batch["label"])), strict=True):
            assert shortest <= length <= tokens.values.shape[1]
            assert (row[length:] == -1).all()
            found[int(label)] = row[:length].tolist()
        assert tokens.mask.sum() == tokens.lengths.sum()
    assert found == {i: s.tolist() for i, s in enumerate(SEQUENCES)}
    short = [len(b["label"]) for b in batches]
    full = [n == 4 for n in short]
    assert sorted(full, reverse=True) == full  # batches that stay short come last


def test_lengths_to_pad_to_are_powers_of_two_up_to_the_longest():
    batches = list(DataLoader([np.zeros(n, np.float32) for n in (3, 9, 15, 17, 50)], 2, bucket_by=len))
    assert sorted(b.values.shape for b in batches) == [(1, 8), (1, 32), (1, 50), (2, 16)]


def test_several_parts_share_a_bucket_and_fill_up_with_a_mask():
    data = ([np.ones((n, 2), np.float32) for n in (2, 3, 5)], np.arange(3), [np.ones(n, np.int32) for n in (4, 1, 5)])
    ((source, label, target), mask) = next(iter(DataLoader(data, 4, bucket_by=(0, 2), buckets=(6,), pad_last=True)))
    assert (source.values.shape, target.values.shape) == ((4, 6, 2), (4, 6))
    assert (source.lengths.tolist(), target.lengths.tolist()) == ([2, 3, 5, 2], [4, 1, 5, 4])
    assert (label.tolist(), mask.tolist()) == ([0, 1, 2, 0], [True, True, True, False])


def test_a_mask_of_padded_sequences_is_traced():
    (tokens,) = DataLoader(SEQUENCES[:3], 3, bucket_by=len, buckets=(40,))
    counts = px.jit(lambda padded: padded.mask.sum(1))(tokens)
    assert counts.tolist() == tokens.lengths.tolist()


# --- shards -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["arrays", "items", "stream", "buckets"])
def test_shards_together_are_the_batches_of_one_process(kind):
    data = {"arrays": (X, Y), "items": Rows(), "stream": rows, "buckets": (SEQUENCES[:11], Y)}[kind]
    options = {"bucket_by": 0, "buckets": (40,)} if kind == "buckets" else {"shuffle": 5 if kind == "stream" else True}
    whole = as_lists(DataLoader(data, 4, pad_last=True, **options))
    shards = [as_lists(DataLoader(data, 4, pad_last=True, shard=(i, 2), **options)) for i in range(2)]
    together = [
        jax.tree.map(lambda a, b: a + b, *pair, is_leaf=lambda x: isinstance(x, list))
        for pair in zip(*shards, strict=True)
    ]
    assert together == whole


def test_a_position_is_the_same_in_every_shard():
    loader = DataLoader(24, 4, shuffle=True)
    next(batches := iter(loader))
    shard = DataLoader(24, 4, shuffle=True, shard=(1, 2))
    shard.restore(loader.state())
    assert [b.tolist() for b in shard] == [b[2:].tolist() for b in batches]


def test_short_batches_are_no_shards():
    with pytest.raises(px.RangeError, match="full batches for each of 2 processes, got a last batch that is not full"):
        iter(DataLoader(11, 4, shard=(0, 2)))
    assert len(list(DataLoader(11, 4, shard=(0, 2), drop_last=True))) == 2


# --- the device ---------------------------------------------------------------------------------------


def test_batches_are_laid_out_by_a_sharding():
    mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    x, _ = next(iter(DataLoader((X, Y), 4, device=sharding)))
    assert x.sharding == sharding
    assert next(iter(DataLoader(X, 4, device=jax.devices()[0]))).devices() == {jax.devices()[0]}


def test_batches_do_not_follow_the_array_they_came_from():
    data = np.zeros((64, 64), np.float32)
    first, _ = list(DataLoader(data, 32, prefetch=0))
    data[:] = 1
    assert not first.any()


def test_wide_numbers_are_narrowed_with_a_word():
    from phlox.core.context import _warning

    _warning._warned.discard("narrow DataLoader")
    with pytest.warns(UserWarning, match='NumPy float64 becomes float32 .* .astype\\("float32"\\)'):
        list(DataLoader(np.zeros(4), 2))
    assert next(iter(DataLoader(np.arange(4), 2))).dtype == jnp.int32
    with pytest.raises(px.DtypeError, match="integers that fit int32, got int64 beyond it"):
        list(DataLoader(np.array([1, 2**31]), 2))


# --- what goes wrong ----------------------------------------------------------------------------------


def test_an_error_in_the_data_comes_where_it_is_read():
    def broken(i):
        if i == 6:
            raise OSError("disk")
        return i

    batches = iter(DataLoader(mapobs(broken, 10), 2))
    assert [b.tolist() for b in itertools.islice(batches, 3)] == [[0, 1], [2, 3], [4, 5]]
    with pytest.raises(OSError, match="disk") as caught:
        next(batches)
    assert "while reading observation 6" in caught.value.__notes__[0]


REFUSED = {
    "batch size": (lambda: DataLoader(X, 0), "batch_size to be a whole number of at least 1, got 0"),
    "parts": (lambda: DataLoader((X, Y[:5])), "as many observations in each part, got 0: 11, 1: 5"),
    "an iterator": (lambda: DataLoader(iter([1])), "data to read, again for each epoch, got list_iterator"),
    "a number": (lambda: DataLoader(3.5), "data to read, again for each epoch, got 3.5"),
    "both": (lambda: DataLoader(X, drop_last=True, pad_last=True), "drop_last or pad_last, got both"),
    "collate": (lambda: DataLoader(X, collate=np.stack, bucket_by=0), "bucket_by or collate, got both"),
    "window": (lambda: DataLoader(rows, shuffle=True), "a window to shuffle a stream in, got shuffle=True"),
    "no window": (lambda: DataLoader(X, shuffle=100), "shuffle to be True or False, got 100"),
    "workers": (lambda: DataLoader(rows, num_workers=2), "no workers for a stream, got num_workers=2"),
    "buckets": (lambda: DataLoader(rows, bucket_by=0), "lengths to pad the sequences of a stream to, got None"),
    "order": (lambda: DataLoader(X, bucket_by=0, buckets=(8, 4)), r"buckets as increasing whole numbers, got \(8, 4\)"),
    "share": (lambda: DataLoader(X, 5, shard=(0, 2)), "a batch_size that 2 processes can share, got 5"),
    "shard": (lambda: DataLoader(X, 4, shard=(2, 2)), r"shard as \(index, count\), index below count, got \(2, 2\)"),
    "seed": (lambda: DataLoader(X, seed=-1), "seed to be a whole number of at least 0, or a key, got -1"),
    "words": (
        lambda: DataLoader(pandas.DataFrame({"a": ["x"]})),
        "frames of numbers, got a frame of object",
    ),
    "too long": (
        lambda: list(DataLoader(SEQUENCES, bucket_by=len, buckets=(4, 8))),
        r"sequences of at most 8, got \d+ \(observation \d+\)",
    ),
    "no part": (lambda: list(DataLoader([{"a": [1]}], bucket_by="b")), r"a part 'b' to bucket by, got \['a'\]"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case):
    make, message = REFUSED[case]
    with pytest.raises(px.PhloxError, match=message) as caught:
        make()
    assert caught.value.fix
