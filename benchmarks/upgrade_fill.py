"""Finished jobs for benchmarks/upgrade.py: all that an older version stored of one, again under other ids.

No class of that version is needed, and none of this one: every key and every member that names the job, or one of the
ids that stand beside it alone, is written anew with other ids.
"""

from __future__ import annotations

import json
import random
import re
import string
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import redis

#: An id or a hash; or the end of a tuned model's name.
_OWN = re.compile(r"[0-9A-Za-z]{20,}|(?<=:)[0-9a-f]{8}\b")
_ALPHABET = string.ascii_letters + string.digits
AT_ONCE = 100
#: A job names its deliveries, and these their events.
LEVELS = 3
#: (type, key, member or "", value)
Entry = tuple[str, str, str, Any]


@dataclass(frozen=True)
class Template:
    """What is stored of one job. `words`: its ids that stand elsewhere too; `place`: in the order of acceptance."""

    entries: str  #: JSON: type, key, members with their values
    words: tuple[str, ...]
    place: float

    @classmethod
    def of(cls, entries: list[Entry], own: set[str], place: float) -> Template:
        keys: dict[tuple[str, str], list[tuple[str, Any]]] = {}
        for kind, key, member, value in entries:
            keys.setdefault((kind, key), []).append((member, value))
        shared = [key for _, key in keys if not any(word in key for word in own)]
        seen = " ".join([key for _, key in keys] + [str(pair) for pair in keys.items() if pair[0][1] in shared])
        words = sorted((word for word in own if word in seen), key=len, reverse=True)
        return cls(json.dumps([(*name, members) for name, members in keys.items()]), tuple(words), place)

    def write(self, pipe: Any, place: int) -> None:
        """Writes all of it under other ids."""
        text = self.entries
        for word in self.words:
            letters = "0123456789abcdef" if re.fullmatch("[0-9a-f]+", word) else _ALPHABET
            text = text.replace(word, "".join(random.choices(letters, k=len(word))))  # noqa: S311
        for kind, key, members in json.loads(text):
            placed = kind == "zset"
            _write(
                pipe, kind, key, [(one, place if placed and value == self.place else value) for one, value in members]
            )


def templates(client: redis.Redis, project: str, jobs: tuple[str, str]) -> list[Template]:
    """Returns what is stored of two jobs that share no file. What both name, such as a key's id, is nobody's own."""
    stored = list(_stored(client))
    own = [{job.partition("-")[2]} for job in jobs]
    for _ in range(LEVELS):
        found = [_named_by(words, stored) for words in own]
        own = [each - (found[0] & found[1]) for each in found]
    places = [client.zscore(f"th:jobs:{project}", job) for job in jobs]
    assert None not in places
    made = [Template.of(_of(words, stored), words, float(place or 0)) for words, place in zip(own, places, strict=True)]
    assert not any(job in one.entries for job, one in zip(reversed(jobs), made, strict=True)), "they share something"
    return made


def _named_by(words: set[str], stored: list[Entry]) -> set[str]:
    """Returns the ids and hashes that stand under keys which have one of the words."""
    return {
        word
        for kind, key, member, value in stored
        if any(word in key for word in words)
        for word in _OWN.findall(json.dumps((key, member, value)))
    }


def _of(words: Iterable[str], stored: list[Entry]) -> list[Entry]:
    return [entry for entry in stored if any(word in f"{entry[1]} {entry[2]} {entry[3]}" for word in words)]


def multiply(client: redis.Redis, made_of: list[Template], count: int) -> None:
    """Writes `count` jobs more, without waiting for Redis' disk."""
    client.config_set("appendfsync", "everysec")
    for first in range(0, count, AT_ONCE):
        many = min(AT_ONCE, count - first)
        last = int(str(client.incrby("th:sequence", many)))
        with client.pipeline(transaction=False) as pipe:
            for number in range(many):
                made_of[(first + number) % len(made_of)].write(pipe, last - many + 1 + number)
            pipe.hincrby("th:stages", "settled", many)
            pipe.execute()
    client.config_set("appendfsync", "always")


def _stored(client: redis.Redis) -> Iterable[Entry]:
    """Yields all that is stored, a member at a time, but what is planned: nothing is left to do for these jobs."""
    for name in client.scan_iter(match="th:*"):
        if name.startswith((b"th:due:", b"th:turns:", b"th:claims", b"th:lease:")):
            continue
        kind = _text(client.type(name))
        for member, value in _members(client, kind, name):
            yield kind, _text(name), _text(member), value


def _members(client: Any, kind: str, name: bytes) -> Iterable[tuple[object, Any]]:
    match kind:
        case "string":
            return [("", _text(client.get(name)))]
        case "hash":
            return [(member, _text(value)) for member, value in client.hgetall(name).items()]
        case "set":
            return [(member, None) for member in client.smembers(name)]
        case "list":
            return [(member, None) for member in client.lrange(name, 0, -1)]
        case "zset":
            return [(member, float(score)) for member, score in client.zrange(name, 0, -1, withscores=True)]
        case "stream":
            entries: list[tuple[bytes, dict[bytes, bytes]]] = client.xrange(name)
            return [(at, {_text(n): _text(value) for n, value in fields.items()}) for at, fields in entries]
    raise AssertionError(kind)


def _write(pipe: Any, kind: str, key: str, members: list[tuple[str, Any]]) -> None:
    names = [member for member, _ in members]
    commands: dict[str, Callable[[], object]] = {
        "string": lambda: pipe.set(key, members[0][1]),
        "hash": lambda: pipe.hset(key, mapping=dict(members)),
        "set": lambda: pipe.sadd(key, *names),
        "zset": lambda: pipe.zadd(key, dict(members)),
        "list": lambda: pipe.rpush(key, *names),
        "stream": lambda: [pipe.xadd(key, fields, id=at) for at, fields in members],
    }
    commands[kind]()


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
