"""Files: receives, checks, stores and counts datasets."""

from __future__ import annotations

from dataclasses import dataclass, field

from tunehook.dataset.process import DatasetProcess, DatasetReader, DatasetThread
from tunehook.files.storage import Storage
from tunehook.store.store import Store


@dataclass(frozen=True)
class Files:
    """The store, the storage, and a process each for checking and counting, so that neither waits."""

    store: Store
    storage: Storage
    checker: DatasetReader = field(default_factory=DatasetProcess)
    counter: DatasetReader = field(default_factory=lambda: DatasetProcess(nice=10))  # most counts block no request

    @classmethod
    def of_step(cls, store: Store, storage: Storage) -> Files:
        """Returns what a step works with: it checks and counts in threads of its own process."""
        return cls(store, storage, DatasetThread(), DatasetThread())

    async def close(self) -> None:
        await self.checker.close()
        await self.counter.close()
