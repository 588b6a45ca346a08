"""A loader goes on from every position: batch by batch and in stacks, before the short last batch too."""

import jax
import numpy as np
import pytest

import phlox as px

DATA = np.arange(23)


def _stacked(loader, padded):
    """The batches that a loader gives in stacks, one by one, each with its mask."""
    found = []
    for batches, masks, _, place in loader.stacked(3, padded=padded):
        batch = np.asarray(jax.tree.leaves(batches)[0][place])
        found.append(batch if masks is None or not padded else batch[np.asarray(masks[place])])
    return found


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("start", range(7))
def test_stacks_from_every_position_are_the_batches_that_are_left(start, padded):
    def loader():
        return px.DataLoader(DATA, 4, shuffle=True, seed=5)

    whole = [np.asarray(batch) for batch in loader()]
    assert [len(batch) for batch in whole] == [4] * 5 + [3]
    begun, resumed = loader(), loader()
    batches = iter(begun)
    for _ in range(start):
        next(batches)
    resumed.restore(begun.state())
    left = _stacked(resumed, padded)
    assert len(left) == 6 - start
    for ours, theirs in zip(left, whole[start:], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    again = loader()
    again.restore(begun.state())
    for ours, theirs in zip(again, whole[start:], strict=True):
        np.testing.assert_array_equal(np.asarray(ours), theirs)


def test_windows_of_a_stream_are_shuffled_each_in_its_own_way():
    loader = px.DataLoader(lambda: iter(range(64)), 8, shuffle=8, seed=1)
    orders = [tuple(np.asarray(batch) - 8 * number) for number, batch in enumerate(loader)]
    assert all(sorted(order) == list(range(8)) for order in orders)
    assert len(set(orders)) == 8  # two of 8! orders alike by chance: less than once in a thousand seeds
    assert orders != [tuple(np.asarray(batch) - 8 * number) for number, batch in enumerate(loader)]
