"""The size of a chunk changes no bit, ends where somebody asks, and compiles nothing anew."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kit
import phlox as px
from loop.loops import assert_same_bits, batches, by_hand, cnn, dropping, mlp, recurrent
from phlox.loop.steps._chunk import program, slots_for
from phlox.loop.steps._objective import Objective
from phlox.loop.steps._step import Step
from phlox.nn.functional.kernels._kernels import package

MODELS = {"mlp": (mlp, (4,)), "cnn": (cnn, (4, 4, 1)), "dropping": (dropping, (4,)), "recurrent": (recurrent, (3, 4))}
SIZES = [2, 3, 7, 16, "auto"]


@pytest.fixture(autouse=True)
def _compiled_anew():
    """Other tests compile with fewer passes, and their programs must not be taken for those compared here."""
    program.cache_clear()
    yield
    program.cache_clear()


def trained(make, data, **options):
    model = make()
    history = px.fit(
        model, data, loss=px.losses.cross_entropy, optimizer=px.optim.Adam(1e-2), progress=False, **options
    )
    return model, history


def compare_sizes(name, sizes):
    make, shape = MODELS[name]
    data = batches(19, shape)
    with kit.compiled_as_users_do():
        first, history = trained(make, data, multi_step=1, epochs=2)
        for size in sizes:
            other, same = trained(make, data, multi_step=size, epochs=2)
            assert_same_bits(first, other)
            assert_same_bits(history.optimizer, same.optimizer)
            assert history.losses.tobytes() == same.losses.tobytes()
            assert history.epochs == same.epochs


@pytest.mark.sampled(2)
@pytest.mark.parametrize(("name", "sizes"), [("mlp", SIZES), ("cnn", [7]), ("dropping", [7]), ("recurrent", [7])])
def test_chunks_give_the_same_bits(name, sizes):
    compare_sizes(name, sizes)


@pytest.mark.soak
@pytest.mark.parametrize("name", MODELS)
def test_chunks_of_every_size_give_the_same_bits(name):
    compare_sizes(name, SIZES)


@pytest.mark.parametrize("name", ["cnn", "dropping"])
def test_fit_is_the_loop_written_by_hand(name):
    make, shape = MODELS[name]
    data = batches(5, shape)
    model, hand = make(), make()
    opt = px.Optimizer(px.optim.Adam(1e-2), hand)
    with kit.compiled_as_users_do():
        losses = by_hand(hand, opt, data + data)
        history = px.fit(
            model, data, loss=px.losses.cross_entropy, optimizer=px.optim.Adam(1e-2), epochs=2, progress=False
        )
    assert_same_bits(model, hand)
    np.testing.assert_array_equal(history.losses, np.float32(losses))
    np.testing.assert_allclose(history["loss"], np.reshape(losses, (2, 5)).mean(1), rtol=1e-6)


@pytest.mark.parametrize("options", [{"drop_last": True}, {}, {"pad_last": True}])
def test_a_loader_gathers_the_batches_that_it_gives_one_by_one(options):
    x, y = np.arange(24.0, dtype=np.float32).reshape(12, 2), np.arange(12)
    loader, other = (px.DataLoader((x, y), 5, shuffle=True, seed=3, **options) for _ in range(2))
    for epoch in range(2):
        padded = epoch == 1 or loader.pad_last
        one_by_one = list(loader.masked() if padded else iter(loader))
        for n, (batches_, masks, number, place) in enumerate(other.stacked(2, padded=padded)):
            expected, mask = one_by_one[n] if padded else (one_by_one[n], True)
            for ours, theirs in zip(jax.tree.map(lambda a, i=place: a[i], batches_), expected, strict=True):
                np.testing.assert_array_equal(ours, theirs)
            assert (masks[place] == mask).all()
            assert place < number <= 2
            assert (other.state()["epoch"], other.state()["batch"]) == (epoch, n + 1)
            if n == 0:
                again = px.DataLoader((x, y), 5, shuffle=True, seed=3, **options)
                again.restore(other.state())
                rest = [jax.tree.map(lambda a, i=i: a[i], b) for b, _, _, i in again.stacked(4, padded=padded)]
                assert len(rest) == len(one_by_one) - 1
                np.testing.assert_array_equal(rest[0][0], (one_by_one[1][0] if padded else one_by_one[1])[0])
        assert n + 1 == len(one_by_one)


class Eyes(px.Callback):
    """Wants control at odd places, and notes where the loader stands."""

    def __init__(self):
        self.places = []

    def steps_until(self, run):
        return 1 + run.step % 3

    def on_step_end(self, run):
        self.places.append((run.position["batch"], run.batch, run.examples, len(run.losses)))


@pytest.mark.sampled(2)
@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("loss", [px.losses.cross_entropy, lambda p, y: px.losses.cross_entropy(p, y)])
def test_gathered_batches_give_the_bits_of_single_ones(accumulate, loss):
    """The last batch is filled up, or shorter where the loss takes no weights; either way it is the same training."""
    data = tuple(np.concatenate(parts)[:109] for parts in zip(*batches(19), strict=True))
    results = []
    with kit.compiled_as_users_do():
        for size, callbacks in ((1, []), (4, []), ("auto", []), (7, [Eyes()])):
            model = mlp()
            history = px.fit(
                model, data, loss=loss, optimizer=px.optim.Adam(1e-2), batch_size=6, epochs=2, progress=False,
                multi_step=size, callbacks=callbacks, accumulate=accumulate,
            )  # fmt: skip
            results.append((model, history))
    (first, history), *others = results
    for model, same in others:
        assert_same_bits(first, model)
        assert history.losses.tobytes() == same.losses.tobytes()
    assert all(place == done for place, done, _, _ in callbacks[0].places)
    assert callbacks[0].places[-1][1:3] == (19, 2 * 109)
    assert sum(count for *_, count in callbacks[0].places) == history.epochs[-1]["step"]


class Asking(px.Callback):
    """Wants control after so many steps, each time another number."""

    def __init__(self, wanted):
        self.wanted, self.ends, self.lengths = list(wanted), [], []

    def steps_until(self, run):
        return self.wanted[0] if self.wanted else None

    def on_step_end(self, run):
        self.ends.append(run.step)
        self.lengths.append(len(run.losses))
        self.wanted = self.wanted[1:]


def test_chunks_end_where_a_callback_asks_and_nothing_is_traced_again():
    traces = []

    def loss(prediction, target):
        traces.append(1)
        return px.losses.cross_entropy(prediction, target)

    data, asking = batches(12), Asking([1, 3, 2, 4])
    options = {"loss": loss, "optimizer": px.optim.Adam(1e-2), "progress": False, "multi_step": 8}
    px.fit(mlp(), data, callbacks=[asking], **options)
    assert asking.ends[:4] == [1, 4, 6, 10]
    assert asking.ends[-1] == 12
    assert sum(asking.lengths) == 12
    first = len(traces)
    px.fit(mlp(1), data, epochs=3, callbacks=[Asking([5, 1, 1])], **options)
    assert len(traces) == first + 2  # the first batch, and a look for convolutions; the program is there


def test_a_batch_of_another_shape_splits_a_chunk():
    data = batches(4) + batches(3, size=5) + batches(2)
    model, hand = mlp(), mlp()
    by_hand(hand, px.Optimizer(px.optim.Adam(1e-2), hand), data)
    px.fit(model, data, loss=px.losses.cross_entropy, optimizer=px.optim.Adam(1e-2), multi_step=9, progress=False)
    for path, v in px.paths(hand).items():
        kit.assert_close(px.paths(model)[path], np.asarray(v), what=path)


def slots(model, shape, steps=None, accumulate=1, size=6):
    opt = px.Optimizer(px.optim.Adam(), model)
    step = Step(Objective(px.losses.cross_entropy))
    return slots_for(steps, accumulate, step, model, opt, {}, batches(1, shape, size)[0])


def test_a_loop_is_used_where_it_pays():
    assert slots(mlp(), (4,)) > 8
    assert slots(mlp(), (4,), steps=5, accumulate=2) == 10
    slow = jax.default_backend() == "cpu" and package().library is None
    assert slots(cnn(), (4, 4, 1)) == (1 if slow else 32)
    assert slots(px.Chain(px.Dense(4, 3000), px.Dense(3000, 3000)), (4,)) == 1
    assert slots(mlp(), (4,), size=10**6) == 1


def test_a_convolution_that_the_kernels_decline_is_not_looped():
    if jax.default_backend() != "cpu":
        pytest.skip("slow on a CPU alone")
    wide = px.Chain(px.Conv((2, 2), 1, 2, padding=3), px.GlobalMeanPool(), px.flatten, px.Dense(2, 3))
    assert slots(wide, (4, 4, 1)) == 1


def test_multi_step_takes_the_steps_of_single_ones():
    data = batches(6)

    def step(model, opt, x, y):
        loss, grads = px.value_and_grad(lambda model: px.losses.cross_entropy(model(x), y))(model)
        opt.update(model, grads)
        return loss

    model, hand = dropping(), dropping()
    opt, other = (px.Optimizer(px.optim.Adam(1e-2), m) for m in (model, hand))
    single, three = px.jit(step), px.multi_step(step, 3)
    with kit.compiled_as_users_do():
        losses = [float(single(hand, other, *batch)) for batch in data]
        stacked = [jax.tree.map(lambda *a: np.stack(a), *data[i : i + 3]) for i in (0, 3)]
        ours = jnp.concatenate([three(model, opt, *batch) for batch in stacked])
    np.testing.assert_array_equal(np.float32(losses), ours)
    assert_same_bits(model, hand)
    with pytest.raises(px.ShapeError, match=r"px\.multi_step expects arrays \(3, batch, ...\), got float32\[2, 6, 4\]"):
        three(model, opt, *jax.tree.map(lambda a: a[:2], stacked[0]))
    with pytest.raises(px.RangeError, match="n of at least 1, got 0"):
        px.multi_step(step, 0)
