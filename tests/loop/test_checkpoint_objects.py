"""Checkpoints in an object store: whole or not at all, found damaged, thinned out, and gone on from, bit for bit."""

import gc
import itertools
import os
import re
import uuid
from contextlib import contextmanager

import fsspec
import numpy as np
import pytest

import phlox as px
from kit import oracle
from phlox import optim, weights
from phlox.loop.checkpoints import _place
from phlox.loop.checkpoints._circle import Circle

oracle("orbax.checkpoint")

X = np.random.default_rng(0).normal(size=(24, 3)).astype(np.float32)
Y = (X @ np.array([[1.0], [-2.0], [0.5]])).astype(np.float32)
FILES = fsspec.filesystem("memory")


@pytest.fixture
def url():
    """A place of its own in a store in memory, which is empty afterwards."""
    name = f"bucket-{uuid.uuid4().hex}"
    yield f"memory://{name}/run"
    if FILES.exists(f"/{name}"):
        FILES.rm(f"/{name}", recursive=True)


def model(seed=0):
    with px.seed(seed):
        return px.Chain(px.Dense(3, 4, px.tanh), px.Dropout(0.2), px.Dense(4, 1))


def fit(folder=None, *, callbacks=(), **options):
    given = {"epochs": 3, "batch_size": 8, "seed": 3, "progress": False}
    net = model()
    px.fit(
        net, (X, Y), loss=px.losses.mse, optimizer=optim.Adam(0.01), callbacks=callbacks, checkpoint_dir=folder,
        **given | options,
    )  # fmt: skip
    return net


def same(net, other):
    for path, value in px.state_dict(net).items():
        if "key" not in path:
            np.testing.assert_array_equal(value, px.state_dict(other)[path], err_msg=path)


@pytest.fixture(scope="module")
def state():
    net = model()
    return px.Run(net, px.Optimizer(optim.Adam(0.01), net)).state()


@contextmanager
def opened(url):
    """The store of a training that writes."""
    store = px.CheckpointStore(url)
    store.open()
    try:
        yield store
    finally:
        store.close()


def save(store, state, *steps, keep=2):
    for step in steps:
        about = {"step": step, "epoch": step, "score": None, "monitor": None, "mode": None}
        store.save(state, about, keep=keep, keep_best=0)
        store.wait()


def objects(url):
    """Names of all objects below, and of the checkpoints that have a manifest."""
    root = url.removeprefix("memory:/")
    names = [path.removeprefix(root + "/") for path in FILES.find(root)]
    return names, sorted(name.partition("/")[0] for name in names if name.endswith("/manifest.json"))


def at(url, name):
    return f"{url.removeprefix('memory:/')}/{name}"


class LineError(Exception):
    """What a network does."""


def breaking(patch, method, when, error=LineError):
    """Let a method of the file system fail where a function of its count and its arguments says so."""
    real, count = getattr(type(FILES), method), itertools.count()

    def call(self, *args, **kwargs):
        if when(next(count), *args):
            raise error("the line is dead")
        return real(self, *args, **kwargs)

    patch.setattr(type(FILES), method, call)


def test_a_training_goes_on_from_there_bit_for_bit(url):
    fit(url, epochs=2)
    assert objects(url)[1] == ["0001-step-3", "0002-step-6"]
    resumed = fit(callbacks=[px.Checkpoint(url)], resume=True)
    same(resumed, fit())
    names, whole = objects(url)
    assert whole == ["0002-step-6", "0003-step-9"]  # thinned out, and nothing is left of the first
    assert not [name for name in names if name.startswith("0001")]

    store = px.CheckpointStore(url + "/")
    assert store.address == url
    assert [(saved.step, saved.epoch) for saved in store.checkpoints()] == [(6, 1), (9, 2)]
    assert store.best().step in (6, 9)
    other = model(5)
    px.load_checkpoint(other, url, which="0003-step-9")
    same(other, resumed)
    px.load_checkpoint(model(6), url, which=f"{url}/0002-step-6")
    with pytest.raises(weights.MissingFileError, match=re.escape(f"checkpoints in '{url}x'")):
        px.load_checkpoint(other, url + "x")
    with pytest.raises(weights.MissingFileError, match="choose among 0002-step-6, 0003-step-9"):
        px.load_checkpoint(other, url, which="0007-step-1")
    with pytest.raises(weights.FileError, match="a folder without checkpoints, or resume=True"):
        fit(url)


def test_what_is_sent_in_part_is_never_there(url, state, monkeypatch):
    """Wherever the sending stops, the one before is the newest; and the next training removes what is left."""
    monkeypatch.setattr(_place, "_TRIES", 1)
    with opened(url) as store:
        save(store, state, 1)
    told = []
    for stop in itertools.count():  # until all was sent; how many files Orbax writes is its own affair
        with opened(url) as store, monkeypatch.context() as patch:
            assert not [name for name in objects(url)[0] if name.startswith("0002")]
            breaking(patch, "put_file", lambda n, *args, stop=stop: n >= stop)
            try:
                save(store, state, 2)
                break
            except weights.FileError as error:
                told.append(str(error))
        names, whole = objects(url)
        assert whole == ["0001-step-1"]
        assert len([name for name in names if name.startswith("0002")]) == stop
        assert px.CheckpointStore(url).newest().step == 1
    assert stop == len(told) > 3
    assert all("to take objects, got LineError: the line is dead" in text for text in told)
    assert px.CheckpointStore(url).newest().step == 2


@pytest.mark.parametrize("part", ["state.json", "manifest.json"])
def test_a_damaged_object_is_found_and_the_one_before_is_used(url, state, part):
    with opened(url) as store:
        save(store, state, 1, 2)
    name = at(url, f"0002-step-2/{part}")
    FILES.pipe_file(name, FILES.cat_file(name)[:-3] + b"}} ")
    with pytest.warns(UserWarning, match=r"0002-step-2 is damaged: .*; it is left as it is\.") as told:
        assert px.CheckpointStore(url).newest().step == 1
    assert f"checkpoint {url}/0002-step-2" in str(told[0].message)
    with opened(url) as store:
        with pytest.warns(UserWarning, match="0002-step-2 is damaged"):
            assert store.newest().step == 1
        save(store, state, 2, 3)
        assert [saved.step for saved in store.checkpoints()] == [2, 3]
    names, whole = objects(url)
    assert "0002-step-2/damaged" in names  # stays to be looked at, and is neither counted nor read any more
    assert whole == ["0002-step-2", "0003-step-2", "0004-step-3"]
    for name in ("0003-step-2", "0004-step-3"):
        FILES.pipe_file(at(url, f"{name}/state.json"), b"{}")
    with pytest.raises(weights.CorruptFileError, match="every file as it was written") as caught:
        px.CheckpointStore(url).newest()
    assert f"checkpoint {url}/0004-step-3" in str(caught.value)


def test_what_is_deleted_while_it_is_read_is_passed_over(url, state, monkeypatch):
    with opened(url) as store:
        save(store, state, 1, 2)
    real, newest = type(FILES).get_file, at(url, "0002-step-2")

    def get(self, path, *args, **kwargs):
        if path.startswith(newest) and not path.endswith("manifest.json") and FILES.exists(newest):
            FILES.rm(newest, recursive=True)
        return real(self, path, *args, **kwargs)

    monkeypatch.setattr(type(FILES), "get_file", get)
    store = px.CheckpointStore(url)
    found = store.newest()
    assert found.step == 1
    assert set(store.read(found)["arrays"]) == set(state["arrays"])


def test_the_manifest_goes_first(url, state, monkeypatch):
    """A deletion that stops half way leaves nothing that looks whole; training goes on, with a warning."""
    monkeypatch.setattr(_place, "_TRIES", 1)
    with opened(url) as store, monkeypatch.context() as patch:
        breaking(patch, "rm_file", lambda n, path: not path.endswith("manifest.json"))
        with pytest.warns(UserWarning, match="0001-step-1 is no longer wanted, and cannot be deleted"):
            save(store, state, 1, 2, 3)
    names, whole = objects(url)
    assert whole == ["0002-step-2", "0003-step-3"]
    assert [name for name in names if name.startswith("0001")]
    with opened(url):
        assert not [name for name in objects(url)[0] if name.startswith("0001")]


def test_what_the_network_breaks_is_tried_again(url, state, monkeypatch):
    waited = []
    monkeypatch.setattr(_place.time, "sleep", waited.append)
    with opened(url) as store, monkeypatch.context() as patch:
        breaking(patch, "put_file", lambda n, *args: n in (0, 1))
        breaking(patch, "rm_file", lambda n, *args: n == 0, TimeoutError)
        save(store, state, 1, 2, 3)
    assert waited == [0.5, 1.0, 0.5]
    assert objects(url)[1] == ["0002-step-2", "0003-step-3"]


@pytest.mark.parametrize("error", [PermissionError, type("NoCredentialsError", (Exception,), {})])
def test_a_refusal_is_told_at_once_with_what_to_do(url, monkeypatch, error):
    monkeypatch.setattr(_place.time, "sleep", lambda seconds: pytest.fail("tried again"))
    breaking(monkeypatch, "pipe_file", lambda n, *args: True, error)
    with pytest.raises(weights.FileError, match=f"got {error.__name__}: the line is dead") as caught:
        px.CheckpointStore(url).open()
    assert f"checkpoints in '{url}' expects to take objects" in str(caught.value)
    assert "credentials" in str(caught.value)


def test_a_second_training_is_told_to_the_first(url, state):
    """There is no lock in an object store: who came last goes on, and the first ends where it saves next."""
    with opened(url) as first:
        save(first, state, 1)
        with opened(url) as second:
            with pytest.raises(weights.FileError, match="one where another has begun since") as caught:
                save(first, state, 2)
            assert "give each training a checkpoint_dir of its own" in str(caught.value)
            assert objects(url)[1] == ["0001-step-1"]
            save(second, state, 2)


def test_numbers_only_grow(url, state):
    """Also for a training that has looked at nothing yet."""
    for steps in ((1, 2), (3,)):
        with opened(url) as store:
            save(store, state, *steps)
    assert objects(url)[1] == ["0002-step-2", "0003-step-3"]


def test_copies_go_with_their_store(url, state):
    with opened(url) as store:
        save(store, state, 1)
    reader = px.CheckpointStore(url)
    folder = reader.newest().path.parent
    assert os.path.isdir(folder)
    del reader
    gc.collect()
    assert not os.path.exists(folder)


def test_addresses(tmp_path):
    assert px.CheckpointStore(f"file://{tmp_path}/run/").folder == tmp_path / "run"
    with pytest.raises(px.OptionError, match=r"a folder, or a URL such as s3://, .*, got 'nowhere://bucket'"):
        px.CheckpointStore("nowhere://bucket")


def test_a_package_that_is_missing_is_named(monkeypatch):
    def missing(address):
        raise ImportError("no")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    for kind, package in (("s3", "s3fs"), ("gs", "gcsfs"), ("abfs", "adlfs")):
        with pytest.raises(px.MissingExtraError, match=f"pip install {package}"):
            px.Checkpoint(f"{kind}://bucket/run")


def test_each_of_several_processes_compares_every_copy(url, state, monkeypatch):
    """What the network did to a copy of one nobody else sees."""

    class Second(Circle):
        process, processes = 1, 2

        def gathered(self, text):
            return ["", text]

    with opened(url) as store:
        save(store, state, 4)
    store = px.CheckpointStore(url)
    store.among(Second())
    bring = store._place.bring

    def spoiled(name):
        bring(name)
        manifest = px.CheckpointStore(url).checkpoints()[0].manifest
        (store.folder / name / next(iter(manifest["files"]))).write_bytes(b"?")  # process 0 would look at it

    monkeypatch.setattr(store._place, "bring", spoiled)
    with pytest.raises(weights.CorruptFileError):
        store.newest()
