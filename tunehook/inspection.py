"""A dataset that arrives: checked while it is written, kept whatever is wrong with it, its report beside it."""

from __future__ import annotations

import time

from tunehook.dataset import Checker, Report
from tunehook.model import Dataset, File, new_id
from tunehook.shelf import Incoming
from tunehook.world import World

#: Errors in one `status_details`; the report has them all.
NAMED = 3


def checker() -> Checker:
    """Ten examples are asked for where a job trains on the file: one to validate with may have fewer."""
    return Checker(minimum=1)


async def keep(
    world: World, incoming: Incoming, *, project: str, filename: str, seconds: int | None
) -> tuple[File, Report]:
    """Puts on the shelf what has been received with `checker()`; its record is the caller's to write.

    `seconds`: after which it expires. Whoever cannot write the record removes the file from the shelf again.
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
    """Writes the record of what is on the shelf; what cannot be written leaves nothing there."""
    try:
        await world.store.files.add(file)
    except BaseException:
        await world.shelf.remove(file.id)
        raise


async def forget(world: World, file: File) -> None:
    """Takes back what was entered a moment ago."""
    await world.store.files.delete(file.id, file.project)
    await world.shelf.remove(file.id)
    await world.store.files.left(file.id)
