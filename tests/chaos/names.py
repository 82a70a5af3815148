"""What a command or a call is called in the table of points, and which run it belongs to. Pure but for `Whose`."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence

from tunehook.store.engine.scripts import SCRIPTS

_SCRIPTS = {
    hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest().encode(): name for name, text in SCRIPTS.items()
}
#: Commands that change nothing; what is neither here nor a script is taken for a write.
_READS = frozenset(
    b"GET HGET HGETALL HMGET HEXISTS HLEN LLEN LRANGE SMEMBERS SCARD SISMEMBER ZRANGE ZRANGEBYSCORE ZREVRANGE ZRANK "
    b"ZREVRANK ZCOUNT ZCARD ZSCORE ZMSCORE TIME PING INFO CONFIG EXISTS TTL PTTL XREVRANGE XRANGE XINFO HELLO CLIENT "
    b"SELECT SMISMEMBER AUTH SUBSCRIBE UNSUBSCRIBE PSUBSCRIBE SCRIPT MGET LPOS TYPE SCAN WATCH UNWATCH QUIT LINDEX "
    b"MULTI EXEC HSCAN".split()
)
#: Repeated by the clock or by timers, so no point of a job's life: where they fail, the next one comes in seconds.
_HUM = re.compile(r"HSET rq:worker|EXPIRE rq:worker|SET th:clock|rq:clean_registries|SETEX|CLIENT")
_KINDS = re.compile(
    rb"(ftjob-|file-|dlv_|evt_)[A-Za-z0-9]{24}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
    rb"|\b[0-9a-f]{64}\b|\b[0-9a-f]{24}\b|run-\d{5}|(?:ftjob|upload|part)-[A-Za-z0-9]+"
)
#: Marks that are nobody else's: digests of 24 and 64 characters may be of what several runs have in common.
_OWN = re.compile(rb"ftjob-|file-|upload-|part-|dlv_|evt_|[0-9a-f]{8}-")
#: What RQ writes, in words.
_RQ = (
    (re.compile(r"RPUSH rq:queue:(\w+)"), "RQ hand-over to {}"),
    (re.compile(r"LMOVE rq:queue:(\w+)|BLMOVE rq:queue:(\w+)"), "RQ pop from {}"),
    (re.compile(r"HSET rq:execution.*rq:wip:(\w+)"), "RQ start noted in {}"),
    (re.compile(r"HSET rq:job.*LREM rq:(?:queue|intermediate):(\w+)"), "RQ step of {} begins"),
    (re.compile(r"HINCRBY rq:worker.*ZREM rq:wip:(\w+)"), "RQ step of {} is over"),
)


def name_unit(commands: Sequence[Sequence[bytes]]) -> str | None:
    """The name of a write, such as `commit job creating +intent` or `LMOVE rq:queue`; None for what only reads."""
    words = [name for name in (_name(command) for command in commands) if name and not _HUM.search(name)]
    text = " & ".join(dict.fromkeys(words))
    for pattern, plain in _RQ:
        if found := pattern.search(text):
            return plain.format(next(group for group in found.groups() if group))
    return text or None


def _name(command: Sequence[bytes]) -> str | None:
    verb = command[0].upper()
    if verb in (b"EVALSHA", b"EVAL"):
        script = _SCRIPTS.get(command[1]) or _SCRIPTS.get(
            hashlib.sha1(command[1], usedforsecurity=False).hexdigest().encode()
        )
        count = int(command[2])
        return _script(script, command[3 : 3 + count], command[3 + count :]) if script else "EVAL of RQ"
    if verb in _READS:
        return None
    key = command[1] if len(command) > 1 else b""
    return f"{verb.decode()} {_prefix(key)}".strip()


def _script(name: str, keys: Sequence[bytes], arguments: Sequence[bytes]) -> str:
    if name == "commit":
        change = json.loads(arguments[0])
        parts = [name, _prefix(keys[0]).removeprefix("th:"), change.get("stage") or ""]
        parts += [f"+{field}" for field in change.get("stamp", ())] + [f"-{field}" for field in change.get("clear", ())]
        if not change["revision"]:
            parts.append("new")
        return " ".join(part for part in parts if part)
    if name == "lease":
        return f"{arguments[0].decode()} {_prefix(keys[0]).removeprefix('th:lease:')}"
    if name == "plan":
        return f"{'wake' if arguments[2] == b'wake' else name} {arguments[0].partition(b':')[0].decode()}"
    return name


def _prefix(key: bytes) -> str:
    """A key without what is different each time: `th:lease:job`, `rq:queue:steps`."""
    parts = key.decode("utf-8", "replace").split(":")
    fixed = {"th": 2, "rq": 2}.get(parts[0], 1)
    if parts[:2] in (["th", "lease"], ["th", "due"], ["rq", "queue"], ["rq", "wip"], ["rq", "intermediate"]):
        fixed = 3
    return ":".join(parts[:fixed])


class Whose:
    """Which run something belongs to: by the marks that are known to be its own, learnt from what bears one."""

    def __init__(self) -> None:
        self._runs: dict[bytes, int] = {}

    def learn(self, mark: str, run: int) -> None:
        self._runs[mark.encode()] = run

    def of(self, texts: Iterable[bytes]) -> set[int]:
        """The runs that these words name. A text of one run alone teaches all the ids in it."""
        found: set[int] = set()
        for text in texts:
            marks = {match[0] for match in _KINDS.finditer(text)}
            runs = {self._runs[mark] for mark in marks if mark in self._runs}
            if len(runs) == 1:
                for mark in filter(_OWN.match, marks):
                    self._runs.setdefault(mark, *runs)
            found |= runs
        return found

    def of_enqueued(self, command: Sequence[bytes]) -> None:
        """RQ's own id of a step is told by the description that is written beside it."""
        if command[0].upper() == b"HSET" and command[1].startswith(b"rq:job:"):
            self.of([b" ".join(command)])
