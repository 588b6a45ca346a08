"""Connectionist temporal classification: the likelihood of a labelling summed over all alignments."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from phlox.core import DtypeError, RangeError, ShapeError, answering, describe
from phlox.losses._reduce import Reduction, check_values, concrete, floating, real, reduced, widen

# log 0 that stays finite, so that adding and differentiating impossible alignments gives no NaN
_NEVER = -1e30


@answering
def ctc(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    blank: int = 0,
    logit_lengths: ArrayLike | None = None,
    target_lengths: ArrayLike | None = None,
    zero_infinity: bool = False,
    reduction: Reduction = "mean",
    weight: ArrayLike | None = None,
) -> jax.Array:
    """Negative log-likelihood of label sequences under unaligned frames of logits.

    ``loss = -log Σ_a Π_t softmax(logits_t)_{a_t}`` over the alignments ``a`` that give the target when repeats are
    merged and blanks dropped.

    Shapes:
        logits (batch, time, classes); integer targets (batch, labels); the result is a scalar, or (batch,).

    Arguments:
        blank: the class that stands for "no label".
        logit_lengths: (batch,) frames that count; all unless given. What lies beyond is ignored.
        target_lengths: (batch,) labels that count; all unless given. What lies beyond may hold anything.
        zero_infinity: give 0, with gradient 0, where the frames are too few for the target; else infinity.
        reduction: ``"mean"`` divides each loss by its target length (at least 1), then takes Σ weight·loss / Σ weight.
        weight: (batch,) weights of the sequences.

    Raises:
        ShapeError, DtypeError: arrays that do not fit together, or targets and lengths that are not integers.
        RangeError: a blank, length or label out of range (NaN for a label inside a trace), or a label that is blank.

    Example:
        >>> import jax.numpy as jnp
        >>> from phlox import losses
        >>> round(float(losses.ctc(jnp.zeros((1, 2, 3)), jnp.array([[1]]))), 4)  # 3 of 9 alignments: 11, 01, 10
        1.0986

    Source: Graves et al., Connectionist Temporal Classification, 2006.
    """
    where = "ctc"
    (z,), dtype = widen(floating(logits, "logits", where))
    t = real(targets, "targets", where)
    _check_arrays(z, t, where)
    batch, frames, classes = z.shape
    if not 0 <= blank < classes:
        fix = "name one of the classes of the logits."
        raise RangeError(f"blank in 0 … {classes - 1}", got=describe(blank), fix=fix, where=where)
    n_frames = _lengths(logit_lengths, "logit_lengths", batch, frames, where)
    n_labels = _lengths(target_lengths, "target_lengths", batch, t.shape[1], where)
    live = jnp.arange(t.shape[1]) < n_labels[:, None]
    _check_labels(targets, target_lengths, blank, classes, where)
    sound = jnp.all(((t >= 0) & (t < classes) & (t != blank)) | ~live, axis=1)
    log_p = jnp.maximum(jax.nn.log_softmax(z, axis=-1), _NEVER)
    loss = -_log_likelihood(log_p, jnp.where(live, jnp.clip(t, 0, classes - 1), blank), n_frames, n_labels, blank)
    impossible = loss > -0.1 * _NEVER
    loss = jnp.where(impossible, 0 if zero_infinity else jnp.inf, loss)
    loss = jnp.where(sound, loss, jnp.nan)
    if reduction == "mean":
        loss = loss / jnp.maximum(n_labels, 1)
    return reduced(loss, dtype, reduction, weight, where)


def _log_likelihood(
    log_p: jax.Array, labels: jax.Array, n_frames: jax.Array, n_labels: jax.Array, blank: int
) -> jax.Array:
    """Run the forward recursion over states blank, label, blank, …, label, blank; return (batch,)."""
    batch, frames, _ = log_p.shape
    states = 2 * labels.shape[1] + 1
    symbol = jnp.full((batch, states), blank, labels.dtype).at[:, 1::2].set(labels)
    # a state may be entered from two back, past a blank, unless that would merge two equal labels
    skips = (symbol != blank) & (symbol != jnp.pad(symbol, ((0, 0), (2, 0)), constant_values=blank)[:, :states])

    def shifted(alpha: jax.Array, by: int) -> jax.Array:
        return jnp.pad(alpha, ((0, 0), (by, 0)), constant_values=_NEVER)[:, :states]

    def step(
        carry: tuple[jax.Array, jax.Array], frame: tuple[jax.Array, jax.Array]
    ) -> tuple[tuple[jax.Array, jax.Array], None]:
        alpha, offset = carry
        log_p_t, t = frame
        # the largest terms move into the offset: states are compared as small numbers, however long the sequence
        emitted, best = _lowered(jnp.take_along_axis(log_p_t, symbol, axis=1))
        ways = jnp.stack([alpha, shifted(alpha, 1), jnp.where(skips, shifted(alpha, 2), _NEVER)])
        entered = jax.nn.logsumexp(ways, axis=0)  # its weights sum to 1 exactly, which logaddexp's do not
        moved, top = _lowered(jnp.maximum(entered + emitted, _NEVER))
        counts = t < n_frames
        return (jnp.where(counts[:, None], moved, alpha), jnp.where(counts, offset + best + top, offset)), None

    # before the first frame all mass waits at the leading blank, from where states 0 and 1 can be entered
    start = jnp.full((batch, states), _NEVER, log_p.dtype).at[:, 0].set(0)
    zero = jnp.zeros(batch, log_p.dtype)
    (alpha, offset), _ = jax.lax.scan(step, (start, zero), (jnp.swapaxes(log_p, 0, 1), jnp.arange(frames)))
    last = jnp.take_along_axis(alpha, 2 * n_labels[:, None], axis=1)[:, 0]
    before = jnp.take_along_axis(alpha, jnp.maximum(2 * n_labels - 1, 0)[:, None], axis=1)[:, 0]
    return offset + jax.nn.logsumexp(jnp.stack([last, jnp.where(n_labels > 0, before, _NEVER)]), axis=0)


def _lowered(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Split (batch, states) into what is left below its largest value, and that value (a constant to AD)."""
    top = jax.lax.stop_gradient(jnp.max(x, axis=1))
    return x - top[:, None], top


def _check_arrays(z: jax.Array, t: jax.Array, where: str) -> None:
    if z.ndim != 3 or z.shape[2] == 0:
        fix = "put batch first and classes last."
        raise ShapeError("logits of shape (batch, time, classes)", got=describe(z), fix=fix, where=where)
    if t.ndim != 2 or t.shape[0] != z.shape[0]:
        fix = "pad the label sequences to one length and pass target_lengths."
        expected = f"targets of shape (batch={z.shape[0]}, labels)"
        raise ShapeError(expected, got=describe(t), fix=fix, where=where)
    if not jnp.issubdtype(t.dtype, jnp.integer):
        raise DtypeError("integer targets", got=describe(t), fix="convert with .astype(int).", where=where)


def _lengths(lengths: ArrayLike | None, name: str, batch: int, most: int, where: str) -> jax.Array:
    if lengths is None:
        return jnp.full(batch, most, jnp.int32)
    n = real(lengths, name, where)
    if n.shape != (batch,):
        fix = "give one length per sequence."
        raise ShapeError(f"{name} of shape ({batch},)", got=describe(n), fix=fix, where=where)
    if not jnp.issubdtype(n.dtype, jnp.integer):
        raise DtypeError(f"integer {name}", got=describe(n), fix="convert with .astype(int).", where=where)
    fix = "count what is there, without the padding."
    check_values(lengths, lambda v: (v >= 0) & (v <= most), f"{name} in 0 … {most}", where=where, fix=fix)
    return jnp.clip(n, 0, most)


def _check_labels(targets: ArrayLike, lengths: ArrayLike | None, blank: int, classes: int, where: str) -> None:
    known = concrete(targets)
    counted = None if lengths is None else concrete(lengths)
    if known is None or (lengths is not None and counted is None):
        return
    labels = known.flatten() if counted is None else known[np.arange(known.shape[1]) < counted[:, None]]
    bad = labels[(labels < 0) | (labels >= classes) | (labels == blank)]
    if bad.size:
        raise RangeError(
            f"labels in 0 … {classes - 1} other than blank={blank}",
            got=f"{describe(known)} with {bad.flat[0]}",
            fix="pass target_lengths for padded targets, and keep one class for the blank.",
            where=where,
        )
