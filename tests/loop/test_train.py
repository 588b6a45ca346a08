"""One pass: the loop by hand, what is refused, and what a refusal leaves alone."""

import numpy as np
import pytest

import kit
import phlox as px
from loop.loops import arrays, batches, by_hand, dropping, mlp


def test_train_is_the_loop_written_by_hand():
    data = batches(7)
    model, hand = mlp(), mlp()
    opt, other = (px.Optimizer(px.optim.Adam(1e-2), m) for m in (model, hand))
    losses = by_hand(hand, other, data)
    found = px.train(px.losses.cross_entropy, model, iter(data), opt)
    np.testing.assert_allclose(found.losses, losses, rtol=1e-6)
    assert found.loss == pytest.approx(np.mean(losses), rel=1e-6)
    assert found.examples == 42
    for path, v in arrays(hand).items():
        kit.assert_close(arrays(model)[path], v, what=path)


def test_a_loss_that_takes_the_model_gets_the_batch_and_gives_scalars():
    data = batches(5)

    def loss(model, x, y):
        z = model(x)
        return px.losses.cross_entropy(z, y), {"size": abs(z).max()}

    model, hand = mlp(), mlp()
    opt, other = (px.Optimizer(px.optim.Descent(0.1), m) for m in (model, hand))
    losses = by_hand(hand, other, data)
    found = px.train(loss, model, data, opt)
    assert found.loss == pytest.approx(np.mean(losses), rel=1e-6)
    assert found.scalars["size"] > 0


def test_a_batch_that_is_not_finite_is_refused_and_named():
    data = batches(9)
    data[4] = (np.where(np.arange(4) == 2, np.nan, data[4][0]).astype(np.float32), data[4][1])
    model, hand = dropping(), dropping()
    opt, other = (px.Optimizer(px.optim.Adam(1e-2), m) for m in (model, hand))
    with pytest.raises(px.NonFiniteError) as caught:
        px.train(px.losses.cross_entropy, model, data, opt)
    text = str(caught.value)
    assert text.startswith(
        "px.train, batch 4: model.layers[0] Dense(4 → 8, relu) expects finite values, got 48 of 48 NaN"
    )
    px.train(px.losses.cross_entropy, hand, data[:4], other)  # what came before, and nothing else
    for mine, theirs in ((model, hand), (opt, other)):
        for path, v in arrays(theirs).items():
            np.testing.assert_array_equal(arrays(mine)[path], v, err_msg=path)


def test_a_gradient_that_is_not_finite_is_refused_though_the_loss_is():
    def loss(model, x, y):
        return (model(x)[:, 0] * 0).mean() ** 0.5  # the slope of the root at 0

    model = mlp()
    before = arrays(model)
    with pytest.raises(px.NonFiniteError, match=r"px.train, batch 0: .*backward"):
        px.train(loss, model, batches(3), px.Optimizer(px.optim.Descent(0.1), model))
    for path, v in before.items():
        np.testing.assert_array_equal(arrays(model)[path], v)


def test_a_loss_that_makes_the_nan_itself_is_told():
    model = mlp()
    opt = px.Optimizer(px.optim.Descent(0.1), model)
    with pytest.raises(px.NonFiniteError, match="batch 0 expects finite values, got a loss of nan though what every"):
        px.train(lambda prediction, target: (prediction.mean() * 0) / 0, model, batches(2), opt)


def test_what_means_nothing_is_refused():
    model, other = mlp(), px.Dense(4, 3)
    opt = px.Optimizer(px.optim.Adam(), model)
    with pytest.raises(px.StructureError, match="an optimiser of this model, got one made without weight"):
        px.train(px.losses.cross_entropy, other, batches(1), opt)
    with pytest.raises(px.StructureError, match="an Optimizer, got Adam"):
        px.train(px.losses.cross_entropy, model, batches(1), px.optim.Adam())  # type: ignore[arg-type]
    with pytest.raises(px.ShapeError, match=r"px\.train expects at least one batch, got none"):
        px.train(px.losses.cross_entropy, model, [], opt)
    with pytest.raises(px.RangeError, match="a function as loss, got 'mse'"):
        px.train("mse", model, batches(1), opt)  # type: ignore[arg-type]
    with pytest.raises(px.ShapeError, match=r"a loss that returns a scalar.*got float32\[6, 3\]"):
        px.train(lambda p, y: p, model, batches(1), opt)
    with pytest.raises(px.ShapeError, match=r"batches \(x, y\) or .*got a dict of x, y"):
        px.train(px.losses.cross_entropy, model, [dict(zip("xy", batches(1)[0], strict=True))], opt)
