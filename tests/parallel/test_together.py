"""Two processes that train together: the numbers of one device, written once, ended together, told apart."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest

from phlox.cli._launch import launch

PROGRAM = Path(__file__).resolve().parent / "together.py"
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "scale" / "train.py"
WAYS = ["arrays", "fsdp"]
MORE = ["stream", "batches", "loss_without_weights", "in_parts"]


@pytest.fixture(scope="module")
def launched(tmp_path_factory):
    """Processes of a program, and what each of them wrote."""

    def run(scenarios, processes=2, **environment):
        folder, before = tmp_path_factory.mktemp("launched"), dict(os.environ)
        os.environ |= {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1", "PYTHONWARNINGS": "error", **environment}
        try:
            status = launch([str(PROGRAM), scenarios, str(folder)], processes)
        finally:
            os.environ.clear()
            os.environ |= before
        files = [folder / f"{n}.json" for n in range(processes)]
        return status, [json.loads(file.read_text()) if file.exists() else None for file in files], folder

    return run


@pytest.fixture(scope="module")
def two(launched):
    """What two processes saw that did one thing after the other."""
    status, found, folder = launched(",".join((*WAYS, "interrupted", "stopped", "saved", "differences", "fails")))
    assert status == 1  # of the last of them, in which process 1 fails
    return *found, folder


def assert_as_alone(first, second, way):
    together, alone = first[way]["together"], first["arrays" if way == "fsdp" else way]["alone"]
    assert together == second[way]["together"]
    assert len(together["losses"]) == len(alone["losses"]) > 3
    np.testing.assert_allclose(together["losses"], alone["losses"], rtol=0, atol=1e-9)
    for path, value in alone["weights"].items():
        np.testing.assert_allclose(together["weights"][path], value, rtol=0, atol=1e-9, err_msg=path)
    for ours, theirs in zip(together["rows"], alone["rows"], strict=True):
        assert ours == pytest.approx({name: theirs[name] for name in ours}, abs=1e-6)
    if way != "fsdp":
        assert together["rows"][-1].keys() == alone["rows"][-1].keys()


@pytest.mark.parametrize("way", WAYS)
def test_numbers_are_those_of_one_device(two, way):
    assert_as_alone(*two[:2], way)


@pytest.mark.soak
def test_numbers_of_other_data_are_those_of_one_device(launched):
    for processes in (2, 4):
        status, found, _ = launched(",".join((*WAYS, *MORE)), processes)
        assert status == 0
        for way in (*WAYS, *MORE):
            for other in found[1:]:
                assert_as_alone(found[0], other, way)


def test_a_model_cut_over_processes_is_evaluated_and_predicts_all_rows(two):
    first, second, _ = two
    assert first["fsdp"]["cut"] == second["fsdp"]["cut"] == ["layers.0.weight", "layers.3.weight"]
    for name in ("predicted", "evaluated"):
        assert first["fsdp"][name] == second["fsdp"][name]
        np.testing.assert_allclose(first["fsdp"][name], first["fsdp"][f"{name} whole"], rtol=0, atol=1e-9)
    assert np.shape(first["fsdp"]["predicted"]) == (22, 3)


def test_ctrl_c_in_one_ends_all_behind_one_step(two):
    first, second, _ = two
    found = first["interrupted"]
    assert found == second["interrupted"]
    assert found["interrupted"]
    assert found["reason"].startswith("Ctrl-C at step")
    assert 3 <= len(found["losses"]) < 9


def test_a_stop_that_one_asks_for_is_that_of_all(two):
    first, second, _ = two
    found = first["stopped"]
    assert found == second["stopped"]
    assert (found["reason"], found["interrupted"]) == ("seen by one", False)
    assert 3 <= len(found["losses"]) < 9


def test_files_are_written_once_and_a_run_goes_on_from_them(two):
    first, second, folder = two
    assert first["saved"]["resumed"] == second["saved"]["resumed"]
    assert first["saved"]["resumed"]["losses"] == pytest.approx(first["saved"]["straight"]["losses"], abs=1e-12)
    assert first["saved"]["resumed"]["weights"] == first["saved"]["straight"]["weights"]
    assert sorted(path.name for path in (folder / "logs").iterdir()) == ["history.csv", "log.jsonl", "run.json"]
    with (folder / "logs" / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["loss"]) for row in rows] == [row["loss"] for row in first["saved"]["resumed"]["rows"]]
    assert first["saved"]["callbacks"] == ["CSVLogger", "JSONLinesLogger", "RunRecord", "Checkpoint"]
    assert second["saved"]["callbacks"] == ["Checkpoint"]  # of which each writes its part


@pytest.mark.parametrize(
    ("what", "told", "cure"),
    [
        ("weights", "process 1 than in process 0: model.layers.0.weight ", "build the model behind the same px.seed"),
        ("data", "train_data float64[21, 4] #", "give each process all of the data"),
        ("rows", "train_data float64[22, 4] #", "give each process all of the data"),
        ("settings", "epochs 3, not 2", "call px.fit with the same arguments in each process"),
        (
            "program",
            "another in process 1 than in process 0: ",
            "read no clock, file or process number inside it",
        ),
        ("model", "model.layers.0.weight float64[4, 9], not float64[4, 8]", "start the same program everywhere"),
    ],
)
def test_what_differs_is_told_to_all_before_the_first_step(two, what, told, cure):
    first, second, _ = two
    text = first["differences"][what]
    assert text == second["differences"][what]
    kind = "data" if what == "rows" else what
    assert text.startswith(f"px.fit expects the same {kind} in all 2 processes, got another in process 1 than in")
    assert told in text
    assert cure in text.partition("fix: ")[2]


def test_where_one_fails_the_others_say_why(two):
    first, second, _ = two
    assert "fails" not in second
    assert first["fails"] == (
        "px.fit expects all 2 processes to go on, got an error in process 1: ValueError: as asked for\n"
        "  fix: look at what that process printed"
    )


@pytest.mark.soak
def test_where_one_is_killed_the_others_name_it(launched):
    status, found, _ = launched("killed")
    assert status == 137
    assert found[0]["killed"].startswith(
        "px.fit expects all 2 processes to go on, got no sign of life from process 1 ("
    )


@pytest.mark.soak
def test_where_one_waits_in_a_sum_that_does_not_come_it_is_told_why(launched):
    status, found, _ = launched("stuck")
    assert status == 1
    assert "got an error in process 1: ValueError: as asked for" in found[0]["stuck"]


@pytest.mark.soak
@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("strategy", ["data", "fsdp"])
def test_the_example_gives_the_same_numbers_in_one_process_and_in_several(tmp_path, monkeypatch, count, strategy):
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    arguments = [str(EXAMPLE), "--steps", "20", "--float64", "--out"]

    def losses(name, processes, devices, strategy):
        monkeypatch.setenv("JAX_NUM_CPU_DEVICES", str(devices))
        assert launch([*arguments, str(tmp_path / name), "--strategy", strategy], processes) == 0
        found = [json.loads((tmp_path / f"{name}.{n}").read_text()) for n in range(processes)]
        assert all(one == found[0] for one in found)
        return found[0]["losses"]

    one = losses("one", 1, 1, "none")
    assert len(one) == 20
    np.testing.assert_allclose(losses("devices", 1, count, strategy), one, rtol=0, atol=1e-9)
    np.testing.assert_allclose(losses("processes", count, 1, strategy), one, rtol=0, atol=1e-9)
