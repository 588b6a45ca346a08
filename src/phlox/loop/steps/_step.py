"""One training step as a pure program on objects: loss, gradient, update; everything else is optional."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp

from phlox.core import Module, State, StructureError, cond, paths, trainable_arrays, value_and_grad, write_arrays
from phlox.loop._hooked import Hooked, called
from phlox.loop.batches._batch import read_batch
from phlox.loop.preflight._saving import ALL_AT_ONCE, Saving
from phlox.loop.steps._clip import NO_CLIP, Clip
from phlox.loop.steps._objective import Objective, Report, scalar_and_more
from phlox.loop.steps._precision import AS_IT_IS, Guard, Precision, all_finite
from phlox.optim import Optimizer
from phlox.parallel import Placement

Others = dict[str, Module]  # what else a step changes, by name: metrics, a guard, sums, Modules of callbacks


class Record(NamedTuple):
    """The numbers of a step, as arrays of shape ()."""

    loss: Any
    weight: Any  # how much the step counts in a mean over steps
    scalars: dict[str, Any]


class Sums(Module):
    """Gradients and losses of the batches that one step has seen so far, each times the batch's weight."""

    _default_role = "State"
    weight: State  # () the weights together
    loss: State  # ()

    def __init__(self, model: Module):
        self.grads = {path: jnp.zeros_like(v) for path, v in trainable_arrays(model).items()}
        wide = any(v.dtype == jnp.float64 for v in self.grads.values())
        self.weight, self.loss = jnp.float32(0), jnp.zeros((), jnp.float64 if wide else jnp.float32)

    def add(self, grads: Module, loss: Any, weight: Any) -> None:
        """Take a batch in."""
        for path, g in paths(grads).items():
            self.grads[path] = self.grads[path] + (weight * g).astype(g.dtype)
        self.loss = self.loss + weight * loss.astype(self.loss.dtype)
        self.weight = self.weight + weight

    def mean(self, grads: Module) -> tuple[Module, Any]:
        """The mean gradient, in the form of ``grads``, and the mean loss."""
        total = jnp.where(self.weight == 0, 1, self.weight)
        write_arrays(grads, {path: (self.grads[path] / total).astype(g.dtype) for path, g in paths(grads).items()})
        return grads, self.loss / total

    def clear(self) -> None:
        """Be ready for the next step."""
        for path, v in self.grads.items():
            self.grads[path] = jnp.zeros_like(v)
        self.weight, self.loss = jnp.zeros_like(self.weight), jnp.zeros_like(self.loss)


@dataclass(frozen=True)
class Hooks:
    """The traced hooks of callbacks, and the Modules that they change, by the names these have in ``Others``."""

    callbacks: tuple[Hooked, ...] = ()
    owners: tuple[tuple[Hooked, str, str], ...] = ()  # callback, attribute, name

    @contextmanager
    def lent(self, others: Others) -> Iterator[None]:
        """Within the block, the callbacks hold the Modules of this trace."""
        held = [(callback, at, name) for callback, at, name in self.owners if name in others]
        before = [getattr(callback, at) for callback, at, _ in held]
        try:
            for callback, at, name in held:
                setattr(callback, at, others[name])
            yield
        finally:
            for (callback, at, _), module in zip(held, before, strict=True):
                setattr(callback, at, module)

    def before_backward(self, loss: Any, batch: Any) -> Any:
        """The loss to differentiate."""
        for callback in self.callbacks:
            loss = _returned(callback, "before_backward", "loss", loss, batch)
        return loss

    def after_backward(self, model: Module, grads: Module) -> Module:
        """The gradients to step with."""
        for callback in self.callbacks:
            grads = _returned(callback, "after_backward", "grads", model, grads)
        return grads

    def after_update(self, model: Module, opt: Optimizer) -> None:
        """The weights have moved."""
        for callback in self.callbacks:
            called(callback, "after_update", model, opt)


def _returned(callback: Hooked, hook: str, what: str, *args: Any) -> Any:
    """What a hook gives back for what it was given."""
    found = called(callback, hook, *args)
    if found is None:
        raise StructureError(
            f"the {what} to go on with as its result",
            got="None",
            fix=f"end it with return {what}",
            where=f"{type(callback).__name__}.{hook}",
        )
    return found


NO_HOOKS = Hooks()


@dataclass(frozen=True)
class Step:
    """One step on a batch: ``step(model, opt, others, batch, last)`` changes all of them and gives a ``Record``.

    With ``Sums`` among the others a step takes several batches: gradients add up until ``last`` is true.

    Arguments:
        objective: what is minimised.
        clip, precision, hooks: what else is done.
        saving: how it is done in less memory.
        placement: how it is spread over devices.
    """

    objective: Objective
    clip: Clip = NO_CLIP
    precision: Precision = AS_IT_IS
    hooks: Hooks = NO_HOOKS
    saving: Saving = ALL_AT_ONCE
    placement: Placement | None = None

    def __call__(self, model: Module, opt: Optimizer, others: Others, batch: Any, last: Any = None) -> Record:
        return with_few_sums(self.placement, self._spread, batch)(model, opt, others, batch, last)

    def _spread(self, model: Module, opt: Optimizer, others: Others, batch: Any, last: Any) -> Record:
        with spread(self.placement, batch, model, opt, *others.values()):
            return self._taken(model, opt, others, batch, last)

    def _taken(self, model: Module, opt: Optimizer, others: Others, batch: Any, last: Any) -> Record:
        loss, report, grads = self.backward(model, others, batch)
        if "metrics" in others:
            others["metrics"].update(report.prediction, report.target, report.counted)  # pyright: ignore[reportAttributeAccessIssue]  # a Metrics
        sums = others.get("sums")
        if not isinstance(sums, Sums):
            loss, weight = self._finish(model, opt, others, grads, loss, report.weight, batch)
            return Record(loss, weight, report.scalars)
        sums.add(grads, loss, report.weight)
        idle = lambda *_: (jnp.zeros_like(sums.loss), jnp.float32(0))  # noqa: E731
        loss, weight = cond(last, self._finish_sums, idle, model, opt, others, grads)
        return Record(loss, weight, report.scalars)

    def backward(self, model: Module, others: Others, batch: Any) -> tuple[Any, Report, Module]:
        """The loss of a batch and its gradient; State of the model moves on."""
        if self.placement is None or self.saving.rows is None:
            return self.saving.in_parts(self._backward, model, others, batch)
        return self.saving.in_parts(self._part, model, others, batch, self.placement.rows)

    def _part(self, model: Module, others: Others, batch: Any) -> tuple[Any, Report, Module]:
        """The same for a part of the batch that devices share: results of layers lie as it does."""
        assert self.placement is not None
        with self.placement.step(batch):
            return self._backward(model, others, batch)

    def _backward(self, model: Module, others: Others, batch: Any) -> tuple[Any, Report, Module]:
        """The loss and the gradient of what is looked at together."""
        guard = _guard(others)
        before = paths(model)

        def loss_fn(model: Module) -> tuple[Any, tuple[Any, Report]]:
            with self.precision.block(), self.saving.lighter(model):
                loss, report = self.objective(model, batch)
            loss = self.hooks.before_backward(loss, batch)
            return (loss if guard is None else guard.scaled(loss)), (loss, report)

        with self.hooks.lent(others):
            (_, (loss, report)), grads = value_and_grad(loss_fn, has_aux=True)(model)
        if self.placement is not None:
            self.placement.hold(grads)
        if guard is not None:
            write_arrays(grads, guard.unscaled(paths(grads)))
            _keep_state(model, before, guard.keeps(all_finite(loss, paths(grads))))
        return loss, report, grads

    def _finish_sums(self, model: Module, opt: Optimizer, others: Others, grads: Module) -> tuple[Any, Any]:
        sums = others["sums"]
        assert isinstance(sums, Sums)
        weight, (mean, loss) = sums.weight, sums.mean(grads)
        sums.clear()
        return self._finish(model, opt, others, mean, loss, weight, None)

    def _finish(
        self, model: Module, opt: Optimizer, others: Others, grads: Module, loss: Any, weight: Any, batch: Any
    ) -> tuple[Any, Any]:
        """Step down the gradient, unless a guard holds it back; the loss and the weight to record."""

        def update(model: Module, opt: Optimizer, others: Others, grads: Module) -> None:
            with self.hooks.lent(others):
                grads = self.hooks.after_backward(model, grads)
                value_fn = None if batch is None else lambda model: self.objective(model, batch)[0]
                opt.update(model, self.clip(grads), value=loss, value_fn=value_fn)
                self.hooks.after_update(model, opt)

        guard = _guard(others)
        if guard is None:
            update(model, opt, others, grads)
            return loss, weight
        admitted = guard.admits(all_finite(loss, paths(grads)))
        cond(admitted, update, lambda *_: None, model, opt, others, grads)
        return guard.told(loss, weight, admitted)


@contextmanager
def spread(placement: Placement | None, batch: Any, *changed: Module) -> Iterator[None]:
    """What runs in the block is spread as a placement says, and leaves the arrays that it changes where they were."""
    if placement is None:
        yield
        return
    with placement.step(batch):
        yield
    placement.hold(*changed)


def with_few_sums(placement: Placement | None, step: Any, batch: Any, where: str = "px.fit") -> Any:
    """A step of a placement's as it is to be called: where processes share its work, its sums go together."""
    return step if placement is None else placement.with_few_sums(step, batch, where)


def _guard(others: Others) -> Guard | None:
    guard = others.get("guard")
    return guard if isinstance(guard, Guard) else None


def _keep_state(model: Module, before: dict[str, Any], good: Any) -> None:
    """Undo what a bad batch did to statistics and keys."""
    moved = {path: v for path, v in paths(model).items() if v is not before[path]}
    write_arrays(model, {path: jnp.where(good, v, before[path]) for path, v in moved.items()})


@dataclass(frozen=True)
class OwnStep:
    """A step that its user wrote: ``fn(model, opt, *batch)`` for tuples, ``fn(model, opt, batch)`` else.

    It returns the loss, or the loss and a dict of further scalars.
    """

    fn: Callable[..., Any]
    hooks: Hooks = NO_HOOKS
    where: str = "px.fit"
    placement: Placement | None = None

    def __call__(self, model: Module, opt: Optimizer, others: Others, batch: Any, last: Any = None) -> Record:
        del last
        return with_few_sums(self.placement, self._spread, batch, self.where)(model, opt, others, batch)

    def _spread(self, model: Module, opt: Optimizer, others: Others, batch: Any) -> Record:
        read = read_batch(batch)
        parts = (read.whole,) if read.parts is None else read.parts
        with spread(self.placement, batch, model, opt, *others.values()), self.hooks.lent(others):
            loss, scalars = scalar_and_more(self.fn(model, opt, *parts), "step", self.where)
            self.hooks.after_update(model, opt)
        return Record(loss, read.count(read.mask), scalars)
