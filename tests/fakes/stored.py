"""What a test sees of the storage of a context: the files on its disk. And a file that a test sends."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from tunehook.files.directory import Directory
from tunehook.files.place import MARK
from tunehook.files.storage import Storage


def data_dir(storage: Storage) -> Path:
    assert isinstance(storage.place, Directory)
    return storage.place.root


def path_of(storage: Storage, file_id: str) -> Path:
    return data_dir(storage) / storage.name(file_id)


def mark_path(storage: Storage) -> Path:
    return data_dir(storage) / MARK


@dataclass(frozen=True)
class Sent:
    """A file, as an upstream is given it."""

    content: bytes

    @classmethod
    def of(cls, path: Path) -> "Sent":
        return cls(path.read_bytes())

    @property
    def size(self) -> int:
        return len(self.content)

    async def chunks(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self.content), 1024 * 1024):
            yield self.content[start : start + 1024 * 1024]
