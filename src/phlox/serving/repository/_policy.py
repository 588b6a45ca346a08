"""Which versions of a model are served, under which labels, and which share of the requests each gets."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from phlox.core import OptionError
from phlox.serving.repository._guard import Guard
from phlox.serving.repository._layout import POLICY

_FIX = 'write {"versions": "latest", "labels": {"stable": 3}}'
_KEYS = ("versions", "labels", "weights", "guard", "rollback", "note")


@dataclass(frozen=True)
class Policy:
    """What ``config.json`` beside a model's versions says.

    Arguments:
        versions: ``"latest"``, ``"all"``, or numbers.
        labels: version numbers by label.
        weights: shares of the requests that name no version, by version number; without them the latest has all.
        guard: bounds beyond which a version that has a share loses it.
        rollback: the version that has all requests after a rollback; it stays loaded.
        note: what the last rollback was for.
        where: what speaks in errors.
        since: changes when the file does.

    Raises:
        OptionError: something else.

    >>> Policy("latest", {"stable": 1}).pinned, Policy((1, 2), weights={1: 9, 2: 1}).pinned
    ((1,), (1, 2))
    """

    versions: str | tuple[int, ...] = "latest"
    labels: Mapping[str, int] = field(default_factory=dict)
    weights: Mapping[int, float] = field(default_factory=dict)
    guard: Guard | None = None
    rollback: int | None = None
    note: str = ""
    where: str = field(default="Policy", compare=False)
    since: int = field(default=0, compare=False)

    def __post_init__(self) -> None:
        numbers = self.versions if isinstance(self.versions, tuple) else ()
        known = self.versions in ("latest", "all") or (numbers and all(map(_is_version, numbers)))
        if not known:
            raise self._odd('versions as "latest", "all", or a list of numbers', self.versions)
        if not all(isinstance(k, str) and k and _is_version(v) for k, v in self.labels.items()):
            raise self._odd('labels as {"stable": 3}', self.labels)
        shares = list(self.weights.values())
        fits = all(_is_version(n) for n in self.weights) and all(_is_share(w) for w in shares)
        if not fits or (shares and not sum(shares) > 0):
            raise self._odd('weights as {"3": 9, "4": 1}', self.weights)
        if self.rollback is not None and not _is_version(self.rollback):
            raise self._odd("rollback as the number of a version", self.rollback)
        if not isinstance(self.note, str):
            raise self._odd("note as text", self.note)

    @classmethod
    def of(cls, told: Any, where: str, since: int = 0) -> Policy:
        """A policy as JSON has it.

        Raises:
            OptionError: something else.
        """
        odd = [key for key in told if key not in _KEYS] if isinstance(told, dict) else []
        if not isinstance(told, dict) or odd:
            got = f"{odd[0]!r}" if odd else f"a {type(told).__name__}"
            raise OptionError(f"{', '.join(_KEYS)} alone", got=got, fix=_FIX, where=where)
        versions, labels, weights = told.get("versions", "latest"), told.get("labels", {}), told.get("weights", {})
        if not isinstance(labels, dict) or not isinstance(weights, dict):
            fix = 'write {"labels": {"stable": 3}, "weights": {"3": 9, "4": 1}}'
            raise OptionError("labels and weights by name", got=repr(told)[:200], fix=fix, where=where)
        guard = told.get("guard")
        return cls(
            tuple(versions) if isinstance(versions, list) else versions, labels, numbered(weights),
            None if guard is None else Guard.of(guard), told.get("rollback"), told.get("note", ""), where, since,
        )  # fmt: skip

    def told(self) -> dict[str, Any]:
        """As JSON has it, what is usual left out."""
        versions = list(self.versions) if isinstance(self.versions, tuple) else self.versions
        made: dict[str, Any] = {} if versions == "latest" else {"versions": versions}
        if self.labels:
            made["labels"] = dict(self.labels)
        if self.weights:
            made["weights"] = {str(n): w for n, w in self.weights.items()}
        if self.guard is not None:
            made["guard"] = self.guard.told()
        if self.rollback is not None:
            made["rollback"] = self.rollback
        return {**made, "note": self.note} if self.note else made

    def _odd(self, expected: str, got: Any) -> OptionError:
        return OptionError(expected, got=repr(got)[:200], fix="correct the file; it is read again", where=self.where)

    @property
    def pinned(self) -> tuple[int, ...]:
        """Versions that are served whatever is the latest."""
        numbers = self.versions if isinstance(self.versions, tuple) else ()
        return tuple(sorted({*numbers, *self.labels.values(), *self.weights, *self.kept}))

    @property
    def kept(self) -> tuple[int, ...]:
        """The version that a rollback goes to, where there is one."""
        return () if self.rollback is None else (self.rollback,)

    @property
    def sole(self) -> int | None:
        """The one version that has a share; None where there are several, or none is named."""
        shares = [n for n, w in self.weights.items() if w > 0]
        return shares[0] if len(shares) == 1 else None

    def newest(self, numbers: Sequence[int]) -> tuple[int, ...]:
        """Of all versions those from which the first that loads is served too, the newest first."""
        return tuple(sorted(numbers, reverse=True)) if self.versions == "latest" else ()


def read_policy(folder: Path) -> Policy:
    """What is said in a model's folder; the latest version where nothing is.

    Raises:
        OptionError: the file says something else than a policy.
    """
    path = folder / POLICY
    if not path.is_file():
        return Policy()
    try:
        with path.open(encoding="utf-8") as file:
            since, told = os.fstat(file.fileno()).st_mtime_ns, json.load(file)
    except (OSError, ValueError, RecursionError) as error:
        raise OptionError("a policy in JSON", got=str(error)[:200], fix=_FIX, where=str(path)) from error
    return Policy.of(told, str(path), since)


def numbered(weights: Mapping[Any, Any]) -> dict[Any, Any]:
    """Shares by version number, as JSON has them by its text; what is no number stays as it is."""
    return {int(n) if isinstance(n, str) and n.isdecimal() else n: w for n, w in weights.items()}


def _is_version(n: Any) -> bool:
    return isinstance(n, int) and not isinstance(n, bool) and n > 0


def _is_share(w: Any) -> bool:
    return isinstance(w, int | float) and not isinstance(w, bool) and 0 <= w < float("inf")
