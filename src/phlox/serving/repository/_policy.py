"""Which versions of a model are served, under which labels, and which share of the requests each gets."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from phlox.core import OptionError
from phlox.serving.repository._layout import POLICY


@dataclass(frozen=True)
class Policy:
    """What ``config.json`` beside a model's versions says.

    Arguments:
        versions: ``"latest"``, ``"all"``, or numbers.
        labels: version numbers by label.
        weights: shares of the requests that name no version, by version number; without them the latest has all.

    Raises:
        OptionError: something else.

    >>> Policy("latest", {"stable": 1}).pinned, Policy((1, 2), weights={1: 9, 2: 1}).pinned
    ((1,), (1, 2))
    """

    versions: str | tuple[int, ...] = "latest"
    labels: Mapping[str, int] = field(default_factory=dict)
    weights: Mapping[int, float] = field(default_factory=dict)
    where: str = "Policy"

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

    def _odd(self, expected: str, got: Any) -> OptionError:
        return OptionError(expected, got=repr(got)[:200], fix="correct the file; it is read again", where=self.where)

    @property
    def pinned(self) -> tuple[int, ...]:
        """Versions that are served whatever is the latest."""
        numbers = self.versions if isinstance(self.versions, tuple) else ()
        return tuple(sorted({*numbers, *self.labels.values(), *self.weights}))

    def newest(self, numbers: Sequence[int]) -> tuple[int, ...]:
        """Of all versions those from which the first that loads is served too, the newest first."""
        return tuple(sorted(numbers, reverse=True)) if self.versions == "latest" else ()


def read_policy(folder: Path) -> Policy:
    """What is said in a model's folder; the latest version where nothing is.

    Raises:
        OptionError: the file says something else than a policy.
    """
    path = folder / POLICY
    where = str(path)
    if not path.is_file():
        return Policy()
    try:
        told = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        fix = 'write {"versions": "latest", "labels": {"stable": 3}}'
        raise OptionError("a policy in JSON", got=str(error)[:200], fix=fix, where=where) from error
    odd = [k for k in told if k not in ("versions", "labels", "weights")] if isinstance(told, dict) else []
    if not isinstance(told, dict) or odd:
        got = f"{odd[0]!r}" if odd else f"a {type(told).__name__}"
        fix = 'write {"versions": "latest", "labels": {"stable": 3}}'
        raise OptionError("versions, labels and weights alone", got=got, fix=fix, where=where)
    versions, labels, weights = told.get("versions", "latest"), told.get("labels", {}), told.get("weights", {})
    if not isinstance(labels, dict) or not isinstance(weights, dict):
        fix = 'write {"labels": {"stable": 3}, "weights": {"3": 9, "4": 1}}'
        raise OptionError("labels and weights by name", got=repr(told)[:200], fix=fix, where=where)
    shares = {int(n) if n.isdecimal() else n: w for n, w in weights.items()}
    return Policy(tuple(versions) if isinstance(versions, list) else versions, labels, shares, where)


def _is_version(n: Any) -> bool:
    return isinstance(n, int) and not isinstance(n, bool) and n > 0


def _is_share(w: Any) -> bool:
    return isinstance(w, int | float) and not isinstance(w, bool) and 0 <= w < float("inf")
