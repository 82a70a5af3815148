"""Commits: one change of one record, atomic with all that follows from it.

A state and its event are one run of `commit.lua`, so that neither is ever seen without the other.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from pydantic_core import to_json

from tunehook.errors import AlreadyTracked, IllegalMove, LeaseLost, RecordTooNew, RevisionChanged
from tunehook.model import deployment, job
from tunehook.model.job import Message
from tunehook.model.member import queue_of
from tunehook.model.record import RECORD_VERSION
from tunehook.store.engine import keys

#: So many of the newest entries of a job's log are kept: at 600 bytes each, up to 6 MB a job.
LOG_KEPT = 10_000
#: So many of the newest changes in a project are kept: at 30 bytes each, 150 KB.
NEWS_KEPT = 5_000
#: Jobs and deployments have no stage of the same name.
_ARROWS = json.dumps(
    {
        source: dict.fromkeys(targets, True)
        for arrows in (job.ARROWS, deployment.ARROWS)
        for source, targets in arrows.items()
    }
)

#: So often an update is tried whose record another process changes at the same moment.
TRIES = 10
P = ParamSpec("P")
R = TypeVar("R")


def optimistic_update(update: Callable[P, Awaitable[R]]) -> Callable[P, Coroutine[Any, Any, R]]:
    """Decorates a function that reads, changes and commits: retried when the record has changed.

    Raises RevisionChanged after 10 attempts.
    """

    @wraps(update)
    async def _update(*args: P.args, **kwargs: P.kwargs) -> R:
        for _ in range(TRIES - 1):
            with suppress(RevisionChanged):
                return await update(*args, **kwargs)
        return await update(*args, **kwargs)

    return _update


class Precondition(Exception):
    """A key that a change depends on is not as it must be; `value` is what it holds."""

    def __init__(self, key: str, value: str = "") -> None:
        super().__init__(key)
        self.key = key
        self.value = value


class AlreadyThere(Precondition):
    """A guarded key exists."""


class Missing(Precondition):
    """A key that the change needs is gone."""


class Occupied(Precondition):
    """A set that must be empty has members (`value` names three), or one that must have room is full."""


@dataclass(frozen=True)
class Index:
    """A record's rows in an index, its text, and its part in sums: commit.lua replaces those that it had before.

    A row is its beginning here, `created_at`, the record's place in the zset `order`, and the id.
    """

    rows_in: str  #: key
    texts: str  #: beginning of the keys of its chunks of texts
    order: str  #: key
    id: str
    created_at: int
    rows: list[str]
    text: str  #: "": none, and none is left
    sums: list[tuple[str, str, int]]  #: (hash, field, amount)


@dataclass
class Change:
    """A change for `commit.lua`. Delays are in seconds here and in ms there."""

    record: str  #: key
    revision: int  #: as it was read; 0: it must not exist
    document: str = ""
    member: str | None = None  #: `<kind>:<id>` whose lease `token` belongs to
    token: str | None = None
    stage: StrEnum | None = None
    delete: bool = False
    keep: bool = False  #: the record stays as it is; what follows is done
    index: Index | None = None
    guards: list[tuple[str, str]] = field(default_factory=list)  #: (key, what it may hold), else AlreadyThere
    needs: list[str] = field(default_factory=list)  #: keys that must exist, else Missing
    empty: list[str] = field(default_factory=list)  #: sets that must have no member, else Occupied
    room: list[tuple[str, int]] = field(default_factory=list)  #: (zset of expiry times, the most before), else Occupied
    unsettled: list[list[Any]] = field(default_factory=list)  #: see store/projects.py, else Occupied
    counted: list[list[Any]] = field(default_factory=list)  #: likewise
    money: list[list[Any]] = field(default_factory=list)  #: likewise
    joins: list[list[Any]] = field(default_factory=list)  #: the lines for slots, see store/upstreams.py
    leaves: list[list[Any]] = field(default_factory=list)  #: likewise
    claims: list[list[str]] = field(default_factory=list)
    stamp: list[str] = field(default_factory=list)
    clear: list[str] = field(default_factory=list)
    commands: list[list[str]] = field(default_factory=list)
    listed: list[list[str]] = field(default_factory=list)
    timed: list[list[Any]] = field(default_factory=list)
    due_entries: list[list[Any]] = field(default_factory=list)
    soon: list[list[str]] = field(default_factory=list)
    freed: list[list[str]] = field(default_factory=list)

    def do(self, *command: str | int) -> Change:
        self.commands.append([str(part) for part in command])
        return self

    def claim(self, names: str, name: str, job_id: str) -> Change:
        """Enters `name` in the hash `names` as this job's; AlreadyTracked if it is another job's."""
        self.claims.append([names, name, job_id])
        return self

    def due(self, member: str, delay: float | None) -> Change:
        """Plans a member in `delay` seconds; None: never. Resets its count of fruitless claims."""
        queue = queue_of(member)
        self.due_entries.append([keys.due(queue), member, -1 if delay is None else int(delay * 1000), queue])
        return self

    def wake(self, member: str) -> Change:
        """Makes a member due now, even if it was planned for later."""
        queue = queue_of(member)
        self.soon.append([keys.due(queue), member, queue])
        return self

    def free(self, waiting: str) -> Change:
        """Wakes all jobs that are in the set `waiting` at the commit, and empties the set."""
        queue = queue_of("job:")
        self.freed.append([waiting, keys.due(queue), queue])
        return self

    def at(self, zset: str, member: str, delay: float, *, keep: int | None = None) -> Change:
        """Adds `member` at now + delay (seconds); with `keep`, the whole set expires after so many seconds."""
        self.timed.append([zset, member, int(delay * 1000), *([] if keep is None else [keep])])
        return self

    def list_in(self, zset: str, member: str) -> Change:
        """Adds `member` to an index in the order of acceptance."""
        self.listed.append([zset, member])
        return self

    def say(self, job_id: str, message: Message) -> Change:
        """Adds an entry to the job's log."""
        document = message.model_dump_json(exclude_none=True)
        return self.do("XADD", keys.job_log(job_id), "MAXLEN", "~", LOG_KEPT, "*", "doc", document)

    def tell(self, project: str, kind: str, record_id: str) -> Change:
        """Adds to the project's stream that a record has changed: `job` or `delivery`."""
        stream = keys.project_events(project)
        return self.do("XADD", stream, "MAXLEN", "~", NEWS_KEPT, "*", "kind", kind, "id", record_id)

    def arguments(self) -> tuple[list[str], list[str]]:
        """Returns the keys and arguments of commit.lua. What is not set is not sent."""
        beside = ("record", "document", "member", "revision")
        change = {name: value for name, value in vars(self).items() if value and name not in beside}
        # No key without a lease: an empty name is a key too, and the ACL in compose refuses it.
        lease = [keys.lease(self.member)] if self.member else []
        return [self.record, *lease], [
            to_json({**change, "revision": self.revision, "version": RECORD_VERSION}).decode(),
            self.document,
            _ARROWS if self.revision and self.stage else "",  # a new record, or one without stages, makes no move
        ]

    def outcome(self, answer: list[str]) -> int:
        """Returns when it happened, in ms of Redis' clock, or raises the conflict."""
        name = self.record.split(":", 2)[-1]
        match answer:
            case ["ok", now]:
                return int(now)
            case ["revision", _]:
                raise RevisionChanged(record=name)
            case ["newer", version]:
                raise RecordTooNew(record=name, version=version, known=RECORD_VERSION)
            case ["lease", _]:
                raise LeaseLost(record=name)
            case ["missing", key]:
                raise Missing(key)
            case ["exists", key, value]:
                raise AlreadyThere(key, value)
            case ["occupied", key, value]:
                raise Occupied(key, value)
            case ["claimed", upstream_job_id, owner]:
                raise AlreadyTracked(record=name, upstream_job_id=upstream_job_id, owner=owner)
            case ["move", source]:
                raise IllegalMove(source=source, target=self.stage)
        raise AssertionError(f"commit.lua answered {answer!r}")
