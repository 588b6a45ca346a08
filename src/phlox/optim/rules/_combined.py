"""Rules made of rules: chains, groups by path, accumulation, lookahead, sharpness, precision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from phlox.core import RangeError, StructureError, describe
from phlox.optim.rules import _numbers
from phlox.optim.rules._applied import ascent, widened
from phlox.optim.rules._gradients import _norm
from phlox.optim.rules._numbers import Number
from phlox.optim.rules._rule import INF, Arrays, Ranges, Rule, transformation

if TYPE_CHECKING:
    import optax


def check_rule(rule: Any, where: str) -> None:
    if not isinstance(rule, Rule):
        raise StructureError(
            "rules of px.optim",
            got=describe(rule),
            fix="put a transformation of optax and rule.transform() of ours in optax.chain; px.Optimizer takes that",
            where=where,
        )


@dataclass(frozen=True, eq=False)
class Chain(Rule):
    """Rules one after another; what ``px.optim.chain`` makes."""

    rules: tuple[Rule, ...] = ()

    @property
    def by_component(self) -> bool:
        """Where all its rules are."""
        return all(rule.by_component for rule in self.rules)

    def part(self) -> optax.GradientTransformationExtraArgs:
        """The parts in a chain."""
        import optax

        return optax.with_extra_args_support(optax.chain(optax.identity(), *[r.part() for r in self.rules]))

    def taken(self, grads: Arrays, params: Arrays) -> set[str]:
        """What the last rule moves by kernels."""
        return self.rules[-1].taken(grads, params) if self.rules else set()

    def moved(self, grads: Any, state: Any, params: Arrays, **extra: Any) -> tuple[Arrays, Arrays, Any]:
        """The last rule moves what the ones before make of the gradients."""
        states = list(state)
        for i, rule in enumerate(self.rules[:-1], 1):
            grads, states[i] = rule.part().update(grads, states[i], params, **extra)
        after, steps, states[-1] = self.rules[-1].moved(grads, states[-1], params, **extra)
        return after, steps, tuple(states)

    def with_rules(self, change: Callable[[Rule], Rule]) -> Rule:
        """A chain of others."""
        return replace(self, rules=tuple(map(change, self.rules)))

    def reads(self, state: Any) -> list[tuple[str, dict[str, Any]]]:
        """The numbers of every rule."""
        return [read for rule, part in zip(self.rules, state[1:], strict=True) for read in rule.reads(part)]

    def __repr__(self) -> str:
        return f"chain({', '.join(map(repr, self.rules))})"


def chain(*rules: Rule) -> Chain:
    """Rules one after another: each takes what the one before would subtract as its gradient.

    So ``chain(ClipGlobalNorm(1.0), WeightDecay(1e-4), Momentum(0.1))`` clips, adds the decay, then steps. Without
    rules it subtracts the gradient itself.

    Raises:
        StructureError: something that is no rule of ``px.optim``.

    >>> import jax.numpy as jnp, phlox as px
    >>> model = px.Dense.of(jnp.ones((1, 1)), None)
    >>> opt = px.Optimizer(px.optim.chain(px.optim.ClipGrad(1.0), px.optim.Descent(0.5)), model)
    >>> opt.update(model, {"weight": jnp.array([[40.0]])})
    >>> model.weight.tolist()
    [[0.5]]
    """
    for rule in rules:
        check_rule(rule, "px.optim.chain")
    return Chain(rules)


_NONE = Rule()


@dataclass(frozen=True, eq=False)
class Around(Rule):
    """A rule around another."""

    rule: Rule = _NONE

    def __post_init__(self) -> None:
        check_rule(self.rule, type(self).__name__)
        super().__post_init__()

    def with_rules(self, change: Callable[[Rule], Rule]) -> Rule:
        """Around another."""
        return replace(self, rule=change(self.rule))

    def reads(self, state: Any) -> list[tuple[str, dict[str, Any]]]:
        """The numbers of the rule inside."""
        return self.rule.reads(state.inner)


@dataclass(frozen=True, eq=False)
class AccumGrad(Around):
    """Gather gradients over several updates, and step by their mean in the last.

    The weights stand still in between. Schedules and counts of the rule count steps, not gradients. It computes what
    optax's ``MultiSteps`` does; the mean is float32 or wider, and complex for complex arrays.

    Arguments:
        rule: the rule that steps.
        every: how many gradients make a step.

    Raises:
        RangeError: fewer than 1.
        StructureError: no rule of ``px.optim``.

    Source: gradient accumulation, as in Flux's ``AccumGrad``, which stands in a chain before the rule.

    >>> import jax.numpy as jnp, phlox as px
    >>> model = px.Dense.of(jnp.ones((1, 1)), None)
    >>> opt = px.Optimizer(px.optim.AccumGrad(px.optim.Descent(1.0), every=2), model)
    >>> for g in (0.25, 0.75):
    ...     opt.update(model, {"weight": jnp.array([[g]])})
    ...     print(model.weight.tolist())
    [[1.0]]
    [[0.5]]
    """

    every: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        _at_least_one(self, "every", self.every)

    def part(self) -> optax.GradientTransformationExtraArgs:
        """The mean, and the part where it is due; the state is that of optax's ``MultiSteps``."""
        import optax

        inner = self.rule.part()
        wide = lambda w: jnp.promote_types(w.dtype, jax.dtypes.canonicalize_dtype(float))  # noqa: E731

        def init(params: Any) -> Any:
            mean = jax.tree.map(lambda w: jnp.zeros_like(w, wide(w)), params)
            zero = jnp.zeros((), jnp.int32)
            return optax.MultiStepsState(zero, zero, inner.init(params), mean, ())

        def update(grads: Any, state: Any, params: Any = None, **extra: Any) -> Any:
            count = state.mini_step + 1
            mean = jax.tree.map(lambda m, g: m + (g.astype(m.dtype) - m) / count, state.acc_grads, grads)

            def step(before: Any) -> Any:
                steps, after = inner.update(mean, before, params, **extra)
                return steps, jax.tree.map(lambda a, b: a.astype(b.dtype), after, before)

            forms = jax.eval_shape(step, state.inner_opt_state)[0]
            wait = lambda before: (jax.tree.map(lambda f: jnp.zeros(f.shape, f.dtype), forms), before)  # noqa: E731
            due = count == self.every
            steps, after = jax.lax.cond(due, step, wait, state.inner_opt_state)
            mean = jax.tree.map(lambda m: jnp.where(due, 0, m), mean)  # no product: NaN times 0 is NaN for ever
            return steps, state._replace(
                mini_step=count % self.every,
                gradient_step=state.gradient_step + due,
                inner_opt_state=after,
                acc_grads=mean,
            )

        return transformation(init, update)

    def reads(self, state: Any) -> list[tuple[str, dict[str, Any]]]:
        """The numbers of the rule inside."""
        return self.rule.reads(state.inner_opt_state)


class LookaheadState(NamedTuple):
    """The slow weights, and how many fast steps were taken."""

    slow: Any
    step: Any
    inner: Any


@dataclass(frozen=True, eq=False)
class Lookahead(Around):
    r"""Fast steps by a rule; every k-th draws slow weights after them, $s \leftarrow s + α(w - s),\; w \leftarrow s$.

    Arguments:
        rule: the rule that takes the fast steps.
        every: k, at least 1.
        pull: α in (0, 1].

    Raises:
        RangeError: a number outside its range.
        StructureError: no rule of ``px.optim``.

    Source: Zhang et al., "Lookahead optimizer: k steps forward, 1 step back", 2019.

    >>> import phlox as px
    >>> px.optim.Lookahead(px.optim.Adam(), every=5).pull
    0.5
    """

    every: int = 6
    pull: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        _at_least_one(self, "every", self.every)
        if callable(self.pull) or not 0 < self.pull <= 1:
            raise RangeError("pull in (0, 1]", got=repr(self.pull), fix="choose pull in (0, 1]", where="Lookahead")

    def part(self) -> optax.GradientTransformationExtraArgs:
        """The formula above."""
        inner = self.rule.part()

        def init(params: Any) -> LookaheadState:
            slow = jax.tree.map(jnp.array, params)  # of their own: the weights' buffers are given away
            return LookaheadState(slow, jnp.zeros((), jnp.int32), inner.init(params))

        def update(grads: Any, state: LookaheadState, params: Any = None, **extra: Any) -> Any:
            steps, after = inner.update(grads, state.inner, params, **extra)
            count = state.step + 1
            due = count % self.every == 0
            pull = lambda s, w, d: s + self.pull * (widened(w) - d - s)  # noqa: E731
            slow = jax.tree.map(
                lambda s, w, d: jnp.where(due, pull(s, w, d).astype(s.dtype), s), state.slow, params, steps
            )
            steps = jax.tree.map(lambda w, s, d: jnp.where(due, widened(w) - s, d), params, slow, steps)
            return steps, LookaheadState(slow, count, after)

        return transformation(init, update)


class SharpState(NamedTuple):
    """ρ, and the state of the rule inside."""

    numbers: Any
    inner: Any


@dataclass(frozen=True, eq=False)
class SAM(Around):
    r"""Sharpness-aware steps: a rule with the gradient taken where the loss is worst nearby.

    $\hat g = \nabla L(w + ρ g/\|g\|)$, the norm over all arrays; then the rule's step from w with $\hat g$. The second
    gradient costs as much as the first: ``opt.update(model, grads, value_fn=loss_fn)``, where ``loss_fn`` is what
    ``grads`` is the gradient of.

    Arguments:
        rule: the rule that steps.
        rho: ρ ≥ 0, a number that ``adjust`` sets.

    Raises:
        RangeError: a number outside its range.
        StructureError: no rule of ``px.optim``; from ``update``, a missing ``value_fn``.

    Source: Foret et al., "Sharpness-aware minimization for efficiently improving generalization", 2021.

    >>> import phlox as px
    >>> px.optim.SAM(px.optim.Momentum(0.1)).rho
    0.05
    """

    rho: Number = 0.05
    ranges: ClassVar[Ranges] = {"rho": (0.0, INF)}

    def part(self) -> optax.GradientTransformationExtraArgs:
        """The formula above."""
        inner = self.rule.part()

        def init(params: Any) -> SharpState:
            return SharpState(_numbers.start({"rho": self.rho}), inner.init(params))

        def update(grads: Any, state: SharpState, params: Any = None, **extra: Any) -> Any:
            value_fn = needed(extra, "value_fn", "SAM")
            norm = _norm(jax.tree.leaves(grads), 2.0)
            scale = state.numbers.rho / jnp.where(norm == 0, 1, norm)
            up = lambda g: scale.astype(jnp.real(widened(g)).dtype) * widened(g)  # noqa: E731
            worse = jax.tree.map(lambda w, g: (widened(w) + up(g)).astype(w.dtype), params, grads)
            there = ascent(jax.grad(value_fn)(worse))
            steps, after = inner.update(there, state.inner, params, **extra)
            return steps, SharpState(state.numbers, after)

        return transformation(init, update)

    def __post_init__(self) -> None:
        super().__post_init__()
        if callable(self.rho):
            raise RangeError("a number for rho", got="a schedule", fix="use opt.adjust(rho=…)", where="SAM")

    def reads(self, state: Any) -> list[tuple[str, dict[str, Any]]]:
        """ρ, and the numbers of the rule inside."""
        return [("", {"rho": state.numbers.rho}), *self.rule.reads(state.inner)]


class PreciseState(NamedTuple):
    """The weights in float32, and the state of the rule on them."""

    weights: Any
    inner: Any


@dataclass(frozen=True, eq=False)
class MixedPrecision(Around):
    """Keep the weights of a float16 or bfloat16 model in float32 beside it, and step on those.

    The model holds them rounded, so that small steps are not lost. Where something else writes the model's weights
    (a file, ``px.load_state_dict``), make the optimiser anew, or load its state too.

    Arguments:
        rule: the rule that steps, all of whose state is float32.

    Raises:
        StructureError: no rule of ``px.optim``.

    Source: Micikevicius et al., "Mixed precision training", 2018.

    >>> import jax.numpy as jnp, phlox as px
    >>> model = px.bf16(px.Dense.of(jnp.ones((1, 1)), None))
    >>> opt = px.Optimizer(px.optim.MixedPrecision(px.optim.Descent(1e-3)), model)
    >>> for _ in range(4):
    ...     opt.update(model, {"weight": jnp.ones((1, 1), jnp.bfloat16)})
    >>> float(model.weight[0, 0])
    0.99609375
    """

    def part(self) -> optax.GradientTransformationExtraArgs:
        """The rule on the wide weights."""
        inner = self.rule.part()

        def init(params: Any) -> PreciseState:
            weights = jax.tree.map(lambda w: jnp.array(w, _wide(w)), params)
            return PreciseState(weights, inner.init(weights))

        def update(grads: Any, state: PreciseState, params: Any = None, **extra: Any) -> Any:
            grads = jax.tree.map(lambda g: g.astype(_wide(g)), grads)
            steps, after = inner.update(grads, state.inner, state.weights, **extra)
            weights = jax.tree.map(lambda w, d: w - d, state.weights, steps)
            return jax.tree.map(lambda w, v: w.astype(v.dtype) - v, params, weights), PreciseState(weights, after)

        return transformation(init, update)


def _wide(x: jax.Array) -> Any:
    return jnp.promote_types(x.dtype, jnp.float32)


def _at_least_one(rule: Rule, name: str, number: int) -> None:
    if not number >= 1:
        where = type(rule).__name__
        raise RangeError(f"{name} of at least 1", got=repr(number), fix=f"choose {name} ≥ 1", where=where)


def needed(extra: dict[str, Any], name: str, where: str) -> Any:
    """What a rule cannot do without in ``opt.update``."""
    if extra.get(name) is None:
        raise StructureError(
            f"{name}= in opt.update",
            got="none",
            fix="call opt.update(model, grads, value=loss, value_fn=loss_fn), with loss_fn(model) the loss",
            where=where,
        )
    return extra[name]
