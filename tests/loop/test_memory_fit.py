"""px.fit(memory=…): refused before the first step, or made to fit with the same numbers; else refused, and why."""

import dataclasses
import re
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from phlox.loop import _training
from phlox.loop.batches._batch import Masked
from phlox.loop.preflight._fit import _Fitting, step_that_fits, why_not_in_parts
from phlox.loop.preflight._saving import Saving
from phlox.loop.preflight._search import Search
from phlox.loop.steps._objective import Objective
from phlox.loop.steps._precision import Precision
from phlox.loop.steps._step import Step

ROWS, WIDTH, CLASSES = 64, 16, 3
TOLERANCE = {"rtol": 2e-5, "atol": 2e-6}  # other sums of float32


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(2 * ROWS, WIDTH)).astype("float32"), rng.integers(0, CLASSES, 2 * ROWS)


def plain(*between):
    with px.seed(0):
        layers = [px.Dense(WIDTH, WIDTH, px.tanh) for _ in range(3)]
        return px.Chain(*layers, *between, px.Dense(WIDTH, CLASSES))


def step_of(loss=px.losses.cross_entropy, **options):
    return Step(Objective(loss), **options)


def both(step, saving, model, batch):
    """Loss, report and gradients, whole and saving."""
    found = []
    for way in (step, dataclasses.replace(step, saving=saving)):
        twin = px.copy(model)
        run = px.jit(lambda model, batch, way=way: way.backward(model, {}, batch), donate=False)
        found.append((*run(twin, batch), px.paths(twin)))
    return found


def numbers(value):
    return jax.random.key_data(value) if jnp.issubdtype(value.dtype, jax.dtypes.prng_key) else value


def assert_same(whole, saving):
    np.testing.assert_allclose(whole[0], saving[0], **TOLERANCE)
    np.testing.assert_allclose(whole[1].weight, saving[1].weight)
    for kind in (lambda found: px.paths(found[2]), lambda found: found[3]):
        ours, theirs = kind(whole), kind(saving)
        assert ours.keys() == theirs.keys()
        for path, value in ours.items():
            np.testing.assert_allclose(numbers(value), numbers(theirs[path]), err_msg=path, **TOLERANCE)


# --- parts of a batch ------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [8, 5])
def test_parts_of_a_batch_give_its_loss_and_gradient(data, rows):
    batch = data[0][:40], data[1][:40]
    assert_same(*both(step_of(), Saving(rows), plain(), batch))


def test_padding_and_weights_count_as_they_do_in_the_whole(data):
    x, y = data[0][:8], data[1][:8]
    mask = np.array([True] * 5 + [False] * 3)  # one part is padding alone
    weight = np.linspace(0.1, 3, 8, dtype="float32")
    assert_same(*both(step_of(), Saving(2), plain(), Masked((x, y, weight), mask)))


def test_what_is_frozen_has_no_gradient_in_parts(data):
    model = plain()
    px.freeze(model[0])
    whole, saving = both(step_of(), Saving(4), model, (data[0][:8], data[1][:8]))
    assert_same(whole, saving)
    assert saving[2][0].weight is None


def test_scalars_of_the_loss_are_weighted_means(data):
    def loss(model, x, y):
        return px.losses.cross_entropy(model(x), y), {"size": (x**2).mean()}

    whole, saving = both(step_of(loss), Saving(4), plain(), (data[0][:8], data[1][:8]))
    np.testing.assert_allclose(whole[1].scalars["size"], saving[1].scalars["size"], rtol=1e-6)


@pytest.mark.parametrize(("rows", "at_once", "parts"), [(64, 16, 4), (64, 20, 4), (30, 8, 5), (7, 3, 7), (7, None, 1)])
def test_parts_are_equal_and_small_enough(rows, at_once, parts):
    assert Saving(at_once).parts(rows) == parts


@pytest.mark.parametrize(("rows", "parts"), [(64, 4), (48, 3), (40, 5), (8, 1)])
def test_parts_are_shared_evenly_by_devices(rows, parts):
    assert Saving(16).parts(rows, 8) == parts


def test_half_precision_with_its_guard_in_parts(data):
    step, batch = step_of(precision=Precision.of("fp16", "")), (data[0][:8], data[1][:8])
    guard = step.precision.scale()
    losses = []
    for saving in (Saving(), Saving(4)):
        way = dataclasses.replace(step, saving=saving)
        run = px.jit(lambda model, guard, batch, way=way: way.backward(model, {"guard": guard}, batch)[0])
        losses.append(run(plain(), guard, batch))
    np.testing.assert_allclose(*losses, rtol=1e-3)


# --- computed again ----------------------------------------------------------------------------------------


def blocks():
    with px.seed(0):
        block = lambda: px.Chain(px.Dense(WIDTH, WIDTH), px.BatchNorm(WIDTH, px.relu), px.Dropout(0.3))  # noqa: E731
        shared = px.Dense(WIDTH, WIDTH, px.tanh)
        return px.Chain(block(), shared, block(), shared, px.Dense(WIDTH, CLASSES))


def test_computed_again_numbers_and_state_are_the_same(data):
    """Statistics move once, keys draw the same numbers, what is shared has one gradient."""
    saving = Saving(again=("model.layers[0]", "model.layers[1]", "model.layers[2]"))
    assert_same(*both(step_of(), saving, blocks(), (data[0][:16], data[1][:16])))


def test_what_is_computed_again_is_what_was_named(data):
    model, batch = plain(), (data[0][:16], data[1][:16])

    def count(saving):
        step = step_of(saving=saving)
        jaxpr = jax.make_jaxpr(lambda x, y: px.paths(step.backward(px.copy(model), {}, (x, y))[2]))(*batch)
        return len(re.findall(r"(?:checkpoint|remat2?)\[", str(jaxpr)))

    assert count(Saving()) == 0
    assert count(Saving(again=("model.layers[1]", "model.layers[2]"))) == 2


def test_inside_a_stack_too(data):
    with px.seed(0):
        stack = px.nn.RepeatedLayer(lambda: px.Dense(WIDTH, WIDTH, px.tanh), 3)
        model = px.Chain(stack, px.Dense(WIDTH, CLASSES))
    assert_same(*both(step_of(), Saving(again=("model.layers[0].block",)), model, (data[0][:8], data[1][:8])))
    assert type(model[0].block) is px.Dense


# --- whether a batch may be split ----------------------------------------------------------------------------


def mixing(prediction, target):
    """A loss of pairs: no mean over examples."""
    return ((prediction[:, None] - prediction[None]) ** 2).mean() + px.losses.cross_entropy(prediction, target)


@pytest.mark.parametrize(
    ("between", "loss", "reason"),
    [
        ((), px.losses.cross_entropy, ""),
        ((px.LayerNorm(WIDTH),), px.losses.cross_entropy, ""),
        ((px.BatchNorm(WIDTH),), px.losses.cross_entropy, "the forward pass moves layers.3.mean, layers.3.var"),
        ((px.Dropout(0.5),), px.losses.cross_entropy, "the forward pass moves layers.3.key"),
        ((px.BatchNorm(WIDTH, track=False),), px.losses.cross_entropy, "the loss or a layer mixes the examples"),
        ((), mixing, "the loss or a layer mixes the examples of a batch"),
        ((), lambda p, y: px.losses.cross_entropy(p, y, reduction="sum"), "the loss or a layer mixes the examples"),
    ],
    ids=["dense", "LayerNorm", "BatchNorm", "Dropout", "BatchNorm without State", "pairs", "a sum"],
)
def test_whether_a_batch_may_be_split(data, between, loss, reason):
    model = plain(*between)
    before = px.paths(model)
    found = why_not_in_parts(step_of(loss), model, {}, (data[0][:ROWS], data[1][:ROWS]))
    assert found.startswith(reason)
    assert bool(found) == bool(reason)
    assert all(a is b for a, b in zip(before.values(), px.paths(model).values(), strict=True))


def test_micro_batches_have_a_row_for_each_device():
    """Nothing fits, so that the most micro-batches are tried: of 24 rows on 4 devices 6, of 4 rows each."""
    search = Search(lambda n, _: SimpleNamespace(total=1000 // n), 1, 24, devices=4)
    advice = search.micro_batches()
    assert advice is not None
    assert (advice.micro_batches, advice.change) == (6, "6 micro-batches of 4")


def test_one_example_cannot_be_split(data):
    assert why_not_in_parts(step_of(), plain(), {}, (data[0][:1], data[1][:1])) == "there is one example"


# --- fit -----------------------------------------------------------------------------------------------------


def fit(model, data, **options):
    options = {"loss": px.losses.cross_entropy, "batch_size": ROWS, "multi_step": 1, "progress": False} | options
    return px.fit(model, data, optimizer=px.optim.Adam(1e-2), **options)


def needs(model, data, slots=1):
    """What a step of fit needs."""
    opt = px.Optimizer(px.optim.Adam(1e-2), model)
    batch = data[0][:ROWS], data[1][:ROWS]
    return _Fitting(step_of(), slots, (model, opt, {}), batch, None).found.total


@pytest.fixture(scope="module")
def whole(data):
    return needs(plain(), data)


@pytest.fixture
def chosen(monkeypatch):
    """The savings that fit chose."""
    seen = []

    def noted(*args):
        step, slots = step_that_fits(*args)
        seen.append(step.saving)
        return step, slots

    monkeypatch.setattr(_training, "step_that_fits", noted)
    return seen


def test_enough_memory_changes_nothing(data, chosen):
    fit(plain(), data, memory="check")
    fit(plain(), data, memory="auto")
    assert chosen == [Saving(), Saving()]


def test_auto_keeps_the_numbers(data, whole, chosen):
    model, limited = plain(), plain()
    options = {"epochs": 2, "metrics": {"accuracy": px.metrics.Accuracy()}}
    history = fit(model, data, **options)
    found = fit(limited, data, memory=("auto", int(0.95 * whole)), **options)
    assert chosen[1].rows == ROWS // 2
    np.testing.assert_allclose(history["loss"], found["loss"], rtol=1e-5)
    assert history["accuracy"] == found["accuracy"]
    for path, value in px.paths(model).items():
        np.testing.assert_allclose(value, px.paths(limited)[path], rtol=1e-3, atol=1e-5)  # two epochs of Adam


def test_auto_chooses_remat_where_a_batch_may_not_be_split(data, chosen):
    """A stack of blocks, in a loop where the compiler of a CPU keeps what is computed again apart too."""

    def build():
        with px.seed(0):
            block = lambda: px.Chain(px.Dense(WIDTH, 8 * WIDTH, px.tanh), px.Dense(8 * WIDTH, WIDTH))  # noqa: E731
            return px.Chain(px.nn.RepeatedLayer(block, 8), px.BatchNorm(WIDTH), px.Dense(WIDTH, CLASSES))

    model, limited = build(), build()
    history = fit(model, data)
    found = fit(limited, data, memory=("auto", int(0.7 * needs(build(), data))))
    assert chosen[1].rows is None
    assert "model.layers[0].block" in " ".join(chosen[1].again)
    np.testing.assert_allclose(history["loss"], found["loss"], rtol=1e-5)


def test_a_check_says_what_would_help(data, whole):
    model = plain()
    before = px.paths(model)
    with pytest.raises(px.NotEnoughMemoryError) as caught:
        fit(model, data, memory=("check", int(0.95 * whole)))
    error = caught.value
    assert error.where == "px.fit"
    assert error.expected.startswith(f"at most {int(0.95 * whole) / 1024:.1f} KiB for a step")
    assert error.fix.startswith('memory="auto", which takes 2 micro-batches of 32: ')
    assert all(a is b for a, b in zip(before.values(), px.paths(model).values(), strict=True))


def test_where_nothing_keeps_the_numbers_it_says_why(data):
    with pytest.raises(px.NotEnoughMemoryError, match="micro-batches would change the numbers: the forward pass moves"):
        fit(plain(px.BatchNorm(WIDTH)), data, memory=("auto", 1000))


def test_a_step_of_the_users_is_checked(data):
    def own(model, opt, x, y):
        loss, grads = px.value_and_grad(lambda model: px.losses.cross_entropy(model(x), y))(model)
        opt.update(model, grads)
        return loss

    with pytest.raises(px.NotEnoughMemoryError, match="for a step on cpu:0, got one that needs"):
        fit(plain(), data, loss=None, step=own, memory=("auto", 1000))


def test_steps_in_one_call_are_checked_as_they_run(data, whole):
    """Eight batches in one call: seven more than in a step alone."""
    assert needs(plain(), data, slots=8) - whole >= 7 * 4 * ROWS * WIDTH


def test_fewer_batches_in_a_call_come_first(data):
    batch, opt = (data[0][:ROWS], data[1][:ROWS]), px.Optimizer(px.optim.Adam(1e-2), plain())
    step, limit = step_of(), needs(plain(), data)
    assert step_that_fits(("auto", limit), step, 8, plain(), opt, {}, batch) == (step, 1)
    with pytest.raises(px.NotEnoughMemoryError, match="one batch in a call") as caught:
        step_that_fits(("check", limit), step, 8, plain(), opt, {}, batch)
    assert caught.value.fix.startswith('memory="auto", which takes one batch in a call: ')


@pytest.mark.parametrize("memory", ["chekc", True, 8, ("auto", -1), ("auto", 1.5), (None, 5)])
def test_a_setting_that_is_none(data, memory):
    with pytest.raises(px.RangeError) as caught:
        fit(plain(), data, memory=memory)
    assert repr(memory) in caught.value.got
    assert '"check", "auto"' in caught.value.expected


def test_jnp_arrays_are_split_as_numpy_arrays_are(data):
    batch = jnp.asarray(data[0][:8]), jnp.asarray(data[1][:8])
    assert_same(*both(step_of(), Saving(2), plain(), batch))
