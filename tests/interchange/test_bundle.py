"""The bundle: written whole, every file verified, the fixture of each version still read."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import phlox as px
from kit import oracle
from phlox import weights

FIXTURES = Path(__file__).parent / "bundles"


@pytest.fixture
def bundle(tmp_path):
    shutil.copytree(FIXTURES / "1", tmp_path / "out")
    return tmp_path / "out"


def signed(folder, change):
    """Change bundle.json and sign it anew, as somebody who means it would."""
    content = json.loads((folder / "bundle.json").read_text())
    del content["sha256"]
    change(content)
    content["sha256"] = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    (folder / "bundle.json").write_text(json.dumps(content))


def test_version_1_is_read():
    found = weights.read_bundle(FIXTURES / "1")
    assert (found.name, found.version, found.classes) == ("dense", "2", ("no", "yes"))
    assert str(found.signatures["default"]) == "(colour int32[batch], x float32[batch, 3]) → (output float32[batch, 2])"
    assert found.signatures["default"].sizes == {"batch": (1, 64)}
    assert found.encoders["colour"].encode(["blue", "pink"]).tolist() == [1, 2]
    assert found.statistics() == {"rows": 4}
    assert set(found.targets) == {"stablehlo"}
    [first, _] = weights.read_examples(found)["default"]
    weight = weights.read_file(FIXTURES / "1" / "weights.safetensors", "")[0]
    wanted = (
        np.tanh(first.inputs["x"] @ weight["dense.weight"] + weight["dense.bias"])
        + weight["table.weight"][first.inputs["colour"]]
    )
    np.testing.assert_allclose(first.outputs["output"], wanted, rtol=1e-5, atol=1e-6)


def test_version_1_is_run():
    oracle("flatbuffers")
    exported = px.load_exported(FIXTURES / "1")
    for example in weights.read_examples(exported.bundle)["default"]:
        np.testing.assert_allclose(exported(**example.inputs), example.outputs["output"], rtol=1e-5, atol=1e-6)


def cut(folder):
    path = folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1])


def flip(folder):
    path = folder / "weights.safetensors"
    text = bytearray(path.read_bytes())
    text[-1] ^= 1
    path.write_bytes(bytes(text))


def edit(folder):
    path = folder / "bundle.json"
    path.write_text(path.read_text().replace('"dense"', '"other"'))


def put(text):
    return lambda folder: (folder / "bundle.json").write_text(text)


def meant(change):
    return lambda folder: signed(folder, change)


def first_input(content):
    return content["signatures"]["default"]["inputs"][0]


FAULTS = {
    "flipped": (flip, "weights.safetensors, whose content is not what was written"),
    "cut": (cut, r"weights.safetensors, which has \d+ bytes of \d+"),
    "missing": (lambda folder: (folder / "examples.npz").unlink(), "examples.npz, which cannot be read"),
    "unknown": (lambda folder: (folder / "extra.py").write_text(""), "extra.py, which bundle.json does not know"),
    "edited": (edit, "bundle.json, which is not as it was written"),
    "no json": (put("{"), "bundle.json, which is no JSON object"),
    "a list": (put("[]"), "bundle.json, which is no JSON object"),
    "lacking": (meant(lambda c: c.pop("name")), "bundle.json, which has no 'name'"),
    "odd": (meant(lambda c: first_input(c).update(shape=[1.5])), r"'signatures.default.inputs.0.shape.0' is 1.5"),
    "more": (meant(lambda c: c.update(code="rm")), "which has an unknown 'code'"),
    "a truth": (meant(lambda c: c.update(format=True)), "whose 'format' is True"),
    "outside": (meant(lambda c: c["files"].update({"../x": [1, ""]})), r"names '\.\./x', outside of the bundle"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bundle_that_is_not_as_it_was_written(fault, bundle):
    change, text = FAULTS[fault]
    change(bundle)
    with pytest.raises(
        weights.CorruptFileError, match=rf"expects every file of the bundle as it was written, got .*{text}.*\n  fix: "
    ):
        weights.read_bundle(bundle)


def test_a_later_version_and_a_folder_that_is_none(bundle, tmp_path):
    signed(bundle, lambda c: c.update(format=2, new="of a later Phlox"))
    with pytest.raises(weights.CorruptFileError, match="a bundle of format 1 to 1, got format 2\n  fix: update Phlox"):
        px.load_exported(bundle)
    with pytest.raises(weights.MissingFileError, match=r"a bundle, with a bundle.json, got .*a folder without one"):
        weights.read_bundle(tmp_path)
    with pytest.raises(weights.MissingFileError, match="nothing to exist"):
        weights.read_bundle(tmp_path / "nothing")


def test_what_a_killed_process_left_goes_at_the_next_writing(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    with weights.writing_bundle(tmp_path / "out") as draft:
        left = draft.folder.with_name(draft.folder.name.replace(f"-{os.getpid()}-", f"-{gone.pid}-"))
        left.mkdir()
        (left / "half").write_text("")
        draft.bundle = weights.Bundle(draft.folder, "n", "1", {}, {})
    with weights.writing_bundle(tmp_path / "other") as draft:
        draft.bundle = weights.Bundle(draft.folder, "n", "1", {}, {})
    assert sorted(os.listdir(tmp_path)) == ["other", "out"]


def test_encoders_refuse_tables_that_are_none():
    with pytest.raises(px.RangeError, match=r"Encoder expects a table of different words, got \['a', 'a'\]"):
        weights.Encoder(["a", "a"])
    with pytest.raises(px.RangeError, match="different words"):
        weights.Encoder("abc")
