"""Checks that need several devices: one process has eight, runs the checks of a file, and tells of each by name.

A process has its devices from its start, and a start of JAX costs a second, so the checks of a file share one. They are
functions ``check_NAME()`` of a file ``checks_FILE.py``, which raise where something is amiss:

    CHECKS = Checks("checks_fsdp")

    @pytest.mark.parametrize("name", CHECKS.params)
    def test_fsdp(request, name):
        CHECKS.passed(request, name)

Run as a script, ``kit.py checks_fsdp [check_NAME …]``, it is that process.
"""

from __future__ import annotations

import ast
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
DEVICES = 8
SECONDS = 400  # for all checks of a file together


@dataclass
class Checks:
    """The checks of a file.

    Arguments:
        module: its name, below ``tests/parallel``.
        as_users: with all of the compiler's passes, which the suite leaves out; for looks at compiled programs.
        soak: the checks that are for the long run.
        env: further variables of the process.
    """

    module: str
    as_users: bool = False
    soak: Collection[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    found: dict[str, str] = field(default_factory=dict)  # what went wrong, by check; empty where nothing did

    @property
    def names(self) -> list[str]:
        """The checks, in the order in which they stand."""
        tree = ast.parse((HERE / f"{self.module}.py").read_text("utf-8"))
        named = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
        return [name for name in named if name.startswith("check_")]

    @property
    def params(self) -> list[Any]:
        """The same for ``pytest.mark.parametrize``, those for the long run marked."""
        import pytest

        return [pytest.param(name, marks=[pytest.mark.soak] * (name in self.soak)) for name in self.names]

    def passed(self, request: Any, name: str) -> None:
        """Fail where the check did; at the first one, all that this session has chosen are run."""
        if name not in self.found:
            items = [item for item in request.session.items if item.path == request.path]
            chosen = [item.callspec.params.get("name") for item in items if hasattr(item, "callspec")]
            self.run([known for known in self.names if known in {*chosen, name}])
        assert not self.found[name], self.found[name]

    def run(self, names: Sequence[str]) -> None:
        """Run checks in a process of their own."""
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder) / "report"
            command = [sys.executable, "-W", "error", str(HERE / "kit.py"), str(report), self.module, *names]
            env = {**os.environ, **self._environment(), **self.env}
            try:
                done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=SECONDS, check=False)
                ended = f"the process ended with {done.returncode}: {done.stderr[-3000:]}"
            except subprocess.TimeoutExpired as error:
                ended = f"the process took more than {SECONDS} s: {str(error.stderr)[-3000:]}"
            lines = report.read_text("utf-8").splitlines() if report.exists() else []
        self.found |= dict.fromkeys(names, ended) | dict(map(json.loads, lines))

    def _environment(self) -> dict[str, str]:
        here = {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(DEVICES), "JAX_ENABLE_X64": "1"}
        here["PYTHONPATH"] = os.pathsep.join(filter(None, [str(HERE.parent), os.environ.get("PYTHONPATH", "")]))
        return here | ({"JAX_DISABLE_MOST_OPTIMIZATIONS": "0", "XLA_FLAGS": ""} if self.as_users else {})


# --- for checks ---------------------------------------------------------------------------------------


def refused(error: type[Exception], *texts: str) -> Any:
    """A block that must raise an error whose message holds these texts."""

    class Refused:
        def __enter__(self) -> None:
            return None

        def __exit__(self, kind: Any, raised: Any, _: Any) -> bool:
            assert kind is not None, f"no {error.__name__}"
            if not isinstance(raised, error):
                return False
            missing = [text for text in texts if text not in str(raised)]
            assert not missing, f"{missing} not in {raised}"
            return True

    return Refused()


def arrays(tree: Any) -> dict[str, np.ndarray]:
    """All arrays of a Module by path, on the host, random keys as their data."""
    import jax

    import phlox as px

    bare = lambda v: jax.random.key_data(v) if jax.dtypes.issubdtype(v.dtype, jax.dtypes.prng_key) else v  # noqa: E731
    return {path: np.asarray(bare(v)) for path, v in px.paths(tree).items()}


def assert_same(ours: Any, theirs: Any, tolerance: float, what: str = "") -> None:
    """Two Modules whose arrays are equal, up to so much of the largest number of each."""
    a, b = arrays(ours), arrays(theirs)
    assert a.keys() == b.keys(), a.keys() ^ b.keys()
    for path, v in a.items():
        size = max(1.0, float(np.abs(b[path]).max(initial=0)))
        np.testing.assert_allclose(v, b[path], rtol=0, atol=tolerance * size, err_msg=f"{what} {path}")


def trained(build: Callable[[], Any], data: Any, strategy: Any = None, **options: Any) -> tuple[Any, Any]:
    """A model built and trained by ``px.fit``, and its history; 20 steps of Adam where nothing else is said.

    Steps are handed over one by one: that compiles in half the time of a loop over several.
    """
    import phlox as px

    model = build()
    given = {
        "optimizer": px.optim.Adam(1e-2),
        "batch_size": 16,
        "steps": 20,
        "progress": False,
        "multi_step": 1,
        **options,
    }
    history = px.fit(model, data, parallel=strategy, **given)
    return model, history


def assert_trains_alike(
    build: Callable[[], Any], data: Any, *strategies: Any, tolerance: float = 1e-9, **options: Any
) -> list[Any]:
    """Spread as each strategy says, a training ends at the losses and the weights of one device; the models."""
    one, first = trained(build, data, **options)
    models = []
    for strategy in strategies:
        many, second = trained(build, data, strategy, **options)
        np.testing.assert_allclose(first.losses, second.losses, rtol=tolerance, atol=tolerance, err_msg=repr(strategy))
        assert_same(many, one, tolerance, repr(strategy))
        models.append(many)
    return models


def main(report: str, module: str, names: Sequence[str]) -> int:
    """Run checks one after the other, and write a line for each."""
    checks = importlib.import_module(f"parallel.{module}")
    with open(report, "a", encoding="utf-8") as file:
        for name in names or [known for known in vars(checks) if known.startswith("check_")]:
            start, wrong = time.process_time(), ""
            try:
                getattr(checks, name)()
            except Exception:
                wrong = traceback.format_exc()
            file.write(json.dumps([name, wrong]) + "\n")
            file.flush()
            print(f"{'failed' if wrong else 'passed'} {time.process_time() - start:6.1f} s  {name}", file=sys.stderr)
            if wrong:
                print(wrong, file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
