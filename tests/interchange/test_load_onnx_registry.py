"""What ``px.export`` writes as ONNX comes back by ``px.load_onnx``: the registry of what is exported, out and in."""

from __future__ import annotations

from dataclasses import replace

import pytest

import phlox as px
from interchange.exporting import assert_same, exported
from interchange.registry import BY_NAME, ROWS
from kit import oracle

onnx = oracle("onnx")
oracle("flatbuffers")
TOLERANCE = {"float16": 2e-3, "bfloat16": 2e-2}

FEW = ["scan", "reducing"]
"""Rows that the suite takes out and in; all of them take half an hour."""


def _renamed(row):
    """With outputs of other names than inputs, which a file of ONNX wants."""
    if row.name != "llama-step":
        return row

    def step(model, token, keys, values, position):
        return {f"new_{name}": y for name, y in row.call(model, token, keys, values, position).items()}

    return replace(row, call=step)


def comes_back(row, folder):
    """The outputs of the file, read back, are those that the model gave when it was exported, at each size."""
    row = _renamed(row)
    exported(row, row.build(), folder / "out", to="onnx")
    (file,) = (folder / "out").glob("*.onnx")
    read = px.load_onnx(file)
    run = px.jit(lambda read, feed: read(**feed))
    (examples,) = px.weights.read_examples(px.weights.read_bundle(folder / "out")).values()
    for example in examples:
        found = run(read, {name: x for name, x in example.inputs.items() if name in read.inputs})
        found = found if isinstance(found, dict) else {read.outputs[0]: found}
        assert set(found) == set(example.outputs)
        for name, want in example.outputs.items():
            assert_same(found[name], want, TOLERANCE.get(want.dtype.name, 1e-5))


@pytest.mark.parametrize("name", FEW)
def test_what_was_exported_comes_back(name, tmp_path):
    comes_back(BY_NAME[name], tmp_path)


@pytest.mark.soak
@pytest.mark.parametrize("row", ROWS, ids=repr)
def test_every_row_of_the_registry_comes_back(row, tmp_path):
    comes_back(row, tmp_path)
