"""The report of a smaller model: sizes, times, errors of layers, worst examples, metrics, beside NumPy and files."""

import itertools
import json
import math
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import oracle
from phlox.compress.reporting import _latency, _plot

RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.normal(size=shape).astype("f")


def by_hand(weights, x):
    """What two maps with a ReLU between give: after the first, and in the end; in float64."""
    first = np.maximum(x.astype(float) @ weights[0].astype(float) + 2, 0)
    return [first, first @ weights[1].astype(float)]


WEIGHTS = [normal(6, 8), normal(8, 3)]
OTHERS = [w + 0.3 * normal(*w.shape) for w in WEIGHTS]
X, Y = normal(70, 6), RNG.integers(0, 3, 70)


def model_of(weights):
    return px.Chain(
        px.Dense.of(jnp.asarray(weights[0]), jnp.full(8, 2.0), px.relu), px.Dense.of(jnp.asarray(weights[1]), None)
    )


@pytest.fixture(scope="module")
def found():
    return px.compress.report(
        model_of(WEIGHTS), model_of(OTHERS), (X, Y), metrics={"right": px.metrics.Accuracy()},
        loss=px.losses.cross_entropy, latency=(), examples=5,
    )  # fmt: skip


def norm(a, axis=None):
    return np.sqrt((a**2).sum(axis))


def test_errors_of_layers_and_changes_of_examples_are_those_of_numpy(found):
    ours, theirs = by_hand(WEIGHTS, X), by_hand(OTHERS, X)
    want = [norm(b - a) / norm(a) for a, b in zip(ours, theirs, strict=True)]
    assert list(found.layers) == ["layers.0", "layers.1", ""]
    np.testing.assert_allclose(list(found.layers.values()), [*want, want[-1]], rtol=1e-5)
    np.testing.assert_allclose(found.changes, norm(theirs[1] - ours[1], 1) / norm(ours[1], 1), rtol=1e-4)


def test_examples_whose_class_changed_come_first_then_those_that_moved_most(found):
    ours, theirs = (by_hand(w, X)[1].argmax(1) for w in (WEIGHTS, OTHERS))
    other = np.flatnonzero(ours != theirs)
    assert found.flipped == len(other) / 70
    assert 2 < len(other) < 60
    assert np.array_equal(found.flips, ours != theirs)
    order = [*other[np.argsort(-found.changes[other])], *np.argsort(-np.where(ours == theirs, found.changes, -1))]
    assert [one.index for one in found.worst] == order[:5]
    for one in found.worst:
        assert (one.before, one.after, one.target) == (ours[one.index], theirs[one.index], Y[one.index])
        assert one.change == found.changes[one.index]
    still = px.compress.report(model_of(WEIGHTS), model_of(WEIGHTS), (X, Y), latency=())
    assert set(still.layers.values()) == {0.0}
    assert (still.flipped, still.changes.max()) == (0.0, 0.0)


def test_metrics_are_those_of_numpy_and_the_loss_that_of_torch(found):
    torch = oracle("torch")
    for side, weights in ((found.before, WEIGHTS), (found.after, OTHERS)):
        scores = by_hand(weights, X)[1]
        assert side.scores["right"] == pytest.approx(float((scores.argmax(1) == Y).mean()))
        want = torch.nn.functional.cross_entropy(torch.tensor(scores), torch.tensor(Y))
        assert side.scores["loss"] == pytest.approx(float(want), rel=1e-5)


@pytest.mark.parametrize(
    "metrics",
    [px.metrics.Accuracy(), [px.metrics.Accuracy()], {"accuracy": px.metrics.Accuracy()},
     px.metrics.Metrics(accuracy=px.metrics.Accuracy())],
)  # fmt: skip
def test_metrics_in_every_form_that_evaluate_takes(metrics):
    model = model_of(WEIGHTS)
    report = px.compress.report(model, model, [(X[:8], Y[:8])], metrics=metrics, latency=())
    want = float((by_hand(WEIGHTS, X[:8])[1].argmax(1) == Y[:8]).mean())
    assert report.before.scores == {"accuracy": pytest.approx(want)}


def test_sizes_are_those_of_the_file_the_arrays_and_the_formula(tmp_path):
    model = px.Chain(px.Dense(40, 30, px.relu, key=0), px.Dropout(0.5), px.Dense(30, 10, bias=False, key=1))
    model[2].weight = model[2].weight.at[:, :4].set(0)
    px.freeze(model[0])
    small = px.compress.quantize(model, 4)
    found = px.compress.report(model, small, normal(3, 40), latency=())
    for side, which in ((found.before, model), (found.after, small)):
        px.save(which, tmp_path / "model.safetensors")
        assert side.disk == (tmp_path / "model.safetensors").stat().st_size
    key = jax.random.key_data(jax.random.key(0)).nbytes
    assert found.before.memory == 4 * (40 * 30 + 30 + 30 * 10) + key
    assert found.after.memory == 20 * 30 + 15 * 10 + 4 * (30 + 30 + 10) + key
    assert found.before.parameters == found.after.parameters == 40 * 30 + 30 + 30 * 10
    assert found.before.nonzero == 40 * 30 + 30 * 6  # the bias begins with zeros too
    assert found.after.nonzero < found.before.nonzero
    assert found.before.flops == 2 * 40 * 30 + 2 * 30 + 2 * 30 * 10
    assert found.before.flops == px.summary(px.testmode(model), (1, 40)).flops
    assert found.before.scores == {}
    assert (found.flipped, found.worst[0].before) == (None, None)


def test_what_is_shared_counts_once_and_a_model_that_no_file_can_describe_is_told():
    class Twice(px.Module):
        def __init__(self):
            self.a = self.b = px.Dense(4, 4)
            self.last = lambda x: 2 * x

        def __call__(self, x):
            return self.last(self.b(self.a(x)))

    model = Twice()
    found = px.compress.report(model, model, normal(5, 4), latency=())
    assert (found.before.parameters, found.before.memory) == (20, 80)
    assert found.before.disk > 80
    assert found.notes == ("on disk there are arrays alone: px.save can't describe this model",)
    assert list(found.layers) == ["a", "a#2", ""]


def test_perplexity_and_places_of_language_models_those_to_ignore_left_out():
    model = px.Chain(px.Embedding.of(jnp.asarray(normal(11, 8))), px.Dense.of(jnp.asarray(normal(8, 11)), None))
    small = px.Chain(model[0], px.Dense.of(model[1].weight + normal(8, 11), None))
    tokens = RNG.integers(0, 11, (10, 8))
    x, y = tokens[:, :-1], np.where(np.arange(7) < 5, tokens[:, 1:], -100)
    found = px.compress.report(
        model, small, (x, y[:, :7]), loss=px.losses.cross_entropy, latency=(), batch_size=4, examples=3
    )
    logits = [np.asarray(m(jnp.asarray(x)), float)[:, :5] for m in (model, small)]
    for side, z in zip((found.before, found.after), logits, strict=True):
        each = np.log(np.exp(z).sum(-1)) - np.take_along_axis(z, y[:, :5, None], -1)[..., 0]
        assert side.scores["loss"] == pytest.approx(each.mean(), rel=1e-4)
    other = logits[0].argmax(-1) != logits[1].argmax(-1)
    assert 0 < other.mean() < 1
    assert found.flipped == pytest.approx(other.mean())
    np.testing.assert_allclose(found.flips, other.mean(1))
    assert found.worst[0].index == np.lexsort((-found.changes, -found.flips))[0]
    told = px.compress.report(model, small, (x, tokens[:, 1:]), metrics=px.metrics.Perplexity(logits=True), latency=())
    z = np.asarray(small(jnp.asarray(x)), float)
    each = np.log(np.exp(z).sum(-1)) - np.take_along_axis(z, tokens[:, 1:, None], -1)[..., 0]
    assert told.after.scores["perplexity"] == pytest.approx(math.exp(each.mean()), rel=1e-4)


def test_batches_of_another_form_and_layers_without_their_like():
    class Twins(px.Module):
        def __init__(self, width):
            self.inner, self.out = px.Dense(3, width), px.Dense(width, 2)

        def __call__(self, x, scale):
            return {"y": self.out(self.inner(x)) * scale, "count": jnp.zeros(len(x), int)}

    wide, narrow = Twins(8), Twins(4)
    batch = {"x": normal(4, 3), "scale": np.float32(2)}
    found = px.compress.report(
        wide, narrow, [batch] * 3, forward=lambda m, b: m(b["x"], scale=b["scale"]), latency=()
    )  # fmt: skip
    ours, theirs = (np.asarray(m(batch["x"], 2)["y"], float) for m in (wide, narrow))
    assert list(found.layers) == ["out", ""]
    assert found.layers[""] == pytest.approx(norm(theirs - ours) / norm(ours), rel=1e-5)
    assert found.changes.shape == (12,)
    assert found.notes[0].startswith("1 parts of the model have no like")


def test_calls_are_timed_in_turns_and_noise_is_told(monkeypatch):
    now, order = [0.0], []

    def call(name, seconds):
        def run():
            order.append(name)
            now[0] += next(seconds)

        return run

    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    slow, fast = itertools.repeat(0.02), itertools.repeat(0.004)
    found = _latency.race(call("first", slow), call("second", fast), 0.3)
    assert (found.first.median, found.second.median) == (pytest.approx(0.02), pytest.approx(0.004))
    assert found.faster.median == pytest.approx(5)
    rounds = int(0.3 / (0.02 + 2 * 0.004))
    assert order[6:] == [n for r in range(rounds) for n in (["first"] + 2 * ["second"])[:: 1 if r % 2 == 0 else -1]]
    assert not found.first.noisy
    uneven = itertools.cycle([0.01, 0.02])
    found = _latency.race(call("first", uneven), call("second", fast), 0.01)
    assert (found.first.low, found.first.median, found.first.high) == tuple(map(pytest.approx, (0.01, 0.02, 0.02)))
    assert found.first.noisy


def test_latency_is_of_as_many_examples_as_asked_for():
    sizes = []
    forward = lambda model, x: (sizes.append(x.shape[0]), model(x))[1]  # noqa: E731
    model = model_of(WEIGHTS)
    found = px.compress.report(model, model_of(OTHERS), [X[:5]], forward=forward, latency=(2, 12), seconds=1e-3)
    assert {2, 12, 5} <= set(sizes)
    assert list(found.faster) == list(found.before.latency) == list(found.after.latency) == [2, 12]
    assert all(t.low <= t.median <= t.high for t in (*found.before.latency.values(), *found.faster.values()))
    rows = _latency.of_size((X[:5], np.float32(3)), 12)
    assert np.array_equal(rows[0], X[[*range(5), *range(5), 0, 1]])
    assert rows[1] == 3
    assert "a call of 12" in str(found)


def test_models_stay_as_they_are_and_infer():
    model = px.Chain(px.Dense(6, 6, key=0), px.BatchNorm(6), px.Dropout(0.9))
    before = {path: np.asarray(jax.random.key_data(a) if "key" in path else a) for path, a in px.paths(model).items()}
    with px.training(True):
        found = px.compress.report(model, px.copy(model), X, latency=())
    assert found.layers[""] == 0
    for path, a in px.paths(model).items():
        assert np.array_equal(before[path], jax.random.key_data(a) if "key" in path else a)


def test_json_has_every_number_and_no_nan(found, tmp_path):
    found.save(tmp_path / "report.json")
    again = json.loads((tmp_path / "report.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert again == found.as_dict()
    assert again["before"]["parameters"] == 80
    assert again["layers"]["layers.1"] == found.layers["layers.1"]
    assert again["worst"][0]["index"] == found.worst[0].index
    np.testing.assert_allclose(again["changes"], found.changes)
    broken = model_of([WEIGHTS[0], np.full((8, 3), np.nan, "f")])
    matrix = {"matrix": px.metrics.ConfusionMatrix(3)}
    bad = px.compress.report(model_of(WEIGHTS), broken, (X[:4], Y[:4]), metrics=matrix, latency=(), examples=2)
    told = json.loads(json.dumps(bad.as_dict(), allow_nan=False))
    assert told["layers"][""] is None
    assert np.array_equal(told["before"]["scores"]["matrix"], bad.before.scores["matrix"])
    assert "array 3 × 3" in str(bad)


def test_printed_as_tables(found):
    text = str(found)
    assert text.startswith("Chain: ")
    for row in ("parameters  ", "not zero  ", "memory  ", "disk  ", "FLOPs, one example", "loss  ", "right  "):
        assert row in text
    worst = found.worst[0]
    cells = [
        c.strip() for c in next(line for line in text.splitlines() if line.startswith(f"{worst.index} ")).split("│")
    ]
    assert cells == [str(worst.index), f"{worst.change:.3g}", str(worst.before), str(worst.after), str(worst.target)]


def test_drawn_with_a_bar_for_each_layer_and_all_examples(found, tmp_path):
    figure = found.plot(tmp_path / "report.png")
    assert (tmp_path / "report.png").read_bytes()[:4] == b"\x89PNG"
    shares, layers, changes = figure.axes
    assert [t.get_text().split("  ")[0] for t in shares.get_yticklabels()] == [
        "numbers not zero",
        "memory",
        "disk",
        "FLOPs",
    ]
    assert [bar.get_width() for bar in layers.patches] == [found.layers["layers.0"], found.layers["layers.1"]]
    tops = [p.get_height() for p in changes.patches]
    assert sum(tops) == len(found.changes)
    assert sum(p.get_height() for p in changes.containers[1]) == (found.flips > 0).sum()


def test_its_colours_are_seen_on_white_and_on_black():
    """Three times the luminance, as WCAG 2.1 asks of what is drawn."""
    for color in (_plot._LEFT, _plot._LOST, _plot._INK):
        parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        light = 0.05 + sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
        assert 1.05 / light >= 3
        assert light / 0.05 >= 3


# --- what is refused --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"latency": (0,)}, "expects numbers of examples for latency, got (0,)"),
        ({"latency": 4}, "expects numbers of examples for latency, got 4"),
        ({"seconds": 0}, "expects seconds above 0, got 0"),
        ({"examples": 0}, "expects a number of examples of 1 or more, got 0"),
        ({"data": None}, "expects data, got None"),
        ({"model": "model"}, "expects a model, got 'model'"),
        ({"smaller": jnp.ones(3)}, "expects a model, got float32[3]"),
        ({"smaller": px.Dense(6, 4)}, "expects two models with results of one form, got [[70, 3]] and [[70, 4]]"),
    ],
)
def test_what_means_nothing_is_refused(options, text):
    given = {"model": px.Dense(6, 3), "smaller": px.Dense(6, 3), "data": [X], "latency": ()} | options
    with pytest.raises(px.PhloxError) as error:
        px.compress.report(**given)
    assert f"px.compress.report {text}" in str(error.value)
    assert "fix: " in str(error.value)
