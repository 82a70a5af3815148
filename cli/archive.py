"""The archive of `tunehook backup` and `restore`, and the place that it is made from or put into.

An archive is a compressed tar: `header.json`, the records in parts, the files, and at its end `end.json` with the
size and the SHA-256 of each part, without which an archive is refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cli import local_store
from cli.embedded import start_embedded
from cli.failures import CommandFailed
from tunehook import settings
from tunehook.files.directory import Directory
from tunehook.files.storage import open_place
from tunehook.security.encryption import Encryption
from tunehook.store.store import Store

FORMAT = 1
SECONDS = 600.0  #: for one answer of Redis
PLACES = ("files", "reports", "uploads")
#: In the data directory, while a restore runs: what it has unpacked.
SPOOL = ".restore"


class FilesInBucket(CommandFailed):
    """This works on a directory, and the files lie at {url}.

    Stop service and worker, copy the files (`tunehook storage copy FROM TO`), and unset TUNEHOOK_STORE_URL for this.
    """


@asynccontextmanager
async def place() -> AsyncIterator[tuple[Store, Encryption, Path]]:
    """Opens the store and the directory of files; starts the embedded Valkey if `tunehook up` does not run."""
    found = settings.load()
    data_dir, files = found.data_dir.absolute(), open_place(found.store_url, found.data_dir.absolute())
    if not isinstance(files, Directory):
        raise FilesInBucket(url=files.label)
    with ExitStack() as stack:
        try:
            url, encryption = local_store.find()
        except local_store.NoStore:
            if not (data_dir / "local.json").is_file():
                raise
            valkey = await asyncio.to_thread(start_embedded, data_dir)
            stack.callback(valkey.stop)
            url, encryption = valkey.url, local_store.encryption()
        async with Store.connect(url, connections=1, timeout=SECONDS, replicas=found.replicas) as store:
            yield store, encryption, files.root


@dataclass
class Sums:
    """What an archive holds: part → (bytes, SHA-256); and the number of records and files."""

    records: int = 0
    files: int = 0
    parts: dict[str, tuple[int, str]] = field(default_factory=dict)

    def words(self) -> str:
        size = sum(size for size, _ in self.parts.values())
        return f"{self.records:,} records, {self.files:,} files, {size / 1e6:,.1f} MB"


def stored_files(data_dir: Path) -> Iterator[Path]:
    """Yields the files of a data directory in a stable order, without those that are half received."""
    for name in PLACES:
        for path in sorted((data_dir / name).rglob("*")):
            if path.is_file() and not path.name.startswith("."):
                yield path


def in_words(error: Exception) -> str:
    """Returns what is wrong with a file, without Python's numbers and names that the user did not give."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
