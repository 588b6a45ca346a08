"""The compile cache, counted by JAX's own events in processes of their own: a warm start compiles nothing."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

import phlox as px
from kit import AS_USERS_COMPILE

SOURCE = Path(px.__file__).resolve().parents[1]  # the processes run the package that is tested here

# Runs a script while counting what the cache gives and what it lacks; prints the counts as the last line.
COUNTED = """
import jax, json, os, runpy, sys
found = {"hits": 0, "misses": 0, "compiled": 0}
EVENTS = {"/jax/compilation_cache/cache_hits": "hits", "/jax/compilation_cache/cache_misses": "misses"}
def count(event, **_):
    if event in EVENTS:
        found[EVENTS[event]] += 1
jax.monitoring.register_event_listener(count)
"""

TRAINING = """
import jax.numpy as jnp, phlox as px
px.seed(0)
model = px.Chain(px.Dense(3, 8, px.relu), px.BatchNorm(8), px.Dropout(0.1), px.Dense(8, 1))
opt = px.Optimizer(px.optim.Adam(1e-2), model)
x, y = jnp.linspace(-1, 1, 36).reshape(12, 3), jnp.ones((12, 1))

@px.jit
def step(model, opt, x, y):
    loss, grads = px.value_and_grad(lambda m: px.losses.mse(m(x), y))(model)
    opt.update(model, grads)
    return loss

for _ in range(3):
    loss = step(model, opt, x, y)
eager = px.grad(lambda m: px.losses.mse(m(x), y))(model)
opt.update(model, eager)
print(float(loss).hex())
"""


def run(script, *arguments, **environment):
    """The last two lines of what a script prints, counted."""
    env = {k: v for k, v in os.environ.items() if k not in ("PHLOX_COMPILE_CACHE", "JAX_COMPILATION_CACHE_DIR")}
    env |= {"PYTHONPATH": str(SOURCE), "JAX_PLATFORMS": "cpu", **AS_USERS_COMPILE, **environment}
    code = COUNTED + dedent(script) + "\nprint(json.dumps(found))"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], env=env, capture_output=True, text=True, timeout=400
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    return lines[-2] if len(lines) > 1 else "", json.loads(lines[-1]), done.stderr


def files(folder):
    return sorted(p.name for p in folder.rglob("*")) if folder.exists() else []


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """What a training printed and counted whose programs are in the cache, and the folder of that."""
    folder = tmp_path_factory.mktemp("cold") / "deep" / "cache"
    return *run(TRAINING, PHLOX_COMPILE_CACHE=str(folder))[:2], folder


def test_a_warm_start_compiles_nothing(trained):
    first, cold, folder = trained
    assert cold["misses"] > 0
    kept = files(folder)
    assert "phlox-compile-cache" in kept
    assert sum(name.endswith("-cache") and name != "phlox-compile-cache" for name in kept) == cold["misses"]
    again, warm, errors = run(TRAINING, PHLOX_COMPILE_CACHE=str(folder))
    assert warm["misses"] == 0
    assert warm["hits"] > 0
    assert again == first  # the same program gives the same number to the last bit
    assert files(folder) == kept
    assert errors == ""


@pytest.mark.soak
def test_the_quickstart_starts_warm(tmp_path):
    for needed in ("matplotlib", "sklearn"):
        if importlib.util.find_spec(needed) is None:
            pytest.skip(f"{needed} is not installed")
    script = """
        sys.argv = ["phlox", "quickstart", "--epochs", "1", "--out", sys.argv[1]]
        try:
            runpy.run_module("phlox", run_name="__main__")
        except SystemExit as end:
            assert not end.code, end.code
        print()
    """
    folder = tmp_path / "cache"
    _, cold, _ = run(script, str(tmp_path / "a"), PHLOX_COMPILE_CACHE=str(folder))
    _, warm, _ = run(script, str(tmp_path / "b"), PHLOX_COMPILE_CACHE=str(folder))
    assert cold["misses"] > 0
    assert warm["misses"] == 0
    assert warm["hits"] > 0
    weights = [(tmp_path / run / "model.safetensors").read_bytes() for run in "ab"]
    assert weights[0] == weights[1]


@pytest.mark.parametrize("word", ["OFF", "0"])
def test_turned_off_the_folder_stays_untouched(tmp_path, word):
    script = """
        import jax.numpy as jnp, phlox as px
        px.jit(lambda x: x + 1)(jnp.ones(3))
        print(jax.config.jax_compilation_cache_dir)
    """
    configured, counts, _ = run(script, PHLOX_COMPILE_CACHE=word, XDG_CACHE_HOME=str(tmp_path / "home"))
    assert configured == "None"
    assert counts["misses"] == counts["hits"] == 0
    assert files(tmp_path) == []


def test_the_folder_is_the_users_cache_folder_by_default(tmp_path):
    script = """
        import jax.numpy as jnp, phlox as px
        px.jit(lambda x: x + 1)(jnp.ones(3))
        print(jax.config.jax_compilation_cache_dir)
    """
    folder = tmp_path / "home" / "phlox" / "xla"
    configured, counts, _ = run(script, XDG_CACHE_HOME=str(tmp_path / "home"))
    assert configured == str(folder)
    assert counts["misses"] == len(files(folder)) - 1 > 0
    assert folder.stat().st_mode & 0o077 == 0  # JAX runs what it finds there, so nobody else may write


def test_jaxs_own_setting_stands(tmp_path):
    script = """
        import jax.numpy as jnp, phlox as px
        px.jit(lambda x: x + 1)(jnp.ones(3))
        print(jax.config.jax_compilation_cache_dir, jax.config.jax_persistent_cache_min_compile_time_secs)
    """
    own, ours = tmp_path / "jax", tmp_path / "phlox"
    configured, _, _ = run(script, JAX_COMPILATION_CACHE_DIR=str(own), PHLOX_COMPILE_CACHE=str(ours))
    assert configured == f"{own} 1.0"
    assert not ours.exists()
    assert "phlox-compile-cache" not in files(own)


def test_on_off_and_elsewhere_while_running(tmp_path):
    script = """
        import jax.numpy as jnp, phlox as px
        from pathlib import Path
        a, b = Path(sys.argv[1]) / "a", Path(sys.argv[1]) / "b"
        count = lambda p: len(list(p.glob("*"))) - 1 if p.exists() else -1
        jnp.ones(2) + 1                                  # JAX has compiled before the cache is there
        seen = [px.compile_cache(a) == a]
        px.jit(lambda x: x * 3)(jnp.ones(3)); seen.append(count(a) > 0)
        before = count(a)
        seen.append(px.compile_cache(False) is None)
        px.jit(lambda x: x * 5)(jnp.ones(5)); seen.append(count(a) == before)
        seen.append(px.compile_cache(str(b)) == b)
        px.jit(lambda x: x * 7)(jnp.ones(7)); seen += [count(a) == before, count(b) > 0]
        print(seen)
    """
    seen, _, _ = run(script, str(tmp_path), PHLOX_COMPILE_CACHE="off")
    assert seen == str([True] * 7)


def test_clearing_takes_only_what_the_cache_wrote(tmp_path):
    folder = tmp_path / "cache"
    folder.mkdir()
    mine = {"notes.txt": "keep", "model-cache": "keep", "weights-0123-cache": "keep"}
    for name, content in mine.items():
        (folder / name).write_text(content)
    (folder / "data").mkdir()
    (folder / "data" / "x.npy").write_text("keep")
    script = """
        import jax.numpy as jnp, phlox as px
        px.jit(lambda x: x + 1)(jnp.ones(3))
        print(px.clear_compile_cache(), px.clear_compile_cache())
    """
    removed, counts, _ = run(script, PHLOX_COMPILE_CACHE=str(folder))
    assert removed == f"{counts['misses']} 0"
    assert counts["misses"] > 0
    assert files(folder) == sorted([*mine, "data", "x.npy", "phlox-compile-cache"])


def test_a_folder_that_is_not_ours_is_not_cleared(tmp_path):
    other = tmp_path / ("jit_f-" + "0" * 64 + "-cache")
    other.write_text("keep")
    script = "import phlox as px\nprint(px.clear_compile_cache())"
    assert run(script, JAX_COMPILATION_CACHE_DIR=str(tmp_path))[0] == "0"
    assert other.read_text() == "keep"


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("no folder")
    script = """
        import jax.numpy as jnp, phlox as px
        print(float(px.jit(lambda x: x + 1)(jnp.ones(()))), px.compile_cache())
    """
    value, counts, errors = run(script, PHLOX_COMPILE_CACHE=str(tmp_path / "file" / "cache"))
    assert value == "2.0 None"
    assert counts["misses"] == counts["hits"] == 0
    assert errors == ""


def test_a_damaged_entry_is_compiled_again(trained, tmp_path):
    first, _, folder = trained
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    for entry in tmp_path.glob("jit_*-cache"):
        entry.write_bytes(entry.read_bytes()[:20])
    again, _, errors = run(TRAINING, PHLOX_COMPILE_CACHE=str(tmp_path))
    assert again == first
    assert errors == ""


def test_memory_is_told_by_layer_where_the_step_itself_is_in_the_cache(tmp_path):
    script = """
        import jax.numpy as jnp, phlox as px
        model, x = px.Chain(px.Dense(64, 256, px.tanh, key=0), px.Dense(256, 8, key=1)), jnp.ones((512, 64))
        step = px.jit(lambda model, x: px.grad(lambda m: jnp.sum(m(x) ** 2))(model))
        step(model, x)
        print({row.path: row.activations for row in px.memory(step, model, x).rows})
    """
    alone, counted, _ = run(script, PHLOX_COMPILE_CACHE="off")
    assert counted["hits"] == 0
    cold, _, _ = run(script, PHLOX_COMPILE_CACHE=str(tmp_path))
    warm, counted, _ = run(script, PHLOX_COMPILE_CACHE=str(tmp_path))
    assert counted["hits"] > 0
    assert "'model.layers[0]': 524288" in alone
    assert cold == warm == alone
