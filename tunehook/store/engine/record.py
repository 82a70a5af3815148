"""Stored records: a value with its revision, and one policy for records that cannot be read."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Generic, Self, TypeVar

from pydantic import ValidationError

from tunehook.errors import RecordTooNew, RecordUnreadable
from tunehook.model.record import RECORD_VERSION, Record
from tunehook.store.engine.commit import Change
from tunehook.store.engine.connection import Connection, Reading
from tunehook.store.engine.lease import Lease

log = logging.getLogger(__name__)

T = TypeVar("T", bound=Record)


class _Of(Generic[T]):
    model: type[T]


@dataclass(frozen=True)
class Stored(_Of[T]):
    """A record as it was read, or as a commit has just written it.

    `now_ms` is Redis' clock when it was read; `fields` are those of its hash beside the value. A subclass names its
    `model`, the function that makes its `key`, and the members of the model that the key is made of.
    """

    value: T
    revision: int  #: 0: it does not exist yet
    now_ms: int = 0
    fields: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)

    key: ClassVar[Callable[..., str]]
    names: ClassVar[tuple[str, ...]] = ("id",)

    @property
    def now(self) -> int:
        """Redis' clock when it was read, unix seconds."""
        return self.now_ms // 1000

    @classmethod
    async def read(cls, store: Connection, *names: str) -> Self | None:
        """Returns None for a record that does not exist.

        Raises RecordTooNew for one that a newer version of the program wrote, RecordUnreadable for a broken one.
        """
        time, fields = await store.ask(*cls.reading(*names))
        return cls.parse(fields, ":".join(names), time)

    @classmethod
    def reading(cls, *names: str) -> Reading:
        """Returns the commands of `read`, for `Connection.reading_ahead`."""
        return ("TIME",), ("HGETALL", cls.key(*names))

    @classmethod
    async def read_many(cls, store: Connection, ids: Iterable[str]) -> list[Self]:
        """Returns the records that exist and can be read, in the order given: a bad one hides no others."""
        found = await cls.examine(store, ids)
        for record in found:
            if isinstance(record, RecordTooNew | RecordUnreadable):
                log.warning("left out of a list: %s", record.message)
        return [record for record in found if isinstance(record, cls)]

    @classmethod
    async def examine(
        cls, store: Connection, ids: Iterable[str]
    ) -> list[Self | RecordTooNew | RecordUnreadable | None]:
        """Returns for each id the record, why it cannot be read, or None if it does not exist; in one round trip."""
        wanted = list(ids)
        time, *rows = await store.read([("TIME",), *(("HGETALL", cls.key(record_id)) for record_id in wanted)])
        found: list[Self | RecordTooNew | RecordUnreadable | None] = []
        for record_id, fields in zip(wanted, rows, strict=True):
            try:
                found.append(cls.parse(fields, record_id, time))
            except (RecordTooNew, RecordUnreadable) as error:
                found.append(error)
        return found

    @classmethod
    async def page(
        cls,
        store: Connection,
        batches: AsyncIterator[list[str]],
        *,
        limit: int,
        wanted: Callable[[Self], bool] = lambda _: True,
    ) -> tuple[list[Self], bool]:
        """Reads ids batch by batch until there are more than `limit` wanted records.

        Returns the first `limit` of them, and whether there are more.
        """
        found: list[Self] = []
        async for ids in batches:
            found += [record for record in await cls.read_many(store, ids) if wanted(record)]
            if len(found) > limit:
                break
        return found[:limit], len(found) > limit

    @classmethod
    def parse(cls, fields: dict[str, str], name: str, time: tuple[int, int] = (0, 0)) -> Self | None:
        """Returns the record called `name`, read at `time` (Redis' TIME); raises like `read`."""
        if not fields:
            return None
        version = fields.get("v", "")
        if version.isdecimal() and int(version) > RECORD_VERSION:
            raise RecordTooNew(record=name, version=version, known=RECORD_VERSION)
        seconds, micros = time
        try:
            value = cls._load(fields.pop("doc"), fields)
            return cls(value, int(fields["rev"]), int(seconds) * 1000 + int(micros) // 1000, fields)
        except (KeyError, ValueError) as error:
            raise RecordUnreadable(record=name, why=_first_line(error)) from error

    @classmethod
    def _load(cls, document: str, fields: Mapping[str, str]) -> T:
        """Returns the value. Raises ValueError where it, or a field beside it, cannot be read."""
        return cls.model.model_validate_json(document)

    @classmethod
    def new(cls, value: T) -> Change:
        """Returns the change that makes a record of `value`."""
        return cls(value, 0).change(value)

    def change(self, value: T, lease: Lease | None = None) -> Change:
        """Returns the change of this record into `value`; with a lease, it is refused when that is lost."""
        return Change(
            record=self._key(value),
            revision=self.revision,
            document=value.model_dump_json(exclude_none=True),
            member=lease.member if lease else None,
            token=lease.token if lease else None,
        )

    def deletion(self, *, empty: Iterable[str] = ()) -> Change:
        """Returns the change that deletes this record, refused while one of the sets `empty` has members."""
        return Change(record=self._key(self.value), revision=self.revision, delete=True, empty=list(empty))

    def _key(self, value: T) -> str:
        return type(self).key(*(getattr(value, name) for name in self.names))


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        return f"{'.'.join(str(part) for part in first['loc']) or 'document'}: {first['msg']}"
    return f"{type(error).__name__} {error}"
