"""One change of one record, and all that must happen in the same breath.

State without its event, or an event without its state, cannot be seen: both are one run of `commit.lua`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from tunehook.errors import AlreadyTracked, IllegalMove, LeaseLost, RecordTooNew, RevisionChanged
from tunehook.model.job import ARROWS, Message, Stage
from tunehook.model.member import queue_of
from tunehook.model.record import RECORD_VERSION
from tunehook.store.engine import keys

#: The newest lines of a job's log that are kept: at 600 bytes each, 6 MB of a job that says very much.
LOG_KEPT = 10_000
_ARROWS = json.dumps({source: {target: True for target in targets} for source, targets in ARROWS.items()})


class AlreadyThere(Exception):
    """A guarded key exists; `value` is what it holds."""

    def __init__(self, key: str, value: str) -> None:
        super().__init__(key)
        self.key = key
        self.value = value


class Missing(Exception):
    """A key that the change needs is gone."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


@dataclass
class Change:
    """What `commit.lua` is asked to do. Delays are in seconds here and ms there."""

    record: str  #: key
    revision: int  #: as it was read; 0: it must not exist
    document: str = ""
    member: str | None = None  #: `<kind>:<id>` whose lease `token` belongs to
    token: str | None = None
    stage: Stage | None = None
    delete: bool = False
    guards: list[tuple[str, str]] = field(default_factory=list)  #: (key, what it may hold all the same)
    needs: list[str] = field(default_factory=list)  #: keys that must exist, else Missing
    claims: list[list[str]] = field(default_factory=list)
    stamp: list[str] = field(default_factory=list)
    clear: list[str] = field(default_factory=list)
    commands: list[list[str]] = field(default_factory=list)
    listed: list[list[str]] = field(default_factory=list)
    timed: list[list[Any]] = field(default_factory=list)
    log: list[list[str]] = field(default_factory=list)
    due_entries: list[list[Any]] = field(default_factory=list)
    soon: list[list[str]] = field(default_factory=list)
    freed: list[list[str]] = field(default_factory=list)

    def do(self, *command: str | int) -> Change:
        """A Redis command that belongs to the change."""
        self.commands.append([str(part) for part in command])
        return self

    def claim(self, names: str, name: str, job_id: str) -> Change:
        """Enter in the hash `names` that `name` is this job's; AlreadyTracked if it is another's."""
        self.claims.append([names, name, job_id])
        return self

    def due(self, member: str, delay: float | None) -> Change:
        """When something has to happen next; None: never again. Resets the count of fruitless claims."""
        queue = queue_of(member)
        self.due_entries.append([keys.due(queue), member, -1 if delay is None else int(delay * 1000), queue])
        return self

    def wake(self, member: str) -> Change:
        """Let something happen now, whatever was planned for later."""
        queue = queue_of(member)
        self.soon.append([keys.due(queue), member, queue])
        return self

    def free(self, waiting: str, kind: str) -> Change:
        """All ids in the set `waiting`, as they are at the commit, go on now; the set is emptied."""
        queue = queue_of(f"{kind}:")
        self.freed.append([waiting, kind, keys.due(queue), queue])
        return self

    def at(self, zset: str, member: str, delay: float, *, keep: int | None = None) -> Change:
        """Enter `member` at now + delay (seconds); with `keep`, the whole set expires so many seconds from now."""
        self.timed.append([zset, member, int(delay * 1000), *([] if keep is None else [keep])])
        return self

    def list_in(self, zset: str, member: str) -> Change:
        """Enter `member` in an index, in the order of acceptance."""
        self.listed.append([zset, member])
        return self

    def say(self, job_id: str, message: Message) -> Change:
        """A line for the job's own event log."""
        self.log.append([keys.job_log(job_id), message.model_dump_json(exclude_none=True), str(LOG_KEPT)])
        return self

    def arguments(self) -> tuple[list[str], list[str]]:
        change = {
            "revision": self.revision,
            "token": self.token,
            "stage": self.stage,
            "delete": self.delete,
            "guards": self.guards,
            "needs": self.needs,
            "claims": self.claims,
            "stamp": self.stamp,
            "clear": self.clear,
            "commands": self.commands,
            "listed": self.listed,
            "timed": self.timed,
            "log": self.log,
            "due": self.due_entries,
            "soon": self.soon,
            "freed": self.freed,
            "version": RECORD_VERSION,
            "woken": [],
        }
        present = {name: value for name, value in change.items() if value is not None and value is not False}
        # No lease, no key: an empty name is a key too, and one that Redis' user in compose may not touch.
        lease = [keys.lease(self.member)] if self.member else []
        return [self.record, *lease], [json.dumps(present), self.document, _ARROWS]

    def outcome(self, answer: list[str]) -> int:
        """The ms at which it happened, by Redis' clock; or the conflict, raised."""
        match answer:
            case ["ok", now]:
                return int(now)
            case ["revision", _]:
                raise RevisionChanged(record=self.record)
            case ["newer", version]:
                raise RecordTooNew(record=self.record, version=version, known=RECORD_VERSION)
            case ["lease", _]:
                raise LeaseLost(record=self.record)
            case ["missing", key]:
                raise Missing(key)
            case ["exists", key, value]:
                raise AlreadyThere(key, value)
            case ["claimed", name, owner]:
                raise AlreadyTracked(record=self.record, upstream_job_id=name, owner=owner)
            case ["move", source]:
                raise IllegalMove(source=source, target=self.stage)
        raise AssertionError(f"commit.lua answered {answer!r}")
