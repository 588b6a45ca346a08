"""Plans: memory, operations and what is sent against closed forms, times and costs against numbers worked by hand."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

import phlox as px
from phlox.core import computations
from phlox.parallel._placement import Placement
from phlox.parallel.planning._chips import CHIPS
from phlox.parallel.planning._report import ranked
from phlox.parallel.planning._sent import Sent, sent
from phlox.parallel.planning._step import Case, planned_step
from phlox.parallel.planning._strategies import policies_for, strategies_for, strategy_of, with_policy
from phlox.parallel.planning._time import SHARE, Times, rate, times
from phlox.parallel.planning._topology import Topology
from phlox.parallel.planning._tries import is_short, too_much

MiB = 2**20
WIDTH, HIDDEN, DEPTH, ROWS, CLASSES = 128, 256, 4, 64, 8
_WEIGHTS = DEPTH * (2 * WIDTH * HIDDEN + WIDTH + HIDDEN) + WIDTH * CLASSES + CLASSES


def block():
    return px.Chain(px.Dense(WIDTH, HIDDEN, px.gelu), px.Dense(HIDDEN, WIDTH))


def build(depth=DEPTH):
    return px.Chain(px.nn.RepeatedLayer(block, depth), px.Dense(WIDTH, CLASSES))


def batch(rows=ROWS):
    return jax.ShapeDtypeStruct((rows, WIDTH), jnp.float32), jax.ShapeDtypeStruct((rows,), jnp.int32)


def planned(topology="cpu:4", *, model=build, data=None, **options):
    given = {"loss": px.losses.cross_entropy, "strategies": ["fsdp"], **options}
    return px.parallel.plan(model, px.optim.Adam(1e-3), data or batch(), topology=topology, **given)


@pytest.fixture(scope="module")
def four():
    """Three strategies over four devices of a CPU."""
    strategies = ["data_parallel", "fsdp", "fsdp(2) * tensor_parallel(2)"]
    return {repr(row.strategy): row for row in planned(strategies=strategies).rows}


@pytest.fixture(scope="module")
def gpus():
    """fsdp over eight GPUs at a price."""
    return planned("h100:8", data=batch(512), price=2.0)


# --- memory, operations, what is sent --------------------------------------------------------------------


def test_data_parallel_holds_all_on_each_device(four):
    row = four["data_parallel()"]
    assert row.memory.parameters == 4 * _WEIGHTS
    assert 8 * _WEIGHTS <= row.memory.optimizer <= 8 * _WEIGHTS + 64
    assert row.memory.inputs == (4 * WIDTH * ROWS + 4 * ROWS) / 4
    assert row.fits
    assert row.total == row.memory.total


def test_fsdp_holds_a_part_of_all_that_is_large(four):
    row = four["fsdp()"]
    small = DEPTH * (WIDTH + HIDDEN) + WIDTH * CLASSES + CLASSES  # biases, and 1024 elements of the last layer
    part = (_WEIGHTS - small) / 4 + small
    assert row.memory.parameters == 4 * part
    assert 8 * part <= row.memory.optimizer <= 8 * part + 64


def test_operations_are_those_of_products_and_of_what_stands_between(four):
    """A product of a layer and its two gradients; the inputs of the first block have none."""
    weights = DEPTH * 2 * WIDTH * HIDDEN + WIDTH * CLASSES
    products = 2 * ROWS * (3 * weights)
    for row in four.values():
        assert products <= 4 * row.flops <= 1.1 * products
    assert planned(strategies=[]).operations == 4 * four["fsdp()"].flops


def test_data_parallel_sends_each_gradient_once(four):
    (row,) = [row for name, row in four.items() if name.startswith("data")]
    assert {one.kind for one in row.sent} == {"all-reduce"}
    wanted = 2 * 4 * _WEIGHTS * 3 / 4
    assert wanted <= row.sent_bytes <= wanted + 256


def test_fsdp_sends_each_weight_of_each_block_twice(four):
    """What a loop sends is counted in each of its rounds: forward, and backward."""
    row = four["fsdp()"]
    gathered = [one for one in row.sent if one.kind == "all-gather"]
    assert {one.times for one in gathered} == {DEPTH}
    large = 4 * DEPTH * 2 * WIDTH * HIDDEN
    assert sum(one.over_links for one in gathered) == 2 * large * 3 / 4
    assert all(one.axes == ("fsdp",) for one in row.sent)


def test_tensor_parallel_sends_activations_along_its_axis(four):
    row = four["fsdp(2) * tensor_parallel(2)"]
    along = [one for one in row.sent if one.axes == ("tensor",) and one.kind == "all-reduce"]
    sums = [one for one in along if one.bytes == 4 * WIDTH * ROWS // 2]  # a block's result, and its input's gradient
    assert sum(one.times for one in sums if one.times > 1) == 2 * DEPTH
    assert all(one.members == (0, 1) for one in along)


def test_the_step_is_that_of_fit():
    """What px.fit refuses for its memory is what was foretold, to the byte."""
    x, y = jnp.ones((2, 16)), jnp.zeros((2,), jnp.int32)
    small = lambda: px.Chain(px.Dense(16, 32, px.tanh), px.Dense(32, 4))  # noqa: E731
    given = {"loss": px.losses.cross_entropy, "optimizer": px.optim.Adam(1e-3), "batch_size": 2, "steps": 1}
    with pytest.raises(px.NotEnoughMemoryError) as refused:
        px.fit(small(), (x, y), progress=False, multi_step=1, memory=("check", 1), **given)
    (row,) = planned("cpu:1", model=small, data=(x, y)).rows
    assert f"needs {px.core.bytes_text(row.total)}" in str(refused.value)


def test_the_bytes_between_two_groups():
    """Groups as compilers write them: listed, laid out and turned, along axes of a mesh; loops, fusions, starts."""
    text = """HloModule m

%body (p: (s32[], f32[8])) -> (s32[], f32[8]) {
  %p = (s32[], f32[8]) parameter(0)
  %x = f32[8]{0} get-tuple-element(%p), index=1
  %s = f32[8]{0} all-reduce(%x), replica_groups={{0,2},{1,3}}, to_apply=%add
  ROOT %t = (s32[], f32[8]) tuple(%i, %s)
}

%below (p: (s32[], f32[8])) -> pred[] {
  %p = (s32[], f32[8]) parameter(0)
  %n = s32[]{:T(128)} constant(3)
  %i = s32[] get-tuple-element(%p), index=0
  ROOT %lt = pred[] compare(%i, %n), direction=LT
}

%along (p: (s32[], f32[8])) -> (s32[], f32[8]) {
  %p = (s32[], f32[8]) parameter(0)
  %s = f32[8]{0:T(8)S(1)} all-reduce(%x), replica_groups=mesh['a'=2,'b'=1,'c'=2] {'c'}, to_apply=%add
  ROOT %t = (s32[], f32[8]) tuple(%i, %s)
}

%all-reduce-scatter.1 (x: bf16[8]) -> bf16[4] {
  %x = bf16[8]{0} parameter(0)
  %s = bf16[8]{0} all-reduce(%x), replica_groups={{0,2},{1,3}}, to_apply=%add
  ROOT %r = bf16[4]{0} dynamic-slice(%s, %i), dynamic_slice_sizes={4}
}

ENTRY %main (a: f32[4]) -> f32[8] {
  %a = f32[4]{0} parameter(0)
  %g = (f32[4]{0}, f32[8]{0}) all-gather-start(%a), replica_groups=[2,2]<=[2,2]T(1,0), dimensions={0}
  %d = f32[8]{0} all-gather-done(%g), calls=%body
  %w = (s32[], f32[8]) while(%t), condition=%c, body=%body, backend_config={"known_trip_count":{"n":"5"}}
  %v = (s32[], f32[8]) while(%t), condition=%below, body=%along
  %one = f32[8]{0} all-reduce(%d), replica_groups=[4,1]<=[4], to_apply=%add
  %f = bf16[4]{0} fusion(%d), kind=kCustom, calls=%all-reduce-scatter.1
  %r = f32[2]{0} reduce-scatter(%d), replica_groups=[1,4]<=[4], dimensions={0}, to_apply=%add
  ROOT %c = (bf16[8]{0}, bf16[8]{0}, u32[], u32[]) collective-permute-start(%d), source_target_pairs={{2,2},{0,1},{1,0}}
}
"""
    mesh = Placement.of(
        strategy_of("fsdp(2)*tensor_parallel(2)", ""),
        px.parallel.mesh(fsdp=2, tensor=2, devices=Topology.of("cpu:4").devices()),
    ).mesh
    found = sent(computations(text), mesh)
    assert found == (
        Sent("all-gather", 32, ("fsdp",), (0, 2), 1),
        Sent("all-reduce", 32, ("fsdp",), (0, 2), 5),
        Sent("all-reduce", 32, ("tensor",), (0, 1), 3),
        Sent("reduce-scatter", 16, ("fsdp",), (0, 2), 1),
        Sent("reduce-scatter", 32, ("fsdp", "tensor"), (0, 1, 2, 3), 1),
        Sent("collective-permute", 16, ("tensor",), (0, 1), 1),
    )
    assert [one.over_links for one in found] == [16, 2 * 5 * 16, 2 * 3 * 16, 8, 24, 16]


def test_devices_are_not_needed_and_nothing_is_made():
    """A hundred thousand million weights, on devices that this process does not have."""
    found = planned("v5p:4x4x4", model=lambda: px.Chain(px.Dense(2**18, 2**18), px.Dense(2**18, 8)),
                    data=(px.Spec(64, 2**18), px.Spec(64, dtype="int32")), strategies=[])  # fmt: skip
    assert found.parameters > 2**36
    assert found.best is None
    rows = []
    large = planned("cpu:8", model=lambda: build(2**16), memory=MiB, told=rows.append)
    assert large.parameters > 2**32
    (row,) = large.rows
    assert rows == [row]  # computing again what is not kept does not help
    assert not row.fits
    assert row.memory is None
    assert row.total > 3 * 4 * large.parameters / 8
    assert "> 6" in str(large)


def test_refusals_of_libtpu():
    """In both of their forms; what a program adds comes to what is held."""
    used = "Ran out of memory in memory space hbm. Used 120.50G of 95.74G hbm. Exceeded hbm capacity by 24.76G."
    added = (
        "Ran out of memory on HBM, the total memory required for HLO temporaries (256.00M) exceeds available HBM (1G)."
    )
    assert too_much(used, 7) == 120.5 * 2**30
    assert too_much(added, 7) == 256 * MiB + 7
    assert too_much("INTERNAL: Mosaic failed", 7) is None


# --- what is tried --------------------------------------------------------------------------------------


def test_activations_are_computed_again_only_where_they_do_not_fit():
    rows, room = [], 32 * MiB
    given = {"model": lambda: build(16), "data": batch(4096), "memory": room}
    best = planned(told=rows.append, **given).best
    assert [row.remat for row in rows] == [None, "dots_without_batch"]
    plain, again = rows
    assert best == again
    assert again.total <= room < plain.total
    assert again.memory.activations < plain.memory.activations / 2
    assert again.flops > plain.flops
    assert planned(remat=False, **given).best is None


def test_policies_follow_what_the_model_has():
    repeated = px.eval_shape(build)
    assert policies_for(repeated) == (None, "dots_without_batch", True)
    assert policies_for(with_policy(repeated, "dots")) == (None, True)
    assert policies_for(with_policy(repeated, True)) == (None,)
    assert policies_for(px.Dense(2, 2)) == (None,)


@pytest.mark.parametrize(
    ("chips", "wanted"),
    [
        ("cpu:1", ["data_parallel(1)"]),
        ("cpu:4", ["data_parallel(4)", "fsdp(4)", "fsdp(2) * tensor_parallel(2)", "tensor_parallel(4)"]),
        (
            "h100:16",
            ["data_parallel(16)", "fsdp(16)", "fsdp(8) * data_parallel(2)", "fsdp(8) * tensor_parallel(2)"]
            + ["fsdp(4) * tensor_parallel(4)", "fsdp(2) * tensor_parallel(8)"],
        ),
    ],
)
def test_strategies_that_are_tried(chips, wanted):
    assert list(map(repr, strategies_for(Topology.of(chips)))) == wanted


def test_what_cannot_be_says_why():
    model = lambda: px.MultiHeadAttention(96, 6, causal=True)  # noqa: E731
    data = px.Spec(6, 16, 96), px.Spec(6, 16, 96)
    found = planned("cpu:4", model=model, data=data, loss=px.losses.mse, strategies=["fsdp", "tensor_parallel"])
    assert found.best is None
    reasons = {repr(row.strategy): row.reason for row in found.rows}
    assert "heads that 4 devices share evenly" in reasons["tensor_parallel(-1)"]
    assert "4" in reasons["fsdp()"]
    assert "nothing fits" in str(found)


def test_a_model_and_an_optimiser_that_are_there_stay_as_they_are(four):
    model = build()
    opt = px.Optimizer(px.optim.Adam(1e-3), model)
    before = px.paths(model)
    found = px.parallel.plan(model, opt, batch(), loss=px.losses.cross_entropy, topology="cpu:4", strategies=["fsdp"])
    assert found.best.total == four["fsdp()"].total
    assert all(v is px.paths(model)[path] for path, v in before.items())
    assert model.layers[0].remat is False


def test_precision_and_loss_scale_are_those_of_fit():
    case = Case(px.eval_shape(build), px.optim.Adam(1e-3), batch(), px.losses.cross_entropy, "fp16")
    jaxpr = planned_step(case, None, "cpu")._marked.ahead.jaxpr
    assert "f16[64,256]" in str(jaxpr)
    assert "cond" in str(jaxpr)  # a step that is not finite is left out


# --- times and costs ------------------------------------------------------------------------------------


def test_times_worked_by_hand():
    """v5p: 459 T operations and 2765 GB a second; along one axis of its torus 200 of 600 GB."""
    chips = Topology.of("v5p:4x4x4")
    weights = Sent("all-gather", 400 * 10**9, ("fsdp",), (0, 16, 32, 48), 2)  # 600 GB at 200 a second: 3 s
    features = Sent("all-reduce", 80 * 10**9, ("tensor",), (0, 1, 2, 3), 1)  # 120 GB: 0.6 s
    found = times(459e12 * SHARE * 2, 2765e9, [weights, features], chips, ("fsdp",), short=True)
    assert found.compute == pytest.approx(2)
    assert found.traffic == pytest.approx(1)
    assert found.hidden == pytest.approx(2)
    assert found.exposed == pytest.approx(0.6 + 1)
    assert found.step == pytest.approx(3.6)
    alone = times(459e12 * SHARE * 2, 2765e9 * 3, [features], chips, ("fsdp",), short=False)
    assert alone.step == pytest.approx(3.6)


def test_tensor_cores_of_gpus_do_half_as_much_in_float32():
    chips = Topology.of("h100:8")
    half, whole = (times(989.4e12, 0, [], chips, (), short=short).compute for short in (False, True))
    assert half == pytest.approx(2 * whole)
    assert whole == pytest.approx(1 / SHARE)


def test_products_are_short_by_precision_or_by_weights():
    model = px.eval_shape(build)
    short = lambda model, precision: is_short(Case(model, None, None, None, precision))  # noqa: E731
    found = [short(model, p) for p in (None, "float32", "float64", "bf16", "fp16", jnp.bfloat16)]
    assert found == [False, False, False, True, True, True]
    assert short(px.eval_shape(lambda: px.bf16(build())), None)


@pytest.mark.parametrize(
    ("chips", "members", "wanted"),
    [
        ("v5p:4x4x4", range(4), 200e9),
        ("v5p:4x4x4", range(16), 400e9),
        ("v5p:4x4x4", range(64), 600e9),
        ("v6e:8x8", range(8), 200e9),
        ("v7x:2x2x1", range(2), 100e9),  # two devices of one chip share its links
        ("h100:16", range(8), 450e9),
        ("h100:16", range(0, 16, 8), 50e9),
        ("h100:16", range(16), 400e9),  # eight of a machine send a share each
    ],
)
def test_rates(chips, members, wanted):
    assert rate(tuple(members), Topology.of(chips)) == pytest.approx(wanted)


def test_a_plan_for_gpus_is_an_estimate_with_times_and_costs(gpus):
    row = gpus.best
    assert gpus.estimate
    assert not planned(strategies=[]).estimate
    assert row.seconds == max(row.times.compute, row.times.traffic) + row.times.exposed
    assert row.mfu == pytest.approx(gpus.operations / (8 * 989.4e12 * row.seconds))
    assert row.cost == pytest.approx(2.0 * 8 * row.seconds / 3600 / 512 * 1e6)
    assert (gpus.count, gpus.unit) == (512, "examples")
    summed = [one.kind for one in row.sent if one.bytes >= 4 * WIDTH * HIDDEN]
    assert "reduce-scatter" in summed
    assert "all-reduce" not in summed


def test_utilisation_counts_nothing_twice(gpus):
    """Of a model that computes its blocks again the operations are more, the model's own ones the same."""
    again = planned("h100:8", data=batch(512), model=lambda: with_policy(build(), True))
    assert again.best.flops > 1.1 * gpus.best.flops
    assert again.operations == gpus.operations
    assert again.best.mfu == pytest.approx(gpus.operations / (8 * 989.4e12 * again.best.seconds))


def test_two_devices_of_a_chip_cost_one_chip():
    v7x = Topology.of("v7x:2x2x1")
    assert (v7x.chips, v7x.count) == (4, 8)
    assert v7x.flops == 2307e12 / 2
    assert v7x.limit == 96 * 2**30


def test_rows_are_ranked():
    of = lambda seconds, total, **more: px.parallel.PlanRow(  # noqa: E731
        px.parallel.fsdp(), None, total=total, times=seconds and Times(seconds, 0, 0, 0), **more
    )
    slow, fast = of(2.0, 1, fits=True), of(1.0, 2, fits=True)
    large, refused = of(None, 9), of(None, 0, reason="no")
    assert ranked([refused, large, slow, fast]) == (fast, slow, large, refused)


# --- what is said ---------------------------------------------------------------------------------------


def test_tokens_are_counted():
    model = lambda: px.Chain(px.Embedding(32, 16), px.Dense(16, 32))  # noqa: E731
    loss = lambda model, words: px.losses.cross_entropy(model(words), words)  # noqa: E731
    by_name = lambda model, batch: loss(model, batch["words"])  # noqa: E731
    options = {"model": model, "loss": loss, "strategies": []}
    found = planned(data=(8, 12), **options)
    assert (found.count, found.unit) == (96, "tokens")
    assert planned(data={"words": jnp.zeros((8, 12), jnp.int32)}, **options | {"loss": by_name}).count == 96
    assert planned(data=(8, 12), tokens=5, **options).count == 5


def test_numbers_are_written(gpus, tmp_path):
    gpus.save(tmp_path / "plan.json")
    told = json.loads((tmp_path / "plan.json").read_text())
    assert told == gpus.as_dict()
    (row,) = told["rows"]
    assert row["bytes"] == sum(row["memory"].values())
    assert row["seconds"] == gpus.best.seconds
    assert math.isclose(sum(row["sent"].values()), gpus.best.sent_bytes)


def test_the_table(gpus):
    lines = str(gpus).splitlines()
    assert lines[0] == "h100:8 of 74.5 GiB each: fsdp() is the first choice"
    assert lines[1].startswith(f"{_WEIGHTS:_} parameters, 512 examples and ")
    assert lines[1].endswith("an estimate: compiled for a CPU's devices")
    assert "cost of 1M examples" in str(gpus)


@pytest.mark.parametrize("text", ["v5p", "v5p:0x2", "v9:2x2", "h100:2x4", "v6e:2x2x2", "cpu:-1", 8])
def test_topologies_that_are_none(text):
    with pytest.raises(px.RangeError, match=r"px\.parallel\.plan expects a chip and how many along each axis"):
        planned(text)


@pytest.mark.parametrize("text", ["", "fsdp()tensor_parallel()", "ring(4)", "fsdp(x)", "fsdp * "])
def test_strategies_that_are_none(text):
    with pytest.raises(px.RangeError, match="expects a strategy, got"):
        strategy_of(text, "px.parallel.plan")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"price": 0}, "price above 0"),
        ({"memory": -1}, "memory above 0"),
        ({"tokens": "many"}, "tokens above 0"),
        ({"model": 3}, "a Module, or a function that builds one"),
        ({"model": lambda: 3}, "a Module, or a function that builds one"),
        ({"data": (px.Spec("batch", 4), px.Spec(8))}, "a batch of arrays or shapes"),
        ({"data": "text"}, "a batch of arrays or shapes"),
        ({"data": ()}, "a batch of at least one array"),
        ({"strategies": [3]}, "a strategy"),
    ],
)
def test_arguments_that_are_refused(options, told):
    given = {"model": build, "data": batch(), **options}
    model, data = given.pop("model"), given.pop("data")
    with pytest.raises(px.RangeError) as refused:
        px.parallel.plan(model, px.optim.Adam(1e-3), data, **{"loss": px.losses.mse, "topology": "cpu:2"} | given)
    assert told in str(refused.value)


def test_what_is_wrong_in_the_model_is_said_as_ever():
    with pytest.raises(px.ShapeError, match=r"expects \(\.\.\., 128\)"):
        planned("cpu:2", data=(px.Spec(8, 7), px.Spec(8, dtype="int32")))


def test_without_libtpu_there_is_no_plan_for_tpus():
    with pytest.raises(px.MissingExtraError, match=r'pip install "phlox\[plan\]"'):
        planned("v5p:2x2x1")


PROGRAM = Path(__file__).parent / "planned_memory.py"


@pytest.mark.soak
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    "strategy",
    ["fsdp", "data_parallel", "fsdp(4) * tensor_parallel(2)"],
)
def test_eight_devices_take_what_was_foretold(strategy):
    """A plan, then px.fit: the most that the process held meanwhile, on all devices together."""
    left_out = ("XLA_FLAGS", "JAX_DISABLE_MOST_OPTIMIZATIONS")
    environment = {k: v for k, v in os.environ.items() if k not in left_out}
    environment |= {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    environment |= {"JAX_NUM_CPU_DEVICES": "8", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-W", "error", str(PROGRAM), strategy]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["used"] > 150 * MiB
    assert abs(found["foretold"] - found["used"]) < 0.1 * found["used"], found


def test_the_page_has_the_numbers_of_the_chips():
    page = (Path(__file__).resolve().parents[2] / "docs" / "scale.md").read_text("utf-8")
    for chip in CHIPS.values():
        size = f"{chip.memory / 2**30:.0f} GiB" if chip.platform == "tpu" else f"{chip.memory / 1e9:.0f} GB"
        rates = [f"{n / 1e9:g} GB/s" if n else "" for n in (chip.traffic, chip.links, chip.network)]
        row = " | ".join([chip.name, size, f"{chip.flops / 1e12:g} T", *rates])
        assert chip.platform == "cpu" or f"| {row.strip()} |" in page
