"""The optimiser: an object that holds a rule's state for one model and changes its weights in place."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from phlox.core import (
    OPTIMIZER_METHODS,
    Module,
    StructureError,
    answer_foreign,
    at_eager,
    describe,
    jit,
    modules,
    warn_of_one_array_twice,
)
from phlox.nn import ParameterKind
from phlox.optim import _adjusting, _models, _state
from phlox.optim._calling import called, extras
from phlox.optim._packing import Packing
from phlox.optim._spread import beside, joined, spread_over
from phlox.optim.rules import _habits
from phlox.optim.rules._applied import ascent
from phlox.optim.rules._blocks import in_full, is_blocks
from phlox.optim.rules._choice import known_kinds
from phlox.optim.rules._rule import Rule

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

    def portable(self) -> Form:
        """Without the tree of the state, of which only what is not told by the rule and the arrays is kept."""
        leaves = [object()] * self.treedef.num_leaves
        state = jax.tree_util.tree_unflatten(self.treedef, leaves)
        return replace(self, treedef=tuple((c.paths, c.cohorts) for c in _state.counts(state)))

    def rebuilt(self, transform: Any) -> Form:
        """The way back."""

        def start(params: dict[str, Any]) -> Any:
            return _state.packed(transform.init(params), self.packing, self.paths)

        params = {path: jax.ShapeDtypeStruct(shape, dtype) for path, shape, dtype in self.arrays}
        state = _state.with_counts(jax.eval_shape(start, params), self.treedef)
        return replace(self, treedef=jax.tree_util.tree_structure(state))

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
        model: the model to train, or several in a list, tuple or dict, whose paths begin with ``"0."`` or their key.
            Only structure and dtypes are kept.

    Raises:
        StructureError: something else as rule or model, such as the two exchanged; from ``update``, where the model
            has trainable arrays that were not there before.

    >>> import jax.numpy as jnp, phlox as px
    >>> model = px.Dense.of(jnp.ones((2, 1)), None)
    >>> opt = px.Optimizer(px.optim.Descent(0.5), model)
    >>> opt.update(model, px.grad(lambda m: m(jnp.ones((1, 2))).sum())(model))
    >>> model.weight.tolist()
    [[0.5], [0.5]]
    """

    kinds: tuple[tuple[str, str, int, int], ...] = ()  # path, and what px.parameter_kinds says; none in older files
    form: Form

    def __init__(self, rule: Rule | optax.GradientTransformation, model: _models.Models):
        _habits.check_rule(rule, model, Rule)
        _models.check_models(model, "px.Optimizer", "write px.Optimizer(px.optim.Adam(1e-3), model)")
        for root in _models.roots(model).values():
            warn_of_one_array_twice(root)
        self.rule = rule
        self.slots: Slots = Slots()
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

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        return {**state, "attributes": {**state["attributes"], "form": self.form.portable()}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        with self.knowing():
            self.form = self.form.rebuilt(self.transform)

    def _packed(self) -> Any:
        """The state as it is kept, small arrays together."""
        return jax.tree_util.tree_unflatten(self.form.treedef, [getattr(self.slots, n) for n in self.form.names])

    def _started(self, model: _models.Models) -> tuple[Any, dict[str, Any]]:
        """The state of the rule for a model at its start, and the arrays that it is for."""
        params = _models.trained(model)
        found = _models.kinds(model).items()
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
        where, vectors = spread_over(params), {name for name, _ in packing.groups}
        for name, (_, value) in zip(names, leaves, strict=True):
            array = jnp.asarray(value, jnp.asarray(value).dtype)  # weak types would trace twice
            array = joined(array) if name.rpartition("/")[2] in vectors else array
            setattr(self.slots, name, beside(array, where))
        arrays = frozenset((path, v.shape, str(v.dtype)) for path, v in params.items())
        self.form = Form(names, treedef, arrays, packing)

    def update(self, model: _models.Models, grads: Any, *, value: Any = None, value_fn: Any = None) -> None:
        """Take one step: change the model's trainable arrays and this optimiser's state.

        Arguments:
            model: the model, or a part with the same paths, that the optimiser was made for.
            grads: what ``px.grad`` returned for it, or a dict from path to array. Of complex arrays it is JAX's
                gradient, whose conjugate is the way up; the optimiser conjugates it, and nobody else has to.
            value: the loss, for rules that look at it.
            value_fn: the loss as a function of the model, for rules that evaluate it elsewhere (``LBFGS``, ``SAM``).
                It gets a copy in training mode, whose changes of State are dropped.

        Raises:
            StructureError: gradients of another model, or in the place of the model; arrays that are new since the
                optimiser was made; copies of a shared array's gradient that differ.
        """
        self._check_order(model, grads)
        named = _models.gradients(model, grads, "Optimizer.update")
        self._check(model, named)
        if at_eager() and value_fn is None:
            _compiled_step(self, model, named, value)
        else:
            _step(self, model, named, value, value_fn)

    def _check_order(self, model: Any, grads: Any) -> None:
        """Refuse gradients first, as optax has them; a gradient of a model without State looks like a model."""
        given = list(_models.roots(model).values())
        if all(isinstance(m, Module) for m in given) and given and not self._exchanged(model, grads, given):
            return
        kinds = ", ".join(type(m).__name__ if isinstance(m, Module) else describe(m) for m in given[:3])
        raise StructureError(
            "the model first, and its gradients after it",
            got=f"{kinds or 'nothing'} first, which {'are gradients' if given else 'is no model'}",
            fix="write opt.update(model, grads); the optimiser has its state itself, and changes the model in place",
            where="Optimizer.update",
        )

    def _exchanged(self, model: Any, grads: Any, given: list[Module]) -> bool:
        after = [m for m in _models.roots(grads).values() if isinstance(m, Module)]
        if not after or model is grads:
            return False
        known = [root() for _, root, _ in _made_for.get(self, ())]
        first = any(m is k for m in given for k in known)
        if any(m is k for m in after for k in known) and not first:
            return True
        return all(m._px.gradient for m in given) and not any(m._px.gradient for m in after)

    def _meet(self, others: Sequence[Module]) -> None:
        self._refuse_replaced(_replaced_parts(self, [m for m in others if m is not self]))

    def _refuse_replaced(self, replaced: list[str]) -> None:
        if replaced:
            self._refuse([f"{path} (another Module)" if path else "the model" for path in replaced])

    def _refuse(self, new: list[str]) -> None:
        raise StructureError(
            "the arrays it was made for",
            got=f"new or changed ones at {', '.join(new[:4])}{' …' if len(new) > 4 else ''}",
            fix="call opt.sync(model), which adopts them and keeps the rest",
            where="Optimizer.update",
        )

    def _check(self, model: _models.Models, named: dict[str, Any]) -> None:
        self._refuse_replaced(_exchanged_roots(self, model) + _replaced_parts(self, _models.roots(model).values()))
        params = _models.trained(model)
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

    def sync(self, model: _models.Models) -> None:
        """Adopt a model that changed since: fresh state for what is new, the rest kept, what is gone dropped.

        Schedules go on. With a rule of px.optim, what is new has its own count of updates, so that Adam's first steps
        of a new head are those of a new optimiser; a file of its state is read by an optimiser that was synchronised
        alike. A transformation of optax has one count for all: the first steps of a new head are then those of Adam
        without its correction, up to (1 - b1)/√(1 - b2) times as long.

        Where only the freezing changed, nothing need be done; but what was frozen for long has moments that lag behind
        the count. Synchronise after freezing and after thawing, and it starts anew.
        """
        fresh, params = self._started(model)
        others = _exchanged_roots(self, model) + _replaced_parts(self, _models.roots(model).values())
        replaced = tuple(f"{path}." for path in others)
        same = {p for p, v in params.items() if self.form.knows(p, v) and not p.startswith(replaced)}
        self._keep(_state.carried(self.state, fresh, self.form.paths, set(params), same), params)
        _remember(self, model)

    def adjust(self, group: str | None = None, **numbers: float) -> None:
        """Set numbers that the rule holds as state, such as ``learning_rate``, without a new trace.

        ``Rule`` says which they are. Of a rule made of rules, all that have the number take it.

        Arguments:
            group: only in this group of ``px.optim.groups``, by its pattern.
            numbers: by name. In ``px.jit`` one may be computed there; its range is then not checked.

        Raises:
            StructureError: the rule holds no such number as state, or there is no such group.
            RangeError: a number outside the range that the rule has for it.
        """
        for name, number in numbers.items():
            found = _adjusting.slots_of(self.rule, self.form.names, name, group)
            _adjusting.check_number(self.rule, name, number)
            for slot in found:
                setattr(self.slots, slot, jnp.asarray(number, getattr(self.slots, slot).dtype))

    def numbers(self) -> dict[str, float]:
        """The numbers of the next step by name, such as ``learning_rate``, schedules worked out.

        Of a chain, those of all rules; of groups, ``"trunk.*/learning_rate"`` and so on. Where two rules have a
        number of one name, the last is told.
        """
        if not isinstance(self.rule, Rule):
            at = _adjusting.injected(self.form.names)
            return {name: float(getattr(self.slots, slot)) for name, slot in at.items()}
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
        whole = jax.tree_util.tree_flatten_with_path(self._packed(), is_leaf=is_blocks)[0]
        named = {jax.tree_util.keystr(at, simple=True, separator="/"): value for at, value in whole}
        found = {n.split(mark)[1]: in_full(value) for n, value in named.items() if mark in n}
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


answer_foreign(Optimizer, OPTIMIZER_METHODS)


# Which Modules an optimiser was made for, where each stands, and the Modules in it: no part of the tree, and keeps none
# of them alive.
_Remembered = list[tuple[str, weakref.ref[Module], dict[str, weakref.ref[Module]]]]
_made_for: weakref.WeakKeyDictionary[Optimizer, _Remembered] = weakref.WeakKeyDictionary()


def _remember(opt: Optimizer, model: _models.Models) -> None:
    if at_eager():
        _made_for[opt] = [
            (at, weakref.ref(root), {path: weakref.ref(m) for path, m in modules(root).items()})
            for at, root in _models.roots(model).items()
        ]


def _replaced_parts(opt: Optimizer, roots: Iterable[Module]) -> list[str]:
    """Paths of Modules, inside these, that are others than when the optimiser was made or synchronised."""
    given, found = list(roots), []
    for at, root, parts in _made_for.get(opt, ()):
        module = root()
        if module is not None and any(module is m for m in given):
            now = modules(module)
            changed = [path for path, m in now.items() if path in parts and parts[path]() is not m]
            found += [f"{at}.{path}" if at and path else at or path for path in changed]
    return found


def _exchanged_roots(opt: Optimizer, model: _models.Models) -> list[str]:
    """Where one of several models is another than it was; where all are, they are another set of models."""
    given = _models.roots(model)
    same = {at: given.get(at) is root() for at, root, _ in _made_for.get(opt, ())}
    return [at for at, kept in same.items() if at in given and not kept] if any(same.values()) else []


def _step(opt: Optimizer, model: _models.Models, grads: dict[str, Any], value: Any, value_fn: Any = None) -> None:
    """One step of the rule on the arrays that have a gradient."""
    params = {path: v for path, v in _models.trained(model).items() if path in grads}
    if not params:
        return
    every, packing, before = opt.form.paths, opt.form.packing, opt._packed()
    extra = extras(model, grads, value, value_fn)
    grads = ascent(grads)
    if set(params) == every and packing.fits(grads):
        moved, updates, after = _stepped(opt, packing.pack(grads), before, packing.pack(params), extra)
        updates = packing.unpack(updates)
    else:  # array by array, and only those that have a gradient
        state = opt.state
        moved, updates, after = _stepped(opt, grads, _state.restricted(state, every, set(params)), params, extra)
        after = _state.packed(_state.merged(state, after, every), packing, every)
    _models.write(model, moved | {p: (params[p] + u).astype(params[p].dtype) for p, u in updates.items()})
    for name, value in zip(opt.form.names, jax.tree.leaves(_state.as_before(after, before)), strict=True):
        setattr(opt.slots, name, value)


def _stepped(opt: Optimizer, grads: Any, state: Any, params: Any, extra: Any) -> tuple[Any, Any, Any]:
    """The arrays that kernels moved, what is to be added to the others, and the state after it."""
    with opt.knowing():
        if not isinstance(opt.rule, Rule) or not opt.rule.taken(grads, params):
            return {}, *called(opt.transform.update, grads, state, params, extra)
        moved, steps, after = opt.rule.moved(grads, state, params, **extra)
    return moved, jax.tree.map(jnp.negative, steps), after


_compiled_step = jit(_step)
