"""Averages over schedules and padding, losses in float64, and what people see."""

import io
import math
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import oracle
from loop.loops import batches, mlp
from phlox.loop.logs._notebook_bar import NotebookBar

X, Y = (np.concatenate(part) for part in zip(*batches(4, size=5), strict=True))
SETTINGS = dict(loss=px.losses.cross_entropy, progress=False)


# --- SWA over a schedule ------------------------------------------------------------------------------


@pytest.mark.parametrize("chained", [False, True])
def test_swa_anneals_a_schedule_as_torch_does(tmp_path, chained):
    def make():
        descent = px.optim.Descent(px.optim.cosine_annealing(0.5, 20))
        return px.optim.chain(px.optim.ClipGlobalNorm(1.0), descent) if chained else descent

    def callbacks(seen):
        note = px.LambdaCallback(on_epoch_start=lambda run: seen.append(float(run.opt.numbers()["learning_rate"])))
        return [px.SWA(start=4, learning_rate=0.05, anneal=3), note]

    torch = oracle("torch")
    theirs = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    start = 0.5 * (1 + math.cos(math.pi * 8 / 20)) / 2
    schedule = [0.5 * (1 + math.cos(math.pi * 2 * e / 20)) / 2 for e in range(4)]
    theirs.param_groups[0]["lr"] = start
    annealed = torch.optim.swa_utils.SWALR(theirs, swa_lr=0.05, anneal_epochs=3, anneal_strategy="cos")
    expected = []
    for _ in range(4):
        expected.append(theirs.param_groups[0]["lr"])
        theirs.step()
        annealed.step()
    options = dict(epochs=8, batch_size=10, **SETTINGS)
    seen = []
    history = px.fit(mlp(), (X, Y), optimizer=make(), callbacks=callbacks(seen), **options)
    np.testing.assert_allclose(seen, [*schedule, *expected], rtol=1e-5)
    rule = history.optimizer.rule.rules[1] if chained else history.optimizer.rule
    assert rule.learning_rate(7) == px.optim.cosine_annealing(0.5, 20)(7)  # as it was
    cut, rest = [], []
    px.fit(
        mlp(), (X, Y), optimizer=make(), callbacks=callbacks(cut), checkpoint_dir=tmp_path, **{**options, "epochs": 5}
    )
    px.fit(mlp(), (X, Y), optimizer=make(), callbacks=callbacks(rest), checkpoint_dir=tmp_path, resume=True, **options)
    np.testing.assert_allclose([*cut, *rest], seen, rtol=1e-6)


def test_swa_refuses_a_schedule_without_a_length():
    class Endless:
        def __iter__(self):
            return iter(batches(2))

    with pytest.raises(px.StructureError, match=r"data that knows how many batches it has.*got data without a length"):
        px.fit(mlp(), Endless(), optimizer=px.optim.Adam(lambda step: 0.1), callbacks=[px.SWA(0, 0.05)], **SETTINGS)


# --- padding ------------------------------------------------------------------------------------------


def test_statistics_of_batch_norm_with_a_padded_last_batch():
    torch = oracle("torch")
    for padded in (False, True):
        norm = px.BatchNorm(4)
        px.update_batch_norm(norm, px.DataLoader((X, Y), 8, pad_last=padded))  # 8, 8 and 4 of 8
        theirs = torch.nn.BatchNorm1d(4)
        torch.optim.swa_utils.update_bn([torch.tensor(X[i : i + 8]) for i in (0, 8, 16)], theirs)
        np.testing.assert_allclose(norm.mean, theirs.running_mean, rtol=1e-5, atol=1e-6, err_msg=str(padded))
        np.testing.assert_allclose(norm.var, theirs.running_var, rtol=1e-5, atol=1e-6, err_msg=str(padded))


def test_swa_with_a_padded_last_batch():
    def build():
        with px.seed(0):
            return px.Chain(px.Dense(4, 3), px.BatchNorm(3))

    found = []
    for padded in (False, True):
        model = build()
        loader = px.DataLoader((X, Y), 8, pad_last=padded)
        px.fit(model, loader, optimizer=px.optim.Descent(1e-30), callbacks=[px.SWA(0)], epochs=2, **SETTINGS)
        found.append(model[1].mean)
    hidden = X @ np.asarray(build()[0].weight)
    by_hand = np.mean([hidden[i : i + 8].mean(0) for i in (0, 8, 16)], axis=0)
    np.testing.assert_allclose(found[0], by_hand, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found[1], by_hand, rtol=1e-4, atol=1e-6)


# --- float64 ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("accumulate", [1, 2])
def test_losses_of_float64_are_not_rounded(accumulate):
    with jax.enable_x64(True):
        x = np.random.default_rng(0).normal(size=(4, 1))
        data = [(x[:2], x[:2] * 3), (x[2:], x[2:] * 3)]
        model = px.f64(px.Dense.of(jnp.zeros((1, 1)), None))
        history = px.fit(model, data, loss=lambda p, t: (px.losses.mse(p, t), {"also": px.losses.mse(p, t)}),
                         optimizer=px.optim.Descent(0.0625), accumulate=accumulate, progress=False)  # fmt: skip
    first = 9 * (x[:2] ** 2).mean()
    mean = 9 * (x**2).mean()
    assert history.losses.dtype == np.float64
    np.testing.assert_allclose(history.losses[0], first if accumulate == 1 else mean, rtol=1e-14)
    if accumulate == 2:
        np.testing.assert_allclose(history["loss"][0], mean, rtol=1e-14)


# --- what people see ----------------------------------------------------------------------------------


def test_the_bar_says_nothing_of_a_loss_before_the_first(monkeypatch):
    bar = px.ProgressBar("plain")
    assert bar._numbers(px.Run(px.Dense(1, 1), None)).startswith("loss") is False


def test_a_bar_in_a_notebook_needs_ipython_alone(monkeypatch, capsys):
    shown = []

    class Handle:
        def update(self, data, raw):
            shown.append(data["text/plain"])

    def display(data, raw, display_id):
        shown.append(data["text/plain"])
        return Handle()

    fake = types.ModuleType("IPython.display")
    fake.display = display
    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", fake)
    monkeypatch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))
    monkeypatch.setattr("phlox.loop.logs._display._EVERY", 0.0)
    px.fit(mlp(), (X, Y), optimizer=px.optim.Adam(), batch_size=5, epochs=2, validation_data=(X, Y), multi_step=1,
           loss=px.losses.cross_entropy)  # fmt: skip
    assert shown[0] == "epoch 1/2  ────────────────────────  0/4"
    assert any("  validation  ━" in text for text in shown)
    assert not any("nan" in text for text in shown)
    assert any(text.startswith("epoch 2/2  ━━━━━━━━━━━━────────────  2/4  loss ") for text in shown)
    assert shown[-1] == ""
    out = capsys.readouterr()
    assert out.out.startswith("epoch 1/2  loss ")
    bar = NotebookBar()
    bar._task = {"description": "epoch 1", "total": None, "completed": 3, "numbers": "loss 1"}
    assert bar.text() == "epoch 1  ────────────────────────  3/?  loss 1"


def test_a_picture_of_the_history_shows_itself():
    history = px.History()
    for n in range(2):
        history.add_epoch({"epoch": n, "loss": 1.0 / (n + 1), "confusion": np.zeros((2, 2))})
    figure = history.plot()
    assert figure._repr_png_().startswith(b"\x89PNG")
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["loss"]
    text = io.StringIO()
    print(history, file=text)
    assert [line.split()[0] for line in text.getvalue().splitlines()] == ["epoch", "1", "2"]
