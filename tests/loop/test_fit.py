"""fit against loops by hand, closed forms and PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kit
import phlox as px
from loop.loops import arrays, batches, by_hand, dropping, mlp

QUIET = {"progress": False}


def joined(data):
    return tuple(np.concatenate(part) for part in zip(*data, strict=True))


def test_arrays_are_shuffled_by_the_seed_and_a_filled_up_batch_changes_nothing():
    x, y = joined(batches(4, size=5))  # 20 examples in batches of 6: the last has 2
    model, hand = mlp(), mlp()
    opt = px.Optimizer(px.optim.Adam(1e-2), hand)
    loader = px.DataLoader((x, y), 6, shuffle=True, seed=3)
    losses = [by_hand(hand, opt, loader) for _ in range(2)]  # its last batch is shorter
    history = px.fit(
        model,
        (x, y),
        loss=px.losses.cross_entropy,
        optimizer=px.optim.Adam(1e-2),
        epochs=2,
        batch_size=6,
        seed=3,
        metrics={"accuracy": px.metrics.Accuracy()},
        **QUIET,
    )
    for path, v in arrays(hand).items():
        kit.assert_close(arrays(model)[path], v, what=path)
    expected = [np.average(row, weights=[6, 6, 6, 2]) for row in losses]
    np.testing.assert_allclose(history["loss"], expected, rtol=1e-6)
    assert [row["step"] for row in history] == [4, 8]
    again = mlp()
    px.fit(again, (x, y), loss=px.losses.cross_entropy, optimizer=px.optim.Adam(1e-2), epochs=2, batch_size=6, seed=3,
           metrics={"accuracy": px.metrics.Accuracy()}, **QUIET)  # fmt: skip
    for path, v in arrays(model).items():
        np.testing.assert_array_equal(arrays(again)[path], v)


def test_metrics_and_validation_count_each_example_once():
    x, y = joined(batches(4, size=5))
    model = mlp()
    history = px.fit(
        model, (x, y), loss=px.losses.cross_entropy, optimizer=px.optim.Descent(1e-30), batch_size=8,
        metrics=px.metrics.Accuracy(), validation_data=(x[:11], y[:11]), **QUIET,
    )  # fmt: skip
    z = np.asarray(model(x))
    right = z.argmax(-1) == y
    each = np.asarray(jax.nn.logsumexp(z, axis=-1)) - z[np.arange(20), y]
    row = history.epochs[0]
    assert row["accuracy"] == pytest.approx(right.mean())
    assert row["val_accuracy"] == pytest.approx(right[:11].mean())
    assert row["loss"] == pytest.approx(each.mean(), rel=1e-5)
    assert row["val_loss"] == pytest.approx(each[:11].mean(), rel=1e-5)


def test_evaluation_infers_and_changes_nothing():
    model, (x, y) = dropping(), joined(batches(3))
    before = arrays(model)
    with px.training(True):  # somebody left it on
        found = px.evaluate(
            model, (x, y), loss=px.losses.cross_entropy, metrics={"a": px.metrics.Accuracy()}, batch_size=7
        )
        predicted = px.predict(model, (x, y), batch_size=7)
    z = np.asarray(model(x))
    np.testing.assert_allclose(predicted, z, rtol=1e-5, atol=1e-6)
    assert found["a"] == pytest.approx((z.argmax(-1) == y).mean())
    for path, v in before.items():
        np.testing.assert_array_equal(arrays(model)[path], v)


def test_class_and_sample_weights_are_those_of_torch():
    torch = kit.oracle("torch")
    x, y = batches(1, size=12)[0]
    classes, each = [1.0, 2.0, 0.5], np.linspace(0.5, 2, 12).astype(np.float32)
    model = px.Dense.of(jnp.ones((4, 3)) * jnp.arange(3), jnp.zeros(3))
    weight = torch.tensor(np.asarray(model.weight), requires_grad=True)
    z = torch.tensor(x) @ weight
    losses = torch.nn.functional.cross_entropy(z, torch.tensor(y).long(), torch.tensor(classes), reduction="none")
    total = (torch.tensor(each) * torch.tensor(classes)[torch.tensor(y).long()]).sum()
    ((losses * torch.tensor(each)).sum() / total).backward()
    px.fit(
        model, (x, y), loss=px.losses.cross_entropy, optimizer=px.optim.Descent(1.0), batch_size=12,
        class_weight=dict(enumerate(classes)), sample_weight=each, **QUIET,
    )  # fmt: skip
    np.testing.assert_allclose(model.weight, (weight - weight.grad).detach(), rtol=1e-5, atol=1e-6)


def test_a_loss_without_weight_may_have_a_reduction():
    def loss(prediction, target, reduction="mean"):
        each = (prediction - target) ** 2
        return each if reduction == "none" else each.mean()

    x, y, w = np.ones((3, 1), "f"), np.array([[1.0], [2.0], [4.0]], "f"), np.array([1.0, 2.0, 0.0], "f")
    found = px.evaluate(px.Dense.of(jnp.zeros((1, 1)), None), [(x, y, w)], loss=loss)
    assert found["loss"] == pytest.approx((1 * 1 + 2 * 4) / 3)
    with pytest.raises(px.RangeError, match=r"a loss that can weigh examples.*got <lambda>, which takes no weight"):
        px.evaluate(px.Dense(1, 1), [(x, y, w)], loss=lambda p, t: ((p - t) ** 2).mean())


@pytest.mark.parametrize("multi_step", [1, 3])
def test_accumulated_batches_are_one_large_batch(multi_step):
    data = [*batches(2), *batches(1, size=3), *batches(2, seed=5)]  # steps of 6 + 6 + 3 and of 6 + 6 examples
    large = [joined(data[:3]), joined(data[3:])]
    model, hand = mlp(), mlp()
    options = {"loss": px.losses.cross_entropy, "optimizer": px.optim.Adam(1e-2), "clip": 0.3, **QUIET}
    history = px.fit(model, data, accumulate=3, multi_step=multi_step, epochs=2, **options)
    whole = px.fit(hand, large, epochs=2, **options)
    for path, v in arrays(hand).items():
        kit.assert_close(arrays(model)[path], v, what=path)
    np.testing.assert_allclose(history.losses, whole.losses, rtol=1e-5)
    assert [row["step"] for row in history] == [2, 4]


@pytest.mark.parametrize("clip", [0.05, {"norm": 0.05}, {"value": 0.01}])
def test_clipping_is_that_of_torch(clip):
    torch = kit.oracle("torch")
    x, y = batches(1)[0]
    model = px.Dense.of(jnp.ones((4, 3)), jnp.zeros(3))
    layer = torch.nn.Linear(4, 3)
    with torch.no_grad():
        layer.weight.fill_(1.0)
        layer.bias.fill_(0.0)
    torch.nn.functional.cross_entropy(layer(torch.tensor(x)), torch.tensor(y).long()).backward()
    if isinstance(clip, dict) and "value" in clip:
        torch.nn.utils.clip_grad_value_(layer.parameters(), 0.01)
    else:
        torch.nn.utils.clip_grad_norm_(layer.parameters(), 0.05)
    torch.optim.SGD(layer.parameters(), 1.0).step()
    px.fit(model, [(x, y)], loss=px.losses.cross_entropy, optimizer=px.optim.Descent(1.0), clip=clip, **QUIET)
    np.testing.assert_allclose(model.weight, layer.weight.detach().T, rtol=2e-5, atol=1e-7)
    np.testing.assert_allclose(model.bias, layer.bias.detach(), rtol=2e-5, atol=1e-7)


def test_clipping_never_scales_up():
    data, model, hand = batches(2), mlp(), mlp()
    options = {"loss": px.losses.cross_entropy, "optimizer": px.optim.Descent(0.1), **QUIET}
    px.fit(model, data, clip=100.0, **options)
    px.fit(hand, data, **options)
    for path, v in arrays(hand).items():
        kit.assert_close(arrays(model)[path], v, what=path)


def test_batches_of_any_form_go_to_a_loss_that_takes_the_model():
    rng = np.random.default_rng(0)
    data = [{"x": rng.normal(size=(6, 4)).astype("f"), "y": rng.integers(0, 3, 6)} for _ in range(4)]

    def loss(model, batch):
        z = model(batch["x"])
        return px.losses.cross_entropy(z, batch["y"]), {"mean": z.mean()}

    model, hand = mlp(), mlp()
    by_hand(hand, px.Optimizer(px.optim.Adam(1e-2), hand), [(b["x"], b["y"]) for b in data])
    history = px.fit(model, data, loss=loss, optimizer=px.optim.Adam(1e-2), validation_data=data, **QUIET)
    for path, v in arrays(hand).items():
        kit.assert_close(arrays(model)[path], v, what=path)
    assert set(history.epochs[0]) == {"epoch", "step", "loss", "mean", "val_loss", "val_mean"}


def test_a_step_of_ones_own_takes_the_place_of_loss_and_update():
    data, model, hand = batches(5), mlp(), mlp()

    def step(model, opt, x, y):
        loss, grads = px.value_and_grad(lambda model: px.losses.cross_entropy(model(x), y))(model)
        opt.update(model, grads)
        return loss, {"twice": 2 * loss}

    losses = by_hand(hand, px.Optimizer(px.optim.Adam(1e-2), hand), data)
    history = px.fit(model, data, step=step, optimizer=px.optim.Adam(1e-2), **QUIET)
    assert history["twice"][0] == pytest.approx(2 * np.mean(losses), rel=1e-6)
    for path, v in arrays(hand).items():
        kit.assert_close(arrays(model)[path], v, what=path)


def test_steps_end_training_and_space_validation():
    history = px.fit(
        mlp(), batches(4), loss=px.losses.cross_entropy, optimizer=px.optim.Adam(), steps=10, validation_every=3,
        validation_data=batches(1), **QUIET,
    )  # fmt: skip
    assert history.reason == "10 steps"
    assert len(history.losses) == 10
    assert [step for step, row in history.steps if "val_loss" in row] == [3, 6, 9]
    assert [row["step"] for row in history] == [4, 8, 10]
    assert "val_loss" in history.epochs[-1]


def test_overfit_limit_and_dry_run():
    data, model = batches(6), mlp()
    options = {"loss": px.losses.cross_entropy, "optimizer": px.optim.Adam(1e-2), **QUIET}
    before = arrays(model)
    history = px.fit(
        model, data, dry_run=True, validation_data=data, epochs=5, callbacks=[px.EarlyStopping()], **options
    )
    assert len(history) == 1
    assert len(history.losses) == 1
    for path, v in before.items():
        np.testing.assert_array_equal(arrays(model)[path], v)
    assert len(px.fit(model, data, limit_batches=4, epochs=2, **options).losses) == 8
    loader = px.DataLoader(joined(data), 6, shuffle=True)
    ours, hand = mlp(), mlp()
    px.fit(ours, loader, overfit_batches=2, epochs=3, **options)
    first = list(px.DataLoader(joined(data), 6, shuffle=True))[:2]
    by_hand(hand, px.Optimizer(px.optim.Adam(1e-2), hand), first * 3)
    for path, v in arrays(hand).items():
        kit.assert_close(arrays(ours)[path], v, what=path)


def test_the_history_has_the_optimiser_and_a_second_fit_goes_on():
    data, model, hand = batches(4), mlp(), mlp()
    losses = by_hand(hand, px.Optimizer(px.optim.Adam(1e-2), hand), data + data)
    first = px.fit(model, data, loss=px.losses.cross_entropy, optimizer=px.optim.Adam(1e-2), **QUIET)
    second = px.fit(model, data, loss=px.losses.cross_entropy, optimizer=first.optimizer, **QUIET)
    np.testing.assert_allclose([*first.losses, *second.losses], losses, rtol=1e-5)
    assert second.optimizer is first.optimizer
    assert second.model is model


def test_time_limit_ends_training():
    history = px.fit(mlp(), batches(3), loss=px.losses.cross_entropy, optimizer=px.optim.Adam(), epochs=10**6,
                     time_limit=1e-3, **QUIET)  # fmt: skip
    assert "time limit" in history.reason
    assert len(history) == 1
