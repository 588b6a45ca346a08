"""Tied embeddings: one Module at two paths, with one gradient and one entry in the optimiser and the file."""

import jax
import jax.numpy as jnp

import phlox as px

Array = jax.Array


class Scores(px.Module):
    """The output layer: scores of every token, by the table that it is given."""

    bias: px.Param  # (tokens,)

    def __init__(self, table: px.Embedding):
        self.table = table
        self.bias = jnp.zeros(table.num, table.weight.dtype)

    def __call__(self, x: Array) -> Array:
        return self.table.attend(x) + self.bias


class Language(px.Module):
    """The next token from the last two."""

    def __init__(self, tokens: int, width: int):
        self.table = px.Embedding(tokens, width)
        self.body = px.Chain(px.Dense(2 * width, width, px.gelu), px.LayerNorm(width))
        self.scores = Scores(self.table)  # the same object

    def __call__(self, tokens: Array) -> Array:
        """Tokens (batch, 2) to scores (batch, tokens)."""
        return self.scores(self.body(self.table(tokens).reshape(len(tokens), -1)))


def train_step(model: Language, opt: px.Optimizer, tokens: Array, after: Array) -> Array:
    """One step on pairs of tokens and what came after."""
    loss, grads = px.value_and_grad(lambda m: px.losses.cross_entropy(m(tokens), after))(model)
    opt.update(model, grads)
    return loss


TEXT = "she sells sea shells by the sea shore and the shells she sells are sea shells for sure"


def data(text: str = TEXT) -> tuple[int, Array, Array]:
    """How many letters there are, pairs of them, and the letters after."""
    letters = sorted(set(text))
    ids = jnp.array([letters.index(c) for c in text])
    return len(letters), jnp.stack([ids[:-2], ids[1:-1]], -1), ids[2:]


if __name__ == "__main__":
    count, tokens, after = data()
    with px.seed(0):
        model = Language(count, 16)
    opt, step = px.Optimizer(px.optim.Adam(1e-2), model), px.jit(train_step)
    for i in range(201):
        loss = step(model, opt, tokens, after)
        if i % 50 == 0:
            print(f"step {i:3}: loss {loss:.3f}, still tied: {model.scores.table is model.table}")
    print("arrays in a file:", *px.state_dict(model))
