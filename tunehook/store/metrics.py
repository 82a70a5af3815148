"""Metrics from Redis: counted where things happen, so that reading them takes two round trips. See tally.py."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tunehook.model import member
from tunehook.store import tally
from tunehook.store.engine import keys
from tunehook.store.engine.due_queue import DueQueue
from tunehook.store.tally import Tally


@dataclass(frozen=True)
class Metrics:
    jobs: dict[str, int]  #: stage → jobs
    backlog: dict[str, int]  #: queue → members that are due and not claimed yet
    parked: dict[str, int]  #: kind of member → members that were given up
    attempts: dict[str, int]  #: outcome → attempts of deliveries ever made
    extras: dict[str, int]  #: upstream → extra jobs found there and cancelled, ever
    live: dict[str, int]  #: upstream → jobs that are tracked there
    slot_waiting: dict[str, int]  #: upstream → jobs that wait for a slot
    held: dict[str, bool]  #: upstream → whether it is on hold
    polls_in_vain: dict[str, int]  #: upstream → polls in a row that came to no end
    clock_age: float | None  #: seconds since a scheduler ticked; None: none ever did
    clock_set_back: float  #: seconds by which Redis' clock was set back within a day
    tally: Tally


class MetricsReader:
    def __init__(self, store: DueQueue) -> None:
        self._store = store

    async def read(self, upstreams: Iterable[str]) -> Metrics:
        """Returns all metrics, with those of the upstreams named."""
        names = list(upstreams)
        now = await self._store.now_ms()
        async with self._store.redis.pipeline(transaction=False) as pipe:
            pipe.hgetall(keys.STAGES)
            for queue in member.QUEUES:
                pipe.zcount(keys.due(queue), "-inf", now)
            pipe.zrange(keys.PARKED, 0, -1).hgetall(keys.COUNTS)
            pipe.zrange(keys.COUNTED_PROJECTS, 0, tally.MOST_PROJECTS - 1)
            pipe.srandmember(keys.PROJECTS, tally.MOST_PROJECTS + 1)
            pipe.hgetall(keys.ATTEMPTS)
            pipe.hgetall(keys.EXTRAS)
            pipe.get(keys.CLOCK)
            pipe.get(keys.CLOCK_SET_BACK)
            for name in names:
                pipe.hlen(keys.live(name)).zcard(keys.waiting(name)).exists(keys.hold(name))
                pipe.hget(keys.CLAIMS, member.poll_member(name))
            answers = await pipe.execute()
        stages, *rest = answers
        backlog, rest = rest[: len(member.QUEUES)], rest[len(member.QUEUES) :]
        parked, counts, projects, with_jobs, attempts, extras, clock, set_back, *of_upstreams = rest
        if len(with_jobs) <= tally.MOST_PROJECTS:  # all: each will have series of its own
            projects += sorted(set(with_jobs) - set(projects))
        rows = dict(zip(names, zip(*[iter(of_upstreams)] * 4, strict=True), strict=True))
        return Metrics(
            jobs=_whole(stages),
            backlog=dict(zip(member.QUEUES, backlog, strict=True)),
            parked=dict(Counter(name.partition(":")[0] for name in parked)),
            attempts=dict.fromkeys(tally.OUTCOMES, 0) | _whole(attempts),
            extras=dict.fromkeys(names, 0) | _whole(extras),
            live={name: int(row[0]) for name, row in rows.items()},
            slot_waiting={name: int(row[1]) for name, row in rows.items()},
            held={name: bool(row[2]) for name, row in rows.items()},
            polls_in_vain={name: max(0, int(row[3] or 0) - 1) for name, row in rows.items()},
            clock_age=(now - int(clock)) / 1000 if clock else None,
            clock_set_back=int(set_back or 0) / 1000,
            tally=tally.parsed(counts, projects, names),
        )

    async def count_answers(self, answers: Mapping[tuple[str, str], int]) -> None:
        """Adds upstreams' answers: (upstream, code) → how many. One round trip, or none without answers."""
        if answers:
            await self._store.send(list(tally.additions(tally.UPSTREAM_ANSWERS, answers)))


def _whole(rows: dict[str, str]) -> dict[str, int]:
    return {name: int(count) for name, count in rows.items()}
