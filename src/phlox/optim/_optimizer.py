"""The optimiser: an object that holds a rule's state for one model and changes its weights in place."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from phlox.core import (
    Module,
    RangeError,
    StructureError,
    at_eager,
    describe,
    gradients_by_path,
    jit,
    merge,
    modules,
    paths,
    trainable_arrays,
    training,
    warn_of_one_array_twice,
    write_arrays,
)
from phlox.nn import ParameterKind, parameter_kinds
from phlox.optim import _state
from phlox.optim._choice import known_kinds
from phlox.optim._packing import Packing
from phlox.optim._rule import Rule, check

if TYPE_CHECKING:
    import optax


class Slots(Module):
    """The arrays of an optimiser's state, each an attribute named by its path in that state."""

    _default_role = "State"

    def __repr__(self) -> str:
        return f"Slots({len(self.__dict__)})"


@dataclass(frozen=True)
class Form:
    """What an optimiser's state looks like, without its arrays; one static value."""

    names: tuple[str, ...]  # of the state's leaves, in the order of ``treedef``
    treedef: Any
    arrays: frozenset[tuple[str, tuple[int, ...], str]]  # path, shape and dtype of what is trained
    packing: Packing  # which small arrays the state has in one vector

    @property
    def paths(self) -> set[str]:
        """The paths of what is trained."""
        return {path for path, _, _ in self.arrays}

    @property
    def packed(self) -> set[str]:
        """The paths as the state has them, small arrays under the name of their vector."""
        vectors = self.packing.vectors()
        return {vectors.get(path, path) for path in self.paths}

    def knows(self, path: str, value: Any) -> bool:
        """True where the array is as it was."""
        return (path, value.shape, str(value.dtype)) in self.arrays


class Optimizer(Module):
    """Holds the state of a rule for the trainable arrays of a model, by path, and updates them in place.

    ``opt.update(model, grads)`` applies one step. Where a gradient is None (frozen, or not trained in this
    step) the array and its part of the state stay untouched. What is shared has one gradient and one state.
    Line by line, an update is one compiled call; inside ``px.jit`` it is part of the program.

    Arguments:
        rule: a rule of ``px.optim``, or any ``optax.GradientTransformation``.
        model: the model to train. Only its structure and dtypes are kept.

    Raises:
        StructureError: from ``update``, where the model has trainable arrays that were not there before.

    >>> import jax.numpy as jnp, phlox as px
    >>> model = px.Dense.of(jnp.ones((2, 1)), None)
    >>> opt = px.Optimizer(px.optim.Descent(0.5), model)
    >>> opt.update(model, px.grad(lambda m: m(jnp.ones((1, 2))).sum())(model))
    >>> model.weight.tolist()
    [[0.5], [0.5]]
    """

    kinds: tuple[tuple[str, str, int, int], ...] = ()  # path, and what px.parameter_kinds says; none in older files

    def __init__(self, rule: Rule | optax.GradientTransformation, model: Module):
        warn_of_one_array_twice(model)
        self.rule = rule
        self.slots = Slots()
        self._keep(*self._started(model))
        _remember(self, model)

    @property
    def transform(self) -> optax.GradientTransformationExtraArgs:
        """The optax transformation that computes the steps."""
        import optax  # slow to import, so only where a rule is used

        rule = self.rule
        return optax.with_extra_args_support(rule.transform() if isinstance(rule, Rule) else rule)

    @property
    def state(self) -> Any:
        """The state of the rule as the pytree that optax knows."""
        return _state.unpacked(self._packed(), self.form.packing, self.form.packed)

    def _packed(self) -> Any:
        """The state as it is kept, small arrays together."""
        return jax.tree_util.tree_unflatten(self.form.treedef, [getattr(self.slots, n) for n in self.form.names])

    def _started(self, model: Module) -> tuple[Any, dict[str, Any]]:
        """The state of the rule for a model at its start, and the arrays that it is for."""
        params = trainable_arrays(model)
        found = parameter_kinds(model).items()
        self.kinds = tuple((path, k.kind, k.rank, k.stacked) for path, k in found if path in params)
        with self.knowing():
            return self.transform.init(params), params

    def knowing(self) -> AbstractContextManager[None]:
        """Within the block, rules know what the arrays of this optimiser are."""
        return known_kinds({path: ParameterKind(kind, rank, stacked) for path, kind, rank, stacked in self.kinds})

    def _keep(self, state: Any, params: dict[str, Any]) -> None:
        """Hold another state, for these trained arrays."""
        together = isinstance(self.rule, Rule) and self.rule.by_component
        cohorts = _state.cohorts(state)
        packing = Packing.of(params, cohorts) if together else Packing()
        state = _state.packed(state, packing, set(params))
        leaves, treedef = jax.tree_util.tree_flatten_with_path(state)
        names = tuple(jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves)
        for gone in [n for n in self.slots.__dict__ if n not in set(names)]:
            delattr(self.slots, gone)
        for name, (_, value) in zip(names, leaves, strict=True):
            setattr(self.slots, name, jnp.asarray(value, jnp.asarray(value).dtype))  # weak types would trace twice
        arrays = frozenset((path, v.shape, str(v.dtype)) for path, v in params.items())
        self.form = Form(names, treedef, arrays, packing)

    def update(self, model: Module, grads: Any, *, value: Any = None, value_fn: Any = None) -> None:
        """Take one step: change the model's trainable arrays and this optimiser's state.

        Arguments:
            model: the model, or a part with the same paths, that the optimiser was made for.
            grads: what ``px.grad`` returned for it, or a dict from path to array.
            value: the loss, for rules that look at it.
            value_fn: the loss as a function of the model, for rules that evaluate it elsewhere (``LBFGS``, ``SAM``).
                It gets a copy in training mode, whose changes of State are dropped.

        Raises:
            StructureError: gradients of another model, arrays that are new since the optimiser was made, or
                copies of a shared array's gradient that differ.
        """
        named = gradients_by_path(model, grads, "Optimizer.update")
        self._check(model, named)
        if at_eager() and value_fn is None:
            _compiled_step(self, model, named, value)
        else:
            _step(self, model, named, value, value_fn)

    def _meet(self, others: Sequence[Module]) -> None:
        for model in others:
            replaced = _replaced_parts(self, model)
            if replaced:
                self._refuse([f"{path} (another Module)" if path else "the model" for path in replaced])

    def _refuse(self, new: list[str]) -> None:
        raise StructureError(
            "the arrays it was made for",
            got=f"new or changed ones at {', '.join(new[:4])}{' …' if len(new) > 4 else ''}",
            fix="call opt.sync(model), which adopts them and keeps the rest",
            where="Optimizer.update",
        )

    def _check(self, model: Module, named: dict[str, Any]) -> None:
        self._meet([model])
        params = trainable_arrays(model)
        new = [p for p in named if not self.form.knows(p, params[p])]
        if new:
            self._refuse(new)
        wrong = [p for p, g in named.items() if g.shape != params[p].shape]
        if wrong:
            path = wrong[0]
            raise StructureError(
                f"a gradient like {describe(params[path])} at {path}",
                got=describe(named[path]),
                fix="pass what px.grad returned for this very model",
                where="Optimizer.update",
            )

    def sync(self, model: Module) -> None:
        """Adopt a model that changed since: fresh state for what is new, the rest kept, what is gone dropped.

        Schedules go on. With a rule of px.optim, what is new has its own count of updates, so that Adam's first steps
        of a new head are those of a new optimiser; a file of its state is read by an optimiser that was synchronised
        alike. A transformation of optax has one count for all: the first steps of a new head are then those of Adam
        without its correction, up to (1 - b1)/√(1 - b2) times as long.

        Where only the freezing changed, nothing need be done; but what was frozen for long has moments that lag behind
        the count. Synchronise after freezing and after thawing, and it starts anew.
        """
        fresh, params = self._started(model)
        replaced = tuple(f"{path}." for path in _replaced_parts(self, model))
        same = {p for p, v in params.items() if self.form.knows(p, v) and not p.startswith(replaced)}
        self._keep(_state.carried(self.state, fresh, self.form.paths, set(params), same), params)
        _remember(self, model)

    def adjust(self, group: str | None = None, **numbers: float) -> None:
        """Set numbers that the rule holds as state, such as ``learning_rate``, without a new trace.

        ``Rule`` says which they are. Of a rule made of rules, all that have the number take it.

        Arguments:
            group: only in this group of ``px.optim.groups``, by its pattern.
            numbers: by name.

        Raises:
            StructureError: the rule holds no such number as state, or there is no such group.
            RangeError: a number outside the range that the rule has for it.
        """
        for name, number in numbers.items():
            found = [n for n in self.form.names if n.split("/")[-1] == name or n.split(".")[-1] == name]
            if group is not None:
                found = [n for n in found if f"inner_states/{group}/" in n]
            if not found:
                held = name if group is None else f"{name} for the group {group!r}"
                raise StructureError(
                    f"a rule that holds {held} as state", got=self._why_not(name, group), fix=self._cure(name),
                    where="Optimizer.adjust",
                )  # fmt: skip
            _check_number(self.rule, name, number)
            for slot in found:
                setattr(self.slots, slot, jnp.asarray(number, getattr(self.slots, slot).dtype))

    def _why_not(self, name: str, group: str | None) -> str:
        if group is not None and not any(f"inner_states/{group}/" in n for n in self.form.names):
            return "no such group"
        if any(callable(rule.numbers.get(name)) for rule in _all_rules(self.rule)):
            return "a learning rate that a schedule computes" if name == "learning_rate" else "a schedule of it"
        rule = type(self.rule).__name__ if isinstance(self.rule, Rule) else "a transformation of optax"
        return f"{rule}, whose numbers are constants of the program"

    def _cure(self, name: str) -> str:
        if isinstance(self.rule, Rule):
            return "make a new Optimizer with the number you want" if name != "learning_rate" else (
                "give the rule a number for a learning rate, or change the schedule"
            )  # fmt: skip
        return f"make it with optax.inject_hyperparams(…)({name}=…), or use a rule of px.optim"

    def numbers(self) -> dict[str, float]:
        """The numbers of the next step by name, such as ``learning_rate``, schedules worked out.

        Of a chain, those of all rules; of groups, ``"trunk.*/learning_rate"`` and so on. Where two rules have a
        number of one name, the last is told.
        """
        if not isinstance(self.rule, Rule):
            return {}
        reads = self.rule.reads(self.state)
        return {f"{at}/{k}" if at else k: float(v) for at, numbers in reads for k, v in numbers.items()}

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step, where there is one; ``numbers()`` tells those of groups."""
        found = {v for k, v in self.numbers().items() if k.split("/")[-1] == "learning_rate"}
        if len(found) != 1:
            what = "several learning rates: see opt.numbers()" if found else "no learning rate as state"
            raise AttributeError(f"{type(self.rule).__name__} holds {what}")
        return found.pop()

    def slot(self, name: str) -> dict[str, Any]:
        """What the rule keeps for each array under a name, by path: ``opt.slot("average")`` for ``ASGD``.

        Raises:
            StructureError: the rule keeps nothing of this name.
        """
        mark = f"slots/{name}/"
        found = {n.split(mark)[1]: getattr(self.slots, n) for n in self.form.names if mark in n}
        if not found:
            kept = sorted({n.split("slots/")[1].split("/")[0] for n in self.form.names if "slots/" in n})
            raise StructureError(
                f"a rule that keeps {name}",
                got=f"one that keeps {', '.join(kept) or 'nothing'}",
                fix="choose among these",
                where="Optimizer.slot",
            )
        return self.form.packing.unpack(found)

    def __repr__(self) -> str:
        rule = repr(self.rule) if isinstance(self.rule, Rule) else "optax.GradientTransformation"
        count = len(self.form.arrays)
        return f"Optimizer({rule}, {count} array{'' if count == 1 else 's'})"


# Which model an optimiser was made for, and the Modules in it: no part of the tree, and keeps none of them alive.
_made_for: weakref.WeakKeyDictionary[Optimizer, tuple[weakref.ref[Module], dict[str, weakref.ref[Module]]]]
_made_for = weakref.WeakKeyDictionary()


def _remember(opt: Optimizer, model: Module) -> None:
    if at_eager():
        _made_for[opt] = weakref.ref(model), {path: weakref.ref(m) for path, m in modules(model).items()}


def _replaced_parts(opt: Optimizer, model: Module) -> list[str]:
    """Paths of Modules of the model that are others than when the optimiser was made or synchronised."""
    root, parts = _made_for.get(opt, (None, {}))
    if root is None or root() is not model:
        return []
    return [path for path, m in modules(model).items() if path in parts and parts[path]() is not m]


def _step(opt: Optimizer, model: Module, grads: dict[str, Any], value: Any, value_fn: Any = None) -> None:
    """One step of the rule on the arrays that have a gradient."""
    params = {path: v for path, v in trainable_arrays(model).items() if path in grads}
    if not params:
        return
    every, packing, before = opt.form.paths, opt.form.packing, opt._packed()
    function = None if value_fn is None else _of_arrays(value_fn, model)
    extra = {k: v for k, v in (("value", value), ("value_fn", function), ("grad", grads)) if v is not None}
    if set(params) == every and packing.fits(grads):
        moved, updates, after = _stepped(opt, packing.pack(grads), before, packing.pack(params), extra)
        updates = packing.unpack(updates)
    else:  # array by array, and only those that have a gradient
        state = opt.state
        moved, updates, after = _stepped(opt, grads, _state.restricted(state, every, set(params)), params, extra)
        after = _state.packed(_state.merged(state, after, every), packing, every)
    write_arrays(model, moved | {p: (params[p] + u).astype(params[p].dtype) for p, u in updates.items()})
    for name, value in zip(opt.form.names, jax.tree.leaves(_state.as_before(after, before)), strict=True):
        setattr(opt.slots, name, value)


def _stepped(opt: Optimizer, grads: Any, state: Any, params: Any, extra: Any) -> tuple[Any, Any, Any]:
    """The arrays that kernels moved, what is to be added to the others, and the state after it."""
    with opt.knowing():
        if not isinstance(opt.rule, Rule) or not opt.rule.taken(grads, params):
            return {}, *opt.transform.update(grads, state, params, **extra)
        moved, steps, after = opt.rule.moved(grads, state, params, **extra)
    return moved, jax.tree.map(jnp.negative, steps), after


def _of_arrays(value_fn: Callable[[Any], Any], model: Module) -> Callable[[dict[str, Any]], Any]:
    """The loss as a function of some arrays by path; the model's others stay as they are."""
    others = paths(model)

    def function(params: dict[str, Any]) -> Any:
        with training(True):
            return value_fn(merge(model, params, {p: v for p, v in others.items() if p not in params}))

    return function


_compiled_step = jit(_step)


def _rules_in(value: Any) -> list[Rule]:
    if isinstance(value, tuple):
        return [r for part in value for r in _rules_in(part)]
    return [value] if isinstance(value, Rule) else []


def _all_rules(rule: Any) -> list[Rule]:
    """A rule and those inside it."""
    if not isinstance(rule, Rule):
        return []
    return [rule, *[r for value in vars(rule).values() for inner in _rules_in(value) for r in _all_rules(inner)]]


def _check_number(rule: Any, name: str, number: float) -> None:
    """Refuse a number outside the range of a rule that has it."""
    if number < 0:
        raise RangeError(f"{name} of at least 0", got=repr(number), fix=f"choose {name} ≥ 0", where="Optimizer.adjust")
    for one in _all_rules(rule):
        if name in one.ranges:
            check(one, name, number, *one.ranges[name])
