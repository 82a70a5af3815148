"""Telling subscribers: the step that makes every delivery that is due, lane by lane, side by side.

A step takes whatever lanes are due, for as long as there are any. A lane is one receiver: a few deliveries
at once, fewer when it gives no answer. Lanes that gave none last time have a share of their own, and are not
begun late in a step, so that they hold up neither the others nor the step's end. docs/decisions/ tells why a
step pulls instead of being handed ids.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import time
from collections import deque
from contextlib import suppress
from urllib.parse import urlsplit

from tunehook.errors import Conflict, EndpointNotFound, LeaseTaken, TunehookError
from tunehook.model.webhook import Attempt, Delivery, both
from tunehook.store.delivery_queue import Parcel, receiver_of
from tunehook.store.endpoints import EndpointRecord
from tunehook.store.engine.batching import Gathering
from tunehook.store.engine.commit import Change
from tunehook.store.engine.lease import Lease, ended
from tunehook.webhooks import Webhooks, event_types, publishing, retry_policy
from tunehook.webhooks.retry_policy import Outcome, Verdict
from tunehook.webhooks.sender import ATTEMPT_SECONDS, Sender

log = logging.getLogger(__name__)

#: Lanes are begun for 20 to 40 s, by chance, so that not all steps end at once; RQ ends a step after 60 s.
#: One that gave no answer last time may take 15 s, and is not begun in the last 15 s.
STEP_SECONDS = (20.0, 40.0)
#: After the last delivery a step stays for so long: what comes in a burst needs no new step each.
LINGER_SECONDS = 0.2
TICK_SECONDS = 0.02
LANES_AT_ONCE = 4096
#: So many lanes are taken at a time, and few while this process has its hands full: others may have theirs free.
CLAIM, CLAIM_LATE = 64, 16
LATE_SECONDS = 0.03
#: Deliveries at once in a lane: one at first, doubled by each answer, halved by each attempt without one.
MOST_IN_LANE = 8
BATCH = 32
#: After so many, a lane is left to whoever has time.
TURN = 64


async def dispatch(
    webhooks: Webhooks, stop: asyncio.Event | None = None, *, attempt_seconds: float = ATTEMPT_SECONDS
) -> None:
    """One step. `stop`: nothing new is begun any more, so that it ends within the time of one attempt."""
    await _Step(webhooks, stop or asyncio.Event(), attempt_seconds).run()


class _Step:
    def __init__(self, webhooks: Webhooks, stop: asyncio.Event, attempt_seconds: float) -> None:
        self.webhooks = webhooks
        shortest, longest = STEP_SECONDS
        self._until = time.monotonic() + shortest + (longest - shortest) * webhooks.jitter()
        self.slow = 0  #: slow lanes that run
        self.post = Sender(webhooks.allow, webhooks.encryption, attempt_seconds)
        self.gathering = Gathering(webhooks.store.run_many)
        self._stop = stop
        self._lanes: set[asyncio.Task[None]] = set()
        self._room = max(64, min(LANES_AT_ONCE, _open_files() - 256))

    @property
    def may_begin(self) -> bool:
        return not self._stop.is_set() and time.monotonic() < self._until

    @property
    def may_begin_slow(self) -> bool:
        return self.may_begin and time.monotonic() < self._until - ATTEMPT_SECONDS

    async def run(self) -> None:
        async with self.post, self.gathering:
            try:
                await self._pull()
            finally:  # nothing runs any more, unless the step is cut short
                for task in self._lanes:
                    task.cancel()
                await asyncio.gather(*self._lanes, return_exceptions=True)

    async def _pull(self) -> None:
        idle_since = ticked = time.monotonic()
        while self.may_begin:
            late = time.monotonic() - ticked - TICK_SECONDS
            room = min(CLAIM if late < LATE_SECONDS else CLAIM_LATE, self._room - len(self._lanes))
            if room > 0:
                self._begin((await self.webhooks.store.claim("deliver", room)).members, slow=False)
            room = min(CLAIM, self._room // 2 - self.slow)
            if room > 0 and late < LATE_SECONDS and self.may_begin_slow:
                self._begin(await self.webhooks.store.delivery_queue.claim_slow(room), slow=True)
            if self._lanes:
                idle_since = time.monotonic()
            elif time.monotonic() - idle_since > LINGER_SECONDS:
                return
            ticked = time.monotonic()
            await asyncio.sleep(TICK_SECONDS)
        while self._lanes:
            await asyncio.wait(set(self._lanes))

    def _begin(self, members: list[str], *, slow: bool) -> None:
        for member in members:
            task = asyncio.create_task(_Lane(self, member, slow=slow).run())
            self._lanes.add(task)
            task.add_done_callback(self._lanes.discard)


class _Lane:
    """All that is due to one receiver now, oldest first, a few at a time."""

    def __init__(self, step: _Step, member: str, *, slow: bool) -> None:
        self._step = step
        self._webhooks = step.webhooks
        self._lane = receiver_of(member)
        self._lease = Lease(step.gathering, member)
        self._endpoint: EndpointRecord | None = None
        self._endpoint_lock = asyncio.Lock()
        self._width = 1
        self._rest = 0.0
        self._slow = slow
        self._waiting: deque[Parcel] = deque()
        self._running: dict[asyncio.Task[None], str] = {}
        self._sent = 0

    async def run(self) -> None:
        try:
            await self._run()
        except LeaseTaken:
            return
        except TunehookError as error:
            log.warning("lane %s is left for now: %s", self._lane, error.message)
        except Exception:
            log.exception("lane %s is left for now", self._lane)

    async def _run(self) -> None:
        first = await self._webhooks.store.delivery_queue.take(
            self._step.gathering, self._lease, BATCH, slow=self._slow
        )
        if first is None:
            return
        keeper = asyncio.create_task(self._lease.keep())
        self._step.slow += first.slow
        self._slow = first.slow
        try:
            self._endpoint = first.endpoint
            self._waiting.extend(first.parcels)
            await self._empty(more=first.due >= BATCH)
        finally:
            self._step.slow -= first.slow
            for task in self._running:
                task.cancel()
            await ended(keeper)
            await self._webhooks.store.delivery_queue.leave(
                self._step.gathering, self._lease, rest=self._rest, slow=self._slow
            )

    async def _empty(self, *, more: bool) -> None:
        """Sends what is due until nothing is, the receiver wants rest, or the step is over."""
        while self._waiting or self._running or (more and self._may_begin):
            if not self._waiting and more and self._may_begin:
                more = await self._refill()
            while self._waiting and len(self._running) < self._width and self._may_begin:
                parcel = self._waiting.popleft()
                self._sent += 1
                self._running[asyncio.create_task(self._one(parcel))] = parcel.record.delivery.id
            if not self._running:
                return
            done, _ = await asyncio.wait(self._running, return_when="FIRST_COMPLETED")
            for task in done:
                del self._running[task]
                task.result()

    @property
    def _may_begin(self) -> bool:
        in_time = self._step.may_begin_slow if self._slow else self._step.may_begin
        return in_time and self._rest == 0.0 and self._sent < TURN

    async def _refill(self) -> bool:
        """Takes the next ones; those in flight are still due, and come again. Returns if there may be more."""
        under_way = set(self._running.values())
        limit = BATCH + len(under_way)
        taken = await self._webhooks.store.delivery_queue.take(self._step.gathering, self._lease, limit, slow=True)
        if taken is None:
            return False
        self._endpoint = taken.endpoint
        self._waiting.extend(p for p in taken.parcels if p.record.delivery.id not in under_way)
        return taken.due >= limit

    async def _one(self, parcel: Parcel) -> None:
        """One attempt, its record, and what it means for the endpoint."""
        delivery = parcel.record.delivery
        if delivery.state != "pending":
            await self._webhooks.store.delivery_queue.forget(self._lane, [delivery.id])
            return
        to = self._receiver(parcel, time.time())
        if isinstance(to, str):
            await self._give_up(parcel, to)
            return
        url, sealed = to
        self._lease.check()
        attempt, outcome = await self._step.post.send(url, parcel.record.event.id, parcel.record.event.body, sealed)
        self._slow = attempt.status_code is None
        self._width = max(1, self._width // 2) if self._slow else min(MOST_IN_LANE, self._width * 2)
        self._rest = max(self._rest, retry_policy.rest(outcome))
        after_, pause = after(delivery, attempt, outcome, now=attempt.at, jitter=self._webhooks.jitter())
        changed = after_.model_copy(update={"url": url})
        host = urlsplit(url).hostname  # a path may hold a token
        said = f"attempt {changed.attempts}: {attempt.outcome}"
        log.info("webhook %s of job %s to %s: %s, %s", delivery.id, delivery.job_id or "-", host, changed.state, said)
        change = self._webhooks.store.deliveries.attempted(parcel.record, changed, attempt, self._lease)
        self._webhooks.store.deliveries.plan(change, changed, pause)
        await self._record(change, delivery.id)
        if self._endpoint is not None:
            await self._judge(outcome, attempt.at, url)

    def _receiver(self, parcel: Parcel, now: float) -> tuple[str, list[str]] | str:
        """Where it goes and the sealed secrets that sign it; or why it goes nowhere, in words."""
        delivery, key = parcel.record.delivery, parcel.key
        if delivery.endpoint_id is None:
            if key is None:
                return "the API key whose callback secret signs it is gone"
            return delivery.url, both(key.callback_secret, key.old_callback_secret, key.old_callback_secret_until, now)
        if self._endpoint is None:
            return "the subscription was deleted"
        endpoint = self._endpoint.endpoint
        if not endpoint.enabled:
            return f"the subscription is disabled: {endpoint.disabled_reason}"
        return endpoint.url, endpoint.secrets(now)

    async def _give_up(self, parcel: Parcel, why: str) -> None:
        delivery = parcel.record.delivery.model_copy(
            update={"state": "failed", "next_attempt_at": None, "last_error": why}
        )
        change = parcel.record.change(delivery, self._lease)
        self._webhooks.store.deliveries.plan(change, delivery, None)
        await self._record(change, delivery.id)

    async def _record(self, change: Change, delivery_id: str) -> None:
        try:
            await self._step.gathering.commit(change)
        except Conflict as conflict:
            log.warning("delivery %s: what came of it is not recorded: %s", delivery_id, conflict.message)

    async def _judge(self, outcome: Outcome, now: float, url: str) -> None:
        """An endpoint that does nothing but fail, or asks for no more, is disabled: said on it, and told.

        `url`: where the attempt went. One that was mended or enabled meanwhile is judged by its next attempt.
        """
        async with self._endpoint_lock:
            record = self._endpoint
            if record is None or not record.endpoint.enabled:
                return
            since = retry_policy.failing_since(outcome, record.endpoint.failing_since, now=now)
            if since == record.endpoint.failing_since and not retry_policy.disabled_because(outcome, since, now=now):
                return
            try:
                # Read again: it may have been renamed, rotated or enabled since this lane was taken.
                record = await self._webhooks.store.endpoints.read(record.endpoint.id)
                if record.endpoint.url != url or not record.endpoint.enabled:
                    self._endpoint = record
                    return
                since = retry_policy.failing_since(outcome, record.endpoint.failing_since, now=now)
                why = retry_policy.disabled_because(outcome, since, now=now)
                endpoint = record.endpoint.model_copy(update={"failing_since": since})
                change = record.change(endpoint)
                if why is not None:
                    endpoint = endpoint.disabled(why, now=int(now))
                    change = record.change(endpoint)
                    await publishing.publish_to_project(
                        self._webhooks,
                        change,
                        endpoint.project,
                        event_types.ENDPOINT_DISABLED,
                        publishing.endpoint_disabled_data(endpoint),
                        now=int(now),
                    )
                    log.warning("endpoint %s is disabled: %s", endpoint.id, why)
                await self._webhooks.store.commit(change)
                self._endpoint = EndpointRecord(endpoint, record.revision + 1)
            except EndpointNotFound:
                self._endpoint = None
            except Conflict:
                return  # somebody changed it this moment; the next attempt says the same


def after(
    delivery: Delivery, attempt: Attempt, outcome: Outcome, *, now: float, jitter: float
) -> tuple[Delivery, float | None]:
    """The delivery after an attempt, and the seconds until the next one (None: there is none). Pure."""
    attempts = delivery.attempts + 1
    again_at = retry_policy.next_attempt(attempts - delivery.attempts_before, outcome, now=now, jitter=jitter)
    delivered = outcome.verdict is Verdict.DELIVERED
    changed = {
        "attempts": attempts,
        "state": "delivered" if delivered else "failed" if again_at is None else "pending",
        "next_attempt_at": None if again_at is None else int(again_at),
        "delivered_at": int(now) if delivered else None,
        "last_status_code": attempt.status_code,
        "last_error": None if delivered else outcome.reason,
    }
    return delivery.model_copy(update=changed), None if again_at is None else again_at - now


def _open_files() -> int:
    """How many files this process may have open. A worker may be started with as few as 1024: it takes what it can."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = LANES_AT_ONCE * 2
    if soft < wanted and (hard == resource.RLIM_INFINITY or hard > soft):
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return int(soft)
