"""Weights & Biases: the files that it keeps for later, read record by record."""

import json
import struct
import zlib

import numpy as np
import pytest
import wandb
from wandb.proto import wandb_internal_pb2

import phlox as px
from areas.tracking.conftest import trained

BLOCK, HEAD, FULL, LAST = 1 << 15, struct.Struct("<HB"), 1, 4
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:::wandb", "ignore:::pydantic")


def records(folder):
    """Every record of the one run of a folder, in order."""
    wandb.teardown()  # what its service still holds is written
    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    found = []
    for data in pieces(path.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        found.append(record)
    return found


def pieces(data):
    """The records of a log of LevelDB, whose first block begins with W&B's head.

    Source: https://github.com/google/leveldb/blob/main/doc/log_format.md.
    """
    assert data[:4] == b":W&B"
    at, whole = 7, b""
    while at + 7 <= len(data):
        left = BLOCK - at % BLOCK
        if left < 7:
            at += left
            continue
        checksum, size, kind = int.from_bytes(data[at : at + 4], "little"), *HEAD.unpack(data[at + 4 : at + 7])
        body = data[at + 7 : at + 7 + size]
        assert checksum == zlib.crc32(bytes([kind]) + body)
        at, whole = at + 7 + size, whole + body
        if kind in (FULL, LAST):
            yield whole
            whole = b""


def values(items):
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def test_the_files_hold_what_was_logged(tmp_path):
    square = px.LambdaCallback(on_epoch_end=lambda run: run.log("square", np.eye(2) * run.epoch))
    logger = px.WandbLogger("digits", name="first", tags=["small"], mode="offline", patience=120)
    history = trained(square, logger, log_dir=tmp_path, seed=1)
    found = records(tmp_path)
    (begun,) = [record.run for record in found if record.WhichOneof("record_type") == "run"]
    assert (begun.project, begun.display_name, list(begun.tags), begun.run_id) == (
        "digits", "first", ["small"], logger.key
    )  # fmt: skip
    rows = [values(r.history.item) for r in found if r.WhichOneof("record_type") == "history"]
    by_step = {}
    for row in rows:
        by_step.setdefault(row["_step"], {}).update(row)
    assert list(by_step) == [3, 6, 9]
    assert [row["val_loss"] for row in by_step.values()] == history["val_loss"]
    assert by_step[9]["square"] == [[2.0, 0.0], [0.0, 2.0]]
    config = {}
    for record in found:
        if record.WhichOneof("record_type") == "config":
            config |= values(record.config.update)
    assert config["epochs"] == 3
    assert config["phlox"]["data"]["train_data"]["rows"] == 24
    assert [r.exit.exit_code for r in found if r.WhichOneof("record_type") == "exit"] == [0]


def test_a_failed_training_has_an_exit_code(tmp_path):
    def fail(run):
        raise ValueError("as asked for")

    with pytest.raises(ValueError, match="as asked for"):
        trained(px.LambdaCallback(on_epoch_end=fail), px.WandbLogger(mode="offline", patience=120), log_dir=tmp_path)
    assert [r.exit.exit_code for r in records(tmp_path) if r.WhichOneof("record_type") == "exit"] == [1]


def test_without_the_service_a_run_is_written_offline_and_told_once(tmp_path, monkeypatch):
    begin = wandb.init

    def init(**options):
        if options["mode"] != "offline":
            raise wandb.errors.CommError("nobody answers")
        return begin(**options)

    monkeypatch.setattr(wandb, "init", init)
    with pytest.warns(UserWarning, match="WandbLogger: CommError: nobody answers. Training goes on") as told:
        history = trained(px.WandbLogger(mode="online", patience=120), log_dir=tmp_path)
    assert len(told) == 1
    rows = [values(r.history.item) for r in records(tmp_path) if r.WhichOneof("record_type") == "history"]
    assert [row["loss"] for row in rows if "loss" in row] == history["loss"]


def test_a_mode_that_is_none():
    with pytest.raises(px.RangeError, match="WandbLogger expects a mode among online, offline, disabled, got 'off'"):
        px.WandbLogger(mode="off")
