"""The versions of one name, and which of them answers."""

from __future__ import annotations

import random

from phlox.serving._errors import UnavailableError, UnknownModelError
from phlox.serving.repository._policy import Policy
from phlox.serving.repository._version import State, Version


class Model:
    """A model by its name.

    Arguments:
        name: the name.
    """

    versions: dict[int, Version]
    """By number; those that failed and those that were put away too, for status pages."""

    def __init__(self, name: str):
        self.name, self.policy = name, Policy()
        self.versions = {}
        self.error = ""
        """What is wrong with its policy; the one before it holds."""
        self._random = random.Random(0)

    def available(self) -> dict[int, Version]:
        """The versions that can be asked."""
        return {n: v for n, v in self.versions.items() if v.state is State.AVAILABLE}

    def choose(self, number: int | None = None, label: str | None = None) -> Version:
        """The version that answers a request: the one that it names, else by weights, else the latest.

        Raises:
            UnknownModelError: there is no such version or label.
            UnavailableError: it is not loaded, or no longer.
        """
        if label is not None:
            number = self._labelled(label)
        if number is None:
            return self._by_weight()
        found = self.versions.get(number)
        if found is None or (found.state is State.END and not found.error):
            there = ", ".join(map(str, sorted(self.available()))) or "none"
            fix = "leave the version out for the latest"
            raise UnknownModelError(f"a version among {there}", got=str(number), fix=fix, where=self.name)
        return found

    def _labelled(self, label: str) -> int:
        if label not in self.policy.labels:
            there = ", ".join(self.policy.labels) or "none"
            fix = f"set it in config.json of {self.name}"
            raise UnknownModelError(f"a label among {there}", got=repr(label)[:100], fix=fix, where=self.name)
        return self.policy.labels[label]

    def _by_weight(self) -> Version:
        there = self.available()
        if not there:
            told = "; ".join(f"{n}: {v.error}" for n, v in self.versions.items() if v.error) or "none is loaded"
            raise UnavailableError("a version that is loaded", got=told[:500], fix="ask again later", where=self.name)
        shares = {n: w for n, w in self.policy.weights.items() if n in there and w > 0}
        if not shares:
            return there[max(there)]
        if len(shares) == 1:
            return there[next(iter(shares))]
        [number] = self._random.choices(list(shares), list(shares.values()))
        return there[number]
