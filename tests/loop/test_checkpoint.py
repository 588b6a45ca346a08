"""Saving while training: when, what for, what is said where it ends early, and what a changed model is told."""

import os
import resource
import signal
import sys
import threading
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import oracle
from phlox import optim, weights

oracle("orbax.checkpoint")

X = np.random.default_rng(0).normal(size=(24, 3)).astype(np.float32)
Y = (X @ np.array([[1.0], [-2.0], [0.5]])).astype(np.float32)


def model(seed=0):
    with px.seed(seed):
        return px.Chain(px.Dense(3, 4, px.tanh), px.Dropout(0.2), px.Dense(4, 1))


def fit(folder=None, *, net=None, callbacks=(), **options):
    """Two epochs of three steps."""
    given = {"epochs": 2, "batch_size": 8, "validation_data": (X[:8], Y[:8]), "seed": 3, "progress": False}
    net = model() if net is None else net
    history = px.fit(
        net, (X, Y), loss=px.losses.mse, optimizer=optim.Adam(0.01), callbacks=callbacks, checkpoint_dir=folder,
        **given | options,
    )  # fmt: skip
    return net, history


def words(net):
    return {
        path: np.asarray(v if path.split(".")[-1] != "key" else 0).tobytes() for path, v in px.state_dict(net).items()
    }


def saved(folder):
    return [(s.step, s.epoch, s.manifest["reason"]) for s in px.CheckpointStore(folder).checkpoints()]


@pytest.fixture(scope="module")
def whole():
    """What training ends as where nothing happens."""
    net, history = fit()
    return words(net), history


class At(px.Callback):
    """Does something once a step is done."""

    def __init__(self, step, do):
        self.step, self.do = step, do

    def on_step_end(self, run):
        if run.step == self.step:
            self.do()


def send(number):
    return lambda: os.kill(os.getpid(), number)


def fail():
    raise ZeroDivisionError("in a callback")


HANDLERS = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}


@pytest.fixture(autouse=True)
def _handlers_are_restored():
    yield
    assert {number: signal.getsignal(number) for number in HANDLERS} == HANDLERS
    assert [t.name for t in threading.enumerate() if t.name.endswith("(_finish)")] == []


def test_saving_changes_no_number(tmp_path, whole):
    net, history = fit(tmp_path, checkpoint_every=1)
    assert (words(net), history.epochs, history.losses.tobytes()) == (
        whole[0], whole[1].epochs, whole[1].losses.tobytes(),
    )  # fmt: skip


def test_when_it_saves(tmp_path):
    fit(tmp_path / "epochs")
    assert saved(tmp_path / "epochs") == [(3, 0, "an epoch"), (6, 1, "the last epoch")]
    every = px.Checkpoint(tmp_path / "steps", every=2, keep=10, keep_best=0)
    fit(callbacks=[every])
    steps = [(2, 0, "every 2 steps"), (4, 1, "every 2 steps"), (6, 1, "every 2 steps"), (6, 1, "the last epoch")]
    assert saved(tmp_path / "steps") == steps
    by_steps = px.Checkpoint(tmp_path / "by steps", every=100, keep_best=0)
    fit(callbacks=[by_steps], steps=4)
    assert saved(tmp_path / "by steps") == [(4, 1, "the last epoch")]


def test_the_best_epoch_is_kept_and_can_be_loaded(tmp_path):
    """The score is made to be best in the second epoch of four."""

    class Scores(px.Callback):
        def on_validation_end(self, run):
            run.logs["val_loss"] = [3.0, 1.0, 2.0, float("nan")][run.epoch]

    class Remember(px.Callback):
        seen = {}  # noqa: RUF012

        def on_epoch_end(self, run):
            run.history.epochs[-1]["val_loss"] = run.logs["val_loss"] = [3.0, 1.0, 2.0, float("nan")][run.epoch]
            self.seen[run.epoch] = words(run.model)

    remember = Remember()
    fit(tmp_path, epochs=4, callbacks=[remember])
    store = px.CheckpointStore(tmp_path)
    assert [s.epoch for s in store.checkpoints()] == [1, 2, 3]
    assert (store.best().epoch, store.best().score, store.newest().score) == (1, 1.0, None)
    net = model(9)
    px.load_checkpoint(net, tmp_path, which="best")
    assert words(net) == remember.seen[1]
    px.load_checkpoint(net, tmp_path)
    assert words(net) == remember.seen[3]


def test_averaged_weights_and_the_loss_scale_are_kept(tmp_path):
    average = px.EMA(0.5)
    net, _ = fit(tmp_path, callbacks=[average], precision="fp16")
    other = px.EMA(0.5)
    again, _ = fit(tmp_path, callbacks=[other], precision="fp16", resume=True, net=model(7))
    assert words(again) == words(net)
    assert words(other.average) == words(average.average)
    assert "guard" in px.CheckpointStore(tmp_path).read(px.CheckpointStore(tmp_path).newest())["arrays"]
    loaded = px.map(jnp.zeros_like, average.average)
    px.load_checkpoint(loaded, tmp_path, part="EMA.average")
    assert words(loaded) == words(average.average)


def test_the_best_of_validations_between_epochs_is_kept(tmp_path):
    """With ``steps``, validation counts steps; the scores are made to be best behind the second one."""

    class Scores(px.Callback):
        def on_validation_end(self, run):
            run.logs["val_loss"] = abs(run.step - 2.0)

    watching = px.Checkpoint(tmp_path, every=3, keep=1)
    fit(callbacks=[Scores(), watching], steps=5)
    assert [(s.step, s.score) for s in px.CheckpointStore(tmp_path).checkpoints()] == [(2, 0.0), (5, None)]


# --- ends that nobody planned ----------------------------------------------------------------------


@pytest.mark.parametrize("every", ["epoch", 1])
def test_ctrl_c_saves_says_how_to_go_on_and_it_goes_on(tmp_path, whole, capsys, every):
    _, history = fit(tmp_path, callbacks=[At(4, send(signal.SIGINT))], checkpoint_every=every)
    assert history.interrupted
    message = f"go on with px.fit(…, checkpoint_dir={str(tmp_path)!r}, resume=True)"
    said = capsys.readouterr().err
    assert "Ctrl-C at step 4; saved up to step 4 in " in said
    assert said.count(message) == 1
    assert "Ctrl-C: saving at the end of this step; Ctrl-C again stops at once" in said
    assert message in said
    assert saved(tmp_path)[-1] == (4, 1, "Ctrl-C")
    net, history = fit(tmp_path, resume=True, net=model(5), checkpoint_every=every)
    assert words(net) == whole[0]
    assert history.epochs == whole[1].epochs
    assert history.losses.tobytes() == whole[1].losses.tobytes()


def test_sigterm_saves_and_ends_the_process_as_the_system_expects(tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        fit(tmp_path, callbacks=[At(2, send(signal.SIGTERM))])
    assert caught.value.code == 128 + 15
    assert "SIGTERM at step 2; saved up to step 2 in " in capsys.readouterr().err
    assert saved(tmp_path) == [(2, 0, "SIGTERM")]


def test_a_second_ctrl_c_stops_at_once(tmp_path):
    def twice():
        send(signal.SIGINT)()
        send(signal.SIGINT)()

    with pytest.raises(KeyboardInterrupt) as caught:
        fit(tmp_path, callbacks=[At(4, twice)])
    assert saved(tmp_path) == [(3, 0, "an epoch")]
    assert caught.value.__notes__[0].startswith("KeyboardInterrupt at step 4; saved up to step 3 in ")


def test_an_exception_in_a_callback_between_steps_is_no_place_to_save(tmp_path):
    """Others have not seen this step yet; what was saved before is told of."""
    with pytest.raises(ZeroDivisionError, match="in a callback") as caught:
        fit(tmp_path, callbacks=[At(4, fail)])
    assert saved(tmp_path) == [(3, 0, "an epoch")]
    assert caught.value.__notes__[0] == "raised in At.on_step_end, epoch 2, step 4"
    assert caught.value.__notes__[1].startswith("ZeroDivisionError at step 4; saved up to step 3 in ")
    assert "resume=True" in caught.value.__notes__[1]


def test_an_exception_of_the_data_is_saved_before(tmp_path, whole):
    batches = [(X[i : i + 8], Y[i : i + 8]) for i in (0, 8, 16)]

    class Breaks:
        def __init__(self, at):
            self.at = at

        def __len__(self):
            return 3

        def __iter__(self):
            for i, batch in enumerate(batches):
                if i == self.at:
                    raise OSError("the disk with the data is gone")
                yield batch

    def run(net, data, **options):
        px.fit(
            net,
            data,
            loss=px.losses.mse,
            optimizer=optim.Adam(0.01),
            checkpoint_dir=tmp_path,
            progress=False,
            **options,
        )

    with pytest.raises(OSError, match="is gone") as caught:
        run(model(), Breaks(2))
    assert "saved up to step 1" in caught.value.__notes__[0] or "saved up to step 2" in caught.value.__notes__[0]
    net, want = model(4), model()
    run(net, Breaks(None), resume=True)
    px.fit(want, batches, loss=px.losses.mse, optimizer=optim.Adam(0.01), progress=False)
    assert words(net) == words(want)


# Of several writes that fail, Orbax waits for the first and closes its loop, and the others end in an unraisable error.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_disk_that_fills_up_ends_training_with_all_that_was_saved(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    checkpoint, net = px.Checkpoint(tmp_path), model()

    def fill():
        checkpoint.store.wait()
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))

    try:
        with pytest.raises(weights.FileError) as caught:
            fit(net=net, callbacks=[At(5, fill), checkpoint])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert f"checkpoints in {str(tmp_path)!r} expects room for {tmp_path}, got File too large" in str(caught.value)
    assert "saved up to step 3" in caught.value.__notes__[-1]
    assert saved(tmp_path) == [(3, 0, "an epoch")]
    assert all(np.isfinite(np.frombuffer(w, np.float32)).all() for w in words(net).values())  # trained, and there
    assert not [p for p in os.listdir(tmp_path) if p.startswith(".unfinished")]


def test_a_folder_that_cannot_be_written_is_refused_before_the_first_step(tmp_path):
    (tmp_path / "file").write_text("")
    net = model()
    before = words(net)
    with pytest.raises(weights.FileError, match=r"file to be a folder"):
        fit(tmp_path / "file", net=net)
    assert words(net) == before


def test_without_orbax_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "orbax.checkpoint", None)
    with pytest.raises(px.MissingExtraError, match=r'pip install "phlox\[checkpoint\]"'):
        fit(tmp_path)


def test_training_in_a_thread_saves_and_leaves_signals_alone(tmp_path, whole):
    ended = []
    thread = threading.Thread(target=lambda: ended.append(words(fit(tmp_path)[0])))
    thread.start()
    thread.join()
    assert ended == [whole[0]]
    assert saved(tmp_path)[-1][0] == 6


# --- going on ------------------------------------------------------------------------------------------


def test_where_nothing_was_saved_training_starts(tmp_path, whole):
    net, _ = fit(tmp_path / "new", resume=True)
    assert words(net) == whole[0]


def test_a_damaged_checkpoint_is_passed_over_with_a_warning(tmp_path, whole):
    fit(tmp_path)
    newest = px.CheckpointStore(tmp_path).newest().path
    (newest / "state.json").write_text("{}")
    with pytest.warns(
        UserWarning, match=r"0002-step-6 is damaged: state\.json, which has 2 bytes .*0001-step-3 is used"
    ):
        net, history = fit(tmp_path, resume=True, net=model(6))
    assert words(net) == whole[0]
    assert history.epochs == whole[1].epochs
    assert sorted(p.name for p in tmp_path.iterdir()) == [".lock", "0001-step-3", "0002-step-6.damaged", "0003-step-6"]


def test_a_checkpoint_can_be_named(tmp_path, whole):
    fit(tmp_path)
    net, _ = fit(tmp_path, resume=str(tmp_path / "0001-step-3"), net=model(6))
    assert words(net) == whole[0]
    newest = px.CheckpointStore(tmp_path).newest().path
    (newest / "manifest.json").unlink()
    with pytest.raises(weights.CorruptFileError, match=rf"{newest.name} expects every file .*manifest\.json"):
        fit(tmp_path, resume=str(newest))


def test_a_changed_model_is_refused_by_path_and_stays_as_it_was(tmp_path):
    fit(tmp_path)
    with px.seed(1):
        changed = px.Chain(px.Dense(3, 5, px.tanh), px.Dropout(0.2), px.Dense(5, 1, bias=False), px.Scale(1))
    changed[0].bias = changed[0].bias.astype(jnp.bfloat16)
    before = words(changed)
    with pytest.raises(px.StructureError) as caught:
        fit(tmp_path, resume=True, net=changed)
    message = str(caught.value)
    assert message.startswith("Run.restore expects the arrays of this run's model, got others:\n")
    for line in (
        "layers.0.bias expects bfloat16[5], got float32[4]",
        "layers.2.weight expects float32[5, 1], got float32[4, 1]",
        "layers.2.bias expects nothing, got float32[1]",
        "layers.3.scale expects float32[1], got nothing",
    ):
        assert f"    {line}" in message
    assert "px.load_checkpoint(…, strict=False)" in message
    assert words(changed) == before


def test_a_folder_of_another_training_is_not_mixed_with_this_one(tmp_path):
    fit(tmp_path)
    before = saved(tmp_path)
    with pytest.raises(
        weights.FileError, match=r"a folder without checkpoints, or resume=True, got 2 of an earlier .* 6\n"
    ):
        fit(tmp_path)
    assert saved(tmp_path) == before


def test_a_callback_of_ones_own_is_resumed_from(tmp_path, whole):
    checkpoint = px.Checkpoint(tmp_path, every=2, keep=1)
    fit(callbacks=[At(4, send(signal.SIGINT)), checkpoint])
    net, _ = fit(callbacks=[px.Checkpoint(tmp_path, every=2)], resume=True, net=model(8))
    assert words(net) == whole[0]
    with pytest.raises(px.RangeError, match=r"px\.fit expects checkpoint_dir or a px\.Checkpoint, got both"):
        fit(tmp_path, callbacks=[checkpoint])
    with pytest.raises(px.RangeError, match=r"px\.fit expects a checkpoint_dir to resume from, got none"):
        fit(resume=True)


# --- arguments -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"every": 0}, 'every to be "epoch" or a number of steps, at least 1, got 0'),
        ({"every": "day"}, "every to be .*, got 'day'"),
        ({"every": True}, "got True"),
        ({"keep": 0}, "keep of at least 1, got 0"),
        ({"keep_best": -1}, "keep_best of at least 0, got -1"),
        ({"monitor": "x"}, 'mode "min" or "max", got a name that tells neither'),
    ],
)
def test_arguments_out_of_range_are_refused(options, text):
    with pytest.raises(px.RangeError, match=rf"Checkpoint expects {text}|{text}"):
        px.Checkpoint("folder", **options)
    assert not Path("folder").exists()


def test_a_monitor_that_nobody_logs_is_an_error(tmp_path):
    with pytest.raises(px.StructureError, match="Checkpoint expects a logged 'val_accuracy'"):
        fit(callbacks=[px.Checkpoint(tmp_path, monitor="val_accuracy", mode="max")], validation_data=None)
