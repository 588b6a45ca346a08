"""Two processes that keep checkpoints of a model in parts: written by both, found damaged by both, and files by one."""

import json
import os
import warnings
from pathlib import Path

import numpy as np
import pytest

import phlox as px
from kit import oracle
from phlox import weights
from phlox.cli._launch import launch

oracle("orbax.checkpoint")
PROGRAM = Path(__file__).resolve().parent / "sharded.py"
CUT = ["layers.0.weight", "layers.3.weight"]


@pytest.fixture(scope="module")
def launched(tmp_path_factory):
    """Processes of the program, and what each of them wrote."""

    def run(scenarios, processes=2, folder=None):
        folder, before = folder or tmp_path_factory.mktemp("sharded"), dict(os.environ)
        os.environ |= {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1", "PYTHONWARNINGS": "error"}
        os.environ["FSSPEC_LOCAL_AUTO_MKDIR"] = "yes"  # as in a store, whose names need no folders
        try:
            assert launch([str(PROGRAM), scenarios, str(folder)], processes) == 0
        finally:
            os.environ.clear()
            os.environ |= before
        return [json.loads((folder / f"{n}.json").read_text()) for n in range(processes)], folder

    return run


@pytest.fixture(scope="module")
def two(launched):
    return launched("resumed,full,files,adapted,shared,stored,unsent,alone")


def test_a_training_goes_on_bit_for_bit(two):
    """Also from the checkpoint before the newest, of which a part of process 1 is damaged: both take the same."""
    for found in two[0]:
        found = found["resumed"]
        assert found["straight"] == two[0][0]["resumed"]["straight"]
        assert found["ended"] == found["straight"]
        assert (found["began"], found["fell back to"]) == (6, 6)
        assert found["kept"][-2:] == ["0007-step-9", "0008-step-12"]
        assert found["loaded"] == found["weights"]  # by px.load_checkpoint, into a model that lies in parts
    [warned] = two[0][0]["resumed"]["warned"]
    assert "0006-step-9 is damaged: arrays/ocdbt.process_1/d/" in warned
    assert "0006-step-9.damaged. " in warned
    assert warned.endswith("0005-step-6 is used.")
    assert two[0][1]["resumed"]["warned"] == []  # process 0 has said so


def test_a_training_goes_on_bit_for_bit_from_an_object_store(two):
    """Each sends its part, and no index is made; process 0 says once that a part of process 1 is damaged."""
    for found in two[0]:
        found, straight = found["stored"], found["resumed"]["straight"]
        assert found["saved"] == [".writer", "0004-step-6", "0005-step-6"]
        assert found["parts"] == ["ocdbt.process_0", "ocdbt.process_1"]
        assert found["fell back to"] == 6
        assert found["parts of"]["layers.0.weight"] == [4, 200]
        assert found["ended"] == straight
        assert found["loaded"] == found["weights"]
    [warned] = two[0][0]["stored"]["warned"]
    assert "0005-step-6 is damaged: arrays/ocdbt.process_1/d/" in warned
    assert two[0][1]["stored"]["warned"] == []


def test_what_one_cannot_send_is_an_error_of_all(two):
    for found in two[0]:
        assert found["unsent"] == {
            "error": "the store expects to take objects, got no network, in process 1",
            "whole": [3],
        }


def test_one_process_goes_on_with_what_two_have_sent(two):
    found, folder = two[0][0]["stored"], two[1]
    model = px.f64(px.Chain(px.Dense(4, 400, px.tanh), px.BatchNorm(400), px.Dropout(0.3), px.Dense(400, 3)))
    assert px.load_checkpoint(model, f"local://{folder}/store").complete
    for path, value in found["weights"].items():
        np.testing.assert_array_equal(px.paths(model)[path], value, err_msg=path)


def test_each_process_writes_its_part_and_reads_no_more(two):
    for found in two[0]:
        found = found["resumed"]
        names = found["files"]
        assert any(name.startswith("arrays/ocdbt.process_0/d/") for name in names)
        assert any(name.startswith("arrays/ocdbt.process_1/d/") for name in names)
        assert found["processes"] == 2
        assert {path for path in found["parts"] if path in CUT} == set(CUT)
        assert found["parts"]["layers.0.weight"] == [4, 200]
        assert found["parts"]["slots.slots/m/layers.3.weight"] == [200, 3]
        assert not [path for path in found["whole"] if path.endswith(tuple(CUT))]


def test_what_lies_whole_is_shared_out(two):
    """Of eight arrays alike, with their moments, each process writes half of the bytes; each part once."""
    for found in two[0]:
        assert found["shared"]["bytes"] == [two[0][0]["shared"]["bytes"][0]] * 2
        assert found["shared"]["times"] == 1


def test_one_process_goes_on_with_what_two_have_saved(two):
    """In this process, on one device: weights out of the checkpoint, and a training."""
    found, folder = two[0][0]["resumed"], two[1]
    model = px.f64(px.Chain(px.Dense(4, 400, px.tanh), px.BatchNorm(400), px.Dropout(0.3), px.Dense(400, 3)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert px.load_checkpoint(model, folder / "run").complete
    for path, value in found["weights"].items():
        np.testing.assert_array_equal(px.paths(model)[path], value, err_msg=path)


@pytest.fixture(autouse=True)
def _wide():
    import jax

    with jax.enable_x64(True):
        yield


def test_a_full_disk_of_one_is_an_error_of_all_at_one_step(two):
    for found in two[0]:
        folder = f"{two[1]}/full"
        assert found["full"]["error"] == (
            f"checkpoints in '{folder}' expects room for {folder}, got No space left on device, in process 1\n"
            f"  fix: free some space, or choose another folder than {two[1]}"
        )
        assert found["full"]["left"] == [".lock", "0001-step-3"]


def test_a_process_that_trains_by_itself_saves_in_process_0_alone(two):
    """Of another one Orbax would write a folder with nothing in it."""
    first, second = two[0]
    assert first["alone"] == [".lock"]
    assert second["alone"] == (
        f"checkpoints in '{two[1]}/alone1' expects to be written by process 0, or by all that train together, got "
        "process 1, which trains by itself\n  fix: pass parallel= to train together, or save in process 0 alone"
    )


def test_a_model_in_parts_is_written_as_a_whole_one_is(two):
    """By process 0, when all of them call; the bytes are those of the same model in one process."""
    first, second = (found["files"] for found in two[0])
    folder = two[1]
    assert (folder / "cut.safetensors").read_bytes() == (folder / "whole.safetensors").read_bytes()
    assert (folder / "arrays.safetensors").read_bytes() == (folder / "whole_arrays.safetensors").read_bytes()
    assert first["there"]
    assert second["there"]  # it is done when either returns
    assert "nowhere/cut.safetensors to be in a folder that exists" in first["error"]
    assert second["error"].endswith("expects to be written by process 0, got an error there")
    model = px.load(folder / "cut.safetensors")
    assert weights.load_safetensors(model, folder / "whole_arrays.safetensors").complete


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_an_adapter_in_parts_is_written_as_a_whole_one_is(two, kind):
    assert all(found["adapted"][kind] for found in two[0])
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        cut, whole = (two[1] / f"{kind}-{form}" / name for form in ("cut", "whole"))
        assert cut.read_bytes() == whole.read_bytes()


@pytest.mark.soak
def test_four_processes(launched):
    found, _ = launched("resumed,full,files", 4)
    for one in found:
        assert one["resumed"]["ended"] == one["resumed"]["straight"] == found[0]["resumed"]["straight"]
        assert one["resumed"]["fell back to"] == 6
        assert one["full"]["error"].partition("\n")[0].endswith("No space left on device, in process 1")


@pytest.mark.soak
def test_other_numbers_of_processes_go_on(launched):
    """Two processes go on with what four have saved, and four with what two have: the data's position too."""
    [straight, *_], _ = launched("straight")
    for order in ((4, 2), (2, 4)):
        folder = None
        for scenario, processes in zip(("begun", "gone_on"), order, strict=True):
            found, folder = launched(scenario, processes, folder)
        for one in found:
            assert one["gone_on"]["began"] == 4
            for name, value in straight["straight"].items():
                np.testing.assert_allclose(one["gone_on"]["values"][name], value, rtol=0, atol=1e-9, err_msg=name)


@pytest.mark.soak
def test_models_of_the_hub_are_written_by_all(launched):
    """px.models.save of a model in parts writes the bytes that it writes of a whole one."""
    _, folder = launched("hub")
    for name in ("config.json", "model.safetensors"):
        assert (folder / "cut" / name).read_bytes() == (folder / "whole" / name).read_bytes()
