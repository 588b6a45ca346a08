"""What px.export refuses to write for LiteRT, and what a broken converter leaves behind: nothing.

LiteRT's packages are not there; what they compute is tested in an area of its own, ``tests/areas/litert``.
"""

from __future__ import annotations

import importlib.util
import tempfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from phlox.interchange.litert import _convert
from phlox.interchange.targets._litert import LiteRT


@pytest.fixture(autouse=True)
def there(request, monkeypatch):
    """As if the packages were there."""
    if "missing" not in request.function.__name__:
        monkeypatch.setattr(LiteRT, "require", lambda self, where: None)


@pytest.mark.parametrize("sizes", [None, {"batch": (1, 8)}])
def test_sizes_that_are_not_known_are_refused(tmp_path, sizes):
    with pytest.raises(px.ExportError, match=r"sizes that are known.*'batch' in 'default'\n  fix: .*'batch': \(1, 1\)"):
        px.export(px.Dense(4, 2), tmp_path / "out", inputs={"x": px.Spec("batch", 4)}, sizes=sizes, to="litert")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("f", "said"),
    [
        (lambda x: jnp.fft.fft(x).real, r"got fft at layers\.1\.layers\.0, complex numbers\n  fix: compute with two"),
        (
            lambda x: jnp.linalg.cholesky(x.T @ x),
            r"got cholesky at layers\.1\.layers\.0, a decomposition.*\n  fix: compute it",
        ),
        (
            lambda x: jax.pure_callback(np.sin, x, x),
            r"got pure_callback at layers\.1\.layers\.0, a call into Python\n  fix: write it",
        ),
    ],
)
def test_what_litert_has_no_form_for_names_the_layer_and_the_operation(tmp_path, f, said):
    model = px.Chain(px.Dense(4, 4, key=0), px.Chain(px.WrappedFunction(f)))
    with pytest.raises(px.ExportError, match=r"(?s)expects operations that LiteRT has, " + said):
        px.export(model, tmp_path / "out", inputs={"x": px.Spec(3, 4)}, to="litert")
    assert not list(tmp_path.iterdir())


def test_a_converter_that_breaks_off_leaves_nothing_behind(tmp_path, monkeypatch):
    script, place = tmp_path / "crash.py", tmp_path / "place"
    place.mkdir()
    script.write_text("import os, sys\nprint('out of luck', file=sys.stderr, flush=True)\nos.kill(os.getpid(), 11)\n")
    monkeypatch.setattr(_convert, "_SCRIPT", script)
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    with pytest.raises(px.ExportError, match=r"got a process that ended by SIGSEGV: out of luck\n  fix: nothing was"):
        px.export(px.Dense(4, 2), place / "out", inputs={"x": px.Spec(3, 4)}, to="litert")
    assert not list(place.iterdir())


def test_weights_that_one_file_cannot_hold_are_refused_before_the_converter_is_asked(tmp_path, monkeypatch):
    monkeypatch.setattr(_convert, "LIMIT", 4 * (4 * 2 + 2))
    monkeypatch.setattr(_convert, "_SCRIPT", tmp_path / "nowhere.py")
    with pytest.raises(
        px.ExportError, match=r"weights below 40 bytes.*, got 1\.00 times as many\n  fix: px\.bf16\(model\)"
    ):
        px.export(px.Dense(4, 2), tmp_path / "out", inputs={"x": px.Spec(3, 4)}, to="litert")
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None)
    with pytest.raises(
        px.MissingExtraError, match=r"litert_converter, got none\n  fix: pip install \"phlox\[litert\]\""
    ):
        px.export(px.Dense(4, 2), tmp_path / "out", inputs={"x": px.Spec(3, 4)}, to="litert")
    assert not list(tmp_path.iterdir())
