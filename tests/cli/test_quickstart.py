"""The quickstart: what it learns, what it writes, and what it leaves alone when it fails."""

import contextlib
import errno
import io
import json
import os
import re
import shlex
import subprocess
import sys
import textwrap
import urllib.request
from pathlib import Path

import numpy as np
import pytest

import phlox as px
from kit import compiled_as_users_do, oracle
from phlox import cli, weights
from phlox.cli import _digits, _outputs, _quickstart

ROOT = Path(__file__).parents[2]
FILES = ["curves.png", "metrics.json", "model.phlox", "model.safetensors"]


def run(out, *arguments):
    """Run the quickstart in this process; return its exit status and what it printed."""
    with contextlib.redirect_stdout(io.StringIO()) as shown, compiled_as_users_do():
        status = cli.main(["quickstart", "--out", str(out), *arguments])
    return status, shown.getvalue()


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """One run as a user starts it: its folder and what it printed."""
    out = tmp_path_factory.mktemp("full")
    status, shown = run(out)
    assert status == 0
    return out, shown


def test_it_reads_98_percent_of_digits_it_never_saw(full):
    out, shown = full
    metrics = json.loads((out / "metrics.json").read_text("utf-8"))
    assert metrics["test_accuracy"] >= 0.98
    assert metrics["test_images"] == 360
    assert metrics["losses"][-1] < 0.1 < 1 < metrics["losses"][0]
    assert len(metrics["losses"]) == len(metrics["validation_accuracy"]) == metrics["epochs"] == 20
    assert f"test accuracy {metrics['test_accuracy']:.2%}: {metrics['test_right']} of 360" in shown


def test_its_figures_agree_with_an_independent_count(full):
    """scikit-learn counts what the saved model answers."""
    out, _ = full
    measures = oracle("sklearn.metrics")
    metrics = json.loads((out / "metrics.json").read_text("utf-8"))
    _, _, test = _digits.load()
    model = _quickstart.build()
    weights.load_safetensors(model, out / "model.safetensors")
    told = np.asarray(model(test.images)).argmax(-1)
    assert measures.accuracy_score(test.digits, told) == metrics["test_accuracy"]
    assert measures.confusion_matrix(test.digits, told).tolist() == metrics["confusion"]


def test_it_shows_the_model_the_run_and_the_times(full):
    out, shown = full
    assert "Conv((3, 3), 1, 32" in shown
    assert "total: 58_634 parameters" in shown
    assert "1347 images to train on, 90 to watch the training with, 360 to test on" in shown
    assert re.search(r"compiled for the CPU in \d+\.\d s", shown)
    assert re.search(r"epoch  1 of 20: loss \d\.\d{4}, validation accuracy", shown)
    assert re.search(r"training took \d+\.\d s, beside \d+\.\d s of compiling", shown)
    assert "all test predictions are identical, bit for bit" in shown
    assert f"wrote {out}/model.safetensors, {out}/model.phlox, {out}/metrics.json, {out}/curves.png" in shown
    assert "\x1b" not in shown  # no terminal, no escape codes
    assert sorted(os.listdir(out)) == FILES


def test_its_last_line_serves_what_it_trained(full):
    for package in ("uvicorn", "httptools", "prometheus_client"):
        oracle(package)
    out, shown = full
    last = shown.strip().splitlines()[-1]
    assert last.startswith("serve it: phlox serve ")
    command = [sys.executable, "-m", *shlex.split(last.removeprefix("serve it: ")), "--port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        told = next(json.loads(line) for line in process.stderr if '"serving"' in line)
        _, _, test = _digits.load()
        body = json.dumps({"instances": test.images[:50].tolist()}).encode()
        with urllib.request.urlopen(told["url"] + "/v1/models/model:predict", body, timeout=30) as answer:
            scores = np.asarray(json.load(answer)["predictions"])
    finally:
        process.terminate()
        process.wait(30)
        process.stderr.close()
    model = _quickstart.build()
    weights.load_safetensors(model, out / "model.safetensors")
    np.testing.assert_allclose(scores, model(test.images[:50]), atol=1e-4)


def test_the_metrics_say_what_the_run_was_made_with(full):
    out, _ = full
    metrics = json.loads((out / "metrics.json").read_text("utf-8"))
    assert metrics["seed"] == 0
    assert set(metrics["versions"]) == {"python", "phlox", "jax", "numpy", "optax", "scikit-learn"}
    assert metrics["versions"]["numpy"] == np.__version__
    assert min(metrics["seconds"].values()) > 0


def test_the_picture_is_a_picture_with_both_curves(full):
    image = oracle("matplotlib.image")
    pixels = image.imread(full[0] / "curves.png")
    height, width, _ = pixels.shape
    assert width > 2 * height > 400
    purple = np.abs(pixels[..., :3] - np.array([0x70, 0x48, 0xA8]) / 255).max(-1) < 0.02
    assert purple[:, : width // 2].sum() > 200
    assert purple[:, width // 2 :].sum() > 200


def numbers(out):
    metrics = json.loads((out / "metrics.json").read_text("utf-8"))
    return {k: v for k, v in metrics.items() if k != "seconds"}


def test_a_seed_repeats_a_run_bit_for_bit_and_another_does_not(tmp_path):
    for name, seed in (("a", "3"), ("b", "3"), ("c", "4")):
        assert run(tmp_path / name, "--epochs", "2", "--seed", seed)[0] == 0
    files = {n: (tmp_path / n / "model.safetensors").read_bytes() for n in "abc"}
    assert files["a"] == files["b"] != files["c"]
    assert numbers(tmp_path / "a") == numbers(tmp_path / "b")
    assert numbers(tmp_path / "c")["losses"] != numbers(tmp_path / "a")["losses"]


def test_nothing_is_traced_twice(tmp_path):
    run(tmp_path, "--epochs", "1")
    traced = _quickstart.step.retraces(), _quickstart.forward.retraces()
    run(tmp_path, "--epochs", "1")
    assert (_quickstart.forward.retraces()) == traced[1]
    data, watch, test = _digits.load()
    model = _quickstart.build()
    opt = px.Optimizer(px.optim.Adam(1e-3), model)
    _quickstart.compile_once(model, opt, data, watch)
    before = _quickstart.step.retraces()
    for images, digits in data.batches(_quickstart.BATCH, np.random.default_rng(0)):
        _quickstart.step(model, opt, images, digits)
    _quickstart.predict(model, test)
    assert _quickstart.step.retraces() == before
    assert _quickstart.forward.retraces() == traced[1]


# --- data ------------------------------------------------------------------------------------------------


def test_no_image_is_in_two_parts_and_every_digit_in_each_by_its_share():
    parts = _digits.load()
    seen = [{image.tobytes() for image in part.images} for part in parts]
    everything = np.concatenate([part.digits for part in parts])
    assert len(everything) == 1797
    assert not set.union(seen[0] & seen[1], seen[0] & seen[2], seen[1] & seen[2])
    share = np.bincount(everything) / 1797
    for part in parts:
        assert part.images.dtype == np.float32
        assert (part.images.min(), part.images.max()) == (0, 1)
        assert np.abs(np.bincount(part.digits) - share * len(part)).max() < 1.5


def test_batches_hold_every_image_at_most_once_with_its_own_digit():
    data = _digits.Images(np.arange(10.0, dtype=np.float32).reshape(10, 1, 1, 1), np.arange(10, dtype=np.int32))
    batches = list(data.batches(3, np.random.default_rng(0)))
    assert [len(digits) for _, digits in batches] == [3, 3, 3]
    assert all((images.ravel() == digits).all() for images, digits in batches)
    assert len({int(d) for _, digits in batches for d in digits}) == 9
    again = list(data.batches(3, np.random.default_rng(1)))
    assert not all((a[1] == b[1]).all() for a, b in zip(batches, again, strict=True))


# --- failures --------------------------------------------------------------------------------------------


@pytest.fixture
def instant(monkeypatch):
    """No training: what follows it is at issue."""

    def train(model, data, watch, epochs, seed, report):
        return _quickstart.History([1.0], [0.5], 1.0, 1.0)

    monkeypatch.setattr(_quickstart, "train", train)


@pytest.fixture
def earlier(tmp_path):
    """The folder of an earlier run, which a run that fails must leave as it is."""
    out = tmp_path / "run"
    out.mkdir()
    for name in FILES:
        (out / name).write_text(f"the earlier {name}")
    return out


def intact(out):
    return sorted(os.listdir(out)) == FILES and all((out / n).read_text() == f"the earlier {n}" for n in FILES)


def test_a_run_replaces_all_files_of_an_earlier_one(instant, earlier):
    assert run(earlier)[0] == 0
    assert sorted(os.listdir(earlier)) == FILES
    assert not any((earlier / n).read_bytes().startswith(b"the earlier") for n in FILES)


@pytest.mark.parametrize("stage", ["save_safetensors", "load_safetensors"])
@pytest.mark.parametrize(
    ("error", "status"), [(OSError(errno.ENOSPC, "No space left on device"), 1), (KeyboardInterrupt(), 130)]
)
def test_a_failure_at_the_end_leaves_the_earlier_run(instant, earlier, monkeypatch, capsys, stage, error, status):
    def failing(*_):
        raise error

    monkeypatch.setattr(weights, stage, failing)
    assert run(earlier)[0] == status
    assert intact(earlier)
    assert capsys.readouterr().err.startswith("phlox: ")


@pytest.mark.parametrize("failing_call", [1, 4, 6])
def test_a_disk_that_fills_up_leaves_the_earlier_run(instant, earlier, monkeypatch, capsys, failing_call):
    calls, fsync = [], os.fsync

    def full_at_last(descriptor):
        calls.append(descriptor)
        if len(calls) >= failing_call:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full_at_last)
    assert run(earlier)[0] == 1
    message = capsys.readouterr().err
    assert message.startswith("phlox: ")
    assert f"expects room for {earlier}" in message
    assert "got No space left on device\n  fix: free some space" in message
    assert intact(earlier)


def test_a_model_that_comes_back_different_is_an_error(instant, earlier, monkeypatch, capsys):
    monkeypatch.setattr(weights, "load_safetensors", lambda *_: None)
    assert run(earlier)[0] == 1
    assert "phlox quickstart expects a model loaded from its file to give the same logits" in capsys.readouterr().err
    assert intact(earlier)


def test_missing_parents_are_created_and_removed_again_after_a_failure(instant, tmp_path, monkeypatch):
    assert run(tmp_path / "a" / "b")[0] == 0
    assert sorted(os.listdir(tmp_path / "a" / "b")) == FILES

    def failing(*_):
        raise px.PhloxError("nothing")

    monkeypatch.setattr(weights, "save_safetensors", failing)
    assert run(tmp_path / "a" / "c" / "d")[0] == 1
    assert os.listdir(tmp_path / "a") == ["b"]


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("file", "phlox quickstart expects {path}/file to be a folder, got File exists"),
        ("file/below", "phlox quickstart expects {path}/file to be a folder, got File exists"),
        ("taken", "phlox quickstart expects {path}/taken/metrics.json to be a file, got a folder of that name"),
        ("n" * 300, "got File name too long"),
    ],
)
def test_a_bad_folder_is_said_before_the_work_starts(tmp_path, monkeypatch, capsys, out, message):
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "taken" / "metrics.json").mkdir(parents=True)
    monkeypatch.setattr(_quickstart, "train", None)  # would fail if it were called
    assert run(tmp_path / out)[0] == 1
    shown = capsys.readouterr().err
    assert shown.startswith("phlox: ")
    assert message.format(path=tmp_path) in shown
    assert "\n  fix: " in shown
    assert sorted(os.listdir(tmp_path)) == ["file", "taken"]
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_full_disk_is_said_before_the_work_starts(tmp_path):
    """A limit on the size of files stands for it; in a process of its own, as the limit stays."""
    code = """
        import resource, sys
        from phlox import cli
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
        sys.exit(cli.main(["quickstart", "--out", sys.argv[2]]))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(_outputs.ROOM // 2), str(tmp_path / "a" / "b")],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "JAX_PLATFORMS": "cpu", "PHLOX_COMPILE_CACHE": "off"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(
        f"phlox: phlox quickstart expects room for {tmp_path}/a/b, got File too large\n  fix:"
    )
    assert os.listdir(tmp_path) == []
