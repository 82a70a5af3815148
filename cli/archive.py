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
from tunehook import settings
from tunehook.security.encryption import Encryption
from tunehook.store.store import Store

FORMAT = 1
SECONDS = 600.0  #: for one answer of Redis
PLACES = ("files", "reports", "uploads")
#: In the data directory, while a restore runs: what it has unpacked.
SPOOL = ".restore"


@asynccontextmanager
async def place() -> AsyncIterator[tuple[Store, Encryption, Path]]:
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
