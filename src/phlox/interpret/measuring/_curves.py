"""Insertion and deletion: a score while what an attribution ranks first comes, or goes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import RangeError, answering, jit, new_figure
from phlox.interpret._attribution import Attribution
from phlox.interpret.asking._asked import Asked, ask
from phlox.interpret.asking._baselines import Baselines, baselines_of
from phlox.interpret.asking._question import Context, Forward, Question
from phlox.interpret.asking._rounds import rounds
from phlox.interpret.asking._targets import Target
from phlox.interpret.asking._trees import folded, tiled, unfolded
from phlox.interpret.measuring._infidelity import check_like

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WHERE = "px.interpret.curves"


@dataclass(frozen=True, eq=False)
class Curves:
    """Scores while the input comes and goes, the largest values first.

    Attributes:
        fractions: (points,) which part of the numbers has come, or gone.
        insertion: (points, rows) scores from the baseline to the input.
        deletion: (points, rows) scores from the input to the baseline.
    """

    fractions: Any
    insertion: Any
    deletion: Any

    @property
    def insertion_area(self) -> Any:
        """(rows,) the area under the insertion's curve; the larger the better."""
        return np.trapezoid(self.insertion, self.fractions, axis=0)

    @property
    def deletion_area(self) -> Any:
        """(rows,) the area under the deletion's curve; the smaller the better."""
        return np.trapezoid(self.deletion, self.fractions, axis=0)

    def __str__(self) -> str:
        both = self.insertion_area.mean(), self.deletion_area.mean()
        return f"insertion {both[0]:.4g}, deletion {both[1]:.4g}, in the mean over {self.insertion.shape[1]} rows"

    __repr__ = __str__

    def plot(self, *, path: str | Path | None = None) -> Figure:
        """Draw both curves in the mean over rows.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """
        figure = new_figure(5.0, 3.4, "Curves.plot")
        axes = figure.subplots()
        for name, curve, color in (("insertion", self.insertion, "#3b7dd8"), ("deletion", self.deletion, "#c97316")):
            axes.plot(self.fractions, curve.mean(1), color=color, label=name)
        axes.set_xlabel("share of the input")
        axes.set_ylabel("score")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
        if path is not None:
            figure.savefig(path)
        return figure


@answering
def curves(
    model: Any,
    x: Any,
    attribution: Any,
    *,
    target: Target = None,
    baselines: Baselines = None,
    points: int = 21,
    forward: Forward | None = None,
    batch_size: int | None = None,
    progress: bool | None = None,
) -> Curves:
    r"""Insertion and deletion: $F$ with only, and without, the numbers whose values are largest, baselines elsewhere.

    Shapes:
        x: a tree of (rows, …); attribution: the same, or with axes of size 1, as Grad-CAM's channel.

    Arguments:
        model, x, target, forward, batch_size, progress: as of ``integrated_gradients``; the score is often a
            probability, ``target=lambda y: jax.nn.softmax(y)[3]``.
        attribution: an ``Attribution``, or its values; the largest come first, of equals the first.
        baselines: one, as of ``feature_ablation``.
        points: of each curve, from nothing to everything.

    Raises:
        ShapeError: rows, targets, baselines or attributions that do not fit.
        RangeError: points below 2; several baselines.

    Source: Petsiuk, Das and Saenko, "RISE: randomized input sampling for explanation of black-box models", 2018.

    >>> import jax.numpy as jnp, phlox as px
    >>> x, values = jnp.array([[1.0, 2.0]]), jnp.array([[1.0, 2.0]])
    >>> found = px.interpret.curves(lambda x: x.sum(1), x, values, points=3)
    >>> found.insertion[:, 0].tolist(), found.deletion[:, 0].tolist()
    ([0.0, 2.0, 3.0], [3.0, 1.0, 0.0])
    """
    if isinstance(points, bool) or not isinstance(points, int) or points < 2:
        raise RangeError("points of 2 or more", got=repr(points), fix="leave it out", where=_WHERE)
    asked = ask(model, x, target, _WHERE, forward=forward, gradients=False)
    values = attribution.values if isinstance(attribution, Attribution) else attribution
    check_like(values, asked.z, _WHERE)
    (base, *more) = baselines_of(baselines, asked.z, _WHERE, integers=True)
    if more:
        raise RangeError("one baseline", got=f"{len(more) + 1}", fix="choose one", where=_WHERE)
    ranks = _ranks(jax.tree.map(jnp.asarray, values))
    total = sum(r[0].size for r in jax.tree.leaves(ranks))
    counts = np.rint(np.linspace(0, total, points)).astype(np.int32)

    def run(deleting: bool) -> Any:
        def work(part: Asked, base: Any, ranks: Any, counts: Any, _: Any) -> Any:
            ends = (base, part.z) if deleting else (part.z, base)
            return _with_first(part.question, part.z, part.context, *ends, ranks, jnp.asarray(counts))

        found = rounds(
            asked, points, work, beside=(base, ranks), each=(counts,), stacked=True, batch_size=batch_size,
            progress=progress,
        )  # fmt: skip
        return np.asarray(found)

    return Curves(counts / total, run(False), run(True))


def _ranks(values: Any) -> Any:
    """A tree (rows, …): by how many numbers of the row a number is preceded."""
    leaves, form = jax.tree.flatten(values)
    flat = jnp.concatenate([v.reshape(len(v), -1) for v in leaves], 1)
    ranks = jnp.argsort(jnp.argsort(-flat, 1, stable=True), 1)
    cuts = np.cumsum([v[0].size for v in leaves])[:-1]
    parts = jnp.split(ranks, cuts, 1)
    return form.unflatten([p.reshape(v.shape) for p, v in zip(parts, leaves, strict=True)])


@jit
def _with_first(question: Question, z: Any, context: Context, first: Any, rest: Any, ranks: Any, counts: Any) -> Any:
    """(copies, rows) scores with the numbers of the first ranks from one tree, and the others from another."""
    copies = counts.shape[0]

    def mixed(a: Any, b: Any, r: Any, v: Any) -> Any:
        come = r[None] < counts.reshape(-1, *[1] * r.ndim)
        return jnp.where(jnp.broadcast_to(come, (copies, *v.shape)), a[None], b[None])

    there = jax.tree.map(mixed, first, rest, ranks, z)
    return unfolded(question(folded(there), tiled(context, copies)), copies)
