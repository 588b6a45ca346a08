"""The cases that the onnx package has for each operator, run through ``px.load_onnx``.

``python tests/interchange/onnx_cases.py [part of a name]`` prints which pass, and why the others do not.
"""

from __future__ import annotations

import collections
import functools
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

import phlox as px
from kit import oracle

onnx = oracle("onnx")

WITHOUT = {
    "text": ("string", "strnormalizer", "regex", "tfidf", "ml_label_encoder", "_STRING",
             "equal_string"),
    "sequences and optionals": ("sequence_", "optional_", "split_to_sequence", "identity_opt", "loop16_seq", "if_seq",
                                "if_opt", "loop13_seq", "identity_sequence"),
    "pictures in files": ("image_decoder",),
    "drawn numbers": ("bernoulli", "randomuniform", "random_uniform"),
    "training graphs": ("adagrad", "adam", "momentum", "dropout", "batchnorm_example_training",
                        "batchnorm_epsilon_training"),
    "no part of the standard yet": ("flexattention",),
    "operators of version 1": ("test_not_",),
}  # fmt: skip
"""Parts of the names of cases that are left out, by what is in the way."""


@functools.cache
def cases() -> dict[str, Any]:
    """All cases by name."""
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {case.name: case for case in load_model_tests(kind="node")}


def outcome(case: Any) -> str | None:
    """None where all data sets of a case give what they should, else what is wrong."""
    for inputs, outputs in case.data_sets:
        with jax.enable_x64(True):
            found = _difference(case, inputs, outputs)
        if found is not None:
            return found
    return None


def _difference(case: Any, inputs: Sequence[Any], outputs: Sequence[Any]) -> str | None:
    names = [o.name for o in case.model.graph.output]
    try:
        got = _called(case.model, [_array(x) for x in inputs])
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    got = got if isinstance(got, dict) else {names[0]: got}
    for name, want in zip(names, outputs, strict=True):
        try:
            _close(name, np.asarray(got[name]), _array(want), case)
        except AssertionError as error:
            return f"difference: {error}"
    return None


def _array(x: Any) -> np.ndarray:
    return onnx.numpy_helper.to_array(x) if isinstance(x, onnx.TensorProto) else np.asarray(x)


def _called(model: Any, arrays: Sequence[np.ndarray]) -> Any:
    """Compiled; inputs that decide shapes are fixed."""
    names = [i.name for i in model.graph.input]
    try:
        return px.jit(px.load_onnx(model))(*arrays)
    except px.ExportError as error:
        if "fixed=" not in str(error):
            raise
    few = {n: a for n, a in zip(names, arrays, strict=False) if a.dtype.kind in "iub" or a.size <= 8}
    fixed = few if len(few) < len(names) else dict(list(few.items())[1:])
    try:
        rest = [a for n, a in zip(names, arrays, strict=False) if n not in fixed]
        return px.jit(px.load_onnx(model, fixed=fixed))(*rest)
    except px.ExportError as error:
        if "fixed=" not in str(error):
            raise
    return px.load_onnx(model)(*arrays)


def _close(name: str, got: np.ndarray, want: np.ndarray, case: Any) -> None:
    assert got.shape == want.shape, f"{name}: {got.shape} for {want.shape}"
    assert got.dtype == want.dtype, f"{name}: {got.dtype} for {want.dtype}"
    if got.dtype.kind not in "fc" and got.dtype.kind != "V":
        got, want = (a if a.dtype.kind == "b" else a.astype(np.int64) for a in (got, want))
        assert np.array_equal(got, want), f"{name}: {got.reshape(-1)[:8]} for {want.reshape(-1)[:8]}"
        return
    near = max(case.rtol, {"float16": 1e-2, "bfloat16": 2e-2}.get(want.dtype.name, 1e-3))
    a, b = (x.astype(np.float64) for x in (got, want))
    largest = float(np.abs(b[np.isfinite(b)]).max(initial=0))
    np.testing.assert_allclose(a, b, rtol=near, atol=max(case.atol or 1e-7, 2e-7 * largest), err_msg=name)


def reason_without(name: str) -> str | None:
    """Why a case is none of ours, or None."""
    return next((why for why, parts in WITHOUT.items() if any(p.lower() in name.lower() for p in parts)), None)


def main(parts: Sequence[str]) -> None:
    """Print which cases pass."""
    done: collections.Counter[str] = collections.Counter()
    for i, (name, case) in enumerate(cases().items()):
        if parts and not any(p in name for p in parts):
            continue
        why = outcome(case)
        kind = (reason_without(name) or "fails") if why else "passes"
        done[kind] += 1
        if kind == "fails":
            print(f"{name}: {str(why)[:300]!r}", flush=True)
        if i % 100 == 99:
            jax.clear_caches()
    print(dict(done))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(sys.argv[1:])
