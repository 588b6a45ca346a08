"""The models of a worker: what a client orders of it is done by all workers, in the same order."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from phlox.core import PhloxError
from phlox.serving._errors import UnavailableError
from phlox.serving.repository._policy import Policy
from phlox.serving.repository._repository import Repository
from phlox.serving.workers._place import Place

_LOOK = 0.02  # seconds between looks at what was ordered
_PATIENCE = 60.0  # seconds that the other workers have to carry out an order


class SharedRepository(Repository):
    """Models of one worker of several. An order is answered when all workers that serve have carried it out.

    Arguments:
        place: of the worker.
        told: what a ``Repository`` is told.
    """

    def __init__(self, place: Place, *told: Any):
        super().__init__(*told)
        self.place = place
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._follows = False

    async def load(self, name: str) -> None:
        """Load a model in all workers."""
        await self._order({"order": "load", "name": name})

    async def unload(self, name: str) -> None:
        """Put a model away in all workers."""
        self.find(name)
        await self._order({"order": "unload", "name": name})

    async def configure(self, policies: Mapping[str, Policy]) -> None:
        """Serve these models alone, in all workers; what a worker is told before it serves is its own."""
        if not self._follows:
            await super().configure(policies)
            return
        await self._order({"order": "configure", "policies": {name: one.told() for name, one in policies.items()}})

    async def renew(self) -> None:
        """Have all workers look at the folder now, and try anew what failed before."""
        await self._order({"order": "renew"})

    async def catch_up(self) -> None:
        """Carry out what was ordered since the last look."""
        orders = self.place.orders
        new = orders.new()
        for number, order in enumerate(new, orders.read - len(new) + 1):
            await self._carry_out(number, order)
            self.place.board.done(self.place.slot, number)
        self._follows = True

    async def _order(self, order: Mapping[str, Any]) -> None:
        """Add an order, and wait until all have carried it out.

        Raises:
            PhloxError: what went wrong with it here.
            UnavailableError: a worker has not carried it out in its time.
        """
        number = self.place.orders.add(order)
        mine = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            await mine
        finally:
            del self._waiting[number]
        end = asyncio.get_running_loop().time() + _PATIENCE
        board = self.place.board
        while late := [n for n in board.serving() if board.orders(n) < number]:
            if asyncio.get_running_loop().time() > end:
                fix = "look at its lines in the journal; it will carry it out when it can"
                got = f"worker {late[0]} not yet"
                raise UnavailableError(
                    f"all workers to follow within {_PATIENCE:g} s", got=got, fix=fix, where="server"
                )
            await asyncio.sleep(_LOOK)

    async def _carry_out(self, number: int, order: Mapping[str, Any]) -> None:
        """Do what is ordered; what goes wrong is told whoever ordered it here."""
        waiting = self._waiting.get(number)
        try:
            await self._do(order)
        except (PhloxError, OSError) as error:
            if waiting is not None and not waiting.done():
                waiting.set_exception(error)
            elif waiting is None:
                self._tell("order", {"order": order["order"], "error": str(error)})
        else:
            if waiting is not None and not waiting.done():
                waiting.set_result(None)

    async def _do(self, order: Mapping[str, Any]) -> None:
        if order["order"] == "load":
            await super().load(order["name"])
        elif order["order"] == "unload":
            await super().unload(order["name"])
        elif order["order"] == "configure":
            await super().configure({n: Policy.of(told, "configuration") for n, told in order["policies"].items()})
        else:
            await super().renew()


class Following:
    """Within the block, what is ordered is carried out.

    Arguments:
        repository: the worker's models.
    """

    def __init__(self, repository: SharedRepository):
        self.repository = repository

    async def __aenter__(self) -> None:
        self._task = asyncio.ensure_future(self._follow())

    async def __aexit__(self, *error: object) -> None:
        self._task.cancel()

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(_LOOK)
            if self.repository.place.serves:
                await self.repository.catch_up()
