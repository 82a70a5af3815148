"""The connection, Redis' own time, leases, and what is due."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, OutOfMemoryError, ReadOnlyError, RedisError, ResponseError

from tunehook.errors import Conflict, LeaseLost, LeaseTaken, StoreUnavailable
from tunehook.store import keys
from tunehook.store.commit import Change
from tunehook.store.keys import Queue
from tunehook.store.reads import Reads

LEASE_SECONDS = 15.0
RENEW_SECONDS = 5.0
#: A clock looks once a second; after this it is late.
LATE_MS = 10_000

#: These go on for ever, every 20 s, since all others depend on them.
NEVER_PARKED = json.dumps({"look": True, "lane": True, "sweep": True})


def _lua(name: str) -> str:
    return Path(__file__).with_name(f"{name}.lua").read_text(encoding="utf-8")


_NAMES = (
    "whole",
    "commit",
    "claim",
    "lease",
    "append",
    "cancel",
    "note",
    "lane_take",
    "lane_leave",
    "take",
    "wake",
    "plan",
    "forget_file",
    "forget_copy",
    "upload_begin",
    "upload_part",
)
SCRIPTS = {name: _lua(name) for name in _NAMES}


@dataclass(frozen=True)
class Claimed:
    members: list[str]
    parked: list[str]
    wait: float | None  #: seconds until the next is due; None: nothing is


@dataclass(frozen=True)
class ScriptCall:
    script: str
    keys: list[str]
    arguments: list[Any]


class Runs(Protocol):
    """Who runs scripts: a Connection, or a Gathering of many calls."""

    async def run(self, script: str, keys: list[str], arguments: list[Any], /) -> Any: ...


class Lease:
    """The right to work on one record: 15 s, renewed every 5 s while its holder lives.

    Time is also kept here, by the monotonic clock: a process that was stopped for longer than the lease
    finds it lost even before Redis says so.
    """

    def __init__(self, store: Runs, member: str) -> None:
        self._store = store
        self.member = member
        self.token = secrets.token_hex(8)
        self._until = 0.0

    async def take(self) -> None:
        before = time.monotonic()
        if not await self._store.run("take", self._keys(), [self.token, int(LEASE_SECONDS * 1000), self.member]):
            raise LeaseTaken(record=self.member)
        self._until = before + LEASE_SECONDS

    def held_from(self, moment: float) -> None:
        """A script has taken it, not before this moment of the monotonic clock."""
        self._until = moment + LEASE_SECONDS

    async def renew(self) -> None:
        before = time.monotonic()
        if not await self._run(int(LEASE_SECONDS * 1000)):
            self._until = 0.0
            raise LeaseLost(record=self.member)
        self._until = before + LEASE_SECONDS

    def check(self) -> None:
        """To be asked before every call outside: raises LeaseLost when it may no longer be ours."""
        if time.monotonic() >= self._until - 1:
            raise LeaseLost(record=self.member)

    async def give_back(self) -> None:
        with suppress(StoreUnavailable):
            await self._run(0)

    def _keys(self) -> list[str]:
        return [keys.lease(self.member), keys.due(keys.queue_of(self.member))]

    async def _run(self, lifetime: int) -> bool:
        arguments = [self.token, lifetime, self.member, keys.queue_of(self.member)]
        return bool(await self._store.run("lease", self._keys(), arguments))

    async def keep(self) -> None:
        """Renews for ever. A renewal that fails is tried again: until `check` refuses, the lease is ours."""
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            try:
                await self.renew()
            except LeaseLost:
                return
            except StoreUnavailable:
                continue


class Connection:
    """The connection to Redis. `redis` is for the modules of this package alone."""

    def __init__(self, redis: Redis) -> None:
        self.redis: Any = redis  # redis-py types every answer as all that any option could return
        self._reads = Reads(redis)
        self._scripts = {name: redis.register_script(text) for name, text in SCRIPTS.items()}

    @classmethod
    def connect(cls, url: str, *, connections: int = 64, timeout: float = 5.0) -> Self:
        """No command is sent before the first use. Redis that is away is told within a second or `timeout`.

        redis-py retries by default, which runs commands twice when only the reply was lost: no retries here.
        """
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=connections,
            timeout=1.0,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=timeout,
            socket_connect_timeout=0.8,
            decode_responses=True,
        )
        return cls(Redis(connection_pool=pool))

    async def close(self) -> None:
        await self.redis.aclose()
        await self.redis.connection_pool.disconnect()

    async def ask(self, *commands: tuple[str, ...]) -> list[Any]:
        """The answers of small read commands, in company with others'. See reads.py."""
        with unavailable():
            return await self._reads.ask(*commands)

    async def run(self, script: str, keys_: list[str], arguments: list[Any]) -> Any:
        with unavailable():
            return await self._scripts[script](keys=keys_, args=arguments)

    async def whole(self, command: str, key: str, *arguments: str) -> list[str]:
        """The answer of a read command that gives very many strings. See whole.lua."""
        return list(json.loads(await self.run("whole", [key], [command, *arguments])))

    async def commit(self, change: Change) -> int:
        """Carries out a change; returns when, in ms of Redis' clock. Raises a Conflict when it is refused."""
        keys_, arguments = change.arguments()
        return change.outcome(await self.run("commit", keys_, arguments))

    async def commit_many(self, changes: list[Change]) -> list[int | Conflict]:
        """Several changes in one round trip, each for itself: what refuses one refuses no other."""
        answers = await self.run_many([ScriptCall("commit", *change.arguments()) for change in changes])
        outcomes: list[int | Conflict] = []
        for change, answer in zip(changes, answers, strict=True):
            if isinstance(answer, Exception):
                raise answer
            try:
                outcomes.append(change.outcome(answer))
            except Conflict as conflict:
                outcomes.append(conflict)
        return outcomes

    async def run_many(self, calls: list[ScriptCall]) -> list[Any]:
        """Several scripts in one round trip; an answer is an exception where its script failed.

        By EVALSHA: redis-py's own pipeline of scripts asks first whether they exist, a round trip more. One that
        Redis has forgotten ran nothing, and is run again by its text.
        """
        with unavailable():
            async with self.redis.pipeline(transaction=False) as pipe:
                for call in calls:
                    pipe.evalsha(self._scripts[call.script].sha, len(call.keys), *call.keys, *call.arguments)
                answers: list[Any] = await pipe.execute(raise_on_error=False)
        for index, call in enumerate(calls):
            if isinstance(answers[index], NoScriptError):
                answers[index] = await self.run(call.script, call.keys, call.arguments)
        return answers

    async def now_ms(self) -> int:
        with unavailable():
            seconds, micros = await self.redis.time()
        return int(seconds) * 1000 + int(micros) // 1000

    async def ping(self) -> None:
        with unavailable():
            await self.redis.ping()

    # ---- leases

    @asynccontextmanager
    async def lease(self, member: str) -> AsyncIterator[Lease]:
        """Raises LeaseTaken at once when somebody else works on it."""
        lease = Lease(self, member)
        await lease.take()
        keeper = asyncio.create_task(lease.keep())
        try:
            yield lease
        finally:
            await ended(keeper)
            await lease.give_back()

    # ---- what is due

    async def claim(self, queue: Queue, limit: int) -> Claimed:
        """Takes up to `limit` members that are due. See claim.lua."""
        answer = await self.run("claim", [keys.due(queue), keys.CLAIMS, keys.PARKED], [limit, NEVER_PARKED])
        members, parked, wait = answer
        return Claimed(members, parked, None if int(wait) < 0 else int(wait) / 1000)

    async def wake(self, member: str) -> None:
        """Makes something due now. Whoever works on it at this moment does not plan it for later: see wake.lua."""
        queue = keys.queue_of(member)
        await self.run("wake", [keys.due(queue)], [member, queue])

    async def plan(self, member: str, delay: float) -> None:
        """Enters something as due in `delay` seconds, without a record; now, if it was woken meanwhile."""
        queue = keys.queue_of(member)
        await self.run("plan", [keys.due(queue)], [member, queue, int(delay * 1000), ""])

    async def plan_if_absent(self, member: str, delay: float) -> None:
        queue = keys.queue_of(member)
        due_at = await self.now_ms() + int(delay * 1000)
        with unavailable():
            if await self.redis.zadd(keys.due(queue), {member: due_at}, nx=True):
                await self.redis.publish(keys.WAKE, queue)

    async def is_planned(self, member: str) -> bool:
        """Whether anything still has to happen."""
        with unavailable():
            return await self.redis.zscore(keys.due(keys.queue_of(member)), member) is not None

    async def parked(self) -> list[tuple[str, int]]:
        """What was given up, and when (ms)."""
        with unavailable():
            rows = await self.redis.zrange(keys.PARKED, 0, -1, withscores=True)
        return [(str(member), int(at)) for member, at in rows]

    async def unsettled(self, limit: int) -> list[str]:
        """Ids of jobs that something is still planned for, the next that are due."""
        with unavailable():
            members = await self.redis.zrange(keys.due("steps"), 0, limit - 1)
        return [member.removeprefix("job:") for member in members if member.startswith("job:")]

    async def unplan(self, member: str, *, unless_any_in: str = "") -> None:
        """Nothing more is to be done with it: unless it was woken meanwhile, or somebody is in that set."""
        queue = keys.queue_of(member)
        await self.run("plan", [keys.due(queue)], [member, queue, -1, unless_any_in])

    async def forgive(self, member: str) -> None:
        """A claim that came to nothing, and is not to be counted: it is due again after the shortest pause."""
        with unavailable():
            await self.redis.hdel(keys.CLAIMS, member)

    async def park(self, member: str) -> None:
        """What no step can handle: not due any more, until a person (`tunehook doctor`) or a change wakes it."""
        now = await self.now_ms()
        with unavailable():
            async with self.redis.pipeline(transaction=True) as pipe:
                pipe.zadd(keys.PARKED, {member: now})
                pipe.zrem(keys.due(keys.queue_of(member)), member)
                pipe.hdel(keys.CLAIMS, member)
                await pipe.execute()

    async def wakes(self, patience: Callable[[], float]) -> AsyncIterator[set[Queue]]:
        """Yields the queues that something became due in; an empty set when nothing did for `patience()` seconds.

        A burst of wake-ups is one: they are gathered for 3 ms.
        """
        async with self.redis.pubsub() as pubsub:
            with unavailable():
                await pubsub.subscribe(keys.WAKE)
            while True:
                woken: set[Queue] = set()
                with unavailable():
                    message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=patience())
                    while message:
                        woken.add(message["data"])
                        message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=0.003)
                yield woken

    async def news(self, ready: Callable[[], None]) -> AsyncGenerator[str, None]:
        """Yields the id of every job that has changed, or whose log has; an empty one a second when none has.

        `ready` is called once nothing can be missed any more. StoreUnavailable ends it, and news were missed then.
        """
        async with self.redis.pubsub() as pubsub:
            with unavailable():
                await pubsub.subscribe(keys.NEWS)
                while await pubsub.get_message(timeout=1.0) is None:
                    pass
            ready()
            while True:
                with unavailable():
                    message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=1.0)
                yield str(message["data"]) if message else ""

    async def tick(self, host: str) -> None:
        """The clock on `host` has been through all that is due."""
        with unavailable():
            await self.redis.set(keys.clock_on(host), "ticks", px=LATE_MS)

    async def ticks(self, host: str) -> bool:
        """Has the clock on `host` ticked within 10 s? It does so once a second."""
        with unavailable():
            return bool(await self.redis.exists(keys.clock_on(host)))


#: What a Redis answers that cannot take a write or a command now: the code that its answer begins with, which
#: redis-py cuts off for the errors it knows; inside a script, Redis appends where it happened.
_REFUSALS = ("OOM", "LOADING", "READONLY", "MISCONF", "BUSY", "max number of clients", "NOREPLICAS")
_REFUSAL_CLASSES = (OutOfMemoryError, ReadOnlyError)


async def ended(task: asyncio.Task[None]) -> None:
    """Cancels a task that goes round for ever, until it has ended: a cancel that comes while redis-py gives up a
    connection has been seen swallowed, and its step went on for ever."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=1.0)
    error = None if task.cancelled() else task.exception()
    if error is not None:
        raise error


class unavailable:  # lower case: it reads as a statement
    """Everything that redis-py raises when Redis is away, full or restarting becomes StoreUnavailable."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        refuses = isinstance(error, _REFUSAL_CLASSES) or str(error).startswith(_REFUSALS)
        if isinstance(error, ResponseError) and not refuses:
            return  # our own mistake (a wrong command, a script that fails): never called "unavailable"
        if isinstance(error, RedisError | OSError | TimeoutError):
            raise StoreUnavailable from error
