"""What a rule is: its numbers, and one formula that is applied to every array."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from phlox.core import RangeError, StructureError, static_key
from phlox.optim.rules import _applied, _habits, _numbers
from phlox.optim.rules._choice import kind_of
from phlox.optim.rules._numbers import HELD, Number

if TYPE_CHECKING:
    import optax

Slots = dict[str, jax.Array]
Arrays = dict[str, jax.Array]  # by path
Ranges = dict[str, tuple[float, float]]
INF = float("inf")


@functools.partial(jax.tree_util.register_dataclass, data_fields=["updates"], meta_fields=["paths", "cohorts"])
@dataclass(frozen=True)
class Counts:
    """How many updates arrays have had: one number for each cohort, the arrays that were adopted together.

    A number for each array would cost a compiled step hundreds of tiny kernels.
    """

    updates: Any  # (cohorts,) int32
    paths: tuple[str, ...]
    cohorts: tuple[int, ...]  # which each path is of

    def moved(self) -> Counts:
        """After an update of these paths."""
        moves = np.isin(np.arange(self.updates.shape[0]), self.cohorts)
        return Counts(self.updates + moves.astype(np.int32), self.paths, self.cohorts)


class RuleState(NamedTuple):
    """The state of one rule; a part that the rule does not need is an empty tuple."""

    numbers: Any
    step: Any
    counts: Any
    slots: Any


@dataclass(frozen=True, eq=False)
class Rule:
    r"""An update rule: numbers, and the step that they give for an array, $w \leftarrow w - \text{step}(g, w)$.

    A number may be a float or a schedule, a function of the number of updates made, counted from 0. The learning
    rate, weight decay, momentum and thresholds are state: ``opt.adjust(…)`` sets them and nothing is traced anew.
    The rest are constants of the compiled program. Rules that differ in state alone are equal and share programs.

    To write one: subclass it as a frozen dataclass, and define

    - ``start(w)``: the arrays it keeps for an array w, by name; none by default;
    - ``step(g, w, slots, n)``: what to subtract from w, and the new slots. ``n`` has the numbers as attributes, what
      ``corrections`` gave, and the array's ``path`` and ``dtype``. float16 and bfloat16 come as float32, and go back
      rounded. A complex gradient comes as the direction of ascent, the conjugate of what ``px.grad`` gives. Of
      parameters that a ``RepeatedLayer`` stacked, both see one at a time;
    - ``ranges``: its numbers and their ranges, which are checked; without it, all its attributes that are numbers
      are its numbers;
    - ``in_8_bits``: the slots that ``EightBit`` may keep so, by name: ``"signed"``, or ``"unsigned"`` for what is never
      below 0;
    - ``componentwise = True``, where ``step`` and ``start`` treat each component alone, so that small arrays can be
      moved as one; ``n.path`` is then no array's. A complex array is then given as its real and its imaginary part,
      one after the other;
    - ``corrections(n, t)``: numbers that depend on how many updates arrays have had, where the rule has such; t counts
      from 1, of shape (cohorts,), one for arrays that were adopted together: see ``Optimizer.sync``.

    In these, ``self.learning_rate`` is ``n.learning_rate``: the number of this step. Like any traced number it can be
    computed with, and not looked at by ``if``; what a rule looks at is no state, and is named in ``constants``. A rule
    stays as it is once an optimiser has it.

    Raises:
        RangeError: a number outside its range.
        StructureError: arguments as another library has them; an attribute changed once an optimiser has the rule.

    >>> from dataclasses import dataclass
    >>> import jax.numpy as jnp, phlox as px
    >>> @dataclass(frozen=True, eq=False)
    ... class SignDescent(px.optim.Rule):
    ...     learning_rate: float = 0.1
    ...     ranges = {"learning_rate": (0.0, float("inf"))}
    ...     def step(self, g, w, slots, n):
    ...         return n.learning_rate * jnp.sign(g), slots
    >>> model = px.Dense.of(jnp.ones((2, 1)), None)
    >>> px.Optimizer(SignDescent(0.5), model).update(model, {"weight": jnp.array([[3.0], [-4.0]])})
    >>> model.weight.tolist()
    [[0.5], [1.5]]
    """

    ranges: ClassVar[Ranges] = {}
    """The lowest value of each number, and the bound below which it stays."""
    constants: ClassVar[frozenset[str]] = frozenset()
    """Numbers that the program knows although other rules hold them as state."""
    componentwise: ClassVar[bool] = False
    """True where the step of a component depends on that component alone: many small arrays may then be one."""
    in_parts: ClassVar[bool] = False
    """Whether a complex array is moved as its real and imaginary part; if not told, as ``componentwise`` says."""

    in_8_bits: ClassVar[Mapping[str, str]] = {}
    """Moments that are as good with 8 bits, by name: ``"signed"``, or ``"unsigned"`` for what is never below 0."""

    if not TYPE_CHECKING:  # type checkers read the fields; ``__new__`` and ``__signature__`` would hide them

        def __new__(cls, *args: Any, **kwargs: Any) -> Any:
            if args or kwargs:
                _habits.check_arguments(cls, args, kwargs)
            return super().__new__(cls)

        __signature__ = _habits.OfInit()

    def __post_init__(self) -> None:
        for name, (low, below) in self.ranges.items():
            check(self, name, getattr(self, name), low, below)

    # --- what a rule defines ---------------------------------------------------------------------

    def start(self, w: jax.Array) -> Slots:
        """The arrays that the rule keeps for one array."""
        del w
        return {}

    def step(self, g: jax.Array, w: jax.Array, slots: Slots, n: Any) -> tuple[jax.Array, Slots]:
        """What to subtract from an array with a gradient, and the new slots."""
        raise NotImplementedError(f"{type(self).__name__} defines no step(g, w, slots, n)")

    def moves(self, g: jax.Array, w: jax.Array) -> bool:
        """Whether ``move`` has a kernel for this array."""
        del g, w
        return False

    def move(self, g: jax.Array, w: jax.Array, slots: Slots, n: Any) -> tuple[jax.Array, Slots]:
        """What ``step`` says, by a kernel: the array after it, and the new slots.

        ``n.before`` has the gradients of the three arrays that kernels move before this one. A step that changes an
        array in its place comes after whatever reads the array; without the way back through this layer, which is in
        the gradients of the layers before it, XLA sees no order between the two and copies the array.
        """
        raise NotImplementedError(f"{type(self).__name__} has no kernel")

    def corrections(self, n: Any, t: jax.Array) -> dict[str, jax.Array]:
        """Numbers by the count of updates, t of shape (cohorts,)."""
        del n, t
        return {}

    def across(self, grads: list[jax.Array], n: Any) -> dict[str, jax.Array]:
        """Numbers that all gradients together give."""
        del grads, n
        return {}

    def check_paths(self, paths: tuple[str, ...], arrays: list[jax.Array]) -> None:
        """Refuse arrays that the rule cannot move."""

    @property
    def by_component(self) -> bool:
        """Whether this rule, with these arguments, is ``componentwise``; a subclass has to say so itself."""
        return vars(type(self)).get("componentwise", False)

    @property
    def small_slots(self) -> Mapping[str, str]:
        """What this rule, with these arguments, has ``in_8_bits``; a subclass has to say so itself."""
        return vars(type(self)).get("in_8_bits", {})

    def with_rules(self, change: Callable[[Rule], Rule]) -> Rule:
        """The same with other rules in the place of those inside it."""
        del change
        return self

    # --- what follows from it ---------------------------------------------------------------------

    def transform(self) -> optax.GradientTransformationExtraArgs:
        """The optax transformation, whose updates are to be added."""
        part = self.part()

        def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
            steps, state = part.update(updates, state, params, **extra)
            return jax.tree.map(jnp.negative, steps), state

        return transformation(part.init, update)

    def part(self) -> optax.GradientTransformationExtraArgs:
        """The transformation as a part of others: its updates are to be subtracted."""
        return transformation(self._init, self._update)

    @property
    def numbers(self) -> dict[str, Number]:
        """The numbers by name, as they were given."""
        return {name: getattr(self, name) for name in self.ranges or _numbers.plain_in(self, Rule)}

    @property
    def held(self) -> dict[str, Number]:
        """Those that are state."""
        mine = HELD - self.constants
        return {k: v for k, v in self.numbers.items() if k in mine and not callable(v)}

    def reads(self, state: Any) -> list[tuple[str, dict[str, Any]]]:
        """What the numbers are in this state, for each rule inside, with a label that tells rules apart."""
        return [("", _numbers.now(self.numbers, state.numbers, state.step))]

    def _init(self, params: Any) -> RuleState:
        leaves, treedef = jax.tree_util.tree_flatten_with_path(params)
        paths, arrays = _numbers.names_of(p for p, _ in leaves), [v for _, v in leaves]
        self.check_paths(paths, arrays)
        start = functools.partial(_applied.started, self.start, self._by_parts)
        started = [self._one_by_one(start, p, v)(v) for p, v in zip(paths, arrays, strict=True)]
        names = tuple(started[0]) if started else ()
        counting = any(callable(v) for v in self.numbers.values())
        return RuleState(
            _numbers.start(self.held),
            jnp.zeros((), jnp.int32) if counting else (),
            Counts(jnp.zeros(1, jnp.int32), paths, (0,) * len(paths)) if self._counts else (),
            _numbers.record(names)(*[treedef.unflatten([s[k] for s in started]) for k in names]),
        )

    @property
    def _counts(self) -> bool:
        return type(self).corrections is not Rule.corrections

    def taken(self, grads: Arrays, params: Arrays) -> set[str]:
        """The paths of what kernels move; as with ``componentwise``, a subclass has to define ``move`` itself."""
        own = "move" in vars(type(self))
        return {path for path, g in grads.items() if own and self.moves(g, params[path])}

    def moved(self, grads: Arrays, state: Any, params: Arrays, **extra: Any) -> tuple[Arrays, Arrays, Any]:
        """The arrays that kernels moved, after it; what to subtract from the others; and the new state."""
        del extra
        taken, after, before = self.taken(grads, params), {}, []

        def step(rule: Rule, g: jax.Array, w: jax.Array, slots: Slots, n: Any) -> tuple[jax.Array | None, Slots]:
            if n.path not in taken:
                return rule._stepped(g, w, slots, n)
            n.before = tuple(before[-3:])
            before.append(g)
            after[n.path], slots = rule.move(g, w, slots, n)
            return None, slots

        steps, state = self._each(step, grads, state, params)
        return after, {path: step for path, step in steps.items() if path not in taken}, state

    def _update(self, grads: Any, state: RuleState, params: Any = None, **extra: Any) -> tuple[Any, RuleState]:
        del extra
        return self._each(lambda rule, *args: rule._stepped(*args), grads, state, params)

    def _stepped(self, g: jax.Array, w: jax.Array, slots: Slots, n: Any) -> tuple[jax.Array, Slots]:
        return self._one_by_one(lambda g, w, slots: self.step(g, w, slots, n), n.path, w)(g, w, slots)

    def _one_by_one(self, formula: Any, path: str, w: jax.Array) -> Any:
        """A formula of arrays for each of those that a layer stacked; componentwise ones see no difference."""
        if not vars(type(self)).get("componentwise", False):
            for _ in range(kind_of(path, w).stacked):
                formula = jax.vmap(formula)
        return formula

    def _each(self, formula: Any, grads: Any, state: RuleState, params: Any) -> tuple[Any, RuleState]:
        """Apply a formula, ``step`` of the rule that is its first argument, to every array."""
        leaves, treedef = jax.tree_util.tree_flatten_with_path(grads)
        paths, arrays = _numbers.names_of(p for p, _ in leaves), [g for _, g in leaves]
        weights = arrays if params is None else treedef.flatten_up_to(params)
        numbers = _numbers.now(self.numbers, state.numbers, state.step)
        now = self._with(numbers)
        numbers |= now.across([_applied.widened(g) for g in arrays], _numbers.Known(now, numbers))
        counts, cohorts = state.counts, (0,) * len(paths)
        corrections: dict[str, Any] = {}
        if isinstance(counts, Counts):
            counts, cohorts = counts.moved(), counts.cohorts
            t = counts.updates.astype(jax.dtypes.canonicalize_dtype(float))
            corrections = now.corrections(_numbers.Known(now, numbers), t)

        @functools.cache
        def known(cohort: int, dtype: Any) -> tuple[Rule, dict[str, Any]]:
            found = _numbers.as_dtype({**numbers, **{k: v[cohort] for k, v in corrections.items()}}, dtype)
            return self._with({k: v for k, v in found.items() if k in self.numbers}), found

        names = state.slots._fields
        columns = [treedef.flatten_up_to(slot) for slot in state.slots]
        steps, after = [], []
        for i, (path, g, w) in enumerate(zip(paths, arrays, weights, strict=True)):
            rule, found = known(cohorts[i], _applied.wide(g.dtype))
            n = _numbers.Known(rule, {**found, "path": path, "dtype": w.dtype})
            one = functools.partial(_applied.one, functools.partial(formula, rule), self._by_parts)
            step, new = one(g, w, {k: c[i] for k, c in zip(names, columns, strict=True)}, n)
            steps.append(step)
            after.append(new)
        slots = type(state.slots)(*[treedef.unflatten([new[k] for new in after]) for k in names])
        step = () if isinstance(state.step, tuple) else state.step + 1
        return treedef.unflatten(steps), RuleState(state.numbers, step, counts, slots)

    @property
    def _by_parts(self) -> bool:
        own = vars(type(self))
        return bool(own.get("in_parts", own.get("componentwise", False)))

    def _with(self, numbers: dict[str, Any]) -> Rule:
        """This rule with the numbers of a step as its attributes, so that what reads ``self`` reads them.

        Programs are shared by rules that differ in state alone: what ``self`` was when one was traced must not count.
        """
        rule = copy.copy(self)
        for name, value in numbers.items():
            if not isinstance(getattr(type(self), name, None), property):
                object.__setattr__(rule, name, value)
        return rule

    # --- equality, which decides what programs are shared ---------------------------------------------

    def _key(self) -> tuple[Any, ...]:
        held = self.held
        named = {f.name: getattr(self, f.name, None) for f in fields(self)} | self.numbers | vars(self)
        return type(self), tuple((k, None if k in held else static_key(v)) for k, v in named.items() if k != _SEALED)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rule) and self._key() == other._key()

    def __hash__(self) -> int:
        object.__setattr__(self, _SEALED, True)
        return hash(self._key())


_SEALED = "_sealed"  # in a rule that programs are kept by
_frozen_setattr = Rule.__setattr__


def _set(rule: Rule, name: str, value: Any) -> None:
    """Attributes of a class with an ``__init__`` of its own may be set, but not once a program goes by them."""
    if _SEALED in vars(rule):
        raise StructureError(
            f"{name} to stay as it was when the optimiser was made",
            got="another value",
            fix=f"call opt.adjust({name}=…)" if name in rule.held else "make a new rule, and a new px.Optimizer of it",
            where=type(rule).__name__,
        )
    _frozen_setattr(rule, name, value)


Rule.__setattr__ = _set  # dataclasses refuse one in the body of a frozen class


def check(rule: Any, name: str, value: Any, low: float, below: float = INF) -> None:
    """Refuse a number outside [low, below); a schedule is taken as it is, and so is what is not known yet."""
    if isinstance(value, Tracer) or _habits.is_schedule(value):
        return
    if _habits.is_number(value) and low <= value < below:
        return
    bounds = f"[{low:g}, {below:g})" if below != INF else f"[{low:g}, ∞)"
    fix = _habits.cure(rule, name, value) or f"choose {name} in {bounds}"
    raise RangeError(f"{name} in {bounds}", got=_habits.told(value), fix=fix, where=type(rule).__name__)


def transformation(init: Any, update: Any) -> optax.GradientTransformationExtraArgs:
    """A transformation of optax out of its two functions."""
    import optax  # slow to import, so only where a rule is used

    return optax.GradientTransformationExtraArgs(init, update)
