"""Checkpoints on the disk: whole or not there, damage named, the one before used, the newest and the best kept."""

import os
import resource
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import oracle
from phlox import weights
from phlox.loop.checkpoints._manifest import MANIFEST, check_files, sealed
from phlox.loop.checkpoints._store import CheckpointStore

# Runs differ in what this callback is given, and go on from each other.
pytestmark = pytest.mark.filterwarnings(r"ignore:px\.fit.resume=... Keeps:UserWarning")

oracle("orbax.checkpoint")


class Keeps(px.Callback):
    """A callback with state of every kind."""

    def __init__(self, seed):
        self.kept = {
            "count": seed,
            "best": float("inf"),
            "names": ["größer", None, True],
            "array": np.full(3, seed, np.int64),
            "by_path": {"a.b/c": jnp.full((2, 2), seed, jnp.bfloat16), "none of it": jnp.zeros((0, 3))},
        }

    def state(self):
        return dict(self.kept)

    def restore(self, state):
        self.kept = dict(state)


def make(seed):
    """A run with an array of every kind."""
    with px.seed(seed):
        layer = px.Dense(3, 3, px.relu)
        model = px.Chain(layer, px.BatchNorm(3), px.Dropout(0.5), layer)
        model.odd = {"half": jnp.full(2, seed, jnp.float16), "eight": jnp.full(2, seed, jnp.float8_e4m3fn)}
    run = px.Run(model, px.Optimizer(px.optim.Adam(0.1), model), callbacks=[Keeps(seed)], seed=seed)
    run.step = run.epoch = seed
    run.position = {"at": seed}
    return run


def contents(value):
    """A state with arrays as (dtype, shape, bytes), without the clock and the arguments of callbacks."""
    if isinstance(value, dict):
        return {k: contents(v) for k, v in value.items() if k not in ("seconds", "constructed")}
    if isinstance(value, (jax.Array, np.ndarray)):
        return str(value.dtype), value.shape, np.asarray(value).tobytes()
    return repr(value)


def save(store, run, score=None, keep=10, keep_best=0, wait=True, **about):
    known = {"step": run.step, "epoch": run.epoch, "score": score, "monitor": "val_loss", "mode": "min", **about}
    path = store.save(run.state(), known, keep=keep, keep_best=keep_best)
    if wait:
        store.wait()
    return path


@pytest.fixture
def store(tmp_path):
    store = CheckpointStore(tmp_path / "deep" / "checkpoints")
    store.open()
    yield store
    store.close()


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A folder with two whole checkpoints, of step 1 and step 2."""
    store = CheckpointStore(tmp_path_factory.mktemp("pair"))
    store.open()
    for seed in (1, 2):
        save(store, make(seed))
    store.close()
    return store.folder


@pytest.fixture
def two(pair, tmp_path):
    """Such a folder, to be damaged."""
    shutil.copytree(pair, tmp_path / "two")
    return tmp_path / "two"


def names(store):
    return [saved.path.name for saved in store.checkpoints()]


def test_a_run_comes_back_bit_for_bit(store):
    run, other = make(1), make(2)
    want = contents(run.state())
    assert contents(other.state()) != want
    path = save(store, run)
    assert path.name == "0001-step-1"
    other.restore(store.read(store.newest()))
    assert contents(other.state()) == want
    assert contents(run.state()) == want
    assert other.model[3] is other.model[0]
    assert (other.step, other.position) == (1, {"at": 1})


def test_a_part_is_read_alone(store):
    save(store, make(1))
    state = store.read(store.newest(), ("Keeps.state",))
    assert list(state["arrays"]) == ["Keeps.state"]
    assert state["arrays"]["Keeps.state"]["state/by_path/none of it"].shape == (0, 3)


def test_what_the_next_steps_overwrite_is_saved_as_it_was(store):
    """Arrays are given away and written over while the writer has not begun."""
    model = px.Dense(512, 512)
    opt = px.Optimizer(px.optim.Adam(0.1), model)
    run = px.Run(model, opt)
    want = contents(run.state()["arrays"])

    @px.jit
    def step(model, opt):
        opt.update(model, px.map(jnp.ones_like, px.grad(lambda m: m.weight.sum() + m.bias.sum())(model)))

    step(model, opt)
    run = px.Run(model, opt)
    want = contents(run.state()["arrays"])
    save(store, run, wait=False)
    for _ in range(5):
        step(model, opt)
    store.wait()
    assert contents(store.read(store.newest())["arrays"]) == want
    assert contents(run.state()["arrays"]) != want


def test_the_manifest_tells_versions_and_why(store):
    save(store, make(1), score=0.5, reason="every 10 steps", workers=2, devices=1)
    [saved] = store.checkpoints()
    assert (saved.step, saved.epoch, saved.score) == (1, 1, 0.5)
    assert saved.manifest["versions"]["jax"] == jax.__version__
    assert saved.manifest["versions"]["orbax-checkpoint"]
    assert (saved.manifest["reason"], saved.manifest["workers"], saved.manifest["format"]) == ("every 10 steps", 2, 2)
    on_disk = {str(p.relative_to(saved.path)) for p in saved.path.rglob("*") if p.is_file()}
    assert set(saved.manifest["files"]) == on_disk - {MANIFEST}


# --- damage ----------------------------------------------------------------------------------------


def files(folder):
    return sorted(p for p in folder.rglob("*") if p.is_file())


def test_every_cut_and_every_flipped_bit_is_found_or_harmless(two):
    """Each file of the newest checkpoint cut at 20 places and flipped at 200 bits."""
    newest = two / "0002-step-2"
    whole = {path: path.read_bytes() for path in files(newest)}
    assert len(whole) > 5
    rng = np.random.default_rng(0)
    want, found, harmless = contents(CheckpointStore(two).read(newest)), 0, 0
    for path, raw in whole.items():
        cuts = sorted({*rng.integers(0, max(len(raw), 1), 18), 0, max(len(raw) - 1, 0)} - {len(raw)})
        flips = rng.integers(0, 8 * len(raw), 200) if raw else []
        for damage in (*[raw[:n] for n in cuts], *[flipped(raw, bit) for bit in flips], raw + b"\0"):
            path.write_bytes(damage)
            try:
                check_files(newest)
            except weights.CorruptFileError as error:
                message = str(error)
                assert message.startswith(f"checkpoint {newest} expects every file as it was written, got ") or (
                    "format" in message and path.name == MANIFEST
                )
                assert str(path.relative_to(newest)) in message or path.name == MANIFEST
                found += 1
            else:
                assert contents(CheckpointStore(two).read(newest)) == want
                harmless += 1
        path.write_bytes(raw)
    assert found > 200 * len(whole) * 0.9
    assert harmless < 20  # spaces in the manifest, at most


def flipped(raw, bit):
    changed = bytearray(raw)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@pytest.mark.parametrize("name", ["state.json", "manifest.json", "arrays/_METADATA", "arrays"])
@pytest.mark.parametrize("how", ["missing", "cut", "flipped"])
def test_the_one_before_is_used_with_a_warning_that_names_the_part_and_nothing_is_deleted(two, name, how):
    path = two / "0002-step-2" / name
    paths = files(path) if path.is_dir() else [path]
    for path in paths:
        if how == "missing":
            path.unlink()
        else:
            raw = path.read_bytes()
            path.write_bytes(raw[: len(raw) // 2] if how == "cut" else flipped(raw, 4 * len(raw)))
    before = {path: path.read_bytes() for path in files(two)}
    store = CheckpointStore(two)
    run = make(5)
    with pytest.warns(UserWarning, match=rf"checkpoint .*0002-step-2 is damaged: {name}.*0001-step-1 is used"):
        saved = store.newest()
    run.restore(store.read(saved))
    assert run.step == 1
    assert {path: path.read_bytes() for path in files(two)} == before
    # Training goes on from there: what is damaged is set aside, does not count, and its number is not used again.
    store.open()
    try:
        assert sorted(os.listdir(two)) == [".lock", "0001-step-1", "0002-step-2.damaged"]
        run.step = 2
        assert save(store, run, keep=2).name == "0003-step-2"
        run.step = 3
        save(store, run, keep=2)
        assert store.newest().step == 3
    finally:
        store.close()
    whole = {path: content for path, content in before.items() if "0002-step-2" in path.parts}
    for path, content in whole.items():
        assert (two / "0002-step-2.damaged" / path.relative_to(two / "0002-step-2")).read_bytes() == content
    assert sorted(os.listdir(two)) == [".lock", "0002-step-2.damaged", "0003-step-2", "0004-step-3"]


def test_where_none_is_whole_that_is_an_error_and_where_none_is_there_it_is_none(two, tmp_path):
    for path in two.glob("*/state.json"):
        path.write_text("{}")
    with pytest.raises(
        weights.CorruptFileError, match=r"0002-step-2 expects every file.*state\.json, which has 2 bytes"
    ):
        CheckpointStore(two).newest()
    assert CheckpointStore(tmp_path / "nothing").newest() is None
    assert CheckpointStore(tmp_path / "nothing").checkpoints() == []


def test_a_named_checkpoint_that_is_damaged_is_refused(two):
    (two / "0002-step-2" / "state.json").unlink()
    with pytest.raises(weights.CorruptFileError, match=r"got state\.json, which is missing\n  fix: take another"):
        px.load_checkpoint(make(3).model, two, which=two / "0002-step-2")


def test_a_checkpoint_of_a_later_phlox_says_so(two, monkeypatch):
    monkeypatch.setattr("phlox.loop.checkpoints._manifest.FORMAT", 0)
    with pytest.raises(weights.CorruptFileError, match=r"of format 1 to 0, got format 2\n  fix: update Phlox"):
        CheckpointStore(two).newest()


def test_what_a_killed_process_left_is_removed_and_never_taken_for_whole(two):
    (two / "0002-step-2").rename(two / ".unfinished-0002-step-2")
    shutil.copytree(two / "0001-step-1", two / "0003-step-3")
    (two / "0003-step-3" / MANIFEST).unlink()
    store = CheckpointStore(two)
    assert names(store) == ["0001-step-1"]
    store.open()
    store.close()
    assert sorted(os.listdir(two)) == [".lock", "0001-step-1", "0003-step-3"]


def test_a_checkpoint_has_its_name_once_its_manifest_is_in_it(store, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "phlox.loop.checkpoints._saving.sealed",
        lambda folder, about: seen.append((folder.name, sorted(os.listdir(store.folder)))) or sealed(folder, about),
    )
    save(store, make(1))
    assert seen == [(".unfinished-0001-step-1", [".lock", ".unfinished-0001-step-1"])]
    assert names(store) == ["0001-step-1"]


# --- what is kept ----------------------------------------------------------------------------------


def test_the_newest_and_the_best_are_kept_apart(store):
    run = make(0)
    for step, score in enumerate([0.5, 0.1, 0.3, None, 0.2, 0.9, None], 1):
        run.step = step
        save(store, run, score, keep=2, keep_best=2)
    assert names(store) == ["0002-step-2", "0005-step-5", "0006-step-6", "0007-step-7"]
    assert store.newest().step == 7
    assert store.best().step == 2


def test_the_best_may_be_the_highest(store):
    run = make(0)
    for step, score in enumerate([0.5, 0.9, 0.3], 1):
        run.step = step
        save(store, run, score, keep=1, keep_best=1, monitor="val_accuracy", mode="max")
    assert names(store) == ["0002-step-2", "0003-step-3"]
    assert store.best().score == 0.9


def test_without_a_score_there_is_no_best(store):
    save(store, make(1))
    assert store.best() is None


# --- what goes wrong while writing -----------------------------------------------------------------


@contextmanager
def files_of_at_most(size):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


# Of several writes that fail, Orbax waits for the first and closes its loop, and the others end in an unraisable error.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_full_disk_is_a_clear_error_and_leaves_all_else_as_it_was(store):
    run = make(1)
    run.model.large = jnp.asarray(np.random.default_rng(0).normal(size=50_000), jnp.float32)
    save(store, run)
    before = {path: path.read_bytes() for path in files(store.folder)}
    state = contents(run.state())
    with files_of_at_most(20_000), pytest.raises(weights.FileError) as caught:
        save(store, run)
    message = str(caught.value)
    assert message.startswith(
        f"checkpoints in {str(store.folder)!r} expects room for {store.folder}, got File too large"
    )
    assert "\n  fix: free some space" in message
    assert contents(run.state()) == state
    assert {path: path.read_bytes() for path in files(store.folder)} == before
    run.step = 2
    save(store, run)  # and goes on where there is room again
    assert store.newest().step == 2


def test_a_full_disk_while_the_text_is_written(store):
    run = make(1)
    run.callbacks[0].kept["names"] = ["long"] * 20_000
    with files_of_at_most(10_000), pytest.raises(weights.FileError, match="expects room for"):
        save(store, run)
    assert names(store) == []
    assert os.listdir(store.folder) == [".lock"]


def test_a_folder_that_cannot_be_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(weights.FileError, match=r"file to be a folder, got .*\n  fix: "):
            CheckpointStore(folder).open()


def test_two_trainings_do_not_share_a_folder(store):
    with pytest.raises(weights.FileError, match="that no other training writes to, got one that is in use by another"):
        CheckpointStore(store.folder).open()
    store.close()
    CheckpointStore(store.folder).open()


def test_state_that_is_no_json_is_refused_by_name(store):
    run = make(1)
    run.callbacks[0].kept["odd"] = object()
    with pytest.raises(px.StructureError, match=r"state that is arrays and JSON: .*, got object .* at state/odd"):
        save(store, run)
    run.callbacks[0].kept["odd"] = {"array": np.ones(2), "words": {"a"}}
    with pytest.raises(px.StructureError, match=r"Keeps\.state expects state .*, got set .* at state/odd/words"):
        save(store, run)
    assert names(store) == []


# --- into a model ----------------------------------------------------------------------------------


def test_a_model_is_filled_and_what_is_tied_stays_tied(pair):
    model = make(7).model
    report = px.load_checkpoint(model, pair)
    assert report.complete
    assert model[3] is model[0]
    assert contents(px.Run(model, None).state()["arrays"]["model"]) == contents(make(2).state()["arrays"]["model"])


def test_a_changed_model_is_reported_by_path(pair):
    model = px.Chain(px.Dense(3, 3), px.BatchNorm(3), px.Dropout(0.5), px.Dense(3, 4, bias=False))
    model[1].scale = model[1].scale.astype(jnp.bfloat16)
    before = contents(px.state_dict(model[0]))
    with pytest.raises(px.StructureError) as caught:
        px.load_checkpoint(model, pair)
    message = str(caught.value)
    assert "missing: layers.3.weight" in message
    assert "unexpected: odd.half" in message
    assert "mismatched: layers.1.scale expects bfloat16[3], got float32[3]" in message
    assert contents(px.state_dict(model[0])) == before
    report = px.load_checkpoint(model, pair, strict=False)
    assert report.missing == ["layers.3.weight"]
    assert report.unexpected == ["odd.half", "odd.eight"]
    assert list(report.mismatched) == ["layers.1.scale"]
    assert contents(px.state_dict(model[0])) == contents(px.state_dict(make(2).model[0]))
    assert model[1].scale.dtype == jnp.bfloat16


def test_loading_chooses_and_refuses_by_name(pair):
    model = make(7).model
    px.load_checkpoint(model, pair, which=pair / "0001-step-1")
    assert contents(px.state_dict(model[0])) == contents(px.state_dict(make(1).model[0]))
    with pytest.raises(px.RangeError, match=r"a part of the checkpoint, got 'EMA\.average'\n  fix: choose among Keeps"):
        px.load_checkpoint(model, pair, part="EMA.average")
    with pytest.raises(weights.FileError, match="expects a checkpoint with a score, got 2 without one in "):
        px.load_checkpoint(model, pair, which="best")


def test_wide_numbers_are_not_narrowed_on_the_way_into_a_model(store):
    with jax.enable_x64(True):
        model = px.f64(px.Dense(2, 2))
        save(store, px.Run(model, None))
    with pytest.raises(px.StructureError, match=r"weight expects float32\[2, 2\], got float64\[2, 2\]"):
        px.load_checkpoint(px.Dense(2, 2), store.folder)


# --- other devices ---------------------------------------------------------------------------------

ACROSS = """
import sys, jax, numpy as np, phlox as px
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
from phlox.loop.checkpoints._store import CheckpointStore
jax.config.update("jax_num_cpu_devices", int(sys.argv[2]))
model = px.Dense(8, 4, key=0)
mesh = Mesh(np.array(jax.devices()), ("data",))
model.weight = jax.device_put(model.weight, NamedSharding(mesh, P("data")))
model.bias = jax.device_put(model.bias, NamedSharding(mesh, P()))
assert len(model.weight.devices()) == int(sys.argv[2])
run = px.Run(model, None)
store = CheckpointStore(sys.argv[1])
if sys.argv[3] == "save":
    store.open()
    store.save(run.state(), {"step": 1, "epoch": 0, "score": None, "monitor": None, "mode": None}, keep=1, keep_best=0)
    store.wait()
    store.close()
else:
    model.weight = model.weight * 0
    run.restore(store.read(store.newest()))
    px.save(model, sys.argv[1] + "/restored")
"""


def test_a_checkpoint_of_one_number_of_devices_is_restored_on_another(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(Path(px.__file__).parents[1])}
    want = px.Dense(8, 4, key=0)
    for first, second in ((4, 1), (1, 4)):
        folder = tmp_path / str(first)
        for count, what in ((first, "save"), (second, "load")):
            subprocess.run([sys.executable, "-c", ACROSS, str(folder), str(count), what], check=True, env=environment)
        assert contents(px.state_dict(px.load(folder / "restored"))) == contents(px.state_dict(want))
