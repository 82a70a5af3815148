"""A dataset that arrives: checked while it is written, kept whatever is wrong with it, its report beside it."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tunehook.dataset import Digests, Report
from tunehook.errors import Conflict, DatasetUnread
from tunehook.model import Dataset, File, new_id

if TYPE_CHECKING:
    from tunehook.shelf import Incoming
    from tunehook.world import World

#: Errors in one `status_details`; the report has them all.
NAMED = 3


#: So much is checked by the API itself, in 20 ms if it is good; what grows beyond it, by a process of its own.
HERE = 4 * 1024 * 1024
#: That process reads so much at a time, half a second's work, before another project has its turn.
STEP = 8 * 1024 * 1024


class Inspector:
    """Reads one file: a small one when it is there, a large one while it is written. Ten examples are asked for where
    a job trains on it, not here: a file to validate with may have fewer. `project`: whose it is."""

    def __init__(self, world: World, project: str) -> None:
        self._child, self._small, self._project = world.reader, world.small_files, project
        self._written = self._read = 0
        self._following: asyncio.Task[None] | None = None

    def wrote(self, path: Path, size: int) -> None:
        """After a block of `size` bytes was written. The sender does not wait for the check, unless at the end."""
        self._written += size
        if self._written > HERE and (self._following is None or self._following.done()):
            self._following = asyncio.create_task(self._follow(path))

    async def _follow(self, path: Path) -> None:
        with suppress(DatasetUnread):  # the report will be asked for, and starts from the beginning
            while self._read < self._written:
                upto = min(self._written, self._read + STEP)
                await self._child.ask({"do": "follow", "path": str(path), "upto": upto}, self._project)
                self._read = upto

    async def report(self, path: Path) -> Report:
        """What was found, once all is written. Raises DatasetUnread."""
        if self._written <= HERE:
            return await self._small.report(path, self._project)
        if self._following is not None:
            await self._following
            self._following = None
        await self._follow(path)
        digests = path.with_name(f"{path.name}.digests")
        question = {"do": "report", "path": str(path), "upto": self._written, "digests": str(digests)}
        try:
            report = Report.from_dict(await self._child.ask(question, self._project))
            report.digests = Digests.from_bytes(await asyncio.to_thread(digests.read_bytes))
        finally:
            await asyncio.to_thread(digests.unlink, missing_ok=True)
        return report

    async def give_up(self, path: Path) -> None:
        """The file did not come to its end."""
        self._written = 0  # nothing more is to be read
        if self._following is not None:
            await self._following
            with suppress(DatasetUnread):
                await self._child.ask({"do": "forget", "path": str(path)}, self._project)


async def keep(
    world: World, incoming: Incoming, *, project: str, filename: str, seconds: int | None
) -> tuple[File, Report]:
    """Puts on the shelf what an Inspector has read on its way; its record is the caller's to write.

    `seconds`: after which it expires. Whoever is refused the record removes the file from the shelf again.
    """
    report = await incoming.report()
    now, file_id = int(time.time()), new_id("file-")
    await incoming.keep(file_id)
    try:
        await world.shelf.reports.save(file_id, report)
    except BaseException:
        await world.shelf.remove(file_id)
        raise
    file = File(
        id=file_id,
        project=project,
        filename=filename,
        purpose="fine-tune",
        bytes=incoming.bytes,
        created_at=now,
        sha256=incoming.sha256,
        status="processed" if report.ok else "error",
        status_details=None if report.ok else report.summary(NAMED),
        expires_at=None if seconds is None else now + seconds,
        dataset=Dataset(
            format=report.format,
            examples=report.examples,
            errors=report.errors,
            warnings=report.warnings,
            image_examples=report.image_examples,
        ),
    )
    return file, report


async def enter(world: World, file: File) -> None:
    """Writes the record of what is on the shelf; one that is refused leaves nothing there.

    When no answer comes (Redis is away, or its disk takes longer than our patience), the record may have been
    written all the same. So the bytes stay: without a record they go after a day (orphans.py).
    """
    try:
        await world.store.files.add(file)
    except Conflict:
        await world.shelf.remove(file.id)
        raise


async def forget(world: World, file: File) -> None:
    """Takes back what was entered a moment ago."""
    await world.store.files.delete(file.id, file.project)
    await world.shelf.remove(file.id)
    await world.store.files.left(file.id)
