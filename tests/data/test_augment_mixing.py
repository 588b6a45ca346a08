"""Mixed examples and masked sequences: closed forms, and the distributions that the papers name."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import phlox as px
from kit import assert_close
from phlox import data as D

KEY = jax.random.key(4)
RNG = np.random.default_rng(5)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
def test_mixup_shares_are_beta_and_labels_go_along(alpha):
    n = 2000
    x = RNG.normal(size=(n, 3)).astype(np.float32)
    mix = D.MixUp(alpha, key=0)
    mixed, share = mix(x, np.eye(n, dtype=np.float32), key=KEY)  # each example is a class: y tells who is mixed
    share = np.asarray(share, float)
    assert_close(mixed, share @ x.astype(float))
    assert_close(jnp.asarray(share.sum(1), jnp.float32), np.ones(n))
    first = share[np.arange(n), np.arange(n)]
    alone = first == 1  # partner of itself
    others = share.copy()
    others[np.arange(n), np.arange(n)] = 0
    assert ((others > 0).sum(1) <= 1).all()
    assert ((others > 0).sum(0) <= 1).all()  # the others are the batch in another order
    assert ((others > 0).sum(1) == 1).sum() > 0.8 * n or alpha < 1
    inner = first[~alone]
    assert stats.kstest(inner, stats.beta(alpha, alpha).cdf).statistic < 0.05


def test_mixup_of_classes_of_targets_and_with_probability_p():
    x, y = np.zeros((4000, 1), np.float32), np.arange(4000) % 2
    soft = np.asarray(D.MixUp(1.0, classes=2, p=0.3, key=0)(x, y, key=KEY)[1])
    assert soft.shape == (4000, 2)
    moved = soft.max(1) < 1
    assert stats.binomtest(int(moved.sum()), 4000, 0.3 / 2).pvalue > 1e-3  # half of the partners have the same class
    mixed, target = D.MixUp(1.0, key=0)(y[:, None].astype(np.float32), y.astype(np.float32), key=KEY)
    np.testing.assert_array_equal(mixed[:, 0], target)  # regression, (batch,)
    with pytest.raises(px.RangeError, match="classes"):
        D.MixUp(1.0, classes=2, key=0)(x[:3], np.array([0, 1, 2]), key=KEY)


def test_soft_targets_give_the_mixed_loss():
    """Cross entropy is linear in the target: the loss of soft labels is the average of two losses."""
    x, y = RNG.normal(size=(8, 5)).astype(np.float32), np.arange(8) % 3
    logits = jnp.asarray(RNG.normal(size=(8, 3)), jnp.float32)
    mix = D.MixUp(1.0, classes=3, key=0)
    _, soft = mix(x, y, key=KEY)
    share = np.asarray(mix(x, np.eye(8, dtype=np.float32), key=KEY)[1])
    each = np.stack([px.losses.cross_entropy(logits, jnp.full(8, label), reduction="none") for label in y], 1)
    assert_close(px.losses.cross_entropy(logits, soft, reduction="none"), (share * each).sum(1))


def test_cutmix_is_the_papers_box_with_labels_by_area():
    n, height, width = 3000, 12, 20
    x = np.broadcast_to(np.arange(n, dtype=np.float32)[:, None, None, None], (n, height, width, 1))
    mixed, label = D.CutMix(1.0, key=0)(x, np.arange(n, dtype=np.float32), key=jax.random.key(0))
    mixed, label = np.asarray(mixed)[..., 0], np.asarray(label, float)
    other = mixed != np.arange(n)[:, None, None]
    np.testing.assert_allclose(label, mixed.mean((1, 2), dtype=float), rtol=1e-5)  # labels follow the area
    tall, wide = other.any(2).sum(1), other.any(1).sum(1)
    np.testing.assert_array_equal(tall * wide, other.sum((1, 2)))
    assert all(len(set(image[box].tolist())) <= 1 for image, box in zip(mixed[:200], other[:200], strict=True))

    draws = np.random.default_rng(0)  # the paper's code, drawn often
    cut = np.sqrt(1 - draws.beta(1.0, 1.0, (200_000, 1))) * np.array([height, width])
    half, centre = cut.astype(int) // 2, draws.integers(0, [height, width], (200_000, 2))
    box = np.minimum(centre + half, [height, width]) - np.maximum(centre - half, 0)
    for ours, theirs in ((tall * wide, box.prod(1)), (tall[tall > 0], box[box[:, 0] > 0, 0])):
        edges = np.unique(np.quantile(theirs, np.linspace(0, 1, 9)))
        expected = np.histogram(theirs, edges)[0] / len(theirs)
        counts = np.histogram(ours, edges)[0]
        assert stats.chisquare(counts, expected / expected.sum() * counts.sum()).pvalue > 1e-3


# --- masks of sequences -----------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "axis"), [(D.TimeMask, 1), (D.FrequencyMask, 2)])
def test_bands_are_of_every_width_and_place_alike(kind, axis):
    n, size, width = 6000, 6, 3
    shape = (n, size, 4) if axis == 1 else (n, 4, size)
    y = np.asarray(kind(width, fill=-1, key=0)(np.zeros(shape, np.float32), key=KEY)) == -1
    band = y.any(3 - axis)
    assert (y.sum(3 - axis)[band] == 4).all()  # across the whole of the other axis
    counts, expected = [], []
    for wide in range(width + 1):
        places = range(size - wide + 1) if wide else [0]
        for first in places:
            want = np.isin(np.arange(size), np.arange(first, first + wide))
            counts.append((band == want).all(1).sum())
            expected.append(n / (width + 1) / len(places))
    assert sum(counts) == n
    assert stats.chisquare(counts, expected).pvalue > 1e-3


def test_bands_repeat_and_are_no_wider_than_their_share():
    x = np.zeros((500, 40, 2, 1), np.float32)
    y = np.asarray(D.TimeMask(30, share=0.1, fill=1, key=0)(x, key=KEY)).sum(1).max((1, 2))
    assert set(y.tolist()) == {0, 1, 2, 3, 4}
    two = np.asarray(D.TimeMask(4, count=2, fill=1, key=0)(x, key=KEY))[:, :, 0, 0]
    assert two.sum(1).max() > 4
    assert two.sum(1).max() <= 8


def test_tokens_are_masked_as_in_bert():
    tokens = RNG.integers(2, 50, (400, 500)).astype(np.int32)
    tokens[:, -10:] = 0
    mask = D.TokenMask(1, 50, special=[0], key=0)
    inputs, targets = (np.asarray(a) for a in mask(tokens, key=KEY))
    assert inputs.dtype == targets.dtype == np.int32
    chosen = targets != -100
    np.testing.assert_array_equal(targets[chosen], tokens[chosen])
    np.testing.assert_array_equal(inputs[~chosen], tokens[~chosen])
    assert not chosen[:, -10:].any()
    count = int(chosen.sum())
    assert stats.binomtest(count, 400 * 490, 0.15).pvalue > 1e-3
    masked, kept = inputs[chosen] == 1, inputs[chosen] == tokens[chosen]
    assert stats.binomtest(int(masked.sum()), count, 0.8 + 0.1 / 50).pvalue > 1e-3
    assert stats.binomtest(int(kept.sum()), count, 0.1 + 0.1 / 50).pvalue > 1e-3
    other = inputs[chosen][~masked & ~kept]
    assert stats.chisquare(np.bincount(other, minlength=50)[2:]).pvalue > 1e-3
    assert (other == 0).any()

    again, _ = mask(tokens)  # acts in inference, from its own key
    assert (np.asarray(again) != tokens).any()
    assert (np.asarray(mask(tokens)[0]) != np.asarray(again)).any()
