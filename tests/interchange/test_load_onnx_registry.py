"""What ``px.export`` writes as ONNX comes back by ``px.load_onnx``: the registry of what is exported, out and in."""

from __future__ import annotations

from dataclasses import replace

import pytest

import phlox as px
from interchange.exporting import assert_same, exported
from interchange.onnx_kit import structs
from interchange.registry import BY_NAME, ROWS
from kit import oracle
from phlox.interchange.onnx import to_onnx
from phlox.interchange.onnx.tidy import tidy

onnx = oracle("onnx")
oracle("flatbuffers")
TOLERANCE = {"float16": 2e-3, "bfloat16": 2e-2}

FEW = ["scan", "reducing"]
"""Rows that the suite takes out and in; all of them take minutes."""


def _renamed(row):
    """With outputs of other names than inputs, which a file of ONNX wants."""
    if row.name != "llama-step":
        return row

    def step(model, token, keys, values, position):
        return {f"new_{name}": y for name, y in row.call(model, token, keys, values, position).items()}

    return replace(row, call=step)


def written(row, folder):
    """A row's file, and pairs of inputs and outputs by name that the model gave when it was written."""
    if any(x.dtype == "bfloat16" for x in row.inputs.values()):  # ONNX Runtime does not take them from NumPy: no proof
        model = row.build()
        onnx.save(tidy(to_onnx(model, structs(row.inputs))), folder / "model.onnx")
        return folder / "model.onnx", [(feed, {"output": px.jit(model)(*feed.values())}) for feed in row.drawn()]
    exported(row, row.build(), folder / "out", to="onnx")
    (examples,) = px.weights.read_examples(px.weights.read_bundle(folder / "out")).values()
    (file,) = (folder / "out").glob("*.onnx")
    return file, [(example.inputs, example.outputs) for example in examples]


def comes_back(row, folder):
    """The outputs of the file, read back, are those of the model, at each size."""
    file, examples = written(_renamed(row), folder)
    read = px.load_onnx(file)
    run = px.jit(lambda read, feed: read(**feed))
    for inputs, outputs in examples:
        found = run(read, {name: x for name, x in inputs.items() if name in read.inputs})
        found = found if isinstance(found, dict) else {read.outputs[0]: found}
        assert set(found) == set(outputs)
        for name, want in outputs.items():
            assert_same(found[name], want, TOLERANCE.get(want.dtype.name, 1e-5))


@pytest.mark.parametrize("name", FEW)
def test_what_was_exported_comes_back(name, tmp_path):
    comes_back(BY_NAME[name], tmp_path)


@pytest.mark.soak
@pytest.mark.parametrize("row", ROWS, ids=repr)
def test_every_row_of_the_registry_comes_back(row, tmp_path):
    comes_back(row, tmp_path)
