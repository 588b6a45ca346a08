"""The benchmarks measure what they say: every contender takes the same steps, and the arithmetic of times is right."""

from __future__ import annotations

import functools
import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from kit import assert_close, oracle

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
sys.path.append(str(BENCHMARKS))  # the scripts there import each other as a script's folder allows
dispatch: Any = importlib.import_module("dispatch")
kernels: Any = importlib.import_module("kernels")
measuring: Any = importlib.import_module("_measure")

CONTENDERS = {**dispatch.COMPILED, **dispatch.EAGER}
STEPS = 3


@pytest.fixture(autouse=True)
def threads_of_torch() -> Iterator[None]:
    """The benchmark gives PyTorch one thread; the other tests get theirs back."""
    before = torch.get_num_threads() if (torch := sys.modules.get("torch")) else None
    yield
    if before is not None:
        sys.modules["torch"].set_num_threads(before)


def built(name: str, layers: int) -> Any:
    """A contender; a peer that is not installed is skipped, it is no oracle."""
    if name.startswith("PyTorch"):
        oracle("torch")
    try:
        return CONTENDERS[name](dispatch.Problem.of(layers))
    except ImportError as missing:
        pytest.skip(str(missing))


@functools.cache
def truth(layers: int) -> tuple[list[float], list[np.ndarray]]:
    """Losses and weights of the same steps by PyTorch in float64, written as formulas."""
    torch = oracle("torch")
    problem = dispatch.Problem.of(layers)
    weights = [torch.tensor(a, dtype=torch.float64, requires_grad=True) for layer in problem.layers for a in layer]
    x, y = (torch.tensor(a, dtype=torch.float64) for a in (problem.x, problem.y))
    adam = torch.optim.Adam(weights, lr=dispatch.RATE)
    losses = []
    for _ in range(STEPS):
        h = x
        for w, b in zip(weights[::2], weights[1::2], strict=True):
            h = torch.tanh(h @ w + b)
        loss = ((h - y) ** 2).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(loss.item())
    return losses, [w.detach().numpy() for w in weights]


@pytest.mark.sampled(3)
@pytest.mark.parametrize("layers", [1, 10])
@pytest.mark.parametrize("name", CONTENDERS)
def test_every_contender_takes_the_same_steps(name: str, layers: int) -> None:
    contender = built(name, layers)
    losses = np.asarray([float(contender.step()) for _ in range(STEPS)], np.float32)
    expected_losses, expected = truth(layers)
    assert_close(losses, np.asarray(expected_losses), what="losses")
    weights = contender.weights()
    assert len(weights) == len(expected) == 2 * layers
    for i, (ours, theirs) in enumerate(zip(weights, expected, strict=True)):
        assert_close(ours, theirs, what=f"array {i}")


@pytest.mark.parametrize(
    ("name", "donates"),
    [
        (dispatch.DONATED, True),
        ("jax.jit on a dict", False),
        ("Equinox, filter_jit", False),
        ("Equinox, filter_jit, donated", True),
        ("Equinox, filter_jit on leaves", True),
        (dispatch.NNX_JIT, True),
        ("Flax, nnx.jit, tree", True),
        ("Flax, nnx.cached_partial", True),
        ("Flax, nnx.jit_partial, tree", True),
        ("Flax, nnx.split, jax.jit", True),
    ],
)
def test_peers_donate_as_their_names_say(name: str, donates: bool) -> None:
    contender = built(name, 1)
    contender.step()
    before = contender.arrays()
    contender.step()
    assert [a.is_deleted() for a in before] == [donates] * 2


def test_phlox_donates_its_weights() -> None:
    contender = built(dispatch.PHLOX, 1)
    contender.step()
    # A reference held here would make Phlox copy first, so look at the addresses: donated buffers are used again.
    before = {a.unsafe_buffer_pointer() for a in contender.arrays()}
    contender.step()
    assert {a.unsafe_buffer_pointer() for a in contender.arrays()} == before


def test_each_round_times_every_contender_and_starts_with_the_next() -> None:
    order: list[str] = []

    def timer(name: str) -> Callable[[], float]:
        return lambda: float(order.append(name) or len(order))

    times = measuring.interleave({name: timer(name) for name in "abc"}, 4)
    assert "".join(order) == "abc" + "bca" + "cab" + "abc"
    assert times == {"a": [1, 6, 8, 10], "b": [2, 4, 9, 11], "c": [3, 5, 7, 12]}


def test_a_ratio_is_the_median_over_rounds() -> None:
    # The ratios are 1/2, 3, 8; the medians' own ratio would be 4/2.
    times = {"a": [1.0, 6.0, 4.0], "b": [2.0, 2.0, 0.5]}
    found = measuring.ratio(times, "a", "b")
    assert (found.low, found.median, found.high) == (1.75, 3.0, 5.5)
    assert measuring.median(times, "a", "c") is None
    assert measuring.fastest(times, ["a", "b", "c"]) == "b"
    assert measuring.fastest(times, ["c"]) is None


def test_a_block_waits_once_for_its_last_result() -> None:
    counted, waited = iter(range(10)), []
    assert measuring.seconds_a_step(lambda: next(counted), 5, waited.append) > 0
    assert waited == [4]
    assert next(counted) == 5


def test_import_time_is_that_of_the_second_module_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "first_one.py").write_text("import pathlib; pathlib.Path(__file__).with_name('seen').touch()\n")
    (tmp_path / "second_one.py").write_text("import sys; assert 'first_one' in sys.modules\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert measuring.import_seconds("second_one", after="first_one") > 0
    assert (tmp_path / "seen").exists()
    with pytest.raises(subprocess.CalledProcessError):
        measuring.import_seconds("second_one", after="math")


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system cannot narrow a process down")
def test_a_pinned_process_and_its_children_stay_on_its_cores() -> None:
    program = (
        "import os, subprocess, sys; from _measure import pin; left = pin(1)\n"
        "child = subprocess.check_output([sys.executable, '-c', 'import os; print(len(os.sched_getaffinity(0)))'])\n"
        "print(left, len(os.sched_getaffinity(0)), int(child))"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(BENCHMARKS), os.environ.get("PYTHONPATH", "")])}
    assert subprocess.check_output([sys.executable, "-c", program], env=env, text=True).split() == ["1", "1", "1"]


def results(**phlox: float) -> Any:
    """Results in which the donated dict, and eager PyTorch with the Adam that comes, take a second."""
    compiled = {
        dispatch.DONATED: [1.0],
        dispatch.PHLOX: [phlox.get("step", 1.0)],
        dispatch.FILTER_JIT[0]: [4.0],
        dispatch.FILTER_JIT[1]: [2.6],
        dispatch.NNX_JIT: [12.0],
    }
    eager = {dispatch.PHLOX_EAGER: [phlox.get("eager", 6.0)], dispatch.TORCH[0]: [1.0], dispatch.TORCH[1]: [0.5]}
    return dispatch.Results({10: compiled, 100: compiled}, eager, {"phlox": [phlox.get("imports", 0.15)]}, 10, [])


def verdicts(found: Any) -> list[str]:
    return [bar.verdict for bar in found.bars()]


def test_bars_pass_and_miss_against_the_best_form_of_a_peer() -> None:
    assert verdicts(results()) == ["pass"] * 8
    assert verdicts(results(step=1.06)) == ["miss", "miss", "pass"] * 2 + ["pass"] * 2
    assert verdicts(results(step=1.25)) == ["miss", "miss", "miss"] * 2 + ["pass"] * 2
    assert verdicts(results(eager=8.1, imports=0.151)) == ["pass"] * 6 + ["miss"] * 2
    without = results()
    del without.compiled[100], without.eager[dispatch.PHLOX_EAGER], without.imports["phlox"]
    assert verdicts(without) == ["pass"] * 3 + ["not measured"] * 5


def test_a_missing_peer_and_one_that_computes_something_else_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "equinox", None)
    honest = dispatch.COMPILED[dispatch.DONATED]
    cheat = lambda problem: dispatch.Contender(lambda: 0.25, list)  # noqa: E731
    builders = {dispatch.DONATED: honest, "Equinox, filter_jit": dispatch.equinox_step, "cheat": cheat}
    notes: list[str] = []
    assert list(dispatch.build(builders, dispatch.Problem.of(1), notes)) == [dispatch.DONATED]
    assert len(notes) == 2
    assert "Equinox, filter_jit is left out" in notes[0]
    assert "cheat is left out: its first losses are [0.25, 0.25, 0.25]" in notes[1]


def test_the_page_keeps_everything_outside_the_markers() -> None:
    page = "before\n<!-- a: begin -->\nold\n<!-- a: end -->\nafter\n"
    once = measuring.rewritten(page, "a", "new\n")
    assert once == "before\n<!-- a: begin -->\nnew\n<!-- a: end -->\nafter\n"
    assert measuring.rewritten(once, "a", "new") == once
    with pytest.raises(ValueError, match="<!-- b: begin -->"):
        measuring.rewritten(page, "b", "new")
    with pytest.raises(ValueError, match="<!-- a: end -->"):
        measuring.rewritten("<!-- a: begin -->", "a", "new")


def test_the_command_writes_the_tables_and_the_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "performance.md"
    page.write_text(dispatch.PAGE.read_text("utf-8"), "utf-8")
    tiny = dispatch.Settings(2, 2, 1, {1: 2, 10: 2}, eager_layers=1, eager_steps=1)
    few = [dispatch.PHLOX, dispatch.DONATED]
    monkeypatch.setattr(dispatch, "COMPILED", {name: dispatch.COMPILED[name] for name in few})
    monkeypatch.setattr(dispatch, "EAGER", {dispatch.PHLOX_EAGER: dispatch.EAGER[dispatch.PHLOX_EAGER]})
    monkeypatch.setattr(dispatch, "import_times", lambda rounds, notes: {"phlox": [0.1] * rounds})
    monkeypatch.setattr(dispatch, "QUICK", tiny)
    monkeypatch.setattr(dispatch, "PAGE", page)
    monkeypatch.setattr(measuring, "pin", lambda cores: cores)  # the other tests keep their cores

    numbers = tmp_path / "numbers.json"
    assert dispatch.main(["--quick", "--write", "--json", str(numbers)]) == 0
    found = json.loads(numbers.read_text("utf-8"))
    assert found["quick"] is True
    assert found["machine"]["cores_used"] == 2
    assert found["versions"]["jax"] == jax.__version__
    assert set(found["compiled"]["10"]) == set(few)
    assert found["compiled"]["10"][dispatch.DONATED]["ratio"] == {"low": 1.0, "median": 1.0, "high": 1.0}
    assert found["imports"]["phlox"]["median"] == 100.0
    assert [bar["verdict"] for bar in found["bars"][1:3]] == ["not measured"] * 2
    written = page.read_text("utf-8")
    assert "| import phlox, above import jax | ≤ 150 ms | 100 ms | pass |" in written
    assert "Quick run" in written
    assert "import phlox" in capsys.readouterr().out


@pytest.mark.soak
def test_the_benchmark_of_kernels_writes_its_tables_with_kernels_and_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page, numbers = tmp_path / "performance.md", tmp_path / "numbers.json"
    page.write_text(kernels.PAGE.read_text("utf-8"), "utf-8")
    monkeypatch.setattr(kernels, "PAGE", page)
    monkeypatch.setattr(kernels, "QUICK", kernels.Settings(rounds=1, cases=1))
    monkeypatch.setattr(kernels, "FAMILIES", {"Pooling": kernels.pools})
    monkeypatch.setattr(measuring, "pin", lambda cores: cores)
    assert kernels.main(["--quick", "--write", "--json", str(numbers)]) == 0
    found, written = json.loads(numbers.read_text("utf-8")), page.read_text("utf-8")
    assert all(rate > 0 for rate in found["rates"].values())
    if kernels.package().library is None:
        assert "no kernel was measured" in written
        return
    (case,) = found["cases"]["Pooling"].values()
    read = {k: case[k]["median"] for k in (kernels.KERNEL, kernels.PLAIN)}
    x, y = 32 * 32 * 32 * 64 * 4, 32 * 16 * 16 * 64 * 4
    assert case["rate"] == pytest.approx((x + y) / (read[kernels.KERNEL] * 1e-3) / 1e9)
    assert case[kernels.PLAIN]["ratio"]["median"] == pytest.approx(read[kernels.PLAIN] / read[kernels.KERNEL])
    assert "**Pooling: ms**" in written


def test_no_script_hides_a_folder_whose_tests_import_each_other() -> None:
    """A script on the path comes before a folder of its name."""
    tests = BENCHMARKS.parent / "tests"
    imported = {
        name
        for file in tests.rglob("test_*.py")
        for name in re.findall(r"^(?:from|import) (\w+)\.", file.read_text("utf-8"), re.MULTILINE)
        if (tests / name).is_dir()
    }
    assert {"weights", "core"} & imported
    assert not imported & {path.stem for path in BENCHMARKS.glob("*.py")}


def test_a_deployed_program_that_is_off_is_left_out_of_the_table(tmp_path: Path) -> None:
    deployed: Any = importlib.import_module("deployed")
    wanted = np.array([0.25, 0.75])
    case = deployed.Case(tmp_path, tmp_path / "raw", wanted, 7, None)
    program = tmp_path / "program.py"
    program.write_text(
        "import json, sys\nprint('shares', 0.25, 0.75)\n"
        "calls = sys.argv[1:]\n"
        "calls and print(json.dumps({'start': 9, 'call': int(calls[0]) / 2, 'memory': 50}), file=sys.stderr)\n"
    )
    one = deployed.told([sys.executable, program], case)
    assert one.shares == [0.25, 0.75]
    assert (one.call, one.memory) == (3.5, 50)  # which the second run, with calls, says
    assert one.start > 1
    off = deployed.Run(10, 1, 40, [0.25, 0.75002])
    two = deployed.Run(20, 2, 60, [0.25, 0.750001])
    order: list[str] = []
    makers = {"off": lambda: off, "one": lambda: order.append("one") or one, "two": lambda: order.append("two") or two}
    results = deployed.raced(makers, case, 3, lambda text: None)
    assert order == ["one", "two", "two", "one", "one", "two"]
    assert results.notes == ["off is left out: it is off by 2.0e-05"]
    results.megabytes = {"one": (0.1, 30.0), "two": (0.2, 4.0)}
    results.runs["two"][0] = deployed.Run(50, 3, 20, wanted)
    [table] = results.tables()
    assert table.rows[1] == ["two", "0.20", "4.00", "20.0", "2.00", "2.00 – 2.50", "60.0"]


def test_first_steps_are_held_to_plain_jaxs_own_and_what_is_traced_within_counts_once() -> None:
    first_step: Any = importlib.import_module("first_step")

    def told(model: float, first: float, parameters: int = 10, loss: float = 1.0) -> dict[str, float]:
        rest = {"later": 0.1, "loss": loss, "parameters": parameters, **dict.fromkeys(first_step.PHASES, 0.5)}
        return {"model": model, "first": first, **rest}

    theirs = {first_step.JAX: [told(1, 4), told(1, 6)]}
    ours = {first_step.PHLOX: [told(4, 2), told(6, 3)], first_step.REPEATED: [told(1, 1), told(1, 3)]}
    results = first_step.Results([first_step.Start("GPT", ours | theirs)], [])
    assert [bar.value for bar in results.bars()] == pytest.approx([0.5, (6 / 5 + 9 / 7) / 2, (0.25 + 0.5) / 2])
    assert results.tables()[0].rows[0][:3] == [first_step.PHLOX, "5.00", "2.50"]
    wrong = {first_step.PHLOX: [told(1, 1, parameters=9)], first_step.REPEATED: [told(1, 1, loss=float("nan"))]}
    assert list(first_step.unequal(wrong | theirs)) == [first_step.PHLOX, first_step.REPEATED]

    inner = jax.jit(lambda x: jax.numpy.sin(x) * 3)
    with first_step.phases() as found:
        jax.jit(lambda x: inner(x) + inner(2 * x)).lower(np.ones(3)).compile()
        before = dict(found)
    assert all(seconds > 0 for seconds in before.values())
    jax.jit(lambda x: inner(x) - 1)(np.ones(5))
    assert found == before
