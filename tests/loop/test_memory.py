"""px.memory against closed forms, against the changed step measured itself, and against what a process takes."""

import functools
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from phlox.core import computations
from phlox.loop.preflight import _step as _memory_step
from phlox.loop.preflight._kept import kept
from phlox.loop.preflight._memory import _Step
from phlox.loop.preflight._room import _available_on_host
from phlox.loop.preflight._search import Search, levels
from phlox.loop.preflight._workspace import workspace

BATCH, INNER, HIDDEN, OUTER = 512, 64, 128, 32
MiB = 2**20


def struct(*shape, dtype="float32"):
    return jax.ShapeDtypeStruct(shape, dtype)


def linear(*sizes, act=px.identity):
    return px.Chain(*[px.Dense(a, b, act, bias=False) for a, b in itertools.pairwise(sizes)])


def step(model, opt, x):
    loss, grads = px.value_and_grad(lambda model: model(x).sum())(model)
    opt.update(model, grads)
    return loss


def adam(model):
    return px.Optimizer(px.optim.Adam(1e-3), model)


def deep(limit=None):
    """The memory of six layers whose activations are nearly all of it."""
    model = linear(*[HIDDEN] * 7, act=px.tanh)
    return px.memory(step, model, adam(model), struct(16 * BATCH, HIDDEN), limit=limit)


@pytest.fixture(scope="module")
def roomy():
    return deep()


@pytest.fixture(scope="module")
def tight(roomy):
    return deep(roomy.total * 3 // 4)


# --- what is held ------------------------------------------------------------------------------------


def test_arguments_by_closed_form():
    model = px.Chain(px.Dense(INNER, HIDDEN), px.BatchNorm(HIDDEN), px.Dropout(0.5), px.Dense(HIDDEN, OUTER))
    opt = adam(model)
    found = px.memory(step, model, opt, struct(BATCH, INNER))
    weights = (INNER + 1) * HIDDEN + 2 * HIDDEN + (HIDDEN + 1) * OUTER
    assert found.parameters == 4 * weights
    assert found.state == 4 * 2 * HIDDEN + 8  # statistics, and a key
    assert found.optimizer == 2 * 4 * weights + 4 * 2  # moments; a count and the learning rate
    assert found.inputs == 4 * BATCH * INNER
    parts = (found.parameters, found.state, found.optimizer, found.inputs, found.activations, found.temporaries)
    assert found.total == sum(parts) + found.outputs
    assert 4 <= found.outputs < 1000  # the loss; what is written takes the place of what was there
    by_path = {r.path: (r.parameters, r.state) for r in found.rows}
    assert by_path["model.layers[1]"] == (4 * 2 * HIDDEN, 4 * 2 * HIDDEN)
    assert by_path["model.layers[2]"] == (0, 8)


def test_what_is_frozen_counts_and_what_is_shared_counts_once():
    layer = px.Dense(INNER, INNER)
    model = px.freeze(px.Chain(layer, layer))
    found = px.memory(model, struct(8, INNER))
    assert found.parameters == 4 * (INNER + 1) * INNER
    assert found.optimizer == found.activations == 0
    assert found.outputs == 4 * 8 * INNER
    assert found.name == px.memory(px.jit(model), struct(8, INNER)).name == "Chain"


def test_without_donation_the_new_values_need_memory_of_their_own():
    model = linear(HIDDEN, HIDDEN)
    args = model, adam(model), struct(8, HIDDEN)
    donated, kept_too = px.memory(px.jit(step), *args), px.memory(px.jit(step, donate=False), *args)
    written = 3 * 4 * HIDDEN**2
    assert written <= kept_too.outputs - donated.outputs < written + 100


def test_a_static_argument_and_one_by_keyword():
    @functools.partial(px.jit, static_argnames="times")
    def repeated(model, x, times):
        return [model(x) for _ in range(times)]

    found = px.memory(repeated, linear(40, 40), struct(8, 40), times=3)
    assert 0 <= found.outputs - 3 * 4 * 8 * 40 < 100  # and the addresses of the three


def test_nothing_runs_and_nothing_is_written():
    model, called = px.Chain(px.Dense(4, 4), px.BatchNorm(4)), []
    opt, before = adam(model), px.paths(model)

    @px.jit
    def noted(model, opt, x):
        jax.debug.callback(lambda: called.append(1))
        return step(model, opt, x)

    px.memory(noted, model, opt, jnp.ones((8, 4)), limit=1)
    jax.effects_barrier()
    assert called == []
    assert all(a is b for a, b in zip(before.values(), px.paths(model).values(), strict=True))
    assert type(model[0]) is px.Dense
    assert noted.retraces().endswith("not traced yet")


def test_a_model_of_shapes_larger_than_any_machine():
    model = px.eval_shape(lambda: px.Dense(10**7, 10**7))
    opt = px.eval_shape(lambda m: px.Optimizer(px.optim.Momentum(0.1), m), model)
    found = px.memory(step, model, opt, struct(8, 10**7), advice=False)
    assert found.parameters == 4 * (10**14 + 10**7)
    assert found.optimizer - 4 * (10**14 + 10**7) in range(9)
    assert not found.fits
    assert found.excess == found.total - found.limit


# --- what is kept for the backward pass ----------------------------------------------------------------


def activations(model, *xs, step=step):
    found = px.memory(step, model, adam(model), *xs)
    rows = {r.path: r.activations for r in found.rows if r.activations}
    assert sum(rows.values()) == found.activations
    return rows


def test_a_linear_layer_keeps_its_input_which_the_one_before_made():
    rows = activations(linear(INNER, HIDDEN, HIDDEN, OUTER), struct(BATCH, INNER))
    assert rows == {f"model.layers[{i}]": 4 * BATCH * HIDDEN for i in (0, 1)}


def test_a_frozen_layer_keeps_nothing_for_its_weight():
    model = linear(INNER, HIDDEN, HIDDEN, OUTER)
    px.freeze(model[2])
    assert activations(model, struct(BATCH, INNER)) == {"model.layers[0]": 4 * BATCH * HIDDEN}


@pytest.mark.parametrize(("again", "each"), [(False, 2), (True, 1)])
def test_a_loop_keeps_something_of_every_round(again, each):
    """Of two products in a row, the input of both; computed again, of the first."""
    rounds = 8

    def block():
        return linear(INNER, INNER, INNER)

    model = px.nn.RepeatedLayer(block, rounds, remat=again)
    found = px.memory(step, model, adam(model), struct(BATCH, INNER)).activations
    one = 4 * BATCH * INNER
    assert rounds * each * one <= found <= (rounds * each + 2) * one


def test_a_step_inside_a_loop_is_seen_too():
    def epoch(model, opt, xs):
        return px.scan(lambda carry, x: (carry, step(model, opt, x)), None, xs)[1]

    rows = activations(linear(INNER, HIDDEN, OUTER), struct(3, BATCH, INNER), step=epoch)
    assert rows == {"model.layers[0]": 4 * BATCH * HIDDEN}


PROGRAM = """
HloModule step, is_scheduled=true

%body (p: (f32[4], f32[8])) -> (f32[4], f32[8]) {
  %p = (f32[4]{0}, f32[8]{0}) parameter(0)
  %a = f32[4]{0} get-tuple-element(%p), index=0
  %kept.1 = pred[4]{0} compare(%a, %a), metadata={op_name="jit(f)/while/body/jvp(phlox-layer-2)/gt"}
  %back = f32[4]{0} select(%kept.1, %a, %a), metadata={op_name="jit(f)/while/body/transpose(jvp(phlox-layer-2))/x"}
  %b = f32[8]{0} get-tuple-element(%p), index=1
  ROOT %out = (f32[4]{0}, f32[8]{0}) tuple(%back, %b)
}

%never (p: f32[99]) -> f32[99] {
  %p.9 = f32[99]{0} parameter(0)
  %f = f32[99]{0} add(%p.9, %p.9), metadata={op_name="jvp(phlox-layer-2)/add"}
  ROOT %g = f32[99]{0} add(%f, %f), metadata={op_name="transpose(jvp(phlox-layer-2))/add"}
}

ENTRY %main (x: f32[4]) -> f32[4] {
  %x = f32[4]{0} parameter(0)
  %y = (f32[4]{0}, bf16[2,8]{1,0:T(8,128)}) fusion(%x), kind=kLoop, metadata={op_name="jit(f)/jvp(phlox-layer-0)/a"}
  %y.0 = f32[4]{0} get-tuple-element(%y), index=0
  %y.1 = bf16[2,8]{1,0} get-tuple-element(%y), index=1
  %early = f32[100]{0} add(%y.0, %x), metadata={op_name="jit(f)/jvp(phlox-layer-0)/phlox-layer-1/add"}
  %use = f32[4]{0} add(%early, %x), metadata={op_name="jit(f)/jvp(phlox-layer-0)/phlox-layer-1/add"}
  %view = f32[2,2]{1,0} bitcast(%use)
  %init = (f32[2,2]{1,0}, bf16[2,8]{1,0}) tuple(%view, %y.1)
  %loop = (f32[4]{0}, f32[8]{0}) while(%init), condition=%cond, body=%body, metadata={op_name="jit(f)/while"}
  %z = f32[4]{0} get-tuple-element(%loop), index=0
  ROOT %r = f32[4]{0} fusion(%z, %view), metadata={op_name="jit(f)/transpose(jvp(phlox-layer-0))/x"}
}
"""


def test_a_program_by_hand():
    """16 bytes through a bitcast, 4 bytes in the loop; not what only the forward pass reads, nor what never runs."""
    assert kept(computations(PROGRAM)) == {1: 16, 2: 4}


def test_what_is_dead_before_the_next_is_made_does_not_add_up():
    lines = ["ENTRY %main (x: f32[4]) -> f32[4] {"]
    for i, size in enumerate([10, 30, 20]):
        lines.append(f'  %a{i} = f32[{size}]{{0}} copy(%x), metadata={{op_name="jvp(phlox-layer-{i})/a"}}')
        lines.append(f'  %b{i} = f32[4]{{0}} copy(%a{i}), metadata={{op_name="transpose(jvp())/b"}}')
    assert kept(computations("\n".join([*lines, "}"]))) == {1: 120}


def test_of_loops_one_after_the_other_the_larger_counts():
    body = """
%body.{n} (p: f32[4]) -> f32[4] {{
  %a.{n} = f32[{n}]{{0}} copy(%p), metadata={{op_name="jvp(phlox-layer-{n})/a"}}
  ROOT %b.{n} = f32[4]{{0}} copy(%a.{n}), metadata={{op_name="transpose(jvp())/b"}}
}}
"""
    entry = """
ENTRY %main (x: f32[4]) -> f32[4] {
  %w.1 = f32[4]{0} while(%x), condition=%c, body=%body.30
  %h = f32[50]{0} copy(%w.1), metadata={op_name="jvp(phlox-layer-50)/a"}
  %w.2 = f32[4]{0} conditional(%x, %w.1), branch_computations={%body.10, %body.20}
  ROOT %z = f32[4]{0} copy(%h), metadata={op_name="transpose(jvp())/b"}
}
"""
    assert kept(computations(body.format(n=30) + body.format(n=10) + body.format(n=20) + entry)) == {50: 200, 20: 80}


@pytest.mark.parametrize("limit", ["8GB", 0, -1, 2.5])
def test_a_limit_that_is_none(limit):
    with pytest.raises(px.RangeError) as caught:
        px.memory(linear(2, 2), struct(1, 2), limit=limit)
    assert caught.value.got == repr(limit)


def test_the_workspace_of_a_convolution_by_hand():
    text = """
%inner (a: f32[2,8,8,3], b: f32[5,5,3,7]) -> f32[2,8,8,7] {
  %a = f32[2,8,8,3]{3,2,1,0} parameter(0)
  %b = f32[5,5,3,7]{3,2,1,0} parameter(1)
  ROOT %c = f32[2,8,9,7]{3,2,1,0} convolution(%a, %b), window={size=5x5 pad=2_2x2_3}, dim_labels=b01f_01io->b01f
}
"""
    assert workspace(computations(text)) == 4 * (2 * 12 * 13 * 3 + 5 * 5 * 3 * 7)
    assert workspace(computations(PROGRAM)) == 0


# --- what will not fit ---------------------------------------------------------------------------------


def test_it_says_by_how_much(tight, roomy):
    assert roomy.fits
    assert roomy.excess == 0
    assert roomy.check() is roomy
    assert roomy.advice == ()
    assert tight.excess == roomy.total - roomy.total * 3 // 4 > 0
    with pytest.raises(px.NotEnoughMemoryError) as caught:
        tight.check()
    error = caught.value
    assert isinstance(error, MemoryError)
    assert error.where == "step"
    assert error.expected == f"at most {tight.limit / MiB:.1f} MiB for a step on cpu:0"
    assert f"one that needs {tight.total / MiB:.1f} MiB, {tight.excess / MiB:.1f} MiB too much: activ" in error.got
    assert error.fix.startswith("2 micro-batches of 4096: ")


def changed(found):
    """What tries changes of the deep step."""
    model = linear(*[HIDDEN] * 7, act=px.tanh)
    return _Step(step, (model, adam(model), struct(16 * BATCH, HIDDEN)), {}, found)


def test_bfloat16_is_the_step_in_bfloat16(tight):
    model, x = px.bf16(linear(*[HIDDEN] * 7, act=px.tanh)), struct(16 * BATCH, HIDDEN, dtype="bfloat16")
    assert changed(tight).in_bfloat16().total == px.memory(step, model, adam(model), x).total


def test_remat_is_the_step_with_px_remat(tight):
    told = Search(changed(tight).measure, 1, 16 * BATCH).remat()
    assert told.remat == tuple(f"model.layers[{i}]" for i in range(6))

    def with_remat(model, opt, x):
        def loss(model):
            y = x
            for layer in model:
                y = px.remat(lambda layer, y: layer(y))(layer, y)
            return y.sum()

        value, grads = px.value_and_grad(loss)(model)
        opt.update(model, grads)
        return value

    model = linear(*[HIDDEN] * 7, act=px.tanh)
    direct = px.memory(with_remat, model, adam(model), struct(16 * BATCH, HIDDEN))
    assert told.total == direct.total


def accumulated(model, opt, xs):
    def part(total, x):
        return px.map(jnp.add, total, px.grad(lambda model: model(x).sum())(model)), None

    zero = px.map(jnp.zeros_like, px.grad(lambda model: model(xs[0]).sum())(model))
    opt.update(model, px.scan(part, zero, xs)[0])


def test_micro_batches_are_what_adding_up_gradients_needs(tight):
    told = next(a for a in tight.advice if a.micro_batches > 1)
    assert told.micro_batches == 2
    assert told.fits
    model = linear(*[HIDDEN] * 7, act=px.tanh)
    direct = px.memory(accumulated, model, adam(model), struct(2, 8 * BATCH, HIDDEN))
    assert abs(told.total - direct.total) < 0.1 * direct.total


def test_another_rule_is_the_step_with_that_rule(tight):
    told = changed(tight).with_rule(px.optim.Lion(1e-4))
    model = linear(*[HIDDEN] * 7, act=px.tanh)
    lion = px.memory(step, model, px.Optimizer(px.optim.Lion(1e-4), model), struct(16 * BATCH, HIDDEN))
    assert told.total == lion.total
    assert tight.total - told.total >= tight.parameters / 2


def test_more_micro_batches_for_a_smaller_device(roomy):
    found = deep(roomy.total // 3).advice[0]
    assert found.fits
    assert found.micro_batches > 2
    assert found.total <= roomy.total // 3


def test_a_step_that_takes_one_batch_size_only_gets_other_advice():
    def fixed(model, opt, x):
        assert x.shape[0] == BATCH
        return step(model, opt, x)

    model = linear(HIDDEN, HIDDEN, HIDDEN, act=px.tanh)
    advice = px.memory(fixed, model, adam(model), struct(BATCH, HIDDEN), limit=1).advice
    assert advice
    assert not any("micro" in a.change for a in advice)


def test_levels_are_whole_models():
    row = functools.partial(px.loop.MemoryRow, layer="", parameters=1, state=0)
    paths = {"m": 0, "m.stem": 0, "m.blocks[0]": 0, "m.blocks[0].a": 1, "m.blocks[0].b": 1, "m.blocks[1]": 0}
    rows = [row(path=p, activations=n) for p, n in paths.items()] + [row(path="m.head", activations=1)]
    assert levels(rows) == [("m.blocks[0]", "m.head"), ("m.blocks[0].a", "m.blocks[0].b", "m.head")]


def test_a_loop_keeps_for_its_block():
    row = functools.partial(px.loop.MemoryRow, layer="", parameters=1, state=0)
    rows = [row(path=p, activations=n) for p, n in {"m": 0, "m.stack": 9, "m.stack.block": 0, "m.head": 0}.items()]
    assert levels(rows) == [("m.stack",), ("m.stack.block",)]


def test_the_table(tight):
    text = str(tight)
    lines = text.splitlines()
    total, limit, excess = (f"{n / MiB:.1f} MiB" for n in (tight.total, tight.limit, tight.excess))
    assert lines[0] == f"step needs {total}, {excess} more than the {limit} on cpu:0"
    assert lines[1].startswith("= parameters 384.0 KiB + optimiser 768.0 KiB + inputs 4.0 MiB + activations ")
    assert sum("Dense(128 → 128, tanh" in line for line in lines) == 6
    assert any(line.strip().startswith("│ total") and "384.0 KiB" in line for line in lines)
    assert lines[lines.index("what would help:") + 1].startswith("  2 micro-batches of 4096: ")
    assert repr(tight) == text


# --- what there is -------------------------------------------------------------------------------------


def write(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


MEMINFO = {"proc/meminfo": "MemTotal:       100 kB\nMemFree: 1 kB\nMemAvailable:    64 kB\n"}
V2 = "sys/fs/cgroup/"
V1 = "sys/fs/cgroup/memory/"


@pytest.mark.parametrize(
    ("files", "available"),
    [
        ({}, 64 * 1024),
        ({"proc/self/cgroup": "0::/\n", V2 + "memory.max": "max\n", V2 + "memory.current": "9\n"}, 64 * 1024),
        (
            {
                "proc/self/cgroup": "0::/job/step\n",
                V2 + "job/memory.max": "50000\n",
                V2 + "job/memory.current": "20000\n",
                V2 + "job/memory.stat": "anon 5\ninactive_file 1000\n",
                V2 + "job/step/memory.max": "max\n",
                V2 + "job/step/memory.current": "10\n",
            },
            31000,
        ),
        (
            {
                "proc/self/cgroup": "4:cpu:/x\n3:memory,other:/docker/1\n0::/x\n",
                V1 + "memory.limit_in_bytes": "30000\n",
                V1 + "memory.usage_in_bytes": "20000\n",
                V1 + "memory.stat": "inactive_file 7\ntotal_inactive_file 2000\n",
            },
            12000,
        ),
        (
            {
                "proc/self/cgroup": "3:memory:/\n",
                V1 + "memory.limit_in_bytes": "30000\n",
                V1 + "memory.usage_in_bytes": "31000\n",
            },
            0,
        ),
    ],
    ids=["system", "no limit", "version 2", "version 1 in a container", "used up"],
)
def test_control_groups(tmp_path, files, available):
    write(tmp_path, MEMINFO | files)
    assert _available_on_host(tmp_path) == available


def test_memory_in_use_is_that_of_this_process():
    before = px.loop.resident_memory()
    held = np.ones(64 * MiB, np.uint8)
    assert px.loop.resident_memory() - before > 60 * MiB
    assert px.loop.available_memory() > 0
    del held


def test_what_is_there_already_counts_as_room(monkeypatch):
    monkeypatch.setattr(_memory_step, "available_memory", lambda device: 1000)
    x = jnp.ones((8,))
    assert px.memory(lambda x: x.sum(), struct(8)).limit == 1000
    assert px.memory(lambda x, y: (x * y).sum(), x, x).limit == 1000 + x.nbytes
    assert px.memory(lambda x, y: (x * y).sum(), x, x, limit=7, advice=False).limit == 7


# --- what a process takes ------------------------------------------------------------------------------

PROGRAM_FILE = Path(__file__).parent / "memory_in_use.py"


def _taken(name):
    environment = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "JAX_DISABLE_MOST_OPTIMIZATIONS")}
    environment |= {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    command = [sys.executable, str(PROGRAM_FILE), name]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


SIX = ("mlp", "cnn", "lstm", "transformer", "embedding", "remat")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    "name",
    ["small"]
    + [pytest.param(n, marks=pytest.mark.soak) for n in ["mlp", "cnn", "lstm", "transformer", "embedding", "remat"]],
)
def test_a_process_takes_what_was_foretold(name):
    found = _taken(name)
    assert found["used"] > 150 * MiB
    assert abs(found["foretold"] - found["used"]) < 0.1 * found["used"], found["table"]
