"""Rules by path: other rules, or other numbers, for other parts of a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import jax

from phlox.core import StructureError
from phlox.optim.rules import _numbers
from phlox.optim.rules._choice import Choice, check_choice, check_matches, chosen
from phlox.optim.rules._combined import check_rule
from phlox.optim.rules._rule import Rule, transformation

if TYPE_CHECKING:
    import optax


@dataclass(frozen=True, eq=False)
class Groups(Rule):
    """Rules by path; what ``px.optim.groups`` makes."""

    rows: tuple[tuple[Choice, Rule | None], ...] = ()

    def label(self, path: str, array: Any) -> str:
        """Which group an array is in."""
        for i, (choice, _) in enumerate(self.rows):
            if chosen(choice, path, array):
                return self.labels[i]
        raise StructureError(
            "a rule for every trained array",
            got=f"none for {path}",
            fix='add ("*", rule) as the last group, or ("*", None) to leave the others alone',
            where="px.optim.groups",
        )

    @property
    def labels(self) -> list[str]:
        """The names of the groups: the pattern, or the function's name."""
        names = [c if isinstance(c, str) else getattr(c, "__name__", str(c)) for c, _ in self.rows]
        return [n if names.count(n) == 1 else f"{n} ({i})" for i, n in enumerate(names)]

    def part(self) -> optax.GradientTransformationExtraArgs:
        """The parts, each on its arrays."""
        import optax

        parts: dict[Any, optax.GradientTransformation] = {
            label: optax.set_to_zero() if rule is None else rule.part()
            for label, (_, rule) in zip(self.labels, self.rows, strict=True)
        }
        split = optax.partition(parts, self._labelled)

        def init(params: Any) -> Any:
            leaves = jax.tree_util.tree_flatten_with_path(params)[0]
            paths, arrays = _numbers.names_of(p for p, _ in leaves), [v for _, v in leaves]
            for choice, _ in self.rows:
                if choice != "*":
                    check_matches(choice, paths, arrays, "px.optim.groups")
            return split.init(params)

        return transformation(init, split.update)

    def _labelled(self, params: Any) -> Any:
        leaves, treedef = jax.tree_util.tree_flatten_with_path(params)
        paths = _numbers.names_of(p for p, _ in leaves)
        return treedef.unflatten([self.label(p, v) for p, (_, v) in zip(paths, leaves, strict=True)])

    def with_rules(self, change: Callable[[Rule], Rule]) -> Rule:
        """The same groups with others."""
        return replace(self, rows=tuple((choice, None if rule is None else change(rule)) for choice, rule in self.rows))

    def reads(self, state: Any) -> list[tuple[str, dict[str, Any]]]:
        """The numbers of every group, under its label."""
        found = []
        for label, (_, rule) in zip(self.labels, self.rows, strict=True):
            if rule is not None:
                inner = rule.reads(state.inner_states[label].inner_state)
                found += [(f"{label}/{name}" if name else label, numbers) for name, numbers in inner]
        return found

    def __repr__(self) -> str:
        rows = [f"{label!r}: {rule!r}" for label, (_, rule) in zip(self.labels, self.rows, strict=True)]
        return f"groups({{{', '.join(rows)}}})"


def groups(rules: Mapping[Choice, Rule | None] | Sequence[tuple[Choice, Rule | None]]) -> Groups:
    """A rule for each group of arrays: the first group whose choice means an array has it.

    ``opt.adjust("trunk.*", learning_rate=…)`` sets a number of one group, without a name of all.

    Arguments:
        rules: by path pattern (``"trunk.*"``, ``"*.bias"``), several of them in a tuple, or predicate
            ``(path, array) -> bool`` such as ``px.optim.is_matrix``. None in the place of a rule leaves the arrays
            alone; ``"*"`` means all that are left.

    Raises:
        StructureError: no rule of ``px.optim``; from ``px.Optimizer``, an array without a group, or a group
            without an array.

    >>> import jax.numpy as jnp, phlox as px
    >>> model = px.Dense.of(jnp.ones((1, 1)), jnp.zeros(1))
    >>> opt = px.Optimizer(px.optim.groups({"bias": None, "*": px.optim.Descent(0.5)}), model)
    >>> opt.update(model, {"weight": jnp.ones((1, 1)), "bias": jnp.ones(1)})
    >>> model.weight.tolist(), model.bias.tolist()
    ([[0.5]], [0.0])
    """
    rows = tuple(rules.items() if isinstance(rules, Mapping) else rules)
    for choice, rule in rows:
        check_choice(choice, "px.optim.groups")
        if rule is not None:
            check_rule(rule, "px.optim.groups")
    return Groups(rows)
