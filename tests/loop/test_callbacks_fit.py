"""Callbacks through px.fit: what they compute, and that a resumed run is the run that was never interrupted."""

import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import oracle

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 4)).astype("float32")
Y = (X @ RNG.normal(size=(4, 1)) + 0.1 * RNG.normal(size=(40, 1))).astype("float32")


def a_model():
    with px.seed(1):
        return px.Chain(body=px.Dense(4, 6, px.tanh), norm=px.BatchNorm(6), head=px.Dense(6, 1))


def trained(callbacks, model=None, rule=None, **options):
    """A model trained for some epochs of 5 steps, and its history."""
    model = a_model() if model is None else model
    options = dict(epochs=2, batch_size=8, progress=False, validation_data=(X[:16], Y[:16])) | options
    history = px.fit(
        model, (X, Y), loss=px.losses.mse, optimizer=rule or px.optim.Adam(0.01), callbacks=callbacks, **options
    )
    return model, history


class Weights(px.Callback):
    """Notes the weights after every step."""

    def __init__(self):
        self.seen = []

    def on_step_end(self, run):
        self.seen.append({path: np.asarray(v) for path, v in px.split(run.model)[0].items()})


@pytest.mark.parametrize("multi_step", [1, 3])
def test_ema_is_pytorchs_average_of_the_weights_of_every_step(multi_step):
    torch = oracle("torch")
    weights, ema = Weights(), px.EMA(0.8)
    trained([weights], multi_step=1)
    model, _ = trained([ema], multi_step=multi_step)
    function = torch.optim.swa_utils.get_ema_multi_avg_fn(0.8)
    for path, held in px.split(ema.model)[0].items():
        average = [torch.tensor(weights.seen[0][path])]
        for step in weights.seen[1:]:
            function(average, [torch.tensor(step[path])], None)
        np.testing.assert_allclose(held, average[0].numpy(), rtol=1e-5, atol=1e-6)
    assert ema.model["norm"].mean is model["norm"].mean  # State is the model's


def test_validation_looks_at_the_average_and_training_goes_on_from_the_weights():
    plain, without = trained([])
    ema = px.EMA(0.9)
    model, history = trained([ema])
    np.testing.assert_array_equal(model["head"].weight, plain["head"].weight)
    assert history["loss"] == without["loss"]
    expected = float(px.losses.mse(ema.model(X[:16]), Y[:16]))
    assert history["val_loss"][-1] == pytest.approx(expected, rel=1e-5)
    assert history["val_loss"][-1] != without["val_loss"][-1]
    written, _ = trained([px.EMA(0.9, write=True)])
    np.testing.assert_array_equal(written["head"].weight, ema.model["head"].weight)


def test_swa_averages_the_ends_of_epochs_and_works_statistics_out_anew():
    weights, swa = Weights(), px.SWA(1)
    model, _ = trained([weights, swa], epochs=4)
    for path, held in px.split(model)[0].items():
        np.testing.assert_allclose(held, np.mean([weights.seen[n][path] for n in (9, 14, 19)], 0), rtol=1e-5, atol=1e-6)
    hidden = model["body"](jnp.asarray(X))
    np.testing.assert_allclose(model["norm"].mean, hidden.mean(0), rtol=1e-4, atol=1e-5)


def test_parts_are_thawed_at_their_epochs():
    weights = Weights()
    model = a_model()
    start = {path: np.asarray(v) for path, v in px.split(model)[0].items()}
    trained([px.GradualUnfreezing({0: "layers.head", 1: ["layers.body", "layers.norm"]}), weights], model, epochs=2)
    assert sorted(weights.seen[4]) == ["layers.head.bias", "layers.head.weight"]
    assert sorted(weights.seen[9]) == sorted(start)
    moved = np.abs(weights.seen[5]["layers.body.weight"] - start["layers.body.weight"])
    np.testing.assert_allclose(moved, 0.01, rtol=1e-2)  # Adam's first step of fresh state is the learning rate
    with pytest.raises(px.StructureError, match="tail"):
        trained([px.GradualUnfreezing({0: "layers.head", 1: "tail"})])
    with pytest.raises(px.RangeError, match="a part to train from epoch 0 on"):
        px.GradualUnfreezing({1: "head"})


def test_early_stopping_ends_fit_and_gives_the_best_weights():
    weights = Weights()
    stopping = px.EarlyStopping("loss", patience=2, min_delta=10.0, restore_best=True)
    model, history = trained([weights, stopping], epochs=9)
    assert len(history) == 3
    assert history.reason.endswith("since epoch 1")
    np.testing.assert_array_equal(model["head"].weight, weights.seen[4]["layers.head.weight"])


def test_a_plateau_lowers_the_rate_within_fit():
    _, history = trained([px.ReduceOnPlateau("loss", 0.5, patience=1, threshold=9.0, absolute=True)], epochs=4)
    np.testing.assert_allclose(history["learning_rate"], [0.01, 0.01, 0.005, 0.005], rtol=1e-6)


def test_a_time_limit_ends_fit():
    _, history = trained([px.TimeLimit(1e-6)], epochs=50)
    assert len(history) == 1
    assert history.reason == "time limit of 1e-06 s"


def test_functions_see_the_run():
    seen = []
    trained([px.LambdaCallback(on_epoch_end=lambda run: seen.append((run.epoch, run.step, "val_loss" in run.logs)))])
    assert seen == [(0, 5, True), (1, 10, True)]


@pytest.mark.parametrize("multi_step", [1, 4])
def test_the_first_nan_names_its_layer_and_leaves_the_model_as_it_was(multi_step):
    good, bad = jnp.ones((2, 2)), jnp.array([[1.0, 1.0], [-1.0, -1.0]])
    batches = [(x, jnp.zeros((2, 1))) for x in (good, good, bad, good)]

    def model():
        return px.Chain(px.Dense.of(jnp.eye(2), None), jnp.log, px.Dense.of(jnp.ones((2, 1)), jnp.ones(1)))

    options = dict(loss=px.losses.mse, optimizer=px.optim.Descent(0.1), progress=False, multi_step=multi_step)
    expected, ours = model(), model()
    px.fit(expected, batches[:2], **options)
    with pytest.raises(px.NonFiniteError, match=r"px.fit, epoch 1: model.layers\[2\] Dense\(2 → 1\) expects finite"):
        px.fit(ours, batches, callbacks=[px.StopOnNonFinite()], **options)
    for path, value in px.state_dict(expected).items():
        np.testing.assert_array_equal(px.state_dict(ours)[path], value)


def test_the_step_of_ones_own_is_watched_too():
    def step(model, opt, x, y):
        return jnp.log(-x).sum()

    with pytest.raises(px.NonFiniteError, match="a loss of nan from your own step"):
        px.fit(
            px.Dense(1, 1), [(jnp.ones((1, 1)), jnp.ones(1))], step=step, optimizer=px.optim.Descent(0.1),
            callbacks=[px.StopOnNonFinite()], progress=False,
        )  # fmt: skip


@pytest.mark.parametrize(
    "make",
    [
        lambda: [px.EMA(0.9, write=True), px.ReduceOnPlateau("loss", 0.5, patience=1, threshold=9.0, absolute=True)],
        lambda: [
            px.GradualUnfreezing({0: "layers.head", 1: "layers.norm", 3: "*"}),
            px.SWA(2, learning_rate=0.005, anneal=2),
        ],
    ],
    ids=["ema and plateau", "unfreezing and swa"],
)
def test_a_resumed_run_is_the_whole_run(make, tmp_path):
    whole, history = trained(make(), epochs=4)
    folder = dict(checkpoint_dir=tmp_path)
    interruption = px.LambdaCallback(on_epoch_start=lambda run: run.epoch == 2 and raise_(KeyboardInterrupt()))
    _, broken_off = trained([*make(), interruption], epochs=4, **folder)
    assert broken_off.interrupted
    assert broken_off.epochs == history.epochs[:2]
    resumed, again = trained(make(), epochs=4, resume=True, **folder)
    assert again.epochs == history.epochs
    for path, value in px.state_dict(whole).items():
        np.testing.assert_array_equal(px.state_dict(resumed)[path], value)


def raise_(error):
    raise error


def test_a_gradient_that_is_not_finite_by_an_infinite_input_is_named():
    """Every layer gives finite numbers: tanh of infinity is 1, and its slope there is 0."""
    model = px.Chain(px.Dense.of(jnp.ones((2, 1)), None, px.tanh), px.Dense.of(jnp.ones((1, 1)), None))
    batches = [(jnp.ones((1, 2)), jnp.ones((1, 1))), (jnp.array([[jnp.inf, 1.0]]), jnp.ones((1, 1)))]
    options = dict(loss=px.losses.mse, optimizer=px.optim.Descent(0.1), progress=False)
    with pytest.raises(px.NonFiniteError) as caught:
        px.fit(model, batches, callbacks=[px.StopOnNonFinite()], **options)
    told = "px.fit, epoch 1: layers.0.weight expects finite values, got NaN or infinity in the gradient of it, though"
    assert str(caught.value).startswith(told)
