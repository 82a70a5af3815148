"""Leases: the right of one process to work on a record, for 15 s at a time."""

from __future__ import annotations

import asyncio
import secrets
import time
from contextlib import suppress
from typing import Any, Literal, Protocol

from tunehook.errors import LeaseLost, LeaseTaken, StoreUnavailable
from tunehook.model import member
from tunehook.store.engine import keys

LEASE_SECONDS = 15.0
RENEW_SECONDS = 5.0


class Runs(Protocol):
    """Runs scripts: a Connection, or a Batcher of many calls."""

    async def run(self, script: str, keys: list[str], arguments: list[Any], /) -> Any: ...


class Lease:
    """The right to work on one record: 15 s, renewed every 5 s while its holder lives.

    The holder keeps time by its own monotonic clock too: a process that was stopped for longer than the lease finds
    it lost before Redis says so.
    """

    def __init__(self, store: Runs, member: str) -> None:
        self._store = store
        self.member = member
        self.token = secrets.token_hex(8)
        self._until = 0.0

    async def take(self) -> None:
        """Raises LeaseTaken when another holder has it."""
        before = time.monotonic()
        if not await self._run("take"):
            raise LeaseTaken(record=self.member)
        self._until = before + LEASE_SECONDS

    async def renew(self) -> None:
        """Raises LeaseLost when it is not ours any more."""
        before = time.monotonic()
        if not await self._run("renew"):
            self._until = 0.0
            raise LeaseLost(record=self.member)
        self._until = before + LEASE_SECONDS

    def check(self) -> None:
        """Raises LeaseLost when another holder may have it. Called before every outgoing request."""
        if time.monotonic() >= self._until - 1:
            raise LeaseLost(record=self.member)

    async def give_back(self) -> None:
        """Gives the lease back. Without Redis it ends by itself."""
        with suppress(StoreUnavailable):
            await self._run("give back")

    async def _run(self, what: Literal["take", "renew", "give back"]) -> bool:
        queue = member.queue_of(self.member)
        arguments = [what, self.token, int(LEASE_SECONDS * 1000), self.member, queue]
        return bool(await self._store.run("lease", [keys.lease(self.member), keys.due(queue)], arguments))

    async def keep(self) -> None:
        """Renews for ever. A renewal that fails is tried again: the lease is held until `check` refuses."""
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            try:
                await self.renew()
            except LeaseLost:
                return
            except StoreUnavailable:
                continue


async def ended(task: asyncio.Task[None]) -> None:
    """Cancels an endless task until it has ended.

    One cancel is not enough: redis-py has swallowed one that came while it closed a connection.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=1.0)
    error = None if task.cancelled() else task.exception()
    if error is not None:
        raise error
