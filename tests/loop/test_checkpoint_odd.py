"""Folders of checkpoints as people leave them: links, odd files, pipes, damage, forged manifests, readers beside a
training, children that are forked meanwhile.
"""

import hashlib
import json
import os
import re
import shutil
import signal
import socket
import threading
import time
import warnings

import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import oracle
from loop.loops import batches, dropping
from phlox import weights
from phlox.loop._interruption import Interruption
from phlox.loop.checkpoints import _files as _checkpoint_files
from phlox.loop.checkpoints._manifest import FORMAT, MANIFEST

oracle("orbax.checkpoint")
CorruptFileError, MissingFileError = weights.CorruptFileError, weights.MissingFileError


def filled(value):
    model = px.Dense(64, 64)
    model.weight = jnp.full((64, 64), float(value))
    return model


def save(store, step, score=None, keep=10, keep_best=0):
    about = {"step": step, "epoch": step, "score": score, "monitor": "val_loss", "mode": "min"}
    store.save(px.Run(filled(step), None).state(), about, keep=keep, keep_best=keep_best)
    store.wait()


def opened(folder):
    store = px.CheckpointStore(folder)
    store.open()
    return store


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A folder with two whole checkpoints, of step 1, the better one, and step 2."""
    store = opened(tmp_path_factory.mktemp("pair"))
    save(store, 1, score=0.1)
    save(store, 2, score=0.2)
    store.close()
    return store.folder


@pytest.fixture
def two(pair, tmp_path):
    """Such a folder, to be spoiled."""
    shutil.copytree(pair, tmp_path / "two")
    return tmp_path / "two"


def listing(folder):
    return sorted(name for name in os.listdir(folder) if name != ".lock")


def loaded(folder, **options):
    """What a model holds that was filled from a checkpoint: one number, everywhere."""
    model = filled(-1)
    px.load_checkpoint(model, folder, **options)
    values = np.unique(model.weight)
    assert values.size == 1
    return float(values[0])


# --- children ------------------------------------------------------------------------------------------


def forked(act):
    """A child that calls ``act`` and ends with what it returns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # JAX's, of threads that a child does not have
        child = os.fork()
    if not child:
        code = 99
        signal.alarm(10)  # it is not to wait for ever for a thread that it does not have
        try:
            code = act()
        finally:
            os._exit(code)
    return child


def ended(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_child_keeps_no_lock_of_its_parent(tmp_path):
    """The lock is free once the parent is gone, whatever children it has; and the child's end does not free it."""
    store = opened(tmp_path)
    read, write = os.pipe()
    child = forked(lambda: len(os.read(read, 1)))  # lives until something is written
    try:
        assert ended(forked(lambda: store.close() or 3)) == 3
        with pytest.raises(weights.FileError, match=f"in use by another: process {os.getpid()}\n  fix: "):
            opened(tmp_path)
        store.close()
        opened(tmp_path).close()
    finally:
        os.write(write, b"x")
        assert ended(child) == 1
        os.close(read)
        os.close(write)


def test_a_child_does_with_a_signal_what_it_would_have_done(tmp_path):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    interruption = Interruption()
    try:
        interruption.start()
        interruption.before_saving()
        assert ended(forked(lambda: signal.getsignal(signal.SIGINT) is signal.default_int_handler)) == 1
        child = forked(lambda: time.sleep(5) or 0)
        os.kill(child, signal.SIGTERM)
        assert ended(child) == -signal.SIGTERM
        assert signal.getsignal(signal.SIGTERM) == interruption._note
        assert interruption.number is None
    finally:
        interruption.end()
        signal.signal(signal.SIGINT, before)


def test_a_child_does_not_save_into_its_parents_folder(two):
    store = opened(two)

    def act():
        try:
            save(store, 3)
        except weights.FileError as error:
            return int("written by the process that opened them, got a child" in str(error))

    assert ended(forked(act)) == 1
    store.close()
    assert listing(two) == ["0001-step-1", "0002-step-2"]


def test_sigterm_behind_ctrl_c_still_ends_the_process(tmp_path):
    def both(run):
        if run.step == 2:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(SystemExit) as caught:
        px.fit(
            dropping(), batches(4), loss=px.losses.cross_entropy, optimizer=px.optim.Adam(), progress=False,
            multi_step=1, callbacks=[px.LambdaCallback(on_step_end=both)], checkpoint_dir=tmp_path,
        )  # fmt: skip
    assert caught.value.code == 143
    assert px.CheckpointStore(tmp_path).newest().step == 2


# --- links and odd files -------------------------------------------------------------------------------


def test_a_checkpoint_that_was_moved_away_and_linked_back_is_read_and_its_link_alone_goes(two, tmp_path):
    away = tmp_path / "away"
    (two / "0001-step-1").rename(away)
    (two / "0001-step-1").symlink_to(away)
    (two / ".unfinished-0009-step-9").symlink_to(away)  # what an older version made of it
    (two / ".unfinished-0008-step-8").write_text("odd")
    assert loaded(two, which="best") == 1
    store = opened(two)
    assert listing(two) == ["0001-step-1", "0002-step-2"]
    save(store, 3, keep=1)
    store.close()
    assert listing(two) == ["0003-step-3"]
    assert {MANIFEST, "state.json", "arrays"} <= set(os.listdir(away))


def test_what_only_has_the_name_of_a_checkpoint_ends_nothing(two):
    (two / "0005-step-5").write_text("a file")
    (two / "0006-step-6").mkdir()
    (two / "0007-step-7").symlink_to(two / "nowhere")
    store = opened(two)
    with pytest.warns(UserWarning, match="step-") as told:
        assert store.newest().step == 2
    text = "\n".join(str(warning.message) for warning in told)
    for name in ("0005-step-5", "0006-step-6"):
        assert f"{two / name} is no checkpoint, though it has the name of one: it is left as it is." in text
    assert f"checkpoint {two / '0007-step-7'} is damaged: {MANIFEST}, which is missing; it is left as it is." in text
    save(store, 8, keep=1)
    assert store.newest().step == 8  # and warns of nothing once more
    store.close()
    assert listing(two) == ["0005-step-5", "0006-step-6", "0007-step-7", "0008-step-8"]


def test_a_folder_that_cannot_be_read_is_passed_over(two, monkeypatch):
    denied, opens, lists = two / "0002-step-2", os.open, os.listdir

    def denying(call):
        def instead(path, *rest):
            if str(path).startswith(str(denied)):
                raise PermissionError(13, "Permission denied")
            return call(path, *rest)

        return instead

    monkeypatch.setattr(os, "open", denying(opens))
    monkeypatch.setattr(os, "listdir", denying(lists))
    with pytest.warns(
        UserWarning, match=r"0002-step-2 is damaged: manifest\.json, which cannot be read \(Permission denied\)"
    ):
        assert px.CheckpointStore(two).newest().step == 1


def test_odd_things_alone_are_no_checkpoints(tmp_path):
    (tmp_path / "0001-step-1").mkdir()
    with pytest.warns(UserWarning, match="0001-step-1 is no checkpoint"):
        assert px.CheckpointStore(tmp_path).newest() is None


def test_what_cannot_be_deleted_is_told_once_and_training_goes_on(two, monkeypatch):
    store = opened(two)
    monkeypatch.setattr(os, "rename", denied_for(two / "0001-step-1", os.rename))
    with pytest.warns(
        UserWarning, match=r"0001-step-1 is no longer wanted, and cannot be deleted: Permission denied\. "
    ):
        save(store, 3, keep=1)
    save(store, 4, keep=1)  # a warning would be an error
    store.close()
    assert listing(two) == ["0001-step-1", "0004-step-4"]


def denied_for(path, call):
    def instead(source, *rest):
        if source == path:
            raise PermissionError(13, "Permission denied")
        return call(source, *rest)

    return instead


def socket_at(path):
    short = os.path.relpath(path)  # the system has little room for the names of sockets
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(short)


@pytest.mark.parametrize("name", [MANIFEST, "state.json", "arrays/pipe"])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, socket_at])
def test_what_is_no_file_is_refused_and_not_waited_for(two, monkeypatch, name, make):
    path = two / "0002-step-2" / name
    path.unlink(missing_ok=True)
    monkeypatch.chdir(two)
    make(path)
    if name == "arrays/pipe" and make is os.mkdir:
        return  # an empty folder is none of anybody's business
    with pytest.raises(CorruptFileError, match=rf"got {name}, which "):
        px.load_checkpoint(filled(0), two, which="0002-step-2")


def test_a_pipe_that_takes_the_place_of_a_file_is_not_waited_for(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    for call in (px.load, weights.read_metadata, lambda path: weights.load_safetensors(filled(0), path)):
        with pytest.raises(weights.FileError, match="pipe to be a regular file"):
            call(tmp_path / "pipe")
    monkeypatch.setattr(weights._errors, "check_regular", lambda path: None)
    with pytest.raises(OSError, match="something else"):
        weights.open_regular(tmp_path / "pipe")


# --- there is none -------------------------------------------------------------------------------------


def test_where_there_is_no_checkpoint_the_error_says_what_is_there_and_what_to_type(pair, tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes").write_text("")
    (tmp_path / "model").write_text("")
    shutil.copytree(pair, tmp_path / "runs" / "a")
    inside = str(pair / "0002-step-2")
    for folder, got, fix in [
        (tmp_path / "nowhere", "a folder that does not exist", f"check the path: {str(tmp_path)!r} holds empty, model"),
        (tmp_path / "empty", "an empty folder", "pass the folder that px.fit(…, checkpoint_dir=folder) was given"),
        (tmp_path / "other", "only notes", "pass the folder that px.fit"),
        (tmp_path / "model", "a file", "fill the model from a file of weights with px.weights.load_safetensors("),
        (tmp_path / "runs", "none there, but some below: a", f"choose the folder of one training: '{tmp_path}/runs/a'"),
        (inside, "a checkpoint itself", f"pass the folder around it: load_checkpoint(model, {str(pair)!r}, which="),
    ]:
        with pytest.raises(FileNotFoundError) as caught:
            px.load_checkpoint(filled(0), folder)
        where = f"px.load_checkpoint({str(folder)!r}) expects checkpoints in {str(folder)!r}"
        assert isinstance(caught.value, weights.FileError)
        assert not isinstance(caught.value, CorruptFileError)
        assert str(caught.value).startswith(f"{where}, got {got}\n  fix: {fix}")
    with pytest.raises(FileNotFoundError):  # as everyone writes it
        px.load(tmp_path / "nothing")


def test_a_resume_from_the_best_where_none_has_a_score_does_not_start_anew(tmp_path):
    options = dict(loss=px.losses.cross_entropy, optimizer=px.optim.Adam(), progress=False)
    px.fit(dropping(), batches(2), **options, callbacks=[px.Checkpoint(tmp_path, keep_best=0)])
    with pytest.raises(MissingFileError, match=r"px\.fit\(resume=…\) expects a checkpoint with a score, got 1 without"):
        px.fit(dropping(), batches(2), **options, checkpoint_dir=tmp_path, resume="best")


# --- beside a training ---------------------------------------------------------------------------------


def deleted_on_the_way(monkeypatch, folder, times):
    """A training deletes the checkpoint while its arrays are read, and the reader finds nothing but zeros there."""
    read, left = _checkpoint_files.read_arrays, [times]

    def instead(arrays, numbers):
        found = read(arrays, numbers)
        if left[0]:
            left[0] -= 1
            arrays.parent.rename(folder / ".unfinished-x")
            shutil.rmtree(folder / ".unfinished-x")
            return {number: np.zeros_like(array) for number, array in found.items()}
        return found

    monkeypatch.setattr(_checkpoint_files, "read_arrays", instead)


def test_a_reader_whose_checkpoint_is_deleted_takes_the_next(two, monkeypatch):
    deleted_on_the_way(monkeypatch, two, 1)
    assert loaded(two, which="best") == 2
    deleted_on_the_way(monkeypatch, two, 1)
    with pytest.raises(
        MissingFileError, match=r"0002-step-2 expects to be there while it is read, got none: it was del"
    ):
        loaded(two, which="0002-step-2")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Orbax's, of a read that ended early
def test_readers_beside_a_training_see_whole_checkpoints(two):
    store, seen, errors, over = opened(two), set(), [], threading.Event()

    def read():
        while not over.is_set():
            try:
                seen.add(loaded(two, which="best"))
                seen.add(loaded(two))
            except Exception as error:
                errors.append(error)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for step in range(3, 15):
        save(store, step, score=1 / step, keep=1, keep_best=1)
    over.set()
    for reader in readers:
        reader.join()
    store.close()
    assert not errors
    assert seen <= set(range(1, 15))
    assert len(seen) > 1


# --- damage --------------------------------------------------------------------------------------------


def test_a_damaged_checkpoint_outlives_the_resumes_that_follow(two):
    (two / "0002-step-2" / "state.json").write_text("{}")
    kept = two / "0002-step-2.damaged"
    store = opened(two)
    with pytest.warns(UserWarning, match=re.escape(f"it is kept as {kept}. {two / '0001-step-1'} is used.")):
        assert store.newest().step == 1
    save(store, 3, keep=2)
    store.close()
    for step in (4, 5, 6):  # each in a process of its own, as it were
        store = opened(two)
        assert store.newest().step == step - 1
        save(store, step, keep=2)
        store.close()
    assert listing(two) == ["0002-step-2.damaged", "0005-step-5", "0006-step-6"]
    assert (kept / "state.json").read_text() == "{}"


def test_a_checkpoint_of_a_later_phlox_is_passed_over_and_keeps_its_name(two):
    forge(two / "0002-step-2", lambda m: m.update(format=FORMAT + 1))
    store = opened(two)
    with pytest.warns(UserWarning, match=f"format {FORMAT + 1}; it is left as it is"):
        assert store.newest().step == 1
    store.close()
    assert listing(two) == ["0001-step-1", "0002-step-2"]


# --- forged --------------------------------------------------------------------------------------------


def forge(folder, change, state=None):
    """Change a manifest, and sign it as if nothing had been."""
    content = json.loads((folder / MANIFEST).read_text())
    del content["sha256"]
    if state is not None:
        (folder / "state.json").write_text(json.dumps(state))
        raw = (folder / "state.json").read_bytes()
        content["files"]["state.json"] = [len(raw), hashlib.sha256(raw).hexdigest()]
    change(content)
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    (folder / MANIFEST).write_text(json.dumps({**content, "sha256": digest}))


def named(name):
    return lambda m: m["files"].update({name: [6, hashlib.sha256(b"secret").hexdigest()]})


FORGED = {
    "format": lambda m: m.update(format="1"),
    "step": lambda m: m.update(step="2"),
    "a step that is true": lambda m: m.update(step=True),
    "a step below none": lambda m: m.update(step=-1),
    "epoch": lambda m: m.pop("epoch"),
    "score": lambda m: m.update(score=[1.0]),
    "a score of nan": lambda m: m.update(score=float("nan")),
    "monitor": lambda m: m.update(monitor=3),
    "mode": lambda m: m.update(mode="mean"),
    "files": lambda m: m.update(files=["state.json"]),
    "a file": lambda m: m["files"].update({"state.json": "whole"}),
    "a length": lambda m: m["files"].update({"state.json": ["1", "2"]}),
    "no state": lambda m: m["files"].pop("state.json"),
    "above": named("../secret"),
    "above on a way around": named("arrays/../../secret"),
    "from the root": named("/etc/hostname"),
    "from nowhere": named(""),
    "by another bar": named("..\\secret"),
}


@pytest.mark.parametrize("what", FORGED)
def test_a_manifest_of_wrong_types_or_paths_is_damage_and_nothing_is_opened(two, what, monkeypatch):
    (two / "secret").write_text("secret")
    forge(two / "0002-step-2", FORGED[what])
    opened_here, open_it = [], os.open
    monkeypatch.setattr(os, "open", lambda path, *rest: (opened_here.append(str(path)), open_it(path, *rest))[1])
    with pytest.raises(
        CorruptFileError, match=rf"^checkpoint .*0002-step-2 expects every .*, got {MANIFEST}, w.*\n  fix: "
    ):
        px.load_checkpoint(filled(0), two, which="0002-step-2")
    assert {os.path.basename(path) for path in opened_here} <= {MANIFEST}
    assert [s.step for s in px.CheckpointStore(two).checkpoints()] == [1]


def test_a_manifest_that_was_changed_does_not_vouch_for_itself(two):
    path = two / "0002-step-2" / MANIFEST
    path.write_text(path.read_text().replace('"step": 2', '"step": 3'))
    with pytest.raises(CorruptFileError, match=rf"got {MANIFEST}, which is not as it was written"):
        px.load_checkpoint(filled(0), two, which="0002-step-2")


def test_a_link_that_leads_out_is_refused(two):
    outside = two / "0001-step-1" / "state.json"
    inside = two / "0002-step-2" / "state.json"
    inside.unlink()
    inside.symlink_to(outside)
    with pytest.raises(CorruptFileError, match=r"got state\.json, a link that leads out of the checkpoint"):
        px.load_checkpoint(filled(0), two, which="0002-step-2")


def test_a_state_of_wrong_types_is_damage_before_the_run_changes(two):
    folder = two / "0002-step-2"
    whole = json.loads((folder / "state.json").read_text())

    def changed(**values):
        return {**whole, "values": {**whole["values"], **values}}

    entry = whole["arrays"][0]
    for state in (
        [],
        {"arrays": whole["arrays"]},
        {**whole, "arrays": [{"path": "model"}]},
        {**whole, "arrays": [{**entry, "number": 3}]},
        {**whole, "arrays": [{"path": entry["path"], "number": "9999"}]},
        {**whole, "arrays": [{"path": ["model", "weight"], "empty": ["float32", [10**9]]}]},
        {**whole, "arrays": [entry, {**entry, "path": [*entry["path"], "inner"]}]},
        changed(step="2"),
        changed(epoch_over=1),
        changed(callbacks=[]),
        changed(keys={"model": {"weight": "no such kind"}}),
        changed(history={"__array__": ["nowhere", "numpy"]}),
    ):
        forge(folder, lambda m: None, state)
        with pytest.raises(
            CorruptFileError, match=r"^checkpoint .*0002-step-2 expects every .*, got state\.json.*\n  fix: "
        ):
            px.CheckpointStore(two).read(folder)
