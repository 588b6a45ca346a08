"""A real task: the character GPT of examples/ against a 5-gram model with interpolated smoothing, on held-out text."""

import importlib.util
import math
from collections import Counter, defaultdict
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px

ORDER = 5


def example():
    path = Path(__file__).resolve().parents[2] / "examples" / "char_gpt.py"
    spec = importlib.util.spec_from_file_location("char_gpt", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def five_gram_loss(train, test, vocabulary):
    """Mean nats per character of a 5-gram model, Witten and Bell's interpolation of all shorter contexts."""
    follow = [defaultdict(Counter) for _ in range(ORDER)]  # by length of the context
    train, test = train.tolist(), test.tolist()
    for n, table in enumerate(follow):
        for i in range(n, len(train)):
            table[tuple(train[i - n : i])][train[i]] += 1
    totals = [{context: sum(seen.values()) for context, seen in table.items()} for table in follow]
    loss = 0.0
    for i in range(ORDER - 1, len(test)):
        p = 1.0 / vocabulary
        for n, table in enumerate(follow):
            context = tuple(test[i - n : i])
            seen = table.get(context)
            if seen is not None:
                p = (seen[test[i]] + len(seen) * p) / (totals[n][context] + len(seen))
        loss -= math.log(p)
    return loss / (len(test) - ORDER + 1)


def held_out_loss(model, data, time):
    """Mean nats per character of the second half of windows that overlap by half."""
    starts = np.arange(0, len(data) - time - 1, time // 2)
    windows = jnp.asarray(data[starts[:, None] + np.arange(time + 1)])
    score = px.jit(lambda model, x: px.losses.cross_entropy(model(x[:, :-1])[:, time // 2 :], x[:, 1 + time // 2 :]))
    sizes = [windows[i : i + 32] for i in range(0, len(windows) - 31, 32)]
    return float(np.mean([score(model, part) for part in sizes]))


def test_the_five_gram_model_is_witten_bells_by_hand():
    # after "ab" follow b, then a: p(a) = (1 + 2 * (1/2)) / (2 + 2), then the longer contexts, unseen or seen
    train, test = np.array([0, 1]), np.array([1, 1, 1, 1, 0])
    assert math.isclose(five_gram_loss(train, test, 2), -math.log(0.5))


def test_a_small_one_learns_and_generates_with_its_cache():
    gpt = example()
    data, characters = gpt.encoded(gpt.english()[:20000])
    with px.seed(0):
        model = gpt.GPT(len(characters), dim=32, heads=2, layers=1)
    losses = gpt.train(model, data, 60, batch=8, time=32, rate=1e-2)
    shares = np.bincount(data) / len(data)
    single = -np.sum(shares * np.log(np.where(shares > 0, shares, 1)))
    assert np.mean(losses[-10:]) < single - 0.3, "it knows more than how frequent each character is"
    prompt = data[None, :8]
    written = gpt.generate(model, prompt, 12, temperature=1e-4)
    text, best = np.pad(prompt, ((0, 0), (0, 12))), px.jit(lambda model, text: model(text).argmax(-1))
    for at in range(8, 20):  # the likeliest next character, each from the whole text before it
        text[:, at] = best(model, jnp.asarray(text))[:, at - 1]
    np.testing.assert_array_equal(written, text[:, 8:])


@pytest.mark.soak
def test_it_beats_a_five_gram_model_on_held_out_text():
    gpt = example()
    data, characters = gpt.encoded(gpt.english())
    cut = int(0.9 * len(data))
    train, test = data[:cut], data[cut:]
    bound = five_gram_loss(train, test, len(characters))
    with px.seed(0):
        model = gpt.GPT(len(characters))
    gpt.train(model, train, 800, batch=16, time=128, rate=2e-3)
    loss = held_out_loss(model, test, 128)
    print(f"5-gram {bound:.3f}, GPT {loss:.3f} nats per character")
    assert loss < bound
