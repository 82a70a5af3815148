"""Telling subscribers: one attempt of one delivery, and the step that makes all that are due.

A step takes every lane that is due, one after the other, for as long as there are any (at most STEP_SECONDS),
and sends side by side: many lanes at once, a few deliveries in each. So one slow or dead receiver costs its
own lane some time and the others none. docs/decisions/ tells why a step pulls instead of being handed ids.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import AsyncExitStack

import aiohttp

from tunehook import schedule, signature
from tunehook.address import AddressRefused, SocketRefused, check_url, guarded_connector
from tunehook.errors import Conflict, LeaseTaken, TunehookError
from tunehook.model import Attempt, Delivery
from tunehook.openai_upstream import ssl_context
from tunehook.store.connection import Lease
from tunehook.store.deliveries import DeliveryRecord
from tunehook.world import World

log = logging.getLogger(__name__)

STEP_SECONDS = 30.0
#: After the last delivery a step stays for so long: what comes in a burst needs no new step each.
LINGER_SECONDS = 0.2
LANES_AT_ONCE = 512
IN_ONE_LANE = 8
ATTEMPT_SECONDS = 15.0
ANSWER_BYTES = 2048  #: kept of an answer
READ_BYTES = 64 * 1024  #: read of it at most


async def deliver(world: World) -> None:
    """One step."""
    until = time.monotonic() + STEP_SECONDS
    idle_until = time.monotonic() + LINGER_SECONDS
    running: set[asyncio.Task[None]] = set()
    async with _Post(world) as post:
        while time.monotonic() < until:
            room = LANES_AT_ONCE - len(running)
            claimed = (await world.store.claim("deliver", room)).members if room > 0 else []
            for member in claimed:
                running.add(asyncio.create_task(_lane(world, post, member)))
            if running:
                idle_until = time.monotonic() + LINGER_SECONDS
                done, running = await asyncio.wait(running, timeout=0.02, return_when="FIRST_COMPLETED")
                _report(done)
            elif time.monotonic() > idle_until:
                return
            else:
                await asyncio.sleep(0.02)
        if running:
            _report((await asyncio.wait(running))[0])


def _report(tasks: set[asyncio.Task[None]]) -> None:
    for task in tasks:
        error = task.exception()
        if error is not None:
            log.error("a lane was given up for now", exc_info=error)


async def _lane(world: World, post: _Post, member: str) -> None:
    """All that is due to one receiver now, oldest first, a few at a time."""
    lane = member.removeprefix("lane:")
    try:
        async with world.store.lease(member) as lease:
            due = await world.store.deliveries.due_in(lane, 64)
            gate = asyncio.Semaphore(IN_ONE_LANE)

            async def _gated(delivery_id: str) -> float:
                async with gate:
                    return await _one(world, post, lane, delivery_id, lease)

            rests = await asyncio.gather(*(_gated(delivery_id) for delivery_id in due))
            await world.store.deliveries.plan_lane(lane, rest=max(rests, default=0.0))
    except LeaseTaken:
        return


async def _one(world: World, post: _Post, lane: str, delivery_id: str, lease: Lease) -> float:
    """One attempt and its record; returns the seconds for which the receiver wants rest."""
    record = await world.store.deliveries.read(delivery_id)
    if record is None or record.delivery.state != "pending":
        await world.store.deliveries.forget(lane, delivery_id)
        return 0.0
    lease.check()
    attempt, outcome = await post.attempt(record)
    delivery, pause = after(record.delivery, outcome, now=attempt.at, jitter=world.jitter())
    try:
        await world.store.deliveries.record(record, delivery, attempt, lease, pause=pause)
    except Conflict as conflict:
        log.warning("delivery %s was sent and not recorded, so it is sent again: %s", delivery_id, conflict.message)
    return schedule.rest(outcome)


def after(delivery: Delivery, outcome: schedule.Outcome, *, now: float, jitter: float) -> tuple[Delivery, float | None]:
    """The delivery after an attempt, and the seconds until the next one (None: there is none). Pure."""
    attempts = delivery.attempts + 1
    again_at = schedule.next_attempt(attempts, outcome, now=now, jitter=jitter)
    if outcome.verdict is schedule.Verdict.DELIVERED:
        state = "delivered"
    else:
        state = "failed" if again_at is None else "pending"
    next_at = None if again_at is None else int(again_at)
    changed = delivery.model_copy(update={"attempts": attempts, "state": state, "next_attempt_at": next_at})
    return changed, None if again_at is None else again_at - now


class _Post:
    """The HTTP client of one step. A connector for each allowed host, since an allowance is for that host alone."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._stack = AsyncExitStack()
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> _Post:
        connector = guarded_connector(self._world.allow, ssl=ssl_context(), limit=0)
        self._session = await self._stack.enter_async_context(
            aiohttp.ClientSession(
                connector=connector,
                timeout=aiohttp.ClientTimeout(total=ATTEMPT_SECONDS),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                auto_decompress=False,
            )
        )
        return self

    async def __aexit__(self, *details: object) -> None:
        await self._stack.aclose()

    async def attempt(self, record: DeliveryRecord) -> tuple[Attempt, schedule.Outcome]:
        """Signs the stored bytes anew and sends them. Never raises for what a receiver does."""
        at, begun = time.time(), time.monotonic()
        status: int | None = None
        answer: str | None = None
        try:
            headers = await self._headers(record, int(at))
            check_url(record.delivery.url, self._world.allow)
            assert self._session is not None
            async with self._session.post(
                record.delivery.url,
                data=record.event.body.encode(),
                headers=headers,
                allow_redirects=False,
            ) as response:
                status = response.status
                content = await _some(response)
                answer = content[:ANSWER_BYTES].decode("utf-8", "replace") or None
                outcome = schedule.answered(status, response.headers.get("Retry-After"), now=at)
        except AddressRefused as refused:
            outcome = schedule.unanswered(schedule.Fault.ADDRESS, refused.message)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            outcome = _fault(error)
        except TunehookError as error:
            outcome = schedule.unanswered(schedule.Fault.BROKEN, error.message)
        seconds = round(time.monotonic() - begun, 4)
        return Attempt(at=at, seconds=seconds, status_code=status, outcome=outcome.reason, answer=answer), outcome

    async def _headers(self, record: DeliveryRecord, timestamp: int) -> dict[str, str]:
        key = await self._world.store.access.get(record.delivery.key_id or "")
        secrets = [self._world.vault.unseal(key.callback_secret)] if key else []
        if not secrets:
            raise TunehookError("the secret that signs it is gone")
        signed = signature.sign(secrets, record.event.id, timestamp, record.event.body.encode())
        return {"content-type": "application/json", "user-agent": "tunehook", **signed}


async def _some(response: aiohttp.ClientResponse) -> bytes:
    """The beginning of an answer; a receiver that sends 100 MB is not read to its end."""
    content = b""
    async for chunk in response.content.iter_chunked(8192):
        content += chunk
        if len(content) >= READ_BYTES:
            response.close()
            break
    return content


def _fault(error: Exception) -> schedule.Outcome:
    Fault = schedule.Fault
    match error:
        case TimeoutError():
            return schedule.unanswered(Fault.TIMEOUT)
        case aiohttp.ClientConnectorDNSError():
            return schedule.unanswered(Fault.NAME, str(error.os_error))
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError():
            return schedule.unanswered(Fault.TLS, str(error))
        case aiohttp.ClientConnectorError() if isinstance(error.os_error, SocketRefused):
            return schedule.unanswered(Fault.ADDRESS, error.os_error.message)
        case aiohttp.ClientConnectorError():
            return schedule.unanswered(Fault.CONNECTION, str(error.os_error))
        case aiohttp.ClientResponseError():
            return schedule.unanswered(Fault.GARBAGE, error.message)
    return schedule.unanswered(Fault.BROKEN, type(error).__name__)
