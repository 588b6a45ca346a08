"""phlox export: a saved model and a bundle on the command line, right and wrong."""

import json

import numpy as np
import pytest

import phlox as px
from kit import oracle
from phlox import cli, weights

oracle("flatbuffers")


def test_a_saved_model_becomes_a_bundle_and_is_made_anew(tmp_path, capsys):
    model = px.Dense(3, 2, key=0)
    px.save(model, tmp_path / "model.phlox")
    assert cli.main(["export", str(tmp_path), "--to", "stablehlo", "--input", "x=2,3"]) == 0
    out = tmp_path / "exported"
    assert capsys.readouterr().out.startswith("wrote ")
    before = weights.read_bundle(out)
    assert str(before.signatures["default"]) == "(x float32[2, 3]) → (output float32[2, 2])"
    assert cli.main(["export", str(out), "--to", "stablehlo"]) == 1
    assert "expects something to do, got" in capsys.readouterr().err
    assert cli.main(["export", str(out), "--refresh"]) == 0
    assert weights.read_bundle(out).signatures == before.signatures
    content = json.loads((out / "bundle.json").read_text())
    assert content["targets"]["stablehlo"]["default"]["error"] <= 1e-5
    x = np.ones((2, 3), "f4")
    np.testing.assert_allclose(px.load_exported(out)(x), model(x), rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expects --input for a model that is no bundle, got none"),
        (["--input", "x=batch 3"], "expects --input NAME=SIZES[:DTYPE][<BELOW], got 'x=batch 3'"),
        (["--input", "x=2,3", "--to", "tflite2"], "expects formats among"),
        (["--refresh"], "expects --refresh with a bundle, got"),
    ],
)
def test_wrong_arguments_are_one_message(arguments, message, tmp_path, capsys):
    px.save(px.Dense(3, 2, key=0), tmp_path / "model.phlox")
    assert cli.main(["export", str(tmp_path / "model.phlox"), *arguments]) == 1
    text = capsys.readouterr().err
    assert text.startswith("phlox: ")
    assert message in text
    assert "\n  fix: " in text
    assert [p.name for p in tmp_path.iterdir()] == ["model.phlox"]


def test_no_model_is_one_message(tmp_path, capsys):
    assert cli.main(["export", str(tmp_path), "--input", "x=2,3"]) == 1
    assert "model.phlox to exist" in capsys.readouterr().err
