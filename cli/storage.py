"""`tunehook storage copy`: moves a deployment's files to another directory or bucket, and proves each."""

from __future__ import annotations

import asyncio
import hashlib
import re
import sys
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from cyclopts import App

from cli import local_store
from cli.archive import PLACES
from cli.failures import CommandFailed
from cli.lines import say
from tunehook import settings
from tunehook.errors import DataDirUnavailable
from tunehook.files.place import MARK, Entry, Place
from tunehook.files.storage import Storage, open_place
from tunehook.setting_values import check_store_url
from tunehook.settings import SettingsError
from tunehook.store import snapshot
from tunehook.store.store import Store

#: The names of a file's bytes and of its report, with its id.
OF_A_FILE = re.compile(r"(?:files|reports)/(file-[^/.]+)(?:\.json)?")
#: Files on their way at the same time. Each holds some pieces of 8 MiB in memory.
AT_ONCE = 4
SHOWN_SECONDS = 0.5

app = App(name="storage", help="Move a deployment's files to another directory or bucket.")


class NotMoved(CommandFailed):
    """The files were not all moved: {why}."""


@dataclass
class _Tally:
    """What was done so far, shown on a terminal as it goes on."""

    files: int
    bytes: int
    done: int = 0
    done_bytes: int = 0
    copied: int = 0
    damaged: list[str] = field(default_factory=list)
    shown_at: float = 0.0

    def add(self, entry: Entry, *, copied: bool) -> None:
        self.done += 1
        self.done_bytes += entry.bytes
        self.copied += copied
        if sys.stderr.isatty() and (time.monotonic() > self.shown_at + SHOWN_SECONDS or self.done == self.files):
            self.shown_at = time.monotonic()
            end = "\n" if self.done == self.files else ""
            sys.stderr.write(f"\r{self.words()}   {end}")
            sys.stderr.flush()

    def words(self) -> str:
        return (
            f"{self.done:,} of {self.files:,} files, {self.done_bytes / 1e6:,.1f} of {self.bytes / 1e6:,.1f} MB, "
            f"{self.copied:,} copied now"
        )


@app.command
async def copy(source: str, target: str, /, *, force: bool = False) -> int:
    """Copy all files of this deployment from one place to another, and prove each by its SHA-256.

    A file that is there already, whole, is not copied again: a run that was stopped goes on. While service or worker
    run, the copy is not final: stop them, run it again, and set TUNEHOOK_STORE_URL to the new place.

    Args:
        source: the directory or URL that holds the files: /data, s3://bucket/path, gs://bucket/path, az://container/path
        target: the directory or URL that they go to
        force: take no other client of Redis for a service that runs, as in a Redis that you share
    """
    url, _ = local_store.find()
    try:
        replicas = settings.load().replicas
        async with Store.connect(url, connections=1, replicas=replicas) as store:  # all others are programs that run
            tally = await _move(store, source, target, force=force)
    except DataDirUnavailable as error:
        raise NotMoved(why=error.detail) from error
    say(f"Moved: {tally.words()}. Now set TUNEHOOK_STORE_URL={target} for service and worker.")
    return 0


async def _move(store: Store, source: str, target: str, *, force: bool) -> _Tally:
    """Copies all files, and marks the new place if no program runs."""
    places = _place(source), _place(target)
    ran = await _running(store, force=force)
    tally = await _copy_all(store, *places)
    if tally.damaged:
        names = ", ".join(sorted(tally.damaged)[:5])
        raise NotMoved(why=f"{len(tally.damaged)} files in {source} are not as their records say: {names}")
    if programs := ran or await _running(store, force=force):  # what came after the list was made is not among these
        why = f"{programs}, or did when this began. Stop service and worker, and run this again: it goes on from here"
        hint = "" if programs == snapshot.WORKER else ". With `--force`, other clients are not taken for a service"
        raise NotMoved(why=f"{tally.words()}. But {why}{hint}")
    if tally.done < tally.files:
        raise NotMoved(why=f"{tally.words()}. The others were deleted meanwhile. Run this again")
    await _remove_what_went(store, *places)
    mark, _ = await store.deletion.storage_mark()
    await places[1].put_new(MARK, mark.encode())
    await Storage(places[1], store.deletion, adopts=False).check_mark()
    return tally


async def _running(store: Store, *, force: bool) -> str | None:
    """Returns which programs run. Waits for a worker that has just ended: it counts as one for ten seconds."""
    programs = await snapshot.running(store)
    if programs == snapshot.WORKER:
        await asyncio.sleep(snapshot.FRESH_MS / 1000)
        programs = await snapshot.running(store)
    return None if force and programs != snapshot.WORKER else programs


def _place(text: str) -> Place:
    if "://" not in text:
        text = Path(text).absolute().as_uri()
    try:
        return open_place(check_store_url(text), Path())
    except ValueError as error:
        raise SettingsError(why=f"{text}: {error}") from error


async def _copy_all(store: Store, source: Place, target: Place) -> _Tally:
    await Storage(source, store.deletion, adopts=False).check_mark()
    mark, _ = await store.deletion.storage_mark()
    try:
        await target.require_room(0)
    except FileNotFoundError:
        raise NotMoved(why=f"{target.label} does not exist: create it, or mount it") from None
    try:
        found = (await target.piece(MARK, 0, 1024)).decode(errors="replace").strip()
    except FileNotFoundError:
        found = mark
    if found != mark:
        raise NotMoved(why=f"{target.label} holds the files of another Tunehook")
    recorded: dict[str, str] = {}
    async for entries in snapshot.take(store):
        recorded |= {f"files/{file.id}": file.sha256 for one in entries if (file := snapshot.file_in(one))}
    todo = [entry for folder in PLACES for entry in await _listed(source, folder)]
    tally = _Tally(len(todo), sum(entry.bytes for entry in todo))
    waiting = iter(todo)

    async def _work() -> None:
        for entry in waiting:
            with suppress(FileNotFoundError):  # deleted meanwhile: it is missing in the tally
                await _copy_one(source, target, entry, recorded.get(entry.name), tally)

    ended = await asyncio.gather(*(_work() for _ in range(AT_ONCE)), return_exceptions=True)
    for failed in filter(None, ended):
        raise failed
    return tally


async def _remove_what_went(store: Store, source: Place, target: Place) -> None:
    """Removes files that an earlier run copied and that were deleted since. Parts of uploads are swept in a day."""
    for folder in ("files", "reports"):
        here = {entry.name for entry in await _listed(source, folder)}
        more = [entry.name for entry in await _listed(target, folder) if entry.name not in here]
        ids = {name: match[1] for name in more if (match := OF_A_FILE.fullmatch(name))}
        gone = await store.deletion.without_record(list(ids.values()))
        for name in (name for name, file_id in ids.items() if file_id in gone):
            await target.remove(name)


async def _listed(place: Place, folder: str) -> list[Entry]:
    return [entry async for entry in place.entries(folder)]


async def _copy_one(source: Place, target: Place, entry: Entry, recorded: str | None, tally: _Tally) -> None:
    """Copies one file unless it is there. `recorded`: its SHA-256 by its record, if a record names it."""
    there = await _digest(target, entry.name) if await _size(target, entry.name) == entry.bytes else None
    if there is not None and there == (recorded or await _digest(source, entry.name)):
        return tally.add(entry, copied=False)
    writer, digest = target.create(entry.name), hashlib.sha256()
    await writer.open()
    try:
        async for piece in _pieces(source, entry.name):
            digest.update(piece)
            await writer.write(piece)
        if recorded and digest.hexdigest() != recorded:
            tally.damaged.append(entry.name)
            return None
        await target.remove(entry.name)  # not before: source and target may be the same place by two names
        await writer.keep()
    finally:
        await writer.close()
    if await _digest(target, entry.name) != digest.hexdigest():
        raise DataDirUnavailable(why=f"{target.label} did not keep {entry.name} as it was sent", detail=target.label)
    return tally.add(entry, copied=True)


async def _pieces(place: Place, name: str) -> AsyncIterator[bytes]:
    start = 0
    while piece := await place.piece(name, start, place.piece_bytes):
        yield piece
        start += len(piece)


async def _digest(place: Place, name: str) -> str:
    digest = hashlib.sha256()
    async for piece in _pieces(place, name):
        digest.update(piece)
    return digest.hexdigest()


async def _size(place: Place, name: str) -> int | None:
    try:
        return await place.size(name)
    except FileNotFoundError:
        return None
