"""The benchmark against the peers: models are the same everywhere, all forms take the same steps, processes answer."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest

import phlox as px
from kit import assert_close, oracle

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
sys.path.append(str(BENCHMARKS))  # the scripts there import each other as a script's folder allows
peers: Any = importlib.import_module("against_peers")
processes: Any = importlib.import_module("_processes")
workloads: Any = importlib.import_module("workloads")
contenders: Any = importlib.import_module("frameworks")

TINY = dataclasses.replace(
    workloads.WORKLOADS["small-mlp"],
    batch=importlib.import_module("workloads._workload").noise(8, 6, classes=3),
    models=importlib.import_module("workloads._dense").models(6, 5, 3),
    batches=4,
)


def built(name: str, workload: Any = TINY) -> Any:
    """A contender in this process; a peer that is not installed is skipped."""
    form = next(form for form in contenders.FORMS if form.name == name)
    for package in form.needs:
        pytest.importorskip(package)
    return importlib.import_module(f"frameworks.on_{form.framework}").contender(workload, form, False)


@functools.cache
def phlox_parameters(workload: str) -> int:
    def build() -> Any:
        with px.seed(0):
            return px.split(workloads.WORKLOADS[workload].models["phlox"]())[0]

    return sum(a.size for a in jax.tree.leaves(jax.eval_shape(build)))


@pytest.mark.parametrize("name", [name for name in workloads.WORKLOADS if not name.endswith("-32")])
def test_models_have_the_parameters_of_those_in_torch(name: str) -> None:
    torch = oracle("torch")
    workload = workloads.WORKLOADS[name]
    with torch.device("meta"):
        expected = sum(p.numel() for p in workload.models["torch"]().parameters())
    assert phlox_parameters(name) == expected - workload.surplus.get("torch", 0)


@pytest.mark.parametrize("name", ["small-mlp", "lenet", "small-resnet", "lstm", "gpt", "language", "audio", "unet"])
def test_plain_jax_has_the_same_parameters(name: str) -> None:
    net = importlib.import_module("workloads._plain_jax").Net
    workload = workloads.WORKLOADS[name]
    params, stats = net.initial(workload.models["jax"], workload.batch(np.random.default_rng(0))[0])
    assert sum(a.size for a in params.values()) == phlox_parameters(name)
    assert all((a == float(n.endswith("var"))).all() for n, a in stats.items())


@pytest.mark.parametrize(("single", "many"), [("Phlox", "Phlox, px.scan"), ("JAX", "JAX, lax.scan")])
def test_many_steps_in_one_dispatch_are_the_same_steps(single: str, many: str) -> None:
    one, all_at_once = built(single), built(many)
    assert one.parameters == all_at_once.parameters == 6 * 5 + 5 + 5 * 3 + 3
    losses = [[c.run(4), c.run(8)] for c in (one, all_at_once)]
    assert_close(np.float32(losses[1]), np.float32(losses[0]), what="losses after 4 and 12 steps")
    assert losses[0][1] < losses[0][0]


@pytest.mark.parametrize("name", ["Flax", "Flax, lax.scan", "Equinox", "Equinox, lax.scan", "PyTorch, eager"])
def test_peers_learn_too(name: str) -> None:
    contender = built(name)
    assert contender.parameters == 53
    first = contender.run(4)
    assert contender.run(40) < first


def test_a_workload_gives_the_same_batches_everywhere() -> None:
    first, second = TINY.data(), TINY.data()
    assert len(first) == 4
    for (x, y), (again, labels) in zip(first, second, strict=True):
        np.testing.assert_array_equal(x, again)
        np.testing.assert_array_equal(y, labels)
    assert not np.array_equal(first[0][0], first[1][0])
    x, y = workloads.WORKLOADS["gpt"].data()[0]
    np.testing.assert_array_equal(x[:, 1:], y[:, :-1])


def test_forms_take_part_where_they_differ() -> None:
    names = lambda workload: [f.name for f in contenders.FORMS if f.suits(workloads.WORKLOADS[workload])]  # noqa: E731
    assert {"JAX, lax.scan", "Flax, cached_partial", "PyTorch, eager"} <= set(names("small-mlp"))
    assert "PyTorch, eager, channels_last" not in names("small-mlp")
    assert "PyTorch, eager, channels_last" in names("lenet")
    assert not any("scan" in name for name in [*names("gpt"), *names("bert")])


def process(parameters: int, *losses: float) -> Any:
    return SimpleNamespace(ready={"parameters": parameters, "losses": losses})


def test_unequal_work_is_told() -> None:
    ready = {"a": process(7, 2.0, 1.0), "b": process(8, 2.0, 1.0), "c": process(7, 2.0, 2.0), "d": process(7, 3.0)}
    found = processes.unequal(ready)
    assert found == {"b": "it has 8 parameters, a 7", "c": "its loss went from 2 to 2"}
    assert list(processes.unequal({"a": process(7, 2.0, float("nan"))})) == ["a"]


def results(**seconds: float) -> Any:
    times = {"Phlox": [1.0], "Phlox, px.scan": [0.5], "JAX": [1.25], "JAX, lax.scan": [0.4], "Flax": [2.0]}
    times |= {name: [value] for name, value in seconds.items()}
    peaks = {"Phlox": 30, "JAX": 20, "Flax": 40}
    return peers.Results(
        processes.Race(workloads.WORKLOADS["small-mlp"], times, peaks, {}, dict.fromkeys(times, 1.0), [])
    )


def test_bars_are_held_against_the_fastest_peer() -> None:
    assert [bar.value for bar in results().bars()] == [0.8, 1.25, 1.25, 0.4, 1.5]
    assert [bar.verdict for bar in results().bars()] == ["pass", "miss", "miss", "pass", "miss"]
    assert results(Flax=0.5).bars()[0].value == 2.0


def test_the_command_runs_a_process_and_writes_its_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page, numbers = tmp_path / "performance.md", tmp_path / "numbers.json"
    page.write_text(peers.PAGE.read_text("utf-8"), "utf-8")
    monkeypatch.setattr(peers, "PAGE", page)
    monkeypatch.setattr(peers, "pin", lambda cores: cores)  # the other tests keep their cores
    absent = contenders.Form("Absent", "torch", needs=("no_such_package",))
    monkeypatch.setattr(peers, "FORMS", [contenders.FORMS[0], absent])
    arguments = ["--quick", "--only", "small-mlp", "--json", str(numbers), "--write"]
    assert peers.main(arguments) == 0
    found = json.loads(numbers.read_text("utf-8"))["small-mlp"]
    assert found["quick"] is True
    assert found["notes"] == ["Absent is left out: no_such_package is not installed"]
    assert found["times"]["Phlox"]["median"] > 0
    assert found["times"]["Phlox"]["ratio"]["median"] == 1.0
    assert {bar["verdict"] for bar in found["bars"]} == {"not measured"}
    assert sys.platform != "linux" or found["peaks"]["Phlox"] > 100_000 * 4 * 3  # weights and both moments
    assert "| Phlox |" in page.read_text("utf-8")
    assert "MLP 784–128–10" in capsys.readouterr().out


def test_a_process_that_fails_says_why(tmp_path: Path) -> None:
    broken = dataclasses.replace(contenders.FORMS[0], name="no such form")
    with pytest.raises(processes.LeftOutError, match="status 2"):
        processes.Process(TINY.name, broken, processes.Place(), tmp_path)


# --- held to some instructions ------------------------------------------------------------------------

instructions: Any = importlib.import_module("_instructions")


def test_a_restriction_is_in_the_environment_of_each_contender() -> None:
    form = next(form for form in contenders.FORMS if form.name == "Phlox")
    held = processes.Place(isa="avx2").env(form, Path("cache"))
    assert held["XLA_FLAGS"] == "--xla_cpu_max_isa=AVX2"
    assert held["ONEDNN_MAX_CPU_ISA"] == "AVX2"
    assert held["MKL_ENABLE_INSTRUCTIONS"] == "AVX2"
    assert held["ATEN_CPU_CAPABILITY"] == "avx2"
    assert "ATEN_CPU_CAPABILITY" not in processes.Place().env(form, Path("cache"))


def test_a_restriction_that_changes_no_rate_is_a_miss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instructions, "has", lambda isa: True)
    times = {"bitten": {"avx2": [2.0, 2.0], "native": [1.0, 1.1]}, "free": {"avx2": [1.0, 1.0], "native": [1.0, 0.9]}}
    bite = instructions.Bite("avx2", times, [])
    assert [bar.verdict for bar in bite.bars()] == ["pass", "miss"]
    assert bite.tables()[0].rows[0] == ["bitten", "2.05", "1.07", "0.53 ×"]


def test_both_sets_are_timed_in_processes_of_their_own() -> None:
    form = next(form for form in contenders.FORMS if form.name == "JAX")
    if not instructions.has("avx2"):
        pytest.skip("no AVX2 here")
    bite = processes.look_at_restriction([form], processes.Place(isa="avx2"), 1)
    assert not bite.notes
    assert set(bite.times["jax"]) == {"avx2", "native"}
    assert all(seconds > 0 for seconds in bite.times["jax"]["avx2"])


# --- where a step's time goes -------------------------------------------------------------------------

operations: Any = importlib.import_module("_operations")


def test_a_trace_is_read_beside_its_program(tmp_path: Path) -> None:
    f: Any = jax.jit(lambda x, w: jax.numpy.tanh(x @ w).sum(0))
    x, w = np.ones((64, 96), np.float32), np.ones((96, 32), np.float32)
    (tmp_path / "module_1.jit.cpu_after_optimizations.txt").write_text(f.lower(x, w).compile().as_text(), "utf-8")
    instructions = operations.programs(tmp_path)
    times = operations.recorded(lambda steps: [f(x, w).block_until_ready() for _ in range(steps)], 3, str(tmp_path))
    found = operations.Operations("a step", 2e-3, times, instructions)
    rows = found.rows()
    assert rows["XLA: product"].flops == 2 * 64 * 96 * 32
    assert rows["XLA: product"].calls == 1
    assert all(row.seconds > 0 for row in rows.values())
    table = operations.Profiles([found], {"flops": 1e9, "bytes": 1e9}).tables()[0]
    assert table.rows[-3][2] == "2.00"
    assert table.rows[-2][2:] == ["0.39", "0.00 GFLOP", "1.00 GFLOP/s"]


CALLS = """HloModule jit_step, is_scheduled=true

%fused (p: f32[8,4]) -> f32[8,4] {
  %p = f32[8,4]{1,0} parameter(0)
  ROOT %t = f32[8,4]{1,0} tanh(%p)
}

ENTRY %main (x: f32[2,6,6,3]) -> f32[8,4] {
  %x = f32[2,6,6,3]{3,2,1,0} parameter(0)
  %w = f32[3,3,3,5]{3,2,1,0} parameter(1)
  %z = f32[4,7,32]{2,1,0} parameter(2)
  %u = f32[8,32]{1,0} parameter(3)
  %y.1 = f32[2,6,6,5]{3,2,1,0} custom-call(%x, %w), custom_call_target="phlox_cpu_conv"
  %dx.2 = f32[2,6,6,3]{3,2,1,0} custom-call(%y.1, %w), custom_call_target="phlox_cpu_conv_input_gradient"
  %dw.3 = f32[3,3,3,5]{3,2,1,0} custom-call(%x, %y.1), custom_call_target="phlox_cpu_conv_weight_gradient"
  %h.4 = (f32[4,7,8], f32[4,7,8], f32[4,7,32]) custom-call(%z, %u), custom_call_target="phlox_cpu_lstm"
  %p.5 = f32[7,32]{1,0} custom-call(%u, %z), custom_call_target="phlox_cpu_other"
  ROOT %tanh_fusion = f32[8,4]{1,0} fusion(%p.5), kind=kLoop, calls=%fused
}
"""


def test_operations_and_bytes_of_calls_are_counted() -> None:
    found = operations.parsed(CALLS)
    convolution = 2 * (2 * 6 * 6) * (3 * 3 * 3 * 5)
    flops = {name.partition("/")[2]: i.flops for name, i in found.items() if i.flops}
    assert flops == {"y.1": convolution, "dx.2": convolution, "dw.3": convolution, "h.4": 2 * 4 * 7 * 8 * 32}
    assert found["jit_step/p.5"].bytes == 4 * (8 * 32 + 4 * 7 * 32 + 7 * 32)
    assert found["jit_step/h.4"].bytes == 4 * (4 * 7 * 32 + 8 * 32 + 2 * 4 * 7 * 8 + 4 * 7 * 32)
    times = {f"jit_step/{name}": (1, 0.5) for name in ("y.1", "dx.2", "p.5", "tanh_fusion", "not known")}
    rows = operations.Operations("a step", 1.0, times, found).rows()
    assert set(rows) == {"conv", "conv input gradient", "other", "XLA: tanh fusion"}


@pytest.mark.soak
def test_the_command_profiles_a_process(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "pin", lambda cores: cores)
    assert peers.main(["--profile", "--only", "small-mlp", "--rounds", "1"]) == 0
    assert "the step, without a trace" in capsys.readouterr().out
