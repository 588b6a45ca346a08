"""The versions of one name, and which of them answers."""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Mapping

from phlox.serving._errors import UnavailableError, UnknownModelError
from phlox.serving.repository._guard import Tally
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
        self.tallies = dict[int, Tally]()
        """Answers by version, where there is a guard."""
        self._random = random.Random(0)

    def follow(self, policy: Policy) -> None:
        """Answer by a policy from now on; what was counted under another one counts no more."""
        if policy.since != self.policy.since or policy != self.policy:
            self.tallies.clear()
        self.policy, self.error = policy, ""

    def answered(self, number: int, *, failed: bool, seconds: float) -> None:
        """Count an answer, where somebody judges by it."""
        if self.policy.guard is not None:
            self.tallies.setdefault(number, Tally(self.policy.guard)).add(failed=failed, seconds=seconds)

    def shares(self) -> dict[int, float]:
        """Which share of the requests each version that can be asked has; they add up to 1."""
        there = self.available()
        found = {n: w for n, w in self.policy.weights.items() if n in there and w > 0}
        if not found:
            return {max(there): 1.0} if there else {}
        whole = sum(found.values())
        return {n: w / whole for n, w in found.items()}

    def available(self) -> dict[int, Version]:
        """The versions that can be asked."""
        return {n: v for n, v in self.versions.items() if v.state is State.AVAILABLE}

    def choose(self, number: int | None = None, label: str | None = None, key: str | None = None) -> Version:
        """The version that answers a request: the one that it names, else by weights, else the latest.

        Arguments:
            number, label: of the version, where one is named.
            key: requests of one key are answered by one version as long as the weights stay.

        Raises:
            UnknownModelError: there is no such version or label.
            UnavailableError: it is not loaded, or no longer.
        """
        if label is not None:
            number = self._labelled(label)
        if number is None:
            return self._by_weight(key)
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

    def _by_weight(self, key: str | None) -> Version:
        there = self.available()
        if not there:
            told = "; ".join(f"{n}: {v.error}" for n, v in self.versions.items() if v.error) or "none is loaded"
            raise UnavailableError("a version that is loaded", got=told[:500], fix="ask again later", where=self.name)
        shares = self.shares() if self.policy.weights else {max(there): 1.0}
        if len(shares) == 1:
            return there[next(iter(shares))]
        if key is not None:
            return there[keyed(f"{self.name}/{key}", shares)]
        [number] = self._random.choices(list(shares), list(shares.values()))
        return there[number]


def keyed(key: str, shares: Mapping[int, float]) -> int:
    r"""The version of a key, the same in every process.

    The largest $-w_n / \ln u_n$ wins, where $u_n$ is a number between 0 and 1 that is made of the key and the version.
    Each version wins with the probability of its share, and where shares change no more keys move than must.

    Source: Thaler and Ravishankar, "Using name-based mappings to increase hit rates", 1998; the weights as in
    Schindelhauer and Schomaker, "Weighted distributed hash tables", 2005.

    >>> sum(keyed(str(n), {1: 0.9, 2: 0.1}) == 2 for n in range(10_000))
    1012
    """

    def rank(number: int) -> float:
        digest = hashlib.blake2b(f"{number}/{key}".encode("utf-8", "replace"), digest_size=8).digest()
        return -shares[number] / math.log((int.from_bytes(digest, "big") + 0.5) / 2**64)

    return max(shares, key=rank)
