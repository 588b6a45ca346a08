"""Distillation: losses and gradients beside PyTorch's, a teacher that stands still, training in all its forms."""

import importlib
import math
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import assert_close, compiled_as_users_do, oracle

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.normal(size=shape).astype("f")


X, Y = normal(6, 5), np.array([0, 2, 1, 1, 0, 2])


def dense_pair():
    """A teacher of two maps and a student with fewer features; biases and weights that are not zero."""
    teacher = px.Chain(px.Dense(5, 8, px.tanh, key=0), px.Dense(8, 3, key=1))
    student = px.Chain(px.Dense(5, 4, px.tanh, key=2), px.Dense(4, 3, key=3))
    return teacher, student


def tensor(a, grad=False):
    return oracle("torch").tensor(np.asarray(a, np.float32), requires_grad=grad)


def in_torch(model, x, weights=None):
    """What the layers of a chain of two maps give, and its weights as leaves."""
    torch = oracle("torch")
    weights = [tensor(a, True) for layer in model.layers for a in (layer.weight, layer.bias)]
    first = torch.tanh(tensor(x) @ weights[0] + weights[1])
    return [first, first @ weights[2] + weights[3]], weights


def value_and_gradients(lesson, *batch, **given):
    def run(lesson):
        return lesson.loss(lesson, *batch, **given)

    (loss, terms), grads = px.jit(lambda m: px.value_and_grad(run, has_aux=True)(m))(lesson)
    return loss, terms, grads


def test_the_loss_and_its_gradients_are_those_of_torch():
    torch = oracle("torch")
    F = torch.nn.functional
    teacher, student = dense_pair()
    lesson = px.compress.distil(
        teacher, student, X, loss=px.losses.cross_entropy, alpha=0.7, temperature=3.0,
        features="layers.0", feature_weight=0.25, key=4,
    )  # fmt: skip
    loss, terms, grads = value_and_gradients(lesson, X, Y)
    (_, t), _ = in_torch(teacher, X)
    (first, s), weights = in_torch(student, X)
    hint = in_torch(teacher, X)[0][0].detach()
    w, b = (tensor(a, True) for a in (lesson.adapters["layers.0"].weight, lesson.adapters["layers.0"].bias))
    assert w.shape == (4, 8)
    want = {
        "truth_loss": F.cross_entropy(s, torch.tensor(Y)),
        "logits_loss": 9 * F.kl_div(F.log_softmax(s / 3, 1), F.softmax(t.detach() / 3, 1), reduction="batchmean"),
        "feature_loss": F.mse_loss(first @ w + b, hint),
    }
    assert set(terms) == set(want)
    for name, value in want.items():
        assert_close(terms[name], value.detach().numpy(), what=name)
    total = 0.3 * want["truth_loss"] + 0.7 * want["logits_loss"] + 0.25 * want["feature_loss"]
    assert_close(loss, total.detach().numpy())
    total.backward()
    ours = [a for layer in grads.student.layers for a in (layer.weight, layer.bias)]
    maps = grads.adapters["layers.0"]
    for g, theirs in zip([*ours, maps.weight, maps.bias], [*weights, w, b], strict=True):
        assert_close(g, theirs.grad.numpy(), kind="grad")
    assert all(g is None for g in jax.tree.leaves(grads.teacher, is_leaf=lambda g: g is None))


def test_weights_of_examples_padding_and_places_to_ignore():
    teacher, student = dense_pair()
    lesson = px.compress.distil(teacher, student, X, loss=px.losses.cross_entropy, features="layers.0", key=4)
    run = px.jit(lambda lesson, *batch, **given: lesson.loss(lesson, *batch, **given))
    whole = run(lesson, X[:4], Y[:4])
    mask = jnp.array([1, 1, 1, 1, 0, 0], bool)
    broken = np.where(np.arange(6)[:, None] < 4, X, 1e3).astype("f")
    for found in (
        run(lesson, broken, Y, weight=mask),
        run(lesson, broken, Y, np.array([1, 1, 1, 1, 0, 0], "f")),
        run(lesson, broken, Y, np.ones(6, "f"), weight=mask),
    ):
        assert_close(found[0], whole[0])
        assert {n: float(v) for n, v in found[1].items()} == pytest.approx({n: float(v) for n, v in whole[1].items()})
    weighed = lambda *w: run(lesson, X[:4], Y[:4], np.array(w, "f"))  # noqa: E731
    first, second = weighed(1, 0, 0, 0)[0], weighed(0, 1, 0, 0)[0]
    assert_close(weighed(1, 3, 0, 0)[0], (first + 3 * second) / 4)
    some, few = run(lesson, X[:4], np.where(np.arange(4) < 3, Y[:4], -100))[1], weighed(1, 1, 1, 0)[1]
    assert_close(some["logits_loss"], few["logits_loss"])
    assert_close(some["truth_loss"], few["truth_loss"])


@pytest.mark.soak
def test_history_of_padded_batches_is_that_of_the_whole_epoch():
    teacher, student = dense_pair()
    lesson = px.compress.distil(teacher, student, loss=px.losses.cross_entropy)
    whole = float(lesson.loss(lesson, X, Y)[0])
    history = px.fit(
        lesson, (X, Y), loss=lesson.loss, optimizer=px.optim.Descent(0.0), batch_size=4, validation_data=(X, Y),
        metrics={"right": px.metrics.Accuracy()}, progress=False,
    )  # fmt: skip
    assert history["loss"] == [pytest.approx(whole)]
    assert history["val_loss"] == [pytest.approx(whole)]
    assert history["val_right"] == [pytest.approx(float((np.asarray(student(X)).argmax(1) == Y).mean()))]
    unweighted = lambda p, t: px.losses.cross_entropy(p, t)  # noqa: E731
    lesson = px.compress.distil(teacher, student, loss=unweighted)
    history = px.fit(lesson, (X, Y), loss=lesson.loss, optimizer=px.optim.Descent(0.0), batch_size=4, progress=False)
    assert history["loss"] == [pytest.approx(whole)]


def test_the_teacher_infers_stands_still_and_stays_the_users_own():
    teacher = px.Chain(px.Dense(5, 8, key=0), px.BatchNorm(8), px.Dropout(0.5, key=7), px.Dense(8, 3, key=1))
    teacher[1].mean = jnp.asarray(normal(8))
    _, student = dense_pair()
    said = np.asarray(teacher(X))
    arrays = {path: np.asarray(a) for path, a in px.paths(teacher).items() if "key" not in path}
    px.trainmode(teacher[2])  # as one that samples is pinned
    lesson = px.compress.distil(teacher, student, temperature=1.0)
    want = px.losses.kl_divergence_with_logits(student(X), jax.nn.softmax(said))
    with px.training(True):
        loss = value_and_gradients(lesson, X)[0]
    assert_close(loss, np.asarray(want))
    before = np.asarray(student[0].weight)
    rule = px.optim.AdamW(0.1, weight_decay=0.1)
    history = px.fit(lesson, [X] * 3, loss=lesson.loss, optimizer=rule, epochs=3, progress=False)
    assert history["loss"][-1] < history["loss"][0]
    for model in (teacher, lesson.teacher):
        found = px.paths(model)
        assert all(np.array_equal(a, found[path]) for path, a in arrays.items())
    assert len(px.split(teacher)[0]) == 6
    assert lesson.student is student
    assert not np.array_equal(before, student[0].weight)
    assert set(px.split(lesson)[0]) == {f"student.{path}" for path in px.split(student)[0]}
    assert_close(lesson(X), np.asarray(student(X)))


def test_what_a_student_shares_with_its_teacher_moves_in_the_student_alone():
    teacher, student = dense_pair()
    student[1] = px.Dense(4, 3, key=3)
    shared = px.Chain(teacher[0], px.Dense(8, 3, key=5))
    before = np.asarray(teacher[0].weight)
    lesson = px.compress.distil(teacher, shared)
    px.fit(lesson, [X], loss=lesson.loss, optimizer=px.optim.Descent(0.5), progress=False)
    assert np.array_equal(before, lesson.teacher[0].weight)
    assert not np.array_equal(before, shared[0].weight)


def test_attention_in_space_is_that_of_the_paper_s_code():
    torch = oracle("torch")

    class Net(px.Module):
        def __init__(self, channels, key):
            self.conv, self.head = px.Conv((3, 3), 2, channels, px.relu, key=key), px.Dense(channels, 3, key=key)

        def __call__(self, x):
            return self.head(self.conv(x).mean((1, 2)))

    x, teacher, student = normal(4, 6, 5, 2), Net(8, 0), Net(3, 1)
    lesson = px.compress.distil(teacher, student, x, attention={"conv": "conv"}, attention_weight=10.0)
    assert lesson.adapters == {}

    def at(x):
        return torch.nn.functional.normalize(x.pow(2).mean(1).view(x.size(0), -1))

    maps = [at(tensor(np.moveaxis(np.asarray(m.conv(x)), -1, 1))) for m in (student, teacher)]
    want = (maps[0] - maps[1]).pow(2).mean()
    loss, terms, grads = value_and_gradients(lesson, x)
    assert_close(terms["attention_loss"], want.numpy())
    assert_close(loss, np.asarray(terms["logits_loss"] + 10 * terms["attention_loss"]))
    assert float(jnp.abs(grads.student.conv.weight).max()) > 0
    dark = px.compress.distil(teacher, px.map(jnp.zeros_like, student), x, attention="conv")
    _, terms, grads = value_and_gradients(dark, x)
    assert np.isfinite(terms["attention_loss"])
    assert all(np.isfinite(g).all() for g in px.paths(grads).values())


class Attending(px.Module):
    def __init__(self, heads, key, asks=False):
        self.attention = px.nn.MultiHeadAttention(8, heads, causal=True, key=key)
        self.head, self.asks = px.Dense(8, 3, key=key), asks

    def __call__(self, x):
        y = self.attention(x, return_weights=True)[0] if self.asks else self.attention(x)
        return self.head(y)


def weights_by_hand(model, x):
    """The softmax of scaled products of queries and keys, those behind left out; (batch, heads, time, time)."""
    layer, x = model.attention, x.astype(float)
    q, k = (x @ np.asarray(m.weight, float) + np.asarray(m.bias, float) for m in (layer.q_proj, layer.k_proj))
    q, k = (a.reshape(*a.shape[:2], layer.heads, -1).transpose(0, 2, 1, 3) for a in (q, k))
    scores = np.where(np.tri(x.shape[1], dtype=bool), q @ k.swapaxes(2, 3) / math.sqrt(q.shape[-1]), -np.inf)
    e = np.exp(scores - scores.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.mark.parametrize("heads", [2, 4])
def test_attention_of_transformers_is_compared_by_head_or_in_the_mean_over_heads(heads):
    x, teacher, student = normal(2, 5, 8), Attending(2, 0, asks=True), Attending(heads, 1)
    lesson = px.compress.distil(teacher, student, x, attention="attention", features="attention")
    maps = [weights_by_hand(m, x) for m in (student, teacher)]
    if heads != 2:
        maps = [m.mean(1) for m in maps]
    terms = value_and_gradients(lesson, x)[1]
    assert_close(terms["attention_loss"], ((maps[0] - maps[1]) ** 2).mean().astype("f"))
    want = ((np.asarray(student.attention(x)) - np.asarray(teacher.attention(x))) ** 2).mean()
    assert_close(terms["feature_loss"], want)
    answers = px.losses.kl_divergence_with_logits(student(x) / 2, jax.nn.softmax(teacher(x) / 2))
    assert_close(terms["logits_loss"], 4 * np.asarray(answers))
    assert type(student.attention) is px.nn.MultiHeadAttention
    y, weights = student.attention(x, return_weights=True)
    assert (y.shape, weights.shape) == ((2, 5, 8), (2, heads, 5, 5))


def test_batches_of_another_form_and_a_loss_of_numbers():
    teacher, student = px.Dense(5, 2, key=0), px.Dense(5, 2, key=1)
    batch = {"x": X, "y": normal(6, 2)}
    lesson = px.compress.distil(
        teacher, student, loss=px.losses.mse, logits_loss=px.losses.mae, alpha=0.25,
        forward=lambda model, batch: model(batch["x"]), target=lambda batch: batch["y"],
    )  # fmt: skip
    s, t = np.asarray(student(X)), np.asarray(teacher(X))
    want = 0.75 * ((s - batch["y"]) ** 2).mean() + 0.25 * np.abs(s - t).mean()
    history = px.fit(lesson, [batch], loss=lesson.loss, optimizer=px.optim.Descent(0.0), progress=False)
    assert history["loss"] == [pytest.approx(float(want), rel=1e-5)]


@pytest.mark.soak
def test_adapters_of_one_s_own_train_and_end_with_the_lesson():
    teacher, student = (
        px.Chain(px.Conv((1,), 2, 6, key=0), px.Dense(6, 3, key=1)),
        px.Chain(px.Conv((1,), 2, 4, key=2), px.Dense(4, 3, key=3)),
    )
    own = px.Chain(px.Dense(4, 16, px.relu, key=4), px.Dense(16, 6, key=5))
    x = normal(4, 7, 2)
    lesson = px.compress.distil(teacher, student, x, features={"layers.0": "layers.0"}, adapters={"layers.0": own})
    before, count = np.asarray(own[1].weight), len(px.paths(student))
    px.fit(lesson, [x], loss=lesson.loss, optimizer=px.optim.Adam(0.1), progress=False)
    assert not np.array_equal(before, own[1].weight)
    assert len(px.paths(lesson.student)) == count


# --- training in all its forms -----------------------------------------------------------------------


def lesson_of(**options):
    teacher, student = dense_pair()
    return px.compress.distil(
        teacher, student, X, loss=px.losses.cross_entropy, features="layers.0", key=4, **options
    )  # fmt: skip


def trained(**options):
    lesson = lesson_of()
    px.fit(lesson, (X, Y), loss=lesson.loss, optimizer=px.optim.Adam(0.05), progress=False, **options)
    return {path: np.asarray(a) for path, a in px.paths(lesson).items()}


@pytest.mark.soak
def test_gradients_of_several_batches_make_one_step_and_bfloat16_is_near():
    whole = trained(batch_size=6, epochs=3)
    for path, a in trained(batch_size=2, accumulate=3, epochs=3).items():
        np.testing.assert_allclose(a, whole[path], atol=2e-4, err_msg=path)
    rounded = trained(batch_size=6, epochs=3, precision="bf16")
    assert any(not np.array_equal(a, whole[path]) for path, a in rounded.items())
    for path, a in rounded.items():
        np.testing.assert_allclose(a, whole[path], atol=0.1, err_msg=path)


def test_a_run_that_was_broken_off_goes_on_bit_for_bit(tmp_path):
    whole = trained(batch_size=4, epochs=4)
    trained(batch_size=4, epochs=2, checkpoint_dir=tmp_path / "run")
    again = trained(batch_size=4, epochs=4, checkpoint_dir=tmp_path / "run", resume=True)
    assert all(np.array_equal(a, whole[path]) for path, a in again.items())


def test_a_lesson_is_saved_and_read(tmp_path):
    lesson = lesson_of()
    px.save(lesson, tmp_path / "lesson.safetensors")
    again = px.load(tmp_path / "lesson.safetensors")
    assert_close(again.loss(again, X, Y)[0], np.asarray(lesson.loss(lesson, X, Y)[0]))


SPREAD = """
    import numpy as np, phlox as px

    def lesson():
        teacher = px.Chain(px.Dense(4, 16, px.tanh, key=0), px.BatchNorm(16), px.Dense(16, 3, key=1))
        student = px.Chain(px.Dense(4, 8, px.tanh, key=2), px.BatchNorm(8), px.Dense(8, 3, key=3))
        return px.compress.distil(
            teacher, student, x[:2], loss=px.losses.cross_entropy, features={"layers.1": "layers.1"}, key=4)

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 4)).astype("f"), rng.integers(0, 3, 40)
    options = dict(optimizer=px.optim.Adam(1e-2), epochs=2, batch_size=16, progress=False)
    one = lesson()
    first = px.fit(one, (x, y), loss=one.loss, **options)
    for parallel in (px.parallel.data_parallel(), px.parallel.fsdp()):
        many = lesson()
        second = px.fit(many, (x, y), loss=many.loss, **options, parallel=parallel)
        for path, v in px.paths(one).items():
            np.testing.assert_allclose(v, px.paths(many)[path], rtol=2e-4, atol=2e-5, err_msg=path)
        np.testing.assert_allclose(first["loss"], second["loss"], rtol=1e-4)
    print("alike")
"""


@pytest.mark.soak
def test_two_devices_give_what_one_gives():
    env = {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "2"}
    command = [sys.executable, "-c", textwrap.dedent(SPREAD)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "alike"


@pytest.mark.soak
def test_three_students_of_three_tell_more_digits_with_a_teacher(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    example = importlib.import_module("digits_cnn")
    train, test = example.digits()
    few = (train[0][:200], train[1][:200])
    measured = {"loss": px.losses.cross_entropy, "metrics": {"right": px.metrics.Accuracy()}}
    with compiled_as_users_do():
        px.seed(0)
        teacher = example.network()
        steps = 15 * math.ceil(len(train[0]) / 64)
        px.fit(
            teacher, train, loss=px.losses.cross_entropy, epochs=15, batch_size=64, progress=False,
            optimizer=px.optim.AdamW(px.optim.one_cycle(3e-3, steps), weight_decay=1e-3),
        )  # fmt: skip
        found = []
        for seed in range(3):
            with px.seed(seed):
                student = px.Chain(px.flatten, px.Dense(64, 128, px.relu), px.Dense(128, 10))
            alone = px.copy(student)
            lesson = px.compress.distil(
                teacher, student, loss=px.losses.cross_entropy, temperature=8.0, alpha=0.9
            )  # fmt: skip
            options = {"epochs": 100, "batch_size": 40, "seed": seed, "progress": False}
            px.fit(alone, few, loss=px.losses.cross_entropy, optimizer=px.optim.Adam(3e-3), **options)
            px.fit(lesson, few, loss=lesson.loss, optimizer=px.optim.Adam(3e-3), **options)
            found.append([px.evaluate(model, test, **measured) for model in (alone, student)])
    print(f"digits, alone and with a teacher: {found}", flush=True)
    for alone, taught in found:
        assert taught["right"] > alone["right"]
        assert taught["loss"] < 0.8 * alone["loss"]


# --- what is refused --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"alpha": 1.5}, "expects alpha within [0, 1], got 1.5"),
        ({"alpha": 0.5, "loss": None}, "expects alpha=1 without a loss of the truth, got 0.5"),
        ({"temperature": 0}, "expects temperature above 0, got 0"),
        ({"feature_weight": -1}, "expects feature_weight of at least 0, got -1"),
        ({"attention_weight": "much"}, "expects attention_weight of at least 0, got 'much'"),
        ({"loss": "kl"}, "expects loss= that is a function, got 'kl'"),
        ({"features": "layers.7"}, "expects features= of paths in the student, got 'layers.7'"),
        ({"features": {"layers.0": "blocks.1"}}, "expects features= of paths in the teacher, got 'blocks.1'"),
        ({"features": "layers.0", "example": None}, "expects an example, for features and attention, got None"),
        ({"adapters": {"layers.1": px.Dense(3, 3)}}, "expects adapters= of paths in features=, got 'layers.1'"),
        ({"attention": "layers.0"}, "expects attention by heads, or over places, got float32[6, 4] at layers.0"),
        ({"features": "layers.0", "adapters": {"layers.0": px.Dense(4, 7)}},
         "expects features of one shape, but for their number, got float32[6, 7] at layers.0 and float32[6, 8]"),
        ({"teacher": "teacher"}, "expects a model, got 'teacher'"),
        ({"student": None}, "expects a model, got None"),
    ],
)  # fmt: skip
def test_what_means_nothing_is_refused(options, text):
    teacher, student = dense_pair()
    given = {"teacher": teacher, "student": student, "example": X, "loss": px.losses.cross_entropy} | options
    with pytest.raises(px.PhloxError) as error:
        px.compress.distil(**given)
    assert f"px.compress.distil {text}" in str(error.value)
    assert "fix: " in str(error.value)


def test_what_can_t_be_compared_is_told_as_soon_as_it_is_seen():
    teacher, student = dense_pair()
    student.spare = px.Dense(2, 2)
    teacher.spare = px.Dense(2, 2)
    with pytest.raises(px.StructureError, match="expects a layer that is called, got spare"):
        px.compress.distil(teacher, student, X, features="spare")
    lesson = px.compress.distil(teacher, student, loss=px.losses.cross_entropy)
    with pytest.raises(px.StructureError, match=r"expects batches \(x, y\) .*, got a single array float32\[6, 5\]"):
        lesson.loss(lesson, X)
    pair = [px.Chain(px.Conv((k,), 2, 3)) for k in (1, 2)]
    with pytest.raises(px.ShapeError, match=r"attention to the same places, got \[6\] at layers.0 and \[7\]"):
        px.compress.distil(pair[0], pair[1], normal(4, 7, 2), attention="layers.0")
    with pytest.raises(px.ShapeError, match=r"features of one shape.*float32\[4, 6, 3\] at layers.0"):
        px.compress.distil(pair[0], pair[1], normal(4, 7, 2), features="layers.0")
    several = px.Chain(px.Dense(5, 3), lambda y: {"y": y})
    lesson = px.compress.distil(several, several)
    with pytest.raises(px.StructureError, match="expects an answer that is one array of floats, got dict"):
        lesson.loss(lesson, X)
