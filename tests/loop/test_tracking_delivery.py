"""Loggers of services: in order, never stopping a training, telling once, catching up; beside a service made here."""

import json
import threading

import numpy as np
import pytest

import phlox as px
from phlox.loop.tracking import _catching_up
from phlox.loop.tracking._delivery import Delivery, RefusedError
from phlox.loop.tracking._service import ServiceLogger

X = np.linspace(-1, 1, 16, dtype="float32")[:, None]


class Service:
    """A service that is there or not, and remembers what it got."""

    def __init__(self):
        self.there, self.got, self.refuses = threading.Event(), [], ()
        self.tries = threading.Semaphore(0)
        self.there.set()

    def __call__(self, entries):
        self.tries.release()
        if not self.there.is_set():
            raise ConnectionError("nobody answers")
        if any(entry["kind"] in self.refuses for entry in entries):
            raise RefusedError("too long")
        self.got += entries

    def numbers(self, name="loss"):
        return [entry["values"][name] for entry in self.got if entry["kind"] == "numbers" and name in entry["values"]]


SERVICES = {}


class Logger(ServiceLogger):
    """Hands entries to one of ``SERVICES``."""

    service = "made-here"
    pause = 0.01

    def __init__(self, at, patience=5.0):
        super().__init__(patience)
        self.at = at

    def _address(self):
        return {"key": self.key, "at": self.at}

    @classmethod
    def _sender(cls, address):
        return SERVICES[address["at"]]


@pytest.fixture
def service(monkeypatch):
    monkeypatch.setitem(SERVICES, "here", Service())
    monkeypatch.setitem(_catching_up._LOGGERS, "made-here", Logger)
    return SERVICES["here"]


def trained(*callbacks, epochs=3, **options):
    with px.seed(0):
        model = px.Dense(1, 1)
    return px.fit(
        model, (X, 2 * X), loss=px.losses.mse, optimizer=px.optim.Descent(0.1), epochs=epochs, callbacks=callbacks,
        progress=False, **options,
    )  # fmt: skip


def test_a_service_gets_everything_in_order(service, tmp_path):
    array = px.LambdaCallback(on_epoch_end=lambda run: run.log("map", np.eye(2)))
    history = trained(array, Logger("here"))
    assert [entry["kind"] for entry in service.got] == ["start", *["numbers", "array"] * 3, "end"]
    assert service.got[0]["record"]["config"]["epochs"] == 3
    assert service.numbers() == history["loss"]
    assert [entry["step"] for entry in service.got if entry["kind"] == "numbers"] == [1, 2, 3]
    assert service.got[2]["value"] == [[1.0, 0.0], [0.0, 1.0]]
    assert service.got[-1]["status"] == "finished"


class Gone(px.Callback):
    """The service goes at one epoch, has been tried when the epoch ends, and is back at another."""

    order = 60

    def __init__(self, service, goes, back=None):
        self.service, self.goes, self.back = service, goes, back

    def on_epoch_start(self, run):
        if run.epoch == self.goes:
            self.service.there.clear()
            self.service.tries = threading.Semaphore(0)
        if run.epoch == self.back:
            self.service.there.set()

    def on_epoch_end(self, run):
        if run.epoch == self.goes:
            assert all(self.service.tries.acquire(timeout=10) for _ in range(3)), "it was not tried again"


def test_a_service_that_is_gone_for_a_while_is_told_of_once_and_gets_all(service):
    with pytest.warns(UserWarning, match="Logger: ConnectionError: nobody answers. Training goes on") as told:
        history = trained(Gone(service, 0, back=2), Logger("here"), epochs=4)
    assert len(told) == 1
    assert service.numbers() == history["loss"]
    assert service.got[-1]["kind"] == "end"


def test_what_a_service_does_not_get_is_kept_and_sent_afterwards(service, tmp_path):
    with pytest.warns(UserWarning, match="nobody answers|not sent") as told:
        history = trained(Gone(service, 1), Logger("here", patience=0.0), log_dir=tmp_path)
    assert len(history) == 3
    assert "entries were not sent, and are in a file; px.loop.catch_up(" in str(told[-1].message)
    (file,) = tmp_path.glob("*-unsent-*.jsonl")
    with pytest.raises(px.StateError, match="to be there, got ConnectionError: nobody answers"):
        px.loop.catch_up(tmp_path)
    assert file.exists()
    service.there.set()
    assert px.loop.catch_up(tmp_path) >= 3
    assert service.numbers()[-2:] == history["loss"][-2:]
    assert sorted(set(service.numbers())) == sorted(history["loss"])
    assert not file.exists()
    assert px.loop.catch_up(tmp_path) == 0
    with pytest.raises(px.weights.MissingFileError, match="give the file that the logger named"):
        px.loop.catch_up(file)


def test_a_resumed_run_sends_what_is_left_of_its_first_part(service, tmp_path):
    saved = dict(log_dir=tmp_path, checkpoint_dir=tmp_path / "saved")
    service.there.clear()
    with pytest.warns(UserWarning, match="nobody answers|not sent"):
        first = trained(Logger("here", patience=0.0), epochs=2, **saved)
    assert not service.got
    service.there.set()
    whole = trained(Logger("here", patience=5.0), epochs=4, resume=True, **saved)
    assert service.numbers() == whole["loss"]
    assert whole["loss"][:2] == first["loss"]
    assert [entry["resumed"] for entry in service.got if entry["kind"] == "start"] == [False, True]
    assert not list(tmp_path.glob("*-unsent-*"))


def test_without_a_place_to_keep_it_the_loss_is_told(service):
    service.there.clear()
    with pytest.warns(UserWarning, match="nobody answers|not sent") as told:
        trained(Logger("here", patience=0.0), epochs=1)
    assert "entries were not sent, and are lost: px.fit has no log_dir" in str(told[-1].message)


def test_what_is_refused_is_left_out_and_told_and_the_rest_goes_on(service):
    service.refuses = ("array",)
    array = px.LambdaCallback(on_epoch_end=lambda run: run.epoch == 1 and run.log("map", np.eye(2)))
    with pytest.warns(UserWarning, match="Logger: array was refused and is left out: too long"):
        history = trained(array, Logger("here"))
    assert service.numbers() == history["loss"]
    assert [entry["kind"] for entry in service.got] == ["start", "numbers", "numbers", "numbers", "end"]


def test_a_failed_training_says_so_to_the_service(service):
    def fail(run):
        raise ValueError("as asked for")

    with pytest.raises(ValueError, match="as asked for"):
        trained(px.LambdaCallback(on_epoch_end=fail), Logger("here"))
    assert (service.got[-1]["status"], service.got[-1]["error"]) == ("failed", "ValueError: as asked for")


def test_entries_are_json_and_numbers_that_are_none_have_names(service):
    delivery = Delivery("Logger", service)
    delivery.add({"kind": "numbers", "values": {"loss": np.float32(np.nan), "n": np.int64(3)}})
    assert delivery.finish(5.0) == []
    assert service.got == [{"kind": "numbers", "values": {"loss": "NaN", "n": 3}}]
    json.dumps(service.got, allow_nan=False)


@pytest.mark.parametrize(("kind", "extra"), [(px.MLflowLogger, "mlflow"), (px.WandbLogger, "wandb")])
def test_loggers_name_their_extras_and_refuse_a_patience_below_0(kind, extra, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, extra, None)
    with pytest.raises(px.MissingExtraError, match=rf'pip install "phlox\[{extra}\]"'):
        trained(kind())
    with pytest.raises(px.RangeError, match=f"{kind.__name__} expects a patience of 0 s or more, got -1"):
        kind(patience=-1)
