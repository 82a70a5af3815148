"""Files: receives, checks, stores and counts datasets."""

from __future__ import annotations

from dataclasses import dataclass, field

from tunehook.dataset.process import DatasetProcess, DatasetReader, DatasetThread
from tunehook.files.storage import Storage
from tunehook.store.store import Store

CHECKED_AT_ONCE = 16 * 1024 * 1024


@dataclass(frozen=True)
class Files:
    """The store, the storage, and a process each for checking and counting, so that neither waits.

    Up to `checked_at_once` bytes a file is checked before its upload is answered: 80 ms of the checking process when
    it is good. `wait_seconds`: how long a request that needs the result waits for the check of a larger one.
    """

    store: Store
    storage: Storage
    checker: DatasetReader = field(default_factory=DatasetProcess)
    counter: DatasetReader = field(default_factory=lambda: DatasetProcess(nice=10))  # most counts block no request
    checked_at_once: int = CHECKED_AT_ONCE
    wait_seconds: float = 60.0

    @classmethod
    def of_step(cls, store: Store, storage: Storage) -> Files:
        """Returns what a step works with: it checks and counts in threads of its own process."""
        return cls(store, storage, DatasetThread(), DatasetThread())

    async def close(self) -> None:
        await self.checker.close()
        await self.counter.close()
