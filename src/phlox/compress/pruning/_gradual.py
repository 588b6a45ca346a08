"""px.compress.Pruning: more and more numbers left out while a model trains."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from phlox.compress.layers._masked import Masked
from phlox.compress.pruning._pruning import check_scope, masks_by_share
from phlox.compress.pruning._scores import By, scores_of
from phlox.compress.pruning._weights import WHAT, Weight, check_share, weights_of
from phlox.core import Module, RangeError, StructureError, Where, at, chosen_paths, modules
from phlox.loop import Callback

if TYPE_CHECKING:
    from phlox.loop import Run

_WHERE = "px.compress.Pruning"
_BY = ("magnitude", "movement", "random")


class Movement(Module):
    """How far each number has moved away from zero: the sum of $-w g$ over the steps, by the path of a weight."""

    _default_role = "State"
    sums: dict[str, Any]

    def __init__(self, weights: list[Weight]):
        raw = {_at(one): vars(one.layer)[one.name] for one in weights}
        self.sums = {path: jnp.zeros_like(w, jnp.promote_types(w.dtype, jnp.float32)) for path, w in raw.items()}

    def move(self, model: Module, grads: Module) -> None:
        """Add a step's."""
        moved = {}
        for path, total in self.sums.items():
            gradient, weight = _raw(grads, path), at(model, path)
            moved[path] = total if gradient is None else total - (weight * gradient).astype(total.dtype)
        self.sums = moved


class Pruning(Callback):
    r"""Leaves out more and more numbers of a model that has masks, until a share is reached.

    At step t the share is $s_t = s + (s_0 - s) (1 - (t - t_0) / (t_1 - t_0))^p$, quick at first, while there is much to
    leave out. Masks change at step $t_0$, after every so many steps behind it, and at $t_1$; what is left out stays so.
    The model comes from ``px.compress.prune(model, 0)``; its masks are kept in checkpoints as weights are.

    Arguments:
        share: s, of the numbers, in [0, 1).
        start, stop: t₀ and t₁, in steps of the optimiser.
        every: steps between two changes.
        initial: s₀, in [0, share].
        power: p, above 0; 3 is cubic, 1 a straight line.
        by: ``"magnitude"``, $|w|$; ``"movement"``, the sum of $-w\,\partial L / \partial w$ over all steps, by which a
            number that shrinks goes first, whatever its size; or ``"random"``.
        scope: ``"global"``, where all weights are compared, or ``"layer"``, where each gives up the same share.
        where, skip: which of the layers that have masks, as of ``px.compress.prune``.
        seed: of ``"random"``.

    Raises:
        RangeError: a number outside its range, another option outside its.
        StructureError: before training, a model without masks; a training that ends before ``stop``.

    Source: Zhu and Gupta, "To prune, or not to prune: exploring the efficacy of pruning for model compression", 2017;
    Sanh, Wolf and Rush, "Movement pruning: adaptive sparsity by fine-tuning", 2020, of which this is the hard form:
    what is left out does not come back.

    >>> import jax.numpy as jnp, phlox as px
    >>> model = px.compress.prune(px.Chain(px.Dense(10, 10, px.tanh), px.Dense(10, 1)), 0)
    >>> pruning = px.compress.Pruning(0.8, stop=6, every=2)
    >>> [round(pruning.share_at(step), 3) for step in (0, 2, 4, 6, 8)]
    [0.0, 0.563, 0.77, 0.8, 0.8]
    >>> data = [(jnp.ones((2, 10)), jnp.ones((2, 1)))]
    >>> history = px.fit(model, data, loss=px.losses.mse, optimizer=px.optim.Adam(), epochs=6, callbacks=[pruning],
    ...                  progress=False)
    >>> px.compress.sparsity(model).share
    0.8
    """

    modules: tuple[str, ...] = ()
    share: float
    start: int
    stop: int
    every: int
    initial: float
    power: float
    by: str
    scope: str
    where: Where | None
    skip: Where | None
    seed: int

    def __init__(
        self,
        share: float,
        *,
        start: int = 0,
        stop: int,
        every: int = 1,
        initial: float = 0.0,
        power: float = 3.0,
        by: str = "magnitude",
        scope: str = "global",
        where: Where | None = None,
        skip: Where | None = None,
        seed: int = 0,
    ):
        self.share = check_share(share, "a share", _WHERE)
        self.initial = check_share(initial, "an initial share", _WHERE)
        if self.initial > self.share:
            fix = "the share rises from initial= on"
            raise RangeError(f"an initial share of at most {share:g}", got=f"{initial:g}", fix=fix, where=_WHERE)
        self.start, self.stop = _whole("start", start, 0), _whole("stop", stop, 1)
        self.every = _whole("every", every, 1)
        if self.stop <= self.start:
            got, fix = f"stop={stop}", "name the step at which the share is reached"
            raise RangeError(f"a stop behind start={start}", got=got, fix=fix, where=_WHERE)
        if isinstance(power, bool) or not isinstance(power, (int, float)) or not 0 < power < float("inf"):
            raise RangeError("a power above 0", got=repr(power), fix="3 is cubic, 1 a straight line", where=_WHERE)
        if by not in _BY:
            fix = 'by="magnitude" is usual, by="movement" for fine-tuning'
            raise RangeError(f"by of {', '.join(_BY)}", got=repr(by)[:100], fix=fix, where=_WHERE)
        check_scope(scope, _WHERE)
        self.power, self.by, self.scope = float(power), by, scope
        self.where, self.skip, self.seed = where, skip, seed
        self.modules = ("movement",) if by == "movement" else ()
        self.movement: Movement | None = None

    def share_at(self, step: int) -> float:
        """The share that is left out from this step on; nothing before the start."""
        if step < self.start:
            return 0.0
        left = max(0.0, (self.stop - step) / (self.stop - self.start))
        return self.share + (self.initial - self.share) * left**self.power

    def logged_names(self) -> tuple[str, ...]:
        return ()

    def check_run(self, run: Run) -> None:
        paths = self._paths(run.model)
        weights_of(run.model, paths, _WHERE)
        ends = _end(run)
        if ends is not None and ends < self.stop:
            got, fix = f"step {ends}", f"train longer, or stop={ends}"
            raise StructureError(f"a training to step {self.stop} at least", got=got, fix=fix, where=_WHERE)

    def on_fit_start(self, run: Run) -> None:
        weights = self._weights(run.model)
        if self.by == "movement" and (self.movement is None or set(self.movement.sums) != set(map(_at, weights))):
            self.movement = Movement(weights)
        if run.step == self.start == 0:
            self._prune(run)

    def after_backward(self, model: Module, grads: Module) -> Module:
        if self.movement is not None:
            self.movement.move(model, grads)
        return grads

    def steps_until(self, run: Run) -> int | None:
        if run.step < self.start:
            return self.start - run.step
        if run.step >= self.stop:
            return None
        return min(self.every - (run.step - self.start) % self.every, self.stop - run.step)

    def on_step_end(self, run: Run) -> None:
        due = self.start <= run.step <= self.stop and (run.step - self.start) % self.every == 0
        if due or run.step == self.stop:
            self._prune(run)

    def _prune(self, run: Run) -> None:
        """Give the model the masks of this step."""
        weights, share = self._weights(run.model), self.share_at(run.step)
        scores = scores_of(weights, self._by(), jax.random.fold_in(jax.random.key(self.seed), run.step), _WHERE)
        for weight, mask in zip(weights, masks_by_share(weights, scores, share, self.scope), strict=True):
            weight.take(mask)

    def _by(self) -> By:
        return self.by if self.movement is None else self.movement.sums

    def _paths(self, model: Module) -> list[str]:
        """The paths of layers that are meant, of those that have masks."""
        layers = modules(model)
        able = [path for path, layer in layers.items() if isinstance(layer, Masked)]
        if not able:
            fix = "pass px.fit what px.compress.prune(model, 0) gives"
            raise StructureError("a model with masks", got=model._brief(), fix=fix, where=_WHERE)
        what = f"masked {WHAT}"
        meant = able if self.where is None else chosen_paths(self.where, able, layers, what, _WHERE)
        left = set() if self.skip is None else set(chosen_paths(self.skip, able, layers, what, _WHERE, "skip"))
        return [path for path in meant if path not in left]

    def _weights(self, model: Module) -> list[Weight]:
        return weights_of(model, self._paths(model), _WHERE)


def _at(weight: Weight) -> str:
    return f"{weight.path}.{weight.name}".lstrip(".")


def _raw(tree: Module, path: str) -> Any:
    """An array behind its mask, or a gradient of it."""
    owner, _, name = path.rpartition(".")
    return vars(at(tree, owner) if owner else tree)[name]


def _whole(name: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        fix = "give a number of steps of the optimiser"
        raise RangeError(f"{name} of {least} or more", got=repr(value)[:100], fix=fix, where=_WHERE)
    return value


def _end(run: Run) -> int | None:
    """The step with which training ends, where that is known."""
    if run.config.get("steps"):
        return int(run.config["steps"])
    return None if run.epochs is None or run.steps_per_epoch is None else run.epochs * run.steps_per_epoch
