"""`tunehook backup` and `tunehook restore`: all records and files as one archive, checked on both ways.

The archive is a compressed tar: `header.json`, the records in parts, the files, and at its end `end.json` with the
size and the SHA-256 of each part, without which an archive is refused. Redis is read first, at one moment, and the
files after it: bytes are removed only after their record, so each file that the records name is there or was deleted
since. The secret key is in no backup.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import hashlib
import io
import json
import os
import shutil
import sys
import tarfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

from cli import local_store
from cli.embedded import start_embedded
from tunehook import settings
from tunehook.errors import TunehookError
from tunehook.model.record import RECORD_VERSION
from tunehook.security.encryption import Encryption
from tunehook.store import snapshot
from tunehook.store.store import Store

FORMAT = 1
CHUNK = 1024 * 1024
SECONDS = 600.0  #: for one answer of Redis
PLACES = ("files", "reports", "uploads")
#: Of records, in one part: it is read into memory as a whole.
PART_CHARACTERS = 4_000_000
Wanted = dict[str, tuple[int, str]]  #: id of a file → its bytes and SHA-256


class NotBackedUp(TunehookError):
    """Nothing was backed up: {why}."""


class NotRestored(TunehookError):
    """Nothing was restored: {why}."""


class HalfRestored(TunehookError):
    """The restore broke off: {why}. Repeat it with `--force`; until then no program starts on this Redis."""


def add_commands(subparsers: Any) -> None:
    backup = subparsers.add_parser("backup", help="write all records and files to one archive")
    backup.add_argument("archive", help="the file to write; - for standard output")
    backup.add_argument("--force", action="store_true", help="also if the bytes of a file are missing or damaged")
    backup.set_defaults(run=lambda args: asyncio.run(_backup(args)))
    restore = subparsers.add_parser("restore", help="put an archive of `backup` into an empty place")
    restore.add_argument("archive", help="the file to read; - for standard input")
    restore.add_argument("--force", action="store_true", help="replace what the place holds")
    restore.set_defaults(run=lambda args: asyncio.run(_restore(args)))


@asynccontextmanager
async def _place() -> AsyncIterator[tuple[Store, Encryption, Path]]:
    """Opens the store and the data directory; starts the embedded Valkey if `tunehook up` does not run."""
    data_dir = settings.load().data_dir.absolute()
    with ExitStack() as stack:
        try:
            url, encryption = local_store.find()
        except local_store.NoStore:
            if not (data_dir / "local.json").is_file():
                raise
            valkey = await asyncio.to_thread(start_embedded, data_dir)
            stack.callback(valkey.stop)
            url, encryption = valkey.url, local_store.encryption()
        async with Store.connect(url, connections=1, timeout=SECONDS) as store:
            yield store, encryption, data_dir


@dataclass
class _Sums:
    """What an archive holds: part → (bytes, SHA-256); and the number of records and files."""

    records: int = 0
    files: int = 0
    parts: dict[str, tuple[int, str]] = field(default_factory=dict)

    def words(self) -> str:
        size = sum(size for size, _ in self.parts.values())
        return f"{self.records:,} records, {self.files:,} files, {size / 1e6:,.1f} MB"


# ---- backup


async def _backup(args: argparse.Namespace) -> int:
    async with _place() as (store, _, data_dir):
        await _check_place(store, data_dir)
        with _output(args.archive) as tar:
            sums = _Sums()
            _add_json(tar, "header.json", _header())
            wanted = await _write_records(tar, sums, store)
            for path in _files(data_dir):
                _add_file(tar, sums, path, path.relative_to(data_dir).as_posix())
            sums.files = sum(f"files/{file_id}" in sums.parts for file_id in wanted)
            faults = [fault async for fault in _faults(store, wanted, sums)]
            if faults and not args.force:
                names = ", ".join(faults[:5])
                why = f"{len(faults)} files are not as their records say: {names}. `--force` backs up all the same"
                raise NotBackedUp(why=why)
            _add_json(tar, "end.json", {"records": sums.records, "files": sums.files, "parts": sums.parts})
    print(f"Backed up: {sums.words()}.", file=sys.stderr)
    for fault in faults:
        print(f"Not as its record says: {fault}", file=sys.stderr)
    return 0


async def _check_place(store: Store, data_dir: Path) -> None:
    """Raises NotBackedUp for a store that is empty, half restored or too full, and for another's data directory."""
    if await snapshot.is_half_restored(store):
        raise NotBackedUp(why="a restore to this Redis broke off. Repeat it with `--force` first")
    if await snapshot.is_too_full(store):
        raise NotBackedUp(why="Redis is too full to be read beside running programs. Stop service and worker first")
    if not await snapshot.is_used(store):
        raise NotBackedUp(why="this Redis has no job, no file and no API key. Is it the right one?")
    mark, is_new = await store.deletion.storage_mark()
    kept = data_dir / ".store"
    found = kept.read_text(errors="replace").strip() if kept.is_file() else None
    if found != mark and (found is not None or not is_new or await snapshot.has_files(store)):
        raise NotBackedUp(why=f"{data_dir} does not bear the mark of this Redis. Is TUNEHOOK_DATA_DIR right?")


async def _write_records(tar: tarfile.TarFile, sums: _Sums, store: Store) -> Wanted:
    """Writes the records in parts of some megabytes; returns the files that they name."""
    wanted: Wanted = {}
    part: list[str] = []
    size = number = 0
    async for entries in snapshot.take(store):
        for entry in entries:
            sums.records += 1
            if file := snapshot.file_in(entry):
                wanted[file.id] = (file.bytes, file.sha256)
            part.append(snapshot.text(entry))
            size += len(part[-1])
            if size > PART_CHARACTERS:
                _add(tar, sums, _part_name(number), _joined(part))
                part, size, number = [], 0, number + 1
    _add(tar, sums, _part_name(number), _joined(part))
    return wanted


def _part_name(number: int) -> str:
    return f"records/{number:06}.json"


def _joined(part: list[str]) -> bytes:
    return f"[{', '.join(part)}]".encode()


async def _faults(store: Store, wanted: Wanted, sums: _Sums) -> AsyncIterator[str]:
    """Yields each file whose bytes are missing or damaged, unless it was deleted since its record was read."""
    for file_id, recorded in wanted.items():
        found = sums.parts.get(f"files/{file_id}")
        if found != recorded and await store.files.read_any(file_id) is not None:
            yield f"{file_id} ({'missing' if found is None else 'damaged'})"


def _header() -> dict[str, Any]:
    now = int(time.time())
    return {"format": FORMAT, "tunehook": version("tunehook"), "record_version": RECORD_VERSION, "created_at": now}


@contextmanager
def _output(target: str) -> Iterator[tarfile.TarFile]:
    """Yields the archive to write. A file gets its name when it is complete."""
    path = Path(target)
    aside = path.with_name(f".{path.name}.part")
    try:
        with ExitStack() as stack:
            out: IO[bytes] = sys.stdout.buffer
            if target != "-":
                out = stack.enter_context(os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb"))
            stack.callback(out.flush)  # after the archive is closed; an error of the disk is ours to say
            packed = stack.enter_context(gzip.GzipFile(fileobj=out, mode="wb", compresslevel=1))
            yield stack.enter_context(tarfile.open(fileobj=packed, mode="w|"))
        if target != "-":
            with aside.open("rb") as written:
                os.fsync(written.fileno())
            aside.rename(path)
    except OSError as error:
        raise NotBackedUp(why=f"{target} cannot be written, or a file cannot be read ({error})") from error
    finally:
        if target != "-":
            aside.unlink(missing_ok=True)


def _files(data_dir: Path) -> Iterator[Path]:
    for place in PLACES:
        for path in sorted((data_dir / place).rglob("*")):
            if path.is_file() and not path.name.startswith("."):
                yield path


def _add_json(tar: tarfile.TarFile, name: str, value: object) -> None:
    _add(tar, _Sums(), name, json.dumps(value).encode())


def _add(tar: tarfile.TarFile, sums: _Sums, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), 0o600
    tar.addfile(info, io.BytesIO(content))
    sums.parts[name] = (len(content), hashlib.sha256(content).hexdigest())


class _Hashing(io.RawIOBase):
    """A file that is hashed as it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        block = self._file.read(size)
        self.digest.update(block)
        return block


def _add_file(tar: tarfile.TarFile, sums: _Sums, path: Path, name: str) -> None:
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return  # deleted since; a record that still names it is found below
    with file:
        info = tarfile.TarInfo(name)
        info.size, info.mode = os.fstat(file.fileno()).st_size, 0o600
        hashing = _Hashing(file)
        tar.addfile(info, hashing)
        sums.parts[name] = (info.size, hashing.digest.hexdigest())


# ---- restore


async def _restore(args: argparse.Namespace) -> int:
    async with _place() as (store, encryption, data_dir):
        programs = await snapshot.running(store)
        if programs == "a worker runs" or (programs and not args.force):
            raise NotRestored(why=f"{programs}. Stop service and worker first")
        data_dir.mkdir(parents=True, exist_ok=True)
        if not args.force and (not await snapshot.is_empty(store) or any(_files(data_dir))):
            raise NotRestored(why=f"this Redis or {data_dir} is not empty. `--force` replaces what is there")
        spool = data_dir / ".restore"
        await asyncio.to_thread(shutil.rmtree, spool, ignore_errors=True)
        try:
            with _input(args.archive) as packed:
                sums = await asyncio.to_thread(_unpack, packed, spool)
            await _replace(store, encryption, data_dir, spool, clear=args.force)
        finally:
            await asyncio.to_thread(shutil.rmtree, spool, ignore_errors=True)
    print(f"Restored: {sums.words()}.", file=sys.stderr)
    return 0


async def _replace(store: Store, encryption: Encryption, data_dir: Path, spool: Path, *, clear: bool) -> None:
    """Puts what was unpacked in place of what is there. Raises HalfRestored, SecretUnreadable."""
    seal, mark = snapshot.seal_and_mark(entry for part in _parts(spool) for entry in part)
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
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, ValueError, KeyError, TypeError, OSError) as error:
        raise NotRestored(why=f"{source} cannot be read as a backup ({error or type(error).__name__})") from error


def _unpack(packed: IO[bytes], spool: Path) -> _Sums:
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
    if end is None:
        raise NotRestored(why="the archive breaks off before its end")
    sums = _Sums(end["records"], end["files"], {name: (size, digest) for name, (size, digest) in end["parts"].items()})
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
        raise NotRestored(why=f"a backup has no part {name[:80]!r}")
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
    for place in PLACES:
        shutil.rmtree(data_dir / place, ignore_errors=True)
    for path in _files(spool):
        target = data_dir / path.relative_to(spool)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.replace(target)
    if mark is not None:
        (data_dir / ".store").write_text(mark)
