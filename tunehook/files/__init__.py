"""Files: bytes in the data directory, their reports, and how a dataset is received, checked and counted."""

from __future__ import annotations

from dataclasses import dataclass, field

from tunehook.dataset.process import DatasetProcess
from tunehook.files.storage import Storage
from tunehook.store.store import Store


@dataclass(frozen=True)
class Files:
    """Everything that the files room works with. Checking and counting have a process each, so neither waits."""

    store: Store
    storage: Storage
    checker: DatasetProcess = field(default_factory=DatasetProcess)
    counter: DatasetProcess = field(default_factory=lambda: DatasetProcess(nice=10))  # most counts block no request

    async def close(self) -> None:
        await self.checker.close()
        await self.counter.close()
