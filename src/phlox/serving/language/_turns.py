"""Whose turn it is: among those who wait, who has least now, and has had least."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

_REMEMBERED = 4096  # clients who are not here


class Turns:
    """Tokens that were computed for each client.

    Who comes after a pause begins where the least of those who are here stands: time without asking earns nothing.

    Source: Sheng et al., "Fairness in serving large language models", 2024.
    """

    def __init__(self) -> None:
        self._had: dict[str, int] = {}

    def join(self, client: str, here: Collection[str]) -> None:
        """A client asks; those who are ``here`` wait or are written for."""
        if client in here:
            return
        least = min((self._had.get(one, 0) for one in here), default=0)
        self._had[client] = max(self._had.pop(client, 0), least)
        self._forget(here)

    def charge(self, client: str, tokens: int) -> None:
        """So many tokens were computed for a client."""
        self._had[client] = self._had.get(client, 0) + tokens

    def next(self, waiting: Iterable[str], running: Mapping[str, int]) -> str:
        """Who is next of those who wait, given how many texts are written for each; the first of equal ones."""
        return min(waiting, key=lambda one: (running.get(one, 0), self._had.get(one, 0)))

    def _forget(self, here: Collection[str]) -> None:
        """Of those who are not here, keep the ones who had most."""
        if len(self._had) > _REMEMBERED + len(here):
            away = sorted((c for c in self._had if c not in here), key=self._had.__getitem__)
            for client in away[: len(away) // 2]:
                del self._had[client]
