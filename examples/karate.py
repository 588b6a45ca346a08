"""Tell which of two clubs each member of a karate club went to, from its friendships and two members that are known.

``python examples/karate.py`` prints how many of the other 32 are told right.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

import phlox as px

# Friends outside the club, each friendship once, as they were seen from 1970 to 1972; members are counted from 0.
# W. W. Zachary, "An information flow model for conflict and fission in small groups", 1977.
FRIENDS = {
    0: [1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 17, 19, 21, 31],
    1: [2, 3, 7, 13, 17, 19, 21, 30],
    2: [3, 7, 8, 9, 13, 27, 28, 32],
    3: [7, 12, 13],
    4: [6, 10],
    5: [6, 10, 16],
    6: [16],
    8: [30, 32, 33],
    9: [33],
    13: [33],
    14: [32, 33],
    15: [32, 33],
    18: [32, 33],
    19: [33],
    20: [32, 33],
    22: [32, 33],
    23: [25, 27, 29, 32, 33],
    24: [25, 27, 31],
    25: [31],
    26: [29, 33],
    27: [33],
    28: [31, 33],
    29: [32, 33],
    30: [32, 33],
    31: [32, 33],
    32: [33],
}
STAYED = [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 16, 17, 19, 21]  # with the trainer, Mr. Hi
TRAINER, OFFICER = 0, 33  # each at the head of a club, once there were two


def club() -> tuple[px.science.Graph, jax.Array]:
    """The friendships, and for each member whether it went with the officer."""
    senders = [member for member, friends in FRIENDS.items() for _ in friends]
    receivers = [friend for friends in FRIENDS.values() for friend in friends]
    one_way = px.science.Graph(jnp.eye(34), senders, receivers)  # all that is known of a member is who it is
    return px.science.to_undirected(one_way), jnp.ones(34, jnp.int32).at[jnp.array(STAYED)].set(0)


class Model(px.Module):
    """Two graph convolutions: a place in the plane for each member, and from there the odds of both clubs."""

    def __init__(self) -> None:
        self.first = px.science.GCNConv(34, 16, px.tanh)
        self.place = px.science.GCNConv(16, 2, px.tanh)
        self.odds = px.Dense(2, 2)

    def __call__(self, graph: px.science.Graph) -> jax.Array:
        return self.odds(self.places(graph))

    def places(self, graph: px.science.Graph) -> jax.Array:
        """Where each member is in the plane, (34, 2)."""
        return self.place(graph, self.first(graph))


def loss(model: Model, graph: px.science.Graph, known: jax.Array, clubs: jax.Array) -> jax.Array:
    """Cross-entropy of the members that are known."""
    return px.losses.cross_entropy(model(graph)[known], clubs)


@dataclass
class Found:
    """What came of it, for the picture."""

    model: Model
    graph: px.science.Graph
    went: jax.Array  # (34,)
    before: jax.Array  # (34, 2) places in the plane before training
    right: int  # of the 32 whose club was not told


def main(epochs: int = 100) -> Found:
    """Train on the trainer and the officer alone."""
    graph, went = club()
    known = jnp.array([TRAINER, OFFICER])
    with px.seed(0):
        model = Model()
    before = model.places(graph)
    px.fit(
        model, [(graph, known, went[known])], loss=loss, optimizer=px.optim.Adam(1e-2), epochs=epochs, progress=False
    )
    told = model(graph).argmax(-1)
    return Found(model, graph, went, before, int((told == went).sum()) - 2)


if __name__ == "__main__":
    print(f"{main().right} of 32 members are told right")
