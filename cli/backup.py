"""`tunehook backup`: writes all records and files to one archive, and checks the bytes on the way.

Redis is read first, at one moment, and the files after it: bytes are removed only after their record, so each file
that the records name is there or was deleted since. The secret key is in no backup.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import sys
import tarfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import IO, Annotated, Any

from cyclopts import Parameter

from cli.archive import FORMAT, Sums, in_words, place, stored_files
from cli.lines import say
from tunehook.errors import TunehookError
from tunehook.model.record import RECORD_VERSION
from tunehook.store import snapshot
from tunehook.store.store import Store

#: Of records, in one part: it is read into memory as a whole.
PART_CHARACTERS = 4_000_000
Wanted = dict[str, tuple[int, str]]  #: id of a file → its bytes and SHA-256


class NotBackedUp(TunehookError):
    """Nothing was backed up: {why}."""


async def run(archive: Annotated[str, Parameter(allow_leading_hyphen=True)], /, *, force: bool = False) -> int:
    """Write all records and files to one archive.

    Args:
        archive: the file to write; - for standard output
        force: also if the bytes of a file are missing or damaged
    """
    async with place() as (store, _, data_dir):
        await _check_place(store, data_dir)
        with _output(archive) as tar:
            sums = Sums()
            _add_json(tar, "header.json", _header())
            wanted = await _write_records(tar, sums, store)
            for path in stored_files(data_dir):
                _add_file(tar, sums, path, path.relative_to(data_dir).as_posix())
            sums.files = sum(f"files/{file_id}" in sums.parts for file_id in wanted)
            faults = [fault async for fault in _faults(store, wanted, sums)]
            if faults and not force:
                names = ", ".join(faults[:5])
                why = f"{len(faults)} files are not as their records say: {names}. `--force` backs up all the same"
                raise NotBackedUp(why=why)
            _add_json(tar, "end.json", {"records": sums.records, "files": sums.files, "parts": sums.parts})
    say(f"Backed up: {sums.words()}.")
    for fault in faults:
        say(f"Not as its record says: {fault}")
    return 0


async def _check_place(store: Store, data_dir: Path) -> None:
    """Raises NotBackedUp: the store is empty, half restored or too full, or the directory is another's."""
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


async def _write_records(tar: tarfile.TarFile, sums: Sums, store: Store) -> Wanted:
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


async def _faults(store: Store, wanted: Wanted, sums: Sums) -> AsyncIterator[str]:
    """Yields each file whose bytes are missing or damaged, unless it was deleted meanwhile."""
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
        raise NotBackedUp(why=f"{target} cannot be written, or a file cannot be read ({in_words(error)})") from error
    finally:
        if target != "-":
            aside.unlink(missing_ok=True)


def _add_json(tar: tarfile.TarFile, name: str, value: object) -> None:
    _add(tar, Sums(), name, json.dumps(value).encode())


def _add(tar: tarfile.TarFile, sums: Sums, name: str, content: bytes) -> None:
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


def _add_file(tar: tarfile.TarFile, sums: Sums, path: Path, name: str) -> None:
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
