"""Losses and metrics by output, weights of classes, and what the first look at a batch says."""

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

import phlox as px
from kit import oracle
from loop.loops import batches

X, Y = (np.concatenate(part) for part in zip(*batches(4, size=10), strict=True))
Z = (X @ np.array([[1.0], [2.0], [0.0], [-1.0]], np.float32)).astype(np.float32)
QUIET = {"progress": False}


class Two(px.Module):
    """A model with two heads on one body."""

    def __init__(self, as_tuple=False):
        with px.seed(0):
            self.body, self.a, self.b = px.Dense(4, 6, px.tanh), px.Dense(6, 1), px.Dense(6, 3)
        self.as_tuple = as_tuple

    def __call__(self, x):
        h = self.body(x)
        return (self.a(h), self.b(h)) if self.as_tuple else {"b": self.b(h), "a": self.a(h)}


def test_losses_by_output_are_those_of_torch():
    torch = oracle("torch")
    weights = np.linspace(0.5, 2.0, 40).astype(np.float32)
    model, rate = Two(), 0.25
    twin = Two()
    history = px.fit(
        model, (X, {"a": Z, "b": Y}, weights), loss={"a": px.losses.mse, "b": px.losses.cross_entropy},
        loss_weights={"a": 0.3}, optimizer=px.optim.Descent(rate), batch_size=40, validation_data=(X, {"a": Z, "b": Y}),
        metrics={"b": px.metrics.Accuracy(), "a": {"mae": px.metrics.MeanAbsoluteError()}}, **QUIET,
    )  # fmt: skip
    t = {p: torch.tensor(np.asarray(v), requires_grad=True) for p, v in px.paths(twin).items()}
    h = torch.tanh(torch.tensor(X) @ t["body.weight"] + t["body.bias"])
    a, b = h @ t["a.weight"] + t["a.bias"], h @ t["b.weight"] + t["b.bias"]
    w = torch.tensor(weights)
    of_a = (w[:, None] * (a - torch.tensor(Z)) ** 2).sum() / w.sum()
    of_b = (w * torch.nn.functional.cross_entropy(b, torch.tensor(Y).long(), reduction="none")).sum() / w.sum()
    total = 0.3 * of_a + of_b
    total.backward()
    for path, v in px.paths(model).items():
        np.testing.assert_allclose(v, (t[path] - rate * t[path].grad).detach(), rtol=1e-4, atol=1e-5, err_msg=path)
    row = history.epochs[0]
    assert row["loss"] == pytest.approx(total.item(), rel=1e-5)
    assert (row["a_loss"], row["b_loss"]) == pytest.approx((of_a.item(), of_b.item()), rel=1e-5)
    share = (w * (b.argmax(-1) == torch.tensor(Y))).sum() / w.sum()
    assert row["b_accuracy"] == pytest.approx(share.item(), rel=1e-5)
    off = (w[:, None] * (a - torch.tensor(Z)).abs()).sum() / w.sum()
    assert row["a_mae"] == pytest.approx(off.item(), rel=1e-5)
    assert [n for n in history.names if n.startswith("val_")] == [
        "val_loss", "val_a_loss", "val_b_loss", "val_b_accuracy", "val_a_mae",
    ]  # fmt: skip


def test_outputs_of_a_tuple_and_padding():
    by_place, by_name = Two(as_tuple=True), Two()
    options = dict(optimizer=px.optim.Adam(1e-2), batch_size=16, epochs=2, **QUIET)  # the last batch is filled up
    losses = [px.losses.mse, px.losses.cross_entropy]
    places = px.fit(by_place, (X, (Z, Y)), loss=losses, metrics={1: px.metrics.Accuracy()}, **options)
    names = px.fit(by_name, (X, {"a": Z, "b": Y}), loss=dict(zip("ab", losses, strict=True)), **options)
    np.testing.assert_allclose(places["loss"], names["loss"], rtol=1e-6)
    assert places.names[2:] == ["loss", "0_loss", "1_loss", "1_accuracy"]
    found = px.evaluate(by_place, (X, (Z, Y)), loss=losses, loss_weights=[2.0, 0.0], batch_size=16)
    assert found["loss"] == pytest.approx(2 * float(px.losses.mse(by_place(X)[0], Z)), rel=1e-5)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"loss": {"c": px.losses.mse}}, px.StructureError, "the model to give the output 'c'.*a dict of b, a"),
        ({"loss_weights": {"c": 1.0}}, px.RangeError, "for outputs with a loss: a, b, got 'c': 1.0"),
        ({"loss_weights": {"a": -1.0}}, px.RangeError, "numbers of at least 0.*got 'a': -1.0"),
        ({"metrics": {"acc": px.metrics.Accuracy()}}, px.RangeError, "metrics by output.*'a', 'b', got 'acc'"),
        ({"class_weight": [1.0, 1.0, 1.0]}, px.RangeError, "one loss for class_weight, got losses by output"),
        ({"loss": px.losses.mse, "loss_weights": {"a": 1.0}}, px.RangeError, "losses by output for loss_weights"),
        ({"loss": {"a": 3}}, px.RangeError, r"px.fit\(loss\['a'\]\) expects a function as loss, got 3"),
    ],
)
def test_mistakes_with_outputs(options, kind, message):
    given = {"loss": {"a": px.losses.mse, "b": px.losses.cross_entropy}, **options}
    with pytest.raises(kind, match=message):
        px.fit(Two(), (X, {"a": Z, "b": Y}), optimizer=px.optim.Adam(), **given, **QUIET)


def test_labels_of_an_output_are_looked_at():
    losses = {"a": px.losses.mse, "b": px.losses.cross_entropy}
    with pytest.raises(px.RangeError, match="labels in 0 … 2, for a prediction of 3 classes, got labels in 1 … 3"):
        px.fit(Two(), (X, {"a": Z, "b": Y + 1}), optimizer=px.optim.Adam(), loss=losses, **QUIET)


# --- weights of classes -------------------------------------------------------------------------------


def test_balanced_weights_are_those_of_scikit_learn():
    y = np.array([0] * 25 + [1] * 5 + [2] * 10, np.int32)
    expected = compute_class_weight("balanced", classes=np.unique(y), y=y)
    ours, theirs = px.Dense(4, 3, key=0), px.Dense(4, 3, key=0)
    options = dict(loss=px.losses.cross_entropy, optimizer=px.optim.Descent(0.5), batch_size=40, **QUIET)
    px.fit(ours, (X, y), class_weight="balanced", **options)
    px.fit(theirs, (X, y), class_weight=expected, **options)
    np.testing.assert_allclose(ours.weight, theirs.weight, rtol=1e-6)
    for data in ([(X, y)], px.DataLoader((X, y), 8)):
        with pytest.raises(
            px.RangeError, match=r'"balanced" with data \(x, y\).*got data whose labels are not at hand'
        ):
            px.fit(ours, data, class_weight="balanced", **options)
    with pytest.raises(px.RangeError, match="got 'equal'"):
        px.fit(ours, (X, y), class_weight="equal", **options)


@pytest.mark.parametrize("form", [(40,), (40, 1)])
def test_weights_of_no_and_yes_are_those_of_torch(form):
    torch = oracle("torch")
    y = (Y > 0).astype(np.float32).reshape(form)
    model = px.Chain(px.Dense.of(jnp.ones((4, 1)), jnp.zeros(1), px.sigmoid), lambda p: p.reshape(form))
    weight = torch.ones(4, 1, requires_grad=True)
    p = torch.sigmoid(torch.tensor(X) @ weight).reshape(form)
    each = torch.where(torch.tensor(y) > 0, 3.0, 0.5)
    loss = (torch.nn.functional.binary_cross_entropy(p, torch.tensor(y), reduction="none") * each).sum() / each.sum()
    loss.backward()
    options = dict(loss=px.losses.binary_cross_entropy, optimizer=px.optim.Descent(1.0), batch_size=40, **QUIET)
    history = px.fit(model, (X, y), class_weight={0: 0.5, 1: 3.0}, **options)
    assert history["loss"][0] == pytest.approx(loss.item(), rel=1e-5)
    np.testing.assert_allclose(model[0].weight, (weight - weight.grad).detach(), rtol=1e-4, atol=1e-6)
    for wrong in ([1.0, 2.0, 3.0], [1.0], np.ones(40)):
        with pytest.raises(px.ShapeError, match="for the 2 classes, no and yes, of the prediction"):
            px.fit(model, (X, y), class_weight=wrong, **options)


# --- the first look -----------------------------------------------------------------------------------

YES = (Y > 0).astype(np.float32)
FLAT = lambda z: z[:, 0]  # noqa: E731
BCE, BCE_OF_LOGITS = px.losses.binary_cross_entropy, px.losses.binary_cross_entropy_with_logits
HALF = jnp.zeros((4, 1)), jnp.full(1, 0.5)
OF_LOGITS = "expects probabilities, .* layer without activation; "


@pytest.mark.parametrize(
    ("model", "loss", "metrics", "message"),
    [
        (lambda: px.Chain(px.Dense(4, 3), px.softmax), px.losses.cross_entropy, None, "in a softmax; leave it out"),
        (lambda: px.Dense(4, 3, px.softmax), px.losses.focal_with_logits, None, "expects logits, .* in a softmax"),
        (lambda: px.Chain(px.Dense(4, 1, px.sigmoid), FLAT), BCE_OF_LOGITS, None, "logits, .* ends in a sigmoid"),
        (
            lambda: px.Chain(px.Dense.of(*HALF), FLAT), BCE, None,
            OF_LOGITS + "end it .* px.losses.binary_cross_entropy_with_logits",
        ),
        (
            lambda: px.Chain(px.Dense(4, 1), FLAT), BCE_OF_LOGITS, {"hits": px.metrics.BinaryAccuracy()},
            "the metric hits " + OF_LOGITS + r"write px.metrics.BinaryAccuracy\(logits=True\)",
        ),
    ],
)  # fmt: skip
def test_logits_and_probabilities_are_told_apart(model, loss, metrics, message):
    y = Y if loss in (px.losses.cross_entropy, px.losses.focal_with_logits) else YES
    options = dict(loss=loss, metrics=metrics, optimizer=px.optim.Descent(1e-30), dry_run=True)
    with pytest.warns(UserWarning, match=message):
        px.fit(model(), (X, y), **options, **QUIET)


@pytest.mark.parametrize(
    ("model", "loss", "metrics"),
    [
        (lambda: px.Dense(4, 3), px.losses.cross_entropy, px.metrics.Accuracy()),
        (lambda: px.Chain(px.Dense(4, 1, px.sigmoid), FLAT), BCE, px.metrics.BinaryAccuracy()),
        (lambda: px.Chain(px.Dense(4, 1), FLAT), BCE_OF_LOGITS, px.metrics.BinaryAccuracy(logits=True)),
        (lambda: px.Chain(px.Dense(4, 1), lambda z: 0.5 + 0.1 * jnp.tanh(z[:, 0])), BCE, None),
    ],
)
def test_what_fits_is_not_spoken_of(model, loss, metrics):
    y = Y if loss is px.losses.cross_entropy else YES
    px.fit(model(), (X, y), loss=loss, metrics=metrics, optimizer=px.optim.Adam(), dry_run=True, **QUIET)


def test_labels_beyond_the_first_batch_are_looked_at():
    late = Y.copy()
    late[-1] = 7
    options = dict(loss=px.losses.cross_entropy, optimizer=px.optim.Adam(), **QUIET)
    with pytest.raises(px.RangeError, match=r"px.fit\(train_data\) expects labels in 0 … 2.*got labels in 0 … 7"):
        px.fit(px.Dense(4, 3), (X, late), **options)
    cut = [(X[:20], late[:20]), (X[20:], late[20:])]
    for data in ((X, late), cut):
        with pytest.raises(px.RangeError, match=r"\(validation_data\) expects labels in 0 … 2.*got labels in 0 … 7"):
            px.fit(px.Dense(4, 3), (X, Y), validation_data=data, **options)


def test_one_example_is_told_from_a_batch():
    model = px.Dense(4, 3)
    with pytest.raises(px.ShapeError, match=r"one example float32\[4\]\n  fix: pass x\[None\] in place of x"):
        px.predict(model, X[0])
    assert px.predict(model, X[0][None]).shape == (1, 3)


def test_an_error_of_a_batch_that_is_not_finite_says_where():
    x = X.copy()
    x[7, 1], x[9, 3] = np.nan, np.inf
    model = px.Dense(4, 3)
    opt = px.Optimizer(px.optim.Adam(), model)
    with pytest.raises(px.NonFiniteError) as caught:
        px.train(px.losses.cross_entropy, model, [(x, Y)], opt)
    note = "the batch[0] has NaN or infinity in columns 1, 3, in 2 of 40 examples, the first 7"
    assert any(text.startswith(note) for text in caught.value.__notes__)
