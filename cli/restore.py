"""`tunehook restore`: checks an archive of `tunehook backup` and puts it in place of what is there."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import os
import shutil
import sys
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Annotated, Any

from cyclopts import Parameter

from cli.archive import FORMAT, PLACES, SPOOL, Sums, in_words, place, stored_files
from cli.lines import say
from tunehook.errors import CommitUnconfirmed, TunehookError
from tunehook.model.record import RECORD_VERSION
from tunehook.security.encryption import Encryption
from tunehook.store import snapshot
from tunehook.store.store import Store

CHUNK = 1024 * 1024
#: What reading JSON raises that `backup` did not write.
MALFORMED = (ValueError, LookupError, TypeError, AttributeError, RecursionError)
#: Replicas that are up confirm within milliseconds, a new one once it has its first copy.
REPLICA_SECONDS = 15.0


class NotRestored(TunehookError):
    """Nothing was restored: {why}."""


class HalfRestored(TunehookError):
    """The restore broke off: {why}. Repeat it with `--force`; until then no program starts on this Redis."""


async def run(archive: Annotated[str, Parameter(allow_leading_hyphen=True)], /, *, force: bool = False) -> int:
    """Put an archive of `backup` into an empty place.

    Args:
        archive: the file to read; - for standard input
        force: replace what the place holds
    """
    _require(archive)
    async with place() as (store, encryption, data_dir):
        programs = await snapshot.running(store)
        if programs == snapshot.WORKER or (programs and not force):
            raise NotRestored(why=f"{programs}. Stop service and worker first")
        data_dir.mkdir(parents=True, exist_ok=True)
        if not force and (not await snapshot.is_empty(store) or any(stored_files(data_dir))):
            raise NotRestored(why=f"this Redis or {data_dir} is not empty. `--force` replaces what is there")
        await _require_replicas(store)
        spool = data_dir / SPOOL
        await asyncio.to_thread(shutil.rmtree, spool, ignore_errors=True)
        try:
            with _input(archive) as packed:
                sums = await asyncio.to_thread(_unpack, packed, spool)
            await _replace(store, encryption, data_dir, spool, sums.records, clear=force)
        finally:
            await asyncio.to_thread(shutil.rmtree, spool, ignore_errors=True)
    say(f"Restored: {sums.words()}.")
    return 0


def _require(archive: str) -> None:
    """Raises NotRestored for a file that is missing, before any word of --force."""
    if archive != "-" and not Path(archive).exists():
        raise NotRestored(why=f"there is no file {archive}")


async def _require_replicas(store: Store) -> None:
    """Raises NotRestored while fewer replicas than TUNEHOOK_REPLICAS confirm a write: the end would wait in vain."""
    patience, store.confirm_seconds = store.confirm_seconds, REPLICA_SECONDS
    try:
        await store.confirm()
    except CommitUnconfirmed as error:
        raise NotRestored(why=f"{error.at_start.removesuffix('.')}. Start the replicas first") from error
    store.confirm_seconds = patience


async def _replace(
    store: Store, encryption: Encryption, data_dir: Path, spool: Path, records: int, *, clear: bool
) -> None:
    """Puts what was unpacked in place of what is there. Raises NotRestored, HalfRestored, SecretUnreadable.

    `records`: as many were backed up.
    """
    try:
        found, seal, mark = snapshot.check(entry for part in _parts(spool) for entry in part)
    except MALFORMED as error:
        raise NotRestored(why=f"the archive holds what is no record ({in_words(error)})") from error
    if found != records:
        raise NotRestored(why=f"the archive is damaged: it says {records:,} records and holds {found:,}")
    if seal is not None:
        encryption.decrypt(seal)  # raises SecretUnreadable for another TUNEHOOK_SECRET_KEY
    try:
        await snapshot.begin_restore(store)
        if clear:
            await snapshot.clear(store)
        await asyncio.to_thread(_move, spool, data_dir, mark)
        for part in _parts(spool):
            for start in range(0, len(part), snapshot.AT_ONCE):
                await snapshot.put(store, part[start : start + snapshot.AT_ONCE])
        await store.confirm()
        await snapshot.end_restore(store, seal)
    except (TunehookError, OSError) as error:
        raise HalfRestored(why=str(error).removesuffix(".")) from error


def _parts(spool: Path) -> Iterator[list[snapshot.Entry]]:
    """Yields the records, a part at a time."""
    for path in sorted((spool / "records").glob("*.json")):
        yield json.loads(path.read_bytes())


@contextmanager
def _input(source: str) -> Iterator[IO[bytes]]:
    try:
        with ExitStack() as stack:
            file = sys.stdin.buffer if source == "-" else stack.enter_context(Path(source).open("rb"))
            yield stack.enter_context(gzip.GzipFile(fileobj=file, mode="rb"))  # type: ignore[arg-type]
    except (tarfile.TarError, EOFError, OSError, *MALFORMED) as error:
        raise NotRestored(why=f"{source} cannot be read as a backup ({in_words(error)})") from error


def _unpack(packed: IO[bytes], spool: Path) -> Sums:
    """Unpacks an archive beside the data, and checks each part. Raises NotRestored."""
    seen: dict[str, tuple[int, str]] = {}
    end: dict[str, Any] | None = None
    with tarfile.open(fileobj=packed, mode="r|") as tar:
        for member in tar:
            content = tar.extractfile(member)
            if content is None:
                continue
            if member.name == "header.json":
                _check_header(json.load(content))
            elif member.name == "end.json":
                end = json.load(content)
            else:
                seen[member.name] = (member.size, _copy(content, _target(spool, member.name)))
    while packed.read(CHUNK):  # to its checksum, which is the last
        pass
    if end is None:
        raise NotRestored(why="the archive breaks off before its end")
    sums = Sums(int(end["records"]), int(end["files"]), {name: tuple(part) for name, part in end["parts"].items()})
    if seen != sums.parts:
        wrong = sorted(name for name in seen.keys() | sums.parts.keys() if seen.get(name) != sums.parts.get(name))
        raise NotRestored(why=f"the archive is damaged: {', '.join(wrong[:5])}")
    if not sums.records:
        raise NotRestored(why="the archive is empty")
    return sums


def _check_header(header: dict[str, Any]) -> None:
    if header["format"] > FORMAT or header["record_version"] > RECORD_VERSION:
        raise NotRestored(why=f"it was made by Tunehook {header['tunehook']}, which is newer than this one")


def _target(spool: Path, name: str) -> Path:
    if name.partition("/")[0] not in (*PLACES, "records") or ".." in name.split("/"):
        raise NotRestored(why=f"it is no backup: it has the part {name[:80]!r}")
    return spool / name


def _copy(content: IO[bytes], path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with path.open("wb") as file:
        while block := content.read(CHUNK):
            digest.update(block)
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def _move(spool: Path, data_dir: Path, mark: str | None) -> None:
    for name in PLACES:
        shutil.rmtree(data_dir / name, ignore_errors=True)
    for path in stored_files(spool):
        target = data_dir / path.relative_to(spool)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.replace(target)
    if mark is not None:
        (data_dir / ".store").write_text(mark)
