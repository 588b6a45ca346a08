"""The twelve patterns that break module systems: line by line = compiled = PyTorch by hand, and what each must keep."""

import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from core._patterns import by_torch
from core._patterns.setups import FOLDER, PATTERNS, STEPS, arrays, double, example, normal, trained
from kit import assert_close, oracle

every = pytest.mark.parametrize("name", list(PATTERNS))


def close(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray], what: str) -> None:
    """Arrays by path equal to rounding in float64, integers and random keys exactly."""
    assert list(ours) == list(theirs), what
    for path, a in ours.items():
        if np.issubdtype(a.dtype, np.floating):
            assert_close(a, theirs[path], what=f"{what} {path}")
        else:
            np.testing.assert_array_equal(a, theirs[path], err_msg=f"{what} {path}")


@pytest.mark.sampled(3)
@every
def test_line_by_line_equals_compiled(name: str):
    eager, compiled = trained(name, False), trained(name, True)
    assert_close(eager.losses, compiled.losses, what="losses")
    for i, (a, b) in enumerate(zip(eager.after, compiled.after, strict=True)):
        close(a, b, f"object {i}")


@every
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "jit"])
def test_the_numbers_are_those_of_pytorch_by_hand(name: str, compiled: bool):
    oracle("torch")
    run = trained(name, compiled)
    with double():
        losses, after = getattr(by_torch, name)(run.before, run.batches)
    assert_close(run.losses, np.array(losses), what="losses")
    for i, theirs in enumerate(after):
        if theirs:
            ours = {k: run.after[i][k] for k in theirs}
            assert set(ours) == set(run.after[i])
            close(ours, theirs, f"object {i}")


STILL = {"gradient_penalty": {"layers.3.bias"}}  # the difference of two scores does not see what is added to both


@every
def test_every_array_moved(name: str):
    run = trained(name, True)
    before, after = run.before[0], run.after[0]
    still = {k for k, v in after.items() if k in before and np.array_equal(before[k], v)}
    assert still == STILL.get(name, set()), "statistics and random keys move in training too"


@every
def test_every_pattern_is_a_short_program(name: str):
    text = (FOLDER / f"{name}.py").read_text("utf-8")
    assert len(text.splitlines()) <= 75
    assert 'if __name__ == "__main__":' in text
    assert f"`{name}.py`" in (FOLDER / "README.md").read_text("utf-8")


@pytest.mark.soak
@every
def test_the_program_runs_and_reports(name: str):
    run = subprocess.run([sys.executable, "-W", "error", FOLDER / f"{name}.py"], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert len(run.stdout.splitlines()) >= 2
    assert "nan" not in run.stdout


# --- 2: the teacher -----------------------------------------------------------------------------


@pytest.mark.parametrize("compiled", [False, True])
def test_a_captured_teacher_infers_and_stands_still(compiled: bool):
    run = trained("distillation", compiled)
    for path, value in run.before[2].items():
        np.testing.assert_array_equal(value, run.after[2][path], err_msg=path)


def test_px_jit_takes_the_teacher_as_an_argument_or_as_a_constant():
    program = example("distillation")
    with double():
        found = []
        for form in ("argument", "constant", "captured"):
            (student, opt, teacher), batches = PATTERNS["distillation"](program, 2)
            wise = px.constant(teacher) if form == "constant" else teacher
            step = px.jit(lambda s, o, x, y, wise=wise: program.train_step(s, o, wise, x, y))
            if form == "argument":
                step = px.jit(program.train_step)
                losses = [step(student, opt, teacher, *b) for b in batches]
            elif form == "constant":
                losses = [step(student, opt, *b) for b in batches]
            else:
                before = arrays(student)
                with pytest.raises(
                    px.CaptureError, match=r"teacher Chain expects .*px\.jit.*\n  fix: .*px\.constant\(teacher\)"
                ):
                    step(student, opt, *batches[0])
                close(arrays(student), before, "the student after the error")
                continue
            found.append(np.array(losses))
        assert_close(found[0], found[1])


# --- 3: the copy --------------------------------------------------------------------------------


def test_an_average_that_shares_arrays_with_the_model_survives_donation():
    program = example("averaged_copy")
    with double():
        (model, average, opt), batches = PATTERNS["averaged_copy"](program, 1)
        start = arrays(model)
        untouched = px.copy(model)
        assert all(a is b for a, b in zip(px.state_dict(model).values(), px.state_dict(average).values(), strict=True))
        px.jit(program.train_step)(model, average, opt, *batches[0])
        close(arrays(untouched), start, "a copy that no step received")


# --- 5: through an update -----------------------------------------------------------------------


def test_the_gradient_through_an_update_is_that_of_the_written_out_function():
    # With loss (w x - y)² one step gives w' = w - 2 r x (w x - y), and d loss(w')/dw = 2 x' (w' x' - y') (1 - 2 r x²).
    program = example("maml")
    with double():
        w, x, y, x_held, y_held, r = 1.5, 0.7, 2.0, -1.1, 0.3, 0.1
        line = px.Dense.of(jnp.full((1, 1), w))
        column = lambda v: jnp.full((1, 1), v)  # noqa: E731
        grads = px.grad(
            lambda m: program.mse(program.adapted(m, column(x), column(y), r), column(x_held), column(y_held))
        )
        fast = w - 2 * r * x * (w * x - y)
        want = 2 * x_held * (fast * x_held - y_held) * (1 - 2 * r * x**2)
        assert_close(grads(line).weight, np.full((1, 1), want), kind="grad")
        assert line.weight.item() == w


def test_an_update_by_map_is_the_update_of_an_optimiser():
    program = example("maml")
    with double():
        (model, _), batches = PATTERNS["maml"](program, 1)
        (x, y), (x_held, y_held) = jax.tree.map(lambda v: jnp.asarray(v[0]), batches[0])

        def by_map(model: px.Module) -> Any:
            fast = px.map(lambda w, g: w - 0.1 * g, model, px.grad(program.mse)(px.copy(model), x, y))
            return program.mse(fast, x_held, y_held)

        ours = px.grad(lambda m: program.mse(program.adapted(m, x, y), x_held, y_held))(model)
        close(arrays(px.grad(by_map)(model)), arrays(ours), "gradient")


# --- 7, 9: randomness ---------------------------------------------------------------------------


def test_the_key_of_a_captured_cell_advances_once_a_time_step():
    program = example("recurrent_dropout")
    with double():
        (model, _), [(x, y)] = PATTERNS["recurrent_dropout"](program, 1)
        want = model.cell.drop.key
        px.grad(lambda m: px.losses.mse(m(x), y))(model)
        for _ in range(x.shape[1]):
            want = jax.random.split(want)[0]
        assert (jax.random.key_data(model.cell.drop.key) == jax.random.key_data(want)).all()


def test_an_ensemble_is_its_members_trained_one_by_one():
    program = example("ensemble")
    run = trained("ensemble", True)
    with double():
        for i, key in enumerate(jax.random.split(jax.random.key(0), 3)):
            model, opt = program.make(key)
            losses = [program.train_step(model, opt, x[i], y[i]) for x, y in run.batches]
            assert_close(run.losses[:, i], np.array(losses))
            for alone, together in ((model, run.after[0]), (opt, run.after[1])):
                close({k: v[i] for k, v in together.items()}, arrays(alone), f"member {i}")


# --- 10: nested derivatives ---------------------------------------------------------------------


def test_second_derivatives_agree_however_they_are_nested():
    program = example("pinn")
    with double():
        (model, _), _ = PATTERNS["pinn"](program, 0)
        t, x = jnp.array(0.3), jnp.array(0.7)

        def u(t: Any, x: Any) -> Any:
            return model(jnp.stack([t, x]))[0]

        _, bent = px.jvp(px.grad(u, argnums=1), (t, x), (None, 1.0))
        for other in (px.hessian(u, 1)(t, x), px.grad(px.grad(u, 1), 1)(t, x), px.jacobian(px.jacobian(u, 1), 1)(t, x),
                      px.hvp(lambda x: u(t, x), x, jnp.ones(()))[1]):  # fmt: skip
            assert_close(other, bent, kind="grad")
        h = 1e-4  # a central difference, of second order in h
        slope = (u(t, x + h) - 2 * u(t, x) + u(t, x - h)) / h**2
        np.testing.assert_allclose(bent, slope, rtol=1e-5, atol=1e-6)


# --- 11: one Module at two paths ----------------------------------------------------------------


@pytest.mark.parametrize("compiled", [False, True])
def test_what_is_tied_stays_tied(compiled: bool):
    program = example("tied_embeddings")
    with double():
        (model, opt), [(tokens, after)] = PATTERNS["tied_embeddings"](program, 1)
        step = px.jit(program.train_step) if compiled else program.train_step
        step(model, opt, tokens, after)
        assert model.scores.table is model.table
        grads = px.grad(lambda m: px.losses.cross_entropy(m(tokens), after))(model)
        assert grads.scores.table is grads.table
        assert [k for k in px.state_dict(model) if k.endswith("table.weight")] == ["table.weight"]
        for name in "mv":
            assert list(opt.slot(name)) == list(px.state_dict(model)), "Adam's m and v, once"

        loaded = program.Language(7, 4)
        assert px.load_state_dict(loaded, px.state_dict(model)).complete
        assert loaded.scores.table is loaded.table
        same = px.load_state_dict(px.Optimizer(px.optim.Adam(1e-2), loaded), px.state_dict(opt))
        assert same.complete
        close({"y": np.asarray(loaded(tokens))}, {"y": np.asarray(model(tokens))}, "loaded")
        for other in (px.copy(model), px.map(lambda v: 2 * v, model), px.jit(lambda m: m)(model)):
            assert other.scores.table is other.table


# --- 12: surgery and freezing -------------------------------------------------------------------


@pytest.mark.parametrize("compiled", [False, True])
def test_a_frozen_trunk_stands_still_and_the_optimiser_says_when_it_must_be_synced(compiled: bool):
    program = example("frozen_trunk")
    with double():
        (model, opt, head), batches = PATTERNS["frozen_trunk"](program, STEPS)
        step = px.jit(program.train_step) if compiled else program.train_step
        step(model, opt, *batches[0])
        px.freeze(model.trunk)
        model.head = head
        before = arrays(model)
        with pytest.raises(px.StructureError) as error:
            step(model, opt, *batches[-1])
        assert "new or changed ones at head" in str(error.value)
        assert "opt.sync(model)" in str(error.value)
        close(arrays(model), before, "after the refused step")
        opt.sync(model)
        velocity = opt.slot("velocity")
        assert {k: v.shape for k, v in velocity.items()} == {"head.weight": (5, 2), "head.bias": (2,)}
        assert not any(v.any() for v in velocity.values()), "fresh"
        step(model, opt, *batches[-1])
        after = arrays(model)
        still = {k for k in before if np.array_equal(before[k], after[k])}
        assert still == {k for k in before if k.startswith("trunk.")}
        grads = px.grad(lambda m: px.losses.cross_entropy(m(normal(0, 8, 2)), batches[-1][1]))(model)
        assert list(px.state_dict(grads)) == ["head.weight", "head.bias"]
