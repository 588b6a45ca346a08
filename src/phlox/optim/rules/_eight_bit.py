"""A rule around others whose moments are kept in 8 bits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from phlox.core import RangeError, StructureError
from phlox.optim._packing import MOST
from phlox.optim.rules import _blocks, _numbers
from phlox.optim.rules._choice import kind_of
from phlox.optim.rules._combined import Around
from phlox.optim.rules._rule import Rule, RuleState, transformation

if TYPE_CHECKING:
    import optax


@dataclass(frozen=True, eq=False)
class EightBit(Around):
    r"""Keep the moments of a rule in 8 bits, in blocks with a scale each: a quarter of the memory.

    $x ≈ s\,q_c$: s is the largest size in the block, c the code of the nearest of 256 values q, which are denser the
    nearer they are to 0. $|x - s q_c| ≤ 0.0071\,s$ for what has a sign, $0.0036\,s$ for what has none, and less for
    smaller x. A step reads the codes, computes in float32, and writes codes.

    Momenta and running means of squares are kept so: of ``Adam`` and its kin, ``Momentum``, ``Nesterov``, ``Lion``,
    ``RMSProp``, ``AdaDelta`` and ``Muon``, alone or within rules made of rules, and of a rule that says so with
    ``in_8_bits``. All else stays: sums that only grow, averages of weights, wide weights, and arrays of float64.

    Shapes:
        codes: the array's; scales: one for each block, a box of up to ``block`` numbers.

    Arguments:
        rule: the rule.
        block: the most numbers in a block.
        least: elements below which an array stays as the rule has it; in a stack those of one layer count.

    Raises:
        RangeError: a block or a least of no number.
        StructureError: no rule of ``px.optim``, or one that keeps nothing that may be in 8 bits.

    Source: Dettmers et al., "8-bit optimizers via block-wise quantization", 2022.

    >>> import phlox as px
    >>> model = px.Dense(64, 64, bias=False)
    >>> opt = px.Optimizer(px.optim.EightBit(px.optim.Adam(1e-3)), model)
    >>> {name: str(v.dtype) for name, v in px.state_dict(opt).items() if "/m/" in name}
    {'slots.slots/m/weight/codes': 'uint8', 'slots.slots/m/weight/scales': 'float32'}
    """

    block: int = 256
    least: int = 4096

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, number in (("block", self.block), ("least", self.least)):
            if not isinstance(number, int) or number < 1:
                raise RangeError(
                    f"{name} as a whole number of at least 1",
                    got=repr(number),
                    fix=f"leave it out, or write {name}={getattr(type(self), name)}",
                    where="EightBit",
                )
        if not _any(self.rule):
            raise StructureError(
                "a rule that keeps moments which may be in 8 bits",
                got=repr(self.rule),
                fix='leave EightBit out; or, for a rule of yours, name them in its class: in_8_bits = {"m": "signed"}',
                where="EightBit",
            )
        self._small(self.rule)  # which looks at what it says

    @property
    def by_component(self) -> bool:
        """As the rule inside, where no vector of small arrays would be in 8 bits."""
        return self.rule.by_component and self.least > MOST

    def part(self) -> optax.GradientTransformationExtraArgs:
        """The rule inside, with each of those that keep moments in 8 bits."""
        return self._small(self.rule).part()

    def reads(self, state: Any) -> list[tuple[str, dict[str, Any]]]:
        """The numbers of the rule inside."""
        return self.rule.reads(state)

    def _small(self, rule: Rule) -> Rule:
        if isinstance(rule, EightBit):  # it has blocks of its own
            return rule
        inner = rule.with_rules(self._small)
        return _InBlocks(inner, self.block, self.least) if rule.small_slots else inner


def _any(rule: Rule) -> bool:
    """Whether a rule, or one inside it, keeps something in 8 bits."""
    found = [bool(rule.small_slots) or isinstance(rule, EightBit)]

    def look(inner: Rule) -> Rule:
        found.append(_any(inner))
        return inner

    rule.with_rules(look)
    return any(found)


@dataclass(frozen=True, eq=False)
class _InBlocks(Around):
    """One rule whose own slots are in 8 bits between its steps."""

    block: int = 256
    least: int = 4096

    def __post_init__(self) -> None:
        super().__post_init__()
        for sign in self.rule.small_slots.values():
            if sign not in _blocks.SIGNS:
                raise RangeError(
                    "'signed' or 'unsigned' for each slot in in_8_bits",
                    got=repr(sign),
                    fix='write "unsigned" for what is never below 0, else "signed"',
                    where=type(self.rule).__name__,
                )

    def part(self) -> optax.GradientTransformationExtraArgs:
        """The rule, whose slots begin in blocks; a step on such slots gives such slots."""
        inner: Any = self.rule.part()

        def init(params: Any) -> RuleState:
            state = inner.init(params)
            slots = state.slots._asdict()
            self._check(slots)
            kept = {name: self._started(slots[name], s) for name, s in self.rule.small_slots.items() if name in slots}
            return state._replace(slots=state.slots._replace(**kept))

        return transformation(init, inner.update)

    def _check(self, slots: Mapping[str, Any]) -> None:
        missing = [name for name in self.rule.small_slots if name not in slots]
        if missing and slots:  # of no array, a rule keeps nothing
            raise StructureError(
                "slots that start gives, in in_8_bits",
                got=missing[0],
                fix=f"choose among {', '.join(slots)}",
                where=type(self.rule).__name__,
            )

    def _started(self, slot: Any, sign: str) -> Any:
        """A slot with its large arrays in blocks."""
        leaves, treedef = jax.tree_util.tree_flatten_with_path(slot)
        paths = _numbers.names_of(at for at, _ in leaves)
        return treedef.unflatten([self._one(path, v, sign) for path, (_, v) in zip(paths, leaves, strict=True)])

    def _one(self, path: str, value: jax.Array, sign: str) -> Any:
        stacked = kind_of(path, value).stacked
        narrow = jnp.issubdtype(value.dtype, jnp.floating) and jnp.finfo(value.dtype).bits <= 32
        if not narrow or prod(value.shape[stacked:]) < self.least:
            return value
        return _blocks.Blocks.of(value, _blocks.sides_of(value.shape, stacked, self.block), sign)
