"""Recurrent layers learn: a task that needs memory, and English text better than counts of five characters."""

import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from ngram import ngram_loss
from phlox import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples"))


def test_a_gru_remembers_the_first_step():
    with px.seed(0):
        model = px.Chain(nn.GRU(2, 12), lambda y: y[:, -1], px.Dense(12, 1))
    opt = px.Optimizer(px.optim.Adam(0.03), model)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 10, 2)).astype(np.float32)
    sign = np.sign(x[:, 0, :1]).astype(np.float32)

    @px.jit
    def step(model, opt, x, y):
        loss, grads = px.value_and_grad(lambda m: px.losses.mse(m(x), y))(model)
        opt.update(model, grads)
        return loss

    for _ in range(150):
        loss = step(model, opt, jnp.asarray(x), jnp.asarray(sign))
    assert float(loss) < 0.1, "without a memory of ten steps it is the variance, 1"


def test_counts_of_characters_are_the_formula_by_hand():
    text, held_out = np.array([0, 1, 0, 1, 0, 0]), np.array([0, 1])
    # order 1: n = 6, two kinds; p(0) = (4 + 2/3) / 8, p(1) = (2 + 2/3) / 8
    one = [(4 + 2 / 3) / 8, (2 + 2 / 3) / 8]
    assert ngram_loss(text, held_out, 1, 3) == pytest.approx(-np.mean(np.log(one)))
    # order 2, after 0: three followers, 1 twice and 0 once
    two = [one[0], (2 + 2 * one[1]) / 5]
    assert ngram_loss(text, held_out, 2, 3) == pytest.approx(-np.mean(np.log(two)))


@pytest.mark.soak
def test_an_lstm_reads_english_better_than_a_5_gram_model():
    from char_lstm import evaluate, train, write
    from python_text import CHARACTERS, pages

    learn, held_out = pages()
    model = train(learn)
    loss = evaluate(model, held_out)
    assert loss < ngram_loss(learn, held_out, 5, len(CHARACTERS))
    text = write(model, "The statement ")
    assert text == write(model, "The statement "), "the same seed writes the same text"
    assert len(text) == len("The statement ") + 300
    words = {w for w in "".join(CHARACTERS[i] if CHARACTERS[i].isalpha() else " " for i in learn).split() if len(w) > 3}
    written = [w for w in "".join(c if c.isalpha() else " " for c in text).split()[2:-1] if len(w) > 3]
    assert np.mean([w in words for w in written]) > 0.5, "most of its words are words"
