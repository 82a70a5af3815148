"""The delivery step: claims the deliveries that are due and sends them, many at a time.

Up to 8 go to one receiver at a time, if it answered the last time; else one. Half of a step's slots are kept for
receivers that answer, so dead ones delay no others. A delivery for which there is no room comes back when its
receiver should have time for it. docs/decisions/0008-due-deliveries.md has the reasons.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, defaultdict

from tunehook import telemetry
from tunehook.errors import Conflict, TunehookError
from tunehook.model.webhook import Attempt, ReceiverState, both
from tunehook.store import tally
from tunehook.store.delivery_queue import Due
from tunehook.webhooks import Webhooks, attempts, endpoint_health, event_types, retry_policy
from tunehook.webhooks.retry_policy import Outcome
from tunehook.webhooks.sender import ATTEMPT_SECONDS, Sender

log = logging.getLogger(__name__)

#: A step runs for 20 to 40 s, at random, so that not all steps end at once. After that it goes on with receivers that
#: answer until no attempt to another one is under way, so that it never waits for dead ones alone. One that was silent
#: is not tried in the last 15 s. RQ ends a step after 90 s.
STEP_SECONDS = (20.0, 40.0)
#: How long a step waits for more when it has nothing to do: a burst then needs no new step (a fork costs 10 ms).
LINGER_SECONDS = 0.3
TICK_SECONDS = 0.02
#: Attempts at once; those to receivers that have not answered the last time; those to silent ones among them.
SLOTS, UNPROVEN_SLOTS, SILENT_SLOTS = 512, 256, 128
CLAIM = 256
#: Attempts at once to one receiver that answers, and claimed deliveries to it at most (the others wait in memory).
WIDTH, IN_HAND = 8, 24
#: When a delivery without room comes back: at the earliest, at the latest (as after any claim), and the pause to the
#: next one, which is the receiver's last duration divided by `WIDTH`, at least 2 ms.
AGAIN_SECONDS, LATEST_SECONDS, SPACING_SECONDS = 0.2, 20.0, 0.002

#: What has waited too long to be begun is given back for so long after `begin_by`. Then the claim is nearly over (20 s
#: after it), and another step may have the delivery.
GIVE_BACK_SECONDS = 14.0


async def dispatch(
    webhooks: Webhooks, stop: asyncio.Event | None = None, *, attempt_seconds: float = ATTEMPT_SECONDS
) -> None:
    """Runs one step. When `stop` is set it begins no more attempts, and ends within the time of one."""
    await _Step(webhooks, stop or asyncio.Event(), attempt_seconds).run()


class _Receiver:
    """A receiver as this step knows it."""

    def __init__(self) -> None:
        self.state: ReceiverState | None = None
        self.stored: ReceiverState | None = None  #: the state that Redis has
        self.rest_until = 0.0
        self.slots = asyncio.Semaphore(WIDTH)
        self.in_hand: set[str] = set()  #: ids of its deliveries that are being sent or wait for a slot
        self.since = time.monotonic()  #: its last answer, or when this step began to wait for one
        self._seconds = 0.0  #: how long its last attempt took
        self._planned = 0.0

    def read(self, due: Due, now: float) -> None:
        self.stored = due.state
        self.state = self.state or due.state  # this step's own attempts are newer
        self.rest_until = max(self.rest_until, now + due.rest)

    def heard(self, attempt: Attempt, outcome: Outcome) -> tuple[ReceiverState, float]:
        """Takes note of an attempt; returns the state that follows, and the seconds of rest that it asks for."""
        self.since, self._seconds, rest = time.monotonic(), attempt.seconds, retry_policy.rest(outcome)
        self.rest_until = max(self.rest_until, self.since + rest)
        self.state = "silent" if attempt.status_code is None else "throttling" if rest else "answering"
        return self.state, rest

    def pause(self, now: float) -> float:
        """Returns the seconds after which a delivery without room comes back.

        At least twice as long as the receiver has kept us waiting, and one after the other at its own pace: 100,000
        deliveries to one receiver then cost few claims.
        """
        earliest = max(now + AGAIN_SECONDS, now + 2 * (now - self.since), self.rest_until)
        at = min(max(earliest, self._planned), max(now, self.rest_until) + LATEST_SECONDS)
        self._planned = at + max(SPACING_SECONDS, self._seconds / WIDTH)
        return at - now


class _Step:
    def __init__(self, webhooks: Webhooks, stop: asyncio.Event, attempt_seconds: float) -> None:
        self._webhooks = webhooks
        self._deliveries, self._queue = webhooks.store.deliveries, webhooks.store.delivery_queue
        shortest, longest = STEP_SECONDS
        self._until = time.monotonic() + shortest + (longest - shortest) * webhooks.jitter()
        self._sender = Sender(webhooks.allow, webhooks.encryption, attempt_seconds)
        self._commits = webhooks.store.batcher()
        self._stop = stop
        self._receivers: defaultdict[str, _Receiver] = defaultdict(_Receiver)
        self._tasks: set[asyncio.Task[None]] = set()
        self._sending = 0
        self._later: dict[str, float] = {}  #: claimed deliveries that are not sent now → seconds until they are due

    def _may_begin(self) -> bool:
        return not self._stop.is_set() and (time.monotonic() < self._until or bool(self._unproven()))

    def _unproven(self) -> Counter[ReceiverState | None]:
        """Counts what is in hand for receivers that did not answer the last time, by their state."""
        unproven = (receiver for receiver in self._receivers.values() if receiver.state != "answering")
        return Counter(receiver.state for receiver in unproven for _ in receiver.in_hand)

    async def run(self) -> None:
        async with self._sender, self._commits:
            try:
                await self._pull()
            finally:  # nothing runs any more, unless the step is cut short
                for task in self._tasks:
                    task.cancel()
                await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _pull(self) -> None:
        idle_since = time.monotonic()
        while self._may_begin():
            room = min(CLAIM, SLOTS - self._sending)
            claimed = await self._claim(room) if room > 0 else 0
            await self._put_back()
            if self._tasks:
                idle_since = time.monotonic()
            elif time.monotonic() - idle_since > LINGER_SECONDS:
                return
            if claimed < CLAIM:
                await asyncio.sleep(TICK_SECONDS)
        while self._tasks:
            await asyncio.wait(self._tasks, timeout=TICK_SECONDS)
            await self._put_back()
        await self._put_back()  # the last tasks may have ended before that loop

    async def _put_back(self) -> None:
        later, self._later = self._later, {}
        await self._queue.postpone(later)

    async def _claim(self, limit: int) -> int:
        """Claims up to `limit` deliveries, begins those that have room; returns how many it claimed."""
        count, found = await self._queue.claim(limit)
        now, unproven = time.monotonic(), self._unproven()
        for due in found:
            delivery_id, receiver = due.delivery.id, self._receivers[due.delivery.lane]
            receiver.read(due, now)
            if delivery_id in receiver.in_hand:
                continue  # the commit of its attempt is late
            if due.closed or self._has_room(receiver, unproven, now):
                receiver.since = receiver.since if receiver.in_hand else now
                receiver.in_hand.add(delivery_id)
                task = asyncio.create_task(self._run(receiver, due))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            else:
                self._later[delivery_id] = LATEST_SECONDS if receiver.state == "silent" else receiver.pause(now)
        return count

    def _has_room(self, receiver: _Receiver, unproven: Counter[ReceiverState | None], now: float) -> bool:
        """Tells whether one more delivery can be taken, and counts it in `unproven`."""
        if now < receiver.rest_until:
            return False
        if receiver.state == "answering":
            return len(receiver.in_hand) < IN_HAND
        if receiver.in_hand or now >= self._until or unproven.total() >= UNPROVEN_SLOTS:
            return False
        if receiver.state == "silent" and (now >= self._until - ATTEMPT_SECONDS or unproven["silent"] >= SILENT_SLOTS):
            return False
        unproven[receiver.state] += 1
        return True

    async def _run(self, receiver: _Receiver, due: Due) -> None:
        delivery_id = due.delivery.id
        try:
            async with receiver.slots:
                self._sending += 1
                try:
                    await self._one(receiver, due)
                finally:
                    self._sending -= 1
        except Conflict as conflict:
            log.warning("delivery %s: the attempt is not recorded: %s", delivery_id, conflict.message)
        except TunehookError as error:
            log.warning("delivery %s is left for now: %s", delivery_id, error.message)
        except Exception:
            log.exception("delivery %s is left for now", delivery_id)
        finally:
            receiver.in_hand.discard(delivery_id)

    async def _one(self, receiver: _Receiver, due: Due) -> None:
        """Makes one attempt, records it, and judges the endpoint by it."""
        delivery, event = due.delivery, due.event
        if delivery.pulled and not due.closed:  # an earlier version planned it
            await self._commits.commit(self._deliveries.again(due.record.change(delivery), delivery))
            return
        to = _address(due, time.time())
        if isinstance(to, str):
            ended = delivery.model_copy(update={"state": "failed", "next_attempt_at": None, "last_error": to})
            await self._commits.commit(self._deliveries.plan(due.record.change(ended), ended, None))
            return
        now = time.monotonic()
        if now >= due.begin_by or now < receiver.rest_until or not self._may_begin():
            if now < due.begin_by + GIVE_BACK_SECONDS:
                self._later[delivery.id] = max(0.0, receiver.rest_until - now)
            return  # else it is due again when its claim ends
        url, secrets = to
        with telemetry.span("deliver", event.traceparent, first=not delivery.attempts, kind="client"):
            telemetry.describe(**{"job.id": delivery.job_id, "delivery.id": delivery.id, "event.type": event.type})
            attempt, outcome = await self._sender.send(url, event.id, event.body, secrets)
            telemetry.describe(attempt=delivery.attempts + 1, status=attempt.status_code, verdict=outcome.verdict.value)
        state, rest = receiver.heard(attempt, outcome)
        attempted, pause = attempts.after(delivery, attempt, outcome, now=attempt.at, jitter=self._webhooks.jitter())
        if url != delivery.url:  # a copy costs 7 µs
            attempted = attempted.model_copy(update={"url": url})
        attempts.log_attempt(attempted, attempt)
        change = self._deliveries.plan(self._deliveries.attempted(due.record, attempted, attempt), attempted, pause)
        self._queue.note(change, delivery.lane, state=state if state != receiver.stored else None, rest=rest)
        if attempted.state == "delivered" and event.type in event_types.DEFAULT and not attempted.attempts_before:
            tally.observe(change, tally.RECEIVED_SECONDS, (), attempt.at + attempt.seconds - event.created_at)
        receiver.stored = state
        await self._commits.commit(change)
        if due.endpoint is not None:
            await endpoint_health.judge(self._webhooks, due.endpoint, outcome, now=attempt.at, url=url)


def _address(due: Due, now: float) -> tuple[str, list[str]] | str:
    """Returns the URL and the encrypted secrets that sign; or in words why the delivery is given up."""
    delivery, key, endpoint = due.delivery, due.key, due.endpoint
    if delivery.endpoint_id is None:
        if key is None:
            return "the API key whose callback secret signs it is gone"
        return delivery.url, both(key.callback_secret, key.old_callback_secret, key.old_callback_secret_until, now)
    if endpoint is None:
        return "the subscription was deleted"
    if due.closed:
        return f"the subscription is disabled: {endpoint.endpoint.disabled_reason}"
    return endpoint.endpoint.url, endpoint.endpoint.secrets(now)
